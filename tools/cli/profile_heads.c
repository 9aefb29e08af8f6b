/* profile_heads.c - what each KV head of each layer chose, missed and fetched while tokens were decoded, and where in the text the
 * chosen tokens lie.  Read back around timed tokens only, outside of their time (cmd_profile.c); shown as a table and as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

int profile_heads_open(struct profile_heads *h, struct ui *u, const struct lrqk_model_info *m, uint64_t tokens, const struct lrqk_cache_options *o) {
  size_t n = (size_t)m->n_layers * m->n_kv_heads;
  uint64_t lists = m->n_heads / m->n_kv_heads;   /* at most, of a KV head */
  *h = (struct profile_heads){.layers = m->n_layers, .heads = m->n_kv_heads, .stride = 1};
  h->bucket_tokens = (tokens + PROFILE_BUCKETS - 1) / PROFILE_BUCKETS;
  h->cap_chosen = (size_t)((o->active < tokens ? o->active : tokens) * lists);
  h->total = calloc(n, sizeof *h->total);
  h->was = calloc(n, sizeof *h->was);
  h->chosen = calloc(h->cap_chosen + 1, sizeof *h->chosen);
  h->quality = calloc(n, sizeof *h->quality);
  h->measured = calloc(n, sizeof *h->measured);
  return h->total && h->was && h->chosen && h->quality && h->measured ? 0 : ui_fail(u, LRQK_MEMORY, "out of memory for the counters of %zu heads", n);
}

void profile_heads_free(struct profile_heads *h) {
  for (size_t i = 0; i < h->n_samples; i++) free(h->sample[i].head);
  free(h->total);
  free(h->was);
  free(h->chosen);
  free(h->quality);
  free(h->measured);
  *h = (struct profile_heads){0};
}

static size_t count(const struct profile_heads *h) { return (size_t)h->layers * h->heads; }

int profile_heads_before(struct profile_heads *h, lrqk_session *s) { return (int)lrqk_session_heads(s, h->was, count(h)); }

/* There is room for PROFILE_SAMPLES: when it is taken, every other one goes, and from then on every other one comes. */
static bool has_turn(struct profile_heads *h) {
  if (h->seen++ % h->stride) return false;
  if (h->n_samples < PROFILE_SAMPLES) return true;
  for (size_t i = 0; i < h->n_samples; i++)
    if (i % 2) free(h->sample[i].head);
    else h->sample[i / 2] = h->sample[i];
  h->n_samples /= 2;
  h->stride *= 2;
  return (h->seen - 1) % h->stride == 0;
}

static int read_chosen(struct profile_heads *h, lrqk_session *s, struct profile_sample *p) {
  size_t n;
  for (size_t i = 0; i < count(h); i++) {
    int code = (int)lrqk_session_chosen(s, (uint32_t)(i / h->heads), (uint32_t)(i % h->heads), h->chosen, h->cap_chosen, &n);
    if (code) return code;
    for (size_t k = 0; k < n && k < h->cap_chosen; k++) p->active[i * PROFILE_BUCKETS + h->chosen[k] / h->bucket_tokens]++;
  }
  return 0;
}

int profile_heads_after(struct profile_heads *h, struct ui *u, lrqk_session *s, uint64_t token, bool chosen) {
  size_t n = count(h);
  if (!has_turn(h)) return 0;
  struct profile_sample p = {.token = token, .head = calloc(n, sizeof *p.head + PROFILE_BUCKETS * sizeof *p.active)};
  if (!p.head) return ui_fail(u, LRQK_MEMORY, "out of memory for the counters of %zu heads", n);
  p.active = (uint32_t *)(void *)(p.head + n);
  int code = (int)lrqk_session_heads(s, p.head, n);
  for (size_t i = 0; i < n; i++) {
    p.head[i].chosen -= h->was[i].chosen;
    p.head[i].misses -= h->was[i].misses;
    p.head[i].bus_bytes -= h->was[i].bus_bytes;
  }
  if (!code && chosen) code = read_chosen(h, s, &p);
  h->sample[h->n_samples++] = p;
  return code;
}

int profile_heads_quality(struct profile_heads *h, lrqk_session *s) {
  double t = ui_now();
  int code = (int)lrqk_session_quality(s, h->measured, count(h));
  for (size_t i = 0; !code && i < count(h); i++) {
    const struct lrqk_head_quality *m = &h->measured[i];
    struct profile_quality *q = &h->quality[i];
    q->mass += (double)m->mass;
    q->best_mass += (double)m->best_mass;
    q->recall += (double)m->recall;
    if (!h->n_quality || (double)m->mass < q->least) q->least = (double)m->mass;
  }
  h->n_quality++;
  h->quality_ms += (ui_now() - t) * 1e3;
  return code;
}

int profile_heads_end(struct profile_heads *h, lrqk_session *s) { return (int)lrqk_session_heads(s, h->total, count(h)); }

double profile_hit_rate(const struct lrqk_head_stats *s) { return s->chosen ? 1 - (double)s->misses / (double)s->chosen : NAN; }

/* ---- forms -------------------------------------------------------------------------------------------------- */

