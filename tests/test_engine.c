/* test_engine.c - the invariants of the mixed cache, on tiny random models, on every back end:
 * what the policies must have in common, and what a text may not depend on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 2048 };

static const struct tiny_model shape_gqa = { .layers = 3, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB,
                                             .ctx = CTX, .seed = 7 };
static const struct tiny_model shape_mha = { .layers = 2, .embd = 64, .ff = 96, .heads = 2, .kv_heads = 2, .head_size = 64, .vocab = VOCAB,
                                             .ctx = CTX, .seed = 8, .type = TYPE_Q8_0 };
static const struct tiny_model shape_mqa = { .layers = 2, .embd = 160, .ff = 96, .heads = 10, .kv_heads = 1, .head_size = 16, .vocab = VOCAB,
                                             .ctx = CTX, .seed = 9, .type = TYPE_Q4_1 };

static int32_t *text_ids(size_t n, uint64_t seed) {
  int32_t *ids = malloc(n * sizeof *ids);
  for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(writer_random(&seed) % VOCAB);
  return ids;
}

/* Logits of steps [0, n): prefill ids[0..prompt) in `parts` parts, then decode the rest; [1 + decode][VOCAB]. */
static float *run(lrqk_session *s, const int32_t *ids, size_t prompt, size_t parts, size_t decode, bool verify) {
  float *out = malloc((1 + decode) * VOCAB * sizeof *out);
  size_t done = 0;
  for (size_t i = 0; i < parts; i++) {
    size_t end = prompt * (i + 1) / parts;
    ck_assert_int_eq(lrqk_session_prefill(s, ids + done, end - done, 0, NULL, NULL), LRQK_OK);
    done = end;
  }
  memcpy(out, lrqk_session_logits(s), VOCAB * sizeof *out);
  for (size_t i = 0; i < decode; i++) {
    ck_assert_int_eq(lrqk_session_decode(s, ids[prompt + i]), LRQK_OK);
    memcpy(out + (1 + i) * VOCAB, lrqk_session_logits(s), VOCAB * sizeof *out);
    if (verify) rig_verify(s);
  }
  ck_assert_uint_eq(lrqk_session_length(s), prompt + decode);
  return out;
}

static float *run_options(struct rig *r, const char *options, const int32_t *ids, size_t prompt, size_t parts, size_t decode, bool verify) {
  lrqk_session *s = rig_session(r, options, CTX);
  float *out = run(s, ids, prompt, parts, decode, verify);
  lrqk_session_close(s);
  return out;
}

static void check_close(const float *a, const float *b, size_t steps, double limit, const char *what) {
  for (size_t i = 0; i < steps; i++) {
    double e = nmse_centred(a + i * VOCAB, b + i * VOCAB, VOCAB);
    ck_assert_msg(e <= limit, "%s: step %zu has NMSE %g, limit %g", what, i, e, limit);
  }
}

static const struct tiny_model *const shapes[] = { &shape_gqa, &shape_mha, &shape_mqa };
static const char *devices[3];   /* what tests open: the drivers, then host */

/* l <= k + w: the result of full, whatever the proxy, rank, group, sinks and dense layers. */
START_TEST(all_active_equals_full) {
  static const char *const options[] = {
    "attention=offload", "attention=lrqk active=128 lite=16", "attention=lrqk active=128 lite=16 rank=4 proxy-type=fp16 dense-layers=none",
    "attention=lrqk active=128 lite=1 group=none sinks=0 dense-layers=1", "attention=lrqk active=100 lite=50 group=max dense-layers=0-1",
    "attention=lrqk active=1 lite=200 sinks=0 dense-layers=none",
    "attention=lrqk proxy=gram active=100 lite=20 group=max", "preset=paper rank=8 active=110 lite=8"
  };
  const struct device_options dev = { .select = devices[_i / 3] };
  struct rig r = rig_open_device(shapes[_i % 3], &dev);
  int32_t *ids = text_ids(160, 1);
  float *full = run_options(&r, "attention=full", ids, 90, 1, 24, false);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (shapes[_i % 3] == &shape_mqa && i > 0 && i != 3 && i != 7) continue;   /* 10 heads share a KV head: only --group none */
    float *x = run_options(&r, options[i], ids, 90, 1, 24, true);
    check_close(x, full, 25, 1e-8, options[i]);
    free(x);
  }
  free(full);
  free(ids);
  rig_close(&r);
}
END_TEST

