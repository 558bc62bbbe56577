/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/sigv4.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum { CANONICAL_MAX = 64 * 1024, STAMP_BYTES = 17, DATE_BYTES = 8, SECRET_MAX = 256 };

#define ALGORITHM "AWS4-HMAC-SHA256"

static void put(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

static bool is_unreserved(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           memchr("-._~", c, 4);
}

/* Every service but S3 signs the path escaped once more than it is sent. */
static void put_path(struct buffer *out, struct text path)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.at[i];
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (c == '/' || is_unreserved((char)c))
            buffer_append(out, &path.at[i], 1);
        else
            buffer_append(out, escaped, sizeof(escaped));
    }
    if (!path.len)
        put(out, TEXT("/"));
}

static void put_field(struct buffer *out, struct text name, struct text value)
{
    put(out, name);
    put(out, TEXT(":"));
    put(out, text_trim(value));
    put(out, TEXT("\n"));
}

static struct text signed_names(const struct sigv4_credentials *credentials,
                                const struct sigv4_request *request)
{
    bool token = credentials->session_token.len > 0;
    if (request->content_type.len)
        return token ? TEXT("content-type;host;x-amz-date;x-amz-security-token")
                     : TEXT("content-type;host;x-amz-date");
    return token ? TEXT("host;x-amz-date;x-amz-security-token") : TEXT("host;x-amz-date");
}

/* The request in the one form that both sides hash; the names of its fields in their order. */
static struct digest canonical_digest(const struct sigv4_credentials *credentials,
                                      const struct sigv4_request *request, struct text stamp)
{
    struct buffer form;
    char hex[HEX_BYTES];
    buffer_init(&form, CANONICAL_MAX);
    put(&form, request->method);
    put(&form, TEXT("\n"));
    put_path(&form, request->path);
    put(&form, TEXT("\n"));
    put(&form, request->query);
    put(&form, TEXT("\n"));
    if (request->content_type.len)
        put_field(&form, TEXT("content-type"), request->content_type);
    put_field(&form, TEXT("host"), request->host);
    put_field(&form, TEXT("x-amz-date"), stamp);
    if (credentials->session_token.len)
        put_field(&form, TEXT("x-amz-security-token"), credentials->session_token);
    put(&form, TEXT("\n"));
    put(&form, signed_names(credentials, request));
    put(&form, TEXT("\n"));
    struct digest body = hash_sha256(request->body);
    hash_hex(&body, hex);
    put(&form, text_of(hex));
    struct digest digest = hash_sha256(buffer_text(&form));
    buffer_done(&form);
    return digest;
}

static struct digest sign(const struct digest *key, struct text words)
{
    return hash_hmac_sha256((struct text){(const char *)key->bytes, SHA256_BYTES}, words);
}

/* The key of one day, region and service, made from the secret. */
static struct digest signing_key(const struct sigv4_credentials *credentials, struct text date)
{
    char secret[SECRET_MAX + 8];
    struct text cut = text_head(credentials->secret_key, SECRET_MAX);
    int len = snprintf(secret, sizeof(secret), "AWS4%.*s", TEXT_ARGS(cut));
    struct digest key = hash_hmac_sha256((struct text){secret, (size_t)len}, date);
    memory_wipe(secret, sizeof(secret));
    key = sign(&key, credentials->region);
    key = sign(&key, credentials->service);
    return sign(&key, TEXT("aws4_request"));
}

void sigv4_put_fields(struct buffer *out, const struct sigv4_credentials *credentials,
                      const struct sigv4_request *request, int64_t now_s)
{
    char stamp_room[STAMP_BYTES], hex[HEX_BYTES], scope[256], words[512];
    time_t now = (time_t)now_s;
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t stamp_len = strftime(stamp_room, sizeof(stamp_room), "%Y%m%dT%H%M%SZ", &utc);
    struct text stamp = {stamp_room, stamp_len}, date = {stamp_room, DATE_BYTES};
    int scope_len = snprintf(scope, sizeof(scope), "%.*s/%.*s/%.*s/aws4_request", TEXT_ARGS(date),
                             TEXT_ARGS(text_head(credentials->region, 64)),
                             TEXT_ARGS(text_head(credentials->service, 64)));
    struct digest digest = canonical_digest(credentials, request, stamp);
    hash_hex(&digest, hex);
    int len = snprintf(words, sizeof(words), ALGORITHM "\n%.*s\n%.*s\n%s", TEXT_ARGS(stamp),
                       scope_len, scope, hex);
    struct digest key = signing_key(credentials, date);
    digest = sign(&key, (struct text){words, (size_t)len});
    memory_wipe(&key, sizeof(key));
    hash_hex(&digest, hex);
    put(out, TEXT("X-Amz-Date: "));
    put(out, stamp);
    if (credentials->session_token.len) {
        put(out, TEXT("\r\nX-Amz-Security-Token: "));
        put(out, credentials->session_token);
    }
    put(out, TEXT("\r\nAuthorization: " ALGORITHM " Credential="));
    put(out, credentials->access_key);
    put(out, TEXT("/"));
    put(out, (struct text){scope, (size_t)scope_len});
    put(out, TEXT(", SignedHeaders="));
    put(out, signed_names(credentials, request));
    put(out, TEXT(", Signature="));
    put(out, text_of(hex));
    put(out, TEXT("\r\n"));
}
