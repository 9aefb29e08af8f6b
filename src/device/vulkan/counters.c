/* counters.c - hardware counters of VK_KHR_performance_query, for profiles that ask for them (device_options.counters).
 * A pool holds what its device counts in one pass: nothing is ever run twice for a profile, so counters that need more are split into
 * groups, and successive submits take successive groups (device.counter_turn).  A counter that fits in no pass alone is left out.
 * Commands of a submit are counted one by one, or (device.whole) the submit is counted as a whole, where counters of command buffers
 * have a meaning too.  The profiling lock is held from opening to closing. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "device/vulkan/vk.h"

enum { QUERIES = 4096, VALUES = 512 };   /* commands of a submit that are counted; counters of a group */
static const uint64_t lock_ns = UINT64_C(1000000000);

/* ---- what there is */

bool vk_has_counters(const struct vk_instance *inst, VkPhysicalDevice phys) {
  VkPhysicalDevicePerformanceQueryFeaturesKHR counters = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR };
  VkPhysicalDeviceHostQueryResetFeaturesEXT reset = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_QUERY_RESET_FEATURES_EXT, .pNext = &counters };
  VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &reset };
  if (!vk_has_extension(inst, phys, VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME) || !vk_has_extension(inst, phys, VK_EXT_HOST_QUERY_RESET_EXTENSION_NAME))
    return false;
  inst->GetPhysicalDeviceFeatures2(phys, &f);
  return counters.performanceCounterQueryPools && reset.hostQueryReset;
}

static PFN_vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR enumerator(const struct vk_instance *inst) {
  return (PFN_vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR)
    vkGetInstanceProcAddr(inst->handle, "vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR");
}

uint32_t vk_counters_of(const struct vk_instance *inst, VkPhysicalDevice phys) {
  uint32_t bits, queues, n = 0;
  uint32_t family = vk_compute_family(inst, phys, &bits, &queues);
  if (!bits || !vk_has_counters(inst, phys)) return 0;
  PFN_vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR enumerate = enumerator(inst);
  return enumerate && enumerate(phys, family, &n, NULL, NULL) >= 0 ? n : 0;
}

bool vk_counters_load(struct vk *v) {
  struct vk_counters *c = &v->counters;
  c->enumerate = enumerator(&v->inst);
  c->passes = (PFN_vkGetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR)
    vkGetInstanceProcAddr(v->inst.handle, "vkGetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR");
  c->acquire = (PFN_vkAcquireProfilingLockKHR)v->inst.GetDeviceProcAddr(v->device, "vkAcquireProfilingLockKHR");
  c->release = (PFN_vkReleaseProfilingLockKHR)v->inst.GetDeviceProcAddr(v->device, "vkReleaseProfilingLockKHR");
  c->reset = (PFN_vkResetQueryPoolEXT)v->inst.GetDeviceProcAddr(v->device, "vkResetQueryPoolEXT");
  c->begin = (PFN_vkCmdBeginQuery)v->inst.GetDeviceProcAddr(v->device, "vkCmdBeginQuery");
  c->end = (PFN_vkCmdEndQuery)v->inst.GetDeviceProcAddr(v->device, "vkCmdEndQuery");
  return c->enumerate && c->passes && c->acquire && c->release && c->reset && c->begin && c->end;
}

/* ---- choosing */

static const char *unit_of(VkPerformanceCounterUnitKHR u) {
  static const char *const name[] = {
    [VK_PERFORMANCE_COUNTER_UNIT_GENERIC_KHR] = "", [VK_PERFORMANCE_COUNTER_UNIT_PERCENTAGE_KHR] = "%",
    [VK_PERFORMANCE_COUNTER_UNIT_NANOSECONDS_KHR] = "ns", [VK_PERFORMANCE_COUNTER_UNIT_BYTES_KHR] = "B",
    [VK_PERFORMANCE_COUNTER_UNIT_BYTES_PER_SECOND_KHR] = "B/s", [VK_PERFORMANCE_COUNTER_UNIT_KELVIN_KHR] = "K",
    [VK_PERFORMANCE_COUNTER_UNIT_WATTS_KHR] = "W", [VK_PERFORMANCE_COUNTER_UNIT_VOLTS_KHR] = "V",
    [VK_PERFORMANCE_COUNTER_UNIT_AMPS_KHR] = "A", [VK_PERFORMANCE_COUNTER_UNIT_HERTZ_KHR] = "Hz",
    [VK_PERFORMANCE_COUNTER_UNIT_CYCLES_KHR] = "cycles",
  };
  return (size_t)u < sizeof name / sizeof *name ? name[u] : "";
}

