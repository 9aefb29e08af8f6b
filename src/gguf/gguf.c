/* gguf.c - opens a GGUF file: a cursor that never leaves the file walks header, keys and tensor descriptions; then
 * sorted indexes find names twice, and sorted offsets find tensors that overlap.  Called by engine.c and the tests. */
#include "gguf/gguf.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "base/utf8.h"

enum {
  MAX_COUNT = 65536,         /* keys, tensors: far beyond any model, small enough to allocate for */
  MAX_KEY_NAME = 65535,      /* both as the format says */
  MAX_TENSOR_NAME = 64,
  KEY_MIN_BYTES = 8 + 1 + 4 + 1, TENSOR_MIN_BYTES = 8 + 1 + 4 + 8 + 4 + 8
};

struct gguf_priv {
  struct mapfile map;                /* empty when the bytes are borrowed */
  char *path;
  const struct gguf_key **key_index;         /* sorted by name */
  const struct gguf_tensor **tensor_index;
  struct gguf **part;                /* [n_parts] the further files of a model that was split: their tensors are in the list too */
  size_t n_parts;
};

struct cursor { struct gguf *g; const unsigned char *begin, *p, *end; };

enum lrqk_status gguf_fail(const struct gguf *g, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return fail(&g->log, LRQK_MODEL, "%s: %s", g->path, text);
}

static size_t left(const struct cursor *c) { return (size_t)(c->end - c->p); }

static enum lrqk_status cut(const struct cursor *c, const char *what, struct gguf_str name, uint64_t need) {
  char shown[64];
  return gguf_fail(c->g, "the file ends in %s%s%s at byte %zu: expected %llu more bytes, found %zu", what,
                   name.len ? " of " : "", gguf_show(shown, name), (size_t)(c->p - c->begin), (unsigned long long)need, left(c));
}

static const struct gguf_str nameless = { "", 0 };

static bool take(struct cursor *c, void *out, size_t n) {
  if (left(c) < n) return false;
  memcpy(out, c->p, n);
  c->p += n;
  return true;
}

/* ---- values */

static const struct { const char *name; uint8_t size; } value_types[] = {
  [GGUF_U8] = { "u8", 1 },   [GGUF_I8] = { "i8", 1 },   [GGUF_U16] = { "u16", 2 },       [GGUF_I16] = { "i16", 2 },
  [GGUF_U32] = { "u32", 4 }, [GGUF_I32] = { "i32", 4 }, [GGUF_F32] = { "f32", 4 },       [GGUF_BOOL] = { "bool", 1 },
  [GGUF_U64] = { "u64", 8 }, [GGUF_I64] = { "i64", 8 }, [GGUF_F64] = { "f64", 8 },       [GGUF_STRING] = { "string", 0 },
  [GGUF_ARRAY] = { "array", 0 }
};
enum { N_VALUE_TYPES = sizeof value_types / sizeof value_types[0] };

const char *gguf_type_name(enum gguf_value_type t) { return (unsigned)t < N_VALUE_TYPES ? value_types[t].name : "unknown"; }

bool gguf_is_integer(enum gguf_value_type t) { return (unsigned)t <= GGUF_I32 || t == GGUF_U64 || t == GGUF_I64; }

const char *gguf_show(char out[64], struct gguf_str s) {
  size_t n = s.len < 60 ? s.len : 60;
  for (size_t i = 0; i < n; i++) out[i] = s.s[i] >= 0x20 && s.s[i] < 0x7f ? s.s[i] : '?';
  strcpy(out + n, s.len > n ? "..." : "");
  return out;
}

static bool name_is_text(struct gguf_str name) {
  for (size_t i = 0; i < name.len;) {
    uint32_t ch;
    size_t n = utf8_decode(name.s + i, name.len - i, &ch);
    if (ch < 0x20 || ch == 0x7f || ch == UTF8_INVALID || ch == UTF8_INCOMPLETE) return false;
    i += n;
  }
  return true;
}

