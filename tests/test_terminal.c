/* test_terminal.c - `lrqk chat` as a person uses it: through a pseudo-terminal, on a tiny model and on the default one where it is
 * there.  Prompts and notes come through the terminal, answers go to a file of their own, as with > FILE. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gguf_writer.h"
#include "kernel_harness.h"

#include "suite.h"   /* last: it has a macro named fail */

enum { PATIENCE_S = 240, MAX_ARGS = 24, SEEN = 1 << 16 };

static const char default_model[] = TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
static char dir[PATH_MAX], tiny[PATH_MAX + 16], answers[PATH_MAX + 16], saved[PATH_MAX + 16];

/* ---- a terminal ---- */

static struct { pid_t pid; int fd; size_t n; char seen[SEEN]; } term;

/* Starts lrqk chat with the words of `line`, and more. */
static void start(const char *model, const char *line) {
  char words[2 * PATH_MAX], *args[MAX_ARGS] = { (char *)"lrqk", (char *)"chat", (char *)"-m", (char *)model };
  int n = 4;
  snprintf(words, sizeof words, "%s%s", line, model == tiny ? " --chat-template chatml --device host --active 64 --lite 8" : "");
  for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) args[n++] = w;
  struct winsize size = { .ws_row = 24, .ws_col = 100 };
  term.n = 0;
  term.seen[0] = 0;
  term.pid = forkpty(&term.fd, NULL, NULL, &size);
  ck_assert_int_ge(term.pid, 0);
  if (term.pid) return;
  int out = open(answers, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(out, STDOUT_FILENO);
  close(out);
  setenv("XDG_STATE_HOME", dir, 1);
  setenv("HOME", dir, 1);
  setenv("TERM", "xterm", 1);
  execv(TEST_PROGRAM, args);
  _exit(127);
}

/* Everything that is on its way, for so long; false at the end. */
static bool listen_for(int ms) {
  struct pollfd p = { term.fd, POLLIN, 0 };
  if (poll(&p, 1, ms) <= 0) return true;
  if (term.n > SEEN / 2) {
    memmove(term.seen, term.seen + SEEN / 4, term.n - SEEN / 4);
    term.n -= SEEN / 4;
  }
  ssize_t n = read(term.fd, term.seen + term.n, SEEN - 1 - term.n);
  if (n > 0) term.n += (size_t)n;
  term.seen[term.n] = 0;
  return n > 0;
}

/* Waits until the terminal shows the text, and forgets what came up to its end. */
static void see(const char *text) {
  time_t end = time(NULL) + PATIENCE_S;
  bool open = true;
  for (;;) {
    char *at = term.n ? memmem(term.seen, term.n, text, strlen(text)) : NULL;
    if (at) {
      term.n -= (size_t)(at + strlen(text) - term.seen);
      memmove(term.seen, at + strlen(text), term.n + 1);
      return;
    }
    ck_assert_msg(open && time(NULL) < end, "waited for \"%s\", found \"%s\"", text, term.seen);
    open = listen_for(200);
  }
}

static void type(const char *text) { ck_assert_int_eq(write(term.fd, text, strlen(text)), (ssize_t)strlen(text)); }

