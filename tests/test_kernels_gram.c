/* The kernels of proxies by maps, one by one: Vulkan with both kinds of loads and the host back end against float64 written for
 * the test, at every position; sums that do not depend on chunks. */
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/gram_products.h"
#include "base/half.h"
#include "base/num.h"
#include "shaders/step.h"

/* Standard normal, nearly. */
static float normal(void) {
  float x = 0;
  for (int i = 0; i < 6; i++) x += random_float(-1, 1);
  return x * 0.70710678f;
}

static float *normals(size_t n, float size) {
  float *x = test_memory(n, 4);
  for (size_t i = 0; i < n; i++) x[i] = size * normal();
  return x;
}

/* ---- sums */

static const struct heads { uint32_t hk, g, d; } heads[] = {
  { 3, 3, 64 }, { 1, 8, 32 }, { 2, 1, 128 }, { 8, 4, 128 }, { 1, 10, 16 }, { 2, 2, 8 }
};
enum { N_HEADS = sizeof heads / sizeof *heads };

static size_t row_floats(const struct heads *s) { return (size_t)s->hk * (s->g + 2) * s->d; }
static size_t block_floats(const struct heads *s) { return (size_t)s->hk * (s->d / 8) * (s->d / 8 + 1) / 2 * 64; }
static size_t sum_floats(const struct heads *s) { return 2 * block_floats(s) + (size_t)s->hk * s->d; }

static float *sums_in_chunks(size_t device, const struct heads *s, const float *qkv, uint32_t rows, const uint32_t *chunks) {
  struct bench b = { .dev = harness_device(device) };
  uint32_t d8 = s->d / 8, wg = device % 2 ? 8 : 64;
  const struct kernel *k = bench_kernel(&b, KERNEL_GRAM_SUM, SPEC(wg));
  struct view sum = bench_put(&b, test_memory(sum_floats(s), 4), sum_floats(s) * 4);
  for (uint32_t t = 0; t < rows; t += *chunks++) {
    struct gram_sum_params p = { .rows = *chunks, .hk = s->hk, .g = s->g, .d8 = d8 };
    struct view part = bench_put(&b, qkv + t * row_floats(s), *chunks * row_floats(s) * 4);
    DISPATCH(b.dev, k, ceil_div(s->hk * d8 * (d8 + 1), wg), 1, 1, &p, part, sum);
  }
  void *out = bench_take(&b, sum);
  bench_clear(&b);
  return out;
}

/* Forms of the products of gram_products.c, on a device that may have neither: its own gemm stands in for CLBlast's there. */
static struct gram_products products_of(struct device *d, const struct gram_products_shape *s, enum form form) {
  struct gram_products p;
  struct forms before = d->forms;
  d->forms.op[OP_GRAM].form = d->forms.op[OP_MAP].form = form;
  ck_assert_int_eq(gram_products_init(&p, d, s), LRQK_OK);
  d->forms = before;
  return p;
}

/* The same sums by dense products, but for the last tokens. */
static float *dense_sums(size_t device, const struct heads *s, const float *qkv, uint32_t rows, uint32_t last) {
  struct bench b = { .dev = harness_device(device) };
  struct gram_products p = products_of(b.dev, &(struct gram_products_shape){ .hk = s->hk, .g = s->g, .d = s->d }, FORM_CLBLAST);
  struct view sum = bench_put(&b, test_memory(sum_floats(s), 4), sum_floats(s) * 4);
  gram_products_sum(&p, bench_put(&b, qkv, (rows - last) * row_floats(s) * 4), rows - last, sum);
  gram_products_sum(&p, bench_put(&b, qkv + (rows - last) * row_floats(s), last * row_floats(s) * 4), last, sum);
  void *out = bench_take(&b, sum);
  gram_products_destroy(&p);
  bench_clear(&b);
  return out;
}

/* Element (i, j) of the Gram of side 0 (queries) or 1 (keys) of KV head h, and the sum of keys, in double. */
static double exact_gram(const struct heads *s, const float *qkv, uint32_t rows, uint32_t side, uint32_t h, uint32_t i, uint32_t j) {
  double sum = 0;
  uint32_t first = side ? s->hk * s->g + h : h * s->g;
  for (uint32_t t = 0; t < rows; t++)
    for (uint32_t n = 0; n < (side ? 1 : s->g); n++) {
      const float *x = qkv + t * row_floats(s) + (size_t)(first + n) * s->d;
      sum += (double)x[i] * x[j];
    }
  return sum;
}