static enum lrqk_status read_name(struct cursor *c, const char *kind, size_t index, size_t max, struct gguf_str *out) {
  char what[48];
  snprintf(what, sizeof what, "the name of %s %zu", kind, index);
  uint64_t n;
  if (!take(c, &n, 8)) return cut(c, what, nameless, 8);
  if (n == 0 || n > max) return gguf_fail(c->g, "%s has %llu bytes, expected 1 to %zu", what, (unsigned long long)n, max);
  if (n > left(c)) return cut(c, what, nameless, n);
  *out = (struct gguf_str){ (const char *)c->p, (size_t)n };
  char shown[64];
  if (!name_is_text(*out)) {
    return gguf_fail(c->g, "%s is \"%s\", expected UTF-8 without control characters", what, gguf_show(shown, *out));
  }
  c->p += n;
  return LRQK_OK;
}

static enum lrqk_status skip_strings(struct cursor *c, const struct gguf_key *k) {
  for (uint64_t i = 0; i < k->count; i++) {
    uint64_t n;
    if (!take(c, &n, 8)) return cut(c, "a string", k->name, 8);
    if (n > left(c)) return cut(c, "a string", k->name, n);
    c->p += n;
  }
  return LRQK_OK;
}

static enum lrqk_status read_key(struct cursor *c, size_t index) {
  struct gguf *g = c->g;
  struct gguf_key *k = &g->keys[index];
  char shown[64];
  TRY(read_name(c, "key", index, MAX_KEY_NAME, &k->name));
  uint32_t type;
  if (!take(c, &type, 4)) return cut(c, "the type of key", k->name, 4);
  if (type >= N_VALUE_TYPES) {
    return gguf_fail(g, "key %s has value type %u, expected 0 to %d", gguf_show(shown, k->name), type, N_VALUE_TYPES - 1);
  }
  k->type = k->element = (enum gguf_value_type)type;
  k->count = 1;
  if (k->type == GGUF_ARRAY) {
    uint32_t element;
    if (!take(c, &element, 4) || !take(c, &k->count, 8)) return cut(c, "the array", k->name, 12);
    if (element >= N_VALUE_TYPES || element == GGUF_ARRAY) {
      return gguf_fail(g, "key %s is an array of %s (%u), expected one of numbers, bools or strings",
                       gguf_show(shown, k->name), element == GGUF_ARRAY ? "arrays" : "an unknown type", element);
    }
    k->element = (enum gguf_value_type)element;
  }
  k->data = c->p;
  if (k->element == GGUF_STRING) return skip_strings(c, k);
  size_t size = value_types[k->element].size;
  if (k->count > left(c) / size) {
    bool fits = k->count <= UINT64_MAX / size;
    return cut(c, "the value", k->name, fits ? k->count * size : UINT64_MAX);
  }
  if (k->element == GGUF_BOOL) {
    for (uint64_t i = 0; i < k->count; i++) {
      if (c->p[i] > 1) {
        return gguf_fail(g, "key %s holds the bool %u, expected 0 or 1", gguf_show(shown, k->name), c->p[i]);
      }
    }
  }
  c->p += k->count * size;
  return LRQK_OK;
}

/* ---- tensors */

static const struct tensor_type unknown_type = { .id = UINT32_MAX, .name = "unknown" };

/* Shape and type; offset stays as it stands in the file: from the start of the tensor data. */
static enum lrqk_status read_tensor(struct cursor *c, size_t index, bool vocab_only) {
  struct gguf *g = c->g;
  struct gguf_tensor *t = &g->tensors[index];
  char shown[64];
  TRY(read_name(c, "tensor", index, MAX_TENSOR_NAME, &t->name));
  gguf_show(shown, t->name);
  if (!take(c, &t->n_dims, 4)) return cut(c, "the dimensions", t->name, 4);
  if (t->n_dims < 1 || t->n_dims > 4) {
    return gguf_fail(g, "tensor %s has %u dimensions, expected 1 to 4", shown, t->n_dims);
  }
  uint32_t type = 0;
  if (left(c) < t->n_dims * 8u + 12u) return cut(c, "the dimensions", t->name, t->n_dims * 8u + 12u);
  for (uint32_t i = 0; i < 4; i++) t->dims[i] = 1;
  take(c, t->dims, t->n_dims * 8u);
  take(c, &type, 4);
  take(c, &t->offset, 8);

