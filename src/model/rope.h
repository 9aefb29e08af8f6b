/* rope.h - the angles of the rotary embedding: one set for the forward pass and for everything that reasons about
 * rotated queries and keys.  struct rope is part of struct hparams.  Called by hparams.c and forward.c. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/model.h"

/* h->rope out of the keys rope.scaling.* and the tensor rope_freqs.weight, for what h already holds. */
enum lrqk_status rope_read(struct hparams *h, const struct gguf *g);

/* cs [d/2][2] = (cos, sin) of each pair at a position, times the magnitude; (1, 0) for coordinates that do not rotate. */
void rope_row(const struct hparams *h, uint32_t pos, float *cs);

#endif
