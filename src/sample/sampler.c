/* sampler.c - chooses a token from logits (lrqk_sampler_* of lrqk.h): repeat penalty, top-k, top-p, min-p, temperature.
 * Only IEEE additions, multiplications and divisions in a fixed order (the build turns contraction off for this file): no
 * function of the C library's mathematics, whose last bit differs between machines. */
#include <float.h>
#include <lrqk/lrqk.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_LAST = 1 << 24, BLOCK = 256 };   /* BLOCK: candidates that are sorted at a time while top-p looks for its share */

struct candidate { float logit; uint32_t id; double weight; };   /* weight: relative to the best candidate's */

struct lrqk_sampler {
  struct lrqk_sampler_options o;
  uint32_t n_vocab;
  uint64_t rng[4];
  struct candidate *c;           /* [n_vocab] */
  int32_t *last;                 /* [repeat_last], a ring; NULL without a penalty */
  uint32_t *seen;                /* [n_vocab], how often a token is in the ring */
  uint32_t n_last, at;
};

struct lrqk_sampler_options lrqk_sampler_defaults(void) {
  return (struct lrqk_sampler_options){ .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f,
                                        .repeat_last = 64 };
}

/* ---- random numbers: xoshiro256** 1.0, seeded by splitmix64 ---- */

static uint64_t splitmix64(uint64_t *x) {
  uint64_t z = *x += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

static double uniform(uint64_t s[4]) {   /* [0, 1) */
  uint64_t r = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return (double)(r >> 11) * 0x1p-53;
}

/* ---- exp ---- */

/* e^x for x <= 0 to a few units in the last place: x = k ln 2 + r with |r| <= ln 2 / 2, then the series of e^r. */
static double exp_neg(double x) {
  if (!(x > -700)) return 0;                     /* keeps 2^k a normal number */
  int k = (int)(x * 1.4426950408889634 - 0.5);   /* rounds to nearest: x <= 0 */
  double r = x - k * 0x1.62e42fefap-1;           /* the leading bits of ln 2: the product is exact */
  r -= k * 0x1.cf79abc9e3b39p-40;
  double sum = 1;
  for (int i = 13; i; i--) sum = 1 + sum * r / i;
  uint64_t bits = (uint64_t)(k + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof scale);
  return sum * scale;
}

/* ---- open, close, accept ---- */

static bool valid(const struct lrqk_sampler_options *o) {   /* written so that NaN fails */
  return o->temperature >= 0 && o->temperature <= FLT_MAX && o->top_k >= 0 && o->top_p >= 0 && o->top_p <= 1 &&
         o->min_p >= 0 && o->min_p <= 1 && o->repeat_penalty > 0 && o->repeat_penalty <= FLT_MAX && o->repeat_last <= MAX_LAST;
}

enum lrqk_status lrqk_sampler_open(lrqk_sampler **out, const struct lrqk_sampler_options *opt, uint32_t n_vocab) {
  struct lrqk_sampler_options o = opt ? *opt : lrqk_sampler_defaults();
  if (!valid(&o) || !n_vocab || n_vocab > INT32_MAX) return LRQK_USAGE;
  lrqk_sampler *s = mem_alloc(1, sizeof *s);
  if (!s) return LRQK_MEMORY;
  s->o = o;
  s->n_vocab = n_vocab;
  uint64_t x = o.seed;
  for (int i = 0; i < 4; i++) s->rng[i] = splitmix64(&x);
  s->c = mem_alloc(n_vocab, sizeof *s->c);
  bool penalty = o.repeat_penalty != 1 && o.repeat_last;
  if (penalty) s->last = mem_alloc(o.repeat_last, sizeof *s->last);
  if (penalty) s->seen = mem_alloc(n_vocab, sizeof *s->seen);
  if (!s->c || (penalty && (!s->last || !s->seen))) {
    lrqk_sampler_close(s);
    return LRQK_MEMORY;
  }
  *out = s;
  return LRQK_OK;
}

void lrqk_sampler_close(lrqk_sampler *s) {
  if (!s) return;
  mem_free(s->c);
  mem_free(s->last);
  mem_free(s->seen);
  mem_free(s);
}

void lrqk_sampler_accept(lrqk_sampler *s, int32_t id) {
  if (!s->last || id < 0 || (uint32_t)id >= s->n_vocab) return;
  if (s->n_last == s->o.repeat_last) s->seen[s->last[s->at]]--;
  else s->n_last++;
  s->last[s->at] = id;
  s->seen[id]++;
  s->at = (s->at + 1) % s->o.repeat_last;
}

/* ---- candidates, ordered by logit descending, then id ascending: a total order, so every result below is unique ---- */

static bool before(const struct candidate *a, const struct candidate *b) {
  return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(struct candidate *a, struct candidate *b) {
  struct candidate t = *a;
  *a = *b;
  *b = t;
}

static void sift_down(struct candidate *c, size_t n, size_t i) {   /* heap whose root is the last in order */
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(&c[child], &c[child + 1])) child++;
    if (!before(&c[i], &c[child])) return;
    swap(&c[i], &c[child]);
  }
}

