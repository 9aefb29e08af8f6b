/* weights.c - binds the tensors of a file by name: one table says which there are and of which shape.  model_check
 * compares it with the file, model_load packs the tensors into planes on the device.  Called by engine.c. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "model/repack.h"

/* ---- the table */

enum width { W_NONE, W_EMBD, W_VOCAB, W_Q, W_KV, W_QKV, W_HEAD, W_FF, W_2FF, W_PAIRS };    /* what a dimension must be */
enum use { USE_VECTOR, USE_MATRIX, USE_ROWS };               /* norms, biases; linear maps; rows read one by one on the CPU */
enum weight_form { ALWAYS, QKV_ONE, QKV_THREE, FFN_ONE, FFN_TWO };  /* fused weights or their parts (feature FUSED) */
enum weight_id {
  EMBD, OUTPUT_NORM, OUTPUT, ROPE_FREQS, ROPE_LONG, ROPE_SHORT, ATTN_NORM, ATTN_QKV, ATTN_Q, ATTN_K, ATTN_V, ATTN_OUTPUT, QKV_BIAS, Q_BIAS, K_BIAS,
  V_BIAS, OUTPUT_BIAS, Q_NORM, K_NORM, ATTN_POST, FFN_NORM, FFN_GATE, FFN_UP, FFN_GATE_UP, FFN_DOWN, GATE_BIAS, UP_BIAS, DOWN_BIAS, FFN_POST,
  N_WEIGHTS
};

static const struct weight {
  const char *name;             /* of a layer: after "blk.N." */
  enum width row, rows;         /* dims[0], dims[1] */
  enum use use;
  bool per_layer, optional;
  enum weight_form form;
  unsigned feature;             /* only with this one; 0: of any architecture */
} weights[N_WEIGHTS] = {
  [EMBD]        = { "token_embd.weight",  W_EMBD, W_VOCAB, USE_ROWS,   false, false, ALWAYS,    0 },
  [OUTPUT_NORM] = { "output_norm.weight", W_EMBD, W_NONE,  USE_VECTOR, false, false, ALWAYS,    0 },
  [OUTPUT]      = { "output.weight",      W_EMBD, W_VOCAB, USE_MATRIX, false, true,  ALWAYS,    0 },   /* else EMBD is the head */
  [ROPE_FREQS]  = { "rope_freqs.weight",  W_PAIRS, W_NONE, USE_ROWS,   false, true,  ALWAYS,    0 },   /* rope.c has read these */
  [ROPE_LONG]   = { "rope_factors_long.weight",  W_PAIRS, W_NONE, USE_ROWS, false, true, ALWAYS, 0 },
  [ROPE_SHORT]  = { "rope_factors_short.weight", W_PAIRS, W_NONE, USE_ROWS, false, true, ALWAYS, 0 },
  [ATTN_NORM]   = { "attn_norm.weight",   W_EMBD, W_NONE,  USE_VECTOR, true,  false, ALWAYS,    0 },
  [ATTN_QKV]    = { "attn_qkv.weight",    W_EMBD, W_QKV,   USE_MATRIX, true,  false, QKV_ONE,   0 },
  [ATTN_Q]      = { "attn_q.weight",      W_EMBD, W_Q,     USE_MATRIX, true,  false, QKV_THREE, 0 },
  [ATTN_K]      = { "attn_k.weight",      W_EMBD, W_KV,    USE_MATRIX, true,  false, QKV_THREE, 0 },
  [ATTN_V]      = { "attn_v.weight",      W_EMBD, W_KV,    USE_MATRIX, true,  false, QKV_THREE, 0 },
  [ATTN_OUTPUT] = { "attn_output.weight", W_Q,    W_EMBD,  USE_MATRIX, true,  false, ALWAYS,    0 },
  [QKV_BIAS]    = { "attn_qkv.bias",      W_QKV,  W_NONE,  USE_VECTOR, true,  true,  QKV_ONE,   0 },
  [Q_BIAS]      = { "attn_q.bias",        W_Q,    W_NONE,  USE_VECTOR, true,  true,  QKV_THREE, 0 },
  [K_BIAS]      = { "attn_k.bias",        W_KV,   W_NONE,  USE_VECTOR, true,  true,  QKV_THREE, 0 },
  [V_BIAS]      = { "attn_v.bias",        W_KV,   W_NONE,  USE_VECTOR, true,  true,  QKV_THREE, 0 },
  [OUTPUT_BIAS] = { "attn_output.bias",   W_EMBD, W_NONE,  USE_VECTOR, true,  true,  ALWAYS,    0 },
  [Q_NORM]      = { "attn_q_norm.weight", W_HEAD, W_NONE,  USE_VECTOR, true,  false, ALWAYS,    QK_NORM },
  [K_NORM]      = { "attn_k_norm.weight", W_HEAD, W_NONE,  USE_VECTOR, true,  false, ALWAYS,    QK_NORM },
  [ATTN_POST]   = { "post_attention_norm.weight", W_EMBD, W_NONE, USE_VECTOR, true, false, ALWAYS, POST_NORMS },
  [FFN_NORM]    = { "ffn_norm.weight",    W_EMBD, W_NONE,  USE_VECTOR, true,  false, ALWAYS,    0 },
  [FFN_GATE]    = { "ffn_gate.weight",    W_EMBD, W_FF,    USE_MATRIX, true,  false, FFN_TWO,   0 },
  [FFN_UP]      = { "ffn_up.weight",      W_EMBD, W_FF,    USE_MATRIX, true,  false, FFN_TWO,   0 },
  [FFN_GATE_UP] = { "ffn_up.weight",      W_EMBD, W_2FF,   USE_MATRIX, true,  false, FFN_ONE,   0 },
  [FFN_DOWN]    = { "ffn_down.weight",    W_FF,   W_EMBD,  USE_MATRIX, true,  false, ALWAYS,    0 },
  [GATE_BIAS]   = { "ffn_gate.bias",      W_FF,   W_NONE,  USE_VECTOR, true,  true,  FFN_TWO,   0 },
  [UP_BIAS]     = { "ffn_up.bias",        W_FF,   W_NONE,  USE_VECTOR, true,  true,  FFN_TWO,   0 },
  [DOWN_BIAS]   = { "ffn_down.bias",      W_EMBD, W_NONE,  USE_VECTOR, true,  true,  ALWAYS,    0 },
  [FFN_POST]    = { "post_ffw_norm.weight", W_EMBD, W_NONE, USE_VECTOR, true, false, ALWAYS,    POST_NORMS },
};

