/* statistics.c - what the driver's compiler says of a pipeline: registers, spills, instructions, in its own words
 * (VK_KHR_pipeline_executable_properties).  Of devices opened with timing, where the extension is. */
#include <stdio.h>

#include "device/vulkan/vk.h"

enum { MOST = 64 };   /* of executables, of statistics of each */

static double value_of(const VkPipelineExecutableStatisticKHR *s) {
  switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s->value.b32 ? 1 : 0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return (double)s->value.u64;
    default: return s->value.f64;
  }
}

/* One executable of a pipeline; those of several (SIMD8, SIMD16 ...) carry its name. */
static size_t executable(struct vk *v, VkPipeline pipeline, uint32_t i, const char *name, struct kernel_figure *out, size_t cap) {
  const VkPipelineExecutableInfoKHR which = { .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline, .executableIndex = i };
  VkPipelineExecutableStatisticKHR s[MOST];
  uint32_t n = MOST;
  for (uint32_t k = 0; k < MOST; k++) s[k] = (VkPipelineExecutableStatisticKHR){ .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR };
  if (v->GetPipelineExecutableStatisticsKHR(v->device, &which, &n, s) < 0) return 0;
  size_t found = 0;
  for (uint32_t k = 0; k < n && found < cap; k++) {
    struct kernel_figure *f = &out[found++];
    snprintf(f->name, sizeof f->name, "%.60s%s%.60s", name, *name ? ": " : "", s[k].name);
    f->value = value_of(&s[k]);
  }
  return found;
}

size_t vk_kernel_figures(const struct kernel *k, struct kernel_figure *out, size_t cap) {
  struct vk *v = k->dev->backend;
  const struct vk_kernel *vk = k->backend;
  if (!v->statistics || !vk->pipeline) return 0;
  const VkPipelineInfoKHR which = { .sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = vk->pipeline };
  VkPipelineExecutablePropertiesKHR e[MOST];
  uint32_t n = MOST;
  for (uint32_t i = 0; i < MOST; i++) e[i] = (VkPipelineExecutablePropertiesKHR){ .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR };
  if (v->GetPipelineExecutablePropertiesKHR(v->device, &which, &n, e) < 0) return 0;
  size_t found = 0;
  for (uint32_t i = 0; i < n; i++) found += executable(v, vk->pipeline, i, n > 1 ? e[i].name : "", out + found, cap - found);
  return found;
}
