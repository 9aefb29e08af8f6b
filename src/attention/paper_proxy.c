#include "attention/paper_proxy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/dense.h"
#include "attention/factor.h"
#include "attention/paper.h"
#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"

struct scored { double weight; uint32_t token; };

/* Shared by all layers; Hq query heads. */
struct paper_work {
  /* solving */
  double *gq, *gk;                /* [planes][d][d], [hk][d][d] */
  double *size, *weight;          /* [hk][d] sums of |k|; [d] */
  double *mq, *mk;                /* [planes][r][d] */
  double *score;                  /* [n_ctx] */
  uint32_t *coord;                /* [planes][r] */
  struct factor_head *factor;     /* [planes] */
  struct scored *scored;          /* [n_ctx] */
  double *solver;
  /* a step */
  double *q, *k;                  /* [Hq][d], [hk][d] */
  double *oq, *oa;                /* [Hq][r], [Hq][r][r] */
  double *qh, *kh;                /* [Hq][r], [planes][r] */
  struct paper_head *head;        /* [planes] */
  float *omega_k, *omega_a;       /* [k + w][d], [k + w][r] */
  double *updater;
};

/* ---- sizes */

static uint32_t query_heads(const struct paper_shape *s) { return s->core->hk * s->core->g; }
static uint64_t block_floats(const struct attn_core *c) { return (uint64_t)(c->d / 8) * (c->d / 8 + 1) / 2 * 64; }   /* of a Gram */
static uint64_t sum_floats(const struct paper_shape *s) { return query_heads(s) * (block_floats(s->core) + 2 * s->core->d); }
static uint32_t row_bytes(const struct paper_shape *s) { return s->proxy->rw * 16; }
static uint32_t row_values(const struct paper_shape *s) { return s->proxy->rw * (s->proxy->int8 ? 16 : 8); }

static uint64_t page_bytes(const struct paper_shape *s, uint32_t page) {
  return (uint64_t)s->proxy->planes * proxy_page_tokens(s->core, page) * (row_bytes(s) + (s->proxy->int8 ? 2 : 0));
}

/* What a step reads: queries, the new row, lists. */
static uint64_t query_bytes(const struct paper_shape *s) { return (uint64_t)query_heads(s) * s->core->d * 4; }
static uint64_t list_bytes(const struct paper_shape *s) { return (uint64_t)s->lists * ceil_div(s->opt->active, 32) * 32 * 4; }
static uint64_t in_bytes(const struct paper_shape *s) { return query_bytes(s) + s->core->token_bytes + list_bytes(s); }
/* What it writes: proxies of the queries, then rows of the planes, then a word of scales for each. */
static uint64_t proxies_bytes(const struct paper_shape *s) { return (uint64_t)query_heads(s) * row_values(s) * 4; }
static uint64_t out_bytes(const struct paper_shape *s) { return proxies_bytes(s) + (uint64_t)s->proxy->planes * (row_bytes(s) + 4); }

uint64_t paper_step_bytes(const struct paper_shape *s) { return s->on ? in_bytes(s) + out_bytes(s) : 0; }

static uint64_t basis_doubles(const struct paper_shape *s) {
  return (uint64_t)(query_heads(s) + s->proxy->planes) * s->opt->rank * s->core->d;
}

static uint64_t proxy_halves(const struct paper_shape *s) { return (uint64_t)s->proxy->planes * s->core->n_ctx * s->opt->rank; }

uint64_t paper_layer_bytes(const struct paper_shape *s) {
  return s->on ? basis_doubles(s) * 8 + proxy_halves(s) * 2 + (uint64_t)s->lists * s->opt->active * 4 + sum_floats(s) * 4 : 0;
}

static struct factor_options solver_options(const struct paper_shape *s, uint32_t l) {
  return (struct factor_options){ .d = s->core->d, .r = s->opt->rank, .iters = s->opt->iters, .tol = s->opt->tol, .lambda_q = s->opt->lambda_q,
                                  .lambda_k = s->opt->lambda_k, .rows_q = (uint64_t)l * s->heads, .rows_k = l };
}

static struct paper_options step_options(const struct paper_shape *s) {
  return (struct paper_options){ .d = s->core->d, .r = s->opt->rank, .g = s->heads, .iters = s->opt->iters, .tol = s->opt->tol,
                                 .lambda = s->opt->lambda, .freeze_basis = s->opt->freeze_basis };
}

/* ---- set-up */

