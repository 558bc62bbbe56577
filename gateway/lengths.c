/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/lengths.h"

#include "gateway/base/member.h"
#include "gateway/base/utf8.h"

bool lengths_says(enum operation operation, enum length_name name)
{
    switch (name) {
    case LENGTH_MAX_TOKENS:
        return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION;
    case LENGTH_MAX_COMPLETION_TOKENS:
        return operation == OPERATION_CHAT;
    case LENGTH_MAX_OUTPUT_TOKENS:
        return operation == OPERATION_RESPONSE;
    }
    return false;
}

int64_t lengths_prompts(const struct scan_value *prompt)
{
    struct text rest = prompt->raw, name, item;
    int64_t count = 0;
    if (prompt->kind != SCAN_ARRAY)
        return 1;
    while (member_next(&rest, &name, &item)) {
        if (item.len && item.at[0] != '"' && item.at[0] != '[')
            return 1;
        count++;
    }
    return count > 0 ? count : 1;
}

int64_t lengths_items(const struct scan_value *list)
{
    struct text rest = list->raw, name, item;
    int64_t count = 0;
    while (list->kind == SCAN_ARRAY && member_next(&rest, &name, &item))
        count++;
    return count;
}

/* Is it the second half of a pair of escapes, which is one character with the first? */
static bool is_low_half(const char *escape)
{
    return (escape[2] | 0x20) == 'd' && escape[3] >= 'C' && (escape[3] | 0x20) <= 'f';
}

int64_t lengths_characters(const struct scan_value *string)
{
    int64_t count = 0;
    if (string->kind != SCAN_STRING)
        return 0;
    const char *end = string->raw.at + string->raw.len - 1;
    for (const char *at = string->raw.at + 1; at < end; at++) {
        if (*at != '\\') {
            count += !utf8_is_tail((unsigned char)*at);
            continue;
        }
        bool code = at[1] == 'u';
        count += !code || !is_low_half(at);
        at += code ? 5 : 1;
    }
    return count;
}

/*
 * Speech is 20 tokens a second. A small letter, a space or a point is not spoken for longer than
 * 150 ms, and a character that is not ASCII for no longer than that for each of its bytes (of
 * Chinese, 450 ms). A digit, a sign or a letter that is spelled is a word of its own: 400 ms.
 */
enum { SPOKEN_SHORT = 3, SPOKEN_LONG = 8, SPOKEN_ESCAPED = 3 * SPOKEN_SHORT };

static bool is_short(char c)
{
    return (c & 0x80) || (c >= 'a' && c <= 'z') || c == ' ' || c == '.' || c == ',' || c == '\'';
}

int64_t lengths_spoken(const struct scan_value *string)
{
    int64_t tokens = 0;
    if (string->kind != SCAN_STRING)
        return 0;
    const char *end = string->raw.at + string->raw.len - 1;
    for (const char *at = string->raw.at + 1; at < end; at++) {
        if (*at != '\\') {
            tokens += is_short(*at) ? SPOKEN_SHORT : SPOKEN_LONG;
            continue;
        }
        bool code = at[1] == 'u';
        tokens += code ? SPOKEN_ESCAPED : SPOKEN_LONG;
        at += code ? 5 : 1;
    }
    return tokens;
}
