/* profile_page.c - a profile as one HTML page that needs nothing else (tools/cli/page: template, style and script, which CMake
 * embeds).  The page draws from a JSON object in it: what `--json --per-head` prints, and the slices of every call. */
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static const char template_html[] =
#include "page.html.inc"
  ;
static const char style_css[] =
#include "page.css.inc"
  ;
static const char lib_js[] =
#include "lib.js.inc"
  ;
static const char timeline_js[] =
#include "timeline.js.inc"
  ;
static const char panels_js[] =
#include "panels.js.inc"
  ;
static const char heads_js[] =
#include "heads.js.inc"
  ;
static const char quality_js[] =
#include "quality.js.inc"
  ;
static const char start_js[] =
#include "start.js.inc"
  ;

/* Beyond so many slices in one call neighbours of a stage are shown as one. */
enum { MANY = 20000 };

static void microseconds(struct text *t, uint64_t ns) {
  if (t->comma) text_add(t, ",", 1);
  text_printf(t, "%.2f", (double)ns / 1e3);
  t->comma = true;
}

struct sums { uint64_t begin, end, device, bus, n; double flops; };

/* [name, stage, layer, begin, duration, groups, workgroup, device bytes, bus bytes, flops, lane, counters]; name: how many where they are several */
static void slice(struct text *t, const struct profile_log *l, const struct profile_slice *first, const struct sums *s, uint64_t zero) {
  const struct lrqk_profile_event *e = first->e;
  json_open(t, '[');
  if (s->n > 1) json_uint(t, s->n);
  else json_string(t, e->name);
  json_string(t, e->stage);
  json_int(t, e->layer);
  microseconds(t, s->begin - zero);
  microseconds(t, s->end - s->begin);
  json_int(t, s->n > 1 ? 0 : (int64_t)e->grid[0] * e->grid[1] * e->grid[2]);
  json_uint(t, s->n > 1 ? 0 : e->workgroup);
  json_uint(t, s->device);
  json_uint(t, s->bus);
  json_num(t, s->flops);
  json_int(t, first->lane);
  if (s->n == 1 && e->n_counters) profile_counted_event_list(t, l, e);
  json_close(t, ']');
}

static bool joined(const struct profile_slice *a, const struct profile_slice *b) {
  return a->lane == b->lane && a->e->layer == b->e->layer && !strcmp(a->e->stage, b->e->stage);
}

static void host_slices(struct text *t, const struct profile_slice *s, size_t n, uint64_t zero) {
  json_key(t, "host");
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) {
    const struct lrqk_profile_event *e = s[i].e;
    if (!e->host) continue;
    json_open(t, '[');
    json_string(t, e->name);
    microseconds(t, e->begin_ns - zero);
    microseconds(t, e->end_ns - e->begin_ns);
    json_close(t, ']');
  }
  json_close(t, ']');
}

/* The n events of one call. */
static void call(struct text *t, const struct profile_log *l, const struct profile_slice *s, size_t n) {
  uint64_t zero = UINT64_MAX;
  for (size_t i = 0; i < n; i++)
    if (s[i].e->begin_ns < zero) zero = s[i].e->begin_ns;
  json_open(t, '{');
  json_field_string(t, "phase", profile_phase(s->e->phase));
  json_field_uint(t, "token", s->e->token);
  host_slices(t, s, n, zero);
  json_key(t, "slices");
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) {
    const struct profile_slice *first = &s[i];
    const struct lrqk_profile_event *e = first->e;
    if (e->host) continue;
    struct sums sum = {e->begin_ns, e->end_ns, e->device_bytes, e->bus_bytes, 1, e->flops};
    for (; n > MANY && i + 1 < n && joined(first, &s[i + 1]); sum.n++) {
      e = s[++i].e;
      sum.end = e->end_ns;
      sum.device += e->device_bytes;
      sum.bus += e->bus_bytes;
      sum.flops += e->flops;
    }
    slice(t, l, first, &sum, zero);
  }
  json_close(t, ']');
  json_close(t, '}');
}

static void data(struct text *t, const struct profile_head *h, const struct profile_log *l, const struct profile_tables *p) {
  json_open(t, '{');
  json_key(t, "profile");
  profile_json(t, h, p);
  json_field_num(t, "prefill_ms", h->prefill_ms);
  json_key(t, "counters");   /* [bytes on the device, bytes over the bus] of each timed token */
  json_open(t, '[');
  for (size_t i = 0; i < l->n_counters; i++) {
    json_open(t, '[');
    json_uint(t, l->counter[i].kv_bytes);
    json_uint(t, l->counter[i].bus_bytes);
    json_close(t, ']');
  }
  json_close(t, ']');
  json_key(t, "calls");
  json_open(t, '[');
  int lanes;
  struct profile_slice *s = profile_slices(l, &lanes);
  if (!s) t->failed = true;
  for (size_t i = 0, n; s && i < l->n; i += n) call(t, l, s + i, n = profile_call_events(l, i));
  free(s);
  json_close(t, ']');
  json_close(t, '}');
}

/* The template up to a mark; *at moves behind it. */
static void until(struct text *t, const char **at, const char *mark) {
  const char *end = strstr(*at, mark);
  text_add(t, *at, (size_t)(end - *at));
  *at = end + strlen(mark);
}

void profile_page(struct text *t, const struct profile_head *h, const struct profile_log *l, const struct profile_tables *p) {
  const char *at = template_html;
  struct text json = {0};
  data(&json, h, l, p);
  until(t, &at, "/* STYLE */");
  text_add(t, style_css, sizeof style_css - 1);
  until(t, &at, "/* DATA */");
  for (size_t i = 0; i < json.len; i++) {   /* no end of a script, no comment: "<" only stands in strings */
    if (json.s[i] == '<') text_add(t, "\\u003c", 6);
    else text_add(t, &json.s[i], 1);
  }
  until(t, &at, "/* SCRIPT */");
  text_add(t, lib_js, sizeof lib_js - 1);
  text_add(t, timeline_js, sizeof timeline_js - 1);
  text_add(t, panels_js, sizeof panels_js - 1);
  text_add(t, heads_js, sizeof heads_js - 1);
  text_add(t, quality_js, sizeof quality_js - 1);
  text_add(t, start_js, sizeof start_js - 1);
  text_add(t, at, strlen(at));
  if (json.failed) t->failed = true;
  text_free(&json);
}
