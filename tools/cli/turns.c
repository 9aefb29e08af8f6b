/* turns.c - see turns.h. */
#define _POSIX_C_SOURCE 200809L
#include "turns.h"

#include <stdlib.h>
#include <string.h>

#include "input.h"

/* ---- ids of a text that the session should hold ---------------------------------------------------------------- */

struct ids { int32_t *id; size_t n; };

static int out_of_memory(struct turns *t) { return ui_fail(t->u, LRQK_MEMORY, "out of memory for the ids of the conversation"); }

/* The text of the session up to `length`, and n ids more. */
static int extended(struct turns *t, uint64_t length, const int32_t *more, size_t n, struct ids *out) {
  out->n = (size_t)length + n;
  out->id = malloc((out->n + 1) * sizeof *out->id);
  if (!out->id) return out_of_memory(t);
  memcpy(out->id, lrqk_session_ids(t->w.session), (size_t)length * sizeof *out->id);
  if (n) memcpy(out->id + length, more, n * sizeof *more);
  return 0;
}

static int encoded(struct turns *t, struct ids *out) {
  int32_t *ids;
  size_t n;
  enum lrqk_status s = lrqk_chat_encode(t->template, t->m.msg, t->m.n, 0, &ids, &n);
  if (s) return (int)s;
  int code = extended(t, 0, ids, n, out);
  lrqk_free(ids);
  return code;
}

/* All messages: on top of the text of the session where that holds the last answer, as it was generated. */
static int wanted(struct turns *t, struct ids *out) {
  size_t answered = messages_last(&t->m, "assistant");
  if (!t->whole || answered == t->m.n) return encoded(t, out);
  int32_t *ids;
  size_t n, length = (size_t)lrqk_session_length(t->w.session);
  if (lrqk_chat_continue(t->template, t->m.msg, t->m.n, answered, 0, &ids, &n)) return encoded(t, out);   /* it leaves answers out */
  size_t skip = n && length && ids[0] == lrqk_session_ids(t->w.session)[length - 1];
  int code = extended(t, length, ids + skip, n - skip, out);
  lrqk_free(ids);
  return code;
}

static int too_long(struct turns *t, size_t n) {
  uint32_t most = t->w.info.n_ctx;
  size_t held = (size_t)lrqk_session_length(t->w.session);
  int code = held && n > held && t->whole
                 ? ui_fail(t->u, LRQK_PROMPT, "the context is full: this turn needs %zu tokens and one for the answer, %zu of %u are left", n - held,
                           t->w.n_ctx - held, t->w.n_ctx)
                 : ui_fail(t->u, LRQK_PROMPT, "this needs %zu tokens and one for the answer, the context has %u", n, t->w.n_ctx);
  if (t->w.n_ctx < most && held)
    ui_hint(t->u, "/clear starts again; to go on, /save FILE and start with --session FILE -c N, where N can be up to %u", most);
  else if (t->w.n_ctx < most) ui_hint(t->u, "-c %u is what the model can hold", most);
  else ui_hint(t->u, "/clear starts again; the model was trained for no more");
  return code;
}

/* Makes the session hold these ids, with the logits of the last: what it holds already is not read again. */
static int take(struct turns *t, const struct ids *ids) {
  uint64_t before = lrqk_session_length(t->w.session);
  size_t kept;
  if (ids->n >= t->w.n_ctx) return too_long(t, ids->n);
  int code = work_keep(t->u, &t->w, ids->id, ids->n, &kept);
  if (code) return code;
  if (kept < before) t->whole = false;
  double start = ui_now();
  code = (int)lrqk_session_prefill(t->w.session, ids->id + kept, ids->n - kept, 0, NULL, NULL);
  ui_clear(t->u);
  if (code) return code;
  t->last = (struct turn_figures){.read = ids->n - kept, .read_s = ui_now() - start};
  return (int)lrqk_session_mark(t->w.session);
}

/* ---- the conversation ----------------------------------------------------------------------------------------- */

enum { LEAST_CTX = 1024 };   /* what a fit into the memory leaves of a context that nobody asked for */

