/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* url - the base URLs of a configuration (never of a client), RFC 3986. */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct url {
    bool tls;         /* https, wss */
    bool is_unix;     /* http+unix:///run/server.sock:/v1 - path of a socket in host */
    struct text user; /* "user:password" or empty: proxies only */
    struct text host; /* a name, an IPv4 address, or an IPv6 address without its brackets */
    uint16_t port;    /* of the scheme when none is given */
    struct text path; /* without a slash at its end; empty for the root */
};

/* Read http://host:port/path or https://…; *problem is a static text on failure. No query, no
 * fragment. All texts borrow from <from>. */
bool url_read(struct text from, struct url *url, const char **problem);

/*
 * Read "host", "host:port" or "[IPv6]:port", strictly: a name of labels (letters, digits, '-',
 * '_'), an IPv6 address without a zone, a port from 1 to 65535 or none (*port is 0 then). <host> is
 * without brackets and borrows from <from>. The Host field of a request has this form too.
 */
bool url_read_host(struct text from, struct text *host, uint16_t *port);

/* "localhost" or an address of loopback. */
bool host_is_loopback(struct text host);
