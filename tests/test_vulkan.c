/* The insides of the Vulkan back end: which memory is chosen on devices that are not here, the file of the pipeline
 * cache, and that a repeated dispatch makes nothing new. */
#include "log_capture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/vulkan/vk.h"
#include "suite.h"

/* ---- memory types */

enum {
  L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
  H = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
  C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
  V = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,   /* not coherent */
  A = VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD
};
#define GIB(n) ((uint64_t)(n) << 30)

struct table {
  const char *name;
  enum lrqk_device_type type;
  uint64_t heap[3];
  struct { uint32_t flags, heap; } t[12];
  uint32_t n;
  int want[N_PLACES];
};

static const struct table tables[] = {
  { "NVIDIA, small window", LRQK_DEVICE_DISCRETE, { GIB(24), GIB(62), 246 << 20 },
    { { 0, 1 }, { L, 0 }, { L, 0 }, { H, 1 }, { H | C, 1 }, { L | H, 2 } }, 6, { 1, 4, 4 } },
  { "NVIDIA, whole window", LRQK_DEVICE_DISCRETE, { GIB(24), GIB(62) },
    { { 0, 1 }, { L, 0 }, { H, 1 }, { H | C, 1 }, { L | H, 0 } }, 5, { 1, 3, 3 } },
  { "AMD", LRQK_DEVICE_DISCRETE, { GIB(16), GIB(31), 256 << 20 },
    { { L, 0 }, { L, 0 }, { H, 1 }, { L | H, 2 }, { L | H, 2 }, { H | C, 1 }, { L | A, 0 }, { H | C | A, 1 } }, 8, { 0, 5, 5 } },
  { "all device memory visible", LRQK_DEVICE_DISCRETE, { GIB(16), GIB(31) }, { { L | H, 0 }, { H, 1 }, { V | C, 1 } }, 3, { 0, 1, 1 } },
  { "discrete without host memory", LRQK_DEVICE_DISCRETE, { GIB(8) }, { { L, 0 }, { L | H, 0 } }, 2, { 0, -1, 1 } },
  { "Intel, integrated", LRQK_DEVICE_INTEGRATED, { GIB(16) }, { { L, 0 }, { L | H, 0 }, { L | H | C, 0 } }, 3, { 2, 2, 2 } },
  { "AMD, integrated", LRQK_DEVICE_INTEGRATED, { GIB(5), GIB(10) },
    { { H, 0 }, { L, 1 }, { L | H, 1 }, { H | C, 0 }, { L | H | C, 1 } }, 5, { 4, 4, 4 } },
  { "lavapipe", LRQK_DEVICE_SOFTWARE, { GIB(2) }, { { L | H | C, 0 } }, 1, { 0, 0, 0 } },
  { "no device memory", LRQK_DEVICE_DISCRETE, { GIB(2) }, { { H, 0 } }, 1, { -1, 0, 0 } },
};

START_TEST(places_get_their_memory) {
  const struct table *t = &tables[_i];
  VkPhysicalDeviceMemoryProperties m = { .memoryTypeCount = t->n, .memoryHeapCount = 3 };
  for (int i = 0; i < 3; i++) m.memoryHeaps[i].size = t->heap[i];
  for (uint32_t i = 0; i < t->n; i++) m.memoryTypes[i] = (VkMemoryType){ t->t[i].flags, t->t[i].heap };
  for (int place = 0; place < N_PLACES; place++) {
    int got = vk_memory_type(&m, t->type, (enum place)place, UINT32_MAX);
    ck_assert_msg(got == t->want[place], "%s: place %d: type %d, expected %d", t->name, place, got, t->want[place]);
    ck_assert_int_eq(vk_memory_type(&m, t->type, (enum place)place, 0), -1);   /* nothing may be bound */
  }
}
END_TEST

/* ---- a device */

static struct log_capture captured;

static struct device *open_device(void) {
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  ck_assert_msg(device_open(&d, &log, &(struct device_options){ .select = "vulkan" }) == LRQK_OK, "%s", captured.text);
  return d;
}

static void add(struct device *d, const struct buffer *b, uint64_t z) {
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, d, KERNEL_ADD, SPEC(8)), LRQK_OK);
  struct add_params p = { 1 };
  struct view vz = { b, z, 16 }, x = { b, 0, 16 }, y = { b, 512, 16 };
  DISPATCH(d, k, 1, 1, 1, &p, x, y, vz);
}

/* ---- names and labels */

static char labels[1000];   /* what was said, in short */

static void say(const char *before, const char *name) {
  size_t at = strlen(labels);
  snprintf(labels + at, sizeof labels - at, "%s%s ", before, name);
}

