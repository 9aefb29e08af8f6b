/* gram.c on each device: the maps that it makes from the sums of a text, against Grams that are rotated position by position
 * in float64. */
#include "attention/gram.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/attention.h"
#include "kernel_harness.h"
#include "shaders/step.h"

enum { D = 16, HK = 2, G = 3, L = 300, HORIZON = 100, WIDTH = HK * (G + 2) * D };

struct rig {
  struct hparams hp;
  struct lrqk_cache_options o;
  struct attn_core core;
  struct proxy_shape proxy;
  struct gram_shape shape;
  struct gram gram;
  struct pool pool;
  struct buffer *step, *qkv;
};

static void rig_open(struct rig *r, struct device *dev, bool neox, uint32_t rank, enum lrqk_mean_key mean, double magnitude) {
  memset(r, 0, sizeof *r);
  r->hp = (struct hparams){ .n_layers = 1, .n_embd = 96, .n_ff = 64, .n_heads = HK * G, .n_kv_heads = HK, .head_size = D, .rope_dims = D,
                            .rope_neox = neox, .attn_scale = 1 / sqrtf(D), .rope_base = 10000, .rms_eps = 1e-5f, .n_vocab = 32, .n_ctx = 512 };
  r->hp.rope.magnitude = magnitude;
  for (uint32_t p = 0; p < D / 2; p++) r->hp.rope.inv_freq[p] = pow(10000, -2.0 * p / D);
  r->o = lrqk_cache_defaults();
  r->o.proxy = LRQK_PROXY_GRAM;
  r->o.rank = rank;
  r->o.horizon = HORIZON;
  r->o.iters = 200;
  r->o.mean_key = mean;
  ck_assert_int_eq(buffer_create(&r->step, dev, PLACE_DEVICE, STEP_WORDS * 4, "step"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&r->qkv, dev, PLACE_DEVICE, L * WIDTH * 4, "qkv"), LRQK_OK);
  ck_assert_int_eq(attn_core_init(&r->core, dev, &r->hp, 512, view_of(r->step)), LRQK_OK);
  ck_assert_int_eq(proxy_shape_init(&r->proxy, &r->core, &r->o), LRQK_OK);
  ck_assert_int_eq(gram_shape_init(&r->shape, &r->core, &r->o, &r->proxy), LRQK_OK);
  pool_init(&r->pool, dev, PLACE_DEVICE, "test", 1 << 20);
  ck_assert_int_eq(gram_init(&r->gram, &r->shape, &r->pool), LRQK_OK);
}

static void rig_close(struct rig *r) {
  gram_shape_destroy(&r->shape);
  pool_destroy(&r->pool);
  attn_core_destroy(&r->core);
  buffer_destroy(&r->step);
  buffer_destroy(&r->qkv);
}

/* Heads with a mean and directions of very different size. */
static float *make_text(void) {
  float *x = test_memory((size_t)L * WIDTH, 4), mean[WIDTH], size[WIDTH];
  for (int i = 0; i < WIDTH; i++) {
    mean[i] = random_float(-1, 1);
    size[i] = expf(random_float(-2, 1));
  }
  for (int t = 0; t < L; t++) {
    float common = random_float(-1, 1);
    for (int i = 0; i < WIDTH; i++) x[t * WIDTH + i] = mean[i] + size[i] * (random_float(-1, 1) + common);
  }
  return x;
}

static void rotate(const struct rig *r, double *x, uint32_t t) {
  for (uint32_t p = 0; p < D / 2; p++) {
    uint32_t a = r->hp.rope_neox ? p : 2 * p, b = r->hp.rope_neox ? p + D / 2 : 2 * p + 1;
    double angle = t * r->hp.rope.inv_freq[p], c = cos(angle), s = sin(angle);
    double xa = r->hp.rope.magnitude * x[a], xb = r->hp.rope.magnitude * x[b];
    x[a] = xa * c - xb * s;
    x[b] = xb * c + xa * s;
  }
}

/* out [D][D] = sum over vectors (minus mu) and mean over positions [t0, t1) of R(t) x x' R(t)'. */
static void exact_gram(const struct rig *r, const float *text, uint32_t head0, uint32_t heads, const double *mu, uint32_t t0, uint32_t t1,
                       double *out) {
  memset(out, 0, sizeof(double) * D * D);
  for (uint32_t t = t0; t < t1; t++)
    for (uint32_t v = 0; v < L * heads; v++) {
      double x[D];
      for (uint32_t i = 0; i < D; i++) x[i] = text[v / heads * WIDTH + (head0 + v % heads) * D + i] - mu[i];
      rotate(r, x, t);
      for (uint32_t i = 0; i < D; i++)
        for (uint32_t j = 0; j < D; j++) out[i * D + j] += x[i] * x[j] / (t1 - t0);
    }
}

/* c = a b, all [D][D]. */
static void times(const double *a, const double *b, double *c) {
  for (int i = 0; i < D; i++)
    for (int j = 0; j < D; j++) {
      c[i * D + j] = 0;
      for (int n = 0; n < D; n++) c[i * D + j] += a[i * D + n] * b[n * D + j];
    }
}

static double size_of(const double *a, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += a[i] * a[i];
  return sqrt(sum);
}

