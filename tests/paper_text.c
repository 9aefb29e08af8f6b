#include "paper_text.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = SYNTH_D };

static const struct log no_log;

static double *zeros(size_t n) {
  double *p = calloc(n, sizeof *p);
  ck_assert_msg(p != NULL, "out of memory");
  return p;
}

static size_t room(const struct paper_text *t) { return t->s->n + SYNTH_STEPS; }
static double *ak_row(const struct paper_text *t, uint32_t head, size_t token) { return t->ak + (head * room(t) + token) * t->o.r; }
static const float *k_row(const struct paper_text *t, size_t token) { return t->s->k + token * D; }

/* scores of the first cand tokens with the proxies qh [heads][g][r] */
static void score(struct paper_text *t, const double *qh, uint32_t cand) {
  for (uint32_t i = 0; i < t->f.heads * t->o.g; i++)
    for (uint32_t x = 0; x < cand; x++) {
      const double *a = ak_row(t, i / t->o.g, x);
      double s = 0;
      for (uint32_t c = 0; c < t->o.r; c++) s += qh[(size_t)i * t->o.r + c] * a[c];
      t->scores[i * room(t) + x] = s;
    }
}

/* hits = the k largest of each head, ascending, ties to the lowest; for a group by the sum of its softmax. */
static void choose(struct paper_text *t, uint32_t cand) {
  double *w = zeros(cand);
  for (uint32_t h = 0; h < t->f.heads; h++) {
    for (uint32_t x = 0; x < cand; x++) w[x] = t->o.g == 1 ? t->scores[h * room(t) + x] : 0;
    for (uint32_t j = 0; j < t->o.g && t->o.g > 1; j++) {
      const double *s = t->scores + (h * t->o.g + j) * room(t);
      double most = -INFINITY, sum = 0;
      for (uint32_t x = 0; x < cand; x++) most = fmax(most, s[x]);
      for (uint32_t x = 0; x < cand; x++) sum += exp((s[x] - most) / 8);
      for (uint32_t x = 0; x < cand; x++) w[x] += exp((s[x] - most) / 8) / sum;
    }
    uint32_t chosen[PAPER_MAX_K];
    factor_topcol(chosen, w, cand, t->c->k);
    double most = 0, last = INFINITY, next = -INFINITY;
    for (uint32_t x = 0, i = 0; x < cand; x++) {
      bool in = i < t->c->k && chosen[i] == x;
      i += in;
      most = fmax(most, fabs(w[x]));
      if (in) last = fmin(last, w[x]);
      else next = fmax(next, w[x]);
    }
    t->margin[h] = (last - next) / most;
    for (uint32_t i = 0; i < t->c->k; i++) t->hits[h][i] = (int32_t)chosen[i];
  }
  free(w);
}

/* The coordinates with the largest sum of |Q| and |K|, for each head. */
static void start_topcol(struct paper_text *t) {
  const struct paper_setup *c = t->c;
  uint32_t per = c->heads / t->f.heads;
  t->coord = malloc(sizeof *t->coord * t->f.heads * c->r);
  for (uint32_t h = 0; h < t->f.heads; h++) {
    double weight[D] = { 0 };
    for (size_t x = 0; x < (size_t)c->n * D; x++) {
      weight[x % D] += fabsf(t->s->k[x]);
      for (uint32_t j = h * per; j < (h + 1) * per; j++) weight[x % D] += fabsf(t->s->q[j * room(t) * D + x]);
    }
    factor_topcol(t->coord + h * c->r, weight, D, c->r);
  }
  fit_start_coords(&t->f, t->coord);
}

