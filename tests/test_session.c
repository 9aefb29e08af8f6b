/* test_session.c - sessions on disk: what is loaded goes on as if it had never stopped, under every policy; what is cut goes on from
 * there; a file that is damaged or somebody else's is refused and left alone; whoever is killed while saving leaves a whole file.
 * LRQK_TEST_KILLS: how many are killed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "session_file.h"
#include "session_rig.h"

#include "log_capture.h"   /* last: Check has a macro named fail */
#include "suite.h"

enum { VOCAB = 288, CTX = 1024, PROMPT = 300, STEPS = 12, SIZE = STEPS * VOCAB };

static char file[64];
static const char *const devices[] = { "vulkan", "host" };
static struct rig rig;
static int32_t ids[CTX];

static void open_model(const char *device, const struct tiny_model *shape) {
  rig = rig_open(shape, &(struct lrqk_engine_options){ .device = device });
  for (int i = 0; i < CTX; i++) ids[i] = (11 * i + i * i / 7) % VOCAB;
}

static void open_engine(const char *device, uint32_t seed) {
  const struct tiny_model shape = { .layers = 3, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = VOCAB, .ctx = CTX,
                                    .seed = seed };
  open_model(device, &shape);
}

static void close_engine(void) {
  rig_close(&rig);
  unlink(file);
}

static void decode(lrqk_session *s, uint32_t steps, float *out) {
  rig_decode(s, steps, out);
  rig_verify(s);
}

static void load(lrqk_session *s) { ck_assert_msg(lrqk_session_load(s, file, NULL, NULL) == LRQK_OK, "%s", rig_said.text); }

/* The last three have all tokens of a test active. */
static const char *const options[] = {
  "proxy=pairs active=64 lite=8", "proxy=pairs active=40 lite=8 dense-layers=none group=none", "proxy=gram active=64 lite=8 refresh=5",
  "proxy=gram active=32 lite=8 mean-key=off proxy-type=fp16 dense-layers=none", "proxy=paper active=32 lite=8",
  "preset=paper active=48 lite=8 rank=16", "attention=full", "attention=offload", "active=2000 lite=64"
};
enum { N_OPTIONS = sizeof options / sizeof *options };

/* Saved in the middle of an answer and loaded into a new session: the same bits as without stopping, at the end and from the mark;
 * in another context the same up to the order of sums. */
START_TEST(goes_on) {
  static float a[SIZE], b[SIZE], mark[SIZE];
  const char *note = "a note";
  open_engine(devices[_i], 7);
  for (int i = 0; i < N_OPTIONS; i++) {
    lrqk_session *s = rig_session(&rig, options[i], CTX), *t = rig_session(&rig, options[i], CTX), *u = rig_session(&rig, options[i], 700);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, PROMPT, 0, NULL, NULL), LRQK_OK);
    ck_assert_int_eq(lrqk_session_mark(s), LRQK_OK);
    memcpy(mark, lrqk_session_logits(s), VOCAB * sizeof *mark);
    decode(s, 19, NULL);
    ck_assert_msg(lrqk_session_save(s, file, note, strlen(note)) == LRQK_OK, "%s", rig_said.text);
    decode(s, STEPS, a);
    void *text;
    size_t n;
    ck_assert_msg(lrqk_session_load(t, file, &text, &n) == LRQK_OK, "%s: %s", options[i], rig_said.text);
    ck_assert(n == strlen(note) && !memcmp(text, note, n));
    lrqk_free(text);
    ck_assert_uint_eq(lrqk_session_length(t), PROMPT + 19);
    ck_assert(!memcmp(lrqk_session_ids(t), lrqk_session_ids(s), (PROMPT + 19) * sizeof *ids));
    decode(t, STEPS, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: what was loaded goes on otherwise", options[i]);
    load(u);
    decode(u, STEPS, b);
    double e = nmse(b, a, SIZE);
    ck_assert_msg(e <= 1e-6, "%s: in another context: NMSE %g", options[i], e);
    ck_assert_int_eq(lrqk_session_truncate(s, PROMPT), LRQK_OK);
    ck_assert_int_eq(lrqk_session_truncate(t, PROMPT), LRQK_OK);
    ck_assert(!memcmp(lrqk_session_logits(t), mark, VOCAB * sizeof *mark));
    decode(s, STEPS, a);
    decode(t, STEPS, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: the mark that was loaded is another", options[i]);
    lrqk_session_close(s);
    lrqk_session_close(t);
    lrqk_session_close(u);
  }
  close_engine();
}
END_TEST

