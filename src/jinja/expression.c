/* expression.c - expressions of a template: one function for each level of precedence, from the loosest down.  Called by
 * parser.c. */
#include <string.h>

#include "jinja/parser.h"

static enum lrqk_status parse_unary(struct parser *p, bool filters, struct node **out);

static enum lrqk_status binary(struct parser *p, char op, struct node *left, struct node **out) {
  struct node *n = parser_node(p, N_BINARY);
  if (!n) return LRQK_MEMORY;
  n->op = op;
  n->a = left;
  *out = n;
  return parser_next(p);         /* the operator; the caller parses n->b */
}

/* ---- arithmetic ---- */

static enum lrqk_status parse_power(struct parser *p, struct node **out) {
  TRY(parse_unary(p, true, out));
  while (parser_sign(p, "**")) {
    TRY(binary(p, '^', *out, out));
    TRY(parse_unary(p, true, &(*out)->b));
  }
  return LRQK_OK;
}

static enum lrqk_status parse_product(struct parser *p, struct node **out) {
  TRY(parse_power(p, out));
  for (;;) {
    char op = parser_sign(p, "*") ? '*' : parser_sign(p, "/") ? '/' : parser_sign(p, "//") ? 'F' : parser_sign(p, "%") ? '%' : 0;
    if (!op) return LRQK_OK;
    TRY(binary(p, op, *out, out));
    TRY(parse_power(p, &(*out)->b));
  }
}

static enum lrqk_status parse_concat(struct parser *p, struct node **out) {
  TRY(parse_product(p, out));
  while (parser_sign(p, "~")) {
    TRY(binary(p, '~', *out, out));
    TRY(parse_product(p, &(*out)->b));
  }
  return LRQK_OK;
}

static enum lrqk_status parse_sum(struct parser *p, struct node **out) {
  TRY(parse_concat(p, out));
  for (;;) {
    char op = parser_sign(p, "+") ? '+' : parser_sign(p, "-") ? '-' : 0;
    if (!op) return LRQK_OK;
    TRY(binary(p, op, *out, out));
    TRY(parse_concat(p, &(*out)->b));
  }
}

/* ---- comparison and logic ---- */

/* The comparison at the token, which is taken; 0: none is there.  `not` alone belongs to nobody here. */
static enum lrqk_status comparison(struct parser *p, char *op) {
  static const struct { const char *sign; char op; } signs[] = { { "==", '=' }, { "!=", '!' }, { "<", '<' }, { "<=", 'l' }, { ">", '>' },
      { ">=", 'g' } };
  *op = 0;
  for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) if (parser_sign(p, signs[i].sign)) *op = signs[i].op;
  if (parser_word(p, "in")) *op = 'i';
  if (parser_word(p, "not")) {
    *op = 'o';
    TRY(parser_next(p));
    if (!parser_word(p, "in")) return parser_unexpected(p, "in");
  }
  return *op ? parser_next(p) : LRQK_OK;
}

static enum lrqk_status parse_compare(struct parser *p, struct node **out) {
  TRY(parse_sum(p, out));
  struct node *all = NULL, **tail = NULL;
  for (char op; ; ) {
    TRY(comparison(p, &op));
    if (!op) return LRQK_OK;
    if (!all) {
      if (!(all = parser_node(p, N_COMPARE))) return LRQK_MEMORY;
      all->a = *out;
      *out = all;
      tail = &all->b;
    }
    struct node *n = parser_node(p, N_OPERAND);
    if (!n) return LRQK_MEMORY;
    n->op = op;
    TRY(parse_sum(p, &n->a));
    *tail = n;
    tail = &n->next;
  }
}

static enum lrqk_status parse_not(struct parser *p, struct node **out) {
  if (!parser_word(p, "not")) return parse_compare(p, out);
  struct node *n = *out = parser_node(p, N_UNARY);
  if (!n) return LRQK_MEMORY;
  n->op = 'n';
  TRY(parser_enter(p));
  TRY(parser_next(p));
  TRY(parse_not(p, &n->a));
  p->depth--;
  return LRQK_OK;
}

