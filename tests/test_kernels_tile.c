/* The kernels in the form for GPUs (src/device/form.h), on every device against `host`, and `host` against the plain products
 * of the matrices. */
#include "kernel_harness.h"

#include "random_matrix.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "shaders/step.h"

#define LEN(a) (sizeof(a) / sizeof *(a))

static const double EXACT_MATHS = 1e-11;         /* NMSE of fp32 sums of a few hundred products, for which the forms have different orders */

static const double WITH_EXP = 1e-10;            /* lavapipe's exp is good to 1.1e-6 */

/* ---- linear layers */

struct product { struct matrix w; uint32_t m, n, gate, ystr, y0; const float *x; const double *want; };   /* n: columns of y */

static double act(uint32_t gate, double a) {
  return gate == 2 ? 0.5 * a * (1 + tanh(0.7978845608028654 * (a + 0.044715 * a * a * a))) : a / (1 + exp(-a));
}

static struct product random_product(uint32_t type, uint32_t n, uint32_t k, uint32_t m, uint32_t gate) {
  uint32_t cols = gate ? n / 2 : n;
  struct product p = { .w = random_matrix(type, n, k), .m = m, .n = cols, .gate = gate, .ystr = n + 3, .y0 = 2,
                       .x = random_floats((size_t)m * k, -1, 1) };
  double *want = test_memory((size_t)m * cols, sizeof *want);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < cols; j++) {
      double a = 0, up = 0;
      for (size_t e = 0; e < k; e++) {
        a += (double)p.x[i * k + e] * p.w.values[j * k + e];
        if (gate) up += (double)p.x[i * k + e] * p.w.values[(j + cols) * k + e];
      }
      want[i * cols + j] = gate ? act(gate, a) * up : a;
    }
  p.want = want;
  harness_case("%s, m %u, n %u, k %u, gate %u", kernel_info[p.w.t->kernel].id, m, n, k, gate);
  return p;
}

static void check_product(const struct product *p, const float *y) {
  float *packed = test_memory((size_t)p->m * p->n, 4);
  for (size_t r = 0; r < p->m; r++) memcpy(packed + r * p->n, y + r * p->ystr + p->y0, p->n * 4);
  nmse_check(packed, p->want, (size_t)p->m * p->n, p->gate ? WITH_EXP : EXACT_MATHS, "host");
}

/* OpenCL takes seconds to compile one: the products are tested for some types, `dequant` for all. */
static const size_t some[] = { 0, 2, 5, 10 };                    /* of weight_types: F32, BF16, Q4_1, Q3_K */
static const uint32_t products[][2] = { { 1, 1 }, { 31, 3 }, { 65, 5 }, { 161, 600 } };   /* n, k/unit: the last, values */

static uint32_t product_k(size_t format, size_t shape) {
  uint32_t unit = weight_types[format].unit, k = products[shape][1];
  return k > 100 ? k / unit * unit : k * unit;
}

static void matvec_case(uint32_t type, uint32_t n, uint32_t k, uint32_t m, uint32_t gate) {
  struct product a = random_product(type, n, k, m, gate);
  uint64_t y_bytes = (uint64_t)a.m * a.ystr * 4;
  float *y = test_memory(y_bytes, HARNESS_DEVICES);
  struct matvec_tile_params p = { .n = n, .k = k, .ystr = a.ystr, .y0 = a.y0 };
  HARNESS_RUN(KERNEL_MATVEC_TILE, SPEC(256, 16, type, gate), GROUPS(ceil_div(n, 16), m, 1), &p, IN(a.x, (uint64_t)m * k * 4),
              IN(a.w.q, a.w.q_bytes), OUT(ARG_NMSE, y_bytes, gate ? WITH_EXP : EXACT_MATHS, y), IN(a.w.scale, a.w.scale_bytes));
  check_product(&a, y);
}

static void matmul_case(uint32_t type, uint32_t n, uint32_t k, uint32_t m, uint32_t gate) {
  struct product a = random_product(type, n, k, m, gate);
  uint64_t y_bytes = (uint64_t)a.m * a.ystr * 4;
  float *y = test_memory(y_bytes, HARNESS_DEVICES);
  struct matmul_tile_params p = { .m = m, .n = n, .k = k, .ystr = a.ystr, .y0 = a.y0 };
  HARNESS_RUN(KERNEL_MATMUL_TILE, SPEC(64, 8, 8, type, gate), GROUPS(ceil_div(n, 64), ceil_div(m, 64), 1), &p, IN(a.x, (uint64_t)m * k * 4),
              IN(a.w.q, a.w.q_bytes), OUT(ARG_NMSE, y_bytes, gate ? WITH_EXP : EXACT_MATHS, y), IN(a.w.scale, a.w.scale_bytes));
  check_product(&a, y);
}

