/* filters.c - the filters that are covered, one function each or a few of a kind, in a table.  Called by eval.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/strings.h"

struct call { struct run *r; const char *name; const struct value *v; const struct args *a; struct value *out; };

/* ---- of texts ---- */

static bool f_trim(struct call *c) {
  struct str s, chars;
  if (!value_text(c->r, c->v, &s) || !arg_text(c->r, c->a, 0, "chars", c->name, (struct str){ 0 }, &chars)) return false;
  *c->out = value_str(str_strip(s, true, true, chars.s ? &chars : NULL));
  return run_step(c->r, 1 + s.len / 64);
}

static bool f_case(struct call *c) {
  struct str s;
  enum text_case how = *c->name == 'l' ? CASE_LOWER : *c->name == 'u' ? CASE_UPPER : *c->name == 'c' ? CASE_CAPITALIZE : CASE_TITLE_FILTER;
  return value_text(c->r, c->v, &s) && text_case(c->r, c->name, s, how, c->out);
}

static bool f_replace(struct call *c) {
  struct str s, old, new;
  int64_t most;
  return value_text(c->r, c->v, &s) && arg_text(c->r, c->a, 0, "old", c->name, str_text(""), &old) &&
         arg_text(c->r, c->a, 1, "new", c->name, str_text(""), &new) && arg_int(c->r, c->a, 2, "count", c->name, -1, &most) &&
         text_replace(c->r, s, old, new, most, c->out);
}

static bool f_string(struct call *c) {
  *c->out = value_str(str_text(""));
  return value_text(c->r, c->v, &c->out->s);
}

static bool f_safe(struct call *c) {
  *c->out = *c->v;
  return true;
}

static bool f_indent(struct call *c) {
  struct str s, between = { 0 };
  struct value lines;
  int64_t width, first, blank;
  const struct value *w = args_get(c->a, 0, "width");
  if (!value_text(c->r, c->v, &s) || !arg_int(c->r, c->a, 1, "first", c->name, 0, &first) || !arg_int(c->r, c->a, 2, "blank", c->name, 0,
      &blank)) return false;
  if (w && w->type == V_STRING) between = w->s;
  else {
    if (!arg_int(c->r, c->a, 0, "width", c->name, 4, &width)) return false;
    if (width < 0 || width > 1000) return run_fail(c->r, "indent: the width is out of range");
    char *spaces = run_alloc(c->r, (size_t)width + 1, 1);
    if (!spaces) return false;
    memset(spaces, ' ', (size_t)width);
    between = (struct str){ spaces, NULL, (size_t)width };
  }
  struct str newline = str_text("\n");
  if (!text_split(c->r, s, &newline, -1, false, &lines)) return false;
  struct buffer b = { 0 };
  bool ok = true;
  for (size_t i = 0; ok && i < lines.list->n; i++) {
    struct str line = lines.list->v[i].s;
    if (i) ok = buffer_add(c->r, &b, newline);
    if (ok && (i ? line.len || blank : first)) ok = buffer_add(c->r, &b, between);
    ok = ok && buffer_add(c->r, &b, line);
  }
  *c->out = value_str(s);
  if (ok) return buffer_take(c->r, &b, &c->out->s);
  buffer_free(&b);
  return false;
}

static bool f_tojson(struct call *c) {
  struct buffer b = { 0 };
  int64_t indent;
  const struct value *given = args_get(c->a, 0, "indent");
  if (given && given->type == V_NONE) indent = -1;
  else if (!arg_int(c->r, c->a, 0, "indent", c->name, -1, &indent)) return false;
  if (indent > 16) return run_fail(c->r, "tojson: the indent is out of range");
  *c->out = value_str(str_text(""));
  if (value_json(c->r, &b, c->v, (int)indent, 0)) return buffer_take(c->r, &b, &c->out->s);
  buffer_free(&b);
  return false;
}

/* ---- of numbers ---- */

static bool f_int(struct call *c) {
  double f;
  const struct value *none = args_get(c->a, 0, "default");
  *c->out = none ? *none : value_int(0);
  if (c->v->type == V_STRING) {
    struct str s = str_strip(c->v->s, true, true, NULL);
    char text[32], *end;
    if (!s.len || s.len >= sizeof text) return true;
    memcpy(text, s.s, s.len);
    text[s.len] = 0;
    if (strspn(text, "+-0123456789.eE") != s.len) return true;
    f = strtod(text, &end);
    if (*end || end == text) return true;
    if (!strpbrk(text, ".eE")) { *c->out = value_int(strtoll(text, NULL, 10)); return true; }
  } else if (c->v->type == V_INT || c->v->type == V_BOOL) {
    *c->out = value_int(c->v->i);
    return true;
  } else if (!value_number(c->v, &f)) return true;
  if (fabs(f) < 9e18) *c->out = value_int((int64_t)f);
  return true;
}

