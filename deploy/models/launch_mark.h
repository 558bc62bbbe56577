/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launch_mark - what is written down of a server that runs as a process, so that the next sluice
 * finds it again: STATE/deployments/<deployment>/<replica>.run, small lines of text, replaced as a
 * whole. A pid alone says nothing: it counts together with the time at which that process began and
 * the boot of the machine.
 *
 * And the mark in a server's environment, SLUICE_LAUNCH, by which what was started and not written
 * down (we died in between), or what a server has left behind, is found and ended.
 */

#include <stdint.h>
#include <sys/types.h>

#include "deploy/models/launch_cage.h"
#include "deploy/models/launcher.h"

enum { MARK_PATH_MAX = 1024, MARK_WORD_MAX = 512 };

struct launch_mark {
    struct launch_name name;
    char node[SPEC_NAME_MAX + 1];
    pid_t pid;
    uint64_t began_ticks; /* after the boot: proc(5), stat, starttime */
    struct launch_address address;
    struct cage cage;
};

/* "<state>/deployments/<deployment>/<replica><ending>"; false when that is too long, or a name is
 * none that can be part of a path. */
bool mark_path(char *into, const char *state, const struct launch_name *name, const char *ending);
/* Make the folders of it. False with errno. */
bool mark_make_folder(const char *state, const struct launch_name *name);

/* False with errno. */
bool mark_write(const char *state, const struct launch_mark *mark);
/* Each that can be read; one that cannot is removed. <each> may remove its file. */
void mark_each(const char *state, void (*each)(void *with, const struct launch_mark *mark),
               void *with);
/* The same, and nothing is removed: one that cannot be read may be a newer sluice's. */
void mark_look(const char *state, void (*each)(void *with, const struct launch_mark *mark),
               void *with);
void mark_remove(const char *state, const struct launch_name *name);

/* When the process began, in ticks; 0 = there is none, or it is a zombie. */
uint64_t process_began(pid_t pid);
/* Is the process that was written down still the one with that pid? */
bool mark_is_alive(const struct launch_mark *mark);

/* How long ago it began, in microseconds; -1 = it is not known. */
int64_t mark_age_us(const struct launch_mark *mark);
/* Since the boot of this machine, in microseconds, and which boot that was: a word without spaces,
 * empty where it is not known. */
enum { BOOT_WORD_MAX = 40 };
int64_t mark_boot(char boot[BOOT_WORD_MAX]);

/* NAME=value for the environment of a server. */
void mark_word(char into[MARK_WORD_MAX], const char *state, const char *owner,
               const struct launch_name *name);
/* Kill every process whose environment says that it was started here, for a deployment's replica
 * that <is_known> does not know. Returns how many. */
unsigned mark_sweep(const char *state, const char *owner,
                    bool (*is_known)(void *with, struct text deployment, struct text replica),
                    void *with);
/* Remove logs whose servers are gone and that nobody has written to for a day. */
void mark_tidy(const char *state);
