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

/* Append the lines `X-Amz-Date`, `X-Amz-Security-Token` (with a session token) and `Authorization`,
 * each with CRLF. <now_s>: Unix time; AWS takes it within five minutes of its own. */
void sigv4_put_fields(struct buffer *out, const struct sigv4_credentials *credentials,
                      const struct sigv4_request *request, int64_t now_s);
