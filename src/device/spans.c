/* spans.c - see spans.h. */
#include "device/spans.h"

#include <string.h>

#include "base/mem.h"

bool span_push(struct span_list *l, struct span s) {
  if (l->n == l->cap) {
    size_t cap = l->cap ? l->cap * 2 : 4096;
    struct span *more = mem_realloc(l->span, cap, sizeof *more);
    if (!more) return false;
    l->span = more;
    l->cap = cap;
  }
  l->span[l->n++] = s;
  return true;
}

size_t span_take(struct span_list *l, struct span *out, size_t cap) {
  size_t n = l->n < cap ? l->n : cap;
  if (n) memcpy(out, l->span, n * sizeof *out);
  l->n = 0;
  return n;
}

void span_free(struct span_list *l) {
  mem_free(l->span);
  *l = (struct span_list){ 0 };
}
