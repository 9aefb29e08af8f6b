/* strings.c - see strings.h.  Called by filters.c and methods.c. */
#include "jinja/strings.h"

#include <string.h>

#include "jinja/lexer.h"
#include "jinja/operators.h"

/* ---- arguments ---- */

bool arg_text(struct run *r, const struct args *a, size_t i, const char *name, const char *what, struct str none, struct str *out) {
  const struct value *v = args_get(a, i, name);
  *out = none;
  if (!v || (v->type == V_NONE && !none.s)) return true;
  if (v->type != V_STRING) return run_fail(r, "%s: argument %zu is %s, expected a text", what, i + 1, value_kind(v));
  *out = v->s;
  return true;
}

bool arg_int(struct run *r, const struct args *a, size_t i, const char *name, const char *what, int64_t none, int64_t *out) {
  const struct value *v = args_get(a, i, name);
  *out = none;
  if (!v) return true;
  if (v->type != V_INT && v->type != V_BOOL) return run_fail(r, "%s: argument %zu is %s, expected an integer", what, i + 1, value_kind(v));
  *out = v->i;
  return true;
}

/* ---- upper and lower case ---- */

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool text_case(struct run *r, const char *what, struct str s, enum text_case how, struct value *out) {
  char *to = run_alloc(r, s.len + 1, 1);
  if (!to || !run_step(r, 1 + s.len / 64)) return false;
  bool start = true;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.s[i];
    if ((unsigned char)c >= 0x80) return run_fail(r, "%s of letters beyond ASCII is not covered", what);
    bool letter = upper(c) != c || lower(c) != c;
    to[i] = how == CASE_UPPER || (how != CASE_LOWER && start) ? upper(c) : lower(c);
    if (how == CASE_CAPITALIZE) start = false;
    else if (how == CASE_TITLE_METHOD) start = !letter;
    else start = strchr("-({[<", c) || space_length(&c, 1);
  }
  *out = value_str((struct str){ to, s.o, s.len });
  return true;
}

/* ---- parts ---- */

bool text_replace(struct run *r, struct str s, struct str old, struct str new, int64_t most, struct value *out) {
  struct buffer b = { 0 };
  size_t from = 0, at = 0;
  bool ok = true;
  *out = value_str(s);
  if (!old.len) return run_fail(r, "replace: an empty text is not covered");
  if (!run_step(r, 1 + s.len / 64)) return false;
  if (str_find(s, old, 0) == SIZE_MAX || !most) return true;
  for (; ok && most != 0 && (at = str_find(s, old, from)) != SIZE_MAX; most--) {
    ok = run_step(r, 1) && buffer_add(r, &b, str_part(s, from, at)) && buffer_add(r, &b, new);
    from = at + old.len;
  }
  ok = ok && buffer_add(r, &b, str_part(s, from, s.len));
  if (ok) return buffer_take(r, &b, &out->s);
  buffer_free(&b);
  return false;
}

static bool reverse_list(struct list *l) {
  for (size_t i = 0; i < l->n / 2; i++) {
    struct value v = l->v[i];
    l->v[i] = l->v[l->n - 1 - i];
    l->v[l->n - 1 - i] = v;
  }
  return true;
}

/* At white space, as Python's split() without an argument. */
static bool split_words(struct run *r, struct str s, int64_t most, struct list *l) {
  for (;;) {
    s = str_strip(s, true, false, NULL);
    if (!s.len) return true;
    if (most >= 0 && (int64_t)l->n == most) return list_add(r, l, value_str(s));
    size_t n = 0;
    while (n < s.len && !space_length(s.s + n, s.len - n)) n++;
    if (!list_add(r, l, value_str(str_part(s, 0, n)))) return false;
    s = str_part(s, n, s.len);
  }
}

static bool split_from_right(struct run *r, struct str s, struct str separator, int64_t most, struct list *l) {
  for (size_t i = s.len; most != 0 && i-- > 0; ) {
    if (s.len - i < separator.len || memcmp(s.s + i, separator.s, separator.len)) continue;
    if (!list_add(r, l, value_str(str_part(s, i + separator.len, s.len)))) return false;
    s.len = i;
    most--;
  }
  return list_add(r, l, value_str(s)) && reverse_list(l);
}

