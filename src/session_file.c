/* session_file.c - sessions on disk: a head with checksums, then the text, its logits, a note of the caller's and what the policy
 * holds (attention_ops.state).  Files are little endian, as everything else that the engine maps. */
#include <stdio.h>
#include <string.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "session.h"
#include "session_file.h"

/* ---- the head */

enum { HAS_LOGITS = 1, HAS_MARK = 2, MARK_HAS_LOGITS = 4, ALL_FLAGS = 7 };

static const char magic[8] = "LRQKses";

static struct hash128 head_hash(const struct session_head *h) { return hash128_of(h, offsetof(struct session_head, own), false); }

static enum lrqk_status refuse(const struct log *log, const char *hint) {
  log_hint(log, "%s", hint);
  return LRQK_USAGE;
}

static enum lrqk_status need_hash(const struct log *log) {
  if (hash_available()) return LRQK_OK;
  return fail(log, LRQK_USAGE, "sessions cannot be saved or loaded: this build was made without xxhash");
}

static const char *const other_name = "it is left as it is; remove it, or give another name";

/* What can be said before anything is loaded. */
static enum lrqk_status check_head(const struct log *log, const char *path, const struct mapfile *f, lrqk_model *m, struct session_head *h) {
  struct state damaged = { .log = log, .path = path };
  TRY(need_hash(log));
  if (f->size < sizeof *h || memcmp(f->data, magic, sizeof magic)) {
    fail(log, LRQK_USAGE, "%s: is not a saved session", path);
    return refuse(log, other_name);
  }
  memcpy(h, f->data, sizeof *h);
  if (h->version != SESSION_VERSION) {
    fail(log, LRQK_USAGE, "%s: was saved in version %u of the format, this program reads version %d", path, h->version, SESSION_VERSION);
    return refuse(log, other_name);
  }
  if (!hash_same(h->own, head_hash(h))) return state_damaged(&damaged, "the checksum of its head is wrong");
  if (h->file_bytes != f->size) return state_damaged(&damaged, "its length is not what it was");
  if (h->flags & ~(uint32_t)ALL_FLAGS || h->n_marked > h->n_tokens || (h->flags & MARK_HAS_LOGITS && !(h->flags & HAS_MARK)) ||
      !memchr(h->settings, 0, sizeof h->settings) || h->note_bytes > f->size)
    return state_damaged(&damaged, "its head makes no sense");
  if (!hash_same(h->model, engine_model_hash(m))) {
    fail(log, LRQK_USAGE, "%s: was saved with another model than %s", path, m->gguf->path);
    return refuse(log, "give the model that it was saved with, or another name for the session");
  }
  return LRQK_OK;
}

/* Names the first option that differs. */
static enum lrqk_status check_settings(const struct log *log, const char *path, const char *saved, const char *now) {
  if (!strcmp(saved, now)) return LRQK_OK;
  while (*saved && *now) {
    size_t a = strcspn(saved, " "), b = strcspn(now, " ");
    if (a != b || memcmp(saved, now, a)) break;
    saved += a + (saved[a] == ' ');
    now += b + (now[b] == ' ');
  }
  fail(log, LRQK_USAGE, "%s: was saved with %.*s, this session has %.*s", path, (int)strcspn(saved, " "), saved, (int)strcspn(now, " "), now);
  return refuse(log, "give the options that it was saved with, or another name for the session");
}

/* ---- what follows it */

static enum lrqk_status walk(lrqk_session *s, struct state *st, struct session_head *h, void *note) {
  uint64_t logits = (uint64_t)s->engine->weights->hp.n_vocab * sizeof *s->logits;
  TRY(state_host(st, s->ids, (uint64_t)h->n_tokens * sizeof *s->ids));
  if (h->note_bytes) TRY(state_host(st, note, h->note_bytes));
  if (h->flags & HAS_LOGITS) TRY(state_host(st, s->logits, logits));
  if (h->flags & MARK_HAS_LOGITS) TRY(state_host(st, s->marked_logits, logits));
  return attention_state(s->attention, st, h->n_tokens, h->n_marked, h->flags & HAS_MARK);
}

static enum lrqk_status idle(lrqk_session *s) {
  TRY(device_submit(s->engine->dev, NULL));
  return device_wait(s->engine->dev, 0);
}

/* ---- save */

/* The head goes last: it needs the checksum of all that was written. */
static enum lrqk_status finish(struct savefile *f, struct session_head *h, const struct log *log) {
  struct mapfile map;
  h->file_bytes = f->bytes;
  TRY(mapfile_open(&map, log, f->part, LRQK_RUNTIME, "what was just written"));
  h->payload = hash128_of(map.data + sizeof *h, map.size - sizeof *h, true);
  mapfile_close(&map);
  h->own = head_hash(h);
  TRY(savefile_head(f, h, sizeof *h));
  return savefile_commit(f);
}

