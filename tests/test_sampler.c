/* src/sample: what each filter keeps, how often each token comes, and that a seed means the same tokens everywhere. */
#include <lrqk/lrqk.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"   /* last: it has a macro named fail */

#pragma GCC diagnostic ignored "-Woverride-init"   /* OPTIONS: later values win */

static const struct lrqk_sampler_options plain = { .temperature = 1, .top_p = 1, .repeat_penalty = 1, .repeat_last = 64 };

static lrqk_sampler *open_ok(struct lrqk_sampler_options o, uint32_t n) {
  lrqk_sampler *s = NULL;
  ck_assert_int_eq(lrqk_sampler_open(&s, &o, n), LRQK_OK);
  return s;
}

#define OPTIONS(...) (struct lrqk_sampler_options){ .temperature = 1, .top_p = 1, .repeat_penalty = 1, .repeat_last = 64, __VA_ARGS__ }
#define N_OF(a) (sizeof (a) / sizeof *(a))

/* Draws n tokens and counts them. */
static void count(struct lrqk_sampler_options o, const float *logits, uint32_t n_vocab, int n, int *seen) {
  lrqk_sampler *s = open_ok(o, n_vocab);
  memset(seen, 0, n_vocab * sizeof *seen);
  for (int i = 0; i < n; i++) {
    int32_t id = lrqk_sampler_choose(s, logits);
    ck_assert(id >= 0 && (uint32_t)id < n_vocab);
    seen[id]++;
  }
  lrqk_sampler_close(s);
}

static int32_t one(struct lrqk_sampler_options o, const float *logits, uint32_t n) {
  lrqk_sampler *s = open_ok(o, n);
  int32_t id = lrqk_sampler_choose(s, logits);
  lrqk_sampler_close(s);
  return id;
}

START_TEST(defaults) {
  struct lrqk_sampler_options o = lrqk_sampler_defaults();
  ck_assert(o.temperature == 0.8f && o.top_k == 40 && o.top_p == 0.95f && o.min_p == 0.05f && o.repeat_penalty == 1 &&
      o.repeat_last == 64 && o.seed == 0);
}
END_TEST

START_TEST(greedy_takes_the_best_and_of_equals_the_lowest_id) {
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ 1, 3, 2, 3 }, 4), 1);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ -3, -1, -2 }, 3), 1);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ 0, 0, 0 }, 3), 0);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ NAN, -INFINITY, -5, NAN }, 4), 2);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ 1, INFINITY, INFINITY }, 3), 1);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0, .top_k = 1, .top_p = 0, .min_p = 1), (float[]){ 1, 2 }, 2), 1);
  ck_assert_int_eq(one(OPTIONS(.temperature = 0), (float[]){ NAN }, 1), 0);
}
END_TEST

START_TEST(probabilities) {
  enum { N = 40000 };
  const float logits[] = { logf(1), logf(2), logf(3), logf(4), -INFINITY, NAN };
  int seen[6];
  for (int pass = 0; pass < 2; pass++) {   /* in order of ids, and sorted by top-k: the same shares */
    count(OPTIONS(.seed = 11, .top_k = pass ? 5 : 0), logits, 6, N, seen);
    for (int i = 0; i < 4; i++) {
      double p = (i + 1) / 10.0, sigma = sqrt(N * p * (1 - p));
      ck_assert_msg(fabs(seen[i] - N * p) < 5 * sigma, "pass %d, token %d: %d times, expected %.0f", pass, i, seen[i], N * p);
    }
    ck_assert_int_eq(seen[4] + seen[5], 0);
  }
  count(OPTIONS(.temperature = 0.5f, .seed = 3), logits, 4, N, seen);   /* shares 1 4 9 16 of 30 */
  for (int i = 0; i < 4; i++) {
    double p = (i + 1) * (i + 1) / 30.0, sigma = sqrt(N * p * (1 - p));
    ck_assert_msg(fabs(seen[i] - N * p) < 5 * sigma, "token %d at 0.5: %d times, expected %.0f", i, seen[i], N * p);
  }
}
END_TEST

/* Which tokens are possible: bit i for token i. */
static unsigned possible(struct lrqk_sampler_options o, const float *logits, uint32_t n) {
  int seen[16];
  unsigned bits = 0;
  count(o, logits, n, 4000, seen);
  for (uint32_t i = 0; i < n; i++) bits |= (unsigned)(seen[i] > 0) << i;
  return bits;
}

