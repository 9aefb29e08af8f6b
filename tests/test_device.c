/* The device layer: every back end, with both ways of loading in Vulkan, and Vulkan once more under the validation layer;
 * OpenCL with the host's memory, if the driver works in it, and with memory of its own. */
#include "log_capture.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/choose.h"
#include "kernel_harness.h"
#include "suite.h"

static const struct config { const char *name, *select; int texel; bool validate, separate; } all_configs[] = {
  { "host", "host", 0, false, false },
  { "vulkan, texel loads", "vulkan", 1, false, false },
  { "vulkan, storage loads", "vulkan", -1, false, false },
  { "vulkan, texel loads, validated", "vulkan", 1, true, false },
  { "vulkan, storage loads, validated", "vulkan", -1, true, false },
  { "opencl", "opencl", 0, false, false },
  { "opencl, separate memory", "opencl", 0, false, true },
};
enum { N_CONFIGS = sizeof all_configs / sizeof *all_configs };

static struct config configs[N_CONFIGS];   /* those that are tested; the first is host */
static int n_configs;

static void choose_configs(void) {
  for (int i = 0; i < N_CONFIGS; i++)
    if (i == 0 || test_uses(all_configs[i].select)) configs[n_configs++] = all_configs[i];
}

static bool have_vulkan(void) { return test_uses("vulkan"); }

static struct log_capture captured;

static struct device *open_with(int config, struct device_options opt) {
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  opt.select = configs[config].select;
  opt.texel = configs[config].texel;
  opt.validate = configs[config].validate;
  opt.separate = configs[config].separate;
  ck_assert_msg(device_open(&d, &log, &opt) == LRQK_OK, "%s: %s", configs[config].name, captured.text);
  return d;
}

static struct device *open_config(int config) { return open_with(config, (struct device_options){ 0 }); }

/* Nothing was logged as an error, neither before the close nor by it (left buffers, validation messages). */
static void close_clean(struct device *d) {
  device_close(d);
  ck_assert_msg(captured.errors == 0, "%s", captured.text);
}

#define OK(call) ck_assert_msg((call) == LRQK_OK, "%s: %s", #call, captured.text)

static struct buffer *make(struct device *d, enum place place, uint64_t size) {
  struct buffer *b = NULL;
  OK(buffer_create(&b, d, place, size, "test"));
  return b;
}

static uint32_t word_at(uint32_t i) { return i * 2654435761u + 12345; }

static void *pattern(size_t n) {
  unsigned char *p = malloc(n ? n : 1);
  for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(word_at((uint32_t)i) >> 24);
  return p;
}

static bool all_bytes(const void *p, size_t n, unsigned char value) {
  for (size_t i = 0; i < n; i++)
    if (((const unsigned char *)p)[i] != value) return false;
  return true;
}

static void run(struct device *d) {
  uint64_t t = 0;
  OK(device_submit(d, &t));
  OK(device_wait(d, t));
}

/* ---- memory */

START_TEST(buffers_of_each_place) {
  struct device *d = open_config(_i);
  for (int place = 0; place < N_PLACES; place++) {
    static const uint64_t sizes[] = { 1, 512, 513, 100000, 3 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      uint64_t before = d->placed[place];   /* the staging buffer of transfers */
      struct buffer *b = make(d, (enum place)place, sizes[i]);
      ck_assert_uint_eq(b->size, (sizes[i] + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN);
      ck_assert_uint_eq(d->placed[place], before + b->size);
      ck_assert(place == PLACE_DEVICE || b->map);
      ck_assert_int_eq(b->map != NULL, place != PLACE_DEVICE || d->caps.mapped);
      void *got = malloc(b->size);
      OK(device_read(d, got, view_of(b), b->size));
      ck_assert(all_bytes(got, b->size, 0));
      memset(got, 0xa5, b->size);   /* so that memory used again is not zero by chance */
      OK(device_write(d, view_of(b), got, b->size));
      free(got);
      buffer_destroy(&b);
      ck_assert_ptr_null(b);
      ck_assert_uint_eq(d->placed[place], before);
    }
  }
  buffer_destroy(&(struct buffer *){ NULL });
  device_close(NULL);
  close_clean(d);
}
END_TEST

static long resident_kib(void) {
  long kib = 0;
  char line[128];
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) sscanf(line, "VmRSS: %ld", &kib);
  if (f) fclose(f);
  return kib;
}

/* A KV cache of which little is used must not cost all of it where device memory is RAM. */
START_TEST(large_buffers_are_zero_and_not_resident) {
  struct device *d = open_config(_i);
  if (d->caps.cpu && d->caps.mapped) {
    long before = resident_kib();
    struct buffer *b = make(d, PLACE_DEVICE, 200 << 20);
    ck_assert_int_lt(resident_kib() - before, 64 << 10);
    uint32_t word = 1;
    for (uint64_t at = 0; at < b->size; at += 1 << 20) {
      OK(device_read(d, &word, (struct view){ b, at, 4 }, 4));
      ck_assert_uint_eq(word, 0);
    }
    buffer_destroy(&b);
  }
  close_clean(d);
}
END_TEST

