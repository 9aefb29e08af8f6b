/* engine.c - the public calls about files, tokens, devices and engines. */
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/probe.h"
#include "plan.h"
#include "token/chat.h"

/* ---- devices */

enum lrqk_status lrqk_devices(lrqk_log_fn log_fn, void *log_ud, void (*fn)(void *ud, const struct lrqk_device_info *d), void *ud) {
  const struct log log = { log_fn, log_ud };
  struct lrqk_device_info *list;
  size_t n;
  TRY(device_list(&list, &n, &log));
  for (size_t i = 0; i < n; i++) {
    struct forms forms;
    form_defaults(&forms, &list[i]);
    form_load(&forms, &list[i]);
    form_describe(&list[i], &forms);
    fn(ud, &list[i]);
  }
  mem_free(list);
  return LRQK_OK;
}

enum lrqk_status lrqk_device_measure(const char *device, lrqk_log_fn log_fn, void *log_ud) {
  const struct log log = { log_fn, log_ud };
  struct device *d;
  TRY(device_open(&d, &log, &(struct device_options){ .select = device }));
  struct forms forms;
  enum lrqk_status s = probe_forms(&forms, d);
  if (s == LRQK_OK) form_save(&forms, &d->caps.info, &log);
  device_close(d);
  return s;
}

/* Capabilities choose, then times that were measured; a GPU is measured when it is first met. */
static enum lrqk_status choose_forms(struct device *d, const char *pinned) {
  const struct lrqk_device_info *info = &d->caps.info;
  form_defaults(&d->forms, info);
  if (!form_load(&d->forms, info) && !d->caps.cpu && !d->counting && (!pinned || !strcmp(pinned, "auto"))) {
    TRY(probe_forms(&d->forms, d));
    form_save(&d->forms, info, &d->log);
  }
  return pinned ? form_pin(&d->forms, info, pinned, &d->log) : LRQK_OK;
}

/* ---- model */

static char *copy_string(lrqk_model *m, const char *key) {
  struct gguf_str s = { "", 0 };
  const struct gguf_key *k = gguf_find(m->gguf, key);
  if (k && k->type == GGUF_STRING) gguf_string(m->gguf, key, false, &s);
  return arena_text(&m->arena, s.s, s.len);
}

static enum lrqk_status copy_names(lrqk_model *m) {
  const struct gguf *g = m->gguf;
  m->arch = copy_string(m, "general.architecture");
  m->name = copy_string(m, "general.name");
  m->key_name = arena_alloc(&m->arena, g->n_keys, sizeof *m->key_name);
  m->tensor_name = arena_alloc(&m->arena, g->n_tensors, sizeof *m->tensor_name);
  bool ok = m->arch && m->name && m->key_name && m->tensor_name;
  for (size_t i = 0; ok && i < g->n_keys; i++) ok = (m->key_name[i] = arena_text(&m->arena, g->keys[i].name.s, g->keys[i].name.len)) != NULL;
  for (size_t i = 0; ok && i < g->n_tensors; i++)
    ok = (m->tensor_name[i] = arena_text(&m->arena, g->tensors[i].name.s, g->tensors[i].name.len)) != NULL;
  return ok ? LRQK_OK : fail(&m->log, LRQK_MEMORY, "%s: cannot allocate its names", g->path);
}

static enum lrqk_status open_parts(lrqk_model *m, const char *path, bool vocab_only, bool directory_only) {
  TRY(gguf_open(&m->gguf, &m->log, path, vocab_only || directory_only));
  if (directory_only) TRY(gguf_join(m->gguf, true));
  TRY(copy_names(m));
  if (directory_only) return LRQK_OK;
  if (!vocab_only) {
    TRY(hparams_read(&m->hp, m->gguf));
    TRY(model_check(&m->hp, m->gguf));
    m->whole = true;
  }
  return tokenizer_open(&m->tokenizer, m->gguf, m->hp.n_vocab);
}

enum lrqk_status lrqk_model_open(lrqk_model **out, const char *path, const struct lrqk_model_options *opt) {
  static const struct lrqk_model_options none;
  if (!opt) opt = &none;
  const struct log log = { opt->log, opt->log_ud };
  lrqk_model *m = mem_alloc(1, sizeof *m);
  if (!m) return fail(&log, LRQK_MEMORY, "cannot allocate a model");
  m->log = log;
  enum lrqk_status s = open_parts(m, path, opt->vocab_only, opt->directory_only);
  if (s != LRQK_OK) { lrqk_model_close(m); return s; }
  *out = m;
  return LRQK_OK;
}

void lrqk_model_close(lrqk_model *m) {
  if (!m) return;
  tokenizer_close(m->tokenizer);
  gguf_close(m->gguf);
  arena_free(&m->arena);
  mem_free(m);
}

struct hash128 engine_model_hash(lrqk_model *m) {
  if (!m->hashed) m->hash = gguf_hash(m->gguf);
  m->hashed = true;
  return m->hash;
}

