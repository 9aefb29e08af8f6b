/* lrqk.c - policy lrqk: exact KV in HOST memory, proxies of all keys and the active rows on the device.
 * A decode step: the new row into ring and host cache, scores of all candidates from the proxies, the k best of them,
 * fetch what is missing, attend to k + w exact rows, give the mass of the others to the mean value row.  Dense layers do
 * what policy full does. */
#include "attention/attention.h"
#include "attention/choice.h"
#include "attention/full.h"
#include "attention/gram.h"
#include "attention/paper_proxy.h"
#include "attention/quality.h"
#include "attention/select.h"
#include "base/mem.h"
#include "base/num.h"
#include "cache/residency.h"
#include "shaders/step.h"

struct lrqk_layer {
  bool sparse, dense;             /* neither: a windowed layer, which is not of this policy */
  struct kv_rows rows;            /* exact rows: DEVICE in a dense layer, else HOST */
  struct proxy proxy;
  struct view values, values_kept;   /* [hk][d] float: sum of all value rows; kept: as it was at lrqk_mark */
  struct gram gram;
  uint32_t pending;               /* decoded tokens that are not in its sums yet */
  uint64_t bus_bytes;             /* of decode steps, apart from misses */
  struct paper_layer paper;
  struct active active;
};

struct lrqk {
  struct attention base;
  struct lrqk_layer *layers;      /* [L] */
  uint32_t last;                  /* the last of them that is not windowed */
  struct kv_rows work;            /* DEVICE: the rows of the sparse layer that prefill works on */
  struct attn_decode all, some;   /* over a dense layer, over active rows */
  struct proxy_shape proxies;
  struct gram_shape grams;
  struct paper_shape papers;
  struct active_shape actives;
  struct selector selector;
  const struct kernel *append, *value_sum;
  struct view new_row;            /* [hk][2d] fp16: the KV row of the new token; not by maps */
  struct view attended;           /* [Hq][d] float: attention over the active rows alone */
  struct pool pool, scratch;      /* what counts as KV cache, and what does not */
  bool proxied;                   /* proxies exist: the text has been longer than k + w */
  int now;                        /* which of active.list is this step's */
  uint32_t candidates, count;     /* of this step: n, min(k, n) */
  uint32_t old;                   /* count of the step before */
  uint32_t keep;                  /* pending(f) before the step; with --refresh layers differ from it */
  uint64_t fetches, hidden;       /* of misses, layer by layer; those that the second queue did */
};

static enum lrqk_status layer_init(struct lrqk *f, struct lrqk_layer *y, uint32_t layer) {
  struct attn_core *c = &f->base.core;
  if (layer_is_windowed(c->hp, layer)) return LRQK_OK;
  f->last = layer;
  y->dense = attention_is_dense(&f->base.opt, layer);
  y->sparse = !y->dense;
  if (y->dense) return kv_rows_init(&y->rows, c->dev, PLACE_DEVICE, c->n_ctx, c->page, c->token_bytes, "KV rows of a dense layer");
  TRY(kv_rows_init(&y->rows, c->dev, PLACE_HOST, c->n_ctx, c->page, c->token_bytes, "host KV rows of a layer"));
  TRY(proxy_init(&y->proxy, &f->proxies, c, &f->pool));
  TRY(pool_alloc(&y->values, &f->pool, (uint64_t)c->hk * c->d * 4));
  TRY(pool_alloc(&y->values_kept, &f->pool, (uint64_t)c->hk * c->d * 4));
  TRY(gram_init(&y->gram, &f->grams, &f->pool));
  TRY(paper_init(&y->paper, &f->papers, &f->pool));
  return active_init(&y->active, &f->actives, &f->pool);
}

/* The active rows of a layer lie in one view, and the scores of attention over them. */
static enum lrqk_status check_active(const struct lrqk *f) {
  const struct attn_core *c = &f->base.core;
  const struct lrqk_device_info *i = &c->dev->caps.info;
  uint64_t rows = f->actives.slots, bytes = rows * f->actives.lists * c->d * 4, most = c->dev->caps.texel ? min_u64(i->max_binding, i->max_texels * 4) : i->max_binding;
  if (bytes <= most && rows * c->hk * c->g * 4 <= most) return LRQK_OK;
  fail(&c->dev->log, LRQK_DEVICE, "%s: %llu active rows of %u lists need a binding of %llu bytes, it allows %llu", i->name, (unsigned long long)rows,
       f->actives.lists, (unsigned long long)bytes, (unsigned long long)most);
  log_hint(&c->dev->log, "fewer active tokens (--active) need less");
  return LRQK_DEVICE;
}

