/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat.h: texts that go from one JSON document into another, and what is left out on the way.
 */
#include "providers/chat.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/translator.h"

/* ------------------------------------------------------------------------------ reading */

bool chat_wants(struct text modalities, struct text word)
{
    struct text name, item;
    while (modalities.len > 0 && member_next(&modalities, &name, &item))
        if (text_equal(member_string(item), word))
            return true;
    return false;
}

bool wants_more_than_text(struct text modalities)
{
    struct text name, item;
    while (modalities.len > 0 && member_next(&modalities, &name, &item))
        if (!inner_is(member_string(item), "text"))
            return true;
    return false;
}

bool json_is_absent(struct text json)
{
    return json.at == NULL || text_equal(json, TEXT("null"));
}

bool json_says_something(struct text json)
{
    static const char *const nothing[] = {"null", "false", "\"\"", "[]", "{}"};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        if (text_equal(json, text_of(nothing[i])))
            return false;
    return json.at != NULL;
}

enum { MORE_BYTES = 400, MORE_NAME_BYTES = 48, MORE_NAMES = 8, LOSSES_MAX = 256 };

struct text more_add(struct arena *arena, struct text names, const char *prefix, struct text name)
{
    size_t count = names.len > 0;
    for (size_t i = 0; i < names.len && names.len <= MORE_BYTES; i++)
        count += names.at[i] == ',';
    if (names.len > MORE_BYTES || count >= MORE_NAMES)
        return names; /* a call has many parts, and each has its list */
    struct text more = arena_format(arena, "%.*s%s%s%.*s", TEXT_ARGS(names), names.len ? "," : "",
                                    prefix, TEXT_ARGS(text_head(name, MORE_NAME_BYTES)));
    char *at = (char *)(uintptr_t)more.at + more.len - text_head(name, MORE_NAME_BYTES).len;
    for (; at < more.at + more.len; at++)
        if (*at == ',')
            *at = '?';
    return more;
}

struct text more_of(struct arena *arena, struct text names, const char *prefix, struct text object,
                    const struct text *known, size_t count)
{
    struct text name, value;
    while (member_next(&object, &name, &value)) {
        size_t i = 0;
        while (i < count && !text_equal(known[i], name))
            i++;
        if (i == count && json_says_something(value))
            names = more_add(arena, names, prefix, name);
    }
    return names;
}

