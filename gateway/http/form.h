/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* form - pairs of application/x-www-form-urlencoded (url.spec.whatwg.org, 5): written into bodies
 * and queries, read from queries. */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

/* Append <value>, all but the unreserved characters of RFC 3986 as %XX. False beyond the limit. */
bool form_put_escaped(struct buffer *out, struct text value);
/* Append a pair; behind another one with "&" before it. <name> is put as it is. */
bool form_put_pair(struct buffer *out, const char *name, struct text value);

enum form_result {
    FORM_ABSENT,
    FORM_FOUND,
    FORM_BAD, /* it is there twice, is longer than <bytes>,or has control characters in it */
};

/* Find <name> in <query> and resolve its escapes into <room> of <bytes>; *value borrows from that,
 * and is empty when the answer is not FORM_FOUND. Names with escapes in them are not known. */
enum form_result form_find(struct text query, struct text name, char *room, size_t bytes,
                           struct text *value);
