/* The kernels of the forward pass: each on every device against `host` over sweeps of shapes, and `host` against plain
 * double-precision references written here, which know the model's arrays but not the kernels' layouts. */
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "random_matrix.h"
#include "shaders/step.h"

#define LEN(a) (sizeof(a) / sizeof *(a))

static const double EXACT_MATHS = 1e-12;         /* NMSE of fp32 sums of a few hundred products */
static const double WITH_EXP = 1e-11;            /* lavapipe's exp is good to 1.1e-6 */
static const double WITH_GATE = 1e-10;           /* exp of a sum: its error grows with the sum */


/* ---- elementwise */

START_TEST(elementwise) {
  static const uint32_t sizes[] = { 1, 63, 64, 65, 1000 };
  for (size_t i = 0; i < LEN(sizes); i++) {
    uint32_t n4 = sizes[i], groups = ceil_div(n4, 64);
    uint64_t bytes = (uint64_t)n4 * 16;
    float *x = random_floats((size_t)n4 * 4, -3, 3), *y = random_floats((size_t)n4 * 4, -3, 3);
    for (uint32_t gy = 1; gy <= 3; gy += 2) {    /* 3: the lanes of one row of workgroups are not enough */
      harness_case("n4 %u, %u rows of workgroups", n4, gy);
      struct add_params p = { .n4 = n4 };
      HARNESS_RUN(KERNEL_ADD, SPEC(64), GROUPS(ceil_div(groups, gy), gy, 1), &p, IN(x, bytes), IN(y, bytes),
                  OUT(ARG_BITS, bytes, 0, NULL));
    }
  }
}
END_TEST

START_TEST(gate_mul) {
  static const uint32_t shapes[][2] = { { 1, 1 }, { 1, 5 }, { 3, 16 }, { 7, 65 }, { 64, 384 } };
  for (size_t i = 0; i < LEN(shapes); i++) {
    uint32_t rows = shapes[i][0], ff = shapes[i][1] * 4, n4 = rows * ff / 4;
    float *gu = random_floats((size_t)rows * 2 * ff, -20, 20), *y = test_memory((size_t)n4 * 4 * HARNESS_DEVICES, 4);
    double *want = test_memory((size_t)n4 * 4, sizeof *want);
    gu[0] = -200;                                /* exp overflows: the limit is 0 */
    gu[1] = 200;
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < ff; c++) {
        double gate = gu[r * 2 * ff + c], up = gu[r * 2 * ff + ff + c];
        want[r * ff + c] = gate / (1 + exp(-gate)) * up;
      }
    for (uint32_t gy = 1; gy <= 3; gy += 2) {
      harness_case("rows %u, ff %u, %u rows of workgroups", rows, ff, gy);
      struct gate_mul_params p = { .n4 = n4, .ff4 = ff / 4 };
      HARNESS_RUN(KERNEL_SILU_MUL, SPEC(64), GROUPS(ceil_div(ceil_div(n4, 64), gy), gy, 1), &p,
                  IN(gu, (uint64_t)rows * ff * 8), OUT(ARG_NMSE, (uint64_t)n4 * 16, WITH_EXP, y));
      nmse_check(y, want, (size_t)n4 * 4, EXACT_MATHS, "host gate_mul");
    }
  }
}
END_TEST

/* ---- what some architectures have beside */

START_TEST(gelu_mul) {
  uint32_t rows = 3, ff = 260, n4 = rows * ff / 4;
  float *gu = random_floats((size_t)rows * 2 * ff, -6, 6), *y = test_memory((size_t)n4 * 4 * HARNESS_DEVICES, 4);
  double *want = test_memory((size_t)n4 * 4, sizeof *want);
  gu[0] = -200;
  gu[1] = 200;
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t c = 0; c < ff; c++) {
      double g = gu[r * 2 * ff + c], up = gu[r * 2 * ff + ff + c];
      want[r * ff + c] = 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))) * up;
    }
  harness_case("gelu");
  struct gate_mul_params p = { .n4 = n4, .ff4 = ff / 4 };
  HARNESS_RUN(KERNEL_GELU_MUL, SPEC(64), GROUPS(ceil_div(n4, 64), 1, 1), &p, IN(gu, (uint64_t)rows * ff * 8),
              OUT(ARG_NMSE, (uint64_t)n4 * 16, WITH_EXP, y));
  nmse_check(y, want, (size_t)n4 * 4, EXACT_MATHS, "host gelu");
}
END_TEST

START_TEST(add_row) {
  uint32_t rows = 7, row4 = 33, n4 = rows * row4;
  float *x = random_floats((size_t)n4 * 4, -9, 9), *b = random_floats(row4 * 4, -9, 9), *z = test_memory((size_t)n4 * 4 * HARNESS_DEVICES, 4);
  harness_case("add_row");
  struct add_row_params p = { .n4 = n4, .row4 = row4 };
  HARNESS_RUN(KERNEL_ADD_ROW, SPEC(64), GROUPS(2, 2, 1), &p, IN(x, (uint64_t)n4 * 16), IN(b, (uint64_t)row4 * 16),
              OUT(ARG_BITS, (uint64_t)n4 * 16, 0, z));
  for (uint32_t i = 0; i < n4 * 4; i++) ck_assert(z[i] == x[i] + b[i % (row4 * 4)]);
}
END_TEST

START_TEST(soft_cap) {
  uint32_t n = 301;
  float *x = random_floats(n, -200, 200), *y = test_memory((size_t)n * HARNESS_DEVICES, 4);
  double *want = test_memory(n, sizeof *want);
  x[0] = 1e30f, x[1] = -1e30f, x[2] = 0;
  for (uint32_t i = 0; i < n; i++) want[i] = 30 * tanh(x[i] / 30.0);
  harness_case("soft_cap");
  struct soft_cap_params p = { .n = n, .cap = 30 };
  HARNESS_RUN(KERNEL_SOFT_CAP, SPEC(64), GROUPS(3, 2, 1), &p, IN(x, n * 4), OUT(ARG_NMSE, n * 4, WITH_EXP, y));
  nmse_check(y, want, n, EXACT_MATHS, "host soft_cap");
}
END_TEST

