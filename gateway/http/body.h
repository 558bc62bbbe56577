/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * body - takes the framing off a message body (RFC 9112 6 and 7), cut anywhere.
 *
 * Chunk extensions are refused (nobody needs them, parsers disagree on them), so are bare LF,
 * signs, 0x, spaces, sizes above 2^60 and more than 16 digits. Trailers are read, bounded to
 * 8 KiB, checked and thrown away; one that only a head may carry (Content-Length, Host,
 * credentials ...) is refused.
 */

#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_TO_CLOSE };

struct body {
    enum body_kind kind;
    unsigned char state;
    unsigned char name_len; /* of the trailer being read */
    uint64_t left;          /* bytes to come of the body or of the chunk */
    uint64_t total;         /* data bytes given out so far */
    uint32_t line_len;      /* digits, or trailer bytes so far */
    char name[20];          /* the beginning of the trailer's name */
};

enum body_result {
    BODY_WAIT, /* all of <bytes> is used up, more is needed */
    BODY_DATA, /* <data> is a piece of the body; call again with the rest */
    BODY_END,  /* the body is over; <bytes> is what came behind it */
    BODY_BAD,
};

/* <length> counts for BODY_LENGTH only. */
void body_init(struct body *body, enum body_kind kind, uint64_t length);

/*
 * Take the next piece off the front of <bytes>; <data> borrows from it. Call until it says
 * something else than BODY_DATA: the end of a body of known length is told by a call of its own,
 * which needs no more bytes. The fault is FAULT_BAD_HTTP; who reads an answer makes it
 * FAULT_TARGET_INVALID.
 */
enum body_result body_next(struct body *body, struct text *bytes, struct text *data,
                           struct fault *why);

/*
 * Take all of the body that is in <bytes> at once: chunks may have a byte each, and are put
 * together where they stand, so <bytes> must be memory that may be written. <data> is what there
 * was, also when the result is another than BODY_WAIT (never BODY_DATA).
 */
enum body_result body_take(struct body *body, struct text *bytes, struct text *data,
                           struct fault *why);

/* The peer has closed: is the body whole? True for BODY_TO_CLOSE, and when its end was reached. */
bool body_may_end_here(const struct body *body);

enum { BODY_CHUNK_HEAD_BYTES = 20 };
/* Write the head of a chunk of <length> > 0 bytes ("1a2b\r\n"); returns its length. */
size_t body_chunk_head(uint64_t length, char out[BODY_CHUNK_HEAD_BYTES]);
