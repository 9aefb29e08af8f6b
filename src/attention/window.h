/* window.h - the KV cache of windowed layers: a ring on the device that holds the rows which a query can still see and those
 * of a chunk of prefill, whatever the policy of the other layers.  Token t lies at row t % rows.  Called by attention.c. */
#ifndef ATTENTION_WINDOW_H
#define ATTENTION_WINDOW_H

#include "attention/core.h"
#include "cache/state.h"

struct windows {
  uint32_t n_layers;
  struct kv_rows *layer;          /* [L]: no pages in a full-attention layer; NULL where the model has no windowed ones */
  struct kv_rows *kept;           /* [L], HOST: as they were at windows_mark */
  struct attn_decode all;
};

enum lrqk_status windows_init(struct windows *w, struct attn_core *c);
void windows_destroy(struct windows *w);                    /* zeroed is fine */
uint64_t windows_bytes(const struct windows *w);            /* on the device; as many are kept in host memory */

/* As the calls of a policy, for one windowed layer. */
void windows_prefill(const struct windows *w, struct attn_core *c, uint32_t layer, struct view qkv, struct view cs, uint32_t t0, uint32_t m,
                     struct view y);
void windows_decode(const struct windows *w, struct attn_core *c, uint32_t layer, uint32_t t, struct view qkv, struct view cs, struct view y);
void windows_mark(const struct windows *w);                 /* keeps all layers ... */
void windows_rewind(const struct windows *w);               /* ... and brings them back */
bool windows_can_cut(const struct windows *w, const struct attn_core *c, uint32_t from, uint32_t l);
/* The rows that the rings of a text of l tokens hold; has_mark: and those that mark kept of one of `marked`. */
enum lrqk_status windows_state(const struct windows *w, struct state *st, uint32_t l, uint32_t marked, bool has_mark);
void windows_adopt(const struct windows *w, const struct windows *from);

#endif