static double exact_mean(const struct heads *s, const float *qkv, uint32_t rows, uint32_t h, uint32_t i) {
  double sum = 0;
  for (uint32_t t = 0; t < rows; t++) sum += qkv[t * row_floats(s) + (size_t)(s->hk * s->g + h) * s->d + i];
  return sum;
}

START_TEST(sums_are_grams) {
  const struct heads small = { test_size(heads[_i].hk, 2), heads[_i].g, heads[_i].d }, *s = &small;
  uint32_t rows = 37;
  float *qkv = normals(rows * row_floats(s), 1);
  double *want = test_memory(sum_floats(s), sizeof *want);
  size_t at = 0;
  for (uint32_t side = 0; side < 2; side++)
    for (uint32_t h = 0; h < s->hk; h++)
      for (uint32_t i = 0; i < s->d / 8; i++)
        for (uint32_t j = 0; j <= i; j++)
          for (uint32_t e = 0; e < 64; e++) want[at++] = exact_gram(s, qkv, rows, side, h, i * 8 + e / 8, j * 8 + e % 8);
  for (uint32_t h = 0; h < s->hk; h++)
    for (uint32_t i = 0; i < s->d; i++) want[at++] = exact_mean(s, qkv, rows, h, i);
  ck_assert_uint_eq(at, sum_floats(s));
  for (size_t i = 0; i < harness_count(); i++) {
    float *one = sums_in_chunks(i, s, qkv, rows, (const uint32_t[]){ 37 });
    float *parts = sums_in_chunks(i, s, qkv, rows, (const uint32_t[]){ 1, 16, 19, 1 });
    nmse_check(one, want, at, 1e-12, harness_name(i));
    ck_assert_msg(!memcmp(one, parts, at * 4), "%s: one chunk and four differ", harness_name(i));
    float *dense = dense_sums(i, s, qkv, rows, 4), *again = dense_sums(i, s, qkv, rows, 4);
    nmse_check(dense, want, at, 1e-12, harness_name(i));
    ck_assert_msg(!memcmp(dense, again, at * 4), "%s: other bits the second time", harness_name(i));
  }
}
END_TEST

/* ---- what `paper` keeps of queries */

static size_t query_floats(const struct heads *s) {
  return (size_t)s->hk * s->g * ((size_t)(s->d / 8) * (s->d / 8 + 1) * 32 + 2 * s->d);
}

/* q [rows][Hq][d] in chunks of [hk][chunk][g][d] */
static float *query_sums_in_chunks(size_t device, const struct heads *s, const float *q, uint32_t rows, const uint32_t *chunks) {
  struct bench b = { .dev = harness_device(device) };
  uint32_t d8 = s->d / 8, wg = device % 2 ? 8 : 64, row = s->hk * s->g * s->d, part = s->g * s->d;
  const struct kernel *k = bench_kernel(&b, KERNEL_QUERY_SUM, SPEC(wg));
  struct view sum = bench_put(&b, test_memory(query_floats(s), 4), query_floats(s) * 4);
  for (uint32_t t = 0; t < rows; t += *chunks++) {
    float *x = test_memory((size_t)*chunks * row, 4);
    for (uint32_t i = 0; i < *chunks; i++)
      for (uint32_t h = 0; h < s->hk; h++)
        memcpy(x + ((size_t)h * *chunks + i) * part, q + (size_t)(t + i) * row + h * part, part * sizeof *x);
    struct query_sum_params p = { .rows = *chunks, .hk = s->hk, .g = s->g, .d8 = d8 };
    DISPATCH(b.dev, k, ceil_div(s->hk * s->g * d8 * (d8 + 1) / 2, wg), 1, 1, &p, bench_put(&b, x, (size_t)*chunks * row * 4), sum);
  }
  void *out = bench_take(&b, sum);
  bench_clear(&b);
  return out;
}

