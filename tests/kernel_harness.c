#include "kernel_harness.h"

#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"

static struct {
  struct device *dev[HARNESS_DEVICES];
  const char *name[HARNESS_DEVICES];
  size_t n;
  int complaints;                                /* errors and warnings of the library and the drivers */
  char shape[256];
  uint64_t random;
  void **memory;
  size_t n_memory;
} h;

/* ---- devices */

bool test_validates(void) {
  const char *e = getenv("LRQK_TEST_VALIDATE");
  return e && strcmp(e, "0");
}

bool test_uses(const char *backend) {
  const char *e = getenv("LRQK_TEST_DEVICES");
  if (e && *e && strcmp(e, "host") && strcmp(e, "vulkan") && strcmp(e, "opencl")) {
    fprintf(stderr, "LRQK_TEST_DEVICES is \"%s\"; it may be \"host\", \"vulkan\" or \"opencl\"\n", e);
    exit(2);
  }
  const struct kernel_info *k = &kernel_info[KERNEL_ADD];
  bool built = !strcmp(backend, "vulkan") ? k->spirv[0] != NULL : k->opencl != NULL;
  return built && (!e || !*e || !strcmp(e, backend));
}

bool test_small(void) {
  const char *e = getenv("LRQK_TEST_SMALL");
  return e && strcmp(e, "0");
}

uint32_t test_size(uint32_t n, uint32_t most) { return test_small() && n > most ? most : n; }

bool test_only_host(void) { return !test_uses("vulkan") && !test_uses("opencl"); }

int test_devices(const char *devices[3]) {
  int n = 0;
  if (test_uses("vulkan")) devices[n++] = "vulkan";
  if (test_uses("opencl")) devices[n++] = "opencl";
  devices[n++] = "host";
  return n;
}

bool test_texel_loads(void) {
  static int known = -1;
  struct device *d;
  if (known < 0 && device_open(&d, &(struct log){ 0 }, &(struct device_options){ .select = "vulkan:" }) == LRQK_OK) {
    known = d->caps.info.max_texels >= 1u << 26;   /* what the Vulkan back end asks for, too */
    if (!known) fprintf(stderr, "%s: texel loads are left out, it binds %llu texels\n", d->caps.info.name,
                        (unsigned long long)d->caps.info.max_texels);
    device_close(d);
  }
  return known != 0;
}

static void on_log(void *ud, enum lrqk_log_level level, const char *text) {
  (void)ud;
  if (level != LRQK_LOG_ERROR && level != LRQK_LOG_WARN) return;
  fprintf(stderr, "%s\n", text);
  h.complaints++;
}

static void open_one(const char *name, const char *select, int texel) {
  struct log log = { on_log, NULL };
  struct device_options opt = { .select = select, .texel = texel, .validate = test_validates() };
  enum lrqk_status s = device_open(&h.dev[h.n], &log, &opt);
  ck_assert_msg(s == LRQK_OK, "no device \"%s\" (%s): install a driver or configure without the back end", select, name);
  h.name[h.n++] = name;
}

void harness_fresh(void) {
  for (size_t i = 0; i < h.n_memory; i++) free(h.memory[i]);
  h.n_memory = 0;
  h.random = 88172645463325252u;
}

void harness_open(void) {
  memset(&h, 0, sizeof h);
  harness_fresh();
  open_one("host", "host", 0);
  if (test_only_host()) {
    fprintf(stderr, "only the host device: kernels are compared with their references, not with a driver's results\n");
    return;
  }
  if (test_uses("vulkan") && test_texel_loads()) open_one("vulkan, texel loads", "vulkan:", 1);
  if (test_uses("vulkan")) open_one("vulkan, storage-buffer loads", "vulkan:", -1);
  if (test_uses("opencl")) open_one("opencl", "opencl:", 0);
}

void harness_close(void) {
  for (size_t i = 0; i < h.n; i++) device_close(h.dev[i]);
  harness_fresh();
  free(h.memory);
  ck_assert_msg(h.complaints == 0, "%d errors and warnings were logged", h.complaints);
  memset(&h, 0, sizeof h);
}

size_t harness_count(void) { return h.n; }
struct device *harness_device(size_t i) { return h.dev[i]; }
const char *harness_name(size_t i) { return h.name[i]; }

void harness_case(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(h.shape, sizeof h.shape, fmt, ap);
  va_end(ap);
}

/* ---- comparing */

static double nmse_double(const float *got, const double *want, size_t n) {
  double diff = 0, sum = 0;
  for (size_t i = 0; i < n; i++) {
    diff += (got[i] - want[i]) * (got[i] - want[i]);
    sum += want[i] * want[i];
  }
  return diff == 0 ? 0 : diff / sum;
}

