/* vk.h - what the files of the Vulkan back end share.
 *   instance.c    loader, instance, messages of the validation layer, devices and their capabilities
 *   device.c      logical device, queue, opening and closing; the table device_vulkan
 *   memory.c      memory types, buffers, budgets
 *   kernels.c     binding layouts, pipelines        cache.c  the pipeline cache and its file
 *   sets.c        descriptor sets, kept by what they bind
 *   commands.c    the ring of command buffers       timing.c  timestamps
 *   labels.c      names and labels for tools that look on   statistics.c  what the compiler says of pipelines
 *   counters.c    hardware counters */
#ifndef DEVICE_VULKAN_VK_H
#define DEVICE_VULKAN_VK_H

#include <volk.h>

#include "device/device.h"
#include "device/spans.h"

#define VK_INSTANCE_FUNCTIONS(X)                                                                                        \
  X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceMemoryProperties2)    \
  X(GetPhysicalDeviceFeatures2)                                                                                           \
  X(GetPhysicalDeviceQueueFamilyProperties) X(GetPhysicalDeviceFormatProperties) X(EnumerateDeviceExtensionProperties)    \
  X(CreateDevice) X(GetDeviceProcAddr)

#define VK_DEBUG_FUNCTIONS(X)                                                                                           \
  X(CreateDebugUtilsMessengerEXT) X(DestroyDebugUtilsMessengerEXT) X(SetDebugUtilsObjectNameEXT)                          \
  X(CmdBeginDebugUtilsLabelEXT) X(CmdEndDebugUtilsLabelEXT) X(CmdInsertDebugUtilsLabelEXT) X(QueueInsertDebugUtilsLabelEXT)

#define VK_DEVICE_FUNCTIONS(X)                                                                                          \
  X(DestroyDevice) X(DeviceWaitIdle) X(GetDeviceQueue) X(QueueSubmit)                                                     \
  X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) X(AllocateMemory) X(FreeMemory) X(BindBufferMemory)     \
  X(MapMemory) X(CreateBufferView) X(DestroyBufferView)                                                                   \
  X(CreateShaderModule) X(DestroyShaderModule) X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout)                 \
  X(CreatePipelineLayout) X(DestroyPipelineLayout) X(CreateComputePipelines) X(DestroyPipeline)                           \
  X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData)                                                  \
  X(CreateDescriptorPool) X(DestroyDescriptorPool) X(ResetDescriptorPool) X(AllocateDescriptorSets) X(UpdateDescriptorSets) \
  X(CreateCommandPool) X(DestroyCommandPool) X(AllocateCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer)          \
  X(CreateSemaphore) X(DestroySemaphore) X(CreateFence) X(DestroyFence) X(ResetFences) X(WaitForFences)                                                          \
  X(CmdBindPipeline) X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch) X(CmdCopyBuffer) X(CmdFillBuffer)        \
  X(CmdPipelineBarrier) X(CmdResetQueryPool) X(CmdWriteTimestamp)                                                         \
  X(CreateQueryPool) X(DestroyQueryPool) X(GetQueryPoolResults)

enum {
  VK_MAX_DEVICES = 16,
  VK_RING = DEVICE_RECORDINGS, /* command buffers: one is recorded while others run, and what was sent can be sent again */
  VK_SETS = 16384,             /* descriptor sets kept: a step of 80 layers with 16 pages each needs about 6000 */
  VK_SETS_PER_POOL = 512,
  VK_BUCKETS = 8192,
  VK_STAMPS_PER_POOL = 1024,
  VK_LABELS = 3,               /* call, layer, stage */
  VK_COUNTER_GROUPS = 64
};

/* Several instances may live side by side, so their functions are theirs, not volk's global ones. */
struct vk_instance {
  VkInstance handle;
  uint32_t version;           /* of the API, that it was made for */
  VkDebugUtilsMessengerEXT messenger;
#define X(name) PFN_vk##name name;
  VK_INSTANCE_FUNCTIONS(X)
  VK_DEBUG_FUNCTIONS(X)       /* NULL without VK_EXT_debug_utils */
#undef X
};

