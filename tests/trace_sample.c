/* trace_sample.c - see trace_sample.h. */
#include "trace_sample.h"

#include <stdio.h>
#include <string.h>

#include "profile.h"

#include <check.h>

/* One token of two layers.  Times are nanoseconds after 1000; b and c begin while a runs, c while b does; e begins while d, of
 * the layer before, runs. */
static const struct { const char *name, *stage; int32_t layer; uint64_t begin, end; } kernels[SAMPLE_KERNELS] = {
  {"a", "qkv", 0, 100, 1100}, {"b", "attention", 0, 200, 900}, {"c", "attention", 0, 300, 1200}, {"d", "attention", 0, 1100, 2100},
  {"e", "qkv", 1, 1900, 2500}, {"f", "qkv", 1, 2600, 2900}, {"g", "ffn", 1, 2900, 3100}, {"h", "ffn", 1, 3200, 3203}};

static void write_text(const char *path, struct text *t) {
  FILE *f = fopen(path, "wb");
  ck_assert(f && !t->failed);
  ck_assert_uint_eq(fwrite(t->s, 1, t->len, f), t->len);
  fclose(f);
  text_free(t);
}

void trace_sample(const char *path) {
  struct lrqk_profile_event event[SAMPLE_KERNELS + 1];
  event[0] = (struct lrqk_profile_event){.phase = LRQK_PHASE_DECODE, .host = true, .name = "call", .stage = "host", .layer = -1, .token = 7,
                                         .begin_ns = 1000, .end_ns = 4500};
  for (int i = 0; i < SAMPLE_KERNELS; i++)
    event[i + 1] = (struct lrqk_profile_event){.phase = LRQK_PHASE_DECODE, .name = kernels[i].name, .stage = kernels[i].stage,
                                               .layer = kernels[i].layer, .token = 7, .begin_ns = 1000 + kernels[i].begin,
                                               .end_ns = 1000 + kernels[i].end, .grid = {3, 2, 1}, .workgroup = 64, .submission = 5, .device_bytes = 40,
                                               .bus_bytes = 2, .flops = 10};
  trace_write(path, event, SAMPLE_KERNELS + 1);
}

void trace_write(const char *path, struct lrqk_profile_event *event, size_t n) {
  struct profile_counter counter = {.at_ns = event[0].end_ns - 300, .kv_bytes = 1 << 20, .bus_bytes = 512, .hit_rate = 0.75};
  struct profile_log log = {.event = event, .n = n, .counter = &counter, .n_counters = 1};
  struct profile_head head = {.device = {.name = "a \"device\""}};
  struct text t = {0};
  profile_trace(&t, &head, &log);
  write_text(path, &t);
}

void counted_sample(const char *json, const char *csv, const char *table, const char *trace) {
  static const struct lrqk_counter kind[] = {{"L2 hits", "Cache", "of a hundred reads", "%", "command", "float32"},
                                             {"Waves, all", "Core", "a \"wave\" each", "", "command", "uint64"},
                                             {"Power", "Board", "of it all", "W", "submit", "float64"}};
  static const struct lrqk_counter_value both[] = {{&kind[0], 90}, {&kind[1], 1000}}, hits[] = {{&kind[0], 50.5}}, waves[] = {{&kind[1], 2001}};
  static const struct { const char *name; const struct lrqk_counter_value *values; uint32_t n; } call[] = {
    {"a", both, 2}, {"b", hits, 1}, {"a", waves, 1}};
  struct profile_log log = {0};
  for (int i = 0; i < 3; i++) profile_log_kind(&log, &kind[i]);
  for (int i = 0; i < 3; i++) {
    struct lrqk_counter_value gone[2];   /* values of an event are valid during the call */
    memcpy(gone, call[i].values, call[i].n * sizeof *gone);
    profile_log_add(&log, &(struct lrqk_profile_event){.phase = LRQK_PHASE_DECODE, .name = call[i].name, .stage = "ffn", .layer = 0, .token = 7,
                                                       .begin_ns = 1000u * (unsigned)(i + 1), .end_ns = 1000u * (unsigned)(i + 2), .grid = {1, 1, 1},
                                                       .workgroup = 64, .device_bytes = 64, .counters = gone, .n_counters = call[i].n});
    memset(gone, 0, sizeof gone);
  }
  struct profile_head head = {.device = {.name = "d"}, .file = "m", .policy = "full", .mode = "gpu", .stamped = 1, .ceilings = {1, 1, 1, 1}};
  struct profile_heads heads = {0};
  struct profile_quality quality = {0};
  struct profile_tables tables = {.heads = &heads, .quality = &quality, .kind = log.kind, .n_kinds = log.n_kinds};
  ck_assert(!log.failed && profile_rows(&tables.kernels, &log, &head.ceilings, PER_KERNEL) &&
            profile_rows(&tables.stages, &log, &head.ceilings, PER_STAGE) && profile_rows(&tables.phases, &log, &head.ceilings, PER_PHASE));
  struct text t[4] = {{0}};
  profile_json(&t[0], &head, &tables);
  profile_csv(&t[1], &tables);
  profile_table(&t[2], &head, &tables);
  profile_trace(&t[3], &head, &log);
  const char *path[] = {json, csv, table, trace};
  for (int i = 0; i < 4; i++) write_text(path[i], &t[i]);
  profile_rows_free(&tables.kernels);
  profile_rows_free(&tables.stages);
  profile_rows_free(&tables.phases);
  profile_log_free(&log);
}
