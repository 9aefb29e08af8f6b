/* value.c - see value.h: memory and bounds, text, and what every kind of value can do. */
#include "jinja/value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "jinja/lexer.h"

/* ---- bounds ---- */

bool run_fail(struct run *r, const char *fmt, ...) {
  char text[768];
  va_list ap;
  if (r->status != LRQK_OK) return false;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  r->status = fail(&r->j->log, LRQK_USAGE, "%s: line %u: %s", r->j->name, r->line, text);
  return false;
}

static bool run_memory(struct run *r) {
  if (r->status == LRQK_OK) r->status = fail(&r->j->log, LRQK_MEMORY, "%s: out of memory", r->j->name);
  return false;
}

static bool take_bytes(struct run *r, size_t n, size_t size) {
  if (size && n > (r->max_bytes - r->bytes) / size)
    return run_fail(r, "the template takes more than %zu bytes of memory", r->max_bytes);
  r->bytes += n * size;
  return true;
}

void *run_alloc(struct run *r, size_t n, size_t size) {
  if (!take_bytes(r, n, size)) return NULL;
  void *p = arena_alloc(&r->arena, n, size);
  if (!p) run_memory(r);
  return p;
}

bool run_step(struct run *r, size_t n) {
  r->steps += n;
  return r->steps <= r->max_steps || run_fail(r, "the template takes more than %llu steps", (unsigned long long)r->max_steps);
}

/* ---- growing text ---- */

bool buffer_add(struct run *r, struct buffer *b, struct str s) {
  if (!s.len) return true;
  if (b->cap - b->n < s.len) {
    size_t cap = 2 * b->cap + s.len + 256;
    if (!take_bytes(r, cap - b->cap, 2)) return false;
    char *p = mem_realloc(b->s, cap, 1);
    if (p) b->s = p;
    uint8_t *o = mem_realloc(b->o, cap, 1);
    if (o) b->o = o;
    if (!p || !o) return run_memory(r);
    b->cap = cap;
  }
  memcpy(b->s + b->n, s.s, s.len);
  if (s.o) memcpy(b->o + b->n, s.o, s.len);
  else memset(b->o + b->n, JINJA_TEMPLATE, s.len);
  b->n += s.len;
  return true;
}

void buffer_free(struct buffer *b) {
  mem_free(b->s);
  mem_free(b->o);
  *b = (struct buffer){ 0 };
}

bool buffer_take(struct run *r, struct buffer *b, struct str *out) {
  char *s = run_alloc(r, b->n + 1, 2);
  if (s && b->n) {
    memcpy(s, b->s, b->n);
    memcpy(s + b->n, b->o, b->n);
  }
  *out = (struct str){ s, (const uint8_t *)s + b->n, b->n };
  r->bytes -= 2 * b->cap;
  buffer_free(b);
  return s != NULL;
}

static bool add_text(struct run *r, struct buffer *b, const char *text) { return buffer_add(r, b, str_text(text)); }

