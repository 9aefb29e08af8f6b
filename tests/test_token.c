/* src/token over small vocabularies: merges, special tokens, pre-tokenizers, characters out of streams, wrong files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "token/chat.h"
#include "token/pretokenizer.h"
#include "token_check.h"
#include "suite.h"

static struct fixture f;
static void teardown(void) { fixture_close(&f); }

static void open_ok(const struct vocab_spec *s) {
  enum lrqk_status st = fixture_open(&f, s, 0);
  ck_assert_msg(st == LRQK_OK, "%s", f.msg.last[LRQK_LOG_ERROR]);
}

/* ---- merges ---- */

START_TEST(merges_by_rank_then_from_the_left) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "bc", "ab", "abc", "aa", "aaa" },
                                .merges = { "b c", "a b", "ab c", "a a", "aa a" } });
  check_ids(&f, TEXT("abc"), false, IDS('a', 256));               /* b c ranks before a b; a bc is no merge */
  check_ids(&f, TEXT("abd"), false, IDS(257, 'd'));
  check_ids(&f, TEXT("aaaa"), false, IDS(259, 259));              /* both pairs first: rank 3 before rank 4 */
  check_ids(&f, TEXT("aaaaa"), false, IDS(259, 260));
  check_ids(&f, TEXT("aaa aaa"), false, IDS(260, ' ', 260));      /* never across words */
  check_ids(&f, TEXT(""), false, NULL, 0);
  check_ids(&f, TEXT("\0a\0"), false, IDS(0, 'a', 0));
}
END_TEST

START_TEST(merges_that_cannot_be_are_ignored) {
  /* "zz", "bc", ... are no tokens */
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "ab" }, .merges = { "a zz", "b c", "xx yy", "a b", "a b" } });
  check_ids(&f, TEXT("abc"), false, IDS(256, 'c'));
}
END_TEST

START_TEST(a_merge_given_twice_has_its_first_rank) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "ab", "bc" }, .merges = { "a b", "b c", "a b" } });
  check_ids(&f, TEXT("abc"), false, IDS(256, 'c'));
}
END_TEST

START_TEST(whole_words_need_no_merges) {
  struct vocab_spec s = { .pre = "gpt-2", .extra = { "hello", "\xc4\xa0hello", "<s>" }, .type = { 0, 0, 3 } };
  open_ok(&s);
  check_ids(&f, TEXT("hello hello"), false, IDS('h', 'e', 'l', 'l', 'o', ' ', 'h', 'e', 'l', 'l', 'o'));
  fixture_close(&f);
  s.pre = "llama-bpe";
  open_ok(&s);
  check_ids(&f, TEXT("hello hello helloo"), false, IDS(256, 257, ' ', 'h', 'e', 'l', 'l', 'o', 'o'));
}
END_TEST

START_TEST(a_byte_without_a_token_is_left_out) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .no_bytes = true, .extra = { "a", "b", "aa", "bb" }, .merges = { "a a", "b b" } });
  check_ids(&f, TEXT("axabbyb"), false, IDS(0, 0, 3, 1));         /* nothing merges across it */
  ck_assert_int_eq(f.msg.n[LRQK_LOG_WARN], 1);
  ck_assert_ptr_nonnull(strstr(f.msg.last[LRQK_LOG_WARN], "2 bytes"));
  check_ids(&f, TEXT("xyz"), false, NULL, 0);
}
END_TEST

/* ---- special tokens ---- */

static const struct vocab_spec special_spec = {
  .pre = "gpt-2",
  .extra = { "<|a|>", "<|a|>b", "<tool>", "<t", "<|im_end|>", "\n\n" }, .type = { 3, 3, 4, 3, 3, 4 },
  .bos = 1 + 256, .eos = 1 + 257, .eot = 1 + 'x',
};

