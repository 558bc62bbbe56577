/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * handoff - what the supervisor hands to a program that it starts for an upgrade: descriptors that
 * stay open over exec(), and what they are. Text, one fact a line, in a file without a name whose
 * number stands in $SLUICE_HANDOFF.
 *
 * The two may be of different versions: a fact that is not known is passed over, and HANDOFF_FORMAT
 * is counted up when one must be understood.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "gateway/base/fault.h"
#include "gateway/config/config.h"
#include "gateway/sockets.h"

enum { HANDOFF_FORMAT = 1 };

struct handoff {
    bool to_supervisor; /* it is the supervisor itself, begun anew; else a service to come */
    int lock;           /* of the state directory */
    int underway;       /* calls with an Idempotency-Key (policy/underway.h); -1 = none */
    struct sockets sockets;
    char **addresses; /* of sockets.listeners, as the configuration has them */
    /* A service to come: to the supervisor, and to the service that is there. */
    int channel, link;
    /* The supervisor: its service, and one that still ends (0 = none). */
    pid_t child, elder;
    int child_channel, elder_channel;
    uint64_t elder_until_us; /* it is killed then (monotonic); 0 = not said */
    /* What has to be the same in both configurations. */
    char *state, *database, *ledger_path, *admin_socket;
};

/* Where such a file is for this process to read; NULL: it was started like any other. Takes it out
 * of the environment; all descriptors are close-on-exec then. Exits when it cannot be understood:
 * *fault. */
bool handoff_is_there(void);
struct handoff *handoff_read(struct fault *fault);
void handoff_free(struct handoff *handoff);

/* Write it down, for a program that is about to be executed by this process: puts it into the
 * environment, and lets the descriptors that are named in it stay open. False and errno. */
bool handoff_write(const struct handoff *handoff);
/* It was not executed: all as it was. */
void handoff_forget(const struct handoff *handoff);

/* Can <config> go on with what is handed over? False: <fault> names what differs. */
bool handoff_suits(const struct handoff *handoff, const struct config *config, struct fault *fault);
