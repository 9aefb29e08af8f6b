#include "cache/state.h"

#include <string.h>

#include "base/mapfile.h"

enum lrqk_status state_damaged(const struct state *s, const char *what) {
  fail(s->log, LRQK_USAGE, "%s: the session is damaged: %s", s->path, what);
  log_hint(s->log, "it is left as it is; remove it, or give another name");
  return LRQK_USAGE;
}

static enum lrqk_status take(struct state *s, uint64_t n, const unsigned char **p) {
  if (n > s->end - s->at) return state_damaged(s, "it is shorter than what it should hold");
  *p = s->in + s->at;
  s->at += n;
  return LRQK_OK;
}

enum lrqk_status state_host(struct state *s, void *p, uint64_t n) {
  const unsigned char *from;
  if (!s->loading) return savefile_write(s->out, p, n);
  TRY(take(s, n, &from));
  memcpy(p, from, n);
  mapfile_drop(from, n);
  return LRQK_OK;
}

static enum lrqk_status save_view(struct state *s, struct view v) {
  if (v.buf->map) return savefile_write(s->out, (const char *)v.buf->map + v.offset, v.size);
  for (uint64_t at = 0; at < v.size; at += STATE_BOUNCE) {
    uint64_t n = v.size - at < STATE_BOUNCE ? v.size - at : STATE_BOUNCE;
    TRY(device_read(s->dev, s->bounce, (struct view){ v.buf, v.offset + at, n }, n));
    TRY(savefile_write(s->out, s->bounce, n));
  }
  return LRQK_OK;
}

enum lrqk_status state_view(struct state *s, struct view v) {
  const unsigned char *from;
  if (!s->loading) return save_view(s, v);
  TRY(take(s, v.size, &from));
  TRY(device_write(s->dev, v, from, v.size));
  mapfile_drop(from, v.size);
  return LRQK_OK;
}

enum lrqk_status state_skip(struct state *s, uint64_t n) {
  const unsigned char *from;
  return take(s, n, &from);
}

enum lrqk_status state_rows(struct state *s, const struct kv_rows *r, uint32_t l) {
  for (uint32_t p = 0; r->n_pages && p * r->page < l; p++) {
    uint32_t n = l - p * r->page < r->page ? l - p * r->page : r->page;
    TRY(state_view(s, (struct view){ r->buf[p], 0, (uint64_t)n * r->token_bytes }));
  }
  return LRQK_OK;
}
