/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sigv4 - requests signed as AWS wants them (AWS Signature Version 4, "Create a signed AWS API
 * request" in the IAM user guide). Pure: the time and the credentials are handed in. A
 * door of providers.
 */

#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

struct sigv4_credentials {
    struct text access_key, secret_key;
    struct text session_token; /* empty = none */
    struct text region, service;
};

struct sigv4_request {
    struct text method;
    struct text host;         /* as in the Host field */
    struct text path;         /* as on the request line: escaped once */
    struct text query;        /* as on the request line, sorted by name; or empty */
    struct text content_type; /* signed too when it is not empty */
    struct text body;
};

/* ------------------------------------------------------------------------------- verified */

/* What a signature says of itself; texts borrow from the header. */
struct sigv4_claim {
    struct text access_key; /* may have slashes in it */
    struct text date, region, service;
    struct text signed_names; /* "content-type;host;x-amz-date" */
    struct text signature;    /* 64 hexadecimal digits */
};

/* Is that what an Authorization header holds? */
bool sigv4_is_claim(struct text authorization);
/* Read it. False when it is not complete or not of this form. */
bool sigv4_read_claim(struct text authorization, struct sigv4_claim *claim);
/* Is <name>, in small letters, among those that it signs? */
bool sigv4_signs(const struct sigv4_claim *claim, struct text name);
/* Unix time of "20150830T123600Z", or -1. */
int64_t sigv4_time(struct text stamp);

/* The request in the one form that both sides hash, but for its last line, which is the digest of
 * the body: its begin, up to the fields; then a line for each of them, in the order of
 * claim->signed_names; then its end. What <out> has no room for is not there, and so fits no
 * signature. False when the query has too many parts. */
bool sigv4_put_begin(struct buffer *out, struct text method, struct text path, struct text query);
void sigv4_put_field(struct buffer *out, struct text name, struct text value);
void sigv4_put_end(struct buffer *out, const struct sigv4_claim *claim);

/* Is the claim's signature that of <form> with <body_hex> behind it, at <stamp>, by who knows
 * <secret>? Takes the same time whatever the answer. */
bool sigv4_holds(const struct sigv4_claim *claim, struct text form, struct text body_hex,
                 struct text stamp, struct text secret);

/* -------------------------------------------------------------------------------- signed */

/* Append the lines `X-Amz-Date`, `X-Amz-Security-Token` (with a session token) and `Authorization`,
 * each with CRLF. <now_s>: Unix time; AWS takes it within five minutes of its own. */
void sigv4_put_fields(struct buffer *out, const struct sigv4_credentials *credentials,
                      const struct sigv4_request *request, int64_t now_s);
