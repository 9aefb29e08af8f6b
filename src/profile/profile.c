/* profile.c - see profile.h.  While a call is profiled, every command that is recorded becomes an item here; when the call
 * is over, the device has one span for each, in the same order. */
#include "profile/profile.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "profile/cost.h"

enum { EVERY = 8 };   /* decoded tokens */

struct item {
  struct lrqk_profile_event e;
  uint64_t miss_bytes;            /* gather: bytes of one missing row, read over the bus and written; else 0 */
};

/* Rows chosen and missed in a layer: running totals of each list, which a kernel keeps on the device. */
struct misses { struct view stat; uint64_t before; bool known; };

/* A submit: the host's time before any of it may have run, and its first item. */
struct sent { uint64_t at, first; };

struct profile {
  struct device *dev;
  struct lrqk_profile_options opt;
  struct device_watch watch;
  const uint32_t *step;
  struct misses *misses;          /* [n_layers] */
  uint32_t n_layers;
  bool fresh, active, failed;
  enum lrqk_phase phase;
  uint64_t token, decoded;        /* decoded: calls so far */
  uint32_t calls;                 /* that were profiled */
  uint64_t submission, first;     /* submits so far; the first item of this one */
  struct item *item;              /* commands, in order */
  size_t n, cap;
  struct lrqk_profile_event *host;
  size_t n_host, cap_host;
  uint64_t begin, call_begin;     /* of the whole, of a submit or wait */
  struct clocks before;           /* the call, where the driver compares clocks */
  bool compared;
  uint64_t recorded;              /* host time of the first command of this submission */
  struct sent *sent;              /* submits of this call */
  size_t n_sent, cap_sent;
};

/* The list with room for one more; NULL: no memory, the profile of this call is dropped. */
static void *grown(struct profile *p, void *list, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return list;
  size_t more = *cap ? *cap * 2 : 1024;
  void *q = mem_realloc(list, more, size);
  if (q) *cap = more;
  else p->failed = true;
  return q;
}

/* ---- what a command is for */

static const char *const kernel_stage[N_KERNELS] = {
  [KERNEL_RMS_NORM] = "norm", [KERNEL_RMS_NORM_ADD] = "norm", [KERNEL_HEAD_NORM] = "norm",
  [KERNEL_RMS_NORM_TILE] = "norm", [KERNEL_RMS_NORM_ADD_TILE] = "norm", [KERNEL_HEAD_NORM_TILE] = "norm", [KERNEL_ADD] = "residual",
  [KERNEL_ROPE] = "attention.rope", [KERNEL_ROPE_KEEP] = "attention.rope", [KERNEL_TOKEN_APPEND] = "attention.append",
  [KERNEL_TOKEN_APPEND_I8] = "attention.append", [KERNEL_TOKEN_APPEND_F16] = "attention.append",
  [KERNEL_RING_FILL] = "attention.append",
  [KERNEL_PAIR_ENERGY] = "attention.proxy", [KERNEL_PAIR_CHOOSE] = "attention.proxy", [KERNEL_PROXY_BUILD_I8] = "attention.proxy",
  [KERNEL_PROXY_BUILD_F16] = "attention.proxy", [KERNEL_GRAM_SUM] = "attention.proxy", [KERNEL_QUERY_SUM] = "attention.proxy",
  [KERNEL_MAP_PROXY_I8] = "attention.proxy", [KERNEL_MAP_PROXY_F16] = "attention.proxy", [KERNEL_TOKEN_MAP_I8] = "attention.append",
  [KERNEL_TOKEN_MAP_F16] = "attention.append", [KERNEL_VALUE_SUM] = "attention.proxy",
  [KERNEL_GRAM_FOLD] = "attention.proxy", [KERNEL_MAP_ROWS] = "attention.proxy", [KERNEL_MAP_PACK_I8] = "attention.proxy",
  [KERNEL_MAP_PACK_F16] = "attention.proxy",
  [KERNEL_SCORE_STAT_I8] = "attention.select", [KERNEL_SCORE_STAT_F16] = "attention.select",
  [KERNEL_SCORE_STAT_I8_MEAN] = "attention.select", [KERNEL_SCORE_STAT_F16_MEAN] = "attention.select",
  [KERNEL_SCORE_STAT_I8_SLOW] = "attention.select", [KERNEL_SCORE_STAT_F16_SLOW] = "attention.select",
  [KERNEL_SCORE_TILE_I8] = "attention.select", [KERNEL_SCORE_TILE_F16] = "attention.select",
  [KERNEL_SCORE_TILE_I8_MEAN] = "attention.select", [KERNEL_SCORE_TILE_F16_MEAN] = "attention.select",
  [KERNEL_SCORE_TILE_I8_SLOW] = "attention.select", [KERNEL_SCORE_TILE_F16_SLOW] = "attention.select",
  [KERNEL_MEAN_COEF] = "attention.select", [KERNEL_MEAN_SCORE] = "attention.select", [KERNEL_SEL_KEYS] = "attention.select",
  [KERNEL_SEL_COUNT] = "attention.select", [KERNEL_SEL_EMIT] = "attention.select", [KERNEL_SEL_ONE] = "attention.select",
  [KERNEL_SEL_ALL] = "attention.select", [KERNEL_RESIDENCY] = "attention.gather", [KERNEL_RESIDENCY_TILE] = "attention.gather",
  [KERNEL_GATHER] = "attention.gather",
  [KERNEL_TAIL_MIX] = "attention.tail", [KERNEL_TAIL_MIX_SPLIT] = "attention.tail",
};