/* RAM that is promised to other buffers is not promised twice, though none of them is resident. */
START_TEST(ram_is_not_promised_twice) {
  struct device *d = open_config(_i);
  if (d->caps.cpu && d->caps.mapped) {
    enum { MOST = 4096 };
    static struct buffer *b[MOST];
    uint64_t size = d->caps.info.memory[0].free / 3;
    if (size > d->caps.info.max_allocation) size = d->caps.info.max_allocation;
    size &= ~(uint64_t)(VIEW_ALIGN - 1);
    int n = 0;
    while (n < MOST && buffer_create(&b[n], d, PLACE_HOST, size, "promise") == LRQK_OK) n++;
    bool driver = strstr(captured.text, " of heap ");   /* a limit of its own, below RAM (SwiftShader) */
    log_capture_expect(&captured, "promise", driver ? "asked" : "RAM");
    ck_assert(captured.hint[0]);
    captured.errors = 0;
    ck_assert_uint_le(d->placed[PLACE_HOST], d->caps.info.memory[0].bytes);
    if (!driver) ck_assert_uint_ge(d->placed[PLACE_HOST] + size, d->caps.info.memory[0].bytes);
    while (n) buffer_destroy(&b[--n]);
  }
  close_clean(d);
}
END_TEST

static void round_trip(struct device *d, struct buffer *b, uint64_t offset, size_t size) {
  unsigned char *in = pattern(size), *all = malloc(b->size);
  memset(all, 0x5a, b->size);
  OK(device_write(d, view_of(b), all, b->size));
  OK(device_write(d, (struct view){ b, offset, size }, in, size));
  OK(device_read(d, all, view_of(b), b->size));
  ck_assert(all_bytes(all, offset, 0x5a));
  ck_assert_mem_eq(all + offset, in, size);
  ck_assert(all_bytes(all + offset + size, b->size - offset - size, 0x5a));
  memset(all, 0, size);
  OK(device_read(d, all, (struct view){ b, offset, size }, size));
  ck_assert_mem_eq(all, in, size);
  free(in);
  free(all);
}

/* Also as if DEVICE memory were not mapped: through the staging buffer, in pieces. */
START_TEST(write_and_read) {
  struct device *d = open_config(_i);
  static const struct { uint64_t size, offset, bytes; } cases[] = {
    { 512, 0, 0 }, { 512, 0, 1 }, { 512, 4, 3 }, { 512, 508, 4 }, { 1024, 512, 511 }, { 3 << 20, 8, (2 << 20) + 5 },
    { 20 << 20, 1024, (19 << 20) + 3 }, { 8 << 20, 0, 8 << 20 },
  };
  for (int place = 0; place < N_PLACES; place++)
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      struct buffer *b = make(d, (enum place)place, cases[i].size);
      round_trip(d, b, cases[i].offset, cases[i].bytes);
      void *map = b->map;
      if (place == PLACE_DEVICE && d->ops != &device_host) {
        b->map = NULL;
        round_trip(d, b, cases[i].offset, cases[i].bytes);
        b->map = map;
      }
      buffer_destroy(&b);
    }
  close_clean(d);
}
END_TEST

START_TEST(fill_and_copy) {
  struct device *d = open_config(_i);
  struct buffer *a = make(d, PLACE_DEVICE, 4096), *h = make(d, PLACE_HOST, 4096), *b = make(d, PLACE_DEVICE, 4096);
  device_fill(d, (struct view){ a, 4, 1000 }, 0xdeadbeef);
  device_fill(d, (struct view){ a, 100, 0 }, 1);
  device_copy(d, (struct view){ h, 12, 1000 }, (struct view){ a, 8, 1000 });   /* needs the fill */
  device_fill(d, (struct view){ a, 8, 4 }, 7);                                 /* must wait for the copy */
  device_copy(d, (struct view){ b, 0, 2000 }, (struct view){ h, 0, 2000 });
  run(d);
  ck_assert_uint_eq(d->bus_bytes, 3000);
  uint32_t got[1024], first[4];
  OK(device_read(d, got, view_of(b), 4096));
  for (uint32_t i = 0; i < 1024; i++) ck_assert_uint_eq(got[i], i >= 3 && i < 3 + 249 ? 0xdeadbeef : 0);
  OK(device_read(d, first, view_of(a), sizeof first));
  ck_assert_uint_eq(first[0], 0);
  ck_assert_uint_eq(first[1], 0xdeadbeef);
  ck_assert_uint_eq(first[2], 7);
  buffer_destroy(&a);
  buffer_destroy(&b);
  buffer_destroy(&h);
  close_clean(d);
}
END_TEST

START_TEST(pool_carves_views) {
  struct device *d = open_with(_i, (struct device_options){ .max_allocation = 1 << 20 });
  struct pool p;
  pool_init(&p, d, PLACE_DEVICE, "pool", 64 << 10);
  struct view v[60];
  for (uint32_t i = 0; i < 60; i++) {
    uint64_t size = i == 30 ? 200000 : 1 + i * 97;
    OK(pool_alloc(&v[i], &p, size));
    ck_assert_uint_eq(v[i].offset % VIEW_ALIGN, 0);
    ck_assert_uint_ge(v[i].size, size);
    ck_assert_uint_lt(v[i].size, size + 16);
    ck_assert_uint_eq(v[i].size % 16, 0);
    for (uint32_t j = 0; j < i; j++)
      ck_assert(v[i].buf != v[j].buf || v[i].offset >= v[j].offset + v[j].size || v[j].offset >= v[i].offset + v[i].size);
  }
  ck_assert_uint_eq(pool_bytes(&p), d->placed[PLACE_DEVICE]);
  ck_assert_uint_le(p.n_blocks, 5);
  ck_assert_int_eq(pool_alloc(&v[0], &p, (1 << 20) + 1), LRQK_MEMORY);
  log_capture_expect(&captured, "pool", "1049088");
  captured.errors = 0;
  pool_destroy(&p);
  pool_init(&p, d, PLACE_HOST, "pool", UINT64_MAX);   /* blocks as large as they can be */
  OK(pool_alloc(&v[0], &p, 4));
  ck_assert_uint_eq(pool_bytes(&p), 1 << 20);
  pool_destroy(&p);
  close_clean(d);
}
END_TEST

