/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/sigv4.h"

#include <stdio.h>
#include <stdlib.h>
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

/* "ALGORITHM\nstamp\nscope\n" and the digest of the request in its one form: what is signed. */
static struct digest signature_of(const struct sigv4_credentials *credentials, struct text stamp,
                                  struct text scope, const struct digest *form)
{
    char hex[HEX_BYTES], words[512];
    hash_hex(form, hex);
    int len = snprintf(words, sizeof(words), ALGORITHM "\n%.*s\n%.*s\n%s", TEXT_ARGS(stamp),
                       TEXT_ARGS(scope), hex);
    struct digest key = signing_key(credentials, text_head(stamp, DATE_BYTES));
    struct digest made = sign(&key, (struct text){words, (size_t)len});
    memory_wipe(&key, sizeof(key));
    return made;
}

void sigv4_put_fields(struct buffer *out, const struct sigv4_credentials *credentials,
                      const struct sigv4_request *request, int64_t now_s)
{
    char stamp_room[STAMP_BYTES], hex[HEX_BYTES], scope[256];
    time_t now = (time_t)now_s;
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t stamp_len = strftime(stamp_room, sizeof(stamp_room), "%Y%m%dT%H%M%SZ", &utc);
    struct text stamp = {stamp_room, stamp_len}, date = {stamp_room, DATE_BYTES};
    int scope_len = snprintf(scope, sizeof(scope), "%.*s/%.*s/%.*s/aws4_request", TEXT_ARGS(date),
                             TEXT_ARGS(text_head(credentials->region, 64)),
                             TEXT_ARGS(text_head(credentials->service, 64)));
    struct digest digest = canonical_digest(credentials, request, stamp);
    digest = signature_of(credentials, stamp, (struct text){scope, (size_t)scope_len}, &digest);
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

/* ------------------------------------------------------------------------------- verified */

enum { QUERY_PARTS_MAX = 32 };

bool sigv4_is_claim(struct text authorization)
{
    return text_starts(authorization, TEXT(ALGORITHM));
}

/* Take what is behind the last slash off the end. */
static bool take_last(struct text *scope, struct text *word)
{
    size_t at = scope->len;
    while (at > 0 && scope->at[at - 1] != '/')
        at--;
    if (at == 0)
        return false;
    *word = text_from(*scope, at);
    scope->len = at - 1;
    return word->len > 0;
}

static bool is_digits(struct text text, const char *digits, size_t len)
{
    for (size_t i = 0; i < text.len; i++)
        if (!text.at[i] || !strchr(digits, text.at[i]))
            return false;
    return text.len == len;
}

static bool read_scope(struct text scope, struct sigv4_claim *claim)
{
    struct text end;
    return take_last(&scope, &end) && text_equal(end, TEXT("aws4_request")) &&
           take_last(&scope, &claim->service) && take_last(&scope, &claim->region) &&
           take_last(&scope, &claim->date) && is_digits(claim->date, "0123456789", DATE_BYTES) &&
           claim->region.len <= 64 && claim->service.len <= 64 &&
           (claim->access_key = scope).len > 0;
}

/* A list of "Name=value", with commas; each of the three once. */
bool sigv4_read_claim(struct text authorization, struct sigv4_claim *claim)
{
    struct text rest, item, scope = {NULL, 0};
    *claim = (struct sigv4_claim){.signature = {NULL, 0}};
    if (!sigv4_is_claim(authorization))
        return false;
    rest = text_from(authorization, sizeof(ALGORITHM) - 1);
    if (!rest.len || (rest.at[0] != ' ' && rest.at[0] != ','))
        return false;
    while (text_next(&rest, ',', &item)) {
        item = text_trim(item);
        size_t equals = text_find_byte(item, '=');
        struct text name = text_head(item, equals), value = text_from(item, equals + 1);
        struct text *to = text_equal(name, TEXT("Credential"))      ? &scope
                          : text_equal(name, TEXT("SignedHeaders")) ? &claim->signed_names
                          : text_equal(name, TEXT("Signature"))     ? &claim->signature
                                                                    : NULL;
        if (equals == SIZE_MAX || !to || to->at)
            return false;
        *to = value;
    }
    return scope.at && claim->signed_names.len &&
           is_digits(claim->signature, "0123456789abcdef", HEX_BYTES - 1) &&
           read_scope(scope, claim);
}

bool sigv4_signs(const struct sigv4_claim *claim, struct text name)
{
    struct text rest = claim->signed_names, one;
    while (text_next(&rest, ';', &one))
        if (text_equal(one, name))
            return true;
    return false;
}

int64_t sigv4_time(struct text stamp)
{
    char room[STAMP_BYTES];
    struct tm utc = {0};
    if (stamp.len != STAMP_BYTES - 1)
        return -1;
    memcpy(room, stamp.at, stamp.len);
    room[stamp.len] = '\0';
    const char *end = strptime(room, "%Y%m%dT%H%M%SZ", &utc);
    return end && !*end ? (int64_t)timegm(&utc) : -1;
}

/* As many bytes as <text> has when each that is neither plain nor an escape is escaped. */
static void put_query_word(struct buffer *out, struct text word)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < word.len; i++) {
        unsigned char c = (unsigned char)word.at[i];
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (is_unreserved((char)c) || c == '%')
            buffer_append(out, &c, 1);
        else
            buffer_append(out, escaped, sizeof(escaped));
    }
}

