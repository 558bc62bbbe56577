/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/h2_client.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/http/h2_fields.h"
#include "gateway/http/h2_message.h"

enum {
    INTERIM_MAX = 8,              /* 1xx answers in front of the real one */
    REQUEST_HEAD_BYTES = 1 << 20, /* ours are far below */
    TRAILER_BYTES = 16 * 1024,
    OUTBOUND_ACKS_MAX = 256, /* answers to a server that pings and sets and does not read */
};

struct h2_call {
    struct link link;         /* in the connection's list */
    struct h2_client *client; /* NULL = the connection has ended */
    void *owner;              /* NULL = it has left */
    int32_t id;               /* 0 = the request's head is not whole */
    bool closed;              /* the stream is over */
    bool refused;             /* it was not looked at */
    bool sent;                /* its head has gone out */
    bool answered;            /* something has come for it */
    bool ended;               /* all of the answer has come */
    bool has_head;            /* its head has; no interim one */
    bool has_length;
    bool chunked;   /* how its body is told on */
    bool head_only; /* an answer to HEAD */
    unsigned interim, status;
    struct h2_outgoing request;
    struct buffer fields; /* of the answer's head, while they arrive */
    struct buffer head;   /* the answer's head, not read yet */
    struct buffer in;     /* of its body, the same */
    struct buffer tail;   /* what is told behind that */
    size_t trailed;       /* bytes of its trailers */
};

struct h2_client {
    nghttp2_session *session;
    h2_call_tell *tell;
    struct link calls;
    unsigned count;
    bool greeted; /* the server has said what it allows */
    bool failed;
};

/* ------------------------------------------------------------------------ begin and end */

static void call_free(struct h2_call *call)
{
    struct buffer *all[] = {&call->fields, &call->head, &call->in, &call->tail};
    h2_outgoing_done(&call->request);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buffer_done(all[i]);
    memory_free(call);
}

struct h2_call *h2_call_begin(struct h2_client *client, void *owner)
{
    assert(owner && h2_client_room(client));
    struct h2_call *call = memory_new(sizeof(*call));
    call->client = client;
    call->owner = owner;
    h2_outgoing_init(&call->request, REQUEST_HEAD_BYTES, H2_CALL_OUT_BYTES);
    buffer_init(&call->fields, H2_CALL_HEAD_BYTES);
    buffer_init(&call->head, H2_CALL_HEAD_BYTES + 256); /* with what is ours of it */
    buffer_init(&call->in, H2_CALL_WINDOW_BYTES);
    buffer_init(&call->tail, 16);
    list_push_back(&client->calls, &call->link);
    client->count++;
    return call;
}

static void tell(struct h2_call *call, enum h2_call_news news)
{
    if (call->owner)
        call->client->tell(call->owner, news);
}

static void reset(struct h2_call *call, uint32_t why)
{
    nghttp2_submit_rst_stream(call->client->session, NGHTTP2_FLAG_NONE, call->id, why);
}

/* The stream is over, or its connection. What has come of the answer can still be read. */
static void call_over(struct h2_call *call)
{
    list_remove(&call->link);
    call->client->count--;
    call->closed = true;
    tell(call, H2_CALL_GONE);
    call->client = NULL;
    buffer_done(&call->request.out);
    if (!call->owner)
        call_free(call);
}

void h2_call_close(struct h2_call *call)
{
    call->owner = NULL;
    if (call->closed) {
        call_free(call);
        return;
    }
    if (call->id == 0) { /* nobody knows of it yet */
        call_over(call);
        return;
    }
    buffer_done(&call->head);
    buffer_done(&call->in);
    h2_outgoing_cut(&call->request);
    reset(call, call->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
}

bool h2_call_is_refused(const struct h2_call *call)
{
    return call->refused;
}

bool h2_call_is_answered(const struct h2_call *call)
{
    return call->answered;
}

/* -------------------------------------------------------------------------- the answer */

static struct h2_call *call_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct h2_call *call = call_of(session, frame->hd.stream_id);
    (void)with;
    if (call)
        call->answered = true;
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct h2_call *call = call_of(session, frame->hd.stream_id);
    (void)with;
    if (call && frame->hd.type == NGHTTP2_HEADERS)
        call->sent = true;
    return 0;
}

