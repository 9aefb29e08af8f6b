/* token_check.h - what the tests of src/token share: messages that are remembered, a tokenizer over a small vocabulary. */
#ifndef TESTS_TOKEN_CHECK_H
#define TESTS_TOKEN_CHECK_H

#include "token/tokenizer.h"
#include "vocab_file.h"

#include <check.h>   /* after the library's headers: it defines a macro `fail` */

struct messages { int n[LRQK_LOG_DEBUG + 1]; char last[LRQK_LOG_DEBUG + 1][1024]; };   /* by level */
void remember(void *ud, enum lrqk_log_level level, const char *text);   /* lrqk_log_fn; ud: struct messages */

struct fixture {
  struct messages msg;
  struct log log;
  unsigned char *file;
  struct gguf *g;
  struct tokenizer *t;
};

/* The status of tokenizer_open; f is to be closed whatever it was.  The container must be right. */
enum lrqk_status fixture_open(struct fixture *f, const struct vocab_spec *spec, uint32_t n_vocab);
enum lrqk_status fixture_open_model(struct fixture *f);   /* the default model, LRQK_TEST_MODEL or models/ */
void fixture_close(struct fixture *f);

/* Encodes and compares with ids[0..n): fails the test with both lists. */
void check_ids(const struct fixture *f, const char *text, size_t len, bool special, const int32_t *ids, size_t n);
void same_ids(const char *what, const struct ids *found, const int32_t *ids, size_t n);

#define IDS(...) (const int32_t[]){ __VA_ARGS__ }, sizeof (const int32_t[]){ __VA_ARGS__ } / sizeof(int32_t)
#define TEXT(s) s, sizeof s - 1

#endif
