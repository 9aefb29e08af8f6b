/* stub.c - the OpenCL back end of a build without OpenCL: no devices. */
#include "device/device.h"

static void enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)validate, (void)fn, (void)ud;
  log_debug(log, "opencl: not in this build");
}

const struct device_ops device_opencl = { .name = "opencl", .enumerate = enumerate };
