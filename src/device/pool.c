/* pool.c - views carved from few large buffers (device.h).  The last block is the one that still has room. */
#include "base/mem.h"
#include "device/device.h"

void pool_init(struct pool *p, struct device *d, enum place place, const char *name, uint64_t block_size) {
  uint64_t most = d->caps.info.max_allocation & ~(uint64_t)(VIEW_ALIGN - 1);
  *p = (struct pool){ .dev = d, .place = place, .name = name, .block_size = block_size < most ? block_size : most };
}

enum { PARTS = 8 };   /* what is larger than such a part of a block gets a block of its own: the rest of one must not be much */

/* A new block of at least `size`.  Where a whole block cannot be had, what is asked for may still fit. */
static enum lrqk_status new_block(struct buffer **out, struct pool *p, uint64_t size) {
  if (size <= p->block_size / PARTS) {
    struct log loud = p->dev->log;
    p->dev->log = (struct log){ 0 };
    enum lrqk_status s = buffer_create(out, p->dev, p->place, p->block_size, p->name);
    p->dev->log = loud;
    if (s == LRQK_OK) return s;
  }
  return buffer_create(out, p->dev, p->place, size, p->name);
}

enum lrqk_status pool_alloc(struct view *out, struct pool *p, uint64_t size) {
  uint64_t padded = (size + VIEW_ALIGN - 1) & ~(uint64_t)(VIEW_ALIGN - 1);
  struct buffer *last = p->n_blocks ? p->block[p->n_blocks - 1] : NULL;
  if (!last || padded > last->size - p->used) {
    struct buffer **blocks = mem_realloc(p->block, p->n_blocks + 1, sizeof *blocks);
    if (!blocks) return fail(&p->dev->log, LRQK_MEMORY, "%s: out of host memory", p->name);
    p->block = blocks;
    struct buffer *b;
    TRY(new_block(&b, p, padded));
    /* The block with more room left stays the last. */
    if (last && last->size - p->used >= b->size - padded) {
      blocks[p->n_blocks] = last;
      blocks[p->n_blocks++ - 1] = b;
      *out = (struct view){ b, 0, (size + 15) & ~(uint64_t)15 };
      return LRQK_OK;
    }
    blocks[p->n_blocks++] = last = b;
    p->used = 0;
  }
  *out = (struct view){ last, p->used, (size + 15) & ~(uint64_t)15 };
  p->used += padded;
  return LRQK_OK;
}

uint64_t pool_bytes(const struct pool *p) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < p->n_blocks; i++) bytes += p->block[i]->size;
  return bytes;
}

void pool_destroy(struct pool *p) {
  for (size_t i = 0; i < p->n_blocks; i++) buffer_destroy(&p->block[i]);
  mem_free(p->block);
  p->block = NULL;
  p->n_blocks = 0;
  p->used = 0;
}
