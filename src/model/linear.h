/* linear.h - linear layers on a device: y = x W' for W quantised in planes (model.h), by the form of kernel that the device
 * has chosen (device/form.h).  Called by forward.c and probe.c. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "model/model.h"

enum { WEIGHT_TYPES = 32 };       /* numbers of types in a file are below */

struct linear_kernels {
  struct device *dev;
  const struct kernel *matmul[N_KERNELS][2];                         /* register form: [KERNEL_MATMUL_x][rows >= 8] */
  const struct kernel *matvec_tile[WEIGHT_TYPES], *matmul_tile[WEIGHT_TYPES];
  const struct kernel *dequant[WEIGHT_TYPES], *gemm;                 /* form clblast: rows of a weight become floats first */
  struct view scratch;            /* [k][rows] of these; size 0: not needed yet */
  struct pool pool;
};

/* Makes the kernels that the parts of w need, those that are not there yet.  *k begins as { .dev = ... }. */
enum lrqk_status linear_prepare(struct linear_kernels *k, const struct linear *w);
void linear_destroy(struct linear_kernels *k);
/* y[rows][n] = x[rows][k] W[n][k], without the bias. */
void linear_run(const struct linear_kernels *k, const struct linear *w, struct view x, struct view y, uint32_t rows);

#endif