static const char *storage_of(VkPerformanceCounterStorageKHR s) {
  static const char *const name[] = {
    [VK_PERFORMANCE_COUNTER_STORAGE_INT32_KHR] = "int32", [VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR] = "int64",
    [VK_PERFORMANCE_COUNTER_STORAGE_UINT32_KHR] = "uint32", [VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR] = "uint64",
    [VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR] = "float32", [VK_PERFORMANCE_COUNTER_STORAGE_FLOAT64_KHR] = "float64",
  };
  return (size_t)s < sizeof name / sizeof *name ? name[s] : "";
}

/* All counters of the queue family while they are chosen from. */
struct all { VkPerformanceCounterKHR *counter; VkPerformanceCounterDescriptionKHR *text; bool *wanted; uint32_t n; };

static void all_free(struct all *a) {
  mem_free(a->counter);
  mem_free(a->text);
  mem_free(a->wanted);
}

static enum lrqk_status enumerate(struct vk *v, struct all *a) {
  const char *name = v->dev->caps.info.name;
  if (v->counters.enumerate(v->phys, v->family, &a->n, NULL, NULL) < 0 || !a->n)
    return fail(&v->dev->log, LRQK_DEVICE, "%s: the driver has VK_KHR_performance_query, but no counters for this queue", name);
  a->counter = mem_alloc(a->n, sizeof *a->counter);
  a->text = mem_alloc(a->n, sizeof *a->text);
  a->wanted = mem_alloc(a->n, sizeof *a->wanted);
  if (!a->counter || !a->text || !a->wanted) return fail(&v->dev->log, LRQK_MEMORY, "%s: out of memory for %" PRIu32 " counters", name, a->n);
  for (uint32_t i = 0; i < a->n; i++) {
    a->counter[i] = (VkPerformanceCounterKHR){ .sType = VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_KHR };
    a->text[i] = (VkPerformanceCounterDescriptionKHR){ .sType = VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_DESCRIPTION_KHR };
  }
  VkResult r = v->counters.enumerate(v->phys, v->family, &a->n, a->counter, a->text);
  return r < 0 ? vk_fail(v, r, "vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR") : LRQK_OK;
}

/* One item of the list: the name of a counter, a category, or "all". */
static bool want(struct all *a, const char *item, size_t len) {
  bool found = false, everything = len == 3 && !strncasecmp(item, "all", 3);
  for (uint32_t i = 0; i < a->n; i++) {
    const VkPerformanceCounterDescriptionKHR *t = &a->text[i];
    if (!everything && !(strlen(t->name) == len && !strncasecmp(item, t->name, len)) && !(strlen(t->category) == len && !strncasecmp(item, t->category, len)))
      continue;
    a->wanted[i] = found = true;
  }
  return found;
}

static enum lrqk_status want_list(struct vk *v, struct all *a, const char *list) {
  for (const char *s = list; *s;) {
    s += strspn(s, ", ");
    size_t len = strcspn(s, ",");
    while (len && s[len - 1] == ' ') len--;
    if (len && !want(a, s, len)) {
      fail(&v->dev->log, LRQK_USAGE, "%s has no counter or category \"%.*s\"", v->dev->caps.info.name, (int)len, s);
      log_hint(&v->dev->log, "there are %" PRIu32 "; \"all\" reads and names all of them", a->n);
      return LRQK_USAGE;
    }
    s += len + strspn(s + len, ", ");
  }
  return LRQK_OK;
}

static bool one_pass(struct vk *v, const uint32_t *index, uint32_t n) {
  uint32_t passes = 0;
  const VkQueryPoolPerformanceCreateInfoKHR info = {
    .sType = VK_STRUCTURE_TYPE_QUERY_POOL_PERFORMANCE_CREATE_INFO_KHR, .queueFamilyIndex = v->family, .counterIndexCount = n, .pCounterIndices = index,
  };
  v->counters.passes(v->phys, &info, &passes);
  return n <= VALUES && passes == 1;
}

/* False: the counter fits in no pass. */
static bool add_to_group(struct vk *v, uint32_t i, bool submit) {
  struct vk_counters *c = &v->counters;
  struct vk_counter_group *g = c->n_groups ? &c->group[c->n_groups - 1] : NULL;
  c->index[c->n] = i;
  if (!one_pass(v, &c->index[c->n], 1)) return false;
  if (!g || g->submit != submit || !one_pass(v, &c->index[g->first], g->n + 1)) {
    if (c->n_groups == VK_COUNTER_GROUPS) return false;
    g = &c->group[c->n_groups++];
    *g = (struct vk_counter_group){ .first = c->n, .submit = submit };
    c->n_single += !submit;
  }
  g->n++;
  return true;
}

