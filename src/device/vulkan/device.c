/* device.c - the logical device of the Vulkan back end and its queue; the table device_vulkan. */
#include <inttypes.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

enum lrqk_status vk_fail(struct vk *v, VkResult r, const char *call) {
  const char *name = v->dev->caps.info.name;
  switch (r) {
    case VK_ERROR_DEVICE_LOST:
      fail(&v->dev->log, LRQK_DEVICE_LOST, "%s: the device stopped answering (%s)", name, call);
      log_hint(&v->dev->log, "often the driver's watchdog ended a kernel that ran too long, or the GPU is unstable");
      return LRQK_DEVICE_LOST;
    case VK_ERROR_OUT_OF_HOST_MEMORY: return fail(&v->dev->log, LRQK_MEMORY, "%s: %s: out of host memory", name, call);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return fail(&v->dev->log, LRQK_MEMORY, "%s: %s: out of device memory", name, call);
    default: return fail(&v->dev->log, LRQK_RUNTIME, "%s: %s gave error %d", name, call, r);
  }
}

static bool load_functions(struct vk *v) {
  bool all = true;
#define X(name) all &= (v->name = (PFN_vk##name)v->inst.GetDeviceProcAddr(v->device, "vk" #name)) != NULL;
  VK_DEVICE_FUNCTIONS(X)
  if (v->import_align) {
    X(GetMemoryHostPointerPropertiesEXT)
  }
  if (v->statistics) {
    X(GetPipelineExecutablePropertiesKHR) X(GetPipelineExecutableStatisticsKHR)
  }
  if (v->calibrated) {
    X(GetCalibratedTimestampsEXT)
  }
#undef X
  return all;
}

/* Host memory is imported on software drivers only: there it makes large buffers cost nothing until they are used. */
static VkDeviceSize import_alignment(struct vk *v) {
  if (!v->dev->caps.cpu || !vk_has_extension(&v->inst, v->phys, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME)) return 0;
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT };
  VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host };
  v->inst.GetPhysicalDeviceProperties2(v->phys, &p);
  return host.minImportedHostPointerAlignment;
}

static enum lrqk_status create_device(struct vk *v, bool counters) {
  const float priority[2] = { 1, 1 };
  uint32_t bits, queues;
  v->family = vk_compute_family(&v->inst, v->phys, &bits, &queues);
  if (queues > 2) queues = 2;
  v->timeline = vk_has_timeline(&v->inst, v->phys);
  v->stamp_mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  v->timing = v->timing && bits;
  v->import_align = import_alignment(v);
  const VkDeviceQueueCreateInfo queue = {
    .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = v->family, .queueCount = queues, .pQueuePriorities = priority,
  };
  v->calibrated = v->timing && vk_can_calibrate(&v->inst, v->phys);
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR figures = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
                                                                      .pipelineExecutableInfo = VK_TRUE };
  v->statistics = v->timing && v->dev->caps.info.statistics;
  VkPhysicalDeviceTimelineSemaphoreFeaturesKHR timeline = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES_KHR,
                                                            .pNext = v->statistics ? &figures : NULL, .timelineSemaphore = VK_TRUE };
  VkPhysicalDeviceHostQueryResetFeaturesEXT reset = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_QUERY_RESET_FEATURES_EXT,
                                                      .pNext = v->timeline ? (void *)&timeline : timeline.pNext, .hostQueryReset = VK_TRUE };
  const VkPhysicalDevicePerformanceQueryFeaturesKHR query = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR,
                                                              .pNext = &reset, .performanceCounterQueryPools = VK_TRUE };
  const char *extensions[6];
  uint32_t n = 0;
  if (v->import_align) extensions[n++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
  if (v->statistics) extensions[n++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
  if (v->calibrated) extensions[n++] = VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME;
  if (v->timeline) extensions[n++] = VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME;
  if (counters) extensions[n++] = VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME;
  if (counters) extensions[n++] = VK_EXT_HOST_QUERY_RESET_EXTENSION_NAME;
  const VkDeviceCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = counters ? &query : reset.pNext,
    .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue,
    .enabledExtensionCount = n, .ppEnabledExtensionNames = extensions,
  };
  VkResult r = v->inst.CreateDevice(v->phys, &info, NULL, &v->device);
  if (r < 0) {
    v->device = VK_NULL_HANDLE;
    return vk_fail(v, r, "vkCreateDevice");
  }
  if (!load_functions(v)) return fail(&v->dev->log, LRQK_DEVICE, "%s: the driver lacks functions of Vulkan 1.1", v->dev->caps.info.name);
  v->GetDeviceQueue(v->device, v->family, 0, &v->stream[0].queue);
  v->GetDeviceQueue(v->device, v->family, queues - 1, &v->stream[1].queue);
  return LRQK_OK;
}

