/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/mock/inside.h"

enum {
    IN_BYTES = 128 * 1024,
    HEAD_BYTES = 64 * 1024,
    ROUND_BYTES = 512 * 1024,      /* then others have their turn */
    BATCH_BYTES = 16 * 1024,       /* made ahead of the socket */
    OUT_BYTES = 16 * 1024 * 1024,  /* of one piece at most */
    BODY_BYTES = 64 * 1024 * 1024, /* kept of a request; all of it is read */
    FAULT_AFTER = 3,               /* tokens, when the wish names no number */
};

static const uint64_t IDLE_US = UINT64_C(300) * 1000000;

static void on_event(struct watch *watch, unsigned events);
static void on_time(struct timer *timer);

static struct caller *caller_of(struct watch *watch)
{
    return LIST_MEMBER(watch, struct caller, watch);
}

void caller_new(struct mock *mock, int fd)
{
    struct caller *caller = memory_new(sizeof(*caller));
    caller->mock = mock;
    caller->watch = (struct watch){.fd = fd, .on_event = on_event};
    caller->timer.on_time = on_time;
    list_init(&caller->timer.link);
    buffer_init(&caller->in, IN_BYTES);
    buffer_init(&caller->out, OUT_BYTES);
    buffer_init(&caller->body, BODY_BYTES);
    buffer_init(&caller->plan.text, OUT_BYTES);
    list_push_back(&mock->callers, &caller->link);
    mock->caller_count++;
    loop_add(mock->loop, &caller->watch);
    timer_set(mock->loop, &caller->timer, loop_now_us(mock->loop) + IDLE_US);
}

static void caller_free(struct grave *grave)
{
    struct caller *caller = LIST_MEMBER(grave, struct caller, grave);
    buffer_done(&caller->in);
    buffer_done(&caller->out);
    buffer_done(&caller->body);
    buffer_done(&caller->plan.text);
    realtime_done(caller);
    memory_free(caller);
}

/* Write down how the call ended, once. */
static void close_tally(struct caller *caller, enum outcome outcome)
{
    struct plan *plan = &caller->plan;
    if (!plan->is_call)
        return;
    plan->is_call = false;
    plan->tally.outcome = outcome;
    counters_end(caller->mock->counters, &plan->tally);
}

void caller_end(struct caller *caller, bool reset)
{
    if (caller->state == CALLER_GONE)
        return;
    caller->state = CALLER_GONE;
    close_tally(caller, reset || caller->plan.broken ? OUTCOME_BROKEN : OUTCOME_CUT);
    timer_stop(&caller->timer);
    loop_remove(caller->mock->loop, &caller->watch);
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(caller->watch.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(caller->watch.fd);
    list_remove(&caller->link);
    caller->mock->caller_count--;
    loop_bury(caller->mock->loop, &caller->grave, caller_free);
}

/* ------------------------------------------------------------------------- the answer's head */

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    default:
        return "Status";
    }
}

static void put_head(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    struct buffer *out = &caller->out;
    put_format(out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nServer: mock\r\n", plan->status,
               reason_of(plan->status), plan->type);
    if (plan->tally.id[0] != '\0')
        put_format(out, "x-mock-call: %s\r\nx-request-id: %s\r\n", plan->tally.id, plan->tally.id);
    if (plan->is_call)
        put(out, TEXT("x-ratelimit-limit-requests: 10000\r\n"
                      "x-ratelimit-remaining-requests: 9999\r\n"
                      "x-ratelimit-reset-requests: 6ms\r\n"));
    if (plan->wish.retry_after > 0 && plan->status >= 400)
        put_format(out, "Retry-After: %lld\r\n", (long long)plan->wish.retry_after);
    if (plan->close)
        put(out, TEXT("Connection: close\r\n"));
    if (plan->chunked)
        put(out, TEXT("Transfer-Encoding: chunked\r\n\r\n"));
    else if (plan->script == NULL)
        put_format(out, "Content-Length: %zu\r\n\r\n", buffer_length(&plan->text));
    else
        put(out, TEXT("\r\n"));
}

