/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/http/body.h"
#include "gateway/http/head.h"
#include "gateway/http/sse.h"
#include "gateway/mock/mock.h"
#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct mock *mock;

static int start(void **state)
{
    (void)state;
    mock = mock_start();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    mock_stop(mock);
    return 0;
}

/* ------------------------------------------------------------------------- a small client */

enum how { HOW_WHOLE, HOW_CLOSED, HOW_SILENT, HOW_INVALID };

struct reply {
    enum how how;
    unsigned status;
    bool keep_alive, chunked;
    char type[64], retry_after[16];
    struct buffer body;
    int64_t first_us; /* until the first byte */
};

enum { PATIENCE_MS = 30000, SILENCE_MS = 400, REPLY_BYTES = 64 * 1024 * 1024 };

static void write_all(int fd, struct text text)
{
    while (text.len > 0) {
        ssize_t n = send(fd, text.at, text.len, MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, PATIENCE_MS);
            continue;
        }
        text = text_from(text, (size_t)n);
    }
}

/* Wait for bytes: how many, 0 = closed, -1 = silence. */
static ssize_t read_some(int fd, char *to, size_t room, int patience_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, patience_ms) <= 0)
        return -1;
    ssize_t n = recv(fd, to, room, 0);
    return n < 0 ? 0 : n;
}

static void copy(char *to, size_t room, struct text from)
{
    snprintf(to, room, "%.*s", TEXT_ARGS(from));
}

struct reading {
    struct reply *reply;
    struct buffer bytes;
    struct head_find find;
    struct body body;
    bool has_head;
};

static bool read_head(struct reading *r)
{
    static struct head head;
    struct fault why;
    size_t length;
    struct text bytes = buffer_text(&r->bytes);
    enum head_result result = head_find(&r->find, bytes, false, 65536, &length, &why);
    if (result == HEAD_WAIT)
        return false;
    if (result == HEAD_BAD || !head_read_response(text_head(bytes, length), &head, &why)) {
        r->reply->how = HOW_INVALID;
        return false;
    }
    r->has_head = true;
    r->reply->status = head.status;
    r->reply->keep_alive = head.keep_alive;
    r->reply->chunked = head.chunked;
    copy(r->reply->type, sizeof(r->reply->type), head_value(&head, TEXT("content-type")));
    copy(r->reply->retry_after, sizeof(r->reply->retry_after),
         head_value(&head, TEXT("retry-after")));
    body_init(&r->body, head.chunked ? BODY_CHUNKED : BODY_LENGTH, (uint64_t)head.content_length);
    buffer_drop(&r->bytes, length);
    return true;
}

/* True when the reply is over, well or badly. */
static bool read_body(struct reading *r)
{
    for (;;) {
        struct fault why;
        struct text bytes = buffer_text(&r->bytes), data;
        enum body_result result = body_next(&r->body, &bytes, &data, &why);
        if (result == BODY_DATA)
            assert_true(buffer_append_text(&r->reply->body, data));
        buffer_drop(&r->bytes, buffer_length(&r->bytes) - bytes.len);
        if (result == BODY_WAIT)
            return false;
        if (result != BODY_DATA) {
            r->reply->how = result == BODY_END ? HOW_WHOLE : HOW_INVALID;
            return true;
        }
    }
}

static struct reply read_reply(int fd, int patience_ms)
{
    static char input[65536];
    struct reply reply = {.how = HOW_SILENT};
    struct reading r = {.reply = &reply};
    uint64_t begun = clock_now_us();
    buffer_init(&r.bytes, REPLY_BYTES);
    buffer_init(&reply.body, REPLY_BYTES);
    for (;;) {
        ssize_t n = read_some(fd, input, sizeof(input), patience_ms);
        if (n <= 0) {
            reply.how = n == 0 ? HOW_CLOSED : HOW_SILENT;
            break;
        }
        if (reply.first_us == 0)
            reply.first_us = (int64_t)(clock_now_us() - begun);
        assert_true(buffer_append(&r.bytes, input, (size_t)n));
        if (!r.has_head && !read_head(&r)) {
            if (reply.how == HOW_INVALID)
                break;
            continue;
        }
        if (read_body(&r))
            break;
    }
    buffer_done(&r.bytes);
    return reply;
}

static void post(int fd, const char *path, const char *body)
{
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "POST %s HTTP/1.1\r\nHost: mock\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\nx-request-id: mine\r\n\r\n",
                       path, strlen(body));
    write_all(fd, (struct text){head, (size_t)len});
    write_all(fd, text_of(body));
}

