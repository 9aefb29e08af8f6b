/* parser.c - text of a template to its tree (jinja_parse): statements here, expressions in expression.c. */
#include "jinja/parser.h"

#include <string.h>

#include "base/mem.h"

/* ---- tokens and nodes ---- */

enum lrqk_status parser_next(struct parser *p) { return lexer_next(&p->lexer, &p->tok); }

struct node *parser_node(struct parser *p, enum node_kind kind) {
  struct node *n = arena_alloc(&p->j->arena, 1, sizeof *n);
  if (!n) {
    fail(p->lexer.log, LRQK_MEMORY, "%s: out of memory", p->lexer.name);
    return NULL;
  }
  n->kind = kind;
  n->line = p->tok.line;
  return n;
}

enum lrqk_status parser_text(struct parser *p, struct node *n) {
  n->text = arena_text(&p->j->arena, p->tok.s, p->tok.len);
  n->len = p->tok.len;
  return n->text ? LRQK_OK : fail(p->lexer.log, LRQK_MEMORY, "%s: out of memory", p->lexer.name);
}

bool parser_sign(const struct parser *p, const char *sign) {
  return p->tok.kind == T_SIGN && p->tok.len == strlen(sign) && !memcmp(p->tok.s, sign, p->tok.len);
}

bool parser_word(const struct parser *p, const char *word) {
  return p->tok.kind == T_NAME && p->tok.len == strlen(word) && !memcmp(p->tok.s, word, p->tok.len);
}

enum lrqk_status parser_unexpected(const struct parser *p, const char *expected) {
  const struct jtoken *t = &p->tok;
  int n = t->len < 40 ? (int)t->len : 40;
  switch (t->kind) {
    case T_END: return lexer_fail(&p->lexer, t->line, "found the end of the template, expected %s", expected);
    case T_DATA: return lexer_fail(&p->lexer, t->line, "found text, expected %s", expected);
    case T_VAR_BEGIN: return lexer_fail(&p->lexer, t->line, "found {{, expected %s", expected);
    case T_BLOCK_BEGIN: return lexer_fail(&p->lexer, t->line, "found {%%, expected %s", expected);
    case T_VAR_END: return lexer_fail(&p->lexer, t->line, "found }}, expected %s", expected);
    case T_BLOCK_END: return lexer_fail(&p->lexer, t->line, "found %%}, expected %s", expected);
    case T_STRING: return lexer_fail(&p->lexer, t->line, "found the string \"%.*s\", expected %s", n, t->s, expected);
    case T_INT: case T_FLOAT: return lexer_fail(&p->lexer, t->line, "found a number, expected %s", expected);
    default: return lexer_fail(&p->lexer, t->line, "found %.*s, expected %s", n, t->s, expected);
  }
}

enum lrqk_status parser_expect(struct parser *p, const char *sign) {
  return parser_sign(p, sign) ? parser_next(p) : parser_unexpected(p, sign);
}

enum lrqk_status parser_enter(struct parser *p) {
  if (p->depth++ < MAX_DEPTH) return LRQK_OK;
  return lexer_fail(&p->lexer, p->tok.line, "more than %d levels of nesting", MAX_DEPTH);
}

/* ---- statements ---- */

static enum lrqk_status end_block(struct parser *p) {
  return p->tok.kind == T_BLOCK_END ? parser_next(p) : parser_unexpected(p, "%}");
}

static bool word_of(const struct parser *p, const char *const *words) {
  for (; *words; words++) if (parser_word(p, *words)) return true;
  return false;
}

static enum lrqk_status statement(struct parser *p, struct node **out);

/* Statements until a block whose first word is one of `ends` (NULL: until the template ends), which is left at that word. */
static enum lrqk_status body(struct parser *p, const char *const *ends, struct node **out) {
  struct node **tail = out;
  uint32_t line = p->tok.line;
  *out = NULL;
  TRY(parser_enter(p));
  for (;;) {
    struct node *n = NULL;
    if (p->tok.kind == T_END) {
      if (ends) return lexer_fail(&p->lexer, line, "the block that begins here has no {%% %s %%}", ends[0]);
      break;
    }
    if (p->tok.kind == T_DATA) {
      if (!(n = parser_node(p, N_TEXT))) return LRQK_MEMORY;
      TRY(parser_text(p, n));
      TRY(parser_next(p));
    } else if (p->tok.kind == T_VAR_BEGIN) {
      if (!(n = parser_node(p, N_PRINT))) return LRQK_MEMORY;
      TRY(parser_next(p));
      TRY(parse_tuple(p, true, &n->a));
      if (p->tok.kind != T_VAR_END) return parser_unexpected(p, "}}");
      TRY(parser_next(p));
    } else {
      TRY(parser_next(p));
      if (ends && word_of(p, ends)) break;
      TRY(statement(p, &n));
    }
    *tail = n;
    while (*tail) tail = &(*tail)->next;      /* {% generation %} gives many */
  }
  p->depth--;
  return LRQK_OK;
}

