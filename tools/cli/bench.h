/* bench.h - what `lrqk bench` measured, and the forms that it is printed in.  Called by cmd_bench.c. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "options.h"

/* One row: a prompt of n_prompt tokens or n_gen decoded ones, after n_depth tokens, under a policy. */
struct bench_row {
  const char *policy;             /* as given: policy[0..policy_len) of the list */
  size_t policy_len;
  uint64_t n_prompt, n_gen, n_depth;
  double *wall, *cpu;             /* [reps] seconds, of all threads for cpu */
  size_t reps;
  double fill_s;                  /* the tokens before took */
  const char *fill;               /* how they came there */
  const char *check;              /* what was compared, see cmd_bench.c */
  struct lrqk_choice choice;      /* of the last token of the last run */
  struct lrqk_cache_stats stats;  /* decoded, bus_bytes, chosen and misses are those of the timed steps */
};

struct bench_head { const struct lrqk_model_info *model; const char *file; struct lrqk_device_info device; uint32_t n_layers; };

/* The line above a table; "pp512 @ d4096". */
void bench_title(struct text *t, bool md, const struct bench_head *head);
void bench_test(const struct bench_row *r, char out[64]);

/* format: "table", "md", "csv" or "json". */
void bench_print(struct text *t, const char *format, const struct bench_head *head, const struct bench_row *rows, size_t n);

double bench_mean(const double *x, size_t n);
double bench_deviation(const double *x, size_t n);   /* of a sample: divided by n - 1; 0 for one value */

/* "512", "0,4096", "1K-8K+1K", "512-8K*2" to numbers from min to max.  label names the flag in messages. */
enum { BENCH_LIST = 64 };
int bench_list(struct ui *u, const char *label, const char *s, int64_t min, int64_t max, uint64_t out[BENCH_LIST], size_t *n);

#endif
