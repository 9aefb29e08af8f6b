/* Host back end: the kernels of proxies by maps (`gram`) in plain C, the oracle that the drivers are tested against.  The host
 * device calls host_NAME(call) for shaders/NAME.k, whose head says what buffers and parameters mean. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "device/kernels.h"
#include "shaders/step.h"

void host_gram_sum(const struct host_call *c) {
  const struct gram_sum_params *p = c->params;
  uint32_t d = p->d8 * 8, blocks = p->d8 * (p->d8 + 1) / 2, nq = p->hk * p->g;
  size_t width = (size_t)(nq + 2 * p->hk) * d;
  float *sum = c->buf[1], *mean = sum + (size_t)2 * p->hk * blocks * 64;
  for (uint32_t t = 0; t < p->rows; t++)
    for (uint32_t head = 0; head < nq + p->hk; head++) {
      const float *x = (const float *)c->buf[0] + t * width + (size_t)head * d;
      bool key = head >= nq;
      uint32_t h = key ? head - nq : head / p->g;
      float *out = sum + (size_t)(key * p->hk + h) * blocks * 64;
      for (uint32_t i = 0; i < p->d8; i++)
        for (uint32_t j = 0; j <= i; j++, out += 64)
          for (uint32_t e = 0; e < 64; e++) out[e] += x[i * 8 + e / 8] * x[j * 8 + e % 8];
      for (uint32_t i = 0; key && i < d; i++) mean[(size_t)h * d + i] += x[i];
    }
}

void host_query_sum(const struct host_call *c) {
  const struct query_sum_params *p = c->params;
  uint32_t d = p->d8 * 8, blocks = p->d8 * (p->d8 + 1) / 2, nq = p->hk * p->g;
  float *size = (float *)c->buf[1] + (size_t)nq * blocks * 64, *last = size + (size_t)nq * d;
  for (uint32_t head = 0; head < nq; head++)
    for (uint32_t t = 0; t < p->rows; t++) {
      const float *x = (const float *)c->buf[0] + ((size_t)(head / p->g * p->rows + t) * p->g + head % p->g) * d;
      float *out = (float *)c->buf[1] + (size_t)head * blocks * 64;
      for (uint32_t i = 0; i < p->d8; i++)
        for (uint32_t j = 0; j <= i; j++, out += 64)
          for (uint32_t e = 0; e < 64; e++) out[e] += x[i * 8 + e / 8] * x[j * 8 + e % 8];
      for (uint32_t i = 0; i < d; i++) size[(size_t)head * d + i] += fabsf(x[i]);
      memcpy(last + (size_t)head * d, x, d * sizeof *last);
    }
}

/* ---- RoPE from the tables of turn.h */

static void turn(const float *table, uint32_t d, uint32_t t, uint32_t pair, float *c, float *s) {
  uint32_t j = t % 64, k = j < 32 ? 31 - j : j - 32;
  const float *block = table + (size_t)(33 + t / 64) * d + pair * 2, *fine = table + (size_t)pair * 64 + k;
  float sk = j < 32 ? -fine[32] : fine[32];
  *c = block[0] * fine[0] - block[1] * sk;
  *s = block[1] * fine[0] + block[0] * sk;
}

static void pair(uint32_t neox, uint32_t rot, uint32_t i, uint32_t *a, uint32_t *b) {
  bool halves = neox && i < rot / 2;
  *a = halves ? i : 2 * i;
  *b = halves ? i + rot / 2 : 2 * i + 1;
}

static double dot(const float *a, const float *b, uint32_t n) {
  double s = 0;
  for (uint32_t i = 0; i < n; i++) s += (double)a[i] * b[i];
  return s;
}

/* ---- proxies */

/* Where a page's proxies go, and what makes them. */
struct map { uint32_t hk, page, turn0, rw, rot, neox, d, r; bool int8; const float *map, *turn; uint32_t *px; };

