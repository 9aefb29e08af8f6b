/* tensor_type.h - the tensor types of GGUF: block sizes, and reference dequantisers (one row, plain C) that embeddings,
 * tests and the repacking of weights use.  The layouts are those of ggml (ggml-common.h of github.com/ggml-org/ggml). */
#ifndef GGUF_TENSOR_TYPE_H
#define GGUF_TENSOR_TYPE_H

#include <stdint.h>

enum tensor_type_id { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q4_0 = 2, TYPE_Q4_1 = 3, TYPE_Q5_0 = 6, TYPE_Q5_1 = 7, TYPE_Q8_0 = 8, TYPE_Q2_K = 10,
                      TYPE_Q3_K = 11, TYPE_Q4_K = 12, TYPE_Q5_K = 13, TYPE_Q6_K = 14, TYPE_IQ4_NL = 20, TYPE_IQ4_XS = 23, TYPE_BF16 = 30 };

struct tensor_type {
  uint32_t id;                                     /* number in the file */
  const char *name;
  uint32_t block, bytes;                           /* values and bytes of a block; 0 if only the name is known */
  void (*dequantise)(const void *row, float *out, uint64_t n);   /* n values, a multiple of block; NULL: not supported */
};

const struct tensor_type *tensor_type_find(uint32_t id);   /* NULL: not in the table */

#endif