/* ------------------------------------------------------------------------ pieces of an answer */

/* Send what stands in the scratch buffer as one chunk. */
static void put_piece(struct caller *caller, struct text piece)
{
    char head[BODY_CHUNK_HEAD_BYTES];
    if (piece.len == 0)
        return;
    if (!caller->plan.chunked) {
        put(&caller->out, piece);
        return;
    }
    put(&caller->out, (struct text){head, body_chunk_head(piece.len, head)});
    put(&caller->out, piece);
    put(&caller->out, TEXT("\r\n"));
}

static void put_end(struct caller *caller)
{
    if (caller->plan.chunked)
        put(&caller->out, TEXT("0\r\n\r\n"));
    caller->plan.phase = PHASE_DONE;
}

/* A fault that befalls the whole answer. */
static bool is_spoilt(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    unsigned faults = plan->wish.faults;
    if (faults & MOCK_RESET) {
        plan->phase = PHASE_RESET;
    } else if (faults & MOCK_STALL_HEAD) {
        plan->phase = PHASE_STALLED;
    } else if (faults & MOCK_BAD_HEAD) {
        put(&caller->out, TEXT("HTP/1.1 two hundred\nContent-Length 12\n\nnothing here"));
        plan->close = true;
        plan->phase = PHASE_DONE;
    } else if (faults & MOCK_GARBAGE) {
        put_head(caller);
        if (!plan->chunked && plan->script == NULL) { /* as long as the head says */
            size_t len = buffer_length(&plan->text);
            for (size_t i = 0; i < len; i++)
                put(&caller->out, TEXT("\x7f"));
        } else {
            put_piece(caller, TEXT("<html>\x01\x02 {\"not\": json,\n\xff\xfe data\n\n\n"));
        }
        put_end(caller);
    } else {
        return false;
    }
    plan->broken = true;
    return true;
}

/* The beginning of a stream comes now, what it says later. */
static void be_late(struct plan *plan)
{
    if (!(plan->wish.faults & MOCK_LATE) || plan->wish.delay_us == 0)
        return;
    plan->due_us = plan->begun_us += (uint64_t)plan->wish.delay_us;
    plan->wish.delay_us = 0;
}

static bool is_middle(const struct plan *plan)
{
    int64_t after = plan->wish.after > 0 ? plan->wish.after : FAULT_AFTER;
    if (plan->script != NULL)
        return plan->tokens >= after;
    return plan->text_sent > 0 || buffer_length(&plan->text) < 2;
}

/* A fault in the middle of the answer. (An unstreamed one is nothing but the error, then.) */
static bool is_struck(struct caller *caller)
{
    static const char error[] = "{\"error\":{\"message\":\"The mock was asked to fail here\","
                                "\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    struct plan *plan = &caller->plan;
    unsigned faults = plan->wish.faults & (MOCK_RESET_MID | MOCK_STALL | MOCK_CUT | MOCK_BAD_CHUNK |
                                           MOCK_ERROR_MID | MOCK_BAD_EVENT | MOCK_SHORT);
    if (faults == 0 || plan->status != 200 || !is_middle(plan))
        return false;
    if (faults & MOCK_BAD_EVENT) { /* what comes behind it is well */
        plan->wish.faults &= ~(unsigned)MOCK_BAD_EVENT;
        if (plan->stream)
            put_piece(caller, TEXT("data: {\"id\":\"chatcmpl-\",\"choices\":[{\"delta\":\n\n"));
        return false;
    }
    plan->broken = true;
    if (faults & MOCK_SHORT) {
        plan->close = true;
        plan->phase = PHASE_DONE;
    } else if (faults & MOCK_RESET_MID) {
        plan->phase = PHASE_RESET;
    } else if (faults & MOCK_STALL) {
        plan->phase = PHASE_STALLED;
    } else if (faults & MOCK_CUT) {
        put_end(caller);
    } else if (faults & MOCK_BAD_CHUNK) {
        put(&caller->out, TEXT("zz\r\nthis is no chunk\r\n"));
        plan->close = true;
        plan->phase = PHASE_DONE;
    } else {
        struct buffer *scratch = &caller->mock->scratch;
        buffer_clear(scratch);
        put_format(scratch, plan->stream ? "data: %s\n\n" : "%s", error);
        put_piece(caller, buffer_text(scratch));
        put_end(caller);
    }
    return true;
}

