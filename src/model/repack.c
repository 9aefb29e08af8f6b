/* repack.c - the packers and their table.  Blocks of the file are those of gguf/tensor_type.c, planes those of model.h;
 * the values stay what they are, bit for bit.  Called by weights.c. */
#include "model/repack.h"

#include <stdio.h>
#include <string.h>

#include "gguf/tensor_type.h"

static const uint32_t LOW = 0x0f0f0f0fu;   /* low nibbles of four bytes */

static uint32_t word_at(const unsigned char *p) {
  uint32_t w;
  memcpy(&w, p, 4);
  return w;
}

/* F32: 4 values, F16, BF16: 8. */
static void pack_floats(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, src += row_bytes) memcpy(to.q, src, 16);
}

/* Two blocks of 34 bytes: fp16, 32 int8. */
static void pack_q8_0(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  size_t plane = 16 * (size_t)to.rows;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    unsigned char s[4] = { src[0], src[1] };
    memcpy(to.q, src + 2, 16);
    memcpy(to.q + plane, src + 18, 16);
    if (values == 64) {
      memcpy(s + 2, src + 34, 2);
      memcpy(to.q + 2 * plane, src + 36, 16);
      memcpy(to.q + 3 * plane, src + 52, 16);
    }
    memcpy(to.scale, s, 4);
  }
}

/* In the file byte i of 16 holds values i and i + 16.  In a plane uint s of the uint4 holds values 8s .. 8s + 7, with value
 * 8s + i in the low and 8s + 4 + i in the high nibble of byte i: two masks give four values each. */
static void pack_nibbles(unsigned char *q, const unsigned char *src) {
  uint32_t w[4], high = ~LOW;
  memcpy(w, src, 16);
  const uint32_t v[4] = { (w[0] & LOW) | (w[1] & LOW) << 4, (w[2] & LOW) | (w[3] & LOW) << 4,
                          (w[0] >> 4 & LOW) | (w[1] & high), (w[2] >> 4 & LOW) | (w[3] & high) };
  memcpy(q, v, 16);
}

/* Two blocks of 18 bytes: fp16, 16 bytes of nibbles. */
static void pack_q4_0(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    unsigned char s[4] = { src[0], src[1] };
    pack_nibbles(to.q, src + 2);
    if (values == 64) {
      memcpy(s + 2, src + 18, 2);
      pack_nibbles(to.q + 16 * (size_t)to.rows, src + 20);
    }
    memcpy(to.scale, s, 4);
  }
}

/* A block of 20 bytes: two fp16, 16 bytes of nibbles. */
static void pack_q4_1(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    memcpy(to.scale, src, 4);
    pack_nibbles(to.q, src + 4);
  }
}

/* A block of 22 bytes: fp16, 32 fifth bits, 16 bytes of nibbles. */
static void pack_q5_0(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    memcpy(to.scale, (const unsigned char[4]){ src[0], src[1] }, 4);
    memcpy(to.scale + 4 * (size_t)to.rows, src + 2, 4);
    pack_nibbles(to.q, src + 6);
  }
}

/* A block of 24 bytes: two fp16, 32 fifth bits, 16 bytes of nibbles. */
static void pack_q5_1(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    memcpy(to.scale, src, 4);
    memcpy(to.scale + 4 * (size_t)to.rows, src + 4, 4);
    pack_nibbles(to.q, src + 8);
  }
}

/* Five words of plane scale: halves, then 16 bytes. */
static void pack_scales(struct repack_planes to, const unsigned char halves[4], const unsigned char bytes[16]) {
  memcpy(to.scale, halves, 4);
  for (size_t i = 0; i < 4; i++) memcpy(to.scale + (i + 1) * 4 * to.rows, bytes + 4 * i, 4);
}

/* fp16 d, dmin; 12 bytes with the 6-bit (scale, min) of 8 sub-blocks. */
static void pack_scale_min(struct repack_planes to, const unsigned char *src) {
  const unsigned char *s = src + 4;
  unsigned char pair[16];
  for (int j = 0; j < 4; j++) {
    pair[2 * j] = s[j] & 63;
    pair[2 * j + 1] = s[j + 4] & 63;
    pair[2 * j + 8] = (s[j + 8] & 15) | (s[j] >> 6) << 4;
    pair[2 * j + 9] = s[j + 8] >> 4 | (s[j + 4] >> 6) << 4;
  }
  pack_scales(to, src, pair);
}

/* 4 x 32 bytes whose low nibbles are one sub-block and whose high ones the next. */
static void pack_nibbles_k(struct repack_planes to, const unsigned char *src) {
  for (size_t j = 0; j < 8; j++) {
    const unsigned char *b = src + 32 * (j / 2);
    uint32_t shift = 4 * (j & 1), v[4];
    for (int i = 0; i < 4; i++) v[i] = (word_at(b + 8 * i) >> shift & LOW) | (word_at(b + 8 * i + 4) >> shift & LOW) << 4;
    memcpy(to.q + j * 16 * to.rows, v, 16);
  }
}

