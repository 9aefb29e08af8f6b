/* timing.c - profiling events: one per command, its start and end on the device's clock. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE   /* RTLD_DEFAULT */
#endif
#include <dlfcn.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/opencl/ocl.h"

static const char first[] = "first command", last[] = "submit";   /* of a submit, where spans are those of submits */

static cl_event *add(struct ocl *o, const char *name) {
  if (o->n_events == o->cap_events) {
    size_t cap = o->cap_events ? o->cap_events * 2 : 4096;
    struct ocl_event *more = mem_realloc(o->event, cap, sizeof *more);
    if (!more) return NULL;
    o->event = more;
    o->cap_events = cap;
  }
  struct ocl_event *e = &o->event[o->n_events++];
  *e = (struct ocl_event){ .name = name };
  return &e->event;
}

cl_event *ocl_stamp(struct ocl *o, const char *name) {
  if (!o->timing || !o->dev->stamping) return NULL;
  if (!o->dev->whole) return add(o, name);
  if (o->begun) return NULL;
  o->begun = true;
  return add(o, first);
}

enum lrqk_status ocl_stamps_end(struct ocl *o) {
  cl_event *e = o->begun ? add(o, last) : NULL;
  o->begun = false;
  if (e) OCL_TRY(o, clEnqueueMarkerWithWaitList, o->queue, 0, NULL, e);
  return LRQK_OK;
}

static void collect(struct ocl *o, const char *name, uint64_t begin, uint64_t end) {
  if (name == first) o->begin_ns = begin;   /* its submit may not be there yet */
  else if (name == last) span_push(&o->spans, (struct span){ .name = name, .begin_ns = o->begin_ns, .end_ns = end });
  else span_push(&o->spans, (struct span){ .name = name, .begin_ns = begin, .end_ns = end });
}

void ocl_stamps_collect(struct ocl *o) {
  for (size_t i = 0; i < o->n_events; i++) {
    struct ocl_event *e = &o->event[i];
    cl_ulong begin, end;
    if (!e->event) continue;   /* the command was refused */
    if (clWaitForEvents(1, &e->event) == CL_SUCCESS &&
        clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL) == CL_SUCCESS &&
        clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) == CL_SUCCESS)
      collect(o, e->name, begin, end);
    clReleaseEvent(e->event);
  }
  o->n_events = 0;
}

void ocl_stamps_destroy(struct ocl *o) {
  for (size_t i = 0; i < o->n_events; i++)
    if (o->event[i].event) clReleaseEvent(o->event[i].event);
  mem_free(o->event);
  span_free(&o->spans);
}

size_t ocl_spans(struct device *d, struct span *out, size_t cap) {
  struct ocl *o = d->backend;
  return span_take(&o->spans, out, cap);
}

/* A function of OpenCL 2.1, which an older loader lacks.  What it says of the host's time is on a clock of its own: ours goes around it. */
typedef cl_int (CL_API_CALL *host_timer_fn)(cl_device_id device, cl_ulong *device_ns, cl_ulong *host_ns);

bool ocl_clocks(struct device *d, struct clocks *out) {
  enum { TRIES = 5 };
  const struct ocl *o = d->backend;
  host_timer_fn get = o->timing && d->caps.info.calibrated ? (host_timer_fn)dlsym(RTLD_DEFAULT, "clGetDeviceAndHostTimer") : NULL;
  *out = (struct clocks){ .error_ns = UINT64_MAX };
  for (int i = 0; get && i < TRIES; i++) {
    cl_ulong device, host;
    uint64_t before = clock_ns();
    if (get(o->ocl.id, &device, &host) != CL_SUCCESS) return false;
    uint64_t half = (clock_ns() - before + 1) / 2;
    if (half < out->error_ns) *out = (struct clocks){ device, before + half, half };
  }
  return get != NULL;
}
