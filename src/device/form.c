/* form.c - see form.h: the table of operations and forms, and the choice among them. */
#include "device/form.h"

#include <stdio.h>
#include <string.h>

static const char *const form_names[N_FORMS] = { "register", "tile", "clblast" };
static const char *const why_names[] = { [WHY_TYPE] = "type of device", [WHY_MEASURED] = "measured", [WHY_PINNED] = "asked for" };

static const double CLEARLY = 1.2;   /* times the default's speed: a choice must not turn with the noise of a measurement */

/* What has which forms, and what a tile needs of the device; workgroup 0: there is none. */
static const struct op { const char *name, *shape; bool clblast; uint32_t workgroup, shared; } ops[N_FORM_OPS] = {
  [OP_MATVEC]      = { "matvec", "", false, 256, 1 << 10 },
  [OP_MATVEC_WIDE] = { "matvec", "wide", false, 256, 1 << 10 },
  [OP_MATMUL]      = { "matmul", "", true, 64, 9 << 10 },
  [OP_MATMUL_WIDE] = { "matmul", "wide", true, 64, 9 << 10 },
  [OP_PREFILL]     = { "prefill", "", false, 128, 16 << 10 },
  [OP_DECODE]      = { "decode", "", false, 128, 16 << 10 },
  [OP_NORM]        = { "norm", "", false, 256, 1 << 10 },
  [OP_SCORE]       = { "score", "", false, 64, 16 << 10 },
  [OP_GRAM]        = { "gram", "", true, 0, 0 },
  [OP_MAP]         = { "map", "", true, 0, 0 },
};

bool form_possible(const struct lrqk_device_info *d, enum form_op op, enum form f) {
  bool host = !strcmp(d->backend, "host");   /* computes every form the same way */
  switch (f) {
    case FORM_TILE: return !host && ops[op].workgroup && d->max_workgroup >= ops[op].workgroup && d->max_shared >= ops[op].shared;
    case FORM_CLBLAST: return ops[op].clblast && d->clblast;
    default: return true;
  }
}

void form_defaults(struct forms *out, const struct lrqk_device_info *d) {
  *out = (struct forms){ 0 };
  for (enum form_op i = 0; i < N_FORM_OPS; i++)
    if (d->type != LRQK_DEVICE_SOFTWARE && form_possible(d, i, FORM_TILE)) out->op[i].form = FORM_TILE;
}

void form_decide(struct forms *out, const struct lrqk_device_info *d) {
  struct forms type;
  form_defaults(&type, d);
  for (enum form_op i = 0; i < N_FORM_OPS; i++) {
    struct form_choice *c = &out->op[i];
    enum form best = type.op[i].form;
    for (enum form f = 0; f < N_FORMS; f++)
      if (c->us[f] > 0 && c->us[f] * (best == type.op[i].form ? CLEARLY : 1) < c->us[best]) best = f;
    c->form = best;
    c->why = c->us[best] > 0 ? WHY_MEASURED : WHY_TYPE;
  }
}

/* ---- names */

static int form_of(const char *name, size_t n) {
  for (int f = 0; f < N_FORMS; f++)
    if (strlen(form_names[f]) == n && !strncmp(form_names[f], name, n)) return f;
  return -1;
}

static enum lrqk_status bad(const struct log *log, const char *text, const char *word, size_t n) {
  fail(log, LRQK_USAGE, "form \"%s\": \"%.*s\" is neither a form nor OPERATION=FORM", text, (int)n, word);
  char names[200] = "";
  for (int i = 0; i < N_FORM_OPS; i++)
    if (!*ops[i].shape) snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "", ops[i].name);
  log_hint(log, "forms are auto, register, tile and clblast; operations are %s", names);
  return LRQK_USAGE;
}

/* f for all operations of a name (NULL: for all that can have it).  False if there is none. */
static bool set(struct forms *out, const struct lrqk_device_info *d, const char *op, size_t n, enum form f, bool *known) {
  bool any = false;
  for (enum form_op i = 0; i < N_FORM_OPS; i++) {
    if (op && (strlen(ops[i].name) != n || strncmp(ops[i].name, op, n))) continue;
    *known = true;
    if (!form_possible(d, i, f)) continue;
    out->op[i].form = f;
    out->op[i].why = WHY_PINNED;
    any = true;
  }
  return any;
}

enum lrqk_status form_pin(struct forms *out, const struct lrqk_device_info *d, const char *text, const struct log *log) {
  for (const char *at = text; *at; at += *at == ',') {
    size_t n = strcspn(at, ","), name = strcspn(at, ",=");
    bool known = false, one = at[name] == '=';
    const char *form = one ? at + name + 1 : at;
    size_t form_len = one ? n - name - 1 : n;
    int f = form_of(form, form_len);
    const char *word = at;
    at += n;
    if (!one && form_len == 4 && !strncmp(form, "auto", 4)) continue;
    if (f < 0) return bad(log, text, word, n);
    if (set(out, d, one ? word : NULL, name, (enum form)f, &known)) continue;
    if (!known) return bad(log, text, word, n);
    fail(log, LRQK_USAGE, "form \"%.*s\": not on %s", (int)n, word, d->name);
    if (!strcmp(d->backend, "host")) log_hint(log, "the host computes every operation in one form");
    else if (f == FORM_CLBLAST) log_hint(log, "clblast needs an OpenCL device and a build with CLBlast, and has only dense products (matmul, gram, map)");
    else log_hint(log, "its workgroups have too few lanes or too little shared memory");
    return LRQK_USAGE;
  }
  return LRQK_OK;
}

void form_describe(struct lrqk_device_info *d, const struct forms *f) {
  _Static_assert((int)N_FORM_OPS <= LRQK_MAX_FORMS && (int)N_FORMS == LRQK_N_FORMS, "struct lrqk_device_info has a place for each");
  d->n_forms = N_FORM_OPS;
  for (int i = 0; i < N_FORM_OPS; i++) {
    const struct form_choice *c = &f->op[i];
    struct lrqk_form_info *out = &d->forms[i];
    *out = (struct lrqk_form_info){ .op = ops[i].name, .shape = ops[i].shape, .form = form_names[c->form], .why = why_names[c->why] };
    for (int j = 0; j < N_FORMS; j++) {
      out->choice[j] = form_possible(d, (enum form_op)i, (enum form)j) ? form_names[j] : NULL;
      out->us[j] = c->us[j];
    }
  }
}
