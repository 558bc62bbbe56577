/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names are those of
 * https://docs.litellm.ai/docs/proxy/request_headers and
 * https://portkey.ai/docs/api-reference/inference-api/headers.
 */
#include "gateway/aliases.h"

#include "gateway/base/member.h"
#include "gateway/base/scan.h"

enum { TAGS_MAX = 255, NAME_MAX_BYTES = 255, METADATA_MAX = 8192 };
#define SECOND     INT64_C(1000000)
#define LONGEST_US (24 * 3600 * SECOND)

struct reading {
    struct arena *arena;
    struct aliases *aliases;
    char tags[TAGS_MAX];
    size_t tags_len;
};

/* ----------------------------------------------------------------------------- small parts */

static bool is_plain(struct text text, const char *without)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] < ' ' || text.at[i] > '~' || strchr(without, text.at[i]))
            return false;
    return text.len > 0;
}

/* One tag more, whole or not at all. */
static void add_tag(struct reading *reading, struct text name, struct text value)
{
    bool pair = value.at != NULL;
    size_t before = reading->tags_len, len = name.len + (pair ? 1 + value.len : 0);
    if (!is_plain(name, pair ? "=," : ",") || (pair && !is_plain(value, ",")) ||
        len + (before ? 1 : 0) > TAGS_MAX - before)
        return;
    char *at = reading->tags + before;
    if (before)
        *at++ = ',';
    memcpy(at, name.at, name.len);
    at += name.len;
    if (pair) {
        *at++ = '=';
        memcpy(at, value.at, value.len);
        at += value.len;
    }
    reading->tags_len = (size_t)(at - reading->tags);
}

/* Seconds, thousandths, or the like, with or without a fraction: "30", "2.5". 0 = none. */
static int64_t read_span(struct text value, int64_t unit_us)
{
    size_t dot = text_find_byte(value, '.');
    struct text fraction = text_from(value, dot == SIZE_MAX ? value.len : dot + 1);
    uint64_t whole = 0;
    int64_t part_us = 0, place_us = unit_us;
    if (!text_number(text_head(value, dot), (uint64_t)(LONGEST_US / unit_us), &whole))
        return 0;
    for (size_t i = 0; i < fraction.len; i++) {
        if (fraction.at[i] < '0' || fraction.at[i] > '9')
            return 0;
        place_us /= 10;
        part_us += place_us * (fraction.at[i] - '0');
    }
    return (int64_t)whole * unit_us + part_us;
}

static struct text read_string(struct reading *reading, struct text raw)
{
    struct scan_value value = {SCAN_STRING, raw, true};
    char *room = arena_take(reading->arena, raw.len);
    size_t len = scan_string(&value, room);
    return (struct text){room, len == SIZE_MAX ? 0 : len};
}

/* ----------------------------------------------------------------------------- the headers */

static void read_tags(struct reading *reading, struct text value)
{
    struct text tag;
    while (text_next(&value, ',', &tag))
        add_tag(reading, text_trim(tag), (struct text){NULL, 0});
}

static void read_user(struct reading *reading, struct text value)
{
    if (!reading->aliases->user.len && value.len <= NAME_MAX_BYTES && is_plain(value, ""))
        reading->aliases->user = arena_copy(reading->arena, value);
}

/* An object of strings. Portkey's "_user" is the end user. */
static void read_metadata(struct reading *reading, struct text value)
{
    struct text name, member;
    if (value.len > METADATA_MAX || value.len == 0 || value.at[0] != '{' || !scan_is_valid(value))
        return;
    while (member_next(&value, &name, &member)) {
        bool string = member.at[0] == '"';
        if (member.at[0] == '{' || member.at[0] == '[' || member.at[0] == 'n')
            continue;
        struct text words = string ? read_string(reading, member) : member;
        if (text_equal(name, TEXT("_user")))
            read_user(reading, words);
        else
            add_tag(reading, name, words);
    }
}

static void read_trace(struct reading *reading, struct text value)
{
    add_tag(reading, TEXT("trace_id"), value);
}

static void read_timeout(struct reading *reading, struct text value)
{
    reading->aliases->timeout_us = read_span(value, SECOND);
}

static void read_stream_timeout(struct reading *reading, struct text value)
{
    reading->aliases->stream_timeout_us = read_span(value, SECOND);
}

static void read_milli_timeout(struct reading *reading, struct text value)
{
    reading->aliases->timeout_us = read_span(value, SECOND / 1000);
}

static void read_refresh(struct reading *reading, struct text value)
{
    reading->aliases->no_cache = text_equal_nocase(value, TEXT("true"));
}

static void read_namespace(struct reading *reading, struct text value)
{
    if (value.len <= NAME_MAX_BYTES && is_plain(value, ""))
        reading->aliases->cache_namespace = arena_copy(reading->arena, value);
}

/* clang-format off */
static const struct alias {
    struct text name;
    void (*read)(struct reading *reading, struct text value);
} table[] = {
    {{"x-litellm-tags", 14},                 read_tags},
    {{"x-litellm-spend-logs-metadata", 29},  read_metadata},
    {{"x-litellm-customer-id", 21},          read_user},
    {{"x-litellm-end-user-id", 21},          read_user},
    {{"x-litellm-timeout", 17},              read_timeout},
    {{"x-litellm-stream-timeout", 24},       read_stream_timeout},
    {{"x-portkey-metadata", 18},             read_metadata},
    {{"x-portkey-trace-id", 18},             read_trace},
    {{"x-portkey-request-timeout", 25},      read_milli_timeout},
    {{"x-portkey-cache-force-refresh", 29},  read_refresh},
    {{"x-portkey-cache-namespace", 25},      read_namespace},
};
/* clang-format on */

/* Most headers of most clients are told apart by their third letter. */
static bool may_be_one(struct text name)
{
    char third = name.len > 10 ? (char)(name.at[2] | 0x20) : 0;
    return (third == 'l' || third == 'p') && (name.at[0] | 0x20) == 'x' && name.at[1] == '-';
}

void aliases_read(const struct head *head, struct arena *arena, struct aliases *aliases)
{
    __attribute__((uninitialized)) struct reading reading;
    struct text none = {"", 0};
    *aliases = (struct aliases){.tags = none, .user = none, .cache_namespace = none};
    reading.arena = arena;
    reading.aliases = aliases;
    reading.tags_len = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct head_field *field = &head->fields[i];
        if (!may_be_one(field->name))
            continue;
        for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++)
            if (text_equal_nocase(field->name, table[k].name))
                table[k].read(&reading, field->value);
    }
    if (reading.tags_len)
        aliases->tags = arena_copy(arena, (struct text){reading.tags, reading.tags_len});
}
