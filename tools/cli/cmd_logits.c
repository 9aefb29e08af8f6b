/* cmd_logits.c - `lrqk logits`: one evaluation of a text or of ids; what the model says after the last, and the
 * likeliest token after each. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "work.h"

struct eval {
  uint32_t n_vocab;
  int32_t *best;    /* [n_ids], the likeliest token after each */
};

static bool on_logits(void *ud, uint64_t pos, const float *logits) {
  struct eval *e = ud;
  e->best[pos] = argmax(logits, e->n_vocab);
  return !ui_interrupted();
}

/* The ids of -p or --tokens, malloc'ed; at least one, all within the vocabulary. */
static int get_ids(struct ui *u, const struct options *o, const struct work *w, const struct text *in, int32_t **out, size_t *n) {
  int code = 0;
  if (o->tokens) {
    code = input_ids(u, "--tokens", o->tokens, strlen(o->tokens), out, n);
  } else {
    int32_t *ids = NULL;
    code = (int)lrqk_tokenize(w->model, in->s, in->len, o->special ? LRQK_TOKENIZE_SPECIAL : 0, &ids, n);
    if (code) return code;
    *out = malloc((*n + 1) * sizeof **out);
    if (*out && *n) memcpy(*out, ids, *n * sizeof **out);
    lrqk_free(ids);
    if (!*out) return ui_fail(u, LRQK_MEMORY, "out of memory for %zu ids", *n);
  }
  if (code) return code;
  if (!*n) return ui_fail(u, LRQK_USAGE, "the prompt is empty");
  for (size_t i = 0; i < *n; i++)
    if ((*out)[i] < 0 || (uint32_t)(*out)[i] >= w->info.n_vocab)
      return ui_fail(u, LRQK_USAGE, "%s: id %d is outside the vocabulary, expected 0 to %u", o->tokens ? "--tokens" : "-p", (int)(*out)[i],
                     w->info.n_vocab - 1);
  return 0;
}

static const float *sort_by;   /* qsort has no argument for the caller */

static int by_logit(const void *a, const void *b) {
  int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
  if (sort_by[i] != sort_by[j]) return sort_by[i] > sort_by[j] ? -1 : 1;
  return i < j ? -1 : i > j;
}

/* Ids in the order of falling logits, malloc'ed. */
static int32_t *ranking(const float *logits, uint32_t n) {
  int32_t *order = malloc((size_t)n * sizeof *order);
  if (!order) return NULL;
  for (uint32_t i = 0; i < n; i++) order[i] = (int32_t)i;
  sort_by = logits;
  qsort(order, n, sizeof *order, by_logit);
  return order;
}

static int print(struct ui *u, const struct options *o, const struct work *w, const int32_t *ids, const int32_t *best, size_t n) {
  const float *logits = lrqk_session_logits(w->session);
  uint32_t n_vocab = w->info.n_vocab, top = o->top ? (uint32_t)o->top : 10;
  int32_t *order = NULL;
  struct text t = {0};
  if (top > n_vocab) top = n_vocab;
  if (o->top || !o->json) {
    order = ranking(logits, n_vocab);
    if (!order) return ui_fail(u, LRQK_MEMORY, "out of memory for %u logits", n_vocab);
  }
  if (o->json) {
    json_open(&t, '{');
    json_field_ids(&t, "ids", ids, n);
    json_field_ids(&t, "argmax", best, n);
    json_key(&t, o->top ? "top" : "logits");
    json_open(&t, '[');
    for (uint32_t i = 0; i < (o->top ? top : n_vocab); i++) {
      if (o->top) {
        json_open(&t, '[');
        json_int(&t, order[i]);
      }
      json_num(&t, (double)logits[order ? order[i] : (int32_t)i]);
      if (o->top) json_close(&t, ']');
    }
    json_close(&t, ']');
    json_close(&t, '}');
    text_add(&t, "\n", 1);
  }
  for (uint32_t i = 0; i < top && !o->json; i++) {
    const char *text = "";
    size_t len = 0;
    lrqk_token_text(w->model, order[i], true, &text, &len);
    text_printf(&t, "%8d  %12.6f  ", (int)order[i], (double)logits[order[i]]);
    json_bytes(&t, text, len);
    t.comma = false;
    text_add(&t, "\n", 1);
  }
  free(order);
  return out_text(u, &t);
}

int cmd_logits(struct ui *u, const struct options *o) {
  struct work w = {0};
  struct text in = {0};
  struct lrqk_cache_options cache;
  struct eval e = {0};
  int32_t *ids = NULL;
  size_t n = 0;
  int code = work_cache(u, o, &cache);
  if (!code && o->prompt && o->tokens) code = ui_fail(u, LRQK_USAGE, "-p and --tokens are given: one of them, please");
  if (!code && !o->tokens) code = input_text(u, o, &in);
  if (!code && !o->tokens && !in.len) code = ui_fail(u, LRQK_USAGE, "the prompt is empty");
  if (!code) code = work_model(u, &w, o->model, WHOLE);
  if (!code) code = work_check_ctx(u, &w, o->ctx);
  if (!code) code = get_ids(u, o, &w, &in, &ids, &n);
  if (!code) {
    uint64_t ctx = o->ctx > 0 ? (uint64_t)o->ctx : o->ctx == 0 || n > w.info.n_ctx ? w.info.n_ctx : n;
    if (n > ctx) code = ui_fail(u, LRQK_PROMPT, "the prompt has %zu tokens, the context %llu", n, (unsigned long long)ctx);
    if (!code) code = work_engine(u, &w, o);
    if (!code) code = work_session(u, &w, &cache, (uint32_t)ctx);
  }
  if (!code) {
    e = (struct eval){w.info.n_vocab, malloc(n * sizeof *e.best)};
    if (!e.best) code = ui_fail(u, LRQK_MEMORY, "out of memory for %zu positions", n);
  }
  if (!code) code = (int)lrqk_session_prefill(w.session, ids, n, 0, on_logits, &e);
  if (!code) code = print(u, o, &w, ids, e.best, n);
  free(e.best);
  free(ids);
  text_free(&in);
  work_close(&w);
  return code;
}
