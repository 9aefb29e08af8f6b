/* cmd_run.c - `lrqk run`: one prompt, one answer, streamed; a line of figures at the end, or one JSON object. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "cmd.h"
#include "input.h"
#include "work.h"

enum { LEAST_ANSWER = 128 };   /* tokens that a context keeps for an answer of any length */

struct run {
  struct ui *u;
  const struct options *o;
  struct work w;
  struct lrqk_cache_options cache;
  struct text prompt;
  lrqk_chat *chat;           /* NULL with --raw */
  int32_t *ids;              /* of the prompt, with its template */
  size_t n_ids;
  uint32_t n_ctx;
  uint64_t limit;            /* most tokens of the answer */
  uint64_t seed;
  struct lrqk_session_info saved;   /* of --session; n_tokens 0: there is none yet */
  bool prefilled;            /* the session holds the prompt */
  bool resumes;              /* no prompt: the saved text goes on */
  size_t reused;             /* tokens of the prompt that the session held */
  struct answer a;
  double load_s, prefill_s;
  struct lrqk_plan plan;
  struct lrqk_cache_stats stats;
};

/* ---- the prompt --------------------------------------------------------------------------------------------- */

static int tokenize(struct run *r) {
  lrqk_free(r->ids);
  r->ids = NULL;
  enum lrqk_status s;
  if (r->o->raw) {
    s = lrqk_tokenize(r->w.model, r->prompt.s, r->prompt.len, r->o->special ? LRQK_TOKENIZE_SPECIAL : 0, &r->ids, &r->n_ids);
  } else {
    struct lrqk_message msg[2];
    size_t n = 0;
    if (r->o->system && *r->o->system) msg[n++] = (struct lrqk_message){"system", r->o->system, strlen(r->o->system)};
    msg[n++] = (struct lrqk_message){"user", r->prompt.s, r->prompt.len};
    s = lrqk_chat_encode(r->chat, msg, n, 0, &r->ids, &r->n_ids);
  }
  return ui_interrupted() ? LRQK_INTERRUPTED : (int)s;
}

/* Takes the first bytes, those of about `excess` tokens, off the text; whole characters, one at least. */
static int cut(struct run *r, size_t excess) {
  int32_t *ids;
  size_t n, bytes = 0;
  enum lrqk_status s =
      lrqk_tokenize(r->w.model, r->prompt.s, r->prompt.len, LRQK_TOKENIZE_NO_BOS | (r->o->special ? LRQK_TOKENIZE_SPECIAL : 0), &ids, &n);
  if (s) return (int)s;
  for (size_t i = 0; i < n && i < excess && !s; i++) {
    const char *text;
    size_t len = 0;
    s = lrqk_token_text(r->w.model, ids[i], r->o->special, &text, &len);
    bytes += len - (s || !len ? 0 : lrqk_token_lead(r->w.model, i ? ids[i - 1] : -1, ids[i]));
  }
  lrqk_free(ids);
  if (s) return (int)s;
  if (!bytes) bytes = 1;
  if (bytes > r->prompt.len) bytes = r->prompt.len;
  while (bytes < r->prompt.len && ((unsigned char)r->prompt.s[bytes] & 0xc0) == 0x80) bytes++;
  r->prompt.len -= bytes;
  memmove(r->prompt.s, r->prompt.s + bytes, r->prompt.len + 1);
  return 0;
}

