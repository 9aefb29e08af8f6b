/* Hyper-parameters and the table of weights against files that are right, wrong in one thing, cut, and corrupted. */
#include "log_capture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf_writer.h"
#include "model/rope.h"
#include "suite.h"

static struct log_capture captured;

/* As the engine opens a file, up to the weights. */
static enum lrqk_status check_bytes(const unsigned char *data, size_t n, struct hparams *hp) {
  struct log log = log_capture(&captured);
  struct gguf *g;
  enum lrqk_status s = gguf_open_memory(&g, &log, "FILE", data, n, false);
  if (s != LRQK_OK) return s;
  s = hparams_read(hp, g);
  if (s == LRQK_OK) s = model_check(hp, g);
  gguf_close(g);
  return s;
}

static enum lrqk_status check_writer(struct gguf_writer *w, struct hparams *hp) {
  size_t n;
  unsigned char *data = writer_file(w, &n, NULL);
  enum lrqk_status s = check_bytes(data, n, hp);
  free(data);
  return s;
}

static void whole(struct gguf_writer *w, struct tiny_model tiny) {
  tiny.vocab = tiny.vocab ? tiny.vocab : 32;
  tiny_model_keys(w, &tiny);
  tiny_model_tensors(w, &tiny);
}

/* ---- right files */

START_TEST(what_a_file_says) {
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ .layers = 3, .embd = 96, .ff = 160, .heads = 6, .kv_heads = 2, .head_size = 24, .vocab = 40, .ctx = 77,
                                 .rope_dims = 14, .rope_base = 1234, .untied = true });
  ck_assert_msg(check_writer(&w, &hp) == LRQK_OK, "%s", captured.text);
  ck_assert_str_eq(hp.arch, "llama");
  ck_assert(hp.n_layers == 3 && hp.n_embd == 96 && hp.n_ff == 160 && hp.n_heads == 6 && hp.n_kv_heads == 2 && hp.head_size == 24);
  ck_assert(hp.n_vocab == 40 && hp.n_ctx == 77 && hp.rope_dims == 14 && hp.rope_base == 1234 && hp.rms_eps == 1e-5f && !hp.rope_neox);
  writer_free(&w);
}
END_TEST

static void nothing(struct gguf_writer *w) { (void)w; }
static void no_kv_heads(struct gguf_writer *w) { writer_drop(w, "llama.attention.head_count_kv"); }
static void no_base(struct gguf_writer *w) { writer_drop(w, "llama.rope.freq_base"); }
static void no_vocab_size(struct gguf_writer *w) { writer_drop(w, "llama.vocab_size"); }
static void kv_heads_array(struct gguf_writer *w) {
  no_kv_heads(w);
  writer_array(w, "llama.attention.head_count_kv", GGUF_I32, (const int32_t[]){ 4, 4 }, 2);
}
static void no_scaling(struct gguf_writer *w) {
  writer_string(w, "llama.rope.scaling.type", "none");
  writer_f32(w, "llama.rope.scaling.factor", 1);
}
static void one_part(struct gguf_writer *w) { writer_raw(w, "split.count", GGUF_U16, "\1\0", 2); }

START_TEST(what_a_file_leaves_out) {
  static void (*const change[])(struct gguf_writer *) = { nothing,        no_kv_heads, no_base, no_vocab_size,
                                                          kv_heads_array, no_scaling,  one_part };
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ .kv_heads = 4 });
  change[_i](&w);
  ck_assert_msg(check_writer(&w, &hp) == LRQK_OK, "%s", captured.text);
  ck_assert(hp.n_kv_heads == 4 && hp.rope_base == 10000 && hp.n_vocab == 32 && hp.head_size == 16 && hp.rope_dims == 16);
  writer_free(&w);
}
END_TEST

/* ---- wrong keys */

