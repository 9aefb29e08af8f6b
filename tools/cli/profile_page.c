/* profile_page.c - a profile as one HTML page that needs nothing else (tools/cli/page: template, style and script, which CMake
 * embeds).  The page draws from a JSON object in it: what `--json --per-head` prints, and the slices of every call. */
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

/* [name, stage, layer, begin, duration, groups, workgroup, device bytes, bus bytes, flops, counters]; name: how many where they are several */
static void slice(struct text *t, const struct profile_log *l, const struct lrqk_profile_event *e, const struct sums *s, uint64_t zero) {
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
  if (s->n == 1 && e->n_counters) profile_counted_event_list(t, l, e);
  json_close(t, ']');
}

static bool joined(const struct lrqk_profile_event *a, const struct lrqk_profile_event *b) {
  return !b->host && a->layer == b->layer && !strcmp(a->stage, b->stage);
}

static void host_slices(struct text *t, const struct lrqk_profile_event *e, size_t n, uint64_t zero) {
  json_key(t, "host");
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) {
    if (!e[i].host) continue;
    json_open(t, '[');
    json_string(t, e[i].name);
    microseconds(t, e[i].begin_ns - zero);
    microseconds(t, e[i].end_ns - e[i].begin_ns);
    json_close(t, ']');
  }
  json_close(t, ']');
}

/* The n events of one call. */
static void call(struct text *t, const struct profile_log *l, const struct lrqk_profile_event *e, size_t n) {
  uint64_t zero = UINT64_MAX;
  for (size_t i = 0; i < n; i++)
    if (e[i].begin_ns < zero) zero = e[i].begin_ns;
  json_open(t, '{');
  json_field_string(t, "phase", profile_phase(e->phase));
  json_field_uint(t, "token", e->token);
  host_slices(t, e, n, zero);
  json_key(t, "slices");
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) {
    if (e[i].host) continue;
    const struct lrqk_profile_event *first = &e[i];
    struct sums s = {first->begin_ns, first->end_ns, first->device_bytes, first->bus_bytes, 1, first->flops};
    for (; n > MANY && i + 1 < n && joined(first, &e[i + 1]); s.n++) {
      i++;
      s.end = e[i].end_ns;
      s.device += e[i].device_bytes;
      s.bus += e[i].bus_bytes;
      s.flops += e[i].flops;
    }
    slice(t, l, first, &s, zero);
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
  for (size_t i = 0, n; i < l->n; i += n) {
    for (n = 1; i + n < l->n && l->event[i + n].phase == l->event[i].phase && l->event[i + n].token == l->event[i].token;) n++;
    call(t, l, &l->event[i], n);
  }
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
