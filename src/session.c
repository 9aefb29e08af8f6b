/* session.c - one text on an engine: forward pass plus attention policy, and the figures about its cache. */
#include "session.h"

#include <string.h>

#include "base/mem.h"
#include "plan.h"
#include "profile/profile.h"

static enum lrqk_status open_parts(lrqk_session *s, const struct lrqk_session_options *opt) {
  struct device *dev = s->engine->dev;
  const struct hparams *hp = &s->engine->weights->hp;
  uint32_t chunk;
  TRY(attn_chunk(&chunk, dev, hp, s->n_ctx));
  s->logits = mem_alloc(hp->n_vocab, sizeof *s->logits);
  s->marked_logits = mem_alloc(hp->n_vocab, sizeof *s->marked_logits);
  s->ids = mem_alloc(s->n_ctx, sizeof *s->ids);
  if (!s->logits || !s->marked_logits || !s->ids) return fail(&dev->log, LRQK_MEMORY, "cannot allocate %u ids and twice %u logits", s->n_ctx, hp->n_vocab);
  TRY(forward_init(&s->forward, s->engine->weights, s->n_ctx, chunk));
  return attention_open(&s->attention, dev, hp, s->n_ctx, &opt->cache, s->forward.step);
}

enum lrqk_status lrqk_session_open(lrqk_session **out, lrqk_engine *e, const struct lrqk_session_options *opt) {
  const struct hparams *hp = &e->weights->hp;
  const struct log *log = &e->model->log;
  uint32_t n_ctx = opt->n_ctx ? opt->n_ctx : hp->n_ctx;
  if (n_ctx > hp->n_ctx && !opt->beyond) {
    fail(log, LRQK_USAGE, "a context of %u tokens is beyond the %u that the model was trained for", n_ctx, hp->n_ctx);
    log_hint(log, "use -c %u or less", hp->n_ctx);
    return LRQK_USAGE;
  }
  if (e->vram) TRY(plan_check(e, opt));
  lrqk_session *s = mem_alloc(1, sizeof *s);
  if (!s) return fail(log, LRQK_MEMORY, "cannot allocate a session");
  *s = (lrqk_session){ .engine = e, .n_ctx = n_ctx, .progress = opt->progress, .progress_ud = opt->progress_ud };
  enum lrqk_status st = open_parts(s, opt);
  if (st == LRQK_MEMORY) log_hint(log, "a smaller context (-c) or fewer active tokens (--active) need less memory; --attention lrqk keeps KV on the host");
  if (st != LRQK_OK) { lrqk_session_close(s); return st; }
  *out = s;
  return LRQK_OK;
}

void lrqk_session_close(lrqk_session *s) {
  if (!s) return;
  device_wait(s->engine->dev, 0);
  attention_close(s->attention);
  profile_close(s->profile);
  forward_destroy(&s->forward);
  mem_free(s->logits);
  mem_free(s->marked_logits);
  mem_free(s->ids);
  mem_free(s);
}

/* ---- prefill */

struct prefill_progress { lrqk_session *s; uint64_t done, total; uint32_t layers; };

static bool report_prefill(void *ud, uint64_t done, uint64_t total) {
  struct prefill_progress *p = ud;
  (void)total;
  return !p->s->progress || p->s->progress(p->s->progress_ud, LRQK_PHASE_PREFILL, p->done + done / p->layers, p->total);
}

static void keep_logits(lrqk_session *s, const float *logits) {
  memcpy(s->logits, logits, (size_t)s->engine->weights->hp.n_vocab * sizeof *logits);
  s->has_logits = true;
}

/* Hands out the logits of the block [l0, l0 + n) from position `from` on and keeps those of its last token. */
static enum lrqk_status block_logits(lrqk_session *s, uint32_t l0, uint32_t n, uint64_t from, lrqk_logits_fn fn, void *ud) {
  const float *logits = NULL;
  uint32_t vocab = s->engine->weights->hp.n_vocab, i = n - 1, rows;
  if (fn && from < l0 + n) i = from <= l0 ? 0 : (uint32_t)(from - l0);
  for (; i < n; i += rows) {
    rows = n - i < s->forward.logit_rows ? n - i : s->forward.logit_rows;
    TRY(forward_logits(&s->forward, l0, i, rows, &logits));
    for (uint32_t r = 0; fn && r < rows; r++)
      if (l0 + i + r >= from && !fn(ud, l0 + i + r, logits + (size_t)r * vocab)) return LRQK_INTERRUPTED;
    if (i + rows == n) keep_logits(s, logits + (size_t)(rows - 1) * vocab);
  }
  return LRQK_OK;
}

