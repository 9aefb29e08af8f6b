/* log_capture.h - keeps what a call logged: how many errors, and the last one's text. */
#ifndef TESTS_LOG_CAPTURE_H
#define TESTS_LOG_CAPTURE_H

#include "base/log.h"   /* before Check, which has a macro fail() */

#include <check.h>
#include <string.h>

struct log_capture { int errors; char text[1024], hint[1024]; };

static inline void log_capture_fn(void *ud, enum lrqk_log_level level, const char *text) {
  struct log_capture *c = ud;
  if (level == LRQK_LOG_ERROR) {
    c->errors++;
    strncpy(c->text, text, sizeof c->text - 1);
  } else if (level == LRQK_LOG_HINT) {
    strncpy(c->hint, text, sizeof c->hint - 1);
  }
}

/* A log that keeps its messages in c, which is emptied. */
static inline struct log log_capture(struct log_capture *c) {
  memset(c, 0, sizeof *c);
  return (struct log){ log_capture_fn, c };
}

/* Exactly one error, of one line, that names each of the texts. */
static inline void log_capture_expect(const struct log_capture *c, const char *a, const char *b) {
  ck_assert_msg(c->errors == 1, "%d errors, the last: %s", c->errors, c->text);
  ck_assert_msg(!strchr(c->text, '\n'), "more than one line: %s", c->text);
  ck_assert_msg(strstr(c->text, a) && strstr(c->text, b), "\"%s\" and \"%s\" are not in: %s", a, b, c->text);
}

#endif
