/* profile_rows.c - see profile.h: figures of each kernel, and the forms that they are printed in. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"
#include "roof.h"

void profile_log_add(void *log, const struct lrqk_profile_event *e) {
  struct profile_log *l = log;
  if (l->n == l->cap) {
    size_t cap = l->cap ? l->cap * 2 : 4096;
    struct lrqk_profile_event *more = realloc(l->event, cap * sizeof *more);
    if (!more) { l->failed = true; return; }
    l->event = more;
    l->cap = cap;
  }
  struct lrqk_profile_event *kept = &l->event[l->n++];
  *kept = *e;
  if (!e->n_counters) return;
  struct lrqk_counter_value *values = malloc(e->n_counters * sizeof *values);   /* those of the event are valid now only */
  if (values) memcpy(values, e->counters, e->n_counters * sizeof *values);
  else l->failed = true;
  kept->counters = values;
  kept->n_counters = values ? e->n_counters : 0;
}

void profile_log_free(struct profile_log *l) {
  for (size_t i = 0; i < l->n; i++)
    if (l->event[i].n_counters) free((void *)l->event[i].counters);
  free(l->kind);
  free(l->event);
  free(l->counter);
  *l = (struct profile_log){0};
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

static int longest_first(const void *a, const void *b) {
  const struct profile_row *x = a, *y = b;
  if (x->phase != y->phase) return x->phase < y->phase ? -1 : 1;
  return (x->total_us < y->total_us) - (x->total_us > y->total_us);
}

static struct profile_row *row_of(struct profile_rows *rows, const struct lrqk_profile_event *e, enum profile_level level) {
  int32_t layer = level == PER_LAYER ? e->layer : -1;
  const char *stage = level == PER_PHASE ? "" : e->stage, *name = level >= PER_STAGE ? "" : e->name;
  for (size_t i = 0; i < rows->n; i++) {
    struct profile_row *r = &rows->row[i];
    if (r->phase == e->phase && r->layer == layer && !strcmp(r->stage, stage) && !strcmp(r->name, name)) return r;
  }
  rows->row[rows->n] = (struct profile_row){.phase = e->phase, .stage = stage, .name = name, .layer = layer};
  return &rows->row[rows->n++];
}

/* The value that a part of n ascending ones do not go beyond. */
static double quantile(const double *x, size_t n, double part) { return x[(size_t)ceil(part * (double)n) - 1]; }

static void finish_row(struct profile_row *r, const struct lrqk_ceilings *c) {
  times_sort(r->us, r->calls);
  r->p50_us = quantile(r->us, r->calls, 0.5);
  r->p95_us = quantile(r->us, r->calls, 0.95);
  if (!r->units) r->unit_ms[r->units++] = r->total_us / 1e3;
  times_sort(r->unit_ms, r->units);
  r->low_ms = quantile(r->unit_ms, r->units, 0.1);
  r->mid_ms = quantile(r->unit_ms, r->units, 0.5);
  r->high_ms = quantile(r->unit_ms, r->units, 0.9);
  r->gb_per_s = (r->device_bytes + r->bus_bytes) / r->total_us / 1e3;
  r->gflop_per_s = r->flops / r->total_us / 1e3;
  r->ceiling = roof_us(c, r->device_bytes, r->bus_bytes, r->flops, (double)r->calls, &r->bound) / r->total_us;
}

static void add_call(struct profile_row *r, const struct lrqk_profile_event *e) {
  double us = (double)(e->end_ns - e->begin_ns) / 1e3;
  int64_t unit = e->phase == LRQK_PHASE_DECODE ? (int64_t)e->token : e->layer;
  r->us[r->calls++] = us;
  r->total_us += us;
  r->device_bytes += (double)e->device_bytes;
  r->bus_bytes += (double)e->bus_bytes;
  r->flops += e->flops;
  if (unit < 0) return;
  if (!r->units || unit != r->unit) r->unit_ms[r->units++] = 0;
  r->unit = unit;
  r->unit_ms[r->units - 1] += us / 1e3;
}

bool profile_rows(struct profile_rows *out, const struct profile_log *l, const struct lrqk_ceilings *c, enum profile_level level) {
  double phase_us[3] = {0};
  bool ok = (out->row = calloc(l->n + 1, sizeof *out->row)) != NULL;
  out->n = 0;
  for (size_t i = 0; ok && i < l->n; i++)
    if (!l->event[i].host) row_of(out, &l->event[i], level)->calls++;
  for (size_t i = 0; ok && i < out->n; i++) {
    struct profile_row *r = &out->row[i];
    r->us = malloc(r->calls * sizeof *r->us);
    r->unit_ms = malloc(r->calls * sizeof *r->unit_ms);
    if (l->n_kinds) r->counted = calloc(l->n_kinds, sizeof *r->counted);
    ok = r->us && r->unit_ms && (r->counted || !l->n_kinds);
    r->calls = 0;
  }
  for (size_t i = 0; ok && i < l->n; i++) {
    const struct lrqk_profile_event *e = &l->event[i];
    if (e->host) continue;
    struct profile_row *r = row_of(out, e, level);
    add_call(r, e);
    profile_counted_add(r, l, e);
    phase_us[e->phase] += (double)(e->end_ns - e->begin_ns) / 1e3;
  }
  if (!ok) {
    profile_rows_free(out);
    return false;
  }
  for (size_t i = 0; i < out->n; i++) {
    finish_row(&out->row[i], c);
    out->row[i].share = out->row[i].total_us / phase_us[out->row[i].phase];
  }
  qsort(out->row, out->n, sizeof *out->row, longest_first);
  return true;
}

void profile_rows_free(struct profile_rows *rows) {
  for (size_t i = 0; i < rows->n; i++) {
    free(rows->row[i].us);
    free(rows->row[i].unit_ms);
    free(rows->row[i].counted);
  }
  free(rows->row);
  *rows = (struct profile_rows){0};
}

/* ---- forms -------------------------------------------------------------------------------------------------- */

const char *profile_phase(enum lrqk_phase p) { return p == LRQK_PHASE_DECODE ? "decode" : "prefill"; }

static void table_line(struct text *t, const struct profile_row *r, bool by_layer) {
  if (by_layer) text_printf(t, "%5d  ", (int)r->layer);
  text_printf(t, "%-18s %-19s %7zu %10.2f %6.1f %10.1f %10.1f %10.1f %8.2f %9.2f %6.1f  %s\n", r->stage, r->name, r->calls, r->total_us / 1e3,
              100 * r->share, r->total_us / (double)r->calls, r->p50_us, r->p95_us, r->gb_per_s, r->gflop_per_s, 100 * r->ceiling, r->bound);
}

void profile_table(struct text *t, const struct profile_head *h, const struct profile_tables *p) {
  const struct profile_row *rows = p->kernels.row;
  size_t n = p->kernels.n;
  bool by_layer = p->by_layer;
  const struct lrqk_ceilings *c = &h->ceilings;
  text_printf(t, "%s: %s, %s\npolicy %s, mode %s; ceilings: memory %.2f GB/s, bus %.2f GB/s, %.1f GFLOP/s, %.1f us for an empty dispatch (%.1f us of CPU time)\n",
              h->file, h->device.backend, h->device.name, h->policy, h->mode, c->device_gb_per_s, c->bus_gb_per_s, c->gflop_per_s, c->empty_us,
              c->empty_cpu_us);
  for (size_t i = 0; i < n; i++) {
    if (!i || rows[i].phase != rows[i - 1].phase) {
      double sum = 0;
      for (size_t k = i; k < n && rows[k].phase == rows[i].phase; k++) sum += rows[k].total_us;
      if (rows[i].phase == LRQK_PHASE_PREFILL)
        text_printf(t, "\nprefill of %llu tokens: %.2f ms on the device, %.2f ms in all\n", (unsigned long long)h->prefill, sum / 1e3, h->prefill_ms);
      else
        text_printf(t, "\ndecode: %.2f ms on the device per token, over %llu timed tokens of %llu\n", sum / 1e3 / (double)h->stamped,
                    (unsigned long long)h->stamped, (unsigned long long)h->decode);
      if (by_layer) text_printf(t, "layer  ");
      text_printf(t, "%-18s %-19s %7s %10s %6s %10s %10s %10s %8s %9s %6s  %s\n", "stage", "kernel", "calls", "total ms", "share%", "mean us",
                  "p50 us", "p95 us", "GB/s", "GFLOP/s", "%ceil", "bound");
    }
    table_line(t, &rows[i], by_layer);
  }
  if (!isnan(h->stamped_ms) && !isnan(h->plain_ms))
    text_printf(t, "\na token with timestamps takes %.2f ms, one without %.2f ms (medians): %+.1f %%\n", h->stamped_ms, h->plain_ms,
                100 * (h->stamped_ms / h->plain_ms - 1));
  if (!isnan(h->dispatches) && !isnan(h->plain_ms))
    text_printf(t, "a token is %.0f dispatches: empty ones would take %.2f ms of its time (%.1f %%), %.2f of its %.2f ms of CPU time (%.1f %%)\n",
                h->dispatches, h->dispatches * c->empty_us / 1e3, h->dispatches * c->empty_us / h->plain_ms / 10,
                h->dispatches * c->empty_cpu_us / 1e3, h->plain_cpu_ms, h->dispatches * c->empty_cpu_us / h->plain_cpu_ms / 10);
  if (!isnan(h->own_ms))
    text_printf(t, "a timestamp of a decoded token takes about %.1f us%s; all of the run take at most %.1f ms of its %.1f ms: %.1f %%\n", h->stamp_us,
                h->off_us > 0 ? " and is taken off the slice" : "", h->own_ms, h->run_ms, 100 * h->own_ms / h->run_ms);
  text_printf(t, "clocks of device and host agree within %.3f us, as %s\n", (double)h->clock_error_ns / 1e3,
              h->device.calibrated ? "the driver says" : "submits and waits show");
  profile_counted_table(t, p);
  if (p->by_head) profile_heads_table(t, p->heads, h->decode);
  profile_quality_table(t, p->quality, p->by_head ? SIZE_MAX : 20);
  if (p->figures) profile_figures_table(t, p->figures);
}

void profile_csv(struct text *t, const struct profile_tables *p) {
  const struct profile_rows *rows = &p->kernels;
  bool by_layer = p->by_layer;
  text_printf(t, "phase,stage,name,%scalls,total_ms,mean_us,p50_us,p95_us,share,gb_per_s,gflop_per_s,ceiling,bound", by_layer ? "layer," : "");
  profile_counted_csv_head(t, p);
  text_add(t, "\n", 1);
  for (size_t i = 0; i < rows->n; i++) {
    const struct profile_row *r = &rows->row[i];
    text_printf(t, "%s,%s,%s,", profile_phase(r->phase), r->stage, r->name);
    if (by_layer) text_printf(t, "%d,", (int)r->layer);
    text_printf(t, "%zu,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%s", r->calls, r->total_us / 1e3, r->total_us / (double)r->calls, r->p50_us,
                r->p95_us, r->share, r->gb_per_s, r->gflop_per_s, r->ceiling, r->bound);
    profile_counted_csv(t, r, p);
    text_add(t, "\n", 1);
  }
}

static void json_row(struct text *t, const struct profile_row *r, const struct profile_tables *p, bool by_layer) {
  json_open(t, '{');
  if (*r->name) json_field_string(t, "name", r->name);
  if (*r->stage) json_field_string(t, "stage", r->stage);
  json_field_string(t, "phase", profile_phase(r->phase));
  if (by_layer) json_field_int(t, "layer", r->layer);
  json_field_uint(t, "calls", r->calls);
  json_field_num(t, "total_ms", r->total_us / 1e3);
  json_field_num(t, "mean_us", r->total_us / (double)r->calls);
  json_field_num(t, "p50_us", r->p50_us);
  json_field_num(t, "p95_us", r->p95_us);
  json_field_uint(t, "units", r->units);
  json_field_num(t, "unit_p10_ms", r->low_ms);
  json_field_num(t, "unit_p50_ms", r->mid_ms);
  json_field_num(t, "unit_p90_ms", r->high_ms);
  json_field_num(t, "share", r->share);
  json_field_num(t, "gb_per_s", r->gb_per_s);
  json_field_num(t, "gflop_per_s", r->gflop_per_s);
  json_field_num(t, "ceiling", r->ceiling);
  json_field_string(t, "bound", r->bound);
  json_field_num(t, "device_bytes", r->device_bytes);
  json_field_num(t, "bus_bytes", r->bus_bytes);
  json_field_num(t, "flops", r->flops);
  profile_counted_json(t, r, p);
  json_close(t, '}');
}

static void json_rows(struct text *t, const char *key, const struct profile_rows *rows, const struct profile_tables *p, bool by_layer) {
  json_key(t, key);
  json_open(t, '[');
  for (size_t i = 0; i < rows->n; i++) json_row(t, &rows->row[i], p, by_layer);
  json_close(t, ']');
}

void profile_json(struct text *t, const struct profile_head *h, const struct profile_tables *p) {
  json_open(t, '{');
  json_field_uint(t, "schema", PROFILE_SCHEMA);
  json_field_string(t, "model", h->file);
  json_field_string(t, "backend", h->device.backend);
  json_field_string(t, "device", h->device.name);
  json_field_string(t, "driver", h->device.driver);
  json_field_string(t, "policy", h->policy);
  json_field_string(t, "mode", h->mode);
  json_field_uint(t, "prefill", h->prefill);
  json_field_uint(t, "decode", h->decode);
  json_field_uint(t, "stamped", h->stamped);
  json_field_uint(t, "every", h->every);
  json_key(t, "ceilings");
  json_open(t, '{');
  json_field_num(t, "device_gb_per_s", h->ceilings.device_gb_per_s);
  json_field_num(t, "bus_gb_per_s", h->ceilings.bus_gb_per_s);
  json_field_num(t, "gflop_per_s", h->ceilings.gflop_per_s);
  json_field_num(t, "empty_us", h->ceilings.empty_us);
  json_field_num(t, "empty_cpu_us", h->ceilings.empty_cpu_us);
  json_close(t, '}');
  json_key(t, "overhead");
  json_open(t, '{');
  json_field_num(t, "stamped_token_ms", h->stamped_ms);
  json_field_num(t, "plain_token_ms", h->plain_ms);
  json_field_num(t, "plain_token_cpu_ms", h->plain_cpu_ms);
  json_field_num(t, "dispatches", h->dispatches);
  json_field_num(t, "clock_error_us", (double)h->clock_error_ns / 1e3);
  json_field_string(t, "clocks", h->device.calibrated ? "calibrated" : "measured");
  json_field_num(t, "stamp_us", h->stamp_us);
  json_field_num(t, "taken_off_us", h->off_us > 0 ? h->off_us : 0);
  json_field_num(t, "taken_off_prefill_us", h->prefill_off_us);
  json_field_num(t, "stamps_ms", h->own_ms);
  json_field_num(t, "run_ms", h->run_ms);
  json_key(t, "token_ms");
  json_open(t, '[');
  for (size_t i = 0; i < h->n_token_ms; i++) json_num(t, h->token_ms[i]);
  json_close(t, ']');
  json_close(t, '}');
  profile_counted_kinds_json(t, p);
  json_rows(t, "phases", &p->phases, p, false);
  json_rows(t, "stages", &p->stages, p, false);
  json_rows(t, "kernels", &p->kernels, p, p->by_layer);
  profile_heads_json(t, p->heads, p->quality, h->decode, p->by_head);
  profile_quality_json(t, p->quality, p->by_head);
  if (p->figures) profile_figures_json(t, p->figures);
  json_close(t, '}');
}

void profile_folded(struct text *t, const struct profile_tables *p) {
  const struct profile_rows *rows = &p->kernels;
  for (size_t i = 0; i < rows->n; i++) {
    const struct profile_row *r = &rows->row[i];
    text_printf(t, "%s;", profile_phase(r->phase));
    for (const char *s = r->stage; *s; s++) text_add(t, *s == '.' ? ";" : s, 1);   /* attention.select lies within attention */
    text_printf(t, ";%s %.0f\n", r->name, r->total_us);
  }
}
