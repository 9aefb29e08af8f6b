/* The kernels of token selection, residency and proxies, one by one: Vulkan with both kinds of loads against the host back
 * end, and the host against plain C written for the test where it can be said simply.  Bits, lists and slots are exact. */
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "shaders/step.h"

/* Arguments of HARNESS_RUN beside IN: written and compared with the host; written, compared here; read and written. */
#define BITS(to, bytes)         OUT(ARG_BITS, bytes, 0, to)
#define ANY(to, bytes)          OUT(ARG_IN, bytes, 0, to)
#define UPDATE(data, to, bytes) INOUT(ARG_BITS, data, bytes, 0, to)
#define STEP_BYTES              (STEP_WORDS * 4)

/* ---- pairs */

static const struct heads { uint32_t hk, g, d, neox, rot; } heads[] = {
  { 3, 3, 64, 0, 64 }, { 1, 8, 32, 0, 32 }, { 2, 1, 128, 1, 128 }, { 8, 4, 128, 0, 128 }, { 2, 2, 64, 1, 32 }, { 5, 7, 32, 1, 32 },
};
enum { N_HEADS = sizeof heads / sizeof *heads };

START_TEST(energies_are_sums) {
  const struct heads *s = &heads[_i];
  uint32_t rows = 29, row0 = 3;
  size_t nq = (size_t)s->hk * rows * s->g * s->d, nk = (size_t)(row0 + rows) * s->hk * 2 * s->d, ne = (size_t)s->hk * s->d;
  float *q = random_floats(nq, -2, 2), *en = random_floats(ne, 0, 5), *out = test_memory(ne * HARNESS_DEVICES, 4);
  uint16_t *kv = random_halves(nk, -2, 2);
  struct pair_energy_params p = { .rows = rows, .hk = s->hk, .g = s->g, .d = s->d, .rot = s->rot, .row0 = row0 };
  harness_case("hk %u g %u d %u neox %u rot %u", s->hk, s->g, s->d, s->neox, s->rot);
  uint32_t wg = _i % 2 ? 64 : 8;
  HARNESS_RUN(KERNEL_PAIR_ENERGY, SPEC(wg, s->neox), GROUPS(ceil_div(s->hk * s->d / 2, wg), 1, 1), &p, IN(q, nq * 4),
              IN(kv, nk * 2), INOUT(ARG_NMSE, en, ne * 4, 1e-12, out));
  /* Every coordinate belongs to one pair: the energies of all pairs are those of all coordinates. */
  for (uint32_t h = 0; h < s->hk; h++) {
    double want[2] = { 0, 0 }, got[2] = { 0, 0 };
    for (uint32_t t = 0; t < rows; t++) {
      for (uint32_t i = 0; i < s->g * s->d; i++) want[0] += pow(q[((size_t)h * rows + t) * s->g * s->d + i], 2);
      for (uint32_t i = 0; i < s->d; i++) want[1] += pow(half_to_float(kv[((size_t)(row0 + t) * s->hk + h) * 2 * s->d + i]), 2);
    }
    for (uint32_t i = 0; i < s->d; i++) got[i / (s->d / 2)] += out[h * s->d + i] - en[h * s->d + i];
    for (int i = 0; i < 2; i++) ck_assert_msg(fabs(got[i] - want[i]) < 1e-4 * want[i], "head %u: %g, expected %g", h, got[i], want[i]);
  }
}
END_TEST

static void *energy_in_chunks(size_t device, const struct heads *s, const float *q, const uint16_t *kv, uint32_t rows,
                              const uint32_t *chunks) {
  struct bench b = { .dev = harness_device(device) };
  size_t row_q = (size_t)s->g * s->d, bytes = (size_t)s->hk * s->d * 4, kv_bytes = (size_t)rows * s->hk * s->d * 4;
  const struct kernel *k = bench_kernel(&b, KERNEL_PAIR_ENERGY, SPEC(8, s->neox));
  struct view en = bench_put(&b, test_memory(bytes, 1), bytes), keys = bench_put(&b, kv, kv_bytes);
  for (uint32_t t = 0; t < rows; t += *chunks++) {
    uint32_t m = *chunks;
    float *part = test_memory(s->hk * m * row_q, 4);   /* [hk][m][g][d] of [hk][rows][g][d] */
    for (uint32_t h = 0; h < s->hk; h++) memcpy(part + h * m * row_q, q + (h * rows + t) * row_q, m * row_q * 4);
    struct pair_energy_params p = { .rows = m, .hk = s->hk, .g = s->g, .d = s->d, .rot = s->rot, .row0 = t };
    DISPATCH(b.dev, k, ceil_div(s->hk * s->d / 2, 8), 1, 1, &p, bench_put(&b, part, s->hk * m * row_q * 4), keys, en);
  }
  void *out = bench_take(&b, en);
  bench_clear(&b);
  return out;
}

START_TEST(energies_do_not_depend_on_chunks) {
  const struct heads *s = &heads[_i];
  uint32_t rows = 41;
  const float *q = random_floats((size_t)s->hk * rows * s->g * s->d, -2, 2);
  const uint16_t *kv = random_halves((size_t)rows * s->hk * 2 * s->d, -2, 2);
  for (size_t i = 0; i < harness_count(); i++) {
    void *one = energy_in_chunks(i, s, q, kv, rows, (const uint32_t[]){ 41 });
    void *three = energy_in_chunks(i, s, q, kv, rows, (const uint32_t[]){ 16, 24, 1 });
    ck_assert_msg(!memcmp(one, three, (size_t)s->hk * s->d * 4), "%s: one chunk and three differ", harness_name(i));
  }
}
END_TEST

START_TEST(pairs_are_the_largest) {
  const struct heads *s = &heads[_i];
  uint32_t pairs = s->d / 2;
  for (uint32_t rank = 4; rank <= s->d; rank += rank < 16 ? 4 : 12)
    for (int ties = 0; ties < 3; ties++) {
      float *en = random_floats((size_t)s->hk * s->d, 0, ties == 2 ? 0.0f : 4.0f);
      if (ties == 1) for (uint32_t i = 0; i < s->hk * s->d; i++) en[i] = ceilf(en[i]);
      struct pair_choose_params p = { .d = s->d, .rot = s->rot, .rank = rank };
      uint32_t *out = test_memory((size_t)s->hk * rank * HARNESS_DEVICES, 4);
      harness_case("d %u rank %u neox %u ties %d", s->d, rank, s->neox, ties);
      HARNESS_RUN(KERNEL_PAIR_CHOOSE, SPEC(64, s->neox), GROUPS(s->hk, 1, 1), &p, IN(en, (size_t)s->hk * s->d * 4),
                  BITS(out, (size_t)s->hk * rank * 4));
      for (uint32_t h = 0; h < s->hk; h++) {   /* take the best pair that is left, rank/2 times; lowest first */
        bool taken[256] = { false };
        for (uint32_t i = 0; i < rank / 2; i++) {
          uint32_t best = UINT32_MAX;
          for (uint32_t j = 0; j < pairs; j++)
            if (!taken[j] && (best == UINT32_MAX ||
                              en[h * s->d + j] * en[h * s->d + pairs + j] > en[h * s->d + best] * en[h * s->d + pairs + best])) best = j;
          taken[best] = true;
        }
        for (uint32_t j = 0, at = h * rank; j < pairs; j++) {
          if (!taken[j]) continue;
          bool halves = s->neox && j < s->rot / 2;
          ck_assert_uint_eq(out[at++], halves ? j : 2 * j);
          ck_assert_uint_eq(out[at++], halves ? j + s->rot / 2 : 2 * j + 1);
        }
      }
    }
}
END_TEST

