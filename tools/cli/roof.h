/* roof.h - the roofline: what a device needs at least for some work.  Called by profile_rows.c and bench_kernels.c. */
#ifndef CLI_ROOF_H
#define CLI_ROOF_H

#include "lrqk/profile.h"

/* Microseconds by that ceiling which needs most of them: memory, arithmetic, the bus, or starting so many kernels.
 * *bound: "memory", "compute", "bus" or "launch". */
double roof_us(const struct lrqk_ceilings *c, double device_bytes, double bus_bytes, double flops, double calls, const char **bound);

#endif