/* The file of `whole` with one key in another way; what and expected must be in the message. */
static const struct wrong_key {
  const char *key;
  enum { U32, F32, TEXT, GONE, ARRAY } kind;
  double value;
  const char *text, *what, *expected;
} wrong_keys[] = {
  { "general.architecture", TEXT, 0, "gptneox", "\"gptneox\"", "supported: llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3" },
  { "general.architecture", U32, 1, NULL, "u32", "expected string" },
  { "general.architecture", GONE, 0, NULL, "missing", "expected" },
  { "llama.block_count", GONE, 0, NULL, "missing", "expected" },
  { "llama.block_count", U32, 0, NULL, "is 0", "expected 1 to 512" },
  { "llama.block_count", U32, 513, NULL, "is 513", "expected 1 to 512" },
  { "llama.block_count", F32, 2, NULL, "f32", "expected an integer" },
  { "llama.block_count", U32, 3, NULL, "blk.2.", "is missing" },
  { "llama.block_count", U32, 1, NULL, "blk.1.", "expected only" },
  { "llama.embedding_length", U32, 0, NULL, "is 0", "expected 4 to 65536" },
  { "llama.embedding_length", U32, 66, NULL, "is 66", "expected a multiple of 4" },
  { "llama.embedding_length", U32, 65540, NULL, "is 65540", "expected 4 to 65536" },
  { "llama.embedding_length", U32, 128, NULL, "token_embd.weight is [64, 32, 1, 1]", "expected [128, 32]" },
  { "llama.embedding_length", TEXT, 0, "64", "string", "expected an integer" },
  { "llama.feed_forward_length", U32, 0, NULL, "is 0", "expected" },
  { "llama.feed_forward_length", U32, 130, NULL, "is 130", "expected a multiple of 4" },
  { "llama.feed_forward_length", U32, 132, NULL, "ffn_gate.weight is [64, 128", "expected [64, 132]" },
  { "llama.feed_forward_length", ARRAY, 128, NULL, "for layer 1", "expected the same" },
  { "llama.attention.head_count", U32, 0, NULL, "is 0", "expected 1 to" },
  { "llama.attention.head_count", U32, 6, NULL, "is 6", "expected a divisor of embedding_length" },
  { "llama.attention.head_count", U32, 16, NULL, "heads of 4", "expected a multiple of 8" },
  { "llama.attention.head_count", U32, 4000000000.0, NULL, "is 4000000000", "expected 1 to" },
  { "llama.attention.head_count_kv", U32, 0, NULL, "is 0", "expected 1 to" },
  { "llama.attention.head_count_kv", U32, 3, NULL, "is 3", "expected a divisor of head_count" },
  { "llama.attention.head_count_kv", U32, 8, NULL, "is 8", "expected a divisor of head_count" },
  { "llama.attention.head_count_kv", U32, 4, NULL, "attn_k.weight", "expected [64, 64]" },
  { "llama.attention.head_count_kv", ARRAY, 2, NULL, "for layer 1", "expected the same" },
  { "llama.attention.key_length", U32, 12, NULL, "is 12", "expected a multiple of 8" },
  { "llama.attention.key_length", U32, 1024, NULL, "is 1024", "expected 8 to 512" },
  { "llama.attention.key_length", U32, 32, NULL, "attn_q.weight", "expected [64, 128]" },
  { "llama.attention.value_length", U32, 8, NULL, "is 8", "expected 16" },
  { "llama.rope.dimension_count", U32, 0, NULL, "is 0", "expected 2 to 16" },
  { "llama.rope.dimension_count", U32, 15, NULL, "is 15", "expected a multiple of 2" },
  { "llama.rope.dimension_count", U32, 18, NULL, "is 18", "expected 2 to 16" },
  { "llama.rope.freq_base", F32, 0, NULL, "is 0", "expected a number above 0" },
  { "llama.rope.freq_base", F32, -1, NULL, "is -1", "expected a number above 0" },
  { "llama.rope.freq_base", F32, INFINITY, NULL, "inf", "expected a finite number" },
  { "llama.rope.freq_base", F32, NAN, NULL, "nan", "expected a finite number" },
  { "llama.rope.freq_base", U32, 10000, NULL, "u32", "expected f32" },
  { "llama.attention.layer_norm_rms_epsilon", GONE, 0, NULL, "missing", "expected" },
  { "llama.attention.layer_norm_rms_epsilon", F32, 0, NULL, "is 0", "expected a number above 0" },
  { "llama.attention.layer_norm_rms_epsilon", F32, 1, NULL, "is 1", "expected less than 1" },
  { "llama.attention.layer_norm_rms_epsilon", F32, NAN, NULL, "nan", "expected a finite number" },
  { "llama.context_length", GONE, 0, NULL, "missing", "expected" },
  { "llama.context_length", U32, 0, NULL, "is 0", "expected 1 to" },
  { "llama.context_length", U32, 4294967295.0, NULL, "is 4294967295", "expected 1 to" },
  { "llama.vocab_size", U32, 31, NULL, "is 31", "expected 32" },
  { "llama.rope.scaling.type", TEXT, 0, "su", "\"su\"", "expected none, linear, yarn or longrope" },
  { "llama.rope.scaling.type", TEXT, 0, "", "\"\"", "expected none, linear, yarn or longrope" },
  { "llama.rope.scaling.type", U32, 1, NULL, "u32", "expected string" },
  { "llama.rope.scaling.factor", F32, -4, NULL, "is -4", "expected a number of at least 0" },
  { "llama.rope.scaling.factor", F32, NAN, NULL, "nan", "expected a finite number" },
  { "llama.rope.scale_linear", F32, -2, NULL, "is -2", "expected a number of at least 0" },
  { "llama.rope.scale_linear", TEXT, 0, "2", "string", "expected f32" },
  { "llama.rope.scaling.attn_factor", F32, 0, NULL, "is 0", "expected a number above 0" },
  { "llama.rope.scaling.alpha", F32, 1000, NULL, "is 1000", "scaled by alpha" },
  { "llama.rope.scaling.yarn_attn_factor", F32, 1.5, NULL, "is 1.5", "magnitudes of yarn" },
  { "llama.rope.scaling.yarn_log_multiplier", F32, 0.5, NULL, "is 0.5", "magnitudes of yarn" },
  { "llama.expert_count", U32, 8, NULL, "is 8", "mixtures of experts" },
  { "llama.logit_scale", F32, 3, NULL, "is 3", "scaled logits" },
  { "split.count", U32, 3, NULL, "is 3", "expected a model in one file" },
};