START_TEST(filters) {
  const float ramp[] = { logf(1), logf(2), logf(3), logf(4) }, flat[] = { 1, 1, 1, 1, 1, 1 };   /* shares .1 .2 .3 .4 */
  ck_assert_uint_eq(possible(plain, ramp, 4), 0xf);
  ck_assert_uint_eq(possible(OPTIONS(.top_k = 1), ramp, 4), 0x8);
  ck_assert_uint_eq(possible(OPTIONS(.top_k = 2), ramp, 4), 0xc);
  ck_assert_uint_eq(possible(OPTIONS(.top_k = 100), ramp, 4), 0xf);
  ck_assert_uint_eq(possible(OPTIONS(.top_k = 3), flat, 6), 0x7);                  /* equals: the lowest ids */
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0), ramp, 4), 0x8);                  /* one is left in any case */
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0.39f), ramp, 4), 0x8);
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0.41f), ramp, 4), 0xc);
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0.71f), ramp, 4), 0xe);
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0.6f, .top_k = 2), ramp, 4), 0xc);   /* shares after top-k: .43 .57 */
  ck_assert_uint_eq(possible(OPTIONS(.top_p = 0.49f), flat, 6), 0x7);
  ck_assert_uint_eq(possible(OPTIONS(.min_p = 1), ramp, 4), 0x8);
  ck_assert_uint_eq(possible(OPTIONS(.min_p = 0.6f), ramp, 4), 0xc);               /* relative to the best one: 1 .75 .5 .25 */
  ck_assert_uint_eq(possible(OPTIONS(.min_p = 0.4f), ramp, 4), 0xe);
  ck_assert_uint_eq(possible(OPTIONS(.min_p = 0.6f, .temperature = 50), ramp, 4), 0xc);   /* temperature comes after it */
  ck_assert_uint_eq(possible(OPTIONS(.temperature = 1e-30f), ramp, 4), 0x8);
}
END_TEST

static int by_logit(const void *a, const void *b) {
  const float *x = a, *y = b;
  return x[0] > y[0] ? -1 : x[0] < y[0] ? 1 : x[1] < y[1] ? -1 : 1;
}

/* A whole vocabulary without top-k: top-p sorts in blocks; the last token that it keeps must be the right one. */
START_TEST(top_p_over_a_large_vocabulary) {
  enum { V = 2000, N = 8000 };
  static float logits[V], sorted[V][2];
  for (int i = 0; i < V; i++) {
    uint32_t x = (uint32_t)i * 2654435761u;
    logits[i] = (float)(x >> 16 & 0x3ff) * 0.004f;   /* many equals */
    sorted[i][0] = logits[i];
    sorted[i][1] = (float)i;
  }
  qsort(sorted, V, sizeof *sorted, by_logit);
  double total = 0, sum = 0;
  for (int i = 0; i < V; i++) total += exp((double)sorted[i][0]);
  int kept = 0;
  while (kept < V && sum < (double)0.6f * total) sum += exp((double)sorted[kept++][0]);
  static int seen[V], want[V];
  for (int i = 0; i < kept; i++) want[(int)sorted[i][1]] = 1;
  ck_assert_int_gt(kept, 300);   /* more than one block */
  count(OPTIONS(.top_p = 0.6f, .seed = 5), logits, V, N, seen);
  for (int i = 0; i < V; i++) ck_assert_msg(!seen[i] || want[i], "token %d, kept are %d", i, kept);
  int late = 0;
  for (int i = kept - 40; i < kept; i++) late += seen[(int)sorted[i][1]];
  ck_assert_int_gt(late, 0);
}
END_TEST

START_TEST(repeat_penalty) {
  const float logits[] = { 4, 3, 2, -1 };
  lrqk_sampler *s = open_ok(OPTIONS(.temperature = 0, .repeat_penalty = 2, .repeat_last = 2), 4);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 0);
  lrqk_sampler_accept(s, 0);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 1);   /* 4/2 < 3 */
  lrqk_sampler_accept(s, 1);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 0);   /* 4/2, 3/2, 2: of the equals the lowest */
  lrqk_sampler_accept(s, 3);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 0);   /* 0 has left the window */
  lrqk_sampler_accept(s, -1);
  lrqk_sampler_accept(s, 4);                             /* no tokens */
  lrqk_sampler_accept(s, 0);
  lrqk_sampler_accept(s, 0);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 1);   /* twice there, punished once: 2 < 3 */
  lrqk_sampler_accept(s, 3);
  ck_assert_int_eq(lrqk_sampler_choose(s, logits), 1);   /* still there once */
  lrqk_sampler_close(s);
  s = open_ok(OPTIONS(.temperature = 0, .repeat_penalty = 2), 2);
  lrqk_sampler_accept(s, 1);
  ck_assert_int_eq(lrqk_sampler_choose(s, (float[]){ -3, -2 }), 0);   /* below zero it multiplies: -3 > -4 */
  lrqk_sampler_close(s);
  s = open_ok(OPTIONS(.temperature = 0, .repeat_penalty = 2, .repeat_last = 0), 2);
  lrqk_sampler_accept(s, 1);
  ck_assert_int_eq(lrqk_sampler_choose(s, (float[]){ 1, 1.5f }), 1);
  lrqk_sampler_close(s);
}
END_TEST

