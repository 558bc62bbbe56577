/* SPDX-License-Identifier: Apache-2.0 */

/* The session: what libnghttp2 is told, and what it tells; and who asks too much of it. */

#include "gateway/http/h2.h"

#include <assert.h>

#include "gateway/base/memory.h"
#include "gateway/http/h2_inside.h"

/*
 * Frames that carry nothing cost their sender a part of a budget, which time and what we send of
 * answers fill up again: so who asks and reads can do that at any speed, and who only resets,
 * pings or sets (CVE-2019-9512, 9513, 9514, 9515, 9518, CVE-2023-44487) is shown the door. What is
 * queued for a client that does not read (9511, 9517) is bounded by the same budget.
 */
enum {
    BUDGET = 2000,
    BUDGET_PER_SECOND = 100,
    BUDGET_PER_ANSWER = 8, /* for each frame of one that is not small */
    BYTES_PER_CREDIT = 585,
    COST_SMALL = 1,
    COST_RESET = 5,
    COST_PING = 5,
    COST_EMPTY = 5,
    COST_SETTINGS = 20,
    OUTBOUND_ACKS_MAX = 256,
    SECOND_US = 1000000,
};

/* Nothing more is read, and the client is told why. */
static void fail(struct h2 *h2, uint32_t why)
{
    if (!h2->failed)
        h2->why = why;
    h2->failed = true;
}

/* ----------------------------------------------------------------- streams that are over */

/*
 * libnghttp2 would keep closed streams to tell who goes on speaking on one that he has ended
 * (RFC 9113 5.1) from who has not heard yet that we did, 300 bytes for each; it passes over what
 * comes of a stream that it does not know. Here the last few that their client has ended are known.
 */
static void keep_closed(struct h2 *h2, int32_t id)
{
    h2->closed[h2->closed_at++ % H2_CLOSED_KEPT] = id;
}

static bool was_closed(const struct h2 *h2, int32_t id)
{
    for (size_t i = 0; i < H2_CLOSED_KEPT; i++)
        if (h2->closed[i] == id)
            return id != 0;
    return false;
}

/* ------------------------------------------------------------------ who asks for too much */

