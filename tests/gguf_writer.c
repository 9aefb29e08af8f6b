/* gguf_writer.c - see gguf_writer.h. */
#include "gguf_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/utf8.h"

static void put(struct gguf_bytes *b, const void *data, size_t n) {
  if (b->n + n > b->cap) {
    b->cap = 2 * b->cap + n + 256;
    b->data = realloc(b->data, b->cap);
    if (!b->data) abort();
  }
  if (n && data) memcpy(b->data + b->n, data, n);
  else if (n) memset(b->data + b->n, 0, n);
  b->n += n;
}

static void put_u32(struct gguf_bytes *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(struct gguf_bytes *b, uint64_t v) { put(b, &v, 8); }

static void put_string(struct gguf_bytes *b, const char *s) {
  put_u64(b, strlen(s));
  put(b, s, strlen(s));
}

void writer_raw(struct gguf_writer *w, const char *key, uint32_t type, const void *value, size_t bytes) {
  put_string(&w->keys, key);
  put_u32(&w->keys, type);
  put(&w->keys, value, bytes);
  w->n_keys++;
}

void writer_u32(struct gguf_writer *w, const char *key, uint32_t v) { writer_raw(w, key, GGUF_U32, &v, 4); }
void writer_f32(struct gguf_writer *w, const char *key, float v) { writer_raw(w, key, GGUF_F32, &v, 4); }
void writer_bool(struct gguf_writer *w, const char *key, bool v) { writer_raw(w, key, GGUF_BOOL, &(uint8_t){ v }, 1); }

void writer_string(struct gguf_writer *w, const char *key, const char *v) {
  writer_raw(w, key, GGUF_STRING, NULL, 0);
  put_string(&w->keys, v);
}

static const uint8_t value_size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

static uint64_t get(const unsigned char *p, size_t bytes) {
  uint64_t v = 0;
  memcpy(&v, p, bytes);
  return v;
}

static size_t value_bytes(const unsigned char *p, uint32_t type) {
  if (type == GGUF_STRING) return 8 + (size_t)get(p, 8);
  if (type != GGUF_ARRAY) return value_size[type];
  uint32_t element = (uint32_t)get(p, 4);
  size_t n = 12;
  for (uint64_t i = 0; i < get(p + 4, 8); i++) n += value_bytes(p + n, element);
  return n;
}

/* Removes the entry of this name; value: bytes of what follows a name. */
static void drop(struct gguf_bytes *b, const char *name, size_t (*value)(const unsigned char *p)) {
  for (size_t at = 0, n; at < b->n; at += n) {
    size_t len = (size_t)get(b->data + at, 8);
    n = 8 + len + value(b->data + at + 8 + len);
    if (len != strlen(name) || memcmp(b->data + at + 8, name, len)) continue;
    memmove(b->data + at, b->data + at + n, b->n - at - n);
    b->n -= n;
    return;
  }
  abort();
}

static size_t key_bytes(const unsigned char *p) { return 4 + value_bytes(p + 4, (uint32_t)get(p, 4)); }
static size_t tensor_bytes(const unsigned char *p) { return 4 + 8 * (size_t)get(p, 4) + 4 + 8; }

void writer_drop(struct gguf_writer *w, const char *key) {
  drop(&w->keys, key, key_bytes);
  w->n_keys--;
}

void writer_drop_tensor(struct gguf_writer *w, const char *name) {
  drop(&w->tensors, name, tensor_bytes);
  w->n_tensors--;
}

static void array_head(struct gguf_writer *w, const char *key, enum gguf_value_type element, uint64_t n) {
  writer_raw(w, key, GGUF_ARRAY, NULL, 0);
  put_u32(&w->keys, (uint32_t)element);
  put_u64(&w->keys, n);
}

void writer_strings(struct gguf_writer *w, const char *key, const char *const *v, uint64_t n) {
  array_head(w, key, GGUF_STRING, n);
  for (uint64_t i = 0; i < n; i++) put_string(&w->keys, v[i]);
}

void writer_array(struct gguf_writer *w, const char *key, enum gguf_value_type element, const void *v, uint64_t n) {
  array_head(w, key, element, n);
  put(&w->keys, v, n * value_size[element]);
}

void writer_tensor_at(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t offset) {
  put_string(&w->tensors, name);
  put_u32(&w->tensors, n_dims);
  for (uint32_t i = 0; i < n_dims; i++) put_u64(&w->tensors, dims[i]);
  put_u32(&w->tensors, type);
  put_u64(&w->tensors, offset);
  w->n_tensors++;
}

void writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims, const void *data,
                   size_t bytes) {
  uint32_t align = w->alignment ? w->alignment : 32;
  put(&w->data, NULL, (align - w->data.n % align) % align);
  writer_tensor_at(w, name, type, n_dims, dims, w->data.n);
  put(&w->data, data, bytes);
}

