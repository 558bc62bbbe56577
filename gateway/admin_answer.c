/* SPDX-License-Identifier: Apache-2.0 */
/* What the answers of the admin API have in common: problems, parameters. */
#include <stdio.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/answer.h"
#include "gateway/base/utf8.h"
#include "gateway/http/path.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 500 };

/* ---------------------------------------------------------------------------- answers */

void admin_field_problem(struct admin_call *call, int status, const char *field, struct text detail)
{
    struct json_write json = {.out = &call->out};
    buffer_clear(&call->out);
    json_open(&json, '{');
    json_text_member(&json, "type", TEXT("about:blank"));
    json_text_member(&json, "title", text_of(answer_reason((unsigned)status)));
    json_int_member(&json, "status", status);
    json_text_member(&json, "detail", detail);
    if (field != NULL && *field != 0)
        json_text_member(&json, "field", text_of(field));
    json_close(&json, '}');
    call->status = status;
    call->content_type = "application/problem+json";
}

void admin_problem(struct admin_call *call, int status, struct text detail)
{
    admin_field_problem(call, status, NULL, detail);
}

void admin_problem_too_many(struct admin_call *call)
{
    admin_problem(call, 503, TEXT("too many follow already"));
}

void admin_done(struct admin_call *call, const struct json_write *json)
{
    if (json->is_full) {
        admin_problem(call, 500, TEXT("the answer does not fit; ask for less"));
        return;
    }
    call->status = 200;
    call->content_type = "application/json";
}

/* ---------------------------------------------------------------------------- parameters */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_printable(struct text t)
{
    while (t.len > 0) {
        size_t len = utf8_length(t.at, t.len);
        if (len == 0 || (unsigned char)t.at[0] < 0x20 || t.at[0] == 0x7f)
            return false;
        t = text_from(t, len);
    }
    return true;
}

bool admin_decode(struct text raw, bool plus_is_space, char *room, size_t bytes, size_t *length)
{
    size_t out = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.at[i];
        if (out + 1 >= bytes)
            return false;
        if (c == '%') {
            int high = i + 2 < raw.len ? hex_digit(raw.at[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex_digit(raw.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        room[out++] = c;
    }
    room[out] = 0;
    *length = out;
    return is_printable((struct text){room, out});
}

bool admin_value(struct admin_call *call, const char *name, char room[ADMIN_VALUE_BYTES],
                 struct text *value)
{
    struct text raw = {"", 0};
    bool is_repeated = false;
    size_t length = 0;
    *value = (struct text){"", 0};
    if (!query_find(call->query, text_of(name), &raw, &is_repeated))
        return true;
    if (is_repeated || !admin_decode(raw, true, room, ADMIN_VALUE_BYTES, &length)) {
        admin_field_problem(call, 400, name,
                            is_repeated ? TEXT("this parameter may stand once")
                                        : TEXT("this parameter is too long, or no text"));
        return false;
    }
    *value = (struct text){room, length};
    return true;
}

bool admin_limit(struct admin_call *call, size_t *limit)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    uint64_t number = LIMIT_DEFAULT;
    if (!admin_value(call, "limit", room, &value))
        return false;
    if (value.len > 0 && (!text_number(value, LIMIT_MAX, &number) || number == 0)) {
        admin_field_problem(call, 400, "limit", TEXT("limit is a number from 1 to 500"));
        return false;
    }
    *limit = (size_t)number;
    return true;
}
