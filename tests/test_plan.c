/* test_plan.c - plans: what lrqk_plan_make counts is what an engine and a session then allocate, for models with and without
 * windows, every policy, and devices whose limits cut buffers; what a step moves over the bus is what it says; budgets are kept to
 * the byte, and what is given up for them is what it says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lrqk/plan.h"
#include "session.h"
#include "session_rig.h"

#include "log_capture.h"   /* last: Check has a macro named fail */
#include "suite.h"

enum { CTX = 640, STEPS = 16 };   /* STEPS: pending rows of `gram` are summed once */

static const struct tiny_model tiny[] = {
  { .layers = 3, .embd = 96, .heads = 6, .kv_heads = 2, .head_size = 32 },
  { .arch = "qwen2", .bias = true, .type = TYPE_Q4_K, .v_type = TYPE_Q6_K + 1, .embd = 256, .ff = 256, .layers = 2 },
  { .arch = "gemma3", .layers = 7, .window = 32, .head_size = 32, .rope_base = 1e6f },
};
static const char default_model[] = TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
enum { DEFAULT = 3, WIDE = 4 };   /* WIDE is only counted: large enough for its parts to be more than one block of a pool */
static const struct tiny_model wide = { .layers = 8, .embd = 256, .heads = 8, .kv_heads = 8, .head_size = 64, .ctx = 8192 };

static const struct combination { int model; uint32_t n_ctx; const char *options; } combinations[] = {
  { 0, CTX, "attention=full" },
  { 0, CTX, "attention=offload" },
  { 0, CTX, "active=64 lite=16" },
  { 0, CTX, "active=64 lite=16 proxy=pairs rank=16 dense-layers=none" },
  { 0, CTX, "active=96 lite=8 proxy=gram mean-key=on proxy-type=fp16 dense-layers=0,2" },
  { 0, CTX, "preset=paper active=64 lite=16" },
  { 0, CTX, "proxy=paper rank=8 active=64 lite=16 group=max" },
  { 0, CTX, "active=64 lite=16 group=none mean-key=off tail=none" },
  { 0, 200, "active=2048" },
  { 1, CTX, "attention=full" },
  { 1, CTX, "active=128 lite=32" },
  { 2, CTX, "attention=full" },
  { 2, CTX, "attention=offload" },
  { 2, CTX, "active=64 lite=16 dense-layers=none" },
  { DEFAULT, 2048, "active=256" },
  { DEFAULT, 1100, "attention=offload" },
};
enum { COMBINATIONS = sizeof combinations / sizeof *combinations };
static const char *const devices[] = { "vulkan", "opencl", "host" };
enum { DEVICES = sizeof devices / sizeof *devices };

static char path[64];
static struct log_capture said;
static lrqk_model *model;
static lrqk_engine *engine;
static lrqk_session *session;

/* False where the default model is not there. */
static bool open_model(int which) {
  const struct log log = log_capture(&said);
  const struct lrqk_model_options o = { .log = log.fn, .log_ud = log.ud };
  struct tiny_model t = which < DEFAULT ? tiny[which] : wide;
  t.vocab = 288;
  if (!t.ctx) t.ctx = CTX;
  if (which == DEFAULT && access(default_model, R_OK)) return false;
  if (which != DEFAULT) tiny_model_save(&t, path);
  ck_assert_int_eq(lrqk_model_open(&model, which != DEFAULT ? path : default_model, &o), LRQK_OK);
  return true;
}

static void close_all(void) {
  lrqk_session_close(session);
  lrqk_engine_close(engine);
  lrqk_model_close(model);
  session = NULL, engine = NULL, model = NULL;
  unlink(path);
}

/* Devices that this run is about and that are there. */
static bool has(const char *device) {
  const char *only = getenv("LRQK_TEST_DEVICES");
  struct device *d;
  if (only && !strstr(only, device)) return false;
  if (device_open(&d, NULL, &(struct device_options){ .select = device, .counting = true }) != LRQK_OK) return false;
  device_close(d);
  return true;
}

