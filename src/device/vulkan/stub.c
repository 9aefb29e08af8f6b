/* stub.c - the Vulkan back end of a build without Vulkan: no devices. */
#include "device/device.h"

static void enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)validate, (void)fn, (void)ud;
  log_debug(log, "vulkan: not in this build");
}

const struct device_ops device_vulkan = { .name = "vulkan", .enumerate = enumerate };
