/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* h2_message - the bytes of one message between HTTP/1.1, which its owner writes and reads, and a
 * stream of HTTP/2, for both sides of it (h2.c serves, h2_client.c asks). */

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "gateway/base/buffer.h"
#include "gateway/http/body.h"

/* ------------------------------------------------------------- what is written, to be sent */

enum h2_out {
    H2_OUT_HEAD,
    H2_OUT_BODY,
    H2_OUT_WHOLE,
    H2_OUT_CUT /* there is no more of it, and it is not whole */
};

/* A message that is written in HTTP/1.1: its head is kept until it is whole, then what its framing
 * says of its body. */
struct h2_outgoing {
    enum h2_out state;
    unsigned char line_at; /* how much of CR LF CR LF the head has last */
    bool deferred;         /* its turn to send is skipped until there is something */
    bool wants_room;       /* h2_outgoing_write() has refused something */
    struct buffer words;   /* the head, as far as it was written */
    struct buffer out;     /* of the body, to be sent */
    struct body body;      /* the framing of that, from the head */
};

/* A head of at most <head_bytes>, and at most <body_bytes> of a body that wait. */
void h2_outgoing_init(struct h2_outgoing *message, size_t head_bytes, size_t body_bytes);
void h2_outgoing_done(struct h2_outgoing *message);
/* It is H2_OUT_CUT, and what waited of it is gone. */
void h2_outgoing_cut(struct h2_outgoing *message);

/* The head in <words> is whole: send it, and set <state> and <body> by what it says. (After a head
 * that goes before the real one, as 100, <state> stays H2_OUT_HEAD.) False when it cannot be. */
typedef bool h2_send_head_fn(void *with);

/* Take bytes as they are written, up to the room there is; what stands behind the end of a message
 * is nobody's, and taken. Returns how many were taken. What cannot be sent has <state> H2_OUT_CUT
 * afterwards (and not before). */
size_t h2_outgoing_write(struct h2_outgoing *message, const struct iovec *pieces, int count,
                         h2_send_head_fn *send_head, void *with);

/* The next bytes of the body: for an nghttp2_data_source_read_callback, and returns as that does.
 */
ssize_t h2_outgoing_read(struct h2_outgoing *message, void *into, size_t room, uint32_t *flags);
/* Was something refused for which there is room now? Says so once. */
bool h2_outgoing_has_room_again(struct h2_outgoing *message);
/* There may be something to send again, or its end: true when the stream is to be resumed. */
bool h2_outgoing_wakes(struct h2_outgoing *message);

/* --------------------------------------------------------------- what has come, to be read */

/* Take at most <most> bytes off the front of <from>. Returns how many. */
size_t h2_take(struct buffer *from, void *into, size_t most);
/* The same of a body, as a chunk of HTTP/1.1 where it is <chunked>. At most <room> bytes are
 * written (H2_READ_MIN and more); returns how many, and in <taken> how many of <from> they are. */
size_t h2_take_body(struct buffer *from, bool chunked, char *into, size_t room, size_t *taken);