static bool reserve(void *field, size_t n, size_t size) {
  void *p = mem_alloc(n, size);
  memcpy(field, &p, sizeof p);
  return p != NULL;
}

static enum lrqk_status work_init(struct paper_shape *s) {
  const struct attn_core *c = s->core;
  const struct factor_options fo = solver_options(s, 1);
  const struct paper_options po = step_options(s);
  size_t d = c->d, r = s->opt->rank, planes = s->proxy->planes, hq = query_heads(s), omega = (size_t)s->opt->active + s->opt->lite;
  struct paper_work *w = s->work = mem_alloc(1, sizeof *w);
  bool ok = w && reserve(&w->gq, planes * d * d, sizeof *w->gq) && reserve(&w->gk, c->hk * d * d, sizeof *w->gk) &&
            reserve(&w->size, c->hk * d, sizeof *w->size) && reserve(&w->weight, d, sizeof *w->weight) &&
            reserve(&w->mq, planes * r * d, sizeof *w->mq) && reserve(&w->mk, planes * r * d, sizeof *w->mk) &&
            reserve(&w->score, c->n_ctx, sizeof *w->score) && reserve(&w->coord, planes * r, sizeof *w->coord) &&
            reserve(&w->factor, planes, sizeof *w->factor) && reserve(&w->scored, c->n_ctx, sizeof *w->scored) &&
            reserve(&w->solver, factor_work(&fo, (uint32_t)planes), sizeof *w->solver) && reserve(&w->q, hq * d, sizeof *w->q) &&
            reserve(&w->k, c->hk * d, sizeof *w->k) && reserve(&w->oq, hq * r, sizeof *w->oq) && reserve(&w->oa, hq * r * r, sizeof *w->oa) &&
            reserve(&w->qh, hq * r, sizeof *w->qh) && reserve(&w->kh, planes * r, sizeof *w->kh) &&
            reserve(&w->head, planes, sizeof *w->head) && reserve(&w->omega_k, omega * d, sizeof *w->omega_k) &&
            reserve(&w->omega_a, omega * r, sizeof *w->omega_a) && reserve(&w->updater, paper_work(&po, (uint32_t)planes), sizeof *w->updater);
  return ok ? LRQK_OK : fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the workspace of proxy paper");
}

static void work_destroy(struct paper_work *w) {
  if (!w) return;
  void *all[] = { w->gq, w->gk, w->size, w->weight, w->mq, w->mk, w->score, w->coord, w->factor, w->scored, w->solver,
                  w->q, w->k, w->oq, w->oa, w->qh, w->kh, w->head, w->omega_k, w->omega_a, w->updater };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(w);
}

enum lrqk_status paper_shape_init(struct paper_shape *s, struct attn_core *c, const struct lrqk_cache_options *o,
                                  const struct proxy_shape *proxy, uint32_t lists) {
  uint32_t hq = c->hk * c->g;
  *s = (struct paper_shape){ .core = c, .opt = o, .proxy = proxy, .on = o->proxy == LRQK_PROXY_PAPER, .heads = hq / proxy->planes,
                             .lists = lists, .per_list = hq / lists };
  if (!s->on) return LRQK_OK;
  pool_init(&s->kept, c->dev, PLACE_HOST, "sums of queries", 1u << 20);
  TRY(kernel_get(&s->sum, c->dev, KERNEL_QUERY_SUM, SPEC(c->dev->caps.cpu ? 8 : 64)));
  uint64_t in = in_bytes(s) > sum_floats(s) * 4 ? in_bytes(s) : sum_floats(s) * 4, out = out_bytes(s);
  if (page_bytes(s, 0) > out) out = page_bytes(s, 0);
  TRY(buffer_create(&s->in, c->dev, PLACE_STAGING, in, "what proxy paper reads"));
  TRY(buffer_create(&s->out, c->dev, PLACE_STAGING, out, "what proxy paper writes"));
  return work_init(s);
}

void paper_shape_destroy(struct paper_shape *s) {
  work_destroy(s->work);
  buffer_destroy(&s->in);
  buffer_destroy(&s->out);
  if (s->kept.dev) pool_destroy(&s->kept);
}