bool text_split(struct run *r, struct str s, const struct str *separator, int64_t most, bool from_right, struct value *out) {
  if (!value_list(r, out) || !run_step(r, 1 + s.len / 64)) return false;
  if (!separator && from_right) return run_fail(r, "rsplit without a separator is not covered");
  if (!separator) return split_words(r, s, most, out->list);
  if (!separator->len) return run_fail(r, "split: the separator is empty");
  if (from_right) return split_from_right(r, s, *separator, most, out->list);
  size_t from = 0, at = 0;
  for (; most != 0 && (at = str_find(s, *separator, from)) != SIZE_MAX; most--, from = at + separator->len) {
    if (!list_add(r, out->list, value_str(str_part(s, from, at)))) return false;
  }
  return list_add(r, out->list, value_str(str_part(s, from, s.len)));
}

bool text_lines(struct run *r, struct str s, bool keep_ends, struct value *out) {
  if (!value_list(r, out) || !run_step(r, 1 + s.len / 64)) return false;
  for (size_t from = 0, i = 0; i < s.len; ) {
    unsigned char c = (unsigned char)s.s[i];
    size_t n = c == '\r' && i + 1 < s.len && s.s[i + 1] == '\n' ? 2 : (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) ? 1 : 0;
    if (c == 0xc2 && i + 1 < s.len && (unsigned char)s.s[i + 1] == 0x85) n = 2;                          /* U+0085 */
    if (c == 0xe2 && i + 2 < s.len && s.s[i + 1] == '\x80' && (s.s[i + 2] == '\xa8' || s.s[i + 2] == '\xa9')) n = 3;   /* U+2028, U+2029 */
    i += n ? n : 1;
    if (!n && i < s.len) continue;
    if (!list_add(r, out->list, value_str(str_part(s, from, keep_ends ? i : i - n)))) return false;
    from = i;
  }
  return true;
}

bool text_join(struct run *r, const struct list *l, struct str between, bool as_text, struct value *out) {
  struct list parts = { 0 };
  for (size_t i = 0; i < l->n; i++) {
    struct str s;
    if (!as_text && l->v[i].type != V_STRING) return run_fail(r, "join: item %zu is %s, expected a text", i, value_kind(&l->v[i]));
    if (!value_text(r, &l->v[i], &s)) return false;
    if (i && between.len && !list_add(r, &parts, value_str(between))) return false;
    if (!list_add(r, &parts, value_str(s))) return false;
  }
  return operator_concat(r, parts.v, parts.n, out);
}

/* ---- order ---- */

/* Merges the sorted runs [a, b) and [b, c) of `at` (indices) into `to`. */
static bool merge_runs(struct run *r, const struct value *keys, bool descending, const size_t *at, size_t *to, size_t a, size_t b,
    size_t c) {
  for (size_t i = a, k = b, n = a; n < c; n++) {
    bool second = i == b;
    if (!second && k < c) {
      const struct value *x = &keys[at[i]], *y = &keys[at[k]];
      if (!(descending ? value_less(r, x, y, &second) : value_less(r, y, x, &second))) return false;
    }
    to[n] = second ? at[k++] : at[i++];
  }
  return true;
}

bool list_order(struct run *r, struct list *l, const struct value *keys, bool descending) {
  size_t *at = run_alloc(r, l->n + 1, sizeof *at), *to = run_alloc(r, l->n + 1, sizeof *to);
  struct value *sorted = run_alloc(r, l->n + 1, sizeof *sorted);
  if (!at || !to || !sorted) return false;
  for (size_t i = 0; i < l->n; i++) at[i] = i;
  for (size_t width = 1; width < l->n; width *= 2) {
    for (size_t a = 0; a < l->n; a += 2 * width) {
      size_t b = a + width < l->n ? a + width : l->n, c = a + 2 * width < l->n ? a + 2 * width : l->n;
      if (!merge_runs(r, keys, descending, at, to, a, b, c)) return false;
    }
    size_t *swap = at;
    at = to;
    to = swap;
  }
  for (size_t i = 0; i < l->n; i++) sorted[i] = l->v[at[i]];
  l->v = sorted;
  return true;
}
