#include "factor_fit.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { D = SYNTH_D };

static double *zeros(size_t n) {
  double *p = calloc(n, sizeof *p);
  ck_assert_msg(p != NULL, "out of memory");
  return p;
}

/* Row of a head's queries (a group's heads follow one another) or of the keys. */
static const float *row_of(const struct fit *f, uint32_t head, bool queries, uint32_t row) {
  if (!queries) return f->s->k + (size_t)row * D;
  uint32_t h = head + row / f->n;
  return f->s->q + ((size_t)h * (f->s->n + SYNTH_STEPS) + row % f->n) * D;
}

/* c[n][m] += a[n]' b[m] */
static void add_outer(double *c, const float *a, uint32_t n, const float *b, uint32_t m) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < m; j++) c[(size_t)i * m + j] += (double)a[i] * b[j];
}

void fit_init(struct fit *f, const struct synth *s, uint32_t n, uint32_t r, bool group) {
  uint32_t heads = group ? 1 : s->heads, rows_q = group ? s->heads * n : n;
  *f = (struct fit){ .s = s, .n = n, .heads = heads, .rows_q = rows_q,
                     .o = { .d = D, .r = r, .lambda_q = 1, .lambda_k = 1, .rows_q = rows_q, .rows_k = n } };
  size_t area = (size_t)heads * r * D;
  f->gq = zeros((size_t)heads * D * D);
  f->gk = zeros((size_t)D * D);
  f->mq = zeros(area);
  f->mk = zeros(area);
  f->bq = zeros(area);
  f->bk = zeros(area);
  for (uint32_t h = 0; h < heads; h++)
    for (uint32_t t = 0; t < rows_q; t++) {
      const float *q = row_of(f, h, true, t);
      add_outer(f->gq + (size_t)h * D * D, q, D, q, D);
    }
  for (uint32_t t = 0; t < n; t++) add_outer(f->gk, row_of(f, 0, false, t), D, row_of(f, 0, false, t), D);
}

void fit_free(struct fit *f) {
  double *all[] = { f->gq, f->gk, f->qa, f->ka, f->aq, f->ak, f->mq, f->mk, f->bq, f->bk };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

void fit_start_coord(struct fit *f, const uint32_t *coord) { f->coord = coord; }

void fit_start_coords(struct fit *f, const uint32_t *coord) {
  f->coord = coord;
  f->coord_step = f->o.r;
}

void fit_start_random(struct fit *f, uint64_t seed_q, uint64_t seed_k, uint32_t head0) {
  uint32_t r = f->o.r;
  size_t skip = (size_t)head0 * f->s->n * r, all = skip + (size_t)f->s->heads * f->s->n * r;
  float *a = malloc(all * sizeof *a), *b = malloc(all * sizeof *b);
  ck_assert(a && b);
  prandn(a, seed_q, all);
  prandn(b, seed_k, all);
  f->qa = zeros((size_t)f->heads * r * D);
  f->ka = zeros((size_t)f->heads * r * D);
  f->aq = zeros((size_t)f->heads * r * r);
  f->ak = zeros((size_t)f->heads * r * r);
  for (uint32_t h = 0; h < f->heads; h++) {
    for (uint32_t t = 0; t < f->rows_q; t++) {
      const float *x = a + skip + ((size_t)h * f->s->n + t) * r;
      add_outer(f->qa + (size_t)h * r * D, x, r, row_of(f, h, true, t), D);
      add_outer(f->aq + (size_t)h * r * r, x, r, x, r);
    }
    for (uint32_t t = 0; t < f->n; t++) {
      const float *x = b + skip + ((size_t)h * f->s->n + t) * r;
      add_outer(f->ka + (size_t)h * r * D, x, r, row_of(f, h, false, t), D);
      add_outer(f->ak + (size_t)h * r * r, x, r, x, r);
    }
  }
  free(a);
  free(b);
}

enum lrqk_status fit_solve(struct fit *f) {
  static const struct log silent;
  struct factor_head heads[8];
  size_t area = (size_t)f->o.r * D, square = (size_t)f->o.r * f->o.r;
  ck_assert_uint_le(f->heads, 8);
  for (uint32_t h = 0; h < f->heads; h++) {
    struct factor_head *p = &heads[h];
    *p = (struct factor_head){ .gq = f->gq + (size_t)h * D * D, .gk = f->gk, .mq = f->mq + h * area, .mk = f->mk + h * area,
                               .bq = f->bq + h * area, .bk = f->bk + h * area };
    if (f->coord) p->start.coord = f->coord + h * f->coord_step;
    else p->start = (struct factor_start){ .qa = f->qa + h * area, .ka = f->ka + h * area, .aq = f->aq + h * square, .ak = f->ak + h * square };
  }
  double *work = zeros(factor_work(&f->o, f->heads));
  enum lrqk_status s = factor_solve(&silent, &f->o, heads, f->heads, work, &f->done);
  free(work);
  return s;
}

void fit_row(const struct fit *f, uint32_t head, bool queries, uint32_t row, double *a) {
  const double *m = (queries ? f->mq : f->mk) + (size_t)head * f->o.r * D;
  const float *x = row_of(f, head, queries, row);
  for (uint32_t i = 0; i < f->o.r; i++) {
    a[i] = 0;
    for (uint32_t c = 0; c < D; c++) a[i] += m[(size_t)i * D + c] * x[c];
  }
}

/* tr of x y for symmetric x and y [n][n] */
static double trace_of(const double *x, const double *y, uint32_t n) {
  double s = 0;
  for (size_t i = 0; i < (size_t)n * n; i++) s += x[i] * y[i];
  return s;
}

/* In Gram space: |QK'|^2 = tr(G_Q G_K), |A_Q A_K'|^2 = tr(C_Q C_K), and the product of both = tr(M_Q'G_Q G_K M_K). */
double fit_residual(const struct fit *f, uint32_t head) {
  uint32_t r = f->o.r;
  const double *m[2] = { f->mq + (size_t)head * r * D, f->mk + (size_t)head * r * D }, *gram[2] = { f->gq + (size_t)head * D * D, f->gk };
  double *x[2], *c[2], both = 0;
  for (int side = 0; side < 2; side++) {
    x[side] = zeros((size_t)r * D);
    c[side] = zeros((size_t)r * r);
    for (uint32_t i = 0; i < r; i++)
      for (uint32_t a = 0; a < D; a++)
        for (uint32_t b = 0; b < D; b++) x[side][(size_t)i * D + b] += m[side][(size_t)i * D + a] * gram[side][(size_t)a * D + b];
    for (uint32_t i = 0; i < r; i++)
      for (uint32_t j = 0; j < r; j++)
        for (uint32_t a = 0; a < D; a++) c[side][(size_t)i * r + j] += x[side][(size_t)i * D + a] * m[side][(size_t)j * D + a];
  }
  for (size_t i = 0; i < (size_t)r * D; i++) both += x[0][i] * x[1][i];
  double whole = trace_of(gram[0], gram[1], D), rest = whole - 2 * both + trace_of(c[0], c[1], r);
  for (int side = 0; side < 2; side++) {
    free(x[side]);
    free(c[side]);
  }
  return sqrt(fmax(rest, 0) / whole);
}
