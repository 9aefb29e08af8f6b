/* results.h - a file of JSON objects, one a line, that grows while a command runs and is read when it starts again.
 * Called by cmd_eval.c. */
#ifndef CLI_RESULTS_H
#define CLI_RESULTS_H

#include "ui.h"

struct results {
  const char *path;   /* NULL: nothing is kept */
  int fd;
  struct text old;    /* what the file held when it was opened */
};

/* Makes the file if it is not there; a last line that was cut short is ended.  path NULL is fine. */
int results_open(struct ui *u, struct results *r, const char *path);
void results_close(struct results *r);

/* What follows `begin` in an old line that begins so and is whole; NULL: there is none. */
const char *results_find(const struct results *r, const struct text *begin);

/* Appends t, an object, and frees it. */
int results_add(struct ui *u, struct results *r, struct text *t);

#endif