/* Far more candidates than active tokens: the active rows equal the host rows at every step, and running the same
 * thing again gives the same bits.  The text grows through k + w in decode and starts beyond it. */
START_TEST(rows_and_bits) {
  static const char *const options[] = { "proxy=pairs active=32 lite=8", "proxy=pairs active=40 lite=8 group=max proxy-type=fp16 rank=8",
                                         "proxy=pairs active=24 lite=3 group=none dense-layers=none", "proxy=gram active=32 lite=8",
                                         "mean-key=on active=32 lite=8",
                                         "proxy=gram mean-key=off active=24 lite=3 group=none proxy-type=fp16 dense-layers=none",
                                         "preset=paper rank=8 active=32 lite=8", "proxy=paper active=24 lite=3",
                                         "proxy=paper share=head active=24 lite=1 group=max",
                                         "proxy=paper group=none active=32 lite=8 freeze-basis=on", "proxy=gram active=32 lite=8 refresh=7",
                                         "proxy=pairs active=32 lite=8 refresh=3" };
  const struct device_options dev = { .select = devices[_i / 2] };
  struct rig r = rig_open_device(_i % 2 ? &shape_mha : &shape_gqa, &dev);
  int32_t *ids = text_ids(700, 2);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    for (size_t prompt = 20; prompt <= 600; prompt += 580) {
      size_t steps = prompt == 20 ? 60 : 24;
      float *a = run_options(&r, options[i], ids, prompt, 1, steps, true), *b = run_options(&r, options[i], ids, prompt, 1, steps, false);
      ck_assert_msg(!memcmp(a, b, (steps + 1) * VOCAB * sizeof *a), "%s, prompt %zu: two runs differ", options[i], prompt);
      free(a);
      free(b);
    }
  }
  free(ids);
  rig_close(&r);
}
END_TEST

/* A prompt in parts, on top of each other, gives what it gives at once: exact attention over everything so far. */
START_TEST(prompt_in_parts) {
  static const char *const options[] = { "attention=full", "attention=offload", "proxy=pairs active=64 lite=8",
                                         "proxy=pairs active=64 lite=8 dense-layers=none group=none", "proxy=gram active=64 lite=8",
                                         "proxy=gram active=64 lite=8 rank=16 mean-key=off proxy-type=fp16",
                                         "preset=paper rank=8 active=64 lite=8" };
  const struct device_options dev = { .select = devices[_i] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(400, 3);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    float *one = run_options(&r, options[i], ids, 301, 1, 12, false);
    for (size_t parts = 2; parts <= 3; parts++) {
      float *x = run_options(&r, options[i], ids, 301, parts, 12, true);
      check_close(x, one, 13, 1e-8, options[i]);
      free(x);
    }
    free(one);
  }
  free(ids);
  rig_close(&r);
}
END_TEST

