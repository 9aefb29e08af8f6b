/* cmd_bench.c - `lrqk bench`: how fast prompts are read and tokens decoded, at a depth, under each attention policy.
 * A time is printed only for what was checked in the same run: every test runs once untimed, and each timed repetition goes
 * back to the same state and must give the same logits, bit for bit; active rows must equal the host's; and lrqk with all
 * tokens active must give what full gave. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_kernels.h"
#include "cmd.h"
#include "input.h"
#include "policies.h"
#include "work.h"

enum { MAX_TESTS = 2 * BENCH_LIST };
static const double ALL_ACTIVE = 1e-6;   /* NMSE of logits against full's after one step: sums in another order.  Later steps get rows that were rounded otherwise. */

struct test { uint64_t prompt, gen; float *full; };   /* full: [n_vocab] logits of the first step under policy full at this depth, or NULL */

struct bench {
  struct ui *u;
  const struct options *o;
  struct work w;
  struct policy policy[MAX_POLICIES];
  struct test test[MAX_TESTS];
  uint64_t depth[BENCH_LIST], longest;
  size_t n_policies, n_tests, n_depths, reps;
  bool synthetic;
  int32_t *ids;              /* tokens of depth, prompt and decode: a text's, or random ones */
  size_t n_ids;
  uint64_t *print;           /* [steps] fingerprints of the untimed run's logits */
  float *first;              /* [n_vocab] its logits after the first step */
  struct bench_row *rows;
  size_t n_rows;
  struct kernel_log kernels; /* --kernels */
  struct lrqk_ceilings ceilings;
};

/* FNV-1a over words. */
static uint64_t fingerprint(const float *x, uint32_t n) {
  uint64_t h = 0xcbf29ce484222325u;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t word;
    memcpy(&word, &x[i], 4);
    h = (h ^ word) * 0x100000001b3u;
  }
  return h;
}

static int32_t id_at(const struct bench *b, uint64_t i) { return b->ids[i % b->n_ids]; }

/* ---- one run of a test: rep < 0 is the untimed one ---------------------------------------------------------- */

static int check_step(struct bench *b, const struct bench_row *r, uint64_t step, bool timed) {
  const float *x = lrqk_session_logits(b->w.session);
  uint32_t n = b->w.info.n_vocab;
  for (uint32_t i = 0; i < n; i++)
    if (!isfinite(x[i]))
      return ui_fail(b->u, LRQK_CHECK, "%.*s: the logits of step %llu are not finite", (int)r->policy_len, r->policy, (unsigned long long)step);
  uint64_t h = fingerprint(x, n);
  if (!timed && !step) memcpy(b->first, x, n * sizeof *x);
  if (!timed) b->print[step] = h;
  else if (b->print[step] != h)
    return ui_fail(b->u, LRQK_CHECK, "%.*s: the logits of step %llu differ between two runs", (int)r->policy_len, r->policy,
                   (unsigned long long)step);
  return 0;
}

static int run_prompt(struct bench *b, struct bench_row *r, double *wall, double *cpu, bool timed) {
  int32_t *ids = malloc((size_t)r->n_prompt * sizeof *ids);
  if (!ids) return ui_fail(b->u, LRQK_MEMORY, "out of memory for %llu tokens", (unsigned long long)r->n_prompt);
  for (uint64_t i = 0; i < r->n_prompt; i++) ids[i] = id_at(b, r->n_depth + i);
  double c = ui_cpu_now(), t = ui_now();
  int code = (int)lrqk_session_prefill(b->w.session, ids, (size_t)r->n_prompt, 0, NULL, NULL);
  *wall = ui_now() - t;
  *cpu = ui_cpu_now() - c;
  free(ids);
  return code ? code : check_step(b, r, 0, timed);
}

static int run_decode(struct bench *b, struct bench_row *r, double *wall, double *cpu, bool timed) {
  int code = 0;
  *wall = *cpu = 0;
  for (uint64_t i = 0; i < r->n_gen && !code; i++) {
    double c = ui_cpu_now(), t = ui_now();
    code = ui_interrupted() ? LRQK_INTERRUPTED : (int)lrqk_session_decode(b->w.session, id_at(b, r->n_depth + i));
    *wall += ui_now() - t;
    *cpu += ui_cpu_now() - c;
    if (!code) code = check_step(b, r, i, timed);
  }
  return code;
}

static int run(struct bench *b, struct bench_row *r, double *wall, double *cpu, bool timed) {
  return r->n_prompt ? run_prompt(b, r, wall, cpu, timed) : run_decode(b, r, wall, cpu, timed);
}

/* ---- checks after the runs ---------------------------------------------------------------------------------- */

static bool is_full(const struct policy *p) { return p->cache.policy == LRQK_POLICY_FULL; }

