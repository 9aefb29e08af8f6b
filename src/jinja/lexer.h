/* lexer.h - the tokens of a template: text outside of tags, and the words, literals and signs within them.  White space
 * control ({%- -%} {%+ +%}, trim_blocks, lstrip_blocks) is done here.  Called by parser.c. */
#ifndef JINJA_LEXER_H
#define JINJA_LEXER_H

#include "base/arena.h"
#include "base/log.h"

enum token_kind {
  T_END, T_DATA, T_VAR_BEGIN, T_VAR_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT, T_SIGN
};

struct jtoken {
  enum token_kind kind;
  uint32_t line;
  const char *s;                     /* T_DATA, T_NAME, T_SIGN: in the source; T_STRING: the value, in the arena */
  size_t len;
  int64_t i;                         /* T_INT */
  double f;                          /* T_FLOAT */
};

enum { MAX_NESTING = 64 };           /* brackets within brackets, blocks within blocks, and so on */

struct lexer {
  const struct log *log;
  const char *name;                  /* of the template, for messages */
  struct arena *arena;
  const char *p, *end;
  uint32_t line;
  enum { IN_TEXT, IN_VAR, IN_BLOCK } state;
  bool line_start;                   /* what was read last ended with a newline, or nothing was */
  char open[MAX_NESTING];            /* brackets that are open within a tag */
  int n_open;
};

/* The next token.  LRQK_USAGE for what cannot be a token. */
enum lrqk_status lexer_next(struct lexer *x, struct jtoken *out);

/* Fails with LRQK_USAGE: "NAME: line N: ...". */
__attribute__((format(printf, 3, 4))) enum lrqk_status lexer_fail(const struct lexer *x, uint32_t line, const char *fmt, ...);

/* Bytes of the white space character (as Python's str.isspace) that begins at s, 0 if there is none. */
size_t space_length(const char *s, size_t len);
/* The same for the one that ends at s + len. */
size_t space_before(const char *s, size_t len);

#endif