static void VKAPI_CALL on_begin(VkCommandBuffer cmd, const VkDebugUtilsLabelEXT *l) { (void)cmd, say("<", l->pLabelName); }
static void VKAPI_CALL on_end(VkCommandBuffer cmd) { (void)cmd, say(">", ""); }
static void VKAPI_CALL on_insert(VkCommandBuffer cmd, const VkDebugUtilsLabelEXT *l) { (void)cmd, say("", l->pLabelName); }
static void VKAPI_CALL on_queue(VkQueue queue, const VkDebugUtilsLabelEXT *l) { (void)queue, say("!", l->pLabelName); }
static VkResult VKAPI_CALL on_name(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *n) {
  (void)device, say("=", n->pObjectName);
  return VK_SUCCESS;
}

/* Labels are those of call, layer and stage, opened and closed once for commands alike, and closed in each submit; a device that is not
 * captured makes none. */
START_TEST(labels_nest) {
  static const enum lrqk_capture how[] = { LRQK_CAPTURE_AUTO, LRQK_CAPTURE_LABELS, LRQK_CAPTURE_RGP };
  static const char *const said[] = { "", "=x =ADD ADD <token 7 <layer 0 <qkv ADD ADD > <out ADD > > <layer 1 <qkv ADD > > > <token 7 <head ADD > > ",
    "=x =ADD ADD !AmdFrameBegin <token 7 <layer 0 <qkv ADD ADD > <out ADD > > <layer 1 <qkv ADD > > > <token 7 <head ADD > > !AmdFrameEnd " };
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  ck_assert_int_eq(device_open(&d, &log, &(struct device_options){ .select = "vulkan", .capture = how[_i] }), LRQK_OK);
  struct vk *v = d->backend;
  v->inst.CmdBeginDebugUtilsLabelEXT = on_begin, v->inst.CmdEndDebugUtilsLabelEXT = on_end, v->inst.CmdInsertDebugUtilsLabelEXT = on_insert;
  v->inst.QueueInsertDebugUtilsLabelEXT = on_queue, v->inst.SetDebugUtilsObjectNameEXT = on_name;
  struct buffer *b;
  static const struct { int32_t layer; const char *stage; } at[] = { { 0, "qkv" }, { 0, "qkv" }, { 0, "out" }, { 1, "qkv" } };
  labels[0] = 0;
  ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, 1536, "x"), LRQK_OK);
  add(d, b, 1024);   /* outside of a call */
  device_frame(d, true);
  d->at_call = "token";
  d->at_token = 7;
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    d->at_layer = at[i].layer;
    d->at_stage = at[i].stage;
    add(d, b, 1024);
  }
  ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
  d->at_layer = -1;
  d->at_stage = "head";
  add(d, b, 1024);
  ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
  device_frame(d, false);
  ck_assert_str_eq(labels, said[_i]);
  buffer_destroy(&b);
  device_close(d);
}
END_TEST

/* ---- statistics of kernels, from a driver that has them */

static VkResult VKAPI_CALL two_executables(VkDevice device, const VkPipelineInfoKHR *info, uint32_t *n, VkPipelineExecutablePropertiesKHR *out) {
  (void)device, (void)info;
  ck_assert_uint_ge(*n, 2);
  *n = 2;
  snprintf(out[0].name, sizeof out[0].name, "SIMD8");
  snprintf(out[1].name, sizeof out[1].name, "SIMD16");
  return VK_SUCCESS;
}

static VkResult VKAPI_CALL some_statistics(VkDevice device, const VkPipelineExecutableInfoKHR *which, uint32_t *n,
                                           VkPipelineExecutableStatisticKHR *out) {
  (void)device;
  *n = which->executableIndex ? 3 : 1;
  for (uint32_t i = 0; i < *n; i++) ck_assert_int_eq(out[i].sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR);
  snprintf(out[0].name, sizeof out[0].name, "registers");
  out[0].format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR;
  out[0].value.u64 = 32 + which->executableIndex;
  if (*n == 1) return VK_SUCCESS;
  snprintf(out[1].name, sizeof out[1].name, "spills");
  out[1].format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR;
  out[1].value.i64 = -1;
  snprintf(out[2].name, sizeof out[2].name, "occupancy");
  out[2].format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
  out[2].value.f64 = 0.5;
  return VK_SUCCESS;
}

static void on_figure(void *ud, const struct kernel *k, const char *variant, const struct kernel_figure *f) {
  (void)ud;
  size_t at = strlen(labels);
  snprintf(labels + at, sizeof labels - at, "%s[%s] %s %g; ", kernel_info[k->id].id, variant, f->name, f->value);
}