static void begin(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    plan->phase = PHASE_MORE;
    if (is_spoilt(caller))
        return;
    put_head(caller);
    if (plan->script != NULL && plan->script->begin != NULL) {
        buffer_clear(&caller->mock->scratch);
        plan->script->begin(caller, &caller->mock->scratch);
        put_piece(caller, buffer_text(&caller->mock->scratch));
    }
    be_late(plan);
}

/* The next part of a body that is in memory: half of it when something is to happen halfway. */
static void more_text(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    struct text rest = text_from(buffer_text(&plan->text), plan->text_sent);
    bool halve = plan->text_sent == 0 && plan->wish.faults != 0 && rest.len >= 2;
    struct text piece = text_head(rest, halve ? rest.len / 2 : rest.len);
    piece = text_head(piece, BATCH_BYTES);
    put_piece(caller, piece);
    plan->text_sent += piece.len;
    if (rest.len == 0)
        plan->phase = PHASE_END;
}

static void more(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    if (plan->script == NULL) {
        more_text(caller);
        return;
    }
    struct buffer *scratch = &caller->mock->scratch;
    buffer_clear(scratch);
    if (!plan->script->more(caller, scratch))
        plan->phase = PHASE_END;
    put_piece(caller, buffer_text(scratch));
    if (plan->wish.rate > 0)
        plan->due_us =
            plan->begun_us + (uint64_t)plan->tokens * UINT64_C(1000000) / (uint64_t)plan->wish.rate;
}

static void finish_body(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    if (plan->script != NULL && plan->script->end != NULL) {
        struct buffer *scratch = &caller->mock->scratch;
        buffer_clear(scratch);
        plan->script->end(caller, scratch);
        put_piece(caller, buffer_text(scratch));
    }
    put_end(caller);
}

/* Make as much as is due, ahead of the socket by a batch. */
static void make(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    uint64_t now = loop_now_us(caller->mock->loop);
    while (buffer_length(&caller->out) < BATCH_BYTES && plan->due_us <= now) {
        switch (plan->phase) {
        case PHASE_BEGIN:
            begin(caller);
            break;
        case PHASE_MORE:
            if (!is_struck(caller))
                more(caller);
            break;
        case PHASE_END:
            finish_body(caller);
            return;
        case PHASE_DONE:
        case PHASE_STALLED:
        case PHASE_RESET:
            return;
        }
    }
}

/* --------------------------------------------------------------------------------- sending */

/* True when all is sent; false: wait for room, or the caller is gone. */
static bool flush(struct caller *caller, size_t *sent)
{
    while (buffer_length(&caller->out) > 0) {
        struct text text = buffer_text(&caller->out);
        ssize_t n = send(caller->watch.fd, text.at, text.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                caller_end(caller, false);
            return false;
        }
        buffer_drop(&caller->out, (size_t)n);
        *sent += (size_t)n;
    }
    if (caller->out.capacity > BATCH_BYTES * 4)
        buffer_done(&caller->out);
    return true;
}

static void next_request(struct caller *caller)
{
    struct buffer text = caller->plan.text;
    buffer_done(&text);
    buffer_done(&caller->out);
    buffer_done(&caller->body);
    memset(&caller->plan, 0, sizeof(caller->plan));
    caller->plan.text = text;
    caller->find = (struct head_find){0};
    caller->state = CALLER_HEAD;
    timer_set(caller->mock->loop, &caller->timer, loop_now_us(caller->mock->loop) + IDLE_US);
}

