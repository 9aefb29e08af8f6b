/* plan.c - counts what an engine and a session take: the constructors run on a counting device (device/count.c), so that a plan
 * cannot differ from what is then allocated.  And gives options up, in a fixed order, until they fit a budget. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "device/ram.h"
#include "session.h"

enum { LEAST_ACTIVE = 256, CTX_STEP = 256, LEAST_CTX = 256 };
static const double HIT_RATE = 0.7;   /* README: 65 to 75 % */

/* Bytes of some places must not be beyond a budget. */
struct limit { const char *what; bool device, host; uint64_t budget; };

struct planner {
  lrqk_model model;               /* as the one that is planned for, with a log of its own */
  lrqk_engine *engine;            /* counting */
  struct limit limit[2];
  int n_limits;
  uint64_t taken;                 /* on the device, by other sessions */
  uint32_t least_ctx;
  double hits;
};

/* What can be given up; the bit in lrqk_plan_options.keep is 1 << value. */
enum what { DENSE, PROXY_TYPE, ACTIVE, RANK, CTX, N_WHAT };

/* ---- counting */

static enum lrqk_status count(struct planner *p, const struct lrqk_session_options *so, struct lrqk_plan *out) {
  lrqk_session *s;
  struct attention_stats st;
  struct attention_plan a;
  TRY(lrqk_session_open(&s, p->engine, so));
  enum lrqk_status r = attention_stats(s->attention, &st);
  attention_plan(s->attention, s->n_ctx, p->hits, &a);
  *out = (struct lrqk_plan){ .cache = s->attention->asked, .n_ctx = s->n_ctx, .weights = p->engine->weights->weight_bytes, .dense = a.dense,
                             .windows = a.windows, .proxies = a.proxies, .active = a.active, .lite = a.lite, .maps = a.maps, .work = a.work,
                             .device_kv_bytes = st.device_bytes, .host_kv_bytes = st.host_bytes, .bus_bytes = a.bus };
  out->read_bytes = out->weights + a.read;
  lrqk_engine_memory(p->engine, &out->memory);
  out->scratch = out->memory.device - out->weights - st.device_bytes;
  lrqk_session_close(s);
  return r;
}

static uint64_t needed(const struct planner *p, const struct limit *l, const struct lrqk_plan *x) {
  return (l->device ? x->memory.device + p->taken : 0) + (l->host ? x->memory.host + x->memory.staging : 0);
}

/* Bytes beyond the limits; 0: it fits. */
static uint64_t excess(const struct planner *p, const struct lrqk_plan *x) {
  uint64_t sum = 0;
  for (int i = 0; i < p->n_limits; i++) {
    uint64_t n = needed(p, &p->limit[i], x);
    if (n > p->limit[i].budget) sum += n - p->limit[i].budget;
  }
  return sum;
}

/* ---- giving up */

/* One step; false: there is none left.  The context is done apart. */
static bool reduce(const struct planner *p, struct lrqk_session_options *so, enum what what) {
  struct lrqk_cache_options *c = &so->cache;
  static const uint64_t none[8];
  uint32_t eighth = p->model.hp.head_size / 8 / 4 * 4, most = c->active < so->n_ctx ? c->active : so->n_ctx, least = LEAST_ACTIVE;
  if (c->policy != LRQK_POLICY_LRQK) return false;
  switch (what) {
    case DENSE:
      if (!memcmp(c->dense, none, sizeof none)) return false;
      memset(c->dense, 0, sizeof c->dense);
      return true;
    case PROXY_TYPE:
      if (c->proxy_type == LRQK_PROXY_INT8) return false;
      c->proxy_type = LRQK_PROXY_INT8;
      return true;
    case ACTIVE:
      if (least < c->sinks) least = c->sinks;
      if (most <= least) return false;
      c->active = most / 2 > least ? most / 2 : least;
      return true;
    case RANK:
      if (eighth < 4 || c->rank / 8 * 4 < eighth) return false;
      c->rank = c->rank / 8 * 4;
      return true;
    default: return false;
  }
}

