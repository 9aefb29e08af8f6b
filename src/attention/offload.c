/* offload.c - policy offload: all KV in HOST memory.  For each layer it is copied into one of two device buffers, then
 * attended to as policy full does: the baseline that lrqk is measured against.  Where there is a second queue, it copies the
 * next layer while the first works on this one. */
#include "attention/attention.h"
#include "attention/full.h"
#include "base/mem.h"

struct offload {
  struct attention base;
  struct kv_rows *host;           /* [L], HOST */
  struct kv_rows work[2];         /* DEVICE: two, so that the next layer's copy need not wait for this layer's kernels */
  struct attn_decode all;
  bool copied;                    /* ahead, ahead_at hold */
  int now;                        /* which of work is this layer's in a decode step */
  uint32_t ahead, ahead_at;       /* the layer whose rows lie in it already, for the token at ahead_at */
  uint64_t bus_bytes, hidden_bytes;   /* of decode steps; those that the second queue moved */
};

static enum lrqk_status offload_init(struct attention *a) {
  struct offload *f = (struct offload *)a;
  struct attn_core *c = &a->core;
  f->host = mem_alloc(c->hp->n_layers, sizeof *f->host);
  if (!f->host) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the list of %u KV layers", c->hp->n_layers);
  for (uint32_t i = 0; i < c->hp->n_layers; i++)
    if (!layer_is_windowed(c->hp, i)) TRY(kv_rows_init(&f->host[i], c->dev, PLACE_HOST, c->n_ctx, c->page, c->token_bytes, "host KV rows of a layer"));
  for (int i = 0; i < 2; i++) TRY(kv_rows_init(&f->work[i], c->dev, PLACE_DEVICE, c->n_ctx, c->page, c->token_bytes, "streamed KV rows"));
  return attn_decode_init(&f->all, c, c->hk, c->hk * c->d / 4, c->d / 4);
}

static void offload_destroy(struct attention *a) {
  struct offload *f = (struct offload *)a;
  if (f->host) for (uint32_t i = 0; i < a->core.hp->n_layers; i++) kv_rows_destroy(&f->host[i]);
  mem_free(f->host);
  for (int i = 0; i < 2; i++) kv_rows_destroy(&f->work[i]);
}

static const struct kv_rows *offload_rows(struct attention *a, uint32_t layer) { return &((struct offload *)a)->host[layer]; }

static void offload_adopt(struct attention *a, struct attention *from, uint32_t l) {
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++)
    if (!layer_is_windowed(a->core.hp, i)) kv_rows_copy(offload_rows(a, i), from->ops->rows(from, i), 0, l);
}

static enum lrqk_status offload_state(struct attention *a, struct state *st, uint32_t l, bool marked) {
  (void)marked;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) TRY(state_rows(st, offload_rows(a, i), l));
  return LRQK_OK;
}

static void offload_prefill_begin(struct attention *a, uint32_t layer, uint32_t l0) {
  struct offload *f = (struct offload *)a;
  kv_rows_copy(&f->work[layer % 2], &f->host[layer], 0, l0);
}

static void offload_prefill(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  struct offload *f = (struct offload *)a;
  dense_prefill(&a->core, &f->work[layer % 2], qkv, cs, t0, m, y);
  kv_rows_copy(&f->host[layer], &f->work[layer % 2], t0, t0 + m);
}

/* The rows of the next layer into the other buffer, which the layer before this one has done with. */
static bool copy_ahead(struct offload *f, uint32_t layer) {
  struct attention *a = &f->base;
  while (layer < a->core.hp->n_layers && layer_is_windowed(a->core.hp, layer)) layer++;
  if (layer == a->core.hp->n_layers || !a->t || !device_aside_begin(a->core.dev)) return false;
  kv_rows_copy(&f->work[!f->now], &f->host[layer], 0, a->t);
  device_aside_end(a->core.dev);
  f->ahead = layer;
  f->ahead_at = a->t;
  f->hidden_bytes += (uint64_t)a->t * a->core.token_bytes;
  return true;
}

static void offload_decode(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y) {
  struct offload *f = (struct offload *)a;
  f->now = !f->now;
  const struct kv_rows *work = &f->work[f->now];
  if (!f->copied || f->ahead != layer || f->ahead_at != a->t) kv_rows_copy(work, &f->host[layer], 0, a->t);
  f->copied = a->opt.overlap && copy_ahead(f, layer + 1);
  dense_decode(&a->core, &f->all, work, a->t, qkv, cs, y);
  kv_rows_copy(&f->host[layer], work, a->t, a->t + 1);
  f->bus_bytes += (uint64_t)(a->t + 1) * a->core.token_bytes;
}

static enum lrqk_status offload_stats(struct attention *a, struct attention_stats *out) {
  struct offload *f = (struct offload *)a;
  *out = (struct attention_stats){ .bus_bytes = f->bus_bytes, .hidden_bytes = f->hidden_bytes, .device_bytes = kv_rows_bytes(&f->work[0]) + kv_rows_bytes(&f->work[1]) };
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) out->host_bytes += kv_rows_bytes(&f->host[i]);
  return LRQK_OK;
}

static enum lrqk_status offload_heads(struct attention *a, uint32_t layer, struct lrqk_head_stats *out) {
  const struct attn_core *c = &a->core;
  uint32_t layers = 0;
  for (uint32_t i = 0; i < c->hp->n_layers; i++) layers += !layer_is_windowed(c->hp, i);
  if (layer_is_windowed(c->hp, layer)) return LRQK_OK;
  for (uint32_t h = 0; h < c->hk; h++) out[h].bus_bytes = ((struct offload *)a)->bus_bytes / layers / c->hk;
  return LRQK_OK;
}

static void offload_plan(const struct attention *a, uint32_t l, double hits, struct attention_plan *out) {
  const struct offload *f = (const struct offload *)a;
  (void)hits;
  out->work = kv_rows_bytes(&f->work[0]) + kv_rows_bytes(&f->work[1]);
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++)
    if (!layer_is_windowed(a->core.hp, i)) out->bus += (uint64_t)l * a->core.token_bytes;
  out->read = out->bus;
}

const struct attention_ops attention_offload = {
  .name = "offload", .size = sizeof(struct offload), .init = offload_init, .destroy = offload_destroy, .rows = offload_rows, .adopt = offload_adopt,
  .state = offload_state,
  .prefill_begin = offload_prefill_begin, .prefill = offload_prefill, .decode = offload_decode, .stats = offload_stats,
  .heads = offload_heads, .plan = offload_plan,
};