START_TEST(query_sums_are_grams) {
  const struct heads small = { test_size(heads[_i].hk, 2), heads[_i].g, heads[_i].d }, *s = &small;
  uint32_t rows = 37, nq = s->hk * s->g, row = nq * s->d;
  float *q = normals((size_t)rows * row, 1);
  double *want = test_memory(query_floats(s), sizeof *want);
  size_t at = 0;
  for (uint32_t h = 0; h < nq; h++)
    for (uint32_t i = 0; i < s->d / 8; i++)
      for (uint32_t j = 0; j <= i; j++)
        for (uint32_t e = 0; e < 64; e++, at++)
          for (uint32_t t = 0; t < rows; t++)
            want[at] += (double)q[t * row + h * s->d + i * 8 + e / 8] * q[t * row + h * s->d + j * 8 + e % 8];
  for (uint32_t i = 0; i < row; i++, at++)
    for (uint32_t t = 0; t < rows; t++) want[at] += fabs(q[t * row + i]);
  for (uint32_t i = 0; i < row; i++) want[at++] = q[(rows - 1) * row + i];
  ck_assert_uint_eq(at, query_floats(s));
  for (size_t i = 0; i < harness_count(); i++) {
    float *one = query_sums_in_chunks(i, s, q, rows, (const uint32_t[]){ 37 });
    float *parts = query_sums_in_chunks(i, s, q, rows, (const uint32_t[]){ 1, 16, 19, 1 });
    nmse_check(one, want, at, 1e-12, harness_name(i));
    ck_assert_msg(!memcmp(one, parts, at * 4), "%s: one chunk and four differ", harness_name(i));
    ck_assert_msg(!memcmp(one + at - row, q + (rows - 1) * row, row * 4), "%s: the last query", harness_name(i));
  }
}
END_TEST

/* ---- maps */

static const struct plane { uint32_t hk, g, d, neox, rot, rank, bits, page, n, page0; } planes[] = {
  { 3, 3, 64, 0, 64, 16, 8, 64, 64, 0 },     { 3, 3, 64, 1, 64, 32, 16, 64, 63, 4096 }, { 1, 8, 32, 0, 32, 4, 8, 32, 1, 31 * 32 },
  { 2, 1, 128, 1, 64, 36, 8, 32, 29, 1024 }, { 1, 10, 16, 0, 8, 4, 16, 64, 50, 512 },   { 2, 4, 128, 0, 128, 128, 8, 32, 31, 2048 },
  { 2, 2, 64, 1, 48, 20, 8, 128, 77, 128 },  { 1, 2, 256, 1, 256, 64, 16, 16, 13, 160 },
};
enum { N_PLANES = sizeof planes / sizeof *planes };
static uint32_t tokens_of(const struct plane *s) { return test_size(s->n, 5); }

struct maps {
  const struct plane *s;
  uint32_t rw, values;
  double theta[256];
  float *map, *turn, *qkv;       /* [hk][r][d] twice, then [hk][d]; tables; [n][Hq + 2hk][d] */
  size_t map_bytes, turn_bytes, plane_bytes;
};

static void pair(const struct plane *s, uint32_t i, uint32_t *a, uint32_t *b) {
  bool halves = s->neox && i < s->rot / 2;
  *a = halves ? i : 2 * i;
  *b = halves ? i + s->rot / 2 : 2 * i + 1;
}

/* R(t) mu of KV head h. */
static void exact_mean_key(const struct maps *m, uint32_t h, uint32_t t, double *out) {
  const struct plane *s = m->s;
  const float *mu = m->map + (size_t)2 * s->hk * s->rank * s->d + (size_t)h * s->d;
  for (uint32_t i = 0; i < s->d / 2; i++) {
    uint32_t a, b;
    pair(s, i, &a, &b);
    double c = cos(t * m->theta[i]), n = sin(t * m->theta[i]);
    out[a] = mu[a] * c - mu[b] * n;
    out[b] = mu[b] * c + mu[a] * n;
  }
}