static int truncate_prompt(struct run *r) {
  size_t before = r->n_ids, bytes = r->prompt.len;
  /* room for the answer: what was asked, else an eighth, neither more than half of the context */
  uint64_t room = r->o->predict >= 0 ? (uint64_t)r->o->predict : r->n_ctx / 8;
  if (room > r->n_ctx / 2) room = r->n_ctx / 2;
  if (r->n_ids <= r->n_ctx - room) return 0;
  while (r->n_ids > r->n_ctx - room) {
    int code = cut(r, r->n_ids - (r->n_ctx - (size_t)room));
    if (!code && !r->prompt.len)
      code = ui_fail(r->u, LRQK_PROMPT, "nothing of the prompt is left: a context of %u tokens is too small", r->n_ctx);
    if (!code) code = tokenize(r);
    if (code) return code;
  }
  ui_warn(r->u, "the first %zu of %zu bytes of the prompt were cut: %zu tokens became %zu, for a context of %u", bytes - r->prompt.len,
          bytes, before, r->n_ids, r->n_ctx);
  return 0;
}

static int fit(struct run *r) {
  const struct options *o = r->o;
  uint64_t most = r->w.info.n_ctx, want = o->ctx > 0 ? (uint64_t)o->ctx : most;
  if (o->ctx < 0 && o->predict >= 0 && r->n_ids + (uint64_t)o->predict < most) want = r->n_ids + (uint64_t)o->predict;
  if (o->ctx < 0 && want < r->saved.n_ctx) want = r->saved.n_ctx < most ? r->saved.n_ctx : most;   /* as it was: the same bits */
  r->n_ctx = (uint32_t)want;
  if (o->truncate && !r->resumes) {
    int code = truncate_prompt(r);
    if (code) return code;
  }
  if (r->n_ids > want) {
    int code = ui_fail(r->u, LRQK_PROMPT, "the prompt has %zu tokens, the context %u", r->n_ids, r->n_ctx);
    if (r->n_ids < most)
      ui_hint(r->u, "-c %llu is what the model can hold; --truncate cuts the beginning of the prompt", (unsigned long long)most);
    else ui_hint(r->u, "--truncate cuts the beginning of the prompt");
    return code;
  }
  return 0;
}

/* Into the memory that there is.  A saved session goes on with its own options; an answer of a given length has its room. */
static int fit_memory(struct run *r) {
  const struct options *o = r->o;
  uint64_t least = r->n_ids + (o->predict >= 0 ? (uint64_t)o->predict : LEAST_ANSWER);
  int code = work_fit(r->u, &r->w, o, r->saved.n_tokens ? LRQK_KEEP_ALL : 0, least < r->n_ctx ? (uint32_t)least : r->n_ctx, &r->cache, &r->n_ctx, &r->plan);
  /* a prompt that fills the context still has the logits of one token */
  uint64_t left = r->n_ctx > r->n_ids ? r->n_ctx - r->n_ids : 1;
  r->limit = o->predict >= 0 && (uint64_t)o->predict < left ? (uint64_t)o->predict : left;
  return code;
}

static int prepare(struct run *r) {
  const struct options *o = r->o;
  if (o->raw && (o->system || o->chat_template))
    return ui_fail(r->u, LRQK_USAGE, "%s needs the chat template, which --raw leaves out", o->system ? "--system" : "--chat-template");
  bool saved = o->session && work_exists(o->session);
  r->resumes = saved && !o->file && !(o->prompt && *o->prompt) && !input_piped();
  int code = work_cache(r->u, o, &r->cache);
  if (!code && !r->resumes) code = input_prompt(r->u, o, &r->prompt);
  double t = ui_now();
  if (!code) code = work_model(r->u, &r->w, o->model, WHOLE);
  r->load_s = ui_now() - t;
  if (!code && saved) code = (int)lrqk_session_peek(r->w.model, o->session, &r->saved);
  if (code) return code;
  if (!o->raw && !r->resumes) code = work_chat(r->u, &r->w, o->chat_template, &r->chat);
  if (code) {
    if (!*r->w.info.chat_template && !o->chat_template) ui_hint(r->u,
        "--raw gives the prompt to the model as it is, --chat-template names a template");
    return code;
  }
  code = work_check_ctx(r->u, &r->w, o->ctx);
  if (!code && r->resumes) r->n_ids = r->saved.n_tokens;
  else if (!code) code = tokenize(r);
  if (!code && !r->n_ids) code = ui_fail(r->u, LRQK_USAGE, "the prompt is empty");
  if (!code) code = fit(r);
  return code ? code : fit_memory(r);
}