START_TEST(one_wrong_key) {
  const struct wrong_key *k = &wrong_keys[_i];
  struct gguf_writer w = { 0 };
  whole(&w, (struct tiny_model){ 0 });
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL);
  struct log quiet = { 0 };
  struct gguf *g;
  ck_assert_int_eq(gguf_open_memory(&g, &quiet, "", data, n, false), LRQK_OK);
  if (gguf_find(g, k->key)) writer_drop(&w, k->key);
  gguf_close(g);
  free(data);
  switch (k->kind) {
    case U32: writer_u32(&w, k->key, (uint32_t)k->value); break;
    case F32: writer_f32(&w, k->key, (float)k->value); break;
    case TEXT: writer_string(&w, k->key, k->text); break;
    case ARRAY: writer_array(&w, k->key, GGUF_U32, (const uint32_t[]){ (uint32_t)k->value, 1 }, 2); break;
    case GONE: break;
  }
  struct hparams hp = { .n_layers = 12345 };
  ck_assert_msg(check_writer(&w, &hp) == LRQK_MODEL, "accepted: %s, expected %s", k->key, k->what);
  log_capture_expect(&captured, k->what, k->expected);
  log_capture_expect(&captured, "FILE: ", "");
  writer_free(&w);
}
END_TEST

/* ---- wrong tensors */

static const uint64_t d8[] = { 8 }, d64[] = { 64 }, d64x32[] = { 64, 32 }, d32x64[] = { 32, 64 }, d64x64x2[] = { 64, 64, 2 };
static const unsigned char zeros[64 * 64 * 2 * 4];

