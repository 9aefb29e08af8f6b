/* json.h - a growing text and a JSON writer on top of it, for what the command line prints.  Commas are the writer's
 * business, nesting the caller's.  A failure to allocate is remembered in `failed` and seen by out_text (ui.h). */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lrqk/lrqk.h"

struct text { char *s; size_t len, cap; bool failed, comma; };   /* zero-initialised is ready */

void text_add(struct text *t, const char *s, size_t len);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_utf8(struct text *t, const char *s, size_t len);   /* bytes that are not UTF-8 become U+FFFD */
/* The same for a piece of a stream, holding back what is not complete; s NULL: the end. */
void text_stream(struct text *t, struct lrqk_utf8_stream *u, const char *s, size_t len);
void text_free(struct text *t);

void json_open(struct text *t, char bracket);    /* '{' or '[' */
void json_close(struct text *t, char bracket);   /* '}' or ']' */
void json_key(struct text *t, const char *key);
void json_bytes(struct text *t, const char *s, size_t len);   /* a string */
void json_string(struct text *t, const char *s);              /* NUL-terminated */
void json_int(struct text *t, int64_t v);
void json_uint(struct text *t, uint64_t v);
void json_num(struct text *t, double v);   /* 9 significant digits, enough for a float; not finite: null */
void json_bool(struct text *t, bool v);
void json_null(struct text *t);

/* A member of an object: key and value in one call. */
void json_field_string(struct text *t, const char *key, const char *s);
void json_field_int(struct text *t, const char *key, int64_t v);
void json_field_uint(struct text *t, const char *key, uint64_t v);
void json_field_num(struct text *t, const char *key, double v);
void json_field_ids(struct text *t, const char *key, const int32_t *ids, size_t n);

#endif