  uint64_t values = 1;
  for (uint32_t i = 0; i < 4; i++) {
    if (t->dims[i] == 0 || t->dims[i] > (uint64_t)INT64_MAX / values) {
      return gguf_fail(g, "tensor %s has dimensions [%llu, %llu, %llu, %llu], expected none to be 0 and at most 2^63 values", shown,
                       (unsigned long long)t->dims[0], (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                       (unsigned long long)t->dims[3]);
    }
    values *= t->dims[i];
  }
  t->rows = values / t->dims[0];
  t->type = tensor_type_find(type);
  if (!t->type || !t->type->block) {
    if (!vocab_only) {
      return gguf_fail(g, "tensor %s has type %u (%s), expected one that the format defines", shown, type,
                       t->type ? t->type->name : "unknown");
    }
    if (!t->type) t->type = &unknown_type;
    return LRQK_OK;
  }
  if (t->dims[0] % t->type->block) {
    return gguf_fail(g, "tensor %s has rows of %llu values, expected a multiple of %u for type %s", shown,
                     (unsigned long long)t->dims[0], t->type->block, t->type->name);
  }
  if (values / t->type->block > (uint64_t)INT64_MAX / t->type->bytes) {
    return gguf_fail(g, "tensor %s has %llu values, expected fewer", shown, (unsigned long long)values);
  }
  t->bytes = values / t->type->block * t->type->bytes;
  return LRQK_OK;
}

static enum lrqk_status place_tensor(struct gguf *g, struct gguf_tensor *t, const unsigned char *file, uint64_t data_start) {
  char shown[64];
  uint64_t offset = t->offset, room = g->file_bytes - data_start;
  if (offset % g->alignment) {
    return gguf_fail(g, "tensor %s has offset %llu, expected a multiple of the alignment %u", gguf_show(shown, t->name),
                     (unsigned long long)offset, g->alignment);
  }
  if (offset > room || t->bytes > room - offset) {
    return gguf_fail(g, "tensor %s needs %llu bytes at offset %llu of the tensor data, expected them within its %llu bytes (is it cut?)",
                     gguf_show(shown, t->name), (unsigned long long)t->bytes, (unsigned long long)offset, (unsigned long long)room);
  }
  t->offset = data_start + offset;
  t->data = file + t->offset;
  return LRQK_OK;
}

static int by_offset(const void *pa, const void *pb) {
  const struct gguf_tensor *a = *(const struct gguf_tensor *const *)pa, *b = *(const struct gguf_tensor *const *)pb;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static enum lrqk_status place_tensors(struct cursor *c) {
  struct gguf *g = c->g;
  size_t used = (size_t)(c->p - c->begin), start = used + (g->alignment - used % g->alignment) % g->alignment;
  if (start > g->file_bytes) return cut(c, "the padding before the tensor data", nameless, start - used);
  size_t n = 0;
  const struct gguf_tensor **order = g->priv->tensor_index;     /* sorted by name afterwards */
  for (size_t i = 0; i < g->n_tensors; i++) {
    if (!g->tensors[i].type->block) continue;
    TRY(place_tensor(g, &g->tensors[i], c->begin, start));
    order[n++] = &g->tensors[i];
  }
  qsort(order, n, sizeof *order, by_offset);
  for (size_t i = 1; i < n; i++) {
    const struct gguf_tensor *a = order[i - 1], *b = order[i];
    if (a->offset + a->bytes <= b->offset) continue;
    char shown_a[64], shown_b[64];
    return gguf_fail(g, "tensor %s at byte %llu overlaps tensor %s, which ends at byte %llu, expected tensors apart",
                     gguf_show(shown_b, b->name), (unsigned long long)b->offset,
                     gguf_show(shown_a, a->name), (unsigned long long)(a->offset + a->bytes));
  }
  return LRQK_OK;
}

/* ---- names.  Keys and tensors begin with their name, so one comparison serves both. */

static int compare_names(struct gguf_str a, struct gguf_str b) {
  int r = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);
  return r ? r : a.len < b.len ? -1 : a.len > b.len;
}

static int by_name(const void *a, const void *b) {
  return compare_names(**(const struct gguf_str *const *)a, **(const struct gguf_str *const *)b);
}

static enum lrqk_status check_names(const struct gguf *g, const char *kind, void *index, size_t n) {
  const struct gguf_str **name = index;
  qsort(name, n, sizeof *name, by_name);
  for (size_t i = 1; i < n; i++) {
    if (compare_names(*name[i - 1], *name[i])) continue;
    char shown[64];
    return gguf_fail(g, "%s %s is there twice, expected once", kind, gguf_show(shown, *name[i]));
  }
  return LRQK_OK;
}

static const void *find(const void *index, size_t n, const char *name) {
  if (!n) return NULL;
  const struct gguf_str key = { name, strlen(name) }, *p = &key;
  const void *const *hit = bsearch(&p, index, n, sizeof p, by_name);
  return hit ? *hit : NULL;
}

const struct gguf_key *gguf_find(const struct gguf *g, const char *key) { return find(g->priv->key_index, g->n_keys, key); }

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
  return find(g->priv->tensor_index, g->n_tensors, name);
}