/* The file of `whole` without one tensor, with another one, or both. */
static const struct wrong_tensor {
  const char *drop, *name;
  uint32_t type, n_dims;
  const uint64_t *dims;
  size_t bytes;
  const char *what, *expected;
} wrong_tensors[] = {
  { "token_embd.weight", NULL, 0, 0, NULL, 0, "token_embd.weight is missing", "expected [64, vocabulary]" },
  { "output_norm.weight", NULL, 0, 0, NULL, 0, "output_norm.weight is missing", "expected [64, 1]" },
  { "blk.1.ffn_up.weight", NULL, 0, 0, NULL, 0, "blk.1.ffn_up.weight is missing", "expected [64, 128]" },
  { "blk.0.attn_norm.weight", NULL, 0, 0, NULL, 0, "blk.0.attn_norm.weight is missing", "expected [64, 1]" },
  { "blk.0.attn_k.weight", "blk.0.attn_k.weight", TYPE_F32, 2, d32x64, 8192, "blk.0.attn_k.weight is [32, 64, 1, 1]", "expected [64, 32]" },
  { "blk.0.attn_k.weight", "blk.0.attn_k.weight", TYPE_F32, 1, d64, 256, "blk.0.attn_k.weight is [64, 1, 1, 1]", "expected [64, 32]" },
  { "blk.0.attn_q.weight", "blk.0.attn_q.weight", TYPE_F32, 3, d64x64x2, 32768,
    "blk.0.attn_q.weight is [64, 64, 2, 1]", "expected [64, 64]" },
  { "output_norm.weight", "output_norm.weight", TYPE_F32, 2, d64x32, 8192, "output_norm.weight is [64, 32, 1, 1]", "expected [64, 1]" },
  { "blk.0.attn_k.weight", "blk.0.attn_k.weight", 39, 2, d64x32, 1088, "type MXFP4 of tensor blk.0.attn_k.weight has no kernel",
    "expected one of: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS" },
  { "blk.0.attn_k.weight", "blk.0.attn_k.weight", 9, 2, d64x32, 2304,
    "type Q8_1 of tensor blk.0.attn_k.weight", "expected one of" },
  { "token_embd.weight", "token_embd.weight", 39, 2, d64x32, 1088,
    "type MXFP4 of tensor token_embd.weight cannot be dequantised", "expected one of" },
  { "output_norm.weight", "output_norm.weight", 26, 1, d64, 256,
    "type I32 of tensor output_norm.weight cannot be dequantised", "expected" },
  { NULL, "output.weight", 9, 2, d64x32, 2304, "type Q8_1 of tensor output.weight", "expected one of" },
  { NULL, "blk.0.attn_sub_norm.weight", TYPE_F32, 1, d64, 256, "tensor blk.0.attn_sub_norm.weight is not used here", "expected only" },
  { NULL, "rope_freqs.weight", TYPE_F32, 1, d64, 256, "tensor rope_freqs.weight is [64, 1]", "expected [8]" },
  { NULL, "rope_freqs.weight", TYPE_F32, 1, d8, 32, "tensor rope_freqs.weight holds 0", "expected numbers above 0" },
  { NULL, "rope_freqs.weight", TYPE_F16, 1, d8, 16, "tensor rope_freqs.weight is of type F16", "expected F32" },
  { NULL, "blk.2.attn_norm.weight", TYPE_F32, 1, d64, 256, "tensor blk.2.attn_norm.weight", "2 layers" },
  { NULL, "blk.00.attn_norm.weight", TYPE_F32, 1, d64, 256, "tensor blk.00.attn_norm.weight", "expected only" },
};

