#include "attention/rotate.h"

#include <math.h>

static const double TURN = 6.283185307179586476925286766559;

size_t rotate_table_size(uint32_t d) { return (size_t)(d / 2) * (d / 2) * 4; }

/* mean[2] of exp(i t angle) over t in [t0, t0 + n): exp(i angle (t0 + (n-1)/2)) sin(n angle/2) / (n sin(angle/2)).
 * Whole turns do not matter, t being whole; without them the divisor is small only where the angle is, and there the
 * quotient of the sines is exact to rounding. */
static void mean_phase(double mean[2], double angle, uint64_t t0, uint64_t n) {
  double a = remainder(angle, TURN), half = a / 2;
  double size = half == 0 ? 1 : sin((double)n * half) / ((double)n * sin(half));
  double phase = a * ((double)t0 + ((double)n - 1) / 2);
  mean[0] = size * cos(phase);
  mean[1] = size * sin(phase);
}

void rotate_table(double *table, const struct rotate_pairs *r, uint64_t t0, uint64_t n) {
  uint32_t pairs = r->d / 2;
  for (uint32_t p = 0; p < pairs; p++)
    for (uint32_t q = 0; q < pairs; q++) {
      double *f = table + ((size_t)p * pairs + q) * 4;
      mean_phase(f, r->inv_freq[p] - r->inv_freq[q], t0, n);
      mean_phase(f + 2, r->inv_freq[p] + r->inv_freq[q], t0, n);
    }
}

static void pair(const struct rotate_pairs *r, uint32_t p, uint32_t *a, uint32_t *b) {
  bool halves = r->neox && p < r->rot / 2;
  *a = halves ? p : 2 * p;
  *b = halves ? p + r->rot / 2 : 2 * p + 1;
}

void rotate_average(double *out, const double *s, const struct rotate_pairs *r, const double *table) {
  uint32_t pairs = r->d / 2, pa, pb, qa, qb;
  size_t d = r->d;
  for (uint32_t p = 0; p < pairs; p++) {
    pair(r, p, &pa, &pb);
    for (uint32_t q = 0; q < pairs; q++) {
      pair(r, q, &qa, &qb);
      const double *f = table + ((size_t)p * pairs + q) * 4;
      double aa = s[pa * d + qa], ab = s[pa * d + qb], ba = s[pb * d + qa], bb = s[pb * d + qb];
      double hr = aa + bb, hi = ba - ab;   /* z_p conj(z_q) */
      double sr = aa - bb, si = ba + ab;   /* z_p z_q */
      double tr = hr * f[0] - hi * f[1], ti = hr * f[1] + hi * f[0];
      double ur = sr * f[2] - si * f[3], ui = sr * f[3] + si * f[2];
      out[pa * d + qa] = (tr + ur) / 2;
      out[pb * d + qb] = (tr - ur) / 2;
      out[pa * d + qb] = (ui - ti) / 2;
      out[pb * d + qa] = (ui + ti) / 2;
    }
  }
}

void rotate_centre(double *s, const double *mean, const double *mu, uint64_t l, uint32_t d) {
  for (uint32_t i = 0; i < d; i++)
    for (uint32_t j = 0; j < d; j++) s[(size_t)i * d + j] -= (double)l * (mean[i] * mu[j] + mu[i] * mean[j] - mu[i] * mu[j]);
}