static enum lrqk_status parse_if(struct parser *p, struct node **out) {
  static const char *const ends[] = { "endif", "elif", "else", NULL }, *const end[] = { "endif", NULL };
  struct node *n = *out = parser_node(p, N_IF);
  if (!n) return LRQK_MEMORY;
  TRY(parser_next(p));
  TRY(parse_expression(p, &n->a));
  TRY(end_block(p));
  TRY(body(p, ends, &n->b));
  if (parser_word(p, "elif")) {
    TRY(parser_enter(p));
    TRY(parse_if(p, &n->c));                  /* it takes the endif */
    p->depth--;
    return LRQK_OK;
  }
  if (parser_word(p, "else")) {
    TRY(parser_next(p));
    TRY(end_block(p));
    TRY(body(p, end, &n->c));
  }
  TRY(parser_next(p));
  return end_block(p);
}

/* One or more names, as {% for a, b in ... %}; with attributes of a namespace for {% set ns.a = ... %}. */
static enum lrqk_status targets(struct parser *p, bool attribute, struct node **out) {
  struct node **tail = out;
  bool bracket = parser_sign(p, "(");
  if (bracket) TRY(parser_next(p));
  do {
    if (*out) TRY(parser_next(p));            /* the comma */
    if (p->tok.kind != T_NAME) return parser_unexpected(p, "a name");
    struct node *n = parser_node(p, N_NAME);
    if (!n) return LRQK_MEMORY;
    TRY(parser_text(p, n));
    TRY(parser_next(p));
    if (attribute && parser_sign(p, ".")) {
      struct node *ns = n;
      if (!(n = parser_node(p, N_ATTRIBUTE))) return LRQK_MEMORY;
      TRY(parser_next(p));
      if (p->tok.kind != T_NAME) return parser_unexpected(p, "a name");
      TRY(parser_text(p, n));
      TRY(parser_next(p));
      n->a = ns;
    }
    *tail = n;
    tail = &n->next;
  } while (parser_sign(p, ","));
  return bracket ? parser_expect(p, ")") : LRQK_OK;
}

static enum lrqk_status parse_for(struct parser *p, struct node **out) {
  static const char *const ends[] = { "endfor", "else", NULL }, *const end[] = { "endfor", NULL };
  struct node *n = *out = parser_node(p, N_FOR);
  if (!n) return LRQK_MEMORY;
  TRY(parser_next(p));
  TRY(targets(p, false, &n->a));
  if (!parser_word(p, "in")) return parser_unexpected(p, "in");
  TRY(parser_next(p));
  TRY(parse_tuple(p, false, &n->b));
  if (parser_word(p, "if")) {
    TRY(parser_next(p));
    TRY(parse_expression(p, &n->e));
  }
  if (parser_word(p, "recursive")) return lexer_fail(&p->lexer, p->tok.line, "recursive loops are not covered");
  TRY(end_block(p));
  p->loops++;
  TRY(body(p, ends, &n->c));
  p->loops--;
  if (parser_word(p, "else")) {
    TRY(parser_next(p));
    TRY(end_block(p));
    TRY(body(p, end, &n->d));
  }
  TRY(parser_next(p));
  return end_block(p);
}

static enum lrqk_status parse_set(struct parser *p, struct node **out) {
  static const char *const end[] = { "endset", NULL };
  struct node *n = *out = parser_node(p, N_SET);
  if (!n) return LRQK_MEMORY;
  TRY(parser_next(p));
  TRY(targets(p, true, &n->a));
  if (parser_sign(p, "=")) {
    TRY(parser_next(p));
    TRY(parse_tuple(p, true, &n->b));
    return end_block(p);
  }
  if (parser_sign(p, "|")) return lexer_fail(&p->lexer, p->tok.line, "{%% set %%} blocks with a filter are not covered");
  if (n->a->next) return parser_unexpected(p, "=");
  n->kind = N_SET_BLOCK;
  TRY(end_block(p));
  TRY(body(p, end, &n->b));
  TRY(parser_next(p));
  return end_block(p);
}

