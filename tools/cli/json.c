/* json.c - see json.h. */
#include "json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *t, size_t more) {
  if (t->failed) return false;
  if (more < t->cap - t->len) return true;
  size_t cap = t->cap ? t->cap : 256;
  while (cap - t->len <= more) {
    if (cap > SIZE_MAX / 2) return !(t->failed = true);
    cap *= 2;
  }
  char *s = realloc(t->s, cap);
  if (!s) return !(t->failed = true);
  t->s = s;
  t->cap = cap;
  return true;
}

void text_add(struct text *t, const char *s, size_t len) {
  if (!len || !reserve(t, len)) return;
  memcpy(t->s + t->len, s, len);
  t->len += len;
  t->s[t->len] = 0;
}

void text_printf(struct text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  if (n < 0 || !reserve(t, (size_t)n)) return;
  va_start(ap, fmt);
  vsnprintf(t->s + t->len, (size_t)n + 1, fmt, ap);
  va_end(ap);
  t->len += (size_t)n;
}

void text_stream(struct text *t, struct lrqk_utf8_stream *u, const char *s, size_t len) {
  char out[3 * (256 + 4)];
  if (!s) text_add(t, out, lrqk_utf8_push(u, NULL, 0, out));
  for (size_t at = 0; s && at < len;) {
    size_t piece = len - at < 256 ? len - at : 256;
    text_add(t, out, lrqk_utf8_push(u, s + at, piece, out));
    at += piece;
  }
}

void text_utf8(struct text *t, const char *s, size_t len) {
  struct lrqk_utf8_stream u = {{0}, 0};
  text_stream(t, &u, s, len);
  text_stream(t, &u, NULL, 0);
}

void text_free(struct text *t) {
  free(t->s);
  *t = (struct text){0};
}

static void value(struct text *t) {
  if (t->comma) text_add(t, ", ", 2);
  t->comma = true;
}

void json_open(struct text *t, char bracket) {
  value(t);
  text_add(t, &bracket, 1);
  t->comma = false;
}

void json_close(struct text *t, char bracket) {
  text_add(t, &bracket, 1);
  t->comma = true;
}

void json_key(struct text *t, const char *key) {
  json_string(t, key);
  text_add(t, ": ", 2);
  t->comma = false;
}

void json_bytes(struct text *t, const char *s, size_t len) {
  struct text u = {0};
  text_utf8(&u, s, len);
  if (u.failed) t->failed = true;
  value(t);
  text_add(t, "\"", 1);
  size_t from = 0;
  for (size_t i = 0; i < u.len; i++) {
    unsigned char c = (unsigned char)u.s[i];
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;
    text_add(t, u.s + from, i - from);
    from = i + 1;
    if (c == '"' || c == '\\') text_printf(t, "\\%c", c);
    else if (c == '\n') text_add(t, "\\n", 2);
    else if (c == '\t') text_add(t, "\\t", 2);
    else if (c == '\r') text_add(t, "\\r", 2);
    else text_printf(t, "\\u%04x", c);
  }
  if (u.s) text_add(t, u.s + from, u.len - from);
  text_add(t, "\"", 1);
  text_free(&u);
}

void json_string(struct text *t, const char *s) { json_bytes(t, s, strlen(s)); }

void json_int(struct text *t, int64_t v) {
  value(t);
  text_printf(t, "%lld", (long long)v);
}

void json_uint(struct text *t, uint64_t v) {
  value(t);
  text_printf(t, "%llu", (unsigned long long)v);
}

void json_num(struct text *t, double v) {
  value(t);
  if (isfinite(v)) text_printf(t, "%.9g", v);
  else text_add(t, "null", 4);
}

void json_bool(struct text *t, bool v) {
  value(t);
  text_printf(t, "%s", v ? "true" : "false");
}

void json_null(struct text *t) {
  value(t);
  text_add(t, "null", 4);
}

void json_field_string(struct text *t, const char *key, const char *s) {
  json_key(t, key);
  json_string(t, s);
}

void json_field_int(struct text *t, const char *key, int64_t v) {
  json_key(t, key);
  json_int(t, v);
}

void json_field_uint(struct text *t, const char *key, uint64_t v) {
  json_key(t, key);
  json_uint(t, v);
}

void json_field_num(struct text *t, const char *key, double v) {
  json_key(t, key);
  json_num(t, v);
}

void json_field_ids(struct text *t, const char *key, const int32_t *ids, size_t n) {
  json_key(t, key);
  json_open(t, '[');
  for (size_t i = 0; i < n; i++) json_int(t, ids[i]);
  json_close(t, ']');
}