/* x = key - R(position) mu of KV head h. */
static void without_mean(float *x, const struct map *m, uint32_t h, uint32_t position, const uint16_t *key) {
  const float *mu = m->map + (size_t)2 * m->hk * m->r * m->d + (size_t)h * m->d;
  for (uint32_t i = 0; i < m->d / 2; i++) {
    uint32_t a, b;
    float c, s;
    pair(m->neox, m->rot, i, &a, &b);
    turn(m->turn, m->d, position, i, &c, &s);
    x[a] = half_to_float(key[a]) - (mu[a] * c - mu[b] * s);
    x[b] = half_to_float(key[b]) - (mu[b] * c + mu[a] * s);
  }
}

/* kh [r] as the proxy of token t of the page.  alone: no other is written to its word of scales. */
static void pack_row(const struct map *m, uint32_t h, uint32_t t, bool alone, const float *kh) {
  float most = 0;
  for (uint32_t i = 0; i < m->r; i++) most = fmaxf(most, fabsf(kh[i]));
  size_t row = (size_t)h * m->page + t;
  if (!m->int8) {
    uint16_t *out = (uint16_t *)m->px + row * m->rw * 8;
    for (uint32_t i = 0; i < m->rw * 8; i++) out[i] = i < m->r ? float_to_half(fminf(fmaxf(kh[i], -65504.0f), 65504.0f)) : 0;
    return;
  }
  uint16_t scale = float_to_half(most / 127.0f), *scales = (uint16_t *)m->px + (size_t)m->hk * m->page * m->rw * 8;
  float inverse = half_to_float(scale) > 0 ? 1.0f / half_to_float(scale) : 0.0f;
  int8_t *out = (int8_t *)m->px + row * m->rw * 16;
  for (uint32_t i = 0; i < m->rw * 16; i++) out[i] = i < m->r ? (int8_t)fminf(fmaxf(rintf(kh[i] * inverse), -127.0f), 127.0f) : 0;
  scales[row] = scale;
  if (t % 2 == 0 && alone) scales[row + 1] = 0;   /* a word of scales is written whole */
}

/* The proxy of token t of the page, whose key is given. */
static void map_key(const struct map *m, uint32_t h, uint32_t t, bool alone, const uint16_t *key) {
  float x[512], kh[512];
  without_mean(x, m, h, m->turn0 + t, key);
  for (uint32_t i = 0; i < m->r; i++) kh[i] = (float)dot(m->map + ((size_t)h * m->r + i) * m->d, x, m->d);
  pack_row(m, h, t, alone, kh);
}

void host_map_proxy(const struct host_call *c) {
  const struct map_proxy_params *p = c->params;
  const struct map m = { .hk = p->hk, .page = p->page, .turn0 = p->page0, .rw = p->rw, .rot = p->rot, .neox = c->spec[1], .d = c->spec[2],
                         .r = c->spec[3], .int8 = c->id == KERNEL_MAP_PROXY_I8, .map = c->buf[1], .turn = c->buf[2], .px = c->buf[3] };
  for (uint32_t h = 0; h < p->hk; h++)
    for (uint32_t t = 0; t < p->n; t++)
      map_key(&m, h, t, t + 1 == p->n, (const uint16_t *)c->buf[0] + ((size_t)t * p->hk + h) * 2 * m.d);
}

/* ---- the new token of a decode step */

/* The mean key's scores near the middle of block b, from the (A, B) of a head: 1, u, u^2, u^3 for the pairs from the given one on. */
static void mean_cubic(const float *ab, const float *table, uint32_t d, uint32_t b, uint32_t from, float *out) {
  const float *cs = table + (size_t)(33 + b) * d, *theta = table + (size_t)32 * d;
  double cubic[4] = { 0 };
  for (uint32_t i = from; i < d / 2; i++) {
    double x = ab[i * 2], y = ab[i * 2 + 1], even = x * cs[i * 2] + y * cs[i * 2 + 1], odd = y * cs[i * 2] - x * cs[i * 2 + 1];
    double th = theta[i * 2];
    cubic[0] += even;
    cubic[1] += odd * th;
    cubic[2] -= even * th * th / 2;
    cubic[3] -= odd * th * th * th / 6;
  }
  for (int i = 0; i < 4; i++) out[i] = (float)cubic[i];
}

