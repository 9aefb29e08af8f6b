/* test_bad_input.c - the real program and what it is given: broken model files, bad prompts, no device, no memory, nowhere
 * to write.  Each has its exit code and one line that says what is wrong.  A tiny model on the host device. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gguf_writer.h"

#include "suite.h"

enum { MAX_ARGS = 32, SECONDS = 30 };

static char dir[] = "bad_input_XXXXXX";
static struct { int code, signal; char out[4096], err[4096]; } got;

static const char *place(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static void slurp(const char *name, char text[4096]) {
  FILE *f = fopen(place(name), "rb");
  size_t n = f ? fread(text, 1, 4095, f) : 0;
  text[n] = 0;
  if (f) fclose(f);
}

static void open_as(int fd, const char *path, int flags) {
  int f = open(path, flags, 0600);
  if (f < 0 || dup2(f, fd) < 0) _exit(98);
}

/* Runs the program with the words of a command line, none of which has spaces; `in` may be NULL, `out` NULL for a file.
 * env is "NAME=VALUE" or NULL. */
static void run_words(const char *env, const char *in, const char *out, const char *words) {
  char text[512], *args[MAX_ARGS] = { (char *)TEST_PROGRAM };
  int n = 1;
  snprintf(text, sizeof text, "%s", words);
  for (char *p = strtok(text, " "); p && n < MAX_ARGS - 1; p = strtok(NULL, " ")) args[n++] = p;
  char out_file[128], err_file[128];
  snprintf(out_file, sizeof out_file, "%s", place("out"));
  snprintf(err_file, sizeof err_file, "%s", place("err"));
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    setrlimit(RLIMIT_CPU, &(struct rlimit){ SECONDS, SECONDS });
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    open_as(0, in ? in : "/dev/null", O_RDONLY);
    open_as(1, out ? out : out_file, out ? O_WRONLY : O_WRONLY | O_CREAT | O_TRUNC);
    open_as(2, err_file, O_WRONLY | O_CREAT | O_TRUNC);
    if (env) putenv((char *)env);
    execv(TEST_PROGRAM, args);
    _exit(99);
  }
  int status = 0;
  ck_assert_int_eq(waitpid(pid, &status, 0), pid);
  got.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  got.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  slurp("out", got.out);
  slurp("err", got.err);
}

