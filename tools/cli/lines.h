/* lines.h - lines that a person types: with editing and history (libedit) at a terminal, as they come from anything else.
 * Called by cmd_chat.c. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "json.h"
#include "ui.h"

struct lines;

struct lines_options {
  bool history;                      /* kept from one run to the next */
  const char *(*word)(size_t i);     /* what Tab completes at the start of a line, beside names of files; NULL at the end */
};

/* 0 or an exit code.  At a terminal of a build without libedit it says what is missing. */
int lines_open(struct lines **out, struct ui *u, const struct lines_options *opt);
void lines_close(struct lines *l);   /* NULL is fine */
bool lines_interactive(const struct lines *l);   /* somebody sits there: prompts are shown */

enum lines_result { LINES_LINE, LINES_END, LINES_INTERRUPTED, LINES_FAILED };
/* Replaces the text by the next line, without its end.  FAILED: the standard input cannot be read, or memory ran out (said through ui).
 * INTERRUPTED: Ctrl-C; the text is what stood in the line, as far as it is known. */
enum lines_result lines_read(struct lines *l, const char *prompt, struct text *line);

#endif