START_TEST(one_wrong_tensor) {
  const struct wrong_tensor *t = &wrong_tensors[_i];
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ 0 });
  if (t->drop) writer_drop_tensor(&w, t->drop);
  if (t->name) writer_tensor(&w, t->name, t->type, t->n_dims, t->dims, zeros, t->bytes);
  ck_assert_msg(check_writer(&w, &hp) == LRQK_MODEL, "accepted: expected %s", t->what);
  log_capture_expect(&captured, t->what, t->expected);
  log_capture_expect(&captured, "FILE: ", "");
  writer_free(&w);
}
END_TEST

/* An embedding that only rows are read of may have any type that can be dequantised; so may norms. */
START_TEST(types_beside_kernels) {
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ .untied = true });
  writer_drop_tensor(&w, "token_embd.weight");
  writer_tensor(&w, "token_embd.weight", TYPE_F16, 2, d64x32, zeros, 4096);
  writer_drop_tensor(&w, "output_norm.weight");
  writer_tensor(&w, "output_norm.weight", TYPE_BF16, 1, d64, zeros, 128);
  ck_assert_msg(check_writer(&w, &hp) == LRQK_OK, "%s", captured.text);
  writer_free(&w);
}
END_TEST

/* A kernel takes whole blocks: eight halves at a time. */
START_TEST(rows_of_whole_blocks) {
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ .embd = 20, .heads = 1, .head_size = 8, .type = _i ? TYPE_BF16 : TYPE_F16 });
  ck_assert_int_eq(check_writer(&w, &hp), LRQK_MODEL);
  log_capture_expect(&captured, "rows of 20 values", _i ? "a multiple of 8 for type BF16" : "a multiple of 8 for type F16");
  writer_free(&w);
}
END_TEST

/* ---- the rotary embedding */

struct rope_keys {
  const char *type;                        /* NULL: not written, as the numbers that are 0 */
  float factor, old_factor, attn_factor, ext_factor, beta_fast, beta_slow;
  uint32_t n_ctx;
  bool tensor;                             /* rope_freqs.weight = 1, 2 ... 8 */
  double inv_freq[8], magnitude;           /* what must come out, head size 16, base 10000 */
};

/* yarn: worked out with NumPy after the paper and llama.cpp. */
static const struct rope_keys rope_keys[] = {
  { .inv_freq = { 1, 0.31622776601683794, 0.1, 0.031622776601683791, 0.01, 0.0031622776601683794, 0.001, 0.00031622776601683794 },
    .magnitude = 1 },
  { .type = "none", .factor = 4, .old_factor = 2, .inv_freq = { 1, 0.31622776601683794, 0.1 }, .magnitude = 1 },
  { .type = "linear", .factor = 4, .inv_freq = { 0.25, 0.079056941504209485, 0.025 }, .magnitude = 1 },
  { .factor = 4, .inv_freq = { 0.25, 0.079056941504209485, 0.025 }, .magnitude = 1 },
  { .old_factor = 4, .inv_freq = { 0.25, 0.079056941504209485, 0.025 }, .magnitude = 1 },
  { .type = "linear", .factor = 4, .old_factor = 2, .attn_factor = 1.5f, .inv_freq = { 0.25, 0.079056941504209485, 0.025 },
    .magnitude = 1.5 },
  { .type = "linear", .inv_freq = { 1, 0.31622776601683794, 0.1 }, .magnitude = 1 },
  { .tensor = true, .inv_freq = { 1, 0.15811388300841897, 0.033333333333333333, 0.0079056941504209478, 0.002 }, .magnitude = 1 },
  { .type = "linear", .factor = 2, .tensor = true, .inv_freq = { 0.5, 0.079056941504209485, 0.016666666666666667 }, .magnitude = 1 },
  { .type = "yarn", .factor = 4, .n_ctx = 128,
    .inv_freq = { 1, 0.23717082451262847, 0.05, 0.0079056941504209478, 0.0025, 0.00079056941504209485, 0.00025, 7.9056941504209485e-05 },
    .magnitude = 1.138629436111989 },
  { .type = "yarn", .factor = 4, .n_ctx = 128, .attn_factor = 0.5f, .inv_freq = { 1, 0.23717082451262847, 0.05 },
    .magnitude = 0.5693147180559945 },
  { .type = "yarn", .factor = 8, .ext_factor = 0.5f, .beta_fast = 8, .beta_slow = 2,       /* n_ctx: context_length, 512 */
    .inv_freq = { 0.5625, 0.17787811838447135, 0.05625, 0.010870329456828804, 0.00125, 0.00039528470752104742, 0.000125 },
    .magnitude = 1.2079441541679836 },
  { .type = "yarn", .inv_freq = { 1, 0.31622776601683794, 0.1 }, .magnitude = 1 },
  { .type = "yarn", .factor = 0.5f, .n_ctx = 1, .inv_freq = { 1, 0.63245553203367588, 0.2 }, .magnitude = 1 },
};

