/* device.c - the context of the OpenCL back end and its queue; the table device_opencl. */
#include "base/mem.h"
#include "device/opencl/ocl.h"

static const char *error_name(cl_int r) {
  switch (r) {
    case CL_COMPILER_NOT_AVAILABLE: return "the driver has no compiler";
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "out of device memory";
    case CL_OUT_OF_RESOURCES: return "out of resources";
    case CL_OUT_OF_HOST_MEMORY: return "out of host memory";
    case CL_BUILD_PROGRAM_FAILURE: return "the program does not compile";
    case CL_INVALID_WORK_GROUP_SIZE: return "workgroup too large";
    case CL_INVALID_BUFFER_SIZE: return "buffer too large";
    case CL_MISALIGNED_SUB_BUFFER_OFFSET: return "misaligned range";
    default: return "error";
  }
}

enum lrqk_status ocl_fail(struct ocl *o, cl_int r, const char *call) {
  const char *name = o->dev->caps.info.name;
  switch (r) {
    case CL_OUT_OF_HOST_MEMORY:
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return fail(&o->dev->log, LRQK_MEMORY, "%s: %s: %s", name, call, error_name(r));
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST:
      fail(&o->dev->log, LRQK_DEVICE_LOST, "%s: the device stopped answering (%s)", name, call);
      log_hint(&o->dev->log, "often the driver's watchdog ended a kernel that ran too long, or the GPU is unstable");
      return LRQK_DEVICE_LOST;
    default: return fail(&o->dev->log, LRQK_RUNTIME, "%s: %s: %s (%d)", name, call, error_name(r), r);
  }
}

static enum lrqk_status open_device(struct ocl *o, uint32_t index, const struct device_options *opt) {
  struct device *d = o->dev;
  struct ocl_device list[OCL_MAX_DEVICES];
  if (index >= ocl_usable_devices(&d->log, list)) return fail(&d->log, LRQK_DEVICE, "%s is no longer there", d->caps.info.name);
  o->ocl = list[index];
  if (opt->separate) o->ocl.shared = false;
  ocl_caps(&o->ocl, &d->caps);
  o->timing = opt->timing;
  o->range = mem_alloc(OCL_RANGES, sizeof *o->range);
  if (!o->range) return fail(&d->log, LRQK_MEMORY, "opencl: out of host memory");
  cl_int r;
  o->context = clCreateContext(NULL, 1, &o->ocl.id, NULL, NULL, &r);
  if (!o->context) return ocl_fail(o, r, "clCreateContext");
  o->queue = clCreateCommandQueue(o->context, o->ocl.id, o->timing ? CL_QUEUE_PROFILING_ENABLE : 0, &r);
  if (!o->queue) return ocl_fail(o, r, "clCreateCommandQueue");
  o->second = clCreateCommandQueue(o->context, o->ocl.id, o->timing ? CL_QUEUE_PROFILING_ENABLE : 0, &r);
  if (!o->second) return ocl_fail(o, r, "clCreateCommandQueue");
  ocl_cache_open(o);
  return LRQK_OK;
}

/* Also after an open that failed half-way. */
static void ocl_close(struct device *d) {
  struct ocl *o = d->backend;
  if (o->queue) clFinish(o->queue);
  if (o->second) clFinish(o->second);
  ocl_blas_close(o);
  ocl_commands_destroy(o);
  ocl_stamps_destroy(o);
  if (o->range) ocl_ranges_drop(o);
  if (o->queue) clReleaseCommandQueue(o->queue);
  if (o->second) clReleaseCommandQueue(o->second);
  if (o->context) clReleaseContext(o->context);
  mem_free(o->range);
  mem_free(o);
  d->backend = NULL;
}

static enum lrqk_status ocl_open(struct device *d, uint32_t index, const struct device_options *opt) {
  struct ocl *o = mem_alloc(1, sizeof *o);
  if (!o) return fail(&d->log, LRQK_MEMORY, "opencl: out of host memory");
  o->dev = d;
  d->backend = o;
  enum lrqk_status s = open_device(o, index, opt);
  if (s != LRQK_OK) ocl_close(d);
  return s;
}

const struct device_ops device_opencl = {
  .name = "opencl", .enumerate = ocl_enumerate, .open = ocl_open, .close = ocl_close, .memory = ocl_memory,
  .buffer_create = ocl_buffer_create, .buffer_destroy = ocl_buffer_destroy,
  .kernel_create = ocl_kernel_create, .kernel_destroy = ocl_kernel_destroy,
  .dispatch = ocl_dispatch, .copy = ocl_copy, .fill = ocl_fill, .barrier = ocl_barrier,
  .submit = ocl_submit, .wait = ocl_wait, .aside = ocl_aside, .join = ocl_join, .times_aside = true, .spans = ocl_spans, .clocks = ocl_clocks,
  .kernel_figures = ocl_kernel_figures,
};
