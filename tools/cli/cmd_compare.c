/* cmd_compare.c - `lrqk compare`: attention policies against full attention, on the true next tokens of a text.  Prefill is
 * exact under every policy, so it runs once and each policy goes on from a copy.  Full runs first; its logits wait in a
 * temporary file without a name, so that memory does not grow with --decode. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "input.h"
#include "policies.h"
#include "work.h"

struct measured {
  const char *text;        /* of the policy, as given: text[0..len) of the list */
  size_t len;
  struct lrqk_cache_options cache;
  double kl, top1, ppl, decode_ms;
  struct lrqk_cache_stats stats;
};

struct compare {
  struct ui *u;
  const struct options *o;
  struct work w;
  int32_t *ids;
  size_t n_ids;
  uint64_t prefill, decode;
  lrqk_session *prompt;    /* holds the prefilled tokens */
  double prefill_ms;
  int file;                /* full's logits: decode rows of n_vocab float32 */
  float *row;              /* [n_vocab], one of them */
  struct measured full, list[MAX_POLICIES];
  size_t n;
};

static int parse_policies(struct compare *c) {
  struct policy list[MAX_POLICIES];
  size_t n;
  int code = policies_parse(c->u, "full", list, &n);
  c->full = (struct measured){.text = list[0].text, .len = list[0].len, .cache = list[0].cache};
  if (!code) code = policies_parse(c->u, c->o->policies, list, &n);
  for (c->n = 0; !code && c->n < n; c->n++)
    c->list[c->n] = (struct measured){.text = list[c->n].text, .len = list[c->n].len, .cache = list[c->n].cache};
  return code;
}

/* ---- full's logits ------------------------------------------------------------------------------------------ */

static int open_file(struct compare *c) {
  const char *dir = getenv("TMPDIR");
  char path[1024];
  int n = snprintf(path, sizeof path, "%s/lrqk-XXXXXX", dir && *dir ? dir : "/tmp");
  c->file = n < (int)sizeof path ? mkstemp(path) : -1;
  if (c->file < 0) {
    int code = ui_fail(c->u, LRQK_RUNTIME, "%s: cannot make a temporary file: %s", path, strerror(errno));
    ui_hint(c->u, "TMPDIR names the folder for it");
    return code;
  }
  unlink(path);
  return 0;
}

/* Moves one row to or from the file, whole. */
static int transfer(struct compare *c, uint64_t j, float *out, const float *in) {
  size_t size = (size_t)c->w.info.n_vocab * sizeof(float), done = 0;
  while (done < size) {
    off_t at = (off_t)(j * size + done);
    ssize_t n = in ? pwrite(c->file, (const char *)in + done, size - done, at) : pread(c->file, (char *)out + done, size - done, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int code = ui_fail(c->u, LRQK_RUNTIME, "the temporary file for %llu x %u logits: %s", (unsigned long long)c->decode,
                         c->w.info.n_vocab, n ? strerror(errno) : "it is too short");
      ui_hint(c->u, "TMPDIR names the folder for it; a smaller --decode needs less");
      return code;
    }
    done += (size_t)n;
  }
  return 0;
}

/* ---- one policy --------------------------------------------------------------------------------------------- */

/* KL(full || policy) of one step, in nats. */
static double divergence(const float *full, double full_lse, const float *x, double lse, uint32_t n) {
  double kl = 0;
  for (uint32_t i = 0; i < n; i++) {
    double lp = (double)full[i] - full_lse;
    kl += exp(lp) * (lp - ((double)x[i] - lse));
  }
  return kl > 0 ? kl : 0;   /* rounding of equal distributions may fall below */
}