/* Whether nothing is left out of attention: the result is full's. */
static bool all_active(const struct bench_row *r, const struct policy *p) {
  return p->cache.policy == LRQK_POLICY_OFFLOAD || r->n_prompt ||
         r->n_depth + r->n_gen <= (uint64_t)p->cache.active + p->cache.lite;
}

static double nmse(const float *x, const float *full, uint32_t n) {
  double err = 0, sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    err += ((double)x[i] - full[i]) * ((double)x[i] - full[i]);
    sum += (double)full[i] * full[i];
  }
  return err / sum;
}

static int check_all(struct bench *b, struct bench_row *r, const struct policy *p, struct test *test) {
  uint32_t n = b->w.info.n_vocab;
  uint64_t differing = 0;
  int code = (int)lrqk_session_verify(b->w.session, &differing);
  if (!code && differing)
    code = ui_fail(b->u, LRQK_CHECK, "%.*s: %llu bytes of the active rows differ from the host cache", (int)p->len, p->text,
                   (unsigned long long)differing);
  if (!code) code = (int)lrqk_session_verify_choice(b->w.session, &r->choice);
  if (!code && r->choice.wrong)
    code = ui_fail(b->u, LRQK_CHECK, "%.*s: %llu of %llu tokens were not chosen as their scores demand", (int)p->len, p->text,
                   (unsigned long long)r->choice.wrong, (unsigned long long)r->choice.chosen);
  r->check = p->cache.policy != LRQK_POLICY_LRQK ? "runs equal" : r->choice.chosen ? "runs, rows, choice equal" : "runs, rows equal";
  if (code) return code;
  if (is_full(p) && !test->full) {
    test->full = malloc(n * sizeof *test->full);
    if (!test->full) return ui_fail(b->u, LRQK_MEMORY, "out of memory for %u logits", n);
    memcpy(test->full, b->first, n * sizeof *b->first);
  } else if (test->full && all_active(r, p)) {
    double e = nmse(b->first, test->full, n);
    if (!(e <= ALL_ACTIVE))
      return ui_fail(b->u, LRQK_CHECK, "%.*s: all tokens are active, but the logits differ from full's (NMSE %.3g)", (int)p->len, p->text, e);
    r->check = "runs equal, as full";
  }
  return 0;
}

/* ---- one row ------------------------------------------------------------------------------------------------ */

/* With --kernels a barrier stands before and after every kernel of the timed runs. */
static int watch_kernels(struct bench *b, bool on) {
  const struct lrqk_profile_options opt = {.fn = kernel_log_add, .ud = &b->kernels, .every = 1, .serial = true};
  b->kernels.test = b->n_rows - 1;
  return b->o->kernels ? (int)lrqk_session_profile(b->w.session, on ? &opt : NULL) : 0;
}

static int measure(struct bench *b, struct bench_row *r, const struct policy *p, struct test *test) {
  struct lrqk_cache_stats before;
  double wall, cpu;
  char label[96];
  snprintf(label, sizeof label, "%s%llu, %.*s", r->n_prompt ? "pp" : "tg", (unsigned long long)(r->n_prompt ? r->n_prompt : r->n_gen),
           (int)(p->len < 60 ? p->len : 60), p->text);
  b->u->label = label;
  int code = run(b, r, &wall, &cpu, false);
  if (!code) code = (int)lrqk_session_stats(b->w.session, &before);
  if (!code) code = watch_kernels(b, true);
  for (size_t i = 0; i < b->reps && !code; i++) {
    code = (int)lrqk_session_rewind(b->w.session);
    if (!code) code = run(b, r, &r->wall[i], &r->cpu[i], true);
  }
  if (!code) code = watch_kernels(b, false);
  if (!code) code = (int)lrqk_session_stats(b->w.session, &r->stats);
  r->stats.decoded -= code ? 0 : before.decoded;
  r->stats.bus_bytes -= code ? 0 : before.bus_bytes;
  r->stats.hidden_bytes -= code ? 0 : before.hidden_bytes;
  r->stats.chosen -= code ? 0 : before.chosen;
  r->stats.misses -= code ? 0 : before.misses;
  if (!code) code = check_all(b, r, p, test);
  if (!code) code = (int)lrqk_session_rewind(b->w.session);
  ui_clear(b->u);
  b->u->label = NULL;
  if (!code) ui_info(b->u, "%s @ d%llu: %.3f s of %zu", label, (unsigned long long)r->n_depth, bench_mean(r->wall, b->reps), b->reps);
  return code;
}

