/* pretokenizer.h - cuts text into the words that BPE works on: the regexes of the pre-tokenizers that GGUF files name.
 * Used by tokenizer.c only. */
#ifndef TOKEN_PRETOKENIZER_H
#define TOKEN_PRETOKENIZER_H

#include "gguf/gguf.h"

struct pretokenizer_row {
  const char *name;        /* what tokenizer.ggml.pre says */
  const char *regex[6];    /* applied in order, each within the pieces of the one before; what no match covers is a piece too */
  bool whole_words;        /* a word that is a token is that token, whatever the merges say */
  bool adds_bos;           /* unless tokenizer.ggml.add_bos_token says otherwise */
};

struct pretokenizer;

/* LRQK_MODEL, with the list of known names, if there is no such row. */
enum lrqk_status pretokenizer_open(struct pretokenizer **out, const struct gguf *g, struct gguf_str name);
void pretokenizer_close(struct pretokenizer *p);   /* NULL is fine */
const struct pretokenizer_row *pretokenizer_row(const struct pretokenizer *p);

typedef enum lrqk_status (*pretokenizer_fn)(void *ud, const char *word, size_t len);

/* Calls fn for each word of a text that must be valid UTF-8, in order; the words together are the text. */
enum lrqk_status pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, pretokenizer_fn fn, void *ud);

#endif
