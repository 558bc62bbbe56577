/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * forwarded - what proxies in front of us say of a client, in X-Forwarded-For and
 * X-Forwarded-Proto (developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For) or in
 * Forwarded (RFC 7239), believed only where a proxy that is trusted has said it.
 */

#include "gateway/base/text.h"
#include "gateway/http/head.h"

/* Addresses that begin alike. One of IPv4 stands as ::ffff:a.b.c.d. */
struct network {
    unsigned char address[16];
    unsigned bits; /* that count, 0 to 128 */
};

/* Who is believed. Borrowed. */
struct networks {
    const struct network *at;
    size_t count;
    bool has_unix; /* who comes by a unix socket, too */
};

enum { FORWARDED_PEER_BYTES = 46, FORWARDED_HOPS_MAX = 32 };

/* Read "10.0.0.0/8", "2001:db8::/32" or one address; false when it is none of them, or when
 * something stands behind its prefix ("10.0.0.1/8"). */
bool network_read(struct text text, struct network *network);

/* Is <peer>, the text of an address or "unix", one of them? */
bool networks_have(const struct networks *networks, struct text peer);

/*
 * Who is behind the trusted <peer>? Hops are gone through from the last, the one that <peer> has
 * seen itself, until one is not trusted: that one is the client, as whoever stands before it may
 * have been made up. A hop that is not an address ("unknown", a name), and more than
 * FORWARDED_HOPS_MAX of them, end the search at the last address that was believed. X-Forwarded-For
 * counts where both kinds of header came. Writes the address into <client>; false, and nothing
 * written, when nobody says anything.
 */
bool forwarded_client(const struct head *head, const struct networks *trusted,
                      char client[FORWARDED_PEER_BYTES]);

/* Has the last proxy, which is trusted, been reached over TLS? */
bool forwarded_https(const struct head *head);
