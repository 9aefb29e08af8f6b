/* input.c - see input.h. */
#define _POSIX_C_SOURCE 200809L
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(struct ui *u, int fd, const char *name, struct text *t) {
  char buf[1 << 16];
  struct pollfd p = {fd, POLLIN, 0};
  /* a pipe that nobody writes to looks like a program that hangs: say what it waits for */
  if (fd == STDIN_FILENO && !poll(&p, 1, 3000)) ui_note(u, "waiting for text on the standard input (</dev/null if there is none)");
  for (;;) {
    ssize_t n = read(fd, buf, sizeof buf);
    if (ui_interrupted()) return LRQK_INTERRUPTED;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      poll(&p, 1, -1);
      continue;
    }
    if (n < 0) return ui_fail(u, errno == EISDIR ? LRQK_USAGE : LRQK_RUNTIME, "%s: %s", name, strerror(errno));
    if (!n) break;
    text_add(t, buf, (size_t)n);
    if (t->failed) return ui_fail(u, LRQK_MEMORY, "%s: out of memory after %zu bytes", name, t->len);
  }
  return 0;
}

int input_file(struct ui *u, const char *path, struct text *t) {
  if (!strcmp(path, "-")) return read_all(u, STDIN_FILENO, "standard input", t);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ui_fail(u, LRQK_USAGE, "%s: %s", path, strerror(errno));
  int code = read_all(u, fd, path, t);
  close(fd);
  return code;
}

bool input_piped(void) {
  struct stat st, null;
  if (fstat(STDIN_FILENO, &st)) return false;
  if (isatty(STDIN_FILENO)) return false;
  return !(S_ISCHR(st.st_mode) && !stat("/dev/null", &null) && st.st_rdev == null.st_rdev);
}

int input_prompt(struct ui *u, const struct options *o, struct text *t) {
  int code = 0;
  if (o->file) code = input_file(u, o->file, t);
  else if (input_piped()) code = input_file(u, "-", t);
  if (code) return code;
  if (o->prompt && *o->prompt) {
    if (t->len) text_add(t, "\n\n", t->s[t->len - 1] == '\n' ? 1 : 2);
    text_add(t, o->prompt, strlen(o->prompt));
  }
  if (t->failed) return ui_fail(u, LRQK_MEMORY, "out of memory for the prompt");
  if (t->len) return 0;
  code = ui_fail(u, LRQK_USAGE, "the prompt is empty");
  ui_hint(u, "give a text with -p TEXT, -f FILE or through a pipe");
  return code;
}

int input_text(struct ui *u, const struct options *o, struct text *t) {
  if (o->prompt && o->file) return ui_fail(u, LRQK_USAGE, "-p and -f are given: one text, please");
  if (o->prompt) {
    text_add(t, o->prompt, strlen(o->prompt));
    return t->failed ? ui_fail(u, LRQK_MEMORY, "out of memory for the text") : 0;
  }
  if (o->file) return input_file(u, o->file, t);
  if (!isatty(STDIN_FILENO)) return input_file(u, "-", t);
  int code = ui_fail(u, LRQK_USAGE, "no text");
  ui_hint(u, "`lrqk %s --help` lists where a text can come from", o->command->name);
  return code;
}

int input_ids(struct ui *u, const char *label, const char *s, size_t len, int32_t **ids, size_t *n) {
  size_t cap = 0, count = 0, i = 0;
  int32_t *list = NULL;
  static const char key[] = "{\"ids\":";
  if (len >= sizeof key - 1 && !memcmp(s, key, sizeof key - 1)) i = sizeof key - 1;
  while (i < len) {
    if (memchr(" \t\r\n,[]}", s[i], 9)) {
      i++;
      continue;
    }
    size_t end = i;
    while (end < len && !memchr(" \t\r\n,[]}", s[end], 9)) end++;
    char word[24] = "";
    int64_t v = -1;
    if (end - i < sizeof word) memcpy(word, s + i, end - i);
    if (!word[strspn(word, "0123456789")] && number_parse(word, &v) && v <= INT32_MAX) {
      if (count == cap) {
        cap = cap ? 2 * cap : 64;
        int32_t *more = realloc(list, cap * sizeof *list);
        if (!more) {
          free(list);
          return ui_fail(u, LRQK_MEMORY, "%s: out of memory after %zu ids", label, count);
        }
        list = more;
      }
      list[count++] = (int32_t)v;
      i = end;
      continue;
    }
    free(list);
    return ui_fail(u, LRQK_USAGE, "%s: \"%.*s\" is not a token id", label, (int)(end - i < 40 ? end - i : 40), s + i);
  }
  *ids = list;
  *n = count;
  return 0;
}