static uint32_t width_of(const struct hparams *hp, enum width w) {
  switch (w) {
    case W_EMBD: return hp->n_embd;
    case W_VOCAB: return hp->n_vocab;
    case W_Q: return hp->n_heads * hp->head_size;
    case W_KV: return hp->n_kv_heads * hp->head_size;
    case W_QKV: return (hp->n_heads + 2 * hp->n_kv_heads) * hp->head_size;
    case W_HEAD: return hp->head_size;
    case W_FF: return hp->n_ff;
    case W_2FF: return 2 * hp->n_ff;
    case W_PAIRS: return hp->rope_dims / 2;
    case W_NONE: break;
  }
  return 1;
}

static const char *name_of(enum weight_id id, uint32_t layer, char buf[64]) {
  if (weights[id].per_layer) snprintf(buf, 64, "blk.%u.%s", layer, weights[id].name);
  else snprintf(buf, 64, "%s", weights[id].name);
  return buf;
}

static const struct gguf_tensor *tensor_of(const struct gguf *g, enum weight_id id, uint32_t layer) {
  char name[64];
  return gguf_find_tensor(g, name_of(id, layer, name));
}

/* Whether the model has this weight (an optional one: may have it). */
static bool asked_for(const struct hparams *hp, const struct gguf *g, enum weight_id id, uint32_t layer) {
  const struct weight *w = &weights[id];
  bool fused = hp->features & FUSED;
  if (w->feature && !(hp->features & w->feature)) return false;
  switch (w->form) {
    case QKV_ONE: return fused && tensor_of(g, ATTN_QKV, layer);
    case QKV_THREE: return !fused || !tensor_of(g, ATTN_QKV, layer);
    case FFN_ONE: return fused && !tensor_of(g, FFN_GATE, layer);
    case FFN_TWO: return !fused || tensor_of(g, FFN_GATE, layer);
    case ALWAYS: break;
  }
  return true;
}

/* ---- the check */

