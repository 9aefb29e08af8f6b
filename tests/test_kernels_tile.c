/* The kernels in the form for GPUs (src/device/form.h), on every device against `host`, and `host` against the plain products
 * of the matrices. */
#include "kernel_harness.h"

#include "random_matrix.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define LEN(a) (sizeof(a) / sizeof *(a))

static const double EXACT_MATHS = 1e-11;         /* NMSE of fp32 sums of a few hundred products, for which the forms have different orders */

/* ---- linear layers */

struct product { struct matrix w; uint32_t m, ystr, y0; const float *x; const double *want; };

static struct product random_product(uint32_t type, uint32_t n, uint32_t k, uint32_t m) {
  struct product p = { .w = random_matrix(type, n, k), .m = m, .ystr = n + 3, .y0 = 2, .x = random_floats((size_t)m * k, -1, 1) };
  double *want = test_memory((size_t)m * n, sizeof *want);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++)
      for (size_t e = 0; e < k; e++) want[i * n + j] += (double)p.x[i * k + e] * p.w.values[j * k + e];
  p.want = want;
  harness_case("%s, m %u, n %u, k %u", kernel_info[p.w.t->kernel].id, m, n, k);
  return p;
}

static void check_product(const struct product *p, const float *y) {
  float *packed = test_memory((size_t)p->m * p->w.n, 4);
  for (size_t r = 0; r < p->m; r++) memcpy(packed + r * p->w.n, y + r * p->ystr + p->y0, p->w.n * 4);
  nmse_check(packed, p->want, (size_t)p->m * p->w.n, EXACT_MATHS, "host");
}

/* OpenCL takes seconds to compile one: the products are tested for some types, `dequant` for all. */
static const size_t some[] = { 0, 2, 5, 10 };                    /* of weight_types: F32, BF16, Q4_1, Q3_K */
static const uint32_t products[][2] = { { 1, 1 }, { 31, 3 }, { 65, 5 }, { 161, 600 } };   /* n, k/unit: the last, values */

static uint32_t product_k(size_t format, size_t shape) {
  uint32_t unit = weight_types[format].unit, k = products[shape][1];
  return k > 100 ? k / unit * unit : k * unit;
}

START_TEST(matvec) {
  static const uint32_t counts[] = { 1, 2, 7 };
  size_t format = some[(size_t)_i / LEN(products)], shape = (size_t)_i % LEN(products);
  uint32_t n = products[shape][0], k = product_k(format, shape);
  for (size_t i = 0; i < LEN(counts); i++) {
    struct product a = random_product(weight_types[format].type, n, k, counts[i]);
    uint64_t y_bytes = (uint64_t)a.m * a.ystr * 4;
    float *y = test_memory(y_bytes, HARNESS_DEVICES);
    struct matvec_tile_params p = { .n = n, .k = k, .ystr = a.ystr, .y0 = a.y0 };
    HARNESS_RUN(KERNEL_MATVEC_TILE, SPEC(256, 16, a.w.t->type), GROUPS(ceil_div(n, 16), a.m, 1), &p, IN(a.x, (uint64_t)a.m * k * 4),
                IN(a.w.q, a.w.q_bytes), OUT(ARG_NMSE, y_bytes, EXACT_MATHS, y), IN(a.w.scale, a.w.scale_bytes));
    check_product(&a, y);
  }
}
END_TEST

START_TEST(matmul) {
  static const uint32_t counts[] = { 8, 65 };
  size_t format = some[(size_t)_i / LEN(products)], shape = (size_t)_i % LEN(products);
  uint32_t n = products[shape][0], k = product_k(format, shape);
  for (size_t i = 0; i < LEN(counts); i++) {
    struct product a = random_product(weight_types[format].type, n, k, counts[i]);
    uint64_t y_bytes = (uint64_t)a.m * a.ystr * 4;
    float *y = test_memory(y_bytes, HARNESS_DEVICES);
    struct matmul_tile_params p = { .m = a.m, .n = n, .k = k, .ystr = a.ystr, .y0 = a.y0 };
    HARNESS_RUN(KERNEL_MATMUL_TILE, SPEC(64, 8, 8, a.w.t->type), GROUPS(ceil_div(n, 64), ceil_div(a.m, 64), 1), &p,
                IN(a.x, (uint64_t)a.m * k * 4), IN(a.w.q, a.w.q_bytes), OUT(ARG_NMSE, y_bytes, EXACT_MATHS, y),
                IN(a.w.scale, a.w.scale_bytes));
    check_product(&a, y);
  }
}
END_TEST

START_TEST(dequant) {
  const struct weight_type *type = &weight_types[_i];
  struct matrix w = random_matrix(type->type, 70, 3 * type->unit);
  static const uint32_t ranges[][2] = { { 0, 70 }, { 5, 64 }, { 69, 1 } };
  for (size_t i = 0; i < LEN(ranges); i++) {
    uint32_t row0 = ranges[i][0], rows = ranges[i][1];
    uint64_t bytes = (uint64_t)rows * w.k * 4;
    float *y = test_memory(bytes, HARNESS_DEVICES);
    harness_case("%s, rows %u + %u", kernel_info[w.t->kernel].id, row0, rows);
    struct dequant_params p = { .n = w.n, .k = w.k, .row0 = row0, .rows = rows };
    HARNESS_RUN(KERNEL_DEQUANT, SPEC(64, w.t->type), GROUPS(ceil_div(rows, 64), ceil_div(w.k, 16), 1), &p, IN(w.q, w.q_bytes),
                IN(w.scale, w.scale_bytes), OUT(ARG_NMSE, bytes, EXACT_MATHS, y));
    for (uint32_t e = 0; e < w.k; e++)
      for (uint32_t r = 0; r < rows; r++) {
        float want = w.values[(size_t)(row0 + r) * w.k + e], got = y[(size_t)e * rows + r];
        ck_assert_msg(fabsf(got - want) <= 1e-6f * fabsf(want) + 1e-8f, "row %u, k %u: %g, want %g", r, e, got, want);
      }
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("kernels_tile");
  TCase *c = tcase_create("kernels");
  tcase_set_timeout(c, 600);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, matvec, 0, (int)(LEN(some) * LEN(products)));
  tcase_add_loop_test(c, matmul, 0, (int)(LEN(some) * LEN(products)));
  tcase_add_loop_test(c, dequant, 0, N_WEIGHT_TYPES);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_set_fork_status(r, CK_NOFORK);         /* drivers do not survive a fork */
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
