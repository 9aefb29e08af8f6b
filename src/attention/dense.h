/* dense.h - small dense algebra in double for the solvers of the joint factors (factor.c, paper.c): products, and
 * systems with a symmetric positive definite matrix.  Matrices are row-major; outputs never overlap inputs. */
#ifndef ATTENTION_DENSE_H
#define ATTENTION_DENSE_H

#include <stdbool.h>
#include <stdint.h>

double dense_dot(const double *a, const double *b, uint32_t n);
void dense_mul(double *c, const double *a, const double *b, uint32_t n, uint32_t k, uint32_t m);     /* c[n][m] = a[n][k] b[k][m] */
void dense_mul_t(double *c, const double *a, const double *b, uint32_t n, uint32_t k, uint32_t m);   /* c[n][m] = a[n][k] b[m][k]' */

/* l l' = a (+ 1e-6 tr(a)/r on the diagonal if ridge, or if a pivot falls under 1e-9 of the largest): l[r][r] lower, of
 * a[r][r] only the lower triangle is read.  A zero matrix gets a diagonal so small that zero right-hand sides give zero.
 * False if a holds something that is no number, or is far from positive semidefinite. */
bool dense_cholesky(double *l, const double *a, uint32_t r, bool ridge);
void dense_solve(const double *l, double *x, uint32_t r, uint32_t m);                                /* x[r][m] = (l l')^-1 x */

#endif
