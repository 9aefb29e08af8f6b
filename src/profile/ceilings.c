/* ceilings.c - the roofs of a device, measured by short runs: bandwidth of its memory and of the bus, multiply-adds per
 * second, and what a dispatch costs that does nothing.  The best of a few runs counts, of
 * dispatches the median. */
#include "profile/profile.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
  READ_CPU = 64 << 20, READ_GPU = 512 << 20,   /* bytes: more than any cache holds */
  BUS = 64 << 20,
  RUNS = 5, EMPTY = 256,                       /* dispatches */
  PAIRS = 16,                                  /* of submits with and without timestamps */
  LEAST_NS = 20000000                          /* a run of arithmetic */
};

struct bench {
  struct device *dev;
  uint32_t lanes, stride;         /* of a workgroup; of the whole grid of a read */
  const struct kernel *read, *flops;
  struct buffer *big, *copy, *bus, *out;
};

/* Runs what is recorded; *ns the shortest span of it. */
static enum lrqk_status shortest(struct bench *b, double *ns) {
  struct span span[EMPTY];
  TRY(device_submit(b->dev, NULL));
  TRY(device_wait(b->dev, 0));
  size_t n = device_spans(b->dev, span, EMPTY);
  *ns = 0;
  for (size_t i = 0; i < n; i++) {
    double t = (double)(span[i].end_ns - span[i].begin_ns);
    if (t > 0 && (*ns == 0 || t < *ns)) *ns = t;
  }
  return *ns > 0 ? LRQK_OK : fail(&b->dev->log, LRQK_RUNTIME, "%s gave no times of its ceilings", b->dev->caps.info.name);
}

static void read_all(struct bench *b, const struct buffer *from) {
  struct probe_read_params p = { .n = (uint32_t)(from->size / 16), .stride = b->stride };
  for (int i = 0; i < RUNS; i++) DISPATCH(b->dev, b->read, b->stride / b->lanes, 1, 1, &p, view_of(from), view_of(b->out));
}

static enum lrqk_status bandwidth(struct bench *b, const struct buffer *from, const struct buffer *to, double copied, double *gb_per_s) {
  double read_ns, copy_ns;
  uint64_t size = from->size < to->size ? from->size : to->size;
  read_all(b, from);
  TRY(shortest(b, &read_ns));
  for (int i = 0; i < RUNS; i++) device_copy(b->dev, (struct view){ to, 0, size }, (struct view){ from, 0, size });
  TRY(shortest(b, &copy_ns));
  double read = (double)from->size / read_ns, copy = copied * (double)size / copy_ns;
  *gb_per_s = read > copy ? read : copy;
  return LRQK_OK;
}

