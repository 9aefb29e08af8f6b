/* attention.c - opens a policy: fills in defaults, checks options against model and device. */
#include "attention/attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shaders/step.h"

enum { MAX_HEADS_PER_LIST = 8 };   /* query heads that a lane of the scoring kernels can keep sums for */

static const struct attention_ops *const policies[] = {
  [LRQK_POLICY_FULL] = &attention_full, [LRQK_POLICY_OFFLOAD] = &attention_offload, [LRQK_POLICY_LRQK] = &attention_lrqk
};

struct lrqk_cache_options lrqk_cache_defaults(void) {
  return (struct lrqk_cache_options){ .policy = LRQK_POLICY_LRQK, .proxy = LRQK_PROXY_GRAM, .proxy_type = LRQK_PROXY_INT8, .group = LRQK_GROUP_SUM,
                                      .active = 2048, .lite = 64, .sinks = 4, .tail = true, .overlap = true, .dense = { 1 },
                                      .mean_key = LRQK_MEAN_KEY_SLOW, .horizon = 1024, .tol = -1, .lambda_q = 1, .lambda_k = 1, .lambda = 1 };
}

/* residency_tile has one workgroup per list, whose lanes own 32 tokens each. */
static uint32_t most_active(const struct device *dev) {
  uint32_t lanes = dev->caps.info.max_workgroup;
  return 32 * (lanes < 1024 ? lanes : 1024);
}

/* *asked: the options before limits are applied that follow from the context. */
static enum lrqk_status check_lrqk(struct lrqk_cache_options *o, struct lrqk_cache_options *asked, struct device *dev, const struct hparams *hp,
                                   uint32_t n_ctx) {
  const struct log *log = &dev->log;
  uint32_t g = hp->n_heads / hp->n_kv_heads;
  bool paper = o->proxy == LRQK_PROXY_PAPER;
  if (!o->rank) o->rank = hp->head_size / (o->proxy != LRQK_PROXY_PAIRS && hp->head_size >= 16 ? 4 : 2) / 4 * 4;
  if (!o->iters) o->iters = paper ? 2 : 16;
  if (o->tol < 0) o->tol = paper ? 1e-2 : 0;
  if (o->share == LRQK_SHARE_HEAD && !paper) return fail(log, LRQK_USAGE, "share head is for proxy paper; other proxies serve all heads of a group");
  if (o->refresh && paper) return fail(log, LRQK_USAGE, "refresh is for the proxies pairs and gram; the bases of paper follow every token");
  if (o->rank > hp->head_size) return fail(log, LRQK_USAGE, "rank %u is larger than the head size %u of this model", o->rank, hp->head_size);
  if (o->sinks > o->active) return fail(log, LRQK_USAGE, "sinks %u do not fit into active %u, which counts them", o->sinks, o->active);
  *asked = *o;
  if (o->active > n_ctx) o->active = n_ctx;
  if (o->lite > n_ctx) o->lite = n_ctx;
  if (o->sinks > o->active) o->sinks = o->active;
  if (o->active > most_active(dev))
    return fail(log, LRQK_USAGE, "active %u is more than %u, the most that %s can manage", o->active, most_active(dev), dev->caps.info.name);
  if (o->group != LRQK_GROUP_NONE && g > MAX_HEADS_PER_LIST) {
    fail(log, LRQK_USAGE, "%u query heads share a KV head in this model; one list can serve at most %d", g, MAX_HEADS_PER_LIST);
    log_hint(log, "use --group none, which keeps a list per query head");
    return LRQK_USAGE;
  }
  return LRQK_OK;
}

enum lrqk_status attention_open(struct attention **out, struct device *dev, const struct hparams *hp, uint32_t n_ctx,
                                const struct lrqk_cache_options *opt, struct view step) {
  const struct attention_ops *ops = policies[opt->policy];
  struct attention *a = mem_alloc(1, ops->size);
  if (!a) return fail(&dev->log, LRQK_MEMORY, "cannot allocate the attention policy");
  a->ops = ops;
  a->opt = a->asked = *opt;
  enum lrqk_status s = opt->policy == LRQK_POLICY_LRQK ? check_lrqk(&a->opt, &a->asked, dev, hp, n_ctx) : LRQK_OK;
  if (s == LRQK_OK) s = attn_core_init(&a->core, dev, hp, n_ctx, step);
  if (s == LRQK_OK) s = windows_init(&a->windows, &a->core);
  if (s == LRQK_OK) s = ops->init(a);
  if (s != LRQK_OK) { attention_close(a); return s; }
  *out = a;
  return LRQK_OK;
}

void attention_close(struct attention *a) {
  if (!a) return;
  a->ops->destroy(a);
  windows_destroy(&a->windows);
  buffer_destroy(&a->kept);
  attn_core_destroy(&a->core);
  mem_free(a);
}

