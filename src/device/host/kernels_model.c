/* Host back end: the kernels of the forward pass in plain C, the oracle that the drivers are tested against.  The host
 * device calls host_NAME(call) for shaders/NAME.k, whose head says what buffers and parameters mean.  Sums that are long
 * run in double; loops over a few independent sums stand innermost where the compiler can vectorise them. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "device/kernels.h"
#include "shaders/step.h"

enum { M_TILE = 64, N_TILE = 16, BLOCK = 32, MAX_BLOCK = 64 };   /* of the matmul */
enum { D_MAX = 512 };                            /* largest head size */

/* ---- elementwise */

void host_add(const struct host_call *c) {
  const struct add_params *p = c->params;
  const float *x = c->buf[0], *y = c->buf[1];
  float *z = c->buf[2];
  for (size_t i = 0; i < (size_t)p->n4 * 4; i++) z[i] = x[i] + y[i];
}

void host_add_row(const struct host_call *c) {
  const struct add_row_params *p = c->params;
  const float *x = c->buf[0], *b = c->buf[1];
  float *z = c->buf[2];
  size_t row = (size_t)p->row4 * 4;
  for (size_t i = 0; i < (size_t)p->n4 * 4; i++) z[i] = x[i] + b[i % row];
}

static float capped(float x, float cap) { return cap > 0 ? cap * tanhf(x / cap) : x; }

void host_soft_cap(const struct host_call *c) {
  const struct soft_cap_params *p = c->params;
  for (size_t i = 0; i < p->n; i++) ((float *)c->buf[1])[i] = capped(((const float *)c->buf[0])[i], p->cap);
}

static float silu(float x) { return x / (1.0f + expf(-x)); }
static float gelu(float x) { return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x))); }
static float gated(float a, float up, bool is_gelu) { return (is_gelu ? gelu(a) : silu(a)) * up; }

void host_gate_mul(const struct host_call *c) {
  const struct gate_mul_params *p = c->params;
  bool is_gelu = c->id == KERNEL_GELU_MUL;
  size_t ff = (size_t)p->ff4 * 4, rows = p->n4 / p->ff4;
  const float *gu = c->buf[0];
  float *y = c->buf[1];
  for (size_t r = 0; r < rows; r++) {
    const float *gate = gu + r * 2 * ff, *up = gate + ff;
    for (size_t i = 0; i < ff; i++) y[r * ff + i] = gated(gate[i], up[i], is_gelu);
  }
}

/* ---- norm */

