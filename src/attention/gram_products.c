#include "attention/gram_products.h"

#include "base/num.h"

enum {
  MANY = 32,                      /* tokens from which on a dense product pays for its two other kernels: those of a prefill */
  SCRATCH = 8 << 20,              /* bytes of keys as floats at a time */
  UNIT = 64                       /* keys: a workgroup of map_pack */
};

static bool dense(const struct device *d, enum form_op op) { return d->forms.op[op].form == FORM_CLBLAST; }

static enum lrqk_status init_sum(struct gram_products *p) {
  struct device *d = p->dev;
  TRY(kernel_get(&p->sum, d, KERNEL_GRAM_SUM, SPEC(d->caps.cpu ? 8 : 64)));   /* of few tokens always */
  if (!dense(d, OP_GRAM)) return LRQK_OK;
  TRY(kernel_get(&p->gemm, d, KERNEL_GEMM, SPEC(64)));
  TRY(kernel_get(&p->fold, d, KERNEL_GRAM_FOLD, SPEC(64)));
  return pool_alloc(&p->square, &p->pool, 2ull * p->hk * p->d * p->d * 4);
}

static enum lrqk_status init_map(struct gram_products *p, const struct gram_products_shape *s) {
  struct device *d = p->dev;
  if (!dense(d, OP_MAP)) {
    p->tokens = 8;
    if ((uint64_t)(s->d + s->rank + 1) * p->tokens * 4 > d->caps.info.max_shared) p->tokens = 4;
    return kernel_get(&p->map, d, s->int8 ? KERNEL_MAP_PROXY_I8 : KERNEL_MAP_PROXY_F16,
                      SPEC(d->caps.cpu ? 16 : 64, s->neox, s->d, s->rank, p->tokens));
  }
  p->batch = SCRATCH / 4 / (s->hk * s->d) / UNIT * UNIT;
  if (!p->batch) p->batch = UNIT;
  TRY(kernel_get(&p->gemm, d, KERNEL_GEMM, SPEC(64)));
  TRY(kernel_get(&p->rows, d, KERNEL_MAP_ROWS, SPEC(64, s->neox, s->d, s->rank)));
  TRY(kernel_get(&p->pack, d, s->int8 ? KERNEL_MAP_PACK_I8 : KERNEL_MAP_PACK_F16, SPEC(UNIT, s->rank)));
  TRY(pool_alloc(&p->x, &p->pool, (uint64_t)s->hk * p->batch * s->d * 4));
  return pool_alloc(&p->kh, &p->pool, (uint64_t)s->hk * p->batch * s->rank * 4);
}

enum lrqk_status gram_products_init(struct gram_products *p, struct device *d, const struct gram_products_shape *s) {
  *p = (struct gram_products){ .dev = d, .hk = s->hk, .g = s->g, .d = s->d, .rank = s->rank };
  pool_init(&p->pool, d, PLACE_DEVICE, "scratch of Gram products", 1u << 20);
  TRY(init_sum(p));
  return s->maps ? init_map(p, s) : LRQK_OK;
}

void gram_products_destroy(struct gram_products *p) {
  if (p->dev) pool_destroy(&p->pool);
}

/* ---- sums */

/* X'X of the m rows of one head in each of hk groups, `step` floats apart, `from` floats into a row. */
static void square_heads(const struct gram_products *p, struct view qkv, uint32_t m, uint32_t from, uint32_t step, uint32_t to, bool add) {
  uint32_t d = p->d, row = p->hk * (p->g + 2) * d;
  struct gemm_params g = { .m = d, .n = d, .k = m, .lda = row, .ldb = row, .ldc = d, .a0 = from, .b0 = from, .c0 = to, .astr = step, .bstr = step,
                           .cstr = d * d, .batch = p->hk, .ta = 1, .add = add };
  DISPATCH(p->dev, p->gemm, ceil_div(d, 64), d, p->hk, &g, qkv, qkv, p->square);
}

void gram_products_sum(const struct gram_products *p, struct view qkv, uint32_t m, struct view sum) {
  uint32_t d = p->d, d8 = d / 8, lanes = p->hk * d8 * (d8 + 1);
  if (!p->fold || m < MANY) {
    struct gram_sum_params a = { .rows = m, .hk = p->hk, .g = p->g, .d8 = d8 };
    DISPATCH(p->dev, p->sum, ceil_div(lanes, p->sum->spec[0]), 1, 1, &a, qkv, sum);
    return;
  }
  for (uint32_t i = 0; i < p->g; i++) square_heads(p, qkv, m, i * d, p->g * d, 0, i > 0);
  square_heads(p, qkv, m, p->hk * p->g * d, d, p->hk * d * d, false);
  struct gram_fold_params f = { .rows = m, .hk = p->hk, .g = p->g, .d8 = d8 };
  DISPATCH(p->dev, p->fold, ceil_div(lanes * 16 + p->hk * d / 4, 64), 1, 1, &f, qkv, p->square, sum);
}

/* ---- maps */

/* Keys t0 .. t0 + n. */
static void map_batch(const struct gram_products *p, const struct map_proxy_params *a, uint32_t t0, uint32_t n, struct view kv, struct view map,
                      struct view turn, struct view px) {
  uint32_t hk = p->hk, d = p->d, r = p->rank;
  struct map_rows_params rows = { .hk = hk, .rot = a->rot, .n = n, .t0 = t0, .pos0 = a->page0 + t0 };
  DISPATCH(p->dev, p->rows, ceil_div(n * d / 4, 64), hk, 1, &rows, kv, map, turn, p->x);
  struct gemm_params g = { .m = n, .n = r, .k = d, .lda = d, .ldb = d, .ldc = r, .astr = n * d, .bstr = r * d, .cstr = n * r, .batch = hk, .tb = 1 };
  DISPATCH(p->dev, p->gemm, ceil_div(r, 64), n, hk, &g, p->x, map, p->kh);
  struct map_pack_params pack = { .hk = hk, .n = n, .t0 = t0, .page = a->page, .rw = a->rw };
  DISPATCH(p->dev, p->pack, ceil_div(n, UNIT), hk, 1, &pack, p->kh, px);
}

void gram_products_map(const struct gram_products *p, const struct map_proxy_params *a, struct view kv, struct view map, struct view turn,
                       struct view px) {
  if (!p->pack) {
    DISPATCH(p->dev, p->map, ceil_div(a->n, p->tokens), p->hk, 1, a, kv, map, turn, px);
    return;
  }
  for (uint32_t t = 0; t < a->n; t += p->batch) map_batch(p, a, t, min_u32(a->n - t, p->batch), kv, map, turn, px);
}
