/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * share_desk - carries what the nodes of a cluster tell each other of deployments (see
 * deployments_tell() and deployments_hear()), and holds or asks for the lease of the one that leads
 * (deploy/models/lease.h). The first worker's, and there only with `store: {type: redis}`.
 *
 * One script tells, hears and renews the lease in one round trip, ten times a second while
 * something happens, else twice; and at once when something is urgent, which the others are told
 * through a channel. In Redis:
 *
 *   <prefix>{fleet}:lease   "node token" of the leader; ends by itself LEASE_US after its last word
 *   <prefix>{fleet}:token   the largest token that was given
 *   <prefix>{fleet}:name    of the cluster: by this engines know whose containers and Pods are
 *   <prefix>{fleet}:at      sorted set: when each node has told, in microseconds of Redis' clock
 *   <prefix>{fleet}:of      hash: what
 *   <prefix>{fleet}:spent   what deployments have spent (deployments_spent()), by the leader, each
 *                           second; who leads next goes on from there
 *   channel <prefix>{fleet}
 *
 * One thread: the worker's, which owns it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct deployments;
struct share_desk;
struct worker;

/* NULL when there is no Redis. */
struct share_desk *share_desk_new(struct worker *worker);
/* There is a desk of deployments now, which outlives this or until share_desk_stop(). */
void share_desk_begin(struct share_desk *desk, struct deployments *deployments);
/* In the loop's thread: nothing more is told or heard. */
void share_desk_stop(struct share_desk *desk);
/* NULL is allowed. */
void share_desk_free(struct share_desk *desk);

/* We end: give the lease up, so that another need not wait for its end. In the loop's thread. */
void share_desk_resign(struct share_desk *desk);
/* The service has taken over what was ordered, as long as <token> is still ours: lead. <spent>:
 * what counts where Redis knows of nothing that was spent. False: it is not. In the loop's thread.
 */
bool share_desk_take_office(struct share_desk *desk, int64_t token, struct text spent);

/* There is something to be told at once; from within deployments' on_round(). */
void share_desk_ring(struct share_desk *desk);

/* Any thread: the token that waits for the service to have taken over what was ordered; 0 = none.
 */
int64_t share_desk_elected(void);
/* And the figures of this process. */
struct share_desk_figures {
    uint64_t told, heard, refused; /* records; refused: they could not be read */
};
struct share_desk_figures share_desk_figures(void);