static enum lrqk_status parse_and(struct parser *p, struct node **out) {
  TRY(parse_not(p, out));
  while (parser_word(p, "and")) {
    TRY(binary(p, '&', *out, out));
    TRY(parse_not(p, &(*out)->b));
  }
  return LRQK_OK;
}

static enum lrqk_status parse_or(struct parser *p, struct node **out) {
  TRY(parser_enter(p));
  TRY(parse_and(p, out));
  while (parser_word(p, "or")) {
    TRY(binary(p, '|', *out, out));
    TRY(parse_and(p, &(*out)->b));
  }
  p->depth--;
  return LRQK_OK;
}

enum lrqk_status parse_expression(struct parser *p, struct node **out) {
  TRY(parser_enter(p));
  TRY(parse_or(p, out));
  while (parser_word(p, "if")) {
    struct node *n = parser_node(p, N_CHOICE);
    if (!n) return LRQK_MEMORY;
    n->b = *out;
    *out = n;
    TRY(parser_next(p));
    TRY(parse_or(p, &n->a));
    if (!parser_word(p, "else")) continue;
    TRY(parser_next(p));
    TRY(parse_expression(p, &n->c));
  }
  p->depth--;
  return LRQK_OK;
}

static bool ends_tuple(const struct parser *p) {
  return p->tok.kind == T_VAR_END || p->tok.kind == T_BLOCK_END || parser_sign(p, ")") || parser_word(p, "if") || parser_word(p,
      "recursive");
}

enum lrqk_status parse_tuple(struct parser *p, bool choice, struct node **out) {
  TRY(choice ? parse_expression(p, out) : parse_or(p, out));
  if (!parser_sign(p, ",")) return LRQK_OK;
  struct node *tuple = parser_node(p, N_TUPLE), **tail = &(*out)->next;
  if (!tuple) return LRQK_MEMORY;
  tuple->a = *out;
  *out = tuple;
  while (parser_sign(p, ",")) {
    TRY(parser_next(p));
    if (ends_tuple(p)) break;
    TRY(choice ? parse_expression(p, tail) : parse_or(p, tail));
    tail = &(*tail)->next;
  }
  return LRQK_OK;
}

/* ---- values, and what follows them ---- */

static enum lrqk_status parse_items(struct parser *p, const char *close, bool pairs, struct node **out) {
  for (struct node **tail = out; !parser_sign(p, close); ) {
    if (*out) {
      TRY(parser_expect(p, ","));
      if (parser_sign(p, close)) break;
    }
    TRY(parse_expression(p, tail));
    tail = &(*tail)->next;
    if (!pairs) continue;
    TRY(parser_expect(p, ":"));
    TRY(parse_expression(p, tail));
    tail = &(*tail)->next;
  }
  return parser_next(p);
}

static enum lrqk_status parse_string(struct parser *p, struct node **out) {
  struct node *n = *out = parser_node(p, N_STRING);
  if (!n) return LRQK_MEMORY;
  TRY(parser_text(p, n));
  TRY(parser_next(p));
  while (p->tok.kind == T_STRING) {          /* strings side by side are one */
    char *both = arena_alloc(&p->j->arena, n->len + p->tok.len + 1, 1);
    if (!both) return fail(p->lexer.log, LRQK_MEMORY, "%s: out of memory", p->lexer.name);
    memcpy(both, n->text, n->len);
    memcpy(both + n->len, p->tok.s, p->tok.len);
    n->text = both;
    n->len += p->tok.len;
    TRY(parser_next(p));
  }
  return LRQK_OK;
}

