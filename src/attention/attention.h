/* attention.h - an attention policy: where the KV rows of a text lie, and which of them a decode step reads.
 * The forward pass calls it once per layer; policies differ in nothing else.  Each policy is one file: full.c,
 * offload.c, lrqk.c.  Calls record work on the device; faults come out of device_submit. */
#ifndef ATTENTION_ATTENTION_H
#define ATTENTION_ATTENTION_H

#include <lrqk/profile.h>

#include "attention/window.h"
#include "cache/state.h"

struct attention;

struct attention_stats { uint64_t device_bytes, host_bytes, bus_bytes, hidden_bytes, chosen, misses; };

/* Parts of device_bytes; and what a decode step reads of them and moves over the bus (lrqk_plan). */
struct attention_plan { uint64_t dense, windows, proxies, active, lite, maps, work, read, bus; };

/* Calls marked optional may be NULL: the policy has nothing to do there.  A policy has the full-attention layers; windowed
 * ones are attention.c's (window.h), and no call is made for them.  Who calls a policy does so through attention_NAME. */
struct attention_ops {
  const char *name;
  size_t size;                    /* of the policy's struct, which begins with a struct attention */
  /* Allocates everything for core->n_ctx tokens.  On failure destroy is called. */
  enum lrqk_status (*init)(struct attention *a);
  void (*destroy)(struct attention *a);

  /* Prefill of a block of tokens that follow the l0 that the cache holds, layer by layer:
   * begin, then prefill for each chunk in order, then end, which makes the cache hold l tokens. */
  void (*prefill_begin)(struct attention *a, uint32_t layer, uint32_t l0);   /* optional */
  /* qkv [m][(Hq + 2Hk)*d] before RoPE, cs [m][d/2][2] -> y [m][Hq*d], exact attention; t0 .. t0+m lie in one page. */
  void (*prefill)(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y);
  void (*prefill_end)(struct attention *a, uint32_t layer, uint32_t l);      /* optional */
  void (*mark)(struct attention *a);               /* optional: before the first block of a prompt, keeps what rewind needs */
  /* Optional: the cache keeps the first l tokens.  kept: sums are those of mark, else those of now; either way they are of
   * `from` tokens, and where l is less they are scaled to it: what the queries of a part alone would have added is not known. */
  enum lrqk_status (*cut)(struct attention *a, uint32_t from, uint32_t l, bool kept);
  /* All that a cache of l tokens is, written or read; marked: with what mark keeps.  Loading goes to a cache without tokens. */
  enum lrqk_status (*state)(struct attention *a, struct state *st, uint32_t l, bool marked);

  /* The exact rows of a layer; and l tokens taken over from another policy's cache on the same device, which holds them
   * with all sums (attention_can_lend). */
  const struct kv_rows *(*rows)(struct attention *a, uint32_t layer);
  void (*adopt)(struct attention *a, struct attention *from, uint32_t l);

  /* One token at position t: words gets STEP_* (shaders/step.h), then decode is called for each layer in order. */
  void (*step)(struct attention *a, uint32_t t, uint32_t *words);            /* optional: words that attention_step does not set */
  void (*decode)(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y);

  enum lrqk_status (*stats)(struct attention *a, struct attention_stats *out);      /* may read the device */
  /* Optional: of one layer, counters [hk] (zeroed before), and the tokens that the last step chose for a KV head (the lists of its
   * query heads one after another where they have lists of their own): *n of them, cap are written. */
  enum lrqk_status (*heads)(struct attention *a, uint32_t layer, struct lrqk_head_stats *out);
  enum lrqk_status (*chosen)(struct attention *a, uint32_t layer, uint32_t head, uint32_t *tokens, size_t cap, size_t *n);
  /* Optional: of the last step, whose queries q [Hq][d] of this layer were kept: out [hk], set to NAN before. */
  enum lrqk_status (*quality)(struct attention *a, uint32_t layer, const float *q, struct lrqk_head_quality *out);
  enum lrqk_status (*verify)(struct attention *a, uint32_t l, uint64_t *differing); /* optional, see lrqk_session_verify */
  enum lrqk_status (*choice)(struct attention *a, struct lrqk_choice *out);         /* optional, see lrqk_session_verify_choice */
  /* Parts, and a step at the last of l tokens where `hits` of the chosen rows are on the device already. */
  void (*plan)(const struct attention *a, uint32_t l, double hits, struct attention_plan *out);
};

struct attention {
  const struct attention_ops *ops;
  struct attn_core core;
  struct lrqk_cache_options asked, opt;   /* with defaults filled in; and with limits applied */
  struct windows windows;
  uint32_t t;                     /* position of the token of this step */
  bool keep;                      /* decode steps copy their queries to kept: [L][Hq*d] float, made by attention_keep */
  struct buffer *kept;
};

enum lrqk_status attention_open(struct attention **out, struct device *dev, const struct hparams *hp, uint32_t n_ctx,
                                const struct lrqk_cache_options *opt, struct view step);
void attention_close(struct attention *a);                /* NULL is fine */

/* The options that a saved session depends on, as words "key=value". */
enum { ATTENTION_SETTINGS = 640 };
void attention_settings(const struct attention *a, char out[ATTENTION_SETTINGS]);

/* Sets a->t and the words of the step buffer for the token at position t. */
void attention_step(struct attention *a, uint32_t t, uint32_t *words);

/* The calls of attention_ops for any layer, windowed or not. */
void attention_prefill_begin(struct attention *a, uint32_t layer, uint32_t l0);
void attention_prefill(struct attention *a, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y);
void attention_prefill_end(struct attention *a, uint32_t layer, uint32_t l);
void attention_decode(struct attention *a, uint32_t layer, struct view qkv, struct view cs, struct view y);
void attention_mark(struct attention *a);
enum lrqk_status attention_cut(struct attention *a, uint32_t from, uint32_t l, bool kept);
bool attention_can_cut(const struct attention *a, uint32_t from, uint32_t l);   /* windows still hold what the rest can see */
enum lrqk_status attention_state(struct attention *a, struct state *st, uint32_t l, uint32_t marked, bool has_mark);   /* marked: the length then */
void attention_adopt(struct attention *a, struct attention *from, uint32_t l);
/* Whether queries are kept from now on, for attention_quality: out [L][hk] of the last step. */
enum lrqk_status attention_keep(struct attention *a, bool on);
enum lrqk_status attention_quality(struct attention *a, struct lrqk_head_quality *out);
enum lrqk_status attention_stats(struct attention *a, struct attention_stats *out);
void attention_plan(const struct attention *a, uint32_t l, double hits, struct attention_plan *out);
/* The exact rows of a layer; token t lies at row t % rows->n_ctx.  Of a windowed layer only the newest ones are there. */
const struct kv_rows *attention_rows(struct attention *a, uint32_t layer);

extern const struct attention_ops attention_full, attention_offload, attention_lrqk;

/* Whether `to` can adopt from it. */
bool attention_can_lend(const struct attention *a, const struct attention *to);

static inline bool attention_is_dense(const struct lrqk_cache_options *o, uint32_t layer) { return o->dense[layer / 64] >> (layer % 64) & 1; }

#endif
