/* arena.h - many small allocations with one lifetime: freed together, never one by one. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena { struct arena_block *head; };   /* zero-initialised is empty */

void *arena_alloc(struct arena *a, size_t n, size_t size);        /* n * size bytes, zeroed, 16-byte aligned; NULL on failure */
char *arena_text(struct arena *a, const char *s, size_t len);     /* copy, NUL-terminated */
void arena_free(struct arena *a);

#endif