struct vk_buffer {
  VkBuffer handle;
  VkDeviceMemory memory;
  void *block;                /* host memory that was imported (software drivers) */
};

/* What kernels with the same kinds of bindings share. */
struct vk_layout {
  VkDescriptorSetLayout set;
  VkPipelineLayout pipeline;
  uint32_t n, params_size;
  char kind[KERNEL_MAX_BINDINGS];   /* 's': storage buffer, else the element class of a texel buffer */
  uint32_t unused;                  /* head of a list of sets that bind nothing that still exists */
};

struct vk_kernel { VkPipeline pipeline; struct vk_layout *layout; };   /* VK_NULL_HANDLE: not dispatched yet */

struct vk_set {
  VkDescriptorSet handle;
  struct vk_layout *layout;
  uint64_t hash;
  struct view view[KERNEL_MAX_BINDINGS];
  VkBufferView texels[KERNEL_MAX_BINDINGS];   /* of the set alone */
  uint32_t next;                              /* in the bucket or in the layout's unused list */
};

struct vk_sets {
  struct vk_set *set;
  uint32_t n, cap;
  uint32_t *bucket;             /* [VK_BUCKETS] heads */
  VkDescriptorPool pool[VK_SETS / VK_SETS_PER_POOL];
  uint32_t n_pools, left;       /* left: sets of the last pool in use */
  uint32_t pool_at;
};

/* Stamp i + 1 is the end of span i and the begin of the next. */
struct vk_stamps {
  VkQueryPool *pool;
  uint32_t n_pools, n;          /* n: stamps written into the command buffer */
  const char **name;            /* [n - 1] */
};

/* number negative: none. */
struct vk_label { const char *name; int64_t number; };

/* Counters that one pass can count; submit: of a command buffer, else of commands.  first, n: in the lists of struct vk_counters. */
struct vk_counter_group { uint32_t first, n; bool submit; };

/* What a command buffer counts: n queries of a group so far, query i is of span i. */
struct vk_counted { VkQueryPool pool[VK_COUNTER_GROUPS]; uint32_t group, n; bool on, open; };

struct vk_slot {
  VkCommandBuffer cmd;
  VkFence fence;
  uint64_t ticket, sent;        /* its submit in the order of its stream's, 0: none */
  bool busy;
  struct vk_stamps stamps;
  struct vk_counted counters;
};

/* A queue and its command buffers. */
struct vk_stream {
  VkQueue queue;
  VkCommandPool commands;
  struct vk_slot slot[VK_RING];
  uint32_t head;                /* the slot that records, or will */
  bool recording;
  VkPipeline bound;             /* in the command buffer that records */
  VkSemaphore done;             /* counts its submits; VK_NULL_HANDLE: the device has no such semaphores */
  uint64_t count, after;        /* submits so far; the next one waits for so many of the other stream, 0: none */
};

/* Values, each span's behind one another and ended by one without a counter. */
struct vk_counter_values { struct lrqk_counter_value *value; size_t n, cap; };

/* Hardware counters; zeros where none are read. */
struct vk_counters {
  PFN_vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR enumerate;
  PFN_vkGetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR passes;
  PFN_vkAcquireProfilingLockKHR acquire;
  PFN_vkReleaseProfilingLockKHR release;
  PFN_vkResetQueryPoolEXT reset;
  PFN_vkCmdBeginQuery begin;
  PFN_vkCmdEndQuery end;
  struct lrqk_counter *counter;          /* [n] those that are read, by group ... */
  uint32_t *index;                       /* ... the driver's numbers of them ... */
  VkPerformanceCounterStorageKHR *storage;
  VkPerformanceCounterDescriptionKHR *text;
  uint32_t n, n_groups, n_single;        /* n_single: the first so many groups are of commands */
  struct vk_counter_group group[VK_COUNTER_GROUPS];
  bool locked;
  struct vk_counter_values now, taken;   /* of spans that wait, and of those taken last */
};

