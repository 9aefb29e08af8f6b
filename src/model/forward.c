#include "model/forward.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/rope.h"
#include "shaders/step.h"

enum {
  BLOCK = 8192,        /* tokens: bounds the hidden states; a longer prompt goes block by block and streams its rows back */
  LOGIT_ROWS = 32,
  IN_FLIGHT = 2,       /* submits that may be queued on a GPU; a CPU driver gets one, so that an interrupt waits for one only */
  HANDED_OVER = 4      /* layers of a decode step that a GPU gets at a time, so that it works while the others are recorded */
};

/* ---- the layers */

/* Says what the commands that follow are for, to who watches the device. */
static void at(struct forward *f, int32_t layer, const char *stage) {
  f->dev->at_layer = layer;
  f->dev->at_stage = stage;
}

/* Grids of elementwise kernels: a lane each, 64 in a workgroup. */
static uint32_t grid_x(uint32_t lanes) { return ceil_div(lanes, 64) < DEVICE_MAX_GROUPS ? ceil_div(lanes, 64) : DEVICE_MAX_GROUPS; }
static uint32_t grid_y(uint32_t lanes) { return ceil_div(ceil_div(lanes, 64), DEVICE_MAX_GROUPS); }

/* y[rows][n] = x[rows][k] W[n][k] + bias[n] */
static void linear(struct forward *f, const struct linear *w, struct view x, struct view y, uint32_t rows) {
  struct view to = w->bias.size ? f->unbiased : y;
  linear_run(&f->linear, w, GATE_NONE, x, to, rows);
  if (!w->bias.size) return;
  struct add_row_params p = { .n4 = rows * (w->n / 4), .row4 = w->n / 4 };
  DISPATCH(f->dev, f->add_row, grid_x(p.n4), grid_y(p.n4), 1, &p, to, w->bias, y);
}

/* Whether the gate of a layer is made by the kernel that multiplies by its weight; else it is a step of its own. */
static enum gate gate_of(const struct forward *f, const struct layer *w) {
  return !linear_can_gate(&f->linear, &w->gate_up) ? GATE_NONE : f->m->hp.features & GELU ? GATE_GELU : GATE_SILU;
}

/* y[rows][ff] = act(gate) * up of x[rows][D] */
static void gate_up(struct forward *f, const struct layer *w, struct view x, struct view y, uint32_t rows) {
  enum gate gate = gate_of(f, w);
  if (gate) {
    linear_run(&f->linear, &w->gate_up, gate, x, y, rows);
    return;
  }
  linear(f, &w->gate_up, x, f->gu, rows);
  struct gate_mul_params p = { .n4 = rows * f->m->hp.n_ff / 4, .ff4 = f->m->hp.n_ff / 4 };
  DISPATCH(f->dev, f->gate_mul, grid_x(p.n4), grid_y(p.n4), 1, &p, f->gu, y);
}

/* Queries and keys with their heads normalised, if the model does that. */
static struct view head_norm(struct forward *f, const struct layer *w, uint32_t rows) {
  const struct hparams *hp = &f->m->hp;
  if (!w->qk_norm.size) return f->qkv;
  norm_heads(&f->norm, f->qkv, w->qk_norm, f->normed, rows, hp->n_heads, hp->n_kv_heads, hp->head_size);
  return f->normed;
}

/* What is to be added to the residual stream: f->o, or its norm. */
static struct view post_norm(struct forward *f, struct view weight, uint32_t rows) {
  if (!weight.size) return f->o;
  norm_rows(&f->norm, f->o, weight, f->post, rows);
  return f->post;
}

/* One layer for `rows` tokens from position t0 (decode: the token of this step).  The residual stream comes in as x, or
 * as x + delta where delta has a size, and goes out as f->x1 + what is returned: who comes next adds them. */