/* ---- the file */

static enum lrqk_status read_header(struct cursor *c) {
  struct gguf *g = c->g;
  uint64_t n_tensors, n_keys;
  char magic[4];
  if (!take(c, magic, 4)) return cut(c, "the magic", nameless, 4);
  if (memcmp(magic, "GGUF", 4)) return gguf_fail(g, "does not begin with \"GGUF\", expected a GGUF file");
  if (!take(c, &g->version, 4)) return cut(c, "the version", nameless, 4);
  if ((g->version & 0xffff) == 0 && g->version) {
    return gguf_fail(g, "is a big-endian GGUF file (version %#x), expected a little-endian one", g->version);
  }
  if (g->version != 2 && g->version != 3) {
    return gguf_fail(g, "is GGUF version %u, expected 2 or 3", g->version);
  }
  if (!take(c, &n_tensors, 8) || !take(c, &n_keys, 8)) return cut(c, "the header", nameless, 16);
  if (n_keys > MAX_COUNT || n_keys > left(c) / KEY_MIN_BYTES) {
    return gguf_fail(g, "claims %llu keys, expected at most %d and no more than fit into the %zu bytes that follow",
                     (unsigned long long)n_keys, MAX_COUNT, left(c));
  }
  if (n_tensors > MAX_COUNT || n_tensors > left(c) / TENSOR_MIN_BYTES) {
    return gguf_fail(g, "claims %llu tensors, expected at most %d and no more than fit into the %zu bytes that follow",
                     (unsigned long long)n_tensors, MAX_COUNT, left(c));
  }
  g->n_keys = (size_t)n_keys;
  g->n_tensors = (size_t)n_tensors;
  return LRQK_OK;
}

static enum lrqk_status read_directory(struct gguf *g, const unsigned char *data, size_t size, bool vocab_only) {
  struct cursor c = { g, data, data, data + size };
  struct gguf_priv *p = g->priv;
  TRY(read_header(&c));
  g->keys = mem_alloc(g->n_keys, sizeof *g->keys);
  g->tensors = mem_alloc(g->n_tensors, sizeof *g->tensors);
  p->key_index = mem_alloc(g->n_keys, sizeof *p->key_index);
  p->tensor_index = mem_alloc(g->n_tensors, sizeof *p->tensor_index);
  if (!g->keys || !g->tensors || !p->key_index || !p->tensor_index) {
    return fail(&g->log, LRQK_MEMORY, "%s: no memory for the directory (%zu keys, %zu tensors)", g->path, g->n_keys, g->n_tensors);
  }

