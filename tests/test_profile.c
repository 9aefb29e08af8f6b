/* test_profile.c - profiles of tiny sessions on every back end: each command of a timed call has one slice, slices nest and
 * follow each other, figures stay below what the buffers hold, and the trace keeps the rules of its format. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lrqk/profile.h"
#include "session_rig.h"
#include "trace_sample.h"

#include "json_check.h"   /* last: Check has a macro named fail */
#include "suite.h"

enum { VOCAB = 288, CTX = 512, LONG = 8192, PROMPT = 200, STEPS = 9, EVERY = 4, TRIES = 200, ROW = 2 * 32 * 2,
       KEPT = (6 + 2 * 2) * 32 * 4 / 2 };   /* bytes of one K, V row; a KV head's part of what waits for the Gram sums */

static char path[64];
static const char *devices[3];   /* what tests open: the drivers, then host */
static struct rig rig;
static lrqk_session *session;
static struct { struct lrqk_profile_event event[20000]; size_t n; } events;

static void keep(void *ud, const struct lrqk_profile_event *e) {
  (void)ud;
  ck_assert_uint_lt(events.n, sizeof events.event / sizeof events.event[0]);
  events.event[events.n++] = *e;
}

static const struct tiny_model shape = { .layers = 3, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = LONG,
                                         .seed = 7 };

static void open_policy(const char *device, bool timing, enum lrqk_policy policy, uint32_t n_ctx) {
  events.n = 0;
  rig_quiet = !timing;   /* what needs it fails */
  rig = rig_open(&shape, &(struct lrqk_engine_options){ .device = device, .timing = timing });
  struct lrqk_session_options so = { .cache = lrqk_cache_defaults(), .n_ctx = n_ctx };
  so.cache.policy = policy;
  so.cache.active = 64;
  so.cache.lite = 16;
  ck_assert_int_eq(lrqk_session_open(&session, rig.engine, &so), LRQK_OK);
}

static void open_session(const char *device, bool timing) { open_policy(device, timing, LRQK_POLICY_LRQK, CTX); }

static void close_session(void) {
  lrqk_session_close(session);
  rig_close(&rig);
}

static void prefill(void) { rig_prompt(session, PROMPT); }
static void decode(uint32_t n) { rig_decode(session, n, NULL); }

static void profile_whole(void) {
  const struct lrqk_profile_options o = { .fn = keep, .every = EVERY, .whole = true };
  ck_assert_int_eq(lrqk_session_profile(session, &o), LRQK_OK);
}

static void profile(bool serial) {
  const struct lrqk_profile_options o = { .fn = keep, .every = EVERY, .serial = serial };
  ck_assert_int_eq(lrqk_session_profile(session, &o), LRQK_OK);
}

static size_t count(uint64_t token, const char *name) {
  size_t n = 0;
  for (size_t i = 0; i < events.n; i++)
    n += events.event[i].token == token && !events.event[i].host && (!name || !strcmp(events.event[i].name, name));
  return n;
}

/* What a call says of itself: device slices in order unless a second queue runs some beside the others, all within the call on the
 * host's clock, give or take the clocks' error. */
static void check_call(uint64_t token) {
  const struct lrqk_profile_event *call = NULL, *last = NULL;
  bool in_order = rig.engine->dev->caps.info.queues < 2 || !rig.engine->dev->ops->times_aside;
  for (size_t i = 0; i < events.n; i++)
    if (events.event[i].token == token && events.event[i].host && !strcmp(events.event[i].name, "call")) call = &events.event[i];
  ck_assert_ptr_nonnull(call);
  double sum = 0;
  for (size_t i = 0; i < events.n; i++) {
    const struct lrqk_profile_event *e = &events.event[i];
    if (e->token != token) continue;
    ck_assert_uint_le(e->begin_ns, e->end_ns);
    ck_assert_uint_ge(e->begin_ns + e->clock_error_ns + 1, call->begin_ns);
    ck_assert_uint_le(e->end_ns, call->end_ns + e->clock_error_ns + 1);
    if (e->host) continue;
    if (last && in_order) ck_assert_uint_le(last->end_ns, e->begin_ns);
    last = e;
    sum += (double)(e->end_ns - e->begin_ns);
    ck_assert_str_ne(e->stage, "");
  }
  ck_assert(sum > 0 && (!in_order || sum <= (double)(call->end_ns - call->begin_ns)));
}

