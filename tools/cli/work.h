/* work.h - the objects of the library that a command opens, in their order, and what several commands do with them. */
#ifndef CLI_WORK_H
#define CLI_WORK_H

#include "lrqk/chat.h"
#include "lrqk/plan.h"
#include "options.h"

struct work {
  lrqk_model *model;
  lrqk_engine *engine;
  lrqk_session *session;
  struct lrqk_model_info info;   /* of model */
  double load_s;                 /* work_engine took */
  uint32_t n_ctx;                /* of session */
};

enum part { WHOLE, VOCABULARY, DIRECTORY };   /* what of a model file must be sound */
int work_model(struct ui *u, struct work *w, const char *path, enum part part);
int work_engine(struct ui *u, struct work *w, const struct options *o);   /* --device, --form, --vram */
/* Plans cache and *n_ctx for the device and --vram, and changes what was not asked for so that they fit; says so on a line. */
int work_fit(struct ui *u, const struct work *w, const struct options *o, unsigned keep, uint32_t least_ctx, struct lrqk_cache_options *cache,
             uint32_t *n_ctx, struct lrqk_plan *plan);
int work_session(struct ui *u, struct work *w, const struct lrqk_cache_options *cache, uint32_t n_ctx);   /* closes an open one */
/* Cuts the session to what the n ids begin with, but never to all of them without the logits of the last; *kept says how much that
 * is.  Where windows no longer hold what a shorter text needs it is less, or nothing, with a warning. */
int work_keep(struct ui *u, struct work *w, const int32_t *ids, size_t n, size_t *kept);
/* Loads the session saved at path into w->session, and keeps of it what the n ids begin with (NULL: all) as work_keep does. */
int work_load(struct ui *u, struct work *w, const char *path, const int32_t *ids, size_t n, size_t *reused);
int work_save(struct ui *u, struct work *w, const char *path, const struct text *note);   /* note: for the caller's own use, or NULL */
bool work_exists(const char *path);   /* a file that can be read is there, or something else that is in the way */

void work_close(struct work *w);

/* Cache options of a session that others can be copied from, those with proxy paper only if asked for. */
struct lrqk_cache_options work_lender(bool paper);

/* The cache options of the command line over the defaults. */
int work_cache(struct ui *u, const struct options *o, struct lrqk_cache_options *out);

/* LRQK_USAGE if -c asks for more than the model was trained for. */
int work_check_ctx(struct ui *u, const struct work *w, int64_t ctx);

/* Whether the model asks for a BOS token in front of a text. */
int work_adds_bos(const struct work *w, bool *out);

int32_t argmax(const float *x, uint32_t n);                  /* ties go to the lowest index */
double log_sum_exp(const float *x, uint32_t n);

/* "full", "offload" or "lrqk". */
const char *policy_name(enum lrqk_policy p);

/* Rates that have no meaning are NaN, which JSON shows as null. */
double hit_rate(const struct lrqk_cache_stats *s);
double bus_per_token(const struct lrqk_cache_stats *s);

/* Opens the template that --chat-template asks for (a name that the library knows, else a file), or the model's own. */
int work_chat(struct ui *u, const struct work *w, const char *template, lrqk_chat **out);

#endif
