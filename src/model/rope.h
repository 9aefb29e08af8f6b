/* rope.h - the angles of the rotary embedding: one set for the forward pass and for everything that reasons about
 * rotated queries and keys.  struct rope is part of struct hparams.  Called by hparams.c and forward.c. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/model.h"

/* h->rope, rope_long and rope_local out of the keys rope.scaling.* and the tensors rope_freqs.weight, rope_factors_*.weight,
 * for what h already holds.  local_base: of windowed layers, which are not scaled if it is not the base of the others. */
enum lrqk_status rope_read(struct hparams *h, const struct gguf *g, float local_base);

/* cs [d/2][2] = (cos, sin) of each pair at a position, times the magnitude; (1, 0) for coordinates that do not rotate. */
void rope_row(const struct hparams *h, const struct rope *r, uint32_t pos, float *cs);

#endif
