/* commands.c - command buffers: one is recorded while those before it run.  What was sent can be sent again until it is recorded over. */
#include <inttypes.h>

#include "device/vulkan/vk.h"

static const uint64_t wait_ns = UINT64_C(1000000000), warn_after = 30;   /* one wait; waits without an answer */

static enum lrqk_status init_stream(struct vk *v, struct vk_stream *t) {
  const VkCommandPoolCreateInfo pool = {
    .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
    .queueFamilyIndex = v->family,
  };
  VK_TRY(v, CreateCommandPool, v->device, &pool, NULL, &t->commands);
  for (int i = 0; i < VK_RING; i++) {
    const VkCommandBufferAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = t->commands, .commandBufferCount = 1,
    };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VK_TRY(v, AllocateCommandBuffers, v->device, &info, &t->slot[i].cmd);
    VK_TRY(v, CreateFence, v->device, &fence, NULL, &t->slot[i].fence);
  }
  if (!v->timeline) return LRQK_OK;
  const VkSemaphoreTypeCreateInfoKHR counts = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO_KHR, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE_KHR };
  const VkSemaphoreCreateInfo semaphore = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &counts };
  VK_TRY(v, CreateSemaphore, v->device, &semaphore, NULL, &t->done);
  return LRQK_OK;
}

enum lrqk_status vk_commands_init(struct vk *v) {
  v->now = &v->stream[0];
  TRY(init_stream(v, &v->stream[0]));
  return init_stream(v, &v->stream[1]);
}

