/* gguf.h - the directory of a GGUF file: keys and tensors, read through a bounds-checked cursor over a read-only
 * mapping.  Names, strings and tensor data are pointers into the mapping: valid until gguf_close.  Names are UTF-8 without
 * control characters.  Everything that is wrong with the container itself (counts, lengths, offsets, alignment,
 * duplicates, types) is refused by gguf_open. */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include "base/hash.h"
#include "base/log.h"
#include "gguf/tensor_type.h"

struct gguf_str { const char *s; size_t len; };            /* not NUL-terminated */

enum gguf_value_type {                                     /* the numbers of the file format */
  GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64
};

struct gguf_key {
  struct gguf_str name;
  enum gguf_value_type type, element;                      /* element: of an array */
  uint64_t count;                                          /* elements; 1 if not an array */
  const unsigned char *data;                               /* values, unaligned little endian; strings: u64 length + bytes */
};

struct gguf_tensor {
  struct gguf_str name;
  const struct tensor_type *type;
  uint32_t n_dims;
  uint64_t dims[4];                                        /* dims[0] is the row length; unused ones are 1 */
  uint64_t rows;                                           /* product of dims[1..] */
  uint64_t offset, bytes;                                  /* offset: from the start of the file */
  const unsigned char *data;
};

struct gguf {
  struct log log;
  const char *path;
  uint64_t file_bytes;
  uint32_t version, alignment;
  size_t n_keys, n_tensors;
  struct gguf_key *keys;                                   /* in file order */
  struct gguf_tensor *tensors;
  struct gguf_priv *priv;
};

/* The first of several files that a model was split into stands for all of them: their tensors are in its list, each with
 * its offset in its own file, and file_bytes is the sum.
 * vocab_only: one file is opened, a file without tensors is fine, and tensor types that are not known are not an error (such a tensor has a
 * type whose block is 0, bytes 0 and data NULL). */
enum lrqk_status gguf_open(struct gguf **out, const struct log *log, const char *path, bool vocab_only);
/* The same for a file that lies in memory (borrowed until gguf_close); path is its name in messages.  Tests and fuzzing. */
enum lrqk_status gguf_open_memory(struct gguf **out, const struct log *log, const char *path, const void *data, size_t size,
                                  bool vocab_only);
/* What gguf_open does for a model in several files, for one that was opened vocab_only; directory: so are the others. */
enum lrqk_status gguf_join(struct gguf *g, bool directory);
void gguf_close(struct gguf *g);                           /* NULL is fine */
struct hash128 gguf_hash(const struct gguf *g);            /* of the bytes of the file */

const struct gguf_key *gguf_find(const struct gguf *g, const char *key);            /* NULL: not there */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); /* NULL: not there */

/* Typed access.  A key that is there with another type, or a value outside its range, is LRQK_MODEL with a message
 * that names file, key, what was found and what was expected.  One that is missing: LRQK_MODEL if `required`, else
 * LRQK_OK with *out untouched. */
enum lrqk_status gguf_u32(const struct gguf *g, const char *key, bool required, uint32_t *out);     /* any integer type */
enum lrqk_status gguf_f32(const struct gguf *g, const char *key, bool required, float *out);        /* F32 or F64, finite */
enum lrqk_status gguf_bool(const struct gguf *g, const char *key, bool required, bool *out);
enum lrqk_status gguf_string(const struct gguf *g, const char *key, bool required, struct gguf_str *out);

/* Iterates an array of strings: start with *pos = 0; the array was checked when the file was opened. */
struct gguf_str gguf_next_string(const struct gguf_key *k, size_t *pos);
double gguf_number(const struct gguf_key *k, uint64_t i);  /* element i of a numeric key or array, as a double */
const char *gguf_type_name(enum gguf_value_type t);
bool gguf_is_integer(enum gguf_value_type t);
/* Fails with LRQK_MODEL, the file named first: return gguf_fail(g, "key %s is ..., expected ...", ...); */
__attribute__((format(printf, 2, 3))) enum lrqk_status gguf_fail(const struct gguf *g, const char *fmt, ...);
/* Text for messages: bytes of a string value that are not printable ASCII become '?', long ones end in "...". */
const char *gguf_show(char out[64], struct gguf_str s);

#endif
