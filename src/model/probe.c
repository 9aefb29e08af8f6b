/* probe.c - see probe.h.  Of each form, kernels are made, run once, and the best of a few short runs counts, by the host's
 * clock: a submit holds several dispatches, so that what a submit costs does not count. */
#include "model/probe.h"

#include "attention/core.h"
#include "attention/gram_products.h"
#include "attention/score.h"
#include "base/clock.h"
#include "base/mem.h"
#include "gguf/tensor_type.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/repack.h"
#include "shaders/step.h"

enum {
  RUNS = 3,
  LEAST_NS = 1000000,             /* of a run: below it the clock and the submit count too much */
  MOST = 64,                      /* dispatches of a run */
  HOPELESS = 4,                   /* times as slow as another form */
  NARROW = 768, WIDE = 2048,      /* rows and columns of a weight */
  TOKENS = 64,                    /* of a matmul */
  ROWS = 2048,                    /* attended to */
  SCORED = 16384, SHARE = 512,    /* tokens, and those of a workgroup */
  SUMMED_CPU = 64, SUMMED_GPU = 256, MAPPED = 1024   /* tokens of a chunk; keys */
};

/* One operation to be timed: `prepare` makes the kernels of the form in dev->forms, `run` dispatches them once. */
struct probe {
  struct device *dev;
  enum lrqk_status (*prepare)(struct probe *p);
  void (*run)(struct probe *p);
  struct pool pool;
  struct linear_kernels linear;   /* linear layers */
  struct linear w;
  struct linear_part part;
  uint32_t rows;
  struct norm_kernels norm;
  struct hparams hp;              /* attention */
  struct attn_core core;
  struct attn_decode decode;
  struct kv_rows kv_rows;
  const struct kernel *score;     /* proxies */
  struct gram_products products;
  struct view x, y, kv, step, scales, statistics;
};

static enum lrqk_status time_runs(struct probe *p, uint32_t n, uint64_t *ns) {
  uint64_t begin = clock_ns();    /* OpenCL may begin at once */
  for (uint32_t i = 0; i < n; i++) p->run(p);
  TRY(device_submit(p->dev, NULL));
  TRY(device_wait(p->dev, 0));
  *ns = clock_ns() - begin;
  return LRQK_OK;
}

/* A form that is far slower than the best so far is run no more often than that takes to see. */
static enum lrqk_status time_form(struct probe *p, double best_us, double *us) {
  uint64_t ns;
  uint32_t n = 1;
  TRY(time_runs(p, 1, &ns));      /* the first may include work of the driver */
  TRY(time_runs(p, n, &ns));
  *us = (double)ns / 1000;
  if (best_us > 0 && *us > HOPELESS * best_us) return LRQK_OK;
  while (ns < LEAST_NS && n < MOST) {
    n *= 4;
    TRY(time_runs(p, n, &ns));
  }
  double best = (double)ns / n;
  for (int i = 1; i < RUNS; i++) {
    TRY(time_runs(p, n, &ns));
    if ((double)ns / n < best) best = (double)ns / n;
  }
  *us = best / 1000;
  return LRQK_OK;
}

/* ---- linear layers, of 4-bit weights: most models' */

static enum lrqk_status prepare_linear(struct probe *p) { return linear_prepare(&p->linear, &p->w, GATE_NONE); }
static void run_linear(struct probe *p) { linear_run(&p->linear, &p->w, GATE_NONE, p->x, p->y, p->rows); }

static enum lrqk_status open_linear(struct probe *p, uint32_t rows, uint32_t n) {
  const struct repack_type *t = repack_find(TYPE_Q4_1);
  uint32_t groups = repack_groups(t, n);
  p->prepare = prepare_linear;
  p->run = run_linear;
  p->linear.dev = p->dev;
  p->rows = rows;
  p->part = (struct linear_part){ .kernel = t->kernel, .type = t->type, .block = t->block, .rows = n };
  TRY(pool_alloc(&p->part.q, &p->pool, repack_q_bytes(t, n, n, groups)));
  TRY(pool_alloc(&p->part.scale, &p->pool, repack_scale_bytes(t, n, groups)));
  TRY(pool_alloc(&p->x, &p->pool, (uint64_t)rows * n * 4));
  TRY(pool_alloc(&p->y, &p->pool, (uint64_t)rows * n * 4));
  p->w = (struct linear){ .n = n, .k = n, .n_parts = 1, .part = &p->part };
  return LRQK_OK;
}

/* ---- norms, of one token */

static enum lrqk_status prepare_norm(struct probe *p) { return norm_prepare(&p->norm, p->dev, WIDE, 1e-5f); }
static void run_norm(struct probe *p) { norm_rows_add(&p->norm, p->x, p->y, p->kv, p->scales, p->statistics, 1); }

