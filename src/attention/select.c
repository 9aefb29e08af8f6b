#include "attention/select.h"

#include "attention/score.h"
#include "base/mem.h"
#include "base/num.h"
#include "shaders/step.h"

enum {
  PARTS_CPU = 16, PARTS_GPU = 128,      /* most shares that the candidates of a list are cut into */
  FEW_PARTS = 4, PART_CPU = 4096,       /* ... on a CPU driver fewer, down to 4: a share of 4096 tokens is worth its start */
  MAX_PART = 32768,                     /* tokens: sel_emit counts the keys of a share in 16 bits */
  ONE_CPU = 8192, ONE_GPU = 16384,      /* up to so many candidates one workgroup does the whole selection */
  COUNT_WORDS = 32                      /* of a share, per digit: at most 17 thresholds */
};

static enum lrqk_status get_kernels(struct selector *s, const struct lrqk_cache_options *o, const struct proxy_shape *shape) {
  struct device *d = s->core->dev;
  bool cpu = d->caps.cpu;
  uint32_t wg = score_lanes(d), tn = s->heads <= 4 ? 8 : 4, nb = cpu ? 4 : 1, lanes = min_u32(256, d->caps.info.max_workgroup);
  uint32_t max = o->group == LRQK_GROUP_MAX, team = !cpu || d->forms.op[OP_SCORE].form == FORM_TILE;   /* sel.h */
  struct score_shape sc = { .heads = s->stat_heads, .rw = shape->rw, .tokens = tn, .int8 = shape->int8, .capped = s->core->hp->attn_cap > 0 };
  TRY(score_kernel(&s->stat, d, &sc));
  sc.mean = o->mean_key;
  if (o->proxy == LRQK_PROXY_GRAM && sc.mean != LRQK_MEAN_KEY_OFF) TRY(score_kernel(&s->stat_mean, d, &sc));
  TRY(kernel_get(&s->keys, d, KERNEL_SEL_KEYS, SPEC(wg, s->heads, tn, max, 0, team)));
  TRY(kernel_get(&s->keys_count, d, KERNEL_SEL_KEYS, SPEC(wg, s->heads, tn, max, 1, team)));
  TRY(kernel_get(&s->mix, d, s->ranges.n > 1 ? KERNEL_TAIL_MIX_SPLIT : KERNEL_TAIL_MIX, SPEC(team ? lanes : 8, s->heads, tn, wg, team)));
  TRY(kernel_get(&s->count, d, KERNEL_SEL_COUNT, SPEC(wg, 15, team)));
  TRY(kernel_get(&s->count_last, d, KERNEL_SEL_COUNT, SPEC(wg, 17, team)));
  TRY(kernel_get(&s->emit, d, KERNEL_SEL_EMIT, SPEC(wg, nb, team)));
  TRY(kernel_get(&s->one, d, KERNEL_SEL_ONE, SPEC(cpu ? 8 : lanes, 2, team)));
  return kernel_get(&s->all, d, KERNEL_SEL_ALL, SPEC(64));
}

/* Tokens of a workgroup's share: doubled until the shares are few enough, so that it changes rarely while a text grows. */
static uint32_t part_tokens(const struct selector *s, uint32_t n) {
  uint32_t per = s->unit, most = PARTS_GPU;
  if (s->core->dev->caps.cpu) most = n < FEW_PARTS * PART_CPU ? FEW_PARTS : min_u32(n / PART_CPU, PARTS_CPU);
  while (ceil_div(n, per) > most && per < MAX_PART && per < s->core->page) per *= 2;
  return per;
}

