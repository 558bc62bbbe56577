/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"

enum {
    NAMES_MAX = 1024,
    TTL_MIN_S = 1,
    TTL_MAX_S = 300,
    TTL_FAILED_S = 1,
    QUERY_TIMEOUT_MS = 2000,
    QUERY_TRIES = 2,
    SOCKETS_MAX = 16,
};

struct dns_name {
    struct dns *dns;
    char *host;
    struct link waiting; /* struct dns_query */
    bool asking;
    uint64_t good_until_us;
    size_t count;
    struct dns_address addresses[DNS_ADDRESSES_MAX]; /* without ports */
    char why[64];
};

struct dns_socket {
    struct watch watch; /* fd -1 = free place */
    struct dns *dns;
};

struct dns {
    struct loop *loop;
    ares_channel channel; /* NULL = none was needed yet */
    struct timer timer;
    struct table names;
    uint64_t asked;
    struct dns_socket sockets[SOCKETS_MAX];
};

/* --------------------------------------------------------------------- c-ares in our loop */

static void set_timer(struct dns *dns)
{
    struct timeval wait;
    if (!ares_timeout(dns->channel, NULL, &wait)) {
        timer_stop(&dns->timer);
        return;
    }
    timer_stop(&dns->timer);
    timer_set(dns->loop, &dns->timer,
              clock_now_us() + (uint64_t)wait.tv_sec * 1000000U + (uint64_t)wait.tv_usec);
}

static void on_socket_event(struct watch *watch, unsigned events)
{
    struct dns_socket *socket = (struct dns_socket *)watch;
    struct dns *dns = socket->dns;
    ares_process_fd(dns->channel, events & LOOP_READ ? watch->fd : ARES_SOCKET_BAD,
                    events & LOOP_WRITE ? watch->fd : ARES_SOCKET_BAD);
    set_timer(dns);
}

static void on_timer(struct timer *timer)
{
    struct dns *dns = LIST_MEMBER(timer, struct dns, timer);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(dns);
}

static struct dns_socket *socket_of(struct dns *dns, int fd)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        if (dns->sockets[i].watch.fd == fd)
            return &dns->sockets[i];
    return NULL;
}

static void on_socket_state(void *with, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = with;
    struct dns_socket *socket = socket_of(dns, fd);
    if (socket) {
        loop_remove(dns->loop, &socket->watch);
        socket->watch.fd = -1;
    }
    if (!readable && !writable)
        return;
    socket = socket_of(dns, -1);
    if (!socket)
        return; /* c-ares will time the query out */
    socket->watch.fd = fd;
    loop_add_level(dns->loop, &socket->watch,
                   (readable ? LOOP_READ : 0U) | (writable ? LOOP_WRITE : 0U));
}

/* When a name is asked for, and not before: it reads files, and holds 80 KB. It can fail, then and
 * not the next time: where descriptors have run out, a file cannot be read. ARES_SUCCESS, or why.
 */
static int open_channel(struct dns *dns)
{
    if (dns->channel)
        return ARES_SUCCESS;
    struct ares_options options = {.timeout = QUERY_TIMEOUT_MS,
                                   .tries = QUERY_TRIES,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = dns};
    int made = ares_init_options(&dns->channel, &options,
                                 ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (made != ARES_SUCCESS)
        dns->channel = NULL;
    return made;
}

struct dns *dns_new(struct loop *loop)
{
    struct dns *dns = memory_new(sizeof(*dns));
    dns->loop = loop;
    dns->timer.on_time = on_timer;
    table_init(&dns->names);
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        dns->sockets[i] = (struct dns_socket){{.fd = -1, .on_event = on_socket_event}, dns};
    return dns;
}

static void name_free(struct dns_name *name)
{
    memory_free(name->host);
    memory_free(name);
}

void dns_free(struct dns *dns)
{
    if (dns->channel)
        ares_destroy(dns->channel); /* answers what is open with a failure */
    timer_stop(&dns->timer);
    size_t at = 0;
    struct text key;
    void *value;
    while (table_next(&dns->names, &at, &key, &value))
        name_free(value);
    table_done(&dns->names);
    memory_free(dns);
}

/* ------------------------------------------------------------------------------ answers */

static void put_port(struct dns_address *address, uint16_t port)
{
    if (address->address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&address->address)->sin_port = htons(port);
}

static void tell(const struct dns_name *name, struct dns_query *query)
{
    query->on_answer(query, name->addresses, name->count, name->count ? NULL : name->why);
}

static void take_addresses(struct dns_name *name, const struct ares_addrinfo *found)
{
    int ttl = TTL_MAX_S;
    name->count = 0;
    for (const struct ares_addrinfo_node *node = found->nodes;
         node && name->count < DNS_ADDRESSES_MAX; node = node->ai_next) {
        struct dns_address *address = &name->addresses[name->count];
        if ((size_t)node->ai_addrlen > sizeof(address->address))
            continue;
        memcpy(&address->address, node->ai_addr, (size_t)node->ai_addrlen);
        address->length = (socklen_t)node->ai_addrlen;
        name->count++;
        if (node->ai_ttl < ttl)
            ttl = node->ai_ttl;
    }
    if (ttl < TTL_MIN_S)
        ttl = TTL_MIN_S;
    name->good_until_us = clock_now_us() + (uint64_t)ttl * 1000000U;
}

static void on_answer(void *with, int status, int timeouts, struct ares_addrinfo *found)
{
    struct dns_name *name = with;
    (void)timeouts;
    name->asking = false;
    if (status == ARES_SUCCESS && found) {
        take_addresses(name, found);
    } else {
        name->count = 0;
        name->good_until_us = clock_now_us() + TTL_FAILED_S * 1000000U;
    }
    snprintf(name->why, sizeof(name->why), "%s",
             status == ARES_SUCCESS ? "the name has no address" : ares_strerror(status));
    if (found)
        ares_freeaddrinfo(found);
    struct link waiting;
    list_init(&waiting);
    while (!list_is_empty(&name->waiting)) {
        struct link *first = name->waiting.next;
        list_remove(first);
        list_push_back(&waiting, first);
    }
    while (!list_is_empty(&waiting)) {
        struct dns_query *query = LIST_MEMBER(waiting.next, struct dns_query, link);
        list_remove(&query->link);
        tell(name, query);
    }
}

/* Names come from the configuration only, so the bound is there for proxies and reloads. */
static void forget_old_names(struct dns *dns)
{
    if (dns->names.count < NAMES_MAX)
        return;
    size_t at = 0;
    struct text key;
    void *value;
    while (table_next(&dns->names, &at, &key, &value)) {
        struct dns_name *name = value;
        if (!name->asking && list_is_empty(&name->waiting)) {
            table_remove(&dns->names, key);
            name_free(name);
            return;
        }
    }
}

static struct dns_name *name_of(struct dns *dns, const char *key)
{
    struct dns_name *name = table_find(&dns->names, text_of(key));
    if (name)
        return name;
    forget_old_names(dns);
    name = memory_new(sizeof(*name));
    name->dns = dns;
    name->host = memory_string(text_of(key));
    list_init(&name->waiting);
    table_set(&dns->names, text_of(name->host), name);
    return name;
}

static bool answer_literal(const char *host, uint16_t port, struct dns_query *query)
{
    struct dns_address one = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&one.address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&one.address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        one.length = sizeof(*v4);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        one.length = sizeof(*v6);
    } else {
        return false;
    }
    put_port(&one, port);
    query->on_answer(query, &one, 1, NULL);
    return true;
}

