/* pages.h - man pages and shell completions out of the tables of commands and flags.  Called by main.c. */
#ifndef CLI_PAGES_H
#define CLI_PAGES_H

#include "options.h"

int pages_completions(struct ui *u, const char *shell);   /* to the standard output; NULL: says which there are */
int pages_manual(struct ui *u, const char *dir);          /* lrqk.1 and lrqk-COMMAND.1 into a folder */

#endif