START_TEST(head_norm) {
  static const uint32_t shapes[][4] = {   /* rows, nq, hk, d */
    { 1, 1, 1, 8 }, { 9, 6, 2, 64 }, { 5, 8, 1, 128 }, { 64, 3, 3, 24 }, { 2, 2, 1, 512 },
  };
  for (size_t s = 0; s < LEN(shapes); s++) {
    uint32_t rows = shapes[s][0], nq = shapes[s][1], hk = shapes[s][2], d = shapes[s][3], heads = nq + 2 * hk;
    size_t n = (size_t)rows * heads * d;
    float *x = random_floats(n, -3, 3), *w = random_floats(2 * d, 0.5f, 2), *y = test_memory(n * HARNESS_DEVICES, 4);
    double *want = test_memory(n, sizeof *want);
    for (size_t i = 0; i < n / d; i++) {
      double squares = 0;
      size_t of = i % heads < nq ? 0 : d;
      for (uint32_t e = 0; e < d; e++) squares += (double)x[i * d + e] * x[i * d + e];
      for (uint32_t e = 0; e < d; e++)
        want[i * d + e] = i % heads < nq + hk ? x[i * d + e] / sqrt(squares / d + 1e-5) * w[of + e] : x[i * d + e];
    }
    harness_case("rows %u, nq %u, hk %u, d %u", rows, nq, hk, d);
    struct head_norm_params p = { .rows = rows, .nq = nq, .hk = hk, .d4 = d / 4, .eps = 1e-5f };
    HARNESS_RUN(KERNEL_HEAD_NORM, SPEC(8), GROUPS(ceil_div(rows * heads, 8), 1, 1), &p, IN(x, n * 4), IN(w, (uint64_t)d * 8),
                OUT(ARG_NMSE, n * 4, EXACT_MATHS, y));
    nmse_check(y, want, n, EXACT_MATHS, "host head_norm");
    struct head_norm_tile_params t = { .rows = rows, .nq = nq, .hk = hk, .d4 = d / 4, .eps = 1e-5f };
    uint32_t groups = ceil_div(rows * heads, 128 / t.d4), gy = s % 2 ? 3 : 1;
    HARNESS_RUN(KERNEL_HEAD_NORM_TILE, SPEC(128), GROUPS(ceil_div(groups, gy), gy, 1), &t, IN(x, n * 4), IN(w, (uint64_t)d * 8),
                OUT(ARG_NMSE, n * 4, EXACT_MATHS, y));
    nmse_check(y, want, n, EXACT_MATHS, "host head_norm_tile");
  }
}
END_TEST

/* ---- norm */

START_TEST(rms_norm) {
  static const uint32_t row_counts[] = { 1, 7, 8, 9, 64 }, lengths[] = { 4, 12, 576, 2048 };
  for (size_t i = 0; i < LEN(row_counts) * LEN(lengths) * 2; i++) {
    uint32_t rows = test_size(row_counts[i / 2 % LEN(row_counts)], 17), n = test_size(lengths[i / 2 / LEN(row_counts)], 580), add = i % 2;
    size_t count = (size_t)rows * n;
    float size = i % 3 ? 1 : 1e-3f;              /* 1e-3: eps counts */
    float *x = random_floats(count, -2 * size, 5 * size), *delta = random_floats(count, -size, size), *w = random_floats(n, 0.5f, 1.5f);
    float *y = test_memory(count * HARNESS_DEVICES, 4);
    double *want = test_memory(count, sizeof *want);
    struct rms_norm_params p = { .rows = rows, .n4 = n / 4, .eps = 1e-5f };
    for (size_t r = 0; r < rows; r++) {
      double squares = 0;
      for (size_t c = 0; c < n; c++) {
        want[r * n + c] = (double)x[r * n + c] + (add ? delta[r * n + c] : 0);
        squares += want[r * n + c] * want[r * n + c];
      }
      for (size_t c = 0; c < n; c++) want[r * n + c] *= w[c] / sqrt(squares / n + 1e-5);
    }
    struct rms_norm_tile_params t = { .n4 = n / 4, .eps = 1e-5f };
    uint32_t lanes = i % 4 < 2 ? 256 : 64, own = ceil_div(n / 4, lanes);
    harness_case("rows %u, n %u, add %u", rows, n, add);
    if (add)
      HARNESS_RUN(KERNEL_RMS_NORM_ADD_TILE, SPEC(lanes, own), GROUPS(rows, 1, 1), &t, IN(x, count * 4), IN(w, n * 4),
                  OUT(ARG_NMSE, count * 4, EXACT_MATHS, y), IN(delta, count * 4), OUT(ARG_BITS, count * 4, 0, NULL));
    else
      HARNESS_RUN(KERNEL_RMS_NORM_TILE, SPEC(lanes, own), GROUPS(rows, 1, 1), &t, IN(x, count * 4), IN(w, n * 4),
                  OUT(ARG_NMSE, count * 4, EXACT_MATHS, y));
    nmse_check(y, want, count, EXACT_MATHS, "host rms_norm_tile");
    if (add)
      HARNESS_RUN(KERNEL_RMS_NORM_ADD, SPEC(8), GROUPS(ceil_div(rows, 8), 1, 1), &p, IN(x, count * 4), IN(w, n * 4),
                  OUT(ARG_NMSE, count * 4, EXACT_MATHS, y), IN(delta, count * 4), OUT(ARG_BITS, count * 4, 0, NULL));
    else
      HARNESS_RUN(KERNEL_RMS_NORM, SPEC(8), GROUPS(ceil_div(rows, 8), 1, 1), &p, IN(x, count * 4), IN(w, n * 4),
                  OUT(ARG_NMSE, count * 4, EXACT_MATHS, y));
    nmse_check(y, want, count, EXACT_MATHS, "host rms_norm");
  }
}
END_TEST