/* All but STEPS tokens, and one step, which may have to fetch every row. */
static void feed(uint32_t n_ctx) {
  uint32_t n = n_ctx - STEPS - 1;
  int32_t ids[CTX];
  for (int i = 0; i < CTX; i++) ids[i] = (11 * i + i * i / 7) % 288;
  if (n_ctx > CTX) ck_assert_int_eq(lrqk_session_fill(session, n, 1), LRQK_OK);
  else ck_assert_int_eq(lrqk_session_prefill(session, ids, n, 0, NULL, NULL), LRQK_OK);
  ck_assert_msg(lrqk_session_decode(session, 7) == LRQK_OK, "%s", said.text);
}

static void check_memory(const struct lrqk_plan *p, const struct lrqk_memory *m, const char *what) {
  ck_assert_msg(p->memory.device == m->device && p->memory.host == m->host && p->memory.staging == m->staging,
                "%s: planned %llu %llu %llu, allocated %llu %llu %llu", what, (unsigned long long)p->memory.device,
                (unsigned long long)p->memory.host, (unsigned long long)p->memory.staging, (unsigned long long)m->device, (unsigned long long)m->host,
                (unsigned long long)m->staging);
}

/* The last steps that the context has room for: bytes over the bus of a step (lrqk: the mean, else of the last), and the hit rate. */
static double last_steps(double *hits) {
  struct lrqk_cache_stats a, b;
  uint32_t n = 0;
  for (int i = 0; i < STEPS; i++, n++) {
    if (i == 0 || session->attention->opt.policy != LRQK_POLICY_LRQK) {
      ck_assert_int_eq(lrqk_session_stats(session, &a), LRQK_OK);
      n = 0;
    }
    ck_assert_msg(lrqk_session_decode(session, 9 * i) == LRQK_OK, "%s", said.text);
  }
  ck_assert_int_eq(lrqk_session_stats(session, &b), LRQK_OK);
  *hits = b.chosen > a.chosen ? 1 - (double)(b.misses - a.misses) / (double)(b.chosen - a.chosen) : 1;
  return (double)(b.bus_bytes - a.bus_bytes) / n;
}

static void check_combination(const char *device, const struct combination *c) {
  char what[160];
  snprintf(what, sizeof what, "%s, model %d, %u tokens, %s", device, c->model, c->n_ctx, c->options);
  if (!open_model(c->model)) {
    fprintf(stderr, "%s: left out, the default model is not there\n", what);
    return;
  }
  struct lrqk_plan_options po = { .engine.device = device, .engine.validate = test_validates(), .session.n_ctx = c->n_ctx, .keep = LRQK_KEEP_ALL };
  struct lrqk_plan p;
  po.session.cache = rig_cache(c->options);
  ck_assert_msg(lrqk_plan_make(&p, model, &po) == LRQK_OK, "%s: %s", what, said.text);
  ck_assert_str_eq(p.given_up, "");
  ck_assert_uint_eq(p.memory.device, p.weights + p.dense + p.windows + p.proxies + p.active + p.lite + p.maps + p.work + p.scratch);
  ck_assert_uint_eq(p.device_kv_bytes, p.dense + p.windows + p.proxies + p.active + p.lite + p.maps + p.work);
  struct lrqk_engine_options eo = po.engine;
  struct lrqk_memory m;
  struct lrqk_cache_stats st;
  eo.vram = p.memory.device;   /* enough to the byte */
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &eo), LRQK_OK);
  ck_assert_msg(lrqk_session_open(&session, engine, &po.session) == LRQK_OK, "%s: %s", what, said.text);
  lrqk_engine_memory(engine, &m);
  check_memory(&p, &m, what);
  feed(c->n_ctx);
  double hits;
  double bus = last_steps(&hits);
  lrqk_engine_memory(engine, &m);
  check_memory(&p, &m, what);   /* nothing came on top */
  ck_assert_int_eq(lrqk_session_stats(session, &st), LRQK_OK);
  ck_assert_uint_eq(p.device_kv_bytes, st.device_bytes);
  ck_assert_uint_eq(p.host_kv_bytes, st.host_bytes);
  po.hit_rate = hits > 0 ? hits : 1e-12;
  ck_assert_int_eq(lrqk_plan_make(&p, model, &po), LRQK_OK);
  ck_assert_msg(fabs((double)p.bus_bytes - bus) <= 32, "%s: %llu bytes over the bus planned, %.1f moved", what, (unsigned long long)p.bus_bytes, bus);
  close_all();
}