START_TEST(every_command_has_one_slice) {
  open_session(devices[_i], true);
  prefill();
  ck_assert_uint_eq(events.n, 0);
  profile(false);
  decode(STEPS);
  for (int i = 0; i < STEPS; i++) {
    uint64_t token = PROMPT + (uint64_t)i;
    if (i % EVERY) {
      ck_assert_uint_eq(count(token, NULL), 0);
      continue;
    }
    check_call(token);
    ck_assert_uint_eq(count(token, "MATMUL_F32"), 3 * 4 + 1);      /* four linear layers in each of three, and the head */
    ck_assert_uint_eq(count(token, "RMS_NORM"), 1);
    ck_assert_uint_eq(count(token, "RMS_NORM_ADD"), 3 * 2);
    ck_assert_uint_eq(count(token, "ROPE"), 1);                    /* layer 0 is dense */
    ck_assert_uint_eq(count(token, "TOKEN_MAP_I8"), 2);
    ck_assert_uint_eq(count(token, "RESIDENCY"), 2);
    ck_assert_uint_eq(count(token, "GATHER"), 2);
    ck_assert_uint_eq(count(token, NULL), count(PROMPT, NULL));    /* the same program */
  }
  size_t n = events.n;
  ck_assert_int_eq(lrqk_session_profile(session, NULL), LRQK_OK);
  decode(1);
  ck_assert_uint_eq(events.n, n);
  close_session();
}
END_TEST

START_TEST(prefill_and_serial) {
  open_session(devices[_i], true);
  profile(true);
  prefill();
  check_call(0);
  ck_assert_uint_gt(count(0, "ATTN_QK"), 0);
  for (size_t i = 0; i < events.n; i++) ck_assert_int_eq(events.event[i].phase, LRQK_PHASE_PREFILL);
  close_session();
}
END_TEST

/* One slice a submit; then kernels again, and both tell of the same tokens. */
START_TEST(whole_submits) {
  open_session(devices[_i], true);
  profile_whole();
  prefill();
  decode(1);
  size_t submits = count(0, "submit"), commands;
  check_call(0);
  check_call(PROMPT);
  ck_assert_uint_ge(submits, 3);   /* a layer each, at least */
  ck_assert_uint_eq(submits, count(0, NULL));
  ck_assert_uint_eq(count(PROMPT, "submit"), 1);
  ck_assert_uint_eq(count(PROMPT, NULL), 1);
  for (size_t i = 0; i < events.n; i++) ck_assert(events.event[i].host || (events.event[i].layer < 0 && !events.event[i].device_bytes));
  profile(false);
  decode(1);
  commands = count(PROMPT + 1, NULL);
  ck_assert_uint_gt(commands, 10);
  ck_assert_uint_eq(count(PROMPT + 1, "submit"), 0);
  profile_whole();
  decode(1);
  ck_assert_uint_eq(count(PROMPT + 2, "submit"), 1);
  close_session();
}
END_TEST

/* Bytes that the kernels of a token move over the bus are those that the session counts: the new rows, and the rows that were
 * missing. */
