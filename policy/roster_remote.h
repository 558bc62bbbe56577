/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * roster in Redis, from inside: a thread of its own that looks at the store and writes to it. For
 * roster_redis*.c only.
 *
 *     HASH <prefix>{roster}:version   number, tag, life (see roster_inside.h); from, the life
 * before this one; lost, the number up to which both are the same HASH <prefix>{roster}:tenants
 * name -> version, newline, JSON HASH <prefix>{roster}:keys      id -> the same LIST
 * <prefix>{roster}:log       the last changes, the newest first: "number tag kind id" channel
 * <prefix>{roster}        told of every change
 *
 * A look asks for what changed since our mark; where the log does not lead back to it, everything
 * is read anew. A store that has begun empty (flushed), or has lost its last changes (a failover),
 * gets a new life from whoever sees it first, and then from everybody what it lacks: of those whose
 * life was the one before, records that are newer than what was lost, and of all, that a key is
 * revoked.
 */

#include <stdatomic.h>

#include "gateway/base/clock.h"
#include "gateway/wire/redis_thread.h"
#include "policy/roster_inside.h"

enum { REMOTE_KEYS = 4, REMOTE_WORDS_MAX = 400 };
enum { NAME_VERSION, NAME_TENANTS, NAME_KEYS, NAME_LOG };
enum { SCRIPT_LOOK, SCRIPT_WRITE, SCRIPT_BEGIN, SCRIPT_MERGE, REMOTE_SCRIPTS };

enum remote_step { STEP_REST, STEP_LOOK, STEP_SYNC, STEP_WRITE };

struct remote_sync; /* reading everything: roster_redis_sync.c */

struct roster_remote {
    struct roster *roster;
    struct redis_thread own;
    char names[REMOTE_KEYS][192], channel[192];

    /* the thread's own */
    uint64_t began_us;
    enum remote_step step;
    bool again; /* look again when this is over */
    bool known; /* the last look was answered (or there was none yet) */
    struct remote_sync *sync;
    struct link jobs; /* changes to be written, and those in doubt */

    pthread_mutex_t door; /* of the jobs' results */
    pthread_cond_t bell;
    atomic_uint_fast64_t fresh_us, looks;
};

extern struct redis_script remote_scripts[REMOTE_SCRIPTS];
void remote_scripts_init(void);
/* Run a script; its keys are put before <more>. */
bool remote_eval(struct roster_remote *remote, const struct redis_script *script,
                 const struct text *more, size_t count, redis_answer *answer);

/* Look now, or as soon as what is under way is over. */
void remote_look(struct roster_remote *remote);
/* What was under way is over; <good>: we know what the store has. */
void remote_rest(struct roster_remote *remote, bool good);
/* Read everything. */
enum sync_way {
    SYNC_READ,
    SYNC_BEGIN, /* it is empty, or has lost changes: begin a new life before */
};
void remote_sync(struct roster_remote *remote, enum sync_way way);
void remote_sync_done(struct roster_remote *remote);

/* Write what waits, one after the other. */
void remote_write_next(struct roster_remote *remote);
/* We know what the store has: what was in doubt is not any more. */
void remote_settle_doubts(struct roster_remote *remote);
bool remote_has_doubts(const struct roster_remote *remote);
void remote_drop_jobs(struct roster_remote *remote);

void remote_note(struct roster_remote *remote, const struct redis_reply *reply);
uint64_t remote_number(struct text text);
/* Item <i> as text; empty when there is none. */
struct text remote_text(const struct redis_reply *reply, size_t i);
/* number, tag, life from item <at> on. */
void remote_read_mark(const struct redis_reply *reply, size_t at, struct roster_mark *mark);
/* False when it is none; an empty value is one taken away. */
bool remote_read_change(struct text kind, struct text id, struct text value,
                        struct roster_change *change);
