/* paper_proxy.c and the selection on each device: the sets that the engine chooses with `--proxy paper`, its proxies and its
 * queries, against LRQK written plainly (paper_text.h), from the same start; and that none of it depends on pages. */
#include "attention/paper_proxy.h"
#include "attention/select.h"
#include "base/half.h"
#include "kernel_harness.h"
#include "paper_text.h"
#include "shaders/step.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = SYNTH_D, HK = 2, G = 3, N = 600, CTX = 1024, HQ = HK * G, K = 64, LITE = 16, STEPS = SYNTH_STEPS };

static const struct config { bool share_head, int8, freeze; uint32_t r; double lambda; } configs[] = {
  { true, false, false, 16, 1 }, { true, true, false, 8, 1 }, { false, false, false, 16, 0.5 }, { false, true, true, 32, 1 }
};
enum { N_CONFIGS = sizeof configs / sizeof *configs };

/* ---- the text: two KV heads, keys that fp16 holds */

static struct synth text[HK];

static void make_text(void) {
  for (uint32_t h = 0; h < HK; h++) {
    synth_make(&text[h], "gqa.mix", 300 + 10 * h, G, N);
    for (size_t i = 0; i < (size_t)(N + STEPS) * D; i++) text[h].k[i] = half_to_float(float_to_half(text[h].k[i]));
  }
}

static void free_text(void) {
  for (uint32_t h = 0; h < HK; h++) synth_free(&text[h]);
  golden_free();
}

/* [HK][m][G][D] */
static float *queries_of(uint32_t t0, uint32_t m) {
  float *q = test_memory((size_t)HQ * m * D, 4);
  for (uint32_t h = 0; h < HK; h++)
    for (uint32_t t = 0; t < m; t++)
      for (uint32_t j = 0; j < G; j++)
        memcpy(q + (((size_t)h * m + t) * G + j) * D, text[h].q + ((size_t)j * (N + STEPS) + t0 + t) * D, D * sizeof *q);
  return q;
}

/* [m][HK][2D], values zero */
static uint16_t *rows_of(uint32_t t0, uint32_t m) {
  uint16_t *kv = test_memory((size_t)m * HK * 2 * D, 2);
  for (uint32_t t = 0; t < m; t++)
    for (uint32_t i = 0; i < HK * D; i++) kv[((size_t)t * HK + i / D) * 2 * D + i % D] = float_to_half(text[i / D].k[(size_t)(t0 + t) * D + i % D]);
  return kv;
}

/* ---- the engine's parts for one layer */

struct rig {
  const struct config *c;
  struct device *dev;
  struct hparams hp;
  struct lrqk_cache_options o;
  struct attn_core core;
  struct proxy_shape shape;
  struct proxy proxy;
  struct selector selector;
  struct paper_shape papers;
  struct paper_layer paper;
  struct kv_rows host;
  struct pool pool;
  struct buffer *step, *new_row, *list[2];
  uint32_t now;
};

static void ok(enum lrqk_status s) { ck_assert_int_eq(s, LRQK_OK); }

static void rig_open(struct rig *r, struct device *dev, const struct config *c, uint32_t page) {
  *r = (struct rig){ .c = c, .dev = dev, .hp = { .n_layers = 1, .n_embd = HQ * D, .n_ff = 64, .n_heads = HQ, .n_kv_heads = HK, .head_size = D,
                                                 .rope_dims = D, .attn_scale = 1 / sqrtf(D), .rope_base = 10000, .rms_eps = 1e-5f,
                                                 .n_vocab = 32, .n_ctx = CTX } };
  struct lrqk_cache_options *o = &r->o;
  *o = lrqk_cache_defaults();
  ok(lrqk_cache_set(o, "preset", "paper", NULL, NULL));
  o->rank = c->r;
  o->active = K;
  o->lite = LITE;
  o->tol = 0;
  o->lambda = c->lambda;
  o->freeze_basis = c->freeze;
  if (c->int8) o->proxy_type = LRQK_PROXY_INT8;
  if (!c->share_head) {
    o->share = LRQK_SHARE_GROUP;
    o->group = LRQK_GROUP_SUM;
  }
  ok(buffer_create(&r->step, dev, PLACE_DEVICE, STEP_WORDS * 4, "step"));
  ok(attn_core_init(&r->core, dev, &r->hp, CTX, view_of(r->step)));
  r->core.page = page;
  ok(proxy_shape_init(&r->shape, &r->core, o));
  pool_init(&r->pool, dev, PLACE_DEVICE, "test", 1 << 20);
  ok(proxy_init(&r->proxy, &r->shape, &r->core, &r->pool));
  ok(selector_init(&r->selector, &r->core, o, &r->shape));
  ok(paper_shape_init(&r->papers, &r->core, o, &r->shape, r->selector.lists));
  ok(paper_init(&r->paper, &r->papers, &r->pool));
  ok(kv_rows_init(&r->host, dev, PLACE_HOST, CTX, page, r->core.token_bytes, "host rows"));
  ok(buffer_create(&r->new_row, dev, PLACE_DEVICE, r->core.token_bytes, "new row"));
  for (int i = 0; i < 2; i++) ok(buffer_create(&r->list[i], dev, PLACE_DEVICE, (uint64_t)r->selector.lists * r->selector.list_stride * 4, "list"));
}