/* A kernel that serves one stage says it; of the others the forward pass knows. */
static const char *stage_of(const struct device *d, const struct command *c) {
  const char *fixed = c->kernel ? kernel_stage[c->kernel->id] : NULL;
  if (fixed) return fixed;
  if (!c->kernel && !strcmp(d->at_stage, "attention")) return "attention.rows";
  return d->at_stage;
}

static void count_bytes(struct item *it, const struct command *c, const struct cost *cost) {
  for (uint32_t i = 0; i < c->n_views; i++)
    *(c->views[i].buf->place == PLACE_HOST ? &it->e.bus_bytes : &it->e.device_bytes) += cost->bytes[i];
}

static void on_command(void *ud, const struct command *c) {
  struct profile *p = ud;
  const struct device *d = p->dev;
  if (p->opt.whole && p->n > p->first) return;   /* its submit has an item */
  struct item *list = grown(p, p->item, p->n, &p->cap, sizeof *list);
  if (!list) return;
  p->item = list;
  if (p->n == p->first) p->recorded = clock_ns();
  if (p->opt.whole) {
    list[p->n++] = (struct item){ .e = { .phase = p->phase, .name = "submit", .stage = "submit", .layer = -1, .token = p->token,
                                         .submission = p->submission } };
    return;
  }
  struct item *it = &p->item[p->n++];
  *it = (struct item){ .e = { .phase = p->phase, .name = c->name, .stage = stage_of(d, c), .layer = d->at_layer, .token = p->token,
                              .submission = p->submission } };
  struct cost cost;
  cost_of(&cost, c, p->phase == LRQK_PHASE_DECODE ? p->step : NULL);
  it->e.flops = cost.flops;
  memcpy(it->e.size, cost.size, sizeof it->e.size);
  count_bytes(it, c, &cost);
  if (!c->kernel) return;
  memcpy(it->e.grid, c->groups, sizeof it->e.grid);
  it->e.workgroup = c->kernel->spec[0];
  bool of_layer = d->at_layer >= 0 && (uint32_t)d->at_layer < p->n_layers;
  if ((c->kernel->id == KERNEL_RESIDENCY || c->kernel->id == KERNEL_RESIDENCY_TILE) && of_layer) p->misses[d->at_layer].stat = c->views[6];
  if (c->kernel->id == KERNEL_GATHER && of_layer) it->miss_bytes = (uint64_t)c->kernel->spec[1] * 16;
}

/* ---- the host's own time */

static void host_event(struct profile *p, const char *name, uint64_t begin, uint64_t end) {
  struct lrqk_profile_event *list = grown(p, p->host, p->n_host, &p->cap_host, sizeof *list);
  if (!list) return;
  p->host = list;
  p->host[p->n_host++] = (struct lrqk_profile_event){ .phase = p->phase, .host = true, .name = name, .stage = "host", .layer = -1,
                                                      .token = p->token, .begin_ns = begin, .end_ns = end, .submission = p->submission };
}

