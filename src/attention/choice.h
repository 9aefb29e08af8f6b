/* choice.h - what selection should have chosen: scores in double from the proxies that the device holds, softmax, the largest.
 * A check (lrqk_session_verify_choice), called by lrqk.c. */
#ifndef ATTENTION_CHOICE_H
#define ATTENTION_CHOICE_H

#include "attention/select.h"

/* The scores of the mean key as gram_mean left them, a view for each range; kind off: none. */
struct choice_mean { enum lrqk_mean_key kind; const struct view *scores; };

/* After selector_run of one layer with n candidates, that scored some; max: heads choose by their maximum.  Adds to *out. */
enum lrqk_status choice_check(const struct selector *s, const struct proxy *p, const struct proxy_shape *shape, const struct choice_mean *mean,
                              bool max, uint32_t n, struct view list, struct lrqk_choice *out);

#endif