struct vk {
  struct device *dev;
  struct vk_instance inst;
  VkPhysicalDevice phys;
  VkPhysicalDeviceProperties props;
  VkPhysicalDeviceMemoryProperties memory;
  VkDeviceSize import_align;    /* software drivers: host memory can be imported at this alignment; else 0 */
  VkDevice device;
  uint32_t family;
  bool timeline;                /* semaphores that count */
  bool statistics, calibrated;  /* optional extensions, with timing */
  PFN_vkGetMemoryHostPointerPropertiesEXT GetMemoryHostPointerPropertiesEXT;
  PFN_vkGetPipelineExecutablePropertiesKHR GetPipelineExecutablePropertiesKHR;
  PFN_vkGetPipelineExecutableStatisticsKHR GetPipelineExecutableStatisticsKHR;
  PFN_vkGetCalibratedTimestampsEXT GetCalibratedTimestampsEXT;
#define X(name) PFN_vk##name name;
  VK_DEVICE_FUNCTIONS(X)
#undef X

  struct vk_layout **layout;
  uint32_t n_layouts;
  VkPipelineCache cache;
  size_t cache_bytes;           /* as it was loaded */
  struct vk_sets sets;

  struct vk_stream stream[2], *now;   /* the second one is another queue of the family, or the same where there is one */
  uint64_t ticket;              /* of the last submit */
  uint32_t messages_seen;       /* validation messages that a submit has reported */

  bool labels, frames;          /* labels are written; RGP's frame markers too */
  bool watched;                 /* by a tool that shows them: each token gets its own */
  struct vk_label label[VK_LABELS];   /* open in the command buffer that records */
  uint32_t depth;

  bool timing;
  uint64_t stamp_mask, stamp_last, stamp_ticks;   /* ticks since the first stamp, wrapped counters unrolled */
  struct span_list spans;
  struct vk_counters counters;
};

