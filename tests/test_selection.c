/* Decode steps of one layer, all selection kernels together, on each device: drifting queries, a text that grows over k + w,
 * pages, groups and proxies of each kind.  Every step is checked against plain C on what the device holds. */
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "shaders/step.h"

enum group { SUM, MAX, NONE };

struct config {
  enum group group;
  uint32_t bits, one;                          /* of a proxy value; 1: one workgroup selects */
  uint32_t hk, g, d, rot, neox, rank, k, w, sinks, page, first, steps;   /* first: tokens before the first step */
  uint32_t tile;                               /* form of score_stat */
};

static const struct config configs[] = {
  { SUM, 8, 1, 3, 3, 64, 64, 0, 32, 64, 16, 4, 128, 70, 30, 0 },      { SUM, 8, 0, 3, 3, 64, 64, 0, 32, 64, 16, 4, 128, 700, 16, 0 },
  { MAX, 8, 0, 2, 3, 64, 64, 1, 32, 40, 16, 4, 64, 190, 16, 0 },      { NONE, 8, 1, 2, 3, 64, 32, 1, 32, 64, 16, 4, 128, 75, 20, 0 },
  { SUM, 16, 0, 3, 3, 64, 64, 0, 24, 64, 16, 4, 64, 260, 12, 0 },     { SUM, 8, 1, 1, 8, 32, 32, 0, 12, 33, 5, 1, 64, 30, 40, 0 },
  { SUM, 8, 0, 2, 4, 128, 128, 1, 64, 256, 64, 4, 512, 312, 14, 0 },  { NONE, 16, 0, 1, 4, 64, 64, 0, 32, 50, 1, 0, 256, 500, 12, 0 },
  { MAX, 16, 1, 1, 5, 32, 32, 1, 32, 20, 9, 4, 64, 20, 30, 0 },       { SUM, 8, 0, 1, 4, 64, 64, 0, 20, 2048, 64, 4, 1024, 2990, 6, 0 },
  { SUM, 8, 0, 3, 3, 64, 64, 0, 32, 64, 16, 4, 128, 700, 12, 1 },  { NONE, 16, 0, 1, 4, 64, 64, 0, 32, 50, 1, 0, 256, 500, 12, 1 },
  { MAX, 8, 1, 1, 8, 32, 32, 0, 12, 33, 5, 1, 64, 30, 40, 1 },
};
enum { N_CONFIGS = sizeof configs / sizeof *configs };
enum { MAX_PAGES = 16, WG = 8, COUNT_WORDS = 32, EXTRA_SLOTS = 3 };

struct sim {
  const struct config *c;
  struct device *dev;
  struct buffer *buf[64];
  size_t n_buf;
  uint32_t lists, share, heads, hq, rw, values, tn, kstr, slots, cap, pages, total;
  size_t row;                                  /* bytes of a KV row */
  struct {
    const struct kernel *energy, *choose, *build, *ring, *append, *stat, *keys, *count, *count_last, *emit, *one, *all, *residency, *gather;
  } run;
  struct view host[MAX_PAGES], px[MAX_PAGES], q, new_row, tab, en, step, act, qh;
  struct view ml, weight, key, counts[4], prefix[4], list[2], slot[2], miss, n_miss, stats;
  const uint16_t *kv;                          /* [total][hk][2d] */
  const float *queries;                        /* [total][hq][d] */
  uint32_t *coordinates;                       /* [hk][rank], as the device chose them */
  float *proxy;                                /* [total][hk][rank]: what the proxies stand for */
  uint32_t *token_of;                          /* [lists][k]: token in each slot, UINT32_MAX if none */
  uint32_t l, n, now, count, old;
  uint64_t hash, hits, misses, differ, chosen;
};


/* ---- setting up */

static struct view view(struct sim *s, enum place place, size_t bytes) {
  ck_assert_uint_lt(s->n_buf, sizeof s->buf / sizeof *s->buf);
  ck_assert_int_eq(buffer_create(&s->buf[s->n_buf], s->dev, place, bytes, "test"), LRQK_OK);
  return (struct view){ s->buf[s->n_buf++], 0, bytes };
}

