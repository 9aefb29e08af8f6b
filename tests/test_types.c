/* Models of every weight type, shape of heads and scaling of positions: the logits of every back end,
 * prefill and decode, against a forward pass in double precision that is written here from the tensors' dequantisers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { CTX = 64, PROMPT = 37, DECODE = 3, TOKENS = PROMPT + DECODE };

/* NMSE of a token's logits.  K and V are rounded to fp16 here as there, and now and then one of them, close to the middle
 * between two halves, goes the other way: the worst token may be off by some of these, the best one by next to none. */
static const double BEST = 1e-10, WORST = 1e-7;

static char path[64];

/* ---- the reference */

static double *matrix(const struct gguf *g, const char *name) {
  const struct gguf_tensor *t = gguf_find_tensor(g, name);
  if (!t) return NULL;
  size_t k = t->dims[0], n = t->rows;
  float *row = malloc(k * sizeof *row);
  double *m = malloc(k * n * sizeof *m);
  for (size_t j = 0; j < n; j++) {
    t->type->dequantise(t->data + j * (t->bytes / n), row, k);
    for (size_t i = 0; i < k; i++) m[j * k + i] = row[i];
  }
  free(row);
  return m;
}

static double *layer_matrix(const struct gguf *g, uint32_t layer, const char *name) {
  char full[64];
  snprintf(full, sizeof full, "blk.%u.%s.weight", layer, name);
  return matrix(g, full);
}

/* y[n] = W[n][k] x[k] */
static void apply(double *y, const double *w, const double *x, size_t n, size_t k) {
  for (size_t j = 0; j < n; j++) {
    y[j] = 0;
    for (size_t i = 0; i < k; i++) y[j] += w[j * k + i] * x[i];
  }
}

static void norm(double *y, const double *x, const double *w, size_t n, double eps) {
  double squares = 0;
  for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
  for (size_t i = 0; i < n; i++) y[i] = x[i] * w[i] / sqrt(squares / (double)n + eps);
}

static void rotate(double *x, const struct hparams *h, uint32_t pos) {
  for (uint32_t p = 0; p < h->rope_dims / 2; p++) {
    double angle = pos * h->rope.inv_freq[p], c = h->rope.magnitude * cos(angle), s = h->rope.magnitude * sin(angle), a = x[2 * p];
    x[2 * p] = a * c - x[2 * p + 1] * s;
    x[2 * p + 1] = a * s + x[2 * p + 1] * c;
  }
}

static double as_half(double x) { return half_to_float(float_to_half((float)x)); }

/* y[d]: one query over t + 1 keys; kv of a token is [K | V] of width `stride` each. */
static void attend(double *y, const double *q, const double *k, const double *v, size_t stride, uint32_t t, uint32_t d) {
  double p[TOKENS], sum = 0;
  for (uint32_t i = 0; i <= t; i++) {
    p[i] = 0;
    for (uint32_t e = 0; e < d; e++) p[i] += q[e] * k[i * stride + e] / sqrt(d);
    sum += p[i] = exp(p[i]);
  }
  for (uint32_t e = 0; e < d; e++) y[e] = 0;
  for (uint32_t i = 0; i <= t; i++)
    for (uint32_t e = 0; e < d; e++) y[e] += p[i] / sum * v[i * stride + e];
}

