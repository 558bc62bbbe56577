/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/answer.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/client.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/relay.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/tiers.h"
#include "gateway/worker_inside.h"

/* ----------------------------------------------------------------------------- writing */

static void put(struct buffer *out, struct text t)
{
    buffer_append(out, t.at, t.len);
}

static void put_field(struct buffer *out, struct text name, struct text value)
{
    put(out, name);
    put(out, TEXT(": "));
    put(out, value);
    put(out, TEXT("\r\n"));
}

/* "0.000123456": nano-dollars as dollars, without floating point. */
static void put_dollars(struct buffer *out, int64_t nanos)
{
    uint64_t whole = (uint64_t)nanos / 1000000000U, part = (uint64_t)nanos % 1000000000U;
    char digits[9];
    for (int i = 8; i >= 0; i--, part /= 10)
        digits[i] = (char)('0' + part % 10);
    buffer_append_number(out, whole);
    put(out, TEXT("."));
    buffer_append(out, digits, sizeof(digits));
}

enum { EXCEPTION_BYTES = 65536 };

/* ------------------------------------------------------------------------ from upstream */

struct kept {
    struct text name;
    bool prefix;
};

/* Those of one letter stand together. */
static const struct kept kept_a[] = {{{"anthropic-", 10}, true}};
static const struct kept kept_c[] = {{{"content-disposition", 19}, false},
                                     {{"content-encoding", 16}, false},
                                     {{"content-language", 16}, false},
                                     {{"cache-control", 13}, false}};
static const struct kept kept_o[] = {{{"openai-", 7}, true}};
static const struct kept kept_r[] = {
    {{"ratelimit", 9}, true}, {{"retry-after", 11}, true}, {{"request-id", 10}, false}};
static const struct kept kept_x[] = {
    {{"x-ratelimit-", 12}, true}, {{"x-groq-", 7}, true},          {{"x-amzn-", 7}, true},
    {{"x-mock-call", 11}, false}, {{"x-should-retry", 14}, false}, {{"x-api-warning", 13}, false}};

#define IS_ONE_OF(name, list) is_one_of(name, list, sizeof(list) / sizeof((list)[0]))

/* All have more than two bytes; the third tells most of them apart. */
static bool is_one_of(struct text name, const struct kept *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct kept *one = &list[i];
        if (name.len >= one->name.len && ((name.at[2] ^ one->name.at[2]) & ~0x20) == 0 &&
            (one->prefix ? text_starts_nocase(name, one->name)
                         : text_equal_nocase(name, one->name)))
            return true;
    }
    return false;
}

static bool is_kept(struct text name)
{
    switch (name.at[0] | 0x20) {
    case 'a':
        return IS_ONE_OF(name, kept_a);
    case 'c':
        return IS_ONE_OF(name, kept_c);
    case 'o':
        return IS_ONE_OF(name, kept_o);
    case 'r':
        return IS_ONE_OF(name, kept_r);
    case 'x':
        return IS_ONE_OF(name, kept_x);
    default:
        return false;
    }
}

/* Is it about the body as the target sent it, or in the words of its dialect? */
static bool is_theirs(struct text name)
{
    return text_starts_nocase(name, TEXT("content-")) ||
           text_starts_nocase(name, TEXT("anthropic-")) ||
           text_starts_nocase(name, TEXT("x-amzn-")) || text_starts_nocase(name, TEXT("openai-"));
}

/* The values may be written as they stand: who has read the head has refused control bytes. */
struct text answer_keep(struct exchange *x, const struct head *head)
{
    struct buffer *lines = &x->worker->head_out;
    buffer_clear(lines);
    bool has_id = false;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct head_field *field = &head->fields[i];
        if (is_kept(field->name)) {
            if (reserve_replaces(x, field->name) || (crossing_is_on(x) && is_theirs(field->name)))
                continue;
            has_id = has_id || text_equal_nocase(field->name, TEXT("request-id"));
            put_field(lines, field->name, field->value);
        } else if (text_equal_nocase(field->name, TEXT("x-request-id"))) {
            put_field(lines, TEXT("x-sluice-upstream-request-id"), field->value);
        } else if (text_equal_nocase(field->name, TEXT("sec-websocket-accept")) ||
                   text_equal_nocase(field->name, TEXT("sec-websocket-protocol"))) {
            if (x->relay == RELAY_TUNNEL)
                put_field(lines, field->name, field->value);
        }
    }
    if (!has_id)
        put_field(lines, TEXT("request-id"), text_of(x->id));
    return arena_copy(exchange_arena_for_now(x), buffer_text(lines));
}