static void put(struct sim *s, struct view v, const void *data, size_t bytes) {
  ck_assert_int_eq(device_write(s->dev, (struct view){ v.buf, v.offset, bytes }, data, bytes), LRQK_OK);
}

static void *take(struct sim *s, struct view v) {
  void *p = malloc(v.size);
  ck_assert_int_eq(device_read(s->dev, p, v, v.size), LRQK_OK);
  return p;
}

static const struct kernel *kernel(struct sim *s, enum kernel_id id, const uint32_t *spec, uint32_t n) {
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, s->dev, id, spec, n), LRQK_OK);
  return k;
}

static void get_kernels(struct sim *s) {
  const struct config *c = s->c;
  bool i8 = c->bits == 8;
  s->run.energy = kernel(s, KERNEL_PAIR_ENERGY, SPEC(WG, c->neox));
  s->run.choose = kernel(s, KERNEL_PAIR_CHOOSE, SPEC(64, c->neox));
  s->run.build = kernel(s, i8 ? KERNEL_PROXY_BUILD_I8 : KERNEL_PROXY_BUILD_F16, SPEC(WG));
  s->run.append = kernel(s, i8 ? KERNEL_TOKEN_APPEND_I8 : KERNEL_TOKEN_APPEND_F16, SPEC(16, s->heads));
  s->run.ring = kernel(s, KERNEL_RING_FILL, SPEC(64));
  enum kernel_id tile = i8 ? KERNEL_SCORE_TILE_I8 : KERNEL_SCORE_TILE_F16;
  if (c->tile) s->run.stat = kernel(s, tile, SPEC(64, s->heads, s->rw, min_u32(s->rw, 2), 0, WG));
  else s->run.stat = kernel(s, i8 ? KERNEL_SCORE_STAT_I8 : KERNEL_SCORE_STAT_F16, SPEC(WG, s->heads, s->rw, s->tn));
  s->run.keys = kernel(s, KERNEL_SEL_KEYS, SPEC(WG, s->heads, s->tn, c->group == MAX, !c->one, c->tile));
  if (c->tile) s->run.residency = kernel(s, KERNEL_RESIDENCY_TILE, SPEC(64, ceil_div(c->k, 32)));
  else s->run.residency = kernel(s, KERNEL_RESIDENCY, SPEC(8, ceil_div(c->k, 32)));
  s->run.gather = kernel(s, KERNEL_GATHER, SPEC(c->tile ? 64 : 8, c->d / 4, c->tile ? 2 : 1));
  s->run.all = kernel(s, KERNEL_SEL_ALL, SPEC(64));
  s->run.one = kernel(s, KERNEL_SEL_ONE, SPEC(WG, 2, c->tile));
  s->run.emit = kernel(s, KERNEL_SEL_EMIT, SPEC(WG, 4, c->tile));
  s->run.count = kernel(s, KERNEL_SEL_COUNT, SPEC(WG, 15, c->tile));
  s->run.count_last = kernel(s, KERNEL_SEL_COUNT, SPEC(WG, 17, c->tile));
}

