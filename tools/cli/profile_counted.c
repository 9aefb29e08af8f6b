/* profile_counted.c - hardware counters in a profile (--counters): kept with the events, summed by row, and shown as the mean of the calls
 * during which they were read.  What was not read is absent, not zero. */
#include <stdlib.h>
#include <string.h>

#include "profile.h"

void profile_log_kind(void *log, const struct lrqk_counter *c) {
  struct profile_log *l = log;
  const struct lrqk_counter **more = realloc(l->kind, (l->n_kinds + 1) * sizeof *more);
  if (!more) {
    l->failed = true;
    return;
  }
  l->kind = more;
  l->kind[l->n_kinds++] = c;
}

int profile_kind_of(const struct profile_log *l, const struct lrqk_counter *c) {
  for (uint32_t i = 0; i < l->n_kinds; i++)
    if (l->kind[i] == c) return (int)i;
  return -1;
}

void profile_counted_add(struct profile_row *r, const struct profile_log *l, const struct lrqk_profile_event *e) {
  for (uint32_t i = 0; r->counted && i < e->n_counters; i++) {
    int k = profile_kind_of(l, e->counters[i].counter);
    if (k < 0) continue;
    r->counted[k].sum += e->counters[i].value;
    r->counted[k].n++;
  }
}

static double mean(const struct profile_row *r, uint32_t k) { return r->counted[k].sum / (double)r->counted[k].n; }

static bool counts(const struct profile_row *r, uint32_t n_kinds) {
  for (uint32_t k = 0; r->counted && k < n_kinds; k++)
    if (r->counted[k].n) return true;
  return false;
}

void profile_counted_table(struct text *t, const struct profile_tables *p) {
  if (p->n_kinds) text_printf(t, "\nhardware counters, mean of a call\n");
  for (size_t i = 0; i < p->kernels.n; i++) {
    const struct profile_row *r = &p->kernels.row[i];
    if (!counts(r, p->n_kinds)) continue;
    text_printf(t, "%s  %s  %s", profile_phase(r->phase), r->stage, r->name);
    if (p->by_layer) text_printf(t, "  layer %d", (int)r->layer);
    text_printf(t, "\n");
    for (uint32_t k = 0; k < p->n_kinds; k++)
      if (r->counted[k].n)
        text_printf(t, "  %-48s %14.6g %-6s of %zu calls\n", p->kind[k]->name, mean(r, k), p->kind[k]->unit, r->counted[k].n);
  }
}

/* In quotes, which are doubled: names are the driver's. */
void profile_counted_csv_head(struct text *t, const struct profile_tables *p) {
  for (uint32_t k = 0; k < p->n_kinds; k++) {
    text_add(t, ",\"", 2);
    for (const char *s = p->kind[k]->name; *s; s++) text_add(t, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    text_printf(t, *p->kind[k]->unit ? " [%s]\"" : "%s\"", p->kind[k]->unit);
  }
}

void profile_counted_csv(struct text *t, const struct profile_row *r, const struct profile_tables *p) {
  for (uint32_t k = 0; k < p->n_kinds; k++) {
    text_add(t, ",", 1);
    if (r->counted && r->counted[k].n) text_printf(t, "%.9g", mean(r, k));
  }
}

void profile_counted_kinds_json(struct text *t, const struct profile_tables *p) {
  if (!p->n_kinds) return;
  json_key(t, "counters");
  json_open(t, '[');
  for (uint32_t k = 0; k < p->n_kinds; k++) {
    json_open(t, '{');
    json_field_string(t, "name", p->kind[k]->name);
    json_field_string(t, "category", p->kind[k]->category);
    json_field_string(t, "description", p->kind[k]->description);
    json_field_string(t, "unit", p->kind[k]->unit);
    json_field_string(t, "scope", p->kind[k]->scope);
    json_field_string(t, "storage", p->kind[k]->storage);
    json_close(t, '}');
  }
  json_close(t, ']');
}

void profile_counted_json(struct text *t, const struct profile_row *r, const struct profile_tables *p) {
  if (!counts(r, p->n_kinds)) return;
  json_key(t, "counters");
  json_open(t, '{');
  for (uint32_t k = 0; k < p->n_kinds; k++) {
    if (!r->counted[k].n) continue;
    json_key(t, p->kind[k]->name);
    json_open(t, '{');
    json_field_num(t, "mean", mean(r, k));
    json_field_uint(t, "calls", r->counted[k].n);
    json_close(t, '}');
  }
  json_close(t, '}');
}

void profile_counted_event_json(struct text *t, const struct lrqk_profile_event *e) {
  if (!e->n_counters) return;
  json_key(t, "counters");
  json_open(t, '{');
  for (uint32_t i = 0; i < e->n_counters; i++) json_field_num(t, e->counters[i].counter->name, e->counters[i].value);
  json_close(t, '}');
}

void profile_counted_event_list(struct text *t, const struct profile_log *l, const struct lrqk_profile_event *e) {
  json_open(t, '[');
  for (uint32_t i = 0; i < e->n_counters; i++) {
    json_int(t, profile_kind_of(l, e->counters[i].counter));
    json_num(t, e->counters[i].value);
  }
  json_close(t, ']');
}
