/* sets.c - descriptor sets, kept by what they bind: every token repeats the dispatches of the one before it, so that
 * after the first a dispatch makes nothing.  A set goes when a buffer that it names does, or, when there are too many,
 * with all others. */
#include <string.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

static const uint32_t none = UINT32_MAX;

static void clear_buckets(struct vk_sets *c) { memset(c->bucket, 0xff, VK_BUCKETS * sizeof *c->bucket); }   /* none */

enum lrqk_status vk_sets_init(struct vk *v) {
  v->sets.bucket = mem_alloc(VK_BUCKETS, sizeof *v->sets.bucket);
  if (!v->sets.bucket) return fail(&v->dev->log, LRQK_MEMORY, "descriptor sets: out of host memory");
  clear_buckets(&v->sets);
  return LRQK_OK;
}

static void drop_texels(struct vk *v, struct vk_set *s) {
  for (int i = 0; i < KERNEL_MAX_BINDINGS; i++) {
    if (s->texels[i]) v->DestroyBufferView(v->device, s->texels[i], NULL);
    s->texels[i] = VK_NULL_HANDLE;
  }
}

void vk_sets_destroy(struct vk *v) {
  struct vk_sets *c = &v->sets;
  for (uint32_t i = 0; i < c->n; i++) drop_texels(v, &c->set[i]);
  for (uint32_t i = 0; i < c->n_pools; i++) v->DestroyDescriptorPool(v->device, c->pool[i], NULL);
  mem_free(c->set);
  mem_free(c->bucket);
  *c = (struct vk_sets){ 0 };
}

void vk_sets_drop(struct vk *v, const struct buffer *b) {
  struct vk_sets *c = &v->sets;
  for (uint32_t bucket = 0; bucket < VK_BUCKETS; bucket++) {
    for (uint32_t *link = &c->bucket[bucket]; *link != none;) {
      uint32_t at = *link;
      struct vk_set *s = &c->set[at];
      struct vk_layout *l = s->layout;
      bool names = false;
      for (uint32_t i = 0; i < l->n; i++) names |= s->view[i].buf == b;
      if (!names) {
        link = &s->next;
        continue;
      }
      *link = s->next;
      drop_texels(v, s);
      s->next = l->unused;
      l->unused = at;
    }
  }
}

/* All sets go, and with them what was recorded; the pools stay. */
static enum lrqk_status recycle(struct vk *v) {
  struct vk_sets *c = &v->sets;
  TRY(vk_flush(v));
  device_forgets(v->dev);
  for (uint32_t i = 0; i < c->n; i++) drop_texels(v, &c->set[i]);
  for (uint32_t i = 0; i < c->n_pools; i++) VK_TRY(v, ResetDescriptorPool, v->device, c->pool[i], 0);
  for (uint32_t i = 0; i < v->n_layouts; i++) v->layout[i]->unused = none;
  clear_buckets(c);
  c->n = c->pool_at = 0;
  c->left = VK_SETS_PER_POOL;
  return LRQK_OK;
}

static enum lrqk_status next_pool(struct vk *v) {
  struct vk_sets *c = &v->sets;
  if (c->n_pools && c->pool_at + 1 < c->n_pools) {
    c->pool_at++;
    c->left = VK_SETS_PER_POOL;
    return LRQK_OK;
  }
  const VkDescriptorPoolSize sizes[] = {
    { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, VK_SETS_PER_POOL * KERNEL_MAX_BINDINGS },
    { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, VK_SETS_PER_POOL * KERNEL_MAX_BINDINGS },
  };
  const VkDescriptorPoolCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = VK_SETS_PER_POOL, .poolSizeCount = 2, .pPoolSizes = sizes,
  };
  VK_TRY(v, CreateDescriptorPool, v->device, &info, NULL, &c->pool[c->n_pools]);
  c->pool_at = c->n_pools++;
  c->left = VK_SETS_PER_POOL;
  return LRQK_OK;
}

