/* SPDX-License-Identifier: Apache-2.0 */

/* Which text of a call is compared by its meaning, and what is left when it is taken out. */

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "policy/cache.h"
#include "policy/semantic.h"

/* Where <value>, a string, or an array of one part that is a text, has its string; at == NULL when
 * it is anything else. */
static struct text string_in(struct text value)
{
    struct text none = {NULL, 0}, part, more, name;
    if (value.len == 0 || value.at[0] == '"')
        return value.len == 0 ? none : value;
    if (value.at[0] != '[' || !member_next(&value, &name, &part) ||
        member_next(&value, &name, &more))
        return none;
    struct text type = member_string(member_find(part, TEXT("type")));
    if (!text_equal(type, TEXT("text")) && !text_equal(type, TEXT("input_text")))
        return none;
    struct text text = member_find(part, TEXT("text"));
    return text.at && text.len > 0 && text.at[0] == '"' ? text : none;
}

/* The text of the last message, when a user said it and nothing else. */
static struct text last_of(struct text messages)
{
    struct text none = {NULL, 0}, name, message, last = none;
    if (messages.len == 0 || messages.at[0] != '[')
        return none;
    while (member_next(&messages, &name, &message))
        last = message;
    if (!last.at || !text_equal(member_string(member_find(last, TEXT("role"))), TEXT("user")))
        return none;
    struct text content = member_find(last, TEXT("content"));
    return content.at ? string_in(content) : none;
}

/* As it stands in the body, with its quotes. */
static struct text find_text(enum operation operation, struct text body)
{
    static const struct text wants[] = {TEXT("messages"), TEXT("prompt"), TEXT("input")};
    struct scan_value values[3];
    struct scan_problem problem;
    struct text none = {NULL, 0};
    if (!scan_json(body, wants, 3, values, &problem))
        return none;
    if (operation == OPERATION_CHAT)
        return values[0].kind == SCAN_ARRAY ? last_of(values[0].raw) : none;
    const struct scan_value *one = &values[operation == OPERATION_COMPLETION ? 1 : 2];
    if (operation == OPERATION_RESPONSE && one->kind == SCAN_ARRAY)
        return last_of(one->raw);
    bool is_text = operation == OPERATION_COMPLETION || operation == OPERATION_RESPONSE;
    return is_text && one->kind == SCAN_STRING ? one->raw : none;
}

/* Append the string's characters. */
static bool put_text(struct text raw, struct buffer *text)
{
    struct scan_value value = {SCAN_STRING, raw, true};
    char *room = buffer_room(text, raw.len);
    size_t len = room ? scan_string(&value, room) : SIZE_MAX;
    if (len == SIZE_MAX || len == 0)
        return false;
    buffer_grow(text, len);
    return true;
}

/* The name that the call would have with null for its text. No call of that name is answered. */
static bool name_place(struct text scope, struct text route, enum operation operation,
                       struct text body, struct text raw, struct digest *place)
{
    struct buffer rest;
    size_t before = (size_t)(raw.at - body.at);
    buffer_init(&rest, body.len + sizeof("null"));
    buffer_append_text(&rest, text_head(body, before));
    buffer_append_text(&rest, TEXT("null"));
    buffer_append_text(&rest, text_from(body, before + raw.len));
    bool is_named = cache_name(scope, route, operation, buffer_text(&rest), place);
    buffer_done(&rest);
    return is_named;
}

bool semantic_read(struct text scope, struct text route, enum operation operation, struct text body,
                   struct buffer *text, struct digest *place)
{
    struct text raw = find_text(operation, body);
    return raw.at && raw.len <= SEMANTIC_TEXT_MAX &&
           name_place(scope, route, operation, body, raw, place) && put_text(raw, text);
}
