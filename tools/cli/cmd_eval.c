/* cmd_eval.c - `lrqk eval`: questions about hidden things under each attention policy.  A text is prefilled once for all of
 * its questions and a question once for all policies; copies of the session go on from there.  What is decoded under a
 * policy is the beginning of the answer, which is given, and the answer itself, the likeliest token each time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "policies.h"
#include "results.h"
#include "tasks.h"
#include "work.h"

enum { MAX_LENGTHS = 32 };

struct tally { uint64_t exact, questions, right, of, decoded; double decode_ms; };

struct ids { int32_t *id; size_t n; };   /* of lrqk_tokenize */

struct eval {
  struct ui *u;
  const struct options *o;
  const struct task *task;
  struct work w;
  struct filler filler;
  uint64_t length[MAX_LENGTHS];
  size_t n_lengths, n_policies;
  struct policy policy[MAX_POLICIES];
  struct tally total[MAX_LENGTHS][MAX_POLICIES];
  struct results results;       /* --out */
  /* one sample */
  struct recipe recipe;
  struct prompt prompt;
  struct ids turn[MAX_QUESTIONS], lead[MAX_QUESTIONS];
  size_t shared;                /* tokens that all turns begin with */
  uint64_t hash;                /* of the prompts and what is expected */
  bool pending[MAX_POLICIES];
  struct tally sample[MAX_POLICIES];
  struct text answers[MAX_POLICIES];
  lrqk_session *text, *asked;   /* lenders: shared tokens; a whole turn */
};

static void add(struct tally *to, const struct tally *x) {
  to->exact += x->exact;
  to->questions += x->questions;
  to->right += x->right;
  to->of += x->of;
  to->decoded += x->decoded;
  to->decode_ms += x->decode_ms;
}

/* ---- prompts ------------------------------------------------------------------------------------------------ */

static int build(struct eval *e, size_t units) {
  e->recipe.units = units;
  task_build(e->task, &e->recipe, &e->prompt);
  if (!e->prompt.body.failed) return 0;
  return ui_fail(e->u, LRQK_MEMORY, "%s: no memory or no keys for %zu %s", e->task->name, units, e->task->units);
}

/* The tokens of question j: the turn up to where the answer begins, and the beginning that is given. */
static int encode(struct eval *e, size_t j, struct ids *turn, struct ids *lead) {
  const struct question *q = &e->prompt.q[j];
  struct text t = {0};
  text_add(&t, e->prompt.body.s, e->prompt.body.len);
  text_add(&t, q->ask, strlen(q->ask));
  struct lrqk_message m = {"user", t.s, t.len};
  int code = t.failed ? ui_fail(e->u, LRQK_MEMORY, "out of memory for a prompt") : 0;
  if (!code) code = (int)lrqk_chat_tokenize(e->w.model, &m, 1, &turn->id, &turn->n);
  if (!code) code = (int)lrqk_tokenize(e->w.model, q->lead, strlen(q->lead), LRQK_TOKENIZE_NO_BOS, &lead->id, &lead->n);
  text_free(&t);
  return code;
}

static void forget_ids(struct ids *x) {
  lrqk_free(x->id);
  *x = (struct ids){0};
}

/* The most tokens that a question needs; without a model four bytes count as one. */
static int tokens(struct eval *e, size_t *out) {
  int code = 0;
  *out = 0;
  for (size_t j = 0; j < e->prompt.n_q && !code; j++) {
    const struct question *q = &e->prompt.q[j];
    struct ids turn = {0}, lead = {0};
    size_t n = (e->prompt.body.len + strlen(q->ask) + strlen(q->lead) + 3) / 4;
    if (e->w.model) {
      code = encode(e, j, &turn, &lead);
      n = turn.n + lead.n;
    }
    forget_ids(&turn);
    forget_ids(&lead);
    if (n + e->task->answer_tokens > *out) *out = n + e->task->answer_tokens;
  }
  return code;
}

/* Builds with the most units that fit into the length: the first units that do not are found by doubling. */
static int fit(struct eval *e) {
  size_t least = e->task->min_units + (e->task->number ? e->recipe.depths : 0), low = least, high = 0, units = least, n;
  while (!high || high - low > 1) {
    int code = build(e, units);
    if (!code) code = tokens(e, &n);
    if (code) return code;
    bool fits = n <= e->recipe.length;
    if (!fits && units == least) {
      code = ui_fail(e->u, LRQK_USAGE, "--length: %llu tokens asked, %s needs %zu", (unsigned long long)e->recipe.length, e->task->name, n);
      if (e->task->number && e->prompt.n_q > 1) ui_hint(e->u, "a smaller --depths needs less");
      return code;
    }
    if (fits) low = units;
    else high = units;
    units = high ? low + (high - low) / 2 : 2 * low;
  }
  return build(e, low);
}