/* Adds what step j, which predicts token prefill + j + 1, says. */
static int score(struct compare *c, struct measured *p, uint64_t j) {
  const float *x = lrqk_session_logits(c->w.session);
  uint32_t n = c->w.info.n_vocab;
  double lse = log_sum_exp(x, n);
  if (!isfinite(lse))
    return ui_fail(c->u, LRQK_CHECK, "%.*s: the logits of step %llu are not finite", (int)p->len, p->text, (unsigned long long)j);
  p->ppl += lse - (double)x[c->ids[c->prefill + j + 1]];
  if (p == &c->full) {
    p->top1 += 1;
    return transfer(c, j, NULL, x);
  }
  int code = transfer(c, j, c->row, NULL);
  if (code) return code;
  p->kl += divergence(c->row, log_sum_exp(c->row, n), x, lse, n);
  p->top1 += argmax(x, n) == argmax(c->row, n);
  return 0;
}

/* Prefills the prompt into a session that others can be copied from. */
static int prefill(struct compare *c) {
  bool paper = false;
  for (size_t i = 0; i < c->n; i++) paper = paper || c->list[i].cache.proxy == LRQK_PROXY_PAPER;
  struct lrqk_cache_options cache = work_lender(paper);
  int code = work_session(c->u, &c->w, &cache, (uint32_t)(c->prefill + c->decode));
  double t = ui_now();
  if (!code) code = (int)lrqk_session_prefill(c->w.session, c->ids, c->prefill, 0, NULL, NULL);
  c->prefill_ms = 1e3 * (ui_now() - t);
  c->prompt = c->w.session;
  c->w.session = NULL;
  return code;
}

static int measure(struct compare *c, struct measured *p) {
  char label[80];
  snprintf(label, sizeof label, "%.*s", (int)(p->len < 60 ? p->len : 60), p->text);
  c->u->label = label;
  int code = work_session(c->u, &c->w, &p->cache, (uint32_t)(c->prefill + c->decode));
  double t, spent = 0;
  if (!code) code = (int)lrqk_session_copy(c->w.session, c->prompt);
  for (uint64_t j = 0; j < c->decode && !code; j++) {
    if (ui_interrupted()) code = LRQK_INTERRUPTED;
    t = ui_now();
    if (!code) code = (int)lrqk_session_decode(c->w.session, c->ids[c->prefill + j]);
    spent += ui_now() - t;
    if (!code) code = score(c, p, j);
  }
  if (!code) code = (int)lrqk_session_stats(c->w.session, &p->stats);
  uint64_t differing = 0;
  if (!code && p->cache.policy == LRQK_POLICY_LRQK) code = (int)lrqk_session_verify(c->w.session, &differing);
  if (!code && differing)
    code = ui_fail(c->u, LRQK_CHECK, "%s: %llu bytes of the active rows differ from the host cache", label, (unsigned long long)differing);
  double steps = (double)c->decode;
  p->kl /= steps;
  p->top1 /= steps;
  p->ppl = exp(p->ppl / steps);
  p->decode_ms = 1e3 * spent / steps;
  c->u->label = NULL;
  if (!code) ui_info(c->u, "%s: %.2f ms a token, KL %.6f", label, p->decode_ms, p->kl);
  return code;
}

/* ---- output ------------------------------------------------------------------------------------------------- */

static void as_text(struct compare *c, struct text *t) {
  char dev[24], host[24], bus[24], hit[24];
  int width = 6;
  for (size_t i = 0; i < c->n; i++)
    if ((int)c->list[i].len > width) width = (int)c->list[i].len;
  text_printf(t, "%-*s  %10s  %6s  %9s  %9s  %10s  %10s  %10s  %10s  %8s\n", width, "policy", "KL", "top-1", "ppl", "ms/token",
              "prefill ms", "device KV", "host KV", "bus/token", "hit rate");
  for (size_t i = 0; i < c->n; i++) {
    const struct measured *p = &c->list[i];
    double h = hit_rate(&p->stats);
    if (isfinite(h)) snprintf(hit, sizeof hit, "%.1f %%", 100 * h);
    else snprintf(hit, sizeof hit, "-");
    text_printf(t, "%-*.*s  %10.6f  %6.4f  %9.4f  %9.2f  %10.0f  %10s  %10s  %10s  %8s\n", width, (int)p->len, p->text, p->kl, p->top1,
                p->ppl, p->decode_ms, c->prefill_ms, human_bytes(p->stats.device_bytes, dev), human_bytes(p->stats.host_bytes, host),
                human_bytes((uint64_t)bus_per_token(&p->stats), bus), hit);
  }
}

