#include "attention/gram.h"

#include <math.h>

#include "attention/dense.h"
#include "attention/factor.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/parallel.h"

enum { BLOCK = 64, HALF_BLOCK = 32 };   /* tokens of shaders/turn.h */

/* Up to this angle within half a block a pair's turn is replaced by a cubic: off by 0.5^4/24 = 3e-3 of its part at most. */
static const double SLOW = 0.5;

/* ---- sizes, in floats */

/* of S_Q, of S_K */
static uint64_t block_floats(const struct attn_core *c) { return (uint64_t)c->hk * (c->d / 8) * (c->d / 8 + 1) / 2 * 64; }

static uint64_t sum_floats(const struct attn_core *c) { return 2 * block_floats(c) + (uint64_t)c->hk * c->d; }
static uint64_t map_floats(const struct attn_core *c, uint32_t r) { return (uint64_t)c->hk * c->d * (2 * r + 1); }
static uint64_t row_floats(const struct attn_core *c) { return (uint64_t)c->hk * (c->g + 2) * c->d; }

static struct factor_options solver_options(const struct gram_shape *s, uint32_t l) {
  const struct attn_core *c = s->core;
  return (struct factor_options){ .d = c->d, .r = s->opt->rank, .iters = s->opt->iters, .tol = s->opt->tol, .lambda_q = s->opt->lambda_q,
                                  .lambda_k = s->opt->lambda_k, .rows_q = (uint64_t)l * c->g, .rows_k = l };
}

/* What the heads of a layer are solved in: tables, and the results of all heads ... */
struct work { double *table_q, *table_k, *mk, *p, *mu; };   /* M_K' and P' [hk][r][d], mu [hk][d] */
/* ... and what a worker needs for the one that it is at. */
struct desk { double *gq, *gk, *mq, *bq, *weight, *mean, *rest; };

static size_t desk_size(const struct gram_shape *s) {
  const struct factor_options o = solver_options(s, 1);
  return 2 * (size_t)o.d * o.d + 2 * (size_t)o.r * o.d + 2 * (size_t)o.d + factor_work(&o, 1);
}

static size_t work_size(const struct gram_shape *s) {
  const struct attn_core *c = s->core;
  return 2 * rotate_table_size(c->d) + (size_t)c->hk * c->d * (2 * s->opt->rank + 1) + s->workers * desk_size(s);
}

static struct work work_of(const struct gram_shape *s) {
  const struct attn_core *c = s->core;
  size_t table = rotate_table_size(c->d), area = (size_t)c->hk * s->opt->rank * c->d;
  double *p = s->work + s->workers * desk_size(s);
  return (struct work){ .table_q = p, .table_k = p + table, .mk = p + 2 * table, .p = p + 2 * table + area, .mu = p + 2 * table + 2 * area };
}

static struct desk desk_of(const struct gram_shape *s, uint32_t worker) {
  size_t d = s->core->d, square = d * d, area = d * s->opt->rank;
  double *p = s->work + worker * desk_size(s);
  struct desk k = { .gq = p, .gk = p + square };
  p += 2 * square;
  k.mq = p, k.bq = p + area;
  p += 2 * area;
  k.weight = p, k.mean = p + d, k.rest = p + 2 * d;
  return k;
}

/* ---- set-up */

