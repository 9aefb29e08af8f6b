/* clock.h - monotonic time, and the time of processors. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);       /* nanoseconds since some fixed moment */
uint64_t clock_cpu_ns(void);   /* nanoseconds that the threads of this process ran, together */

#endif