struct line { const struct lrqk_head_stats *s; const struct profile_quality *q; uint32_t layer, head; };

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
    if (h->total[i].chosen || h->total[i].bus_bytes) line[n++] = (struct line){&h->total[i], &h->quality[i], (uint32_t)(i / h->heads), (uint32_t)(i % h->heads)};
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

static int least_mass_first(const void *a, const void *b) {
  const struct line *x = a, *y = b;
  if (x->q->mass != y->q->mass) return x->q->mass < y->q->mass ? -1 : 1;
  return (x->s > y->s) - (x->s < y->s);
}

void profile_quality_table(struct text *t, const struct profile_heads *h, size_t most) {
  size_t n = 0;
  struct line *line = calloc(count(h), sizeof *line);
  if (!line) {
    t->failed = true;
    return;
  }
  for (size_t i = 0; i < count(h); i++)
    if (!isnan(h->quality[i].mass)) line[n++] = (struct line){&h->total[i], &h->quality[i], (uint32_t)(i / h->heads), (uint32_t)(i % h->heads)};
  qsort(line, n, sizeof *line, least_mass_first);
  double tokens = (double)h->n_quality;
  text_printf(t, "\nquality over %llu tokens: the share of exact attention that active tokens get, that which the best choice of as many would get,\n"
              "and how much of that choice was made (recall); measured on the host in %.1f ms a token, which no other figure contains\n",
              (unsigned long long)h->n_quality, h->quality_ms / tokens);
  if (n) text_printf(t, "layer  head   mass %%  least %%   best %%  recall %%\n");
  for (size_t i = 0; i < n && i < most; i++) {
    const struct profile_quality *q = line[i].q;
    text_printf(t, "%5u %5u %8.2f %8.2f %8.2f %9.1f\n", line[i].layer, line[i].head, 100 * q->mass / tokens, 100 * q->least, 100 * q->best_mass / tokens,
                100 * q->recall / tokens);
  }
  if (n > most) text_printf(t, "and %zu heads that hold more (--per-head shows all)\n", n - most);
  if (!n) text_printf(t, "every head has all tokens on the device\n");
  free(line);
}

static void json_quality(struct text *t, const struct profile_heads *h, size_t i) {
  const struct profile_quality *q = &h->quality[i];
  double tokens = (double)h->n_quality;
  json_field_num(t, "mass", q->mass / tokens);
  json_field_num(t, "least_mass", q->least);
  json_field_num(t, "best_mass", q->best_mass / tokens);
  json_field_num(t, "recall", q->recall / tokens);
}

static void json_head(struct text *t, const struct profile_heads *h, size_t i, uint64_t decoded) {
  const struct lrqk_head_stats *s = &h->total[i];
  json_open(t, '{');
  json_field_uint(t, "layer", i / h->heads);
  json_field_uint(t, "head", i % h->heads);
  json_field_uint(t, "chosen", s->chosen);
  json_field_uint(t, "misses", s->misses);
  json_field_num(t, "hit_rate", profile_hit_rate(s));
  json_field_uint(t, "bus_bytes", s->bus_bytes);
  json_field_num(t, "bus_bytes_per_token", decoded ? (double)s->bus_bytes / (double)decoded : NAN);
  if (h->n_quality) json_quality(t, h, i);
  json_close(t, '}');
}

enum figure { CHOSEN, MISSES, BUS_BYTES };

static void json_figures(struct text *t, const struct profile_heads *h, const struct profile_sample *p, const char *key, enum figure what) {
  json_key(t, key);
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++)
    json_uint(t, what == CHOSEN ? p->head[i].chosen : what == MISSES ? p->head[i].misses : p->head[i].bus_bytes);
  json_close(t, ']');
}

static void json_active(struct text *t, const struct profile_heads *h, const struct profile_sample *p) {
  json_key(t, "active");
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++) {
    json_open(t, '[');
    for (size_t k = 0; k < PROFILE_BUCKETS; k++) json_uint(t, p->active[i * PROFILE_BUCKETS + k]);
    json_close(t, ']');
  }
  json_close(t, ']');
}

void profile_heads_json(struct text *t, const struct profile_heads *h, uint64_t decoded, bool samples) {
  json_field_uint(t, "layers", h->layers);
  json_field_uint(t, "kv_heads", h->heads);
  json_key(t, "heads");
  json_open(t, '[');
  for (size_t i = 0; i < count(h); i++) json_head(t, h, i, decoded);
  json_close(t, ']');
  if (h->n_quality) {
    json_key(t, "quality");
    json_open(t, '{');
    json_field_uint(t, "tokens", h->n_quality);
    json_field_num(t, "token_ms", h->quality_ms / (double)h->n_quality);
    json_close(t, '}');
  }
  if (!samples) return;
  json_field_uint(t, "bucket_tokens", h->bucket_tokens);
  json_key(t, "samples");
  json_open(t, '[');
  for (size_t i = 0; i < h->n_samples; i++) {
    json_open(t, '{');
    json_field_uint(t, "token", h->sample[i].token);
    json_figures(t, h, &h->sample[i], "chosen", CHOSEN);
    json_figures(t, h, &h->sample[i], "misses", MISSES);
    json_figures(t, h, &h->sample[i], "bus_bytes", BUS_BYTES);
    json_active(t, h, &h->sample[i]);
    json_close(t, '}');
  }
  json_close(t, ']');
}
