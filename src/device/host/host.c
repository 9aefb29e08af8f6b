/* host.c - the back end `host`: every kernel in plain C, one thread, run at once when it is dispatched.  The oracle of
 * the tests.  The kernels are in kernels_model.c and kernels_select.c. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/device.h"
#include "device/ram.h"
#include "device/spans.h"

#define KERNEL(ID, file, defines) void host_##file(const struct host_call *c);
#include "device/kernels.def"
#undef KERNEL

static void (*const host_kernels[N_KERNELS])(const struct host_call *c) = {
#define KERNEL(ID, file, defines) [KERNEL_##ID] = host_##file,
#include "device/kernels.def"
#undef KERNEL
};

struct host { bool timing; struct span_list spans; uint64_t begun; };   /* begun: the submit, 0: it has no command */

static struct device_caps host_caps(void) {
  struct device_caps caps = {
    .info = { .backend = "host", .name = "host", .driver = "plain C, one thread", .type = LRQK_DEVICE_SOFTWARE, .unified = true,
              .n_memory = 1, .memory = { { .flags = "device,host,cached" } }, .max_allocation = UINT64_C(1) << 40,
              .max_binding = UINT64_C(1) << 32, .max_workgroup = 1024, .max_shared = 64 << 10,
              .max_storage_bindings = KERNEL_MAX_BINDINGS, .subgroup = 1, .queues = 1, .timestamp_period_ns = 1, .calibrated = true },
    .cpu = true, .mapped = true,
  };
  ram_bytes(&caps.info.memory[0].bytes, &caps.info.memory[0].free);
  return caps;
}

static void host_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud) {
  (void)log, (void)validate;
  struct device_caps caps = host_caps();
  fn(ud, &caps);
}

static enum lrqk_status host_open(struct device *d, uint32_t index, const struct device_options *opt) {
  (void)index;
  struct host *h = mem_alloc(1, sizeof *h);
  if (!h) return fail(&d->log, LRQK_MEMORY, "host: out of memory");
  h->timing = opt->timing;
  d->caps = host_caps();
  d->backend = h;
  return LRQK_OK;
}

static void host_close(struct device *d) {
  struct host *h = d->backend;
  span_free(&h->spans);
  mem_free(h);
}

static void host_memory(struct device *d) { ram_bytes(&d->caps.info.memory[0].bytes, &d->caps.info.memory[0].free); }

static enum lrqk_status host_buffer_create(struct buffer *b) {
  b->map = mem_alloc(1, b->size);
  if (b->map) return LRQK_OK;
  host_memory(b->dev);
  fail(&b->dev->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes of RAM asked, %" PRIu64 " are free", b->name, b->size, b->dev->caps.info.memory[0].free);
  log_hint(&b->dev->log, "a shorter context (-c) needs less memory");
  return LRQK_MEMORY;
}

static void host_buffer_destroy(struct buffer *b) { mem_free(b->map); }

static enum lrqk_status host_kernel_create(struct kernel *k) {
  (void)k;
  return LRQK_OK;
}

static void host_kernel_destroy(struct kernel *k) { (void)k; }

static void *address(struct view v) { return (char *)v.buf->map + v.offset; }

static enum lrqk_status timed(const struct device *d, const char *name, uint64_t begin) {
  struct host *h = d->backend;
  if (h->timing && d->stamping && d->whole && !h->begun) h->begun = begin;
  if (h->timing && d->stamping && !d->whole) span_push(&h->spans, (struct span){ .name = name, .begin_ns = begin, .end_ns = clock_ns() });
  return LRQK_OK;
}

static enum lrqk_status host_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                                      const void *params) {
  uint64_t begin = clock_ns();
  struct host_call c = { .id = k->id, .spec = k->spec, .groups = { groups[0], groups[1], groups[2] }, .params = params };
  for (uint32_t i = 0; i < kernel_info[k->id].n_bindings; i++) {
    c.buf[i] = address(views[i]);
    c.size[i] = views[i].size;
  }
  host_kernels[k->id](&c);
  return timed(d, kernel_info[k->id].id, begin);
}

static enum lrqk_status host_copy(struct device *d, struct view dst, struct view src) {
  uint64_t begin = clock_ns();
  memcpy(address(dst), address(src), src.size);
  return timed(d, "copy", begin);
}

static enum lrqk_status host_fill(struct device *d, struct view dst, uint32_t word) {
  uint64_t begin = clock_ns();
  uint32_t *p = address(dst);
  for (uint64_t i = 0; i < dst.size / 4; i++) p[i] = word;
  return timed(d, "fill", begin);
}

static void host_barrier(struct device *d) { (void)d; }

static enum lrqk_status host_submit(struct device *d, uint64_t ticket) {
  struct host *h = d->backend;
  (void)ticket;
  if (h->begun) span_push(&h->spans, (struct span){ .name = "submit", .begin_ns = h->begun, .end_ns = clock_ns() });
  h->begun = 0;
  return LRQK_OK;
}

static enum lrqk_status host_wait(struct device *d, uint64_t ticket) {
  (void)d, (void)ticket;
  return LRQK_OK;
}

static bool host_clocks(struct device *d, struct clocks *out) {
  (void)d;
  uint64_t now = clock_ns();
  *out = (struct clocks){ now, now, 0 };
  return true;
}

static size_t host_spans(struct device *d, struct span *out, size_t cap) {
  struct host *h = d->backend;
  return span_take(&h->spans, out, cap);
}

const struct device_ops device_host = {
  .name = "host", .enumerate = host_enumerate, .open = host_open, .close = host_close, .memory = host_memory,
  .buffer_create = host_buffer_create, .buffer_destroy = host_buffer_destroy,
  .kernel_create = host_kernel_create, .kernel_destroy = host_kernel_destroy,
  .dispatch = host_dispatch, .copy = host_copy, .fill = host_fill, .barrier = host_barrier,
  .submit = host_submit, .wait = host_wait, .spans = host_spans, .clocks = host_clocks,
};
