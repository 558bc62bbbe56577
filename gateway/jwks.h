/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * jwks - the keys of the issuer of tokens (RFC 7517), fetched by each worker for itself: at its
 * start, every now and then, and when a token comes whose key is not known, at most every ten
 * seconds. What was fetched last stays in force while the issuer cannot be reached.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/loop.h"
#include "gateway/config/config.h"
#include "gateway/wire/ask.h"

struct jwks {
    struct loop *loop;
    struct upstreams *upstreams;
    const struct config *config; /* with a reference; NULL = off */
    struct upstream_pool *pool;
    struct ask ask;
    struct timer timer; /* the next time */
    struct buffer request;
    uint64_t asked_us;
    unsigned failures; /* in a row */
    char *keys;        /* the last good document, or NULL */
    bool (*on_keys)(void *with, struct text keys);
    void *with;
};

/* <on_keys> is called with each document that came; false: it is of no use, what was there stays.
 */
void jwks_init(struct jwks *jwks, struct loop *loop, struct upstreams *upstreams,
               bool (*on_keys)(void *with, struct text keys), void *with);
void jwks_done(struct jwks *jwks);
/* Fetch as <config> says from now on; forgets the keys of another issuer's address. */
void jwks_set(struct jwks *jwks, struct config *config);
/* A token's key is not known. */
void jwks_want(struct jwks *jwks);
