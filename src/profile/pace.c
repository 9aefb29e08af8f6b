#include "profile/pace.h"

#include "profile/cost.h"

static const double COMMAND_NS = 10000;   /* to start one */

/* A slow one of its kind. */
static const struct { double gb_per_s, bus_gb_per_s, gflop_per_s; } slow[] = {
  [LRQK_DEVICE_DISCRETE] = { 100, 4, 1000 }, [LRQK_DEVICE_INTEGRATED] = { 15, 10, 150 }, [LRQK_DEVICE_SOFTWARE] = { 2, 2, 6 },
  [LRQK_DEVICE_OTHER] = { 15, 4, 150 },
};

static double expected_ns(void *ud, const struct command *c) {
  const struct pace *p = ud;
  struct cost cost;
  double device = 0, bus = 0;
  cost_of(&cost, c, p->step);
  for (uint32_t i = 0; i < c->n_views; i++) *(c->views[i].buf->place == PLACE_DEVICE ? &device : &bus) += (double)cost.bytes[i];
  double ns = device / p->gb_per_s, bus_ns = bus / p->bus_gb_per_s, flop_ns = cost.flops / p->gflop_per_s;
  return COMMAND_NS + (ns > bus_ns ? ns > flop_ns ? ns : flop_ns : bus_ns > flop_ns ? bus_ns : flop_ns);
}

void pace_start(struct pace *p, struct device *d) {
  enum lrqk_device_type type = d->caps.info.type;
  *p = (struct pace){ .hook = { expected_ns, p }, .gb_per_s = slow[type].gb_per_s, .bus_gb_per_s = slow[type].bus_gb_per_s,
                      .gflop_per_s = slow[type].gflop_per_s };
  d->pace = &p->hook;
}
