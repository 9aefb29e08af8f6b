#include "attention/proxy.h"

#include "base/mem.h"
#include "base/num.h"

/* What is kept for 512 tokens of a context at most in one view: weights and keys (select.c), cubics or scores of the mean key and
 * RoPE by position (gram.c). */
static enum lrqk_status make_ranges(struct proxy_shape *s, struct attn_core *c, const struct lrqk_cache_options *o) {
  uint64_t hq = c->hk * c->g, unit = hq * RANGE_UNIT * 2, on = o->mean_key == LRQK_MEAN_KEY_ON, blocks = RANGE_UNIT / 64;
  if (o->proxy != LRQK_PROXY_GRAM) return ranges_init(&s->ranges, c, unit, 0);
  uint64_t apart = on ? hq * RANGE_UNIT * 4 : 0, coefs = hq * blocks * (on ? c->d / 4 + 1 : 1) * 16, turn = blocks * c->d * 4;
  const uint64_t all[] = { apart, coefs, turn };
  for (int i = 0; i < 3; i++) if (all[i] > unit) unit = all[i];
  return ranges_init(&s->ranges, c, unit, 33 * (uint64_t)c->d * 4);
}

enum lrqk_status proxy_shape_init(struct proxy_shape *s, struct attn_core *c, const struct lrqk_cache_options *o) {
  bool int8 = o->proxy_type == LRQK_PROXY_INT8;
  uint32_t neox = c->hp->rope_neox, small = c->dev->caps.cpu ? 8 : 64;
  *s = (struct proxy_shape){ .rank = o->rank, .int8 = int8, .rw = ceil_div(o->rank, int8 ? 16 : 8), .n_pages = ceil_div(c->n_ctx, c->page),
                             .planes = o->share == LRQK_SHARE_HEAD ? c->hk * c->g : c->hk, .pairs = o->proxy == LRQK_PROXY_PAIRS };
  s->energies = s->pairs || o->lend;
  TRY(make_ranges(s, c, o));
  TRY(kernel_get(&s->energy, c->dev, KERNEL_PAIR_ENERGY, SPEC(small, neox)));
  TRY(kernel_get(&s->choose, c->dev, KERNEL_PAIR_CHOOSE, SPEC(64, neox)));
  return kernel_get(&s->build, c->dev, int8 ? KERNEL_PROXY_BUILD_I8 : KERNEL_PROXY_BUILD_F16, SPEC(small));
}

uint32_t proxy_page_tokens(const struct attn_core *c, uint32_t page) {
  uint32_t left = c->n_ctx - page * c->page;
  return left < c->page ? ceil_div(left, RANGE_UNIT) * RANGE_UNIT : c->page;
}

/* Of a plane. */
static uint64_t row_bytes(const struct proxy_shape *s, const struct attn_core *c, uint32_t page) {
  return (uint64_t)proxy_page_tokens(c, page) * s->rw * 16;
}

static uint64_t scale_bytes(const struct attn_core *c, uint32_t page) { return (uint64_t)proxy_page_tokens(c, page) * 2; }

uint64_t proxy_token_bytes(const struct proxy_shape *s) { return (uint64_t)s->planes * (s->rw * 16 + (s->int8 ? 2 : 0)); }

struct view proxy_rows(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, uint32_t page, uint32_t plane, uint32_t n) {
  uint64_t one = row_bytes(s, c, page);
  return (struct view){ p->page[page].buf, p->page[page].offset + plane * one, n * one };
}

struct view proxy_scales(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, uint32_t page, uint32_t plane, uint32_t n) {
  if (!s->int8) return proxy_rows(p, s, c, page, plane, n);
  uint64_t one = scale_bytes(c, page), rows = s->planes * row_bytes(s, c, page);
  return (struct view){ p->page[page].buf, p->page[page].offset + rows + plane * one, n * one };
}

enum lrqk_status proxy_init(struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, struct pool *pool) {
  uint64_t energy = (uint64_t)c->hk * c->d * 4;
  if (s->energies) {
    TRY(pool_alloc(&p->energy, pool, energy));
    TRY(pool_alloc(&p->kept, pool, energy));
  }
  if (s->pairs) TRY(pool_alloc(&p->tab, pool, (uint64_t)c->hk * s->rank * 4));
  p->page = mem_alloc(s->n_pages, sizeof *p->page);
  if (!p->page) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate a list of %u proxy pages", s->n_pages);
  for (uint32_t i = 0; i < s->n_pages; i++)
    TRY(pool_alloc(&p->page[i], pool, s->planes * (row_bytes(s, c, i) + (s->int8 ? scale_bytes(c, i) : 0))));
  return LRQK_OK;
}

