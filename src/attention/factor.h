/* factor.h - joint low-rank factors of queries and keys (LRQK, Algorithm 1) from Gram matrices: A_Q = Q M_Q, A_K = K M_K
 * with M [d][r], so that the iteration costs O(d^2 r) whatever the number of tokens.  One solver for the proxies `gram`
 * (to convergence, then fixed maps) and `paper` (2 iterations, then paper.h).  Pure arithmetic in double; called once per
 * layer after prefill.  Everything is kept transposed, [r][d]: row i is column i of M.
 *
 *   minimise |QK' - A_Q A_K'|^2 + lambda_q |Q - A_Q B_Q|^2 + lambda_k |K - A_K B_K|^2,  per iteration (Gauss-Seidel):
 *   B_Q = (A_Q'A_Q)^-1 A_Q'Q                 A_Q = Q [K'A_K + lambda_q B_Q'] [A_K'A_K + lambda_q B_Q B_Q']^-1
 *   B_K = (A_K'A_K)^-1 A_K'K                 A_K = K [Q'A_Q + lambda_k B_K'] [A_Q'A_Q + lambda_k B_K B_K']^-1   (new A_Q) */
#ifndef ATTENTION_FACTOR_H
#define ATTENTION_FACTOR_H

#include "base/log.h"

struct factor_options {
  uint32_t d, r;            /* r <= d */
  uint32_t iters;           /* the most iterations; 0 (not with a start of A's own): M picks the coordinates of the start */
  double tol;               /* stop when the mean squared change of A over all heads falls below it; 0: never */
  double lambda_q, lambda_k;
  uint64_t rows_q, rows_k;  /* rows that the Grams of one head stand for: l, times g for the queries of a group */
};

/* Where the iteration starts: at r coordinates (M = those columns of the identity), or, where coord is NULL, at any
 * A_Q [rows_q][r], A_K [rows_k][r], known by their products with Q and K. */
struct factor_start {
  const uint32_t *coord;    /* [r], distinct, < d */
  const double *qa, *ka;    /* [r][d] A_Q'Q, A_K'K */
  const double *aq, *ak;    /* [r][r] A_Q'A_Q, A_K'A_K */
};

struct factor_head {
  const double *gq, *gk;    /* [d][d] Q'Q (over the query heads of a group: their sum), K'K; heads may share one */
  struct factor_start start;
  double *mq, *mk;          /* out [r][d]: M_Q', M_K' */
  double *bq, *bk;          /* out [r][d]: B_Q, B_K of the last A.  B_K' is also the map of queries that fits q K' = (q B_K') A_K' best */
};

/* Doubles of workspace. */
size_t factor_work(const struct factor_options *o, uint32_t n_heads);

/* Solves the heads of one layer together (they share the stop rule) in work[factor_work]; *iters, if not NULL, gets the
 * iterations done.  LRQK_CHECK: a Gram is not finite or not positive semidefinite.  LRQK_USAGE: sizes that do not fit. */
enum lrqk_status factor_solve(const struct log *log, const struct factor_options *o, const struct factor_head *heads, uint32_t n_heads,
                              double *work, uint32_t *iters);

/* coord[r], ascending: the coordinates with the largest weight[d]; ties go to the lowest.  `paper` weighs them by the sums of
 * |Q| and |K|.  Averaged Grams (rotate.h) want diag(G_Q) * diag(G_K): the faster their pairs turn, the less an iteration
 * can leave the pairs it started from. */
void factor_topcol(uint32_t *coord, const double *weight, uint32_t d, uint32_t r);

#endif