START_TEST(matvec) {
  static const uint32_t counts[] = { 1, 2, 7 };
  size_t format = some[(size_t)_i / LEN(products)], shape = (size_t)_i % LEN(products);
  uint32_t n = test_size(products[shape][0], 67);
  for (size_t i = 0; i < LEN(counts); i++) matvec_case(weight_types[format].type, n, product_k(format, shape), counts[i], 0);
}
END_TEST

START_TEST(matmul) {
  static const uint32_t counts[] = { 8, 65 };
  size_t format = some[(size_t)_i / LEN(products)], shape = (size_t)_i % LEN(products);
  uint32_t n = test_size(products[shape][0], 67), unit = weight_types[format].unit;
  uint32_t k = test_size(product_k(format, shape), unit < 64 ? 64 + unit : 2 * unit);
  for (size_t i = 0; i < LEN(counts); i++) matmul_case(weight_types[format].type, n, k, counts[i], 0);
}
END_TEST

/* With the gate of the feed-forward layer, one weight type: it does not matter how weights are unpacked. */
START_TEST(gate) {
  static const uint32_t widths[] = { 2, 62, 64, 66, 322 };
  uint32_t n = widths[(size_t)_i / 2], which = 1 + (uint32_t)_i % 2;
  for (uint32_t m = 1; m <= 7; m += 6) matvec_case(3, n, 160, m, which);
  for (uint32_t m = 8; m <= 65; m += 57) matmul_case(3, n, 160, m, which);
}
END_TEST

START_TEST(dequant) {
  const struct weight_type *type = &weight_types[_i];
  struct matrix w = random_matrix(type->type, 70, 3 * type->unit);
  static const uint32_t ranges[][2] = { { 0, 70 }, { 5, 64 }, { 69, 1 } };
  for (size_t i = 0; i < LEN(ranges); i++) {
    uint32_t row0 = ranges[i][0], rows = ranges[i][1];
    uint64_t bytes = (uint64_t)rows * w.k * 4;
    float *y = test_memory(bytes, HARNESS_DEVICES);
    harness_case("%s, rows %u + %u", kernel_info[w.t->kernel].id, row0, rows);
    struct dequant_params p = { .n = w.n, .k = w.k, .row0 = row0, .rows = rows };
    HARNESS_RUN(KERNEL_DEQUANT, SPEC(64, w.t->type), GROUPS(ceil_div(rows, 64), ceil_div(w.k, 16), 1), &p, IN(w.q, w.q_bytes),
                IN(w.scale, w.scale_bytes), OUT(ARG_NMSE, bytes, EXACT_MATHS, y));
    for (uint32_t e = 0; e < w.k; e++)
      for (uint32_t r = 0; r < rows; r++) {
        float want = w.values[(size_t)(row0 + r) * w.k + e], got = y[(size_t)e * rows + r];
        ck_assert_msg(fabsf(got - want) <= 1e-6f * fabsf(want) + 1e-8f, "row %u, k %u: %g, want %g", r, e, got, want);
      }
  }
}
END_TEST

/* CLBlast's on a device that has it. */
static const struct gemm { uint32_t m, n, k, batch; bool ta, tb, add; } gemms[] = {
  { 1, 1, 1, 1, false, false, false }, { 8, 65, 33, 1, false, false, false }, { 64, 130, 96, 1, false, false, true },
  { 32, 32, 41, 3, true, false, false }, { 64, 64, 33, 2, true, false, true }, { 45, 12, 64, 3, false, true, false },
};

/* Element (row, i) of matrix l of a batch, stored by columns or rows, str floats apart. */
static double element(const float *x, uint32_t x0, uint32_t ld, uint32_t str, bool transposed, uint32_t l, uint32_t row, uint32_t i) {
  return x[x0 + (size_t)l * str + (transposed ? (size_t)i * ld + row : (size_t)row * ld + i)];
}

