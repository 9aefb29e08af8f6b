/* cache.c - the pipeline cache, kept in $XDG_CACHE_HOME/lrqk or ~/.cache/lrqk between runs, one file per device and
 * driver.  It only saves time: whatever goes wrong here is a debug message. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

enum { MAX_BYTES = 64 << 20 };

static bool cache_dir(char *path, size_t cap) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = base && base[0] == '/' ? snprintf(path, cap, "%s/lrqk", base)
        : home && home[0] == '/' ? snprintf(path, cap, "%s/.cache/lrqk", home) : -1;
  return n > 0 && (size_t)n < cap;
}

static bool cache_path(const struct vk *v, char *path, size_t cap) {
  const VkPhysicalDeviceProperties *p = &v->props;
  if (!cache_dir(path, cap)) return false;
  char uuid[2 * VK_UUID_SIZE + 1];
  for (uint32_t i = 0; i < VK_UUID_SIZE; i++) snprintf(uuid + 2 * i, 3, "%02x", p->pipelineCacheUUID[i]);
  size_t at = strlen(path);
  int n = snprintf(path + at, cap - at, "/vk-%" PRIx32 "-%" PRIx32 "-%" PRIx32 "-%s.bin", p->vendorID, p->deviceID, p->driverVersion, uuid);
  return n > 0 && (size_t)n < cap - at;
}

/* The header that every driver writes; some crash on data that is not theirs. */
static bool is_ours(const struct vk *v, const void *data, size_t n) {
  VkPipelineCacheHeaderVersionOne h;
  if (n < sizeof h) return false;
  memcpy(&h, data, sizeof h);
  return h.headerSize >= sizeof h && h.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && h.vendorID == v->props.vendorID &&
         h.deviceID == v->props.deviceID && !memcmp(h.pipelineCacheUUID, v->props.pipelineCacheUUID, VK_UUID_SIZE);
}

static void *read_file(const char *path, size_t *n) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  void *data = NULL;
  if (f && !fstat(fileno(f), &st) && st.st_size > 0 && st.st_size <= MAX_BYTES) {
    *n = (size_t)st.st_size;
    data = mem_alloc(1, *n);
    if (data && fread(data, 1, *n, f) != *n) {
      mem_free(data);
      data = NULL;
    }
  }
  if (f) fclose(f);
  return data;
}

void vk_cache_open(struct vk *v) {
  char path[1024];
  size_t n = 0;
  void *data = cache_path(v, path, sizeof path) ? read_file(path, &n) : NULL;
  if (!data || !is_ours(v, data, n)) n = 0;
  const VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = n, .pInitialData = n ? data : NULL };
  if (v->CreatePipelineCache(v->device, &info, NULL, &v->cache) < 0) v->cache = VK_NULL_HANDLE;
  v->cache_bytes = n;
  mem_free(data);
}

static void make_dirs(const char *file) {
  char dir[1024];
  snprintf(dir, sizeof dir, "%s", file);
  for (int up = 1; up >= 0; up--) {   /* the cache directory, then ours in it */
    char *end = strrchr(dir, '/');
    if (!end) return;
    *end = 0;
    char *parent = strrchr(dir, '/');
    if (!up || !parent || parent == dir) {
      mkdir(dir, 0700);
      return;
    }
    *parent = 0;
    mkdir(dir, 0700);
    *parent = *end = '/';
  }
}

/* Other processes see the old file or the new one, never half of it. */
static bool write_file(const char *path, const void *data, size_t n) {
  char temp[1100];
  snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
  FILE *f = fopen(temp, "wb");
  if (!f) return false;
  bool ok = fwrite(data, 1, n, f) == n;
  ok = !fclose(f) && ok;
  ok = ok && !rename(temp, path);
  if (!ok) remove(temp);
  return ok;
}

void vk_cache_close(struct vk *v) {
  if (!v->cache) return;
  char path[1024];
  size_t n = 0;
  if (v->GetPipelineCacheData(v->device, v->cache, &n, NULL) == VK_SUCCESS && n > v->cache_bytes && n > sizeof(VkPipelineCacheHeaderVersionOne) &&
      cache_path(v, path, sizeof path)) {
    void *data = mem_alloc(1, n);
    make_dirs(path);
    if (!data || v->GetPipelineCacheData(v->device, v->cache, &n, data) != VK_SUCCESS || !write_file(path, data, n))
      log_debug(&v->dev->log, "%s: the pipeline cache was not written", path);
    mem_free(data);
  }
  v->DestroyPipelineCache(v->device, v->cache, NULL);
}
