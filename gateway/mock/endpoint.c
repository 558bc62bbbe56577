/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/mock/inside.h"

struct endpoint {
    enum method method;
    const char *path; /* behind "/v1", if that is there; {} stands for one segment */
    void (*answer)(struct caller *caller);
};

/* clang-format off */
static const struct endpoint endpoints[] = {
    {METHOD_POST,   "/chat/completions",         answer_chat},
    {METHOD_POST,   "/completions",              answer_completion},
    {METHOD_POST,   "/responses",                answer_response},
    {METHOD_GET,    "/responses/{}",             answer_object},
    {METHOD_DELETE, "/responses/{}",             answer_object_delete},
    {METHOD_POST,   "/responses/{}/cancel",      answer_cancel},
    {METHOD_GET,    "/responses/{}/input_items", answer_input_items},
    {METHOD_POST,   "/embeddings",               answer_embedding},
    {METHOD_POST,   "/moderations",              answer_moderation},
    {METHOD_POST,   "/images/generations",       answer_image},
    {METHOD_POST,   "/images/edits",             answer_image},
    {METHOD_POST,   "/images/variations",        answer_image},
    {METHOD_POST,   "/audio/speech",             answer_speech},
    {METHOD_POST,   "/audio/transcriptions",     answer_transcription},
    {METHOD_POST,   "/audio/translations",       answer_transcription},
    {METHOD_POST,   "/rerank",                   answer_rerank},
    {METHOD_POST,   "/files",                    answer_upload},
    {METHOD_GET,    "/files",                    answer_objects},
    {METHOD_GET,    "/files/{}",                 answer_object},
    {METHOD_DELETE, "/files/{}",                 answer_object_delete},
    {METHOD_GET,    "/files/{}/content",         answer_content},
    {METHOD_POST,   "/batches",                  answer_batch},
    {METHOD_GET,    "/batches",                  answer_objects},
    {METHOD_GET,    "/batches/{}",               answer_object},
    {METHOD_POST,   "/batches/{}/cancel",        answer_cancel},
    {METHOD_GET,    "/models",                   answer_models},
    {METHOD_GET,    "/models/{}",                answer_model},
    {METHOD_GET,    "/realtime",                 answer_realtime},
    {METHOD_GET,    "/__mock/stats",             answer_stats},
    {METHOD_GET,    "/__mock/calls",             answer_calls},
    {METHOD_POST,   "/__mock/reset",             answer_reset},
};
/* clang-format on */

/* Does <path> fit <pattern>? Model names have slashes in them, so the last {} may hold some. */
static bool fits(struct text path, struct text pattern)
{
    size_t hole = text_find(pattern, TEXT("{}"));
    if (hole == SIZE_MAX)
        return text_equal(path, pattern);
    struct text behind = text_from(pattern, hole + 2);
    if (!text_starts(path, text_head(pattern, hole)) || !text_ends(path, behind) ||
        path.len <= hole + behind.len)
        return false;
    struct text inside = {path.at + hole, path.len - hole - behind.len};
    return text_find_byte(inside, '/') == SIZE_MAX || text_starts(inside, TEXT("mock/"));
}

void endpoint_answer(struct caller *caller)
{
    struct text path = text_of(caller->request.path);
    bool method_differs = false;
    if (text_starts(path, TEXT("/v1/")))
        path = text_from(path, 3);
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        if (!fits(path, text_of(endpoints[i].path)))
            continue;
        if (endpoints[i].method == caller->request.method) {
            endpoints[i].answer(caller);
            return;
        }
        method_differs = true;
    }
    if (method_differs)
        refuse(caller, 405, NULL, NULL, "Not allowed to do that here");
    else
        refuse(caller, 404, NULL, NULL, "Unknown request URL");
}

/* -------------------------------------------------------------------------------- writing */

void put(struct buffer *out, struct text text)
{
    bool fitted = buffer_append_text(out, text);
    assert(fitted);
}

void put_format(struct buffer *out, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    assert(len >= 0 && (size_t)len < sizeof(line));
    put(out, (struct text){line, (size_t)len});
}

void put_escaped(struct buffer *out, struct text text)
{
    char piece[6 * 256];
    while (text.len > 0) {
        struct text part = text_head(text, 256);
        put(out, (struct text){piece, log_escape(piece, sizeof(piece), part)});
        text = text_from(text, part.len);
    }
}

void reply(struct caller *caller, unsigned status, const char *type)
{
    caller->plan.status = status;
    caller->plan.type = type;
    caller->plan.script = NULL;
}

static const char *type_of(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 429:
        return "requests";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static void put_string(struct buffer *out, const char *string)
{
    if (string == NULL) {
        put(out, TEXT("null"));
        return;
    }
    put(out, TEXT("\""));
    put_escaped(out, text_of(string));
    put(out, TEXT("\""));
}

void refuse(struct caller *caller, unsigned status, const char *code, const char *param,
            const char *message)
{
    struct buffer *text = &caller->plan.text;
    buffer_clear(text);
    put(text, TEXT("{\n  \"error\": {\n    \"message\": "));
    put_string(text, message);
    put_format(text, ",\n    \"type\": \"%s\",\n    \"param\": ", type_of(status));
    put_string(text, param);
    put(text, TEXT(",\n    \"code\": "));
    put_string(text, code);
    put(text, TEXT("\n  }\n}\n"));
    reply(caller, status, "application/json");
}

/* ------------------------------------------------------------------------------- counters */

void answer_stats(struct caller *caller)
{
    counters_write(caller->mock->counters, caller->mock->caller_count, &caller->plan.text);
    put(&caller->plan.text, TEXT("\n"));
    reply(caller, 200, "application/json");
}

void answer_reset(struct caller *caller)
{
    counters_reset(caller->mock->counters);
    put(&caller->plan.text, TEXT("{}\n"));
    reply(caller, 200, "application/json");
}

static void calls_begin(struct caller *caller, struct buffer *out)
{
    (void)caller;
    put(out, TEXT("{\"calls\":["));
}

static bool calls_more(struct caller *caller, struct buffer *out)
{
    struct plan *plan = &caller->plan;
    if (plan->sequence++ > 0)
        put(out, TEXT(",\n"));
    if (counters_write_call(caller->mock->counters, &plan->number, out))
        return true;
    buffer_clear(out); /* the comma, too */
    return false;
}

static void calls_end(struct caller *caller, struct buffer *out)
{
    put_format(out, "],\"next\":%llu}\n", (unsigned long long)caller->plan.number);
}

void answer_calls(struct caller *caller)
{
    static const struct script script = {calls_begin, calls_more, calls_end};
    struct text query = text_of(caller->request.query);
    if (text_starts(query, TEXT("since=")) &&
        !text_number(text_from(query, 6), UINT64_MAX, &caller->plan.number)) {
        refuse(caller, 400, NULL, "since", "since=N is a whole number");
        return;
    }
    reply(caller, 200, "application/json");
    caller->plan.script = &script;
}
