#include "random_matrix.h"

#include <stdlib.h>

#include "gguf/tensor_type.h"
#include "gguf_writer.h"
#include "kernel_harness.h"

const struct weight_type weight_types[N_WEIGHT_TYPES] = {
  { TYPE_F32, 4 },   { TYPE_F16, 8 },   { TYPE_BF16, 8 },   { TYPE_Q8_0, 32 },
  { TYPE_Q4_0, 32 }, { TYPE_Q4_1, 32 }, { TYPE_Q5_0, 32 }, { TYPE_Q5_1, 32 }, { TYPE_IQ4_NL, 32 },
  { TYPE_Q2_K, 256 }, { TYPE_Q3_K, 256 }, { TYPE_Q4_K, 256 }, { TYPE_Q5_K, 256 }, { TYPE_Q6_K, 256 }, { TYPE_IQ4_XS, 256 },
};
struct matrix random_matrix(uint32_t type, uint32_t n, uint32_t k) {
  const struct repack_type *t = repack_find(type);
  const struct tensor_type *in = tensor_type_find(type);
  uint32_t groups = repack_groups(t, k);
  struct matrix w = { .t = t, .n = n, .k = k, .q_bytes = repack_q_bytes(t, n, k, groups), .scale_bytes = repack_scale_bytes(t, n, groups) };
  struct gguf_bytes file = { 0 };
  w.values = random_floats((size_t)n * k, -0.4f, 0.3f);
  writer_quantise(&file, type, w.values, (uint64_t)n * k);
  in->dequantise(file.data, w.values, (uint64_t)n * k);
  w.q = test_memory(w.q_bytes / 4, 4);
  w.scale = w.scale_bytes ? test_memory(w.scale_bytes / 4, 4) : canary_words(w.scale_bytes = 16);       /* bound, never read */
  repack_rows(t, &(struct repack_planes){ w.q, w.scale, n }, 0, file.data, (size_t)k / in->block * in->bytes, n, k, 0, groups);
  free(file.data);
  return w;
}
