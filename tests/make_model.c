/* make_model.c - writes a random llama model of a given shape, for measuring what no model at hand has: one layer with one KV
 * head, say.  A program for people; tools/docs/bench.md says how it is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"

int main(int argc, char **argv) {
  struct tiny_model m = { .layers = 1, .embd = 192, .ff = 256, .heads = 3, .kv_heads = 1, .head_size = 64, .ctx = 8192, .seed = 1 };
  const struct { const char *name; uint32_t *value; } fields[] = {
    { "layers", &m.layers }, { "embd", &m.embd }, { "ff", &m.ff }, { "heads", &m.heads }, { "kv-heads", &m.kv_heads }, { "head-size", &m.head_size },
    { "ctx", &m.ctx }, { "vocab", &m.vocab },
  };
  bool ok = argc > 1;
  for (int i = 2; i < argc && ok; i++) {
    size_t k = 0, n = sizeof fields / sizeof *fields, len = strcspn(argv[i], "=");
    while (k < n && (strncmp(fields[k].name, argv[i], len) || fields[k].name[len])) k++;
    ok = k < n && argv[i][len] && (*fields[k].value = (uint32_t)strtoul(argv[i] + len + 1, NULL, 10)) > 0;
  }
  if (!ok) {
    fprintf(stderr, "make_model FILE [layers=N] [embd=N] [ff=N] [heads=N] [kv-heads=N] [head-size=N] [ctx=N] [vocab=N]\n");
    return 2;
  }
  tiny_model_save(&m, argv[1]);
  return 0;
}
