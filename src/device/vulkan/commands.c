/* commands.c - a ring of command buffers: one is recorded while those before it run. */
#include <inttypes.h>

#include "device/vulkan/vk.h"

static const uint64_t wait_ns = UINT64_C(1000000000), warn_after = 30;   /* one wait; waits without an answer */

enum lrqk_status vk_commands_init(struct vk *v) {
  const VkCommandPoolCreateInfo pool = {
    .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
    .queueFamilyIndex = v->family,
  };
  VK_TRY(v, CreateCommandPool, v->device, &pool, NULL, &v->commands);
  for (int i = 0; i < VK_RING; i++) {
    const VkCommandBufferAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = v->commands, .commandBufferCount = 1,
    };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VK_TRY(v, AllocateCommandBuffers, v->device, &info, &v->slot[i].cmd);
    VK_TRY(v, CreateFence, v->device, &fence, NULL, &v->slot[i].fence);
  }
  return LRQK_OK;
}

void vk_commands_destroy(struct vk *v) {
  for (int i = 0; i < VK_RING; i++) {
    if (v->slot[i].fence) v->DestroyFence(v->device, v->slot[i].fence, NULL);
    vk_stamps_destroy(v, &v->slot[i]);
  }
  if (v->commands) v->DestroyCommandPool(v->device, v->commands, NULL);
}

/* Waits for one submit.  A slow device is not a lost one: only the driver's word ends the wait. */
static enum lrqk_status finish(struct vk *v, struct vk_slot *s) {
  for (uint64_t tries = 1; s->busy; tries++) {
    VkResult r = v->WaitForFences(v->device, 1, &s->fence, VK_TRUE, wait_ns);
    if (r < 0) return vk_fail(v, r, "vkWaitForFences");
    if (r == VK_SUCCESS) s->busy = false;
    else if (tries % warn_after == 0) log_warn(&v->dev->log, "%s has not answered for %" PRIu64 " s", v->dev->caps.info.name, tries);
  }
  VK_TRY(v, ResetFences, v->device, 1, &s->fence);
  vk_stamps_collect(v, s);
  return LRQK_OK;
}

/* Compute and transfer before, compute and transfer after: inputs, outputs and texel reads alike. */
static void memory_barrier(struct vk *v, VkPipelineStageFlags to, VkAccessFlags access) {
  const VkMemoryBarrier b = {
    .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
    .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, .dstAccessMask = access,
  };
  const VkPipelineStageFlags from = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  v->CmdPipelineBarrier(v->slot[v->head].cmd, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

void vk_barrier(struct device *d) {
  memory_barrier(d->backend, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                 VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

/* The command buffer that records.  It begins with a barrier: submits run in order, but what they wrote must be made
 * visible. */
static enum lrqk_status recorder(struct vk *v, struct vk_slot **out) {
  struct vk_slot *s = *out = &v->slot[v->head];
  if (v->recording) return LRQK_OK;
  if (s->busy) TRY(finish(v, s));
  const VkCommandBufferBeginInfo info = {
    .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
  };
  VK_TRY(v, BeginCommandBuffer, s->cmd, &info);
  v->recording = true;
  v->bound = VK_NULL_HANDLE;
  vk_barrier(v->dev);
  vk_stamps_begin(v, s);
  return LRQK_OK;
}

static enum lrqk_status send(struct vk *v, uint64_t ticket) {
  struct vk_slot *s = &v->slot[v->head];
  if (!v->recording) return LRQK_OK;
  memory_barrier(v, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
  v->recording = false;
  vk_labels_end(v, s->cmd);
  vk_stamps_end(v, s);
  VK_TRY(v, EndCommandBuffer, s->cmd);
  const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &s->cmd };
  VK_TRY(v, QueueSubmit, v->queue, 1, &info, s->fence);
  s->busy = true;
  s->ticket = ticket;
  v->head = (v->head + 1) % VK_RING;
  return LRQK_OK;
}

enum lrqk_status vk_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                             const void *params) {
  struct vk *v = d->backend;
  const struct vk_kernel *vk = k->backend;
  VkDescriptorSet set;
  struct vk_slot *s;
  TRY(vk_set_get(v, vk->layout, views, &set));   /* first: it may send what is recorded */
  TRY(recorder(v, &s));
  vk_label(v, s->cmd, kernel_info[k->id].id);
  if (v->bound != vk->pipeline) v->CmdBindPipeline(s->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, vk->pipeline);
  v->bound = vk->pipeline;
  v->CmdBindDescriptorSets(s->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, vk->layout->pipeline, 0, 1, &set, 0, NULL);
  v->CmdPushConstants(s->cmd, vk->layout->pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, vk->layout->params_size, params);
  v->CmdDispatch(s->cmd, groups[0], groups[1], groups[2]);
  vk_stamp(v, s, kernel_info[k->id].id);
  return LRQK_OK;
}

enum lrqk_status vk_copy(struct device *d, struct view dst, struct view src) {
  struct vk *v = d->backend;
  struct vk_slot *s;
  TRY(recorder(v, &s));
  const VkBufferCopy region = { .srcOffset = src.offset, .dstOffset = dst.offset, .size = src.size };
  const struct vk_buffer *from = src.buf->backend, *to = dst.buf->backend;
  vk_label(v, s->cmd, "copy");
  v->CmdCopyBuffer(s->cmd, from->handle, to->handle, 1, &region);
  vk_stamp(v, s, "copy");
  return LRQK_OK;
}

enum lrqk_status vk_fill(struct device *d, struct view dst, uint32_t word) {
  struct vk *v = d->backend;
  struct vk_slot *s;
  TRY(recorder(v, &s));
  const struct vk_buffer *to = dst.buf->backend;
  vk_label(v, s->cmd, "fill");
  v->CmdFillBuffer(s->cmd, to->handle, dst.offset, dst.size, word);
  vk_stamp(v, s, "fill");
  return LRQK_OK;
}

enum lrqk_status vk_submit(struct device *d, uint64_t ticket) {
  struct vk *v = d->backend;
  TRY(send(v, ticket));
  v->ticket = ticket;
  uint32_t fresh = d->validation_messages - v->messages_seen;
  v->messages_seen = d->validation_messages;
  return fresh ? fail(&d->log, LRQK_CHECK, "%" PRIu32 " new messages of the validation layer", fresh) : LRQK_OK;
}

/* In the order of submission, so that spans are in order too. */
enum lrqk_status vk_wait(struct device *d, uint64_t ticket) {
  struct vk *v = d->backend;
  for (uint32_t i = 0; i < VK_RING; i++) {
    struct vk_slot *s = &v->slot[(v->head + i) % VK_RING];
    if (s->busy && s->ticket <= ticket) TRY(finish(v, s));
  }
  return LRQK_OK;
}

enum lrqk_status vk_flush(struct vk *v) {
  TRY(send(v, v->ticket + 1));
  return vk_wait(v->dev, v->ticket + 1);
}
