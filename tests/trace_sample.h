/* trace_sample.h - traces of commands that overlap, made-up ones in every way that there is and those of a second queue; and what no
 * driver here gives, a profile with hardware counters.  For test_profile.c, which cannot include tools/cli/profile.h beside jansson. */
#ifndef TRACE_SAMPLE_H
#define TRACE_SAMPLE_H

#include <stddef.h>

enum { SAMPLE_KERNELS = 8, SAMPLE_LANES = 3, SAMPLE_LAYERS = 2, SAMPLE_STAGES = 4 };

void trace_sample(const char *path);

struct lrqk_profile_event;
void trace_write(const char *path, struct lrqk_profile_event *event, size_t n);   /* of one call or more */

/* Kernels a, b, a of one token; "L2 hits" is read for the first a and for b, "Waves, all" for both a, "Power" never. */
void counted_sample(const char *json, const char *csv, const char *table, const char *trace);

#endif