/* The line of a field among the lines kept, or at == NULL. */
static struct text line_of(struct text lines, struct text name)
{
    while (lines.len) {
        struct text line = text_head(lines, text_find(lines, TEXT("\r\n")) + 2);
        if (text_starts_nocase(line, name) && line.len > name.len && line.at[name.len] == ':')
            return line;
        lines = text_from(lines, line.len);
    }
    return (struct text){NULL, 0};
}

void answer_note_retry(struct exchange *x, int64_t retry_ms)
{
    static const struct text name = {"retry-after", 11};
    struct text all = x->answer_head, line = line_of(all, name);
    uint64_t theirs, ours = (uint64_t)(retry_ms + 999) / 1000;
    if (retry_ms <= 0 || line_of(all, TEXT("retry-after-ms")).at)
        return;
    struct text value = text_head(line, line.len ? line.len - 2 : 0);
    value = text_trim(text_from(value, name.len + 1));
    if (line.at && (!text_number(value, INT64_MAX, &theirs) || theirs <= ours))
        return; /* a date, or sooner */
    size_t at = line.at ? (size_t)(line.at - all.at) : all.len;
    x->answer_head = arena_format(
        exchange_arena_for_now(x), "%.*s%.*sretry-after: %llu\r\n", TEXT_ARGS(text_head(all, at)),
        TEXT_ARGS(text_from(all, at + line.len)), (unsigned long long)ours);
}

/* --------------------------------------------------------------------------------- head */

