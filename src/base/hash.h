/* hash.h - the checksum of files: XXH3 of 128 bits (Debian's xxhash) over pieces of 16 MiB, chained, so that the pages of a
 * mapping need not stay in memory.  A build without xxhash has hash_stub.c: sessions cannot be saved then. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 { uint64_t low, high; };

bool hash_available(void);
/* mapped: p points into a mapping of a file, pages are given back after they were read. */
struct hash128 hash128_of(const void *p, size_t n, bool mapped);

static inline bool hash_same(struct hash128 a, struct hash128 b) { return a.low == b.low && a.high == b.high; }

#endif
