/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/session.h"

#include <stdio.h>

static const struct text cookie_name = {"sluice_session", 14};

static struct digest mac_of(const struct digest *secret, const struct digest *key, int64_t until_s)
{
    char words[HEX_BYTES + 48], hex[HEX_BYTES];
    hash_hex(key, hex);
    int len = snprintf(words, sizeof words, "sluice session %lld %s", (long long)until_s, hex);
    return hash_hmac_sha256((struct text){(const char *)secret->bytes, SHA256_BYTES},
                            (struct text){words, (size_t)len});
}

void session_write(const struct digest *secret, const struct digest *key, int64_t until_s,
                   char out[SESSION_BYTES])
{
    struct digest mac = mac_of(secret, key, until_s);
    char hex[HEX_BYTES];
    hash_hex(&mac, hex);
    snprintf(out, SESSION_BYTES, "%lld-%s", (long long)until_s, hex);
}

bool session_is_good(const struct digest *secret, const struct digest *key, struct text value,
                     int64_t now_s, int64_t ttl_s, int64_t *until_s)
{
    size_t dash = text_find_byte(value, '-');
    uint64_t until;
    struct digest given;
    if (dash == SIZE_MAX || !text_number(text_head(value, dash), INT64_MAX, &until) ||
        !hash_from_hex(text_from(value, dash + 1), &given))
        return false;
    struct digest mac = mac_of(secret, key, (int64_t)until);
    *until_s = (int64_t)until;
    return hash_same(&mac, &given) && *until_s > now_s && *until_s - now_s <= ttl_s;
}

size_t session_find(const struct head *head, struct text values[SESSION_TRIED_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        struct text rest = head->fields[i].value, pair;
        if (!text_equal_nocase(head->fields[i].name, TEXT("cookie")))
            continue;
        while (rest.len > 0 && text_next(&rest, ';', &pair)) {
            pair = text_trim(pair);
            if (count < SESSION_TRIED_MAX && text_starts(pair, cookie_name) &&
                pair.len > cookie_name.len && pair.at[cookie_name.len] == '=')
                values[count++] = text_from(pair, cookie_name.len + 1);
        }
    }
    return count;
}

bool session_may_ask(const struct head *head)
{
    struct text site = head_value(head, TEXT("sec-fetch-site"));
    return text_equal(head_value(head, TEXT("x-sluice-dashboard")), TEXT("1")) &&
           head_count(head, TEXT("sec-fetch-site")) <= 1 &&
           (site.at == NULL || text_equal(site, TEXT("same-origin")));
}
