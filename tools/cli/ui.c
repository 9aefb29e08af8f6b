/* ui.c - see ui.h. */
#define _POSIX_C_SOURCE 200809L
#include "ui.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;
static int wake[2] = {-1, -1};   /* a pipe: what a handler, on whatever thread it runs, ends ui_wait with */

void ui_wake(int sig) {
  int e = errno;
  if (sig == SIGINT) interrupted = 1;
  if (wake[1] >= 0 && write(wake[1], "", 1) < 0) errno = e;   /* full: it will be read anyway */
  errno = e;
}

static void drain_wake(void) {
  char bytes[64];
  while (wake[0] >= 0 && read(wake[0], bytes, sizeof bytes) > 0) {}
}

void ui_catch_interrupt(bool every) {
  struct sigaction a;
  drain_wake();
  interrupted = 0;
  memset(&a, 0, sizeof a);
  sigemptyset(&a.sa_mask);
  a.sa_handler = ui_wake;
  a.sa_flags = every ? 0 : (int)SA_RESETHAND;
  sigaction(SIGINT, &a, NULL);
}

static void open_wake(void) {
  if (wake[1] >= 0 || pipe(wake)) return;
  for (int i = 0; i < 2; i++) {
    fcntl(wake[i], F_SETFD, FD_CLOEXEC);
    fcntl(wake[i], F_SETFL, O_NONBLOCK);
  }
}

bool ui_wait(int fd) {
  open_wake();
  struct pollfd p[2] = {{fd, POLLIN, 0}, {wake[0], POLLIN, 0}};
  if (interrupted || poll(p, 2, -1) < 0) return false;
  if (!p[1].revents) return true;
  drain_wake();
  return false;
}

bool ui_interrupted(void) { return interrupted; }

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double ui_now(void) { return seconds(CLOCK_MONOTONIC); }

double ui_cpu_now(void) { return seconds(CLOCK_PROCESS_CPUTIME_ID); }

/* A standard descriptor that is closed would be given to the next file that is opened, and be written to. */
static void hold_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
}

void ui_init(struct ui *u) {
  hold_descriptors();
  *u = (struct ui){0};
  u->terminal = isatty(STDERR_FILENO);
  u->phase = -1;
  signal(SIGPIPE, SIG_IGN);
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

void ui_clear(struct ui *u) {
  if (u->bar) fputs("\r\033[K", stderr);
  u->bar = false;
}

static void line(struct ui *u, const char *prefix, const char *text) {
  ui_clear(u);
  fprintf(stderr, "lrqk: %s", prefix);
  for (; *text; text++) fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, stderr);   /* one line, no escapes */
  fputc('\n', stderr);
}

void ui_log(void *ui, enum lrqk_log_level level, const char *text) {
  struct ui *u = ui;
  switch (level) {
    case LRQK_LOG_ERROR:
      snprintf(u->error, sizeof u->error, "%s", text);
      u->hint[0] = 0;
      break;
    case LRQK_LOG_HINT: snprintf(u->hint, sizeof u->hint, "%s", text); break;
    case LRQK_LOG_WARN:
      if (!u->quiet) line(u, "warning: ", text);
      break;
    case LRQK_LOG_INFO:
      if (u->verbose && !u->quiet) line(u, "", text);
      break;
    case LRQK_LOG_DEBUG:
      if (u->debug && !u->quiet) line(u, "", text);
      break;
  }
}

static void log_va(struct ui *u, enum lrqk_log_level level, const char *fmt, va_list ap) {
  char text[1024];
  vsnprintf(text, sizeof text, fmt, ap);
  ui_log(u, level, text);
}

int ui_fail(struct ui *u, enum lrqk_status s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_va(u, LRQK_LOG_ERROR, fmt, ap);
  va_end(ap);
  return (int)s;
}

int ui_prefix(struct ui *u, int code, const char *prefix) {
  char text[sizeof u->error];
  snprintf(text, sizeof text, "%s", u->error);
  snprintf(u->error, sizeof u->error, "%s%.*s", prefix, (int)(sizeof text - 1 - strlen(prefix)), text);
  return code;
}

void ui_hint(struct ui *u, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_va(u, LRQK_LOG_HINT, fmt, ap);
  va_end(ap);
}

void ui_warn(struct ui *u, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_va(u, LRQK_LOG_WARN, fmt, ap);
  va_end(ap);
}

void ui_info(struct ui *u, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_va(u, LRQK_LOG_INFO, fmt, ap);
  va_end(ap);
}

void ui_note(struct ui *u, const char *fmt, ...) {
  if (u->quiet) return;
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  line(u, "", text);
}

