/* Fuzz target: text and chat templates against a small vocabulary.  Input: one byte that chooses the pre-tokenizer (2 bits),
 * SentencePiece (bit 2) and no space in front with it (bit 3), the chat template up to the first NUL, then the text.
 * LRQK_FUZZ builds it for libFuzzer, plain builds replay tests/data/fuzz_tokenizer (fuzz_replay.c).  What must hold for
 * every input ends the process if it does not. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "jinja/jinja.h"
#include "token/chat.h"
#include "vocab_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPEN = VOCAB_BYTES, CLOSE, CONTROL_END = VOCAB_BYTES + 4 };   /* ids of control tokens */

static void must(bool ok) { if (!ok) abort(); }

/* The bytes of the ids, once in one piece and once through a stream, are the text in valid UTF-8: every byte is a token.
 * With a SentencePiece vocabulary U+2581 is a space, too. */
static void check_bytes(const struct tokenizer *t, bool spm, const struct ids *ids, const char *valid, size_t n_valid) {
  struct lrqk_utf8_stream u = { 0 };
  char *out = malloc(3 * (n_valid + 64)), *want = malloc(n_valid + 1);
  must(out && want);
  size_t at = 0, streamed = 0, n_want = 0;
  for (size_t i = 0; i < n_valid; i++) {
    bool space = spm && n_valid - i >= 3 && !memcmp(valid + i, "\xe2\x96\x81", 3);
    want[n_want++] = space ? ' ' : valid[i];
    if (space) i += 2;
  }
  for (size_t i = 0; i < ids->n; i++) {
    const char *s;
    size_t n, lead = tokenizer_lead(t, i ? ids->id[i - 1] : -1, ids->id[i]);
    tokenizer_text(t, ids->id[i], true, &s, &n);
    must(n && lead <= n && n - lead <= n_want - at && !memcmp(s + lead, want + at, n - lead));
    at += n - lead;
    streamed += lrqk_utf8_push(&u, s + lead, n - lead, out + streamed);
    must(streamed <= at);
  }
  must(at == n_want && streamed == n_want && !u.n && !memcmp(out, want, n_want));
  free(out);
  free(want);
}

static void check_text(const struct tokenizer *t, bool spm, const char *text, size_t len) {
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
    check_bytes(t, spm, &ids, valid, n);
    for (size_t i = 0; i < ids.n; i++) must(special || ids.id[i] < OPEN || ids.id[i] >= CONTROL_END);
    mem_free(ids.id);
  }
  free(valid);
}

/* A rendering as ids: no byte of a message is in a control token. */
static void check_marked(const struct tokenizer *t, const struct jinja_output *out) {
  struct ids ids = { 0 };
  size_t at = 0;
  must(tokenizer_encode_marked(t, &(struct marked_text){ .s = out->s, .origin = out->origin, .len = out->len, .special = true },
      &ids) == LRQK_OK);
  for (size_t i = 0; i < ids.n; i++) {
    const char *s;
    size_t n, lead = tokenizer_lead(t, i ? ids.id[i - 1] : -1, ids.id[i]);
    tokenizer_text(t, ids.id[i], true, &s, &n);
    bool control = ids.id[i] >= OPEN && ids.id[i] < CONTROL_END;
    for (size_t k = 0; control && k < n; k++) must(at + k < out->len && out->origin[at + k] == JINJA_TEMPLATE);
    at += n - lead;
  }
  mem_free(ids.id);
}

static void check_chat(const struct tokenizer *t, bool spm, const struct gguf *g, const char *text, size_t len) {
  struct log log = { 0 };
  struct gguf_str source;
  struct jinja *j;
  struct chat *c;
  struct ids ids = { 0 };
  struct lrqk_message msg[] = { { "user", text, len }, { "assistant", text, len / 2 } };
  if (chat_open(&c, t, g, NULL) != LRQK_OK) return;
  (void)chat_encode(c, msg, 2, 1, 0, &ids, NULL);
  chat_close(c);
  mem_free(ids.id);
  struct lrqk_utf8_stream u = { 0 };
  char *valid = malloc(3 * (len + 8));
  must(valid && gguf_string(g, "tokenizer.chat_template", true, &source) == LRQK_OK);
  size_t n = lrqk_utf8_push(&u, text, len, valid);
  n += lrqk_utf8_push(&u, NULL, 0, valid + n);
  struct lrqk_utf8_stream v = { 0 };         /* the template in valid UTF-8, too: the rendering has to be */
  char *template = malloc(3 * (source.len + 8));
  must(template);
  size_t n_template = lrqk_utf8_push(&v, source.s, source.len, template);
  n_template += lrqk_utf8_push(&v, NULL, 0, template + n_template);
  if (jinja_parse(&j, &log, "t", template, n_template) == LRQK_OK) {
    struct jinja_message m = { "user", valid, n, JINJA_MESSAGE };
    struct jinja_output out;
    if (jinja_render(j, &(struct jinja_input){ .msg = &m, .n_msg = 1, .bos = "<s>", .max_steps = 100000 }, &out) == LRQK_OK) {
      size_t underscore = 0;                 /* U+2581 is one byte as a space: places would not match */
      while (spm && underscore < out.len && (unsigned char)out.s[underscore] != 0xe2) underscore++;
      if (!spm || underscore == out.len) check_marked(t, &out);
      mem_free(out.s);
      mem_free(out.origin);
    }
    jinja_free(j);
  }
  free(template);
  free(valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const pre[] = { "smollm", "gpt-2", "llama-bpe", "qwen2" };
  if (!size) return 0;
  bool spm = *data & 4;
  const char *chat = (const char *)data + 1, *end = memchr(chat, 0, size - 1);
  size_t n_chat = end ? (size_t)(end - chat) : 0;
  const char *text = end ? end + 1 : chat;
  size_t len = size - (size_t)(text - (const char *)data);
  struct vocab_spec spec = {
    .pre = pre[*data % 4], .bos = 1 + OPEN + 2, .spm = spm, .model = spm ? "llama" : NULL, .space_prefix = *data & 8 ? -1 : 1,
    .extra = { "<|im_start|>", "<|im_end|>", "<s>", "<s>>", "<t", "<tool>", "aa", "aaa", "aaaa", "th", "the", "\xc4\xa0t", "\xc4\xa0the",
        "\xc4\xa0\xc4\xa0", "\xc4\x8a\xc4\x8a", "\xe2\x96\x81", "t", "h", "\xe2\x96\x81t", "e", "\xe2\x96\x81the",
            "\xe2\x96\x81\xe2\x96\x81" },
    .score = { 0, 0, 0, 0, 0, 0, -3, -2, -1, -5, -4, -9, -9, -9, -9, -20, -20, -20, -6, -20, -7, -8 },
    .type = { 3, 3, 3, 3, 4, 4 },
    .merges = { "a a", "aa a", "aa aa", "t h", "th e", "\xc4\xa0 t", "\xc4\xa0 the", "\xc4\xa0t he", "\xc4\xa0 \xc4\xa0",
        "\xc4\x8a \xc4\x8a" },
  };
  if (!spm) spec.extra[15] = NULL;           /* letters are tokens of their own already */
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
  check_text(t, spm, text, len);
  if (n_chat) check_chat(t, spm, g, text, len);
  tokenizer_close(t);
  gguf_close(g);
  free(file);
  free(template);
  return 0;
}
