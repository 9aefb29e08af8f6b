#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mapfile.h"

enum { PIECE = 16 << 20 };

bool hash_available(void) { return true; }

struct hash128 hash128_of(const void *p, size_t n, bool mapped) {
  const unsigned char *s = p;
  uint64_t chain[4] = { n };
  for (size_t at = 0; at < n; at += PIECE) {
    size_t size = n - at < PIECE ? n - at : PIECE;
    XXH128_hash_t piece = XXH3_128bits(s + at, size);
    chain[2] = piece.low64;
    chain[3] = piece.high64;
    XXH128_hash_t all = XXH3_128bits(chain, sizeof chain);
    chain[0] = all.low64;
    chain[1] = all.high64;
    if (mapped) mapfile_drop(s + at, size);
  }
  return (struct hash128){ chain[0], chain[1] };
}
