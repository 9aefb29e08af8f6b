/* The container: what a right file holds, and a message for everything that can be wrong with one. */
#include "log_capture.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_writer.h"
#include "suite.h"

static struct log_capture captured;

/* Opens an exact-size heap copy of the first n bytes, so that a sanitizer sees a read beyond them. */
static enum lrqk_status open_copy(struct gguf **out, unsigned char **copy, const unsigned char *data, size_t n, bool vocab_only) {
  struct log log = log_capture(&captured);
  *copy = malloc(n ? n : 1);
  ck_assert_ptr_nonnull(*copy);
  memcpy(*copy, data, n);
  return gguf_open_memory(out, &log, "FILE", *copy, n, vocab_only);
}

/* ---- right files */

static void all_kinds(struct gguf_writer *w) {
  static const char *const words[] = { "", "one", "zwei \xc3\xa4" };
  writer_raw(w, "u8", GGUF_U8, "\xff", 1);
  writer_raw(w, "i8", GGUF_I8, "\xff", 1);
  writer_raw(w, "u16", GGUF_U16, "\xfe\xff", 2);
  writer_raw(w, "i16", GGUF_I16, "\xfe\xff", 2);
  writer_u32(w, "u32", UINT32_MAX);
  writer_raw(w, "i32", GGUF_I32, &(int32_t){ -7 }, 4);
  writer_f32(w, "f32", 0.5f);
  writer_bool(w, "bool", true);
  writer_string(w, "string", "text");
  writer_raw(w, "u64", GGUF_U64, &(uint64_t){ UINT64_MAX }, 8);
  writer_raw(w, "i64", GGUF_I64, &(int64_t){ 1234567 }, 8);
  writer_raw(w, "f64", GGUF_F64, &(double){ 0.25 }, 8);
  writer_strings(w, "words", words, 3);
  writer_array(w, "numbers", GGUF_I16, (const int16_t[]){ 1, -2, 3 }, 3);
  writer_array(w, "none", GGUF_F64, NULL, 0);
  writer_f32(w, "nan", NAN);
  writer_raw(w, "huge", GGUF_F64, &(double){ 1e300 }, 8);
}

START_TEST(every_kind_of_value) {
  struct gguf_writer w = { .version = _i ? 2 : 3 };
  all_kinds(&w);
  float ones[4] = { 1, 1, 1, 1 };
  writer_matrix(&w, "t", TYPE_F32, 4, 1, ones);
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g;
  ck_assert_int_eq(open_copy(&g, &copy, data, n, false), LRQK_OK);
  ck_assert_uint_eq(g->n_keys, 17);
  ck_assert_uint_eq(g->version, _i ? 2 : 3);

  static const struct { const char *key; double value; } numbers[] = {
    { "u8", 255 }, { "i8", -1 }, { "u16", 65534 }, { "i16", -2 }, { "u32", 4294967295.0 }, { "i32", -7 }, { "f32", 0.5 },
    { "u64", 18446744073709551615.0 }, { "i64", 1234567 }, { "f64", 0.25 }, { "bool", 1 }
  };
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    const struct gguf_key *k = gguf_find(g, numbers[i].key);
    ck_assert_ptr_nonnull(k);
    ck_assert_str_eq(gguf_type_name(k->type), numbers[i].key);
    ck_assert(gguf_number(k, 0) == numbers[i].value);
  }
  const struct gguf_key *k = gguf_find(g, "numbers");
  ck_assert(k->type == GGUF_ARRAY && k->element == GGUF_I16 && k->count == 3 && gguf_number(k, 1) == -2);
  k = gguf_find(g, "words");
  size_t pos = 0;
  ck_assert_uint_eq(gguf_next_string(k, &pos).len, 0);
  ck_assert(!memcmp(gguf_next_string(k, &pos).s, "one", 3));
  ck_assert_uint_eq(gguf_next_string(k, &pos).len, 7);
  ck_assert_uint_eq(gguf_find(g, "none")->count, 0);
  ck_assert_ptr_null(gguf_find(g, "word"));
  ck_assert_ptr_null(gguf_find(g, ""));
  ck_assert_ptr_null(gguf_find_tensor(g, "tt"));

  const struct gguf_tensor *t = gguf_find_tensor(g, "t");
  ck_assert(t && t->bytes == 16 && t->rows == 1 && t->dims[0] == 4 && t->dims[3] == 1 && t->offset + 16 == n);
  ck_assert(!memcmp(t->data, ones, 16));
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