  for (size_t i = 0; i < g->n_keys; i++) {
    TRY(read_key(&c, i));
    p->key_index[i] = &g->keys[i];
  }
  TRY(check_names(g, "key", p->key_index, g->n_keys));
  g->alignment = 32;
  TRY(gguf_u32(g, "general.alignment", false, &g->alignment));
  if (g->alignment == 0 || (g->alignment & (g->alignment - 1))) {
    return gguf_fail(g, "general.alignment is %u, expected a power of two", g->alignment);
  }
  uint32_t parts = 1;
  TRY(gguf_u32(g, "split.count", false, &parts));
  if (!g->n_tensors && !vocab_only && parts <= 1) {
    return gguf_fail(g, "has no tensors, expected those of a model (it is a vocabulary only)");
  }
  for (size_t i = 0; i < g->n_tensors; i++) TRY(read_tensor(&c, i, vocab_only));
  if (g->n_tensors) TRY(place_tensors(&c));
  for (size_t i = 0; i < g->n_tensors; i++) p->tensor_index[i] = &g->tensors[i];
  return check_names(g, "tensor", p->tensor_index, g->n_tensors);
}

static enum lrqk_status create(struct gguf **out, const struct log *log, const char *path) {
  struct gguf *g = mem_alloc(1, sizeof *g);
  struct gguf_priv *p = mem_alloc(1, sizeof *p);
  char *copy = mem_strdup(path);
  if (!g || !p || !copy) {
    mem_free(g);
    mem_free(p);
    mem_free(copy);
    return fail(log, LRQK_MEMORY, "%s: no memory to open it", path);
  }
  if (log) g->log = *log;
  g->path = p->path = copy;
  g->priv = p;
  *out = g;
  return LRQK_OK;
}

enum lrqk_status gguf_open_memory(struct gguf **out, const struct log *log, const char *path, const void *data, size_t size,
                                  bool vocab_only) {
  struct gguf *g;
  TRY(create(&g, log, path));
  g->file_bytes = size;
  uint32_t parts = 1;
  enum lrqk_status s = read_directory(g, data, size, vocab_only);
  if (s == LRQK_OK) s = gguf_u32(g, "split.count", false, &parts);
  if (s == LRQK_OK && parts > 1 && !vocab_only) s = gguf_fail(g, "key split.count is %u, expected a model in one file", parts);
  if (s == LRQK_OK) *out = g;
  else gguf_close(g);
  return s;
}

/* ---- a model in several files, as llama-gguf-split makes them: NAME-00001-of-00003.gguf has the keys, and each of them tensors */

enum { MAX_PARTS = 99999 };

static enum lrqk_status open_one(struct gguf **out, const struct log *log, const char *path, bool vocab_only) {
  struct gguf *g;
  TRY(create(&g, log, path));
  enum lrqk_status s = mapfile_open(&g->priv->map, log, path, LRQK_MODEL, "a GGUF file");
  if (s == LRQK_OK) {
    g->file_bytes = g->priv->map.size;
    s = read_directory(g, g->priv->map.data, g->priv->map.size, vocab_only);
  }
  if (s == LRQK_OK) *out = g;
  else gguf_close(g);
  return s;
}

/* Checks that g is part `no` of `count`. */
static enum lrqk_status check_part(const struct gguf *g, uint32_t no, uint32_t count) {
  uint32_t its_no = UINT32_MAX, its_count = 0;
  TRY(gguf_u32(g, "split.no", true, &its_no));
  TRY(gguf_u32(g, "split.count", true, &its_count));
  if (its_no == no && its_count == count) return LRQK_OK;
  gguf_fail(g, "is part %llu of %u of a model, expected part %u of %u", (unsigned long long)its_no + 1, its_count, no + 1, count);
  if (!no) log_hint(&g->log, "name the first part; the others are found beside it");
  return LRQK_MODEL;
}

static enum lrqk_status open_part(struct gguf *g, uint32_t no, uint32_t count, size_t stem, bool directory) {
  char *path = mem_alloc(stem + 32, 1);
  if (!path) return fail(&g->log, LRQK_MEMORY, "%s: no memory for the name of part %u", g->path, no + 1);
  memcpy(path, g->path, stem);
  snprintf(path + stem, 32, "-%05u-of-%05u.gguf", no + 1, count);
  struct gguf **part = &g->priv->part[no - 1];
  enum lrqk_status s = open_one(part, &g->log, path, directory);
  mem_free(path);
  if (s == LRQK_OK) g->priv->n_parts = no;
  return s == LRQK_OK ? check_part(*part, no, count) : s;
}

