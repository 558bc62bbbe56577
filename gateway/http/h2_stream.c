/* SPDX-License-Identifier: Apache-2.0 */

/* One request and its answer, between the session and whoever serves it. */

#include <assert.h>

#include "gateway/base/memory.h"
#include "gateway/http/h2_inside.h"

/* ------------------------------------------------------------------------ begin and end */

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
    struct h2_stream *stream = memory_new(sizeof(*stream));
    stream->h2 = h2;
    stream->id = id;
    buffer_init(&stream->head, SIZE_MAX / 2); /* bounded by max_header_bytes, H2_TRAILER_BYTES */
    buffer_init(&stream->in, H2_WINDOW_BYTES);
    buffer_init(&stream->tail, SIZE_MAX / 2);
    buffer_init(&stream->words, H2_ANSWER_HEAD_BYTES);
    buffer_init(&stream->out, H2_OUT_BYTES);
    stream->draft = memory_new(sizeof(*stream->draft));
    struct buffer *parts[] = {&stream->draft->method,    &stream->draft->path,
                              &stream->draft->authority, &stream->draft->host,
                              &stream->draft->cookies,   &stream->draft->fields};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        buffer_init(parts[i], SIZE_MAX / 2);
    list_push_back(&h2->streams, &stream->link);
    h2->stream_count++;
    return stream;
}

void h2_stream_drop_draft(struct h2_stream *stream)
{
    struct h2_draft *draft = stream->draft;
    if (!draft)
        return;
    buffer_done(&draft->method);
    buffer_done(&draft->path);
    buffer_done(&draft->authority);
    buffer_done(&draft->host);
    buffer_done(&draft->cookies);
    buffer_done(&draft->fields);
    memory_free(draft);
    stream->draft = NULL;
}

void h2_stream_free(struct h2_stream *stream)
{
    h2_stream_drop_draft(stream);
    buffer_done(&stream->head);
    buffer_done(&stream->in);
    buffer_done(&stream->tail);
    buffer_done(&stream->words);
    buffer_done(&stream->out);
    memory_free(stream);
}

void h2_tell_owner(struct h2_stream *stream, enum h2_news news)
{
    if (stream->owned)
        stream->h2->settings.tell(stream->h2->settings.with, stream, news);
}

void h2_reset(struct h2_stream *stream, uint32_t why)
{
    nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, why);
}

/* So many bytes of its body are out of the way. */
static void consume(struct h2_stream *stream, size_t bytes)
{
    if (stream->h2 && bytes)
        nghttp2_session_consume(stream->h2->session, stream->id, bytes);
}

void h2_stream_closed(struct h2_stream *stream)
{
    struct h2 *h2 = stream->h2;
    stream->closed = true;
    list_remove(&stream->link);
    h2->stream_count--;
    consume(stream, buffer_length(&stream->in)); /* of the connection's window */
    h2_tell_owner(stream, H2_GONE);
    stream->h2 = NULL;
    buffer_done(&stream->in);
    buffer_done(&stream->out);
    if (!stream->owned)
        h2_stream_free(stream);
}

void h2_own(struct h2_stream *stream, void *owner)
{
    stream->owner = owner;
    stream->owned = true;
}

void *h2_owner(const struct h2_stream *stream)
{
    return stream->owner;
}

void *h2_with(const struct h2_stream *stream)
{
    return stream->h2 ? stream->h2->settings.with : NULL;
}

void h2_refuse(struct h2_stream *stream)
{
    h2_reset(stream, NGHTTP2_REFUSED_STREAM);
}

/* --------------------------------------------------------------------------- the request */

void h2_stream_data(struct h2_stream *stream, struct text bytes)
{
    if (stream->owned && !stream->shut && buffer_append_text(&stream->in, bytes)) {
        h2_tell_owner(stream, H2_MORE);
        return;
    }
    /* The stream's window stays shut: it is not asked for more. */
    nghttp2_session_consume_connection(stream->h2->session, bytes.len);
    stream->discarded += bytes.len;
    if (stream->answered)
        h2_stream_linger(stream);
}

