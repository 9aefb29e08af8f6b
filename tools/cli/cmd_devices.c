/* cmd_devices.c - `lrqk devices`: the list, and with -v or --json what each can do. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"

struct list {
  struct ui *u;
  struct text t;
  unsigned n;
};

static const char *type_name(enum lrqk_device_type t) {
  switch (t) {
    case LRQK_DEVICE_DISCRETE: return "discrete";
    case LRQK_DEVICE_INTEGRATED: return "integrated";
    case LRQK_DEVICE_SOFTWARE: return "software";
    case LRQK_DEVICE_OTHER: break;
  }
  return "other";
}

static void form_json(struct text *t, const struct lrqk_form_info *f) {
  json_open(t, '{');
  json_field_string(t, "op", f->op);
  json_field_string(t, "shape", f->shape);
  json_field_string(t, "form", f->form);
  json_field_string(t, "why", f->why);
  json_key(t, "microseconds");
  json_open(t, '{');
  for (int i = 0; i < LRQK_N_FORMS; i++) {
    if (!f->choice[i]) continue;
    json_key(t, f->choice[i]);
    if (f->us[i] > 0) json_num(t, f->us[i]);
    else json_null(t);
  }
  json_close(t, '}');
  json_close(t, '}');
}

/* "     form            matvec wide: tile (measured: register 120 us, tile 80 us)" */
static void form_text(struct text *t, const struct lrqk_form_info *f) {
  const char *mark = ": ";
  bool timed = false;
  text_printf(t, "     form            %s%s%s: %s (%s", f->op, *f->shape ? " " : "", f->shape, f->form, f->why);
  for (int i = 0; i < LRQK_N_FORMS; i++) timed |= f->us[i] > 0;
  if (!timed) mark = "; there are ";
  for (int i = 0; i < LRQK_N_FORMS; i++) {
    if (!f->choice[i] || (timed && !(f->us[i] > 0))) continue;
    text_printf(t, "%s%s", mark, f->choice[i]);
    if (timed) text_printf(t, " %.0f us", f->us[i]);
    mark = ", ";
  }
  text_printf(t, ")\n");
}

static void as_json(struct text *t, const struct lrqk_device_info *d) {
  json_open(t, '{');
  json_field_int(t, "index", d->index);
  json_field_string(t, "backend", d->backend);
  json_field_string(t, "name", d->name);
  json_field_string(t, "type", type_name(d->type));
  json_field_string(t, "driver", d->driver);
  json_key(t, "unified");
  json_bool(t, d->unified);
  json_key(t, "memory");
  json_open(t, '[');
  for (uint32_t i = 0; i < d->n_memory; i++) {
    json_open(t, '{');
    json_field_uint(t, "bytes", d->memory[i].bytes);
    json_key(t, "free");
    if (d->memory[i].free) json_uint(t, d->memory[i].free);
    else json_null(t);
    json_field_string(t, "flags", d->memory[i].flags);
    json_close(t, '}');
  }
  json_close(t, ']');
  json_field_uint(t, "max_allocation", d->max_allocation);
  json_field_uint(t, "max_binding", d->max_binding);
  json_field_uint(t, "max_texels", d->max_texels);
  json_field_uint(t, "max_workgroup", d->max_workgroup);
  json_field_uint(t, "max_shared", d->max_shared);
  json_field_uint(t, "max_storage_bindings", d->max_storage_bindings);
  json_field_uint(t, "subgroup", d->subgroup);
  json_field_uint(t, "queues", d->queues);
  json_field_num(t, "timestamp_period_ns", d->timestamp_period_ns);
  json_key(t, "clblast");
  json_bool(t, d->clblast);
  json_key(t, "forms");
  json_open(t, '[');
  for (uint32_t i = 0; i < d->n_forms; i++) form_json(t, &d->forms[i]);
  json_close(t, ']');
  json_key(t, "calibrated_clocks");
  json_bool(t, d->calibrated);
  json_key(t, "kernel_statistics");
  json_bool(t, d->statistics);
  json_field_uint(t, "hardware_counters", d->counters);
  json_close(t, '}');
}

