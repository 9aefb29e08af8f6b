/* cost.h - what a dispatch has to move and to compute: bytes of each binding and flops, from its parameters.  Called by
 * profile.c for every command that is profiled.  Bytes are the least that must be moved (a value that is read again by
 * another workgroup counts once), flops count a multiply-add as two. */
#ifndef PROFILE_COST_H
#define PROFILE_COST_H

#include "device/device.h"

struct cost {
  uint64_t bytes[KERNEL_MAX_BINDINGS];   /* read and written, of each view */
  double flops;
  uint32_t size[3];                      /* as in struct lrqk_profile_event */
};

/* step: the words of this decode step (shaders/step.h); NULL in a prefill. */
void cost_of(struct cost *out, const struct command *c, const uint32_t *step);

#endif
