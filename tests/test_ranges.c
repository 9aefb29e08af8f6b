/* test_ranges.c - long contexts on devices that bind little: scores, keys, tables of positions and proxies are split over several
 * bindings, and the tokens that are chosen are those of the same text without limits.  Limits are lowered when a device is opened. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine.h"
#include "gguf_writer.h"
#include "kernel_harness.h"
#include "log_capture.h"

#include "suite.h"   /* last: it has a macro named fail */

enum {
  VOCAB = 288, TOKENS = 20000, STEPS = 4, CTX = TOKENS + STEPS, ACTIVE = 64,
  LIMIT = 64 << 10,        /* bytes of a binding: 512 rows of 128 bytes */
  HEADS = 3
};

static char path[64];
static int complaints;     /* of the validation layer */
static struct log_capture said;

static void listen(void *ud, enum lrqk_log_level level, const char *text) {
  log_capture_fn(ud, level, text);
  if (level == LRQK_LOG_ERROR && !strncmp(text, "Vulkan: ", 8)) complaints++;
}

/* One layer, one KV head. */
static const struct tiny_model shape = { .layers = 1, .embd = 96, .ff = 128, .heads = HEADS, .kv_heads = 1, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                         .seed = 7 };

struct rig { lrqk_model *model; lrqk_engine *engine; };

/* tile: scores in the form for GPUs. */
static struct rig rig_open(const char *device, int texel, bool tile, uint64_t max_binding) {
  struct rig r;
  memset(&said, 0, sizeof said);
  tiny_model_save(&shape, path);
  const struct lrqk_model_options mo = { .log = listen, .log_ud = &said };
  ck_assert_int_eq(lrqk_model_open(&r.model, path, &mo), LRQK_OK);
  r.engine = mem_alloc(1, sizeof *r.engine);
  r.engine->model = r.model;
  const struct device_options opt = { .select = device, .texel = texel, .max_binding = max_binding, .validate = test_validates() };
  ck_assert_int_eq(device_open(&r.engine->dev, &r.model->log, &opt), LRQK_OK);
  if (tile) r.engine->dev->forms.op[OP_SCORE].form = FORM_TILE;
  ck_assert_int_eq(model_load(&r.engine->weights, &r.model->hp, r.model->gguf, r.engine->dev, NULL, NULL), LRQK_OK);
  return r;
}

static void rig_close(struct rig *r) {
  lrqk_engine_close(r->engine);
  lrqk_model_close(r->model);
  unlink(path);
  ck_assert_msg(complaints == 0, "%d messages of the validation layer", complaints);
}

static enum lrqk_status session(lrqk_session **s, struct rig *r, const char *options, uint32_t n_ctx) {
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = n_ctx, .beyond = true };
  char text[256];
  snprintf(text, sizeof text, "%s", options);
  for (char *p = strtok(text, " "); p; p = strtok(NULL, " ")) {
    char *eq = strchr(p, '=');
    *eq = 0;
    ck_assert_int_eq(lrqk_cache_set(&o.cache, p, eq + 1, listen, &said), LRQK_OK);
  }
  return lrqk_session_open(s, r->engine, &o);
}

/* What a few steps chose and gave. */
struct run { float logits[STEPS][VOCAB]; uint32_t chosen[STEPS][HEADS * ACTIVE]; size_t n; uint64_t rounded; };

static void run_steps(struct rig *r, const char *options, struct run *out) {
  lrqk_session *s;
  *out = (struct run){ 0 };
  ck_assert_msg(session(&s, r, options, CTX) == LRQK_OK, "%s: %s", options, said.text);
  ck_assert_msg(lrqk_session_fill(s, TOKENS, 5) == LRQK_OK, "%s: %s", options, said.text);
  for (int i = 0; i < STEPS; i++) {
    ck_assert_msg(lrqk_session_decode(s, 7 * i) == LRQK_OK, "%s: %s", options, said.text);
    memcpy(out->logits[i], lrqk_session_logits(s), sizeof out->logits[i]);
    ck_assert_int_eq(lrqk_session_chosen(s, 0, 0, out->chosen[i], HEADS * ACTIVE, &out->n), LRQK_OK);
    struct lrqk_choice choice;
    ck_assert_int_eq(lrqk_session_verify_choice(s, &choice), LRQK_OK);
    ck_assert_uint_eq(choice.wrong, 0);
    out->rounded += choice.rounded;
  }
  uint64_t differing;
  ck_assert_int_eq(lrqk_session_verify(s, &differing), LRQK_OK);
  ck_assert_uint_eq(differing, 0);
  lrqk_session_close(s);
}