START_TEST(bus_bytes_are_the_sessions) {
  open_session(devices[_i], true);
  prefill();
  profile(false);
  for (int i = 0; i <= EVERY; i++) {
    struct lrqk_cache_stats was, now;
    ck_assert_int_eq(lrqk_session_stats(session, &was), LRQK_OK);
    ck_assert_int_eq(lrqk_session_decode(session, 5 * i % VOCAB), LRQK_OK);
    ck_assert_int_eq(lrqk_session_stats(session, &now), LRQK_OK);
    if (i % EVERY) continue;
    uint64_t sum = 0;
    for (size_t k = 0; k < events.n; k++)
      if (events.event[k].token == PROMPT + (uint64_t)i && strcmp(events.event[k].name, "copy")) sum += events.event[k].bus_bytes;
    ck_assert_uint_eq(sum, now.bus_bytes - was.bus_bytes);
    ck_assert_uint_ge(sum, (now.misses - was.misses) * ROW);
  }
  close_session();
}
END_TEST

/* Counters of heads add up to those of the session, and the tokens that a head says it has chosen are as many as it counts, in order,
 * sinks first and none of them among the newest. */
START_TEST(heads_add_up) {
  enum { HEADS = 3 * 2 };
  open_session(devices[_i], true);
  prefill();
  struct lrqk_head_stats was[HEADS], now[HEADS];
  ck_assert_int_eq(lrqk_session_heads(session, was, HEADS), LRQK_OK);
  for (int i = 0; i < STEPS; i++) {
    struct lrqk_cache_stats all;
    struct lrqk_head_stats sum = { 0 };
    decode(1);
    ck_assert_int_eq(lrqk_session_heads(session, now, HEADS), LRQK_OK);
    ck_assert_int_eq(lrqk_session_stats(session, &all), LRQK_OK);
    for (uint32_t h = 0; h < HEADS; h++) {
      uint32_t token[80];
      size_t n;
      sum.chosen += now[h].chosen, sum.misses += now[h].misses, sum.bus_bytes += now[h].bus_bytes;
      ck_assert_int_eq(lrqk_session_chosen(session, h / 2, h % 2, token, 80, &n), LRQK_OK);
      ck_assert_uint_eq(n, h < 2 ? 0 : 64);   /* layer 0 is dense */
      ck_assert_uint_eq(now[h].chosen - was[h].chosen, n);
      for (size_t k = 0; k < n; k++) ck_assert(k < 4 ? token[k] == k : token[k] > token[k - 1] && token[k] < lrqk_session_length(session) - 16);
    }
    ck_assert(sum.chosen == all.chosen && sum.misses == all.misses && sum.bus_bytes == all.bus_bytes);
    memcpy(was, now, sizeof was);
  }
  ck_assert_int_eq(lrqk_session_heads(session, now, HEADS - 1), LRQK_USAGE);
  close_session();
}
END_TEST

START_TEST(figures_of_kernels) {
  open_session(devices[_i], true);
  prefill();
  profile(false);
  decode(1);
  double flops = 0, bytes = 0;
  for (size_t i = 0; i < events.n; i++) {
    const struct lrqk_profile_event *e = &events.event[i];
    ck_assert(isfinite(e->flops) && e->flops >= 0);
    if (e->host || strcmp(e->name, "MATMUL_F32")) continue;
    flops += e->flops;
    bytes += (double)e->device_bytes;
  }
  double weights = 3 * (96.0 * (6 + 4) * 32 + 6 * 32 * 96 + 3 * 96 * 128) + 96.0 * VOCAB;
  ck_assert_double_eq(flops, 2 * weights);
  ck_assert(bytes > 4 * weights && bytes < 4.2 * weights);
  struct lrqk_ceilings c;
  ck_assert_int_eq(lrqk_engine_ceilings(rig.engine, &c), LRQK_OK);
  ck_assert(c.device_gb_per_s > 0.01 && c.device_gb_per_s < 1e5 && c.bus_gb_per_s > 0.01 && c.gflop_per_s > 0.01 && c.gflop_per_s < 1e7);
  ck_assert(c.empty_us >= 0 && c.empty_us < 1e5 && c.empty_cpu_us > 0 && c.empty_cpu_us < 1e5 && c.stamp_us >= 0 && c.stamp_us < 1e4);
  close_session();
}
END_TEST