/* One layer over all tokens: x [TOKENS][D]. */
static void reference_layer(double *x, const struct gguf *g, const struct hparams *h, uint32_t layer) {
  size_t d_model = h->n_embd, d = h->head_size, wide = h->n_heads * d, kv = h->n_kv_heads * d, ff = h->n_ff;
  static const char *const names[] = { "attn_norm", "attn_q",   "attn_k", "attn_v",  "attn_output",
                                       "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down" };
  double *w[9], *k = calloc(TOKENS * kv, sizeof *k), *v = calloc(TOKENS * kv, sizeof *v);
  double *n = malloc(d_model * sizeof *n), *add = malloc(d_model * sizeof *add);
  double *q = malloc(wide * sizeof *q), *y = malloc(wide * sizeof *y), *gate = malloc(ff * sizeof *gate), *up = malloc(ff * sizeof *up);
  for (int i = 0; i < 9; i++) w[i] = layer_matrix(g, layer, names[i]);
  for (uint32_t t = 0; t < TOKENS; t++) {
    double *row = x + t * d_model;
    norm(n, row, w[0], d_model, h->rms_eps);
    apply(q, w[1], n, wide, d_model);
    apply(k + t * kv, w[2], n, kv, d_model);
    apply(v + t * kv, w[3], n, kv, d_model);
    for (uint32_t i = 0; i < h->n_heads; i++) rotate(q + i * d, h, t);
    for (uint32_t i = 0; i < h->n_kv_heads; i++) rotate(k + t * kv + i * d, h, t);
    for (size_t i = t * kv; i < (t + 1) * kv; i++) {
      k[i] = as_half(k[i]);
      v[i] = as_half(v[i]);
    }
    for (uint32_t i = 0; i < h->n_heads; i++) {
      size_t of = i / (h->n_heads / h->n_kv_heads) * d;
      attend(y + i * d, q + i * d, k + of, v + of, kv, t, h->head_size);
    }
    apply(add, w[4], y, d_model, wide);
    for (size_t i = 0; i < d_model; i++) row[i] += add[i];
    norm(n, row, w[5], d_model, h->rms_eps);
    apply(gate, w[6], n, ff, d_model);
    apply(up, w[7], n, ff, d_model);
    for (size_t i = 0; i < ff; i++) up[i] *= gate[i] / (1 + exp(-gate[i]));
    apply(add, w[8], up, d_model, ff);
    for (size_t i = 0; i < d_model; i++) row[i] += add[i];
  }
  for (int i = 0; i < 9; i++) free(w[i]);
  double *const scratch[] = { k, v, n, q, y, add, gate, up };
  for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++) free(scratch[i]);
}

/* logits [TOKENS][V] */
static double *reference(const struct gguf *g, const struct hparams *h, const int32_t *ids) {
  size_t d_model = h->n_embd, vocab = h->n_vocab;
  double *embd = matrix(g, "token_embd.weight"), *head = matrix(g, "output.weight"), *last = matrix(g, "output_norm.weight");
  double *x = malloc(TOKENS * d_model * sizeof *x), *n = malloc(d_model * sizeof *n), *out = malloc(TOKENS * vocab * sizeof *out);
  for (size_t t = 0; t < TOKENS; t++) memcpy(x + t * d_model, embd + (size_t)ids[t] * d_model, d_model * sizeof *x);
  for (uint32_t i = 0; i < h->n_layers; i++) reference_layer(x, g, h, i);
  for (size_t t = 0; t < TOKENS; t++) {
    norm(n, x + t * d_model, last, d_model, h->rms_eps);
    apply(out + t * vocab, head ? head : embd, n, vocab, d_model);
  }
  double *const scratch[] = { embd, head, last, x, n };
  for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++) free(scratch[i]);
  return out;
}

/* ---- the engine */

struct seen { float *logits; size_t vocab, n; };

static bool keep(void *ud, uint64_t pos, const float *logits) {
  struct seen *s = ud;
  ck_assert_uint_eq(pos, s->n);
  memcpy(s->logits + s->n++ * s->vocab, logits, s->vocab * sizeof *logits);
  return true;
}

