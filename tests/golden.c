#include "golden.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RECORDS = 256 };
static struct record { char name[32], type[8]; size_t count; void *data; } records[MAX_RECORDS];
static size_t n_records;

static void *must(void *p) {
  ck_assert_msg(p != NULL, "out of memory");
  return p;
}

static void load(void) {
  FILE *f = fopen(TEST_DATA "/factor_golden.bin", "rb");
  ck_assert_msg(f != NULL, "cannot open factor_golden.bin");
  char line[256];
  while (fgets(line, sizeof line, f)) {
    ck_assert_uint_lt(n_records, MAX_RECORDS);
    struct record *r = &records[n_records++];
    char *save, *name = strtok_r(line, " \n", &save), *type = strtok_r(NULL, " \n", &save), *dim;
    ck_assert(name && type && strlen(name) < sizeof r->name && (!strcmp(type, "f64") || !strcmp(type, "i32")));
    strcpy(r->name, name);
    strcpy(r->type, type);
    r->count = 1;
    while ((dim = strtok_r(NULL, " \n", &save))) r->count *= strtoul(dim, NULL, 10);
    size_t size = strcmp(type, "f64") ? 4 : 8;
    r->data = must(malloc(r->count * size));
    ck_assert_msg(fread(r->data, size, r->count, f) == r->count, "%s is cut off", name);
  }
  fclose(f);
}

static const void *find(const char *name, const char *type, size_t count) {
  if (!n_records) load();
  for (size_t i = 0; i < n_records; i++)
    if (!strcmp(records[i].name, name)) {
      ck_assert_msg(!strcmp(records[i].type, type) && records[i].count == count, "%s: %zu %s, expected %zu %s", name, records[i].count,
                    records[i].type, count, type);
      return records[i].data;
    }
  ck_abort_msg("no record %s", name);
}

const double *golden_f64(const char *name, size_t count) { return find(name, "f64", count); }
const int32_t *golden_i32(const char *name, size_t count) { return find(name, "i32", count); }

double golden_error(const double *a, const double *want, size_t n) {
  double e = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    e = fmax(e, isfinite(a[i]) ? fabs(a[i] - want[i]) : INFINITY);
    most = fmax(most, fabs(want[i]));
  }
  return e / most;
}

double golden_basis_error(const char *name, const double *b, size_t rows) {
  enum { STEP = 4 };
  size_t n = rows * SYNTH_D / STEP;
  double *kept = must(malloc(n * sizeof *kept));
  for (size_t i = 0; i < n; i++) kept[i] = b[i * STEP];
  double e = golden_error(kept, golden_f64(name, n), n);
  free(kept);
  return e;
}

void golden_free(void) {
  while (n_records) free(records[--n_records].data);
}

static double uniform(uint64_t x) {   /* [0, 2^53) of splitmix64 */
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return (double)((x ^ (x >> 31)) >> 11);
}

void prandn(float *out, uint64_t seed, size_t n) {
  for (size_t i = 0; i < n; i += 2) {
    double u1 = (uniform((seed << 32) + i) + 1) * 0x1p-53, u2 = uniform((seed << 32) + i + 1) * 0x1p-53;
    double size = sqrt(-2 * log(u1)), angle = 2 * 3.141592653589793 * u2;
    out[i] = (float)(size * cos(angle));
    if (i + 1 < n) out[i + 1] = (float)(size * sin(angle));
  }
}

/* rows of normals with a decaying spectrum, mixed by mix [d][d], moved by offset [d] */
static float *mixed(uint64_t seed, size_t rows, const double *mix, const double *offset) {
  float *x = must(malloc(rows * SYNTH_D * sizeof *x)), weight[SYNTH_D];
  for (int i = 0; i < SYNTH_D; i++) weight[i] = (float)(pow(0.92, i) * 3);
  prandn(x, seed, rows * SYNTH_D);
  for (size_t t = 0; t < rows; t++) {
    float z[SYNTH_D], *row = x + t * SYNTH_D;
    for (int i = 0; i < SYNTH_D; i++) z[i] = row[i] * weight[i];
    for (int j = 0; j < SYNTH_D; j++) {
      double s = 0;
      for (int i = 0; i < SYNTH_D; i++) s += (double)z[i] * mix[i * SYNTH_D + j];
      row[j] = (float)(s + offset[j]);
    }
  }
  return x;
}

void synth_make(struct synth *s, const char *mix, uint64_t seed, uint32_t heads, uint32_t n) {
  const double *m = golden_f64(mix, (size_t)SYNTH_D * SYNTH_D);
  double k[SYNTH_D], q[SYNTH_D];
  for (int i = 0; i < SYNTH_D; i++) {
    k[i] = 2 * m[i];
    q[i] = 1.5 * (m[i] + m[SYNTH_D + i]);
  }
  *s = (struct synth){ .heads = heads, .n = n };
  s->q = mixed(seed, (size_t)heads * (n + SYNTH_STEPS), m, q);
  s->k = mixed(seed + 1, n + SYNTH_STEPS, m, k);
}

void synth_free(struct synth *s) {
  free(s->q);
  free(s->k);
}
