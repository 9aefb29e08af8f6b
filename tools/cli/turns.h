/* turns.h - a conversation and the session that holds its text: what a turn costs is its own tokens.  turns.c; called by cmd_chat.c. */
#ifndef CLI_TURNS_H
#define CLI_TURNS_H

#include "answer.h"
#include "messages.h"

struct turns {
  struct ui *u;
  const struct options *o;
  struct work w;
  struct lrqk_cache_options cache;
  lrqk_chat *template;
  struct messages m;
  struct text document;      /* of -f; opens the conversation ... */
  bool waits;                /* ... with the next turn of the user */
  bool whole;                /* the session holds the text of all messages, and nothing else */
  uint64_t answer_at;        /* whole: its length before the last answer */
  uint64_t seed, n_answers;
  struct turn_figures {
    size_t read, generated;
    double read_s, first_s, decode_s;
    const char *finish;
  } last, sum;
};

/* Opens model, template, engine and an empty session of the context that is asked for. */
int turns_open(struct turns *t);
void turns_close(struct turns *t);

/* Back to the beginning: the system message, and the document, which is read now unless the session holds it. */
int turns_restart(struct turns *t);
int turns_system(struct turns *t, const char *text);   /* with another system message, NULL: none */

/* A turn of the user and its answer on the standard output.  LRQK_PROMPT: it does not fit, nothing has changed.  LRQK_INTERRUPTED with
 * last.finish NULL: reading was stopped and the turn is taken back; else the answer was, and what there is of it counts. */
int turns_ask(struct turns *t, const char *text, size_t len);
/* Another answer to the last turn.  LRQK_USAGE: there is none yet. */
int turns_again(struct turns *t);

int turns_save(struct turns *t, const char *path);
int turns_load(struct turns *t, const char *path);   /* after a refusal the conversation is as it was */

#endif