static void mix_in(uint64_t *h, const char *s) {   /* FNV-1a */
  while (s && *s) *h = (*h ^ (unsigned char)*s++) * 0x100000001b3u;
}

static int make_sample(struct eval *e, size_t length, size_t sample) {
  e->recipe.length = e->length[length];
  e->recipe.sample = sample;
  int code = fit(e);
  e->hash = 0xcbf29ce484222325u;
  mix_in(&e->hash, e->prompt.body.s);
  for (size_t j = 0; j < e->prompt.n_q; j++) {
    const struct question *q = &e->prompt.q[j];
    mix_in(&e->hash, q->ask);
    mix_in(&e->hash, q->lead);
    mix_in(&e->hash, q->expect);
  }
  return code;
}

static int encode_sample(struct eval *e) {
  int code = 0;
  for (size_t j = 0; j < e->prompt.n_q && !code; j++) {
    struct ids *x = &e->turn[j], *first = &e->turn[0];
    forget_ids(x);
    forget_ids(&e->lead[j]);
    code = encode(e, j, x, &e->lead[j]);
    if (!j) e->shared = x->n;
    if (x->n < e->shared) e->shared = x->n;
    for (size_t i = 0; i < e->shared; i++)
      if (x->id[i] != first->id[i]) e->shared = i;
  }
  return code;
}

/* ---- what --out holds: one JSON object a line, for each sample and policy ------------------------------------ */

/* The beginning of a line, which says what it is about. */
static void identity(const struct eval *e, size_t policy, struct text *t) {
  const char *slash = strrchr(e->o->model, '/');
  char hash[24];
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)e->hash);
  json_open(t, '{');
  json_field_string(t, "task", e->task->name);
  json_field_string(t, "model", slash ? slash + 1 : e->o->model);
  json_field_uint(t, "length", e->recipe.length);
  json_field_uint(t, "seed", e->recipe.seed);
  json_field_uint(t, "sample", e->recipe.sample);
  json_field_string(t, "prompts", hash);
  json_key(t, "policy");
  json_bytes(t, e->policy[policy].text, e->policy[policy].len);
}

static void json_tally(struct text *t, const struct tally *x) {
  json_field_uint(t, "exact", x->exact);
  json_field_uint(t, "questions", x->questions);
  json_field_uint(t, "right", x->right);
  json_field_uint(t, "of", x->of);
  json_field_uint(t, "decoded", x->decoded);
}

/* The figures of a line that json_tally and decode_ms made, behind its identity. */
static bool read_tally(const char *s, struct tally *x) {
  unsigned long long exact, questions, right, of, decoded;
  int n = sscanf(s, ", \"exact\": %llu, \"questions\": %llu, \"right\": %llu, \"of\": %llu, \"decoded\": %llu, \"decode_ms\": %lf", &exact,
                 &questions, &right, &of, &decoded, &x->decode_ms);
  if (n != 6) return false;
  x->exact = exact, x->questions = questions, x->right = right, x->of = of, x->decoded = decoded;
  return true;
}

static bool known(struct eval *e, size_t policy, struct tally *x) {
  struct text id = {0};
  if (!e->results.path) return false;
  identity(e, policy, &id);
  const char *rest = id.failed ? NULL : results_find(&e->results, &id);
  text_free(&id);
  return rest && read_tally(rest, x);
}

static int keep(struct eval *e, size_t policy) {
  struct text t = {0};
  identity(e, policy, &t);
  json_tally(&t, &e->sample[policy]);
  json_field_num(&t, "decode_ms", e->sample[policy].decode_ms);
  json_key(&t, "answers");
  json_open(&t, '[');
  text_add(&t, e->answers[policy].s, e->answers[policy].len);
  json_close(&t, ']');
  json_close(&t, '}');
  t.failed = t.failed || e->answers[policy].failed;
  return results_add(e->u, &e->results, &t);
}

/* ---- one sample --------------------------------------------------------------------------------------------- */

