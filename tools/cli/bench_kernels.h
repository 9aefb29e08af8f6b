/* bench_kernels.h - `lrqk bench --kernels`: the times of each kernel over the shapes that it ran with.  Called by cmd_bench.c. */
#ifndef CLI_BENCH_KERNELS_H
#define CLI_BENCH_KERNELS_H

#include "bench.h"
#include "lrqk/profile.h"

/* A kernel with one shape in one test. */
struct kernel_row {
  size_t test;                    /* of kernel_log.rows */
  const char *name;
  uint32_t size[3], workgroup;    /* as in struct lrqk_profile_event; sizes that grow with the text are those of its first token */
  double *us;                     /* [n] */
  size_t n, cap;
  double device_bytes, bus_bytes, flops;   /* of all n */
};

/* only: names that may be cut short, apart by commas; "": all kernels. */
struct kernel_log { const char *only; size_t test; struct kernel_row *row; size_t n, cap; bool failed; };

void kernel_log_add(void *log, const struct lrqk_profile_event *e);   /* an lrqk_profile_fn: a command of test log->test */
void kernel_log_free(struct kernel_log *l);

/* format as in bench_print; rows: the tests.  Sorts the log. */
void kernels_print(struct text *t, const char *format, const struct bench_head *head, const struct lrqk_ceilings *c,
                   const struct bench_row *rows, struct kernel_log *l);

#endif