/* Decode, then another prompt, then decode: rows, maps and proxies stay right. */
START_TEST(prompt_after_decode) {
  static const char *const options[][2] = { { "proxy=pairs active=32 lite=8", "proxy=pairs active=300 lite=8" },
                                            { "proxy=gram active=32 lite=8", "proxy=gram active=300 lite=8" },
                                            { "preset=paper rank=8 active=32 lite=8", "preset=paper rank=8 active=300 lite=8" } };
  const struct device_options dev = { .select = devices[_i / 3] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(500, 4);
  lrqk_session *s = rig_session(&r, options[_i % 3][0], CTX), *all = rig_session(&r, options[_i % 3][1], CTX),
               *full = rig_session(&r, "attention=full", CTX);
  free(run(s, ids, 100, 1, 10, true));
  free(run(all, ids, 100, 1, 10, true));
  free(run(full, ids, 110, 1, 0, false));
  lrqk_session *const each[] = { s, all, full };
  for (int i = 0; i < 3; i++) ck_assert_int_eq(lrqk_session_prefill(each[i], ids + 110, 150, 0, NULL, NULL), LRQK_OK);
  for (int i = 0; i < 12; i++) {
    for (int j = 0; j < 3; j++) ck_assert_int_eq(lrqk_session_decode(each[j], ids[260 + i]), LRQK_OK);
    rig_verify(s);
    check_close(lrqk_session_logits(all), lrqk_session_logits(full), 1, 1e-8, "everything active, after a second prompt");
  }
  for (int i = 0; i < 3; i++) lrqk_session_close(each[i]);
  free(ids);
  rig_close(&r);
}
END_TEST

/* Each layer is solved again in its turn: a token is then decoded as if the prompt had ended where that happened.  Only the
 * last layer is sparse, so that its rows do not depend on what was chosen before. */
START_TEST(refreshed_proxies) {
  enum { FIRST = 44, STEPS = 24, EVERY = 5, TURN = 2 * EVERY / 3 };   /* the last of 3 layers */
  const char *const never = _i % 2 ? "proxy=gram active=32 lite=8 dense-layers=0-1" : "proxy=pairs active=32 lite=8 dense-layers=0-1 rank=12";
  const struct device_options dev = { .select = devices[_i / 2] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(FIRST + STEPS, 13);
  char options[96];
  snprintf(options, sizeof options, "%s refresh=%d", never, EVERY);
  float *x = run_options(&r, options, ids, FIRST, 1, STEPS, true), *without = run_options(&r, never, ids, FIRST, 1, STEPS, false);
  size_t solved = FIRST, refreshed = 0;
  double apart = 0;
  for (size_t t = FIRST; t < FIRST + STEPS; t++) {
    if (t % EVERY == TURN) solved = t;
    refreshed += solved == t;
    float *want = run_options(&r, never, ids, solved, 1, t - solved + 1, false);
    check_close(x + (t - FIRST + 1) * VOCAB, want + (t - solved + 1) * VOCAB, 1, 1e-8, options);
    apart = fmax(apart, nmse_centred(x + (t - FIRST + 1) * VOCAB, without + (t - FIRST + 1) * VOCAB, VOCAB));
    free(want);
  }
  ck_assert_uint_ge(refreshed, 2);
  ck_assert_msg(apart > 1e-6, "%s changes nothing (NMSE %g)", options, apart);
  free(x);
  free(without);
  free(ids);
  rig_close(&r);
}
END_TEST

/* Small limits cut KV rows, proxies and weights into pages and slabs: the same as without (vulkan: both loaders). */
START_TEST(pages_and_slabs) {
  static const char *const options[] = { "attention=full", "attention=offload", "proxy=pairs active=48 lite=8",
                                         "proxy=pairs active=48 lite=8 group=none proxy-type=fp16", "proxy=gram active=48 lite=8" };
  enum { N = sizeof options / sizeof *options };
  const struct device_options whole = { .select = devices[0], .texel = _i ? 1 : -1 };
  struct device_options cut = whole;
  cut.max_binding = 512 * 2 * 32 * 4;   /* one page of 512 tokens of the GQA shape */
  int32_t *ids = text_ids(1300, 5);
  float *want[N];
  struct rig r = rig_open_device(&shape_gqa, &whole);
  for (size_t i = 0; i < N; i++) want[i] = run_options(&r, options[i], ids, 1100, 1, 8, false);
  rig_close(&r);
  r = rig_open_device(&shape_gqa, &cut);
  for (size_t i = 0; i < N; i++) {
    float *x = run_options(&r, options[i], ids, 1100, 1, 8, i > 1);
    check_close(x, want[i], 9, 1e-8, options[i]);
    free(x);
    free(want[i]);
  }
  rig_close(&r);
  free(ids);
}
END_TEST

/* All back ends agree, and so do both loaders of Vulkan. */
START_TEST(devices_agree) {
  const struct device_options dev[] = { { .select = "host" }, { .select = "vulkan", .texel = 1 }, { .select = "vulkan", .texel = -1 },
                                        { .select = "opencl" }, { .select = "opencl", .separate = true } };
  static const char *const names[] = { "host", "texel loads", "storage-buffer loads", "opencl", "opencl, separate memory" };
  int32_t *ids = text_ids(400, 6);
  float *want = NULL;
  for (size_t i = 0; i < sizeof dev / sizeof *dev; i++) {
    if ((i && !test_uses(dev[i].select)) || (dev[i].texel == 1 && !test_texel_loads())) continue;
    struct rig r = rig_open_device(shapes[_i], &dev[i]);
    float *x = run_options(&r, _i == 2 ? "proxy=pairs active=400 lite=8 group=none" : "proxy=pairs active=400 lite=8", ids, 333, 1, 10, true);
    if (want) check_close(x, want, 11, 1e-8, names[i]);
    else want = x;
    if (i) free(x);
    rig_close(&r);
  }
  free(want);
  free(ids);
}
END_TEST

/* A text that was prefilled once goes on under any policy as if it had been prefilled there: the same bits. */
START_TEST(copied_sessions) {
  static const char *const options[] = { "attention=full", "attention=offload", "proxy=pairs active=64 lite=8",
                                         "proxy=pairs active=64 lite=8 dense-layers=none group=none", "proxy=pairs active=500 lite=8",
                                         "proxy=gram active=64 lite=8",
                                         "proxy=gram active=64 lite=8 dense-layers=none group=none mean-key=off horizon=64",
                                         "preset=paper rank=8 active=64 lite=8", "proxy=paper active=64 lite=8" };
  static const enum lrqk_proxy lender[] = { LRQK_PROXY_PAIRS, LRQK_PROXY_GRAM, LRQK_PROXY_PAPER };
  const struct device_options dev = { .select = devices[_i / 3] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(400, 12);
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = CTX };
  o.cache.active = 8;
  o.cache.lite = 1;
  o.cache.sinks = o.cache.dense[0] = 0;
  o.cache.lend = true;
  o.cache.proxy = lender[_i % 3];
  lrqk_session *from;
  ck_assert_int_eq(lrqk_session_open(&from, r.engine, &o), LRQK_OK);
  ck_assert_int_eq(lrqk_session_prefill(from, ids, 301, 0, NULL, NULL), LRQK_OK);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (o.cache.proxy != LRQK_PROXY_PAPER && strstr(options[i], "paper")) continue;   /* it has sums of its own, see bad_calls */
    lrqk_session *to = rig_session(&r, options[i], CTX);
    ck_assert_int_eq(lrqk_session_copy(to, from), LRQK_OK);
    float *want = run_options(&r, options[i], ids, 301, 1, 12, false);
    ck_assert_mem_eq(lrqk_session_logits(to), want, VOCAB * sizeof *want);
    for (int j = 0; j < 12; j++) {
      ck_assert_int_eq(lrqk_session_decode(to, ids[301 + j]), LRQK_OK);
      ck_assert_mem_eq(lrqk_session_logits(to), want + (1 + j) * VOCAB, VOCAB * sizeof *want);
    }
    free(want);
    lrqk_session_close(to);
  }
  lrqk_session_close(from);
  free(ids);
  rig_close(&r);
}
END_TEST

struct stopper { int left; };
static bool stop_later(void *ud, enum lrqk_phase phase, uint64_t done, uint64_t total) {
  struct stopper *s = ud;
  ck_assert_int_eq(phase, LRQK_PHASE_PREFILL);
  ck_assert(done <= total);
  return s->left-- > 0;
}

/* A prompt that is stopped anywhere leaves the session as it was. */
START_TEST(interrupted_prefill) {
  static const char *const each[] = { "proxy=pairs active=32 lite=8", "proxy=gram active=32 lite=8", "proxy=paper active=32 lite=8" };
  static const enum lrqk_proxy proxy[] = { LRQK_PROXY_PAIRS, LRQK_PROXY_GRAM, LRQK_PROXY_PAPER };
  const char *const options = each[_i];
  const struct device_options dev = { .select = devices[0] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(400, 7);
  for (int stop = 0; stop < 9; stop += 2) {
    struct stopper st = { .left = 1 << 20 };
    struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = CTX, .progress = stop_later, .progress_ud = &st };
    o.cache.active = 32;
    o.cache.lite = 8;
    o.cache.proxy = proxy[_i];
    lrqk_session *s, *clean = rig_session(&r, options, CTX);
    ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_OK);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, 100, 0, NULL, NULL), LRQK_OK);
    st.left = stop;
    ck_assert_int_eq(lrqk_session_prefill(s, ids + 150, 200, 0, NULL, NULL), LRQK_INTERRUPTED);
    ck_assert_uint_eq(lrqk_session_length(s), 100);
    ck_assert_int_eq(lrqk_session_prefill(clean, ids, 100, 0, NULL, NULL), LRQK_OK);
    for (int i = 0; i < 8; i++) {
      ck_assert_int_eq(lrqk_session_decode(s, ids[100 + i]), LRQK_OK);
      ck_assert_int_eq(lrqk_session_decode(clean, ids[100 + i]), LRQK_OK);
      ck_assert_mem_eq(lrqk_session_logits(s), lrqk_session_logits(clean), VOCAB * sizeof(float));
    }
    lrqk_session_close(s);
    lrqk_session_close(clean);
  }
  free(ids);
  rig_close(&r);
}
END_TEST

