/* operators.c - arithmetic, comparison, attributes, items and slices.  Called by eval.c. */
#include "jinja/operators.h"

#include <math.h>
#include <string.h>

static bool whole(const struct value *v) { return v->type == V_INT || v->type == V_BOOL; }

static bool undefined(struct run *r, const struct value *v) {
  return run_fail(r, "%.*s is undefined", v->s.len < 80 ? (int)v->s.len : 80, v->s.s);
}

/* ---- arithmetic ---- */

static bool integers(struct run *r, char op, int64_t a, int64_t b, struct value *out) {
  int64_t x = 0;
  bool over = false;
  if ((op == 'F' || op == '%') && !b) return run_fail(r, "division by zero");
  if ((op == 'F' || op == '%') && a == INT64_MIN && b == -1) over = true;
  else switch (op) {
    case '+': over = __builtin_add_overflow(a, b, &x); break;
    case '-': over = __builtin_sub_overflow(a, b, &x); break;
    case '*': over = __builtin_mul_overflow(a, b, &x); break;
    case 'F': x = a / b - (a % b && (a < 0) != (b < 0)); break;
    case '%': x = a % b + (a % b && (a < 0) != (b < 0) ? b : 0); break;
    default:                                 /* power */
      for (x = 1; b > 0 && !over; b--) over = !run_step(r, 1) || __builtin_mul_overflow(x, a, &x);
  }
  *out = value_int(x);
  return !over || run_fail(r, "an integer is beyond 64 bits");
}

static bool floats(struct run *r, char op, double a, double b, struct value *out) {
  double x = 0;
  if ((op == '/' || op == 'F' || op == '%') && b == 0) return run_fail(r, "division by zero");
  switch (op) {
    case '+': x = a + b; break;
    case '-': x = a - b; break;
    case '*': x = a * b; break;
    case '/': x = a / b; break;
    case 'F': x = floor(a / b); break;
    case '%': x = a - b * floor(a / b); break;
    default: x = pow(a, b); break;
  }
  *out = (struct value){ .type = V_FLOAT, .f = x };
  return true;
}

static bool join_lists(struct run *r, const struct list *a, const struct list *b, struct value *out) {
  if (!value_list(r, out)) return false;
  out->list->tuple = a->tuple;
  for (size_t i = 0; i < a->n; i++) if (!list_add(r, out->list, a->v[i])) return false;
  for (size_t i = 0; i < b->n; i++) if (!list_add(r, out->list, b->v[i])) return false;
  return true;
}

static bool repeat(struct run *r, const struct value *v, int64_t n, struct value *out) {
  if (v->type == V_STRING) {
    struct buffer b = { 0 };
    for (int64_t i = 0; v->s.len && i < n; i++) {
      if (run_step(r, 1) && buffer_add(r, &b, v->s)) continue;
      buffer_free(&b);
      return false;
    }
    *out = *v;
    return buffer_take(r, &b, &out->s);
  }
  if (!value_list(r, out)) return false;
  for (int64_t i = 0; i < n; i++) {
    for (size_t k = 0; k < v->list->n; k++) if (!list_add(r, out->list, v->list->v[k])) return false;
    if (!v->list->n) break;
  }
  return true;
}

bool operator_binary(struct run *r, char op, const struct value *a, const struct value *b, struct value *out) {
  double x, y;
  if (a->type == V_UNDEFINED) return undefined(r, a);
  if (b->type == V_UNDEFINED) return undefined(r, b);
  if (whole(a) && whole(b) && op != '/' && (op != '^' || b->i >= 0)) return integers(r, op, a->i, b->i, out);
  if (value_number(a, &x) && value_number(b, &y)) return floats(r, op, x, y, out);
  if (op == '+' && a->type == V_STRING && b->type == V_STRING) return operator_concat(r, (struct value[]){ *a, *b }, 2, out);
  if (op == '+' && a->type == V_LIST && b->type == V_LIST && a->list->tuple == b->list->tuple) return join_lists(r, a->list, b->list, out);
  if (op == '*' && (a->type == V_STRING || a->type == V_LIST) && whole(b)) return repeat(r, a, b->i, out);
  if (op == '*' && (b->type == V_STRING || b->type == V_LIST) && whole(a)) return repeat(r, b, a->i, out);
  if (op == '%' && a->type == V_STRING) return run_fail(r, "%% of a text is not covered");
  static const char signs[] = "F^", *const names[] = { "//", "**" };
  const char *known = strchr(signs, op);
  return run_fail(r, "%s %.2s %s has no meaning", value_kind(a), known ? names[known - signs] : (char[]){ op, 0 }, value_kind(b));
}

bool operator_concat(struct run *r, const struct value *v, size_t n, struct value *out) {
  size_t len = 0, filled = 0;
  bool origin = false;
  for (size_t i = 0; i < n; i++) {
    filled += v[i].s.len > 0;
    len += v[i].s.len;
    origin = origin || v[i].s.o;
  }
  if (filled <= 1) {                         /* nothing to copy */
    *out = value_str(str_text(""));
    for (size_t i = 0; i < n; i++) if (v[i].s.len) *out = v[i];
    return true;
  }
  char *s = run_alloc(r, len, origin ? 2 : 1);
  if (!s) return false;
  uint8_t *o = origin ? (uint8_t *)s + len : NULL;
  size_t at = 0;
  for (size_t i = 0; i < n; at += v[i++].s.len) {
    if (!v[i].s.len) continue;
    memcpy(s + at, v[i].s.s, v[i].s.len);
    if (o && v[i].s.o) memcpy(o + at, v[i].s.o, v[i].s.len);   /* arena memory is zero: JINJA_TEMPLATE */
  }
  *out = value_str((struct str){ s, o, len });
  return true;
}

