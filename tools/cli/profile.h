/* profile.h - what `lrqk profile` gathers (cmd_profile.c) and how it is shown: rows of figures (profile_rows.c) and a
 * timeline (profile_trace.c, profile_lanes.c), counters of the KV heads (profile_heads.c) and the worth of their choices (profile_quality.c). */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "lrqk/profile.h"
#include "profile_read.h"   /* PROFILE_SCHEMA */
#include "work.h"

/* Counters after a token whose kernels were timed. */
struct profile_counter { uint64_t at_ns, kv_bytes, bus_bytes; double hit_rate; };

struct profile_log {
  struct lrqk_profile_event *event;
  size_t n, cap;
  const struct lrqk_counter **kind;   /* [n_kinds] hardware counters that are read; the values of an event are the log's */
  uint32_t n_kinds;
  struct profile_counter *counter;
  size_t n_counters, cap_counters;
  bool failed;                   /* out of memory: events are missing */
};
void profile_log_add(void *log, const struct lrqk_profile_event *e);   /* an lrqk_profile_fn */
void profile_log_free(struct profile_log *l);
void profile_log_kind(void *log, const struct lrqk_counter *c);        /* for lrqk_engine_counters, before events come */

/* The events of a log, those of a call from its first one on in the order of time, the host's before the device's.  lane: 0, or (kernels
 * that overlap) the first beside which nothing else runs. */
struct profile_slice { const struct lrqk_profile_event *e; int lane; };
struct profile_slice *profile_slices(const struct profile_log *l, int *lanes);   /* [l->n], malloc'ed; NULL: out of memory */
size_t profile_call_events(const struct profile_log *l, size_t first);           /* how many belong to the call that begins with `first` */

/* What a row sums: the calls of a kernel in one stage and phase, those in one layer too, all of a stage, all of a phase. */
enum profile_level { PER_KERNEL, PER_LAYER, PER_STAGE, PER_PHASE };

/* A hardware counter over the calls of a row during which it was read. */
struct profile_counted { double sum; size_t n; };

struct profile_row {
  enum lrqk_phase phase;
  const char *stage, *name, *bound;   /* bound: "memory", "compute", "bus" or "launch"; stage and name: "" where all are summed */
  int32_t layer;
  size_t calls;
  double *us, total_us, p50_us, p95_us;   /* us: [calls], ascending */
  /* Sums of alike stretches, whose spread says what a difference between two profiles is worth: [units] of timed tokens
   * (decode) or of layers (prefill; a row without layers has one, its total), ascending, with quantiles .1, .5 and .9. */
  double *unit_ms, low_ms, mid_ms, high_ms;
  size_t units;
  int64_t unit;                       /* the token or layer of the last one; while summing */
  double device_bytes, bus_bytes, flops;
  struct profile_counted *counted;    /* [n_kinds of the log]; NULL: there are none */
  double share, gb_per_s, gflop_per_s, ceiling;   /* of the phase's time; ceiling: the time that the bound allows, of the time taken */
};

struct profile_head {
  const char *file, *policy, *mode;
  const struct lrqk_model_info *model;
  struct lrqk_device_info device;
  struct lrqk_ceilings ceilings;
  uint64_t prefill, decode, stamped, every;
  double prefill_ms, plain_ms, stamped_ms;   /* of a decoded token, host time: median of those without stamps and with */
  double plain_cpu_ms, dispatches;           /* of those without: time of the processors; kernels of a token (NAN: whole submits were timed) */
  uint64_t clock_error_ns;                   /* the largest */
  double run_ms, stamp_us, own_ms, off_us;   /* of prefill and all tokens; of a timestamp, of all of them; what was taken off each slice ... */
  double prefill_off_us;                     /* ... and off those of the prefill */
  const double *token_ms;                    /* [n_token_ms] host time of every decoded token */
  size_t n_token_ms;
};

/* At most PROFILE_SAMPLES tokens out of any number, evenly spread, each with what is known of it. */
enum { PROFILE_SAMPLES = 64, PROFILE_BUCKETS = 64 };
struct profile_samples { struct profile_sample { uint64_t token; void *data; } list[PROFILE_SAMPLES]; size_t n, seen, stride; };
/* Counts one more token.  *data: zeroed memory for it, or NULL if it is not to be one of them.  False: out of memory. */
bool profile_sample_add(struct profile_samples *s, uint64_t token, size_t bytes, void **data);
void profile_samples_free(struct profile_samples *s);

struct profile_quality;

/* What the KV heads did: in all decoded tokens, and in samples of those that are timed.  Arrays are [layers][heads]; a sample has the
 * counters of the token alone, struct lrqk_head_stats, and behind them uint32_t [layers][heads][PROFILE_BUCKETS]: how many tokens were chosen
 * in each equal part of the text (zeros unless they were asked for). */
