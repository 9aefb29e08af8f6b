/* repack.h - from the blocks of a file to the planes that the matmul kernels read (layouts: model.h, struct
 * linear_part).  One row of the table per weight type that has a kernel.  Called by weights.c. */
#ifndef MODEL_REPACK_H
#define MODEL_REPACK_H

#include <stddef.h>
#include <stdint.h>

#include "device/kernels.h"

/* Planes, or the piece of them that begins with some group of k. */
struct repack_planes { unsigned char *q, *scale; uint32_t rows; };

struct repack_type {
  uint32_t type;                  /* number in the file */
  enum kernel_id kernel;
  uint32_t block, q_bytes;        /* values of k that the kernel counts as one, and their bytes in plane q, an array of uint4 */
  uint32_t group, scale_bytes;    /* values of k that share words of plane scale, an array of uint; a multiple of block */

  /* Packs `values` values (a group, or half a one at the end of a row) of n_rows rows of the file, row_bytes apart, to where
   * `to` points: a row of the planes each.  Each further uint4, or word of plane scale, of a row lies to.rows behind. */
  void (*pack)(struct repack_planes to, const unsigned char *src, size_t row_bytes, uint32_t n_rows, uint32_t values);
};

const struct repack_type *repack_find(uint32_t type);   /* NULL: no kernel */
const char *repack_supported(char out[128]);            /* "F32, Q8_0, ..." */

/* Packs groups g0 .. g0 + n of n_rows rows of the file (k values each) as rows row .. row + n_rows of dst, which begins with
 * group g0: src, src + row_bytes, ... are where that group begins in them. */
void repack_rows(const struct repack_type *t, const struct repack_planes *dst, uint32_t row, const unsigned char *src, size_t row_bytes,
                 uint32_t n_rows, uint32_t k, uint32_t g0, uint32_t n);

/* Bytes of the planes of `rows` rows up to group g of k values. */
static inline uint64_t repack_q_bytes(const struct repack_type *t, uint32_t rows, uint32_t k, uint32_t g) {
  uint64_t values = (uint64_t)g * t->group;
  return (values < k ? values : k) / t->block * t->q_bytes * rows;
}
static inline uint64_t repack_scale_bytes(const struct repack_type *t, uint32_t rows, uint32_t g) {
  return (uint64_t)g * t->scale_bytes * rows;
}
static inline uint32_t repack_groups(const struct repack_type *t, uint32_t k) { return (k + t->group - 1) / t->group; }

#endif