enum lrqk_status paper_init(struct paper_layer *p, struct paper_shape *s, struct pool *pool) {
  if (!s->on) return LRQK_OK;
  TRY(pool_alloc(&p->sum, pool, sum_floats(s) * 4));
  TRY(pool_alloc(&p->old, &s->kept, sum_floats(s) * 4));
  bool ok = reserve(&p->bq, basis_doubles(s), sizeof *p->bq) && reserve(&p->a, proxy_halves(s), sizeof *p->a) &&
            reserve(&p->first, (size_t)s->lists * s->opt->active, sizeof *p->first);
  if (!ok) return fail(&s->core->dev->log, LRQK_MEMORY, "cannot allocate %llu bytes for the factors of a layer", (unsigned long long)paper_layer_bytes(s));
  p->bk = p->bq + (size_t)query_heads(s) * s->opt->rank * s->core->d;
  return LRQK_OK;
}

void paper_destroy(struct paper_layer *p) {
  mem_free(p->bq);
  mem_free(p->a);
  mem_free(p->first);
  *p = (struct paper_layer){ 0 };
}

/* ---- sums of queries */

void paper_add(const struct paper_layer *p, const struct paper_shape *s, uint32_t m) {
  if (!s->on) return;
  const struct attn_core *c = s->core;
  uint32_t d8 = c->d / 8, lanes = query_heads(s) * d8 * (d8 + 1) / 2;
  struct query_sum_params q = { .rows = m, .hk = c->hk, .g = c->g, .d8 = d8 };
  DISPATCH(c->dev, s->sum, ceil_div(lanes, s->sum->spec[0]), 1, 1, &q, c->q, p->sum);
}

void paper_mark(const struct paper_layer *p, const struct paper_shape *s) { if (s->on) device_copy(s->core->dev, p->old, p->sum); }
void paper_restore(const struct paper_layer *p, const struct paper_shape *s) { if (s->on) device_copy(s->core->dev, p->sum, p->old); }

enum lrqk_status paper_cut(const struct paper_layer *p, const struct paper_shape *s, double part) {
  if (!s->on) return LRQK_OK;
  return attn_scale(s->core, p->sum, query_heads(s) * (block_floats(s->core) + s->core->d), part);   /* not the last query, behind them */
}

enum lrqk_status paper_state(const struct paper_layer *p, const struct paper_shape *s, struct state *st, uint32_t l, bool marked, bool made) {
  if (!s->on) return LRQK_OK;
  TRY(state_view(st, p->sum));
  if (marked) TRY(state_view(st, p->old));
  if (!made) return LRQK_OK;
  TRY(state_host(st, p->bq, basis_doubles(s) * 8));
  for (uint32_t plane = 0; plane < s->proxy->planes; plane++)
    TRY(state_host(st, p->a + (size_t)plane * s->core->n_ctx * s->opt->rank, (uint64_t)l * s->opt->rank * 2));
  TRY(state_host(st, p->first, (uint64_t)s->lists * s->opt->active * 4));
  for (uint32_t i = 0; i < s->lists * s->opt->active; i++)
    if (p->first[i] >= l) return state_damaged(st, "a token that was chosen first");
  return LRQK_OK;
}

/* ---- rows */

/* The key of a token and KV head in host memory: [d] fp16. */
static const uint16_t *host_key(const struct paper_shape *s, const struct kv_rows *host, uint32_t token, uint32_t h) {
  const unsigned char *page = host->buf[token / host->page]->map;
  return (const uint16_t *)(const void *)(page + (size_t)(token % host->page) * host->token_bytes) + (size_t)h * 2 * s->core->d;
}

static uint16_t *proxy_of(const struct paper_shape *s, const struct paper_layer *p, uint32_t plane, uint32_t token) {
  return p->a + ((size_t)plane * s->core->n_ctx + token) * s->opt->rank;
}

static uint16_t half_of(double x) { return float_to_half((float)fmin(fmax(x, -65504), 65504)); }

static uint16_t scale_of(const struct paper_shape *s, const uint16_t *a) {
  float most = 0;
  for (uint32_t i = 0; i < s->opt->rank; i++) most = fmaxf(most, fabsf(half_to_float(a[i])));
  return float_to_half(most / 127.0f);
}

/* A row of A_K as the scoring kernels read it. */
static void pack(const struct paper_shape *s, const uint16_t *a, void *row) {
  uint32_t r = s->opt->rank;
  memset(row, 0, row_bytes(s));
  if (!s->proxy->int8) {
    memcpy(row, a, r * sizeof *a);
    return;
  }
  float scale = half_to_float(scale_of(s, a)), inverse = scale > 0 ? 1 / scale : 0;
  for (uint32_t i = 0; i < r; i++) ((int8_t *)row)[i] = (int8_t)fminf(fmaxf(rintf(half_to_float(a[i]) * inverse), -127.0f), 127.0f);
}