static int ends(void) {
  int status = 0;
  time_t end = time(NULL) + PATIENCE_S;
  while (listen_for(200) && time(NULL) < end) {}
  ck_assert_int_eq(waitpid(term.pid, &status, 0), term.pid);
  close(term.fd);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- answers ---- */

static size_t answers_size(void) {
  struct stat st;
  return stat(answers, &st) ? 0 : (size_t)st.st_size;
}

/* What was answered since `from`, NUL-terminated. */
static void answered(size_t from, char *out, size_t cap) {
  FILE *f = fopen(answers, "rb");
  ck_assert_ptr_nonnull(f);
  fseek(f, (long)from, SEEK_SET);
  out[fread(out, 1, cap - 1, f)] = 0;
  fclose(f);
}

/* A turn, its answer, and how many tokens were read and are held then. */
static void ask(const char *text, char *answer, size_t cap, int *read_n, int *held) {
  size_t from = answers_size();
  time_t end = time(NULL) + PATIENCE_S;
  type(text);
  char *context = NULL;
  while (!(context = strstr(term.seen, "| context ")) || !strstr(context, " of ")) {
    bool open = listen_for(200);
    ck_assert_msg(open && time(NULL) < end, "no figures of a turn, found \"%s\"", term.seen);
  }
  char *figures = context;
  while (figures > term.seen && strncmp(figures, "lrqk: ", 6)) figures--;
  ck_assert_msg(sscanf(figures, "lrqk: %d tokens read", read_n) == 1 && sscanf(context, "| context %d", held) == 1, "found \"%s\"", term.seen);
  see(" of ");
  see("> ");
  answered(from, answer, cap);
}

static void wait_for_answer(size_t bytes) {
  time_t end = time(NULL) + PATIENCE_S;
  while (answers_size() < bytes && time(NULL) < end) ck_assert(listen_for(20));
}

/* ---- tests ---- */

static const char *model_of(int i) { return i ? default_model : tiny; }

/* Three turns, another answer, saving; in a second process: going on from the file, an interrupt, loading: the same answer as
 * without all that. */
START_TEST(talks) {
  static char a[4096], b[4096], c[1 << 16];
  char line[PATH_MAX + 64];
  int read_n = 0, held = 0, before;
  start(model_of(_i), "--temp 0 -n 12");
  see("> ");
  ask("Hello. My name is Ann.\n", a, sizeof a, &read_n, &held);
  ck_assert_msg(*a && a[strlen(a) - 1] == '\n', "answer \"%s\"", a);
  before = held;
  type("\"\"\"What is\n");
  see(". ");
  ask("my name?\"\"\"\n", a, sizeof a, &read_n, &held);
  ck_assert_int_gt(held, before);
  ask("And \xc3\xa9?\n", b, sizeof b, &read_n, &held);
  ck_assert_msg(2 * read_n < held, "a third turn read %d of %d tokens", read_n, held);
  ask("/regen\n", a, sizeof a, &read_n, &before);
  ck_assert_str_eq(a, b);
  ck_assert(read_n == 0 && before == held);
  snprintf(line, sizeof line, "/save %s\n", saved);
  type(line);
  see("tokens saved");
  see("> ");
  ask("And then?\n", a, sizeof a, &read_n, &held);
  type("/exit\n");
  ck_assert_int_eq(ends(), 0);

  snprintf(line, sizeof line, "--temp 0 --session %s", saved);
  start(model_of(_i), line);
  see("messages, ");
  see("> ");
  type("Write a very long story about the sea.\n");
  wait_for_answer(20);
  type("\x03");
  see("stopped | ");
  see("> ");
  snprintf(line, sizeof line, "/load %s\n", saved);
  type(line);
  see("loaded in");
  see("> ");
  size_t from = answers_size();
  type("And then?\n");
  wait_for_answer(from + strlen(a) - 1);
  type("\x03");
  see("> ");
  answered(from, c, sizeof c);
  ck_assert_msg(!strncmp(a, c, strlen(a) - 1), "before it was saved \"%s\", after it was loaded \"%s\"", a, c);
  type("/exit\n");
  ck_assert_int_eq(ends(), 0);
}
END_TEST

START_TEST(commands) {
  char a[4096], b[4096], line[PATH_MAX + 64], junk[PATH_MAX + 16];
  int read_n, held, before;
  snprintf(junk, sizeof junk, "%s/junk", dir);
  FILE *f = fopen(junk, "w");
  ck_assert(f && fputs("no session", f) > 0 && !fclose(f));
  start(tiny, "--temp 0 -n 8 -sys Short.");
  see("> ");
  type("/regen\n");
  see("there is no answer yet");
  type("/save x\n");
  see("there is no answer yet");
  ask("Hello.\n", a, sizeof a, &read_n, &before);
  type("/sats\n");
  see("did you mean /stats?");
  type("/stats\n");
  see("hit rate");
  type("/system\n");
  see("Short.");
  snprintf(line, sizeof line, "/load %s\n", junk);
  type(line);
  see("is not a saved session");
  see("> ");
  ask("/regen\n", b, sizeof b, &read_n, &held);   /* what was refused changed nothing */
  ck_assert_str_eq(a, b);
  ck_assert_int_eq(held, before);
  ask("More.\n", b, sizeof b, &read_n, &held);
  type("/clear\n");
  see("> ");
  ask("Hello.\n", b, sizeof b, &read_n, &held);
  ck_assert_str_eq(a, b);
  type("/system Long.\n");
  see("starts again, with a system message");
  type(" /exit is\\\n");
  see(". ");
  ask("text\n", b, sizeof b, &read_n, &held);
  type("\x04");
  ck_assert_int_eq(ends(), 0);
}
END_TEST

START_TEST(interrupts) {
  start(tiny, "-n 8");
  see("> ");
  type("half a line");
  see("half a line");
  type("\x03");
  see("> ");
  type("\x03");
  see("Ctrl-C again or Ctrl-D leaves.");
  see("> ");
  type("\x03");
  ck_assert_int_eq(ends(), 130);
  char history[PATH_MAX + 32], text[4096];
  snprintf(history, sizeof history, "%s/lrqk/history", dir);
  start(tiny, "-n 8");
  see("> ");
#ifdef LRQK_LIBEDIT
  type("/stats\n");
  see("KV cache");
  see("> ");
  type("\x10");
  see("/stats");
  type("\n");
  see("KV cache");
  see("> ");
  FILE *f = fopen(history, "r");
  ck_assert_ptr_nonnull(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  ck_assert_msg(strstr(text, "/stats"), "history \"%s\"", text);
  unlink(history);
  type("/exit\n");
  ck_assert_int_eq(ends(), 0);
  unlink(history);
  start(tiny, "-n 8 --no-history");
  see("> ");
#endif
  type("/exit\n");
  ck_assert_int_eq(ends(), 0);
  (void)text;
  ck_assert_int_ne(access(history, F_OK), 0);
}
END_TEST

/* A context that is full is said, and left by /clear; a document is read once. */
START_TEST(full) {
  static char a[4096], b[4096];
  char line[PATH_MAX + 64], document[PATH_MAX + 16];
  int read_n, again, held;
  snprintf(document, sizeof document, "%s/document", dir);
  FILE *f = fopen(document, "w");
  ck_assert(f && fputs("A text of some fifty or sixty letters, each of them a token.\n", f) > 0 && !fclose(f));
  snprintf(line, sizeof line, "--temp 0 -n 10 -c 300 -f %s", document);
  start(tiny, line);
  see("> ");
  ask("One?\n", a, sizeof a, &read_n, &held);
  ck_assert_msg(held > 70 && read_n < 50, "the first turn read %d tokens, the context has %d", read_n, held);
  for (int i = 0; i < 30; i++) type("ten bytes ");
  type("\n");
  see("the context is full: this turn needs ");
  see("/clear");
  see("> ");
  type("/clear\n");
  see("> ");
  ask("One?\n", b, sizeof b, &again, &held);
  ck_assert_int_eq(again, read_n);
  ck_assert_str_eq(a, b);
  type("/exit\n");
  ck_assert_int_eq(ends(), 0);
}
END_TEST

static void remove_all(void) {
  char command[PATH_MAX + 16];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (system(command)) fprintf(stderr, "%s stays behind\n", dir);
}

int main(void) {
  const struct tiny_model shape = { .layers = 2, .ctx = 16384, .seed = 11 };
  bool both = !test_only_host() && !access(default_model, R_OK);
  char name[64];
  snprintf(name, sizeof name, "test_terminal_%d", (int)getpid());
  if (mkdir(name, 0700) || !realpath(name, dir)) return EXIT_FAILURE;
  snprintf(tiny, sizeof tiny, "%s/tiny.gguf", dir);
  snprintf(answers, sizeof answers, "%s/answers", dir);
  snprintf(saved, sizeof saved, "%s/saved", dir);
  tiny_model_save(&shape, tiny);
  if (!both) fprintf(stderr, "only a tiny model is talked with, on the host\n");
  Suite *suite = suite_create("terminal");
  TCase *t = tcase_create("terminal");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, talks, 0, 1 + both);
  tcase_add_test(t, commands);
  tcase_add_test(t, interrupts);
  tcase_add_test(t, full);
  suite_add_tcase(suite, t);
  int code = suite_run(suite, CK_NOFORK);
  remove_all();
  return code;
}