/* ---- rotary embedding */

struct rope_shape { uint32_t neox, d, rot, rows, hk, g; int32_t row0; uint32_t pos, use_step; };

/* Inputs that are multiples of 1/64 have exact products and sums, so that K is rounded once and must agree in every bit,
 * whether or not a compiler fuses multiply and add. */
static void rope_inputs(const struct rope_shape *s, bool exact, float *qkv, float *cs) {
  uint32_t heads = s->hk * (s->g + 2);
  for (size_t i = 0; i < (size_t)s->rows * heads * s->d; i++)
    qkv[i] = exact ? (float)((int)random_below(8192) - 4096) / 64.0f : random_float(-4, 4);
  for (uint32_t r = 0; r < s->rows; r++) {
    for (uint32_t pair = 0; pair < s->d / 2; pair++) {
      float *c = cs + r * s->d + 2 * pair;
      double angle = (double)(r + 3) * pow(10000, -2.0 * pair / s->rot);
      bool turns = pair < s->rot / 2;
      c[0] = !turns ? 1 : exact ? (float)((int)random_below(129) - 64) / 64.0f : (float)cos(angle);
      c[1] = !turns ? 0 : exact ? (float)((int)random_below(129) - 64) / 64.0f : (float)sin(angle);
    }
  }
}

/* Coordinate e of a head after rotation. */
static double rotated(const struct rope_shape *s, const float *head, const float *cs, uint32_t e) {
  uint32_t half = s->rot / 2, pair = s->neox ? e % half : e / 2;
  bool first = s->neox ? e < half : e % 2 == 0;
  if (e >= s->rot) return head[e];
  uint32_t a = s->neox ? pair : 2 * pair, b = s->neox ? pair + half : 2 * pair + 1;
  double c = cs[2 * pair], sn = cs[2 * pair + 1];
  return first ? head[a] * c - head[b] * sn : head[b] * c + head[a] * sn;
}

static void rope_reference(const struct rope_shape *s, const float *qkv, const float *cs, const float *q, const uint16_t *kv,
                           uint32_t row0) {
  uint32_t heads = s->hk * (s->g + 2), nq = s->hk * s->g;
  double *want = test_memory((size_t)s->rows * nq * s->d, sizeof *want);
  for (uint32_t r = 0; r < s->rows; r++) {
    for (uint32_t a = 0; a < heads; a++) {
      const float *head = qkv + ((size_t)r * heads + a) * s->d, *angles = cs + r * s->d;
      uint32_t h = a < nq ? 0 : (a - nq) % s->hk;
      const uint16_t *row = kv + ((size_t)(row0 + r) * s->hk + h) * 2 * s->d;
      for (uint32_t e = 0; e < s->d; e++) {
        if (a < nq) {
          want[(((size_t)(a / s->g) * s->rows + r) * s->g + a % s->g) * s->d + e] = rotated(s, head, angles, e);
        } else if (a < nq + s->hk) {
          double k = rotated(s, head, angles, e);
          if (!(fabs(half_to_float(row[e]) - k) <= fabs(k) * 0x1p-11 + 1e-7)) ck_abort_msg("K of row %u, head %u, element %u", r, h, e);
        } else if (row[s->d + e] != float_to_half(head[e])) {
          ck_abort_msg("V of row %u, head %u, element %u", r, h, e);
        }
      }
    }
  }
  nmse_check(q, want, (size_t)s->rows * nq * s->d, EXACT_MATHS, "host rope");
}

static void rope_case(const struct rope_shape *s, bool exact) {
  uint32_t heads = s->hk * (s->g + 2), row0 = s->use_step ? (uint32_t)s->row0 + s->pos : (uint32_t)s->row0;
  uint64_t in_bytes = (uint64_t)s->rows * heads * s->d * 4, q_bytes = (uint64_t)s->rows * s->hk * s->g * s->d * 4;
  uint64_t kv_bytes = (uint64_t)(row0 + s->rows + 1) * s->hk * s->d * 4;
  float *qkv = test_memory(in_bytes, 1), *cs = test_memory((size_t)s->rows * s->d, 4), *q = test_memory(q_bytes, HARNESS_DEVICES);
  uint16_t *kv = test_memory(kv_bytes, HARNESS_DEVICES);
  uint32_t step[STEP_WORDS] = { [STEP_POS] = s->pos };
  rope_inputs(s, exact, qkv, cs);
  harness_case("neox %u, d %u, rot %u, rows %u, hk %u, g %u, row0 %d, pos %u, exact %d", s->neox, s->d, s->rot, s->rows, s->hk, s->g,
               s->row0, s->pos, exact);
  struct rope_params p = { .rows = s->rows, .hk = s->hk, .g = s->g, .d8 = s->d / 8, .rot8 = ceil_div(s->rot, 8), .row0 = (uint32_t)s->row0,
                           .use_step = s->use_step };
  uint32_t groups = ceil_div(s->rows * heads * s->d / 8, 64), gy = exact ? 2 : 1;
  HARNESS_RUN(KERNEL_ROPE, SPEC(64, s->neox), GROUPS(ceil_div(groups, gy), gy, 1), &p, IN(qkv, in_bytes),
              IN(cs, (uint64_t)s->rows * s->d * 4), OUT(ARG_NMSE, q_bytes, EXACT_MATHS, q),
              OUT(exact ? ARG_BITS : ARG_HALVES, kv_bytes, 0, kv), IN(step, sizeof step));
  rope_reference(s, qkv, cs, q, kv, row0);
  p.keep0 = 2;
  char *keep = test_memory((in_bytes / s->rows * 2 + in_bytes) * HARNESS_DEVICES, 1);
  HARNESS_RUN(KERNEL_ROPE_KEEP, SPEC(64, s->neox), GROUPS(ceil_div(groups, gy), gy, 1), &p, IN(qkv, in_bytes),
              IN(cs, (uint64_t)s->rows * s->d * 4), OUT(ARG_NMSE, q_bytes, EXACT_MATHS, q),
              OUT(exact ? ARG_BITS : ARG_HALVES, kv_bytes, 0, kv), IN(step, sizeof step), OUT(ARG_BITS, in_bytes / s->rows * 2 + in_bytes, 0, keep));
  ck_assert_int_eq(memcmp(keep + in_bytes / s->rows * 2, qkv, in_bytes), 0);
  rope_reference(s, qkv, cs, q, kv, row0);
}

