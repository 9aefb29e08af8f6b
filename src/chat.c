/* chat.c - the public calls about chat templates; what they do is in token/chat.c. */
#include "engine.h"

#include "base/mem.h"
#include "token/chat.h"

struct lrqk_chat { const lrqk_model *model; struct chat *chat; };

enum lrqk_status lrqk_chat_open(lrqk_chat **out, const lrqk_model *m, const struct lrqk_chat_options *opt) {
  lrqk_chat *c = mem_alloc(1, sizeof *c);
  if (!c) return fail(&m->log, LRQK_MEMORY, "chat template: out of memory");
  c->model = m;
  enum lrqk_status s = chat_open(&c->chat, m->tokenizer, m->gguf, opt);
  if (s != LRQK_OK) { lrqk_chat_close(c); return s; }
  *out = c;
  return LRQK_OK;
}

void lrqk_chat_close(lrqk_chat *c) {
  if (!c) return;
  chat_close(c->chat);
  mem_free(c);
}

const char *lrqk_chat_name(const lrqk_chat *c) { return chat_family(c->chat); }
const char *lrqk_chat_known(size_t i) { return chat_template(i) ? chat_template(i)->name : NULL; }

static enum lrqk_status encode(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, size_t answered, unsigned flags,
    int32_t **ids,
                               size_t *n) {
  struct ids v = { 0 };
  size_t replaced = 0;
  enum lrqk_status s = chat_encode(c->chat, msg, n_msg, answered, flags, &v, &replaced);
  return engine_give_ids(c->model, s, &v, replaced, ids, n);
}

enum lrqk_status lrqk_chat_encode(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, int32_t **ids,
    size_t *n) {
  return encode(c, msg, n_msg, CHAT_ALL, flags, ids, n);
}

enum lrqk_status lrqk_chat_continue(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, size_t answered, unsigned flags,
                                    int32_t **ids, size_t *n) {
  return encode(c, msg, n_msg, answered < n_msg ? answered : n_msg, flags, ids, n);
}

enum lrqk_status lrqk_chat_render(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, char **text,
    size_t *len) {
  return chat_render(c->chat, msg, n_msg, flags, text, len);
}

enum lrqk_status lrqk_chat_tokenize(const lrqk_model *m, const struct lrqk_message *msg, size_t n_msg, int32_t **ids, size_t *n) {
  lrqk_chat *c = NULL;
  TRY(lrqk_chat_open(&c, m, NULL));
  enum lrqk_status s = lrqk_chat_encode(c, msg, n_msg, 0, ids, n);
  lrqk_chat_close(c);
  return s;
}