/* ---- the answer --------------------------------------------------------------------------------------------- */

static int open_sampler(struct run *r) {
  r->seed = answer_seed(r->o);
  int code = answer_sampler(&r->a, r->seed, r->ids, r->n_ids);
  if (!code) ui_info(r->u, "prompt %zu tokens, context %u, seed %llu", r->n_ids, r->n_ctx, (unsigned long long)r->seed);
  return code;
}

/* What the saved session holds of the prompt. */
static int resume(struct run *r) {
  if (!r->saved.n_tokens) return 0;
  int code = work_load(r->u, &r->w, r->o->session, r->ids, r->n_ids, &r->reused);
  if (code || !r->resumes) return code;
  if (!lrqk_session_logits(r->w.session)) return ui_fail(r->u, LRQK_USAGE, "%s: the session cannot go on without a prompt: it has no logits", r->o->session);
  r->ids = malloc(r->n_ids * sizeof *r->ids);
  if (!r->ids) return ui_fail(r->u, LRQK_MEMORY, "out of memory for %zu tokens", r->n_ids);
  memcpy(r->ids, lrqk_session_ids(r->w.session), r->n_ids * sizeof *r->ids);
  return 0;
}

/* Prompt and answer, whatever ended it. */
static int save(struct run *r) {
  int code = answer_hold(&r->a);
  return code ? code : work_save(r->u, &r->w, r->o->session, NULL);
}

static int generate(struct run *r) {
  double start = ui_now();
  enum lrqk_status s = lrqk_session_prefill(r->w.session, r->ids + r->reused, r->n_ids - r->reused, 0, NULL, NULL);
  if (!s && r->o->session && !r->resumes) s = lrqk_session_mark(r->w.session);
  r->prefill_s = ui_now() - start;
  ui_clear(r->u);
  if (s) return (int)s;
  r->prefilled = true;
  return answer_generate(&r->a, r->ids[r->n_ids - 1], r->limit);
}

/* ---- figures ------------------------------------------------------------------------------------------------ */

/* Tokens of the prompt that the session holds: none if reading them was stopped. */
static uint64_t read_tokens(const struct run *r) {
  uint64_t n = r->w.session ? lrqk_session_length(r->w.session) : 0;
  n = n < r->n_ids ? n : r->n_ids;
  return n > r->reused ? n - r->reused : 0;
}

static void closing_line(struct run *r) {
  const struct lrqk_cache_stats *c = &r->stats;
  char in[32], out[32], hit[32] = "-", dev[24], full[24], host[24];
  double h = hit_rate(c);
  rate_text(in, (double)read_tokens(r), r->prefill_s);
  rate_text(out, (double)c->decoded, r->a.decode_s);
  if (isfinite(h)) snprintf(hit, sizeof hit, "%.1f %%", 100 * h);
  ui_note(r->u, "prompt %zu tokens, %.2f s, %s tokens/s | generated %zu tokens, %s tokens/s | first token after %.2f s | "
          "KV on the device %s (full attention %s), on the host %s | hit rate %s",
          r->n_ids, r->prefill_s, in, r->a.n_tokens, out, r->prefill_s + r->a.first_s, human_bytes(c->device_bytes, dev), human_bytes(c->full_bytes, full),
          human_bytes(c->host_bytes, host), hit);
}

static void memory_json(struct run *r, struct text *t) {
  struct lrqk_memory m = {0};
  if (r->w.engine) lrqk_engine_memory(r->w.engine, &m);
  json_key(t, "memory");
  json_open(t, '{');
  json_field_string(t, "given_up", r->plan.given_up);
  json_field_uint(t, "device_bytes", m.device);
  json_field_uint(t, "host_bytes", m.host);
  json_field_uint(t, "staging_bytes", m.staging);
  json_close(t, '}');
}

