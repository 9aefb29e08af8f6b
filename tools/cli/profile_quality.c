/* profile_quality.c - what the choices of the KV heads were worth against exact scores, in the decoded tokens that --quality examines
 * (cmd_profile.c): a table of the heads that lose most, and the figures of all of them as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static size_t count(const struct profile_quality *q) { return (size_t)q->layers * q->heads; }

int profile_quality_open(struct profile_quality *q, struct ui *u, const struct lrqk_model_info *m) {
  *q = (struct profile_quality){.layers = m->n_layers, .heads = m->n_kv_heads};
  q->sum = calloc(count(q), sizeof *q->sum);
  q->now = calloc(count(q), sizeof *q->now);
  return q->sum && q->now ? 0 : ui_fail(u, LRQK_MEMORY, "out of memory for the quality of %zu heads", count(q));
}

void profile_quality_free(struct profile_quality *q) {
  profile_samples_free(&q->samples);
  free(q->sum);
  free(q->now);
  *q = (struct profile_quality){0};
}

int profile_quality_after(struct profile_quality *q, struct ui *u, lrqk_session *s, uint64_t token) {
  double t = ui_now();
  int code = (int)lrqk_session_quality(s, q->now, count(q));
  if (code) return code;
  q->ms += (ui_now() - t) * 1e3;
  for (size_t i = 0; i < count(q); i++) {
    const struct lrqk_head_quality *m = &q->now[i];
    struct quality_sum *sum = &q->sum[i];
    sum->mass += (double)m->mass;
    sum->best_mass += (double)m->best_mass;
    sum->recall += (double)m->recall;
    if (!q->n || (double)m->mass < sum->least) sum->least = (double)m->mass;
  }
  q->n++;
  void *data;
  if (!profile_sample_add(&q->samples, token, count(q) * sizeof *q->now, &data))
    return ui_fail(u, LRQK_MEMORY, "out of memory for the quality of %zu heads", count(q));
  if (data) memcpy(data, q->now, count(q) * sizeof *q->now);
  return 0;
}

/* ---- forms -------------------------------------------------------------------------------------------------- */

static int least_mass_first(const void *a, const void *b) {
  const struct quality_sum *x = *(struct quality_sum *const *)a, *y = *(struct quality_sum *const *)b;
  if (x->mass != y->mass) return x->mass < y->mass ? -1 : 1;
  return (x > y) - (x < y);
}

void profile_quality_table(struct text *t, const struct profile_quality *q, size_t most) {
  if (!q->n) return;
  size_t n = 0;
  const struct quality_sum **line = calloc(count(q), sizeof *line);
  if (!line) {
    t->failed = true;
    return;
  }
  for (size_t i = 0; i < count(q); i++)
    if (!isnan(q->sum[i].mass)) line[n++] = &q->sum[i];
  qsort(line, n, sizeof *line, least_mass_first);
  double tokens = (double)q->n;
  text_printf(t, "\nquality over %llu tokens: the share of exact attention that active tokens get, that which the best choice of as many would get,\n"
              "and how much of that choice was made (recall); measured on the host in %.1f ms a token, which no other figure contains\n",
              (unsigned long long)q->n, q->ms / tokens);
  if (n) text_printf(t, "layer  head   mass %%  least %%   best %%  recall %%\n");
  for (size_t i = 0; i < n && i < most; i++) {
    size_t head = (size_t)(line[i] - q->sum);
    text_printf(t, "%5zu %5zu %8.2f %8.2f %8.2f %9.1f\n", head / q->heads, head % q->heads, 100 * line[i]->mass / tokens, 100 * line[i]->least,
                100 * line[i]->best_mass / tokens, 100 * line[i]->recall / tokens);
  }
  if (n > most) text_printf(t, "and %zu heads that hold more (--per-head shows all)\n", n - most);
  if (!n) text_printf(t, "every head has all tokens on the device\n");
  free(line);
}

void profile_quality_head_json(struct text *t, const struct profile_quality *q, size_t head) {
  if (!q->n) return;
  double tokens = (double)q->n;
  json_field_num(t, "mass", q->sum[head].mass / tokens);
  json_field_num(t, "least_mass", q->sum[head].least);
  json_field_num(t, "best_mass", q->sum[head].best_mass / tokens);
  json_field_num(t, "recall", q->sum[head].recall / tokens);
}

enum figure { MASS, BEST_MASS, RECALL };

static void json_figures(struct text *t, const struct profile_quality *q, const struct lrqk_head_quality *s, const char *key, enum figure what) {
  json_key(t, key);
  json_open(t, '[');
  for (size_t i = 0; i < count(q); i++) {
    float v = what == MASS ? s[i].mass : what == BEST_MASS ? s[i].best_mass : s[i].recall;
    json_num(t, isnan(v) ? NAN : round((double)v * 1e5) / 1e5);   /* a page holds thousands of them */
  }
  json_close(t, ']');
}

void profile_quality_json(struct text *t, const struct profile_quality *q, bool samples) {
  if (!q->n) return;
  json_key(t, "quality");
  json_open(t, '{');
  json_field_uint(t, "tokens", q->n);
  json_field_num(t, "token_ms", q->ms / (double)q->n);
  if (samples) {
    json_key(t, "samples");
    json_open(t, '[');
    for (size_t i = 0; i < q->samples.n; i++) {
      const struct lrqk_head_quality *s = q->samples.list[i].data;
      json_open(t, '{');
      json_field_uint(t, "token", q->samples.list[i].token);
      json_figures(t, q, s, "mass", MASS);
      json_figures(t, q, s, "best_mass", BEST_MASS);
      json_figures(t, q, s, "recall", RECALL);
      json_close(t, '}');
    }
    json_close(t, ']');
  }
  json_close(t, '}');
}
