/* roof.c - see roof.h. */
#include "roof.h"

#include <stdlib.h>

double roof_us(const struct lrqk_ceilings *c, double device_bytes, double bus_bytes, double flops, double calls, const char **bound) {
  double need[4] = {device_bytes / c->device_gb_per_s / 1e3, flops / c->gflop_per_s / 1e3, bus_bytes / c->bus_gb_per_s / 1e3, c->empty_us * calls};
  static const char *const name[] = {"memory", "compute", "bus", "launch"};
  int most = 0;
  for (int i = 1; i < 4; i++)
    if (need[i] > need[most]) most = i;
  *bound = name[most];
  return need[most];
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void times_sort(double *us, size_t n) { qsort(us, n, sizeof *us, ascending); }