static int print_json(struct run *r) {
  const struct lrqk_cache_stats *c = &r->stats;
  struct text t = {0};
  json_open(&t, '{');
  json_field_uint(&t, "prompt_tokens", r->n_ids);
  if (r->o->session) json_field_uint(&t, "reused_tokens", r->reused);
  json_field_ids(&t, "tokens", r->a.tokens, r->a.n_tokens);
  json_key(&t, "text");
  json_bytes(&t, r->a.text.s ? r->a.text.s : "", r->a.text.len);
  json_field_string(&t, "finish", r->a.finish);
  json_field_uint(&t, "seed", r->seed);
  json_field_uint(&t, "n_ctx", r->n_ctx);
  json_key(&t, "timings");
  json_open(&t, '{');
  json_field_num(&t, "load_ms", 1e3 * r->load_s);
  json_field_num(&t, "prefill_ms", 1e3 * r->prefill_s);
  json_field_num(&t, "prefill_tokens_per_s", read_tokens(r) ? (double)read_tokens(r) / r->prefill_s : NAN);
  json_field_num(&t, "first_token_ms", 1e3 * (r->prefill_s + r->a.first_s));
  json_field_num(&t, "decode_ms_per_token", c->decoded ? 1e3 * r->a.decode_s / (double)c->decoded : NAN);
  json_close(&t, '}');
  json_key(&t, "cache");
  json_open(&t, '{');
  json_field_string(&t, "policy", policy_name(r->cache.policy));
  json_field_uint(&t, "device_kv_bytes", c->device_bytes);
  json_field_uint(&t, "host_kv_bytes", c->host_bytes);
  json_field_uint(&t, "full_kv_bytes", c->full_bytes);
  json_field_num(&t, "hit_rate", hit_rate(c));
  json_field_num(&t, "bus_bytes_per_token", bus_per_token(c));
  json_close(&t, '}');
  memory_json(r, &t);
  json_close(&t, '}');
  return out_json(r->u, &t);
}

static int report(struct run *r, int code) {
  if (code == LRQK_INTERRUPTED) r->a.finish = "interrupt";
  if (r->w.session) {
    enum lrqk_status s = lrqk_session_stats(r->w.session, &r->stats);
    if (s) return (int)s;
  }
  const struct answer *a = &r->a;
  if (a->shown && a->text.s[a->shown - 1] != '\n' && r->u->terminal && isatty(STDOUT_FILENO)) fputc('\n', stderr);
  int out = r->o->json ? print_json(r) : 0;
  if (!out) closing_line(r);
  r->u->answered = !out;
  return out ? out : code;
}

int cmd_run(struct ui *u, const struct options *o) {
  struct run r = {.u = u, .o = o};
  r.a = (struct answer){.u = u, .o = o, .w = &r.w, .collected = o->json, .finish = "length"};
  int code = prepare(&r);
  if (!code) {
    code = work_engine(u, &r.w, o);
    double t = ui_now();
    if (!code) code = work_session(u, &r.w, &r.cache, r.n_ctx);
    r.load_s += r.w.load_s + ui_now() - t;
  }
  if (!code) code = resume(&r);
  if (!code) code = open_sampler(&r);
  if (!code) code = generate(&r);
  int saved = o->session && r.w.session && r.prefilled ? save(&r) : 0;
  if (saved && (!code || code == LRQK_INTERRUPTED)) code = saved;
  if (!code || code == LRQK_INTERRUPTED || code == EXIT_PIPE) code = report(&r, code);
  answer_free(&r.a);
  lrqk_chat_close(r.chat);
  if (r.resumes) free(r.ids);
  else lrqk_free(r.ids);
  text_free(&r.prompt);
  work_close(&r.w);
  return code;
}
