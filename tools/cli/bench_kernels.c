/* bench_kernels.c - see bench_kernels.h.
 * A kernel is timed where it stands in a prompt or a token, with the buffers that it has there and a barrier before and
 * after it: nothing runs beside it, and caches hold what they hold in use. */
#include "bench_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "grid.h"
#include "roof.h"

/* Sizes that differ by less than this part are one shape: those that follow the length of the text grow token by token. */
static const double SAME_SIZE = 0.05;

static bool wanted(const char *only, const char *name) {
  if (!*only) return true;
  for (const char *s = only; *s; s += s[strcspn(s, ",")] == ',' ? strcspn(s, ",") + 1 : strcspn(s, ","))
    if (strcspn(s, ",") && !strncasecmp(s, name, strcspn(s, ","))) return true;
  return false;
}

static bool same_size(const struct kernel_row *r, const struct lrqk_profile_event *e) {
  for (int i = 0; i < 3; i++)
    if (fabs((double)r->size[i] - e->size[i]) > SAME_SIZE * r->size[i]) return false;
  return r->workgroup == e->workgroup;
}

static struct kernel_row *row_of(struct kernel_log *l, const struct lrqk_profile_event *e) {
  for (size_t i = l->n; i-- > 0 && l->row[i].test == l->test;)
    if (!strcmp(l->row[i].name, e->name) && same_size(&l->row[i], e)) return &l->row[i];
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 64;
    struct kernel_row *more = realloc(l->row, cap * sizeof *more);
    if (!more) return NULL;
    l->row = more;
    l->cap = cap;
  }
  l->row[l->n] = (struct kernel_row){.test = l->test, .name = e->name, .size = {e->size[0], e->size[1], e->size[2]}, .workgroup = e->workgroup};
  return &l->row[l->n++];
}

void kernel_log_add(void *log, const struct lrqk_profile_event *e) {
  struct kernel_log *l = log;
  if (e->host || !wanted(l->only, e->name)) return;
  struct kernel_row *r = row_of(l, e);
  if (r && r->n == r->cap) {
    size_t cap = r->cap ? 2 * r->cap : 32;
    double *more = realloc(r->us, cap * sizeof *more);
    if (more) {
      r->us = more;
      r->cap = cap;
    }
  }
  if (!r || r->n == r->cap) {
    l->failed = true;
    return;
  }
  r->us[r->n++] = (double)(e->end_ns - e->begin_ns) / 1e3;
  r->device_bytes += (double)e->device_bytes;
  r->bus_bytes += (double)e->bus_bytes;
  r->flops += e->flops;
}

void kernel_log_free(struct kernel_log *l) {
  for (size_t i = 0; i < l->n; i++) free(l->row[i].us);
  free(l->row);
  *l = (struct kernel_log){0};
}

/* ---- figures ------------------------------------------------------------------------------------------------ */

/* Of one call: times, and rates of a call that takes the median time. */
struct figures { double min_us, median_us, gb_per_s, bus_gb_per_s, gflop_per_s, peak; const char *bound; };

static double total(const struct kernel_row *r) {
  double sum = 0;
  for (size_t i = 0; i < r->n; i++) sum += r->us[i];
  return sum;
}

/* By test, the most time first. */
static int by_time(const void *a, const void *b) {
  const struct kernel_row *x = a, *y = b;
  if (x->test != y->test) return x->test < y->test ? -1 : 1;
  return (total(x) < total(y)) - (total(x) > total(y));
}

static struct figures figures_of(const struct kernel_row *r, const struct lrqk_ceilings *c) {
  double n = (double)r->n, device = r->device_bytes / n, bus = r->bus_bytes / n, flops = r->flops / n;
  struct figures f = {.min_us = r->us[0], .median_us = (r->us[(r->n - 1) / 2] + r->us[r->n / 2]) / 2};
  f.gb_per_s = device / f.median_us / 1e3;
  f.bus_gb_per_s = bus / f.median_us / 1e3;
  f.gflop_per_s = flops / f.median_us / 1e3;
  f.peak = roof_us(c, device, bus, flops, 1, &f.bound) / f.median_us;
  return f;
}

static void size_text(const struct kernel_row *r, char out[48]) {
  int n = 0;
  out[0] = 0;
  for (int i = 0; i < 3 && r->size[i]; i++) n += snprintf(out + n, (size_t)(48 - n), "%s%u", i ? "x" : "", r->size[i]);
  if (!n) snprintf(out, 48, "-");
}

/* ---- forms -------------------------------------------------------------------------------------------------- */

static void table(struct text *t, bool md, const struct bench_head *head, const struct lrqk_ceilings *c, const struct bench_row *rows,
                  const struct kernel_log *l) {
  static const char *const titles[] = {"policy", "test", "kernel", "size", "calls", "min us", "median us", "GB/s", "bus GB/s", "GFLOP/s",
                                       "% of peak", "bound", "check"};
  struct grid g = {.columns = sizeof titles / sizeof *titles, .words = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 11 | 1u << 12};
  for (size_t i = 0; i < g.columns; i++) grid_add(&g, "%s", titles[i]);
  for (size_t i = 0; i < l->n; i++) {
    const struct kernel_row *r = &l->row[i];
    struct figures f = figures_of(r, c);
    char test[64], size[48];
    bench_test(&rows[r->test], test);
    size_text(r, size);
    grid_add(&g, "%.*s", (int)rows[r->test].policy_len, rows[r->test].policy);
    grid_add(&g, "%s", test);
    grid_add(&g, "%s", r->name);
    grid_add(&g, "%s", size);
    grid_add(&g, "%zu", r->n);
    grid_add(&g, "%.1f", f.min_us);
    grid_add(&g, "%.1f", f.median_us);
    grid_add(&g, "%.2f", f.gb_per_s);
    grid_add(&g, "%.2f", f.bus_gb_per_s);
    grid_add(&g, "%.2f", f.gflop_per_s);
    grid_add(&g, "%.1f", 100 * f.peak);
    grid_add(&g, "%s", f.bound);
    grid_add(&g, "%s", rows[r->test].check);
  }
  bench_title(t, md, head);
  text_printf(t, "peak: memory %.2f GB/s, bus %.2f GB/s, %.1f GFLOP/s, %.1f us for an empty dispatch\n%s", c->device_gb_per_s, c->bus_gb_per_s,
              c->gflop_per_s, c->empty_us, md ? "\n" : "");
  grid_print(t, &g, md);
}

