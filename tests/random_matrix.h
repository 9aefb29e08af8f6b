/* random_matrix.h - weights of every type with random values, quantised as in a file and packed as kernels read them.  Used by
 * test_kernels_model.c and test_kernels_tile.c. */
#ifndef RANDOM_MATRIX_H
#define RANDOM_MATRIX_H

#include "model/repack.h"

enum { N_WEIGHT_TYPES = 15 };
struct weight_type { uint32_t type, unit; };     /* unit: values of k that rows are multiples of */
extern const struct weight_type weight_types[N_WEIGHT_TYPES];

/* values [n][k]: what the planes stand for. */
struct matrix { const struct repack_type *t; uint32_t n, k; void *q, *scale; uint64_t q_bytes, scale_bytes; float *values; };
struct matrix random_matrix(uint32_t type, uint32_t n, uint32_t k);

#endif
