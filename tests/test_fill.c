/* test_fill.c - sessions for measuring: synthetic tokens, going back to a mark, contexts beyond the model's, few layers. */
#include <math.h>
#include <string.h>

#include "attention/choice.h"
#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 1024, STEPS = 12 };

static const char *devices[3];   /* what tests open: the drivers, then host */

static struct rig open_engine(const char *device, uint32_t layers) {
  static const struct tiny_model shape = { .layers = 3, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB,
                                           .ctx = CTX, .seed = 7 };
  return rig_open(&shape, &(struct lrqk_engine_options){ .device = device, .n_layers = layers });
}

/* Logits [STEPS][VOCAB] of STEPS tokens; the active rows are checked at the end. */
static void decode(lrqk_session *s, float *out) {
  rig_decode(s, STEPS, out);
  rig_verify(s);
  struct lrqk_choice choice;
  ck_assert_int_eq(lrqk_session_verify_choice(s, &choice), LRQK_OK);
  ck_assert_msg(!choice.wrong && choice.rounded <= choice.chosen / 50, "of %d chosen tokens %d are wrong, %d by rounding", (int)choice.chosen,
                (int)choice.wrong, (int)choice.rounded);
}

static const char *const options[] = { "attention=full", "attention=offload", "active=64 lite=8", "active=40 lite=8 dense-layers=none group=none",
                                       "proxy=gram active=64 lite=8", "proxy=gram active=32 lite=8 mean-key=off proxy-type=fp16",
                                       "proxy=pairs active=64 lite=8", "proxy=paper active=64 lite=8 refresh=0" };

/* Synthetic tokens are the same under every policy, in one call or in two: with all of them active, lrqk gives what full
 * gives.  Fewer active ones change the result. */
START_TEST(same_tokens_for_all) {
  static float full[STEPS * VOCAB], x[STEPS * VOCAB];
  struct rig r = open_engine(devices[_i], 0);
  for (int i = 0; i < 5; i++) {
    lrqk_session *s = rig_session(&r, i == 0 ? "attention=full" : i == 1 ? "attention=offload" : i == 2 ? "active=900 lite=64" :
                              i == 3 ? "proxy=gram active=900 lite=64 dense-layers=none" : "active=32 lite=8", CTX);
    ck_assert_int_eq(lrqk_session_fill(s, 555, 3), LRQK_OK);
    ck_assert_int_eq(lrqk_session_fill(s, 145, 3), LRQK_OK);
    ck_assert_uint_eq(lrqk_session_length(s), 700);
    ck_assert_ptr_null(lrqk_session_logits(s));
    decode(s, i ? x : full);
    double e = i ? nmse(x, full, STEPS * VOCAB) : 0;
    if (i < 4) ck_assert_msg(e <= 1e-8, "%d: NMSE %g", i, e);
    else ck_assert_msg(e > 1e-6, "32 active tokens of 700 and all of them: NMSE %g", e);
    lrqk_session_close(s);
  }
  rig_close(&r);
}
END_TEST

/* The same calls after each rewind give the same bits, from a fill and from a prefill, whatever lay between. */
START_TEST(rewind_repeats) {
  static float a[STEPS * VOCAB], b[STEPS * VOCAB];
  int32_t ids[30];
  for (int i = 0; i < 30; i++) ids[i] = 11 * i % VOCAB;
  struct rig r = open_engine(devices[_i], 0);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    lrqk_session *s = rig_session(&r, options[i], CTX);
    ck_assert_int_eq(lrqk_session_fill(s, 300, i), LRQK_OK);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, 30, 0, NULL, NULL), LRQK_OK);
    ck_assert_int_eq(lrqk_session_mark(s), LRQK_OK);
    decode(s, a);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
    ck_assert_uint_eq(lrqk_session_length(s), 330);
    ck_assert_ptr_nonnull(lrqk_session_logits(s));
    decode(s, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: a run and its repetition differ", options[i]);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
    for (int j = 0; j < 40; j++) ck_assert_int_eq(lrqk_session_decode(s, 5), LRQK_OK);   /* other tokens in the slots */
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
    decode(s, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: other tokens in between change the repetition", options[i]);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, 30, 0, NULL, NULL), LRQK_OK);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);   /* prefill marks: back to before it */
    ck_assert_uint_eq(lrqk_session_length(s), 330);
    decode(s, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: a prefill in between changes the repetition", options[i]);
    lrqk_session_close(s);
  }
  rig_close(&r);
}
END_TEST

/* A context beyond the model's is refused unless asked for; one layer out of three. */
START_TEST(beyond_and_layers) {
  static float x[STEPS * VOCAB];
  struct rig r = open_engine(devices[_i], 1);
  rig_quiet = true;
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = 3 * CTX };
  lrqk_session *s;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);
  s = rig_session(&r, "active=64 lite=8 dense-layers=none", 3 * CTX);
  ck_assert_int_eq(lrqk_session_rewind(s), LRQK_USAGE);
  ck_assert_int_eq(lrqk_session_fill(s, 3 * CTX + 1, 1), LRQK_PROMPT);
  ck_assert_int_eq(lrqk_session_fill(s, 3 * CTX - STEPS, 1), LRQK_OK);
  decode(s, x);
  for (size_t i = 0; i < STEPS * VOCAB; i++) ck_assert(isfinite(x[i]));
  struct lrqk_cache_stats st;
  ck_assert_int_eq(lrqk_session_stats(s, &st), LRQK_OK);
  ck_assert_uint_eq(st.chosen, STEPS * 2 * 64);
  struct lrqk_choice choice;
  ck_assert_int_eq(lrqk_session_verify_choice(s, &choice), LRQK_OK);
  ck_assert_uint_eq(choice.chosen, 2 * 64);
  ck_assert_uint_eq(choice.tokens, 2 * (3 * CTX - 8));
  lrqk_session_close(s);
  s = rig_session(&r, "attention=offload", 3 * CTX);
  ck_assert_int_eq(lrqk_session_stats(s, &st), LRQK_OK);
  ck_assert_uint_eq(st.host_bytes, 3 * CTX * 2 * 32 * 4);   /* one layer's rows: two KV heads of K and V in fp16 */
  lrqk_session_close(s);
  rig_quiet = false;
  rig_close(&r);
}
END_TEST

