/* SPDX-License-Identifier: Apache-2.0 */

/* The realtime API over a WebSocket, in words only (OpenAI API reference, "Realtime"). Each
 * response.create is a call. */

#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/mock/inside.h"

enum { MESSAGE_BYTES = 1024 * 1024, MODEL_BYTES = 136 };

/* What a conversation needs beyond a plan; the socket is first, so that one is found by it. */
struct talk {
    struct websocket ws;
    struct caller *caller;
    char model[MODEL_BYTES];
    char session[48];
    int64_t prompt_tokens; /* of all that was said */
    struct wish wish;
    uint64_t seed;
    unsigned long long events;
};

static struct talk *talk_of(struct websocket *ws)
{
    return LIST_MEMBER(ws, struct talk, ws);
}

/* Send an event as one message. */
static void send_event(struct talk *talk, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void send_event(struct talk *talk, const char *type, const char *format, ...)
{
    char inside[2048], line[2300];
    unsigned char head[10];
    va_list args;
    va_start(args, format);
    vsnprintf(inside, sizeof(inside), format, args);
    va_end(args);
    int len = snprintf(line, sizeof(line), "{\"type\":\"%s\",\"event_id\":\"event_%llu\"%s%s}",
                       type, ++talk->events, inside[0] != '\0' ? "," : "", inside);
    struct buffer *out = &talk->caller->out;
    size_t head_len = websocket_text_head((uint64_t)len, head);
    if (buffer_length(out) > MESSAGE_BYTES * 8)
        return; /* who does not read misses something */
    put(out, (struct text){(char *)head, head_len});
    put(out, (struct text){line, (size_t)len});
}

static void send_session(struct talk *talk, const char *type)
{
    send_event(talk, type,
               "\"session\":{\"id\":\"%s\",\"object\":\"realtime.session\",\"model\":\"%s\","
               "\"modalities\":[\"text\"],\"instructions\":\"\",\"tools\":[],"
               "\"turn_detection\":null}",
               talk->session, talk->model);
}

static void send_words(struct talk *talk, const struct tally *tally, int64_t tokens)
{
    struct prose prose = {.seed = talk->seed, .tokens = tokens};
    char room[PIECE_BYTES];
    for (int64_t i = 0; i < tokens; i++) {
        struct text piece = prose_piece(&prose, i, room);
        send_event(talk, "response.output_text.delta",
                   "\"response_id\":\"%s\",\"item_id\":\"item_%s\",\"output_index\":0,"
                   "\"content_index\":0,\"delta\":\"%.*s\"",
                   tally->id, tally->id + 5, TEXT_ARGS(piece));
    }
}

static void respond(struct talk *talk)
{
    struct mock *mock = talk->caller->mock;
    struct tally tally = {.stream = true, .prompt_tokens = talk->prompt_tokens};
    int64_t tokens = talk->wish.tokens > 0 ? talk->wish.tokens : 16 + (int64_t)(talk->seed % 16);
    if (tokens > 2000)
        tokens = 2000;
    mock_id(mock, "resp_", tally.id);
    snprintf(tally.model, sizeof(tally.model), "%s", talk->model);
    tally.completion_tokens = tokens;
    counters_begin(mock->counters, &tally);
    send_event(talk, "response.created",
               "\"response\":{\"id\":\"%s\",\"object\":\"realtime.response\",\"status\":"
               "\"in_progress\",\"output\":[],\"usage\":null}",
               tally.id);
    send_event(talk, "response.output_item.added",
               "\"response_id\":\"%s\",\"output_index\":0,\"item\":{\"id\":\"item_%s\",\"object\":"
               "\"realtime.item\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}",
               tally.id, tally.id + 5);
    send_words(talk, &tally, tokens);
    send_event(talk, "response.output_item.done",
               "\"response_id\":\"%s\",\"output_index\":0,\"item\":{\"id\":\"item_%s\",\"type\":"
               "\"message\",\"status\":\"completed\",\"role\":\"assistant\"}",
               tally.id, tally.id + 5);
    send_event(talk, "response.done",
               "\"response\":{\"id\":\"%s\",\"object\":\"realtime.response\",\"status\":"
               "\"completed\",\"output\":[],\"usage\":{\"total_tokens\":%lld,\"input_tokens\":%lld,"
               "\"output_tokens\":%lld,\"input_token_details\":{\"text_tokens\":%lld,"
               "\"audio_tokens\":0,\"cached_tokens\":0},\"output_token_details\":{\"text_tokens\":"
               "%lld,\"audio_tokens\":0}}}",
               tally.id, (long long)tally.prompt_tokens + (long long)tokens,
               (long long)tally.prompt_tokens, (long long)tokens, (long long)tally.prompt_tokens,
               (long long)tokens);
    talk->prompt_tokens += tokens;
    tally.outcome = OUTCOME_WHOLE;
    counters_end(mock->counters, &tally);
}

static void on_message(struct websocket *ws, struct text message)
{
    struct talk *talk = talk_of(ws);
    struct text type = scan_is_valid(message) ? member_words(message, "type") : TEXT("");
    if (text_equal(type, TEXT("session.update"))) {
        send_session(talk, "session.updated");
    } else if (text_equal(type, TEXT("conversation.item.create"))) {
        struct text item = member_find(message, TEXT("item"));
        talk->prompt_tokens += prose_count_json(item);
        talk->seed = prose_seed(talk->seed, item);
        send_event(talk, "conversation.item.created",
                   "\"previous_item_id\":null,\"item\":{\"id\":\"item_%llu\",\"object\":"
                   "\"realtime.item\",\"type\":\"message\",\"status\":\"completed\",\"role\":"
                   "\"user\"}",
                   talk->events);
    } else if (text_equal(type, TEXT("response.create"))) {
        respond(talk);
    } else {
        send_event(talk, "error",
                   "\"error\":{\"type\":\"invalid_request_error\",\"code\":\"unknown_event\","
                   "\"message\":\"The mock does not know that event\",\"param\":null}");
    }
}

static void on_close(struct websocket *ws)
{
    static const struct text goodbye = {"\x88\x02\x03\xe8", 4}; /* RFC 6455 7.4.1: 1000 */
    struct talk *talk = talk_of(ws);
    put(&talk->caller->out, goodbye);
    talk->caller->plan.close = true;
}

void realtime_feed(struct caller *caller, struct text bytes)
{
    if (bytes.len > 0 && !caller->plan.close && !websocket_feed(caller->ws, bytes))
        caller->plan.close = true;
}

void realtime_done(struct caller *caller)
{
    if (caller->ws == NULL)
        return;
    websocket_done(caller->ws);
    memory_free(talk_of(caller->ws));
    caller->ws = NULL;
}

static struct text model_of(const struct caller *caller)
{
    struct text query = text_of(caller->request.query), item;
    while (text_next(&query, '&', &item))
        if (text_starts(item, TEXT("model=")))
            return text_from(item, 6);
    return TEXT("mock");
}

void answer_realtime(struct caller *caller)
{
    char accept[29];
    struct text key = text_of(caller->request.key), model = model_of(caller);
    struct wish wish;
    if (!caller->request.upgrade || !websocket_key_is_valid(key)) {
        refuse(caller, 400, NULL, NULL, "Realtime is a WebSocket");
        return;
    }
    if (model.len >= MODEL_BYTES || text_find_byte(model, '"') != SIZE_MAX ||
        !wish_read(model, &wish)) {
        refuse(caller, 404, "model_not_found", "model", "The mock does not know that model");
        return;
    }
    struct talk *talk = memory_new(sizeof(*talk));
    talk->caller = caller;
    talk->wish = wish;
    talk->seed = caller->mock->options.seed;
    snprintf(talk->model, sizeof(talk->model), "%.*s", TEXT_ARGS(model));
    mock_id(caller->mock, "sess_", talk->session);
    websocket_init(&talk->ws, MESSAGE_BYTES);
    talk->ws.on_message = on_message;
    talk->ws.on_close = on_close;
    caller->ws = &talk->ws;
    caller->state = CALLER_FRAMES;
    websocket_accept(key, accept);
    put_format(&caller->out,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\nx-mock-call: %s\r\n\r\n",
               accept, talk->session);
    send_session(talk, "session.created");
}