static enum lrqk_status group_all(struct vk *v, const struct all *a) {
  struct vk_counters *c = &v->counters;
  uint32_t wanted = 0;
  c->counter = mem_alloc(a->n, sizeof *c->counter);
  c->index = mem_alloc(a->n + 1, sizeof *c->index);
  c->storage = mem_alloc(a->n, sizeof *c->storage);
  if (!c->counter || !c->index || !c->storage) return fail(&v->dev->log, LRQK_MEMORY, "%s: out of memory for counters", v->dev->caps.info.name);
  for (int submit = 0; submit < 2; submit++) {   /* groups of counters of commands come first */
    VkPerformanceCounterScopeKHR scope = submit ? VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_BUFFER_KHR : VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR;
    for (uint32_t i = 0; i < a->n; i++) {
      wanted += !submit && a->wanted[i];
      if (!a->wanted[i] || a->counter[i].scope != scope || !add_to_group(v, i, submit)) continue;
      c->storage[c->n] = a->counter[i].storage;
      c->counter[c->n++] = (struct lrqk_counter){ .name = a->text[i].name, .category = a->text[i].category, .description = a->text[i].description,
                                                  .unit = unit_of(a->counter[i].unit), .scope = submit ? "submit" : "command",
                                                  .storage = storage_of(a->counter[i].storage) };
    }
  }
  if (!c->n) return fail(&v->dev->log, LRQK_DEVICE, "%s: none of the %" PRIu32 " counters asked for can be read in one pass", v->dev->caps.info.name, wanted);
  if (c->n < wanted)
    log_warn(&v->dev->log, "counters: %" PRIu32 " of %" PRIu32 " are left out: they take several passes, or count render passes alone", wanted - c->n, wanted);
  log_debug(&v->dev->log, "counters: %" PRIu32 " in %" PRIu32 " groups", c->n, c->n_groups);
  return LRQK_OK;
}

enum lrqk_status vk_counters_open(struct vk *v, const char *list) {
  struct vk_counters *c = &v->counters;
  struct all a = { 0 };
  enum lrqk_status s = enumerate(v, &a);
  if (s == LRQK_OK) s = want_list(v, &a, list);
  if (s == LRQK_OK) s = group_all(v, &a);
  c->text = a.text;   /* holds the names */
  a.text = NULL;
  all_free(&a);
  if (s != LRQK_OK) return s;
  const VkAcquireProfilingLockInfoKHR lock = { .sType = VK_STRUCTURE_TYPE_ACQUIRE_PROFILING_LOCK_INFO_KHR, .timeout = lock_ns };
  VkResult r = c->acquire(v->device, &lock);
  if (r != VK_SUCCESS) {
    fail(&v->dev->log, LRQK_DEVICE, "%s: the driver does not give its counters (vkAcquireProfilingLockKHR: %d)", v->dev->caps.info.name, r);
    log_hint(&v->dev->log, "another program may be counting, or the system may not let users count");
    return LRQK_DEVICE;
  }
  c->locked = true;
  v->dev->counter = c->counter;
  v->dev->n_counters = c->n;
  return LRQK_OK;
}

void vk_counters_close(struct vk *v) {
  struct vk_counters *c = &v->counters;
  if (c->locked) c->release(v->device);
  mem_free(c->counter);
  mem_free(c->index);
  mem_free(c->storage);
  mem_free(c->text);
  mem_free(c->now.value);
  mem_free(c->taken.value);
  *c = (struct vk_counters){ 0 };
  v->dev->counter = NULL;
  v->dev->n_counters = 0;
}

/* ---- counting */

void vk_counters_slot_destroy(struct vk *v, struct vk_slot *s) {
  for (uint32_t g = 0; g < VK_COUNTER_GROUPS; g++)
    if (s->counters.pool[g]) v->DestroyQueryPool(v->device, s->counters.pool[g], NULL);
  s->counters = (struct vk_counted){ 0 };
}

static bool pool_get(struct vk *v, struct vk_slot *s, uint32_t g) {
  const struct vk_counters *c = &v->counters;
  const VkQueryPoolPerformanceCreateInfoKHR which = {
    .sType = VK_STRUCTURE_TYPE_QUERY_POOL_PERFORMANCE_CREATE_INFO_KHR, .queueFamilyIndex = v->family, .counterIndexCount = c->group[g].n,
    .pCounterIndices = &c->index[c->group[g].first],
  };
  const VkQueryPoolCreateInfo info = {
    .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .pNext = &which, .queryType = VK_QUERY_TYPE_PERFORMANCE_QUERY_KHR, .queryCount = QUERIES,
  };
  VkQueryPool *pool = &s->counters.pool[g];
  if (*pool || v->CreateQueryPool(v->device, &info, NULL, pool) >= 0) return true;
  *pool = VK_NULL_HANDLE;
  return false;
}

