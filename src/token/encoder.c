/* encoder.c - see encoder.h. */
#include "token/encoder.h"

#include "base/mem.h"

bool encoder_grow(void **p, size_t *cap, size_t n, size_t more, size_t size) {
  if (n + more <= *cap) return true;
  size_t want = *cap + *cap / 2 + more + 64;
  void *q = mem_realloc(*p, want, size);
  if (!q) return false;
  *p = q;
  *cap = want;
  return true;
}

enum lrqk_status ids_push(struct ids *v, int32_t id) {
  void *p = v->id;
  if (!encoder_grow(&p, &v->cap, v->n, 1, sizeof *v->id)) return LRQK_MEMORY;
  v->id = p;
  v->id[v->n++] = id;
  return LRQK_OK;
}

enum lrqk_status encoder_no_memory(const struct encoder *e) { return fail(e->log, LRQK_MEMORY, "tokenizer: out of memory"); }

enum lrqk_status encoder_emit(struct encoder *e, uint32_t id) {
  return ids_push(e->out, (int32_t)id) == LRQK_OK ? LRQK_OK : encoder_no_memory(e);
}

bool encoder_offer(struct encoder *e, struct candidate c) {
  void *p = e->heap;
  if (!encoder_grow(&p, &e->cap_heap, e->n_heap, 1, sizeof *e->heap)) return false;
  e->heap = p;
  size_t i = e->n_heap++;
  for (; i && e->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
  e->heap[i] = c;
  return true;
}

struct candidate encoder_take(struct encoder *e) {
  struct candidate top = e->heap[0], last = e->heap[--e->n_heap];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= e->n_heap) break;
    if (child + 1 < e->n_heap && e->heap[child + 1].key < e->heap[child].key) child++;
    if (last.key <= e->heap[child].key) break;
    e->heap[i] = e->heap[child];
    i = child;
  }
  e->heap[i] = last;
  return top;
}

void encoder_free(struct encoder *e) {
  mem_free(e->sym);
  mem_free(e->heap);
  mem_free(e->text);
}
