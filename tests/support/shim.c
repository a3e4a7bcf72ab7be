/* Between the real binary and the kernel: kills the process at its nth call on files below a directory, has the nth call
   fail, has calls on matching files fail for as long as a trigger file is there, has all calls wait for as long, or has a
   thread stand still at its next look at the clock for as long, and for everybody else more than a minute pass at once.
   Loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long calls, since_armed;
static unsigned long armed;

static int stands_still(const char *trigger) {
    struct stat found;
    int kept = errno, there = stat(trigger, &found) == 0;
    errno = kept;
    return there;
}

static void count(const char *path) {
    const char *under = getenv("SHIM_UNDER"), *at = getenv("SHIM_KILL_AT"), *stall = getenv("SHIM_STALL");
    if (!under || !path || strncmp(path, under, strlen(under)) != 0) return;
    /* What was under way when the disk began to stand still ends with it. */
    while (stall && stands_still(stall)) usleep(500);
    if (!at) return;
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == atol(at)) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

static int fails(const char *path) {
    const char *match = getenv("SHIM_MATCH"), *trigger = getenv("SHIM_TRIGGER"), *error = getenv("SHIM_ERRNO");
    struct stat found;
    if (!match || !trigger || !error || !path || !strstr(path, match) || stat(trigger, &found) != 0) return 0;
    errno = atoi(error);
    return 1;
}

/* SHIM_ARM names a file of three words: which call below SHIM_UNDER fails, with which errno, and how: "once", "on" (all
   that come after it, too), or "short" (it writes half, and the next one fails). Calls are counted anew from each such
   file on; that one failed is told by a file beside it. Answers 1 for a failure and 2 for half of it. */
static int injected(const char *path) {
    const char *under = getenv("SHIM_UNDER"), *arm = getenv("SHIM_ARM");
    char line[64], how[16], told[PATH_MAX];
    struct stat found;
    long at, number;
    int error, kept = errno, fd, length;
    if (!under || !arm || !path || strncmp(path, under, strlen(under)) != 0) return 0;
    fd = syscall(SYS_openat, AT_FDCWD, arm, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        errno = kept;
        return 0;
    }
    length = syscall(SYS_read, fd, line, sizeof line - 1);
    fstat(fd, &found);
    syscall(SYS_close, fd);
    errno = kept;
    line[length < 0 ? 0 : length] = 0;
    if (sscanf(line, "%ld %d %15s", &at, &error, how) != 3) return 0;
    unsigned long which = found.st_ino ^ found.st_mtim.tv_nsec ^ found.st_mtim.tv_sec;
    if (__atomic_exchange_n(&armed, which, __ATOMIC_SEQ_CST) != which)
        __atomic_store_n(&since_armed, 0, __ATOMIC_SEQ_CST);
    number = __atomic_add_fetch(&since_armed, 1, __ATOMIC_SEQ_CST);
    int is_short = strcmp(how, "short") == 0, goes_on = strcmp(how, "on") == 0;
    if (number < at || (number > at + is_short && !goes_on)) return 0;
    snprintf(told, sizeof told, "%s.told", arm);
    fd = syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) syscall(SYS_close, fd);
    errno = error;
    return is_short && number == at ? 2 : 1;
}

static const char *path_of(int fd, char *into) {
    char link[64];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, into, PATH_MAX - 1);
    errno = kept;
    if (length < 0) return 0;
    into[length] = 0;
    return into;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FD(name, failure, parameters, ...)              \
    failure name parameters {                              \
        static __typeof__(&name) real;                     \
        char path[PATH_MAX];                               \
        if (!real) real = REAL(name);                      \
        const char *found = path_of(fd, path);             \
        count(found);                                      \
        if (fails(found) || injected(found)) return -1;    \
        return real(__VA_ARGS__);                          \
    }

#define ON_WRITE(name, parameters, ...)                    \
    ssize_t name parameters {                              \
        static __typeof__(&name) real;                     \
        char path[PATH_MAX];                               \
        if (!real) real = REAL(name);                      \
        const char *found = path_of(fd, path);             \
        count(found);                                      \
        int how = fails(found) ? 1 : injected(found);      \
        if (how == 1) return -1;                           \
        if (how == 2 && length > 1) length /= 2;           \
        return real(__VA_ARGS__);                          \
    }

ON_WRITE(write, (int fd, const void *bytes, size_t length), fd, bytes, length)
ON_WRITE(pwrite, (int fd, const void *bytes, size_t length, off_t at), fd, bytes, length, at)
ON_WRITE(pwrite64, (int fd, const void *bytes, size_t length, off64_t at), fd, bytes, length, at)
ON_FD(fsync, int, (int fd), fd)
ON_FD(fdatasync, int, (int fd), fd)
ON_FD(ftruncate, int, (int fd, off_t length), fd, length)
ON_FD(ftruncate64, int, (int fd, off64_t length), fd, length)
ON_FD(fchown, int, (int fd, uid_t user, gid_t group), fd, user, group)

#define ON_PATH(name, parameters, ...)                     \
    int name parameters {                                  \
        static __typeof__(&name) real;                     \
        if (!real) real = REAL(name);                      \
        count(path);                                       \
        if (injected(path)) return -1;                     \
        return real(__VA_ARGS__);                          \
    }

ON_PATH(unlink, (const char *path), path)
ON_PATH(rename, (const char *path, const char *to), path, to)
ON_PATH(chown, (const char *path, uid_t user, gid_t group), path, user, group)

#define ON_OPEN(name)                                      \
    int name(const char *path, int flags, ...) {           \
        static int (*real)(const char *, int, ...);        \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode_t mode = va_arg(rest, mode_t);                \
        va_end(rest);                                      \
        if (flags & O_CREAT) {                             \
            count(path);                                   \
            if (fails(path) || injected(path)) return -1;  \
        }                                                  \
        return real(path, flags, mode);                    \
    }

ON_OPEN(open)
ON_OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    /* Time that has passed stays so. */
    static int passed;
    const char *thread = getenv("SHIM_STUCK_THREAD"), *trigger = getenv("SHIM_STUCK_TRIGGER");
    char own[16] = "";
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!thread || !trigger || clock != CLOCK_MONOTONIC) return real(clock, at);
    pthread_getname_np(pthread_self(), own, sizeof own);
    while (strcmp(own, thread) == 0 && stands_still(trigger)) usleep(10000);
    int told = real(clock, at);
    if (stands_still(trigger)) __atomic_store_n(&passed, 61, __ATOMIC_SEQ_CST);
    at->tv_sec += __atomic_load_n(&passed, __ATOMIC_SEQ_CST);
    return told;
}
