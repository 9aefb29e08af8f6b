/* Host back end: the kernels of token selection, residency and proxies in plain C, the oracle that the drivers are tested
 * against.  The host device calls host_NAME(call) for shaders/NAME.k, whose head says what buffers and parameters mean.
 * What devices must agree on bit for bit (rows, proxies, lists, slots) is exact here; scores are summed in double. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "device/kernels.h"
#include "shaders/step.h"

enum { COUNT_WORDS = 32 };        /* of a share, per digit */
enum { MAX_SLOT_WORDS = 1024 };   /* words of a slot bitmap: a workgroup has at most 1024 lanes of 32 list entries */

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* ---- pairs */

static uint32_t pair_a(uint32_t neox, uint32_t rot, uint32_t i) { return neox && i < rot / 2 ? i : 2 * i; }
static uint32_t pair_b(uint32_t neox, uint32_t rot, uint32_t i) { return neox && i < rot / 2 ? i + rot / 2 : 2 * i + 1; }

void host_pair_energy(const struct host_call *c) {
  const struct pair_energy_params *p = c->params;
  const float *q = c->buf[0];
  const uint16_t *kv = c->buf[1];
  float *en = c->buf[2];
  uint32_t pairs = p->d / 2;
  for (uint32_t h = 0; h < p->hk; h++)
    for (uint32_t i = 0; i < pairs; i++) {
      uint32_t a = pair_a(c->spec[1], p->rot, i), b = pair_b(c->spec[1], p->rot, i);
      float *sum_q = en + (size_t)h * p->d + i, *sum_k = sum_q + pairs;
      for (uint32_t t = 0; t < p->rows; t++) {
        const float *heads = q + ((size_t)h * p->rows + t) * p->g * p->d;
        const uint16_t *key = kv + ((size_t)(p->row0 + t) * p->hk + h) * 2 * p->d;
        float e = 0, u = half_to_float(key[a]), v = half_to_float(key[b]);
        for (uint32_t j = 0; j < p->g; j++) e += heads[j * p->d + a] * heads[j * p->d + a] + heads[j * p->d + b] * heads[j * p->d + b];
        *sum_q += e;
        *sum_k += u * u + v * v;
      }
    }
}

void host_pair_choose(const struct host_call *c) {
  const struct pair_choose_params *p = c->params;
  uint32_t pairs = p->d / 2;
  for (uint32_t h = 0; h < c->groups[0]; h++) {
    const float *en = (const float *)c->buf[0] + (size_t)h * p->d;
    uint32_t *tab = (uint32_t *)c->buf[1] + (size_t)h * p->rank, at = 0;
    for (uint32_t i = 0; i < pairs && at < p->rank; i++) {
      float mine = en[i] * en[pairs + i];
      uint32_t better = 0;
      for (uint32_t j = 0; j < pairs; j++) {
        float other = en[j] * en[pairs + j];
        better += other > mine || (other == mine && j < i);
      }
      if (better >= p->rank / 2) continue;
      tab[at++] = pair_a(c->spec[1], p->rot, i);
      tab[at++] = pair_b(c->spec[1], p->rot, i);
    }
  }
}

/* ---- proxies */

/* The proxies of a page; scores of the mean key, or cubics of them, or NULL; a soft cap or 0. */
struct plane { bool int8; uint32_t hk, page, rank, rw; const float *mean; bool cubic; float soft_cap; };

static void *row_of(const struct plane *s, void *px, uint32_t h, uint32_t t) { return (char *)px + ((size_t)h * s->page + t) * s->rw * 16; }

static uint16_t *scale_of(const struct plane *s, void *px, uint32_t h, uint32_t t) {
  return (uint16_t *)px + (size_t)s->hk * s->page * s->rw * 8 + (size_t)h * s->page + t;
}

/* key [d] fp16, tab [rank] coordinates -> proxy row of token t (within the page) of KV head h.  An even token clears the
 * scale beside its own: a word of scales is written whole. */
