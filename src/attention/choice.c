#include "attention/choice.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"

/* A weight is rounded to 2^-10 of itself, a key cut to 2^-11; what is computed in float may be off by as much again. */
static const double SLACK = 6 * 0x1p-11;
static const double LEAST = 0x1p-31;     /* smaller shares are alike */

struct check {
  const struct selector *s;
  const struct proxy *p;
  const struct proxy_shape *shape;
  const struct choice_mean *mean;
  uint32_t n, scored, values;     /* candidates; tokens of the softmax; numbers of a proxy row */
  const float *queries;           /* [Hq][values] */
  float *extra;                   /* mean->scores of all ranges, each `stride` bytes behind the one before */
  uint64_t stride;
  float *score;                   /* [scored] of a head */
  double *share;                  /* [n] of a list: what its heads make of each candidate */
  unsigned char *bounce;          /* a page that is not mapped */
};

static enum lrqk_status fetch(const struct device *d, struct view v, void *bounce, const void **out) {
  *out = v.buf->map ? (const char *)v.buf->map + v.offset : bounce;
  return v.buf->map ? LRQK_OK : device_read((struct device *)d, bounce, v, v.size);
}

static enum lrqk_status fetch_mean(struct check *c) {
  struct device *d = c->s->core->dev;
  uint32_t n = c->shape->ranges.n;
  if (c->mean->kind == LRQK_MEAN_KEY_OFF) return LRQK_OK;
  c->stride = c->mean->scores[0].size;
  c->extra = mem_alloc(n, c->stride);
  if (!c->extra) return fail(&d->log, LRQK_MEMORY, "cannot allocate the scores of the mean key (%llu bytes)", (unsigned long long)(n * c->stride));
  for (uint32_t i = 0; i < n; i++) TRY(device_read(d, c->extra + i * (c->stride / 4), c->mean->scores[i], c->mean->scores[i].size));
  return LRQK_OK;
}

static float mean_score(const struct check *c, uint32_t head, uint32_t t) {
  if (c->mean->kind == LRQK_MEAN_KEY_OFF) return 0;
  const struct ranges *r = &c->shape->ranges;
  const float *extra = c->extra + t / r->span * (c->stride / 4);
  uint64_t block = (uint64_t)head * (range_tokens(r, t / r->span) / 64) + t % r->span / 64;
  if (c->mean->kind == LRQK_MEAN_KEY_ON) return extra[block * 64 + t % 64];
  const float *k = extra + block * 4;
  float u = (float)(t % 64) - 31.5f;
  return ((k[3] * u + k[2]) * u + k[1]) * u + k[0];
}

/* The scores of the n tokens of a page from page0 on. */
static void score_page(struct check *c, uint32_t head, const unsigned char *page, uint32_t page0, uint32_t n, uint32_t room) {
  uint32_t plane = head * c->shape->planes / (c->s->lists * c->s->heads), row_bytes = c->shape->rw * 16;
  const unsigned char *rows = page + (uint64_t)plane * room * row_bytes, *scales = page + (uint64_t)c->shape->planes * room * row_bytes;
  const float *q = c->queries + (uint64_t)head * c->values;
  float cap = c->s->core->hp->attn_cap;
  for (uint32_t t = 0; t < n; t++) {
    const unsigned char *row = rows + (uint64_t)t * row_bytes;
    double sum = 0;
    uint16_t half;
    for (uint32_t i = 0; i < c->values; i++) {
      if (c->shape->int8) {
        sum += (double)q[i] * (int8_t)row[i];
      } else {
        memcpy(&half, row + 2 * i, 2);
        sum += (double)q[i] * half_to_float(half);
      }
    }
    memcpy(&half, scales + ((uint64_t)plane * room + t) * 2, c->shape->int8 ? 2 : 0);
    if (c->shape->int8) sum *= half_to_float(half);
    sum += mean_score(c, head, page0 + t);
    c->score[page0 + t] = (float)(cap > 0 ? cap * tanh(sum / cap) : sum);
  }
}

static enum lrqk_status score_head(struct check *c, uint32_t head) {
  const struct attn_core *core = c->s->core;
  for (uint32_t i = 0; i * core->page < c->scored; i++) {
    const void *page;
    TRY(fetch(core->dev, c->p->page[i], c->bounce, &page));
    score_page(c, head, page, i * core->page, min_u32(c->scored - i * core->page, core->page), proxy_page_tokens(core, i));
  }
  return LRQK_OK;
}

