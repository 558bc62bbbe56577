/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * upstream, from inside: what making a connection (upstream_connect.c), using it (upstream.c),
 * keeping it (upstream_pool.c) and carrying many inside one (upstream_h2.c) share. Inside wire.
 */

#include <stdarg.h>

#include "gateway/base/buffer.h"
#include "gateway/base/list.h"
#include "gateway/http/body.h"
#include "gateway/wire/upstream.h"

enum { UPSTREAM_SCRATCH_BYTES = UPSTREAM_READ_MAX, UPSTREAM_HEAD_MAX = 64 * 1024 };

enum upstream_state { UP_RESOLVE, UP_CONNECT, UP_PROXY, UP_SHAKE, UP_IDLE, UP_CALL, UP_CLOSED };

struct upstreams {
    struct loop *loop;
    struct dns *dns;
    struct link pools;
    struct upstreams_figures figures;
    bool (*make_room)(void *with); /* NULL = nobody can */
    void *make_room_with;
    struct head head; /* of the answer being read; valid while its bytes are looked at */
    char scratch[UPSTREAM_SCRATCH_BYTES];
};

struct trunk;   /* a connection that speaks HTTP/2 */
struct h2_call; /* http/h2_client.h */

struct upstream_pool {
    struct link link;
    struct upstreams *owner;
    unsigned references; /* of configurations that name it */
    unsigned objects;    /* struct upstream not freed yet */
    char *identity;
    struct upstream_place place; /* with texts of its own */
    struct tls *tls;
    struct tls_session *session;
    struct link idle;    /* struct upstream, the one used last in front */
    struct link waiting; /* struct upstream_call */
    struct link trunks;  /* struct trunk, the oldest in front */
    unsigned trunks_idle;
    unsigned reaching;  /* connections on their way, and trunks that have not said what they take */
    bool has_spoken_h2; /* and so will the next connection, as far as one knows */
    unsigned connections, idle_count, waiting_count;
    struct errand serve; /* of those who wait; put off, so that no call ends inside another's */
    bool serving;
};

/* On the way to a connection; nothing of it is needed once there is one. */
struct reaching {
    struct upstream *upstream;
    struct dns_query query;
    struct dns_address addresses[DNS_ADDRESSES_MAX];
    size_t address_count, address_next;
    uint64_t connect_by_us;
};

/* The pieces of a request that could not be sent at once. */
struct sending {
    int at, count;
    struct iovec pieces[];
};

struct upstream {
    struct watch watch;
    struct grave grave;
    struct stream stream;
    struct upstream_pool *pool;
    struct link link; /* in the pool's idle list */
    struct timer timer;
    enum upstream_state state;
    unsigned serial; /* of its calls: a call that was moved is the same one */
    struct upstream_call *call;
    struct reaching *reaching; /* NULL = there is a connection, or there was one */
    unsigned calls;            /* finished ones */
    struct trunk *trunk;       /* that carries it; NULL = none does, or it has ended */
    struct link in_trunk;      /* in its list */
    struct h2_call *inside;    /* NULL = it has a socket of its own */

    unsigned interim;
    bool hangup, keep;
    bool sent_head;    /* upstream_send() was called */
    bool request_over; /* nothing will be added to it */
    bool told_sent, pushed_high;
    bool head_read, tunnel;
    /* the request */
    struct put_off put_off;  /* to send it */
    struct sending *sending; /* NULL = <out> is all that is left */
    struct buffer out;
    /* the answer */
    struct buffer in; /* an incomplete head */
    struct head_find find;
    struct body body;
};

/* A connection, or a trunk, of <pool> may have become free for those that wait. */
void pool_serve_waiting(struct upstream_pool *pool);
/* One of its objects is gone; the last one takes it along when nobody names it. */
void pool_release(struct upstream_pool *pool);

/* upstream_h2.c */
/* The handshake of <up> has agreed on HTTP/2: its socket becomes a trunk's, which carries it. */
void trunk_take_over(struct upstream *up);
/* One that may carry another call, or NULL. <alive>: of which something was heard just now. */
struct trunk *trunk_find(const struct upstream_pool *pool, bool alive);
/* Let it carry <up>, which has no stream. */
void trunk_join(struct trunk *trunk, struct upstream *up);
/* No trunk gets further calls; those that carry none are closed. */
void trunks_retire(struct upstream_pool *pool);
/* The one that has carried nothing for longest, and since when (monotonic); NULL = none idles. */
struct trunk *trunk_find_idle(const struct upstream_pool *pool, uint64_t *since_us);
/* Say goodbye and close it. */
void trunk_end(struct trunk *trunk);

/* Begin to connect <up>, which has a call attached; ends in connection_ready() or
 * connection_fail(). */
void connect_begin(struct upstream *up);
/* An event while it is not connected yet. */
void connect_event(struct upstream *up, unsigned events);
/* The time for the present step is over. */
void connect_time(struct upstream *up);

/* The connection can carry its call now. */
void connection_ready(struct upstream *up);
/* Close it; its call, if it has one, is not told. */
void connection_close(struct upstream *up);
/* End the connection and tell its call why. */
void connection_fail(struct upstream *up, enum fault_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
