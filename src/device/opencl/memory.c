/* memory.c - buffers of each place, and the ranges of them that kernels are given.
 * On a device that works in the host's own memory every buffer is a block of ours, zero and not resident before it is
 * used, and stays mapped.  Elsewhere DEVICE buffers are the driver's, and HOST and STAGING buffers are memory that it
 * allocates for both sides (CL_MEM_ALLOC_HOST_PTR): unmapped by the first command that uses one, mapped again when what
 * used it has been awaited, as the API demands. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "device/opencl/ocl.h"

enum { BLOCK_ALIGN = 4096 };

void ocl_memory(struct device *d) { ocl_memory_info(&d->caps.info); }

static enum lrqk_status no_memory(struct buffer *b) {
  static const char *const hints[N_PLACES] = {
    [PLACE_DEVICE] = "a shorter context (-c), --attention lrqk or fewer active tokens (--active) need less device memory",
    [PLACE_HOST] = "a shorter context (-c) needs less host memory for the KV cache; `ulimit -l` may limit what can be pinned",
    [PLACE_STAGING] = "other programs may hold the memory that host and device share",
  };
  struct device *d = b->dev;
  fail(&d->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes of %s asked, it has %" PRIu64 " in all", b->name, b->size,
       b->place == PLACE_DEVICE ? "device memory" : "host memory", d->caps.info.memory[0].bytes);
  log_hint(&d->log, "%s", hints[b->place]);
  return LRQK_MEMORY;
}

static enum lrqk_status create_failed(struct ocl *o, struct buffer *b, cl_int r) {
  bool memory = r == CL_MEM_OBJECT_ALLOCATION_FAILURE || r == CL_OUT_OF_HOST_MEMORY || r == CL_OUT_OF_RESOURCES || r == CL_INVALID_BUFFER_SIZE;
  return memory ? no_memory(b) : ocl_fail(o, r, "clCreateBuffer");
}

/* ---- mapping */

static bool is_mapped_place(const struct ocl *o, const struct buffer *b) { return !o->ocl.shared && b->place != PLACE_DEVICE; }

static enum lrqk_status map(struct ocl *o, struct buffer *b) {
  struct ocl_buffer *ob = b->backend;
  cl_int r;
  b->map = ob->map = clEnqueueMapBuffer(o->queue, ob->mem, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, b->size, 0, NULL, NULL, &r);
  return r == CL_SUCCESS ? LRQK_OK : ocl_fail(o, r, "clEnqueueMapBuffer");
}

enum lrqk_status ocl_use(struct ocl *o, const struct buffer *b) {
  struct ocl_buffer *ob = b->backend;
  ob->ticket = o->ticket + 1;
  if (!is_mapped_place(o, b) || !ob->map) return LRQK_OK;
  OCL_TRY(o, clEnqueueUnmapMemObject, o->is_aside ? o->second : o->queue, ob->mem, ob->map, 0, NULL, NULL);
  ob->map = NULL;
  return LRQK_OK;
}

enum lrqk_status ocl_map_idle(struct ocl *o) {
  for (struct buffer *b = o->buffers; b; b = ((struct ocl_buffer *)b->backend)->next) {
    const struct ocl_buffer *ob = b->backend;
    if (!ob->map && ob->ticket <= o->done) TRY(map(o, b));
  }
  return LRQK_OK;
}

/* ---- buffers */

static enum lrqk_status create_shared(struct ocl *o, struct buffer *b, struct ocl_buffer *ob) {
  ob->block = mem_alloc(1, b->size + BLOCK_ALIGN);
  if (!ob->block) return no_memory(b);
  b->map = (char *)(((uintptr_t)ob->block + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN);
  cl_int r;
  ob->mem = clCreateBuffer(o->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, b->size, b->map, &r);
  return ob->mem ? LRQK_OK : create_failed(o, b, r);
}

static enum lrqk_status create_separate(struct ocl *o, struct buffer *b, struct ocl_buffer *ob) {
  cl_int r;
  cl_mem_flags flags = CL_MEM_READ_WRITE | (b->place == PLACE_DEVICE ? 0 : CL_MEM_ALLOC_HOST_PTR);
  ob->mem = clCreateBuffer(o->context, flags, b->size, NULL, &r);
  if (!ob->mem) return create_failed(o, b, r);
  if (b->place == PLACE_DEVICE) return LRQK_OK;
  TRY(map(o, b));
  memset(b->map, 0, b->size);
  ob->next = o->buffers;
  o->buffers = b;
  return LRQK_OK;
}

enum lrqk_status ocl_buffer_create(struct buffer *b) {
  struct ocl *o = b->dev->backend;
  struct ocl_buffer *ob = mem_alloc(1, sizeof *ob);
  if (!ob) return fail(&b->dev->log, LRQK_MEMORY, "buffer \"%s\": out of host memory", b->name);
  b->backend = ob;
  enum lrqk_status s = o->ocl.shared ? create_shared(o, b, ob) : create_separate(o, b, ob);
  if (s != LRQK_OK) ocl_buffer_destroy(b);
  return s;
}

void ocl_buffer_destroy(struct buffer *b) {
  struct ocl *o = b->dev->backend;
  struct ocl_buffer *ob = b->backend;
  ocl_ranges_drop(o);
  for (struct buffer **at = &o->buffers; *at; at = &((struct ocl_buffer *)(*at)->backend)->next) {
    if (*at != b) continue;
    *at = ob->next;
    break;
  }
  if (ob->mem && is_mapped_place(o, b) && ob->map) clEnqueueUnmapMemObject(o->queue, ob->mem, ob->map, 0, NULL, NULL);
  if (ob->mem) clReleaseMemObject(ob->mem);
  clFinish(o->second);
  clFinish(o->queue);   /* the block must outlive the buffer in it */
  mem_free(ob->block);
  mem_free(ob);
}

/* ---- ranges: one object per range that kernels are given, kept, because steps bind the same ones again and again */

static uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

/* A command that is enqueued holds the ranges that it uses: they may be released at any time. */
void ocl_ranges_drop(struct ocl *o) {
  for (uint32_t i = 0; i < OCL_RANGES && o->n_ranges; i++) {
    if (!o->range[i].mem) continue;
    clReleaseMemObject(o->range[i].mem);
    o->range[i].mem = NULL;
    o->n_ranges--;
  }
}

enum lrqk_status ocl_range_get(struct ocl *o, const struct view *v, cl_mem *out) {
  const struct ocl_buffer *ob = v->buf->backend;
  *out = ob->mem;
  if (v->offset == 0 && v->size == v->buf->size) return LRQK_OK;
  if (o->n_ranges >= OCL_RANGES / 4 * 3) ocl_ranges_drop(o);
  uint32_t at = (uint32_t)(mix(mix(mix(0, (uintptr_t)v->buf), v->offset), v->size) % OCL_RANGES);
  for (; o->range[at].mem; at = (at + 1) % OCL_RANGES) {
    const struct ocl_range *r = &o->range[at];
    if (r->buf != v->buf || r->offset != v->offset || r->size != v->size) continue;
    *out = r->mem;
    return LRQK_OK;
  }
  const cl_buffer_region region = { v->offset, v->size };
  cl_int r;
  cl_mem mem = clCreateSubBuffer(ob->mem, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &r);
  if (!mem) return ocl_fail(o, r, "clCreateSubBuffer");
  o->range[at] = (struct ocl_range){ v->buf, v->offset, v->size, mem };
  o->n_ranges++;
  *out = mem;
  return LRQK_OK;
}
