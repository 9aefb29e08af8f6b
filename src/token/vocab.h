/* vocab.h - the vocabulary of a tokenizer as tables: tokens by id and by name, merges by pair (byte-level BPE) or scores
 * (SentencePiece), special tokens as a trie.  Filled by vocab.c, used by tokenizer.c, bpe.c and spm.c. */
#ifndef TOKEN_VOCAB_H
#define TOKEN_VOCAB_H

#include "gguf/gguf.h"

enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };   /* the numbers of GGUF */

#define NO_TOKEN UINT32_MAX

struct token {
  const char *name;               /* as the file has it: in the mapping */
  const char *text;               /* the bytes it stands for */
  uint32_t name_len, text_len;
  float score;                    /* SentencePiece only */
  uint8_t type;
  bool end;                       /* ends a generation */
  bool well_known;                /* its name alone says that it is no text */
  bool strips;                    /* takes the white space behind it along */
};

struct merge { uint32_t left, right, result, rank1; };   /* rank1: rank + 1, 0 = an empty slot of the table */
struct trie_node { uint32_t child, sibling, id; uint8_t byte; };   /* indices of nodes, 0 = none */

struct vocab {
  bool spm;                       /* SentencePiece, not byte-level BPE */
  struct token *tokens;
  uint32_t n;
  uint32_t longest;               /* bytes of the longest name */
  char *texts;
  uint32_t *names, names_mask;    /* hash table of ids + 1 */
  struct merge *merges;
  uint32_t merges_mask;
  struct trie_node *trie;         /* nodes 1..256 are the first bytes */
  uint32_t n_trie, cap_trie;
  bool has_user;                  /* some token is user-defined: matched in every text */
  uint32_t byte[256];             /* token of a single byte; NO_TOKEN where the vocabulary has none */
  int32_t bos, eos, unknown;      /* -1: none */
};

/* On failure: vocab_free.  spm: scores instead of merges, and U+2581 for a space instead of GPT-2's alphabet. */
enum lrqk_status vocab_load(struct vocab *v, const struct gguf *g, uint32_t n_vocab, bool spm);
void vocab_free(struct vocab *v);

uint32_t vocab_find(const struct vocab *v, const char *name, size_t len);    /* NO_TOKEN: not there */
const struct merge *vocab_merge(const struct vocab *v, uint32_t left, uint32_t right);   /* NULL: they do not merge */

/* The longest special token that begins at s[0..len): NO_TOKEN if none.  All special tokens count if they end within
 * trusted bytes, beyond that only user-defined ones that are not in `markers` (may be NULL). */
struct ids;
uint32_t vocab_special(const struct vocab *v, const char *s, size_t len, size_t trusted, const struct ids *markers);

/* GPT-2's alphabet: every byte has a printable character; 2 bytes of UTF-8 at most. */
size_t vocab_byte_name(uint8_t byte, char out[2]);

static inline bool token_hidden(const struct token *t) { return t->type == TOKEN_CONTROL || t->type == TOKEN_UNKNOWN; }

#endif