/* Logs a failed call and gives its status. */
enum lrqk_status vk_fail(struct vk *v, VkResult r, const char *call);
#define VK_TRY(v, name, ...)                                         \
  do {                                                               \
    VkResult r_ = (v)->name(__VA_ARGS__);                            \
    if (r_ < 0) return vk_fail(v, r_, "vk" #name);                   \
  } while (0)

/* instance.c.  d: whose validation messages are counted; NULL: no validation.  debug: with VK_EXT_debug_utils if it is there.  A failure
 * is only a debug message. */
bool vk_have_validation_layer(void);
enum lrqk_status vk_instance_create(struct vk_instance *inst, const struct log *log, struct device *d, bool debug);
void vk_instance_destroy(struct vk_instance *inst);
uint32_t vk_usable_devices(const struct vk_instance *inst, const struct log *log, VkPhysicalDevice list[VK_MAX_DEVICES]);
void vk_caps(const struct vk_instance *inst, VkPhysicalDevice phys, struct device_caps *caps);
bool vk_has_extension(const struct vk_instance *inst, VkPhysicalDevice phys, const char *name);
uint32_t vk_compute_family(const struct vk_instance *inst, VkPhysicalDevice phys, uint32_t *stamp_bits, uint32_t *queues);   /* UINT32_MAX: none */
bool vk_has_timeline(const struct vk_instance *inst, VkPhysicalDevice phys);
void vk_enumerate(const struct log *log, bool validate, void (*fn)(void *ud, const struct device_caps *caps), void *ud);

/* memory.c */
int vk_memory_type(const VkPhysicalDeviceMemoryProperties *m, enum lrqk_device_type type, enum place place, uint32_t bits);   /* -1: none */
void vk_memory_info(const struct vk_instance *inst, VkPhysicalDevice phys, struct lrqk_device_info *info);
void vk_memory(struct device *d);
enum lrqk_status vk_buffer_create(struct buffer *b);
void vk_buffer_destroy(struct buffer *b);

/* kernels.c */
VkFormat vk_format(char element_class);
enum lrqk_status vk_kernel_create(struct kernel *k);
void vk_kernel_destroy(struct kernel *k);
enum lrqk_status vk_pipeline_get(struct vk *v, const struct kernel *k);   /* makes k's pipeline unless it has one */
void vk_layouts_destroy(struct vk *v);

/* cache.c */
void vk_cache_open(struct vk *v);
void vk_cache_close(struct vk *v);
bool vk_cache_path(const VkPhysicalDeviceProperties *p, char *path, size_t cap);             /* false: no home, or too long */
void *vk_cache_load(const VkPhysicalDeviceProperties *p, const char *path, size_t *n);       /* NULL: nothing that is this driver's */
bool vk_cache_save(const char *path, const void *data, size_t n);

/* sets.c */
enum lrqk_status vk_sets_init(struct vk *v);
void vk_sets_destroy(struct vk *v);
enum lrqk_status vk_set_get(struct vk *v, struct vk_layout *l, const struct view *views, VkDescriptorSet *out);
void vk_sets_drop(struct vk *v, const struct buffer *b);     /* the device is idle and nothing is recorded */

/* commands.c */
enum lrqk_status vk_commands_init(struct vk *v);
void vk_commands_destroy(struct vk *v);
enum lrqk_status vk_flush(struct vk *v);                     /* sends what is recorded and waits: the device is idle */
enum lrqk_status vk_dispatch(struct device *d, const struct kernel *k, const uint32_t groups[3], const struct view *views,
                             const void *params);
enum lrqk_status vk_copy(struct device *d, struct view dst, struct view src);
enum lrqk_status vk_fill(struct device *d, struct view dst, uint32_t word);
void vk_barrier(struct device *d);
enum lrqk_status vk_submit(struct device *d, uint64_t ticket);
enum lrqk_status vk_replay(struct device *d, uint32_t number, uint64_t ticket);
enum lrqk_status vk_wait(struct device *d, uint64_t ticket);
enum lrqk_status vk_aside(struct device *d, bool begin);
enum lrqk_status vk_join(struct device *d);

/* labels.c: nothing happens unless v->labels */
enum lrqk_status vk_labels_open(struct vk *v, const struct device_options *opt);
void vk_name(struct vk *v, VkObjectType type, uint64_t handle, const char *name);
void vk_label(struct vk *v, VkCommandBuffer cmd, const char *command);   /* before the command */
void vk_labels_end(struct vk *v, VkCommandBuffer cmd);                   /* before the command buffer ends */
void vk_frame(struct device *d, bool begin);

/* timing.c: nothing happens unless v->timing */
void vk_stamps_begin(struct vk *v, struct vk_slot *s);
void vk_stamp(struct vk *v, struct vk_slot *s, const char *name);   /* after the command */
void vk_stamps_end(struct vk *v, struct vk_slot *s);                /* before the command buffer ends */
void vk_stamps_collect(struct vk *v, struct vk_slot *s);            /* the command buffer has run */
void vk_stamps_destroy(struct vk *v, struct vk_slot *s);
size_t vk_spans(struct device *d, struct span *out, size_t cap);
bool vk_can_calibrate(const struct vk_instance *inst, VkPhysicalDevice phys);   /* the device's clock against CLOCK_MONOTONIC */
bool vk_clocks(struct device *d, struct clocks *out);

/* counters.c: nothing happens unless vk_counters_open was called */
bool vk_has_counters(const struct vk_instance *inst, VkPhysicalDevice phys);         /* the extensions and their features */
uint32_t vk_counters_of(const struct vk_instance *inst, VkPhysicalDevice phys);      /* how many, 0: none can be read */
bool vk_counters_load(struct vk *v);
enum lrqk_status vk_counters_open(struct vk *v, const char *list);                   /* after vk_counters_load; list as device_options.counters */
void vk_counters_close(struct vk *v);
void vk_counters_begin(struct vk *v, struct vk_slot *s);                             /* the first thing in a command buffer ... */
void vk_counters_end(struct vk *v, struct vk_slot *s);                               /* ... and the last */
void vk_count_begin(struct vk *v, struct vk_slot *s);                                /* around a command */
void vk_count_end(struct vk *v, struct vk_slot *s);
size_t vk_counters_collect(struct vk *v, struct vk_slot *s, uint32_t i);             /* of span i; what span.counters is */
void vk_counters_taken(struct vk *v);
void vk_counters_slot_destroy(struct vk *v, struct vk_slot *s);
size_t vk_span_counters(struct device *d, const struct span *s, const struct lrqk_counter_value **out);

/* statistics.c */
size_t vk_kernel_figures(const struct kernel *k, struct kernel_figure *out, size_t cap);

#endif