void attention_step(struct attention *a, uint32_t t, uint32_t *words) {
  memset(words, 0, STEP_WORDS * sizeof *words);
  a->t = t;
  words[STEP_POS] = t;
  words[STEP_LEN] = words[STEP_ROWS] = t + 1;
  if (a->ops->step) a->ops->step(a, t, words);
}

static bool windowed(const struct attention *a, uint32_t layer) { return layer_is_windowed(a->core.hp, layer); }

void attention_prefill_begin(struct attention *a, uint32_t layer, uint32_t l0) {
  if (a->ops->prefill_begin && !windowed(a, layer)) a->ops->prefill_begin(a, layer, l0);
}

void attention_prefill(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y) {
  if (windowed(a, layer)) windows_prefill(&a->windows, &a->core, layer, qkv, cs, t0, m, y);
  else a->ops->prefill(a, layer, qkv, cs, t0, m, y);
}

void attention_prefill_end(struct attention *a, uint32_t layer, uint32_t l) {
  if (a->ops->prefill_end && !windowed(a, layer)) a->ops->prefill_end(a, layer, l);
}

static uint64_t query_bytes(const struct attention *a) { return (uint64_t)a->core.hk * a->core.g * a->core.d * 4; }

static void keep_queries(struct attention *a, uint32_t layer) {
  struct view q = a->core.q;
  uint64_t bytes = query_bytes(a);
  a->core.dev->at_stage = "quality";
  device_copy(a->core.dev, (struct view){ a->kept, layer * bytes, bytes }, (struct view){ q.buf, q.offset, bytes });
}

void attention_decode(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y) {
  if (windowed(a, layer)) windows_decode(&a->windows, &a->core, layer, a->t, qkv, cs, y);
  else a->ops->decode(a, layer, qkv, cs, y);
  if (a->keep) keep_queries(a, layer);
}

void attention_mark(struct attention *a) {
  windows_mark(&a->windows);
  if (a->ops->mark) a->ops->mark(a);
}

bool attention_can_cut(const struct attention *a, uint32_t from, uint32_t l) { return windows_can_cut(&a->windows, &a->core, from, l); }

enum lrqk_status attention_cut(struct attention *a, uint32_t from, uint32_t l, bool kept) {
  if (kept) windows_rewind(&a->windows);
  return a->ops->cut ? a->ops->cut(a, from, l, kept) : LRQK_OK;
}

enum lrqk_status attention_state(struct attention *a, struct state *st, uint32_t l, uint32_t marked, bool has_mark) {
  TRY(windows_state(&a->windows, st, l, marked, has_mark));
  return a->ops->state(a, st, l, has_mark);
}

void attention_adopt(struct attention *a, struct attention *from, uint32_t l) {
  windows_adopt(&a->windows, &from->windows);
  a->ops->adopt(a, from, l);
}

enum lrqk_status attention_keep(struct attention *a, bool on) {
  if (on && !a->kept) TRY(buffer_create(&a->kept, a->core.dev, PLACE_DEVICE, a->core.hp->n_layers * query_bytes(a), "queries of a step"));
  a->keep = on;
  return LRQK_OK;
}

enum lrqk_status attention_quality(struct attention *a, struct lrqk_head_quality *out) {
  const struct attn_core *c = &a->core;
  uint64_t bytes = query_bytes(a);
  float *q = mem_alloc(bytes, 1);
  enum lrqk_status s = q ? LRQK_OK : fail(&c->dev->log, LRQK_MEMORY, "cannot allocate the queries of a layer");
  for (uint32_t i = 0; s == LRQK_OK && i < c->hp->n_layers; i++) {
    struct lrqk_head_quality *heads = out + (size_t)i * c->hk;
    for (uint32_t h = 0; h < c->hk; h++) heads[h] = (struct lrqk_head_quality){ NAN, NAN, NAN };
    if (!a->ops->quality || windowed(a, i)) continue;
    s = device_read(c->dev, q, (struct view){ a->kept, i * bytes, bytes }, bytes);
    if (s == LRQK_OK) s = a->ops->quality(a, i, q, heads);
  }
  mem_free(q);
  return s;
}

enum lrqk_status attention_stats(struct attention *a, struct attention_stats *out) {
  TRY(a->ops->stats(a, out));
  out->device_bytes += windows_bytes(&a->windows);
  out->host_bytes += windows_bytes(&a->windows);
  return LRQK_OK;
}

void attention_plan(const struct attention *a, uint32_t l, double hits, struct attention_plan *out) {
  *out = (struct attention_plan){ 0 };
  a->ops->plan(a, l, hits, out);
  out->windows = windows_bytes(&a->windows);
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++)
    if (windowed(a, i)) out->read += (uint64_t)(l < a->core.hp->window ? l : a->core.hp->window) * a->core.token_bytes;
}