static enum lrqk_status check_type(const struct gguf *g, const struct gguf_tensor *t, const char *name, enum use use) {
  char supported[128];
  const struct repack_type *packed = repack_find(t->type->id);
  if (use == USE_MATRIX && !packed) {
    return gguf_fail(g, "type %s of tensor %s has no kernel, expected one of: %s", t->type->name, name, repack_supported(supported));
  }
  if (use == USE_MATRIX && t->dims[0] % packed->block) {
    return gguf_fail(g, "tensor %s has rows of %llu values, expected a multiple of %u for type %s", name, (unsigned long long)t->dims[0],
                     packed->block, t->type->name);
  }
  if (use != USE_MATRIX && !t->type->dequantise) {
    return gguf_fail(g, "type %s of tensor %s cannot be dequantised, expected one of: %s", t->type->name, name, repack_supported(supported));
  }
  return LRQK_OK;
}

static enum lrqk_status check_weight(const struct hparams *hp, const struct gguf *g, enum weight_id id, uint32_t layer, bool *bound) {
  const struct weight *w = &weights[id];
  char name[64];
  name_of(id, layer, name);
  const struct gguf_tensor *t = gguf_find_tensor(g, name);
  unsigned long long row = width_of(hp, w->row), rows = width_of(hp, w->rows);
  if (!t) return w->optional ? LRQK_OK : gguf_fail(g, "tensor %s is missing, expected [%llu, %llu]", name, row, rows);
  if (t->dims[0] != row || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1) {
    return gguf_fail(g, "tensor %s is [%llu, %llu, %llu, %llu], expected [%llu, %llu]", name, (unsigned long long)t->dims[0],
                     (unsigned long long)t->dims[1], (unsigned long long)t->dims[2], (unsigned long long)t->dims[3], row, rows);
  }
  bound[t - g->tensors] = true;
  TRY(check_type(g, t, name, w->use));
  return id == EMBD && !gguf_find_tensor(g, weights[OUTPUT].name) ? check_type(g, t, name, USE_MATRIX) : LRQK_OK;
}

static enum lrqk_status check_all(const struct hparams *hp, const struct gguf *g, bool *bound) {
  for (uint32_t id = 0; id < N_WEIGHTS; id++) {
    uint32_t layers = weights[id].per_layer ? hp->n_layers : 1;
    for (uint32_t i = 0; i < layers; i++)
      if (asked_for(hp, g, id, i)) TRY(check_weight(hp, g, id, i, bound));
  }
  for (size_t i = 0; i < g->n_tensors; i++) {
    char shown[64];
    if (bound[i]) continue;
    return gguf_fail(g, "tensor %s is not used here and would change the result, expected only the weights of a %s model with %u layers",
                     gguf_show(shown, g->tensors[i].name), hp->arch, hp->n_layers);
  }
  return LRQK_OK;
}

enum lrqk_status model_check(const struct hparams *hp, const struct gguf *g) {
  bool *bound = mem_alloc(g->n_tensors, sizeof *bound);     /* by position in the file */
  if (!bound) return fail(&g->log, LRQK_MEMORY, "%s: no memory to check %zu tensors", g->path, g->n_tensors);
  enum lrqk_status s = check_all(hp, g, bound);
  mem_free(bound);
  return s;
}

/* ---- loading */

enum {
  POOL_BLOCK = 256 << 20,
  PIECE = 4 << 20,          /* bytes packed between two calls of the progress callback: a few ms */
  SLAB_ROWS = 128           /* rows of a part that is split: a multiple of any kernel's rows per workgroup */
};

/* Goes over all weights twice, in the same order: first only to add up sizes (measure), then to load. */
struct loader {
  struct model *m;
  bool measure;
  model_progress_fn progress;
  void *ud;
  uint64_t done, total;           /* bytes of the file */
  uint64_t device_bytes;          /* measured: what the views take; then: what is left to allocate */
  unsigned char *piece;           /* where the device's memory is not mapped: plane q, then plane scale */
  uint64_t piece_bytes;
  unsigned char *turned;          /* rows in the order of the device, for files that pair halves */
  uint64_t turned_bytes;
};

/* One of the tensors that make a linear map: its first `turned` rows are those of heads that RoPE turns. */
struct source { const struct gguf_tensor *t; uint32_t turned; };

/* Row of the file that becomes row i of a head. */
static uint32_t file_row(const struct hparams *hp, uint32_t i) {
  return i < hp->rope_dims ? i / 2 + i % 2 * (hp->rope_dims / 2) : i;
}

