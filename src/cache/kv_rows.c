#include "cache/kv_rows.h"

#include "base/mem.h"
#include "base/num.h"

enum {
  MIN_PAGE = 512,          /* the selection kernels work on shares of 512 tokens, which must not cross a page */
  MAX_PAGE = 1 << 17       /* kernels take 4 tokens of a page or more in a workgroup: well below DEVICE_MAX_GROUPS */
};

enum lrqk_status kv_page_tokens(uint32_t *page, struct device *dev, uint32_t n_ctx, uint32_t token_bytes) {
  const struct lrqk_device_info *i = &dev->caps.info;
  uint64_t most = min_u64(i->max_allocation, i->max_binding);
  if (dev->caps.texel) most = min_u64(most, i->max_texels * 4);   /* some kernels read rows as 4-byte texels */
  uint32_t p = MIN_PAGE;
  if ((uint64_t)p * token_bytes > most)
    return fail(&dev->log, LRQK_DEVICE, "%s: %u KV rows of %u bytes need a binding of %llu bytes, it allows %llu", i->name, p, token_bytes,
                (unsigned long long)p * token_bytes, (unsigned long long)most);
  while (p < n_ctx && (uint64_t)p * 2 * token_bytes <= most && p < MAX_PAGE) p *= 2;
  *page = p;
  return LRQK_OK;
}

enum lrqk_status kv_rows_init(struct kv_rows *r, struct device *dev, enum place place, uint32_t n_ctx, uint32_t page,
                              uint32_t token_bytes, const char *name) {
  uint32_t n = (n_ctx + page - 1) / page;
  if (n > KV_MAX_PAGES) return fail(&dev->log, LRQK_MEMORY, "%s: %u tokens need %u pages, at most %d are supported", name, n_ctx, n, KV_MAX_PAGES);
  *r = (struct kv_rows){ .dev = dev, .page = page, .n_pages = n, .n_ctx = n_ctx, .token_bytes = token_bytes };
  r->buf = mem_alloc(n, sizeof *r->buf);
  if (!r->buf) return fail(&dev->log, LRQK_MEMORY, "%s: cannot allocate a list of %u pages", name, n);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t tokens = n_ctx - i * page < page ? n_ctx - i * page : page;
    TRY(buffer_create(&r->buf[i], dev, place, (uint64_t)tokens * token_bytes, name));
  }
  return LRQK_OK;
}

void kv_rows_destroy(struct kv_rows *r) {
  if (r->buf) for (uint32_t i = 0; i < r->n_pages; i++) buffer_destroy(&r->buf[i]);
  mem_free(r->buf);
  *r = (struct kv_rows){ 0 };
}

uint64_t kv_rows_bytes(const struct kv_rows *r) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < r->n_pages; i++) sum += r->buf[i]->size;
  return sum;
}

void kv_rows_copy(const struct kv_rows *dst, const struct kv_rows *src, uint32_t a, uint32_t b) {
  while (a < b) {
    uint32_t p = a / src->page, end = (p + 1) * src->page < b ? (p + 1) * src->page : b;
    uint64_t off = (uint64_t)(a - p * src->page) * src->token_bytes, size = (uint64_t)(end - a) * src->token_bytes;
    device_copy(src->dev, (struct view){ dst->buf[p], off, size }, (struct view){ src->buf[p], off, size });
    a = end;
  }
}
