/* SentencePiece vocabularies (src/token/spm.c) against Google's implementation (tests/data/spm, made by
 * tools/reference/make_spm_golden.py), and what its files leave open. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "token_check.h"
#include "suite.h"

static struct fixture f;
static void teardown(void) { fixture_close(&f); }

static const char *const names[] = { "llama", "gemma", "tidy" };

/* The bytes of the ids through a stream of characters, without the space that was put in front. */
static char *decoded(const struct fixture *x, const struct ids *ids, size_t *len) {
  struct lrqk_utf8_stream u = { 0 };
  char *out = malloc(3 * 8 * (ids->n + 16));
  ck_assert_ptr_nonnull(out);
  *len = 0;
  for (size_t i = 0; i < ids->n; i++) {
    const char *s;
    size_t n, lead = tokenizer_lead(x->t, i ? ids->id[i - 1] : -1, ids->id[i]);
    tokenizer_text(x->t, ids->id[i], true, &s, &n);
    ck_assert_uint_le(lead, n);
    ck_assert_uint_lt(n, 32);
    *len += lrqk_utf8_push(&u, s + lead, n - lead, out + *len);
  }
  *len += lrqk_utf8_push(&u, NULL, 0, out + *len);
  return out;
}

static void same_back(const struct ids *ids, const char *text, size_t len) {
  size_t n;
  char *back = decoded(&f, ids, &n);
  for (size_t i = 0, k = 0; i < len; k++) {   /* U+2581 comes back as a space */
    bool space = len - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3);
    ck_assert_msg(k < n && back[k] == (space ? ' ' : text[i]), "\"%s\" came back as \"%.*s\"", text, (int)n, back);
    i += space ? 3 : 1;
    ck_assert_msg(i < len || k + 1 == n, "\"%s\" came back as \"%.*s\"", text, (int)n, back);
  }
  free(back);
}

START_TEST(as_sentencepiece) {
  char path[512];
  const char *name = names[_i];
  snprintf(path, sizeof path, TEST_DATA "/spm/%s.gguf", name);
  f.log = (struct log){ remember, &f.msg };
  ck_assert_int_eq(gguf_open(&f.g, &f.log, path, true), LRQK_OK);
  ck_assert_int_eq(tokenizer_open(&f.t, f.g, 0), LRQK_OK);
  ck_assert(tokenizer_adds_bos(f.t) && tokenizer_bos(f.t) == 1 && tokenizer_eos(f.t) == 2);
  snprintf(path, sizeof path, TEST_DATA "/spm/%s.txt", name);
  FILE *in = fopen(path, "rb");
  ck_assert_ptr_nonnull(in);
  static char line[1 << 15], text[4096];
  int n = 0;
  for (; fgets(line, sizeof line, in); n++) {
    int32_t ids[2048];
    size_t n_ids = 0;
    char *p = line + 5;
    size_t len = strtoul(p, &p, 10);
    while (*p != '\n' && strcmp(p, " \n")) {
      ck_assert_uint_lt(n_ids, sizeof ids / sizeof *ids);
      ids[n_ids++] = (int32_t)strtol(p, &p, 10);
    }
    ck_assert_uint_lt(len, sizeof text);
    ck_assert_uint_eq(fread(text, 1, len, in), len);
    text[len] = 0;
    ck_assert_int_eq(fgetc(in), '\n');
    check_ids(&f, text, len, false, ids, n_ids);
    if (strcmp(name, "tidy")) same_back(&(struct ids){ ids, n_ids, n_ids }, text, len);
  }
  fclose(in);
  ck_assert_int_ge(n, 90);
}
END_TEST

#define SPACE "\xe2\x96\x81"
static const struct vocab_spec small = { .model = "llama", .spm = true,
                                         .extra = { "<unk>", "<s>", "</s>", SPACE, "a", "b", "ab", SPACE "a", "aa", "<t>", "ba" },
                                         .type = { 2, 3, 3, 0, 0, 0, 0, 0, 0, 4 }, .score = { 0, 0, 0, -9, -9, -9, -1, -2, -2, 0, -1 } };
enum { UNK = 256, BOS, EOS, SP, A, B, AB, SP_A, AA, T, BA };

static void open_small(struct vocab_spec s) {
  fixture_close(&f);
  enum lrqk_status st = fixture_open(&f, &s, 0);
  ck_assert_msg(st == LRQK_OK, "%s", f.msg.last[LRQK_LOG_ERROR]);
}

START_TEST(merges_by_score_then_from_the_left) {
  struct vocab_spec s = small;
  s.space_prefix = -1;
  open_small(s);
  check_ids(&f, TEXT("ab"), false, IDS(AB));
  check_ids(&f, TEXT("aba"), false, IDS(AB, A));             /* ab and ba have the same score */
  check_ids(&f, TEXT("aab"), false, IDS(A, AB));             /* ab before aa */
  check_ids(&f, TEXT("aaa"), false, IDS(AA, A));
  check_ids(&f, TEXT(" a"), false, IDS(SP_A));
  check_ids(&f, TEXT("x"), false, IDS('x'));                 /* the byte */
  check_ids(&f, TEXT("\xe6\x97\xa5" "a"), false, IDS(0xe6, 0x97, 0xa5, A));
}
END_TEST

