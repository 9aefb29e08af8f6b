/* pages.c - see pages.h. */
#include "pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- man pages ---------------------------------------------------------------------------------------------- */

/* Text as roff prints it: a dash is a dash, a backslash a backslash, a dot at the start of a line no request. */
static void roff(struct text *t, const char *s, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if ((s[i] == '.' || s[i] == '\'') && (i == 0 || s[i - 1] == '\n')) text_add(t, "\\&", 2);
    if (s[i] == '-') text_add(t, "\\-", 2);
    else if (s[i] == '\\') text_add(t, "\\e", 2);
    else text_add(t, &s[i], 1);
  }
}

static void roff_text(struct text *t, const char *s) { roff(t, s, strlen(s)); }

/* Paragraphs flow; lines that begin with blanks stay as they are. */
static void roff_lines(struct text *t, const char *s) {
  bool as_is = false;
  while (*s) {
    size_t len = strcspn(s, "\n");
    bool indented = *s == ' ';
    if (indented != as_is) text_printf(t, indented ? ".PP\n.nf\n" : ".fi\n");
    as_is = indented;
    if (len) {
      roff(t, s, len);
      text_add(t, "\n", 1);
    } else if (!as_is) {
      text_printf(t, ".PP\n");
    }
    s += len + (s[len] == '\n');
  }
  if (as_is) text_printf(t, ".fi\n");
}

static void man_option(struct text *t, const struct option_info *p) {
  text_printf(t, ".TP\n.B \"");
  if (p->brief) {
    text_printf(t, "\\-");
    roff_text(t, p->brief);
    text_printf(t, ", ");
  }
  text_printf(t, "\\-\\-");
  roff_text(t, p->name);
  if (p->alias) {
    text_printf(t, ", \\-\\-");
    roff_text(t, p->alias);
  }
  if (p->value) {
    if (!p->optional) text_printf(t, " ");
    roff_text(t, p->value);
  }
  text_printf(t, "\"\n");
  roff_text(t, p->help);
  if (p->fallback) {
    text_printf(t, "; default: ");
    roff_text(t, p->fallback);
  }
  if (*p->env) text_printf(t, " (environment: %s)", p->env);
  text_printf(t, "\n");
}

static void man_head(struct text *t, const char *title, const char *name, const char *summary) {
  text_printf(t, ".\\\" made from the table of flags\n.TH %s 1 \"\" \"lrqk " LRQK_VERSION "\" \"User Commands\"\n.SH NAME\n", title);
  roff_text(t, name);
  text_printf(t, " \\- ");
  roff_text(t, summary);
  text_printf(t, "\n.SH SYNOPSIS\n");
}

static void man_command(struct text *t, const struct command *c) {
  char title[64], name[64];
  snprintf(title, sizeof title, "LRQK\\-%s", c->name);
  snprintf(name, sizeof name, "lrqk-%s", c->name);
  man_head(t, title, name, c->summary);
  text_printf(t, ".B lrqk %s\n", c->name);
  roff_text(t, c->usage);
  if (c->details) {
    text_printf(t, "\n.SH DESCRIPTION\n");
    roff_lines(t, c->details);
  } else {
    text_add(t, "\n", 1);
  }
  text_printf(t, ".SH OPTIONS\n");
  struct option_info p;
  for (size_t i = 0; option_info(i, &p); i++)
    if (p.cmds & c->bit) man_option(t, &p);
  text_printf(t, ".SH SEE ALSO\n.BR lrqk (1)\n");
}

