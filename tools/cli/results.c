/* results.c - see results.h. */
#define _POSIX_C_SOURCE 200809L
#include "results.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "input.h"

static int append(struct ui *u, struct results *r, const char *s, size_t len) {
  while (len) {
    ssize_t n = write(r->fd, s, len);
    if (n < 0 && errno != EINTR) return ui_fail(u, LRQK_RUNTIME, "%s: %s", r->path, strerror(errno));
    if (n <= 0) continue;
    s += n;
    len -= (size_t)n;
  }
  return 0;
}

int results_open(struct ui *u, struct results *r, const char *path) {
  *r = (struct results){.path = path, .fd = -1};
  if (!path) return 0;
  r->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (r->fd < 0) return ui_fail(u, LRQK_USAGE, "%s: %s", path, strerror(errno));
  int code = input_file(u, path, &r->old);
  return !code && r->old.len && r->old.s[r->old.len - 1] != '\n' ? append(u, r, "\n", 1) : code;
}

void results_close(struct results *r) {
  if (r->path && r->fd >= 0) close(r->fd);
  text_free(&r->old);
}

const char *results_find(const struct results *r, const struct text *begin) {
  const char *end = r->old.s + r->old.len;
  for (const char *s = r->old.s; s && s < end;) {
    const char *stop = memchr(s, '\n', (size_t)(end - s));
    if (!stop) break;
    if ((size_t)(stop - s) > begin->len && !memcmp(s, begin->s, begin->len) && stop[-1] == '}') return s + begin->len;
    s = stop + 1;
  }
  return NULL;
}

int results_add(struct ui *u, struct results *r, struct text *t) {
  text_add(t, "\n", 1);
  int code = t->failed ? ui_fail(u, LRQK_MEMORY, "%s: out of memory for a line", r->path) : append(u, r, t->s, t->len);
  text_free(t);
  return code;
}