/* ---- dispatches */

static const struct kernel *add_kernel(struct device *d) {
  const struct kernel *k = NULL;
  OK(kernel_get(&k, d, KERNEL_ADD, SPEC(8)));
  return k;
}

static void add(struct device *d, struct view z, struct view x, struct view y) {
  const struct kernel *k = add_kernel(d);
  struct add_params p = { .n4 = (uint32_t)(z.size / 16) };
  DISPATCH(d, k, (p.n4 + 7) / 8, 1, 1, &p, x, y, z);
}

START_TEST(kernels_are_made_once) {
  struct device *d = open_config(_i);
  const struct kernel *a, *b, *c, *e;
  OK(kernel_get(&a, d, KERNEL_ADD, SPEC(8)));
  OK(kernel_get(&b, d, KERNEL_ADD, SPEC(16)));
  OK(kernel_get(&c, d, KERNEL_ADD, NULL, 0));
  OK(kernel_get(&e, d, KERNEL_ADD, SPEC(64)));   /* the default */
  ck_assert(a != b && a != c && c == e && a == add_kernel(d));
  ck_assert_uint_eq(c->spec[0], 64);
  d->decoding = true;                            /* what exists may be asked for */
  OK(kernel_get(&b, d, KERNEL_ADD, SPEC(16)));
  d->decoding = false;
  close_clean(d);
}
END_TEST

START_TEST(dispatch_adds) {
  struct device *d = open_config(_i);
  enum { N = 1003 * 4 };
  static float x[N], y[N], z[N + 4];
  for (int i = 0; i < N; i++) x[i] = (float)i * 0.5f, y[i] = 3 - (float)(i % 7);
  struct buffer *b = make(d, PLACE_DEVICE, 3 * 32768), *h = make(d, PLACE_HOST, sizeof x);
  struct view vx = { b, 16384, sizeof x }, vz = { b, 65536, sizeof x };
  OK(device_write(d, vx, x, sizeof x));
  OK(device_write(d, view_of(h), y, sizeof y));
  struct view vy = { h, 0, sizeof y };
  add(d, vz, vx, vy);
  struct add_params none = { 0 };
  DISPATCH(d, add_kernel(d), 0, 1, 1, &none, vx, vy, vz);   /* no groups: nothing happens */
  run(d);
  OK(device_read(d, z, (struct view){ b, 65536, sizeof z }, sizeof z));
  for (int i = 0; i < N; i++) ck_assert_float_eq(z[i], x[i] + y[i]);
  for (int i = N; i < N + 4; i++) ck_assert_float_eq(z[i], 0);
  ck_assert_uint_eq(d->bus_bytes, 0);
  buffer_destroy(&b);
  buffer_destroy(&h);
  close_clean(d);
}
END_TEST

/* v[i + 2] = v[i] + v[i + 1] in a ring of three views: each step needs the two before it and overwrites what the last
 * one read.  In one submit, in many, and in more submits than there are command buffers. */
START_TEST(dependent_dispatches) {
  struct device *d = open_config(_i);
  enum { N = 4096, STEPS = 21 };
  struct buffer *b = make(d, PLACE_DEVICE, 3 * N * 4);
  for (int every = 1; every <= STEPS; every += 4) {
    struct view v[3];
    uint64_t ticket = 0, last = 0;
    for (int i = 0; i < 3; i++) v[i] = (struct view){ b, (uint64_t)i * N * 4, N * 4 };
    uint32_t want[2] = { 0, 0x3f800000 };
    for (int i = 0; i < 2; i++) device_fill(d, v[i], want[i]);
    float a = 0, c = 1;
    for (int s = 0; s < STEPS; s++) {
      add(d, v[(s + 2) % 3], v[s % 3], v[(s + 1) % 3]);
      float next = a + c;
      a = c, c = next;
      if (s % every == 0) {
        OK(device_submit(d, &ticket));
        ck_assert_uint_gt(ticket, last);
        last = ticket;
      }
    }
    OK(device_submit(d, &ticket));
    OK(device_wait(d, last));
    OK(device_wait(d, ticket));
    OK(device_wait(d, ticket));
    float got[N];
    OK(device_read(d, got, v[(STEPS + 1) % 3], sizeof got));
    for (int i = 0; i < N; i++) ck_assert_float_eq(got[i], c);
  }
  buffer_destroy(&b);
  close_clean(d);
}
END_TEST

