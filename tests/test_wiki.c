/* LRQK as published on the queries and keys of a real model: the sets that two layers choose after 1000 tokens of WikiText and
 * after one more, against those of the reference implementation (golden.h).  The model reads the text under policy full; its
 * keys are rounded to fp16, the reference's are not.
 * Takes $LRQK_TEST_MODEL or models/SmolLM2-135M-Instruct.Q4_1.gguf; without it the test is skipped (exit code 77). */
#include "attention/attention.h"
#include "base/half.h"
#include "model/forward.h"
#include "paper_text.h"
#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { D = SYNTH_D, HK = 3, G = 3, N = 1000, LAYERS = 2 };

static const uint32_t layers[LAYERS] = { 5, 20 };
static const char *model_path;
static struct synth rows[LAYERS][HK];            /* q [G][N + SYNTH_STEPS][D], k [N + SYNTH_STEPS][D]; the last tokens are not used */

/* ---- the model */

static struct synth *of_layer(uint32_t layer) { return layer == layers[0] ? rows[0] : layer == layers[1] ? rows[1] : NULL; }

/* What policy full does, and the queries of two layers after RoPE. */
static void prefill_and_keep(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  struct synth *keep = of_layer(layer);
  struct attn_core *c = &a->core;
  attention_full.prefill(a, layer, qkv, cs, t0, m, y);
  if (!keep) return;
  size_t bytes = (size_t)m * HK * G * D * sizeof(float);
  float *q = malloc(bytes);                      /* [HK][m][G][D] */
  ck_assert_int_eq(device_submit(c->dev, NULL), LRQK_OK);
  ck_assert_int_eq(device_read(c->dev, q, c->q, bytes), LRQK_OK);
  for (uint32_t h = 0; h < HK; h++)
    for (uint32_t t = 0; t < m; t++)
      for (uint32_t j = 0; j < G; j++)
        memcpy(keep[h].q + ((size_t)j * (N + SYNTH_STEPS) + t0 + t) * D, q + (((size_t)h * m + t) * G + j) * D, D * sizeof *q);
  free(q);
}

static void keep_keys(struct attention *a, uint32_t layer) {
  const struct kv_rows *kv = attention_full.rows(a, layer);
  struct synth *keep = of_layer(layer);
  uint16_t *page = malloc(kv_rows_bytes(kv));
  for (uint32_t p = 0; p < kv->n_pages; p++) {
    ck_assert_int_eq(device_read(a->core.dev, page, kv_page(kv, p), kv->buf[p]->size), LRQK_OK);
    for (uint32_t t = p * kv->page; t < N + 1 && t < (p + 1) * kv->page; t++)
      for (uint32_t i = 0; i < HK * D; i++)
        keep[i / D].k[(size_t)t * D + i % D] = half_to_float(page[((size_t)(t - p * kv->page) * HK + i / D) * 2 * D + i % D]);
  }
  free(page);
}

/* Stops when the layers that count are done. */
static bool go_on(void *ud, uint64_t done, uint64_t total) {
  (void)ud;
  (void)total;
  return done < (uint64_t)(layers[LAYERS - 1] + 1) * (N + 1);
}