/* Drive the answer as far as it goes now. True: it is over, and the connection lives. */
static bool go(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    struct mock *mock = caller->mock;
    size_t sent = 0;
    while (flush(caller, &sent)) {
        plan->tally.completion_tokens =
            plan->tokens + (plan->tokens > 0 ? plan->wish.reasoning : 0);
        if (plan->phase == PHASE_RESET) {
            caller_end(caller, true);
            return false;
        }
        if (plan->phase == PHASE_DONE) {
            close_tally(caller, plan->broken          ? OUTCOME_BROKEN
                                : plan->status == 200 ? OUTCOME_WHOLE
                                                      : OUTCOME_REFUSED);
            if (plan->close) {
                caller_end(caller, false);
                return false;
            }
            next_request(caller);
            return true;
        }
        if (plan->phase == PHASE_STALLED) {
            timer_stop(&caller->timer);
            return false;
        }
        if (plan->due_us > loop_now_us(mock->loop)) {
            buffer_done(&caller->out); /* a slow stream holds no buffer while it waits */
            timer_set(mock->loop, &caller->timer, plan->due_us);
            return false;
        }
        if (sent > ROUND_BYTES) {
            loop_again(mock->loop, &caller->watch, LOOP_WRITE);
            return false;
        }
        make(caller);
    }
    return false;
}

/* -------------------------------------------------------------------------------- receiving */

static void start_answer(struct caller *caller)
{
    struct plan *plan = &caller->plan;
    caller->state = CALLER_ANSWER;
    timer_stop(&caller->timer);
    plan->begun_us = plan->due_us = loop_now_us(caller->mock->loop);
    plan->created = clock_wall_us() / 1000000;
    endpoint_answer(caller);
    buffer_done(&caller->body);
    plan->close |= !caller->request.keep_alive || (plan->wish.faults & MOCK_CLOSE) != 0;
    unsigned framed = MOCK_CUT | MOCK_BAD_CHUNK | MOCK_ERROR_MID;
    plan->chunked = !caller->request.is_old && caller->state == CALLER_ANSWER &&
                    (plan->script != NULL || (plan->status == 200 && plan->wish.faults & framed));
    if (caller->request.is_old && plan->script != NULL)
        plan->close = true;
}

static void refuse_and_close(struct caller *caller, unsigned status, const char *message)
{
    caller->state = CALLER_ANSWER;
    caller->plan.close = true;
    refuse(caller, status, NULL, NULL, message);
}

static void copy_header(char *to, size_t room, struct text value)
{
    size_t len = value.len < room ? value.len : 0; /* a cut one would say something else */
    memcpy(to, value.at != NULL ? value.at : "", len);
    to[len] = '\0';
}

/* Note what matters of the head; the bytes go. */
static bool note_head(struct caller *caller, const struct head *head)
{
    struct request *request = &caller->request;
    if (head->path.len >= sizeof(request->path) || head->query.len >= sizeof(request->query))
        return false;
    request->method = head->method;
    request->keep_alive = head->keep_alive;
    request->upgrade = head->upgrade;
    request->is_old = head->minor == 0;
    copy_header(request->path, sizeof(request->path), head->path);
    copy_header(request->query, sizeof(request->query), head->query);
    copy_header(request->type, sizeof(request->type), head_value(head, TEXT("content-type")));
    copy_header(request->key, sizeof(request->key), head_value(head, TEXT("sec-websocket-key")));
    copy_header(caller->plan.tally.request_id, sizeof(caller->plan.tally.request_id),
                head_value(head, TEXT("x-request-id")));
    return true;
}