static void csv(struct text *t, const struct bench_head *head, const struct lrqk_ceilings *c, const struct bench_row *rows,
                const struct kernel_log *l) {
  text_printf(t, "model_filename,backend,device,driver,policy,n_prompt,n_gen,n_depth,kernel,rows,columns,length,workgroup,calls,min_us,median_us,"
                 "device_bytes,bus_bytes,flops,gb_per_s,bus_gb_per_s,gflop_per_s,peak,bound,check\n");
  for (size_t i = 0; i < l->n; i++) {
    const struct kernel_row *r = &l->row[i];
    const struct bench_row *test = &rows[r->test];
    struct figures f = figures_of(r, c);
    csv_string(t, head->file, strlen(head->file));
    text_printf(t, ",%s,", head->device.backend);
    csv_string(t, head->device.name, strlen(head->device.name));
    text_add(t, ",", 1);
    csv_string(t, head->device.driver, strlen(head->device.driver));
    text_add(t, ",", 1);
    csv_string(t, test->policy, test->policy_len);
    text_printf(t, ",%llu,%llu,%llu,%s,%u,%u,%u,%u,%zu", (unsigned long long)test->n_prompt, (unsigned long long)test->n_gen,
                (unsigned long long)test->n_depth, r->name, r->size[0], r->size[1], r->size[2], r->workgroup, r->n);
    const double n = (double)r->n, values[] = {f.min_us, f.median_us, r->device_bytes / n, r->bus_bytes / n, r->flops / n, f.gb_per_s,
                                               f.bus_gb_per_s, f.gflop_per_s, f.peak};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) csv_num(t, values[k]);
    text_printf(t, ",%s,", f.bound);
    csv_string(t, test->check, strlen(test->check));
    text_add(t, "\n", 1);
  }
}

static void json_row(struct text *t, const struct kernel_row *r, const struct bench_row *test, const struct lrqk_ceilings *c) {
  struct figures f = figures_of(r, c);
  json_open(t, '{');
  json_key(t, "policy");
  json_bytes(t, test->policy, test->policy_len);
  json_field_uint(t, "n_prompt", test->n_prompt);
  json_field_uint(t, "n_gen", test->n_gen);
  json_field_uint(t, "n_depth", test->n_depth);
  json_field_string(t, "kernel", r->name);
  json_key(t, "size");
  json_open(t, '[');
  for (int i = 0; i < 3 && r->size[i]; i++) json_uint(t, r->size[i]);
  json_close(t, ']');
  json_field_uint(t, "workgroup", r->workgroup);
  json_field_uint(t, "calls", r->n);
  json_field_num(t, "min_us", f.min_us);
  json_field_num(t, "median_us", f.median_us);
  json_field_num(t, "device_bytes", r->device_bytes / (double)r->n);
  json_field_num(t, "bus_bytes", r->bus_bytes / (double)r->n);
  json_field_num(t, "flops", r->flops / (double)r->n);
  json_field_num(t, "gb_per_s", f.gb_per_s);
  json_field_num(t, "bus_gb_per_s", f.bus_gb_per_s);
  json_field_num(t, "gflop_per_s", f.gflop_per_s);
  json_field_num(t, "peak", f.peak);
  json_field_string(t, "bound", f.bound);
  json_field_string(t, "check", test->check);
  json_close(t, '}');
}

static void json(struct text *t, const struct bench_head *head, const struct lrqk_ceilings *c, const struct bench_row *rows,
                 const struct kernel_log *l) {
  json_open(t, '{');
  json_field_string(t, "version", LRQK_VERSION);
  json_field_string(t, "model_filename", head->file);
  json_field_uint(t, "n_layers", head->n_layers);
  json_field_string(t, "backend", head->device.backend);
  json_field_string(t, "device", head->device.name);
  json_field_string(t, "driver", head->device.driver);
  json_key(t, "ceilings");
  json_open(t, '{');
  json_field_num(t, "device_gb_per_s", c->device_gb_per_s);
  json_field_num(t, "bus_gb_per_s", c->bus_gb_per_s);
  json_field_num(t, "gflop_per_s", c->gflop_per_s);
  json_field_num(t, "empty_us", c->empty_us);
  json_close(t, '}');
  json_key(t, "kernels");
  json_open(t, '[');
  for (size_t i = 0; i < l->n; i++) json_row(t, &l->row[i], &rows[l->row[i].test], c);
  json_close(t, ']');
  json_close(t, '}');
  text_add(t, "\n", 1);
}

void kernels_print(struct text *t, const char *format, const struct bench_head *head, const struct lrqk_ceilings *c,
                   const struct bench_row *rows, struct kernel_log *l) {
  for (size_t i = 0; i < l->n; i++) times_sort(l->row[i].us, l->row[i].n);
  if (l->n) qsort(l->row, l->n, sizeof *l->row, by_time);
  if (!strcmp(format, "json")) json(t, head, c, rows, l);
  else if (!strcmp(format, "csv")) csv(t, head, c, rows, l);
  else table(t, !strcmp(format, "md"), head, c, rows, l);
}
