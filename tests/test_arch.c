/* Every architecture and its variants, on the host and the vulkan back end: logits of a prompt and of tokens decoded after it
 * against those of tools/reference/forward.py (float64, apart from the engine); and what the policies must have in common
 * on a model with all features at once.
 * `test_arch --write DIR` writes the models for make_arch_golden.py, which makes tests/data/arch_golden.bin. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 264, CTX = 256, PROMPT = 150, ROWS = 4, TOKENS = PROMPT + ROWS - 1 };   /* golden: of the last ROWS tokens */

static const double LIMIT = 1e-5, AGREE = 1e-7;   /* F32: keys and values are rounded to fp16; device against device */

static const struct tiny_model models[] = {
  { .arch = "qwen2", .bias = true },
  { .arch = "qwen2", .bias = true, .embd = 72, .heads = 3, .kv_heads = 1, .ff = 60, .untied = true, .rope_base = 1e6f },   /* d 24 */
  { .arch = "qwen2", .embd = 40, .heads = 2, .kv_heads = 2, .head_size = 40, .rope_dims = 20 },
  { .arch = "qwen3", .head_size = 32 },
  { .arch = "qwen3", .embd = 48, .heads = 8, .kv_heads = 1, .head_size = 24, .untied = true, .rope_base = 1e6f },
  { .arch = "llama", .bias = true, .ffn_bias = true },
  { .arch = "llama", .window = 100 },
  { .arch = "mistral", .window = 16, .layers = 3 },
  { .arch = "phi3", .embd = 96, .heads = 3, .kv_heads = 3, .ff = 64 },
  { .arch = "phi3", .bias = true, .rope_dims = 12, .untied = true },
  { .arch = "phi3", .long_from = 512 },
  { .arch = "phi3", .long_from = 64, .rope_dims = 10 },
  { .arch = "phi3", .apart = true, .window = 33 },
  { .arch = "gemma", .head_size = 32, .kv_heads = 1 },
  { .arch = "gemma2", .layers = 4, .window = 24, .head_size = 32, .query_gain = 2 },
  { .arch = "gemma2", .layers = 3, .heads = 5, .kv_heads = 1, .embd = 60, .head_size = 40, .window = 7, .attn_cap = 20, .logit_cap = 5,
    .untied = true },
  { .arch = "gemma3", .layers = 7, .window = 32, .head_size = 32, .rope_base = 1e6f, .linear = 8 },
  { .arch = "gemma3", .layers = 4, .window = 16, .period = 2, .embd = 48, .heads = 3, .kv_heads = 3, .head_size = 48, .rope_base = 1e6f,
    .logit_cap = 10 },
  { .arch = "gemma3", .rope_base = 1e6f },
  { .arch = "qwen2", .bias = true, .type = TYPE_Q4_K, .v_type = TYPE_Q6_K + 1, .embd = 256, .ff = 256, .layers = 1 },
  { .arch = "gemma3", .window = 20, .period = 2, .type = TYPE_IQ4_NL, .v_type = TYPE_Q5_1 + 1, .embd_type = TYPE_Q8_0 + 1, .embd = 96, .heads = 4,
    .head_size = 24, .ff = 96 },
};
enum { MODELS = sizeof models / sizeof *models };

static struct tiny_model model_of(int i) {
  struct tiny_model t = models[i];
  t.vocab = VOCAB;
  t.ctx = CTX;
  t.seed = 1000 + (uint64_t)i;
  return t;
}

static void ids_of(int i, int32_t ids[TOKENS]) {
  uint64_t seed = (uint64_t)i;
  for (int t = 0; t < TOKENS; t++) ids[t] = (int32_t)(writer_random(&seed) % VOCAB);
}

/* ---- the engine */

static struct rig open_on(const struct tiny_model *t, const char *device) {
  return rig_open(t, &(struct lrqk_engine_options){ .device = device });
}

static void decode(lrqk_session *s, const int32_t *ids, int from, int to, float *out) {
  for (int t = from; t < to; t++) {
    ck_assert_int_eq(lrqk_session_decode(s, ids[t]), LRQK_OK);
    memcpy(out + (size_t)(t - from) * VOCAB, lrqk_session_logits(s), VOCAB * sizeof *out);
  }
}

