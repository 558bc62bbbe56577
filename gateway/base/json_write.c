/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/json_write.h"

#include <inttypes.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

static void put(struct json_write *json, struct text t)
{
    json->is_full = json->is_full || !buffer_append_text(json->out, t);
}

static void begin_value(struct json_write *json)
{
    if (json->comma)
        put(json, TEXT(","));
    json->comma = true;
}

void json_open(struct json_write *json, char bracket)
{
    begin_value(json);
    put(json, (struct text){&bracket, 1});
    json->comma = false;
}

void json_close(struct json_write *json, char bracket)
{
    put(json, (struct text){&bracket, 1});
    json->comma = true;
}

void json_text(struct json_write *json, struct text value)
{
    begin_value(json);
    put(json, TEXT("\""));
    char *room = json->is_full ? NULL : buffer_room(json->out, 6 * value.len + 1);
    if (room == NULL)
        json->is_full = true;
    else
        buffer_grow(json->out, log_escape(room, 6 * value.len, value));
    put(json, TEXT("\""));
}

void json_name(struct json_write *json, const char *name)
{
    json_text(json, text_of(name));
    put(json, TEXT(":"));
    json->comma = false;
}

void json_int(struct json_write *json, int64_t value)
{
    begin_value(json);
    json->is_full = json->is_full || !buffer_format(json->out, "%" PRId64, value);
}

void json_bool(struct json_write *json, bool value)
{
    json_raw(json, value ? TEXT("true") : TEXT("false"));
}

void json_null(struct json_write *json)
{
    json_raw(json, TEXT("null"));
}

void json_raw(struct json_write *json, struct text value)
{
    begin_value(json);
    put(json, value);
}

void json_text_member(struct json_write *json, const char *name, struct text value)
{
    json_name(json, name);
    json_text(json, value);
}

void json_int_member(struct json_write *json, const char *name, int64_t value)
{
    json_name(json, name);
    json_int(json, value);
}

void json_bool_member(struct json_write *json, const char *name, bool value)
{
    json_name(json, name);
    json_bool(json, value);
}

void json_time_member(struct json_write *json, const char *name, int64_t wall_us)
{
    char stamp[CLOCK_STAMP_BYTES];
    clock_stamp(wall_us, stamp);
    json_text_member(json, name, text_of(stamp));
}

void json_lines_member(struct json_write *json, const char *name, const char *lines)
{
    struct text rest = text_of(lines != NULL ? lines : ""), line;
    json_name(json, name);
    json_open(json, '[');
    while (text_next(&rest, '\n', &line))
        if (line.len > 0)
            json_text(json, line);
    json_close(json, ']');
}
