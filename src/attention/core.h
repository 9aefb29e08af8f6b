/* core.h - exact attention, shared by every policy: RoPE, prefill attention over the KV rows of a layer (three kernels
 * on tiles of keys, merged), decode attention over whole layers or over active rows.  A policy decides which rows. */
#ifndef ATTENTION_CORE_H
#define ATTENTION_CORE_H

#include "cache/kv_rows.h"
#include "model/model.h"

struct attn_core {
  struct device *dev;
  const struct hparams *hp;
  const struct rope *turns;       /* of full-attention layers in this context */
  uint32_t hk, g, d;              /* KV heads, query heads per KV head, head size */
  uint32_t n_ctx, chunk;          /* tokens of the context; the most of one prefill call */
  uint32_t tile;                  /* keys of a prefill tile: divides a page */
  uint32_t page, token_bytes;     /* of kv_rows */
  const struct kernel *rope, *rope_keep, *qk, *softmax, *pv, *merge, *merge_token, *prefill_tile;   /* prefill_tile in place of qk, softmax and pv, or NULL */
  struct view q;                  /* after RoPE: [hk][m][g][d] float */
  struct view step;               /* [STEP_WORDS] uint: what changes with every token (shaders/step.h) */
  struct view s, p;               /* [hk][chunk*g][tile] float: scores and their exps */
  struct view ml;                 /* [rows][shares][2] float: maximum, sum */
  struct view o;                  /* [rows][shares][d] float: partial results */
  struct view ds;                 /* decode scores of a page or of active rows [Hq][score_stride] float */
  uint32_t score_stride, max_shares;
  bool rows_only;                 /* prefill writes rows and attends to nothing (model/fill.c) */
  struct pool pool;
};

/* Decode attention over `sets` sets of rows (the KV heads of a layer, or the active rows of each list), each for Hq/sets
 * query heads; rows of a set lie kstr uint4 apart, sets hstr. */
struct attn_decode {
  const struct kernel *qk, *qk_window, *pv;   /* register form, or */
  const struct kernel *tile;      /* ... both in one */
  uint32_t lists, share;          /* lists of query heads that a lane works on together; set of a list: list / share */
  uint32_t kstr, hstr;
};

/* The most tokens of one prefill call: fewer where the score scratch of a long context would not fit. */
enum lrqk_status attn_chunk(uint32_t *chunk, struct device *dev, const struct hparams *hp, uint32_t n_ctx);
/* step: [STEP_WORDS] uint, which the caller fills for each decode step. */
enum lrqk_status attn_core_init(struct attn_core *c, struct device *dev, const struct hparams *hp, uint32_t n_ctx, struct view step);
/* Makes room for decode over so many active rows.  Only while a policy is opened. */
enum lrqk_status attn_core_reserve(struct attn_core *c, uint32_t rows);
void attn_core_destroy(struct attn_core *c);

/* Multiplies n floats of the device by `by` (0: clears them, whatever they were).  Waits for the device. */
enum lrqk_status attn_scale(struct attn_core *c, struct view v, uint64_t n, double by);

/* qkv [m][(Hq + 2Hk)*d] -> core->q, and KV rows from row0 (use_step: row0 + position of the new token) of kv. */
void attn_rope(struct attn_core *c, struct view qkv, struct view cs, uint32_t m, struct view kv, uint32_t row0, bool use_step);
/* One token to row 0 of kv; what came in is row keep0 + step[STEP_KEEP] of keep. */
void attn_rope_keep(struct attn_core *c, struct view qkv, struct view cs, struct view kv, struct view keep, uint32_t keep0);
/* The same as attn_rope into the rows of tokens t0 .. t0 + m of a layer, which lie in one page.  Here and below token t lies at row
 * t % rows->n_ctx. */
void attn_rope_rows(struct attn_core *c, struct view qkv, struct view cs, uint32_t t0, uint32_t m, const struct kv_rows *rows);

/* y [m][Hq*d]: causal attention of the m queries in core->q at positions t0.. over tokens 0 .. t0 + m, each query over the
 * newest `window` ones; 0: over all. */
void attn_prefill(struct attn_core *c, const struct kv_rows *rows, uint32_t window, uint32_t t0, uint32_t m, struct view y);

enum lrqk_status attn_decode_init(struct attn_decode *a, struct attn_core *c, uint32_t sets, uint32_t kstr, uint32_t hstr);
/* y [Hq*d]: the query in core->q over the newest `window` of l tokens; 0: over all. */
void attn_decode_rows(struct attn_core *c, const struct attn_decode *a, const struct kv_rows *rows, uint32_t window, uint32_t l, struct view y);
/* ... over the first n rows of each set of act, n being also at step[STEP_ROWS]; max_rows bounds it. */
void attn_decode_active(struct attn_core *c, const struct attn_decode *a, struct view act, uint32_t n, uint32_t max_rows, struct view y);
/* The same without the last step: in shares, whose number it returns.  One: y is the result; more: parts are in core->o [Hq][shares][d] and
 * core->ml, and y is untouched. */
uint32_t attn_decode_shares(struct attn_core *c, const struct attn_decode *a, struct view act, uint32_t n, uint32_t max_rows, struct view y);

#endif
