/* The kernels that give the attention mass of tokens that were not chosen to the mean value row: Vulkan with both kinds of
 * loads against the host back end, and the result against double arithmetic on plain scores. */
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "shaders/step.h"


START_TEST(value_sums) {
  static const struct { uint32_t hk, d, rows, row0; } cases[] = { { 1, 8, 1, 0 }, { 3, 64, 29, 3 }, { 2, 128, 64, 0 }, { 5, 40, 7, 1 } };
  uint32_t hk = cases[_i].hk, d = cases[_i].d, rows = cases[_i].rows, row0 = cases[_i].row0;
  size_t nk = (size_t)(row0 + rows) * hk * 2 * d, ns = (size_t)hk * d;
  uint16_t *kv = random_halves(nk, -2, 2);
  float *sum = random_floats(ns, -5, 5), *out = test_memory(ns * HARNESS_DEVICES, 4);
  double *want = test_memory(ns, sizeof *want);
  struct value_sum_params p = { .rows = rows, .hk = hk, .d = d, .row0 = row0 };
  harness_case("hk %u d %u rows %u", hk, d, rows);
  HARNESS_RUN(KERNEL_VALUE_SUM, SPEC(8), GROUPS(ceil_div(hk * d / 2, 8), 1, 1), &p, IN(kv, nk * 2), INOUT(ARG_BITS, sum, ns * 4, 0, out));
  for (size_t i = 0; i < ns; i++) {
    want[i] = sum[i];
    for (uint32_t t = 0; t < rows; t++) want[i] += half_to_float(kv[((size_t)(row0 + t) * hk + i / d) * 2 * d + d + i % d]);
  }
  nmse_check(out, want, ns, 1e-12, "sums of values");
}
END_TEST

