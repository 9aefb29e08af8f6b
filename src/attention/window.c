#include "attention/window.h"

#include "base/mem.h"

/* What a query of the last token of a chunk can see, and the rest of that chunk; whole chunks, so that none is cut by the end
 * of the ring. */
static uint32_t ring_rows(const struct attn_core *c) {
  uint64_t need = (uint64_t)c->hp->window - 1 + c->chunk;
  if (need > c->n_ctx) need = c->n_ctx;
  return (uint32_t)((need + c->chunk - 1) / c->chunk * c->chunk);
}

enum lrqk_status windows_init(struct windows *w, struct attn_core *c) {
  const struct hparams *hp = c->hp;
  bool any = false;
  w->n_layers = hp->n_layers;
  for (uint32_t i = 0; i < hp->n_layers; i++) any = any || layer_is_windowed(hp, i);
  if (!any) return LRQK_OK;
  uint32_t rows = ring_rows(c);
  w->layer = mem_alloc(hp->n_layers, sizeof *w->layer);
  w->kept = mem_alloc(hp->n_layers, sizeof *w->kept);
  if (!w->layer || !w->kept) return fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the list of %u windows", hp->n_layers);
  for (uint32_t i = 0; i < hp->n_layers; i++) {
    if (!layer_is_windowed(hp, i)) continue;
    TRY(kv_rows_init(&w->layer[i], c->dev, PLACE_DEVICE, rows, c->page, c->token_bytes, "KV rows of a window"));
    TRY(kv_rows_init(&w->kept[i], c->dev, PLACE_HOST, rows, c->page, c->token_bytes, "kept KV rows of a window"));
  }
  return attn_decode_init(&w->all, c, c->hk, c->hk * c->d / 4, c->d / 4);
}

void windows_destroy(struct windows *w) {
  for (uint32_t i = 0; i < w->n_layers; i++) {
    if (w->layer) kv_rows_destroy(&w->layer[i]);
    if (w->kept) kv_rows_destroy(&w->kept[i]);
  }
  mem_free(w->layer);
  mem_free(w->kept);
}

uint64_t windows_bytes(const struct windows *w) {
  uint64_t sum = 0;
  for (uint32_t i = 0; w->layer && i < w->n_layers; i++) sum += kv_rows_bytes(&w->layer[i]);
  return sum;
}

void windows_prefill(const struct windows *w, struct attn_core *c, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m,
                     struct view y) {
  attn_rope_rows(c, qkv, cs, t0, m, &w->layer[layer]);
  attn_prefill(c, &w->layer[layer], c->hp->window, t0, m, y);
}

void windows_decode(const struct windows *w, struct attn_core *c, uint32_t layer, uint32_t t, struct view qkv, struct view cs, struct view y) {
  const struct kv_rows *rows = &w->layer[layer];
  uint32_t round = t / rows->n_ctx * rows->n_ctx, page = (t - round) / c->page;
  attn_rope(c, qkv, cs, 1, kv_page(rows, page), 0u - round - page * c->page, true);
  attn_decode_rows(c, &w->all, rows, c->hp->window, t + 1, y);
}

static void copy_all(const struct kv_rows *to, const struct kv_rows *from, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) kv_rows_copy(&to[i], &from[i], 0, from[i].n_ctx);
}

void windows_mark(const struct windows *w) { if (w->layer) copy_all(w->kept, w->layer, w->n_layers); }
void windows_rewind(const struct windows *w) { if (w->layer) copy_all(w->layer, w->kept, w->n_layers); }
void windows_adopt(const struct windows *w, const struct windows *from) { if (w->layer) copy_all(w->layer, from->layer, w->n_layers); }

bool windows_can_cut(const struct windows *w, const struct attn_core *c, uint32_t from, uint32_t l) {
  for (uint32_t i = 0; w->layer && l && i < w->n_layers; i++) {
    uint32_t rows = w->layer[i].n_ctx;
    if (w->layer[i].n_pages && from > rows && (uint64_t)l + rows + 1 < (uint64_t)from + c->hp->window) return false;
  }
  return true;
}

/* Token after token, whatever the length of the ring: that of a small context is shorter. */
static enum lrqk_status ring_state(const struct kv_rows *r, struct state *st, uint32_t l) {
  uint32_t n = l < r->n_ctx ? l : r->n_ctx;
  TRY(state_host(st, &n, sizeof n));
  if (n > l) return state_damaged(st, "the number of rows of a window");
  uint32_t skip = n > r->n_ctx ? n - r->n_ctx : 0;
  if (skip) TRY(state_skip(st, (uint64_t)skip * r->token_bytes));
  for (uint32_t t = l - n + skip, run; t < l; t += run) {
    uint32_t at = t % r->n_ctx, page = at / r->page, end = (page + 1) * r->page < r->n_ctx ? (page + 1) * r->page : r->n_ctx;
    run = l - t < end - at ? l - t : end - at;
    TRY(state_view(st, (struct view){ r->buf[page], (uint64_t)(at - page * r->page) * r->token_bytes, (uint64_t)run * r->token_bytes }));
  }
  return LRQK_OK;
}

enum lrqk_status windows_state(const struct windows *w, struct state *st, uint32_t l, uint32_t marked, bool has_mark) {
  for (uint32_t i = 0; w->layer && i < w->n_layers; i++) {
    if (!w->layer[i].n_pages) continue;
    TRY(ring_state(&w->layer[i], st, l));
    if (has_mark) TRY(ring_state(&w->kept[i], st, marked));
  }
  return LRQK_OK;
}