/* More different bindings than descriptor sets are kept. */
START_TEST(many_bindings) {
  struct device *d = open_config(_i);
  enum { SLOTS = 132 };
  struct buffer *x = make(d, PLACE_DEVICE, SLOTS * VIEW_ALIGN), *z = make(d, PLACE_DEVICE, SLOTS * VIEW_ALIGN);
  float one[4] = { 1, 2, 3, 4 }, got[4];
  for (uint64_t i = 0; i < SLOTS; i++) OK(device_write(d, (struct view){ x, i * VIEW_ALIGN, 16 }, one, sizeof one));
  int most = configs[_i].validate ? 20 : SLOTS;
  for (int i = 0; i < SLOTS; i++)
    for (int j = 0; j < most; j++)
      add(d, (struct view){ z, (uint64_t)i * VIEW_ALIGN, 16 }, (struct view){ x, (uint64_t)j * VIEW_ALIGN, 16 },
          (struct view){ x, (uint64_t)i * VIEW_ALIGN, 16 });
  run(d);
  for (uint64_t i = 0; i < SLOTS; i++) {
    OK(device_read(d, got, (struct view){ z, i * VIEW_ALIGN, 16 }, 16));
    for (int c = 0; c < 4; c++) ck_assert_float_eq(got[c], 2 * one[c]);
  }
  buffer_destroy(&x);
  buffer_destroy(&z);
  close_clean(d);
}
END_TEST

/* What names a destroyed buffer is not used for the next one at the same address. */
START_TEST(buffers_come_and_go) {
  struct device *d = open_config(_i);
  struct buffer *z = make(d, PLACE_DEVICE, 512);
  for (int i = 1; i <= 20; i++) {
    struct buffer *x = make(d, PLACE_DEVICE, 512 * (uint64_t)(i % 3 + 1));
    uint32_t bits;
    float f = (float)i, got[4];
    memcpy(&bits, &f, 4);
    device_fill(d, view_of(x), bits);
    add(d, (struct view){ z, 0, 16 }, (struct view){ x, 0, 16 }, (struct view){ x, 0, 16 });
    buffer_destroy(&x);   /* still recorded: sent and awaited first */
    OK(device_read(d, got, view_of(z), 16));
    ck_assert_float_eq(got[3], 2 * f);
  }
  buffer_destroy(&z);
  close_clean(d);
}
END_TEST

/* ---- wrong calls */

static void expect_refused(struct device *d, const char *a, const char *b) {
  ck_assert_int_eq(device_submit(d, NULL), LRQK_RUNTIME);
  log_capture_expect(&captured, a, b);
  captured.errors = 0;
  OK(device_submit(d, NULL));   /* only once */
}

START_TEST(wrong_calls_are_refused) {
  struct device *d = open_with(_i, (struct device_options){ .max_binding = 4096, .max_allocation = 1 << 20 });
  struct buffer *b = make(d, PLACE_DEVICE, 65536), *bad = NULL;
  const struct kernel *k = add_kernel(d), *none;
  struct add_params p = { 1 };
  struct view x = { b, 0, 16 }, y = { b, 512, 16 }, z = { b, 1024, 16 };
#define REFUSED(a, c, ...) do { DISPATCH(d, k, 1, 1, 1, &p, __VA_ARGS__); expect_refused(d, a, c); } while (0)
  REFUSED("ADD, x", "offset 4 ", ((struct view){ b, 4, 16 }), y, z);
  REFUSED("ADD, y", "v->offset % align == 0", x, ((struct view){ b, 16, 16 }), z);
  REFUSED("ADD, z", "65536", x, y, ((struct view){ b, 65536 - 512, 1024 }));
  REFUSED("ADD, z", "\"test\"", x, y, ((struct view){ b, 1ull << 40, 16 }));
  REFUSED("ADD, x", "no buffer", ((struct view){ NULL, 0, 16 }), y, z);
  REFUSED("ADD, x", "18 bytes", ((struct view){ b, 0, 18 }), y, z);
  REFUSED("ADD, x", "v->size > 0", ((struct view){ b, 0, 0 }), y, z);
  REFUSED("ADD, y", "at most 4096", x, ((struct view){ b, 4096, 8192 }), z);
  REFUSED("(x) overlap", "bindings 2 (z)", x, y, ((struct view){ b, 0, 1024 }));
  REFUSED("ADD", "2 views", x, y);
  DISPATCH(d, k, 1, 65536, 1, &p, x, y, z);
  expect_refused(d, "65536 groups", "dimension 1");
  device_dispatch(d, k, 1, 1, 1, (struct view[]){ x, y, z }, 3, &p, 8);
  expect_refused(d, "ADD", "8 bytes of parameters");
  device_dispatch(d, NULL, 1, 1, 1, &x, 1, &p, 4);
  expect_refused(d, "no kernel", "device_dispatch");
  device_copy(d, (struct view){ b, 0, 16 }, (struct view){ b, 64, 12 });
  expect_refused(d, "device_copy", "12 bytes");
  device_copy(d, (struct view){ b, 0, 18 }, (struct view){ b, 64, 18 });
  expect_refused(d, "device_copy", "18 bytes");
  device_copy(d, (struct view){ b, 2, 16 }, (struct view){ b, 64, 16 });
  expect_refused(d, "device_copy, destination", "offset 2");
  device_copy(d, (struct view){ b, 0, 16 }, (struct view){ b, 12, 16 });
  expect_refused(d, "device_copy", "overlap");
  device_copy(d, (struct view){ b, 0, 16 }, (struct view){ b, 65532, 16 });
  expect_refused(d, "device_copy, source", "65532");
  device_fill(d, (struct view){ b, 0, 6 }, 1);
  expect_refused(d, "device_fill", "6 bytes");
  device_fill(d, (struct view){ NULL, 0, 4 }, 1);
  expect_refused(d, "device_fill", "no buffer");

#define FAILS(status, call, a, c) do { ck_assert_int_eq(call, status); log_capture_expect(&captured, a, c); captured.errors = 0; } while (0)
  char bytes[32] = { 0 };
  FAILS(LRQK_RUNTIME, device_write(d, x, bytes, 17), "device_write", "17");
  FAILS(LRQK_RUNTIME, device_read(d, bytes, x, 17), "device_read", "17");
  FAILS(LRQK_RUNTIME, device_read(d, bytes, (struct view){ b, 65536, 4 }, 4), "device_read", "65536");
  FAILS(LRQK_RUNTIME, device_wait(d, 1000000), "device_wait", "1000000");
  FAILS(LRQK_RUNTIME, kernel_get(&none, d, KERNEL_ADD, SPEC(64, 1)), "ADD", "2 specialisation");
  FAILS(LRQK_RUNTIME, kernel_get(&none, d, KERNEL_ADD, SPEC(1u << 20)), "ADD", "WG 1048576");
  FAILS(LRQK_RUNTIME, kernel_get(&none, d, N_KERNELS, NULL, 0), "kernel_get", "N_KERNELS");
  FAILS(LRQK_RUNTIME, buffer_create(&bad, d, PLACE_DEVICE, 0, "nothing"), "nothing", "size > 0");
  FAILS(LRQK_RUNTIME, buffer_create(&bad, d, N_PLACES, 512, "nowhere"), "nowhere", "place 3");
  FAILS(LRQK_MEMORY, buffer_create(&bad, d, PLACE_DEVICE, (1 << 20) + 1, "large"), "large", "1048576");
  FAILS(LRQK_MEMORY, buffer_create(&bad, d, PLACE_DEVICE, UINT64_MAX, "largest"), "largest", "1048576");
  ck_assert_ptr_null(bad);

  /* What was recorded before the fault runs; what comes after it does not. */
  float got[4];
  device_fill(d, x, 0x3f800000);
  DISPATCH(d, k, 1, 1, 1, &p, x, x);
  device_fill(d, x, 0);
  expect_refused(d, "ADD", "2 views");
  OK(device_read(d, got, x, 16));
  ck_assert_float_eq(got[0], 1);
  add(d, z, x, x);
  run(d);
  OK(device_read(d, got, z, 16));
  ck_assert_float_eq(got[2], 2);
  buffer_destroy(&b);
  close_clean(d);
}
END_TEST

