/* ui.h - what every sub-command shares with the person at the terminal: messages, progress, Ctrl-C, standard output.
 * Created by main.c, handed to each cmd_*.c. */
#ifndef CLI_UI_H
#define CLI_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"
#include "lrqk/lrqk.h"

enum { EXIT_PIPE = 141 };   /* the reader of standard output went away: 128 + SIGPIPE, as the shell counts */

struct ui {
  bool json, quiet, verbose, debug;
  bool terminal;            /* stderr is one: progress may be drawn */
  bool bar;                 /* a progress line stands on the terminal now */
  bool answered;            /* the command printed its own account of an interruption */
  const char *label;        /* what the prefill bar is called, "prompt" unless set */
  double phase_start, drawn;
  int phase;                /* enum lrqk_phase of the bar, -1: none */
  uint64_t done;            /* of the last report, to see where the next call begins */
  char error[1024], hint[512];
};

void ui_init(struct ui *u);
/* From now on Ctrl-C sets a flag, which is not set: every one, or the first, and the second ends the process. */
void ui_catch_interrupt(bool every);
bool ui_interrupted(void);
bool ui_wait(int fd);            /* until it can be read; false: Ctrl-C came, or a signal that ui_wake is the handler of */
void ui_wake(int sig);
double ui_now(void);             /* seconds, monotonic */
double ui_cpu_now(void);         /* seconds that the threads of this process ran, together */

void ui_log(void *ui, enum lrqk_log_level level, const char *text);                   /* an lrqk_log_fn */
bool ui_progress(void *ui, enum lrqk_phase phase, uint64_t done, uint64_t total);    /* an lrqk_progress_fn */
void ui_clear(struct ui *u);     /* takes the progress line away; before anything else is written */

/* Remembers the message for ui_finish and returns s: `return ui_fail(u, LRQK_USAGE, ...)`. */
int ui_fail(struct ui *u, enum lrqk_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int ui_prefix(struct ui *u, int code, const char *prefix);   /* puts it before the message that is remembered; returns code */
void ui_hint(struct ui *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ui_warn(struct ui *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ui_info(struct ui *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ui_note(struct ui *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));   /* a line on stderr unless --quiet */

/* The member "error" of an object. */
void ui_error_json(struct text *t, int code, const char *message, const char *hint);

/* Says what went wrong now, on stderr. */
void ui_complain(struct ui *u, int code);
/* Says what went wrong, if anything did: on stderr, and as a JSON object on stdout with --json.  Returns the exit code. */
int ui_finish(struct ui *u, int code);

/* Standard output, unbuffered.  0, or the exit code to leave with (EXIT_PIPE, or LRQK_RUNTIME with a message). */
int out_bytes(struct ui *u, const char *s, size_t len);
int out_text(struct ui *u, struct text *t);    /* writes and frees t */
int out_json(struct ui *u, struct text *t);    /* the same with a newline at the end */

const char *human_bytes(uint64_t n, char out[24]);   /* "12.3 MiB" */

#endif
