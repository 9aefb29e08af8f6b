/* device.h - the device layer: one small interface, three back ends (vulkan, opencl, host) behind it.
 *
 * device.c validates every call and derives every barrier; the back ends trust it.  Work is recorded into one command
 * stream in order (dispatches, copies, fills), sent by device_submit and awaited by ticket.  A fault while recording
 * is logged at once and remembered: device_submit returns it, so that recording calls need no check each.
 * One device object belongs to one thread. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include "base/log.h"
#include "device/form.h"
#include "device/kernels.h"
#include "lrqk/profile.h"

/* DEVICE: the device's own memory.  HOST: host-visible memory that kernels read over the bus, the CPU side of the mixed
 * cache.  STAGING: host-visible, for transfers.  A place that a device cannot bind is an error, never a fallback. */
enum place { PLACE_DEVICE, PLACE_HOST, PLACE_STAGING, N_PLACES };

enum {
  VIEW_ALIGN = 512,         /* offsets of views are multiples of this: covers minStorageBufferOffsetAlignment and
                               minTexelBufferOffsetAlignment (at most 256) and OpenCL's sub-buffer alignment */
  KERNEL_MAX_PARAMS = 128,  /* bytes: the push constants that Vulkan guarantees */
  DEVICE_MAX_GROUPS = 65535 /* workgroups per dimension that Vulkan guarantees */
};

struct device_caps {
  struct lrqk_device_info info;   /* what a person sees; limits are enforced as they stand here */
  bool cpu;                       /* a CPU-type driver: register-form kernels, small workgroups */
  bool texel;                     /* read-only buffers are bound as texel buffers */
  bool mapped;                    /* DEVICE memory is mapped on the host */
};

struct device {
  struct device_caps caps;
  const struct device_ops *ops;
  struct log log;
  struct forms forms;             /* of the operations that have several; all FORM_REGISTER until someone chooses (engine.c) */
  uint64_t placed[N_PLACES];      /* bytes allocated now, by the place asked for */
  uint64_t bus_bytes;             /* bytes that copies moved from or to HOST (kernels that read HOST count their own) */
  uint32_t validation_messages;   /* of the validation layer, so far; each is an error (options.validate) */
  const struct device_watch *watch;   /* who follows what is recorded (profile/); NULL: nobody */
  const struct device_pace *pace; /* how long commands are expected to take; NULL: submits are as long as who records makes them */
  const char *at_stage;           /* what is recorded now belongs to this part of the model, and to this layer (-1: none); */
  int32_t at_layer;               /* for who watches */
  const char *at_call;            /* ... and to this call ("token", at which position); "": none */
  int64_t at_token;
  bool stamping;                  /* spans are collected; at first what options.timing says */
  bool serial;                    /* a barrier before every command: nothing overlaps */
  bool whole;                     /* spans are those of submits, not of commands; changes only while nothing is recorded */
  const struct lrqk_counter *counter;   /* [n_counters] that are read (options.counters) */
  uint32_t n_counters, counter_turn;    /* counter_turn: where they take turns, whose it is in the next submit */
  uint64_t aside_bytes;           /* of bus_bytes: by copies on the second queue */
  bool decoding;                  /* an allocation now is a bug: debug builds abort, others log it */
  bool counting;                  /* buffers have sizes but no memory, nothing is written, read (as zeros) or run: see device_twin */
  struct device_priv *priv;       /* device.c's */
  void *backend;                  /* the back end's */
};

/* Nanoseconds that a command is expected to run.  What is recorded is sent before it is expected to take longer than
 * DEVICE_SUBMIT_NS: drivers end what runs for seconds, and a desktop stands still meanwhile. */
struct command;
struct device_pace { double (*ns)(void *ud, const struct command *c); void *ud; };
enum { DEVICE_SUBMIT_NS = 100000000 };

/* Submits that a back end keeps, so that they can be sent again (replay.h): a step of a large model is tens of them on a GPU. */
enum { DEVICE_RECORDINGS = 64 };

struct buffer {
  struct device *dev;
  const char *name;               /* a static string */
  enum place place;
  uint64_t size;
  void *map;                      /* host address while not in use by the device; NULL: not host-visible */
  void *backend;
};

/* A range of a buffer.  offset is a multiple of VIEW_ALIGN. */
struct view { const struct buffer *buf; uint64_t offset, size; };

/* ---- devices */