/* The tokens before the test. */
static int go_to_depth(struct bench *b, uint64_t depth) {
  int code = 0;
  b->u->label = "depth";
  if (b->synthetic) code = (int)lrqk_session_fill(b->w.session, (size_t)depth, (uint64_t)b->o->seed);
  else {
    int32_t *ids = malloc((size_t)(depth ? depth : 1) * sizeof *ids);
    if (!ids) return ui_fail(b->u, LRQK_MEMORY, "out of memory for %llu tokens", (unsigned long long)depth);
    for (uint64_t i = 0; i < depth; i++) ids[i] = id_at(b, i);
    code = (int)lrqk_session_prefill(b->w.session, ids, (size_t)depth, 0, NULL, NULL);
    free(ids);
  }
  ui_clear(b->u);
  b->u->label = NULL;
  return code ? code : (int)lrqk_session_mark(b->w.session);
}

static int one_policy(struct bench *b, const struct policy *p, uint64_t depth) {
  struct lrqk_session_options opt = {.cache = p->cache, .n_ctx = (uint32_t)(depth + b->longest), .progress = ui_progress, .progress_ud = b->u,
                                     .beyond = true};
  lrqk_session_close(b->w.session);
  b->w.session = NULL;
  int code = (int)lrqk_session_open(&b->w.session, b->w.engine, &opt);
  double t = ui_now();
  if (!code) code = go_to_depth(b, depth);
  double fill_s = ui_now() - t;
  for (size_t i = 0; i < b->n_tests && !code; i++) {
    struct bench_row *r = &b->rows[b->n_rows];
    *r = (struct bench_row){.policy = p->text, .policy_len = p->len, .n_prompt = b->test[i].prompt, .n_gen = b->test[i].gen,
                            .n_depth = depth, .reps = b->reps, .fill_s = depth ? fill_s : 0,
                            .fill = !depth ? "none" : b->synthetic ? "random" : "prefill"};
    r->wall = calloc(b->reps, sizeof *r->wall);
    r->cpu = calloc(b->reps, sizeof *r->cpu);
    b->n_rows++;
    code = r->wall && r->cpu ? measure(b, r, p, &b->test[i]) : ui_fail(b->u, LRQK_MEMORY, "out of memory for %zu times", b->reps);
  }
  return code;
}

static int all(struct bench *b) {
  int code = 0;
  for (size_t d = 0; d < b->n_depths && !code; d++) {
    for (size_t p = 0; p < b->n_policies && !code; p++) code = one_policy(b, &b->policy[p], b->depth[d]);
    for (size_t i = 0; i < b->n_tests; i++) {
      free(b->test[i].full);
      b->test[i].full = NULL;
    }
  }
  return code;
}

/* ---- set-up ------------------------------------------------------------------------------------------------- */

static int parse(struct bench *b) {
  static const char *const formats[] = {"table", "md", "csv", "json"};
  const struct options *o = b->o;
  uint64_t list[BENCH_LIST];
  size_t n, known = 0;
  int code = policies_parse(b->u, o->policies, b->policy, &b->n_policies);
  if (!code) code = bench_list(b->u, "-p", o->prompt, 0, UINT32_MAX / 4, list, &n);
  for (size_t i = 0; i < n && !code; i++)
    if (list[i]) b->test[b->n_tests++].prompt = list[i];
  if (!code) code = bench_list(b->u, "-n", o->gen, 0, UINT32_MAX / 4, list, &n);
  for (size_t i = 0; i < n && !code; i++)
    if (list[i]) b->test[b->n_tests++].gen = list[i];
  if (!code) code = bench_list(b->u, "-d", o->depth, 0, UINT32_MAX / 4, b->depth, &b->n_depths);
  if (code) return code;
  while (known < 4 && strcmp(o->output, formats[known])) known++;
  if (known == 4) return ui_fail(b->u, LRQK_USAGE, "-o: \"%s\" is not table, md, csv or json", o->output);
  b->synthetic = !strcmp(o->fill, "random");
  if (!b->synthetic && strcmp(o->fill, "prefill")) return ui_fail(b->u, LRQK_USAGE, "--fill: \"%s\" is not prefill or random", o->fill);
  if (!b->n_tests) return ui_fail(b->u, LRQK_USAGE, "nothing to measure: -p and -n are 0");
  for (size_t i = 0; i < b->n_tests; i++) {
    if (b->test[i].prompt > b->longest) b->longest = b->test[i].prompt;
    if (b->test[i].gen > b->longest) b->longest = b->test[i].gen;
  }
  return 0;
}

/* Tokens of --file, again and again if there are too few, or random ones. */
static int tokens(struct bench *b) {
  struct text in = {0};
  if (b->o->file) {
    int code = input_file(b->u, b->o->file, &in);
    if (!code) code = (int)lrqk_tokenize(b->w.model, in.s ? in.s : "", in.len, 0, &b->ids, &b->n_ids);
    text_free(&in);
    return code || b->n_ids ? code : ui_fail(b->u, LRQK_USAGE, "-f: the text is empty");
  }
  enum { RANDOM = 8191 };   /* a prime: no two prompts of a run begin alike */
  uint64_t x = (uint64_t)b->o->seed * 2 + 0x9e3779b97f4a7c15u;
  b->ids = malloc(RANDOM * sizeof *b->ids);
  b->n_ids = RANDOM;
  for (size_t i = 0; b->ids && i < RANDOM; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    b->ids[i] = (int32_t)((x >> 16) % b->w.info.n_vocab);
  }
  return b->ids ? 0 : ui_fail(b->u, LRQK_MEMORY, "out of memory for %d tokens", RANDOM);
}