static const char *meaning(int code) {
  switch (code) {
#define X(name, value, kind, text) case value: return text;
    LRQK_STATUS_MAP(X)
#undef X
    default: return "unknown error";
  }
}

void ui_error_json(struct text *t, int code, const char *message, const char *hint) {
  json_key(t, "error");
  json_open(t, '{');
  json_field_int(t, "code", code);
  json_field_string(t, "kind", lrqk_status_kind((enum lrqk_status)code));
  json_field_string(t, "message", message);
  json_field_string(t, "hint", hint);
  json_close(t, '}');
}

void ui_complain(struct ui *u, int code) {
  if (!u->error[0]) snprintf(u->error, sizeof u->error, "%s", meaning(code));
  line(u, code == LRQK_INTERRUPTED ? "" : "error: ", u->error);
  if (u->hint[0]) line(u, "hint: ", u->hint);
}

int ui_finish(struct ui *u, int code) {
  ui_clear(u);
  if (!code || code == EXIT_PIPE || u->answered) return code;
  if (code == LRQK_INTERRUPTED) {
    snprintf(u->error, sizeof u->error, "interrupted");
    u->hint[0] = 0;
  }
  ui_complain(u, code);
  if (!u->json) return code;
  struct text t = {0};
  json_open(&t, '{');
  ui_error_json(&t, code, u->error, u->hint);
  json_close(&t, '}');
  out_json(u, &t);
  return code;
}

/* ---- progress ----------------------------------------------------------------------------------------------- */

static void draw(struct ui *u, enum lrqk_phase phase, uint64_t done, uint64_t total, double now) {
  enum { WIDTH = 24 };
  double part = total ? (double)done / (double)total : 1, spent = now - u->phase_start;
  double rate = spent > 0 ? (double)done / spent : 0, left = rate > 0 ? (double)(total - done) / rate : 0;
  char bar[WIDTH + 1], what[64], eta[32] = "";
  for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(part * WIDTH) ? '#' : '.';
  bar[WIDTH] = 0;
  if (phase == LRQK_PHASE_LOAD) snprintf(what, sizeof what, "%.2f GiB/s", rate / (1 << 30));
  else snprintf(what, sizeof what, "%llu of %llu tokens, %.0f tokens/s", (unsigned long long)done, (unsigned long long)total, rate);
  if (done && done < total) snprintf(eta, sizeof eta, ", %.0f:%02.0f left", (double)(long)(left / 60), (double)((long)left % 60));
  const char *label = phase == LRQK_PHASE_LOAD ? "load" : u->label ? u->label : "prompt";
  fprintf(stderr, "\r%s [%s] %3.0f %% %s%s\033[K", label, bar, 100 * part, what, eta);
  u->bar = true;
  u->drawn = now;
}

bool ui_progress(void *ui, enum lrqk_phase phase, uint64_t done, uint64_t total) {
  struct ui *u = ui;
  if (u->terminal && !u->quiet) {
    double now = ui_now();
    if (u->phase != (int)phase || done < u->done) {
      u->phase = (int)phase;
      u->phase_start = now;
      u->drawn = 0;
    }
    u->done = done;
    /* ten drawings a second are as many as anyone reads */
    if (done >= total) ui_clear(u);
    else if (now - u->drawn > 0.1) draw(u, phase, done, total, now);
  }
  return !interrupted;
}

/* ---- standard output ---------------------------------------------------------------------------------------- */

int out_bytes(struct ui *u, const char *s, size_t len) {
  if (len) ui_clear(u);
  while (len) {
    ssize_t n = write(STDOUT_FILENO, s, len);
    if (n > 0) {
      s += n;
      len -= (size_t)n;
    } else if (n < 0 && errno == EAGAIN) {   /* somebody left the pipe non-blocking */
      struct pollfd p = {STDOUT_FILENO, POLLOUT, 0};
      poll(&p, 1, -1);
    } else if (n < 0 && errno == EPIPE) {
      return EXIT_PIPE;
    } else if (n == 0 || errno != EINTR) {
      return ui_fail(u, LRQK_RUNTIME, "standard output: %s", n ? strerror(errno) : "nothing could be written");
    }
  }
  return 0;
}

int out_text(struct ui *u, struct text *t) {
  int code = t->failed ? ui_fail(u, LRQK_MEMORY, "out of memory for the output") : out_bytes(u, t->s, t->len);
  text_free(t);
  return code;
}

int out_json(struct ui *u, struct text *t) {
  text_add(t, "\n", 1);
  return out_text(u, t);
}

const char *human_bytes(uint64_t n, char out[24]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double v = (double)n;
  int i = 0;
  for (; v >= 1024 && i < 4; i++) v /= 1024;
  snprintf(out, 24, i ? "%.1f %s" : "%.0f %s", v, units[i]);
  return out;
}