struct device_options {
  const char *select;             /* as lrqk_engine_options.device */
  bool timing, validate;
  enum lrqk_capture capture;
  const char *counters;           /* as lrqk_engine_options.counters */
  /* Limits lowered for tests, so that small shapes meet what large ones do; 0: the driver's. */
  uint64_t max_allocation, max_binding;
  int texel;                      /* 0: as the device likes, 1: texel loads, -1: storage-buffer loads */
  bool separate;                  /* opencl: as if host and device had separate memory */
  bool counting;                  /* the device is not opened: what is allocated on it is counted and nothing more */
};

/* Every device of every back end, best first.  *list is the caller's (mem_free). */
enum lrqk_status device_list(struct lrqk_device_info **list, size_t *n, const struct log *log);
enum lrqk_status device_open(struct device **out, const struct log *log, const struct device_options *opt);
void device_close(struct device *d);                       /* NULL is fine; buffers must be gone */
enum lrqk_status device_twin(struct device **out, const struct device *d);   /* a counting device that is otherwise like d */
void device_memory(struct device *d);                      /* refreshes caps.info.memory[].free */

/* ---- memory */

/* size is rounded up to VIEW_ALIGN; contents are zero.  LRQK_MEMORY names heap, size, free bytes. */
enum lrqk_status buffer_create(struct buffer **out, struct device *d, enum place place, uint64_t size, const char *name);
void buffer_destroy(struct buffer **b);                    /* NULL is fine; waits for the device */
struct view view_of(const struct buffer *b);               /* all of it */

/* Copies between host memory and a view of any place: waits until the device is idle, then until it is done. */
enum lrqk_status device_write(struct device *d, struct view dst, const void *src, uint64_t size);
enum lrqk_status device_read(struct device *d, void *dst, struct view src, uint64_t size);

/* Views carved from few large buffers: thousands of small tensors must not be thousands of allocations. */
struct pool { struct device *dev; enum place place; const char *name; struct buffer **block; size_t n_blocks; uint64_t used, block_size; };
void pool_init(struct pool *p, struct device *d, enum place place, const char *name, uint64_t block_size);
enum lrqk_status pool_alloc(struct view *out, struct pool *p, uint64_t size);   /* zeroed, VIEW_ALIGN-aligned */
uint64_t pool_bytes(const struct pool *p);                 /* as allocated */
void pool_destroy(struct pool *p);

/* ---- kernels */

/* What the driver says of a kernel (registers, spills ...), in its words. */
struct kernel_figure { char name[128]; double value; };

struct kernel { struct device *dev; enum kernel_id id; uint32_t n_spec, spec[KERNEL_MAX_SPEC]; void *backend; };

/* The kernel specialised with spec[0..n); what is missing keeps its default.  Made once per (id, spec), owned by the
 * device.  Not while decoding. */
enum lrqk_status kernel_get(const struct kernel **out, struct device *d, enum kernel_id id, const uint32_t *spec, uint32_t n);
/* Of all kernels made so far, where the device was opened with timing and its driver knows; variant: their specialisation. */
void device_kernels(struct device *d, void (*fn)(void *ud, const struct kernel *k, const char *variant, const struct kernel_figure *f), void *ud);
#define SPEC(...) (const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4

/* ---- recording and running.  Reads and writes of a dispatch are those its kernel declares. */

void device_dispatch(struct device *d, const struct kernel *k, uint32_t gx, uint32_t gy, uint32_t gz,
                     const struct view *views, uint32_t n_views, const void *params, uint32_t params_size);
#define DISPATCH(dev, kernel, gx, gy, gz, params, ...)                                      \
  device_dispatch(dev, kernel, gx, gy, gz, (const struct view[]){ __VA_ARGS__ },            \
                  sizeof((struct view[]){ __VA_ARGS__ }) / sizeof(struct view), params, sizeof *(params))

void device_copy(struct device *d, struct view dst, struct view src);          /* equal sizes, multiples of 4; offsets need
                                                                                  only be multiples of 4 here */
void device_fill(struct device *d, struct view dst, uint32_t word);

/* What is recorded between begin and end goes to the second queue, behind everything before, and may run beside what comes
 * after: device.c makes the first later command that needs it wait.  Begin does nothing and returns false (end then has no
 * part) where there is one queue, or while commands are timed and the back end cannot time them there; what is recorded then goes on
 * in order. */
bool device_aside_begin(struct device *d);
void device_aside_end(struct device *d);

void device_fault(struct device *d, enum lrqk_status s);       /* a fault of who records, logged already; LRQK_OK is none */
enum lrqk_status device_submit(struct device *d, uint64_t *ticket);            /* ticket may be NULL */
enum lrqk_status device_wait(struct device *d, uint64_t ticket);               /* 0: everything submitted */
uint64_t device_replayed(const struct device *d);              /* submits so far that were those of an earlier one, sent again */
void device_frame(struct device *d, bool begin);               /* the borders of a token, for tools that know frames */

