/* spans.h - a growing list of timed spans, kept by a back end until device_spans takes it. */
#ifndef DEVICE_SPANS_H
#define DEVICE_SPANS_H

#include "device/device.h"

struct span_list { struct span *span; size_t n, cap; };

bool span_push(struct span_list *l, struct span s);              /* false: out of host memory, the span is dropped */
size_t span_take(struct span_list *l, struct span *out, size_t cap);   /* the first cap of them; clears the list */
void span_free(struct span_list *l);

#endif
