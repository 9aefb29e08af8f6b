/* The closed-form mean of rotated Gram matrices against brute force, at every kind of angle. */
#include "attention/rotate.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

enum { MAX_D = 128 };
static const double TURN = 6.283185307179586;

/* x <- R(t) x; long double, so that it may judge. */
static void rope(double *x, const struct rotate_pairs *r, uint64_t t) {
  for (uint32_t p = 0; p < r->d / 2; p++) {
    bool halves = r->neox && p < r->rot / 2;
    uint32_t a = halves ? p : 2 * p, b = halves ? p + r->rot / 2 : 2 * p + 1;
    long double angle = (long double)r->inv_freq[p] * t, c = cosl(angle), s = sinl(angle), xa = x[a], xb = x[b];
    x[a] = (double)(c * xa - s * xb);
    x[b] = (double)(s * xa + c * xb);
  }
}

/* Vectors x [m][d] and the sum of x x'. */
static void sample(double *x, double *s, uint32_t m, uint32_t d, uint64_t seed) {
  float *z = malloc((size_t)m * d * sizeof *z);
  prandn(z, seed, (size_t)m * d);
  for (size_t i = 0; i < (size_t)m * d; i++) x[i] = z[i] + 0.7 * (i % d % 3);   /* with a mean */
  free(z);
  memset(s, 0, (size_t)d * d * sizeof *s);
  for (uint32_t v = 0; v < m; v++)
    for (uint32_t i = 0; i < d; i++)
      for (uint32_t j = 0; j < d; j++) s[(size_t)i * d + j] += x[v * d + i] * x[v * d + j];
}

/* Largest difference from the mean over positions of the rotated vectors' own Gram, over its largest entry. */
static double error_of(const struct rotate_pairs *r, uint64_t t0, uint64_t n) {
  enum { M = 3 };
  uint32_t d = r->d;
  static double x[M * MAX_D], s[MAX_D * MAX_D], want[MAX_D * MAX_D];
  double y[MAX_D], *table = malloc(rotate_table_size(d) * sizeof *table), e = 0, most = 0;
  sample(x, s, M, d, 7);
  memset(want, 0, sizeof want);
  for (uint64_t t = t0; t < t0 + n; t++)
    for (uint32_t v = 0; v < M; v++) {
      memcpy(y, x + v * d, d * sizeof *y);
      rope(y, r, t);
      for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j < d; j++) want[(size_t)i * d + j] += y[i] * y[j] / (double)n;
    }
  rotate_table(table, r, t0, n);
  rotate_average(s, s, r, table);
  free(table);
  for (size_t i = 0; i < (size_t)d * d; i++) {
    e = fmax(e, isfinite(s[i]) ? fabs(s[i] - want[i]) : INFINITY);
    most = fmax(most, fabs(want[i]));
  }
  return e / most;
}

static void check(const struct rotate_pairs *r, uint64_t t0, uint64_t n) {
  double e = error_of(r, t0, n);
  ck_assert_msg(e < 1e-10, "d %u rot %u neox %d, positions %llu + %llu: error %.3g", r->d, r->rot, r->neox, (unsigned long long)t0,
                (unsigned long long)n, e);
}

static void standard(double *f, uint32_t d, uint32_t rot, double base) {
  for (uint32_t p = 0; p < d / 2; p++) f[p] = p < rot / 2 ? pow(base, -2.0 * p / rot) : 0;
}

static const struct { uint32_t d, rot; bool neox; double base; } shapes[] = {
  { 64, 64, false, 1e5 }, { 64, 64, true, 1e4 }, { 48, 32, true, 5e5 }, { 40, 24, false, 1e6 }, { 8, 0, false, 1e4 }, { 2, 2, true, 1e4 }
};

START_TEST(equals_brute_force) {
  double f[MAX_D / 2];
  struct rotate_pairs r = { .d = shapes[_i].d, .rot = shapes[_i].rot, .neox = shapes[_i].neox, .inv_freq = f };
  standard(f, r.d, r.rot, shapes[_i].base);
  static const uint64_t range[][2] = { { 0, 1 }, { 5, 1 }, { 0, 2 }, { 0, 777 }, { 1000, 333 }, { 131072, 1024 }, { 1000003, 17 } };
  for (size_t i = 0; i < sizeof range / sizeof range[0]; i++) check(&r, range[i][0], range[i][1]);
}
END_TEST

