/* gram_products.h - the two products of `gram` that grow with the text, each in the form that the device has chosen
 * (device/form.h): sums of Gram matrices over the tokens of a chunk, and M_K' times the keys of a page.  In the register form one
 * kernel does each; in the form clblast a dense product in floats, between a kernel that prepares it and one that takes it on.
 * Called by gram.c and model/probe.c. */
#ifndef ATTENTION_GRAM_PRODUCTS_H
#define ATTENTION_GRAM_PRODUCTS_H

#include "device/device.h"

struct gram_products {
  struct device *dev;
  uint32_t hk, g, d, rank;
  const struct kernel *sum, *map;                          /* register form */
  const struct kernel *gemm, *fold, *rows, *pack;          /* clblast */
  uint32_t tokens, batch;         /* that a workgroup of `map` takes; keys that x has room for */
  struct view square, x, kh;      /* clblast: [2][hk][d][d]; [hk][batch][d]; [hk][batch][rank] float */
  struct pool pool;
};

struct gram_products_shape { uint32_t hk, g, d, rank; bool neox, int8, maps; };   /* maps: proxies are made; else sums alone */

enum lrqk_status gram_products_init(struct gram_products *p, struct device *d, const struct gram_products_shape *s);
void gram_products_destroy(struct gram_products *p);                              /* zeroed is fine */
/* Adds m tokens, qkv [m][(hk*g + 2hk)*d], to the sums of shaders/gram_sum.k.  The register form adds token by token, so that the
 * sums are the same however a text is cut; clblast adds what it made of a chunk. */
void gram_products_sum(const struct gram_products *p, struct view qkv, uint32_t m, struct view sum);
/* Proxies of the first a->n tokens of a page. */
void gram_products_map(const struct gram_products *p, const struct map_proxy_params *a, struct view kv, struct view map, struct view turn,
                       struct view px);

#endif