START_TEST(rope) {
  static const struct rope_shape shapes[] = {
    { 0, 32, 32, 1, 1, 1, 0, 0, 0 },   { 0, 64, 64, 5, 3, 3, 2, 0, 0 },          { 0, 64, 20, 9, 2, 7, 0, 0, 0 },
    { 0, 128, 64, 64, 2, 1, 1, 9, 0 }, { 0, 128, 128, 1, 8, 4, -64, 70, 1 },     { 1, 32, 32, 1, 1, 8, 0, 5, 1 },
    { 1, 64, 64, 64, 3, 3, 0, 0, 0 },  { 1, 64, 16, 7, 2, 4, 3, 0, 0 },          { 1, 96, 48, 8, 2, 1, 0, 0, 0 },
    { 1, 128, 96, 2, 1, 7, 0, 0, 0 },  { 1, 128, 128, 1, 8, 4, -1000, 1003, 1 },
  };
  rope_case(&shapes[_i / 2], _i % 2);
}
END_TEST

/* ---- matmul.  The weights are quantised as in a file and brought into planes by repack_rows (test_model.c has its layouts
 * written down a second time); the references are the file's own dequantisers. */

/* y of every device, [HARNESS_DEVICES][m][ystr], CANARY where nothing is written. */
static float *multiply(const struct matrix *w, const float *x, uint32_t m, uint32_t ystr, uint32_t y0, uint32_t gate) {
  uint32_t tm = m < 8 ? 1 : 8;
  uint64_t y_bytes = (uint64_t)m * ystr * 4;
  float *y = test_memory(y_bytes, HARNESS_DEVICES);
  struct matmul_params p = { .m = m, .n = w->n, .nblk = w->k / w->t->block, .ystr = ystr, .y0 = y0 };
  harness_case("%s, m %u, n %u, k %u, gate %u", kernel_info[w->t->kernel].id, m, w->n, w->k, gate);
  HARNESS_RUN(w->t->kernel, SPEC(8, tm, 4, gate), GROUPS(ceil_div(w->n, 32), ceil_div(m, tm), 1), &p, IN(x, (uint64_t)m * w->k * 4),
              IN(w->q, w->q_bytes), OUT(ARG_NMSE, y_bytes, gate ? WITH_GATE : EXACT_MATHS, y), IN(w->scale, w->scale_bytes));
  return y;
}

static void matmul_case(uint32_t type, uint32_t n, uint32_t k) {
  const uint32_t most = test_size(64, 17), counts[] = { most, 1, 2, 7, 8, 9 };
  struct matrix w = random_matrix(type, n, k);
  uint32_t ystr = n + 3, y0 = 2;
  float *x = random_floats((size_t)64 * k, -1, 1);
  double *want = test_memory((size_t)64 * n, sizeof *want);
  for (size_t i = 0; i < 64; i++)
    for (size_t j = 0; j < n; j++)
      for (size_t e = 0; e < k; e++) want[i * n + j] += (double)x[i * k + e] * w.values[j * k + e];
  float *all = NULL;
  for (size_t i = 0; i < LEN(counts); i++) {
    uint32_t m = counts[i];
    float *y = multiply(&w, x, m, ystr, y0, 0), *packed = test_memory((size_t)m * n, 4);
    for (size_t r = 0; r < m; r++) memcpy(packed + r * n, y + r * ystr + y0, n * 4);
    nmse_check(packed, want, (size_t)m * n, EXACT_MATHS, "host matmul");
    if (!all) all = y;
    for (size_t d = 0; d < harness_count(); d++)             /* a row does not depend on how many there are */
      ck_assert_msg(!memcmp(y + d * m * ystr, all + d * most * ystr, (size_t)m * ystr * 4), "m %u against %u on %s: other bits", m,
                    most, harness_name(d));
  }
}

static const uint32_t products[][2] = { { 1, 1 }, { 31, 3 }, { 32, 2 }, { 33, 5 }, { 161, 600 } };   /* n, k/unit: the last, values */

START_TEST(matmul) {
  size_t format = (size_t)_i / LEN(products), shape = (size_t)_i % LEN(products);
  uint32_t unit = weight_types[format].unit, k = products[shape][1];
  if (k > 100) k /= unit;
  else if (unit == 256) k = test_size(k, 3);
  matmul_case(weight_types[format].type, test_size(products[shape][0], 33), k * unit);
}
END_TEST

