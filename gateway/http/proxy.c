/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { V1_MAX = 107, V2_HEAD = 16, V2_MAX = 2048 };

static const struct text v1_begin = {"PROXY ", 6};
static const struct text v2_begin = {"\r\n\r\n\0\r\nQUIT\n", 12};

/* As far as both go, are they the same? */
static bool agree(struct text bytes, struct text begin)
{
    size_t len = bytes.len < begin.len ? bytes.len : begin.len;
    return memcmp(bytes.at, begin.at, len) == 0;
}

static bool is_address(struct text t, int family, char *out)
{
    struct in6_addr address;
    char z[PROXY_PEER_BYTES];
    if (t.len == 0 || t.len >= sizeof(z))
        return false;
    memcpy(z, t.at, t.len);
    z[t.len] = '\0';
    if (inet_pton(family, z, &address) != 1)
        return false;
    if (out)
        memcpy(out, z, t.len + 1);
    return true;
}

/* "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", or "PROXY UNKNOWN…\r\n". */
static enum proxy_result read_v1(struct text bytes, size_t *length, char *peer)
{
    size_t end = text_find(text_head(bytes, V1_MAX), TEXT("\r\n"));
    if (end == SIZE_MAX)
        return bytes.len >= V1_MAX ? PROXY_READ_BAD : PROXY_READ_WAIT;
    struct text rest = text_from(text_head(bytes, end), v1_begin.len), word[5];
    *length = end + 2;
    if (!text_next(&rest, ' ', &word[0]))
        return PROXY_READ_BAD;
    if (text_equal(word[0], TEXT("UNKNOWN")))
        return PROXY_READ_DONE;
    for (int i = 1; i < 5; i++)
        if (!text_next(&rest, ' ', &word[i]))
            return PROXY_READ_BAD;
    int family = text_equal(word[0], TEXT("TCP4"))   ? AF_INET
                 : text_equal(word[0], TEXT("TCP6")) ? AF_INET6
                                                     : 0;
    uint64_t port;
    bool good = family && !rest.at && is_address(word[2], family, NULL) &&
                text_number(word[3], 65535, &port) && text_number(word[4], 65535, &port) &&
                is_address(word[1], family, peer);
    return good ? PROXY_READ_DONE : PROXY_READ_BAD;
}

static enum proxy_result read_v2(struct text bytes, size_t *length, char *peer)
{
    if (bytes.len < V2_HEAD)
        return PROXY_READ_WAIT;
    const unsigned char *b = (const unsigned char *)bytes.at;
    unsigned version = b[12] >> 4, command = b[12] & 15, family = b[13];
    size_t rest = (size_t)b[14] << 8 | b[15];
    if (version != 2 || command > 1 || rest > V2_MAX)
        return PROXY_READ_BAD;
    *length = V2_HEAD + rest;
    if (bytes.len < *length)
        return PROXY_READ_WAIT;
    if (command == 0 || family == 0)
        return PROXY_READ_DONE;
    if (family == 0x11 && rest >= 12)
        inet_ntop(AF_INET, b + V2_HEAD, peer, PROXY_PEER_BYTES);
    else if (family == 0x21 && rest >= 36)
        inet_ntop(AF_INET6, b + V2_HEAD, peer, PROXY_PEER_BYTES);
    else if (family == 0x11 || family == 0x21)
        return PROXY_READ_BAD;
    return PROXY_READ_DONE;
}

enum proxy_result proxy_read(struct text bytes, bool allow_v1, bool allow_v2, size_t *length,
                             char peer[PROXY_PEER_BYTES])
{
    if (allow_v2 && agree(bytes, v2_begin))
        return bytes.len < v2_begin.len ? PROXY_READ_WAIT : read_v2(bytes, length, peer);
    if (allow_v1 && agree(bytes, v1_begin))
        return bytes.len < v1_begin.len ? PROXY_READ_WAIT : read_v1(bytes, length, peer);
    return PROXY_READ_BAD;
}