static void get_views(struct sim *s) {
  const struct config *c = s->c;
  uint32_t parts = s->cap / 64;
  for (uint32_t i = 0; i < s->pages; i++) {
    s->host[i] = view(s, PLACE_HOST, c->page * c->hk * s->row);
    s->px[i] = view(s, PLACE_DEVICE, (size_t)c->hk * c->page * (s->rw * 16 + (c->bits == 8 ? 2 : 0)));
  }
  s->q = view(s, PLACE_DEVICE, (size_t)c->first * s->hq * c->d * 4);
  s->new_row = view(s, PLACE_DEVICE, c->hk * s->row);
  s->tab = view(s, PLACE_DEVICE, (size_t)c->hk * c->rank * 4);
  s->en = view(s, PLACE_DEVICE, (size_t)c->hk * c->d * 4);
  s->step = view(s, PLACE_DEVICE, STEP_WORDS * 4);
  s->act = view(s, PLACE_DEVICE, s->lists * s->slots * s->row);
  s->qh = view(s, PLACE_DEVICE, (size_t)s->hq * s->values * 4);
  s->ml = view(s, PLACE_DEVICE, (size_t)s->hq * parts * (2 + WG) * 4);
  s->weight = view(s, PLACE_DEVICE, (size_t)s->hq * s->cap * 2);
  s->key = view(s, PLACE_DEVICE, (size_t)s->lists * s->cap * 2);
  for (int i = 0; i < 4; i++) {
    s->counts[i] = view(s, PLACE_DEVICE, (size_t)s->lists * parts * COUNT_WORDS * 4);
    s->prefix[i] = view(s, PLACE_DEVICE, (size_t)s->lists * 4);
  }
  put(s, s->prefix[0], test_memory(s->lists, 4), (size_t)s->lists * 4);
  for (int i = 0; i < 2; i++) {
    s->list[i] = view(s, PLACE_DEVICE, (size_t)s->lists * s->kstr * 4);
    s->slot[i] = view(s, PLACE_DEVICE, (size_t)s->lists * s->kstr * 4);
  }
  s->miss = view(s, PLACE_DEVICE, (size_t)s->lists * s->kstr * 8);
  s->n_miss = view(s, PLACE_DEVICE, (size_t)s->lists * 4);
  s->stats = view(s, PLACE_DEVICE, (size_t)s->lists * 8);
  put(s, s->stats, test_memory(s->lists, 8), (size_t)s->lists * 8);
  put(s, s->en, test_memory(c->hk, c->d * 4), (size_t)c->hk * c->d * 4);
}

static struct sim sim_open(const struct config *c, struct device *dev, const uint16_t *kv, const float *queries) {
  struct sim s = { .c = c, .dev = dev, .kv = kv, .queries = queries, .hq = c->hk * c->g, .hash = 1 };
  s.share = c->group == NONE ? c->g : 1;
  s.lists = c->hk * s.share;
  s.heads = c->g / s.share;
  s.rw = ceil_div(c->rank, c->bits == 8 ? 16 : 8);
  s.values = s.rw * (c->bits == 8 ? 16 : 8);
  s.tn = s.heads <= 4 ? 8 : 4;
  s.kstr = c->k + 5;
  s.slots = c->w + c->k + EXTRA_SLOTS;
  s.total = c->first + c->steps;
  s.cap = ceil_div(s.total, 64) * 64;
  s.pages = ceil_div(s.total, c->page);
  s.row = (size_t)c->d * 4;
  ck_assert_uint_le(s.pages, MAX_PAGES);
  s.token_of = malloc((size_t)s.lists * c->k * 4);
  memset(s.token_of, 255, (size_t)s.lists * c->k * 4);
  get_kernels(&s);
  get_views(&s);
  return s;
}

static void sim_close(struct sim *s) {
  for (size_t i = 0; i < s->n_buf; i++) buffer_destroy(&s->buf[i]);
  free(s->coordinates);
  free(s->proxy);
  free(s->token_of);
}

/* ---- a text: keys with a mean, a slow drift and noise; queries that drift, alike within a group */

static float normal(void) {
  float x = 0;
  for (int i = 0; i < 6; i++) x += random_float(-1, 1);
  return x * 0.70710678f;
}

static void make_text(const struct config *c, uint16_t **kv_out, float **q_out) {
  uint32_t total = c->first + c->steps, width = c->hk * c->d, hq = c->hk * c->g;
  uint16_t *kv = test_memory((size_t)total * width * 2, 2);
  float *q = test_memory((size_t)total * hq * c->d, 4), *base = test_memory((size_t)hq * c->d, 4);
  float *mean = test_memory(width, 4), *drift = test_memory(width, 4), *size = test_memory(width, 4);
  for (uint32_t i = 0; i < width; i++) size[i] = random_below(2) ? 1.0f : 0.35f, mean[i] = normal() * size[i];
  for (uint32_t i = 0; i < hq * c->d; i++) base[i] = normal();
  for (uint32_t t = 0; t < total; t++) {
    for (uint32_t i = 0; i < width; i++) {
      if (t % 32 == 0) drift[i] = 0.8f * drift[i] + 0.6f * normal();
      uint16_t *row = kv + ((size_t)t * c->hk + i / c->d) * 2 * c->d + i % c->d;
      row[0] = float_to_half(mean[i] + size[i] * 0.7f * (drift[i] + normal()));
      row[c->d] = float_to_half(normal());
    }
    for (uint32_t i = 0; i < hq * c->d; i++) {
      base[i] = 0.985f * base[i] + 0.1725f * normal();
      uint32_t first = i / (c->g * c->d) * c->g * c->d + i % c->d;   /* head 0 of the group */
      bool flat = t >= c->first && t % 7 == 3;                       /* all scores equal now and then */
      q[(size_t)t * hq * c->d + i] = flat ? 0.0f : base[first] + 0.5f * base[i];
    }
  }
  *kv_out = kv;
  *q_out = q;
}

