/* barrier.c - see barrier.h. */
#include "device/barrier.h"

static struct hazard_range range_of(struct view v) { return (struct hazard_range){ v.buf, v.offset, v.offset + v.size }; }

static bool overlaps(const struct hazard_list *l, const struct hazard_range *r) {
  for (uint32_t i = 0; i < l->n; i++)
    if (l->range[i].buf == r->buf && l->range[i].begin < r->end && r->begin < l->range[i].end) return true;
  return false;
}

/* Ranges that touch are joined: their union is exact, and lists stay short where pages are walked in order. */
static void add(struct hazard_list *l, struct hazard_range r) {
  for (uint32_t i = 0; i < l->n; i++) {
    struct hazard_range *e = &l->range[i];
    if (e->buf != r.buf || e->begin > r.end || r.begin > e->end) continue;
    if (r.begin < e->begin) e->begin = r.begin;
    if (r.end > e->end) e->end = r.end;
    return;
  }
  l->range[l->n++] = r;
}

static bool is_full(const struct hazards *h, uint32_t n) { return h->reads.n + n > HAZARD_RANGES || h->writes.n + n > HAZARD_RANGES; }

bool hazards_conflict(const struct hazards *h, const struct hazard_use *use, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    struct hazard_range r = range_of(use[i].view);
    if (overlaps(&h->writes, &r)) return true;
    if ((use[i].access & ACCESS_WRITE) && overlaps(&h->reads, &r)) return true;
  }
  return false;
}

bool hazards_add(struct hazards *h, const struct hazard_use *use, uint32_t n) {
  if (is_full(h, n)) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (use[i].access & ACCESS_READ) add(&h->reads, range_of(use[i].view));
    if (use[i].access & ACCESS_WRITE) add(&h->writes, range_of(use[i].view));
  }
  return true;
}

bool hazards_use(struct hazards *h, const struct hazard_use *use, uint32_t n) {
  bool barrier = is_full(h, n) || hazards_conflict(h, use, n);
  if (barrier) hazards_clear(h);
  hazards_add(h, use, n);
  return barrier;
}

void hazards_clear(struct hazards *h) { h->reads.n = h->writes.n = 0; }
