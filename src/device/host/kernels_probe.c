/* Host back end: the kernels that measure the ceilings of a device, in plain C (profile/ceilings.c dispatches them). */
#include <string.h>

#include "device/kernels.h"

void host_probe_read(const struct host_call *c) {
  const struct probe_read_params *p = c->params;
  const uint32_t *x = c->buf[0];
  uint32_t *y = c->buf[1];
  memset(y, 0, (size_t)p->stride * 16);
  for (size_t i = 0; i < p->n; i += p->stride)
    for (size_t j = 0; j < (size_t)4 * p->stride && i * 4 + j < (size_t)p->n * 4; j++) y[j] += x[i * 4 + j];
}

void host_probe_flops(const struct host_call *c) {
  enum { CHAINS = 32 };   /* 8 of float4 */
  const struct probe_flops_params *p = c->params;
  float *y = c->buf[0];
  for (size_t lane = 0; lane < (size_t)c->groups[0] * c->spec[0]; lane++) {
    float a[CHAINS], sum = 0;
    for (int i = 0; i < CHAINS; i++) a[i] = 1.0f + (float)(lane % c->spec[0]) * 1e-3f + 0.1f * (float)(i / 4);
    for (uint32_t n = 0; n < p->n; n++)
      for (int i = 0; i < CHAINS; i++) a[i] = a[i] * p->m + p->s;
    for (int i = 0; i < CHAINS; i += 4) sum += a[i];
    for (int i = 0; i < 4; i++) y[lane * 4 + (size_t)i] = sum;
  }
}