/* ---- proxies */

static const struct plane { uint32_t hk, d, rank, bits, page, n; } planes[] = {
  { 3, 64, 32, 8, 64, 64 },  { 3, 64, 32, 16, 64, 63 }, { 1, 32, 4, 8, 32, 1 },     { 2, 32, 4, 16, 32, 17 },  { 8, 128, 64, 8, 16, 13 },
  { 2, 64, 24, 8, 128, 77 }, { 2, 64, 20, 16, 64, 50 }, { 2, 128, 128, 8, 32, 31 }, { 1, 128, 128, 16, 32, 32 }, { 4, 64, 36, 8, 64, 3 },
};
enum { N_PLANES = sizeof planes / sizeof *planes };

static enum kernel_id build_id(const struct plane *s) { return s->bits == 8 ? KERNEL_PROXY_BUILD_I8 : KERNEL_PROXY_BUILD_F16; }
static enum kernel_id append_id(const struct plane *s) { return s->bits == 8 ? KERNEL_TOKEN_APPEND_I8 : KERNEL_TOKEN_APPEND_F16; }
static uint32_t plane_rw(const struct plane *s) { return ceil_div(s->rank, s->bits == 8 ? 16 : 8); }
static size_t plane_bytes(const struct plane *s) { return (size_t)s->hk * s->page * (plane_rw(s) * 16 + (s->bits == 8 ? 2 : 0)); }

/* [hk][rank]: distinct coordinates below d, in no order. */
static uint32_t *random_table(const struct plane *s) {
  uint32_t *tab = test_memory((size_t)s->hk * s->rank, 4), all[512];
  for (uint32_t h = 0; h < s->hk; h++) {
    for (uint32_t i = 0; i < s->d; i++) all[i] = i;
    for (uint32_t i = 0; i < s->rank; i++) {
      uint32_t j = i + random_below(s->d - i), x = all[j];
      all[j] = all[i];
      tab[h * s->rank + i] = all[i] = x;
    }
  }
  return tab;
}

/* Rows [t][hk][2d] with keys of very different size among them: zero, denormal, large. */
static uint16_t *random_rows(uint32_t n, uint32_t hk, uint32_t d) {
  uint16_t *kv = random_halves((size_t)n * hk * 2 * d, -3, 3);
  for (uint32_t t = 0; t < n; t++) {
    static const float sizes[] = { 0, 1e-5f, 3e-3f, 1, 1, 1, 400 };
    float size = sizes[random_below(7)];
    for (uint32_t i = 0; i < hk * 2 * d; i++) {
      uint16_t *x = kv + (size_t)t * hk * 2 * d + i;
      *x = float_to_half(half_to_float(*x) * size);
    }
  }
  return kv;
}

START_TEST(proxies_of_a_page) {
  const struct plane *s = &planes[_i];
  const uint16_t *kv = random_rows(s->n, s->hk, s->d);
  const uint32_t *tab = random_table(s);
  struct proxy_build_params p = { .hk = s->hk, .d = s->d, .rank = s->rank, .n = s->n, .page = s->page, .rw = plane_rw(s) };
  char *out = test_memory(plane_bytes(s) * HARNESS_DEVICES, 1);
  harness_case("d %u rank %u bits %u n %u", s->d, s->rank, s->bits, s->n);
  uint32_t wg = _i % 2 ? 64 : 8;
  HARNESS_RUN(build_id(s), SPEC(wg), GROUPS(ceil_div(ceil_div(s->n, 2), wg), s->hk, 1), &p,
              IN(kv, (size_t)s->n * s->hk * s->d * 4), IN(tab, (size_t)s->hk * s->rank * 4),
              BITS(out, plane_bytes(s)));
  for (uint32_t h = 0; h < s->hk; h++)         /* a proxy is its key's coordinates: to half a step of the scale */
    for (uint32_t t = 0; t < s->n; t++) {
      const uint16_t *key = kv + ((size_t)t * s->hk + h) * 2 * s->d;
      size_t row = (size_t)h * s->page + t;
      float scale = s->bits == 16 ? 0 : half_to_float(((uint16_t *)out)[(size_t)s->hk * s->page * p.rw * 8 + row]);
      for (uint32_t i = 0; i < p.rw * (s->bits == 8 ? 16 : 8); i++) {
        float want = i < s->rank ? half_to_float(key[tab[h * s->rank + i]]) : 0.0f;
        float got = s->bits == 16 ? half_to_float(((uint16_t *)out)[row * p.rw * 8 + i]) : out[row * p.rw * 16 + i] * scale;
        float limit = s->bits == 16 || i >= s->rank ? 0 : 0.55f * scale + 127 * 0x1p-25f;
        ck_assert_msg(fabsf(got - want) <= limit, "head %u token %u value %u: %g, the key has %g", h, t, i, got, want);
      }
    }
}
END_TEST

START_TEST(appended_proxies_are_those_built) {
  const struct plane *s = &planes[_i];
  const uint16_t *kv = random_rows(s->n, s->hk, s->d);
  const uint32_t *tab = random_table(s);
  size_t row = (size_t)s->hk * s->d * 4, bytes = plane_bytes(s), rows_bytes = (size_t)s->page * row;
  for (size_t i = 0; i < harness_count(); i++) {
    struct bench b = { .dev = harness_device(i) };
    uint32_t rw = plane_rw(s), page0 = 5 * s->page;
    struct view built = bench_put(&b, canary_words(bytes), bytes), added = bench_put(&b, canary_words(bytes), bytes);
    struct view t = bench_put(&b, tab, (size_t)s->hk * s->rank * 4), q = bench_put(&b, NULL, (size_t)s->hk * 2 * s->d * 4);
    struct view host = bench_put(&b, NULL, rows_bytes), step = bench_put(&b, NULL, STEP_BYTES), new_row = bench_put(&b, NULL, row);
    struct view qh = bench_put(&b, NULL, (size_t)s->hk * 2 * rw * 64), act = bench_put(&b, NULL, row * 7);
    struct proxy_build_params pb = { .hk = s->hk, .d = s->d, .rank = s->rank, .n = s->n, .page = s->page, .rw = rw };
    DISPATCH(b.dev, bench_kernel(&b, build_id(s), SPEC(8)), ceil_div(s->n, 16), s->hk, 1, &pb,
             bench_put(&b, kv, s->n * row), t, built);
    const struct kernel *k = bench_kernel(&b, append_id(s), SPEC(16, 2));
    struct token_append_params pa = { .d = s->d, .lists = s->hk, .share = 1, .slots = 7, .page = s->page, .page0 = page0, .rank = s->rank,
                                      .rw = rw, .scale = 0.125f };
    for (uint32_t j = 0; j < s->n; j++) {
      uint32_t words[STEP_WORDS] = { [STEP_POS] = page0 + j, [STEP_RING] = j % 7 };
      ck_assert_int_eq(device_write(b.dev, step, words, sizeof words), LRQK_OK);
      ck_assert_int_eq(device_write(b.dev, new_row, (const char *)kv + j * row, row), LRQK_OK);
      DISPATCH(b.dev, k, s->hk, 1, 1, &pa, q, new_row, t, step, act, host, added, qh);
      ck_assert_int_eq(device_submit(b.dev, NULL), LRQK_OK);
    }
    ck_assert_msg(!memcmp(bench_take(&b, built), bench_take(&b, added), bytes), "%s: rank %u bits %u: built and appended proxies differ",
                  harness_name(i), s->rank, s->bits);
    ck_assert_msg(!memcmp(bench_take(&b, host), kv, s->n * row), "%s: host rows", harness_name(i));
    bench_clear(&b);
  }
}
END_TEST

