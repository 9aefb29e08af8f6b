/* cmd_profile_diff.c - `lrqk profile diff A B`: what is slower or faster in profile B than in A, both written by `lrqk profile
 * --json`.  A difference counts when the times of alike stretches (timed tokens of decode, layers of prefill) do not overlap
 * from their 10th to their 90th percentile. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "profile_read.h"

static const char *const level_name[] = {"phase", "stage", "kernel"};   /* by profile_list */

enum verdict { SLOWER, FASTER, BELOW, WITHIN, ONE, ONLY_A, ONLY_B, N_VERDICTS };
static const char *const verdict_name[] = {"slower", "faster", "below the threshold", "within the spread", "one sample", "only in A", "only in B"};

struct change {
  const struct profile_entry *key;    /* of A, or of B where only B has it */
  struct profile_times a, b;          /* units 0: not there */
  enum verdict verdict;
};

struct diff {
  struct ui *u;
  const struct options *o;
  struct profile_file a, b;
  struct change *change;
  size_t n, count[N_VERDICTS];
};

/* ---- pairing and judging ------------------------------------------------------------------------------------ */

static bool same_key(const struct profile_entry *x, const struct profile_entry *y) {
  return x->list == y->list && x->layer == y->layer && !strcmp(x->phase, y->phase) && !strcmp(x->stage, y->stage) && !strcmp(x->name, y->name);
}

/* A row of A or B; LRQK_USAGE if that file had the same one already. */
static int add(struct diff *d, const struct profile_entry *e, bool is_b) {
  size_t i = 0;
  while (i < d->n && !same_key(d->change[i].key, e)) i++;
  struct change *c = &d->change[i];
  if (i == d->n) {
    *c = (struct change){.key = e};
    d->n++;
  }
  struct profile_times *t = is_b ? &c->b : &c->a;
  if (t->units)
    return ui_fail(d->u, LRQK_USAGE, "%s: two rows for %s %s %s", is_b ? d->o->after : d->o->before, e->phase, e->stage, e->name);
  *t = e->times;
  return 0;
}

static int pair(struct diff *d) {
  int code = 0;
  d->change = calloc(d->a.n + d->b.n + 1, sizeof *d->change);
  if (!d->change) return ui_fail(d->u, LRQK_MEMORY, "out of memory for %zu rows", d->a.n + d->b.n);
  for (size_t i = 0; i < d->a.n && !code; i++) code = add(d, &d->a.entry[i], false);
  for (size_t i = 0; i < d->b.n && !code; i++) code = add(d, &d->b.entry[i], true);
  return code;
}

static double relative(const struct change *c) { return c->a.units && c->b.units ? c->b.mid / c->a.mid - 1 : NAN; }

static enum verdict judge(const struct change *c, double threshold) {
  if (!c->b.units) return ONLY_A;
  if (!c->a.units) return ONLY_B;
  if (c->a.units == 1 || c->b.units == 1) return ONE;
  if (c->b.low <= c->a.high && c->a.low <= c->b.high) return WITHIN;
  double x = relative(c);   /* infinite where A took no time */
  if (fabs(x) <= threshold / 100) return BELOW;
  return x > 0 ? SLOWER : FASTER;
}

static int is_decode(const struct change *c) { return !strcmp(c->key->phase, "decode"); }

static double moved(const struct change *c) { return fabs(c->b.mid - c->a.mid); }

/* Prefill first; the phase, its stages, its kernels; what moved most first. */
static int in_order(const void *x, const void *y) {
  const struct change *a = x, *b = y;
  if (is_decode(a) != is_decode(b)) return is_decode(a) - is_decode(b);
  if (a->key->list != b->key->list) return a->key->list < b->key->list ? -1 : 1;
  if (moved(a) != moved(b)) return moved(a) < moved(b) ? 1 : -1;
  int by_name = strcmp(a->key->stage, b->key->stage);
  if (!by_name) by_name = strcmp(a->key->name, b->key->name);
  return by_name ? by_name : (a->key->layer > b->key->layer) - (a->key->layer < b->key->layer);
}

/* The next of what should be alike and is not, from *i on; NULL: no more. */
static const char *unlike(const struct diff *d, int *i) {
  const struct profile_file *a = &d->a, *b = &d->b;
  const char *const name[] = {"model", "backend", "device", "driver", "policy", "mode", "prefill", "decode"};
  const bool same[] = {!strcmp(a->model, b->model), !strcmp(a->backend, b->backend), !strcmp(a->device, b->device), !strcmp(a->driver, b->driver),
                       !strcmp(a->policy, b->policy), !strcmp(a->mode, b->mode), a->prefill == b->prefill, a->decode == b->decode};
  for (; *i < 8; ++*i)
    if (!same[*i]) return name[(*i)++];
  return NULL;
}

/* ---- showing ------------------------------------------------------------------------------------------------ */

static void head_line(struct text *t, char which, const char *path, const struct profile_file *p) {
  text_printf(t, "%c  %s: %s %s, policy %s, mode %s, %lld + %lld tokens\n", which, path, p->backend, p->device, p->policy, p->mode,
              (long long)p->prefill, (long long)p->decode);
}

static void times_columns(struct text *t, const struct profile_times *x) {
  char spread[40] = "";
  if (x->units > 1) snprintf(spread, sizeof spread, "%.3f-%.3f", x->low, x->high);
  if (x->units) text_printf(t, " %9.3f %-17s", x->mid, spread);
  else text_printf(t, " %9s %-17s", "-", "");
}

