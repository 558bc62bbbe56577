/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sign - signatures with a private key (OpenSSL), as tokens carry them (RFC 7515, RFC 7518). */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

/* Append base64url without padding (RFC 4648 5). */
void sign_put_base64url(struct buffer *out, const void *data, size_t bytes);

/* Append the signature of <data> by the RSA key <pem> (PKCS #8 or #1, no pass phrase): RS256 of RFC
 * 7518 3.3, in base64url. False when the key cannot be used, and nothing is appended. */
bool sign_rs256(struct text pem, struct text data, struct buffer *out);

/* Append <claims>, a JSON object, as a token signed by <pem> (RFC 7519). <key_id>: its "kid", plain
 * visible ASCII, or empty. False as above. */
bool sign_token(struct text pem, struct text key_id, struct text claims, struct buffer *out);
