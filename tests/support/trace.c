/* Between the real binary and the kernel: writes down, in order, what it does to files below a directory and when it syncs
   them, so that a test can rebuild every state that a disk may have after a power loss. Loaded by LD_PRELOAD.

   TRACE_UNDER is the directory, TRACE_TO the file. A record is a line, and the bytes that it announces:
     W inode offset length   bytes were written
     T inode length          a file was cut or made longer
     S inode                 a file or a directory was synced
     L length                these names are there from here on, a line each: d or f, inode, path
   Names are looked at before and after each call, so that a rename that passes the library by is seen, too. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMES_MAX (1 << 16)
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char known[NAMES_MAX], seen[NAMES_MAX];
static int to = -1, length_known = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void put(const void *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = syscall(SYS_write, to, bytes, length);
        if (done <= 0) return;
        bytes = (const char *)bytes + done;
        length -= done;
    }
}

static int list(const char *path, const char *below, int at) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    if (!dir) return at;
    while ((entry = readdir(dir))) {
        char inner[PATH_MAX], name[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (entry->d_type != DT_REG && entry->d_type != DT_DIR) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        snprintf(name, sizeof name, "%s%s", below, entry->d_name);
        at += snprintf(seen + at, at < NAMES_MAX ? NAMES_MAX - at : 0, "%c %lu %s\n",
                       entry->d_type == DT_DIR ? 'd' : 'f', (unsigned long)entry->d_ino, name);
        if (at >= NAMES_MAX) abort();
        if (entry->d_type == DT_DIR) {
            strcat(name, "/");
            at = list(inner, name, at);
        }
    }
    closedir(dir);
    return at;
}

static void look_at_names(void) {
    struct stat root;
    char head[64];
    const char *under = getenv("TRACE_UNDER");
    if (stat(under, &root) != 0) return;
    int at = snprintf(seen, sizeof seen, "d %lu .\n", (unsigned long)root.st_ino);
    at = list(under, "", at);
    if (at == length_known && memcmp(known, seen, at) == 0) return;
    memcpy(known, seen, at);
    length_known = at;
    put(head, snprintf(head, sizeof head, "L %d\n", at));
    put(seen, at);
}

/* From here to `leave` nobody else does anything, in this process or another. */
static void enter(void) {
    int kept = errno;
    pthread_mutex_lock(&turn);
    if (to < 0) to = syscall(SYS_openat, AT_FDCWD, getenv("TRACE_TO"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    flock(to, LOCK_EX);
    look_at_names();
    errno = kept;
}

static void leave(void) {
    int kept = errno;
    look_at_names();
    flock(to, LOCK_UN);
    pthread_mutex_unlock(&turn);
    errno = kept;
}

static int is_ours(const char *path) {
    const char *under = getenv("TRACE_UNDER");
    return under && path && strncmp(path, under, strlen(under)) == 0;
}

static int is_open_of_ours(int fd, struct stat *found) {
    char link[64], path[PATH_MAX];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length >= 0) path[length] = 0;
    int ours = length >= 0 && is_ours(path) && fstat(fd, found) == 0;
    errno = kept;
    return ours;
}

static void written(const struct stat *found, off_t at, const void *bytes, ssize_t length) {
    char head[96];
    if (length <= 0) return;
    put(head, snprintf(head, sizeof head, "W %lu %ld %ld\n", (unsigned long)found->st_ino, (long)at, (long)length));
    put(bytes, length);
}

static void cut(int fd, off_t length) {
    struct stat found;
    char head[96];
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return;
    put(head, snprintf(head, sizeof head, "T %lu %ld\n", (unsigned long)found.st_ino, (long)length));
}

#define TRACED(result, name, parameters, arguments, ours, before, after) \
    result name parameters {                                         \
        static __typeof__(&name) real;                               \
        struct stat found;                                           \
        if (!real) real = REAL(name);                                \
        if (!(ours)) return real arguments;                          \
        enter();                                                     \
        before;                                                      \
        result done = real arguments;                                \
        int kept = errno;                                            \
        after;                                                       \
        errno = kept;                                                \
        leave();                                                     \
        return done;                                                 \
    }

#define ON_FD is_open_of_ours(fd, &found)

TRACED(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length), ON_FD,
       off_t at = fcntl(fd, F_GETFL) & O_APPEND ? (fstat(fd, &found), found.st_size) : lseek(fd, 0, SEEK_CUR),
       written(&found, at, bytes, done))
TRACED(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at), ON_FD, ,
       written(&found, at, bytes, done))
TRACED(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), (fd, bytes, length, at), ON_FD, ,
       written(&found, at, bytes, done))
TRACED(int, ftruncate, (int fd, off_t length), (fd, length), ON_FD, , if (done == 0) cut(fd, length))
TRACED(int, ftruncate64, (int fd, off64_t length), (fd, length), ON_FD, , if (done == 0) cut(fd, length))

#define ON_SYNC(name)                                                                                            \
    TRACED(int, name, (int fd), (fd), ON_FD, , if (done == 0) {                                                  \
        char head[64];                                                                                           \
        put(head, snprintf(head, sizeof head, "S %lu\n", (unsigned long)found.st_ino));                          \
    })
ON_SYNC(fsync)
ON_SYNC(fdatasync)

TRACED(int, unlink, (const char *path), (path), is_ours(path), , )
TRACED(int, mkdir, (const char *path, mode_t mode), (path, mode), is_ours(path), , )
TRACED(int, rename, (const char *path, const char *new), (path, new), is_ours(path) || is_ours(new), , )
TRACED(int, link, (const char *path, const char *new), (path, new), is_ours(path) || is_ours(new), , )

#define ON_OPEN(name)                                                             \
    int name(const char *path, int flags, ...) {                                  \
        static int (*real)(const char *, int, ...);                               \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t mode = va_arg(rest, mode_t);                                       \
        va_end(rest);                                                             \
        if (!(flags & (O_CREAT | O_TRUNC)) || !is_ours(path)) return real(path, flags, mode); \
        enter();                                                                  \
        int done = real(path, flags, mode), kept = errno;                         \
        if (done >= 0) {                                                          \
            look_at_names();                                                      \
            if (flags & O_TRUNC) cut(done, 0);                                    \
        }                                                                         \
        errno = kept;                                                             \
        leave();                                                                  \
        return done;                                                              \
    }
ON_OPEN(open)
ON_OPEN(open64)

/* What copies between files without a write is written instead. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned int flags) {
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t length) {
    errno = EINVAL;
    return -1;
}
