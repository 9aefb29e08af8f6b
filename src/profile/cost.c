/* cost.c - see cost.h.  One function per shaders/NAME.k, whose head explains the symbols; a binding that a function
 * leaves alone counts with the whole of its view, which is an upper bound. */
#include "profile/cost.h"

#include "shaders/step.h"

/* A call in the words of its kernel: p params, spec, groups, n = words of the step, b bytes of each binding. */
struct call {
  const uint32_t *spec, *groups;
  const void *params;
  const uint32_t *step;
  enum kernel_id id;
  uint64_t *b;
  uint32_t *size;
};
typedef double (*cost_fn)(const struct call *c);   /* writes b, returns flops */

#define P(name) const struct name##_params *p = c->params; uint64_t *b = c->b
#define D(x) ((double)(x))

static void size_is(const struct call *c, uint64_t rows, uint64_t columns, uint64_t depth) {
  c->size[0] = (uint32_t)rows;
  c->size[1] = (uint32_t)columns;
  c->size[2] = (uint32_t)depth;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* ---- forward pass */

/* As model/repack.c packs the type. */
static uint32_t matmul_block(enum kernel_id id) {
  switch (id) {
    case KERNEL_MATMUL_F32: return 4;
    case KERNEL_MATMUL_F16: case KERNEL_MATMUL_BF16: return 8;
    case KERNEL_MATMUL_Q2_K: case KERNEL_MATMUL_Q3_K: return 64;
    default: return 32;
  }
}

static double cost_matmul(const struct call *c) {
  P(matmul);
  uint64_t k = (uint64_t)p->nblk * matmul_block(c->id);
  b[0] = p->m * k * 4;
  b[2] = (uint64_t)p->m * p->n * 4 / (c->spec[3] ? 2 : 1);   /* gated: half as many columns */
  if (matmul_block(c->id) < 32) b[3] = 0;
  size_is(c, p->m, p->n, k);
  return 2.0 * p->m * p->n * D(k);
}

static double cost_matvec_tile(const struct call *c) {
  P(matvec_tile);
  b[0] = (uint64_t)c->groups[1] * p->k * 4;
  b[2] = (uint64_t)c->groups[1] * p->n * 4 / (c->spec[3] ? 2 : 1);
  return 2.0 * c->groups[1] * p->n * D(p->k);
}

static double cost_matmul_tile(const struct call *c) {
  P(matmul_tile);
  b[0] = (uint64_t)p->m * p->k * 4;
  b[2] = (uint64_t)p->m * p->n * 4 / (c->spec[4] ? 2 : 1);
  return 2.0 * p->m * p->n * D(p->k);
}

static double cost_dequant(const struct call *c) {
  P(dequant);
  b[0] = b[0] / p->n * p->rows;
  b[1] = b[1] / p->n * p->rows;
  b[2] = (uint64_t)p->rows * p->k * 4;
  return 2.0 * p->rows * D(p->k);
}

static double cost_gemm(const struct call *c) {
  P(gemm);
  uint64_t batch = p->batch;
  b[0] = batch * p->m * p->k * 4;
  b[1] = batch * p->k * p->n * 4;
  b[2] = batch * p->m * p->n * (p->add ? 8 : 4);
  return 2.0 * p->m * p->n * D(p->k) * D(batch);
}

static double norm_cost(const struct call *c, uint64_t rows, uint64_t n4, bool add) {
  c->b[1] = n4 * 16;
  c->b[0] = c->b[2] = rows * n4 * 16;
  if (add) c->b[3] = c->b[4] = c->b[0];
  size_is(c, rows, n4 * 4, 0);
  return D(rows) * D(n4) * (add ? 20 : 16);
}

static double cost_rms_norm(const struct call *c) {
  const struct rms_norm_params *p = c->params;
  return norm_cost(c, p->rows, p->n4, c->id == KERNEL_RMS_NORM_ADD);
}

static double cost_rms_norm_tile(const struct call *c) {
  const struct rms_norm_tile_params *p = c->params;
  return norm_cost(c, c->groups[0], p->n4, c->id == KERNEL_RMS_NORM_ADD_TILE);
}

static double cost_add(const struct call *c) {
  P(add);
  b[0] = b[1] = b[2] = (uint64_t)p->n4 * 16;
  size_is(c, 1, p->n4 * 4, 0);
  return 4.0 * p->n4;
}

static double cost_add_row(const struct call *c) {
  P(add_row);
  b[0] = b[2] = (uint64_t)p->n4 * 16;
  b[1] = (uint64_t)p->row4 * 16;
  size_is(c, p->n4 / p->row4, p->row4 * 4, 0);
  return 4.0 * p->n4;
}

static double cost_gate_mul(const struct call *c) {
  P(gate_mul);
  b[0] = (uint64_t)p->n4 * 32;
  b[1] = (uint64_t)p->n4 * 16;
  size_is(c, p->n4 / p->ff4, p->ff4 * 4, 0);
  return 4.0 * 6 * p->n4;
}

static double cost_soft_cap(const struct call *c) {
  P(soft_cap);
  b[0] = b[1] = (uint64_t)p->n * 4;
  size_is(c, 1, p->n, 0);
  return 3.0 * p->n;
}

static double head_norm_cost(const struct call *c, uint64_t rows, uint64_t nq, uint64_t hk, uint64_t d4) {
  c->b[0] = c->b[2] = rows * (nq + 2 * hk) * d4 * 16;
  size_is(c, rows, nq + 2 * hk, d4 * 4);
  return D(rows) * D(nq + hk) * D(d4) * 16;
}

static double cost_head_norm(const struct call *c) {
  const struct head_norm_params *p = c->params;
  return head_norm_cost(c, p->rows, p->nq, p->hk, p->d4);
}

static double cost_head_norm_tile(const struct call *c) {
  const struct head_norm_tile_params *p = c->params;
  return head_norm_cost(c, p->rows, p->nq, p->hk, p->d4);
}

static double cost_rope(const struct call *c) {
  P(rope);
  uint64_t head = (uint64_t)p->rows * p->d8 * 32;   /* bytes of one head of all tokens as float */
  b[0] = head * p->hk * (p->g + 2);
  b[1] = head;
  b[2] = head * p->hk * p->g;
  b[3] = head * p->hk;                              /* K and V as fp16 */
  b[4] = p->use_step ? 4 : 0;
  if (c->id == KERNEL_ROPE_KEEP) b[5] = b[0];
  size_is(c, p->rows, p->hk * (p->g + 2), p->d8 * 8);
  return D(p->rows) * p->hk * (p->g + 1) * p->d8 * 8 * 3;
}

/* ---- exact attention */

/* Pairs of a row and a key that it sees, of m rows (g a query) and a tile of n keys. */
static uint64_t seen_pairs(uint32_t m, uint32_t g, uint32_t n, int32_t pos0) {
  uint64_t sum = 0;
  for (uint32_t q = 0; q * g < m; q++) {
    int64_t keys = (int64_t)pos0 + q + 1;
    sum += (keys <= 0 ? 0 : min_u64((uint64_t)keys, n)) * g;
  }
  return sum;
}

/* Keys of a tile that any row sees. */
static uint64_t seen_keys(uint32_t m, uint32_t g, uint32_t n, int32_t pos0) {
  int64_t keys = (int64_t)pos0 + (m ? (m - 1) / g : 0) + 1;
  return keys <= 0 ? 0 : min_u64((uint64_t)keys, n);
}

static double cost_attn_qk(const struct call *c) {
  P(attn_qk);
  uint64_t hk = c->groups[2], d = c->spec[3] * 8u, pairs = hk * seen_pairs(p->m, p->g, p->n, p->pos0);
  b[0] = hk * p->m * d * 4;
  b[1] = hk * seen_keys(p->m, p->g, p->n, p->pos0) * d * 2;
  b[2] = pairs * 4;
  size_is(c, hk * p->m, p->n, d);
  return 2 * D(d) * D(pairs);
}

static double cost_attn_softmax(const struct call *c) {
  P(attn_softmax);
  uint64_t pairs = p->rows / p->m * seen_pairs(p->m, p->g, p->n, p->pos0);
  b[0] = pairs * 4;
  b[1] = (uint64_t)p->rows * ceil_div(p->n, 4) * 16;
  b[2] = (uint64_t)p->rows * 8;
  size_is(c, p->rows, p->n, 0);
  return 4 * D(pairs);
}

static double cost_attn_pv(const struct call *c) {
  P(attn_pv);
  uint64_t hk = p->hk, d = c->spec[2] * 8u, pairs = hk * seen_pairs(p->m, p->g, p->n, p->pos0);
  b[0] = pairs * 4;
  b[1] = hk * seen_keys(p->m, p->g, p->n, p->pos0) * d * 2;
  b[2] = hk * p->m * d * 4;
  size_is(c, hk * p->m, p->n, d);
  return 2 * D(d) * D(pairs);
}

static double cost_attn_merge(const struct call *c) {
  P(attn_merge);
  uint64_t rows = (uint64_t)p->m * p->hk * p->g;
  b[0] = rows * p->shares * p->d4 * 16;
  b[1] = rows * p->shares * 8;
  b[2] = rows * p->d4 * 16;
  size_is(c, rows, p->shares, p->d4 * 4);
  return D(rows) * p->shares * p->d4 * 8;
}

static uint64_t step_word(const struct call *c, uint32_t at) { return c->step && at < STEP_WORDS ? c->step[at] : 0; }

/* Of n in the step, those from n0 on, at most `most`. */
static uint64_t rows_here(const struct call *c, uint32_t n_at, uint32_t n0, uint64_t most) {
  uint64_t n = step_word(c, n_at);
  return n > n0 ? min_u64(n - n0, most) : 0;
}

static double cost_attn_dqk(const struct call *c) {
  P(attn_dqk);
  uint64_t lists = c->groups[1], heads = lists * c->spec[1], d = c->spec[3] * 8u, n = rows_here(c, p->n_at, p->n0, p->nmax);
  if (c->spec[5]) n = min_u64(n, p->window);
  b[0] = heads * d * 4;
  b[1] = ceil_div(lists, p->share) * n * d * 2;
  b[2] = heads * n * 4;
  b[3] = 4;
  size_is(c, heads, n, d);
  return 2 * D(d) * D(heads) * D(n);
}

static double cost_attn_dpv(const struct call *c) {
  P(attn_dpv);
  uint64_t heads = (uint64_t)p->lists * c->spec[1], d = c->spec[2] * 8u, n = rows_here(c, p->n_at, p->n0, p->nmax);
  b[0] = heads * n * 4;
  b[1] = ceil_div(p->lists, p->share) * n * d * 2;
  b[2] = heads * c->groups[1] * d * 4;
  b[3] = heads * c->groups[1] * 8;
  b[4] = 4;
  size_is(c, heads, n, d);
  return 2 * D(d) * D(heads) * D(n) + 4 * D(heads) * D(n);
}

static double cost_attn_prefill_tile(const struct call *c) {
  P(attn_prefill_tile);
  uint64_t hk = c->groups[1], d = c->spec[1] * 8u, pairs = hk * seen_pairs(p->m, p->g, p->n, p->pos0);
  b[0] = b[2] = hk * p->m * d * 4;
  b[1] = hk * seen_keys(p->m, p->g, p->n, p->pos0) * d * 4;
  b[3] = hk * p->m * 8;
  return 4 * D(d) * D(pairs) + 4 * D(pairs);
}

static double cost_attn_decode_tile(const struct call *c) {
  P(attn_decode_tile);
  uint64_t lists = c->groups[1], heads = lists * c->spec[1], d = c->spec[2] * 8u, n = rows_here(c, p->n_at, p->n0, p->nmax);
  if (p->window) n = min_u64(n, p->window);
  b[0] = heads * d * 4;
  b[1] = ceil_div(lists, p->share) * n * d * 4;
  b[2] = heads * c->groups[0] * d * 4;
  b[3] = heads * c->groups[0] * 8;
  b[4] = 4;
  size_is(c, heads, n, d);
  return 4 * D(d) * D(heads) * D(n) + 4 * D(heads) * D(n);
}

/* ---- proxies */

static double cost_pair_energy(const struct call *c) {
  P(pair_energy);
  b[0] = (uint64_t)p->rows * p->hk * p->g * p->d * 4;
  b[1] = (uint64_t)p->rows * p->hk * p->d * 2;
  b[2] = (uint64_t)p->hk * p->d * 8;
  size_is(c, p->rows, p->hk, p->d);
  return 2.0 * p->rows * p->hk * (p->g + 1) * p->d;
}

static double cost_pair_choose(const struct call *c) {
  P(pair_choose);
  b[0] = (uint64_t)c->groups[0] * p->d * 4;
  b[1] = (uint64_t)c->groups[0] * p->rank * 4;
  size_is(c, c->groups[0], p->d, p->rank);
  return 0;
}

static bool is_int8(enum kernel_id id) {
  return id == KERNEL_PROXY_BUILD_I8 || id == KERNEL_TOKEN_APPEND_I8 || id == KERNEL_MAP_PROXY_I8 || id == KERNEL_MAP_PACK_I8 ||
         id == KERNEL_TOKEN_MAP_I8 || id == KERNEL_SCORE_STAT_I8 || id == KERNEL_SCORE_STAT_I8_MEAN || id == KERNEL_SCORE_STAT_I8_SLOW || id == KERNEL_SCORE_TILE_I8 ||
         id == KERNEL_SCORE_TILE_I8_MEAN || id == KERNEL_SCORE_TILE_I8_SLOW;
}

static uint64_t proxy_bytes(enum kernel_id id, uint64_t rows, uint32_t rw) { return rows * (rw * 16u + (is_int8(id) ? 2 : 0)); }
static uint32_t proxy_values(enum kernel_id id, uint32_t rw) { return rw * (is_int8(id) ? 16 : 8); }

static double cost_proxy_build(const struct call *c) {
  P(proxy_build);
  uint64_t rows = (uint64_t)p->n * p->hk;
  b[0] = rows * p->d * 2;
  b[1] = (uint64_t)p->hk * p->rank * 4;
  b[2] = proxy_bytes(c->id, rows, p->rw);
  size_is(c, rows, p->d, p->rank);
  return 2 * D(rows) * p->rank;
}

static double cost_token_append(const struct call *c) {
  P(token_append);
  uint64_t hk = ceil_div(p->lists, p->share), heads = (uint64_t)p->lists * c->spec[1], row = (uint64_t)p->d * 4;
  size_is(c, hk, p->d, p->rank);
  if (c->id == KERNEL_TOKEN_APPEND) {
    b[0] = b[3] = hk * row;
    b[1] = 8;
    b[2] = p->lists * row;
    b[4] = hk * p->d * 8;   /* read and written */
    return D(hk) * p->d;
  }
  b[0] = p->rank ? heads * p->d * 4 : 0;
  b[1] = hk * row;
  b[2] = hk * p->rank * 4;
  b[3] = 8;
  b[4] = p->lists * row;
  b[5] = hk * row;
  b[6] = p->rank ? proxy_bytes(c->id, hk, p->rw) : 0;
  b[7] = p->rank ? heads * proxy_values(c->id, p->rw) * 4 : 0;
  return D(hk + heads) * p->rank;
}

static double cost_ring_fill(const struct call *c) {
  P(ring_fill);
  uint64_t rows = (uint64_t)(p->b - p->a) * p->lists;
  b[0] = rows / p->share * p->d4 * 16;
  b[1] = rows * p->d4 * 16;
  size_is(c, rows, p->d4 * 4, 0);
  return 0;
}

/* Floats of the 8 x 8 blocks of one symmetric matrix. */
static uint64_t sum_floats(uint32_t d8) { return (uint64_t)d8 * (d8 + 1) / 2 * 64; }

static double cost_gram_sum(const struct call *c) {
  P(gram_sum);
  b[0] = (uint64_t)p->rows * p->hk * (p->g + 2) * p->d8 * 32;
  b[1] = 2 * (2 * p->hk * sum_floats(p->d8) * 4 + (uint64_t)p->hk * p->d8 * 32);
  size_is(c, p->rows, p->hk, p->d8 * 8);
  return 2.0 * p->rows * p->hk * (p->g + 1) * D(sum_floats(p->d8));
}

static double cost_gram_fold(const struct call *c) {
  P(gram_fold);
  uint64_t sums = 2 * p->hk * sum_floats(p->d8) * 4, keys = (uint64_t)p->hk * p->d8 * 32;
  b[0] = p->rows * keys;
  b[1] = sums;
  b[2] = 2 * (sums + keys);
  size_is(c, p->rows, p->hk, p->d8 * 8);
  return D(sums + p->rows * keys) / 4;
}

static double cost_query_sum(const struct call *c) {
  P(query_sum);
  b[0] = (uint64_t)p->rows * p->hk * p->g * p->d8 * 32;
  b[1] = 2 * (uint64_t)p->hk * p->g * (sum_floats(p->d8) * 4 + p->d8 * 64);
  size_is(c, p->rows, p->hk * p->g, p->d8 * 8);
  return 2.0 * p->rows * p->hk * p->g * D(sum_floats(p->d8));
}

static double cost_map_proxy(const struct call *c) {
  P(map_proxy);
  uint64_t d = c->spec[2], r = c->spec[3], rows = (uint64_t)p->n * p->hk;
  b[0] = rows * d * 2;
  b[1] = p->hk * (r * d + d) * 4;
  b[2] = p->n * d * 4;
  b[3] = proxy_bytes(c->id, rows, p->rw);
  size_is(c, rows, d, r);
  return 2 * D(rows) * D(r) * D(d);
}

static double cost_token_map(const struct call *c) {
  P(token_map);
  uint64_t d = c->spec[2], r = c->spec[3], hk = p->hk, hq = hk * p->g, row = d * 4;
  bool maps = c->spec[4];
  b[0] = b[6] = (hq + 2 * hk) * row;
  b[1] = row;
  b[2] = 8;
  b[3] = maps ? hk * (2 * r + 1) * row : 0;
  b[4] = maps ? row : 0;
  b[5] = hq * row;
  b[7] = hk * p->share * row;
  b[8] = hk * row;
  b[9] = p->again ? 0 : hk * row * 2;   /* read and written */
  b[10] = maps ? proxy_bytes(c->id, hk, p->rw) : 0;
  b[11] = maps ? hq * proxy_values(c->id, p->rw) * 4 : 0;
  b[12] = maps ? hq * row : 0;
  b[13] = p->cubics * row;
  b[14] = hq * p->cubics * 16;
  size_is(c, hk, d, r);
  return (maps ? 2 * D(hk + hq) * D(r) * D(d) : 0) + 6 * D(hk + hq) * D(d) + D(hq) * p->cubics * D(d) * 4;
}

static double cost_map_rows(const struct call *c) {
  P(map_rows);
  uint64_t d = c->spec[2], rows = (uint64_t)p->n * p->hk;
  b[0] = rows * d * 2;
  b[1] = p->hk * d * 4;
  b[2] = p->n * d * 4;
  b[3] = rows * d * 4;
  size_is(c, rows, d, 0);
  return 8 * D(rows) * D(d);
}

static double cost_map_pack(const struct call *c) {
  P(map_pack);
  uint64_t rows = (uint64_t)p->n * p->hk;
  b[0] = rows * c->spec[1] * 4;
  b[1] = proxy_bytes(c->id, rows, p->rw);
  size_is(c, rows, c->spec[1], 0);
  return 2 * D(rows) * c->spec[1];
}

static double cost_value_sum(const struct call *c) {
  P(value_sum);
  b[0] = (uint64_t)p->rows * p->hk * p->d * 2;
  b[1] = (uint64_t)p->hk * p->d * 8;
  size_is(c, p->rows, p->hk, p->d);
  return D(p->rows) * p->hk * p->d;
}

/* ---- selection: n candidates of each list */

static double cost_mean_coef(const struct call *c) {
  P(mean_coef);
  uint64_t blocks = min_u64((uint64_t)c->groups[0] * c->spec[0] * c->spec[2], p->blocks), heads = (uint64_t)c->groups[1] * c->spec[1];
  b[0] = heads * p->d4 * 16;
  b[1] = blocks * p->d4 * 16;
  b[2] = heads * blocks * (p->fast2 + 1) * 16;
  size_is(c, heads, blocks, p->d4 * 4);
  return D(heads) * D(blocks) * p->d4 * 16;
}

static double cost_mean_score(const struct call *c) {
  P(mean_score);
  uint64_t blocks = min_u64((uint64_t)c->groups[0] * c->spec[0], p->blocks), heads = (uint64_t)c->groups[1] * c->spec[1];
  b[0] = heads * blocks * (p->fast2 + 1) * 16;
  b[1] = p->fast2 * 32u * 16;
  b[2] = heads * blocks * 256;
  size_is(c, heads, blocks * 64, 0);
  return D(heads) * D(blocks) * 32 * p->fast2 * 8;
}

/* lanes: of the statistics of a share. */
static double score_cost(const struct call *c, uint32_t lanes, bool each) {
  P(score_stat);
  uint64_t lists = c->groups[1], heads = lists * c->spec[1], n = rows_here(c, p->n_at, p->page0, p->page);
  uint64_t rows = ceil_div(lists, p->share) * n;
  b[0] = heads * proxy_values(c->id, c->spec[2]) * 4;
  b[1] = rows * c->spec[2] * 16;
  b[2] = is_int8(c->id) ? rows * 2 : 0;
  b[3] = heads * c->groups[0] * (2 + lanes) * 4;
  b[4] = heads * n * 2;
  b[5] = 4;
  b[6] = each ? heads * n * 4 : heads * ceil_div(n, 64) * 16;
  size_is(c, heads, n, proxy_values(c->id, c->spec[2]));
  return 2 * D(heads) * D(n) * proxy_values(c->id, c->spec[2]);
}

static double cost_score_stat(const struct call *c) {
  return score_cost(c, c->spec[0], c->id == KERNEL_SCORE_STAT_I8_MEAN || c->id == KERNEL_SCORE_STAT_F16_MEAN);
}

static double cost_score_stat_tile(const struct call *c) {
  return score_cost(c, c->spec[5], c->id == KERNEL_SCORE_TILE_I8_MEAN || c->id == KERNEL_SCORE_TILE_F16_MEAN);
}

static double cost_sel_keys(const struct call *c) {
  P(sel_keys);
  uint64_t n = rows_here(c, STEP_CAND, p->t0, p->cap), lists = c->groups[1], heads = lists * c->spec[1];
  b[0] = heads * p->parts * (2 + c->spec[0]) * 4;
  b[1] = lists * n * 2;
  b[2] = c->spec[4] ? lists * c->groups[0] * 128 : 0;
  b[3] = heads * n * 2;
  b[4] = 4;
  size_is(c, heads, n, 0);
  return 4 * D(heads) * D(n);
}

static double cost_sel_count(const struct call *c) {
  P(sel_count);
  uint64_t n = rows_here(c, STEP_CAND, p->t0, p->cap), lists = c->groups[1];
  b[0] = lists * n * 2;
  b[1] = lists * p->parts * 128;
  b[2] = b[4] = lists * 4;
  b[3] = lists * c->groups[0] * 128;
  b[5] = 4;
  size_is(c, lists, n, 0);
  return D(lists) * D(n) * c->spec[1];
}

static double cost_sel_emit(const struct call *c) {
  P(sel_emit);
  uint64_t n = rows_here(c, STEP_CAND, p->t0, p->cap), lists = c->groups[1];
  b[0] = lists * n * 2;
  b[1] = lists * p->parts * 128;
  b[2] = lists * 4;
  b[3] = lists * step_word(c, STEP_CNT) * 4;
  b[4] = 4;
  size_is(c, lists, n, 0);
  return 2 * D(lists) * D(n);
}

static double cost_sel_one(const struct call *c) {
  uint64_t n = step_word(c, STEP_CAND), lists = c->groups[0], *b = c->b;
  b[0] = lists * n * 2;
  b[1] = lists * step_word(c, STEP_CNT) * 4;
  b[2] = 4;
  size_is(c, lists, n, 0);
  return 16 * D(lists) * D(n);
}

static double cost_sel_all(const struct call *c) {
  c->b[0] = (uint64_t)c->groups[1] * step_word(c, STEP_CNT) * 4;
  c->b[1] = 4;
  size_is(c, c->groups[1], step_word(c, STEP_CNT), 0);
  return 0;
}

static double cost_residency(const struct call *c) {
  uint64_t lists = c->groups[0], cnt = step_word(c, STEP_CNT), old = step_word(c, STEP_OLD), *b = c->b;
  b[0] = b[3] = lists * cnt * 4;
  b[1] = b[2] = lists * old * 4;
  b[4] = 0;                        /* as many as are missing: part of what gather reads */
  b[5] = lists * 4;
  b[6] = lists * 16;
  b[7] = 8;
  size_is(c, lists, cnt, 0);
  return 0;
}

static double cost_residency_tile(const struct call *c) { return cost_residency(c); }

/* All chosen rows, as if none was there: profile.c puts the misses in their place. */
static double cost_gather(const struct call *c) {
  uint64_t lists = c->groups[1], rows = lists * step_word(c, STEP_CNT), *b = c->b;
  b[0] = b[3] = rows * c->spec[1] * 16;
  b[1] = rows * 8;
  b[2] = lists * 4;
  size_is(c, lists, step_word(c, STEP_CNT), c->spec[1] * 4);
  return 0;
}

static double cost_tail_mix(const struct call *c) {
  P(tail_mix);
  uint64_t heads = c->groups[0], lists = heads / c->spec[1], cnt = step_word(c, STEP_CNT);
  b[0] = heads * p->parts * (2 + c->spec[3]) * 4;
  b[1] = heads * cnt * 2;
  b[2] = lists * cnt * 4;
  b[3] = heads * p->xshares * p->d4 * 16;
  b[4] = heads * p->xshares * 8;
  b[5] = ceil_div(lists, p->share) * p->d4 * 16;
  b[6] = 8;
  b[7] = heads * p->d4 * 16;
  size_is(c, heads, cnt, p->d4 * 4);
  return D(heads) * D(cnt) * 3;
}

/* ---- the table */

static double cost_probe(const struct call *c) {
  (void)c;
  return 0;   /* ceilings.c knows what its own kernels do */
}
#define cost_probe_flops cost_probe
#define cost_probe_read cost_probe

static const cost_fn costs[N_KERNELS] = {
#define KERNEL(ID, file, defines) [KERNEL_##ID] = cost_##file,
#include "device/kernels.def"
#undef KERNEL
};

void cost_of(struct cost *out, const struct command *c, const uint32_t *step) {
  *out = (struct cost){ 0 };
  for (uint32_t i = 0; i < c->n_views; i++) out->bytes[i] = c->views[i].size;
  if (!c->kernel) return;
  const struct call k = { .spec = c->kernel->spec, .groups = c->groups, .params = c->params, .step = step, .id = c->kernel->id, .b = out->bytes,
                          .size = out->size };
  out->flops = costs[c->kernel->id](&k);
  const struct kernel_info *info = &kernel_info[c->kernel->id];
  for (uint32_t i = 0; i < KERNEL_MAX_BINDINGS; i++) {
    uint64_t most = i < c->n_views ? c->views[i].size * (info->binding[i].access == ACCESS_READ_WRITE ? 2 : 1) : 0;
    if (out->bytes[i] > most) out->bytes[i] = most;
  }
}