START_TEST(gemm) {
  const struct gemm *s = &gemms[_i];
  struct gemm_params p = { .m = s->m, .n = s->n, .k = s->k, .lda = (s->ta ? s->m : s->k) + 2, .ldb = (s->tb ? s->k : s->n) + 1, .ldc = s->n + 3,
                           .a0 = 3, .b0 = 2, .c0 = 5, .batch = s->batch, .ta = s->ta, .tb = s->tb, .add = s->add };
  p.astr = p.lda * (s->ta ? s->k : s->m), p.bstr = p.ldb * (s->tb ? s->n : s->k), p.cstr = p.ldc * s->m + 1;
  uint64_t a_words = p.a0 + (uint64_t)p.astr * s->batch, b_words = p.b0 + (uint64_t)p.bstr * s->batch, c_words = p.c0 + (uint64_t)p.cstr * s->batch;
  float *a = random_floats(a_words, -1, 1), *b = random_floats(b_words, -1, 1), *before = random_floats(c_words, -1, 1);
  float *y = test_memory(c_words * 4, HARNESS_DEVICES);
  harness_case("m %u, n %u, k %u, batch %u, ta %d, tb %d, add %d", s->m, s->n, s->k, s->batch, s->ta, s->tb, s->add);
  HARNESS_RUN(KERNEL_GEMM, SPEC(64), GROUPS(ceil_div(s->n, 64), s->m, s->batch), &p, IN(a, a_words * 4), IN(b, b_words * 4),
              INOUT(ARG_NMSE, before, c_words * 4, EXACT_MATHS, y));
  for (uint32_t l = 0; l < s->batch; l++)
    for (uint32_t i = 0; i < s->m; i++)
      for (uint32_t j = 0; j < s->n; j++) {
        size_t at = p.c0 + (size_t)l * p.cstr + (size_t)i * p.ldc + j;
        double want = s->add ? before[at] : 0;
        for (uint32_t e = 0; e < s->k; e++)
          want += element(a, p.a0, p.lda, p.astr, s->ta, l, i, e) * element(b, p.b0, p.ldb, p.bstr, !s->tb, l, j, e);
        ck_assert_msg(fabs(y[at] - want) <= 1e-5, "%u: %u, %u: %g, want %g", l, i, j, y[at], want);
      }
}
END_TEST

/* ---- decode attention */

struct decode { uint32_t lists, share, g, d, rows, view, n0, shares, window; bool active; float cap; };   /* rows of which n0 lie before the view */

/* Row t of a KV head, K then V. */
static const uint16_t *kv_row(const struct decode *c, const uint16_t *kv, uint32_t head, uint32_t t) {
  uint32_t hk = c->lists / c->share;
  return kv + (size_t)(c->active ? head * c->view + t : t * hk + head) * c->d * 2;
}

/* The share's sum of exps and values of one query head, with maximum `most`. */
static void attend(const struct decode *c, const float *q, const uint16_t *kv, uint32_t head, uint32_t begin, uint32_t end, uint32_t pos,
                   double most, double *sum, double *o) {
  *sum = 0;
  for (uint32_t e = 0; e < c->d; e++) o[e] = 0;
  for (uint32_t t = begin; t < end; t++) {
    const uint16_t *row = kv_row(c, kv, head, t);
    double s = 0;
    for (uint32_t e = 0; e < c->d; e++) s += (double)q[e] * half_to_float(row[e]);
    s /= 8;
    if (c->cap > 0) s = c->cap * tanh(s / c->cap);
    if (c->window && (pos % c->rows + c->rows - (c->n0 + t)) % c->rows >= c->window) continue;
    double w = exp(s - most);
    *sum += w;
    for (uint32_t e = 0; e < c->d; e++) o[e] += w * half_to_float(row[c->d + e]);
  }
}