/* What takes the new token's row apart where gram_token does not. */
static enum lrqk_status append_init(struct lrqk *f) {
  struct attn_core *c = &f->base.core;
  enum kernel_id id = !f->proxies.pairs ? KERNEL_TOKEN_APPEND : f->proxies.int8 ? KERNEL_TOKEN_APPEND_I8 : KERNEL_TOKEN_APPEND_F16;
  TRY(pool_alloc(&f->new_row, &f->scratch, c->token_bytes));
  return kernel_get(&f->append, c->dev, id, SPEC(16, f->selector.heads));
}

static enum lrqk_status lrqk_init(struct attention *a) {
  struct lrqk *f = (struct lrqk *)a;
  struct attn_core *c = &a->core;
  const struct lrqk_cache_options *o = &a->opt;
  f->layers = mem_alloc(c->hp->n_layers, sizeof *f->layers);
  if (!f->layers) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the list of %u KV layers", c->hp->n_layers);
  pool_init(&f->pool, c->dev, PLACE_DEVICE, "proxies and active rows", 8u << 20);
  pool_init(&f->scratch, c->dev, PLACE_DEVICE, "decode scratch", 1u << 20);
  TRY(proxy_shape_init(&f->proxies, c, o));
  TRY(gram_shape_init(&f->grams, c, o, &f->proxies));
  TRY(selector_init(&f->selector, c, o, &f->proxies));
  const struct selector *s = &f->selector;
  TRY(paper_shape_init(&f->papers, c, o, &f->proxies, s->lists));
  TRY(active_shape_init(&f->actives, c->dev, c->step, &f->scratch, c->hk, c->d, s->lists, o->lite, o->active));
  TRY(check_active(f));
  TRY(attn_core_reserve(c, f->actives.slots));
  TRY(pool_alloc(&f->attended, &f->scratch, (uint64_t)c->hk * c->g * c->d * 4));
  TRY(kernel_get(&f->value_sum, c->dev, KERNEL_VALUE_SUM, SPEC(c->dev->caps.cpu ? 8 : 64)));
  if (!f->grams.maps) TRY(append_init(f));
  TRY(attn_decode_init(&f->all, c, c->hk, c->hk * c->d / 4, c->d / 4));
  TRY(attn_decode_init(&f->some, c, s->lists, c->d / 4, f->actives.slots * c->d / 4));
  bool sparse = false;
  for (uint32_t i = 0; i < c->hp->n_layers; i++) {
    TRY(layer_init(f, &f->layers[i], i));
    sparse = sparse || f->layers[i].sparse;
  }
  return sparse ? kv_rows_init(&f->work, c->dev, PLACE_DEVICE, c->n_ctx, c->page, c->token_bytes, "KV rows of the layer in prefill") : LRQK_OK;
}

static void lrqk_destroy(struct attention *a) {
  struct lrqk *f = (struct lrqk *)a;
  if (f->layers) for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    kv_rows_destroy(&f->layers[i].rows);
    proxy_destroy(&f->layers[i].proxy);
    paper_destroy(&f->layers[i].paper);
  }
  mem_free(f->layers);
  kv_rows_destroy(&f->work);
  selector_destroy(&f->selector);
  gram_shape_destroy(&f->grams);
  paper_shape_destroy(&f->papers);
  pool_destroy(&f->pool);
  pool_destroy(&f->scratch);
}

/* ---- prefill */

static bool needs_proxies(const struct lrqk *f, uint32_t l) { return l > f->actives.k + f->actives.w; }

/* The Gram sums of a layer become those of all tokens. */
static void add_pending(const struct lrqk *f, struct lrqk_layer *ly) {
  if (ly->pending) gram_add_pending(&ly->gram, &f->grams, ly->pending);
  ly->bus_bytes += ly->pending * gram_row_bytes(&f->grams);
  ly->pending = 0;
}

