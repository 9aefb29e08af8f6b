#include "base/mem.h"

#include <lrqk/lrqk.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef LRQK_TESTS
#include <stdatomic.h>

/* Only test builds have this counter: it is what makes every allocation failure reachable. */
bool mem_fault(void) {
  static atomic_long left = -1;
  static atomic_bool known;
  if (!atomic_exchange(&known, true)) {
    const char *e = getenv("LRQK_FAULT_ALLOC");
    atomic_store(&left, e ? atol(e) : 0);
  }
  return atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1;
}
#else
bool mem_fault(void) { return false; }
#endif

void *mem_alloc(size_t n, size_t size) {
  if (mem_fault() || (size && n > SIZE_MAX / size)) return NULL;
  return calloc(n ? n : 1, size ? size : 1);
}

void *mem_realloc(void *p, size_t n, size_t size) {
  if (mem_fault() || (size && n > SIZE_MAX / size)) return NULL;
  size_t bytes = n * size;
  return realloc(p, bytes ? bytes : 1);
}

char *mem_strdup(const char *s) {
  size_t n = strlen(s) + 1;
  char *d = mem_alloc(n, 1);
  if (d) memcpy(d, s, n);
  return d;
}

void mem_free(void *p) { free(p); }

void lrqk_free(void *p) { free(p); }
