#include "attention/core.h"

#include "base/mem.h"
#include "base/num.h"
#include "shaders/step.h"

enum {
  CHUNK_CPU = 64, CHUNK_GPU = 256,   /* CPU drivers: more rows cost the same per row; a GPU wants more of them */
  MIN_CHUNK = 8,
  MIN_TILE = 2048,
  MAX_TILES = 16,                    /* partial results are kept per tile: a longer context has larger tiles */
  SHARES_CPU = 8, SHARES_GPU = 64,   /* of decode attention over one layer */
  SHARE_CPU = 512, SHARE_GPU = 64,   /* rows: below it a share costs more than it saves */
  TILE_LANES = 128,                  /* of a workgroup of the tile forms: the largest head has 64 times 8 values */
  MERGE_SPLIT = 16,                  /* of them, for a result of the merge of one token: 8 lanes side by side read 128 bytes of a share */
  DECODE_SHARED = 8 << 10            /* bytes of its partial scores */
};
static const uint64_t SCORE_BYTES = 64u << 20;

static uint32_t max_shares(const struct device *dev) { return dev->caps.cpu ? SHARES_CPU : SHARES_GPU; }

/* Rows of a share: doubled until the shares are few enough, so that it changes rarely while a text grows. */
static uint32_t share_rows(const struct attn_core *c, uint32_t n) {
  uint32_t per = c->dev->caps.cpu ? SHARE_CPU : SHARE_GPU;
  while (ceil_div(n, per) > max_shares(c->dev)) per *= 2;
  return per;
}

static enum lrqk_status get_kernels(struct attn_core *c) {
  struct device *d = c->dev;
  uint32_t d8 = c->d / 8, small = d->caps.cpu ? 8 : 64;
  TRY(kernel_get(&c->rope, d, KERNEL_ROPE, SPEC(64, c->hp->rope_neox)));
  TRY(kernel_get(&c->rope_keep, d, KERNEL_ROPE_KEEP, SPEC(64, c->hp->rope_neox)));
  TRY(kernel_get(&c->merge, d, KERNEL_ATTN_MERGE, SPEC(64, 1)));
  bool split = !d->caps.cpu || d->forms.op[OP_DECODE].form == FORM_TILE;
  TRY(kernel_get(&c->merge_token, d, KERNEL_ATTN_MERGE, SPEC(split ? TILE_LANES : 64, split ? MERGE_SPLIT : 1)));
  if (d->forms.op[OP_PREFILL].form == FORM_TILE) {
    uint32_t rows = d8 <= 16 ? 32 : 16, keys = d8 <= 16 ? 32 : d8 <= 32 ? 16 : 8;   /* what fits into 16 KiB of shared memory */
    return kernel_get(&c->prefill_tile, d, KERNEL_ATTN_PREFILL_TILE, SPEC(TILE_LANES, d8, rows, keys));
  }
  TRY(kernel_get(&c->qk, d, KERNEL_ATTN_QK, SPEC(small, 8, 4, d8, c->hp->attn_cap > 0)));
  TRY(kernel_get(&c->softmax, d, KERNEL_ATTN_SOFTMAX, SPEC(small)));
  return kernel_get(&c->pv, d, KERNEL_ATTN_PV, SPEC(small, 8, d8));
}

/* Tiles of a prefill call: a ring's keys may be cut by its end, and begin in the middle of a page. */
static uint32_t most_tiles(const struct attn_core *c) {
  uint32_t longest = ceil_div(c->n_ctx, c->chunk) * c->chunk;
  return ceil_div(longest, c->tile) + (c->hp->window ? ceil_div(longest, c->page) + 3 : 0);
}

/* Whether the scratch of a prefill call, scores and partial results, can be bound. */
static bool chunk_fits(const struct attn_core *c) {
  uint64_t rows = (uint64_t)c->hk * c->g * c->chunk, most = c->dev->caps.info.max_binding;
  return rows * c->tile * 4 <= min_u64(most, SCORE_BYTES) && rows * most_tiles(c) * c->d * 4 <= most;
}

