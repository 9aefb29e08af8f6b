/* src/jinja against jinja2 (tests/data/jinja: templates and golden.txt, made by tools/reference/make_jinja_golden.py), and
 * what that file cannot hold: origins of bytes, messages of errors, bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "jinja/jinja.h"
#include "token_check.h"
#include "suite.h"

static struct messages msg;
static struct log logger = { remember, &msg };

static void setup(void) { msg = (struct messages){ 0 }; }

/* ---- golden.txt: lines "word NUMBER" with NUMBER bytes behind some of them ---- */

struct golden {
  char name[64];
  char *template, *output;           /* output NULL: jinja2 refuses it; template: that of the case before, if it has none */
  size_t n_template, n_output, n_msg;
  struct jinja_message msg[16];
  bool prompt;
};

static char *bytes(FILE *f, size_t n) {
  char *p = malloc(n + 1);
  ck_assert_ptr_nonnull(p);
  ck_assert_uint_eq(fread(p, 1, n, f), n);
  p[n] = 0;
  ck_assert_int_eq(fgetc(f), '\n');
  return p;
}

static bool read_golden(FILE *f, struct golden *g) {
  char word[16], role[16];
  int prompt;
  *g = (struct golden){ .template = g->template, .n_template = g->n_template };
  if (fscanf(f, "case %63s prompt %d\n", g->name, &prompt) != 2) return false;
  g->prompt = prompt;
  for (;;) {
    size_t n = 0;
    ck_assert_int_eq(fscanf(f, "%15s", word), 1);
    if (!strcmp(word, "message")) {
      ck_assert_int_eq(fscanf(f, " %15s %zu%*1[\n]", role, &n), 2);
      ck_assert_uint_lt(g->n_msg, 16);
      g->msg[g->n_msg++] = (struct jinja_message){ strdup(role), bytes(f, n), n, JINJA_MESSAGE };
      continue;
    }
    if (!strcmp(word, "error")) {
      ck_assert_int_eq(fgetc(f), '\n');
      return true;
    }
    ck_assert_int_eq(fscanf(f, " %zu%*1[\n]", &n), 1);
    if (!strcmp(word, "template")) {
      free(g->template);
      g->template = bytes(f, n);
      g->n_template = n;
    } else {
      ck_assert_str_eq(word, "output");
      g->output = bytes(f, n);
      g->n_output = n;
      return true;
    }
  }
}

static void free_golden(struct golden *g) {
  for (size_t i = 0; i < g->n_msg; i++) {
    free((char *)g->msg[i].role);
    free((char *)g->msg[i].content);
  }
  free(g->output);
}

static enum lrqk_status render(const char *text, size_t len, const struct jinja_message *m, size_t n, bool prompt,
    struct jinja_output *out) {
  struct jinja *j;
  struct jinja_input in = { .msg = m, .n_msg = n, .add_generation_prompt = prompt, .bos = "<s>", .eos = "</s>", .now = 0 };
  TRY(jinja_parse(&j, &logger, "t", text, len));
  enum lrqk_status s = jinja_render(j, &in, out);
  jinja_free(j);
  return s;
}

/* The text of messages stands in the output as it was given: bytes that come from them are theirs. */
START_TEST(as_jinja2) {
  const char *path = getenv("LRQK_TEST_JINJA");
  FILE *f = fopen(path ? path : TEST_DATA "/jinja/golden.txt", "rb");
  ck_assert_ptr_nonnull(f);
  struct golden g = { .template = NULL };
  int n = 0, wrong = 0;
  for (; read_golden(f, &g); n++, free_golden(&g)) {
    struct jinja_output out = { 0 };
    setup();
    enum lrqk_status s = render(g.template, g.n_template, g.msg, g.n_msg, g.prompt, &out);
    bool same = g.output ? s == LRQK_OK && out.len == g.n_output && !memcmp(out.s, g.output, out.len) : s == LRQK_USAGE;
    if (!same) {
      wrong++;
      fprintf(stderr, "%s: found %.*s (%s)\nexpected %s\n", g.name, (int)out.len, out.s ? out.s : "", msg.last[LRQK_LOG_ERROR],
              g.output ? g.output : "a refusal");
    }
    if (s == LRQK_OK) { mem_free(out.s); mem_free(out.origin); }
  }
  ck_assert_msg(feof(f), "golden.txt: case %d cannot be read", n);
  fclose(f);
  free(g.template);
  ck_assert_int_ge(n, 300);
  ck_assert_msg(!wrong, "%d of %d cases differ", wrong, n);
}
END_TEST

