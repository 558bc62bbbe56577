/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/foreign.h"

#include "gateway/base/member.h"

static const struct text mark = {"\"sluice:", 8};
/* The beginning of the ids that we give to reasoning, of which no provider knows any. */
static const struct text own_id = {"\"rs_req_", 8};

/* A copy of the body, and what is blanked in it. */
struct cleaning {
    struct text body;
    char *copy;
};

static bool is_marked(struct text value)
{
    return text_starts(value, mark);
}

/* An item of a Responses call, or a block of one of Anthropic's messages. */
static bool is_foreign(struct text item)
{
    struct text type = member_string(member_find(item, TEXT("type")));
    if (text_equal(type, TEXT("reasoning")))
        return is_marked(member_find(item, TEXT("encrypted_content"))) ||
               text_starts(member_find(item, TEXT("id")), own_id);
    if (text_equal(type, TEXT("redacted_thinking")))
        return is_marked(member_find(item, TEXT("data")));
    return text_equal(type, TEXT("thinking")) && is_marked(member_find(item, TEXT("signature")));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Blank an item of an array and a comma at its side: the one before it, or where nothing is left
 * before it, the one behind. */
static void blank(struct cleaning *c, struct text item, bool is_first)
{
    size_t from = (size_t)(item.at - c->body.at), to = from + item.len, comma;
    memset(c->copy + from, ' ', item.len);
    if (is_first) {
        for (comma = to; is_space(c->body.at[comma]); comma++)
            ;
    } else {
        for (comma = from - 1; is_space(c->body.at[comma]); comma--)
            ;
    }
    if (c->body.at[comma] == ',')
        c->copy[comma] = ' ';
}

static bool is_array(struct text value)
{
    return value.len > 0 && value.at[0] == '[';
}

/* Is there something in it, and all of it foreign? No message may be empty. */
static bool is_all_foreign(struct text content)
{
    struct text none, block;
    size_t count = 0;
    if (!is_array(content))
        return false;
    for (; member_next(&content, &none, &block); count++)
        if (!is_foreign(block))
            return false;
    return count > 0;
}

static void clean(struct cleaning *c, struct text list, bool is_messages)
{
    struct text none, item;
    bool is_first = true;
    if (!is_array(list))
        return;
    while (member_next(&list, &none, &item)) {
        struct text content = is_messages ? member_find(item, TEXT("content")) : item;
        bool goes = is_messages ? is_all_foreign(content) : is_foreign(item);
        if (goes)
            blank(c, item, is_first);
        else if (is_messages)
            clean(c, content, false);
        is_first = is_first && goes;
    }
}

struct text foreign_without(struct exchange *x, struct text body)
{
    bool responses = x->match.shape == SHAPE_OPENAI && x->call.operation == OPERATION_RESPONSE;
    if (!responses && x->match.shape != SHAPE_ANTHROPIC && !x->invokes)
        return body;
    if (text_find(body, mark) == SIZE_MAX && (!responses || text_find(body, own_id) == SIZE_MAX))
        return body;
    struct text copy = arena_copy(&x->arena, body);
    struct cleaning c = {.body = body, .copy = (char *)(uintptr_t)copy.at};
    size_t begin = text_find_byte(body, '{');
    struct text object = begin == SIZE_MAX ? TEXT("{}") : text_from(body, begin);
    clean(&c, member_find(object, responses ? TEXT("input") : TEXT("messages")), !responses);
    return copy;
}

void foreign_blank_carried(struct exchange *x)
{
    struct text body = buffer_text(&x->seeking->translated_body);
    if (text_find(body, mark) == SIZE_MAX)
        return;
    struct cleaning c = {.body = arena_copy(&x->arena, body),
                         .copy =
                             x->seeking->translated_body.data + x->seeking->translated_body.begin};
    clean(&c, member_find(c.body, TEXT("messages")), true);
}