START_TEST(needs_timing) {
  open_session("host", false);
  const struct lrqk_profile_options o = { .fn = keep };
  struct lrqk_ceilings c;
  ck_assert_int_eq(lrqk_session_profile(session, &o), LRQK_USAGE);
  ck_assert_int_eq(lrqk_engine_ceilings(rig.engine, &c), LRQK_USAGE);
  close_session();
}
END_TEST

/* ---- what the program writes */

/* Profiles the tiny model on a text of one byte again and again: two of the five tokens are timed. */
static void run_program(const char *device, char json[80], char trace[80]) {
  char command[600], text[80];
  snprintf(text, sizeof text, "%s.txt", path);
  snprintf(json, 80, "%s.json", path);
  snprintf(trace, 80, "%s.trace", path);
  FILE *f = fopen(text, "wb");
  ck_assert_ptr_nonnull(f);
  for (int i = 0; i < 4 * PROMPT; i++) fputc('a' + i * i % 23, f);
  fclose(f);
  snprintf(command, sizeof command,
           "%s profile -q -m %s -f %s --device %s --prefill %d --decode 5 --every 4 --per-head --quality 2 --active 64 --lite 16 --json"
           " --trace %s > %s",
           TEST_PROGRAM, path, text, device, PROMPT, trace, json);
  ck_assert_int_eq(system(command), 0);
  unlink(text);
}

struct slice { double begin, end; const char *name; };

static int outer_first(const void *a, const void *b) {
  const struct slice *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end < y->end) - (x->end > y->end);
}

/* Slices of a track follow each other or lie within one another. */
static void check_nesting(const json_t *list, int track) {
  struct slice *s = malloc((json_array_size(list) + 1) * sizeof *s), *open[64];
  size_t n = 0, i, depth = 0;
  const json_t *e;
  json_array_foreach(list, i, e) {
    if (strcmp(string(e, "ph"), "X") || (int)number(e, "tid") != track) continue;
    double begin = round(number(e, "ts") * 1e3);   /* whole nanoseconds */
    s[n++] = (struct slice){ begin, begin + round(number(e, "dur") * 1e3), string(e, "name") };
  }
  ck_assert_uint_gt(n, 0);
  qsort(s, n, sizeof *s, outer_first);
  for (i = 0; i < n; i++) {
    while (depth && open[depth - 1]->end <= s[i].begin) depth--;
    if (depth) ck_assert_msg(s[i].end <= open[depth - 1]->end, "slice %s goes on beyond %s", s[i].name, open[depth - 1]->name);
    ck_assert_uint_lt(depth, 64);
    open[depth++] = &s[i];
  }
  free(s);
}

/* A head's figures are those of the samples, as many as there are tokens here. */
static void check_quality(const json_t *root) {
  static const char *const keys[] = { "mass", "best_mass", "recall" };
  const json_t *quality = json_object_get(root, "quality"), *samples = json_object_get(quality, "samples"), *heads = json_object_get(root, "heads");
  ck_assert_double_eq(number(quality, "tokens"), 2);
  ck_assert(number(quality, "token_ms") > 0);
  ck_assert_uint_eq(json_array_size(samples), 2);
  for (size_t i = 0; i < 6; i++)
    for (size_t k = 0; k < 3; k++) {
      double sum = 0, least = 1;
      for (size_t s = 0; s < 2; s++) {
        const json_t *sample = json_array_get(samples, s), *v = json_array_get(json_object_get(sample, keys[k]), i);
        ck_assert_double_eq(number(sample, "token"), PROMPT + 1 + 2.0 * (double)s);
        ck_assert(i < 2 ? json_is_null(v) : json_is_number(v));
        sum += json_number_value(v);
        least = fmin(least, json_number_value(v));
      }
      if (i < 2) continue;
      const json_t *head = json_array_get(heads, i);
      ck_assert_double_eq_tol(number(head, keys[k]), sum / 2, 1e-5);
      if (k == 0) ck_assert_double_eq_tol(number(head, "least_mass"), least, 1e-5);
    }
}