/* One list per KV head, and one per query head; even and odd tokens; without proxies. */
START_TEST(append_one_token) {
  const struct plane *s = &planes[_i];
  for (uint32_t form = 0; form < 6; form++) {
    uint32_t g = 3, share = form & 1 ? g : 1, lists = s->hk * share, heads_of_list = g / share, slots = 9, page0 = 3 * s->page;
    uint32_t t = form < 4 ? form / 2 % 2 : s->page - 1, rank = form == 4 ? 0 : s->rank, rw = plane_rw(s);
    const uint32_t words[STEP_WORDS] = { [STEP_POS] = page0 + t, [STEP_RING] = 4 };
    size_t row = (size_t)s->d * 4, qh = (size_t)s->hk * g * rw * (s->bits == 8 ? 16 : 8) * 4;
    struct token_append_params p = { .d = s->d, .lists = lists, .share = share, .slots = slots, .page = s->page, .page0 = page0,
                                     .rank = rank, .rw = rw, .scale = 1 / sqrtf((float)s->d) };
    harness_case("d %u rank %u bits %u share %u token %u", s->d, rank, s->bits, share, t);
    HARNESS_RUN(append_id(s), SPEC(16, heads_of_list), GROUPS(lists, 1, 1), &p,
                IN(random_floats((size_t)s->hk * g * s->d, -3, 3), (size_t)s->hk * g * s->d * 4),
                IN(random_rows(1, s->hk, s->d), s->hk * row), IN(random_table(s), (size_t)s->hk * s->rank * 4),
                IN(words, sizeof words), BITS(NULL, lists * slots * row), BITS(NULL, s->page * s->hk * row),
                BITS(NULL, plane_bytes(s)), BITS(NULL, qh));
  }
}
END_TEST

/* Rows alone, and the sum of values. */
START_TEST(append_a_row) {
  const struct plane *s = &planes[_i];
  for (uint32_t share = 1; share <= 3; share += 2) {
    uint32_t lists = s->hk * share, slots = 9, page0 = 3 * s->page, t = s->page - 1;
    const uint32_t words[STEP_WORDS] = { [STEP_POS] = page0 + t, [STEP_RING] = 4 };
    size_t row = (size_t)s->d * 4, ns = (size_t)s->hk * s->d;
    struct token_append_params p = { .d = s->d, .lists = lists, .share = share, .slots = slots, .page = s->page, .page0 = page0 };
    const uint16_t *kv = random_rows(1, s->hk, s->d);
    const float *sum = random_floats(ns, -9, 9);
    char *act = test_memory(lists * slots * row * HARNESS_DEVICES, 1), *host = test_memory(s->page * s->hk * row * HARNESS_DEVICES, 1);
    float *out = test_memory(ns * HARNESS_DEVICES, 4);
    harness_case("d %u share %u", s->d, share);
    HARNESS_RUN(KERNEL_TOKEN_APPEND, SPEC(16, 3), GROUPS(lists, 1, 1), &p, IN(kv, s->hk * row), IN(words, sizeof words),
                BITS(act, lists * slots * row), BITS(host, s->page * s->hk * row), INOUT(ARG_BITS, sum, ns * 4, 0, out));
    ck_assert_int_eq(memcmp(host + t * s->hk * row, kv, s->hk * row), 0);
    for (uint32_t list = 0; list < lists; list++)
      ck_assert_int_eq(memcmp(act + (list * slots + 4) * row, (const char *)kv + list / share * row, row), 0);
    for (size_t i = 0; i < ns; i++) ck_assert_float_eq(out[i], sum[i] + half_to_float(kv[(i / s->d * 2 + 1) * s->d + i % s->d]));
  }
}
END_TEST

START_TEST(ring_takes_the_newest_tokens) {
  static const struct { uint32_t hk, share, d4, w, a, b, page0, page; } shapes[] = {
    { 3, 1, 16, 16, 100, 116, 64, 64 }, { 2, 3, 8, 7, 60, 64, 0, 64 }, { 1, 1, 32, 64, 128, 130, 128, 64 }, { 8, 4, 32, 5, 3, 4, 0, 16 },
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    uint32_t hk = shapes[i].hk, lists = hk * shapes[i].share, d4 = shapes[i].d4, page = shapes[i].page, slots = shapes[i].w + 3;
    struct ring_fill_params p = { .d4 = d4, .lists = lists, .share = shapes[i].share, .slots = slots, .w = shapes[i].w, .a = shapes[i].a,
                                  .b = shapes[i].b, .page0 = shapes[i].page0 };
    uint32_t groups = ceil_div((p.b - p.a) * lists * d4, 64), gy = 1 + i % 2;
    size_t row = d4 * 16, act_bytes = lists * slots * row;
    const char *kv = (const char *)random_halves((size_t)page * hk * d4 * 8, -1, 1);
    char *out = test_memory(act_bytes * HARNESS_DEVICES, 1);
    harness_case("shape %zu", i);
    HARNESS_RUN(KERNEL_RING_FILL, SPEC(64), GROUPS(ceil_div(groups, gy), gy, 1), &p, IN(kv, page * hk * row), BITS(out, act_bytes));
    for (uint32_t t = p.a; t < p.b; t++)
      for (uint32_t h = 0; h < lists; h++)
        ck_assert_int_eq(memcmp(out + (h * slots + t % p.w) * row, kv + ((t - p.page0) * hk + h / p.share) * row, row), 0);
  }
}
END_TEST

/* ---- scores and keys */

struct shape {
  uint32_t hk, g, none, bits, rw, n, page, wg, tn, parts_per_page, sinks;
  float offset;                /* of all scores: a key bias */
  int mean;                    /* scores of a mean key are added: 1 token by token, 2 by a cubic for 64 tokens */
};

