/* instance.c - the Vulkan loader, instances, the validation layer's messages, physical devices and what they can do. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

/* The loader is opened once in a process and stays: volk keeps it in variables of its own. */
static void open_loader(void) { volkInitialize(); }

static bool have_loader(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_loader);
  return vkGetInstanceProcAddr && vkEnumerateInstanceVersion;   /* the second is missing in Vulkan 1.0 */
}

/* ---- the validation layer */

static const char *const validation_layer = "VK_LAYER_KHRONOS_validation";

bool vk_have_validation_layer(void) {
  uint32_t n = 0;
  if (!have_loader() || vkEnumerateInstanceLayerProperties(&n, NULL) < 0) return false;
  VkLayerProperties *list = mem_alloc(n, sizeof *list);
  bool found = false;
  if (list && vkEnumerateInstanceLayerProperties(&n, list) >= 0)
    for (uint32_t i = 0; i < n; i++) found |= !strcmp(list[i].layerName, validation_layer);
  mem_free(list);
  return found;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *ud) {
  struct device *d = ud;
  (void)severity, (void)types;
  d->validation_messages++;
  log_msg(&d->log, LRQK_LOG_ERROR, "Vulkan: %s", data->pMessage);
  return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
  .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
  .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
  .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
  .pfnUserCallback = on_message,
};

/* ---- the instance */

static bool load_functions(struct vk_instance *inst, bool debug) {
  bool all = true;
#define X(name) all &= (inst->name = (PFN_vk##name)vkGetInstanceProcAddr(inst->handle, "vk" #name)) != NULL;
  VK_INSTANCE_FUNCTIONS(X)
  if (debug) {
    VK_DEBUG_FUNCTIONS(X)
  }
#undef X
  return all;
}

static bool have_debug_utils(void) {
  VkExtensionProperties list[64];
  uint32_t n = 64;
  if (vkEnumerateInstanceExtensionProperties(NULL, &n, list) < 0) return false;
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(list[i].extensionName, VK_EXT_DEBUG_UTILS_EXTENSION_NAME)) return true;
  return false;
}

enum lrqk_status vk_instance_create(struct vk_instance *inst, const struct log *log, struct device *d, bool debug) {
  uint32_t version = 0;
  *inst = (struct vk_instance){ 0 };
  if (!have_loader() || vkEnumerateInstanceVersion(&version) < 0 || version < VK_API_VERSION_1_1) {
    log_debug(log, "vulkan: no loader of version 1.1 or later");
    return LRQK_DEVICE;
  }
  const VkApplicationInfo app = {
    .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "lrqk", .pEngineName = "lrqk",
    .apiVersion = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3,
  };
  inst->version = app.apiVersion;
  debug = d || (debug && have_debug_utils());
  const char *extensions[] = { VK_EXT_DEBUG_UTILS_EXTENSION_NAME };
  const VkInstanceCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app,
    .enabledLayerCount = d != NULL, .ppEnabledLayerNames = &validation_layer,
    .enabledExtensionCount = debug, .ppEnabledExtensionNames = extensions,
  };
  VkResult r = vkCreateInstance(&info, NULL, &inst->handle);
  if (r < 0) {   /* VK_ERROR_INCOMPATIBLE_DRIVER: a loader without drivers */
    inst->handle = VK_NULL_HANDLE;
    log_debug(log, "vulkan: vkCreateInstance gave %d", r);
    return LRQK_DEVICE;
  }
  bool all = load_functions(inst, debug);
  VkDebugUtilsMessengerCreateInfoEXT messages = messenger_info;
  messages.pUserData = d;
  if (all && (!d || inst->CreateDebugUtilsMessengerEXT(inst->handle, &messages, NULL, &inst->messenger) >= 0)) return LRQK_OK;
  vk_instance_destroy(inst);
  log_debug(log, "vulkan: the loader lacks functions");
  return LRQK_DEVICE;
}

void vk_instance_destroy(struct vk_instance *inst) {
  if (inst->messenger) inst->DestroyDebugUtilsMessengerEXT(inst->handle, inst->messenger, NULL);
  if (inst->handle && inst->DestroyInstance) inst->DestroyInstance(inst->handle, NULL);
  *inst = (struct vk_instance){ 0 };
}

/* ---- devices */

bool vk_has_extension(const struct vk_instance *inst, VkPhysicalDevice phys, const char *name) {
  uint32_t n = 0;
  if (inst->EnumerateDeviceExtensionProperties(phys, NULL, &n, NULL) < 0) return false;
  VkExtensionProperties *list = mem_alloc(n, sizeof *list);
  bool found = false;
  if (list && inst->EnumerateDeviceExtensionProperties(phys, NULL, &n, list) >= 0)
    for (uint32_t i = 0; i < n; i++) found |= !strcmp(list[i].extensionName, name);
  mem_free(list);
  return found;
}