/* ---- timing: one span per dispatch, copy and fill (whole: per submit, "submit") of the submits since the last call (options.timing) */

struct span { const char *name; uint64_t begin_ns, end_ns; size_t counters; };   /* device clock; counters: the back end's */
size_t device_spans(struct device *d, struct span *out, size_t cap);           /* after device_wait; clears the list */

/* What was counted while a span ran, valid until device_spans is called again; 0: nothing. */
size_t device_counters(struct device *d, const struct span *s, const struct lrqk_counter_value **out);

/* The device's clock, as of spans, and the host's (base/clock.h) at one moment between the last span and the next, give or take
 * error_ns.  False: the driver compares no clocks. */
struct clocks { uint64_t device_ns, host_ns, error_ns; };
bool device_clocks(struct device *d, struct clocks *out);

/* ---- watching: calls in the order of recording, made before the thing is done.  While `stamping`, the spans of the
 * commands come in the same order. */

/* Valid during the call.  kernel NULL: views[0] is what a copy or fill writes, views[1] what a copy reads, params the word of a fill. */
struct command {
  const struct kernel *kernel;
  const char *name;
  const uint32_t *groups;
  const struct view *views;
  uint32_t n_views;
  const void *params;
  uint32_t params_size;
};
enum device_call { CALL_SUBMIT, CALL_WAIT };
struct device_watch {
  void (*command)(void *ud, const struct command *c);
  void (*call)(void *ud, enum device_call call, bool done);   /* done: it has returned */
  void *ud;
};

/* ---- what a back end implements (device/NAME/): arguments are valid, ranges are inside, sizes are rounded */

struct device_ops {
  const char *name;
  /* Calls fn for each device; index within the back end is its position. */
  void (*enumerate)(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud);
  enum lrqk_status (*open)(struct device *d, uint32_t index, const struct device_options *opt);   /* fills caps, backend */
  void (*close)(struct device *d);
  void (*memory)(struct device *d);
  enum lrqk_status (*buffer_create)(struct buffer *b);     /* place, size and name are set; fills map, backend; zeroed if mapped */
  void (*buffer_destroy)(struct buffer *b);
  enum lrqk_status (*kernel_create)(struct kernel *k);     /* id and all of info's spec values are set */
  void (*kernel_destroy)(struct kernel *k);
  enum lrqk_status (*dispatch)(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                               const void *params);
  enum lrqk_status (*copy)(struct device *d, struct view dst, struct view src);
  enum lrqk_status (*fill)(struct device *d, struct view dst, uint32_t word);
  void (*barrier)(struct device *d);                       /* everything recorded before is visible to what comes after */
  enum lrqk_status (*submit)(struct device *d, uint64_t ticket);   /* tickets count 1, 2, 3 ... */
  enum lrqk_status (*wait)(struct device *d, uint64_t ticket);
  /* NULL: what was recorded is gone once it was sent.  Sends, instead of submit, what was recorded under a number. */
  enum lrqk_status (*replay)(struct device *d, uint32_t number, uint64_t ticket);
  /* NULL: one queue.  aside: commands go to the second queue, which waits for all submits so far; or they no longer do, and
   * what it got is sent.  join: what is recorded next on the first queue waits for all that.  wait covers it, too. */
  enum lrqk_status (*aside)(struct device *d, bool begin);
  enum lrqk_status (*join)(struct device *d);
  bool times_aside;                                        /* spans are in the order of recording, whatever the queue */
  size_t (*spans)(struct device *d, struct span *out, size_t cap);
  size_t (*counters)(struct device *d, const struct span *s, const struct lrqk_counter_value **out);   /* without it a device has none */
  bool (*clocks)(struct device *d, struct clocks *out);    /* optional, as the next two; nothing is recorded or runs */
  size_t (*kernel_figures)(const struct kernel *k, struct kernel_figure *out, size_t cap);
  void (*frame)(struct device *d, bool begin);             /* without it a device cannot be captured */
};

/* For back ends with replay: what is recorded from now on has this number (below DEVICE_RECORDINGS), what had it is gone; no number
 * lasts longer than until now. */
void device_records(struct device *d, uint32_t number);
void device_forgets(struct device *d);

extern const struct device_ops device_vulkan, device_opencl, device_host;      /* a back end left out of the build enumerates nothing */
extern const struct device_ops device_count;               /* of counting devices; enumerates nothing */

#endif