/* sum: x is x + delta, which is stored there. */
static void norm_row(const float *x, const float *delta, const float *w, float *sum, float *y, size_t n, float eps) {
  double squares = 0;
  for (size_t i = 0; sum && i < n; i++) sum[i] = x[i] + delta[i];
  if (sum) x = sum;
  for (size_t i = 0; i < n; i++) squares += (double)x[i] * x[i];
  float scale = (float)(1.0 / sqrt(squares / (double)n + eps));
  for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

static void norm_rows(const struct host_call *c, size_t rows, size_t n, float eps, bool add) {
  for (size_t r = 0; r < rows * n; r += n)
    norm_row((const float *)c->buf[0] + r, add ? (const float *)c->buf[3] + r : NULL, c->buf[1], add ? (float *)c->buf[4] + r : NULL,
             (float *)c->buf[2] + r, n, eps);
}

void host_rms_norm(const struct host_call *c) {
  const struct rms_norm_params *p = c->params;
  norm_rows(c, p->rows, (size_t)p->n4 * 4, p->eps, c->id == KERNEL_RMS_NORM_ADD);
}

void host_rms_norm_tile(const struct host_call *c) {
  const struct rms_norm_tile_params *p = c->params;
  norm_rows(c, c->groups[0], (size_t)p->n4 * 4, p->eps, c->id == KERNEL_RMS_NORM_ADD_TILE);
}

static void norm_heads(const struct host_call *c, size_t rows, size_t nq, size_t hk, size_t d, float eps) {
  size_t heads = nq + 2 * hk;
  for (size_t i = 0; i < rows * heads; i++) {
    const float *x = (const float *)c->buf[0] + i * d, *w = (const float *)c->buf[1] + (i % heads < nq ? 0 : d);
    float *y = (float *)c->buf[2] + i * d;
    if (i % heads < nq + hk) norm_row(x, NULL, w, NULL, y, d, eps);
    else memcpy(y, x, d * sizeof *y);
  }
}

void host_head_norm(const struct host_call *c) {
  const struct head_norm_params *p = c->params;
  norm_heads(c, p->rows, p->nq, p->hk, (size_t)p->d4 * 4, p->eps);
}

void host_head_norm_tile(const struct host_call *c) {
  const struct head_norm_tile_params *p = c->params;
  norm_heads(c, p->rows, p->nq, p->hk, (size_t)p->d4 * 4, p->eps);
}

/* ---- rotary embedding and the fp16 rows of the cache */

/* y[d] = x[d] rotated by the angles cs[d/2][2]. */
static void rotate(float *y, const float *x, const float *cs, uint32_t d, uint32_t rot, bool neox) {
  memcpy(y, x, d * sizeof *y);
  for (uint32_t i = 0; i < (neox ? rot : d) / 2; i++) {
    uint32_t a = neox ? i : 2 * i, b = neox ? i + rot / 2 : 2 * i + 1;
    float cosine = cs[2 * i], sine = cs[2 * i + 1];
    y[a] = x[a] * cosine - x[b] * sine;
    y[b] = x[b] * cosine + x[a] * sine;
  }
}

void host_rope(const struct host_call *c) {
  const struct rope_params *p = c->params;
  bool neox = c->spec[1];
  uint32_t d = p->d8 * 8, rot = p->rot8 * 8, nq = p->hk * p->g;
  const uint32_t *step = c->buf[4];
  uint32_t row0 = p->row0 + (p->use_step ? step[STEP_POS] : 0);
  for (uint32_t i = 0; i < p->rows; i++) {
    size_t row = (size_t)(nq + 2 * p->hk) * d;
    const float *x = (const float *)c->buf[0] + i * row, *cs = (const float *)c->buf[1] + (size_t)i * d;
    if (c->id == KERNEL_ROPE_KEEP) memcpy((float *)c->buf[5] + (p->keep0 + step[STEP_KEEP] + i) * row, x, row * 4);
    for (uint32_t head = 0; head < nq; head++)
      rotate((float *)c->buf[2] + (((size_t)(head / p->g) * p->rows + i) * p->g + head % p->g) * d, x + (size_t)head * d, cs, d, rot, neox);
    for (uint32_t h = 0; h < p->hk; h++) {
      float k[D_MAX];
      const float *v = x + (size_t)(nq + p->hk + h) * d;
      uint16_t *kv = (uint16_t *)c->buf[3] + ((size_t)(row0 + i) * p->hk + h) * 2 * d;
      rotate(k, x + (size_t)(nq + h) * d, cs, d, rot, neox);
      for (uint32_t e = 0; e < d; e++) kv[e] = float_to_half(k[e]);
      for (uint32_t e = 0; e < d; e++) kv[d + e] = float_to_half(v[e]);
    }
  }
}

/* ---- matmul */

static uint32_t block_of(enum kernel_id id) {
  switch (id) {
    case KERNEL_MATMUL_F32: return 4;
    case KERNEL_MATMUL_F16: case KERNEL_MATMUL_BF16: return 8;
    case KERNEL_MATMUL_Q2_K: case KERNEL_MATMUL_Q3_K: return 64;
    default: return BLOCK;
  }
}

static float low_half(uint32_t u) { return half_to_float((uint16_t)u); }

static float byte_of(uint32_t word, uint32_t i) { return (float)(int8_t)(word >> 8 * i); }

/* Scale and offset of 16 weights of row j (half is 0 or 1, of block b of 32): w = dm[0] * q + dm[1]. */
static void scale_of(float dm[2], const struct host_call *c, uint32_t b, uint32_t half, uint32_t j) {
  const uint32_t *scale = (const uint32_t *)c->buf[3] + j;
  uint32_t words = c->id == KERNEL_MATMUL_Q5_K || c->id == KERNEL_MATMUL_Q3_K ? 13 : c->id == KERNEL_MATMUL_IQ4_XS ? 3 : 5;
  size_t n = ((const struct matmul_params *)c->params)->n, group = b / 8 * words * n;
  dm[1] = 0;
  if (c->id == KERNEL_MATMUL_Q8_0 || c->id == KERNEL_MATMUL_Q4_0 || c->id == KERNEL_MATMUL_IQ4_NL) {
    dm[0] = low_half(scale[b / 2 * n] >> 16 * (b & 1));
    if (c->id == KERNEL_MATMUL_Q4_0) dm[1] = -8 * dm[0];
  } else if (c->id == KERNEL_MATMUL_Q4_1) {
    dm[0] = low_half(scale[b * n]);
    dm[1] = low_half(scale[b * n] >> 16);
  } else if (c->id == KERNEL_MATMUL_Q5_0 || c->id == KERNEL_MATMUL_Q5_1) {
    dm[0] = low_half(scale[2 * b * n]);
    dm[1] = c->id == KERNEL_MATMUL_Q5_0 ? -16 * dm[0] : low_half(scale[2 * b * n] >> 16);
  } else if (c->id == KERNEL_MATMUL_IQ4_XS) {
    dm[0] = low_half(scale[group]) * byte_of(scale[group + (1 + b % 8 / 4) * n], b & 3);
  } else if (c->id == KERNEL_MATMUL_Q2_K) {
    uint32_t byte = scale[group + (1 + b % 8 / 2) * n] >> (16 * (b & 1) + 8 * half);
    dm[0] = low_half(scale[group]) * (float)(byte & 15);
    dm[1] = -(low_half(scale[group] >> 16) * (float)(byte >> 4 & 15));
  } else if (c->id == KERNEL_MATMUL_Q4_K || c->id == KERNEL_MATMUL_Q5_K) {
    uint32_t bytes = scale[group + (1 + b % 8 / 2) * n] >> 16 * (b & 1);
    dm[0] = low_half(scale[group]) * (float)(bytes & 255);
    dm[1] = -(low_half(scale[group] >> 16) * (float)(bytes >> 8 & 255));
  } else {
    dm[0] = low_half(scale[group]) * byte_of(scale[group + (1 + b % 8 / 2) * n], 2 * (b & 1) + half);
    if (c->id == KERNEL_MATMUL_Q3_K) dm[1] = -4 * dm[0];
  }
}

/* The bits above those of plane q, one for each of 32 weights, and what a set one is worth; 0 for types without. */
static uint32_t high_bits(const struct host_call *c, uint32_t b, uint32_t j, uint32_t *worth) {
  const uint32_t *scale = (const uint32_t *)c->buf[3] + j;
  size_t n = ((const struct matmul_params *)c->params)->n;
  *worth = c->id == KERNEL_MATMUL_Q3_K ? 4 : 16;
  if (c->id == KERNEL_MATMUL_Q5_0 || c->id == KERNEL_MATMUL_Q5_1) return scale[(2 * b + 1) * n];
  return c->id == KERNEL_MATMUL_Q5_K || c->id == KERNEL_MATMUL_Q3_K ? scale[(b / 8 * 13 + 5 + b % 8) * n] : 0;
}

static const int8_t iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

/* Column jj of out[block][N_TILE] = elements of block b of weight row j. */
static void dequantise(float out[][N_TILE], uint32_t jj, const struct host_call *c, uint32_t b, uint32_t j) {
  const uint32_t *w = c->buf[1];
  size_t n = ((const struct matmul_params *)c->params)->n;
  const void *q = w + (b * n + j) * 4;
  float dm[2];
  if (c->id == KERNEL_MATMUL_F32) {
    for (uint32_t e = 0; e < 4; e++) out[e][jj] = ((const float *)q)[e];
  } else if (c->id == KERNEL_MATMUL_F16) {
    for (uint32_t e = 0; e < 8; e++) out[e][jj] = half_to_float(((const uint16_t *)q)[e]);
  } else if (c->id == KERNEL_MATMUL_BF16) {
    for (uint32_t e = 0; e < 8; e++) {
      uint32_t u = (uint32_t)((const uint16_t *)q)[e] << 16;
      memcpy(&out[e][jj], &u, 4);
    }
  } else if (c->id == KERNEL_MATMUL_Q8_0 || c->id == KERNEL_MATMUL_Q6_K) {
    for (uint32_t half = 0; half < 2; half++) {
      const int8_t *bytes = (const int8_t *)(w + ((b * 2 + half) * n + j) * 4);
      scale_of(dm, c, b, half, j);
      for (uint32_t e = 0; e < 16; e++) out[half * 16 + e][jj] = dm[0] * (float)bytes[e];
    }
  } else if (c->id == KERNEL_MATMUL_Q2_K || c->id == KERNEL_MATMUL_Q3_K) {
    for (uint32_t e = 0; e < 64; e++) {        /* two bits: element 4j + i of 16 in bits 8i + 2j of a word */
      uint32_t worth, high = high_bits(c, 2 * b + e / 32, j, &worth) >> e % 32 & 1, shift = 8 * (e & 3) + e % 16 / 4 * 2;
      scale_of(dm, c, 2 * b + e / 32, e % 32 / 16, j);
      out[e][jj] = dm[0] * (float)((((const uint32_t *)q)[e / 16] >> shift & 3) + worth * high) + dm[1];
    }
  } else {
    uint32_t worth, high = high_bits(c, b, j, &worth);
    bool table = c->id == KERNEL_MATMUL_IQ4_NL || c->id == KERNEL_MATMUL_IQ4_XS;
    scale_of(dm, c, b, 0, j);
    for (uint32_t e = 0; e < BLOCK; e++) {     /* nibbles of 8 elements: 0..3 the low ones of 4 bytes, 4..7 the high ones */
      uint32_t shift = 8 * (e & 3) + (e & 4), nibble = ((const uint32_t *)q)[e / 8] >> shift & 15;
      out[e][jj] = dm[0] * (table ? (float)iq4[nibble] : (float)(nibble + worth * (high >> e & 1))) + dm[1];
    }
  }
}

/* Rows m0 .. m0+ms-1 of x times rows j0 .. j0+ns-1 of this part: out[i][jj]. */
static void products(const struct host_call *c, double out[M_TILE][N_TILE], uint32_t m0, uint32_t ms, uint32_t j0, uint32_t ns) {
  const struct matmul_params *p = c->params;
  uint32_t block = block_of(c->id);
  size_t k = (size_t)p->nblk * block;
  float w[MAX_BLOCK][N_TILE] = { 0 };
  memset(out, 0, M_TILE * sizeof *out);
  for (uint32_t b = 0; b < p->nblk; b++) {
    for (uint32_t jj = 0; jj < ns; jj++) dequantise(w, jj, c, b, j0 + jj);
    for (uint32_t i = 0; i < ms; i++) {
      const float *x = (const float *)c->buf[0] + (m0 + i) * k + (size_t)b * block;
      float part[N_TILE] = { 0 };
      for (uint32_t e = 0; e < block; e++)
        for (uint32_t jj = 0; jj < N_TILE; jj++) part[jj] += x[e] * w[e][jj];
      for (uint32_t jj = 0; jj < N_TILE; jj++) out[i][jj] += part[jj];
    }
  }
}

/* gate: 0, or 1 + whether it is GELU (shaders/matmul.k). */
static void matmul(const struct host_call *c, uint32_t gate) {
  const struct matmul_params *p = c->params;
  uint32_t cols = gate ? p->n / 2 : p->n;
  double acc[M_TILE][N_TILE], up[M_TILE][N_TILE];
  for (uint32_t m0 = 0; m0 < p->m; m0 += M_TILE)
    for (uint32_t j0 = 0; j0 < cols; j0 += N_TILE) {
      uint32_t ms = min_u32(p->m - m0, M_TILE), ns = min_u32(cols - j0, N_TILE);
      products(c, acc, m0, ms, j0, ns);
      if (gate) products(c, up, m0, ms, cols + j0, ns);
      for (uint32_t i = 0; i < ms; i++) {
        float *y = (float *)c->buf[2] + (size_t)(m0 + i) * p->ystr + p->y0 + j0;
        for (uint32_t jj = 0; jj < ns; jj++) y[jj] = gate ? gated((float)acc[i][jj], (float)up[i][jj], gate == 2) : (float)acc[i][jj];
      }
    }
}

void host_matmul(const struct host_call *c) { matmul(c, c->spec[3]); }

/* Forms of the matmul for GPUs: the type is a constant of theirs. */
static enum kernel_id matmul_of_type(uint32_t type) {
  static const enum kernel_id of[] = {
    [0] = KERNEL_MATMUL_F32, [1] = KERNEL_MATMUL_F16, [2] = KERNEL_MATMUL_Q4_0, [3] = KERNEL_MATMUL_Q4_1, [6] = KERNEL_MATMUL_Q5_0,
    [7] = KERNEL_MATMUL_Q5_1, [8] = KERNEL_MATMUL_Q8_0, [10] = KERNEL_MATMUL_Q2_K, [11] = KERNEL_MATMUL_Q3_K, [12] = KERNEL_MATMUL_Q4_K,
    [13] = KERNEL_MATMUL_Q5_K, [14] = KERNEL_MATMUL_Q6_K, [20] = KERNEL_MATMUL_IQ4_NL, [23] = KERNEL_MATMUL_IQ4_XS, [30] = KERNEL_MATMUL_BF16,
  };
  return of[type];
}

void host_matvec_tile(const struct host_call *c) {
  const struct matvec_tile_params *p = c->params;
  struct host_call call = *c;
  call.id = matmul_of_type(c->spec[2]);
  call.params = &(struct matmul_params){ .m = c->groups[1], .n = p->n, .nblk = p->k / block_of(call.id), .ystr = p->ystr, .y0 = p->y0 };
  matmul(&call, c->spec[3]);
}

void host_matmul_tile(const struct host_call *c) {
  const struct matmul_tile_params *p = c->params;
  struct host_call call = *c;
  call.id = matmul_of_type(c->spec[3]);
  call.params = &(struct matmul_params){ .m = p->m, .n = p->n, .nblk = p->k / block_of(call.id), .ystr = p->ystr, .y0 = p->y0 };
  matmul(&call, c->spec[4]);
}

void host_dequant(const struct host_call *c) {
  const struct dequant_params *p = c->params;
  const struct host_call planes = { .id = matmul_of_type(c->spec[1]), .params = &(struct matmul_params){ .n = p->n }, .buf = { [1] = c->buf[0], [3] = c->buf[1] } };
  uint32_t block = block_of(planes.id);
  for (uint32_t r = 0; r < p->rows; r++)
    for (uint32_t b = 0; b < p->k / block; b++) {
      float w[MAX_BLOCK][N_TILE];
      dequantise(w, 0, &planes, b, p->row0 + r);
      for (uint32_t e = 0; e < block; e++) ((float *)c->buf[2])[((size_t)b * block + e) * p->rows + r] = w[e][0];
    }
}

void host_gemm(const struct host_call *c) {
  const struct gemm_params *p = c->params;
  for (size_t l = 0; l < p->batch; l++) {
    const float *a = (const float *)c->buf[0] + p->a0 + l * p->astr, *b = (const float *)c->buf[1] + p->b0 + l * p->bstr;
    float *out = (float *)c->buf[2] + p->c0 + l * p->cstr;
    for (size_t i = 0; i < p->m; i++)
      for (size_t j = 0; j < p->n; j++) {
        double sum = p->add ? out[i * p->ldc + j] : 0;
        for (size_t e = 0; e < p->k; e++) sum += (double)a[p->ta ? e * p->lda + i : i * p->lda + e] * b[p->tb ? j * p->ldb + e : e * p->ldb + j];
        out[i * p->ldc + j] = (float)sum;
      }
  }
}

/* ---- attention */

static void halves_to_floats(float *out, const uint16_t *in, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) out[i] = half_to_float(in[i]);
}