static int patience_ms = PATIENCE_MS; /* less, where nothing is to come */

static struct reply ask(const char *path, const char *body)
{
    int fd = mock_connect(mock);
    assert_true(fd >= 0);
    post(fd, path, body);
    struct reply reply = read_reply(fd, patience_ms);
    close(fd);
    return reply;
}

static struct reply get(const char *path)
{
    char head[256];
    int fd = mock_connect(mock);
    int len = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: mock\r\n\r\n", path);
    write_all(fd, (struct text){head, (size_t)len});
    struct reply reply = read_reply(fd, PATIENCE_MS);
    close(fd);
    return reply;
}

static struct reply chat(const char *model, bool stream)
{
    char body[512];
    snprintf(body, sizeof(body),
             "{\"model\":\"%s\",\"stream\":%s,\"stream_options\":{\"include_usage\":true},"
             "\"messages\":[{\"role\":\"user\",\"content\":\"Say something\"}]}",
             model, stream ? "true" : "false");
    return ask("/v1/chat/completions", body);
}

static json_t *parsed(const struct reply *reply)
{
    struct text text = buffer_text(&reply->body);
    json_t *json = json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static const char *string_at(json_t *json, const char *path)
{
    char step[64];
    struct text rest = text_of(path), name;
    while (text_next(&rest, '.', &name)) {
        copy(step, sizeof(step), name);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(step))
                                   : json_object_get(json, step);
    }
    return json_is_string(json) ? json_string_value(json) : "(no string)";
}

/* What the gateway's own dialect sees in a stream, and in which order it ends. */
static struct answer watch(const struct reply *reply, enum operation operation)
{
    static char id[ANSWER_ID_BYTES]; /* of the last one that was watched */
    struct answer answer = {.operation = operation, .object_id = id};
    struct text bytes = buffer_text(&reply->body);
    assert_int_equal(sse_whole(bytes), bytes.len);
    struct sse_event event;
    enum event_verdict last = EVENT_PASS;
    while (sse_next(&bytes, &event)) {
        assert_true(last != EVENT_LAST);
        last = dialect_find(TEXT("openai"))->watch_event(&answer, &event);
    }
    return answer;
}

static void done(struct reply *reply)
{
    buffer_done(&reply->body);
}

/* ------------------------------------------------------------------------------------ chat */

static void chats(void **state)
{
    (void)state;
    struct reply reply = chat("mock", false), again = chat("mock", false);
    assert_int_equal(reply.how, HOW_WHOLE);
    assert_int_equal(reply.status, 200);
    assert_false(reply.chunked);
    json_t *json = parsed(&reply), *other = parsed(&again);
    assert_string_equal(string_at(json, "object"), "chat.completion");
    assert_string_equal(string_at(json, "choices.0.finish_reason"), "stop");
    assert_true(strlen(string_at(json, "choices.0.message.content")) > 20);
    assert_string_equal(string_at(json, "choices.0.message.content"),
                        string_at(other, "choices.0.message.content"));
    assert_string_not_equal(string_at(json, "id"), string_at(other, "id"));
    json_t *usage = json_object_get(json, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")),
                     json_integer_value(json_object_get(usage, "prompt_tokens")) +
                         json_integer_value(json_object_get(usage, "completion_tokens")));
    json_decref(json);
    json_decref(other);
    done(&reply);
    done(&again);
}

static void streams_a_chat(void **state)
{
    (void)state;
    struct reply reply = chat("mock/tokens-7+cached-2+reasoning-5", true);
    assert_int_equal(reply.how, HOW_WHOLE);
    assert_true(reply.chunked);
    assert_true(text_starts(text_of(reply.type), TEXT("text/event-stream")));
    struct answer answer = watch(&reply, OPERATION_CHAT);
    assert_true(answer.ended && answer.usage_seen);
    assert_int_equal(answer.events, 7);
    assert_int_equal(answer.usage.output_tokens, 12);
    assert_int_equal(answer.usage.reasoning_tokens, 5);
    assert_int_equal(answer.usage.cached_tokens, 2);
    assert_string_equal(answer.finish, "stop");
    struct text body = buffer_text(&reply.body);
    assert_true(text_find(body, TEXT("\"choices\":[],\"usage\":{")) != SIZE_MAX);
    assert_true(text_ends(body, TEXT("data: [DONE]\n\n")));
    done(&reply);
}