/* Prefills ids into a session that others can be copied from, itself a copy of `from` unless that is NULL. */
static int lend(struct eval *e, lrqk_session **out, lrqk_session *from, const int32_t *ids, size_t n) {
  bool paper = false;
  for (size_t i = 0; i < e->n_policies; i++) paper = paper || e->policy[i].cache.proxy == LRQK_PROXY_PAPER;
  struct lrqk_cache_options cache = work_lender(paper);
  lrqk_session_close(*out);
  *out = NULL;
  int code = work_session(e->u, &e->w, &cache, (uint32_t)e->recipe.length);
  *out = e->w.session;
  e->w.session = NULL;
  if (!code && from) code = (int)lrqk_session_copy(*out, from);
  if (!code && n) code = (int)lrqk_session_prefill(*out, ids, n, 0, NULL, NULL);
  return code;
}

static int decode(struct eval *e, int32_t id, struct tally *x) {
  double t = ui_now();
  int code = ui_interrupted() ? LRQK_INTERRUPTED : (int)lrqk_session_decode(e->w.session, id);
  x->decode_ms += 1e3 * (ui_now() - t);
  x->decoded++;
  return code;
}

/* Generates the answer to question j, whose turn the session holds. */
static int generate(struct eval *e, size_t j, struct text *answer, struct tally *x) {
  int code = 0;
  for (size_t i = 0; i < e->lead[j].n && !code; i++) code = decode(e, e->lead[j].id[i], x);
  for (size_t i = 0; i < e->task->answer_tokens && !code; i++) {
    const char *s;
    size_t len;
    int32_t id = argmax(lrqk_session_logits(e->w.session), e->w.info.n_vocab);
    if (lrqk_token_is_end(e->w.model, id)) break;
    code = (int)lrqk_token_text(e->w.model, id, false, &s, &len);
    if (!code) text_add(answer, s, len);
    if (!code && answer->failed) code = ui_fail(e->u, LRQK_MEMORY, "out of memory for an answer");
    if (code || (answer->s && task_answered(e->task, &e->prompt.q[j], answer->s))) break;
    if (i + 1 < e->task->answer_tokens) code = decode(e, id, x);
  }
  return code;
}

/* Asks question j under a policy. */
static int ask(struct eval *e, size_t j, size_t policy) {
  const struct question *q = &e->prompt.q[j];
  const struct policy *p = &e->policy[policy];
  struct tally *sum = &e->sample[policy], x = {.questions = 1};
  struct text answer = {0}, *line = &e->answers[policy];
  int code = work_session(e->u, &e->w, &p->cache, (uint32_t)e->recipe.length);
  if (!code) code = (int)lrqk_session_copy(e->w.session, e->asked);
  if (!code) code = generate(e, j, &answer, &x);
  if (!code) {
    const char *s = answer.s ? answer.s : "";
    task_score(e->task, q, s, &x.right, &x.of);
    x.exact = task_exact(e->task, q, s);
    add(sum, &x);
    json_open(line, '{');
    json_field_num(line, "depth", q->depth);
    json_field_string(line, "expected", q->expect);
    json_key(line, "answer");
    json_bytes(line, s, answer.len);
    json_field_uint(line, "right", x.right);
    json_close(line, '}');
    ui_info(e->u, "%s %llu, sample %llu, %.*s: expected \"%s\", found \"%s\"", e->task->name, (unsigned long long)e->recipe.length,
            (unsigned long long)e->recipe.sample, (int)p->len, p->text, q->expect, s);
  }
  text_free(&answer);
  return code;
}

static int run_sample(struct eval *e) {
  int code = e->w.engine ? 0 : work_engine(e->u, &e->w, e->o);
  if (!code) code = encode_sample(e);
  e->u->label = "text";
  if (!code) code = lend(e, &e->text, NULL, e->turn[0].id, e->shared);
  for (size_t j = 0; j < e->prompt.n_q && !code; j++) {
    e->u->label = "question";
    code = lend(e, &e->asked, e->text, e->turn[j].id + e->shared, e->turn[j].n - e->shared);
    for (size_t p = 0; p < e->n_policies && !code; p++)
      if (e->pending[p]) code = ask(e, j, p);
  }
  e->u->label = NULL;
  ui_clear(e->u);
  for (size_t p = 0; p < e->n_policies && !code; p++)
    if (e->pending[p] && e->results.path) code = keep(e, p);
  return code;
}

static int measure(struct eval *e, size_t length, size_t sample) {
  size_t missing = 0;
  int code = make_sample(e, length, sample);
  for (size_t p = 0; p < e->n_policies && !code; p++) {
    e->sample[p] = (struct tally){0};
    text_free(&e->answers[p]);
    e->pending[p] = !known(e, p, &e->sample[p]);
    missing += e->pending[p];
  }
  if (!code && missing) code = run_sample(e);
  for (size_t p = 0; p < e->n_policies && !code; p++) add(&e->total[length][p], &e->sample[p]);
  return code;
}

