/* golden.h - the golden values of tests/data/factor_golden.bin (tools/reference/make_factor_golden.py) and the synthetic
 * queries and keys that they were computed from.  A missing or misshapen record fails the test that asks for it. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stddef.h>
#include <stdint.h>

const double *golden_f64(const char *name, size_t count);    /* "CASE.key"; valid until golden_free */
const int32_t *golden_i32(const char *name, size_t count);
void golden_free(void);
double golden_error(const double *a, const double *want, size_t n);            /* largest difference over the largest |want| */
double golden_basis_error(const char *name, const double *b, size_t rows);     /* of b [rows][d], of which every 4th column is kept */

/* Portable normals: splitmix64 and Box-Muller, rounded to float. */
void prandn(float *out, uint64_t seed, size_t n);

enum { SYNTH_D = 64, SYNTH_STEPS = 8 };   /* head size; tokens that are decoded after the n of the prompt */
struct synth { uint32_t heads, n; float *q, *k; };   /* q [heads][n + steps][d], k [n + steps][d]: one KV head */
/* mix: the record [d][d] that turns independent coordinates into correlated ones. */
void synth_make(struct synth *s, const char *mix, uint64_t seed, uint32_t heads, uint32_t n);
void synth_free(struct synth *s);

#endif
