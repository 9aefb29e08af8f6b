/* rotate.h - Gram matrices summed before RoPE, averaged in closed form over the positions where they will be used:
 * mean over t in [t0, t0 + n) of R(t) S R(t)', R(t) being RoPE at position t.  With pair p of a vector as a complex number
 * z_p that turns by theta_p per position, E[z_p conj(z_q)] is multiplied by the mean of exp(i t (theta_p - theta_q)) and
 * E[z_p z_q] by that of exp(i t (theta_p + theta_q)): geometric sums, the same for all heads and layers (a table).
 * A RoPE that also scales its result by m (yarn) multiplies the mean by m^2: that is the caller's.  Pure arithmetic. */
#ifndef ATTENTION_ROTATE_H
#define ATTENTION_ROTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rotate_pairs {
  uint32_t d;               /* head size, even */
  uint32_t rot;             /* coordinates that rotate, even, <= d */
  bool neox;                /* pair p < rot/2 is (p, p + rot/2); else, and for all p >= rot/2, (2p, 2p + 1) */
  const double *inv_freq;   /* [d/2] theta_p: radians per position, 0 where nothing rotates */
};

size_t rotate_table_size(uint32_t d);   /* doubles of a table */
/* table[d/2][d/2][4]: for each two pairs the means of exp(i t (theta_p - theta_q)) and of exp(i t (theta_p + theta_q)) over
 * t in [t0, t0 + n), n > 0: real and imaginary parts. */
void rotate_table(double *table, const struct rotate_pairs *r, uint64_t t0, uint64_t n);
/* out [d][d] = mean of R(t) s R(t)'; may be s itself. */
void rotate_average(double *out, const double *s, const struct rotate_pairs *r, const double *table);

/* s [d][d] = sum of k k' over l keys with that mean [d] -> sum of (k - mu)(k - mu)'; mu [d]: the mean, or a part of it. */
void rotate_centre(double *s, const double *mean, const double *mu, uint64_t l, uint32_t d);

#endif