static void lrqk_mark(struct attention *a) {
  struct lrqk *f = (struct lrqk *)a;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    if (!f->layers[i].sparse) continue;
    add_pending(f, &f->layers[i]);
    paper_mark(&f->layers[i].paper, &f->papers);
    proxy_mark(&f->layers[i].proxy, &a->core);
    if (f->grams.sums) gram_mark(&f->layers[i].gram, &f->grams);
    device_copy(a->core.dev, f->layers[i].values_kept, f->layers[i].values);
  }
}

static void lrqk_prefill_begin(struct attention *a, uint32_t layer, uint32_t l0) {
  struct lrqk *f = (struct lrqk *)a;
  if (!f->layers[layer].dense && !a->core.rows_only) kv_rows_copy(&f->work, &f->layers[layer].rows, 0, l0);
}

static void add_values(struct lrqk *f, const struct lrqk_layer *ly, struct view kv, uint32_t row0, uint32_t m) {
  struct attn_core *c = &f->base.core;
  struct value_sum_params p = { .rows = m, .hk = c->hk, .d = c->d, .row0 = row0 };
  uint32_t lanes = f->value_sum->spec[0];
  DISPATCH(c->dev, f->value_sum, (c->hk * c->d / 2 + lanes - 1) / lanes, 1, 1, &p, kv, ly->values);
}

/* Adds m tokens, whose queries are in core->q and whose rows are at row0 of kv, to the sums of a layer. */
static void add_sums(struct lrqk *f, const struct lrqk_layer *ly, struct view kv, uint32_t row0, uint32_t m) {
  proxy_add_energy(&ly->proxy, &f->proxies, &f->base.core, kv, row0, m);
  add_values(f, ly, kv, row0, m);
}

/* Where prefill builds the rows of a layer: what attends to nothing writes host rows at once. */
static const struct kv_rows *built(const struct lrqk *f, const struct lrqk_layer *ly) {
  return ly->dense || f->base.core.rows_only ? &ly->rows : &f->work;
}

static void lrqk_prefill(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  struct lrqk *f = (struct lrqk *)a;
  struct attn_core *c = &a->core;
  struct lrqk_layer *ly = &f->layers[layer];
  const struct kv_rows *rows = built(f, ly);
  dense_prefill(c, rows, qkv, cs, t0, m, y);
  if (ly->dense) return;
  add_sums(f, ly, kv_page(rows, t0 / c->page), t0 % c->page, m);
  if (f->grams.sums) gram_add(&ly->gram, &f->grams, qkv, m);
  paper_add(&ly->paper, &f->papers, m);
  if (rows != &ly->rows) kv_rows_copy(&ly->rows, rows, t0, t0 + m);
}

/* Chooses pairs, makes maps or factors from the sums of l tokens, and the proxies of all of them. */
static void make_proxies(struct lrqk *f, struct lrqk_layer *ly, const struct kv_rows *rows, uint32_t l) {
  if (f->papers.on) {
    paper_solve(&ly->paper, &f->papers, &ly->proxy, &ly->rows, l);
  } else if (!f->grams.maps) {
    proxy_build(&ly->proxy, &f->proxies, &f->base.core, rows, l);
  } else {
    gram_solve(&ly->gram, &f->grams, l);
    gram_build(&ly->gram, &f->grams, &ly->proxy, rows, l);
  }
}

/* Ring and proxies of a layer for a text of l tokens whose exact rows are given. */
static void settle(struct lrqk *f, struct lrqk_layer *ly, const struct kv_rows *rows, uint32_t l) {
  active_fill_ring(&ly->active, &f->actives, rows, l);
  if (needs_proxies(f, l)) make_proxies(f, ly, rows, l);
}

static void lrqk_prefill_end(struct attention *a, uint32_t layer, uint32_t l) {
  struct lrqk *f = (struct lrqk *)a;
  struct lrqk_layer *ly = &f->layers[layer];
  if (!ly->dense) settle(f, ly, built(f, ly), l);
  if (layer == f->last) f->proxied = needs_proxies(f, l);
}