START_TEST(the_space_in_front) {
  open_small(small);
  check_ids(&f, TEXT("a"), false, IDS(SP_A));
  check_ids(&f, TEXT(""), false, NULL, 0);
  check_ids(&f, TEXT("a<t>a"), false, IDS(SP_A, T, SP_A));    /* also behind a special token */
  check_ids(&f, TEXT("<s>a</s>"), true, IDS(BOS, SP_A, EOS));
  check_ids(&f, TEXT("<s>"), false, IDS(SP, '<', 's', '>'));
  ck_assert_uint_eq(tokenizer_lead(f.t, -1, SP_A), 1);
  ck_assert_uint_eq(tokenizer_lead(f.t, T, SP_A), 1);
  ck_assert_uint_eq(tokenizer_lead(f.t, A, SP_A), 0);
  ck_assert_uint_eq(tokenizer_lead(f.t, -1, A), 0);
  ck_assert_uint_eq(tokenizer_lead(f.t, -1, T), 0);
  ck_assert_uint_eq(tokenizer_lead(f.t, -1, 9999), 0);
  struct vocab_spec s = small;
  s.arch = "gemma2";                                          /* older files of Gemma have no key that says so */
  open_small(s);
  check_ids(&f, TEXT("a"), false, IDS(A));
  ck_assert_uint_eq(tokenizer_lead(f.t, -1, SP_A), 0);
}
END_TEST

START_TEST(phi3_takes_white_space_behind_special_tokens) {
  struct vocab_spec s = small;
  s.arch = "phi3";
  open_small(s);
  check_ids(&f, TEXT("<t>\n  a<s> a"), true, IDS(T, SP_A, BOS, SP, SP_A));
}
END_TEST

START_TEST(without_bytes_there_is_the_unknown_token) {
  struct vocab_spec s = small;
  s.no_bytes = true;
  open_small(s);
  check_ids(&f, TEXT("axa"), false, IDS(SP_A - 256, UNK - 256, A - 256));
  ck_assert_int_eq(f.msg.n[LRQK_LOG_WARN], 0);
}
END_TEST

START_TEST(usual_special_tokens) {
  open_small(small);
  ck_assert_int_eq(tokenizer_bos(f.t), BOS);                  /* by their names: the file does not say */
  ck_assert_int_eq(tokenizer_eos(f.t), EOS);
  ck_assert(tokenizer_is_end(f.t, EOS) && !tokenizer_is_end(f.t, BOS));
  ck_assert(tokenizer_adds_bos(f.t) && !tokenizer_adds_eos(f.t));
  struct vocab_spec s = small;
  s.add_bos = -1;
  s.add_eos = 1;
  open_small(s);
  ck_assert(!tokenizer_adds_bos(f.t) && tokenizer_adds_eos(f.t));
}
END_TEST

START_TEST(wrong_scores_are_refused) {
  struct vocab_spec s = small;
  s.no_scores = true;
  ck_assert_int_eq(fixture_open(&f, &s, 0), LRQK_MODEL);
  ck_assert_ptr_nonnull(strstr(f.msg.last[LRQK_LOG_ERROR], "tokenizer.ggml.scores is missing"));
  fixture_close(&f);
  s = small;
  s.score[3] = (float)strtod("nan", NULL);
  ck_assert_int_eq(fixture_open(&f, &s, 0), LRQK_MODEL);
  ck_assert_ptr_nonnull(strstr(f.msg.last[LRQK_LOG_ERROR], "for token 259"));
}
END_TEST

/* A megabyte without a space: seconds if merging is n log n, hours if it is quadratic. */
START_TEST(a_very_long_word) {
  enum { N = 1 << 20 };
  open_small(small);
  char *text = malloc(N);
  struct ids out = { 0 };
  ck_assert_ptr_nonnull(text);
  memset(text, 'a', N);
  ck_assert_int_eq(tokenizer_encode(f.t, text, N, false, &out, NULL), LRQK_OK);
  ck_assert_uint_eq(out.n, 1 + N / 2);
  mem_free(out.id);
  free(text);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spm");
  TCase *t = tcase_create("vocabularies");
  tcase_add_checked_fixture(t, NULL, teardown);
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, as_sentencepiece, 0, sizeof names / sizeof *names);
  tcase_add_test(t, merges_by_score_then_from_the_left);
  tcase_add_test(t, the_space_in_front);
  tcase_add_test(t, phi3_takes_white_space_behind_special_tokens);
  tcase_add_test(t, without_bytes_there_is_the_unknown_token);
  tcase_add_test(t, usual_special_tokens);
  tcase_add_test(t, wrong_scores_are_refused);
  tcase_add_test(t, a_very_long_word);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
