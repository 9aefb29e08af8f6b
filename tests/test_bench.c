/* test_bench.c - `lrqk bench --kernels` on a tiny model and every back end: each kernel with its shapes and figures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gguf_writer.h"
#include "kernel_harness.h"
#include "lrqk/lrqk.h"

#include "json_check.h"   /* last: Check has a macro named fail */
#include "suite.h"

enum { HEADS = 6, DEPTH = 200, PROMPT = 40, TOKENS = 2, RUNS = 2, SPARSE = 2 };   /* SPARSE: layers that are not dense */

static char path[64];
static const char *devices[3];   /* what tests open: the drivers, then host */

/* Runs the program on the model; its answer goes to `out`. */
static int run(const char *arguments, const char *device, char out[80]) {
  static const struct tiny_model shape = { .layers = SPARSE + 1, .embd = 96, .ff = 128, .heads = HEADS, .kv_heads = 2, .head_size = 32, .vocab = 288,
                                           .ctx = 512, .seed = 7 };
  char command[600];
  tiny_model_save(&shape, path);
  snprintf(out, 80, "%s.json", path);
  snprintf(command, sizeof command, "%s bench -q -m %s --device %s %s > %s", TEST_PROGRAM, path, device, arguments, out);
  int code = system(command);
  unlink(path);
  return WEXITSTATUS(code);
}

static double size(const json_t *e, size_t i) { return json_number_value(json_array_get(json_object_get(e, "size"), i)); }

/* m x n x k; the chunks of a prompt end at multiples of 8 tokens, its head has one row. */
static void check_matmul(const json_t *k) {
  double m = size(k, 0);
  ck_assert_double_eq(number(k, "flops"), 2 * m * size(k, 1) * size(k, 2));
  ck_assert(m == 1 || (number(k, "n_prompt") == PROMPT && m <= PROMPT && (int)m % 8 == 0));
}

/* heads x tokens x rank: the first step scores all tokens and its own. */
static void check_scores(const json_t *k) {
  ck_assert_double_eq(number(k, "n_prompt"), 0);
  ck_assert_double_eq(size(k, 0), HEADS);
  ck_assert_double_eq(size(k, 1), DEPTH + 1);
  ck_assert_double_eq(number(k, "calls"), TOKENS * RUNS * SPARSE);
}

START_TEST(kernels_have_figures) {
  char arguments[120], out[80];
  snprintf(arguments, sizeof arguments, "--kernels -p %d -n %d -r %d -d %d --attention lrqk:active=64,lite=16 --json", PROMPT, TOKENS, RUNS, DEPTH);
  ck_assert_int_eq(run(arguments, devices[_i], out), 0);
  json_t *root = load(out), *list = json_object_get(root, "kernels");
  size_t i, matmuls = 0, scores = 0;
  const json_t *k;
  json_array_foreach(list, i, k) {
    const char *name = string(k, "kernel");
    bool prompt = number(k, "n_prompt") > 0;
    ck_assert(number(k, "min_us") <= number(k, "median_us") && number(k, "peak") > 0 && number(k, "calls") >= RUNS);
    ck_assert_str_eq(string(k, "check"), prompt ? "runs, rows equal" : "runs, rows, choice equal");
    bool matmul = !strncmp(name, "MATMUL", 6), score = !strncmp(name, "SCORE_STAT", 10);
    if (matmul) check_matmul(k);
    if (score) check_scores(k);
    matmuls += matmul;
    scores += score;
  }
  ck_assert_uint_ge(matmuls, 8);   /* four of a layer, of prompt and token */
  ck_assert_uint_eq(scores, 1);
  json_decref(root);
  unlink(out);
}
END_TEST

START_TEST(only_named_kernels) {
  char out[80], line[600];
  ck_assert_int_eq(run("--kernels=add,rms_ -p 8 -n 0 -r 1 -o csv", devices[_i], out), 0);
  FILE *f = fopen(out, "r");
  int rows = 0;
  ck_assert(f && fgets(line, sizeof line, f));
  ck_assert_int_eq(strncmp(line, "model_filename,backend,", 23), 0);
  for (; fgets(line, sizeof line, f); rows++) ck_assert(strstr(line, ",ADD") || strstr(line, ",RMS_NORM"));
  ck_assert_int_ge(rows, 3);
  fclose(f);
  ck_assert_int_eq(run("--kernels=nosuch -p 8 -n 0 -r 1 2> /dev/null", devices[_i], out), LRQK_USAGE);
  unlink(out);
}
END_TEST

int main(void) {
  snprintf(path, sizeof path, "test_bench_%d.gguf", (int)getpid());
  Suite *suite = suite_create("bench");
  TCase *t = tcase_create("bench");
  tcase_set_timeout(t, 0);
  int n = test_devices(devices);
  tcase_add_loop_test(t, kernels_have_figures, 0, n);
  tcase_add_test(t, only_named_kernels);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_FORK_GETENV);
}