START_TEST(typed_access) {
  struct gguf_writer w = { 0 };
  all_kinds(&w);
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g;
  ck_assert_int_eq(open_copy(&g, &copy, data, n, true), LRQK_OK);

  uint32_t u = 5;
  float f = 5;
  bool b = false;
  struct gguf_str s;
  static const char *const fit[] = { "u8", "u16", "u32", "i64" };
  for (int i = 0; i < 4; i++) ck_assert_int_eq(gguf_u32(g, fit[i], true, &u), LRQK_OK);
  ck_assert_uint_eq(u, 1234567);
  ck_assert(gguf_f32(g, "f64", true, &f) == LRQK_OK && f == 0.25f);
  ck_assert(gguf_bool(g, "bool", true, &b) == LRQK_OK && b);
  ck_assert(gguf_string(g, "string", true, &s) == LRQK_OK && s.len == 4 && !memcmp(s.s, "text", 4));
  ck_assert(gguf_u32(g, "absent", false, &u) == LRQK_OK && u == 1234567);
  ck_assert(gguf_f32(g, "absent", false, &f) == LRQK_OK && f == 0.25f);
  ck_assert_int_eq(captured.errors, 0);

  static const char *const no_u32[][2] = { { "i8", "-1" }, { "u64", "18446744073709551616" }, { "f32", "f32" }, { "bool", "bool" },
                                           { "numbers", "array of i16" }, { "absent", "missing" } };
  for (int i = 0; i < 6; i++) {
    log_capture(&captured);
    ck_assert_int_eq(gguf_u32(g, no_u32[i][0], true, &u), LRQK_MODEL);
    log_capture_expect(&captured, no_u32[i][0], no_u32[i][1]);
    log_capture_expect(&captured, "FILE", "expected");
  }
  static const char *const no_f32[] = { "nan", "huge", "u32", "none", "absent" };
  for (int i = 0; i < 5; i++) {
    log_capture(&captured);
    ck_assert_int_eq(gguf_f32(g, no_f32[i], true, &f), LRQK_MODEL);
    log_capture_expect(&captured, no_f32[i], "expected");
  }
  log_capture(&captured);
  ck_assert(gguf_bool(g, "u8", true, &b) == LRQK_MODEL && gguf_string(g, "words", true, &s) == LRQK_MODEL);
  ck_assert(u == 1234567 && f == 0.25f && b);
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

START_TEST(alignment_of_the_file) {
  struct gguf_writer w = { .alignment = 1u << _i };
  float v[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
  writer_tensor(&w, "a", TYPE_F32, 1, (const uint64_t[]){ 3 }, v, 12);
  writer_tensor(&w, "b", TYPE_F16, 1, (const uint64_t[]){ 1 }, v, 2);
  writer_matrix(&w, "c", TYPE_F32, 8, 1, v);
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g;
  ck_assert_int_eq(open_copy(&g, &copy, data, n, false), LRQK_OK);
  ck_assert_uint_eq(g->alignment, 1u << _i);
  const struct gguf_tensor *t = gguf_find_tensor(g, "c");
  float out[8];
  t->type->dequantise(t->data, out, 8);
  ck_assert(!memcmp(out, v, sizeof v));
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

START_TEST(many_names) {
  enum { N = 2000 };
  struct gguf_writer w = { 0 };
  char name[32];
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "k%d", i * 7919 % N);
    writer_u32(&w, name, (uint32_t)(i * 7919 % N));
  }
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g;
  ck_assert_int_eq(open_copy(&g, &copy, data, n, true), LRQK_OK);
  for (uint32_t i = 0; i < N; i++) {
    uint32_t v;
    snprintf(name, sizeof name, "k%u", i);
    ck_assert(gguf_u32(g, name, true, &v) == LRQK_OK && v == i);
  }
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

/* ---- wrong files */

static const uint64_t dims[4] = { 32, 2, 1, 1 };
static const unsigned char zeros[4096];

static void one_tensor(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 2, dims, zeros, 256); }
static void bad_version(struct gguf_writer *w) { w->version = 4; one_tensor(w); }
static void old_version(struct gguf_writer *w) { w->version = 1; one_tensor(w); }
static void big_endian(struct gguf_writer *w) { w->version = 0x03000000; one_tensor(w); }
static void no_tensors(struct gguf_writer *w) { writer_u32(w, "k", 1); }
static void many_keys(struct gguf_writer *w) { one_tensor(w); w->n_keys = UINT64_C(1) << 60; }
static void more_keys(struct gguf_writer *w) { one_tensor(w); writer_u32(w, "k", 1); w->n_keys = 2; }
static void many_tensors(struct gguf_writer *w) { one_tensor(w); w->n_tensors = UINT64_MAX; }
static void key_twice(struct gguf_writer *w) { writer_u32(w, "k", 1); writer_u32(w, "j", 1); writer_f32(w, "k", 1); one_tensor(w); }
static void tensor_twice(struct gguf_writer *w) { one_tensor(w); writer_tensor(w, "b", TYPE_F32, 2, dims, zeros, 256); one_tensor(w); }
static void empty_key(struct gguf_writer *w) { writer_u32(w, "", 1); one_tensor(w); }
static void control_key(struct gguf_writer *w) { writer_u32(w, "a\nb", 1); one_tensor(w); }
static void invalid_key(struct gguf_writer *w) { writer_u32(w, "a\xff", 1); one_tensor(w); }
static void long_tensor(struct gguf_writer *w) {
  char name[66] = { 0 };
  memset(name, 'x', 65);
  writer_tensor(w, name, TYPE_F32, 2, dims, zeros, 256);
}
static void bad_value_type(struct gguf_writer *w) { writer_raw(w, "k", 13, zeros, 8); one_tensor(w); }
static void nested_array(struct gguf_writer *w) { writer_raw(w, "k", GGUF_ARRAY, "\x09\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0", 16); one_tensor(w); }
static void odd_array(struct gguf_writer *w) { writer_raw(w, "k", GGUF_ARRAY, "\x0d\0\0\0\1\0\0\0\0\0\0\0", 12); one_tensor(w); }
static void long_array(struct gguf_writer *w) { writer_raw(w, "k", GGUF_ARRAY, "\x0a\0\0\0\0\0\0\0\0\0\0\x20", 12); one_tensor(w); }
static void long_strings(struct gguf_writer *w) { writer_raw(w, "k", GGUF_ARRAY, "\x08\0\0\0\0\0\0\0\0\0\0\x80", 12); one_tensor(w); }
static void long_string(struct gguf_writer *w) { writer_raw(w, "k", GGUF_STRING, "\xf8\xff\xff\xff\xff\xff\xff\xff", 8); one_tensor(w); }
static void odd_bool(struct gguf_writer *w) { writer_raw(w, "k", GGUF_BOOL, "\2", 1); one_tensor(w); }
static void align_three(struct gguf_writer *w) { w->alignment = 3; one_tensor(w); }
static void align_zero(struct gguf_writer *w) { writer_u32(w, "general.alignment", 0); one_tensor(w); }
static void align_huge(struct gguf_writer *w) { writer_u32(w, "general.alignment", 1u << 31); one_tensor(w); }
static void align_text(struct gguf_writer *w) { writer_string(w, "general.alignment", "32"); one_tensor(w); }
static void no_dims(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 0, dims, zeros, 256); }
static void five_dims(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 5, (const uint64_t[]){ 32, 2, 1, 1, 1 }, zeros, 256); }
static void zero_dim(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 2, (const uint64_t[]){ 32, 0 }, zeros, 256); }
static void huge_dim(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 2, (const uint64_t[]){ 1u << 31, 1ull << 33 }, zeros, 256); }
static void huge_bytes(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_F32, 1, (const uint64_t[]){ UINT64_C(1) << 62 }, zeros, 256); }
static void bad_type(struct gguf_writer *w) { writer_tensor(w, "a", 99, 2, dims, zeros, 256); }
static void gone_type(struct gguf_writer *w) { writer_tensor(w, "a", 31, 2, dims, zeros, 256); }
static void part_block(struct gguf_writer *w) { writer_tensor(w, "a", TYPE_Q8_0, 1, (const uint64_t[]){ 48 }, zeros, 68); }
static void odd_offset(struct gguf_writer *w) { writer_tensor_at(w, "b", TYPE_F32, 2, dims, 16); one_tensor(w); one_tensor(w); }
static void far_offset(struct gguf_writer *w) { writer_tensor_at(w, "b", TYPE_F32, 2, dims, UINT64_MAX - 31); one_tensor(w); }
static void beyond_end(struct gguf_writer *w) { one_tensor(w); writer_tensor_at(w, "b", TYPE_F32, 2, dims, 32); }
static void overlapping(struct gguf_writer *w) { one_tensor(w); writer_tensor_at(w, "b", TYPE_F32, 1, dims, 96); }
static void same_place(struct gguf_writer *w) { one_tensor(w); writer_tensor_at(w, "b", TYPE_F32, 2, dims, 0); }