/* out [ROWS][VOCAB]: the last token of the prompt, and what is decoded after it. */
static void run(const struct rig *r, const char *options, const int32_t *ids, float *out) {
  lrqk_session *s = rig_session(r, options, CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, PROMPT, UINT64_MAX, NULL, NULL), LRQK_OK);
  memcpy(out, lrqk_session_logits(s), VOCAB * sizeof *out);
  decode(s, ids, PROMPT, TOKENS, out + VOCAB);
  rig_verify(s);
  lrqk_session_close(s);
}

static void check_rows(const float *got, const float *want, double limit, const char *what) {
  for (int i = 0; i < ROWS; i++) {
    double e = nmse_centred(got + (size_t)i * VOCAB, want + (size_t)i * VOCAB, VOCAB);
    ck_assert_msg(e <= limit, "%s, row %d: NMSE %g, limit %g", what, i, e, limit);
  }
}

START_TEST(golden_logits) {
  struct tiny_model t = model_of(_i);
  int32_t ids[TOKENS];
  float golden[ROWS * VOCAB], host[ROWS * VOCAB], got[ROWS * VOCAB];
  FILE *f = fopen(TEST_DATA "/arch_golden.bin", "rb");
  ck_assert_ptr_nonnull(f);
  ck_assert_int_eq(fseek(f, (long)(_i * (int)sizeof golden), SEEK_SET), 0);
  ck_assert_uint_eq(fread(golden, sizeof golden, 1, f), 1);
  fclose(f);
  ids_of(_i, ids);
  struct rig r = open_on(&t, "host");
  run(&r, "attention=full", ids, host);
  rig_close(&r);
  check_rows(host, golden, LIMIT, t.arch);
  if (test_only_host()) return;
  r = open_on(&t, "vulkan");
  run(&r, "attention=full", ids, got);
  check_rows(got, host, AGREE, "vulkan against host");
  rig_close(&r);
}
END_TEST

/* Windows, caps, norms, biases, partial rotary embeddings; layers 1 and 3 (of gemma2: 1, 3) attend to all. */
static const struct tiny_model rich[] = {
  { .arch = "gemma2", .layers = 4, .window = 24, .head_size = 40, .rope_dims = 20, .bias = true, .query_gain = 2, .vocab = VOCAB, .ctx = CTX,
    .seed = 3 },
  { .arch = "gemma3", .layers = 4, .window = 24, .period = 2, .head_size = 32, .rope_base = 1e6f, .linear = 4, .attn_cap = 15, .query_gain = 2,
    .vocab = VOCAB, .ctx = CTX, .seed = 4 },
  { .arch = "phi3", .layers = 2, .heads = 4, .kv_heads = 1, .head_size = 48, .rope_dims = 18, .long_from = 64, .query_gain = 2, .vocab = VOCAB,
    .ctx = CTX, .seed = 5 },
  { .arch = "qwen3", .layers = 2, .head_size = 32, .query_gain = 2, .vocab = VOCAB, .ctx = CTX, .seed = 6 },
};
enum { RICH = sizeof rich / sizeof *rich };

static const char *device_of(int i) { return i / RICH ? "vulkan" : "host"; }

START_TEST(policies_agree) {
  static const char *const all[] = {
    "attention=offload", "active=256 lite=8 dense-layers=none proxy=pairs", "active=256 lite=8 dense-layers=none proxy=gram",
    "active=256 lite=8 dense-layers=none proxy=paper", "active=256 lite=8 dense-layers=1 proxy=gram group=none",
  };
  if (_i / RICH && test_only_host()) return;
  struct rig r = open_on(&rich[_i % RICH], device_of(_i));
  int32_t ids[TOKENS];
  float want[ROWS * VOCAB], got[ROWS * VOCAB];
  ids_of(_i % RICH, ids);
  run(&r, "attention=full", ids, want);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    run(&r, all[i], ids, got);
    check_rows(got, want, 1e-8, all[i]);
  }
  rig_close(&r);
}
END_TEST

/* A proxy of full rank in fp16 is the key itself: each way to make one chooses the same tokens and gives the rest the same mass,
 * whatever stands between a projection and its score. */
