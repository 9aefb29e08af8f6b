/* bpe.c - byte-level BPE: the bytes of a word merged in the order of the merges' ranks, ties from the left.  Called by
 * tokenizer.c for each word of the pre-tokenizer. */
#include "token/encoder.h"

/* Puts the merge of symbol `left` with the one after it on the heap, if there is one. */
static bool offer(struct encoder *e, uint32_t left) {
  const struct symbol *s = &e->sym[left];
  if (s->next == NO_SYMBOL || s->id == NO_TOKEN || e->sym[s->next].id == NO_TOKEN) return true;
  const struct merge *m = vocab_merge(e->vocab, s->id, e->sym[s->next].id);
  return !m || encoder_offer(e, (struct candidate){ (uint64_t)m->rank1 << 32 | left, (uint32_t)(m - e->vocab->merges) });
}

static bool merge_symbols(struct encoder *e, uint32_t n) {
  e->n_heap = 0;
  for (uint32_t i = 0; i + 1 < n; i++) {
    if (!offer(e, i)) return false;
  }
  while (e->n_heap) {
    struct candidate c = encoder_take(e);
    const struct merge *m = &e->vocab->merges[c.what];
    uint32_t left = (uint32_t)c.key;
    struct symbol *s = &e->sym[left];
    if (s->id != m->left || s->next == NO_SYMBOL || e->sym[s->next].id != m->right) continue;   /* overtaken by another merge */
    struct symbol *r = &e->sym[s->next];
    s->id = m->result;
    s->next = r->next;
    r->id = NO_TOKEN;
    if (s->next != NO_SYMBOL) e->sym[s->next].prev = left;
    if (s->prev != NO_SYMBOL && !offer(e, s->prev)) return false;
    if (!offer(e, left)) return false;
  }
  return true;
}

/* The token that is this whole word, for the pre-tokenizers that ask for it. */
static enum lrqk_status whole_word(struct encoder *e, const char *word, size_t len, uint32_t *id) {
  const struct vocab *v = e->vocab;
  *id = NO_TOKEN;
  if (len > v->longest) return LRQK_OK;
  void *p = e->text;
  if (!encoder_grow(&p, &e->cap_text, 0, 2 * len, 1)) return encoder_no_memory(e);
  e->text = p;
  size_t n = 0;
  for (size_t i = 0; i < len; i++) n += vocab_byte_name((uint8_t)word[i], e->text + n);
  *id = vocab_find(v, e->text, n);
  if (*id != NO_TOKEN && token_hidden(&v->tokens[*id])) *id = NO_TOKEN;
  return LRQK_OK;
}

enum lrqk_status bpe_encode(void *ud, const char *word, size_t len) {
  struct encoder *e = ud;
  const struct vocab *v = e->vocab;
  if (pretokenizer_row(e->pre)->whole_words) {
    uint32_t id;
    TRY(whole_word(e, word, len, &id));
    if (id != NO_TOKEN) return encoder_emit(e, id);
  }
  void *p = e->sym;
  if (!encoder_grow(&p, &e->cap_sym, 0, len, sizeof *e->sym)) return encoder_no_memory(e);
  e->sym = p;
  uint32_t n = (uint32_t)len;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t id = v->byte[(uint8_t)word[i]];
    e->lost += id == NO_TOKEN;
    e->sym[i] = (struct symbol){ .id = id, .prev = i ? i - 1 : NO_SYMBOL, .next = i + 1 < n ? i + 1 : NO_SYMBOL };
  }
  if (!merge_symbols(e, n)) return encoder_no_memory(e);
  for (uint32_t i = 0; i != NO_SYMBOL; i = e->sym[i].next) {
    if (e->sym[i].id != NO_TOKEN) TRY(encoder_emit(e, e->sym[i].id));
  }
  return LRQK_OK;
}
