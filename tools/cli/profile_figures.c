/* profile_figures.c - what the driver's compiler says of the kernels (registers, spills ...), gathered by cmd_profile.c and written
 * kernel by kernel: nothing where the driver says nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

void profile_figure_add(void *ud, const struct lrqk_kernel_figure *f) {
  struct profile_figures *l = ud;
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 256;
    struct profile_figure *more = realloc(l->list, cap * sizeof *more);
    if (!more) {
      l->failed = true;
      return;
    }
    l->list = more;
    l->cap = cap;
  }
  struct profile_figure *p = &l->list[l->n++];
  *p = (struct profile_figure){.value = f->value};
  snprintf(p->kernel, sizeof p->kernel, "%s", f->kernel);
  snprintf(p->variant, sizeof p->variant, "%s", f->variant);
  snprintf(p->name, sizeof p->name, "%s", f->name);
}

/* The same kernel as the entry before. */
static bool goes_on(const struct profile_figures *l, size_t i) {
  return i && !strcmp(l->list[i].kernel, l->list[i - 1].kernel) && !strcmp(l->list[i].variant, l->list[i - 1].variant);
}

void profile_figures_table(struct text *t, const struct profile_figures *l) {
  if (l->n) text_printf(t, "\nkernels, as the driver's compiler has made them\n");
  for (size_t i = 0; i < l->n; i++) {
    const struct profile_figure *f = &l->list[i];
    if (!goes_on(l, i)) text_printf(t, "%s %s\n", f->kernel, f->variant);
    text_printf(t, "  %-48s %.10g\n", f->name, f->value);
  }
}

void profile_figures_json(struct text *t, const struct profile_figures *l) {
  if (!l->n) return;
  json_key(t, "kernel_statistics");
  json_open(t, '[');
  for (size_t i = 0; i < l->n; i++) {
    const struct profile_figure *f = &l->list[i];
    if (!goes_on(l, i)) {
      json_open(t, '{');
      json_field_string(t, "name", f->kernel);
      json_field_string(t, "variant", f->variant);
      json_key(t, "statistics");
      json_open(t, '{');
    }
    json_field_num(t, f->name, f->value);
    if (i + 1 < l->n && goes_on(l, i + 1)) continue;
    json_close(t, '}');
    json_close(t, '}');
  }
  json_close(t, ']');
}