/* Shapes that follow from model, device and context. */
static enum lrqk_status shape(struct attn_core *c, struct device *dev, const struct hparams *hp, uint32_t n_ctx) {
  *c = (struct attn_core){ .dev = dev, .hp = hp, .hk = hp->n_kv_heads, .g = hp->n_heads / hp->n_kv_heads, .d = hp->head_size, .n_ctx = n_ctx };
  c->token_bytes = c->hk * c->d * 4;
  TRY(kv_page_tokens(&c->page, dev, n_ctx, c->token_bytes));
  c->tile = MIN_TILE;
  while (ceil_div(n_ctx, c->tile) > MAX_TILES) c->tile *= 2;
  c->tile = min_u32(c->tile, c->page);
  c->chunk = dev->caps.cpu ? CHUNK_CPU : CHUNK_GPU;
  while (c->chunk > MIN_CHUNK && !chunk_fits(c)) c->chunk /= 2;
  return LRQK_OK;
}

enum lrqk_status attn_chunk(uint32_t *chunk, struct device *dev, const struct hparams *hp, uint32_t n_ctx) {
  struct attn_core c;
  TRY(shape(&c, dev, hp, n_ctx));
  *chunk = c.chunk;
  return LRQK_OK;
}

enum lrqk_status attn_core_init(struct attn_core *c, struct device *dev, const struct hparams *hp, uint32_t n_ctx, struct view step) {
  TRY(shape(c, dev, hp, n_ctx));
  c->step = step;
  c->turns = rope_of(hp, n_ctx, false);
  uint32_t hq = hp->n_heads, tiles = most_tiles(c), longest = ceil_div(n_ctx, c->chunk) * c->chunk;   /* a ring is of whole chunks */
  c->score_stride = ceil_div(min_u32(longest, c->page), 4) * 4;   /* decode goes page by page */
  c->max_shares = max_shares(dev) + ceil_div(n_ctx, c->page);
  uint64_t rows = (uint64_t)hq * c->chunk, shares = (uint64_t)hq * c->max_shares;
  uint64_t partial = rows * tiles > shares ? rows * tiles : shares;
  pool_init(&c->pool, dev, PLACE_DEVICE, "attention scratch", 16u << 20);
  TRY(pool_alloc(&c->q, &c->pool, rows * c->d * 4));
  TRY(pool_alloc(&c->s, &c->pool, rows * c->tile * 4));
  TRY(pool_alloc(&c->p, &c->pool, rows * c->tile * 4));
  TRY(pool_alloc(&c->ml, &c->pool, partial * 8));
  TRY(pool_alloc(&c->o, &c->pool, partial * c->d * 4));
  TRY(pool_alloc(&c->ds, &c->pool, (uint64_t)hq * c->score_stride * 4));
  return get_kernels(c);
}

enum lrqk_status attn_core_reserve(struct attn_core *c, uint32_t rows) {
  rows = ceil_div(min_u32(rows, c->n_ctx), 4) * 4;
  if (rows <= c->score_stride) return LRQK_OK;
  c->score_stride = rows;
  return pool_alloc(&c->ds, &c->pool, (uint64_t)c->hk * c->g * rows * 4);
}

/* The first n of the partial results: no more is bound than a call needs. */
static struct view part_ml(const struct attn_core *c, uint64_t n) { return (struct view){ c->ml.buf, c->ml.offset, (n * 8 + 15) / 16 * 16 }; }
static struct view part_o(const struct attn_core *c, uint64_t n) { return (struct view){ c->o.buf, c->o.offset, n * c->d * 4 }; }

void attn_core_destroy(struct attn_core *c) { pool_destroy(&c->pool); }

enum lrqk_status attn_scale(struct attn_core *c, struct view v, uint64_t n, double by) {
  float *x = mem_alloc(n, sizeof *x);
  enum lrqk_status s = x ? LRQK_OK : fail(&c->dev->log, LRQK_MEMORY, "cannot allocate %llu sums", (unsigned long long)n);
  if (s == LRQK_OK && by != 0) s = device_read(c->dev, x, v, n * 4);
  for (uint64_t i = 0; s == LRQK_OK && by != 0 && i < n; i++) x[i] = (float)(x[i] * by);
  if (s == LRQK_OK) s = device_write(c->dev, v, x, n * 4);
  mem_free(x);
  return s;
}

