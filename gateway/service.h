/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * service - the process that serves: workers, ledger, metrics, reload, drain.
 *
 * The child of the supervisor (supervisor.h), which owns the listening sockets and tells it what
 * the user wants through <channel>. Its main thread does what is slow and rare; its watchdog
 * aborts the process when a worker is stuck in one round of its loop.
 */

#include <stdbool.h>

#include "gateway/config/config.h"
#include "gateway/worker.h"

struct service_options {
    struct config *config; /* in force at first; a reference is taken */
    const struct config_options *load;
    /* listener_fds[worker * config->listener_count + listener] */
    const int *listener_fds;
    int admin_fd; /* the admin socket, or -1 */
    int underway; /* calls with an Idempotency-Key of all services (policy/underway.h), or -1 */
    int channel;  /* to the supervisor: SOCK_SEQPACKET, see enum channel_word; -1 = none */
    /* Another service runs, and this one is to take over from it (service_upgrade.c). */
    bool follows;
    int link; /* to that one */
};

/* What is said on the channel: one byte, perhaps followed by words for people. */
enum channel_word {
    /* from the supervisor */
    SAY_RELOAD = 'r',
    SAY_DRAIN = 'd',     /* with shutdown.drain_delay */
    SAY_DRAIN_NOW = 'n', /* without it */
    SAY_STOP = 's',      /* at once */
    SAY_REOPEN = 'o',    /* log files */
    /* an upgrade: to the old service */
    SAY_PREPARE = 'p',   /* another is to take over: come to where that is possible */
    SAY_HAND_OVER = 'h', /* let nobody in any more, give limits away; with a descriptor */
    SAY_RESUME = 'u',    /* it has come to nothing: all as it was */
    SAY_LEAVE = 'l',     /* the other serves: end when the calls that run have ended */
    /* and to the new one */
    SAY_TAKE = 't',   /* the old one has handed over */
    SAY_ACCEPT = 'a', /* let clients in */
    /* from the service */
    SAY_READY = 'R',
    SAY_RELOADED = 'L', /* the file was good and is in force */
    SAY_KEPT = 'K',     /* the file was bad; the old one stays */
    SAY_DRAINING = 'D', /* it will exit with 0 when it is done; do not start another */
    SAY_CLOSED = 'C',   /* no listener is needed any more */
    SAY_BEAT = 'B',     /* it is alive, once a second */
    /* an upgrade: the old service */
    SAY_PREPARED = 'P',
    SAY_HANDED = 'H',
    SAY_UNABLE = 'U', /* and why; the new one says so, too, and ends */
    /* the new one */
    SAY_WARM = 'W', /* all is there but for what the old one has; with its version, and a
                       descriptor of its program */
};

/* Serve until drained or told to stop; returns the exit code of the process. */
int service_run(const struct service_options *options);

/* --------------------------------------------------- for admin and health, any thread */

struct service;

bool service_is_draining(const struct service *service);
/* Begin to drain, as on TERM; a second call changes nothing. */
void service_drain(struct service *service);