/* The sums of a layer are those of mark again. */
static void restore_sums(struct lrqk *f, struct lrqk_layer *ly) {
  proxy_restore(&ly->proxy, &f->base.core);
  device_copy(f->base.core.dev, ly->values, ly->values_kept);
  if (f->grams.sums) gram_restore(&ly->gram, &f->grams);
  paper_restore(&ly->paper, &f->papers);
  ly->pending = 0;
}

/* Sums of `from` tokens become those of the first l: of the values exactly, from their rows, else in proportion. */
static enum lrqk_status cut_sums(struct lrqk *f, struct lrqk_layer *ly, uint32_t from, uint32_t l) {
  struct attn_core *c = &f->base.core;
  double part = (double)l / from;
  add_pending(f, ly);
  TRY(proxy_cut(&ly->proxy, c, part));
  if (f->grams.sums) TRY(gram_cut(&ly->gram, &f->grams, part));
  TRY(paper_cut(&ly->paper, &f->papers, part));
  device_fill(c->dev, ly->values, 0);
  for (uint32_t i = 0; i * c->page < l; i++) add_values(f, ly, kv_page(&ly->rows, i), 0, l - i * c->page < c->page ? l - i * c->page : c->page);
  return LRQK_OK;
}

static enum lrqk_status lrqk_cut(struct attention *a, uint32_t from, uint32_t l, bool kept) {
  struct lrqk *f = (struct lrqk *)a;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    struct lrqk_layer *ly = &f->layers[i];
    if (!ly->sparse) continue;
    if (kept) restore_sums(f, ly);
    if (l < from) TRY(cut_sums(f, ly, from, l));
    settle(f, ly, &ly->rows, l);
  }
  f->proxied = needs_proxies(f, l);
  f->count = 0;   /* slots may hold rows of tokens that are gone */
  return LRQK_OK;
}

/* ---- saved sessions */

/* What a file says about its slots. */
struct saved_slots { uint32_t count, k, w, fresh; };

static enum lrqk_status layer_state(struct lrqk *f, struct lrqk_layer *ly, struct state *st, uint32_t l, bool marked, const struct saved_slots *slots) {
  bool made = needs_proxies(f, l);
  TRY(state_rows(st, &ly->rows, l));   /* a windowed layer has none */
  if (!ly->sparse) return LRQK_OK;
  TRY(state_view(st, ly->values));
  if (marked) TRY(state_view(st, ly->values_kept));
  TRY(proxy_state(&ly->proxy, &f->proxies, &f->base.core, st, l, marked, made));
  if (f->grams.sums) TRY(gram_state(&ly->gram, &f->grams, st, &ly->pending, marked, made));
  TRY(paper_state(&ly->paper, &f->papers, st, l, marked, made));
  TRY(active_state(&ly->active, &f->actives, st, f->now, slots->count, slots->k, l, &ly->rows));
  if (st->loading) active_fill_ring(&ly->active, &f->actives, &ly->rows, l);
  return LRQK_OK;
}

static enum lrqk_status lrqk_state(struct attention *a, struct state *st, uint32_t l, bool marked) {
  struct lrqk *f = (struct lrqk *)a;
  struct saved_slots s = { f->count, f->actives.k, f->actives.w, f->papers.fresh };
  TRY(state_host(st, &s, sizeof s));
  if (s.count > s.k || s.count > (l > s.w ? l - s.w : 0)) return state_damaged(st, "the number of chosen tokens");
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) TRY(layer_state(f, &f->layers[i], st, l, marked, &s));
  if (!st->loading) return LRQK_OK;
  f->now = 0;
  f->count = s.k == f->actives.k ? s.count : 0;
  f->papers.fresh = s.fresh;
  f->proxied = needs_proxies(f, l);
  return LRQK_OK;
}

static const struct kv_rows *lrqk_rows(struct attention *a, uint32_t layer) { return &((struct lrqk *)a)->layers[layer].rows; }

