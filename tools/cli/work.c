/* work.c - see work.h. */
#include "work.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "input.h"

int work_model(struct ui *u, struct work *w, const char *path, enum part part) {
  struct lrqk_model_options opt = {.log = ui_log, .log_ud = u, .vocab_only = part == VOCABULARY, .directory_only = part == DIRECTORY};
  enum lrqk_status s = lrqk_model_open(&w->model, path, &opt);
  if (s) return (int)s;
  lrqk_model_info(w->model, &w->info);
  return ui_interrupted() ? LRQK_INTERRUPTED : 0;
}

int work_engine(struct ui *u, struct work *w, const struct options *o) {
  struct lrqk_engine_options opt = {.device = o->device, .form = o->form, .progress = ui_progress, .progress_ud = u, .vram = (uint64_t)o->vram};
  double t = ui_now();
  enum lrqk_status s = lrqk_engine_open(&w->engine, w->model, &opt);
  w->load_s = ui_now() - t;
  ui_clear(u);
  if (s) return (int)s;
  struct lrqk_device_info d;
  lrqk_engine_device(w->engine, &d);
  ui_info(u, "device %d: %s %s (%s), loaded in %.2f s", d.index, d.backend, d.name, d.driver, w->load_s);
  return ui_interrupted() ? LRQK_INTERRUPTED : 0;
}

/* What the command line says about options that a fit would change. */
static unsigned kept(const struct options *o) {
  static const struct { const char *key; unsigned bits; } keys[] = {
    {"dense-layers", LRQK_KEEP_DENSE}, {"proxy-type", LRQK_KEEP_PROXY_TYPE}, {"active", LRQK_KEEP_ACTIVE}, {"rank", LRQK_KEEP_RANK},
    {"preset", LRQK_KEEP_ALL & ~LRQK_KEEP_CTX},
  };
  unsigned bits = o->ctx > 0 ? LRQK_KEEP_CTX : 0;
  for (size_t i = 0; i < o->n_cache; i++)
    for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
      if (!strcmp(o->cache[i].key, keys[j].key)) bits |= keys[j].bits;
  return bits;
}

int work_fit(struct ui *u, const struct work *w, const struct options *o, unsigned keep, uint32_t least_ctx, struct lrqk_cache_options *cache,
             uint32_t *n_ctx, struct lrqk_plan *plan) {
  const struct lrqk_plan_options opt = {.engine = {.device = o->device, .form = o->form, .vram = (uint64_t)o->vram}, .session = {.cache = *cache, .n_ctx = *n_ctx},
                                        .keep = keep | kept(o), .least_ctx = least_ctx, .hit_rate = o->hit_rate};
  enum lrqk_status s = lrqk_plan_make(plan, w->model, &opt);
  if (s) return (int)s;
  if (*plan->given_up) {
    char budget[24];
    ui_note(u, "to fit into %s: %s", human_bytes(plan->budget, budget), plan->given_up);
  }
  *cache = plan->cache;
  *n_ctx = plan->n_ctx;
  return ui_interrupted() ? LRQK_INTERRUPTED : 0;
}

int work_session(struct ui *u, struct work *w, const struct lrqk_cache_options *cache, uint32_t n_ctx) {
  lrqk_session_close(w->session);
  w->session = NULL;
  struct lrqk_session_options opt = {.cache = *cache, .n_ctx = n_ctx, .progress = ui_progress, .progress_ud = u};
  double t = ui_now();
  enum lrqk_status s = lrqk_session_open(&w->session, w->engine, &opt);
  if (s) return (int)s;
  ui_info(u, "context of %u tokens, opened in %.2f s", n_ctx, ui_now() - t);
  w->n_ctx = n_ctx;
  return ui_interrupted() ? LRQK_INTERRUPTED : 0;
}

bool work_exists(const char *path) {
  struct stat st;
  return !stat(path, &st) || errno != ENOENT;
}

int work_keep(struct ui *u, struct work *w, const int32_t *ids, size_t n, size_t *kept) {
  size_t length = (size_t)lrqk_session_length(w->session), same = 0;
  const int32_t *held = lrqk_session_ids(w->session);
  while (same < n && same < length && ids[same] == held[same]) same++;
  enum lrqk_status s = lrqk_session_truncate(w->session, same);
  if (!s && same == n && n && !lrqk_session_logits(w->session)) s = lrqk_session_truncate(w->session, --same);
  if (s == LRQK_USAGE && same) {   /* windows moved on; maybe those of the mark did not */
    s = lrqk_session_rewind(w->session);
    if (s || lrqk_session_length(w->session) > same) {
      ui_warn(u, "the windows of this model hold only the newest tokens: the session cannot go back to its first %zu, all %zu tokens are read again",
              same, n);
      s = lrqk_session_truncate(w->session, 0);
    }
    same = (size_t)lrqk_session_length(w->session);
  }
  *kept = same;
  return (int)s;
}

