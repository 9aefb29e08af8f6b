/* model.h - a model of the llama family (arch.h): hyper-parameters out of the file, and its weights on a device, quantised
 * as they are.  Symbols as in the docs: L layers, D model width, Hq query heads, Hk KV heads, g = Hq/Hk, d head size.
 * On the device coordinates of a rotary pair are always neighbours: weights.c brings the rows of files that pair halves
 * (and what is normalised or added there) into that order, which leaves every q.k as it is. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/arena.h"
#include "device/device.h"
#include "gguf/gguf.h"
#include "model/arch.h"

enum { HEAD_SIZE_MAX = 512 };   /* pair_choose keeps d/2 pairs in one workgroup */

/* The rotary embedding (rope.h): at position t pair p of a query or key turns by t * inv_freq[p], and what turns is
 * multiplied by magnitude. */
struct rope {
  double inv_freq[HEAD_SIZE_MAX / 2];   /* [d/2] radians a position, 0 for coordinates that do not rotate */
  double magnitude;                     /* 1 but for yarn and longrope */
};

enum { MAX_LAYERS = 512 };              /* bits of lrqk_cache_options.dense */

struct hparams {
  char arch[32];
  uint32_t n_layers;      /* L */
  uint32_t n_embd;        /* D, a multiple of 4 */
  uint32_t n_ff;          /* a multiple of 4 */
  uint32_t n_heads;       /* Hq */
  uint32_t n_kv_heads;    /* Hk, divides Hq */
  uint32_t head_size;     /* d, a multiple of 8 */
  uint32_t rope_dims;     /* coordinates that rotate, even, <= d */
  bool rope_neox;         /* on the device pairs are (p, p + rope_dims/2) rather than (2p, 2p + 1): never so out of a file */
  unsigned features;      /* FEATURE bits of the architecture */
  float rope_base;
  struct rope rope;
  struct rope rope_long;  /* in place of rope for a context of more than rope_short_ctx tokens */
  struct rope rope_local; /* of windowed layers, if local_rope */
  bool local_rope;
  uint32_t rope_short_ctx;/* 0: rope is for all */
  float rms_eps;
  float embd_scale;       /* embeddings are multiplied by it */
  float attn_scale;       /* q.k are multiplied by it */
  float attn_cap;         /* then become cap * tanh(x / cap), 0: stay */
  float logit_cap;        /* the same for logits */
  uint32_t window;        /* tokens that a query of a windowed layer sees, its own included */
  uint64_t windowed[MAX_LAYERS / 64];
  uint32_t n_vocab;
  uint32_t n_ctx;         /* trained context */
  uint32_t used_layers;   /* model_load takes so many of the first layers, 0: all */
};

static inline bool layer_is_windowed(const struct hparams *h, uint32_t layer) { return h->windowed[layer / 64] >> (layer % 64) & 1; }

/* The rotary embedding that full-attention layers, windowed layers have in a context of n_ctx tokens. */
static inline const struct rope *rope_of(const struct hparams *h, uint32_t n_ctx, bool windowed) {
  if (windowed && h->local_rope) return &h->rope_local;
  return h->rope_short_ctx && n_ctx > h->rope_short_ctx ? &h->rope_long : &h->rope;
}

/* Reads and checks the hyper-parameters: LRQK_MODEL for what is missing, absurd or does not fit together. */
enum lrqk_status hparams_read(struct hparams *out, const struct gguf *g);

/* Checks that every tensor the architecture needs is there with the right shape and a type that kernels exist for, and
 * that there is no other (it would change the result), without touching a device (one table: name, shape, required). */
enum lrqk_status model_check(const struct hparams *hp, const struct gguf *g);

/* y[m][n] = x[m][k] W[n][k]: the rows of W in parts, each of one type and small enough for one binding.
 * Planes are k-block major, [block][row], so that neighbouring lanes read neighbouring words (shaders/matmul.k). */
struct linear_part {
  enum kernel_id kernel;  /* KERNEL_MATMUL_x */
  uint32_t type;          /* the number in a file of the type that it is packed as */
  uint32_t block;         /* values of k that the kernel counts as one */
  uint32_t row0, rows;    /* output columns row0 .. row0 + rows of y */
  struct view q;          /* F32: [k/4][rows] float4; F16, BF16: [k/8][rows] uint4 of halves; Q8_0, Q6_K: [k/32][2][rows] uint4 of
                             int8; Q2_K, Q3_K: [k/64][rows] uint4 of two bits; else [k/32][rows] uint4 of nibbles */
  struct view scale;      /* uint.  Q8_0, Q4_0, IQ4_NL: [ceil(k/64)][rows] fp16 of two blocks; Q4_1: [k/32][rows] fp16 d, m; Q5_0, Q5_1:
                             [k/32][2][rows] that, 32 fifth bits; Q2_K, Q4_K, Q5_K: [k/256][5 or 13][rows] fp16 d, dmin, 16 bytes, 256
                             fifth bits; Q3_K, Q6_K: [k/256][13 or 5][rows] fp16 d, 16 int8, 256 third bits; IQ4_XS: [k/256][3][rows]
                             fp16 d, 8 int8; else empty */
};
struct linear { uint32_t n, k, n_parts; struct linear_part *part; struct view bias; /* [n] float, size 0: none */ };

struct layer {
  struct view attn_norm;  /* [D] float */
  struct linear qkv;      /* [Hq*d + 2*Hk*d][D]: query heads, key heads, value heads */
  struct view qk_norm;    /* [2][d] float of query heads, of key heads; size 0: none */
  struct linear out;      /* [D][Hq*d] */
  struct view attn_post;  /* [D] float, size 0: none */
  struct view ffn_norm;   /* [D] float */
  struct linear gate_up;  /* [2*ff][D]: gate rows, then up rows */
  struct linear down;     /* [D][ff] */
  struct view ffn_post;   /* [D] float, size 0: none */
};

struct model {
  struct hparams hp;
  const struct gguf *gguf;           /* borrowed */
  struct device *dev;                /* borrowed */
  const struct gguf_tensor *embd;    /* token_embd.weight [V][D]: rows are dequantised on the CPU, it needs no device memory */
  struct layer *layers;              /* [L] */
  struct view output_norm;           /* [D] float */
  struct linear head;                /* [V][D]; token_embd.weight where output.weight is missing */
  struct pool pool;                  /* all of the above on the device */
  struct arena arena;                /* all of the above on the host */
  uint64_t weight_bytes;             /* on the device */
};

typedef bool (*model_progress_fn)(void *ud, uint64_t done, uint64_t total);   /* bytes of the file; false stops */

enum lrqk_status model_load(struct model **out, const struct hparams *hp, const struct gguf *g, struct device *dev,
                            model_progress_fn progress, void *ud);
void model_free(struct model *m);                                  /* NULL is fine */
void model_embed(const struct model *m, int32_t id, float *out);   /* out[D], scaled; id is inside the vocabulary */

#endif