static int open_engine(struct bench *b) {
  struct lrqk_engine_options opt = {.device = b->o->device, .form = b->o->form, .progress = ui_progress, .progress_ud = b->u,
                                    .n_layers = (uint32_t)b->o->layers, .timing = b->o->kernels != NULL,
                                    .vram = (uint64_t)b->o->vram};
  int code = (int)lrqk_engine_open(&b->w.engine, b->w.model, &opt);
  ui_clear(b->u);
  return !code && b->o->kernels ? (int)lrqk_engine_ceilings(b->w.engine, &b->ceilings) : code;
}

static int prepare(struct bench *b) {
  int code = parse(b);
  uint64_t deepest = 0;
  for (size_t i = 0; i < b->n_depths; i++)
    if (b->depth[i] > deepest) deepest = b->depth[i];
  if (!code) code = work_model(b->u, &b->w, b->o->model, WHOLE);
  if (!code && deepest + b->longest > b->w.info.n_ctx)
    ui_warn(b->u, "%llu tokens are beyond the %u that the model was trained for: times are right, a text would make no sense",
            (unsigned long long)(deepest + b->longest), b->w.info.n_ctx);
  if (!code) code = tokens(b);
  if (code) return code;
  b->rows = calloc(b->n_depths * b->n_policies * b->n_tests, sizeof *b->rows);
  b->print = calloc(b->longest, sizeof *b->print);
  b->first = calloc(b->w.info.n_vocab, sizeof *b->first);
  if (!b->rows || !b->print || !b->first) return ui_fail(b->u, LRQK_MEMORY, "out of memory for %zu rows", b->n_depths * b->n_policies * b->n_tests);
  return open_engine(b);
}

/* What else the machine does only lowers a ceiling: they are measured before and after, and the better figures hold. */
static int ceilings_again(struct bench *b) {
  struct lrqk_ceilings *c = &b->ceilings, now;
  int code = (int)lrqk_engine_ceilings(b->w.engine, &now);
  if (code) return code;
  c->device_gb_per_s = fmax(c->device_gb_per_s, now.device_gb_per_s);
  c->bus_gb_per_s = fmax(c->bus_gb_per_s, now.bus_gb_per_s);
  c->gflop_per_s = fmax(c->gflop_per_s, now.gflop_per_s);
  c->empty_us = fmin(c->empty_us, now.empty_us);
  return 0;
}

static int report(struct bench *b) {
  const struct options *o = b->o;
  const char *form = o->json ? "json" : o->output;
  struct text t = {0};
  struct bench_head head = {.model = &b->w.info, .file = o->model};
  if (b->kernels.failed) return ui_fail(b->u, LRQK_MEMORY, "out of memory for the times of %zu kernels", b->kernels.n);
  if (o->kernels && !b->kernels.n) return ui_fail(b->u, LRQK_USAGE, "--kernels: no kernel that ran has a name that begins with \"%s\"", o->kernels);
  lrqk_engine_device(b->w.engine, &head.device);
  head.n_layers = o->layers && o->layers < b->w.info.n_layers ? (uint32_t)o->layers : b->w.info.n_layers;
  if (o->kernels) kernels_print(&t, form, &head, &b->ceilings, b->rows, &b->kernels);
  else bench_print(&t, form, &head, b->rows, b->n_rows);
  return out_text(b->u, &t);
}

int cmd_bench(struct ui *u, const struct options *o) {
  struct bench *b = calloc(1, sizeof *b);
  if (!b) return ui_fail(u, LRQK_MEMORY, "out of memory");
  *b = (struct bench){.u = u, .o = o, .reps = (size_t)o->reps, .kernels = {.only = o->kernels ? o->kernels : ""}};
  int code = prepare(b);
  if (!code) code = all(b);
  if (!code && o->kernels) code = ceilings_again(b);
  if (!code) code = report(b);
  for (size_t i = 0; i < b->n_rows; i++) {
    free(b->rows[i].wall);
    free(b->rows[i].cpu);
  }
  for (size_t i = 0; i < b->n_tests; i++) free(b->test[i].full);
  if (o->file) lrqk_free(b->ids);
  else free(b->ids);
  kernel_log_free(&b->kernels);
  free(b->print);
  free(b->first);
  free(b->rows);
  work_close(&b->w);
  free(b);
  return code;
}
