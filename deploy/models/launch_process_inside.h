/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* launch_process_inside - what the files of the launcher of processes share: launch_process.c (the
 * launcher, and what is asked of it) and launch_process_life.c (what becomes of a server). */

#include "deploy/models/launch_mark.h"
#include "deploy/models/log_tail.h"

/* FOUND → RUNNING → CLEARING → ENDED; FAILED when nothing could be started. */
enum life {
    LIFE_FOUND,    /* of an earlier sluice; nobody has taken it over */
    LIFE_RUNNING,  /* its leader runs */
    LIFE_CLEARING, /* its leader is gone; what it left behind is being ended */
    LIFE_ENDED,    /* told, or about to be */
};

struct launcher {
    struct launcher_site site;
    struct link launches;
    char node[SPEC_NAME_MAX + 1];
    int inotify;
    struct watch inotify_watch;
    int keeper; /* the pidfd of one that begins; -1 = none does */
    struct watch keeper_watch;
    struct timer look_timer; /* memory, each second */
    struct timer found_timer;
    uint64_t tidied_us;
    bool has_looked;
    struct grave grave;
};

struct launch {
    struct link link;
    struct launcher *launcher;
    struct deployment_spec *spec; /* NULL while only found */
    void *owner;
    struct launch_mark mark;
    enum life life;
    bool is_child; /* ours: how it ended is known */
    int pidfd;
    struct watch exit_watch;
    struct log_tail log;
    int log_watch; /* inotify's; -1 = none */
    struct timer tell_timer, log_timer, kill_timer, clear_timer;
    uint64_t began_us, clear_by_us, told_memory_us;
    uint64_t kill_at_us; /* 0 = not asked to end */
    bool was_killed;     /* by us, after its grace */
    bool has_oom;        /* by us, for its memory */
    bool port_taken;     /* it has said so */
    char last_line[160];
    struct launch_report report; /* the last that was told, or is about to be */
    struct grave grave;
};

/* What was found or started is watched from now on. False: it has ended meanwhile. */
bool server_watch(struct launch *launch);
/* Begin to read its log at byte <from>. */
void server_read_log(struct launch *launch, uint64_t from);
/* Tell what <launch->report> says, soon, from the loop. */
void server_tell(struct launch *launch);
/* Nothing was started: tell why. */
void server_fail(struct launch *launch, bool is_final, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A signal to all that it consists of. */
void server_signal(const struct launch *launch, int number);
void server_look(struct launcher *launcher);
void server_log_changed(struct launcher *launcher);
/* Stop watching and free it; what runs goes on. */
void server_free(struct launch *launch);
/* Set up the timers of a new one. */
void server_init(struct launch *launch, struct launcher *launcher, const struct launch_name *name);
