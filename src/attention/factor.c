#include "attention/factor.h"

#include <math.h>
#include <string.h>

#include "attention/dense.h"

/* What an iteration knows of a head: A_Q'Q, A_K'K [r][d] and A_Q'A_Q, A_K'A_K [r][r]. */
struct state { double *xq, *xk, *cq, *ck; };
struct scratch { double *bq, *bk, *sum, *low; };   /* [r][d] twice, [r][r] twice */

static size_t area(const struct factor_options *o) { return (size_t)o->r * o->d; }
static size_t square(const struct factor_options *o) { return (size_t)o->r * o->r; }

size_t factor_work(const struct factor_options *o, uint32_t n_heads) { return 2 * (n_heads + (size_t)1) * (area(o) + square(o)); }

/* Block i of the workspace; block 0 is scratch. */
static double *block(const struct factor_options *o, double *work, uint32_t i) { return work + 2 * (size_t)i * (area(o) + square(o)); }

static struct state head_state(const struct factor_options *o, double *work, uint32_t head) {
  double *p = block(o, work, head + 1);
  return (struct state){ p, p + area(o), p + 2 * area(o), p + 2 * area(o) + square(o) };
}

static double trace(const double *a, uint32_t r) {
  double s = 0;
  for (uint32_t i = 0; i < r; i++) s += a[(size_t)i * r + i];
  return s;
}

/* x = M'G, c = M'GM for M' = m */
static void products(const struct factor_options *o, const double *m, const double *gram, double *x, double *c) {
  dense_mul(x, m, gram, o->r, o->d, o->d);
  dense_mul_t(c, x, m, o->r, o->d, o->r);
}

static void start(const struct factor_options *o, const struct factor_head *h, struct state s) {
  if (h->start.coord) {
    memset(h->mq, 0, area(o) * sizeof *h->mq);
    for (uint32_t i = 0; i < o->r; i++) h->mq[(size_t)i * o->d + h->start.coord[i]] = 1;
    memcpy(h->mk, h->mq, area(o) * sizeof *h->mk);
    products(o, h->mq, h->gq, s.xq, s.cq);
    products(o, h->mk, h->gk, s.xk, s.ck);
  } else {
    memcpy(s.xq, h->start.qa, area(o) * sizeof *s.xq);
    memcpy(s.xk, h->start.ka, area(o) * sizeof *s.xk);
    memcpy(s.cq, h->start.aq, square(o) * sizeof *s.cq);
    memcpy(s.ck, h->start.ak, square(o) * sizeof *s.ck);
  }
}

static bool ridge(const struct factor_options *o) { return o->rows_q < 2ull * o->r || o->rows_k < 2ull * o->r; }

/* b = c^-1 x */
static bool basis(const struct factor_options *o, const double *c, const double *x, double *b, double *low) {
  if (!dense_cholesky(low, c, o->r, ridge(o))) return false;
  memcpy(b, x, area(o) * sizeof *b);
  dense_solve(low, b, o->r, o->d);
  return true;
}

/* One side: m = [c2 + lambda b b']^-1 [x2 + lambda b], x2 and c2 being the other side's; then x and c of the new A.
 * *change += |A_new - A_old|^2. */
static bool update(const struct factor_options *o, double lambda, const double *b, const double *x2, const double *c2, const double *gram,
                   double *m, double *x, double *c, const struct scratch *t, double *change) {
  dense_mul_t(t->sum, b, b, o->r, o->d, o->r);
  for (size_t i = 0; i < square(o); i++) t->sum[i] = c2[i] + lambda * t->sum[i];
  if (!dense_cholesky(t->low, t->sum, o->r, ridge(o))) return false;
  for (size_t i = 0; i < area(o); i++) m[i] = x2[i] + lambda * b[i];
  dense_solve(t->low, m, o->r, o->d);
  double old = trace(c, o->r) - 2 * dense_dot(m, x, o->r * o->d);
  products(o, m, gram, x, c);
  *change += fmax(old + trace(c, o->r), 0);
  return true;
}

/* change[2] += |A_new - A_old|^2 of A_Q and of A_K. */
static bool iterate(const struct factor_options *o, const struct factor_head *h, struct state s, const struct scratch *t, double *change) {
  return basis(o, s.cq, s.xq, t->bq, t->low) && basis(o, s.ck, s.xk, t->bk, t->low) &&
         update(o, o->lambda_q, t->bq, s.xk, s.ck, h->gq, h->mq, s.xq, s.cq, t, &change[0]) &&
         update(o, o->lambda_k, t->bk, s.xq, s.cq, h->gk, h->mk, s.xk, s.ck, t, &change[1]);
}

static enum lrqk_status not_solved(const struct log *log, uint32_t head) {
  return fail(log, LRQK_CHECK, "factors of head %u: its Gram matrices are not finite and positive semidefinite", head);
}

enum lrqk_status factor_solve(const struct log *log, const struct factor_options *o, const struct factor_head *heads, uint32_t n_heads,
                              double *work, uint32_t *iters) {
  if (!o->r || o->r > o->d || !o->rows_q || !o->rows_k)
    return fail(log, LRQK_USAGE, "factors: rank %u, head size %u, %llu queries, %llu keys, expected 1 <= rank <= head size, and rows",
                o->r, o->d, (unsigned long long)o->rows_q, (unsigned long long)o->rows_k);
  double *p = block(o, work, 0);
  struct scratch t = { p, p + area(o), p + 2 * area(o), p + 2 * area(o) + square(o) };
  for (uint32_t i = 0; i < n_heads; i++) {
    if (!o->iters && !heads[i].start.coord)
      return fail(log, LRQK_USAGE, "factors: 0 iterations from a start that is no choice of coordinates, expected 1 or more");
    start(o, &heads[i], head_state(o, work, i));
  }
  uint32_t done = 0;
  while (done < o->iters) {
    double change[2] = { 0, 0 };
    for (uint32_t i = 0; i < n_heads; i++)
      if (!iterate(o, &heads[i], head_state(o, work, i), &t, change)) return not_solved(log, i);
    done++;
    double per_q = change[0] / ((double)o->rows_q * o->r * n_heads), per_k = change[1] / ((double)o->rows_k * o->r * n_heads);
    if (fmax(per_q, per_k) < o->tol) break;
  }
  for (uint32_t i = 0; i < n_heads; i++) {
    struct state s = head_state(o, work, i);
    if (!basis(o, s.cq, s.xq, heads[i].bq, t.low) || !basis(o, s.ck, s.xk, heads[i].bk, t.low)) return not_solved(log, i);
  }
  if (iters) *iters = done;
  return LRQK_OK;
}

void factor_topcol(uint32_t *coord, const double *weight, uint32_t d, uint32_t r) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < d && n < r; i++) {
    uint32_t before = 0;   /* coordinates that come before i */
    for (uint32_t j = 0; j < d; j++) before += weight[j] > weight[i] || (weight[j] == weight[i] && j < i);
    if (before < r) coord[n++] = i;
  }
}