START_TEST(special_tokens) {
  open_ok(&special_spec);
  check_ids(&f, TEXT("<|a|>"), true, IDS(256));
  check_ids(&f, TEXT("<|a|>b"), true, IDS(257));                  /* the longest that begins there */
  check_ids(&f, TEXT("<|a|>c<|a|>"), true, IDS(256, 'c', 256));
  check_ids(&f, TEXT("<|a|><|a|>b<|a|"), true, IDS(256, 257, '<', '|', 'a', '|'));
  check_ids(&f, TEXT("<tool>"), true, IDS(258));
  check_ids(&f, TEXT("<too"), true, IDS(259, 'o', 'o'));
  check_ids(&f, TEXT("<<tool>"), true, IDS('<', 258));
  check_ids(&f, TEXT("<|a|>"), false, IDS('<', '|', 'a', '|', '>'));
  check_ids(&f, TEXT("<tool>\n\nx"), false, IDS(258, 261, 'x'));  /* user-defined ones are always found */
  check_ids(&f, TEXT("<too"), false, IDS('<', 't', 'o', 'o'));
}
END_TEST

static void check_text(int32_t id, bool special, const char *want) {
  const char *s;
  size_t n;
  tokenizer_text(f.t, id, special, &s, &n);
  ck_assert_uint_eq(n, strlen(want));
  ck_assert_mem_eq(s, want, n);
}

START_TEST(properties_of_tokens) {
  open_ok(&special_spec);
  check_text(256, false, "");
  check_text(256, true, "<|a|>");
  check_text(258, false, "<tool>");
  check_text(' ', false, " ");
  check_text(0xff, false, "\xff");
  ck_assert_uint_eq(tokenizer_size(f.t), 262);
  ck_assert_int_eq(tokenizer_bos(f.t), 256);
  ck_assert_int_eq(tokenizer_eos(f.t), 257);
  for (int32_t id = -1; id < 270; id++) ck_assert_msg(tokenizer_is_end(f.t, id) == (id == 257 || id == 'x' || id == 260), "id %d", id);
  ck_assert_int_eq(tokenizer_special(f.t, "<tool>"), 258);
  ck_assert_int_eq(tokenizer_special(f.t, "a"), -1);
}
END_TEST

START_TEST(every_byte_comes_back) {
  open_ok(&(struct vocab_spec){ .pre = "smollm" });
  for (int b = 0; b < 256; b++) {
    const char *s;
    size_t n;
    tokenizer_text(f.t, b, false, &s, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq((unsigned char)*s, b);
  }
}
END_TEST

START_TEST(names_that_are_no_bytes_stay) {
  /* a character outside the alphabet; no UTF-8 */
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "\xe6\x97\xa5\xc4\xa0", "\xff\xc4" } });
  check_text(256, false, "\xe6\x97\xa5 ");
  check_text(257, false, "\xff\xc4");
}
END_TEST

START_TEST(bos) {
  struct { const char *pre; int key; int64_t bos; bool want; } c[] = {
    { "smollm", 0, 2, false }, { "smollm", 1, 2, true }, { "smollm", 1, 0, false }, { "llama-bpe", 0, 2, true },
    { "llama-bpe", -1, 2, false }, { "qwen2", 0, 2, false },
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    open_ok(&(struct vocab_spec){ .pre = c[i].pre, .add_bos = c[i].key, .bos = c[i].bos });
    ck_assert_msg(tokenizer_adds_bos(f.t) == c[i].want, "case %zu", i);
    ck_assert_int_eq(tokenizer_bos(f.t), (int)c[i].bos - 1);
    fixture_close(&f);
  }
  open_ok(&(struct vocab_spec){ .pre = "smollm" });
}
END_TEST

START_TEST(well_known_names_are_special_whatever_the_file_says) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "<|im_start|>", "<|im_end|>", "<x>" }, .n_types = VOCAB_NO_TYPES });
  check_ids(&f, TEXT("<|im_start|><x>"), true, IDS(256, '<', 'x', '>'));
  ck_assert(tokenizer_is_end(f.t, 257) && !tokenizer_is_end(f.t, 256));
  ck_assert_int_ge(f.msg.n[LRQK_LOG_WARN], 3);
}
END_TEST

/* ---- invalid UTF-8 ---- */

