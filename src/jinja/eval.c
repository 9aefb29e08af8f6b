/* eval.c - walks the tree of a template: statements, expressions, calls (jinja_render). */
#include <string.h>

#include "base/mem.h"
#include "jinja/operators.h"

/* ---- variables ---- */

static struct value *find(const struct scope *s, struct str name) {
  for (; s; s = s->up) {
    const struct value *v = dict_get(&s->vars, name);
    if (v) return (struct value *)v;
  }
  return NULL;
}

static bool set(struct run *r, struct str name, struct value v) { return dict_set(r, &r->scope->vars, value_str(name), v); }

static struct str text_of(const struct node *n) { return (struct str){ n->text, NULL, n->len }; }

static bool assign(struct run *r, const struct node *target, struct value v) {
  if (target->kind == N_NAME) return set(r, text_of(target), v);
  struct value *ns = find(r->scope, text_of(target->a));
  if (!ns || ns->type != V_NAMESPACE) return run_fail(r, "%s.%s cannot be set: %s is no namespace", target->a->text, target->text,
      target->a->text);
  return dict_set(r, ns->dict, value_str(text_of(target)), v);
}

/* One target takes the value, several take its items. */
static bool assign_all(struct run *r, const struct node *targets, struct value v) {
  struct list *items;
  size_t n = 0;
  if (!targets->next) return assign(r, targets, v);
  if (!value_items(r, &v, &items)) return false;
  for (const struct node *t = targets; t; t = t->next, n++) {
    if (n >= items->n) return run_fail(r, "%zu values for more names", items->n);
    if (!assign(r, t, items->v[n])) return false;
  }
  return n == items->n || run_fail(r, "%zu values for %zu names", items->n, n);
}

/* ---- calls ---- */

static bool gather(struct run *r, const struct node *list, struct args *a) {
  a->n = a->n_named = 0;
  for (const struct node *n = list; n; n = n->next) {
    if (a->n == MAX_ARGS || a->n_named == MAX_ARGS) return run_fail(r, "more than %d arguments", MAX_ARGS);
    if (n->kind != N_KEYWORD) {
      if (!eval(r, n, &a->v[a->n++])) return false;
    } else {
      a->named[a->n_named].name = text_of(n);
      if (!eval(r, n->a, &a->named[a->n_named++].v)) return false;
    }
  }
  return true;
}

static bool run_body(struct run *r, const struct node *n);

/* Runs statements with their output as a text. */
static bool capture(struct run *r, const struct node *body, struct value *out) {
  struct buffer b = { 0 }, *before = r->out;
  r->out = &b;
  bool ok = run_body(r, body);
  r->out = before;
  *out = value_str(str_text(""));
  if (ok) return buffer_take(r, &b, &out->s);
  buffer_free(&b);
  return false;
}

static bool call_macro(struct run *r, const struct macro *m, const struct args *a, struct value *out) {
  struct scope *before = r->scope, *scope = run_alloc(r, 1, sizeof *scope);
  if (!scope) return false;
  scope->up = m->scope;
  r->scope = scope;
  size_t i = 0, used = 0;
  bool ok = true;
  for (const struct node *p = m->node->a; ok && p; p = p->next, i++) {
    const struct value *given = args_get(a, i, p->text);
    struct value v = value_undefined(text_of(p));
    used += given && i >= a->n;
    if (given) v = *given;
    else if (p->a) ok = eval(r, p->a, &v);
    ok = ok && set(r, text_of(p), v);
  }
  if (ok && (a->n > i || used != a->n_named)) ok = run_fail(r, "the macro %s does not take these arguments", m->node->text);
  ok = ok && capture(r, m->node->b, out);
  r->scope = before;
  return ok;
}

bool eval_call(struct run *r, const struct value *f, const struct args *a, struct value *out) {
  if (f->type == V_FUNCTION) return function_call(r, f->function, a, out);
  if (f->type == V_UNDEFINED) return run_fail(r, "%.*s is undefined", f->s.len < 80 ? (int)f->s.len : 80, f->s.s);
  if (f->type != V_MACRO) return run_fail(r, "%s cannot be called", value_kind(f));
  if (r->depth++ > MAX_CALLS) return run_fail(r, "more than %d calls within calls", MAX_CALLS);
  bool ok = call_macro(r, f->macro, a, out);
  r->depth--;
  return ok;
}