static void charge(struct h2 *h2, int64_t cost)
{
    uint64_t since = h2->now_us - h2->budget_us;
    uint64_t more = since < 3600ULL * SECOND_US ? since * BUDGET_PER_SECOND / SECOND_US : BUDGET;
    if (more > 0) {
        h2->budget_us = h2->now_us;
        h2->budget += (int64_t)more;
    }
    if (h2->budget > BUDGET)
        h2->budget = BUDGET;
    h2->budget -= cost;
    if (h2->budget < 0)
        fail(h2, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int64_t cost_of(unsigned type, unsigned flags, uint32_t length)
{
    bool ends = flags & NGHTTP2_FLAG_END_STREAM;
    switch (type) {
    case NGHTTP2_DATA:
        return length == 0 && !ends ? COST_EMPTY : 0;
    case NGHTTP2_RST_STREAM:
        return COST_RESET;
    case NGHTTP2_PING:
        return COST_PING;
    case NGHTTP2_SETTINGS:
        return COST_SETTINGS;
    case NGHTTP2_CONTINUATION:
        return length == 0 ? COST_EMPTY : COST_SMALL;
    default:
        return COST_SMALL;
    }
}

static int32_t stream_id(const unsigned char *at)
{
    return (int32_t)((uint32_t)(at[5] & 0x7f) << 24 | (uint32_t)at[6] << 16 | (uint32_t)at[7] << 8 |
                     at[8]);
}

static void look_at_stream(struct h2 *h2, unsigned type, int32_t id)
{
    bool speaks = type == NGHTTP2_HEADERS || type == NGHTTP2_DATA;
    if (speaks && was_closed(h2, id))
        fail(h2, NGHTTP2_STREAM_CLOSED);
    if (type == NGHTTP2_RST_STREAM)
        keep_closed(h2, id);
    if (type == NGHTTP2_PRIORITY && id == 0) /* the library does not look at these any more */
        fail(h2, NGHTTP2_PROTOCOL_ERROR);
}

/* The header of a frame is whole. */
static void begin_frame(struct h2 *h2, struct h2_walk *walk)
{
    const unsigned char *at = walk->header;
    walk->left = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
    charge(h2, cost_of(at[3], at[4], walk->left));
    look_at_stream(h2, at[3], stream_id(at));
    if (at[3] == NGHTTP2_HEADERS && !walk->in_head) {
        walk->in_head = true;
        walk->head_bytes = 0;
        walk->head_since_us = h2->now_us;
    }
}

static void end_frame(struct h2_walk *walk)
{
    unsigned type = walk->header[3], flags = walk->header[4];
    bool of_head = type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION;
    if (of_head && flags & NGHTTP2_FLAG_END_HEADERS)
        walk->in_head = false;
    walk->header_bytes = 0;
}

static size_t walk_preface(struct h2_walk *walk, size_t have)
{
    size_t step = have < walk->preface ? have : walk->preface;
    walk->preface -= (unsigned)step;
    return step;
}

static size_t walk_header(struct h2 *h2, struct h2_walk *walk, struct text bytes)
{
    size_t missing = sizeof(walk->header) - walk->header_bytes;
    size_t step = bytes.len < missing ? bytes.len : missing;
    memcpy(walk->header + walk->header_bytes, bytes.at, step);
    walk->header_bytes += (unsigned)step;
    if (step < missing)
        return step;
    begin_frame(h2, walk);
    if (walk->left == 0)
        end_frame(walk);
    return step;
}

static size_t walk_payload(struct h2_walk *walk, size_t have)
{
    size_t step = have < walk->left ? have : walk->left;
    walk->left -= (uint32_t)step;
    walk->head_bytes += walk->in_head ? step : 0;
    if (walk->left == 0)
        end_frame(walk);
    return step;
}

/* Walk from frame to frame, in front of the library. False: it is too much. */
static bool walk_frames(struct h2 *h2, struct text bytes)
{
    struct h2_walk *walk = &h2->walk;
    while (bytes.len && !h2->failed) {
        size_t step;
        if (walk->preface)
            step = walk_preface(walk, bytes.len);
        else if (walk->header_bytes < sizeof(walk->header))
            step = walk_header(h2, walk, bytes);
        else
            step = walk_payload(walk, bytes.len);
        bytes = text_from(bytes, step);
    }
    /* CVE-2024-27316. What we would keep of it is long full. */
    if (walk->in_head && walk->head_bytes > 2 * h2->settings.max_header_bytes)
        fail(h2, NGHTTP2_ENHANCE_YOUR_CALM);
    return !h2->failed;
}

uint64_t h2_head_since(const struct h2 *h2)
{
    if (!h2->greeted)
        return h2->begun_us;
    return h2->walk.in_head ? h2->walk.head_since_us : 0;
}

/* ------------------------------------------------------------------------ what it tells */

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* Streams take turns, unless their client says otherwise of one (RFC 9218). */
static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    static const nghttp2_extpri turns = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, h2_stream_new(with, id));
    nghttp2_session_change_extpri_stream_priority(session, id, &turns, 0);
    return 0;
}

static int malformed(struct h2_stream *stream)
{
    charge(stream->h2, COST_RESET); /* or little would buy much looking, without end */
    h2_reset(stream, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* NOLINTNEXTLINE(readability-function-size): its parameters are libnghttp2's. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *with)
{
    (void)flags, (void)with;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    struct text what = {(const char *)name, name_bytes}, is = {(const char *)value, value_bytes};
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    bool good = stream->draft ? h2_keep_field(stream, what, is) : h2_keep_trailer(stream, what, is);
    return good ? 0 : malformed(stream);
}

/* Fields that are none, which the library would pass over.
 * NOLINTNEXTLINE(readability-function-size): the same */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_bytes, const uint8_t *value,
                             size_t value_bytes, uint8_t flags, void *with)
{
    (void)name, (void)name_bytes, (void)value, (void)value_bytes, (void)flags, (void)with;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    return stream ? malformed(stream) : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct h2 *h2 = with;
    unsigned type = frame->hd.type;
    if (type == NGHTTP2_SETTINGS)
        h2->greeted = true;
    if (type != NGHTTP2_HEADERS && type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!stream)
        return 0;
    if (stream->draft) {
        stream->ended = ends;
        h2_write_request(stream);
        h2_stream_drop_draft(stream);
        h2->settings.tell(h2->settings.with, stream, H2_BEGUN);
    } else if (ends) {
        h2_stream_ended(stream);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t length, void *with)
{
    (void)flags, (void)with;
    struct h2_stream *stream = stream_of(session, id);
    if (stream)
        h2_stream_data(stream, (struct text){(const char *)bytes, length});
    else
        nghttp2_session_consume(session, id, length);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t why, void *with)
{
    (void)why;
    struct h2_stream *stream = stream_of(session, id);
    if (stream && stream->ended)
        keep_closed(with, id);
    if (stream)
        h2_stream_closed(stream);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int why,
                            void *with)
{
    (void)session, (void)frame, (void)why;
    charge(with, COST_RESET); /* the answer is one */
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct h2 *h2 = with;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    bool whole = frame->hd.type == NGHTTP2_HEADERS || frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    unsigned part =
        (unsigned)(frame->hd.length / BYTES_PER_CREDIT); /* a window may open bytewise */
    h2->budget += whole || part >= BUDGET_PER_ANSWER ? BUDGET_PER_ANSWER : 1 + part;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream && frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !stream->ended)
        h2_stream_linger(stream);
    return 0;
}

/* The head of an answer that the library will not send: nothing else would tell its client. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *with)
{
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    (void)why, (void)with;
    if (frame->hd.type == NGHTTP2_HEADERS && stream)
        h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ------------------------------------------------------------------------ begin and end */

static nghttp2_session *new_session(struct h2 *h2)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *session;
    bool made = nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0;
    assert(made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, H2_ANSWER_HEAD_BYTES);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
    made = nghttp2_session_server_new2(&session, callbacks, h2, option) == 0;
    assert(made);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return session;
}