static void decode_case(const struct decode *c, uint32_t tile_rows) {
  uint32_t hk = c->lists / c->share, heads = c->lists * c->g, n = c->rows - c->n0, pos = c->rows / 2;
  uint32_t per = ceil_div(ceil_div(c->view, c->shares), 4) * 4;
  size_t kv_bytes = (size_t)c->view * hk * c->d * 4, o_bytes = (size_t)heads * c->shares * c->d * 4, ml_bytes = (size_t)heads * c->shares * 8;
  uint16_t *kv = canary_words(kv_bytes);                     /* rows that are not attended stay NaNs */
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t h = 0; h < hk; h++) memcpy((void *)(uintptr_t)kv_row(c, kv, h, t), random_halves(c->d * 2, -2, 2), c->d * 4);
  float *q = random_floats((size_t)heads * c->d, -2, 2), *o = test_memory(o_bytes, HARNESS_DEVICES), *ml = test_memory(ml_bytes, HARNESS_DEVICES);
  uint32_t step[STEP_WORDS] = { [STEP_ROWS] = c->rows, [STEP_POS] = pos };
  struct attn_decode_tile_params p = { .n_at = STEP_ROWS, .n0 = c->n0, .nmax = c->view, .kstr = c->active ? c->d / 4 : hk * c->d / 4,
                                       .hstr = c->active ? c->view * c->d / 4 : c->d / 4, .share = c->share, .per = per, .shares = c->shares,
                                       .scale = 0.125f, .cap = c->cap, .window = c->window, .ring = c->rows };
  harness_case("lists %u, share %u, g %u, d %u, rows %u of %u, shares %u, window %u, active %d", c->lists, c->share, c->g, c->d, c->rows, c->view,
               c->shares, c->window, c->active);
  HARNESS_RUN(KERNEL_ATTN_DECODE_TILE, SPEC(128, c->g, c->d / 8, tile_rows), GROUPS(c->shares, c->lists, 1), &p, IN(q, (uint64_t)heads * c->d * 4),
              IN(kv, kv_bytes), OUT(ARG_NMSE, o_bytes, WITH_EXP, o), OUT(ARG_NMSE, ml_bytes, WITH_EXP, ml), IN(step, sizeof step));
  for (uint32_t i = 0; i < heads; i++)
    for (uint32_t j = 0; j < c->shares; j++) {
      double want[512], sum;
      size_t at = (size_t)i * c->shares + j;
      uint32_t begin = j * per < n ? j * per : n, end = (j + 1) * per < n ? (j + 1) * per : n;
      attend(c, q + (size_t)i * c->d, kv, i / c->g / c->share, begin, end, pos, ml[at * 2], &sum, want);
      if (begin < end && sum == 0) continue;                 /* all of them are too old: merged, they do not count */
      for (uint32_t e = 0; e < c->d && c->shares == 1 && sum > 0; e++) want[e] /= sum;
      ck_assert_msg(fabs(ml[at * 2 + 1] - sum) <= 1e-5 * sum, "head %u, share %u: sum %g, want %g", i, j, ml[at * 2 + 1], sum);
      for (uint32_t e = 0; e < c->d; e++)
        ck_assert_msg(fabs(o[at * c->d + e] - want[e]) <= 2e-5 * (sum + 1), "head %u, share %u: %g, want %g", i, j, o[at * c->d + e], want[e]);
    }
}

START_TEST(decode) {
  static const struct decode cases[] = {
    { 1, 1, 3, 64, 1, 4, 0, 1, 0, false, 0 },      { 3, 1, 3, 64, 33, 64, 0, 1, 0, false, 0 },  { 3, 1, 3, 64, 320, 320, 0, 4, 0, true, 0 },
    { 2, 1, 3, 64, 131, 64, 100, 2, 0, false, 3 }, { 8, 1, 4, 128, 100, 128, 0, 1, 0, true, 0 }, { 4, 2, 4, 128, 70, 96, 0, 3, 17, false, 0 },
    { 2, 1, 3, 64, 30, 64, 30, 2, 0, true, 0 },
  };
  decode_case(&cases[_i], 32);
}
END_TEST

START_TEST(decode_odd_shapes) {
  decode_case(&(struct decode){ 3, 3, 8, 80, 45, 64, 0, 1, 0, false, 0 }, 16);
  decode_case(&(struct decode){ 1, 1, 2, 512, 19, 32, 0, 1, 5, false, 0 }, 4);
}
END_TEST

/* ---- prefill attention: one tile of keys, the other shares are left alone */

struct prefill { uint32_t queries, hk, g, d, n, window; int32_t pos0; uint32_t rows, keys; float cap; };

