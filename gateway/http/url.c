/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/url.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "gateway/http/octets.h"
#include "gateway/http/path.h"

enum { HOST_MAX = 253, PORT_DIGITS = 5, SOCKET_PATH_MAX = 107 /* sun_path without its NUL */ };

static bool is_ipv6(struct text address)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr in;
    if (address.len >= sizeof(copy) || memchr(address.at, '\0', address.len))
        return false;
    memcpy(copy, address.at, address.len);
    copy[address.len] = '\0';
    return inet_pton(AF_INET6, copy, &in) == 1;
}

/* Labels of letters, digits, '-' and '_', none empty; a dot may end the name. */
static bool is_name(struct text name)
{
    if (name.len == 0 || name.len > HOST_MAX || name.at[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!octet_is(name.at[i], OCTET_HOST) ||
            (name.at[i] == '.' && i > 0 && name.at[i - 1] == '.'))
            return false;
    return true;
}

bool url_read_host(struct text from, struct text *host, uint16_t *port)
{
    uint64_t number = 0;
    size_t end;
    if (from.len > 0 && from.at[0] == '[') {
        end = text_find_byte(from, ']');
        if (end == SIZE_MAX)
            return false;
        *host = text_from(text_head(from, end), 1);
        if (host->len == 0 || !is_ipv6(*host))
            return false;
        end++;
    } else {
        end = text_find_byte(from, ':');
        *host = text_head(from, end);
        if (!is_name(*host))
            return false;
    }
    struct text rest = text_from(from, end);
    if (rest.len > 0) {
        if (rest.at[0] != ':' || rest.len > PORT_DIGITS + 1 ||
            !text_number(text_from(rest, 1), UINT16_MAX, &number) || number == 0)
            return false;
    }
    *port = (uint16_t)number;
    return true;
}

static bool fail(const char **problem, const char *words)
{
    *problem = words;
    return false;
}

static bool read_path(struct text from, struct url *url, const char **problem)
{
    if (from.len > 0 && from.at[from.len - 1] == '/')
        from.len--;
    /* "/" is clean, but here it is what is left of "//". */
    if (from.len == 1 || (from.len > 0 && !path_is_clean(from, true)))
        return fail(problem,
                    text_find_byte(from, '?') != SIZE_MAX || text_find_byte(from, '#') != SIZE_MAX
                        ? "a base URL has no query and no fragment"
                        : "the path has a byte or a segment that may not stand there");
    url->path = from;
    return true;
}

/* http+unix:///run/server.sock:/v1 */
static bool read_socket(struct text from, struct url *url, const char **problem)
{
    size_t colon = text_find_byte(from, ':');
    url->is_unix = true;
    url->host = text_head(from, colon);
    if (url->host.len < 2 || url->host.at[0] != '/')
        return fail(problem, "http+unix:// is followed by the absolute path of a socket");
    if (url->host.len > SOCKET_PATH_MAX)
        return fail(problem, "the path of the socket is longer than 107 bytes");
    for (size_t i = 0; i < url->host.len; i++)
        if (octet_is_control(url->host.at[i]) || url->host.at[i] == '\t')
            return fail(problem, "there is a control byte in the path of the socket");
    return read_path(colon == SIZE_MAX ? (struct text){NULL, 0} : text_from(from, colon + 1), url,
                     problem);
}

static bool read_user(struct text *authority, struct url *url, const char **problem)
{
    size_t at = text_find_byte(*authority, '@');
    if (at == SIZE_MAX)
        return true;
    url->user = text_head(*authority, at);
    *authority = text_from(*authority, at + 1);
    if (url->user.len == 0)
        return fail(problem, "there is no user in front of the @");
    /* Every byte of it but ':' and '%' may stand in a path segment too (RFC 3986 3.2.1). */
    for (size_t i = 0; i < url->user.len; i++)
        if (!octet_is(url->user.at[i], OCTET_PATH) || url->user.at[i] == '/')
            return fail(problem, "the user or password has a byte that must be escaped");
    return true;
}

static bool read_authority(struct text from, struct url *url, const char **problem)
{
    size_t slash = text_find_byte(from, '/');
    struct text authority = text_head(from, slash);
    uint16_t port;
    if (!read_user(&authority, url, problem))
        return false;
    if (authority.len == 0)
        return fail(problem, "there is no host");
    if (!url_read_host(authority, &url->host, &port))
        return fail(problem, "the host is not a name or an address with an optional port");
    url->port = port;
    if (port == 0)
        url->port = url->tls ? 443 : 80;
    return read_path(text_from(from, slash), url, problem);
}

bool url_read(struct text from, struct url *url, const char **problem)
{
    static const struct {
        struct text name;
        bool tls, is_unix;
    } schemes[] = {
        {{"http://", 7}, false, false},      {{"https://", 8}, true, false},
        {{"ws://", 5}, false, false},        {{"wss://", 6}, true, false},
        {{"http+unix://", 12}, false, true},
    };
    *url = (struct url){.tls = false};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (!text_starts_nocase(from, schemes[i].name))
            continue;
        from = text_from(from, schemes[i].name.len);
        url->tls = schemes[i].tls;
        return schemes[i].is_unix ? read_socket(from, url, problem)
                                  : read_authority(from, url, problem);
    }
    return fail(problem, "it does not begin with http://, https://, ws://, wss:// or http+unix://");
}

bool host_is_loopback(struct text host)
{
    char name[INET_ADDRSTRLEN];
    struct in_addr four;
    if (text_equal_nocase(host, TEXT("localhost")) || text_equal(host, TEXT("::1")))
        return true;
    snprintf(name, sizeof(name), "%.*s", TEXT_ARGS(text_head(host, sizeof(name) - 1)));
    return host.len < sizeof(name) && inet_pton(AF_INET, name, &four) == 1 &&
           ntohl(four.s_addr) >> 24 == 127;
}
