/* pace.h - how long a command may take, from its bytes and flops and what the device is thought to do: device.c sends what is
 * recorded before that takes too long (a watchdog of the driver would end it).  One for an engine; session.c names the step. */
#ifndef PROFILE_PACE_H
#define PROFILE_PACE_H

#include <lrqk/profile.h>

#include "device/device.h"

struct pace {
  struct device_pace hook;
  double gb_per_s, bus_gb_per_s, gflop_per_s;   /* of commands as they come: a part of the device's peak */
  const uint32_t *step;           /* the words of this decode step; NULL in a prefill */
};

/* Makes the device send by it. */
void pace_start(struct pace *p, struct device *d);

#endif