/* ---- what the engine records */

static void add_energy(struct sim *s, uint32_t rows, uint32_t row0, struct view kv) {
  const struct config *c = s->c;
  struct pair_energy_params p = { .rows = rows, .hk = c->hk, .g = c->g, .d = c->d, .rot = c->rot, .row0 = row0 };
  DISPATCH(s->dev, s->run.energy, ceil_div(c->hk * c->d / 2, WG), 1, 1, &p, s->q, kv, s->en);
}

static void build_proxies(struct sim *s, uint32_t l) {
  const struct config *c = s->c;
  struct pair_choose_params ch = { .d = c->d, .rot = c->rot, .rank = c->rank };
  DISPATCH(s->dev, s->run.choose, c->hk, 1, 1, &ch, s->en, s->tab);
  for (uint32_t i = 0; i * c->page < l; i++) {
    uint32_t n = min_u32(l - i * c->page, c->page);
    struct proxy_build_params b = { .hk = c->hk, .d = c->d, .rank = c->rank, .n = n, .page = c->page, .rw = s->rw };
    DISPATCH(s->dev, s->run.build, ceil_div(ceil_div(n, 2), WG), c->hk, 1, &b, s->host[i], s->tab, s->px[i]);
  }
}

static void prefill(struct sim *s) {
  const struct config *c = s->c;
  uint32_t l = c->first;
  for (uint32_t i = 0; i * c->page < l; i++)
    put(s, s->host[i], (const char *)s->kv + (size_t)i * c->page * c->hk * s->row, min_u32(l - i * c->page, c->page) * c->hk * s->row);
  for (uint32_t i = 0; i * c->page < l; i++) {   /* queries of a page: [hk][rows][g][d] */
    uint32_t rows = min_u32(l - i * c->page, c->page);
    size_t one = (size_t)c->g * c->d;
    float *q = malloc(rows * s->hq * c->d * sizeof *q);
    for (uint32_t h = 0; h < c->hk; h++)
      for (uint32_t t = 0; t < rows; t++)
        memcpy(q + (h * rows + t) * one, s->queries + ((size_t)(i * c->page + t) * c->hk + h) * one, one * 4);
    put(s, s->q, q, rows * s->hq * c->d * sizeof *q);
    free(q);
    add_energy(s, rows, 0, s->host[i]);
    ck_assert_int_eq(device_submit(s->dev, NULL), LRQK_OK);
  }
  for (uint32_t a = l > c->w ? l - c->w : 0; a < l;) {
    uint32_t i = a / c->page, b = min_u32(l, (i + 1) * c->page);
    struct ring_fill_params p = { .d4 = c->d / 4, .lists = s->lists, .share = s->share, .slots = s->slots, .w = c->w, .a = a, .b = b,
                                  .page0 = i * c->page };
    DISPATCH(s->dev, s->run.ring, ceil_div((b - a) * s->lists * c->d / 4, 64), 1, 1, &p, s->host[i], s->act);
    a = b;
  }
  if (l > c->k + c->w) build_proxies(s, l);
  ck_assert_int_eq(device_submit(s->dev, NULL), LRQK_OK);
}

static void append(struct sim *s, uint32_t t, bool proxied) {
  const struct config *c = s->c;
  uint32_t i = t / c->page;
  struct token_append_params p = { .d = c->d, .lists = s->lists, .share = s->share, .slots = s->slots, .page = c->page,
                                   .page0 = i * c->page, .rank = proxied ? c->rank : 0, .rw = s->rw, .scale = 1 / sqrtf((float)c->d) };
  DISPATCH(s->dev, s->run.append, s->lists, 1, 1, &p, s->q, s->new_row, s->tab, s->step, s->act, s->host[i], s->px[i], s->qh);
}

