/* labels.c - names and labels of VK_EXT_debug_utils, for RenderDoc, Nsight Systems, RGP and the validation layer: pipelines and buffers
 * are called what kernels and buffers are called here; commands lie in labels of their call, layer and stage.  They cost nothing
 * where v->labels is false: they are made for a device opened to be captured or validated, or where a tool says that it traces. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/vulkan/vk.h"

/* A tool that is there (VK_EXT_tooling_info, part of Vulkan 1.3) and has a use for labels. */
static bool has_tool(const struct vk *v) {
  VkPhysicalDeviceToolProperties tool[8];
  uint32_t n = 8;
  bool core = v->props.apiVersion >= VK_API_VERSION_1_3 && v->inst.version >= VK_API_VERSION_1_3;
  if (!core && !vk_has_extension(&v->inst, v->phys, VK_EXT_TOOLING_INFO_EXTENSION_NAME)) return false;
  PFN_vkGetPhysicalDeviceToolProperties get = (PFN_vkGetPhysicalDeviceToolProperties)
    vkGetInstanceProcAddr(v->inst.handle, core ? "vkGetPhysicalDeviceToolProperties" : "vkGetPhysicalDeviceToolPropertiesEXT");
  for (uint32_t i = 0; i < n; i++) tool[i] = (VkPhysicalDeviceToolProperties){ .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TOOL_PROPERTIES };
  if (!get || get(v->phys, &n, tool) < 0) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (!(tool[i].purposes & (VK_TOOL_PURPOSE_PROFILING_BIT | VK_TOOL_PURPOSE_TRACING_BIT | VK_TOOL_PURPOSE_DEBUG_MARKERS_BIT_EXT))) continue;
    log_debug(&v->dev->log, "vulkan: names and labels for %s", tool[i].name);
    return true;
  }
  return false;
}

enum lrqk_status vk_labels_open(struct vk *v, const struct device_options *opt) {
  bool asked = opt->capture != LRQK_CAPTURE_AUTO;
  if (asked && !v->inst.SetDebugUtilsObjectNameEXT)
    return fail(&v->dev->log, LRQK_DEVICE, "%s: names and labels need VK_EXT_debug_utils, which the loader lacks", v->dev->caps.info.name);
  v->labels = v->inst.SetDebugUtilsObjectNameEXT && (asked || opt->validate || has_tool(v));
  v->watched = v->labels && (asked || !opt->validate);
  v->frames = opt->capture == LRQK_CAPTURE_RGP;
  return LRQK_OK;
}

void vk_name(struct vk *v, VkObjectType type, uint64_t handle, const char *name) {
  if (!v->labels) return;
  const VkDebugUtilsObjectNameInfoEXT info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT, .objectType = type, .objectHandle = handle, .pObjectName = name,
  };
  v->inst.SetDebugUtilsObjectNameEXT(v->device, &info);
}

static void pop(struct vk *v, VkCommandBuffer cmd, uint32_t depth) {
  for (; v->depth > depth; v->depth--) v->inst.CmdEndDebugUtilsLabelEXT(cmd);
}

static bool same(const struct vk_label *a, const struct vk_label *b) { return a->number == b->number && !strcmp(a->name, b->name); }

static void push(struct vk *v, VkCommandBuffer cmd, struct vk_label label) {
  char text[64];
  if (label.number < 0) snprintf(text, sizeof text, "%s", label.name);
  else snprintf(text, sizeof text, "%s %" PRId64, label.name, label.number);
  v->inst.CmdBeginDebugUtilsLabelEXT(cmd, &(VkDebugUtilsLabelEXT){ .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = text });
  v->label[v->depth++] = label;
}

void vk_label(struct vk *v, VkCommandBuffer cmd, const char *command) {
  const struct device *d = v->dev;
  struct vk_label want[VK_LABELS];
  uint32_t n = 0, keep = 0;
  if (!v->labels) return;
  if (*d->at_call) want[n++] = (struct vk_label){ d->at_call, d->at_token };
  if (n && d->at_layer >= 0) want[n++] = (struct vk_label){ "layer", d->at_layer };
  if (n && *d->at_stage) want[n++] = (struct vk_label){ d->at_stage, -1 };
  while (keep < n && keep < v->depth && same(&want[keep], &v->label[keep])) keep++;
  pop(v, cmd, keep);
  while (v->depth < n) push(v, cmd, want[v->depth]);
  v->inst.CmdInsertDebugUtilsLabelEXT(cmd, &(VkDebugUtilsLabelEXT){ .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = command });
}

void vk_labels_end(struct vk *v, VkCommandBuffer cmd) { pop(v, cmd, 0); }

/* The labels that AMD's drivers take for the borders of a frame, in programs that present nothing. */
void vk_frame(struct device *d, bool begin) {
  struct vk *v = d->backend;
  const VkDebugUtilsLabelEXT label = { .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = begin ? "AmdFrameBegin" : "AmdFrameEnd" };
  if (v->frames) v->inst.QueueInsertDebugUtilsLabelEXT(v->stream[0].queue, &label);
}
