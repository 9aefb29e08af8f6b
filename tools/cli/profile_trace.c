/* profile_trace.c - the timeline of a profile as Chrome trace events (the JSON array format, "X" complete events with ts and
 * dur in microseconds).  One track for the host, one for the queue of the device; on it a call holds its layers, a layer its
 * stages, a stage its kernels.  Kernels that overlap, on one queue or on two, go to further tracks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { HOST = 1, QUEUE = 2 };   /* tracks; those of the device are QUEUE + lane */

static void begin_event(struct text *t, const char *phase, const char *name, int track, uint64_t at_ns, uint64_t zero) {
  json_open(t, '{');
  json_field_string(t, "ph", phase);
  json_field_string(t, "name", name);
  json_field_int(t, "pid", 1);
  json_field_int(t, "tid", track);
  json_key(t, "ts");
  text_printf(t, "%llu.%03llu", (unsigned long long)((at_ns - zero) / 1000), (unsigned long long)((at_ns - zero) % 1000));
  t->comma = true;
}

/* Whole nanoseconds, so that slices that touch or nest do so exactly. */
static void duration(struct text *t, uint64_t ns) {
  json_key(t, "dur");
  text_printf(t, "%llu.%03llu", (unsigned long long)(ns / 1000), (unsigned long long)(ns % 1000));
  t->comma = true;
}

static void name_track(struct text *t, const char *what, int track, const char *name) {
  json_open(t, '{');
  json_field_string(t, "ph", "M");
  json_field_string(t, "name", what);
  json_field_int(t, "pid", 1);
  json_field_int(t, "tid", track);
  json_key(t, "args");
  json_open(t, '{');
  json_field_string(t, "name", name);
  json_close(t, '}');
  json_close(t, '}');
}

static void kernel_slice(struct text *t, const struct lrqk_profile_event *e, int lane, uint64_t zero) {
  begin_event(t, "X", e->name, e->host ? HOST : QUEUE + lane, e->begin_ns, zero);
  duration(t, e->end_ns - e->begin_ns);
  json_field_string(t, "cat", e->host ? "host" : "kernel");
  json_key(t, "args");
  json_open(t, '{');
  json_field_string(t, "stage", e->stage);
  json_field_uint(t, "token", e->token);
  json_field_uint(t, "submission_id", e->submission);
  if (!e->host) {
    char text[64];
    json_field_int(t, "layer", e->layer);
    snprintf(text, sizeof text, "%ux%ux%u", e->grid[0], e->grid[1], e->grid[2]);
    json_field_string(t, "grid_size", text);
    snprintf(text, sizeof text, "%ux1x1", e->workgroup);
    json_field_string(t, "workgroup_size", text);
    json_field_uint(t, "bytes", e->device_bytes + e->bus_bytes);
    json_field_uint(t, "bus_bytes", e->bus_bytes);
    json_field_num(t, "flops", e->flops);
    profile_counted_event_json(t, e);
  }
  json_close(t, '}');
  json_close(t, '}');
}

/* A slice over all events of the first lane from i on that are alike. */
enum level { CALL, LAYER, STAGE };

static bool alike(const struct lrqk_profile_event *a, const struct lrqk_profile_event *b, enum level level) {
  return a->phase == b->phase && a->token == b->token && (level < LAYER || a->layer == b->layer) && (level < STAGE || !strcmp(a->stage, b->stage));
}

/* The event of the first lane that comes before i (step -1) or after it (1); n: none. */
static size_t beside(const struct profile_slice *s, size_t n, size_t i, int step) {
  do i += (size_t)step;   /* below 0 it wraps beyond n */
  while (i < n && (s[i].e->host || s[i].lane));
  return i < n ? i : n;
}

static void group_slice(struct text *t, const struct profile_slice *s, size_t n, size_t i, enum level level, uint64_t zero) {
  const struct lrqk_profile_event *e = s[i].e;
  size_t before = beside(s, n, i, -1), last = i;
  if (e->host || s[i].lane || (before < n && alike(e, s[before].e, level))) return;   /* not the first of them */
  for (size_t next; (next = beside(s, n, last, 1)) < n && alike(e, s[next].e, level);) last = next;
  char name[64];
  if (level == CALL) snprintf(name, sizeof name, "%s %llu", e->phase == LRQK_PHASE_DECODE ? "token" : "prefill from", (unsigned long long)e->token);
  else if (level == STAGE) snprintf(name, sizeof name, "%s", e->stage);
  else if (e->layer < 0) return;
  else snprintf(name, sizeof name, "layer %d", (int)e->layer);
  begin_event(t, "X", name, QUEUE, e->begin_ns, zero);
  duration(t, s[last].e->end_ns - e->begin_ns);
  json_field_string(t, "cat", level == CALL ? "call" : level == LAYER ? "layer" : "stage");
  json_close(t, '}');
}

static void counter(struct text *t, const char *name, uint64_t at, uint64_t zero, double value) {
  begin_event(t, "C", name, HOST, at, zero);
  json_key(t, "args");
  json_open(t, '{');
  json_field_num(t, "value", value);
  json_close(t, '}');
  json_close(t, '}');
}

static void name_tracks(struct text *t, const char *device, int lanes) {
  char name[320];
  name_track(t, "process_name", HOST, "lrqk profile");
  name_track(t, "thread_name", HOST, "host");
  name_track(t, "thread_name", QUEUE, device);
  for (int k = 1; k < lanes; k++) {
    snprintf(name, sizeof name, "%s, overlapping %d", device, k);
    name_track(t, "thread_name", QUEUE + k, name);
  }
}

void profile_trace(struct text *t, const struct profile_head *h, const struct profile_log *l) {
  uint64_t zero = UINT64_MAX;
  int lanes;
  struct profile_slice *s = profile_slices(l, &lanes);
  if (!s) {
    t->failed = true;
    return;
  }
  for (size_t i = 0; i < l->n; i++)
    if (l->event[i].begin_ns < zero) zero = l->event[i].begin_ns;
  json_open(t, '{');
  json_field_string(t, "displayTimeUnit", "ns");
  json_key(t, "traceEvents");
  json_open(t, '[');
  name_tracks(t, h->device.name, lanes);
  for (size_t i = 0; i < l->n; i++) {
    for (enum level level = CALL; level <= STAGE; level++) group_slice(t, s, l->n, i, level, zero);
    kernel_slice(t, s[i].e, s[i].lane, zero);
  }
  for (size_t i = 0; i < l->n_counters; i++) {
    const struct profile_counter *c = &l->counter[i];
    if (c->at_ns < zero) continue;
    counter(t, "KV bytes on the device", c->at_ns, zero, (double)c->kv_bytes);
    counter(t, "bus bytes of the token", c->at_ns, zero, (double)c->bus_bytes);
    if (c->hit_rate >= 0) counter(t, "hit rate", c->at_ns, zero, c->hit_rate);
  }
  json_close(t, ']');
  json_close(t, '}');
  free(s);
}