static void as_text(struct text *t, const struct lrqk_device_info *d, bool verbose) {
  char a[24], b[24];
  text_printf(t, "%d  %s  %s  (%s, %s)\n", d->index, d->backend, d->name, type_name(d->type), d->driver);
  if (!verbose) return;
  for (uint32_t i = 0; i < d->n_memory; i++) {
    text_printf(t, "     memory          %s", human_bytes(d->memory[i].bytes, a));
    if (d->memory[i].free) text_printf(t, ", %s free", human_bytes(d->memory[i].free, b));
    text_printf(t, "%s%s\n", *d->memory[i].flags ? ", " : "", d->memory[i].flags);
  }
  text_printf(t, "     host and device %s\n", d->unified ? "share their memory" : "have separate memory");
  text_printf(t, "     allocation      up to %s, a binding %s\n", human_bytes(d->max_allocation, a), human_bytes(d->max_binding, b));
  if (d->max_texels) text_printf(t, "     texel binding   up to %llu elements\n", (unsigned long long)d->max_texels);
  text_printf(t, "     workgroup       up to %u invocations, %s shared, %u storage bindings\n", d->max_workgroup,
              human_bytes(d->max_shared, a), d->max_storage_bindings);
  if (d->subgroup) text_printf(t, "     subgroup        %u lanes\n", d->subgroup);
  text_printf(t, "     queues          %s\n", d->queues > 1 ? "2: rows of the host are copied while others are worked on" : "one");
  if (d->timestamp_period_ns > 0) text_printf(t, "     timestamps      every %g ns%s\n", d->timestamp_period_ns, d->calibrated ? ", on a clock that the driver compares with the host's" : "");
  else text_printf(t, "     timestamps      none\n");
  text_printf(t, "     of kernels      %s\n", d->statistics ? "the driver tells registers, memory and the like (profile --json)" : "the driver tells nothing");
  if (d->counters) text_printf(t, "     counters        %u of the hardware (profile --counters)\n", d->counters);
  else text_printf(t, "     counters        none of the hardware\n");
  for (uint32_t i = 0; i < d->n_forms; i++) form_text(t, &d->forms[i]);
}

static void on_device(void *ud, const struct lrqk_device_info *d) {
  struct list *l = ud;
  l->n++;
  if (l->u->json) as_json(&l->t, d);
  else as_text(&l->t, d, l->u->verbose);
}

static void count(void *ud, const struct lrqk_device_info *d) {
  unsigned *n = ud;
  if ((unsigned)d->index >= *n && strcmp(d->backend, "host")) *n = (unsigned)d->index + 1;   /* host has one form of everything */
}

static int measure(struct ui *u) {
  unsigned n = 0;
  int code = (int)lrqk_devices(ui_log, u, count, &n);
  for (unsigned i = 0; !code && i < n; i++) {
    char index[16];
    snprintf(index, sizeof index, "%u", i);
    code = (int)lrqk_device_measure(index, ui_log, u);
    if (!code && ui_interrupted()) code = LRQK_INTERRUPTED;
  }
  return code;
}

int cmd_devices(struct ui *u, const struct options *o) {
  struct list l = {.u = u};
  int code = o->measure ? measure(u) : 0;
  if (code) return code;
  if (o->json) {
    json_open(&l.t, '{');
    json_key(&l.t, "devices");
    json_open(&l.t, '[');
  }
  code = (int)lrqk_devices(ui_log, u, on_device, &l);
  if (!code && !l.n) code = ui_fail(u, LRQK_DEVICE, "no device: no driver answered");
  if (code) {
    text_free(&l.t);
    return code;
  }
  if (!o->json) return out_text(u, &l.t);
  json_close(&l.t, ']');
  json_close(&l.t, '}');
  return out_json(u, &l.t);
}
