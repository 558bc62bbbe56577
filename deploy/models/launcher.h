/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launcher - starts and ends model servers on one node, and tells what becomes of them. One
 * `struct launcher_kind` for each way: process, docker, kubernetes (launcher.c lists them).
 *
 * One thread: the desk's (worker 0). Nothing here blocks; what a launcher has to say comes through
 * launcher_ears, from the loop, never from within the call that asked for it. A launcher knows
 * nothing of scaling, probing or rollouts.
 *
 * The life of a launch, as it is told: PULLING* → PLACING* → RUNNING → ENDED, or at any time LOST
 * (nobody can say: the engine's API is away) and back, or ENDED. After ENDED nothing more is told,
 * and whoever started it calls forget(). ENDED means: nothing of it runs any more.
 */

#include <stdbool.h>
#include <stdint.h>

#include "deploy/models/spec.h"
#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/wire/upstream.h"

enum { LAUNCH_WORDS_MAX = 240, LAUNCH_HOST_MAX = 256, LAUNCH_REASON_MAX = 40 };

enum launch_stage {
    LAUNCH_PULLING, /* its image comes; progress_permille where it is known */
    LAUNCH_PLACING, /* created, scheduled; not running yet: reason says why (unschedulable …) */
    LAUNCH_RUNNING, /* its program runs; address is set */
    LAUNCH_LOST,    /* nobody can say; what it last said may still be true */
    LAUNCH_ENDED,   /* it is over: exit_code or signal, oom, or an error before it ran */
};

struct launch_address {
    char host[LAUNCH_HOST_MAX]; /* or the path of a unix socket */
    uint16_t port;
    bool is_unix;
};

struct launch_report {
    enum launch_stage stage;
    int progress_permille; /* -1 = not known */
    struct launch_address address;
    int exit_code, signal; /* ENDED; exit_code -1 = it never ran, or was ended by a signal */
    bool oom;              /* it wanted more memory than it may have */
    bool is_final;         /* trying again cannot help: no such program, no such image … */
    char reason[LAUNCH_REASON_MAX]; /* one word: exit, signal, oom_killed, exec_failed,
                                       image_missing, pull_failed, unschedulable, quota, forbidden,
                                       name_taken, port_taken, api_unreachable, removed … */
    char words[LAUNCH_WORDS_MAX];   /* for people; no secrets */
    int64_t memory_bytes;           /* what it uses now, where known; else 0 */
};

/* Which replica: what a launcher writes where an adopter finds it again (pidfile, labels). */
struct launch_name {
    char deployment[SPEC_NAME_MAX + 1];
    char replica[24]; /* unique on this sluice */
    unsigned revision;
    uint64_t digest; /* the spec's */
};

struct launcher;
struct launch;

struct launcher_ears {
    void (*on_report)(void *with, struct launch *launch, const struct launch_report *report);
    /* A line of what it wrote; <error>: on its stderr. At most LAUNCH_LINE_MAX bytes. */
    void (*on_line)(void *with, struct launch *launch, bool error, struct text line);
    /* Found after a restart; to be taken over with adopt() or ended with stop(). */
    void (*on_found)(void *with, struct launcher *launcher, const struct launch_name *name,
                     struct launch *launch);
    /* All that was there at the start has been told. <reachable> false: it could not be looked at
     * yet. */
    void (*on_looked)(void *with, struct launcher *launcher, bool reachable);
    void *with;
};
enum { LAUNCH_LINE_MAX = 8192 };

struct launcher_site {
    struct loop *loop;
    struct upstreams *upstreams; /* for engines that are asked over HTTP */
    const char *state_dir;       /* for pidfiles, logs, sockets; owned by the caller */
    const char *owner;  /* of what is started here: one of each sluice that shares an engine */
    bool leave;         /* on_exit: leave - it must survive us */
    const char *keeper; /* program for log_keeper.h; NULL = none; owned by the caller */
    struct launcher_ears ears;
};

struct launcher_kind {
    enum launcher_word word;
    const char *name;
    /* NULL and *fault when it cannot be used at all (a bad endpoint). An engine that is away is no
     * fault: it is tried again, with back-off. Begins to look for what is left from before. */
    struct launcher *(*open)(const struct launcher_site *site, const struct node_spec *node,
                             struct fault *fault);
    /* Give up everything of its own; what runs goes on (with leave) or was ended before. */
    void (*close)(struct launcher *launcher);
    struct launch *(*start)(struct launcher *launcher, const struct launch_name *name,
                            struct deployment_spec *spec, void *owner);
    /* Ask it to end, and after <grace_us> make it end. More than once: the shorter grace counts. */
    void (*stop)(struct launch *launch, int64_t grace_us);
    /* After ENDED: remove what is left of it (container, pod, pidfile); <launch> is free. */
    void (*forget)(struct launch *launch);
    /* Of one that was found: from now on it is told about as if started here. */
    void (*adopt)(struct launch *launch, struct deployment_spec *spec, void *owner);
    /* As with on_exit: leave from now on, or as the site said. NULL: it makes no difference. */
    void (*leave)(struct launcher *launcher, bool leave);
    /* What the starter gave as <owner>. */
    void *(*owner)(const struct launch *launch);
    /* For so long it runs, in microseconds, whatever the wall clock says; -1 = it is not known.
     * NULL: it never is. */
    int64_t (*age_us)(const struct launch *launch);
};

extern const struct launcher_kind launch_process, launch_docker, launch_kubernetes;
/* NULL = there is none of that word. */
const struct launcher_kind *launcher_kind_of(enum launcher_word word);
