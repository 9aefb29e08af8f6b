#include "attention/ranges.h"

#include "base/mem.h"
#include "base/num.h"

static const uint64_t INDEX_BYTES = UINT64_C(1) << 31;   /* kernels count what they read in 32 bits, some of it in halves */

enum lrqk_status ranges_init(struct ranges *r, const struct attn_core *c, uint64_t unit_bytes, uint64_t fixed_bytes) {
  const struct lrqk_device_info *i = &c->dev->caps.info;
  uint64_t all = (uint64_t)ceil_div(c->n_ctx, RANGE_UNIT) * RANGE_UNIT, most = min_u64(i->max_binding, INDEX_BYTES), span = c->page;
  if (c->dev->caps.texel) most = min_u64(most, i->max_texels * 4);
  if (fixed_bytes + min_u64(span, all) / RANGE_UNIT * unit_bytes > most)
    return fail(&c->dev->log, LRQK_DEVICE, "%s: scores of %llu tokens need a binding of %llu bytes, it allows %llu", i->name,
                (unsigned long long)min_u64(span, all), (unsigned long long)(fixed_bytes + min_u64(span, all) / RANGE_UNIT * unit_bytes),
                (unsigned long long)most);
  while (span < all && fixed_bytes + min_u64(2 * span, all) / RANGE_UNIT * unit_bytes <= most) span *= 2;
  uint64_t n = (all + span - 1) / span;
  *r = (struct ranges){ .span = (uint32_t)min_u64(span, UINT32_MAX), .n = (uint32_t)n, .last = (uint32_t)(all - (n - 1) * span) };
  return LRQK_OK;
}

enum lrqk_status ranges_alloc(struct view **out, const struct ranges *r, struct pool *pool, uint64_t unit_bytes, uint64_t fixed_bytes) {
  struct view *v = *out = mem_alloc(r->n, sizeof *v);
  if (!v) return fail(&pool->dev->log, LRQK_MEMORY, "cannot allocate a list of %u ranges", r->n);
  for (uint32_t i = 0; i < r->n; i++) TRY(pool_alloc(&v[i], pool, fixed_bytes + (uint64_t)range_tokens(r, i) / RANGE_UNIT * unit_bytes));
  return LRQK_OK;
}