__attribute__((format(printf, 1, 2))) static void run_program(const char *fmt, ...) {
  char words[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(words, sizeof words, fmt, ap);
  va_end(ap);
  run_words(NULL, NULL, NULL, words);
}

/* Lines of stderr that begin with what. */
static int lines_with(const char *what) {
  int n = 0;
  for (const char *p = got.err; p && *p; p = strchr(p, '\n')) {
    p += *p == '\n';
    n += !strncmp(p, what, strlen(what));
  }
  return n;
}

/* One error line, hints apart, with all the words; the exit code. */
static void expect(int code, const char *what, ...) {
  ck_assert_msg(got.signal == 0 && got.code == code, "%s: exit %d, signal %d, expected exit %d:\n%s", what,
                got.code, got.signal, code, got.err);
  ck_assert_msg(lines_with("lrqk: error: ") == 1 && !strncmp(got.err, "lrqk: error: ", 13), "%s: not one error line:\n%s", what, got.err);
  int rest = 0;
  for (const char *p = got.err; *p; p++) rest += *p == '\n';
  ck_assert_msg(rest == 1 + lines_with("lrqk: hint: "), "%s: more than an error and hints:\n%s", what, got.err);
  va_list ap;
  va_start(ap, what);
  for (const char *w; (w = va_arg(ap, const char *));) ck_assert_msg(strstr(got.err, w), "%s: \"%s\" is not in:\n%s", what, w, got.err);
  va_end(ap);
}

/* ---- model files */

static void save(const unsigned char *data, size_t n, const char *name) {
  FILE *f = fopen(place(name), "wb");
  ck_assert(f && fwrite(data, 1, n, f) == n && !fclose(f));
}

static const char *const readers[] = {
  "logits --tokens 1,2 --device host -m", "run --raw -p hello -n 2 --device host -m", "tokenize -p hello -m", "inspect"
};

/* Cut at 64 places from the first byte to the last: never more than the file has. */
START_TEST(cut_files) {
  struct tiny_model t = { 0 };
  size_t n;
  unsigned char *data = tiny_model_file(&t, &n);
  for (size_t i = 0; i < 64; i++) {
    size_t cut = i < 16 ? i * 3 : n * (i - 15) / 49 - 1;
    save(data, cut, "cut.gguf");
    run_program("%s %s", readers[i % 2], place("cut.gguf"));
    char what[64];
    snprintf(what, sizeof what, "cut at byte %zu of %zu", cut, n);
    expect(3, what, place("cut.gguf"), NULL);
    ck_assert_msg(cut == 0 || strstr(got.err, "expected") || strstr(got.err, "needs") || strstr(got.err, "GGUF"), "%s: %s", what, got.err);
    ck_assert_str_eq(got.out, "");
  }
  free(data);
}
END_TEST

static const uint64_t d64[] = { 64 }, d64x32[] = { 64, 32 };
static const unsigned char zeros[8192];

static void no_architecture(struct gguf_writer *w) { writer_drop(w, "general.architecture"); }
static void other_architecture(struct gguf_writer *w) { no_architecture(w); writer_string(w, "general.architecture", "mamba"); }
static void no_layers(struct gguf_writer *w) { writer_drop(w, "llama.block_count"); }
static void absurd_layers(struct gguf_writer *w) { no_layers(w); writer_u32(w, "llama.block_count", 4000000000u); }
static void wrong_kind(struct gguf_writer *w) { no_layers(w); writer_string(w, "llama.block_count", "two"); }
static void drop_base(struct gguf_writer *w) { writer_drop(w, "llama.rope.freq_base"); }
static void infinite_base(struct gguf_writer *w) { drop_base(w); writer_f32(w, "llama.rope.freq_base", INFINITY); }
static void nan_epsilon(struct gguf_writer *w) {
  writer_drop(w, "llama.attention.layer_norm_rms_epsilon");
  writer_f32(w, "llama.attention.layer_norm_rms_epsilon", NAN);
}
static void odd_rotary(struct gguf_writer *w) { writer_u32(w, "llama.rope.dimension_count", 15); }
static void large_rotary(struct gguf_writer *w) { writer_u32(w, "llama.rope.dimension_count", 18); }
static void no_tensor(struct gguf_writer *w) { writer_drop_tensor(w, "blk.1.ffn_up.weight"); }
static void wrong_shape(struct gguf_writer *w) {
  writer_drop_tensor(w, "blk.0.attn_q.weight");
  writer_tensor(w, "blk.0.attn_q.weight", TYPE_F32, 2, d64x32, zeros, 8192);
}
static void wrong_type(struct gguf_writer *w) {
  writer_drop_tensor(w, "blk.0.attn_k.weight");
  writer_tensor(w, "blk.0.attn_k.weight", 9, 2, d64x32, zeros, 2304);
}
static void unknown_type(struct gguf_writer *w) { writer_tensor(w, "extra.weight", 99, 1, d64, zeros, 256); }
static void key_twice(struct gguf_writer *w) { writer_u32(w, "llama.block_count", 2); }
static void tensor_twice(struct gguf_writer *w) { writer_tensor(w, "output_norm.weight", TYPE_F32, 1, d64, zeros, 256); }
static void odd_offset(struct gguf_writer *w) { writer_tensor_at(w, "extra.weight", TYPE_F32, 1, d64, 16); }
static void far_offset(struct gguf_writer *w) { writer_tensor_at(w, "extra.weight", TYPE_F32, 1, d64, UINT64_MAX - 31); }
static void overlap(struct gguf_writer *w) { writer_tensor_at(w, "extra.weight", TYPE_F32, 1, d64, 0); }
static void odd_alignment(struct gguf_writer *w) { writer_u32(w, "general.alignment", 3); }
static void many_keys(struct gguf_writer *w) { w->n_keys = UINT64_C(1) << 60; }
static void many_tensors(struct gguf_writer *w) { w->n_tensors = UINT64_MAX; }
static void old_version(struct gguf_writer *w) { w->version = 1; }
static void no_tokens(struct gguf_writer *w) { writer_drop(w, "tokenizer.ggml.tokens"); }
static void few_tokens(struct gguf_writer *w) {
  static const char *const words[] = { "a", "b", "c" };
  no_tokens(w);
  writer_strings(w, "tokenizer.ggml.tokens", words, 3);
}
static void few_types(struct gguf_writer *w) {
  writer_drop(w, "tokenizer.ggml.token_type");
  writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, (const int32_t[]){ 1, 1 }, 2);
}
static void many_strings(struct gguf_writer *w) { writer_raw(w, "extra", GGUF_ARRAY, "\x08\0\0\0\0\0\0\0\0\0\0\x20", 12); }

