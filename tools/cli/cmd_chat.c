/* cmd_chat.c - `lrqk chat`: turns that a person types, or lines of a pipe, and commands that begin with a slash. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "lines.h"
#include "turns.h"

struct talk {
  struct turns t;
  struct lines *lines;
  struct text line, turn;
  char *file;                /* of the last /save or /load, or --session; NULL: none */
  bool leave;
  int failed;                /* code of the first thing that went wrong and was said; what a script ends with */
};

/* ---- what it says --------------------------------------------------------------------------------------------- */

/* Says what the person can mend, and goes on; other codes end the chat. */
static int mend(struct talk *k, int code) {
  struct ui *u = k->t.u;
  if (code == LRQK_INTERRUPTED && lines_interactive(k->lines)) {
    ui_note(u, "stopped");
    return 0;
  }
  if (code != LRQK_PROMPT && code != LRQK_USAGE) return code;
  ui_complain(u, code);
  u->error[0] = u->hint[0] = 0;
  if (!k->failed) k->failed = code;
  return 0;
}

static void say_context_full(struct talk *k) {
  const struct turns *t = &k->t;
  ui_warn(t->u, "the answer ends here: the context of %u tokens is full", t->w.n_ctx);
  if (t->w.n_ctx < t->w.info.n_ctx)
    ui_note(t->u, "/clear starts again; to go on, /save FILE and start with --session FILE -c N, where N can be up to %u", t->w.info.n_ctx);
  else ui_note(t->u, "/clear starts again; the model was trained for no more");
}

static void say_turn(struct talk *k) {
  const struct turns *t = &k->t;
  const struct turn_figures *f = &t->last;
  char in[32], out[32];
  uint64_t held = lrqk_session_length(t->w.session);
  bool length = f->finish && !strcmp(f->finish, "length");
  rate_text(in, (double)f->read, f->read_s);
  rate_text(out, (double)f->generated, f->decode_s);
  ui_note(t->u, "%s%zu tokens read, %s tokens/s | %zu generated, %s tokens/s | first after %.2f s | context %llu of %u",
          f->finish && !strcmp(f->finish, "interrupt") ? "stopped | " : "", f->read, in, f->generated, out, f->first_s, (unsigned long long)held,
          t->w.n_ctx);
  if (length && held == t->w.n_ctx) say_context_full(k);
}

/* What a turn or another answer ended with. */
static int answered(struct talk *k, int code) {
  struct turns *t = &k->t;
  if (t->last.finish) say_turn(k);
  if (code != LRQK_INTERRUPTED) return mend(k, code);
  if (!t->last.finish) ui_note(t->u, "stopped while it was read: the turn is taken back");
  return lines_interactive(k->lines) ? 0 : code;
}

/* ---- commands ------------------------------------------------------------------------------------------------- */

static int do_help(struct talk *k, const char *rest);

static int do_clear(struct talk *k, const char *rest) {
  (void)rest;
  return mend(k, turns_restart(&k->t));
}

static int do_regen(struct talk *k, const char *rest) {
  (void)rest;
  if (k->t.o->temp == 0) ui_note(k->t.u, "--temp 0 gives the same answer again");
  return answered(k, turns_again(&k->t));
}

static int do_system(struct talk *k, const char *rest) {
  struct turns *t = &k->t;
  bool has = t->m.n && !strcmp(t->m.msg[0].role, "system");
  if (!*rest) {
    fprintf(stderr, has ? "%s\n" : "There is no system message; /system TEXT gives one.\n", has ? t->m.msg[0].text : "");
    return 0;
  }
  int code = turns_system(t, strcmp(rest, "off") ? rest : NULL);
  if (!code) ui_note(t->u, "the conversation starts again, %s a system message", strcmp(rest, "off") ? "with" : "without");
  return mend(k, code);
}