static struct maps maps_of(const struct plane *s, uint32_t positions) {
  struct maps m = { .s = s, .rw = ceil_div(s->rank, s->bits == 8 ? 16 : 8) };
  uint32_t blocks = ceil_div(positions, 64), d = s->d;
  m.values = m.rw * (s->bits == 8 ? 16 : 8);
  for (uint32_t p = 0; p < s->rot / 2; p++) m.theta[p] = pow(10000, -2.0 * p / s->rot);
  m.map_bytes = (size_t)s->hk * d * (2 * s->rank + 1) * 4;
  m.map = normals(m.map_bytes / 4, 0.5f);
  m.turn_bytes = (size_t)(33 + blocks) * d * 4;
  m.turn = test_memory(m.turn_bytes, 1);
  for (uint32_t p = 0; p < d / 2; p++) {
    for (uint32_t k = 0; k < 32; k++) {
      m.turn[p * 64 + k] = (float)cos((k + 0.5) * m.theta[p]);
      m.turn[p * 64 + 32 + k] = (float)sin((k + 0.5) * m.theta[p]);
    }
    m.turn[32 * d + 2 * p] = (float)m.theta[p];
    for (uint32_t b = 0; b < blocks; b++) {
      m.turn[(33 + b) * d + 2 * p] = (float)cos((b * 64 + 31.5) * m.theta[p]);
      m.turn[(33 + b) * d + 2 * p + 1] = (float)sin((b * 64 + 31.5) * m.theta[p]);
    }
  }
  m.qkv = normals((size_t)tokens_of(s) * s->hk * (s->g + 2) * d, 1);
  m.plane_bytes = (size_t)s->hk * s->page * (m.rw * 16 + (s->bits == 8 ? 2 : 0));
  return m;
}

static enum kernel_id map_id(const struct plane *s) { return s->bits == 8 ? KERNEL_MAP_PROXY_I8 : KERNEL_MAP_PROXY_F16; }
static enum kernel_id token_id(const struct plane *s) { return s->bits == 8 ? KERNEL_TOKEN_MAP_I8 : KERNEL_TOKEN_MAP_F16; }

/* [d/2] (cos, sin) of position t; (1, 0) for pairs that do not rotate. */
static float *angles(const struct maps *m, uint32_t t) {
  float *cs = test_memory(m->s->d, 4);
  for (uint32_t p = 0; p < m->s->d / 2; p++) {
    cs[2 * p] = (float)cos(t * m->theta[p]);
    cs[2 * p + 1] = (float)sin(t * m->theta[p]);
  }
  return cs;
}

/* Head `head` of token t after RoPE. */
static void rotated(const struct maps *m, uint32_t t, uint32_t head, double *out) {
  const struct plane *s = m->s;
  const float *x = m->qkv + ((size_t)t * s->hk * (s->g + 2) + head) * s->d;
  for (uint32_t i = 0; i < s->d / 2; i++) {
    uint32_t a, b;
    pair(s, i, &a, &b);
    double c = cos((s->page0 + t) * m->theta[i]), n = sin((s->page0 + t) * m->theta[i]);
    out[a] = x[a] * c - x[b] * n;
    out[b] = x[b] * c + x[a] * n;
  }
}

enum { RING = 3, SLOTS = 5 };

/* Of 64 tokens, up to the end of the page. */
static uint32_t blocks_of(const struct plane *s) { return ceil_div(s->page0 + s->page, 64); }

/* What n tokens leave behind on one device, one by one: q, qh, ab and coef of the last, all the rest of all.  alone: coef by mean_coef. */
struct taken { char *px; uint16_t *host, *act; float *q, *keep, *sum, *qh, *ab, *coef, *alone; };

