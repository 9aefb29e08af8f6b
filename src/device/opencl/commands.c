/* commands.c - the queue: commands run in the order in which they are recorded.  A submit ends with a marker, so that
 * it can be awaited while later ones run. */
#include "device/opencl/ocl.h"

static cl_command_queue queue_of(const struct ocl *o) { return o->is_aside ? o->second : o->queue; }

enum lrqk_status ocl_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                              const void *params) {
  struct ocl *o = d->backend;
  const struct kernel_info *info = &kernel_info[k->id];
  cl_kernel kernel = k->backend;
  for (uint32_t i = 0; i < info->n_bindings; i++) TRY(ocl_use(o, views[i].buf));
  if (!kernel) return ocl_blas_gemm(o, views, params);
  OCL_TRY(o, clSetKernelArg, kernel, 0, info->params_size, params);
  for (uint32_t i = 0; i < info->n_bindings; i++) {
    cl_mem mem;
    TRY(ocl_range_get(o, &views[i], &mem));
    OCL_TRY(o, clSetKernelArg, kernel, i + 1, sizeof mem, &mem);
  }
  const size_t local[3] = { k->spec[0], 1, 1 }, global[3] = { (size_t)groups[0] * k->spec[0], groups[1], groups[2] };
  OCL_TRY(o, clEnqueueNDRangeKernel, queue_of(o), kernel, 3, NULL, global, local, 0, NULL, ocl_stamp(o, info->id));
  return LRQK_OK;
}

enum lrqk_status ocl_copy(struct device *d, struct view dst, struct view src) {
  struct ocl *o = d->backend;
  const struct ocl_buffer *from = src.buf->backend, *to = dst.buf->backend;
  TRY(ocl_use(o, src.buf));
  TRY(ocl_use(o, dst.buf));
  OCL_TRY(o, clEnqueueCopyBuffer, queue_of(o), from->mem, to->mem, src.offset, dst.offset, src.size, 0, NULL, ocl_stamp(o, "copy"));
  return LRQK_OK;
}

enum lrqk_status ocl_fill(struct device *d, struct view dst, uint32_t word) {
  struct ocl *o = d->backend;
  const struct ocl_buffer *to = dst.buf->backend;
  TRY(ocl_use(o, dst.buf));
  OCL_TRY(o, clEnqueueFillBuffer, queue_of(o), to->mem, &word, sizeof word, dst.offset, dst.size, 0, NULL, ocl_stamp(o, "fill"));
  return LRQK_OK;
}

void ocl_barrier(struct device *d) { (void)d; }   /* an in-order queue is one */

/* Up to its place in the ring an older submit has ended. */
static enum lrqk_status retire(struct ocl *o, uint32_t slot) {
  if (!o->submit[slot].event) return LRQK_OK;
  cl_int r = clWaitForEvents(1, &o->submit[slot].event);
  clReleaseEvent(o->submit[slot].event);
  o->submit[slot].event = NULL;
  if (r != CL_SUCCESS) return ocl_fail(o, r, "clWaitForEvents");
  if (o->submit[slot].ticket > o->done) o->done = o->submit[slot].ticket;
  return LRQK_OK;
}

enum lrqk_status ocl_submit(struct device *d, uint64_t ticket) {
  struct ocl *o = d->backend;
  uint32_t slot = (uint32_t)(ticket % OCL_RING);
  TRY(retire(o, slot));
  TRY(ocl_stamps_end(o));
  OCL_TRY(o, clEnqueueMarkerWithWaitList, o->queue, 0, NULL, &o->submit[slot].event);
  o->submit[slot].ticket = o->ticket = ticket;
  OCL_TRY(o, clFlush, o->queue);
  return LRQK_OK;
}

/* ---- the second queue: in order like the first, and they wait for each other's markers */

enum lrqk_status ocl_aside(struct device *d, bool begin) {
  struct ocl *o = d->backend;
  const cl_event *last = &o->submit[o->ticket % OCL_RING].event;
  o->is_aside = begin;
  if (begin && *last) OCL_TRY(o, clEnqueueBarrierWithWaitList, o->second, 1, last, NULL);
  if (begin) return LRQK_OK;
  if (o->aside) clReleaseEvent(o->aside);
  o->aside = NULL;
  OCL_TRY(o, clEnqueueMarkerWithWaitList, o->second, 0, NULL, &o->aside);
  OCL_TRY(o, clFlush, o->second);
  return LRQK_OK;
}

enum lrqk_status ocl_join(struct device *d) {
  struct ocl *o = d->backend;
  if (o->aside) OCL_TRY(o, clEnqueueBarrierWithWaitList, o->queue, 1, &o->aside, NULL);
  return LRQK_OK;
}

static enum lrqk_status wait_aside(struct ocl *o) {
  if (!o->aside) return LRQK_OK;
  cl_int r = clWaitForEvents(1, &o->aside);
  clReleaseEvent(o->aside);
  o->aside = NULL;
  return r == CL_SUCCESS ? LRQK_OK : ocl_fail(o, r, "clWaitForEvents");
}

enum lrqk_status ocl_wait(struct device *d, uint64_t ticket) {
  struct ocl *o = d->backend;
  TRY(wait_aside(o));
  if (ticket > o->done) {
    for (uint64_t t = o->done + 1; t <= ticket; t++) TRY(retire(o, (uint32_t)(t % OCL_RING)));
    o->done = ticket;
  }
  if (ticket == o->ticket) ocl_stamps_collect(o);
  return ocl_map_idle(o);
}

void ocl_commands_destroy(struct ocl *o) {
  if (o->aside) clReleaseEvent(o->aside);
  for (uint32_t i = 0; i < OCL_RING; i++)
    if (o->submit[i].event) clReleaseEvent(o->submit[i].event);
}