static void proxy_row(const struct plane *s, void *px, uint32_t h, uint32_t t, const uint16_t *key, const uint32_t *tab) {
  if (!s->int8) {
    uint16_t *row = row_of(s, px, h, t);
    for (uint32_t i = 0; i < s->rw * 8; i++) row[i] = i < s->rank ? key[tab[i]] : 0;
    return;
  }
  float most = 0;
  for (uint32_t i = 0; i < s->rank; i++) most = fmaxf(most, fabsf(half_to_float(key[tab[i]])));
  uint16_t scale = float_to_half(most / 127.0f);
  float inverse = scale ? 1.0f / half_to_float(scale) : 0.0f;
  int8_t *row = row_of(s, px, h, t);
  for (uint32_t i = 0; i < s->rw * 16; i++)
    row[i] = i < s->rank ? (int8_t)fminf(fmaxf(rintf(half_to_float(key[tab[i]]) * inverse), -127.0f), 127.0f) : 0;
  *scale_of(s, px, h, t) = scale;
  if (t % 2 == 0) *scale_of(s, px, h, t + 1) = 0;
}

void host_proxy_build(const struct host_call *c) {
  const struct proxy_build_params *p = c->params;
  struct plane s = { .int8 = c->id == KERNEL_PROXY_BUILD_I8, .hk = p->hk, .page = p->page, .rank = p->rank, .rw = p->rw };
  const uint16_t *kv = c->buf[0];
  const uint32_t *tab = c->buf[1];
  for (uint32_t h = 0; h < p->hk; h++)
    for (uint32_t t = 0; t < p->n; t++)
      proxy_row(&s, c->buf[2], h, t, kv + ((size_t)t * p->hk + h) * 2 * p->d, tab + (size_t)h * p->rank);
}

void host_token_append(const struct host_call *c) {
  const struct token_append_params *p = c->params;
  bool int8 = c->id == KERNEL_TOKEN_APPEND_I8, plain = c->id == KERNEL_TOKEN_APPEND;
  void *const *b = c->buf + !plain;   /* kv, step, act, host, sum; or q before kv, tab, step, act, host, px, qh */
  const uint32_t *step = plain ? b[1] : b[2], *tables = b[1], g = c->spec[1];
  uint16_t *act = plain ? b[2] : b[3], *host = plain ? b[3] : b[4];
  uint32_t hk = p->lists / p->share, t = step[STEP_POS] - p->page0;
  struct plane s = { .int8 = int8, .hk = hk, .page = p->page, .rank = p->rank, .rw = p->rw };
  size_t row = (size_t)2 * p->d, values = p->rw * (int8 ? 16 : 8);
  for (uint32_t list = 0; list < p->lists; list++) {
    uint32_t h = list / p->share;
    bool first = list % p->share == 0;
    const uint16_t *key = (const uint16_t *)b[0] + h * row;
    memcpy(act + ((size_t)list * p->slots + step[STEP_RING]) * row, key, row * 2);
    if (first) memcpy(host + ((size_t)t * hk + h) * row, key, row * 2);
    if (plain && first) for (uint32_t i = 0; i < p->d; i++) ((float *)b[4])[h * p->d + i] += half_to_float(key[p->d + i]);
    if (plain || !p->rank) continue;
    const uint32_t *tab = tables + (size_t)h * p->rank;
    if (first) proxy_row(&s, b[5], h, t, key, tab);
    for (uint32_t j = list * g; j < (list + 1) * g; j++) {
      const float *q = (const float *)c->buf[0] + (size_t)j * p->d;
      float *out = (float *)b[6] + j * values;
      for (uint32_t i = 0; i < values; i++) out[i] = i < p->rank ? q[tab[i]] * p->scale : 0.0f;
    }
  }
}

void host_ring_fill(const struct host_call *c) {
  const struct ring_fill_params *p = c->params;
  uint32_t hk = p->lists / p->share;
  size_t row = (size_t)p->d4 * 16;
  for (uint32_t t = p->a; t < p->b; t++)
    for (uint32_t list = 0; list < p->lists; list++)
      memcpy((char *)c->buf[1] + ((size_t)list * p->slots + t % p->w) * row,
             (const char *)c->buf[0] + ((size_t)(t - p->page0) * hk + list / p->share) * row, row);
}

/* ---- scores and keys */