static bool f_float(struct call *c) {
  double f = 0;
  const struct value *none = args_get(c->a, 0, "default");
  *c->out = none ? *none : (struct value){ .type = V_FLOAT };
  if (c->v->type == V_STRING) {
    struct str s = str_strip(c->v->s, true, true, NULL);
    char text[40], *end;
    if (!s.len || s.len >= sizeof text) return true;
    memcpy(text, s.s, s.len);
    text[s.len] = 0;
    if (strspn(text, "+-0123456789.eE") != s.len) return true;
    f = strtod(text, &end);
    if (*end) return true;
  } else if (!value_number(c->v, &f)) return true;
  *c->out = (struct value){ .type = V_FLOAT, .f = f };
  return true;
}

static bool f_abs(struct call *c) {
  *c->out = *c->v;
  if (c->v->type == V_FLOAT) c->out->f = fabs(c->v->f);
  else if (c->v->type != V_INT || c->v->i == INT64_MIN) return run_fail(c->r, "abs of %s", value_kind(c->v));
  else if (c->v->i < 0) c->out->i = -c->v->i;
  return true;
}

/* ---- of anything ---- */

static bool f_default(struct call *c) {
  const struct value *d = args_get(c->a, 0, "default_value"), *b = args_get(c->a, 1, "boolean");
  bool missing = c->v->type == V_UNDEFINED || (b && value_true(b) && !value_true(c->v));
  *c->out = !missing ? *c->v : d ? *d : value_str(str_text(""));
  return true;
}

static bool f_length(struct call *c) {
  size_t n = 0;
  switch (c->v->type) {
    case V_UNDEFINED: break;
    case V_STRING: n = str_length(c->v->s); break;
    case V_LIST: n = c->v->list->n; break;
    case V_DICT: n = c->v->dict->n; break;
    default: return run_fail(c->r, "%s has no length", value_kind(c->v));
  }
  *c->out = value_int((int64_t)n);
  return run_step(c->r, 1);
}

/* What map and select go through: nothing where the value is false, as none is. */
static bool any_items(struct call *c, struct list **out) {
  struct value l;
  if (value_true(c->v)) return value_items(c->r, c->v, out);
  if (!value_list(c->r, &l)) return false;
  *out = l.list;
  return true;
}

static bool copy_items(struct call *c, struct list **out) {
  struct list *items;
  struct value l;
  if (!value_items(c->r, c->v, &items) || !value_list(c->r, &l)) return false;
  for (size_t i = 0; i < items->n; i++) if (!list_add(c->r, l.list, items->v[i])) return false;
  *c->out = l;
  *out = l.list;
  return true;
}

static bool f_list(struct call *c) {
  struct list *l;
  return copy_items(c, &l);
}

static bool f_ends(struct call *c) {   /* first, last */
  struct list *l;
  if (!value_items(c->r, c->v, &l)) return false;
  *c->out = l->n ? l->v[*c->name == 'f' ? 0 : l->n - 1] : value_undefined(str_text("an item of an empty list"));
  return true;
}

static bool f_reverse(struct call *c) {
  struct list *l;
  if (!copy_items(c, &l)) return false;
  for (size_t i = 0; i < l->n / 2; i++) {
    struct value v = l->v[i];
    l->v[i] = l->v[l->n - 1 - i];
    l->v[l->n - 1 - i] = v;
  }
  return c->v->type != V_STRING || text_join(c->r, l, str_text(""), true, c->out);
}

/* The attribute a.b.0 of a value. */
static bool attribute(struct run *r, const struct value *v, const struct value *path, struct value *out) {
  *out = *v;
  if (path->type == V_INT) return value_item(r, v, path, out);
  if (path->type != V_STRING) return run_fail(r, "an attribute is named by a text, found %s", value_kind(path));
  for (size_t from = 0, to; from <= path->s.len; from = to + 1) {
    struct value self = *out;
    to = str_find(path->s, str_text("."), from);
    if (to == SIZE_MAX) to = path->s.len;
    struct str name = str_part(path->s, from, to);
    bool number = name.len && name.len < 10;
    int64_t index = 0;
    for (size_t i = 0; i < name.len; i++) {
      number = number && name.s[i] >= '0' && name.s[i] <= '9';
      index = number ? index * 10 + (name.s[i] - '0') : 0;
    }
    struct value key = number ? value_int(index) : value_str(name);
    if (!value_item(r, &self, &key, out)) return false;
    if (out->type == V_UNDEFINED) break;
  }
  return true;
}