START_TEST(invalid_utf8_is_replaced_and_counted) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "\xc3\xaf\xc2\xbf\xc2\xbd", "\xc3\xaf\xc2\xbf" },
      .merges = { "\xc3\xaf \xc2\xbf", "\xc3\xaf\xc2\xbf \xc2\xbd" } });
  struct { const char *text; size_t len, places; int32_t id[6]; size_t n; } c[] = {
    { TEXT("a\xff" "b"), 1, { 'a', 256, 'b' }, 3 },
    { TEXT("\xe2\x82"), 1, { 256 }, 1 },                          /* cut short at the end */
    { TEXT("\xe2\x82" "a"), 1, { 256, 'a' }, 2 },
    { TEXT("\xc0\x80"), 2, { 256, 256 }, 2 },                     /* overlong */
    { TEXT("\xed\xa0\x80"), 3, { 256, 256, 256 }, 3 },            /* a surrogate */
    { TEXT("\xf0\x9f\x98"), 1, { 256 }, 1 },
    { TEXT("\xef\xbf\xbd"), 0, { 256 }, 1 },                      /* U+FFFD itself is valid */
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    struct ids out = { 0 };
    size_t places = 99;
    ck_assert_int_eq(tokenizer_encode(f.t, c[i].text, c[i].len, true, &out, &places), LRQK_OK);
    ck_assert_msg(places == c[i].places, "case %zu: %zu places", i, places);
    same_ids("invalid UTF-8", &out, c[i].id, c[i].n);
    mem_free(out.id);
  }
}
END_TEST

/* ---- pre-tokenizers ---- */

struct words { char text[512]; };

static enum lrqk_status add_word(void *ud, const char *word, size_t len) {   /* words with | between */
  struct words *w = ud;
  size_t n = strlen(w->text);
  ck_assert_uint_lt(n + len + 2, sizeof w->text);
  memcpy(w->text + n, word, len);
  strcpy(w->text + n + len, "|");
  return LRQK_OK;
}

static const struct { const char *pre, *text, *words; } splits[] = {
  { "gpt-2", "I'm 42, aren't I?  Yes\n", "I|'m| 42|,| aren|'t| I|?| | Yes|\n|" },
  { "smollm", "I'm 42, aren't I?  Yes\n", "I|'m| |4|2|,| aren|'t| I|?| | Yes|\n|" },
  { "qwen2", "I'm 42, aren't I?  Yes\n", "I|'m| |4|2|,| aren|'t| I|?| | Yes|\n|" },
  { "llama-bpe", "I'M 12345, aren't I?\n\n Yes", "I|'M| |123|45|,| aren|'t| I|?\n\n| Yes|" },
  { "gpt-2", "I'M 'tis", "I|'|M| '|tis|" },
  { "gpt-2", "   a\n\n  b \t c  ", "  | a|\n\n | b| \t| c|  |" },
  { "qwen2", "   a\n\n  b \t c  ", "  | a|\n\n| | b| \t| c|  |" },
  { "smollm", "  7  8", "  |7|  |8|" },                            /* a digit ends the text for the spaces before it */
  { "gpt-2", "  7  8", " | 7| | 8|" },
  { "smollm", "x\xc2\xb2\xe2\x85\xa7\xd9\xa3y", "x|\xc2\xb2|\xe2\x85\xa7|\xd9\xa3|y|" },   /* superscript, roman and Arabic digits are N */
  { "gpt-2", "a\xe2\x80\x83\xe3\x80\x80" "b", "a|\xe2\x80\x83|\xe3\x80\x80|b|" },   /* U+2003 U+3000 are spaces */
  { "gpt-2", "a \xe1\xa0\x8e" "b", "a| \xe1\xa0\x8e|b|" },         /* U+180E is none */
  { "gpt-2", "cafe\xcc\x81 \xc3\xa9", "cafe|\xcc\x81| \xc3\xa9|" },   /* combining marks are no letters */
  { "qwen2", "#if\t(x)", "#if|\t|(x|)|" },
  { "llama3", "a\r\n\r\nb", "a|\r\n\r\n|b|" },
  { "llama-v3", "1234", "123|4|" },
};

START_TEST(pretokenizer_words) {
  struct messages msg = { 0 };
  struct gguf g = { .log = { remember, &msg }, .path = "none" };
  for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
    struct pretokenizer *p;
    struct words w = { "" };
    ck_assert_int_eq(pretokenizer_open(&p, &g, (struct gguf_str){ splits[i].pre, strlen(splits[i].pre) }), LRQK_OK);
    ck_assert_int_eq(pretokenizer_split(p, splits[i].text, strlen(splits[i].text), add_word, &w), LRQK_OK);
    ck_assert_msg(!strcmp(w.text, splits[i].words), "%s \"%s\"\nfound    %s\nexpected %s", splits[i].pre, splits[i].text, w.text,
        splits[i].words);
    pretokenizer_close(p);
  }
}
END_TEST