void lrqk_model_info(const lrqk_model *m, struct lrqk_model_info *out) {
  const struct gguf *g = m->gguf;
  const struct hparams *hp = &m->hp;
  *out = (struct lrqk_model_info){ .architecture = m->arch, .name = m->name, .file_bytes = g->file_bytes, .n_layers = hp->n_layers, .n_embd = hp->n_embd,
                                   .n_ff = hp->n_ff, .n_heads = hp->n_heads, .n_kv_heads = hp->n_kv_heads, .head_size = hp->head_size,
                                   .n_vocab = hp->n_vocab, .n_ctx = hp->n_ctx, .n_keys = (uint32_t)g->n_keys, .n_tensors = (uint32_t)g->n_tensors,
                                   .chat_template = chat_template_family(g), .bos = -1, .eos = -1 };
  for (size_t i = 0; i < g->n_tensors; i++) {
    out->weight_bytes += g->tensors[i].bytes;
    out->parameters += g->tensors[i].dims[0] * g->tensors[i].rows;
  }
  if (m->tokenizer) {
    out->bos = tokenizer_bos(m->tokenizer);
    out->eos = tokenizer_eos(m->tokenizer);
    if (!out->n_vocab) out->n_vocab = tokenizer_size(m->tokenizer);
  }
}

/* A value of a key as text, appended to value[0..cap). */
static void append_value(const struct gguf_key *k, uint64_t i, size_t *pos, char *value, size_t cap, size_t *used) {
  char number[64];
  struct gguf_str s;
  enum gguf_value_type t = k->type == GGUF_ARRAY ? k->element : k->type;
  if (t == GGUF_STRING) {
    s = gguf_next_string(k, pos);
  } else {
    double v = gguf_number(k, i);
    int n = t == GGUF_BOOL ? snprintf(number, sizeof number, "%s", v != 0 ? "true" : "false") : snprintf(number, sizeof number, "%.9g", v);
    s = (struct gguf_str){ number, (size_t)n };
  }
  for (size_t j = 0; j < s.len && *used + 1 < cap; j++) value[(*used)++] = s.s[j];
  value[*used] = 0;
}

static void append_text(const char *text, char *value, size_t cap, size_t *used) {
  while (*text && *used + 1 < cap) value[(*used)++] = *text++;
  value[*used] = 0;
}

void lrqk_model_key(const lrqk_model *m, uint32_t i, const char **name, const char **type, char *value, size_t cap) {
  enum { SHOWN = 3 };   /* elements of an array that tell what it is */
  const struct gguf_key *k = &m->gguf->keys[i];
  size_t used = 0, pos = 0;
  *name = m->key_name[i];
  *type = gguf_type_name(k->type);
  if (!cap) return;
  value[0] = 0;
  if (k->type != GGUF_ARRAY) { append_value(k, 0, &pos, value, cap, &used); return; }
  uint64_t n = k->count < SHOWN ? k->count : SHOWN;
  char head[64];
  snprintf(head, sizeof head, "[%llu of %llu]", (unsigned long long)n, (unsigned long long)k->count);
  append_text(head, value, cap, &used);
  for (uint64_t j = 0; j < n; j++) {
    append_text(j ? ", " : " ", value, cap, &used);
    append_value(k, j, &pos, value, cap, &used);
  }
}

void lrqk_model_tensor(const lrqk_model *m, uint32_t i, struct lrqk_tensor_info *out) {
  const struct gguf_tensor *t = &m->gguf->tensors[i];
  *out = (struct lrqk_tensor_info){ .name = m->tensor_name[i], .type = t->type ? t->type->name : "unknown", .n_dims = t->n_dims, .offset = t->offset,
                                    .bytes = t->bytes };
  memcpy(out->dims, t->dims, sizeof out->dims);
}

/* ---- tokens */

enum lrqk_status engine_give_ids(const lrqk_model *m, enum lrqk_status s, struct ids *v, size_t replaced, int32_t **ids, size_t *n) {
  if (s != LRQK_OK) { mem_free(v->id); return s; }
  if (replaced) log_warn(&m->log, "the text is not UTF-8 in %zu place%s, read as U+FFFD", replaced, replaced == 1 ? "" : "s");
  *ids = v->id;
  *n = v->n;
  return LRQK_OK;
}

enum lrqk_status lrqk_tokenize(const lrqk_model *m, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n) {
  const struct tokenizer *t = m->tokenizer;
  struct ids v = { 0 };
  size_t replaced = 0;
  enum lrqk_status s = LRQK_OK;
  if (!(flags & LRQK_TOKENIZE_NO_BOS) && tokenizer_adds_bos(t) && tokenizer_bos(t) >= 0) s = ids_push(&v, tokenizer_bos(t));
  if (s == LRQK_OK) s = tokenizer_encode(t, text, len, flags & LRQK_TOKENIZE_SPECIAL, &v, &replaced);
  if (s == LRQK_OK && (flags & LRQK_TOKENIZE_EOS) && tokenizer_adds_eos(t)) s = ids_push(&v, tokenizer_eos(t));
  return engine_give_ids(m, s, &v, replaced, ids, n);
}