void proxy_destroy(struct proxy *p) {
  mem_free(p->page);
  p->page = NULL;
}

void proxy_add_energy(const struct proxy *p, const struct proxy_shape *s, struct attn_core *c, struct view kv, uint32_t row0, uint32_t m) {
  if (!s->energies) return;
  struct pair_energy_params e = { .rows = m, .hk = c->hk, .g = c->g, .d = c->d, .rot = c->hp->rope_dims, .row0 = row0 };
  DISPATCH(c->dev, s->energy, ceil_div(c->hk * c->d / 2, s->energy->spec[0]), 1, 1, &e, c->q, kv, p->energy);
}

void proxy_build(const struct proxy *p, const struct proxy_shape *s, struct attn_core *c, const struct kv_rows *rows, uint32_t l) {
  struct pair_choose_params ch = { .d = c->d, .rot = c->hp->rope_dims, .rank = s->rank };
  DISPATCH(c->dev, s->choose, c->hk, 1, 1, &ch, p->energy, p->tab);
  for (uint32_t i = 0; i * c->page < l; i++) {
    uint32_t n = l - i * c->page < c->page ? l - i * c->page : c->page;
    struct proxy_build_params b = { .hk = c->hk, .d = c->d, .rank = s->rank, .n = n, .page = proxy_page_tokens(c, i), .rw = s->rw };
    DISPATCH(c->dev, s->build, ceil_div(ceil_div(n, 2), s->build->spec[0]), c->hk, 1, &b, kv_page(rows, i), p->tab, p->page[i]);
  }
}

void proxy_mark(const struct proxy *p, struct attn_core *c) { if (p->kept.size) device_copy(c->dev, p->kept, p->energy); }
void proxy_restore(const struct proxy *p, struct attn_core *c) { if (p->kept.size) device_copy(c->dev, p->energy, p->kept); }

enum lrqk_status proxy_cut(const struct proxy *p, struct attn_core *c, double part) {
  return p->energy.size ? attn_scale(c, p->energy, p->energy.size / 4, part) : LRQK_OK;
}

/* The coordinates that were kept are indices: those of a file are checked. */
static enum lrqk_status pairs_state(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, struct state *st) {
  uint32_t n = c->hk * s->rank, *tab = mem_alloc(n, sizeof *tab);
  enum lrqk_status r = tab ? LRQK_OK : fail(st->log, LRQK_MEMORY, "%s: no memory for %u coordinates", st->path, n);
  if (r == LRQK_OK && !st->loading) r = device_read(c->dev, tab, p->tab, n * sizeof *tab);
  if (r == LRQK_OK) r = state_host(st, tab, n * sizeof *tab);
  for (uint32_t i = 0; r == LRQK_OK && i < n; i++)
    if (tab[i] >= c->d) r = state_damaged(st, "a coordinate of the proxies");
  if (r == LRQK_OK && st->loading) r = device_write(c->dev, p->tab, tab, n * sizeof *tab);
  mem_free(tab);
  return r;
}

enum lrqk_status proxy_state(const struct proxy *p, const struct proxy_shape *s, const struct attn_core *c, struct state *st, uint32_t l, bool marked,
                             bool made) {
  if (s->energies) TRY(state_view(st, p->energy));
  if (s->energies && marked) TRY(state_view(st, p->kept));
  if (!made) return LRQK_OK;
  if (s->pairs) TRY(pairs_state(p, s, c, st));
  for (uint32_t plane = 0; plane < s->planes; plane++)   /* token after token, whatever the pages of a context are */
    for (uint32_t i = 0; i * c->page < l; i++) {
      uint32_t n = l - i * c->page < c->page ? l - i * c->page : c->page, room = proxy_page_tokens(c, i), row = s->rw * 16;
      struct view v = p->page[i];
      TRY(state_view(st, (struct view){ v.buf, v.offset + (uint64_t)plane * room * row, (uint64_t)n * row }));
    }
  for (uint32_t plane = 0; s->int8 && plane < s->planes; plane++)
    for (uint32_t i = 0; i * c->page < l; i++) {
      uint32_t n = l - i * c->page < c->page ? l - i * c->page : c->page, room = proxy_page_tokens(c, i);
      struct view v = proxy_scales(p, s, c, i, 0, s->planes);
      TRY(state_view(st, (struct view){ v.buf, v.offset + (uint64_t)plane * room * 2, (uint64_t)(n + 1) / 2 * 4 }));
    }
  return LRQK_OK;
}
