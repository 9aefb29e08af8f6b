/* probe.h - times the forms of every operation on a device (device/form.h), on shapes like those of a model.  Called by
 * engine.c. */
#ifndef MODEL_PROBE_H
#define MODEL_PROBE_H

#include "device/device.h"

/* *out: the times and what follows from them.  d->forms is left as it was. */
enum lrqk_status probe_forms(struct forms *out, struct device *d);

#endif
