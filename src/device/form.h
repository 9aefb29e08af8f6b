/* form.h - which form of an operation runs on a device: kernels that do the same in ways that suit different hardware.
 * Plain data: struct forms is filled once when an engine opens its device (engine.c) and read by who dispatches (model/linear.c, norm.c,
 * attention/core.c, score.c, gram_products.c).  Equal forms give equal bits; different ones differ by rounding. */
#ifndef DEVICE_FORM_H
#define DEVICE_FORM_H

#include "base/log.h"

enum form {
  FORM_REGISTER,    /* a lane works alone, in registers: CPU drivers */
  FORM_TILE,        /* a workgroup shares memory, lanes side by side read neighbours: GPUs */
  FORM_CLBLAST,     /* dense fp32 products by CLBlast */
  N_FORMS
};

enum form_op {
  OP_MATVEC,        /* linear layers for fewer than 8 tokens */
  OP_MATVEC_WIDE,   /* ... of weights with at least FORM_WIDE values */
  OP_MATMUL,        /* linear layers for 8 tokens and more */
  OP_MATMUL_WIDE,
  OP_PREFILL,       /* attention of a chunk of tokens */
  OP_DECODE,        /* attention of one token */
  OP_NORM,          /* of rows and of heads */
  OP_SCORE,         /* proxies of all tokens for a decode step */
  OP_GRAM,          /* sums of Gram matrices, of 32 tokens and more */
  OP_MAP,           /* proxies of keys by their maps */
  N_FORM_OPS
};
enum { FORM_WIDE = 1 << 22 };

enum form_why { WHY_TYPE, WHY_MEASURED, WHY_PINNED };

struct form_choice { enum form form; enum form_why why; double us[N_FORMS]; /* measured, 0: not */ };
struct forms { struct form_choice op[N_FORM_OPS]; };

bool form_possible(const struct lrqk_device_info *d, enum form_op op, enum form f);
/* By the type of the device: register for software drivers, tile for others. */
void form_defaults(struct forms *out, const struct lrqk_device_info *d);
/* Takes the fastest form where it is clearly faster than the default; op.us holds the times. */
void form_decide(struct forms *out, const struct lrqk_device_info *d);
/* `text` is "auto", a form for every operation that has it, or a list op=form,op=form: LRQK_USAGE names what is wrong. */
enum lrqk_status form_pin(struct forms *out, const struct lrqk_device_info *d, const char *text, const struct log *log);
void form_describe(struct lrqk_device_info *d, const struct forms *f);   /* fills d->forms */

/* form_file.c: what was measured on this device with this driver, in the cache directory.  It only saves time. */
bool form_load(struct forms *out, const struct lrqk_device_info *d);     /* false: nothing is stored; *out is as it was */
void form_save(const struct forms *f, const struct lrqk_device_info *d, const struct log *log);

#endif
