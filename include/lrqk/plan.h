/* plan.h - what an engine and a session will take, before anything is loaded.  Errors, threads, units: as lrqk.h says. */
#ifndef LRQK_PLAN_H
#define LRQK_PLAN_H

#include <lrqk/lrqk.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

enum { LRQK_KEEP_DENSE = 1, LRQK_KEEP_PROXY_TYPE = 2, LRQK_KEEP_ACTIVE = 4, LRQK_KEEP_RANK = 8, LRQK_KEEP_CTX = 16, LRQK_KEEP_ALL = 31 };

struct lrqk_plan_options {
  struct lrqk_engine_options engine;     /* vram 0: what the device reports free; where it shares the host's memory, all that is
                                            allocated has to fit into the RAM that is available, else host memory into that */
  struct lrqk_session_options session;
  unsigned keep;                         /* LRQK_KEEP_: what is not given up in order to fit */
  uint32_t least_ctx;                    /* n_ctx does not fall below it */
  double hit_rate;                       /* share of chosen rows that are on the device already; 0: 0.7 (.65 to .75 were measured) */
};

struct lrqk_plan {
  struct lrqk_cache_options cache;       /* options that fit */
  uint32_t n_ctx;
  char given_up[200];                    /* "dense-layers 0 -> none, active 2048 -> 512": what differs from what was asked; "": nothing */
  uint64_t budget, needed;               /* bytes that may be used, and are, of what the budget is about */
  struct lrqk_memory memory;             /* what lrqk_engine_memory will say; its device bytes are, in this order, the sum of: */
  uint64_t weights, dense, windows, proxies, active, lite, maps, work, scratch;
  uint64_t device_kv_bytes, host_kv_bytes;   /* what lrqk_session_stats will say */
  uint64_t read_bytes, bus_bytes;        /* of a decode step at the end of the context: read on the device, moved over the bus */
};

/* Counts, by running the constructors on a device without memory; of the file only metadata and directory are read.  Gives up,
 * until it fits: dense layers, then fp16 proxies for int8, then halves active down to 256 and rank to an eighth of the head
 * size, then the context.  LRQK_MEMORY, naming bytes needed, budget and what would help, if that is not enough; otherwise errors
 * as lrqk_engine_open and lrqk_session_open.  Messages go to the log of m. */
enum lrqk_status lrqk_plan_make(struct lrqk_plan *out, lrqk_model *m, const struct lrqk_plan_options *opt);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
