/* The decode updates of LRQK against the published algorithm in float64: 8 steps after the factors of the prompt, their
 * proxies, bases, scores and selected sets (tests/data/factor_golden.bin). */
#include "attention/paper.h"
#include "factor_fit.h"
#include "golden.h"

#include <check.h>   /* last: it has a macro named fail */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = SYNTH_D, MAX_HEADS = 3, MAX_K = 64 };

static const struct log no_log;

struct setup {
  const char *name, *mix;
  uint64_t seed;
  uint32_t heads, n, r, k, lite;
  bool group;                 /* one A_K and one list for all query heads */
  double lambda;
};

static const struct setup setups[] = {
  { "mha8", "mha.mix", 100, 1, 256, 8, 32, 16, false, 1 },
  { "mha16", "mha.mix", 100, 1, 256, 16, 32, 16, false, 1 },
  { "mha32", "mha.mix", 100, 1, 256, 32, 32, 16, false, 1 },
  { "gqa", "gqa.mix", 200, 3, 512, 16, 64, 16, false, 1 },
  { "group", "gqa.mix", 200, 3, 512, 16, 64, 16, true, 0.5 },
};
enum { N_SETUPS = sizeof setups / sizeof setups[0], MHA16 = 1, GROUP = 4 };

/* A text after its prompt.  "Heads" are those that have an A_K of their own. */
struct text {
  const struct setup *c;
  struct synth s;
  struct fit f;
  struct paper_options o;
  bool narrow;                /* Omega from float rows, as in the engine, rather than from double ones */
  uint32_t l;                 /* tokens */
  double *ak;                 /* [heads][n + steps][r] */
  double *bq, *bk;            /* [heads][g][r][d], [heads][r][d] */
  double *qh, *kh;            /* [heads][g][r], [heads][r] */
  double *scores;             /* [heads][g][n + steps] */
  uint32_t done;
  int32_t hits[MAX_HEADS][MAX_K];
};

static double *zeros(size_t n) {
  double *p = calloc(n, sizeof *p);
  ck_assert_msg(p != NULL, "out of memory");
  return p;
}

static size_t room(const struct text *t) { return t->s.n + SYNTH_STEPS; }
static double *ak_row(const struct text *t, uint32_t head, size_t token) { return t->ak + (head * room(t) + token) * t->o.r; }
static const float *k_row(const struct text *t, size_t token) { return t->s.k + token * D; }

/* scores of the first cand tokens with the proxies qh [heads][g][r] */
static void score(struct text *t, const double *qh, uint32_t cand) {
  for (uint32_t i = 0; i < t->f.heads * t->o.g; i++)
    for (uint32_t x = 0; x < cand; x++) {
      const double *a = ak_row(t, i / t->o.g, x);
      double s = 0;
      for (uint32_t c = 0; c < t->o.r; c++) s += qh[(size_t)i * t->o.r + c] * a[c];
      t->scores[i * room(t) + x] = s;
    }
}

/* hits = the k largest of each head, ascending, ties to the lowest; for a group by the sum of its softmax. */
static void choose(struct text *t, uint32_t cand) {
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
    uint32_t chosen[MAX_K];
    factor_topcol(chosen, w, cand, t->c->k);
    for (uint32_t i = 0; i < t->c->k; i++) t->hits[h][i] = (int32_t)chosen[i];
  }
  free(w);
}

