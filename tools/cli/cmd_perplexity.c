/* cmd_perplexity.c - `lrqk perplexity`: the second half of each chunk of a text is scored, as llama-perplexity does. */
#include <math.h>
#include <stdio.h>

#include "cmd.h"
#include "input.h"
#include "work.h"

struct score {
  const int32_t *ids;    /* of the chunk */
  uint64_t n, first;     /* its length; the first position that is scored */
  uint32_t n_vocab;
  double sum, squares;   /* of -log p(next) over the scored positions of all chunks */
  uint64_t count;
};

static bool on_logits(void *ud, uint64_t pos, const float *logits) {
  struct score *s = ud;
  if (pos >= s->first && pos + 1 < s->n) {
    double nll = log_sum_exp(logits, s->n_vocab) - (double)logits[s->ids[pos + 1]];
    s->sum += nll;
    s->squares += nll * nll;
    s->count++;
  }
  return !ui_interrupted();
}

static int print(struct ui *u, const struct options *o, const struct score *s, uint64_t chunks) {
  double nll = s->sum / (double)s->count, ppl = exp(nll);
  if (!isfinite(nll)) return ui_fail(u, LRQK_CHECK, "the perplexity is not a finite number");
  double variance = s->count > 1 ? (s->squares / (double)s->count - nll * nll) / (double)(s->count - 1) : 0;
  double error = ppl * sqrt(variance > 0 ? variance : 0);
  struct text t = {0};
  if (!o->json) {
    text_printf(&t, "perplexity %.4f +/- %.4f (nll %.6f over %llu tokens, %llu chunks of %lld)\n", ppl, error, nll,
                (unsigned long long)s->count, (unsigned long long)chunks, (long long)o->ctx);
    return out_text(u, &t);
  }
  json_open(&t, '{');
  json_field_num(&t, "ppl", ppl);
  json_field_num(&t, "ppl_error", error);
  json_field_num(&t, "nll", nll);
  json_field_uint(&t, "tokens", s->count);
  json_field_uint(&t, "chunks", chunks);
  json_field_int(&t, "n_ctx", o->ctx);
  json_close(&t, '}');
  return out_json(u, &t);
}

static int evaluate(struct ui *u, const struct options *o, struct work *w, const struct lrqk_cache_options *cache, int32_t *ids, size_t n) {
  uint64_t ctx = (uint64_t)o->ctx, chunks = n / ctx;
  if (o->chunks && (uint64_t)o->chunks < chunks) chunks = (uint64_t)o->chunks;
  if (!chunks)
    return ui_fail(u, LRQK_USAGE, "the text has %zu tokens, a chunk needs %lld", n, (long long)o->ctx);
  bool bos;
  int code = work_adds_bos(w, &bos);
  if (!code) code = work_engine(u, w, o);
  struct score s = {.n = ctx, .first = ctx / 2, .n_vocab = w->info.n_vocab};
  char label[64];
  for (uint64_t c = 0; c < chunks && !code; c++) {
    snprintf(label, sizeof label, "chunk %llu of %llu", (unsigned long long)c + 1, (unsigned long long)chunks);
    u->label = label;
    s.ids = ids + c * ctx;
    if (bos) ids[c * ctx] = w->info.bos;
    code = work_session(u, w, cache, (uint32_t)ctx);
    if (!code) code = (int)lrqk_session_prefill(w->session, s.ids, ctx, s.first, on_logits, &s);
    if (!code) ui_info(u, "%s: perplexity so far %.4f", label, exp(s.sum / (double)s.count));
  }
  u->label = NULL;
  return code ? code : print(u, o, &s, chunks);
}

int cmd_perplexity(struct ui *u, const struct options *o) {
  struct work w = {0};
  struct text in = {0};
  struct lrqk_cache_options cache;
  int32_t *ids = NULL;
  size_t n = 0;
  int code = work_cache(u, o, &cache);
  if (!code) code = input_text(u, o, &in);
  if (!code) code = work_model(u, &w, o->model, WHOLE);
  if (!code) code = work_check_ctx(u, &w, o->ctx);
  if (!code) code = (int)lrqk_tokenize(w.model, in.s ? in.s : "", in.len, 0, &ids, &n);
  if (!code) code = evaluate(u, o, &w, &cache, ids, n);
  lrqk_free(ids);
  text_free(&in);
  work_close(&w);
  return code;
}