int work_load(struct ui *u, struct work *w, const char *path, const int32_t *ids, size_t n, size_t *reused) {
  double t = ui_now();
  int code = (int)lrqk_session_load(w->session, path, NULL, NULL);
  if (code) return code;
  *reused = (size_t)lrqk_session_length(w->session);
  if (ids) code = work_keep(u, w, ids, n, reused);
  if (code) return code;
  if (ids) ui_note(u, "session %s: %zu of %zu tokens of the prompt reused, loaded in %.2f s", path, *reused, n, ui_now() - t);
  else ui_note(u, "session %s: going on after %zu tokens, loaded in %.2f s", path, *reused, ui_now() - t);
  return ui_interrupted() ? LRQK_INTERRUPTED : 0;
}

int work_save(struct ui *u, struct work *w, const char *path, const struct text *note) {
  double t = ui_now();
  enum lrqk_status s = lrqk_session_save(w->session, path, note ? note->s : NULL, note ? note->len : 0);
  if (!s) ui_note(u, "session %s: %llu tokens saved in %.2f s", path, (unsigned long long)lrqk_session_length(w->session), ui_now() - t);
  return (int)s;
}

void work_close(struct work *w) {
  lrqk_session_close(w->session);
  lrqk_engine_close(w->engine);
  lrqk_model_close(w->model);
  *w = (struct work){0};
}

struct lrqk_cache_options work_lender(bool paper) {
  struct lrqk_cache_options o = lrqk_cache_defaults();
  memset(o.dense, 0, sizeof o.dense);
  o.lend = true;
  if (paper) o.proxy = LRQK_PROXY_PAPER;   /* its sums are kept only there */
  return o;
}

int work_cache(struct ui *u, const struct options *o, struct lrqk_cache_options *out) {
  *out = lrqk_cache_defaults();
  for (size_t i = 0; i < o->n_cache; i++) {
    enum lrqk_status s = lrqk_cache_set(out, o->cache[i].key, o->cache[i].value, ui_log, u);
    if (s) return ui_prefix(u, (int)s, "--");
  }
  return 0;
}

int work_check_ctx(struct ui *u, const struct work *w, int64_t ctx) {
  if (ctx <= (int64_t)w->info.n_ctx) return 0;
  return ui_fail(u, LRQK_USAGE, "-c: %lld tokens asked, the model was trained for %u", (long long)ctx, w->info.n_ctx);
}

int work_adds_bos(const struct work *w, bool *out) {
  int32_t *ids;
  size_t n;
  enum lrqk_status s = lrqk_tokenize(w->model, "", 0, 0, &ids, &n);
  if (s) return (int)s;
  *out = n == 1;
  lrqk_free(ids);
  return 0;
}

int work_chat(struct ui *u, const struct work *w, const char *template, lrqk_chat **out) {
  struct lrqk_chat_options opt = {.now = (int64_t)time(NULL)};
  struct text text = {0};
  size_t i = 0;
  while (template && lrqk_chat_known(i) && strcmp(lrqk_chat_known(i), template)) i++;
  if (template && lrqk_chat_known(i)) {
    opt.name = template;
  } else if (template) {
    if (access(template, R_OK)) {
      int code = ui_fail(u, LRQK_USAGE, "--chat-template: \"%s\" is neither a template that is known nor a file that can be read",
          template);
      ui_hint(u, "lrqk help run names the templates");
      return code;
    }
    int code = input_file(u, template, &text);
    if (code) return code;
    opt.text = text.s ? text.s : "";
    opt.len = text.len;
  }
  enum lrqk_status s = lrqk_chat_open(out, w->model, &opt);
  text_free(&text);
  return (int)s;
}

int32_t argmax(const float *x, uint32_t n) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return (int32_t)best;
}

double log_sum_exp(const float *x, uint32_t n) {
  double top = (double)x[argmax(x, n)], sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - top);
  return top + log(sum);
}

const char *policy_name(enum lrqk_policy p) { return p == LRQK_POLICY_FULL ? "full" : p == LRQK_POLICY_OFFLOAD ? "offload" : "lrqk"; }

double hit_rate(const struct lrqk_cache_stats *s) { return s->chosen ? 1 - (double)s->misses / (double)s->chosen : NAN; }

double bus_per_token(const struct lrqk_cache_stats *s) { return s->decoded ? (double)s->bus_bytes / (double)s->decoded : NAN; }