static int malformed(struct h2_call *call)
{
    reset(call, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool keep_field(struct h2_call *call, struct text name, struct text value)
{
    enum { AROUND = 4 }; /* ": " and CR LF */
    uint64_t status;
    if (call->has_head) { /* a trailer: nobody reads those */
        call->trailed += name.len + value.len + AROUND;
        return call->trailed <= TRAILER_BYTES;
    }
    if (text_equal(name, TEXT(":status"))) {
        bool good = value.len == 3 && text_number(value, 599, &status) && status >= 100;
        call->status = good ? (unsigned)status : 0;
        return good;
    }
    if (!h2_is_clean_name(name) || !h2_is_clean_value(value) || h2_is_of_connection(name))
        return false;
    call->has_length |= text_equal(name, TEXT("content-length"));
    h2_put_line(&call->fields, name, value);
    return !call->fields.overrun;
}

/* NOLINTNEXTLINE(readability-function-size): its parameters are libnghttp2's. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *with)
{
    struct h2_call *call = call_of(session, frame->hd.stream_id);
    struct text what = {(const char *)name, name_bytes}, is = {(const char *)value, value_bytes};
    (void)flags, (void)with;
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return keep_field(call, what, is) ? 0 : malformed(call);
}

/* The head that an HTTP/1.1 server would have sent. */
static void write_head(struct h2_call *call, bool ends)
{
    char line[32];
    bool bare = call->head_only || call->status == 204 || call->status == 304;
    snprintf(line, sizeof(line), "HTTP/1.1 %u \r\n", call->status);
    buffer_append_text(&call->head, text_of(line));
    buffer_append_text(&call->head, buffer_text(&call->fields));
    call->chunked = !ends && !call->has_length && !bare;
    if (call->chunked)
        buffer_append_text(&call->head, TEXT("transfer-encoding: chunked\r\n"));
    else if (!call->has_length && !bare)
        buffer_append_text(&call->head, TEXT("content-length: 0\r\n"));
    buffer_append_text(&call->head, TEXT("\r\n"));
    assert(!call->head.overrun);
}

static void take_head(struct h2_call *call, bool ends)
{
    if (call->status / 100 == 1) {
        call->has_length = false;
        if (++call->interim > INTERIM_MAX || ends)
            reset(call, NGHTTP2_PROTOCOL_ERROR);
    } else {
        write_head(call, ends);
        call->has_head = true;
    }
    buffer_done(&call->fields);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct h2_client *client = with;
    client->greeted |= frame->hd.type == NGHTTP2_SETTINGS;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_call *call = call_of(session, frame->hd.stream_id);
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !call->has_head)
        take_head(call, ends);
    if (ends && call->has_head) {
        call->ended = true;
        if (call->chunked)
            buffer_append_text(&call->tail, TEXT("0\r\n\r\n"));
    }
    tell(call, H2_CALL_MORE);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t length, void *with)
{
    struct h2_call *call = call_of(session, id);
    (void)flags, (void)with;
    /* What one caller does not read shall not hold up the others: the connection's window is always
     * open, and each stream's bounds what is kept. */
    nghttp2_session_consume_connection(session, length);
    if (!call || !call->owner)
        return 0;
    if (buffer_append(&call->in, bytes, length))
        tell(call, H2_CALL_MORE);
    else
        reset(call, NGHTTP2_FLOW_CONTROL_ERROR);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t why, void *with)
{
    struct h2_call *call = call_of(session, id);
    (void)with;
    if (!call)
        return 0;
    call->refused = why == NGHTTP2_REFUSED_STREAM && !call->answered;
    call_over(call);
    return 0;
}

bool h2_call_has_more(const struct h2_call *call)
{
    bool at_tail = call->ended && buffer_length(&call->tail);
    return call->closed || buffer_length(&call->head) || buffer_length(&call->in) || at_tail;
}

ssize_t h2_call_read(struct h2_call *call, void *into, size_t bytes)
{
    assert(bytes >= H2_READ_MIN);
    if (buffer_length(&call->head))
        return (ssize_t)h2_take(&call->head, into, bytes);
    if (!buffer_length(&call->in) && call->ended)
        return (ssize_t)h2_take(&call->tail, into, bytes); /* 0 behind it */
    if (!buffer_length(&call->in))
        return call->closed ? H2_BROKEN : H2_WAIT;
    size_t taken, told = h2_take_body(&call->in, call->chunked, into, bytes, &taken);
    if (!call->closed)
        nghttp2_session_consume_stream(call->client->session, call->id, taken);
    return (ssize_t)told;
}

/* ------------------------------------------------------------------------- the request */

/* NOLINTNEXTLINE(readability-function-size): its parameters are libnghttp2's. */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *with)
{
    struct h2_call *call = source->ptr;
    (void)session, (void)id, (void)with;
    ssize_t taken = h2_outgoing_read(&call->request, into, length, flags);
    if (taken >= 0 && h2_outgoing_has_room_again(&call->request))
        tell(call, H2_CALL_ROOM);
    return taken;
}

