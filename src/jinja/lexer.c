/* lexer.c - see lexer.h. */
#include "jinja/lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum lrqk_status lexer_fail(const struct lexer *x, uint32_t line, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return fail(x->log, LRQK_USAGE, "%s: line %u: %s", x->name, line, text);
}

/* ---- white space ---- */

static bool is_space(uint32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 &&
      c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t space_length(const char *s, size_t len) {
  uint32_t c;
  if (!len) return 0;
  size_t n = utf8_decode(s, len, &c);
  return is_space(c) ? n : 0;
}

size_t space_before(const char *s, size_t len) {
  size_t n = len ? 1 : 0;
  while (n && n < len && n < 4 && ((unsigned char)s[len - n] & 0xc0) == 0x80) n++;
  return n && space_length(s + len - n, n) == n ? n : 0;
}

static void advance(struct lexer *x, const char *to) {
  for (; x->p < to; x->p++) x->line += *x->p == '\n';
}

static void skip_spaces(struct lexer *x) {
  for (size_t n; (n = space_length(x->p, (size_t)(x->end - x->p))); ) advance(x, x->p + n);
}

static bool at(const struct lexer *x, const char *p, const char *word) {
  size_t n = strlen(word);
  return (size_t)(x->end - p) >= n && !memcmp(p, word, n);
}

/* ---- text outside of tags ---- */

/* Behind the end of a tag, x->p after it: '-' takes all white space along, a block's end the newline, '+' nothing. */
static void after_tag(struct lexer *x, char sign, bool block) {
  const char *before = x->p;
  if (sign == '-') skip_spaces(x);
  else if (block && sign != '+' && x->p < x->end && *x->p == '\n') advance(x, x->p + 1);
  x->line_start = x->p > before && x->p[-1] == '\n';
}

/* The text [p, tag) without the white space that the tag takes away in front of it. */
static size_t text_before(const struct lexer *x, const char *tag) {
  size_t n = (size_t)(tag - x->p);
  char sign = tag + 2 < x->end ? tag[2] : 0;
  if (sign == '-') {
    for (size_t k; (k = space_before(x->p, n)); ) n -= k;
  } else if (sign != '+' && tag[1] != '{') {
    size_t line = n;
    while (line && x->p[line - 1] != '\n') line--;
    if (!line && !x->line_start) return n;
    size_t i = line;
    for (size_t k; i < n && (k = space_length(x->p + i, n - i)); ) i += k;
    if (i >= n) n = line;
  }
  return n;
}

static enum lrqk_status skip_comment(struct lexer *x, const char *tag) {
  uint32_t line = x->line;
  for (const char *p = tag + 2; p < x->end; p++) line += *p == '\n';
  const char *end = memmem(tag + 2, (size_t)(x->end - tag - 2), "#}", 2);
  if (!end) return lexer_fail(x, line, "a comment {# has no end");
  char sign = end > tag + 2 && (end[-1] == '-' || end[-1] == '+') ? end[-1] : 0;
  advance(x, end + 2);
  after_tag(x, sign, true);
  return LRQK_OK;
}

/* {% raw %} at tag: the text up to {% endraw %} as data. */
static bool is_raw(const struct lexer *x, const char *tag, const char *word, const char **behind, char *sign) {
  const char *p = tag + 2;
  if (p < x->end && (*p == '-' || *p == '+')) p++;
  while (p < x->end && (*p == ' ' || *p == '\t' || *p == '\n')) p++;
  if (!at(x, p, word)) return false;
  p += strlen(word);
  while (p < x->end && (*p == ' ' || *p == '\t' || *p == '\n')) p++;
  *sign = p < x->end && (*p == '-' || *p == '+') ? *p++ : 0;
  *behind = p + 2;
  return at(x, p, "%}");
}

static enum lrqk_status raw_text(struct lexer *x, const char *begin, char sign, struct jtoken *out) {
  const char *behind;
  advance(x, begin);
  after_tag(x, sign, true);
  *out = (struct jtoken){ .kind = T_DATA, .line = x->line, .s = x->p };
  for (const char *p = x->p; (p = memmem(p, (size_t)(x->end - p), "{%", 2)); p += 2) {
    if (!is_raw(x, p, "endraw", &behind, &sign)) continue;
    out->len = text_before(x, p);
    advance(x, behind);
    after_tag(x, sign, true);
    return LRQK_OK;
  }
  return lexer_fail(x, x->line, "{%% raw %%} has no end");
}

/* A piece of text, or the beginning of a tag if one is here. */
static enum lrqk_status next_text(struct lexer *x, struct jtoken *out) {
  const char *tag = x->p, *behind;
  while (tag < x->end && !(*tag == '{' && tag + 1 < x->end && (tag[1] == '{' || tag[1] == '%' || tag[1] == '#'))) tag++;
  *out = (struct jtoken){ .kind = T_DATA, .line = x->line, .s = x->p, .len = tag < x->end ? text_before(x, tag) : (size_t)(tag - x->p) };
  char sign;
  if (tag > x->p) {                          /* the tag itself comes next time, with no white space left before it */
    advance(x, tag);
    x->line_start = false;
    return LRQK_OK;
  }
  if (tag == x->end) out->kind = T_END;
  else if (tag[1] == '#') return skip_comment(x, tag);
  else if (tag[1] == '%' && is_raw(x, tag, "raw", &behind, &sign)) return raw_text(x, behind, sign, out);
  else {
    out->kind = tag[1] == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN;
    x->state = tag[1] == '{' ? IN_VAR : IN_BLOCK;
    x->p = tag + 2;
    if (x->p < x->end && (*x->p == '-' || (*x->p == '+' && tag[1] == '%'))) x->p++;
  }
  return LRQK_OK;
}

/* ---- within tags ---- */

static int digit_of(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* The character of n digits of a base at p, written to out; its bytes, 0 if there are none such. */
static size_t coded(const char *p, const char *end, int n, int base, char *out) {
  uint32_t c = 0;
  if (end - p < n) return 0;
  for (int i = 0; i < n; i++) {
    int d = digit_of(p[i]);
    if (d >= base) return 0;
    c = c * (uint32_t)base + (uint32_t)d;
  }
  return c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : utf8_encode(c, out);
}

/* One escape, p behind the backslash: its value at *out; the place behind it, NULL if it is wrong. */
static const char *escape(const char *p, const char *end, char **out) {
  static const char letters[] = "nrtabfv\\'\"", values[] = "\n\r\t\a\b\f\v\\'\"";
  const char *known = *p ? strchr(letters, *p) : NULL;
  if (*p == '\n') return p + 1;
  if (known) {
    *(*out)++ = values[known - letters];
    return p + 1;
  }
  int n = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
  if (n) {
    size_t k = coded(p + 1, end, n, 16, *out);
    *out += k;
    return k ? p + 1 + n : NULL;
  }
  if (*p >= '0' && *p <= '7') {
    for (n = 1; n < 3 && p + n < end && p[n] >= '0' && p[n] <= '7'; ) n++;
    *out += coded(p, end, n, 8, *out);
    return p + n;
  }
  *(*out)++ = '\\';                          /* as Python: the backslash stays */
  return p;
}

static enum lrqk_status next_string(struct lexer *x, struct jtoken *out) {
  char quote = *x->p;
  const char *p = x->p + 1;
  while (p < x->end && *p != quote) p += *p == '\\' && p + 1 < x->end ? 2 : 1;
  if (p >= x->end) return lexer_fail(x, x->line, "a string has no end");
  char *value = arena_alloc(x->arena, (size_t)(p - x->p), 1), *to = value;   /* no escape is shorter than its value */
  if (!value) return fail(x->log, LRQK_MEMORY, "%s: out of memory", x->name);
  out->kind = T_STRING;
  out->s = value;
  for (const char *q = x->p + 1; q < p; ) {
    if (*q != '\\') *to++ = *q++;
    else if (!(q = escape(q + 1, p, &to))) return lexer_fail(x, x->line, "a string has a wrong escape");
  }
  out->len = (size_t)(to - value);
  advance(x, p + 1);
  return LRQK_OK;
}

static bool name_char(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static const char *digits(const char *p, const char *end) {
  while (p < end && digit_of(*p) < 10) p++;
  return p;
}

static enum lrqk_status next_number(struct lexer *x, struct jtoken *out) {
  char text[32];
  const char *p = digits(x->p, x->end), *end = x->end;
  bool whole = true;
  if (end - p > 1 && *p == '.' && digit_of(p[1]) < 10) {
    p = digits(p + 1, end);
    whole = false;
  }
  if (end - p > 2 && (*p == 'e' || *p == 'E')) {
    const char *q = p[1] == '-' || p[1] == '+' ? p + 2 : p + 1;
    if (digit_of(*q) < 10) {
      p = digits(q, end);
      whole = false;
    }
  }
  size_t n = (size_t)(p - x->p);
  if (n >= sizeof text || (whole && n > 18)) return lexer_fail(x, x->line, "the number %.18s... is too long", x->p);
  if (p < end && name_char(*p, true))
    return lexer_fail(x, x->line, "numbers like %.*s... are not covered", (int)n + 1, x->p);
  memcpy(text, x->p, n);
  text[n] = 0;
  out->kind = whole ? T_INT : T_FLOAT;
  if (whole) out->i = strtoll(text, NULL, 10);
  else out->f = strtod(text, NULL);
  x->p = p;
  return LRQK_OK;
}

static enum lrqk_status bracket(struct lexer *x, char c) {
  if (strchr("([{", c)) {
    if (x->n_open == MAX_NESTING) return lexer_fail(x, x->line, "more than %d brackets are open", MAX_NESTING);
    x->open[x->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (strchr(")]}", c)) {
    if (!x->n_open || x->open[x->n_open - 1] != c) return lexer_fail(x, x->line, "unexpected %c", c);
    x->n_open--;
  }
  return LRQK_OK;
}

static enum lrqk_status next_sign(struct lexer *x, struct jtoken *out) {
  static const char *const two[] = { "**", "//", "==", "!=", "<=", ">=" };
  out->kind = T_SIGN;
  out->s = x->p;
  out->len = 1;
  for (size_t i = 0; i < sizeof two / sizeof *two; i++) if (at(x, x->p, two[i])) out->len = 2;
  if (out->len == 1 && !strchr("+-*/%~<>=.:|,;()[]{}", *x->p)) {
    unsigned char c = (unsigned char)*x->p;
    return c > 32 && c < 127 ? lexer_fail(x, x->line, "unexpected %c", c) : lexer_fail(x, x->line, "unexpected byte 0x%02x", c);
  }
  x->p += out->len;
  return bracket(x, *out->s);
}

/* The end of the tag, if it is here. */
static bool tag_end(struct lexer *x, struct jtoken *out) {
  const char *p = x->p;
  char sign = 0;
  if (*p == '-' || (*p == '+' && x->state == IN_BLOCK)) sign = *p++;
  if (x->n_open || !at(x, p, x->state == IN_VAR ? "}}" : "%}")) return false;
  bool block = x->state == IN_BLOCK;
  out->kind = block ? T_BLOCK_END : T_VAR_END;
  x->p = p + 2;
  after_tag(x, sign, block);
  x->state = IN_TEXT;
  return true;
}

enum lrqk_status lexer_next(struct lexer *x, struct jtoken *out) {
  if (x->state == IN_TEXT) {
    do TRY(next_text(x, out)); while (out->kind == T_DATA && !out->len);
    return LRQK_OK;
  }
  skip_spaces(x);
  *out = (struct jtoken){ .line = x->line, .s = x->p };
  if (x->p == x->end) return lexer_fail(x, x->line, "%s has no end", x->state == IN_VAR ? "{{" : "{%");
  if (tag_end(x, out)) return LRQK_OK;
  if (*x->p == '"' || *x->p == '\'') return next_string(x, out);
  if (*x->p >= '0' && *x->p <= '9') return next_number(x, out);
  if (!name_char(*x->p, true)) return *x->p ? next_sign(x, out) : lexer_fail(x, x->line, "unexpected byte 0x00");
  out->kind = T_NAME;
  while (x->p < x->end && name_char(*x->p, false)) x->p++;
  out->len = (size_t)(x->p - out->s);
  return LRQK_OK;
}