const char *answer_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *words;
    } reasons[] = {
        {200, "OK"},
        {101, "Switching Protocols"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {529, "Overloaded"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].words;
    return "Answer";
}

static void put_status(struct exchange *x, struct buffer *out)
{
    if (x->status == 200) {
        put(out, TEXT("HTTP/1.1 200 OK\r\ndate: "));
    } else {
        put(out, TEXT("HTTP/1.1 "));
        buffer_append_number(out, x->status);
        put(out, TEXT(" "));
        put(out, text_of(answer_reason(x->status)));
        put(out, TEXT("\r\ndate: "));
    }
    put(out, text_of(worker_date(x->worker)));
    put(out, TEXT("\r\nx-request-id: "));
    put(out, text_of(x->id));
    put(out, TEXT("\r\n"));
}

static void put_cors(const struct exchange *x, struct buffer *out)
{
    if (!x->origin.len)
        return;
    put_field(out, TEXT("access-control-allow-origin"), x->origin);
    put(out, TEXT("vary: origin\r\naccess-control-expose-headers: x-request-id, request-id, "
                  "retry-after, retry-after-ms, x-should-retry, x-ratelimit-limit-requests, "
                  "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
                  "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
                  "x-ratelimit-reset-tokens, x-sluice-cache, x-sluice-similarity, x-sluice-model, "
                  "x-sluice-provider, x-sluice-target, "
                  "x-sluice-attempts, x-sluice-cost-usd, x-sluice-overhead-us\r\n"));
}

static void put_framing(struct exchange *x, struct buffer *out, int64_t length)
{
    bool bodyless = x->status == 204 || x->status / 100 == 1;
    x->chunked_out = false;
    if (bodyless) {
        length = 0;
    } else if (length >= 0) {
        put(out, TEXT("content-length: "));
        buffer_append_number(out, (uint64_t)length);
        put(out, TEXT("\r\n"));
    } else if (x->http10) {
        x->close_after = true;
    } else {
        x->chunked_out = true;
        put(out, TEXT("transfer-encoding: chunked\r\n"));
    }
    x->length_out = length;
    if (x->client && (!x->client->keep || x->client->state == CLIENT_BODY))
        x->close_after = true;
    if (x->worker->draining || x->worker->leaving)
        x->close_after = true;
    if (x->close_after && x->status != 101)
        put(out, TEXT("connection: close\r\n"));
    else if (x->http10)
        put(out, TEXT("connection: keep-alive\r\n"));
}

/* What it took; <target> is the one that was asked last. */
static void put_figures(struct exchange *x, const struct target *target, struct buffer *out)
{
    uint64_t ours = relay_ours(x, x->first_us ? x->first_us : clock_now_us()) +
                    x->worker->write_cost_us; /* up to the first byte */
    put_field(out, TEXT("x-sluice-model"), x->route ? x->route->name : x->call.model);
    put_field(out, TEXT("x-sluice-provider"), target->provider->name);
    put_field(out, TEXT("x-sluice-target"), target->id);
    if (x->cache_word != CACHE_WORD_NONE)
        put_field(out, TEXT("x-sluice-cache"), text_of(cache_word_name(x->cache_word)));
    if (x->likeness > 0) {
        char similarity[16];
        snprintf(similarity, sizeof(similarity), "%d.%06d", x->likeness / 1000000,
                 x->likeness % 1000000);
        put_field(out, TEXT("x-sluice-similarity"), text_of(similarity));
    }
    put(out, TEXT("x-sluice-attempts: "));
    buffer_append_number(out, x->attempts);
    put(out, TEXT("\r\nx-sluice-overhead-us: "));
    buffer_append_number(out, ours);
    if (x->relay == RELAY_WHOLE && x->answer.usage_seen && x->status / 100 == 2) {
        put(out, TEXT("\r\nx-sluice-cost-usd: "));
        struct usage usage = x->answer.usage;
        tiers_note(x, &usage);
        put_dollars(out, x->free_of_charge ? 0 : price_cost(&target->price, &usage));
    }
    uint64_t theirs = x->sent_us && x->answered_us > x->sent_us ? x->answered_us - x->sent_us : 0;
    put(out, TEXT("\r\nserver-timing: gateway;dur="));
    buffer_append_number(out, ours / 1000);
    put(out, TEXT("."));
    uint64_t rest = ours % 1000;
    char three[3] = {(char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                     (char)('0' + rest % 10)};
    buffer_append(out, three, 3);
    put(out, TEXT(", upstream;dur="));
    buffer_append_number(out, theirs / 1000);
    put(out, TEXT("\r\n"));
}

/* What the admin API says, also when it says no, is nobody's to keep, to guess the type of, or to
 * show as a page. */
static void put_careful(const struct exchange *x, struct buffer *out)
{
    if (x->match.endpoint && x->match.endpoint->page == PAGE_ADMIN)
        put(out, TEXT("cache-control: no-store\r\n"
                      "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
                      "x-content-type-options: nosniff\r\n"
                      "referrer-policy: no-referrer\r\n"));
}

void answer_head(struct exchange *x, struct buffer *out, int64_t length)
{
    buffer_clear(out);
    put_status(x, out);
    if (x->status == 101)
        put(out, TEXT("connection: upgrade\r\nupgrade: websocket\r\n"));
    if (x->answer_type.len)
        put_field(out, TEXT("content-type"), x->answer_type);
    put(out, x->answer_head);
    put_careful(x, out);
    if (x->target) /* else it is ours: a stream of what happens to a deployment */
        put_figures(x, x->target, out);
    ruling_put_headers(x, out);
    reserve_put_headers(x, out);
    guarding_put_header(x, out);
    crossing_put_header(x, out);
    if (x->attempts > 1 && x->status >= 400)
        put(out, TEXT("x-should-retry: false\r\n"));
    put_cors(x, out);
    put_framing(x, out, length);
    put(out, TEXT("\r\n"));
}

void answer_own_head(struct exchange *x, struct buffer *out, struct text type, struct text extra,
                     size_t length)
{
    buffer_clear(out);
    put_status(x, out);
    put(out, TEXT("request-id: "));
    put(out, text_of(x->id));
    put(out, TEXT("\r\n"));
    if (length)
        put_field(out, TEXT("content-type"), type);
    put(out, extra);
    put_careful(x, out);
    if (x->asked) /* and could not answer */
        put_figures(x, x->asked, out);
    reserve_put_headers(x, out);
    put_cors(x, out);
    put_framing(x, out, (int64_t)length);
    put(out, TEXT("\r\n"));
}

/* ------------------------------------------------------------------------------- errors */

unsigned answer_error_status(const struct exchange *x)
{
    const struct fault_rule *rule = fault_rule(exchange_why(x)->kind);
    bool overloaded = exchange_why(x)->kind == FAULT_NO_TARGET ||
                      exchange_why(x)->kind == FAULT_TARGET_DOWN ||
                      exchange_why(x)->kind == FAULT_TARGET_ERROR;
    if (x->match.shape == SHAPE_ANTHROPIC && overloaded)
        return 529;
    if (x->aws_error)
        return 403;
    if (x->match.shape == SHAPE_MONSTER && exchange_why(x)->kind == FAULT_BUDGET)
        return 402;
    return (unsigned)rule->status;
}

/* Why the call failed; what a target said of it goes across whole. */
static struct text words_of_error(const struct exchange *x)
{
    return x->their_error ? x->their_error->words : text_of(exchange_why(x)->text);
}

static void put_openai_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    const struct fault_rule *rule = fault_rule(exchange_why(x)->kind);
    if (status >= 500 && rule->status == 429) /* Anthropic's 529: it is not the client's rate */
        rule = fault_rule(FAULT_OVERLOADED);
    struct buffer message;
    buffer_init(&message, EXCEPTION_BYTES);
    buffer_format(&message, "%.*s (request id: %s)", TEXT_ARGS(words_of_error(x)), x->id);
    put(out, TEXT("{\"error\":{\"message\":"));
    json_write_string(out, buffer_text(&message));
    buffer_done(&message);
    put(out, TEXT(",\"type\":"));
    json_write_string(out, text_of(rule->type));
    put(out, TEXT(",\"param\":"));
    if (exchange_why(x)->param)
        json_write_string(out, text_of(exchange_why(x)->param));
    else
        put(out, TEXT("null"));
    put(out, TEXT(",\"code\":"));
    const char *code = x->their_error && x->their_error->code ? x->their_error->code : rule->code;
    if (code)
        json_write_string(out, text_of(code));
    else
        put(out, TEXT("null"));
    put(out, TEXT("}}"));
}

/* An error that came from the target keeps its status; then the words go by it. */
struct status_word {
    unsigned status;
    const char *anthropic, *gemini;
};

/* clang-format off */
static const struct status_word status_words[] = {
    {400, "invalid_request_error", "INVALID_ARGUMENT"},
    {401, "authentication_error",  "UNAUTHENTICATED"},
    {402, "billing_error",         "FAILED_PRECONDITION"},
    {403, "permission_error",      "PERMISSION_DENIED"},
    {404, "not_found_error",       "NOT_FOUND"},
    {409, "invalid_request_error", "ABORTED"},
    {413, "request_too_large",     "INVALID_ARGUMENT"},
    {429, "rate_limit_error",      "RESOURCE_EXHAUSTED"},
    {500, "api_error",             "INTERNAL"},
    {501, "api_error",             "UNIMPLEMENTED"},
    {503, "overloaded_error",      "UNAVAILABLE"},
    {504, "timeout_error",         "DEADLINE_EXCEEDED"},
    {529, "overloaded_error",      "UNAVAILABLE"},
};
/* clang-format on */

static struct status_word words_of(const struct exchange *x, unsigned status)
{
    const struct fault_rule *rule = fault_rule(exchange_why(x)->kind);
    if (status == answer_error_status(x))
        return (struct status_word){status, rule->anthropic, rule->gemini};
    for (size_t i = 0; i < sizeof(status_words) / sizeof(status_words[0]); i++)
        if (status_words[i].status == status)
            return status_words[i];
    if (status < 500)
        return (struct status_word){status, "invalid_request_error", "INVALID_ARGUMENT"};
    return (struct status_word){status, "api_error", "INTERNAL"};
}

static void put_anthropic_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    put(out, TEXT("{\"type\":\"error\",\"error\":{\"type\":"));
    json_write_string(out, text_of(words_of(x, status).anthropic));
    put(out, TEXT(",\"message\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT("},\"request_id\":"));
    json_write_string(out, text_of(x->id));
    put(out, TEXT("}"));
}

