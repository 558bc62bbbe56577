/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * supervisor - the pid that users see: opens the listening sockets once, and keeps a service
 * process (service.h) running on them.
 *
 * A service that dies is replaced at once on the same sockets, so that no connection is refused
 * meanwhile (crashing again and again: after 10 ms, doubled up to 1 s). Signals: TERM and QUIT
 * drain, INT drains without delay, a second one of these stops at once, HUP reloads, USR1 reopens
 * the log, USR2 upgrades in place (supervisor_upgrade.c). When the supervisor itself is killed, the
 * kernel ends the service too. Speaks systemd's notification protocol (sd_notify(3)) and takes
 * sockets from it (sd_listen_fds(3)).
 */

#include "gateway/config/config.h"

struct handoff;

struct supervisor_options {
    struct config *config;             /* checked; a reference is taken */
    const struct config_options *load; /* how it was loaded: a reload does the same */
    void (*on_ready)(const struct config *config, uint64_t took_us); /* NULL, or the banner */
    uint64_t started_us;                                             /* monotonic */
    struct handoff *handoff; /* NULL, or: it goes on for one of another version, whose pid it has;
                                then <config> may be NULL */
};

/* Before the configuration is read: from now on HUP, USR1 and USR2, which would end the process,
 * wait until it runs. */
void supervisor_hold_signals(void);

/* Run until drained; returns the exit code. */
int supervisor_run(const struct supervisor_options *options);