static struct taken take_tokens(size_t device, const struct maps *m, uint32_t share, bool maps) {
  const struct plane *s = m->s;
  struct bench b = { .dev = harness_device(device) };
  size_t hq = (size_t)s->hk * s->g, row = (size_t)s->hk * s->d * 4, width = (size_t)s->hk * (s->g + 2) * s->d * 4, lists = s->hk * share;
  struct view qkv = bench_put(&b, NULL, width), cs = bench_put(&b, NULL, s->d * 4), step = bench_put(&b, NULL, STEP_WORDS * 4);
  struct view map = bench_put(&b, m->map, m->map_bytes), turn = bench_put(&b, m->turn, m->turn_bytes), q = bench_put(&b, NULL, hq * s->d * 4);
  struct view keep = bench_put(&b, NULL, tokens_of(s) * width), act = bench_put(&b, NULL, lists * SLOTS * s->d * 4);
  struct view host = bench_put(&b, canary_words(s->page * row), s->page * row), sum = bench_put(&b, test_memory(row, 1), row);
  struct view px = bench_put(&b, canary_words(m->plane_bytes), m->plane_bytes);
  struct view qh = bench_put(&b, canary_words(hq * m->values * 4), hq * m->values * 4), ab = bench_put(&b, NULL, hq * s->d * 4);
  uint32_t blocks = blocks_of(s), cubics = blocks - blocks / 4;
  struct view coef = bench_put(&b, canary_words(hq * blocks * 16), hq * blocks * 16), alone = bench_put(&b, NULL, hq * blocks * 16);
  const struct kernel *k = bench_kernel(&b, token_id(s), SPEC(device % 2 ? 8 : 64, s->neox, s->d, s->rank, maps));
  for (uint32_t t = 0; t < tokens_of(s); t++) {
    struct token_map_params p = { .hk = s->hk, .g = s->g, .rot = s->rot, .share = share, .slots = SLOTS, .page = s->page, .page0 = s->page0,
                                  .rw = m->rw, .keep0 = t, .blocks = blocks, .cubics = cubics, .from = s->d / 16, .scale = 0.125f };
    const uint32_t words[STEP_WORDS] = { [STEP_POS] = s->page0 + t, [STEP_RING] = t % RING };
    ck_assert_int_eq(device_write(b.dev, step, words, sizeof words), LRQK_OK);
    ck_assert_int_eq(device_write(b.dev, cs, angles(m, s->page0 + t), cs.size), LRQK_OK);
    ck_assert_int_eq(device_write(b.dev, qkv, m->qkv + t * width / 4, width), LRQK_OK);
    for (p.again = 0; p.again <= t % 2; p.again++)       /* some twice: nothing is summed twice */
      DISPATCH(b.dev, k, s->hk * (s->g + 1), 1, 1, &p, qkv, cs, step, map, turn, q, keep, act, host, sum, px, qh, ab, turn, coef);
    ck_assert_int_eq(device_submit(b.dev, NULL), LRQK_OK);
  }
  struct mean_coef_params c = { .d4 = s->d / 4, .blocks = blocks, .from = s->d / 16 };
  DISPATCH(b.dev, bench_kernel(&b, KERNEL_MEAN_COEF, SPEC(8, s->g, 1)), ceil_div(cubics, 8), s->hk, 1, &c, ab, turn, alone);
  struct taken out = { bench_take(&b, px), bench_take(&b, host), bench_take(&b, act), bench_take(&b, q), bench_take(&b, keep), bench_take(&b, sum),
                       bench_take(&b, qh), bench_take(&b, ab), bench_take(&b, coef), bench_take(&b, alone) };
  bench_clear(&b);
  return out;
}

/* The proxies of a page of the given rows, mapped all at once. */
static char *map_page(size_t device, const struct maps *m, const uint16_t *rows) {
  const struct plane *s = m->s;
  struct bench b = { .dev = harness_device(device) };
  struct view px = bench_put(&b, canary_words(m->plane_bytes), m->plane_bytes), kv = bench_put(&b, rows, (size_t)s->page * s->hk * s->d * 4);
  struct view map = bench_put(&b, m->map, m->map_bytes), turn = bench_put(&b, m->turn, m->turn_bytes);
  uint32_t tokens = (s->d + s->rank) * 32 > 16384 ? 4 : 8;
  struct map_proxy_params p = { .hk = s->hk, .rot = s->rot, .n = tokens_of(s), .page = s->page, .page0 = s->page0, .rw = m->rw };
  DISPATCH(b.dev, bench_kernel(&b, map_id(s), SPEC(device % 2 ? 16 : 64, s->neox, s->d, s->rank, tokens)), ceil_div(tokens_of(s), tokens), s->hk, 1,
           &p, kv, map, turn, px);
  char *out = bench_take(&b, px);
  bench_clear(&b);
  return out;
}

/* ... by a dense product for each 64 of them. */
static char *map_page_dense(size_t device, const struct maps *m, const uint16_t *rows) {
  const struct plane *s = m->s;
  struct bench b = { .dev = harness_device(device) };
  struct view px = bench_put(&b, canary_words(m->plane_bytes), m->plane_bytes), kv = bench_put(&b, rows, (size_t)s->page * s->hk * s->d * 4);
  struct view map = bench_put(&b, m->map, m->map_bytes), turn = bench_put(&b, m->turn, m->turn_bytes);
  struct gram_products_shape shape = { .hk = s->hk, .g = s->g, .d = s->d, .rank = s->rank, .neox = s->neox, .int8 = s->bits == 8, .maps = true };
  struct gram_products dense = products_of(b.dev, &shape, FORM_CLBLAST);
  dense.batch = 64;
  struct map_proxy_params p = { .hk = s->hk, .rot = s->rot, .n = tokens_of(s), .page = s->page, .page0 = s->page0, .rw = m->rw };
  gram_products_map(&dense, &p, kv, map, turn, px);
  char *out = bench_take(&b, px);
  gram_products_destroy(&dense);
  bench_clear(&b);
  return out;
}

