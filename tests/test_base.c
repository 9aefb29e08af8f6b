/* src/base: UTF-8, half precision, JSON, arena, memory, messages, mapped files. */
#include <lrqk/lrqk.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/half.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "base/utf8.h"

static enum lrqk_status fail_with(const struct log *log, const char *text) { return fail(log, LRQK_DEVICE, "found %s", text); }
static enum lrqk_status try_it(enum lrqk_status s) {
  TRY(s);
  return LRQK_CHECK;
}

#include "suite.h"   /* last: it has a macro named fail */

#define TEXT(s) s, sizeof s - 1

/* ---- UTF-8 ---- */

START_TEST(utf8_every_character) {
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    if (c >= 0xd800 && c < 0xe000) continue;
    char s[4];
    size_t n = utf8_encode(c, s);
    ck_assert_uint_eq(n, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
    uint32_t d;
    ck_assert(utf8_decode(s, n, &d) == n && d == c);
    for (size_t cut = 1; cut < n; cut++) ck_assert(utf8_decode(s, cut, &d) == cut && d == UTF8_INCOMPLETE);
  }
}
END_TEST

/* Every sequence of two bytes and a sample of longer ones against the definition: what decodes encodes to itself. */
START_TEST(utf8_nothing_else) {
  int valid = 0;
  for (unsigned x = 0; x < 0x10000; x++) {
    char s[2] = { (char)(x >> 8), (char)x }, back[4];
    uint32_t c;
    size_t n = utf8_decode(s, 2, &c);
    ck_assert(n == 1 || n == 2);
    if (c == UTF8_INVALID || c == UTF8_INCOMPLETE) continue;
    ck_assert(utf8_encode(c, back) == n && !memcmp(back, s, n));
    valid += n == 2;
  }
  ck_assert_int_eq(valid, 0x800 - 0x80);
}
END_TEST

static const struct { const char *s; size_t len, skip; uint32_t c; } sequences[] = {
  { TEXT("\x80"), 1, UTF8_INVALID }, { TEXT("\xc0\x80"), 1, UTF8_INVALID }, { TEXT("\xc1\xbf"), 1, UTF8_INVALID },
  { TEXT("\xff"), 1, UTF8_INVALID },
  { TEXT("\xe0\x9f\xbf"), 1, UTF8_INVALID }, { TEXT("\xe0\xa0\x80"), 3, 0x800 }, { TEXT("\xed\x9f\xbf"), 3, 0xd7ff },
  { TEXT("\xed\xa0\x80"), 1, UTF8_INVALID },
  { TEXT("\xf0\x8f\xbf\xbf"), 1, UTF8_INVALID }, { TEXT("\xf4\x8f\xbf\xbf"), 4, 0x10ffff }, { TEXT("\xf4\x90\x80\x80"), 1, UTF8_INVALID },
  { TEXT("\xf5\x80\x80\x80"), 1, UTF8_INVALID }, { TEXT("\xe2\x82" "a"), 2, UTF8_INVALID }, { TEXT("\xf0\x9f\x98" "a"), 3, UTF8_INVALID },
  { TEXT("\xf0\x9f" "a"), 2, UTF8_INVALID }, { TEXT("\xf0\x9f\x98"), 3, UTF8_INCOMPLETE }, { TEXT("\0x"), 1, 0 },
};

START_TEST(utf8_limits) {
  for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
    uint32_t c;
    size_t n = utf8_decode(sequences[i].s, sequences[i].len, &c);
    ck_assert_msg(n == sequences[i].skip && c == sequences[i].c, "sequence %zu: %zu bytes, %x", i, n, c);
  }
}
END_TEST

/* ---- half precision ---- */

