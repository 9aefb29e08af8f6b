/* tensor_type.c - the table of tensor types and the reference dequantisers.  Blocks are packed and not aligned in the
 * file, so they are structs of bytes and fields are read by memcpy.  Used by gguf.c, model/ and the tests. */
#include "gguf/tensor_type.h"

#include <stddef.h>
#include <string.h>

#include "base/half.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF files are little endian and read in place"
#endif

typedef struct { uint8_t d[2], q[16]; } block_q4_0;                               /* w = d (q - 8) */
typedef struct { uint8_t d[2], m[2], q[16]; } block_q4_1;                         /* w = d q + m */
typedef struct { uint8_t d[2], high[4], q[16]; } block_q5_0;                      /* w = d (q - 16) */
typedef struct { uint8_t d[2], m[2], high[4], q[16]; } block_q5_1;                /* w = d q + m */
typedef struct { uint8_t d[2]; int8_t q[32]; } block_q8_0;                        /* w = d q */
typedef struct { uint8_t scale[16], q[64], d[2], dmin[2]; } block_q2_k;           /* w = d s q - dmin m, 16 x (s, m) of 4 bits */
typedef struct { uint8_t high[32], q[64], scale[12], d[2]; } block_q3_k;          /* w = d (s - 32) (q - 4), 16 x s of 6 bits */
typedef struct { uint8_t d[2], dmin[2], scale[12], q[128]; } block_q4_k;          /* w = d s q - dmin m, 8 x (s, m) of 6 bits */
typedef struct { uint8_t d[2], dmin[2], scale[12], high[32], q[128]; } block_q5_k;
typedef struct { uint8_t d[2], scale_high[2], scale_low[4], q[128]; } block_iq4_xs;   /* w = d (s - 32) table[q], 8 x s of 6 bits */
typedef struct { uint8_t low[128], high[64]; int8_t scale[16]; uint8_t d[2]; } block_q6_k;   /* w = d s (q - 32), 16 x s */