/* n is a multiple of 8. */
static float dot(const float *a, const float *b, uint32_t n) {
  float s[8] = { 0 };
  for (uint32_t i = 0; i < n; i += 8)
    for (uint32_t e = 0; e < 8; e++) s[e] += a[i + e] * b[i + e];
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static void add_scaled(float *y, const float *x, float f, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 8)
    for (uint32_t e = 0; e < 8; e++) y[i + e] += f * x[i + e];
}

/* Keys of a tile that row i (query * g + head) sees. */
static uint32_t keys_seen(uint32_t i, uint32_t g, int32_t pos0, uint32_t n) {
  int64_t seen = (int64_t)pos0 + i / g + 1;
  return seen <= 0 ? 0 : seen < n ? (uint32_t)seen : n;
}

/* ... of these, how many are too old for it. */
static uint32_t keys_passed(uint32_t i, uint32_t g, int32_t pos0, uint32_t window, uint32_t seen) {
  int64_t passed = (int64_t)pos0 + i / g + 1 - window;
  return !window || passed <= 0 ? 0 : passed < seen ? (uint32_t)passed : seen;
}

/* First half of row t (of head h): K; V follows it. */
static const uint16_t *kv_row(const struct host_call *c, size_t t, size_t kstr, size_t h, size_t hstr) {
  return (const uint16_t *)c->buf[1] + (t * kstr + h * hstr) * 8;
}

