/* choose.c - lists the devices of all back ends and finds the one that a selection string means. */
#include "device/choose.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

static const struct device_ops *const back_ends[] = { &device_vulkan, &device_opencl, &device_host };
enum { N_BACK_ENDS = sizeof back_ends / sizeof *back_ends };

struct collect { struct device_entry *list; size_t n; const struct device_ops *ops; uint32_t index; bool failed; };

static void add(void *ud, const struct device_caps *caps) {
  struct collect *c = ud;
  struct device_entry *more = c->failed ? NULL : mem_realloc(c->list, c->n + 1, sizeof *more);
  if (!more) {
    c->failed = true;
    return;
  }
  c->list = more;
  more[c->n++] = (struct device_entry){ c->ops, c->index++, *caps };
}

static int rank(const struct device_entry *e) {
  if (e->ops == &device_host) return 4;
  switch (e->caps.info.type) {
    case LRQK_DEVICE_DISCRETE: return 0;
    case LRQK_DEVICE_INTEGRATED: return 1;
    case LRQK_DEVICE_OTHER: return 2;
    case LRQK_DEVICE_SOFTWARE: return 3;
  }
  return 3;
}

enum lrqk_status device_entries(struct device_entry **list, size_t *n, const struct log *log, bool validate) {
  struct collect c = { 0 };
  for (size_t i = 0; i < N_BACK_ENDS; i++) {
    c.ops = back_ends[i];
    c.index = 0;
    c.ops->enumerate(log, validate, add, &c);
  }
  if (c.failed) {
    mem_free(c.list);
    return fail(log, LRQK_MEMORY, "devices: out of host memory");
  }
  for (size_t i = 1; i < c.n; i++) {   /* insertion sort: stable, a handful of devices */
    struct device_entry e = c.list[i];
    size_t j = i;
    for (; j > 0 && rank(&c.list[j - 1]) > rank(&e); j--) c.list[j] = c.list[j - 1];
    c.list[j] = e;
  }
  for (size_t i = 0; i < c.n; i++) c.list[i].caps.info.index = (int)i;
  *list = c.list;
  *n = c.n;
  return LRQK_OK;
}

enum lrqk_status device_list(struct lrqk_device_info **list, size_t *n, const struct log *log) {
  struct device_entry *e;
  size_t count;
  TRY(device_entries(&e, &count, log, false));
  struct lrqk_device_info *info = mem_alloc(count, sizeof *info);
  if (!info) {
    mem_free(e);
    return fail(log, LRQK_MEMORY, "devices: out of host memory");
  }
  for (size_t i = 0; i < count; i++) info[i] = e[i].caps.info;
  mem_free(e);
  *list = info;
  *n = count;
  return LRQK_OK;
}

static bool contains(const char *text, const char *part) {
  size_t n = strlen(part);
  for (; *text; text++)
    if (!strncasecmp(text, part, n)) return true;
  return n == 0;
}

/* "vulkan", "vulkan:" or "vulkan:PART" -> the back end and PART ("" if none); NULL: select names no back end. */
static const struct device_ops *back_end_of(const char *select, const char **part) {
  for (size_t i = 0; i < N_BACK_ENDS; i++) {
    size_t n = strlen(back_ends[i]->name);
    if (strncasecmp(select, back_ends[i]->name, n) || (select[n] && select[n] != ':')) continue;
    *part = select[n] ? select + n + 1 : "";
    return back_ends[i];
  }
  *part = select;
  return NULL;
}

int device_match(const struct device_entry *list, size_t n, const char *select) {
  if (!select || !*select) return n && list[0].ops != &device_host ? 0 : -1;
  if (select[strspn(select, "0123456789")] == 0) {
    size_t i = strtoul(select, NULL, 10);
    return i < n ? (int)i : -1;
  }
  const char *part;
  const struct device_ops *ops = back_end_of(select, &part);
  for (size_t i = 0; i < n; i++)
    if ((!ops || list[i].ops == ops) && (contains(list[i].caps.info.name, part) || contains(list[i].caps.info.driver, part))) return (int)i;
  return -1;
}