/* One proxy row against M_K'(k - R(t) mu). */
static void check_row(const struct maps *m, const char *px, uint32_t h, uint32_t t, const uint16_t *key) {
  const struct plane *s = m->s;
  double mean[256], most = 0, kh[256] = { 0 };
  size_t row = (size_t)h * s->page + t;
  exact_mean_key(m, h, s->page0 + t, mean);
  for (uint32_t i = 0; i < s->rank; i++) {
    for (uint32_t c = 0; c < s->d; c++) kh[i] += m->map[((size_t)h * s->rank + i) * s->d + c] * (half_to_float(key[c]) - mean[c]);
    most = fmax(most, fabs(kh[i]));
  }
  float scale = s->bits == 8 ? half_to_float(((const uint16_t *)px)[(size_t)s->hk * s->page * m->rw * 8 + row]) : 0;
  if (s->bits == 8 && !(fabs(scale - most / 127) < 1e-3 * most)) ck_abort_msg("head %u token %u: scale %g of %g", h, t, scale, most);
  for (uint32_t i = 0; i < m->values; i++) {
    double got = s->bits == 8 ? (double)px[row * m->values + i] * scale : half_to_float(((const uint16_t *)px)[row * m->values + i]);
    double limit = i >= s->rank ? 0 : s->bits == 8 ? 0.55 * scale + 1e-3 * most / 127 : fabs(kh[i]) * 0x1p-11 + 1e-5 * most;
    if (!(fabs(got - kh[i]) <= limit)) ck_abort_msg("head %u token %u value %u: %g, expected %g", h, t, i, got, kh[i]);
  }
}

/* Rows in the host's page and in the rings, against the heads rotated in double; the sum of value rows. */
static void check_rows(const struct maps *m, const struct taken *a, uint32_t share, const char *device) {
  const struct plane *s = m->s;
  size_t width = (size_t)s->hk * (s->g + 2) * s->d, row = (size_t)s->hk * 2 * s->d;
  for (uint32_t h = 0; h < s->hk; h++) {
    double sum[256] = { 0 };
    for (uint32_t t = 0; t < tokens_of(s); t++) {
      const uint16_t *got = a->host + t * row + (size_t)h * 2 * s->d;
      const float *v = m->qkv + t * width + (size_t)(s->hk * s->g + s->hk + h) * s->d;
      double key[256];
      rotated(m, t, s->hk * s->g + h, key);
      for (uint32_t i = 0; i < s->d; i++) {
        float k = half_to_float(got[i]);
        if (!(fabs(k - key[i]) <= fabs(key[i]) * 0x1.01p-11 + 2e-6))
          ck_abort_msg("%s: head %u token %u key %u: %g, expected %g", device, h, t, i, k, key[i]);
        ck_assert_uint_eq(got[s->d + i], float_to_half(v[i]));
        sum[i] += half_to_float(got[s->d + i]);
      }
      for (uint32_t j = 0; t + RING >= tokens_of(s) && j < share; j++)
        ck_assert_msg(!memcmp(a->act + ((size_t)(h * share + j) * SLOTS + t % RING) * 2 * s->d, got, s->d * 4), "%s: ring of list %u", device,
                      h * share + j);
    }
    for (uint32_t i = 0; i < s->d; i++)
      if (!(fabs(a->sum[h * s->d + i] - sum[i]) <= 1e-4))
        ck_abort_msg("%s: sum of values %u of head %u: %g, expected %g", device, i, h, a->sum[h * s->d + i], sum[i]);
  }
  ck_assert_msg(!memcmp(a->keep, m->qkv, tokens_of(s) * width * 4), "%s: what is kept", device);
}