/* Two samples of every head; what a head chose lies in some part of the text. */
static void check_heads(const json_t *root) {
  const json_t *heads = json_object_get(root, "heads"), *samples = json_object_get(root, "samples"), *h, *s;
  size_t i, k, part;
  ck_assert_uint_eq(json_array_size(heads), 3 * 2);
  ck_assert_uint_eq(json_array_size(samples), 2);
  check_quality(root);
  json_array_foreach(heads, i, h) {
    ck_assert(number(h, "layer") == (double)(i / 2) && number(h, "head") == (double)(i % 2));
    ck_assert_double_eq(number(h, "chosen"), i < 2 ? 0 : 5 * 64);
    if (i < 2) ck_assert(json_is_null(json_object_get(h, "hit_rate")));
    else ck_assert_double_eq_tol(number(h, "hit_rate"), 1 - number(h, "misses") / (5 * 64), 1e-6);
    if (i < 2) ck_assert(json_is_null(json_object_get(h, "mass")));
    else ck_assert(number(h, "mass") > 0 && number(h, "mass") <= number(h, "best_mass") + 1e-6 &&
                   number(h, "least_mass") <= number(h, "mass") + 1e-6 && number(h, "best_mass") < 1.00001 && number(h, "recall") <= 1);
    ck_assert_double_eq_tol(number(h, "bus_bytes_per_token"), i < 2 ? 0 : number(h, "misses") / 5 * ROW + ROW + KEPT, 1e-6);
  }
  json_array_foreach(samples, k, s) {
    ck_assert_double_eq(number(s, "token"), PROMPT + 4.0 * (double)k);
    json_array_foreach(json_object_get(s, "active"), i, h) {
      double sum = 0;
      for (part = 0; part < json_array_size(h); part++) sum += json_number_value(json_array_get(h, part));
      ck_assert_double_eq(sum, json_number_value(json_array_get(json_object_get(s, "chosen"), i)));
    }
    ck_assert_uint_eq(i, 6);
  }
}

/* Slices of a category, and of a name where one is given; *us: their durations. */
static size_t slices(const json_t *list, const char *cat, const char *name, double *us) {
  size_t n = 0, i;
  const json_t *e;
  json_array_foreach(list, i, e) {
    if (strcmp(string(e, "ph"), "X") || strcmp(string(e, "cat"), cat) || (name && strcmp(string(e, "name"), name))) continue;
    if (us) *us += number(e, "dur");
    n++;
  }
  return n;
}

/* The rules of the format and what slices of kernels say; returns how many there are. */
static size_t check_trace(const json_t *list, int tracks, size_t samples) {
  size_t kernels = 0, counters = 0, i;
  const json_t *e;
  json_array_foreach(list, i, e) {
    const char *ph = string(e, "ph");
    string(e, "name"), number(e, "pid"), number(e, "tid");
    ck_assert(!strcmp(ph, "X") || !strcmp(ph, "M") || !strcmp(ph, "C"));
    if (!strcmp(ph, "M")) continue;
    ck_assert(number(e, "ts") >= 0);
    counters += !strcmp(ph, "C");
    if (!strcmp(ph, "C")) continue;
    ck_assert(number(e, "dur") >= 0);
    if (strcmp(string(e, "cat"), "kernel")) continue;
    const json_t *args = json_object_get(e, "args");
    kernels++;
    number(args, "bytes"), number(args, "flops"), number(args, "layer"), number(args, "submission_id");
    string(args, "grid_size"), string(args, "workgroup_size");
  }
  ck_assert_uint_eq(counters, 3 * samples);
  for (int track = 1; track <= tracks; track++) check_nesting(list, track);
  return kernels;
}