static void choose(struct sim *s) {
  const struct config *c = s->c;
  struct view list = s->list[s->now];
  if (s->n <= c->k) {
    struct sel_all_params a = { .kstr = s->kstr, .lists = s->lists };
    DISPATCH(s->dev, s->run.all, ceil_div(s->kstr, 64), s->lists, 1, &a, list, s->step);
    return;
  }
  uint32_t per = 64;
  while (ceil_div(s->n, per) > 8 && per < c->page) per *= 2;
  uint32_t parts = ceil_div(s->n, per);
  for (uint32_t i = 0; i * c->page < s->n; i++) {
    size_t rows = (size_t)c->hk * c->page * s->rw * 16;
    struct view px = { s->px[i].buf, 0, rows }, sc = c->bits == 8 ? (struct view){ s->px[i].buf, rows, (size_t)c->hk * c->page * 2 } : px;
    struct score_stat_params st = { .per = per, .cap = s->cap, .page = c->page, .page0 = i * c->page, .parts = parts, .share = s->share,
                                    .n_at = STEP_CAND };
    DISPATCH(s->dev, s->run.stat, ceil_div(min_u32(s->n - st.page0, c->page), per), s->lists, 1, &st, s->qh, px, sc, s->ml, s->weight,
             s->step);
  }
  struct sel_keys_params k = { .per = per, .cap = s->cap, .parts = parts, .sinks = c->sinks };
  DISPATCH(s->dev, s->run.keys, parts, s->lists, 1, &k, s->ml, s->key, s->counts[0], s->weight, s->step);
  if (c->one) {
    struct sel_one_params o = { .cap = s->cap, .k = c->k, .kstr = s->kstr };
    DISPATCH(s->dev, s->run.one, s->lists, 1, 1, &o, s->key, list, s->step);
    return;
  }
  for (int i = 1; i < 4; i++) {
    struct sel_count_params p = { .per = per, .cap = s->cap, .k = c->k, .shift = 12u - 4u * (uint32_t)i, .parts = parts };
    DISPATCH(s->dev, i == 3 ? s->run.count_last : s->run.count, parts, s->lists, 1, &p, s->key, s->counts[i - 1], s->prefix[i - 1],
             s->counts[i], s->prefix[i], s->step);
  }
  struct sel_emit_params e = { .per = per, .cap = s->cap, .parts = parts, .k = c->k, .kstr = s->kstr };
  DISPATCH(s->dev, s->run.emit, parts, s->lists, 1, &e, s->key, s->counts[3], s->prefix[3], list, s->step);
}

static void fetch(struct sim *s) {
  const struct config *c = s->c;
  struct residency_params r = { .k = c->k, .kstr = s->kstr };
  DISPATCH(s->dev, s->run.residency, s->lists, 1, 1, &r, s->list[s->now], s->list[!s->now], s->slot[!s->now], s->slot[s->now],
           s->miss, s->n_miss, s->stats, s->step);
  for (uint32_t i = 0; i * c->page < s->n; i++) {
    struct gather_params g = { .hk = c->hk, .slots = s->slots, .base = c->w, .kstr = s->kstr, .share = s->share,
                               .page0 = i * c->page, .page = c->page };
    DISPATCH(s->dev, s->run.gather, 3, s->lists, 1, &g, s->host[i], s->miss, s->n_miss, s->act);
  }
}

static void step(struct sim *s, uint32_t t) {
  const struct config *c = s->c;
  bool proxied = t > c->k + c->w;                       /* before this token */
  s->l = t + 1;
  s->n = s->l > c->w ? s->l - c->w : 0;
  s->old = s->count;
  s->count = min_u32(s->n, c->k);
  s->now = !s->now;
  const uint32_t words[STEP_WORDS] = { [STEP_POS] = t, [STEP_LEN] = s->l, [STEP_CAND] = s->n, [STEP_CNT] = s->count, [STEP_OLD] = s->old,
                                       [STEP_RING] = t % c->w, [STEP_ROWS] = min_u32(s->l, c->w) + s->count };
  put(s, s->step, words, sizeof words);
  put(s, s->q, s->queries + (size_t)t * s->hq * c->d, (size_t)s->hq * c->d * 4);
  put(s, s->new_row, (const char *)s->kv + (size_t)t * c->hk * s->row, c->hk * s->row);
  append(s, t, proxied);
  add_energy(s, 1, 0, s->new_row);
  if (s->l > c->k + c->w && !proxied) {
    build_proxies(s, s->l);
    append(s, t, true);
  }
  if (s->count) {
    choose(s);
    fetch(s);
  }
  ck_assert_msg(device_submit(s->dev, NULL) == LRQK_OK && device_wait(s->dev, 0) == LRQK_OK, "step at %u tokens", s->l);
}

