/* Fuzz target: text and chat templates against a small vocabulary.  Input: one byte that chooses the pre-tokenizer, the
 * chat template up to the first NUL, then the text.  LRQK_FUZZ builds it for libFuzzer, plain builds replay
 * tests/data/fuzz_tokenizer (fuzz_replay.c).  What must hold for every input ends the process if it does not. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "token/tokenizer.h"
#include "vocab_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPEN = VOCAB_BYTES, CLOSE, CONTROL_END = VOCAB_BYTES + 4 };   /* ids of control tokens */

static void must(bool ok) { if (!ok) abort(); }

/* The bytes of the ids, once in one piece and once through a stream, are the text in valid UTF-8: every byte is a token. */
static void check_bytes(const struct tokenizer *t, const struct ids *ids, const char *valid, size_t n_valid) {
  struct lrqk_utf8_stream u = { 0 };
  char *out = malloc(3 * (n_valid + 64));
  must(out);
  size_t at = 0, streamed = 0;
  for (size_t i = 0; i < ids->n; i++) {
    const char *s;
    size_t n;
    tokenizer_text(t, ids->id[i], true, &s, &n);
    must(n && n <= n_valid - at && !memcmp(s, valid + at, n));
    at += n;
    streamed += lrqk_utf8_push(&u, s, n, out + streamed);
    must(streamed <= at);
  }
  must(at == n_valid && streamed == n_valid && !u.n && !memcmp(out, valid, n_valid));
  free(out);
}

static void check_text(const struct tokenizer *t, const char *text, size_t len) {
  struct lrqk_utf8_stream u = { 0 };
  char *valid = malloc(3 * (len + 8));
  must(valid);
  size_t n = lrqk_utf8_push(&u, text, len, valid);
  n += lrqk_utf8_push(&u, NULL, 0, valid + n);
  for (int special = 0; special < 2; special++) {
    struct ids ids = { 0 };
    size_t replaced;
    must(tokenizer_encode(t, text, len, special, &ids, &replaced) == LRQK_OK);
    must(replaced <= len && (replaced || n == len));
    check_bytes(t, &ids, valid, n);
    for (size_t i = 0; i < ids.n; i++) must(special || ids.id[i] < OPEN || ids.id[i] >= CONTROL_END);
    mem_free(ids.id);
  }
  free(valid);
}

static void check_chat(const struct tokenizer *t, const struct gguf *g, const char *text, size_t len) {
  struct ids ids = { 0 };
  struct lrqk_message msg = { "user", text, len };
  if (*chat_template_name(g)) {
    must(chat_encode(t, g, &msg, 1, 0, true, &ids, NULL) == LRQK_OK);
    size_t opened = 0, closed = 0;
    for (size_t i = 0; i < ids.n; i++) {
      opened += ids.id[i] == OPEN;
      closed += ids.id[i] == CLOSE;
    }
    must(opened == closed + 1 && (closed == 1 || closed == 2));
  }
  mem_free(ids.id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const pre[] = { "smollm", "gpt-2", "llama-bpe", "qwen2" };
  if (!size) return 0;
  const char *chat = (const char *)data + 1, *end = memchr(chat, 0, size - 1);
  size_t n_chat = end ? (size_t)(end - chat) : 0;
  const char *text = end ? end + 1 : chat;
  size_t len = size - (size_t)(text - (const char *)data);
  struct vocab_spec spec = {
    .pre = pre[*data % 4], .bos = 1 + OPEN + 2,
    .extra = { "<|im_start|>", "<|im_end|>", "<s>", "<s>>", "<t", "<tool>", "aa", "aaa", "aaaa", "th", "the", "\xc4\xa0t", "\xc4\xa0the",
        "\xc4\xa0\xc4\xa0", "\xc4\x8a\xc4\x8a" },
    .type = { 3, 3, 3, 3, 4, 4 },
    .merges = { "a a", "aa a", "aa aa", "t h", "th e", "\xc4\xa0 t", "\xc4\xa0 the", "\xc4\xa0t he", "\xc4\xa0 \xc4\xa0",
        "\xc4\x8a \xc4\x8a" },
  };
  char *template = malloc(n_chat + 1);
  must(template);
  memcpy(template, chat, n_chat);
  template[n_chat] = 0;
  spec.chat = n_chat ? template : NULL;
  size_t n_file;
  unsigned char *file = vocab_file(&spec, &n_file);
  struct log log = { 0 };
  struct gguf *g;
  struct tokenizer *t;
  must(gguf_open_memory(&g, &log, "small.gguf", file, n_file, true) == LRQK_OK);
  must(tokenizer_open(&t, g, 0) == LRQK_OK);
  check_text(t, text, len);
  check_chat(t, g, text, len);
  tokenizer_close(t);
  gguf_close(g);
  free(file);
  free(template);
  return 0;
}