START_TEST(half_every_value_and_back) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    float x = half_to_float((uint16_t)h);
    unsigned e = h >> 10 & 31, m = h & 0x3ff;
    double want = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
    if (h & 0x8000) want = -want;
    if (isnan(want)) {
      ck_assert(isnan(x));
      ck_assert_uint_eq(float_to_half(x), (h & 0x8000) | 0x7e00);
    } else {
      ck_assert(x == want && !signbit(x) == !(h >> 15));
      ck_assert_uint_eq(float_to_half(x), h);
    }
  }
}
END_TEST

/* Rounding: the middle between two neighbours goes to the even one, what is off the middle to the nearer one. */
START_TEST(half_rounds_to_nearest_even) {
  for (uint16_t h = 0; h < 0x7bff; h++) {
    float a = half_to_float(h), b = half_to_float((uint16_t)(h + 1)), mid = a + (b - a) / 2;   /* exact: 11 bits and one more */
    uint16_t even = h & 1 ? h + 1 : h;
    ck_assert_uint_eq(float_to_half(mid), even);
    ck_assert_uint_eq(float_to_half(-mid), even | 0x8000);
    ck_assert_uint_eq(float_to_half(nextafterf(mid, 0)), h);
    ck_assert_uint_eq(float_to_half(nextafterf(mid, INFINITY)), h + 1);
  }
  ck_assert_uint_eq(float_to_half(65519.99f), 0x7bff);
  ck_assert_uint_eq(float_to_half(65520), 0x7c00);
  ck_assert_uint_eq(float_to_half(INFINITY), 0x7c00);
  ck_assert_uint_eq(float_to_half(-1e30f), 0xfc00);
  ck_assert_uint_eq(float_to_half(0x1p-25f), 0);
  ck_assert_uint_eq(float_to_half(0x1.8p-25f), 1);
  ck_assert_uint_eq(float_to_half(-0x1p-149f), 0x8000);
}
END_TEST

/* ---- JSON ---- */

static void check_json(struct jsonw *j, const char *want) {
  char *s = jsonw_take(j);
  ck_assert_ptr_nonnull(s);
  ck_assert_str_eq(s, want);
  mem_free(s);
  ck_assert(!j->text && !j->len && !j->failed);
}

START_TEST(json_document) {
  struct jsonw j = { 0 };
  jsonw_open(&j, '{');
  jsonw_key(&j, "ids");
  jsonw_open(&j, '[');
  jsonw_int(&j, -1);
  jsonw_uint(&j, UINT64_MAX);
  jsonw_open(&j, '[');
  jsonw_close(&j, ']');
  jsonw_open(&j, '{');
  jsonw_close(&j, '}');
  jsonw_close(&j, ']');
  jsonw_key(&j, "ok");
  jsonw_bool(&j, true);
  jsonw_key(&j, "none");
  jsonw_null(&j);
  jsonw_key(&j, "x");
  jsonw_num(&j, 0.1);
  jsonw_key(&j, "k\"");
  jsonw_text(&j, "v");
  jsonw_close(&j, '}');
  check_json(&j, "{\"ids\":[-1,18446744073709551615,[],{}],\"ok\":true,\"none\":null,\"x\":0.1,\"k\\\"\":\"v\"}");
}
END_TEST

START_TEST(json_strings_and_numbers) {
  struct jsonw j = { 0 };
  jsonw_string(&j, TEXT("a\"\\/\b\n\r\t\0\x1f\x7f\xc3\xa9\xf0\x9f\x98\x80"));
  check_json(&j, "\"a\\\"\\\\/\\u0008\\n\\u000d\\u0009\\u0000\\u001f\\u007f\xc3\xa9\xf0\x9f\x98\x80\"");
  jsonw_string(&j, TEXT("\xff" "a\xe2\x82"));
  check_json(&j, "\"\xef\xbf\xbd" "a\xef\xbf\xbd\"");
  const double odd[] = { NAN, INFINITY, -INFINITY, -0.0, 1e300, 16777217, 1.0f / 3 };
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) jsonw_num(&j, odd[i]);
  check_json(&j, "null,null,null,-0,1e+300,16777217,0.333333343");
  for (uint32_t i = 0; i < 100000; i++) {   /* 9 digits bring every float back */
    uint32_t bits = i * 42949u;
    float x, y;
    memcpy(&x, &bits, 4);
    if (!isfinite(x)) continue;
    jsonw_num(&j, (double)x);
    char *s = jsonw_take(&j);
    y = strtof(s, NULL);
    mem_free(s);
    ck_assert(x == y);
  }
}
END_TEST