void attn_rope(struct attn_core *c, struct view qkv, struct view cs, uint32_t m, struct view kv, uint32_t row0, bool use_step) {
  struct rope_params p = { .rows = m, .hk = c->hk, .g = c->g, .d8 = c->d / 8, .rot8 = ceil_div(c->hp->rope_dims, 8), .row0 = row0,
                           .use_step = use_step };
  uint32_t lanes = m * (c->hk * c->g + 2 * c->hk) * p.d8;
  DISPATCH(c->dev, c->rope, ceil_div(lanes, 64), 1, 1, &p, qkv, cs, c->q, kv, c->step);
}

void attn_rope_keep(struct attn_core *c, struct view qkv, struct view cs, struct view kv, struct view keep, uint32_t keep0) {
  struct rope_params p = { .rows = 1, .hk = c->hk, .g = c->g, .d8 = c->d / 8, .rot8 = ceil_div(c->hp->rope_dims, 8), .keep0 = keep0 };
  DISPATCH(c->dev, c->rope_keep, ceil_div((c->hk * c->g + 2 * c->hk) * p.d8, 64), 1, 1, &p, qkv, cs, c->q, kv, c->step, keep);
}

void attn_rope_rows(struct attn_core *c, struct view qkv, struct view cs, uint32_t t0, uint32_t m, const struct kv_rows *rows) {
  uint32_t row = t0 % rows->n_ctx, p = row / c->page;
  attn_rope(c, qkv, cs, m, kv_page(rows, p), row - p * c->page, false);
}

/* The keys of a tile begin with token key0, at row t0 of a page. */
struct tile { uint32_t key0, n, page, t0; };

/* The tile of tokens from `key` on, of l: up to where a tile, a page or the ring ends.  It ends and (in fours) begins at places
 * that do not depend on the chunk, so that neither do the sums. */
static struct tile tile_at(const struct attn_core *c, const struct kv_rows *rows, uint32_t key, uint32_t l) {
  uint32_t row = key % rows->n_ctx, page = row / c->page, t0 = row - page * c->page;
  uint32_t n = min_u32(min_u32(c->tile - key % c->tile, l - key), min_u32(c->page - t0, rows->n_ctx - row));
  return (struct tile){ key, n, page, t0 };
}

/* One tile of keys for the queries of a prefill call: group_rows = their number times g, pos0 = position of the first less that of the
 * first key; the tile is one of `shares`. */
struct prefill { uint32_t group_rows, window, shares, share; int32_t pos0; struct tile keys; struct view kv; };

/* Partial results: one for each tile and row. */
static uint64_t rows_of(const struct attn_core *c, const struct prefill *f) { return (uint64_t)c->hk * f->group_rows * f->shares; }

static void prefill_tile(struct attn_core *c, const struct prefill *f) {
  struct attn_prefill_tile_params p = { .m = f->group_rows, .n = f->keys.n, .t0 = f->keys.t0, .kstr = c->hk * c->d / 4, .hstr = c->d / 4, .g = c->g,
                                        .pos0 = f->pos0, .shares = f->shares, .share = f->share, .scale = c->hp->attn_scale,
                                        .cap = c->hp->attn_cap, .window = f->window };
  DISPATCH(c->dev, c->prefill_tile, ceil_div(p.m, c->prefill_tile->spec[2]), c->hk, 1, &p, c->q, f->kv, part_o(c, rows_of(c, f)),
           part_ml(c, rows_of(c, f)));
}

static void prefill_register(struct attn_core *c, const struct prefill *f) {
  uint32_t sstr = ceil_div(f->keys.n, 4) * 4, lane = c->qk->spec[0], d4 = c->d / 4;
  struct attn_qk_params qk = { .m = f->group_rows, .n = f->keys.n, .t0 = f->keys.t0, .kstr = c->hk * d4, .hstr = d4, .g = c->g, .pos0 = f->pos0,
                               .sstr = sstr, .scale = c->hp->attn_scale, .cap = c->hp->attn_cap };
  DISPATCH(c->dev, c->qk, ceil_div(qk.n, lane * 4), ceil_div(qk.m, 8), c->hk, &qk, c->q, f->kv, c->s);
  struct attn_softmax_params sm = { .rows = c->hk * qk.m, .m = qk.m, .n = qk.n, .sstr = sstr, .g = c->g, .pos0 = f->pos0, .shares = f->shares,
                                    .share = f->share, .window = f->window };
  DISPATCH(c->dev, c->softmax, ceil_div(sm.rows, lane), 1, 1, &sm, c->s, c->p, part_ml(c, rows_of(c, f)));
  struct attn_pv_params pv = { .m = qk.m, .hk = c->hk, .n = qk.n, .t0 = qk.t0, .kstr = qk.kstr, .hstr = qk.hstr, .sstr = sstr, .g = c->g,
                               .pos0 = f->pos0, .shares = f->shares, .share = f->share };
  DISPATCH(c->dev, c->pv, ceil_div(c->hk * ceil_div(qk.m, 8) * (c->d / 8), lane), 1, 1, &pv, c->p, f->kv, part_o(c, rows_of(c, f)));
}