/* ---- Algorithm 1 */

/* Grams of keys and sums of |k|, from the rows of l tokens. */
static void sum_keys(const struct paper_shape *s, const struct kv_rows *host, uint32_t l) {
  const struct attn_core *c = s->core;
  struct paper_work *w = s->work;
  uint32_t d = c->d;
  memset(w->gk, 0, (size_t)c->hk * d * d * sizeof *w->gk);
  memset(w->size, 0, (size_t)c->hk * d * sizeof *w->size);
  for (uint32_t h = 0; h < c->hk; h++) {
    double *gram = w->gk + (size_t)h * d * d, x[HEAD_SIZE_MAX];
    for (uint32_t t = 0; t < l; t++) {
      const uint16_t *key = host_key(s, host, t, h);
      for (uint32_t i = 0; i < d; i++) {
        x[i] = half_to_float(key[i]);
        w->size[(size_t)h * d + i] += fabs(x[i]);
      }
      for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j <= i; j++) gram[(size_t)i * d + j] += x[i] * x[j];
    }
    for (uint32_t i = 0; i < d; i++)
      for (uint32_t j = 0; j < i; j++) gram[(size_t)j * d + i] = gram[(size_t)i * d + j];
  }
}

/* gram [d][d] += what the 8 x 8 blocks of its lower half say. */
static void add_blocks(double *gram, const float *blocks, uint32_t d) {
  for (uint32_t i = 0; i < d / 8; i++)
    for (uint32_t j = 0; j <= i; j++, blocks += 64)
      for (uint32_t e = 0; e < 64; e++) {
        size_t a = i * 8 + e / 8, b = j * 8 + e % 8;
        gram[a * d + b] += blocks[e];
        if (i != j) gram[b * d + a] += blocks[e];
      }
}

/* Grams of the queries of each plane, and where the iteration starts: the coordinates with the largest sum of |q| and |k|. */
static void sum_queries(const struct paper_shape *s, const float *sum) {
  const struct attn_core *c = s->core;
  struct paper_work *w = s->work;
  uint32_t d = c->d, planes = s->proxy->planes;
  const float *size = sum + query_heads(s) * block_floats(c);
  for (uint32_t p = 0; p < planes; p++) {
    double *gram = w->gq + (size_t)p * d * d;
    const double *keys = w->size + (size_t)(p * c->hk / planes) * d;
    memset(gram, 0, (size_t)d * d * sizeof *gram);
    memcpy(w->weight, keys, d * sizeof *keys);
    for (uint32_t head = p * s->heads; head < (p + 1) * s->heads; head++) {
      add_blocks(gram, sum + head * block_floats(c), d);
      for (uint32_t i = 0; i < d; i++) w->weight[i] += size[(size_t)head * d + i];
    }
    factor_topcol(w->coord + (size_t)p * s->opt->rank, w->weight, d, s->opt->rank);
  }
}

static enum lrqk_status factorise(struct paper_layer *p, const struct paper_shape *s, uint32_t l) {
  const struct attn_core *c = s->core;
  struct paper_work *w = s->work;
  const struct factor_options o = solver_options(s, l);
  uint32_t planes = s->proxy->planes;
  size_t area = (size_t)o.r * o.d;
  for (uint32_t i = 0; i < planes; i++)
    w->factor[i] = (struct factor_head){ .gq = w->gq + (size_t)i * o.d * o.d, .gk = w->gk + (size_t)(i * c->hk / planes) * o.d * o.d,
                                         .start.coord = w->coord + (size_t)i * o.r, .mq = w->mq + i * area, .mk = w->mk + i * area,
                                         .bq = p->bq + i * s->heads * area, .bk = p->bk + i * area };
  TRY(factor_solve(&c->dev->log, &o, w->factor, planes, w->solver, NULL));
  for (uint32_t i = 0; i < planes; i++)   /* the query heads of a plane part at decode */
    for (uint32_t j = 1; j < s->heads; j++) memcpy(p->bq + (i * s->heads + j) * area, p->bq + i * s->heads * area, area * sizeof *p->bq);
  return LRQK_OK;
}

