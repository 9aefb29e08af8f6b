/* profile_read_stub.c - stands in for profile_read.c where there is no jansson to read JSON with. */
#include "profile_read.h"

#include <stdio.h>

const char *const profile_list_name[] = {"phases", "stages", "kernels"};

bool profile_read(struct profile_file *out, const char *path, struct profile_error *error) {
  *out = (struct profile_file){0};
  snprintf(error->text, sizeof error->text, "%s: cannot be read: this program was built without jansson", path);
  snprintf(error->hint, sizeof error->hint, "install libjansson-dev and build again");
  return false;
}

void profile_file_free(struct profile_file *f) { (void)f; }
