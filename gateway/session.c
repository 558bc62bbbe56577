/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/session.h"

#include <stdio.h>
#include <string.h>

const char *session_cookie(bool is_tls)
{
    return is_tls ? "__Host-sluice_session" : "sluice_session";
}

const char *session_ticket_cookie(bool is_tls)
{
    return is_tls ? "__Host-sluice_sign_in" : "sluice_sign_in";
}

/* ------------------------------------------------------------------------------ of a key */

static struct digest mac_of(const struct digest *secret, const struct digest *key, struct text said)
{
    char words[SESSION_BYTES + HEX_BYTES + 32], hex[HEX_BYTES];
    hash_hex(key, hex);
    int len = snprintf(words, sizeof words, "sluice session %.*s %s",
                       TEXT_ARGS(text_head(said, SESSION_BYTES)), hex);
    return hash_hmac_sha256((struct text){(const char *)secret->bytes, SHA256_BYTES},
                            (struct text){words, (size_t)len});
}

/* Two sessions that begin at once are two: one may be ended. */
static uint64_t make_number(void)
{
    uint64_t number;
    hash_random(&number, sizeof number);
    return number;
}

void session_write(const struct digest *secret, const struct digest *key, int64_t until_s,
                   char out[SESSION_BYTES])
{
    char hex[HEX_BYTES];
    int len = snprintf(out, SESSION_BYTES, "%lld-%016llx", (long long)until_s,
                       (unsigned long long)make_number());
    struct digest mac = mac_of(secret, key, (struct text){out, (size_t)len});
    hash_hex(&mac, hex);
    snprintf(out + len, SESSION_BYTES - (size_t)len, "-%s", hex);
}

/* Take the MAC off the end of <value>, with the byte <before> before it. */
static bool take_mac(struct text *value, char before, struct digest *mac)
{
    if (value->len <= HEX_BYTES || value->at[value->len - HEX_BYTES] != before ||
        !hash_from_hex(text_from(*value, value->len - HEX_BYTES + 1), mac))
        return false;
    /* As it was written: in capitals it would be another session, which nobody has ended. */
    char hex[HEX_BYTES];
    hash_hex(mac, hex);
    if (!text_ends(*value, text_of(hex)))
        return false;
    *value = text_head(*value, value->len - HEX_BYTES);
    return true;
}

bool session_is_good(const struct digest *secret, const struct digest *key, struct text value,
                     int64_t now_s, int64_t ttl_s, int64_t *until_s)
{
    uint64_t until;
    struct digest given;
    if (value.len >= SESSION_BYTES || !take_mac(&value, '-', &given))
        return false;
    struct digest mac = mac_of(secret, key, value);
    if (!hash_same(&mac, &given) ||
        !text_number(text_head(value, text_find_byte(value, '-')), INT64_MAX, &until))
        return false;
    *until_s = (int64_t)until;
    return *until_s > now_s && *until_s - now_s <= ttl_s;
}

/* --------------------------------------------------------------------------- of a person */

static const struct text person_begin = {"o.", 2};

static struct digest person_mac(const struct digest *secret, const struct digest *settings,
                                struct text said)
{
    char words[SESSION_PERSON_BYTES + HEX_BYTES + 32], hex[HEX_BYTES];
    hash_hex(settings, hex);
    int len = snprintf(words, sizeof words, "sluice person %.*s %s",
                       TEXT_ARGS(text_head(said, SESSION_PERSON_BYTES)), hex);
    return hash_hmac_sha256((struct text){(const char *)secret->bytes, SHA256_BYTES},
                            (struct text){words, (size_t)len});
}

void session_write_person(const struct digest *secret, const struct digest *settings,
                          const struct session_person *person, char out[SESSION_PERSON_BYTES])
{
    enum { CODED = 4 * ((SESSION_NAME_BYTES + 2) / 3) + 1 };
    char name[CODED], tenant[CODED], hex[HEX_BYTES];
    name[hash_base64(person->name, strlen(person->name), name)] = '\0';
    tenant[hash_base64(person->tenant, strlen(person->tenant), tenant)] = '\0';
    int len =
        snprintf(out, SESSION_PERSON_BYTES, "o.%lld.%016llx.%u.%s.%s", (long long)person->until_s,
                 (unsigned long long)make_number(), person->role, name, tenant);
    struct digest mac = person_mac(secret, settings, (struct text){out, (size_t)len});
    hash_hex(&mac, hex);
    snprintf(out + len, SESSION_PERSON_BYTES - (size_t)len, ".%s", hex);
}

static bool read_name(struct text coded, char out[SESSION_NAME_BYTES])
{
    uint8_t room[SESSION_NAME_BYTES + 4];
    size_t len = coded.len <= SESSION_NAME_BYTES / 3 * 4 ? hash_unbase64(coded, room) : SIZE_MAX;
    if (len >= SESSION_NAME_BYTES || memchr(room, 0, len))
        return false;
    memcpy(out, room, len);
    out[len] = '\0';
    return true;
}

/* It is ours: what it says is as it was written. */
static bool read_person(struct text rest, struct session_person *person)
{
    struct text until, number, role, name;
    uint64_t end, word;
    if (!text_next(&rest, '.', &until) || !text_next(&rest, '.', &number) ||
        !text_next(&rest, '.', &role) || !text_next(&rest, '.', &name) ||
        !text_number(until, INT64_MAX, &end) || !text_number(role, 2, &word) ||
        !read_name(name, person->name) || !read_name(rest, person->tenant))
        return false;
    person->role = (unsigned)word;
    person->until_s = (int64_t)end;
    return true;
}

bool session_is_person(const struct digest *secret, const struct digest *settings,
                       struct text value, int64_t now_s, int64_t ttl_s,
                       struct session_person *person)
{
    struct digest given;
    if (value.len >= SESSION_PERSON_BYTES || !text_starts(value, person_begin) ||
        !take_mac(&value, '.', &given))
        return false;
    struct digest mac = person_mac(secret, settings, value);
    return hash_same(&mac, &given) && read_person(text_from(value, person_begin.len), person) &&
           person->until_s > now_s && person->until_s - now_s <= ttl_s;
}

/* ----------------------------------------------------------------------------- requests */

size_t session_find(const struct head *head, const char *name,
                    struct text values[SESSION_TRIED_MAX])
{
    size_t count = 0;
    struct text cookie_name = text_of(name);
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
