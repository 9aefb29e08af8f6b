#include "base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum lrqk_status mapfile_open(struct mapfile *out, const struct log *log, const char *path, enum lrqk_status otherwise, const char *expected) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);   /* a FIFO without a writer must be refused, not waited for */
  if (fd < 0) return fail(log, otherwise, "%s: cannot open: %s", path, strerror(errno));
  struct stat st;
  enum lrqk_status s = LRQK_OK;
  if (fstat(fd, &st)) s = fail(log, otherwise, "%s: cannot read its size: %s", path, strerror(errno));
  else if (S_ISDIR(st.st_mode)) s = fail(log, otherwise, "%s: is a directory, expected %s", path, expected);
  else if (!S_ISREG(st.st_mode)) s = fail(log, otherwise, "%s: is not a regular file (it must be mapped)", path);
  else if (st.st_size == 0) s = fail(log, otherwise, "%s: is empty, expected %s", path, expected);
  if (s == LRQK_OK) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) s = fail(log, otherwise, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
    else *out = (struct mapfile){ p, (size_t)st.st_size };
  }
  close(fd);
  return s;
}

void mapfile_close(struct mapfile *f) {
  if (f->data) munmap((void *)f->data, f->size);
  *f = (struct mapfile){ 0 };
}

void mapfile_drop(const void *p, size_t n) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), a = ((uintptr_t)p + page - 1) / page * page, b = ((uintptr_t)p + n) / page * page;
  if (a < b) madvise((void *)a, b - a, MADV_DONTNEED);
}
