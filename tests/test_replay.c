/* test_replay.c - submits that are sent again instead of being recorded: whatever is repeated, in part or with something else in
 * between, results are those of recording everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { VOCAB = 288, CTX = 512, PROMPT = 150, STEPS = 40, BUFFERS = 4, FLOATS = 512, COMMANDS = 12, SCRIPTS = 8, LONGEST = 9, ROUNDS = 3000 };

static const char *devices[3];

/* ---- commands out of a few, in scripts that begin alike, against plain C */

struct world {
  struct device *dev;
  const struct kernel *add;
  struct buffer *buf[BUFFERS];
  float shadow[BUFFERS][FLOATS];
  uint64_t random;
};

static uint32_t below(struct world *w, uint32_t n) { return (uint32_t)(writer_random(&w->random) % n); }

static void make_buffer(struct world *w, int i) {
  ck_assert_int_eq(buffer_create(&w->buf[i], w->dev, i ? PLACE_DEVICE : PLACE_HOST, FLOATS * 4, "test"), LRQK_OK);
  memset(w->shadow[i], 0, sizeof w->shadow[i]);
}

static void write_some(struct world *w) {
  uint32_t i = below(w, BUFFERS);
  for (int k = 0; k < FLOATS; k++) w->shadow[i][k] = (float)below(w, 1000);
  ck_assert_int_eq(device_write(w->dev, view_of(w->buf[i]), w->shadow[i], FLOATS * 4), LRQK_OK);
}

/* Command number c: they differ in kind, buffers, ranges, parameters, grids, or in nothing but the word of a fill. */
static void run_command(struct world *w, uint32_t c) {
  uint32_t to = c % BUFFERS, from = (c / 2 + 1) % BUFFERS, n = c % 5 == 4 ? FLOATS / 2 : FLOATS;
  if (from == to) from = (to + 1) % BUFFERS;
  struct view dst = { w->buf[to], 0, n * 4 }, src = { w->buf[from], (FLOATS - n) * 4, n * 4 };
  if (c % 3 == 0) {
    uint32_t other = (to + 2) % BUFFERS, n4 = c == 9 ? n / 8 : n / 4;
    struct add_params p = { .n4 = n4 };
    DISPATCH(w->dev, w->add, n4 / 64 + (c == 6), 1, 1, &p, src, view_of(w->buf[other == from ? from : other]), dst);
    for (uint32_t k = 0; k < n4 * 4 && k / 256 < n4 / 64 + (c == 6); k++)
      w->shadow[to][k] = w->shadow[from][FLOATS - n + k] + w->shadow[other == from ? from : other][k];
  } else if (c % 3 == 1) {
    device_copy(w->dev, dst, src);
    memcpy(w->shadow[to], w->shadow[from] + (FLOATS - n), n * 4);
  } else {
    float value = (float)c;
    uint32_t word;
    memcpy(&word, &value, 4);
    device_fill(w->dev, dst, word);
    for (uint32_t k = 0; k < n; k++) w->shadow[to][k] = value;
  }
}

static void compare(struct world *w) {
  static float got[FLOATS];
  for (int i = 0; i < BUFFERS; i++) {
    ck_assert_int_eq(device_read(w->dev, got, view_of(w->buf[i]), sizeof got), LRQK_OK);
    ck_assert_msg(!memcmp(got, w->shadow[i], sizeof got), "buffer %d", i);
  }
}

/* Now and then something that no submit may be sent again across. */
static void disturb(struct world *w) {
  switch (below(w, 6)) {
    case 0: {
      int i = (int)below(w, BUFFERS);
      buffer_destroy(&w->buf[i]);
      make_buffer(w, i);
      break;
    }
    case 1:
      if (!device_aside_begin(w->dev)) break;
      run_command(w, below(w, COMMANDS));
      device_aside_end(w->dev);
      break;
    case 2: w->dev->serial = below(w, 4) == 0; break;
    case 3: w->dev->stamping = below(w, 4) == 0; break;
    default: write_some(w);
  }
}

static double by_command(void *ud, const struct command *c) {
  (void)ud;
  return c->kernel ? DEVICE_SUBMIT_NS / 3.0 : DEVICE_SUBMIT_NS / 9.0;
}