/* Microseconds of kernels of one name, in all stages and both phases, are those of the table. */
static void check_times(const json_t *kernels, const json_t *trace) {
  size_t i, j;
  const json_t *k, *other;
  json_array_foreach(kernels, i, k) {
    double ms = 0, us = 0, calls = 0;
    json_array_foreach(kernels, j, other) {
      if (strcmp(string(other, "name"), string(k, "name"))) continue;
      ms += number(other, "total_ms");
      calls += number(other, "calls");
    }
    ck_assert_uint_eq(slices(trace, "kernel", string(k, "name"), &us), (size_t)calls);
    ck_assert_double_eq_tol(us / 1e3, ms, 1e-6 * ms);
  }
}

START_TEST(files_keep_the_rules) {
  char json[80], trace[80];
  tiny_model_save(&shape, path);
  run_program(devices[_i], json, trace);
  json_t *profiled = load(json), *timeline = load(trace), *list = json_object_get(profiled, "kernels");
  ck_assert_int_eq((int)number(profiled, "schema"), 1);
  ck_assert_int_eq((int)number(profiled, "stamped"), 2);
  double share[2] = { 0 }, calls = 0;
  size_t i;
  const json_t *k;
  json_array_foreach(list, i, k) {
    const char *phase = string(k, "phase"), *bound = string(k, "bound");
    ck_assert(!strcmp(phase, "prefill") || !strcmp(phase, "decode"));
    ck_assert(!strcmp(bound, "memory") || !strcmp(bound, "compute") || !strcmp(bound, "bus") || !strcmp(bound, "launch"));
    string(k, "name"), string(k, "stage");
    ck_assert(number(k, "p50_us") <= number(k, "p95_us") && number(k, "calls") >= 1 && number(k, "total_ms") >= 0);
    ck_assert(number(k, "mean_us") >= 0 && number(k, "gb_per_s") >= 0 && number(k, "gflop_per_s") >= 0);
    share[*phase == 'd'] += number(k, "share");
    calls += number(k, "calls");
  }
  check_heads(profiled);
  ck_assert_double_eq_tol(share[0], 1, 1e-6);
  ck_assert_double_eq_tol(share[1], 1, 1e-6);
  ck_assert_uint_eq(check_trace(json_object_get(timeline, "traceEvents"), 2, 2), (size_t)calls);
  check_times(list, json_object_get(timeline, "traceEvents"));
  json_decref(profiled);
  json_decref(timeline);
  unlink(json);
  unlink(trace);
  unlink(path);
}
END_TEST

static const json_t *slice_named(const json_t *list, const char *name) {
  size_t i;
  const json_t *e;
  json_array_foreach(list, i, e)
    if (!strcmp(string(e, "ph"), "X") && !strcmp(string(e, "name"), name)) return e;
  ck_abort_msg("no slice %s", name);
  return NULL;
}

/* Kernels that overlap go to tracks of their own; ts and dur are microseconds, to the nanosecond. */
START_TEST(overlapping_kernels) {
  char file[80];
  snprintf(file, sizeof file, "%s.trace", path);
  trace_sample(file);
  json_t *root = load(file), *list = json_object_get(root, "traceEvents");
  ck_assert_uint_eq(check_trace(list, 1 + SAMPLE_LANES, 1), SAMPLE_KERNELS);
  ck_assert_uint_eq(slices(list, "call", NULL, NULL), 1);
  ck_assert_uint_eq(slices(list, "layer", NULL, NULL), SAMPLE_LAYERS);
  ck_assert_uint_eq(slices(list, "stage", NULL, NULL), SAMPLE_STAGES);
  static const struct { const char *name; int track; double ts, dur; } expected[] = {
    {"a", 2, .1, 1}, {"b", 3, .2, .7}, {"c", 4, .3, .9}, {"d", 2, 1.1, 1}, {"e", 3, 1.9, .6}, {"h", 2, 3.2, .003}, {"token 7", 2, .1, 3.103},
    {"layer 0", 2, .1, 2}, {"layer 1", 2, 2.6, .603}, {"ffn", 2, 2.9, .303}, {"call", 1, 0, 3.5}};
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    const json_t *e = slice_named(list, expected[i].name);
    ck_assert_int_eq((int)number(e, "tid"), expected[i].track);
    ck_assert_double_eq_tol(number(e, "ts"), expected[i].ts, 1e-9);
    ck_assert_double_eq_tol(number(e, "dur"), expected[i].dur, 1e-9);
  }
  const json_t *args = json_object_get(slice_named(list, "c"), "args");
  ck_assert_str_eq(string(args, "grid_size"), "3x2x1");
  ck_assert_str_eq(string(args, "workgroup_size"), "64x1x1");
  ck_assert_double_eq(number(args, "submission_id"), 5);
  ck_assert_double_eq(number(args, "bytes"), 42);
  ck_assert_double_eq(number(args, "flops"), 10);
  ck_assert_double_eq(number(args, "layer"), 0);
  json_decref(root);
  unlink(file);
}
END_TEST

