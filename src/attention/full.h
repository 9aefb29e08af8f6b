/* full.h - a layer that keeps all of its KV on the device and attends to all of it: policy full, and the dense layers of
 * policy lrqk. */
#ifndef ATTENTION_FULL_H
#define ATTENTION_FULL_H

#include "attention/core.h"

void dense_prefill(struct attn_core *c, const struct kv_rows *rows, struct view qkv, struct view cs, uint32_t t0, uint32_t m, struct view y);
void dense_decode(struct attn_core *c, const struct attn_decode *all, const struct kv_rows *rows, uint32_t t, struct view qkv, struct view cs,
                  struct view y);

#endif
