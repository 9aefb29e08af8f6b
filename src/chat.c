/* chat.c - the public calls about chat templates; what they do is in token/chat.c. */
#include "engine.h"

#include <string.h>

#include "base/mem.h"

struct lrqk_chat { const lrqk_model *model; };

enum lrqk_status lrqk_chat_open(lrqk_chat **out, const lrqk_model *m, const struct lrqk_chat_options *opt) {
  if (opt && (opt->text || (opt->name && strcmp(opt->name, chat_template_name(m->gguf)))))
    return fail(&m->log, LRQK_USAGE, "chat template: only that of the file is known, %s", chat_template_name(m->gguf));
  TRY(chat_known(m->gguf));
  lrqk_chat *c = mem_alloc(1, sizeof *c);
  if (!c) return fail(&m->log, LRQK_MEMORY, "chat template: out of memory");
  c->model = m;
  *out = c;
  return LRQK_OK;
}

void lrqk_chat_close(lrqk_chat *c) { mem_free(c); }
const char *lrqk_chat_name(const lrqk_chat *c) { return chat_template_name(c->model->gguf); }
const char *lrqk_chat_known(size_t i) { return i ? NULL : "chatml"; }

static enum lrqk_status encode(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, size_t from, unsigned flags, int32_t **ids,
                               size_t *n) {
  struct ids v = { 0 };
  size_t replaced = 0;
  enum lrqk_status s = chat_encode(c->model->tokenizer, c->model->gguf, msg, n_msg, from, !(flags & LRQK_CHAT_NO_PROMPT), &v, &replaced);
  return engine_give_ids(c->model, s, &v, replaced, ids, n);
}

enum lrqk_status lrqk_chat_encode(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, int32_t **ids, size_t *n) {
  return encode(c, msg, n_msg, 0, flags, ids, n);
}

enum lrqk_status lrqk_chat_continue(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, size_t answered, unsigned flags,
                                    int32_t **ids, size_t *n) {
  if (answered >= n_msg) return fail(&c->model->log, LRQK_USAGE, "chat: message %zu of %zu was answered", answered, n_msg);
  return encode(c, msg, n_msg, answered + 1, flags, ids, n);
}

enum lrqk_status lrqk_chat_render(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, char **text, size_t *len) {
  int32_t *ids;
  size_t n, bytes = 0, at = 0;
  TRY(lrqk_chat_encode(c, msg, n_msg, flags, &ids, &n));
  const char *s;
  size_t k;
  for (size_t i = 0; i < n; i++, bytes += k) tokenizer_text(c->model->tokenizer, ids[i], true, &s, &k);
  char *out = mem_alloc(bytes + 1, 1);
  for (size_t i = 0; out && i < n; i++, at += k) {
    tokenizer_text(c->model->tokenizer, ids[i], true, &s, &k);
    memcpy(out + at, s, k);
  }
  mem_free(ids);
  if (!out) return fail(&c->model->log, LRQK_MEMORY, "chat template: out of memory");
  *text = out;
  *len = bytes;
  return LRQK_OK;
}

enum lrqk_status lrqk_chat_tokenize(const lrqk_model *m, const struct lrqk_message *msg, size_t n_msg, int32_t **ids, size_t *n) {
  lrqk_chat *c = NULL;
  TRY(lrqk_chat_open(&c, m, NULL));
  enum lrqk_status s = lrqk_chat_encode(c, msg, n_msg, 0, ids, n);
  lrqk_chat_close(c);
  return s;
}