enum lrqk_status lrqk_session_save(lrqk_session *s, const char *path, const void *note, size_t note_bytes) {
  const struct log *log = &s->engine->model->log;
  struct session_head h = { .version = SESSION_VERSION, .n_tokens = s->length, .n_marked = s->has_mark ? s->marked : 0, .n_ctx = s->n_ctx,
                            .note_bytes = note_bytes };
  struct savefile f;
  TRY(need_hash(log));
  memcpy(h.magic, magic, sizeof magic);
  if (s->has_logits) h.flags |= HAS_LOGITS;
  if (s->has_mark) h.flags |= HAS_MARK;
  if (s->has_mark && s->marked_has_logits) h.flags |= MARK_HAS_LOGITS;
  h.model = engine_model_hash(s->engine->model);
  attention_settings(s->attention, h.settings);
  TRY(idle(s));
  struct state st = { .dev = s->engine->dev, .log = log, .path = path, .out = &f, .bounce = mem_alloc(STATE_BOUNCE, 1) };
  if (!st.bounce) return fail(log, LRQK_MEMORY, "%s: no memory for %d bytes to save it through", path, STATE_BOUNCE);
  enum lrqk_status r = savefile_open(&f, log, path);
  if (r == LRQK_OK) r = savefile_write(&f, &h, sizeof h);
  if (r == LRQK_OK) r = walk(s, &st, &h, (void *)note);
  if (r == LRQK_OK) r = finish(&f, &h, log);
  savefile_close(&f);
  mem_free(st.bounce);
  return r;
}

/* ---- load */

static bool ids_are_right(const lrqk_session *s, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (s->ids[i] < -1 || s->ids[i] >= (int32_t)s->engine->weights->hp.n_vocab) return false;
  return true;
}

static enum lrqk_status load(lrqk_session *s, struct state *st, struct session_head *h, void *note) {
  TRY(walk(s, st, h, note));
  if (st->at != st->end) return state_damaged(st, "it is longer than what it should hold");
  if (!ids_are_right(s, h->n_tokens)) return state_damaged(st, "a token is outside the vocabulary");
  return idle(s);
}

/* What was read so far is forgotten: sums go on from nothing. */
static void forget(lrqk_session *s, uint32_t n) {
  (void)attention_cut(s->attention, n ? n : 1, 0, false);
  idle(s);
  s->length = 0;
  s->has_logits = s->has_mark = false;
}

static enum lrqk_status load_mapped(lrqk_session *s, const struct mapfile *f, const char *path, void **note, size_t *note_bytes) {
  const struct log *log = &s->engine->model->log;
  char settings[ATTENTION_SETTINGS];
  struct session_head h;
  TRY(check_head(log, path, f, s->engine->model, &h));
  attention_settings(s->attention, settings);
  TRY(check_settings(log, path, h.settings, settings));
  if (h.n_tokens > s->n_ctx) {
    fail(log, LRQK_PROMPT, "%s: the session has %u tokens, the context %u", path, h.n_tokens, s->n_ctx);
    log_hint(log, "-c %u or more holds it", h.n_tokens);
    return LRQK_PROMPT;
  }
  struct state st = { .dev = s->engine->dev, .log = log, .path = path, .loading = true, .in = f->data, .at = sizeof h, .end = f->size };
  if (!hash_same(h.payload, hash128_of(f->data + st.at, st.end - st.at, true))) return state_damaged(&st, "its checksum is wrong");
  char *text = mem_alloc(h.note_bytes + 1, 1);
  if (!text) return fail(log, LRQK_MEMORY, "%s: no memory for its note", path);
  enum lrqk_status r = lrqk_session_truncate(s, 0);
  if (r == LRQK_OK) r = load(s, &st, &h, text);
  if (r != LRQK_OK || !note) mem_free(text);
  if (r != LRQK_OK) { forget(s, h.n_tokens); return r; }
  s->length = h.n_tokens;
  s->has_logits = h.flags & HAS_LOGITS;
  s->has_mark = h.flags & HAS_MARK;
  s->marked = h.n_marked;
  s->marked_has_logits = h.flags & MARK_HAS_LOGITS;
  if (note) { *note = text; *note_bytes = h.note_bytes; }
  return LRQK_OK;
}

enum lrqk_status lrqk_session_load(lrqk_session *s, const char *path, void **note, size_t *note_bytes) {
  const struct log *log = &s->engine->model->log;
  struct mapfile f;
  TRY(mapfile_open(&f, log, path, LRQK_USAGE, "a saved session"));
  enum lrqk_status r = load_mapped(s, &f, path, note, note_bytes);
  mapfile_close(&f);
  return r;
}

enum lrqk_status lrqk_session_peek(lrqk_model *m, const char *path, struct lrqk_session_info *out) {
  struct session_head h;
  struct mapfile f;
  TRY(mapfile_open(&f, &m->log, path, LRQK_USAGE, "a saved session"));
  enum lrqk_status r = check_head(&m->log, path, &f, m, &h);
  mapfile_close(&f);
  if (r == LRQK_OK) *out = (struct lrqk_session_info){ .n_tokens = h.n_tokens, .n_ctx = h.n_ctx, .file_bytes = h.file_bytes, .note_bytes = h.note_bytes };
  return r;
}

void session_file_seal(unsigned char *data, size_t size) {
  struct session_head h;
  if (size < sizeof h) return;
  memcpy(&h, data, sizeof h);
  h.file_bytes = size;
  h.payload = hash128_of(data + sizeof h, size - sizeof h, false);
  h.own = head_hash(&h);
  memcpy(data, &h, sizeof h);
}