static enum lrqk_status parse_macro(struct parser *p, struct node **out) {
  static const char *const end[] = { "endmacro", NULL };
  struct node *n = *out = parser_node(p, N_MACRO), **tail;
  if (!n) return LRQK_MEMORY;
  TRY(parser_next(p));
  if (p->tok.kind != T_NAME) return parser_unexpected(p, "the name of a macro");
  TRY(parser_text(p, n));
  TRY(parser_next(p));
  TRY(parser_expect(p, "("));
  for (tail = &n->a; !parser_sign(p, ")"); tail = &(*tail)->next) {
    if (n->a) TRY(parser_expect(p, ","));
    if (p->tok.kind != T_NAME) return parser_unexpected(p, "a parameter");
    if (!(*tail = parser_node(p, N_PARAMETER))) return LRQK_MEMORY;
    TRY(parser_text(p, *tail));
    TRY(parser_next(p));
    if (!parser_sign(p, "=")) continue;
    TRY(parser_next(p));
    TRY(parse_expression(p, &(*tail)->a));
  }
  TRY(parser_next(p));
  TRY(end_block(p));
  int loops = p->loops;
  p->loops = 0;                               /* a break in it has no loop outside of it */
  TRY(body(p, end, &n->b));
  p->loops = loops;
  TRY(parser_next(p));
  return end_block(p);
}

static enum lrqk_status statement(struct parser *p, struct node **out) {
  static const char *const end[] = { "endgeneration", NULL };
  if (parser_word(p, "if")) return parse_if(p, out);
  if (parser_word(p, "for")) return parse_for(p, out);
  if (parser_word(p, "set")) return parse_set(p, out);
  if (parser_word(p, "macro")) return parse_macro(p, out);
  if (parser_word(p, "break") || parser_word(p, "continue")) {
    if (!p->loops) return lexer_fail(&p->lexer, p->tok.line, "%.*s outside of a loop", (int)p->tok.len, p->tok.s);
    if (!(*out = parser_node(p, parser_word(p, "break") ? N_BREAK : N_CONTINUE))) return LRQK_MEMORY;
    TRY(parser_next(p));
    return end_block(p);
  }
  if (parser_word(p, "generation")) {         /* marks what the assistant says, for training: its body is all that counts */
    TRY(parser_next(p));
    TRY(end_block(p));
    TRY(body(p, end, out));
    TRY(parser_next(p));
    return end_block(p);
  }
  if (p->tok.kind != T_NAME) return parser_unexpected(p, "a statement");
  return lexer_fail(&p->lexer, p->tok.line, "the statement {%% %.*s %%} is not covered", p->tok.len < 40 ? (int)p->tok.len : 40, p->tok.s);
}

/* ---- templates ---- */

/* The text as jinja2 reads it: every kind of line end is \n, and one at the very end is not there. */
static char *normalise(struct arena *a, const char *text, size_t *len) {
  char *out = arena_alloc(a, *len + 1, 1);
  size_t n = 0;
  for (size_t i = 0; out && i < *len; i++) {
    if (text[i] == '\r' && i + 1 < *len && text[i + 1] == '\n') continue;
    out[n++] = text[i] == '\r' ? '\n' : text[i];
  }
  if (n && out[n - 1] == '\n') n--;
  *len = n;
  return out;
}

enum lrqk_status jinja_parse(struct jinja **out, const struct log *log, const char *name, const char *text, size_t len) {
  struct jinja *j = mem_alloc(1, sizeof *j);
  if (j && len > MAX_TEMPLATE) {
    jinja_free(j);
    return fail(log, LRQK_USAGE, "%s: the template has %zu bytes, at most %d are read", name, len, MAX_TEMPLATE);
  }
  const char *source = j ? normalise(&j->arena, text, &len) : NULL;
  if (!source) {
    jinja_free(j);
    return fail(log, LRQK_MEMORY, "%s: out of memory", name);
  }
  j->log = *log;
  j->name = name;
  j->bytes = len;
  struct parser p = { .j = j, .lexer = { .log = &j->log, .name = name, .arena = &j->arena, .p = source, .end = source + len, .line = 1,
                                         .line_start = true } };
  enum lrqk_status s = parser_next(&p);
  if (s == LRQK_OK) s = body(&p, NULL, &j->body);
  if (s != LRQK_OK) {
    jinja_free(j);
    return s;
  }
  *out = j;
  return LRQK_OK;
}

void jinja_free(struct jinja *j) {
  if (!j) return;
  arena_free(&j->arena);
  mem_free(j);
}
