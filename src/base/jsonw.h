/* jsonw.h - writes JSON to a growing buffer.  Commas are its business; nesting is the caller's.  Failure to allocate
 * is remembered and comes out of jsonw_take. */
#ifndef BASE_JSONW_H
#define BASE_JSONW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jsonw { char *text; size_t len, cap; bool comma, failed; };   /* zero-initialised is ready */

void jsonw_open(struct jsonw *j, char bracket);    /* '{' or '[' */
void jsonw_close(struct jsonw *j, char bracket);   /* '}' or ']' */
void jsonw_key(struct jsonw *j, const char *key);
void jsonw_string(struct jsonw *j, const char *s, size_t len);   /* bytes that are not UTF-8 become U+FFFD */
void jsonw_text(struct jsonw *j, const char *s);                 /* NUL-terminated */
void jsonw_int(struct jsonw *j, int64_t v);
void jsonw_uint(struct jsonw *j, uint64_t v);
void jsonw_num(struct jsonw *j, double v);         /* 9 significant digits, enough for a float; not finite: null */
void jsonw_bool(struct jsonw *j, bool v);
void jsonw_null(struct jsonw *j);

/* The text, NUL-terminated, now the caller's (mem_free / lrqk_free); NULL if an allocation failed.  j is empty again. */
char *jsonw_take(struct jsonw *j);

#endif