bool operator_compare(struct run *r, char op, const struct value *a, const struct value *b, bool *out) {
  bool ok;
  switch (op) {
    case '=': return value_equal(r, a, b, out);
    case '!': ok = value_equal(r, a, b, out); *out = !*out; return ok;
    case 'i': return value_contains(r, b, a, out);
    case 'o': ok = value_contains(r, b, a, out); *out = !*out; return ok;
    default: break;
  }
  if (a->type == V_UNDEFINED) return undefined(r, a);
  if (b->type == V_UNDEFINED) return undefined(r, b);
  double x, y;
  if (value_number(a, &x) && value_number(b, &y) && (isnan(x) || isnan(y))) { *out = false; return true; }
  if (op == '<' || op == 'g') ok = value_less(r, a, b, out);
  else ok = value_less(r, b, a, out);
  if (op == 'g' || op == 'l') *out = !*out;
  return ok;
}

/* ---- attributes and items ---- */

static bool loop_attribute(struct run *r, const struct loop *l, struct str name, struct value *out) {
  size_t n = l->items->n, i = l->i;
  (void)r;
  *out = value_undefined(name);
  if (str_is(name, "index")) *out = value_int((int64_t)i + 1);
  else if (str_is(name, "index0")) *out = value_int((int64_t)i);
  else if (str_is(name, "revindex")) *out = value_int((int64_t)(n - i));
  else if (str_is(name, "revindex0")) *out = value_int((int64_t)(n - i) - 1);
  else if (str_is(name, "first")) *out = value_bool(i == 0);
  else if (str_is(name, "last")) *out = value_bool(i + 1 == n);
  else if (str_is(name, "length")) *out = value_int((int64_t)n);
  else if (str_is(name, "depth")) *out = value_int(1);
  else if (str_is(name, "depth0")) *out = value_int(0);
  else if (str_is(name, "previtem") && i) *out = l->items->v[i - 1];
  else if (str_is(name, "nextitem") && i + 1 < n) *out = l->items->v[i + 1];
  return true;
}

bool value_attribute(struct run *r, const struct value *v, struct str name, struct value *out) {
  const struct value *found = NULL;
  if (v->type == V_UNDEFINED) return undefined(r, v);
  if (v->type == V_LOOP) return loop_attribute(r, v->loop, name, out);
  if (v->type == V_DICT || v->type == V_NAMESPACE) found = dict_get(v->dict, name);
  *out = found ? *found : value_undefined(name);
  return run_step(r, 1);
}

bool value_item(struct run *r, const struct value *v, const struct value *key, struct value *out) {
  if (v->type == V_UNDEFINED) return undefined(r, v);
  *out = value_undefined(key->type == V_STRING ? key->s : str_text("an item"));
  if (v->type == V_DICT) {
    for (size_t i = 0; i < v->dict->n; i++) {
      bool same;
      if (!value_equal(r, &v->dict->k[i], key, &same)) return false;
      if (same) { *out = v->dict->v[i]; return true; }
    }
  } else if (whole(key) && (v->type == V_LIST || v->type == V_STRING)) {
    int64_t n = (int64_t)(v->type == V_LIST ? v->list->n : str_length(v->s)), i = key->i < 0 ? key->i + n : key->i;
    if (i < 0 || i >= n) return true;
    if (v->type == V_LIST) *out = v->list->v[i];
    else *out = value_str(str_part(v->s, str_offset(v->s, (size_t)i), str_offset(v->s, (size_t)i + 1)));
    return v->type == V_LIST || run_step(r, 1 + v->s.len / 64);
  } else if (key->type == V_STRING) return value_attribute(r, v, key->s, out);
  return true;
}

/* ---- slices ---- */

/* A bound of a slice as Python clips it; none: the default. */
static bool bound(struct run *r, const struct value *v, int64_t n, int64_t step, int64_t none, int64_t *out) {
  *out = none;
  if (v->type == V_NONE) return true;
  if (!whole(v)) return run_fail(r, "a bound of a slice is %s", value_kind(v));
  int64_t least = step < 0 ? -1 : 0, most = step < 0 ? n - 1 : n;
  *out = v->i < 0 ? (v->i < -n ? least : v->i + n) : v->i;
  if (*out < least) *out = least;
  if (*out > most) *out = most;
  return true;
}

bool operator_slice(struct run *r, const struct value *v, const struct value part[3], struct value *out) {
  if (v->type == V_UNDEFINED) return undefined(r, v);
  if (v->type != V_LIST && v->type != V_STRING) return run_fail(r, "%s has no slices", value_kind(v));
  int64_t n = (int64_t)(v->type == V_LIST ? v->list->n : str_length(v->s)), step = 1, from, to;
  if (part[2].type != V_NONE) {
    if (!whole(&part[2]) || !part[2].i || part[2].i < -INT32_MAX || part[2].i > INT32_MAX) return run_fail(r,
        "the step of a slice is wrong");
    step = part[2].i;
  }
  if (!bound(r, &part[0], n, step, step < 0 ? n - 1 : 0, &from) || !bound(r, &part[1], n, step, step < 0 ? -1 : n, &to)) return false;
  if (v->type == V_STRING && step == 1) {
    *out = value_str(from < to ? str_part(v->s, str_offset(v->s, (size_t)from), str_offset(v->s, (size_t)to)) : str_text(""));
    return run_step(r, 1 + v->s.len / 64);
  }
  struct list *all;
  if (!value_items(r, v, &all) || !value_list(r, out)) return false;
  struct list *l = out->list;
  l->tuple = v->type == V_LIST && v->list->tuple;
  for (int64_t i = from; step > 0 ? i < to : i > to; i += step) if (!list_add(r, l, all->v[i])) return false;
  return v->type == V_LIST || operator_concat(r, l->v, l->n, out);
}
