/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * upstream - pooled HTTP/1.1 connections to model servers, and one call on one of them.
 *
 * A `place` says where and how (address, TLS, proxy); connections to the same place are shared by
 * all providers that name it. A call gets an idle connection (the one used last), or a new one, or
 * waits for one when the place has all it may have. The answer's head is read whole and strictly,
 * its body is given out in pieces without framing, as they arrive.
 *
 * One thread. A call is embedded in its owner's struct; after on_end() or on_fault(), or after
 * upstream_abandon(), it is free again. Handlers may abandon the call from within.
 */

#include <stdint.h>
#include <sys/uio.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/http/head.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/stream.h"

struct upstreams;     /* all pools of one worker */
struct upstream_pool; /* the connections to one place */
struct upstream;      /* one connection */

struct upstream_place {
    const char *host; /* name, address, or the path of a unix socket */
    uint16_t port;
    bool is_unix, has_tls, allow_link_local;
    bool public_only; /* also never to loopback and private addresses */
    struct tls_options tls;
    const char *proxy_host; /* NULL = none */
    uint16_t proxy_port;
    const char *proxy_user; /* "user:password", or NULL */
    int64_t connect_us, idle_us;
    unsigned max_connections, max_idle; /* of this worker */
    int (*connect)(void *with); /* when set: gives a connected descriptor, or -1 and errno, and
                                   nothing above counts */
    void *with;
};

struct upstream_call;

struct upstream_handlers {
    /* A connection is there: call upstream_send() now. */
    void (*on_connected)(struct upstream_call *call);
    /* The request has been handed to the kernel whole. */
    void (*on_sent)(struct upstream_call *call);
    /* The final head (no 1xx, but 101 when the call wants to upgrade). Borrowed for the call. */
    void (*on_head)(struct upstream_call *call, const struct head *head);
    /* The next bytes of the body; borrowed until on_batch() or on_end() has returned. */
    void (*on_body)(struct upstream_call *call, struct text piece);
    /* All that was read at once has been given out; more will come. */
    void (*on_batch)(struct upstream_call *call);
    /* The answer is whole; its connection is in other hands already. */
    void (*on_end)(struct upstream_call *call);
    /* It failed; the connection is closed. */
    void (*on_fault)(struct upstream_call *call, enum fault_kind kind, const char *why);
    /* What upstream_push() has queued is below the mark again. */
    void (*on_room)(struct upstream_call *call);
};

struct upstream_call {
    const struct upstream_handlers *on;
    struct upstream *connection;
    struct upstream_pool *pool;
    struct link waiting;
    bool wants_upgrade;
    bool fresh;          /* take a new connection, no idle one */
    bool paused;         /* set through upstream_pause() */
    bool reused;         /* the connection has carried a call before */
    bool answered;       /* at least one byte of an answer has come */
    bool unread;         /* the target has closed the connection before all of it had arrived */
    uint64_t arrived_us; /* when what is being given out had arrived (monotonic); 0 = unknown */
};

struct upstreams *upstreams_new(struct loop *loop, struct dns *dns);
/* All calls must be over. */
void upstreams_free(struct upstreams *upstreams);

/* When there is no descriptor for a new connection, <make_room> is asked to let go of one, and says
 * whether it did: then it is tried once more. A call that finds none ends with FAULT_OVERLOADED:
 * the target is not to blame. */
void upstreams_on_full(struct upstreams *upstreams, bool (*make_room)(void *with), void *with);
/* Close the connection, of whichever pool, that has been idle longest, if it is since <before_us>
 * (monotonic) or longer. False: there is none. */
bool upstreams_close_idle(struct upstreams *upstreams, uint64_t before_us);

/* What is open now, and what was done since the start. */
struct upstreams_figures {
    unsigned connections, idle;
    uint64_t connects, reuses;
};
struct upstreams_figures upstreams_figures(const struct upstreams *upstreams);

/* The pool for <place>, found again or made; NULL and *fault when its TLS files cannot be used. */
struct upstream_pool *upstream_pool_ref(struct upstreams *upstreams,
                                        const struct upstream_place *place, struct fault *fault);
void upstream_pool_unref(struct upstream_pool *pool);
/* Must the request line hold the whole URL (a plain target through a proxy)? */
bool upstream_pool_wants_url(const struct upstream_pool *pool);
/* "user:password" for Proxy-Authorization then, or NULL. */
const char *upstream_pool_proxy_user(const struct upstream_pool *pool);

/* Ask for a connection. <call> is zeroed but for <on> and wants_upgrade. on_connected() may be
 * called from within, and so may on_fault(). */
void upstream_begin(struct upstream_pool *pool, struct upstream_call *call);

enum { UPSTREAM_PIECES = 12, UPSTREAM_READ_MAX = 128 * 1024 /* of an answer at once */ };
/* Send <pieces> (at most UPSTREAM_PIECES), which must stay where they are until on_sent() or the
 * call's end. <more>: upstream_push() follows. */
void upstream_send(struct upstream_call *call, const struct iovec *pieces, int count, bool more);
/* Send a copy of <bytes> behind what was sent. Returns false when so much is queued that the caller
 * should stop until on_room(). <last> ends the request. */
bool upstream_push(struct upstream_call *call, struct text bytes, bool last);
/* Call on_room() in the next round, though there is room: the caller has stopped to be fair. */
void upstream_push_later(struct upstream_call *call);

/* Stop or go on reading the answer. */
void upstream_pause(struct upstream_call *call);
void upstream_resume(struct upstream_call *call);
/* The call goes on as <to>, with what it reports to; <from> is free. Also from within on_head(), as
 * the last thing done with <from>: what follows is told to <to>. Not while it waits for a
 * connection. */
void upstream_move(struct upstream_call *to, struct upstream_call *from);
/* Give up at once: the connection is closed (or the place in the queue is left). */
void upstream_abandon(struct upstream_call *call);
