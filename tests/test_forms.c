/* Which form of an operation runs (src/device/form.h): what is asked for, what is measured, what is stored; and a model under each
 * form against the register form, on every device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "device/form.h"
#include "session_rig.h"

#include "suite.h"   /* last: it has a macro named fail */

static const struct lrqk_device_info gpu = { .backend = "vulkan", .name = "card", .driver = "1", .type = LRQK_DEVICE_DISCRETE, .max_workgroup = 1024,
                                             .max_shared = 48 << 10 };

static struct lrqk_device_info cpu_info(void) {
  struct lrqk_device_info d = gpu;
  d.type = LRQK_DEVICE_SOFTWARE;
  return d;
}

START_TEST(by_type) {
  struct forms f;
  struct lrqk_device_info cpu = cpu_info(), small = gpu;
  form_defaults(&f, &gpu);
  for (enum form_op i = 0; i < N_FORM_OPS; i++) ck_assert_int_eq(f.op[i].form, i == OP_GRAM || i == OP_MAP ? FORM_REGISTER : FORM_TILE);
  form_defaults(&f, &cpu);
  for (int i = 0; i < N_FORM_OPS; i++) ck_assert_int_eq(f.op[i].form, FORM_REGISTER);
  small.max_workgroup = 128;                     /* what Vulkan guarantees */
  small.max_shared = 16 << 10;
  form_defaults(&f, &small);
  ck_assert_int_eq(f.op[OP_MATVEC].form, FORM_REGISTER);
  ck_assert_int_eq(f.op[OP_MATMUL].form, FORM_TILE);
  ck_assert_int_eq(f.op[OP_DECODE].form, FORM_TILE);
}
END_TEST

static enum lrqk_status pin(struct forms *f, const struct lrqk_device_info *d, const char *text) {
  form_defaults(f, d);
  return form_pin(f, d, text, &(struct log){ 0 });
}

START_TEST(asked_for) {
  struct forms f;
  struct lrqk_device_info cpu = cpu_info(), blas = cpu_info(), host = cpu_info();
  blas.clblast = true;
  strcpy(host.backend, "host");
  ck_assert_int_eq(pin(&f, &cpu, "tile"), LRQK_OK);
  for (enum form_op i = 0; i < OP_GRAM; i++) ck_assert(f.op[i].form == FORM_TILE && f.op[i].why == WHY_PINNED);
  ck_assert(f.op[OP_GRAM].form == FORM_REGISTER && f.op[OP_GRAM].why == WHY_TYPE);   /* has no tile */
  ck_assert_int_eq(pin(&f, &gpu, "register,matvec=tile"), LRQK_OK);
  ck_assert_int_eq(f.op[OP_MATVEC].form, FORM_TILE);
  ck_assert_int_eq(f.op[OP_MATVEC_WIDE].form, FORM_TILE);
  ck_assert_int_eq(f.op[OP_DECODE].form, FORM_REGISTER);
  ck_assert_int_eq(pin(&f, &cpu, "auto"), LRQK_OK);
  ck_assert_int_eq(f.op[OP_MATVEC].why, WHY_TYPE);
  ck_assert_int_eq(pin(&f, &blas, "clblast"), LRQK_OK);
  ck_assert(f.op[OP_MATMUL_WIDE].form == FORM_CLBLAST && f.op[OP_GRAM].form == FORM_CLBLAST && f.op[OP_MAP].form == FORM_CLBLAST);
  ck_assert_int_eq(f.op[OP_MATVEC].form, FORM_REGISTER);
  static const char *const wrong[] = { "tiles", "matvec=auto", "matvec=", "matvecs=tile", "matvec=clblast", "map=tile", "gram=clblast",
                                       "matvec=tile;", "=tile", ",", "clblast" };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) ck_assert_msg(pin(&f, &cpu, wrong[i]) == LRQK_USAGE, "%s", wrong[i]);
  ck_assert_int_eq(pin(&f, &blas, "matvec=clblast"), LRQK_USAGE);
  ck_assert_int_eq(pin(&f, &host, "tile"), LRQK_USAGE);
}
END_TEST

START_TEST(measured) {
  struct lrqk_device_info cpu = cpu_info();
  struct forms f = { 0 };
  memcpy(f.op[OP_MATVEC].us, (const double[]){ 100, 90, 0 }, sizeof f.op[0].us);      /* faster, but not clearly */
  memcpy(f.op[OP_MATMUL].us, (const double[]){ 100, 80, 60 }, sizeof f.op[0].us);
  memcpy(f.op[OP_DECODE].us, (const double[]){ 100, 50, 0 }, sizeof f.op[0].us);
  form_decide(&f, &cpu);
  ck_assert(f.op[OP_MATVEC].form == FORM_REGISTER && f.op[OP_MATVEC].why == WHY_MEASURED);
  ck_assert(f.op[OP_MATMUL].form == FORM_CLBLAST && f.op[OP_DECODE].form == FORM_TILE);
  ck_assert(f.op[OP_PREFILL].form == FORM_REGISTER && f.op[OP_PREFILL].why == WHY_TYPE);
  form_decide(&f, &gpu);                         /* the default there is the other one */
  ck_assert(f.op[OP_MATVEC].form == FORM_TILE && f.op[OP_MATMUL].form == FORM_CLBLAST && f.op[OP_PREFILL].form == FORM_TILE);
}
END_TEST