static void rig_close(struct rig *r) {
  paper_destroy(&r->paper);
  paper_shape_destroy(&r->papers);
  selector_destroy(&r->selector);
  proxy_destroy(&r->proxy);
  pool_destroy(&r->pool);
  kv_rows_destroy(&r->host);
  attn_core_destroy(&r->core);
  struct buffer **all[] = { &r->step, &r->new_row, &r->list[0], &r->list[1] };
  for (int i = 0; i < 4; i++) buffer_destroy(all[i]);
}

static void put_rows(struct rig *r, uint32_t t0, uint32_t m) {
  uint32_t row = HK * 2 * D;
  const uint16_t *kv = rows_of(t0, m);
  for (uint32_t t = t0; t < t0 + m; t++)
    memcpy((char *)r->host.buf[t / r->host.page]->map + (size_t)(t % r->host.page) * row * 2, kv + (size_t)(t - t0) * row, row * 2);
}

static void put_queries(struct rig *r, uint32_t t0, uint32_t m) { ok(device_write(r->dev, r->core.q, queries_of(t0, m), (uint64_t)HQ * m * D * 4)); }

static void prefill(struct rig *r) {
  put_rows(r, 0, N);
  for (uint32_t t = 0; t < N;) {
    uint32_t m = N - t < r->core.chunk ? N - t : r->core.chunk;
    put_queries(r, t, m);
    paper_add(&r->paper, &r->papers, m);
    ok(device_submit(r->dev, NULL));
    t += m;
  }
  paper_solve(&r->paper, &r->papers, &r->proxy, &r->host, N);
  ok(device_submit(r->dev, NULL));
}

/* As lrqk.c does; the row is in host memory from the start. */
static void step(struct rig *r, uint32_t t) {
  uint32_t cand = t + 1 - LITE;
  const uint32_t words[STEP_WORDS] = { [STEP_POS] = t, [STEP_LEN] = t + 1, [STEP_CAND] = cand, [STEP_CNT] = K, [STEP_OLD] = t > N ? K : 0 };
  ok(device_wait(r->dev, 0));
  put_rows(r, t, 1);
  ok(device_write(r->dev, view_of(r->step), words, sizeof words));
  ok(device_write(r->dev, view_of(r->new_row), rows_of(t, 1), r->core.token_bytes));
  put_queries(r, t, 1);
  r->now = !r->now;
  paper_append(&r->paper, &r->papers, &r->proxy, &r->host, view_of(r->new_row), view_of(r->list[!r->now]), t > N ? K : 0, t, r->selector.queries);
  paper_add(&r->paper, &r->papers, 1);
  r->papers.fresh = false;
  selector_run(&r->selector, &r->proxy, &r->shape, NULL, cand, view_of(r->list[r->now]));
  ok(device_submit(r->dev, NULL));
}

static void *take(struct rig *r, struct view v) {
  void *p = test_memory(v.size, 1);
  ok(device_read(r->dev, p, v, v.size));
  return p;
}

/* ---- checks */

/* What an A_K holds for a token on the device. */
static void proxy_row(struct rig *r, uint32_t plane, uint32_t t, double *a) {
  uint32_t page = t / r->core.page, room = proxy_page_tokens(&r->core, page), at = plane * room + t % r->core.page;
  char *rows = take(r, proxy_rows(&r->proxy, &r->shape, &r->core, page, 0, r->shape.planes));
  uint16_t *scales = take(r, proxy_scales(&r->proxy, &r->shape, &r->core, page, 0, r->shape.planes));
  for (uint32_t i = 0; i < r->c->r; i++)
    a[i] = r->c->int8 ? ((int8_t *)rows)[(size_t)at * r->shape.rw * 16 + i] * (double)half_to_float(scales[at])
                      : (double)half_to_float(((uint16_t *)(void *)rows)[(size_t)at * r->shape.rw * 8 + i]);
}