/* The check of a choice sees what is wrong: token t of 600 scores t, in two pages, and 4 are to be chosen, two of them sinks. */
START_TEST(wrong_choices_are_seen) {
  enum { N = 600, PAGE = 512, K = 4 };
  static const struct { uint32_t list[K]; bool wrong; } cases[] = {
    { { 0, 1, 598, 599 }, false }, { { 0, 1, 597, 599 }, true }, { { 0, 2, 598, 599 }, true }, { { 0, 1, 599, 598 }, true },
    { { 0, 1, 599, 600 }, true }, { { 0, 1, 599, 599 }, true },
  };
  struct device *dev;
  ck_assert_int_eq(device_open(&dev, NULL, &(struct device_options){ .select = devices[_i] }), LRQK_OK);
  struct hparams hp = { .attn_cap = 0 };
  struct attn_core core = { .dev = dev, .hp = &hp, .n_ctx = N, .page = PAGE };
  struct buffer *queries, *rows, *list;
  ck_assert_int_eq(buffer_create(&queries, dev, PLACE_DEVICE, 16 * 4, "test"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&rows, dev, PLACE_DEVICE, 2 * PAGE * 18, "test"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&list, dev, PLACE_DEVICE, K * 4, "test"), LRQK_OK);
  const float q[16] = { 100, 1 };   /* score = (100 (t / 100) + t % 100) scale */
  static struct { int8_t row[PAGE][16]; uint16_t scale[PAGE]; } page[2];
  for (int t = 0; t < N; t++) {
    page[t / PAGE].row[t % PAGE][0] = (int8_t)(t / 100);
    page[t / PAGE].row[t % PAGE][1] = (int8_t)(t % 100);
    page[t / PAGE].scale[t % PAGE] = 0x3000;   /* 1/8 */
  }
  ck_assert_int_eq(device_write(dev, view_of(queries), q, sizeof q), LRQK_OK);
  ck_assert_int_eq(device_write(dev, view_of(rows), page, sizeof page), LRQK_OK);
  struct view pages[2] = { { rows, 0, PAGE * 18 }, { rows, PAGE * 18, PAGE * 18 } };
  const struct selector s = { .core = &core, .lists = 1, .heads = 1, .share = 1, .k = K, .sinks = 2, .list_stride = K,
                              .queries = { queries, 0, 64 } };
  const struct proxy p = { .page = pages };
  const struct proxy_shape shape = { .rank = 16, .int8 = true, .rw = 1, .n_pages = 2, .planes = 1 };
  const struct choice_mean mean = { LRQK_MEAN_KEY_OFF, NULL };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct lrqk_choice out = { 0 };
    ck_assert_int_eq(device_write(dev, view_of(list), cases[i].list, sizeof cases[i].list), LRQK_OK);
    ck_assert_int_eq(choice_check(&s, &p, &shape, &mean, false, N, (struct view){ list, 0, sizeof cases[i].list }, &out), LRQK_OK);
    ck_assert_msg(out.tokens == N && out.chosen == K && !out.wrong != cases[i].wrong, "%d: %d wrong", (int)i, (int)out.wrong);
  }
  buffer_destroy(&queries);
  buffer_destroy(&rows);
  buffer_destroy(&list);
  device_close(dev);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("fill");
  TCase *t = tcase_create("fill");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, same_tokens_for_all, 0, n);
  tcase_add_loop_test(t, rewind_repeats, 0, n);
  tcase_add_loop_test(t, beyond_and_layers, 0, n);
  tcase_add_loop_test(t, wrong_choices_are_seen, 0, n);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