static uint64_t tokens_apart(const uint32_t *a, const uint32_t *b, size_t n) {
  uint64_t apart = 0;
  for (size_t i = 0, j = 0; i < n; i++) {
    while (j < n && b[j] < a[i]) j++;
    apart += j == n || b[j] != a[i];
  }
  return apart;
}

static double nmse(const float *a, const float *b, size_t n) {
  double err = 0, var = 0;
  for (size_t i = 0; i < n; i++) {
    err += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    var += (double)b[i] * b[i];
  }
  return err / var;
}

/* Shares of the text are cut differently, and so weights rounded: tokens that differ are those whose shares are equal but for that.
 * Where the tokens are the same, so are the logits. */
static void check_same(const struct run *x, const struct run *want, const char *where, const char *options) {
  uint64_t all = 0;
  ck_assert_uint_eq(x->n, want->n);
  for (int i = 0; i < STEPS; i++) {
    uint64_t apart = 0;
    for (size_t at = 0; at < x->n; at += ACTIVE) apart += tokens_apart(x->chosen[i] + at, want->chosen[i] + at, ACTIVE);
    double e = apart ? 0 : nmse(x->logits[i], want->logits[i], VOCAB);
    ck_assert_msg(e <= 1e-8, "%s, %s: step %d has NMSE %g", where, options, i, e);
    all += apart;
  }
  ck_assert_msg(all <= x->rounded + want->rounded, "%s, %s: %d tokens are not those without limits, %d by rounding", where, options, (int)all,
                (int)(x->rounded + want->rounded));
  ck_assert_msg(x->rounded <= STEPS * x->n / 100, "%s, %s: %d tokens by rounding", where, options, (int)x->rounded);
}

static const char *const cases[] = {
  "attention=full",
  "active=64 lite=8 dense-layers=none",
  "active=64 lite=8 dense-layers=none mean-key=on group=max",
  "active=64 lite=8 dense-layers=none mean-key=off proxy-type=fp16 rank=32 tail=none sinks=0",
  "active=64 lite=8 dense-layers=none proxy=pairs group=none",
  "preset=paper rank=32 active=64 lite=8",
};
enum { N_CASES = sizeof cases / sizeof *cases };

static const struct { const char *device; int texel; bool tile; } devices[] = { { "host", 0, false }, { "vulkan:", 1, false }, { "vulkan:", -1, true },
                                                                                { "opencl:", 0, false } };
enum { N_DEVICES = sizeof devices / sizeof *devices };

static bool has(int i) {
  const char *name = i == 3 ? "opencl" : "vulkan";
  return !i || (test_uses(name) && (devices[i].texel != 1 || test_texel_loads()));
}

START_TEST(split_is_whole) {
  static struct run want[N_CASES], got;
  struct rig r = rig_open("host", 0, false, 0);
  for (int i = 0; i < N_CASES; i++) run_steps(&r, cases[i], &want[i]);
  rig_close(&r);
  for (int d = 0; d < N_DEVICES; d++) {
    if (!has(d)) continue;
    r = rig_open(devices[d].device, devices[d].texel, devices[d].tile, LIMIT);
    for (int i = 0; i < N_CASES; i++) {
      run_steps(&r, cases[i], &got);
      check_same(&got, &want[i], devices[d].device, cases[i]);
    }
    rig_close(&r);
  }
}
END_TEST

/* What a device cannot bind is said when a session is opened. */
START_TEST(limits_that_cannot_be_met) {
  static const struct { uint64_t limit; const char *options, *what, *size; } wrong[] = {
    { LIMIT / 2, "attention=full", "512 KV rows of 128 bytes", "65536" },
    { LIMIT, "active=600 lite=8 dense-layers=none", "608 active rows", "77824" },
  };
  for (int d = 0; d < N_DEVICES; d++) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong && has(d); i++) {
      struct rig r = rig_open(devices[d].device, devices[d].texel, devices[d].tile, wrong[i].limit);
      lrqk_session *s = NULL;
      ck_assert_int_eq(session(&s, &r, wrong[i].options, CTX), LRQK_DEVICE);
      log_capture_expect(&said, wrong[i].what, wrong[i].size);
      rig_close(&r);
    }
  }
}
END_TEST

int main(void) {
  snprintf(path, sizeof path, "test_ranges_%d.gguf", (int)getpid());
  Suite *suite = suite_create("ranges");
  TCase *t = tcase_create("ranges");
  tcase_set_timeout(t, 0);
  tcase_add_test(t, split_is_whole);
  tcase_add_test(t, limits_that_cannot_be_met);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
