/* arch.h - the architectures that are covered and how each differs from llama: one row of features per name.  hparams.c
 * reads the keys of a file with a row's defaults, weights.c binds the tensors that its features ask for, and forward.c
 * knows hyper-parameters only. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum feature {
  ROPE_HALVES = 1,      /* the file pairs coordinates (p, p + rope_dims/2) rather than (2p, 2p + 1) */
  QK_NORM = 2,          /* every query and key head is normalised before RoPE */
  POST_NORMS = 4,       /* what attention and feed-forward add to the residual stream is normalised first */
  FUSED = 8,            /* attn_qkv in place of q, k, v, and ffn_up with the gate's rows first */
  GELU = 16,            /* the gate's activation, in place of SiLU */
  SCALED_EMBD = 32      /* embeddings are multiplied by sqrt(D) */
};

struct arch {
  const char *name;             /* general.architecture, and what its keys begin with */
  unsigned features;
  uint32_t window;              /* default of attention.sliding_window, 0: none */
  uint32_t period;              /* of each so many layers the last one is not windowed; 0: all are */
  float local_base;             /* RoPE base of windowed layers, 0: as in the others */
  float attn_cap, logit_cap;    /* defaults of the soft caps, 0: none */
  uint32_t wide_layers;         /* a model of so many layers scales attention by 1/sqrt(D/Hq) instead of 1/sqrt(d) */
};

const struct arch *arch_find(const char *name, size_t len);   /* NULL: not covered */
const char *arch_names(char out[128]);                        /* "llama, qwen2, ..." */

#endif
