/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: an answer that passes as it is, is watched: of Converse, and of InvokeModel, whose
 * bodies are those of the models' makers.
 */
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"
#include "providers/openai.h"

enum { CHUNK_BYTES = 8192 }; /* a longer one gets room of its own */

static const int64_t TOKENS_MAX = 1000000000000;

static bool is_object(struct text json)
{
    return json.len && json.at[0] == '{';
}

static struct text find(struct text object, struct text name)
{
    return is_object(object) ? member_find(object, name) : (struct text){NULL, 0};
}

static void note_reason(struct answer *answer, struct text reason)
{
    struct text word = text_head(reason, sizeof(answer->finish) - 1);
    if (!word.len)
        return;
    memcpy(answer->finish, word.at, word.len);
    answer->finish[word.len] = '\0';
    answer->ended = true;
}

static void note_content(struct answer *answer, int64_t bytes)
{
    answer->events += bytes > 0;
    answer->content_bytes += bytes;
}

/* ---------------------------------------------------------------------------------- usage */

static void note_figures(struct answer *answer, struct text json)
{
    struct anthropic_figures figures;
    anthropic_figures_clear(&figures);
    anthropic_read_figures(json, &figures);
    answer->usage = (struct usage){0};
    anthropic_settle(&figures, &answer->usage);
    answer->usage_seen = true;
}

/* In AWS' words, Anthropic's or OpenAI's. */
static void note_usage(struct answer *answer, struct text json)
{
    struct usage usage = {0};
    if (find(json, TEXT("input_tokens")).at) {
        note_figures(answer, json);
    } else if (find(json, TEXT("prompt_tokens")).at) {
        openai_read_usage(answer, json);
    } else if (bedrock_read_usage(json, &usage)) {
        answer->usage = usage;
        answer->usage_seen = true;
    }
}

static void sum_up(struct usage *usage, int64_t input)
{
    usage->input_tokens = input + usage->cached_tokens + usage->cache_write_tokens;
    if (usage->input_tokens > 2 * TOKENS_MAX)
        usage->input_tokens = 2 * TOKENS_MAX;
}

/* What AWS puts to the last chunk. The maker's own figures say more. */
static void note_metrics(struct answer *answer, struct text json)
{
    struct usage *usage = &answer->usage;
    int64_t input = 0;
    if (answer->usage_seen)
        return;
    *usage = (struct usage){0};
    member_count(find(json, TEXT("inputTokenCount")), TOKENS_MAX, &input);
    member_count(find(json, TEXT("outputTokenCount")), TOKENS_MAX, &usage->output_tokens);
    member_count(find(json, TEXT("cacheReadInputTokenCount")), TOKENS_MAX, &usage->cached_tokens);
    member_count(find(json, TEXT("cacheWriteInputTokenCount")), TOKENS_MAX,
                 &usage->cache_write_tokens);
    sum_up(usage, input);
    answer->usage_seen = true;
}

/* What stands in the head of an answer, before any of it. */
void bedrock_watch_field(struct answer *answer, struct text name, struct text value)
{
    static const struct text counts = {"x-amzn-bedrock-", 15};
    struct usage *usage = &answer->usage;
    uint64_t number;
    if (text_equal_nocase(name, TEXT("x-amzn-bedrock-service-tier")))
        answer_note_service(answer, value);
    if (!text_starts_nocase(name, counts) || !text_number(value, (uint64_t)TOKENS_MAX, &number))
        return;
    struct text word = text_from(name, counts.len);
    int64_t count = (int64_t)number,
            input = usage->input_tokens - usage->cached_tokens - usage->cache_write_tokens;
    if (text_equal_nocase(word, TEXT("input-token-count")))
        input = count;
    else if (text_equal_nocase(word, TEXT("output-token-count")))
        usage->output_tokens = count;
    else if (text_equal_nocase(word, TEXT("cache-read-input-token-count")))
        usage->cached_tokens = count;
    else if (text_equal_nocase(word, TEXT("cache-write-input-token-count")))
        usage->cache_write_tokens = count;
    else
        return;
    sum_up(usage, input);
    answer->usage_seen = true;
}

/* --------------------------------------------------------------------------- InvokeModel */

/* The first item of a list, as far as it has a text in it. */
static struct text first_of(struct text list)
{
    struct text none, item;
    bool found = list.len && list.at[0] == '[' && member_next(&list, &none, &item);
    return found ? item : (struct text){NULL, 0};
}

/* The bytes of what a chunk of a maker's own form brings, wherever it stands: Titan, Llama, Cohere,
 * Claude as it once was; Nova; Mistral, and those that speak as OpenAI does. */
static int64_t content_of(struct text json)
{
    static const struct text names[] = {
        {"outputText", 10}, {"generation", 10}, {"text", 4}, {"completion", 10}};
    int64_t bytes = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        bytes += (int64_t)member_string(find(json, names[i])).len;
    bytes += (int64_t)find(find(json, TEXT("contentBlockDelta")), TEXT("delta")).len;
    bytes += (int64_t)member_string(find(first_of(find(json, TEXT("outputs"))), TEXT("text"))).len;
    struct text choice = first_of(find(json, TEXT("choices")));
    struct text delta = find(choice, TEXT("delta"));
    if (!delta.at)
        delta = find(choice, TEXT("message"));
    return bytes + (int64_t)member_string(find(delta, TEXT("content"))).len;
}