/* out = [P'] a or, with other, a [M]: [r][D] each, m and p being [r][D]. */
static void project(const double *m, const double *a, bool other, uint32_t r, double *out) {
  for (uint32_t n = 0; n < r; n++)
    for (int i = 0; i < D; i++) {
      out[n * D + i] = 0;
      for (int j = 0; j < D; j++) out[n * D + i] += m[n * D + j] * (other ? a[i * D + j] : a[j * D + i]);
    }
}

static double energy(const double *x, const double *g) {
  double e = 0;
  for (int i = 0; i < D; i++) for (int j = 0; j < D; j++) e += x[i] * g[i * D + j] * x[j];
  return e;
}

/* The error of all scores is tr(X'G_Q X G_K), X = I - P M': least where both its gradients, G_Q X G_K M and P'G_Q X G_K, are
 * zero, but for the two lambdas of the factors (one iteration leaves 1e-2).  And each number varies alike in k^ and in q^. */
static void check_head(const double *gq, const double *gk, const double *m, const double *p, uint32_t r) {
  double x[D * D], a[D * D], all[D * D], left[D * D], gradient[D * D], whole[D * D];
  for (int i = 0; i < D; i++)
    for (int j = 0; j < D; j++) {
      x[i * D + j] = i == j;
      for (uint32_t n = 0; n < r; n++) x[i * D + j] -= p[n * D + i] * m[n * D + j];
    }
  times(gq, x, a);
  times(a, gk, left);
  times(gq, gk, all);
  for (int side = 0; side < 2; side++) {
    project(side ? m : p, left, side, r, gradient);
    project(side ? m : p, all, side, r, whole);
    double g = size_of(gradient, r * D) / size_of(whole, r * D);
    ck_assert_msg(g < 3e-3, "rank %u: gradient %g by %s", r, g, side ? "P" : "M_K");
  }
  double least = size_of(left, D * D) / size_of(all, D * D);
  ck_assert_msg(least < (r == D ? 1e-4 : 0.5), "rank %u: what is left has size %g", r, least);
  for (uint32_t i = 0; i < r; i++) {
    double k = energy(m + i * D, gk), q = energy(p + i * D, gq);
    ck_assert_msg(fabs(k / q - 1) < 1e-3, "rank %u: number %u varies by %g and %g", r, i, k, q);
  }
}

START_TEST(maps_are_the_best_of_their_rank) {
  static const uint32_t ranks[] = { 4, 8, D };
  static const enum lrqk_mean_key means[] = { LRQK_MEAN_KEY_OFF, LRQK_MEAN_KEY_ON, LRQK_MEAN_KEY_SLOW };
  bool neox = _i & 1;
  enum lrqk_mean_key mean = means[_i / 2];
  double magnitude = neox ? 1.25 : 1;          /* yarn */
  const float *text = make_text();
  for (size_t device = 0; device < harness_count(); device++)
    for (int n = 0; n < 3; n++) {
      struct rig r;
      uint32_t rank = ranks[n];
      struct device *dev = harness_device(device);
      rig_open(&r, dev, neox, rank, mean, magnitude);
      ck_assert_int_eq(device_write(dev, view_of(r.qkv), text, L * WIDTH * 4), LRQK_OK);
      gram_add(&r.gram, &r.shape, view_of(r.qkv), L);
      gram_solve(&r.gram, &r.shape, L);
      ck_assert_int_eq(device_submit(dev, NULL), LRQK_OK);
      float *map = test_memory(r.gram.map.size, 1);
      ck_assert_int_eq(device_read(dev, map, r.gram.map, HK * D * (2 * rank + 1) * 4), LRQK_OK);
      for (uint32_t h = 0; h < HK; h++) {
        double mu[D] = { 0 }, zero[D] = { 0 }, gq[D * D], gk[D * D], m[D * D], p[D * D];
        for (uint32_t i = 0; i < D; i++) {
          uint32_t pair = neox ? i % (D / 2) : i / 2;
          bool apart = mean == LRQK_MEAN_KEY_ON || (mean == LRQK_MEAN_KEY_SLOW && r.hp.rope.inv_freq[pair] * 31.5 < 0.5);
          for (uint32_t t = 0; t < L && apart; t++) mu[i] += text[t * WIDTH + (HK * G + h) * D + i] / (double)L;
          float got = map[2 * HK * rank * D + h * D + i];
          ck_assert_msg(fabs(got - magnitude * mu[i]) <= 1e-5, "mean key %u of head %u: %g, expected %g", i, h, got, mu[i]);
        }
        exact_gram(&r, text, h * G, G, zero, L, L + HORIZON, gq);
        exact_gram(&r, text, HK * G + h, 1, mu, 0, L + HORIZON, gk);
        for (uint32_t i = 0; i < rank * D; i++) {
          m[i] = map[h * rank * D + i];
          p[i] = map[(HK + h) * rank * D + i];
        }
        check_head(gq, gk, m, p, rank);
      }
      rig_close(&r);
    }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gram");
  TCase *c = tcase_create("gram");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, maps_are_the_best_of_their_rank, 0, 6);
  suite_add_tcase(suite, c);
  return suite_run(suite, CK_FORK_GETENV);
}