/* Eight words of plane scale behind the first five: bit i of word j is bit j of byte i of 32. */
static void pack_high_bits(struct repack_planes to, const unsigned char *src) {
  for (size_t j = 0; j < 8; j++) {
    uint32_t word = 0;
    for (int i = 0; i < 32; i++) word |= (uint32_t)(src[i] >> j & 1) << i;
    memcpy(to.scale + (5 + j) * 4 * to.rows, &word, 4);
  }
}

/* A block of 144 bytes. */
static void pack_q4_k(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    pack_scale_min(to, src);
    pack_nibbles_k(to, src + 16);
  }
}

/* A block of 176 bytes: as Q4_K, with 32 bytes of fifth bits before the nibbles. */
static void pack_q5_k(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    pack_scale_min(to, src);
    pack_high_bits(to, src + 16);
    pack_nibbles_k(to, src + 48);
  }
}

/* 2 x 32 bytes that hold 4 x 32 values of two bits each. */
static void pack_two_bits(struct repack_planes to, const unsigned char *src) {
  for (size_t g = 0; g < 16; g++) {      /* 16 values: a word */
    const unsigned char *b = src + g / 8 * 32 + g % 2 * 16;
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word |= (word_at(b + 4 * i) >> g % 8 / 2 * 2 & 0x03030303u) << 2 * i;
    memcpy(to.q + g / 4 * 16 * to.rows + g % 4 * 4, &word, 4);
  }
}

/* A block of 84 bytes: 16 bytes of (scale, min), 64 of two bits, fp16 d, dmin. */
static void pack_q2_k(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    pack_scales(to, src + 80, src);
    pack_two_bits(to, src + 16);
  }
}

/* A block of 110 bytes: 32 bytes of third bits, 64 of two bits, 12 with 16 scales of 6 bits less 32, fp16 d. */
static void pack_q3_k(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    const unsigned char *s = src + 96;
    unsigned char scale[16];
    for (int j = 0; j < 16; j++) scale[j] = (unsigned char)(((s[j % 8] >> j / 8 * 4 & 15) | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32);
    pack_scales(to, (const unsigned char[4]){ src[108], src[109] }, scale);
    pack_high_bits(to, src);
    pack_two_bits(to, src + 32);
  }
}

/* A block of 136 bytes: fp16 d, 8 scales of 6 bits less 32 (2 bytes of high bits, 4 of low ones), 8 x 16 bytes of nibbles. */
static void pack_iq4_xs(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    unsigned high = src[2] | (unsigned)src[3] << 8;
    unsigned char scale[8];
    for (int j = 0; j < 8; j++) scale[j] = (unsigned char)((src[4 + j / 2] >> 4 * (j & 1) & 15) + (high >> 2 * j & 3) * 16 - 32);
    memcpy(to.scale, (const unsigned char[4]){ src[0], src[1] }, 4);
    for (size_t i = 0; i < 2; i++) memcpy(to.scale + (i + 1) * 4 * to.rows, scale + 4 * i, 4);
    for (size_t j = 0; j < 8; j++) pack_nibbles(to.q + j * 16 * to.rows, src + 8 + 16 * j);
  }
}

/* A block of 210 bytes: 128 bytes of low nibbles, 64 of two high bits, 16 int8, fp16 d; values are 6 bits less 32.  Each
 * half of the block takes half of these: its quarter j has low nibbles in bytes 32 (j % 2) .., the high nibble for j >= 2,
 * and bits 2j of the same 32 bytes. */
static void pack_q6_k(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values) {
  (void)values;
  for (; n_rows; n_rows--, to.q += 16, to.scale += 4, src += row_bytes) {
    pack_scales(to, (const unsigned char[4]){ src[208], src[209] }, src + 192);
    for (size_t j = 0; j < 8; j++) {
      const unsigned char *low = src + 64 * (j / 4) + 32 * (j & 1), *high = src + 128 + 32 * (j / 4);
      uint32_t v[8];
      for (int i = 0; i < 8; i++) {
        uint32_t six = (word_at(low + 4 * i) >> (j & 2 ? 4 : 0) & LOW) | (word_at(high + 4 * i) >> 2 * (j & 3) & 0x03030303u) << 4;
        v[i] = (six + 0x60606060u) ^ 0x80808080u;      /* less 32 in each byte, no borrow between them */
      }
      memcpy(to.q + 2 * j * 16 * to.rows, v, 16);
      memcpy(to.q + (2 * j + 1) * 16 * to.rows, v + 4, 16);
    }
  }
}

