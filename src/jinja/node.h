/* node.h - the syntax tree of a template: made by parser.c, walked by eval.c. */
#ifndef JINJA_NODE_H
#define JINJA_NODE_H

#include "base/arena.h"
#include "base/log.h"

enum node_kind {
  /* statements */
  N_TEXT,         /* text */
  N_PRINT,        /* a */
  N_IF,           /* a: condition, b: body, c: what else (statements) */
  N_FOR,          /* a: targets, b: the iterable, c: body, d: body for an empty one, e: filter */
  N_SET,          /* a: targets, b: value */
  N_SET_BLOCK,    /* a: target, b: body */
  N_MACRO,        /* text: name, a: parameters (N_PARAMETER), b: body */
  N_BREAK, N_CONTINUE,
  /* expressions */
  N_STRING,       /* text */
  N_INT, N_FLOAT, N_BOOL, N_NONE,
  N_NAME,         /* text */
  N_LIST, N_TUPLE,/* a: items */
  N_DICT,         /* a: keys and values in turn */
  N_ATTRIBUTE,    /* a, text */
  N_ITEM,         /* a, b */
  N_SLICE,        /* a, from b to c by d; each of those may be NULL */
  N_CALL,         /* a: what is called, b: arguments (N_KEYWORD for those with names) */
  N_FILTER,       /* a, text: name, b: arguments */
  N_TEST,         /* a, text: name, b: arguments */
  N_KEYWORD,      /* text: name, a: value */
  N_PARAMETER,    /* text: name, a: default or NULL */
  N_UNARY,        /* op: '-', '+' or 'n' for not */
  N_BINARY,       /* op: + - * / F (floor) % ^ (power) ~, & (and), | (or) */
  N_COMPARE,      /* a, then b: operands (N_OPERAND) */
  N_OPERAND,      /* op: = ! < l (<=) > g (>=) i (in) o (not in); a */
  N_CHOICE,       /* b if a else c; c may be NULL */
};

struct node {
  enum node_kind kind;
  uint32_t line;
  char op;
  struct node *a, *b, *c, *d, *e;
  struct node *next;             /* of the list that it is in */
  const char *text;              /* NUL-terminated, of len bytes */
  size_t len;
  int64_t i;                     /* N_INT, N_BOOL */
  double f;
};

struct jinja {
  struct log log;
  const char *name;
  struct arena arena;
  size_t bytes;                  /* of the template */
  struct node *body;
};

#endif