void host_attn_qk(const struct host_call *c) {
  const struct attn_qk_params *p = c->params;
  uint32_t d = c->spec[3] * 8;
  for (uint32_t h = 0; h < c->groups[2]; h++) {
    for (uint32_t t = 0; t < p->n; t++) {
      float k[D_MAX];
      halves_to_floats(k, kv_row(c, p->t0 + t, p->kstr, h, p->hstr), d);
      for (uint32_t i = 0; i < p->m; i++) {
        size_t row = (size_t)h * p->m + i;
        if (t < keys_seen(i, p->g, p->pos0, p->n))
          ((float *)c->buf[2])[row * p->sstr + t] = capped(p->scale * dot((const float *)c->buf[0] + row * d, k, d), c->spec[4] ? p->cap : 0);
      }
    }
  }
}

void host_attn_softmax(const struct host_call *c) {
  const struct attn_softmax_params *p = c->params;
  for (size_t row = 0; row < p->rows; row++) {
    const float *s = (const float *)c->buf[0] + row * p->sstr;
    float *pr = (float *)c->buf[1] + row * p->sstr, *ml = (float *)c->buf[2] + (row * p->shares + p->share) * 2;
    uint32_t i = (uint32_t)(row % p->m), seen = keys_seen(i, p->g, p->pos0, p->n), from = keys_passed(i, p->g, p->pos0, p->window, seen);
    float most = -1e30f;
    double sum = 0;
    for (uint32_t t = 0; t < from; t++) pr[t] = 0;
    for (uint32_t t = from; t < seen; t++) most = fmaxf(most, s[t]);
    for (uint32_t t = from; t < seen; t++) sum += pr[t] = expf(s[t] - most);
    for (uint32_t t = seen; t < (p->n + 3) / 4 * 4; t++) pr[t] = 0;
    ml[0] = most;
    ml[1] = (float)sum;
  }
}