START_TEST(rotary_embedding) {
  const struct rope_keys *k = &rope_keys[_i];
  const struct { const char *key; float v; } numbers[] = {
    { "factor", k->factor }, { "attn_factor", k->attn_factor }, { "yarn_ext_factor", k->ext_factor }, { "yarn_beta_fast", k->beta_fast },
    { "yarn_beta_slow", k->beta_slow },
  };
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ 0 });
  if (k->type) writer_string(&w, "llama.rope.scaling.type", k->type);
  if (k->old_factor > 0) writer_f32(&w, "llama.rope.scale_linear", k->old_factor);
  if (k->n_ctx) writer_u32(&w, "llama.rope.scaling.original_context_length", k->n_ctx);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    char key[64];
    snprintf(key, sizeof key, "llama.rope.scaling.%s", numbers[i].key);
    if (numbers[i].v > 0) writer_f32(&w, key, numbers[i].v);
  }
  if (k->tensor) writer_tensor(&w, "rope_freqs.weight", TYPE_F32, 1, d8, (const float[]){ 1, 2, 3, 4, 5, 6, 7, 8 }, 32);
  ck_assert_msg(check_writer(&w, &hp) == LRQK_OK, "%s", captured.text);
  for (int p = 0; p < 8 && k->inv_freq[p] > 0; p++) {
    ck_assert_msg(fabs(hp.rope.inv_freq[p] - k->inv_freq[p]) <= 1e-15 * k->inv_freq[p], "pair %d: %.17g, expected %.17g", p,
                  hp.rope.inv_freq[p], k->inv_freq[p]);
  }
  ck_assert(hp.rope.inv_freq[8] == 0);
  ck_assert_msg(fabs(hp.rope.magnitude - k->magnitude) <= 1e-15, "magnitude %.17g, expected %.17g", hp.rope.magnitude, k->magnitude);
  writer_free(&w);
}
END_TEST

START_TEST(angles_of_a_position) {
  struct gguf_writer w = { 0 };
  struct hparams hp;
  float cs[16];
  whole(&w, (struct tiny_model){ .rope_dims = 10 });
  writer_string(&w, "llama.rope.scaling.type", "yarn");
  writer_f32(&w, "llama.rope.scaling.factor", 4);
  ck_assert_msg(check_writer(&w, &hp) == LRQK_OK, "%s", captured.text);
  rope_row(&hp, &hp.rope, 1234567, cs);
  for (int p = 0; p < 8; p++) {
    double angle = 1234567 * hp.rope.inv_freq[p], m = hp.rope.magnitude;
    ck_assert(p < 5 ? fabs(cs[2 * p] - m * cos(angle)) < 1e-7 && fabs(cs[2 * p + 1] - m * sin(angle)) < 1e-7
                    : cs[2 * p] == 1 && cs[2 * p + 1] == 0);
  }
  writer_free(&w);
}
END_TEST