/* logits [TOKENS][V] */
static float *engine_logits(lrqk_model *m, const char *device, const int32_t *ids) {
  struct lrqk_model_info info;
  lrqk_model_info(m, &info);
  lrqk_engine *e;
  lrqk_session *s;
  const struct lrqk_engine_options eo = { .device = device, .validate = test_validates() };
  struct lrqk_session_options so = { .cache = lrqk_cache_defaults(), .n_ctx = CTX };
  struct seen seen = { malloc((size_t)TOKENS * info.n_vocab * sizeof(float)), info.n_vocab, 0 };
  ck_assert_int_eq(lrqk_cache_set(&so.cache, "attention", "full", rig_log, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_engine_open(&e, m, &eo), LRQK_OK);
  ck_assert_int_eq(lrqk_session_open(&s, e, &so), LRQK_OK);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, PROMPT, 0, keep, &seen), LRQK_OK);
  for (int i = PROMPT; i < TOKENS; i++) {
    ck_assert_int_eq(lrqk_session_decode(s, ids[i]), LRQK_OK);
    keep(&seen, (uint64_t)i, lrqk_session_logits(s));
  }
  ck_assert_uint_eq(seen.n, TOKENS);
  lrqk_session_close(s);
  lrqk_engine_close(e);
  rig_check();
  return seen.logits;
}

/* ---- the models */

static const struct {
  struct tiny_model tiny;
  const char *scaling;
  float factor;
  bool freqs;                    /* with rope_freqs.weight */
} cases[] = {
  { .tiny = { .type = TYPE_F32 } },
  { .tiny = { .type = TYPE_F16 } },
  { .tiny = { .type = TYPE_BF16 } },
  { .tiny = { .type = TYPE_Q8_0 } },
  { .tiny = { .type = TYPE_Q4_0 } },
  { .tiny = { .type = TYPE_Q4_1 } },
  { .tiny = { .type = TYPE_Q4_K, .embd = 256, .ff = 256 } },
  { .tiny = { .type = TYPE_Q6_K, .embd = 256, .ff = 512 } },
  { .tiny = { .type = TYPE_Q5_0 } },
  { .tiny = { .type = TYPE_Q5_1, .untied = true } },
  { .tiny = { .type = TYPE_IQ4_NL } },
  { .tiny = { .type = TYPE_Q2_K, .embd = 256, .ff = 256, .layers = 1 } },
  { .tiny = { .type = TYPE_Q3_K, .embd = 256, .ff = 512, .layers = 1 } },
  { .tiny = { .type = TYPE_Q5_K, .embd = 256, .ff = 256, .layers = 1 } },
  { .tiny = { .type = TYPE_IQ4_XS, .embd = 256, .ff = 256, .layers = 1 } },
  /* mixtures, as files that are called Q4_K_M and such have them */
  { .tiny = { .type = TYPE_Q4_K, .v_type = TYPE_Q6_K + 1, .embd_type = TYPE_Q6_K + 1, .embd = 256, .ff = 256, .heads = 8, .kv_heads = 2 } },
  { .tiny = { .type = TYPE_Q3_K, .v_type = TYPE_Q5_K + 1, .embd_type = TYPE_Q6_K + 1, .embd = 256, .ff = 256, .layers = 1 } },
  { .tiny = { .type = TYPE_IQ4_NL, .v_type = TYPE_Q5_1 + 1, .embd_type = TYPE_Q8_0 + 1, .embd = 96, .heads = 3, .ff = 160 } },
  { .tiny = { .type = TYPE_Q4_0, .v_type = TYPE_F16 + 1, .embd_type = TYPE_Q8_0 + 1, .untied = true, .embd = 96, .heads = 3 } },
  { .tiny = { .type = TYPE_BF16, .v_type = TYPE_F32 + 1, .embd_type = TYPE_Q4_1 + 1 } },
  /* heads: each its own, one for all; larger and smaller than D / Hq; some of the coordinates rotate */
  { .tiny = { .heads = 4, .kv_heads = 4, .head_size = 40 } },
  { .tiny = { .heads = 8, .kv_heads = 1, .head_size = 8, .untied = true, .type = TYPE_F16 } },
  { .tiny = { .heads = 5, .kv_heads = 5, .embd = 80, .ff = 96, .untied = true } },
  { .tiny = { .heads = 2, .kv_heads = 1, .head_size = 128, .rope_dims = 96, .type = TYPE_Q8_0 } },
  { .tiny = { .heads = 7, .kv_heads = 1, .embd = 56, .head_size = 24, .rope_dims = 6, .ff = 60 } },
  { .tiny = { .heads = 1, .kv_heads = 1, .embd = 36, .head_size = 512, .ff = 4, .layers = 1 } },
  /* positions */
  { .tiny = { .rope_base = 500000 }, .scaling = "linear", .factor = 4 },
  { .tiny = { .type = TYPE_Q8_0 }, .scaling = "yarn", .factor = 8 },
  { .tiny = { .head_size = 32, .rope_dims = 20, .type = TYPE_Q4_0 }, .scaling = "yarn", .factor = 4 },
  { .tiny = { .rope_base = 500000, .untied = true }, .freqs = true },
};

