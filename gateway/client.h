/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * client - one connection of an application: reads requests, one at a time, and sends what an
 * exchange answers.
 *
 * Owns its socket and its buffers. While an exchange is answered nothing more is read, so that what
 * a pipelining client sends waits in the kernel. Ends by closing (at once, or lingering for an
 * SDK that is still sending) and burying itself.
 *
 * With HTTP/2 each request is a client of its own, carried inside the one that has the socket
 * (carrier.h).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/base/buffer.h"
#include "gateway/base/loop.h"
#include "gateway/http/body.h"
#include "gateway/http/head.h"
#include "gateway/wire/stream.h"

struct carrier;
struct exchange;
struct worker;
struct worker_listener;

enum client_state {
    CLIENT_PROXY,   /* waits for a PROXY protocol header */
    CLIENT_SHAKE,   /* TLS handshake */
    CLIENT_HEAD,    /* waits for, or reads, a request's head */
    CLIENT_BODY,    /* reads its body */
    CLIENT_BUSY,    /* an exchange is working; nothing is read */
    CLIENT_TUNNEL,  /* bytes go to the exchange as they are */
    CLIENT_CARRIER, /* speaks HTTP/2: its requests are clients of their own */
    CLIENT_FLUSH,   /* sends what is queued, then closes */
    CLIENT_LINGER,  /* has shut its side; reads and discards, bounded, then closes */
    CLIENT_CLOSED,
};

struct client {
    struct watch watch;
    struct grave grave;
    struct link link; /* in the worker's list */
    struct stream stream;
    struct timer timer;
    struct put_off put_off; /* to send what is in <out> */
    struct worker *worker;
    struct worker_listener *listener;
    struct exchange *exchange;
    enum client_state state;
    bool hangup;       /* the peer has closed, at least its half */
    bool paused;       /* the exchange takes no more for now */
    bool resumed;      /* what is in <in> was not looked at since */
    bool unread;       /* an event said that there is more to read */
    bool keep;         /* the connection may carry another request */
    bool linger;       /* close by lingering */
    bool started;      /* a byte of the request being read has come */
    bool served;       /* has had a whole request before */
    unsigned requests; /* begun in the present event */
    struct buffer in;
    struct buffer out;
    struct head_find find;
    union {
        struct body body;
        struct carrier *carrier; /* of CLIENT_CARRIER */
    };
    uint64_t arrived_us; /* when the bytes read last had arrived; 0 = unknown, or used already */
    uint64_t since_us;   /* when the present phase began */
    uint64_t discarded;
    char peer[46]; /* address, as text */
};

/* Take over an accepted descriptor. */
void client_new(struct worker *worker, struct worker_listener *listener, int fd,
                const struct sockaddr_storage *from);

/* Begin one that is carried inside <outer>. */
struct client *client_new_inside(struct client *outer, const struct stream_inside *how,
                                 void *carried);
/* One that was CLIENT_CARRIER is an ordinary one again: send what is queued, then close. */
void client_end_carrier(struct client *client);

/* Send <pieces> now or as soon as there is room; copies what cannot be sent at once. False when the
 * client is gone. */
bool client_send(struct client *client, const struct iovec *pieces, int count);
/* Bytes that wait to be sent. */
size_t client_queued(const struct client *client);

/* The exchange's answer is complete: go on with the next request, or close. Its exchange is no
 * longer the client's. */
void client_finish(struct client *client);
/* End the connection in the middle of an answer, so that the client sees that it is not whole.
 * <bare>: the answer's only framing is the connection's end, so an orderly one would be a lie. */
void client_cut(struct client *client, bool bare);
/* Close whatever state it is in; an exchange is told. */
void client_close(struct client *client);
/* Does it wait between two requests, or for its first one? */
bool client_is_idle(const struct client *client);
/* Close one that is, unless its next request has arrived by now: then that is noted in <unread>,
 * and false returned. */
bool client_close_idle(struct client *client);
/* Read on for an upload that was paused. */
void client_resume(struct client *client);
/* The protocol was switched: from now on bytes go to the exchange as they are. */
void client_tunnel(struct client *client);
/* The worker drains: close if no request is under way, else after it. */
void client_drain(struct client *client);

/* Another process serves from now on: its next answer is the last. */
void client_leave(struct client *client);

/* When the bytes at hand had arrived (monotonic): what they waited for us in the kernel is our own
 * time. Asked once; behind that, and where the kernel does not say, it is the round's begin. */
uint64_t client_arrived_us(struct client *client);
