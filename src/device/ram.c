/* ram.c - see ram.h. */
#include "device/ram.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t number_in(const char *path) {
  uint64_t n = 0;
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  if (fscanf(f, "%" SCNu64, &n) != 1) n = 0;   /* "max": no limit */
  fclose(f);
  return n;
}

void ram_bytes(uint64_t *total, uint64_t *available) {
  *total = *available = 0;
  FILE *f = fopen("/proc/meminfo", "r");
  if (f) {
    char line[256];
    uint64_t kib;
    while (fgets(line, sizeof line, f)) {
      if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) == 1) *total = kib << 10;
      if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1) *available = kib << 10;
    }
    fclose(f);
  }
  uint64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && (!*total || limit < *total)) *total = limit;
  if (limit && limit - (used < limit ? used : limit) < *available) *available = limit - (used < limit ? used : limit);
}
