/* memory.c - which memory a place means on this device, buffers in it, and how much of it is free. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "device/ram.h"
#include "device/vulkan/vk.h"

enum {
  DEVICE_LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
  VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
  CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
  UNUSABLE = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD
};

static bool is_unified(enum lrqk_device_type t) { return t == LRQK_DEVICE_SOFTWARE || t == LRQK_DEVICE_INTEGRATED; }

/* The type with the most points; -1: none will do.  Points, most important first: the right side of the bus, what can
 * be mapped exactly where the host needs it, cached, then the larger heap.  DEVICE memory of a discrete GPU stays
 * unmapped even where the bus allows it: the host would read it uncached. */
int vk_memory_type(const VkPhysicalDeviceMemoryProperties *m, enum lrqk_device_type type, enum place place, uint32_t bits) {
  bool unified = is_unified(type);
  int best = -1, best_points = -1;
  uint64_t best_heap = 0;
  for (uint32_t i = 0; i < m->memoryTypeCount; i++) {
    VkMemoryPropertyFlags f = m->memoryTypes[i].propertyFlags;
    bool local = f & DEVICE_LOCAL, visible = (f & VISIBLE) == VISIBLE, cached = f & CACHED;
    uint64_t heap = m->memoryHeaps[m->memoryTypes[i].heapIndex].size;
    if (!(bits >> i & 1) || (f & UNUSABLE)) continue;
    if (place == PLACE_DEVICE ? !local : !visible) continue;
    if (place == PLACE_HOST && local && !unified) continue;
    bool side = place == PLACE_DEVICE || local == unified;
    bool map = place != PLACE_DEVICE || visible == unified;
    int points = side * 8 + map * 4 + (cached && (place != PLACE_DEVICE || unified)) * 2;
    if (points > best_points || (points == best_points && heap > best_heap)) {
      best = (int)i;
      best_points = points;
      best_heap = heap;
    }
  }
  return best;
}

static void heap_flags(const VkPhysicalDeviceMemoryProperties *m, uint32_t heap, char *text, size_t cap) {
  VkMemoryPropertyFlags f = 0;
  for (uint32_t i = 0; i < m->memoryTypeCount; i++)
    if (m->memoryTypes[i].heapIndex == heap) f |= m->memoryTypes[i].propertyFlags;
  snprintf(text, cap, "%s%s%s", f & DEVICE_LOCAL ? ",device" : "", (f & VISIBLE) == VISIBLE ? ",host" : "", f & CACHED ? ",cached" : "");
  memmove(text, text + (text[0] == ','), strlen(text));
}

void vk_memory_info(const struct vk_instance *inst, VkPhysicalDevice phys, struct lrqk_device_info *info) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT };
  VkPhysicalDeviceMemoryProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2 };
  if (vk_has_extension(inst, phys, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)) p.pNext = &budget;
  inst->GetPhysicalDeviceMemoryProperties2(phys, &p);
  info->n_memory = p.memoryProperties.memoryHeapCount;
  for (uint32_t i = 0; i < info->n_memory; i++) {
    struct lrqk_memory_info *m = &info->memory[i];
    heap_flags(&p.memoryProperties, i, m->flags, sizeof m->flags);
    m->bytes = p.memoryProperties.memoryHeaps[i].size;
    m->free = budget.heapBudget[i] > budget.heapUsage[i] ? budget.heapBudget[i] - budget.heapUsage[i] : 0;
    if (info->type != LRQK_DEVICE_SOFTWARE) continue;
    uint64_t total, available;   /* the heap of a software driver is RAM, whatever size it claims */
    ram_bytes(&total, &available);
    if (total) m->bytes = total;
    m->free = available;
  }
}

void vk_memory(struct device *d) {
  struct vk *v = d->backend;
  vk_memory_info(&v->inst, v->phys, &d->caps.info);
}

/* ---- buffers */

static enum lrqk_status no_memory(struct buffer *b, uint32_t heap) {
  static const char *const hints[N_PLACES] = {
    [PLACE_DEVICE] = "a shorter context (-c), --attention lrqk or fewer active tokens (--active) need less device memory",
    [PLACE_HOST] = "a shorter context (-c) needs less host memory for the KV cache; `ulimit -l` may limit what can be pinned",
    [PLACE_STAGING] = "other programs may hold the memory that host and device share",
  };
  struct device *d = b->dev;
  vk_memory(d);
  const struct lrqk_memory_info *m = &d->caps.info.memory[heap];
  char free[40] = "unknown";
  if (m->free) snprintf(free, sizeof free, "%" PRIu64, m->free);
  fail(&d->log, LRQK_MEMORY, "buffer \"%s\": %" PRIu64 " bytes of heap %" PRIu32 " (%s) asked, %s of %" PRIu64 " are free", b->name,
       b->size, heap, m->flags, free, m->bytes);
  log_hint(&d->log, "%s", hints[b->place]);
  return LRQK_MEMORY;
}