static void read_text(const char *name, char *out, size_t cap) {
  FILE *f = fopen(name, "rb");
  ck_assert_ptr_nonnull(f);
  size_t n = fread(out, 1, cap - 1, f);
  out[n] = 0;
  fclose(f);
  unlink(name);
}

/* Means over the calls that were counted; what was not read is absent. */
START_TEST(hardware_counters) {
  char file[4][80], text[4000];
  static const char *const form[] = { "json", "csv", "table", "trace" };
  for (int i = 0; i < 4; i++) snprintf(file[i], sizeof file[i], "%s.%s", path, form[i]);
  counted_sample(file[0], file[1], file[2], file[3]);
  json_t *root = load(file[0]), *trace = load(file[3]), *list = json_object_get(root, "counters"), *kernels = json_object_get(root, "kernels");
  ck_assert_uint_eq(json_array_size(list), 3);
  const json_t *first = json_array_get(list, 1), *a = json_array_get(kernels, 0), *b = json_array_get(kernels, 1);
  ck_assert_str_eq(string(first, "name"), "Waves, all");
  ck_assert_str_eq(string(first, "description"), "a \"wave\" each");
  ck_assert(!strcmp(string(first, "category"), "Core") && !strcmp(string(first, "scope"), "command") && !strcmp(string(first, "storage"), "uint64"));
  ck_assert(!strcmp(string(a, "name"), "a") && !strcmp(string(b, "name"), "b"));
  const json_t *of_a = json_object_get(a, "counters"), *of_b = json_object_get(b, "counters");
  ck_assert_uint_eq(json_object_size(of_a), 2);
  ck_assert_uint_eq(json_object_size(of_b), 1);
  ck_assert_double_eq(number(json_object_get(of_a, "L2 hits"), "mean"), 90);
  ck_assert_double_eq(number(json_object_get(of_a, "L2 hits"), "calls"), 1);
  ck_assert_double_eq(number(json_object_get(of_a, "Waves, all"), "mean"), 1500.5);
  ck_assert_double_eq(number(json_object_get(of_a, "Waves, all"), "calls"), 2);
  ck_assert_double_eq(number(json_object_get(of_b, "L2 hits"), "mean"), 50.5);
  of_a = json_object_get(json_array_get(json_object_get(root, "stages"), 0), "counters");
  ck_assert_double_eq(number(json_object_get(of_a, "L2 hits"), "mean"), 70.25);
  const json_t *args = json_object_get(slice_named(json_object_get(trace, "traceEvents"), "b"), "args");
  ck_assert_double_eq(number(json_object_get(args, "counters"), "L2 hits"), 50.5);
  ck_assert_uint_eq(json_object_size(json_object_get(args, "counters")), 1);
  read_text(file[1], text, sizeof text);
  ck_assert_ptr_nonnull(strstr(text, ",bound,\"L2 hits [%]\",\"Waves, all\",\"Power [W]\"\n"));
  ck_assert_ptr_nonnull(strstr(text, ",launch,90,1500.5,\n"));
  ck_assert_ptr_nonnull(strstr(text, ",launch,50.5,,\n"));
  read_text(file[2], text, sizeof text);
  ck_assert_ptr_nonnull(strstr(text, "hardware counters, mean of a call\ndecode  ffn  a\n  L2 hits "));
  ck_assert_ptr_nonnull(strstr(text, "1500.5        of 2 calls\ndecode  ffn  b\n"));
  ck_assert_ptr_null(strstr(text, "Power"));
  json_decref(root);
  json_decref(trace);
  unlink(file[0]);
  unlink(file[3]);
}
END_TEST