START_TEST(buffers_of_another_device_are_refused) {
  struct device *d = open_config(0), *other = open_config(n_configs - 1);
  struct buffer *a = make(d, PLACE_DEVICE, 512), *b = make(other, PLACE_DEVICE, 512);
  struct log log = log_capture(&captured);
  d->log = other->log = log;
  device_copy(d, view_of(a), view_of(b));
  expect_refused(d, "another device's", "device_copy, source");
  struct add_params p = { 1 };
  struct view v = view_of(a);
  DISPATCH(d, add_kernel(other), 1, 1, 1, &p, v, v, v);
  expect_refused(d, "another device", "kernel");
  buffer_destroy(&a);
  buffer_destroy(&b);
  device_close(other);
  close_clean(d);
}
END_TEST

START_TEST(leaked_buffers_are_told) {
  struct device *d = open_config(0);
  struct buffer *b = make(d, PLACE_DEVICE, 512);
  void *map = b->map;
  device_close(d);
  log_capture_expect(&captured, "1 buffers", "device_close");
  mem_free(map);
  mem_free(b);
}
END_TEST

/* ---- timing */

START_TEST(spans_are_plausible) {
  struct device *d = open_with(_i, (struct device_options){ .timing = true });
  enum { N = 2600, BYTES = 1 << 16 };   /* more stamps than one query pool has */
  static struct span spans[N + 10];
  struct buffer *b = make(d, PLACE_DEVICE, 3 * BYTES);
  struct view x = { b, 0, BYTES }, y = { b, BYTES, BYTES }, z = { b, 2 * BYTES, BYTES };
  add(d, z, x, y);
  run(d);
  ck_assert_uint_ge(device_spans(d, spans, N + 10), 1);
  ck_assert_uint_eq(device_spans(d, spans, N + 10), 0);
  uint64_t begin = clock_ns(), sum = 0;
  for (int i = 0; i < N / 4; i++) {
    device_fill(d, x, 0x3f800000);
    device_copy(d, y, x);
    add(d, z, x, y);
    add(d, y, x, z);
    if (i == N / 8) OK(device_submit(d, NULL));
  }
  run(d);
  uint64_t wall = clock_ns() - begin;
  ck_assert_uint_eq(device_spans(d, spans, N + 10), N);
  static const char *const names[] = { "fill", "copy", "ADD", "ADD" };
  for (int i = 0; i < N; i++) {
    ck_assert_str_eq(spans[i].name, names[i % 4]);
    ck_assert_uint_le(spans[i].begin_ns, spans[i].end_ns);
    if (i) ck_assert_uint_le(spans[i - 1].end_ns, spans[i].begin_ns);
    sum += spans[i].end_ns - spans[i].begin_ns;
  }
  ck_assert_uint_gt(sum, wall / 100);
  ck_assert_uint_le(sum, wall + wall / 20);
  buffer_destroy(&b);
  close_clean(d);
}
END_TEST