START_TEST(json_grows) {
  struct jsonw j = { 0 };
  jsonw_open(&j, '[');
  for (int i = 0; i < 100000; i++) jsonw_int(&j, i % 10);
  jsonw_close(&j, ']');
  ck_assert_uint_eq(j.len, 2 * 100000 + 1);
  char *s = jsonw_take(&j);
  ck_assert_uint_eq(strlen(s), 2 * 100000 + 1);
  ck_assert_str_eq(s + 2 * 100000 - 3, "8,9]");
  mem_free(s);
}
END_TEST

START_TEST(json_failure_is_remembered) {
  setenv("LRQK_FAULT_ALLOC", "2", 1);   /* this process has allocated nothing yet */
  struct jsonw j = { 0 };
  for (int i = 0; i < 1000; i++) jsonw_int(&j, i);
  ck_assert(j.failed);
  ck_assert_ptr_null(jsonw_take(&j));
  jsonw_int(&j, 7);
  check_json(&j, "7");
}
END_TEST

/* ---- memory ---- */

START_TEST(arena_gives_aligned_zeroed_memory) {
  struct arena a = { 0 };
  unsigned char *p[2000];
  size_t size[2000];
  for (size_t i = 0; i < 2000; i++) {
    size[i] = i % 100 == 99 ? 70000 : i * 7 % 300;
    p[i] = arena_alloc(&a, size[i], 1);
    ck_assert_ptr_nonnull(p[i]);
    ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
    for (size_t j = 0; j < size[i]; j++) ck_assert_int_eq(p[i][j], 0);
    memset(p[i], (int)(i % 255 + 1), size[i]);
  }
  for (size_t i = 0; i < 2000; i++)
    for (size_t j = 0; j < size[i]; j++) ck_assert_int_eq(p[i][j], (int)(i % 255 + 1));   /* nobody got the same bytes twice */
  char *s = arena_text(&a, "ab\0c", 4);
  ck_assert_mem_eq(s, "ab\0c", 5);
  ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX / 2, 3));
  ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX, SIZE_MAX));
  arena_free(&a);
  ck_assert_ptr_null(a.head);
  arena_free(&a);
}
END_TEST

START_TEST(mem_overflow_and_empty) {
  void *p = mem_alloc(0, 8);
  ck_assert_ptr_nonnull(p);
  p = mem_realloc(p, 100, 1);
  ck_assert_ptr_nonnull(p);
  ck_assert_ptr_null(mem_realloc(p, SIZE_MAX / 2, 3));   /* p is still valid */
  memset(p, 1, 100);
  mem_free(p);
  ck_assert_ptr_null(mem_alloc(SIZE_MAX / 2, 3));
  char *s = mem_strdup("text");
  ck_assert_str_eq(s, "text");
  lrqk_free(s);
  lrqk_free(NULL);
}
END_TEST

START_TEST(mem_nth_allocation_fails) {
  setenv("LRQK_FAULT_ALLOC", "3", 1);
  for (int i = 1; i < 6; i++) {
    void *p = mem_alloc(1, 1);
    ck_assert_msg((p == NULL) == (i == 3), "allocation %d", i);
    mem_free(p);
  }
}
END_TEST

/* ---- messages, time, files ---- */

struct seen { enum lrqk_log_level level; int n; char text[2048]; };
static void see(void *ud, enum lrqk_log_level level, const char *text) {
  struct seen *s = ud;
  s->level = level;
  s->n++;
  snprintf(s->text, sizeof s->text, "%s", text);
}

