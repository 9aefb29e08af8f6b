/* grid.h - tables of aligned columns, plain or as Markdown, and the cells of CSV.  Called by bench.c and bench_kernels.c. */
#ifndef CLI_GRID_H
#define CLI_GRID_H

#include "json.h"

/* Zero-initialised but for columns and words is ready; the first row is the titles. */
struct grid {
  size_t columns, n, cap;         /* n: cells so far, row after row */
  unsigned words;                 /* bit i: column i holds words, which begin at its left edge; numbers end at its right */
  char (*cell)[160];
  bool failed;                    /* out of memory */
};
void grid_add(struct grid *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));   /* the next cell */
void grid_print(struct text *t, struct grid *g, bool md);                                    /* and frees it */

void csv_string(struct text *t, const char *s, size_t len);
void csv_num(struct text *t, double v);   /* a comma and the number; only the comma if it is not finite */

#endif
