/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launch_cage - a cgroup for one server: what it may use of memory, who belongs to it whatever it
 * does, and whether the kernel ended it for want of memory. Version 1 ("memory") and 2 (where our
 * own group is delegated to us); where neither may be written there is no cage, and memory is
 * watched by /proc. cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CAGE_PATH_MAX = 512, CAGE_PIDS_MAX = 1024 };

struct cage {
    char path[CAGE_PATH_MAX]; /* empty = there is none */
};

/* Make one named <name> below our own group; <limit> bytes, 0 = no limit. False: there is none. */
bool cage_make(struct cage *cage, const char *name, int64_t limit);
/* To be written to by who wants to be in it; -1 = none. Close it. */
int cage_door(const struct cage *cage);
/* Who is in it; at most <max>. */
size_t cage_pids(const struct cage *cage, pid_t *pids, size_t max);
/* How often the kernel has ended somebody in it for want of memory. */
unsigned cage_oom_kills(const struct cage *cage);
/* Kill everybody in it. */
void cage_kill(const struct cage *cage);
/* True when it is gone (or never was); false while somebody is in it. */
bool cage_remove(struct cage *cage);

/* What a process uses: resident bytes, and of these its own, not files'. 0 when it is gone. */
struct footprint {
    int64_t resident, own;
};
struct footprint footprint_of(pid_t pid);
/* Of the sessions <leaders>[0..count), each with all who are in it: one walk through /proc. */
void footprint_of_sessions(const pid_t *leaders, struct footprint *footprints, size_t count);