/* Query proxy (a row of values) times the proxy row of token t. */
static float proxy_score(const struct plane *s, void *px, void *scales, const float *q, uint32_t h, uint32_t t) {
  double sum = 0;
  if (!s->int8) {
    const uint16_t *row = row_of(s, px, h, t);
    for (uint32_t i = 0; i < s->rw * 8; i++) sum += (double)q[i] * half_to_float(row[i]);
    return (float)sum;
  }
  const int8_t *row = row_of(s, px, h, t);
  for (uint32_t i = 0; i < s->rw * 16; i++) sum += (double)q[i] * row[i];
  return (float)(sum * half_to_float(((const uint16_t *)scales)[(size_t)h * s->page + t]));
}

/* The mean key's score at token t of the page. */
static float mean_score(const struct plane *s, uint32_t t) {
  if (!s->cubic) return s->mean ? s->mean[t] : 0;
  const float *k = s->mean + t / 64 * 4;
  float u = (float)(t % 64) - 31.5f;
  return ((k[3] * u + k[2]) * u + k[1]) * u + k[0];
}

static float full_score(const struct host_call *c, const struct plane *s, const float *q, uint32_t h, uint32_t t) {
  float score = proxy_score(s, c->buf[1], c->buf[2], q, h, t) + mean_score(s, t);
  return s->soft_cap > 0 ? s->soft_cap * tanhf(score / s->soft_cap) : score;
}

/* exp(x) in 7 exponent and 9 mantissa bits, 2^-63 .. 2^64. */
static uint16_t weight_bits(float x) {
  float e = expf(fminf(fmaxf(x, -43.66827f), 44.36142f));
  uint32_t bits;
  memcpy(&bits, &e, 4);
  return (uint16_t)((max_u32(bits + 0x2000, 0x20000000) - 0x20000000) >> 14);
}

static float weight_of(uint16_t bits) {
  uint32_t f = ((uint32_t)bits << 14) + 0x20000000;
  float e;
  memcpy(&e, &f, 4);
  return e;
}

/* What the scores of a share are relative to: in each of wg lanes, tn adjacent tokens of every wg * tn, the largest of its first
 * tn, or in all of them the largest of the first `together` tokens. */
struct lanes { uint32_t wg, tn, together; };

static float largest(const struct host_call *c, const struct plane *s, const float *q, uint32_t h, uint32_t begin, uint32_t end) {
  float most = -1e30f;
  for (uint32_t t = begin; t < end; t++) most = fmaxf(most, full_score(c, s, q, h, t));
  return most;
}

/* One share [begin, end) of a page for one query head: out = its statistics, weight = its row from the page's start. */
static void stat_share(const struct host_call *c, const struct plane *s, const struct lanes *n, const float *q, uint32_t h, uint32_t begin,
                       uint32_t end, float *out, uint16_t *weight) {
  float *r = out + 2, most = largest(c, s, q, h, begin, min_u32(begin + (n->together ? n->together : n->wg * n->tn), end));
  for (uint32_t lane = 0; lane < n->wg; lane++) {
    uint32_t t0 = begin + lane * n->tn;
    r[lane] = n->together ? most : largest(c, s, q, h, t0, min_u32(t0 + n->tn, end));
  }
  double sum = 0;
  for (uint32_t t = begin; t < end; t++) {
    float of = r[(t - begin) / n->tn % n->wg];
    weight[t] = weight_bits(full_score(c, s, q, h, t) - of);
    sum += weight_of(weight[t]) * exp((double)of - most);
  }
  if (end % 2) weight[end] = 0;
  out[0] = most;
  out[1] = (float)sum;
}

static void stat_page(const struct host_call *c, const struct score_stat_params *p, const struct plane *plane, const struct lanes *lanes,
                      bool mean) {
  uint32_t g = c->spec[1], n = min_u32(((const uint32_t *)c->buf[5])[p->n_at] - p->page0, p->page);
  struct plane s = *plane;
  for (uint32_t head = p->list0 * g; head < (p->list0 + c->groups[1]) * g; head++)
    for (uint32_t x = 0; x < c->groups[0]; x++) {
      const float *q = (const float *)c->buf[0] + (size_t)head * s.rw * (s.int8 ? 16 : 8);
      float *out = (float *)c->buf[3] + ((size_t)head * p->parts + p->page0 / p->per + x) * (2 + lanes->wg);
      uint32_t at = p->page0 - p->t0;
      uint16_t *weight = (uint16_t *)c->buf[4] + (size_t)head * p->cap + at;
      const float *added = mean || s.cubic ? c->buf[6] : NULL;   /* [heads][cap], or [heads][cap/64][4] */
      s.mean = mean ? added + (size_t)head * p->cap + at : s.cubic ? added + ((size_t)head * p->cap + at) / 16 : NULL;
      stat_share(c, &s, lanes, q, (head / g - p->list0) / p->share, x * p->per, min_u32((x + 1) * p->per, n), out, weight);
    }
}

