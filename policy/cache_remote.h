/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_remote - a worker's searches beyond memory, and the claims it holds in Redis.
 *
 * A search holds the writer's reference to an entry that others may have joined, until it is known
 * who writes: the search itself, with what it found, or who asked.
 */

#include "gateway/base/loop.h"
#include "policy/cache_answers.h"
#include "policy/cache_inside.h"
#include "policy/cache_names.h"
#include "policy/cache_record.h"

enum {
    CACHE_SEARCH_US = 1000 * 1000,     /* in our own database, which may be slow */
    CACHE_CLAIM_US = 30 * 1000 * 1000, /* how long a claim is good when nobody renews it */
    CACHE_RENEW_US = 10 * 1000 * 1000,
    CACHE_RETRY_FIRST_US = 100 * 1000, /* between looks at what another replica is at */
    CACHE_RETRY_MAX_US = 1000 * 1000,
    CACHE_REMOTE_BYTES_MAX = 1 << 20, /* of an answer that goes to Redis */
};

struct cache_remote {
    struct cache *cache;
    struct loop *loop;
    struct cache_remote_options options;
    struct cache_names *names;
    unsigned purges_seen; /* of the cache, when <names> were last emptied */
    struct link searches; /* all that are not done */
    struct link claims;
    struct timer renew;
    int64_t claim_us, renew_us;
    bool failing; /* the last thing sent to Redis */
};

struct cache_claim;

struct cache_search {
    struct answer_search answer; /* of the database */
    struct cache_remote *remote; /* NULL: it was freed */
    struct link link;
    struct cache_lookup *lookup; /* NULL: nobody waits any more */
    struct cache_entry *entry;   /* NULL: it was given to who asked */
    struct cache_ask ask;
    struct timer timer; /* for the next look, or for when the database has taken too long */
    int64_t deadline_us, pause_us;
    struct cache_claim *claim; /* to be made, or that may have been made */
    bool asks;                 /* Redis, and its answer has not come */
    bool in_database;          /* the database has it */
    bool unsure;               /* Redis did not answer */
};

/* cache_look.c: what came of it. Who asked is told; the search stays. */
void search_found(struct cache_search *search, const struct record *record, int64_t ttl_us);
void search_missed(struct cache_search *search, bool unsure);
/* Look again later, while anybody waits for what another makes. False: nobody does, or that takes
 * too long. */
bool search_pause(struct cache_search *search, void (*on_time)(struct timer *timer));
/* Another replica or process makes the call, and will not be waited for. */
void search_elsewhere(struct cache_search *search);
void search_free(struct cache_search *search);
/* Look in the database, which ends the search. False when there is none, or not now. */
bool ask_database(struct cache_search *search);
