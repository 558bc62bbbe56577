/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "gateway/http/url.h"
#include "gateway/wire/redis_inside.h"

enum { DB_MAX = 1000000, URL_BYTES_MAX = 4096 };

static int value_of_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo %XX into <out>, NUL-terminated; false when it does not fit, is broken, or holds a NUL. */
static bool decode(struct text from, char *out, size_t room)
{
    size_t len = 0;
    for (size_t i = 0; i < from.len; i++) {
        char c = from.at[i];
        if (c == '%') {
            int high = i + 2 < from.len ? value_of_hex(from.at[i + 1]) : -1;
            int low = high >= 0 ? value_of_hex(from.at[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || len + 1 >= room)
            return false;
        out[len++] = c;
    }
    out[len] = '\0';
    return true;
}

static bool refuse(struct fault *fault, const char *why)
{
    return fault_set(fault, FAULT_BAD_REQUEST,
                     "%s; it is redis://user:password@host:port/db, rediss:// with TLS, or "
                     "unix:///path?db=N",
                     why);
}

/* Take "user:password@" off the front of <rest>, which ends before the host or path does. */
static bool take_login(struct text *rest, struct redis_url *url, struct fault *fault)
{
    size_t end = 0, at = SIZE_MAX;
    while (end < rest->len && rest->at[end] != '/' && rest->at[end] != '?') {
        if (rest->at[end] == '@')
            at = end;
        end++;
    }
    if (at == SIZE_MAX)
        return true;
    struct text login = text_head(*rest, at);
    size_t colon = text_find_byte(login, ':');
    if (colon == SIZE_MAX)
        return refuse(fault, "there is a user without a password");
    *rest = text_from(*rest, at + 1);
    if (!decode(text_head(login, colon), url->user, sizeof(url->user)) ||
        !decode(text_from(login, colon + 1), url->password, sizeof(url->password)))
        return refuse(fault, "user or password cannot be read");
    if (!url->password[0])
        return refuse(fault, "the password is empty");
    return true;
}

static bool read_db(struct text from, struct redis_url *url, struct fault *fault)
{
    uint64_t db = 0;
    if (from.len > 0 && !text_number(from, DB_MAX, &db))
        return refuse(fault, "the database is no number");
    url->db = (unsigned)db;
    return true;
}

/* Cut "?db=N" off the end. */
static bool take_query(struct text *rest, struct redis_url *url, struct fault *fault)
{
    size_t mark = text_find_byte(*rest, '?');
    if (mark == SIZE_MAX)
        return true;
    struct text query = text_from(*rest, mark + 1);
    *rest = text_head(*rest, mark);
    if (!text_starts(query, TEXT("db=")) || query.len == 3)
        return refuse(fault, "behind '?' there may be db=N only");
    return read_db(text_from(query, 3), url, fault);
}

bool redis_place_read(struct text from, uint16_t port, struct redis_place *place)
{
    struct text host;
    uint16_t given;
    if (!url_read_host(from, &host, &given) || host.len >= sizeof(place->host))
        return false;
    *place = (struct redis_place){.port = given ? given : port};
    snprintf(place->host, sizeof(place->host), "%.*s", TEXT_ARGS(host));
    return true;
}

bool redis_place_told(struct text host, int64_t port, struct redis_place *place)
{
    if (port < 1 || port > UINT16_MAX || host.len >= sizeof(place->host) ||
        text_find_byte(host, '\0') != SIZE_MAX)
        return false;
    *place = (struct redis_place){.port = (uint16_t)port};
    snprintf(place->host, sizeof(place->host), "%.*s", TEXT_ARGS(host));
    return true;
}

bool redis_place_same(const struct redis_place *a, const struct redis_place *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static bool read_unix(struct text rest, struct redis_url *url, struct fault *fault)
{
    url->place.is_unix = true;
    if (rest.len == 0 || rest.at[0] != '/')
        return refuse(fault, "the path of the socket does not begin with '/'");
    if (!decode(rest, url->place.host, sizeof(((struct sockaddr_un *)0)->sun_path)))
        return refuse(fault, "the path of the socket is too long or cannot be read");
    return true;
}

bool redis_url_parse(const char *from, struct redis_url *url, struct fault *fault)
{
    struct text rest = text_of(from);
    *url = (struct redis_url){.db = 0};
    if (rest.len > URL_BYTES_MAX || text_find_byte(rest, '#') != SIZE_MAX)
        return refuse(fault, "it is too long or has a '#', which is written %23");
    bool is_unix = text_starts(rest, TEXT("unix://"));
    url->tls = text_starts(rest, TEXT("rediss://"));
    if (!is_unix && !url->tls && !text_starts(rest, TEXT("redis://")))
        return refuse(fault, "it has no scheme that is known");
    rest = text_from(rest, text_find(rest, TEXT("://")) + 3);
    if (!take_login(&rest, url, fault) || !take_query(&rest, url, fault))
        return false;
    if (is_unix)
        return read_unix(rest, url, fault);
    size_t slash = text_find_byte(rest, '/');
    struct text host = text_head(rest, slash);
    if (slash != SIZE_MAX && rest.len > slash + 1 &&
        !read_db(text_from(rest, slash + 1), url, fault))
        return false;
    if (!redis_place_read(host, REDIS_PORT, &url->place))
        return refuse(fault, "host or port cannot be read");
    return true;
}

bool redis_url_read(const char *url, struct fault *fault)
{
    struct redis_url parsed;
    bool good = redis_url_parse(url, &parsed, fault);
    memory_wipe(&parsed, sizeof(parsed));
    return good;
}

void redis_name(const struct redis_options *options, char into[REDIS_NAME_BYTES])
{
    struct redis_url url;
    struct fault ignored;
    if (!redis_url_parse(options->url, &url, &ignored))
        snprintf(into, REDIS_NAME_BYTES, "(not readable)");
    else if (options->sentinel_master && options->sentinels[0])
        snprintf(into, REDIS_NAME_BYTES, "%s/%u by the Sentinel %s%s", options->sentinel_master,
                 url.db, options->sentinels[0], options->sentinels[1] ? " and others" : "");
    else if (url.place.is_unix)
        snprintf(into, REDIS_NAME_BYTES, "unix:%s?db=%u", url.place.host, url.db);
    else if (strchr(url.place.host, ':'))
        snprintf(into, REDIS_NAME_BYTES, "[%s]:%u/%u", url.place.host, url.place.port, url.db);
    else
        snprintf(into, REDIS_NAME_BYTES, "%s:%u/%u", url.place.host, url.place.port, url.db);
    memory_wipe(&url, sizeof(url));
}