void h2_stream_linger(struct h2_stream *stream)
{
    stream->answered = true;
    if (!stream->ended && stream->discarded > H2_LINGER_BYTES)
        h2_reset(stream, NGHTTP2_NO_ERROR);
}

void h2_stream_ended(struct h2_stream *stream)
{
    stream->ended = true;
    if (!stream->chunked || !stream->owned)
        return;
    if (!buffer_length(&stream->tail))
        buffer_append_text(&stream->tail, TEXT("0\r\n"));
    buffer_append_text(&stream->tail, TEXT("\r\n"));
    h2_tell_owner(stream, H2_MORE);
}

bool h2_has_more(const struct h2_stream *stream)
{
    bool at_tail = stream->ended && buffer_length(&stream->tail);
    return !stream->closed &&
           (buffer_length(&stream->head) || buffer_length(&stream->in) || at_tail);
}

static size_t move(struct buffer *from, void *into, size_t most)
{
    struct text have = text_head(buffer_text(from), most);
    memcpy(into, have.at, have.len);
    buffer_drop(from, have.len);
    if (!buffer_length(from))
        buffer_done(from);
    return have.len;
}

static size_t read_body(struct h2_stream *stream, char *into, size_t bytes)
{
    size_t around = 0;
    if (stream->chunked) {
        size_t have = buffer_length(&stream->in), most = bytes - BODY_CHUNK_HEAD_BYTES - 2;
        bytes = have < most ? have : most;
        around = body_chunk_head(bytes, into);
    }
    size_t moved = move(&stream->in, into + around, bytes);
    consume(stream, moved);
    if (!stream->chunked)
        return moved;
    memcpy(into + around + moved, "\r\n", 2);
    return around + moved + 2;
}

ssize_t h2_read(struct h2_stream *stream, void *into, size_t bytes)
{
    assert(bytes >= H2_READ_MIN);
    if (stream->closed)
        return H2_BROKEN;
    if (stream->shut)
        return 0;
    if (!h2_has_more(stream))
        return H2_WAIT;
    stream->has_read = true;
    if (buffer_length(&stream->head))
        return (ssize_t)move(&stream->head, into, bytes);
    if (buffer_length(&stream->in))
        return (ssize_t)read_body(stream, into, bytes);
    return (ssize_t)move(&stream->tail, into, bytes);
}

/* ---------------------------------------------------------------------------- the answer */

static void wake(struct h2_stream *stream)
{
    if (!stream->deferred)
        return;
    stream->deferred = false;
    nghttp2_session_resume_data(stream->h2->session, stream->id);
}

static void fail(struct h2_stream *stream)
{
    stream->out_state = H2_OUT_CUT;
    buffer_done(&stream->words);
    buffer_done(&stream->out);
    h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
}

/* Up to the end of the answer's head, or of one that goes before it (100). */
static size_t write_words(struct h2_stream *stream, struct text bytes)
{
    static const char end[] = "\r\n\r\n";
    size_t used = 0;
    while (used < bytes.len && stream->line_at < sizeof(end) - 1) {
        char byte = bytes.at[used++];
        bool goes_on = byte == end[stream->line_at];
        stream->line_at = goes_on ? (unsigned char)(stream->line_at + 1) : byte == '\r';
    }
    bool fits = buffer_append_text(&stream->words, text_head(bytes, used));
    bool whole = stream->line_at == sizeof(end) - 1;
    if (!fits || (whole && !h2_send_head(stream))) {
        fail(stream);
        return bytes.len;
    }
    if (whole) {
        stream->line_at = 0;
        buffer_done(&stream->words);
    }
    return used;
}