/* Brings the first k in order to the front of c[0..n), sorted: a heap of the best k so far, then heapsort. */
static void select_first(struct candidate *c, size_t n, size_t k) {
  if (k > n) k = n;
  if (!k) return;
  for (size_t i = k / 2; i--;) sift_down(c, k, i);
  for (size_t i = k; i < n; i++) {
    if (before(&c[i], &c[0])) {
      swap(&c[i], &c[0]);
      sift_down(c, k, 0);
    }
  }
  for (size_t i = k; i-- > 1;) {
    swap(&c[0], &c[i]);
    sift_down(c, i, 0);
  }
}

/* ---- choose ---- */

static float penalised(const lrqk_sampler *s, const float *logits, uint32_t id) {
  float x = logits[id];
  if (x != x) return -FLT_MAX;                                     /* NaN is never the better one */
  if (s->seen && s->seen[id]) x = x > 0 ? x / s->o.repeat_penalty : x * s->o.repeat_penalty;
  return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;      /* infinities: differences stay numbers */
}

static int32_t greedy(const lrqk_sampler *s, const float *logits) {
  uint32_t best = 0;
  float top = penalised(s, logits, 0);
  for (uint32_t id = 1; id < s->n_vocab; id++) {
    float x = penalised(s, logits, id);
    if (x > top) { top = x; best = id; }
  }
  return (int32_t)best;
}

/* The shortest run of the n candidates in order whose share of the probability is top_p at least.  `sorted` of them are
 * in order already; more are sorted, block by block, as they are needed. */
static size_t nucleus(struct candidate *c, size_t n, size_t sorted, float top_p) {
  double total = 0, sum = 0;
  for (size_t i = 0; i < n; i++) total += c[i].weight;
  for (size_t i = 0; i < n; i++) {
    if (i == sorted) {
      size_t block = sorted < BLOCK ? BLOCK : sorted;
      select_first(c + i, n - i, block);
      sorted += block;
    }
    sum += c[i].weight;
    if (sum >= top_p * total) return i + 1;
  }
  return n;
}

int32_t lrqk_sampler_choose(lrqk_sampler *s, const float *logits) {
  if (s->o.temperature == 0) return greedy(s, logits);
  struct candidate *c = s->c;
  size_t n = s->n_vocab, sorted = 0;
  float top = -FLT_MAX;
  for (uint32_t id = 0; id < s->n_vocab; id++) {
    c[id].logit = penalised(s, logits, id);
    c[id].id = id;
    if (c[id].logit > top) top = c[id].logit;
  }
  if (s->o.top_k && (size_t)s->o.top_k < n) {
    select_first(c, n, (size_t)s->o.top_k);
    n = sorted = (size_t)s->o.top_k;
  }
  for (size_t i = 0; i < n; i++) c[i].weight = exp_neg((double)c[i].logit - top);
  if (s->o.top_p < 1) n = nucleus(c, n, sorted, s->o.top_p);
  double total = 0;
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (c[i].weight < s->o.min_p) continue;
    c[kept] = c[i];
    c[kept].weight = exp_neg(((double)c[i].logit - top) / s->o.temperature);
    total += c[kept].weight;
    if (c[kept].weight > 0) kept++;   /* rounding at the end of the walk below must not reach what is impossible */
  }
  double u = uniform(s->rng) * total;
  size_t i = 0;
  while (i + 1 < kept && (u -= c[i].weight) >= 0) i++;
  return (int32_t)c[i].id;
}
