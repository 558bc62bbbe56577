/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_names - a worker's memory of names that it has made: who sends the same bytes again, as
 * those do who hit, gets the name without anybody reading them.
 *
 * Calls are compared whole, not by a digest. One is remembered when it comes the second time, so
 * that those which never come again cost next to nothing; at most CACHE_NAMES_BYTES of them.
 */

#include "policy/cache.h"

enum {
    CACHE_NAMES = 256,
    CACHE_NAMES_BYTES = 1 << 20,
    CACHE_NAMED_BYTES_MAX = 32 << 10, /* longer calls are not remembered */
};

struct cache_named {
    uint32_t sum, bytes; /* of the call that came last, also when it is not remembered */
    char *call;          /* NULL: it is not */
    struct digest name;
};

struct cache_names {
    struct cache_named places[CACHE_NAMES];
    size_t bytes;   /* of all calls remembered */
    unsigned clear; /* the place to clear next, for want of room */
};

void cache_names_done(struct cache_names *names);

/* cache_name(). */
bool cache_names_find(struct cache_names *names, const struct cache_call *call,
                      struct digest *name);
