/* arch.c - see arch.h.  Defaults are those of the published models and of llama.cpp (github.com/ggml-org/llama.cpp), which
 * defines what a file that leaves a key out means. */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

static const struct arch table[] = {
  { "llama",   .features = 0 },
  { "mistral", .features = 0 },
  { "qwen2",   .features = ROPE_HALVES },
  { "qwen3",   .features = ROPE_HALVES | QK_NORM },
  { "phi3",    .features = ROPE_HALVES | FUSED },
  { "gemma",   .features = ROPE_HALVES | GELU | SCALED_EMBD },
  { "gemma2",  .features = ROPE_HALVES | POST_NORMS | GELU | SCALED_EMBD,
    .window = 4096, .period = 2, .attn_cap = 50, .logit_cap = 30, .wide_layers = 46 },
  { "gemma3",  .features = ROPE_HALVES | QK_NORM | POST_NORMS | GELU | SCALED_EMBD,
    .period = 6, .local_base = 10000, .wide_layers = 62 },
};
enum { N_ARCHITECTURES = sizeof table / sizeof table[0] };

const struct arch *arch_find(const char *name, size_t len) {
  for (size_t i = 0; i < N_ARCHITECTURES; i++)
    if (len == strlen(table[i].name) && !memcmp(name, table[i].name, len)) return &table[i];
  return NULL;
}

const char *arch_names(char out[128]) {
  size_t n = 0;
  for (size_t i = 0; i < N_ARCHITECTURES && n < 128; i++) n += (size_t)snprintf(out + n, 128 - n, "%s%s", n ? ", " : "", table[i].name);
  return out;
}
