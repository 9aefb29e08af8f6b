/* test_pace.c - what is recorded is sent in pieces that are not expected to run longer than DEVICE_SUBMIT_NS. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "gguf_writer.h"
#include "kernel_harness.h"
#include "lrqk/lrqk.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 256, PROMPT = 100, STEPS = 8 };

static const char *devices[3];   /* what tests open: the drivers, then host */
static char path[64];

/* Submits, and the longest of more than one command, as the device's pace expects it. */
static struct { struct device *dev; uint32_t submits, commands; double now, most; } seen;

static void on_command(void *ud, const struct command *c) {
  (void)ud;
  seen.now += seen.dev->pace->ns(seen.dev->pace->ud, c);
  seen.commands++;
}

static void on_call(void *ud, enum device_call call, bool done) {
  (void)ud;
  if (call != CALL_SUBMIT || done) return;
  if (seen.commands > 1 && seen.now > seen.most) seen.most = seen.now;
  seen.submits++;
  seen.commands = 0;
  seen.now = 0;
}

static void run(lrqk_engine *engine, const char *policy, float *logits) {
  static const struct device_watch watch = { on_command, on_call, NULL };
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = CTX };
  lrqk_session *s;
  int32_t ids[PROMPT];
  ck_assert_int_eq(lrqk_cache_set(&o.cache, "attention", policy, NULL, NULL), LRQK_OK);
  o.cache.active = 32;
  o.cache.lite = 8;
  for (int i = 0; i < PROMPT; i++) ids[i] = i * i % VOCAB;
  ck_assert_int_eq(lrqk_session_open(&s, engine, &o), LRQK_OK);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, PROMPT, 0, NULL, NULL), LRQK_OK);
  memset(&seen, 0, sizeof seen);
  seen.dev = engine->dev;
  engine->dev->watch = &watch;
  for (int i = 0; i < STEPS; i++) {
    ck_assert_int_eq(lrqk_session_decode(s, 7 * i % VOCAB), LRQK_OK);
    memcpy(logits + (size_t)i * VOCAB, lrqk_session_logits(s), VOCAB * sizeof *logits);
  }
  engine->dev->watch = NULL;
  lrqk_session_close(s);
}

START_TEST(submits_are_short) {
  static float fast[STEPS * VOCAB], slow[STEPS * VOCAB];
  static const struct tiny_model shape = { .layers = 4, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                           .seed = 7 };
  lrqk_model *model;
  lrqk_engine *engine;
  tiny_model_save(&shape, path);
  ck_assert_int_eq(lrqk_model_open(&model, path, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &(struct lrqk_engine_options){ .device = devices[_i] }), LRQK_OK);
  for (int i = 0; i < 2; i++) {
    const char *policy = i ? "lrqk" : "offload";
    const struct pace before = engine->pace;
    run(engine, policy, fast);
    ck_assert_uint_eq(seen.submits, STEPS);   /* a token of such a model takes no time */
    engine->pace.gflop_per_s = 1e-3;          /* 20 ms and more for a projection of a layer */
    run(engine, policy, slow);
    ck_assert_msg(!memcmp(fast, slow, sizeof fast), "%s: results depend on where a submit ends", policy);
    ck_assert_uint_ge(seen.submits, 3 * STEPS);
    ck_assert_double_le(seen.most, DEVICE_SUBMIT_NS);
    engine->pace = before;
  }
  lrqk_engine_close(engine);
  lrqk_model_close(model);
  unlink(path);
}
END_TEST

int main(void) {
  snprintf(path, sizeof path, "test_pace_%d.gguf", (int)getpid());
  Suite *suite = suite_create("pace");
  TCase *t = tcase_create("pace");
  tcase_set_timeout(t, 0);
  int n = 0;
  if (test_uses("vulkan")) devices[n++] = "vulkan";
  if (test_uses("opencl")) devices[n++] = "opencl";
  devices[n++] = "host";
  tcase_add_loop_test(t, submits_are_short, 0, n);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
