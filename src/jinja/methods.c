/* methods.c - methods of texts, lists, dicts and loops, and the functions that every template has.  Called by eval.c. */
#include <string.h>
#include <time.h>

#include "jinja/operators.h"
#include "jinja/strings.h"

/* ---- methods of texts ---- */

static bool affix(struct run *r, struct str s, const struct value *v, bool end, bool *out) {
  if (v->type == V_LIST && v->list->tuple) {
    *out = false;
    for (size_t i = 0; i < v->list->n && !*out; i++) {
      if (v->list->v[i].type == V_LIST || !affix(r, s, &v->list->v[i], end, out)) return run_fail(r, "startswith and endswith take texts");
    }
    return true;
  }
  if (v->type != V_STRING) return run_fail(r, "startswith and endswith take texts, found %s", value_kind(v));
  *out = v->s.len <= s.len && !memcmp(end ? s.s + s.len - v->s.len : s.s, v->s.s, v->s.len);
  return true;
}

static int64_t position(struct str s, struct str part, bool last) {
  size_t at = str_find(s, part, 0);
  for (size_t next; last && at != SIZE_MAX && (next = str_find(s, part, at + 1)) != SIZE_MAX; ) at = next;
  return at == SIZE_MAX ? -1 : (int64_t)str_length(str_part(s, 0, at));
}

static int64_t count(struct str s, struct str part) {
  int64_t n = 0;
  for (size_t at = 0; part.len && (at = str_find(s, part, at)) != SIZE_MAX; at += part.len) n++;
  return part.len ? n : (int64_t)str_length(s) + 1;
}

static bool strip(struct run *r, struct str s, const char *name, const struct args *a, struct value *out) {
  struct str chars;
  if (!args_check(r, a, name, 0, 1, "") || !arg_text(r, a, 0, NULL, name, (struct str){ 0 }, &chars)) return false;
  *out = value_str(str_strip(s, *name != 'r', *name != 'l', chars.s ? &chars : NULL));
  return run_step(r, 1 + s.len / 64);
}

static bool split(struct run *r, struct str s, const char *name, const struct args *a, struct value *out) {
  struct str separator;
  int64_t most;
  if (!args_check(r, a, name, 0, 2, "sep maxsplit") || !arg_text(r, a, 0, "sep", name, (struct str){ 0 }, &separator) ||
      !arg_int(r, a, 1, "maxsplit", name, -1, &most)) return false;
  return text_split(r, s, separator.s ? &separator : NULL, most, *name == 'r', out);
}

/* Methods with one text as argument. */
static bool with_text(struct run *r, struct str s, const char *name, const struct args *a, struct value *out) {
  struct str t;
  if (!args_check(r, a, name, 1, 1, "") || !arg_text(r, a, 0, NULL, name, str_text(""), &t) || !run_step(r, 1 + s.len / 64)) return false;
  bool starts = t.len <= s.len && !memcmp(s.s, t.s, t.len), ends = t.len <= s.len && !memcmp(s.s + s.len - t.len, t.s, t.len);
  if (!strcmp(name, "count")) *out = value_int(count(s, t));
  else if (!strcmp(name, "removeprefix")) *out = value_str(starts ? str_part(s, t.len, s.len) : s);
  else if (!strcmp(name, "removesuffix")) *out = value_str(ends ? str_part(s, 0, s.len - t.len) : s);
  else *out = value_int(position(s, t, *name == 'r'));
  return true;
}

static bool replace(struct run *r, struct str s, const struct args *a, struct value *out) {
  struct str old, new;
  int64_t most;
  return args_check(r, a, "replace", 2, 3, "") && arg_text(r, a, 0, NULL, "replace", str_text(""), &old) &&
         arg_text(r, a, 1, NULL, "replace", str_text(""), &new) && arg_int(r, a, 2, NULL, "replace", -1, &most) &&
         text_replace(r, s, old, new, most, out);
}

static bool join(struct run *r, struct str s, const struct args *a, struct value *out) {
  struct list *items;
  return args_check(r, a, "join", 1, 1, "") && value_items(r, &a->v[0], &items) && text_join(r, items, s, false, out);
}

static bool is_digits(struct str s) {
  for (size_t i = 0; i < s.len; i++) if (s.s[i] < '0' || s.s[i] > '9') return false;
  return s.len > 0;
}

