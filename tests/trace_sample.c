/* trace_sample.c - see trace_sample.h. */
#include "trace_sample.h"

#include <stdio.h>

#include "profile.h"

#include <check.h>

/* One token of two layers.  Times are nanoseconds after 1000; b and c begin while a runs, c while b does; e begins while d, of
 * the layer before, runs. */
static const struct { const char *name, *stage; int32_t layer; uint64_t begin, end; } kernels[SAMPLE_KERNELS] = {
  {"a", "qkv", 0, 100, 1100}, {"b", "attention", 0, 200, 900}, {"c", "attention", 0, 300, 1200}, {"d", "attention", 0, 1100, 2100},
  {"e", "qkv", 1, 1900, 2500}, {"f", "qkv", 1, 2600, 2900}, {"g", "ffn", 1, 2900, 3100}, {"h", "ffn", 1, 3200, 3203}};

void trace_sample(const char *path) {
  struct lrqk_profile_event event[SAMPLE_KERNELS + 1];
  event[0] = (struct lrqk_profile_event){.phase = LRQK_PHASE_DECODE, .host = true, .name = "call", .stage = "host", .layer = -1, .token = 7,
                                         .begin_ns = 1000, .end_ns = 4500};
  for (int i = 0; i < SAMPLE_KERNELS; i++)
    event[i + 1] = (struct lrqk_profile_event){.phase = LRQK_PHASE_DECODE, .name = kernels[i].name, .stage = kernels[i].stage, .layer = kernels[i].layer,
                                               .token = 7, .begin_ns = 1000 + kernels[i].begin, .end_ns = 1000 + kernels[i].end, .grid = {3, 2, 1},
                                               .workgroup = 64, .submission = 5, .device_bytes = 40, .bus_bytes = 2, .flops = 10};
  struct profile_counter counter = {.at_ns = 4200, .kv_bytes = 1 << 20, .bus_bytes = 512, .hit_rate = 0.75};
  struct profile_log log = {.event = event, .n = SAMPLE_KERNELS + 1, .counter = &counter, .n_counters = 1};
  struct profile_head head = {.device = {.name = "a \"device\""}};
  struct text t = {0};
  profile_trace(&t, &head, &log);
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(t.s, 1, t.len, f), t.len);
  fclose(f);
  text_free(&t);
}