static enum lrqk_status prefill_blocks(lrqk_session *s, const int32_t *ids, uint32_t n, uint64_t from, lrqk_logits_fn fn, void *ud) {
  struct prefill_progress progress = { .s = s, .total = n, .layers = s->engine->weights->hp.n_layers };
  for (uint32_t i = 0; i < n;) {
    uint32_t take = n - i < s->forward.block ? n - i : s->forward.block;
    TRY(forward_prefill(&s->forward, s->attention, ids + i, take, s->length + i, report_prefill, &progress));
    if (fn || i + take == n) TRY(block_logits(s, s->length + i, take, from, fn, ud));
    i += take;
    progress.done = i;
  }
  return LRQK_OK;
}

static enum lrqk_status check_room(const lrqk_session *s, size_t n) {
  const struct log *log = &s->engine->model->log;
  if (n <= s->n_ctx - s->length) return LRQK_OK;
  fail(log, LRQK_PROMPT, "%zu tokens do not fit: the context holds %u, %u of them are taken", n, s->n_ctx, s->length);
  log_hint(log, "a larger context (-c) holds more, up to %u tokens in this model", s->engine->weights->hp.n_ctx);
  return LRQK_PROMPT;
}

static enum lrqk_status check_ids(const lrqk_session *s, const int32_t *ids, size_t n) {
  uint32_t vocab = s->engine->weights->hp.n_vocab;
  TRY(check_room(s, n));
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || (uint32_t)ids[i] >= vocab)
      return fail(&s->engine->model->log, LRQK_USAGE, "token %d is outside the vocabulary of %u", ids[i], vocab);
  return LRQK_OK;
}

static void mark(lrqk_session *s) {
  attention_mark(s->attention);
  s->marked = s->length;
  s->has_mark = true;
  s->marked_has_logits = s->has_logits;
  if (s->has_logits) memcpy(s->marked_logits, s->logits, (size_t)s->engine->weights->hp.n_vocab * sizeof *s->logits);
}

/* The first n tokens stay; sums are those of `from` tokens, at the mark if kept. */
static enum lrqk_status cut(lrqk_session *s, uint32_t from, uint32_t n, bool kept) {
  TRY(attention_cut(s->attention, from, n, kept));
  s->length = n;
  s->has_logits = s->kept = false;
  TRY(device_submit(s->engine->dev, NULL));
  return device_wait(s->engine->dev, 0);
}

static enum lrqk_status rewind_to_mark(lrqk_session *s) {
  TRY(cut(s, s->marked, s->marked, true));
  if (s->marked_has_logits) keep_logits(s, s->marked_logits);
  return LRQK_OK;
}

/* The end of a call that appends n tokens at once. */
static enum lrqk_status appended(lrqk_session *s, enum lrqk_status st, size_t n) {
  s->kept = false;
  if (st == LRQK_OK) s->length += (uint32_t)n;
  else if (st == LRQK_INTERRUPTED) TRY(rewind_to_mark(s));
  return st;
}

/* What the commands that follow are for, to tools that look on. */
static void name_call(lrqk_session *s, const char *call) {
  s->engine->dev->at_call = call;
  s->engine->dev->at_token = s->length;
}

enum lrqk_status lrqk_session_prefill(lrqk_session *s, const int32_t *ids, size_t n, uint64_t from, lrqk_logits_fn fn, void *ud) {
  TRY(check_ids(s, ids, n));
  if (!n) return LRQK_OK;
  mark(s);
  memcpy(s->ids + s->length, ids, n * sizeof *ids);
  name_call(s, "prompt from");
  TRY(profile_begin(s->profile, LRQK_PHASE_PREFILL, s->length));
  enum lrqk_status st = prefill_blocks(s, ids, (uint32_t)n, from, fn, ud), end = profile_end(s->profile, st == LRQK_OK);
  name_call(s, "");
  return appended(s, st == LRQK_OK ? end : st, n);
}