/* The context, and options of the cache that the memory has room for; a saved conversation goes on with its own. */
static int fit(struct turns *t, uint32_t *n_ctx) {
  const struct options *o = t->o;
  struct lrqk_session_info saved = {0};
  struct lrqk_plan plan;
  *n_ctx = o->ctx > 0 ? (uint32_t)o->ctx : t->w.info.n_ctx;
  if (o->session && work_exists(o->session)) {
    enum lrqk_status s = lrqk_session_peek(t->w.model, o->session, &saved);
    if (s) return (int)s;
  }
  return work_fit(t->u, &t->w, o, saved.n_tokens ? LRQK_KEEP_ALL : 0, *n_ctx < LEAST_CTX ? *n_ctx : LEAST_CTX, &t->cache, n_ctx, &plan);
}

int turns_open(struct turns *t) {
  uint32_t n_ctx = 0;
  const struct options *o = t->o;
  t->seed = answer_seed(o);
  int code = work_cache(t->u, o, &t->cache);
  if (!code && o->file) code = input_file(t->u, o->file, &t->document);
  if (!code) code = work_model(t->u, &t->w, o->model, WHOLE);
  if (!code) code = work_check_ctx(t->u, &t->w, o->ctx);
  if (!code) code = work_chat(t->u, &t->w, o->chat_template, &t->template);
  if (code && t->w.model && !*t->w.info.chat_template && !o->chat_template) ui_hint(t->u, "--chat-template names a template");
  if (!code && o->system && *o->system) code = messages_add(t->u, &t->m, "system", o->system, strlen(o->system));
  if (!code) code = fit(t, &n_ctx);
  if (!code) code = work_engine(t->u, &t->w, o);
  return code ? code : work_session(t->u, &t->w, &t->cache, n_ctx);
}

void turns_close(struct turns *t) {
  lrqk_chat_close(t->template);
  messages_free(&t->m);
  text_free(&t->document);
  work_close(&t->w);
}

/* Adds a turn of the user, below the document if that waits. */
static int add_user(struct turns *t, const char *text, size_t len) {
  struct text turn = {0};
  if (t->waits) {
    text_add(&turn, t->document.s, t->document.len);
    text_add(&turn, "\n\n", t->document.s[t->document.len - 1] == '\n' ? 1 : 2);
  }
  text_add(&turn, text, len);
  int code = turn.failed ? ui_fail(t->u, LRQK_MEMORY, "out of memory for a turn") : messages_add(t->u, &t->m, "user", turn.s, turn.len);
  text_free(&turn);
  return code;
}

/* What every first turn begins with: the ids that come before either of two texts. */
static int opening(struct turns *t, struct ids *out) {
  struct ids with[2] = {{0}};
  int code = 0;
  for (int i = 0; i < 2 && !code; i++) {
    code = add_user(t, i ? "(" : "A", 1);
    if (code) break;
    code = encoded(t, &with[i]);
    messages_cut(&t->m, t->m.n - 1);
  }
  *out = with[0];
  if (!code)
    for (out->n = 0; out->n < with[0].n && out->n < with[1].n && with[0].id[out->n] == with[1].id[out->n];) out->n++;
  free(with[1].id);
  return code;
}

int turns_restart(struct turns *t) {
  struct ids ids = {0};
  messages_cut(&t->m, t->m.n && !strcmp(t->m.msg[0].role, "system"));
  t->whole = false;
  t->answer_at = 0;
  t->waits = t->document.len;
  if (!t->waits) return (int)lrqk_session_truncate(t->w.session, 0);
  int code = opening(t, &ids);
  if (!code) code = take(t, &ids);
  free(ids.id);
  return code;
}

int turns_system(struct turns *t, const char *text) {
  messages_cut(&t->m, 0);
  int code = text ? messages_add(t->u, &t->m, "system", text, strlen(text)) : 0;
  return code ? code : turns_restart(t);
}

/* ---- turns ---------------------------------------------------------------------------------------------------- */

static void count(struct turns *t, const struct answer *a) {
  t->last.generated = a->n_tokens;
  t->last.first_s = t->last.read_s + a->first_s;
  t->last.decode_s = a->decode_s;
  t->last.finish = a->finish;
  t->sum.read += t->last.read;
  t->sum.read_s += t->last.read_s;
  t->sum.generated += t->last.generated;
  t->sum.decode_s += t->last.decode_s;
}