static void lrqk_adopt(struct attention *a, struct attention *from, uint32_t l) {
  struct lrqk *f = (struct lrqk *)a, *lender = (struct lrqk *)from;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    struct lrqk_layer *ly = &f->layers[i];
    if (ly->sparse) add_pending(lender, &lender->layers[i]);
    if (ly->sparse || ly->dense) kv_rows_copy(&ly->rows, lrqk_rows(from, i), 0, l);
    if (!ly->sparse) continue;
    if (f->proxies.energies) device_copy(a->core.dev, ly->proxy.energy, lender->layers[i].proxy.energy);
    if (f->grams.sums) device_copy(a->core.dev, ly->gram.sum, lender->layers[i].gram.sum);
    if (f->papers.on) device_copy(a->core.dev, ly->paper.sum, lender->layers[i].paper.sum);
    device_copy(a->core.dev, ly->values, lender->layers[i].values);
    settle(f, ly, &ly->rows, l);
  }
  f->proxied = needs_proxies(f, l);
}

/* ---- decode */

/* Tokens that wait to be summed, of the last layer that has such. */
static uint32_t pending(const struct lrqk *f) {
  uint32_t i = f->last;
  while (i && !f->layers[i].sparse) i--;
  return f->layers[i].pending;
}

static void lrqk_step(struct attention *a, uint32_t t, uint32_t *words) {
  struct lrqk *f = (struct lrqk *)a;
  uint32_t w = f->actives.w, k = f->actives.k, l = t + 1;
  f->old = f->count;
  f->candidates = l > w ? l - w : 0;
  f->count = f->candidates < k ? f->candidates : k;
  if (f->count) f->now = !f->now;
  words[STEP_CAND] = f->candidates;
  words[STEP_CNT] = f->count;
  words[STEP_OLD] = f->old;
  words[STEP_RING] = t % w;
  words[STEP_KEEP] = f->keep = pending(f);
  words[STEP_ROWS] = (l < w ? l : w) + f->count;
}

/* The new token's row into ring, host cache and the sums of the layer; coordinates as proxies, if there are proxies. */
static void append(struct lrqk *f, const struct lrqk_layer *ly, bool proxied) {
  struct attn_core *c = &f->base.core;
  uint32_t page = f->base.t / c->page;
  struct token_append_params p = { .d = c->d, .lists = f->actives.lists, .share = f->actives.share, .slots = f->actives.slots,
                                   .page = proxy_page_tokens(c, page), .page0 = page * c->page,
                                   .rank = proxied ? f->proxies.rank : 0, .rw = f->proxies.rw, .scale = c->hp->attn_scale };
  struct view host = kv_page(&ly->rows, page);
  if (f->proxies.pairs)
    DISPATCH(c->dev, f->append, f->actives.lists, 1, 1, &p, c->q, f->new_row, ly->proxy.tab, c->step, ly->active.rows, host,
             ly->proxy.page[page], f->selector.queries);
  else
    DISPATCH(c->dev, f->append, f->actives.lists, 1, 1, &p, f->new_row, c->step, ly->active.rows, host, ly->values);
}

/* RoPE and all that, where proxies are made by maps; `mapped`: there are some.  again: the second time for this token. */
static void append_mapped(const struct lrqk *f, const struct lrqk_layer *ly, struct view qkv, struct view cs, bool mapped, bool again) {
  struct gram_token t = { qkv, cs, ly->active.rows, kv_page(&ly->rows, f->base.t / f->base.core.page), ly->values, f->selector.queries,
                          f->base.t, f->actives.lists, f->actives.slots, ly->pending - f->keep, selector_scored(&f->selector, f->candidates),
                          mapped, again };
  gram_token(&ly->gram, &f->grams, &ly->proxy, &t);
}

/* Whether there is something to sum in this step, and that. */
static bool has_sums(const struct lrqk *f, const struct lrqk_layer *ly) { return f->proxies.energies || ly->pending == GRAM_PENDING; }

static void add_token(struct lrqk *f, struct lrqk_layer *ly, bool now) {
  uint32_t page = f->base.core.page, t = f->base.t;
  if (f->grams.maps) proxy_add_energy(&ly->proxy, &f->proxies, &f->base.core, kv_page(&ly->rows, t / page), t % page, 1);
  else proxy_add_energy(&ly->proxy, &f->proxies, &f->base.core, f->new_row, 0, 1);
  if (f->proxies.pairs) add_values(f, ly, f->new_row, 0, 1);
  if (f->grams.sums && (now || ly->pending == GRAM_PENDING)) add_pending(f, ly);
}