static void table_line(struct text *t, const struct change *c, bool layers) {
  const struct profile_entry *k = c->key;
  double x = 100 * relative(c);
  if (layers && k->list == PROFILE_KERNELS) text_printf(t, "%5lld  ", (long long)k->layer);
  else if (layers) text_printf(t, "       ");
  text_printf(t, "%-18s %-19s", k->list == PROFILE_PHASES ? "all" : k->stage, k->list == PROFILE_STAGES ? "all" : k->name);
  times_columns(t, &c->a);
  times_columns(t, &c->b);
  if (isfinite(x)) text_printf(t, " %+7.1f", x);
  else text_printf(t, " %7s", "");
  text_printf(t, "  %s\n", verdict_name[c->verdict]);
}

static void as_text(const struct diff *d, struct text *t) {
  bool layers = d->a.by_layer;
  head_line(t, 'A', d->o->before, &d->a);
  head_line(t, 'B', d->o->after, &d->b);
  int at = 0;
  for (const char *what; (what = unlike(d, &at));) text_printf(t, "the two differ in: %s\n", what);
  for (size_t i = 0; i < d->n; i++) {
    const struct change *c = &d->change[i];
    if (!i || is_decode(c) != is_decode(c - 1)) {
      text_printf(t, "\n%s, milliseconds %s: median, and 10th to 90th percentile\n", c->key->phase,
                  is_decode(c) ? "of a timed token" : "of a layer (of all, where there is one sample)");
      if (layers) text_printf(t, "layer  ");
      text_printf(t, "%-18s %-19s %9s %-17s %9s %-17s %7s\n", "stage", "kernel", "A", "", "B", "", "%");
    }
    table_line(t, c, layers);
  }
  text_printf(t, "\nbeyond the spread and %g %%: %zu slower, %zu faster; %zu below that, %zu within the spread\n", d->o->threshold, d->count[SLOWER],
              d->count[FASTER], d->count[BELOW], d->count[WITHIN]);
}

static void json_times(struct text *t, const char *key, const struct profile_times *x) {
  json_key(t, key);
  if (!x->units) {
    json_null(t);
    return;
  }
  json_open(t, '{');
  json_field_uint(t, "units", x->units);
  json_field_num(t, "unit_p10_ms", x->low);
  json_field_num(t, "unit_p50_ms", x->mid);
  json_field_num(t, "unit_p90_ms", x->high);
  json_close(t, '}');
}

static void json_change(struct text *t, const struct change *c, bool layers) {
  const struct profile_entry *k = c->key;
  json_open(t, '{');
  json_field_string(t, "level", level_name[k->list]);
  json_field_string(t, "phase", k->phase);
  if (k->list >= PROFILE_STAGES) json_field_string(t, "stage", k->stage);
  if (k->list == PROFILE_KERNELS) json_field_string(t, "name", k->name);
  if (k->list == PROFILE_KERNELS && layers) json_field_int(t, "layer", k->layer);
  json_times(t, "a", &c->a);
  json_times(t, "b", &c->b);
  json_field_num(t, "change", relative(c));
  json_field_string(t, "verdict", verdict_name[c->verdict]);
  json_close(t, '}');
}

static void as_json(struct diff *d, struct text *t) {
  json_open(t, '{');
  json_field_uint(t, "schema", PROFILE_SCHEMA);
  json_field_string(t, "a", d->o->before);
  json_field_string(t, "b", d->o->after);
  json_field_num(t, "threshold", d->o->threshold);
  json_key(t, "differ");
  json_open(t, '[');
  int at = 0;
  for (const char *what; (what = unlike(d, &at));) json_string(t, what);
  json_close(t, ']');
  json_field_uint(t, "slower", d->count[SLOWER]);
  json_field_uint(t, "faster", d->count[FASTER]);
  json_key(t, "changes");
  json_open(t, '[');
  for (size_t i = 0; i < d->n; i++) json_change(t, &d->change[i], d->a.by_layer);
  json_close(t, ']');
  if (d->count[SLOWER]) ui_error_json(t, LRQK_CHECK, d->u->error, "");
  json_close(t, '}');
}

/* Exit 8, after the answer, if something is slower. */
static int show(struct diff *d) {
  for (size_t i = 0; i < d->n; i++) d->count[d->change[i].verdict = judge(&d->change[i], d->o->threshold)]++;
  if (d->n) qsort(d->change, d->n, sizeof *d->change, in_order);
  struct text t = {0};
  int slower = 0, code;
  if (d->count[SLOWER])
    slower = ui_fail(d->u, LRQK_CHECK, "%zu of %zu rows are slower by more than %g %% and their spread", d->count[SLOWER], d->n, d->o->threshold);
  if (d->o->json) {
    as_json(d, &t);
    code = out_json(d->u, &t);
    d->u->answered = slower && !code;
  } else {
    as_text(d, &t);
    code = out_text(d->u, &t);
  }
  return code ? code : slower;
}

static int load(struct ui *u, const char *path, struct profile_file *out) {
  struct profile_error error;
  if (profile_read(out, path, &error)) return 0;
  int code = ui_fail(u, LRQK_USAGE, "%s", error.text);
  if (*error.hint) ui_hint(u, "%s", error.hint);
  return code;
}

int cmd_profile_diff(struct ui *u, const struct options *o) {
  struct diff d = {.u = u, .o = o};
  int code = o->after ? load(u, o->before, &d.a) : ui_fail(u, LRQK_USAGE, "two profiles are needed: lrqk profile diff A.json B.json");
  if (!code) code = load(u, o->after, &d.b);
  if (!code && d.a.by_layer != d.b.by_layer)
    code = ui_fail(u, LRQK_USAGE, "%s has a row for every layer, %s has not: --per-layer for both or for none", d.a.by_layer ? o->before : o->after,
                   d.a.by_layer ? o->after : o->before);
  if (!code) code = pair(&d);
  if (!code) code = show(&d);
  free(d.change);
  profile_file_free(&d.a);
  profile_file_free(&d.b);
  return code;
}
