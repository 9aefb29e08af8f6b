/* mapfile.h - a whole file, mapped read-only. */
#ifndef BASE_MAPFILE_H
#define BASE_MAPFILE_H

#include "base/log.h"

struct mapfile { const unsigned char *data; size_t size; };

/* Fails with LRQK_MODEL, naming the path and the reason, for anything that is not a non-empty regular file. */
enum lrqk_status mapfile_open(struct mapfile *out, const struct log *log, const char *path);
void mapfile_close(struct mapfile *f);   /* closed or zeroed is fine */

#endif
