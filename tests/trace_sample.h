/* trace_sample.h - a trace of commands that overlap, which no driver here gives.  For test_profile.c, which cannot include
 * tools/cli/profile.h beside jansson. */
#ifndef TRACE_SAMPLE_H
#define TRACE_SAMPLE_H

enum { SAMPLE_KERNELS = 8, SAMPLE_LANES = 3, SAMPLE_LAYERS = 2, SAMPLE_STAGES = 4 };

void trace_sample(const char *path);

#endif