/* The longest context that fits, in steps of CTX_STEP; the shortest where none does. */
static enum lrqk_status shorten(struct planner *p, struct lrqk_session_options *so, struct lrqk_plan *now) {
  uint32_t lo = p->least_ctx > LEAST_CTX ? p->least_ctx : LEAST_CTX, hi = so->n_ctx;
  struct lrqk_session_options less = *so;
  struct lrqk_plan then;
  if (lo >= hi) return LRQK_OK;
  less.n_ctx = lo;
  TRY(count(p, &less, now));
  *so = less;
  if (excess(p, now)) return LRQK_OK;
  while (hi - lo > CTX_STEP) {
    uint32_t steps = (hi - lo) / CTX_STEP / 2;
    less.n_ctx = lo + (steps ? steps : 1) * CTX_STEP;
    TRY(count(p, &less, &then));
    if (excess(p, &then)) {
      hi = less.n_ctx;
      continue;
    }
    lo = less.n_ctx;
    *so = less;
    *now = then;
  }
  return LRQK_OK;
}

/* Steps of one kind until it fits; those that save nothing do not count. */
static enum lrqk_status give_up(struct planner *p, struct lrqk_session_options *so, struct lrqk_plan *now, enum what what) {
  struct lrqk_session_options less = *so;
  struct lrqk_plan then;
  if (what == CTX) return excess(p, now) ? shorten(p, so, now) : LRQK_OK;
  while (excess(p, now) && reduce(p, &less, what)) {
    TRY(count(p, &less, &then));
    if (excess(p, &then) >= excess(p, now)) continue;
    *so = less;
    *now = then;
  }
  return LRQK_OK;
}

/* An option is again what it was, if that fits after all. */
static enum lrqk_status take_back(struct planner *p, struct lrqk_session_options *so, struct lrqk_plan *now, const struct lrqk_plan *first, enum what what) {
  struct lrqk_session_options more = *so;
  struct lrqk_plan then;
  if (what == DENSE) memcpy(more.cache.dense, first->cache.dense, sizeof more.cache.dense);
  else if (what == PROXY_TYPE) more.cache.proxy_type = first->cache.proxy_type;
  else if (what == ACTIVE) more.cache.active = first->cache.active;
  else if (what == RANK) more.cache.rank = first->cache.rank;
  if (!memcmp(&more, so, sizeof more)) return LRQK_OK;
  TRY(count(p, &more, &then));
  if (excess(p, &then)) return LRQK_OK;
  *so = more;
  *now = then;
  return LRQK_OK;
}

/* ---- words */

static void layers_text(const uint64_t bits[8], char *out, size_t cap) {
  size_t n = (size_t)snprintf(out, cap, "none");
  bool first = true;
  for (uint32_t i = 0, end; i < MAX_LAYERS; i = end + 1) {
    for (end = i; end < MAX_LAYERS && bits[end / 64] >> (end % 64) & 1; end++) {}
    if (end == i || n >= cap) continue;
    if (first) n = 0;
    n += (size_t)snprintf(out + n, cap - n, first ? "%u" : ",%u", i);
    if (end > i + 1 && n < cap) n += (size_t)snprintf(out + n, cap - n, "-%u", end - 1);
    first = false;
  }
}

/* The value of an option, as on the command line. */
static void value_text(const struct lrqk_plan *x, enum what what, char *out, size_t cap) {
  if (what == DENSE) layers_text(x->cache.dense, out, cap);
  else if (what == PROXY_TYPE) snprintf(out, cap, "%s", x->cache.proxy_type == LRQK_PROXY_INT8 ? "int8" : "fp16");
  else snprintf(out, cap, "%u", what == ACTIVE ? x->cache.active : what == RANK ? x->cache.rank : x->n_ctx);
}

static const char *const option_names[N_WHAT] = { "dense-layers", "proxy-type", "active", "rank", "ctx-size" };

