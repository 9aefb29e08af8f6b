/* factor_fit.h - factors of the synthetic queries and keys of golden.h: Grams, starts, results and rows of A, for the
 * tests of factor.c and paper.c. */
#ifndef TESTS_FACTOR_FIT_H
#define TESTS_FACTOR_FIT_H

#include "attention/factor.h"
#include "golden.h"

struct fit {
  const struct synth *s;
  struct factor_options o;     /* lambdas 1, tol 0 */
  uint32_t n;                  /* tokens of the prompt that are used */
  uint32_t heads;              /* that are factored: query heads, or 1 for the group */
  uint32_t rows_q;             /* rows of A_Q of a head */
  double *gq, *gk;             /* [heads][d][d], [d][d] */
  double *qa, *ka, *aq, *ak;   /* the random start, [heads] each */
  double *mq, *mk, *bq, *bk;   /* [heads][r][d] */
  const uint32_t *coord;       /* [r], or [heads][r] with coord_step r */
  size_t coord_step;
  uint32_t done;
};

void fit_init(struct fit *f, const struct synth *s, uint32_t n, uint32_t r, bool group);
void fit_free(struct fit *f);
void fit_start_coord(struct fit *f, const uint32_t *coord);    /* [r]: all heads */
void fit_start_coords(struct fit *f, const uint32_t *coord);   /* [heads][r] */
/* Starts at A of prandn(seed, [head0 + heads][prompt][r]) without its first head0, cut to the n tokens; with a group that of all
 * its queries stacked. */
void fit_start_random(struct fit *f, uint64_t seed_q, uint64_t seed_k, uint32_t head0);
enum lrqk_status fit_solve(struct fit *f);
void fit_row(const struct fit *f, uint32_t head, bool queries, uint32_t row, double *a);   /* a[r]: a row of A_Q or A_K */
double fit_residual(const struct fit *f, uint32_t head);                                   /* |QK' - A_Q A_K'| / |QK'| */

#endif
