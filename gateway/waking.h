/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * waking - a call whose target is a deployment takes a place on one of its replicas, or waits for
 * one while the deployment wakes, or is full. Inside gateway.
 *
 * What a try holds is given back exactly once, by waking_give(), whatever becomes of it. A call
 * that waits holds its reservation, and nothing of the ledger: it has not been sent.
 */

#include <stdbool.h>
#include <stdint.h>

#include "deploy/models/deployment.h"
#include "gateway/base/fault.h"

struct exchange;

/* Of an exchange of which a target is a deployment, in its arena; all zero = nothing is held and
 * nobody waits. */
struct waking {
    struct exchange *exchange;
    struct slots *slots; /* of <slot> and <ticket> */
    struct slot slot;
    struct ticket ticket;
    bool waits, answered; /* with the ticket; it was told something */
    uint64_t since_us;    /* waits since; until_us: no longer */
    uint64_t until_us;
    unsigned revision;   /* the only one that will do; 0 = any */
    uint64_t not_this;   /* the replica that has just failed it */
    unsigned turns;      /* targets that were left since they had no place */
    struct fault why;    /* the last one's reason */
    unsigned lora;       /* the number of the adapter, from 1, where it goes by numbers */
    struct text loading; /* for the refusal: a JSON object; or empty */
    int64_t retry_after_us;
};

/* Only replicas of <revision> will do; 0 = any. */
void waking_pin(struct exchange *x, unsigned revision);
/* How many targets were left since they had no place; the adapter's number, from 1, where it goes
 * by numbers, else 0; what is said of one that is not ready, a JSON object, or empty. */
unsigned waking_turns(const struct exchange *x);
unsigned waking_lora(const struct exchange *x);
struct text waking_loading(const struct exchange *x);

/* A place that a try holds, for who sets the try aside. */
struct held_place {
    struct slots *slots;
    struct slot slot;
};
struct held_place waking_take_out(struct exchange *x);
void waking_put_back(struct exchange *x, struct held_place place);
/* <ttft_us> 0 = not known. */
void held_place_give(struct held_place *place, enum fault_kind outcome, int64_t ttft_us);

/* The try has ended with <outcome>: give its place back, if it has one. */
void waking_give(struct exchange *x, enum fault_kind outcome);
/* Is there another replica that could be asked at once, since this one has failed? */
bool waking_has_other(const struct exchange *x);
/* The exchange ends: nobody waits any more. */
void waking_forget(struct exchange *x);

/* The connections to the replica that is held; NULL = it is closed. */
struct upstream_pool;
struct upstream_pool *waking_pool(struct exchange *x);