static enum lrqk_status advance(struct loader *l, uint64_t bytes) {
  l->done += bytes;
  return !l->progress || l->progress(l->ud, l->done, l->total) ? LRQK_OK : LRQK_INTERRUPTED;
}

/* The last block of the pool is as large as what is left, so that nothing is allocated in vain. */
static enum lrqk_status allocate(struct loader *l, struct view *out, uint64_t size) {
  uint64_t padded = (size + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN;
  if (l->measure) {
    l->device_bytes += padded;
    return LRQK_OK;
  }
  uint64_t max = l->m->dev->caps.info.max_allocation, block = l->device_bytes < POOL_BLOCK ? l->device_bytes : POOL_BLOCK;
  l->m->pool.block_size = (max && block > max ? max : block) / VIEW_ALIGN * VIEW_ALIGN;
  l->device_bytes -= padded;
  return pool_alloc(out, &l->m->pool, size);
}

static unsigned char *mapped(struct view v) { return v.buf->map ? (unsigned char *)v.buf->map + v.offset : NULL; }

/* The tensors ids[0..n) of a layer after each other as floats, zeros where an optional one is missing; nothing if all are.
 * The first `turned` values belong to heads that RoPE turns. */
static enum lrqk_status load_floats(struct loader *l, struct view *out, uint32_t layer, const enum weight_id *ids, uint32_t n, uint32_t turned) {
  const struct hparams *hp = &l->m->hp;
  const struct gguf *g = l->m->gguf;
  uint64_t total = 0, bytes = 0, at = 0;
  for (uint32_t i = 0; i < n; i++) {
    const struct gguf_tensor *t = asked_for(hp, g, ids[i], layer) ? tensor_of(g, ids[i], layer) : NULL;
    total += width_of(hp, weights[ids[i]].row);
    if (t) bytes += t->bytes;
  }
  if (!bytes) return LRQK_OK;
  TRY(allocate(l, out, total * 4));
  if (l->measure) {
    l->total += bytes;
    return LRQK_OK;
  }
  if (l->m->dev->counting) return device_write(l->m->dev, *out, NULL, total * 4);   /* what it allocates counts, too */
  float *file = mem_alloc(total, sizeof *file), *v = mem_alloc(total, sizeof *v);
  enum lrqk_status s = file && v ? LRQK_OK : fail(&l->m->dev->log, LRQK_MEMORY, "no memory for a vector of %llu floats", (unsigned long long)total);
  for (uint32_t i = 0; s == LRQK_OK && i < n; i++) {
    const struct gguf_tensor *t = asked_for(hp, g, ids[i], layer) ? tensor_of(g, ids[i], layer) : NULL;
    if (t) t->type->dequantise(t->data, file + at, t->dims[0]);
    at += width_of(hp, weights[ids[i]].row);
  }
  for (uint32_t i = 0; s == LRQK_OK && i < total; i++) {
    uint32_t in_head = i % hp->head_size;
    v[i] = file[i < turned ? i - in_head + file_row(hp, in_head) : i];
  }
  if (s == LRQK_OK) s = device_write(l->m->dev, *out, v, total * 4);
  mem_free(file);
  mem_free(v);
  return s == LRQK_OK ? advance(l, bytes) : s;
}

static enum lrqk_status load_vector(struct loader *l, enum weight_id id, uint32_t layer, struct view *out) {
  return load_floats(l, out, layer, &id, 1, 0);
}

/* Groups per piece: about PIECE bytes. */
static uint32_t piece_groups(const struct repack_type *type, uint32_t rows, uint32_t k) {
  uint64_t n = PIECE / ((uint64_t)type->group / type->block * type->q_bytes * rows);
  uint32_t groups = repack_groups(type, k);
  return n < 1 ? 1 : n < groups ? (uint32_t)n : groups;
}

/* `bytes` bytes, `skip` behind their start, of n rows of t in the order of the device, after each other. */
static void gather_turned(unsigned char *out, const struct hparams *hp, const struct gguf_tensor *t, uint32_t row, uint32_t n, size_t skip,
                          size_t bytes) {
  size_t row_bytes = t->bytes / t->rows;
  for (uint32_t i = 0; i < n; i++, row++, out += bytes) {
    uint32_t in_head = row % hp->head_size;
    memcpy(out, t->data + (row - in_head + file_row(hp, in_head)) * row_bytes + skip, bytes);
  }
}

/* Rows row0 .. row0 + part->rows of the tensors stacked on each other: groups g0 .. g0 + n of them, into planes that
 * begin with group g0. */
static enum lrqk_status pack_piece(struct loader *l, const struct repack_type *type, const struct linear_part *part, uint32_t row0,
                                   const struct source *s, const struct repack_planes *dst, uint32_t g0, uint32_t n) {
  const struct tensor_type *in = s->t->type;
  uint32_t k = (uint32_t)s->t->dims[0], k0 = g0 * type->group, k1 = k0 + n * type->group < k ? k0 + n * type->group : k;
  uint32_t bytes = (k1 - k0) / in->block * in->bytes;     /* of a row in the file */
  size_t skip = (size_t)k0 / in->block * in->bytes;
  for (uint32_t base = 0, done = 0; done < part->rows; base += (uint32_t)(s++)->t->rows) {
    uint32_t end = base + (uint32_t)s->t->rows, row = row0 + done;
    if (row >= end) continue;
    uint32_t left = part->rows - done < end - row ? part->rows - done : end - row;
    while (left) {
      uint32_t rows = PIECE / bytes ? PIECE / bytes : 1, own = row - base;
      size_t row_bytes = s->t->bytes / s->t->rows;
      const unsigned char *src = s->t->data + own * row_bytes + skip;
      if (rows > left) rows = left;
      if (own < s->turned) {
        if (rows > s->turned - own) rows = s->turned - own;
        gather_turned(l->turned, &l->m->hp, s->t, own, rows, skip, bytes);
        src = l->turned;
        row_bytes = bytes;
      }
      repack_rows(type, dst, done, src, row_bytes, rows, k, g0, n);
      TRY(advance(l, (uint64_t)rows * bytes));
      done += rows;
      row += rows;
      left -= rows;
    }
  }
  return LRQK_OK;
}

static struct view range(struct view v, uint64_t from, uint64_t to) { return (struct view){ v.buf, v.offset + from, to - from }; }

/* One part: rows row0 .. of the tensors s, stacked, which are all of the same type. */
static enum lrqk_status load_part(struct loader *l, const struct repack_type *type, struct linear_part *part, uint32_t row0,
                                  const struct source *s) {
  const struct gguf_tensor *t = s->t;
  uint32_t k = (uint32_t)t->dims[0], rows = part->rows, groups = repack_groups(type, k), step = piece_groups(type, rows, k);
  TRY(allocate(l, &part->q, repack_q_bytes(type, rows, k, groups)));
  if (type->scale_bytes) TRY(allocate(l, &part->scale, repack_scale_bytes(type, rows, groups)));
  if (l->measure) {
    uint64_t bytes = repack_q_bytes(type, rows, k, step) + repack_scale_bytes(type, rows, step), row_bytes = t->bytes / t->rows;
    if (bytes > l->piece_bytes) l->piece_bytes = bytes;
    if (row_bytes > l->turned_bytes) l->turned_bytes = row_bytes;
    l->total += rows * row_bytes;
    return LRQK_OK;
  }
  if (l->m->dev->counting) return LRQK_OK;
  for (uint32_t g = 0; g < groups; g += step) {
    uint32_t n = groups - g < step ? groups - g : step;
    uint64_t q0 = repack_q_bytes(type, rows, k, g), q1 = repack_q_bytes(type, rows, k, g + n);
    uint64_t s0 = repack_scale_bytes(type, rows, g), s1 = repack_scale_bytes(type, rows, g + n);
    unsigned char *q = mapped(part->q), *scale = type->scale_bytes ? mapped(part->scale) : NULL;
    if (l->piece) {
      TRY(pack_piece(l, type, part, row0, s, &(struct repack_planes){ l->piece, l->piece + (q1 - q0), rows }, g, n));
      TRY(device_write(l->m->dev, range(part->q, q0, q1), l->piece, q1 - q0));
      if (s1 > s0) TRY(device_write(l->m->dev, range(part->scale, s0, s1), l->piece + (q1 - q0), s1 - s0));
    } else {
      TRY(pack_piece(l, type, part, row0, s, &(struct repack_planes){ q + q0, scale ? scale + s0 : NULL, rows }, g, n));
    }
  }
  return LRQK_OK;
}

/* Rows of a part that one binding and one allocation can hold; 0: not even one. */
static uint32_t most_rows(const struct device *d, const struct repack_type *type, uint32_t k) {
  const struct lrqk_device_info *info = &d->caps.info;
  uint32_t groups = repack_groups(type, k);
  uint64_t limit = info->max_binding ? info->max_binding : UINT64_MAX, q = repack_q_bytes(type, 1, k, groups), scale = repack_scale_bytes(type, 1, groups);
  if (info->max_allocation && info->max_allocation < limit) limit = info->max_allocation;
  uint64_t rows = limit / VIEW_ALIGN * VIEW_ALIGN / (q > scale ? q : scale);
  if (d->caps.texel) {
    uint64_t texels = q / 16 > scale / 4 ? q / 16 : scale / 4, most = info->max_texels / texels;
    if (most < rows) rows = most;
  }
  if (rows > SLAB_ROWS) rows -= rows % SLAB_ROWS;
  return rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
}

/* n tensors of equal row length, stacked: neighbours of one type share a part, too large ones are split by rows. */
static enum lrqk_status load_linear(struct loader *l, struct linear *out, const struct source *s, uint32_t n) {
  struct linear_part measured, *part = NULL;
  struct linear w = { .k = (uint32_t)s->t->dims[0], .bias = out->bias };
  if (!l->measure) {
    part = out->part = arena_alloc(&l->m->arena, out->n_parts, sizeof *part);
    if (!part) return fail(&l->m->dev->log, LRQK_MEMORY, "no memory for the list of %u parts of a weight", out->n_parts);
  }
  for (uint32_t i = 0, next; i < n; i = next) {
    uint32_t rows = 0;
    for (next = i; next < n && s[next].t->type == s[i].t->type; next++) rows += (uint32_t)s[next].t->rows;
    const struct repack_type *type = repack_find(s[i].t->type->id);
    uint32_t most = most_rows(l->m->dev, type, w.k);
    if (!most) {
      return fail(&l->m->dev->log, LRQK_DEVICE, "a row of %u values of type %s does not fit into one binding of the device", w.k,
                  s[i].t->type->name);
    }
    for (uint32_t row = 0; row < rows; row += most, w.n_parts++) {
      struct linear_part *p = l->measure ? &measured : &part[w.n_parts];
      *p = (struct linear_part){ .kernel = type->kernel, .type = type->type, .block = type->block, .row0 = w.n + row,
                                 .rows = rows - row < most ? rows - row : most };
      TRY(load_part(l, type, p, row, s + i));
    }
    w.n += rows;
  }
  w.part = out->part;
  *out = w;
  return LRQK_OK;
}

static enum lrqk_status load_one(struct loader *l, struct linear *out, enum weight_id id, uint32_t layer) {
  return load_linear(l, out, &(struct source){ tensor_of(l->m->gguf, id, layer), 0 }, 1);
}

static enum lrqk_status load_qkv(struct loader *l, struct layer *out, uint32_t i) {
  static const enum weight_id three[] = { Q_BIAS, K_BIAS, V_BIAS }, one[] = { QKV_BIAS }, norms[] = { Q_NORM, K_NORM };
  const struct hparams *hp = &l->m->hp;
  const struct gguf *g = l->m->gguf;
  bool halves = hp->features & ROPE_HALVES, fused = asked_for(hp, g, ATTN_QKV, i);
  uint32_t q = halves ? width_of(hp, W_Q) : 0, k = halves ? width_of(hp, W_KV) : 0;
  TRY(load_floats(l, &out->qkv.bias, i, fused ? one : three, fused ? 1 : 3, q + k));
  if (hp->features & QK_NORM) TRY(load_floats(l, &out->qk_norm, i, norms, 2, halves ? 2 * hp->head_size : 0));
  if (fused) return load_linear(l, &out->qkv, &(struct source){ tensor_of(g, ATTN_QKV, i), q + k }, 1);
  const struct source s[] = { { tensor_of(g, ATTN_Q, i), q }, { tensor_of(g, ATTN_K, i), k }, { tensor_of(g, ATTN_V, i), 0 } };
  return load_linear(l, &out->qkv, s, 3);
}

static enum lrqk_status load_layer(struct loader *l, struct layer *out, uint32_t i) {
  static const enum weight_id gate_up_bias[] = { GATE_BIAS, UP_BIAS };
  const struct hparams *hp = &l->m->hp;
  const struct gguf *g = l->m->gguf;
  TRY(load_vector(l, ATTN_NORM, i, &out->attn_norm));
  TRY(load_qkv(l, out, i));
  TRY(load_vector(l, OUTPUT_BIAS, i, &out->out.bias));
  TRY(load_one(l, &out->out, ATTN_OUTPUT, i));
  TRY(load_vector(l, ATTN_POST, i, &out->attn_post));
  TRY(load_vector(l, FFN_NORM, i, &out->ffn_norm));
  if (asked_for(hp, g, FFN_GATE_UP, i)) {
    TRY(load_one(l, &out->gate_up, FFN_GATE_UP, i));
  } else {
    const struct source s[] = { { tensor_of(g, FFN_GATE, i), 0 }, { tensor_of(g, FFN_UP, i), 0 } };
    TRY(load_floats(l, &out->gate_up.bias, i, gate_up_bias, 2, 0));
    TRY(load_linear(l, &out->gate_up, s, 2));
  }
  TRY(load_vector(l, DOWN_BIAS, i, &out->down.bias));
  TRY(load_one(l, &out->down, FFN_DOWN, i));
  return load_vector(l, FFN_POST, i, &out->ffn_post);
}

static enum lrqk_status load_all(struct loader *l) {
  struct model *m = l->m;
  const struct gguf_tensor *head = tensor_of(m->gguf, OUTPUT, 0);
  for (uint32_t i = 0; i < m->hp.n_layers; i++) TRY(load_layer(l, &m->layers[i], i));
  TRY(load_vector(l, OUTPUT_NORM, 0, &m->output_norm));
  return load_linear(l, &m->head, &(struct source){ head ? head : m->embd, 0 }, 1);
}

enum lrqk_status model_load(struct model **out, const struct hparams *hp, const struct gguf *g, struct device *dev,
                            model_progress_fn progress, void *ud) {
  TRY(model_check(hp, g));
  struct model *m = mem_alloc(1, sizeof *m);
  if (!m) return fail(&dev->log, LRQK_MEMORY, "no memory for a model");
  *m = (struct model){ .hp = *hp, .gguf = g, .dev = dev, .embd = tensor_of(g, EMBD, 0) };
  if (hp->used_layers && hp->used_layers < hp->n_layers) m->hp.n_layers = hp->used_layers;
  pool_init(&m->pool, dev, PLACE_DEVICE, "weights", POOL_BLOCK);
  struct loader l = { .m = m, .measure = true, .progress = progress, .ud = ud };
  enum lrqk_status s = LRQK_OK;
  m->layers = arena_alloc(&m->arena, hp->n_layers, sizeof *m->layers);
  if (!m->layers) s = fail(&dev->log, LRQK_MEMORY, "no memory for the list of %u layers", hp->n_layers);
  if (s == LRQK_OK) s = load_all(&l);
  l.measure = false;
  if (s == LRQK_OK && !dev->caps.mapped && !dev->counting) {
    l.piece = mem_alloc(l.piece_bytes, 1);
    if (!l.piece) s = fail(&dev->log, LRQK_MEMORY, "no memory for %llu bytes to pack weights in", (unsigned long long)l.piece_bytes);
  }
  if (s == LRQK_OK && hp->features & ROPE_HALVES && !dev->counting) {
    if (l.turned_bytes < PIECE) l.turned_bytes = PIECE;
    l.turned = mem_alloc(l.turned_bytes, 1);
    if (!l.turned) s = fail(&dev->log, LRQK_MEMORY, "no memory for %llu bytes to turn weights in", (unsigned long long)l.turned_bytes);
  }
  if (s == LRQK_OK) s = advance(&l, 0);
  if (s == LRQK_OK) s = load_all(&l);
  mem_free(l.piece);
  mem_free(l.turned);
  m->weight_bytes = pool_bytes(&m->pool);
  if (s == LRQK_OK) *out = m;
  else model_free(m);
  return s;
}

void model_free(struct model *m) {
  if (!m) return;
  pool_destroy(&m->pool);
  arena_free(&m->arena);
  mem_free(m);
}

void model_embed(const struct model *m, int32_t id, float *out) {
  const struct gguf_tensor *t = m->embd;
  t->type->dequantise(t->data + (uint64_t)id * (t->bytes / t->rows), out, t->dims[0]);
  float scale = m->hp.embd_scale;
  if (m->hp.features & SCALED_EMBD) for (uint64_t i = 0; i < t->dims[0]; i++) out[i] *= scale;
}
