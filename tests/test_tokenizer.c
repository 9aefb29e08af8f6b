/* The tokenizer of the default model against reference ids (tests/data/tokens.jsonl, made by llama.cpp). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "token/chat.h"
#include "token_check.h"
#include "suite.h"

static struct fixture model;

static void setup(void) { ck_assert_int_eq(fixture_open_model(&model), LRQK_OK); }
static void teardown(void) { fixture_close(&model); }

/* ---- tokens.jsonl: {"text": "...", "parse_special": true, "ids": [1, 2]}, one a line ---- */

struct example { char text[4096]; size_t len; bool special; int32_t id[512]; size_t n; };

static const char *expect(const char *p, const char *word) {
  ck_assert_msg(!strncmp(p, word, strlen(word)), "tokens.jsonl: found %.40s, expected %s", p, word);
  return p + strlen(word);
}

static const char *parse_text(const char *p, struct example *e) {
  e->len = 0;
  for (; *p && *p != '"'; p++) {
    ck_assert_uint_lt(e->len + 4, sizeof e->text);
    char c = *p;
    if (c == '\\') {
      c = *++p;
      if (c == 'u') {
        char hex[5] = { p[1], p[2], p[3], p[4], 0 };
        e->len += utf8_encode((uint32_t)strtoul(hex, NULL, 16), e->text + e->len);
        p += 4;
        continue;
      }
      c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    e->text[e->len++] = c;
  }
  e->text[e->len] = 0;
  return expect(p, "\"");
}

static void parse_example(const char *line, struct example *e) {
  const char *p = parse_text(expect(line, "{\"text\": \""), e);
  p = expect(p, ", \"parse_special\": ");
  e->special = *p == 't';
  p = expect(expect(p, e->special ? "true" : "false"), ", \"ids\": [");
  for (e->n = 0; *p != ']'; e->n++) {
    char *end;
    ck_assert_uint_lt(e->n, sizeof e->id / sizeof *e->id);
    e->id[e->n] = (int32_t)strtol(p, &end, 10);
    ck_assert_ptr_ne(end, p);
    p = *end == ',' ? end + 1 : end;
  }
}

static char *pieces(const struct fixture *f, const int32_t *id, size_t n, size_t *len) {
  char *out = malloc(1 << 20);
  ck_assert_ptr_nonnull(out);
  *len = 0;
  for (size_t i = 0; i < n; i++) {
    const char *s;
    size_t k;
    tokenizer_text(f->t, id[i], true, &s, &k);
    ck_assert_uint_lt(*len + k, 1 << 20);
    memcpy(out + *len, s, k);
    *len += k;
  }
  return out;
}

START_TEST(reference_ids_and_back) {
  FILE *f = fopen(TEST_DATA "/tokens.jsonl", "r");
  ck_assert_ptr_nonnull(f);
  static char line[16384];
  static struct example e;
  int n = 0;
  for (; fgets(line, sizeof line, f); n++) {
    parse_example(line, &e);
    check_ids(&model, e.text, e.len, e.special, e.id, e.n);
    size_t len;
    char *back = pieces(&model, e.id, e.n, &len);
    ck_assert_uint_eq(len, e.len);
    ck_assert_mem_eq(back, e.text, len);
    free(back);
  }
  fclose(f);
  ck_assert_int_eq(n, 60);
}
END_TEST

START_TEST(properties) {
  ck_assert_uint_eq(tokenizer_size(model.t), 49152);
  ck_assert_int_eq(tokenizer_bos(model.t), 1);
  ck_assert_int_eq(tokenizer_eos(model.t), 2);
  ck_assert(!tokenizer_adds_bos(model.t));
  int ends = 0;
  for (int32_t id = -1; id <= 49152; id++) ends += tokenizer_is_end(model.t, id);
  ck_assert_int_eq(ends, 2);
  ck_assert(tokenizer_is_end(model.t, 0) && tokenizer_is_end(model.t, 2));   /* <|endoftext|>, <|im_end|> */
  ck_assert_int_eq(tokenizer_special(model.t, "<|im_start|>"), 1);
  ck_assert_int_eq(tokenizer_special(model.t, "Hello"), -1);                  /* a token, but no special one */
  ck_assert_int_eq(tokenizer_special(model.t, "no such token"), -1);
  const char *s;
  size_t n;
  tokenizer_text(model.t, 1, false, &s, &n);
  ck_assert_uint_eq(n, 0);
  tokenizer_text(model.t, 1, true, &s, &n);
  ck_assert_uint_eq(n, 12);
  ck_assert_mem_eq(s, "<|im_start|>", 12);
  ck_assert_int_eq(model.msg.n[LRQK_LOG_WARN], 0);
}
END_TEST

START_TEST(wrong_size_is_refused) {
  struct tokenizer *t = NULL;
  ck_assert_int_eq(tokenizer_open(&t, model.g, 49153), LRQK_MODEL);
  ck_assert_ptr_null(t);
  ck_assert_ptr_nonnull(strstr(model.msg.last[LRQK_LOG_ERROR], "49152"));
  ck_assert_ptr_nonnull(strstr(model.msg.last[LRQK_LOG_ERROR], "49153"));
}
END_TEST

/* The ids of greedy reference "short_chat_gravity", which a reference implementation made from the rendered text. */
START_TEST(chat_is_the_models_template) {
  struct ids out = { 0 };
  struct lrqk_message msg[] = { { "user", TEXT("What is gravity?") }, { "assistant", TEXT("A force.") },
                                { "user", TEXT("Why? <|im_end|>") } };
  struct chat *c = NULL;
  ck_assert_int_eq(chat_open(&c, model.t, model.g, NULL), LRQK_OK);
  ck_assert_str_eq(chat_family(c), "chatml");
  ck_assert_int_eq(chat_encode(c, msg, 1, CHAT_ALL, 0, &out, NULL), LRQK_OK);
  same_ids("default system message", &out, IDS(1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411,
      407, 19712, 8182, 2, 198,
                                               1, 4093, 198, 1780, 314, 9354, 47, 2, 198, 1, 520, 9531, 198));
  out.n = 0;
  ck_assert_int_eq(chat_encode(c, msg, 3, CHAT_ALL, 0, &out, NULL), LRQK_OK);
  struct ids want = { 0 };
  static const char rendered[] =
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n"
                                 "What is gravity?<|im_end|>\n<|im_start|>assistant\nA force.<|im_end|>\n<|im_start|>user\nWhy?";
  ck_assert_int_eq(tokenizer_encode(model.t, TEXT(rendered), true, &want, NULL), LRQK_OK);
  ck_assert_int_eq(tokenizer_encode(model.t, TEXT(" <|im_end|>"), false, &want, NULL), LRQK_OK);   /* the user's, as plain text */
  ck_assert_int_eq(tokenizer_encode(model.t, TEXT("<|im_end|>\n<|im_start|>assistant\n"), true, &want, NULL), LRQK_OK);
  same_ids("three messages", &out, want.id, want.n);
  chat_close(c);
  mem_free(out.id);
  mem_free(want.id);
}
END_TEST

/* Bytes that no token of this vocabulary stands for are left out, with one warning that counts them. */
START_TEST(bytes_without_a_token) {
  check_ids(&model, TEXT("Hello\x04\x06, world!"), true, IDS(19556, 28, 905, 17));
  ck_assert_int_eq(model.msg.n[LRQK_LOG_WARN], 1);
  ck_assert_ptr_nonnull(strstr(model.msg.last[LRQK_LOG_WARN], "2 bytes"));
}
END_TEST

/* A megabyte without a space: seconds if merging is n log n, hours if it is quadratic. */
START_TEST(a_very_long_word) {
  enum { N = 1 << 20 };
  char *text = malloc(N);
  ck_assert_ptr_nonnull(text);
  memset(text, 'a', N);
  struct ids out = { 0 };
  ck_assert_int_eq(tokenizer_encode(model.t, text, N, true, &out, NULL), LRQK_OK);
  ck_assert_uint_eq(out.n, N / 4);
  for (size_t i = 0; i < out.n; i++) ck_assert_int_eq(out.id[i], 46880);   /* "aaaa" */
  memset(text, ' ', N);
  out.n = 0;
  ck_assert_int_eq(tokenizer_encode(model.t, text, N, true, &out, NULL), LRQK_OK);
  ck_assert_uint_eq(out.n, N / 64);
  memset(text, 0xff, N);   /* every byte becomes a character of its own */
  out.n = 0;
  size_t replaced = 0;
  ck_assert_int_eq(tokenizer_encode(model.t, text, N, true, &out, &replaced), LRQK_OK);
  ck_assert_uint_eq(replaced, N);
  mem_free(out.id);
  free(text);
}
END_TEST

int main(void) {
  Suite *s = suite_create("tokenizer");
  TCase *t = tcase_create("default model");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 60);
  tcase_add_test(t, reference_ids_and_back);
  tcase_add_test(t, properties);
  tcase_add_test(t, wrong_size_is_refused);
  tcase_add_test(t, chat_is_the_models_template);
  tcase_add_test(t, bytes_without_a_token);
  tcase_add_test(t, a_very_long_word);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
