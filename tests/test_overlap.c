/* test_overlap.c - the second queue: whatever is recorded aside, results are those of one queue, and of one command after
 * the other.  Software drivers say that they have one queue; these tests use the second one all the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 512, PROMPT = 150, STEPS = 24, BUFFERS = 5, WORDS = 4096, ROUNDS = 400 };

static const char *devices[4];   /* what tests open: the drivers, host, opencl as if host and device had separate memory */
static bool separate[4];

static uint32_t below(uint64_t *state, uint32_t n) { return (uint32_t)(writer_random(state) % n); }

/* ---- random copies and fills, some of them aside, against plain C in the order of recording */

struct world { struct device *dev; struct buffer *buf[BUFFERS]; uint32_t *shadow[BUFFERS]; uint64_t random; };

static void one_command(struct world *w) {
  uint32_t a = below(&w->random, BUFFERS), b = below(&w->random, BUFFERS), n = 1 + below(&w->random, WORDS / 2);
  uint32_t to = below(&w->random, WORDS - n), from = below(&w->random, WORDS - n), value = (uint32_t)writer_random(&w->random);
  struct view dst = { w->buf[a], (uint64_t)to * 4, (uint64_t)n * 4 };
  if (a == b) {
    device_fill(w->dev, dst, value);
    for (uint32_t i = 0; i < n; i++) w->shadow[a][to + i] = value;
  } else {
    device_copy(w->dev, dst, (struct view){ w->buf[b], (uint64_t)from * 4, (uint64_t)n * 4 });
    memcpy(w->shadow[a] + to, w->shadow[b] + from, (size_t)n * 4);
  }
}

static void compare(struct world *w) {
  static uint32_t got[WORDS];
  for (int i = 0; i < BUFFERS; i++) {
    ck_assert_int_eq(device_read(w->dev, got, view_of(w->buf[i]), sizeof got), LRQK_OK);
    ck_assert_msg(!memcmp(got, w->shadow[i], sizeof got), "buffer %d", i);
  }
}

START_TEST(order_is_kept) {
  struct world w = { .random = 5 };
  const struct log log = { rig_log, NULL };
  const struct device_options opt = { .select = devices[_i], .validate = test_validates(), .separate = separate[_i] };
  int aside = 0;
  ck_assert_int_eq(device_open(&w.dev, &log, &opt), LRQK_OK);
  w.dev->caps.info.queues = 2;
  for (int i = 0; i < BUFFERS; i++) {
    ck_assert_int_eq(buffer_create(&w.buf[i], w.dev, i < 2 ? PLACE_HOST : PLACE_DEVICE, WORDS * 4, "test"), LRQK_OK);
    w.shadow[i] = calloc(WORDS, 4);
  }
  for (int round = 0; round < ROUNDS; round++) {
    bool second = below(&w.random, 3) == 0 && device_aside_begin(w.dev);
    for (uint32_t i = below(&w.random, second ? 3 : 5); i-- > 0;) one_command(&w);
    if (second) device_aside_end(w.dev);
    aside += second;
    if (below(&w.random, 8) == 0) ck_assert_int_eq(device_submit(w.dev, NULL), LRQK_OK);
    if (below(&w.random, 40) == 0) compare(&w);
  }
  compare(&w);
  ck_assert(w.dev->ops->aside ? aside > ROUNDS / 5 : aside == 0);
  for (int i = 0; i < BUFFERS; i++) {
    buffer_destroy(&w.buf[i]);
    free(w.shadow[i]);
  }
  device_close(w.dev);
  rig_check();
}
END_TEST

/* ---- sessions */

static const struct { const char *options; bool waits; } policies[] = {   /* waits: nothing can be hidden */
  { "attention=full", true }, { "attention=offload", false }, { "active=24 lite=8", false },
  { "active=24 lite=8 proxy=pairs dense-layers=none", false },
  { "active=24 lite=8 proxy=paper group=none", true }, { "active=400 lite=8 refresh=16", false },
};

static uint64_t submits;         /* of the decode steps of a run, while counters watch */

static void count_submits(void *ud, enum device_call call, bool done) {
  (void)ud;
  submits += call == CALL_SUBMIT && done;
}

