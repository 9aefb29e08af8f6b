/* profile_read.h - what `lrqk profile --json` wrote, read again.  Called by cmd_profile_diff.c.  Knows neither ui.h nor json.h,
 * whose names are jansson's too; profile_read_stub.c stands in for profile_read.c where there is no jansson. */
#ifndef CLI_PROFILE_READ_H
#define CLI_PROFILE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROFILE_SCHEMA = 1 };   /* raised when a field of the JSON changes its meaning or goes */

/* Milliseconds of alike stretches (timed tokens of decode, layers of prefill): how many, and percentiles 10, 50 and 90. */
struct profile_times { double low, mid, high; size_t units; };

enum profile_list { PROFILE_PHASES, PROFILE_STAGES, PROFILE_KERNELS, PROFILE_LISTS };
extern const char *const profile_list_name[PROFILE_LISTS];   /* as in the file */

struct profile_entry {
  enum profile_list list;
  const char *phase, *stage, *name;   /* "" where a row has none */
  int64_t layer;                      /* -1: none */
  struct profile_times times;
};

struct profile_file {
  void *root;                         /* the JSON, which owns the strings */
  const char *model, *backend, *device, *driver, *policy, *mode;
  int64_t prefill, decode;
  bool by_layer;
  struct profile_entry *entry;
  size_t n;
};

struct profile_error { char text[400], hint[120]; };

/* False, with the reason: the file cannot be read, is no profile or one of another schema. */
bool profile_read(struct profile_file *out, const char *path, struct profile_error *error);
void profile_file_free(struct profile_file *f);   /* a zeroed one is fine */

#endif