/* ---- errors: line and reason ---- */

static const struct { const char *text, *says; } wrong[] = {
  { "a\n{{ x }", "t: line 2: unexpected }" },
  { "{{ x", "line 1: {{ has no end" },
  { "a\n\n{% if x %}b", "line 3: the block that begins here has no {% endif %}" },
  { "{% for x in y %}", "has no {% endfor %}" },
  { "{# no end", "a comment {# has no end" },
  { "{% raw %}x", "{% raw %} has no end" },
  { "\n{% endif %}", "line 2: the statement {% endif %} is not covered" },
  { "{% include 'x' %}", "the statement {% include %} is not covered" },
  { "{% call m() %}", "the statement {% call %} is not covered" },
  { "{% for x in y recursive %}", "recursive loops are not covered" },
  { "{% break %}", "break outside of a loop" },
  { "{% for x in y %}{% macro m() %}{% break %}", "break outside of a loop" },
  { "{{ f(*x) }}", "arguments with * are not covered" },
  { "{{ f(a=1, 2) }}", "an argument without a name" },
  { "{{ 1 2 }}", "found a number, expected }}" },
  { "{{ 'a }}", "a string has no end" },
  { "{{ '\\ud800' }}", "a string has a wrong escape" },
  { "{{ a. }}", "found }}, expected a name" },
  { "{{ a[] }}", "found ], expected an expression" },
  { "{{ a[1:2:3:4] }}", "found :, expected ]" },
  { "{{ (1] }}", "unexpected ]" },
  { "{{ 0x10 }}", "numbers like 0x... are not covered" },
  { "{{ 12345678901234567890 }}", "is too long" },
  { "{{ ? }}", "unexpected ?" },
  { "{{ a | }}", "found }}, expected the name of a filter" },
  { "{{ a is }}", "found }}, expected the name of a test" },
  { "{{ a not b }}", "found b, expected in" },
  { "{% set 1 = 2 %}", "found a number, expected a name" },
  { "{% set x | upper %}", "blocks with a filter are not covered" },
};

START_TEST(wrong_templates_are_refused) {
  struct jinja *j = NULL;
  ck_assert_int_eq(jinja_parse(&j, &logger, "t", wrong[_i].text, strlen(wrong[_i].text)), LRQK_USAGE);
  ck_assert_ptr_null(j);
  ck_assert_int_eq(msg.n[LRQK_LOG_ERROR], 1);
  ck_assert_msg(strstr(msg.last[LRQK_LOG_ERROR], wrong[_i].says) != NULL,
                "found \"%s\", expected \"%s\"", msg.last[LRQK_LOG_ERROR], wrong[_i].says);
}
END_TEST