/* Of a body's bytes those for which there is room. */
static size_t write_body(struct h2_stream *stream, struct text bytes)
{
    size_t used = 0;
    for (;;) {
        size_t room = H2_OUT_BYTES - buffer_length(&stream->out);
        struct text part = text_head(text_from(bytes, used), room), data;
        size_t before = part.len;
        struct fault why;
        enum body_result result = body_next(&stream->body, &part, &data, &why);
        used += before - part.len;
        if (result == BODY_DATA)
            buffer_append_text(&stream->out, data);
        if (result == BODY_BAD)
            fail(stream);
        if (result == BODY_END)
            stream->out_state = H2_OUT_WHOLE;
        if (result == BODY_BAD || result == BODY_END)
            return bytes.len;
        if (result == BODY_WAIT && (used == bytes.len || before == 0))
            return used;
    }
}

ssize_t h2_write(struct h2_stream *stream, const struct iovec *pieces, int count)
{
    ssize_t taken = 0;
    if (stream->closed || stream->out_state == H2_OUT_CUT)
        return H2_BROKEN;
    for (int i = 0; i < count && !stream->wants_room; i++) {
        struct text bytes = {pieces[i].iov_base, pieces[i].iov_len};
        while (bytes.len && !stream->wants_room) {
            size_t used = bytes.len; /* what comes behind the end of an answer is nobody's */
            if (stream->out_state == H2_OUT_HEAD) {
                used = write_words(stream, bytes);
            } else if (stream->out_state == H2_OUT_BODY) {
                used = write_body(stream, bytes);
                stream->wants_room = used < bytes.len;
            }
            bytes = text_from(bytes, used);
            taken += (ssize_t)used;
        }
    }
    if (stream->out_state == H2_OUT_CUT)
        return H2_BROKEN;
    if (buffer_length(&stream->out) || stream->out_state == H2_OUT_WHOLE)
        wake(stream);
    return taken ? taken : H2_WAIT;
}

/* NOLINTNEXTLINE(readability-function-size): its parameters are libnghttp2's. */
ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t length,
                   uint32_t *flags, nghttp2_data_source *source, void *with)
{
    struct h2_stream *stream = source->ptr;
    (void)session, (void)id, (void)with;
    size_t moved = move(&stream->out, into, length);
    if (moved)
        stream->still_us = 0;
    bool empty = !buffer_length(&stream->out);
    if (empty && stream->out_state == H2_OUT_WHOLE) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (moved == 0) {
        if (stream->out_state == H2_OUT_CUT)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets it */
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (stream->wants_room && buffer_length(&stream->out) <= H2_OUT_BYTES / 2) {
        stream->wants_room = false;
        h2_tell_owner(stream, H2_ROOM);
    }
    return (ssize_t)moved;
}

/* A body that only its connection's end would end. */
static void end_to_close(struct h2_stream *stream)
{
    if (stream->out_state != H2_OUT_BODY || stream->body.kind != BODY_TO_CLOSE)
        return;
    stream->out_state = H2_OUT_WHOLE;
    wake(stream);
}

static void drop_unread(struct h2_stream *stream)
{
    size_t unread = buffer_length(&stream->in);
    buffer_done(&stream->head);
    buffer_done(&stream->in);
    buffer_done(&stream->tail);
    consume(stream, unread);
}

void h2_shut(struct h2_stream *stream)
{
    stream->shut = true;
    if (stream->closed)
        return;
    drop_unread(stream);
    end_to_close(stream);
}

void h2_close(struct h2_stream *stream, bool at_once)
{
    stream->owner = NULL;
    if (stream->closed) {
        h2_stream_free(stream);
        return;
    }
    stream->owned = stream->wants_room = false;
    drop_unread(stream);
    if (!at_once)
        end_to_close(stream);
    if (stream->out_state == H2_OUT_HEAD) {
        h2_reset(stream, stream->has_read ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_REFUSED_STREAM);
        stream->out_state = H2_OUT_CUT;
    } else if (stream->out_state == H2_OUT_BODY && at_once) {
        fail(stream);
    } else if (stream->out_state == H2_OUT_BODY) {
        stream->out_state = H2_OUT_CUT; /* when what there is of it is out */
        wake(stream);
    }
}