static enum lrqk_status arithmetic(struct bench *b, double *gflop_per_s) {
  struct probe_flops_params p = { .n = 64, .m = 0.999999f, .s = 1e-6f };
  for (double ns = 0; ns < LEAST_NS && p.n < 1u << 30;) {
    p.n *= 4;
    for (int i = 0; i < RUNS; i++) DISPATCH(b->dev, b->flops, b->stride / b->lanes, 1, 1, &p, view_of(b->out));
    TRY(shortest(b, &ns));
    *gflop_per_s = 64.0 * p.n * b->stride / ns;
  }
  return LRQK_OK;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

struct cost { double us, cpu_us; };   /* of a dispatch that does nothing */

/* A submit of such dispatches, one after the other as those of a layer are: each writes what the one before wrote.  From the first begin to
 * the last end, and what the process ran meanwhile, with a timestamp behind each or (whole) two around all. */
static enum lrqk_status submit_empty(struct bench *b, bool whole, struct cost *cost) {
  struct probe_flops_params p = { .n = 0 };
  struct span span[EMPTY];
  b->dev->whole = whole;
  uint64_t cpu = clock_cpu_ns();
  for (int i = 0; i < EMPTY; i++) DISPATCH(b->dev, b->flops, 1, 1, 1, &p, view_of(b->out));
  TRY(device_submit(b->dev, NULL));
  TRY(device_wait(b->dev, 0));
  cost->cpu_us = (double)(clock_cpu_ns() - cpu) / EMPTY / 1000;
  size_t n = device_spans(b->dev, span, EMPTY);
  cost->us = n ? (double)(span[n - 1].end_ns - span[0].begin_ns) / EMPTY / 1000 : 0;
  return LRQK_OK;
}

/* Costs of a dispatch: medians.  Of a timestamp: how much longer the fastest submit takes with one behind each. */
static enum lrqk_status dispatches(struct bench *b, struct lrqk_ceilings *out) {
  double us[PAIRS], cpu_us[PAIRS], each = INFINITY;
  for (int i = 0; i < PAIRS; i++) {
    struct cost stamped, plain;
    TRY(submit_empty(b, false, &stamped));
    TRY(submit_empty(b, true, &plain));
    if (stamped.us < each) each = stamped.us;
    us[i] = plain.us;
    cpu_us[i] = plain.cpu_us;
  }
  qsort(us, PAIRS, sizeof *us, by_value);
  qsort(cpu_us, PAIRS, sizeof *cpu_us, by_value);
  out->empty_us = us[PAIRS / 2];
  out->empty_cpu_us = cpu_us[PAIRS / 2];
  out->stamp_us = each > us[0] ? each - us[0] : 0;
  return LRQK_OK;
}

static enum lrqk_status measure(struct bench *b, struct lrqk_ceilings *out) {
  struct device *d = b->dev;
  uint64_t most = d->caps.cpu ? READ_CPU : READ_GPU;
  if (most > d->caps.info.max_binding) most = d->caps.info.max_binding;
  if (d->caps.texel && most / 16 > d->caps.info.max_texels) most = d->caps.info.max_texels * 16;
  most = most / VIEW_ALIGN * VIEW_ALIGN;
  b->lanes = d->caps.cpu ? 8 : 64;
  b->stride = b->lanes * (d->caps.cpu ? 64 : 4096);
  TRY(kernel_get(&b->read, d, KERNEL_PROBE_READ, SPEC(b->lanes)));
  TRY(kernel_get(&b->flops, d, KERNEL_PROBE_FLOPS, SPEC(b->lanes)));
  TRY(buffer_create(&b->big, d, PLACE_DEVICE, most, "ceilings"));
  TRY(buffer_create(&b->copy, d, PLACE_DEVICE, most, "ceilings"));
  TRY(buffer_create(&b->bus, d, PLACE_HOST, BUS < most ? BUS : most, "ceilings"));
  TRY(buffer_create(&b->out, d, PLACE_DEVICE, (uint64_t)b->stride * 16, "ceilings"));
  device_fill(d, view_of(b->big), 1);     /* pages that were never written may all be the same one */
  device_fill(d, view_of(b->bus), 1);
  device_fill(d, view_of(b->copy), 1);
  double ns;
  TRY(shortest(b, &ns));
  TRY(bandwidth(b, b->big, b->copy, 2, &out->device_gb_per_s));
  TRY(bandwidth(b, b->bus, b->copy, 1, &out->bus_gb_per_s));
  TRY(arithmetic(b, &out->gflop_per_s));
  return dispatches(b, out);
}

enum lrqk_status ceilings_measure(struct device *dev, struct lrqk_ceilings *out) {
  struct bench b = { .dev = dev };
  struct lrqk_ceilings c = { 0 };
  TRY(device_submit(dev, NULL));
  TRY(device_wait(dev, 0));
  device_spans(dev, NULL, 0);
  bool was = dev->stamping, whole = dev->whole;
  dev->stamping = true;
  enum lrqk_status s = measure(&b, &c);
  dev->stamping = was;
  dev->whole = whole;
  buffer_destroy(&b.big);
  buffer_destroy(&b.copy);
  buffer_destroy(&b.bus);
  buffer_destroy(&b.out);
  if (s == LRQK_OK) *out = c;
  return s;
}