void nmse_check(const float *got, const double *want, size_t n, double limit, const char *what) {
  double e = nmse_double(got, want, n);
  ck_assert_msg(e <= limit, "%s [%s]: NMSE %.3g, the limit is %.3g", what, h.shape, e, limit);   /* a NaN fails */
}

/* Halves in the order of their values. */
static int half_rank(uint16_t v) { return v & 0x8000 ? -(v & 0x7fff) : v; }

static bool halves_near(uint32_t a, uint32_t b) {
  for (int i = 0; i < 32; i += 16)
    if (abs(half_rank((uint16_t)(a >> i)) - half_rank((uint16_t)(b >> i))) > 1) return false;
  return true;
}

static const char *floats_difference(const struct kernel_arg *arg, const uint32_t *got, const uint32_t *want) {
  static char text[200];
  double diff = 0, sum = 0;
  for (size_t i = 0; i < arg->size / 4; i++) {
    if (want[i] == CANARY) {
      if (got[i] == CANARY || arg->check == ARG_NMSE_WRITTEN) continue;
      snprintf(text, sizeof text, "word %zu is written (%08x), on the host it is not", i, got[i]);
      return text;
    }
    float a, b;
    memcpy(&a, &got[i], 4);
    memcpy(&b, &want[i], 4);
    if (got[i] == CANARY || isfinite(a) != isfinite(b)) {
      snprintf(text, sizeof text, "word %zu is %08x (%g), on the host %08x (%g)", i, got[i], a, want[i], b);
      return text;
    }
    diff += ((double)a - b) * ((double)a - b);
    sum += (double)b * b;
  }
  double e = diff == 0 ? 0 : diff / sum;
  snprintf(text, sizeof text, "NMSE %.3g, the limit is %.3g", e, arg->limit);
  return e <= arg->limit ? NULL : text;
}

const char *harness_difference(const struct kernel_arg *arg, const void *got_, const void *want_) {
  static char text[200];
  const uint32_t *got = got_, *want = want_;
  if (arg->check == ARG_IN) return NULL;
  if (arg->check == ARG_NMSE || arg->check == ARG_NMSE_WRITTEN) return floats_difference(arg, got, want);
  for (size_t i = 0; i < arg->size / 4; i++) {
    if (arg->check == ARG_HALVES ? halves_near(got[i], want[i]) : got[i] == want[i]) continue;
    snprintf(text, sizeof text, "word %zu of %zu is %08x, on the host %08x", i, (size_t)(arg->size / 4), got[i], want[i]);
    return text;
  }
  return NULL;
}

/* ---- running */

/* A buffer with a guard of VIEW_ALIGN or more bytes on each side of the view; all of it CANARY but for arg->in. */
static struct view make_view(struct device *d, const struct kernel_arg *arg) {
  uint64_t size = (arg->size + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN + 2 * VIEW_ALIGN;
  struct buffer *b;
  ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, size, "test"), LRQK_OK);
  uint32_t *words = malloc(size);
  for (size_t i = 0; i < size / 4; i++) words[i] = CANARY;
  if (arg->in) memcpy((char *)words + VIEW_ALIGN, arg->in, arg->size);
  ck_assert_int_eq(device_write(d, view_of(b), words, size), LRQK_OK);
  free(words);
  return (struct view){ b, VIEW_ALIGN, arg->size };
}

/* The contents of the view; the caller frees them. */
static void *take_view(struct device *d, struct view v, const char *what) {
  uint32_t *words = malloc(v.buf->size);
  ck_assert_int_eq(device_read(d, words, view_of(v.buf), v.buf->size), LRQK_OK);
  for (size_t i = 0; i < v.buf->size / 4; i++) {
    bool inside = i * 4 >= v.offset && i * 4 < v.offset + v.size;
    if (!inside && words[i] != CANARY)           /* an assertion for each word would cost a system call for each */
      ck_abort_msg("%s: written outside the view, at byte %lld of %llu", what, (long long)(i * 4) - (long long)v.offset,
                   (unsigned long long)v.size);
  }
  memmove(words, (char *)words + v.offset, v.size);
  return words;
}

static void run_on(size_t which, enum kernel_id id, const uint32_t *spec, uint32_t n_spec, const uint32_t groups[3],
                   const struct kernel_arg *args, uint32_t n_args, const void *params, uint32_t params_size, void **result) {
  struct device *d = h.dev[which];
  const struct kernel *k;
  struct view views[KERNEL_MAX_BINDINGS];
  ck_assert_int_eq(kernel_get(&k, d, id, spec, n_spec), LRQK_OK);
  for (uint32_t i = 0; i < n_args; i++) views[i] = make_view(d, &args[i]);
  device_dispatch(d, k, groups[0], groups[1], groups[2], views, n_args, params, params_size);
  ck_assert_msg(device_submit(d, NULL) == LRQK_OK && device_wait(d, 0) == LRQK_OK, "%s on %s [%s]", kernel_info[id].id, h.name[which],
                h.shape);
  for (uint32_t i = 0; i < n_args; i++) {
    char what[400];
    snprintf(what, sizeof what, "%s, %s [%s] on %s", kernel_info[id].id, kernel_info[id].binding[i].name, h.shape, h.name[which]);
    void *got = take_view(d, views[i], what);
    if (args[i].out) memcpy((char *)args[i].out + which * args[i].size, got, args[i].size);
    if (which) {
      const char *difference = harness_difference(&args[i], got, result[i]);
      ck_assert_msg(!difference, "%s: %s", what, difference);
      free(got);
    } else {
      result[i] = got;
    }
    struct buffer *b = (struct buffer *)views[i].buf;
    buffer_destroy(&b);
  }
}

