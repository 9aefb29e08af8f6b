/* linear.h - linear layers on a device: y = x W' for W quantised in planes (model.h), by the form of kernel that the device
 * has chosen (device/form.h).  Called by forward.c and probe.c. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "model/model.h"

enum { WEIGHT_TYPES = 32 };       /* numbers of types in a file are below */

/* What follows a linear layer in its own kernels: y = act(first half of its columns) * second half. */
enum gate { GATE_NONE, GATE_SILU, GATE_GELU };

struct linear_kernels {
  struct device *dev;
  struct linear_forms {
    const struct kernel *matmul[N_KERNELS][2];                       /* register form: [KERNEL_MATMUL_x][rows >= 8] */
    const struct kernel *matvec_tile[WEIGHT_TYPES], *matmul_tile[WEIGHT_TYPES];
  } plain, gated;                 /* gated: all with the same gate */
  const struct kernel *dequant[WEIGHT_TYPES], *gemm;                 /* form clblast: rows of a weight become floats first */
  struct view scratch;            /* [k][rows] of these; size 0: not needed yet */
  struct pool pool;
};

/* Whether w should have a gate: on a GPU, if it is one part without a bias, in a form that has one. */
bool linear_can_gate(const struct linear_kernels *k, const struct linear *w);
/* Makes the kernels that the parts of w need, those that are not there yet.  *k begins as { .dev = ... }. */
enum lrqk_status linear_prepare(struct linear_kernels *k, const struct linear *w, enum gate gate);
void linear_destroy(struct linear_kernels *k);
/* y[rows][n] = x[rows][k] W[n][k], without the bias; gated: y[rows][n/2]. */
void linear_run(const struct linear_kernels *k, const struct linear *w, enum gate gate, struct view x, struct view y, uint32_t rows);

#endif