/* What differs, in the order of giving up.  flags: as flags with the values of b, else "name a -> b, ..." */
static void changes_text(const struct lrqk_plan *a, const struct lrqk_plan *b, bool flags, char *out, size_t cap) {
  size_t n = 0;
  out[0] = 0;
  for (int w = 0; w < N_WHAT && n < cap; w++) {
    char was[64], is[64];
    value_text(a, (enum what)w, was, sizeof was);
    value_text(b, (enum what)w, is, sizeof is);
    if (!strcmp(was, is)) continue;
    if (flags) n += (size_t)snprintf(out + n, cap - n, "%s--%s %s", n ? " " : "", option_names[w], is);
    else n += (size_t)snprintf(out + n, cap - n, "%s%s %s -> %s", n ? ", " : "", option_names[w], was, is);
  }
}

/* Says which flag would help: one of those that were to be kept, another policy, or all of them. */
static enum lrqk_status hint(struct planner *p, const struct log *log, const struct lrqk_session_options *so, const struct lrqk_plan *now) {
  static const enum what order[] = { ACTIVE, DENSE, PROXY_TYPE, RANK, CTX };
  struct lrqk_session_options less;
  struct lrqk_plan then;
  char flags[200];
  if (p->engine->weights->weight_bytes > p->limit[0].budget) {
    log_hint(log, "the weights alone take %llu bytes: a smaller model or weights of fewer bits", (unsigned long long)p->engine->weights->weight_bytes);
    return LRQK_OK;
  }
  if (so->cache.policy != LRQK_POLICY_LRQK) {
    less = *so;
    less.cache.policy = LRQK_POLICY_LRQK;
    if (count(p, &less, &then) == LRQK_OK && !excess(p, &then)) {
      log_hint(log, "--attention lrqk fits");
      return LRQK_OK;
    }
  }
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    less = *so, then = *now;
    TRY(give_up(p, &less, &then, order[i]));
    if (excess(p, &then)) continue;
    changes_text(now, &then, true, flags, sizeof flags);
    log_hint(log, "%s fits", flags);
    return LRQK_OK;
  }
  less = *so, then = *now;
  for (int w = 0; w < N_WHAT; w++) TRY(give_up(p, &less, &then, (enum what)w));
  changes_text(now, &then, true, flags, sizeof flags);
  if (!excess(p, &then)) log_hint(log, "%s fits", flags);
  else log_hint(log, "%s%sat least %llu bytes are needed", flags, *flags ? ": still " : "", (unsigned long long)needed(p, &p->limit[0], &then));
  return LRQK_OK;
}

static enum lrqk_status refuse(struct planner *p, const struct log *log, const struct lrqk_session_options *so, const struct lrqk_plan *now) {
  static const char *const names[] = { "full", "offload", "lrqk" };
  const struct limit *l = &p->limit[0];
  if (p->n_limits > 1 && needed(p, l, now) <= l->budget) l++;
  char others[64] = "";
  if (p->taken) snprintf(others, sizeof others, " (%llu of them by other sessions)", (unsigned long long)p->taken);
  fail(log, LRQK_MEMORY, "policy %s with a context of %u tokens: %llu bytes of %s are needed%s%s%s, the budget is %llu", names[so->cache.policy], now->n_ctx,
       (unsigned long long)needed(p, l, now), l->what, others, *now->given_up ? ", even with " : "", now->given_up, (unsigned long long)l->budget);
  const struct log loud = *log;   /* what is tried for the hint is nobody's error */
  p->engine->dev->log = p->model.log = (struct log){ 0 };
  enum lrqk_status s = hint(p, &loud, so, now);
  return s == LRQK_OK ? LRQK_MEMORY : s;
}

/* ---- budgets */

/* Bytes of the largest heap of device memory that are free, or all of it where that is not known. */
static uint64_t device_free(const struct lrqk_device_info *info) {
  const struct lrqk_memory_info *best = NULL;
  for (uint32_t i = 0; i < info->n_memory; i++)
    if (strstr(info->memory[i].flags, "device") && (!best || info->memory[i].bytes > best->bytes)) best = &info->memory[i];
  return !best ? 0 : best->free ? best->free : best->bytes;
}