/* The feed-forward layer's gate in the matmul: act(columns 0 .. n/2) * columns n/2 .. n. */
START_TEST(matmul_gate) {
  static const uint32_t shapes[][2] = { { 2, 1 }, { 62, 3 }, { 64, 2 }, { 322, 5 } }, counts[] = { 1, 9, 64 };   /* n, k/unit */
  size_t format = (size_t)_i / LEN(shapes);
  const uint32_t *s = shapes[(size_t)_i % LEN(shapes)], n = s[0], k = s[1] * weight_types[format].unit, half = n / 2, ystr = half + 3, y0 = 2;
  struct matrix w = random_matrix(weight_types[format].type, n, k);
  float *x = random_floats((size_t)64 * k, -1, 1);
  double *want = test_memory((size_t)64 * half, sizeof *want);
  for (uint32_t gate = 1; gate <= 2; gate++) {
    for (size_t i = 0; i < 64; i++)
      for (size_t j = 0; j < half; j++) {
        double a = 0, up = 0;
        for (size_t e = 0; e < k; e++) {
          a += (double)x[i * k + e] * w.values[j * k + e];
          up += (double)x[i * k + e] * w.values[(half + j) * k + e];
        }
        want[i * half + j] = up * (gate == 2 ? 0.5 * a * (1 + tanh(0.7978845608028654 * (a + 0.044715 * a * a * a))) : a / (1 + exp(-a)));
      }
    for (size_t c = 0; c < LEN(counts); c++) {
      uint32_t m = counts[c];
      float *y = multiply(&w, x, m, ystr, y0, gate), *packed = test_memory((size_t)m * half, 4);
      for (size_t r = 0; r < m; r++) memcpy(packed + r * half, y + r * ystr + y0, half * 4);
      nmse_check(packed, want, (size_t)m * half, WITH_GATE, "host matmul with a gate");
    }
  }
}
END_TEST

/* ---- attention, prefill: three kernels on each tile of keys, then the merge, against softmax attention in double */

struct prefill { uint32_t queries, hk, g, d, past, tile, page_row; };   /* query i sees the keys 0 .. past + i */

struct heads { const float *q; const uint16_t *kv; };    /* q [hk][queries][g][d]; kv [t][hk][K d | V d] */

/* What some models do beside: queries see so many of the newest keys, 0: all; scores have a soft cap, 0: none. */
struct extras { uint32_t window; float cap; };

/* want[d] for one query row against keys 0 .. n-1 of a KV head, of which the newest is `newest`; older ones come before it and,
 * in a ring, behind it. */
static void attend(double *want, const float *q, const uint16_t *kv, size_t stride, uint32_t n, uint32_t d, struct extras x, uint32_t newest) {
  double *s = calloc(n, sizeof *s), most = -INFINITY, sum = 0;
  for (uint32_t t = 0; t < n; t++) {
    for (uint32_t e = 0; e < d; e++) s[t] += (double)q[e] * half_to_float(kv[t * stride + e]) / sqrt(d);
    if (x.cap > 0) s[t] = x.cap * tanh(s[t] / x.cap);
    if (x.window && (newest + n - t) % n >= x.window) s[t] = -INFINITY;
    most = fmax(most, s[t]);
  }
  for (uint32_t e = 0; e < d; e++) want[e] = 0;
  for (uint32_t t = 0; t < n; t++) {
    double w = exp(s[t] - most);
    sum += w;
    for (uint32_t e = 0; e < d; e++) want[e] += w * half_to_float(kv[t * stride + d + e]);
  }
  for (uint32_t e = 0; e < d; e++) want[e] /= sum;
  free(s);
}

/* One tile: keys t0 .. t0+n-1 of the text, which lie in a page at page_row, among rows of NaNs. */
static void prefill_tile(const struct prefill *c, const struct heads *in, uint32_t t0, uint32_t n, uint32_t shares, uint32_t share,
                         struct extras x, void *o, void *ml) {
  uint32_t m = c->queries * c->g, rows = c->hk * m, sstr = ceil_div(n, 4) * 4 + 4, row4 = c->d / 4;   /* uint4s of a KV row */
  uint64_t kv_bytes = (uint64_t)(c->page_row + n + 3) * c->hk * c->d * 4, s_bytes = (uint64_t)rows * sstr * 4;
  uint64_t o_bytes = (uint64_t)rows * shares * c->d * 4, ml_bytes = (uint64_t)rows * shares * 8;
  uint8_t *kv = canary_words(kv_bytes);
  size_t text_row = (size_t)c->hk * c->d * 4;
  memcpy(kv + c->page_row * text_row, (const uint8_t *)in->kv + t0 * text_row, n * text_row);
  float *s = test_memory(s_bytes, HARNESS_DEVICES), *pr = test_memory(s_bytes, HARNESS_DEVICES);
  void *o2 = test_memory(o_bytes, HARNESS_DEVICES), *ml2 = test_memory(ml_bytes, HARNESS_DEVICES);
  int32_t pos0 = (int32_t)c->past - (int32_t)t0;

  struct attn_qk_params p1 = { .m = m, .n = n, .t0 = c->page_row, .kstr = c->hk * row4, .hstr = row4, .g = c->g, .pos0 = pos0,
                               .sstr = sstr, .scale = (float)(1 / sqrt(c->d)), .cap = x.cap };
  HARNESS_RUN(KERNEL_ATTN_QK, SPEC(8, 8, 4, c->d / 8, x.cap > 0), GROUPS(ceil_div(n, 32), ceil_div(m, 8), c->hk), &p1,
              IN(in->q, (uint64_t)rows * c->d * 4), IN(kv, kv_bytes), OUT(ARG_NMSE_WRITTEN, s_bytes, EXACT_MATHS, s));
  for (size_t i = 0; i < harness_count() * rows; i++) {      /* columns beyond n and workgroups that see no key are left alone */
    uint32_t block = i % m / 8 * 8, last = (block + 8 < m ? block + 8 : m) - 1;
    for (uint32_t t = 0; t < sstr; t++)
      if ((t >= n || (int32_t)(t / 32 * 32) > pos0 + (int32_t)(last / c->g)) && ((const uint32_t *)s)[i * sstr + t] != CANARY)
        ck_abort_msg("score row %zu: column %u of %u is written", i, t, n);
  }

  struct attn_softmax_params p2 = { .rows = rows, .m = m, .n = n, .sstr = sstr, .g = c->g, .pos0 = pos0, .shares = shares, .share = share,
                                    .window = x.window };
  HARNESS_RUN(KERNEL_ATTN_SOFTMAX, SPEC(8), GROUPS(ceil_div(rows, 8), 1, 1), &p2, IN(s, s_bytes),
              OUT(ARG_NMSE, s_bytes, WITH_EXP, pr), INOUT(ARG_NMSE, ml, ml_bytes, WITH_EXP, ml2));

  struct attn_pv_params p3 = { .m = m, .hk = c->hk, .n = n, .t0 = c->page_row, .kstr = c->hk * row4, .hstr = row4, .sstr = sstr, .g = c->g,
                               .pos0 = pos0, .shares = shares, .share = share };
  HARNESS_RUN(KERNEL_ATTN_PV, SPEC(8, 8, c->d / 8), GROUPS(ceil_div(ceil_div(m, 8) * c->hk * (c->d / 8), 8), 1, 1), &p3,
              IN(pr, s_bytes), IN(kv, kv_bytes), INOUT(ARG_NMSE, o, o_bytes, EXACT_MATHS, o2));
  memcpy(o, o2, o_bytes);
  memcpy(ml, ml2, ml_bytes);
}