/* ---- output ------------------------------------------------------------------------------------------------- */

static void as_text(struct eval *e, struct text *t) {
  int width = 6;
  for (size_t p = 0; p < e->n_policies; p++)
    if ((int)e->policy[p].len > width) width = (int)e->policy[p].len;
  text_printf(t, "%-17s  %7s  %-*s  %9s  %11s  %9s\n", "task", "length", width, "policy", "exact", e->task->unit, "ms/token");
  for (size_t i = 0; i < e->n_lengths; i++)
    for (size_t p = 0; p < e->n_policies; p++) {
      const struct tally *x = &e->total[i][p];
      char exact[44], right[44];
      snprintf(exact, sizeof exact, "%llu/%llu", (unsigned long long)x->exact, (unsigned long long)x->questions);
      snprintf(right, sizeof right, "%llu/%llu", (unsigned long long)x->right, (unsigned long long)x->of);
      text_printf(t, "%-17s  %7llu  %-*.*s  %9s  %11s  %9.2f\n", e->task->name, (unsigned long long)e->length[i], width,
                  (int)e->policy[p].len, e->policy[p].text, exact, right, x->decode_ms / (double)x->decoded);
    }
}

static void as_json(struct eval *e, struct text *t) {
  json_open(t, '{');
  json_field_string(t, "task", e->task->name);
  json_field_string(t, "unit", e->task->unit);
  json_field_uint(t, "seed", e->recipe.seed);
  json_field_int(t, "samples", e->o->samples);
  json_key(t, "results");
  json_open(t, '[');
  for (size_t i = 0; i < e->n_lengths; i++)
    for (size_t p = 0; p < e->n_policies; p++) {
      const struct tally *x = &e->total[i][p];
      json_open(t, '{');
      json_field_uint(t, "length", e->length[i]);
      json_key(t, "policy");
      json_bytes(t, e->policy[p].text, e->policy[p].len);
      json_tally(t, x);
      json_field_num(t, "decode_ms_per_token", x->decode_ms / (double)x->decoded);
      json_close(t, '}');
    }
  json_close(t, ']');
  json_close(t, '}');
  text_add(t, "\n", 1);
}

static void print_text(struct eval *e, size_t n, struct text *t) {
  text_printf(t, "==== %s, length %llu, sample %llu: %s%zu tokens, %zu %s\n", e->task->name, (unsigned long long)e->recipe.length,
              (unsigned long long)e->recipe.sample, e->w.model ? "" : "about ", n, e->recipe.units, e->task->units);
  text_add(t, e->prompt.body.s, e->prompt.body.len);
  text_add(t, "\n", 1);
  for (size_t j = 0; j < e->prompt.n_q; j++) {
    const struct question *q = &e->prompt.q[j];
    text_printf(t, "---- question %zu", j + 1);
    if (isfinite(q->depth)) text_printf(t, ", depth %.2f", q->depth);
    text_printf(t, "%s\n---- %s\n---- expected: %s\n", q->ask, q->lead, q->expect);
  }
}

