/* parser.h - what parser.c (statements) and expression.c share. */
#ifndef JINJA_PARSER_H
#define JINJA_PARSER_H

#include "jinja/jinja.h"
#include "jinja/lexer.h"
#include "jinja/node.h"

enum { MAX_DEPTH = 100, MAX_TEMPLATE = 1 << 20 };

struct parser {
  struct jinja *j;
  struct lexer lexer;
  struct jtoken tok;             /* the one that is looked at */
  int depth, loops;              /* levels of nesting; loops that a break would leave */
};

enum lrqk_status parser_next(struct parser *p);
struct node *parser_node(struct parser *p, enum node_kind kind);             /* NULL: no memory, said so */
enum lrqk_status parser_text(struct parser *p, struct node *n);              /* n->text is that of the token */
bool parser_sign(const struct parser *p, const char *sign);
bool parser_word(const struct parser *p, const char *word);
enum lrqk_status parser_unexpected(const struct parser *p, const char *expected);
enum lrqk_status parser_expect(struct parser *p, const char *sign);          /* and goes on behind it */
enum lrqk_status parser_enter(struct parser *p);                             /* the caller takes one off p->depth at its end */

enum lrqk_status parse_expression(struct parser *p, struct node **out);
/* One expression, or several with commas: a tuple.  choice: `a if b else c` may be among them. */
enum lrqk_status parse_tuple(struct parser *p, bool choice, struct node **out);

#endif
