/* cmd_inspect.c - `lrqk inspect`: keys, hyper-parameters and tensors of a model file. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "work.h"

enum { VALUE = 4096 };   /* bytes kept of one value; chat templates are the longest */

static void shape(const struct lrqk_tensor_info *x, char out[96]) {
  size_t n = 0;
  out[0] = 0;
  for (uint32_t i = 0; i < x->n_dims && i < 4; i++)
    n += (size_t)snprintf(out + n, 96 - n, "%s%llu", i ? " x " : "", (unsigned long long)x->dims[i]);
}

/* Keys may hold anything: control characters become blanks, long values are cut. */
static void one_line(struct text *t, const char *s, size_t most) {
  struct text clean = {0};
  size_t len = strlen(s);
  text_utf8(&clean, s, len < most ? len : most);
  for (size_t i = 0; i < clean.len; i++)
    if ((unsigned char)clean.s[i] < 0x20 || clean.s[i] == 0x7f) clean.s[i] = ' ';
  if (clean.s) text_add(t, clean.s, clean.len);
  if (len > most) text_add(t, "...", 3);
  t->failed = t->failed || clean.failed;
  text_free(&clean);
}

static const struct { const char *name; size_t at; } hyper[] = {
#define FIELD(f) {#f, offsetof(struct lrqk_model_info, f)}
  FIELD(n_layers), FIELD(n_embd), FIELD(n_ff), FIELD(n_heads), FIELD(n_kv_heads), FIELD(head_size), FIELD(n_vocab), FIELD(n_ctx),
#undef FIELD
};

static uint32_t hyper_value(const struct lrqk_model_info *info, size_t i) {
  return *(const uint32_t *)(const void *)((const char *)info + hyper[i].at);
}

static void as_text(struct text *t, const struct work *w, const char *path) {
  const struct lrqk_model_info *m = &w->info;
  char a[24], b[24], dims[96], value[VALUE];
  text_printf(t, "%s\n  %s", path, m->architecture);
  if (*m->name) {
    text_add(t, ", ", 2);
    one_line(t, m->name, 80);
  }
  text_printf(t, ", %.1f M parameters, %s (weights %s), chat template: %s\n", (double)m->parameters / 1e6, human_bytes(m->file_bytes, a),
              human_bytes(m->weight_bytes, b), *m->chat_template ? m->chat_template : "none");
  size_t n_hyper = m->n_layers ? sizeof hyper / sizeof hyper[0] : 0;   /* not known of a file that cannot be run */
  for (size_t i = 0; i < n_hyper; i++)
    text_printf(t, "%s %s %u%s", i ? "" : " ", hyper[i].name, hyper_value(m, i), i + 1 < n_hyper ? "," : "\n");
  text_printf(t, "\nKeys (%u):\n", m->n_keys);
  for (uint32_t i = 0; i < m->n_keys; i++) {
    const char *name, *type;
    lrqk_model_key(w->model, i, &name, &type, value, sizeof value);
    text_add(t, "  ", 2);
    one_line(t, name, 200);
    text_printf(t, "  %s  ", type);
    one_line(t, value, 100);
    text_add(t, "\n", 1);
  }
  text_printf(t, "\nTensors (%u):\n", m->n_tensors);
  for (uint32_t i = 0; i < m->n_tensors; i++) {
    struct lrqk_tensor_info x;
    lrqk_model_tensor(w->model, i, &x);
    shape(&x, dims);
    text_add(t, "  ", 2);
    one_line(t, x.name, 200);
    text_printf(t, "  %s  %s  %s\n", x.type, dims, human_bytes(x.bytes, a));
  }
}

/* code and message: why the model cannot be run, 0 and NULL if it can. */
static void as_json(struct text *t, const struct work *w, const char *path, int code, const char *message) {
  const struct lrqk_model_info *m = &w->info;
  char value[VALUE];
  json_open(t, '{');
  json_field_string(t, "file", path);
  json_field_string(t, "architecture", m->architecture);
  json_field_string(t, "name", m->name);
  json_field_uint(t, "file_bytes", m->file_bytes);
  json_field_uint(t, "weight_bytes", m->weight_bytes);
  json_field_uint(t, "parameters", m->parameters);
  json_field_string(t, "chat_template", m->chat_template);
  json_field_int(t, "bos", m->bos);
  json_field_int(t, "eos", m->eos);
  json_key(t, "hyperparameters");
  json_open(t, '{');
  for (size_t i = 0; i < sizeof hyper / sizeof hyper[0]; i++) json_field_uint(t, hyper[i].name, hyper_value(m, i));
  json_close(t, '}');
  json_key(t, "keys");
  json_open(t, '[');
  for (uint32_t i = 0; i < m->n_keys; i++) {
    const char *name, *type;
    lrqk_model_key(w->model, i, &name, &type, value, sizeof value);
    json_open(t, '{');
    json_field_string(t, "name", name);
    json_field_string(t, "type", type);
    json_field_string(t, "value", value);
    json_close(t, '}');
  }
  json_close(t, ']');
  json_key(t, "tensors");
  json_open(t, '[');
  for (uint32_t i = 0; i < m->n_tensors; i++) {
    struct lrqk_tensor_info x;
    lrqk_model_tensor(w->model, i, &x);
    json_open(t, '{');
    json_field_string(t, "name", x.name);
    json_field_string(t, "type", x.type);
    json_key(t, "shape");
    json_open(t, '[');
    for (uint32_t d = 0; d < x.n_dims && d < 4; d++) json_uint(t, x.dims[d]);
    json_close(t, ']');
    json_field_uint(t, "offset", x.offset);
    json_field_uint(t, "bytes", x.bytes);
    json_close(t, '}');
  }
  json_close(t, ']');
  if (code) ui_error_json(t, code, message, "");
  json_close(t, '}');
  text_add(t, "\n", 1);
}

/* A file that cannot be run is shown as far as it can be read, and is an error all the same. */
static int show_what_can_be_read(struct ui *u, const struct options *o, int code) {
  struct ui silent = {.phase = -1, .quiet = true};
  struct work w = {0};
  struct text t = {0};
  if (!work_model(&silent, &w, o->model, DIRECTORY)) {
    if (o->json) as_json(&t, &w, o->model, code, u->error);
    else as_text(&t, &w, o->model);
    u->json = false;   /* the error is part of the object */
    int out = out_text(u, &t);
    if (out) code = out;
  }
  work_close(&w);
  return code;
}

int cmd_inspect(struct ui *u, const struct options *o) {
  struct work w = {0};
  struct text t = {0};
  int code = work_model(u, &w, o->model, WHOLE);
  if (!code) {
    if (o->json) as_json(&t, &w, o->model, 0, NULL);
    else as_text(&t, &w, o->model);
    code = out_text(u, &t);
  } else if (code == LRQK_MODEL) {
    code = show_what_can_be_read(u, o, code);
  }
  work_close(&w);
  return code;
}
