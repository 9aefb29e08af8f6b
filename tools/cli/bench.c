/* bench.c - see bench.h. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "grid.h"
#include "work.h"

double bench_mean(const double *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i];
  return sum / (double)n;
}

double bench_deviation(const double *x, size_t n) {
  double mean = bench_mean(x, n), sum = 0;
  for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
  return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

/* ---- lists of numbers --------------------------------------------------------------------------------------- */

/* s[0..len) as a number. */
static bool number(const char *s, size_t len, int64_t *out) {
  char text[32];
  if (!len || len >= sizeof text) return false;
  snprintf(text, sizeof text, "%.*s", (int)len, s);
  return number_parse(text, out);
}

/* FIRST, FIRST-LAST, FIRST-LAST+STEP or FIRST-LAST*FACTOR. */
static bool range(const char *s, size_t len, int64_t *first, int64_t *last, int64_t *step, bool *times) {
  const char *dash = memchr(s, '-', len), *end = s + len, *op = NULL;
  *step = 1;
  *times = false;
  if (!dash) return number(s, len, first) && number(s, len, last);
  for (const char *p = dash + 1; p < end && !op; p++)
    if (*p == '+' || *p == '*') op = p;
  if (op && !number(op + 1, (size_t)(end - op - 1), step)) return false;
  *times = op && *op == '*';
  return *step > *times && number(s, (size_t)(dash - s), first) && number(dash + 1, (size_t)((op ? op : end) - dash - 1), last) &&
         *first <= *last && !(*times && !*first);
}

int bench_list(struct ui *u, const char *label, const char *s, int64_t min, int64_t max, uint64_t out[BENCH_LIST], size_t *n) {
  *n = 0;
  for (;;) {
    size_t len = strcspn(s, ",");
    int64_t first, last, step;
    bool times;
    if (!range(s, len, &first, &last, &step, &times)) {
      int code = ui_fail(u, LRQK_USAGE, "%s: \"%.*s\" is neither a number nor a range", label, (int)len, s);
      ui_hint(u, "a list such as 512,4K, or a range such as 0-4K+1K or 512-8K*2");
      return code;
    }
    if (first < min || last > max)
      return ui_fail(u, LRQK_USAGE, "%s: %.*s is out of range, expected %lld to %lld", label, (int)len, s, (long long)min, (long long)max);
    for (int64_t v = first; v <= last; v = times ? v * step : v + step) {
      if (*n == BENCH_LIST) return ui_fail(u, LRQK_USAGE, "%s: more than %d numbers", label, BENCH_LIST);
      out[(*n)++] = (uint64_t)v;
    }
    if (!s[len]) return 0;
    s += len + 1;
  }
}

/* ---- figures of a row --------------------------------------------------------------------------------------- */

static double tokens(const struct bench_row *r) { return (double)(r->n_prompt ? r->n_prompt : r->n_gen); }
static double ms_per_token(const struct bench_row *r) { return 1e3 * bench_mean(r->wall, r->reps) / tokens(r); }
static double cpu_ms_per_token(const struct bench_row *r) { return 1e3 * bench_mean(r->cpu, r->reps) / tokens(r); }

/* Of those over the bus: what the second queue moved while the first worked. */
static double hidden_per_token(const struct bench_row *r) {
  return r->stats.decoded ? (double)r->stats.hidden_bytes / (double)r->stats.decoded : NAN;
}

/* Until the logits of the prompt's last token are there. */
static double first_token_ms(const struct bench_row *r) { return r->n_prompt ? 1e3 * bench_mean(r->wall, r->reps) : NAN; }

/* Mean and deviation of tokens per second, the mean of what each repetition had. */
static void rates(const struct bench_row *r, double *mean, double *deviation) {
  double x = 0, xx = 0, n = (double)r->reps;
  for (size_t i = 0; i < r->reps; i++) x += tokens(r) / r->wall[i];
  *mean = x / n;
  for (size_t i = 0; i < r->reps; i++) xx += (tokens(r) / r->wall[i] - *mean) * (tokens(r) / r->wall[i] - *mean);
  *deviation = r->reps > 1 ? sqrt(xx / (n - 1)) : 0;
}

