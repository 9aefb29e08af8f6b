/* lines.c - see lines.h. */
#include "lines.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#ifdef LRQK_LIBEDIT
#include <histedit.h>
#endif

struct lines {
  struct ui *u;
  struct lines_options opt;
  bool interactive;
  char buf[4096];            /* of a plain reader: bytes at .. end are not used yet */
  size_t at, end;
#ifdef LRQK_LIBEDIT
  EditLine *el;              /* NULL: a plain reader */
  History *history;
  char *path;                /* of the history, NULL: not kept */
  const char *prompt;
#endif
};

/* ---- plain ---- */

static enum lines_result failed(struct lines *l) {
  ui_fail(l->u, LRQK_RUNTIME, "standard input: %s", strerror(errno));
  return LINES_FAILED;
}

static enum lines_result fill(struct lines *l) {
  l->at = l->end = 0;
  for (;;) {
    bool ready = ui_wait(STDIN_FILENO);
    if (ui_interrupted()) return LINES_INTERRUPTED;
    if (!ready) continue;
    ssize_t n = read(STDIN_FILENO, l->buf, sizeof l->buf);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return failed(l);
    l->end = (size_t)n;
    return n ? LINES_LINE : LINES_END;
  }
}

static enum lines_result read_plain(struct lines *l, const char *prompt, struct text *line) {
  if (l->interactive) fputs(prompt, stderr);
  for (;;) {
    if (l->at == l->end) {
      enum lines_result r = fill(l);
      if (r == LINES_END && line->len) return LINES_LINE;   /* the last line may lack its end */
      if (r != LINES_LINE) return r;
    }
    const char *from = l->buf + l->at, *end = memchr(from, '\n', l->end - l->at);
    size_t n = end ? (size_t)(end - from) : l->end - l->at;
    text_add(line, from, n);
    l->at += n + (end != NULL);
    if (end) return LINES_LINE;
  }
}

#ifdef LRQK_LIBEDIT
/* ---- edited ---- */

enum { HISTORY_LINES = 1000 };

static struct lines *of(EditLine *el) {
  void *l = NULL;
  el_get(el, EL_CLIENTDATA, &l);
  return l;
}

static char *prompt_of(EditLine *el) { return (char *)of(el)->prompt; }

/* One character.  The reader of libedit starts again after a first Ctrl-C; this one ends the line. */
static int get_char(EditLine *el, wchar_t *out) {
  mbstate_t state = {0};
  for (;;) {
    char byte;
    bool ready = ui_wait(STDIN_FILENO);
    if (ui_interrupted()) {
      errno = EINTR;
      return -1;
    }
    if (!ready) {   /* the window has another size, or the program was stopped and goes on */
      el_set(el, EL_PREP_TERM, 1);
      el_resize(el);
      fputc('\r', stderr);
      el_set(el, EL_REFRESH);
      continue;
    }
    ssize_t n = read(STDIN_FILENO, &byte, 1);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return (int)n;
    size_t used = mbrtowc(out, &byte, 1, &state);
    if (used == (size_t)-1) {        /* no character begins like that */
      *out = L'?';
      return 1;
    }
    if (used != (size_t)-2) return 1;
  }
}

/* Tab: a word of opt.word at the start of the line, names of files elsewhere. */
static unsigned char complete(EditLine *el, int key) {
  const struct lines *l = of(el);
  const LineInfo *line = el_line(el);
  size_t n = (size_t)(line->cursor - line->buffer), common = 0;
  const char *found = NULL;
  if (!n || *line->buffer != '/' || memchr(line->buffer, ' ', n)) return _el_fn_complete(el, key);
  for (size_t i = 0; l->opt.word(i); i++) {
    const char *word = l->opt.word(i);
    if (strncmp(word, line->buffer, n)) continue;
    if (!found) common = strlen(word);
    for (size_t k = 0; found && k < common; k++)
      if (word[k] != found[k]) common = k;
    found = word;
  }
  if (!found || common <= n) return CC_ERROR;
  char rest[64];
  snprintf(rest, sizeof rest, "%.*s%s", (int)(common - n), found + n, found[common] ? "" : " ");
  return el_insertstr(el, rest) ? CC_ERROR : CC_REFRESH;
}

/* Makes the folders that lead to path, as mkdir -p does. */
static void make_folders(char *path) {
  for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
    *p = 0;
    mkdir(path, 0700);
    *p = '/';
  }
}

/* $XDG_STATE_HOME/lrqk/history (XDG Base Directory Specification 0.8) or its default. */
static char *history_path(void) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  char path[4096];
  int n = -1;
  if (state && *state == '/') n = snprintf(path, sizeof path, "%s/lrqk/history", state);
  else if (home && *home == '/') n = snprintf(path, sizeof path, "%s/.local/state/lrqk/history", home);
  if (n < 0 || n >= (int)sizeof path) return NULL;
  make_folders(path);
  return strdup(path);
}