/* "POST /v1/chat HTTP/1.1" */
static bool read_line(struct text line, struct text *method, struct text *target)
{
    size_t space = text_find_byte(line, ' ');
    *method = text_head(line, space);
    *target = space == SIZE_MAX ? (struct text){"", 0} : text_from(line, space + 1);
    *target = text_head(*target, text_find_byte(*target, ' '));
    return method->len && target->len;
}

/* The host stands among the pairs; it is the authority, and in front. */
static bool take_host(nghttp2_nv *pairs, size_t *count, nghttp2_nv *authority)
{
    for (size_t i = 0; i < *count; i++) {
        struct text name = {(const char *)pairs[i].name, pairs[i].namelen};
        if (!text_equal(name, TEXT("host")))
            continue;
        struct text value = {(const char *)pairs[i].value, pairs[i].valuelen};
        *authority = h2_pair(TEXT(":authority"), value);
        memmove(pairs + i, pairs + i + 1, (*count - i - 1) * sizeof(*pairs));
        --*count;
        return true;
    }
    return false;
}

static bool submit(struct h2_call *call, nghttp2_nv *pairs, size_t count)
{
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_read};
    call->id = nghttp2_submit_request(call->client->session, NULL, pairs, count,
                                      call->request.state == H2_OUT_BODY ? &body : NULL, call);
    if (call->id > 0)
        return true;
    call->id = 0;
    return false;
}

static bool send_head(void *with)
{
    enum { PSEUDO = 4 };
    struct h2_call *call = with;
    struct text head = buffer_text(&call->request.words), method, target;
    struct text line = h2_next_line(&head);
    struct h2_framing framing = {.length = UINT64_MAX};
    if (!read_line(line, &method, &target))
        return false;
    nghttp2_nv *pairs = memory_new((h2_count_lines(head) + PSEUDO) * sizeof(*pairs));
    size_t count = h2_read_fields(head, pairs + PSEUDO, &framing);
    pairs[0] = h2_pair(TEXT(":method"), method);
    pairs[1] = h2_pair(TEXT(":scheme"), TEXT("https"));
    pairs[2] = h2_pair(TEXT(":path"), target);
    bool has_body = framing.chunked || (framing.length && framing.length != UINT64_MAX);
    call->head_only = text_equal(method, TEXT("HEAD"));
    body_init(&call->request.body, framing.chunked ? BODY_CHUNKED : BODY_LENGTH, framing.length);
    call->request.state = has_body ? H2_OUT_BODY : H2_OUT_WHOLE;
    bool sent = take_host(pairs + PSEUDO, &count, &pairs[3]) && submit(call, pairs, count + PSEUDO);
    memory_free(pairs);
    return sent;
}

