/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* h2, from inside: for h2.c, h2_stream.c and h2_head.c only. */

#include <nghttp2/nghttp2.h>

#include "gateway/base/buffer.h"
#include "gateway/base/list.h"
#include "gateway/http/h2.h"
#include "gateway/http/h2_message.h"

enum {
    H2_OUT_BYTES = 64 * 1024,          /* of an answer, in a stream */
    H2_WINDOW_BYTES = 256 * 1024,      /* of a request's body, not read yet */
    H2_ALL_BYTES = 8 * 1024 * 1024,    /* the same of all streams of a connection */
    H2_TRAILER_BYTES = 16 * 1024,      /* more than HTTP/1.1 accepts */
    H2_LINGER_BYTES = 128 * 1024,      /* of a body that nobody wants, before we say so */
    H2_LINGER_US = 2000000,            /* the same */
    H2_ANSWER_HEAD_BYTES = 128 * 1024, /* of an answer's head, twice what a provider may send */
    H2_CLOSED_KEPT = 16, /* streams of which is known that their client has ended them */
};

/* A request's head while its fields arrive. */
struct h2_draft {
    struct buffer method, path, authority, host, cookies, fields;
    size_t bytes; /* as HTTP/1.1 would have them */
    bool has_authority, has_host, has_length;
};

struct h2_stream {
    struct link link; /* in the connection's list */
    struct h2 *h2;    /* NULL = the connection has ended */
    void *owner;
    struct h2_draft *draft; /* until the head is whole */
    int32_t id;
    bool owned, closed; /* the owner's side; the client's */
    bool chunked;       /* how the request's body is told on */
    bool ended;         /* all of the request has come */
    bool has_read;      /* some of it was read */
    bool shut;          /* the owner writes no more */
    bool answered;      /* all of the answer was sent */
    bool head_only;     /* an answer has no body */
    struct buffer head; /* of the request, what was not read yet */
    struct buffer in;   /* of its body, the same */
    struct buffer tail; /* what is told behind that, where it is chunked: with its trailers */
    struct h2_outgoing answer;
    size_t discarded;  /* of the request's body */
    size_t trailed;    /* bytes of its trailers, kept or not */
    uint64_t still_us; /* the client was seen not to take anything since; 0 = it was not */
};

/* Where the client's bytes stand among the frames. */
struct h2_walk {
    unsigned preface; /* bytes of it still to come */
    unsigned char header[9];
    unsigned header_bytes;
    uint32_t left; /* of the frame's payload */
    bool in_head;  /* a header block has begun that is not whole */
    uint64_t head_bytes;
    uint64_t head_since_us;
};

struct h2 {
    nghttp2_session *session;
    struct h2_settings settings;
    struct link streams;
    unsigned stream_count;
    bool failed, greeted;
    uint32_t why; /* it has failed: an error code of RFC 9113 */
    struct h2_walk walk;
    int32_t
        closed[H2_CLOSED_KEPT]; /* the last streams that were ended by the client, and are over */
    unsigned closed_at;         /* where the next one goes */
    uint64_t begun_us, now_us;
    int64_t budget;     /* for frames that carry nothing */
    uint64_t budget_us; /* when it was last filled up */
};

/* h2_head.c: keep a field of a request; false when it is malformed. */
bool h2_keep_field(struct h2_stream *stream, struct text name, struct text value);
/* All have come: write the head that an HTTP/1.1 client would have sent. */
void h2_write_request(struct h2_stream *stream);
/* A trailer; false when it is malformed. */
bool h2_keep_trailer(struct h2_stream *stream, struct text name, struct text value);
/* Send the answer's head, which is whole; false when it cannot be. Says how its body is framed. */
bool h2_send_head(struct h2_stream *stream);

/* h2_stream.c */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_free(struct h2_stream *stream);
/* The client's side is over. */
void h2_stream_closed(struct h2_stream *stream);
/* The next bytes of a body; all of the request has come. */
void h2_stream_data(struct h2_stream *stream, struct text bytes);
void h2_stream_ended(struct h2_stream *stream);
void h2_stream_drop_draft(struct h2_stream *stream);
/* DATA that answers: nghttp2_data_source_read_callback. */
ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t length,
                   uint32_t *flags, nghttp2_data_source *source, void *with);
/* RFC 9113 8.1: it is answered, and the rest of it is not needed. Not at once: many a client that
 * has begun to send its body cannot bear it. */
void h2_stream_linger(struct h2_stream *stream);
void h2_reset(struct h2_stream *stream, uint32_t why);
void h2_tell_owner(struct h2_stream *stream, enum h2_news news);