static void man_overview(struct text *t) {
  man_head(t, "LRQK", "lrqk", "long-context language models on any GPU, with the exact KV cache in host memory");
  text_printf(t, ".B lrqk\n.I COMMAND\n[FLAGS]\n.PP\n.B lrqk\n\\-m MODEL \\-p TEXT\n.SH COMMANDS\n");
  for (const struct command *c = commands; c->name; c++) {
    text_printf(t, ".TP\n.BR lrqk\\-%s (1)\n", c->name);
    roff_text(t, c->summary);
    text_add(t, "\n", 1);
  }
  text_printf(t, ".TP\n.B \"completions bash|zsh|fish\"\nprint completions for a shell\n.SH EXIT STATUS\n");
#define X(name, number, kind, meaning) text_printf(t, ".TP\n.B %d\n%s\n", number, number == LRQK_INTERRUPTED ? "stopped by Ctrl\\-C" : meaning);
  LRQK_STATUS_MAP(X)
#undef X
  text_printf(t, ".TP\n.B %d\nthe reader of the standard output went away\n.SH ENVIRONMENT\nEvery flag of\n.B lrqk run\n"
                 "has a variable, which the flag overrides: LRQK_MODEL, LRQK_DEVICE and so on.\n", EXIT_PIPE);
}

static int write_page(struct ui *u, const char *dir, const char *name, struct text *t) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s.1", dir, name);
  FILE *f = t->failed ? NULL : fopen(path, "w");
  bool ok = f && fwrite(t->s, 1, t->len, f) == t->len;
  ok = f && !fclose(f) && ok;
  text_free(t);
  return ok ? 0 : ui_fail(u, LRQK_RUNTIME, "%s: %s", path, strerror(errno));
}

int pages_manual(struct ui *u, const char *dir) {
  struct text t = {0};
  if (!dir) return ui_fail(u, LRQK_USAGE, "pages needs a folder: lrqk pages DIR");
  man_overview(&t);
  int code = write_page(u, dir, "lrqk", &t);
  for (const struct command *c = commands; c->name && !code; c++) {
    char name[64];
    snprintf(name, sizeof name, "lrqk-%s", c->name);
    t = (struct text){0};
    man_command(&t, c);
    code = write_page(u, dir, name, &t);
  }
  return code;
}

/* ---- completions -------------------------------------------------------------------------------------------- */

/* Values that are names of files. */
static bool is_file(const struct option_info *p) { return p->value && !strncmp(p->value, "FILE", 4); }

/* The next word is its value. */
static bool takes_word(const struct option_info *p) { return p->value && !p->optional; }

static void names(struct text *t, bool with_help) {
  for (const struct command *c = commands; c->name; c++) text_printf(t, " %s", c->name);
  if (with_help) text_printf(t, " help version completions");
}

static void bash_flags(struct text *t, const struct command *c) {
  struct option_info p;
  text_printf(t, "    %s) flags=\"", c->name);
  for (size_t i = 0; option_info(i, &p); i++) {
    if (!(p.cmds & c->bit)) continue;
    text_printf(t, "--%s ", p.name);
    if (p.alias) text_printf(t, "--%s ", p.alias);
    if (p.brief) text_printf(t, "-%s ", p.brief);
  }
  text_printf(t, "\"; values=\"");   /* flags whose next word is a value, but no file */
  for (size_t i = 0; option_info(i, &p); i++) {
    if (!(p.cmds & c->bit) || !takes_word(&p) || is_file(&p)) continue;
    text_printf(t, "--%s ", p.name);
    if (p.alias) text_printf(t, "--%s ", p.alias);
    if (p.brief) text_printf(t, "-%s ", p.brief);
  }
  text_printf(t, "\" ;;\n");
}

static void bash(struct text *t) {
  text_printf(t, "# bash completion of lrqk, made from its table of flags\n_lrqk() {\n"
                 "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags= values=\n"
                 "  if [ \"$COMP_CWORD\" = 1 ] || [ \"$prev\" = help ]; then\n"
                 "    COMPREPLY=($(compgen -W \"");
  names(t, true);
  text_printf(t, "\" -- \"$cur\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n");
  for (const struct command *c = commands; c->name; c++) bash_flags(t, c);
  text_printf(t, "    completions) COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\")); return ;;\n"
                 "    *) return ;;\n  esac\n"
                 "  if [[ \" $values \" == *\" $prev \"* ]]; then COMPREPLY=()\n"
                 "  elif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
                 "  else COMPREPLY=($(compgen -f -- \"$cur\"))\n  fi\n}\n"
                 "complete -o filenames -F _lrqk lrqk\n");
}

