/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * h2_client - one HTTP/2 connection on which we ask (RFC 9113, RFC 7541), without its socket: bytes
 * in, bytes out.
 *
 * Each call is a stream of bytes in HTTP/1.1: who asks writes its request as on a connection of its
 * own, and reads the answer as from one. So there is one writer of requests and one reader of
 * answers for both. Frames, HPACK and what RFC 9113 calls malformed are libnghttp2's; what it lets
 * pass and HTTP/1.1 does not is for head.h to refuse.
 *
 * Of a request a call holds H2_CALL_OUT_BYTES, and takes no more until the server has taken some;
 * of an answer it lets the server send H2_CALL_WINDOW_BYTES ahead of what was read. Calls take
 * turns, a frame of DATA each.
 *
 * Owns the session. A call outlives it until h2_call_close(). Not for several threads.
 */

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "gateway/base/text.h"
#include "gateway/http/h2.h"

struct h2_client;
struct h2_call;

enum {
    H2_CALLS_MAX = 100,                /* at once, where the server allows as many */
    H2_CALL_OUT_BYTES = 64 * 1024,     /* of a request's body */
    H2_CALL_WINDOW_BYTES = 128 * 1024, /* of an answer's body */
    H2_CALL_HEAD_BYTES = 64 * 1024,    /* of an answer's head, as HTTP/1.1 would have it */
};

enum h2_call_news {
    H2_CALL_MORE, /* there is something to read */
    H2_CALL_ROOM, /* h2_call_write() takes bytes again */
    H2_CALL_GONE, /* nothing more will come: read to the end, then h2_call_close() */
};

/* Told in the midst of other work: note it, and act when that is done. */
typedef void h2_call_tell(void *owner, enum h2_call_news news);

struct h2_client *h2_client_new(h2_call_tell *told);
/* All calls are H2_CALL_GONE. */
void h2_client_free(struct h2_client *client);

/* Take <bytes> of the server. False: it broke the rules; send what h2_client_produce() has, and
 * close. */
bool h2_client_receive(struct h2_client *client, struct text bytes);
/* Write what is to be sent now into <into>, which has room for H2_PRODUCE_MIN bytes or more;
 * returns its length, 0 = nothing is. */
size_t h2_client_produce(struct h2_client *client, char *into, size_t room);
/* So many calls may begin now: one before the server has said how many it allows, 0 when it has
 * said that it leaves. */
unsigned h2_client_room(const struct h2_client *client);
/* Has the server said how many? */
bool h2_client_is_greeted(const struct h2_client *client);
/* Ask whether the server is there (PING). */
void h2_client_ping(struct h2_client *client);
/* Say that we leave (GOAWAY). */
void h2_client_leave(struct h2_client *client);
/* Is there nothing to send nor to expect any more? */
bool h2_client_is_over(const struct h2_client *client);

/* ----------------------------------------------------------------------- one call, its owner's */

/* h2_client_room() must be more than 0. */
struct h2_call *h2_call_begin(struct h2_client *client, void *owner);
/* Bytes of the answer in HTTP/1.1 (> 0), 0 behind its end, H2_WAIT; H2_BROKEN: what was read is all
 * that comes, and it is not whole. <bytes> is H2_READ_MIN or more. */
ssize_t h2_call_read(struct h2_call *call, void *into, size_t bytes);
bool h2_call_has_more(const struct h2_call *call);
/* Bytes taken of the request in HTTP/1.1, H2_WAIT (H2_CALL_ROOM will come), H2_BROKEN. */
ssize_t h2_call_write(struct h2_call *call, const struct iovec *pieces, int count);
/* Has the server said that it has not looked at the request (RFC 9113 8.7), or did nothing of it go
 * out? It may be sent again. */
bool h2_call_is_refused(const struct h2_call *call);
/* Has the server begun to answer, well or badly? */
bool h2_call_is_answered(const struct h2_call *call);
/* The owner leaves; a call that is not over is cancelled. */
void h2_call_close(struct h2_call *call);
