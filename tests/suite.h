/* suite.h - the end of every test program: runs a suite of Check and tells how it went.  Include it last, as <check.h> itself,
 * which has a macro named fail. */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Owns the suite.  fork: CK_FORK_GETENV, or CK_NOFORK where a driver is open that does not survive a fork. */
static inline int suite_run(Suite *s, enum fork_status fork) {
  SRunner *r = srunner_create(s);
  srunner_set_fork_status(r, fork);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
