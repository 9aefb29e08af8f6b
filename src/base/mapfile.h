/* mapfile.h - a whole file, mapped read-only. */
#ifndef BASE_MAPFILE_H
#define BASE_MAPFILE_H

#include "base/log.h"

struct mapfile { const unsigned char *data; size_t size; };

/* Fails with `otherwise`, naming the path, the reason and what was expected ("a GGUF file"), for anything that is not a
 * non-empty regular file. */
enum lrqk_status mapfile_open(struct mapfile *out, const struct log *log, const char *path, enum lrqk_status otherwise, const char *expected);
void mapfile_close(struct mapfile *f);   /* closed or zeroed is fine */

/* The whole pages among bytes p .. p + n of a mapping need not stay in memory: they can be read from the file again. */
void mapfile_drop(const void *p, size_t n);

#endif
