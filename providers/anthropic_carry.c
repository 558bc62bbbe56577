/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: calls and events that others carry (AWS, in Bedrock's invoke) go as they were said.
 * At such a door the model stands in the path, and what is a header here stands in the body.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum { BETAS_MAX = 32, BETA_BYTES = 64 };

static bool is_among(const struct text *names, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(names[i], name))
            return true;
    return false;
}

/* What is asked, unless policy or the configuration say something else. */
static void put_length(const struct call_target *target, struct text asked, struct buffer *out)
{
    if (target->lowered_tokens)
        put_number(out, "max_tokens", target->lowered_tokens);
    else if (json_is_absent(asked) && target->max_tokens_default)
        put_number(out, "max_tokens", target->max_tokens_default);
    else if (asked.at)
        put_json(out, "max_tokens", asked);
}

void anthropic_carry_members(const struct chat *chat, const struct call_target *target,
                             const struct text *moved, size_t count, struct buffer *out)
{
    static const struct text length = {"max_tokens", 10};
    struct text rest = chat->body, name, value;
    put_length(target, member_find(chat->body, length), out);
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, length) || is_among(moved, count, name))
            continue;
        anthropic_put_name(out, name);
        put_text(out, value);
    }
}

static bool is_beta(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_' && c != '.')
            return false;
    }
    return name.len > 0 && name.len <= BETA_BYTES;
}

static void put_betas(struct text list, struct buffer *headers)
{
    struct text none, value;
    const char *between = "anthropic-beta: ";
    size_t count = 0;
    if (!list.len || list.at[0] != '[')
        return;
    while (count < BETAS_MAX && member_next(&list, &none, &value)) {
        struct text beta = member_string(value);
        if (!is_beta(beta))
            continue;
        put_literal(headers, between);
        put_text(headers, beta);
        between = ",";
        count++;
    }
    put_literal(headers, count ? "\r\n" : "");
}

void anthropic_carry_call(const struct chat *chat, const struct call_target *target,
                          struct buffer *out, struct buffer *headers, struct losses *losses)
{
    static const struct text moved[] = {
        {"model", 5}, {"stream", 6}, {"anthropic_version", 17}, {"anthropic_beta", 14}};
    (void)losses;
    put_literal(out, "{\"model\":\"");
    put_json_inner(out, target->model);
    put_literal(out, "\"");
    if (target->stream)
        put_json(out, "stream", TEXT("true"));
    anthropic_carry_members(chat, target, moved, sizeof(moved) / sizeof(moved[0]), out);
    put_literal(out, "}");
    put_betas(member_find(chat->body, TEXT("anthropic_beta")), headers);
}

void anthropic_put_carried(void *state, struct text json, const struct usage *usage,
                           struct buffer *out)
{
    (void)state;
    (void)usage;
    put_literal(out, "event: ");
    put_text(out, member_string(member_find(json, TEXT("type"))));
    put_literal(out, "\ndata: ");
    size_t from = buffer_length(out);
    put_text(out, json);
    /* Line breaks stand between the members only, where a space means the same. */
    for (char *at = out->data + out->begin + from; at < out->data + out->end; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    put_literal(out, "\n\n");
}