static struct view layer_pass(struct forward *f, struct attention *a, uint32_t layer, struct view x, struct view delta, struct view cs,
                              uint32_t t0, uint32_t rows, bool decode) {
  const struct layer *w = &f->m->layers[layer];
  at(f, (int32_t)layer, "qkv");
  if (delta.size) {
    norm_rows_add(&f->norm, x, delta, w->attn_norm, f->x0, f->h, rows);
    x = f->x0;
  } else {
    norm_rows(&f->norm, x, w->attn_norm, f->h, rows);
  }
  linear(f, &w->qkv, f->h, f->qkv, rows);
  struct view qkv = head_norm(f, w, rows);
  at(f, (int32_t)layer, "attention");
  if (decode) attention_decode(a, layer, qkv, cs, f->y);
  else attention_prefill(a, layer, qkv, cs, t0, rows, f->y);
  at(f, (int32_t)layer, "out");
  linear(f, &w->out, f->y, f->o, rows);
  norm_rows_add(&f->norm, x, post_norm(f, w->attn_post, rows), w->ffn_norm, f->x1, f->h, rows);
  at(f, (int32_t)layer, "ffn");
  gate_up(f, w, f->h, f->ff, rows);
  linear(f, &w->down, f->ff, f->o, rows);
  return post_norm(f, w->ffn_post, rows);
}

/* Logits of the normalised rows in f->h, to staging_out. */
static enum lrqk_status head(struct forward *f, uint32_t rows) {
  const struct model *m = f->m;
  uint64_t bytes = (uint64_t)m->hp.n_vocab * 4 * rows, ticket;
  struct view from = f->logits;
  linear(f, &m->head, f->h, f->logits, rows);
  if (m->hp.logit_cap > 0) {
    struct soft_cap_params p = { .n = m->hp.n_vocab * rows, .cap = m->hp.logit_cap };
    DISPATCH(f->dev, f->soft_cap, grid_x(p.n), grid_y(p.n), 1, &p, f->logits, f->capped);
    from = f->capped;
  }
  device_copy(f->dev, (struct view){ f->staging_out, 0, bytes }, (struct view){ from.buf, from.offset, bytes });
  TRY(device_submit(f->dev, &ticket));
  return device_wait(f->dev, ticket);
}

/* ---- decode: one token through all layers */

/* Windowed layers may turn by other angles. */
static int which_cs(const struct forward *f, uint32_t layer) { return f->n_cs > 1 && layer_is_windowed(&f->m->hp, layer); }

static float *staged(const struct forward *f, struct view v) { return (float *)((char *)f->staging_in->map + (v.offset - f->in.offset)); }

enum lrqk_status forward_decode(struct forward *f, struct attention *a, int32_t id, uint32_t t, const float **out) {
  const struct model *m = f->m;
  model_embed(m, id, staged(f, f->in_x));
  for (int i = 0; i < f->n_cs; i++) rope_row(&m->hp, f->turns[i], t, staged(f, f->in_cs[i]));
  attention_step(a, t, (uint32_t *)staged(f, f->step));
  memcpy(f->step_words, staged(f, f->step), sizeof f->step_words);
  at(f, -1, "embed");
  device_copy(f->dev, f->in, view_of(f->staging_in));
  struct view x = f->in_x, delta = { 0 };
  for (uint32_t i = 0; i < m->hp.n_layers; i++) {
    delta = layer_pass(f, a, i, x, delta, f->in_cs[which_cs(f, i)], t, 1, true);
    x = f->x1;
    if (!f->dev->caps.cpu && (i + 1) % HANDED_OVER == 0) TRY(device_submit(f->dev, NULL));
  }
  at(f, -1, "head");
  norm_rows_add(&f->norm, x, delta, m->output_norm, f->x0, f->h, 1);
  TRY(head(f, 1));
  *out = f->staging_out->map;
  return LRQK_OK;
}

/* ---- prefill: a block of tokens through one layer after the other */

