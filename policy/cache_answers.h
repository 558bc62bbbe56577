/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_answers - what was answered under an Idempotency-Key, in a small database beside the
 * ledger, so that a restart forgets none of it. One helper thread does the reading and writing.
 *
 * What is to be kept is written within milliseconds, not before the client has its answer: when we
 * die in between, who tries again with the same key is served anew, as after a death during the
 * call. It survives our death, not every loss of power (as `ledger.sync: os`).
 */

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/hash.h"
#include "gateway/base/loop.h"
#include "policy/cache_helper.h"

struct answers;

/* One thing to find. The caller's until answers_find() has taken it, and again when its errand
 * runs. */
struct answer_search {
    struct task task; /* the owner is set by the caller */
    struct answers *answers;
    struct errand errand; /* its run is set by the caller */
    struct loop *loop;
    struct digest name;
    bool found, failed;
    struct buffer record; /* initialised by the caller, who frees it */
    int64_t expires_us;   /* wall clock */
};

/* <max_bytes> of records; beyond it the oldest go early. NULL and *fault on failure: its kind is
 * that of database_open() and database_upgrade(). */
struct answers *answers_open(const char *path, size_t max_bytes, struct fault *fault);
/* What is to be kept is written first. Searches must have been cancelled. NULL is nobody. */
void answers_close(struct answers *answers);

/* Look <search->name> up; its errand is posted. False, and nothing happens, when too much is
 * waiting. Any thread. */
bool answers_find(struct answers *answers, struct answer_search *search);
/* All searches of <owner> have had their errands posted when this returns, those that were not
 * done as failed. */
void answers_cancel(struct answers *answers, const void *owner);
/* Keep <record>, whose bytes are taken over, until <expires_us> (wall clock); then <held>, unless
 * that is NULL, has the name back. False, and neither is so, when too much is waiting. Any thread.
 */
struct underway;
bool answers_keep(struct answers *answers, const struct digest *name, struct buffer *record,
                  int64_t expires_us, struct underway *held);

struct answers_figures {
    uint64_t kept, lost; /* records written; records that could not be */
};
struct answers_figures answers_figures(const struct answers *answers);