static bool text_method(struct run *r, struct str s, struct str name, const struct args *a, struct value *out) {
  static const struct { const char *name; enum text_case how; } cases[] = {
    { "lower", CASE_LOWER }, { "upper", CASE_UPPER }, { "capitalize", CASE_CAPITALIZE }, { "title", CASE_TITLE_METHOD } };
  static const char *const strips[] = { "strip", "lstrip", "rstrip" }, *const splits[] = { "split", "rsplit" };
  static const char *const texts[] = { "find", "rfind", "count", "removeprefix", "removesuffix" };
  for (size_t i = 0; i < 4; i++)
    if (str_is(name, cases[i].name)) return args_check(r, a, cases[i].name, 0, 0, "") && text_case(r, cases[i].name, s, cases[i].how, out);
  for (size_t i = 0; i < 3; i++) if (str_is(name, strips[i])) return strip(r, s, strips[i], a, out);
  for (size_t i = 0; i < 2; i++) if (str_is(name, splits[i])) return split(r, s, splits[i], a, out);
  for (size_t i = 0; i < 5; i++) if (str_is(name, texts[i])) return with_text(r, s, texts[i], a, out);
  if (str_is(name, "replace")) return replace(r, s, a, out);
  if (str_is(name, "join")) return join(r, s, a, out);
  if (str_is(name, "startswith") || str_is(name, "endswith")) {
    bool yes;
    if (!args_check(r, a, "startswith", 1, 1, "") || !affix(r, s, &a->v[0], str_is(name, "endswith"), &yes)) return false;
    *out = value_bool(yes);
    return true;
  }
  if (str_is(name, "splitlines")) {
    int64_t keep;
    return args_check(r, a, "splitlines", 0, 1, "keepends") && arg_int(r, a, 0, "keepends", "splitlines", 0, &keep) && text_lines(r, s,
        keep, out);
  }
  if (str_is(name, "isdigit")) {
    for (size_t i = 0; i < s.len; i++) if ((unsigned char)s.s[i] >= 0x80) return run_fail(r, "isdigit beyond ASCII is not covered");
    *out = value_bool(is_digits(s));
    return args_check(r, a, "isdigit", 0, 0, "");
  }
  return run_fail(r, "the method %.*s of a text is not covered", name.len < 40 ? (int)name.len : 40, name.s);
}

/* ---- methods of dicts, lists and loops ---- */

bool dict_list(struct run *r, const struct dict *d, bool keys, bool values, struct value *out) {
  if (!value_list(r, out)) return false;
  for (size_t i = 0; i < d->n; i++) {
    struct value v = keys ? d->k[i] : d->v[i];
    if (keys && values) {
      struct value pair;
      if (!value_list(r, &pair) || !list_add(r, pair.list, d->k[i]) || !list_add(r, pair.list, d->v[i])) return false;
      pair.list->tuple = true;
      v = pair;
    }
    if (!list_add(r, out->list, v)) return false;
  }
  return true;
}

static bool dict_method(struct run *r, const struct dict *d, struct str name, const struct args *a, struct value *out) {
  bool items = str_is(name, "items"), keys = str_is(name, "keys"), values = str_is(name, "values");
  if (items || keys || values) return args_check(r, a, "items", 0, 0, "") && dict_list(r, d, items || keys, items || values, out);
  if (!str_is(name, "get")) return run_fail(r, "the method %.*s of a dict is not covered", name.len < 40 ? (int)name.len : 40, name.s);
  if (!args_check(r, a, "get", 1, 2, "")) return false;
  struct value self = { .type = V_DICT, .dict = (struct dict *)d };
  bool there;
  if (!value_contains(r, &self, &a->v[0], &there)) return false;
  if (there) return value_item(r, &self, &a->v[0], out);
  *out = a->n > 1 ? a->v[1] : value_none();
  return true;
}

static bool list_method(struct run *r, const struct list *l, struct str name, const struct args *a, struct value *out) {
  bool index = str_is(name, "index"), counts = str_is(name, "count"), same;
  int64_t n = 0;
  if (str_is(name, "append") || str_is(name, "extend") || str_is(name, "insert") || str_is(name, "pop") || str_is(name, "remove"))
    return run_fail(r, "%.*s changes a list, which templates must not do", (int)name.len, name.s);
  if (!index && !counts) return run_fail(r, "the method %.*s of a list is not covered", name.len < 40 ? (int)name.len : 40, name.s);
  if (!args_check(r, a, index ? "index" : "count", 1, 1, "")) return false;
  for (size_t i = 0; i < l->n; i++) {
    if (!value_equal(r, &l->v[i], &a->v[0], &same)) return false;
    if (same && index) { *out = value_int((int64_t)i); return true; }
    n += same;
  }
  *out = value_int(n);
  return counts || run_fail(r, "index: the value is not in the list");
}

