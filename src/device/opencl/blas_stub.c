/* blas_stub.c - a build without CLBlast: the kernel `gemm` is one of ours. */
#include "device/opencl/ocl.h"

bool ocl_blas_available(void) { return false; }

enum lrqk_status ocl_blas_gemm(struct ocl *o, const struct view *views, const struct gemm_params *p) {
  (void)views, (void)p;
  return fail(&o->dev->log, LRQK_RUNTIME, "opencl: this build has no CLBlast");
}

void ocl_blas_close(struct ocl *o) { (void)o; }
