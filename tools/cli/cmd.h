/* cmd.h - the sub-commands, one file each.  Called by main.c; they return an exit code and leave the message with ui. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "options.h"

int cmd_run(struct ui *u, const struct options *o);
int cmd_chat(struct ui *u, const struct options *o);
int cmd_tokenize(struct ui *u, const struct options *o);
int cmd_logits(struct ui *u, const struct options *o);
int cmd_perplexity(struct ui *u, const struct options *o);
int cmd_compare(struct ui *u, const struct options *o);
int cmd_eval(struct ui *u, const struct options *o);
int cmd_bench(struct ui *u, const struct options *o);
int cmd_profile(struct ui *u, const struct options *o);
int cmd_profile_diff(struct ui *u, const struct options *o);
int cmd_plan(struct ui *u, const struct options *o);
int cmd_inspect(struct ui *u, const struct options *o);
int cmd_devices(struct ui *u, const struct options *o);

#endif