static enum lrqk_status open_norm(struct probe *p) {
  struct view *const all[] = { &p->x, &p->y, &p->kv, &p->scales, &p->statistics };
  p->prepare = prepare_norm;
  p->run = run_norm;
  for (int i = 0; i < 5; i++) TRY(pool_alloc(all[i], &p->pool, WIDE * 4));
  device_fill(p->dev, p->x, 0x3c003c00);
  device_fill(p->dev, p->y, 0x3c003c00);
  return LRQK_OK;
}

/* ---- attention: 8 query heads on 2 KV heads of size 128 */

static enum lrqk_status open_attention(struct probe *p) {
  p->hp = (struct hparams){ .n_heads = 8, .n_kv_heads = 2, .head_size = 128, .rope_dims = 128, .attn_scale = 0.1f };
  TRY(pool_alloc(&p->step, &p->pool, STEP_WORDS * 4));
  TRY(pool_alloc(&p->y, &p->pool, 8ull * 128 * 4 * 256));   /* the most tokens of a chunk */
  TRY(pool_alloc(&p->kv, &p->pool, 2ull * ROWS * 128 * 4));
  uint32_t step[STEP_WORDS] = { [STEP_ROWS] = ROWS };
  TRY(device_write(p->dev, p->step, step, sizeof step));
  return attn_core_init(&p->core, p->dev, &p->hp, ROWS, p->step);
}

static enum lrqk_status prepare_decode(struct probe *p) { return attn_decode_init(&p->decode, &p->core, 2, 128 / 4, ROWS * 128 / 4); }
static void run_decode(struct probe *p) { attn_decode_active(&p->core, &p->decode, p->kv, ROWS, ROWS, p->y); }

static void run_prefill(struct probe *p) { attn_prefill(&p->core, &p->kv_rows, 0, ROWS - p->core.chunk, p->core.chunk, p->y); }

/* The core holds the kernels of prefill. */
static enum lrqk_status prepare_prefill(struct probe *p) {
  attn_core_destroy(&p->core);
  return attn_core_init(&p->core, p->dev, &p->hp, ROWS, p->step);
}

static enum lrqk_status open_prefill(struct probe *p) {
  p->prepare = prepare_prefill;
  p->run = run_prefill;
  TRY(open_attention(p));
  return kv_rows_init(&p->kv_rows, p->dev, PLACE_DEVICE, ROWS, p->core.page, p->core.token_bytes, "probe of prefill");
}

static enum lrqk_status open_decode(struct probe *p) {
  p->prepare = prepare_decode;
  p->run = run_decode;
  return open_attention(p);
}

/* ---- proxies of rank 32 for 4 query heads on each of 2 KV heads */

static enum lrqk_status prepare_score(struct probe *p) {
  const struct score_shape s = { .heads = 4, .rw = 2, .tokens = 8, .int8 = true };
  return score_kernel(&p->score, p->dev, &s);
}

static void run_score(struct probe *p) {
  struct score_stat_params s = { .per = SHARE, .cap = SCORED, .page = SCORED, .parts = SCORED / SHARE, .share = 1, .n_at = STEP_CAND };
  DISPATCH(p->dev, p->score, SCORED / SHARE, 2, 1, &s, p->x, p->kv, p->scales, p->statistics, p->y, p->step);
}

static enum lrqk_status open_score(struct probe *p) {
  uint32_t step[STEP_WORDS] = { [STEP_CAND] = SCORED };
  p->prepare = prepare_score;
  p->run = run_score;
  TRY(pool_alloc(&p->step, &p->pool, STEP_WORDS * 4));
  TRY(pool_alloc(&p->x, &p->pool, 8ull * 32 * 4));
  TRY(pool_alloc(&p->kv, &p->pool, 2ull * SCORED * 32));
  TRY(pool_alloc(&p->scales, &p->pool, 2ull * SCORED * 2));
  TRY(pool_alloc(&p->statistics, &p->pool, 8ull * (SCORED / SHARE) * (2 + score_lanes(p->dev)) * 4));
  TRY(pool_alloc(&p->y, &p->pool, 8ull * SCORED * 2));
  device_fill(p->dev, p->x, 0x3c003c00);        /* ordinary numbers as float, fp16 and int8: exps of others take longer on CPUs */
  device_fill(p->dev, p->kv, 0x01010101);
  device_fill(p->dev, p->scales, 0x3c003c00);
  return device_write(p->dev, p->step, step, sizeof step);
}

/* ---- Gram sums and maps, of the same heads */