/* A device that does not say what it has limits nothing. */
static void set_limits(struct planner *p, uint64_t vram) {
  const struct lrqk_device_info *info = &p->engine->dev->caps.info;
  uint64_t total, available;
  ram_bytes(&total, &available);
  uint64_t device = device_free(info);
  if (info->unified && available && (!device || available < device)) device = available;
  if (vram) {
    p->limit[p->n_limits++] = (struct limit){ "device memory", true, false, vram };
  } else if (info->unified) {
    if (device) p->limit[p->n_limits++] = (struct limit){ "memory, which host and device share,", true, true, device };
  } else {
    if (device) p->limit[p->n_limits++] = (struct limit){ "device memory", true, false, device };
    if (available) p->limit[p->n_limits++] = (struct limit){ "host memory", false, true, available };
  }
}

static enum lrqk_status planner_open(struct planner *p, const lrqk_model *m, const struct lrqk_engine_options *eo, const struct device *as) {
  *p = (struct planner){ .model = *m, .hits = HIT_RATE };
  return engine_count(&p->engine, &p->model, eo, as);
}

static enum lrqk_status make(struct planner *p, const struct lrqk_plan_options *o, struct lrqk_plan *out) {
  struct lrqk_session_options so = o->session;
  struct lrqk_plan first, now;
  TRY(count(p, &so, &first));
  so.cache = first.cache;   /* defaults filled in */
  so.n_ctx = first.n_ctx;
  now = first;
  for (int w = 0; w < N_WHAT; w++)
    if (!(o->keep >> w & 1)) TRY(give_up(p, &so, &now, (enum what)w));
  for (int w = 0; w < CTX && !excess(p, &now); w++) TRY(take_back(p, &so, &now, &first, (enum what)w));
  changes_text(&first, &now, false, now.given_up, sizeof now.given_up);
  if (excess(p, &now)) return refuse(p, &p->model.log, &so, &now);
  if (p->n_limits) now.budget = p->limit[0].budget;
  now.needed = p->n_limits ? needed(p, &p->limit[0], &now) : now.memory.device;
  *out = now;
  return LRQK_OK;
}

enum lrqk_status lrqk_plan_make(struct lrqk_plan *out, lrqk_model *m, const struct lrqk_plan_options *opt) {
  struct planner p;
  TRY(planner_open(&p, m, &opt->engine, NULL));
  if (opt->hit_rate > 0) p.hits = opt->hit_rate;
  p.least_ctx = opt->least_ctx;
  set_limits(&p, opt->engine.vram);
  enum lrqk_status s = make(&p, opt, out);
  lrqk_engine_close(p.engine);
  return s;
}

enum lrqk_status plan_check_weights(const lrqk_engine *e, const struct lrqk_engine_options *opt) {
  struct planner p;
  TRY(planner_open(&p, e->model, opt, e->dev));
  uint64_t bytes = p.engine->dev->placed[PLACE_DEVICE];
  lrqk_engine_close(p.engine);
  if (bytes <= e->vram) return LRQK_OK;
  fail(&e->model->log, LRQK_MEMORY, "the weights alone need %llu bytes of device memory, the budget is %llu", (unsigned long long)bytes,
       (unsigned long long)e->vram);
  log_hint(&e->model->log, "a smaller model or weights of fewer bits");
  return LRQK_MEMORY;
}

enum lrqk_status plan_check(lrqk_engine *e, const struct lrqk_session_options *opt) {
  struct planner p;
  struct lrqk_engine_options eo = { .n_layers = e->weights->hp.n_layers };
  struct lrqk_plan now;
  struct lrqk_session_options so = *opt;
  TRY(planner_open(&p, e->model, &eo, e->dev));
  set_limits(&p, e->vram);
  p.taken = e->dev->placed[PLACE_DEVICE] - p.engine->dev->placed[PLACE_DEVICE];
  enum lrqk_status s = count(&p, &so, &now);
  if (s == LRQK_OK && excess(&p, &now)) {
    so.cache = now.cache;
    so.n_ctx = now.n_ctx;
    s = refuse(&p, &e->model->log, &so, &now);
  }
  lrqk_engine_close(p.engine);
  return s;
}