void harness_run(enum kernel_id id, const uint32_t *spec, uint32_t n_spec, const uint32_t groups[3], const struct kernel_arg *args,
                 uint32_t n_args, const void *params, uint32_t params_size) {
  void *result[KERNEL_MAX_BINDINGS] = { 0 };
  for (size_t i = 0; i < h.n; i++) run_on(i, id, spec, n_spec, groups, args, n_args, params, params_size, result);
  for (uint32_t i = 0; i < n_args; i++) free(result[i]);
  ck_assert_msg(h.complaints == 0, "%s [%s]: errors or warnings were logged", kernel_info[id].id, h.shape);
}

/* ---- dispatches by hand */

struct view bench_put(struct bench *b, const void *data, size_t bytes) {
  ck_assert_uint_lt(b->n, sizeof b->buf / sizeof *b->buf);
  ck_assert_int_eq(buffer_create(&b->buf[b->n], b->dev, PLACE_DEVICE, bytes, "test"), LRQK_OK);
  struct view v = { b->buf[b->n++], 0, bytes };
  if (data) ck_assert_int_eq(device_write(b->dev, v, data, bytes), LRQK_OK);
  return v;
}

void *bench_take(struct bench *b, struct view v) {
  void *p = test_memory(v.size, 1);
  ck_assert_int_eq(device_submit(b->dev, NULL), LRQK_OK);
  ck_assert_int_eq(device_read(b->dev, p, v, v.size), LRQK_OK);
  return p;
}

void bench_clear(struct bench *b) {
  while (b->n) buffer_destroy(&b->buf[--b->n]);
}

const struct kernel *bench_kernel(struct bench *b, enum kernel_id id, const uint32_t *spec, uint32_t n) {
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, b->dev, id, spec, n), LRQK_OK);
  return k;
}

/* ---- choosing */

uint32_t plain_key(double weight, uint32_t t, uint32_t sinks) {
  float x = (float)weight;
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits >>= 12;
  return t < sinks ? 0xffff : bits < 0x30000 ? 0 : min_u32(bits - 0x30000, 0xfffe);
}

struct ranked { uint16_t key; uint32_t t; };

static int by_rank(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? 1 : -1;
  return (x->t > y->t) - (x->t < y->t);
}

void plain_choice(const uint16_t *key, uint32_t n, uint32_t k, uint32_t *list) {
  struct ranked *r = malloc(n * sizeof *r);
  for (uint32_t t = 0; t < n; t++) r[t] = (struct ranked){ key[t], t };
  qsort(r, n, sizeof *r, by_rank);
  for (uint32_t t = 0; k && t < n; t++)
    if (by_rank(&(struct ranked){ key[t], t }, &r[min_u32(k, n) - 1]) <= 0) *list++ = t;
  free(r);
}

/* ---- inputs */

uint32_t random_word(void) {
  h.random ^= h.random << 13;
  h.random ^= h.random >> 7;
  h.random ^= h.random << 17;
  return (uint32_t)(h.random >> 16);
}

uint32_t random_below(uint32_t n) { return random_word() % n; }
float random_float(float lo, float hi) { return lo + (hi - lo) * (float)(random_word() & 0xffffff) / 16777216.0f; }

void *test_memory(size_t n, size_t size) {
  void *p = calloc(n ? n : 1, size);
  h.memory = realloc(h.memory, (h.n_memory + 1) * sizeof *h.memory);
  return h.memory[h.n_memory++] = p;
}

float *random_floats(size_t n, float lo, float hi) {
  float *f = test_memory(n, sizeof *f);
  for (size_t i = 0; i < n; i++) f[i] = random_float(lo, hi);
  return f;
}

uint16_t *random_halves(size_t n, float lo, float hi) {
  uint16_t *f = test_memory(n, sizeof *f);
  for (size_t i = 0; i < n; i++) f[i] = float_to_half(random_float(lo, hi));
  return f;
}

void *canary_words(size_t bytes) {
  uint32_t *w = test_memory(bytes / 4, 4);
  for (size_t i = 0; i < bytes / 4; i++) w[i] = CANARY;
  return w;
}