/* Chunks begin at multiples of f->chunk of the position, so that none crosses a page of KV rows.  Chunk c has its rows
 * of the hidden states at c * f->chunk. */
struct chunk { uint32_t slot, t0, rows; };

static struct chunk chunk_at(const struct forward *f, uint32_t c, uint32_t l0, uint32_t n) {
  uint32_t base = l0 / f->chunk * f->chunk + c * f->chunk, t0 = base > l0 ? base : l0, end = base + f->chunk;
  if (end > l0 + n) end = l0 + n;
  return (struct chunk){ c * f->chunk, t0, end - t0 };
}

static uint32_t chunk_count(const struct forward *f, uint32_t l0, uint32_t n) { return ceil_div(l0 % f->chunk + n, f->chunk); }

static struct view rows_at(struct view v, uint32_t row, uint64_t row_bytes, uint32_t rows) {
  return (struct view){ v.buf, v.offset + row * row_bytes, rows * row_bytes };
}

/* Embeddings and RoPE tables of the block to the device. */
static enum lrqk_status upload_block(struct forward *f, const int32_t *ids, uint32_t n, uint32_t l0) {
  uint32_t d_model = f->m->hp.n_embd, d = f->m->hp.head_size;
  float *x = mem_alloc((size_t)f->chunk * d_model, 4), *cs = mem_alloc((size_t)f->chunk * d, 4);
  enum lrqk_status s = x && cs ? LRQK_OK : fail(&f->dev->log, LRQK_MEMORY, "cannot allocate embeddings of %u tokens", f->chunk);
  for (uint32_t c = 0; s == LRQK_OK && c < chunk_count(f, l0, n); c++) {
    struct chunk k = chunk_at(f, c, l0, n);
    for (uint32_t i = 0; i < k.rows; i++) model_embed(f->m, ids[k.t0 - l0 + i], x + (size_t)i * d_model);
    s = device_write(f->dev, rows_at(f->hidden[0], k.slot, d_model * 4, k.rows), x, (uint64_t)k.rows * d_model * 4);
    for (int j = 0; s == LRQK_OK && j < f->n_cs; j++) {
      for (uint32_t i = 0; i < k.rows; i++) rope_row(&f->m->hp, f->turns[j], k.t0 + i, cs + (size_t)i * d);
      s = device_write(f->dev, rows_at(f->cs[j], k.slot, d * 4, k.rows), cs, (uint64_t)k.rows * d * 4);
    }
  }
  mem_free(x);
  mem_free(cs);
  return s;
}

enum lrqk_status forward_prefill(struct forward *f, struct attention *a, const int32_t *ids, uint32_t n, uint32_t l0, forward_progress_fn progress,
                                 void *ud) {
  uint32_t layers = f->m->hp.n_layers, d_model = f->m->hp.n_embd, d = f->m->hp.head_size, chunks = chunk_count(f, l0, n);
  uint64_t row = (uint64_t)d_model * 4, in_flight[IN_FLIGHT] = { 0 }, submits = 0, queue = f->dev->caps.cpu ? 1 : IN_FLIGHT;
  at(f, -1, "embed");
  TRY(upload_block(f, ids, n, l0));
  for (uint32_t i = 0; i < layers; i++) {
    struct view from = f->hidden[i % 2], to = f->hidden[1 - i % 2];
    at(f, (int32_t)i, "attention");
    attention_prefill_begin(a, i, l0);
    for (uint32_t c = 0; c < chunks; c++) {
      struct chunk k = chunk_at(f, c, l0, n);
      struct view cs = rows_at(f->cs[which_cs(f, i)], k.slot, d * 4, k.rows);
      struct view delta = layer_pass(f, a, i, rows_at(from, k.slot, row, k.rows), (struct view){ 0 }, cs, k.t0, k.rows, false);
      struct add_params p = { .n4 = k.rows * d_model / 4 };
      DISPATCH(f->dev, f->add, grid_x(p.n4), grid_y(p.n4), 1, &p, f->x1, delta, rows_at(to, k.slot, row, k.rows));
      at(f, (int32_t)i, "attention");
      if (c + 1 == chunks) attention_prefill_end(a, i, l0 + n);
      uint64_t *ticket = &in_flight[submits++ % queue];
      TRY(device_wait(f->dev, *ticket));
      TRY(device_submit(f->dev, ticket));
      if (progress && !progress(ud, (uint64_t)i * n + (k.t0 + k.rows - l0), (uint64_t)layers * n)) {
        TRY(device_wait(f->dev, 0));
        return LRQK_INTERRUPTED;
      }
    }
  }
  return device_wait(f->dev, 0);
}

