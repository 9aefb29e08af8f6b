/* instance.c - the devices of all OpenCL platforms, what they can do and how much memory they have. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/opencl/ocl.h"
#include "device/ram.h"

void ocl_text(const struct ocl_device *ocl, cl_device_info what, char *text, size_t cap) {
  if (clGetDeviceInfo(ocl->id, what, cap, text, NULL) != CL_SUCCESS) text[0] = 0;
  text[cap - 1] = 0;
}

void ocl_platform_text(const struct ocl_device *ocl, cl_platform_info what, char *text, size_t cap) {
  if (clGetPlatformInfo(ocl->platform, what, cap, text, NULL) != CL_SUCCESS) text[0] = 0;
  text[cap - 1] = 0;
}

/* A number of up to 8 bytes; 0 if the driver does not know it. */
static uint64_t number(const struct ocl_device *ocl, cl_device_info what) {
  uint64_t wide = 0;
  uint32_t narrow = 0;
  size_t size = 0;
  if (clGetDeviceInfo(ocl->id, what, 0, NULL, &size) != CL_SUCCESS || size > sizeof wide) return 0;
  void *to = size == sizeof narrow ? (void *)&narrow : &wide;
  if (clGetDeviceInfo(ocl->id, what, size, to, NULL) != CL_SUCCESS) return 0;
  return size == sizeof narrow ? narrow : wide;
}

/* Why a device cannot run the kernels; NULL: it can. */
static const char *unusable(const struct ocl_device *ocl) {
  char version[128];
  ocl_text(ocl, CL_DEVICE_VERSION, version, sizeof version);
  int major = 0, minor = 0;
  if (sscanf(version, "OpenCL %d.%d", &major, &minor) != 2 || major * 10 + minor < 12) return "no OpenCL 1.2";
  if (!number(ocl, CL_DEVICE_AVAILABLE)) return "not available";
  if (!number(ocl, CL_DEVICE_COMPILER_AVAILABLE)) return "no compiler";
  if (!number(ocl, CL_DEVICE_ENDIAN_LITTLE)) return "big-endian";
  if (number(ocl, CL_DEVICE_MEM_BASE_ADDR_ALIGN) > VIEW_ALIGN * 8) return "ranges of buffers need a larger alignment";
  return NULL;
}

static void inspect(struct ocl_device *ocl) {
  ocl->type = number(ocl, CL_DEVICE_TYPE);
  ocl->shared = (ocl->type & CL_DEVICE_TYPE_CPU) && (number(ocl, CL_DEVICE_SVM_CAPABILITIES) & CL_DEVICE_SVM_FINE_GRAIN_BUFFER);
  ocl->exact_divide = number(ocl, CL_DEVICE_SINGLE_FP_CONFIG) & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
}

uint32_t ocl_usable_devices(const struct log *log, struct ocl_device list[OCL_MAX_DEVICES]) {
  cl_platform_id platform[OCL_MAX_DEVICES];
  cl_uint n_platforms = 0;
  uint32_t usable = 0;
  if (clGetPlatformIDs(OCL_MAX_DEVICES, platform, &n_platforms) != CL_SUCCESS) n_platforms = 0;
  for (cl_uint i = 0; i < n_platforms && i < OCL_MAX_DEVICES; i++) {
    cl_device_id id[OCL_MAX_DEVICES];
    cl_uint n = 0;
    if (clGetDeviceIDs(platform[i], CL_DEVICE_TYPE_ALL, OCL_MAX_DEVICES, id, &n) != CL_SUCCESS) continue;
    for (cl_uint j = 0; j < n && j < OCL_MAX_DEVICES && usable < OCL_MAX_DEVICES; j++) {
      struct ocl_device *ocl = &list[usable];
      *ocl = (struct ocl_device){ .platform = platform[i], .id = id[j] };
      inspect(ocl);
      const char *why = unusable(ocl);
      char name[128];
      ocl_text(ocl, CL_DEVICE_NAME, name, sizeof name);
      if (why) log_debug(log, "opencl: %s is left out: %s", name, why);
      else usable++;
    }
  }
  if (!n_platforms) log_debug(log, "opencl: no platform");
  return usable;
}

