/* kv_rows.h - the exact KV rows of one layer: [token][Hk][K d | V d] in fp16, in one place, in pages.
 * A page holds `page` tokens, a power of two, so that no page is larger than what the device can bind or allocate;
 * the last one is only as long as the context needs.  Kernels get one view per page. */
#ifndef CACHE_KV_ROWS_H
#define CACHE_KV_ROWS_H

#include "device/device.h"

enum { KV_MAX_PAGES = 4096 };

struct kv_rows {
  struct device *dev;
  uint32_t page;           /* tokens of a page */
  uint32_t n_pages, n_ctx; /* tokens in all */
  uint32_t token_bytes;    /* Hk * 2d * 2 */
  struct buffer **buf;     /* [n_pages] */
};

/* Tokens per page for rows of this size on this device: the largest power of two that its limits allow, at most the
 * next power of two above n_ctx, at least 512 (LRQK_DEVICE if not even that fits). */
enum lrqk_status kv_page_tokens(uint32_t *page, struct device *dev, uint32_t n_ctx, uint32_t token_bytes);

enum lrqk_status kv_rows_init(struct kv_rows *r, struct device *dev, enum place place, uint32_t n_ctx, uint32_t page,
                              uint32_t token_bytes, const char *name);
void kv_rows_destroy(struct kv_rows *r);                   /* zeroed is fine */
uint64_t kv_rows_bytes(const struct kv_rows *r);           /* as allocated */

static inline struct view kv_page(const struct kv_rows *r, uint32_t p) { return view_of(r->buf[p]); }

/* Records copies of the rows of tokens [a, b). */
void kv_rows_copy(const struct kv_rows *dst, const struct kv_rows *src, uint32_t a, uint32_t b);

#endif