/* Angles, their sums and their differences at and beside whole and half turns. */
START_TEST(is_stable_near_whole_turns) {
  static const double tiny[] = { 0, 1e-300, 1e-17, 1e-13, 1e-9, 1e-6 };
  for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++)
    for (int turns = 0; turns < 3; turns++) {
      double f[8] = { 0, tiny[i], 1, 1 + tiny[i], TURN - tiny[i], TURN / 2 - tiny[i], TURN / 2, 0.5 };
      for (int p = 0; p < 8; p++) f[p] += turns * TURN / 2;
      struct rotate_pairs r = { .d = 16, .rot = 16, .neox = i % 2, .inv_freq = f };
      check(&r, 0, 500);
      check(&r, 4096, 129);
    }
}
END_TEST

START_TEST(without_rotation_nothing_changes) {
  double f[MAX_D / 2], x[3 * MAX_D], *table = malloc(rotate_table_size(MAX_D) * sizeof *table);
  static double s[MAX_D * MAX_D], out[MAX_D * MAX_D];
  struct rotate_pairs r = { .d = MAX_D, .rot = MAX_D, .neox = true, .inv_freq = f };
  sample(x, s, 3, MAX_D, 8);
  standard(f, MAX_D, MAX_D, 1e4);
  rotate_table(table, &r, 0, 1);                     /* position 0 only */
  rotate_average(out, s, &r, table);
  for (int i = 0; i < MAX_D * MAX_D; i++) ck_assert_double_eq_tol(out[i], s[i], 1e-14);
  memset(f, 0, sizeof f);
  rotate_table(table, &r, 77, 1000);
  rotate_average(out, s, &r, table);
  for (int i = 0; i < MAX_D * MAX_D; i++) ck_assert_double_eq_tol(out[i], s[i], 1e-14);
  free(table);
}
END_TEST

/* Over a long range fast pairs become isotropic blocks of their own, and the trace stays. */
START_TEST(fast_pairs_decouple) {
  double f[4] = { 1, 0.7, 0.4, 0 }, x[3 * 8], s[64], table[64];
  ck_assert_uint_eq(rotate_table_size(8), 64);
  struct rotate_pairs r = { .d = 8, .rot = 8, .inv_freq = f };
  sample(x, s, 3, 8, 9);
  double before = 0, after = 0, slow = s[6 * 8 + 7];
  for (int i = 0; i < 8; i++) before += s[i * 9];
  rotate_table(table, &r, 0, 100000000);
  rotate_average(s, s, &r, table);
  for (int i = 0; i < 8; i++) after += s[i * 9];
  ck_assert_double_eq_tol(before, after, 1e-9);
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 8; j++) {
      if (i == j) ck_assert_double_eq_tol(s[i * 9], s[(i ^ 1) * 9], 1e-6);
      else ck_assert_double_eq_tol(s[i * 8 + j], 0, 1e-6);
    }
  ck_assert_double_eq_tol(s[6 * 8 + 7], slow, 1e-12);
}
END_TEST

START_TEST(centre_takes_the_mean_away) {
  enum { M = 5, DIM = 16 };
  double x[M * DIM], s[DIM * DIM], mean[DIM] = { 0 }, mu[DIM];
  sample(x, s, M, DIM, 10);
  for (int i = 0; i < M * DIM; i++) mean[i % DIM] += x[i] / M;
  for (int i = 0; i < DIM; i++) mu[i] = _i || i % 3 ? mean[i] : 0;   /* all of it, or a part */
  rotate_centre(s, mean, mu, M, DIM);
  for (int i = 0; i < DIM; i++)
    for (int j = 0; j < DIM; j++) {
      double want = 0;
      for (int v = 0; v < M; v++) want += (x[v * DIM + i] - mu[i]) * (x[v * DIM + j] - mu[j]);
      ck_assert_double_eq_tol(s[i * DIM + j], want, 1e-12);
    }
}
END_TEST

int main(void) {
  Suite *s = suite_create("rotate");
  TCase *c = tcase_create("rotate");
  tcase_set_timeout(c, 60);
  tcase_add_loop_test(c, equals_brute_force, 0, sizeof shapes / sizeof shapes[0]);
  tcase_add_test(c, is_stable_near_whole_turns);
  tcase_add_test(c, without_rotation_nothing_changes);
  tcase_add_test(c, fast_pairs_decouple);
  tcase_add_loop_test(c, centre_takes_the_mean_away, 0, 2);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
