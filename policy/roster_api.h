/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* roster_api - what the files of the API's operations share. For roster_api*.c only. */

#include "policy/roster_inside.h"

/* One operation. */
struct asking {
    struct roster *roster;
    struct roster_call *call;
    struct directory *view;
    enum record_of kind;
};

/* Words of a problem, in the place of what was written. */
void answer(struct asking *asking, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is <name> the tenant of the caller, or below it? */
bool may_see(const struct asking *asking, struct text name);
/* Whom it is for: a key's tenant, a tenant itself. */
struct text owner_of(const struct roster_record *record);
/* The record that <id> names, seen by the caller; else NULL, and the answer says why. */
struct roster_record *find(struct asking *asking, struct text id);

/* roster_api_list.c */
enum { DECODED_BYTES = 2 * ROSTER_NAME_MAX + 64 };
/* What <raw> says without its escapes, in <room>; too long ones are cut, and so the name of
 * nothing. */
struct text decode(struct text raw, bool of_query, char room[DECODED_BYTES]);
void list(struct asking *asking);

/* roster_api_met.c */
/* Is there room in a reservation for all limits that a call would meet if <record> were in force,
 * in the place of the one with its id if there is one? If not, the answer says so. */
bool may_meet(struct asking *asking, const struct roster_record *record);

/* roster_api_merge.c: a body being put together. */
/* Begin an object with the members of <before> changed by <changes>, a merge patch (RFC 7396);
 * either may be NULL. Those named in <without> (NULL ends; may be NULL) are left out, as are from
 * <changes> those that only answers have. More may follow, each with a comma in front. */
void members_begin(struct buffer *out, const struct json *before, const struct json *changes,
                   const char *const *without);
void members_end(struct buffer *out);