struct profile_heads {
  uint32_t layers, heads;
  struct lrqk_head_stats *total, *was;
  struct profile_samples samples;
  uint64_t bucket_tokens;
  uint32_t *chosen;
  size_t cap_chosen;
};
int profile_heads_open(struct profile_heads *h, struct ui *u, const struct lrqk_model_info *m, uint64_t tokens, const struct lrqk_cache_options *o);
void profile_heads_free(struct profile_heads *h);
int profile_heads_before(struct profile_heads *h, lrqk_session *s);   /* a token that is sampled */
int profile_heads_after(struct profile_heads *h, struct ui *u, lrqk_session *s, uint64_t token, bool chosen);
int profile_heads_end(struct profile_heads *h, lrqk_session *s);      /* after all tokens */
double profile_hit_rate(const struct lrqk_head_stats *s);             /* NAN: it has no meaning */
void profile_heads_table(struct text *t, const struct profile_heads *h, uint64_t decoded);
/* Fields of an object; quality: those of its heads, too. */
void profile_heads_json(struct text *t, const struct profile_heads *h, const struct profile_quality *quality, uint64_t decoded, bool samples);

/* What the choices of the KV heads were worth, in the tokens that were examined (--quality).  NAN: a head that has no choice. */
struct profile_quality {
  uint32_t layers, heads;
  struct quality_sum { double mass, best_mass, recall, least; } *sum;   /* over n tokens, and the least mass; [layers][heads], as samples: */
  struct profile_samples samples;                                      /* struct lrqk_head_quality */
  struct lrqk_head_quality *now;
  uint64_t n;
  double ms;                     /* of all measuring */
};
int profile_quality_open(struct profile_quality *q, struct ui *u, const struct lrqk_model_info *m);
void profile_quality_free(struct profile_quality *q);
int profile_quality_after(struct profile_quality *q, struct ui *u, lrqk_session *s, uint64_t token);   /* a token that kept its queries */
void profile_quality_table(struct text *t, const struct profile_quality *q, size_t most);             /* the worst heads */
void profile_quality_head_json(struct text *t, const struct profile_quality *q, size_t head);         /* fields of a head's object */
void profile_quality_json(struct text *t, const struct profile_quality *q, bool samples);             /* a field of an object, or nothing */

/* What the driver says of the kernels it made; those of one kernel follow each other. */
struct profile_figure { char kernel[48], variant[160], name[128]; double value; };
struct profile_figures { struct profile_figure *list; size_t n, cap; bool failed; };
void profile_figure_add(void *figures, const struct lrqk_kernel_figure *f);   /* for lrqk_engine_kernels */
void profile_figures_table(struct text *t, const struct profile_figures *l);
void profile_figures_json(struct text *t, const struct profile_figures *l);   /* a field of an object, or nothing */

struct profile_tables;
/* Hardware counters (profile_counted.c): what a row counted, as a mean of a call. */
int profile_kind_of(const struct profile_log *l, const struct lrqk_counter *c);   /* its place in the log's list */
void profile_counted_add(struct profile_row *r, const struct profile_log *l, const struct lrqk_profile_event *e);
void profile_counted_table(struct text *t, const struct profile_tables *p);
void profile_counted_csv_head(struct text *t, const struct profile_tables *p);
void profile_counted_csv(struct text *t, const struct profile_row *r, const struct profile_tables *p);
void profile_counted_kinds_json(struct text *t, const struct profile_tables *p);   /* a field of an object, or nothing, as the next two */
void profile_counted_json(struct text *t, const struct profile_row *r, const struct profile_tables *p);
void profile_counted_event_json(struct text *t, const struct lrqk_profile_event *e);
void profile_counted_event_list(struct text *t, const struct profile_log *l, const struct lrqk_profile_event *e);   /* [place in the list, value, ...] */

struct profile_rows { struct profile_row *row; size_t n; };   /* longest first within a phase */

/* What is shown of a profile; kernels are by layer where by_layer says so. */
struct profile_tables {
  struct profile_rows kernels, stages, phases;
  const struct profile_heads *heads;
  const struct profile_quality *quality;
  const struct profile_figures *figures;   /* NULL: not shown */
  const struct lrqk_counter *const *kind;  /* [n_kinds] hardware counters */
  uint32_t n_kinds;
  bool by_layer, by_head;   /* by_head: the heads too */
};

/* False: out of memory. */
bool profile_rows(struct profile_rows *out, const struct profile_log *l, const struct lrqk_ceilings *c, enum profile_level level);
void profile_rows_free(struct profile_rows *rows);

const char *profile_phase(enum lrqk_phase p);   /* "prefill" or "decode" */
void profile_table(struct text *t, const struct profile_head *h, const struct profile_tables *p);
void profile_csv(struct text *t, const struct profile_tables *p);
void profile_json(struct text *t, const struct profile_head *h, const struct profile_tables *p);
void profile_folded(struct text *t, const struct profile_tables *p);   /* phase;stage;kernel microseconds */

/* A page of HTML, alone; kernels not by layer, heads with samples. */
void profile_page(struct text *t, const struct profile_head *h, const struct profile_log *l, const struct profile_tables *p);

/* Chrome trace events, as ui.perfetto.dev and chrome://tracing read them. */
void profile_trace(struct text *t, const struct profile_head *h, const struct profile_log *l);

#endif