static enum lrqk_status get_kernels(struct gram_shape *s, bool int8) {
  struct device *d = s->core->dev;
  uint32_t small = d->caps.cpu ? 8 : 64, neox = s->core->hp->rope_neox, r = s->opt->rank;
  struct gram_products_shape shape = { .hk = s->core->hk, .g = s->core->g, .d = s->core->d, .rank = r, .neox = neox, .int8 = int8, .maps = s->maps };
  TRY(gram_products_init(&s->products, d, &shape));
  if (!s->maps) return LRQK_OK;
  enum kernel_id token = int8 ? KERNEL_TOKEN_MAP_I8 : KERNEL_TOKEN_MAP_F16;
  for (uint32_t i = 0; i < 2; i++) TRY(kernel_get(&s->token[i], d, token, SPEC(small, neox, s->core->d, r, i)));
  uint32_t blocks = d->caps.cpu && s->core->g <= 4 ? 2 : 1, pairs = d->caps.cpu ? 1 : 4;
  TRY(kernel_get(&s->coef, d, KERNEL_MEAN_COEF, SPEC(small, s->core->g, blocks, pairs)));
  if (s->opt->mean_key != LRQK_MEAN_KEY_ON) return LRQK_OK;
  return kernel_get(&s->score, d, KERNEL_MEAN_SCORE, SPEC(small, s->opt->group == LRQK_GROUP_NONE ? 1 : s->core->g));
}

static uint32_t blocks_of(const struct gram_shape *s, uint32_t range) { return range_tokens(s->ranges, range) / BLOCK; }

/* The tables of shaders/turn.h for the positions of a range. */
static enum lrqk_status make_turn(struct gram_shape *s, uint32_t range) {
  const struct attn_core *c = s->core;
  size_t d = c->d, blocks = blocks_of(s, range), block0 = (size_t)range * (s->ranges->span / BLOCK), n = (33 + blocks) * d;
  float *t = mem_alloc(n, sizeof *t);
  if (!t) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate a table of %zu RoPE positions", blocks * BLOCK);
  for (size_t p = 0; p < d / 2; p++) {
    double theta = s->pairs.inv_freq[p];
    for (size_t k = 0; k < HALF_BLOCK; k++) {
      t[p * 64 + k] = (float)cos(((double)k + 0.5) * theta);
      t[p * 64 + 32 + k] = (float)sin(((double)k + 0.5) * theta);
    }
    t[32 * d + 2 * p] = (float)theta;
    for (size_t b = 0; b < blocks; b++) {
      double angle = ((double)((block0 + b) * BLOCK) + 31.5) * theta;
      t[(33 + b) * d + 2 * p] = (float)cos(angle);
      t[(33 + b) * d + 2 * p + 1] = (float)sin(angle);
    }
  }
  enum lrqk_status st = device_write(c->dev, s->turn[range], t, n * 4);
  mem_free(t);
  return st;
}

static void rope_pairs(struct gram_shape *s) {
  const struct hparams *hp = s->core->hp;
  s->pairs = (struct rotate_pairs){ .d = hp->head_size, .rot = hp->rope_dims, .neox = hp->rope_neox };
  s->pairs.inv_freq = s->core->turns->inv_freq;
  for (uint32_t p = 0; p < hp->rope_dims / 2; p++)
    if (s->pairs.inv_freq[p] * (HALF_BLOCK - 0.5) > SLOW) s->fast = p + 1;
}

