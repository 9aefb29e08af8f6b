/* hash_stub.c - hash.h in a build without xxhash. */
#include "base/hash.h"

bool hash_available(void) { return false; }

struct hash128 hash128_of(const void *p, size_t n, bool mapped) {
  (void)p, (void)n, (void)mapped;
  return (struct hash128){ 0, 0 };
}