void host_attn_pv(const struct host_call *c) {
  const struct attn_pv_params *p = c->params;
  uint32_t d = c->spec[2] * 8;
  for (uint32_t h = 0; h < p->hk; h++) {
    for (uint32_t i = 0; i < p->m; i++)
      memset((float *)c->buf[2] + (((size_t)h * p->m + i) * p->shares + p->share) * d, 0, d * sizeof(float));
    for (uint32_t t = 0; t < p->n; t++) {
      float v[D_MAX];
      halves_to_floats(v, kv_row(c, p->t0 + t, p->kstr, h, p->hstr) + d, d);
      for (uint32_t i = 0; i < p->m; i++) {
        size_t row = (size_t)h * p->m + i;
        if (t < keys_seen(i, p->g, p->pos0, p->n))
          add_scaled((float *)c->buf[2] + (row * p->shares + p->share) * d, v, ((const float *)c->buf[0])[row * p->sstr + t], d);
      }
    }
  }
}

void host_attn_merge(const struct host_call *c) {
  const struct attn_merge_params *p = c->params;
  uint32_t d = p->d4 * 4;
  for (size_t h = 0; h < p->hk; h++) {
    for (size_t i = 0; i < (size_t)p->m * p->g; i++) {
      size_t row = h * p->m * p->g + i, query = i / p->g;
      const float *ml = (const float *)c->buf[1] + row * p->shares * 2, *o = (const float *)c->buf[0] + row * p->shares * d;
      float *y = (float *)c->buf[2] + ((query * p->hk + h) * p->g + i % p->g) * d;
      float most = -1e30f, sum = 0;
      memset(y, 0, d * sizeof *y);
      for (uint32_t s = 0; s < p->shares; s++) most = fmaxf(most, ml[2 * s]);
      for (uint32_t s = 0; s < p->shares; s++) {
        float f = expf(ml[2 * s] - most);
        sum += ml[2 * s + 1] * f;
        add_scaled(y, o + (size_t)s * d, f, d);
      }
      for (uint32_t e = 0; e < d; e++) y[e] = sum > 0 ? y[e] / sum : 0;
    }
  }
}