static bool loop_method(struct run *r, struct loop *l, struct str name, const struct args *a, struct value *out) {
  if (str_is(name, "cycle")) {
    if (!args_check(r, a, "cycle", 1, MAX_ARGS, "")) return false;
    *out = a->v[l->i % a->n];
    return true;
  }
  if (!str_is(name, "changed")) return run_fail(r, "the method %.*s of a loop is not covered", name.len < 40 ? (int)name.len : 40, name.s);
  struct value now;
  bool same;
  if (!value_list(r, &now)) return false;
  for (size_t i = 0; i < a->n; i++) if (!list_add(r, now.list, a->v[i])) return false;
  if (!value_equal(r, &now, &l->changed, &same)) return false;
  l->changed = now;
  *out = value_bool(!same);
  return true;
}

bool method_call(struct run *r, const struct value *self, struct str name, const struct args *a, struct value *out) {
  switch (self->type) {
    case V_STRING: return text_method(r, self->s, name, a, out);
    case V_DICT: return dict_method(r, self->dict, name, a, out);
    case V_LIST: return list_method(r, self->list, name, a, out);
    case V_LOOP: return loop_method(r, self->loop, name, a, out);
    case V_UNDEFINED: return run_fail(r, "%.*s is undefined", self->s.len < 80 ? (int)self->s.len : 80, self->s.s);
    default: return run_fail(r, "%s has no method %.*s", value_kind(self), name.len < 40 ? (int)name.len : 40, name.s);
  }
}

/* ---- functions ---- */

static bool range(struct run *r, const struct args *a, struct value *out) {
  int64_t from = 0, to, step;
  if (!args_check(r, a, "range", 1, 3, "") || !arg_int(r, a, a->n > 1 ? 1 : 0, NULL, "range", 0, &to) || !arg_int(r, a, 2, NULL, "range",
      1, &step) ||
      (a->n > 1 && !arg_int(r, a, 0, NULL, "range", 0, &from)) || !value_list(r, out)) return false;
  if (!step) return run_fail(r, "range: the step is 0");
  for (int64_t i = from; step > 0 ? i < to : i > to; ) {
    if (!list_add(r, out->list, value_int(i))) return false;
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return true;
}

static bool make_dict(struct run *r, const struct args *a, bool namespace, struct value *out) {
  struct dict *d = run_alloc(r, 1, sizeof *d);
  if (!d) return false;
  if (a->n > 1 || (a->n && a->v[0].type != V_DICT)) return run_fail(r, "dict and namespace take one dict, and values with names");
  for (size_t i = 0; a->n && i < a->v[0].dict->n; i++) if (!dict_set(r, d, a->v[0].dict->k[i], a->v[0].dict->v[i])) return false;
  for (size_t i = 0; i < a->n_named; i++) if (!dict_set(r, d, value_str(a->named[i].name), a->named[i].v)) return false;
  *out = (struct value){ .type = namespace ? V_NAMESPACE : V_DICT, .dict = d };
  return true;
}

static bool date(struct run *r, const struct args *a, struct value *out) {
  char format[64], text[256];
  struct str s;
  struct tm tm;
  time_t now = (time_t)r->in->now;
  if (!args_check(r, a, "strftime_now", 1, 1, "") || !arg_text(r, a, 0, NULL, "strftime_now", str_text(""), &s)) return false;
  if (!r->in->now) return run_fail(r, "strftime_now: the template asks for a date, none was given");
  if (s.len >= sizeof format || memchr(s.s, 0, s.len)) return run_fail(r, "strftime_now: the format is too long");
  memcpy(format, s.s, s.len);
  format[s.len] = 0;
  if (!localtime_r(&now, &tm)) return run_fail(r, "strftime_now: the date is out of range");
  size_t n = strftime(text, sizeof text, format, &tm);
  char *copy = run_alloc(r, n + 1, 1);
  if (!copy) return false;
  memcpy(copy, text, n);
  *out = value_str((struct str){ copy, NULL, n });
  return true;
}

static const char *const functions[] = { "range", "namespace", "dict", "raise_exception", "strftime_now" };

const char *function_name(struct str name) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) if (str_is(name, functions[i])) return functions[i];
  return NULL;
}

bool function_call(struct run *r, const char *name, const struct args *a, struct value *out) {
  struct str why;
  if (!strcmp(name, "range")) return range(r, a, out);
  if (!strcmp(name, "namespace")) return make_dict(r, a, true, out);
  if (!strcmp(name, "dict")) return make_dict(r, a, false, out);
  if (!strcmp(name, "strftime_now")) return date(r, a, out);
  if (!args_check(r, a, name, 1, 1, "message") || !value_text(r, args_get(a, 0, "message"), &why)) return false;
  return run_fail(r, "the template refuses the messages: %.*s", why.len < 400 ? (int)why.len : 400, why.s);
}