static void keeps_to_the_limit_and_makes_choices(void **state)
{
    (void)state;
    struct reply reply =
        ask("/v1/chat/completions", "{\"model\":\"mock\",\"n\":3,\"max_completion_tokens\":4,"
                                    "\"messages\":[{\"role\":\"user\",\"content\":\"Say\"}]}");
    json_t *json = parsed(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "choices")), 3);
    assert_string_equal(string_at(json, "choices.2.finish_reason"), "length");
    json_t *usage = json_object_get(json, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 12);
    json_decref(json);
    done(&reply);
    reply = ask("/v1/chat/completions", "{\"model\":\"mock\",\"n\":2,\"max_tokens\":4,"
                                        "\"stream\":true,\"messages\":[]}");
    struct answer answer = watch(&reply, OPERATION_CHAT);
    assert_int_equal(answer.events, 8);
    assert_string_equal(answer.finish, "length");
    assert_false(answer.usage_seen);
    done(&reply);
}

#define TOOLS                                                                                  \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":" \
    "{\"type\":\"object\",\"properties\":{\"location\":{\"type\":\"string\"},\"days\":"        \
    "{\"type\":\"integer\",\"minimum\":2},\"unit\":{\"enum\":[\"celsius\"]}}}}}]"

static void calls_a_tool(void **state)
{
    (void)state;
    struct reply reply = ask("/v1/chat/completions",
                             "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":"
                             "\"What is the Weather like?\"}]," TOOLS "}");
    json_t *json = parsed(&reply);
    assert_string_equal(string_at(json, "choices.0.finish_reason"), "tool_calls");
    const char *path = "choices.0.message.tool_calls.0.function.";
    char name[128];
    snprintf(name, sizeof(name), "%sname", path);
    assert_string_equal(string_at(json, name), "get_weather");
    snprintf(name, sizeof(name), "%sarguments", path);
    assert_string_equal(string_at(json, name),
                        "{\"location\":\"Paris, France\",\"days\":2,\"unit\":\"celsius\"}");
    json_decref(json);
    done(&reply);
    static const char *const in_words[] = {
        "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]," TOOLS "}",
        "{\"model\":\"mock\",\"tool_choice\":\"none\",\"messages\":[{\"role\":\"user\",\"content\":"
        "\"weather\"}]," TOOLS "}",
        "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"weather\"},{\"role\":"
        "\"tool\",\"content\":\"weather: rain\"}]," TOOLS "}",
    };
    for (size_t i = 0; i < sizeof(in_words) / sizeof(in_words[0]); i++) {
        reply = ask("/v1/chat/completions", in_words[i]);
        json = parsed(&reply);
        assert_string_equal(string_at(json, "choices.0.finish_reason"), "stop");
        json_decref(json);
        done(&reply);
    }
    reply = ask("/v1/chat/completions",
                "{\"model\":\"mock\",\"stream\":true,\"tool_choice\":\"required\",\"messages\":[]"
                "," TOOLS "}");
    struct answer answer = watch(&reply, OPERATION_CHAT);
    assert_string_equal(answer.finish, "tool_calls");
    assert_true(answer.events > 5);
    done(&reply);
}

static void fits_a_schema(void **state)
{
    (void)state;
    struct reply reply =
        ask("/v1/chat/completions",
            "{\"model\":\"mock\",\"messages\":[],\"response_format\":{\"type\":\"json_schema\","
            "\"json_schema\":{\"schema\":{\"type\":\"object\",\"properties\":{\"steps\":{\"type\":"
            "\"array\",\"minItems\":2,\"items\":{\"$ref\":\"#/$defs/step\"}},\"none\":{\"type\":"
            "[\"null\"]},\"same\":{\"$ref\":\"#\"}},\"$defs\":{\"step\":{\"anyOf\":[{\"type\":"
            "\"boolean\"}]}}}}}}");
    json_t *json = parsed(&reply);
    json_t *inside = json_loads(string_at(json, "choices.0.message.content"), 0, NULL);
    assert_non_null(inside);
    assert_int_equal(json_array_size(json_object_get(inside, "steps")), 2);
    assert_true(json_is_true(json_array_get(json_object_get(inside, "steps"), 0)));
    assert_true(json_is_null(json_object_get(inside, "none")));
    json_decref(inside);
    json_decref(json);
    done(&reply);
}