static const struct { void (*build)(struct gguf_writer *w); const char *what, *expected; } wrong[] = {
  { bad_version, "version 4", "expected 2 or 3" }, { old_version, "version 1", "expected 2 or 3" },
  { big_endian, "big-endian", "expected a little-endian one" }, { no_tensors, "no tensors", "expected" },
  { many_keys, "1152921504606846976 keys", "expected at most" }, { more_keys, "the name of tensor 0", "expected 1 to 64" },
  { many_tensors, "18446744073709551615 tensors", "expected at most" }, { key_twice, "key k is there twice", "expected once" },
  { tensor_twice, "tensor a is there twice", "expected once" }, { empty_key, "key 0 has 0 bytes", "expected 1 to" },
  { control_key, "a?b", "expected UTF-8" }, { invalid_key, "a?", "expected UTF-8" }, { long_tensor, "65 bytes", "expected 1 to 64" },
  { bad_value_type, "key k has value type 13", "expected 0 to 12" }, { nested_array, "key k is an array of arrays", "expected" },
  { odd_array, "key k is an array of an unknown type (13)", "expected" }, { long_array, "value of k", "expected" },
  { long_strings, "string of k", "expected" }, { long_string, "string of k", "expected 18446744073709551608 more bytes" },
  { odd_bool, "key k holds the bool 2", "expected 0 or 1" }, { align_three, "general.alignment is 3", "expected a power of two" },
  { align_zero, "general.alignment is 0", "expected a power of two" }, { align_huge, "padding", "expected" },
  { align_text, "general.alignment is of type string", "expected an integer" }, { no_dims, "tensor a has 0 dimensions", "expected 1 to 4" },
  { five_dims, "tensor a has 5 dimensions", "expected 1 to 4" }, { zero_dim, "tensor a has dimensions [32, 0, 1, 1]", "expected" },
  { huge_dim, "tensor a has dimensions", "expected" }, { huge_bytes, "tensor a has 4611686018427387904 values", "expected" },
  { bad_type, "tensor a has type 99", "expected" }, { gone_type, "type 31 (Q4_0_4_4)", "expected" },
  { part_block, "tensor a has rows of 48 values", "expected a multiple of 32 for type Q8_0" },
  { odd_offset, "tensor b has offset 16", "expected a multiple of the alignment 32" },
  { far_offset, "tensor b needs 256 bytes", "expected" }, { beyond_end, "tensor b needs 256 bytes at offset 32", "expected" },
  { overlapping, "tensor b at byte", "overlaps tensor a" },
  { same_place, "overlaps", "expected tensors apart" },
};