/* Whether a layer is solved again before token t: each has its turn, spread over --refresh positions. */
static bool is_refreshed(const struct lrqk *f, uint32_t layer, uint32_t t) {
  uint64_t every = f->base.opt.refresh;
  return every && f->proxied && t % every == layer * every / f->base.core.hp->n_layers;
}

/* The layer's proxies from all l rows that the host has, over the bus. */
static void remake_proxies(struct lrqk *f, struct lrqk_layer *ly, uint32_t l) {
  if (f->grams.sums) add_pending(f, ly);
  make_proxies(f, ly, &ly->rows, l);
  ly->bus_bytes += (uint64_t)l * f->base.core.token_bytes;
}

/* `paper`: proxies of the new token and its queries come from the CPU; if it is the first that needs them, all others too. */
static void append_paper(struct lrqk *f, struct lrqk_layer *ly, bool crosses) {
  uint32_t t = f->base.t;
  if (crosses) remake_proxies(f, ly, t);
  if (crosses || f->proxied) {
    paper_append(&ly->paper, &f->papers, &ly->proxy, &ly->rows, f->new_row, ly->active.list[!f->now], f->old, t, f->selector.queries);
    ly->bus_bytes += paper_step_bytes(&f->papers);
  }
  paper_add(&ly->paper, &f->papers, 1);
}

/* The new token into all that a layer keeps of its text, but for what is summed later (add_token). */
static void take_token(struct lrqk *f, struct lrqk_layer *ly, struct view qkv, struct view cs) {
  if (f->grams.maps) {
    append_mapped(f, ly, qkv, cs, f->proxied, false);
  } else {
    if (f->grams.sums) gram_rope(&ly->gram, &f->grams, qkv, cs, f->new_row, ly->pending - f->keep);
    else attn_rope(&f->base.core, qkv, cs, 1, f->new_row, 0, false);
    append(f, ly, f->proxied);
  }
  if (!f->grams.sums) return;
  ly->pending++;
  ly->bus_bytes += gram_row_bytes(&f->grams);
}

static void lrqk_decode(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y) {
  struct lrqk *f = (struct lrqk *)a;
  struct attn_core *c = &a->core;
  struct lrqk_layer *ly = &f->layers[layer];
  uint32_t l = a->t + 1, w = f->actives.w;
  bool crosses = needs_proxies(f, l) && !f->proxied;   /* the first candidate that cannot be taken */
  if (ly->dense) {
    dense_decode(c, &f->all, &ly->rows, a->t, qkv, cs, y);
  } else {
    if (is_refreshed(f, layer, a->t)) remake_proxies(f, ly, a->t);
    take_token(f, ly, qkv, cs);
    bool later = f->count && a->opt.overlap && !crosses && !f->papers.on && has_sums(f, ly);   /* sums can wait until misses are on their way */
    if (!later) add_token(f, ly, crosses);
    if (f->papers.on) {
      append_paper(f, ly, crosses);
    } else if (crosses) {   /* proxies from all rows so far; `gram` reads its sums back, layer by layer, in this one step */
      remake_proxies(f, ly, l);
      if (f->grams.maps) append_mapped(f, ly, qkv, cs, true, true);
      else append(f, ly, true);
    }
    ly->bus_bytes += c->token_bytes;
    if (f->count) {
      uint32_t scored = selector_scored(&f->selector, f->candidates);
      bool apart = f->grams.maps && a->opt.mean_key != LRQK_MEAN_KEY_OFF && scored;
      const struct view *mean = apart ? gram_mean(&f->grams, scored, f->actives.lists) : NULL;
      selector_run(&f->selector, &ly->proxy, &f->proxies, mean, f->candidates, ly->active.list[f->now]);
      f->fetches++;
      f->hidden += active_update(&ly->active, &f->actives, f->now, &ly->rows, f->candidates, later);
    }
    if (later) add_token(f, ly, false);
    uint32_t rows = (l < w ? l : w) + f->count, most = f->actives.slots < c->n_ctx ? f->actives.slots : c->n_ctx;
    bool tail = a->opt.tail && f->candidates > f->actives.k;
    if (tail) {
      uint32_t shares = attn_decode_shares(c, &f->some, ly->active.rows, rows, most, f->attended);
      selector_tail(&f->selector, ly->active.list[f->now], shares > 1 ? c->o : f->attended, shares, ly->values, y);
    } else {
      attn_decode_active(c, &f->some, ly->active.rows, rows, most, y);
    }
  }
  if (layer != f->last) return;
  f->proxied = needs_proxies(f, l);
  f->papers.fresh = false;
}

