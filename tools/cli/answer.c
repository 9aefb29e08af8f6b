/* answer.c - see answer.h. */
#define _POSIX_C_SOURCE 200809L
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

uint64_t answer_seed(const struct options *o) {
  if (o->seed >= 0) return (uint64_t)o->seed;
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

int answer_sampler(struct answer *a, uint64_t seed, const int32_t *ids, size_t n) {
  const struct options *o = a->o;
  struct lrqk_sampler_options s = {.temperature = (float)o->temp,
                                   .top_k = (int32_t)o->top_k,
                                   .top_p = (float)o->top_p,
                                   .min_p = (float)o->min_p,
                                   .repeat_penalty = (float)o->repeat_penalty,
                                   .repeat_last = (uint32_t)o->repeat_last,
                                   .seed = seed};
  enum lrqk_status st = lrqk_sampler_open(&a->sampler, &s, a->w->info.n_vocab);
  if (st) return (int)st;
  for (size_t i = 0; i < n; i++) lrqk_sampler_accept(a->sampler, ids[i]);
  return 0;
}

/* Writes what the text gained, unless it is collected. */
static int show(struct answer *a) {
  if (a->text.failed) return ui_fail(a->u, LRQK_MEMORY, "out of memory for the answer");
  if (a->collected || a->shown == a->text.len) return 0;
  int code = out_bytes(a->u, a->text.s + a->shown, a->text.len - a->shown);
  a->shown = a->text.len;
  return code;
}

static int add_token(struct answer *a, int32_t prev, int32_t id) {
  if (a->n_tokens == a->cap_tokens) {
    size_t cap = a->cap_tokens ? 2 * a->cap_tokens : 256;
    int32_t *more = realloc(a->tokens, cap * sizeof *more);
    if (!more) return ui_fail(a->u, LRQK_MEMORY, "out of memory for the answer");
    a->tokens = more;
    a->cap_tokens = cap;
  }
  a->tokens[a->n_tokens++] = id;
  lrqk_sampler_accept(a->sampler, id);
  const char *text;
  size_t len;
  enum lrqk_status s = lrqk_token_text(a->w->model, id, a->o->special, &text, &len);
  if (s) return (int)s;
  size_t lead = len ? lrqk_token_lead(a->w->model, prev, id) : 0;
  if (len > lead) text_stream(&a->text, &a->utf8, text + lead, len - lead);
  return show(a);
}

int answer_generate(struct answer *a, int32_t prev, uint64_t limit) {
  double begin = ui_now(), start = begin;
  int code = 0;
  a->finish = "length";
  a->from = lrqk_session_length(a->w->session);
  while (a->n_tokens < limit && !code) {
    if (ui_interrupted()) {
      a->finish = "interrupt";
      code = LRQK_INTERRUPTED;
      break;
    }
    int32_t id = lrqk_sampler_choose(a->sampler, lrqk_session_logits(a->w->session));
    if (!a->n_tokens) {
      start = ui_now();
      a->first_s = start - begin;
    }
    if (lrqk_token_is_end(a->w->model, id) && !a->o->ignore_eos) {
      a->finish = "eos";
      break;
    }
    code = add_token(a, prev, id);
    prev = id;
    if (!code && a->n_tokens < limit) code = (int)lrqk_session_decode(a->w->session, id);
    a->decode_s = ui_now() - start;
  }
  if (code && code != LRQK_INTERRUPTED) return code;
  text_stream(&a->text, &a->utf8, NULL, 0);
  int shown = show(a);
  return shown ? shown : code;
}

int answer_hold(struct answer *a) {
  uint64_t held = lrqk_session_length(a->w->session);
  if (!a->n_tokens || held == a->w->n_ctx || held + 1 != a->from + a->n_tokens) return 0;
  return (int)lrqk_session_decode(a->w->session, a->tokens[a->n_tokens - 1]);
}

void answer_free(struct answer *a) {
  lrqk_sampler_close(a->sampler);
  free(a->tokens);
  text_free(&a->text);
}

void rate_text(char out[32], double n, double seconds) {
  if (n > 0 && seconds > 0) snprintf(out, 32, "%.1f", n / seconds);
  else snprintf(out, 32, "-");
}