static const struct shape shapes_of_scores[] = {
  { 3, 3, 0, 8, 2, 500, 512, 8, 8, 4, 4, 0, 0 }, { 3, 3, 0, 16, 4, 513, 256, 8, 8, 1, 4, 200, 0 },
  { 2, 3, 1, 8, 2, 777, 512, 8, 8, 2, 0, 0, 0 }, { 1, 8, 0, 8, 1, 321, 128, 8, 4, 2, 1, -300, 0 },
  { 2, 8, 0, 16, 1, 100, 128, 8, 4, 4, 9, 0, 0 }, { 2, 1, 0, 8, 8, 1, 64, 8, 8, 1, 4, 0, 0 },
  { 1, 5, 0, 16, 8, 1000, 512, 64, 4, 2, 4, 0, 0 }, { 2, 2, 1, 16, 2, 255, 128, 8, 8, 2, 4, 50, 0 },
  { 1, 4, 0, 8, 4, 4097, 4096, 64, 8, 4, 4, 600, 0 }, { 3, 3, 0, 8, 1, 501, 512, 8, 8, 4, 4, 0, 1 },
  { 2, 3, 1, 16, 2, 777, 256, 8, 8, 2, 4, 0, 1 }, { 1, 8, 0, 8, 2, 322, 128, 64, 4, 1, 4, 0, 1 },
  { 3, 3, 0, 8, 2, 1001, 512, 8, 8, 4, 4, 0, 2 }, { 2, 3, 1, 16, 2, 777, 256, 8, 8, 2, 4, 0, 2 }, { 1, 7, 0, 8, 1, 322, 128, 64, 4, 1, 4, 0, 2 },
};
enum { N_SCORINGS = sizeof shapes_of_scores / sizeof *shapes_of_scores, TILE_FIRST = 64 * 4 };

struct scoring {
  uint32_t hk, g, bits, rw, n, page, wg, tn, sinks;
  uint32_t lists, share, heads, per, parts, cap;
  const float *q;              /* [Hq][values] */
  const char *px;              /* pages of [hk][page][rw*16] */
  const uint16_t *sc;          /* pages of [hk][page] */
  const float *mean;           /* [Hq][cap], or [Hq][cap/64][4], or NULL */
  int mean_kind;
  bool tile;                   /* the form of score_stat */
  uint32_t first;              /* tokens of a share that the references are of */
  float soft_cap;              /* 0: none */
  double *score;               /* [Hq][n] */
};

/* Each term of a cubic is at most 4 within 32 of the middle. */
static float *random_cubics(size_t n) {
  float *c = random_floats(n * 4, -4, 4);
  for (size_t i = 0; i < n; i++)
    for (int k = 1; k < 4; k++) c[i * 4 + (size_t)k] /= powf(32, (float)k);
  return c;
}

static double mean_score(const struct scoring *s, uint32_t head, uint32_t t) {
  if (s->mean_kind < 2) return s->mean ? s->mean[(size_t)head * s->cap + t] : 0;
  const float *c = s->mean + ((size_t)head * s->cap + t) / 64 * 4;
  double u = t % 64 - 31.5;
  return c[0] + c[1] * u + c[2] * u * u + c[3] * u * u * u;
}

/* Every shape in the register form, then in the tile form. */
static struct scoring scoring_of(int form_and_shape) {
  int i = form_and_shape % N_SCORINGS;
  const struct shape *f = &shapes_of_scores[i];
  struct scoring s = { .hk = f->hk, .g = f->g, .bits = f->bits, .rw = f->rw, .n = f->n, .page = f->page, .wg = f->wg, .tn = f->tn,
                       .sinks = f->sinks, .share = f->none ? f->g : 1, .per = f->page / f->parts_per_page };
  s.lists = s.hk * s.share;
  s.heads = s.g / s.share;
  s.parts = ceil_div(s.n, s.per);
  s.cap = f->mean == 2 ? ceil_div(s.n, 64) * 64 + 64 : ceil_div(s.n, 8) * 8 + 16;
  s.mean_kind = f->mean;
  s.tile = form_and_shape >= N_SCORINGS;
  s.first = s.tile ? TILE_FIRST : s.wg * s.tn;
  s.soft_cap = i % 2 && f->offset == 0 ? 2.5f : 0;
  uint32_t values = s.rw * (s.bits == 8 ? 16 : 8), pages = ceil_div(s.n, s.page), hq = s.hk * s.g;
  float *q = random_floats((size_t)hq * values, -1, 1);
  size_t rows = (size_t)pages * s.hk * s.page;
  uint16_t *sc = random_halves(rows, 0.001f, 0.02f), *px = s.bits == 16 ? random_halves(rows * values, -2, 2) : test_memory(rows, values);
  if (s.bits == 8) for (size_t j = 0; j < rows * values; j++) ((int8_t *)px)[j] = (int8_t)(random_below(255) - 127);
  if (f->offset != 0) {         /* one coordinate that is the same in all keys */
    for (uint32_t j = 0; j < hq; j++) q[j * values] = s.bits == 8 ? f->offset : f->offset / 2;
    for (size_t j = 0; j < rows; j++) {
      if (s.bits == 8) ((int8_t *)px)[j * values] = 100, sc[j] = float_to_half(0.01f);
      else px[j * values] = float_to_half(2);
    }
  }
  s.q = q, s.px = (char *)px, s.sc = sc;
  if (f->mean == 1) s.mean = random_floats((size_t)hq * s.cap, -4, 4);
  if (f->mean == 2) s.mean = random_cubics((size_t)hq * s.cap / 64);
  s.score = test_memory((size_t)hq * s.n, sizeof *s.score);
  for (uint32_t j = 0; j < hq; j++)
    for (uint32_t t = 0; t < s.n; t++) {
      size_t row = ((size_t)(t / s.page) * s.hk + j / s.g) * s.page + t % s.page;
      double sum = 0;
      for (uint32_t v = 0; v < values; v++)
        sum += (double)q[j * values + v] * (s.bits == 8 ? ((int8_t *)px)[row * values + v] : half_to_float(px[row * values + v]));
      double score = (s.bits == 8 ? sum * half_to_float(sc[row]) : sum) + mean_score(&s, j, t);
      s.score[(size_t)j * s.n + t] = s.soft_cap > 0 ? s.soft_cap * tanh(score / s.soft_cap) : score;
    }
  return s;
}

static size_t ml_words(const struct scoring *s) { return (size_t)s->hk * s->g * s->parts * (2 + s->wg); }
static size_t weight_words(const struct scoring *s) { return (size_t)s->hk * s->g * s->cap / 2; }

/* What score_stat writes, on each device. */
struct weighed {
  float *ml;                   /* [HARNESS_DEVICES][...] */
  uint32_t *weight;
};

static const struct kernel *stat_kernel(struct bench *b, const struct scoring *s) {
  static const enum kernel_id ids[2][3][2] = {
    { { KERNEL_SCORE_STAT_F16, KERNEL_SCORE_STAT_I8 }, { KERNEL_SCORE_STAT_F16_MEAN, KERNEL_SCORE_STAT_I8_MEAN },
      { KERNEL_SCORE_STAT_F16_SLOW, KERNEL_SCORE_STAT_I8_SLOW } },
    { { KERNEL_SCORE_TILE_F16, KERNEL_SCORE_TILE_I8 }, { KERNEL_SCORE_TILE_F16_MEAN, KERNEL_SCORE_TILE_I8_MEAN },
      { KERNEL_SCORE_TILE_F16_SLOW, KERNEL_SCORE_TILE_I8_SLOW } } };
  enum kernel_id id = ids[s->tile][s->mean_kind][s->bits == 8];
  if (s->tile) return bench_kernel(b, id, SPEC(64, s->heads, s->rw, min_u32(s->rw, 2), s->soft_cap > 0, s->wg));
  return bench_kernel(b, id, SPEC(s->wg, s->heads, s->rw, s->tn, s->soft_cap > 0));
}

