/* hparams.c - hyper-parameters out of the keys of a file, each within bounds that the kernels and 32-bit sizes rely on.
 * Called by engine.c; weights.c then checks the tensors against them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/rope.h"

enum {
  MAX_WIDTH = 65536,
  MAX_FF = 1 << 20,
  MAX_HEADS = 1024,
  MAX_CTX = 1 << 28,
  MAX_VOCAB = 1 << 24
};

struct reader { const struct gguf *g; const char *arch; };

static const char *key_of(const struct reader *r, char buf[96], const char *name) {
  snprintf(buf, 96, "%s.%s", r->arch, name);
  return buf;
}

/* A count of lo..hi in steps of `multiple`.  *out keeps its value where the key is missing and not required.  Some
 * counts may differ from layer to layer and are then arrays: what this engine covers is all of them equal. */
static enum lrqk_status count(const struct reader *r, const char *name, bool required, uint32_t lo, uint32_t hi, uint32_t multiple,
                              uint32_t *out) {
  char key[96];
  const struct gguf_key *k = gguf_find(r->g, key_of(r, key, name));
  uint32_t v = *out;
  if (k && k->type == GGUF_ARRAY && gguf_is_integer(k->element) && k->count) {
    double first = gguf_number(k, 0);
    for (uint64_t i = 1; i < k->count; i++) {
      if (gguf_number(k, i) == first) continue;
      return gguf_fail(r->g, "key %s is %.0f for layer 0 and %.0f for layer %llu, expected the same for all layers", key, first,
                       gguf_number(k, i), (unsigned long long)i);
    }
    if (first < 0 || first > hi) return gguf_fail(r->g, "key %s is %.0f, expected %u to %u", key, first, lo, hi);
    v = (uint32_t)first;
  } else {
    TRY(gguf_u32(r->g, key, required, &v));
  }
  if (v < lo || v > hi) return gguf_fail(r->g, "key %s is %u, expected %u to %u", key, v, lo, hi);
  if (v % multiple) return gguf_fail(r->g, "key %s is %u, expected a multiple of %u", key, v, multiple);
  *out = v;
  return LRQK_OK;
}

static enum lrqk_status positive(const struct reader *r, const char *name, bool required, float *out) {
  char key[96];
  TRY(gguf_f32(r->g, key_of(r, key, name), required, out));
  return *out > 0 ? LRQK_OK : gguf_fail(r->g, "key %s is %g, expected a number above 0", key, *out);
}

/* Keys that change what the model computes and that this engine does not apply: a wrong result is worse than none. */
static enum lrqk_status refuse_unsupported(const struct reader *r) {
  static const struct { const char *name; double neutral[2]; const char *what; } numbers[] = {
    { "expert_count", { 0, 0 }, "mixtures of experts" },
    { "rope.scaling.alpha", { 0, 0 }, "rotary embeddings scaled by alpha" },
    { "rope.scaling.yarn_attn_factor", { 1, 1 }, "other magnitudes of yarn" },
    { "rope.scaling.yarn_log_multiplier", { 0, 0 }, "other magnitudes of yarn" },
    { "attention.scale", { 0, 0 }, "another scale of attention" },
    { "attention.clamp_kqv", { 0, 0 }, "clamped queries, keys and values" },
    { "attention.max_alibi_bias", { 0, 0 }, "ALiBi" },
    { "attention.causal", { 1, 1 }, "attention that is not causal" },
    { "embedding_scale", { 0, 1 }, "scaled embeddings" },
    { "residual_scale", { 0, 1 }, "scaled residuals" },
    { "logit_scale", { 0, 1 }, "scaled logits" },
  };
  char key[96];
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    const struct gguf_key *k = gguf_find(r->g, key_of(r, key, numbers[i].name));
    if (!k) continue;
    if (k->type == GGUF_ARRAY || k->type == GGUF_STRING) {
      return gguf_fail(r->g, "key %s is of type %s, expected a number", key, gguf_type_name(k->type));
    }
    double v = gguf_number(k, 0);
    if (v != numbers[i].neutral[0] && v != numbers[i].neutral[1]) {
      return gguf_fail(r->g, "key %s is %g, expected %g: %s are not supported", key, v, numbers[i].neutral[1], numbers[i].what);
    }
  }
  return LRQK_OK;
}