void paper_text_open(struct paper_text *t, const struct paper_setup *c, const struct synth *s, bool narrow) {
  *t = (struct paper_text){ .c = c, .s = s, .narrow = narrow, .l = c->n };
  fit_init(&t->f, t->s, c->n, c->r, c->group);
  if (c->seed_q || c->seed_k) fit_start_random(&t->f, c->seed_q, c->seed_k, c->head0);
  else start_topcol(t);
  t->f.o.iters = 2;
  ck_assert_int_eq(fit_solve(&t->f), LRQK_OK);
  uint32_t heads = t->f.heads, g = c->heads / heads;
  size_t area = (size_t)c->r * D;
  t->o = (struct paper_options){ .d = D, .r = c->r, .g = g, .iters = 2, .lambda = c->lambda };
  t->ak = zeros(heads * room(t) * c->r);
  t->bq = zeros(heads * g * area);
  t->bk = zeros(heads * area);
  t->qh = zeros((size_t)heads * g * c->r);
  t->kh = zeros((size_t)heads * c->r);
  t->scores = zeros(heads * g * room(t));
  memcpy(t->bk, t->f.bk, heads * area * sizeof *t->bk);
  for (uint32_t h = 0; h < heads; h++) {
    for (uint32_t j = 0; j < g; j++) {
      memcpy(t->bq + (h * g + j) * area, t->f.bq + h * area, area * sizeof *t->bq);
      fit_row(&t->f, h, true, (j + 1) * c->n - 1, t->qh + (h * g + j) * c->r);   /* that of the last token */
    }
    for (uint32_t x = 0; x < c->n; x++) fit_row(&t->f, h, false, x, ak_row(t, h, x));
  }
  score(t, t->qh, c->n - c->lite);
  choose(t, c->n - c->lite);
}

void paper_text_close(struct paper_text *t) {
  double *all[] = { t->ak, t->bq, t->bk, t->qh, t->kh, t->scores };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
  free(t->coord);
  fit_free(&t->f);
}

/* Omega of a head: its last hits and the lite tokens without the new one. */
static void omega(const struct paper_text *t, uint32_t h, const double *q, double *oq, double *oa) {
  uint32_t r = t->o.r, n = t->c->k + t->c->lite - 1;
  float *k = malloc(sizeof *k * n * D), *a = malloc(sizeof *a * n * r);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t token = i < t->c->k ? (uint32_t)t->hits[h][i] : t->l - t->c->lite + 1 + (i - t->c->k);
    const double *row = ak_row(t, h, token);
    memcpy(k + i * D, k_row(t, token), D * sizeof *k);
    for (uint32_t x = 0; x < r; x++) a[i * r + x] = (float)row[x];
    if (t->narrow) continue;
    for (uint32_t j = 0; j < t->o.g; j++) {
      double s = 0;
      for (uint32_t x = 0; x < D; x++) s += q[j * D + x] * k_row(t, token)[x];
      for (uint32_t x = 0; x < r; x++) oq[j * r + x] += s * row[x];
    }
    for (uint32_t x = 0; x < r; x++)
      for (uint32_t y = 0; y <= x; y++) oa[x * r + y] += row[x] * row[y];
  }
  if (t->narrow) paper_omega(&t->o, oq, oa, q, t->o.g, k, a, n);
  free(k);
  free(a);
}

void paper_text_step(struct paper_text *t, uint32_t gap, bool lists) {
  uint32_t heads = t->f.heads, g = t->o.g, r = t->o.r, c = t->l;
  struct paper_head head[PAPER_MAX_HEADS];
  double *q = zeros((size_t)heads * g * D), k[D], *oq = zeros((size_t)heads * g * r), *oa = zeros((size_t)heads * g * r * r);
  for (uint32_t i = 0; i < D; i++) k[i] = k_row(t, c)[i];
  for (uint32_t i = 0; i < heads * g * D; i++) q[i] = t->s->q[(i / D * room(t) + c) * D + i % D];
  for (uint32_t h = 0; h < heads; h++) {
    double *of_head = oa + (size_t)h * g * r * r;
    omega(t, h, q + (size_t)h * g * D, oq + (size_t)h * g * r, of_head);
    for (uint32_t j = 1; j < g && lists; j++) memcpy(of_head + (size_t)j * r * r, of_head, sizeof *oa * r * r);
    head[h] = (struct paper_head){ .q = q + (size_t)h * g * D, .k = k, .oq = oq + (size_t)h * g * r, .oa = of_head,
                                   .oa_step = lists ? (size_t)r * r : 0, .bq = t->bq + (size_t)h * g * r * D,
                                   .bk = t->bk + (size_t)h * r * D, .qh = t->qh + (size_t)h * g * r, .kh = t->kh + (size_t)h * r };
  }
  double *work = zeros(paper_work(&t->o, heads));
  ck_assert_int_eq(paper_step(&no_log, &t->o, head, heads, work, &t->done), LRQK_OK);
  free(work);
  free(q);
  free(oq);
  free(oa);
  for (uint32_t h = 0; h < heads; h++) memcpy(ak_row(t, h, c), t->kh + (size_t)h * r, r * sizeof *t->kh);
  score(t, t->qh, c - t->c->lite + 1 - gap);
  choose(t, c - t->c->lite + 1 - gap);
  t->l++;
}