/* ---- quantisers: the plain rule of each type, to nearest */

static void quantise_q8_0(struct gguf_bytes *out, const float *v) {
  float max = 0;
  for (int i = 0; i < 32; i++) max = fmaxf(max, fabsf(v[i]));
  uint16_t d = float_to_half(max / 127);
  float s = half_to_float(d);
  int8_t q[32];
  for (int i = 0; i < 32; i++) q[i] = (int8_t)(s > 0 ? fminf(fmaxf(rintf(v[i] / s), -127), 127) : 0);
  put(out, &d, 2);
  put(out, q, 32);
}

static void quantise_q4_1(struct gguf_bytes *out, const float *v) {
  float min = v[0], max = v[0];
  for (int i = 1; i < 32; i++) { min = fminf(min, v[i]); max = fmaxf(max, v[i]); }
  uint16_t dm[2] = { float_to_half((max - min) / 15), float_to_half(min) };
  float d = half_to_float(dm[0]), m = half_to_float(dm[1]);
  uint8_t q[16] = { 0 };
  for (int i = 0; i < 32; i++) {
    unsigned n = (unsigned)(d > 0 ? fminf(fmaxf(rintf((v[i] - m) / d), 0), 15) : 0);
    q[i % 16] |= (uint8_t)(n << 4 * (i / 16));
  }
  put(out, dm, 4);
  put(out, q, 16);
}

static void quantise_q4_0(struct gguf_bytes *out, const float *v) {
  float most = 0;                    /* signed: it becomes -8 */
  for (int i = 0; i < 32; i++) most = fabsf(v[i]) > fabsf(most) ? v[i] : most;
  uint16_t d = float_to_half(most / -8);
  float s = half_to_float(d);
  uint8_t q[16] = { 0 };
  for (int i = 0; i < 32; i++) {
    unsigned n = (unsigned)(s < 0 || s > 0 ? fminf(fmaxf(rintf(v[i] / s) + 8, 0), 15) : 8);
    q[i % 16] |= (uint8_t)(n << 4 * (i / 16));
  }
  put(out, &d, 2);
  put(out, q, 16);
}

static void quantise_q4_k(struct gguf_bytes *out, const float *v) {
  float scale[8], min[8], top_scale = 0, top_min = 0;
  for (int j = 0; j < 8; j++) {
    float lo = 0, hi = 0;
    for (int i = 0; i < 32; i++) { lo = fminf(lo, v[32 * j + i]); hi = fmaxf(hi, v[32 * j + i]); }
    top_scale = fmaxf(top_scale, scale[j] = (hi - lo) / 15);
    top_min = fmaxf(top_min, min[j] = -lo);
  }
  uint16_t d[2] = { float_to_half(top_scale / 63), float_to_half(top_min / 63) };
  float ds = half_to_float(d[0]), dm = half_to_float(d[1]);
  uint8_t packed[12] = { 0 }, q[128] = { 0 };
  for (int j = 0; j < 8; j++) {
    unsigned s = (unsigned)(ds > 0 ? fminf(rintf(scale[j] / ds), 63) : 0), m = (unsigned)(dm > 0 ? fminf(rintf(min[j] / dm), 63) : 0);
    if (j < 4) {
      packed[j] |= (uint8_t)s;
      packed[j + 4] |= (uint8_t)m;
    } else {
      packed[j + 4] = (uint8_t)((s & 15) | m << 4);
      packed[j - 4] |= (uint8_t)(s >> 4 << 6);
      packed[j] |= (uint8_t)(m >> 4 << 6);
    }
    float step = ds * (float)s, base = dm * (float)m;
    for (int i = 0; i < 32; i++) {
      unsigned n = (unsigned)(step > 0 ? fminf(fmaxf(rintf((v[32 * j + i] + base) / step), 0), 15) : 0);
      q[j / 2 * 32 + i] |= (uint8_t)(n << 4 * (j & 1));
    }
  }
  put(out, d, 4);
  put(out, packed, 12);
  put(out, q, 128);
}

