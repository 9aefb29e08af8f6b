/* input.h - texts and token ids from files, pipes and flags, byte for byte.  Called by the cmd_*.c files. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "options.h"

/* Appends all of a file to t; "-" is the standard input.  0 or an exit code. */
int input_file(struct ui *u, const char *path, struct text *t);

/* True if something other than a terminal or /dev/null is connected to the standard input. */
bool input_piped(void);

/* The prompt of `run`: --file or a pipe, a blank line, --prompt.  LRQK_USAGE if all of it is empty. */
int input_prompt(struct ui *u, const struct options *o, struct text *t);

/* The text of the other commands: --prompt, else --file, else a pipe.  May be empty. */
int input_text(struct ui *u, const struct options *o, struct text *t);

/* Ids in decimal, apart by blanks or commas, brackets and an "ids" key around them allowed.  *ids is malloc'ed. */
int input_ids(struct ui *u, const char *label, const char *s, size_t len, int32_t **ids, size_t *n);

#endif