/* ---- figures and checks */

static enum lrqk_status lrqk_stats(struct attention *a, struct attention_stats *out) {
  struct lrqk *f = (struct lrqk *)a;
  struct attn_core *c = &a->core;
  *out = (struct attention_stats){ .device_bytes = pool_bytes(&f->pool) + kv_rows_bytes(&f->work),
                                   .host_bytes = f->grams.sums ? pool_bytes(&f->grams.kept) : 0 };
  for (uint32_t i = 0; i < c->hp->n_layers; i++) {
    struct lrqk_layer *ly = &f->layers[i];
    *(ly->dense ? &out->device_bytes : &out->host_bytes) += kv_rows_bytes(&ly->rows);
    if (!ly->sparse) continue;
    struct active_count sum;
    TRY(active_counts(&ly->active, &f->actives, 0, f->actives.lists, &sum));
    out->host_bytes += paper_layer_bytes(&f->papers);
    out->chosen += sum.chosen;
    out->misses += sum.misses;
    out->bus_bytes += ly->bus_bytes + sum.misses * c->d * 4;
  }
  if (f->hidden) {
    double part = (double)f->hidden / (double)f->fetches;
    out->hidden_bytes = (uint64_t)((double)(out->misses * c->d * 4) * part);
  }
  return LRQK_OK;
}

static enum lrqk_status lrqk_heads(struct attention *a, uint32_t layer, struct lrqk_head_stats *out) {
  struct lrqk *f = (struct lrqk *)a;
  struct lrqk_layer *ly = &f->layers[layer];
  uint32_t hk = a->core.hk, share = f->actives.share;
  for (uint32_t h = 0; ly->sparse && h < hk; h++) {
    struct active_count sum;
    TRY(active_counts(&ly->active, &f->actives, h * share, share, &sum));
    out[h].chosen = sum.chosen;
    out[h].misses = sum.misses;
    out[h].bus_bytes = ly->bus_bytes * (h + 1) / hk - ly->bus_bytes * h / hk + sum.misses * a->core.d * 4;
  }
  return LRQK_OK;
}

static enum lrqk_status lrqk_chosen(struct attention *a, uint32_t layer, uint32_t head, uint32_t *tokens, size_t cap, size_t *n) {
  struct lrqk *f = (struct lrqk *)a;
  uint32_t share = f->actives.share;
  *n = f->layers[layer].sparse ? (size_t)share * f->count : 0;
  for (uint32_t i = 0; i < share && *n && (size_t)i * f->count < cap; i++) {
    size_t at = (size_t)i * f->count, most = cap - at < f->count ? cap - at : f->count;
    TRY(active_list(&f->layers[layer].active, &f->actives, f->now, head * share + i, (uint32_t)most, tokens + at));
  }
  return LRQK_OK;
}

static enum lrqk_status lrqk_quality(struct attention *a, uint32_t layer, const float *q, struct lrqk_head_quality *out) {
  struct lrqk *f = (struct lrqk *)a;
  const struct attn_core *c = &a->core;
  uint32_t lists = f->actives.lists, n = f->count;
  if (!f->layers[layer].sparse) return LRQK_OK;
  uint32_t *chosen = mem_alloc((size_t)lists * n + 1, sizeof *chosen);
  enum lrqk_status s = chosen ? LRQK_OK : fail(&c->dev->log, LRQK_MEMORY, "cannot allocate %u lists of %u tokens", lists, n);
  for (uint32_t i = 0; s == LRQK_OK && n && i < lists; i++) s = active_list(&f->layers[layer].active, &f->actives, f->now, i, n, chosen + (size_t)i * n);
  const struct quality_step step = { .hp = c->hp, .rows = &f->layers[layer].rows, .q = q, .chosen = chosen, .hk = c->hk, .share = f->actives.share,
                                     .count = n, .l = a->t + 1, .candidates = f->candidates, .sinks = a->opt.sinks,
                                     .max = a->opt.group == LRQK_GROUP_MAX };
  if (s == LRQK_OK) s = quality_measure(&step, &c->dev->log, out);
  mem_free(chosen);
  return s;
}