static bool call(struct run *r, const struct node *n, struct value *out) {
  struct value f, self;
  struct args *a = run_alloc(r, 1, sizeof *a);
  if (!a) return false;
  if (n->a->kind != N_ATTRIBUTE) return eval(r, n->a, &f) && gather(r, n->b, a) && eval_call(r, &f, a, out);
  if (!eval(r, n->a->a, &self) || !gather(r, n->b, a)) return false;
  r->line = n->line;
  if (self.type == V_NAMESPACE || self.type == V_DICT) {
    const struct value *v = dict_get(self.dict, text_of(n->a));
    if (v && (v->type == V_MACRO || v->type == V_FUNCTION)) return eval_call(r, v, a, out);
  }
  return method_call(r, &self, text_of(n->a), a, out);
}

/* ---- expressions ---- */

/* a + b + c or a ~ b ~ c, whose tree leans to the left: texts are put together in one go. */
static bool chain(struct run *r, const struct node *n, struct value *out) {
  size_t count = 1;
  bool texts = true;
  char op = n->op;
  for (const struct node *p = n; p->kind == N_BINARY && p->op == op; p = p->a) count++;
  struct value *v = run_alloc(r, count, sizeof *v);
  const struct node **part = run_alloc(r, count, sizeof *part);
  if (!v || !part) return false;
  const struct node *p = n;
  for (size_t i = count; --i > 0; p = p->a) part[i] = p->b;
  part[0] = p;
  for (size_t i = 0; i < count; i++) {
    if (!eval(r, part[i], &v[i])) return false;
    r->line = part[i]->line;
    if (op == '~' && v[i].type != V_STRING) {
      struct str s;
      if (!value_text(r, &v[i], &s)) return false;
      v[i] = value_str(s);
    }
    texts = texts && v[i].type == V_STRING;
  }
  if (texts) return operator_concat(r, v, count, out);
  for (size_t i = 1; i < count; i++) {
    struct value left = v[i - 1];
    if (!operator_binary(r, op, &left, &v[i], &v[i])) return false;
  }
  *out = v[count - 1];
  return true;
}

static bool binary(struct run *r, const struct node *n, struct value *out) {
  struct value a, b;
  if (n->op == '+' || n->op == '~') return chain(r, n, out);
  if (!eval(r, n->a, &a)) return false;
  if ((n->op == '&' && !value_true(&a)) || (n->op == '|' && value_true(&a))) { *out = a; return true; }
  if (n->op == '&' || n->op == '|') return eval(r, n->b, out);
  if (!eval(r, n->b, &b)) return false;
  r->line = n->line;
  return operator_binary(r, n->op, &a, &b, out);
}

static bool unary(struct run *r, const struct node *n, struct value *out) {
  struct value v;
  double x;
  if (!eval(r, n->a, &v)) return false;
  if (n->op == 'n') { *out = value_bool(!value_true(&v)); return true; }
  if (!value_number(&v, &x)) return run_fail(r, "%c of %s has no meaning", n->op, value_kind(&v));
  struct value zero = value_int(0);
  return operator_binary(r, n->op, &zero, &v, out);
}

static bool compare(struct run *r, const struct node *n, struct value *out) {
  struct value a, b;
  bool yes = true;
  if (!eval(r, n->a, &a)) return false;
  for (const struct node *o = n->b; o && yes; o = o->next, a = b) {
    if (!eval(r, o->a, &b)) return false;
    r->line = o->line;
    if (!operator_compare(r, o->op, &a, &b, &yes)) return false;
  }
  *out = value_bool(yes);
  return true;
}

static bool literal_list(struct run *r, const struct node *n, struct value *out) {
  struct value v;
  if (!value_list(r, out)) return false;
  out->list->tuple = n->kind == N_TUPLE;
  struct list *l = out->list;
  for (const struct node *i = n->a; i; i = i->next) if (!eval(r, i, &v) || !list_add(r, l, v)) return false;
  return true;
}

static bool literal_dict(struct run *r, const struct node *n, struct value *out) {
  struct value k, v;
  struct dict *d = run_alloc(r, 1, sizeof *d);
  if (!d) return false;
  for (const struct node *i = n->a; i; i = i->next->next) {
    if (!eval(r, i, &k) || !eval(r, i->next, &v)) return false;
    if (k.type == V_LIST || k.type == V_DICT) return run_fail(r, "%s cannot be a key", value_kind(&k));
    if (!dict_set(r, d, k, v)) return false;
  }
  *out = (struct value){ .type = V_DICT, .dict = d };
  return true;
}

static bool slice(struct run *r, const struct node *n, struct value *out) {
  struct value v, part[3] = { value_none(), value_none(), value_none() };
  const struct node *const bounds[] = { n->b, n->c, n->d };
  if (!eval(r, n->a, &v)) return false;
  for (int i = 0; i < 3; i++) if (bounds[i] && !eval(r, bounds[i], &part[i])) return false;
  r->line = n->line;
  return operator_slice(r, &v, part, out);
}

