/* repack.c - the packers and their table.  A packer walks groups of k outside and rows inside, for few rows at a time: the
 * bytes of those rows stay in the first-level cache, and every plane is written in runs.  Called by weights.c. */
#include "model/repack.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "gguf/tensor_type.h"

enum { TILE = 32 };    /* rows: 32 x 1.1 KB of a group of columns stay cached, and a run of 512 bytes is written */

/* float4 [k/4][rows] */
static void pack_f32(const struct repack_planes *dst, uint32_t row, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t k,
                     uint32_t g0, uint32_t n) {
  (void)k;
  for (uint32_t t = 0; t < n_rows; t += TILE) {
    uint32_t end = n_rows - t < TILE ? n_rows : t + TILE;
    for (uint32_t g = 0; g < n; g++) {
      unsigned char *q = dst->q + 16 * ((size_t)g * dst->rows + row);
      for (uint32_t r = t; r < end; r++) memcpy(q + 16 * (size_t)r, src + r * row_bytes + 16 * (size_t)(g0 + g), 16);
    }
  }
}

/* A group is two blocks: q uint4 [2][2][rows] of int8, scale uint [rows] of two fp16, the first block in the low half. */
static void pack_q8_0(const struct repack_planes *dst, uint32_t row, const unsigned char *src, size_t row_bytes, uint32_t n_rows,
                      uint32_t k, uint32_t g0, uint32_t n) {
  uint32_t blocks = k / 32;
  size_t plane = 16 * (size_t)dst->rows;
  for (uint32_t t = 0; t < n_rows; t += TILE) {
    uint32_t end = n_rows - t < TILE ? n_rows : t + TILE;
    for (uint32_t g = 0; g < n; g++) {
      unsigned char *q = dst->q + 4 * g * plane + 16 * (size_t)row, *scale = dst->scale + 4 * ((size_t)g * dst->rows + row);
      bool both = 2 * (g0 + g) + 1 < blocks;
      for (uint32_t r = t; r < end; r++) {
        const unsigned char *b = src + r * row_bytes + 68 * (size_t)(g0 + g);
        unsigned char *o = q + 16 * (size_t)r, s[4] = { b[0], b[1], 0, 0 };
        memcpy(o, b + 2, 16);
        memcpy(o + plane, b + 18, 16);
        if (both) {
          memcpy(s + 2, b + 34, 2);
          memcpy(o + 2 * plane, b + 36, 16);
          memcpy(o + 3 * plane, b + 52, 16);
        }
        memcpy(scale + 4 * (size_t)r, s, 4);
      }
    }
  }
}

/* In the file byte i of a block holds values i and i + 16.  In a plane uint s of the uint4 holds values 8s .. 8s + 7, with
 * value 8s + i in the low and 8s + 4 + i in the high nibble of byte i: two masks give four values each. */
static void pack_q4_1(const struct repack_planes *dst, uint32_t row, const unsigned char *src, size_t row_bytes, uint32_t n_rows,
                      uint32_t k, uint32_t g0, uint32_t n) {
  (void)k;
  const uint32_t low = 0x0f0f0f0fu, high = 0xf0f0f0f0u;
  for (uint32_t t = 0; t < n_rows; t += TILE) {
    uint32_t end = n_rows - t < TILE ? n_rows : t + TILE;
    for (uint32_t g = 0; g < n; g++) {
      size_t at = (size_t)g * dst->rows + row;
      for (uint32_t r = t; r < end; r++) {
        const unsigned char *b = src + r * row_bytes + 20 * (size_t)(g0 + g);
        uint32_t w[4];
        memcpy(w, b + 4, 16);
        const uint32_t v[4] = { (w[0] & low) | (w[1] & low) << 4, (w[2] & low) | (w[3] & low) << 4,
                                (w[0] >> 4 & low) | (w[1] & high), (w[2] >> 4 & low) | (w[3] & high) };
        memcpy(dst->q + 16 * (at + r), v, 16);
        memcpy(dst->scale + 4 * (at + r), b, 4);
      }
    }
  }
}

static const struct repack_type table[] = {
  { TYPE_F32,  KERNEL_MATMUL_F32,  .block = 4,  .q_bytes = 16, .group = 4,  .scale_bytes = 0, .pack = pack_f32 },
  { TYPE_Q8_0, KERNEL_MATMUL_Q8_0, .block = 32, .q_bytes = 32, .group = 64, .scale_bytes = 4, .pack = pack_q8_0 },
  { TYPE_Q4_1, KERNEL_MATMUL_Q4_1, .block = 32, .q_bytes = 16, .group = 32, .scale_bytes = 4, .pack = pack_q4_1 },
};
enum { N_TYPES = sizeof table / sizeof table[0] };

const struct repack_type *repack_find(uint32_t type) {
  for (size_t i = 0; i < N_TYPES; i++) {
    if (table[i].type == type) return &table[i];
  }
  return NULL;
}

const char *repack_supported(char out[64]) {
  size_t n = 0;
  out[0] = 0;
  for (size_t i = 0; i < N_TYPES && n < 64; i++) {
    n += (size_t)snprintf(out + n, 64 - n, "%s%s", n ? ", " : "", tensor_type_find(table[i].type)->name);
  }
  return out;
}
