/* test_quality.c - what lrqk_session_quality says of a tiny model's heads, against plain sums and sorts in double: the queries that
 * were kept, the exact rows, the tokens that were chosen. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "session.h"
#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { LAYERS = 3, HQ = 6, HK = 2, G = HQ / HK, D = 32, VOCAB = 288, CTX = 512, PROMPT = 150, LITE = 16, ACTIVE = 32, SINKS = 2 };

static const char *devices[3];   /* what tests open: the drivers, then host */
static struct rig rig;
static lrqk_session *session;

static void open_session(const char *device, uint32_t active, enum lrqk_proxy proxy, enum lrqk_group group) {
  static const struct tiny_model shape = { .layers = LAYERS, .embd = 96, .ff = 128, .heads = HQ, .kv_heads = HK, .head_size = D, .vocab = VOCAB,
                                           .ctx = CTX, .seed = 11 };
  struct lrqk_session_options so = { .cache = lrqk_cache_defaults(), .n_ctx = CTX };
  so.cache.active = active;
  so.cache.lite = LITE;
  so.cache.sinks = SINKS;
  so.cache.proxy = proxy;
  so.cache.group = group;
  rig = rig_open(&shape, &(struct lrqk_engine_options){ .device = device });
  ck_assert_int_eq(lrqk_session_open(&session, rig.engine, &so), LRQK_OK);
  rig_prompt(session, PROMPT);
}

static void close_session(void) {
  lrqk_session_close(session);
  rig_close(&rig);
}

/* Weights of exact attention of a query head over l tokens. */
static void exact(uint32_t layer, uint32_t head, uint32_t l, double p[CTX]) {
  static float q[HQ * D];
  const struct kv_rows *rows = attention_rows(session->attention, layer);
  double top = -INFINITY, sum = 0;
  ck_assert_int_eq(device_read(rig.engine->dev, q, (struct view){ session->attention->kept, layer * sizeof q, sizeof q }, sizeof q), LRQK_OK);
  for (uint32_t t = 0; t < l; t++) {
    const uint16_t *k = (const uint16_t *)rows->buf[t / rows->page]->map + ((size_t)(t % rows->page) * HK + head / G) * 2 * D;
    p[t] = 0;
    for (int i = 0; i < D; i++) p[t] += (double)q[head * D + i] * (double)half_to_float(k[i]);
    p[t] /= sqrt(D);
    if (p[t] > top) top = p[t];
  }
  for (uint32_t t = 0; t < l; t++) sum += p[t] = exp(p[t] - top);
  for (uint32_t t = 0; t < l; t++) p[t] /= sum;
}

static double key_of[CTX];

static int largest_first(const void *a, const void *b) {
  double x = key_of[*(const uint32_t *)a], y = key_of[*(const uint32_t *)b];
  return (x < y) - (x > y);
}

/* What a list of `heads` query heads from `head` on has of them all. */
static void check_list(uint32_t layer, uint32_t head, uint32_t heads, bool max, const uint32_t *chosen, uint32_t l, double sum[3]) {
  static double p[8][CTX];
  uint32_t n = l - LITE, order[CTX], common = 0;
  for (uint32_t h = 0; h < heads; h++) exact(layer, head + h, l, p[h]);
  for (uint32_t t = 0; t < n; t++) {
    order[t] = t;
    key_of[t] = 0;
    for (uint32_t h = 0; h < heads; h++) key_of[t] = max ? fmax(key_of[t], p[h][t]) : key_of[t] + p[h][t];
    if (t < SINKS) key_of[t] = 1e9;
  }
  qsort(order, n, sizeof *order, largest_first);
  for (uint32_t i = 0; i < ACTIVE; i++) {
    for (uint32_t j = 0; j < ACTIVE; j++) common += chosen[i] == order[j];
    for (uint32_t h = 0; h < heads; h++) {
      sum[0] += p[h][chosen[i]];
      sum[1] += p[h][order[i]];
    }
  }
  for (uint32_t h = 0; h < heads; h++) {
    for (uint32_t t = n; t < l; t++) {
      sum[0] += p[h][t];
      sum[1] += p[h][t];
    }
  }
  sum[2] += (double)common / ACTIVE;
}