/* P'q and (A, B) of a query head. */
static void map_query(const struct map *m, uint32_t head, uint32_t g, float scale, const float *q, float *qh, float *ab) {
  const float *mu = m->map + (size_t)2 * m->hk * m->r * m->d + (size_t)(head / g) * m->d;
  uint32_t values = m->rw * (m->int8 ? 16 : 8);
  for (uint32_t i = 0, k, l; i < m->d / 2; i++) {
    pair(m->neox, m->rot, i, &k, &l);
    ab[(size_t)head * m->d + i * 2] = (float)(scale * ((double)q[k] * mu[k] + (double)q[l] * mu[l]));
    ab[(size_t)head * m->d + i * 2 + 1] = (float)(scale * ((double)q[l] * mu[k] - (double)q[k] * mu[l]));
  }
  for (uint32_t i = 0; i < values; i++) {
    const float *row = m->map + ((size_t)(m->hk + head / g) * m->r + i) * m->d;
    qh[(size_t)head * values + i] = i < m->r ? (float)dot(row, q, m->d) * scale : 0;
  }
}

static void rotate_head(const struct map *m, float *y, const float *x, const float *cs) {
  for (uint32_t i = 0, a, b; i < m->d / 2; i++) {
    pair(m->neox, m->rot, i, &a, &b);
    float cosine = cs[2 * i], sine = cs[2 * i + 1];
    y[a] = x[a] * cosine - x[b] * sine;
    y[b] = x[b] * cosine + x[a] * sine;
  }
}

void host_token_map(const struct host_call *c) {
  const struct token_map_params *p = c->params;
  const uint32_t *step = c->buf[2];
  const struct map m = { .hk = p->hk, .page = p->page, .turn0 = p->page0 - p->turn0, .rw = p->rw, .rot = p->rot, .neox = c->spec[1], .d = c->spec[2],
                         .r = c->spec[3], .int8 = c->id == KERNEL_TOKEN_MAP_I8, .map = c->buf[3], .turn = c->buf[4], .px = c->buf[10] };
  uint32_t d = m.d, nq = p->hk * p->g, heads = nq + 2 * p->hk, t = step[STEP_POS] - p->page0;
  bool maps = c->spec[4];
  const float *qkv = c->buf[0];
  float *q = c->buf[5];
  memcpy((float *)c->buf[6] + (size_t)(p->keep0 + step[STEP_KEEP]) * heads * d, qkv, (size_t)heads * d * 4);
  for (uint32_t head = 0; head < nq; head++) {
    rotate_head(&m, q + (size_t)head * d, qkv + (size_t)head * d, c->buf[1]);
    if (!maps) continue;
    map_query(&m, head, p->g, p->scale, q + (size_t)head * d, c->buf[11], c->buf[12]);
    for (uint32_t b = 0; b < p->cubics; b++)
      mean_cubic((const float *)c->buf[12] + (size_t)head * d, m.turn, d, b, 2 * p->from, (float *)c->buf[14] + ((size_t)head * p->blocks + b) * 4);
  }
  for (uint32_t h = 0; h < p->hk; h++) {
    uint16_t *row = (uint16_t *)c->buf[8] + ((size_t)t * p->hk + h) * 2 * d;
    float key[512];
    rotate_head(&m, key, qkv + (size_t)(nq + h) * d, c->buf[1]);
    for (uint32_t i = 0; i < d; i++) row[i] = float_to_half(key[i]);
    for (uint32_t i = 0; i < d; i++) row[d + i] = float_to_half(qkv[(size_t)(nq + p->hk + h) * d + i]);
    for (uint32_t i = 0; i < p->share; i++)
      memcpy((uint16_t *)c->buf[7] + ((size_t)(h * p->share + i) * p->slots + step[STEP_RING]) * 2 * d, row, (size_t)d * 4);
    for (uint32_t i = 0; !p->again && i < d; i++) ((float *)c->buf[9])[(size_t)h * d + i] += half_to_float(row[d + i]);
    if (maps) map_key(&m, h, t, true, row);
  }
}

/* ---- the same by dense products */