static void put_gemini_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    put(out, TEXT("{\"error\":{\"code\":"));
    buffer_append_number(out, status);
    put(out, TEXT(",\"message\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT(",\"status\":"));
    json_write_string(out, text_of(words_of(x, status).gemini));
    /* Google's clients show no headers; google/rpc/error_details.proto. */
    put(out, TEXT(",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RequestInfo\","
                  "\"requestId\":"));
    json_write_string(out, text_of(x->id));
    put(out, TEXT("}]}}"));
}

/* Its name at AWS, with its first letter as errors have it; inside a stream it is a small one, and
 * there are fewer. */
static const char *exception_name(unsigned status, bool in_stream)
{
    switch (status) {
    case 400:
    case 422:
        return in_stream ? "validationException" : "ValidationException";
    case 401:
    case 403:
        return in_stream ? "validationException" : "AccessDeniedException";
    case 404:
        return in_stream ? "validationException" : "ResourceNotFoundException";
    case 408:
        return in_stream ? "internalServerException" : "ModelTimeoutException";
    case 429:
        return in_stream ? "throttlingException" : "ThrottlingException";
    case 503:
        return in_stream ? "serviceUnavailableException" : "ServiceUnavailableException";
    default:
        return in_stream ? "internalServerException" : "InternalServerException";
    }
}

static void put_aws_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    put(out, TEXT("{\"__type\":\""));
    put(out, text_of(x->aws_error ? x->aws_error : exception_name(status, false)));
    put(out, TEXT("\",\"message\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT("}"));
}

