#include "cache/residency.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"

enum {
  LANES_GPU = 256,                      /* of residency_tile: 8 entries each of a list of 2048 */
  GATHERS_CPU = 4, GATHERS_GPU = 16     /* workgroups of a list: CPU drivers have few cores, GPUs wait */
};

enum lrqk_status active_shape_init(struct active_shape *s, struct device *dev, struct view step, struct pool *scratch, uint32_t hk, uint32_t d,
                                   uint32_t lists, uint32_t w, uint32_t k) {
  uint32_t words = ceil_div(k, 32), lanes = ceil_div(words, 64) * 64;
  if (lanes < LANES_GPU) lanes = min_u32(LANES_GPU, dev->caps.info.max_workgroup);
  *s = (struct active_shape){ .dev = dev, .step = step, .hk = hk, .d4 = d / 4, .lists = lists, .share = lists / hk, .w = w, .k = k, .slots = w + k,
                              .stride = words * 32 };
  if (dev->caps.cpu) TRY(kernel_get(&s->residency, dev, KERNEL_RESIDENCY, SPEC(8, words)));
  else TRY(kernel_get(&s->residency, dev, KERNEL_RESIDENCY_TILE, SPEC(lanes, words)));
  uint32_t row_lanes = dev->caps.cpu ? 1 : min_u32(s->d4 & (0 - s->d4), 64);   /* a power of two that divides d4 */
  s->gathers = dev->caps.cpu ? GATHERS_CPU : min_u32(ceil_div(k * s->d4, 64), GATHERS_GPU);
  TRY(kernel_get(&s->gather, dev, KERNEL_GATHER, SPEC(dev->caps.cpu ? 8 : 64, s->d4, row_lanes)));
  TRY(kernel_get(&s->ring, dev, KERNEL_RING_FILL, SPEC(64)));
  TRY(pool_alloc(&s->miss, scratch, (uint64_t)lists * s->stride * 8));
  return pool_alloc(&s->n_miss, scratch, (uint64_t)lists * 4);
}

enum lrqk_status active_init(struct active *a, const struct active_shape *s, struct pool *pool) {
  TRY(pool_alloc(&a->rows, pool, (uint64_t)s->lists * s->slots * s->d4 * 16));
  for (int i = 0; i < 2; i++) {
    TRY(pool_alloc(&a->list[i], pool, (uint64_t)s->lists * s->stride * 4));
    TRY(pool_alloc(&a->slot[i], pool, (uint64_t)s->lists * s->stride * 4));
  }
  return pool_alloc(&a->stat, pool, (uint64_t)s->lists * 8);
}

void active_fill_ring(const struct active *a, const struct active_shape *s, const struct kv_rows *rows, uint32_t l) {
  uint32_t t = l > s->w ? l - s->w : 0;
  while (t < l) {
    uint32_t page = t / rows->page, end = min_u32(l, (page + 1) * rows->page);
    struct ring_fill_params p = { .d4 = s->d4, .lists = s->lists, .share = s->share, .slots = s->slots, .w = s->w, .a = t, .b = end,
                                  .page0 = page * rows->page };
    DISPATCH(s->dev, s->ring, ceil_div((end - t) * s->lists * s->d4, 64), 1, 1, &p, kv_page(rows, page), a->rows);
    t = end;
  }
}

bool active_update(const struct active *a, const struct active_shape *s, int now, const struct kv_rows *host, uint32_t n, bool aside) {
  struct residency_params r = { .k = s->k, .kstr = s->stride };
  DISPATCH(s->dev, s->residency, s->lists, 1, 1, &r, a->list[now], a->list[!now], a->slot[!now], a->slot[now], s->miss, s->n_miss, a->stat, s->step);
  aside = aside && device_aside_begin(s->dev);
  for (uint32_t i = 0; i * host->page < n; i++) {
    struct gather_params g = { .hk = s->hk, .slots = s->slots, .base = s->w, .kstr = s->stride, .share = s->share, .page0 = i * host->page,
                               .page = host->page };
    DISPATCH(s->dev, s->gather, s->gathers, s->lists, 1, &g, kv_page(host, i), s->miss, s->n_miss, a->rows);
  }
  if (aside) device_aside_end(s->dev);
  return aside;
}

enum lrqk_status active_counts(const struct active *a, const struct active_shape *s, uint32_t list, uint32_t n, struct active_count *sum) {
  *sum = (struct active_count){ 0 };
  for (uint32_t end = list + n; list < end; list += 64) {
    uint32_t m = min_u32(end - list, 64), stat[64][2];
    TRY(device_read(s->dev, stat, (struct view){ a->stat.buf, a->stat.offset + list * 8, m * 8 }, m * 8));
    for (uint32_t i = 0; i < m; i++) {
      sum->chosen += stat[i][0];
      sum->misses += stat[i][1];
    }
  }
  return LRQK_OK;
}

enum lrqk_status active_list(const struct active *a, const struct active_shape *s, int now, uint32_t list, uint32_t n, uint32_t *tokens) {
  const struct view *v = &a->list[now];
  uint64_t bytes = (uint64_t)n * 4;
  return device_read(s->dev, tokens, (struct view){ v->buf, v->offset + (uint64_t)list * s->stride * 4, bytes }, bytes);
}

static uint64_t count_differing(const unsigned char *x, const unsigned char *y, size_t n) {
  uint64_t sum = 0;
  if (memcmp(x, y, n)) for (size_t i = 0; i < n; i++) sum += x[i] != y[i];
  return sum;
}