static enum lrqk_status check_counters(struct vk *v, const struct device_options *opt) {
  struct device *d = v->dev;
  if (!opt->counters) return LRQK_OK;
  if (!opt->timing) return fail(&d->log, LRQK_USAGE, "%s: counters are read with times only", d->caps.info.name);
  if (vk_has_counters(&v->inst, v->phys)) return LRQK_OK;
  fail(&d->log, LRQK_DEVICE, "%s: the driver gives no hardware counters: it lacks VK_KHR_performance_query (or VK_EXT_host_query_reset)", d->caps.info.name);
  log_hint(&d->log, "`lrqk devices -v` says which devices have some");
  return LRQK_DEVICE;
}

static enum lrqk_status open_physical(struct vk *v, uint32_t index, const struct device_options *opt) {
  struct device *d = v->dev;
  VkPhysicalDevice list[VK_MAX_DEVICES];
  if (opt->validate && !vk_have_validation_layer()) {
    fail(&d->log, LRQK_DEVICE, "vulkan: VK_LAYER_KHRONOS_validation is not installed");
    log_hint(&d->log, "Debian and Ubuntu have it in vulkan-validationlayers");
    return LRQK_DEVICE;
  }
  if (vk_instance_create(&v->inst, &d->log, opt->validate ? d : NULL, true) != LRQK_OK)
    return fail(&d->log, LRQK_DEVICE, "vulkan: no instance could be made");
  if (index >= vk_usable_devices(&v->inst, &d->log, list)) return fail(&d->log, LRQK_DEVICE, "%s is no longer there", d->caps.info.name);
  v->phys = list[index];
  vk_caps(&v->inst, v->phys, &d->caps);
  if (opt->texel) d->caps.texel = opt->texel > 0;
  VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
  VkPhysicalDeviceMemoryProperties2 m = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2 };
  v->inst.GetPhysicalDeviceProperties2(v->phys, &p);
  v->inst.GetPhysicalDeviceMemoryProperties2(v->phys, &m);
  v->props = p.properties;
  v->memory = m.memoryProperties;
  v->timing = opt->timing;
  TRY(vk_labels_open(v, opt));
  TRY(check_counters(v, opt));
  TRY(create_device(v, opt->counters != NULL));
  if (opt->counters && !vk_counters_load(v)) return fail(&d->log, LRQK_DEVICE, "%s: the driver lacks functions of VK_KHR_performance_query", d->caps.info.name);
  if (opt->counters) TRY(vk_counters_open(v, opt->counters));
  TRY(vk_commands_init(v));
  TRY(vk_sets_init(v));
  vk_cache_open(v);
  return LRQK_OK;
}

/* Also after an open that failed half-way. */
static void vk_close(struct device *d) {
  struct vk *v = d->backend;
  if (v->device && v->DestroyDevice) {
    if (v->DeviceWaitIdle) v->DeviceWaitIdle(v->device);
    vk_sets_destroy(v);
    vk_commands_destroy(v);
    vk_layouts_destroy(v);
    vk_cache_close(v);
    vk_counters_close(v);
    v->DestroyDevice(v->device, NULL);
  }
  vk_instance_destroy(&v->inst);
  if (d->validation_messages) fail(&d->log, LRQK_CHECK, "%" PRIu32 " messages of the validation layer", d->validation_messages);
  span_free(&v->spans);
  mem_free(v);
  d->backend = NULL;
}

static enum lrqk_status vk_open(struct device *d, uint32_t index, const struct device_options *opt) {
  struct vk *v = mem_alloc(1, sizeof *v);
  if (!v) return fail(&d->log, LRQK_MEMORY, "vulkan: out of host memory");
  v->dev = d;
  d->backend = v;
  enum lrqk_status s = open_physical(v, index, opt);
  if (s != LRQK_OK) vk_close(d);
  return s;
}

const struct device_ops device_vulkan = {
  .name = "vulkan", .enumerate = vk_enumerate, .open = vk_open, .close = vk_close, .memory = vk_memory,
  .buffer_create = vk_buffer_create, .buffer_destroy = vk_buffer_destroy,
  .kernel_create = vk_kernel_create, .kernel_destroy = vk_kernel_destroy,
  .dispatch = vk_dispatch, .copy = vk_copy, .fill = vk_fill, .barrier = vk_barrier,
  .submit = vk_submit, .replay = vk_replay, .wait = vk_wait, .aside = vk_aside, .join = vk_join, .spans = vk_spans, .clocks = vk_clocks,
  .kernel_figures = vk_kernel_figures, .frame = vk_frame, .counters = vk_span_counters,
};