/* Rows of this view. */
static uint32_t rows_here(uint32_t total, uint32_t n0, uint32_t nmax) { return min_u32(total > n0 ? total - n0 : 0, nmax); }

void host_attn_dqk(const struct host_call *c) {
  const struct attn_dqk_params *p = c->params;
  const uint32_t *step = c->buf[3];
  uint32_t g = c->spec[1], d = c->spec[3] * 8, n = rows_here(step[p->n_at], p->n0, p->nmax);
  for (uint32_t list = 0; list < c->groups[1]; list++) {
    for (uint32_t t = 0; t < n; t++) {
      float k[D_MAX];
      bool old = c->spec[5] && (step[STEP_POS] % p->ring + p->ring - (p->n0 + t)) % p->ring >= p->window;
      halves_to_floats(k, kv_row(c, t, p->kstr, list / p->share, p->hstr), d);
      for (uint32_t i = 0; i < g; i++) {
        size_t row = (size_t)list * g + i;
        float score = capped(p->scale * dot((const float *)c->buf[0] + row * d, k, d), c->spec[4] ? p->cap : 0);
        ((float *)c->buf[2])[row * p->sstr + p->s0 + t] = old ? -1e30f : score;
      }
    }
  }
}

/* Rows begin .. end-1 of one share of one list. */
static void dpv_share(const struct host_call *c, uint32_t list, uint32_t share, uint32_t begin, uint32_t end) {
  const struct attn_dpv_params *p = c->params;
  uint32_t g = c->spec[1], d = c->spec[2] * 8;
  for (uint32_t i = 0; i < g; i++) {
    const float *s = (const float *)c->buf[0] + ((size_t)list * g + i) * p->sstr + p->s0;
    size_t at = ((size_t)list * g + i) * p->shares + share;
    float *o = (float *)c->buf[2] + at * d, *ml = (float *)c->buf[3] + at * 2;
    ml[0] = -1e30f;
    ml[1] = 0;
    memset(o, 0, d * sizeof *o);
    for (uint32_t t = begin; t < end; t++) ml[0] = fmaxf(ml[0], s[t]);
  }
  for (uint32_t t = begin; t < end; t++) {
    float v[D_MAX];
    halves_to_floats(v, kv_row(c, t, p->kstr, list / p->share, p->hstr) + d, d);
    for (uint32_t i = 0; i < g; i++) {
      size_t at = ((size_t)list * g + i) * p->shares + share;
      float *ml = (float *)c->buf[3] + at * 2;
      float e = expf(((const float *)c->buf[0])[((size_t)list * g + i) * p->sstr + p->s0 + t] - ml[0]);
      ml[1] += e;
      add_scaled((float *)c->buf[2] + at * d, v, e, d);
    }
  }
  for (uint32_t i = 0; i < g && p->shares == 1; i++) {
    size_t at = (size_t)list * g + i;
    float *o = (float *)c->buf[2] + at * d, sum = ((float *)c->buf[3])[at * 2 + 1];
    for (uint32_t e = 0; e < d; e++) o[e] = sum > 0 ? o[e] / sum : 0;
  }
}

