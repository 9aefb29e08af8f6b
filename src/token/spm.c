/* spm.c - SentencePiece BPE: the characters of a text merged in the order of the scores of the pieces that come out, ties
 * from the left; a character that is no piece becomes its bytes.  Called by tokenizer.c for each text between special
 * tokens. */
#include <string.h>

#include "base/utf8.h"
#include "token/encoder.h"

static const char space[] = "\xe2\x96\x81";   /* U+2581 is what a space is written as */
enum { N_SPACE = sizeof space - 1 };

/* The piece of these bytes; tokens that stand for something else than their name are none. */
static uint32_t piece(const struct vocab *v, const char *s, size_t len) {
  uint32_t id = len <= v->longest ? vocab_find(v, s, len) : NO_TOKEN;
  return id != NO_TOKEN && (v->tokens[id].type == TOKEN_NORMAL || v->tokens[id].type == TOKEN_UNUSED) ? id : NO_TOKEN;
}

/* Floats in descending order as unsigned numbers in ascending order. */
static uint32_t order(float score) {
  uint32_t u;
  score += 0.0f;                              /* -0 is 0 */
  memcpy(&u, &score, 4);
  return u & 0x80000000u ? u : ~(u | 0x80000000u);
}

static bool offer(struct encoder *e, uint32_t left) {
  const struct symbol *s = &e->sym[left];
  if (s->next == NO_SYMBOL) return true;
  uint32_t len = s->len + e->sym[s->next].len, id = piece(e->vocab, e->text + s->begin, len);
  return id == NO_TOKEN || encoder_offer(e, (struct candidate){ (uint64_t)order(e->vocab->tokens[id].score) << 32 | left, len });
}

/* The text with its spaces as pieces have them, in e->text; *len its bytes. */
static enum lrqk_status write_spaces(struct encoder *e, const char *text, size_t n, bool prefix, uint32_t *len) {
  void *p = e->text;
  if (!encoder_grow(&p, &e->cap_text, 0, N_SPACE * (n + 1), 1)) return encoder_no_memory(e);
  e->text = p;
  char *out = e->text;
  bool blank = true;                          /* with one_space: nothing, or a space, was written last */
  if (e->one_space) while (n && text[n - 1] == ' ') n--;
  if (prefix && n) out = (char *)memcpy(out, space, N_SPACE) + N_SPACE;
  for (size_t i = 0; i < n; i++) {
    if (text[i] != ' ') *out++ = text[i];
    else if (!e->one_space || !blank) out = (char *)memcpy(out, space, N_SPACE) + N_SPACE;
    blank = text[i] == ' ';
  }
  *len = (uint32_t)(out - e->text);
  return LRQK_OK;
}

/* One symbol a character; returns how many. */
static enum lrqk_status characters(struct encoder *e, uint32_t len, uint32_t *count) {
  uint32_t n = 0;
  for (uint32_t at = 0; at < len; n++) {
    void *p = e->sym;
    if (!encoder_grow(&p, &e->cap_sym, n, 1, sizeof *e->sym)) return encoder_no_memory(e);
    e->sym = p;
    uint32_t c, k = (uint32_t)utf8_decode(e->text + at, len - at, &c);
    e->sym[n] = (struct symbol){ .id = piece(e->vocab, e->text + at, k), .prev = n ? n - 1 : NO_SYMBOL, .next = n + 1, .begin = at,
        .len = k };
    at += k;
  }
  if (n) e->sym[n - 1].next = NO_SYMBOL;
  *count = n;
  return LRQK_OK;
}

static bool merge_symbols(struct encoder *e, uint32_t n) {
  e->n_heap = 0;
  for (uint32_t i = 0; i + 1 < n; i++) {
    if (!offer(e, i)) return false;
  }
  while (e->n_heap) {
    struct candidate c = encoder_take(e);
    uint32_t left = (uint32_t)c.key;
    struct symbol *s = &e->sym[left];
    if (!s->len || s->next == NO_SYMBOL || s->len + e->sym[s->next].len != c.what) continue;   /* overtaken by another merge */
    struct symbol *r = &e->sym[s->next];
    s->len = c.what;
    s->id = piece(e->vocab, e->text + s->begin, s->len);
    s->next = r->next;
    r->len = 0;
    if (s->next != NO_SYMBOL) e->sym[s->next].prev = left;
    if (s->prev != NO_SYMBOL && !offer(e, s->prev)) return false;
    if (!offer(e, left)) return false;
  }
  return true;
}

/* A character that is no piece: its bytes, or the unknown token where the vocabulary has no bytes. */
static enum lrqk_status fall_back(struct encoder *e, const struct symbol *s) {
  const struct vocab *v = e->vocab;
  bool all = true;
  for (uint32_t i = 0; i < s->len; i++) all = all && v->byte[(uint8_t)e->text[s->begin + i]] != NO_TOKEN;
  if (!all && v->unknown >= 0) return encoder_emit(e, (uint32_t)v->unknown);
  for (uint32_t i = 0; i < s->len; i++) {
    uint32_t id = v->byte[(uint8_t)e->text[s->begin + i]];
    if (id == NO_TOKEN) e->lost++;
    else TRY(encoder_emit(e, id));
  }
  return LRQK_OK;
}

enum lrqk_status spm_encode(struct encoder *e, const char *text, size_t len, bool first) {
  uint32_t bytes = 0, n = 0;
  TRY(write_spaces(e, text, len, first && e->space_prefix, &bytes));
  TRY(characters(e, bytes, &n));
  if (!merge_symbols(e, n)) return encoder_no_memory(e);
  for (uint32_t i = n ? 0 : NO_SYMBOL; i != NO_SYMBOL; i = e->sym[i].next) {
    const struct symbol *s = &e->sym[i];
    if (s->id == NO_TOKEN) TRY(fall_back(e, s));
    else TRY(encoder_emit(e, s->id));
  }
  return LRQK_OK;
}
