/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sse - server-sent events (WHATWG HTML, "Server-sent events"): finding where they end and what
 * is in them. Lines end in LF, CRLF or CR. Nothing is copied and nothing is changed.
 */

#include "gateway/base/text.h"

struct sse_event {
    struct text raw;  /* all its bytes, with the empty line that ends it */
    struct text name; /* of the last "event:" line; empty when there is none */
    struct text data; /* of the first "data:" line; when there are several, see sse_data() */
    unsigned lines;   /* how many "data:" lines; 0 = a comment or an id only */
};

/* How many bytes of <bytes>, which begin where an event begins, are whole events (comments and
 * keep-alives too). An event that ends in a CR at the very end is left for later: an LF may follow
 * that belongs to it. */
size_t sse_whole(struct text bytes);
/* The same, when it found nothing in the first <seen> bytes before: looks only at what came since,
 * so that an event that trickles in costs what it weighs. */
size_t sse_whole_after(struct text bytes, size_t seen);

/* Take the next whole event off the front of <bytes> (best: of what sse_whole() measured); false
 * when none is left. An empty line alone is an event without data. */
bool sse_next(struct text *bytes, struct sse_event *event);

/* Write the data of an event, its lines joined by LF, into <out> (event->raw.len bytes of room);
 * returns its length. Needed only where event->lines is more than 1. */
size_t sse_data(const struct sse_event *event, char *out);