static void as_json(struct compare *c, struct text *t) {
  json_open(t, '{');
  json_field_uint(t, "prefill", c->prefill);
  json_field_uint(t, "decode", c->decode);
  json_key(t, "policies");
  json_open(t, '[');
  for (size_t i = 0; i < c->n; i++) {
    const struct measured *p = &c->list[i];
    json_open(t, '{');
    json_key(t, "policy");
    json_bytes(t, p->text, p->len);
    json_field_num(t, "kl", p->kl);
    json_field_num(t, "top1", p->top1);
    json_field_num(t, "ppl", p->ppl);
    json_field_num(t, "decode_ms_per_token", p->decode_ms);
    json_field_num(t, "prefill_ms", c->prefill_ms);
    json_field_uint(t, "device_kv_bytes", p->stats.device_bytes);
    json_field_uint(t, "host_kv_bytes", p->stats.host_bytes);
    json_field_num(t, "bus_bytes_per_token", bus_per_token(&p->stats));
    json_field_num(t, "hit_rate", hit_rate(&p->stats));
    json_close(t, '}');
  }
  json_close(t, ']');
  json_close(t, '}');
  text_add(t, "\n", 1);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static int prepare(struct compare *c) {
  struct text in = {0};
  int code = parse_policies(c);
  if (!code) code = input_text(c->u, c->o, &in);
  if (!code) code = work_model(c->u, &c->w, c->o->model, WHOLE);
  if (!code && c->prefill + c->decode > c->w.info.n_ctx)
    code = ui_fail(c->u, LRQK_USAGE, "--prefill and --decode: %llu tokens asked, the model was trained for %u",
                   (unsigned long long)(c->prefill + c->decode), c->w.info.n_ctx);
  if (!code) code = (int)lrqk_tokenize(c->w.model, in.s ? in.s : "", in.len, 0, &c->ids, &c->n_ids);
  text_free(&in);
  if (!code && c->n_ids < c->prefill + c->decode + 1)
    code = ui_fail(c->u, LRQK_USAGE, "the text has %zu tokens, --prefill %llu and --decode %llu need %llu", c->n_ids,
                   (unsigned long long)c->prefill, (unsigned long long)c->decode, (unsigned long long)(c->prefill + c->decode + 1));
  if (code) return code;
  c->row = malloc((size_t)c->w.info.n_vocab * sizeof *c->row);
  if (!c->row) return ui_fail(c->u, LRQK_MEMORY, "out of memory for %u logits", c->w.info.n_vocab);
  code = open_file(c);
  return code ? code : work_engine(c->u, &c->w, c->o);
}

int cmd_compare(struct ui *u, const struct options *o) {
  struct compare *c = calloc(1, sizeof *c);
  if (!c) return ui_fail(u, LRQK_MEMORY, "out of memory");
  *c = (struct compare){.u = u, .o = o, .prefill = (uint64_t)o->prefill, .decode = (uint64_t)o->decode, .file = -1};
  int code = prepare(c);
  if (!code) code = prefill(c);
  if (!code) code = measure(c, &c->full);
  for (size_t i = 0; i < c->n && !code; i++) {
    struct measured *p = &c->list[i];
    if (p->len != 4 || memcmp(p->text, "full", 4)) code = measure(c, p);
    else {   /* the reference itself */
      const char *text = p->text;
      *p = c->full;
      p->text = text;
    }
  }
  if (!code) {
    struct text t = {0};
    if (o->json) as_json(c, &t);
    else as_text(c, &t);
    code = out_text(u, &t);
  }
  if (c->file >= 0) close(c->file);
  lrqk_free(c->ids);
  free(c->row);
  lrqk_session_close(c->prompt);
  work_close(&c->w);
  free(c);
  return code;
}
