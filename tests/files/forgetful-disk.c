/* A disk that can lose its power, and one that is full for a while; loaded with LD_PRELOAD.

   Below $DISK_ROOT it writes into $DISK_JOURNAL what a power cut may undo: a line of NUL-separated
   fields for each file made (C), renamed (R) or removed (U), each folder made (M), and each file (S,
   with its inode and size) or folder (D) that was synced. What a rename or removal replaces is
   linked into $DISK_KEPT first. While the file $DISK_FULL exists, a write stores half of its bytes,
   and the next one fails with ENOSPC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a change and its line are one */
static int kept, halved;

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    const char *root = getenv("DISK_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return is_below(path);
}

static void note(const char *what, const char *a, const char *b, const char *c) {
    char line[4 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s%c%s%c%s%c%s\n", what, 0, a, 0, b, 0, c);
    int fd = syscall(SYS_openat, AT_FDCWD, getenv("DISK_JOURNAL"), O_WRONLY | O_APPEND | O_CREAT, 0644);
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

/* Link what lies at a path to a new name outside; "" if there is nothing. */
static const char *keep(const char *path, char *copy) {
    snprintf(copy, PATH_MAX, "%s/%d-%d", getenv("DISK_KEPT"), getpid(), kept++);
    return link(path, copy) == 0 ? copy : "";
}

int rename(const char *from, const char *to) {
    char copy[PATH_MAX];
    if (!is_below(to)) return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    note("R", from, to, keep(to, copy));
    int done = REAL(rename)(from, to), why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

int unlink(const char *path) {
    char copy[PATH_MAX];
    if (!is_below(path)) return REAL(unlink)(path);
    pthread_mutex_lock(&lock);
    note("U", path, keep(path, copy), "");
    int done = REAL(unlink)(path), why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (!is_below(path)) return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    int done = REAL(mkdir)(path, mode), why = errno;
    if (done == 0) note("M", path, "", "");
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

static int opened(const char *path, int flags, mode_t mode) {
    int made = (flags & O_CREAT) && is_below(path) && access(path, F_OK) != 0;
    if (!made) return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode), why = errno;
    if (fd >= 0) note("C", path, "", "");
    pthread_mutex_unlock(&lock);
    errno = why;
    return fd;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list more;                                  \
        va_start(more, flags);                         \
        mode_t mode = va_arg(more, mode_t);            \
        va_end(more);                                  \
        return opened(path, flags, mode);              \
    }
OPEN(open)
OPEN(open64)

int fsync(int fd) {
    char path[PATH_MAX], inode[24], size[24];
    if (!path_of(fd, path)) return REAL(fsync)(fd);
    struct stat found;
    pthread_mutex_lock(&lock);
    fstat(fd, &found);
    snprintf(inode, sizeof inode, "%lu", (unsigned long)found.st_ino);
    snprintf(size, sizeof size, "%ld", (long)found.st_size);
    S_ISDIR(found.st_mode) ? note("D", path, "", "") : note("S", path, inode, size);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fdatasync(int fd) { return fsync(fd); }

ssize_t write(int fd, const void *data, size_t count) {
    char path[PATH_MAX];
    const char *full = getenv("DISK_FULL");
    if (full && access(full, F_OK) == 0 && path_of(fd, path)) {
        if (count < 2 || halved++ % 2) {
            errno = ENOSPC;
            return -1;
        }
        count /= 2;
    }
    return syscall(SYS_write, fd, data, count);
}
