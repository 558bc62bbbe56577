/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * roster_read - a tenant or a key as JSON (docs/KEYS.md): what the API takes, and what the store
 * keeps, which is the same with a few members of our own. For roster*.c only.
 */

#include "gateway/base/json.h"
#include "policy/directory_view.h"

enum { ROSTER_BODY_MAX = 256 * 1024, ROSTER_NAME_MAX = 128, ROSTER_LIMITS_MAX = 64 };

/* Read <body>. NULL, and words for the caller in <problem> (256 bytes), when it is not in order.
 * <file> gives what limits have where they do not say. The record has one reference. */
struct roster_record *roster_read(enum record_of kind, struct text body,
                                  const struct roster_file *file, char problem[256]);

/* Only names that a client may give? Else the first that it may not stands in <problem>. */
bool roster_read_allows(enum record_of kind, const struct json *body, char problem[256]);

/* "2027-01-01" or RFC 3339; false when it is neither. */
bool roster_read_time(struct text from, int64_t *wall_us);
/* "12.50 USD", "12.50": nano-dollars, exact; false beyond nine decimals or 9 * 10^9 dollars. */
bool roster_read_money(struct text from, int64_t *nanos);
/* "30d" "12h" "90s" "5m" */
bool roster_read_duration(struct text from, int64_t *us);