static void quantise_q6_k(struct gguf_bytes *out, const float *v) {
  float most[16], top = 0;           /* signed: each becomes -32 */
  for (int j = 0; j < 16; j++) {
    most[j] = 0;
    for (int i = 0; i < 16; i++) most[j] = fabsf(v[16 * j + i]) > fabsf(most[j]) ? v[16 * j + i] : most[j];
    top = fmaxf(top, fabsf(most[j]) / 32);
  }
  uint16_t d = float_to_half(top / 127);
  float ds = half_to_float(d);
  uint8_t low[128] = { 0 }, high[64] = { 0 };
  int8_t scale[16];
  for (int j = 0; j < 256; j++) {
    int s = ds > 0 ? (int)fminf(fmaxf(rintf(most[j / 16] / -32 / ds), -127), 127) : 0;
    unsigned n = (unsigned)(s ? fminf(fmaxf(rintf(v[j] / (ds * (float)s)), -32), 31) + 32 : 32);
    int half = j / 128, quarter = j % 128 / 32, i = j % 32;
    low[half * 64 + quarter % 2 * 32 + i] |= (uint8_t)((n & 15) << 4 * (quarter / 2));
    high[half * 32 + i] |= (uint8_t)(n >> 4 << 2 * quarter);
    scale[j / 16] = (int8_t)s;
  }
  put(out, low, 128);
  put(out, high, 64);
  put(out, scale, 16);
  put(out, &d, 2);
}

/* Types without a rule here: any bits, the same for the same v, with the fp16 fields such that values are about as large. */
static void any_block(struct gguf_bytes *out, uint32_t type, const float *v) {
  static const struct { uint32_t type, at[2]; float of[2]; } fields[] = {   /* field = largest |v| * of; one field alone stands twice */
    { TYPE_Q5_0, { 0, 0 }, { 1 / 16.0f, 1 / 16.0f } },     { TYPE_Q5_1, { 0, 2 }, { 1 / 16.0f, -1 } },
    { TYPE_Q2_K, { 80, 82 }, { 1 / 60.0f, 1 / 40.0f } },   { TYPE_Q3_K, { 108, 108 }, { 1 / 128.0f, 1 / 128.0f } },
    { TYPE_Q5_K, { 0, 2 }, { 1 / 1000.0f, 1 / 60.0f } },   { TYPE_IQ4_NL, { 0, 0 }, { 1 / 127.0f, 1 / 127.0f } },
    { TYPE_IQ4_XS, { 0, 0 }, { 1 / 4064.0f, 1 / 4064.0f } },
  };
  const struct tensor_type *t = tensor_type_find(type);
  unsigned char block[256];
  uint64_t seed = 0;
  float most = 0;
  for (uint32_t i = 0; i < t->block; i++) most = fmaxf(most, fabsf(v[i]));
  memcpy(&seed, v, 4);
  for (uint32_t i = 0; i < t->bytes; i++) block[i] = (unsigned char)writer_random(&seed);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    for (int j = 0; j < 2; j++)
      if (fields[i].type == type) memcpy(block + fields[i].at[j], &(uint16_t){ float_to_half(most * fields[i].of[j]) }, 2);
  put(out, block, t->bytes);
}

static void put_bf16(struct gguf_bytes *out, float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  put(out, &(uint16_t){ (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16) }, 2);
}

void writer_quantise(struct gguf_bytes *out, uint32_t type, const float *v, uint64_t n) {
  uint32_t block = tensor_type_find(type)->block;
  if (n % block) abort();
  for (const float *end = v + n; v < end; v += block) {
    switch (type) {
      case TYPE_F32: put(out, v, 4); break;
      case TYPE_F16: put(out, &(uint16_t){ float_to_half(*v) }, 2); break;
      case TYPE_BF16: put_bf16(out, *v); break;
      case TYPE_Q8_0: quantise_q8_0(out, v); break;
      case TYPE_Q4_0: quantise_q4_0(out, v); break;
      case TYPE_Q4_1: quantise_q4_1(out, v); break;
      case TYPE_Q4_K: quantise_q4_k(out, v); break;
      case TYPE_Q6_K: quantise_q6_k(out, v); break;
      default: any_block(out, type, v);
    }
  }
}

void writer_matrix(struct gguf_writer *w, const char *name, uint32_t type, uint64_t k, uint64_t rows, const float *v) {
  struct gguf_bytes b = { 0 };
  if (k % tensor_type_find(type)->block) abort();
  writer_quantise(&b, type, v, k * rows);
  writer_tensor(w, name, type, rows > 1 ? 2 : 1, (const uint64_t[]){ k, rows }, b.data, b.n);
  free(b.data);
}