START_TEST(wrong_files) {
  struct gguf_writer w = { 0 };
  wrong[_i].build(&w);
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g = NULL;
  ck_assert_msg(open_copy(&g, &copy, data, n, false) == LRQK_MODEL, "accepted: expected \"%s\"", wrong[_i].what);
  ck_assert_ptr_null(g);
  log_capture_expect(&captured, wrong[_i].what, wrong[_i].expected);
  log_capture_expect(&captured, "FILE: ", "");
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

/* A vocabulary: no tensors, or tensors of types that nobody knows yet. */
START_TEST(vocabulary_only) {
  static void (*const build[])(struct gguf_writer *) = { no_tensors, bad_type, gone_type, one_tensor };
  struct gguf_writer w = { 0 };
  build[_i](&w);
  size_t n;
  unsigned char *data = writer_file(&w, &n, NULL), *copy;
  struct gguf *g;
  ck_assert_int_eq(open_copy(&g, &copy, data, n, true), LRQK_OK);
  ck_assert_uint_eq(g->n_tensors, _i ? 1 : 0);
  if (_i) ck_assert_ptr_nonnull(g->tensors[0].type);
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

static enum lrqk_status open_path(const char *path) {
  struct log log = log_capture(&captured);
  struct gguf *g;
  enum lrqk_status s = gguf_open(&g, &log, path, false);
  if (s == LRQK_OK) gguf_close(g);
  return s;
}

START_TEST(files_on_disk) {
  char path[] = "gguf-XXXXXX", sub[64];
  ck_assert_ptr_nonnull(mkdtemp(path));
  ck_assert_int_eq(open_path(path), LRQK_MODEL);
  log_capture_expect(&captured, path, "directory");
  snprintf(sub, sizeof sub, "%s/model.gguf", path);
  ck_assert_int_eq(open_path(sub), LRQK_MODEL);
  log_capture_expect(&captured, sub, "No such file");
  int fd = open(sub, O_CREAT | O_WRONLY, 0600);
  ck_assert_int_ge(fd, 0);
  close(fd);
  ck_assert_int_eq(open_path(sub), LRQK_MODEL);
  log_capture_expect(&captured, sub, "empty");

  tiny_model_save(&(struct tiny_model){ .layers = 1 }, sub);
  ck_assert_int_eq(open_path(sub), LRQK_OK);
  struct stat st;
  ck_assert_int_eq(stat(sub, &st), 0);
  ck_assert_int_eq(truncate(sub, st.st_size - 1), 0);
  ck_assert_int_eq(open_path(sub), LRQK_MODEL);
  log_capture_expect(&captured, sub, "expected");
  unlink(sub);
  rmdir(path);
}
END_TEST

START_TEST(cut_anywhere) {
  struct tiny_model tiny = tiny_model_defaults(&(struct tiny_model){ .layers = 1, .vocab = 264 });
  struct gguf_writer w = { 0 };
  tiny_model_keys(&w, &tiny);
  tiny_model_vocabulary(&w, tiny.vocab);
  tiny_model_tensors(&w, &tiny);
  size_t n, start;
  unsigned char *data = writer_file(&w, &n, &start), *copy;
  struct gguf *g = NULL;
  for (size_t i = 0; i < start + 64; i++) {
    size_t cut = i < start ? i : start + (n - start) * (i - start) / 64;
    ck_assert_msg(open_copy(&g, &copy, data, cut, false) == LRQK_MODEL, "accepted with %zu of %zu bytes", cut, n);
    log_capture_expect(&captured, "FILE: ", "expected");
    free(copy);
  }
  ck_assert_int_eq(open_copy(&g, &copy, data, n, false), LRQK_OK);
  gguf_close(g);
  free(copy);
  free(data);
  writer_free(&w);
}
END_TEST

/* Each allocation of an open in turn (base/mem.h); a process of its own per allocation, because it counts once. */
START_TEST(memory_runs_out) {
  char nth[8];
  snprintf(nth, sizeof nth, "%d", _i);
  setenv("LRQK_FAULT_ALLOC", nth, 1);
  size_t n;
  unsigned char *data = tiny_model_file(&(struct tiny_model){ .layers = 1 }, &n), *copy;
  struct gguf *g = NULL;
  enum lrqk_status s = open_copy(&g, &copy, data, n, false);
  if (_i <= 7) {
    ck_assert_int_eq(s, LRQK_MEMORY);
    log_capture_expect(&captured, "FILE: no memory", "");
    ck_assert_ptr_null(g);
  } else {
    ck_assert_int_eq(s, LRQK_OK);
    gguf_close(g);
  }
  free(copy);
  free(data);
}
END_TEST

/* ---- tensor types */

static size_t unhex(const char *text, unsigned char *out, size_t cap) {
  size_t n = 0;
  for (unsigned byte; n < cap && sscanf(text + 2 * n, "%2x", &byte) == 1; n++) out[n] = (unsigned char)byte;
  return n;
}

/* Blocks and their values out of tests/data/make_dequant.py, bit for bit. */
START_TEST(golden_blocks) {
  FILE *f = fopen(TEST_DATA "/dequant.txt", "r");
  ck_assert_ptr_nonnull(f);
  static char block_hex[1024], value_hex[4096];
  unsigned id, lines = 0, seen = 0;
  while (fscanf(f, "%u %1023s %4095s", &id, block_hex, value_hex) == 3) {
    unsigned char block[512], want[2048];
    float got[256];
    size_t bytes = unhex(block_hex, block, sizeof block), n = unhex(value_hex, want, sizeof want) / 4;
    const struct tensor_type *t = tensor_type_find(id);
    ck_assert_msg(t && t->dequantise, "type %u", id);
    ck_assert_uint_eq(bytes, n / t->block * t->bytes);
    unsigned char *exact = malloc(bytes);
    memcpy(exact, block, bytes);
    t->dequantise(exact, got, n);
    ck_assert_msg(!memcmp(got, want, n * 4), "line %u: %s differs", lines + 1, t->name);
    free(exact);
    lines++;
    seen |= 1u << id;
  }
  fclose(f);
  ck_assert_uint_eq(lines, 51);
  for (uint32_t i = 0; i < 64; i++) {
    const struct tensor_type *t = tensor_type_find(i);
    if (t && t->dequantise) ck_assert_msg(seen >> i & 1, "no block of %s", t->name);
  }
}
END_TEST

START_TEST(table_of_types) {
  static const struct { uint32_t id; const char *name; uint32_t block, bytes; } some[] = {
    { TYPE_F32, "F32", 1, 4 }, { TYPE_BF16, "BF16", 1, 2 }, { TYPE_Q4_0, "Q4_0", 32, 18 }, { TYPE_Q5_1, "Q5_1", 32, 24 },
    { TYPE_Q2_K, "Q2_K", 256, 84 }, { TYPE_Q3_K, "Q3_K", 256, 110 }, { TYPE_Q5_K, "Q5_K", 256, 176 }, { TYPE_IQ4_NL, "IQ4_NL", 32, 18 },
    { TYPE_IQ4_XS, "IQ4_XS", 256, 136 }, { 28, "F64", 1, 8 }, { 39, "MXFP4", 32, 17 },
  };
  for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
    const struct tensor_type *t = tensor_type_find(some[i].id);
    ck_assert(t && t->id == some[i].id && t->block == some[i].block && t->bytes == some[i].bytes);
    ck_assert_str_eq(t->name, some[i].name);
  }
  ck_assert_ptr_null(tensor_type_find(42));
  ck_assert_ptr_null(tensor_type_find(UINT32_MAX));
}
END_TEST

/* ---- models in several files */

enum { PARTS = 3 };

static void part_path(char out[64], int i) { snprintf(out, 64, "test_gguf_%d-0000%d-of-0000%d.gguf", (int)getpid(), i + 1, PARTS); }

/* Part i holds tensor "t<i>" with the value i; the first one may hold none. */
static void save_part(int i, int no, int count, const char *tensor, bool empty) {
  struct gguf_writer w = { 0 };
  char path[64];
  part_path(path, i);
  if (!i) writer_string(&w, "general.architecture", "llama");
  writer_raw(&w, "split.no", GGUF_U16, &(uint16_t){ (uint16_t)no }, 2);
  writer_raw(&w, "split.count", GGUF_U16, &(uint16_t){ (uint16_t)count }, 2);
  if (!i) writer_raw(&w, "split.tensors.count", GGUF_I32, &(int32_t){ empty ? PARTS - 1 : PARTS }, 4);
  if (!empty || i) writer_tensor(&w, tensor, TYPE_F32, 1, (const uint64_t[]){ 1 }, &(float){ (float)i }, 4);
  writer_save(&w, path);
  writer_free(&w);
}

static void save_parts(bool empty) {
  for (int i = 0; i < PARTS; i++) save_part(i, i, PARTS, (const char *[]){ "t0", "t1", "t2" }[i], empty);
}

static void remove_parts(void) {
  char path[64];
  for (int i = 0; i < PARTS; i++) { part_path(path, i); unlink(path); }
}

START_TEST(parts_are_one_model) {
  struct log log = log_capture(&captured);
  struct gguf *g;
  char path[64];
  part_path(path, 0);
  save_parts(_i);
  ck_assert_msg(gguf_open(&g, &log, path, false) == LRQK_OK, "%s", captured.text);
  ck_assert_uint_eq(g->n_tensors, _i ? PARTS - 1 : PARTS);
  for (int i = _i; i < PARTS; i++) {
    const struct gguf_tensor *t = gguf_find_tensor(g, (const char *[]){ "t0", "t1", "t2" }[i]);
    float v;
    ck_assert_ptr_nonnull(t);
    memcpy(&v, t->data, 4);
    ck_assert(v == (float)i);
  }
  gguf_close(g);
  ck_assert_int_eq(gguf_open(&g, &log, path, true), LRQK_OK);          /* the vocabulary needs the first alone */
  ck_assert_uint_eq(g->n_tensors, _i ? 0 : 1);
  ck_assert_int_eq(gguf_join(g, true), LRQK_OK);
  ck_assert_uint_eq(g->n_tensors, _i ? PARTS - 1 : PARTS);
  gguf_close(g);
  remove_parts();
}
END_TEST

START_TEST(wrong_parts) {
  static const struct { int part, no, count; const char *tensor, *what, *expected; } bad[] = {
    { 1, 2, PARTS, "t1", "is part 3 of 3", "expected part 2 of 3" },   { 2, 2, 4, "t2", "is part 3 of 4", "expected part 3 of 3" },
    { 0, 1, PARTS, "t0", "is part 2 of 3", "expected part 1 of 3" },   { 1, 1, PARTS, "t0", "t0 is there twice", "expected once" },
    { 0, 0, PARTS, "t0", "split.tensors.count is 2", "expected 3" },   { 2, 0, 0, NULL, "cannot open", "00003-of-00003" },
    { 0, 0, 2, "t0", "a name that ends in -00001-of-00002.gguf", "expected" },
  };
  struct log log = log_capture(&captured);
  struct gguf *g;
  char path[64];
  save_parts(false);
  part_path(path, bad[_i].part);
  if (bad[_i].tensor) save_part(bad[_i].part, bad[_i].no, bad[_i].count, bad[_i].tensor, false);
  else unlink(path);
  part_path(path, 0);
  if (_i == 4) {
    struct gguf_writer w = { 0 };
    writer_raw(&w, "split.no", GGUF_U16, &(uint16_t){ 0 }, 2);
    writer_raw(&w, "split.count", GGUF_U16, &(uint16_t){ PARTS }, 2);
    writer_u32(&w, "split.tensors.count", 2);
    writer_tensor(&w, "t0", TYPE_F32, 1, (const uint64_t[]){ 1 }, &(float){ 0 }, 4);
    writer_save(&w, path);
    writer_free(&w);
  }
  ck_assert_int_ne(gguf_open(&g, &log, path, false), LRQK_OK);
  log_capture_expect(&captured, bad[_i].what, bad[_i].expected);
  remove_parts();
}
END_TEST

int main(void) {
  Suite *s = suite_create("gguf");
  TCase *right = tcase_create("right"), *bad = tcase_create("wrong"), *types = tcase_create("types");
  tcase_set_timeout(bad, 60);
  tcase_add_loop_test(right, every_kind_of_value, 0, 2);
  tcase_add_test(right, typed_access);
  tcase_add_loop_test(right, alignment_of_the_file, 0, 9);
  tcase_add_test(right, many_names);
  tcase_add_loop_test(bad, wrong_files, 0, sizeof wrong / sizeof wrong[0]);
  tcase_add_loop_test(bad, vocabulary_only, 0, 4);
  tcase_add_test(bad, files_on_disk);
  tcase_add_test(bad, cut_anywhere);
  tcase_add_test(types, golden_blocks);
  tcase_add_test(types, table_of_types);
  TCase *parts = tcase_create("parts");
  tcase_add_loop_test(parts, parts_are_one_model, 0, 2);
  tcase_add_loop_test(parts, wrong_parts, 0, 7);
  suite_add_tcase(s, parts);
  suite_add_tcase(s, right);
  suite_add_tcase(s, bad);
  suite_add_tcase(s, types);
  const char *fork = getenv("CK_FORK");
  if (!fork || strcmp(fork, "no")) tcase_add_loop_test(bad, memory_runs_out, 1, 9);   /* in processes of their own */
  return suite_run(s, CK_FORK_GETENV);
}