enum lrqk_status selector_init(struct selector *s, struct attn_core *c, const struct lrqk_cache_options *o, const struct proxy_shape *shape) {
  uint32_t hq = c->hk * c->g, lists = o->group == LRQK_GROUP_NONE ? hq : c->hk;
  *s = (struct selector){ .core = c, .lists = lists, .heads = hq / lists, .share = lists / c->hk, .k = o->active, .sinks = o->sinks,
                          .tail = o->tail, .lite = o->lite,
                          .list_stride = ceil_div(o->active, 32) * 32, .ranges = shape->ranges, .unit = c->dev->caps.cpu ? 256 : 512,
                          .one_max = c->dev->caps.cpu ? ONE_CPU : ONE_GPU };
  bool alone = shape->planes == hq;   /* statistics and scores lie the same either way: head after head */
  s->stat_lists = alone ? hq : lists;
  s->stat_heads = hq / s->stat_lists;
  s->stat_share = s->stat_lists / shape->planes;
  TRY(get_kernels(s, o, shape));
  s->planes = (uint32_t)min_u64(shape->planes, c->dev->caps.info.max_binding / ((uint64_t)proxy_page_tokens(c, 0) * shape->rw * 16));
  if (!s->planes) return fail(&c->dev->log, LRQK_DEVICE, "%s: proxies of %u tokens need a binding of %llu bytes, it allows %llu", c->dev->caps.info.name,
                              proxy_page_tokens(c, 0), (unsigned long long)proxy_page_tokens(c, 0) * shape->rw * 16,
                              (unsigned long long)c->dev->caps.info.max_binding);
  uint32_t largest = min_u32(c->page, MAX_PART), many = ceil_div(c->n_ctx, largest);
  s->max_parts = c->dev->caps.cpu ? PARTS_CPU : PARTS_GPU;
  if (many > s->max_parts) s->max_parts = many;
  uint64_t parts = (uint64_t)lists * s->max_parts, unit = RANGE_UNIT * 2;
  pool_init(&s->pool, c->dev, PLACE_DEVICE, "selection scratch", 8u << 20);
  TRY(pool_alloc(&s->queries, &s->pool, (uint64_t)hq * shape->rw * (shape->int8 ? 16 : 8) * 4));
  TRY(pool_alloc(&s->ml, &s->pool, parts * s->heads * (2 + score_lanes(c->dev)) * 4));
  TRY(pool_alloc(&s->total, &s->pool, (uint64_t)hq * 4));
  TRY(ranges_alloc(&s->weights, &s->ranges, &s->pool, hq * unit, 0));
  TRY(ranges_alloc(&s->key, &s->ranges, &s->pool, lists * unit, 0));
  for (int i = 0; i < 4; i++) {
    TRY(pool_alloc(&s->counts[i], &s->pool, parts * COUNT_WORDS * 4));
    TRY(pool_alloc(&s->prefix[i], &s->pool, (uint64_t)lists * 4));   /* [0] stays zero: no digit is settled yet */
  }
  return LRQK_OK;
}

void selector_destroy(struct selector *s) {
  mem_free(s->weights);
  mem_free(s->key);
  pool_destroy(&s->pool);
}

/* A range of the text, of which n tokens are scored, as the kernels see it. */
struct range { uint32_t t0, cap, parts; };

static bool range_at(const struct selector *s, uint32_t i, uint32_t n, struct range *out) {
  uint32_t span = s->ranges.span, t0 = i * span;
  if (i >= s->ranges.n || t0 >= n) return false;
  *out = (struct range){ t0, range_tokens(&s->ranges, i), ceil_div(min_u32(n - t0, span), s->per) };
  return true;
}

/* Weights and statistics of the first n tokens. */
static void score(struct selector *s, const struct proxy *p, const struct proxy_shape *shape, const struct view *mean, uint32_t n) {
  struct attn_core *c = s->core;
  for (uint32_t i = 0; i * c->page < n; i++) {
    uint32_t groups = ceil_div(min_u32(n - i * c->page, c->page), s->per), r = i * c->page / s->ranges.span;
    struct score_stat_params st = { .per = s->per, .cap = range_tokens(&s->ranges, r), .t0 = r * s->ranges.span, .page = proxy_page_tokens(c, i),
                                    .page0 = i * c->page, .parts = s->parts, .share = s->stat_share, .n_at = s->tail ? STEP_LEN : STEP_CAND,
                                    .soft_cap = c->hp->attn_cap };
    for (uint32_t plane = 0, planes; plane < shape->planes; plane += planes) {
      planes = min_u32(s->planes, shape->planes - plane);
      struct view px = proxy_rows(p, shape, c, i, plane, planes), sc = proxy_scales(p, shape, c, i, plane, planes), w = s->weights[r];
      uint32_t lists = planes * s->stat_share;
      st.list0 = plane * s->stat_share;
      if (mean) DISPATCH(c->dev, s->stat_mean, groups, lists, 1, &st, s->queries, px, sc, s->ml, w, c->step, mean[r]);
      else DISPATCH(c->dev, s->stat, groups, lists, 1, &st, s->queries, px, sc, s->ml, w, c->step);
    }
  }
}