const struct kv_rows *attention_rows(struct attention *a, uint32_t layer) {
  return windowed(a, layer) ? &a->windows.layer[layer] : a->ops->rows(a, layer);
}

void attention_settings(const struct attention *a, char out[ATTENTION_SETTINGS]) {
  static const char *const policy[] = { "full", "offload", "lrqk" }, *const proxy[] = { "pairs", "gram", "paper" }, *const type[] = { "int8", "fp16" },
                    *const group[] = { "sum", "max", "none" }, *const share[] = { "group", "head" };
  const struct lrqk_cache_options *o = &a->asked;
  char dense[8 * 17] = "";
  for (int i = 0; i < 8; i++) snprintf(dense + strlen(dense), sizeof dense - strlen(dense), "%s%llx", i ? "." : "", (unsigned long long)o->dense[i]);
  int n = snprintf(out, ATTENTION_SETTINGS, "attention=%s", policy[o->policy]);
  if (o->policy != LRQK_POLICY_LRQK) return;
  snprintf(out + n, ATTENTION_SETTINGS - (size_t)n,
           " proxy=%s proxy-type=%s group=%s share=%s rank=%u active=%u lite=%u sinks=%u tail=%s mean-key=%d horizon=%u iters=%u tol=%.9g lambda-q=%.9g"
           " lambda-k=%.9g lambda=%.9g freeze-basis=%d refresh=%u lend=%d dense-layers=%s",
           proxy[o->proxy], type[o->proxy_type], group[o->group], share[o->share], o->rank, o->active, o->lite, o->sinks, o->tail ? "mean" : "none",
           (int)o->mean_key, o->horizon, o->iters, o->tol, o->lambda_q, o->lambda_k, o->lambda, o->freeze_basis, o->refresh, o->lend, dense);
}

bool attention_can_lend(const struct attention *a, const struct attention *to) {
  bool dense = false;
  for (uint32_t i = 0; i < a->core.hp->n_layers; i++) dense = dense || (attention_is_dense(&a->opt, i) && !windowed(a, i));
  bool sums = (a->opt.lend && to->opt.proxy != LRQK_PROXY_PAPER) || to->ops != &attention_lrqk || a->opt.proxy == to->opt.proxy;
  return a->ops == &attention_lrqk && !dense && sums;
}

/* ---- options by name */

static bool parse_u32(const char *s, uint32_t lo, uint32_t hi, uint32_t *out) {
  char *end;
  if (*s < '0' || *s > '9') return false;
  unsigned long long v = strtoull(s, &end, 10);
  if (*end || v < lo || v > hi) return false;
  *out = (uint32_t)v;
  return true;
}

static bool parse_word(const char *s, const char *const *words, int n, int *out) {
  for (int i = 0; i < n; i++) if (!strcmp(s, words[i])) { *out = i; return true; }
  return false;
}

static bool parse_switch(const char *s, bool *out) {
  static const char *const words[] = { "off", "on", "0", "1", "false", "true" };
  int i = 0;
  if (!parse_word(s, words, 6, &i)) return false;
  *out = i & 1;
  return true;
}

/* "none", "0", "0,3-5" */
static bool parse_layers(const char *s, uint64_t bits[8]) {
  uint64_t b[8] = { 0 };
  if (strcmp(s, "none")) for (;;) {
    char *end;
    if (*s < '0' || *s > '9') return false;
    unsigned long a = strtoul(s, &end, 10), z = a;
    if (*end == '-') {
      if (end[1] < '0' || end[1] > '9') return false;
      z = strtoul(end + 1, &end, 10);
    }
    if (z < a || z > 511) return false;
    for (unsigned long i = a; i <= z; i++) b[i / 64] |= 1ull << (i % 64);
    if (!*end) break;
    if (*end != ',') return false;
    s = end + 1;
  }
  memcpy(bits, b, sizeof b);
  return true;
}

static bool parse_real(const char *s, double *out) {
  char *end;
  double x = strtod(s, &end);
  if (!((*s >= '0' && *s <= '9') || *s == '.') || end == s || *end || !(x <= 1e30)) return false;
  *out = x;
  return true;
}

/* LRQK as published, on top of what is no option of the cache. */
static void set_paper(struct lrqk_cache_options *o) {
  const struct lrqk_cache_options was = *o;
  *o = lrqk_cache_defaults();
  o->lend = was.lend;
  o->proxy = LRQK_PROXY_PAPER;
  o->proxy_type = LRQK_PROXY_FP16;
  o->share = LRQK_SHARE_HEAD;
  o->group = LRQK_GROUP_NONE;
  o->rank = 32;
  o->iters = 2;
  o->tol = 1e-2;
  o->sinks = 0;
  o->tail = false;
  memset(o->dense, 0, sizeof o->dense);
}