static bool collect(void *ud, uint64_t pos, const float *logits) {
  float *out = ud;
  memcpy(out + pos * VOCAB, logits, VOCAB * sizeof *out);
  return true;
}

/* Logits of every position of a prompt are those that decoding it token by token gives. */
START_TEST(logits_of_all_positions) {
  const struct device_options dev = { .select = devices[_i] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(100, 8);
  float *all = malloc(100 * VOCAB * sizeof *all);
  lrqk_session *s = rig_session(&r, "attention=full", CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 70, 0, collect, all), LRQK_OK);
  ck_assert_int_eq(lrqk_session_prefill(s, ids + 70, 30, 80, collect, all), LRQK_OK);
  lrqk_session_close(s);
  float *steps = run_options(&r, "attention=full", ids, 1, 1, 99, false);
  check_close(all, steps, 70, 1e-8, "first prompt");
  check_close(all + 80 * VOCAB, steps + 80 * VOCAB, 20, 1e-8, "second prompt");
  free(all);
  free(steps);
  free(ids);
  rig_close(&r);
}
END_TEST

START_TEST(figures) {
  const struct device_options dev = { .select = devices[0] };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  int32_t *ids = text_ids(1100, 9);
  struct lrqk_cache_stats full, offload, lrqk;
  const char *const options[] = { "attention=full", "attention=offload", "proxy=pairs active=64 lite=16" };
  struct lrqk_cache_stats *const out[] = { &full, &offload, &lrqk };
  for (int i = 0; i < 3; i++) {
    lrqk_session *s = rig_session(&r, options[i], CTX);
    free(run(s, ids, 1000, 1, 10, false));
    ck_assert_int_eq(lrqk_session_stats(s, out[i]), LRQK_OK);
    lrqk_session_close(s);
  }
  uint64_t row = 2 * 32 * 4, layer = CTX * row;   /* 2 KV heads, d = 32, K and V in fp16 */
  ck_assert_uint_eq(full.device_bytes, 3 * layer);
  ck_assert_uint_eq(full.full_bytes, 3 * layer);
  ck_assert_uint_eq(full.host_bytes, 0);
  ck_assert_uint_eq(offload.device_bytes, 2 * layer);
  ck_assert_uint_eq(offload.host_bytes, 3 * layer);
  ck_assert_uint_eq(offload.bus_bytes, 3 * row * (1001 + 1002 + 1003 + 1004 + 1005 + 1006 + 1007 + 1008 + 1009 + 1010));
  ck_assert_uint_eq(lrqk.host_bytes, 2 * layer);
  ck_assert_uint_eq(lrqk.decoded, 10);
  ck_assert_uint_eq(lrqk.chosen, 10 * 2 * 2 * 64);
  ck_assert_uint_ge(lrqk.misses, 2 * 2 * 64);
  ck_assert_uint_lt(lrqk.misses, lrqk.chosen);
  ck_assert_uint_eq(lrqk.bus_bytes, lrqk.misses * 32 * 4 + 10 * 2 * row);
  free(ids);
  rig_close(&r);
}
END_TEST

