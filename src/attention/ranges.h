/* ranges.h - what is kept for every token of a context in rows of heads (weights, keys, scores of the mean key) and what is kept
 * for every position is cut into ranges of tokens, so that no view of it is larger than a device binds: one range wherever that
 * fits.  Ranges are of whole pages.  Used by select.c and gram.c; the kernels that read such rows run once for each range. */
#ifndef ATTENTION_RANGES_H
#define ATTENTION_RANGES_H

#include "attention/core.h"

enum { RANGE_UNIT = 512 };        /* selection works on shares of 512 tokens: rows are padded to that */

struct ranges {
  uint32_t span;                  /* tokens of a range */
  uint32_t n, last;               /* ranges; tokens of the last one */
};

/* Ranges for rows that take unit_bytes per RANGE_UNIT tokens, and fixed_bytes once.  LRQK_DEVICE if those of a page are too many. */
enum lrqk_status ranges_init(struct ranges *r, const struct attn_core *c, uint64_t unit_bytes, uint64_t fixed_bytes);
static inline uint32_t range_tokens(const struct ranges *r, uint32_t i) { return i + 1 < r->n ? r->span : r->last; }
/* A view for each range.  *out is the caller's (mem_free). */
enum lrqk_status ranges_alloc(struct view **out, const struct ranges *r, struct pool *pool, uint64_t unit_bytes, uint64_t fixed_bytes);

#endif