void host_attn_dpv(const struct host_call *c) {
  const struct attn_dpv_params *p = c->params;
  uint32_t n = rows_here(((const uint32_t *)c->buf[4])[p->n_at], p->n0, p->nmax);
  for (uint32_t list = 0; list < p->lists; list++)
    for (uint32_t j = 0; j < c->groups[1]; j++) dpv_share(c, list, p->share0 + j, min_u32(j * p->per, n), min_u32((j + 1) * p->per, n));
}

/* The same in one pass. */
void host_attn_decode_tile(const struct host_call *c) {
  const struct attn_decode_tile_params *p = c->params;
  const uint32_t *step = c->buf[4];
  uint32_t g = c->spec[1], d = c->spec[2] * 8, n = rows_here(step[p->n_at], p->n0, p->nmax);
  for (uint32_t list = 0; list < c->groups[1]; list++)
    for (uint32_t j = 0; j < c->groups[0]; j++)
      for (uint32_t i = 0; i < g; i++) {
        size_t row = (size_t)list * g + i, at = row * p->shares + p->share0 + j;
        float *o = (float *)c->buf[2] + at * d, most = -1e30f, sum = 0, acc[D_MAX] = { 0 };
        for (uint32_t t = j * p->per; t < min_u32((j + 1) * p->per, n); t++) {
          float kv[2 * D_MAX];
          halves_to_floats(kv, kv_row(c, t, p->kstr, list / p->share, p->hstr), 2 * d);
          float s = capped(p->scale * dot((const float *)c->buf[0] + row * d, kv, d), p->cap);
          if (p->window && (step[STEP_POS] % p->ring + p->ring - (p->n0 + t)) % p->ring >= p->window) s = -1e30f;
          float top = fmaxf(most, s), f = expf(most - top), e = expf(s - top);
          for (uint32_t x = 0; x < d; x++) acc[x] *= f;
          add_scaled(acc, kv + d, e, d);
          sum = sum * f + e;
          most = top;
        }
        float by = p->shares != 1 ? 1 : sum > 0 ? 1 / sum : 0;
        for (uint32_t x = 0; x < d; x++) o[x] = acc[x] * by;
        ((float *)c->buf[3])[at * 2] = most;
        ((float *)c->buf[3])[at * 2 + 1] = sum;
      }
}

