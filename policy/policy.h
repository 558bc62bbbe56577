/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * policy - may this call go ahead, and what does it cost? A door of the folder; the other is
 * ledger.h.
 *
 * Pure but for the clock that is passed in: no I/O. A `struct keys` is built once from the
 * configuration, never changed, and read by all threads.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/hash.h"
#include "gateway/base/text.h"
#include "providers/call.h"

/* -------------------------------------------------------------------------------------- who may */

/* A tenant as declared. All texts live as long as the configuration. */
struct tenant {
    struct text name;
    struct text *models; /* allowed names; patterns with '*'; none = nothing is allowed */
    size_t model_count;
    bool may_set_tags, may_set_policy, may_set_explain;
};

/* A key as declared. */
struct key {
    struct text name;
    struct digest digest; /* SHA-256 of the secret */
    const struct tenant *tenant;
    struct text *models; /* narrower than the tenant's; none given = all of the tenant's */
    size_t model_count;
    int64_t expires_us; /* wall clock; 0 = never */
};

struct keys;

/* Build the lookup over <keys>, which are borrowed and must outlive it. Equal digests: the first
 * counts, and *repeated (if not NULL) gets the second. */
struct keys *keys_new(const struct key *keys, size_t count, const struct key **repeated);
void keys_free(struct keys *keys);

/*
 * Who owns <secret>? NULL for a key that is unknown, or expired at <wall_us>: one answer for every
 * failure. Looks up the SHA-256 and compares in constant time.
 */
const struct key *keys_find(const struct keys *keys, struct text secret, int64_t wall_us);

/* May this key call <model> (a configured model name, or an alias it was asked by)? Both its own
 * list, if it has one, and its tenant's must name it. */
bool key_may_call(const struct key *key, struct text model);

/* -------------------------------------------------------------------------------- what it costs */

/* Put the checksum of the figures into <price>. The same on every machine. */
void price_seal(struct price *price);

/*
 * Nano-dollars for <usage>; saturates at INT64_MAX, never negative. Rounds up to a whole nano,
 * once, over the whole call.
 *
 * A kind of token with the figure 0 has no price of its own and costs what its whole costs: cached,
 * cache-write and audio input tokens as input, reasoning and audio output tokens as output. So a
 * figure that nobody gave is never a gift. A negative figure means free of charge.
 *
 * When the prompt is longer than tier_above_tokens, the whole call is rated at the tier's figures;
 * kinds that have none there rise in proportion with input or output. Counts below zero are zero;
 * parts that add up to more than their total are paid as reported.
 */
int64_t price_cost(const struct price *price, const struct usage *usage);