START_TEST(mass_goes_to_the_mean) {
  static const struct { uint32_t lists, share, g, d, n, w, k, tn, wg, xs; } cases[] = {
    { 3, 1, 3, 64, 1000, 16, 100, 8, 8, 1 }, { 2, 1, 8, 32, 513, 1, 7, 4, 8, 5 },
    { 6, 3, 1, 128, 700, 64, 256, 8, 64, 2 }, { 1, 1, 4, 64, 300, 5, 1, 8, 64, 1 },
  };
  uint32_t lists = cases[_i].lists, share = cases[_i].share, g = cases[_i].g, d = cases[_i].d, n = cases[_i].n, w = cases[_i].w, k = cases[_i].k;
  uint32_t tn = cases[_i].tn, wg = cases[_i].wg, l = n + w, per = 512, parts = ceil_div(l, per), cap = ceil_div(l, 512) * 512, hq = lists * g;
  uint32_t xs = cases[_i].xs;   /* shares of x */
  size_t n_ml = (size_t)hq * parts * (2 + wg), ny = (size_t)hq * d, ns = (size_t)lists / share * d;
  float *ml = test_memory(n_ml, 4), *x = random_floats(ny * xs, -2, 2), *xml = random_floats((size_t)hq * xs * 2, 0.5f, 4);
  float *sum = random_floats(ns, -300, 300), *y = test_memory(ny * HARNESS_DEVICES, 4);
  uint16_t *s = test_memory((size_t)hq * cap, 2);   /* weights around 1 */
  for (size_t i = 0; i < (size_t)hq * cap; i++) s[i] = (uint16_t)(58 * 512 + random_below(10 * 512));
  uint32_t *list = test_memory((size_t)lists * k, 4), step[STEP_WORDS] = { [STEP_POS] = l - 1, [STEP_LEN] = l, [STEP_CAND] = n, [STEP_CNT] = k };
  double *want = test_memory(ny, sizeof *want);
  for (uint32_t h = 0; h < lists; h++) for (uint32_t j = 0; j < k; j++) list[h * k + j] = j * (n / k) + random_below(n / k);
  for (uint32_t head = 0; head < hq; head++) {
    double all = 0, held = 0, score[2048];
    for (uint32_t j = 0; j < parts; j++) {
      float *part = ml + ((size_t)head * parts + j) * (2 + wg);
      for (uint32_t lane = 0; lane < wg; lane++) part[2 + lane] = random_float(-6, 3);
      part[0] = -1e30f;
      double z = 0;
      for (uint32_t t = j * per; t < (j + 1) * per && t < l; t++) {
        uint32_t bits = s[(size_t)head * cap + t];
        float r = part[2 + t % per / tn % wg];
        score[t] = r + log(ldexp(1 + (bits & 0x1ff) / 512.0, (int)(bits >> 9) - 63));
        part[0] = fmaxf(part[0], r);
      }
      for (uint32_t t = j * per; t < (j + 1) * per && t < l; t++) z += exp(score[t] - part[0]);
      part[1] = (float)z;
    }
    for (uint32_t t = 0; t < l; t++) all += exp(score[t]);
    for (uint32_t j = 0; j < k; j++) held += exp(score[list[head / g * k + j]]);
    for (uint32_t t = n; t < l; t++) held += exp(score[t]);
    for (uint32_t i = 0; i < d; i++) {
      double v = 0, z = 0;
      for (uint32_t j = 0; j < xs; j++) {
        const float *stat = xml + (head * xs + j) * 2;
        v += x[(head * xs + j) * d + i] * exp(stat[0]);
        z += stat[1] * exp(stat[0]);
      }
      want[head * d + i] = held / all * (xs > 1 ? v / z : x[head * d + i]) + (1 - held / all) * sum[head / g / share * d + i] / l;
    }
  }
  for (uint32_t team = 0; team < 2; team++) {
    struct tail_mix_params p = { .per = per, .cap = cap, .parts = parts, .kstr = k, .share = share, .d4 = d / 4, .xshares = xs };
    harness_case("lists %u g %u d %u n %u k %u team %u", lists, g, d, n, k, team);
    uint32_t lanes = team ? 128 : 8;
    HARNESS_RUN(KERNEL_TAIL_MIX, SPEC(lanes, g, tn, wg, team), GROUPS(hq, 1, 1), &p, IN(ml, n_ml * 4), IN(s, (size_t)hq * cap * 2),
                IN(list, (size_t)lists * k * 4), IN(x, ny * xs * 4), IN(xml, (size_t)hq * xs * 8), IN(sum, ns * 4), IN(step, sizeof step),
                OUT(ARG_NMSE, ny * 4, 1e-10, y));
    nmse_check(y, want, ny, 1e-10, "mixed rows");
    for (size_t i = 0; i < harness_count(); i++) {   /* the same from weights in ranges of a share each */
      struct bench b = { .dev = harness_device(i) };
      struct view vml = bench_put(&b, ml, n_ml * 4), vlist = bench_put(&b, list, (size_t)lists * k * 4), vx = bench_put(&b, x, ny * xs * 4);
      struct view vsum = bench_put(&b, sum, ns * 4), vstep = bench_put(&b, step, sizeof step), vy = bench_put(&b, NULL, ny * 4);
      struct view vxml = bench_put(&b, xml, (size_t)hq * xs * 8), total = bench_put(&b, random_floats(hq, 5, 9), hq * 4);
      for (uint32_t t0 = 0; t0 < l; t0 += per) {
        uint16_t *part = test_memory((size_t)hq * per, 2);
        for (uint32_t head = 0; head < hq; head++) memcpy(part + (size_t)head * per, s + (size_t)head * cap + t0, per * 2);
        p.cap = per, p.t0 = t0, p.last = t0 + per >= l;
        DISPATCH(b.dev, bench_kernel(&b, KERNEL_TAIL_MIX_SPLIT, SPEC(lanes, g, tn, wg, team)), hq, 1, 1, &p, vml,
                 bench_put(&b, part, (size_t)hq * per * 2), vlist, vx, vxml, vsum, vstep, vy, total);
      }
      memcpy(y + i * ny, bench_take(&b, vy), ny * 4);
      bench_clear(&b);
    }
    nmse_check(y, want, ny, 1e-10, "mixed rows, in ranges");
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("kernels_tail");
  TCase *c = tcase_create("tail");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, value_sums, 0, 4);
  tcase_add_loop_test(c, mass_goes_to_the_mean, 0, 4);
  suite_add_tcase(suite, c);
  return suite_run(suite, CK_NOFORK);
}
