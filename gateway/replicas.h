/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * replicas - one worker's connections to the replicas of deployments: a pool for each, made when a
 * call first goes there and given up when its slot is closed. Inside gateway; one thread.
 */

#include "deploy/models/deployment.h"
#include "gateway/base/list.h"
#include "gateway/wire/upstream.h"

struct provider_settings;

enum { REPLICA_BUCKETS = 64 };

struct replicas {
    struct upstreams *upstreams;
    struct link buckets[REPLICA_BUCKETS];
};

void replicas_init(struct replicas *replicas, struct upstreams *upstreams);
/* The connections to the replica that <slot> is a place of; borrowed, good until the loop is back.
 * NULL: it has been closed. */
struct upstream_pool *replicas_pool(struct replicas *replicas, struct slots *slots,
                                    const struct slot *slot,
                                    const struct provider_settings *provider);
/* Give up those that were closed; once a second. */
void replicas_sweep(struct replicas *replicas);
void replicas_done(struct replicas *replicas);
