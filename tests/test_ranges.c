/* test_ranges.c - long contexts on devices that bind little: scores, keys, tables of positions and proxies are split over several
 * bindings, and the tokens that are chosen are those of the same text without limits.  Limits are lowered when a device is opened. */
#include <stdio.h>
#include <string.h>

#include "session_rig.h"

#include "log_capture.h"   /* last: Check has a macro named fail */
#include "suite.h"

enum {
  VOCAB = 288, TOKENS = 20000, STEPS = 4, CTX = TOKENS + STEPS, ACTIVE = 64,
  LIMIT = 64 << 10,        /* bytes of a binding: 512 rows of 128 bytes */
  HEADS = 3
};

/* One layer, one KV head. */
static const struct tiny_model shape = { .layers = 1, .embd = 96, .ff = 128, .heads = HEADS, .kv_heads = 1, .head_size = 32, .vocab = VOCAB,
                                         .ctx = CTX, .seed = 7 };

/* tile: scores in the form for GPUs. */
static struct rig open_on(const char *device, int texel, bool tile, uint64_t max_binding) {
  struct rig r = rig_open_device(&shape, &(struct device_options){ .select = device, .texel = texel, .max_binding = max_binding });
  if (tile) r.engine->dev->forms.op[OP_SCORE].form = FORM_TILE;
  return r;
}

/* What a few steps chose and gave. */
struct run { float logits[STEPS][VOCAB]; uint32_t chosen[STEPS][HEADS * ACTIVE]; size_t n; uint64_t rounded; };

static void run_steps(struct rig *r, const char *options, struct run *out) {
  lrqk_session *s = rig_session(r, options, CTX);
  *out = (struct run){ 0 };
  ck_assert_msg(lrqk_session_fill(s, TOKENS, 5) == LRQK_OK, "%s: %s", options, rig_said.text);
  for (int i = 0; i < STEPS; i++) {
    ck_assert_msg(lrqk_session_decode(s, 7 * i) == LRQK_OK, "%s: %s", options, rig_said.text);
    memcpy(out->logits[i], lrqk_session_logits(s), sizeof out->logits[i]);
    ck_assert_int_eq(lrqk_session_chosen(s, 0, 0, out->chosen[i], HEADS * ACTIVE, &out->n), LRQK_OK);
    struct lrqk_choice choice;
    ck_assert_int_eq(lrqk_session_verify_choice(s, &choice), LRQK_OK);
    ck_assert_uint_eq(choice.wrong, 0);
    out->rounded += choice.rounded;
  }
  rig_verify(s);
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

static const struct { const char *device; int texel; bool tile; } devices[] = {
  { "host", 0, false }, { "vulkan:", 1, false }, { "vulkan:", -1, true }, { "opencl:", 0, false }
};
enum { N_DEVICES = sizeof devices / sizeof *devices };

static bool has(int i) {
  const char *name = i == 3 ? "opencl" : "vulkan";
  return !i || (test_uses(name) && (devices[i].texel != 1 || test_texel_loads()));
}

START_TEST(split_is_whole) {
  static struct run want[N_CASES], got;
  struct rig r = open_on("host", 0, false, 0);
  for (int i = 0; i < N_CASES; i++) run_steps(&r, cases[i], &want[i]);
  rig_close(&r);
  for (int d = 0; d < N_DEVICES; d++) {
    if (!has(d)) continue;
    r = open_on(devices[d].device, devices[d].texel, devices[d].tile, LIMIT);
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
      struct rig r = open_on(devices[d].device, devices[d].texel, devices[d].tile, wrong[i].limit);
      const struct lrqk_session_options o = { .cache = rig_cache(wrong[i].options), .n_ctx = CTX, .beyond = true };
      lrqk_session *s = NULL;
      ck_assert_int_eq(lrqk_session_open(&s, r.engine, &o), LRQK_DEVICE);
      log_capture_expect(&rig_said, wrong[i].what, wrong[i].size);
      rig_close(&r);
    }
  }
}
END_TEST

int main(void) {
  rig_quiet = true;
  Suite *suite = suite_create("ranges");
  TCase *t = tcase_create("ranges");
  tcase_set_timeout(t, 0);
  tcase_add_test(t, split_is_whole);
  tcase_add_test(t, limits_that_cannot_be_met);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
