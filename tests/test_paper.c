/* The decode updates of LRQK against the published algorithm in float64: 8 steps after the factors of the prompt, their
 * proxies, bases, scores and selected sets (tests/data/factor_golden.bin). */
#include "paper_text.h"

#include "suite.h"   /* last: it has a macro named fail */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = SYNTH_D };

static const struct log no_log;

static const struct setup { const char *name, *mix; uint64_t seed; struct paper_setup c; } setups[] = {
  { "mha8", "mha.mix", 100, { 1, 256, 8, 32, 16, false, 1, 103, 104, 0 } },
  { "mha16", "mha.mix", 100, { 1, 256, 16, 32, 16, false, 1, 103, 104, 0 } },
  { "mha32", "mha.mix", 100, { 1, 256, 32, 32, 16, false, 1, 103, 104, 0 } },
  { "gqa", "gqa.mix", 200, { 3, 512, 16, 64, 16, false, 1, 203, 204, 0 } },
  { "group", "gqa.mix", 200, { 3, 512, 16, 64, 16, true, 0.5, 203, 204, 0 } },
};
enum { N_SETUPS = sizeof setups / sizeof setups[0], MHA16 = 1, GROUP = 4 };

struct text { struct paper_text p; struct synth s; const struct setup *c; };

static void open_text(struct text *t, const struct setup *c, bool narrow) {
  t->c = c;
  synth_make(&t->s, c->mix, c->seed, c->c.heads, c->c.n);
  paper_text_open(&t->p, &c->c, &t->s, narrow);
}

static void close_text(struct text *t) {
  paper_text_close(&t->p);
  synth_free(&t->s);
}

static const char *key_of(const struct text *t, const char *key) {
  static char text[64];
  snprintf(text, sizeof text, "%s.%s", t->c->name, key);
  return text;
}

static void check(double e, double limit, const struct text *t, const char *key) {
  ck_assert_msg(e < limit, "%s.%s at %u tokens: error %.3g, expected < %.3g", t->c->name, key, t->p.l, e, limit);
}

/* Sets after i steps, exactly, unless the last chosen and the first left out are as good as equal. */
static void check_hits(const struct text *t, uint32_t gap, uint32_t i, double margin) {
  uint32_t heads = t->p.f.heads, k = t->c->c.k;
  const int32_t *want = golden_i32(key_of(t, gap ? "hits1" : "hits0"), (SYNTH_STEPS + (size_t)1) * heads * k) + (size_t)i * heads * k;
  const double *margins = NULL;
  if (i && !t->c->c.group) margins = golden_f64(key_of(t, gap ? "margin1" : "margin0"), SYNTH_STEPS * heads) + (i - 1) * heads;
  for (uint32_t h = 0; h < heads; h++) {
    uint32_t same = 0;
    for (uint32_t a = 0; a < k; a++)
      for (uint32_t b = 0; b < k; b++) same += t->p.hits[h][a] == want[h * k + b];
    ck_assert_msg(same == k || (margins && margins[h] < margin && same >= k - 1), "%s head %u gap %u step %u: %u of %u chosen", t->c->name,
                  h, gap, i, same, k);
  }
}

/* factor: of proxies and scores; basis: of B. */
static void check_steps(struct text *t, uint32_t gap, double factor, double basis, double margin) {
  size_t heads = t->p.f.heads, g = t->p.o.g, r = t->p.o.r;
  check_hits(t, gap, 0, margin);
  for (uint32_t i = 0; i < SYNTH_STEPS; i++) {
    paper_text_step(&t->p, gap, false);
    ck_assert_uint_eq(t->p.done, 2);
    check_hits(t, gap, i + 1, margin);
    if (!gap) continue;
    size_t nq = heads * g * r, nk = heads * r;
    check(golden_error(t->p.qh, golden_f64(key_of(t, "hq"), SYNTH_STEPS * nq) + i * nq, nq), factor, t, "hq");
    check(golden_error(t->p.kh, golden_f64(key_of(t, "hk"), SYNTH_STEPS * nk) + i * nk, nk), factor, t, "hk");
  }
  if (!gap) return;
  check(golden_basis_error(key_of(t, "bq_end"), t->p.bq, heads * g * r), basis, t, "bq_end");
  check(golden_basis_error(key_of(t, "bk_end"), t->p.bk, heads * r), basis, t, "bk_end");
  uint32_t cand = t->p.l - 1 - t->c->c.lite + 1 - gap, kept = (cand + 7) / 8;
  double *some = calloc(heads * g * kept, sizeof *some);
  for (size_t i = 0; i < heads * g * kept; i++) some[i] = t->p.scores[i / kept * (t->s.n + SYNTH_STEPS) + i % kept * 8];
  check(golden_error(some, golden_f64(key_of(t, "scores"), heads * g * kept), heads * g * kept), factor, t, "scores");
  free(some);
}