START_TEST(exact_proxies_agree) {
  if (_i / RICH && test_only_host()) return;
  struct rig r = open_on(&rich[_i % RICH], device_of(_i));
  int32_t ids[TOKENS];
  float want[ROWS * VOCAB], got[ROWS * VOCAB];
  char options[2][160];
  ids_of(_i % RICH, ids);
  snprintf(options[0], sizeof options[0], "active=40 lite=8 dense-layers=none proxy-type=fp16 rank=%u proxy=pairs", rich[_i % RICH].head_size);
  snprintf(options[1], sizeof options[1], "active=40 lite=8 dense-layers=none proxy-type=fp16 rank=%u proxy=gram", rich[_i % RICH].head_size);
  run(&r, options[0], ids, want);
  run(&r, options[1], ids, got);
  check_rows(got, want, 1e-3, "gram against pairs");
  rig_close(&r);
}
END_TEST

/* A prompt in parts, cut short, and taken back: windows keep what a query can still see. */
START_TEST(parts_and_rewinding) {
  if (_i / RICH && test_only_host()) return;
  struct rig r = open_on(&rich[_i % RICH], device_of(_i));
  int32_t ids[TOKENS];
  float want[ROWS * VOCAB], got[ROWS * VOCAB];
  ids_of(_i % RICH, ids);
  run(&r, "attention=full", ids, want);
  lrqk_session *s = rig_session(&r, "attention=full", CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 70, UINT64_MAX, NULL, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_session_mark(s), LRQK_OK);
  for (int round = 0; round < 2; round++) {
    ck_assert_int_eq(lrqk_session_decode(s, 5), LRQK_OK);
    for (int i = 0; i < 40; i++) ck_assert_int_eq(lrqk_session_decode(s, i), LRQK_OK);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
  }
  ck_assert_int_eq(lrqk_session_prefill(s, ids + 70, PROMPT - 70, UINT64_MAX, NULL, NULL), LRQK_OK);
  memcpy(got, lrqk_session_logits(s), VOCAB * sizeof *got);
  decode(s, ids, PROMPT, TOKENS, got + VOCAB);
  check_rows(got, want, 1e-8, "in parts");
  lrqk_session_close(s);
  rig_close(&r);
}
END_TEST

/* A windowed layer takes the device no more than its window and a chunk need, under every policy. */
START_TEST(windows_are_small) {
  static const char *const policies[] = { "attention=full", "attention=offload", "attention=lrqk" };
  const struct tiny_model t = { .arch = "mistral", .window = 8, .layers = 3, .vocab = VOCAB, .ctx = 4096, .seed = 9 };
  struct rig r = open_on(&t, "host");
  for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
    lrqk_session *s = rig_session(&r, policies[i], 4096);
    struct lrqk_cache_stats st;
    ck_assert_int_eq(lrqk_session_stats(s, &st), LRQK_OK);
    if (i == 0) ck_assert(st.device_bytes * 8 < st.full_bytes);
    lrqk_session_close(s);
  }
  rig_close(&r);
}
END_TEST

static int write_models(const char *dir) {
  for (int i = 0; i < MODELS; i++) {
    struct tiny_model t = model_of(i);
    char file[512];
    int32_t ids[TOKENS];
    snprintf(file, sizeof file, "%s/%02d.gguf", dir, i);
    tiny_model_save(&t, file);
    snprintf(file, sizeof file, "%s/%02d.ids", dir, i);
    FILE *f = fopen(file, "w");
    if (!f) return 1;
    ids_of(i, ids);
    for (int j = 0; j < TOKENS; j++) fprintf(f, "%d\n", ids[j]);
    fclose(f);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--write")) return write_models(argv[2]);
  Suite *suite = suite_create("arch");
  TCase *t = tcase_create("arch");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, golden_logits, 0, MODELS);
  tcase_add_loop_test(t, policies_agree, 0, 2 * RICH);
  tcase_add_loop_test(t, exact_proxies_agree, 0, 2 * RICH);
  tcase_add_loop_test(t, parts_and_rewinding, 0, 2 * RICH);
  tcase_add_test(t, windows_are_small);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
