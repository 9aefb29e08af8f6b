/* session.h - what lies behind the public handle lrqk_session: session.c runs it, session_file.c saves and loads it. */
#ifndef SESSION_H
#define SESSION_H

#include "attention/attention.h"
#include "engine.h"
#include "model/forward.h"

struct lrqk_session {
  lrqk_engine *engine;
  struct attention *attention;
  struct forward forward;
  uint32_t n_ctx, length;
  int32_t *ids;                   /* [n_ctx] the text; -1: a synthetic token */
  float *logits;                  /* [V] of the last token */
  bool has_logits;
  bool has_mark;                  /* lrqk_session_mark: */
  uint32_t marked;                /* length then */
  float *marked_logits;           /* [V] */
  bool marked_has_logits;
  uint64_t decoded;
  bool kept;                      /* the last token was decoded and its queries are on the device */
  struct profile *profile;        /* NULL: not profiled */
  lrqk_progress_fn progress;
  void *progress_ud;
};

#endif
