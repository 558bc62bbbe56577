/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ask - one small request to somebody's service, and its answer: a webhook, a collector, an issuer
 * of keys. Not for calls of clients, whose bodies go by (gateway/relay).
 *
 * The whole of it is bounded: in time by one deadline, from the wait for a connection to the last
 * byte, and in size. Where and how - TLS, proxy, which addresses - is the pool's place to say.
 *
 * One thread. Embedded in its owner's struct, zeroed, its options filled in; it may be begun again
 * and again. Redirections are not followed.
 */

#include "gateway/base/buffer.h"
#include "gateway/http/url.h"
#include "gateway/wire/upstream.h"

/* What is done with an answer's body that is longer than <answer_max>. */
enum ask_long {
    ASK_REFUSE, /* it is a problem */
    ASK_CUT,    /* what is there is enough: the rest is not waited for */
};

struct ask {
    /* the owner's */
    struct loop *loop;
    uint64_t timeout_us;
    size_t answer_max; /* bytes of its body; with ASK_CUT 0 = its status is all */
    enum ask_long when_long;
    bool fresh; /* never on a connection that was used before; else a request that finds such a one
                   closed is sent again, once */
    /* Its head has come, borrowed for the time of the call; NULL = who cares. It does not end the
     * ask. */
    void (*on_head)(struct ask *ask, const struct head *head);
    /* It is over, and may be begun again from within, or its owner buried. <problem>: why there is
     * no whole answer; NULL = <status> and <answer> are. Perhaps from within ask_begin(). */
    void (*on_over)(struct ask *ask, const char *problem);

    /* the answer's; <answer> is kept until ask_done() or the next ask_begin() */
    unsigned status;
    struct buffer answer;
    bool is_ours; /* the problem: we had no descriptor for it, which says nothing of the service */

    /* inside */
    struct upstream_call call;
    struct upstream_pool *pool;
    struct timer timer;
    struct text head, body;
    bool busy, again;
};

/* Append the request line, Host and User-Agent; fields, an empty line and the body are to follow.
 * <pool> says whether the line needs the whole URL. <path> NULL: the URL's. */
void ask_put_head(struct buffer *out, const char *method, const struct url *url,
                  const struct text *path, const struct upstream_pool *pool);

/* Send <head> and <body>, which stay where they are until it is over. Not while it is busy. */
void ask_begin(struct ask *ask, struct upstream_pool *pool, struct text head, struct text body);
bool ask_is_busy(const struct ask *ask);
/* Give up; on_over() is not called. Nothing happens when it is not busy. */
void ask_stop(struct ask *ask);
/* The same, and free the answer. */
void ask_done(struct ask *ask);