/* Back ends other than vulkan may run commands as they come. */
static void note_submit(struct profile *p, uint64_t now) {
  struct sent *list = grown(p, p->sent, p->n_sent, &p->cap_sent, sizeof *list);
  if (!list) return;
  p->sent = list;
  list[p->n_sent++] = (struct sent){ strcmp(p->dev->ops->name, "vulkan") ? p->recorded : now, p->first };
}

static void on_call(void *ud, enum device_call call, bool done) {
  struct profile *p = ud;
  uint64_t now = clock_ns();
  if (!done) {
    p->call_begin = now;
    if (call == CALL_SUBMIT && p->n > p->first) note_submit(p, now);
    return;
  }
  host_event(p, call == CALL_SUBMIT ? "submit" : "wait", p->call_begin, now);
  if (call == CALL_SUBMIT) {
    p->first = p->n;
    p->submission++;
    p->dev->counter_turn++;
  }
}

/* ---- misses of a layer */

static enum lrqk_status read_misses(struct profile *p, const struct misses *m, uint64_t *sum) {
  uint32_t stat[64][2];
  *sum = 0;
  for (uint64_t at = 0; at < m->stat.size; at += sizeof stat) {
    uint64_t n = m->stat.size - at < sizeof stat ? m->stat.size - at : sizeof stat;
    TRY(device_read(p->dev, stat, (struct view){ m->stat.buf, m->stat.offset + at, n }, n));
    for (uint64_t i = 0; i < n / 8; i++) *sum += stat[i][1];
  }
  return LRQK_OK;
}

/* What the counters say before the call, where it is known which they are. */
static enum lrqk_status misses_begin(struct profile *p) {
  for (uint32_t i = 0; i < p->n_layers; i++) {
    struct misses *m = &p->misses[i];
    m->known = p->fresh || m->stat.buf;
    m->before = 0;
    if (!p->fresh && m->stat.buf) TRY(read_misses(p, m, &m->before));
  }
  return LRQK_OK;
}

/* A gather is charged for the rows that were missing; those of one layer share them, because which page a row came from is
 * not known. */
static enum lrqk_status charge_gathers(struct profile *p) {
  for (uint32_t i = 0; i < p->n_layers; i++) {
    struct misses *m = &p->misses[i];
    uint64_t gathers = 0, now = 0;
    for (size_t k = 0; k < p->n; k++) gathers += p->item[k].miss_bytes && p->item[k].e.layer == (int32_t)i;
    if (!gathers || !m->known || !m->stat.buf) continue;
    TRY(read_misses(p, m, &now));
    for (size_t k = 0; k < p->n; k++) {
      struct item *it = &p->item[k];
      if (it->miss_bytes && it->e.layer == (int32_t)i) it->e.bus_bytes = it->e.device_bytes = (now - m->before) * it->miss_bytes / gathers;
    }
  }
  return LRQK_OK;
}

/* ---- a call */

enum lrqk_status profile_open(struct profile **out, struct device *dev, uint32_t n_layers, const uint32_t *step, bool fresh,
                              const struct lrqk_profile_options *opt) {
  struct profile *p = mem_alloc(1, sizeof *p);
  struct misses *m = mem_alloc(n_layers, sizeof *m);
  if (!p || !m) {
    mem_free(p);
    mem_free(m);
    return fail(&dev->log, LRQK_MEMORY, "cannot allocate a profile");
  }
  *p = (struct profile){ .dev = dev, .opt = *opt, .watch = { on_command, on_call, p }, .step = step, .misses = m, .n_layers = n_layers,
                         .fresh = fresh };
  if (!p->opt.every) p->opt.every = EVERY;
  dev->stamping = false;
  *out = p;
  return LRQK_OK;
}

void profile_close(struct profile *p) {
  if (!p) return;
  mem_free(p->misses);
  mem_free(p->item);
  mem_free(p->host);
  mem_free(p->sent);
  mem_free(p);
}

