/* blas.c - dense products by CLBlast, in place of the kernel `gemm`: the only file that knows the library.
 * CLBlast compiles its kernels at their first use in a process and keeps them in a cache of its own by context. */
#include "device/opencl/ocl.h"

#include <clblast_c.h>

bool ocl_blas_available(void) { return true; }

enum lrqk_status ocl_blas_gemm(struct ocl *o, const struct view *views, const struct gemm_params *p) {
  cl_mem mem[3];
  for (int i = 0; i < 3; i++) TRY(ocl_range_get(o, &views[i], &mem[i]));
  CLBlastTranspose ta = p->ta ? CLBlastTransposeYes : CLBlastTransposeNo, tb = p->tb ? CLBlastTransposeYes : CLBlastTransposeNo;
  float beta = p->add ? 1.0f : 0.0f;
  CLBlastStatusCode r;
  if (p->batch == 1)
    r = CLBlastSgemm(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1.0f, mem[0], p->a0, p->lda, mem[1], p->b0, p->ldb, beta, mem[2], p->c0, p->ldc,
                     &o->queue, ocl_stamp(o, "GEMM"));
  else
    r = CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1.0f, mem[0], p->a0, p->lda, p->astr, mem[1], p->b0, p->ldb,
                                   p->bstr, beta, mem[2], p->c0, p->ldc, p->cstr, p->batch, &o->queue, ocl_stamp(o, "GEMM"));
  o->blas_used = true;
  if (r != CLBlastSuccess) return ocl_fail(o, (cl_int)r, "CLBlastSgemm");
  return LRQK_OK;
}

/* What its cache holds belongs to this context, and another may get the same address. */
void ocl_blas_close(struct ocl *o) {
  if (o->blas_used) CLBlastClearCache();
}
