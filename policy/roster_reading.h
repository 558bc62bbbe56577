/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* roster_reading - what roster_read.c and roster_read_limits.c share while one body is read. */

#include "policy/roster_read.h"

struct reading {
    struct arena *arena;
    const struct roster_file *file;
    char *problem; /* 256 bytes */
};

/* Note what is wrong; always false. */
bool reading_bad(struct reading *reading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

bool reading_is_given(const struct json *value); /* neither absent nor null */
/* The string <value>, when it is given, goes to *to. */
bool reading_text(struct reading *reading, const struct json *value, const char *name,
                  struct text *to);
/* Only members that are <allowed> (NULL ends)? <where> is what the object is called. */
bool reading_members(struct reading *reading, const struct json *object, const char *const *allowed,
                     const char *where);
/* " Did you mean 'x'?" for the nearest of <names>, or "" when none is near. */
const char *reading_hint(struct reading *reading, struct text word, const char *const *names);

/* `limits`, `budget` and `budgets` of <owner>. */
bool reading_limits(struct reading *reading, const struct json *owner, struct limit_list *list);
