/* The joint factors against the published iteration in float64 (tests/data/factor_golden.bin), their stop rule, starts
 * and what happens to matrices that are singular, zero or no numbers. */
#include "attention/factor.h"
#include "factor_fit.h"
#include "golden.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = SYNTH_D, KEPT = 8 };   /* of a factor 8 rows are kept */

static const struct log no_log;

static const double *record(const char *name, const char *key, size_t n) {
  char text[64];
  snprintf(text, sizeof text, "%s.%s", name, key);
  return golden_f64(text, n);
}

/* Rows of A at the kept tokens of all heads against a record. */
static void check_rows(const struct fit *f, const char *name, const char *key, bool queries, double limit) {
  uint32_t r = f->o.r, rows = queries ? f->rows_q : f->n, step = rows / KEPT;
  double *a = malloc(sizeof *a * f->heads * KEPT * r);
  for (uint32_t h = 0; h < f->heads; h++)
    for (uint32_t i = 0; i < KEPT; i++) fit_row(f, h, queries, i * step, a + ((size_t)h * KEPT + i) * r);
  const double *want = record(name, key, (size_t)f->heads * KEPT * r);
  double e = golden_error(a, want, (size_t)f->heads * KEPT * r);
  free(a);
  ck_assert_msg(e < limit, "%s.%s: error %.3g, expected < %.3g", name, key, e, limit);
}

static void check_basis(const struct fit *f, const char *name, const char *key, const double *b, double limit) {
  char text[64];
  snprintf(text, sizeof text, "%s.%s", name, key);
  double e = golden_basis_error(text, b, (size_t)f->heads * f->o.r);
  ck_assert_msg(e < limit, "%s: error %.3g, expected < %.3g", text, e, limit);
}

static void solve(struct fit *f, uint32_t iters) {
  f->o.iters = iters;
  ck_assert_int_eq(fit_solve(f), LRQK_OK);
}

/* After iteration 1 and 2 the factors, after 2 the bases. */
static void check_two_iterations(struct fit *f, const char *name, double limit) {
  solve(f, 1);
  check_rows(f, name, "aq1", true, limit);
  check_rows(f, name, "ak1", false, limit);
  solve(f, 2);
  ck_assert_uint_eq(f->done, 2);
  check_rows(f, name, "aq2", true, limit);
  check_rows(f, name, "ak2", false, limit);
  check_basis(f, name, "bq", f->bq, limit);
  check_basis(f, name, "bk", f->bk, limit);
}

static const struct { const char *name, *mix; uint64_t seed; uint32_t heads, n, r; } published[] = {
  { "mha8", "mha.mix", 100, 1, 256, 8 },
  { "mha16", "mha.mix", 100, 1, 256, 16 },
  { "mha32", "mha.mix", 100, 1, 256, 32 },
  { "gqa", "gqa.mix", 200, 3, 512, 16 },
};
enum { N_PUBLISHED = sizeof published / sizeof published[0] };

