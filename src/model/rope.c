#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double TURN = 6.283185307179586476925286766559;

/* The keys as the files of the llama family have them; what is not there keeps the values of `defaults`. */
struct scaling {
  enum { NONE, LINEAR, YARN, LONGROPE } type;
  float factor;                          /* positions are divided by it */
  float magnitude;                       /* of cos and sin, beside what yarn gives */
  uint32_t n_ctx;                        /* context before it was extended */
  float extrapolated;                    /* yarn: 1 leaves fast pairs as they are, 0 divides all */
  float beta_fast, beta_slow;            /* yarn: turns within n_ctx above which a pair stays, below which it is divided */
};

static enum lrqk_status number(const struct gguf *g, const char *arch, const char *name, bool above_zero, float *out) {
  char key[96];
  snprintf(key, sizeof key, "%s.rope.%s", arch, name);
  TRY(gguf_f32(g, key, false, out));
  if (above_zero ? *out > 0 : *out >= 0) return LRQK_OK;
  return gguf_fail(g, "key %s is %g, expected a number %s 0", key, *out, above_zero ? "above" : "of at least");
}

static enum lrqk_status read_type(struct scaling *s, const struct gguf *g, const char *arch) {
  static const char *const names[] = { [NONE] = "none", [LINEAR] = "linear", [YARN] = "yarn", [LONGROPE] = "longrope" };
  char key[96], shown[64];
  struct gguf_str type = { "linear", 6 };
  snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
  TRY(gguf_string(g, key, false, &type));
  for (int i = NONE; i <= LONGROPE; i++) {
    if (type.len != strlen(names[i]) || memcmp(type.s, names[i], type.len)) continue;
    s->type = i;
    return LRQK_OK;
  }
  return gguf_fail(g, "key %s is \"%s\", expected none, linear, yarn or longrope", key, gguf_show(shown, type));
}

static enum lrqk_status read_scaling(struct scaling *s, const struct hparams *h, const struct gguf *g) {
  char key[96];
  *s = (struct scaling){ .magnitude = 1, .n_ctx = h->n_ctx, .extrapolated = 1, .beta_fast = 32, .beta_slow = 1 };
  TRY(read_type(s, g, h->arch));
  TRY(number(g, h->arch, "scale_linear", false, &s->factor));              /* the old key: the new one goes before it */
  TRY(number(g, h->arch, "scaling.factor", false, &s->factor));
  if (s->factor <= 0 || s->type == NONE) s->factor = 1;
  TRY(number(g, h->arch, "scaling.attn_factor", true, &s->magnitude));
  snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", h->arch);
  TRY(gguf_u32(g, key, false, &s->n_ctx));
  if (!s->n_ctx) return gguf_fail(g, "key %s is 0, expected the context before it was extended", key);
  if (s->type != YARN) return LRQK_OK;
  TRY(number(g, h->arch, "scaling.yarn_ext_factor", false, &s->extrapolated));
  TRY(number(g, h->arch, "scaling.yarn_beta_fast", true, &s->beta_fast));
  TRY(number(g, h->arch, "scaling.yarn_beta_slow", true, &s->beta_slow));
  if (h->rope_base > 1) return LRQK_OK;
  return gguf_fail(g, "key %s.rope.freq_base is %g, expected more than 1 with rope.scaling.type yarn", h->arch, h->rope_base);
}

/* Pair, as a real number, that makes `turns` turns in a context of n_ctx. */
static double pair_of(const struct hparams *h, uint32_t n_ctx, double turns) {
  return h->rope_dims * log(n_ctx / (turns * TURN)) / (2 * log(h->rope_base));
}

