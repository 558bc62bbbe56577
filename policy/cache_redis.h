/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_redis - entries in Redis, and which replica makes a call that has an Idempotency-Key.
 *
 *     STRING <prefix>cache:<name in hexadecimal>   a record (cache_record.h), expires with it
 *     STRING <prefix>once:<name in hexadecimal>    a record, or the claim of who makes the call,
 *                                                  which expires 30 s after it was last renewed
 *
 * Looking and claiming is one script, one round trip. Who finds the claim of another looks again
 * until there is a record, or the claim is gone (then it makes the call), or it has waited long
 * enough. A replica that dies leaves its claim for at most 30 s; then the call is made anew, as
 * after any death. When Redis is away a call is made without asking: replicas may then make it
 * twice, if the client tries again elsewhere (`unsure` says so).
 *
 * No tag in the names: in a Cluster they are spread over all nodes.
 */

#include "policy/cache_remote.h"

void claims_init(struct cache_remote *remote);
/* They expire. */
void claims_done(struct cache_remote *remote);

/* NULL is none. */
void claim_free(struct cache_claim *claim);

/* False when nothing can be asked now. */
bool ask_redis(struct cache_search *search);
/* Give up all searches there, and what was to come of other commands. */
void searches_leave_redis(struct cache_remote *remote);
/* Keep a whole entry, unless <ttl_us> is 0; give back its claim. */
void keep_in_redis(struct cache_remote *remote, struct cache_entry *entry, int64_t ttl_us);
/* The entry's call came to nothing: others may make it. */
void release_claim(struct cache_remote *remote, struct cache_entry *entry);