_Static_assert(sizeof(block_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(block_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(block_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(block_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(block_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(block_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(block_iq4_xs) == 136, "IQ4_XS");
_Static_assert(sizeof(block_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(block_q6_k) == 210, "Q6_K");

static float half_at(const uint8_t *p) { return half_to_float((uint16_t)(p[0] | p[1] << 8)); }

static void dequantise_f32(const void *row, float *out, uint64_t n) { memcpy(out, row, n * 4); }

static void dequantise_f16(const void *row, float *out, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) out[i] = half_at((const uint8_t *)row + 2 * i);
}

static void dequantise_bf16(const void *row, float *out, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    const uint8_t *p = (const uint8_t *)row + 2 * i;
    uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    memcpy(&out[i], &u, 4);
  }
}

static void dequantise_q4_0(const void *row, float *out, uint64_t n) {
  for (const block_q4_0 *b = row; n; n -= 32, out += 32, b++) {
    float d = half_at(b->d);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)((b->q[i] & 15) - 8);
      out[i + 16] = d * (float)((b->q[i] >> 4) - 8);
    }
  }
}

static void dequantise_q4_1(const void *row, float *out, uint64_t n) {
  for (const block_q4_1 *b = row; n; n -= 32, out += 32, b++) {
    float d = half_at(b->d), m = half_at(b->m);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)(b->q[i] & 15) + m;
      out[i + 16] = d * (float)(b->q[i] >> 4) + m;
    }
  }
}

static uint32_t word_at(const uint8_t *p) {
  uint32_t w;
  memcpy(&w, p, 4);
  return w;
}

static void dequantise_q5_0(const void *row, float *out, uint64_t n) {
  for (const block_q5_0 *b = row; n; n -= 32, out += 32, b++) {
    float d = half_at(b->d);
    uint32_t high = word_at(b->high);
    for (int i = 0; i < 32; i++) {
      int q = (b->q[i % 16] >> 4 * (i / 16) & 15) | (int)(high >> i & 1) << 4;
      out[i] = d * (float)(q - 16);
    }
  }
}

static void dequantise_q5_1(const void *row, float *out, uint64_t n) {
  for (const block_q5_1 *b = row; n; n -= 32, out += 32, b++) {
    float d = half_at(b->d), m = half_at(b->m);
    uint32_t high = word_at(b->high);
    for (int i = 0; i < 32; i++) {
      int q = (b->q[i % 16] >> 4 * (i / 16) & 15) | (int)(high >> i & 1) << 4;
      out[i] = d * (float)q + m;
    }
  }
}

static void dequantise_q8_0(const void *row, float *out, uint64_t n) {
  for (const block_q8_0 *b = row; n; n -= 32, out += 32, b++) {
    float d = half_at(b->d);
    for (int i = 0; i < 32; i++) out[i] = d * (float)b->q[i];
  }
}

/* Scale and minimum of sub-block j of 8: the first four lie in the low 6 bits of bytes 0..7, the others have their low
 * 4 bits in bytes 8..11 and the 2 high ones on top of bytes 0..7. */
static void scale_min_k4(const uint8_t *s, int j, float *scale, float *min) {
  int lo = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  int hi = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
  *scale = (float)lo;
  *min = (float)hi;
}

static void dequantise_q4_k(const void *row, float *out, uint64_t n) {
  for (const block_q4_k *b = row; n; n -= 256, b++) {
    float d = half_at(b->d), dmin = half_at(b->dmin);
    for (int j = 0; j < 8; j++, out += 32) {
      float scale, min;
      scale_min_k4(b->scale, j, &scale, &min);
      const uint8_t *q = b->q + 32 * (j / 2);   /* sub-blocks 2i and 2i + 1 are the low and high nibbles of the same bytes */
      for (int i = 0; i < 32; i++) out[i] = d * scale * (float)(q[i] >> 4 * (j & 1) & 15) - dmin * min;
    }
  }
}

static void dequantise_q5_k(const void *row, float *out, uint64_t n) {
  for (const block_q5_k *b = row; n; n -= 256, b++) {
    float d = half_at(b->d), dmin = half_at(b->dmin);
    for (int j = 0; j < 8; j++, out += 32) {
      float scale, min;
      scale_min_k4(b->scale, j, &scale, &min);
      const uint8_t *q = b->q + 32 * (j / 2);
      for (int i = 0; i < 32; i++) {
        int v = (q[i] >> 4 * (j & 1) & 15) | (b->high[i] >> j & 1) << 4;
        out[i] = d * scale * (float)v - dmin * min;
      }
    }
  }
}

/* In Q2_K and Q3_K 32 bytes hold 4 x 32 values of two bits: those of sub-block pair j in bits 2j. */
static void dequantise_q2_k(const void *row, float *out, uint64_t n) {
  for (const block_q2_k *b = row; n; n -= 256, b++) {
    float d = half_at(b->d), dmin = half_at(b->dmin);
    for (int i = 0; i < 256; i++) {
      int q = b->q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, s = b->scale[i / 16];
      *out++ = d * (float)(s & 15) * (float)q - dmin * (float)(s >> 4);
    }
  }
}

/* Scale of 16 values: 4 low bits in the nibbles of bytes 0..7, 2 high ones in bytes 8..11; less 32. */
static int scale_k3(const uint8_t *s, int j) { return ((s[j % 8] >> j / 8 * 4 & 15) | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32; }

static void dequantise_q3_k(const void *row, float *out, uint64_t n) {
  for (const block_q3_k *b = row; n; n -= 256, b++) {
    float d = half_at(b->d);
    for (int i = 0; i < 256; i++) {
      int q = (b->q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) | (b->high[i % 32] >> i / 32 & 1) << 2;
      *out++ = d * (float)scale_k3(b->scale, i / 16) * (float)(q - 4);
    }
  }
}

static const int8_t iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

static void dequantise_iq4_nl(const void *row, float *out, uint64_t n) {
  for (const block_q4_0 *b = row; n; n -= 32, out += 32, b++) {     /* the same fields as Q4_0 */
    float d = half_at(b->d);
    for (int i = 0; i < 32; i++) out[i] = d * (float)iq4[b->q[i % 16] >> 4 * (i / 16) & 15];
  }
}

static void dequantise_iq4_xs(const void *row, float *out, uint64_t n) {
  for (const block_iq4_xs *b = row; n; n -= 256, b++) {
    float d = half_at(b->d);
    unsigned high = b->scale_high[0] | (unsigned)b->scale_high[1] << 8;
    for (int j = 0; j < 8; j++, out += 32) {
      int s = (b->scale_low[j / 2] >> 4 * (j & 1) & 15) | (int)(high >> 2 * j & 3) << 4;
      for (int i = 0; i < 32; i++) out[i] = d * (float)(s - 32) * (float)iq4[b->q[16 * j + i % 16] >> 4 * (i / 16) & 15];
    }
  }
}

static void dequantise_q6_k(const void *row, float *out, uint64_t n) {
  for (const block_q6_k *b = row; n; n -= 256, b++) {
    float d = half_at(b->d);
    for (int j = 0; j < 8; j++, out += 32) {    /* 32 values: half j / 4, quarter j % 4 of it */
      const uint8_t *low = b->low + 64 * (j / 4) + 32 * (j & 1), *high = b->high + 32 * (j / 4);
      int low_shift = j & 2 ? 4 : 0, high_shift = 2 * (j & 3);
      for (int i = 0; i < 32; i++) {
        int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
        out[i] = d * (float)b->scale[2 * j + i / 16] * (float)(q - 32);
      }
    }
  }
}

/* X(number, name, values of a block, bytes of a block, dequantiser).  0 bytes: withdrawn from the format. */
#define TENSOR_TYPES(X)                        \
  X(0,  "F32",     1,   4,   dequantise_f32)   \
  X(1,  "F16",     1,   2,   dequantise_f16)   \
  X(2,  "Q4_0",    32,  18,  dequantise_q4_0)  \
  X(3,  "Q4_1",    32,  20,  dequantise_q4_1)  \
  X(4,  "Q4_2",    0,   0,   NULL)             \
  X(5,  "Q4_3",    0,   0,   NULL)             \
  X(6,  "Q5_0",    32,  22,  dequantise_q5_0)  \
  X(7,  "Q5_1",    32,  24,  dequantise_q5_1)  \
  X(8,  "Q8_0",    32,  34,  dequantise_q8_0)  \
  X(9,  "Q8_1",    32,  36,  NULL)             \
  X(10, "Q2_K",    256, 84,  dequantise_q2_k)  \
  X(11, "Q3_K",    256, 110, dequantise_q3_k)  \
  X(12, "Q4_K",    256, 144, dequantise_q4_k)  \
  X(13, "Q5_K",    256, 176, dequantise_q5_k)  \
  X(14, "Q6_K",    256, 210, dequantise_q6_k)  \
  X(15, "Q8_K",    256, 292, NULL)             \
  X(16, "IQ2_XXS", 256, 66,  NULL)             \
  X(17, "IQ2_XS",  256, 74,  NULL)             \
  X(18, "IQ3_XXS", 256, 98,  NULL)             \
  X(19, "IQ1_S",   256, 50,  NULL)             \
  X(20, "IQ4_NL",  32,  18,  dequantise_iq4_nl) \
  X(21, "IQ3_S",   256, 110, NULL)             \
  X(22, "IQ2_S",   256, 82,  NULL)             \
  X(23, "IQ4_XS",  256, 136, dequantise_iq4_xs) \
  X(24, "I8",      1,   1,   NULL)             \
  X(25, "I16",     1,   2,   NULL)             \
  X(26, "I32",     1,   4,   NULL)             \
  X(27, "I64",     1,   8,   NULL)             \
  X(28, "F64",     1,   8,   NULL)             \
  X(29, "IQ1_M",   256, 56,  NULL)             \
  X(30, "BF16",    1,   2,   dequantise_bf16)  \
  X(31, "Q4_0_4_4", 0,  0,   NULL)             \
  X(32, "Q4_0_4_8", 0,  0,   NULL)             \
  X(33, "Q4_0_8_8", 0,  0,   NULL)             \
  X(34, "TQ1_0",   256, 54,  NULL)             \
  X(35, "TQ2_0",   256, 66,  NULL)             \
  X(36, "IQ4_NL_4_4", 0, 0,  NULL)             \
  X(37, "IQ4_NL_4_8", 0, 0,  NULL)             \
  X(38, "IQ4_NL_8_8", 0, 0,  NULL)             \
  X(39, "MXFP4",   32,  17,  NULL)             \
  X(40, "NVFP4",   64,  36,  NULL)             \
  X(41, "Q1_0",    128, 18,  NULL)

#define X(id, name, block, bytes, dequantise) [id] = { id, name, block, bytes, dequantise },
static const struct tensor_type types[] = { TENSOR_TYPES(X) };
#undef X

const struct tensor_type *tensor_type_find(uint32_t id) {
  return id < sizeof types / sizeof types[0] && types[id].name ? &types[id] : NULL;
}