START_TEST(plan_is_what_is_allocated) {
  const char *device = devices[_i / COMBINATIONS];
  const struct combination *c = &combinations[_i % COMBINATIONS];
  bool host = !strcmp(device, "host"), opencl = !strcmp(device, "opencl");
  /* What takes its time is left to others: the default model to vulkan, every third to opencl. */
  if (c->model == DEFAULT ? host || opencl : opencl && _i % 3) return;
  if (has(device)) check_combination(device, c);
}
END_TEST

/* Buffers cut by the limits of the device, and device memory that the host does not reach. */
static void check_limits(const struct device_options *dev, const struct combination *c) {
  lrqk_engine e = { 0 }, *twin;
  lrqk_session *s;
  struct lrqk_session_options so = { .n_ctx = c->n_ctx };
  so.cache = rig_cache(c->options);
  ck_assert(open_model(c->model));
  ck_assert_int_eq(device_open(&e.dev, &model->log, dev), LRQK_OK);
  e.model = model;
  ck_assert_int_eq(model_load(&e.weights, &model->hp, model->gguf, e.dev, NULL, NULL), LRQK_OK);
  ck_assert_int_eq(engine_count(&twin, model, &(struct lrqk_engine_options){ 0 }, e.dev), LRQK_OK);
  ck_assert_mem_eq(e.dev->placed, twin->dev->placed, sizeof e.dev->placed);
  ck_assert_int_eq(lrqk_session_open(&session, &e, &so), LRQK_OK);
  ck_assert_int_eq(lrqk_session_open(&s, twin, &so), LRQK_OK);
  feed(c->n_ctx);
  ck_assert_mem_eq(e.dev->placed, twin->dev->placed, sizeof e.dev->placed);
  lrqk_session_close(s);
  lrqk_engine_close(twin);
  lrqk_session_close(session);
  session = NULL;
  model_free(e.weights);
  device_close(e.dev);
  close_all();
}

START_TEST(limits_of_the_device_count) {
  static const int which[] = { 0, 1, 2, 4, 6, 13 };
  const struct combination *c = &combinations[which[_i]];
  check_limits(&(struct device_options){ .select = "host", .max_allocation = 600 << 10, .max_binding = 270 << 10 }, c);
  if (has("opencl")) check_limits(&(struct device_options){ .select = "opencl:", .separate = true }, c);
}
END_TEST

/* ---- a model of 8B whose weights are a hole in the file: nothing of them is there to be read */

static void hole(struct gguf_writer *w, uint64_t *at, int layer, const char *name, uint32_t type, uint64_t k, uint64_t rows) {
  char full[64];
  const struct tensor_type *t = tensor_type_find(type);
  if (layer < 0) snprintf(full, sizeof full, "%s.weight", name);
  else snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
  writer_tensor_at(w, full, type, rows ? 2 : 1, (const uint64_t[]){ k, rows }, *at);
  *at += (k / t->block * t->bytes * (rows ? rows : 1) + 31) / 32 * 32;
}