static enum lrqk_status prepare_products(struct probe *p, bool maps) {
  gram_products_destroy(&p->products);
  return gram_products_init(&p->products, p->dev, &(struct gram_products_shape){ .hk = 2, .g = 4, .d = 128, .rank = 32, .int8 = true, .maps = maps });
}

static enum lrqk_status prepare_gram(struct probe *p) { return prepare_products(p, false); }
static enum lrqk_status prepare_map(struct probe *p) { return prepare_products(p, true); }
static void run_gram(struct probe *p) { gram_products_sum(&p->products, p->x, p->rows, p->y); }

static void run_map(struct probe *p) {
  struct map_proxy_params a = { .hk = 2, .rot = 128, .n = MAPPED, .page = MAPPED, .rw = 2 };
  gram_products_map(&p->products, &a, p->kv, p->x, p->scales, p->y);
}

static enum lrqk_status open_gram(struct probe *p) {
  p->prepare = prepare_gram;
  p->run = run_gram;
  p->rows = p->dev->caps.cpu ? SUMMED_CPU : SUMMED_GPU;
  TRY(pool_alloc(&p->x, &p->pool, (uint64_t)p->rows * 12 * 128 * 4));
  TRY(pool_alloc(&p->y, &p->pool, 2ull * (2 * 136 * 64 + 128) * 4));
  device_fill(p->dev, p->x, 0x3c003c00);
  device_fill(p->dev, p->y, 0);
  return LRQK_OK;
}

static enum lrqk_status open_map(struct probe *p) {
  p->prepare = prepare_map;
  p->run = run_map;
  TRY(pool_alloc(&p->kv, &p->pool, 2ull * MAPPED * 128 * 4));
  TRY(pool_alloc(&p->x, &p->pool, 2ull * 128 * (2 * 32 + 1) * 4));
  TRY(pool_alloc(&p->scales, &p->pool, (33ull + MAPPED / 64) * 128 * 4));   /* the table of turn.h */
  TRY(pool_alloc(&p->y, &p->pool, 2ull * MAPPED * (32 + 2)));
  const struct view all[] = { p->kv, p->x, p->scales };
  for (int i = 0; i < 3; i++) device_fill(p->dev, all[i], 0x3c003c00);
  return LRQK_OK;
}

/* ---- all */

static enum lrqk_status open_probe(struct probe *p, enum form_op op) {
  switch (op) {
    case OP_MATVEC: return open_linear(p, 1, NARROW);
    case OP_MATVEC_WIDE: return open_linear(p, 1, WIDE);
    case OP_MATMUL: return open_linear(p, TOKENS, NARROW);
    case OP_MATMUL_WIDE: return open_linear(p, TOKENS, WIDE);
    case OP_PREFILL: return open_prefill(p);
    case OP_DECODE: return open_decode(p);
    case OP_NORM: return open_norm(p);
    case OP_SCORE: return open_score(p);
    case OP_GRAM: return open_gram(p);
    case OP_MAP: return open_map(p);
    case N_FORM_OPS: break;
  }
  return LRQK_OK;
}

static enum lrqk_status probe_op(struct probe *p, struct form_choice *c, enum form_op op) {
  struct device *d = p->dev;
  double best = 0;
  TRY(open_probe(p, op));
  for (enum form f = 0; f < N_FORMS; f++) {
    if (!form_possible(&d->caps.info, op, f)) continue;
    d->forms.op[op].form = f;
    TRY(p->prepare(p));
    TRY(time_form(p, best, &c->us[f]));
    if (best == 0 || c->us[f] < best) best = c->us[f];
  }
  return LRQK_OK;
}

enum lrqk_status probe_forms(struct forms *out, struct device *d) {
  struct forms before = d->forms, times = { 0 };
  uint64_t begin = clock_ns();
  enum lrqk_status s = LRQK_OK;
  for (enum form_op op = 0; s == LRQK_OK && op < N_FORM_OPS; op++) {
    struct probe p = { .dev = d };
    pool_init(&p.pool, d, PLACE_DEVICE, "probe of forms", 4u << 20);
    s = probe_op(&p, &times.op[op], op);
    linear_destroy(&p.linear);
    gram_products_destroy(&p.products);
    kv_rows_destroy(&p.kv_rows);
    attn_core_destroy(&p.core);
    pool_destroy(&p.pool);
  }
  d->forms = before;
  if (s != LRQK_OK) return s;
  form_decide(&times, &d->caps.info);
  *out = times;
  log_debug(&d->log, "%s: forms measured in %llu ms", d->caps.info.name, (unsigned long long)((clock_ns() - begin) / 1000000));
  return LRQK_OK;
}