static void check_head(uint32_t layer, uint32_t head, enum lrqk_group group, const struct lrqk_head_quality *q) {
  uint32_t chosen[G * ACTIVE], l = (uint32_t)lrqk_session_length(session), lists = group == LRQK_GROUP_NONE ? G : 1;
  size_t n;
  double sum[3] = { 0 };
  ck_assert_int_eq(lrqk_session_chosen(session, layer, head, chosen, G * ACTIVE, &n), LRQK_OK);
  ck_assert_uint_eq(n, lists * ACTIVE);
  for (uint32_t i = 0; i < lists; i++) check_list(layer, head * G + i * (G / lists), G / lists, group == LRQK_GROUP_MAX, chosen + i * ACTIVE, l, sum);
  ck_assert_double_eq_tol((double)q->mass, sum[0] / G, 1e-5);
  ck_assert_double_eq_tol((double)q->best_mass, sum[1] / G, 1e-5);
  ck_assert_double_eq_tol((double)q->recall, sum[2] / lists, 1e-6);
  ck_assert(q->mass > 0.05f && q->mass <= 1.00001f && q->recall > 0 && q->recall <= 1);
  if (group == LRQK_GROUP_SUM) ck_assert(q->mass <= q->best_mass + 1e-6f);   /* the best choice is by the sum */
}

START_TEST(agrees_with_plain_sums) {
  static const struct { enum lrqk_proxy proxy; enum lrqk_group group; } with[] = {
    { LRQK_PROXY_GRAM, LRQK_GROUP_SUM }, { LRQK_PROXY_PAIRS, LRQK_GROUP_MAX }, { LRQK_PROXY_GRAM, LRQK_GROUP_NONE } };
  for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
    struct lrqk_head_quality q[LAYERS * HK];
    open_session(devices[_i], ACTIVE, with[i].proxy, with[i].group);
    rig_decode(session, 3, NULL);
    ck_assert_int_eq(lrqk_session_keep_queries(session, true), LRQK_OK);
    for (int step = 0; step < 2; step++) {
      rig_decode(session, 1, NULL);
      ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_OK);
      for (uint32_t h = 0; h < HK; h++) ck_assert(isnan(q[h].mass) && isnan(q[h].best_mass) && isnan(q[h].recall));   /* layer 0 is dense */
      for (uint32_t h = HK; h < LAYERS * HK; h++) check_head(h / HK, h % HK, with[i].group, &q[h]);
    }
    close_session();
  }
}
END_TEST

/* Keeping queries changes no logit, and all of the attention is there where all tokens are active. */
START_TEST(all_active_is_all) {
  struct lrqk_head_quality q[LAYERS * HK];
  static float without[VOCAB];
  open_session(devices[_i], CTX, LRQK_PROXY_GRAM, LRQK_GROUP_SUM);
  ck_assert_int_eq(lrqk_session_mark(session), LRQK_OK);
  rig_decode(session, 2, NULL);
  memcpy(without, lrqk_session_logits(session), sizeof without);
  ck_assert_int_eq(lrqk_session_rewind(session), LRQK_OK);
  ck_assert_int_eq(lrqk_session_keep_queries(session, true), LRQK_OK);
  rig_decode(session, 2, NULL);
  ck_assert_int_eq(memcmp(without, lrqk_session_logits(session), sizeof without), 0);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_OK);
  for (int h = HK; h < LAYERS * HK; h++) {
    ck_assert_float_eq_tol(q[h].mass, 1, 1e-5f);
    ck_assert_float_eq_tol(q[h].best_mass, 1, 1e-5f);
    ck_assert_float_eq(q[h].recall, 1);
  }
  close_session();
}
END_TEST

START_TEST(needs_queries) {
  struct lrqk_head_quality q[LAYERS * HK];
  open_session("host", ACTIVE, LRQK_PROXY_GRAM, LRQK_GROUP_SUM);
  rig_decode(session, 1, NULL);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_USAGE);
  ck_assert_int_eq(lrqk_session_keep_queries(session, true), LRQK_OK);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_USAGE);   /* of the next token */
  rig_decode(session, 1, NULL);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK - 1), LRQK_USAGE);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_OK);
  ck_assert_int_eq(lrqk_session_truncate(session, PROMPT - 1), LRQK_OK);
  ck_assert_int_eq(lrqk_session_quality(session, q, LAYERS * HK), LRQK_USAGE);
  close_session();
}
END_TEST

int main(void) {
  rig_quiet = true;
  Suite *suite = suite_create("quality");
  TCase *t = tcase_create("quality");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, agrees_with_plain_sums, 0, n);
  tcase_add_loop_test(t, all_active_is_all, 0, n);
  tcase_add_test(t, needs_queries);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