START_TEST(statistics_are_read) {
  struct device *d = open_device();
  struct vk *v = d->backend;
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, d, KERNEL_ADD, SPEC(8)), LRQK_OK);
  labels[0] = 0;
  ck_assert_ptr_null(((const struct vk_kernel *)k->backend)->pipeline);   /* until it is dispatched */
  ck_assert_int_eq(vk_pipeline_get(v, k), LRQK_OK);
  device_kernels(d, on_figure, NULL);
  ck_assert_str_eq(labels, "");   /* opened without timing: nothing, rather than zeros */
  v->statistics = true;
  v->GetPipelineExecutablePropertiesKHR = two_executables;
  v->GetPipelineExecutableStatisticsKHR = some_statistics;
  device_kernels(d, on_figure, NULL);
  ck_assert_str_eq(labels, "ADD[WG=8] SIMD8: registers 32; ADD[WG=8] SIMD16: registers 33; "
                           "ADD[WG=8] SIMD16: spills -1; ADD[WG=8] SIMD16: occupancy 0.5; ");
  v->statistics = false;
  device_close(d);
}
END_TEST

START_TEST(only_vulkan_is_captured) {
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  ck_assert_int_eq(device_open(&d, &log, &(struct device_options){ .select = "host", .capture = LRQK_CAPTURE_LABELS }), LRQK_USAGE);
  ck_assert_ptr_null(d);
}
END_TEST

START_TEST(repeated_dispatches_make_nothing) {
  struct device *d = open_device();
  struct vk *v = d->backend;
  struct buffer *b, *other;
  ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, 4096, "x"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&other, d, PLACE_DEVICE, 4096, "y"), LRQK_OK);
  for (int token = 0; token < 12; token++) {
    for (uint64_t i = 0; i < 4; i++) {
      add(d, b, 1024 + i * 512);
      add(d, other, 1024 + i * 512);
    }
    ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
    ck_assert_uint_eq(v->sets.n, 8);
    ck_assert_uint_eq(v->n_layouts, 1);
  }
  buffer_destroy(&other);   /* its four sets are used again */
  for (uint64_t i = 0; i < 4; i++) add(d, b, 512 * 3 + i * 512);
  add(d, b, 512 * 2);
  ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
  ck_assert_uint_eq(v->sets.n, 8);
  buffer_destroy(&b);
  device_close(d);
  ck_assert_msg(captured.errors == 0, "%s", captured.text);
}
END_TEST

/* As on a discrete GPU: memory of the driver's own, DEVICE memory out of the host's reach.  It is zero though it was
 * used before, takes writes of any size, and gives the sums. */
START_TEST(unmapped_memory) {
  enum { N = 1 << 20 };
  static float data[N], got[N];
  struct device *d = open_device();
  struct vk *v = d->backend;
  v->import_align = 0;
  d->caps.mapped = false;
  for (int i = 0; i < N; i++) data[i] = (float)i;
  for (int round = 0; round < 3; round++) {
    struct buffer *b, *h;
    ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, sizeof data, "x"), LRQK_OK);
    ck_assert_int_eq(buffer_create(&h, d, PLACE_HOST, 4096, "y"), LRQK_OK);
    ck_assert(!b->map && h->map);
    ck_assert_int_eq(device_read(d, got, view_of(b), sizeof got), LRQK_OK);
    for (int i = 0; i < N; i++) ck_assert_float_eq(got[i], 0);
    for (int i = 0; i < 1024; i++) ck_assert_float_eq(((float *)h->map)[i], 0);
    memcpy(h->map, data + 4, 4096);
    ck_assert_int_eq(device_write(d, view_of(b), data, sizeof data - 2), LRQK_OK);
    const struct kernel *k;
    struct add_params p = { 256 };
    struct view x = { b, 0, 4096 }, z = { b, 8192, 4096 }, y = { h, 0, 4096 };
    ck_assert_int_eq(kernel_get(&k, d, KERNEL_ADD, SPEC(8)), LRQK_OK);
    DISPATCH(d, k, 32, 1, 1, &p, x, y, z);
    ck_assert_int_eq(device_read(d, got, view_of(b), sizeof got - 5), LRQK_OK);   /* sends the dispatch first */
    for (int i = 0; i < 1024; i++) ck_assert_float_eq(got[2048 + i], (float)(2 * i + 4));
    ck_assert_mem_eq(got, data, 8192);
    ck_assert_mem_eq(got + 3072, data + 3072, (N - 3072 - 2) * 4);
    buffer_destroy(&b);
    buffer_destroy(&h);
  }
  device_close(d);
  ck_assert_msg(captured.errors == 0, "%s", captured.text);
}
END_TEST