static enum lrqk_status lrqk_verify(struct attention *a, uint32_t l, uint64_t *differing) {
  struct lrqk *f = (struct lrqk *)a;
  *differing = 0;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++)
    if (f->layers[i].sparse) TRY(active_verify(&f->layers[i].active, &f->actives, f->now, f->count, l, &f->layers[i].rows, differing));
  return LRQK_OK;
}

static void layer_plan(const struct lrqk *f, const struct lrqk_layer *ly, uint32_t l, double hits, struct attention_plan *out) {
  const struct active_shape *s = &f->actives;
  uint64_t row = (uint64_t)f->base.core.d * 4, candidates = l > s->w ? l - s->w : 0, chosen = candidates < s->k ? candidates : s->k;
  bool scored = needs_proxies(f, l);
  for (uint32_t i = 0; i < f->proxies.n_pages; i++) out->proxies += ly->proxy.page[i].size;
  out->active += s->lists * s->k * row;
  out->lite += s->lists * s->w * row;
  out->read += (scored ? l * proxy_token_bytes(&f->proxies) : 0) + s->lists * (l - candidates + chosen) * row;
  /* the new row; misses, where nothing is scored the one row that leaves the ring; what the CPU makes for paper */
  out->bus += f->base.core.token_bytes + (uint64_t)(s->lists * (scored ? (double)chosen * (1 - hits) : chosen > 0) * (double)row + 0.5);
  if (scored) out->bus += paper_step_bytes(&f->papers);
  if (f->grams.sums) out->bus += 2 * gram_row_bytes(&f->grams);   /* written now, read when GRAM_PENDING are summed: a mean */
}

static void lrqk_plan_parts(const struct attention *a, uint32_t l, double hits, struct attention_plan *out) {
  const struct lrqk *f = (const struct lrqk *)a;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    const struct lrqk_layer *ly = &f->layers[i];
    if (ly->dense) out->read += (uint64_t)l * a->core.token_bytes;
    if (ly->dense) out->dense += kv_rows_bytes(&ly->rows);
    if (ly->sparse) layer_plan(f, ly, l, hits, out);
  }
  out->work = kv_rows_bytes(&f->work);
  out->maps = pool_bytes(&f->pool) - out->proxies - out->active - out->lite;
}

/* Scratch of the selection is what the last layer that chose left there. */
static enum lrqk_status lrqk_choice(struct attention *a, struct lrqk_choice *out) {
  struct lrqk *f = (struct lrqk *)a;
  uint32_t layer = a->core.hp->n_layers;
  while (layer && !f->layers[layer - 1].sparse) layer--;
  if (!layer || !f->count || !selector_scored(&f->selector, f->candidates)) return LRQK_OK;
  const struct lrqk_layer *ly = &f->layers[layer - 1];
  struct choice_mean mean = { f->grams.maps ? a->opt.mean_key : LRQK_MEAN_KEY_OFF, a->opt.mean_key == LRQK_MEAN_KEY_ON ? f->grams.mean : f->grams.coefs };
  return choice_check(&f->selector, &ly->proxy, &f->proxies, &mean, a->opt.group == LRQK_GROUP_MAX, f->candidates, ly->active.list[f->now], out);
}

const struct attention_ops attention_lrqk = {
  .name = "lrqk", .size = sizeof(struct lrqk), .init = lrqk_init, .destroy = lrqk_destroy, .mark = lrqk_mark,
  .prefill_begin = lrqk_prefill_begin, .prefill = lrqk_prefill, .prefill_end = lrqk_prefill_end, .cut = lrqk_cut, .state = lrqk_state, .rows = lrqk_rows,
  .adopt = lrqk_adopt, .step = lrqk_step,
  .decode = lrqk_decode, .stats = lrqk_stats, .heads = lrqk_heads, .chosen = lrqk_chosen, .quality = lrqk_quality, .verify = lrqk_verify, .choice = lrqk_choice,
  .plan = lrqk_plan_parts,
};