static void write_8b(const char *file) {
  const struct tiny_model t = { .arch = "llama", .layers = 32, .embd = 4096, .ff = 14336, .heads = 32, .kv_heads = 8, .head_size = 128,
                                .vocab = 128256, .ctx = 131072, .rope_dims = 128, .rope_base = 5e5f };
  struct gguf_writer w = { 0 };
  uint64_t at = 0;
  size_t n, data;
  tiny_model_keys(&w, &t);
  tiny_model_vocabulary(&w, t.vocab);
  hole(&w, &at, -1, "token_embd", TYPE_Q4_K, 4096, t.vocab);
  for (int i = 0; i < 32; i++) {
    hole(&w, &at, i, "attn_norm", TYPE_F32, 4096, 0);
    hole(&w, &at, i, "attn_q", TYPE_Q4_K, 4096, 4096);
    hole(&w, &at, i, "attn_k", TYPE_Q4_K, 4096, 1024);
    hole(&w, &at, i, "attn_v", TYPE_Q4_K, 4096, 1024);
    hole(&w, &at, i, "attn_output", TYPE_Q4_K, 4096, 4096);
    hole(&w, &at, i, "ffn_norm", TYPE_F32, 4096, 0);
    hole(&w, &at, i, "ffn_gate", TYPE_Q4_K, 4096, 14336);
    hole(&w, &at, i, "ffn_up", TYPE_Q4_K, 4096, 14336);
    hole(&w, &at, i, "ffn_down", TYPE_Q4_K, 14336, 4096);
  }
  hole(&w, &at, -1, "output_norm", TYPE_F32, 4096, 0);
  hole(&w, &at, -1, "output", TYPE_Q6_K, 4096, t.vocab);
  unsigned char *bytes = writer_file(&w, &n, &data);
  FILE *f = fopen(file, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) || truncate(file, (off_t)(data + at))) abort();
  free(bytes);
  writer_free(&w);
}

START_TEST(figures_of_the_method) {
  enum { L = 128 << 10, HK = 8, LAYERS = 31, ROW = 512 };   /* 31 layers with proxies; a row of K and V in bytes */
  const struct log log = log_capture(&said);
  struct lrqk_plan_options o = { .engine.device = "host", .engine.vram = UINT64_C(1) << 40, .session.n_ctx = L, .keep = LRQK_KEEP_ALL,
                                .hit_rate = 0.75 };
  struct lrqk_plan p;
  write_8b(path);
  ck_assert_int_eq(lrqk_model_open(&model, path, &(struct lrqk_model_options){ .log = log.fn, .log_ud = log.ud }), LRQK_OK);
  o.session.cache = rig_cache("proxy=pairs rank=64 active=2048 lite=64");
  ck_assert_msg(lrqk_plan_make(&p, model, &o) == LRQK_OK, "%s", said.text);
  ck_assert_uint_eq(p.proxies, (uint64_t)LAYERS * HK * L * (64 + 2));
  ck_assert_uint_eq(p.active, (uint64_t)LAYERS * HK * 2048 * ROW);
  ck_assert_uint_eq(p.lite, (uint64_t)LAYERS * HK * 64 * ROW);
  ck_assert_uint_eq(p.dense, (uint64_t)HK * L * ROW);
  ck_assert_uint_eq(p.host_kv_bytes, (uint64_t)LAYERS * HK * L * ROW);
  ck_assert_uint_eq(p.bus_bytes, (uint64_t)LAYERS * HK * (2048 / 4 + 1) * ROW);   /* misses, and the new row */
  ck_assert_uint_eq(p.read_bytes - p.weights, p.proxies + p.active + p.lite + p.dense);
  o.session.cache = rig_cache("attention=full");
  ck_assert_int_eq(lrqk_plan_make(&p, model, &o), LRQK_OK);
  ck_assert_uint_eq(p.device_kv_bytes, UINT64_C(16) << 30);
  ck_assert_uint_eq(p.bus_bytes, 0);
  o.session.cache = rig_cache("attention=offload");
  ck_assert_int_eq(lrqk_plan_make(&p, model, &o), LRQK_OK);
  ck_assert_uint_eq(p.bus_bytes, UINT64_C(16) << 30);
  ck_assert_uint_eq(p.device_kv_bytes, UINT64_C(1) << 30);
  close_all();
}
END_TEST

