/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * json_write - JSON onto the end of a buffer, for what is written rarely.
 *
 * Commas come by themselves. When the buffer is full the rest is dropped and <is_full> says so.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"

struct json_write {
    struct buffer *out;
    bool comma; /* one is due before the next member */
    bool is_full;
};

/* '{' or '[', and '}' or ']'. */
void json_open(struct json_write *json, char bracket);
void json_close(struct json_write *json, char bracket);
/* The name of the member that is written next. */
void json_name(struct json_write *json, const char *name);

void json_text(struct json_write *json, struct text value);
void json_int(struct json_write *json, int64_t value);
void json_bool(struct json_write *json, bool value);
void json_null(struct json_write *json);
/* A value that is JSON already. */
void json_raw(struct json_write *json, struct text value);

/* Name and value at once. */
void json_text_member(struct json_write *json, const char *name, struct text value);
void json_int_member(struct json_write *json, const char *name, int64_t value);
void json_bool_member(struct json_write *json, const char *name, bool value);
/* Microseconds of the wall clock as "2026-11-23T18:44:12.012Z". */
void json_time_member(struct json_write *json, const char *name, int64_t wall_us);
/* Every line of <lines> that is not empty, as an array of strings. */
void json_lines_member(struct json_write *json, const char *name, const char *lines);