/* The device's clock and the host's move on together, and a span lies between two looks at them. */
START_TEST(clocks_agree) {
  struct device *d = open_with(_i, (struct device_options){ .timing = true });
  struct clocks a, b;
  struct buffer *buf;
  struct span span;
  if (device_clocks(d, &a)) {
    ck_assert(d->caps.info.calibrated);
    OK(buffer_create(&buf, d, PLACE_DEVICE, 1 << 20, "clocks"));
    OK(device_wait(d, 0));
    device_spans(d, NULL, 0);
    ck_assert(device_clocks(d, &a));
    uint64_t begin = clock_ns();
    device_fill(d, view_of(buf), 1);
    OK(device_submit(d, NULL));
    OK(device_wait(d, 0));
    uint64_t end = clock_ns();
    ck_assert_uint_eq(device_spans(d, &span, 1), 1);
    ck_assert(device_clocks(d, &b));
    uint64_t error = a.error_ns + b.error_ns;
    ck_assert(a.device_ns <= span.begin_ns && span.end_ns <= b.device_ns);
    ck_assert(a.host_ns <= begin + error && end <= b.host_ns + error);
    double device = (double)(b.device_ns - a.device_ns), host = (double)(b.host_ns - a.host_ns);
    ck_assert(fabs(device - host) <= 1e-3 * host + (double)error);
    buffer_destroy(&buf);
  } else {
    ck_assert(!d->caps.info.calibrated || strcmp(d->ops->name, "vulkan"));
  }
  device_close(d);
}
END_TEST

START_TEST(no_spans_without_timing) {
  struct device *d = open_config(_i);
  struct buffer *b = make(d, PLACE_DEVICE, 512);
  struct span s;
  device_fill(d, view_of(b), 1);
  run(d);
  ck_assert_uint_eq(device_spans(d, &s, 1), 0);
  buffer_destroy(&b);
  close_clean(d);
}
END_TEST

/* ---- validation */

/* The messages arrive, and a submit fails for them: otherwise the validated runs above would prove nothing. */
START_TEST(validation_messages_are_errors) {
  struct device *d = open_config(3);
  struct buffer *b = make(d, PLACE_DEVICE, 4096);
  d->ops->fill(d, (struct view){ b, 2, 8 }, 0);   /* the offset must be a multiple of 4: past the checks of the front end */
  device_fill(d, (struct view){ b, 0, 8 }, 0);
  ck_assert_int_eq(device_submit(d, NULL), LRQK_CHECK);
  ck_assert_uint_ge(d->validation_messages, 1);
  OK(device_submit(d, NULL));
  buffer_destroy(&b);
  captured.errors = 0;
  device_close(d);
  log_capture_expect(&captured, "validation layer", "messages");
}
END_TEST

/* A missing layer is an error that says so, not a run without it. */
START_TEST(missing_validation_layer) {
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  setenv("VK_LAYER_PATH", "/nonexistent", 1);
  enum lrqk_status s = device_open(&d, &log, &(struct device_options){ .select = "vulkan", .validate = true });
  unsetenv("VK_LAYER_PATH");
  ck_assert_int_eq(s, LRQK_DEVICE);
  ck_assert_ptr_null(d);
  log_capture_expect(&captured, "VK_LAYER_KHRONOS_validation", "not installed");
}
END_TEST

/* ---- choice */