START_TEST(scripts) {
  static struct world w;
  static const struct device_pace pace = { by_command, NULL };
  const struct log log = { rig_log, NULL };
  uint8_t script[SCRIPTS][LONGEST];
  w = (struct world){ .random = 11 };
  struct device_options opt = { .select = devices[_i], .validate = test_validates(), .timing = true };
  ck_assert_int_eq(device_open(&w.dev, &log, &opt), LRQK_OK);
  ck_assert_int_eq(kernel_get(&w.add, w.dev, KERNEL_ADD, SPEC(64)), LRQK_OK);
  w.dev->caps.info.queues = 2;
  w.dev->stamping = false;
  for (int i = 0; i < BUFFERS; i++) make_buffer(&w, i);
  for (int i = 0; i < SCRIPTS; i++)
    for (int k = 0; k < LONGEST; k++) script[i][k] = (uint8_t)(i && k < 4 ? script[i - 1][k] : below(&w, COMMANDS));
  for (int round = 0; round < ROUNDS; round++) {
    w.dev->pace = round / 500 % 2 ? &pace : NULL;
    const uint8_t *s = script[below(&w, SCRIPTS)];
    uint32_t n = below(&w, 4) ? LONGEST : 1 + below(&w, LONGEST), odd = below(&w, 8) ? LONGEST : below(&w, LONGEST);
    for (uint32_t k = 0; k < n; k++) run_command(&w, k == odd ? below(&w, COMMANDS) : s[k]);
    if (below(&w, 8)) ck_assert_int_eq(device_submit(w.dev, NULL), LRQK_OK);
    if (below(&w, 20) == 0) disturb(&w);
    if (below(&w, 10) == 0) compare(&w);
    if (w.dev->stamping) device_spans(w.dev, NULL, 0);
  }
  compare(&w);
  if (w.dev->ops->replay) ck_assert_uint_gt(device_replayed(w.dev), ROUNDS / 5);
  else ck_assert_uint_eq(device_replayed(w.dev), 0);
  for (int i = 0; i < BUFFERS; i++) buffer_destroy(&w.buf[i]);
  device_close(w.dev);
  rig_check();
}
END_TEST

/* ---- sessions: most of their steps are repeated */

static const struct { const char *options; int part; } policies[] = {   /* part: percent of the submits that are sent again at least */
  { "attention=full", 80 }, { "active=24 lite=8", 60 }, { "active=24 lite=8 proxy=pairs dense-layers=none", 60 },
  { "active=24 lite=8 refresh=16", 0 }, { "active=400 lite=8", 0 }, { "attention=offload", 0 },
};

static uint64_t submits;

static void count_submits(void *ud, enum device_call call, bool done) {
  (void)ud;
  submits += call == CALL_SUBMIT && done;
}

static void ignore_command(void *ud, const struct command *c) {
  (void)ud;
  (void)c;
}

static void decode(const struct rig *r, const char *options, float *logits) {
  static const struct device_watch watch = { ignore_command, count_submits, NULL };
  lrqk_session *s = rig_session(r, options, CTX);
  rig_prompt(s, PROMPT);
  r->engine->dev->watch = &watch;
  submits = 0;
  rig_decode(s, STEPS, logits);
  r->engine->dev->watch = NULL;
  lrqk_session_close(s);
}

START_TEST(sessions) {
  static float again[STEPS * VOCAB], anew[STEPS * VOCAB];
  static const struct tiny_model shape = { .layers = 6, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                           .seed = 9 };
  struct rig r = rig_open(&shape, &(struct lrqk_engine_options){ .device = devices[_i] });
  lrqk_engine *engine = r.engine;
  const struct device_ops *ops = engine->dev->ops;
  struct device_ops without = *ops;
  bool cpu = engine->dev->caps.cpu;
  without.replay = NULL;
  for (int gpu = 0; gpu < 2; gpu++) {   /* a GPU gets a step in several submits */
    engine->dev->caps.cpu = !gpu;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
      uint64_t before = device_replayed(engine->dev);
      decode(&r, policies[i].options, again);
      uint64_t sent = device_replayed(engine->dev) - before;
      ck_assert_msg(!ops->replay || sent * 100 >= submits * (uint64_t)policies[i].part, "%s: %d of %d submits", policies[i].options, (int)sent,
                    (int)submits);
      engine->dev->ops = &without;
      decode(&r, policies[i].options, anew);
      engine->dev->ops = ops;
      ck_assert_msg(!memcmp(again, anew, sizeof again), "%s", policies[i].options);
      ck_assert_uint_eq(device_replayed(engine->dev) - before, sent);
    }
  }
  engine->dev->caps.cpu = cpu;
  rig_close(&r);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("replay");
  TCase *t = tcase_create("replay");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, scripts, 0, n);
  tcase_add_loop_test(t, sessions, 0, n);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
