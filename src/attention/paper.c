#include "attention/paper.h"

#include <string.h>

#include "attention/dense.h"

/* What stays the same between the iterations of a head. */
struct fixed {
  double *kb, *bkb;         /* [r] k B_K', [r][r] B_K B_K' */
  double *qb, *bqb;         /* [g][r] q B_Q' + lambda (q K_O') A_O, [g][r][r] B_Q B_Q' + lambda A_O'A_O */
  double *qk;               /* [g] q.k */
};
struct scratch { double *sum, *low, *next; };   /* [r][r], [r][r], [r] */

static size_t square(const struct paper_options *o) { return (size_t)o->r * o->r; }
static size_t fixed_size(const struct paper_options *o) { return (o->g + (size_t)1) * (o->r + square(o)) + o->g; }

size_t paper_work(const struct paper_options *o, uint32_t n_heads) { return n_heads * fixed_size(o) + 2 * square(o) + o->r; }

static struct fixed fixed_of(const struct paper_options *o, double *work, uint32_t head) {
  double *p = work + head * fixed_size(o), *q = p + o->r + square(o), *s = q + o->g * o->r;
  return (struct fixed){ .kb = p, .bkb = p + o->r, .qb = q, .bqb = s, .qk = s + o->g * square(o) };
}

void paper_omega(const struct paper_options *o, double *oq, double *oa, const double *q, uint32_t n_q, const float *k, const float *a,
                 size_t n) {
  for (size_t t = 0; t < n; t++, k += o->d, a += o->r) {
    for (uint32_t j = 0; j < n_q; j++) {
      double s = 0;
      for (uint32_t i = 0; i < o->d; i++) s += q[(size_t)j * o->d + i] * k[i];
      for (uint32_t i = 0; i < o->r; i++) oq[(size_t)j * o->r + i] += s * a[i];
    }
    for (uint32_t i = 0; i < o->r; i++)
      for (uint32_t j = 0; j <= i; j++) oa[(size_t)i * o->r + j] += (double)a[i] * a[j];
  }
}

static void prepare(const struct paper_options *o, const struct paper_head *h, const struct fixed *f) {
  uint32_t r = o->r, d = o->d;
  dense_mul_t(f->kb, h->k, h->bk, 1, d, r);
  dense_mul_t(f->bkb, h->bk, h->bk, r, d, r);
  for (uint32_t j = 0; j < o->g; j++) {
    const double *q = h->q + (size_t)j * d, *b = h->bq + (size_t)j * r * d;
    double *qb = f->qb + (size_t)j * r, *bqb = f->bqb + j * square(o);
    dense_mul_t(qb, q, b, 1, d, r);
    for (uint32_t i = 0; i < r; i++) qb[i] += o->lambda * h->oq[(size_t)j * r + i];
    dense_mul_t(bqb, b, b, r, d, r);
    for (size_t i = 0; i < square(o); i++) bqb[i] += o->lambda * h->oa[j * h->oa_step + i];
    f->qk[j] = dense_dot(q, h->k, d);
  }
}

/* sum [r][r] += f x'x */
static void add_outer(double *sum, const double *x, double f, uint32_t r) {
  for (uint32_t i = 0; i < r; i++)
    for (uint32_t j = 0; j < r; j++) sum[(size_t)i * r + j] += f * x[i] * x[j];
}

static bool solve(const struct paper_options *o, const struct scratch *t, double *x) {
  if (!dense_cholesky(t->low, t->sum, o->r, false)) return false;
  dense_solve(t->low, x, o->r, 1);
  return true;
}

static bool first_key(const struct paper_options *o, const struct paper_head *h, const struct fixed *f, const struct scratch *t) {
  memcpy(t->sum, f->bkb, square(o) * sizeof *t->sum);
  memcpy(h->kh, f->kb, o->r * sizeof *h->kh);
  return solve(o, t, h->kh);
}