/* ----------------------------------------------------------------------------- the others */

static void answers_a_response(void **state)
{
    (void)state;
    struct reply reply = ask("/responses", "{\"model\":\"mock/tokens-4\",\"input\":\"Say\","
                                           "\"stream\":true}");
    struct answer answer = watch(&reply, OPERATION_RESPONSE);
    assert_true(answer.ended && answer.usage_seen && answer.owns);
    assert_int_equal(answer.events, 4);
    assert_int_equal(answer.usage.output_tokens, 4);
    assert_string_equal(answer.finish, "completed");
    done(&reply);
    char path[256];
    snprintf(path, sizeof(path), "/v1/responses/%s", answer.object_id);
    reply = get(path);
    json_t *json = parsed(&reply);
    assert_string_equal(string_at(json, "id"), answer.object_id);
    assert_string_equal(string_at(json, "output.0.content.0.type"), "output_text");
    json_decref(json);
    done(&reply);
    reply = ask("/v1/responses", "{\"model\":\"mock\",\"input\":\"Say\",\"store\":false}");
    json = parsed(&reply);
    snprintf(path, sizeof(path), "/v1/responses/%s", string_at(json, "id"));
    json_decref(json);
    done(&reply);
    reply = get(path);
    assert_int_equal(reply.status, 404);
    done(&reply);
}

