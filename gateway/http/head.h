/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * head - the head of an HTTP/1.1 message (RFC 9110, RFC 9112), read strictly.
 *
 * Pure functions: bytes in, facts out. head_find() walks the bytes as they arrive and refuses
 * at once what no further byte can cure (a bare LF, a NUL, TLS on a plain port, too long);
 * head_read_*() then reads the whole head. What two readers might understand differently is
 * refused, never mended: this is the gateway's guard against request smuggling.
 *
 * Refused, besides all that the grammar forbids: obs-fold, bare LF or CR, space before a colon,
 * CL together with TE, a Content-Length that is repeated, a list, signed or above 2^63-1, a
 * Transfer-Encoding other than exactly one "chunked", TE in HTTP/1.0, a missing, repeated or
 * malformed Host, methods and versions that are not known, absolute, authority and asterisk
 * forms, control bytes and non-ASCII in the target, NUL anywhere, names that are no tokens.
 */

#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

enum { HEAD_FIELDS_MAX = 100, HEAD_TARGET_MAX = 8192 };

enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_PATCH
};

const char *method_name(enum method method);

struct head_field {
    struct text name, value; /* as sent; the value without white space at its ends */
};

struct head {
    /* of a request */
    enum method method;
    struct text target; /* origin form, as sent */
    struct text path;   /* without the query */
    struct text query;  /* behind the '?', without it; empty when there is none */
    struct text host;
    bool expect_continue;
    /* of a response */
    unsigned status;
    struct text reason;
    /* of both */
    unsigned minor; /* HTTP/1.<minor>: 0 or 1 */
    bool keep_alive;
    bool chunked;
    bool upgrade;           /* Connection: upgrade, and an Upgrade field */
    int64_t content_length; /* -1 = none given */
    uint64_t names;         /* a bit for each length and first letter that a name has */
    size_t field_count;
    struct head_field fields[HEAD_FIELDS_MAX];
};

/* Where head_find() stands; begin with zeros. */
struct head_find {
    size_t at;
    unsigned char state;
};

enum head_result {
    HEAD_WAIT, /* more bytes are needed */
    HEAD_DONE,
    HEAD_BAD, /* the fault says why; close when it is answered */
};

/*
 * Look for the end of a head in <bytes>, which begin with its first byte (up to two empty lines
 * CRLF in front of a request are skipped and counted in). Call again with more bytes and the same
 * <find>. At HEAD_DONE *length is the length of the head with its closing empty line. More than
 * <max_bytes> is FAULT_LARGE_HEAD (or FAULT_LONG_TARGET in the first line of a request).
 */
enum head_result head_find(struct head_find *find, struct text bytes, bool is_request,
                           size_t max_bytes, size_t *length, struct fault *why);

/* Read the request head of exactly <bytes>. All texts in <head> borrow from <bytes>. */
bool head_read_request(struct text bytes, struct head *head, struct fault *why);
/* Read a response head (tolerates what servers do: no reason phrase, no Host). Accepts 100-599. */
bool head_read_response(struct text bytes, struct head *head, struct fault *why);

/* The value of the first field with that name (any case), or at == NULL. */
struct text head_value(const struct head *head, struct text name);
/* How often the field stands there. */
size_t head_count(const struct head *head, struct text name);

/* May <value> be written into a header (no CR, LF, NUL or other control byte but tab)? */
bool head_may_write(struct text value);