/* The session holds everything up to where the answer begins. */
static int answer(struct turns *t, const struct ids *ids) {
  struct answer a = {.u = t->u, .o = t->o, .w = &t->w};
  uint64_t room = t->w.n_ctx - ids->n, limit = t->o->predict >= 0 && (uint64_t)t->o->predict < room ? (uint64_t)t->o->predict : room;
  t->answer_at = ids->n;
  int code = answer_sampler(&a, t->seed + t->n_answers++, ids->id, ids->n);
  if (!code) code = answer_generate(&a, ids->id[ids->n - 1], limit);
  if (!code || code == LRQK_INTERRUPTED) {
    int more = answer_hold(&a);
    if (!more) more = messages_add(t->u, &t->m, "assistant", a.text.s, a.text.len);
    if (!more && a.text.len && a.text.s[a.text.len - 1] != '\n') more = out_bytes(t->u, "\n", 1);
    t->whole = !more;
    if (more) code = more;
    count(t, &a);
  }
  answer_free(&a);
  return code;
}

int turns_ask(struct turns *t, const char *text, size_t len) {
  struct ids ids = {0};
  t->last = (struct turn_figures){0};
  int code = add_user(t, text, len);
  if (code) return code;
  code = wanted(t, &ids);
  if (!code) code = take(t, &ids);
  if (code) messages_cut(&t->m, t->m.n - 1);
  else t->waits = false;
  if (!code) code = answer(t, &ids);
  free(ids.id);
  return code;
}

int turns_again(struct turns *t) {
  struct ids ids = {0};
  size_t last = messages_last(&t->m, "assistant");
  t->last = (struct turn_figures){0};
  if (last == t->m.n) return ui_fail(t->u, LRQK_USAGE, "there is no answer yet");
  struct messages all = t->m;
  t->m.n = last;   /* without the answer, which comes back if another cannot begin */
  int code = t->whole ? extended(t, t->answer_at, NULL, 0, &ids) : encoded(t, &ids);
  if (!code) code = take(t, &ids);
  t->m = all;
  if (!code) messages_cut(&t->m, last);
  if (!code) code = answer(t, &ids);
  free(ids.id);
  return code;
}

/* ---- on disk -------------------------------------------------------------------------------------------------- */

int turns_save(struct turns *t, const char *path) {
  if (!t->whole) return ui_fail(t->u, LRQK_USAGE, "there is no answer yet, nothing to save");
  struct text note = {0};
  messages_write(&t->m, t->answer_at, &note);
  int code = note.failed ? out_of_memory(t) : work_save(t->u, &t->w, path, &note);
  text_free(&note);
  return code;
}

static int adopt(struct turns *t, const char *path, const void *note, size_t len) {
  messages_cut(&t->m, 0);
  t->answer_at = 0;
  int code = messages_read(t->u, path, note, len, &t->m, &t->answer_at);
  uint64_t held = lrqk_session_length(t->w.session);
  if (!code && (!t->m.n || messages_last(&t->m, "assistant") != t->m.n - 1 || !t->answer_at || t->answer_at > held))
    code = ui_fail(t->u, LRQK_USAGE, "%s: its conversation makes no sense", path);
  t->whole = !code;
  t->waits = false;
  if (!code) return 0;
  messages_cut(&t->m, 0);
  (void)lrqk_session_truncate(t->w.session, 0);
  return code;
}

int turns_load(struct turns *t, const char *path) {
  struct lrqk_session_info info;
  double start = ui_now();
  enum lrqk_status s = lrqk_session_peek(t->w.model, path, &info);
  if (s) return (int)s;
  if (!info.note_bytes) {
    int code = ui_fail(t->u, LRQK_USAGE, "%s: holds a text without turns: `lrqk run` saved it, not a chat", path);
    ui_hint(t->u, "`lrqk run --session %s` can go on from it", path);
    return code;
  }
  void *note;
  size_t len;
  s = lrqk_session_load(t->w.session, path, &note, &len);
  if (s) return (int)s;
  int code = adopt(t, path, note, len);
  lrqk_free(note);
  if (!code) ui_note(t->u, "session %s: %zu messages, %llu tokens, loaded in %.2f s", path, t->m.n,
                     (unsigned long long)lrqk_session_length(t->w.session), ui_now() - start);
  return code;
}