static void prefill_case(const struct prefill *shape, struct extras x) {
  struct prefill small = *shape, *c = &small;
  small.queries = test_size(small.queries, 17);
  small.past = test_size(small.past, 70);
  small.tile = test_size(small.tile, 64);
  uint32_t m = c->queries * c->g, rows = c->hk * m, keys = c->past + c->queries, shares = ceil_div(keys, c->tile);
  struct heads in = { random_floats((size_t)rows * c->d, -3, 3), random_halves((size_t)keys * c->hk * c->d * 2, -2, 2) };
  uint64_t o_bytes = (uint64_t)rows * shares * c->d * 4, ml_bytes = (uint64_t)rows * shares * 8, y_bytes = (uint64_t)rows * c->d * 4;
  void *o = canary_words(o_bytes), *ml = canary_words(ml_bytes);
  float *y = test_memory(y_bytes, HARNESS_DEVICES);
  for (uint32_t i = 0; i < shares; i++) {
    uint32_t t0 = i * c->tile, n = keys - t0 < c->tile ? keys - t0 : c->tile;
    harness_case("queries %u, hk %u, g %u, d %u, past %u, tile %u of %u", c->queries, c->hk, c->g, c->d, c->past, i, shares);
    prefill_tile(c, &in, t0, n, shares, i, x, o, ml);
  }
  struct attn_merge_params p = { .m = c->queries, .hk = c->hk, .g = c->g, .d4 = c->d / 4, .shares = shares };
  uint32_t groups = ceil_div(rows * c->d / 4, 64);
  HARNESS_RUN(KERNEL_ATTN_MERGE, SPEC(64), GROUPS(ceil_div(groups, 2), 2, 1), &p, IN(o, o_bytes), IN(ml, ml_bytes),
              OUT(ARG_NMSE, y_bytes, WITH_EXP, y));
  double *want = test_memory((size_t)rows * c->d, sizeof *want);
  for (uint32_t i = 0; i < c->queries; i++)
    for (uint32_t h = 0; h < c->hk; h++)
      for (uint32_t j = 0; j < c->g; j++)
        attend(want + (((size_t)i * c->hk + h) * c->g + j) * c->d, in.q + (((size_t)h * c->queries + i) * c->g + j) * c->d,
               in.kv + (size_t)h * 2 * c->d, (size_t)c->hk * 2 * c->d, c->past + i + 1, c->d, x, c->past + i);
  nmse_check(y, want, (size_t)rows * c->d, EXACT_MATHS, "host attention");
}

static const struct prefill prefills[] = {
  { 1, 1, 1, 32, 0, 64, 0 },    { 1, 2, 3, 64, 100, 64, 0 },   { 2, 3, 3, 64, 0, 64, 5 },     { 7, 1, 4, 128, 30, 16, 2 },
  { 8, 2, 7, 64, 61, 64, 0 },   { 9, 3, 3, 32, 64, 32, 1 },    { 33, 1, 8, 64, 0, 8, 0 },     { 64, 2, 1, 128, 3, 37, 0 },
  { 64, 3, 3, 64, 500, 256, 0 }, { 31, 1, 8, 128, 1, 5, 3 },   { 5, 2, 7, 32, 2050, 2048, 0 }, { 65, 1, 4, 64, 0, 1, 0 },
};

START_TEST(attention_prefill) { prefill_case(&prefills[_i], (struct extras){ 0, 0 }); }
END_TEST

START_TEST(attention_prefill_windows) {
  static const uint32_t windows[] = { 1, 2, 7, 30, 64, 511 };
  prefill_case(&prefills[_i], (struct extras){ windows[_i % LEN(windows)], _i % 2 ? 3.0f : 0 });
}
END_TEST

/* ---- attention, decode */

struct decode {
  uint32_t lists, share, g, d, rows, pages, page;        /* rows attended over pages of `page` rows */
  uint32_t page_shares;                                  /* shares of a page */
  bool active;                                           /* rows as [list][slot], else [t][KV head] */
};

struct decode_in { const float *q; uint8_t *kv; size_t kv_bytes; uint32_t kstr, hstr, sstr; };

