/* cmd_profile.c - `lrqk profile`: where the time of a prefill and of decoded tokens goes, kernel by kernel. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "profile.h"
#include "roof.h"

struct profiler {
  struct ui *u;
  const struct options *o;
  struct work w;
  struct lrqk_cache_options cache;
  struct profile_log log;
  struct profile_head head;
  struct profile_heads heads;
  struct profile_quality quality;
  struct profile_figures figures;
  int32_t *ids;
  size_t n_ids;
  double *ms, *cpu_ms;           /* [decode] of a token, on the host and of all its processors ... */
  enum kind { PLAIN, STAMPED, EXAMINED } *kind;   /* ... which had timestamps, or kept its queries */
  size_t n_ms;
};

static double median(double *x, size_t n) {
  if (!n) return NAN;
  times_sort(x, n);
  return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

static int add_counter(struct profiler *p, const struct lrqk_cache_stats *was, const struct lrqk_cache_stats *now) {
  struct profile_log *l = &p->log;
  if (l->n_counters == l->cap_counters) {
    size_t cap = l->cap_counters ? 2 * l->cap_counters : 64;
    struct profile_counter *more = realloc(l->counter, cap * sizeof *more);
    if (!more) return ui_fail(p->u, LRQK_MEMORY, "out of memory for the counters of %zu tokens", l->n_counters);
    l->counter = more;
    l->cap_counters = cap;
  }
  uint64_t chosen = now->chosen - was->chosen;
  l->counter[l->n_counters++] = (struct profile_counter){
    .at_ns = l->event[l->n - 1].end_ns, .kv_bytes = now->device_bytes, .bus_bytes = now->bus_bytes - was->bus_bytes,
    .hit_rate = chosen ? 1 - (double)(now->misses - was->misses) / (double)chosen : -1};
  return 0;
}

/* Its copies of queries are in no time that is compared; with the defaults no such token is timed kernel by kernel. */
static bool has_quality(const struct profiler *p, size_t i) {
  return p->o->quality && (i + 1) % (size_t)p->o->quality == 0;
}

/* One decoded token; counters are read only around those that are timed, outside of their time. */
static int decode_one(struct profiler *p, size_t i) {
  bool stamped = i % (size_t)p->o->every == 0;
  struct lrqk_cache_stats was, now;
  int code = stamped ? (int)lrqk_session_stats(p->w.session, &was) : 0;
  if (!code && stamped) code = profile_heads_before(&p->heads, p->w.session);
  bool examined = has_quality(p, i);
  if (!code && p->o->quality) code = (int)lrqk_session_keep_queries(p->w.session, examined);
  double t = ui_now(), cpu = ui_cpu_now();
  if (!code) code = (int)lrqk_session_decode(p->w.session, p->ids[(size_t)p->o->prefill + i]);
  double ms = (ui_now() - t) * 1e3, cpu_ms = (ui_cpu_now() - cpu) * 1e3;
  p->head.run_ms += ms;
  if (!code && examined) code = profile_quality_after(&p->quality, p->u, p->w.session, (uint64_t)p->o->prefill + i);
  if (code) return code;
  p->kind[p->n_ms] = examined ? EXAMINED : stamped ? STAMPED : PLAIN;
  p->cpu_ms[p->n_ms] = cpu_ms;
  p->ms[p->n_ms++] = ms;
  if (!stamped) return 0;
  p->head.stamped++;
  code = (int)lrqk_session_stats(p->w.session, &now);
  if (!code) code = profile_heads_after(&p->heads, p->u, p->w.session, (uint64_t)p->o->prefill + i, p->o->by_head || p->o->html);
  return code ? code : add_counter(p, &was, &now);
}

/* A timestamp's cost: how much longer timed tokens take than those beside them, by command.  Where a slice begins with the end of the one
 * before, as Vulkan's timestamps have it, the cost lies in it and is taken off, but never most of it: what others cost is a mean.  A prefill
 * has nothing beside it: off its slices goes the least that a timestamp costs behind a dispatch that does nothing. */
static void take_off(struct profiler *p) {
  uint64_t token = p->head.off_us > 0 ? (uint64_t)(p->head.off_us * 1e3) : 0, prefill = (uint64_t)(p->head.prefill_off_us * 1e3);
  struct lrqk_profile_event *last = NULL;
  uint64_t end = 0;
  for (size_t i = 0; i < p->log.n; i++) {
    struct lrqk_profile_event *e = &p->log.event[i];
    if (e->host) continue;
    uint64_t most = e->begin_ns + (e->end_ns - e->begin_ns) / 8 * 7, ready = end + (e->phase == LRQK_PHASE_DECODE ? token : prefill);
    if (last && last->submission == e->submission && last->token == e->token && ready > e->begin_ns) e->begin_ns = ready < most ? ready : most;
    end = e->end_ns;
    last = e;
  }
}

static bool abut(const struct profile_log *l) {
  size_t all = 0, touching = 0;
  for (size_t i = 1; i < l->n; i++) {
    const struct lrqk_profile_event *a = &l->event[i - 1], *b = &l->event[i];
    if (a->host || b->host || a->submission != b->submission || a->token != b->token) continue;
    all++;
    touching += a->end_ns == b->begin_ns;
  }
  return touching > all / 2;
}

static void own_cost(struct profiler *p) {
  size_t all = 0, decoded = 0, n = 0;
  for (size_t i = 0; i < p->log.n; i++) {
    all += !p->log.event[i].host;
    decoded += !p->log.event[i].host && p->log.event[i].phase == LRQK_PHASE_DECODE;
  }
  double *longer = calloc(p->n_ms + 1, sizeof *longer);
  for (size_t i = 1; longer && i + 1 < p->n_ms; i++)
    if (p->kind[i] == STAMPED && p->kind[i - 1] == PLAIN && p->kind[i + 1] == PLAIN) longer[n++] = p->ms[i] - (p->ms[i - 1] + p->ms[i + 1]) / 2;
  p->head.stamp_us = longer && decoded ? median(longer, n) * 1e3 * (double)p->head.stamped / (double)decoded : NAN;
  p->head.own_ms = p->head.stamp_us * (double)all / 1e3;
  free(longer);
  bool lies_in = abut(&p->log);
  p->head.off_us = !lies_in ? 0 : isnan(p->head.stamp_us) ? p->head.ceilings.stamp_us : p->head.stamp_us;
  p->head.prefill_off_us = lies_in ? p->head.ceilings.stamp_us : 0;
  take_off(p);
}

/* Of the tokens of a kind; the first one builds what the driver leaves until then. */
static double typical(const struct profiler *p, const double *of, enum kind kind) {
  size_t n = 0;
  double *ms = calloc(p->n_ms + 1, sizeof *ms);
  for (size_t i = 1; ms && i < p->n_ms; i++)
    if (p->kind[i] == kind) ms[n++] = of[i];
  double m = ms ? median(ms, n) : NAN;
  free(ms);
  return m;
}

/* Of a decoded token, without copies and fills. */
static double dispatches(const struct profile_log *l, uint64_t stamped) {
  size_t n = 0;
  for (size_t i = 0; i < l->n; i++) n += l->event[i].phase == LRQK_PHASE_DECODE && l->event[i].workgroup;
  return n ? (double)n / (double)stamped : NAN;
}

static int measure(struct profiler *p) {
  struct lrqk_profile_options opt = {.fn = profile_log_add, .ud = &p->log, .every = (uint32_t)p->o->every, .serial = p->o->serial, .whole = p->o->whole};
  int code = (int)lrqk_session_profile(p->w.session, &opt);
  double t = ui_now();
  if (!code) code = (int)lrqk_session_prefill(p->w.session, p->ids, (size_t)p->o->prefill, 0, NULL, NULL);
  p->head.run_ms = p->head.prefill_ms = (ui_now() - t) * 1e3;
  ui_clear(p->u);
  for (size_t i = 0; i < (size_t)p->o->decode && !code; i++) code = ui_interrupted() ? LRQK_INTERRUPTED : decode_one(p, i);
  if (!code) code = profile_heads_end(&p->heads, p->w.session);
  if (!code && p->log.failed) code = ui_fail(p->u, LRQK_MEMORY, "out of memory for %zu events", p->log.n);
  p->head.token_ms = p->ms;
  p->head.n_token_ms = p->n_ms;
  p->head.plain_ms = typical(p, p->ms, PLAIN);
  p->head.plain_cpu_ms = typical(p, p->cpu_ms, PLAIN);
  p->head.stamped_ms = typical(p, p->ms, STAMPED);
  p->head.dispatches = dispatches(&p->log, p->head.stamped);
  for (size_t i = 0; i < p->log.n; i++)
    if (p->log.event[i].clock_error_ns > p->head.clock_error_ns) p->head.clock_error_ns = p->log.event[i].clock_error_ns;
  own_cost(p);
  lrqk_engine_kernels(p->w.engine, profile_figure_add, &p->figures);
  if (!code && p->figures.failed) code = ui_fail(p->u, LRQK_MEMORY, "out of memory for the statistics of the kernels");
  return code;
}

/* Writes t to the file that the flag names, and frees it. */
static int write_file(struct ui *u, const char *flag, const char *path, struct text *t) {
  FILE *f = t->failed ? NULL : fopen(path, "wb");
  bool ok = f && fwrite(t->s, 1, t->len, f) == t->len;
  if (f && fclose(f)) ok = false;
  int code = ok ? 0 : t->failed ? ui_fail(u, LRQK_MEMORY, "%s: out of memory", flag) : ui_fail(u, LRQK_RUNTIME, "%s: cannot write %s", flag, path);
  if (!code) ui_info(u, "wrote %zu bytes to %s", t->len, path);
  text_free(t);
  return code;
}

static void free_tables(struct profile_tables *t) {
  profile_rows_free(&t->kernels);
  profile_rows_free(&t->stages);
  profile_rows_free(&t->phases);
}

static int make_tables(struct profiler *p, struct profile_tables *t, bool by_layer, bool by_head) {
  const struct lrqk_ceilings *c = &p->head.ceilings;
  *t = (struct profile_tables){.heads = &p->heads, .quality = &p->quality, .by_layer = by_layer, .by_head = by_head, .kind = p->log.kind, .n_kinds = p->log.n_kinds,
                               .figures = p->o->json || p->u->verbose ? &p->figures : NULL};
  if (profile_rows(&t->kernels, &p->log, c, by_layer ? PER_LAYER : PER_KERNEL) && profile_rows(&t->stages, &p->log, c, PER_STAGE) &&
      profile_rows(&t->phases, &p->log, c, PER_PHASE)) return 0;
  free_tables(t);
  return ui_fail(p->u, LRQK_MEMORY, "out of memory for the figures of %zu events", p->log.n);
}

static int write_trace(struct profiler *p) {
  struct text t = {0};
  profile_trace(&t, &p->head, &p->log);
  return write_file(p->u, "--trace", p->o->trace, &t);
}

static int write_page(struct profiler *p) {
  struct profile_tables tables;
  struct text t = {0};
  int code = make_tables(p, &tables, false, true);
  if (code) return code;
  profile_page(&t, &p->head, &p->log, &tables);
  free_tables(&tables);
  return write_file(p->u, "--html", p->o->html, &t);
}

static int report(struct profiler *p) {
  const struct options *o = p->o;
  struct profile_tables tables;
  struct text t = {0};
  int code = o->trace ? write_trace(p) : 0;
  if (!code && o->html) code = write_page(p);
  if (!code) code = make_tables(p, &tables, o->by_layer, o->by_head);
  if (code) return code;
  if (o->json) profile_json(&t, &p->head, &tables);
  else if (o->csv) profile_csv(&t, &tables);
  else if (o->folded) profile_folded(&t, &tables);
  else profile_table(&t, &p->head, &tables);
  free_tables(&tables);
  return o->json ? out_json(p->u, &t) : out_text(p->u, &t);
}

static int tokens(struct profiler *p) {
  struct text in = {0};
  uint64_t need = (uint64_t)p->o->prefill + (uint64_t)p->o->decode;
  int code = p->o->file ? input_file(p->u, p->o->file, &in) : ui_fail(p->u, LRQK_USAGE, "no text: give one with -f FILE");
  if (!code) code = (int)lrqk_tokenize(p->w.model, in.s ? in.s : "", in.len, 0, &p->ids, &p->n_ids);
  text_free(&in);
  if (!code && p->n_ids < need)
    code = ui_fail(p->u, LRQK_USAGE, "-f: the text has %zu tokens, --prefill and --decode need %llu", p->n_ids, (unsigned long long)need);
  return code;
}

/* Counters of command buffers say nothing of a kernel. */
static void for_submits_only(const struct profiler *p) {
  for (uint32_t k = 0; k < p->log.n_kinds; k++)
    if (!strcmp(p->log.kind[k]->scope, "submit")) ui_info(p->u, "counter \"%s\" counts whole submits only: it is read with --whole", p->log.kind[k]->name);
}

static int prepare(struct profiler *p) {
  const struct options *o = p->o;
  if (o->json + o->csv + o->folded > 1) return ui_fail(p->u, LRQK_USAGE, "--json, --csv and --folded: one form at a time");
  bool labels = o->capture && !strcmp(o->capture, "labels"), rgp = o->capture && !strcmp(o->capture, "rgp");
  if (o->capture && !labels && !rgp) return ui_fail(p->u, LRQK_USAGE, "--capture: \"%s\" is neither labels nor rgp", o->capture);
  int code = work_cache(p->u, o, &p->cache);
  if (!code) code = work_model(p->u, &p->w, o->model, WHOLE);
  if (!code) code = tokens(p);
  if (code) return code;
  struct lrqk_engine_options opt = {.capture = rgp ? LRQK_CAPTURE_RGP : labels ? LRQK_CAPTURE_LABELS : LRQK_CAPTURE_AUTO, .device = o->device,
                                    .counters = o->counters, .form = o->form, .progress = ui_progress, .progress_ud = p->u, .timing = true, .vram = (uint64_t)o->vram};
  code = (int)lrqk_engine_open(&p->w.engine, p->w.model, &opt);
  ui_clear(p->u);
  if (!code) code = (int)lrqk_engine_ceilings(p->w.engine, &p->head.ceilings);
  if (!code) code = work_session(p->u, &p->w, &p->cache, (uint32_t)(o->prefill + o->decode));
  if (!code) code = profile_heads_open(&p->heads, p->u, &p->w.info, (uint64_t)(o->prefill + o->decode), &p->cache);
  if (!code) code = profile_quality_open(&p->quality, p->u, &p->w.info);
  if (code) return code;
  lrqk_engine_counters(p->w.engine, profile_log_kind, &p->log);
  if (!o->whole) for_submits_only(p);
  p->ms = calloc((size_t)o->decode, sizeof *p->ms);
  p->cpu_ms = calloc((size_t)o->decode, sizeof *p->cpu_ms);
  p->kind = calloc((size_t)o->decode, sizeof *p->kind);
  if (!p->ms || !p->cpu_ms || !p->kind) return ui_fail(p->u, LRQK_MEMORY, "out of memory for the times of %lld tokens", (long long)o->decode);
  p->head.file = o->model;
  p->head.model = &p->w.info;
  p->head.policy = policy_name(p->cache.policy);
  p->head.mode = o->whole ? "submit" : o->serial ? "gpu-serial" : "gpu";
  p->head.prefill = (uint64_t)o->prefill;
  p->head.decode = (uint64_t)o->decode;
  p->head.every = (uint64_t)o->every;
  lrqk_engine_device(p->w.engine, &p->head.device);
  return 0;
}

int cmd_profile(struct ui *u, const struct options *o) {
  struct profiler p = {.u = u, .o = o};
  int code = prepare(&p);
  if (!code) code = measure(&p);
  if (!code) code = report(&p);
  profile_log_free(&p.log);
  profile_heads_free(&p.heads);
  profile_quality_free(&p.quality);
  free(p.figures.list);
  lrqk_free(p.ids);
  free(p.ms);
  free(p.cpu_ms);
  free(p.kind);
  work_close(&p.w);
  return code;
}