ssize_t h2_call_write(struct h2_call *call, const struct iovec *pieces, int count)
{
    struct h2_outgoing *request = &call->request;
    if (call->closed || request->state == H2_OUT_CUT)
        return H2_BROKEN;
    size_t taken = h2_outgoing_write(request, pieces, count, send_head, call);
    if (request->state == H2_OUT_CUT) {
        if (call->id)
            reset(call, NGHTTP2_CANCEL);
        else
            call_over(call);
        return H2_BROKEN;
    }
    bool has_something = buffer_length(&request->out) || request->state == H2_OUT_WHOLE;
    if (has_something && h2_outgoing_wakes(request))
        nghttp2_session_resume_data(call->client->session, call->id);
    return taken ? (ssize_t)taken : H2_WAIT;
}

/* -------------------------------------------------------------------------- the session */

struct h2_client *h2_client_new(h2_call_tell *told)
{
    struct h2_client *client = memory_new(sizeof(*client));
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    bool made = nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0;
    assert(made);
    client->tell = told;
    list_init(&client->calls);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
    /* HTTP/1.1 takes them off, and a target is not given up for a space. */
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
    made = nghttp2_session_client_new2(&client->session, callbacks, client, option) == 0;
    assert(made);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry ours[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_CALL_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_CALL_HEAD_BYTES},
    };
    nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, ours,
                            sizeof(ours) / sizeof(ours[0]));
    /* A few windows' worth at once; it is opened again as it fills. */
    nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0,
                                          8 * H2_CALL_WINDOW_BYTES);
    return client;
}

void h2_client_free(struct h2_client *client)
{
    while (!list_is_empty(&client->calls)) {
        struct h2_call *call = LIST_MEMBER(client->calls.next, struct h2_call, link);
        call->refused = call->refused || !call->sent;
        call_over(call);
    }
    nghttp2_session_del(client->session);
    memory_free(client);
}

bool h2_client_receive(struct h2_client *client, struct text bytes)
{
    if (client->failed)
        return false;
    ssize_t taken = nghttp2_session_mem_recv(client->session, (const uint8_t *)bytes.at, bytes.len);
    client->failed |= taken != (ssize_t)bytes.len;
    return !client->failed;
}

size_t h2_client_produce(struct h2_client *client, char *into, size_t room)
{
    size_t filled = 0;
    while (room - filled >= H2_PRODUCE_MIN) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(client->session, &bytes);
        client->failed |= length < 0;
        if (length <= 0)
            break;
        assert((size_t)length <= room - filled);
        memcpy(into + filled, bytes, (size_t)length);
        filled += (size_t)length;
    }
    return filled;
}

unsigned h2_client_room(const struct h2_client *client)
{
    uint32_t allowed = nghttp2_session_get_remote_settings(client->session,
                                                           NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    unsigned most = !client->greeted ? 1 : allowed < H2_CALLS_MAX ? allowed : H2_CALLS_MAX;
    if (client->failed || !nghttp2_session_check_request_allowed(client->session))
        return 0;
    return client->count < most ? most - client->count : 0;
}

bool h2_client_is_greeted(const struct h2_client *client)
{
    return client->greeted;
}

void h2_client_ping(struct h2_client *client)
{
    nghttp2_submit_ping(client->session, NGHTTP2_FLAG_NONE, NULL);
}

void h2_client_leave(struct h2_client *client)
{
    nghttp2_submit_goaway(client->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
}

bool h2_client_is_over(const struct h2_client *client)
{
    return client->failed || (!nghttp2_session_want_read(client->session) &&
                              !nghttp2_session_want_write(client->session));
}
