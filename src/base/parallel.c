/* parallel.c - see parallel.h. */
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct crew { parallel_fn fn; void *ud; uint32_t n; atomic_uint next; };
struct member { struct crew *crew; uint32_t worker; };

static void *work(void *arg) {
  const struct member *m = arg;
  for (uint32_t i; (i = atomic_fetch_add(&m->crew->next, 1)) < m->crew->n;) m->crew->fn(m->crew->ud, i, m->worker);
  return NULL;
}

uint32_t parallel_workers(uint32_t n) {
  cpu_set_t set;
  uint32_t most = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
  if (most > PARALLEL_MAX) most = PARALLEL_MAX;
  return n < 1 ? 1 : n < most ? n : most;
}

void parallel_for(uint32_t n, uint32_t workers, parallel_fn fn, void *ud) {
  struct crew crew = { .fn = fn, .ud = ud, .n = n };
  struct member member[PARALLEL_MAX];
  pthread_t thread[PARALLEL_MAX];
  uint32_t started = 1;
  for (uint32_t i = 0; i < workers && i < PARALLEL_MAX; i++) member[i] = (struct member){ &crew, i };
  while (started < workers && started < PARALLEL_MAX && !pthread_create(&thread[started], NULL, work, &member[started])) started++;
  work(&member[0]);
  while (started > 1) pthread_join(thread[--started], NULL);
}