static void ignore_command(void *ud, const struct command *c) {
  (void)ud;
  (void)c;
}

static const struct device_watch counters = { ignore_command, count_submits, NULL };

static struct lrqk_cache_stats run(const struct rig *r, const char *options, bool overlap, float *logits) {
  char text[256];
  snprintf(text, sizeof text, "%s overlap=%s", options, overlap ? "on" : "off");
  lrqk_session *s = rig_session(r, text, CTX);
  struct lrqk_cache_stats stats;
  rig_prompt(s, PROMPT);
  submits = 0;
  rig_decode(s, STEPS, logits);
  rig_verify(s);
  ck_assert_int_eq(lrqk_session_stats(s, &stats), LRQK_OK);
  lrqk_session_close(s);
  return stats;
}

START_TEST(results_are_the_same) {
  static float on[STEPS * VOCAB], off[STEPS * VOCAB];
  static const struct tiny_model shape = { .layers = 4, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                           .seed = 7 };
  if (separate[_i]) return;   /* an engine is opened without such options */
  struct rig r = rig_open(&shape, &(struct lrqk_engine_options){ .device = devices[_i] });
  lrqk_engine *engine = r.engine;
  ck_assert_uint_eq(engine->dev->caps.info.queues, engine->dev->caps.cpu ? 1 : 2);
  for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
    engine->dev->caps.info.queues = 1;
    struct lrqk_cache_stats one = run(&r, policies[i].options, true, off);
    engine->dev->caps.info.queues = 2;
    struct lrqk_cache_stats without = run(&r, policies[i].options, false, on);
    ck_assert_msg(!memcmp(on, off, sizeof on), "%s: --overlap off", policies[i].options);
    struct lrqk_cache_stats with = run(&r, policies[i].options, true, on);
    ck_assert_msg(!memcmp(on, off, sizeof on), "%s: with a second queue", policies[i].options);
    ck_assert_uint_eq(one.hidden_bytes, 0);
    ck_assert_uint_eq(without.hidden_bytes, 0);
    ck_assert_uint_eq(with.bus_bytes, one.bus_bytes);
    ck_assert(with.hidden_bytes <= with.bus_bytes);
    bool hides = engine->dev->ops->aside && !policies[i].waits;
    ck_assert_msg((with.hidden_bytes > 0) == hides, "%s: %d bytes hidden", policies[i].options, (int)with.hidden_bytes);
  }
  rig_close(&r);
}
END_TEST

/* ---- what a GPU gets of the same engine: other workgroups and shares, and a step in several submits */

START_TEST(a_gpu_gets_a_step_in_parts) {
  static float parts[STEPS * VOCAB], whole[STEPS * VOCAB];
  static const struct tiny_model shape = { .layers = 6, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                           .seed = 8 };
  static double want[STEPS * VOCAB];
  if (separate[_i]) return;
  struct rig r = rig_open(&shape, &(struct lrqk_engine_options){ .device = devices[_i] });
  lrqk_engine *engine = r.engine;
  bool cpu = engine->dev->caps.cpu;
  for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
    uint64_t sent[2];
    for (int gpu = 0; gpu < 2; gpu++) {
      engine->dev->caps.cpu = !gpu;
      engine->dev->watch = &counters;
      run(&r, policies[i].options, false, gpu ? parts : whole);
      engine->dev->watch = NULL;
      sent[gpu] = submits;
    }
    for (int k = 0; k < STEPS * VOCAB; k++) want[k] = whole[k];
    nmse_check(parts, want, STEPS * VOCAB, 1e-3, policies[i].options);   /* rounding may choose other tokens */
    ck_assert_msg(sent[1] == sent[0] + STEPS, "%s: %d submits as a CPU driver, %d as a GPU", policies[i].options, (int)sent[0], (int)sent[1]);
  }
  engine->dev->caps.cpu = cpu;
  rig_close(&r);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("overlap");
  TCase *t = tcase_create("overlap");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  if (test_uses("opencl")) separate[n] = true, devices[n++] = "opencl";
  tcase_add_loop_test(t, order_is_kept, 0, n);
  tcase_add_loop_test(t, results_are_the_same, 0, n);
  tcase_add_loop_test(t, a_gpu_gets_a_step_in_parts, 0, n);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
