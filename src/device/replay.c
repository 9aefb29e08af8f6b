#include "device/replay.h"

#include <string.h>

#include "base/mem.h"

_Static_assert(DEVICE_RECORDINGS <= 64, "replay.alive has a bit for each");

/* views and parameters follow. */
struct entry { const struct kernel *kernel; const char *name; uint32_t groups[3], n_views, params_size, size; };

void replay_init(struct replay *r) { *r = (struct replay){ .number = -1 }; }

void replay_destroy(struct replay *r) {
  for (int i = 0; i < DEVICE_RECORDINGS; i++) mem_free(r->kept[i].bytes);
  mem_free(r->now.bytes);
}

static struct entry entry_of(const struct command *c) {
  uint64_t size = sizeof(struct entry) + c->n_views * sizeof *c->views + (c->params_size + 7) / 8 * 8;
  struct entry e = { .kernel = c->kernel, .name = c->name, .n_views = c->n_views, .params_size = c->params_size, .size = (uint32_t)size };
  if (c->groups) memcpy(e.groups, c->groups, sizeof e.groups);
  return e;
}

/* Whether the command is the one at these bytes. */
static bool same(const unsigned char *at, const struct entry *e, const struct command *c) {
  const size_t views = c->n_views * sizeof *c->views;
  return !memcmp(at, e, sizeof *e) && !memcmp(at + sizeof *e, c->views, views) &&
         (!c->params_size || !memcmp(at + sizeof *e + views, c->params, c->params_size));
}

bool replay_follow(struct replay *r, const struct command *c) {
  const struct entry e = entry_of(c);
  uint64_t next = 0;
  for (int i = 0; i < DEVICE_RECORDINGS; i++) {
    const struct replay_log *log = &r->kept[i];
    if ((!r->n || r->alive >> i & 1) && log->n > r->n && same(log->bytes + r->at, &e, c)) next |= UINT64_C(1) << i;
  }
  if (!next) return false;
  r->alive = next;
  r->n++;
  r->at += e.size;
  return true;
}

int replay_whole(const struct replay *r) {
  for (int i = 0; r->n && i < DEVICE_RECORDINGS; i++)
    if (r->alive >> i & 1 && r->kept[i].n == r->n) return i;
  return -1;
}

const struct replay_log *replay_followed(const struct replay *r) {
  int i = 0;
  while (!(r->alive >> i & 1)) i++;
  return &r->kept[i];
}

void replay_read(const struct replay_log *log, size_t *at, struct command *c) {
  const struct entry *e = (const struct entry *)(log->bytes + *at);
  const unsigned char *views = (const unsigned char *)(e + 1);
  *c = (struct command){ e->kernel, e->name, e->groups, (const struct view *)views, e->n_views, views + e->n_views * sizeof(struct view), e->params_size };
  *at += e->size;
}

void replay_record(struct replay *r, const struct command *c) {
  const struct entry e = entry_of(c);
  struct replay_log *log = &r->now;
  if (r->broken) return;
  if (log->size + e.size > log->cap) {
    size_t cap = (log->cap + e.size) * 2;
    unsigned char *more = mem_realloc(log->bytes, cap, 1);
    if (!more) {
      r->broken = true;
      return;
    }
    log->bytes = more;
    log->cap = cap;
  }
  unsigned char *to = log->bytes + log->size;
  memset(to, 0, e.size);
  memcpy(to, &e, sizeof e);
  memcpy(to + sizeof e, c->views, e.n_views * sizeof *c->views);
  if (e.params_size) memcpy(to + sizeof e + e.n_views * sizeof *c->views, c->params, e.params_size);
  log->size += e.size;
  log->n++;
}

void replay_end(struct replay *r, bool paced) {
  if (!r->n && r->number >= 0 && !r->broken) {
    struct replay_log was = r->kept[r->number];
    r->now.paced = paced;
    r->kept[r->number] = r->now;
    r->now = was;
  }
  r->now.n = r->n = 0;
  r->now.size = r->at = 0;
  r->number = -1;
  r->broken = false;
}

void replay_number(struct replay *r, int number) {
  if (r->number >= 0) r->broken = true;   /* the submit lies in two recordings */
  r->number = number;
  r->kept[number].n = 0;
}

void replay_forget(struct replay *r) {
  for (int i = 0; i < DEVICE_RECORDINGS; i++) r->kept[i].n = 0;
  r->broken = r->broken || r->now.n;
}
