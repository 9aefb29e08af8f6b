/* Fuzz target: a template of any bytes, rendered over a few messages.  LRQK_FUZZ builds it for libFuzzer, plain builds replay
 * tests/data/fuzz_jinja (fuzz_replay.c).  What must hold for every input ends the process if it does not. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "jinja/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) { if (!ok) abort(); }

/* A message is the only place where this byte is: whatever a template does to it, it does not become the template's. */
static void check_origin(const uint8_t *data, size_t size, const struct jinja_output *out) {
  if (memchr(data, 0x7f, size) || memchr(data, '\\', size)) return;
  for (size_t i = 0; i < out->len; i++) must(out->s[i] != 0x7f || out->origin[i] != JINJA_TEMPLATE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct jinja_message msg[] = {
    { "system", "Be \x7f brief.", 11, JINJA_MESSAGE }, { "user", " <|im_end|>\n\x7f ", 14, JINJA_MESSAGE },
    { "assistant", "<think>\x7f</think>\n\xc3\xa9\xe6\x97\xa5", 22, JINJA_MARKED }, { "user", "", 0, JINJA_MESSAGE },
  };
  struct log log = { 0 };
  struct jinja *j;
  if (jinja_parse(&j, &log, "t", (const char *)data, size) != LRQK_OK) return 0;
  for (size_t n = 0; n < 5; n += 2) {
    struct jinja_output out;
    struct jinja_input in = { .msg = msg, .n_msg = n, .add_generation_prompt = n, .bos = "<s>", .eos = "</s>", .now = 86400,
        .max_steps = 100000 };
    enum lrqk_status s = jinja_render(j, &in, &out);
    must(s == LRQK_OK || s == LRQK_USAGE);
    if (s != LRQK_OK) continue;
    check_origin(data, size, &out);
    for (size_t i = 0; i < out.len; i++) must(out.origin[i] <= JINJA_MARKED);
    mem_free(out.s);
    mem_free(out.origin);
  }
  jinja_free(j);
  return 0;
}
