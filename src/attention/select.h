/* select.h - which tokens a decode step attends to: proxy scores of all candidates, one softmax per query head, their
 * sum or maximum over the heads of a list as a 16-bit key, and the k largest keys in ascending token order.
 * Deterministic: ties go to the lowest token.  Scratch is shared by all layers. */
#ifndef ATTENTION_SELECT_H
#define ATTENTION_SELECT_H

#include "attention/proxy.h"

struct selector {
  struct attn_core *core;
  uint32_t lists, heads, share;   /* lists of tokens; query heads of each; lists per KV head */
  uint32_t stat_lists, stat_heads, stat_share;   /* the same for scoring: with a plane per query head each is scored alone */
  uint32_t k, sinks, list_stride; /* tokens chosen, sinks among them; words of a list */
  bool tail;                      /* statistics cover all tokens, for selector_tail */
  uint32_t lite, per, parts;      /* newest tokens, which are no candidates; the shares of this step */
  uint32_t scored;                /* tokens of the softmax in this step */
  struct ranges ranges;           /* of weights and keys */
  uint32_t planes;                /* of proxies that one binding holds */
  uint32_t unit, max_parts, one_max;   /* smallest share of a workgroup; shares; up to here one workgroup selects */
  const struct kernel *stat, *stat_mean, *keys, *keys_count, *count, *count_last, *emit, *one, *all, *mix;   /* mix: for one range or for several */
  struct view queries;            /* [lists*heads][row] float: proxies of the queries, 1/sqrt(d) folded in */
  struct view ml, total;          /* [lists][heads][parts][2+WG] float; [lists][heads] float, see tail_mix */
  struct view *weights, *key;     /* of each range [lists][heads][tokens] 16-bit; [lists][tokens] 16-bit */
  struct view counts[4], prefix[4];
  struct pool pool;
};

enum lrqk_status selector_init(struct selector *s, struct attn_core *c, const struct lrqk_cache_options *o, const struct proxy_shape *shape);
/* How many of the first tokens a step with n candidates scores: none if it takes all of them, lite ones too with a tail. */
static inline uint32_t selector_scored(const struct selector *s, uint32_t n) { return n <= s->k ? 0 : s->tail ? n + s->lite : n; }
void selector_destroy(struct selector *s);

/* mean: NULL, or what gram_mean made, a view for each range: the mean key's scores are added to the proxies'.
 * The first n tokens are candidates (n at step[STEP_CAND] too): list [lists][list_stride] = the min(k, n) chosen ones. */
void selector_run(struct selector *s, const struct proxy *p, const struct proxy_shape *shape, const struct view *mean, uint32_t n,
                  struct view list);
/* After attention over the chosen and the lite tokens (attn_decode_shares: x [Hq][shares][d] and core->ml): y [Hq*d] gives the mass
 * of all others to the mean value row, value_sum [hk][d] / l.  Only after selector_run with more than k candidates. */
void selector_tail(struct selector *s, struct view list, struct view x, uint32_t shares, struct view value_sum, struct view y);

#endif