/* A float as Python's repr: the fewest digits that give it again. */
static void float_text(double f, char out[40]) {
  if (!isfinite(f)) { strcpy(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf"); return; }
  int digits = 1;
  do snprintf(out, 40, "%.*e", digits - 1, f); while (strtod(out, NULL) != f && ++digits <= 17);
  int exponent = atoi(strchr(out, 'e') + 1);
  if (exponent < -4 || exponent >= 16) {
    snprintf(out, 40, "%.*e", digits - 1, f);        /* at least two digits of exponent, as Python has them */
    return;
  }
  snprintf(out, 40, "%.*f", digits - 1 - exponent > 0 ? digits - 1 - exponent : 0, f);
  if (!strchr(out, '.')) strcat(out, ".0");
}

bool buffer_value(struct run *r, struct buffer *b, const struct value *v) {
  char text[40];
  switch (v->type) {
    case V_UNDEFINED: return true;
    case V_NONE: return add_text(r, b, "None");
    case V_BOOL: return add_text(r, b, v->i ? "True" : "False");
    case V_INT: snprintf(text, sizeof text, "%lld", (long long)v->i); return add_text(r, b, text);
    case V_FLOAT: float_text(v->f, text); return add_text(r, b, text);
    case V_STRING: return buffer_add(r, b, v->s);
    case V_LIST: case V_DICT: return buffer_repr(r, b, v, 0);
    default: return run_fail(r, "the text of %s is not covered", value_kind(v));
  }
}

static bool string_repr(struct run *r, struct buffer *b, struct str s) {
  bool single = memchr(s.s, '\'', s.len) != NULL, other = memchr(s.s, '"', s.len) != NULL;
  const char *quote = single && !other ? "\"" : "'";
  if (!add_text(r, b, quote)) return false;
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.s[i];
    char text[8];
    snprintf(text, sizeof text, c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : c == '\\' || c == (unsigned char)*quote ?
        "\\%c" : "\\x%02x", c);
    bool escape = c < 32 || c == 127 || c == '\\' || c == (unsigned char)*quote;
    struct str one = str_part(s, i, i + 1);
    uint8_t o[8];
    memset(o, one.o ? *one.o : JINJA_TEMPLATE, sizeof o);
    if (!buffer_add(r, b, escape ? (struct str){ text, o, strlen(text) } : one)) return false;
  }
  return add_text(r, b, quote);
}

enum { MAX_LEVELS = 50 };

bool buffer_repr(struct run *r, struct buffer *b, const struct value *v, int depth) {
  if (v->type == V_STRING) return string_repr(r, b, v->s);
  if (v->type != V_LIST && v->type != V_DICT) return v->type == V_UNDEFINED ? add_text(r, b, "Undefined") : buffer_value(r, b, v);
  if (depth == MAX_LEVELS) return run_fail(r, "a value has more than %d levels", MAX_LEVELS);
  bool list = v->type == V_LIST, tuple = list && v->list->tuple;
  size_t n = list ? v->list->n : v->dict->n;
  if (!run_step(r, n + 1) || !add_text(r, b, tuple ? "(" : list ? "[" : "{")) return false;
  for (size_t i = 0; i < n; i++) {
    if (i && !add_text(r, b, ", ")) return false;
    if (!list && (!buffer_repr(r, b, &v->dict->k[i], depth + 1) || !add_text(r, b, ": "))) return false;
    if (!buffer_repr(r, b, list ? &v->list->v[i] : &v->dict->v[i], depth + 1)) return false;
  }
  return add_text(r, b, tuple ? n == 1 ? ",)" : ")" : list ? "]" : "}");
}

/* ---- JSON ---- */

static bool json_string(struct run *r, struct buffer *b, struct str s) {
  if (!add_text(r, b, "\"")) return false;
  for (size_t i = 0, from = 0; i <= s.len; i++) {
    unsigned char c = i < s.len ? (unsigned char)s.s[i] : 0;
    static const char plain[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    const char *known = c ? strchr(plain, c) : NULL;
    if (i < s.len && c >= 32 && !known) continue;
    if (!buffer_add(r, b, str_part(s, from, i))) return false;
    if (i == s.len) break;
    char text[8];
    uint8_t o[8];
    memset(o, s.o ? s.o[i] : JINJA_TEMPLATE, sizeof o);
    if (known) snprintf(text, sizeof text, "\\%c", letters[known - plain]);
    else snprintf(text, sizeof text, "\\u%04x", c);
    if (!buffer_add(r, b, (struct str){ text, o, strlen(text) })) return false;
    from = i + 1;
  }
  return add_text(r, b, "\"");
}

static bool json_line(struct run *r, struct buffer *b, int indent, int depth) {
  if (indent < 0) return true;
  if (!add_text(r, b, "\n")) return false;
  for (int i = 0; i < indent * depth; i++) if (!add_text(r, b, " ")) return false;
  return true;
}

bool value_json(struct run *r, struct buffer *b, const struct value *v, int indent, int depth) {
  char text[40];
  if (!run_step(r, 1)) return false;
  switch (v->type) {
    case V_NONE: return add_text(r, b, "null");
    case V_BOOL: return add_text(r, b, v->i ? "true" : "false");
    case V_STRING: return json_string(r, b, v->s);
    case V_FLOAT:
      float_text(v->f, text);
      return add_text(r, b, isnan(v->f) ? "NaN" : isinf(v->f) ? (v->f < 0 ? "-Infinity" : "Infinity") : text);
    case V_INT: return buffer_value(r, b, v);
    case V_LIST: case V_DICT: break;
    default: return run_fail(r, "tojson: %s is no JSON", value_kind(v));
  }
  bool list = v->type == V_LIST;
  size_t n = list ? v->list->n : v->dict->n;
  if (depth == MAX_LEVELS) return run_fail(r, "a value has more than %d levels", MAX_LEVELS);
  if (!n) return add_text(r, b, list ? "[]" : "{}");
  if (!add_text(r, b, list ? "[" : "{")) return false;
  for (size_t i = 0; i < n; i++) {
    if ((i && !add_text(r, b, indent < 0 ? ", " : ",")) || !json_line(r, b, indent, depth + 1)) return false;
    const struct value *k = list ? NULL : &v->dict->k[i];
    if (k && k->type != V_STRING) return run_fail(r, "tojson: a key that is %s is not covered", value_kind(k));
    if (k && (!json_string(r, b, k->s) || !add_text(r, b, ": "))) return false;
    if (!value_json(r, b, list ? &v->list->v[i] : &v->dict->v[i], indent, depth + 1)) return false;
  }
  return json_line(r, b, indent, depth) && add_text(r, b, list ? "]" : "}");
}

/* ---- text ---- */

struct str str_text(const char *s) { return (struct str){ s, NULL, strlen(s) }; }
struct str str_part(struct str s, size_t from, size_t to) { return (struct str){ s.s + from, s.o ? s.o + from : NULL, to - from }; }
bool str_is(struct str s, const char *text) { return s.len == strlen(text) && !memcmp(s.s, text, s.len); }

int str_compare(struct str a, struct str b) {   /* UTF-8 sorts as its code points do */
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.s, b.s, n) : 0;
  return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

size_t str_length(struct str s) {
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.s[i] & 0xc0) != 0x80;
  return n;
}

size_t str_offset(struct str s, size_t chars) {
  size_t i = 0;
  for (; i < s.len; i++) {
    if (((unsigned char)s.s[i] & 0xc0) == 0x80) continue;
    if (!chars--) break;
  }
  return i;
}

size_t str_find(struct str s, struct str part, size_t from) {
  if (from > s.len) return SIZE_MAX;
  const char *p = part.len ? memmem(s.s + from, s.len - from, part.s, part.len) : s.s + from;
  return p ? (size_t)(p - s.s) : SIZE_MAX;
}

/* Bytes of the character at the beginning (or the end) of s, if it is one of those to be stripped. */
static size_t stripped(struct str s, bool end, const struct str *chars) {
  if (!chars) return end ? space_before(s.s, s.len) : space_length(s.s, s.len);
  size_t n = s.len ? 1 : 0;
  if (end) while (n && n < s.len && ((unsigned char)s.s[s.len - n] & 0xc0) == 0x80) n++;
  else while (n && n < s.len && ((unsigned char)s.s[n] & 0xc0) == 0x80) n++;
  return n && str_find(*chars, end ? str_part(s, s.len - n, s.len) : str_part(s, 0, n), 0) != SIZE_MAX ? n : 0;
}

struct str str_strip(struct str s, bool left, bool right, const struct str *chars) {
  for (size_t n; left && (n = stripped(s, false, chars)); ) s = str_part(s, n, s.len);
  for (size_t n; right && (n = stripped(s, true, chars)); ) s.len -= n;
  return s;
}

/* ---- values ---- */

struct value value_none(void) { return (struct value){ .type = V_NONE }; }
struct value value_bool(bool b) { return (struct value){ .type = V_BOOL, .i = b }; }
struct value value_int(int64_t i) { return (struct value){ .type = V_INT, .i = i }; }
struct value value_str(struct str s) { return (struct value){ .type = V_STRING, .s = s }; }
struct value value_undefined(struct str what) { return (struct value){ .type = V_UNDEFINED, .s = what }; }

const char *value_kind(const struct value *v) {
  static const char *const names[] = { "an undefined value", "none", "a boolean", "an integer", "a float", "a text", "a list", "a dict",
      "a namespace",
                                       "a loop", "a macro", "a function" };
  return names[v->type];
}

bool value_text(struct run *r, const struct value *v, struct str *out) {
  struct buffer b = { 0 };
  if (v->type == V_STRING) { *out = v->s; return true; }
  if (buffer_value(r, &b, v)) return buffer_take(r, &b, out);
  buffer_free(&b);
  return false;
}

bool value_list(struct run *r, struct value *out) {
  struct list *l = run_alloc(r, 1, sizeof *l);
  *out = (struct value){ .type = V_LIST, .list = l };
  return l != NULL;
}

bool list_add(struct run *r, struct list *l, struct value v) {
  if (l->n == l->cap) {
    size_t cap = 2 * l->cap + 4;
    struct value *p = run_alloc(r, cap, sizeof *p);
    if (!p) return false;
    if (l->n) memcpy(p, l->v, l->n * sizeof *p);
    l->v = p;
    l->cap = cap;
  }
  l->v[l->n++] = v;
  return run_step(r, 1);
}

const struct value *dict_get(const struct dict *d, struct str key) {
  for (size_t i = 0; i < d->n; i++) {
    if (d->k[i].type == V_STRING && d->k[i].s.len == key.len && !memcmp(d->k[i].s.s, key.s, key.len)) return &d->v[i];
  }
  return NULL;
}

bool dict_set(struct run *r, struct dict *d, struct value k, struct value v) {
  if (!run_step(r, d->n + 1)) return false;
  for (size_t i = 0; i < d->n; i++) {
    bool same;
    if (!value_equal(r, &d->k[i], &k, &same)) return false;
    if (!same) continue;
    d->v[i] = v;
    return true;
  }
  if (d->n == d->cap) {
    size_t cap = 2 * d->cap + 4;
    struct value *p = run_alloc(r, 2 * cap, sizeof *p);
    if (!p) return false;
    if (d->n) {
      memcpy(p, d->k, d->n * sizeof *p);
      memcpy(p + cap, d->v, d->n * sizeof *p);
    }
    d->k = p;
    d->v = p + cap;
    d->cap = cap;
  }
  d->k[d->n] = k;
  d->v[d->n++] = v;
  return true;
}

bool value_true(const struct value *v) {
  switch (v->type) {
    case V_UNDEFINED: case V_NONE: return false;
    case V_BOOL: case V_INT: return v->i != 0;
    case V_FLOAT: return v->f != 0;
    case V_STRING: return v->s.len > 0;
    case V_LIST: return v->list->n > 0;
    case V_DICT: return v->dict->n > 0;
    default: return true;
  }
}

bool value_number(const struct value *v, double *out) {
  if (v->type == V_FLOAT) *out = v->f;
  else if (v->type == V_INT || v->type == V_BOOL) *out = (double)v->i;
  else return false;
  return true;
}

static bool whole(const struct value *v) { return v->type == V_INT || v->type == V_BOOL; }

bool value_equal(struct run *r, const struct value *a, const struct value *b, bool *out) {
  double x, y;
  *out = false;
  if (!run_step(r, 1)) return false;
  if (whole(a) && whole(b)) *out = a->i == b->i;
  else if (value_number(a, &x) && value_number(b, &y)) *out = x == y;
  else if (a->type != b->type) *out = false;
  else if (a->type == V_STRING) *out = a->s.len == b->s.len && !str_compare(a->s, b->s);
  else if (a->type == V_NONE || a->type == V_UNDEFINED) *out = true;
  else if (a->type == V_LIST && a->list != b->list) {
    const struct list *p = a->list, *q = b->list;
    *out = p->n == q->n && p->tuple == q->tuple;
    if (r->depth++ > MAX_CALLS) return run_fail(r, "values are nested too deeply");
    for (size_t i = 0; *out && i < p->n; i++) if (!value_equal(r, &p->v[i], &q->v[i], out)) return false;
    r->depth--;
  } else if (a->type == V_DICT && a->dict != b->dict) {
    *out = a->dict->n == b->dict->n;
    if (r->depth++ > MAX_CALLS) return run_fail(r, "values are nested too deeply");
    for (size_t i = 0; *out && i < a->dict->n; i++) {
      bool found = false;
      for (size_t k = 0; !found && k < b->dict->n; k++) {
        if (!value_equal(r, &a->dict->k[i], &b->dict->k[k], &found)) return false;
        if (found && !value_equal(r, &a->dict->v[i], &b->dict->v[k], out)) return false;
      }
      *out = *out && found;
    }
    r->depth--;
  } else *out = a->type == V_FUNCTION ? a->function == b->function : a->list == b->list;
  return true;
}

bool value_less(struct run *r, const struct value *a, const struct value *b, bool *out) {
  double x, y;
  if (!run_step(r, 1)) return false;
  if (whole(a) && whole(b)) *out = a->i < b->i;
  else if (value_number(a, &x) && value_number(b, &y)) *out = x < y;
  else if (a->type == V_STRING && b->type == V_STRING) *out = str_compare(a->s, b->s) < 0;
  else return run_fail(r, "%s and %s have no order", value_kind(a), value_kind(b));
  return true;
}

bool value_contains(struct run *r, const struct value *all, const struct value *one, bool *out) {
  *out = false;
  switch (all->type) {
    case V_UNDEFINED: return true;
    case V_STRING:
      if (one->type != V_STRING) return run_fail(r, "%s in a text", value_kind(one));
      *out = str_find(all->s, one->s, 0) != SIZE_MAX;
      return run_step(r, 1 + all->s.len / 64);
    case V_LIST:
      for (size_t i = 0; !*out && i < all->list->n; i++) if (!value_equal(r, &all->list->v[i], one, out)) return false;
      return true;
    case V_DICT:
      for (size_t i = 0; !*out && i < all->dict->n; i++) if (!value_equal(r, &all->dict->k[i], one, out)) return false;
      return true;
    default: return run_fail(r, "nothing is in %s", value_kind(all));
  }
}

bool value_items(struct run *r, const struct value *v, struct list **out) {
  struct value l;
  if (v->type == V_LIST) { *out = v->list; return true; }
  if (v->type != V_UNDEFINED && v->type != V_STRING && v->type != V_DICT) return run_fail(r, "%s has no items to go through",
      value_kind(v));
  if (!value_list(r, &l)) return false;
  *out = l.list;
  if (v->type == V_DICT) {
    for (size_t i = 0; i < v->dict->n; i++) if (!list_add(r, l.list, v->dict->k[i])) return false;
  } else if (v->type == V_STRING) {
    for (size_t i = 0, n; i < v->s.len; i += n) {
      n = 1;
      while (i + n < v->s.len && ((unsigned char)v->s.s[i + n] & 0xc0) == 0x80) n++;
      if (!list_add(r, l.list, value_str(str_part(v->s, i, i + n)))) return false;
    }
  }
  return true;
}

/* ---- arguments ---- */

const struct value *args_get(const struct args *a, size_t i, const char *name) {
  if (i < a->n) return &a->v[i];
  for (size_t k = 0; name && k < a->n_named; k++) if (str_is(a->named[k].name, name)) return &a->named[k].v;
  return NULL;
}

bool args_check(struct run *r, const struct args *a, const char *what, size_t least, size_t most, const char *names) {
  for (size_t i = 0; i < a->n_named; i++) {
    struct str name = a->named[i].name;
    const char *p = names;
    while (p && *p && (strncmp(p, name.s, name.len) || (p[name.len] && p[name.len] != ' '))) p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL;
    if (!p || !*p) return run_fail(r, "%s: the argument %.*s is not covered", what, (int)(name.len < 40 ? name.len : 40), name.s);
  }
  if (a->n + a->n_named < least) return run_fail(r, "%s: %zu argument%s, expected %zu", what, a->n + a->n_named, a->n == 1 ? "" : "s",
      least);
  return a->n <= most || run_fail(r, "%s: %zu argument%s, at most %zu are covered", what, a->n, a->n == 1 ? "" : "s", most);
}