static void answers_all_others(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct { const char *path, *body, *where, *what; } cases[] = {
        {"/v1/completions", "{\"model\":\"mock\",\"prompt\":\"Say\",\"max_tokens\":2}", "choices.0.finish_reason", "length"},
        {"/v1/embeddings", "{\"model\":\"mock\",\"input\":[\"a\",\"b\"]}", "data.1.object", "embedding"},
        {"/v1/embeddings", "{\"model\":\"mock\",\"input\":[[1],[2]],\"encoding_format\":\"base64\",\"dimensions\":1}", "data.1.object", "embedding"},
        {"/v1/moderations", "{\"model\":\"mock\",\"input\":\"a\"}", "model", "mock"},
        {"/v1/images/generations", "{\"model\":\"mock\",\"prompt\":\"a\",\"response_format\":\"url\",\"n\":2}", "data.1.url", NULL},
        {"/v1/rerank", "{\"model\":\"mock\",\"query\":\"red fox\",\"documents\":[\"sea\",\"fox\"]}", "model", "mock"},
        {"/v1/models", NULL, "data.0.id", "mock"},
        {"/v1/models/mock/slow", NULL, "id", "mock/slow"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply reply =
            cases[i].body != NULL ? ask(cases[i].path, cases[i].body) : get(cases[i].path);
        assert_int_equal(reply.how, HOW_WHOLE);
        assert_int_equal(reply.status, 200);
        json_t *json = parsed(&reply);
        assert_string_not_equal(string_at(json, cases[i].where), "(no string)");
        if (cases[i].what != NULL)
            assert_string_equal(string_at(json, cases[i].where), cases[i].what);
        json_decref(json);
        done(&reply);
    }
    struct reply speech = ask("/v1/audio/speech", "{\"model\":\"mock\",\"input\":\"a b\"}");
    assert_string_equal(speech.type, "audio/wav");
    assert_true(text_starts(buffer_text(&speech.body), TEXT("RIFF")));
    done(&speech);
}

#define FORM(name) "--cut\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define FORM_FILE(name) \
    "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" name "\"\r\n\r\n"

static struct reply send_form(const char *path, const char *form)
{
    char head[256];
    int fd = mock_connect(mock);
    int len = snprintf(head, sizeof(head),
                       "POST %s HTTP/1.1\r\nHost: mock\r\nContent-Type: multipart/form-data; "
                       "boundary=cut\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
                       path, strlen(form));
    write_all(fd, (struct text){head, (size_t)len});
    write_all(fd, text_of(form));
    write_all(fd, TEXT("\r\n0\r\n\r\n"));
    struct reply reply = read_reply(fd, PATIENCE_MS);
    close(fd);
    return reply;
}

static void takes_forms_files_and_batches(void **state)
{
    (void)state;
    struct reply reply = send_form(
        "/v1/audio/transcriptions",
        FORM_FILE("a.wav") "RIFF\r\n" FORM("model") "mock\r\n" FORM("stream") "true\r\n"
                                                                              "--cut--\r\n");
    struct answer answer = watch(&reply, OPERATION_TRANSCRIPTION);
    assert_true(answer.ended && answer.usage_seen);
    done(&reply);
    reply =
        send_form("/v1/files",
                  FORM("purpose") "batch\r\n" FORM_FILE("in.jsonl") "{\"custom_id\":\"a\","
                                                                    "\"body\":{\"model\":"
                                                                    "\"mock\"}}\n\r\n--cut--\r\n");
    json_t *file = parsed(&reply);
    assert_string_equal(string_at(file, "purpose"), "batch");
    assert_string_equal(string_at(file, "filename"), "in.jsonl");
    done(&reply);
    char text[256];
    snprintf(text, sizeof(text), "/v1/files/%s/content", string_at(file, "id"));
    reply = get(text);
    assert_true(text_starts(buffer_text(&reply.body), TEXT("{\"custom_id\":\"a\",")));
    done(&reply);
    snprintf(text, sizeof(text), "{\"input_file_id\":\"%s\",\"endpoint\":\"/v1/chat/completions\"}",
             string_at(file, "id"));
    reply = ask("/v1/batches", text);
    json_t *batch = parsed(&reply);
    assert_string_equal(string_at(batch, "status"), "validating");
    done(&reply);
    snprintf(text, sizeof(text), "/v1/batches/%s", string_at(batch, "id"));
    json_decref(batch);
    usleep(1050000);
    reply = get(text);
    batch = parsed(&reply);
    assert_string_equal(string_at(batch, "status"), "completed");
    done(&reply);
    snprintf(text, sizeof(text), "/v1/files/%s/content", string_at(batch, "output_file_id"));
    reply = get(text);
    assert_true(text_find(buffer_text(&reply.body), TEXT("\"custom_id\":\"a\"")) != SIZE_MAX);
    done(&reply);
    json_decref(batch);
    json_decref(file);
}

/* ---------------------------------------------------------------------------------- faults */

static void fails_as_asked(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct { const char *model; enum how whole, stream; } cases[] = {
        {"mock/reset",              HOW_CLOSED,  HOW_CLOSED},
        {"mock/reset-mid",          HOW_CLOSED,  HOW_CLOSED},
        {"mock/stall",              HOW_SILENT,  HOW_SILENT},
        {"mock/stall-head",         HOW_SILENT,  HOW_SILENT},
        {"mock/bad-chunk",          HOW_INVALID, HOW_INVALID},
        {"mock/bad-head",           HOW_INVALID, HOW_INVALID},
        {"mock/cut",                HOW_WHOLE,   HOW_WHOLE},
        {"mock/garbage",            HOW_WHOLE,   HOW_WHOLE},
        {"mock/error-mid",          HOW_WHOLE,   HOW_WHOLE},
        {"mock/close",              HOW_WHOLE,   HOW_WHOLE},
        {"mock/reset-mid-5+odds-0", HOW_WHOLE,   HOW_WHOLE},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        patience_ms = cases[i].whole == HOW_SILENT ? SILENCE_MS : PATIENCE_MS;
        struct reply whole = chat(cases[i].model, false), stream = chat(cases[i].model, true);
        if (whole.how != cases[i].whole || stream.how != cases[i].stream)
            fail_msg("%s: %d %d", cases[i].model, whole.how, stream.how);
        bool closes = text_equal(text_of(cases[i].model), TEXT("mock/close"));
        if (cases[i].stream == HOW_WHOLE)
            assert_int_equal(stream.keep_alive, !closes);
        done(&whole);
        done(&stream);
    }
    patience_ms = PATIENCE_MS;
}

static bool has(const struct reply *reply, const char *what)
{
    return text_find(buffer_text(&reply->body), text_of(what)) != SIZE_MAX;
}

static void spoils_streams_as_asked(void **state)
{
    (void)state;
    struct reply cut = chat("mock/cut-5", true), no_done = chat("mock/no-done", true);
    struct answer answer = watch(&cut, OPERATION_CHAT);
    assert_int_equal(answer.events, 5);
    assert_false(answer.ended);
    answer = watch(&no_done, OPERATION_CHAT);
    assert_true(answer.ended && !has(&no_done, "[DONE]"));
    struct reply error = chat("mock/error-mid", true), none = chat("mock/no-usage", true);
    assert_true(watch(&error, OPERATION_CHAT).failed);
    assert_false(watch(&none, OPERATION_CHAT).usage_seen);
    struct reply every = chat("mock/usage-every-chunk+tokens-3", true);
    assert_int_equal(watch(&every, OPERATION_CHAT).usage.output_tokens, 3);
    struct reply garbage = chat("mock/garbage", false), inside = chat("mock/error-mid", false);
    assert_false(has(&garbage, "choices"));
    assert_true(has(&inside, "\"error\""));
    done(&cut);
    done(&no_done);
    done(&error);
    done(&none);
    done(&every);
    done(&garbage);
    done(&inside);
}

static void refuses_as_asked(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct { const char *model; unsigned status; const char *retry_after, *code; } cases[] = {
        {"mock/429", 429, "", "rate_limit_exceeded"}, {"mock/429-retry-after", 429, "1", "rate_limit_exceeded"},
        {"mock/503-retry-after-9", 503, "9", NULL}, {"mock/500", 500, "", NULL}, {"mock/401", 401, "", "invalid_api_key"},
        {"mock/frobnicate", 404, "", "model_not_found"}, {"mock/", 404, "", "model_not_found"}, {"mock/rate", 404, "", "model_not_found"},
        {"mock/200", 404, "", "model_not_found"}, {"mock/slow-5", 404, "", "model_not_found"}, {"mock/429-retry", 404, "", "model_not_found"},
        {"mock/tokens-99999999999", 404, "", "model_not_found"}, {"", 400, "", "missing_required_parameter"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply reply = chat(cases[i].model, i % 2 == 0);
        assert_int_equal(reply.how, HOW_WHOLE);
        assert_int_equal(reply.status, cases[i].status);
        assert_string_equal(reply.retry_after, cases[i].retry_after);
        json_t *json = parsed(&reply);
        if (cases[i].code != NULL)
            assert_string_equal(string_at(json, "error.code"), cases[i].code);
        json_decref(json);
        done(&reply);
    }
    struct reply broken = ask("/v1/chat/completions", "{\"model\":");
    assert_int_equal(broken.status, 400);
    done(&broken);
    broken = get("/v1/../etc");
    assert_int_equal(broken.status, 404);
    done(&broken);
}

static void keeps_time(void **state)
{
    (void)state;
    struct reply slow = chat("mock/slow-150ms+tokens-2", false);
    assert_int_equal(slow.how, HOW_WHOLE);
    assert_true(slow.first_us >= 149000);
    done(&slow);
    uint64_t begun = clock_now_us();
    struct reply paced = chat("mock/rate-50+tokens-10", true);
    uint64_t took = clock_now_us() - begun;
    assert_int_equal(paced.how, HOW_WHOLE);
    assert_true(took >= 190000);
    done(&paced);
    /* The first words do not wait for the last; who reads them may be late now and then. */
    bool early = false;
    for (int i = 0; i < 50 && !early; i++) {
        paced = chat("mock/rate-50+tokens-10", true);
        early = paced.first_us < 150000;
        done(&paced);
    }
    assert_true(early);
}

static void is_as_big_as_asked(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct reply big = chat("mock/big-2", stream);
        assert_int_equal(big.how, HOW_WHOLE);
        size_t length = buffer_length(&big.body);
        assert_true(length > 1900000 && length < 6000000);
        if (stream)
            assert_true(watch(&big, OPERATION_CHAT).usage.output_tokens > 100000);
        done(&big);
    }
}

/* -------------------------------------------------------------------------------- connections */

static unsigned count_replies(struct text bytes)
{
    unsigned count = 0;
    for (size_t at; (at = text_find(bytes, TEXT("HTTP/1.1 200 OK\r\n"))) != SIZE_MAX; count++)
        bytes = text_from(bytes, at + 1);
    return count;
}

static void pipelines_and_keeps_alive(void **state)
{
    (void)state;
    int fd = mock_connect(mock);
    for (int i = 0; i < 3; i++)
        post(fd, "/v1/chat/completions",
             i == 1 ? "{\"model\":\"mock/slow-50ms\",\"messages\":[]}"
                    : "{\"model\":\"mock\",\"stream\":true,\"messages\":[]}");
    /* The replies come one after the other; read one byte at a time, so that none is overread. */
    struct buffer all;
    buffer_init(&all, REPLY_BYTES);
    char bytes[4096];
    ssize_t n;
    while (count_replies(buffer_text(&all)) < 3 ||
           !text_ends(buffer_text(&all), TEXT("\r\n0\r\n\r\n"))) {
        n = read_some(fd, bytes, sizeof(bytes), PATIENCE_MS);
        assert_true(n > 0);
        assert_true(buffer_append(&all, bytes, (size_t)n));
    }
    n = read_some(fd, bytes, sizeof(bytes), SILENCE_MS);
    assert_int_equal(n, -1); /* silent, and still open */
    assert_int_equal(count_replies(buffer_text(&all)), 3);
    buffer_done(&all);
    post(fd, "/v1/chat/completions", "{\"model\":\"mock\",\"messages\":[]}");
    struct reply reply = read_reply(fd, PATIENCE_MS);
    assert_int_equal(reply.how, HOW_WHOLE);
    done(&reply);
    close(fd);
}

static void says_continue(void **state)
{
    (void)state;
    int fd = mock_connect(mock);
    char bytes[64];
    write_all(fd, TEXT("POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: 30\r\n"
                       "Expect: 100-continue\r\n\r\n"));
    ssize_t n = read_some(fd, bytes, sizeof(bytes), PATIENCE_MS);
    assert_true(text_equal((struct text){bytes, (size_t)n}, TEXT("HTTP/1.1 100 Continue\r\n\r\n")));
    write_all(fd, TEXT("{\"model\":\"mock\",\"messages\":[]}"));
    struct reply reply = read_reply(fd, PATIENCE_MS);
    assert_int_equal(reply.status, 200);
    done(&reply);
    close(fd);
}

static void refuses_what_is_no_request(void **state)
{
    (void)state;
    int fd = mock_connect(mock);
    write_all(fd, TEXT("POST /v1/models HTTP/1.1\nHost: mock\n\n"));
    struct reply reply = read_reply(fd, PATIENCE_MS);
    assert_int_equal(reply.status, 400);
    assert_false(reply.keep_alive);
    done(&reply);
    close(fd);
}

static json_t *stats(void)
{
    struct reply reply = get("/__mock/stats");
    json_t *json = parsed(&reply);
    done(&reply);
    return json;
}

static int64_t stat_of(const char *model, const char *name)
{
    json_t *json = stats();
    json_t *at = json_object_get(json_object_get(json, "models"), model);
    int64_t value = json_integer_value(json_object_get(at, name));
    json_decref(json);
    return value;
}

static void counts_what_it_did(void **state)
{
    (void)state;
    int fd = mock_connect(mock);
    write_all(fd, TEXT("POST /__mock/reset HTTP/1.1\r\nHost: mock\r\n\r\n"));
    struct reply reset = read_reply(fd, PATIENCE_MS);
    assert_int_equal(reset.status, 200);
    done(&reset);
    close(fd);
    struct reply one = chat("mock/tokens-5", true), two = chat("mock/429", true);
    assert_int_equal(stat_of("mock/tokens-5", "whole"), 1);
    assert_int_equal(stat_of("mock/tokens-5", "completion_tokens"), 5);
    assert_int_equal(stat_of("mock/429", "refused"), 1);
    done(&one);
    done(&two);
    fd = mock_connect(mock); /* one that leaves in the middle */
    post(fd, "/v1/chat/completions",
         "{\"model\":\"mock/rate-100+tokens-1000\",\"stream\":true,\"messages\":[]}");
    char bytes[8192];
    assert_true(read_some(fd, bytes, sizeof(bytes), PATIENCE_MS) > 0);
    assert_int_equal(stat_of("mock/rate-100+tokens-1000", "in_flight"), 1);
    close(fd);
    for (int i = 0; i < 3000 && stat_of("mock/rate-100+tokens-1000", "in_flight") > 0; i++)
        usleep(10000);
    assert_int_equal(stat_of("mock/rate-100+tokens-1000", "in_flight"), 0);
    assert_int_equal(stat_of("mock/rate-100+tokens-1000", "cut"), 1);
    assert_true(stat_of("mock/rate-100+tokens-1000", "completion_tokens") < 1000);
    struct reply log = get("/__mock/calls?since=1");
    json_t *json = parsed(&log), *calls = json_object_get(json, "calls");
    assert_int_equal(json_array_size(calls), 2);
    assert_string_equal(string_at(calls, "0.outcome"), "refused");
    assert_string_equal(string_at(calls, "1.outcome"), "cut");
    assert_string_equal(string_at(calls, "1.request_id"), "mine");
    json_int_t at = json_integer_value(json_object_get(json_array_get(calls, 1), "at_us"));
    json_int_t until = json_integer_value(json_object_get(json_array_get(calls, 1), "until_us"));
    assert_true(0 < at && at <= until && until <= (json_int_t)clock_now_us());
    assert_int_equal(json_integer_value(json_object_get(json, "next")), 3);
    json_decref(json);
    done(&log);
}

/* ----------------------------------------------------------------------------------- realtime */

static void send_frame(int fd, const char *message)
{
    unsigned char head[8] = {0x81, (unsigned char)(0x80 | strlen(message)), 0, 0, 0, 0};
    assert_true(strlen(message) < 126);
    write_all(fd, (struct text){(const char *)head, 6}); /* masked with zeros */
    write_all(fd, text_of(message));
}

static void talks_over_a_websocket(void **state)
{
    (void)state;
    static char bytes[65536];
    int fd = mock_connect(mock);
    size_t len = 0;
    write_all(fd,
              TEXT("GET /v1/realtime?model=mock HTTP/1.1\r\nHost: mock\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"));
    send_frame(fd, "{\"type\":\"response.create\"}");
    ssize_t n;
    struct text all = {bytes, 0};
    bool said = false; /* the last event is there, and what belongs to it */
    while ((n = read_some(fd, bytes + len, sizeof(bytes) - len, said ? SILENCE_MS : PATIENCE_MS)) >
           0) {
        all.len = len += (size_t)n;
        said = text_find(all, TEXT("{\"type\":\"response.done\"")) != SIZE_MAX;
    }
    assert_true(text_starts(all, TEXT("HTTP/1.1 101 ")));
    assert_true(text_find(all, TEXT("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) != SIZE_MAX);
    assert_true(text_find(all, TEXT("\"type\":\"session.created\"")) != SIZE_MAX);
    size_t end = text_find(all, TEXT("{\"type\":\"response.done\""));
    assert_true(end != SIZE_MAX);
    struct answer answer = {.operation = OPERATION_REALTIME};
    struct sse_event event = {.data = text_from(all, end), .lines = 1};
    assert_int_equal(dialect_find(TEXT("openai"))->watch_event(&answer, &event), EVENT_LAST);
    assert_true(answer.usage_seen && answer.usage.output_tokens > 10);
    write_all(fd, (struct text){"\x88\x80\0\0\0\0", 6});
    n = read_some(fd, bytes, sizeof(bytes), PATIENCE_MS);
    assert_true(n == 4 && bytes[0] == (char)0x88);
    assert_int_equal(read_some(fd, bytes, sizeof(bytes), PATIENCE_MS), 0);
    close(fd);
}

static void stops_in_the_middle_of_everything(void **state)
{
    (void)state;
    struct mock *other = mock_start();
    int fds[100];
    for (size_t i = 0; i < 100; i++) {
        fds[i] = mock_connect(other);
        post(fds[i], "/v1/chat/completions",
             "{\"model\":\"mock/rate-10+tokens-1000\",\"stream\":true,\"messages\":[]}");
    }
    usleep(20000);
    int late = mock_connect(other);
    mock_stop(other);
    char bytes[65536];
    for (size_t i = 0; i < 100; i++) {
        while (read_some(fds[i], bytes, sizeof(bytes), PATIENCE_MS) > 0)
            ;
        close(fds[i]);
    }
    assert_int_equal(read_some(late, bytes, sizeof(bytes), PATIENCE_MS), 0);
    close(late);
    mock_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chats),
        cmocka_unit_test(streams_a_chat),
        cmocka_unit_test(keeps_to_the_limit_and_makes_choices),
        cmocka_unit_test(calls_a_tool),
        cmocka_unit_test(fits_a_schema),
        cmocka_unit_test(answers_a_response),
        cmocka_unit_test(answers_all_others),
        cmocka_unit_test(takes_forms_files_and_batches),
        cmocka_unit_test(fails_as_asked),
        cmocka_unit_test(spoils_streams_as_asked),
        cmocka_unit_test(refuses_as_asked),
        cmocka_unit_test(keeps_time),
        cmocka_unit_test(is_as_big_as_asked),
        cmocka_unit_test(pipelines_and_keeps_alive),
        cmocka_unit_test(says_continue),
        cmocka_unit_test(refuses_what_is_no_request),
        cmocka_unit_test(counts_what_it_did),
        cmocka_unit_test(talks_over_a_websocket),
        cmocka_unit_test(stops_in_the_middle_of_everything),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