void vk_commands_destroy(struct vk *v) {
  for (int k = 0; k < 2; k++) {
    struct vk_stream *t = &v->stream[k];
    for (int i = 0; i < VK_RING; i++) {
      if (t->slot[i].fence) v->DestroyFence(v->device, t->slot[i].fence, NULL);
      vk_stamps_destroy(v, &t->slot[i]);
      vk_counters_slot_destroy(v, &t->slot[i]);
    }
    if (t->done) v->DestroySemaphore(v->device, t->done, NULL);
    if (t->commands) v->DestroyCommandPool(v->device, t->commands, NULL);
  }
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
  v->CmdPipelineBarrier(v->now->slot[v->now->head].cmd, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

void vk_barrier(struct device *d) {
  struct vk *v = d->backend;
  if (!v->now->recording) return;   /* a command buffer begins with one */
  memory_barrier(v, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                 VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

/* The slot that was sent longest ago, of those that still run if busy is set. */
static uint32_t oldest(const struct vk_stream *t, bool busy) {
  uint32_t at = VK_RING;
  for (uint32_t i = 0; i < VK_RING; i++)
    if ((t->slot[i].busy || !busy) && (at == VK_RING || t->slot[i].sent < t->slot[at].sent)) at = i;
  return at;
}

/* The command buffer that records.  It begins with a barrier: submits run in order, but what they wrote must be made
 * visible. */
static enum lrqk_status recorder(struct vk *v, struct vk_slot **out) {
  struct vk_stream *t = v->now;
  if (!t->recording) t->head = oldest(t, false);
  struct vk_slot *s = *out = &t->slot[t->head];
  if (t->recording) return LRQK_OK;
  if (s->busy) TRY(finish(v, s));
  if (t == v->stream && !v->watched) device_records(v->dev, t->head);
  const VkCommandBufferBeginInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
  VK_TRY(v, BeginCommandBuffer, s->cmd, &info);
  v->now->recording = true;
  v->now->bound = VK_NULL_HANDLE;
  vk_counters_begin(v, s);
  vk_barrier(v->dev);
  vk_stamps_begin(v, s);
  return LRQK_OK;
}

/* Sends the commands of a slot of this stream. */
static enum lrqk_status enqueue(struct vk *v, struct vk_stream *t, struct vk_slot *s, uint64_t ticket) {
  const struct vk_stream *other = &v->stream[t == v->stream];
  const VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  const uint64_t counts = t->count + 1;
  const VkTimelineSemaphoreSubmitInfoKHR values = {
    .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO_KHR, .waitSemaphoreValueCount = t->after > 0, .pWaitSemaphoreValues = &t->after,
    .signalSemaphoreValueCount = 1, .pSignalSemaphoreValues = &counts,
  };
  const VkSubmitInfo info = {
    .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .pNext = t->done ? &values : NULL, .commandBufferCount = 1, .pCommandBuffers = &s->cmd,
    .waitSemaphoreCount = t->after > 0, .pWaitSemaphores = &other->done, .pWaitDstStageMask = &all,
    .signalSemaphoreCount = t->done != VK_NULL_HANDLE, .pSignalSemaphores = &t->done,
  };
  VK_TRY(v, QueueSubmit, t->queue, 1, &info, s->fence);
  s->busy = true;
  s->ticket = ticket;
  s->sent = t->count = counts;
  t->after = 0;
  return LRQK_OK;
}

static enum lrqk_status send(struct vk *v, uint64_t ticket) {
  struct vk_slot *s = &v->now->slot[v->now->head];
  if (!v->now->recording) return LRQK_OK;
  memory_barrier(v, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
  v->now->recording = false;
  vk_labels_end(v, s->cmd);
  vk_stamps_end(v, s);
  vk_counters_end(v, s);
  VK_TRY(v, EndCommandBuffer, s->cmd);
  return enqueue(v, v->now, s, ticket);
}

enum lrqk_status vk_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                             const void *params) {
  struct vk *v = d->backend;
  const struct vk_kernel *vk = k->backend;
  VkDescriptorSet set;
  struct vk_slot *s;
  TRY(vk_pipeline_get(v, k));
  TRY(vk_set_get(v, vk->layout, views, &set));   /* first: it may send what is recorded */
  TRY(recorder(v, &s));
  vk_label(v, s->cmd, kernel_info[k->id].id);
  if (v->now->bound != vk->pipeline) v->CmdBindPipeline(s->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, vk->pipeline);
  v->now->bound = vk->pipeline;
  v->CmdBindDescriptorSets(s->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, vk->layout->pipeline, 0, 1, &set, 0, NULL);
  v->CmdPushConstants(s->cmd, vk->layout->pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, vk->layout->params_size, params);
  vk_count_begin(v, s);
  v->CmdDispatch(s->cmd, groups[0], groups[1], groups[2]);
  vk_count_end(v, s);
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
  vk_count_begin(v, s);
  v->CmdCopyBuffer(s->cmd, from->handle, to->handle, 1, &region);
  vk_count_end(v, s);
  vk_stamp(v, s, "copy");
  return LRQK_OK;
}

enum lrqk_status vk_fill(struct device *d, struct view dst, uint32_t word) {
  struct vk *v = d->backend;
  struct vk_slot *s;
  TRY(recorder(v, &s));
  const struct vk_buffer *to = dst.buf->backend;
  vk_label(v, s->cmd, "fill");
  vk_count_begin(v, s);
  v->CmdFillBuffer(s->cmd, to->handle, dst.offset, dst.size, word);
  vk_count_end(v, s);
  vk_stamp(v, s, "fill");
  return LRQK_OK;
}

static enum lrqk_status sent(struct device *d, uint64_t ticket) {
  struct vk *v = d->backend;
  v->ticket = ticket;
  uint32_t fresh = d->validation_messages - v->messages_seen;
  v->messages_seen = d->validation_messages;
  return fresh ? fail(&d->log, LRQK_CHECK, "%" PRIu32 " new messages of the validation layer", fresh) : LRQK_OK;
}

enum lrqk_status vk_submit(struct device *d, uint64_t ticket) {
  TRY(send(d->backend, ticket));
  return sent(d, ticket);
}

enum lrqk_status vk_replay(struct device *d, uint32_t number, uint64_t ticket) {
  struct vk *v = d->backend;
  struct vk_slot *s = &v->stream[0].slot[number];
  if (s->busy) TRY(finish(v, s));
  TRY(enqueue(v, &v->stream[0], s, ticket));
  return sent(d, ticket);
}

/* ---- the second queue: the streams wait for each other's counts */

enum lrqk_status vk_aside(struct device *d, bool begin) {
  struct vk *v = d->backend;
  if (!begin) {
    enum lrqk_status s = send(v, v->ticket);
    v->now = &v->stream[0];
    return s;
  }
  v->stream[1].after = v->stream[0].count;
  v->now = &v->stream[1];
  return LRQK_OK;
}

/* What this command buffer has recorded may run before: it is sent first. */
enum lrqk_status vk_join(struct device *d) {
  struct vk *v = d->backend;
  TRY(send(v, v->ticket));   /* under the ticket before its own, which is right: who awaits the own one waits for both */
  v->stream[0].after = v->stream[1].count;
  return LRQK_OK;
}

static enum lrqk_status wait_stream(struct vk *v, struct vk_stream *t, uint64_t ticket) {
  for (uint32_t i; (i = oldest(t, true)) < VK_RING && t->slot[i].ticket <= ticket;) TRY(finish(v, &t->slot[i]));
  return LRQK_OK;
}

/* In the order of submission, so that spans are in order too. */
enum lrqk_status vk_wait(struct device *d, uint64_t ticket) {
  struct vk *v = d->backend;
  TRY(wait_stream(v, &v->stream[0], ticket));
  return wait_stream(v, &v->stream[1], UINT64_MAX);
}

enum lrqk_status vk_flush(struct vk *v) {
  TRY(send(v, v->ticket + 1));
  return vk_wait(v->dev, v->ticket + 1);
}
