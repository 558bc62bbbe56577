/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sockets - the listening sockets of a configuration, opened once by the supervisor and inherited
 * by every service process.
 *
 * TCP: one socket for each worker (SO_REUSEPORT), so that the kernel spreads connections. Unix
 * sockets and those from systemd: one, which all workers share.
 */

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/fault.h"
#include "gateway/config/config.h"

struct sockets {
    size_t listeners, workers;
    int *fds; /* [worker * listeners + listener] */
    int admin;
    char **paths; /* of unix sockets, to be unlinked; the admin socket's is the last */
    size_t path_count;
};

/* Open all, or none and say why (which address, and what to do). */
bool sockets_open(struct sockets *sockets, const struct config *config, struct fault *why);
/* Close the clients' descriptors of such a table, shared ones once. The service does so with its
 * own copies. */
void sockets_close_fds(const int *fds, size_t listeners, size_t workers);
/* Stop listening for clients; the admin socket stays. */
void sockets_close_clients(struct sockets *sockets);
/* Close all, remove the files, free. */
void sockets_close(struct sockets *sockets);