static const struct repack_type table[] = {
  { TYPE_F32,  KERNEL_MATMUL_F32,  .block = 4,  .q_bytes = 16, .group = 4,   .scale_bytes = 0,  .pack = pack_floats },
  { TYPE_F16,  KERNEL_MATMUL_F16,  .block = 8,  .q_bytes = 16, .group = 8,   .scale_bytes = 0,  .pack = pack_floats },
  { TYPE_BF16, KERNEL_MATMUL_BF16, .block = 8,  .q_bytes = 16, .group = 8,   .scale_bytes = 0,  .pack = pack_floats },
  { TYPE_Q8_0, KERNEL_MATMUL_Q8_0, .block = 32, .q_bytes = 32, .group = 64,  .scale_bytes = 4,  .pack = pack_q8_0 },
  { TYPE_Q4_0, KERNEL_MATMUL_Q4_0, .block = 32, .q_bytes = 16, .group = 64,  .scale_bytes = 4,  .pack = pack_q4_0 },
  { TYPE_Q4_1, KERNEL_MATMUL_Q4_1, .block = 32, .q_bytes = 16, .group = 32,  .scale_bytes = 4,  .pack = pack_q4_1 },
  { TYPE_Q5_0, KERNEL_MATMUL_Q5_0, .block = 32, .q_bytes = 16, .group = 32,  .scale_bytes = 8,  .pack = pack_q5_0 },
  { TYPE_Q5_1, KERNEL_MATMUL_Q5_1, .block = 32, .q_bytes = 16, .group = 32,  .scale_bytes = 8,  .pack = pack_q5_1 },
  { TYPE_Q2_K, KERNEL_MATMUL_Q2_K, .block = 64, .q_bytes = 16, .group = 256, .scale_bytes = 20, .pack = pack_q2_k },
  { TYPE_Q3_K, KERNEL_MATMUL_Q3_K, .block = 64, .q_bytes = 16, .group = 256, .scale_bytes = 52, .pack = pack_q3_k },
  { TYPE_Q4_K, KERNEL_MATMUL_Q4_K, .block = 32, .q_bytes = 16, .group = 256, .scale_bytes = 20, .pack = pack_q4_k },
  { TYPE_Q5_K, KERNEL_MATMUL_Q5_K, .block = 32, .q_bytes = 16, .group = 256, .scale_bytes = 52, .pack = pack_q5_k },
  { TYPE_Q6_K, KERNEL_MATMUL_Q6_K, .block = 32, .q_bytes = 32, .group = 256, .scale_bytes = 20, .pack = pack_q6_k },
  { TYPE_IQ4_NL, KERNEL_MATMUL_IQ4_NL, .block = 32, .q_bytes = 16, .group = 64, .scale_bytes = 4, .pack = pack_q4_0 },   /* the same fields */
  { TYPE_IQ4_XS, KERNEL_MATMUL_IQ4_XS, .block = 32, .q_bytes = 16, .group = 256, .scale_bytes = 12, .pack = pack_iq4_xs },
};
enum { N_TYPES = sizeof table / sizeof table[0] };

const struct repack_type *repack_find(uint32_t type) {
  for (size_t i = 0; i < N_TYPES; i++) {
    if (table[i].type == type) return &table[i];
  }
  return NULL;
}

const char *repack_supported(char out[128]) {
  size_t n = 0;
  out[0] = 0;
  for (size_t i = 0; i < N_TYPES && n < 128; i++) {
    n += (size_t)snprintf(out + n, 128 - n, "%s%s", n ? ", " : "", tensor_type_find(table[i].type)->name);
  }
  return out;
}

/* Groups of k outside and rows inside, for few rows at a time: the bytes of those rows stay in the first-level cache, and
 * every plane is written in runs. */
void repack_rows(const struct repack_type *t, const struct repack_planes *dst, uint32_t row, const unsigned char *src, size_t row_bytes,
                 uint32_t n_rows, uint32_t k, uint32_t g0, uint32_t n) {
  enum { TILE = 32 };    /* rows: 32 x 1.1 KB of a group of columns stay cached, and a run of 512 bytes is written */
  const struct tensor_type *in = tensor_type_find(t->type);
  size_t group_bytes = (size_t)t->group / in->block * in->bytes, q_bytes = (size_t)t->group / t->block * t->q_bytes;
  for (uint32_t r0 = 0; r0 < n_rows; r0 += TILE) {
    uint32_t r1 = n_rows - r0 < TILE ? n_rows : r0 + TILE;
    for (uint32_t g = 0; g < n; g++) {
      size_t values = k - (size_t)(g0 + g) * t->group;
      struct repack_planes to = { dst->q + g * q_bytes * dst->rows + 16 * (size_t)(row + r0), dst->scale, dst->rows };
      if (t->scale_bytes) to.scale += g * (size_t)t->scale_bytes * dst->rows + 4 * (size_t)(row + r0);
      t->pack(to, src + r0 * row_bytes + g * group_bytes, row_bytes, r1 - r0, (uint32_t)(values < t->group ? values : t->group));
    }
  }
}