/* ---- files */

unsigned char *writer_file(const struct gguf_writer *w, size_t *n, size_t *tensor_data) {
  struct gguf_bytes b = { 0 };
  uint32_t align = w->alignment ? w->alignment : 32;
  put(&b, "GGUF", 4);
  put_u32(&b, w->version ? w->version : 3);
  put_u64(&b, w->n_tensors);
  put_u64(&b, w->n_keys + (w->alignment != 0));
  put(&b, w->keys.data, w->keys.n);
  if (w->alignment) {
    put_string(&b, "general.alignment");
    put_u32(&b, GGUF_U32);
    put_u32(&b, w->alignment);
  }
  put(&b, w->tensors.data, w->tensors.n);
  if (w->n_tensors) put(&b, NULL, (align - b.n % align) % align);
  if (tensor_data) *tensor_data = b.n;
  put(&b, w->data.data, w->data.n);
  *n = b.n;
  return b.data;
}

static void save(unsigned char *data, size_t n, const char *path) {
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f)) abort();
  free(data);
}

void writer_save(const struct gguf_writer *w, const char *path) {
  size_t n;
  unsigned char *data = writer_file(w, &n, NULL);
  save(data, n, path);
}

void writer_free(struct gguf_writer *w) {
  free(w->keys.data);
  free(w->tensors.data);
  free(w->data.data);
  *w = (struct gguf_writer){ 0 };
}

/* ---- tiny models */

uint64_t writer_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

float writer_gauss(uint64_t *state) {
  float sum = 0;
  for (int i = 0; i < 3; i++) {
    uint64_t r = writer_random(state);
    for (int j = 0; j < 4; j++, r >>= 16) sum += (float)(r & 0xffff) / 65536.0f - 0.5f;
  }
  return sum;                        /* 12 uniforms of variance 1/12 */
}

struct tiny_model tiny_model_defaults(const struct tiny_model *t) {
  struct tiny_model m = *t;
  if (!m.arch) m.arch = "llama";
  if (m.query_gain <= 0) m.query_gain = 1;
  if (!m.layers) m.layers = 2;
  if (!m.embd) m.embd = 64;
  if (!m.ff) m.ff = 128;
  if (!m.heads) m.heads = 4;
  if (!m.kv_heads) m.kv_heads = m.heads % 2 ? 1 : 2;
  if (!m.vocab) m.vocab = 288;
  if (!m.ctx) m.ctx = 512;
  if (m.rope_base <= 0) m.rope_base = 10000;
  return m;
}

static const char *key_of(const struct tiny_model *t, const char *name) {
  static char key[96];
  snprintf(key, sizeof key, "%s.%s", t->arch, name);
  return key;
}

static void feature_keys(struct gguf_writer *w, const struct tiny_model *t) {
  if (t->window) writer_u32(w, key_of(t, "attention.sliding_window"), t->window);
  if (t->period) writer_u32(w, key_of(t, "attention.sliding_window_pattern"), t->period);
  if (t->attn_cap > 0) writer_f32(w, key_of(t, "attn_logit_softcapping"), t->attn_cap);
  if (t->logit_cap > 0) writer_f32(w, key_of(t, "final_logit_softcapping"), t->logit_cap);
  if (t->linear > 0) writer_string(w, key_of(t, "rope.scaling.type"), "linear");
  if (t->linear > 0) writer_f32(w, key_of(t, "rope.scaling.factor"), t->linear);
  if (t->long_from) writer_u32(w, key_of(t, "rope.scaling.original_context_length"), t->long_from);
  if (t->long_from) writer_f32(w, key_of(t, "rope.scaling.attn_factor"), 1.2f);
}