enum lrqk_status lrqk_session_fill(lrqk_session *s, size_t n, uint64_t seed) {
  TRY(check_room(s, n));
  if (!n) return LRQK_OK;
  struct prefill_progress progress = { .s = s, .total = n, .layers = s->engine->weights->hp.n_layers };
  mark(s);
  s->has_logits = false;
  for (size_t i = 0; i < n; i++) s->ids[s->length + i] = -1;
  return appended(s, forward_fill(&s->forward, s->attention, (uint32_t)n, s->length, seed, report_prefill, &progress), n);
}

enum lrqk_status lrqk_session_mark(lrqk_session *s) {
  mark(s);
  TRY(device_submit(s->engine->dev, NULL));
  return device_wait(s->engine->dev, 0);
}

enum lrqk_status lrqk_session_rewind(lrqk_session *s) {
  if (!s->has_mark) return fail(&s->engine->model->log, LRQK_USAGE, "the session has nothing to go back to: no mark was set");
  return rewind_to_mark(s);
}

enum lrqk_status lrqk_session_truncate(lrqk_session *s, uint64_t n) {
  if (n > s->length) return fail(&s->engine->model->log, LRQK_USAGE, "a session of %u tokens cannot be cut to %llu", s->length, (unsigned long long)n);
  if (n == s->length) return LRQK_OK;
  if (s->has_mark && n == s->marked) return rewind_to_mark(s);
  bool kept = s->has_mark && n < s->marked;
  if (!attention_can_cut(s->attention, kept ? s->marked : s->length, (uint32_t)n))
    return fail(&s->engine->model->log, LRQK_USAGE, "a session of %u tokens cannot be cut to %llu: the windows of this model hold only the newest",
                s->length, (unsigned long long)n);
  TRY(cut(s, kept ? s->marked : s->length, (uint32_t)n, kept));
  s->has_mark = false;
  return LRQK_OK;
}

enum lrqk_status lrqk_session_copy(lrqk_session *to, lrqk_session *from) {
  const struct log *log = &to->engine->model->log;
  if (to->engine != from->engine || to->n_ctx != from->n_ctx) return fail(log, LRQK_USAGE, "a session is copied to one of the same engine and context");
  if (to->length) return fail(log, LRQK_USAGE, "a session is copied to one without tokens, this one has %u", to->length);
  if (!attention_can_lend(from->attention, to->attention))
    return fail(log, LRQK_USAGE, "only a session of policy lrqk without dense layers, with option lend or the same proxy, can be copied");
  attention_adopt(to->attention, from->attention, from->length);
  TRY(device_submit(to->engine->dev, NULL));
  TRY(device_wait(to->engine->dev, 0));
  to->length = from->length;
  memcpy(to->ids, from->ids, from->length * sizeof *to->ids);
  if (from->has_logits) keep_logits(to, from->logits);
  return LRQK_OK;
}

enum lrqk_status lrqk_session_decode(lrqk_session *s, int32_t id) {
  TRY(check_ids(s, &id, 1));
  TRY(profile_begin(s->profile, LRQK_PHASE_DECODE, s->length));
  name_call(s, "token");
  device_frame(s->engine->dev, true);
  s->engine->dev->decoding = true;
  s->engine->pace.step = s->forward.step_words;
  const float *logits;
  enum lrqk_status st = forward_decode(&s->forward, s->attention, id, s->length, &logits);
  s->engine->dev->decoding = false;
  s->engine->pace.step = NULL;
  device_frame(s->engine->dev, false);
  name_call(s, "");
  enum lrqk_status end = profile_end(s->profile, st == LRQK_OK);
  if (st == LRQK_OK) {
    keep_logits(s, logits);
    s->ids[s->length++] = id;
    s->decoded++;
    s->kept = s->attention->keep;
  }
  return st == LRQK_OK ? end : st;
}

const float *lrqk_session_logits(const lrqk_session *s) { return s->has_logits ? s->logits : NULL; }
const int32_t *lrqk_session_ids(const lrqk_session *s) { return s->ids; }
uint64_t lrqk_session_length(const lrqk_session *s) { return s->length; }

