/* profile.h - turns the commands of one prefill or decode call and their timestamps into events (lrqk_profile_event).
 * session.c calls it around each call; the device layer reports the commands. */
#ifndef PROFILE_PROFILE_H
#define PROFILE_PROFILE_H

#include <lrqk/profile.h>

#include "device/device.h"

struct profile;

/* step: the words of a decode step as the host wrote them (shaders/step.h).  fresh: the session has not decoded yet, so
 * that counters of misses are zero. */
enum lrqk_status profile_open(struct profile **out, struct device *dev, uint32_t n_layers, const uint32_t *step, bool fresh,
                              const struct lrqk_profile_options *opt);
void profile_close(struct profile *p);   /* NULL is fine, here and below */

/* Around a call that appends tokens from position `token` on.  end sends the events; after a failed call it drops them. */
enum lrqk_status profile_begin(struct profile *p, enum lrqk_phase phase, uint64_t token);
enum lrqk_status profile_end(struct profile *p, bool ok);

enum lrqk_status ceilings_measure(struct device *dev, struct lrqk_ceilings *out);   /* ceilings.c */

#endif
