/* state.h - what a saved session holds, piece by piece in a fixed order.  A policy names its pieces once (attention_ops.state);
 * the same list is written by save and read by load.  Nothing that is read is believed: `loading` code checks every index.
 * Called by session_file.c. */
#ifndef CACHE_STATE_H
#define CACHE_STATE_H

#include "base/savefile.h"
#include "cache/kv_rows.h"

struct state {
  struct device *dev;
  const struct log *log;
  const char *path;
  bool loading;
  struct savefile *out;           /* saving */
  const unsigned char *in;        /* loading: the mapped file, of which bytes at .. end are left */
  size_t at, end;
  unsigned char *bounce;          /* saving from memory that is not mapped: STATE_BOUNCE bytes */
};

enum { STATE_BOUNCE = 4 << 20 };

enum lrqk_status state_host(struct state *s, void *p, uint64_t n);
enum lrqk_status state_view(struct state *s, struct view v);
enum lrqk_status state_skip(struct state *s, uint64_t n);   /* loading: bytes that there is no room for */
enum lrqk_status state_rows(struct state *s, const struct kv_rows *r, uint32_t l);   /* of tokens 0 .. l */

/* What is wrong with the file: LRQK_USAGE. */
enum lrqk_status state_damaged(const struct state *s, const char *what);

#endif