void tiny_model_keys(struct gguf_writer *w, const struct tiny_model *tiny) {
  struct tiny_model t = tiny_model_defaults(tiny);
  writer_string(w, "general.architecture", t.arch);
  writer_string(w, "general.name", "tiny");
  writer_u32(w, key_of(&t, "block_count"), t.layers);
  writer_u32(w, key_of(&t, "context_length"), t.ctx);
  writer_u32(w, key_of(&t, "embedding_length"), t.embd);
  writer_u32(w, key_of(&t, "feed_forward_length"), t.ff);
  writer_u32(w, key_of(&t, "attention.head_count"), t.heads);
  writer_u32(w, key_of(&t, "attention.head_count_kv"), t.kv_heads);
  if (t.head_size) writer_u32(w, key_of(&t, "attention.key_length"), t.head_size);
  if (t.head_size) writer_u32(w, key_of(&t, "attention.value_length"), t.head_size);
  if (t.rope_dims) writer_u32(w, key_of(&t, "rope.dimension_count"), t.rope_dims);
  writer_f32(w, key_of(&t, "rope.freq_base"), t.rope_base);
  writer_f32(w, key_of(&t, "attention.layer_norm_rms_epsilon"), 1e-5f);
  writer_u32(w, key_of(&t, "vocab_size"), t.vocab);
  feature_keys(w, &t);
}

/* GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 and on, in order. */
static void byte_token(unsigned byte, char out[8]) {
  uint32_t c = 0, next = 256;
  for (unsigned b = 0; b <= byte; b++) {
    bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    c = plain ? b : next++;
  }
  out[utf8_encode(c, out)] = 0;
}

void tiny_model_vocabulary(struct gguf_writer *w, uint32_t n) {
  static const char *const special[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
  static const char *const merged[] = { "th", "the", "he", "in" }, *const merges[] = { "t h", "th e", "h e", "i n" };
  char (*text)[16] = calloc(n, sizeof *text);
  const char **tokens = calloc(n, sizeof *tokens);
  int32_t *types = calloc(n, sizeof *types);
  if (!text || !tokens || !types) abort();
  for (uint32_t i = 0; i < n; i++) {
    types[i] = i < 260 ? 1 : 3;
    if (i < 256) byte_token(i, text[i]);
    else if (i < 260) strcpy(text[i], merged[i - 256]);
    else if (i < 263) strcpy(text[i], special[i - 260]);
    else snprintf(text[i], sizeof text[i], "<|u%u|>", i);
    tokens[i] = text[i];
  }
  writer_string(w, "tokenizer.ggml.model", "gpt2");
  writer_string(w, "tokenizer.ggml.pre", "smollm");
  writer_strings(w, "tokenizer.ggml.tokens", tokens, n);
  writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, n);
  writer_strings(w, "tokenizer.ggml.merges", merges, 4);
  if (n > 262) {
    writer_u32(w, "tokenizer.ggml.bos_token_id", 261);
    writer_u32(w, "tokenizer.ggml.eos_token_id", 262);
  }
  writer_bool(w, "tokenizer.ggml.add_bos_token", false);
  writer_string(w, "tokenizer.chat_template", "{% for m in messages %}"
                                              "{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
                                              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
  free(text);
  free(tokens);
  free(types);
}

static void random_matrix(struct gguf_writer *w, const char *name, uint32_t type, uint64_t k, uint64_t rows, float gain, uint64_t *seed) {
  float *v = malloc(k * rows * sizeof *v), scale = gain / sqrtf((float)k);
  if (!v) abort();
  for (uint64_t i = 0; i < k * rows; i++) v[i] = scale * writer_gauss(seed);
  writer_matrix(w, name, type, k, rows, v);
  free(v);
}

static void random_vector(struct gguf_writer *w, const char *name, uint32_t n, float mean, float spread, uint64_t *seed) {
  float *v = malloc(n * sizeof *v);
  if (!v) abort();
  for (uint32_t i = 0; i < n; i++) v[i] = mean + spread * writer_gauss(seed);
  writer_matrix(w, name, TYPE_F32, n, 1, v);
  free(v);
}

/* Vectors that some architectures have beside those of llama. */
static void feature_vectors(struct gguf_writer *w, const struct tiny_model *t, uint32_t layer, uint32_t d, bool fused, uint64_t *seed) {
  bool gemma = !strcmp(t->arch, "gemma2") || !strcmp(t->arch, "gemma3"), qk = !strcmp(t->arch, "qwen3") || !strcmp(t->arch, "gemma3");
  uint32_t q = t->heads * d, kv = t->kv_heads * d;
  const struct { const char *name; uint32_t n; bool has, norm; } v[] = {
    { "attn_q_norm.weight", d, qk, true },                    { "attn_k_norm.weight", d, qk, true },
    { "post_attention_norm.weight", t->embd, gemma, true },   { "post_ffw_norm.weight", t->embd, gemma, true },
    { "attn_qkv.bias", q + 2 * kv, t->bias && fused, false }, { "attn_q.bias", q, t->bias && !fused, false },
    { "attn_k.bias", kv, t->bias && !fused, false },          { "attn_v.bias", kv, t->bias && !fused, false },
    { "attn_output.bias", t->embd, t->ffn_bias, false },      { "ffn_gate.bias", t->ff, t->ffn_bias, false },
    { "ffn_up.bias", t->ff, t->ffn_bias, false },             { "ffn_down.bias", t->embd, t->ffn_bias, false },
  };
  char name[64];
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    if (!v[i].has) continue;
    snprintf(name, sizeof name, "blk.%u.%s", layer, v[i].name);
    random_vector(w, name, v[i].n, v[i].norm, 0.3f, seed);
  }
}

