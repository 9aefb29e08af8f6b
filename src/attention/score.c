#include "attention/score.h"

#include "base/num.h"

enum { TILE_LANES = 64, TILE_WORDS = 2 };   /* uint4 of each row at a time: for 8 heads 15 of 16 KiB of shared memory */

uint32_t score_lanes(const struct device *d) { return d->caps.cpu ? 8 : 64; }

enum lrqk_status score_kernel(const struct kernel **out, struct device *d, const struct score_shape *s) {
  static const enum kernel_id plain[2][2] = { { KERNEL_SCORE_STAT_F16, KERNEL_SCORE_STAT_I8 },
                                              { KERNEL_SCORE_TILE_F16, KERNEL_SCORE_TILE_I8 } };
  static const enum kernel_id slow[2][2] = { { KERNEL_SCORE_STAT_F16_SLOW, KERNEL_SCORE_STAT_I8_SLOW },
                                             { KERNEL_SCORE_TILE_F16_SLOW, KERNEL_SCORE_TILE_I8_SLOW } };
  static const enum kernel_id all[2][2] = { { KERNEL_SCORE_STAT_F16_MEAN, KERNEL_SCORE_STAT_I8_MEAN },
                                            { KERNEL_SCORE_TILE_F16_MEAN, KERNEL_SCORE_TILE_I8_MEAN } };
  bool tile = d->forms.op[OP_SCORE].form == FORM_TILE;
  enum kernel_id id = (s->mean == LRQK_MEAN_KEY_OFF ? plain : s->mean == LRQK_MEAN_KEY_SLOW ? slow : all)[tile][s->int8];
  if (tile) return kernel_get(out, d, id, SPEC(TILE_LANES, s->heads, s->rw, min_u32(s->rw, TILE_WORDS), s->capped, score_lanes(d)));
  return kernel_get(out, d, id, SPEC(score_lanes(d), s->heads, s->rw, s->tokens, s->capped));
}
