/* profile_heads.c - what each KV head of each layer chose, missed and fetched while tokens were decoded, and where in the text the
 * chosen tokens lie.  Read back around timed tokens only, outside of their time (cmd_profile.c); shown as a table and as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

bool profile_sample_add(struct profile_samples *s, uint64_t token, size_t bytes, void **data) {
  *data = NULL;
  if (!s->stride) s->stride = 1;
  if (s->seen++ % s->stride) return true;
  if (s->n == PROFILE_SAMPLES) {   /* every other one goes, and from now on every other one comes */
    for (size_t i = 0; i < s->n; i++)
      if (i % 2) free(s->list[i].data);
      else s->list[i / 2] = s->list[i];
    s->n /= 2;
    s->stride *= 2;
    if ((s->seen - 1) % s->stride) return true;
  }
  *data = calloc(1, bytes);
  if (*data) s->list[s->n++] = (struct profile_sample){ token, *data };
  return *data != NULL;
}

void profile_samples_free(struct profile_samples *s) {
  for (size_t i = 0; i < s->n; i++) free(s->list[i].data);
  *s = (struct profile_samples){0};
}

static size_t count(const struct profile_heads *h) { return (size_t)h->layers * h->heads; }

int profile_heads_open(struct profile_heads *h, struct ui *u, const struct lrqk_model_info *m, uint64_t tokens, const struct lrqk_cache_options *o) {
  uint64_t lists = m->n_heads / m->n_kv_heads;   /* at most, of a KV head */
  *h = (struct profile_heads){.layers = m->n_layers, .heads = m->n_kv_heads};
  h->bucket_tokens = (tokens + PROFILE_BUCKETS - 1) / PROFILE_BUCKETS;
  h->cap_chosen = (size_t)((o->active < tokens ? o->active : tokens) * lists);
  h->total = calloc(count(h), sizeof *h->total);
  h->was = calloc(count(h), sizeof *h->was);
  h->chosen = calloc(h->cap_chosen + 1, sizeof *h->chosen);
  return h->total && h->was && h->chosen ? 0 : ui_fail(u, LRQK_MEMORY, "out of memory for the counters of %zu heads", count(h));
}

void profile_heads_free(struct profile_heads *h) {
  profile_samples_free(&h->samples);
  free(h->total);
  free(h->was);
  free(h->chosen);
  *h = (struct profile_heads){0};
}

int profile_heads_before(struct profile_heads *h, lrqk_session *s) { return (int)lrqk_session_heads(s, h->was, count(h)); }

static int read_chosen(struct profile_heads *h, lrqk_session *s, uint32_t *active) {
  size_t n;
  for (size_t i = 0; i < count(h); i++) {
    int code = (int)lrqk_session_chosen(s, (uint32_t)(i / h->heads), (uint32_t)(i % h->heads), h->chosen, h->cap_chosen, &n);
    if (code) return code;
    for (size_t k = 0; k < n && k < h->cap_chosen; k++) active[i * PROFILE_BUCKETS + h->chosen[k] / h->bucket_tokens]++;
  }
  return 0;
}

int profile_heads_after(struct profile_heads *h, struct ui *u, lrqk_session *s, uint64_t token, bool chosen) {
  size_t n = count(h);
  void *data;
  if (!profile_sample_add(&h->samples, token, n * (sizeof(struct lrqk_head_stats) + PROFILE_BUCKETS * sizeof(uint32_t)), &data))
    return ui_fail(u, LRQK_MEMORY, "out of memory for the counters of %zu heads", n);
  if (!data) return 0;
  struct lrqk_head_stats *now = data;
  int code = (int)lrqk_session_heads(s, now, n);
  for (size_t i = 0; i < n; i++) {
    now[i].chosen -= h->was[i].chosen;
    now[i].misses -= h->was[i].misses;
    now[i].bus_bytes -= h->was[i].bus_bytes;
  }
  return !code && chosen ? read_chosen(h, s, (uint32_t *)(void *)(now + n)) : code;
}

int profile_heads_end(struct profile_heads *h, lrqk_session *s) { return (int)lrqk_session_heads(s, h->total, count(h)); }

double profile_hit_rate(const struct lrqk_head_stats *s) { return s->chosen ? 1 - (double)s->misses / (double)s->chosen : NAN; }

/* ---- forms -------------------------------------------------------------------------------------------------- */

