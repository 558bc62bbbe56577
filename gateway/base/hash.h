/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hash - digests, checksums, random bytes, comparison in constant time (OpenSSL, zlib). */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

enum { SHA256_BYTES = 32, HEX_BYTES = 65 };

struct digest {
    uint8_t bytes[SHA256_BYTES];
};

struct digest hash_sha256(struct text data);
/* HMAC-SHA-256 (RFC 2104). */
struct digest hash_hmac_sha256(struct text key, struct text data);
/* SHA-1, for the WebSocket handshake only (RFC 6455 4.2.2). <out> gets 20 bytes. */
void hash_sha1(struct text data, uint8_t out[20]);
/* Lower-case hexadecimal with a closing NUL. */
void hash_hex(const struct digest *digest, char hex[HEX_BYTES]);
/* Read 64 hexadecimal digits; false when they are not that. */
bool hash_from_hex(struct text hex, struct digest *digest);
/* Equal? Takes the same time whatever the answer. */
bool hash_same(const struct digest *a, const struct digest *b);

/* CRC-32 as in zlib, RFC 1952 8. */
uint32_t hash_crc32(struct text data);

/* 64-bit keyed hash for tables of names that clients choose (SipHash-1-3; the key is made at
 * start). Not for storage. */
uint64_t hash_name(struct text name);

/* Unpredictable bytes from the kernel; cannot fail. */
void hash_random(void *out, size_t bytes);

/* Standard base64 with padding; returns the length, <out> needs 4 * ((bytes + 2) / 3) + 1. */
size_t hash_base64(const void *data, size_t bytes, char *out);
/* Read standard base64, with padding or without, into <out>, which needs 3 * ((len + 3) / 4) bytes.
 * Its length, or SIZE_MAX when it is not that. */
size_t hash_unbase64(struct text coded, uint8_t *out);
