/* encoder.h - what the two ways to merge symbols share: a piece of text as linked symbols, and a heap of the merges that
 * are possible, the best on top.  Filled by bpe.c and spm.c, called by tokenizer.c. */
#ifndef TOKEN_ENCODER_H
#define TOKEN_ENCODER_H

#include "token/pretokenizer.h"
#include "token/tokenizer.h"
#include "token/vocab.h"

#define NO_SYMBOL UINT32_MAX

struct symbol {
  uint32_t id;             /* NO_TOKEN: merged into its left neighbour, or without a token */
  uint32_t prev, next;     /* NO_SYMBOL at the ends */
  uint32_t begin, len;     /* bytes of the piece (spm.c only) */
};

struct candidate {
  uint64_t key;            /* the lowest is merged first; its low half is the left symbol */
  uint32_t what;           /* bpe.c: index of the merge; spm.c: bytes of the result */
};

struct encoder {
  const struct vocab *vocab;
  const struct pretokenizer *pre;   /* NULL with a SentencePiece vocabulary */
  const struct log *log;
  struct ids *out;
  bool space_prefix, one_space;     /* spm.c: tokenizer.ggml.add_space_prefix, remove_extra_whitespaces */
  struct symbol *sym;
  struct candidate *heap;
  char *text;                       /* bpe.c: the name of a whole word; spm.c: the piece with its spaces written out */
  size_t cap_sym, cap_heap, cap_text, n_heap;
  size_t lost;                      /* bytes that the vocabulary has no token for */
};

/* Makes room for `more` elements of `size` bytes behind n; *cap counts elements.  False: out of memory. */
bool encoder_grow(void **p, size_t *cap, size_t n, size_t more, size_t size);
enum lrqk_status encoder_no_memory(const struct encoder *e);   /* logs and returns LRQK_MEMORY */
enum lrqk_status encoder_emit(struct encoder *e, uint32_t id);
bool encoder_offer(struct encoder *e, struct candidate c);     /* false: out of memory */
struct candidate encoder_take(struct encoder *e);              /* n_heap > 0 */
void encoder_free(struct encoder *e);

/* One word of the pre-tokenizer (pretokenizer_fn with ud a struct encoder). */
enum lrqk_status bpe_encode(void *ud, const char *word, size_t len);

/* A text between special tokens.  first: it begins the text or follows a special token (a space goes in front). */
enum lrqk_status spm_encode(struct encoder *e, const char *text, size_t len, bool first);

#endif