START_TEST(published_decode_in_double) {
  for (uint32_t gap = 0; gap < 2; gap++) {
    if (!gap && setups[_i].c.group) continue;
    struct text t;
    open_text(&t, &setups[_i], false);
    check_steps(&t, gap, 1e-8, 1e-8, 1e-9);
    close_text(&t);
  }
}
END_TEST

START_TEST(published_decode_from_float_rows) {
  struct text t;
  open_text(&t, &setups[_i], true);
  check_steps(&t, 1, 1e-4, 1e-3, 1e-4);
  close_text(&t);
}
END_TEST

START_TEST(lists_of_their_own_or_shared) {
  struct text a, b;
  open_text(&a, &setups[GROUP], true);
  open_text(&b, &setups[GROUP], true);
  for (int i = 0; i < 2; i++) {
    paper_text_step(&a.p, 1, false);
    paper_text_step(&b.p, 1, true);
  }
  ck_assert_int_eq(memcmp(a.p.qh, b.p.qh, 3 * 16 * sizeof *a.p.qh), 0);
  ck_assert_int_eq(memcmp(a.p.bq, b.p.bq, 3 * 16 * D * sizeof *a.p.bq), 0);
  close_text(&a);
  close_text(&b);
}
END_TEST

START_TEST(a_frozen_basis_stays) {
  struct text a, b;
  open_text(&a, &setups[MHA16], true);
  open_text(&b, &setups[MHA16], true);
  b.p.o.freeze_basis = true;
  paper_text_step(&a.p, 1, false);
  paper_text_step(&b.p, 1, false);
  size_t area = 16 * D * sizeof *a.p.bq;
  ck_assert_int_eq(memcmp(a.p.qh, b.p.qh, 16 * sizeof *a.p.qh), 0);
  ck_assert(!memcmp(b.p.bq, b.p.f.bq, area) && !memcmp(b.p.bk, b.p.f.bk, area));
  ck_assert(memcmp(a.p.bq, a.p.f.bq, area) && memcmp(a.p.bk, a.p.f.bk, area));
  paper_text_step(&a.p, 1, false);
  paper_text_step(&b.p, 1, false);
  ck_assert(memcmp(a.p.qh, b.p.qh, 16 * sizeof *a.p.qh));
  close_text(&a);
  close_text(&b);
}
END_TEST

START_TEST(a_small_change_stops_the_iteration) {
  struct text t;
  open_text(&t, &setups[MHA16], true);
  t.p.o.iters = 50;
  t.p.o.tol = 1e300;
  paper_text_step(&t.p, 1, false);
  ck_assert_uint_eq(t.p.done, 1);
  t.p.o.tol = 1e-12;
  paper_text_step(&t.p, 1, false);
  ck_assert(t.p.done > 1 && t.p.done < 50);
  t.p.o.tol = 0;
  paper_text_step(&t.p, 1, false);
  ck_assert_uint_eq(t.p.done, 50);
  close_text(&t);
}
END_TEST

START_TEST(what_is_no_number_is_an_error) {
  struct paper_options o = { .d = 4, .r = 2, .g = 1, .iters = 2, .lambda = 1 };
  double q[4] = { 1, 2, 3, 4 }, k[4] = { 1, 0, 1, 0 }, oq[2] = { 0 }, oa[4] = { 0 }, qh[2], kh[2];
  double bq[8] = { 1, 0, 0, 0, 0, 1, 0, 0 }, bk[8] = { 0, 1, 0, 0, 0, 0, NAN, 0 }, work[64];
  struct paper_head h = { .q = q, .k = k, .oq = oq, .oa = oa, .bq = bq, .bk = bk, .qh = qh, .kh = kh };
  ck_assert_uint_le(paper_work(&o, 1), 64);
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_CHECK);
  bk[6] = 1;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_OK);
  q[1] = INFINITY;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_CHECK);
  o.iters = 0;
  ck_assert_int_eq(paper_step(&no_log, &o, &h, 1, work, NULL), LRQK_USAGE);
}
END_TEST

int main(void) {
  Suite *s = suite_create("paper");
  TCase *c = tcase_create("paper");
  tcase_set_timeout(c, 60);
  tcase_add_unchecked_fixture(c, NULL, golden_free);
  tcase_add_loop_test(c, published_decode_in_double, 0, N_SETUPS);
  tcase_add_loop_test(c, published_decode_from_float_rows, 0, N_SETUPS);
  tcase_add_test(c, lists_of_their_own_or_shared);
  tcase_add_test(c, a_frozen_basis_stays);
  tcase_add_test(c, a_small_change_stops_the_iteration);
  tcase_add_test(c, what_is_no_number_is_an_error);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
