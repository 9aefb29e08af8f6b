/* parallel.h - the same work for many indices on the CPU's threads, for what is solved on the host between dispatches. */
#ifndef BASE_PARALLEL_H
#define BASE_PARALLEL_H

#include <stdint.h>

enum { PARALLEL_MAX = 16 };

/* Called once for each index < n; `worker` < the number of workers, no two calls at a time have the same. */
typedef void (*parallel_fn)(void *ud, uint32_t i, uint32_t worker);

/* How many threads n indices are worth: at least 1, at most PARALLEL_MAX and the CPUs that this process may use. */
uint32_t parallel_workers(uint32_t n);

/* Returns when all indices are done.  The caller's thread is worker 0; a thread that cannot be started is done without. */
void parallel_for(uint32_t n, uint32_t workers, parallel_fn fn, void *ud);

#endif
