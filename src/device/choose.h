/* choose.h - which device is meant.  device_open and the tests call this. */
#ifndef DEVICE_CHOOSE_H
#define DEVICE_CHOOSE_H

#include "device/device.h"

struct device_entry { const struct device_ops *ops; uint32_t index; struct device_caps caps; };   /* index within the back end */

/* Every device of every back end in the order of preference; caps.info.index counts them.  *list is the caller's. */
enum lrqk_status device_entries(struct device_entry **list, size_t *n, const struct log *log, bool validate);

/* The first of n devices that `select` means (lrqk_engine_options.device), or -1. */
int device_match(const struct device_entry *list, size_t n, const char *select);

#endif
