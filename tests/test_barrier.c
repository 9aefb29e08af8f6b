/* Which commands need a barrier between them: ranges of buffers that one writes and another uses (device/barrier.h).  No device is
 * opened. */
#include "device/barrier.h"
#include "suite.h"

static struct hazard_use use(const struct buffer *b, uint64_t offset, uint64_t size, enum access access) {
  return (struct hazard_use){ { b, offset, size }, access };
}

START_TEST(hazards_need_barriers) {
  static struct buffer a, b;
  static const struct { enum access first, then; bool barrier; } cases[] = {
    { ACCESS_READ, ACCESS_READ, false }, { ACCESS_WRITE, ACCESS_READ, true }, { ACCESS_READ, ACCESS_WRITE, true },
    { ACCESS_WRITE, ACCESS_WRITE, true }, { ACCESS_READ_WRITE, ACCESS_READ, true }, { ACCESS_READ, ACCESS_READ_WRITE, true },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct hazards h = { 0 };
    struct hazard_use first = use(&a, 100, 100, cases[i].first), same = use(&a, 150, 10, cases[i].then);
    struct hazard_use after = use(&a, 200, 100, cases[i].then), before = use(&a, 0, 100, cases[i].then);
    struct hazard_use other = use(&b, 100, 100, cases[i].then);
    ck_assert(!hazards_use(&h, &first, 1));
    ck_assert(!hazards_use(&h, &after, 1));
    ck_assert(!hazards_use(&h, &before, 1));
    ck_assert(!hazards_use(&h, &other, 1));
    ck_assert_int_eq(hazards_use(&h, &same, 1), cases[i].barrier);
    hazards_clear(&h);
    ck_assert(!hazards_use(&h, &same, 1));
  }
  /* After a barrier only the command that caused it is pending. */
  struct hazards h = { 0 };
  struct hazard_use w = use(&a, 0, 8, ACCESS_WRITE), r = use(&a, 4, 8, ACCESS_READ);
  struct hazard_use w2 = use(&a, 0, 4, ACCESS_WRITE), w3 = use(&a, 8, 4, ACCESS_WRITE);
  ck_assert(!hazards_use(&h, &w, 1));
  ck_assert(hazards_use(&h, &r, 1));
  ck_assert(!hazards_use(&h, &w2, 1));
  ck_assert(hazards_use(&h, &w3, 1));
  /* The uses of one command do not conflict among themselves. */
  hazards_clear(&h);
  ck_assert(!hazards_use(&h, (struct hazard_use[]){ w, r }, 2));
}
END_TEST

START_TEST(full_hazard_lists_are_a_barrier) {
  static struct buffer a;
  for (int write = 0; write < 2; write++) {
    enum access access = write ? ACCESS_WRITE : ACCESS_READ;
    struct hazards h = { 0 };
    for (uint64_t i = 0; i < HAZARD_RANGES; i++) {
      struct hazard_use gap = use(&a, i * 100, 50, access);
      ck_assert(!hazards_use(&h, &gap, 1));
    }
    struct hazard_use next = use(&a, 100000, 4, access), old = use(&a, 0, 50, ACCESS_WRITE), last = use(&a, 100000, 4, ACCESS_WRITE);
    ck_assert(hazards_use(&h, &next, 1));
    ck_assert(!hazards_use(&h, &old, 1));
    ck_assert(hazards_use(&h, &last, 1));
    hazards_clear(&h);
    for (uint64_t i = 0; i < 1000; i++) {   /* neighbours are joined */
      struct hazard_use page = use(&a, i * 16, 16, access);
      ck_assert(!hazards_use(&h, &page, 1));
    }
    struct hazard_use middle = use(&a, 8000, 4, ACCESS_WRITE);
    ck_assert(hazards_use(&h, &middle, 1));
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("barrier");
  TCase *c = tcase_create("hazards");
  tcase_add_test(c, hazards_need_barriers);
  tcase_add_test(c, full_hazard_lists_are_a_barrier);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