void dns_ask(struct dns *dns, const char *host, uint16_t port, struct dns_query *query)
{
    list_init(&query->link);
    if (answer_literal(host, port, query))
        return;
    char key[320], service[8];
    snprintf(key, sizeof(key), "%s:%u", host, port);
    struct dns_name *name = name_of(dns, key);
    if (!name->asking && name->good_until_us > clock_now_us()) {
        tell(name, query);
        return;
    }
    list_push_back(&name->waiting, &query->link);
    if (name->asking)
        return;
    name->asking = true;
    dns->asked++;
    snprintf(service, sizeof(service), "%u", port);
    struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NUMERICSERV};
    int made = open_channel(dns);
    if (made != ARES_SUCCESS) {
        on_answer(name, made, 0, NULL);
        return;
    }
    ares_getaddrinfo(dns->channel, host, service, &hints, on_answer, name);
    set_timer(dns);
}

uint64_t dns_asked(const struct dns *dns)
{
    return dns->asked;
}

void dns_cancel(struct dns_query *query)
{
    list_remove(&query->link);
}

/* ---------------------------------------------------------------- forbidden addresses */

static bool is_forbidden_v4(uint32_t a)
{
    return a >> 24 == 0 ||      /* 0.0.0.0/8, this network */
           a >> 16 == 0xA9FE || /* 169.254/16, link-local and metadata */
           a == 0x646464C8 ||   /* 100.100.100.200, a cloud's metadata */
           a >> 28 >= 0xE;      /* multicast and reserved */
}

static uint32_t load_v4(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool is_forbidden_v6(const uint8_t *b)
{
    static const uint8_t zeros[16];
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const uint8_t metadata[16] = {0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0,
                                         0,    0,    0,    0,    0, 0, 2, 0x54};
    if (memcmp(b, zeros, 16) == 0 || b[0] == 0xff)
        return true;
    if (b[0] == 0xfe && (b[1] & 0x80) == 0x80) /* fe80::/10 and fec0::/10 */
        return true;
    if (memcmp(b, metadata, 16) == 0)
        return true;
    if (memcmp(b, mapped, 12) == 0 || memcmp(b, nat64, 12) == 0)
        return is_forbidden_v4(load_v4(b + 12));
    if (memcmp(b, zeros, 12) == 0 && load_v4(b + 12) != 1) /* ::a.b.c.d */
        return is_forbidden_v4(load_v4(b + 12));
    if (b[0] == 0x20 && b[1] == 0x02) /* 6to4 */
        return is_forbidden_v4(load_v4(b + 2));
    return false;
}

bool dns_is_forbidden(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return is_forbidden_v4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return is_forbidden_v6(
            ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
    return false;
}

static bool is_private_v4(uint32_t a)
{
    return a >> 24 == 127 || a >> 24 == 10 || a >> 20 == 0xAC1 || a >> 16 == 0xC0A8 ||
           a >> 22 == 0x191 || /* 100.64/10 */
           a >> 17 == 0xC612 >> 1 /* 198.18/15 */;
}

static bool is_private_v6(const uint8_t *b)
{
    static const uint8_t zeros[16];
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    if ((b[0] & 0xfe) == 0xfc || memcmp(b, zeros, 12) == 0) /* ::1 among the latter */
        return true;
    if (memcmp(b, mapped, 12) == 0 || memcmp(b, nat64, 12) == 0)
        return is_private_v4(load_v4(b + 12));
    return b[0] == 0x20 && b[1] == 0x02 && is_private_v4(load_v4(b + 2)); /* 6to4 */
}

bool dns_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return is_private_v4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    return address->sa_family == AF_INET6 &&
           is_private_v6(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
}