/* Pairs up to `first` keep their frequency, from `last` on it is divided by the factor, in between it is mixed. */
static void scale_yarn(struct rope *r, const struct hparams *h, const struct scaling *s) {
  double first = fmax(0, floor(pair_of(h, s->n_ctx, s->beta_fast)));
  double last = fmin(h->rope_dims - 1.0, ceil(pair_of(h, s->n_ctx, s->beta_slow)));
  for (uint32_t p = 0; p < h->rope_dims / 2; p++) {
    double ramp = fmin(1, fmax(0, (p - first) / fmax(0.001, last - first))), kept = (1 - ramp) * s->extrapolated;
    r->inv_freq[p] *= (1 - kept) / s->factor + kept;
  }
  if (s->extrapolated > 0 && s->factor > 1) r->magnitude *= 1 + 0.1 * log(s->factor);
}

/* A tensor of divisors, one for each pair's frequency; *found tells whether there is one. */
static enum lrqk_status divide_by_tensor(struct rope *r, const struct hparams *h, const struct gguf *g, const char *name, bool *found) {
  const struct gguf_tensor *t = gguf_find_tensor(g, name);
  float f[HEAD_SIZE_MAX / 2];
  *found = t;
  if (!t) return LRQK_OK;
  if (t->dims[0] != h->rope_dims / 2 || t->rows != 1) {
    return gguf_fail(g, "tensor %s is [%llu, %llu], expected [%u], half the coordinates that rotate", name, (unsigned long long)t->dims[0],
                     (unsigned long long)t->rows, h->rope_dims / 2);
  }
  if (t->type->id != TYPE_F32) return gguf_fail(g, "tensor %s is of type %s, expected F32", name, t->type->name);
  memcpy(f, t->data, t->bytes);
  for (uint32_t p = 0; p < h->rope_dims / 2; p++) {
    if (!(f[p] > 0) || isinf(f[p])) return gguf_fail(g, "tensor %s holds %g, expected numbers above 0", name, f[p]);
    r->inv_freq[p] /= f[p];
  }
  return LRQK_OK;
}

static struct rope unscaled(const struct hparams *h, double base) {
  struct rope r = { .magnitude = 1 };
  for (uint32_t p = 0; p < h->rope_dims / 2; p++) r.inv_freq[p] = pow(base, -2.0 * p / h->rope_dims);
  return r;
}

/* llama3 has its scaling worked out in the file (rope_freqs), longrope has two, for short and for long contexts. */
static enum lrqk_status read_divisors(struct hparams *h, const struct gguf *g, const struct scaling *s) {
  bool both, short_too;
  TRY(divide_by_tensor(&h->rope, h, g, "rope_freqs.weight", &both));
  h->rope_long = h->rope;
  TRY(divide_by_tensor(&h->rope_long, h, g, "rope_factors_long.weight", &both));
  TRY(divide_by_tensor(&h->rope, h, g, "rope_factors_short.weight", &short_too));
  if (both != short_too) {
    return gguf_fail(g, "tensor rope_factors_%s.weight is missing, expected it beside rope_factors_%s.weight", both ? "short" : "long",
                     both ? "long" : "short");
  }
  if (both) h->rope_short_ctx = s->n_ctx;
  return LRQK_OK;
}

enum lrqk_status rope_read(struct hparams *h, const struct gguf *g, float local_base) {
  struct rope *r = &h->rope;
  struct scaling s;
  TRY(read_scaling(&s, h, g));
  *r = unscaled(h, h->rope_base);
  r->magnitude = s.magnitude;
  if (s.type == LINEAR) {
    for (uint32_t p = 0; p < h->rope_dims / 2; p++) r->inv_freq[p] /= s.factor;
  } else if (s.type == YARN) {
    scale_yarn(r, h, &s);
  }
  TRY(read_divisors(h, g, &s));
  if (local_base > 0) h->rope_local = unscaled(h, local_base);
  h->local_rope = local_base > 0;
  return LRQK_OK;
}

void rope_row(const struct hparams *h, const struct rope *r, uint32_t pos, float *cs) {
  for (uint32_t p = 0; p < h->head_size / 2; p++) {
    bool rotates = p < h->rope_dims / 2;
    double angle = r->inv_freq[p] * pos;
    cs[2 * p] = rotates ? (float)(r->magnitude * cos(angle)) : 1;
    cs[2 * p + 1] = rotates ? (float)(r->magnitude * sin(angle)) : 0;
  }
}
