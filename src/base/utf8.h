/* utf8.h - UTF-8, strictly as in RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_INVALID    0xffffffffu   /* *c when the bytes can never begin a character */
#define UTF8_INCOMPLETE 0xfffffffeu   /* *c when they begin one that needs more bytes than there are */

/* Reads the character at s[0..len), len > 0.  Returns the bytes it takes; for UTF8_INVALID the bytes to skip (the
 * longest prefix that could have begun a character, at least 1), for UTF8_INCOMPLETE len. */
size_t utf8_decode(const char *s, size_t len, uint32_t *c);
size_t utf8_encode(uint32_t c, char out[4]);   /* bytes written */

#endif