START_TEST(selection_strings) {
  const struct device_entry list[] = {
    { &device_vulkan, 1, { .info = { .name = "NVIDIA GeForce RTX 3090" } } },
    { &device_opencl, 0, { .info = { .name = "NVIDIA GeForce RTX 3090" } } },
    { &device_vulkan, 0, { .info = { .name = "Intel(R) Arc(tm) A770" } } },
    { &device_opencl, 1, { .info = { .name = "pocl-haswell" } } },
    { &device_host, 0, { .info = { .name = "host" } } },
  };
  static const struct { const char *select; int want; } cases[] = {
    { NULL, 0 }, { "", 0 }, { "0", 0 }, { "3", 3 }, { "5", -1 }, { "99999999999999999999", -1 }, { "arc", 2 }, { "rtx 3090", 0 },
    { "nvidia", 0 },
    { "vulkan", 0 }, { "Vulkan:", 0 }, { "opencl", 1 }, { "opencl:", 1 }, { "opencl:POCL", 3 }, { "vulkan:pocl", -1 }, { "vulkan:arc", 2 },
    { "host", 4 }, { "host:", 4 }, { "hos", 4 }, { "3090", -1 }, { "radeon", -1 }, { "vulkan:a770", 2 }, { "vulkanx", -1 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int got = device_match(list, 5, cases[i].select);
    ck_assert_msg(got == cases[i].want, "%s: %d", cases[i].select, got);
  }
  ck_assert_int_eq(device_match(list + 4, 1, NULL), -1);   /* host is never the default */
  ck_assert_int_eq(device_match(list, 0, NULL), -1);
}
END_TEST

START_TEST(devices_are_listed_in_order) {
  struct lrqk_device_info *list;
  size_t n;
  struct log log = log_capture(&captured);
  OK(device_list(&list, &n, &log));
  ck_assert_uint_ge(n, 1);
  for (size_t i = 0; i < n; i++) {
    ck_assert_int_eq(list[i].index, (int)i);
    ck_assert(list[i].name[0] && list[i].driver[0] && list[i].n_memory >= 1 && list[i].memory[0].bytes && list[i].memory[0].flags[0]);
    ck_assert(list[i].max_allocation >= 1 << 30 && list[i].max_binding >= 1 << 27 && list[i].max_workgroup >= 128);
    ck_assert(list[i].max_storage_bindings >= KERNEL_MAX_BINDINGS && list[i].max_shared >= 16384 && list[i].timestamp_period_ns > 0);
    const struct lrqk_memory_info *m = &list[i].memory[0];
    if (list[i].type == LRQK_DEVICE_SOFTWARE) ck_assert(list[i].unified && m->free && m->free <= m->bytes);
    if (i + 1 < n) ck_assert_str_ne(list[i].backend, "host");
  }
  ck_assert_str_eq(list[n - 1].backend, "host");
  ck_assert(!have_vulkan() || !strcmp(list[0].backend, "vulkan"));   /* of equals the first back end */
  mem_free(list);
}
END_TEST

struct warnings { int n; char text[256]; struct log_capture all; };

static void count_warnings(void *ud, enum lrqk_log_level level, const char *text) {
  struct warnings *w = ud;
  if (level == LRQK_LOG_WARN) {
    w->n++;
    snprintf(w->text, sizeof w->text, "%s", text);
  }
  log_capture_fn(&w->all, level, text);
}

static enum lrqk_status open_named(const char *select, struct warnings *w, char name[256]) {
  memset(w, 0, sizeof *w);
  struct log log = { count_warnings, w };
  struct device *d;
  enum lrqk_status s = device_open(&d, &log, &(struct device_options){ .select = select });
  if (s != LRQK_OK) return s;
  if (name) strcpy(name, d->caps.info.name);
  device_close(d);
  return s;
}

START_TEST(devices_are_opened_by_name) {
  struct warnings w;
  char name[256];
  ck_assert_int_eq(open_named("host", &w, name), LRQK_OK);
  ck_assert_str_eq(name, "host");
  ck_assert_int_eq(w.n, 0);
  ck_assert_int_eq(open_named("no such thing", &w, NULL), LRQK_DEVICE);
  log_capture_expect(&w.all, "no such thing", "host: host");
  ck_assert_int_eq(open_named("77", &w, NULL), LRQK_DEVICE);
  log_capture_expect(&w.all, "\"77\"", "host: host");
  ck_assert(w.all.hint[0]);
  if (!have_vulkan()) return;
  ck_assert_int_eq(open_named("0", &w, name), LRQK_OK);
  ck_assert_int_eq(w.n, 0);
  char part[64];
  snprintf(part, sizeof part, "vulkan:%.5s", name);
  ck_assert_int_eq(open_named(part, &w, NULL), LRQK_OK);
  ck_assert_int_eq(open_named(part + 7, &w, NULL), LRQK_OK);
  ck_assert_int_eq(open_named("vulkan", &w, NULL), LRQK_OK);
  struct device *d;
  struct log log = log_capture(&captured);
  OK(device_open(&d, &log, NULL));
  bool software = d->caps.info.type == LRQK_DEVICE_SOFTWARE;
  device_close(d);
  ck_assert_int_eq(open_named(NULL, &w, name), LRQK_OK);
  ck_assert_int_eq(w.n, software);   /* one line */
  ck_assert(!software || strstr(w.text, name));
}
END_TEST

/* What must hold where loaders find no driver: the line of what does not, or 0. */
static int without_drivers(void) {
  struct warnings w;
  struct lrqk_device_info *list;
  size_t n;
  struct log log = log_capture(&captured);
  if (device_list(&list, &n, &log) != LRQK_OK || n != 1 || captured.errors) return __LINE__;
  mem_free(list);
  if (open_named(NULL, &w, NULL) != LRQK_DEVICE) return __LINE__;
  if (!strstr(w.all.text, "GPU") || !strstr(w.all.text, "driver") || !strstr(w.all.hint, "--device host")) return __LINE__;
  if (open_named("vulkan", &w, NULL) != LRQK_DEVICE || open_named("opencl", &w, NULL) != LRQK_DEVICE) return __LINE__;
  return 0;
}

/* A loader without a driver is no error, and host is never taken by itself.  In a program of its own: the loader of
 * OpenCL looks for drivers once. */
START_TEST(no_driver_is_no_device) {
  char command[64], line[32] = "";
  snprintf(command, sizeof command, "/proc/%d/exe --no-drivers", (int)getpid());
  setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
  setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
  setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
  FILE *f = popen(command, "r");
  char *got = f ? fgets(line, sizeof line, f) : NULL;
  if (f) pclose(f);
  unsetenv("VK_ICD_FILENAMES");
  unsetenv("VK_DRIVER_FILES");
  unsetenv("OCL_ICD_VENDORS");
  ck_assert_ptr_nonnull(got);
  ck_assert_msg(!strcmp(line, "0\n"), "line %s", line);
}
END_TEST

/* ---- allocation failures: the program runs itself with LRQK_FAULT_ALLOC=n until nothing fails any more */

static enum lrqk_status small_job(const char *select) {
  struct device *d = NULL;
  struct buffer *b = NULL;
  struct pool pool = { 0 };
  struct view v;
  enum lrqk_status s = device_open(&d, NULL, &(struct device_options){ .select = select, .timing = true });
  if (s != LRQK_OK) return s;
  const struct kernel *k;
  struct span span[8];
  float got[4] = { 0 };
  pool_init(&pool, d, PLACE_HOST, "pool", 4096);
  s = buffer_create(&b, d, PLACE_DEVICE, 2048, "x");
  if (s == LRQK_OK) s = pool_alloc(&v, &pool, 64);
  if (s == LRQK_OK) s = kernel_get(&k, d, KERNEL_ADD, SPEC(8));
  if (s == LRQK_OK) {
    struct add_params p = { 1 };
    void *map = b->map;
    device_fill(d, (struct view){ b, 0, 1024 }, 0x3f800000);
    DISPATCH(d, k, 1, 1, 1, &p, ((struct view){ b, 0, 16 }), ((struct view){ b, 512, 16 }), ((struct view){ b, 1024, 16 }));
    s = device_submit(d, NULL);
    if (d->ops != &device_host) b->map = NULL;   /* the staging buffer, too */
    if (s == LRQK_OK) s = device_read(d, got, (struct view){ b, 1024, 16 }, 16);
    b->map = map;
    if (s == LRQK_OK && got[1] != 2) s = LRQK_CHECK;
    device_spans(d, span, 8);
  }
  pool_destroy(&pool);
  buffer_destroy(&b);
  device_close(d);
  return s;
}

START_TEST(allocation_failures_are_handled) {
  const char *select = ((const char *const[]){ "host", "vulkan", "opencl" })[_i];
  if (_i && !test_uses(select)) return;
  int n = 1, failed = 0;
  for (; n < 200; n++) {
    char text[16];
    snprintf(text, sizeof text, "%d", n);
    pid_t pid = fork();
    if (pid == 0) {
      setenv("LRQK_FAULT_ALLOC", text, 1);
      execl("/proc/self/exe", "test_device", "--job", select, (char *)NULL);
      _exit(99);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "allocation %d: signal %d", n, WTERMSIG(status));
    int code = WEXITSTATUS(status);
    ck_assert_msg(code == LRQK_OK || code == LRQK_MEMORY || code == 64, "allocation %d: exit %d", n, code);
    failed += code == LRQK_MEMORY;
    if (code == 64) break;   /* fewer allocations than n */
  }
  ck_assert_int_lt(n, 200);
  ck_assert_int_ge(failed, 5);
}
END_TEST

/* Test builds abort when a buffer or a kernel is made while decoding. */
START_TEST(nothing_is_made_while_decoding) {
  for (int kernel = 0; kernel < 2; kernel++) {
    pid_t pid = fork();
    if (pid == 0) {
      execl("/proc/self/exe", "test_device", "--decoding", kernel ? "kernel" : "buffer", (char *)NULL);
      _exit(99);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  }
}
END_TEST

static int make_while_decoding(const char *what) {
  struct device *d;
  struct buffer *b;
  const struct kernel *k;
  setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
  if (device_open(&d, NULL, &(struct device_options){ .select = "host" }) != LRQK_OK) return 1;
  d->decoding = true;
  if (!strcmp(what, "kernel")) kernel_get(&k, d, KERNEL_ADD, NULL, 0);
  else buffer_create(&b, d, PLACE_DEVICE, 512, "late");
  return 0;
}

static int job(const char *select) {
  enum lrqk_status s = small_job(select);
  if (s != LRQK_OK) return s;
  for (int i = 0; i < 1000; i++)   /* was the fault ever reached? */
    if (mem_fault()) return 64;
  return LRQK_OK;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--job")) return job(argv[2]);
  if (argc == 2 && !strcmp(argv[1], "--no-drivers")) return printf("%d\n", without_drivers()) < 0;
  if (argc == 3 && !strcmp(argv[1], "--decoding")) return make_while_decoding(argv[2]);
  Suite *s = suite_create("device");
  TCase *c = tcase_create("back ends");
  choose_configs();
  int n = n_configs;
  tcase_set_timeout(c, 300);
  tcase_add_loop_test(c, buffers_of_each_place, 0, n);
  tcase_add_loop_test(c, large_buffers_are_zero_and_not_resident, 0, n);
  tcase_add_loop_test(c, ram_is_not_promised_twice, 0, n);
  tcase_add_loop_test(c, write_and_read, 0, n);
  tcase_add_loop_test(c, fill_and_copy, 0, n);
  tcase_add_loop_test(c, pool_carves_views, 0, n);
  tcase_add_loop_test(c, kernels_are_made_once, 0, n);
  tcase_add_loop_test(c, dispatch_adds, 0, n);
  tcase_add_loop_test(c, dependent_dispatches, 0, n);
  tcase_add_loop_test(c, many_bindings, 0, n);
  tcase_add_loop_test(c, buffers_come_and_go, 0, n);
  tcase_add_loop_test(c, wrong_calls_are_refused, 0, n);
  tcase_add_loop_test(c, spans_are_plausible, 0, n);
  tcase_add_loop_test(c, clocks_agree, 0, n);
  tcase_add_loop_test(c, no_spans_without_timing, 0, n);
  tcase_add_test(c, buffers_of_another_device_are_refused);
  tcase_add_test(c, leaked_buffers_are_told);
  if (have_vulkan()) tcase_add_test(c, validation_messages_are_errors);
  if (have_vulkan()) tcase_add_test(c, missing_validation_layer);
  suite_add_tcase(s, c);
  c = tcase_create("front end");
  tcase_set_timeout(c, 300);
  tcase_add_test(c, selection_strings);
  tcase_add_test(c, devices_are_listed_in_order);
  tcase_add_test(c, devices_are_opened_by_name);
  tcase_add_test(c, no_driver_is_no_device);
  tcase_add_loop_test(c, allocation_failures_are_handled, 0, 3);
  tcase_add_test(c, nothing_is_made_while_decoding);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
