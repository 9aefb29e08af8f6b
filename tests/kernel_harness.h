/* kernel_harness.h - runs one dispatch on `host`, on a Vulkan device (once with texel loads, once with storage-buffer
 * loads) and on an OpenCL device, and compares the results; what the environment asks of tests that open devices.  Used
 * by test_kernels_*.c, test_selection.c, test_engine.c, test_device.c. */
#ifndef KERNEL_HARNESS_H
#define KERNEL_HARNESS_H

#include "device/device.h"

enum { HARNESS_DEVICES = 4 };                    /* at most: host, Vulkan texel, Vulkan storage, OpenCL */

/* What a buffer holds where nothing was written, and all around it: a NaN as float and in both halves. */
#define CANARY 0x7fc5ffa5u

enum arg_check {
  ARG_IN,                                        /* not compared */
  ARG_BITS,                                      /* every word as on the host */
  ARG_NMSE,                                      /* floats: NMSE <= limit; what the host left alone is left alone */
  ARG_NMSE_WRITTEN,                              /* the same, but more may be written than the host writes */
  ARG_HALVES                                     /* two halves a word: each at most one step from the host's */
};

struct kernel_arg {
  enum arg_check check;
  const void *in;                                /* contents before; NULL: CANARY words */
  uint64_t size;                                 /* bytes, a multiple of 4 */
  double limit;
  void *out;                                     /* NULL, or size * HARNESS_DEVICES bytes: contents after, host's first */
};

/* LRQK_TEST_VALIDATE=1: devices are opened under the validation layer, and a message fails the test. */
bool test_validates(void);
/* Whether tests open devices of this back end beside `host`: those of the build, unless LRQK_TEST_DEVICES names one:
 * "vulkan", "opencl", or "host" for none (leaks of drivers are not ours, and their code is not instrumented). */
bool test_uses(const char *backend);
bool test_only_host(void);
int test_devices(const char *devices[3]);         /* the drivers that tests open, then host; how many */
/* LRQK_TEST_SMALL=1: shapes for a device that interprets kernels (oclgrind): the same kernels, forms and edges, less in between. */
bool test_small(void);
uint32_t test_size(uint32_t n, uint32_t most);   /* n, or where shapes are small at most `most` */
/* Whether the driver can hold test tensors in texel bindings; where not (SwiftShader: 65536 texels), says so on stderr. */
bool test_texel_loads(void);

/* Fixture around a Check case; fails where a back end that tests use has no device. */
void harness_open(void);
void harness_close(void);
void harness_fresh(void);                        /* checked fixture: each test begins with the same random numbers, no memory */

size_t harness_count(void);                      /* devices, host included */
struct device *harness_device(size_t i);
const char *harness_name(size_t i);

/* Words for the messages of what follows: the shape. */
__attribute__((format(printf, 1, 2))) void harness_case(const char *fmt, ...);

/* Fails the running test if a device differs from the host or a driver complains. */
void harness_run(enum kernel_id id, const uint32_t *spec, uint32_t n_spec, const uint32_t groups[3], const struct kernel_arg *args,
                 uint32_t n_args, const void *params, uint32_t params_size);
#define IN(data, bytes) { ARG_IN, data, bytes, 0, NULL }
#define OUT(check, bytes, limit, out) { check, NULL, bytes, limit, out }
#define INOUT(check, data, bytes, limit, out) { check, data, bytes, limit, out }
#define GROUPS(...) (const uint32_t[3]){ __VA_ARGS__ }
#define HARNESS_RUN(id, spec_list, groups, params, ...)                                                     \
  harness_run(id, spec_list, groups, (const struct kernel_arg[]){ __VA_ARGS__ },                            \
              sizeof((struct kernel_arg[]){ __VA_ARGS__ }) / sizeof(struct kernel_arg), params, sizeof *(params))

/* Dispatches on one device over buffers that live on. */
struct bench { struct device *dev; struct buffer *buf[64]; size_t n; };
struct view bench_put(struct bench *b, const void *data, size_t bytes);   /* a new buffer; data NULL: zeroes */
void *bench_take(struct bench *b, struct view v);                         /* its contents after what was recorded */
void bench_clear(struct bench *b);
const struct kernel *bench_kernel(struct bench *b, enum kernel_id id, const uint32_t *spec, uint32_t n);

/* NULL if got is as want, else a text (static) that says where they part. */
const char *harness_difference(const struct kernel_arg *arg, const void *got, const void *want);

/* NMSE: sum of squared differences / sum of squares. */
void nmse_check(const float *got, const double *want, size_t n, double limit, const char *what);

/* What sparse attention chooses, in plain C: the key of a token from its weight, and the k largest of n keys, ties to the lowest token,
 * ascending. */
uint32_t plain_key(double weight, uint32_t t, uint32_t sinks);
void plain_choice(const uint16_t *key, uint32_t n, uint32_t k, uint32_t *list);

/* Inputs */
uint32_t random_word(void);
uint32_t random_below(uint32_t n);
float random_float(float lo, float hi);
void *test_memory(size_t n, size_t size);        /* zeroed; nobody frees it */
float *random_floats(size_t n, float lo, float hi);
uint16_t *random_halves(size_t n, float lo, float hi);
void *canary_words(size_t bytes);

#endif