static bool f_join(struct call *c) {
  struct str between;
  struct list *l;
  const struct value *path = args_get(c->a, 1, "attribute");
  if (!arg_text(c->r, c->a, 0, "d", c->name, str_text(""), &between) || !copy_items(c, &l)) return false;
  for (size_t i = 0; path && i < l->n; i++) {
    struct value v;
    if (!attribute(c->r, &l->v[i], path, &v)) return false;
    l->v[i] = v;
  }
  return text_join(c->r, l, between, true, c->out);
}

/* What values are ordered and compared by where case does not count. */
static bool folded(struct run *r, const struct value *v, bool as_is, struct value *out) {
  *out = *v;
  return as_is || v->type != V_STRING || text_case(r, "the order without case", v->s, CASE_LOWER, out);
}

static bool f_items(struct call *c) {
  if (c->v->type == V_UNDEFINED) return value_list(c->r, c->out);
  if (c->v->type != V_DICT) return run_fail(c->r, "%s: %s is no dict", c->name, value_kind(c->v));
  if (!dict_list(c->r, c->v->dict, true, true, c->out)) return false;
  if (*c->name == 'i') return true;
  struct list *l = c->out->list;              /* dictsort: by key, without case */
  struct value *keys = run_alloc(c->r, l->n + 1, sizeof *keys);
  if (!keys) return false;
  for (size_t i = 0; i < l->n; i++) if (!folded(c->r, &l->v[i].list->v[0], false, &keys[i])) return false;
  return list_order(c->r, l, keys, false);
}

static bool f_sort(struct call *c) {
  struct list *l;
  int64_t descending, with_case;
  const struct value *path = args_get(c->a, 2, "attribute");
  if (!arg_int(c->r, c->a, 0, "reverse", c->name, 0, &descending) || !arg_int(c->r, c->a, 1, "case_sensitive", c->name, 0, &with_case) ||
      !copy_items(c, &l)) return false;
  struct value *keys = run_alloc(c->r, l->n + 1, sizeof *keys);
  if (!keys) return false;
  for (size_t i = 0; i < l->n; i++) {
    struct value v = l->v[i];
    if ((path && !attribute(c->r, &l->v[i], path, &v)) || !folded(c->r, &v, with_case, &keys[i])) return false;
  }
  return list_order(c->r, l, keys, descending);
}

static bool f_unique(struct call *c) {
  struct list *l;
  struct value seen, kept;
  if (!value_items(c->r, c->v, &l) || !value_list(c->r, &seen) || !value_list(c->r, &kept)) return false;
  for (size_t i = 0; i < l->n; i++) {
    struct value key;
    bool known;
    if (!folded(c->r, &l->v[i], false, &key) || !value_contains(c->r, &seen, &key, &known)) return false;
    if (!known && (!list_add(c->r, seen.list, key) || !list_add(c->r, kept.list, l->v[i]))) return false;
  }
  *c->out = kept;
  return true;
}

static bool f_extreme(struct call *c) {   /* min, max */
  struct list *l;
  if (!value_items(c->r, c->v, &l)) return false;
  *c->out = l->n ? l->v[0] : value_undefined(str_text("an item of an empty list"));
  for (size_t i = 1; i < l->n; i++) {
    bool less;
    struct value a, b;
    if (!folded(c->r, &l->v[i], false, &a) || !folded(c->r, c->out, false, &b)) return false;
    if (!(c->name[1] == 'i' ? value_less(c->r, &a, &b, &less) : value_less(c->r, &b, &a, &less))) return false;
    if (less) *c->out = l->v[i];
  }
  return true;
}

/* ---- over lists ---- */

/* The arguments behind the first `skip`. */
static struct args *rest(struct run *r, const struct args *a, size_t skip) {
  struct args *b = run_alloc(r, 1, sizeof *b);
  for (size_t i = skip; b && i < a->n; i++) b->v[b->n++] = a->v[i];
  return b;
}