static void open_history(struct lines *l) {
  HistEvent ev;
  l->history = history_init();
  if (!l->history) return;
  history(l->history, &ev, H_SETSIZE, HISTORY_LINES);
  history(l->history, &ev, H_SETUNIQUE, 1);
  el_set(l->el, EL_HIST, history, l->history);
  if (l->opt.history) l->path = history_path();
  if (l->path) history(l->history, &ev, H_LOAD, l->path);
}

static void remember(struct lines *l, const char *line) {
  HistEvent ev;
  if (!l->history || !line[strspn(line, " \t")]) return;
  history(l->history, &ev, H_ENTER, line);
  if (l->path && history(l->history, &ev, H_SAVE, l->path) < 0) {
    ui_warn(l->u, "%s: the history cannot be written", l->path);
    free(l->path);
    l->path = NULL;
  }
}

static int open_edited(struct lines *l) {
  l->el = el_init("lrqk", stdin, stderr, stderr);
  if (!l->el) return ui_fail(l->u, LRQK_RUNTIME, "the terminal cannot be used for editing lines");
  el_set(l->el, EL_CLIENTDATA, l);
  el_set(l->el, EL_PROMPT, prompt_of);
  el_set(l->el, EL_SIGNAL, 0);   /* its handlers want to be alone in the process; drivers have threads */
  el_set(l->el, EL_EDITOR, "emacs");
  el_set(l->el, EL_GETCFN, get_char);
  el_set(l->el, EL_ADDFN, "complete", "complete a command or the name of a file", complete);
  el_set(l->el, EL_BIND, "\t", "complete", NULL);
  el_set(l->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(l->el, NULL);
  open_history(l);
  return 0;
}

static const int redraw[2] = {SIGWINCH, SIGCONT};

static enum lines_result read_edited(struct lines *l, const char *prompt, struct text *line) {
  struct sigaction a, before[2];
  int n = 0;
  memset(&a, 0, sizeof a);
  sigemptyset(&a.sa_mask);
  a.sa_handler = ui_wake;
  for (int i = 0; i < 2; i++) sigaction(redraw[i], &a, &before[i]);
  l->prompt = prompt;
  el_set(l->el, EL_PREP_TERM, 1);   /* before the prompt is seen: what is typed then belongs to the line */
  const char *s = el_gets(l->el, &n);
  for (int i = 0; i < 2; i++) sigaction(redraw[i], &before[i], NULL);
  if (ui_interrupted()) {
    const LineInfo *left = el_line(l->el);
    text_add(line, left->buffer, (size_t)(left->lastchar - left->buffer));
    el_reset(l->el);
    return LINES_INTERRUPTED;
  }
  if (n < 0) return failed(l);
  if (!s || !n) return LINES_END;
  text_add(line, s, strcspn(s, "\n"));
  if (!line->failed && line->len) remember(l, line->s);
  return LINES_LINE;
}

static void close_edited(struct lines *l) {
  if (l->history) history_end(l->history);
  if (l->el) el_end(l->el);
  free(l->path);
}
#endif

/* ---- either ---- */

/* Lines are UTF-8, whatever the locale says. */
static void use_utf8(void) {
  if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8")) setlocale(LC_CTYPE, "C.UTF-8");
}

int lines_open(struct lines **out, struct ui *u, const struct lines_options *opt) {
  struct lines *l = calloc(1, sizeof *l);
  if (!l) return ui_fail(u, LRQK_MEMORY, "out of memory for reading lines");
  l->u = u;
  l->opt = *opt;
  l->interactive = isatty(STDIN_FILENO) && u->terminal;
  *out = l;
  if (!l->interactive) return 0;
  use_utf8();
#ifdef LRQK_LIBEDIT
  return open_edited(l);
#else
  ui_note(u, "this program was built without libedit: lines cannot be edited, and there is no history");
  return 0;
#endif
}

bool lines_interactive(const struct lines *l) { return l->interactive; }

enum lines_result lines_read(struct lines *l, const char *prompt, struct text *line) {
  line->len = 0;
  ui_catch_interrupt(true);
#ifdef LRQK_LIBEDIT
  enum lines_result r = l->el ? read_edited(l, prompt, line) : read_plain(l, prompt, line);
#else
  enum lines_result r = read_plain(l, prompt, line);
#endif
  if (line->failed) {
    ui_fail(l->u, LRQK_MEMORY, "out of memory for a line");
    return LINES_FAILED;
  }
  if (r == LINES_LINE && line->len && line->s[line->len - 1] == '\r') line->len--;
  if (line->s) line->s[line->len] = 0;
  return r;
}

void lines_close(struct lines *l) {
  if (!l) return;
#ifdef LRQK_LIBEDIT
  close_edited(l);
#endif
  free(l);
}