/* q, P'q, (A, B) and cubics of the last token. */
static void check_queries(const struct maps *m, const struct taken *a, bool maps, const char *device) {
  const struct plane *s = m->s;
  size_t hq = (size_t)s->hk * s->g;
  double *q = test_memory(hq * s->d, sizeof *q), *qh = test_memory(hq * m->values, sizeof *qh), *ab = test_memory(hq * s->d, sizeof *ab);
  uint32_t blocks = blocks_of(s);
  double *cubics = test_memory(hq * blocks * 4, sizeof *cubics);
  for (uint32_t head = 0; head < hq; head++) {
    const float *mu = m->map + (size_t)2 * s->hk * s->rank * s->d + (size_t)(head / s->g) * s->d;
    rotated(m, tokens_of(s) - 1, head, q + head * s->d);
    for (uint32_t i = 0; i < s->rank; i++)
      for (uint32_t c = 0; c < s->d; c++)
        qh[head * m->values + i] += 0.125 * q[head * s->d + c] * m->map[((size_t)(s->hk + head / s->g) * s->rank + i) * s->d + c];
    for (uint32_t i = 0; i < s->d / 2; i++) {
      uint32_t k, l;
      pair(s, i, &k, &l);
      ab[head * s->d + 2 * i] = 0.125 * (q[head * s->d + k] * mu[k] + q[head * s->d + l] * mu[l]);
      ab[head * s->d + 2 * i + 1] = 0.125 * (q[head * s->d + l] * mu[k] - q[head * s->d + k] * mu[l]);
    }
  }
  nmse_check(a->q, q, hq * s->d, 1e-12, device);
  if (!maps) {
    ck_assert_msg(!memcmp(a->qh, canary_words(hq * m->values * 4), hq * m->values * 4), "%s: queries are mapped without maps", device);
    ck_assert_msg(!memcmp(a->coef, canary_words(hq * blocks * 16), hq * blocks * 16), "%s: cubics without maps", device);
    return;
  }
  nmse_check(a->qh, qh, hq * m->values, 1e-11, device);
  nmse_check(a->ab, ab, hq * s->d, 1e-11, device);
  for (size_t i = 0; i < hq * blocks * 4; i++) {
    bool made = i / 4 % blocks < blocks - blocks / 4;
    cubics[i] = made ? a->alone[i] : 0;
    if (made) continue;
    ck_assert_uint_eq(((const uint32_t *)a->coef)[i], CANARY);
    a->coef[i] = 0;
  }
  nmse_check(a->coef, cubics, hq * blocks * 4, 1e-11, device);
  for (uint32_t head = 0; head < hq; head++)
    for (uint32_t j = s->rank; j < m->values; j++) ck_assert(a->qh[head * m->values + j] == 0);
}

START_TEST(tokens_are_taken) {
  const struct plane *s = &planes[_i / 2];
  bool maps = _i % 2;
  uint32_t share = maps && s->g % 2 == 0 ? 2 : 1;
  struct maps m = maps_of(s, s->page0 + s->page);
  for (size_t i = 0; i < harness_count(); i++) {
    struct taken a = take_tokens(i, &m, share, maps);
    check_rows(&m, &a, share, harness_name(i));
    check_queries(&m, &a, maps, harness_name(i));
    if (!maps) {
      ck_assert_msg(!memcmp(a.px, canary_words(m.plane_bytes), m.plane_bytes), "%s: keys are mapped without maps", harness_name(i));
      continue;
    }
    char *built = map_page(i, &m, a.host), *dense = map_page_dense(i, &m, a.host);
    for (uint32_t h = 0; h < s->hk; h++)
      for (uint32_t t = 0; t < tokens_of(s); t++) {
        check_row(&m, built, h, t, a.host + ((size_t)t * s->hk + h) * 2 * s->d);
        check_row(&m, dense, h, t, a.host + ((size_t)t * s->hk + h) * 2 * s->d);
      }
    for (size_t w = 0; w < m.plane_bytes / 4; w++)       /* neither writes what is no proxy's */
      ck_assert_msg((((uint32_t *)dense)[w] == CANARY) == (((uint32_t *)built)[w] == CANARY), "%s: word %zu of the page", harness_name(i), w);
    ck_assert_msg(!memcmp(built, a.px, m.plane_bytes), "%s: proxies made at once and one by one differ", harness_name(i));
  }
}
END_TEST

/* ---- the mean key's scores */