static bool f_map(struct call *c) {
  struct list *l;
  struct value mapped;
  const struct value *path = args_get(c->a, MAX_ARGS, "attribute"), *none = args_get(c->a, MAX_ARGS, "default");
  if (!any_items(c, &l) || !value_list(c->r, &mapped)) return false;
  if (!path && (!c->a->n || c->a->v[0].type != V_STRING)) return run_fail(c->r, "map takes the name of a filter or attribute=");
  struct args *b = path ? NULL : rest(c->r, c->a, 1);
  if (!path && !b) return false;
  for (size_t i = 0; i < l->n; i++) {
    struct value v;
    if (!(path ? attribute(c->r, &l->v[i], path, &v) : filter_apply(c->r, c->a->v[0].s, &l->v[i], b, &v))) return false;
    if (!list_add(c->r, mapped.list, path && none && v.type == V_UNDEFINED ? *none : v)) return false;
  }
  *c->out = mapped;
  return true;
}

static bool f_select(struct call *c) {   /* select, reject, selectattr, rejectattr */
  bool by_attribute = strlen(c->name) > 6, keep = *c->name == 's';
  size_t at = by_attribute;
  struct list *l;
  struct value kept;
  if (!any_items(c, &l) || !value_list(c->r, &kept)) return false;
  if (by_attribute && !c->a->n) return run_fail(c->r, "%s takes the name of an attribute", c->name);
  bool test = c->a->n > at;
  if (test && c->a->v[at].type != V_STRING) return run_fail(c->r, "%s takes the name of a test", c->name);
  struct args *b = rest(c->r, c->a, at + 1);
  if (!b) return false;
  for (size_t i = 0; i < l->n; i++) {
    struct value v = l->v[i];
    if (by_attribute && !attribute(c->r, &l->v[i], &c->a->v[0], &v)) return false;
    bool yes = value_true(&v);
    if (test && !test_apply(c->r, c->a->v[at].s, &v, b, &yes)) return false;
    if (yes == keep && !list_add(c->r, kept.list, l->v[i])) return false;
  }
  *c->out = kept;
  return true;
}

/* ---- the table ---- */

static const struct {
  const char *name;
  bool (*fn)(struct call *c);
  size_t least, most;           /* arguments without names */
  const char *named;
} filters[] = {
  { "abs", f_abs, 0, 0, "" },
  { "capitalize", f_case, 0, 0, "" },
  { "count", f_length, 0, 0, "" },
  { "d", f_default, 0, 2, "default_value boolean" },
  { "default", f_default, 0, 2, "default_value boolean" },
  { "dictsort", f_items, 0, 0, "" },
  { "first", f_ends, 0, 0, "" },
  { "float", f_float, 0, 1, "default" },
  { "indent", f_indent, 0, 3, "width first blank" },
  { "int", f_int, 0, 1, "default" },
  { "items", f_items, 0, 0, "" },
  { "join", f_join, 0, 2, "d attribute" },
  { "last", f_ends, 0, 0, "" },
  { "length", f_length, 0, 0, "" },
  { "list", f_list, 0, 0, "" },
  { "lower", f_case, 0, 0, "" },
  { "map", f_map, 0, MAX_ARGS, "attribute default" },
  { "max", f_extreme, 0, 0, "" },
  { "min", f_extreme, 0, 0, "" },
  { "reject", f_select, 0, MAX_ARGS, "" },
  { "rejectattr", f_select, 1, MAX_ARGS, "" },
  { "replace", f_replace, 2, 3, "old new count" },
  { "reverse", f_reverse, 0, 0, "" },
  { "safe", f_safe, 0, 0, "" },
  { "select", f_select, 0, MAX_ARGS, "" },
  { "selectattr", f_select, 1, MAX_ARGS, "" },
  { "sort", f_sort, 0, 3, "reverse case_sensitive attribute" },
  { "string", f_string, 0, 0, "" },
  { "title", f_case, 0, 0, "" },
  { "tojson", f_tojson, 0, 1, "indent" },
  { "trim", f_trim, 0, 1, "chars" },
  { "unique", f_unique, 0, 0, "" },
  { "upper", f_case, 0, 0, "" },
};

bool filter_apply(struct run *r, struct str name, const struct value *v, const struct args *a, struct value *out) {
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
    if (!str_is(name, filters[i].name)) continue;
    struct call c = { r, filters[i].name, v, a, out };
    if (r->depth++ > MAX_CALLS) return run_fail(r, "filters are nested too deeply");
    bool ok = args_check(r, a, c.name, filters[i].least, filters[i].most, filters[i].named) && filters[i].fn(&c);
    r->depth--;
    return ok;
  }
  return run_fail(r, "the filter %.*s is not covered", name.len < 40 ? (int)name.len : 40, name.s);
}