/* ---- checks */

/* The proxy of a key by the rule: values as stored (row, scale) and what they stand for. */
static void plain_proxy(const struct sim *s, const uint16_t *key, const uint32_t *tab, int8_t *row, uint16_t *scale, float *value) {
  float most = 0;
  for (uint32_t i = 0; i < s->c->rank; i++) most = fmaxf(most, fabsf(half_to_float(key[tab[i]])));
  *scale = float_to_half(most / 127);
  float step_size = half_to_float(*scale);
  for (uint32_t i = 0; i < s->c->rank; i++) {
    float a = half_to_float(key[tab[i]]), code = *scale ? rintf(a * (1 / step_size)) : 0;
    row[i] = (int8_t)(code > 127 ? 127 : code < -127 ? -127 : code);
    value[i] = s->c->bits == 8 ? row[i] * step_size : a;
  }
}

/* All proxies, from the coordinates that the device chose; with px, compared with the l that it holds. */
static void check_proxies(struct sim *s, bool compare) {
  const struct config *c = s->c;
  if (!s->coordinates) s->coordinates = take(s, s->tab);
  if (!s->proxy) s->proxy = malloc((size_t)s->total * c->hk * c->rank * sizeof *s->proxy);
  for (uint32_t i = 0; i * c->page < (compare ? s->l : s->total); i++) {
    char *px = compare ? take(s, s->px[i]) : NULL;
    for (uint32_t t = i * c->page; t < min_u32((i + 1) * c->page, compare ? s->l : s->total); t++)
      for (uint32_t h = 0; h < c->hk; h++) {
        int8_t want[512] = { 0 };
        uint16_t scale, want_halves[512] = { 0 };
        const uint16_t *key = s->kv + ((size_t)t * c->hk + h) * 2 * c->d;
        plain_proxy(s, key, s->coordinates + h * c->rank, want, &scale, s->proxy + ((size_t)t * c->hk + h) * c->rank);
        for (uint32_t j = 0; j < c->rank; j++) want_halves[j] = key[s->coordinates[h * c->rank + j]];
        if (!compare) continue;
        size_t row = (size_t)h * c->page + t % c->page;
        const void *row_want = c->bits == 8 ? (const void *)want : want_halves;
        ck_assert_msg(!memcmp(px + row * s->rw * 16, row_want, s->rw * 16), "proxy row of token %u", t);
        if (c->bits == 8) ck_assert_msg(((uint16_t *)(px + (size_t)c->hk * c->page * s->rw * 16))[row] == scale, "scale of token %u", t);
      }
    free(px);
  }
}

/* Keys of a list from the proxies, in double. */
static void plain_keys(const struct sim *s, uint32_t list, uint16_t *key) {
  const struct config *c = s->c;
  double *sum = calloc(s->n, sizeof *sum), *score = malloc(s->n * sizeof *score);
  for (uint32_t j = list * s->heads; j < (list + 1) * s->heads; j++) {
    const float *q = s->queries + ((size_t)(s->l - 1) * s->hq + j) * c->d;
    double most = -1e300, total = 0;
    for (uint32_t t = 0; t < s->n; t++) {
      const float *p = s->proxy + ((size_t)t * c->hk + j / c->g) * c->rank;
      double a = 0;
      for (uint32_t i = 0; i < c->rank; i++) a += (double)q[s->coordinates[j / c->g * c->rank + i]] * p[i];
      score[t] = a / sqrt(c->d);
      most = fmax(most, score[t]);
    }
    for (uint32_t t = 0; t < s->n; t++) total += exp(score[t] - most);
    for (uint32_t t = 0; t < s->n; t++) {
      double e = exp(score[t] - most) / total;
      sum[t] = c->group == MAX ? fmax(sum[t], e) : sum[t] + e / s->heads;
    }
  }
  for (uint32_t t = 0; t < s->n; t++) key[t] = (uint16_t)plain_key(sum[t], t, c->sinks);
  free(sum);
  free(score);
}