void host_gram_fold(const struct host_call *c) {
  const struct gram_fold_params *p = c->params;
  uint32_t d = p->d8 * 8;
  const float *square = c->buf[1], *keys = (const float *)c->buf[0] + (size_t)p->hk * p->g * d;
  float *sum = c->buf[2];
  for (uint32_t h = 0; h < 2 * p->hk; h++, square += (size_t)d * d)
    for (uint32_t i = 0; i < p->d8; i++)
      for (uint32_t j = 0; j <= i; j++)
        for (uint32_t e = 0; e < 64; e++) *sum++ += square[(size_t)(i * 8 + e / 8) * d + j * 8 + e % 8];
  for (uint32_t i = 0; i < p->hk * d; i++) {
    double k = 0;
    for (size_t t = 0; t < p->rows; t++) k += keys[t * p->hk * (p->g + 2) * d + i];
    sum[i] += (float)k;
  }
}

void host_map_rows(const struct host_call *c) {
  const struct map_rows_params *p = c->params;
  const struct map m = { .hk = p->hk, .rot = p->rot, .neox = c->spec[1], .d = c->spec[2], .r = c->spec[3], .map = c->buf[1], .turn = c->buf[2] };
  for (uint32_t h = 0; h < p->hk; h++)
    for (uint32_t t = 0; t < p->n; t++)
      without_mean((float *)c->buf[3] + ((size_t)h * p->n + t) * m.d, &m, h, p->pos0 + t,
                   (const uint16_t *)c->buf[0] + ((size_t)(p->t0 + t) * p->hk + h) * 2 * m.d);
}

void host_map_pack(const struct host_call *c) {
  const struct map_pack_params *p = c->params;
  uint32_t r = c->spec[1];
  const struct map m = { .hk = p->hk, .page = p->page, .rw = p->rw, .r = r, .int8 = c->id == KERNEL_MAP_PACK_I8, .px = c->buf[1] };
  for (uint32_t h = 0; h < p->hk; h++)
    for (uint32_t t = 0; t < p->n; t++) pack_row(&m, h, p->t0 + t, t + 1 == p->n, (const float *)c->buf[0] + ((size_t)h * p->n + t) * r);
}

/* ---- scores of the mean key */

void host_mean_coef(const struct host_call *c) {
  const struct mean_coef_params *p = c->params;
  uint32_t d = p->d4 * 4, str = 4 * p->fast2 + 4;
  const float *table = c->buf[1];
  for (uint32_t head = 0; head < c->groups[1] * c->spec[1]; head++)
    for (uint32_t b = 0; b < min_u32(p->blocks, c->groups[0] * c->spec[0] * c->spec[2]); b++) {
      const float *ab = (const float *)c->buf[0] + (size_t)head * d, *cs = table + (size_t)(33 + b) * d;
      float *out = (float *)c->buf[2] + ((size_t)head * p->blocks + b) * str;
      for (uint32_t i = 0; i < 2 * p->fast2; i++) {
        double x = ab[i * 2], y = ab[i * 2 + 1];
        out[i * 2] = (float)(x * cs[i * 2] + y * cs[i * 2 + 1]);
        out[i * 2 + 1] = (float)(y * cs[i * 2] - x * cs[i * 2 + 1]);
      }
      mean_cubic(ab, table, d, b, 2 * p->from, out + 4 * p->fast2);
    }
}

void host_mean_score(const struct host_call *c) {
  const struct mean_score_params *p = c->params;
  const float *fine = c->buf[1];
  uint32_t str = 4 * p->fast2 + 4;
  for (uint32_t head = 0; head < c->groups[1] * c->spec[1]; head++)
    for (uint32_t b = 0; b < min_u32(p->blocks, c->groups[0] * c->spec[0]); b++) {
      const float *coef = (const float *)c->buf[0] + ((size_t)head * p->blocks + b) * str, *cubic = coef + 4 * p->fast2;
      float *out = (float *)c->buf[2] + ((size_t)head * p->blocks + b) * 64;
      for (uint32_t k = 0; k < c->groups[2] * 4; k++) {
        double u = k + 0.5, even = cubic[0] + cubic[2] * u * u, odd = (cubic[1] + cubic[3] * u * u) * u;
        for (uint32_t i = 0; i < 2 * p->fast2; i++) {
          even += (double)coef[i * 2] * fine[i * 64 + k];
          odd += (double)coef[i * 2 + 1] * fine[i * 64 + 32 + k];
        }
        out[32 + k] = (float)(even + odd);
        out[31 - k] = (float)(even - odd);
      }
    }
}