/* An exception among the frames of a stream. */
static void put_aws_exception(const struct exchange *x, struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, EXCEPTION_BYTES);
    put(&json, TEXT("{\"message\":"));
    json_write_string(&json, words_of_error(x));
    put(&json, TEXT("}"));
    provider_put_exception(out, text_of(exception_name(answer_error_status(x), true)),
                           buffer_text(&json));
    buffer_done(&json);
}

/* Its callers look for the words in either place; the code is a number. */
static void put_monster_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    put(out, TEXT("{\"message\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT(",\"error\":{\"message\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT(",\"type\":"));
    bool spent = exchange_why(x)->kind == FAULT_BUDGET;
    json_write_string(
        out, text_of(spent ? "insufficient_credits" : fault_rule(exchange_why(x)->kind)->type));
    put(out, TEXT(",\"code\":"));
    buffer_append_number(out, status);
    put(out, TEXT("}}"));
}

/* Ollama's and Cohere's: a member with the words. */
static void put_words(const struct exchange *x, struct buffer *out)
{
    bool cohere = x->match.shape == SHAPE_COHERE;
    put(out, cohere ? TEXT("{\"message\":") : TEXT("{\"error\":"));
    json_write_string(out, words_of_error(x));
    if (cohere) {
        put(out, TEXT(",\"id\":"));
        json_write_string(out, text_of(x->id));
    }
    put(out, TEXT("}"));
}

static void put_problem(const struct exchange *x, unsigned status, struct buffer *out)
{
    put(out, TEXT("{\"type\":\"about:blank\",\"title\":"));
    json_write_string(out, text_of(answer_reason(status)));
    put(out, TEXT(",\"status\":"));
    buffer_append_number(out, status);
    put(out, TEXT(",\"detail\":"));
    json_write_string(out, words_of_error(x));
    put(out, TEXT("}"));
}

static void put_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    switch (x->match.shape) {
    case SHAPE_OPENAI:
        put_openai_error(x, status, out);
        break;
    case SHAPE_ANTHROPIC:
        put_anthropic_error(x, status, out);
        break;
    case SHAPE_GEMINI:
        put_gemini_error(x, status, out);
        break;
    case SHAPE_OLLAMA:
    case SHAPE_COHERE:
        put_words(x, out);
        break;
    case SHAPE_BEDROCK:
        put_aws_error(x, status, out);
        break;
    case SHAPE_MONSTER:
        put_monster_error(x, status, out);
        break;
    case SHAPE_PROBLEM:
        put_problem(x, status, out);
        break;
    }
}

/* The same, and how far the deployment is that it waited for. */
static void put_loading_error(const struct exchange *x, unsigned status, struct buffer *out)
{
    struct buffer error;
    buffer_init(&error, EXCEPTION_BYTES);
    put_error(x, status, &error);
    put(out, text_head(buffer_text(&error), buffer_length(&error) - 1));
    put(out, TEXT(",\"loading\":"));
    put(out, waking_loading(x));
    put(out, TEXT("}"));
    buffer_done(&error);
}

void answer_error(const struct exchange *x, struct buffer *out)
{
    answer_error_with(x, answer_error_status(x), out);
}

void answer_error_with(const struct exchange *x, unsigned status, struct buffer *out)
{
    if (waking_loading(x).len)
        put_loading_error(x, status, out);
    else
        put_error(x, status, out);
    put(out, TEXT("\n"));
}

void answer_error_event(const struct exchange *x, struct buffer *out)
{
    if (x->match.shape == SHAPE_BEDROCK) {
        put_aws_exception(x, out);
        return;
    }
    if (x->match.shape == SHAPE_OLLAMA) { /* lines of JSON */
        answer_error(x, out);
        return;
    }
    if (x->match.shape == SHAPE_MONSTER) { /* one more of its JSON texts */
        put_error(x, answer_error_status(x), out);
        put(out, (struct text){"\0", 1});
        return;
    }
    if (x->array_out) { /* the last item of the array */
        put(out, x->bytes_out ? TEXT(",") : TEXT("["));
        put_error(x, answer_error_status(x), out);
        put(out, TEXT("]"));
        return;
    }
    if (x->match.shape == SHAPE_COHERE) {
        put(out, TEXT("event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"error\":"));
        json_write_string(out, words_of_error(x));
        put(out, TEXT(",\"finish_reason\":\"ERROR\"}}\n\n"));
        return;
    }
    if (x->match.shape == SHAPE_ANTHROPIC || x->call.operation == OPERATION_RESPONSE)
        put(out, TEXT("event: error\n"));
    put(out, TEXT("data: "));
    put_error(x, answer_error_status(x), out);
    put(out, TEXT("\n\n"));
}