enum said said_of(struct text json)
{
    if (text_equal(json, TEXT("true")))
        return SAID_YES;
    return text_equal(json, TEXT("false")) ? SAID_NO : SAID_NOTHING;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

struct text chat_plain_id(struct arena *arena, struct text id, size_t most)
{
    size_t plain = 0;
    while (plain < id.len && is_plain(id.at[plain]))
        plain++;
    if (plain && plain == id.len && id.len <= most)
        return id;
    char *at = arena_take(arena, 64);
    size_t len =
        (size_t)snprintf(at, 64, "%.*s_%08x", TEXT_ARGS(text_head(id, 48)), hash_crc32(id));
    for (size_t i = 0; i < len; i++)
        if (!is_plain(at[i]))
            at[i] = '_';
    return (struct text){at, len};
}

bool chat_read_functions(struct chat *chat, struct arena *arena, struct text tools)
{
    struct text none, json;
    size_t room = chat->tool_count;
    while (member_next(&tools, &none, &json)) {
        struct text function = member_find(json, TEXT("function"));
        struct text name = member_string(member_find(function, TEXT("name")));
        if (!name.at || chat->tool_count == CHAT_TOOLS_MAX)
            return false;
        chat->tools = arena_grow(arena, chat->tools, chat->tool_count, &room, sizeof(*chat->tools));
        chat->tools[chat->tool_count++] =
            (struct tool){.kind = TOOL_FUNCTION,
                          .name = name,
                          .description = member_string(member_find(function, TEXT("description"))),
                          .schema = member_find(function, TEXT("parameters")),
                          .raw = json};
    }
    return true;
}

void chat_keep_field(struct chat *chat, struct text name, struct text value, bool is_demand)
{
    if (chat->field_count < CHAT_FIELDS_MAX)
        chat->fields[chat->field_count++] =
            (struct chat_field){.name = name, .value = value, .is_demand = is_demand};
    else
        chat->fields_cut = true;
}

bool chat_takes_parts(struct chat *chat, size_t more)
{
    chat->parts_in_all += more;
    return chat->parts_in_all <= CHAT_PARTS_IN_ALL;
}

struct part *part_before(struct part *parts, size_t count, enum part_kind kind, struct text id)
{
    for (size_t i = 1; i <= count && i <= PROOF_LOOKS_BACK; i++) {
        struct part *part = &parts[count - i];
        if (part->kind == kind && (kind != PART_CALL || text_equal(part->id, id)))
            return part;
    }
    return NULL;
}

bool inner_is(struct text inner, const char *plain)
{
    return text_equal(inner, text_of(plain));
}

bool data_url_split(struct text url, struct text *media_type, struct text *data)
{
    static const struct text mark = {";base64,", 8};
    if (!text_starts_nocase(url, TEXT("data:")))
        return false;
    /* A '/' may stand escaped in JSON; nothing else of the head needs it. */
    size_t at = text_find(text_head(url, 256), mark);
    if (at == SIZE_MAX)
        return false;
    *media_type = text_from(text_head(url, at), 5);
    *data = text_from(url, at + mark.len);
    return true;
}

void *arena_grow(struct arena *arena, void *array, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return array;
    size_t more = count < 4 ? 8 : count * 2;
    void *grown = arena_new(arena, more * bytes);
    if (count)
        memcpy(grown, array, count * bytes);
    *room = more;
    return grown;
}

/* ------------------------------------------------------------------------------- escapes */

/* How many bytes <c> takes inside a JSON string. */
static size_t escaped_bytes(unsigned char c)
{
    if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t')
        return 2;
    return c < 0x20 ? 6 : 1;
}

static char *write_escaped(char *at, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
    case '\\':
        *at++ = '\\';
        *at++ = (char)c;
        return at;
    case '\n':
        *at++ = '\\';
        *at++ = 'n';
        return at;
    case '\r':
        *at++ = '\\';
        *at++ = 'r';
        return at;
    case '\t':
        *at++ = '\\';
        *at++ = 't';
        return at;
    default:
        if (c >= 0x20) {
            *at++ = (char)c;
            return at;
        }
        memcpy(at, "\\u00", 4);
        at[4] = hex[c >> 4];
        at[5] = hex[c & 15];
        return at + 6;
    }
}

static size_t escaped_length(struct text plain)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plain.len; i++)
        bytes += escaped_bytes((unsigned char)plain.at[i]);
    return bytes;
}

static void escape_to(char *at, struct text plain)
{
    for (size_t i = 0; i < plain.len; i++)
        at = write_escaped(at, (unsigned char)plain.at[i]);
}

struct text inner_of(struct arena *arena, struct text plain)
{
    if (plain.at == NULL)
        return plain;
    size_t bytes = escaped_length(plain);
    char *room = arena_take(arena, bytes + 1);
    escape_to(room, plain);
    return (struct text){room, bytes};
}

struct text inner_of_json(struct arena *arena, struct text json)
{
    return inner_of(arena, json);
}

void put_json_inner(struct buffer *out, struct text json)
{
    size_t bytes = escaped_length(json);
    char *room = bytes ? buffer_room(out, bytes) : NULL;
    if (!room)
        return;
    escape_to(room, json);
    buffer_grow(out, bytes);
}

static unsigned hex_of(const char *at)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)at[i];
        unsigned digit = c <= '9' ? c - (unsigned)'0' : (c | 0x20u) - 'a' + 10;
        code = code << 4 | (digit & 15);
    }
    return code;
}