/* The tensors of all parts become those of g. */
static enum lrqk_status merge_parts(struct gguf *g) {
  struct gguf_priv *p = g->priv;
  size_t n = g->n_tensors;
  uint32_t claimed = 0;
  for (size_t i = 0; i < p->n_parts; i++) {
    n += p->part[i]->n_tensors;
    g->file_bytes += p->part[i]->file_bytes;
  }
  struct gguf_tensor *all = mem_alloc(n, sizeof *all);
  const struct gguf_tensor **index = mem_alloc(n, sizeof *index);
  if (!all || !index) {
    mem_free(all);
    mem_free(index);
    return fail(&g->log, LRQK_MEMORY, "%s: no memory for the directory of %zu tensors", g->path, n);
  }
  if (g->n_tensors) memcpy(all, g->tensors, g->n_tensors * sizeof *all);
  for (size_t i = 0, at = g->n_tensors; i < p->n_parts; at += p->part[i++]->n_tensors) {
    if (p->part[i]->n_tensors) memcpy(all + at, p->part[i]->tensors, p->part[i]->n_tensors * sizeof *all);
  }
  for (size_t i = 0; i < n; i++) index[i] = &all[i];
  mem_free(g->tensors);
  mem_free(p->tensor_index);
  g->tensors = all;
  g->n_tensors = n;
  p->tensor_index = index;
  TRY(check_names(g, "tensor", index, n));
  claimed = (uint32_t)n;
  TRY(gguf_u32(g, "split.tensors.count", false, &claimed));
  return claimed == n ? LRQK_OK : gguf_fail(g, "key split.tensors.count is %u, expected %zu, the tensors of all parts", claimed, n);
}

enum lrqk_status gguf_join(struct gguf *g, bool directory) {
  uint32_t count = 1;
  char suffix[32];
  TRY(gguf_u32(g, "split.count", false, &count));
  if (count <= 1) return LRQK_OK;
  if (count > MAX_PARTS) return gguf_fail(g, "key split.count is %u, expected at most %d", count, MAX_PARTS);
  TRY(check_part(g, 0, count));
  size_t len = strlen(g->path), n = (size_t)snprintf(suffix, sizeof suffix, "-00001-of-%05u.gguf", count);
  if (len < n || strcmp(g->path + len - n, suffix)) {
    return gguf_fail(g, "is the first of %u parts of a model, expected a name that ends in %s, so that the others can be found", count, suffix);
  }
  g->priv->part = mem_alloc(count - 1, sizeof *g->priv->part);
  if (!g->priv->part) return fail(&g->log, LRQK_MEMORY, "%s: no memory for a list of %u parts", g->path, count);
  for (uint32_t i = 1; i < count; i++) TRY(open_part(g, i, count, len - n, directory));
  return merge_parts(g);
}

enum lrqk_status gguf_open(struct gguf **out, const struct log *log, const char *path, bool vocab_only) {
  struct gguf *g;
  TRY(open_one(&g, log, path, vocab_only));
  enum lrqk_status s = vocab_only ? LRQK_OK : gguf_join(g, false);
  if (s == LRQK_OK) *out = g;
  else gguf_close(g);
  return s;
}

struct hash128 gguf_hash(const struct gguf *g) {
  struct hash128 h = hash128_of(g->priv->map.data, g->priv->map.size, true);
  for (size_t i = 0; i < g->priv->n_parts; i++) {
    const struct hash128 both[2] = { h, gguf_hash(g->priv->part[i]) };
    h = hash128_of(both, sizeof both, false);
  }
  return h;
}

void gguf_close(struct gguf *g) {
  if (!g) return;
  for (size_t i = 0; i < g->priv->n_parts; i++) gguf_close(g->priv->part[i]);
  mem_free(g->priv->part);
  mapfile_close(&g->priv->map);
  mem_free(g->priv->key_index);
  mem_free(g->priv->tensor_index);
  mem_free(g->priv->path);
  mem_free(g->priv);
  mem_free(g->keys);
  mem_free(g->tensors);
  mem_free(g);
}