static void read_text(void) {
  static const struct lrqk_model_options mo = { .log = rig_log };
  static struct attention_ops ops;
  lrqk_model *model;
  lrqk_engine *engine;
  struct forward f;
  struct attention *a;
  uint32_t chunk;
  struct lrqk_cache_options o = lrqk_cache_defaults();
  o.policy = LRQK_POLICY_FULL;
  ck_assert_int_eq(lrqk_model_open(&model, model_path, &mo), LRQK_OK);
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &(struct lrqk_engine_options){ .device = "vulkan", .validate = test_validates() }), LRQK_OK);
  const struct hparams *hp = &engine->weights->hp;
  ck_assert(hp->n_kv_heads == HK && hp->n_heads == HK * G && hp->head_size == D);
  for (int i = 0; i < LAYERS * HK; i++) {
    struct synth *s = &rows[i / HK][i % HK];
    *s = (struct synth){ .heads = G, .n = N, .q = calloc((size_t)G * (N + SYNTH_STEPS) * D, 4), .k = calloc((size_t)(N + SYNTH_STEPS) * D, 4) };
  }
  ck_assert_int_eq(attn_chunk(&chunk, engine->dev, hp, N + 1), LRQK_OK);
  ck_assert_int_eq(forward_init(&f, engine->weights, N + 1, chunk), LRQK_OK);
  ck_assert_int_eq(attention_open(&a, engine->dev, hp, N + 1, &o, f.step), LRQK_OK);
  ops = *a->ops;
  ops.prefill = prefill_and_keep;
  a->ops = &ops;
  ck_assert_int_eq(forward_prefill(&f, a, golden_i32("wiki.ids", N + 1), N + 1, 0, go_on, NULL), LRQK_INTERRUPTED);
  for (int i = 0; i < LAYERS; i++) keep_keys(a, layers[i]);
  attention_close(a);
  forward_destroy(&f);
  lrqk_engine_close(engine);
  lrqk_model_close(model);
}

static void forget_text(void) {
  for (int i = 0; i < LAYERS * HK; i++) synth_free(&rows[i / HK][i % HK]);
  golden_free();
}

/* ---- the sets */

static uint32_t common(const int32_t *a, const int32_t *b, uint32_t n) {
  uint32_t same = 0;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++) same += a[i] == b[j];
  return same;
}

/* The sets of the query heads of a KV head, before and after a step: *same of *all tokens. */
static void compare(int layer, uint32_t h, uint32_t gap, uint32_t *same, uint32_t *all) {
  char name[32];
  snprintf(name, sizeof name, "wiki%u.meta", layers[layer]);
  const int32_t *meta = golden_i32(name, 7);     /* n, r, k, lite, iterations, seeds */
  uint32_t k = (uint32_t)meta[2];
  ck_assert(meta[0] == N && k <= PAPER_MAX_K && meta[4] == 2);
  const struct paper_setup c = { .heads = G, .n = N, .r = (uint32_t)meta[1], .k = k, .lite = (uint32_t)meta[3], .lambda = 1,
                                 .seed_q = (uint64_t)meta[5], .seed_k = (uint64_t)meta[6], .head0 = h * G };
  struct paper_text t;
  paper_text_open(&t, &c, &rows[layer][h], true);
  for (int step = 0; step < 2; step++) {
    if (step) paper_text_step(&t, gap, false);
    snprintf(name, sizeof name, step ? "wiki%u.hits%u" : "wiki%u.first", layers[layer], gap);
    const int32_t *want = golden_i32(name, (size_t)HK * G * k) + (size_t)h * G * k;
    for (uint32_t j = 0; j < G; j++) {
      uint32_t both = common(t.hits[j], want + j * k, k);
      ck_assert_msg(both * 100 >= k * 95, "layer %u head %u gap %u step %d: %u of %u chosen", layers[layer], h * G + j, gap, step, both, k);
      *same += both;
      *all += k;
    }
  }
  paper_text_close(&t);
}

START_TEST(sets_are_the_published_ones) {
  uint32_t same = 0, all = 0;
  for (uint32_t h = 0; h < HK; h++) compare(_i / 2, h, (uint32_t)_i % 2, &same, &all);
  ck_assert_msg(same * 100 >= all * 97, "layer %u: %u of %u chosen", layers[_i / 2], same, all);
  printf("layer %u, candidates %s: %u of %u tokens as published\n", layers[_i / 2], _i % 2 ? "as published" : "up to the lite ones", same, all);
}
END_TEST

int main(void) {
  model_path = getenv("LRQK_TEST_MODEL");
  if (!model_path) model_path = TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (access(model_path, R_OK)) {
    printf("skipped: no model at %s\n", model_path);
    return 77;
  }
  Suite *s = suite_create("wiki");
  TCase *c = tcase_create("sets");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, read_text, forget_text);
  tcase_add_loop_test(c, sets_are_the_published_ones, 0, 2 * LAYERS);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
