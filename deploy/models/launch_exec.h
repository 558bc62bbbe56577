/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launch_exec - starts a program from a program with threads: clone(2) with the parent's memory and
 * the caller waiting (as posix_spawn does), so that it costs the same however large we are, and
 * what goes wrong up to execve(2) is known at once.
 *
 * The child is the leader of a session and a process group of its own, has no signals blocked or
 * ignored, no descriptors of ours, no core files, and is the kernel's first choice when the machine
 * runs out of memory.
 */

#include <stdbool.h>
#include <sys/types.h>

struct exec_order {
    const char *path; /* of the program; no search */
    char *const *arguments, *const *environment;
    int output;         /* its stdout and stderr; its stdin is /dev/null */
    int members;        /* cgroup.procs of the group it is put into, or -1 */
    const char *folder; /* its working directory; NULL = ours */
};

struct exec_started {
    pid_t pid;
    int pidfd;        /* readable when it has ended; close-on-exec */
    int error;        /* errno of what failed */
    const char *what; /* failed: "start", "join its group", … static */
};

/* False: nothing runs. */
bool exec_start(const struct exec_order *order, struct exec_started *started);
/* Where <name> is found: itself when it has a slash in it, else in <path> (a list as in $PATH).
 * False with an errno: ENOENT, EACCES, ENAMETOOLONG. */
bool exec_find(const char *name, const char *path, char *into, size_t size, int *error);
