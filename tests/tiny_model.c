/* tiny_model.c - tiny_model FILE [window]: writes a small model with random weights, of which some layers have a window, and
 * FILE.txt with a text for it.  For tests that are scripts. */
#include <stdio.h>
#include <string.h>

#include "gguf_writer.h"

int main(int argc, char **argv) {
  static const struct tiny_model shape = { .layers = 3, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = 288,
                                           .ctx = 512, .seed = 7 };
  static const struct tiny_model windowed = { .arch = "gemma3", .layers = 2, .window = 24, .period = 2, .head_size = 32, .vocab = 288,
                                              .ctx = 1024, .seed = 7 };
  char name[1024];
  bool window = argc == 3 && !strcmp(argv[2], "window");
  if (argc != 2 && !window) return 2;
  tiny_model_save(window ? &windowed : &shape, argv[1]);
  snprintf(name, sizeof name, "%s.txt", argv[1]);
  FILE *f = fopen(name, "wb");
  if (!f) return 1;
  for (int i = 0; i < 800; i++) fputc('a' + i * i % 23, f);
  return fclose(f) != 0;
}