/* Adds a head's softmax to the shares of its list. */
static void add_head(struct check *c, bool max) {
  double most = -1e300, sum = 0;
  for (uint32_t t = 0; t < c->scored; t++) most = fmax(most, c->score[t]);
  for (uint32_t t = 0; t < c->scored; t++) sum += exp(c->score[t] - most);
  for (uint32_t t = 0; t < c->n; t++) {
    double e = exp(c->score[t] - most) / sum;
    c->share[t] = max ? fmax(c->share[t], e) : c->share[t] + e / c->s->heads;
  }
}

static uint64_t bits_of(double x) {
  uint64_t u;
  memcpy(&u, &x, 8);
  return u;
}

/* The k-th largest of n numbers, which are not negative: their bits are in the same order. */
static double kth_largest(const double *x, uint32_t n, uint32_t k, uint32_t *count) {
  uint64_t prefix = 0;
  for (int shift = 48; shift >= 0; shift -= 16) {
    memset(count, 0, 65536 * sizeof *count);
    for (uint32_t i = 0; i < n; i++)
      if (shift == 48 || bits_of(x[i]) >> (shift + 16) == prefix) count[bits_of(x[i]) >> shift & 0xffff]++;
    uint32_t digit = 65535;
    while (count[digit] < k) k -= count[digit--];
    prefix = prefix << 16 | digit;
  }
  double out;
  memcpy(&out, &prefix, 8);
  return out;
}

/* list: k tokens of n, which should be those of the largest shares. */
static void judge(const struct check *c, const uint32_t *list, uint32_t k, uint32_t *count, struct lrqk_choice *out) {
  double cut = kth_largest(c->share, c->n, k, count);
  out->tokens += c->n;
  out->chosen += k;
  for (uint32_t i = 0, t = 0; i <= k; i++) {
    uint32_t end = i < k ? list[i] : c->n;
    if (end > c->n || end < t || (i < k && end == c->n)) {   /* not ascending, or no candidate */
      out->wrong++;
      continue;
    }
    for (; t < end; t++) out->wrong += c->share[t] > cut * (1 + SLACK);
    if (i == k) break;
    out->wrong += c->share[t] < cut * (1 - SLACK);
    out->rounded += c->share[t] < cut;
    t++;
  }
}

static enum lrqk_status check_list(struct check *c, uint32_t list, bool max, const uint32_t *tokens, uint32_t *count, struct lrqk_choice *out) {
  memset(c->share, 0, c->n * sizeof *c->share);
  for (uint32_t i = 0; i < c->s->heads; i++) {
    TRY(score_head(c, list * c->s->heads + i));
    add_head(c, max);
  }
  for (uint32_t t = 0; t < c->n; t++) c->share[t] = t < c->s->sinks ? 2 : fmax(c->share[t], LEAST);
  judge(c, tokens, min_u32(c->s->k, c->n), count, out);
  return LRQK_OK;
}

enum lrqk_status choice_check(const struct selector *s, const struct proxy *p, const struct proxy_shape *shape, const struct choice_mean *mean,
                              bool max, uint32_t n, struct view list, struct lrqk_choice *out) {
  struct device *d = s->core->dev;
  bool mapped = s->queries.buf->map;
  struct check c = { .s = s, .p = p, .shape = shape, .mean = mean, .n = n, .scored = selector_scored(s, n), .values = shape->rw * (shape->int8 ? 16 : 8) };
  void *queries = mem_alloc(1, s->queries.size), *lists = mem_alloc(1, list.size);
  uint32_t *count = mem_alloc(65536, sizeof *count);
  c.score = mem_alloc(c.scored, sizeof *c.score);
  c.share = mem_alloc(n, sizeof *c.share);
  c.bounce = mem_alloc(1, mapped ? 1 : p->page[0].size);
  bool ok = queries && lists && count && c.score && c.share && c.bounce;
  enum lrqk_status st = ok ? LRQK_OK : fail(&d->log, LRQK_MEMORY, "cannot allocate the scores of %u tokens", n);
  const void *q = NULL, *l = NULL;
  if (st == LRQK_OK) st = device_wait(d, 0);
  if (st == LRQK_OK) st = fetch(d, s->queries, queries, &q);
  if (st == LRQK_OK) st = fetch_mean(&c);
  if (st == LRQK_OK) st = fetch(d, list, lists, &l);
  c.queries = q;
  for (uint32_t i = 0; st == LRQK_OK && i < s->lists; i++) st = check_list(&c, i, max, (const uint32_t *)l + (uint64_t)i * s->list_stride, count, out);
  void *const all[] = { queries, lists, count, c.score, c.share, c.bounce, c.extra };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return st;
}