void host_score_stat(const struct host_call *c) {
  const struct score_stat_params *p = c->params;
  bool int8 = c->id == KERNEL_SCORE_STAT_I8 || c->id == KERNEL_SCORE_STAT_I8_MEAN || c->id == KERNEL_SCORE_STAT_I8_SLOW;
  bool mean = c->id == KERNEL_SCORE_STAT_I8_MEAN || c->id == KERNEL_SCORE_STAT_F16_MEAN;
  bool slow = c->id == KERNEL_SCORE_STAT_I8_SLOW || c->id == KERNEL_SCORE_STAT_F16_SLOW;
  struct plane s = { .int8 = int8, .page = p->page, .rw = c->spec[2], .cubic = slow, .soft_cap = c->spec[4] ? p->soft_cap : 0 };
  struct lanes lanes = { c->spec[0], c->spec[3], 0 };
  stat_page(c, p, &s, &lanes, mean);
}

/* Its parameters are those of score_stat, and its results but for the references. */
void host_score_stat_tile(const struct host_call *c) {
  _Static_assert(sizeof(struct score_stat_tile_params) == sizeof(struct score_stat_params), "the forms have the same parameters");
  const struct score_stat_params *p = c->params;
  bool int8 = c->id == KERNEL_SCORE_TILE_I8 || c->id == KERNEL_SCORE_TILE_I8_MEAN || c->id == KERNEL_SCORE_TILE_I8_SLOW;
  bool mean = c->id == KERNEL_SCORE_TILE_I8_MEAN || c->id == KERNEL_SCORE_TILE_F16_MEAN;
  bool slow = c->id == KERNEL_SCORE_TILE_I8_SLOW || c->id == KERNEL_SCORE_TILE_F16_SLOW;
  struct plane s = { .int8 = int8, .page = p->page, .rw = c->spec[2], .cubic = slow, .soft_cap = c->spec[4] ? p->soft_cap : 0 };
  struct lanes lanes = { c->spec[5], 4, c->spec[0] * 4 };
  stat_page(c, p, &s, &lanes, mean);
}

/* Log of the sum of exp(score) over all candidates, from the statistics of the shares: [parts][2 + wg]. */
static float log_sum(const float *ml, uint32_t parts, uint32_t wg) {
  float most = -1e30f;
  double sum = 0;
  for (uint32_t j = 0; j < parts; j++) most = fmaxf(most, ml[(size_t)j * (2 + wg)]);
  for (uint32_t j = 0; j < parts; j++) sum += ml[(size_t)j * (2 + wg) + 1] * exp((double)ml[(size_t)j * (2 + wg)] - most);
  return (float)(most + log(sum));
}

static uint32_t key16(float score, uint32_t t, uint32_t n, uint32_t sinks) {
  uint32_t bits;
  memcpy(&bits, &score, 4);
  return t >= n ? 0 : t < sinks ? 0xffff : min_u32(max_u32(bits >> 12, 0x30000) - 0x30000, 0xfffe);
}

/* Candidates from token t0 on. */
static uint32_t behind(const uint32_t *step, uint32_t t0) { return max_u32(step[STEP_CAND], t0) - t0; }