/* ---- typed access */

static enum lrqk_status missing(const struct gguf *g, const char *key, bool required, const char *expected) {
  if (!required) return LRQK_OK;
  return gguf_fail(g, "key %s is missing, expected %s", key, expected);
}

static enum lrqk_status wrong_type(const struct gguf *g, const struct gguf_key *k, const char *key, const char *expected) {
  const char *array = k->type == GGUF_ARRAY ? "array of " : "";
  return gguf_fail(g, "key %s is of type %s%s, expected %s", key, array, gguf_type_name(k->element), expected);
}

static int64_t integer_at(enum gguf_value_type type, const unsigned char *p) {
  union { uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; int64_t i64; } v;
  memcpy(&v, p, value_types[type].size);
  switch (type) {
    case GGUF_U8: case GGUF_BOOL: return v.u8;
    case GGUF_I8: return v.i8;
    case GGUF_U16: return v.u16;
    case GGUF_I16: return v.i16;
    case GGUF_U32: return v.u32;
    case GGUF_I32: return v.i32;
    default: return v.i64;
  }
}

double gguf_number(const struct gguf_key *k, uint64_t i) {
  const unsigned char *p = k->data + i * value_types[k->element].size;
  if (k->element == GGUF_F32) { float f; memcpy(&f, p, 4); return f; }
  if (k->element == GGUF_F64) { double f; memcpy(&f, p, 8); return f; }
  int64_t v = integer_at(k->element, p);
  return k->element == GGUF_U64 ? (double)(uint64_t)v : (double)v;
}

enum lrqk_status gguf_u32(const struct gguf *g, const char *key, bool required, uint32_t *out) {
  const struct gguf_key *k = gguf_find(g, key);
  if (!k) return missing(g, key, required, "an integer");
  if (!gguf_is_integer(k->type)) return wrong_type(g, k, key, "an integer");
  int64_t v = integer_at(k->type, k->data);         /* a u64 beyond 2^63 is negative here: out of range as well */
  if (v < 0 || v > UINT32_MAX) {
    return gguf_fail(g, "key %s is %.0f, expected 0 to %u", key, gguf_number(k, 0), UINT32_MAX);
  }
  *out = (uint32_t)v;
  return LRQK_OK;
}

enum lrqk_status gguf_f32(const struct gguf *g, const char *key, bool required, float *out) {
  const struct gguf_key *k = gguf_find(g, key);
  if (!k) return missing(g, key, required, "an f32");
  if (k->type != GGUF_F32 && k->type != GGUF_F64) return wrong_type(g, k, key, "f32");
  double v = gguf_number(k, 0);
  if (!isfinite((float)v)) return gguf_fail(g, "key %s is %g, expected a finite number", key, v);
  *out = (float)v;
  return LRQK_OK;
}

enum lrqk_status gguf_bool(const struct gguf *g, const char *key, bool required, bool *out) {
  const struct gguf_key *k = gguf_find(g, key);
  if (!k) return missing(g, key, required, "a bool");
  if (k->type != GGUF_BOOL) return wrong_type(g, k, key, "bool");
  *out = *k->data;
  return LRQK_OK;
}

enum lrqk_status gguf_string(const struct gguf *g, const char *key, bool required, struct gguf_str *out) {
  const struct gguf_key *k = gguf_find(g, key);
  if (!k) return missing(g, key, required, "a string");
  if (k->type != GGUF_STRING) return wrong_type(g, k, key, "string");
  size_t pos = 0;
  *out = gguf_next_string(k, &pos);
  return LRQK_OK;
}

struct gguf_str gguf_next_string(const struct gguf_key *k, size_t *pos) {
  uint64_t n;
  memcpy(&n, k->data + *pos, 8);
  struct gguf_str s = { (const char *)k->data + *pos + 8, (size_t)n };
  *pos += 8 + (size_t)n;
  return s;
}
