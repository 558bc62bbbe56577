/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * key_ring - which of several keys of a provider a call goes up with: they take turns, and one that
 * was refused rests for a while. One thread; each worker has its own.
 */

#include <stddef.h>
#include <stdint.h>

#include "gateway/base/hash.h"
#include "gateway/config/config.h"
#include "gateway/http/head.h"

enum { KEY_RESTS_MAX = 64 };

/* Those that rest, of all providers, by their digests: a reload changes nothing in it. With more
 * than KEY_RESTS_MAX the one that rests the shortest is forgotten. */
struct key_rests {
    unsigned count;
    struct key_rest {
        struct digest key;
        uint64_t until_us;
    } list[KEY_RESTS_MAX];
};

/* The key of <provider> whose turn it is, of those that do not rest; when all do, the one that is
 * the first to be awake again. Empty when it has none. */
struct text key_ring_choose(const struct key_rests *rests, const struct provider_settings *provider,
                            unsigned turn, uint64_t now_us);
/* The number of the key that the conversation <affinity> keeps to: the same on each node, and, of
 * most conversations, when keys are added or taken away. */
unsigned key_ring_place(const struct provider_settings *provider, uint64_t affinity);
/* Is there one that does not rest? */
bool key_ring_has_one(const struct key_rests *rests, const struct provider_settings *provider,
                      uint64_t now_us);
/* Let <key> rest, when the answer <head> says that it is at its limit, or that it opens nothing:
 * as long as the answer says, at most an hour. False when it says neither. */
bool key_ring_refused(struct key_rests *rests, struct text key, const struct head *head,
                      uint64_t now_us);
