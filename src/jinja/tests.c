/* tests.c - what may stand behind `is`.  Called by eval.c and filters.c. */
#include <string.h>

#include "jinja/operators.h"

/* Tests that compare with their argument: the operator of N_OPERAND. */
static const struct { const char *name; char op; } comparisons[] = {
  { "eq", '=' }, { "equalto", '=' }, { "==", '=' }, { "ne", '!' }, { "!=", '!' }, { "lt", '<' }, { "lessthan", '<' }, { "<", '<' },
      { "le", 'l' },
  { "<=", 'l' }, { "gt", '>' }, { "greaterthan", '>' }, { ">", '>' }, { "ge", 'g' }, { ">=", 'g' }, { "in", 'i' },
};

static bool is_case(struct run *r, struct str s, bool upper, bool *out) {
  bool letters = false;
  *out = true;
  for (size_t i = 0; i < s.len; i++) {
    if ((unsigned char)s.s[i] >= 0x80) return run_fail(r, "tests of letters beyond ASCII are not covered");
    bool small = s.s[i] >= 'a' && s.s[i] <= 'z', large = s.s[i] >= 'A' && s.s[i] <= 'Z';
    letters = letters || small || large;
    *out = *out && !(upper ? small : large);
  }
  *out = *out && letters;
  return true;
}

static bool kind_test(struct str name, const struct value *v, bool *out) {
  enum value_type t = v->type;
  bool number = t == V_INT || t == V_FLOAT || t == V_BOOL, sequence = t == V_STRING || t == V_LIST || t == V_DICT || t == V_UNDEFINED;
  if (str_is(name, "defined")) *out = t != V_UNDEFINED;
  else if (str_is(name, "undefined")) *out = t == V_UNDEFINED;
  else if (str_is(name, "none")) *out = t == V_NONE;
  else if (str_is(name, "boolean")) *out = t == V_BOOL;
  else if (str_is(name, "true")) *out = t == V_BOOL && v->i;
  else if (str_is(name, "false")) *out = t == V_BOOL && !v->i;
  else if (str_is(name, "integer")) *out = t == V_INT;
  else if (str_is(name, "float")) *out = t == V_FLOAT;
  else if (str_is(name, "number")) *out = number;
  else if (str_is(name, "string")) *out = t == V_STRING;
  else if (str_is(name, "mapping")) *out = t == V_DICT;
  else if (str_is(name, "sequence") || str_is(name, "iterable")) *out = sequence;
  else if (str_is(name, "callable")) *out = t == V_MACRO || t == V_FUNCTION;
  else return false;
  return true;
}

static bool number_test(struct run *r, struct str name, const struct value *v, const struct args *a, bool *out) {
  struct value two = value_int(2), rest;
  bool by = str_is(name, "divisibleby");
  if (!args_check(r, a, by ? "divisibleby" : "odd", by, by, "")) return false;
  if (v->type != V_INT && v->type != V_BOOL) return run_fail(r, "%.*s: %s is no integer", (int)name.len, name.s, value_kind(v));
  if (!operator_binary(r, '%', v, by ? &a->v[0] : &two, &rest)) return false;
  *out = str_is(name, "odd") ? value_true(&rest) : !value_true(&rest);
  return true;
}

bool test_apply(struct run *r, struct str name, const struct value *v, const struct args *a, bool *out) {
  /* A template that asks whether there is a clock has an answer for a machine without one, and is the same every day. */
  if (v->type == V_FUNCTION && !strcmp(v->function, "strftime_now") && (str_is(name, "defined") || str_is(name, "undefined"))) {
    *out = str_is(name, "undefined");
    return true;
  }
  if (!a->n && !a->n_named && kind_test(name, v, out)) return true;
  for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++) {
    if (!str_is(name, comparisons[i].name)) continue;
    return args_check(r, a, comparisons[i].name, 1, 1, "") && operator_compare(r, comparisons[i].op, v, &a->v[0], out);
  }
  if (str_is(name, "odd") || str_is(name, "even") || str_is(name, "divisibleby")) return number_test(r, name, v, a, out);
  if ((str_is(name, "lower") || str_is(name, "upper")) && v->type == V_STRING) return is_case(r, v->s, str_is(name, "upper"), out);
  return run_fail(r, "the test %.*s is not covered", name.len < 40 ? (int)name.len : 40, name.s);
}
