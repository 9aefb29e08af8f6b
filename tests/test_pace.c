/* test_pace.c - what is recorded is sent in pieces that are not expected to run longer than DEVICE_SUBMIT_NS. */
#include <string.h>

#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 256, PROMPT = 100, STEPS = 8 };

static const char *devices[3];   /* what tests open: the drivers, then host */

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

static void run(const struct rig *r, const char *options, float *logits) {
  static const struct device_watch watch = { on_command, on_call, NULL };
  lrqk_session *s = rig_session(r, options, CTX);
  rig_prompt(s, PROMPT);
  memset(&seen, 0, sizeof seen);
  seen.dev = r->engine->dev;
  seen.dev->watch = &watch;
  rig_decode(s, STEPS, logits);
  seen.dev->watch = NULL;
  lrqk_session_close(s);
}

START_TEST(submits_are_short) {
  static float fast[STEPS * VOCAB], slow[STEPS * VOCAB];
  static const struct tiny_model shape = { .layers = 4, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                           .seed = 7 };
  struct rig r = rig_open(&shape, &(struct lrqk_engine_options){ .device = devices[_i] });
  for (int i = 0; i < 2; i++) {
    const char *policy = i ? "active=32 lite=8" : "attention=offload";
    const struct pace before = r.engine->pace;
    run(&r, policy, fast);
    ck_assert_uint_eq(seen.submits, STEPS);   /* a token of such a model takes no time */
    r.engine->pace.gflop_per_s = 1e-3;          /* 20 ms and more for a projection of a layer */
    run(&r, policy, slow);
    ck_assert_msg(!memcmp(fast, slow, sizeof fast), "%s: results depend on where a submit ends", policy);
    ck_assert_uint_ge(seen.submits, 3 * STEPS);
    ck_assert_double_le(seen.most, DEVICE_SUBMIT_NS);
    r.engine->pace = before;
  }
  rig_close(&r);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("pace");
  TCase *t = tcase_create("pace");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, submits_are_short, 0, n);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
