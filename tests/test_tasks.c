/* test_tasks.c - the prompts of `lrqk eval` (tools/cli/tasks.c): that what is asked stands in the text where it is said to
 * stand, that prompts depend on nothing but the recipe, and how answers are scored. */
#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks.h"

static const char text[] = "  One two three.  \xe2\x80\x9c" "Four\nfive!\xe2\x80\x9d Six seven \t eight? Nine ten";

static struct filler make_filler(void) {
  struct filler f;
  ck_assert(filler_split(&f, text, sizeof text - 1));
  return f;
}

START_TEST(sentences) {
  static const char *const want[] = {"One two three.", "\xe2\x80\x9c" "Four five!\xe2\x80\x9d", "Six seven eight?", "Nine ten"};
  struct filler f = make_filler();
  ck_assert_uint_eq(f.n, 4);
  for (size_t i = 0; i < f.n; i++) {
    const char *s = f.text.s + f.at[i];
    ck_assert_int_eq(strncmp(s, want[i], strlen(want[i])), 0);
    ck_assert_uint_eq((size_t)(s - f.text.s) + strlen(want[i]), f.at[i + 1]);
  }
  filler_free(&f);
  ck_assert(filler_split(&f, " \n", 2));
  ck_assert_uint_eq(f.n, 0);
  filler_free(&f);
}
END_TEST

/* Text without stops is cut at blanks all the same. */
START_TEST(no_stops) {
  char s[4000];
  struct filler f;
  for (size_t i = 0; i < sizeof s; i++) s[i] = i % 5 == 4 ? ' ' : 'x';
  ck_assert(filler_split(&f, s, sizeof s));
  ck_assert_uint_ge(f.n, 9);
  for (size_t i = 0; i < f.n; i++) ck_assert_uint_le(f.at[i + 1] - f.at[i], 410);
  filler_free(&f);
}
END_TEST

static size_t count(const char *s, const char *word) {
  size_t n = 0;
  for (; (s = strstr(s, word)); s += strlen(word)) n++;
  return n;
}

START_TEST(numbers_stand_in_the_text) {
  struct filler f = make_filler();
  for (const struct task *t = tasks; t->name; t++) {
    struct recipe r = {.filler = &f, .seed = 5, .length = 4000, .depths = 7, .units = 200};
    struct prompt p = {0};
    if (!t->number) continue;
    task_build(t, &r, &p);
    ck_assert(!p.body.failed);
    ck_assert_uint_eq(p.n_q, 7);
    for (size_t j = 0; j < p.n_q; j++) {
      char line[600];
      snprintf(line, sizeof line, "%s %s.", p.q[j].lead, p.q[j].expect);
      ck_assert_uint_eq(count(p.body.s, line), 1);
      ck_assert_uint_eq(count(p.body.s, p.q[j].expect), 1);
      double at = (double)(strstr(p.body.s, line) - p.body.s) / (double)p.body.len;
      ck_assert_double_eq_tol(at, p.q[j].depth, 0.06);
    }
    text_free(&p.body);
  }
  filler_free(&f);
}
END_TEST

START_TEST(common_words_are_common) {
  const struct task *t = task_find("common-words");
  for (size_t units = 61; units < 3000; units = units * 3 / 2) {
    struct recipe r = {.length = units, .depths = 1, .units = units};
    struct prompt p = {0};
    task_build(t, &r, &p);
    ck_assert(!p.body.failed);
    const char *s = p.q[0].expect;
    size_t words = 0, least = SIZE_MAX;
    for (; *s; words++) {
      char word[40];
      size_t len = strcspn(s, " ");
      snprintf(word, sizeof word, ". %.*s ", (int)len, s);
      size_t n = count(p.body.s, word);
      if (n < least) least = n;
      s += len + (s[len] == ' ');
    }
    ck_assert_uint_eq(words, 10);
    ck_assert_uint_ge(least + 1, units / 20);   /* the last word of the list has no blank behind it */
    text_free(&p.body);
  }
}
END_TEST

