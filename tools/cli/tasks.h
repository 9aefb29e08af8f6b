/* tasks.h - the prompts of `lrqk eval`: texts with something hidden in them and questions about it, in the manner of
 * RULER (arXiv 2404.06654), made from a seed and, for some, a filler text.  Neither model nor device is needed.
 * Called by cmd_eval.c. */
#ifndef CLI_TASKS_H
#define CLI_TASKS_H

#include "json.h"

enum { MAX_QUESTIONS = 64, MAX_LIST = 10 };

/* A text cut into sentences: sentence i is text.s[at[i] .. at[i + 1]), without the blanks between them. */
struct filler { struct text text; size_t *at, n; };

/* Blanks of any kind become one space.  False: out of memory. */
bool filler_split(struct filler *f, const char *s, size_t len);
void filler_free(struct filler *f);

struct question {
  char ask[256];      /* the end of the user's turn */
  char lead[256];     /* how the answer begins: fed, not generated */
  char expect[160];   /* a number, or words apart by spaces */
  double depth;       /* where in the text the answer stands, 0 to 1; NaN: in many places */
};

/* The body is the same for all questions: the user's turn is the body and one `ask`. */
struct prompt { struct text body; struct question q[MAX_QUESTIONS]; size_t n_q; };

struct recipe {
  const struct filler *filler;
  uint64_t seed, length, sample;   /* the three choose the random numbers */
  size_t depths;                   /* questions of tasks that may have any number */
  size_t units;                    /* how much of what the task is made of: sentences, keys or words */
};

struct task {
  const char *name, *unit;         /* unit: what is counted as right besides whole answers */
  const char *units;               /* what a unit of the recipe is */
  bool filler, number;             /* needs a filler; the answer is one number */
  size_t min_units;                /* besides one for each question about a number */
  size_t answer_tokens;            /* most tokens to generate, for a model whose digits are tokens */
  void (*build)(struct prompt *p, const struct recipe *r, uint64_t random);
};

extern const struct task tasks[];   /* ends with name NULL */

const struct task *task_find(const char *name);

/* The same recipe gives the same prompt on every machine.  body.failed: out of memory, or more keys than there are. */
void task_build(const struct task *t, const struct recipe *r, struct prompt *p);

/* Whether nothing that follows can change the score of a number: it has ended. */
bool task_answered(const struct task *t, const struct question *q, const char *answer);

/* *right of *of units of the answer are right: digits of its first number in their places, or words that occur in it. */
void task_score(const struct task *t, const struct question *q, const char *answer, uint64_t *right, uint64_t *of);
/* Whether a whole answer is right: all units, and a number no longer than it should be. */
bool task_exact(const struct task *t, const struct question *q, const char *answer);

#endif