/* A text that is cut, before or behind its mark, and gets another end, is as one that never was longer where all tokens are active;
 * elsewhere near to it, and the rows on the device are right. */
START_TEST(is_cut) {
  static float a[SIZE], b[SIZE];
  open_engine(devices[_i], 7);
  for (int i = 0; i < N_OPTIONS; i++)
    for (int behind = 0; behind < 2; behind++) {
      if (test_small() && behind != i % 2) continue;
      lrqk_session *s = rig_session(&rig, options[i], CTX), *t = rig_session(&rig, options[i], CTX);
      uint32_t keep = behind ? 310 : 233;
      ck_assert_int_eq(lrqk_session_prefill(s, ids, 333, 0, NULL, NULL), LRQK_OK);
      ck_assert_int_eq(lrqk_session_truncate(s, behind ? 300 : 333), LRQK_OK);
      ck_assert_int_eq(lrqk_session_mark(s), LRQK_OK);
      for (int j = 0; j < 35; j++) ck_assert_int_eq(lrqk_session_decode(s, ids[(behind ? 300 : 333) + j]), LRQK_OK);
      ck_assert_int_eq(lrqk_session_truncate(s, lrqk_session_length(s) + 1), LRQK_USAGE);
      ck_assert_int_eq(lrqk_session_truncate(s, keep), LRQK_OK);
      ck_assert_ptr_null(lrqk_session_logits(s));
      ck_assert_int_eq(lrqk_session_prefill(s, ids + 500, 50, 0, NULL, NULL), LRQK_OK);
      ck_assert_int_eq(lrqk_session_prefill(t, ids, keep, 0, NULL, NULL), LRQK_OK);
      ck_assert_int_eq(lrqk_session_prefill(t, ids + 500, 50, 0, NULL, NULL), LRQK_OK);
      ck_assert(!memcmp(lrqk_session_ids(s), lrqk_session_ids(t), (keep + 50) * sizeof *ids));
      decode(s, STEPS, a);
      decode(t, STEPS, b);
      double e = nmse(a, b, SIZE), limit = i >= N_OPTIONS - 3 ? 1e-8 : 0.5;
      ck_assert_msg(e <= limit, "%s, cut to %u: NMSE %g", options[i], keep, e);
      lrqk_session_close(s);
      lrqk_session_close(t);
    }
  close_engine();
}
END_TEST

static unsigned char *read_file(size_t *n) {
  FILE *f = fopen(file, "rb");
  struct stat st;
  ck_assert(f && !stat(file, &st));
  unsigned char *p = malloc((size_t)st.st_size);
  *n = fread(p, 1, (size_t)st.st_size, f);
  fclose(f);
  return p;
}

static void write_file(const unsigned char *p, size_t n) {
  FILE *f = fopen(file, "wb");
  ck_assert(f && fwrite(p, 1, n, f) == n);
  fclose(f);
}

/* Layers 1 and 3 of the last two attend to all.  The ring of a window is a chunk of prefill and the window long: the text is longer. */
static const struct tiny_model windowed[] = {
  { .arch = "mistral", .window = 16, .layers = 3, .vocab = VOCAB, .ctx = CTX, .seed = 3 },
  { .arch = "gemma2", .layers = 4, .window = 24, .head_size = 40, .rope_dims = 20, .bias = true, .query_gain = 2, .vocab = VOCAB,
    .ctx = CTX, .seed = 4 },
  { .arch = "gemma3", .layers = 4, .window = 24, .period = 2, .head_size = 32, .rope_base = 1e6f, .linear = 4, .attn_cap = 15, .query_gain = 2,
    .vocab = VOCAB, .ctx = CTX, .seed = 5 },
};
enum { WINDOWED = sizeof windowed / sizeof *windowed };

