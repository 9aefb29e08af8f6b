/* engine.h - what lies behind the public handles lrqk_model and lrqk_engine. */
#ifndef ENGINE_H
#define ENGINE_H

#include "base/arena.h"
#include "model/model.h"
#include "profile/pace.h"
#include "token/tokenizer.h"

struct lrqk_model {
  struct log log;
  struct gguf *gguf;
  struct hparams hp;              /* zero where only the directory or the vocabulary was asked for */
  struct tokenizer *tokenizer;    /* NULL where only the directory was */
  struct hash128 hash;            /* of the file, once it was asked for (engine_model_hash) */
  bool hashed;
  bool whole;                     /* hyper-parameters and tensors were checked: an engine can be opened */
  struct arena arena;             /* NUL-terminated copies of the file's strings, for the public calls */
  char *arch, *name, **key_name, **tensor_name;
};

struct lrqk_engine {
  lrqk_model *model;              /* borrowed */
  struct device *dev;
  struct model *weights;
  struct pace pace;
  bool timing;                    /* asked for timestamps */
  uint64_t vram;                  /* lrqk_engine_options */
};

/* What a call that makes ids ends with: v becomes the caller's, or is freed if s is a failure. */
enum lrqk_status engine_give_ids(const lrqk_model *m, enum lrqk_status s, struct ids *v, size_t replaced, int32_t **ids, size_t *n);
struct hash128 engine_model_hash(lrqk_model *m);

/* An engine on a counting device: the one that opt selects, or like `as` if there is one.  Its weights take bytes and no more. */
enum lrqk_status engine_count(lrqk_engine **out, lrqk_model *m, const struct lrqk_engine_options *opt, const struct device *as);

#endif
