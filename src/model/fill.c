/* fill.c - synthetic tokens: rows of random queries, keys and values take the way of prefill through every layer, but nothing
 * is attended to and no weights are multiplied, so that long contexts can be measured.  Called by session.c. */
#include "base/mem.h"
#include "model/forward.h"

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* n numbers, near enough to normal ones of variance 1: sums of four bytes, whose variance is 4 (256^2 - 1) / 12. */
static void random_row(float *out, uint32_t n, uint64_t seed) {
  static const float unit = 1.0f / 147.8f;
  uint64_t x = mix(seed) | 1;
  for (uint32_t i = 0; i < n; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    uint32_t w = (uint32_t)(x >> 32);
    out[i] = (float)((int)((w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24)) - 510) * unit;
  }
}

/* Rows are random before RoPE and after it: the angle is 0. */
static enum lrqk_status no_turn(struct forward *f, float *cs, uint32_t d) {
  for (uint32_t i = 0; i < f->chunk * d; i++) cs[i] = i % 2 ? 0.0f : 1.0f;
  return device_write(f->dev, (struct view){ f->cs[0].buf, f->cs[0].offset, (uint64_t)f->chunk * d * 4 }, cs, (uint64_t)f->chunk * d * 4);
}

static enum lrqk_status fill_layer(struct forward *f, struct attention *a, uint32_t layer, float *row, uint32_t n, uint32_t l0, uint64_t seed,
                                   forward_progress_fn progress, void *ud) {
  const struct hparams *hp = &f->m->hp;
  uint32_t layers = hp->n_layers, d = hp->head_size, width = (hp->n_heads + 2 * hp->n_kv_heads) * d;
  attention_prefill_begin(a, layer, l0);
  for (uint32_t t = l0, m; t < l0 + n; t += m) {
    m = f->chunk - t % f->chunk < l0 + n - t ? f->chunk - t % f->chunk : l0 + n - t;   /* chunks do not cross a page of rows */
    for (uint32_t i = 0; i < m; i++) random_row(row + (size_t)i * width, width, seed ^ mix((uint64_t)layer << 32 | (t + i)));
    struct view qkv = { f->qkv.buf, f->qkv.offset, (uint64_t)m * width * 4 }, cs = { f->cs[0].buf, f->cs[0].offset, (uint64_t)m * d * 4 };
    TRY(device_write(f->dev, qkv, row, qkv.size));
    attention_prefill(a, layer, qkv, cs, t, m, f->y);
    TRY(device_submit(f->dev, NULL));
    if (progress && !progress(ud, (uint64_t)layer * n + (t + m - l0), (uint64_t)layers * n)) return LRQK_INTERRUPTED;
  }
  attention_prefill_end(a, layer, l0 + n);
  return device_submit(f->dev, NULL);
}

enum lrqk_status forward_fill(struct forward *f, struct attention *a, uint32_t n, uint32_t l0, uint64_t seed, forward_progress_fn progress,
                              void *ud) {
  const struct hparams *hp = &f->m->hp;
  uint32_t d = hp->head_size, width = (hp->n_heads + 2 * hp->n_kv_heads) * d;
  float *row = mem_alloc((size_t)f->chunk * width, sizeof *row);
  if (!row) return fail(&f->dev->log, LRQK_MEMORY, "cannot allocate %u random rows", f->chunk);
  a->core.rows_only = true;
  enum lrqk_status s = no_turn(f, row, d);
  for (uint32_t i = 0; s == LRQK_OK && i < hp->n_layers; i++) s = fill_layer(f, a, i, row, n, l0, seed, progress, ud);
  enum lrqk_status w = device_wait(f->dev, 0);
  a->core.rows_only = false;
  mem_free(row);
  return s == LRQK_OK ? w : s;
}
