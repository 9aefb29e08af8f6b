/* cmd_run.c - `lrqk run`: one prompt, one answer, streamed; a line of figures at the end, or one JSON object. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
  lrqk_sampler *sampler;
  int32_t *tokens;           /* [n_tokens], the answer */
  size_t n_tokens, cap_tokens;
  struct lrqk_utf8_stream utf8;
  struct text answer;        /* all of it with --json, else what one token adds */
  char last;                 /* byte on standard output */
  const char *finish;        /* "eos", "length", "interrupt" */
  double load_s, prefill_s, decode_s, first_s;
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

static uint64_t random_seed(void) {
  uint32_t seed = 0;
  FILE *f = fopen("/dev/urandom", "rb");
  if (!f || fread(&seed, sizeof seed, 1, f) != 1) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    seed = (uint32_t)t.tv_nsec * 2654435761u ^ (uint32_t)t.tv_sec ^ (uint32_t)getpid() << 16;
  }
  if (f) fclose(f);
  return seed;
}

static int open_sampler(struct run *r) {
  const struct options *o = r->o;
  r->seed = o->seed < 0 ? random_seed() : (uint64_t)o->seed;
  struct lrqk_sampler_options s = {.temperature = (float)o->temp,
                                   .top_k = (int32_t)o->top_k,
                                   .top_p = (float)o->top_p,
                                   .min_p = (float)o->min_p,
                                   .repeat_penalty = (float)o->repeat_penalty,
                                   .repeat_last = (uint32_t)o->repeat_last,
                                   .seed = r->seed};
  enum lrqk_status st = lrqk_sampler_open(&r->sampler, &s, r->w.info.n_vocab);
  if (st) return (int)st;
  for (size_t i = 0; i < r->n_ids; i++) lrqk_sampler_accept(r->sampler, r->ids[i]);
  ui_info(r->u, "prompt %zu tokens, context %u, seed %llu", r->n_ids, r->n_ctx, (unsigned long long)r->seed);
  return 0;
}

/* Writes what the answer gained, unless it is collected for --json. */
static int flush_answer(struct run *r) {
  if (r->answer.failed) return ui_fail(r->u, LRQK_MEMORY, "out of memory for the answer");
  if (r->o->json || !r->answer.len) return 0;
  r->last = r->answer.s[r->answer.len - 1];
  int code = out_bytes(r->u, r->answer.s, r->answer.len);
  r->answer.len = 0;
  return code;
}

static int add_token(struct run *r, int32_t id) {
  if (r->n_tokens == r->cap_tokens) {
    size_t cap = r->cap_tokens ? 2 * r->cap_tokens : 256;
    int32_t *more = realloc(r->tokens, cap * sizeof *more);
    if (!more) return ui_fail(r->u, LRQK_MEMORY, "out of memory for the answer");
    r->tokens = more;
    r->cap_tokens = cap;
  }
  int32_t prev = r->n_tokens ? r->tokens[r->n_tokens - 1] : r->ids[r->n_ids - 1];
  r->tokens[r->n_tokens++] = id;
  lrqk_sampler_accept(r->sampler, id);
  const char *text;
  size_t len;
  enum lrqk_status s = lrqk_token_text(r->w.model, id, r->o->special, &text, &len);
  if (s) return (int)s;
  size_t lead = len ? lrqk_token_lead(r->w.model, prev, id) : 0;
  if (len > lead) text_stream(&r->answer, &r->utf8, text + lead, len - lead);
  return flush_answer(r);
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
  enum lrqk_status s = LRQK_OK;
  uint64_t held = lrqk_session_length(r->w.session);
  if (r->n_tokens && held < r->n_ctx && held + 1 == r->n_ids + r->n_tokens) s = lrqk_session_decode(r->w.session, r->tokens[r->n_tokens - 1]);
  double t = ui_now();
  if (!s) s = lrqk_session_save(r->w.session, r->o->session, NULL, 0);
  if (!s) ui_info(r->u, "session %s: %llu tokens saved in %.2f s", r->o->session, (unsigned long long)lrqk_session_length(r->w.session), ui_now() - t);
  return (int)s;
}