static enum lrqk_status architecture(struct hparams *h, const struct arch **out, const struct gguf *g) {
  struct gguf_str name;
  char shown[64], known[128];
  TRY(gguf_string(g, "general.architecture", true, &name));
  const struct arch *a = arch_find(name.s, name.len);
  if (!a) {
    return gguf_fail(g, "the architecture is \"%s\", expected one that is supported: %s", gguf_show(shown, name), arch_names(known));
  }
  strcpy(h->arch, a->name);
  h->features = a->features;
  *out = a;
  return LRQK_OK;
}

static enum lrqk_status vocabulary(struct hparams *h, const struct reader *r) {
  const struct gguf_tensor *t = gguf_find_tensor(r->g, "token_embd.weight");
  if (!t) return gguf_fail(r->g, "tensor token_embd.weight is missing, expected [%u, vocabulary]", h->n_embd);
  if (t->dims[1] > MAX_VOCAB) {
    return gguf_fail(r->g, "tensor token_embd.weight has %llu rows, expected 1 to %d", (unsigned long long)t->dims[1], MAX_VOCAB);
  }
  h->n_vocab = (uint32_t)t->dims[1];
  uint32_t claimed = h->n_vocab;
  TRY(count(r, "vocab_size", false, 1, MAX_VOCAB, 1, &claimed));
  if (claimed == h->n_vocab) return LRQK_OK;
  return gguf_fail(r->g, "key %s.vocab_size is %u, expected %u, the rows of tensor token_embd.weight", r->arch, claimed, h->n_vocab);
}

static enum lrqk_status heads(struct hparams *h, const struct reader *r) {
  TRY(count(r, "attention.head_count", true, 1, MAX_HEADS, 1, &h->n_heads));
  h->n_kv_heads = h->n_heads;
  TRY(count(r, "attention.head_count_kv", false, 1, MAX_HEADS, 1, &h->n_kv_heads));
  if (h->n_heads % h->n_kv_heads) {
    return gguf_fail(r->g, "key %s.attention.head_count_kv is %u, expected a divisor of head_count, %u", r->arch, h->n_kv_heads,
                     h->n_heads);
  }
  char key[96];
  if (!gguf_find(r->g, key_of(r, key, "attention.key_length"))) {
    if (h->n_embd % h->n_heads) {
      return gguf_fail(r->g, "key %s.attention.head_count is %u, expected a divisor of embedding_length, %u, or a key attention.key_length",
                       r->arch, h->n_heads, h->n_embd);
    }
    h->head_size = h->n_embd / h->n_heads;
    if (h->head_size % 8 || h->head_size > HEAD_SIZE_MAX) {
      return gguf_fail(r->g, "%s.embedding_length %u over head_count %u gives heads of %u, expected a multiple of 8, at most %d", r->arch,
                       h->n_embd, h->n_heads, h->head_size, HEAD_SIZE_MAX);
    }
  }
  TRY(count(r, "attention.key_length", false, 8, HEAD_SIZE_MAX, 8, &h->head_size));
  uint32_t value_length = h->head_size;
  TRY(count(r, "attention.value_length", false, 1, MAX_WIDTH, 1, &value_length));
  if (value_length == h->head_size) return LRQK_OK;
  return gguf_fail(r->g, "key %s.attention.value_length is %u, expected %u, the size of a key", r->arch, value_length, h->head_size);
}

/* ---- what makes an architecture differ from llama */

static enum lrqk_status cap(const struct reader *r, const char *name, float *out) {
  char key[96];
  TRY(gguf_f32(r->g, key_of(r, key, name), false, out));
  return *out >= 0 ? LRQK_OK : gguf_fail(r->g, "key %s is %g, expected a number of at least 0", key, *out);
}