enum lrqk_status forward_logits(struct forward *f, uint32_t l0, uint32_t i, uint32_t rows, const float **out) {
  const struct model *m = f->m;
  struct view hidden = f->hidden[m->hp.n_layers % 2];
  uint64_t row = (uint64_t)m->hp.n_embd * 4;
  /* Token i lies l0 % chunk rows into the first chunk's slot or at the start of it: chunk_at puts a first chunk that
   * is not whole at row 0 of its slot. */
  at(f, -1, "head");
  uint32_t lead = l0 % f->chunk, first = f->chunk - lead;
  for (uint32_t r = 0; r < rows; r++) {
    uint32_t t = i + r, at = t < first ? t : f->chunk + (t - first);
    device_copy(f->dev, (struct view){ f->x0.buf, f->x0.offset + r * row, row }, (struct view){ hidden.buf, hidden.offset + at * row, row });
  }
  norm_rows(&f->norm, f->x0, m->output_norm, f->h, rows);
  TRY(head(f, rows));
  *out = f->staging_out->map;
  return LRQK_OK;
}

/* ---- set-up */

static enum lrqk_status get_kernels(struct forward *f) {
  struct device *d = f->dev;
  TRY(norm_prepare(&f->norm, d, f->m->hp.n_embd, f->m->hp.rms_eps));
  TRY(kernel_get(&f->add, d, KERNEL_ADD, SPEC(64)));
  TRY(kernel_get(&f->add_row, d, KERNEL_ADD_ROW, SPEC(64)));
  bool apart = false;   /* a gate */
  if (f->m->hp.features & QK_NORM) TRY(norm_prepare_heads(&f->norm));
  if (f->m->hp.logit_cap > 0) TRY(kernel_get(&f->soft_cap, d, KERNEL_SOFT_CAP, SPEC(64)));
  for (uint32_t i = 0; i < f->m->hp.n_layers; i++) {
    const struct layer *w = &f->m->layers[i];
    TRY(linear_prepare(&f->linear, &w->qkv, GATE_NONE));
    TRY(linear_prepare(&f->linear, &w->out, GATE_NONE));
    TRY(linear_prepare(&f->linear, &w->gate_up, gate_of(f, w)));
    TRY(linear_prepare(&f->linear, &w->down, GATE_NONE));
    apart = apart || !gate_of(f, w);
  }
  if (apart) TRY(kernel_get(&f->gate_mul, d, f->m->hp.features & GELU ? KERNEL_GELU_MUL : KERNEL_SILU_MUL, SPEC(64)));
  return linear_prepare(&f->linear, &f->m->head, GATE_NONE);
}

/* Outputs of the widest linear layer that has a bias. */
static uint64_t widest_bias(const struct model *m) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < m->hp.n_layers; i++) {
    const struct layer *w = &m->layers[i];
    const struct linear *all[] = { &w->qkv, &w->out, &w->gate_up, &w->down };
    for (int j = 0; j < 4; j++) if (all[j]->bias.size && all[j]->n > most) most = all[j]->n;
  }
  return most;
}