/* ---- the file of the pipeline cache */

static struct { VkPipelineCacheHeaderVersionOne h; unsigned char rest[1000]; } cache_data;

static void write_cache(const char *path, size_t n) {
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(&cache_data, 1, n, f), n);
  fclose(f);
}

static void expect_loaded(const VkPhysicalDeviceProperties *p, const char *path, size_t want) {
  size_t n = 77;
  void *data = vk_cache_load(p, path, &n);
  ck_assert_uint_eq(n, want);
  ck_assert(want ? !memcmp(data, &cache_data, n) : !data);
  free(data);
}

static int entries(const char *dir) {
  DIR *list = opendir(dir);
  int n = 0;
  while (list && readdir(list)) n++;
  if (list) closedir(list);
  return n - 2;
}

START_TEST(pipeline_cache_file) {
  char root[] = "/tmp/lrqk-cache-XXXXXX", deep[80], path[512], other[512];
  VkPhysicalDeviceProperties p = { .vendorID = 0x10de, .deviceID = 0x2204, .driverVersion = 7, .pipelineCacheUUID = { 0xab, 1, 2 } }, q = p;
  cache_data.h = (VkPipelineCacheHeaderVersionOne){
    .headerSize = 32, .headerVersion = VK_PIPELINE_CACHE_HEADER_VERSION_ONE, .vendorID = p.vendorID, .deviceID = p.deviceID,
  };
  memcpy(cache_data.h.pipelineCacheUUID, p.pipelineCacheUUID, VK_UUID_SIZE);
  memset(cache_data.rest, 9, sizeof cache_data.rest);
  ck_assert_ptr_nonnull(mkdtemp(root));
  snprintf(deep, sizeof deep, "%s/a", root);
  setenv("XDG_CACHE_HOME", deep, 1);
  ck_assert(vk_cache_path(&p, path, sizeof path));
  ck_assert_ptr_nonnull(strstr(path, "/a/lrqk/vk-10de-2204-7-ab0102"));
  q.driverVersion = 8;
  ck_assert(vk_cache_path(&q, other, sizeof other) && strcmp(path, other));
  q = p;
  q.pipelineCacheUUID[15] = 1;
  ck_assert(vk_cache_path(&q, other, sizeof other) && strcmp(path, other));
  ck_assert(!vk_cache_path(&p, other, 40));

  expect_loaded(&p, path, 0);                                     /* not there yet */
  ck_assert(vk_cache_save(path, &cache_data, sizeof cache_data)); /* makes both directories */
  expect_loaded(&p, path, sizeof cache_data);
  ck_assert(vk_cache_save(path, &cache_data, 500));
  expect_loaded(&p, path, 500);
  snprintf(deep, sizeof deep, "%s/a/lrqk", root);
  ck_assert_int_eq(entries(deep), 1);                             /* no temporary file stays */
  write_cache(path, 31);
  expect_loaded(&p, path, 0);
  write_cache(path, 0);
  expect_loaded(&p, path, 0);
  cache_data.h.vendorID++;
  write_cache(path, sizeof cache_data);
  expect_loaded(&p, path, 0);
  cache_data.h.vendorID--;
  write_cache(path, sizeof cache_data);
  expect_loaded(&q, path, 0);                                     /* another build of the driver */
  ck_assert(!vk_cache_save("/proc/nowhere/lrqk/x", &cache_data, 500));
  unlink(path);
  rmdir(deep);
  *strrchr(deep, '/') = 0;
  rmdir(deep);
  ck_assert_int_eq(rmdir(root), 0);
  unsetenv("XDG_CACHE_HOME");
}
END_TEST

START_TEST(no_cache_directory_is_no_error) {
  setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
  struct device *d = open_device();
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, d, KERNEL_ADD, SPEC(8)), LRQK_OK);
  device_close(d);
  ck_assert_msg(captured.errors == 0, "%s", captured.text);
  unsetenv("XDG_CACHE_HOME");
}
END_TEST

int main(void) {
  Suite *s = suite_create("vulkan");
  TCase *c = tcase_create("vulkan");
  tcase_add_loop_test(c, places_get_their_memory, 0, sizeof tables / sizeof *tables);
  tcase_add_test(c, repeated_dispatches_make_nothing);
  tcase_add_loop_test(c, labels_nest, 0, 3);
  tcase_add_test(c, only_vulkan_is_captured);
  tcase_add_test(c, statistics_are_read);
  tcase_add_test(c, unmapped_memory);
  tcase_add_test(c, pipeline_cache_file);
  tcase_add_test(c, no_cache_directory_is_no_error);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
