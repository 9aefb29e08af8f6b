#include "session_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "session.h"

#include "log_capture.h"   /* last: Check has a macro named fail */

struct log_capture rig_said;
bool rig_quiet;
static int complaints;                           /* of the validation layer */

void rig_log(void *ud, enum lrqk_log_level level, const char *text) {
  (void)ud;
  log_capture_fn(&rig_said, level, text);
  if (level <= LRQK_LOG_HINT && !rig_quiet) fprintf(stderr, "%s\n", text);
  if (level == LRQK_LOG_ERROR && !strncmp(text, "Vulkan: ", 8)) complaints++;
}

void rig_check(void) {
  int n = complaints;
  complaints = 0;
  ck_assert_msg(n == 0, "%d messages of the validation layer", n);
}

lrqk_model *rig_model(const struct tiny_model *shape) {
  lrqk_model *m;
  char path[64];
  log_capture(&rig_said);
  snprintf(path, sizeof path, "rig_%d.gguf", (int)getpid());
  tiny_model_save(shape, path);
  ck_assert_int_eq(lrqk_model_open(&m, path, &(struct lrqk_model_options){ .log = rig_log }), LRQK_OK);
  unlink(path);
  return m;
}

struct rig rig_open(const struct tiny_model *shape, const struct lrqk_engine_options *options) {
  struct rig r = { .model = rig_model(shape) };
  struct lrqk_engine_options opt = *options;
  opt.validate = test_validates();
  ck_assert_int_eq(lrqk_engine_open(&r.engine, r.model, &opt), LRQK_OK);
  return r;
}

struct rig rig_open_device(const struct tiny_model *shape, const struct device_options *options) {
  struct rig r = { rig_model(shape), mem_alloc(1, sizeof *r.engine) };
  struct device_options opt = *options;
  opt.validate = test_validates();
  r.engine->model = r.model;
  ck_assert_int_eq(device_open(&r.engine->dev, &r.model->log, &opt), LRQK_OK);
  ck_assert_int_eq(model_load(&r.engine->weights, &r.model->hp, r.model->gguf, r.engine->dev, NULL, NULL), LRQK_OK);
  return r;
}

void rig_close(struct rig *r) {
  lrqk_engine_close(r->engine);
  lrqk_model_close(r->model);
  rig_check();
}

struct lrqk_cache_options rig_cache(const char *words) {
  struct lrqk_cache_options o = lrqk_cache_defaults();
  char text[256];
  snprintf(text, sizeof text, "%s", words);
  for (char *p = strtok(text, " "); p; p = strtok(NULL, " ")) {
    char *eq = strchr(p, '=');
    *eq = 0;
    ck_assert_int_eq(lrqk_cache_set(&o, p, eq + 1, rig_log, NULL), LRQK_OK);
  }
  return o;
}

lrqk_session *rig_session(const struct rig *r, const char *words, uint32_t n_ctx) {
  const struct lrqk_session_options o = { .cache = rig_cache(words), .n_ctx = n_ctx, .beyond = true };
  lrqk_session *s;
  ck_assert_msg(lrqk_session_open(&s, r->engine, &o) == LRQK_OK, "%s: %s", words, rig_said.text);
  return s;
}

static uint32_t vocabulary(const lrqk_session *s) { return s->engine->model->hp.n_vocab; }

void rig_prompt(lrqk_session *s, uint32_t n) {
  int32_t *ids = malloc(n * sizeof *ids);
  for (uint32_t i = 0; i < n; i++) ids[i] = (int32_t)(i * i % vocabulary(s));
  ck_assert_int_eq(lrqk_session_prefill(s, ids, n, 0, NULL, NULL), LRQK_OK);
  free(ids);
}

void rig_decode(lrqk_session *s, uint32_t n, float *logits) {
  size_t vocab = vocabulary(s);
  for (uint32_t i = 0; i < n; i++) {
    ck_assert_int_eq(lrqk_session_decode(s, (int32_t)(7 * i % vocab)), LRQK_OK);
    if (logits) memcpy(logits + i * vocab, lrqk_session_logits(s), vocab * sizeof *logits);
  }
}

void rig_verify(lrqk_session *s) {
  uint64_t differing;
  ck_assert_int_eq(lrqk_session_verify(s, &differing), LRQK_OK);
  ck_assert_uint_eq(differing, 0);
}

static double nmse_about(const float *a, const float *b, size_t n, double mean) {
  double err = 0, var = 0;
  for (size_t i = 0; i < n; i++) {
    err += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    var += (b[i] - mean) * (b[i] - mean);
  }
  return err / var;
}

double nmse(const float *a, const float *b, size_t n) { return nmse_about(a, b, n, 0); }

double nmse_centred(const float *a, const float *b, size_t n) {
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += b[i];
  return nmse_about(a, b, n, mean / (double)n);
}