/* ---- profiling */

static enum lrqk_status check_timing(const lrqk_engine *e) {
  if (e->timing && e->dev->caps.info.timestamp_period_ns > 0) return LRQK_OK;
  return fail(&e->model->log, LRQK_USAGE, "%s", e->timing ? "the device has no timestamps" : "the engine was opened without timing");
}

enum lrqk_status lrqk_session_profile(lrqk_session *s, const struct lrqk_profile_options *opt) {
  profile_close(s->profile);
  s->profile = NULL;
  if (!opt) return LRQK_OK;
  TRY(check_timing(s->engine));
  return profile_open(&s->profile, s->engine->dev, s->engine->weights->hp.n_layers, s->forward.step_words, s->decoded == 0, opt);
}

enum lrqk_status lrqk_engine_ceilings(lrqk_engine *e, struct lrqk_ceilings *out) {
  TRY(check_timing(e));
  return ceilings_measure(e->dev, out);
}

/* ---- figures */

enum lrqk_status lrqk_session_stats(lrqk_session *s, struct lrqk_cache_stats *out) {
  struct attention_stats st;
  TRY(attention_stats(s->attention, &st));
  const struct attn_core *c = &s->attention->core;
  *out = (struct lrqk_cache_stats){ .policy = s->attention->opt.policy, .device_bytes = st.device_bytes, .host_bytes = st.host_bytes,
                                    .full_bytes = (uint64_t)c->hp->n_layers * c->n_ctx * c->token_bytes, .decoded = s->decoded,
                                    .bus_bytes = st.bus_bytes, .hidden_bytes = st.hidden_bytes, .chosen = st.chosen, .misses = st.misses };
  return LRQK_OK;
}

static enum lrqk_status check_heads(const lrqk_session *s, size_t cap) {
  size_t n = (size_t)s->attention->core.hp->n_layers * s->attention->core.hk;
  return cap >= n ? LRQK_OK : fail(&s->engine->model->log, LRQK_USAGE, "room for %zu KV heads, the model has %zu", cap, n);
}

enum lrqk_status lrqk_session_heads(lrqk_session *s, struct lrqk_head_stats *out, size_t cap) {
  struct attention *a = s->attention;
  TRY(check_heads(s, cap));
  memset(out, 0, (size_t)a->core.hp->n_layers * a->core.hk * sizeof *out);
  for (uint32_t i = 0; a->ops->heads && i < a->core.hp->n_layers; i++) TRY(a->ops->heads(a, i, out + (size_t)i * a->core.hk));
  return LRQK_OK;
}

enum lrqk_status lrqk_session_chosen(lrqk_session *s, uint32_t layer, uint32_t kv_head, uint32_t *tokens, size_t cap, size_t *n) {
  struct attention *a = s->attention;
  if (layer >= a->core.hp->n_layers || kv_head >= a->core.hk)
    return fail(&s->engine->model->log, LRQK_USAGE, "the model has no KV head %u in layer %u", kv_head, layer);
  *n = 0;
  return a->ops->chosen ? a->ops->chosen(a, layer, kv_head, tokens, cap, n) : LRQK_OK;
}

enum lrqk_status lrqk_session_keep_queries(lrqk_session *s, bool on) { return attention_keep(s->attention, on); }

enum lrqk_status lrqk_session_quality(lrqk_session *s, struct lrqk_head_quality *out, size_t cap) {
  if (!s->kept) return fail(&s->engine->model->log, LRQK_USAGE, "the quality of a step needs the queries of the last token, which were not kept");
  TRY(check_heads(s, cap));
  return attention_quality(s->attention, out);
}

enum lrqk_status lrqk_session_verify(lrqk_session *s, uint64_t *differing) {
  *differing = 0;
  return s->attention->ops->verify ? s->attention->ops->verify(s->attention, s->length, differing) : LRQK_OK;
}

enum lrqk_status lrqk_session_verify_choice(lrqk_session *s, struct lrqk_choice *out) {
  *out = (struct lrqk_choice){ 0 };
  return s->attention->ops->choice ? s->attention->ops->choice(s->attention, out) : LRQK_OK;
}