static void check_row(const struct prefill *c, const float *q, const uint16_t *kv, uint32_t h, uint32_t i, const float *o, const float *ml) {
  double want[512] = { 0 }, sum = 0;
  for (uint32_t t = 0; t < c->n; t++) {
    const uint16_t *row = kv + ((size_t)t * c->hk + h) * c->d * 2;
    int32_t newest = c->pos0 + (int32_t)(i / c->g);
    double s = 0;
    if ((int32_t)t > newest || (c->window && (int32_t)(t + c->window) <= newest)) continue;
    for (uint32_t e = 0; e < c->d; e++) s += (double)q[e] * half_to_float(row[e]);
    s /= 8;
    if (c->cap > 0) s = c->cap * tanh(s / c->cap);
    double w = exp(s - ml[0]);
    sum += w;
    for (uint32_t e = 0; e < c->d; e++) want[e] += w * half_to_float(row[c->d + e]);
  }
  ck_assert_msg(fabs(ml[1] - sum) <= 1e-5 * sum, "head %u, row %u: sum %g, want %g", h, i, ml[1], sum);
  for (uint32_t e = 0; e < c->d; e++) ck_assert_msg(fabs(o[e] - want[e]) <= 2e-5 * (sum + 1), "head %u, row %u: %g, want %g", h, i, o[e], want[e]);
}

START_TEST(prefill) {
  static const struct prefill cases[] = {
    { 1, 1, 3, 64, 1, 0, 0, 32, 32, 0 },   { 9, 3, 3, 64, 33, 0, 24, 32, 32, 0 },  { 40, 1, 3, 64, 40, 0, 0, 32, 32, 4 },
    { 21, 2, 3, 64, 70, 17, 60, 32, 32, 0 }, { 30, 1, 3, 64, 20, 0, -10, 32, 32, 0 }, { 5, 2, 4, 80, 45, 9, 43, 32, 32, 0 },
    { 11, 1, 2, 512, 19, 0, 8, 16, 8, 0 },
  };
  enum { SHARES = 3, SHARE = 1 };
  const struct prefill *c = &cases[_i];
  uint32_t m = c->queries * c->g, rows = c->hk * m;
  size_t kv_bytes = (size_t)c->n * c->hk * c->d * 4, o_bytes = (size_t)rows * SHARES * c->d * 4, ml_bytes = (size_t)rows * SHARES * 8;
  float *q = random_floats((size_t)rows * c->d, -2, 2), *o = test_memory(o_bytes, HARNESS_DEVICES), *ml = test_memory(ml_bytes, HARNESS_DEVICES);
  const uint16_t *kv = random_halves(kv_bytes / 2, -2, 2);
  struct attn_prefill_tile_params p = { .m = m, .n = c->n, .kstr = c->hk * c->d / 4, .hstr = c->d / 4, .g = c->g, .pos0 = c->pos0, .shares = SHARES,
                                        .share = SHARE, .scale = 0.125f, .cap = c->cap, .window = c->window };
  harness_case("queries %u, hk %u, g %u, d %u, keys %u, window %u, pos0 %d", c->queries, c->hk, c->g, c->d, c->n, c->window, c->pos0);
  HARNESS_RUN(KERNEL_ATTN_PREFILL_TILE, SPEC(128, c->d / 8, c->rows, c->keys), GROUPS(ceil_div(m, c->rows), c->hk, 1), &p,
              IN(q, (uint64_t)rows * c->d * 4), IN(kv, kv_bytes), OUT(ARG_NMSE, o_bytes, WITH_EXP, o), OUT(ARG_NMSE, ml_bytes, WITH_EXP, ml));
  for (uint32_t h = 0; h < c->hk; h++)
    for (uint32_t i = 0; i < m; i++) {
      size_t row = (size_t)h * m + i, at = row * SHARES + SHARE;
      check_row(c, q + row * c->d, kv, h, i, o + at * c->d, ml + at * 2);
    }
}
END_TEST

static TCase *add_case(Suite *s, const char *name) {
  TCase *c = tcase_create(name);
  tcase_set_timeout(c, 600);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  suite_add_tcase(s, c);
  return c;
}

int main(void) {
  Suite *s = suite_create("kernels_tile");
  TCase *c = add_case(s, "linear");
  tcase_add_loop_test(c, matvec, 0, (int)(LEN(some) * LEN(products)));
  tcase_add_loop_test(c, matmul, 0, (int)(LEN(some) * LEN(products)));
  tcase_add_loop_test(c, gate, 0, 10);
  tcase_add_loop_test(c, dequant, 0, N_WEIGHT_TYPES);
  tcase_add_loop_test(c, gemm, 0, (int)LEN(gemms));
  c = add_case(s, "attention");
  tcase_add_loop_test(c, decode, 0, 7);
  tcase_add_test(c, decode_odd_shapes);
  tcase_add_loop_test(c, prefill, 0, 7);
  return suite_run(s, CK_NOFORK);
}
