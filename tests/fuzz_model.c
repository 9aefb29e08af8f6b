/* Fuzz target: a model file from its first byte to its tokens, without tensors' values.  LRQK_FUZZ builds it for libFuzzer,
 * plain builds replay tests/data/fuzz_model (fuzz_replay.c). */
#include "base/mem.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "token/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Text that nobody chose with care: the file's own bytes. */
static void use_tokenizer(const struct gguf *g, const struct log *log, const uint8_t *data, size_t size) {
  struct tokenizer *t;
  if (tokenizer_open(&t, g, 0) != LRQK_OK) return;
  struct ids ids = { 0 };
  size_t len = size < 2048 ? size : 2048, replaced;
  for (int special = 0; special < 2; special++) (void)tokenizer_encode(t, (const char *)data + size - len, len, special, &ids, &replaced);
  struct lrqk_message msg = { "user", (const char *)data, len };
  struct chat *c;
  if (chat_open(&c, t, g, NULL) == LRQK_OK) {
    (void)chat_encode(c, &msg, 1, CHAT_ALL, 0, &ids, &replaced);
    chat_close(c);
  }
  for (size_t i = 0; i < ids.n; i++) {
    const char *text;
    size_t n;
    tokenizer_text(t, ids.id[i], true, &text, &n);
    for (size_t j = 0; j < n; j++) if (!text) log_msg(log, LRQK_LOG_DEBUG, "a token without text");
  }
  mem_free(ids.id);
  tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct log log = { 0 };
  for (int vocab_only = 0; vocab_only < 2; vocab_only++) {
    struct gguf *g;
    if (gguf_open_memory(&g, &log, "input", data, size, vocab_only) != LRQK_OK) continue;
    struct hparams hp;
    if (!vocab_only && hparams_read(&hp, g) == LRQK_OK) (void)model_check(&hp, g);
    use_tokenizer(g, &log, data, size);
    gguf_close(g);
  }
  return 0;
}
