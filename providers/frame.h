/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * frame - the pieces that streams of answers are cut into, whatever their framing. Inside
 * providers.
 *
 * Sources: WHATWG HTML "Server-sent events"; newline-delimited JSON; AWS "Event stream encoding"
 * (smithy.io, application/vnd.amazon.eventstream): total and header length, a CRC of these,
 * headers, payload, a CRC of all, big-endian.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"
#include "providers/provider.h"

enum { FRAME_MAX = 32 << 20 }; /* one frame: images stand in them whole */

struct frame {
    struct text name; /* of the event: "event:" of SSE, ":event-type" of AWS; else empty */
    struct text kind; /* ":message-type" of AWS: "event", "exception" or "error"; else empty */
    struct text data; /* SSE: all "data:" lines, joined; lines: the line; AWS: the payload */
};

enum frame_result {
    FRAME_HERE, /* one was taken off the front of <bytes> */
    FRAME_MORE, /* it is not whole yet */
    FRAME_BAD,  /* not this framing, or a checksum is wrong, or too long */
};

/* Take the next frame off <bytes>. <seen>: how many of them were looked at before, without
 * result; only of use to be quick. <scratch> (a buffer of the caller's) holds what must be joined;
 * the frame may borrow from it until the next call. Frames without data (comments, empty lines) are
 * taken and not told. <last>: nothing will follow; an SSE event or line at the very end counts. */
enum frame_result frame_next(enum framing framing, struct text *bytes, size_t seen, bool last,
                             struct buffer *scratch, struct frame *frame);

/* How many bytes of <bytes>, which begin where a frame of AWS' event stream begins, are whole
 * frames. What is no such frame ends the count. */
size_t frame_whole_aws(struct text bytes);

/* Append a frame of AWS' event stream: <kind> "event" or "exception", <name> its type, <json> what
 * it says. */
void frame_put_aws(struct buffer *out, struct text kind, struct text name, struct text json);
