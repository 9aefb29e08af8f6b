/* tokenizer.h - text to tokens and back with a GGUF vocabulary: byte-level BPE (pre-tokenizer regexes with PCRE2, merges by
 * rank) or SentencePiece (merges by score, bytes for what is no piece), and special tokens. */
#ifndef TOKEN_TOKENIZER_H
#define TOKEN_TOKENIZER_H

#include "gguf/gguf.h"

struct tokenizer;

/* Reads and checks tokenizer.ggml.*: LRQK_MODEL names what is missing, what has the wrong length, or a pre-tokenizer
 * that is not known.  n_vocab: rows of the embedding that the token list must have, 0 = not to be checked.
 * g must stay open as long as the tokenizer: names of tokens are read out of the mapping. */
enum lrqk_status tokenizer_open(struct tokenizer **out, const struct gguf *g, uint32_t n_vocab);
void tokenizer_close(struct tokenizer *t);                 /* NULL is fine */

struct ids { int32_t *id; size_t n, cap; };                /* a growing list; mem_free(id) */
enum lrqk_status ids_push(struct ids *v, int32_t id);      /* LRQK_MEMORY */

/* Appends the ids of the text; special: names of control tokens become those tokens.  User-defined tokens are text like
 * any other: their names always become them.  The longest name that begins at a place wins.  No BOS is added here.
 * Invalid UTF-8 becomes U+FFFD; *replaced (may be NULL) is set to the number of places. */
enum lrqk_status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool special, struct ids *out, size_t *replaced);

/* A text whose bytes are of different origin: valid UTF-8. */
struct marked_text {
  const char *s;
  const uint8_t *origin;           /* [len]; names of control tokens count only within a run of zeros; NULL: everywhere, if special */
  size_t len;
  bool special;
  bool continued;                  /* it follows other text: no space goes in front of it */
  const struct ids *markers;       /* user-defined tokens that count within a run of zeros only; may be NULL */
};
enum lrqk_status tokenizer_encode_marked(const struct tokenizer *t, const struct marked_text *text, struct ids *out);

/* The text with U+FFFD for what is not UTF-8, in *copy (NULL before; mem_free) if it has to be another one; counts the places. */
enum lrqk_status tokenizer_repair(const struct log *log, const char **text, size_t *len, char **copy, size_t *places);

uint32_t tokenizer_size(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t);          /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *t);          /* -1: none */
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_adds_eos(const struct tokenizer *t);
size_t tokenizer_lead(const struct tokenizer *t, int32_t prev, int32_t id);   /* as lrqk_token_lead */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);      /* EOS, EOT, <|im_end|>, <|endoftext|>, ... */
/* The bytes of a token, 0 <= id < size; control tokens have none unless special. */
void tokenizer_text(const struct tokenizer *t, int32_t id, bool special, const char **text, size_t *len);
int32_t tokenizer_special(const struct tokenizer *t, const char *name);    /* id of a special token by its name, -1: none */

/* Appends the user-defined tokens that are no text in a chat: well-known names, and bracketed ones that the template's
 * own text has (text may be NULL). */
enum lrqk_status tokenizer_markers(const struct tokenizer *t, const char *text, size_t len, struct ids *out);

#endif
