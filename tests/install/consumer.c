/* consumer.c - prints what a program outside sees of the library: version, a device, an error through its own callback. */
#include <lrqk/lrqk.h>
#include <stdio.h>
#include <string.h>

static int devices, errors;

static void log_line(void *ud, enum lrqk_log_level level, const char *text) {
  (void)ud;
  if (level == LRQK_LOG_ERROR && strstr(text, "none.gguf")) errors++;
}

static void device(void *ud, const struct lrqk_device_info *d) {
  (void)ud;
  if (*d->name) devices++;
}

int main(void) {
  lrqk_model *m = NULL;
  struct lrqk_model_options opt = { .log = log_line };
  if (lrqk_model_open(&m, "none.gguf", &opt) != LRQK_MODEL || m) return 1;
  if (lrqk_devices(NULL, NULL, device, NULL) != LRQK_OK) return 2;
  printf("lrqk %s, %s, errors %d\n", LRQK_VERSION, devices ? "devices" : "no device", errors);
  return errors == 1 && devices ? 0 : 3;
}
