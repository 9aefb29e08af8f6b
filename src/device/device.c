/* device.c - the front end of the device layer: opens devices, checks every call, derives the barriers, counts bytes
 * and tickets.  Back ends (vulkan/, opencl/, host/) get arguments that are valid. */
#include "device/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/barrier.h"
#include "device/choose.h"
#include "device/replay.h"

enum {
  STAGING_BYTES = 8 << 20,      /* a piece of a transfer to memory that is not mapped */
  MOST_FIGURES = 256            /* of one kernel */
};

struct device_priv {
  struct hazards hazards;
  struct hazards aside;         /* uses of what went to the second queue and was not joined */
  bool is_aside, apart, apart_all;   /* now recording for it; it has such work; and more of it than `aside` holds */
  enum lrqk_status fault;       /* the first fault since the last submit; recording calls do nothing until then */
  bool recorded, lost;
  double expected_ns;           /* of what is recorded */
  uint64_t ticket;              /* of the last submit */
  uint32_t n_buffers;
  struct buffer *staging;       /* made at the first transfer that needs it */
  struct kernel **kernel;
  size_t n_kernels;
  struct replay replay;
};

static const char copy_name[] = "copy", fill_name[] = "fill";

/* Fails with a text that ends in the condition that does not hold. */
#define REQUIRE(d, cond, fmt, ...) \
  do { if (!(cond)) return fail(&(d)->log, LRQK_RUNTIME, fmt " [%s]", __VA_ARGS__, #cond); } while (0)

/* ---- devices */

static enum lrqk_status no_device(const struct log *log, const struct device_entry *list, size_t n, const char *select) {
  char text[800] = "";
  for (size_t i = 0; i < n; i++) {
    size_t at = strlen(text);
    snprintf(text + at, sizeof text - at, "%s%zu = %s: %s", i ? ", " : "", i, list[i].caps.info.backend, list[i].caps.info.name);
  }
  if (select && *select) {
    fail(log, LRQK_DEVICE, "device \"%s\": no such device; there are: %s", select, text);
    log_hint(log, "a device is an index, part of a name, vulkan:NAME, opencl:NAME, or host");
  } else {
    fail(log, LRQK_DEVICE, "no GPU and no software driver was found (loader and driver of Vulkan or OpenCL missing?)");
    log_hint(log, "--device host computes on the CPU in plain C: right, but slow");
  }
  return LRQK_DEVICE;
}

static void lower(uint64_t *limit, uint64_t to) {
  if (to && to < *limit) *limit = to;
}

/* What only some back ends can do. */
static enum lrqk_status check_options(const struct log *log, const struct device_options *opt, const struct device_entry *e) {
  const char *name = e->caps.info.name;
  if (opt->capture != LRQK_CAPTURE_AUTO && !e->ops->frame) return fail(log, LRQK_USAGE, "%s: only devices of Vulkan can be captured", name);
  if (!opt->counters || e->ops->counters) return LRQK_OK;
  fail(log, LRQK_DEVICE, "%s: no hardware counters: they are read through Vulkan (VK_KHR_performance_query), this is %s", name, e->ops->name);
  log_hint(log, "`lrqk devices -v` says which devices have some");
  return LRQK_DEVICE;
}

static enum lrqk_status open_entry(struct device **out, const struct log *log, const struct device_options *opt,
                                   const struct device_entry *e) {
  struct device *d = mem_alloc(1, sizeof *d);
  struct device_priv *p = mem_alloc(1, sizeof *p);
  enum lrqk_status s = d && p ? LRQK_OK : fail(log, LRQK_MEMORY, "device: out of host memory");
  if (s == LRQK_OK) {
    replay_init(&p->replay);
    *d = (struct device){ .caps = e->caps, .ops = opt->counting ? &device_count : e->ops, .log = log ? *log : (struct log){ 0 }, .priv = p,
                          .stamping = opt->timing, .counting = opt->counting, .at_stage = "", .at_call = "", .at_layer = -1 };
    s = check_options(log, opt, e);
    if (s == LRQK_OK) s = d->ops->open(d, e->index, opt);
  }
  if (s != LRQK_OK) {
    mem_free(p);
    mem_free(d);
    return s;
  }
  d->caps.info.index = e->caps.info.index;
  lower(&d->caps.info.max_allocation, opt->max_allocation);
  lower(&d->caps.info.max_binding, opt->max_binding);
  *out = d;
  return LRQK_OK;
}

enum lrqk_status device_open(struct device **out, const struct log *log, const struct device_options *opt) {
  static const struct device_options defaults;
  if (!opt) opt = &defaults;
  struct device_entry *list;
  size_t n;
  TRY(device_entries(&list, &n, log, opt->validate));
  int i = device_match(list, n, opt->select);
  enum lrqk_status s = i < 0 ? no_device(log, list, n, opt->select) : open_entry(out, log, opt, &list[i]);
  if (s == LRQK_OK && !opt->counting && !(opt->select && *opt->select) && list[i].caps.info.type == LRQK_DEVICE_SOFTWARE)
    log_warn(log, "%s is a software driver: no GPU was found, this will be slow", list[i].caps.info.name);
  mem_free(list);
  return s;
}

enum lrqk_status device_twin(struct device **out, const struct device *d) {
  TRY(open_entry(out, &d->log, &(struct device_options){ .counting = true }, &(struct device_entry){ .caps = d->caps, .ops = d->ops }));
  (*out)->forms = d->forms;
  return LRQK_OK;
}

void device_close(struct device *d) {
  if (!d) return;
  struct device_priv *p = d->priv;
  if (p->recorded) device_submit(d, NULL);
  device_wait(d, 0);
  if (!d->counting) log_debug(&d->log, "%" PRIu64 " of %" PRIu64 " submits were sent again", p->replay.sent, p->ticket);
  buffer_destroy(&p->staging);
  if (p->n_buffers) fail(&d->log, LRQK_RUNTIME, "device_close: %" PRIu32 " buffers are still there", p->n_buffers);
  for (size_t i = 0; i < p->n_kernels; i++) {
    d->ops->kernel_destroy(p->kernel[i]);
    mem_free(p->kernel[i]);
  }
  mem_free(p->kernel);
  d->ops->close(d);
  replay_destroy(&p->replay);
  mem_free(p);
  mem_free(d);
}

void device_memory(struct device *d) { d->ops->memory(d); }

/* ---- memory */

/* Nothing is allocated while decoding: the driver may stall, and the plan of the memory would be wrong. */
static void decoding_guard(const struct device *d, const char *what, const char *name) {
  if (!d->decoding) return;
  fail(&d->log, LRQK_RUNTIME, "%s \"%s\" is made while decoding [!d->decoding]", what, name);
#ifdef LRQK_TESTS
  abort();
#endif
}

static void note(struct device *d, enum lrqk_status s) {
  if (s == LRQK_DEVICE_LOST) d->priv->lost = true;
  if (d->priv->fault == LRQK_OK) d->priv->fault = s;
}

/* The first queue waits for all that the second one was given. */
static void join(struct device *d) {
  struct device_priv *p = d->priv;
  if (!p->apart) return;
  note(d, d->ops->join(d));
  hazards_clear(&p->hazards);   /* the back end may send what is recorded */
  hazards_clear(&p->aside);
  p->apart = p->apart_all = false;
}

/* Buffers in HOST may be mapped and unmapped as a whole by the first command that uses them: all of them is in use then. */
static void order_aside(struct device *d, const struct hazard_use *use, uint32_t n) {
  struct device_priv *p = d->priv;
  struct hazard_use wide[KERNEL_MAX_BINDINGS];
  for (uint32_t i = 0; i < n; i++) {
    bool whole = use[i].view.buf->place != PLACE_DEVICE;
    wide[i] = whole ? (struct hazard_use){ view_of(use[i].view.buf), ACCESS_READ_WRITE } : use[i];
  }
  p->apart_all = !hazards_add(&p->aside, wide, n) || p->apart_all;
}

static void order(struct device *d, const struct hazard_use *use, uint32_t n) {
  struct device_priv *p = d->priv;
  if (p->is_aside) order_aside(d, use, n);
  else if (p->apart && (p->apart_all || hazards_conflict(&p->aside, use, n))) join(d);
  if (hazards_use(&d->priv->hazards, use, n) || d->serial) d->ops->barrier(d);
  d->priv->recorded = true;
}

static void watch_command(const struct device *d, const struct command *c) {
  if (d->watch) d->watch->command(d->watch->ud, c);
}

static void watch_call(const struct device *d, enum device_call call, bool done) {
  if (d->watch) d->watch->call(d->watch->ud, call, done);
}

static enum lrqk_status send(struct device *d, bool paced);

/* A command that would make the submit too long begins another one, unless it is known to belong to it. */
static void pace(struct device *d, const struct command *c, bool followed) {
  struct device_priv *p = d->priv;
  if (!d->pace || p->is_aside) return;
  double ns = d->pace->ns(d->pace->ud, c);
  if (p->recorded && !followed && p->expected_ns + ns > DEVICE_SUBMIT_NS) note(d, send(d, true));
  p->expected_ns += ns;
}

/* What is timed, or goes to the second queue, is recorded anew. */
static bool can_replay(const struct device *d) {
  const struct device_priv *p = d->priv;
  return d->ops->replay && !d->stamping && !d->serial && !p->is_aside && !p->apart;
}

/* followed: as a part of a submit that it was sent with before, so that who watches knows of it. */
static enum lrqk_status record(struct device *d, const struct command *c, bool followed) {
  struct device_priv *p = d->priv;
  struct hazard_use use[KERNEL_MAX_BINDINGS];
  for (uint32_t i = 0; i < c->n_views; i++)
    use[i] = (struct hazard_use){ c->views[i], c->kernel ? kernel_info[c->kernel->id].binding[i].access : i ? ACCESS_READ : ACCESS_WRITE };
  pace(d, c, followed);
  p->replay.broken = p->replay.broken || !can_replay(d);
  order(d, use, c->n_views);
  if (!followed) watch_command(d, c);
  replay_record(&p->replay, c);
  enum lrqk_status s = c->kernel ? d->ops->dispatch(d, c->kernel, c->groups, c->views, c->params)
                       : c->n_views == 2 ? d->ops->copy(d, c->views[0], c->views[1]) : d->ops->fill(d, c->views[0], *(const uint32_t *)c->params);
  note(d, s);
  return s;
}

/* What was followed is recorded after all. */
static void record_followed(struct device *d) {
  struct replay *r = &d->priv->replay;
  const struct replay_log *log = replay_followed(r);
  uint32_t n = r->n;
  size_t at = 0;
  r->n = 0;
  r->at = 0;
  for (struct command c; n; n--) {
    replay_read(log, &at, &c);
    if (record(d, &c, true) != LRQK_OK) break;
  }
}

/* Whether the command needs no recording, because a submit that is sent again has it. */
static bool follow(struct device *d, const struct command *c) {
  struct device_priv *p = d->priv;
  struct replay *r = &p->replay;
  if (p->recorded && !r->n) return false;
  if (can_replay(d) && replay_follow(r, c)) {
    watch_command(d, c);
    return p->recorded = true;
  }
  if (!r->n) return false;
  int whole = replay_whole(r);
  if (whole >= 0 && r->kept[whole].paced) {
    note(d, send(d, true));
    return follow(d, c);
  }
  record_followed(d);
  return false;
}

/* A command whose arguments are valid. */
static enum lrqk_status take(struct device *d, const struct command *c) {
  return follow(d, c) ? LRQK_OK : record(d, c, false);
}

void device_records(struct device *d, uint32_t number) { replay_number(&d->priv->replay, (int)number); }

void device_forgets(struct device *d) { replay_forget(&d->priv->replay); }

/* Memory that the host cannot reach is zeroed in the command stream, before anything that uses it. */
static enum lrqk_status zero(struct device *d, const struct buffer *b) {
  const struct view v = view_of(b);
  return take(d, &(struct command){ .name = fill_name, .views = &v, .n_views = 1, .params = &(uint32_t){ 0 }, .params_size = 4 });
}

/* Where device memory is RAM, buffers cost nothing until they are used: what all of them may need has to be there. */
static enum lrqk_status check_ram(struct device *d, uint64_t size, const char *name) {
  const struct lrqk_memory_info *ram = &d->caps.info.memory[0];
  if (!d->caps.cpu || d->counting) return LRQK_OK;
  device_memory(d);
  uint64_t placed = d->placed[PLACE_DEVICE] + d->placed[PLACE_HOST] + d->placed[PLACE_STAGING];
  if (!ram->bytes || (size <= ram->free && size <= ram->bytes - (placed < ram->bytes ? placed : ram->bytes))) return LRQK_OK;
  fail(&d->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes of RAM asked, %" PRIu64 " of %" PRIu64 " are free and %" PRIu64
       " bytes belong to other buffers", name, size, ram->free, ram->bytes, placed);
  log_hint(&d->log, "a shorter context (-c) needs less memory; `lrqk plan` says how much");
  return LRQK_MEMORY;
}

enum lrqk_status buffer_create(struct buffer **out, struct device *d, enum place place, uint64_t size, const char *name) {
  struct device_priv *p = d->priv;
  decoding_guard(d, "buffer", name);
  REQUIRE(d, (unsigned)place < N_PLACES, "buffer \"%s\": place %d", name, (int)place);
  REQUIRE(d, size > 0, "buffer \"%s\": no bytes", name);
  uint64_t most = d->caps.info.max_allocation, padded = (size + VIEW_ALIGN - 1) & ~(uint64_t)(VIEW_ALIGN - 1);
  if (size > most || padded > most) {
    fail(&d->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes asked, one allocation of %s is at most %" PRIu64, name, size, d->caps.info.name, most);
    log_hint(&d->log, "a shorter context (-c) or fewer active tokens (--active) need smaller buffers");
    return LRQK_MEMORY;
  }
  TRY(check_ram(d, padded, name));
  struct buffer *b = mem_fault() ? NULL : mem_alloc(1, sizeof *b);
  if (!b) return fail(&d->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes: out of memory", name, size);
  *b = (struct buffer){ .dev = d, .name = name, .place = place, .size = padded };
  enum lrqk_status s = d->ops->buffer_create(b);
  if (s != LRQK_OK) {
    mem_free(b);
    return s;
  }
  p->n_buffers++;
  d->placed[place] += b->size;
  if (!d->counting) log_debug(&d->log, "buffer \"%s\": %" PRIu64 " bytes", name, b->size);
  if (!b->map) s = zero(d, b);
  if (s != LRQK_OK) {
    buffer_destroy(&b);
    return s;
  }
  *out = b;
  return LRQK_OK;
}

/* What is recorded is sent, then the device becomes idle. */
static enum lrqk_status drain(struct device *d) {
  if (d->priv->recorded || d->priv->fault != LRQK_OK) TRY(device_submit(d, NULL));
  return device_wait(d, 0);
}

void buffer_destroy(struct buffer **bp) {
  struct buffer *b = *bp;
  if (!b) return;
  *bp = NULL;
  struct device *d = b->dev;
  enum lrqk_status pending = d->priv->fault;   /* stays for the submit of the caller who recorded it */
  d->priv->fault = LRQK_OK;
  enum lrqk_status s = drain(d);
  d->priv->fault = pending != LRQK_OK ? pending : s;
  device_forgets(d);
  d->ops->buffer_destroy(b);
  d->priv->n_buffers--;
  d->placed[b->place] -= b->size;
  mem_free(b);
}

struct view view_of(const struct buffer *b) { return (struct view){ b, 0, b->size }; }

/* Who uses a view, for the message: "kernel ADD, y", "device_copy, source". */
struct user { const char *call, *kernel, *binding; };
#define USER_FMT "%s%s, %s"
#define USER(u) (u)->call, (u)->kernel, (u)->binding

static enum lrqk_status check_range(const struct device *d, const struct user *u, const struct view *v, uint64_t align) {
  REQUIRE(d, v->buf, USER_FMT ": no buffer", USER(u));
  REQUIRE(d, v->buf->dev == d, USER_FMT ": buffer \"%s\" is another device's", USER(u), v->buf->name);
  REQUIRE(d, v->offset % align == 0, USER_FMT ": offset %" PRIu64 " of buffer \"%s\", expected a multiple of %" PRIu64, USER(u), v->offset,
          v->buf->name, align);
  REQUIRE(d, v->offset <= v->buf->size && v->size <= v->buf->size - v->offset,
          USER_FMT ": %" PRIu64 " bytes at %" PRIu64 " of buffer \"%s\", which has %" PRIu64, USER(u), v->size, v->offset, v->buf->name,
          v->buf->size);
  return LRQK_OK;
}

static enum lrqk_status need_staging(struct device *d) {
  uint64_t most = d->caps.info.max_allocation & ~(uint64_t)(VIEW_ALIGN - 1);
  if (d->priv->staging) return LRQK_OK;
  return buffer_create(&d->priv->staging, d, PLACE_STAGING, most < STAGING_BYTES ? most : STAGING_BYTES, "staging");
}

static enum lrqk_status record_copy(struct device *d, struct view dst, struct view src);

/* Whether the host reaches the buffer, on a counting device: would reach it. */
static bool is_mapped(const struct buffer *b) { return b->dev->counting ? b->place != PLACE_DEVICE || b->dev->caps.mapped : b->map != NULL; }

/* One piece between memory that is not mapped and the staging buffer; either direction. */
static enum lrqk_status move_piece(struct device *d, struct view dst, struct view src) {
  TRY(record_copy(d, dst, src));
  return drain(d);
}

enum lrqk_status device_write(struct device *d, struct view dst, const void *src, uint64_t size) {
  TRY(check_range(d, &(struct user){ "device_write", "", "destination" }, &dst, 4));
  REQUIRE(d, size <= dst.size, "device_write: %" PRIu64 " bytes into a view of %" PRIu64 " of \"%s\"", size, dst.size, dst.buf->name);
  TRY(drain(d));
  if (!is_mapped(dst.buf)) TRY(need_staging(d));
  if (d->counting) return LRQK_OK;
  if (dst.buf->map) {
    memcpy((char *)dst.buf->map + dst.offset, src, size);
    return LRQK_OK;
  }
  struct buffer *st = d->priv->staging;
  for (uint64_t at = 0; at < size;) {
    uint64_t n = size - at < st->size ? size - at : st->size;
    memcpy(st->map, (const char *)src + at, n);
    TRY(move_piece(d, (struct view){ dst.buf, dst.offset + at, n }, (struct view){ st, 0, n }));
    at += n;
  }
  return LRQK_OK;
}

enum lrqk_status device_read(struct device *d, void *dst, struct view src, uint64_t size) {
  TRY(check_range(d, &(struct user){ "device_read", "", "source" }, &src, 4));
  REQUIRE(d, size <= src.size, "device_read: %" PRIu64 " bytes of a view of %" PRIu64 " of \"%s\"", size, src.size, src.buf->name);
  TRY(drain(d));
  if (!is_mapped(src.buf)) TRY(need_staging(d));
  if (d->counting) memset(dst, 0, size);
  if (d->counting) return LRQK_OK;
  if (src.buf->map) {
    memcpy(dst, (const char *)src.buf->map + src.offset, size);
    return LRQK_OK;
  }
  struct buffer *st = d->priv->staging;
  for (uint64_t at = 0; at < size;) {
    uint64_t n = size - at < st->size ? size - at : st->size;
    TRY(move_piece(d, (struct view){ st, 0, n }, (struct view){ src.buf, src.offset + at, n }));
    memcpy((char *)dst + at, st->map, n);
    at += n;
  }
  return LRQK_OK;
}

/* ---- kernels */

static enum lrqk_status check_kernel(struct device *d, const struct kernel *k) {
  const struct kernel_info *info = &kernel_info[k->id];
  const struct lrqk_device_info *caps = &d->caps.info;
  REQUIRE(d, k->spec[0] >= 1 && k->spec[0] <= caps->max_workgroup, "kernel %s: WG %" PRIu32 ", %s takes at most %" PRIu32, info->id,
          k->spec[0], caps->name, caps->max_workgroup);
  REQUIRE(d, info->n_bindings <= caps->max_storage_bindings, "kernel %s: %" PRIu32 " buffers, %s takes at most %" PRIu32, info->id,
          info->n_bindings, caps->name, caps->max_storage_bindings);
  return LRQK_OK;
}

enum lrqk_status kernel_get(const struct kernel **out, struct device *d, enum kernel_id id, const uint32_t *spec, uint32_t n) {
  struct device_priv *p = d->priv;
  REQUIRE(d, (unsigned)id < N_KERNELS, "kernel_get: kernel %d", (int)id);
  const struct kernel_info *info = &kernel_info[id];
  REQUIRE(d, info->n_bindings > 0, "kernel %s: not in this build", info->id);
  REQUIRE(d, n <= info->n_spec, "kernel %s: %" PRIu32 " specialisation constants, it has %" PRIu32, info->id, n, info->n_spec);
  struct kernel want = { .dev = d, .id = id, .n_spec = info->n_spec };
  for (uint32_t i = 0; i < info->n_spec; i++) want.spec[i] = i < n ? spec[i] : info->spec_default[i];
  for (size_t i = 0; i < p->n_kernels; i++) {
    const struct kernel *k = p->kernel[i];
    if (k->id == id && !memcmp(k->spec, want.spec, sizeof want.spec)) {
      *out = k;
      return LRQK_OK;
    }
  }
  decoding_guard(d, "kernel", info->id);
  TRY(check_kernel(d, &want));
  struct kernel **list = mem_realloc(p->kernel, p->n_kernels + 1, sizeof *list);
  if (list) p->kernel = list;
  struct kernel *k = list ? mem_alloc(1, sizeof *k) : NULL;
  if (!k) return fail(&d->log, LRQK_MEMORY, "kernel %s: out of host memory", info->id);
  *k = want;
  enum lrqk_status s = d->ops->kernel_create(k);
  if (s != LRQK_OK) {
    mem_free(k);
    return s;
  }
  p->kernel[p->n_kernels++] = k;
  *out = k;
  return LRQK_OK;
}

/* ---- recording */

static bool disjoint(const struct view *a, const struct view *b) {
  return a->buf != b->buf || a->offset + a->size <= b->offset || b->offset + b->size <= a->offset;
}

static enum lrqk_status check_binding(const struct device *d, const struct kernel_info *info, uint32_t i, const struct view *v) {
  const struct lrqk_device_info *caps = &d->caps.info;
  const struct kernel_binding *b = &info->binding[i];
  const struct user u = { "kernel ", info->id, b->name };
  TRY(check_range(d, &u, v, VIEW_ALIGN));
  REQUIRE(d, v->size > 0 && v->size % b->element == 0, USER_FMT ": %" PRIu64 " bytes of \"%s\", an element has %d", USER(&u), v->size,
          v->buf->name, b->element);
  REQUIRE(d, v->size <= caps->max_binding, USER_FMT ": %" PRIu64 " bytes of \"%s\", %s binds at most %" PRIu64, USER(&u), v->size,
          v->buf->name, caps->name, caps->max_binding);
  REQUIRE(d, !d->caps.texel || b->access != ACCESS_READ || v->size / b->element <= caps->max_texels,
          USER_FMT ": %" PRIu64 " texels of \"%s\", %s binds at most %" PRIu64, USER(&u), v->size / b->element, v->buf->name, caps->name,
          caps->max_texels);
  return LRQK_OK;
}

static enum lrqk_status check_dispatch(const struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                                       uint32_t n_views, uint32_t params_size) {
  REQUIRE(d, k && k->dev == d, "%s", k ? "device_dispatch: a kernel of another device" : "device_dispatch: no kernel");
  const struct kernel_info *info = &kernel_info[k->id];
  for (int i = 0; i < 3; i++)
    REQUIRE(d, groups[i] <= DEVICE_MAX_GROUPS, "kernel %s: %" PRIu32 " groups in dimension %d, the limit is %d", info->id, groups[i], i,
            DEVICE_MAX_GROUPS);
  REQUIRE(d, n_views == info->n_bindings, "kernel %s: %" PRIu32 " views, it has %" PRIu32 " bindings", info->id, n_views, info->n_bindings);
  REQUIRE(d, params_size == info->params_size, "kernel %s: %" PRIu32 " bytes of parameters, it has %" PRIu32, info->id, params_size,
          info->params_size);
  for (uint32_t i = 0; i < n_views; i++) TRY(check_binding(d, info, i, &views[i]));
  for (uint32_t i = 0; i < n_views; i++)
    for (uint32_t j = 0; j < n_views && (info->binding[i].access & ACCESS_WRITE); j++)
      REQUIRE(d, i == j || disjoint(&views[i], &views[j]), "kernel %s: bindings %" PRIu32 " (%s) and %" PRIu32 " (%s) overlap in \"%s\"",
              info->id, i, info->binding[i].name, j, info->binding[j].name, views[i].buf->name);
  return LRQK_OK;
}

void device_dispatch(struct device *d, const struct kernel *k, uint32_t gx, uint32_t gy, uint32_t gz, const struct view *views,
                     uint32_t n_views, const void *params, uint32_t params_size) {
  const uint32_t groups[3] = { gx, gy, gz };
  if (d->priv->fault != LRQK_OK) return;
  const struct command c = { k, k ? kernel_info[k->id].id : "", groups, views, n_views, params, params_size };
  const bool work = gx && gy && gz;
  if (k && work && follow(d, &c)) return;   /* it was checked when it was recorded */
  note(d, check_dispatch(d, k, groups, views, n_views, params_size));
  if (d->priv->fault == LRQK_OK && work) record(d, &c, false);
}

static enum lrqk_status record_copy(struct device *d, struct view dst, struct view src) {
  return take(d, &(struct command){ .name = copy_name, .views = (const struct view[]){ dst, src }, .n_views = 2 });
}

static enum lrqk_status check_copy(const struct device *d, const struct view *dst, const struct view *src) {
  TRY(check_range(d, &(struct user){ "device_copy", "", "destination" }, dst, 4));
  TRY(check_range(d, &(struct user){ "device_copy", "", "source" }, src, 4));
  REQUIRE(d, dst->size == src->size, "device_copy: %" PRIu64 " bytes of \"%s\" to %" PRIu64 " of \"%s\"", src->size, src->buf->name,
          dst->size, dst->buf->name);
  REQUIRE(d, src->size % 4 == 0, "device_copy: %" PRIu64 " bytes of \"%s\"", src->size, src->buf->name);
  REQUIRE(d, disjoint(dst, src), "device_copy: source and destination overlap in \"%s\"", src->buf->name);
  return LRQK_OK;
}

void device_copy(struct device *d, struct view dst, struct view src) {
  if (d->priv->fault != LRQK_OK) return;
  note(d, check_copy(d, &dst, &src));
  if (d->priv->fault != LRQK_OK || !src.size) return;
  if (dst.buf->place == PLACE_HOST || src.buf->place == PLACE_HOST) {
    d->bus_bytes += src.size;
    d->aside_bytes += d->priv->is_aside ? src.size : 0;
  }
  record_copy(d, dst, src);
}

static enum lrqk_status check_fill(const struct device *d, const struct view *dst) {
  TRY(check_range(d, &(struct user){ "device_fill", "", "destination" }, dst, 4));
  REQUIRE(d, dst->size % 4 == 0, "device_fill: %" PRIu64 " bytes of \"%s\"", dst->size, dst->buf->name);
  return LRQK_OK;
}

void device_fill(struct device *d, struct view dst, uint32_t word) {
  if (d->priv->fault != LRQK_OK) return;
  note(d, check_fill(d, &dst));
  if (d->priv->fault != LRQK_OK || !dst.size) return;
  take(d, &(struct command){ .name = fill_name, .views = &dst, .n_views = 1, .params = &word, .params_size = 4 });
}

/* ---- running */

void device_fault(struct device *d, enum lrqk_status s) {
  if (s != LRQK_OK) note(d, s);
}

/* Sends what is recorded on the first queue. */
static enum lrqk_status send(struct device *d, bool paced) {
  struct device_priv *p = d->priv;
  int whole = replay_whole(&p->replay);
  if (p->replay.n && whole < 0) record_followed(d);
  watch_call(d, CALL_SUBMIT, false);
  enum lrqk_status s = whole < 0 ? d->ops->submit(d, p->ticket + 1) : d->ops->replay(d, (uint32_t)whole, p->ticket + 1);
  watch_call(d, CALL_SUBMIT, true);
  p->replay.sent += whole >= 0;
  replay_end(&p->replay, paced);
  p->ticket++;
  p->recorded = false;
  p->expected_ns = 0;
  hazards_clear(&p->hazards);   /* every submit begins with a barrier */
  p->lost = s == LRQK_DEVICE_LOST;
  return s;
}

bool device_aside_begin(struct device *d) {
  struct device_priv *p = d->priv;
  bool timed = d->stamping && (d->serial || d->whole || !d->ops->times_aside);
  if (d->caps.info.queues < 2 || !d->ops->aside || timed || p->fault != LRQK_OK || p->lost) return false;
  join(d);
  if (p->recorded) note(d, send(d, false));
  if (p->fault == LRQK_OK) note(d, d->ops->aside(d, true));
  p->is_aside = p->fault == LRQK_OK;
  return p->is_aside;
}

void device_aside_end(struct device *d) {
  struct device_priv *p = d->priv;
  if (!p->is_aside) return;
  p->is_aside = p->recorded = false;
  replay_end(&p->replay, false);
  p->apart = true;
  hazards_clear(&p->hazards);
  note(d, d->ops->aside(d, false));
}

enum lrqk_status device_submit(struct device *d, uint64_t *ticket) {
  struct device_priv *p = d->priv;
  REQUIRE(d, !p->is_aside, "%s", "device_submit: between device_aside_begin and device_aside_end");
  enum lrqk_status fault = p->fault;
  p->fault = LRQK_OK;
  if (p->lost) return fail(&d->log, LRQK_DEVICE_LOST, "%s was lost", d->caps.info.name);
  if (p->recorded) {   /* also after a fault: what was recorded before it is valid, and its resources must be released */
    enum lrqk_status s = send(d, false);
    if (fault == LRQK_OK) fault = s;
  }
  if (fault == LRQK_OK && ticket) *ticket = p->ticket;
  return fault;
}

enum lrqk_status device_wait(struct device *d, uint64_t ticket) {
  struct device_priv *p = d->priv;
  if (p->lost) return fail(&d->log, LRQK_DEVICE_LOST, "%s was lost", d->caps.info.name);
  REQUIRE(d, ticket <= p->ticket, "device_wait: ticket %" PRIu64 ", the last one is %" PRIu64, ticket, p->ticket);
  watch_call(d, CALL_WAIT, false);
  enum lrqk_status s = d->ops->wait(d, ticket ? ticket : p->ticket);
  watch_call(d, CALL_WAIT, true);
  hazards_clear(&p->aside);     /* a wait covers the second queue */
  p->apart = p->apart_all = false;
  p->lost = s == LRQK_DEVICE_LOST;
  return s;
}

uint64_t device_replayed(const struct device *d) { return d->priv->replay.sent; }

void device_frame(struct device *d, bool begin) {
  if (d->ops->frame) d->ops->frame(d, begin);
}

void device_kernels(struct device *d, void (*fn)(void *ud, const struct kernel *k, const char *variant, const struct kernel_figure *f), void *ud) {
  struct kernel_figure list[MOST_FIGURES];
  for (size_t i = 0; d->ops->kernel_figures && i < d->priv->n_kernels; i++) {
    const struct kernel *k = d->priv->kernel[i];
    char variant[256] = "";
    for (uint32_t j = 0, at = 0; j < k->n_spec && at < sizeof variant - 1; j++)
      at += (uint32_t)snprintf(variant + at, sizeof variant - at, "%s%s=%" PRIu32, j ? " " : "", kernel_info[k->id].spec_name[j], k->spec[j]);
    size_t n = d->ops->kernel_figures(k, list, MOST_FIGURES);
    for (size_t j = 0; j < n; j++) fn(ud, k, variant, &list[j]);
  }
}

bool device_clocks(struct device *d, struct clocks *out) { return d->ops->clocks && d->ops->clocks(d, out); }

size_t device_counters(struct device *d, const struct span *s, const struct lrqk_counter_value **out) {
  return d->ops->counters ? d->ops->counters(d, s, out) : 0;
}

size_t device_spans(struct device *d, struct span *out, size_t cap) { return d->ops->spans(d, out, cap); }
