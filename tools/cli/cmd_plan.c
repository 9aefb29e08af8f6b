/* cmd_plan.c - `lrqk plan`: bytes on the device, in host memory and over the bus, and the roofs that follow, before anything is
 * loaded.  The library counts (lrqk_plan_make); this prints. */
#include <math.h>
#include <string.h>

#include "cmd.h"
#include "work.h"

struct plan {
  struct ui *u;
  const struct options *o;
  struct work w;
  struct lrqk_plan p;
  double after, overlapped;   /* tokens/s: the bus after the device's memory, both at once; NaN: not known */
};

static const struct { const char *name, *text; size_t at; } parts[] = {
#define PART(f, text) {#f "_bytes", text, offsetof(struct lrqk_plan, f)}
  PART(weights, "weights"), PART(dense, "KV of layers that keep all of it"), PART(windows, "KV of sliding windows"), PART(proxies, "proxies"),
  PART(active, "active rows"), PART(lite, "newest (lite) rows"), PART(maps, "maps and sums"), PART(work, "KV of the layer at work"),
  PART(scratch, "activations and scratch"),
#undef PART
};

static uint64_t part(const struct lrqk_plan *p, size_t i) { return *(const uint64_t *)(const void *)((const char *)p + parts[i].at); }

/* Decode time = read on the device / its bandwidth + moved over the bus / its bandwidth, unless overlapped. */
static void roofs(struct plan *x) {
  double device = (double)x->p.read_bytes / (x->o->bandwidth * 1e9), bus = x->p.bus_bytes ? (double)x->p.bus_bytes / (x->o->bus * 1e9) : 0;
  bool known = x->o->bandwidth > 0 && (x->o->bus > 0 || !x->p.bus_bytes);
  x->after = known ? 1 / (device + bus) : NAN;
  x->overlapped = known ? 1 / fmax(device, bus) : NAN;
}

static void line(struct text *t, const char *name, uint64_t bytes) {
  char b[24];
  text_printf(t, "  %-34s %12s  %llu\n", name, human_bytes(bytes, b), (unsigned long long)bytes);
}

static void as_text(const struct plan *x, struct text *t) {
  const struct lrqk_plan *p = &x->p;
  char budget[24], needed[24];
  text_printf(t, "policy %s, context %u, needs %s of %s%s\n", policy_name(p->cache.policy), p->n_ctx, human_bytes(p->needed, needed),
              human_bytes(p->budget, budget), x->o->vram ? "" : " free");
  if (*p->given_up) text_printf(t, "given up to fit: %s\n", p->given_up);
  text_printf(t, "\ndevice memory\n");
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (part(p, i)) line(t, parts[i].text, part(p, i));
  line(t, "together", p->memory.device);
  text_printf(t, "\nhost memory\n");
  line(t, "KV that kernels read, sums", p->memory.host);
  if (p->host_kv_bytes > p->memory.host) line(t, "factors of proxy paper", p->host_kv_bytes - p->memory.host);
  line(t, "transfers", p->memory.staging);
  text_printf(t, "\na decoded token at the end of the context");
  if (p->cache.policy == LRQK_POLICY_LRQK) text_printf(t, ", hit rate %g %%", 100 * x->o->hit_rate);
  text_printf(t, "\n");
  line(t, "read in device memory", p->read_bytes);
  line(t, "moved over the bus", p->bus_bytes);
  if (!isfinite(x->after)) return;
  text_printf(t, "\nroofs at %g GB/s of device memory and %g GB/s of the bus\n", x->o->bandwidth, x->o->bus);
  text_printf(t, "  %-34s %12.2f tokens/s\n", "1 / (read/device + bus/bus)", x->after);
  text_printf(t, "  %-34s %12.2f tokens/s\n", "1 / max(read/device, bus/bus)", x->overlapped);
}

static void as_json(const struct plan *x, struct text *t) {
  const struct lrqk_plan *p = &x->p;
  json_open(t, '{');
  json_field_string(t, "policy", policy_name(p->cache.policy));
  json_field_uint(t, "n_ctx", p->n_ctx);
  json_field_uint(t, "active", p->cache.active);
  json_field_uint(t, "rank", p->cache.rank);
  json_field_string(t, "given_up", p->given_up);
  json_field_uint(t, "budget_bytes", p->budget);
  json_field_uint(t, "needed_bytes", p->needed);
  json_field_uint(t, "device_bytes", p->memory.device);
  json_field_uint(t, "host_bytes", p->memory.host);
  json_field_uint(t, "staging_bytes", p->memory.staging);
  json_field_uint(t, "device_kv_bytes", p->device_kv_bytes);
  json_field_uint(t, "host_kv_bytes", p->host_kv_bytes);
  json_key(t, "device");
  json_open(t, '{');
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) json_field_uint(t, parts[i].name, part(p, i));
  json_close(t, '}');
  json_key(t, "decode");
  json_open(t, '{');
  json_field_num(t, "hit_rate", p->cache.policy == LRQK_POLICY_LRQK ? x->o->hit_rate : NAN);
  json_field_uint(t, "read_bytes_per_token", p->read_bytes);
  json_field_uint(t, "bus_bytes_per_token", p->bus_bytes);
  json_field_num(t, "device_gb_per_s", x->o->bandwidth > 0 ? x->o->bandwidth : NAN);
  json_field_num(t, "bus_gb_per_s", x->o->bus > 0 ? x->o->bus : NAN);
  json_field_num(t, "tokens_per_s", x->after);
  json_field_num(t, "overlapped_tokens_per_s", x->overlapped);
  json_close(t, '}');
  json_close(t, '}');
  text_add(t, "\n", 1);
}

int cmd_plan(struct ui *u, const struct options *o) {
  struct plan x = {.u = u, .o = o};
  struct lrqk_cache_options cache;
  uint32_t n_ctx = o->ctx > 0 ? (uint32_t)o->ctx : 0;
  int code = work_cache(u, o, &cache);
  if (!code) code = work_model(u, &x.w, o->model, WHOLE);
  if (!code) code = work_check_ctx(u, &x.w, o->ctx);
  if (!code) code = work_fit(u, &x.w, o, 0, 0, &cache, &n_ctx, &x.p);
  if (!code) {
    struct text t = {0};
    roofs(&x);
    if (o->json) as_json(&x, &t);
    else as_text(&x, &t);
    code = out_text(u, &t);
  }
  work_close(&x.w);
  return code;
}