/* tests/data/split.txt: what another engine makes of the regexes (tools/reference/make_split_golden.py). */
START_TEST(words_as_another_engine_has_them) {
  FILE *in = fopen(TEST_DATA "/split.txt", "rb");
  ck_assert_ptr_nonnull(in);
  struct messages msg = { 0 };
  struct gguf g = { .log = { remember, &msg }, .path = "none" };
  char pre[32], text[512], want[512];
  size_t n_text, n_want;
  int n = 0;
  for (; fscanf(in, "%31s %zu %zu%*1[\n]", pre, &n_text, &n_want) == 3; n++) {
    struct pretokenizer *p;
    struct words w = { "" };
    ck_assert(n_text < sizeof text && n_want < sizeof want);
    ck_assert_uint_eq(fread(text, 1, n_text, in), n_text);
    ck_assert_int_eq(fgetc(in), '\n');
    ck_assert_uint_eq(fread(want, 1, n_want, in), n_want);
    want[n_want] = 0;
    ck_assert_int_eq(fgetc(in), '\n');
    ck_assert_int_eq(pretokenizer_open(&p, &g, (struct gguf_str){ pre, strlen(pre) }), LRQK_OK);
    ck_assert_int_eq(pretokenizer_split(p, text, n_text, add_word, &w), LRQK_OK);
    ck_assert_msg(!strcmp(w.text, want), "%s\nfound    %s\nexpected %s", pre, w.text, want);
    pretokenizer_close(p);
  }
  fclose(in);
  ck_assert_int_ge(n, 100);
}
END_TEST

START_TEST(missing_pretokenizer_is_gpt2_with_a_warning) {
  open_ok(&(struct vocab_spec){ .extra = { "42" }, .merges = { "4 2" } });
  ck_assert_int_eq(f.msg.n[LRQK_LOG_WARN], 1);
  ck_assert_ptr_nonnull(strstr(f.msg.last[LRQK_LOG_WARN], "gpt-2"));
  check_ids(&f, TEXT("42"), false, IDS(256));
}
END_TEST

/* ---- wrong files ---- */

static const struct { struct vocab_spec s; uint32_t n_vocab; const char *says; } wrong[] = {
  { { .pre = "gpt-2", .model = "bert" }, 0, "tokenizer.ggml.model: found \"bert\", expected \"gpt2\" (byte-level BPE) or \"llama\"" },
  { { .pre = "gpt-2", .model = "llama" }, 0, "tokenizer.ggml.scores is missing" },
  { { .pre = "gpt-2", .no_model = true }, 0, "tokenizer.ggml.model" },
  { { .pre = "superbpe" }, 0, "found \"superbpe\", known are: smollm, gpt-2" },
  { { .pre = "" }, 0, "found \"\", known are" },
  { { .pre = "gpt-2", .no_tokens = true }, 0, "tokenizer.ggml.tokens is missing" },
  { { .pre = "gpt-2", .no_bytes = true }, 0, "found 0 tokens" },
  { { .pre = "gpt-2", .no_merges = true }, 0, "tokenizer.ggml.merges is missing" },
  { { .pre = "gpt-2", .n_types = 1 }, 0, "token_type: found 257 entries, expected 256" },
  { { .pre = "gpt-2", .n_types = -1 }, 0, "token_type: found 255 entries, expected 256" },
  { { .pre = "gpt-2", .extra = { "x0" }, .type = { 7 } }, 0, "found 7 for token 256" },
  { { .pre = "gpt-2", .extra = { "x0" }, .type = { -3 } }, 0, "found -3 for token 256" },
  { { .pre = "gpt-2" }, 255, "found 256 tokens, expected 255" },
  { { .pre = "gpt-2", .extra = { "a" } }, 0, "tokens 97 and 256 are both \"a\"" },
  { { .pre = "gpt-2", .merges = { "ab" } }, 0, "merge 0 is \"ab\"" },
  { { .pre = "gpt-2", .merges = { "a b", "" } }, 0, "merge 1 is \"\"" },
  { { .pre = "gpt-2", .merges = { "a " } }, 0, "merge 0 is \"a \"" },
  { { .pre = "gpt-2", .merges = { " b" } }, 0, "merge 0 is \" b\"" },
  { { .pre = "gpt-2", .bos = 1 + 256 }, 0, "bos_token_id: found 256, expected less than 256" },
  { { .pre = "gpt-2", .eos = 1 + 1000 }, 0, "eos_token_id: found 1000, expected less than 256" },
  { { .pre = "gpt-2", .eot = (int64_t)UINT32_MAX }, 0, "eot_token_id: found 4294967294" },
  { { .pre = "gpt-2", .eot = (int64_t)UINT32_MAX + 1 }, 0, "eot_token_id: found 4294967295" },
};