static void print_json(struct eval *e, size_t n, struct text *t) {
  json_open(t, '{');
  json_field_uint(t, "length", e->recipe.length);
  json_field_uint(t, "sample", e->recipe.sample);
  json_field_uint(t, "tokens", n);
  json_key(t, "text");
  json_bytes(t, e->prompt.body.s, e->prompt.body.len);
  json_key(t, "questions");
  json_open(t, '[');
  for (size_t j = 0; j < e->prompt.n_q; j++) {
    const struct question *q = &e->prompt.q[j];
    json_open(t, '{');
    json_field_num(t, "depth", q->depth);
    json_field_string(t, "question", q->ask);
    json_field_string(t, "answer_begins", q->lead);
    json_field_string(t, "expected", q->expect);
    json_close(t, '}');
  }
  json_close(t, ']');
  json_close(t, '}');
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static int parse_lengths(struct eval *e) {
  for (const char *s = e->o->length;; s++) {
    char word[24];
    size_t len = strcspn(s, ",");
    int64_t v = 0;
    snprintf(word, sizeof word, "%.*s", (int)(len < 23 ? len : 23), s);
    if (!number_parse(word, &v) || v < 1 || v > UINT32_MAX)
      return ui_fail(e->u, LRQK_USAGE, "--length: \"%s\" is not a number of tokens", word);
    if (e->n_lengths == MAX_LENGTHS) return ui_fail(e->u, LRQK_USAGE, "--length: more than %d lengths", MAX_LENGTHS);
    e->length[e->n_lengths++] = (uint64_t)v;
    s += len;
    if (!*s) return 0;
  }
}

static int check_task(struct eval *e) {
  e->task = e->o->task ? task_find(e->o->task) : NULL;
  if (e->task) return 0;
  int code = e->o->task ? ui_fail(e->u, LRQK_USAGE, "unknown task \"%s\"", e->o->task) : ui_fail(e->u, LRQK_USAGE, "no task");
  struct text names = {0};
  for (const struct task *t = tasks; t->name; t++) text_printf(&names, "%s%s", t == tasks ? "" : ", ", t->name);
  ui_hint(e->u, "the tasks are %s", names.s ? names.s : "");
  text_free(&names);
  return code;
}

static int read_filler(struct eval *e) {
  struct text in = {0};
  if (!e->task->filler) return 0;
  int code = input_text(e->u, e->o, &in);
  if (!code && !filler_split(&e->filler, in.s, in.len)) code = ui_fail(e->u, LRQK_MEMORY, "out of memory for the filler text");
  if (!code && !e->filler.n) code = ui_fail(e->u, LRQK_USAGE, "the filler text is empty");
  text_free(&in);
  return code;
}

static int prepare(struct eval *e) {
  int code = check_task(e);
  if (!code) code = parse_lengths(e);
  if (!code) code = policies_parse(e->u, e->o->policies, e->policy, &e->n_policies);
  if (!code) code = read_filler(e);
  if (!code && e->o->model) code = work_model(e->u, &e->w, e->o->model, e->o->print ? VOCABULARY : WHOLE);
  uint32_t most = e->w.info.n_ctx;
  for (size_t i = 0; i < e->n_lengths && !code && !e->o->print; i++)
    if (e->length[i] > most) code = ui_fail(e->u, LRQK_USAGE, "--length: %llu tokens asked, the model was trained for %u",
                                            (unsigned long long)e->length[i], most);
  return code ? code : results_open(e->u, &e->results, e->o->print ? NULL : e->o->out);
}

/* Prints the prompts and what is expected. */
static int print(struct eval *e, struct text *t) {
  int code = 0;
  if (e->o->json) {
    json_open(t, '{');
    json_field_string(t, "task", e->task->name);
    json_key(t, "prompts");
    json_open(t, '[');
  }
  for (size_t i = 0; i < e->n_lengths; i++)
    for (size_t k = 0; k < (size_t)e->o->samples && !code; k++) {
      size_t n = 0;
      code = make_sample(e, i, k);
      if (!code) code = tokens(e, &n);
      if (!code) (e->o->json ? print_json : print_text)(e, n, t);
    }
  if (e->o->json) text_printf(t, "]}\n");
  return code;
}

static int run(struct eval *e, struct text *t) {
  int code = 0;
  for (size_t i = 0; i < e->n_lengths; i++)
    for (size_t k = 0; k < (size_t)e->o->samples && !code; k++) code = measure(e, i, k);
  if (!code) (e->o->json ? as_json : as_text)(e, t);
  return code;
}

static void eval_close(struct eval *e) {
  results_close(&e->results);
  for (size_t j = 0; j < MAX_QUESTIONS; j++) {
    forget_ids(&e->turn[j]);
    forget_ids(&e->lead[j]);
  }
  for (size_t p = 0; p < MAX_POLICIES; p++) text_free(&e->answers[p]);
  text_free(&e->prompt.body);
  filler_free(&e->filler);
  lrqk_session_close(e->asked);
  lrqk_session_close(e->text);
  work_close(&e->w);
  free(e);
}

int cmd_eval(struct ui *u, const struct options *o) {
  struct eval *e = calloc(1, sizeof *e);
  if (!e) return ui_fail(u, LRQK_MEMORY, "out of memory");
  *e = (struct eval){.u = u, .o = o};
  int code = prepare(e);
  e->recipe = (struct recipe){.filler = &e->filler, .seed = (uint64_t)o->seed, .depths = (size_t)o->depths};
  struct text t = {0};
  if (!code) code = o->print ? print(e, &t) : run(e, &t);
  if (!code) code = out_text(u, &t);
  else text_free(&t);
  eval_close(e);
  return code;
}
