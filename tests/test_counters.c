/* test_counters.c - hardware counters of the Vulkan back end, from a driver that has them: none is at hand, so the functions of the
 * extension are replaced by ones that check how they are called and count what they are told. */
#include "log_capture.h"

#include <stdio.h>
#include <string.h>

#include "device/vulkan/vk.h"
#include "session_rig.h"
#include "suite.h"

/* ---- the driver */

enum { FAKE_POOLS = 64, QUERIES = 4096 };

struct fake_counter { const char *name, *category; VkPerformanceCounterScopeKHR scope; VkPerformanceCounterUnitKHR unit;
                      VkPerformanceCounterStorageKHR storage; uint32_t passes; };

#define COUNTER(name, category, scope, unit, storage, passes) \
  { name, category, VK_PERFORMANCE_COUNTER_SCOPE_##scope##_KHR, VK_PERFORMANCE_COUNTER_UNIT_##unit##_KHR, \
    VK_PERFORMANCE_COUNTER_STORAGE_##storage##_KHR, passes }
static const struct fake_counter counters[] = {
  COUNTER("Waves", "Core", COMMAND, GENERIC, UINT64, 1), COUNTER("Power", "Board", COMMAND_BUFFER, WATTS, FLOAT64, 1),
  COUNTER("L2 hits", "Cache", COMMAND, PERCENTAGE, FLOAT32, 1), COUNTER("Stalls", "Core", COMMAND, CYCLES, INT64, 3),
  COUNTER("L2 read", "Cache", COMMAND, BYTES, UINT32, 1), COUNTER("Tiles", "Core", RENDER_PASS, GENERIC, UINT32, 1),
  COUNTER("Drift", "Core", COMMAND, NANOSECONDS, INT32, 1),
};
enum { N = sizeof counters / sizeof *counters, A_PASS = 2 };   /* counters that one pass can count */

static struct {
  uint32_t there;                /* counters that are enumerated */
  VkResult lock;                 /* what asking for the lock gives */
  bool locked;
  uint32_t n_pools, destroyed;
  struct { uint32_t index[N], n; char state[QUERIES]; } pool[FAKE_POOLS];   /* state: 0 not reset, 1 reset, 2 begun, 3 ended */
  char said[4000];               /* commands, in short */
} fake;
static PFN_vkCreateQueryPool create_real;
static PFN_vkDestroyQueryPool destroy_real;
static PFN_vkGetQueryPoolResults results_real;
static PFN_vkCmdPipelineBarrier barrier_real;
static PFN_vkCmdWriteTimestamp stamp_real;
static PFN_vkCmdDispatch dispatch_real;

static void say(const char *s) { strncat(fake.said, s, sizeof fake.said - strlen(fake.said) - 1); }

static uint32_t number_of(VkQueryPool pool) {   /* FAKE_POOLS: a real one */
  uintptr_t at = (uintptr_t)pool - (uintptr_t)fake.pool;
  return (uintptr_t)pool >= (uintptr_t)fake.pool && at < sizeof fake.pool ? (uint32_t)(at / sizeof fake.pool[0]) : FAKE_POOLS;
}

static VkResult VKAPI_CALL enumerate(VkPhysicalDevice phys, uint32_t family, uint32_t *n, VkPerformanceCounterKHR *c,
                                     VkPerformanceCounterDescriptionKHR *t) {
  (void)phys, (void)family;
  if (!c) {
    *n = fake.there;
    return VK_SUCCESS;
  }
  ck_assert_uint_eq(*n, fake.there);
  for (uint32_t i = 0; i < *n; i++) {
    ck_assert(c[i].sType == VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_KHR && t[i].sType == VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_DESCRIPTION_KHR);
    c[i].unit = counters[i].unit, c[i].scope = counters[i].scope, c[i].storage = counters[i].storage;
    snprintf(t[i].name, sizeof t[i].name, "%s", counters[i].name);
    snprintf(t[i].category, sizeof t[i].category, "%s", counters[i].category);
    snprintf(t[i].description, sizeof t[i].description, "all about %s", counters[i].name);
  }
  return VK_SUCCESS;
}

static void VKAPI_CALL passes(VkPhysicalDevice phys, const VkQueryPoolPerformanceCreateInfoKHR *info, uint32_t *n) {
  (void)phys;
  *n = (info->counterIndexCount + A_PASS - 1) / A_PASS;
  for (uint32_t i = 0; i < info->counterIndexCount; i++)
    if (counters[info->pCounterIndices[i]].passes > *n) *n = counters[info->pCounterIndices[i]].passes;
}

static VkResult VKAPI_CALL acquire(VkDevice device, const VkAcquireProfilingLockInfoKHR *info) {
  (void)device;
  ck_assert(info->sType == VK_STRUCTURE_TYPE_ACQUIRE_PROFILING_LOCK_INFO_KHR && !fake.locked);
  fake.locked = fake.lock == VK_SUCCESS;
  return fake.lock;
}

static void VKAPI_CALL release(VkDevice device) {
  (void)device;
  ck_assert(fake.locked);
  fake.locked = false;
}

static VkResult VKAPI_CALL create(VkDevice device, const VkQueryPoolCreateInfo *info, const VkAllocationCallbacks *a, VkQueryPool *out) {
  if (info->queryType != VK_QUERY_TYPE_PERFORMANCE_QUERY_KHR) return create_real(device, info, a, out);
  const VkQueryPoolPerformanceCreateInfoKHR *which = info->pNext;
  uint32_t n;
  ck_assert_uint_lt(fake.n_pools, FAKE_POOLS);
  ck_assert_uint_le(info->queryCount, QUERIES);
  passes(NULL, which, &n);
  ck_assert_uint_eq(n, 1);       /* nothing is run twice */
  fake.pool[fake.n_pools].n = which->counterIndexCount;
  memcpy(fake.pool[fake.n_pools].index, which->pCounterIndices, which->counterIndexCount * sizeof(uint32_t));
  *out = (VkQueryPool)&fake.pool[fake.n_pools++];
  return VK_SUCCESS;
}

static void VKAPI_CALL destroy(VkDevice device, VkQueryPool pool, const VkAllocationCallbacks *a) {
  if (number_of(pool) == FAKE_POOLS) destroy_real(device, pool, a);
  else fake.destroyed++;
}

static void VKAPI_CALL reset(VkDevice device, VkQueryPool pool, uint32_t first, uint32_t n) {
  uint32_t p = number_of(pool);
  (void)device;
  ck_assert(p < FAKE_POOLS && first + n <= QUERIES);
  memset(fake.pool[p].state + first, 1, n);
}

static void move(VkQueryPool pool, uint32_t q, int from, int to) {
  uint32_t p = number_of(pool);
  ck_assert(fake.locked && p < FAKE_POOLS && q < QUERIES);
  ck_assert_int_eq(fake.pool[p].state[q], from);
  fake.pool[p].state[q] = (char)to;
}

static void VKAPI_CALL begin(VkCommandBuffer cmd, VkQueryPool pool, uint32_t q, VkQueryControlFlags flags) {
  (void)cmd;
  ck_assert_uint_eq(flags, 0);
  move(pool, q, 1, 2);
  say("<");
}

static void VKAPI_CALL end(VkCommandBuffer cmd, VkQueryPool pool, uint32_t q) {
  (void)cmd;
  move(pool, q, 2, 3);
  say(">");
}

/* Of counter i and query q: 100 i + q, negative where its storage has a sign. */
static double counted(uint32_t i, uint32_t q) {
  bool sign = counters[i].storage <= VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR;
  return (sign ? -1 : 1) * (100.0 * i + q);
}

static VkResult VKAPI_CALL results(VkDevice device, VkQueryPool pool, uint32_t first, uint32_t n, size_t size, void *data, VkDeviceSize stride,
                                   VkQueryResultFlags flags) {
  uint32_t p = number_of(pool);
  if (p == FAKE_POOLS) return results_real(device, pool, first, n, size, data, stride, flags);
  VkPerformanceCounterResultKHR *r = data;
  ck_assert(!(flags & ~(unsigned)VK_QUERY_RESULT_WAIT_BIT) && stride == fake.pool[p].n * sizeof *r && size == n * stride && n == 1);
  ck_assert_int_eq(fake.pool[p].state[first], 3);
  for (uint32_t k = 0; k < fake.pool[p].n; k++) {
    uint32_t i = fake.pool[p].index[k];
    double v = counted(i, first);
    memset(&r[k], 0xff, sizeof r[k]);
    switch (counters[i].storage) {
      case VK_PERFORMANCE_COUNTER_STORAGE_INT32_KHR: r[k].int32 = (int32_t)v; break;
      case VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR: r[k].int64 = (int64_t)v; break;
      case VK_PERFORMANCE_COUNTER_STORAGE_UINT32_KHR: r[k].uint32 = (uint32_t)v; break;
      case VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR: r[k].uint64 = (uint64_t)v; break;
      case VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR: r[k].float32 = (float)v; break;
      default: r[k].float64 = v;
    }
  }
  return VK_SUCCESS;
}

static void VKAPI_CALL barrier(VkCommandBuffer cmd, VkPipelineStageFlags from, VkPipelineStageFlags to, VkDependencyFlags flags, uint32_t nm,
                               const VkMemoryBarrier *m, uint32_t nb, const VkBufferMemoryBarrier *b, uint32_t ni, const VkImageMemoryBarrier *i) {
  say("|");
  barrier_real(cmd, from, to, flags, nm, m, nb, b, ni, i);
}

static void VKAPI_CALL stamp(VkCommandBuffer cmd, VkPipelineStageFlagBits stage, VkQueryPool pool, uint32_t q) {
  say("t");
  stamp_real(cmd, stage, pool, q);
}

static void VKAPI_CALL dispatch(VkCommandBuffer cmd, uint32_t x, uint32_t y, uint32_t z) {
  say("D");
  dispatch_real(cmd, x, y, z);
}

static struct log_capture captured;

static void replace(struct device *d) {
  struct vk *v = d->backend;
  memset(&fake, 0, sizeof fake);
  fake.there = N;
  create_real = v->CreateQueryPool, destroy_real = v->DestroyQueryPool, results_real = v->GetQueryPoolResults;
  barrier_real = v->CmdPipelineBarrier, stamp_real = v->CmdWriteTimestamp, dispatch_real = v->CmdDispatch;
  v->CreateQueryPool = create, v->DestroyQueryPool = destroy, v->GetQueryPoolResults = results;
  v->CmdPipelineBarrier = barrier, v->CmdWriteTimestamp = stamp, v->CmdDispatch = dispatch;
  v->counters = (struct vk_counters){ .enumerate = enumerate, .passes = passes, .acquire = acquire, .release = release, .reset = reset,
                                      .begin = begin, .end = end };
}

static struct device *open_device(void) {
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  ck_assert_msg(device_open(&d, &log, &(struct device_options){ .select = "vulkan", .timing = true }) == LRQK_OK, "%s", captured.text);
  replace(d);
  return d;
}

/* ---- choosing */

static void names(const struct device *d, char *out, size_t cap) {
  *out = 0;
  for (uint32_t i = 0; i < d->n_counters; i++) {
    size_t at = strlen(out);
    snprintf(out + at, cap - at, "%s[%s,%s,%s] ", d->counter[i].name, d->counter[i].unit, d->counter[i].scope, d->counter[i].storage);
  }
}

/* What needs several passes, or counts render passes only, is left out; the rest is grouped, those of commands first. */
START_TEST(lists_and_groups) {
  static const struct { const char *list, *names; uint32_t groups, single; } cases[] = {
    { "all", "Waves[,command,uint64] L2 hits[%,command,float32] L2 read[B,command,uint32] Drift[ns,command,int32] Power[W,submit,float64] ", 3, 2 },
    { "cache", "L2 hits[%,command,float32] L2 read[B,command,uint32] ", 1, 1 },
    { " power ,L2 READ", "L2 read[B,command,uint32] Power[W,submit,float64] ", 2, 1 },
    { "Power", "Power[W,submit,float64] ", 1, 0 },
    { "Waves,Waves,", "Waves[,command,uint64] ", 1, 1 },
  };
  struct device *d = open_device();
  struct vk *v = d->backend;
  char text[500];
  ck_assert_msg(vk_counters_open(v, cases[_i].list) == LRQK_OK, "%s", captured.text);
  names(d, text, sizeof text);
  ck_assert_str_eq(text, cases[_i].names);
  ck_assert_uint_eq(v->counters.n_groups, cases[_i].groups);
  ck_assert_uint_eq(v->counters.n_single, cases[_i].single);
  ck_assert_str_eq(d->counter[0].description + strlen("all about "), d->counter[0].name);
  ck_assert(fake.locked);
  device_close(d);
  ck_assert(!fake.locked);
}
END_TEST

START_TEST(refusals) {
  static const struct { const char *list; uint32_t there; VkResult lock; enum lrqk_status status; const char *a, *b; } cases[] = {
    { "all", 0, VK_SUCCESS, LRQK_DEVICE, "no counters", "VK_KHR_performance_query" },
    { "all", N, VK_TIMEOUT, LRQK_DEVICE, "does not give", "vkAcquireProfilingLockKHR: 2" },
    { "all", N, VK_ERROR_OUT_OF_HOST_MEMORY, LRQK_DEVICE, "does not give", "vkAcquireProfilingLockKHR: -1" },
    { "Cache,L3 hits", N, VK_SUCCESS, LRQK_USAGE, "no counter or category", "\"L3 hits\"" },
    { "Stalls", N, VK_SUCCESS, LRQK_DEVICE, "none of the 1", "one pass" },
    { "Tiles", N, VK_SUCCESS, LRQK_DEVICE, "none of the 1", "one pass" },
  };
  struct device *d = open_device();
  fake.there = cases[_i].there;
  fake.lock = cases[_i].lock;
  ck_assert_int_eq(vk_counters_open(d->backend, cases[_i].list), cases[_i].status);
  log_capture_expect(&captured, cases[_i].a, cases[_i].b);
  ck_assert(!fake.locked && !d->n_counters);
  device_close(d);
}
END_TEST

/* Devices that have none say so: those of other back ends, and the driver that is here. */
START_TEST(devices_without) {
  static const char *const backend[] = { "host", "opencl", "vulkan" };
  struct log log = log_capture(&captured);
  struct device *d = NULL;
  struct device_options opt = { .select = backend[_i], .timing = true };
  if (device_open(&d, &log, &opt) != LRQK_OK) return;   /* no OpenCL in this build */
  bool some = d->caps.info.counters > 0;
  device_close(d);
  log = log_capture(&captured);
  opt.counters = "all";
  enum lrqk_status s = device_open(&d, &log, &opt);
  if (some) {
    ck_assert(s == LRQK_OK || strstr(captured.text, "vkAcquireProfilingLockKHR"));
    if (s == LRQK_OK) device_close(d);
    return;
  }
  ck_assert_int_eq(s, LRQK_DEVICE);
  log_capture_expect(&captured, "no hardware counters", "VK_KHR_performance_query");
  ck_assert_ptr_nonnull(strstr(captured.hint, "devices -v"));
}
END_TEST

/* ---- counting */

static void add(struct device *d, const struct buffer *b, uint64_t z) {
  const struct kernel *k;
  ck_assert_int_eq(kernel_get(&k, d, KERNEL_ADD, SPEC(8)), LRQK_OK);
  struct add_params p = { 1 };
  DISPATCH(d, k, 1, 1, 1, &p, (struct view){ b, 0, 16 }, (struct view){ b, 512, 16 }, (struct view){ b, z, 16 });
}

/* Submits two commands in the given turn; what their spans say of counters, in short. */
static void submit(struct device *d, const struct buffer *b, uint32_t turn, char *out, size_t cap) {
  struct span span[4];
  fake.said[0] = *out = 0;
  d->counter_turn = turn;
  for (int i = 0; i < 2; i++) add(d, b, 1024);
  ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
  ck_assert_int_eq(device_wait(d, 0), LRQK_OK);
  size_t n = device_spans(d, span, 4);
  for (size_t i = 0; i < n; i++) {
    const struct lrqk_counter_value *list;
    size_t values = device_counters(d, &span[i], &list), at = strlen(out);
    snprintf(out + at, cap - at, "%s:", span[i].name);
    for (size_t k = 0; k < values; k++) {
      at = strlen(out);
      snprintf(out + at, cap - at, " %s %g", list[k].counter->name, list[k].value);
    }
    strncat(out, "; ", cap - strlen(out) - 1);
  }
}

/* Commands are counted one by one, groups take turns; a whole submit is counted from its first command to its last, where the group of
 * command buffers has its turn too; what is not timed is not counted. */
START_TEST(values_of_commands_and_submits) {
  struct device *d = open_device();
  struct buffer *b;
  char got[300];
  ck_assert_int_eq(vk_counters_open(d->backend, "all"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, 1536, "x"), LRQK_OK);
  ck_assert_int_eq(device_submit(d, NULL), LRQK_OK);
  ck_assert_int_eq(device_wait(d, 0), LRQK_OK);
  device_spans(d, NULL, 0);
  for (uint32_t round = 0; round < 6; round++) {   /* the ring comes round */
    submit(d, b, 2 * round, got, sizeof got);
    ck_assert_str_eq(got, "ADD: Waves 0 L2 hits 200; ADD: Waves 1 L2 hits 201; ");
    ck_assert_str_eq(fake.said, "|t<D>t|<D>t|");
    submit(d, b, 2 * round + 1, got, sizeof got);
    ck_assert_str_eq(got, "ADD: L2 read 400 Drift -600; ADD: L2 read 401 Drift -601; ");
  }
  d->whole = true;
  submit(d, b, 2, got, sizeof got);
  ck_assert_str_eq(got, "submit: Power 100; ");
  ck_assert_str_eq(fake.said, "<|tD|D|t>");
  submit(d, b, 3, got, sizeof got);
  ck_assert_str_eq(got, "submit: Waves 0 L2 hits 200; ");
  d->whole = d->stamping = false;
  submit(d, b, 0, got, sizeof got);
  ck_assert_str_eq(got, "");
  ck_assert_str_eq(fake.said, "|D|D|");
  buffer_destroy(&b);
  device_close(d);
  ck_assert_uint_eq(fake.destroyed, fake.n_pools);
  ck_assert_msg(captured.errors == 0, "%s", captured.text);
}
END_TEST

/* Counters of command buffers alone: commands are timed, and not counted. */
START_TEST(nothing_to_count) {
  struct device *d = open_device();
  struct buffer *b;
  char got[300];
  ck_assert_int_eq(vk_counters_open(d->backend, "Power"), LRQK_OK);
  ck_assert_int_eq(buffer_create(&b, d, PLACE_DEVICE, 1536, "x"), LRQK_OK);
  device_spans(d, NULL, 0);
  submit(d, b, 0, got, sizeof got);
  ck_assert_str_eq(got, "ADD:; ADD:; ");
  buffer_destroy(&b);
  device_close(d);
}
END_TEST

/* ---- a profile */

static struct { uint32_t events, values, first[2]; } seen;   /* first: commands that had the group "Waves", by timed token */

static void on_event(void *ud, const struct lrqk_profile_event *e) {
  const uint64_t *prompt = ud;
  if (e->host) {
    ck_assert_uint_eq(e->n_counters, 0);
    return;
  }
  ck_assert_uint_eq(e->n_counters, A_PASS);
  seen.events++;
  seen.values += e->n_counters;
  seen.first[e->token != *prompt] += !strcmp(e->counters[0].counter->name, "Waves");
}

static void count_name(void *ud, const struct lrqk_counter *c) { strcat(strcat(ud, c->name), ";"); }

START_TEST(profiles_have_counters) {
  enum { PROMPT = 40 };
  static const struct tiny_model shape = { .layers = 2, .embd = 96, .ff = 128, .heads = 6, .kv_heads = 2, .head_size = 32, .vocab = 288,
                                           .ctx = 64, .seed = 7 };
  char all[100] = "";
  uint64_t prompt = PROMPT;
  struct rig r = rig_open(&shape, &(struct lrqk_engine_options){ .device = "vulkan", .timing = true });
  replace(r.engine->dev);
  ck_assert_int_eq(vk_counters_open(r.engine->dev->backend, "Core,Cache"), LRQK_OK);
  lrqk_engine_counters(r.engine, count_name, all);
  ck_assert_str_eq(all, "Waves;L2 hits;L2 read;Drift;");
  lrqk_session *session = rig_session(&r, "", 64);
  rig_prompt(session, PROMPT);
  const struct lrqk_profile_options o = { .fn = on_event, .ud = &prompt, .every = 1 };
  ck_assert_int_eq(lrqk_session_profile(session, &o), LRQK_OK);
  memset(&seen, 0, sizeof seen);
  rig_decode(session, 2, NULL);
  ck_assert_uint_gt(seen.events, 40);
  ck_assert_uint_eq(seen.values, A_PASS * seen.events);
  ck_assert_uint_eq(seen.first[0], seen.events / 2);   /* all of the first token, none of the second */
  ck_assert_uint_eq(seen.first[1], 0);
  lrqk_session_close(session);
  rig_close(&r);
}
END_TEST

int main(void) {
  Suite *s = suite_create("counters");
  TCase *c = tcase_create("counters");
  tcase_add_loop_test(c, lists_and_groups, 0, 5);
  tcase_add_loop_test(c, refusals, 0, 6);
  tcase_add_loop_test(c, devices_without, 0, 3);
  tcase_add_test(c, values_of_commands_and_submits);
  tcase_add_test(c, nothing_to_count);
  tcase_add_test(c, profiles_have_counters);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