START_TEST(wrong_files_are_refused) {
  const char *says = wrong[_i].says;
  ck_assert_int_eq(fixture_open(&f, &wrong[_i].s, wrong[_i].n_vocab), LRQK_MODEL);
  ck_assert_ptr_null(f.t);
  ck_assert_int_eq(f.msg.n[LRQK_LOG_ERROR], 1);
  ck_assert_msg(strstr(f.msg.last[LRQK_LOG_ERROR], "small.gguf: ") && strstr(f.msg.last[LRQK_LOG_ERROR], says),
      "found \"%s\", expected \"...%s...\"",
                f.msg.last[LRQK_LOG_ERROR], says);
}
END_TEST

START_TEST(too_long_a_token_is_refused) {
  static char name[70001];
  memset(name, 'n', 70000);
  ck_assert_int_eq(fixture_open(&f, &(struct vocab_spec){ .pre = "gpt-2", .extra = { name } }, 0), LRQK_MODEL);
  ck_assert_ptr_nonnull(strstr(f.msg.last[LRQK_LOG_ERROR], "token 256 has 70000 bytes"));
}
END_TEST

START_TEST(holes_in_the_vocabulary_are_fine) {
  open_ok(&(struct vocab_spec){ .pre = "gpt-2", .extra = { "", "", "ab" }, .type = { 0, 3 }, .merges = { "a b" } });
  check_ids(&f, TEXT("ab"), true, IDS(258));
  check_text(256, true, "");
}
END_TEST