static struct text reason_of(struct text json)
{
    static const struct text names[] = {
        {"completionReason", 16}, {"stop_reason", 11}, {"finish_reason", 13}};
    struct text reason = member_string(find(find(json, TEXT("messageStop")), TEXT("stopReason")));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !reason.len; i++)
        reason = member_string(find(json, names[i]));
    return reason;
}

static enum event_verdict watch_maker(struct answer *answer, struct text json)
{
    struct text metrics = find(json, TEXT("amazon-bedrock-invocationMetrics"));
    struct text type = member_string(find(json, TEXT("type")));
    struct text usage = find(find(json, TEXT("metadata")), TEXT("usage"));
    enum event_verdict verdict = EVENT_PASS;
    if (type.len && !text_equal(type, TEXT("completion"))) {
        struct sse_event event = {.name = type, .data = json, .lines = 1};
        verdict = dialect_anthropic.watch_event(answer, &event);
    } else {
        note_content(answer, content_of(json));
        note_reason(answer, reason_of(json));
        if (is_object(usage)) /* of Nova */
            note_usage(answer, usage);
    }
    if (!is_object(metrics))
        return verdict;
    note_metrics(answer, metrics);
    answer->ended = true;
    return EVENT_LAST;
}

static enum event_verdict watch_chunk(struct answer *answer, struct text data)
{
    __attribute__((uninitialized)) uint8_t here[CHUNK_BYTES];
    struct text coded = member_string(find(data, TEXT("bytes")));
    if (!coded.len)
        return EVENT_PASS;
    uint8_t *room = coded.len > sizeof(here) ? memory_new(coded.len) : here;
    size_t len = hash_unbase64(coded, room);
    struct text json = {(const char *)room, len == SIZE_MAX ? 0 : len};
    enum event_verdict verdict = is_object(json) ? watch_maker(answer, json) : EVENT_PASS;
    if (room != here)
        memory_free(room);
    return verdict;
}

/* ------------------------------------------------------------------------------- Converse */

/* {"type": "priority"} */
static void note_service(struct answer *answer, struct text json)
{
    answer_note_service(answer, member_string(find(json, TEXT("type"))));
}

/* The bytes of whatever a delta brings. */
static void note_delta(struct answer *answer, struct text delta)
{
    struct text name, value;
    int64_t bytes = 0;
    while (is_object(delta) && member_next(&delta, &name, &value))
        bytes += (int64_t)value.len;
    note_content(answer, bytes);
}

/* Of an exception the frame's name is not an event's. */
static bool is_exception(struct text name)
{
    return text_ends(name, TEXT("xception"));
}

enum event_verdict bedrock_watch_event(struct answer *answer, const struct sse_event *event)
{
    struct text name = event->name, data = event->data;
    if (text_equal(name, TEXT("contentBlockDelta"))) {
        note_delta(answer, find(data, TEXT("delta")));
    } else if (text_equal(name, TEXT("chunk"))) {
        return watch_chunk(answer, data);
    } else if (text_equal(name, TEXT("messageStop"))) {
        note_reason(answer, member_string(find(data, TEXT("stopReason"))));
    } else if (text_equal(name, TEXT("metadata"))) {
        note_usage(answer, find(data, TEXT("usage")));
        note_service(answer, find(data, TEXT("serviceTier")));
        return answer->ended ? EVENT_LAST : EVENT_PASS;
    } else if (is_exception(name)) {
        answer->failed = true;
        return EVENT_FAIL;
    }
    return EVENT_PASS;
}

enum want {
    WANT_USAGE,
    WANT_REASON,
    WANT_STOP,    /* Anthropic's, Llama's */
    WANT_READ,    /* Llama's */
    WANT_WRITTEN, /* Llama's */
    WANT_TITAN,
    WANT_SERVICE,
    WANTS
};

const struct text bedrock_wants[BEDROCK_WANTS] = {
    [WANT_USAGE] = {"usage", 5},
    [WANT_REASON] = {"stopReason", 10},
    [WANT_STOP] = {"stop_reason", 11},
    [WANT_READ] = {"prompt_token_count", 18},
    [WANT_WRITTEN] = {"generation_token_count", 22},
    [WANT_TITAN] = {"inputTextTokenCount", 19},
    [WANT_SERVICE] = {"serviceTier", 11},
};
_Static_assert((int)WANTS == (int)BEDROCK_WANTS, "each has its name");

static void note_count(const struct scan_value *value, struct answer *answer, int64_t *figure)
{
    if (value->kind == SCAN_NUMBER && member_count(value->raw, TOKENS_MAX, figure))
        answer->usage_seen = true;
}

void bedrock_watch_body(struct answer *answer, const struct scan_value *values)
{
    if (values[WANT_USAGE].kind == SCAN_OBJECT) {
        note_usage(answer, values[WANT_USAGE].raw);
    } else if (!answer->usage_seen) { /* the head has said it already */
        note_count(&values[WANT_READ], answer, &answer->usage.input_tokens);
        note_count(&values[WANT_WRITTEN], answer, &answer->usage.output_tokens);
        note_count(&values[WANT_TITAN], answer, &answer->usage.input_tokens);
    }
    if (values[WANT_SERVICE].kind == SCAN_OBJECT)
        note_service(answer, values[WANT_SERVICE].raw);
    for (int i = WANT_REASON; i <= WANT_STOP; i++)
        if (values[i].kind == SCAN_STRING)
            note_reason(answer, member_string(values[i].raw));
    answer->ended = true;
}
