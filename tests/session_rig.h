/* session_rig.h - a tiny random model on a device, and sessions of it whose options are words: what tests that decode have in
 * common. */
#ifndef SESSION_RIG_H
#define SESSION_RIG_H

#include "engine.h"
#include "gguf_writer.h"
#include "kernel_harness.h"
#include "lrqk/lrqk.h"

struct rig { lrqk_model *model; lrqk_engine *engine; };

extern struct log_capture rig_said;              /* since the last rig_open */
extern bool rig_quiet;                           /* what is logged is expected: it does not go to stderr */
void rig_log(void *ud, enum lrqk_log_level level, const char *text);
void rig_check(void);                            /* fails where the validation layer said something */

/* Its file is gone again; what it logs goes to rig_log. */
lrqk_model *rig_model(const struct tiny_model *shape);
/* options: validate is set as tests are asked to. */
struct rig rig_open(const struct tiny_model *shape, const struct lrqk_engine_options *options);
/* On a device whose limits may be lowered, which the public call does not offer. */
struct rig rig_open_device(const struct tiny_model *shape, const struct device_options *options);
void rig_close(struct rig *r);                   /* with rig_check */

struct lrqk_cache_options rig_cache(const char *words);   /* "active=32 lite=8", on top of the defaults */
lrqk_session *rig_session(const struct rig *r, const char *words, uint32_t n_ctx);   /* n_ctx may be beyond the model's */

void rig_prompt(lrqk_session *s, uint32_t n);    /* prefills n tokens, the same each time */
void rig_decode(lrqk_session *s, uint32_t n, float *logits);   /* the same n tokens each time; logits [n][vocabulary], or NULL */
void rig_verify(lrqk_session *s);                /* the rows on the device are those of the host */

double nmse(const float *a, const float *b, size_t n);         /* sum of squared differences / sum of squares of b */
double nmse_centred(const float *a, const float *b, size_t n); /* the same, squares of b less its mean */

#endif
