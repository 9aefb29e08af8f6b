/* answer.h - one answer: tokens are sampled, shown as they come and appended to the session.  Called by cmd_run.c and turns.c. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "work.h"

struct answer {
  struct ui *u;
  const struct options *o;
  struct work *w;
  bool collected;            /* not shown: all of it is wanted at the end */
  lrqk_sampler *sampler;
  uint64_t from;             /* length of the session where it began */
  int32_t *tokens;           /* [n_tokens] */
  size_t n_tokens, cap_tokens;
  struct lrqk_utf8_stream utf8;
  struct text text;
  size_t shown;              /* bytes of it that were written */
  const char *finish;        /* "eos", "length", "interrupt" */
  double first_s, decode_s;  /* until the first token was chosen; from then to the end */
};

/* Of --seed: what it says, or any. */
uint64_t answer_seed(const struct options *o);

/* A sampler with the flags of the command line, which has seen n ids. */
int answer_sampler(struct answer *a, uint64_t seed, const int32_t *ids, size_t n);

/* At most `limit` tokens after those of the session, which has the logits of prev, its last one.  All are appended to the session
 * but the last, if it is the limit or something failed.  LRQK_INTERRUPTED: stopped by Ctrl-C, what there is of it is whole. */
int answer_generate(struct answer *a, int32_t prev, uint64_t limit);
/* Appends the last one too, if there is room. */
int answer_hold(struct answer *a);

void answer_free(struct answer *a);

void rate_text(char out[32], double n, double seconds);   /* n in a second, or "-" */

#endif