static bool filter(struct run *r, const struct node *n, struct value *out) {
  struct value v;
  bool yes;
  struct args *a = run_alloc(r, 1, sizeof *a);
  if (!a || !eval(r, n->a, &v) || !gather(r, n->b, a)) return false;
  r->line = n->line;
  if (n->kind == N_FILTER) return filter_apply(r, text_of(n), &v, a, out);
  if (!test_apply(r, text_of(n), &v, a, &yes)) return false;
  *out = value_bool(yes);
  return true;
}

static bool name(const struct run *r, const struct node *n, struct value *out) {
  const struct value *v = find(r->scope, text_of(n));
  const char *f = v ? NULL : function_name(text_of(n));
  *out = v ? *v : f ? (struct value){ .type = V_FUNCTION, .function = f } : value_undefined(text_of(n));
  return true;
}

static bool expression(struct run *r, const struct node *n, struct value *out) {
  struct value a, b;
  switch (n->kind) {
    case N_STRING: *out = value_str(text_of(n)); return true;
    case N_INT: *out = value_int(n->i); return true;
    case N_FLOAT: *out = (struct value){ .type = V_FLOAT, .f = n->f }; return true;
    case N_BOOL: *out = value_bool(n->i); return true;
    case N_NONE: *out = value_none(); return true;
    case N_NAME: return name(r, n, out);
    case N_LIST: case N_TUPLE: return literal_list(r, n, out);
    case N_DICT: return literal_dict(r, n, out);
    case N_ATTRIBUTE:
      if (!eval(r, n->a, &a)) return false;
      r->line = n->line;
      return value_attribute(r, &a, text_of(n), out);
    case N_ITEM:
      if (!eval(r, n->a, &a) || !eval(r, n->b, &b)) return false;
      r->line = n->line;
      return value_item(r, &a, &b, out);
    case N_SLICE: return slice(r, n, out);
    case N_CALL: return call(r, n, out);
    case N_FILTER: case N_TEST: return filter(r, n, out);
    case N_UNARY: return unary(r, n, out);
    case N_BINARY: return binary(r, n, out);
    case N_COMPARE: return compare(r, n, out);
    case N_CHOICE:
      if (!eval(r, n->a, &a)) return false;
      if (value_true(&a)) return eval(r, n->b, out);
      if (n->c) return eval(r, n->c, out);
      *out = value_undefined(str_text("the value without else"));
      return true;
    default: return run_fail(r, "an expression has no meaning here");
  }
}

bool eval(struct run *r, const struct node *n, struct value *out) {
  r->line = n->line;
  if (!run_step(r, 1)) return false;
  if (r->depth++ > MAX_CALLS) return run_fail(r, "expressions are nested too deeply");
  bool ok = expression(r, n, out);
  r->depth--;
  return ok;
}

/* ---- statements ---- */

static bool loop_filter(struct run *r, const struct node *n, struct list **items) {
  struct value kept, yes;
  if (!value_list(r, &kept)) return false;
  for (size_t i = 0; i < (*items)->n; i++) {
    if (!assign_all(r, n->a, (*items)->v[i]) || !eval(r, n->e, &yes)) return false;
    if (value_true(&yes) && !list_add(r, kept.list, (*items)->v[i])) return false;
  }
  *items = kept.list;
  return true;
}

static bool run_loop(struct run *r, const struct node *n, struct list *items) {
  struct loop *l = run_alloc(r, 1, sizeof *l);
  if (!l || (n->e && !loop_filter(r, n, &items))) return false;
  *l = (struct loop){ items, 0, value_undefined(str_text("loop")) };
  if (!items->n) {
    r->scope->vars.n = 0;
    return run_body(r, n->d);
  }
  for (l->i = 0; l->i < items->n && r->flow != BREAK; l->i++) {
    r->scope->vars.n = 0;                    /* what the body sets lives for one round */
    r->flow = GO_ON;
    if (!set(r, str_text("loop"), (struct value){ .type = V_LOOP, .loop = l })) return false;
    if (!assign_all(r, n->a, items->v[l->i]) || !run_body(r, n->c)) return false;
  }
  r->flow = GO_ON;
  return true;
}

