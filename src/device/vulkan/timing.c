/* timing.c - timestamps.  One stamp after every command: the end of its span and the begin of the next one's, so that
 * spans add up to the time of the submit.  Stamps are written when everything before them is done. */
#include <math.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

static bool more_stamps(struct vk *v, struct vk_stamps *t) {
  uint32_t n = t->n_pools + 1;
  VkQueryPool *pools = mem_realloc(t->pool, n, sizeof *pools);
  if (pools) t->pool = pools;
  const char **names = mem_realloc(t->name, (size_t)n * VK_STAMPS_PER_POOL, sizeof *names);
  if (names) t->name = names;
  const VkQueryPoolCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = VK_STAMPS_PER_POOL,
  };
  if (!pools || !names || v->CreateQueryPool(v->device, &info, NULL, &pools[n - 1]) < 0) return false;
  t->n_pools = n;
  return true;
}

/* False: no room, the span is not timed. */
static bool write_stamp(struct vk *v, struct vk_slot *s) {
  struct vk_stamps *t = &s->stamps;
  uint32_t pool = t->n / VK_STAMPS_PER_POOL, at = t->n % VK_STAMPS_PER_POOL;
  if (pool == t->n_pools && !more_stamps(v, t)) return false;
  if (at == 0) v->CmdResetQueryPool(s->cmd, t->pool[pool], 0, VK_STAMPS_PER_POOL);
  v->CmdWriteTimestamp(s->cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, t->pool[pool], at);
  t->n++;
  return true;
}

void vk_stamps_begin(struct vk *v, struct vk_slot *s) {
  s->stamps.n = 0;
  if (v->timing && v->dev->stamping) write_stamp(v, s);
}

static void end_span(struct vk *v, struct vk_slot *s, const char *name) {
  if (s->stamps.n && write_stamp(v, s)) s->stamps.name[s->stamps.n - 2] = name;
}

void vk_stamp(struct vk *v, struct vk_slot *s, const char *name) {
  if (!v->dev->whole) end_span(v, s, name);
}

void vk_stamps_end(struct vk *v, struct vk_slot *s) {
  if (v->dev->whole) end_span(v, s, "submit");
}

static uint64_t to_ns(const struct vk *v) { return (uint64_t)((double)v->stamp_ticks * v->props.limits.timestampPeriod); }

/* The time of the device's clock at a stamp, which is later than all that were read. */
static uint64_t unroll(struct vk *v, uint64_t ticks) {
  if (v->stamp_last || v->stamp_ticks) v->stamp_ticks += (ticks - v->stamp_last) & v->stamp_mask;
  v->stamp_last = ticks;
  return to_ns(v);
}

void vk_stamps_collect(struct vk *v, struct vk_slot *s) {
  struct vk_stamps *t = &s->stamps;
  uint64_t ticks[VK_STAMPS_PER_POOL], last = 0;
  for (uint32_t i = 0; i < t->n; i++) {
    uint32_t at = i % VK_STAMPS_PER_POOL, n = t->n - i < VK_STAMPS_PER_POOL ? t->n - i : VK_STAMPS_PER_POOL;
    if (at == 0 && v->GetQueryPoolResults(v->device, t->pool[i / VK_STAMPS_PER_POOL], 0, n, sizeof ticks, ticks, sizeof *ticks,
                                          VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT) != VK_SUCCESS)
      break;
    uint64_t now = unroll(v, ticks[at]);
    if (i > 0) span_push(&v->spans, (struct span){ .name = t->name[i - 1], .begin_ns = last, .end_ns = now, .counters = vk_counters_collect(v, s, i - 1) });
    last = now;
  }
  t->n = 0;
}

void vk_stamps_destroy(struct vk *v, struct vk_slot *s) {
  for (uint32_t i = 0; i < s->stamps.n_pools; i++) v->DestroyQueryPool(v->device, s->stamps.pool[i], NULL);
  mem_free(s->stamps.pool);
  mem_free(s->stamps.name);
}

size_t vk_spans(struct device *d, struct span *out, size_t cap) {
  struct vk *v = d->backend;
  vk_counters_taken(v);
  return span_take(&v->spans, out, cap);
}

/* ---- the device's clock and the host's */

bool vk_can_calibrate(const struct vk_instance *inst, VkPhysicalDevice phys) {
  VkTimeDomainEXT domain[16];
  uint32_t n = 16;
  bool device = false, host = false;
  if (!vk_has_extension(inst, phys, VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME)) return false;
  PFN_vkGetPhysicalDeviceCalibrateableTimeDomainsEXT get = (PFN_vkGetPhysicalDeviceCalibrateableTimeDomainsEXT)
    vkGetInstanceProcAddr(inst->handle, "vkGetPhysicalDeviceCalibrateableTimeDomainsEXT");
  if (!get || get(phys, &n, domain) < 0) return false;
  for (uint32_t i = 0; i < n; i++) {
    device |= domain[i] == VK_TIME_DOMAIN_DEVICE_EXT;
    host |= domain[i] == VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT;
  }
  return device && host;
}

bool vk_clocks(struct device *d, struct clocks *out) {
  struct vk *v = d->backend;
  const VkCalibratedTimestampInfoEXT want[2] = {
    { .sType = VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT, .timeDomain = VK_TIME_DOMAIN_DEVICE_EXT },
    { .sType = VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT, .timeDomain = VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT },
  };
  uint64_t at[2], error;
  if (!v->calibrated || v->GetCalibratedTimestampsEXT(v->device, 2, want, at, &error) < 0) return false;
  uint64_t period = (uint64_t)ceil((double)v->props.limits.timestampPeriod);
  *out = (struct clocks){ unroll(v, at[0]), at[1], error > period ? error : period };
  return true;
}
