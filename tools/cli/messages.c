/* messages.c - see messages.h. */
#include "messages.h"

#include <stdlib.h>
#include <string.h>

static const char *const roles[] = {"system", "user", "assistant"};
enum { N_ROLES = sizeof roles / sizeof *roles };

static const char head[] = "lrqk conversation 1";

int messages_add(struct ui *u, struct messages *m, const char *role, const char *text, size_t len) {
  if (m->n == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 16;
    struct lrqk_message *more = realloc(m->msg, cap * sizeof *more);
    if (!more) return ui_fail(u, LRQK_MEMORY, "out of memory for %zu turns", cap);
    m->msg = more;
    m->cap = cap;
  }
  char *copy = malloc(len + 1);
  if (!copy) return ui_fail(u, LRQK_MEMORY, "out of memory for a turn of %zu bytes", len);
  if (len) memcpy(copy, text, len);
  copy[len] = 0;
  m->msg[m->n++] = (struct lrqk_message){role, copy, len};
  return 0;
}

void messages_cut(struct messages *m, size_t n) {
  while (m->n > n) free((char *)m->msg[--m->n].text);
}

void messages_free(struct messages *m) {
  messages_cut(m, 0);
  free(m->msg);
  *m = (struct messages){0};
}

size_t messages_last(const struct messages *m, const char *role) {
  for (size_t i = m->n; i-- > 0;)
    if (!strcmp(m->msg[i].role, role)) return i;
  return m->n;
}

/* ---- a line for each message, with its length, then its bytes --------------------------------------------------- */

void messages_write(const struct messages *m, uint64_t number, struct text *out) {
  text_printf(out, "%s %llu\n", head, (unsigned long long)number);
  for (size_t i = 0; i < m->n; i++) {
    text_printf(out, "%s %zu\n", m->msg[i].role, m->msg[i].len);
    text_add(out, m->msg[i].text, m->msg[i].len);
    text_add(out, "\n", 1);
  }
}

struct reader { const char *at, *end; };

static bool take(struct reader *r, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
  r->at += n;
  return true;
}

static bool take_number(struct reader *r, uint64_t *v) {
  const char *from = r->at;
  for (*v = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9' && *v < UINT64_MAX / 10 - 1; r->at++) *v = 10 * *v + (uint64_t)(*r->at - '0');
  return r->at > from;
}

static bool take_role(struct reader *r, const char **role) {
  for (int i = 0; i < N_ROLES; i++)
    if (take(r, roles[i])) {
      *role = roles[i];
      return true;
    }
  return false;
}

static int broken(struct ui *u, const char *path) {
  int code = ui_fail(u, LRQK_USAGE, "%s: the note of this session holds no conversation", path);
  ui_hint(u, "`lrqk run --session` can go on from its text");
  return code;
}

int messages_read(struct ui *u, const char *path, const char *bytes, size_t len, struct messages *m, uint64_t *number) {
  struct reader r = {bytes, bytes + len};
  uint64_t n;
  if (!take(&r, head) || !take(&r, " ") || !take_number(&r, number) || !take(&r, "\n")) return broken(u, path);
  while (r.at < r.end) {
    const char *role;
    if (!take_role(&r, &role) || !take(&r, " ") || !take_number(&r, &n) || !take(&r, "\n") || n > (uint64_t)(r.end - r.at)) return broken(u, path);
    int code = messages_add(u, m, role, r.at, (size_t)n);
    if (code) return code;
    r.at += n;
    if (!take(&r, "\n")) return broken(u, path);
  }
  return 0;
}