static enum lrqk_device_type device_type(const struct ocl_device *ocl) {
  if (ocl->type & CL_DEVICE_TYPE_CPU) return LRQK_DEVICE_SOFTWARE;
  if (!(ocl->type & CL_DEVICE_TYPE_GPU)) return LRQK_DEVICE_OTHER;
  return number(ocl, CL_DEVICE_HOST_UNIFIED_MEMORY) ? LRQK_DEVICE_INTEGRATED : LRQK_DEVICE_DISCRETE;
}

/* OpenCL does not tell how much of a GPU's memory is free; where it is RAM, the system does. */
void ocl_memory_info(struct lrqk_device_info *info) {
  uint64_t total, available;
  if (info->type != LRQK_DEVICE_SOFTWARE) return;
  ram_bytes(&total, &available);
  if (total) info->memory[0].bytes = total;
  info->memory[0].free = available;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* CL_PLATFORM_HOST_TIMER_RESOLUTION of OpenCL 2.1: 0, or an error, without timers that can be compared. */
static bool has_timer(const struct ocl_device *ocl) {
  enum { HOST_TIMER_RESOLUTION = 0x0905 };
  cl_ulong ns = 0;
  return clGetPlatformInfo(ocl->platform, HOST_TIMER_RESOLUTION, sizeof ns, &ns, NULL) == CL_SUCCESS && ns;
}

static void limits(const struct ocl_device *ocl, struct lrqk_device_info *info) {
  size_t sizes[3] = { 1, 1, 1 };
  clGetDeviceInfo(ocl->id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof sizes, sizes, NULL);
  info->max_allocation = least(number(ocl, CL_DEVICE_MAX_MEM_ALLOC_SIZE), info->memory[0].bytes);
  info->max_binding = info->max_allocation;
  info->max_workgroup = (uint32_t)least(number(ocl, CL_DEVICE_MAX_WORK_GROUP_SIZE), sizes[0]);
  info->max_shared = (uint32_t)least(number(ocl, CL_DEVICE_LOCAL_MEM_SIZE), UINT32_MAX);
  info->max_storage_bindings = (uint32_t)((number(ocl, CL_DEVICE_MAX_PARAMETER_SIZE) - KERNEL_MAX_PARAMS) / sizeof(cl_mem));
  info->clblast = ocl_blas_available();
  info->timestamp_period_ns = (double)number(ocl, CL_DEVICE_PROFILING_TIMER_RESOLUTION);
  info->statistics = true;
  info->calibrated = has_timer(ocl);
}

void ocl_caps(const struct ocl_device *ocl, struct device_caps *caps) {
  *caps = (struct device_caps){ .info = { .backend = "opencl", .type = device_type(ocl), .n_memory = 1 } };
  struct lrqk_device_info *info = &caps->info;
  char platform[80], version[80];
  ocl_text(ocl, CL_DEVICE_NAME, info->name, sizeof info->name);
  ocl_platform_text(ocl, CL_PLATFORM_NAME, platform, sizeof platform);
  ocl_text(ocl, CL_DRIVER_VERSION, version, sizeof version);
  snprintf(info->driver, sizeof info->driver, "%s %s", platform, version);
  caps->cpu = info->type == LRQK_DEVICE_SOFTWARE;
  info->queues = caps->cpu ? 1 : 2;   /* a CPU has only so many cores, however many queues it is given */
  caps->mapped = ocl->shared;
  info->unified = caps->cpu || info->type == LRQK_DEVICE_INTEGRATED;
  info->memory[0].bytes = number(ocl, CL_DEVICE_GLOBAL_MEM_SIZE);
  snprintf(info->memory[0].flags, sizeof info->memory[0].flags, "%s", info->unified ? "device,host,cached" : "device");
  ocl_memory_info(info);
  limits(ocl, info);
}

void ocl_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)validate;
  struct ocl_device list[OCL_MAX_DEVICES];
  uint32_t n = ocl_usable_devices(log, list);
  for (uint32_t i = 0; i < n; i++) {
    struct device_caps caps;
    ocl_caps(&list[i], &caps);
    fn(ud, &caps);
  }
}