START_TEST(chains_lead_to_the_value) {
  const struct task *t = task_find("variable-tracking");
  struct filler f = make_filler();
  for (uint64_t sample = 0; sample < 50; sample++) {
    struct recipe r = {.filler = &f, .length = 500, .depths = 1, .units = 20 + sample, .sample = sample};
    struct prompt p = {0};
    task_build(t, &r, &p);
    ck_assert_uint_eq(p.n_q, 2);
    ck_assert_uint_eq(count(p.body.s, "VAR "), 2 + 2 * 8);
    for (size_t j = 0; j < 2; j++) {
      char before[8] = "", line[40];
      const char *s = p.q[j].expect, *at = p.body.s;
      for (int i = 0; i < 5; i++, s += 5 + (s[5] == ' ')) {
        if (i) snprintf(line, sizeof line, "VAR %.5s = VAR %s.", s, before);
        else snprintf(line, sizeof line, "VAR %.5s = %.5s.", s, strstr(p.q[j].ask, "value ") + 6);
        at = strstr(at, line);   /* and each after the one before */
        ck_assert_ptr_nonnull(at);
        snprintf(before, sizeof before, "%.5s", s);
      }
      ck_assert(!*s);
    }
    text_free(&p.body);
  }
  filler_free(&f);
}
END_TEST

START_TEST(recipes) {
  struct filler f = make_filler();
  for (const struct task *t = tasks; t->name; t++) {
    struct recipe r = {.filler = &f, .seed = 1, .length = 600, .depths = 3, .units = 80};
    struct prompt a = {0}, b = {0};
    task_build(t, &r, &a);
    task_build(t, &r, &b);
    ck_assert_str_eq(a.body.s, b.body.s);
    ck_assert_str_eq(a.q[0].expect, b.q[0].expect);
    for (int i = 0; i < 3; i++) {
      struct recipe other = r;
      *(i == 0 ? &other.seed : i == 1 ? &other.length : &other.sample) += 1;
      task_build(t, &other, &b);
      ck_assert_str_ne(a.body.s, b.body.s);
      ck_assert_str_ne(a.q[0].expect, b.q[0].expect);
    }
    text_free(&a.body);
    text_free(&b.body);
  }
  filler_free(&f);
}
END_TEST

START_TEST(number_scores) {
  static const struct { const char *answer; unsigned right; bool exact, ended; } cases[] = {
    {" 1234567.", 7, true, true}, {" 1234567", 7, true, false}, {"It is 1234567, not 7", 7, true, true}, {" 12345678", 7, false, true},
    {" 123", 3, false, false}, {" 1934567 ", 6, false, true}, {" 2345678 ", 0, false, true}, {"", 0, false, false},
    {"none.", 0, false, false},
  };
  const struct task *t = task_find("needle");
  struct question q = {.expect = "1234567"};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t right, of;
    task_score(t, &q, cases[i].answer, &right, &of);
    ck_assert_uint_eq(right, cases[i].right);
    ck_assert_uint_eq(of, 7);
    ck_assert_int_eq(task_exact(t, &q, cases[i].answer), cases[i].exact);
    ck_assert_int_eq(task_answered(t, &q, cases[i].answer), cases[i].ended);
  }
}
END_TEST

START_TEST(word_scores) {
  static const struct { const char *answer; unsigned right; } cases[] = {
    {"1. apple 2. river 3. stone", 3}, {"Apple, RIVER and stone-age", 2}, {"pineapple rivers", 0}, {"", 0}, {"stone", 1},
    {"stone stone stone", 1},
  };
  const struct task *t = task_find("common-words");
  struct question q = {.expect = "river apple stone"};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t right, of;
    task_score(t, &q, cases[i].answer, &right, &of);
    ck_assert_uint_eq(right, cases[i].right);
    ck_assert_uint_eq(of, 3);
    ck_assert_int_eq(task_exact(t, &q, cases[i].answer), right == 3);
    ck_assert(!task_answered(t, &q, cases[i].answer));
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("tasks");
  TCase *c = tcase_create("all");
  suite_add_tcase(s, c);
  tcase_add_test(c, sentences);
  tcase_add_test(c, no_stops);
  tcase_add_test(c, numbers_stand_in_the_text);
  tcase_add_test(c, common_words_are_common);
  tcase_add_test(c, chains_lead_to_the_value);
  tcase_add_test(c, recipes);
  tcase_add_test(c, number_scores);
  tcase_add_test(c, word_scores);
  return suite_run(s, CK_FORK_GETENV);
}