static int set_file(struct talk *k, const char *path) {
  char *copy = strdup(path);
  if (!copy) return ui_fail(k->t.u, LRQK_MEMORY, "out of memory for a name");
  free(k->file);
  k->file = copy;
  return 0;
}

/* The name that was given, else the last one. */
static int on_file(struct talk *k, const char *rest, const char *command, int (*what)(struct turns *t, const char *path)) {
  int code = 0;
  if (!*rest && !k->file) {
    code = ui_fail(k->t.u, LRQK_USAGE, "%s needs the name of a file", command);
  } else {
    code = what(&k->t, *rest ? rest : k->file);
    if (!code && *rest) code = set_file(k, rest);
  }
  return mend(k, code == LRQK_RUNTIME ? LRQK_USAGE : code);   /* a disk that is full is no reason to leave */
}

static int do_save(struct talk *k, const char *rest) { return on_file(k, rest, "/save", turns_save); }
static int do_load(struct talk *k, const char *rest) { return on_file(k, rest, "/load", turns_load); }

static int do_stats(struct talk *k, const char *rest) {
  (void)rest;
  const struct turns *t = &k->t;
  struct lrqk_cache_stats c;
  enum lrqk_status s = lrqk_session_stats(t->w.session, &c);
  if (s) return mend(k, (int)s);
  char in[32], out[32], all_in[32], all_out[32], dev[24], full[24], host[24], bus[24];
  uint64_t held = lrqk_session_length(t->w.session);
  rate_text(in, (double)t->last.read, t->last.read_s);
  rate_text(out, (double)t->last.generated, t->last.decode_s);
  rate_text(all_in, (double)t->sum.read, t->sum.read_s);
  rate_text(all_out, (double)t->sum.generated, t->sum.decode_s);
  fprintf(stderr, "context     %llu of %u tokens (%.1f %%), %zu messages\n", (unsigned long long)held, t->w.n_ctx,
          100.0 * (double)held / t->w.n_ctx, t->m.n);
  fprintf(stderr, "last turn   %zu tokens read, %s tokens/s; %zu generated, %s tokens/s; first after %.2f s\n", t->last.read, in,
          t->last.generated, out, t->last.first_s);
  fprintf(stderr, "all turns   %zu tokens read, %s tokens/s; %zu generated, %s tokens/s\n", t->sum.read, all_in, t->sum.generated, all_out);
  fprintf(stderr, "KV cache    %s on the device (full attention %s), %s on the host; attention %s\n", human_bytes(c.device_bytes, dev),
          human_bytes(c.full_bytes, full), human_bytes(c.host_bytes, host), policy_name(t->cache.policy));
  if (isfinite(hit_rate(&c))) fprintf(stderr, "hit rate    %.1f %% of the tokens that were chosen\n", 100 * hit_rate(&c));
  if (c.decoded) fprintf(stderr, "over bus    %s per token\n", human_bytes((uint64_t)bus_per_token(&c), bus));
  return 0;
}

static int do_exit(struct talk *k, const char *rest) {
  (void)rest;
  k->leave = true;
  return 0;
}

static const struct {
  const char *name, *value, *help;   /* help NULL: another name of the one above */
  int (*run)(struct talk *k, const char *rest);
} commands_here[] = {
  {"/help", "", "this list", do_help},
  {"/?", "", NULL, do_help},
  {"/clear", "", "start again; the system message and the document of -f stay", do_clear},
  {"/regen", "", "another answer to the last turn", do_regen},
  {"/stats", "", "tokens, speed, hit rate, bytes on the device and on the host", do_stats},
  {"/system", " TEXT", "start again with this system message (off: without; nothing: show it)", do_system},
  {"/save", " FILE", "write the conversation and its KV cache", do_save},
  {"/load", " FILE", "go on with a conversation that was saved", do_load},
  {"/exit", "", "leave; so do Ctrl-D and twice Ctrl-C", do_exit},
  {"/quit", "", NULL, do_exit},
  {"/bye", "", NULL, do_exit},
};
enum { N_COMMANDS = sizeof commands_here / sizeof *commands_here };

