/* score.h - the kernel that scores the proxies of a layer for a decode step, in the form that the device has chosen
 * (device/form.h).  Both forms have the parameters of score_stat.k and serve the same sel_keys.k.  Called by select.c and
 * model/probe.c. */
#ifndef ATTENTION_SCORE_H
#define ATTENTION_SCORE_H

#include "device/device.h"

struct score_shape {
  uint32_t heads, rw;             /* query heads of a list; uint4 words of a proxy row */
  uint32_t tokens;                /* adjacent ones that a lane of sel_keys takes */
  bool int8, capped;              /* proxies in int8, else fp16; there is a soft cap */
  enum lrqk_mean_key mean;        /* whose scores are added */
};

uint32_t score_lanes(const struct device *d);   /* of sel_keys, which the statistics are for */
enum lrqk_status score_kernel(const struct kernel **out, struct device *d, const struct score_shape *s);

#endif