void host_sel_keys(const struct host_call *c) {
  const struct sel_keys_params *p = c->params;
  uint32_t wg = c->spec[0], g = c->spec[1], tn = c->spec[2], n = behind(c->buf[4], p->t0), parts = c->groups[0], part0 = p->t0 / p->per;
  bool most = c->spec[3] != 0;
  for (uint32_t list = 0; list < c->groups[1]; list++) {
    uint16_t *key = (uint16_t *)c->buf[1] + (size_t)list * p->cap;
    uint32_t *cnt = (uint32_t *)c->buf[2] + ((size_t)list * p->parts + part0) * COUNT_WORDS;
    float lse[64];
    const float *ml = (const float *)c->buf[0] + (size_t)list * g * p->parts * (2 + wg);
    for (uint32_t i = 0; i < g; i++) lse[i] = log_sum(ml + (size_t)i * p->parts * (2 + wg), p->parts, wg);
    for (uint32_t j = 0; c->spec[4] && j < parts; j++) memset(cnt + j * COUNT_WORDS, 0, 15 * 4);
    for (uint32_t t = 0; t < min_u32(min_u32(p->per * parts, p->cap), (n + 7) / 8 * 8); t++) {
      float x = 0;
      for (uint32_t i = 0; i < g && t < n; i++) {
        float r = ml[((size_t)i * p->parts + part0 + t / p->per) * (2 + wg) + 2 + t % p->per / tn % wg];
        float e = weight_of(((const uint16_t *)c->buf[3])[(size_t)(list * g + i) * p->cap + t]) * expf(r - lse[i]);
        x = most ? fmaxf(x, e) : x + e;
      }
      key[t] = (uint16_t)key16(most ? x : x * (1.0f / (float)g), t, n, p->sinks);
      for (uint32_t i = 0; c->spec[4] && i < 15; i++) cnt[t / p->per * COUNT_WORDS + i] += key[t] >= (i + 1) << 12;
    }
  }
}

/* ---- the k largest keys */

void host_sel_count(const struct host_call *c) {
  const struct sel_count_params *p = c->params;
  uint32_t nt = c->spec[1], want = min_u32(p->k, behind(c->buf[5], 0)), end = min_u32((behind(c->buf[5], p->t0) + 7) / 8 * 8, p->cap);
  for (uint32_t list = 0; list < c->groups[1]; list++) {
    const uint16_t *key = (const uint16_t *)c->buf[0] + (size_t)list * p->cap;
    const uint32_t *pcnt = (const uint32_t *)c->buf[1] + (size_t)list * p->parts * COUNT_WORDS;
    uint32_t digit = 0;
    for (uint32_t i = 0; i < 15; i++) {
      uint32_t sum = 0;
      for (uint32_t j = 0; j < p->parts; j++) sum += pcnt[j * COUNT_WORDS + i];
      if (sum >= want) digit = i + 1;
    }
    uint32_t prefix = ((const uint32_t *)c->buf[2])[list] + (digit << (p->shift + 4));
    for (uint32_t x = 0; x < c->groups[0]; x++)
      for (uint32_t i = 0; i < nt; i++) {
        uint32_t threshold = prefix + ((nt == 17 ? i : i + 1) << p->shift), sum = 0;
        for (uint32_t t = x * p->per; t < min_u32((x + 1) * p->per, end); t++) sum += key[t] >= threshold;
        ((uint32_t *)c->buf[3])[((size_t)list * p->parts + p->t0 / p->per + x) * COUNT_WORDS + i] = sum;
      }
    if (!p->t0) ((uint32_t *)c->buf[4])[list] = prefix;
  }
}

/* Entries of a list from the n keys of tokens t0 on: those above the cut, and of those at it the first `ties`. */
static void emit(const uint16_t *key, uint32_t n, uint32_t cut, uint32_t ties, uint32_t t0, uint32_t *list) {
  for (uint32_t t = 0; t < n; t++) {
    if (key[t] < cut || (key[t] == cut && !ties)) continue;
    ties -= key[t] == cut;
    *list++ = t0 + t;
  }
}

/* Of counts by share [parts][32] the sum of word i. */
static uint32_t counted(const uint32_t *cnt, uint32_t parts, uint32_t i) {
  uint32_t sum = 0;
  for (uint32_t j = 0; j < parts; j++) sum += cnt[(size_t)j * COUNT_WORDS + i];
  return sum;
}

