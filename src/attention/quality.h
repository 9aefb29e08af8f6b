/* quality.h - how much of exact attention the tokens hold that a step of policy lrqk attended to: the host computes all scores of a
 * KV head in float from the exact rows.  Called by lrqk.c, for a step whose queries were kept (attention_keep). */
#ifndef ATTENTION_QUALITY_H
#define ATTENTION_QUALITY_H

#include <lrqk/profile.h>

#include "attention/core.h"

/* A step of one layer, on the host. */
struct quality_step {
  const struct hparams *hp;
  const struct kv_rows *rows;     /* exact, in HOST memory */
  const float *q;                 /* [Hq][d], after RoPE */
  const uint32_t *chosen;         /* [lists][count] tokens, ascending: of the first `candidates`; all tokens behind those are active */
  uint32_t hk, share, count;      /* KV heads; lists of each */
  uint32_t l, candidates, sinks;  /* tokens; of which chosen ones come; the first tokens, which are always chosen */
  bool max;                       /* heads of a list choose by the maximum of their weights, else by the sum */
};

/* out [hk], see lrqk_head_quality. */
enum lrqk_status quality_measure(const struct quality_step *s, const struct log *log, struct lrqk_head_quality *out);

#endif