/* Index of a set of this layout that binds nothing yet. */
static enum lrqk_status take(struct vk *v, struct vk_layout *l, uint32_t *out) {
  struct vk_sets *c = &v->sets;
  if (l->unused != none) {
    *out = l->unused;
    l->unused = c->set[*out].next;
    return LRQK_OK;
  }
  if (c->n == VK_SETS) TRY(recycle(v));
  if (c->n == c->cap) {
    uint32_t cap = c->cap ? c->cap * 2 : VK_SETS_PER_POOL;
    struct vk_set *more = mem_realloc(c->set, cap, sizeof *more);
    if (!more) return fail(&v->dev->log, LRQK_MEMORY, "descriptor sets: out of host memory");
    c->set = more;
    c->cap = cap;
  }
  if (!c->left) TRY(next_pool(v));
  struct vk_set *s = &c->set[c->n];
  *s = (struct vk_set){ .layout = l };
  const VkDescriptorSetAllocateInfo info = {
    .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, .descriptorPool = c->pool[c->pool_at],
    .descriptorSetCount = 1, .pSetLayouts = &l->set,
  };
  VK_TRY(v, AllocateDescriptorSets, v->device, &info, &s->handle);
  c->left--;
  *out = c->n++;
  return LRQK_OK;
}

static enum lrqk_status bind(struct vk *v, const struct vk_layout *l, struct vk_set *s, const struct view *views) {
  VkWriteDescriptorSet write[KERNEL_MAX_BINDINGS];
  VkDescriptorBufferInfo buffer[KERNEL_MAX_BINDINGS];
  for (uint32_t i = 0; i < l->n; i++) {
    const struct vk_buffer *vb = views[i].buf->backend;
    write[i] = (VkWriteDescriptorSet){
      .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = s->handle, .dstBinding = i, .descriptorCount = 1,
      .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .pBufferInfo = &buffer[i],
    };
    buffer[i] = (VkDescriptorBufferInfo){ .buffer = vb->handle, .offset = views[i].offset, .range = views[i].size };
    s->view[i] = views[i];
    if (l->kind[i] == 's') continue;
    const VkBufferViewCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO, .buffer = vb->handle, .format = vk_format(l->kind[i]),
      .offset = views[i].offset, .range = views[i].size,
    };
    VK_TRY(v, CreateBufferView, v->device, &info, NULL, &s->texels[i]);
    write[i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
    write[i].pBufferInfo = NULL;
    write[i].pTexelBufferView = &s->texels[i];
  }
  v->UpdateDescriptorSets(v->device, l->n, write, 0, NULL);
  return LRQK_OK;
}

static uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

static uint64_t hash_of(const struct vk_layout *l, const struct view *views) {
  uint64_t h = (uintptr_t)l;
  for (uint32_t i = 0; i < l->n; i++) h = mix(mix(mix(h, (uintptr_t)views[i].buf), views[i].offset), views[i].size);
  return h;
}

static bool same(const struct view *a, const struct view *b, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (a[i].buf != b[i].buf || a[i].offset != b[i].offset || a[i].size != b[i].size) return false;
  return true;
}

enum lrqk_status vk_set_get(struct vk *v, struct vk_layout *l, const struct view *views, VkDescriptorSet *out) {
  struct vk_sets *c = &v->sets;
  uint64_t hash = hash_of(l, views);
  uint32_t bucket = (uint32_t)(hash % VK_BUCKETS);
  for (uint32_t at = c->bucket[bucket]; at != none; at = c->set[at].next) {
    const struct vk_set *s = &c->set[at];
    if (s->hash != hash || s->layout != l || !same(s->view, views, l->n)) continue;
    *out = s->handle;
    return LRQK_OK;
  }
  uint32_t at = none;
  TRY(take(v, l, &at));
  struct vk_set *s = &c->set[at];
  enum lrqk_status status = bind(v, l, s, views);
  if (status != LRQK_OK) {
    drop_texels(v, s);
    s->next = l->unused;
    l->unused = at;
    return status;
  }
  s->hash = hash;
  s->next = c->bucket[bucket];
  c->bucket[bucket] = at;
  *out = s->handle;
  return LRQK_OK;
}
