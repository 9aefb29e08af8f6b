#include "attention/quality.h"

#include <math.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/parallel.h"

/* Of one worker. */
struct scratch {
  float *p;                       /* [heads of a list][l] weights of exact attention */
  float *key, *sorted;            /* [candidates] what a list chooses by; in another order */
};

struct job { const struct quality_step *s; struct scratch *scratch; struct lrqk_head_quality *out; uint32_t heads; };

static const uint16_t *key_row(const struct quality_step *s, uint32_t t, uint32_t kv_head) {
  const struct kv_rows *r = s->rows;
  const unsigned char *page = r->buf[t / r->page]->map;
  return (const uint16_t *)(const void *)(page + ((size_t)(t % r->page) * s->hk + kv_head) * s->hp->head_size * 4);
}

/* p[t] = softmax of the query's scores over all tokens, as shaders/attn_dqk.k computes them. */
static void softmax(float *p, uint32_t l) {
  float top = -INFINITY;
  double sum = 0;
  for (uint32_t t = 0; t < l; t++) top = p[t] > top ? p[t] : top;
  for (uint32_t t = 0; t < l; t++) sum += p[t] = expf(p[t] - top);
  for (uint32_t t = 0; t < l; t++) p[t] = (float)(p[t] / sum);
}

static void weights(const struct quality_step *s, const float *q, uint32_t kv_head, uint32_t heads, float *p) {
  uint32_t d = s->hp->head_size;
  float k[HEAD_SIZE_MAX];
  for (uint32_t t = 0; t < s->l; t++) {
    const uint16_t *row = key_row(s, t, kv_head);
    for (uint32_t i = 0; i < d; i++) k[i] = half_to_float(row[i]);
    for (uint32_t h = 0; h < heads; h++) {
      float x = 0, cap = s->hp->attn_cap;
      for (uint32_t i = 0; i < d; i++) x += q[h * d + i] * k[i];
      x *= s->hp->attn_scale;
      p[(size_t)h * s->l + t] = cap > 0 ? cap * tanhf(x / cap) : x;
    }
  }
  for (uint32_t h = 0; h < heads; h++) softmax(p + (size_t)h * s->l, s->l);
}

static void make_keys(const struct quality_step *s, uint32_t heads, struct scratch *x) {
  for (uint32_t t = 0; t < s->candidates; t++) {
    float key = 0;
    for (uint32_t h = 0; h < heads; h++) {
      float p = x->p[(size_t)h * s->l + t];
      key = s->max ? fmaxf(key, p) : key + p;
    }
    x->key[t] = x->sorted[t] = t < s->sinks ? INFINITY : key;
  }
}

/* The k-th largest of n, which changes their order (Hoare's quickselect). */
static float kth_largest(float *x, uint32_t n, uint32_t k) {
  uint32_t a = 0, b = n - 1, at = k - 1;
  while (a < b) {
    float pivot = x[a + (b - a) / 2];
    uint32_t i = a - 1, j = b + 1;
    for (;;) {
      do i++; while (x[i] > pivot);
      do j--; while (x[j] < pivot);
      if (i >= j) break;
      float swap = x[i];
      x[i] = x[j];
      x[j] = swap;
    }
    if (at <= j) b = j;           /* a..j hold nothing less than what lies behind, and j < b */
    else a = j + 1;
  }
  return x[at];
}

/* One list: mass of each of its heads' active tokens and of the best active tokens there are, and how many of these were chosen. */
static void measure_list(const struct quality_step *s, const uint32_t *chosen, uint32_t heads, struct scratch *x, double sum[3]) {
  make_keys(s, heads, x);
  float cut = s->count ? kth_largest(x->sorted, s->candidates, s->count) : INFINITY;
  uint32_t above = 0, ties = 0, found = 0;
  for (uint32_t t = 0; t < s->candidates; t++) above += x->key[t] > cut;
  for (uint32_t i = 0; i < s->count; i++) {
    float key = x->key[chosen[i]];
    if (key > cut || (key == cut && ties++ < s->count - above)) found++;
  }
  for (uint32_t h = 0; h < heads; h++) {
    const float *p = x->p + (size_t)h * s->l;
    double newest = 0, mass = 0, best = 0;
    for (uint32_t t = s->candidates; t < s->l; t++) newest += p[t];
    for (uint32_t i = 0; i < s->count; i++) mass += p[chosen[i]];
    for (uint32_t t = 0, left = s->count - above; t < s->candidates; t++)
      if (x->key[t] > cut || (x->key[t] == cut && left && left--)) best += p[t];
    sum[0] += newest + mass;
    sum[1] += newest + best;
  }
  sum[2] += s->count ? (double)found / s->count : 1;
}

static void measure_head(void *ud, uint32_t kv_head, uint32_t worker) {
  struct job *j = ud;
  const struct quality_step *s = j->s;
  struct scratch *x = &j->scratch[worker];
  double sum[3] = { 0 };
  for (uint32_t i = 0; i < s->share; i++) {
    uint32_t list = kv_head * s->share + i;
    weights(s, s->q + (size_t)list * j->heads * s->hp->head_size, kv_head, j->heads, x->p);
    measure_list(s, s->chosen + (size_t)list * s->count, j->heads, x, sum);
  }
  double n = (double)s->share * j->heads;
  j->out[kv_head] = (struct lrqk_head_quality){ (float)(sum[0] / n), (float)(sum[1] / n), (float)(sum[2] / s->share) };
}

enum lrqk_status quality_measure(const struct quality_step *s, const struct log *log, struct lrqk_head_quality *out) {
  struct scratch scratch[PARALLEL_MAX] = { { 0 } };
  struct job job = { .s = s, .scratch = scratch, .out = out, .heads = s->hp->n_heads / s->hk / s->share };
  uint32_t workers = parallel_workers(s->hk);
  size_t words = (size_t)job.heads * s->l + 2 * (size_t)s->candidates;
  bool ok = true;
  for (uint32_t i = 0; i < workers; i++) {
    struct scratch *x = &scratch[i];
    x->p = mem_alloc(words, sizeof *x->p);
    ok = ok && x->p;
    if (!x->p) continue;
    x->key = x->p + (size_t)job.heads * s->l;
    x->sorted = x->key + s->candidates;
  }
  if (ok) parallel_for(s->hk, workers, measure_head, &job);
  for (uint32_t i = 0; i < workers; i++) mem_free(scratch[i].p);
  return ok ? LRQK_OK : fail(log, LRQK_MEMORY, "cannot allocate %zu scores for each of %u threads", words, workers);
}
