/* fill.c - synthetic tokens: rows of random queries, keys and values take the way of prefill through every layer, but nothing
 * is attended to and no weights are multiplied, so that long contexts can be measured.  Called by session.c. */
#include "base/mem.h"
#include "base/num.h"
#include "base/parallel.h"
#include "model/forward.h"

enum { FILL_CHUNK = 2048 };   /* tokens: enough to make up for the start of the commands */

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

/* What the rows of a chunk are made in. */
struct filler {
  struct forward *f;
  struct attention *a;
  uint32_t chunk, width;          /* tokens at once; floats of one: its q, k and v */
  struct view qkv, cs;
  float *row;                     /* [chunk][width] */
  uint64_t seed;                  /* of a layer and the first token here */
  uint32_t layer, t;
};

static void one_row(void *ud, uint32_t i, uint32_t worker) {
  const struct filler *x = ud;
  (void)worker;
  random_row(x->row + (size_t)i * x->width, x->width, x->seed ^ mix((uint64_t)x->layer << 32 | (x->t + i)));
}

/* Rows are random before RoPE and after it: the angle is 0. */
static enum lrqk_status no_turn(const struct filler *x) {
  uint32_t n = x->chunk * x->f->m->hp.head_size;
  for (uint32_t i = 0; i < n; i++) x->row[i] = i % 2 ? 0.0f : 1.0f;
  return device_write(x->f->dev, x->cs, x->row, (uint64_t)n * 4);
}

static enum lrqk_status fill_layer(struct filler *x, uint32_t n, uint32_t l0, forward_progress_fn progress, void *ud) {
  struct forward *f = x->f;
  uint32_t layers = f->m->hp.n_layers, d = f->m->hp.head_size;
  attention_prefill_begin(x->a, x->layer, l0);
  for (uint32_t t = l0, m; t < l0 + n; t += m) {
    m = min_u32(x->chunk - t % x->chunk, l0 + n - t);   /* chunks do not cross a page of rows */
    x->t = t;
    parallel_for(m, parallel_workers(m), one_row, x);
    struct view qkv = { x->qkv.buf, x->qkv.offset, (uint64_t)m * x->width * 4 }, cs = { x->cs.buf, x->cs.offset, (uint64_t)m * d * 4 };
    TRY(device_write(f->dev, qkv, x->row, qkv.size));
    attention_prefill(x->a, x->layer, qkv, cs, t, m, f->y);
    TRY(device_submit(f->dev, NULL));
    if (progress && !progress(ud, (uint64_t)x->layer * n + (t + m - l0), (uint64_t)layers * n)) return LRQK_INTERRUPTED;
  }
  attention_prefill_end(x->a, x->layer, l0 + n);
  return device_submit(f->dev, NULL);
}

/* Nothing is attended to, so that the scratch for scores can hold many more rows than a chunk of prefill has: queries in s,
 * what they are made of in p.  A ring of windowed layers takes whole chunks alone. */
static void take_scratch(struct filler *x) {
  struct attn_core *c = &x->a->core;
  uint32_t d = c->d, n = x->chunk;
  for (uint32_t i = 0; i < c->hp->n_layers; i++)
    if (layer_is_windowed(c->hp, i)) return;
  while (n < FILL_CHUNK && 2 * n <= c->page && 2ull * n * d * 4 <= x->f->cs[0].size && 2ull * n * x->width * 4 <= c->p.size) n *= 2;
  if (n == x->chunk) return;
  x->chunk = n;
  x->qkv = c->p;
  c->q = c->s;
}

enum lrqk_status forward_fill(struct forward *f, struct attention *a, uint32_t n, uint32_t l0, uint64_t seed, forward_progress_fn progress,
                              void *ud) {
  const struct hparams *hp = &f->m->hp;
  const struct view q = a->core.q;
  struct filler x = { .f = f, .a = a, .chunk = f->chunk, .width = (hp->n_heads + 2 * hp->n_kv_heads) * hp->head_size, .qkv = f->qkv, .seed = seed };
  take_scratch(&x);
  x.cs = (struct view){ f->cs[0].buf, f->cs[0].offset, (uint64_t)x.chunk * hp->head_size * 4 };
  x.row = mem_alloc((size_t)x.chunk * x.width, sizeof *x.row);
  a->core.rows_only = true;
  enum lrqk_status s = x.row ? no_turn(&x) : fail(&f->dev->log, LRQK_MEMORY, "cannot allocate %u random rows", x.chunk);
  for (; s == LRQK_OK && x.layer < hp->n_layers; x.layer++) s = fill_layer(&x, n, l0, progress, ud);
  enum lrqk_status w = device_wait(f->dev, 0);
  a->core.rows_only = false;
  a->core.q = q;
  mem_free(x.row);
  return s == LRQK_OK ? w : s;
}
