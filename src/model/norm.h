/* norm.h - the norms of the forward pass: of rows of one width, and of heads, in the form that the device runs (device/form.h). */
#ifndef MODEL_NORM_H
#define MODEL_NORM_H

#include "device/device.h"

struct norm_kernels {
  struct device *dev;
  uint32_t width;                 /* of a row */
  float eps;
  const struct kernel *rows, *rows_add, *rows_tile, *rows_add_tile;   /* register or tile */
  const struct kernel *heads, *heads_tile;   /* after norm_prepare_heads */
};

/* Norms rows of so many floats. */
enum lrqk_status norm_prepare(struct norm_kernels *n, struct device *d, uint32_t width, float eps);
enum lrqk_status norm_prepare_heads(struct norm_kernels *n);

/* y[rows][width] = norm(x) */
void norm_rows(const struct norm_kernels *n, struct view x, struct view weight, struct view y, uint32_t rows);
/* sum = x + delta, y = norm(sum) */
void norm_rows_add(const struct norm_kernels *n, struct view x, struct view delta, struct view weight, struct view sum, struct view y,
                   uint32_t rows);
/* y = qkv[rows][nq + 2 hk][d] with query and key heads normalised */
void norm_heads(const struct norm_kernels *n, struct view qkv, struct view weight, struct view y, uint32_t rows, uint32_t nq, uint32_t hk,
                uint32_t d);

#endif