void attn_prefill(struct attn_core *c, const struct kv_rows *rows, uint32_t window, uint32_t t0, uint32_t m, struct view y) {
  uint32_t l = t0 + m, first = window && t0 >= window ? (t0 - window + 1) / 4 * 4 : 0, tiles = 0, d4 = c->d / 4, group_rows = m * c->g;
  if (c->rows_only) return;
  for (uint32_t key = first; key < l; tiles++) key += tile_at(c, rows, key, l).n;
  for (uint32_t i = 0, key = first; i < tiles; i++) {
    struct tile t = tile_at(c, rows, key, l);
    struct prefill f = { group_rows, window, tiles, i, (int32_t)t0 - (int32_t)key, t, kv_page(rows, t.page) };
    if (c->prefill_tile) prefill_tile(c, &f);
    else prefill_register(c, &f);
    key += t.n;
  }
  struct attn_merge_params mp = { .m = m, .hk = c->hk, .g = c->g, .d4 = d4, .shares = tiles };
  DISPATCH(c->dev, c->merge, ceil_div(c->hk * group_rows * d4, 64), 1, 1, &mp, part_o(c, (uint64_t)c->hk * group_rows * tiles),
           part_ml(c, (uint64_t)c->hk * group_rows * tiles), y);
}

enum lrqk_status attn_decode_init(struct attn_decode *a, struct attn_core *c, uint32_t sets, uint32_t kstr, uint32_t hstr) {
  uint32_t hq = c->hk * c->g, small = c->dev->caps.cpu ? 8 : 64, heads = hq / sets;
  while (heads > 8) {   /* a lane keeps the sums of all heads of its list: more than 8 are cut by their smallest divisor */
    uint32_t cut = 2;
    while (heads % cut) cut++;
    heads /= cut;
  }
  *a = (struct attn_decode){ .lists = hq / heads, .share = hq / heads / sets, .kstr = kstr, .hstr = hstr };
  if (c->dev->forms.op[OP_DECODE].form == FORM_TILE) {
    uint32_t rows = 32;
    while (rows > 4 && heads * rows * (c->d / 8 + 1) * 4 > DECODE_SHARED) rows /= 2;
    return kernel_get(&a->tile, c->dev, KERNEL_ATTN_DECODE_TILE, SPEC(TILE_LANES, heads, c->d / 8, rows));
  }
  uint32_t capped = c->hp->attn_cap > 0, tn = c->dev->caps.cpu && heads <= 4 ? 8 : 4;   /* more rows for each load of q */
  TRY(kernel_get(&a->qk, c->dev, KERNEL_ATTN_DQK, SPEC(small, heads, tn, c->d / 8, capped, 0)));
  if (c->hp->window) TRY(kernel_get(&a->qk_window, c->dev, KERNEL_ATTN_DQK, SPEC(small, heads, tn, c->d / 8, capped, 1)));
  return kernel_get(&a->pv, c->dev, KERNEL_ATTN_DPV, SPEC(small, heads, c->d / 8));
}

/* A range of rows that are attended to: n0 is the first row, n_at the word of step that bounds them, rows how many there are
 * now; window 0: all, else those of the newest tokens, of a ring. */
struct range { uint32_t n_at, n0, nmax, rows, window, ring; };

