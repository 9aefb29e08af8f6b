/* barrier.h - which ranges of which buffers are in use since the last barrier.  device.c asks before every dispatch,
 * copy and fill whether a barrier must come first.  Fixed lists: nothing is allocated, and a full list is a reason for
 * a barrier like any other. */
#ifndef DEVICE_BARRIER_H
#define DEVICE_BARRIER_H

#include "device/device.h"

enum { HAZARD_RANGES = 64 };   /* per list; several times what lies between two barriers of a decode step */

struct hazard_range { const struct buffer *buf; uint64_t begin, end; };
struct hazard_list { uint32_t n; struct hazard_range range[HAZARD_RANGES]; };
struct hazards { struct hazard_list reads, writes; };

struct hazard_use { struct view view; enum access access; };

/* Notes that one command makes all these uses (n <= HAZARD_RANGES).  True if a barrier must be recorded before it:
 * a read of what was written, a write of what was read or written. */
bool hazards_use(struct hazards *h, const struct hazard_use *use, uint32_t n);
/* The two halves of it: whether a barrier is needed, and the note.  False: the lists are full, nothing was noted. */
bool hazards_conflict(const struct hazards *h, const struct hazard_use *use, uint32_t n);
bool hazards_add(struct hazards *h, const struct hazard_use *use, uint32_t n);
void hazards_clear(struct hazards *h);

#endif
