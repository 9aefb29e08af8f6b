#include "base/jsonw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static void put(struct jsonw *j, const char *s, size_t n) {
  if (j->failed) return;
  if (j->len + n + 1 > j->cap) {
    size_t cap = (j->cap ? j->cap * 2 : 256) + n;
    char *t = mem_realloc(j->text, cap, 1);
    if (!t) { j->failed = true; return; }
    j->text = t;
    j->cap = cap;
  }
  memcpy(j->text + j->len, s, n);
  j->len += n;
  j->text[j->len] = 0;
}

static void value(struct jsonw *j, const char *s, size_t n) {
  if (j->comma) put(j, ",", 1);
  put(j, s, n);
  j->comma = true;
}

void jsonw_open(struct jsonw *j, char bracket) {
  value(j, &bracket, 1);
  j->comma = false;
}

void jsonw_close(struct jsonw *j, char bracket) {
  put(j, &bracket, 1);
  j->comma = true;
}

static void quoted(struct jsonw *j, const char *s, size_t len) {
  put(j, "\"", 1);
  for (size_t i = 0; i < len;) {
    uint32_t c;
    size_t n = utf8_decode(s + i, len - i, &c);
    char esc[8];
    if (c == UTF8_INVALID || c == UTF8_INCOMPLETE) put(j, "\xef\xbf\xbd", 3);
    else if (c == '"' || c == '\\') put(j, esc, (size_t)snprintf(esc, sizeof esc, "\\%c", (char)c));
    else if (c == '\n') put(j, "\\n", 2);
    else if (c < 0x20 || c == 0x7f) put(j, esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", c));
    else put(j, s + i, n);
    i += n;
  }
  put(j, "\"", 1);
}

void jsonw_key(struct jsonw *j, const char *key) {
  if (j->comma) put(j, ",", 1);
  quoted(j, key, strlen(key));
  put(j, ":", 1);
  j->comma = false;
}

void jsonw_string(struct jsonw *j, const char *s, size_t len) {
  if (j->comma) put(j, ",", 1);
  quoted(j, s, len);
  j->comma = true;
}

void jsonw_text(struct jsonw *j, const char *s) { jsonw_string(j, s, strlen(s)); }

void jsonw_int(struct jsonw *j, int64_t v) {
  char t[32];
  value(j, t, (size_t)snprintf(t, sizeof t, "%lld", (long long)v));
}

void jsonw_uint(struct jsonw *j, uint64_t v) {
  char t[32];
  value(j, t, (size_t)snprintf(t, sizeof t, "%llu", (unsigned long long)v));
}

void jsonw_num(struct jsonw *j, double v) {
  char t[40];
  if (!isfinite(v)) { jsonw_null(j); return; }
  value(j, t, (size_t)snprintf(t, sizeof t, "%.9g", v));
}

void jsonw_bool(struct jsonw *j, bool v) { value(j, v ? "true" : "false", v ? 4 : 5); }
void jsonw_null(struct jsonw *j) { value(j, "null", 4); }

char *jsonw_take(struct jsonw *j) {
  char *t = j->text;
  if (j->failed) { mem_free(t); t = NULL; }
  *j = (struct jsonw){ 0 };
  return t;
}