START_TEST(log_and_status) {
  struct seen s = { 0 };
  struct log log = { see, &s }, silent = { 0 };
  ck_assert_int_eq(fail_with(&log, "x"), LRQK_DEVICE);
  ck_assert(s.n == 1 && s.level == LRQK_LOG_ERROR && !strcmp(s.text, "found x"));
  log_hint(&log, "try %d", 5);
  ck_assert(s.n == 2 && s.level == LRQK_LOG_HINT && !strcmp(s.text, "try 5"));
  ck_assert_int_eq(fail_with(&silent, "x"), LRQK_DEVICE);
  ck_assert_int_eq(fail_with(NULL, "x"), LRQK_DEVICE);
  static char longer[5000];
  memset(longer, 'y', sizeof longer - 1);
  fail_with(&log, longer);
  ck_assert_uint_lt(strlen(s.text), sizeof longer);   /* cut, not overrun */
  ck_assert_int_eq(try_it(LRQK_MODEL), LRQK_MODEL);
  ck_assert_int_eq(try_it(LRQK_OK), LRQK_CHECK);
  ck_assert_str_eq(lrqk_status_kind(LRQK_OK), "ok");
  ck_assert_str_eq(lrqk_status_kind(LRQK_PROMPT), "prompt");
  ck_assert_str_eq(lrqk_status_kind(LRQK_INTERRUPTED), "interrupted");
  ck_assert_str_eq(lrqk_status_kind((enum lrqk_status)99), "unknown");
  uint64_t a = clock_ns();
  usleep(1000);
  ck_assert_uint_ge(clock_ns() - a, 1000000);
}
END_TEST

static void refused(const char *path, const char *says) {
  struct seen s = { 0 };
  struct log log = { see, &s };
  struct mapfile f = { 0 };
  ck_assert_int_eq(mapfile_open(&f, &log, path, LRQK_MODEL, "a file"), LRQK_MODEL);
  ck_assert_ptr_null(f.data);
  ck_assert_msg(s.n == 1 && strstr(s.text, path) && strstr(s.text, says), "found \"%s\", expected \"%s\"", s.text, says);
}

START_TEST(mapfile) {
  char dir[] = "/tmp/lrqk-base-XXXXXX", path[64];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/file", dir);
  refused(path, "No such file");
  refused(dir, "directory");
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  fclose(f);
  refused(path, "empty");
  f = fopen(path, "wb");
  fwrite("a\0b", 1, 3, f);
  fclose(f);
  struct log log = { 0 };
  struct mapfile m = { 0 };
  ck_assert_int_eq(mapfile_open(&m, &log, path, LRQK_MODEL, "a file"), LRQK_OK);
  ck_assert_uint_eq(m.size, 3);
  ck_assert_mem_eq(m.data, "a\0b", 3);
  mapfile_close(&m);
  ck_assert_ptr_null(m.data);
  mapfile_close(&m);
  unlink(path);
  ck_assert_int_eq(mkfifo(path, 0600), 0);
  refused(path, "not a regular file");   /* without waiting for a writer */
  unlink(path);
  rmdir(dir);
}
END_TEST

int main(void) {
  Suite *s = suite_create("base");
  TCase *t = tcase_create("base");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, utf8_every_character);
  tcase_add_test(t, utf8_nothing_else);
  tcase_add_test(t, utf8_limits);
  tcase_add_test(t, half_every_value_and_back);
  tcase_add_test(t, half_rounds_to_nearest_even);
  tcase_add_test(t, json_document);
  tcase_add_test(t, json_strings_and_numbers);
  tcase_add_test(t, json_grows);
  tcase_add_test(t, json_failure_is_remembered);
  tcase_add_test(t, arena_gives_aligned_zeroed_memory);
  tcase_add_test(t, mem_overflow_and_empty);
  tcase_add_test(t, mem_nth_allocation_fails);
  tcase_add_test(t, log_and_status);
  tcase_add_test(t, mapfile);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
