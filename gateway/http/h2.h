/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * h2 - one HTTP/2 connection of a client (RFC 9113, RFC 7541), without its socket: bytes in, bytes
 * out.
 *
 * Each request becomes a stream of bytes in HTTP/1.1, from which whoever serves it reads as from a
 * connection of its own, and to which it writes its answer in HTTP/1.1. So there is one reader of
 * requests, with one set of refusals, for both. Frames, HPACK and what RFC 9113 calls malformed
 * are libnghttp2's; what it lets pass and HTTP/1.1 does not is for head.h to refuse.
 *
 * A stream takes from its client what it has read away and WINDOW_BYTES ahead; of an answer it
 * holds OUT_BYTES, and refuses more until the client has taken some. Streams take turns, a frame
 * of DATA each.
 *
 * Owns the session and its streams. A stream outlives it until h2_close(), and outlives its owner
 * until its answer is sent. Not for several threads.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

struct h2;
struct h2_stream;

enum h2_news {
    H2_BEGUN, /* a request's head is whole: h2_own() or h2_refuse() it, within the call */
    H2_MORE,  /* there is something to read */
    H2_ROOM,  /* h2_write() takes bytes again */
    H2_GONE,  /* the client has given it up, or the connection has ended: h2_close() it */
};

/* Told in the midst of other work: note it, and act when that is done. */
typedef void h2_tell(void *with, struct h2_stream *stream, enum h2_news news);

struct h2_settings {
    unsigned max_streams;    /* open at once; who begins more is refused, and may try again */
    size_t max_header_bytes; /* of a head as HTTP/1.1 would have it */
    h2_tell *tell;
    void *with;
};

enum {
    H2_READ_MIN = 64,                /* bytes that h2_read() must have room for */
    H2_PRODUCE_MIN = 16384 + 9 + 64, /* the same of h2_produce(): a frame */
    H2_WAIT = -1,
    H2_BROKEN = -2,
};

/* The first bytes of a connection (RFC 9113 3.4). HTTP/1.1 would take as much for a head as ends in
 * the first empty line. */
#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* Times are monotonic, in microseconds. */
struct h2 *h2_new(const struct h2_settings *settings, uint64_t now_us);
/* All streams that have an owner are H2_GONE. */
void h2_free(struct h2 *h2);

/* Take <bytes> of the client. False: it broke the rules, or asked for too much that is no request;
 * send what h2_produce() has, and close. */
bool h2_receive(struct h2 *h2, struct text bytes, uint64_t now_us);
/* Write what is to be sent now; returns its length, 0 = nothing is. */
size_t h2_produce(struct h2 *h2, char *into, size_t room, uint64_t now_us);

/* Say that the connection will end (GOAWAY): <soon> the client may still begin streams for the
 * time that it takes to hear of it, else no more. */
void h2_leave(struct h2 *h2, bool soon);
/* End it with all that is open; nothing that is sent after what this queues. */
void h2_terminate(struct h2 *h2);
/* Streams of which something is still to be received or sent. */
unsigned h2_stream_count(const struct h2 *h2);
/* Is there anything to send or expect? False once it was terminated, or both sides have left. */
bool h2_is_over(const struct h2 *h2);
/* Since when a head is on its way that is not whole, or the client's first settings; 0 = none. */
uint64_t h2_head_since(const struct h2 *h2);
/* Give up answers without an owner of which the client is seen to take nothing for <allowed_us>. */
void h2_sweep(struct h2 *h2, uint64_t now_us, uint64_t allowed_us);

/* ------------------------------------------------------------------- one stream, its owner's */

void h2_own(struct h2_stream *stream, void *owner);
void *h2_owner(const struct h2_stream *stream);
/* What the settings of its connection have; NULL when that has ended. */
void *h2_with(const struct h2_stream *stream);
/* It was not looked at, and may be tried again at once. */
void h2_refuse(struct h2_stream *stream);

/* Bytes of the request in HTTP/1.1 (> 0), 0 when h2_shut() was called, H2_WAIT, H2_BROKEN. */
ssize_t h2_read(struct h2_stream *stream, void *into, size_t bytes);
bool h2_has_more(const struct h2_stream *stream);
/* Bytes taken of the answer in HTTP/1.1, H2_WAIT (H2_ROOM will come), H2_BROKEN. */
ssize_t h2_write(struct h2_stream *stream, const struct iovec *pieces, int count);
/* Nothing more is written. */
void h2_shut(struct h2_stream *stream);
/* The owner leaves. What was written of a whole answer is sent; one that is not whole is reset when
 * that is out, or at once. */
void h2_close(struct h2_stream *stream, bool at_once);
