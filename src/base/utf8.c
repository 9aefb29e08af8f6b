#include "base/utf8.h"

size_t utf8_decode(const char *text, size_t len, uint32_t *c) {
  const unsigned char *s = (const unsigned char *)text;
  if (s[0] < 0x80) { *c = s[0]; return 1; }
  size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  if (!n) { *c = UTF8_INVALID; return 1; }
  uint32_t v = s[0] & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if (i == len) { *c = UTF8_INCOMPLETE; return len; }
    unsigned lo = 0x80, hi = 0xbf;   /* the second byte excludes overlong forms, surrogates and what is too large */
    if (i == 1) {
      if (s[0] == 0xe0) lo = 0xa0;
      if (s[0] == 0xed) hi = 0x9f;
      if (s[0] == 0xf0) lo = 0x90;
      if (s[0] == 0xf4) hi = 0x8f;
    }
    if (s[i] < lo || s[i] > hi) { *c = UTF8_INVALID; return i; }
    v = v << 6 | (s[i] & 0x3fu);
  }
  *c = v;
  return n;
}

size_t utf8_encode(uint32_t c, char out[4]) {
  if (c < 0x80) { out[0] = (char)c; return 1; }
  if (c < 0x800) { out[0] = (char)(0xc0 | c >> 6); out[1] = (char)(0x80 | (c & 63)); return 2; }
  if (c < 0x10000) { out[0] = (char)(0xe0 | c >> 12); out[1] = (char)(0x80 | (c >> 6 & 63)); out[2] = (char)(0x80 | (c & 63)); return 3; }
  out[0] = (char)(0xf0 | c >> 18); out[1] = (char)(0x80 | (c >> 12 & 63)); out[2] = (char)(0x80 | (c >> 6 & 63)); out[3] = (char)(0x80 | (c & 63));
  return 4;
}