/* The three of prefill in one pass. */
void host_attn_prefill_tile(const struct host_call *c) {
  const struct attn_prefill_tile_params *p = c->params;
  uint32_t d = c->spec[1] * 8;
  for (uint32_t h = 0; h < c->groups[1]; h++)
    for (uint32_t i = 0; i < p->m; i++) {
      size_t row = (size_t)h * p->m + i, at = row * p->shares + p->share;
      uint32_t seen = keys_seen(i, p->g, p->pos0, p->n);
      float *o = (float *)c->buf[2] + at * d, most = -1e30f, sum = 0;
      memset(o, 0, d * sizeof *o);
      for (uint32_t t = keys_passed(i, p->g, p->pos0, p->window, seen); t < seen; t++) {
        float kv[2 * D_MAX];
        halves_to_floats(kv, kv_row(c, p->t0 + t, p->kstr, h, p->hstr), 2 * d);
        float s = capped(p->scale * dot((const float *)c->buf[0] + row * d, kv, d), p->cap), top = fmaxf(most, s);
        float f = expf(most - top), e = expf(s - top);
        for (uint32_t x = 0; x < d; x++) o[x] *= f;
        add_scaled(o, kv + d, e, d);
        sum = sum * f + e;
        most = top;
      }
      ((float *)c->buf[3])[at * 2] = most;
      ((float *)c->buf[3])[at * 2 + 1] = sum;
    }
}
