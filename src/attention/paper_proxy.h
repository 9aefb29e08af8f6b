/* paper_proxy.h - proxies as LRQK publishes them (`--proxy paper`): factors of the rotated queries and keys of the prompt
 * (factor.h), then for each token the published decode update (paper.h).  Both run on the CPU, with a round trip per layer and
 * token: what is published runs here to be compared with, not to be fast.  Called by lrqk.c, layer by layer. */
#ifndef ATTENTION_PAPER_PROXY_H
#define ATTENTION_PAPER_PROXY_H

#include "attention/proxy.h"

struct paper_shape {
  struct attn_core *core;
  const struct lrqk_cache_options *opt;
  const struct proxy_shape *proxy;
  bool on;
  bool fresh;                     /* factors have been solved since the last decode step */
  uint32_t heads;                 /* query heads of an A_K; a layer has proxy->planes of them */
  uint32_t lists, per_list;       /* lists of chosen tokens, query heads of each */
  const struct kernel *sum;
  struct buffer *in, *out;        /* STAGING: what the CPU reads, and what it writes */
  struct paper_work *work;
  struct pool kept;               /* what mark keeps: host-visible */
};

struct paper_layer {
  struct view sum, old;           /* as in shaders/query_sum.k; old: as it was at paper_mark */
  double *bq, *bk;                /* [planes][heads][r][d], [planes][r][d]: the bases as they are now */
  uint16_t *a;                    /* [planes][n_ctx][r] A_K in fp16 */
  uint32_t *first;                /* [lists][k]: the tokens chosen for the last token that was solved with */
};

enum lrqk_status paper_shape_init(struct paper_shape *s, struct attn_core *c, const struct lrqk_cache_options *o,
                                  const struct proxy_shape *proxy, uint32_t lists);
void paper_shape_destroy(struct paper_shape *s);                           /* zeroed is fine */
/* Nothing, as all below, unless s->on. */
enum lrqk_status paper_init(struct paper_layer *p, struct paper_shape *s, struct pool *pool);
void paper_destroy(struct paper_layer *p);
uint64_t paper_layer_bytes(const struct paper_shape *s);                   /* host memory of a layer */
uint64_t paper_step_bytes(const struct paper_shape *s);                    /* what paper_append moves from and to the host */

/* Adds the m tokens whose queries are in core->q. */
void paper_add(const struct paper_layer *p, const struct paper_shape *s, uint32_t m);
void paper_mark(const struct paper_layer *p, const struct paper_shape *s);
void paper_restore(const struct paper_layer *p, const struct paper_shape *s);
enum lrqk_status paper_cut(const struct paper_layer *p, const struct paper_shape *s, double part);   /* scales the sums */
/* Sums; and, if `made`, the bases, the proxies of l tokens, and the tokens that were chosen first. */
enum lrqk_status paper_state(const struct paper_layer *p, const struct paper_shape *s, struct state *st, uint32_t l, bool marked, bool made);

/* Factors and proxies of tokens 0 .. l, all that were added, from their sums and their exact rows in HOST memory.  Waits for
 * the device.  A failure of this and of paper_append is left to the next device_submit. */
void paper_solve(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host, uint32_t l);
/* The published update for the new token t, whose queries are in core->q and whose row is given: its proxy and those of its
 * queries, and new bases.  list [lists][stride]: the `count` tokens chosen for the token before it. */
void paper_append(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host, struct view row,
                  struct view list, uint32_t count, uint32_t t, struct view queries);

#endif
