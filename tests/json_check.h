/* json_check.h - reads what the program wrote as JSON; fails the running test where something is missing. */
#ifndef TESTS_JSON_CHECK_H
#define TESTS_JSON_CHECK_H

#include <check.h>
#include <jansson.h>

static inline json_t *load(const char *name) {
  json_error_t error;
  json_t *root = json_load_file(name, JSON_REJECT_DUPLICATES, &error);
  ck_assert_msg(root, "%s: %s in line %d", name, error.text, error.line);
  return root;
}

static inline double number(const json_t *e, const char *key) {
  const json_t *v = json_object_get(e, key);
  ck_assert_msg(json_is_number(v), "an object without a number \"%s\"", key);
  return json_number_value(v);
}

static inline const char *string(const json_t *e, const char *key) {
  const char *s = json_string_value(json_object_get(e, key));
  ck_assert_msg(s, "an object without a string \"%s\"", key);
  return s;
}

#endif
