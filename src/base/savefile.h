/* savefile.h - writes a file whole or not at all: into PATH.part beside it, which takes the name PATH when everything has
 * reached the disk.  Who is killed on the way leaves the old file as it was; the next one writes over the part.  Called by
 * session_file.c. */
#ifndef BASE_SAVEFILE_H
#define BASE_SAVEFILE_H

#include "base/log.h"

struct savefile { const struct log *log; char *path, *part; int fd; uint64_t bytes; };

/* LRQK_RUNTIME names the path and the reason; LRQK_USAGE if PATH is something else than a regular file. */
enum lrqk_status savefile_open(struct savefile *f, const struct log *log, const char *path);
enum lrqk_status savefile_write(struct savefile *f, const void *p, size_t n);              /* at the end */
enum lrqk_status savefile_head(struct savefile *f, const void *p, size_t n);               /* over the first n bytes */
enum lrqk_status savefile_commit(struct savefile *f);
void savefile_close(struct savefile *f);   /* after open, whatever it gave; without a commit nothing has changed */

#endif
