/* cache.c - the binaries of programs, kept in $XDG_CACHE_HOME/lrqk or ~/.cache/lrqk between runs, a directory per device
 * and driver, a file per program.  It only saves time: whatever goes wrong here is a debug message. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/opencl/ocl.h"

enum { MAX_BYTES = 64 << 20 };   /* of a directory: texts of older versions stay behind */

struct head { char magic[8]; uint64_t key[2], size, sum; };
static const char magic[8] = "lrqkcl1";

/* FNV-1a; the second key begins elsewhere. */
static uint64_t hash(uint64_t h, const void *data, size_t n) {
  const unsigned char *p = data;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
  return h;
}

static const uint64_t seeds[2] = { UINT64_C(0xcbf29ce484222325), UINT64_C(0x84222325cbf29ce4) };

void ocl_cache_key(const struct ocl *o, const char *text, const char *options, uint64_t key[2]) {
  char name[256], driver[256];
  ocl_text(&o->ocl, CL_DEVICE_NAME, name, sizeof name);
  ocl_text(&o->ocl, CL_DRIVER_VERSION, driver, sizeof driver);
  const char *const parts[] = { text, options, name, driver };
  for (int i = 0; i < 2; i++) {
    key[i] = seeds[i];
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++) key[i] = hash(key[i], parts[j], strlen(parts[j]) + 1);
  }
}

/* Makes what is missing of a path of directories. */
static bool make_dirs(char *path) {
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0700);
    *p = '/';
  }
  return !mkdir(path, 0700) || !access(path, W_OK);
}

/* Empties a directory that has grown beyond what a version of the kernels needs. */
static void limit(const char *path) {
  DIR *d = opendir(path);
  uint64_t bytes = 0;
  if (!d) return;
  for (int remove_all = 0; remove_all < 2; remove_all++) {
    rewinddir(d);
    for (const struct dirent *e; (e = readdir(d));) {
      char file[1200];
      struct stat st;
      snprintf(file, sizeof file, "%s/%.255s", path, e->d_name);
      if (stat(file, &st) || !S_ISREG(st.st_mode)) continue;
      bytes += (uint64_t)st.st_size;
      if (remove_all) remove(file);
    }
    if (bytes <= MAX_BYTES) break;
  }
  closedir(d);
}

void ocl_cache_open(struct ocl *o) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  uint64_t key[2];
  char platform[256];
  ocl_platform_text(&o->ocl, CL_PLATFORM_VERSION, platform, sizeof platform);
  ocl_cache_key(o, platform, "", key);
  int n = base && base[0] == '/' ? snprintf(o->cache_dir, sizeof o->cache_dir, "%s/lrqk/cl-%016" PRIx64, base, key[0])
        : home && home[0] == '/' ? snprintf(o->cache_dir, sizeof o->cache_dir, "%s/.cache/lrqk/cl-%016" PRIx64, home, key[0]) : -1;
  if (n <= 0 || (size_t)n >= sizeof o->cache_dir || !make_dirs(o->cache_dir)) {
    o->cache_dir[0] = 0;
    log_debug(&o->dev->log, "opencl: programs are not kept: no directory for them");
    return;
  }
  limit(o->cache_dir);
}

static void path_of(const struct ocl *o, const uint64_t key[2], char path[1024]) {
  snprintf(path, 1024, "%s/%016" PRIx64 ".bin", o->cache_dir, key[0]);
}

/* Drivers may crash on data that is not theirs: it must be what was written. */
static void *read_entry(FILE *f, const uint64_t key[2], size_t *n) {
  struct head h;
  struct stat st;
  if (fread(&h, sizeof h, 1, f) != 1 || memcmp(h.magic, magic, sizeof magic) || memcmp(h.key, key, sizeof h.key)) return NULL;
  if (fstat(fileno(f), &st) || h.size > MAX_BYTES || (uint64_t)st.st_size != sizeof h + h.size) return NULL;
  void *data = mem_alloc(1, h.size);
  if (data && (fread(data, 1, h.size, f) != h.size || hash(seeds[0], data, h.size) != h.sum)) {
    mem_free(data);
    return NULL;
  }
  *n = h.size;
  return data;
}

void *ocl_cache_load(const struct ocl *o, const uint64_t key[2], size_t *n) {
  char path[1024];
  if (!o->cache_dir[0]) return NULL;
  path_of(o, key, path);
  FILE *f = fopen(path, "rb");
  void *data = f ? read_entry(f, key, n) : NULL;
  if (f) fclose(f);
  return data;
}

/* Other processes see the old file or the new one, never half of it. */
void ocl_cache_save(const struct ocl *o, const uint64_t key[2], const void *data, size_t n) {
  char path[1024], temp[1100];
  if (!o->cache_dir[0] || !n || n > MAX_BYTES) return;
  path_of(o, key, path);
  snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
  struct head h = { .key = { key[0], key[1] }, .size = n, .sum = hash(seeds[0], data, n) };
  memcpy(h.magic, magic, sizeof magic);
  FILE *f = fopen(temp, "wb");
  bool ok = f && fwrite(&h, sizeof h, 1, f) == 1 && fwrite(data, 1, n, f) == n;
  if (f) ok = !fclose(f) && ok;
  ok = ok && !rename(temp, path);
  if (!ok) remove(temp);
  if (!ok) log_debug(&o->dev->log, "%s: the program was not written", path);
}