/* *change += |k^_new - k^_old|^2 */
static bool iterate(const struct paper_options *o, const struct paper_head *h, const struct fixed *f, const struct scratch *t,
                    double *change) {
  uint32_t r = o->r;
  for (uint32_t j = 0; j < o->g; j++) {
    double *qh = h->qh + (size_t)j * r;
    memcpy(t->sum, f->bqb + j * square(o), square(o) * sizeof *t->sum);
    add_outer(t->sum, h->kh, o->lambda, r);
    for (uint32_t i = 0; i < r; i++) qh[i] = f->qb[(size_t)j * r + i] + o->lambda * f->qk[j] * h->kh[i];
    if (!solve(o, t, qh)) return false;
  }
  memcpy(t->sum, f->bkb, square(o) * sizeof *t->sum);
  memcpy(t->next, f->kb, r * sizeof *t->next);
  for (uint32_t j = 0; j < o->g; j++) {
    const double *qh = h->qh + (size_t)j * r;
    add_outer(t->sum, qh, o->lambda, r);
    for (uint32_t i = 0; i < r; i++) t->next[i] += o->lambda * f->qk[j] * qh[i];
  }
  if (!solve(o, t, t->next)) return false;
  for (uint32_t i = 0; i < r; i++) {
    double e = t->next[i] - h->kh[i];
    *change += e * e;
    h->kh[i] = t->next[i];
  }
  return true;
}

/* b [r][d] -= eta D: D = a'e with e = a b - x, so |D|^2 = |a|^2 |e|^2 and |a D|^2 = |a|^4 |e|^2. */
static void update_basis(double *b, const double *a, const double *x, uint32_t r, uint32_t d) {
  double aa = dense_dot(a, a, r), ee = 0;
  for (uint32_t c = 0; c < d; c++) {
    double e = -x[c];
    for (uint32_t i = 0; i < r; i++) e += a[i] * b[(size_t)i * d + c];
    ee += e * e;
  }
  double eta = aa * ee / (aa * aa * ee + 1e-6);
  for (uint32_t c = 0; c < d; c++) {
    double e = -x[c];
    for (uint32_t i = 0; i < r; i++) e += a[i] * b[(size_t)i * d + c];
    for (uint32_t i = 0; i < r; i++) b[(size_t)i * d + c] -= eta * a[i] * e;
  }
}

enum lrqk_status paper_step(const struct log *log, const struct paper_options *o, const struct paper_head *heads, uint32_t n_heads,
                            double *work, uint32_t *iters) {
  double *p = work + n_heads * fixed_size(o);
  struct scratch t = { p, p + square(o), p + 2 * square(o) };
  uint32_t done = 0;
  bool ok = true;
  for (uint32_t i = 0; i < n_heads && ok; i++) {
    struct fixed f = fixed_of(o, work, i);
    prepare(o, &heads[i], &f);
    ok = first_key(o, &heads[i], &f, &t);
  }
  while (ok && done < o->iters) {
    double change = 0;
    for (uint32_t i = 0; i < n_heads && ok; i++) {
      struct fixed f = fixed_of(o, work, i);
      ok = iterate(o, &heads[i], &f, &t, &change);
    }
    done++;
    if (change / ((double)o->r * n_heads) < o->tol) break;
  }
  if (!o->iters) return fail(log, LRQK_USAGE, "decode update of the factors: 0 iterations, expected 1 or more");
  if (!ok) return fail(log, LRQK_CHECK, "decode update of the factors: a basis, a query or a key is not finite");
  for (uint32_t i = 0; i < n_heads && !o->freeze_basis; i++) {
    const struct paper_head *h = &heads[i];
    for (uint32_t j = 0; j < o->g; j++)
      update_basis(h->bq + (size_t)j * o->r * o->d, h->qh + (size_t)j * o->r, h->q + (size_t)j * o->d, o->r, o->d);
    update_basis(h->bk, h->kh, h->k, o->r, o->d);
  }
  if (iters) *iters = done;
  return LRQK_OK;
}