static struct weighed run_stat(const struct scoring *s) {
  struct weighed w = { test_memory(ml_words(s) * HARNESS_DEVICES, 4), test_memory(weight_words(s) * HARNESS_DEVICES, 4) };
  const uint32_t words[STEP_WORDS] = { [STEP_CAND] = s->n };
  size_t page_rows = (size_t)s->hk * s->page;
  for (size_t i = 0; i < harness_count(); i++) {
    struct bench b = { .dev = harness_device(i) };
    struct view q = bench_put(&b, s->q, (size_t)s->hk * s->g * s->rw * (s->bits == 8 ? 64 : 32)), step = bench_put(&b, words, sizeof words);
    struct view m = bench_put(&b, canary_words(ml_words(s) * 4), ml_words(s) * 4);
    struct view v = bench_put(&b, canary_words(weight_words(s) * 4), weight_words(s) * 4);
    const struct kernel *k = stat_kernel(&b, s);
    struct view mean = s->mean ? bench_put(&b, s->mean, (size_t)s->hk * s->g * s->cap * 4 / (s->mean_kind == 2 ? 16 : 1)) : q;
    for (uint32_t page = 0; page * s->page < s->n; page++) {
      struct score_stat_params p = { .per = s->per, .cap = s->cap, .page = s->page, .page0 = page * s->page, .parts = s->parts,
                                     .share = s->share, .n_at = STEP_CAND, .soft_cap = s->soft_cap };
      struct view px = bench_put(&b, s->px + page * page_rows * s->rw * 16, page_rows * s->rw * 16);
      struct view sc = bench_put(&b, s->sc + page * page_rows, page_rows * 2);
      const struct view views[] = { q, px, s->bits == 8 ? sc : px, m, v, step, mean };
      device_dispatch(b.dev, k, ceil_div(min_u32(s->n - p.page0, s->page), s->per), s->lists, 1, views, s->mean ? 7 : 6, &p, sizeof p);
    }
    memcpy(w.ml + i * ml_words(s), bench_take(&b, m), ml_words(s) * 4);
    memcpy(w.weight + i * weight_words(s), bench_take(&b, v), weight_words(s) * 4);
    bench_clear(&b);
  }
  return w;
}

static double weight_of(uint32_t bits) { return ldexp(1 + (bits & 0x1ff) / 512.0, (int)(bits >> 9) - 63); }

/* Weights of one query head on one device: relative to the largest of the first scores of their lane or of all lanes, and the
 * statistics are theirs. */
static void check_weights(const struct scoring *s, uint32_t head, const float *stat, const uint16_t *row) {
  const double *score = s->score + (size_t)head * s->n;
  double sum = 0, want = 0, most = -1e30;
  for (uint32_t t = 0; t < s->n; t++) most = fmax(most, score[t]);
  for (uint32_t t = 0; t < s->n; t++) {
    const float *part = stat + (size_t)(t / s->per) * (2 + s->wg), *r = part + 2 + t % s->per / s->tn % s->wg;
    double slack = fabs(score[t]) * 3e-6 + 2e-5, got = weight_of(row[t]), exact = exp(fmin(fmax(score[t] - *r, -63 * M_LN2), 64 * M_LN2));
    ck_assert_msg(fabs(got - exact) <= exact * (0x1p-10 + 2 * slack + 1e-5), "head %u token %u: weight %g, exact %g", head, t, got, exact);
    if (t % s->per < s->first) ck_assert_msg(score[t] <= *r + slack && *r <= part[0], "head %u token %u: %g above %g", head, t, score[t], *r);
    want += got * exp(*r - most);
  }
  for (uint32_t j = 0; j < s->parts; j++) sum += stat[(size_t)j * (2 + s->wg) + 1] * exp(stat[(size_t)j * (2 + s->wg)] - most);
  ck_assert_msg(fabs(sum - want) <= 1e-4 * want, "head %u: sum of exps %g, of the stored weights %g", head, sum, want);
  for (uint32_t t = (s->n + 1) / 2 * 2; t < s->cap; t++)
    ck_assert_msg(row[t] == (uint16_t)(CANARY >> t % 2 * 16), "head %u: weight %u of %u is written", head, t, s->n);
}

START_TEST(weights_and_statistics) {
  struct scoring s = scoring_of(_i);
  struct weighed w = run_stat(&s);
  for (size_t i = 0; i < harness_count(); i++)
    for (uint32_t head = 0; head < s.hk * s.g; head++)
      check_weights(&s, head, w.ml + i * ml_words(&s) + (size_t)head * s.parts * (2 + s.wg),
                    (const uint16_t *)(w.weight + i * weight_words(&s)) + (size_t)head * s.cap);
}
END_TEST

/* Keys of a list against the exact scores: a weight is rounded to two codes of 2^-11, a key is cut to one; scores of
 * hundreds in float are exact to some 1e-4. */
static void check_keys(const struct scoring *s, uint32_t list, uint32_t red, const uint16_t *key, const uint32_t *count) {
  const double *score = s->score + (size_t)list * s->heads * s->n;
  double lse[8], largest = 0;
  for (uint32_t j = 0; j < s->heads; j++) {
    double most = -1e300, sum = 0;
    for (uint32_t t = 0; t < s->n; t++) most = fmax(most, score[j * s->n + t]);
    largest = fmax(largest, fabs(most));
    for (uint32_t t = 0; t < s->n; t++) sum += exp(score[j * s->n + t] - most);
    lse[j] = most + log(sum);
  }
  uint32_t want_counts[15] = { 0 }, got_counts[15] = { 0 };
  for (uint32_t t = 0; t < s->n; t++) {
    double x = 0;
    for (uint32_t j = 0; j < s->heads; j++) {
      double e = exp(score[j * s->n + t] - lse[j]);
      x = red ? fmax(x, e) : x + e / s->heads;
    }
    uint32_t want = plain_key(x, t, s->sinks);
    int limit = t < s->sinks ? 0 : 6 + (int)(largest / 100);
    ck_assert_msg(abs((int)want - key[t]) <= limit, "list %u token %u of %u: key %u, expected %u", list, t, s->n, key[t], want);
    for (uint32_t c = 0; c < 15; c++) want_counts[c] += key[t] >= (c + 1) << 12;
  }
  for (uint32_t t = s->n; t < s->cap; t++) ck_assert_uint_eq(key[t], t < ceil_div(s->n, 8) * 8 ? 0 : (uint16_t)(CANARY >> t % 2 * 16));
  for (uint32_t j = 0; j < s->parts; j++)
    for (uint32_t c = 0; c < 15; c++) got_counts[c] += count[j * 32 + c];
  ck_assert_int_eq(memcmp(want_counts, got_counts, sizeof want_counts), 0);
}