static void save(size_t i) {
  struct tiny_model t = tiny_model_defaults(&cases[i].tiny);
  uint64_t pairs = (t.rope_dims ? t.rope_dims : t.head_size ? t.head_size : t.embd / t.heads) / 2;
  struct gguf_writer w = { 0 };
  t.ctx = CTX;
  t.seed = 100 + i;
  tiny_model_keys(&w, &t);
  tiny_model_vocabulary(&w, t.vocab);
  tiny_model_tensors(&w, &t);
  if (cases[i].scaling) {
    writer_string(&w, "llama.rope.scaling.type", cases[i].scaling);
    writer_f32(&w, "llama.rope.scaling.factor", cases[i].factor);
  }
  if (cases[i].freqs) {
    float *f = malloc(pairs * sizeof *f);
    for (uint64_t p = 0; p < pairs; p++) f[p] = p < pairs / 2 ? 1 : 1 + (float)p * 3.5f;
    writer_tensor(&w, "rope_freqs.weight", TYPE_F32, 1, &pairs, f, pairs * sizeof *f);
    free(f);
  }
  writer_save(&w, path);
  writer_free(&w);
}

static void check_close(const float *got, const double *want, size_t vocab, const char *what) {
  double best = INFINITY;
  for (size_t t = 0; t < TOKENS; t++) {
    double err = 0, var = 0, mean = 0;
    for (size_t i = 0; i < vocab; i++) mean += want[t * vocab + i] / (double)vocab;
    for (size_t i = 0; i < vocab; i++) {
      double e = got[t * vocab + i] - want[t * vocab + i], v = want[t * vocab + i] - mean;
      err += e * e;
      var += v * v;
    }
    ck_assert_msg(err <= WORST * var, "%s: token %zu has NMSE %g, limit %g", what, t, err / var, WORST);
    best = fmin(best, err / var);
  }
  ck_assert_msg(best <= BEST, "%s: the best token has NMSE %g, limit %g", what, best, BEST);
}

START_TEST(logits) {
  const struct lrqk_model_options mo = { .log = rig_log };
  lrqk_model *m;
  int32_t ids[TOKENS];
  uint64_t seed = (uint64_t)_i;
  save((size_t)_i);
  ck_assert_int_eq(lrqk_model_open(&m, path, &mo), LRQK_OK);
  size_t vocab = m->hp.n_vocab;
  for (int i = 0; i < TOKENS; i++) ids[i] = (int32_t)(writer_random(&seed) % vocab);
  double *want = reference(m->gguf, &m->hp, ids);
  float *host = engine_logits(m, "host", ids);
  check_close(host, want, vocab, "host against double precision");
  for (size_t i = 0; i < TOKENS * vocab; i++) want[i] = host[i];
  static const char *const drivers[] = { "vulkan", "opencl" };
  for (int i = 0; i < 2; i++) {
    if (!test_uses(drivers[i])) continue;
    float *got = engine_logits(m, drivers[i], ids);
    check_close(got, want, vocab, drivers[i]);
    free(got);
  }
  free(host);
  free(want);
  lrqk_model_close(m);
  unlink(path);
}
END_TEST

int main(void) {
  snprintf(path, sizeof path, "test_types_%d.gguf", (int)getpid());
  Suite *suite = suite_create("types");
  TCase *t = tcase_create("types");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, logits, 0, sizeof cases / sizeof cases[0]);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