uint32_t vk_compute_family(const struct vk_instance *inst, VkPhysicalDevice phys, uint32_t *stamp_bits, uint32_t *queues) {
  VkQueueFamilyProperties list[16];
  uint32_t n = 16;
  inst->GetPhysicalDeviceQueueFamilyProperties(phys, &n, list);
  for (uint32_t i = 0; i < n; i++) {
    if (!(list[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    *stamp_bits = list[i].timestampValidBits;
    *queues = list[i].queueCount;
    return i;
  }
  *stamp_bits = *queues = 0;
  return UINT32_MAX;
}

bool vk_has_timeline(const struct vk_instance *inst, VkPhysicalDevice phys) {
  VkPhysicalDeviceTimelineSemaphoreFeaturesKHR timeline = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES_KHR };
  VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &timeline };
  if (!vk_has_extension(inst, phys, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME)) return false;
  inst->GetPhysicalDeviceFeatures2(phys, &f);
  return timeline.timelineSemaphore;
}

uint32_t vk_usable_devices(const struct vk_instance *inst, const struct log *log, VkPhysicalDevice list[VK_MAX_DEVICES]) {
  uint32_t n = VK_MAX_DEVICES, usable = 0;
  if (inst->EnumeratePhysicalDevices(inst->handle, &n, list) < 0) return 0;
  for (uint32_t i = 0; i < n; i++) {
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
    uint32_t bits, queues;
    inst->GetPhysicalDeviceProperties2(list[i], &p);
    if (p.properties.apiVersion < VK_API_VERSION_1_1 || vk_compute_family(inst, list[i], &bits, &queues) == UINT32_MAX)
      log_debug(log, "vulkan: %s is left out: no Vulkan 1.1 or no compute queue", p.properties.deviceName);
    else
      list[usable++] = list[i];
  }
  return usable;
}

static enum lrqk_device_type device_type(VkPhysicalDeviceType t) {
  switch (t) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return LRQK_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return LRQK_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return LRQK_DEVICE_SOFTWARE;
    default: return LRQK_DEVICE_OTHER;
  }
}

static bool texel_formats(const struct vk_instance *inst, VkPhysicalDevice phys) {
  for (const char *c = "fFuU"; *c; c++) {
    VkFormatProperties p;
    inst->GetPhysicalDeviceFormatProperties(phys, vk_format(*c), &p);
    if (!(p.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT)) return false;
  }
  return true;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void limits(struct lrqk_device_info *info, const VkPhysicalDeviceLimits *l, uint64_t max_allocation, uint32_t stamp_bits) {
  uint64_t heap = 0;
  for (uint32_t i = 0; i < info->n_memory; i++)
    if (info->memory[i].bytes > heap) heap = info->memory[i].bytes;
  info->max_allocation = max_allocation < heap ? max_allocation : heap;
  info->max_binding = l->maxStorageBufferRange;
  info->max_texels = l->maxTexelBufferElements;
  info->max_workgroup = least(l->maxComputeWorkGroupInvocations, l->maxComputeWorkGroupSize[0]);
  info->max_shared = l->maxComputeSharedMemorySize;
  info->max_storage_bindings = least(l->maxPerStageDescriptorStorageBuffers, l->maxDescriptorSetStorageBuffers);
  info->timestamp_period_ns = stamp_bits ? l->timestampPeriod : 0;
}

/* The extension and its feature. */
static bool has_statistics(const struct vk_instance *inst, VkPhysicalDevice phys) {
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR figures = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR };
  VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &figures };
  if (!vk_has_extension(inst, phys, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) return false;
  inst->GetPhysicalDeviceFeatures2(phys, &f);
  return figures.pipelineExecutableInfo;
}

void vk_caps(const struct vk_instance *inst, VkPhysicalDevice phys, struct device_caps *caps) {
  VkPhysicalDeviceDriverProperties driver = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES };
  VkPhysicalDeviceSubgroupProperties subgroup = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES };
  VkPhysicalDeviceMaintenance3Properties m3 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &subgroup };
  VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &m3 };
  if (vk_has_extension(inst, phys, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) subgroup.pNext = &driver;
  inst->GetPhysicalDeviceProperties2(phys, &p);
  uint32_t stamp_bits, queues;
  vk_compute_family(inst, phys, &stamp_bits, &queues);

  *caps = (struct device_caps){ .info = { .backend = "vulkan", .type = device_type(p.properties.deviceType) } };
  struct lrqk_device_info *info = &caps->info;
  snprintf(info->name, sizeof info->name, "%s", p.properties.deviceName);
  if (driver.driverName[0]) snprintf(info->driver, sizeof info->driver, "%.120s %.120s", driver.driverName, driver.driverInfo);
  else snprintf(info->driver, sizeof info->driver, "version %" PRIu32, p.properties.driverVersion);
  caps->cpu = info->type == LRQK_DEVICE_SOFTWARE;
  info->unified = caps->cpu || info->type == LRQK_DEVICE_INTEGRATED;
  vk_memory_info(inst, phys, info);
  limits(info, &p.properties.limits, m3.maxMemoryAllocationSize, stamp_bits);
  info->subgroup = subgroup.subgroupSize;
  info->statistics = has_statistics(inst, phys);
  info->counters = vk_counters_of(inst, phys);
  info->calibrated = stamp_bits && vk_can_calibrate(inst, phys);
  info->queues = !caps->cpu && queues > 1 && vk_has_timeline(inst, phys) ? 2 : 1;   /* a CPU has only so many cores */
  caps->texel = caps->cpu && info->max_texels >= 1u << 26 && texel_formats(inst, phys);

  VkPhysicalDeviceMemoryProperties2 m = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2 };
  inst->GetPhysicalDeviceMemoryProperties2(phys, &m);
  int t = vk_memory_type(&m.memoryProperties, info->type, PLACE_DEVICE, UINT32_MAX);
  caps->mapped = info->unified && t >= 0 && (m.memoryProperties.memoryTypes[t].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
}

void vk_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)validate;
  struct vk_instance inst;
  VkPhysicalDevice list[VK_MAX_DEVICES];
  if (vk_instance_create(&inst, log, NULL, false) != LRQK_OK) return;
  uint32_t n = vk_usable_devices(&inst, log, list);
  for (uint32_t i = 0; i < n; i++) {
    struct device_caps caps;
    vk_caps(&inst, list[i], &caps);
    fn(ud, &caps);
  }
  vk_instance_destroy(&inst);
}