/* ---- budgets */

static struct lrqk_plan_options options(const char *cache, unsigned keep) {
  struct lrqk_plan_options o = { .engine.device = "host", .session.n_ctx = 8192, .keep = keep };
  o.session.cache = rig_cache(cache);
  return o;
}

static void expect_refused(const struct lrqk_plan *p, const char *hint) {
  char bytes[32], budget[48];
  snprintf(bytes, sizeof bytes, "%llu bytes", (unsigned long long)p->memory.device);
  snprintf(budget, sizeof budget, "budget is %llu", (unsigned long long)p->memory.device - 1);
  log_capture_expect(&said, bytes, budget);
  ck_assert_msg(strstr(said.hint, hint), "\"%s\" is not in: %s", hint, said.hint);
}

START_TEST(budget_holds_to_the_byte) {
  static const struct { const char *cache, *hint; } cases[] = {
    { "active=2048 lite=16 dense-layers=none", "--active 1024 fits" },
    { "active=64 lite=16 dense-layers=0", "--dense-layers none fits" },
    { "active=64 lite=16 dense-layers=none proxy-type=fp16 rank=32", "--proxy-type int8 fits" },
    { "attention=full", "--attention lrqk fits" },
    { "active=256 lite=16 dense-layers=none rank=8", "--ctx-size" },
  };
  ck_assert(open_model(WIDE));
  struct lrqk_plan_options o = options(cases[_i].cache, LRQK_KEEP_ALL);
  struct lrqk_plan p, q;
  ck_assert_int_eq(lrqk_plan_make(&p, model, &o), LRQK_OK);
  o.engine.vram = p.memory.device;
  ck_assert_int_eq(lrqk_plan_make(&q, model, &o), LRQK_OK);
  ck_assert_uint_eq(q.needed, q.budget);
  o.engine.vram--;
  ck_assert_int_eq(lrqk_plan_make(&q, model, &o), LRQK_MEMORY);
  expect_refused(&p, cases[_i].hint);
  log_capture(&said);
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &o.engine), LRQK_OK);
  ck_assert_int_eq(lrqk_session_open(&session, engine, &o.session), LRQK_MEMORY);
  expect_refused(&p, cases[_i].hint);
  lrqk_engine_close(engine);
  engine = NULL;
  log_capture(&said);
  o.engine.vram = p.weights - 1;
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &o.engine), LRQK_MEMORY);
  log_capture_expect(&said, "weights alone", "bytes of device memory");
  close_all();
}
END_TEST

/* A second session has what the first one left. */
START_TEST(budget_is_for_all_sessions) {
  ck_assert(open_model(0));
  struct lrqk_plan_options o = options("active=64 lite=16", LRQK_KEEP_ALL);
  struct lrqk_plan p;
  lrqk_session *second;
  o.session.n_ctx = CTX;
  ck_assert_int_eq(lrqk_plan_make(&p, model, &o), LRQK_OK);
  o.engine.vram = 2 * p.memory.device - p.weights;
  ck_assert_int_eq(lrqk_engine_open(&engine, model, &o.engine), LRQK_OK);
  ck_assert_int_eq(lrqk_session_open(&session, engine, &o.session), LRQK_OK);
  ck_assert_int_eq(lrqk_session_open(&second, engine, &o.session), LRQK_OK);
  lrqk_session_close(second);
  engine->vram--;
  ck_assert_int_eq(lrqk_session_open(&second, engine, &o.session), LRQK_MEMORY);
  log_capture_expect(&said, "by other sessions", "budget is");
  close_all();
}
END_TEST