static bool one_token(const struct lrqk_profile_event *a, const struct lrqk_profile_event *b) { return !a->host && !b->host && a->token == b->token; }

/* Pairs of slices that ran at the same time. */
static size_t overlapping(void) {
  size_t n = 0;
  for (size_t i = 0; i < events.n; i++)
    for (size_t k = 0; k < i; k++) {
      const struct lrqk_profile_event *a = &events.event[i], *b = &events.event[k];
      n += one_token(a, b) && a->begin_ns < b->end_ns && b->begin_ns < a->end_ns;
    }
  return n;
}

/* Copies of policy offload on a second queue, as a CPU driver has it too when it is asked: where such commands can be timed they run
 * beside the kernels of the first, and the trace has them on a track of its own. */
START_TEST(second_queue) {
  char file[80];
  snprintf(file, sizeof file, "%s.trace", path);
  open_policy(devices[_i], true, LRQK_POLICY_OFFLOAD, LONG);
  rig.engine->dev->caps.info.queues = 2;
  ck_assert_int_eq(lrqk_session_fill(session, LONG - TRIES * EVERY, 1), LRQK_OK);
  profile(false);
  bool apart = rig.engine->dev->ops->times_aside;
  for (int tries = 0; tries < TRIES && (tries == 0 || (apart && !overlapping())); tries++) {
    events.n = 0;
    decode(EVERY);
  }
  ck_assert_msg(apart ? overlapping() > 0 : overlapping() == 0, "%zu slices overlap", overlapping());
  trace_write(file, events.event, events.n);
  json_t *root = load(file), *list = json_object_get(root, "traceEvents"), *e;
  size_t i, kernels = 0, beside = 0;
  for (i = 0; i < events.n; i++) kernels += !events.event[i].host;
  json_array_foreach(list, i, e) beside += !strcmp(string(e, "ph"), "X") && number(e, "tid") > 2;
  ck_assert_uint_eq(check_trace(list, apart ? 3 : 2, 1), kernels);
  ck_assert_msg(apart ? beside > 0 && beside <= overlapping() : beside == 0, "%zu slices beside others, %zu overlap", beside, overlapping());
  json_decref(root);
  unlink(file);
  close_session();
}
END_TEST

int main(void) {
  snprintf(path, sizeof path, "test_profile_%d.gguf", (int)getpid());
  Suite *suite = suite_create("profile");
  TCase *t = tcase_create("profile");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, every_command_has_one_slice, 0, n);
  tcase_add_loop_test(t, prefill_and_serial, 0, n);
  tcase_add_loop_test(t, whole_submits, 0, n);
  tcase_add_loop_test(t, bus_bytes_are_the_sessions, 0, n);
  tcase_add_loop_test(t, heads_add_up, 0, n);
  tcase_add_loop_test(t, figures_of_kernels, 0, n);
  tcase_add_test(t, needs_timing);
  tcase_add_loop_test(t, second_queue, 0, n);
  tcase_add_loop_test(t, files_keep_the_rules, 0, n);
  tcase_add_test(t, overlapping_kernels);
  tcase_add_test(t, hardware_counters);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
