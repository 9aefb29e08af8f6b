/* kernels.c - binding layouts, and pipelines, which are made when a kernel is first dispatched: a short prompt needs half of them. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/vulkan/vk.h"

VkFormat vk_format(char element_class) {
  switch (element_class) {
    case 'f': return VK_FORMAT_R32_SFLOAT;
    case 'F': return VK_FORMAT_R32G32B32A32_SFLOAT;
    case 'u': return VK_FORMAT_R32_UINT;
    default: return VK_FORMAT_R32G32B32A32_UINT;
  }
}

static enum lrqk_status layout_create(struct vk *v, struct vk_layout *l) {
  VkDescriptorSetLayoutBinding binding[KERNEL_MAX_BINDINGS];
  for (uint32_t i = 0; i < l->n; i++)
    binding[i] = (VkDescriptorSetLayoutBinding){
      .binding = i, .descriptorCount = 1, .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
      .descriptorType = l->kind[i] == 's' ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER,
    };
  const VkDescriptorSetLayoutCreateInfo set = {
    .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = l->n, .pBindings = binding,
  };
  VK_TRY(v, CreateDescriptorSetLayout, v->device, &set, NULL, &l->set);
  const VkPushConstantRange params = { .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = l->params_size };
  const VkPipelineLayoutCreateInfo pipeline = {
    .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &l->set,
    .pushConstantRangeCount = 1, .pPushConstantRanges = &params,
  };
  VK_TRY(v, CreatePipelineLayout, v->device, &pipeline, NULL, &l->pipeline);
  return LRQK_OK;
}

static enum lrqk_status layout_get(struct vk *v, const struct kernel_info *info, struct vk_layout **out) {
  struct vk_layout want = { .n = info->n_bindings, .params_size = info->params_size, .unused = UINT32_MAX };
  for (uint32_t i = 0; i < info->n_bindings; i++)
    want.kind[i] = v->dev->caps.texel && info->binding[i].access == ACCESS_READ ? info->element_class[i] : 's';
  for (uint32_t i = 0; i < v->n_layouts; i++) {
    struct vk_layout *l = v->layout[i];
    if (l->n != want.n || l->params_size != want.params_size || memcmp(l->kind, want.kind, sizeof want.kind)) continue;
    *out = l;
    return LRQK_OK;
  }
  struct vk_layout **list = mem_realloc(v->layout, v->n_layouts + 1, sizeof *list);
  if (list) v->layout = list;
  struct vk_layout *l = list ? mem_alloc(1, sizeof *l) : NULL;
  if (!l) return fail(&v->dev->log, LRQK_MEMORY, "kernel %s: out of host memory", info->id);
  *l = want;
  v->layout[v->n_layouts++] = l;   /* whole or not: vk_layouts_destroy takes both */
  *out = l;
  return layout_create(v, l);
}

void vk_layouts_destroy(struct vk *v) {
  for (uint32_t i = 0; i < v->n_layouts; i++) {
    v->DestroyPipelineLayout(v->device, v->layout[i]->pipeline, NULL);
    v->DestroyDescriptorSetLayout(v->device, v->layout[i]->set, NULL);
    mem_free(v->layout[i]);
  }
  mem_free(v->layout);
}

static VkResult pipeline_create(struct vk *v, const struct kernel *k, VkShaderModule module, struct vk_kernel *vk) {
  VkSpecializationMapEntry entry[KERNEL_MAX_SPEC];
  for (uint32_t i = 0; i < k->n_spec; i++) entry[i] = (VkSpecializationMapEntry){ .constantID = i, .offset = 4 * i, .size = 4 };
  const VkSpecializationInfo spec = { .mapEntryCount = k->n_spec, .pMapEntries = entry, .dataSize = 4 * k->n_spec, .pData = k->spec };
  const VkComputePipelineCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
    .flags = v->statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0, .layout = vk->layout->pipeline,
    .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module,
               .pName = "main", .pSpecializationInfo = &spec },
  };
  return v->CreateComputePipelines(v->device, v->cache, 1, &info, NULL, &vk->pipeline);
}

enum lrqk_status vk_kernel_create(struct kernel *k) {
  struct vk *v = k->dev->backend;
  const struct kernel_info *info = &kernel_info[k->id];
  if (!info->spirv[v->dev->caps.texel]) return fail(&v->dev->log, LRQK_RUNTIME, "kernel %s: no SPIR-V in this build", info->id);
  struct vk_layout *layout = NULL;
  TRY(layout_get(v, info, &layout));
  struct vk_kernel *vk = mem_alloc(1, sizeof *vk);
  if (!vk) return fail(&v->dev->log, LRQK_MEMORY, "kernel %s: out of host memory", info->id);
  vk->layout = layout;
  k->backend = vk;
  return LRQK_OK;
}

enum lrqk_status vk_pipeline_get(struct vk *v, const struct kernel *k) {
  const struct kernel_info *info = &kernel_info[k->id];
  struct vk_kernel *vk = k->backend;
  bool texel = v->dev->caps.texel;
  if (vk->pipeline) return LRQK_OK;
  uint64_t begin = clock_ns();
  const VkShaderModuleCreateInfo code = {
    .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = info->spirv_bytes[texel], .pCode = info->spirv[texel],
  };
  VkShaderModule module;
  const char *call = "vkCreateShaderModule";
  VkResult r = v->CreateShaderModule(v->device, &code, NULL, &module);
  if (r >= 0) {
    call = "vkCreateComputePipelines";
    r = pipeline_create(v, k, module, vk);
    v->DestroyShaderModule(v->device, module, NULL);
  }
  if (r < 0) {
    vk->pipeline = VK_NULL_HANDLE;
    log_debug(&v->dev->log, "kernel %s: no pipeline", info->id);
    return vk_fail(v, r, call);
  }
  vk_name(v, VK_OBJECT_TYPE_PIPELINE, (uint64_t)vk->pipeline, info->id);
  log_debug(&v->dev->log, "kernel %s: pipeline in %" PRIu64 " us", info->id, (clock_ns() - begin) / 1000);
  return LRQK_OK;
}

void vk_kernel_destroy(struct kernel *k) {
  struct vk *v = k->dev->backend;
  struct vk_kernel *vk = k->backend;
  v->DestroyPipeline(v->device, vk->pipeline, NULL);
  mem_free(vk);
}
