/* policies.h - the list of attention policies that --policies takes.  Called by cmd_bench.c, cmd_compare.c and cmd_eval.c. */
#ifndef CLI_POLICIES_H
#define CLI_POLICIES_H

#include "ui.h"

enum { MAX_POLICIES = 64 };

struct policy {
  const char *text;        /* as given: text[0..len) of the list */
  size_t len;
  struct lrqk_cache_options cache;
};

/* NAME, NAME:KEY=VALUE or KEY=VALUE of the policy before, apart by commas.  *n of them go to out, which borrows the list. */
int policies_parse(struct ui *u, const char *list, struct policy out[MAX_POLICIES], size_t *n);

#endif