void bench_test(const struct bench_row *r, char out[64]) {
  int n = r->n_prompt ? snprintf(out, 64, "pp%llu", (unsigned long long)r->n_prompt) : snprintf(out, 64, "tg%llu", (unsigned long long)r->n_gen);
  if (r->n_depth) snprintf(out + n, (size_t)(64 - n), " @ d%llu", (unsigned long long)r->n_depth);
}

/* ---- table and md ------------------------------------------------------------------------------------------- */

static void add_row(struct grid *g, const struct bench_row *r) {
  char test[64], bytes[24];
  double mean, deviation, bus = bus_per_token(&r->stats), hit = hit_rate(&r->stats);
  bench_test(r, test);
  rates(r, &mean, &deviation);
  grid_add(g, "%.*s", (int)r->policy_len, r->policy);
  grid_add(g, "%s", test);
  grid_add(g, "%.2f ± %.2f", mean, deviation);
  grid_add(g, "%.2f", ms_per_token(r));
  grid_add(g, "%.2f", cpu_ms_per_token(r));
  grid_add(g, "%s", human_bytes(r->stats.device_bytes, bytes));
  grid_add(g, "%s", human_bytes(r->stats.host_bytes, bytes));
  grid_add(g, "%s", isfinite(bus) ? human_bytes((uint64_t)bus, bytes) : "-");
  if (isfinite(hit)) grid_add(g, "%.1f %%", 100 * hit);
  else grid_add(g, "-");
  grid_add(g, "%s", r->check);
}

void bench_title(struct text *t, bool md, const struct bench_head *head) {
  char bytes[24];
  text_printf(t, "%s, %s, %u layers on %s:%s (%s), lrqk " LRQK_VERSION "\n%s", *head->model->name ? head->model->name : head->file,
              human_bytes(head->model->weight_bytes, bytes), head->n_layers, head->device.backend, head->device.name, head->device.driver,
              md ? "\n" : "");
}

static void as_table(struct text *t, bool md, const struct bench_head *head, const struct bench_row *rows, size_t n) {
  static const char *const titles[] = { "policy", "test", "t/s", "ms/token", "CPU ms/token", "device KV", "host KV", "bus/token", "hit rate", "check" };
  struct grid g = { .columns = sizeof titles / sizeof *titles, .words = 1u << 0 | 1u << 1 | 1u << 9 };
  for (size_t i = 0; i < g.columns; i++) grid_add(&g, "%s", titles[i]);
  for (size_t k = 0; k < n; k++) add_row(&g, &rows[k]);
  bench_title(t, md, head);
  grid_print(t, &g, md);
}

/* ---- csv and json ------------------------------------------------------------------------------------------- */

static void as_csv(struct text *t, const struct bench_head *head, const struct bench_row *rows, size_t n) {
  text_printf(t, "model_filename,model_size,model_n_params,n_layers,backend,device,driver,policy,n_prompt,n_gen,n_depth,fill,reps,avg_ns,"
                 "stddev_ns,avg_ts,stddev_ts,ttft_ms,ms_per_token,cpu_ms_per_token,fill_ms,device_kv_bytes,host_kv_bytes,"
                 "bus_bytes_per_token,hidden_bytes_per_token,hit_rate,chosen,rounded,check\n");
  for (size_t k = 0; k < n; k++) {
    const struct bench_row *r = &rows[k];
    double mean, deviation;
    rates(r, &mean, &deviation);
    csv_string(t, head->file, strlen(head->file));
    text_printf(t, ",%llu,%llu,%u,%s,", (unsigned long long)head->model->weight_bytes, (unsigned long long)head->model->parameters,
                head->n_layers, head->device.backend);
    csv_string(t, head->device.name, strlen(head->device.name));
    text_add(t, ",", 1);
    csv_string(t, head->device.driver, strlen(head->device.driver));
    text_add(t, ",", 1);
    csv_string(t, r->policy, r->policy_len);
    text_printf(t, ",%llu,%llu,%llu,%s,%zu", (unsigned long long)r->n_prompt, (unsigned long long)r->n_gen, (unsigned long long)r->n_depth,
                r->fill, r->reps);
    const double values[] = { 1e9 * bench_mean(r->wall, r->reps), 1e9 * bench_deviation(r->wall, r->reps), mean, deviation,
                              first_token_ms(r), ms_per_token(r), cpu_ms_per_token(r), 1e3 * r->fill_s };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) csv_num(t, values[i]);
    text_printf(t, ",%llu,%llu", (unsigned long long)r->stats.device_bytes, (unsigned long long)r->stats.host_bytes);
    csv_num(t, bus_per_token(&r->stats));
    csv_num(t, hidden_per_token(r));
    csv_num(t, hit_rate(&r->stats));
    text_printf(t, ",%llu,%llu", (unsigned long long)r->choice.chosen, (unsigned long long)r->choice.rounded);
    text_add(t, ",", 1);
    csv_string(t, r->check, strlen(r->check));
    text_add(t, "\n", 1);
  }
}