static void make_keys(struct selector *s, uint32_t n, bool one) {
  struct attn_core *c = s->core;
  struct range r;
  for (uint32_t i = 0; range_at(s, i, n, &r); i++) {
    struct sel_keys_params k = { .per = s->per, .cap = r.cap, .t0 = r.t0, .parts = s->parts, .sinks = s->sinks > r.t0 ? s->sinks - r.t0 : 0 };
    DISPATCH(c->dev, one ? s->keys : s->keys_count, r.parts, s->lists, 1, &k, s->ml, s->key[i], s->counts[0], s->weights[i], c->step);
  }
}

/* The k-th largest key, one 4-bit digit a pass from counts per share, then the list. */
static void search(struct selector *s, uint32_t n, struct view list) {
  struct attn_core *c = s->core;
  struct range r;
  for (int j = 1; j < 4; j++) {
    for (uint32_t i = 0; range_at(s, i, n, &r); i++) {
      struct sel_count_params p = { .per = s->per, .cap = r.cap, .t0 = r.t0, .k = s->k, .shift = 12u - 4u * (uint32_t)j, .parts = s->parts };
      DISPATCH(c->dev, j == 3 ? s->count_last : s->count, r.parts, s->lists, 1, &p, s->key[i], s->counts[j - 1], s->prefix[j - 1], s->counts[j],
               s->prefix[j], c->step);
    }
  }
  for (uint32_t i = 0; range_at(s, i, n, &r); i++) {
    struct sel_emit_params e = { .per = s->per, .cap = r.cap, .t0 = r.t0, .parts = s->parts, .k = s->k, .kstr = s->list_stride };
    DISPATCH(c->dev, s->emit, r.parts, s->lists, 1, &e, s->key[i], s->counts[3], s->prefix[3], list, c->step);
  }
}

void selector_run(struct selector *s, const struct proxy *p, const struct proxy_shape *shape, const struct view *mean, uint32_t n,
                  struct view list) {
  struct attn_core *c = s->core;
  uint32_t scored = selector_scored(s, n);
  if (!scored) {
    struct sel_all_params a = { .kstr = s->list_stride, .lists = s->lists };
    DISPATCH(c->dev, s->all, ceil_div(s->list_stride, 64), s->lists, 1, &a, list, c->step);
    return;
  }
  bool one = n <= s->one_max && n <= s->ranges.span;
  s->per = part_tokens(s, scored);
  s->parts = ceil_div(scored, s->per);
  s->scored = scored;
  score(s, p, shape, mean, scored);
  make_keys(s, scored, one);
  if (one) {
    struct sel_one_params o = { .cap = range_tokens(&s->ranges, 0), .k = s->k, .kstr = s->list_stride };
    DISPATCH(c->dev, s->one, s->lists, 1, 1, &o, s->key[0], list, c->step);
  } else {
    search(s, scored, list);
  }
}

void selector_tail(struct selector *s, struct view list, struct view x, uint32_t shares, struct view value_sum, struct view y) {
  struct device *d = s->core->dev;
  uint64_t partial = (uint64_t)s->lists * s->heads * shares;
  struct view ml = s->core->ml;
  struct range r;
  ml.size = (partial * 8 + 15) / 16 * 16;
  x.size = partial * s->core->d * 4;
  for (uint32_t i = 0; range_at(s, i, s->scored, &r); i++) {
    struct tail_mix_params p = { .per = s->per, .cap = r.cap, .t0 = r.t0, .last = r.t0 + r.cap >= s->scored, .parts = s->parts,
                                 .kstr = s->list_stride, .share = s->share, .d4 = s->core->d / 4, .xshares = shares };
    uint32_t heads = s->lists * s->heads;
    if (s->ranges.n > 1) DISPATCH(d, s->mix, heads, 1, 1, &p, s->ml, s->weights[i], list, x, ml, value_sum, s->core->step, y, s->total);
    else DISPATCH(d, s->mix, heads, 1, 1, &p, s->ml, s->weights[i], list, x, ml, value_sum, s->core->step, y);
  }
}