struct h2 *h2_new(const struct h2_settings *settings, uint64_t now_us)
{
    struct h2 *h2 = memory_new(sizeof(*h2));
    h2->settings = *settings;
    h2->begun_us = h2->now_us = h2->budget_us = now_us;
    h2->budget = BUDGET;
    h2->walk.preface = NGHTTP2_CLIENT_MAGIC_LEN;
    list_init(&h2->streams);
    h2->session = new_session(h2);
    const nghttp2_settings_entry ours[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)settings->max_header_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, ours, sizeof(ours) / sizeof(ours[0]));
    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, H2_ALL_BYTES);
    return h2;
}

void h2_free(struct h2 *h2)
{
    while (!list_is_empty(&h2->streams))
        h2_stream_closed(LIST_MEMBER(h2->streams.next, struct h2_stream, link));
    nghttp2_session_del(h2->session);
    memory_free(h2);
}

/* ------------------------------------------------------------------------- in and out */

bool h2_receive(struct h2 *h2, struct text bytes, uint64_t now_us)
{
    h2->now_us = now_us;
    if (h2->failed)
        return false;
    if (!walk_frames(h2, bytes)) {
        nghttp2_session_terminate_session(h2->session, h2->why);
        return false;
    }
    ssize_t taken = nghttp2_session_mem_recv(h2->session, (const uint8_t *)bytes.at, bytes.len);
    if (taken == NGHTTP2_ERR_FLOODED)
        nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
    h2->failed |= taken != (ssize_t)bytes.len;
    return !h2->failed;
}

size_t h2_produce(struct h2 *h2, char *into, size_t room, uint64_t now_us)
{
    size_t filled = 0;
    h2->now_us = now_us;
    while (room - filled >= H2_PRODUCE_MIN) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(h2->session, &bytes);
        h2->failed |= length < 0;
        if (length <= 0)
            break;
        assert((size_t)length <= room - filled);
        memcpy(into + filled, bytes, (size_t)length);
        filled += (size_t)length;
    }
    return filled;
}

void h2_leave(struct h2 *h2, bool soon)
{
    if (soon)
        nghttp2_submit_shutdown_notice(h2->session);
    else
        nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
}

void h2_terminate(struct h2 *h2)
{
    nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR);
}

unsigned h2_stream_count(const struct h2 *h2)
{
    return h2->stream_count;
}

bool h2_is_over(const struct h2 *h2)
{
    return h2->failed ||
           (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session));
}

void h2_sweep(struct h2 *h2, uint64_t now_us, uint64_t allowed_us)
{
    for (struct link *at = h2->streams.next; at != &h2->streams; at = at->next) {
        struct h2_stream *stream = LIST_MEMBER(at, struct h2_stream, link);
        uint64_t allowed = stream->answered ? H2_LINGER_US : allowed_us;
        if (stream->owned || stream->draft)
            continue;
        if (!stream->still_us)
            stream->still_us = now_us;
        else if (now_us - stream->still_us >= allowed)
            h2_reset(stream, stream->answered ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
}