void host_sel_emit(const struct host_call *c) {
  const struct sel_emit_params *p = c->params;
  uint32_t want = min_u32(p->k, behind(c->buf[4], 0)), n = min_u32(behind(c->buf[4], p->t0), p->cap), before = p->t0 / p->per;
  for (uint32_t i = 0; i < c->groups[1]; i++) {
    const uint32_t *cnt = (const uint32_t *)c->buf[1] + (size_t)i * p->parts * COUNT_WORDS;
    uint32_t digit = 15;
    while (digit && counted(cnt, p->parts, digit) < want) digit--;
    uint32_t need = want - counted(cnt, p->parts, digit + 1), above = counted(cnt, before, digit + 1), at = counted(cnt, before, digit) - above;
    emit((const uint16_t *)c->buf[0] + (size_t)i * p->cap, n, ((const uint32_t *)c->buf[2])[i] + digit, need - min_u32(at, need), p->t0,
         (uint32_t *)c->buf[3] + (size_t)i * p->kstr + above + min_u32(at, need));
  }
}

/* The min(k, n) largest of n keys, ties to the lowest token, in ascending order of tokens. */
static void choose(const uint16_t *key, uint32_t n, uint32_t k, uint32_t *list) {
  uint32_t want = min_u32(k, n), cut = 0, above = 0;
  for (uint32_t bit = 0x8000; bit; bit >>= 1) {   /* the largest cut with at least `want` keys >= cut */
    uint32_t sum = 0;
    for (uint32_t t = 0; t < n; t++) sum += key[t] >= (cut | bit);
    if (sum >= want) cut |= bit;
  }
  for (uint32_t t = 0; t < n; t++) above += key[t] > cut;
  emit(key, n, cut, want - above, 0, list);
}

void host_sel_one(const struct host_call *c) {
  const struct sel_one_params *p = c->params;
  for (uint32_t i = 0; i < c->groups[0]; i++)
    choose((const uint16_t *)c->buf[0] + (size_t)i * p->cap, ((const uint32_t *)c->buf[2])[STEP_CAND], p->k,
           (uint32_t *)c->buf[1] + (size_t)i * p->kstr);
}

void host_sel_all(const struct host_call *c) {
  const struct sel_all_params *p = c->params;
  for (uint32_t list = 0; list < c->groups[1]; list++)
    for (uint32_t i = 0; i < ((const uint32_t *)c->buf[1])[STEP_CNT]; i++) ((uint32_t *)c->buf[0])[(size_t)list * p->kstr + i] = i;
}

/* ---- slots and rows */

void host_residency(const struct host_call *c) {
  const struct residency_params *p = c->params;
  uint32_t count = ((const uint32_t *)c->buf[7])[STEP_CNT], old = ((const uint32_t *)c->buf[7])[STEP_OLD];
  for (uint32_t h = 0; h < c->groups[0]; h++) {
    size_t at = (size_t)h * p->kstr;
    const uint32_t *list = (const uint32_t *)c->buf[0] + at;
    const uint32_t *olist = (const uint32_t *)c->buf[1] + at, *oslot = (const uint32_t *)c->buf[2] + at;
    uint32_t *slot = (uint32_t *)c->buf[3] + at, *miss = (uint32_t *)c->buf[4] + at * 2, *stat = (uint32_t *)c->buf[6] + h * 2;
    uint32_t used[MAX_SLOT_WORDS] = { 0 }, misses = 0;
    for (uint32_t i = 0, j = 0; i < count; i++) {
      while (j < old && olist[j] < list[i]) j++;
      if (j < old && olist[j] == list[i]) {
        slot[i] = oslot[j];
        used[oslot[j] / 32] |= 1u << oslot[j] % 32;
      } else {
        slot[i] = UINT32_MAX;
      }
    }
    for (uint32_t i = 0, next = 0; i < count; i++) {
      if (slot[i] != UINT32_MAX) continue;
      while (used[next / 32] >> next % 32 & 1) next++;
      slot[i] = next++;
      miss[misses * 2] = list[i];
      miss[misses * 2 + 1] = slot[i];
      misses++;
    }
    ((uint32_t *)c->buf[5])[h] = misses;
    stat[0] += count;
    stat[1] += misses;
  }
}

void host_residency_tile(const struct host_call *c) {
  _Static_assert(sizeof(struct residency_tile_params) == sizeof(struct residency_params), "the forms have the same parameters");
  host_residency(c);
}