enum lrqk_status profile_begin(struct profile *p, enum lrqk_phase phase, uint64_t token) {
  if (!p) return LRQK_OK;
  if (phase == LRQK_PHASE_DECODE && p->decoded++ % p->opt.every) return LRQK_OK;
  struct device *d = p->dev;
  TRY(device_submit(d, NULL));   /* what was recorded before has no part in it */
  TRY(device_wait(d, 0));
  if (phase == LRQK_PHASE_DECODE) TRY(misses_begin(p));
  device_spans(d, NULL, 0);
  p->phase = phase;
  p->token = token;
  p->n = p->first = p->n_host = p->n_sent = 0;
  p->failed = false;
  p->active = true;
  d->counter_turn = p->calls++;
  d->at_layer = -1;
  d->at_stage = "embed";
  d->watch = &p->watch;
  d->stamping = true;
  d->serial = p->opt.serial;
  d->whole = p->opt.whole;
  p->compared = device_clocks(d, &p->before);
  p->begin = clock_ns();
  return LRQK_OK;
}

/* From the device's clock to the host's: a line, because clocks run apart by some millionths. */
struct line { uint64_t device_ns, host_ns, error_ns; double slope; };

static uint64_t host_time(const struct line *l, uint64_t device_ns) {
  return l->host_ns + (uint64_t)(int64_t)((double)(int64_t)(device_ns - l->device_ns) * l->slope);
}

/* Without the driver's word: no command ran before it was sent (the host is ahead by more than `least`) and all had run when the last
 * wait returned (by less than `most`). */
static struct line measured(const struct profile *p, const struct span *span, uint64_t end) {
  int64_t least = INT64_MIN, most = (int64_t)(end - span[p->n - 1].end_ns);
  for (size_t i = 0; i < p->n_sent; i++) {
    int64_t x = (int64_t)(p->sent[i].at - span[p->sent[i].first].begin_ns);
    if (x > least) least = x;
  }
  int64_t offset = most - (most - least) / 2;
  return (struct line){ span[0].begin_ns, span[0].begin_ns + (uint64_t)offset, most > least ? (uint64_t)(most - least) / 2 : 0, 1 };
}

static struct line align(const struct profile *p, const struct span *span, uint64_t end) {
  struct clocks a = p->before, b;
  if (!p->compared || !device_clocks(p->dev, &b) || b.device_ns <= a.device_ns) return measured(p, span, end);
  return (struct line){ a.device_ns, a.host_ns, a.error_ns > b.error_ns ? a.error_ns : b.error_ns,
                        (double)(int64_t)(b.host_ns - a.host_ns) / (double)(b.device_ns - a.device_ns) };
}

static void send(const struct profile *p, const struct span *span, uint64_t end) {
  struct line line = align(p, span, end);
  for (size_t i = 0; i < p->n_host; i++) p->opt.fn(p->opt.ud, &p->host[i]);
  for (size_t i = 0; i < p->n; i++) {
    struct lrqk_profile_event e = p->item[i].e;
    e.begin_ns = host_time(&line, span[i].begin_ns);
    e.end_ns = host_time(&line, span[i].end_ns);
    e.clock_error_ns = line.error_ns;
    e.n_counters = (uint32_t)device_counters(p->dev, &span[i], &e.counters);
    p->opt.fn(p->opt.ud, &e);
  }
}

enum lrqk_status profile_end(struct profile *p, bool ok) {
  if (!p || !p->active) return LRQK_OK;
  struct device *d = p->dev;
  uint64_t end = clock_ns();
  host_event(p, "call", p->begin, end);
  p->active = d->stamping = d->serial = d->whole = false;
  d->watch = NULL;
  if (p->phase == LRQK_PHASE_DECODE) p->fresh = false;
  if (!ok || !p->n) return LRQK_OK;
  if (p->failed) return fail(&d->log, LRQK_MEMORY, "cannot allocate the profile of %zu commands", p->n);
  struct span *span = mem_alloc(p->n + 1, sizeof *span);
  if (!span) return fail(&d->log, LRQK_MEMORY, "cannot allocate the times of %zu commands", p->n);
  size_t n = device_spans(d, span, p->n + 1);
  enum lrqk_status s = n == p->n ? LRQK_OK : fail(&d->log, LRQK_RUNTIME, "profile: %zu commands, %zu times", p->n, n);
  for (size_t i = 0; s == LRQK_OK && i < n; i++)
    if (strcmp(span[i].name, p->item[i].e.name))
      s = fail(&d->log, LRQK_RUNTIME, "profile: command %zu is %s, its time belongs to %s", i, p->item[i].e.name, span[i].name);
  if (s == LRQK_OK && p->phase == LRQK_PHASE_DECODE) s = charge_gathers(p);
  if (s == LRQK_OK) send(p, span, end);
  mem_free(span);
  return s;
}
