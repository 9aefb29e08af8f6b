/* norm.c - see norm.h. */
#include "model/norm.h"

#include "base/num.h"

enum { ROW_LANES = 256, HEAD_LANES = 128 };   /* of the tile forms; the largest head has 128 times 4 values */

enum lrqk_status norm_prepare(struct norm_kernels *n, struct device *d, uint32_t width, float eps) {
  *n = (struct norm_kernels){ .dev = d, .width = width, .eps = eps };
  if (d->forms.op[OP_NORM].form == FORM_TILE) {
    uint32_t own = ceil_div(width / 4, ROW_LANES);
    TRY(kernel_get(&n->rows_tile, d, KERNEL_RMS_NORM_TILE, SPEC(ROW_LANES, own)));
    return kernel_get(&n->rows_add_tile, d, KERNEL_RMS_NORM_ADD_TILE, SPEC(ROW_LANES, own));
  }
  TRY(kernel_get(&n->rows, d, KERNEL_RMS_NORM, SPEC(8)));
  return kernel_get(&n->rows_add, d, KERNEL_RMS_NORM_ADD, SPEC(8));
}

enum lrqk_status norm_prepare_heads(struct norm_kernels *n) {
  if (n->rows_tile) return kernel_get(&n->heads_tile, n->dev, KERNEL_HEAD_NORM_TILE, SPEC(HEAD_LANES));
  return kernel_get(&n->heads, n->dev, KERNEL_HEAD_NORM, SPEC(n->dev->caps.cpu ? 8 : 64));
}

void norm_rows(const struct norm_kernels *n, struct view x, struct view weight, struct view y, uint32_t rows) {
  struct rms_norm_params p = { .rows = rows, .n4 = n->width / 4, .eps = n->eps };
  struct rms_norm_tile_params t = { .n4 = p.n4, .eps = p.eps };
  if (n->rows_tile) DISPATCH(n->dev, n->rows_tile, rows, 1, 1, &t, x, weight, y);
  else DISPATCH(n->dev, n->rows, ceil_div(rows, n->rows->spec[0]), 1, 1, &p, x, weight, y);
}

void norm_rows_add(const struct norm_kernels *n, struct view x, struct view delta, struct view weight, struct view sum, struct view y,
                   uint32_t rows) {
  struct rms_norm_params p = { .rows = rows, .n4 = n->width / 4, .eps = n->eps };
  struct rms_norm_tile_params t = { .n4 = p.n4, .eps = p.eps };
  if (n->rows_tile) DISPATCH(n->dev, n->rows_add_tile, rows, 1, 1, &t, x, weight, y, delta, sum);
  else DISPATCH(n->dev, n->rows_add, ceil_div(rows, n->rows_add->spec[0]), 1, 1, &p, x, weight, y, delta, sum);
}

void norm_heads(const struct norm_kernels *n, struct view qkv, struct view weight, struct view y, uint32_t rows, uint32_t nq, uint32_t hk,
                uint32_t d) {
  struct head_norm_params p = { .rows = rows, .nq = nq, .hk = hk, .d4 = d / 4, .eps = n->eps };
  struct head_norm_tile_params t = { .rows = rows, .nq = nq, .hk = hk, .d4 = p.d4, .eps = n->eps };
  uint32_t heads = rows * (nq + 2 * hk), groups = ceil_div(heads, HEAD_LANES / t.d4), most = DEVICE_MAX_GROUPS;
  if (n->heads_tile) DISPATCH(n->dev, n->heads_tile, min_u32(groups, most), ceil_div(groups, most), 1, &t, qkv, weight, y);
  else DISPATCH(n->dev, n->heads, ceil_div(heads, n->heads->spec[0]), 1, 1, &p, qkv, weight, y);
}