static void open_text(struct text *t, const struct setup *c, bool narrow) {
  *t = (struct text){ .c = c, .narrow = narrow, .l = c->n };
  synth_make(&t->s, c->mix, c->seed, c->heads, c->n);
  fit_init(&t->f, &t->s, c->n, c->r, c->group);
  fit_start_random(&t->f, c->seed + 3, c->seed + 4);
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

static void close_text(struct text *t) {
  double *all[] = { t->ak, t->bq, t->bk, t->qh, t->kh, t->scores };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
  fit_free(&t->f);
  synth_free(&t->s);
}

/* Omega of a head: its last hits and the lite tokens without the new one. */
static void omega(const struct text *t, uint32_t h, const double *q, double *oq, double *oa) {
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

/* Decodes the next token; lists: each query head is given an Omega of its own, with the same rows. */
static void step(struct text *t, uint32_t gap, bool lists) {
  uint32_t heads = t->f.heads, g = t->o.g, r = t->o.r, c = t->l;
  struct paper_head head[MAX_HEADS];
  double *q = zeros((size_t)heads * g * D), k[D], *oq = zeros((size_t)heads * g * r), *oa = zeros((size_t)heads * g * r * r);
  for (uint32_t i = 0; i < D; i++) k[i] = k_row(t, c)[i];
  for (uint32_t i = 0; i < heads * g * D; i++) q[i] = t->s.q[(i / D * room(t) + c) * D + i % D];
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

static const char *key_of(const struct text *t, const char *key) {
  static char text[64];
  snprintf(text, sizeof text, "%s.%s", t->c->name, key);
  return text;
}

static void check(double e, double limit, const struct text *t, const char *key) {
  ck_assert_msg(e < limit, "%s.%s at %u tokens: error %.3g, expected < %.3g", t->c->name, key, t->l, e, limit);
}

/* Sets after i steps, exactly, unless the last chosen and the first left out are as good as equal. */
static void check_hits(const struct text *t, uint32_t gap, uint32_t i, double margin) {
  uint32_t heads = t->f.heads, k = t->c->k;
  const int32_t *want = golden_i32(key_of(t, gap ? "hits1" : "hits0"), (SYNTH_STEPS + (size_t)1) * heads * k) + (size_t)i * heads * k;
  const double *margins = NULL;
  if (i && !t->c->group) margins = golden_f64(key_of(t, gap ? "margin1" : "margin0"), SYNTH_STEPS * heads) + (i - 1) * heads;
  for (uint32_t h = 0; h < heads; h++) {
    uint32_t same = 0;
    for (uint32_t a = 0; a < k; a++)
      for (uint32_t b = 0; b < k; b++) same += t->hits[h][a] == want[h * k + b];
    ck_assert_msg(same == k || (margins && margins[h] < margin && same >= k - 1), "%s head %u gap %u step %u: %u of %u chosen", t->c->name,
                  h, gap, i, same, k);
  }
}

/* factor: of proxies and scores; basis: of B. */
static void check_steps(struct text *t, uint32_t gap, double factor, double basis, double margin) {
  size_t heads = t->f.heads, g = t->o.g, r = t->o.r;
  check_hits(t, gap, 0, margin);
  for (uint32_t i = 0; i < SYNTH_STEPS; i++) {
    step(t, gap, false);
    ck_assert_uint_eq(t->done, 2);
    check_hits(t, gap, i + 1, margin);
    if (!gap) continue;
    size_t nq = heads * g * r, nk = heads * r;
    check(golden_error(t->qh, golden_f64(key_of(t, "hq"), SYNTH_STEPS * nq) + i * nq, nq), factor, t, "hq");
    check(golden_error(t->kh, golden_f64(key_of(t, "hk"), SYNTH_STEPS * nk) + i * nk, nk), factor, t, "hk");
  }
  if (!gap) return;
  check(golden_basis_error(key_of(t, "bq_end"), t->bq, heads * g * r), basis, t, "bq_end");
  check(golden_basis_error(key_of(t, "bk_end"), t->bk, heads * r), basis, t, "bk_end");
  uint32_t cand = t->l - 1 - t->c->lite + 1 - gap, kept = (cand + 7) / 8;
  double *some = zeros(heads * g * kept);
  for (size_t i = 0; i < heads * g * kept; i++) some[i] = t->scores[i / kept * room(t) + i % kept * 8];
  check(golden_error(some, golden_f64(key_of(t, "scores"), heads * g * kept), heads * g * kept), factor, t, "scores");
  free(some);
}

START_TEST(published_decode_in_double) {
  for (uint32_t gap = 0; gap < 2; gap++) {
    if (!gap && setups[_i].group) continue;
    struct text t;
    open_text(&t, &setups[_i], false);
    check_steps(&t, gap, 1e-8, 1e-8, 1e-9);
    close_text(&t);
  }
}
END_TEST

START_TEST(published_decode_from_float_rows) {
  struct text t;
  open_text(&t, &setups[_i], true);
  check_steps(&t, 1, 1e-4, 1e-3, 1e-4);
  close_text(&t);
}
END_TEST

START_TEST(lists_of_their_own_or_shared) {
  struct text a, b;
  open_text(&a, &setups[GROUP], true);
  open_text(&b, &setups[GROUP], true);
  for (int i = 0; i < 2; i++) {
    step(&a, 1, false);
    step(&b, 1, true);
  }
  ck_assert_int_eq(memcmp(a.qh, b.qh, 3 * 16 * sizeof *a.qh), 0);
  ck_assert_int_eq(memcmp(a.bq, b.bq, 3 * 16 * D * sizeof *a.bq), 0);
  close_text(&a);
  close_text(&b);
}
END_TEST

START_TEST(a_frozen_basis_stays) {
  struct text a, b;
  open_text(&a, &setups[MHA16], true);
  open_text(&b, &setups[MHA16], true);
  b.o.freeze_basis = true;
  step(&a, 1, false);
  step(&b, 1, false);
  size_t area = 16 * D * sizeof *a.bq;
  ck_assert_int_eq(memcmp(a.qh, b.qh, 16 * sizeof *a.qh), 0);
  ck_assert(!memcmp(b.bq, b.f.bq, area) && !memcmp(b.bk, b.f.bk, area));
  ck_assert(memcmp(a.bq, a.f.bq, area) && memcmp(a.bk, a.f.bk, area));
  step(&a, 1, false);
  step(&b, 1, false);
  ck_assert(memcmp(a.qh, b.qh, 16 * sizeof *a.qh));
  close_text(&a);
  close_text(&b);
}
END_TEST

START_TEST(a_small_change_stops_the_iteration) {
  struct text t;
  open_text(&t, &setups[MHA16], true);
  t.o.iters = 50;
  t.o.tol = 1e300;
  step(&t, 1, false);
  ck_assert_uint_eq(t.done, 1);
  t.o.tol = 1e-12;
  step(&t, 1, false);
  ck_assert(t.done > 1 && t.done < 50);
  t.o.tol = 0;
  step(&t, 1, false);
  ck_assert_uint_eq(t.done, 50);
  close_text(&t);
}
END_TEST

START_TEST(what_is_no_number_is_an_error) {
  struct paper_options o = { .d = 4, .r = 2, .g = 1, .iters = 2, .lambda = 1 };
  double q[4] = { 1, 2, 3, 4 }, k[4] = { 1, 0, 1, 0 }, oq[2] = { 0 }, oa[4] = { 0 }, qh[2], kh[2];
  double bq[8] = { 1, 0, 0, 0, 0, 1, 0, 0 }, bk[8] = { 0, 1, 0, 0, 0, 0, NAN, 0 }, work[64];
  struct paper_head h = { .q = q, .k = k, .oq = oq, .oa = oa, .bq = bq, .bk = bk, .qh = qh, .kh = kh };
  ck_assert_uint_le(paper_work(&o, 1), 64);
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_CHECK);
  bk[6] = 1;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_OK);
  q[1] = INFINITY;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_CHECK);
  o.iters = 0;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_USAGE);
}
END_TEST

int main(void) {
  Suite *s = suite_create("paper");
  TCase *c = tcase_create("paper");
  tcase_set_timeout(c, 60);
  tcase_add_unchecked_fixture(c, NULL, golden_free);
  tcase_add_loop_test(c, published_decode_in_double, 0, N_SETUPS);
  tcase_add_loop_test(c, published_decode_from_float_rows, 0, N_SETUPS);
  tcase_add_test(c, lists_of_their_own_or_shared);
  tcase_add_test(c, a_frozen_basis_stays);
  tcase_add_test(c, a_small_change_stops_the_iteration);
  tcase_add_test(c, what_is_no_number_is_an_error);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
