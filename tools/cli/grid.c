/* grid.c - see grid.h. */
#include "grid.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_COLUMNS = 32 };

void grid_add(struct grid *g, const char *fmt, ...) {
  if (g->n == g->cap) {
    size_t cap = g->cap ? 2 * g->cap : 256;
    void *more = realloc(g->cell, cap * sizeof *g->cell);
    if (!more) {
      g->failed = true;
      return;
    }
    g->cell = more;
    g->cap = cap;
  }
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(g->cell[g->n++], sizeof *g->cell, fmt, ap);
  va_end(ap);
}

/* Characters of a UTF-8 text. */
static int width_of(const char *s) {
  int n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

static void line(struct text *t, const struct grid *g, size_t row, const int width[MAX_COLUMNS], bool md) {
  for (size_t i = 0; i < g->columns; i++) {
    const char *s = g->cell[row * g->columns + i];
    bool last = i + 1 == g->columns, words = g->words >> i & 1;
    int pad = last && words ? 0 : width[i] - width_of(s);
    text_printf(t, "%s%*s%s%*s", md ? "| " : i ? "  " : "", words ? 0 : pad, "", s, words ? pad : 0, "");
    if (md) text_printf(t, last ? " |" : " ");
  }
  text_add(t, "\n", 1);
}

void grid_print(struct text *t, struct grid *g, bool md) {
  int width[MAX_COLUMNS] = {0};
  for (size_t i = 0; i < g->n; i++)
    if (width_of(g->cell[i]) > width[i % g->columns]) width[i % g->columns] = width_of(g->cell[i]);
  for (size_t row = 0; row < g->n / g->columns; row++) {
    line(t, g, row, width, md);
    if (row || !md) continue;
    for (size_t i = 0; i < g->columns; i++) text_printf(t, g->words >> i & 1 ? "| --- " : "| ---: ");
    text_printf(t, "|\n");
  }
  t->failed = t->failed || g->failed;
  free(g->cell);
  *g = (struct grid){0};
}

void csv_string(struct text *t, const char *s, size_t len) {
  text_add(t, "\"", 1);
  for (size_t i = 0; i < len; i++) {
    if (s[i] == '"') text_add(t, "\"", 1);
    text_add(t, s + i, 1);
  }
  text_add(t, "\"", 1);
}

void csv_num(struct text *t, double v) {
  if (isfinite(v)) text_printf(t, ",%.9g", v);
  else text_add(t, ",", 1);
}
