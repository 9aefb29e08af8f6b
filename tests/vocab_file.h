/* vocab_file.h - small vocabularies as GGUF files in memory, right ones and wrong ones: for test_token.c and
 * fuzz_tokenizer.c.  Allocates with malloc, so that the library's allocations can be counted apart. */
#ifndef TESTS_VOCAB_FILE_H
#define TESTS_VOCAB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VOCAB_MAX = 24, VOCAB_BYTES = 256, VOCAB_NO_TYPES = -1000000 };

/* Zero is: gpt2, no pre-tokenizer named, 256 bytes with ids 0..255 and nothing else. */
struct vocab_spec {
  const char *model, *pre, *chat;          /* NULL: model "gpt2", the other keys left out */
  const char *extra[VOCAB_MAX];            /* tokens 256, 257, ... */
  int32_t type[VOCAB_MAX];                 /* theirs; 0 = normal */
  const char *merges[VOCAB_MAX];
  int n_types;                             /* entries of token_type beyond the number of tokens; VOCAB_NO_TYPES: no such key */
  bool no_tokens, no_merges, no_bytes, no_model;
  int64_t bos, eos, eot;                   /* id + 1; 0 = no key */
  int add_bos, add_eos;                    /* 0 = no key, 1 = true, -1 = false */
  /* SentencePiece (model "llama"): bytes are <0x00>.. of type 6, there are scores (those of bytes are 0) and no merges. */
  bool spm, no_scores;
  float score[VOCAB_MAX];
  int space_prefix, one_space;             /* add_space_prefix, remove_extra_whitespaces: as add_bos */
  const char *arch;                        /* general.architecture; NULL = no key */
};

/* The file, to be freed with free(); *n its size. */
unsigned char *vocab_file(const struct vocab_spec *s, size_t *n);

#endif