static const char *command_word(size_t i) { return i < N_COMMANDS ? commands_here[i].name : NULL; }

static int do_help(struct talk *k, const char *rest) {
  (void)k;
  (void)rest;
  for (int i = 0; i < N_COMMANDS; i++)
    if (commands_here[i].help) fprintf(stderr, "  %-7s%-6s  %s\n", commands_here[i].name, commands_here[i].value, commands_here[i].help);
  fputs("A backslash at its end continues a line; \"\"\" begins and ends a turn of many lines;\n"
        "a blank before a slash makes it text. Ctrl-C stops an answer.\n", stderr);
  return 0;
}

static int command(struct talk *k, const char *line) {
  size_t n = strcspn(line, " \t");
  const char *rest = line + n + strspn(line + n, " \t"), *near = NULL;
  char name[64], arg[4096];
  unsigned d = NEAREST_NONE;
  snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), line);
  size_t len = strlen(rest);
  while (len && (rest[len - 1] == ' ' || rest[len - 1] == '\t')) len--;
  if (len >= sizeof arg) return mend(k, ui_fail(k->t.u, LRQK_USAGE, "%s: what follows is longer than %zu bytes", name, sizeof arg - 1));
  memcpy(arg, rest, len);
  arg[len] = 0;
  for (int i = 0; i < N_COMMANDS; i++) {
    if (!strcmp(commands_here[i].name, name)) return commands_here[i].run(k, arg);
    name_nearer(name + 1, commands_here[i].name + 1, &near, &d);
  }
  ui_fail(k->t.u, LRQK_USAGE, "unknown command %s", name);
  if (near) ui_hint(k->t.u, "did you mean /%s?", near);
  else ui_hint(k->t.u, "/help lists the commands; a blank before the slash makes it text");
  return mend(k, LRQK_USAGE);
}

/* ---- turns ---------------------------------------------------------------------------------------------------- */

static const char quotes[] = "\"\"\"";

static bool ends_in_quotes(const struct text *t) { return t->len >= 3 && !memcmp(t->s + t->len - 3, quotes, 3); }

/* The rest of a turn of many lines, whose first one stands in k->line. */
static enum lines_result more_lines(struct talk *k) {
  struct text *turn = &k->turn, *line = &k->line;
  bool block = line->len >= 3 && !memcmp(line->s, quotes, 3);
  if (block) {
    memmove(line->s, line->s + 3, line->len - 2);
    line->len -= 3;
  }
  for (;;) {
    bool last = block ? ends_in_quotes(line) : !line->len || line->s[line->len - 1] != '\\';
    size_t n = line->len - (block ? (last ? 3 : 0) : !last);
    text_add(turn, line->s, n);
    if (last) return LINES_LINE;
    if (turn->len || !block) text_add(turn, "\n", 1);
    enum lines_result r = lines_read(k->lines, ". ", line);
    if (r == LINES_END) return LINES_LINE;   /* what there is of it */
    if (r != LINES_LINE) return r;
  }
}

/* Reads a command or a whole turn into k->turn. */
static enum lines_result read_turn(struct talk *k) {
  k->turn.len = 0;
  enum lines_result r = lines_read(k->lines, "> ", &k->line);
  if (r == LINES_LINE && k->line.len) r = more_lines(k);
  if (!k->turn.failed) return r;
  ui_fail(k->t.u, LRQK_MEMORY, "out of memory for a turn");
  return LINES_FAILED;
}

static bool blank(const struct text *t) { return !t->len || strspn(t->s, " \t\n") == t->len; }

static int ask(struct talk *k, const char *text, size_t len) {
  ui_catch_interrupt(false);
  return answered(k, turns_ask(&k->t, text, len));
}

