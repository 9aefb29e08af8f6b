/* count.c - the table of counting devices (device_twin, device_options.counting): every call succeeds and does nothing, so that
 * the constructors of models and sessions run as they are and device.c counts what they allocate.  Used by plan.c. */
#include "device/device.h"

static enum lrqk_status count_open(struct device *d, uint32_t index, const struct device_options *opt) {
  (void)d, (void)index, (void)opt;
  return LRQK_OK;
}

static void count_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)log, (void)validate, (void)fn, (void)ud;
}

static void count_device(struct device *d) { (void)d; }

static enum lrqk_status count_buffer_create(struct buffer *b) {
  (void)b;
  return LRQK_OK;
}

static void count_buffer_destroy(struct buffer *b) { (void)b; }

static enum lrqk_status count_kernel_create(struct kernel *k) {
  (void)k;
  return LRQK_OK;
}

static void count_kernel_destroy(struct kernel *k) { (void)k; }

static enum lrqk_status count_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                                       const void *params) {
  (void)d, (void)k, (void)groups, (void)views, (void)params;
  return LRQK_OK;
}

static enum lrqk_status count_copy(struct device *d, struct view dst, struct view src) {
  (void)d, (void)dst, (void)src;
  return LRQK_OK;
}

static enum lrqk_status count_fill(struct device *d, struct view dst, uint32_t word) {
  (void)d, (void)dst, (void)word;
  return LRQK_OK;
}

static enum lrqk_status count_ticket(struct device *d, uint64_t ticket) {
  (void)d, (void)ticket;
  return LRQK_OK;
}

static size_t count_spans(struct device *d, struct span *out, size_t cap) {
  (void)d, (void)out, (void)cap;
  return 0;
}

const struct device_ops device_count = {
  .name = "count", .enumerate = count_enumerate, .open = count_open, .close = count_device, .memory = count_device,
  .buffer_create = count_buffer_create, .buffer_destroy = count_buffer_destroy,
  .kernel_create = count_kernel_create, .kernel_destroy = count_kernel_destroy,
  .dispatch = count_dispatch, .copy = count_copy, .fill = count_fill, .barrier = count_device,
  .submit = count_ticket, .wait = count_ticket, .spans = count_spans,
};