static enum lrqk_status parse_name(struct parser *p, struct node **out) {
  bool yes = parser_word(p, "true") || parser_word(p, "True"), no = parser_word(p, "false") || parser_word(p, "False");
  bool none = parser_word(p, "none") || parser_word(p, "None");
  struct node *n = *out = parser_node(p, yes || no ? N_BOOL : none ? N_NONE : N_NAME);
  if (!n) return LRQK_MEMORY;
  n->i = yes;
  if (n->kind == N_NAME) TRY(parser_text(p, n));
  return parser_next(p);
}

static enum lrqk_status parse_primary(struct parser *p, struct node **out) {
  enum token_kind k = p->tok.kind;
  if (k == T_NAME) return parse_name(p, out);
  if (k == T_STRING) return parse_string(p, out);
  if (k == T_INT || k == T_FLOAT) {
    struct node *n = *out = parser_node(p, k == T_INT ? N_INT : N_FLOAT);
    if (!n) return LRQK_MEMORY;
    n->i = p->tok.i;
    n->f = p->tok.f;
    return parser_next(p);
  }
  if (parser_sign(p, "(")) {
    TRY(parser_next(p));
    if (!parser_sign(p, ")")) TRY(parse_tuple(p, true, out));
    else if (!(*out = parser_node(p, N_TUPLE))) return LRQK_MEMORY;
    return parser_expect(p, ")");
  }
  bool list = parser_sign(p, "["), dict = parser_sign(p, "{");
  if (!list && !dict) return parser_unexpected(p, "an expression");
  struct node *n = *out = parser_node(p, list ? N_LIST : N_DICT);
  if (!n) return LRQK_MEMORY;
  TRY(parser_next(p));
  return parse_items(p, list ? "]" : "}", dict, &n->a);
}

/* Arguments behind the bracket that opens them, with those that have names at the end. */
static enum lrqk_status parse_arguments(struct parser *p, struct node **out) {
  bool named = false;
  for (struct node **tail = out; !parser_sign(p, ")"); tail = &(*tail)->next) {
    if (*out) {
      TRY(parser_expect(p, ","));
      if (parser_sign(p, ")")) break;
    }
    if (parser_sign(p, "*") || parser_sign(p, "**")) return lexer_fail(&p->lexer, p->tok.line, "arguments with * are not covered");
    TRY(parse_expression(p, tail));
    if ((*tail)->kind == N_NAME && parser_sign(p, "=")) {
      (*tail)->kind = N_KEYWORD;
      named = true;
      TRY(parser_next(p));
      TRY(parse_expression(p, &(*tail)->a));
    } else if (named) return lexer_fail(&p->lexer, (*tail)->line, "an argument without a name follows one that has one");
  }
  return parser_next(p);
}

/* One [..] behind a value: an item, or a slice. */
static enum lrqk_status parse_subscript(struct parser *p, struct node *n) {
  struct node **part[] = { &n->b, &n->c, &n->d };
  int colons = 0;
  TRY(parser_next(p));
  while (!parser_sign(p, "]")) {
    if (parser_sign(p, ":")) {
      if (++colons > 2) return parser_unexpected(p, "]");
      TRY(parser_next(p));
    } else {
      if (*part[colons]) return parser_unexpected(p, "]");
      TRY(parse_expression(p, part[colons]));
    }
  }
  if (colons) n->kind = N_SLICE;
  else if (!n->b) return parser_unexpected(p, "an expression");
  return parser_next(p);
}