/* The row of a token and KV head in host memory. */
static const unsigned char *host_row(const struct active_shape *s, const struct kv_rows *host, uint32_t token, uint32_t list) {
  const unsigned char *page = host->buf[token / host->page]->map;
  return page + ((size_t)(token % host->page) * s->hk + list / s->share) * s->d4 * 16;
}

/* Tokens of a text of l in ascending order, each in a slot of its own. */
static bool lists_are_right(const struct active_shape *s, const uint32_t *list, const uint32_t *slot, uint32_t count, uint32_t k, uint32_t l, bool *taken) {
  for (uint32_t h = 0; h < s->lists; h++) {
    memset(taken, 0, k);
    for (uint32_t i = 0; i < count; i++) {
      uint32_t token = list[h * s->stride + i], at = slot[h * s->stride + i];
      if (token >= l || (i && token <= list[h * s->stride + i - 1]) || at >= k || taken[at]) return false;
      taken[at] = true;
    }
  }
  return true;
}

static enum lrqk_status load_lists(const struct active *a, const struct active_shape *s, struct state *st, uint32_t *list, uint32_t *slot, uint32_t count,
                                   uint32_t l, const struct kv_rows *host) {
  size_t row = (size_t)s->d4 * 16, bytes = (size_t)s->lists * s->stride * 4;
  bool *taken = mem_alloc(s->k, sizeof *taken);
  unsigned char *rows = mem_alloc((size_t)s->lists * s->slots, row);
  enum lrqk_status r = taken && rows ? LRQK_OK : fail(st->log, LRQK_MEMORY, "%s: no memory for %zu bytes of active rows", st->path,
                                                     (size_t)s->lists * s->slots * row);
  if (r == LRQK_OK && !lists_are_right(s, list, slot, count, s->k, l, taken)) r = state_damaged(st, "a list of chosen tokens");
  for (uint32_t h = 0; r == LRQK_OK && h < s->lists; h++)
    for (uint32_t i = 0; i < count; i++)
      memcpy(rows + ((size_t)h * s->slots + s->w + slot[h * s->stride + i]) * row, host_row(s, host, list[h * s->stride + i], h), row);
  if (r == LRQK_OK) r = device_write(s->dev, a->rows, rows, (uint64_t)s->lists * s->slots * row);
  if (r == LRQK_OK) r = device_write(s->dev, a->list[0], list, bytes);
  if (r == LRQK_OK) r = device_write(s->dev, a->slot[0], slot, bytes);
  mem_free(taken);
  mem_free(rows);
  return r;
}

enum lrqk_status active_state(const struct active *a, const struct active_shape *s, struct state *st, int now, uint32_t count, uint32_t k, uint32_t l,
                              const struct kv_rows *host) {
  uint32_t stride = st->loading && k != s->k ? count : s->stride;
  uint32_t *list = mem_alloc((size_t)s->lists * stride, 4), *slot = mem_alloc((size_t)s->lists * stride, 4);
  uint64_t bytes = (uint64_t)s->lists * stride * 4;
  enum lrqk_status r = list && slot ? LRQK_OK : fail(st->log, LRQK_MEMORY, "%s: no memory for %u lists of chosen tokens", st->path, s->lists);
  if (r == LRQK_OK && !st->loading) r = device_read(s->dev, list, a->list[now], bytes);
  if (r == LRQK_OK && !st->loading) r = device_read(s->dev, slot, a->slot[now], bytes);
  for (uint32_t h = 0; r == LRQK_OK && h < s->lists; h++) {
    r = state_host(st, list + (size_t)h * stride, (uint64_t)count * 4);
    if (r == LRQK_OK) r = state_host(st, slot + (size_t)h * stride, (uint64_t)count * 4);
  }
  if (r == LRQK_OK && st->loading && k == s->k && count) r = load_lists(a, s, st, list, slot, count, l, host);
  mem_free(list);
  mem_free(slot);
  return r;
}

enum lrqk_status active_verify(const struct active *a, const struct active_shape *s, int now, uint32_t count, uint32_t l,
                               const struct kv_rows *host, uint64_t *differing) {
  size_t row = (size_t)s->d4 * 16;
  uint32_t *list = mem_alloc((size_t)s->lists * s->stride, 4), *slot = mem_alloc((size_t)s->lists * s->stride, 4);
  unsigned char *rows = mem_alloc((size_t)s->lists * s->slots, row);
  enum lrqk_status st = list && slot && rows ? LRQK_OK : fail(&s->dev->log, LRQK_MEMORY, "cannot allocate %zu bytes to verify the active rows",
                                                               (size_t)s->lists * s->slots * row);
  if (st == LRQK_OK) st = device_read(s->dev, list, a->list[now], (uint64_t)s->lists * s->stride * 4);
  if (st == LRQK_OK) st = device_read(s->dev, slot, a->slot[now], (uint64_t)s->lists * s->stride * 4);
  if (st == LRQK_OK) st = device_read(s->dev, rows, a->rows, (uint64_t)s->lists * s->slots * row);
  for (uint32_t h = 0; st == LRQK_OK && h < s->lists; h++) {
    const unsigned char *mine = rows + (size_t)h * s->slots * row;
    for (uint32_t i = 0; i < count; i++) {
      uint32_t token = list[h * s->stride + i], at = slot[h * s->stride + i];
      if (token >= l || at >= s->k) *differing += row;
      else *differing += count_differing(mine + (s->w + at) * row, host_row(s, host, token, h), row);
    }
    for (uint32_t t = l > s->w ? l - s->w : 0; t < l; t++) *differing += count_differing(mine + (t % s->w) * row, host_row(s, host, t, h), row);
  }
  mem_free(list);
  mem_free(slot);
  mem_free(rows);
  return st;
}
