/* token_check.c - see token_check.h. */
#include "token_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void remember(void *ud, enum lrqk_log_level level, const char *text) {
  struct messages *m = ud;
  m->n[level]++;
  snprintf(m->last[level], sizeof m->last[level], "%s", text);
}

static void start(struct fixture *f) {
  *f = (struct fixture){ 0 };
  f->log = (struct log){ remember, &f->msg };
}

enum lrqk_status fixture_open(struct fixture *f, const struct vocab_spec *spec, uint32_t n_vocab) {
  start(f);
  size_t n;
  f->file = vocab_file(spec, &n);
  ck_assert_int_eq(gguf_open_memory(&f->g, &f->log, "small.gguf", f->file, n, true), LRQK_OK);
  return tokenizer_open(&f->t, f->g, n_vocab);
}

enum lrqk_status fixture_open_model(struct fixture *f) {
  start(f);
  const char *path = getenv("LRQK_TEST_MODEL");
  if (!path) path = TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
  ck_assert_msg(gguf_open(&f->g, &f->log, path, false) == LRQK_OK, "%s (tools/test fetches the model)", f->msg.last[LRQK_LOG_ERROR]);
  return tokenizer_open(&f->t, f->g, 0);
}

void fixture_close(struct fixture *f) {
  tokenizer_close(f->t);
  gguf_close(f->g);
  free(f->file);
}

static void list(char *out, size_t cap, const int32_t *ids, size_t n) {
  size_t used = 0;
  out[0] = 0;
  for (size_t i = 0; i < n && used + 16 < cap; i++) used += (size_t)snprintf(out + used, cap - used, "%d ", ids[i]);
}

void same_ids(const char *what, const struct ids *found, const int32_t *ids, size_t n) {
  char a[2048], b[2048];
  list(a, sizeof a, found->id, found->n);
  list(b, sizeof b, ids, n);
  ck_assert_msg(found->n == n && (!n || !memcmp(found->id, ids, n * sizeof *ids)), "%s\nfound    %s\nexpected %s", what, a, b);
}

void check_ids(const struct fixture *f, const char *text, size_t len, bool special, const int32_t *ids, size_t n) {
  struct ids found = { 0 };
  ck_assert_int_eq(tokenizer_encode(f->t, text, len, special, &found, NULL), LRQK_OK);
  same_ids(text, &found, ids, n);
  mem_free(found.id);
}
