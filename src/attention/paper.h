/* paper.h - the decode updates of LRQK (Algorithm 2) for one layer and one new token, on the CPU: the proxies of its
 * queries and of its key against the rows Omega that were attended to last, then the published update of the bases, which
 * is what spoils long answers (old rows of A_K keep their old basis).  Pure arithmetic in double; `--proxy paper` only.
 *
 *   k^ = k B_K'(B_K B_K')^-1, then iters times, for the query heads j of the group (`head`: one):
 *   q^_j = [q_j B_Qj' + lambda (q_j K_O') A_O + lambda (q_j.k) k^] [B_Qj B_Qj' + lambda A_O'A_O + lambda k^'k^]^-1
 *   k^   = [k B_K' + lambda sum_j (q_j.k) q^_j] [B_K B_K' + lambda sum_j q^_j'q^_j]^-1
 *   B <- B - eta D, D = a'(a B - x), eta = |D|^2 / (|a D|^2 + 1e-6)   for (B_Qj, q^_j, q_j) and (B_K, k^, k) */
#ifndef ATTENTION_PAPER_H
#define ATTENTION_PAPER_H

#include "base/log.h"

struct paper_options {
  uint32_t d, r;
  uint32_t g;               /* query heads of one A_K: 1 (`--share head`) or the group */
  uint32_t iters;           /* at least 1 */
  double tol;               /* stop when the mean squared change of k^ over all heads of the layer falls below it; 0: never */
  double lambda;
  bool freeze_basis;        /* leaves B_Q and B_K as they are */
};

struct paper_head {
  const double *q, *k;      /* [g][d], [d] the new token after RoPE, not scaled */
  const double *oq, *oa;    /* [g][r] (q_j K_O') A_O, [r][r] A_O'A_O (lower triangle), see paper_omega */
  size_t oa_step;           /* doubles from the oa of one query head to that of the next; 0: they share Omega */
  double *bq, *bk;          /* in and out: [g][r][d], [r][d] */
  double *qh, *kh;          /* out: [g][r], [r] the proxies q^_j and k^; a score is q^_j . (row of A_K) */
};

/* Adds n rows of the Omega of n_q query heads, q [n_q][d], to oq [n_q][r] and oa [r][r], which start as zeros: exact keys
 * k [n][d], proxies a [n][r].  Of oa only the lower triangle is written. */
void paper_omega(const struct paper_options *o, double *oq, double *oa, const double *q, uint32_t n_q, const float *k, const float *a,
                 size_t n);

/* Doubles of workspace. */
size_t paper_work(const struct paper_options *o, uint32_t n_heads);

/* One token for all heads of a layer (they share the stop rule); *iters, if not NULL, gets the iterations done.
 * LRQK_CHECK: something is not finite. */
enum lrqk_status paper_step(const struct log *log, const struct paper_options *o, const struct paper_head *heads, uint32_t n_heads,
                            double *work, uint32_t *iters);

#endif