START_TEST(stored) {
  char dir[] = "/tmp/lrqk_forms_XXXXXX", command[80];
  struct lrqk_device_info other = gpu;
  struct forms f = { 0 }, back;
  strcpy(other.driver, "2");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  setenv("XDG_CACHE_HOME", dir, 1);
  form_defaults(&back, &gpu);
  ck_assert(!form_load(&back, &gpu));
  memcpy(f.op[OP_DECODE].us, (const double[]){ 100, 250.25, 0 }, sizeof f.op[0].us);
  form_save(&f, &gpu, &(struct log){ 0 });
  ck_assert(form_load(&back, &gpu) && back.op[OP_DECODE].form == FORM_REGISTER && back.op[OP_DECODE].us[1] == 250.25);
  ck_assert(!form_load(&back, &other));
  snprintf(command, sizeof command, "for f in %s/lrqk/*; do echo x > $f; done", dir);
  ck_assert_int_eq(system(command), 0);
  ck_assert(!form_load(&back, &gpu));            /* damaged: as if it was not there */
  snprintf(command, sizeof command, "rm -r %s", dir);
  ck_assert_int_eq(system(command), 0);
  unsetenv("XDG_CACHE_HOME");
}
END_TEST

/* ---- a model */

enum { VOCAB = 288, PROMPT = 41, DECODE = 4, CTX = 64 };
static const char sparse[] = "active=8 lite=8";

static float *logits(lrqk_model *m, const char *device, const char *form, const char *policy) {
  int32_t ids[PROMPT + DECODE];
  uint64_t seed = 5;
  for (int i = 0; i < PROMPT + DECODE; i++) ids[i] = (int32_t)(writer_random(&seed) % VOCAB);
  float *out = test_memory((DECODE + 1) * VOCAB, sizeof *out);
  struct rig r = { .model = m };
  const struct lrqk_engine_options eo = { .device = device, .form = form, .validate = test_validates() };
  ck_assert_int_eq(lrqk_engine_open(&r.engine, m, &eo), LRQK_OK);
  lrqk_session *s = rig_session(&r, policy, CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, PROMPT, 0, NULL, NULL), LRQK_OK);
  memcpy(out, lrqk_session_logits(s), VOCAB * sizeof *out);
  for (int i = 0; i < DECODE; i++) {
    ck_assert_int_eq(lrqk_session_decode(s, ids[PROMPT + i]), LRQK_OK);
    memcpy(out + (size_t)(i + 1) * VOCAB, lrqk_session_logits(s), VOCAB * sizeof *out);
  }
  struct lrqk_choice choice;   /* of the last step, against the scores in double */
  ck_assert_int_eq(lrqk_session_verify_choice(s, &choice), LRQK_OK);
  ck_assert_msg(!choice.wrong && (choice.chosen > 0) == !strcmp(policy, sparse), "%s, %s: of %d chosen tokens %d are wrong", device, form,
                (int)choice.chosen, (int)choice.wrong);
  lrqk_session_close(s);
  lrqk_engine_close(r.engine);
  return out;
}

static int largest(const float *logits) {
  int at = 0;
  for (int i = 1; i < VOCAB; i++)
    if (logits[i] > logits[at]) at = i;
  return at;
}

static void check_form(lrqk_model *m, const char *device, const char *form, const char *policy) {
  const float *want = logits(m, device, "register", policy), *got = logits(m, device, form, policy), *again = logits(m, device, form, policy);
  for (int i = 0; i <= DECODE; i++)
    ck_assert_msg(largest(got + i * VOCAB) == largest(want + i * VOCAB), "%s, %s, %s: another token at step %d", device, form, policy, i);
  double e = nmse(got, want, (DECODE + 1) * VOCAB);
  ck_assert_msg(e <= 1e-6, "%s, %s, %s: NMSE %g", device, form, policy, e);
  ck_assert_msg(!memcmp(got, again, (DECODE + 1) * VOCAB * sizeof *got), "%s, %s, %s: other bits the second time", device, form, policy);
}

START_TEST(model_under_each_form) {
  static const struct tiny_model tiny = { .layers = 2, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                          .seed = 7, .type = TYPE_Q4_1 };
  lrqk_model *m = rig_model(&tiny);
  if (test_uses("vulkan")) check_form(m, "vulkan:", "tile", "attention=full");
  if (test_uses("vulkan")) check_form(m, "vulkan:", "tile", sparse);
  if (test_uses("opencl")) check_form(m, "opencl:", "tile", sparse);
  lrqk_engine *e = NULL;
  struct lrqk_engine_options blas = { .device = "opencl:", .form = "clblast" };
  bool have = test_uses("opencl") && lrqk_engine_open(&e, m, &blas) == LRQK_OK;
  lrqk_engine_close(e);
  if (have) check_form(m, "opencl:", "clblast", sparse);
  else fprintf(stderr, "no OpenCL device or no CLBlast: its form is left out\n");
  lrqk_model_close(m);
  harness_fresh();
}
END_TEST

/* gemma3 has norms of heads and norms before the residual sums, too. */
START_TEST(norms_under_each_form) {
  static const struct tiny_model tiny = { .arch = "gemma3", .layers = 2, .window = 24, .period = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                          .seed = 7 };
  lrqk_model *m = rig_model(&tiny);
  if (test_uses("vulkan")) check_form(m, "vulkan:", "norm=tile", sparse);
  if (test_uses("opencl")) check_form(m, "opencl:", "norm=tile", sparse);
  lrqk_model_close(m);
  harness_fresh();
}
END_TEST

int main(void) {
  rig_quiet = true;
  Suite *s = suite_create("forms");
  TCase *c = tcase_create("forms");
  tcase_set_timeout(c, 600);
  tcase_add_test(c, by_type);
  tcase_add_test(c, asked_for);
  tcase_add_test(c, measured);
  tcase_add_test(c, stored);
  tcase_add_test(c, model_under_each_form);
  tcase_add_test(c, norms_under_each_form);
  suite_add_tcase(s, c);
  return suite_run(s, CK_NOFORK);
}
