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

/* On CPU drivers a lane with rows of both halves costs more than the step that it saves (a fifth of the product with PoCL). */
bool linear_can_gate(const struct linear_kernels *l, const struct linear *w) {
  if (l->dev->caps.cpu || w->n_parts != 1 || w->bias.size) return false;
  return form_for(l->dev, w->part, w->k, false) != FORM_CLBLAST && form_for(l->dev, w->part, w->k, true) != FORM_CLBLAST;
}

/* Only the weight types that a model has: a pipeline takes tens of milliseconds to make. */
static enum lrqk_status prepare_part(struct linear_kernels *l, const struct linear_part *part, uint32_t k, enum gate gate, bool many) {
  struct device *d = l->dev;
  struct linear_forms *f = gate ? &l->gated : &l->plain;
  bool cpu = d->caps.cpu;
  switch (form_for(d, part, k, many)) {
    case FORM_TILE:
      if (many) return f->matmul_tile[part->type] ? LRQK_OK : kernel_get(&f->matmul_tile[part->type], d, KERNEL_MATMUL_TILE, SPEC(64, 8, 8, part->type, gate));
      return f->matvec_tile[part->type] ? LRQK_OK : kernel_get(&f->matvec_tile[part->type], d, KERNEL_MATVEC_TILE, SPEC(256, 16, part->type, gate));
    case FORM_CLBLAST: return prepare_clblast(l, part);
    default:
      if (f->matmul[part->kernel][many]) return LRQK_OK;
      return kernel_get(&f->matmul[part->kernel][many], d, part->kernel, SPEC(cpu ? 8 : 64, many ? 8 : 1, cpu || many ? 4 : gate ? 2 : 1, gate));
  }
}

enum lrqk_status linear_prepare(struct linear_kernels *l, const struct linear *w, enum gate gate) {
  for (uint32_t i = 0; i < w->n_parts; i++)
    for (int many = 0; many < 2; many++) TRY(prepare_part(l, &w->part[i], w->k, gate, many));
  return LRQK_OK;
}

/* One part of a layer on its way: y has ystr columns. */
struct product { const struct linear *w; const struct linear_part *part; struct view x, y, scale; uint32_t rows, ystr; };

static void run_register(const struct linear_kernels *l, const struct linear_forms *f, const struct product *a) {
  const struct kernel *k = f->matmul[a->part->kernel][a->rows >= MANY];
  struct matmul_params p = { .m = a->rows, .n = a->part->rows, .nblk = a->w->k / a->part->block, .ystr = a->ystr, .y0 = a->part->row0 };
  DISPATCH(l->dev, k, ceil_div(p.n, k->spec[0] * k->spec[2]), ceil_div(p.m, k->spec[1]), 1, &p, a->x, a->part->q, a->y, a->scale);
}

static void run_tile(const struct linear_kernels *l, const struct linear_forms *f, const struct product *a) {
  if (a->rows >= MANY) {
    const struct kernel *k = f->matmul_tile[a->part->type];
    struct matmul_tile_params p = { .m = a->rows, .n = a->part->rows, .k = a->w->k, .ystr = a->ystr, .y0 = a->part->row0 };
    DISPATCH(l->dev, k, ceil_div(p.n, k->spec[0]), ceil_div(p.m, k->spec[1] * k->spec[2]), 1, &p, a->x, a->part->q, a->y, a->scale);
  } else {
    const struct kernel *k = f->matvec_tile[a->part->type];
    struct matvec_tile_params p = { .n = a->part->rows, .k = a->w->k, .ystr = a->ystr, .y0 = a->part->row0 };
    DISPATCH(l->dev, k, ceil_div(p.n, k->spec[1]), a->rows, 1, &p, a->x, a->part->q, a->y, a->scale);
  }
}

void linear_destroy(struct linear_kernels *l) { pool_destroy(&l->pool); }

/* As many rows of the weight at a time as the scratch holds. */
static void run_clblast(const struct linear_kernels *l, const struct product *a) {
  const struct linear_part *part = a->part;
  uint32_t k = a->w->k, most = min_u32(SCRATCH / 4 / k, part->rows);
  for (uint32_t row = 0; row < part->rows; row += most) {
    uint32_t n = min_u32(most, part->rows - row);
    struct view floats = { l->scratch.buf, l->scratch.offset, (uint64_t)n * k * 4 };
    struct dequant_params d = { .n = part->rows, .k = k, .row0 = row, .rows = n };
    DISPATCH(l->dev, l->dequant[part->type], ceil_div(n, 64), ceil_div(k, 16), 1, &d, part->q, a->scale, floats);
    struct gemm_params g = { .m = a->rows, .n = n, .k = k, .lda = k, .ldb = n, .ldc = a->ystr, .c0 = part->row0 + row, .batch = 1 };
    DISPATCH(l->dev, l->gemm, ceil_div(n, 64), a->rows, 1, &g, a->x, floats, a->y);
  }
}

void linear_run(const struct linear_kernels *l, const struct linear *w, enum gate gate, struct view x, struct view y, uint32_t rows) {
  const struct linear_forms *f = gate ? &l->gated : &l->plain;
  for (uint32_t i = 0; i < w->n_parts; i++) {
    const struct linear_part *part = &w->part[i];
    const struct product a = { .w = w, .part = part, .x = x, .y = y, .scale = part->scale.size ? part->scale : part->q, .rows = rows,
                               .ystr = gate ? w->n / 2 : w->n };
    switch (form_for(l->dev, part, w->k, rows >= MANY)) {
      case FORM_TILE: run_tile(l, f, &a); break;
      case FORM_CLBLAST: run_clblast(l, &a); break;
      default: run_register(l, f, &a); break;
    }
  }
}