static const struct { void (*change)(struct gguf_writer *w); const char *thing, *expected; } wrong[] = {
  { no_architecture, "general.architecture", "expected" }, { other_architecture, "\"mamba\"", "supported" },
  { no_layers, "llama.block_count", "expected" }, { absurd_layers, "is 4000000000", "expected 1 to 512" },
  { wrong_kind, "llama.block_count", "expected an integer" }, { infinite_base, "llama.rope.freq_base", "expected a finite number" },
  { nan_epsilon, "layer_norm_rms_epsilon", "expected a finite number" },
  { odd_rotary, "rope.dimension_count is 15", "expected a multiple of 2" },
  { large_rotary, "rope.dimension_count is 18", "expected 2 to 16" }, { no_tensor, "blk.1.ffn_up.weight is missing", "expected [64, 128]" },
  { wrong_shape, "blk.0.attn_q.weight is [64, 32", "expected [64, 64]" },
  { wrong_type, "type Q8_1 of tensor blk.0.attn_k.weight", "expected one of" },
  { unknown_type, "tensor extra.weight has type 99", "expected" }, { key_twice, "key llama.block_count is there twice", "expected once" },
  { tensor_twice, "tensor output_norm.weight is there twice", "expected once" },
  { odd_offset, "tensor extra.weight has offset 16", "expected a multiple" },
  { far_offset, "tensor extra.weight needs 256 bytes", "expected" }, { overlap, "extra.weight", "overlaps" },
  { odd_alignment, "general.alignment is 3", "expected a power of two" }, { many_keys, "1152921504606846976 keys", "expected at most" },
  { many_tensors, "18446744073709551615 tensors", "expected at most" }, { old_version, "version 1", "expected 2 or 3" },
  { no_tokens, "tokenizer.ggml.tokens", "expected" }, { few_tokens, "tokenizer.ggml.to", "expected" },
  { few_types, "tokenizer.ggml.token_type", "expected" }, { many_strings, "extra", "expected" },
};

START_TEST(wrong_files) {
  struct tiny_model t = { 0 };
  struct gguf_writer w = { 0 };
  t = tiny_model_defaults(&t);
  tiny_model_keys(&w, &t);
  tiny_model_vocabulary(&w, t.vocab);
  tiny_model_tensors(&w, &t);
  wrong[_i].change(&w);
  writer_save(&w, place("wrong.gguf"));
  writer_free(&w);
  for (size_t i = 0; i < 2; i++) {
    run_program("%s %s", readers[i], place("wrong.gguf"));
    expect(3, wrong[_i].thing, place("wrong.gguf"), wrong[_i].thing, wrong[_i].expected, NULL);
    ck_assert_str_eq(got.out, "");
  }
}
END_TEST

START_TEST(no_files) {
  save(zeros, 0, "empty.gguf");
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
    run_program("%s %s", readers[i], dir);
    expect(3, "a directory", dir, "directory", NULL);
    run_program("%s %s", readers[i], place("empty.gguf"));
    expect(3, "an empty file", place("empty.gguf"), "empty", NULL);
    run_program("%s %s", readers[i], place("none.gguf"));
    expect(3, "no file", place("none.gguf"), "No such file", NULL);
  }
}
END_TEST

/* ---- prompts and devices */

static void tiny(void) { tiny_model_save(&(struct tiny_model){ 0 }, place("tiny.gguf")); }

START_TEST(prompts) {
  tiny();
  const char *m = "tiny.gguf";
  char words[512];
  snprintf(words, sizeof words, "run --raw --device host -n 2 -m %s", place(m));
  run_words(NULL, NULL, NULL, words);
  expect(2, "an empty prompt", "prompt is empty", NULL);
  save((const unsigned char *)"a\377b", 3, "text");
  char text[128];
  snprintf(text, sizeof text, "%s", place("text"));
  run_words(NULL, text, NULL, words);
  ck_assert_msg(got.code == 0 && strstr(got.err, "lrqk: warning: the text is not UTF-8 in 1 place"), "exit %d: %s", got.code, got.err);
  run_program("run --raw --device host -p abcdefghijklmnopqrstuvwxyz -c 8 -m %s", place(m));
  expect(6, "a long prompt", " 26 tokens", "context 8", NULL);
  run_program("run --raw --device host -p a -c 513 -m %s", place(m));
  expect(2, "a long context", "513", "512", NULL);
  run_program("logits --device host --tokens 1,288 -m %s", place(m));
  expect(2, "an id outside", "288", NULL);
  run_program("run --raw --device nosuch -p a -m %s", place(m));
  expect(4, "an unknown device", "\"nosuch\"", "lrqk: hint: ", NULL);
}
END_TEST

