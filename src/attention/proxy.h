/* proxy.h - the proxies of one layer: r numbers per token and KV head that stand for its key, kept per page of tokens; and
 * how `pairs` makes them: chosen coordinates (`gram` makes them by maps, see gram.h; `paper`: paper_proxy.h).  Device memory. */
#ifndef ATTENTION_PROXY_H
#define ATTENTION_PROXY_H

#include "attention/ranges.h"
#include "cache/state.h"

struct proxy_shape {
  uint32_t rank;                  /* r */
  bool int8;
  uint32_t rw;                    /* uint4 words of a row: ceil(r/16) in int8, ceil(r/8) in fp16 */
  uint32_t n_pages;
  uint32_t planes;                /* sets of proxies of a layer: a KV head's, or (paper, share head) a query head's own */
  bool energies, pairs;           /* energies are summed; proxies are chosen pairs */
  struct ranges ranges;           /* of scores and of what is kept by position */
  const struct kernel *energy, *choose, *build;
};

struct proxy {
  struct view energy, kept;       /* [hk][2][d/2] float: sums of |q_p|^2 and |k_p|^2, if kept; kept: as they were at proxy_mark */
  struct view tab;                /* [hk][r] uint: the coordinates that are kept (pairs) */
  struct view *page;              /* [n_pages] rows [planes][page tokens][rw] uint4, then for int8 scales [planes][page tokens/2] */
};

enum lrqk_status proxy_shape_init(struct proxy_shape *s, struct attn_core *c, const struct lrqk_cache_options *o);
enum lrqk_status proxy_init(struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, struct pool *pool);
void proxy_destroy(struct proxy *p);

uint32_t proxy_page_tokens(const struct attn_core *c, uint32_t page);   /* tokens that a page has room for, a multiple of 512 */
uint64_t proxy_token_bytes(const struct proxy_shape *s);                /* of one token, all planes, with its scales */
/* Rows and scales of n planes from `plane` on; without scales: the rows. */
struct view proxy_rows(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, uint32_t page, uint32_t plane, uint32_t n);
struct view proxy_scales(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, uint32_t page, uint32_t plane, uint32_t n);

/* Nothing without energies, as mark and restore.  Adds m tokens to the energies: queries core->q, keys at rows row0.. of kv. */
void proxy_add_energy(const struct proxy *p, const struct proxy_shape *s, struct attn_core *c, struct view kv, uint32_t row0, uint32_t m);
/* Chooses the pairs from the energies and makes the proxies of tokens 0 .. l from their exact rows. */
void proxy_build(const struct proxy *p, const struct proxy_shape *s, struct attn_core *c, const struct kv_rows *rows, uint32_t l);
void proxy_mark(const struct proxy *p, struct attn_core *c);            /* keeps the energies ... */
void proxy_restore(const struct proxy *p, struct attn_core *c);         /* ... and brings them back */
enum lrqk_status proxy_cut(const struct proxy *p, struct attn_core *c, double part);   /* scales the energies */
/* Energies; and, if `made`, the pairs and the proxies of tokens 0 .. l. */
enum lrqk_status proxy_state(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, struct state *st, uint32_t l, bool marked,
                             bool made);

#endif
