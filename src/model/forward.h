/* forward.h - the forward pass of a llama-family model on a device: the whole transformer in one file (forward.c).
 * Prefill goes layer by layer over a block of tokens, so that one layer's KV is at work at a time; decode goes through
 * all layers with one token in one submit. */
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include "attention/attention.h"
#include "model/linear.h"
#include "model/norm.h"
#include "shaders/step.h"

struct forward {
  const struct model *m;
  struct device *dev;
  uint32_t chunk;                 /* tokens that a layer takes at once in prefill */
  uint32_t block;                 /* tokens whose hidden states are held between layers, a multiple of chunk */
  uint32_t logit_rows;            /* rows of logits at once */
  const struct kernel *add, *add_row, *gate_mul, *soft_cap;   /* the last two only where they are needed */
  struct norm_kernels norm;
  struct linear_kernels linear;
  struct view hidden[2];          /* [block + chunk][D] float: residual stream before and after a layer */
  int n_cs;                       /* angles of RoPE: [0], and where windowed layers have their own [1] */
  const struct rope *turns[2];
  struct view cs[2];              /* [block + chunk][d/2][2] float: cos and sin of RoPE */
  struct view h, x0, x1, o;       /* [chunk][D]: normalised input; residual stream; what is to be added to it */
  struct view qkv, y, gu, ff;     /* [chunk][(Hq + 2Hk)*d], [chunk][Hq*d], [chunk][2*n_ff], [chunk][n_ff] */
  struct view post, normed, unbiased;   /* o, qkv after their norms; a linear layer before its bias: only where there are such */
  struct view logits, capped;     /* [logit_rows][V] */
  struct view in_x, in_cs[2], step;   /* a decode step's input: [D], [d/2][2], [STEP_WORDS] */
  struct view in;                 /* these together */
  uint32_t step_words[STEP_WORDS];   /* a copy on the host, for who counts what a step costs */
  struct buffer *staging_in, *staging_out;
  struct pool pool;
};

/* Allocates everything.  chunk is what the attention policy can take at once. */
enum lrqk_status forward_init(struct forward *f, const struct model *m, uint32_t n_ctx, uint32_t chunk);
void forward_destroy(struct forward *f);

typedef bool (*forward_progress_fn)(void *ud, uint64_t done, uint64_t total);   /* token-layers; false stops */

/* Appends ids[0..n), n <= block, to the l0 tokens that the policy's cache holds.  Afterwards the hidden state of token i
 * can be turned into logits by forward_logits until the next call. */
enum lrqk_status forward_prefill(struct forward *f, struct attention *a, const int32_t *ids, uint32_t n, uint32_t l0, forward_progress_fn progress,
                                 void *ud);
/* Appends n tokens of random rows made from the seed (fill.c); there are no hidden states and no logits after it. */
enum lrqk_status forward_fill(struct forward *f, struct attention *a, uint32_t n, uint32_t l0, uint64_t seed, forward_progress_fn progress,
                              void *ud);
/* Logits of tokens i .. i + rows of that block (rows <= logit_rows): *out [rows][V], valid until the next call. */
enum lrqk_status forward_logits(struct forward *f, uint32_t l0, uint32_t i, uint32_t rows, const float **out);
/* Appends one token at position t: *out [V]. */
enum lrqk_status forward_decode(struct forward *f, struct attention *a, int32_t id, uint32_t t, const float **out);

#endif
