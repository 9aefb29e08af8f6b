#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct arena_block { struct arena_block *next; size_t used, size; _Alignas(16) unsigned char data[]; };

enum { BLOCK = 64 * 1024 };   /* large enough that a 49152-token vocabulary needs few of them */

void *arena_alloc(struct arena *a, size_t n, size_t size) {
  if (size && n > (SIZE_MAX / 2) / size) return NULL;
  size_t bytes = (n * size + 15) & ~(size_t)15;
  struct arena_block *b = a->head;
  if (!b || b->size - b->used < bytes) {
    size_t cap = bytes > BLOCK ? bytes : BLOCK;
    b = mem_alloc(1, sizeof *b + cap);
    if (!b) return NULL;
    b->size = cap;
    b->next = a->head;
    a->head = b;
  }
  void *p = b->data + b->used;
  b->used += bytes;
  return p;
}

char *arena_text(struct arena *a, const char *s, size_t len) {
  char *d = arena_alloc(a, len + 1, 1);
  if (d) memcpy(d, s, len);
  return d;
}

void arena_free(struct arena *a) {
  for (struct arena_block *b = a->head; b;) {
    struct arena_block *next = b->next;
    mem_free(b);
    b = next;
  }
  a->head = NULL;
}
