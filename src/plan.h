/* plan.h - what engines and sessions would take, against a budget (plan.c).  lrqk_engine_open and lrqk_session_open ask before
 * they allocate, if there is a budget. */
#ifndef PLAN_H
#define PLAN_H

#include <lrqk/plan.h>

#include "engine.h"

/* LRQK_MEMORY, with what would help, if the weights of e, or what is allocated on its device and a new session, are beyond e->vram. */
enum lrqk_status plan_check_weights(const lrqk_engine *e, const struct lrqk_engine_options *opt);
enum lrqk_status plan_check(lrqk_engine *e, const struct lrqk_session_options *opt);

#endif