enum lrqk_status gram_shape_init(struct gram_shape *s, struct attn_core *c, const struct lrqk_cache_options *o,
                                 const struct proxy_shape *proxy) {
  *s = (struct gram_shape){ .core = c, .opt = o, .maps = o->proxy == LRQK_PROXY_GRAM, .rw = proxy->rw, .ranges = &proxy->ranges };
  s->sums = s->maps || o->lend;
  if (!s->sums) return LRQK_OK;
  pool_init(&s->pool, c->dev, PLACE_DEVICE, "maps of proxies", 1u << 20);
  pool_init(&s->kept, c->dev, PLACE_HOST, "sums of queries and keys", 1u << 20);
  TRY(get_kernels(s, proxy->int8));
  if (!s->maps) return LRQK_OK;
  rope_pairs(s);
  uint64_t blocks = RANGE_UNIT / BLOCK, heads = (uint64_t)c->hk * c->g;
  bool on = o->mean_key == LRQK_MEAN_KEY_ON;
  TRY(ranges_alloc(&s->turn, s->ranges, &s->pool, blocks * c->d * 4, 33 * (uint64_t)c->d * 4));
  for (uint32_t i = 0; i < s->ranges->n; i++) TRY(make_turn(s, i));
  TRY(pool_alloc(&s->ab, &s->pool, heads * c->d * 4));
  TRY(ranges_alloc(&s->coefs, s->ranges, &s->pool, heads * blocks * (on ? ceil_div(s->fast, 2) + 1 : 1) * 16, 0));
  if (on) TRY(ranges_alloc(&s->mean, s->ranges, &s->pool, heads * RANGE_UNIT * 4, 0));
  s->joint = c->dev->caps.cpu && o->mean_key == LRQK_MEAN_KEY_SLOW && s->ranges->n == 1;   /* a GPU has more lanes for them in a kernel of their own */
  s->workers = parallel_workers(c->hk);
  s->work = mem_alloc(work_size(s), sizeof *s->work);
  s->status = mem_alloc(c->hk, sizeof *s->status);
  if (!s->work || !s->status) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the workspace of the factors (%zu bytes)", work_size(s) * 8);
  uint64_t most = sum_floats(c) > map_floats(c, o->rank) ? sum_floats(c) : map_floats(c, o->rank);
  return buffer_create(&s->staging, c->dev, PLACE_STAGING, most * 4, "sums and maps");
}

void gram_shape_destroy(struct gram_shape *s) {
  mem_free(s->work);
  mem_free(s->status);
  gram_products_destroy(&s->products);
  mem_free(s->turn);
  mem_free(s->coefs);
  mem_free(s->mean);
  buffer_destroy(&s->staging);
  if (s->pool.dev) pool_destroy(&s->pool);
  if (s->kept.dev) pool_destroy(&s->kept);
}

enum lrqk_status gram_init(struct gram *g, struct gram_shape *s, struct pool *pool) {
  if (!s->sums) return LRQK_OK;
  uint64_t sum = sum_floats(s->core) * 4;
  TRY(pool_alloc(&g->sum, pool, sum));
  TRY(pool_alloc(&g->old, &s->kept, sum));
  TRY(pool_alloc(&g->pending, &s->kept, GRAM_PENDING * row_floats(s->core) * 4));
  return s->maps ? pool_alloc(&g->map, pool, map_floats(s->core, s->opt->rank) * 4) : LRQK_OK;
}

/* ---- sums */

void gram_add(const struct gram *g, const struct gram_shape *s, struct view qkv, uint32_t m) {
  gram_products_sum(&s->products, qkv, m, g->sum);
}

void gram_rope(const struct gram *g, const struct gram_shape *s, struct view qkv, struct view cs, struct view kv, uint32_t i) {
  attn_rope_keep(s->core, qkv, cs, kv, g->pending, i);
}

uint64_t gram_row_bytes(const struct gram_shape *s) { return row_floats(s->core) * 4; }
void gram_add_pending(const struct gram *g, const struct gram_shape *s, uint32_t n) { gram_add(g, s, g->pending, n); }
void gram_mark(const struct gram *g, const struct gram_shape *s) { device_copy(s->core->dev, g->old, g->sum); }
void gram_restore(const struct gram *g, const struct gram_shape *s) { device_copy(s->core->dev, g->sum, g->old); }

enum lrqk_status gram_cut(const struct gram *g, const struct gram_shape *s, double part) {
  return attn_scale(s->core, g->sum, sum_floats(s->core), part);
}

enum lrqk_status gram_state(const struct gram *g, const struct gram_shape *s, struct state *st, uint32_t *pending, bool marked, bool made) {
  TRY(state_view(st, g->sum));
  if (marked) TRY(state_view(st, g->old));
  TRY(state_host(st, pending, sizeof *pending));
  if (*pending >= GRAM_PENDING) {
    *pending = 0;   /* what was read is forgotten by a cut, which sums them */
    return state_damaged(st, "the number of tokens that wait to be summed");
  }
  if (*pending) TRY(state_view(st, (struct view){ g->pending.buf, g->pending.offset, *pending * row_floats(s->core) * 4 }));
  return made && s->maps ? state_view(st, g->map) : LRQK_OK;
}

