/* replay.h - submits that are sent again instead of being recorded anew: every token repeats, but for the words of the step
 * buffer, what a token before it did.  Commands are compared with those of the submits that the back end still has, one after the
 * other while they are recorded; only when they differ are they recorded. */
#ifndef LRQK_DEVICE_REPLAY_H
#define LRQK_DEVICE_REPLAY_H

#include "device/device.h"

/* Commands as bytes: kernel, groups, views, parameters. */
struct replay_log {
  unsigned char *bytes;
  size_t size, cap;
  uint32_t n;                     /* commands; 0: none is kept */
  bool paced;                     /* the submit ended because one more command would have made it too long */
};

struct replay {
  struct replay_log kept[DEVICE_RECORDINGS], now;   /* by the back end's number; of the submit that is recorded */
  int number;                     /* under which it is recorded, negative: none, it cannot be kept */
  bool broken;                    /* `now` does not say all of it */
  uint64_t alive;                 /* kept submits that begin with the commands since the last submit ... */
  uint32_t n;                     /* ... so many; 0: they are recorded */
  size_t at;                      /* bytes of them */
  uint64_t sent;                  /* submits that were sent again so far */
};

void replay_init(struct replay *r);
void replay_destroy(struct replay *r);

/* Whether a kept submit goes on with this command, which then need not be recorded.  Only while nothing is. */
bool replay_follow(struct replay *r, const struct command *c);
/* The number of a kept submit that is what was followed, no more and no less; negative: none.  */
int replay_whole(const struct replay *r);
/* One that begins with what was followed. */
const struct replay_log *replay_followed(const struct replay *r);
/* The command at *at, which moves on to the next one. */
void replay_read(const struct replay_log *log, size_t *at, struct command *c);

void replay_record(struct replay *r, const struct command *c);
/* After a submit of what was recorded or followed: it is kept if it can be, and the next one begins. */
void replay_end(struct replay *r, bool paced);
/* What is recorded from now on overwrites a submit. */
void replay_number(struct replay *r, int number);
/* Nothing is kept any more. */
void replay_forget(struct replay *r);

#endif