START_TEST(keys_are_group_scores) {
  struct scoring s = scoring_of(_i);
  uint32_t step[STEP_WORDS] = { [STEP_CAND] = s.n };
  struct weighed w = run_stat(&s);
  size_t from = harness_count() - 1, key_bytes = (size_t)s.lists * s.cap * 2, count_bytes = (size_t)s.lists * s.parts * 128;
  w.ml += from * ml_words(&s);   /* every device works on the weights of one */
  w.weight += from * weight_words(&s);
  for (uint32_t form = 0; form < 4; form++) {
    uint32_t red = form % 2, team = form / 2;
    struct sel_keys_params p = { .per = s.per, .cap = s.cap, .parts = s.parts, .sinks = s.sinks };
    char *keys = test_memory(key_bytes * HARNESS_DEVICES, 1), *counts = test_memory(count_bytes * HARNESS_DEVICES, 1);
    harness_case("scoring %d red %u team %u", _i, red, team);
    HARNESS_RUN(KERNEL_SEL_KEYS, SPEC(s.wg, s.heads, s.tn, red, 1, team), GROUPS(s.parts, s.lists, 1), &p, IN(w.ml, ml_words(&s) * 4),
                ANY(keys, key_bytes), ANY(counts, count_bytes), IN(w.weight, weight_words(&s) * 4), IN(step, STEP_BYTES));
    for (size_t i = 0; i < harness_count(); i++)
      for (uint32_t list = 0; list < s.lists; list++)
        check_keys(&s, list, red, (const uint16_t *)(keys + i * key_bytes) + (size_t)list * s.cap,
                   (const uint32_t *)(counts + i * count_bytes) + (size_t)list * s.parts * 32);
  }
}
END_TEST

/* ---- the k largest keys */

/* Keys of a list: what is behind the last one up to a multiple of 8 is 0, then comes what must not be read. */
static uint16_t *random_keys(uint32_t lists, uint32_t cap, uint32_t n, int kind) {
  uint16_t *key = test_memory((size_t)lists * cap, 2);
  for (uint32_t list = 0; list < lists; list++)
    for (uint32_t t = 0; t < cap; t++) {
      uint32_t r = random_word();
      uint32_t up = r % 4 == 0;                           /* over the last digits of each kind */
      uint32_t v[] = { r & 0xffff, 0x8000 + r % 3, 0x1230, r % 9 ? 0 : r >> 16, 0, 0xfff0 + r % 16, 0x123e + up, 0x12ef + up, 0xefff + up };
      key[(size_t)list * cap + t] = (uint16_t)(t < n ? (t < 4 ? 0xffff : v[kind]) : t < ceil_div(n, 8) * 8 ? 0 : 0xffff);
    }
  return key;
}

static const struct choice { uint32_t n, k, lists, wg, per; } choices[] = {
  { 1000, 256, 3, 8, 256 }, { 999, 64, 2, 8, 64 },      { 65, 64, 1, 8, 64 },         { 64, 64, 2, 8, 64 },
  { 13, 64, 1, 8, 64 },     { 1, 1, 1, 8, 64 },         { 515, 1, 2, 8, 256 },        { 5003, 2048, 2, 64, 512 },
  { 4000, 31, 4, 8, 1024 }, { 2049, 2048, 1, 64, 1024 }, { 33333, 300, 1, 64, 32768 }, { 700, 5, 8, 16, 128 },
};
enum { N_CHOICES = sizeof choices / sizeof *choices };

/* Counts of the first digit, as sel_keys leaves them: [lists][parts][32]. */
static uint32_t *first_counts(const struct choice *c, const uint16_t *key, uint32_t cap) {
  uint32_t parts = ceil_div(c->n, c->per), *count = test_memory((size_t)c->lists * parts * 32, 4);
  for (uint32_t h = 0; h < c->lists; h++)
    for (uint32_t t = 0; t < c->n; t++)
      for (uint32_t i = 0; i < 15; i++) count[(h * parts + t / c->per) * 32 + i] += key[(size_t)h * cap + t] >= (i + 1) << 12;
  return count;
}

START_TEST(lists_are_the_largest_keys) {
  struct choice small = choices[_i], *c = &small;
  if (test_small() && c->n > 1000) {
    c->n = ceil_div(c->n, 8);
    c->k = ceil_div(c->k, 8);
    c->per = c->per / 8 > c->wg * 8 ? c->per / 8 : c->wg * 8;   /* a part is at least 8 keys a lane */
  }
  uint32_t n = c->n, k = c->k, lists = c->lists, wg = c->wg, per = c->per, parts = ceil_div(n, per);
  uint32_t cap = ceil_div(n, 8) * 8 + 24, kstr = k + 3, step[STEP_WORDS] = { [STEP_CAND] = n };
  size_t key_bytes = (size_t)lists * cap * 2, count_bytes = (size_t)lists * parts * 128, list_bytes = (size_t)lists * kstr * 4;
  for (int kind = 0; kind < 9; kind++) {
    const uint16_t *key = random_keys(lists, cap, n, kind);
    uint32_t *count = first_counts(c, key, cap), team = (uint32_t)(kind + _i) % 2, *pre = test_memory(lists, 4), *want = test_memory(k, 4);
    uint32_t *list = test_memory(list_bytes * HARNESS_DEVICES, 1);
    harness_case("n %u k %u wg %u kind %d team %u", n, k, wg, kind, team);
    for (uint32_t pass = 1; pass < 4; pass++) {
      struct sel_count_params p = { .per = per, .cap = cap, .k = k, .shift = 12 - 4 * pass, .parts = parts };
      uint32_t *new_count = test_memory(count_bytes * HARNESS_DEVICES, 1), *new_pre = test_memory((size_t)lists * HARNESS_DEVICES, 4);
      HARNESS_RUN(KERNEL_SEL_COUNT, SPEC(wg, pass == 3 ? 17 : 15, team), GROUPS(parts, lists, 1), &p, IN(key, key_bytes), IN(count, count_bytes),
                  IN(pre, lists * 4), BITS(new_count, count_bytes), BITS(new_pre, lists * 4), IN(step, STEP_BYTES));
      count = new_count;
      pre = new_pre;
    }
    struct sel_emit_params e = { .per = per, .cap = cap, .parts = parts, .k = k, .kstr = kstr };
    HARNESS_RUN(KERNEL_SEL_EMIT, SPEC(wg, kind % 4 + 1, team), GROUPS(parts, lists, 1), &e, IN(key, key_bytes), IN(count, count_bytes),
                IN(pre, lists * 4), BITS(list, list_bytes), IN(step, STEP_BYTES));
    struct sel_one_params o = { .cap = cap, .k = k, .kstr = kstr };
    HARNESS_RUN(KERNEL_SEL_ONE, SPEC(kind % 2 ? 64 : 8, 1u << kind % 3, team), GROUPS(lists, 1, 1), &o, IN(key, key_bytes), BITS(NULL, list_bytes),
                IN(step, STEP_BYTES));
    for (uint32_t h = 0; h < lists; h++) {
      plain_choice(key + (size_t)h * cap, n, k, want);
      ck_assert_int_eq(memcmp(want, list + (size_t)h * kstr, min_u32(n, k) * 4), 0);
    }
  }
}
END_TEST

