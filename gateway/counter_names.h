/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * counter_names - the names of the counters that limits are kept under (docs/LIMITS.md), made once
 * per limit and level and remembered as long as a snapshot lives. One thread.
 */

#include "gateway/base/memory.h"
#include "policy/policy.h"

struct counter_names;

struct counter_names *counter_names_new(void);
void counter_names_free(struct counter_names *counter_names);

/* The counter of <limit> for <key> (of <tenant>), or for <tenant> itself when <key> is NULL; lives
 * as long as <counter_names>. <hash>, if not NULL, gets its hash_name(). */
struct text counter_names_find(struct counter_names *counter_names, const struct limit *limit,
                               const struct key *key, const struct tenant *tenant, uint64_t *hash);

/* The name of a tenant or key as it stands in a counter's, where its slashes, colons, percent and
 * number signs are escaped, and without what tells a tenant from others of its name ("#0aZ…"); in
 * <room>, which has as many bytes as <part>. */
struct text counter_name_part(struct text part, char *room);

/* The limit's own name in a counter's: "requests_per_minute". */
struct text counter_name_limit(struct text counter, const struct limit *limit);

/* The counter of <limit> for an end user of <tenant>, in <arena>: there are too many to remember.
 * A name that is long or has unusual characters stands there as its digest. */
struct text counter_name_of_user(struct arena *arena, const struct tenant *tenant, struct text user,
                                 const struct limit *limit);