static enum lrqk_status alloc(struct forward *f) {
  const struct hparams *hp = &f->m->hp;
  uint64_t d_model = hp->n_embd, d = hp->head_size, rows = f->chunk, held = f->block + f->chunk, hq = hp->n_heads, hk = hp->n_kv_heads;
  pool_init(&f->pool, f->dev, PLACE_DEVICE, "activations", 16u << 20);
  for (int i = 0; i < 2; i++) TRY(pool_alloc(&f->hidden[i], &f->pool, held * d_model * 4));
  for (int i = 0; i < f->n_cs; i++) TRY(pool_alloc(&f->cs[i], &f->pool, held * d * 4));
  struct view *const residual[] = { &f->h, &f->x0, &f->x1, &f->o };
  for (int i = 0; i < 4; i++) TRY(pool_alloc(residual[i], &f->pool, (rows > f->logit_rows ? rows : f->logit_rows) * d_model * 4));
  if (hp->features & POST_NORMS) TRY(pool_alloc(&f->post, &f->pool, rows * d_model * 4));
  TRY(pool_alloc(&f->qkv, &f->pool, rows * (hq + 2 * hk) * d * 4));
  if (hp->features & QK_NORM) TRY(pool_alloc(&f->normed, &f->pool, rows * (hq + 2 * hk) * d * 4));
  if (widest_bias(f->m)) TRY(pool_alloc(&f->unbiased, &f->pool, rows * widest_bias(f->m) * 4));
  TRY(pool_alloc(&f->y, &f->pool, rows * hq * d * 4));
  if (f->gate_mul) TRY(pool_alloc(&f->gu, &f->pool, rows * 2 * hp->n_ff * 4));
  TRY(pool_alloc(&f->ff, &f->pool, rows * hp->n_ff * 4));
  TRY(pool_alloc(&f->logits, &f->pool, (uint64_t)f->logit_rows * hp->n_vocab * 4));
  if (hp->logit_cap > 0) TRY(pool_alloc(&f->capped, &f->pool, (uint64_t)f->logit_rows * hp->n_vocab * 4));
  uint64_t x_bytes = (d_model * 4 + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN, cs_bytes = (d * 4 + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN;
  TRY(pool_alloc(&f->in, &f->pool, x_bytes + 2 * cs_bytes + VIEW_ALIGN));
  f->in_x = (struct view){ f->in.buf, f->in.offset, d_model * 4 };
  for (int i = 0; i < 2; i++) f->in_cs[i] = (struct view){ f->in.buf, f->in.offset + x_bytes + (uint64_t)i * cs_bytes, d * 4 };
  f->step = (struct view){ f->in.buf, f->in.offset + x_bytes + 2 * cs_bytes, STEP_WORDS * 4 };
  TRY(buffer_create(&f->staging_in, f->dev, PLACE_STAGING, f->in.size, "step input"));
  f->in.size = f->staging_in->size;
  return buffer_create(&f->staging_out, f->dev, PLACE_STAGING, (uint64_t)f->logit_rows * hp->n_vocab * 4, "logits");
}

enum lrqk_status forward_init(struct forward *f, const struct model *m, uint32_t n_ctx, uint32_t chunk) {
  uint32_t block = n_ctx < BLOCK ? n_ctx : BLOCK;
  *f = (struct forward){ .m = m, .dev = m->dev, .chunk = chunk, .block = ceil_div(block, chunk) * chunk, .logit_rows = LOGIT_ROWS,
                         .linear = { .dev = m->dev } };
  f->turns[0] = rope_of(&m->hp, n_ctx, false);
  f->turns[1] = rope_of(&m->hp, n_ctx, true);
  f->n_cs = m->hp.local_rope ? 2 : 1;
  TRY(get_kernels(f));
  return alloc(f);
}

void forward_destroy(struct forward *f) {
  linear_destroy(&f->linear);
  pool_destroy(&f->pool);
  buffer_destroy(&f->staging_in);
  buffer_destroy(&f->staging_out);
}
