/* operators.h - what operators do with values (operators.c).  Called by eval.c. */
#ifndef JINJA_OPERATORS_H
#define JINJA_OPERATORS_H

#include "jinja/value.h"

bool operator_binary(struct run *r, char op, const struct value *a, const struct value *b, struct value *out);   /* op as N_BINARY */
bool operator_compare(struct run *r, char op, const struct value *a, const struct value *b, bool *out);          /* op as N_OPERAND */
bool operator_concat(struct run *r, const struct value *v, size_t n, struct value *out);                         /* n texts as one */
bool operator_slice(struct run *r, const struct value *v, const struct value part[3], struct value *out);        /* from, to, step; none */

#endif
