/* gram.h - proxies by fixed maps (`--proxy gram`): the joint factors of queries and keys, solved from Gram matrices that are
 * summed before RoPE and averaged over the positions where they will be used.  k^ = M_K'(k - R(t) mu), q^ = P'q, and with the
 * mean key mu of each head a score is q.R(t) mu + q^.k^.  Called by lrqk.c, layer by layer; select.c adds the mean's scores. */
#ifndef ATTENTION_GRAM_H
#define ATTENTION_GRAM_H

#include "attention/gram_products.h"
#include "attention/proxy.h"
#include "attention/rotate.h"

enum { GRAM_PENDING = 16 };   /* decoded tokens that wait to be summed: a sum is read and written once for so many */

struct gram_shape {
  struct attn_core *core;
  const struct lrqk_cache_options *opt;
  bool sums, maps;                /* sums are kept; proxies are made by them */
  uint32_t rw;                    /* uint4 words of a proxy row */
  uint32_t fast;                  /* pairs that turn too much within a block of 64 tokens for a cubic */
  struct gram_products products;
  const struct kernel *token[2], *coef, *score;   /* token[1]: with maps */
  bool joint;                     /* token makes the cubics */
  const struct ranges *ranges;    /* of what follows, a view for each: */
  struct view *turn;              /* tables of shaders/turn.h */
  struct view *coefs, *mean;      /* [Hq][blocks of 64 tokens][ceil(fast/2) + 1] float4, slow: [1]; on: [Hq][64*blocks] float */
  struct view ab;                 /* [Hq][d] */
  struct buffer *staging;         /* sums on their way to the solver, maps on theirs back */
  struct rotate_pairs pairs;
  double *work;                   /* the solver's, for so many workers at a time */
  uint32_t workers;
  enum lrqk_status *status;       /* [hk] of the solved heads */
  uint32_t solved_at;             /* tokens that the averages of `work` are for, 0: none */
  struct pool pool, kept;         /* tables and scratch; what mark keeps, and pending rows: host-visible */
};

struct gram {
  struct view sum, old;           /* as in shaders/gram_sum.k; old: as it was at gram_mark */
  struct view pending;            /* [GRAM_PENDING][(Hq + 2Hk)*d] float before RoPE */
  struct view map;                /* [hk][r][d] M_K', [hk][r][d] P', [hk][d] mu, float */
};

enum lrqk_status gram_shape_init(struct gram_shape *s, struct attn_core *c, const struct lrqk_cache_options *o,
                                 const struct proxy_shape *proxy);
void gram_shape_destroy(struct gram_shape *s);                             /* zeroed is fine */
enum lrqk_status gram_init(struct gram *g, struct gram_shape *s, struct pool *pool);

/* Adds m tokens: qkv [m][(Hq + 2Hk)*d] before RoPE. */
void gram_add(const struct gram *g, const struct gram_shape *s, struct view qkv, uint32_t m);
/* attn_rope of a token, which becomes pending token i + step[STEP_KEEP]. */
void gram_rope(const struct gram *g, const struct gram_shape *s, struct view qkv, struct view cs, struct view kv, uint32_t i);
uint64_t gram_row_bytes(const struct gram_shape *s);       /* of a pending token, in host memory */
void gram_add_pending(const struct gram *g, const struct gram_shape *s, uint32_t n);
void gram_mark(const struct gram *g, const struct gram_shape *s);
void gram_restore(const struct gram *g, const struct gram_shape *s);
enum lrqk_status gram_cut(const struct gram *g, const struct gram_shape *s, double part);   /* scales the sums */
/* Sums, *pending rows, and the maps if proxies were made by them. */
enum lrqk_status gram_state(const struct gram *g, const struct gram_shape *s, struct state *st, uint32_t *pending, bool marked, bool made);

/* Makes the maps from the sums of l tokens: reads them back, so that it waits for the device.  A failure is left to the next
 * device_submit. */
void gram_solve(const struct gram *g, struct gram_shape *s, uint32_t l);
/* The proxies of tokens 0 .. l from their exact rows. */
void gram_build(const struct gram *g, const struct gram_shape *s, const struct proxy *p, const struct kv_rows *rows, uint32_t l);
/* The token t of a decode step, whose heads are in qkv and whose angles are in cs: RoPE, to core->q; its row into the rings of
 * `lists` lists in active [lists][slots][2d] and into `host`, the page of t; its value row into the sum `values`; itself as pending
 * token i + step[STEP_KEEP].  mapped: also its proxy and those of its queries, with what their mean scores need for `scored`
 * tokens.  again: its value is summed already. */
struct gram_token { struct view qkv, cs, active, host, values, queries; uint32_t t, lists, slots, i, scored; bool mapped, again; };
void gram_token(const struct gram *g, const struct gram_shape *s, const struct proxy *p, const struct gram_token *a);
/* What score_stat adds for the mean key at the first n tokens, for `lists` lists, after gram_token: cubics [Hq][blocks] float4,
 * or with --mean-key on scores [Hq][64*blocks], in a view for each range. */
const struct view *gram_mean(const struct gram_shape *s, uint32_t n, uint32_t lists);

#endif