static char *write_utf8(char *at, unsigned code)
{
    if (code < 0x80) {
        *at++ = (char)code;
    } else if (code < 0x800) {
        *at++ = (char)(0xC0 | code >> 6);
        *at++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *at++ = (char)(0xE0 | code >> 12);
        *at++ = (char)(0x80 | (code >> 6 & 63));
        *at++ = (char)(0x80 | (code & 63));
    } else {
        *at++ = (char)(0xF0 | code >> 18);
        *at++ = (char)(0x80 | (code >> 12 & 63));
        *at++ = (char)(0x80 | (code >> 6 & 63));
        *at++ = (char)(0x80 | (code & 63));
    }
    return at;
}

/* The code point of the \u escape at <at>, with its second half; moves <at> behind it. */
static unsigned read_escape(const char **at, const char *end)
{
    unsigned code = hex_of(*at + 2);
    *at += 6;
    if (code < 0xD800 || code > 0xDFFF)
        return code;
    if (code > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return 0xFFFD;
    unsigned low = hex_of(*at + 2);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0xFFFD;
    *at += 6;
    return 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
}

static char plain_of(char escape)
{
    switch (escape) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    default:
        return escape;
    }
}

struct text inner_plain(struct arena *arena, struct text inner)
{
    if (inner.len == 0 || !memchr(inner.at, '\\', inner.len))
        return inner;
    char *room = arena_take(arena, inner.len + 1), *to = room; /* it never gets longer */
    const char *at = inner.at, *end = inner.at + inner.len;
    while (at < end) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if (end - at >= 6 && at[1] == 'u') {
            to = write_utf8(to, read_escape(&at, end));
        } else if (end - at >= 2 && at[1] != 'u') {
            *to++ = plain_of(at[1]);
            at += 2;
        } else {
            break; /* cut in the middle of an escape: a provider's broken JSON */
        }
    }
    return (struct text){room, (size_t)(to - room)};
}

/* PHP says an empty object as an empty array. */
static bool says_nothing(struct text plain)
{
    return plain.len == 0 || text_equal(plain, TEXT("null")) || text_equal(plain, TEXT("[]"));
}

struct text object_of_inner(struct arena *arena, struct text inner)
{
    struct text plain = text_trim(inner_plain(arena, inner));
    if (says_nothing(plain))
        return TEXT("{}");
    if (plain.at[0] == '{' && scan_is_valid(plain))
        return plain;
    return arena_format(arena, "{\"arguments\":\"%.*s\"}", TEXT_ARGS(inner));
}

/* ------------------------------------------------------------------------------- writing */

void put_text(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

void put_literal(struct buffer *out, const char *z)
{
    buffer_append(out, z, strlen(z));
}

void put_comma(struct buffer *out)
{
    struct text so_far = buffer_text(out);
    char last = so_far.len ? so_far.at[so_far.len - 1] : '{';
    if (last != '{' && last != '[' && last != ':')
        buffer_append(out, ",", 1);
}

static void put_name(struct buffer *out, const char *name)
{
    put_comma(out);
    buffer_append(out, "\"", 1);
    put_literal(out, name);
    buffer_append(out, "\":", 2);
}

void put_json(struct buffer *out, const char *name, struct text json)
{
    if (json.at == NULL)
        return;
    put_name(out, name);
    put_text(out, json);
}

void put_inner(struct buffer *out, const char *name, struct text inner)
{
    if (inner.at == NULL)
        return;
    put_name(out, name);
    buffer_append(out, "\"", 1);
    put_text(out, inner);
    buffer_append(out, "\"", 1);
}

void put_number(struct buffer *out, const char *name, int64_t number)
{
    put_name(out, name);
    if (number < 0)
        buffer_append(out, "-", 1);
    buffer_append_number(out, number < 0 ? (uint64_t)0 - (uint64_t)number : (uint64_t)number);
}

void put_said(struct buffer *out, const char *name, enum said said)
{
    if (said != SAID_NOTHING)
        put_json(out, name, said == SAID_YES ? TEXT("true") : TEXT("false"));
}

void put_open(struct buffer *out, const char *name, char bracket)
{
    if (name)
        put_name(out, name);
    else
        put_comma(out);
    buffer_append(out, &bracket, 1);
}

void put_item(struct buffer *out, struct text inner)
{
    put_comma(out);
    buffer_append(out, "\"", 1);
    put_text(out, inner);
    buffer_append(out, "\"", 1);
}

/* -------------------------------------------------------------------------------- losses */

/* A name once; what does not fit any more is counted and not named. */
static void __attribute__((format(printf, 4, 0)))
note(char *list, size_t *len, unsigned *count, const char *format, va_list words)
{
    char name[128];
    if (*count >= LOSSES_MAX)
        return; /* the list has long been full: what a call of millions lacks is not sought there */
    vsnprintf(name, sizeof(name), format, words);
    for (char *c = name; *c; c++) /* it goes into a header */
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7E || *c == ',')
            *c = '?';
    struct text rest = {list, *len}, one;
    while (text_next(&rest, ',', &one))
        if (text_equal(one, text_of(name)))
            return;
    ++*count;
    size_t bytes = strlen(name) + (*len ? 1 : 0);
    if (*len + bytes >= LOSSES_BYTES)
        return;
    *len += (size_t)snprintf(list + *len, LOSSES_BYTES - *len, "%s%s", *len ? "," : "", name);
}