static enum lrqk_status no_type(struct buffer *b) {
  static const char *const places[N_PLACES] = { "device memory", "host memory that kernels can read", "staging memory" };
  const struct device *d = b->dev;
  return fail(&d->log, LRQK_DEVICE, "buffer \"%s\": %s binds no %s to a storage buffer", b->name, d->caps.info.name, places[b->place]);
}

/* The block comes from calloc: zero, and large ones are not resident before they are used. */
static enum lrqk_status import(struct vk *v, struct buffer *b, struct vk_buffer *vb, const VkMemoryRequirements *need) {
  uint64_t align = v->import_align > need->alignment ? v->import_align : need->alignment;
  uint64_t size = (need->size + align - 1) / align * align;
  vb->block = mem_alloc(1, size + align);
  if (!vb->block) return no_memory(b, 0);
  char *p = (char *)(((uintptr_t)vb->block + align - 1) / align * align);
  VkMemoryHostPointerPropertiesEXT props = { .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT };
  VK_TRY(v, GetMemoryHostPointerPropertiesEXT, v->device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, p, &props);
  int type = vk_memory_type(&v->memory, v->dev->caps.info.type, b->place, need->memoryTypeBits & props.memoryTypeBits);
  if (type < 0) return no_type(b);
  const VkImportMemoryHostPointerInfoEXT host = {
    .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
    .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, .pHostPointer = p,
  };
  const VkMemoryAllocateInfo info = {
    .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &host, .allocationSize = size, .memoryTypeIndex = (uint32_t)type,
  };
  VkResult r = v->AllocateMemory(v->device, &info, NULL, &vb->memory);
  if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY || r == VK_ERROR_OUT_OF_HOST_MEMORY) return no_memory(b, v->memory.memoryTypes[type].heapIndex);
  if (r < 0) return vk_fail(v, r, "vkAllocateMemory");
  b->map = p;
  return LRQK_OK;
}

static enum lrqk_status allocate(struct vk *v, struct buffer *b, struct vk_buffer *vb, const VkMemoryRequirements *need) {
  int type = vk_memory_type(&v->memory, v->dev->caps.info.type, b->place, need->memoryTypeBits);
  if (type < 0) return no_type(b);
  const VkMemoryAllocateInfo info = {
    .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need->size, .memoryTypeIndex = (uint32_t)type,
  };
  VkResult r = v->AllocateMemory(v->device, &info, NULL, &vb->memory);
  if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY || r == VK_ERROR_OUT_OF_HOST_MEMORY) return no_memory(b, v->memory.memoryTypes[type].heapIndex);
  if (r < 0) return vk_fail(v, r, "vkAllocateMemory");
  if (b->place == PLACE_DEVICE && !v->dev->caps.mapped) return LRQK_OK;
  VK_TRY(v, MapMemory, v->device, vb->memory, 0, VK_WHOLE_SIZE, 0, &b->map);
  memset(b->map, 0, b->size);
  return LRQK_OK;
}

enum lrqk_status vk_buffer_create(struct buffer *b) {
  struct vk *v = b->dev->backend;
  struct vk_buffer *vb = mem_alloc(1, sizeof *vb);
  if (!vb) return fail(&b->dev->log, LRQK_MEMORY, "buffer \"%s\": out of host memory", b->name);
  b->backend = vb;
  const VkExternalMemoryBufferCreateInfo external = {
    .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
  };
  const VkBufferCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .pNext = v->import_align ? &external : NULL, .size = b->size,
    .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
             (b->dev->caps.texel ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0),
  };
  VkMemoryRequirements need;
  VkResult r = v->CreateBuffer(v->device, &info, NULL, &vb->handle);
  enum lrqk_status s = r < 0 ? vk_fail(v, r, "vkCreateBuffer") : LRQK_OK;
  if (s == LRQK_OK) {
    vk_name(v, VK_OBJECT_TYPE_BUFFER, (uint64_t)vb->handle, b->name);
    v->GetBufferMemoryRequirements(v->device, vb->handle, &need);
    s = v->import_align ? import(v, b, vb, &need) : allocate(v, b, vb, &need);
  }
  if (s == LRQK_OK) {
    r = v->BindBufferMemory(v->device, vb->handle, vb->memory, 0);
    if (r < 0) s = vk_fail(v, r, "vkBindBufferMemory");
  }
  if (s != LRQK_OK) vk_buffer_destroy(b);
  return s;
}

void vk_buffer_destroy(struct buffer *b) {
  struct vk *v = b->dev->backend;
  struct vk_buffer *vb = b->backend;
  vk_sets_drop(v, b);
  v->DestroyBuffer(v->device, vb->handle, NULL);
  v->FreeMemory(v->device, vb->memory, NULL);
  mem_free(vb->block);
  mem_free(vb);
}
