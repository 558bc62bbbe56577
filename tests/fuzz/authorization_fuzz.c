/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Credentials: a key is found only where a plain reading of all the fields finds that same key in
 * each credential that was sent. The input is a query, a line end, and the fields of a request.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/path.h"

static bool is_key(struct text key)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=:";
    for (size_t i = 0; i < key.len; i++)
        if (key.at[i] == '\0' || !strchr(allowed, key.at[i]))
            return false;
    return key.len > 0 && key.len <= 8192;
}

/* The key in the one header of that name, or at == NULL; *bad when it is repeated or malformed. */
static struct text key_of(const struct head *head, struct text name, bool is_bearer, bool *bad)
{
    struct text value = head_value(head, name);
    if (!value.at)
        return value;
    if (head_count(head, name) != 1)
        *bad = true;
    if (is_bearer) {
        if (!text_starts_nocase(value, TEXT("Bearer ")))
            *bad = true;
        value = text_from(value, 7);
    }
    if (!is_key(value))
        *bad = true;
    return value;
}

static enum credential_result find_plainly(const struct head *head, bool query_key,
                                           struct text *key)
{
    bool bad = false, repeated = false;
    struct text keys[5] = {
        key_of(head, TEXT("authorization"), true, &bad),
        key_of(head, TEXT("x-api-key"), false, &bad),
        key_of(head, TEXT("api-key"), false, &bad),
        key_of(head, TEXT("x-goog-api-key"), false, &bad),
        {NULL, 0},
    };
    if (query_key && query_find(head->query, TEXT("key"), &keys[4], &repeated))
        bad = bad || repeated || !is_key(keys[4]);
    *key = (struct text){NULL, 0};
    for (size_t i = 0; i < 5; i++) {
        if (!keys[i].at)
            continue;
        if (key->at && !text_equal(*key, keys[i]))
            bad = true;
        *key = keys[i];
    }
    if (bad)
        return CREDENTIAL_REFUSED;
    return key->at ? CREDENTIAL_FOUND : CREDENTIAL_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char line[] = "GET /x?", version[] = " HTTP/1.1\r\nHost: a\r\n";
    struct text input = {(const char *)data, size};
    if (size > 8192)
        return 0;
    struct text query = text_head(input, text_find_byte(input, '\n'));
    struct text fields = text_from(input, query.len + 1);
    size_t len = sizeof(line) + sizeof(version) - 2 + query.len + fields.len + 4, at = 0;
    char *bytes = malloc(len);
    const struct text parts[] = {
        {line, sizeof(line) - 1}, query, {version, sizeof(version) - 1}, fields, TEXT("\r\n\r\n")};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); at += parts[i++].len)
        if (parts[i].len > 0)
            memcpy(bytes + at, parts[i].at, parts[i].len);
    struct head head;
    struct fault why;
    if (head_read_request((struct text){bytes, len}, &head, &why)) {
        for (int query_key = 0; query_key < 2; query_key++) {
            struct text key = {NULL, 0}, wanted;
            enum credential_result result = credential_find(&head, query_key, &key);
            assert(result == find_plainly(&head, query_key, &wanted));
            assert(result != CREDENTIAL_FOUND || text_equal(key, wanted));
        }
    }
    free(bytes);
    return 0;
}
