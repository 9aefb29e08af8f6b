/* cache.c - the pipeline cache, kept in $XDG_CACHE_HOME/lrqk or ~/.cache/lrqk between runs, one file per device and
 * driver.  It only saves time: whatever goes wrong here is a debug message. */
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

bool vk_cache_path(const VkPhysicalDeviceProperties *p, char *path, size_t cap) {
  if (!cache_dir(path, cap)) return false;
  char uuid[2 * VK_UUID_SIZE + 1];
  for (uint32_t i = 0; i < VK_UUID_SIZE; i++) snprintf(uuid + 2 * i, 3, "%02x", p->pipelineCacheUUID[i]);
  size_t at = strlen(path);
  int n = snprintf(path + at, cap - at, "/vk-%" PRIx32 "-%" PRIx32 "-%" PRIx32 "-%s.bin", p->vendorID, p->deviceID, p->driverVersion, uuid);
  return n > 0 && (size_t)n < cap - at;
}

/* The header that every driver writes; some crash on data that is not theirs. */
static bool is_ours(const VkPhysicalDeviceProperties *p, const void *data, size_t n) {
  VkPipelineCacheHeaderVersionOne h;
  if (n < sizeof h) return false;
  memcpy(&h, data, sizeof h);
  return h.headerSize >= sizeof h && h.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && h.vendorID == p->vendorID &&
         h.deviceID == p->deviceID && !memcmp(h.pipelineCacheUUID, p->pipelineCacheUUID, VK_UUID_SIZE);
}

void *vk_cache_load(const VkPhysicalDeviceProperties *p, const char *path, size_t *n) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  void *data = NULL;
  if (f && !fstat(fileno(f), &st) && st.st_size > 0 && st.st_size <= MAX_BYTES) {
    *n = (size_t)st.st_size;
    data = mem_alloc(1, *n);
    if (data && (fread(data, 1, *n, f) != *n || !is_ours(p, data, *n))) {
      mem_free(data);
      data = NULL;
    }
  }
  if (f) fclose(f);
  if (!data) *n = 0;
  return data;
}

void vk_cache_open(struct vk *v) {
  char path[1024];
  size_t n = 0;
  void *data = vk_cache_path(&v->props, path, sizeof path) ? vk_cache_load(&v->props, path, &n) : NULL;
  const VkPipelineCacheCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = n, .pInitialData = data,
  };
  if (v->CreatePipelineCache(v->device, &info, NULL, &v->cache) < 0) v->cache = VK_NULL_HANDLE;
  v->cache_bytes = n;
  mem_free(data);
}

/* The cache directory and ours in it, of the file's path. */
static void make_dirs(const char *path) {
  char dir[1024];
  snprintf(dir, sizeof dir, "%s", path);
  char *file = strrchr(dir, '/');
  if (!file) return;
  *file = 0;
  char *ours = strrchr(dir, '/');
  if (ours && ours != dir) {
    *ours = 0;
    mkdir(dir, 0700);
    *ours = '/';
  }
  mkdir(dir, 0700);
}

/* Other processes see the old file or the new one, never half of it. */
bool vk_cache_save(const char *path, const void *data, size_t n) {
  char temp[1100];
  make_dirs(path);
  snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
  FILE *f = fopen(temp, "wb");
  if (!f) return false;
  bool ok = fwrite(data, 1, n, f) == n;
  ok = !fclose(f) && ok;
  ok = ok && !rename(temp, path);
  if (!ok) remove(temp);
  return ok;
}

static bool save(struct vk *v, const char *path, size_t n) {
  void *data = mem_alloc(1, n);
  bool ok = data && v->GetPipelineCacheData(v->device, v->cache, &n, data) == VK_SUCCESS && vk_cache_save(path, data, n);
  mem_free(data);
  return ok;
}

/* Drivers that keep a cache of their own give the bare header, which is not worth a file. */
void vk_cache_close(struct vk *v) {
  if (!v->cache) return;
  char path[1024];
  size_t n = 0;
  bool grew = v->GetPipelineCacheData(v->device, v->cache, &n, NULL) == VK_SUCCESS && n > v->cache_bytes;
  if (grew && n > sizeof(VkPipelineCacheHeaderVersionOne) && vk_cache_path(&v->props, path, sizeof path) && !save(v, path, n))
    log_debug(&v->dev->log, "%s: the pipeline cache was not written", path);
  v->DestroyPipelineCache(v->device, v->cache, NULL);
}