static void decode_tile(struct attn_core *c, const struct attn_decode *a, struct view kv, struct range r, uint32_t per, uint32_t shares,
                        uint32_t share0, struct view y) {
  struct attn_decode_tile_params p = { .n_at = r.n_at, .n0 = r.n0, .nmax = r.nmax, .kstr = a->kstr, .hstr = a->hstr, .share = a->share,
                                       .per = per, .shares = shares, .share0 = share0, .scale = c->hp->attn_scale, .cap = c->hp->attn_cap,
                                       .window = r.window, .ring = r.ring };
  uint64_t n = (uint64_t)c->hk * c->g * shares;
  DISPATCH(c->dev, a->tile, ceil_div(r.rows, per), a->lists, 1, &p, c->q, kv, shares == 1 ? y : part_o(c, n), part_ml(c, n), c->step);
}

/* Scores, then softmax and P.V of the range's shares. */
static void decode_range(struct attn_core *c, const struct attn_decode *a, struct view kv, struct range r, uint32_t sstr, uint32_t per,
                         uint32_t shares, uint32_t share0, struct view y) {
  if (a->tile) {
    decode_tile(c, a, kv, r, per, shares, share0, y);
    return;
  }
  uint32_t lanes = a->qk->spec[0] * a->qk->spec[2];
  struct attn_dqk_params qk = { .n_at = r.n_at, .n0 = r.n0, .nmax = r.nmax, .kstr = a->kstr, .hstr = a->hstr, .share = a->share, .sstr = sstr,
                                .scale = c->hp->attn_scale, .cap = c->hp->attn_cap, .window = r.window, .ring = r.ring };
  DISPATCH(c->dev, r.window ? a->qk_window : a->qk, ceil_div(r.rows, lanes), a->lists, 1, &qk, c->q, kv, c->ds, c->step);
  uint64_t n = (uint64_t)c->hk * c->g * shares;
  struct attn_dpv_params pv = { .n_at = r.n_at, .n0 = r.n0, .nmax = r.nmax, .lists = a->lists, .kstr = a->kstr, .hstr = a->hstr,
                                .share = a->share, .sstr = sstr, .per = per, .shares = shares, .share0 = share0 };
  DISPATCH(c->dev, a->pv, ceil_div(a->lists * (c->d / 8), a->pv->spec[0]), ceil_div(r.rows, per), 1, &pv, c->ds, kv, shares == 1 ? y : part_o(c, n),
           part_ml(c, n), c->step);
}

static void decode_merge(struct attn_core *c, uint32_t shares, struct view y) {
  uint64_t n = (uint64_t)c->hk * c->g * shares;
  struct attn_merge_params p = { .m = 1, .hk = c->hk, .g = c->g, .d4 = c->d / 4, .shares = shares };
  uint32_t own = c->merge_token->spec[0] / c->merge_token->spec[1];
  DISPATCH(c->dev, c->merge_token, ceil_div(c->hk * c->g * p.d4, own), 1, 1, &p, part_o(c, n), part_ml(c, n), y);
}

void attn_decode_rows(struct attn_core *c, const struct attn_decode *a, const struct kv_rows *rows, uint32_t window, uint32_t l, struct view y) {
  uint32_t held = min_u32(l, rows->n_ctx), per = share_rows(c, held), shares = 0, share0 = 0;
  for (uint32_t n0 = 0; n0 < held; n0 += c->page) shares += ceil_div(min_u32(c->page, held - n0), per);
  for (uint32_t n0 = 0; n0 < held; n0 += c->page) {
    uint32_t n = min_u32(c->page, held - n0);
    struct range r = { STEP_LEN, n0, min_u32(c->page, rows->n_ctx - n0), n, window, rows->n_ctx };
    decode_range(c, a, kv_page(rows, n0 / c->page), r, c->score_stride, per, shares, share0, y);
    share0 += ceil_div(n, per);
  }
  if (shares > 1) decode_merge(c, shares, y);
}

uint32_t attn_decode_shares(struct attn_core *c, const struct attn_decode *a, struct view act, uint32_t n, uint32_t max_rows, struct view y) {
  uint32_t per = share_rows(c, max_rows), shares = ceil_div(n, per);
  decode_range(c, a, act, (struct range){ STEP_ROWS, 0, max_rows, n, 0, 0 }, ceil_div(max_rows, 4) * 4, per, shares, 0, y);
  return shares;
}

void attn_decode_active(struct attn_core *c, const struct attn_decode *a, struct view act, uint32_t n, uint32_t max_rows, struct view y) {
  uint32_t shares = attn_decode_shares(c, a, act, n, max_rows, y);
  if (shares > 1) decode_merge(c, shares, y);
}
