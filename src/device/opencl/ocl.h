/* ocl.h - what the files of the OpenCL back end share.
 *   instance.c    platforms, devices and their capabilities
 *   device.c      context, queue, opening and closing; the table device_opencl
 *   memory.c      buffers, and the ranges of them that kernels are given
 *   program.c     programs and kernels           cache.c  the binaries of programs on disk
 *   commands.c    the queue, submits and waits   timing.c profiling events
 *   blas.c        dense products by CLBlast, or blas_stub.c */
#ifndef DEVICE_OPENCL_OCL_H
#define DEVICE_OPENCL_OCL_H

#define CL_TARGET_OPENCL_VERSION 200         /* only constants of 2.0; every function is of 1.2 */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include "device/device.h"
#include "device/spans.h"

enum {
  OCL_MAX_DEVICES = 16,
  OCL_RING = 8,                 /* submits whose end can be awaited apart from later ones */
  OCL_RANGES = 16384            /* slots for ranges of buffers: a step of 80 layers with 16 pages each has about 6000 */
};

/* A device of OpenCL and what the choice of code depends on. */
struct ocl_device {
  cl_platform_id platform;
  cl_device_id id;
  cl_device_type type;
  bool shared;                  /* kernels work in the host's own memory, and both see what the other writes */
  bool exact_divide;            /* can round divisions correctly */
};

struct ocl_buffer {
  cl_mem mem;
  void *block;                  /* memory of the host that mem lies in (shared) */
  void *map;                    /* while mapped; a buffer that commands use is not (unless shared) */
  uint64_t ticket;              /* of the last submit that uses it */
  struct buffer *next;          /* list of the buffers that are mapped between their uses */
};

struct ocl_range { const struct buffer *buf; uint64_t offset, size; cl_mem mem; };

struct ocl_program { uint64_t key[2]; cl_program handle; };

struct ocl_event { cl_event event; const char *name; };

struct ocl {
  struct device *dev;
  struct ocl_device ocl;
  cl_context context;
  cl_command_queue queue, second;
  bool is_aside;                /* commands go to the second queue */
  cl_event aside;               /* the end of what it was given; NULL: that has been awaited */

  struct buffer *buffers;       /* those that are mapped and unmapped */
  struct ocl_range *range;      /* [OCL_RANGES] hashed by what they are; mem NULL: free */
  uint32_t n_ranges;

  char cache_dir[900];          /* empty: no cache */

  struct { uint64_t ticket; cl_event event; } submit[OCL_RING];
  uint64_t ticket, done;        /* of the last submit; up to which all have ended */

  bool blas_used;

  bool timing, begun;           /* begun (whole): the first command of this submit is enqueued ... */
  uint64_t begin_ns;            /* ... and when it began */
  struct ocl_event *event;      /* of commands whose times have not been taken */
  size_t n_events, cap_events;
  struct span_list spans;
};

/* Logs a failed call and gives its status. */
enum lrqk_status ocl_fail(struct ocl *o, cl_int r, const char *call);
#define OCL_TRY(o, name, ...)                                 \
  do {                                                        \
    cl_int r_ = name(__VA_ARGS__);                            \
    if (r_ != CL_SUCCESS) return ocl_fail(o, r_, #name);      \
  } while (0)

/* instance.c */
uint32_t ocl_usable_devices(const struct log *log, struct ocl_device list[OCL_MAX_DEVICES]);
void ocl_caps(const struct ocl_device *ocl, struct device_caps *caps);
void ocl_memory_info(struct lrqk_device_info *info);
void ocl_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud);
void ocl_text(const struct ocl_device *ocl, cl_device_info what, char *text, size_t cap);
void ocl_platform_text(const struct ocl_device *ocl, cl_platform_info what, char *text, size_t cap);

/* memory.c */
void ocl_memory(struct device *d);
enum lrqk_status ocl_buffer_create(struct buffer *b);
void ocl_buffer_destroy(struct buffer *b);
enum lrqk_status ocl_range_get(struct ocl *o, const struct view *v, cl_mem *out);   /* owned by the table */
void ocl_ranges_drop(struct ocl *o);
enum lrqk_status ocl_use(struct ocl *o, const struct buffer *b);           /* before a command that uses it */
enum lrqk_status ocl_map_idle(struct ocl *o);                              /* buffers that nothing uses any more */

/* program.c */
enum lrqk_status ocl_kernel_create(struct kernel *k);
void ocl_kernel_destroy(struct kernel *k);
size_t ocl_kernel_figures(const struct kernel *k, struct kernel_figure *out, size_t cap);

/* blas.c */
bool ocl_blas_available(void);
enum lrqk_status ocl_blas_gemm(struct ocl *o, const struct view *views, const struct gemm_params *p);   /* instead of the kernel GEMM */
void ocl_blas_close(struct ocl *o);

/* cache.c: keys name a text, its options and the driver */
void ocl_cache_open(struct ocl *o);
void ocl_cache_key(const struct ocl *o, const char *text, const char *options, uint64_t key[2]);
void *ocl_cache_load(const struct ocl *o, const uint64_t key[2], size_t *n);   /* mem_free; NULL: not there */
void ocl_cache_save(const struct ocl *o, const uint64_t key[2], const void *data, size_t n);

/* commands.c */
enum lrqk_status ocl_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                              const void *params);
enum lrqk_status ocl_copy(struct device *d, struct view dst, struct view src);
enum lrqk_status ocl_fill(struct device *d, struct view dst, uint32_t word);
void ocl_barrier(struct device *d);
enum lrqk_status ocl_submit(struct device *d, uint64_t ticket);
enum lrqk_status ocl_wait(struct device *d, uint64_t ticket);
enum lrqk_status ocl_aside(struct device *d, bool begin);
enum lrqk_status ocl_join(struct device *d);
void ocl_commands_destroy(struct ocl *o);

/* timing.c: nothing happens unless o->timing */
cl_event *ocl_stamp(struct ocl *o, const char *name);   /* where the command's event goes; NULL: not timed */
enum lrqk_status ocl_stamps_end(struct ocl *o);         /* before a submit */
void ocl_stamps_collect(struct ocl *o);                 /* what was enqueued has ended */
void ocl_stamps_destroy(struct ocl *o);
size_t ocl_spans(struct device *d, struct span *out, size_t cap);
bool ocl_clocks(struct device *d, struct clocks *out);

#endif