/* A_K = K M_K of l tokens. */
static void make_rows(struct paper_layer *p, const struct paper_shape *s, const struct kv_rows *host, uint32_t l) {
  uint32_t d = s->core->d, r = s->opt->rank, planes = s->proxy->planes, per = planes / s->core->hk;
  for (uint32_t h = 0; h < s->core->hk; h++)
    for (uint32_t t = 0; t < l; t++) {
      const uint16_t *key = host_key(s, host, t, h);
      double x[HEAD_SIZE_MAX];
      for (uint32_t i = 0; i < d; i++) x[i] = half_to_float(key[i]);
      for (uint32_t plane = h * per; plane < (h + 1) * per; plane++) {
        uint16_t *a = proxy_of(s, p, plane, t);
        for (uint32_t i = 0; i < r; i++) a[i] = half_of(dense_dot(s->work->mk + ((size_t)plane * r + i) * d, x, d));
      }
    }
}

/* The rows of l tokens to the device, page by page. */
static enum lrqk_status upload_rows(const struct paper_layer *p, const struct paper_shape *s, const struct proxy *x, uint32_t l) {
  struct attn_core *c = s->core;
  for (uint32_t i = 0; i * c->page < l; i++) {
    uint32_t room = proxy_page_tokens(c, i), n = l - i * c->page < c->page ? l - i * c->page : c->page;
    uint64_t size = page_bytes(s, i), ticket;
    unsigned char *out = s->out->map;
    uint16_t *scales = (uint16_t *)(void *)(out + (size_t)s->proxy->planes * room * row_bytes(s));
    memset(out, 0, size);
    for (uint32_t plane = 0; plane < s->proxy->planes; plane++)
      for (uint32_t t = 0; t < n; t++) {
        const uint16_t *a = proxy_of(s, p, plane, i * c->page + t);
        pack(s, a, out + ((size_t)plane * room + t) * row_bytes(s));
        if (s->proxy->int8) scales[(size_t)plane * room + t] = scale_of(s, a);
      }
    device_copy(c->dev, (struct view){ x->page[i].buf, x->page[i].offset, size }, (struct view){ s->out, 0, size });
    TRY(device_submit(c->dev, &ticket));
    TRY(device_wait(c->dev, ticket));
  }
  return LRQK_OK;
}

/* The larger weight, then the lower token, comes first. */
static int by_weight(const void *a, const void *b) {
  const struct scored *x = a, *y = b;
  if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
  return x->token < y->token ? -1 : x->token > y->token;
}