static uint64_t hashed(uint64_t h, const void *data, size_t bytes) {
  const unsigned char *p = data;
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

static void check_list(struct sim *s, uint32_t h, const uint16_t *key, const uint32_t *list) {
  const struct config *c = s->c;
  uint32_t *want = malloc(s->count * sizeof *want);
  if (s->n <= c->k) {
    for (uint32_t i = 0; i < s->count; i++) want[i] = i;
    ck_assert_msg(!memcmp(list, want, s->count * 4), "list %u: all %u candidates", h, s->count);
    free(want);
    return;
  }
  plain_choice(key, s->n, c->k, want);
  ck_assert_msg(!memcmp(list, want, s->count * 4), "list %u: not the largest keys", h);
  uint16_t *exact = malloc(s->n * sizeof *exact);
  plain_keys(s, h, exact);
  int limit = 6;   /* codes of 2^-11: a weight is rounded to two of them, the key is cut to one */
  for (uint32_t t = 0; t < s->n; t++)
    ck_assert_msg(abs(key[t] - exact[t]) <= (t < c->sinks ? 0 : limit), "list %u token %u: key %u, exact %u", h, t, key[t], exact[t]);
  plain_choice(exact, s->n, c->k, want);
  for (uint32_t i = 0, j = 0; i < s->count; i++) {
    while (j < s->count && list[j] < want[i]) j++;
    s->differ += j == s->count || list[j] != want[i];
  }
  s->chosen += s->count;
  s->hash = hashed(s->hash, key, s->n * 2);
  free(exact);
  free(want);
}

/* Slots and misses of a list against a map from slots to tokens that only this test keeps. */
static void check_slots(struct sim *s, uint32_t h, const uint32_t *list, const uint32_t *slot, const uint32_t *miss, uint32_t n_miss) {
  uint32_t *token_of = s->token_of + (size_t)h * s->c->k, k = s->c->k, misses = 0, next = 0;
  bool *taken = calloc(k, sizeof *taken), *hit = calloc(s->count, sizeof *hit);
  for (uint32_t i = 0; i < s->count; i++)
    for (uint32_t j = 0; j < k && !hit[i]; j++) if (token_of[j] == list[i]) {
      hit[i] = taken[j] = true;
      ck_assert_msg(slot[i] == j, "list %u: token %u moved from slot %u to %u", h, list[i], j, slot[i]);
    }
  for (uint32_t i = 0; i < s->count; i++) {
    if (hit[i]) continue;
    while (taken[next]) next++;
    bool same = slot[i] == next && miss[misses * 2] == list[i] && miss[misses * 2 + 1] == next;
    ck_assert_msg(same, "list %u: miss %u, token %u to slot %u (%u)", h, misses, list[i], next, slot[i]);
    token_of[next] = list[i];
    taken[next++] = true;
    misses++;
  }
  ck_assert_uint_eq(n_miss, misses);
  for (uint32_t j = 0; j < k; j++) {           /* attention reads rows 0 .. w + count - 1 */
    ck_assert_msg(taken[j] == (j < s->count), "list %u: slot %u of %u", h, j, s->count);
    if (!taken[j]) token_of[j] = UINT32_MAX;
  }
  s->misses += misses;
  s->hits += s->count - misses;
  free(taken);
  free(hit);
}

static void check_row(const struct sim *s, uint32_t h, uint32_t t, const char *row) {
  const char *want = (const char *)s->kv + ((size_t)t * s->c->hk + h / s->share) * s->row;
  ck_assert_msg(!memcmp(row, want, s->row), "list %u: row of token %u at %u tokens", h, t, s->l);
}

static void check_rows(const struct sim *s, uint32_t h, const char *act) {
  uint32_t w = s->c->w;
  const char *mine = act + (size_t)h * s->slots * s->row;
  for (uint32_t j = 0; j < s->count; j++) check_row(s, h, s->token_of[(size_t)h * s->c->k + j], mine + (w + j) * s->row);
  for (uint32_t t = s->l > w ? s->l - w : 0; t < s->l; t++) check_row(s, h, t, mine + t % w * s->row);
}

static void check_step(struct sim *s) {
  if (!s->proxy && s->n > s->c->k) check_proxies(s, false);
  uint16_t *key = take(s, s->key);
  uint32_t *list = take(s, s->list[s->now]), *slot = take(s, s->slot[s->now]), *miss = take(s, s->miss), *n_miss = take(s, s->n_miss);
  char *act = take(s, s->act);
  for (size_t h = 0; h < s->lists; h++) {
    if (s->count) {
      check_list(s, (uint32_t)h, key + h * s->cap, list + h * s->kstr);
      check_slots(s, (uint32_t)h, list + h * s->kstr, slot + h * s->kstr, miss + h * s->kstr * 2, n_miss[h]);
      s->hash = hashed(hashed(s->hash, list + h * s->kstr, s->count * 4), slot + h * s->kstr, s->count * 4);
    }
    check_rows(s, (uint32_t)h, act);
  }
  free(key);
  free(list);
  free(slot);
  free(miss);
  free(n_miss);
  free(act);
}

static void check_end(struct sim *s) {
  const struct config *c = s->c;
  check_proxies(s, true);
  for (uint32_t i = 0; i * c->page < s->l; i++) {
    char *host = take(s, s->host[i]);
    size_t n = min_u32(s->l - i * c->page, c->page);
    ck_assert_msg(!memcmp(host, (const char *)s->kv + (size_t)i * c->page * c->hk * s->row, n * c->hk * s->row), "host rows of page %u", i);
    s->hash = hashed(s->hash, host, n * c->hk * s->row);
    free(host);
  }
  uint32_t *stats = take(s, s->stats);
  uint64_t chosen = 0, misses = 0;
  for (uint32_t h = 0; h < s->lists; h++) chosen += stats[h * 2], misses += stats[h * 2 + 1];
  free(stats);
  ck_assert_uint_eq(misses, s->misses);
  ck_assert_uint_eq(chosen, s->misses + s->hits);
  if (!test_small()) ck_assert_msg(s->hits > s->misses, "%" PRIu64 " hits, %" PRIu64 " misses: the queries do not drift", s->hits, s->misses);
  ck_assert_msg(s->differ * 100 <= s->chosen, "%" PRIu64 " of %" PRIu64 " tokens are not those of exact scores", s->differ, s->chosen);
}

/* Fewer steps, over k + w too where the whole has it. */
static struct config small_config(const struct config *of) {
  struct config c = *of;
  if (c.k > 500) c.k /= 8, c.page /= 8, c.first /= 8;
  else if (c.first > c.k + c.w && c.first > 200) c.first = min_u32(c.first, c.k + c.w + 41);
  if (c.first < c.k + c.w && c.first + c.steps > c.k + c.w + 2) c.first = c.k + c.w - 2;
  c.steps = min_u32(c.steps, 5);
  return c;
}

static uint64_t simulate(const struct config *c, struct device *dev, const uint16_t *kv, const float *queries) {
  struct sim s = sim_open(c, dev, kv, queries);
  prefill(&s);
  for (uint32_t t = c->first; t < s.total; t++) {
    step(&s, t);
    check_step(&s);
  }
  check_end(&s);
  sim_close(&s);
  return s.hash;
}

START_TEST(every_step_is_as_in_plain_c) {
  uint16_t *kv;
  float *queries;
  struct config c = test_small() ? small_config(&configs[_i]) : configs[_i];
  make_text(&c, &kv, &queries);
  for (size_t i = 0; i < harness_count(); i++) {
    uint64_t once = simulate(&c, harness_device(i), kv, queries), twice = test_small() ? once : simulate(&c, harness_device(i), kv, queries);
    ck_assert_msg(once == twice, "%s: two runs differ", harness_name(i));
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("selection");
  TCase *c = tcase_create("decode steps of a layer");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, every_step_is_as_in_plain_c, 0, N_CONFIGS);
  suite_add_tcase(suite, c);
  return suite_run(suite, CK_FORK_GETENV);
}