/* Keys that matter with yarn only. */
START_TEST(wrong_yarn) {
  static const struct { const char *key; float v; const char *what, *expected; } wrong[] = {
    { "llama.rope.scaling.yarn_ext_factor", -1, "is -1", "of at least 0" },
    { "llama.rope.scaling.yarn_beta_fast", 0, "is 0", "above 0" },
    { "llama.rope.scaling.yarn_beta_slow", -1, "is -1", "above 0" },
    { "llama.rope.scaling.original_context_length", 0, "is 0", "context before" },
    { "llama.rope.freq_base", 1, "is 1", "more than 1" },
  };
  struct gguf_writer w = { 0 };
  struct hparams hp;
  whole(&w, (struct tiny_model){ 0 });
  writer_string(&w, "llama.rope.scaling.type", "yarn");
  writer_f32(&w, "llama.rope.scaling.factor", 4);
  if (_i == 4) writer_drop(&w, wrong[_i].key);
  if (_i == 3) writer_u32(&w, wrong[_i].key, 0);
  else writer_f32(&w, wrong[_i].key, wrong[_i].v);
  ck_assert_int_eq(check_writer(&w, &hp), LRQK_MODEL);
  log_capture_expect(&captured, wrong[_i].what, wrong[_i].expected);
  log_capture_expect(&captured, wrong[_i].key, "FILE: ");
  writer_free(&w);
}
END_TEST

/* ---- every byte before the tensor data, in several ways: a clean error or a successful open */

START_TEST(corrupted_bytes) {
  struct gguf_writer w = { 0 };
  struct tiny_model tiny = { .layers = 1, .embd = 16, .ff = 16, .heads = 2, .kv_heads = 1, .vocab = 8 };
  whole(&w, tiny);
  writer_strings(&w, "tokenizer.ggml.tokens", (const char *const[]){ "a", "bc", "" }, 3);
  size_t n, start, opened = 0, refused = 0;
  unsigned char *data = writer_file(&w, &n, &start);
  for (size_t i = 0; i < start; i++) {
    unsigned char was = data[i];
    const unsigned char ways[] = { 0, 0xff, 0x7f, 0x80, was ^ 1, was ^ 0x80, (unsigned char)(was + 1), (unsigned char)(was << 1) };
    for (size_t j = 0; j < sizeof ways; j++) {
      struct hparams hp;
      data[i] = ways[j];
      enum lrqk_status s = check_bytes(data, n, &hp);
      ck_assert_msg(s == LRQK_OK || s == LRQK_MODEL, "byte %zu = %u: status %d", i, ways[j], s);
      ck_assert_msg(captured.errors == (s != LRQK_OK), "byte %zu = %u: status %d with %d errors", i, ways[j], s, captured.errors);
      if (s != LRQK_OK) log_capture_expect(&captured, "FILE: ", "");
      s == LRQK_OK ? opened++ : refused++;
    }
    data[i] = was;
  }
  ck_assert_msg(refused > 4 * opened && opened > 0, "%zu opened, %zu refused", opened, refused);
  free(data);
  writer_free(&w);
}
END_TEST

int main(void) {
  Suite *s = suite_create("hparams");
  TCase *right = tcase_create("right"), *wrong = tcase_create("wrong");
  tcase_set_timeout(wrong, 120);
  tcase_add_test(right, what_a_file_says);
  tcase_add_loop_test(right, what_a_file_leaves_out, 0, 7);
  tcase_add_test(right, types_beside_kernels);
  tcase_add_loop_test(right, rotary_embedding, 0, sizeof rope_keys / sizeof rope_keys[0]);
  tcase_add_test(right, angles_of_a_position);
  tcase_add_loop_test(wrong, rows_of_whole_blocks, 0, 2);
  tcase_add_loop_test(wrong, wrong_yarn, 0, 5);
  tcase_add_loop_test(wrong, one_wrong_key, 0, sizeof wrong_keys / sizeof wrong_keys[0]);
  tcase_add_loop_test(wrong, one_wrong_tensor, 0, sizeof wrong_tensors / sizeof wrong_tensors[0]);
  tcase_add_test(wrong, corrupted_bytes);
  suite_add_tcase(s, right);
  suite_add_tcase(s, wrong);
  return suite_run(s, CK_FORK_GETENV);
}