/* Pages lie one behind the other in kv: page i begins at its row i * page. */
static void decode_page(const struct decode *c, const struct decode_in *in, struct extras x, uint32_t pos, uint32_t page, float *s, void *o,
                        void *ml) {
  uint32_t hk = c->lists / c->share, row4 = c->d / 4, n0 = page * c->page, per = ceil_div(ceil_div(c->page, c->page_shares), 4) * 4;
  uint32_t shares = c->pages * c->page_shares, heads = c->lists * c->g, step[STEP_WORDS] = { [STEP_ROWS] = c->rows, [STEP_POS] = pos };
  size_t skip = (size_t)n0 * in->kstr * 16;
  uint64_t kv_bytes = c->active ? in->kv_bytes : (uint64_t)c->page * hk * row4 * 16;
  uint64_t s_bytes = (uint64_t)heads * in->sstr * 4, o_bytes = (uint64_t)heads * shares * c->d * 4, ml_bytes = (uint64_t)heads * shares * 8;
  float *s2 = test_memory(s_bytes, HARNESS_DEVICES);
  void *o2 = test_memory(o_bytes, HARNESS_DEVICES), *ml2 = test_memory(ml_bytes, HARNESS_DEVICES);

  struct attn_dqk_params p1 = { .n_at = STEP_ROWS, .n0 = n0, .nmax = c->page, .kstr = in->kstr, .hstr = in->hstr, .share = c->share,
                                .sstr = in->sstr, .s0 = n0, .scale = (float)(1 / sqrt(c->d)), .cap = x.cap, .window = x.window, .ring = c->rows };
  uint32_t tn = c->g <= 4 ? 8 : 4;
  HARNESS_RUN(KERNEL_ATTN_DQK, SPEC(8, c->g, tn, c->d / 8, x.cap > 0, x.window > 0), GROUPS(ceil_div(c->page, 8 * tn), c->lists, 1), &p1,
              IN(in->q, (uint64_t)heads * c->d * 4), IN(in->kv + skip, kv_bytes), INOUT(ARG_NMSE, s, s_bytes, EXACT_MATHS, s2),
              IN(step, sizeof step));
  memcpy(s, s2, s_bytes);
  for (size_t i = 0; i < s_bytes / 4; i++)               /* what lies beyond the last row is old, and may be large */
    if (((const uint32_t *)s2)[i] == CANARY) s2[i] = 1e4f;

  struct attn_dpv_params p2 = { .n_at = STEP_ROWS, .n0 = n0, .nmax = c->page, .lists = c->lists, .kstr = in->kstr, .hstr = in->hstr,
                                .share = c->share, .sstr = in->sstr, .s0 = n0, .per = per, .shares = shares,
                                .share0 = page * c->page_shares };
  HARNESS_RUN(KERNEL_ATTN_DPV, SPEC(8, c->g, c->d / 8), GROUPS(ceil_div(c->lists * (c->d / 8), 8), c->page_shares, 1), &p2,
              IN(s2, s_bytes), IN(in->kv + skip, kv_bytes), INOUT(ARG_NMSE, o, o_bytes, WITH_EXP, o2),
              INOUT(ARG_NMSE, ml, ml_bytes, WITH_EXP, ml2), IN(step, sizeof step));
  memcpy(o, o2, o_bytes);
  memcpy(ml, ml2, ml_bytes);
}

/* With a window the rows are a ring whose newest one is in its middle. */
static void decode_case(const struct decode *shape, struct extras x) {
  struct decode small = *shape, *c = &small;
  if (test_small() && c->page > 500) c->rows = ceil_div(c->rows, 16), c->page /= 16;
  uint32_t hk = c->lists / c->share, heads = c->lists * c->g, slots = c->pages * c->page, shares = c->pages * c->page_shares;
  uint32_t row4 = c->d / 4;
  struct decode_in in = { .q = random_floats((size_t)heads * c->d, -3, 3), .kv_bytes = (size_t)slots * hk * row4 * 16, .sstr = slots + 4,
                          .kstr = c->active ? row4 : hk * row4, .hstr = c->active ? slots * row4 : row4 };
  in.kv = canary_words(in.kv_bytes);                     /* rows that are not attended stay NaNs */
  for (uint32_t t = 0; t < c->rows; t++)
    for (uint32_t h = 0; h < hk; h++)
      memcpy(in.kv + ((size_t)t * in.kstr + (size_t)h * in.hstr) * 16, random_halves(c->d * 2, -2, 2), c->d * 4);
  float *s = canary_words((size_t)heads * in.sstr * 4), *o = canary_words((size_t)heads * shares * c->d * 4), *y = o;
  float *ml = canary_words((size_t)heads * shares * 8);
  harness_case("lists %u, share %u, g %u, d %u, rows %u, pages %u x %u, shares %u, active %d", c->lists, c->share, c->g, c->d, c->rows,
               c->pages, c->page, c->page_shares, c->active);
  for (uint32_t page = 0; page < c->pages; page++) decode_page(c, &in, x, 7 * c->rows + c->rows / 2, page, s, o, ml);
  if (shares > 1) {
    uint64_t y_bytes = (uint64_t)heads * c->d * 4;
    y = test_memory(y_bytes, HARNESS_DEVICES);
    struct attn_merge_params p = { .m = 1, .hk = c->lists, .g = c->g, .d4 = row4, .shares = shares };
    for (uint32_t split = 1; split <= 16; split *= 16)
      HARNESS_RUN(KERNEL_ATTN_MERGE, SPEC(64 * (1 + split / 16), split), GROUPS(ceil_div(heads * row4, split > 1 ? 8 : 64), 1, 1), &p,
                  IN(o, (uint64_t)heads * shares * c->d * 4), IN(ml, (uint64_t)heads * shares * 8), OUT(ARG_NMSE, y_bytes, WITH_EXP, y));
  }
  double *want = test_memory((size_t)heads * c->d, sizeof *want);
  for (uint32_t i = 0; i < heads; i++)
    attend(want + (size_t)i * c->d, in.q + (size_t)i * c->d, (const uint16_t *)(in.kv + (size_t)(i / c->g / c->share) * in.hstr * 16),
           (size_t)in.kstr * 8, c->rows, c->d, x, c->rows / 2);
  nmse_check(y, want, (size_t)heads * c->d, EXACT_MATHS, "host decode attention");
}