static const struct { const char *text, *says; } failing[] = {
  { "a\n{{ x.y }}", "t: line 2: x is undefined" },
  { "{{\n\nraise_exception('why ' ~ 1) }}", "line 3: the template refuses the messages: why 1" },
  { "{{ 'a' | nothing }}", "the filter nothing is not covered" },
  { "{{ 'a' is nothing }}", "the test nothing is not covered" },
  { "{{ 'a'.nothing() }}", "the method nothing of a text is not covered" },
  { "{{ [].append(1) }}", "append changes a list" },
  { "{{ {}.update(1) }}", "the method update of a dict is not covered" },
  { "{{ 'a' | upper(1) }}", "upper: 1 argument, at most 0 are covered" },
  { "{{ 'a' | indent(wide=1) }}", "indent: the argument wide is not covered" },
  { "{{ 'a' + 1 }}", "a text + an integer has no meaning" },
  { "{{ '%s' % 1 }}", "% of a text is not covered" },
  { "{{ 'x' < 1 }}", "a text and an integer have no order" },
  { "{{ '\xc3\xa9' | upper }}", "upper of letters beyond ASCII is not covered" },
  { "{{ 9223372036854775807 + 1 }}", "is too long" },
  { "{{ 999999999999999999 * 999 }}", "an integer is beyond 64 bits" },
  { "{% set a.b = 1 %}", "a is no namespace" },
  { "{% set a, b = [1] %}", "1 values for" },
  { "{{ strftime_now('%Y') }}", "the template asks for a date, none was given" },
  { "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "the macro m does not take these arguments" },
  { "{{ namespace }}", "the text of a function is not covered" },
};

START_TEST(failing_renderings_say_where) {
  struct jinja_output out = { 0 };
  ck_assert_int_eq(render(failing[_i].text, strlen(failing[_i].text), NULL, 0, true, &out), LRQK_USAGE);
  ck_assert_ptr_null(out.s);
  ck_assert_int_eq(msg.n[LRQK_LOG_ERROR], 1);
  ck_assert_msg(strstr(msg.last[LRQK_LOG_ERROR], failing[_i].says) != NULL,
                "found \"%s\", expected \"%s\"", msg.last[LRQK_LOG_ERROR], failing[_i].says);
}
END_TEST

/* ---- bounds ---- */

static const struct { const char *head, *unit; int n; const char *tail, *says; } greedy[] = {
  { "{% set l = range(5000) %}{% for a in l %}", "{% for b in l %}", 1, "{% endfor %}{% endfor %}", "20000000 steps" },
  { "{{ range(1000000000000) | length }}", "", 0, "", "of memory" },
  { "{% set s = 'xxxxxxxx' * 1000000 %}", "{% set s = s + s %}", 30, "", "of memory" },
  { "{{ 'xxxxxxxx' * 999999999999 }}", "", 0, "", "" },
  { "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "", 0, "", "nested too deeply" },
  { "{{ ", "(", 1000, "1", "levels of nesting" },
  { "{{ ", "[)", 1000, "", "unexpected )" },
  { "{{ ", "not ", 1000, "1 }}", "levels of nesting" },
  { "{{ ", "-", 1000, "1 }}", "levels of nesting" },
  { "", "{% if 1 %}", 1000, "", "levels of nesting" },
  { "{{ a", ".a", 1000, "}}", "levels of nesting" },
  { "{{ 1", " if 1 else 1", 1000, "}}", "levels of nesting" },
  { "{{ 1", " or 0 and 1", 1000, "}}", "nested too deeply" },
  { "{% set x = [] %}", "{% set x = [x] %}", 200, "{{ x }}", "levels" },
};

START_TEST(renderings_are_bounded) {
  char *text = calloc(1, 64 * 1024);
  ck_assert_ptr_nonnull(text);
  strcpy(text, greedy[_i].head);
  char *p = text + strlen(text);
  for (int i = 0; i < greedy[_i].n; i++) p = stpcpy(p, greedy[_i].unit);
  strcpy(p, greedy[_i].tail);
  struct jinja_output out = { 0 };
  ck_assert_int_eq(render(text, strlen(text), NULL, 0, true, &out), LRQK_USAGE);
  ck_assert_msg(strstr(msg.last[LRQK_LOG_ERROR], greedy[_i].says) != NULL,
                "found \"%s\", expected \"%s\"", msg.last[LRQK_LOG_ERROR], greedy[_i].says);
  free(text);
}
END_TEST

START_TEST(long_sums_of_text_are_fine) {
  enum { N = 5000 };
  char *text = calloc(1, 16 * N);
  ck_assert_ptr_nonnull(text);
  char *p = stpcpy(text, "{{ 'x'");
  for (int i = 1; i < N; i++) p = stpcpy(p, " + 'x'");
  strcpy(p, " }}");
  struct jinja_output out = { 0 };
  ck_assert_int_eq(render(text, strlen(text), NULL, 0, true, &out), LRQK_OK);
  ck_assert_uint_eq(out.len, N);
  mem_free(out.s);
  mem_free(out.origin);
  free(text);
}
END_TEST

START_TEST(too_long_a_template_is_refused) {
  char *text = malloc(2 << 20);
  struct jinja *j;
  ck_assert_ptr_nonnull(text);
  memset(text, 'x', 2 << 20);
  ck_assert_int_eq(jinja_parse(&j, &logger, "t", text, 2 << 20), LRQK_USAGE);
  free(text);
}
END_TEST

/* ---- origins ---- */

/* Bytes of the output by where they come from: t template, m message, a marked message. */
static const struct { const char *text, *want, *origin; } origins[] = {
  { "a{{ messages[0].content }}b", "aUuUb", "tmmmt" },
  { "{{ '<' + messages[0].content ~ '>' }}", "<UuU>", "tmmmt" },
  { "{{ messages[0].content[1:] + messages[1].content }}", "uUA", "mma" },
  { "{{ messages[0].content | replace('u', '<x>') }}", "U<x>U", "mtttm" },
  { "{{ messages[0].content | upper }}{{ messages[0].role }}", "UUUuser", "mmmtttt" },
  { "{{ messages[0].content.split('u') | join('--') }}", "U--U", "mttm" },
  { "{{ messages | map(attribute='content') | list | tojson }}", "[\"UuU\", \"A\"]", "ttmmmttttatt" },
  { "{{ [messages[1].content] }}", "['A']", "ttatt" },
  { "{% set x %}[{{ messages[1].content }}]{% endset %}{{ x * 2 }}", "[A][A]", "tattat" },
  { "{% macro m(y) %}<{{ y }}>{% endmacro %}{{ m(messages[0].content) | trim('<') }}", "UuU>", "mmmt" },
  { "{% for c in messages[0].content %}{{ c }}.{% endfor %}", "U.u.U.", "mtmtmt" },
  { "{{ messages[0].content | reverse }}{{ '%s' if messages[0].content == 'UuU' }}", "UuU%s", "mmmtt" },
};

START_TEST(bytes_know_where_they_come_from) {
  static const struct jinja_message m[] = { { "user", "UuU", 3, JINJA_MESSAGE }, { "assistant", "A", 1, JINJA_MARKED } };
  struct jinja_output out = { 0 };
  char origin[64];
  ck_assert_int_eq(render(origins[_i].text, strlen(origins[_i].text), m, 2, true, &out), LRQK_OK);
  ck_assert_uint_eq(out.len, strlen(origins[_i].want));
  ck_assert_mem_eq(out.s, origins[_i].want, out.len);
  for (size_t i = 0; i < out.len; i++) origin[i] = "tma"[out.origin[i]];
  ck_assert_msg(!memcmp(origin, origins[_i].origin, out.len), "%s: found %.*s, expected %s", origins[_i].want, (int)out.len, origin,
                origins[_i].origin);
  mem_free(out.s);
  mem_free(out.origin);
}
END_TEST

START_TEST(the_clock) {
  static const char text[] = "{{ strftime_now is defined }} {{ strftime_now('%Y-%m-%d') }}";
  struct jinja *j;
  struct jinja_output out;
  setenv("TZ", "UTC", 1);
  ck_assert_int_eq(jinja_parse(&j, &logger, "t", text, strlen(text)), LRQK_OK);
  ck_assert_int_eq(jinja_render(j, &(struct jinja_input){ .now = 86400 * 366 }, &out), LRQK_OK);
  ck_assert_uint_eq(out.len, 16);
  ck_assert_mem_eq(out.s, "False 1971-01-02", 16);
  mem_free(out.s);
  mem_free(out.origin);
  jinja_free(j);
}
END_TEST

int main(void) {
  Suite *s = suite_create("jinja");
  TCase *t = tcase_create("templates");
  tcase_add_checked_fixture(t, setup, NULL);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, as_jinja2);
  tcase_add_loop_test(t, wrong_templates_are_refused, 0, sizeof wrong / sizeof *wrong);
  tcase_add_loop_test(t, failing_renderings_say_where, 0, sizeof failing / sizeof *failing);
  tcase_add_loop_test(t, renderings_are_bounded, 0, sizeof greedy / sizeof *greedy);
  tcase_add_test(t, long_sums_of_text_are_fine);
  tcase_add_test(t, too_long_a_template_is_refused);
  tcase_add_loop_test(t, bytes_know_where_they_come_from, 0, sizeof origins / sizeof *origins);
  tcase_add_test(t, the_clock);
  suite_add_tcase(s, t);
  return suite_run(s, CK_FORK_GETENV);
}
