/* timing.c - profiling events: one per command, its start and end on the device's clock. */
#include "base/mem.h"
#include "device/opencl/ocl.h"

cl_event *ocl_stamp(struct ocl *o, const char *name) {
  if (!o->timing || !o->dev->stamping) return NULL;
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

void ocl_stamps_collect(struct ocl *o) {
  for (size_t i = 0; i < o->n_events; i++) {
    struct ocl_event *e = &o->event[i];
    cl_ulong begin, end;
    if (!e->event) continue;   /* the command was refused */
    if (clWaitForEvents(1, &e->event) == CL_SUCCESS &&
        clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL) == CL_SUCCESS &&
        clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) == CL_SUCCESS)
      span_push(&o->spans, (struct span){ e->name, begin, end });
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