static const struct decode decodes[] = {
  { 1, 1, 1, 32, 1, 1, 4, 1, false },       { 3, 1, 3, 64, 33, 1, 64, 1, false },    { 3, 1, 3, 64, 320, 1, 320, 4, true },
  { 2, 1, 7, 64, 131, 3, 64, 2, false },    { 8, 1, 4, 128, 100, 1, 128, 1, true },  { 1, 1, 8, 128, 7, 2, 32, 3, false },
  { 9, 3, 1, 64, 65, 1, 128, 2, false },    { 4, 4, 1, 32, 40, 2, 32, 1, false },    { 5, 1, 3, 32, 64, 2, 64, 1, false },
  { 1, 1, 4, 32, 63, 1, 64, 1, true },      { 6, 2, 1, 128, 31, 1, 32, 8, false },   { 2, 1, 8, 64, 1000, 1, 1024, 1, true },
  { 2, 1, 7, 128, 259, 3, 128, 3, false },  { 1, 1, 8, 32, 130, 5, 32, 1, false },   { 3, 1, 4, 64, 4100, 3, 2048, 16, false },
  { 2, 2, 1, 64, 2, 1, 2112, 16, true },
};

START_TEST(attention_decode) { decode_case(&decodes[_i], (struct extras){ 0, 0 }); }
END_TEST

START_TEST(attention_decode_windows) {
  static const uint32_t windows[] = { 1, 3, 17, 64, 200 };
  decode_case(&decodes[_i], (struct extras){ windows[_i % LEN(windows)], _i % 2 ? 3.0f : 0 });
}
END_TEST

/* Nothing attended: zeros, not NaNs. */
START_TEST(decode_of_nothing) {
  uint32_t step[STEP_WORDS] = { 0 }, d = 64, page_bytes = 8 * 64 * 4;
  void *kv = canary_words(page_bytes), *s = canary_words(3 * 8 * 4);
  float *o = test_memory(3 * d, HARNESS_DEVICES * 4), *ml = test_memory(6, HARNESS_DEVICES * 4);
  harness_case("no rows");
  struct attn_dpv_params p = { .n_at = STEP_ROWS, .nmax = 8, .lists = 1, .kstr = 16, .hstr = 16, .share = 1, .sstr = 8, .per = 8,
                               .shares = 1 };
  HARNESS_RUN(KERNEL_ATTN_DPV, SPEC(8, 3, 8), GROUPS(1, 1, 1), &p, IN(s, 96), IN(kv, page_bytes), OUT(ARG_BITS, 3 * d * 4, 0, o),
              OUT(ARG_BITS, 24, 0, ml), IN(step, sizeof step));
  for (uint32_t i = 0; i < 3 * d; i++) ck_assert(o[i] == 0);
  for (int i = 0; i < 3; i++) ck_assert(ml[2 * i] == -1e30f && ml[2 * i + 1] == 0);
}
END_TEST

/* ---- the harness itself */

START_TEST(harness_sees_differences) {
  float want[4] = { 1, 2, 3, 4 }, got[4] = { 1, 2, 3, 4 };
  uint32_t canary = CANARY;
  struct kernel_arg arg = OUT(ARG_NMSE, 16, 1e-10, NULL);
  ck_assert_ptr_null(harness_difference(&arg, got, want));
  got[2] = 3.0001f;
  ck_assert_ptr_nonnull(harness_difference(&arg, got, want));
  got[2] = NAN;
  ck_assert_ptr_nonnull(harness_difference(&arg, got, want));
  got[2] = 3;
  memcpy(&want[3], &canary, 4);                  /* the host does not write it, the device does */
  ck_assert_ptr_nonnull(harness_difference(&arg, got, want));
  arg.check = ARG_NMSE_WRITTEN;
  ck_assert_ptr_null(harness_difference(&arg, got, want));
  memcpy(&got[0], &canary, 4);                   /* the host writes it, the device does not */
  ck_assert_ptr_nonnull(harness_difference(&arg, got, want));

  uint32_t a = 0x3c003c00, b = 0x3c013bff, c = 0x3c023c00, zeros_[2] = { 0x00008000, 0x80000001 };
  struct kernel_arg halves = OUT(ARG_HALVES, 4, 0, NULL), bits = OUT(ARG_BITS, 4, 0, NULL);
  ck_assert_ptr_null(harness_difference(&halves, &a, &b));
  ck_assert_ptr_nonnull(harness_difference(&halves, &a, &c));
  ck_assert_ptr_null(harness_difference(&halves, &zeros_[0], &zeros_[1]));
  ck_assert_ptr_nonnull(harness_difference(&bits, &a, &b));
  ck_assert_ptr_null(harness_difference(&bits, &a, &a));
}
END_TEST

int main(void) {
  Suite *s = suite_create("kernels_model");
  TCase *c = tcase_create("kernels");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_test(c, harness_sees_differences);
  tcase_add_test(c, elementwise);
  tcase_add_test(c, gate_mul);
  tcase_add_test(c, gelu_mul);
  tcase_add_test(c, add_row);
  tcase_add_test(c, soft_cap);
  tcase_add_test(c, head_norm);
  tcase_add_test(c, rms_norm);
  tcase_add_loop_test(c, rope, 0, 22);
  tcase_add_loop_test(c, matmul, 0, (int)(N_WEIGHT_TYPES * LEN(products)));
  tcase_add_loop_test(c, matmul_gate, 0, (int)(N_WEIGHT_TYPES * 4));
  tcase_add_loop_test(c, attention_prefill, 0, (int)LEN(prefills));
  tcase_add_loop_test(c, attention_prefill_windows, 0, (int)LEN(prefills));
  tcase_add_loop_test(c, attention_decode, 0, (int)LEN(decodes));
  tcase_add_loop_test(c, attention_decode_windows, 0, (int)LEN(decodes));
  tcase_add_test(c, decode_of_nothing);
  suite_add_tcase(s, c);
  return suite_run(s, CK_NOFORK);
}