/* The rows [rows][cap] of tokens t0 .. t0 + n as rows of their own. */
static const uint16_t *cut(const uint16_t *x, uint32_t rows, uint32_t cap, uint32_t t0, uint32_t n) {
  uint16_t *out = test_memory((size_t)rows * n, sizeof *out);
  for (uint32_t i = 0; i < rows; i++) memcpy(out + (size_t)i * n, x + (size_t)i * cap + t0, n * sizeof *out);
  return out;
}

/* The same lists from keys that are cut into ranges, the last of which may have no candidate. */
START_TEST(lists_across_ranges) {
  const struct choice *c = &choices[_i];
  uint32_t n = c->n, k = c->k, lists = c->lists, per = c->per, span = ceil_div(ceil_div(n, per), 3) * per, cap = ceil_div(n + 1, span) * span;
  uint32_t parts = cap / per, kstr = k + 3, step[STEP_WORDS] = { [STEP_CAND] = n }, *want = test_memory(k, 4);
  for (int kind = 0; kind < 9; kind++) {
    const uint16_t *key = random_keys(lists, cap, n, kind);
    uint32_t *first = first_counts(c, key, cap), *counts = test_memory((size_t)lists * parts * 32, 4), from = ceil_div(n, per);
    for (uint32_t h = 0; h < lists; h++) memcpy(counts + (size_t)h * parts * 32, first + (size_t)h * from * 32, from * 128);
    for (size_t i = 0; i < harness_count(); i++) {
      struct bench b = { .dev = harness_device(i) };
      uint32_t team = (uint32_t)kind % 2;
      struct view at = bench_put(&b, step, sizeof step), list = bench_put(&b, canary_words((size_t)lists * kstr * 4), (size_t)lists * kstr * 4);
      struct view keys[4], count[4] = { bench_put(&b, counts, (size_t)lists * parts * 128) };
      struct view pre[4] = { bench_put(&b, test_memory(lists, 4), lists * 4) };
      for (uint32_t r = 0; r * span < cap; r++) keys[r] = bench_put(&b, cut(key, lists, cap, r * span, span), (size_t)lists * span * 2);
      for (uint32_t pass = 1; pass < 4; pass++) {
        count[pass] = bench_put(&b, canary_words((size_t)lists * parts * 128), (size_t)lists * parts * 128);
        pre[pass] = bench_put(&b, canary_words(lists * 4), lists * 4);
        for (uint32_t r = 0; r * span < cap; r++) {
          struct sel_count_params p = { .per = per, .cap = span, .t0 = r * span, .k = k, .shift = 12 - 4 * pass, .parts = parts };
          DISPATCH(b.dev, bench_kernel(&b, KERNEL_SEL_COUNT, SPEC(c->wg, pass == 3 ? 17 : 15, team)), span / per, lists, 1, &p, keys[r],
                   count[pass - 1], pre[pass - 1], count[pass], pre[pass], at);
        }
      }
      for (uint32_t r = 0; r * span < cap; r++) {
        struct sel_emit_params e = { .per = per, .cap = span, .t0 = r * span, .parts = parts, .k = k, .kstr = kstr };
        DISPATCH(b.dev, bench_kernel(&b, KERNEL_SEL_EMIT, SPEC(c->wg, 4, team)), span / per, lists, 1, &e, keys[r], count[3], pre[3], list, at);
      }
      const uint32_t *got = bench_take(&b, list);
      for (uint32_t h = 0; h < lists; h++) {
        plain_choice(key + (size_t)h * cap, n, k, want);
        ck_assert_msg(!memcmp(want, got + (size_t)h * kstr, min_u32(n, k) * 4), "%s: n %u k %u kind %d list %u", harness_name(i), n, k, kind, h);
        ck_assert_uint_eq(got[(size_t)h * kstr + min_u32(n, k)], CANARY);
      }
      bench_clear(&b);
    }
  }
}
END_TEST

START_TEST(all_candidates) {
  for (uint32_t count = 0; count < 300; count += 37) {
    const uint32_t words[STEP_WORDS] = { [STEP_CNT] = count };
    uint32_t kstr = 320, lists = 5, *out = test_memory((size_t)lists * kstr * HARNESS_DEVICES, 4);
    struct sel_all_params p = { .kstr = kstr, .lists = lists };
    harness_case("count %u", count);
    HARNESS_RUN(KERNEL_SEL_ALL, SPEC(64), GROUPS(1 + count % 5, lists, 1), &p, BITS(out, lists * kstr * 4), IN(words, sizeof words));
    for (uint32_t i = 0; i < lists * kstr; i++) ck_assert_uint_eq(out[i], i % kstr < count ? i % kstr : CANARY);
  }
}
END_TEST

/* ---- slots and rows */

/* A sorted list of count tokens below n, of which about `keep` in 100 are in the old one. */
static void next_list(uint32_t *list, uint32_t count, uint32_t n, const uint32_t *old, uint32_t n_old, uint32_t keep) {
  bool *in = test_memory(n, sizeof *in);
  uint32_t have = 0;
  for (uint32_t i = 0; i < n_old && have < count; i++) if (random_below(100) < keep) in[old[i]] = true, have++;
  while (have < count) {
    uint32_t t = random_below(n);
    have += !in[t];
    in[t] = true;
  }
  for (uint32_t t = 0; t < n; t++) if (in[t]) *list++ = t;
}

static const struct resident { uint32_t k, wg, lists; bool tile; } residents[] = {
  { 1, 64, 2, true }, { 5, 64, 3, true }, { 32, 64, 1, true }, { 33, 64, 2, true }, { 256, 64, 3, true }, { 2048, 64, 2, true },
  { 2048, 256, 2, true }, { 100, 128, 2, true }, { 8192, 256, 1, true },
  { 1, 8, 12, false }, { 7, 8, 2, false }, { 32, 8, 1, false }, { 33, 8, 5, false }, { 255, 8, 2, false }, { 257, 16, 3, false },
  { 2048, 8, 3, false }, { 2050, 64, 1, false }, { 20000, 8, 1, false },
};
enum { N_RESIDENTS = sizeof residents / sizeof *residents };

