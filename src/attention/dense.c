#include "attention/dense.h"

#include <math.h>
#include <string.h>

static const double PIVOT_LEAST = 1e-9;   /* of the largest pivot */
static const double RIDGE = 1e-6;         /* of the mean of the diagonal */
static const double RIDGE_LEAST = 1e-280; /* its square root and its inverse are still normal numbers */

double dense_dot(const double *a, const double *b, uint32_t n) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < n; i++) s0 += a[i] * b[i];
  return (s0 + s1) + (s2 + s3);
}

/* y[m] += f x[m] */
static void add_scaled(double *restrict y, const double *restrict x, double f, uint32_t m) {
  for (uint32_t i = 0; i < m; i++) y[i] += f * x[i];
}

void dense_mul(double *c, const double *a, const double *b, uint32_t n, uint32_t k, uint32_t m) {
  memset(c, 0, sizeof *c * n * m);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < k; j++) add_scaled(c + (size_t)i * m, b + (size_t)j * m, a[(size_t)i * k + j], m);
}

void dense_mul_t(double *c, const double *a, const double *b, uint32_t n, uint32_t k, uint32_t m) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < m; j++) c[(size_t)i * m + j] = dense_dot(a + (size_t)i * k, b + (size_t)j * k, k);
}

/* True if every pivot is at least PIVOT_LEAST of the largest. */
static bool factorise(double *l, const double *a, uint32_t r, double ridge) {
  double least = INFINITY, most = 0;
  memset(l, 0, sizeof *l * r * r);
  for (uint32_t i = 0; i < r; i++) {
    double *li = l + (size_t)i * r;
    for (uint32_t j = 0; j < i; j++) li[j] = (a[(size_t)i * r + j] - dense_dot(li, l + (size_t)j * r, j)) / l[(size_t)j * r + j];
    double pivot = a[(size_t)i * r + i] + ridge - dense_dot(li, li, i);
    if (!(pivot > 0 && isfinite(pivot))) return false;
    if (pivot < least) least = pivot;
    if (pivot > most) most = pivot;
    li[i] = sqrt(pivot);
  }
  return least >= PIVOT_LEAST * most;
}

bool dense_cholesky(double *l, const double *a, uint32_t r, bool ridge) {
  if (!ridge && factorise(l, a, r, 0)) return true;
  double trace = 0;
  for (uint32_t i = 0; i < r; i++) trace += a[(size_t)i * r + i];
  double add = RIDGE * trace / r;
  return factorise(l, a, r, add > RIDGE_LEAST ? add : RIDGE_LEAST);
}

void dense_solve(const double *l, double *x, uint32_t r, uint32_t m) {
  for (uint32_t i = 0; i < r; i++) {
    double *xi = x + (size_t)i * m, f = 1 / l[(size_t)i * r + i];
    for (uint32_t j = 0; j < i; j++) add_scaled(xi, x + (size_t)j * m, -l[(size_t)i * r + j], m);
    for (uint32_t c = 0; c < m; c++) xi[c] *= f;
  }
  for (uint32_t i = r; i-- > 0;) {
    double *xi = x + (size_t)i * m, f = 1 / l[(size_t)i * r + i];
    for (uint32_t j = i + 1; j < r; j++) add_scaled(xi, x + (size_t)j * m, -l[(size_t)j * r + i], m);
    for (uint32_t c = 0; c < m; c++) xi[c] *= f;
  }
}