/* Which layers are windowed: a flag for each, or a period, the last layer of which is not. */
static enum lrqk_status window_pattern(struct hparams *h, const struct reader *r, const struct arch *a) {
  char key[96];
  const struct gguf_key *k = gguf_find(r->g, key_of(r, key, "attention.sliding_window_pattern"));
  uint32_t period = a->period;
  bool flags = k && k->type == GGUF_ARRAY;
  if (flags && ((k->element != GGUF_BOOL && !gguf_is_integer(k->element)) || k->count != h->n_layers)) {
    return gguf_fail(r->g, "key %s is an array of %llu values of type %s, expected a flag for each of %u layers", key,
                     (unsigned long long)k->count, gguf_type_name(k->element), h->n_layers);
  }
  if (!flags) TRY(gguf_u32(r->g, key, false, &period));
  for (uint32_t i = 0; i < h->n_layers; i++) {
    bool windowed = flags ? gguf_number(k, i) != 0 : !period || i % period < period - 1;
    if (windowed) h->windowed[i / 64] |= 1ull << (i % 64);
  }
  return LRQK_OK;
}

/* A window that no context leaves is none, unless its layers rotate in another way.  local_base: of windowed layers, 0: as the
 * others. */
static enum lrqk_status windows(struct hparams *h, const struct reader *r, const struct arch *a, float *local_base) {
  char key[96];
  h->window = a->window;
  *local_base = a->local_base;
  TRY(count(r, "attention.sliding_window", false, 0, UINT32_MAX, 1, &h->window));
  if (gguf_find(r->g, key_of(r, key, "rope.freq_base_swa"))) TRY(positive(r, "rope.freq_base_swa", true, local_base));
  if (!h->window || (h->window >= h->n_ctx && *local_base <= 0)) return LRQK_OK;
  return window_pattern(h, r, a);
}

static enum lrqk_status features(struct hparams *h, const struct reader *r, const struct arch *a) {
  double width = h->n_layers == a->wide_layers ? (double)h->n_embd / h->n_heads : h->head_size;
  h->embd_scale = a->features & SCALED_EMBD ? (float)sqrt(h->n_embd) : 1;
  h->attn_scale = (float)(1 / sqrt(width));
  h->attn_cap = a->attn_cap;
  h->logit_cap = a->logit_cap;
  TRY(cap(r, "attn_logit_softcapping", &h->attn_cap));
  return cap(r, "final_logit_softcapping", &h->logit_cap);
}

enum lrqk_status hparams_read(struct hparams *out, const struct gguf *g) {
  struct hparams h = { .rope_base = 10000.0f };
  const struct arch *a = NULL;
  float local_base;
  TRY(architecture(&h, &a, g));
  struct reader r = { g, h.arch };
  TRY(refuse_unsupported(&r));
  TRY(count(&r, "block_count", true, 1, MAX_LAYERS, 1, &h.n_layers));
  TRY(count(&r, "embedding_length", true, 4, MAX_WIDTH, 4, &h.n_embd));
  TRY(count(&r, "feed_forward_length", true, 4, MAX_FF, 4, &h.n_ff));
  TRY(heads(&h, &r));
  if (h.n_heads * h.head_size > MAX_WIDTH) {
    return gguf_fail(g, "%u heads of %u make a width of %u, expected at most %d", h.n_heads, h.head_size,
                     h.n_heads * h.head_size, MAX_WIDTH);
  }
  h.rope_dims = h.head_size;
  TRY(count(&r, "rope.dimension_count", false, 2, h.head_size, 2, &h.rope_dims));
  TRY(positive(&r, "rope.freq_base", false, &h.rope_base));
  TRY(positive(&r, "attention.layer_norm_rms_epsilon", true, &h.rms_eps));
  if (h.rms_eps >= 1) return gguf_fail(g, "key %s.attention.layer_norm_rms_epsilon is %g, expected less than 1", h.arch, h.rms_eps);
  TRY(count(&r, "context_length", true, 1, MAX_CTX, 1, &h.n_ctx));
  TRY(features(&h, &r, a));
  TRY(windows(&h, &r, a, &local_base));
  TRY(rope_read(&h, g, local_base));
  TRY(vocabulary(&h, &r));
  *out = h;
  return LRQK_OK;
}