/* A_K is known up to what fp16 or int8 keeps of it; a row's error is that of its largest number. */
static void check_row(struct rig *r, const struct paper_text *t, uint32_t plane, uint32_t head, uint32_t token) {
  double got[64], most = 0;
  const double *want = t->ak + ((size_t)head * (N + STEPS) + token) * r->c->r;
  proxy_row(r, plane, token, got);
  for (uint32_t i = 0; i < r->c->r; i++) most = fmax(most, fabs(want[i]));
  for (uint32_t i = 0; i < r->c->r; i++)
    ck_assert_msg(fabs(got[i] - want[i]) <= most * (r->c->int8 ? 6e-3 : 1e-3), "plane %u token %u: number %u is %g, expected %g", plane, token,
                  i, got[i], want[i]);
}

static uint32_t common(const uint32_t *a, const int32_t *b) {
  uint32_t same = 0;
  for (uint32_t i = 0; i < K; i++)
    for (uint32_t j = 0; j < K; j++) same += a[i] == (uint32_t)b[j];
  return same;
}

/* The first Omega and the lists of all steps, one after the other; each: one set per list. */
static uint32_t *sets_of(struct rig *r, const struct paper_text *plain, uint32_t *differ) {
  uint32_t lists = r->selector.lists, per = lists / HK, *out = test_memory((size_t)(STEPS + 1) * lists * K, 4);
  struct paper_text t[HK];
  for (uint32_t h = 0; h < HK && plain; h++) t[h] = plain[h];
  prefill(r);
  memcpy(out, r->paper.first, (size_t)lists * K * 4);
  for (uint32_t i = 1; i <= STEPS; i++) {
    step(r, N + i - 1);
    const uint32_t *list = take(r, view_of(r->list[r->now]));
    for (uint32_t j = 0; j < lists; j++) memcpy(out + ((size_t)i * lists + j) * K, list + (size_t)j * r->selector.list_stride, K * 4);
  }
  for (uint32_t i = 0; i <= STEPS && plain; i++) {
    for (uint32_t h = 0; h < HK; h++) {
      if (i) paper_text_step(&t[h], 0, false);
      for (uint32_t j = 0; j < per; j++) *differ += K - common(out + ((size_t)i * lists + h * per + j) * K, t[h].hits[j]);
    }
  }
  for (uint32_t h = 0; h < HK && plain; h++)
    for (uint32_t j = 0; j < r->shape.planes / HK; j++)
      for (uint32_t token = 0; token < N + STEPS; token += token < N - 1 ? 99 : 1) check_row(r, &t[h], h * (r->shape.planes / HK) + j, j, token);
  return out;
}

START_TEST(engine_does_what_is_published) {
  const struct config *c = &configs[_i];
  const struct paper_setup setup = { .heads = G, .n = N, .r = c->r, .k = K, .lite = LITE, .group = !c->share_head, .lambda = c->lambda };
  for (size_t device = 0; device < harness_count(); device++) {
    struct paper_text plain[HK];
    struct rig r;
    uint32_t differ = 0, *whole, *cut, all;
    for (uint32_t h = 0; h < HK; h++) {
      paper_text_open(&plain[h], &setup, &text[h], true);
      plain[h].o.freeze_basis = c->freeze;
    }
    rig_open(&r, harness_device(device), c, CTX);
    all = (STEPS + 1) * r.selector.lists * K;
    whole = sets_of(&r, plain, &differ);
    rig_close(&r);
    ck_assert_msg(differ * 500 <= all * (c->int8 ? 5 : 1), "%s: %u of %u tokens are not those of the published algorithm",
                  harness_name(device), differ, all);
    rig_open(&r, harness_device(device), c, 512);
    cut = sets_of(&r, NULL, NULL);
    rig_close(&r);
    ck_assert_msg(!memcmp(whole, cut, all * sizeof *cut), "%s: the choice depends on pages", harness_name(device));
    for (uint32_t h = 0; h < HK; h++) paper_text_close(&plain[h]);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("paper_proxy");
  TCase *c = tcase_create("layer");
  tcase_set_timeout(c, 300);
  tcase_add_unchecked_fixture(c, harness_open, harness_close);
  tcase_add_unchecked_fixture(c, make_text, free_text);
  tcase_add_checked_fixture(c, harness_fresh, NULL);
  tcase_add_loop_test(c, engine_does_what_is_published, 0, N_CONFIGS);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