struct line { const struct lrqk_head_stats *s; uint32_t layer, head; };

static int most_misses_first(const void *a, const void *b) {
  const struct line *x = a, *y = b;
  if (x->s->misses != y->s->misses) return x->s->misses < y->s->misses ? 1 : -1;
  return (x->s > y->s) - (x->s < y->s);
}

void profile_heads_table(struct text *t, const struct profile_heads *h, uint64_t decoded) {
  size_t n = 0;
  struct line *line = calloc(count(h), sizeof *line);
  if (!line) {
    t->failed = true;
    return;
  }
  for (size_t i = 0; i < count(h); i++)
    if (h->total[i].chosen || h->total[i].bus_bytes) line[n++] = (struct line){&h->total[i], (uint32_t)(i / h->heads), (uint32_t)(i % h->heads)};
  qsort(line, n, sizeof *line, most_misses_first);
  double tokens = decoded ? (double)decoded : 1;
  text_printf(t, "\nKV heads by misses, over %llu decoded tokens%s\n", (unsigned long long)decoded, n ? "" : ": none chooses or fetches");
  if (n) text_printf(t, "layer  head  chosen/token  misses/token  hit rate %%  bus bytes/token\n");
  for (size_t i = 0; i < n; i++) {
    const struct lrqk_head_stats *s = line[i].s;
    text_printf(t, "%5u %5u %13.1f %13.1f", line[i].layer, line[i].head, (double)s->chosen / tokens, (double)s->misses / tokens);
    if (s->chosen) text_printf(t, " %11.1f", 100 * profile_hit_rate(s));
    else text_printf(t, " %11s", "-");
    text_printf(t, " %16.0f\n", (double)s->bus_bytes / tokens);
  }
  free(line);
}

static void json_head(struct text *t, const struct profile_heads *h, const struct profile_quality *quality, size_t i, uint64_t decoded) {
  const struct lrqk_head_stats *s = &h->total[i];
  json_open(t, '{');
  json_field_uint(t, "layer", i / h->heads);
  json_field_uint(t, "head", i % h->heads);
  json_field_uint(t, "chosen", s->chosen);
  json_field_uint(t, "misses", s->misses);
  json_field_num(t, "hit_rate", profile_hit_rate(s));
  json_field_uint(t, "bus_bytes", s->bus_bytes);
  json_field_num(t, "bus_bytes_per_token", decoded ? (double)s->bus_bytes / (double)decoded : NAN);
  profile_quality_head_json(t, quality, i);
  json_close(t, '}');
}

enum figure { CHOSEN, MISSES, BUS_BYTES };

static void json_figures(struct text *t, const struct profile_heads *h, const struct lrqk_head_stats *s, const char *key, enum figure what) {
  json_key(t, key);
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++) json_uint(t, what == CHOSEN ? s[i].chosen : what == MISSES ? s[i].misses : s[i].bus_bytes);
  json_close(t, ']');
}

static void json_active(struct text *t, const struct profile_heads *h, const uint32_t *active) {
  json_key(t, "active");
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++) {
    json_open(t, '[');
    for (size_t k = 0; k < PROFILE_BUCKETS; k++) json_uint(t, active[i * PROFILE_BUCKETS + k]);
    json_close(t, ']');
  }
  json_close(t, ']');
}

void profile_heads_json(struct text *t, const struct profile_heads *h, const struct profile_quality *quality, uint64_t decoded, bool samples) {
  json_field_uint(t, "layers", h->layers);
  json_field_uint(t, "kv_heads", h->heads);
  json_key(t, "heads");
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++) json_head(t, h, quality, i, decoded);
  json_close(t, ']');
  if (!samples) return;
  json_field_uint(t, "bucket_tokens", h->bucket_tokens);
  json_key(t, "samples");
  json_open(t, '[');
  for (size_t i = 0; i < h->samples.n; i++) {
    const struct lrqk_head_stats *s = h->samples.list[i].data;
    json_open(t, '{');
    json_field_uint(t, "token", h->samples.list[i].token);
    json_figures(t, h, s, "chosen", CHOSEN);
    json_figures(t, h, s, "misses", MISSES);
    json_figures(t, h, s, "bus_bytes", BUS_BYTES);
    json_active(t, h, (const uint32_t *)(const void *)(s + count(h)));
    json_close(t, '}');
  }
  json_close(t, ']');
}