static int by_token(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* One list: hits keep their slots, misses ascend and take the free slots in ascending order.  Returns the misses. */
static uint32_t check_slots(uint32_t k, const uint32_t *now, const uint32_t *slot, uint32_t count, const uint32_t *before,
                            const uint32_t *old_slot, uint32_t old, const uint32_t *miss) {
  bool *used = test_memory(k, sizeof *used);
  uint32_t misses = 0, last_slot = 0;
  for (uint32_t i = 0; i < count; i++) {
    ck_assert_msg(slot[i] < k && !used[slot[i]], "slot %u of entry %u", slot[i], i);
    used[slot[i]] = true;
    const uint32_t *hit = bsearch(&now[i], before, old, 4, by_token);
    if (hit) {
      ck_assert_uint_eq(slot[i], old_slot[hit - before]);
      continue;
    }
    ck_assert_uint_eq(miss[misses * 2], now[i]);
    ck_assert_uint_eq(miss[misses * 2 + 1], slot[i]);
    ck_assert(!misses || slot[i] > last_slot);
    last_slot = slot[i];
    misses++;
  }
  for (uint32_t i = 0; misses && i < last_slot; i++) ck_assert_msg(used[i], "slot %u was free below %u", i, last_slot);
  return misses;
}

START_TEST(hits_keep_their_slots) {
  uint32_t k = test_size(residents[_i].k, 700), lists = residents[_i].lists, kstr = k + 5, n = 4 * k + 40, old = 0;
  size_t words = (size_t)lists * kstr;
  uint32_t *list = canary_words(words * 4), *olist = canary_words(words * 4), *oslot = canary_words(words * 4);
  uint32_t *stat = test_memory(lists, 8);
  for (uint32_t round = 0; round < 10; round++) {
    static const uint32_t of_k[] = { 50, 100, 100, 0, 100, 100, 100, 60, 70, 100 };   /* in 100 */
    static const uint32_t keep[] = { 0, 100, 70, 0, 50, 100, 0, 40, 50, 60 };
    uint32_t count = of_k[round] * k / 100, step[STEP_WORDS] = { [STEP_CNT] = count, [STEP_OLD] = old };
    uint32_t *slot = test_memory(words * HARNESS_DEVICES, 4), *miss = test_memory(words * HARNESS_DEVICES, 8);
    uint32_t *n_miss = test_memory((size_t)lists * HARNESS_DEVICES, 4), *new_stat = test_memory((size_t)lists * HARNESS_DEVICES, 8);
    for (size_t h = 0; h < lists; h++) next_list(list + h * kstr, count, n, olist + h * kstr, old, keep[round]);
    struct residency_params p = { .k = k, .kstr = kstr };
    harness_case("k %u round %u", k, round);
    enum kernel_id id = residents[_i].tile ? KERNEL_RESIDENCY_TILE : KERNEL_RESIDENCY;
    HARNESS_RUN(id, SPEC(residents[_i].wg, ceil_div(k, 32)), GROUPS(lists, 1, 1), &p, IN(list, words * 4),
                IN(olist, words * 4), IN(oslot, words * 4), BITS(slot, words * 4), BITS(miss, words * 8), BITS(n_miss, lists * 4),
                UPDATE(stat, new_stat, lists * 8), IN(step, STEP_BYTES));
    for (size_t h = 0; h < lists; h++) {
      size_t at = h * kstr;
      uint32_t misses = check_slots(k, list + at, slot + at, count, olist + at, oslot + at, old, miss + at * 2);
      ck_assert_uint_eq(n_miss[h], misses);
      ck_assert_uint_eq(new_stat[h * 2], stat[h * 2] + count);
      ck_assert_uint_eq(new_stat[h * 2 + 1], stat[h * 2 + 1] + misses);
    }
    memcpy(olist, list, words * 4);
    memcpy(oslot, slot, words * 4);
    stat = new_stat;
    old = count;
  }
}
END_TEST

START_TEST(gather_fetches_the_misses_of_a_page) {
  static const struct { uint32_t hk, share, d4, k, w, page, n, misses; } shapes[] = {
    { 3, 1, 16, 64, 16, 128, 1000, 40 }, { 2, 3, 8, 20, 5, 512, 300, 20 }, { 1, 1, 32, 300, 64, 64, 5000, 299 },
    { 8, 4, 32, 9, 1, 16, 60, 0 },       { 1, 8, 8, 7, 3, 32, 33, 1 },
    { 2, 2, 20, 40, 8, 64, 900, 33 },    { 3, 1, 1, 70, 4, 40, 400, 70 },
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    uint32_t hk = shapes[i].hk, share = shapes[i].share, lists = hk * share, k = shapes[i].k, w = shapes[i].w, kstr = k + 3, slots = w + k;
    uint32_t d4 = shapes[i].d4, page = shapes[i].page, pages = ceil_div(shapes[i].n, page);
    uint32_t *miss = canary_words((size_t)lists * kstr * 8), *n_miss = test_memory(lists, 4), token[512];
    size_t row = d4 * 16, act_bytes = lists * slots * row, page_bytes = page * hk * row;
    const char *host = (const char *)random_halves(pages * page_bytes / 2, -1, 1);
    char *act = canary_words(act_bytes), *want = canary_words(act_bytes), *out = test_memory(act_bytes * HARNESS_DEVICES, 1);
    for (uint32_t h = 0; h < lists; h++) {
      uint32_t count = n_miss[h] = shapes[i].misses ? shapes[i].misses - random_below(shapes[i].misses) : 0;
      next_list(token, count, shapes[i].n, NULL, 0, 0);
      for (uint32_t j = 0; j < count; j++) {
        uint32_t slot = j + h % (k - count + 1);
        miss[(h * kstr + j) * 2] = token[j];
        miss[(h * kstr + j) * 2 + 1] = slot;
        memcpy(want + (h * slots + w + slot) * row, host + ((size_t)token[j] * hk + h / share) * row, row);
      }
    }
    for (uint32_t j = 0; j < pages; j++) {
      struct gather_params p = { .hk = hk, .slots = slots, .base = w, .kstr = kstr, .share = share, .page0 = j * page, .page = page };
      uint32_t wg = j % 2 ? 64 : 8, lanes = j % 2 ? d4 & (0 - d4) : 1;
      harness_case("shape %zu page %u", i, j);
      HARNESS_RUN(KERNEL_GATHER, SPEC(wg, d4, lanes), GROUPS(1 + j % 4, lists, 1), &p, IN(host + j * page_bytes, page_bytes),
                  IN(miss, (size_t)lists * kstr * 8), IN(n_miss, lists * 4), UPDATE(act, out, act_bytes));
      memcpy(act, out, act_bytes);
    }
    ck_assert_int_eq(memcmp(act, want, act_bytes), 0);
  }
}
END_TEST

static Suite *suite(void) {
  Suite *s = suite_create("kernels_select");
  TCase *c = tcase_create("one kernel");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, energies_are_sums, 0, N_HEADS);
  tcase_add_loop_test(c, energies_do_not_depend_on_chunks, 0, N_HEADS);
  tcase_add_loop_test(c, pairs_are_the_largest, 0, N_HEADS);
  tcase_add_loop_test(c, proxies_of_a_page, 0, N_PLANES);
  tcase_add_loop_test(c, appended_proxies_are_those_built, 0, N_PLANES);
  tcase_add_loop_test(c, append_one_token, 0, N_PLANES);
  tcase_add_loop_test(c, append_a_row, 0, N_PLANES);
  tcase_add_test(c, ring_takes_the_newest_tokens);
  tcase_add_loop_test(c, weights_and_statistics, 0, 2 * N_SCORINGS);
  tcase_add_loop_test(c, keys_are_group_scores, 0, N_SCORINGS);
  tcase_add_loop_test(c, lists_are_the_largest_keys, 0, N_CHOICES);
  tcase_add_loop_test(c, lists_across_ranges, 0, N_CHOICES);
  tcase_add_test(c, all_candidates);
  tcase_add_loop_test(c, hits_keep_their_slots, 0, N_RESIDENTS);
  tcase_add_test(c, gather_fetches_the_misses_of_a_page);
  suite_add_tcase(s, c);
  return s;
}

int main(void) {
  return suite_run(suite(), CK_FORK_GETENV);
}