static int by_token(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* Adds what query head `head` says to the weights of n candidates: its scores, or their softmax if others speak too. */
static void weigh(const struct paper_layer *p, const struct paper_shape *s, uint32_t head, const float *q, uint32_t n) {
  struct paper_work *w = s->work;
  uint32_t d = s->core->d, r = s->opt->rank, plane = head / s->heads;
  double x[HEAD_SIZE_MAX], qh[HEAD_SIZE_MAX], most = -INFINITY, sum = 0, cap = s->core->hp->attn_cap;
  for (uint32_t i = 0; i < d; i++) x[i] = q[i];
  for (uint32_t i = 0; i < r; i++) qh[i] = dense_dot(w->mq + ((size_t)plane * r + i) * d, x, d) * s->core->hp->attn_scale;
  for (uint32_t t = 0; t < n; t++) {
    const uint16_t *a = proxy_of(s, p, plane, t);
    w->score[t] = 0;
    for (uint32_t i = 0; i < r; i++) w->score[t] += qh[i] * half_to_float(a[i]);
    if (cap > 0) w->score[t] = cap * tanh(w->score[t] / cap);
    most = fmax(most, w->score[t]);
  }
  if (s->per_list == 1) {
    for (uint32_t t = 0; t < n; t++) w->scored[t].weight = w->score[t];
    return;
  }
  for (uint32_t t = 0; t < n; t++) sum += exp(w->score[t] - most);
  for (uint32_t t = 0; t < n; t++) {
    double e = exp(w->score[t] - most) / sum, *to = &w->scored[t].weight;
    *to = s->opt->group == LRQK_GROUP_MAX ? fmax(*to, e) : *to + e;
  }
}

/* The tokens that the last of l would have chosen: the first Omega. */
static void choose_first(struct paper_layer *p, const struct paper_shape *s, const float *last, uint32_t l) {
  struct paper_work *w = s->work;
  uint32_t n = l - s->opt->lite, k = s->opt->active < n ? s->opt->active : n;
  for (uint32_t list = 0; list < s->lists; list++) {
    uint32_t *out = p->first + (size_t)list * s->opt->active;
    for (uint32_t t = 0; t < n; t++) w->scored[t] = (struct scored){ 0, t };
    for (uint32_t head = list * s->per_list; head < (list + 1) * s->per_list; head++) weigh(p, s, head, last + (size_t)head * s->core->d, n);
    for (uint32_t t = 0; t < s->opt->sinks && t < n; t++) w->scored[t].weight = INFINITY;
    if (k < n) qsort(w->scored, n, sizeof *w->scored, by_weight);
    for (uint32_t i = 0; i < k; i++) out[i] = w->scored[i].token;
    qsort(out, k, sizeof *out, by_token);
  }
}

static enum lrqk_status solve(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host, uint32_t l) {
  struct attn_core *c = s->core;
  const float *sum = s->in->map;
  uint64_t bytes = sum_floats(s) * 4, ticket;
  device_copy(c->dev, (struct view){ s->in, 0, bytes }, p->sum);
  TRY(device_submit(c->dev, &ticket));
  TRY(device_wait(c->dev, ticket));
  sum_keys(s, host, l);
  sum_queries(s, sum);
  TRY(factorise(p, s, l));
  make_rows(p, s, host, l);
  choose_first(p, s, sum + query_heads(s) * (block_floats(c) + c->d), l);
  s->fresh = true;
  return upload_rows(p, s, x, l);
}

void paper_solve(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host, uint32_t l) {
  if (s->on) device_fault(s->core->dev, solve(p, s, x, host, l));
}

/* ---- Algorithm 2 */

/* Keys and proxies of one Omega: n chosen tokens, then the lite ones before token t.  Returns how many. */
static uint32_t gather(const struct paper_layer *p, const struct paper_shape *s, const struct kv_rows *host, uint32_t plane,
                       const uint32_t *list, uint32_t n, uint32_t t) {
  uint32_t d = s->core->d, r = s->opt->rank, h = plane / (s->proxy->planes / s->core->hk), all = n + s->opt->lite - 1;
  for (uint32_t i = 0; i < all; i++) {
    uint32_t token = i < n ? list[i] : t - (all - i);
    const uint16_t *key = host_key(s, host, token, h), *a = proxy_of(s, p, plane, token);
    for (uint32_t j = 0; j < d; j++) s->work->omega_k[(size_t)i * d + j] = half_to_float(key[j]);
    for (uint32_t j = 0; j < r; j++) s->work->omega_a[(size_t)i * r + j] = half_to_float(a[j]);
  }
  return all;
}

/* list [lists][stride] */
static enum lrqk_status update(struct paper_layer *p, const struct paper_shape *s, const struct kv_rows *host, const uint32_t *list,
                               uint32_t stride, uint32_t count, uint32_t t) {
  const struct paper_options o = step_options(s);
  struct paper_work *w = s->work;
  uint32_t d = o.d, r = o.r, planes = s->proxy->planes;
  bool same = s->per_list == s->heads;   /* the query heads of a plane share one Omega */
  memset(w->oq, 0, (size_t)query_heads(s) * r * sizeof *w->oq);
  memset(w->oa, 0, (size_t)query_heads(s) * r * r * sizeof *w->oa);
  for (uint32_t i = 0; i < planes; i++) {
    uint32_t head0 = i * s->heads;
    for (uint32_t head = head0; head < head0 + s->heads; head += same ? s->heads : 1) {
      uint32_t n = gather(p, s, host, i, list + (size_t)(head / s->per_list) * stride, count, t);
      paper_omega(&o, w->oq + (size_t)head * r, w->oa + (size_t)head * r * r, w->q + (size_t)head * d, same ? s->heads : 1, w->omega_k,
                  w->omega_a, n);
    }
    w->head[i] = (struct paper_head){ .q = w->q + (size_t)head0 * d, .k = w->k + (size_t)(i * s->core->hk / planes) * d,
                                      .oq = w->oq + (size_t)head0 * r, .oa = w->oa + (size_t)head0 * r * r,
                                      .oa_step = same ? 0 : (size_t)r * r, .bq = p->bq + (size_t)head0 * r * d,
                                      .bk = p->bk + (size_t)i * r * d, .qh = w->qh + (size_t)head0 * r, .kh = w->kh + (size_t)i * r };
  }
  TRY(paper_step(&s->core->dev->log, &o, w->head, planes, w->updater, NULL));
  for (uint32_t i = 0; i < planes; i++)
    for (uint32_t j = 0; j < r; j++) proxy_of(s, p, i, t)[j] = half_of(w->kh[(size_t)i * r + j]);
  return LRQK_OK;
}

/* The proxies of the queries and of the new token to the device. */
static void send(const struct paper_layer *p, const struct paper_shape *s, const struct proxy *x, uint32_t t, struct view queries) {
  struct attn_core *c = s->core;
  uint32_t planes = s->proxy->planes, r = s->opt->rank, page = t / c->page, at = t % c->page, room = proxy_page_tokens(c, page);
  uint64_t rows0 = proxies_bytes(s), scales0 = rows0 + (uint64_t)planes * row_bytes(s);
  unsigned char *out = s->out->map;
  struct view to = x->page[page];
  float *q = (float *)(void *)out;
  memset(q, 0, proxies_bytes(s));
  for (uint32_t head = 0; head < query_heads(s); head++)
    for (uint32_t i = 0; i < r; i++) q[(size_t)head * row_values(s) + i] = (float)(s->work->qh[(size_t)head * r + i] * c->hp->attn_scale);
  device_copy(c->dev, (struct view){ queries.buf, queries.offset, rows0 }, (struct view){ s->out, 0, rows0 });
  for (uint32_t i = 0; i < planes; i++) {
    uint64_t row = (uint64_t)i * room + at, from = rows0 + (uint64_t)i * row_bytes(s), from_scale = scales0 + (uint64_t)i * 4;
    const uint16_t *a = proxy_of(s, p, i, t);
    pack(s, a, out + from);
    device_copy(c->dev, (struct view){ to.buf, to.offset + row * row_bytes(s), row_bytes(s) }, (struct view){ s->out, from, row_bytes(s) });
    if (!s->proxy->int8) continue;
    uint32_t word = at % 2 ? scale_of(s, proxy_of(s, p, i, t - 1)) | (uint32_t)scale_of(s, a) << 16 : scale_of(s, a);
    memcpy(out + from_scale, &word, sizeof word);
    uint64_t scale_at = (uint64_t)planes * room * row_bytes(s) + row / 2 * 4;
    device_copy(c->dev, (struct view){ to.buf, to.offset + scale_at, 4 }, (struct view){ s->out, from_scale, 4 });
  }
}

static enum lrqk_status append(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host,
                               struct view row, struct view list, uint32_t count, uint32_t t, struct view queries) {
  struct attn_core *c = s->core;
  struct paper_work *w = s->work;
  uint64_t q_bytes = query_bytes(s), lists = list_bytes(s), ticket;
  device_copy(c->dev, (struct view){ s->in, 0, q_bytes }, (struct view){ c->q.buf, c->q.offset, q_bytes });
  device_copy(c->dev, (struct view){ s->in, q_bytes, c->token_bytes }, (struct view){ row.buf, row.offset, c->token_bytes });
  device_copy(c->dev, (struct view){ s->in, q_bytes + c->token_bytes, lists }, (struct view){ list.buf, list.offset, lists });
  TRY(device_submit(c->dev, &ticket));
  TRY(device_wait(c->dev, ticket));
  const unsigned char *in = s->in->map;
  const float *q = (const float *)(const void *)in;
  const uint16_t *kv = (const uint16_t *)(const void *)(in + q_bytes);
  for (uint32_t i = 0; i < query_heads(s) * c->d; i++) w->q[i] = q[i];
  for (uint32_t i = 0; i < c->hk * c->d; i++) w->k[i] = half_to_float(kv[(size_t)(i / c->d) * 2 * c->d + i % c->d]);
  const uint32_t *chosen = (const uint32_t *)(const void *)(in + q_bytes + c->token_bytes);
  if (s->fresh) TRY(update(p, s, host, p->first, s->opt->active, s->opt->active, t));
  else TRY(update(p, s, host, chosen, ceil_div(s->opt->active, 32) * 32, count, t));
  send(p, s, x, t, queries);
  return LRQK_OK;
}

void paper_append(struct paper_layer *p, struct paper_shape *s, const struct proxy *x, const struct kv_rows *host, struct view row,
                  struct view list, uint32_t count, uint32_t t, struct view queries) {
  if (s->on) device_fault(s->core->dev, append(p, s, x, host, row, list, count, t, queries));
}