enum lrqk_status lrqk_token_text(const lrqk_model *m, int32_t id, bool special, const char **text, size_t *len) {
  if (id < 0 || (uint32_t)id >= tokenizer_size(m->tokenizer))
    return fail(&m->log, LRQK_USAGE, "token %d is outside the vocabulary of %u", id, tokenizer_size(m->tokenizer));
  tokenizer_text(m->tokenizer, id, special, text, len);
  return LRQK_OK;
}

size_t lrqk_token_lead(const lrqk_model *m, int32_t prev, int32_t id) { return tokenizer_lead(m->tokenizer, prev, id); }

bool lrqk_token_is_end(const lrqk_model *m, int32_t id) { return tokenizer_is_end(m->tokenizer, id); }

/* ---- engine */

struct load_progress { lrqk_progress_fn fn; void *ud; };

static bool report_load(void *ud, uint64_t done, uint64_t total) {
  struct load_progress *p = ud;
  return !p->fn || p->fn(p->ud, LRQK_PHASE_LOAD, done, total);
}

static enum lrqk_status open_device(struct device **out, lrqk_model *m, const struct lrqk_engine_options *opt, bool counting, const struct device *as) {
  const struct device_options dev = { .select = opt->device, .timing = opt->timing, .validate = opt->validate, .capture = opt->capture,
                                      .counters = counting ? NULL : opt->counters, .counting = counting };
  return as ? device_twin(out, as) : device_open(out, &m->log, &dev);
}

static enum lrqk_status engine_open(lrqk_engine **out, lrqk_model *m, const struct lrqk_engine_options *opt, bool counting, const struct device *as) {
  if (!m->whole) return fail(&m->log, LRQK_USAGE, "%s: was opened for its vocabulary or directory only", m->gguf->path);
  lrqk_engine *e = mem_alloc(1, sizeof *e);
  if (!e) return fail(&m->log, LRQK_MEMORY, "cannot allocate an engine");
  e->model = m;
  e->timing = opt->timing;
  e->vram = counting ? 0 : opt->vram;
  struct load_progress progress = { opt->progress, opt->progress_ud };
  struct hparams hp = m->hp;
  hp.used_layers = opt->n_layers;
  enum lrqk_status s = open_device(&e->dev, m, opt, counting, as);
  if (s == LRQK_OK) e->dev->stamping = false;   /* until something is profiled */
  if (s == LRQK_OK) pace_start(&e->pace, e->dev);
  if (s == LRQK_OK && !as) s = choose_forms(e->dev, opt->form);
  if (s == LRQK_OK && e->vram) s = plan_check_weights(e, opt);
  if (s == LRQK_OK) s = model_load(&e->weights, &hp, m->gguf, e->dev, report_load, &progress);
  if (s != LRQK_OK) { lrqk_engine_close(e); return s; }
  *out = e;
  return LRQK_OK;
}

enum lrqk_status lrqk_engine_open(lrqk_engine **out, lrqk_model *m, const struct lrqk_engine_options *opt) {
  static const struct lrqk_engine_options none;
  return engine_open(out, m, opt ? opt : &none, false, NULL);
}

enum lrqk_status engine_count(lrqk_engine **out, lrqk_model *m, const struct lrqk_engine_options *opt, const struct device *as) {
  struct lrqk_engine_options quiet = *opt;
  quiet.progress = NULL;
  return engine_open(out, m, &quiet, true, as);
}

void lrqk_engine_close(lrqk_engine *e) {
  if (!e) return;
  model_free(e->weights);
  device_close(e->dev);
  mem_free(e);
}

struct figures { void (*fn)(void *ud, const struct lrqk_kernel_figure *f); void *ud; };

static void on_figure(void *ud, const struct kernel *k, const char *variant, const struct kernel_figure *f) {
  const struct figures *to = ud;
  to->fn(to->ud, &(struct lrqk_kernel_figure){ kernel_info[k->id].id, variant, f->name, f->value });
}

void lrqk_engine_kernels(lrqk_engine *e, void (*fn)(void *ud, const struct lrqk_kernel_figure *f), void *ud) {
  device_kernels(e->dev, on_figure, &(struct figures){ fn, ud });
}

void lrqk_engine_counters(const lrqk_engine *e, void (*fn)(void *ud, const struct lrqk_counter *c), void *ud) {
  for (uint32_t i = 0; i < e->dev->n_counters; i++) fn(ud, &e->dev->counter[i]);
}

void lrqk_engine_device(const lrqk_engine *e, struct lrqk_device_info *out) {
  *out = e->dev->caps.info;
  form_describe(out, &e->dev->forms);
}

void lrqk_engine_memory(const lrqk_engine *e, struct lrqk_memory *out) {
  const uint64_t *b = e->dev->placed;
  *out = (struct lrqk_memory){ .device = b[PLACE_DEVICE], .host = b[PLACE_HOST], .staging = b[PLACE_STAGING] };
}
