/* Between the real binary and the kernel: kills the process at its nth call on files below a directory, has calls on
   matching files fail for as long as a trigger file is there, or has a thread stand still at its next look at the clock
   for as long, and for everybody else more than a minute pass at once. Loaded by LD_PRELOAD. */
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
#include <time.h>
#include <unistd.h>

static long calls;

static void count(const char *path) {
    const char *under = getenv("SHIM_UNDER"), *at = getenv("SHIM_KILL_AT");
    if (!under || !at || !path || strncmp(path, under, strlen(under)) != 0) return;
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
        if (fails(found)) return -1;                       \
        return real(__VA_ARGS__);                          \
    }

ON_FD(write, ssize_t, (int fd, const void *bytes, size_t length), fd, bytes, length)
ON_FD(pwrite, ssize_t, (int fd, const void *bytes, size_t length, off_t at), fd, bytes, length, at)
ON_FD(pwrite64, ssize_t, (int fd, const void *bytes, size_t length, off64_t at), fd, bytes, length, at)
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
            if (fails(path)) return -1;                    \
        }                                                  \
        return real(path, flags, mode);                    \
    }

ON_OPEN(open)
ON_OPEN(open64)

static int stands_still(const char *trigger) {
    struct stat found;
    int kept = errno, there = stat(trigger, &found) == 0;
    errno = kept;
    return there;
}

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
