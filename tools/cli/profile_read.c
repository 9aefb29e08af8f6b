/* profile_read.c - see profile_read.h. */
#include "profile_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

const char *const profile_list_name[] = {"phases", "stages", "kernels"};

static bool failed(struct profile_error *e, const char *hint) {
  snprintf(e->hint, sizeof e->hint, "%s", hint);
  return false;
}

static json_t *load(const char *path, struct profile_error *e) {
  json_error_t error;
  json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
  if (!root && json_error_code(&error) == json_error_cannot_open_file) snprintf(e->text, sizeof e->text, "%s: cannot be read", path);
  else if (!root) snprintf(e->text, sizeof e->text, "%s: no JSON: line %d: %s", path, error.line, error.text);
  return root;
}

static bool check(const json_t *root, const char *path, struct profile_error *e) {
  const json_t *schema = json_object_get(root, "schema");
  if (!json_is_integer(schema) || !json_is_array(json_object_get(root, "kernels"))) {
    snprintf(e->text, sizeof e->text, "%s: not a profile: expected an object with \"schema\" and \"kernels\"", path);
    return failed(e, "`lrqk profile --json` writes one");
  }
  if (json_integer_value(schema) == PROFILE_SCHEMA) return true;
  snprintf(e->text, sizeof e->text, "%s: schema %lld, this program reads schema %d", path, (long long)json_integer_value(schema), PROFILE_SCHEMA);
  return failed(e, "profile again with this program, or compare with the one that wrote it");
}

static const char *string(const json_t *row, const char *key) {
  const char *s = json_string_value(json_object_get(row, key));
  return s ? s : "";
}

static bool read_times(const json_t *row, struct profile_times *out) {
  const json_t *units = json_object_get(row, "units"), *low = json_object_get(row, "unit_p10_ms"), *mid = json_object_get(row, "unit_p50_ms"),
               *high = json_object_get(row, "unit_p90_ms");
  if (!json_is_integer(units) || json_integer_value(units) <= 0 || !json_is_number(low) || !json_is_number(mid) || !json_is_number(high)) return false;
  *out = (struct profile_times){json_number_value(low), json_number_value(mid), json_number_value(high), (size_t)json_integer_value(units)};
  return out->low >= 0 && out->low <= out->mid && out->mid <= out->high;
}

static bool read_entry(struct profile_file *f, const json_t *row, enum profile_list list) {
  const json_t *layer = json_object_get(row, "layer");
  struct profile_entry *e = &f->entry[f->n++];
  *e = (struct profile_entry){.list = list, .phase = string(row, "phase"), .stage = string(row, "stage"), .name = string(row, "name"),
                              .layer = json_is_integer(layer) ? json_integer_value(layer) : -1};
  f->by_layer = f->by_layer || layer;
  return *e->phase && (list < PROFILE_STAGES || *e->stage) && (list < PROFILE_KERNELS || *e->name) && read_times(row, &e->times);
}

static bool read_entries(struct profile_file *f, const char *path, struct profile_error *e) {
  size_t n = 0, i;
  for (int list = 0; list < PROFILE_LISTS; list++) n += json_array_size(json_object_get(f->root, profile_list_name[list]));
  f->entry = calloc(n + 1, sizeof *f->entry);
  if (!f->entry) {
    snprintf(e->text, sizeof e->text, "%s: out of memory for %zu rows", path, n);
    return false;
  }
  for (int list = 0; list < PROFILE_LISTS; list++) {
    const json_t *row;
    json_array_foreach(json_object_get(f->root, profile_list_name[list]), i, row) {
      if (read_entry(f, row, (enum profile_list)list)) continue;
      snprintf(e->text, sizeof e->text, "%s: %s[%zu] is not a row of a profile: expected phase, stage, name, units, unit_p10_ms, unit_p50_ms, unit_p90_ms",
               path, profile_list_name[list], i);
      return false;
    }
  }
  return true;
}

bool profile_read(struct profile_file *out, const char *path, struct profile_error *error) {
  *error = (struct profile_error){"", ""};
  json_t *root = load(path, error);
  *out = (struct profile_file){.root = root};
  if (!root || !check(root, path, error) || !read_entries(out, path, error)) {
    profile_file_free(out);
    return false;
  }
  out->model = string(root, "model");
  out->backend = string(root, "backend");
  out->device = string(root, "device");
  out->driver = string(root, "driver");
  out->policy = string(root, "policy");
  out->mode = string(root, "mode");
  out->prefill = json_integer_value(json_object_get(root, "prefill"));
  out->decode = json_integer_value(json_object_get(root, "decode"));
  return true;
}

void profile_file_free(struct profile_file *f) {
  free(f->entry);
  json_decref(f->root);
  *f = (struct profile_file){0};
}
