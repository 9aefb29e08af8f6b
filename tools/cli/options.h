/* options.h - the command line from one table (options.c): the parser, the help texts, the environment variables and
 * the suggestions for misspelt names all read it.  Called by main.c; the cmd_*.c files read struct options. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"
#include "ui.h"

enum {
  CMD_RUN = 1, CMD_TOKENIZE = 2, CMD_LOGITS = 4, CMD_PERPLEXITY = 8, CMD_COMPARE = 16, CMD_INSPECT = 32, CMD_DEVICES = 64,
  CMD_EVAL = 128, CMD_BENCH = 256, CMD_PROFILE = 512, CMD_DIFF = 1024, CMD_PLAN = 2048, CMD_CHAT = 4096, CMD_ALL = 8191
};

struct options;
typedef int (*cmd_fn)(struct ui *u, const struct options *o);

struct command {
  const char *name;
  unsigned bit;
  const char *summary;
  const char *usage;     /* what follows the name */
  const char *details;   /* paragraphs below the usage, lines already broken */
  cmd_fn run;
};

enum { MAX_CACHE_OPTIONS = 32 };

struct options {
  const struct command *command;
  bool help;
  const char *model, *session, *prompt, *file, *system, *chat_template, *tokens, *policies, *device, *task, *length, *out, *gen, *depth, *fill;
  const char *output, *trace, *html, *capture, *counters, *kernels, *before, *after;
  const char *form;
  bool measure, no_history;
  int64_t predict, ctx, top_k, repeat_last, seed, top, chunks, prefill, decode, samples, depths, reps, layers, every, quality, vram;
  double temp, top_p, min_p, repeat_penalty, threshold, bandwidth, bus, hit_rate;
  bool json, ignore_eos, special, raw, truncate, no_bos, to_text, verbose, debug, quiet, print, serial, whole, by_layer, by_head, csv, folded;
  /* the options that lrqk_cache_set knows, in the order given; number suffixes are resolved */
  struct { const char *key; char value[64]; } cache[MAX_CACHE_OPTIONS];
  size_t n_cache;
};

extern const struct command commands[];   /* ends with name NULL; main.c */

const struct command *command_find(const char *name);
/* The nearest command name, or NULL if none is near. */
const char *command_nearest(const char *name);
/* Keeps in *best the nearer of it and name, for who typed word; *best_d says how far it is, first NEAREST_NONE. */
enum { NEAREST_NONE = 99 };
void name_nearer(const char *word, const char *name, const char **best, unsigned *best_d);

/* Fills o from the environment, then from argv[0..argc), the words after the command.  0 or LRQK_USAGE, said through u.
 * u->json is set even when parsing fails before --json is reached. */
int options_parse(struct options *o, const struct command *c, int argc, char **argv, struct ui *u);

void help_command(struct text *t, const struct command *c);
void help_overview(struct text *t);   /* usage, the commands, exit codes */
void help_short(struct text *t);      /* what a missing command prints */

/* Row i of the table of flags; false behind the last one.  env is the variable, "" without one. */
struct option_info { const char *name, *alias, *brief, *value, *fallback, *help; unsigned cmds; bool optional; char env[40]; };   /* of the value */
bool option_info(size_t i, struct option_info *out);

/* A whole number with an optional K or M (1024, 1024 * 1024).  False if text is anything else or out of int64. */
bool number_parse(const char *text, int64_t *out);

#endif
