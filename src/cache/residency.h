/* residency.h - the active rows of one layer: exact [K row, V row] pairs on the device, per list the lite ring (rows
 * 0 .. w-1, token t at row t mod w) and then k slots.  A token that is chosen again keeps its slot; misses, in ascending
 * token order, take the free slots in ascending order and are fetched by a kernel from HOST memory. */
#ifndef CACHE_RESIDENCY_H
#define CACHE_RESIDENCY_H

#include "cache/kv_rows.h"
#include "cache/state.h"

struct active_shape {
  struct device *dev;
  struct view step;
  uint32_t hk, d4;                /* KV heads; uint4 words of a row */
  uint32_t lists, share;          /* sets of rows; lists per KV head */
  uint32_t w, k, slots, stride;   /* lite tokens; chosen tokens; w + k; words of a list */
  uint32_t gathers;               /* workgroups that copy rows of a list */
  const struct kernel *residency, *gather, *ring;
  struct view miss, n_miss;       /* [lists][stride][2] token, slot; [lists]: of the layer at work */
};

struct active {
  struct view rows;               /* [lists][slots][2d] fp16 */
  struct view list[2], slot[2];   /* [lists][stride] tokens in ascending order and their slots: this step's and the last one's */
  struct view stat;               /* [lists][2]: rows chosen, rows missed, since the session was opened */
};

enum lrqk_status active_shape_init(struct active_shape *s, struct device *dev, struct view step, struct pool *scratch, uint32_t hk, uint32_t d,
                                   uint32_t lists, uint32_t w, uint32_t k);
enum lrqk_status active_init(struct active *a, const struct active_shape *s, struct pool *pool);

/* Fills the ring with the newest tokens of a text of l, from rows in any place. */
void active_fill_ring(const struct active *a, const struct active_shape *s, const struct kv_rows *rows, uint32_t l);
/* list[now] has this step's tokens: finds their slots, fetches what is missing from the host rows (n tokens of them are
 * candidates), if `aside` on the device's second queue.  True: that is where it was done. */
bool active_update(const struct active *a, const struct active_shape *s, int now, const struct kv_rows *host, uint32_t n, bool aside);
/* Rows chosen and missed since the session was opened, in n lists from `list` on. */
struct active_count { uint64_t chosen, misses; };
enum lrqk_status active_counts(const struct active *a, const struct active_shape *s, uint32_t list, uint32_t n, struct active_count *sum);
/* The first n tokens of a list. */
enum lrqk_status active_list(const struct active *a, const struct active_shape *s, int now, uint32_t list, uint32_t n, uint32_t *tokens);
/* Adds the bytes of rows on the device that differ from the host's: count tokens of list[now], ring of a text of l. */
enum lrqk_status active_verify(const struct active *a, const struct active_shape *s, int now, uint32_t count, uint32_t l,
                               const struct kv_rows *host, uint64_t *differing);
/* Saves which tokens have slots, `count` a list in list[now].  Loading: as list[0], with their rows out of the host's; the
 * lists are those of another number of slots and only read past where k is not s->k. */
enum lrqk_status active_state(const struct active *a, const struct active_shape *s, struct state *st, int now, uint32_t count, uint32_t k, uint32_t l,
                              const struct kv_rows *host);

#endif