static int generate(struct run *r) {
  double start = ui_now();
  enum lrqk_status s = lrqk_session_prefill(r->w.session, r->ids + r->reused, r->n_ids - r->reused, 0, NULL, NULL);
  if (!s && r->o->session && !r->resumes) s = lrqk_session_mark(r->w.session);
  double now = ui_now();
  r->prefill_s = now - start;
  ui_clear(r->u);
  if (s) return (int)s;
  r->finish = "length";
  r->prefilled = true;
  int code = 0;
  for (start = now; r->n_tokens < r->limit && !code;) {
    if (ui_interrupted()) return LRQK_INTERRUPTED;
    int32_t id = lrqk_sampler_choose(r->sampler, lrqk_session_logits(r->w.session));
    if (!r->n_tokens) {
      start = ui_now();
      r->first_s = r->prefill_s + start - now;
    }
    if (lrqk_token_is_end(r->w.model, id) && !r->o->ignore_eos) {
      r->finish = "eos";
      break;
    }
    code = add_token(r, id);
    if (!code && r->n_tokens < r->limit) code = (int)lrqk_session_decode(r->w.session, id);
    r->decode_s = ui_now() - start;
  }
  if (code) return code;
  text_stream(&r->answer, &r->utf8, NULL, 0);
  return flush_answer(r);
}

/* ---- figures ------------------------------------------------------------------------------------------------ */

static void rate(char out[32], double n, double seconds) {
  if (n > 0 && seconds > 0) snprintf(out, 32, "%.1f", n / seconds);
  else snprintf(out, 32, "-");
}

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
  rate(in, (double)read_tokens(r), r->prefill_s);
  rate(out, (double)c->decoded, r->decode_s);
  if (isfinite(h)) snprintf(hit, sizeof hit, "%.1f %%", 100 * h);
  ui_note(r->u, "prompt %zu tokens, %.2f s, %s tokens/s | generated %zu tokens, %s tokens/s | first token after %.2f s | "
          "KV on the device %s (full attention %s), on the host %s | hit rate %s",
          r->n_ids, r->prefill_s, in, r->n_tokens, out, r->first_s, human_bytes(c->device_bytes, dev), human_bytes(c->full_bytes, full),
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
  json_field_ids(&t, "tokens", r->tokens, r->n_tokens);
  json_key(&t, "text");
  json_bytes(&t, r->answer.s ? r->answer.s : "", r->answer.len);
  json_field_string(&t, "finish", r->finish);
  json_field_uint(&t, "seed", r->seed);
  json_field_uint(&t, "n_ctx", r->n_ctx);
  json_key(&t, "timings");
  json_open(&t, '{');
  json_field_num(&t, "load_ms", 1e3 * r->load_s);
  json_field_num(&t, "prefill_ms", 1e3 * r->prefill_s);
  json_field_num(&t, "prefill_tokens_per_s", read_tokens(r) ? (double)read_tokens(r) / r->prefill_s : NAN);
  json_field_num(&t, "first_token_ms", 1e3 * r->first_s);
  json_field_num(&t, "decode_ms_per_token", c->decoded ? 1e3 * r->decode_s / (double)c->decoded : NAN);
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
  if (code == LRQK_INTERRUPTED) r->finish = "interrupt";
  if (r->w.session) {
    enum lrqk_status s = lrqk_session_stats(r->w.session, &r->stats);
    if (s) return (int)s;
  }
  if (code == LRQK_INTERRUPTED) text_stream(&r->answer, &r->utf8, NULL, 0);
  if (r->last && r->last != '\n' && r->u->terminal && isatty(STDOUT_FILENO)) fputc('\n', stderr);
  int out = r->o->json ? print_json(r) : 0;
  if (!out) closing_line(r);
  r->u->answered = !out;
  return out ? out : code;
}

int cmd_run(struct ui *u, const struct options *o) {
  struct run r = {.u = u, .o = o, .finish = "length"};
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
  lrqk_sampler_close(r.sampler);
  lrqk_chat_close(r.chat);
  if (r.resumes) free(r.ids);
  else lrqk_free(r.ids);
  free(r.tokens);
  text_free(&r.prompt);
  text_free(&r.answer);
  work_close(&r.w);
  return code;
}