static void choose(lrqk_session *s, int32_t *out, int n) {
  for (int i = 0; i < n; i++) {
    const float *logits = lrqk_session_logits(s);
    out[i] = 0;
    for (int k = 1; k < VOCAB; k++) if (logits[k] > logits[out[i]]) out[i] = k;
    ck_assert_int_eq(lrqk_session_decode(s, out[i]), LRQK_OK);
  }
}

/* Windows are rings: after they went round, saved, loaded and gone on is as without stopping, in another context and from the mark
 * too; what they hold no more cannot be gone back to. */
START_TEST(windows_go_on) {
  static const char *const some[] = { "active=64 lite=8", "attention=full", "attention=offload" };
  enum { LONG = 700, TEXT = LONG + 40 };
  open_model(devices[_i / WINDOWED], &windowed[_i % WINDOWED]);
  for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
    if (test_small() && (int)i != _i % WINDOWED) continue;
    int32_t want[STEPS], got[STEPS], again[STEPS];
    lrqk_session *s = rig_session(&rig, some[i], CTX), *t = rig_session(&rig, some[i], CTX), *u = rig_session(&rig, some[i], 800);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, LONG, 0, NULL, NULL), LRQK_OK);
    ck_assert_int_eq(lrqk_session_mark(s), LRQK_OK);
    decode(s, TEXT - LONG, NULL);
    ck_assert_msg(lrqk_session_save(s, file, NULL, 0) == LRQK_OK, "%s", rig_said.text);
    choose(s, want, STEPS);
    load(t);
    choose(t, got, STEPS);
    ck_assert_msg(!memcmp(got, want, sizeof want), "%s, %s: what was loaded goes on otherwise", windowed[_i % WINDOWED].arch, some[i]);
    load(u);
    choose(u, again, STEPS);
    ck_assert_msg(!memcmp(again, want, sizeof want), "%s, %s: in a smaller context it goes on otherwise", windowed[_i % WINDOWED].arch, some[i]);
    ck_assert_int_eq(lrqk_session_rewind(s), LRQK_OK);
    ck_assert_int_eq(lrqk_session_rewind(u), LRQK_OK);
    choose(s, want, STEPS);
    choose(u, got, STEPS);
    ck_assert_msg(!memcmp(got, want, sizeof want), "%s, %s: the mark that was loaded is another", windowed[_i % WINDOWED].arch, some[i]);
    load(t);
    ck_assert_int_eq(lrqk_session_truncate(t, 100), LRQK_USAGE);
    ck_assert_uint_eq(lrqk_session_length(t), TEXT);
    ck_assert_int_eq(lrqk_session_truncate(t, 0), LRQK_OK);
    lrqk_session_close(s);
    lrqk_session_close(t);
    lrqk_session_close(u);
  }
  close_engine();
}
END_TEST

