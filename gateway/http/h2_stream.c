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
    h2_outgoing_init(&stream->answer, H2_ANSWER_HEAD_BYTES, H2_OUT_BYTES);
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
    h2_outgoing_done(&stream->answer);
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
    buffer_done(&stream->answer.out);
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
        return (ssize_t)h2_take(&stream->head, into, bytes);
    if (!buffer_length(&stream->in))
        return (ssize_t)h2_take(&stream->tail, into, bytes);
    size_t taken, told = h2_take_body(&stream->in, stream->chunked, into, bytes, &taken);
    consume(stream, taken);
    return (ssize_t)told;
}

/* ---------------------------------------------------------------------------- the answer */

static void wake(struct h2_stream *stream)
{
    if (h2_outgoing_wakes(&stream->answer))
        nghttp2_session_resume_data(stream->h2->session, stream->id);
}

static bool send_head(void *with)
{
    return h2_send_head(with);
}

ssize_t h2_write(struct h2_stream *stream, const struct iovec *pieces, int count)
{
    struct h2_outgoing *answer = &stream->answer;
    if (stream->closed || answer->state == H2_OUT_CUT)
        return H2_BROKEN;
    size_t taken = h2_outgoing_write(answer, pieces, count, send_head, stream);
    if (answer->state == H2_OUT_CUT) {
        h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
        return H2_BROKEN;
    }
    if (buffer_length(&answer->out) || answer->state == H2_OUT_WHOLE)
        wake(stream);
    return taken ? (ssize_t)taken : H2_WAIT;
}

/* NOLINTNEXTLINE(readability-function-size): its parameters are libnghttp2's. */
ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t length,
                   uint32_t *flags, nghttp2_data_source *source, void *with)
{
    struct h2_stream *stream = source->ptr;
    (void)session, (void)id, (void)with;
    ssize_t taken = h2_outgoing_read(&stream->answer, into, length, flags);
    if (taken > 0)
        stream->still_us = 0;
    if (taken >= 0 && h2_outgoing_has_room_again(&stream->answer))
        h2_tell_owner(stream, H2_ROOM);
    return taken;
}

/* A body that only its connection's end would end. */
static void end_to_close(struct h2_stream *stream)
{
    if (stream->answer.state != H2_OUT_BODY || stream->answer.body.kind != BODY_TO_CLOSE)
        return;
    stream->answer.state = H2_OUT_WHOLE;
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
    struct h2_outgoing *answer = &stream->answer;
    stream->owned = answer->wants_room = false;
    drop_unread(stream);
    if (!at_once)
        end_to_close(stream);
    if (answer->state == H2_OUT_HEAD) {
        h2_reset(stream, stream->has_read ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_REFUSED_STREAM);
        answer->state = H2_OUT_CUT;
    } else if (answer->state == H2_OUT_BODY && at_once) {
        h2_outgoing_cut(answer);
        h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
    } else if (answer->state == H2_OUT_BODY) {
        answer->state = H2_OUT_CUT; /* when what there is of it is out */
        wake(stream);
    }
}
