/* value.h - values while a template is rendered, and the rendering itself: its memory, its bounds, its variables.  Values
 * are copied freely; what they point to lives in the arena of the rendering.  Made by eval.c, filters.c, methods.c. */
#ifndef JINJA_VALUE_H
#define JINJA_VALUE_H

#include "base/arena.h"
#include "jinja/jinja.h"
#include "jinja/node.h"

/* Text with the origin of each byte; o NULL: all of the template. */
struct str { const char *s; const uint8_t *o; size_t len; };

enum value_type {
  V_UNDEFINED, V_NONE, V_BOOL, V_INT, V_FLOAT, V_STRING, V_LIST, V_DICT, V_NAMESPACE, V_LOOP, V_MACRO, V_FUNCTION
};

struct value {
  enum value_type type;
  union {
    int64_t i;                   /* V_INT, V_BOOL */
    double f;
    struct str s;                /* V_STRING; V_UNDEFINED: what has no value */
    struct list *list;
    struct dict *dict;           /* V_DICT, V_NAMESPACE */
    struct loop *loop;
    struct macro *macro;
    const char *function;        /* one of the names that methods.c knows */
  };
};

struct list { struct value *v; size_t n, cap; bool tuple; };
struct dict { struct value *k, *v; size_t n, cap; };                 /* in the order of insertion */
struct loop { const struct list *items; size_t i; struct value changed; };   /* the variable `loop` */
struct macro { const struct node *node; struct scope *scope; };      /* scope: where it was defined */
struct scope { struct scope *up; struct dict vars; };

struct buffer { char *s; uint8_t *o; size_t n, cap; };               /* output, outside of the arena */

/* Bounds of a rendering.  Templates of models stay far below. */
enum { MAX_CALLS = 300, MAX_BYTES = 64 << 20 };

struct run {
  const struct jinja *j;
  const struct jinja_input *in;
  enum lrqk_status status;
  struct arena arena;
  size_t bytes, max_bytes;       /* taken out of the arena and the buffers */
  uint64_t steps, max_steps;
  int depth;
  uint32_t line;                 /* of the node at work */
  struct scope *scope;
  struct buffer *out;
  enum { GO_ON, BREAK, CONTINUE } flow;
};

/* Functions that return bool: false is a failure, said and kept in r->status. */
__attribute__((format(printf, 2, 3))) bool run_fail(struct run *r, const char *fmt, ...);   /* false */
void *run_alloc(struct run *r, size_t n, size_t size);
bool run_step(struct run *r, size_t n);                              /* counts n steps */

bool buffer_add(struct run *r, struct buffer *b, struct str s);
bool buffer_value(struct run *r, struct buffer *b, const struct value *v);   /* as str() */
bool buffer_repr(struct run *r, struct buffer *b, const struct value *v, int depth);   /* as repr() */
bool buffer_take(struct run *r, struct buffer *b, struct str *out);  /* into the arena; b is empty again */
void buffer_free(struct buffer *b);

struct str str_text(const char *s);                                  /* of the template */
struct str str_part(struct str s, size_t from, size_t to);
bool str_is(struct str s, const char *text);
int str_compare(struct str a, struct str b);                         /* by code points, as Python */
size_t str_length(struct str s);                                     /* code points */
size_t str_offset(struct str s, size_t chars);                       /* of the code point with this index */
size_t str_find(struct str s, struct str part, size_t from);         /* SIZE_MAX: not there */
struct str str_strip(struct str s, bool left, bool right, const struct str *chars);   /* chars NULL: white space */

struct value value_none(void);
struct value value_bool(bool b);
struct value value_int(int64_t i);
struct value value_str(struct str s);
struct value value_undefined(struct str what);
bool value_text(struct run *r, const struct value *v, struct str *out);      /* as str() */
bool value_list(struct run *r, struct value *out);
bool list_add(struct run *r, struct list *l, struct value v);
bool dict_set(struct run *r, struct dict *d, struct value k, struct value v);
const struct value *dict_get(const struct dict *d, struct str key);  /* NULL: not there */
const char *value_kind(const struct value *v);                       /* for messages */
bool value_true(const struct value *v);
bool value_number(const struct value *v, double *out);
bool value_equal(struct run *r, const struct value *a, const struct value *b, bool *out);
bool value_less(struct run *r, const struct value *a, const struct value *b, bool *out);
bool value_contains(struct run *r, const struct value *all, const struct value *one, bool *out);
/* What a loop over the value goes through: the list itself, keys of a dict, characters of a text. */
bool value_items(struct run *r, const struct value *v, struct list **out);
bool value_json(struct run *r, struct buffer *b, const struct value *v, int indent, int depth);   /* indent < 0: on one line */

/* ---- calls ---- */

enum { MAX_ARGS = 16 };
struct args {
  struct value v[MAX_ARGS];      /* without names */
  size_t n;
  struct { struct str name; struct value v; } named[MAX_ARGS];
  size_t n_named;
};

/* Argument i, or the one with this name; NULL: not given. */
const struct value *args_get(const struct args *a, size_t i, const char *name);
/* Whether there are no others than `most` without names and the named ones listed ("a b"). */
bool args_check(struct run *r, const struct args *a, const char *what, size_t least, size_t most, const char *names);

bool eval(struct run *r, const struct node *n, struct value *out);                                        /* eval.c */
bool eval_call(struct run *r, const struct value *f, const struct args *a, struct value *out);            /* eval.c */
bool filter_apply(struct run *r, struct str name, const struct value *v, const struct args *a, struct value *out);   /* filters.c */
bool test_apply(struct run *r, struct str name, const struct value *v, const struct args *a, bool *out);             /* tests.c */
bool method_call(struct run *r, const struct value *self, struct str name, const struct args *a, struct value *out); /* methods.c */
bool function_call(struct run *r, const char *name, const struct args *a, struct value *out);             /* methods.c */
bool dict_list(struct run *r, const struct dict *d, bool keys, bool values, struct value *out);           /* methods.c; both: pairs */
const char *function_name(struct str name);                          /* NULL: no such function */
bool value_attribute(struct run *r, const struct value *v, struct str name, struct value *out);           /* eval.c */
bool value_item(struct run *r, const struct value *v, const struct value *key, struct value *out);        /* eval.c */

#endif