/* A session that holds another text is replaced by what is loaded, and left alone by what is refused. */
START_TEST(replaces) {
  static float a[SIZE], b[SIZE];
  open_engine("host", 7);
  for (int i = 0; i < N_OPTIONS; i++) {
    lrqk_session *s = rig_session(&rig, options[i], CTX), *t = rig_session(&rig, options[i], CTX), *u = rig_session(&rig, options[i], CTX);
    ck_assert_int_eq(lrqk_session_prefill(s, ids, 120, 0, NULL, NULL), LRQK_OK);
    ck_assert_int_eq(lrqk_session_save(s, file, NULL, 0), LRQK_OK);
    decode(s, STEPS, a);
    for (int k = 0; k < 2; k++) {
      lrqk_session *x = k ? u : t;
      ck_assert_int_eq(lrqk_session_prefill(x, ids + 400, 200, 0, NULL, NULL), LRQK_OK);
      ck_assert_int_eq(lrqk_session_mark(x), LRQK_OK);
      decode(x, 5, NULL);
    }
    load(t);
    ck_assert_uint_eq(lrqk_session_length(t), 120);
    decode(t, STEPS, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: what was there before shows", options[i]);
    size_t n;
    unsigned char *p = read_file(&n);
    p[n / 2] ^= 1;
    write_file(p, n);
    free(p);
    ck_assert_int_eq(lrqk_session_load(t, file, NULL, NULL), LRQK_USAGE);
    ck_assert_int_eq(lrqk_session_load(u, file, NULL, NULL), LRQK_USAGE);
    ck_assert_uint_eq(lrqk_session_length(u), 205);
    decode(u, STEPS, a);
    ck_assert_int_eq(lrqk_session_rewind(u), LRQK_OK);
    decode(u, 5, NULL);
    decode(u, STEPS, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: a file that was refused changed the session", options[i]);
    lrqk_session_close(s);
    lrqk_session_close(t);
    lrqk_session_close(u);
  }
  close_engine();
}
END_TEST

static void is_refused(lrqk_session *s, enum lrqk_status with, const char *says) {
  size_t n, m;
  unsigned char *before = read_file(&n);
  ck_assert_int_eq(lrqk_session_load(s, file, NULL, NULL), with);
  ck_assert_msg(strstr(rig_said.text, says) && strstr(rig_said.text, file), "found \"%s\", expected \"%s\"", rig_said.text, says);
  ck_assert_uint_eq(lrqk_session_length(s), 0);
  unsigned char *after = read_file(&m);
  ck_assert(n == m && !memcmp(before, after, n));
  free(before);
  free(after);
}

/* Every byte of the head, and 300 elsewhere, changed; the file cut short; checksums made right again, where nothing may break. */
START_TEST(damaged) {
  static float a[SIZE], b[SIZE];
  open_engine("host", 7);
  for (int i = 0; i < N_OPTIONS; i++) {
    lrqk_session *s = rig_session(&rig, options[i], CTX), *t = rig_session(&rig, options[i], CTX);
    size_t n;
    ck_assert_int_eq(lrqk_session_prefill(s, ids, 120, 0, NULL, NULL), LRQK_OK);
    decode(s, 3, NULL);
    ck_assert_int_eq(lrqk_session_save(s, file, NULL, 0), LRQK_OK);
    unsigned char *p = read_file(&n);
    size_t head = sizeof(struct session_head);
    for (size_t at = 0; at < n; at += at < head ? (i ? 17 : 1) : (n - head) / 100) {
      p[at] ^= 0x41;
      write_file(p, n);
      is_refused(t, LRQK_USAGE, at < 8 ? "not a saved session" : at < 12 ? "version" : "damaged");
      session_file_seal(p, n);
      write_file(p, n);
      if (at >= head && lrqk_session_load(t, file, NULL, NULL) == LRQK_OK)
        (void)lrqk_session_decode(t, 1);   /* LRQK_CHECK: sums that make no sense */
      ck_assert_int_eq(lrqk_session_truncate(t, 0), LRQK_OK);
      p[at] ^= 0x41;
    }
    for (size_t at = 0; at < 64; at++) {
      write_file(p, n * at / 64);
      is_refused(t, LRQK_USAGE, !at ? "is empty" : n * at / 64 < head ? "not a saved session" : "damaged");
    }
    ck_assert_int_eq(lrqk_session_prefill(t, ids, 120, 0, NULL, NULL), LRQK_OK);   /* nothing of all that is left in it */
    decode(t, 3, NULL);
    decode(s, STEPS, a);
    decode(t, STEPS, b);
    ck_assert_msg(!memcmp(a, b, sizeof a), "%s: a file that was refused left something behind", options[i]);
    free(p);
    lrqk_session_close(s);
    lrqk_session_close(t);
  }
  close_engine();
}
END_TEST

START_TEST(others) {
  open_engine("host", 7);
  lrqk_session *s = rig_session(&rig, "proxy=pairs rank=16", CTX), *small = rig_session(&rig, "proxy=pairs rank=16", 64),
               *rank = rig_session(&rig, "proxy=pairs rank=8", CTX), *full = rig_session(&rig, "attention=full", CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 100, 0, NULL, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_session_save(s, file, NULL, 0), LRQK_OK);
  struct lrqk_session_info info;
  ck_assert_int_eq(lrqk_session_peek(rig.model, file, &info), LRQK_OK);
  ck_assert(info.n_tokens == 100 && info.n_ctx == CTX);
  is_refused(rank, LRQK_USAGE, "was saved with rank=16, this session has rank=8");
  is_refused(full, LRQK_USAGE, "was saved with attention=lrqk, this session has attention=full");
  is_refused(small, LRQK_PROMPT, "the session has 100 tokens, the context 64");
  ck_assert_int_eq(lrqk_session_save(s, "no/such/folder/file", NULL, 0), LRQK_RUNTIME);
  ck_assert_int_eq(lrqk_session_save(s, ".", NULL, 0), LRQK_USAGE);
  ck_assert_int_eq(lrqk_session_load(full, "no/such/file", NULL, NULL), LRQK_USAGE);
  lrqk_session_close(s);
  lrqk_session_close(small);
  lrqk_session_close(rank);
  lrqk_session_close(full);
  rig_close(&rig);
  open_engine("host", 8);
  s = rig_session(&rig, "proxy=pairs rank=16", CTX);
  is_refused(s, LRQK_USAGE, "another model");
  lrqk_session_close(s);
  close_engine();
}
END_TEST

/* Saves again and again, a token more each time, until it is killed. */
static void save_forever(lrqk_session *s) {
  for (;;) {
    if (lrqk_session_save(s, file, NULL, 0) != LRQK_OK) _exit(1);
    if (lrqk_session_length(s) < CTX - 1 && lrqk_session_decode(s, 3) != LRQK_OK) _exit(1);
  }
}

START_TEST(killed) {
  const char *e = getenv("LRQK_TEST_KILLS");
  int n = e ? atoi(e) : 30, replaced = 0;
  open_engine("host", 7);
  lrqk_session *s = rig_session(&rig, "active=64 lite=8", CTX), *t = rig_session(&rig, "active=64 lite=8", CTX);
  ck_assert_int_eq(lrqk_session_prefill(s, ids, 600, 0, NULL, NULL), LRQK_OK);
  ck_assert_int_eq(lrqk_session_save(s, file, NULL, 0), LRQK_OK);
  uint64_t state = 1;
  for (int i = 0; i < n; i++) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) save_forever(s);
    struct timespec wait = { 0, (long)(writer_random(&state) % 40000000) };
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "saving failed before it was killed");
    load(t);
    ck_assert_uint_ge(lrqk_session_length(t), 600);
    ck_assert_ptr_nonnull(lrqk_session_logits(t));
    decode(t, 1, NULL);
    replaced += lrqk_session_length(t) > 601;
    ck_assert_int_eq(lrqk_session_truncate(t, 0), LRQK_OK);
  }
  printf("killed %d times while saving; %d times the file had been replaced before\n", n, replaced);
  lrqk_session_close(s);
  lrqk_session_close(t);
  close_engine();
  char part[80];
  snprintf(part, sizeof part, "%s.part", file);
  unlink(part);
}
END_TEST

int main(void) {
  if (!hash_available()) { puts("skipped: built without xxhash"); return 77; }
  snprintf(file, sizeof file, "test_session_%d.lrqk", (int)getpid());
  rig_quiet = true;
  Suite *suite = suite_create("session");
  TCase *t = tcase_create("session");
  tcase_set_timeout(t, 0);
  int first = test_only_host();
  tcase_add_loop_test(t, goes_on, first, 2);
  tcase_add_loop_test(t, is_cut, first, 2);
  tcase_add_loop_test(t, windows_go_on, first * WINDOWED, 2 * WINDOWED);
  tcase_add_test(t, replaces);
  tcase_add_test(t, damaged);
  tcase_add_test(t, others);
  tcase_add_test(t, killed);
  suite_add_tcase(suite, t);
  return suite_run(suite, CK_NOFORK);
}
