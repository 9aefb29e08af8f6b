/* Runs a fuzz target on every file of a directory, and on every file cut short at 64 places: what a fuzzer once found
 * stays found.  usage: replay DIRECTORY.  Fails if there is nothing to run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy that ends where the input ends, so that a sanitizer sees a read beyond it. */
static void run(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size + !size);
  if (!copy) abort();
  for (size_t i = 0; i < size; i++) copy[i] = data[i];
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

static int replay(const char *path) {
  FILE *f = fopen(path, "rb");
  static uint8_t data[1 << 20];
  if (!f) return 0;
  size_t size = fread(data, 1, sizeof data, f);
  fclose(f);
  run(data, size);
  for (size_t i = 0; i < 64; i++) run(data, size * i / 64);
  return 1;
}

int main(int argc, char **argv) {
  DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
  if (!d) { fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]); return EXIT_FAILURE; }
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) {
    char path[4096];
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
    n += replay(path);
  }
  closedir(d);
  printf("%d inputs\n", n);
  return n ? EXIT_SUCCESS : EXIT_FAILURE;
}
