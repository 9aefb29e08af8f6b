/* roof.h - figures from measured times: the roofline, what a device needs at least for some work, and the order that quantiles are read from. */
#ifndef CLI_ROOF_H
#define CLI_ROOF_H

#include <stddef.h>

#include "lrqk/profile.h"

/* Microseconds by that ceiling which needs most of them: memory, arithmetic, the bus, or starting so many kernels.
 * *bound: "memory", "compute", "bus" or "launch". */
double roof_us(const struct lrqk_ceilings *c, double device_bytes, double bus_bytes, double flops, double calls, const char **bound);

void times_sort(double *us, size_t n);   /* ascending */

#endif