void loss_demand(struct losses *losses, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    note(losses->demands, &losses->demand_len, &losses->demand_count, format, words);
    va_end(words);
}

void loss_hint(struct losses *losses, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    note(losses->hints, &losses->hint_len, &losses->hint_count, format, words);
    va_end(words);
}

void loss_fields(struct losses *losses, const struct chat *chat, const struct translator *own)
{
    for (size_t i = 0; i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        struct text name = text_head(field->name, 64);
        if (chat->from == own && field->value.at)
            continue;
        if (field->is_demand)
            loss_demand(losses, "%.*s", TEXT_ARGS(name));
        else
            loss_hint(losses, "%.*s", TEXT_ARGS(name));
    }
    if (chat->fields_cut)
        loss_hint(losses, "more fields");
}

void loss_options(struct losses *losses, const struct chat *chat)
{
    const struct {
        const char *name;
        bool said;
    } hints[] = {
        {"logit_bias", chat->logit_bias.at},
        {"user", chat->user.at},
        {"metadata", chat->metadata.at},
        {"service_tier", chat->service_tier.at},
        {"store", chat->store == SAID_YES},
        {"verbosity", chat->verbosity.at},
        {"parallel_tool_calls", chat->parallel_calls != SAID_NOTHING},
    };
    if (chat->choices > 1)
        loss_demand(losses, "n");
    if (chat->logprobs == SAID_YES)
        loss_demand(losses, "logprobs");
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (hints[i].said)
            loss_hint(losses, "%s", hints[i].name);
}

/* Without these the model does not see what the client means it to see. */
static bool is_part_demand(struct text name)
{
    return text_equal(name, TEXT("context")) || text_equal(name, TEXT("videoMetadata")) ||
           text_equal(name, TEXT("video_metadata"));
}

static void lose_more(struct losses *losses, struct text where, struct text names)
{
    struct text name;
    while (text_next(&names, ',', &name)) {
        if (is_part_demand(name))
            loss_demand(losses, "%.*s.%.*s", TEXT_ARGS(where), TEXT_ARGS(name));
        else
            loss_hint(losses, "%.*s.%.*s", TEXT_ARGS(where), TEXT_ARGS(name));
    }
}

static void lose_more_of_part(struct losses *losses, const struct part *part, size_t m, size_t p)
{
    char where[96];
    if (!part->more.len && !part->part_count)
        return;
    snprintf(where, sizeof(where), "messages[%zu].content[%zu]", m, p);
    lose_more(losses, text_of(where), part->more);
    for (size_t i = 0; i < part->part_count; i++) {
        if (!part->parts[i].more.len)
            continue;
        snprintf(where, sizeof(where), "messages[%zu].content[%zu].content[%zu]", m, p, i);
        lose_more(losses, text_of(where), part->parts[i].more);
    }
}