static void begin_query(struct vk *v, struct vk_slot *s) {
  if (!s->counters.on || s->counters.n == QUERIES) return;
  s->counters.open = true;
  v->counters.begin(s->cmd, s->counters.pool[s->counters.group], s->counters.n, 0);
}

static void end_query(struct vk *v, struct vk_slot *s) {
  if (!s->counters.open) return;
  v->counters.end(s->cmd, s->counters.pool[s->counters.group], s->counters.n++);
  s->counters.open = false;
}

/* Queries are reset by the host: a command buffer may not both reset and use them.  Counters of command buffers begin before any other
 * command and end behind all of them. */
void vk_counters_begin(struct vk *v, struct vk_slot *s) {
  const struct vk_counters *c = &v->counters;
  uint32_t groups = v->dev->whole ? c->n_groups : c->n_single;
  s->counters.n = 0;
  s->counters.on = s->counters.open = false;
  if (!v->dev->stamping || !v->timing || !groups) return;
  s->counters.group = v->dev->counter_turn % groups;
  if (!pool_get(v, s, s->counters.group)) return;
  c->reset(v->device, s->counters.pool[s->counters.group], 0, QUERIES);
  s->counters.on = true;
  if (v->dev->whole) begin_query(v, s);
}

void vk_counters_end(struct vk *v, struct vk_slot *s) {
  if (v->dev->whole) end_query(v, s);
}

void vk_count_begin(struct vk *v, struct vk_slot *s) {
  if (!v->dev->whole) begin_query(v, s);
}

void vk_count_end(struct vk *v, struct vk_slot *s) {
  if (!v->dev->whole) end_query(v, s);
}

/* ---- values */

static double value_of(VkPerformanceCounterStorageKHR storage, const VkPerformanceCounterResultKHR *r) {
  switch (storage) {
    case VK_PERFORMANCE_COUNTER_STORAGE_INT32_KHR: return r->int32;
    case VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR: return (double)r->int64;
    case VK_PERFORMANCE_COUNTER_STORAGE_UINT32_KHR: return r->uint32;
    case VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR: return (double)r->uint64;
    case VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR: return r->float32;
    default: return r->float64;
  }
}

static bool push(struct vk_counter_values *l, struct lrqk_counter_value value) {
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 1024;
    struct lrqk_counter_value *more = mem_realloc(l->value, cap, sizeof *more);
    if (!more) return false;
    l->value = more;
    l->cap = cap;
  }
  l->value[l->n++] = value;
  return true;
}

/* Of the i-th span of a command buffer that has run: where its values are, 0: nowhere. */
size_t vk_counters_collect(struct vk *v, struct vk_slot *s, uint32_t i) {
  struct vk_counters *c = &v->counters;
  const struct vk_counter_group *g = &c->group[s->counters.group];
  VkPerformanceCounterResultKHR result[VALUES];
  size_t at = c->now.n;
  if (!s->counters.on || i >= s->counters.n) return 0;
  if (v->GetQueryPoolResults(v->device, s->counters.pool[s->counters.group], i, 1, g->n * sizeof *result, result, g->n * sizeof *result,
                             VK_QUERY_RESULT_WAIT_BIT) != VK_SUCCESS)
    return 0;
  bool ok = true;
  for (uint32_t k = 0; k < g->n; k++) ok = ok && push(&c->now, (struct lrqk_counter_value){ &c->counter[g->first + k], value_of(c->storage[g->first + k], &result[k]) });
  ok = ok && push(&c->now, (struct lrqk_counter_value){ 0 });   /* the end of the span's */
  if (!ok) c->now.n = at;
  return ok ? at + 1 : 0;
}

/* The spans are taken: their values stay until the next ones are. */
void vk_counters_taken(struct vk *v) {
  struct vk_counters *c = &v->counters;
  struct vk_counter_values old = c->taken;
  c->taken = c->now;
  c->now = old;
  c->now.n = 0;
}

size_t vk_span_counters(struct device *d, const struct span *s, const struct lrqk_counter_value **out) {
  const struct vk *v = d->backend;
  const struct vk_counter_values *l = &v->counters.taken;
  size_t n = 0;
  if (!s->counters || s->counters > l->n) return 0;
  *out = &l->value[s->counters - 1];
  while ((*out)[n].counter) n++;
  return n;
}
