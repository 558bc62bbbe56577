/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bedrock's CountTokens: the call stands in {"input": ...}, as Converse has it, or as InvokeModel
 * has it, in base64. The answer is {"inputTokens": n}. Only Claude's tokens are counted, and only
 * under the names of models, not those of profiles.
 *
 * Source: AWS' reference of CountTokens, and its user guide, "Monitor your token usage by counting
 * tokens".
 */
#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"
#include "providers/count.h"

static bool is_object(struct text json)
{
    return json.len && json.at[0] == '{';
}

static struct text find(struct text object, struct text name)
{
    return is_object(object) ? member_find(object, name) : (struct text){NULL, 0};
}

static bool refuse(struct fault *fault, const char *param, const char *words)
{
    fault_set(fault, FAULT_BAD_REQUEST, "%s %s.", param, words);
    fault->param = param;
    return false;
}

static bool read_invoke(struct arena *arena, const struct call_source *source, struct text coded,
                        struct chat *chat, struct fault *fault)
{
    struct call_source inside = *source;
    uint8_t *room = arena_take(arena, coded.len + 4);
    size_t len = coded.at ? hash_unbase64(coded, room) : SIZE_MAX;
    inside.body = (struct text){(const char *)room, len == SIZE_MAX ? 0 : len};
    if (!is_object(inside.body) || !scan_is_valid(inside.body))
        return refuse(fault, "input.invokeModel.body", "has to be an object of JSON, in base64");
    chat->body = inside.body;
    return translator_bedrock_invoke.read_call(arena, &inside, chat, fault);
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    struct text input = find(source->body, TEXT("input"));
    struct text converse = find(input, TEXT("converse")), invoke = find(input, TEXT("invokeModel"));
    struct call_source inside = *source;
    if (is_object(invoke))
        return read_invoke(arena, source, member_string(find(invoke, TEXT("body"))), chat, fault);
    if (!is_object(converse))
        return refuse(fault, "input", "has to hold \"converse\" or \"invokeModel\"");
    inside.body = converse;
    return bedrock_read_call(arena, &inside, chat, fault);
}

/* As it was said to Anthropic; AWS wants a longest answer, which nobody makes. */
static void write_invoke(const struct chat *chat, const struct call_target *asked,
                         struct buffer *out, struct losses *losses)
{
    struct buffer body, headers;
    struct call_target target = {.max_tokens_default = chat->reasoning_tokens + 1,
                                 .betas = asked->betas};
    buffer_init(&body, SIZE_MAX / 2);
    buffer_init(&headers, 0);
    translator_bedrock_invoke.carry_call(chat, &target, &body, &headers, losses);
    put_literal(out, "{\"input\":{\"invokeModel\":{");
    bedrock_put_coded(out, "body", buffer_text(&body));
    put_literal(out, "}}}");
    buffer_done(&body);
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    static const struct text kept[] = {
        {"messages", 8}, {"system", 6}, {"toolConfig", 10}, {"additionalModelRequestFields", 28}};
    struct buffer whole;
    struct text name, value;
    if (text_equal(chat->from->dialect, TEXT("anthropic")) &&
        bedrock_invoke_takes(chat, target->model)) {
        write_invoke(chat, target, out, losses);
        return;
    }
    buffer_init(&whole, SIZE_MAX / 2);
    bedrock_write_call(arena, chat, target, &whole, losses);
    struct text rest = buffer_text(&whole);
    put_literal(out, "{\"input\":{\"converse\":{");
    while (member_next(&rest, &name, &value))
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
            if (text_equal(name, kept[i])) {
                anthropic_put_name(out, name);
                put_text(out, value);
            }
    put_literal(out, "}}}");
    buffer_done(&whole);
}

/* The model behind a profile that spreads calls over regions: without "us." and the like. */
static struct text plain_model(struct text model)
{
    static const struct text places[] = {{"us", 2},     {"eu", 2}, {"apac", 4}, {"global", 6},
                                         {"us-gov", 6}, {"jp", 2}, {"au", 2},   {"ca", 2},
                                         {"sa", 2},     {"in", 2}};
    static const struct text profile = {":inference-profile/", 19};
    size_t at = text_find(model, profile);
    if (at != SIZE_MAX)
        model = text_from(model, at + profile.len);
    struct text place = text_head(model, text_find_byte(model, '.'));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (text_equal(place, places[i]))
            return text_from(model, place.len + 1);
    return model;
}

static void write_path(const struct call_target *target, struct buffer *out)
{
    put_literal(out, "/model/");
    bedrock_put_segment(out, plain_model(target->model));
    put_literal(out, "/count-tokens");
}

static struct text find_count(struct text body)
{
    return find(text_trim(body), TEXT("inputTokens"));
}

static void put_count(struct buffer *out, int64_t tokens)
{
    put_literal(out, "{");
    put_number(out, "inputTokens", tokens);
    put_literal(out, "}");
}

const struct translator translator_bedrock_count = {
    .name = {"bedrock-count", 13},
    .dialect = {"bedrock", 7},
    .operation = OPERATION_COUNT,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = write_path,
    .find_count = find_count,
    .put_count = put_count,
    COUNT_ANSWERS,
    .read_error = bedrock_read_error,
};
