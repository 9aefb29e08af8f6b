/* gguf_writer.h - builds GGUF files in memory: any keys and tensors, right or wrong, and tiny random llama models of any
 * shape and weight type with a small vocabulary.  Aborts when memory runs out.  For all tests that need a model file. */
#ifndef TESTS_GGUF_WRITER_H
#define TESTS_GGUF_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/gguf.h"

struct gguf_bytes { unsigned char *data; size_t n, cap; };

/* Zero-initialised is ready: version 3, alignment 32. */
struct gguf_writer {
  struct gguf_bytes keys, tensors, data;   /* the three parts of the file so far */
  uint64_t n_keys, n_tensors;
  uint32_t version, alignment;             /* 0: the usual; an alignment is written as a key by writer_file */
};

void writer_u32(struct gguf_writer *w, const char *key, uint32_t v);
void writer_f32(struct gguf_writer *w, const char *key, float v);
void writer_bool(struct gguf_writer *w, const char *key, bool v);
void writer_string(struct gguf_writer *w, const char *key, const char *v);
void writer_strings(struct gguf_writer *w, const char *key, const char *const *v, uint64_t n);
void writer_array(struct gguf_writer *w, const char *key, enum gguf_value_type element, const void *v, uint64_t n);   /* of numbers */
void writer_raw(struct gguf_writer *w, const char *key, uint32_t type, const void *value, size_t bytes);   /* any type, any bytes */

/* n_dims dimensions, dims[0] the row length; bytes of data, copied. */
void writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims, const void *data,
                   size_t bytes);
/* Only the description, with any offset into the tensor data. */
void writer_tensor_at(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t offset);
/* n values quantised to a type that has a kernel, appended to out; free(out->data).  Types with a rule of their own get
 * the nearest values, others any of about the same size. */
void writer_quantise(struct gguf_bytes *out, uint32_t type, const float *v, uint64_t n);
/* rows x k values as floats (row by row), quantised. */
void writer_matrix(struct gguf_writer *w, const char *name, uint32_t type, uint64_t k, uint64_t rows, const float *v);

/* Takes a key, or the description of a tensor, out again; aborts if it is not there. */
void writer_drop(struct gguf_writer *w, const char *key);
void writer_drop_tensor(struct gguf_writer *w, const char *name);

/* The whole file, to be freed with free(); *n its size; *tensor_data (may be NULL) where the tensor data begin. */
unsigned char *writer_file(const struct gguf_writer *w, size_t *n, size_t *tensor_data);
void writer_save(const struct gguf_writer *w, const char *path);
void writer_free(struct gguf_writer *w);

uint64_t writer_random(uint64_t *state);            /* splitmix64 */
float writer_gauss(uint64_t *state);                /* about N(0, 1): a sum of uniforms, the same on every machine */

/* A random model.  Zero means the default that stands beside. */
struct tiny_model {
  const char *arch;         /* llama; tensors and keys are those that the architecture has */
  uint32_t layers;          /* 2 */
  uint32_t embd;            /* 64 */
  uint32_t ff;              /* 128 */
  uint32_t heads, kv_heads; /* 4, 2 */
  uint32_t head_size;       /* embd / heads; otherwise attention.key_length is written */
  uint32_t vocab;           /* 288; at least 260: bytes, four merged tokens and special ones come first */
  uint32_t ctx;             /* 512 */
  uint32_t rope_dims;       /* head_size */
  float rope_base;          /* 10000 */
  uint32_t type;            /* of the matrices, any that has a kernel: TYPE_F32 (0), TYPE_Q8_0 ... */
  uint32_t embd_type;       /* of token_embd (and of output) + 1; 0: as type */
  uint32_t v_type;          /* of attn_v + 1, for layers that mix types; 0: as type */
  bool untied;              /* with output.weight */
  bool bias;                /* of q, k, v; with ffn_bias of all linear layers */
  bool ffn_bias;
  bool apart;               /* phi3: q, k, v and gate, up as they are elsewhere */
  uint32_t window;          /* attention.sliding_window */
  uint32_t period;          /* attention.sliding_window_pattern */
  float attn_cap, logit_cap;
  float linear;             /* factor of linear scaling */
  uint32_t long_from;       /* rope.scaling.original_context_length, with tensors of factors and attn_factor 1.2 */
  float query_gain;         /* 1; q and k are so much larger: soft caps and scales show */
  bool no_vocabulary;       /* without tokenizer.* keys */
  uint64_t seed;
};
struct tiny_model tiny_model_defaults(const struct tiny_model *t);    /* with the zeros filled in */
void tiny_model_keys(struct gguf_writer *w, const struct tiny_model *t);
void tiny_model_vocabulary(struct gguf_writer *w, uint32_t n);
void tiny_model_tensors(struct gguf_writer *w, const struct tiny_model *t);

unsigned char *tiny_model_file(const struct tiny_model *t, size_t *n);   /* free() */
void tiny_model_save(const struct tiny_model *t, const char *path);

#endif