bool chat_has_functions(const struct chat *chat)
{
    for (size_t i = 0; i < chat->tool_count; i++)
        if (chat->tools[i].kind == TOOL_FUNCTION)
            return true;
    return false;
}

void loss_more(struct losses *losses, const struct chat *chat, const struct translator *own)
{
    char where[48];
    bool must_call = chat->tool_choice == CHOICE_ANY || chat->tool_choice == CHOICE_ONE;
    if (chat->from == own)
        return;
    if (must_call && !chat_has_functions(chat))
        loss_demand(losses, "tool_choice");
    for (size_t i = 0; i < chat->tool_count; i++) {
        snprintf(where, sizeof(where), "tools[%zu]", i);
        if (chat->tools[i].more.len)
            lose_more(losses, text_of(where), chat->tools[i].more);
    }
    for (size_t i = 0; i < chat->message_count; i++)
        for (size_t j = 0; j < chat->messages[i].part_count; j++)
            lose_more_of_part(losses, &chat->messages[i].parts[j], i, j);
}

bool chat_goes_on_from(const struct chat *chat, size_t message, size_t part)
{
    const struct message *last = &chat->messages[message];
    return last->role == ROLE_ASSISTANT && message + 1 == chat->message_count &&
           part + 1 == last->part_count;
}

struct text chat_without_blank_end(struct text inner)
{
    while (inner.len && inner.at[inner.len - 1] == ' ')
        inner.len--;
    while (inner.len >= 2 && inner.at[inner.len - 2] == '\\' &&
           strchr("nrt", inner.at[inner.len - 1])) {
        size_t slashes = 0;
        while (slashes < inner.len - 1 && inner.at[inner.len - 2 - slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            break; /* a backslash, and a letter */
        inner.len -= 2;
        while (inner.len && inner.at[inner.len - 1] == ' ')
            inner.len--;
    }
    return inner;
}

/* ------------------------------------------------------------------------------ OpenAI's tools */

void chat_tool_of_text(struct arena *arena, struct tool *tool, struct text json, struct text rules)
{
    struct text syntax = member_string(member_find(rules, TEXT("syntax")));
    struct text grammar = member_string(member_find(rules, TEXT("definition")));
    tool->kind = TOOL_FUNCTION;
    tool->name = member_string(member_find(json, TEXT("name")));
    tool->description = member_string(member_find(json, TEXT("description")));
    tool->takes_text = true;
    tool->schema = TEXT("{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\","
                        "\"description\":\"The tool's whole input, as plain text\"}},"
                        "\"required\":[\"input\"],\"additionalProperties\":false}");
    if (grammar.len)
        tool->description =
            arena_format(arena, "%.*s\\n\\nThe input has to follow this grammar (%.*s):\\n%.*s",
                         TEXT_ARGS(tool->description), TEXT_ARGS(syntax), TEXT_ARGS(grammar));
}

/* Of a function or a custom tool its name, which chats have a level further in; of a tool of the
 * provider its kind. */
static struct text name_of_allowed(struct text json)
{
    static const struct text inside[] = {{"function", 8}, {"custom", 6}};
    struct text name = member_string(member_find(json, TEXT("name")));
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]) && !name.at; i++)
        name = member_string(member_find(member_find(json, inside[i]), TEXT("name")));
    return name.at ? name : member_string(member_find(json, TEXT("type")));
}

static bool is_listed(const struct tool *tool, const struct text *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(names[i], tool->name))
            return true;
    return false;
}

void chat_keep_allowed(struct arena *arena, struct chat *chat, struct text list)
{
    struct text none, json;
    size_t count = 0, kept = 0;
    if (!list.len || list.at[0] != '[')
        return;
    struct text *names = arena_new(arena, CHAT_TOOLS_MAX * sizeof(*names));
    while (count < CHAT_TOOLS_MAX && member_next(&list, &none, &json))
        names[count++] = name_of_allowed(json);
    for (size_t i = 0; i < chat->tool_count; i++)
        if (is_listed(&chat->tools[i], names, count))
            chat->tools[kept++] = chat->tools[i];
    chat->tool_count = kept;
}