/* Divisors of frequencies that rise from 1 to `last`. */
static void rope_factors(struct gguf_writer *w, const char *name, uint32_t pairs, float last) {
  float *v = malloc(pairs * sizeof *v);
  if (!v) abort();
  for (uint32_t i = 0; i < pairs; i++) v[i] = 1 + (last - 1) * (float)i / (float)pairs;
  writer_matrix(w, name, TYPE_F32, pairs, 1, v);
  free(v);
}

void tiny_model_tensors(struct gguf_writer *w, const struct tiny_model *tiny) {
  struct tiny_model t = tiny_model_defaults(tiny);
  uint32_t d = t.head_size ? t.head_size : t.embd / t.heads, embd_type = t.embd_type ? t.embd_type - 1 : t.type;
  uint32_t v_type = t.v_type ? t.v_type - 1 : t.type;
  bool fused = !strcmp(t.arch, "phi3") && !t.apart;
  uint64_t seed = t.seed;
  random_matrix(w, "token_embd.weight", embd_type, t.embd, t.vocab, 1, &seed);
  random_vector(w, "output_norm.weight", t.embd, 1, 0.1f, &seed);
  if (t.untied) random_matrix(w, "output.weight", embd_type, t.embd, t.vocab, 1, &seed);
  if (t.long_from) {
    rope_factors(w, "rope_factors_long.weight", (t.rope_dims ? t.rope_dims : d) / 2, 20);
    rope_factors(w, "rope_factors_short.weight", (t.rope_dims ? t.rope_dims : d) / 2, 1.5f);
  }
  for (uint32_t i = 0; i < t.layers; i++) {
    const struct { const char *name; uint32_t type, k, rows; enum { BOTH, APART, FUSED_ONE } form; bool query; } m[] = {
      { "attn_qkv", t.type, t.embd, (t.heads + 2 * t.kv_heads) * d, FUSED_ONE, true },
      { "attn_q", t.type, t.embd, t.heads * d, APART, true },     { "attn_k", t.type, t.embd, t.kv_heads * d, APART, true },
      { "attn_v", v_type, t.embd, t.kv_heads * d, APART, false }, { "attn_output", t.type, t.heads * d, t.embd, BOTH, false },
      { "ffn_gate", t.type, t.embd, t.ff, APART, false },         { "ffn_up", t.type, t.embd, t.ff, APART, false },
      { "ffn_up", t.type, t.embd, 2 * t.ff, FUSED_ONE, false },   { "ffn_down", t.type, t.ff, t.embd, BOTH, false },
    };
    char name[64];
    for (size_t j = 0; j < sizeof m / sizeof m[0]; j++) {
      if (m[j].form == (fused ? APART : FUSED_ONE)) continue;
      snprintf(name, sizeof name, "blk.%u.%s.weight", i, m[j].name);
      random_matrix(w, name, m[j].type, m[j].k, m[j].rows, m[j].query ? t.query_gain : 1, &seed);
    }
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
    random_vector(w, name, t.embd, 1, 0.1f, &seed);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
    random_vector(w, name, t.embd, 1, 0.1f, &seed);
    feature_vectors(w, &t, i, d, fused, &seed);
  }
}

unsigned char *tiny_model_file(const struct tiny_model *tiny, size_t *n) {
  struct tiny_model t = tiny_model_defaults(tiny);
  struct gguf_writer w = { 0 };
  tiny_model_keys(&w, &t);
  if (!t.no_vocabulary) tiny_model_vocabulary(&w, t.vocab);
  tiny_model_tensors(&w, &t);
  unsigned char *file = writer_file(&w, n, NULL);
  writer_free(&w);
  return file;
}

void tiny_model_save(const struct tiny_model *t, const char *path) {
  size_t n;
  unsigned char *data = tiny_model_file(t, &n);
  save(data, n, path);
}