/* ---- maps */

/* out [d][d] from the 8 x 8 blocks of its lower half. */
static void unpack(double *out, const float *blocks, uint32_t d) {
  for (uint32_t i = 0; i < d / 8; i++)
    for (uint32_t j = 0; j <= i; j++, blocks += 64)
      for (uint32_t e = 0; e < 64; e++) {
        size_t a = i * 8 + e / 8, b = j * 8 + e % 8;
        out[a * d + b] = out[b * d + a] = blocks[e];
      }
}

/* RoPE multiplies what turns by the magnitude, here before it turns it. */
static void magnify(double *gram, const struct hparams *hp, double magnitude) {
  for (uint32_t i = 0; i < hp->head_size; i++)
    for (uint32_t j = 0; j < hp->head_size; j++)
      gram[(size_t)i * hp->head_size + j] *= (i < hp->rope_dims ? magnitude : 1) * (j < hp->rope_dims ? magnitude : 1);
}

/* The mean key of a head, and what of it is taken apart. */
static void mean_key(const struct gram_shape *s, const float *sum, uint32_t l, double *mean, double *mu) {
  uint32_t d = s->core->d, rot = s->pairs.rot;
  for (uint32_t i = 0; i < d; i++) {
    mean[i] = sum[i] / (double)l;
    mu[i] = s->opt->mean_key != LRQK_MEAN_KEY_OFF ? mean[i] : 0;
  }
  for (uint32_t p = 0; s->opt->mean_key == LRQK_MEAN_KEY_SLOW && p < s->fast; p++)
    mu[s->pairs.neox ? p : 2 * p] = mu[s->pairs.neox ? p + rot / 2 : 2 * p + 1] = 0;
}

static double trace(const double *gram, uint32_t d) {
  double sum = 0;
  for (uint32_t i = 0; i < d; i++) sum += gram[(size_t)i * d + i];
  return sum;
}

/* Adds the same energy in all directions. */
static void add_noise(double *gram, double energy, uint32_t d) {
  for (uint32_t i = 0; i < d; i++) gram[(size_t)i * d + i] += fmax(energy / d, 1e-20);
}

/* The averaged Grams of a head, with `noise` of their energy added, and what is taken apart of its mean key, of the magnitude that RoPE gives them. */
static void averages(const struct gram_shape *s, const struct work *w, const struct desk *k, const float *sum, uint32_t l, uint32_t h,
                     double noise) {
  const struct attn_core *c = s->core;
  uint32_t d = c->d;
  uint64_t all = block_floats(c), one = all / c->hk;
  double *mu = w->mu + (size_t)h * d;
  unpack(k->gq, sum + h * one, d);
  unpack(k->gk, sum + all + h * one, d);
  double energy_k = trace(k->gk, d);   /* with the mean */
  mean_key(s, sum + 2 * all + (size_t)h * d, l, k->mean, mu);
  rotate_centre(k->gk, k->mean, mu, l, d);
  add_noise(k->gq, noise * trace(k->gq, d), d);
  add_noise(k->gk, noise * energy_k, d);
  magnify(k->gq, c->hp, c->turns->magnitude);
  magnify(k->gk, c->hp, c->turns->magnitude);
  for (uint32_t i = 0; i < c->hp->rope_dims; i++) mu[i] *= c->turns->magnitude;
  rotate_average(k->gq, k->gq, &s->pairs, w->table_q);
  rotate_average(k->gk, k->gk, &s->pairs, w->table_k);
}

/* x'Gx */
static double energy(const double *x, const double *gram, uint32_t d) {
  double e = 0;
  for (uint32_t i = 0; i < d; i++) e += x[i] * dense_dot(gram + (size_t)i * d, x, d);
  return e;
}