static int compare_texts(struct text one, struct text other)
{
    int order = memcmp(one.at, other.at, one.len < other.len ? one.len : other.len);
    return order ? order : (one.len > other.len) - (one.len < other.len);
}

/* By their names, then by their values. */
static int compare_parts(const void *a, const void *b)
{
    struct text one = *(const struct text *)a, other = *(const struct text *)b;
    int order = compare_texts(text_head(one, text_find_byte(one, '=')),
                              text_head(other, text_find_byte(other, '=')));
    return order ? order : compare_texts(one, other);
}

/* Sorted, and each with its '='. */
static bool put_query(struct buffer *out, struct text query)
{
    struct text parts[QUERY_PARTS_MAX], part;
    size_t count = 0;
    while (text_next(&query, '&', &part)) {
        if (count == QUERY_PARTS_MAX)
            return false;
        if (part.len)
            parts[count++] = part;
    }
    if (count > 1)
        qsort(parts, count, sizeof(parts[0]), compare_parts);
    for (size_t i = 0; i < count; i++) {
        size_t equals = text_find_byte(parts[i], '=');
        put(out, i ? TEXT("&") : TEXT(""));
        put_query_word(out, text_head(parts[i], equals));
        put(out, TEXT("="));
        put_query_word(out, text_from(parts[i], equals == SIZE_MAX ? parts[i].len : equals + 1));
    }
    return true;
}

bool sigv4_put_begin(struct buffer *out, struct text method, struct text path, struct text query)
{
    put(out, method);
    put(out, TEXT("\n"));
    put_path(out, path);
    put(out, TEXT("\n"));
    bool good = put_query(out, query);
    put(out, TEXT("\n"));
    return good;
}

/* Spaces that stand one behind the other are one. */
void sigv4_put_field(struct buffer *out, struct text name, struct text value)
{
    value = text_trim(value);
    put(out, name);
    put(out, TEXT(":"));
    for (size_t i = 0; i < value.len; i++)
        if (value.at[i] != ' ' || value.at[i - 1] != ' ')
            buffer_append(out, &value.at[i], 1);
    put(out, TEXT("\n"));
}

void sigv4_put_end(struct buffer *out, const struct sigv4_claim *claim)
{
    put(out, TEXT("\n"));
    put(out, claim->signed_names);
    put(out, TEXT("\n"));
}

bool sigv4_holds(const struct sigv4_claim *claim, struct text form, struct text body_hex,
                 struct text stamp, struct text secret)
{
    struct buffer whole;
    struct digest claimed;
    char scope[256];
    struct sigv4_credentials credentials = {
        .secret_key = secret, .region = claim->region, .service = claim->service};
    if (!hash_from_hex(claim->signature, &claimed) || stamp.len != STAMP_BYTES - 1)
        return false;
    int len = snprintf(scope, sizeof(scope), "%.*s/%.*s/%.*s/aws4_request", TEXT_ARGS(claim->date),
                       TEXT_ARGS(claim->region), TEXT_ARGS(claim->service));
    buffer_init(&whole, form.len + body_hex.len);
    put(&whole, form);
    put(&whole, body_hex);
    struct digest digest = hash_sha256(buffer_text(&whole));
    buffer_done(&whole);
    digest = signature_of(&credentials, stamp, (struct text){scope, (size_t)len}, &digest);
    return hash_same(&digest, &claimed);
}