/* The first line of a help text, quoted for a word in single quotes; what zsh reads as its own is escaped if asked. */
static void quoted(struct text *t, const char *s, bool zsh) {
  for (; *s && *s != '\n'; s++) {
    if (*s == '\'') text_printf(t, "'\\''");
    else if (zsh && (*s == '[' || *s == ']' || *s == ':')) text_printf(t, "\\%c", *s);
    else text_add(t, s, 1);
  }
}

static void zsh_flag(struct text *t, const struct option_info *p, const char *dashes, const char *name) {
  if (!name) return;
  text_printf(t, " \\\n        '%s%s[", dashes, name);
  quoted(t, p->help, true);
  text_printf(t, "]");
  if (takes_word(p)) {
    text_printf(t, ":");
    quoted(t, p->value, true);
    text_printf(t, is_file(p) ? ":_files" : ": ");
  }
  text_printf(t, "'");
}

static void zsh(struct text *t) {
  text_printf(t, "#compdef lrqk\n# zsh completion of lrqk, made from its table of flags\n_lrqk() {\n  local -a list\n  list=(\n");
  for (const struct command *c = commands; c->name; c++) {
    text_printf(t, "    '%s:", c->name);
    quoted(t, c->summary, true);
    text_printf(t, "'\n");
  }
  text_printf(t, "    'help:say more about a command' 'version:print the version' 'completions:print completions for a shell'\n  )\n"
                 "  if (( CURRENT == 2 )); then _describe command list; return; fi\n"
                 "  local cmd=$words[2]\n  shift words; (( CURRENT-- ))\n  case $cmd in\n");
  for (const struct command *c = commands; c->name; c++) {
    struct option_info p;
    text_printf(t, "    %s)\n      _arguments -S", c->name);
    for (size_t i = 0; option_info(i, &p); i++) {
      if (!(p.cmds & c->bit)) continue;
      zsh_flag(t, &p, "--", p.name);
      zsh_flag(t, &p, "--", p.alias);
      zsh_flag(t, &p, "-", p.brief);
    }
    text_printf(t, " \\\n        '*:file:_files' ;;\n");
  }
  text_printf(t, "    help) _describe command list ;;\n    completions) _values shell bash zsh fish ;;\n  esac\n}\n_lrqk \"$@\"\n");
}

static void fish(struct text *t) {
  text_printf(t, "# fish completion of lrqk, made from its table of flags\ncomplete -c lrqk -f -n __fish_use_subcommand -a 'help version completions'\n"
                 "complete -c lrqk -f -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'\n"
                 "complete -c lrqk -f -n '__fish_seen_subcommand_from help' -a '");
  names(t, false);
  text_printf(t, "'\n");
  for (const struct command *c = commands; c->name; c++) {
    struct option_info p;
    text_printf(t, "complete -c lrqk -f -n __fish_use_subcommand -a %s -d '", c->name);
    quoted(t, c->summary, false);
    text_printf(t, "'\n");
    for (size_t i = 0; option_info(i, &p); i++) {
      if (!(p.cmds & c->bit)) continue;
      text_printf(t, "complete -c lrqk -n '__fish_seen_subcommand_from %s' -l %s", c->name, p.name);
      if (p.alias) text_printf(t, " -l %s", p.alias);
      if (p.brief) text_printf(t, p.brief[1] ? " -o %s" : " -s %s", p.brief);
      text_printf(t, "%s -d '", !takes_word(&p) ? "" : is_file(&p) ? " -r -F" : " -x");
      quoted(t, p.help, false);
      text_printf(t, "'\n");
    }
  }
}

int pages_completions(struct ui *u, const char *shell) {
  struct text t = {0};
  if (shell && !strcmp(shell, "bash")) bash(&t);
  else if (shell && !strcmp(shell, "zsh")) zsh(&t);
  else if (shell && !strcmp(shell, "fish")) fish(&t);
  else return ui_fail(u, LRQK_USAGE, "completions needs the name of a shell: lrqk completions bash|zsh|fish");
  return out_text(u, &t);
}