static enum lrqk_status parse_postfix(struct parser *p, struct node **out) {
  for (int chain = 0; ; chain++) {
    bool dot = parser_sign(p, "."), item = parser_sign(p, "["), call = parser_sign(p, "(");
    if (!dot && !item && !call) return LRQK_OK;
    if (chain == MAX_DEPTH) return lexer_fail(&p->lexer, p->tok.line, "more than %d levels of nesting", MAX_DEPTH);
    struct node *n = parser_node(p, dot ? N_ATTRIBUTE : item ? N_ITEM : N_CALL);
    if (!n) return LRQK_MEMORY;
    n->a = *out;
    *out = n;
    if (item) {
      TRY(parse_subscript(p, n));
      continue;
    }
    TRY(parser_next(p));
    if (call) {
      TRY(parse_arguments(p, &n->b));
    } else if (p->tok.kind == T_NAME) {
      TRY(parser_text(p, n));
      TRY(parser_next(p));
    } else if (p->tok.kind == T_INT) {       /* x.0 is x[0] */
      n->kind = N_ITEM;
      if (!(n->b = parser_node(p, N_INT))) return LRQK_MEMORY;
      n->b->i = p->tok.i;
      TRY(parser_next(p));
    } else return parser_unexpected(p, "a name");
  }
}

/* `is NAME`, `is not NAME`, with one argument behind it or several in brackets. */
static enum lrqk_status parse_test(struct parser *p, struct node **out) {
  TRY(parser_next(p));
  bool negated = parser_word(p, "not");
  if (negated) TRY(parser_next(p));
  if (p->tok.kind != T_NAME && !parser_sign(p, "==")) return parser_unexpected(p, "the name of a test");
  struct node *n = parser_node(p, N_TEST);
  if (!n) return LRQK_MEMORY;
  n->a = *out;
  *out = n;
  TRY(parser_text(p, n));
  TRY(parser_next(p));
  enum token_kind k = p->tok.kind;
  if (parser_sign(p, "(")) {
    TRY(parser_next(p));
    TRY(parse_arguments(p, &n->b));
  } else if (k == T_STRING || k == T_INT || k == T_FLOAT || parser_sign(p, "[") || parser_sign(p, "{") ||
             (k == T_NAME && !parser_word(p, "else") && !parser_word(p, "or") && !parser_word(p, "and") && !parser_word(p, "if") &&
                 !parser_word(p, "is"))) {
    TRY(parse_primary(p, &n->b));
    TRY(parse_postfix(p, &n->b));
  }
  if (!negated) return LRQK_OK;
  struct node *no = parser_node(p, N_UNARY);
  if (!no) return LRQK_MEMORY;
  no->op = 'n';
  no->a = n;
  *out = no;
  return LRQK_OK;
}

static enum lrqk_status parse_filters(struct parser *p, struct node **out) {
  for (int chain = 0; ; chain++) {
    if (chain == MAX_DEPTH) return lexer_fail(&p->lexer, p->tok.line, "more than %d levels of nesting", MAX_DEPTH);
    if (parser_word(p, "is")) {
      TRY(parse_test(p, out));
    } else if (parser_sign(p, "|")) {
      TRY(parser_next(p));
      if (p->tok.kind != T_NAME) return parser_unexpected(p, "the name of a filter");
      struct node *n = parser_node(p, N_FILTER);
      if (!n) return LRQK_MEMORY;
      n->a = *out;
      *out = n;
      TRY(parser_text(p, n));
      TRY(parser_next(p));
      if (!parser_sign(p, "(")) continue;
      TRY(parser_next(p));
      TRY(parse_arguments(p, &n->b));
    } else if (parser_sign(p, "(")) {        /* the result of a filter or a test, called */
      return lexer_fail(&p->lexer, p->tok.line, "a call of what a filter gives is not covered");
    } else return LRQK_OK;
  }
}

static enum lrqk_status parse_unary(struct parser *p, bool filters, struct node **out) {
  TRY(parser_enter(p));
  if (parser_sign(p, "-") || parser_sign(p, "+")) {
    struct node *n = *out = parser_node(p, N_UNARY);
    if (!n) return LRQK_MEMORY;
    n->op = *p->tok.s;
    TRY(parser_next(p));
    TRY(parse_unary(p, false, &n->a));
  } else TRY(parse_primary(p, out));
  TRY(parse_postfix(p, out));
  if (filters) TRY(parse_filters(p, out));
  p->depth--;
  return LRQK_OK;
}