static int talk(struct talk *k) {
  bool warned = false;   /* Ctrl-C came at an empty line just now */
  while (!k->leave) {
    enum lines_result r = read_turn(k);
    bool interactive = lines_interactive(k->lines);
    if (r == LINES_FAILED) return k->turn.failed || k->line.failed ? LRQK_MEMORY : LRQK_RUNTIME;
    if (r == LINES_INTERRUPTED) {
      if (interactive) fputc('\n', stderr);
      bool empty = !k->line.len && !k->turn.len;
      if (!interactive || (warned && empty)) return LRQK_INTERRUPTED;
      if (empty) fputs("Ctrl-C again or Ctrl-D leaves.\n", stderr);
      warned = empty;
      continue;
    }
    warned = false;
    if (r == LINES_END) {
      if (interactive) fputc('\n', stderr);
      break;
    }
    ui_catch_interrupt(false);
    int code = 0;
    if (blank(&k->turn)) continue;
    if (k->turn.s[0] == '/') code = command(k, k->turn.s);
    else code = ask(k, k->turn.s, k->turn.len);
    if (code) return code;
  }
  return lines_interactive(k->lines) ? 0 : k->failed;
}

/* ---- begin and end -------------------------------------------------------------------------------------------- */

static int check(struct ui *u, const struct options *o) {
  if (o->file && !strcmp(o->file, "-")) return ui_fail(u, LRQK_USAGE, "-f -: the lines of the standard input are the turns of a chat");
  return 0;
}

/* What --session holds already must be what the flags ask for. */
static int resume(struct talk *k) {
  struct turns *t = &k->t;
  const struct lrqk_message *m = t->m.msg;
  int code = turns_load(t, k->file);
  if (code) return code;
  m = t->m.msg;
  bool has = t->m.n && !strcmp(m[0].role, "system");
  const char *system = t->o->system;
  if (system && *system && (!has || strcmp(m[0].text, system)))
    return ui_fail(t->u, LRQK_USAGE, "--system: the conversation in %s has %s system message", k->file, has ? "another" : "no");
  const struct lrqk_message *first = &m[has];
  if (t->document.len && (first->len < t->document.len || memcmp(first->text, t->document.s, t->document.len)))
    return ui_fail(t->u, LRQK_USAGE, "-f: the conversation in %s does not begin with the text of %s", k->file, t->o->file);
  return 0;
}

static int begin(struct talk *k) {
  struct turns *t = &k->t;
  const struct options *o = t->o;
  const struct lines_options lo = {.history = !o->no_history, .word = command_word};
  int code = turns_open(t);
  if (!code && o->session) code = set_file(k, o->session);
  if (!code) code = lines_open(&k->lines, t->u, &lo);
  if (code) return code;
  ui_info(t->u, "context %u, seed %llu", t->w.n_ctx, (unsigned long long)t->seed);
  if (o->session && work_exists(o->session)) code = resume(k);
  else if (!o->prompt || !*o->prompt) code = turns_restart(t);
  else t->waits = t->document.len;
  if (code) return code;
  if (lines_interactive(k->lines)) ui_note(t->u, "%s | /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves", t->w.info.name);
  if (!o->prompt || !*o->prompt) return 0;
  if (lines_interactive(k->lines)) fprintf(stderr, "> %s\n", o->prompt);
  return ask(k, o->prompt, strlen(o->prompt));
}

int cmd_chat(struct ui *u, const struct options *o) {
  struct talk k = {.t = {.u = u, .o = o}};
  int code = check(u, o);
  if (!code) code = begin(&k);
  bool begun = !code;
  if (begun) code = talk(&k);
  if (begun && o->session && k.t.whole && (!code || code == LRQK_INTERRUPTED || code == k.failed)) {
    int saved = turns_save(&k.t, o->session);
    if (saved) code = saved;
  }
  u->answered = begun && (code == LRQK_INTERRUPTED || (code && code == k.failed));   /* it was said */
  lines_close(k.lines);
  text_free(&k.line);
  text_free(&k.turn);
  free(k.file);
  turns_close(&k.t);
  return code;
}
