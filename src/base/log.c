#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static void log_v(const struct log *log, enum lrqk_log_level level, const char *fmt, va_list ap) {
  if (!log || !log->fn) return;
  char text[1024];
  vsnprintf(text, sizeof text, fmt, ap);
  log->fn(log->ud, level, text);
}

void log_msg(const struct log *log, enum lrqk_log_level level, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_v(log, level, fmt, ap);
  va_end(ap);
}

enum lrqk_status fail(const struct log *log, enum lrqk_status s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  log_v(log, LRQK_LOG_ERROR, fmt, ap);
  va_end(ap);
  return s;
}

const char *lrqk_status_kind(enum lrqk_status s) {
  switch (s) {
#define X(name, value, kind, meaning) case LRQK_##name: return kind;
    LRQK_STATUS_MAP(X)
#undef X
  }
  return "unknown";
}