/* Opens and uses a tokenizer while allocation number n fails, in a process that has allocated nothing before. */
static int with_failing_allocation(int n) {
  pid_t child = fork();
  if (!child) {
    char number[16];
    snprintf(number, sizeof number, "%d", n);
    setenv("LRQK_FAULT_ALLOC", number, 1);
    struct vocab_spec s = { .pre = "llama-bpe", .chat = "<|im_start|>{{ '<|im_start|>system\nS<|im_end|>\n' + messages[0]['content'] | trim }}",
        .extra = { "<|im_start|>", "<|im_end|>", "aa" },
                            .type = { 3, 3 }, .merges = { "a a" } };
    size_t size;
    struct gguf *g;
    struct tokenizer *t;
    struct log none = { 0 };
    struct ids out = { 0 };
    unsigned char *file = vocab_file(&s, &size);
    enum lrqk_status st = gguf_open_memory(&g, &none, "small.gguf", file, size, true);
    if (st != LRQK_OK) _exit(st);
    st = tokenizer_open(&t, g, 0);
    if (st == LRQK_OK) {
      struct chat *c;
      st = chat_open(&c, t, g, NULL);
      if (st == LRQK_OK) {
        st = chat_encode(c, &(struct lrqk_message){ "user", TEXT("aaaa\xff bbbb") }, 1, CHAT_ALL, 0, &out, NULL);
        chat_close(c);
      }
      tokenizer_close(t);
    }
    gguf_close(g);
    mem_free(out.id);
    free(file);
    _exit(st);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(WIFEXITED(status), "allocation %d: signal %d", n, WTERMSIG(status));
  return WEXITSTATUS(status);
}

START_TEST(every_allocation_may_fail) {
  int n = 1, failures = 0;
  for (; n < 500; n++) {
    int st = with_failing_allocation(n);
    if (st == LRQK_MEMORY) failures++;
    else ck_assert_msg(st == LRQK_OK, "allocation %d: status %d", n, st);
    if (st == LRQK_OK && n > failures + 8) break;   /* some of PCRE2's own it can do without */
  }
  ck_assert_int_lt(n, 500);
  ck_assert_int_ge(failures, 12);
  fixture_open(&f, &(struct vocab_spec){ .pre = "gpt-2" }, 0);
}
END_TEST

/* ---- characters out of a stream ---- */

static size_t push(struct lrqk_utf8_stream *u, const char *text, size_t len, char *out) {
  size_t n = lrqk_utf8_push(u, text, len, out);
  ck_assert_uint_le(n, 3 * (len + 4));
  return n;
}

static const struct { const char *text; size_t len; const char *want; } streams[] = {
  { TEXT("plain"), "plain" },
  { TEXT("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80!"), "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80!" },
  { TEXT("\xff" "a"), "\xef\xbf\xbd" "a" },
  { TEXT("\xe2\x82"), "\xef\xbf\xbd" },
  { TEXT("\xe2\x82\xe2\x82\xac"), "\xef\xbf\xbd\xe2\x82\xac" },      /* what breaks a character off begins the next */
  { TEXT("\xf0\x9f\x98" "abc"), "\xef\xbf\xbd" "abc" },
  { TEXT("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
  { TEXT("\xf0\x80\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
  { TEXT(""), "" },
};

START_TEST(stream_gives_whole_characters) {
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
    for (size_t a = 0; a <= streams[i].len; a++) {
      for (size_t b = a; b <= streams[i].len; b++) {   /* every cut in three */
        struct lrqk_utf8_stream u = { 0 };
        char out[256];
        size_t n = push(&u, streams[i].text, a, out);
        n += push(&u, streams[i].text + a, b - a, out + n);
        n += push(&u, streams[i].text + b, streams[i].len - b, out + n);
        n += push(&u, NULL, 0, out + n);
        ck_assert_msg(n == strlen(streams[i].want) && !memcmp(out, streams[i].want, n), "stream %zu cut at %zu and %zu: %.*s", i, a, b,
            (int)n, out);
        ck_assert_uint_eq(u.n, 0);
      }
    }
  }
}
END_TEST

START_TEST(stream_holds_back_what_is_not_complete) {
  struct lrqk_utf8_stream u = { 0 };
  char out[32];
  ck_assert_uint_eq(push(&u, TEXT("a\xf0\x9f"), out), 1);
  ck_assert_uint_eq(push(&u, TEXT("\x98"), out), 0);
  ck_assert_uint_eq(push(&u, TEXT("\x80"), out), 4);
  ck_assert_mem_eq(out, "\xf0\x9f\x98\x80", 4);
}
END_TEST

int main(void) {
  Suite *s = suite_create("token");
  TCase *t = tcase_create("small vocabularies");
  tcase_add_checked_fixture(t, NULL, teardown);
  tcase_set_timeout(t, 60);
  tcase_add_test(t, merges_by_rank_then_from_the_left);
  tcase_add_test(t, merges_that_cannot_be_are_ignored);
  tcase_add_test(t, a_merge_given_twice_has_its_first_rank);
  tcase_add_test(t, whole_words_need_no_merges);
  tcase_add_test(t, a_byte_without_a_token_is_left_out);
  tcase_add_test(t, special_tokens);
  tcase_add_test(t, properties_of_tokens);
  tcase_add_test(t, every_byte_comes_back);
  tcase_add_test(t, names_that_are_no_bytes_stay);
  tcase_add_test(t, bos);
  tcase_add_test(t, well_known_names_are_special_whatever_the_file_says);
  tcase_add_test(t, invalid_utf8_is_replaced_and_counted);
  tcase_add_test(t, missing_pretokenizer_is_gpt2_with_a_warning);
  tcase_add_loop_test(t, wrong_files_are_refused, 0, sizeof wrong / sizeof *wrong);
  tcase_add_test(t, too_long_a_token_is_refused);
  tcase_add_test(t, holes_in_the_vocabulary_are_fine);
  tcase_add_test(t, every_allocation_may_fail);
  suite_add_tcase(s, t);
  TCase *n = tcase_create("no vocabulary");
  tcase_add_test(n, pretokenizer_words);
  tcase_add_test(n, words_as_another_engine_has_them);
  tcase_add_test(n, stream_gives_whole_characters);
  tcase_add_test(n, stream_holds_back_what_is_not_complete);
  suite_add_tcase(s, n);
  return suite_run(s, CK_FORK_GETENV);
}