/* (A, B) of queries q [Hq][d], as token_map makes them. */
static float *pairs_of(const struct maps *m, const float *q) {
  const struct plane *s = m->s;
  float *ab = test_memory((size_t)s->hk * s->g * s->d, 4);
  for (uint32_t head = 0; head < s->hk * s->g; head++)
    for (uint32_t i = 0, k, l; i < s->d / 2; i++) {
      const float *mu = m->map + (size_t)2 * s->hk * s->rank * s->d + (size_t)(head / s->g) * s->d, *x = q + (size_t)head * s->d;
      pair(s, i, &k, &l);
      ab[(size_t)head * s->d + 2 * i] = (float)(0.125 * ((double)x[k] * mu[k] + (double)x[l] * mu[l]));
      ab[(size_t)head * s->d + 2 * i + 1] = (float)(0.125 * ((double)x[l] * mu[k] - (double)x[k] * mu[l]));
    }
  return ab;
}

START_TEST(mean_scores_at_every_position) {
  const struct plane *s = &planes[_i];
  uint32_t n = 1000 + (uint32_t)_i * 37, blocks = ceil_div(n, 512) * 8, hq = s->hk * s->g, fast = 0, lists = s->g > 8 ? hq : s->hk;
  struct maps m = maps_of(s, blocks * 64);
  for (uint32_t p = 0; p < s->d / 2; p++) if (m.theta[p] * 31.5 > 0.25) fast = (p + 2) / 2 * 2;
  const float *q = normals((size_t)hq * s->d, 1);
  double *exact = test_memory((size_t)hq * n, sizeof *exact), *size = test_memory(hq, sizeof *size), mean[256];
  for (uint32_t h = 0; h < s->hk; h++)
    for (uint32_t t = 0; t < n; t++) {
      exact_mean_key(&m, h, t, mean);
      for (uint32_t j = h * s->g; j < (h + 1) * s->g; j++) {
        double *to = exact + (size_t)j * n + t;
        for (uint32_t c = 0; c < s->d; c++) *to += 0.125 * q[j * s->d + c] * mean[c];
        if (t == 0) for (uint32_t c = 0; c < s->d; c++) size[j] += fabs(0.125 * q[j * s->d + c] * mean[c]);
      }
    }
  for (size_t i = 0; i < harness_count(); i++) {
    struct bench b = { .dev = harness_device(i) };
    size_t coef_bytes = (size_t)hq * blocks * (fast / 2 + 1) * 16, out_bytes = (size_t)hq * blocks * 64 * 4;
    struct view turn = bench_put(&b, m.turn, m.turn_bytes), coef = bench_put(&b, canary_words(coef_bytes), coef_bytes);
    struct view out = bench_put(&b, canary_words(out_bytes), out_bytes), ab = bench_put(&b, pairs_of(&m, q), (size_t)hq * s->d * 4);
    struct mean_coef_params a = { .d4 = s->d / 4, .blocks = blocks, .fast2 = fast / 2, .from = fast / 2 };
    uint32_t tb = 1 + (uint32_t)_i % 2;
    const struct kernel *k = bench_kernel(&b, KERNEL_MEAN_COEF, SPEC(8, s->g, tb, _i % 3 ? 4 : 1));
    DISPATCH(b.dev, k, ceil_div(ceil_div(n, 64), 8 * tb), s->hk, 1, &a, ab, turn, coef);
    struct mean_score_params p = { .blocks = blocks, .fast2 = fast / 2 };
    DISPATCH(b.dev, bench_kernel(&b, KERNEL_MEAN_SCORE, SPEC(8, hq / lists)), ceil_div(ceil_div(n, 64), 8), lists, 8, &p, coef, turn, out);
    float *got = bench_take(&b, out);
    for (uint32_t j = 0; j < hq; j++)
      for (uint32_t t = 0; t < n; t++) {
        double x = got[(size_t)j * blocks * 64 + t], want = exact[(size_t)j * n + t];
        if (!(fabs(x - want) <= 2.5e-4 * size[j])) ck_abort_msg("%s: head %u position %u: %g, expected %g", harness_name(i), j, t, x, want);
      }
    bench_clear(&b);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("kernels_gram");
  TCase *c = tcase_create("gram");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, sums_are_grams, 0, N_HEADS);
  tcase_add_loop_test(c, query_sums_are_grams, 0, N_HEADS);
  tcase_add_loop_test(c, tokens_are_taken, 0, 2 * N_PLANES);
  tcase_add_loop_test(c, mean_scores_at_every_position, 0, N_PLANES);
  suite_add_tcase(suite, c);
  return suite_run(suite, CK_FORK_GETENV);
}
