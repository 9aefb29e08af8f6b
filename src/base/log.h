/* log.h - messages of the library: one callback, no global state.  Every object keeps a struct log and hands it down.
 * The way to fail is `return fail(log, LRQK_MODEL, "...", ...)`: the text is logged once, where the fault is known. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <lrqk/lrqk.h>

struct log { lrqk_log_fn fn; void *ud; };   /* fn may be NULL */

__attribute__((format(printf, 3, 4))) void log_msg(const struct log *log, enum lrqk_log_level level, const char *fmt, ...);

/* Logs at ERROR and returns the status. */
__attribute__((format(printf, 3, 4))) enum lrqk_status fail(const struct log *log, enum lrqk_status s, const char *fmt, ...);

#define log_hint(log, ...)  log_msg(log, LRQK_LOG_HINT, __VA_ARGS__)   /* after fail: what the user can do */
#define log_warn(log, ...)  log_msg(log, LRQK_LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_msg(log, LRQK_LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_msg(log, LRQK_LOG_DEBUG, __VA_ARGS__)

/* Passes a failure up: `TRY(f(x));` */
#define TRY(call) do { enum lrqk_status try_ = (call); if (try_ != LRQK_OK) return try_; } while (0)

#endif
