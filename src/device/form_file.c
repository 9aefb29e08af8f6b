/* form_file.c - what was measured of the forms (form.h), kept in $XDG_CACHE_HOME/lrqk or ~/.cache/lrqk between runs: a text
 * file per device and driver, a line per operation.  Whatever goes wrong here is a debug message. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/form.h"

enum { VERSION = 4 };   /* of the kernels that were measured */

static uint64_t hash(uint64_t h, const char *s) {
  for (; *s; s++) h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
  return h;
}

/* The first line of the file: whose it is. */
static void title_of(const struct lrqk_device_info *d, char title[640]) {
  snprintf(title, 640, "lrqk forms %d: %s, %s, %s%s", VERSION, d->backend, d->name, d->driver, d->clblast ? ", CLBlast" : "");
}

static bool path_of(const char *title, char path[1024], bool make) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  bool xdg = base && base[0] == '/';
  if (!xdg && !(home && home[0] == '/')) return false;
  snprintf(path, 900, "%s%s", xdg ? base : home, xdg ? "" : "/.cache");
  if (make) mkdir(path, 0700);
  strcat(path, "/lrqk");
  if (make) mkdir(path, 0700);
  size_t at = strlen(path);
  snprintf(path + at, 1024 - at, "/forms-%016" PRIx64 ".txt", hash(UINT64_C(0xcbf29ce484222325), title));
  return true;
}

bool form_load(struct forms *out, const struct lrqk_device_info *d) {
  char title[640], path[1024], line[640];
  struct forms read = { 0 };
  title_of(d, title);
  FILE *f = path_of(title, path, false) ? fopen(path, "r") : NULL;
  if (!f) return false;
  bool ok = fgets(line, sizeof line, f) && !strncmp(line, title, strlen(title)) && line[strlen(title)] == '\n';
  for (int i = 0; ok && i < N_FORM_OPS; i++) {
    double *us = read.op[i].us;
    ok = fgets(line, sizeof line, f) && sscanf(line, "%lf %lf %lf", &us[0], &us[1], &us[2]) == N_FORMS;
    for (int j = 0; ok && j < N_FORMS; j++) ok = us[j] >= 0 && us[j] < 1e9;
  }
  fclose(f);
  if (!ok) return false;
  *out = read;
  form_decide(out, d);
  return true;
}

/* Other processes see the old file or the new one, never half of it. */
void form_save(const struct forms *f, const struct lrqk_device_info *d, const struct log *log) {
  char title[640], path[1024], temp[1100];
  title_of(d, title);
  if (!path_of(title, path, true)) return;
  snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
  FILE *out = fopen(temp, "w");
  bool ok = out && fprintf(out, "%s\n", title) > 0;
  for (int i = 0; ok && i < N_FORM_OPS; i++) ok = fprintf(out, "%.2f %.2f %.2f\n", f->op[i].us[0], f->op[i].us[1], f->op[i].us[2]) > 0;
  if (out) ok = !fclose(out) && ok;
  ok = ok && !rename(temp, path);
  if (!ok) remove(temp);
  if (!ok) log_debug(log, "%s: what was measured of the forms was not written", path);
}
