/* tokenizer.c - text to tokens: special tokens, then what is between them, by words and ranks (pretokenizer.c, bpe.c) or
 * by scores (spm.c); and the bytes of a token.  Called by engine.c and chat.c; the tables are in vocab.c. */
#include "token/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "token/encoder.h"

struct tokenizer {
  struct log log;
  struct vocab vocab;
  struct pretokenizer *pre;         /* NULL with a SentencePiece vocabulary */
  bool adds_bos, adds_eos;
  bool space_prefix, one_space;     /* as in encoder.h */
};

/* ---- open ---- */

static bool is(struct gguf_str s, const char *text) { return s.len == strlen(text) && !memcmp(s.s, text, s.len); }

static enum lrqk_status open_bpe(struct tokenizer *t, const struct gguf *g) {
  struct gguf_str pre = { "gpt-2", 5 };
  if (!gguf_find(g, "tokenizer.ggml.pre")) log_warn(&g->log, "%s: tokenizer.ggml.pre is missing: taking gpt-2", g->path);
  TRY(gguf_string(g, "tokenizer.ggml.pre", false, &pre));
  TRY(pretokenizer_open(&t->pre, g, pre));
  t->adds_bos = pretokenizer_row(t->pre)->adds_bos;
  return LRQK_OK;
}

static enum lrqk_status open_spm(struct tokenizer *t, const struct gguf *g) {
  struct gguf_str arch = { "", 0 };
  const struct gguf_key *k = gguf_find(g, "general.architecture");
  if (k && k->type == GGUF_STRING) TRY(gguf_string(g, "general.architecture", false, &arch));
  t->adds_bos = true;
  t->space_prefix = arch.len < 5 || memcmp(arch.s, "gemma", 5);   /* gemma files that are older than the key */
  TRY(gguf_bool(g, "tokenizer.ggml.add_space_prefix", false, &t->space_prefix));
  return gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", false, &t->one_space);
}

static enum lrqk_status open_parts(struct tokenizer *t, const struct gguf *g, uint32_t n_vocab) {
  struct gguf_str model = { "", 0 };
  char shown[64];
  TRY(gguf_string(g, "tokenizer.ggml.model", true, &model));
  bool spm = is(model, "llama");
  if (!spm && !is(model, "gpt2"))
    return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.model: found \"%s\", expected \"gpt2\" (byte-level BPE) or \"llama\""
        " (SentencePiece)",
                g->path, gguf_show(shown, model));
  TRY(spm ? open_spm(t, g) : open_bpe(t, g));
  TRY(gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &t->adds_bos));
  TRY(gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &t->adds_eos));
  return vocab_load(&t->vocab, g, n_vocab, spm);
}

enum lrqk_status tokenizer_open(struct tokenizer **out, const struct gguf *g, uint32_t n_vocab) {
  struct tokenizer *t = mem_alloc(1, sizeof *t);
  if (!t) return fail(&g->log, LRQK_MEMORY, "%s: tokenizer: out of memory", g->path);
  t->log = g->log;
  enum lrqk_status s = open_parts(t, g, n_vocab);
  if (s != LRQK_OK) {
    tokenizer_close(t);
    return s;
  }
  *out = t;
  return LRQK_OK;
}

void tokenizer_close(struct tokenizer *t) {
  if (!t) return;
  pretokenizer_close(t->pre);
  vocab_free(&t->vocab);
  mem_free(t);
}

/* ---- encode ---- */

static const char replacement[3] = { '\xef', '\xbf', '\xbd' };

enum lrqk_status tokenizer_repair(const struct log *log, const char **text, size_t *len, char **copy, size_t *places) {
  size_t bad = 0, n = 0;
  for (int pass = 0; pass < 2; pass++) {
    n = 0;
    for (size_t i = 0; i < *len;) {
      uint32_t c;
      size_t k = utf8_decode(*text + i, *len - i, &c);
      bool broken = c == UTF8_INVALID || c == UTF8_INCOMPLETE;
      if (pass == 1) memcpy(*copy + n, broken ? replacement : *text + i, broken ? 3 : k);
      else bad += broken;
      n += broken ? 3 : k;
      i += k;
    }
    *places = bad;
    if (!bad) return LRQK_OK;
    if (!*copy && !(*copy = mem_alloc(n, 1))) return fail(log, LRQK_MEMORY, "out of memory for a text of %zu bytes", n);
  }
  *text = *copy;
  *len = n;
  return LRQK_OK;
}