static void json_row(struct text *t, const struct bench_row *r) {
  char test[64];
  double mean, deviation;
  bench_test(r, test);
  rates(r, &mean, &deviation);
  json_open(t, '{');
  json_key(t, "policy");
  json_bytes(t, r->policy, r->policy_len);
  json_field_string(t, "test", test);
  json_field_uint(t, "n_prompt", r->n_prompt);
  json_field_uint(t, "n_gen", r->n_gen);
  json_field_uint(t, "n_depth", r->n_depth);
  json_field_string(t, "fill", r->fill);
  json_field_num(t, "fill_ms", 1e3 * r->fill_s);
  json_field_num(t, "avg_ns", 1e9 * bench_mean(r->wall, r->reps));
  json_field_num(t, "stddev_ns", 1e9 * bench_deviation(r->wall, r->reps));
  json_field_num(t, "avg_ts", mean);
  json_field_num(t, "stddev_ts", deviation);
  json_field_num(t, "ttft_ms", first_token_ms(r));
  json_field_num(t, "ms_per_token", ms_per_token(r));
  json_field_num(t, "cpu_ms_per_token", cpu_ms_per_token(r));
  json_field_uint(t, "device_kv_bytes", r->stats.device_bytes);
  json_field_uint(t, "host_kv_bytes", r->stats.host_bytes);
  json_field_num(t, "bus_bytes_per_token", bus_per_token(&r->stats));
  json_field_num(t, "hidden_bytes_per_token", hidden_per_token(r));
  json_field_num(t, "hit_rate", hit_rate(&r->stats));
  json_key(t, "choice");
  json_open(t, '{');
  json_field_uint(t, "candidates", r->choice.tokens);
  json_field_uint(t, "chosen", r->choice.chosen);
  json_field_uint(t, "wrong", r->choice.wrong);
  json_field_uint(t, "rounded", r->choice.rounded);
  json_close(t, '}');
  json_field_string(t, "check", r->check);
  json_key(t, "samples_ns");
  json_open(t, '[');
  for (size_t i = 0; i < r->reps; i++) json_num(t, 1e9 * r->wall[i]);
  json_close(t, ']');
  json_key(t, "samples_ts");
  json_open(t, '[');
  for (size_t i = 0; i < r->reps; i++) json_num(t, tokens(r) / r->wall[i]);
  json_close(t, ']');
  json_key(t, "samples_cpu_ns");
  json_open(t, '[');
  for (size_t i = 0; i < r->reps; i++) json_num(t, 1e9 * r->cpu[i]);
  json_close(t, ']');
  json_close(t, '}');
}

static void as_json(struct text *t, const struct bench_head *head, const struct bench_row *rows, size_t n) {
  json_open(t, '{');
  json_field_string(t, "version", LRQK_VERSION);
  json_field_string(t, "model_filename", head->file);
  json_field_string(t, "model", head->model->name);
  json_field_uint(t, "model_size", head->model->weight_bytes);
  json_field_uint(t, "model_n_params", head->model->parameters);
  json_field_uint(t, "n_layers", head->n_layers);
  json_field_string(t, "backend", head->device.backend);
  json_field_string(t, "device", head->device.name);
  json_field_string(t, "driver", head->device.driver);
  json_key(t, "results");
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) json_row(t, &rows[i]);
  json_close(t, ']');
  json_close(t, '}');
  text_add(t, "\n", 1);
}

void bench_print(struct text *t, const char *format, const struct bench_head *head, const struct bench_row *rows, size_t n) {
  if (!strcmp(format, "json")) as_json(t, head, rows, n);
  else if (!strcmp(format, "csv")) as_csv(t, head, rows, n);
  else as_table(t, !strcmp(format, "md"), head, rows, n);
}
