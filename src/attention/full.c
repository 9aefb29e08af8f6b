/* full.c - policy full: all KV on the device. */
#include "attention/full.h"

#include "attention/attention.h"
#include "base/mem.h"

struct full {
  struct attention base;
  struct kv_rows *layers;         /* [L] */
  struct attn_decode all;
};

void dense_prefill(struct attn_core *c, const struct kv_rows *rows, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  attn_rope_rows(c, qkv, cs, t0, m, rows);
  attn_prefill(c, rows, 0, t0, m, y);
}

void dense_decode(struct attn_core *c, const struct attn_decode *all, const struct kv_rows *rows, uint32_t t, struct view qkv, struct view cs,
                  struct view y) {
  uint32_t p = t / c->page;
  attn_rope(c, qkv, cs, 1, kv_page(rows, p), 0u - p * c->page, true);
  attn_decode_rows(c, all, rows, 0, t + 1, y);
}

static enum lrqk_status full_init(struct attention *a) {
  struct full *f = (struct full *)a;
  struct attn_core *c = &a->core;
  f->layers = mem_alloc(c->hp->n_layers, sizeof *f->layers);
  if (!f->layers) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the list of %u KV layers", c->hp->n_layers);
  for (uint32_t i = 0; i < c->hp->n_layers; i++)
    if (!layer_is_windowed(c->hp, i)) TRY(kv_rows_init(&f->layers[i], c->dev, PLACE_DEVICE, c->n_ctx, c->page, c->token_bytes, "KV rows of a layer"));
  return attn_decode_init(&f->all, c, c->hk, c->hk * c->d / 4, c->d / 4);
}

static void full_destroy(struct attention *a) {
  struct full *f = (struct full *)a;
  if (f->layers) for (uint32_t i = 0; i < a->core.hp->n_layers; i++) kv_rows_destroy(&f->layers[i]);
  mem_free(f->layers);
}

static const struct kv_rows *full_rows(struct attention *a, uint32_t layer) { return &((struct full *)a)->layers[layer]; }

static void full_adopt(struct attention *a, struct attention *from, uint32_t l) {
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++)
    if (!layer_is_windowed(a->core.hp, i)) kv_rows_copy(full_rows(a, i), from->ops->rows(from, i), 0, l);
}

static enum lrqk_status full_state(struct attention *a, struct state *st, uint32_t l, bool marked) {
  (void)marked;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) TRY(state_rows(st, full_rows(a, i), l));
  return LRQK_OK;
}

static void full_prefill(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  dense_prefill(&a->core, &((struct full *)a)->layers[layer], qkv, cs, t0, m, y);
}

static void full_decode(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y) {
  struct full *f = (struct full *)a;
  dense_decode(&a->core, &f->all, &f->layers[layer], a->t, qkv, cs, y);
}

static enum lrqk_status full_stats(struct attention *a, struct attention_stats *out) {
  *out = (struct attention_stats){ 0 };
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) out->device_bytes += kv_rows_bytes(&((struct full *)a)->layers[i]);
  return LRQK_OK;
}

static void full_plan(const struct attention *a, uint32_t l, double hits, struct attention_plan *out) {
  (void)hits;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) {
    if (layer_is_windowed(a->core.hp, i)) continue;
    out->dense += kv_rows_bytes(&((const struct full *)a)->layers[i]);
    out->read += (uint64_t)l * a->core.token_bytes;
  }
}

const struct attention_ops attention_full = {
  .name = "full", .size = sizeof(struct full), .init = full_init, .destroy = full_destroy, .rows = full_rows, .adopt = full_adopt, .state = full_state, .prefill = full_prefill,
  .decode = full_decode, .stats = full_stats, .plan = full_plan,
};
