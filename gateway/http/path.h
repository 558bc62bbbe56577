/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * path - what a request path may look like, and the credentials that come with it.
 *
 * There is one reading of a path: the bytes that were checked are the bytes that are routed.
 */

#include "gateway/base/fault.h"
#include "gateway/base/text.h"
#include "gateway/http/head.h"

/*
 * Is <path> in the only form we route: begins with '/', segments of A-Z a-z 0-9 - _ . ~ @ : + , =
 * (and %XX where <may_escape>), no empty segment, no "." or "..", no trailing slash but "/" alone?
 * Backslash, ';', '*', quotes, non-ASCII and any other byte: no.
 */
bool path_is_clean(struct text path, bool may_escape);

/*
 * Decode the %XX of one segment, once, into <out> (segment.len bytes of room). False for bad
 * escapes, NUL, control bytes, invalid UTF-8 and an empty name, and for one that could climb where
 * it is written into a path again: a part that is empty, "." or "..", a backslash, or a '%' that is
 * left.
 * '/' may come out: it is a name.
 */
bool path_decode(struct text segment, char *out, size_t *len);

/* The value of <name> in a query string, raw; false when it is absent. A name that stands twice
 * sets *repeated. A name that is written with escapes is recognised: who reads it behind us
 * decodes. */
bool query_find(struct text query, struct text name, struct text *value, bool *repeated);

enum credential_result {
    CREDENTIAL_NONE, /* nothing was sent */
    CREDENTIAL_FOUND,
    CREDENTIAL_REFUSED, /* repeated, malformed, or two that differ */
};

/*
 * Find the one key a request carries: Authorization: Bearer, x-api-key, api-key, x-goog-api-key
 * and, where <query_key>, ?key= . A header that stands twice is refused; two different headers are
 * accepted only with equal keys. A key is 1 to 8192 bytes of A-Z a-z 0-9 - . _ ~ + / = : (no NUL,
 * no space). "Bearer" in any case, exactly one space. Any other scheme is refused.
 */
enum credential_result credential_find(const struct head *head, bool query_key, struct text *key);