enum lrqk_status lrqk_cache_set(struct lrqk_cache_options *o, const char *key, const char *value, lrqk_log_fn fn, void *ud) {
  static const char *const policy[] = { "full", "offload", "lrqk" }, *const proxy[] = { "pairs", "gram", "paper" },
                    *const type[] = { "int8", "fp16" }, *const group[] = { "sum", "max", "none" },
                    *const tail[] = { "mean", "none" }, *const share[] = { "group", "head" }, *const mean_key[] = { "off", "slow", "on" }, *const preset[] = { "paper" };
  const struct log log = { fn, ud };
  const char *expected;
  int i = 0;
  bool ok;
  if (!strcmp(key, "attention")) {
    expected = "full, offload or lrqk";
    if ((ok = parse_word(value, policy, 3, &i))) o->policy = (enum lrqk_policy)i;
  } else if (!strcmp(key, "proxy")) {
    expected = "pairs, gram or paper";
    if ((ok = parse_word(value, proxy, 3, &i))) o->proxy = (enum lrqk_proxy)i;
  } else if (!strcmp(key, "proxy-type")) {
    expected = "int8 or fp16";
    if ((ok = parse_word(value, type, 2, &i))) o->proxy_type = (enum lrqk_proxy_type)i;
  } else if (!strcmp(key, "group")) {
    expected = "sum, max or none";
    if ((ok = parse_word(value, group, 3, &i))) o->group = (enum lrqk_group)i;
  } else if (!strcmp(key, "share")) {
    expected = "group or head";
    if ((ok = parse_word(value, share, 2, &i))) o->share = (enum lrqk_share)i;
  } else if (!strcmp(key, "preset")) {
    expected = "paper";
    if ((ok = parse_word(value, preset, 1, &i))) set_paper(o);
  } else if (!strcmp(key, "rank")) {
    expected = "a multiple of 4 from 4 to 512";
    uint32_t r;
    if ((ok = parse_u32(value, 4, 512, &r) && r % 4 == 0)) o->rank = r;
  } else if (!strcmp(key, "mean-key")) {
    expected = "on, slow or off";
    if ((ok = parse_word(value, mean_key, 3, &i))) o->mean_key = (enum lrqk_mean_key)i;
  } else if (!strcmp(key, "horizon")) {
    expected = "a number from 1 on";
    ok = parse_u32(value, 1, 1u << 30, &o->horizon);
  } else if (!strcmp(key, "iters")) {
    expected = "a number from 1 to 1000";
    ok = parse_u32(value, 1, 1000, &o->iters);
  } else if (!strcmp(key, "tol")) {
    expected = "a number from 0 on";
    ok = parse_real(value, &o->tol);
  } else if (!strcmp(key, "lambda-q") || !strcmp(key, "lambda-k") || !strcmp(key, "lambda")) {
    expected = "a number from 0 on";
    ok = parse_real(value, !strcmp(key, "lambda") ? &o->lambda : !strcmp(key, "lambda-q") ? &o->lambda_q : &o->lambda_k);
  } else if (!strcmp(key, "freeze-basis")) {
    expected = "on or off";
    ok = parse_switch(value, &o->freeze_basis);
  } else if (!strcmp(key, "overlap")) {
    expected = "on or off";
    ok = parse_switch(value, &o->overlap);
  } else if (!strcmp(key, "refresh")) {
    expected = "a number, 0 for never";
    ok = parse_u32(value, 0, 1u << 30, &o->refresh);
  } else if (!strcmp(key, "active")) {
    expected = "a number from 1 on";
    ok = parse_u32(value, 1, 1u << 30, &o->active);
  } else if (!strcmp(key, "lite")) {
    expected = "a number from 1 on";
    ok = parse_u32(value, 1, 1u << 30, &o->lite);
  } else if (!strcmp(key, "sinks")) {
    expected = "a number";
    ok = parse_u32(value, 0, 1u << 30, &o->sinks);
  } else if (!strcmp(key, "tail")) {
    expected = "mean or none";
    if ((ok = parse_word(value, tail, 2, &i))) o->tail = i == 0;
  } else if (!strcmp(key, "dense-layers")) {
    expected = "none, or layers such as 0,3-5 (0 to 511)";
    ok = parse_layers(value, o->dense);
  } else {
    return fail(&log, LRQK_USAGE, "unknown cache option '%s'; known are attention, preset, proxy, proxy-type, share, group, rank, mean-key, "
                "horizon, iters, tol, lambda, lambda-q, lambda-k, freeze-basis, refresh, active, lite, sinks, tail, dense-layers", key);
  }
  return ok ? LRQK_OK : fail(&log, LRQK_USAGE, "%s: '%s' is not %s", key, value, expected);
}
