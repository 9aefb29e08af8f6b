/* strings.h - what filters and methods of the same name do with texts and lists (strings.c). */
#ifndef JINJA_STRINGS_H
#define JINJA_STRINGS_H

#include "jinja/value.h"

enum text_case { CASE_LOWER, CASE_UPPER, CASE_CAPITALIZE, CASE_TITLE_FILTER, CASE_TITLE_METHOD };

/* Letters of ASCII only: a text with others is refused. */
bool text_case(struct run *r, const char *what, struct str s, enum text_case how, struct value *out);
bool text_replace(struct run *r, struct str s, struct str old, struct str new, int64_t most, struct value *out);   /* most < 0: all */
bool text_split(struct run *r, struct str s, const struct str *separator, int64_t most, bool from_right, struct value *out);
bool text_lines(struct run *r, struct str s, bool keep_ends, struct value *out);
bool text_join(struct run *r, const struct list *l, struct str between, bool as_text, struct value *out);   /* as_text: not only texts */
bool list_order(struct run *r, struct list *l, const struct value *keys, bool descending);   /* stable, by keys[n] */

/* Argument i as a text or a whole number; what is for messages.  `none` for one that is not given. */
bool arg_text(struct run *r, const struct args *a, size_t i, const char *name, const char *what, struct str none, struct str *out);
bool arg_int(struct run *r, const struct args *a, size_t i, const char *name, const char *what, int64_t none, int64_t *out);

#endif
