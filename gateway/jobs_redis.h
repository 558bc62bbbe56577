/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * jobs_redis - jobs in Redis: one queue for all replicas. For jobs_redis*.c only.
 *
 * All keys begin with PREFIX{jobs}: and so lie in one slot. Times are microseconds of Redis' clock.
 *
 *   j:ID          hash: what is known of a job, its spec, its result
 *   w:C:TENANT    those that wait, by when they are due (C: 0 = calls, 1 = commands)
 *   ring:C        tenants with one that waits, by when they had their last turn
 *   rest          hash: until when a tenant's jobs are left alone
 *   run           those that run, by the end of their lease
 *   running       hash C:TENANT: how many run
 *   exp           those that wait, by when they expire
 *   ended         those that have ended, by when
 *   tell          those whose end a webhook has not heard of yet, by when another replica than the
 *                 one that tells it now may: ten seconds after that one's last sign
 *   all, t:TENANT "ID TENANT" by when they were made
 *   n             hash: waiting, bytes, turn
 *   link_key      of all replicas' links
 *
 * Who runs a job holds its lease, and with it the number of its start (`starts`) as a fence: what
 * is told of a job with another number is not taken. Changes are published on PREFIX{jobs}:news: an
 * id,
 * "!" and an id for one that is to be cancelled, or "+" for a new one.
 */

#include "gateway/wire/redis.h"

enum jobs_script {
    SCRIPT_SUBMIT,
    SCRIPT_CLAIM,
    SCRIPT_RENEW,
    SCRIPT_END,
    SCRIPT_AGAIN,
    SCRIPT_CANCEL,
    SCRIPT_LOOK,
    SCRIPT_LIST,
    SCRIPT_SWEEP,
    SCRIPT_TELL,
    SCRIPT_TOLD,
    SCRIPTS
};

/* KEYS[1] of each is PREFIX{jobs}:n, and ARGV[1] is PREFIX{jobs}: */
void jobs_scripts_init(struct redis_script scripts[SCRIPTS]);

/* The fields that answers give, in this order, behind the id. */
enum {
    FIELD_TENANT,
    FIELD_KEY,
    FIELD_MODEL,
    FIELD_KIND,
    FIELD_STATE,
    FIELD_CREATED,
    FIELD_DUE,
    FIELD_STARTED,
    FIELD_ENDED,
    FIELD_EXPIRES,
    FIELD_COST,
    FIELD_ATTEMPTS,
    FIELD_STARTS,
    FIELD_STATUS,
    FIELD_REQUEST,
    FIELD_ERROR,
    FIELD_ERROR_TYPE,
    FIELD_DIGEST,
    FIELD_CANCEL,
    FIELD_HOOK, /* the URL */
    FIELDS
};
