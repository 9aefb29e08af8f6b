/* profile_lanes.c - which track each slice of a profile is drawn on, for the trace and the page (profile_trace.c, profile_page.c). */
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { LANES = 16 };

static int in_time(const void *a, const void *b) {
  const struct lrqk_profile_event *x = ((const struct profile_slice *)a)->e, *y = ((const struct profile_slice *)b)->e;
  if (x->host != y->host) return x->host ? -1 : 1;
  if (x->begin_ns != y->begin_ns && !x->host) return x->begin_ns < y->begin_ns ? -1 : 1;
  return (x > y) - (x < y);
}

size_t profile_call_events(const struct profile_log *l, size_t first) {
  size_t n = 1;
  while (first + n < l->n && l->event[first + n].phase == l->event[first].phase && l->event[first + n].token == l->event[first].token) n++;
  return n;
}

struct profile_slice *profile_slices(const struct profile_log *l, int *lanes) {
  struct profile_slice *s = calloc(l->n + 1, sizeof *s);
  uint64_t free_at[LANES] = {0};
  *lanes = 1;
  for (size_t i = 0; s && i < l->n; i++) s[i].e = &l->event[i];
  for (size_t i = 0, n; s && i < l->n; i += n) qsort(s + i, n = profile_call_events(l, i), sizeof *s, in_time);
  for (size_t i = 0; s && i < l->n; i++) {
    int k = 0;
    if (s[i].e->host) continue;
    while (k < LANES - 1 && free_at[k] > s[i].e->begin_ns) k++;
    free_at[k] = s[i].e->end_ns;
    s[i].lane = k;
    if (k >= *lanes) *lanes = k + 1;
  }
  return s;
}