static float logit(uint32_t step, uint32_t i) {
  uint32_t x = step * 2654435761u + i * 40503u + 12345u;
  x ^= x >> 16;
  x *= 0x45d9f3bu;
  x ^= x >> 16;
  return (float)((x >> 8) / 16777216.0 * 12 - 6);
}

/* Computed by another implementation (Python, its own sort, exp of the C library). */
static const struct { struct lrqk_sampler_options o; int32_t id[16]; } golden[] = {
  { { 0.8f, 40, 0.95f, 0.05f, 1, 64, 0 },
    { 54, 98, 23, 30, 35, 53, 8, 33, 89, 35, 79, 50, 62, 42, 96, 41 } },
  { { 1, 0, 1, 0, 1, 64, 1 },
    { 80, 54, 42, 32, 64, 13, 7, 33, 79, 43, 96, 92, 92, 56, 61, 83 } },
  { { 1.5f, 0, 0.9f, 0, 1.3f, 8, 42 },
    { 20, 57, 42, 60, 90, 43, 41, 58, 89, 73, 40, 39, 92, 50, 97, 94 } },
  { { 0.7f, 5, 1, 0.2f, 1.1f, 64, 18446744073709551615u },
    { 23, 89, 33, 56, 41, 13, 65, 52, 71, 31, 79, 50, 79, 24, 45, 36 } },
  { { 0, 0, 1, 0, 1.5f, 4, 7 },
    { 20, 52, 23, 32, 24, 35, 16, 19, 76, 0, 79, 50, 62, 88, 45, 82 } },
};

START_TEST(golden_sequences) {
  lrqk_sampler *s = open_ok(golden[_i].o, 100);
  for (uint32_t t = 0; t < 16; t++) {
    float logits[100];
    for (uint32_t i = 0; i < 100; i++) logits[i] = logit(t, i);
    int32_t id = lrqk_sampler_choose(s, logits);
    ck_assert_msg(id == golden[_i].id[t], "step %u: found %d, expected %d", t, id, golden[_i].id[t]);
    lrqk_sampler_accept(s, id);
  }
  lrqk_sampler_close(s);
}
END_TEST

START_TEST(wrong_options) {
  struct lrqk_sampler_options bad[] = {
    OPTIONS(.temperature = -1), OPTIONS(.temperature = NAN), OPTIONS(.temperature = INFINITY), OPTIONS(.top_k = -1),
    OPTIONS(.top_p = 1.5f), OPTIONS(.top_p = -0.1f),
    OPTIONS(.top_p = NAN), OPTIONS(.min_p = 1.5f), OPTIONS(.min_p = NAN), OPTIONS(.repeat_penalty = 0), OPTIONS(.repeat_penalty = NAN),
    OPTIONS(.repeat_last = 1u << 25),
  };
  lrqk_sampler *s = NULL;
  for (size_t i = 0; i < N_OF(bad); i++) ck_assert_msg(lrqk_sampler_open(&s, &bad[i], 10) == LRQK_USAGE, "options %zu", i);
  ck_assert_int_eq(lrqk_sampler_open(&s, &plain, 0), LRQK_USAGE);
  ck_assert_ptr_null(s);
  lrqk_sampler_close(NULL);
}
END_TEST

int main(void) {
  Suite *s = suite_create("sampler");
  TCase *t = tcase_create("sampler");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, defaults);
  tcase_add_test(t, greedy_takes_the_best_and_of_equals_the_lowest_id);
  tcase_add_test(t, probabilities);
  tcase_add_test(t, filters);
  tcase_add_test(t, top_p_over_a_large_vocabulary);
  tcase_add_test(t, repeat_penalty);
  tcase_add_loop_test(t, golden_sequences, 0, (int)N_OF(golden));
  tcase_add_test(t, wrong_options);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