START_TEST(no_driver) {
  tiny();
  char words[512];
  setenv("VK_DRIVER_FILES", "/nonexistent", 1);
  setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
  snprintf(words, sizeof words, "run --raw -p a -n 2 -m %s", place("tiny.gguf"));
  run_words("VK_ICD_FILENAMES=/nonexistent", NULL, NULL, words);
  unsetenv("VK_DRIVER_FILES");
  unsetenv("OCL_ICD_VENDORS");
  expect(4, "no driver", "lrqk: hint: --device host", NULL);
}
END_TEST

/* ---- memory: every allocation of a run fails once (nothing is left behind either, where a sanitizer looks) */

START_TEST(every_allocation_fails) {
  tiny();
  char words[512], env[64], answer[4096];
  snprintf(words, sizeof words, "run --raw -q --ignore-eos --special --device host -p hello,world -n 3 --temp 0.5 -s 1 -c 64 --active 8"
           " --lite 4 -m %s", place("tiny.gguf"));
  int n = 1, failed = 0;
  run_words(NULL, NULL, NULL, words);
  ck_assert_int_eq(got.code, 0);
  memcpy(answer, got.out, sizeof answer);
  for (int in_a_row = 0; in_a_row < 40; n++) {   /* some may fail without harm: lists of layers of the Vulkan loader */
    snprintf(env, sizeof env, "LRQK_FAULT_ALLOC=%d", n);
    run_words(env, NULL, NULL, words);
    if (got.code == 0 && !got.err[0] && !got.signal) {
      ck_assert_str_eq(got.out, answer);
      in_a_row++;
    } else {
      expect(5, env, NULL);
      in_a_row = 0;
      failed++;
    }
  }
  ck_assert_int_ge(failed, 100);
}
END_TEST

/* ---- output */

START_TEST(full_disk) {
  if (access("/dev/full", W_OK)) {
    fprintf(stderr, "no /dev/full here: a full disk is not tested\n");
    return;
  }
  tiny();
  static const char *const commands[] = {
    "run --raw --ignore-eos --special -p hello -n 8 --device host -m", "run --raw --json -p hello -n 2 --device host -m",
    "logits --tokens 1,2 --device host -m", "tokenize -p hello -m", "inspect"
  };
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    char words[512];
    snprintf(words, sizeof words, "%s %s", commands[i], place("tiny.gguf"));
    run_words(NULL, NULL, "/dev/full", words);
    ck_assert_msg(got.code == 1 && strstr(got.err, "No space left"), "%s: exit %d, signal %d: %s", commands[i], got.code, got.signal,
                  got.err);
  }
}
END_TEST

/* What head reads is the beginning of what is written without it. */
START_TEST(closed_pipe) {
  tiny();
  char words[512], whole[4096], command[1024];
  snprintf(words, sizeof words, "run --raw --ignore-eos --special -q --temp 0 --device host -p hello -n 200 -m %s", place("tiny.gguf"));
  run_words(NULL, NULL, NULL, words);
  ck_assert_int_eq(got.code, 0);
  memcpy(whole, got.out, sizeof whole);
  ck_assert_uint_gt(strlen(whole), 5);
  snprintf(command, sizeof command, "{ %s %s </dev/null; echo $? >%s/code; } 2>%s/err | head -c 5 >%s/out",
           TEST_PROGRAM, words, dir, dir, dir);
  ck_assert_int_eq(system(command), 0);
  slurp("out", got.out);
  slurp("err", got.err);
  ck_assert_uint_eq(strlen(got.out), 5);
  ck_assert(!strncmp(got.out, whole, 5));
  ck_assert_msg(!strstr(got.err, "error"), "%s", got.err);
  char code[4096];
  slurp("code", code);
  ck_assert_msg(atoi(code) == 141 || atoi(code) == 0, "exit %s", code);   /* 0: all was written before head went away */
}
END_TEST

int main(void) {
  if (!mkdtemp(dir)) return 1;
  Suite *suite = suite_create("bad input");
  TCase *t = tcase_create("bad input");
  tcase_set_timeout(t, 0);
  tcase_add_test(t, cut_files);
  tcase_add_loop_test(t, wrong_files, 0, sizeof wrong / sizeof *wrong);
  tcase_add_test(t, no_files);
  tcase_add_test(t, prompts);
  tcase_add_test(t, no_driver);
  tcase_add_test(t, every_allocation_fails);
  tcase_add_test(t, full_disk);
  tcase_add_test(t, closed_pipe);
  suite_add_tcase(suite, t);
  int code = suite_run(suite, CK_FORK_GETENV);
  static const char *const files[] = { "cut.gguf", "wrong.gguf", "empty.gguf", "tiny.gguf", "text", "out", "err", "code" };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(place(files[i]));
  rmdir(dir);
  return code;
}
