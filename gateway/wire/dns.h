/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * dns - names to addresses, with c-ares, and a cache that honours the records' TTL (at least 1 s,
 * at most 5 min; failures 1 s). One per loop. Literal addresses are answered without asking.
 *
 * Also: what addresses the dialer may connect to at all.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/base/loop.h"
#include "gateway/base/text.h"

struct dns;

enum { DNS_ADDRESSES_MAX = 8 };

struct dns_address {
    struct sockaddr_storage address;
    socklen_t length;
};

/* Embed it; it must live until it is answered or cancelled. */
struct dns_query {
    struct link link;
    /* <count> addresses, or 0 and why. May be called from within dns_ask(). */
    void (*on_answer)(struct dns_query *query, const struct dns_address *addresses, size_t count,
                      const char *why);
};

struct dns *dns_new(struct loop *loop);
void dns_free(struct dns *dns);

void dns_ask(struct dns *dns, const char *host, uint16_t port, struct dns_query *query);
/* How many names were asked of the resolver so far. */
uint64_t dns_asked(const struct dns *dns);
void dns_cancel(struct dns_query *query);

/* Link-local, metadata, multicast and unspecified addresses: never connected to unless the
 * provider says allow_link_local. Looks through IPv4-mapped, NAT64 and 6to4 forms. */
bool dns_is_forbidden(const struct sockaddr *address);
/* Loopback, private (RFC 1918, fc00::/7) and carrier-grade (RFC 6598) addresses, in the same forms:
 * not for URLs that a tenant may choose. */
bool dns_is_private(const struct sockaddr *address);