START_TEST(published_iteration_from_the_random_start) {
  struct synth s;
  struct fit f;
  synth_make(&s, published[_i].mix, published[_i].seed, published[_i].heads, published[_i].n);
  fit_init(&f, &s, s.n, published[_i].r, false);
  fit_start_random(&f, published[_i].seed + 3, published[_i].seed + 4, 0);
  check_two_iterations(&f, published[_i].name, 1e-9);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(one_factor_for_a_group) {
  struct synth s;
  struct fit f;
  synth_make(&s, "gqa.mix", 200, 3, 512);
  fit_init(&f, &s, s.n, 16, true);
  fit_start_random(&f, 203, 204, 0);
  check_two_iterations(&f, "group", 1e-9);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(any_lambda_is_gauss_seidel) {
  struct synth s;
  struct fit f;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, 16, false);
  fit_start_random(&f, 103, 104, 0);
  f.o.lambda_q = 0.5;
  f.o.lambda_k = 2;
  check_two_iterations(&f, "lambda", 1e-9);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(few_tokens_get_a_ridge) {
  struct synth s;
  struct fit f;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, 24, 16, false);
  fit_start_random(&f, 103, 104, 0);
  solve(&f, 1);
  check_rows(&f, "short", "aq1", true, 1e-8);
  check_rows(&f, "short", "ak1", false, 1e-8);
  solve(&f, 2);
  check_rows(&f, "short", "aq2", true, 1e-8);
  check_rows(&f, "short", "ak2", false, 1e-8);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(stops_where_the_published_iteration_does) {
  struct synth s;
  struct fit f;
  synth_make(&s, "gqa.mix", 200, 3, 512);
  fit_init(&f, &s, s.n, 16, false);
  fit_start_random(&f, 203, 204, 0);
  const double *delta = golden_f64("gqa.delta", 2);
  ck_assert(delta[1] < delta[0]);
  const struct { double tol; uint32_t done; } want[] = {
    { 0, 8 }, { delta[0] * (1 + 1e-9), 1 }, { delta[0] * (1 - 1e-9), 2 }, { delta[1] * (1 + 1e-9), 2 }
  };
  for (int i = 0; i < 4; i++) {
    f.o.tol = want[i].tol;
    solve(&f, 8);
    ck_assert_uint_eq(f.done, want[i].done);
  }
  f.o.tol = delta[1] * (1 - 1e-9);
  solve(&f, 8);
  ck_assert_uint_gt(f.done, 2);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(starts_at_the_largest_columns_and_reaches_the_truncated_svd) {
  static const uint32_t rank[] = { 8, 16, 32 };
  struct synth s;
  struct fit f;
  char name[16], svd[16];
  uint32_t r = rank[_i], coord[32];
  snprintf(name, sizeof name, "topcol%u", r);
  snprintf(svd, sizeof svd, "mha%u", r);
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, r, false);
  double sum[D] = { 0 };
  for (size_t i = 0; i < (size_t)s.n * D; i++) sum[i % D] += fabs((double)s.q[i]) + fabs((double)s.k[i]);
  factor_topcol(coord, sum, D, r);
  char key[32];
  snprintf(key, sizeof key, "%s.coord", name);
  const int32_t *want = golden_i32(key, r);
  for (uint32_t i = 0; i < r; i++) ck_assert_int_eq(coord[i], want[i]);
  fit_start_coord(&f, coord);
  check_two_iterations(&f, name, 1e-9);
  solve(&f, 16);
  double residual = fit_residual(&f, 0), best = *record(svd, "best", 1), numpy = *record(name, "residual", 1);
  ck_assert_msg(fabs(residual - numpy) < 1e-9, "residual %.12f, expected %.12f", residual, numpy);
  ck_assert_msg(residual < best + 1e-4, "residual %.6f, the best of rank %u is %.6f", residual, r, best);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(without_iterations_it_picks_the_coordinates) {
  static const uint32_t coord[] = { 3, 5, 60 };
  struct synth s;
  struct fit f;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, 3, false);
  fit_start_coord(&f, coord);
  solve(&f, 0);
  double a[3];
  fit_row(&f, 0, false, 7, a);
  for (int i = 0; i < 3; i++) ck_assert_double_eq(a[i], s.k[7 * D + coord[i]]);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

/* q^ = q B_K' is the least-squares map: no other gives a smaller |q K' - q^ A_K'|, so the rest is orthogonal to A_K. */
START_TEST(queries_by_least_squares) {
  struct synth s;
  struct fit f;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, 16, false);
  fit_start_random(&f, 103, 104, 0);
  solve(&f, 4);
  double qh[16], rest[16] = { 0 }, size[16] = { 0 }, a[16];
  const float *q = s.q + (size_t)s.n * D;
  for (int i = 0; i < 16; i++) {
    qh[i] = 0;
    for (int c = 0; c < D; c++) qh[i] += q[c] * f.bk[i * D + c];
  }
  for (uint32_t t = 0; t < s.n; t++) {
    double score = 0, proxy = 0;
    fit_row(&f, 0, false, t, a);
    for (int c = 0; c < D; c++) score += (double)q[c] * s.k[t * D + c];
    for (int i = 0; i < 16; i++) proxy += qh[i] * a[i];
    for (int i = 0; i < 16; i++) {
      rest[i] += (score - proxy) * a[i];
      size[i] += fabs(score * a[i]);
    }
  }
  for (int i = 0; i < 16; i++) ck_assert_double_lt(fabs(rest[i]), 1e-10 * size[i]);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(heads_are_independent_but_for_the_stop_rule) {
  struct synth s, one;
  struct fit f, g;
  static const uint32_t coord[] = { 1, 2, 9, 33, 40, 41, 50, 63 };
  synth_make(&s, "gqa.mix", 200, 3, 512);
  fit_init(&f, &s, s.n, 8, false);
  fit_start_coord(&f, coord);
  solve(&f, 3);
  one = (struct synth){ .heads = 1, .n = s.n, .q = s.q + (size_t)2 * (s.n + SYNTH_STEPS) * D, .k = s.k };
  fit_init(&g, &one, s.n, 8, false);
  fit_start_coord(&g, coord);
  solve(&g, 3);
  ck_assert_int_eq(memcmp(f.mk + 2 * 8 * D, g.mk, 8 * D * sizeof *g.mk), 0);
  ck_assert_int_eq(memcmp(f.bq + 2 * 8 * D, g.bq, 8 * D * sizeof *g.bq), 0);
  fit_free(&f);
  fit_free(&g);
  synth_free(&s);
}
END_TEST

static bool all_finite(const double *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

static void check_finite(const struct fit *f) {
  size_t n = (size_t)f->heads * f->o.r * D;
  ck_assert(all_finite(f->mq, n) && all_finite(f->mk, n) && all_finite(f->bq, n) && all_finite(f->bk, n));
}

START_TEST(singular_and_zero_grams_give_numbers) {
  struct synth s;
  struct fit f;
  uint32_t coord[16];
  for (uint32_t i = 0; i < 16; i++) coord[i] = i;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, 16, false);
  fit_start_coord(&f, coord);
  memset(f.gk, 0, D * D * sizeof *f.gk);              /* keys that are all zero */
  solve(&f, 16);
  check_finite(&f);
  for (uint32_t i = 0; i < 16 * D; i++) ck_assert_double_eq(f.bk[i], 0);
  memset(f.gq, 0, D * D * sizeof *f.gq);
  solve(&f, 16);
  check_finite(&f);
  for (uint32_t h = 0; h < 2; h++) {                  /* rank 3 < r */
    double *gram = h ? f.gk : f.gq, x[3][D];
    for (uint32_t i = 0; i < 3; i++)
      for (uint32_t c = 0; c < D; c++) x[i][c] = s.q[(i + 10 * h) * D + c];
    for (uint32_t a = 0; a < D; a++)
      for (uint32_t b = 0; b < D; b++) gram[a * D + b] = 100 * (x[0][a] * x[0][b] + x[1][a] * x[1][b] + x[2][a] * x[2][b]);
  }
  solve(&f, 16);
  check_finite(&f);
  ck_assert_double_lt(fit_residual(&f, 0), 1e-3);     /* rank 3 is within reach of 16, but for the ridge */
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(what_cannot_be_solved_is_an_error) {
  struct synth s;
  struct fit f;
  synth_make(&s, "mha.mix", 100, 1, 256);
  fit_init(&f, &s, s.n, 16, false);
  fit_start_random(&f, 103, 104, 0);
  f.o.iters = 0;
  ck_assert_int_eq(fit_solve(&f), LRQK_USAGE);
  f.o.iters = 2;
  f.gk[5 * D + 6] = NAN;
  ck_assert_int_eq(fit_solve(&f), LRQK_CHECK);
  f.gk[5 * D + 6] = 0;
  for (uint32_t i = 0; i < D; i++) f.gq[i * D + i] = -f.gq[i * D + i];
  ck_assert_int_eq(fit_solve(&f), LRQK_CHECK);
  f.o.r = D + 1;
  ck_assert_int_eq(factor_solve(&no_log, &f.o, NULL, 0, NULL, NULL), LRQK_USAGE);
  f.o.r = 16;
  f.o.rows_k = 0;
  ck_assert_int_eq(factor_solve(&no_log, &f.o, NULL, 0, NULL, NULL), LRQK_USAGE);
  fit_free(&f);
  synth_free(&s);
}
END_TEST

START_TEST(topcol_breaks_ties_by_the_lowest) {
  const double weight[] = { 1, 3, 2, 3, 2, 2 };
  uint32_t c[4];
  factor_topcol(c, weight, 6, 4);
  const uint32_t want[] = { 1, 2, 3, 4 };
  for (int i = 0; i < 4; i++) ck_assert_uint_eq(c[i], want[i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("factor");
  TCase *c = tcase_create("factor");
  tcase_set_timeout(c, 60);
  tcase_add_unchecked_fixture(c, NULL, golden_free);
  tcase_add_loop_test(c, published_iteration_from_the_random_start, 0, N_PUBLISHED);
  tcase_add_test(c, one_factor_for_a_group);
  tcase_add_test(c, any_lambda_is_gauss_seidel);
  tcase_add_test(c, few_tokens_get_a_ridge);
  tcase_add_test(c, stops_where_the_published_iteration_does);
  tcase_add_loop_test(c, starts_at_the_largest_columns_and_reaches_the_truncated_svd, 0, 3);
  tcase_add_test(c, without_iterations_it_picks_the_coordinates);
  tcase_add_test(c, queries_by_least_squares);
  tcase_add_test(c, heads_are_independent_but_for_the_stop_rule);
  tcase_add_test(c, singular_and_zero_grams_give_numbers);
  tcase_add_test(c, what_cannot_be_solved_is_an_error);
  tcase_add_test(c, topcol_breaks_ties_by_the_lowest);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