START_TEST(bad_calls) {
  const struct device_options dev = { .select = "host" };
  struct rig r = rig_open_device(&shape_gqa, &dev);
  rig_quiet = true;
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = CTX + 1 };
  lrqk_session *s = NULL;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);
  o.n_ctx = 64;
  o.cache.rank = 36;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);
  o.cache.rank = 0;
  o.cache.active = 3;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);   /* four sinks */
  o.cache.active = 2048;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_OK);
  int32_t *ids = text_ids(65, 1), bad = VOCAB;
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 65, 0, NULL, NULL), LRQK_PROMPT);
  ck_assert_int_eq(lrqk_session_prefill(s, &bad, 1, 0, NULL, NULL), LRQK_USAGE);
  ck_assert_ptr_null(lrqk_session_logits(s));
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 64, 0, NULL, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_session_decode(s, 1), LRQK_PROMPT);
  lrqk_session_close(s);
  lrqk_session *pairs = rig_session(&r, "proxy=pairs dense-layers=none", CTX), *gram = rig_session(&r, "proxy=gram", CTX);
  ck_assert_int_eq(lrqk_session_copy(gram, pairs), LRQK_USAGE);        /* it has no Grams, not being opened to lend */
  lrqk_session_close(pairs);
  lrqk_session_close(gram);
  o.cache = lrqk_cache_defaults();
  o.cache.lend = true;
  o.cache.dense[0] = 0;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_OK);
  o.cache.proxy = LRQK_PROXY_PAPER;
  ck_assert_int_eq(lrqk_session_open(&pairs, r.engine, &o), LRQK_OK);
  ck_assert_int_eq(lrqk_session_copy(pairs, s), LRQK_USAGE);           /* sums of paper are kept by paper alone */
  lrqk_session_close(s);
  lrqk_session_close(pairs);
  o.cache.refresh = 8;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);   /* for pairs and gram */
  o.cache = lrqk_cache_defaults();
  o.cache.share = LRQK_SHARE_HEAD;
  ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_USAGE);   /* for paper */
  struct lrqk_cache_options c = lrqk_cache_defaults();
  static const char *const wrong[][2] = { { "rank", "6" }, { "rank", "x" }, { "active", "0" }, { "lite", "0" }, { "group", "mean" },
                                          { "proxy", "svd" }, { "mean-key", "yes" }, { "horizon", "0" }, { "iters", "0" }, { "tol", "-1" },
                                          { "tol", "x" }, { "share", "all" }, { "preset", "gram" }, { "lambda", "-1" }, { "lambda-q", "x" },
                                          { "lambda-k", "" }, { "freeze-basis", "maybe" }, { "refresh", "-1" }, { "dense-layers", "3-1" },
                                          { "dense-layers", "1,," }, { "dense-layers", "600" }, { "sinks", "-1" }, { "width", "1" } };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) ck_assert_int_eq(lrqk_cache_set(&c, wrong[i][0], wrong[i][1], rig_log, NULL), LRQK_USAGE);
  ck_assert_int_eq(lrqk_cache_set(&c, "dense-layers", "0,3-5,70", rig_log, NULL), LRQK_OK);
  ck_assert_uint_eq(c.dense[0], 0x39);
  ck_assert_uint_eq(c.dense[1], 1u << 6);
  ck_assert_int_eq(lrqk_cache_set(&c, "preset", "paper", rig_log, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_cache_set(&c, "lambda-q", "0.5", rig_log, NULL), LRQK_OK);
  ck_assert(c.policy == LRQK_POLICY_LRQK && c.proxy == LRQK_PROXY_PAPER && c.proxy_type == LRQK_PROXY_FP16 && c.share == LRQK_SHARE_HEAD);
  ck_assert(c.group == LRQK_GROUP_NONE && c.rank == 32 && c.active == 2048 && c.lite == 64 && c.sinks == 0 && !c.tail && !c.dense[0] && !c.dense[1]);
  ck_assert(c.iters == 2 && c.tol == 1e-2 && c.lambda_q == 0.5 && c.lambda_k == 1 && c.lambda == 1 && !c.freeze_basis && !c.refresh);
  rig_quiet = false;
  free(ids);
  rig_close(&r);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("engine");
  TCase *t = tcase_create("engine");
  tcase_set_timeout(t, 0);
  int n_devices = test_devices(devices);
  bool texel = test_uses("vulkan") && test_texel_loads();
  if (n_devices == 1) fprintf(stderr, "only the host device: devices_agree is left out, and one loader of pages_and_slabs\n");
  tcase_add_loop_test(t, all_active_equals_full, 0, 3 * n_devices);
  tcase_add_loop_test(t, rows_and_bits, 0, 2 * n_devices);
  tcase_add_loop_test(t, prompt_in_parts, 0, n_devices);
  tcase_add_loop_test(t, prompt_after_decode, 0, 3 * n_devices);
  tcase_add_loop_test(t, refreshed_proxies, 0, 2 * n_devices);
  tcase_add_loop_test(t, pages_and_slabs, 0, texel ? 2 : 1);
  if (n_devices > 1) tcase_add_loop_test(t, devices_agree, 0, 3);
  tcase_add_loop_test(t, copied_sessions, 0, 3 * n_devices);
  tcase_add_loop_test(t, interrupted_prefill, 0, 3);
  tcase_add_loop_test(t, logits_of_all_positions, 0, n_devices);
  tcase_add_test(t, figures);
  tcase_add_test(t, bad_calls);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
