/* mem.h - host memory.  All of the library's allocations go through here, so that test builds can make the Nth one
 * fail (LRQK_FAULT_ALLOC=N in the environment; device buffers count too) and nothing is allocated while decoding. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

void *mem_alloc(size_t n, size_t size);            /* n * size bytes, zeroed; NULL on failure or overflow */
void *mem_realloc(void *p, size_t n, size_t size); /* the old block stays valid on failure; new bytes are not zeroed */
char *mem_strdup(const char *s);
void mem_free(void *p);

/* True if the allocation that is about to happen must fail.  Called by mem_* and by device.c, once per allocation.
 * Always false in builds without LRQK_TESTS. */
bool mem_fault(void);

#endif
