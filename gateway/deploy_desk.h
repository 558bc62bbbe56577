/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * deploy_desk - what worker 0 has of deployments: the desk that runs them (deploy/models), put in
 * force with each configuration, and what of it is told to the rest of the gateway. Inside gateway.
 *
 * On worker 0's thread, but for those that say otherwise.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct config;
struct deploy_desk;
struct deployments;
struct worker;

/* Begin; in front of the loop. What an earlier process has left running is found again.
 * <verdicts>: as deployments_verdicts() said it there; not needed later. */
struct deploy_desk *deploy_desk_new(struct worker *worker, struct config *config,
                                    struct text verdicts);
void deploy_desk_configure(struct deploy_desk *desk, struct config *config);
void deploy_desk_free(struct deploy_desk *desk);

/* End what runs, or leave it as deployments.on_exit says; any thread but the loop's. Returns when
 * all is over, at the latest after <wait_us>. */
void deploy_desk_end(struct deploy_desk *desk, int64_t wait_us);
/* Another process looks after all that runs: nothing is started, ended or moved here any more, and
 * what runs goes on when this one ends. Or not (<handed> false). While the loop stands still; NULL
 * is no desk. */
void deploy_desk_hand_over(struct deploy_desk *desk, bool handed);
/* How long an orderly end may take. */
int64_t deploy_desk_patience_us(const struct config *config);

/* Let <run> work with the desk on its thread, and wait for it, behind a configuration that was
 * given to that thread before; any thread but that of a loop. False: there is no desk. */
bool deploy_desk_ask(struct deploy_desk *desk, void (*run)(struct deployments *desk, void *with),
                     void *with);

/* The lease is ours with <token>, and this is what was ordered and judged, and spent as far as this
 * node has kept it: lead. Not from that of a loop. */
struct made_order;
struct deploy_office {
    const struct made_order *orders;
    size_t count;
    int64_t token;
    struct text spent, verdicts;
};
void deploy_desk_take_office(struct deploy_desk *desk, const struct deploy_office *office);

/* Verdicts could not be kept: ask for it again soon. Any thread. */
void deploy_desk_keep_again(struct deploy_desk *desk);

/* Lines for metrics: what the nodes have, and what is taken; at most a second old. Any thread. */
struct buffer;
void deploy_desk_put_budget(struct deploy_desk *desk, struct buffer *out);

/* The clock that it goes by. */
uint64_t deploy_desk_now(void);

/* The desk itself; NULL as long as there was no deployment. Any thread, for what deployment.h says
 * is for any thread. */
struct deployments *deploy_desk_open(struct deploy_desk *desk);
