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
    struct text data; /* of the only "data:" line; when there are several, see lines */
    unsigned lines;   /* how many "data:" lines; 0 = a comment or an id only */
};

/* How many bytes of <bytes> are whole events (comments and keep-alives too). A CR at the very end
 * counts only when it cannot be half of a CRLF: it is left for later. */
size_t sse_whole(struct text bytes);

/* Take the next whole event off the front of <bytes>; false when none is left. */
bool sse_next(struct text *bytes, struct sse_event *event);
