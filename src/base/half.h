/* half.h - IEEE 754 half precision in integer arithmetic, rounding to nearest, ties to even: the same bits on every
 * machine and as in the kernels (f1h_rte in shaders/common.h). */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu, u;
  if (e == 31) u = sign | 0x7f800000u | (m << 13);
  else if (e) u = sign | ((e + 112u) << 23) | (m << 13);
  else {
    float f = (float)m * 0x1p-24f;   /* denormal or zero: exact */
    memcpy(&u, &f, 4);
    u |= sign;
  }
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static inline uint16_t float_to_half(float f) {
  uint32_t x;
  memcpy(&x, &f, 4);
  uint16_t s = (uint16_t)((x >> 16) & 0x8000u);
  x &= 0x7fffffffu;
  if (x > 0x7f800000u) return s | 0x7e00u;
  if (x < 0x38800000u) {             /* denormal result: one float addition rounds to even */
    float a;
    memcpy(&a, &x, 4);
    a += 0.5f;
    uint32_t u;
    memcpy(&u, &a, 4);
    return s | (uint16_t)(u - 0x3f000000u);
  }
  uint32_t n = (x + 0xfffu + ((x >> 13) & 1u) - 0x38000000u) >> 13;
  return s | (uint16_t)(n < 0x7c00u ? n : 0x7c00u);
}

#endif
