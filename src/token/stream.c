/* stream.c - whole characters out of the bytes of a stream of tokens (lrqk_utf8_push of lrqk.h). */
#include <lrqk/lrqk.h>
#include <string.h>

#include "base/utf8.h"

static const char replacement[3] = { '\xef', '\xbf', '\xbd' };

size_t lrqk_utf8_push(struct lrqk_utf8_stream *u, const char *text, size_t len, char *out) {
  size_t n = 0;
  if (!text) {   /* what is pending began a character that will not come */
    if (u->n) memcpy(out, replacement, n = 3);
    u->n = 0;
    return n;
  }
  for (size_t i = 0; i < len; i++) {
    u->pending[u->n++] = text[i];
    while (u->n) {   /* an invalid prefix leaves its last byte, which may begin the next character */
      uint32_t c;
      size_t k = utf8_decode(u->pending, u->n, &c);
      if (c == UTF8_INCOMPLETE) break;
      memcpy(out + n, c == UTF8_INVALID ? replacement : u->pending, c == UTF8_INVALID ? 3 : k);
      n += c == UTF8_INVALID ? 3 : k;
      u->n = (uint8_t)(u->n - k);
      memmove(u->pending, u->pending + k, u->n);
    }
  }
  return n;
}
