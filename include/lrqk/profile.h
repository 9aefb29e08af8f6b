/* profile.h - what ran on the device, kernel by kernel, and what the cache did, head by head.  Errors, threads, units: as
 * lrqk.h says. */
#ifndef LRQK_PROFILE_H
#define LRQK_PROFILE_H

#include <lrqk/lrqk.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* ---- kernels: an event for each command --------------------------------------------------------------------- */

/* A hardware counter, in the words of the driver. */
struct lrqk_counter {
  const char *name, *category, *description;
  const char *unit;               /* "", "%", "ns", "B", "B/s", "K", "W", "V", "A", "Hz" or "cycles" */
  const char *scope;              /* "command", or "submit": only of whole submits */
  const char *storage;            /* "int32", "uint64", "float32" ...: how the driver keeps it */
};
struct lrqk_counter_value { const struct lrqk_counter *counter; double value; };

/* One command of the device, or (host) a stretch of the host's time.  Strings are static.  Times are those of the host's
 * monotonic clock; begins and ends of the device are right to clock_error_ns against the host, exact among each other. */
struct lrqk_profile_event {
  enum lrqk_phase phase;          /* PREFILL or DECODE */
  bool host;                      /* "call" (all of it), "submit" or "wait", nested; no grid, bytes and flops */
  const char *name;               /* of the kernel ("MATMUL_Q4_1"), "copy" or "fill" */
  const char *stage;              /* embed, norm, qkv, attention, attention.select, attention.gather, ffn, head ... */
  int32_t layer;                  /* -1: none */
  uint64_t token;                 /* position of the first token of the call */
  uint64_t begin_ns, end_ns, clock_error_ns;
  uint64_t submission;
  uint32_t grid[3], workgroup;    /* workgroups; lanes of each */
  uint32_t size[3];               /* of the problem: rows, columns, length of sums (matmul: m, n, k; scores: heads, tokens, rank); 0: none */
  uint64_t device_bytes, bus_bytes;   /* the least that it has to move in device memory and from or to HOST */
  double flops;                   /* a multiply-add is two */
  /* What the hardware counted meanwhile, n_counters of lrqk_engine_options.counters, valid during the call: none unless asked for.  Those that
   * do not fit into one pass of the hardware take turns, one group a submit: nothing is run twice. */
  const struct lrqk_counter_value *counters;
  uint32_t n_counters;
};
typedef void (*lrqk_profile_fn)(void *ud, const struct lrqk_profile_event *e);

struct lrqk_profile_options {
  lrqk_profile_fn fn;             /* called in the order of the commands before prefill or decode returns; not into the library */
  void *ud;
  uint32_t every;                 /* prefills, the first decoded token and every so manieth after it are timed; 0: 8 */
  bool serial;                    /* nothing overlaps: a barrier after each command.  Another program than without it */
  bool whole;                     /* one event for each submit instead ("submit", no bytes, no flops), which costs next to nothing */
};
/* Profiles the session from now on; opt NULL: no longer.  LRQK_USAGE unless the engine was opened with `timing` on a device
 * that has timestamps. */
enum lrqk_status lrqk_session_profile(lrqk_session *s, const struct lrqk_profile_options *opt);

/* What this device can do at most, as short runs show: the roofs over the kernels.  empty: a dispatch that does nothing, in a chain of such
 * (median), on the clock and in time of this process on all processors (software drivers run there; of a GPU it is what recording costs).
 * stamp: the least that a timestamp behind it adds. */
struct lrqk_ceilings { double device_gb_per_s, bus_gb_per_s, gflop_per_s, empty_us, empty_cpu_us, stamp_us; };
enum lrqk_status lrqk_engine_ceilings(lrqk_engine *e, struct lrqk_ceilings *out);        /* takes a second or so; as above */

/* The hardware counters that the profiles of this engine read; they live as long as it does. */
void lrqk_engine_counters(const lrqk_engine *e, void (*fn)(void *ud, const struct lrqk_counter *c), void *ud);

/* What the driver's compiler says of each kernel made so far (registers, spills, instructions ...; its own words): nothing, if it says nothing
 * or without `timing`.  variant: specialisation constants ("WG=8 G=3").  Strings are valid during the call. */
struct lrqk_kernel_figure { const char *kernel, *variant, *name; double value; };
void lrqk_engine_kernels(lrqk_engine *e, void (*fn)(void *ud, const struct lrqk_kernel_figure *f), void *ud);

/* ---- heads: what the cache did ------------------------------------------------------------------------------ */

/* The counters of lrqk_session_stats for each KV head, out[n_layers][n_kv_heads]: zeros where all of it is on the device.  LRQK_USAGE: cap is
 * less. */
struct lrqk_head_stats { uint64_t chosen, misses, bus_bytes; };
enum lrqk_status lrqk_session_heads(lrqk_session *s, struct lrqk_head_stats *out, size_t cap);
/* Tokens chosen for a head in the last decoded token, ascending (a list for each query head, one after another, where they choose apart).
 * *n: how many, none where all of it is on the device; the first cap are written. */
enum lrqk_status lrqk_session_chosen(lrqk_session *s, uint32_t layer, uint32_t kv_head, uint32_t *tokens, size_t cap, size_t *n);

/* How the choice for a KV head compares with exact attention over all tokens, in the last decoded token: the share of the attention that
 * active tokens get (mean of the query heads), that which the best choice of as many would get, and how much of that choice was made.
 * NAN where a head has all tokens on the device. */
struct lrqk_head_quality { float mass, best_mass, recall; };
/* Whether tokens decoded from now on keep their queries, a small copy in every layer; and [n_layers][n_kv_heads] of the last one that did:
 * the host computes every score from the exact rows, which takes long.  LRQK_USAGE: none were kept, or cap is less. */
enum lrqk_status lrqk_session_keep_queries(lrqk_session *s, bool on);
enum lrqk_status lrqk_session_quality(lrqk_session *s, struct lrqk_head_quality *out, size_t cap);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