/* A number of k^ can be scaled if that of q^ is scaled back.  One scale serves all numbers of an int8 row, so the error is
 * least where each number varies alike in k^ and in q^. */
static void balance(double *mk, double *p, const double *gq, const double *gk, uint32_t d) {
  double k = energy(mk, gk, d), q = energy(p, gq, d), f = k > 0 && q > 0 ? sqrt(sqrt(q / k)) : 1;
  for (uint32_t i = 0; i < d; i++) {
    mk[i] *= f;
    p[i] /= f;
  }
}

struct solving { const struct gram_shape *s; struct work w; const float *sum; uint32_t l; };

/* The maps of head h from its averaged Grams: head by head, each has a stop rule of its own. */
static enum lrqk_status try_head(const struct solving *a, uint32_t h, const struct desk *k) {
  const struct factor_options o = solver_options(a->s, a->l);
  const struct log silent = { 0 };   /* the caller reports: a log function is called by one thread */
  uint32_t d = o.d, coord[HEAD_SIZE_MAX];
  size_t at = (size_t)h * o.r * d;
  for (uint32_t i = 0; i < d; i++) k->weight[i] = k->gq[(size_t)i * d + i] * k->gk[(size_t)i * d + i];
  factor_topcol(coord, k->weight, d, o.r);
  struct factor_head head = { .gq = k->gq, .gk = k->gk, .start.coord = coord, .mq = k->mq, .mk = a->w.mk + at, .bq = k->bq, .bk = a->w.p + at };
  TRY(factor_solve(&silent, &o, &head, 1, k->rest, NULL));
  for (uint32_t i = 0; i < o.r; i++) balance(head.mk + (size_t)i * d, head.bk + (size_t)i * d, k->gq, k->gk, d);
  return LRQK_OK;
}

/* Sums in fp32 are right to a millionth of their size at best, and where a text varies less (one token again and again) what is
 * left without the mean is an error of either sign: then it is drowned in noise. */
static void solve_head(void *ud, uint32_t h, uint32_t worker) {
  const struct solving *a = ud;
  struct desk k = desk_of(a->s, worker);
  enum lrqk_status st = LRQK_CHECK;
  for (double noise = 1e-7; st == LRQK_CHECK && noise < 1; noise *= 10) {
    averages(a->s, &a->w, &k, a->sum, a->l, h, noise);
    st = try_head(a, h, &k);
  }
  a->s->status[h] = st;
}

static enum lrqk_status solve(const struct gram_shape *s, const struct work *w, const float *sum, uint32_t l) {
  const struct attn_core *c = s->core;
  struct solving a = { .s = s, .w = *w, .sum = sum, .l = l };
  parallel_for(c->hk, s->workers, solve_head, &a);
  for (uint32_t h = 0; h < c->hk; h++)
    if (s->status[h] != LRQK_OK)
      return fail(&c->dev->log, s->status[h], "factors of KV head %u: its Gram matrices over %u tokens are not finite and positive semidefinite", h, l);
  return LRQK_OK;
}

static enum lrqk_status make_maps(const struct gram *g, struct gram_shape *s, uint32_t l) {
  struct attn_core *c = s->core;
  struct work w = work_of(s);
  uint64_t bytes = sum_floats(c) * 4, ticket;
  size_t area = (size_t)c->hk * s->opt->rank * c->d;
  device_copy(c->dev, (struct view){ s->staging, 0, bytes }, g->sum);
  TRY(device_submit(c->dev, &ticket));
  TRY(device_wait(c->dev, ticket));
  if (s->solved_at != l) {   /* the same for all layers */
    rotate_table(w.table_q, &s->pairs, l, s->opt->horizon);
    rotate_table(w.table_k, &s->pairs, 0, (uint64_t)l + s->opt->horizon);
    s->solved_at = l;
  }
  TRY(solve(s, &w, s->staging->map, l));
  float *out = s->staging->map;
  for (size_t i = 0; i < area; i++) {
    out[i] = (float)w.mk[i];
    out[area + i] = (float)w.p[i];
  }
  for (size_t i = 0; i < (size_t)c->hk * c->d; i++) out[2 * area + i] = (float)w.mu[i];
  device_copy(c->dev, g->map, (struct view){ s->staging, 0, map_floats(c, s->opt->rank) * 4 });
  return LRQK_OK;
}