/* Read a head off the front of caller->in; false: wait, or it was refused. */
static bool read_head(struct caller *caller)
{
    struct fault why;
    struct head *head = &caller->mock->head;
    size_t length = 0;
    struct text bytes = buffer_text(&caller->in);
    enum head_result result = head_find(&caller->find, bytes, true, HEAD_BYTES, &length, &why);
    if (result == HEAD_WAIT)
        return false;
    if (result == HEAD_BAD || !head_read_request(text_head(bytes, length), head, &why)) {
        refuse_and_close(caller, 400, why.text);
        return false;
    }
    if (!note_head(caller, head)) {
        refuse_and_close(caller, 414, "the target is too long");
        return false;
    }
    enum body_kind kind = head->chunked              ? BODY_CHUNKED
                          : head->content_length > 0 ? BODY_LENGTH
                                                     : BODY_NONE;
    body_init(&caller->framing, kind, kind == BODY_LENGTH ? (uint64_t)head->content_length : 0);
    caller->body_bytes = 0;
    caller->state = CALLER_BODY;
    bool expects =
        head->expect_continue && kind != BODY_NONE && buffer_length(&caller->in) == length;
    buffer_drop(&caller->in, length);
    if (expects)
        put(&caller->out, TEXT("HTTP/1.1 100 Continue\r\n\r\n"));
    return true;
}

static void keep(struct caller *caller, struct text data)
{
    caller->body_bytes += data.len;
    size_t kept = buffer_length(&caller->body);
    buffer_append_text(&caller->body, text_head(data, BODY_BYTES - kept));
}

/* Take the body off the front of caller->in; true when it is whole. */
static bool read_body(struct caller *caller)
{
    struct fault why;
    for (;;) {
        struct text bytes = buffer_text(&caller->in), data;
        enum body_result result = body_next(&caller->framing, &bytes, &data, &why);
        if (result == BODY_DATA)
            keep(caller, data);
        buffer_drop(&caller->in, buffer_length(&caller->in) - bytes.len);
        if (result == BODY_END)
            return true;
        if (result == BODY_BAD)
            refuse_and_close(caller, 400, why.text);
        if (result != BODY_DATA)
            return false;
    }
}

/* Do what the bytes that have arrived allow; pipelined requests are answered in their turn. */
static void advance(struct caller *caller)
{
    size_t sent = 0;
    for (;;) {
        switch (caller->state) {
        case CALLER_HEAD:
            if (!read_head(caller) && caller->state == CALLER_HEAD)
                return;
            break;
        case CALLER_BODY:
            if (read_body(caller)) {
                start_answer(caller);
            } else if (caller->state == CALLER_BODY) {
                flush(caller, &sent); /* 100 Continue */
                return;
            }
            break;
        case CALLER_ANSWER:
            if (!go(caller))
                return;
            break;
        case CALLER_FRAMES:
            realtime_feed(caller, buffer_text(&caller->in));
            buffer_clear(&caller->in);
            if (flush(caller, &sent) && caller->plan.close)
                caller_end(caller, false);
            return;
        case CALLER_GONE:
            return;
        }
    }
}

/* Read and go on until there is nothing to read, or an answer is on its way. */
static void run(struct caller *caller)
{
    struct mock *mock = caller->mock;
    size_t taken = 0;
    for (;;) {
        advance(caller);
        if (caller->state == CALLER_ANSWER || caller->state == CALLER_GONE)
            return;
        if (buffer_length(&caller->in) == 0)
            buffer_done(&caller->in);
        if (taken > ROUND_BYTES) {
            loop_again(mock->loop, &caller->watch, LOOP_READ);
            return;
        }
        ssize_t n = recv(caller->watch.fd, mock->input, sizeof(mock->input), 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || !buffer_append(&caller->in, mock->input, (size_t)n)) {
            if (n >= 0 || errno != EINTR)
                caller_end(caller, false);
            continue;
        }
        taken += (size_t)n;
    }
}

static void on_event(struct watch *watch, unsigned events)
{
    struct caller *caller = caller_of(watch);
    caller->hangup = caller->hangup || events & LOOP_HANGUP;
    bool left = events & LOOP_BROKEN || (caller->hangup && caller->state == CALLER_ANSWER);
    if (!left)
        run(caller);
    if (left || (caller->hangup && caller->state == CALLER_ANSWER))
        caller_end(caller, false); /* nothing else would tell that it has gone while it waits */
}

static void on_time(struct timer *timer)
{
    struct caller *caller = LIST_MEMBER(timer, struct caller, timer);
    if (caller->state == CALLER_ANSWER)
        run(caller);
    else
        caller_end(caller, false); /* idle for too long */
}
