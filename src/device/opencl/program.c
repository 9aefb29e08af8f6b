/* program.c - kernels: the embedded text, compiled by the driver with the specialisation constants as definitions, or
 * its binary from an earlier run. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/opencl/ocl.h"

enum { OPTIONS_CAP = 512 };

static void options_of(const struct ocl *o, const struct kernel *k, char text[OPTIONS_CAP]) {
  const struct kernel_info *info = &kernel_info[k->id];
  int at = snprintf(text, OPTIONS_CAP, "-cl-std=CL1.2%s", o->ocl.exact_divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "");
  for (uint32_t i = 0; i < k->n_spec; i++) at += snprintf(text + at, (size_t)(OPTIONS_CAP - at), " -D%s=%" PRIu32 "u", info->spec_name[i], k->spec[i]);
}

/* NULL: there is none, or the driver does not take it any more. */
static cl_program from_binary(struct ocl *o, const uint64_t key[2], const char *options) {
  size_t n;
  void *data = ocl_cache_load(o, key, &n);
  if (!data) return NULL;
  cl_int r, status = CL_SUCCESS;
  cl_program p = clCreateProgramWithBinary(o->context, 1, &o->ocl.id, &n, (const unsigned char **)&data, &status, &r);
  if (p && (status != CL_SUCCESS || clBuildProgram(p, 1, &o->ocl.id, options, NULL, NULL) != CL_SUCCESS)) {
    clReleaseProgram(p);
    p = NULL;
  }
  mem_free(data);
  return p;
}

static void save_binary(struct ocl *o, cl_program p, const uint64_t key[2]) {
  size_t n = 0;
  if (clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) != CL_SUCCESS || !n) return;
  unsigned char *data = mem_alloc(1, n);
  if (data && clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof data, &data, NULL) == CL_SUCCESS) ocl_cache_save(o, key, data, n);
  mem_free(data);
}

static enum lrqk_status build_failed(struct ocl *o, cl_program p, const char *id, cl_int r) {
  size_t n = 0;
  clGetProgramBuildInfo(p, o->ocl.id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
  char *text = mem_alloc(1, n + 1);
  if (text && clGetProgramBuildInfo(p, o->ocl.id, CL_PROGRAM_BUILD_LOG, n, text, NULL) == CL_SUCCESS)
    log_hint(&o->dev->log, "kernel %s: the compiler says: %.2000s", id, text);
  mem_free(text);
  return ocl_fail(o, r, "clBuildProgram");
}

static enum lrqk_status from_text(struct ocl *o, const struct kernel_info *info, const char *options, cl_program *out) {
  cl_int r;
  const char *text = info->opencl;
  cl_program p = clCreateProgramWithSource(o->context, 1, &text, NULL, &r);
  if (!p) return ocl_fail(o, r, "clCreateProgramWithSource");
  r = clBuildProgram(p, 1, &o->ocl.id, options, NULL, NULL);
  if (r != CL_SUCCESS) {
    enum lrqk_status s = build_failed(o, p, info->id, r);
    clReleaseProgram(p);
    return s;
  }
  *out = p;
  return LRQK_OK;
}

enum lrqk_status ocl_kernel_create(struct kernel *k) {
  struct ocl *o = k->dev->backend;
  const struct kernel_info *info = &kernel_info[k->id];
  uint64_t begin = clock_ns(), key[2];
  char options[OPTIONS_CAP];
  if (k->id == KERNEL_GEMM && ocl_blas_available()) return LRQK_OK;   /* not a kernel of ours: backend stays NULL */
  if (!info->opencl) return fail(&o->dev->log, LRQK_RUNTIME, "kernel %s: no OpenCL text in this build", info->id);
  options_of(o, k, options);
  ocl_cache_key(o, info->opencl, options, key);
  cl_program p = from_binary(o, key, options);
  bool cached = p != NULL;
  if (!p) TRY(from_text(o, info, options, &p));
  cl_int r;
  cl_kernel kernel = clCreateKernel(p, info->file, &r);
  if (kernel && !cached) save_binary(o, p, key);
  clReleaseProgram(p);   /* the kernel holds it */
  if (!kernel) return ocl_fail(o, r, "clCreateKernel");
  k->backend = kernel;
  log_debug(&o->dev->log, "kernel %s: program %s in %" PRIu64 " us", info->id, cached ? "from the cache" : "compiled", (clock_ns() - begin) / 1000);
  return LRQK_OK;
}

size_t ocl_kernel_figures(const struct kernel *k, struct kernel_figure *out, size_t cap) {
  static const struct { cl_kernel_work_group_info what; const char *name; bool wide; } known[] = {
    { CL_KERNEL_PRIVATE_MEM_SIZE, "private memory of a lane, bytes", true },   /* what does not fit into registers */
    { CL_KERNEL_LOCAL_MEM_SIZE, "shared memory of a workgroup, bytes", true },
    { CL_KERNEL_WORK_GROUP_SIZE, "lanes of the largest workgroup", false },
    { CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE, "lanes that run together", false },
  };
  const struct ocl *o = k->dev->backend;
  size_t n = 0;
  for (size_t i = 0; o->timing && k->backend && i < sizeof known / sizeof *known && n < cap; i++) {
    cl_ulong wide = 0;
    size_t narrow = 0;
    void *at = known[i].wide ? (void *)&wide : (void *)&narrow;
    if (clGetKernelWorkGroupInfo(k->backend, o->ocl.id, known[i].what, known[i].wide ? sizeof wide : sizeof narrow, at, NULL) != CL_SUCCESS) continue;
    snprintf(out[n].name, sizeof out[n].name, "%s", known[i].name);
    out[n++].value = known[i].wide ? (double)wide : (double)narrow;
  }
  return n;
}

void ocl_kernel_destroy(struct kernel *k) {
  if (k->backend) clReleaseKernel(k->backend);
}
