/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launch_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/text.h"

enum {
    STACK_BYTES = 64 * 1024,
    SIGNALS = 64,
    SIGNAL_SET_BYTES = SIGNALS / 8, /* the kernel's */
    FIRST_FD = 3,
    FD_CEILING = 65536, /* where close_range(2) is not known */
    CLOEXEC_RANGE = 4,  /* CLOSE_RANGE_CLOEXEC */
    OOM_SCORE_BYTES = 3,
};

/* ThreadSanitizer takes every clone() for a fork, and its child wipes what it knows of threads -
 * here the parent's, whose memory it is. The C library's own name for it is not intercepted. */
#ifdef __has_feature
#define HAS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER 1
#else
#define HAS_THREAD_SANITIZER 0
#endif
#if HAS_THREAD_SANITIZER
int __clone(int (*run)(void *), void *stack, int flags, void *with, ...);
#define clone __clone
#endif

/* What the child is given, prepared before it lives: it shares our memory and must not allocate,
 * lock, or touch what belongs to the C library. */
struct child {
    const struct exec_order *order;
    int input, output;
    volatile int error;
    const char *volatile what;
};

/* Only bare system calls from here on, and no instrumentation: the stack is not the one that a
 * sanitizer knows, and the thread's own state is the parent's. */
#define BARE __attribute__((no_sanitize("address", "thread", "undefined")))

BARE static long fail(struct child *child, const char *what)
{
    child->error = errno;
    child->what = what;
    return syscall(SYS_exit_group, 127);
}

BARE static void reset_signals(void)
{
    /* The kernel's struct sigaction, all zero: SIG_DFL, no flags, nothing masked. */
    static const unsigned long by_default[8];
    static const unsigned long nothing[2];
    for (int i = 1; i <= SIGNALS; i++)
        syscall(SYS_rt_sigaction, i, by_default, NULL, SIGNAL_SET_BYTES);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, SIGNAL_SET_BYTES);
}

BARE static void close_the_rest(void)
{
    if (syscall(SYS_close_range, FIRST_FD, ~0U, CLOEXEC_RANGE) == 0)
        return;
    for (int fd = FIRST_FD; fd < FD_CEILING; fd++)
        syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* When memory is short, models go before the gateway does. */
BARE static void offer_to_the_kernel(void)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    syscall(SYS_write, fd, "500", OOM_SCORE_BYTES);
    syscall(SYS_close, fd);
}

BARE static int be_born(void *with)
{
    struct child *child = with;
    static const struct rlimit none = {0, 0};
    syscall(SYS_setsid);
    if (child->order->members >= 0 && syscall(SYS_write, child->order->members, "0", 1) < 0)
        fail(child, "join its group for memory");
    if (syscall(SYS_dup3, child->input, 0, 0) < 0 || syscall(SYS_dup3, child->output, 1, 0) < 0 ||
        syscall(SYS_dup3, child->output, 2, 0) < 0)
        fail(child, "give it its log");
    close_the_rest();
    syscall(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
    offer_to_the_kernel();
    if (child->order->folder && syscall(SYS_chdir, child->order->folder) != 0)
        fail(child, "enter its folder");
    reset_signals();
    syscall(SYS_execve, child->order->path, child->order->arguments, child->order->environment);
    fail(child, "start it");
    return 0;
}

/* Descriptors that are given away must not lie where they will be put. */
static int lifted(int fd)
{
    return fd < 0 || fd >= FIRST_FD ? fd : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
}

static void give_birth(struct child *child, void *stack, struct exec_started *started)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int pidfd = -1;
    pid_t pid = clone(be_born, (char *)stack + STACK_BYTES,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, child, &pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        started->error = error;
        started->what = "start it";
        return;
    }
    if (child->error != 0) {
        siginfo_t dead;
        waitid(P_PID, (id_t)pid, &dead, WEXITED);
        close(pidfd);
        started->error = child->error;
        started->what = child->what;
        return;
    }
    started->pid = pid;
    started->pidfd = pidfd;
}

bool exec_start(const struct exec_order *order, struct exec_started *started)
{
    *started = (struct exec_started){.pidfd = -1};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct child child = {.order = order, .input = lifted(null), .output = lifted(order->output)};
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (child.input < 0 || child.output < 0 || stack == MAP_FAILED) {
        started->error = errno;
        started->what = "start it";
    } else {
        give_birth(&child, stack, started);
    }
    if (stack != MAP_FAILED)
        munmap(stack, STACK_BYTES);
    if (child.input >= 0 && child.input != null)
        close(child.input);
    if (child.output >= 0 && child.output != order->output)
        close(child.output);
    if (null >= 0)
        close(null);
    return started->error == 0;
}

static bool is_program(const char *path, int *error)
{
    struct stat file;
    if (stat(path, &file) != 0)
        *error = errno == ENOENT || errno == ENOTDIR ? *error : errno;
    else if (!S_ISREG(file.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
        *error = EACCES;
    else
        return true;
    return false;
}

bool exec_find(const char *name, const char *path, char *into, size_t size, int *error)
{
    *error = ENOENT;
    if (*name == 0)
        return false;
    if (strchr(name, '/')) {
        bool fits = (size_t)snprintf(into, size, "%s", name) < size;
        if (!fits)
            *error = ENAMETOOLONG;
        return fits && is_program(into, error);
    }
    struct text rest = text_of(path), folder;
    while (text_next(&rest, ':', &folder)) {
        if (folder.len == 0)
            continue; /* the current folder is no place to look for programs */
        if ((size_t)snprintf(into, size, "%.*s/%s", TEXT_ARGS(folder), name) >= size)
            *error = ENAMETOOLONG;
        else if (is_program(into, error))
            return true;
    }
    return false;
}