static bool run_for(struct run *r, const struct node *n) {
  struct value all;
  struct list *items;
  struct scope *before = r->scope, *scope = run_alloc(r, 1, sizeof *scope);
  if (!scope || !eval(r, n->b, &all) || !value_items(r, &all, &items)) return false;
  scope->up = before;
  r->scope = scope;
  bool ok = run_loop(r, n, items);
  r->scope = before;
  return ok;
}

static bool statement(struct run *r, const struct node *n) {
  struct value v;
  struct macro *m;
  switch (n->kind) {
    case N_TEXT: return buffer_add(r, r->out, text_of(n));
    case N_PRINT:
      if (!eval(r, n->a, &v)) return false;
      r->line = n->line;
      return buffer_value(r, r->out, &v);
    case N_IF: return eval(r, n->a, &v) && run_body(r, value_true(&v) ? n->b : n->c);
    case N_FOR: return run_for(r, n);
    case N_SET: return eval(r, n->b, &v) && assign_all(r, n->a, v);
    case N_SET_BLOCK: return capture(r, n->b, &v) && assign(r, n->a, v);
    case N_MACRO:
      m = run_alloc(r, 1, sizeof *m);
      if (!m) return false;
      *m = (struct macro){ n, r->scope };
      return set(r, text_of(n), (struct value){ .type = V_MACRO, .macro = m });
    case N_BREAK: r->flow = BREAK; return true;
    case N_CONTINUE: r->flow = CONTINUE; return true;
    default: return run_fail(r, "a statement has no meaning here");
  }
}

static bool run_body(struct run *r, const struct node *n) {
  if (r->depth++ > MAX_CALLS) return run_fail(r, "blocks are nested too deeply");
  for (; n && r->flow == GO_ON; n = n->next) {
    r->line = n->line;
    if (!run_step(r, 1) || !statement(r, n)) return false;
  }
  r->depth--;
  return true;
}

/* ---- a rendering ---- */

static bool add_message(struct run *r, struct list *l, const struct jinja_message *m, const uint8_t *origin) {
  struct dict *d = run_alloc(r, 1, sizeof *d);
  return d && dict_set(r, d, value_str(str_text("role")), value_str(str_text(m->role))) &&
         dict_set(r, d, value_str(str_text("content")), value_str((struct str){ m->content, origin, m->len })) &&
         list_add(r, l, (struct value){ .type = V_DICT, .dict = d });
}

static bool variables(struct run *r) {
  const struct jinja_input *in = r->in;
  struct value messages;
  uint8_t *origin[JINJA_MARKED + 1] = { 0 };   /* as long as the longest text: all messages share it */
  size_t longest[JINJA_MARKED + 1] = { 0 };
  for (size_t i = 0; i < in->n_msg; i++) if (in->msg[i].len > longest[in->msg[i].origin]) longest[in->msg[i].origin] = in->msg[i].len;
  for (int k = JINJA_MESSAGE; k <= JINJA_MARKED; k++) {
    if (!(origin[k] = run_alloc(r, longest[k] + 1, 1))) return false;
    memset(origin[k], k, longest[k]);
  }
  if (!value_list(r, &messages)) return false;
  for (size_t i = 0; i < in->n_msg; i++) if (!add_message(r, messages.list, &in->msg[i], origin[in->msg[i].origin])) return false;
  return set(r, str_text("messages"), messages) && set(r, str_text("add_generation_prompt"), value_bool(in->add_generation_prompt)) &&
         set(r, str_text("bos_token"), value_str(str_text(in->bos ? in->bos : ""))) &&
         set(r, str_text("eos_token"), value_str(str_text(in->eos ? in->eos : ""))) && set(r, str_text("tools"), value_none()) &&
         set(r, str_text("documents"), value_none());
}

enum lrqk_status jinja_render(const struct jinja *j, const struct jinja_input *in, struct jinja_output *out) {
  struct buffer b = { 0 };
  struct scope globals = { 0 };
  struct run r = { .j = j, .in = in, .max_bytes = MAX_BYTES, .max_steps = in->max_steps ? in->max_steps : 20 * 1000 * 1000, .line = 1,
      .scope = &globals, .out = &b };
  for (size_t i = 0; i < in->n_msg; i++) {   /* a message is copied a few times, with its origin */
    if (in->msg[i].len > (SIZE_MAX / 2 - r.max_bytes) / 24) return fail(&j->log, LRQK_MEMORY, "%s: a message is too long", j->name);
    r.max_bytes += 24 * in->msg[i].len;
  }
  bool ok = variables(&r) && run_body(&r, j->body);
  arena_free(&r.arena);
  if (ok) *out = (struct jinja_output){ b.s, b.o, b.n };
  else buffer_free(&b);
  return r.status;
}
