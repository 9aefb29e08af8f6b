/* Fuzz target: a saved session.  The first byte of an input says under which options of the cache it is loaded, the rest is the file;
 * it is tried as it is, and once more with the head that it should have and right checksums, to get past them: what is loaded then
 * must be usable.  LRQK_FUZZ builds it for libFuzzer, plain builds replay tests/data/fuzz_session (fuzz_replay.c).
 * LRQK_FUZZ_CORPUS=DIR: writes the session of each option there. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gguf_writer.h"
#include "lrqk/lrqk.h"
#include "session_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CTX = 48, PROMPT = 20, VOCAB = 260 };

/* Layer 0 has a window, layer 1 what the policy keeps. */
static const struct tiny_model shape = { .arch = "gemma3", .layers = 2, .window = 8, .period = 2, .embd = 32, .ff = 32, .heads = 2, .kv_heads = 1,
                                         .head_size = 16, .vocab = VOCAB, .ctx = CTX, .seed = 21 };

static struct { const char *options; lrqk_session *s; struct session_head head; } with[] = {
  { "active=8 lite=4", NULL, { .version = 0 } }, { "proxy=pairs active=8 lite=4", NULL, { .version = 0 } },
  { "proxy=paper active=8 lite=4", NULL, { .version = 0 } }, { "attention=full", NULL, { .version = 0 } },
  { "attention=offload", NULL, { .version = 0 } },
};
enum { N_WITH = sizeof with / sizeof *with };

static void must(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "fuzz_session: %s\n", what);
  abort();
}

static lrqk_session *open_session(lrqk_engine *e, const char *options) {
  struct lrqk_session_options o = { .cache = lrqk_cache_defaults(), .n_ctx = CTX };
  char text[128];
  snprintf(text, sizeof text, "dense-layers=none %s", options);
  for (char *p = strtok(text, " "); p; p = strtok(NULL, " ")) {
    char *eq = strchr(p, '=');
    *eq = 0;
    must(lrqk_cache_set(&o.cache, p, eq + 1, NULL, NULL) == LRQK_OK, p);
  }
  lrqk_session *s;
  must(lrqk_session_open(&s, e, &o) == LRQK_OK, options);
  return s;
}

static void write_corpus(int i, const uint8_t *file, size_t n) {
  const char *dir = getenv("LRQK_FUZZ_CORPUS");
  char path[512];
  if (!dir) return;
  snprintf(path, sizeof path, "%s/options_%d", dir, i);
  FILE *f = fopen(path, "wb");
  must(f && fputc(i, f) == i && fwrite(file, 1, n, f) == n && !fclose(f), path);
}

/* What each session saves can be loaded: the target does test something. */
static void set_up(void) {
  static uint8_t file[1 << 20];
  char path[64], name[64];
  lrqk_model *m;
  lrqk_engine *e;
  int32_t ids[PROMPT];
  snprintf(path, sizeof path, "fuzz_session_%d.gguf", (int)getpid());
  snprintf(name, sizeof name, "fuzz_session_%d.lrqk", (int)getpid());
  tiny_model_save(&shape, path);
  must(lrqk_model_open(&m, path, NULL) == LRQK_OK, "the model");
  must(lrqk_engine_open(&e, m, &(struct lrqk_engine_options){ .device = "host" }) == LRQK_OK, "the engine");
  for (int i = 0; i < PROMPT; i++) ids[i] = 11 * i % VOCAB;
  for (int i = 0; i < N_WITH; i++) {
    lrqk_session *s = with[i].s = open_session(e, with[i].options);
    must(lrqk_session_prefill(s, ids, PROMPT, 0, NULL, NULL) == LRQK_OK && lrqk_session_mark(s) == LRQK_OK, "prefill");
    for (int k = 0; k < 3; k++) must(lrqk_session_decode(s, k) == LRQK_OK, "decode");
    must(lrqk_session_save(s, name, "note", 4) == LRQK_OK && lrqk_session_load(s, name, NULL, NULL) == LRQK_OK, "save and load");
    FILE *f = fopen(name, "rb");
    size_t n = f ? fread(file, 1, sizeof file, f) : 0;
    must(f && !fclose(f) && n > sizeof with[i].head && n < sizeof file, "the saved file");
    memcpy(&with[i].head, file, sizeof with[i].head);
    write_corpus(i, file, n);
  }
  unlink(path);
  unlink(name);
}

static void load(lrqk_session *s, const uint8_t *data, size_t size) {
  static int fd = -1;
  char path[64];
  if (fd < 0) fd = memfd_create("session", MFD_CLOEXEC);
  must(fd >= 0 && !ftruncate(fd, 0) && pwrite(fd, data, size, 0) == (ssize_t)size, "a file in memory");
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  void *note;
  size_t n;
  if (lrqk_session_load(s, path, &note, &n) != LRQK_OK) return;
  lrqk_free(note);
  for (int i = 0; i < 2 && lrqk_session_length(s) < CTX; i++) (void)lrqk_session_decode(s, i);   /* LRQK_CHECK: sums that make no sense */
  if (lrqk_session_rewind(s) == LRQK_OK && lrqk_session_length(s) < CTX) (void)lrqk_session_decode(s, 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!with[0].s) set_up();
  if (!size) return 0;
  int i = data[0] % N_WITH;
  load(with[i].s, data + 1, size - 1);
  struct session_head h;
  if (size - 1 < sizeof h) return 0;
  uint8_t *copy = malloc(size - 1);
  must(copy, "memory");
  memcpy(copy, data + 1, size - 1);
  memcpy(&h, copy, sizeof h);
  memcpy(h.magic, with[i].head.magic, sizeof h.magic);
  memcpy(h.settings, with[i].head.settings, sizeof h.settings);
  h.version = with[i].head.version;
  h.model = with[i].head.model;
  memcpy(copy, &h, sizeof h);
  session_file_seal(copy, size - 1);
  load(with[i].s, copy, size - 1);
  free(copy);
  return 0;
}
