#include "base/savefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static enum lrqk_status failed(const struct savefile *f, const char *what) {
  int e = errno;
  fail(f->log, LRQK_RUNTIME, "%s: cannot %s: %s", f->path, what, strerror(e));
  if (e == ENOSPC || e == EDQUOT) log_hint(f->log, "free some space; a file of that name from before is still whole");
  return LRQK_RUNTIME;
}

/* Opens and locks PATH.part.  Between the two somebody else may have finished it, and what is locked has another name. */
static enum lrqk_status open_part(struct savefile *f) {
  for (;;) {
    struct stat mine, there;
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0) return failed(f, "create a file beside it");
    if (flock(f->fd, LOCK_EX | LOCK_NB)) {
      enum lrqk_status s = errno == EWOULDBLOCK ? fail(f->log, LRQK_RUNTIME, "%s: another process is saving it", f->path) : failed(f, "lock it");
      close(f->fd);
      f->fd = -1;   /* the part is not ours to remove */
      return s;
    }
    if (fstat(f->fd, &mine)) return failed(f, "look at it");
    if (!stat(f->part, &there) && there.st_ino == mine.st_ino && there.st_dev == mine.st_dev) break;
    close(f->fd);
    f->fd = -1;
  }
  return ftruncate(f->fd, 0) ? failed(f, "write") : LRQK_OK;
}

enum lrqk_status savefile_open(struct savefile *f, const struct log *log, const char *path) {
  struct stat st;
  size_t n = strlen(path);
  *f = (struct savefile){ .log = log, .fd = -1, .path = mem_strdup(path), .part = mem_alloc(n + 6, 1) };
  if (!f->path || !f->part) return fail(log, LRQK_MEMORY, "%s: no memory for its name", path);
  memcpy(f->part, path, n);
  memcpy(f->part + n, ".part", 6);
  if (!stat(path, &st) && !S_ISREG(st.st_mode)) return fail(log, LRQK_USAGE, "%s: is not a regular file", path);
  return open_part(f);
}

static enum lrqk_status put(struct savefile *f, const unsigned char *p, size_t n, uint64_t at) {
  while (n) {
    ssize_t k = pwrite(f->fd, p, n < 1u << 30 ? n : 1u << 30, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return failed(f, "write");
    p += k;
    at += (uint64_t)k;
    n -= (size_t)k;
  }
  return LRQK_OK;
}

enum lrqk_status savefile_write(struct savefile *f, const void *p, size_t n) {
  TRY(put(f, p, n, f->bytes));
  f->bytes += n;
  return LRQK_OK;
}

enum lrqk_status savefile_head(struct savefile *f, const void *p, size_t n) { return put(f, p, n, 0); }

/* The new name has to reach the disk, too. */
static enum lrqk_status sync_folder(const struct savefile *f) {
  char *slash = strrchr(f->part, '/'), keep = slash ? slash[1] : 0;
  if (slash) slash[1] = 0;
  int fd = open(slash ? f->part : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (slash) slash[1] = keep;
  if (fd < 0) return LRQK_OK;   /* a folder that may be written but not read: nothing more can be done */
  int r = fsync(fd);
  close(fd);
  return r && errno != EINVAL ? failed(f, "write its folder") : LRQK_OK;
}

enum lrqk_status savefile_commit(struct savefile *f) {
  if (fsync(f->fd)) return failed(f, "write");
  if (rename(f->part, f->path)) return failed(f, "put it in place");
  close(f->fd);
  f->fd = -1;
  return sync_folder(f);
}

void savefile_close(struct savefile *f) {
  if (f->fd >= 0) {
    unlink(f->part);
    close(f->fd);
  }
  mem_free(f->path);
  mem_free(f->part);
  *f = (struct savefile){ .fd = -1 };
}