void host_gather(const struct host_call *c) {
  const struct gather_params *p = c->params;
  size_t row = (size_t)c->spec[1] * 16;
  for (uint32_t list = 0; list < c->groups[1]; list++) {
    const uint32_t *miss = (const uint32_t *)c->buf[1] + (size_t)list * p->kstr * 2;
    for (uint32_t i = 0; i < ((const uint32_t *)c->buf[2])[list]; i++) {
      uint32_t t = miss[i * 2], slot = miss[i * 2 + 1];
      if (t < p->page0 || t - p->page0 >= p->page) continue;
      memcpy((char *)c->buf[3] + ((size_t)list * p->slots + p->base + slot) * row,
             (const char *)c->buf[0] + ((size_t)(t - p->page0) * p->hk + list / p->share) * row, row);
    }
  }
}

void host_value_sum(const struct host_call *c) {
  const struct value_sum_params *p = c->params;
  float *sum = c->buf[1];
  for (uint32_t t = 0; t < p->rows; t++)
    for (uint32_t h = 0; h < p->hk; h++) {
      const uint16_t *row = (const uint16_t *)c->buf[0] + ((size_t)(p->row0 + t) * p->hk + h) * 2 * p->d + p->d;
      for (uint32_t i = 0; i < p->d; i++) sum[(size_t)h * p->d + i] += half_to_float(row[i]);
    }
}

/* The share of the softmax of token t of a head; 0 if the token is of another range. */
static double stored_share(const struct tail_mix_params *p, const struct host_call *c, const float *ml, float lse, uint32_t head, uint32_t t) {
  if (t < p->t0 || t - p->t0 >= p->cap) return 0;
  float r = ml[(size_t)(t / p->per) * (2 + c->spec[3]) + 2 + t % p->per / c->spec[2] % c->spec[3]];
  return weight_of(((const uint16_t *)c->buf[1])[(size_t)head * p->cap + t - p->t0]) * exp((double)r - lse);
}

void host_tail_mix(const struct host_call *c) {
  const struct tail_mix_params *p = c->params;
  const uint32_t *step = c->buf[6];
  uint32_t g = c->spec[1], d = p->d4 * 4, shares = p->xshares;
  for (uint32_t head = 0; head < c->groups[0]; head++) {
    const uint32_t *list = (const uint32_t *)c->buf[2] + (size_t)(head / g) * p->kstr;
    const float *ml = (const float *)c->buf[0] + (size_t)head * p->parts * (2 + c->spec[3]), *x = (const float *)c->buf[3] + (size_t)head * shares * d;
    const float *xml = (const float *)c->buf[4] + (size_t)head * shares * 2, *sum = (const float *)c->buf[5] + (size_t)(head / g / p->share) * d;
    float lse = log_sum(ml, p->parts, c->spec[3]), *y = (float *)c->buf[7] + (size_t)head * d, most = -1e30f;
    double held = p->t0 ? ((const float *)c->buf[8])[head] : 0, all = 0;
    for (uint32_t j = 0; j < step[STEP_CNT]; j++) held += stored_share(p, c, ml, lse, head, list[j]);
    for (uint32_t t = step[STEP_CAND]; t < step[STEP_LEN]; t++) held += stored_share(p, c, ml, lse, head, t);
    if (c->id == KERNEL_TAIL_MIX_SPLIT) ((float *)c->buf[8])[head] = (float)held;
    if (c->id == KERNEL_TAIL_MIX_SPLIT && !p->last) continue;
    float a = held < 1 ? (float)held : 1;
    for (uint32_t j = 0; j < shares; j++) most = fmaxf(most, xml[2 * j]);
    for (uint32_t j = 0; j < shares; j++) all += xml[2 * j + 1] * exp((double)xml[2 * j] - most);
    for (uint32_t i = 0; i < d; i++) {
      double v = 0;
      for (uint32_t j = 0; j < shares; j++) v += x[(size_t)j * d + i] * exp((double)xml[2 * j] - most);
      if (shares > 1) v = all > 0 ? v / all : 0;
      y[i] = (float)v * a + sum[i] * (1.0f / (float)step[STEP_LEN]) * (1 - a);
    }
  }
}