void gram_solve(const struct gram *g, struct gram_shape *s, uint32_t l) { device_fault(s->core->dev, make_maps(g, s, l)); }

/* ---- proxies and scores */

static uint32_t range_of(const struct gram_shape *s, uint32_t page) { return page * s->core->page / s->ranges->span; }

void gram_build(const struct gram *g, const struct gram_shape *s, const struct proxy *p, const struct kv_rows *rows, uint32_t l) {
  struct attn_core *c = s->core;
  for (uint32_t i = 0; i * c->page < l; i++) {
    uint32_t range = range_of(s, i);
    struct map_proxy_params m = { .hk = c->hk, .rot = c->hp->rope_dims, .n = min_u32(l - i * c->page, c->page), .page = proxy_page_tokens(c, i),
                                  .page0 = i * c->page - range * s->ranges->span, .rw = s->rw };
    gram_products_map(&s->products, &m, kv_page(rows, i), g->map, s->turn[range], p->page[i]);
  }
}

void gram_token(const struct gram *g, const struct gram_shape *s, const struct proxy *p, const struct gram_token *a) {
  struct attn_core *c = s->core;
  uint32_t page = a->t / c->page, range = range_of(s, page);
  struct token_map_params m = { .hk = c->hk, .g = c->g, .rot = c->hp->rope_dims, .share = a->lists / c->hk, .slots = a->slots,
                                .page = proxy_page_tokens(c, page), .page0 = page * c->page, .turn0 = range * s->ranges->span, .rw = s->rw, .keep0 = a->i, .again = a->again,
                                .scale = c->hp->attn_scale };
  if (s->joint && a->mapped) m.blocks = blocks_of(s, range), m.cubics = ceil_div(a->scored, BLOCK), m.from = s->fast / 2;
  DISPATCH(c->dev, s->token[a->mapped], c->hk * c->g + c->hk, 1, 1, &m, a->qkv, a->cs, c->step, g->map, s->turn[range], c->q, g->pending, a->active,
           a->host, a->values, p->page[page], a->queries, s->ab, s->turn[range], s->coefs[range]);
}

/* ... of the first n tokens of a range. */
static void mean_range(const struct gram_shape *s, uint32_t range, uint32_t n, uint32_t lists) {
  struct attn_core *c = s->core;
  uint32_t blocks = ceil_div(n, BLOCK), on = s->opt->mean_key == LRQK_MEAN_KEY_ON, fast2 = ceil_div(s->fast, 2);
  struct mean_coef_params a = { .d4 = c->d / 4, .blocks = blocks_of(s, range), .fast2 = on ? fast2 : 0, .from = on ? fast2 : s->fast / 2 };
  DISPATCH(c->dev, s->coef, ceil_div(blocks, s->coef->spec[0] * s->coef->spec[2]), c->hk, 1, &a, s->ab, s->turn[range], s->coefs[range]);
  if (!on) return;
  struct mean_score_params b = { .blocks = a.blocks, .fast2 = fast2 };
  DISPATCH(c->dev, s->score, ceil_div(blocks, s->score->spec[0]), lists, HALF_BLOCK / 4, &b, s->coefs[range], s->turn[range], s->mean[range]);
}

const struct view *gram_mean(const struct gram_shape *s, uint32_t n, uint32_t lists) {
  for (uint32_t i = 0; !s->joint && i * s->ranges->span < n; i++) mean_range(s, i, min_u32(n - i * s->ranges->span, s->ranges->span), lists);
  return s->opt->mean_key == LRQK_MEAN_KEY_ON ? s->mean : s->coefs;
}
