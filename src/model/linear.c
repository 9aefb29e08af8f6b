/* linear.c - see linear.h. */
#include "model/linear.h"

#include "base/num.h"

enum {
  MANY = 8,                       /* rows from which on a lane holds several */
  SCRATCH = 16 << 20              /* bytes of weights as floats at a time */
};

static enum form form_for(const struct device *d, const struct linear_part *part, uint32_t k, bool many) {
  bool wide = (uint64_t)part->rows * k >= FORM_WIDE;
  return d->forms.op[many ? wide ? OP_MATMUL_WIDE : OP_MATMUL : wide ? OP_MATVEC_WIDE : OP_MATVEC].form;
}

static enum lrqk_status prepare_clblast(struct linear_kernels *l, const struct linear_part *part) {
  if (!l->scratch.size) {
    pool_init(&l->pool, l->dev, PLACE_DEVICE, "weights as floats", SCRATCH);
    TRY(pool_alloc(&l->scratch, &l->pool, SCRATCH));
    TRY(kernel_get(&l->gemm, l->dev, KERNEL_GEMM, SPEC(64)));
  }
  return l->dequant[part->type] ? LRQK_OK : kernel_get(&l->dequant[part->type], l->dev, KERNEL_DEQUANT, SPEC(64, part->type));
}

/* Only the weight types that a model has: a pipeline takes tens of milliseconds to make. */
static enum lrqk_status prepare_part(struct linear_kernels *l, const struct linear_part *part, uint32_t k, bool many) {
  struct device *d = l->dev;
  bool cpu = d->caps.cpu;
  switch (form_for(d, part, k, many)) {
    case FORM_TILE:
      if (many) return l->matmul_tile[part->type] ? LRQK_OK : kernel_get(&l->matmul_tile[part->type], d, KERNEL_MATMUL_TILE, SPEC(64, 8, 8, part->type));
      return l->matvec_tile[part->type] ? LRQK_OK : kernel_get(&l->matvec_tile[part->type], d, KERNEL_MATVEC_TILE, SPEC(256, 16, part->type));
    case FORM_CLBLAST: return prepare_clblast(l, part);
    default:
      if (l->matmul[part->kernel][many]) return LRQK_OK;
      return kernel_get(&l->matmul[part->kernel][many], d, part->kernel, SPEC(cpu ? 8 : 64, many ? 8 : 1, cpu || many ? 4 : 1));
  }
}

enum lrqk_status linear_prepare(struct linear_kernels *l, const struct linear *w) {
  for (uint32_t i = 0; i < w->n_parts; i++)
    for (int many = 0; many < 2; many++) TRY(prepare_part(l, &w->part[i], w->k, many));
  return LRQK_OK;
}

static void run_register(const struct linear_kernels *l, const struct linear *w, const struct linear_part *part, struct view x, struct view y,
                         struct view scale, uint32_t rows) {
  const struct kernel *k = l->matmul[part->kernel][rows >= MANY];
  struct matmul_params p = { .m = rows, .n = part->rows, .nblk = w->k / part->block, .ystr = w->n, .y0 = part->row0 };
  DISPATCH(l->dev, k, ceil_div(part->rows, k->spec[0] * k->spec[2]), ceil_div(rows, k->spec[1]), 1, &p, x, part->q, y, scale);
}

static void run_tile(const struct linear_kernels *l, const struct linear *w, const struct linear_part *part, struct view x, struct view y,
                     struct view scale, uint32_t rows) {
  if (rows >= MANY) {
    const struct kernel *k = l->matmul_tile[part->type];
    struct matmul_tile_params p = { .m = rows, .n = part->rows, .k = w->k, .ystr = w->n, .y0 = part->row0 };
    DISPATCH(l->dev, k, ceil_div(part->rows, k->spec[0]), ceil_div(rows, k->spec[1] * k->spec[2]), 1, &p, x, part->q, y, scale);
  } else {
    const struct kernel *k = l->matvec_tile[part->type];
    struct matvec_tile_params p = { .n = part->rows, .k = w->k, .ystr = w->n, .y0 = part->row0 };
    DISPATCH(l->dev, k, ceil_div(part->rows, k->spec[1]), rows, 1, &p, x, part->q, y, scale);
  }
}

void linear_destroy(struct linear_kernels *l) { pool_destroy(&l->pool); }

/* As many rows of the weight at a time as the scratch holds. */
static void run_clblast(const struct linear_kernels *l, const struct linear *w, const struct linear_part *part, struct view x, struct view y,
                        struct view scale, uint32_t rows) {
  uint32_t most = min_u32(SCRATCH / 4 / w->k, part->rows);
  for (uint32_t row = 0; row < part->rows; row += most) {
    uint32_t n = min_u32(most, part->rows - row);
    struct view floats = { l->scratch.buf, l->scratch.offset, (uint64_t)n * w->k * 4 };
    struct dequant_params d = { .n = part->rows, .k = w->k, .row0 = row, .rows = n };
    DISPATCH(l->dev, l->dequant[part->type], ceil_div(n, 64), ceil_div(w->k, 16), 1, &d, part->q, scale, floats);
    struct gemm_params g = { .m = rows, .n = n, .k = w->k, .lda = w->k, .ldb = n, .ldc = w->n, .c0 = part->row0 + row };
    DISPATCH(l->dev, l->gemm, ceil_div(n, 64), rows, 1, &g, x, floats, y);
  }
}

void linear_run(const struct linear_kernels *l, const struct linear *w, struct view x, struct view y, uint32_t rows) {
  for (uint32_t i = 0; i < w->n_parts; i++) {
    const struct linear_part *part = &w->part[i];
    struct view scale = part->scale.size ? part->scale : part->q;
    switch (form_for(l->dev, part, w->k, rows >= MANY)) {
      case FORM_TILE: run_tile(l, w, part, x, y, scale, rows); break;
      case FORM_CLBLAST: run_clblast(l, w, part, x, y, scale, rows); break;
      default: run_register(l, w, part, x, y, scale, rows); break;
    }
  }
}