/* From what all of it needs down to where nothing fits: what was asked to stay stays, and the plan is what is then allocated. */
static void squeeze(const char *cache, unsigned keep, const char *const *steps, size_t n_steps) {
  struct lrqk_plan_options o = options(cache, keep);
  struct lrqk_plan p, first;
  ck_assert_int_eq(lrqk_plan_make(&first, model, &o), LRQK_OK);
  enum lrqk_status s = LRQK_OK;
  bool seen[8] = { 0 };
  int plans = 0;
  for (o.engine.vram = first.memory.device; s == LRQK_OK; o.engine.vram = p.memory.device - 1, plans++) {
    s = lrqk_plan_make(&p, model, &o);
    if (s != LRQK_OK) break;
    ck_assert_uint_le(p.memory.device, o.engine.vram);
    for (size_t i = 0; i < n_steps; i++) seen[i] = seen[i] || strstr(p.given_up, steps[i]);
    if (keep & LRQK_KEEP_ACTIVE) ck_assert_uint_eq(p.cache.active, first.cache.active);
    if (keep & LRQK_KEEP_RANK) ck_assert_uint_eq(p.cache.rank, first.cache.rank);
    if (keep & LRQK_KEEP_DENSE) ck_assert_mem_eq(p.cache.dense, first.cache.dense, sizeof p.cache.dense);
    if (keep & LRQK_KEEP_CTX) ck_assert_uint_eq(p.n_ctx, first.n_ctx);
    if (plans % 4) continue;   /* every fourth is opened, too */
    const struct lrqk_session_options so = { .cache = p.cache, .n_ctx = p.n_ctx };
    struct lrqk_memory m;
    ck_assert_int_eq(lrqk_engine_open(&engine, model, &o.engine), LRQK_OK);
    ck_assert_int_eq(lrqk_session_open(&session, engine, &so), LRQK_OK);
    lrqk_engine_memory(engine, &m);
    check_memory(&p, &m, p.given_up);
    lrqk_session_close(session);
    lrqk_engine_close(engine);
    session = NULL, engine = NULL;
  }
  ck_assert_int_eq(s, LRQK_MEMORY);
  ck_assert_int_gt(plans, 1);
  for (size_t i = 0; i < n_steps; i++) ck_assert_msg(seen[i], "%s: never given up: %s", cache, steps[i]);
}

START_TEST(fit_gives_up_in_order) {
  static const char cache[] = "active=1024 lite=16 proxy-type=fp16 rank=32 dense-layers=0,2-4";
  static const char *const all[] = { "dense-layers 0,2-4 -> none", "proxy-type fp16 -> int8", "active 1024 -> 512", "active 1024 -> 256",
                                     "rank 32 -> 16", "ctx-size 8192 -> 256" };
  static const char *const context[] = { "ctx-size 8192 -> 256" };
  ck_assert(open_model(WIDE));
  squeeze(cache, 0, all, 6);
  squeeze(cache, LRQK_KEEP_CTX, all, 5);
  squeeze(cache, LRQK_KEEP_ALL & ~LRQK_KEEP_CTX, context, 1);
  squeeze("attention=full", 0, context, 1);
  close_all();
}
END_TEST

/* `test_plan --write FILE`: the model of 8B, for the table of tools/docs/plan.md. */
int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--write")) {
    write_8b(argv[2]);
    return EXIT_SUCCESS;
  }
  snprintf(path, sizeof path, "/tmp/lrqk-plan-%d.gguf", (int)getpid());
  Suite *s = suite_create("plan");
  TCase *t = tcase_create("plan");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, plan_is_what_is_allocated, 0, DEVICES * COMBINATIONS);
  tcase_add_loop_test(t, limits_of_the_device_count, 0, 6);
  tcase_add_test(t, figures_of_the_method);
  tcase_add_loop_test(t, budget_holds_to_the_byte, 0, 5);
  tcase_add_test(t, budget_is_for_all_sessions);
  tcase_add_test(t, fit_gives_up_in_order);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