/* A text without special tokens.  begins: nothing, or a special token, is before it. */
static enum lrqk_status encode_plain(struct encoder *e, const char *text, size_t len, bool begins) {
  if (!len) return LRQK_OK;
  return e->pre ? pretokenizer_split(e->pre, text, len, bpe_encode, e) : spm_encode(e, text, len, begins);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static enum lrqk_status encode_marked(struct encoder *e, const struct marked_text *x) {
  const struct vocab *v = e->vocab;
  bool begins = !x->continued;
  size_t begin = 0, trusted = x->special && !x->origin ? x->len : 0;   /* where the trusted bytes end that i is among, or is behind */
  size_t i = x->special || v->has_user ? 0 : x->len;
  while (i < x->len) {
    if (x->origin && trusted <= i) for (trusted = i; trusted < x->len && !x->origin[trusted]; trusted++) { }
    uint32_t id = vocab_special(v, x->s + i, x->len - i, trusted > i ? trusted - i : 0, x->markers);
    if (id == NO_TOKEN) { i++; continue; }
    TRY(encode_plain(e, x->s + begin, i - begin, begins));
    TRY(encoder_emit(e, id));
    i += v->tokens[id].text_len;
    if (v->tokens[id].strips) while (i < x->len && is_space(x->s[i])) i++;
    begin = i;
    begins = true;
  }
  return encode_plain(e, x->s + begin, x->len - begin, begins);
}

enum lrqk_status tokenizer_encode_marked(const struct tokenizer *t, const struct marked_text *text, struct ids *out) {
  struct encoder e = { .vocab = &t->vocab, .pre = t->pre, .log = &t->log, .out = out, .space_prefix = t->space_prefix,
      .one_space = t->one_space };
  if (!text->len) return LRQK_OK;
  if (text->len > INT32_MAX / 3)
    return fail(&t->log, LRQK_USAGE, "a text of %zu bytes is too long, at most %d are possible", text->len, INT32_MAX / 3);
  enum lrqk_status s = encode_marked(&e, text);
  if (s == LRQK_OK && e.lost) log_warn(&t->log, "%zu bytes of the text have no token in this vocabulary and are left out", e.lost);
  encoder_free(&e);
  return s;
}

enum lrqk_status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool special, struct ids *out,
    size_t *replaced) {
  size_t places = 0;
  char *copy = NULL;
  enum lrqk_status s = len <= INT32_MAX / 3 ? tokenizer_repair(&t->log, &text, &len, &copy, &places) : LRQK_OK;
  if (s == LRQK_OK) s = tokenizer_encode_marked(t, &(struct marked_text){ .s = text, .len = len, .special = special }, out);
  if (s == LRQK_OK && replaced) *replaced = places;
  mem_free(copy);
  return s;
}

/* ---- tokens ---- */

uint32_t tokenizer_size(const struct tokenizer *t) { return t->vocab.n; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->vocab.bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->vocab.eos; }
bool tokenizer_adds_bos(const struct tokenizer *t) { return t->adds_bos && t->vocab.bos >= 0; }
bool tokenizer_adds_eos(const struct tokenizer *t) { return t->adds_eos && t->vocab.eos >= 0; }

size_t tokenizer_lead(const struct tokenizer *t, int32_t prev, int32_t id) {
  const struct vocab *v = &t->vocab;
  if (!v->spm || !t->space_prefix || id < 0 || (uint32_t)id >= v->n || prev >= (int32_t)v->n) return 0;
  const struct token *k = &v->tokens[id], *p = prev < 0 ? NULL : &v->tokens[prev];
  bool begins = !p || token_hidden(p) || p->type == TOKEN_USER;
  return begins && !token_hidden(k) && k->type != TOKEN_USER && k->type != TOKEN_BYTE && k->text_len && k->text[0] == ' ';
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id) { return id >= 0 && (uint32_t)id < t->vocab.n && t->vocab.tokens[id].end; }

void tokenizer_text(const struct tokenizer *t, int32_t id, bool special, const char **text, size_t *len) {
  const struct token *k = &t->vocab.tokens[id];
  *text = k->text;
  *len = special || !token_hidden(k) ? k->text_len : 0;
}

enum lrqk_status tokenizer_markers(const struct tokenizer *t, const char *text, size_t len, struct ids *out) {
  for (uint32_t id = 0; t->vocab.has_user && id < t->vocab.n; id++) {
    const struct token *k = &t->vocab.tokens[id];
    if (k->type != TOKEN_USER || k->text_len < 3) continue;
    char first = k->text[0], last = k->text[k->text_len - 1];
    bool bracketed = (first == '<' && last == '>') || (first == '[' && last == ']');
    if (!k->well_known && !(bracketed && text && memmem(text, len, k->text, k->text_len))) continue;
    if (ids_push(out, (int32_t)id) != LRQK_OK) return fail(&t->log, LRQK_MEMORY, "tokenizer: out of memory");
  }
  return LRQK_OK;
}

int32_t tokenizer_special(const struct tokenizer *t, const char *name) {
  uint32_t id = vocab_find(&t->vocab, name, strlen(name));
  return id != NO_TOKEN && (token_hidden(&t->vocab.tokens[id]) || t->vocab.tokens[id].type == TOKEN_USER) ? (int32_t)id : -1;
}
