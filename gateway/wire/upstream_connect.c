/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_connect - from a place to a connection: name, address after address, proxy, TLS.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/wire/upstream_inside.h"

enum { ATTEMPT_MIN_US = 250000 /* at least so long for each address of a name */ };

static void connect_next(struct upstream *up, const char *why);

static void resolve(struct upstream *up)
{
    const struct upstream_place *place = &up->pool->place;
    up->state = UP_RESOLVE;
    dns_ask(up->pool->owner->dns, place->proxy_host ? place->proxy_host : place->host,
            place->proxy_host ? place->proxy_port : place->port, &up->reaching->query);
}

static void on_addresses(struct dns_query *query, const struct dns_address *addresses, size_t count,
                         const char *why)
{
    struct reaching *reaching = LIST_MEMBER(query, struct reaching, query);
    struct upstream *up = reaching->upstream;
    const char *host =
        up->pool->place.proxy_host ? up->pool->place.proxy_host : up->pool->place.host;
    if (count == 0) {
        connection_fail(up, descriptors_are_out() ? FAULT_OVERLOADED : FAULT_TARGET_DOWN,
                        "cannot resolve %s: %s", host, why);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct sockaddr *address = (const struct sockaddr *)&addresses[i].address;
        bool is_private = up->pool->place.public_only && dns_is_private(address);
        if ((up->pool->place.allow_link_local || !dns_is_forbidden(address)) && !is_private)
            reaching->addresses[reaching->address_count++] = addresses[i];
    }
    if (reaching->address_count == 0)
        connection_fail(up, FAULT_TARGET_DOWN,
                        "%s has only addresses that are not allowed (allow_link_local)", host);
    else
        connect_next(up, NULL);
}

static void watch_socket(struct upstream *up, int fd)
{
    stream_init(&up->stream, fd);
    up->hangup = false; /* that of another address, if it was */
    up->watch.fd = fd;
    loop_add(up->pool->owner->loop, &up->watch);
}

static void drop_socket(struct upstream *up)
{
    if (up->watch.fd < 0)
        return;
    loop_remove(up->pool->owner->loop, &up->watch);
    up->watch.fd = -1;
    stream_close(&up->stream);
}

/* Each address gets its part of the time that is left, so that a dead one does not eat it all. */
static void set_connect_timer(struct upstream *up)
{
    uint64_t now = clock_now_us();
    const struct reaching *reaching = up->reaching;
    uint64_t left = reaching->connect_by_us > now ? reaching->connect_by_us - now : 0;
    uint64_t rest = reaching->address_count - reaching->address_next + 1;
    uint64_t part = left / (rest ? rest : 1);
    if (part < ATTEMPT_MIN_US)
        part = ATTEMPT_MIN_US < left ? ATTEMPT_MIN_US : left;
    timer_stop(&up->timer);
    timer_set(up->pool->owner->loop, &up->timer, now + part);
}

/* Is it for want of a descriptor that there is no socket, and has somebody given one up? */
static bool make_room(struct upstream *up)
{
    struct upstreams *owner = up->pool->owner;
    return descriptors_ran_out(errno) && owner->make_room &&
           owner->make_room(owner->make_room_with);
}

static int open_socket(struct upstream *up, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && make_room(up))
        fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd;
}

/* Another target would find none either, and this one has done nothing wrong. */
static void fail_without_descriptor(struct upstream *up)
{
    connection_fail(up, FAULT_OVERLOADED, "no descriptor is left for a connection to it");
}

static void connect_next(struct upstream *up, const char *why)
{
    struct reaching *reaching = up->reaching;
    drop_socket(up);
    up->state = UP_CONNECT;
    while (reaching->address_next < reaching->address_count) {
        const struct dns_address *to = &reaching->addresses[reaching->address_next++];
        int family = to->address.ss_family;
        int fd = open_socket(up, family);
        if (fd < 0 && descriptors_ran_out(errno)) {
            fail_without_descriptor(up);
            return;
        }
        if (fd < 0) {
            why = strerror(errno);
            continue;
        }
        int one = 1;
        if (family != AF_UNIX) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            stream_note_arrivals(fd);
        }
        if (connect(fd, (const struct sockaddr *)&to->address, to->length) == 0 ||
            errno == EINPROGRESS) {
            watch_socket(up, fd);
            set_connect_timer(up);
            return;
        }
        why = strerror(errno);
        close(fd);
    }
    connection_fail(up, FAULT_TARGET_DOWN, "connect to %s: %s", up->pool->place.host,
                    why ? why : "no address");
}

void connect_begin(struct upstream *up)
{
    const struct upstream_place *place = &up->pool->place;
    if (place->connect) {
        int fd = place->connect(place->with);
        if (fd < 0 && make_room(up))
            fd = place->connect(place->with);
        if (fd < 0 && descriptors_ran_out(errno)) {
            fail_without_descriptor(up);
            return;
        }
        if (fd < 0) {
            connection_fail(up, FAULT_TARGET_DOWN, "the built-in model has ended");
            return;
        }
        watch_socket(up, fd);
        connection_ready(up);
        return;
    }
    struct reaching *reaching = up->reaching = memory_new(sizeof(*reaching));
    up->pool->reaching++;
    reaching->upstream = up;
    list_init(&reaching->query.link);
    reaching->query.on_answer = on_addresses;
    reaching->connect_by_us = clock_now_us() + (uint64_t)place->connect_us;
    timer_set(up->pool->owner->loop, &up->timer, reaching->connect_by_us);
    if (!place->is_unix) {
        resolve(up);
        return;
    }
    struct sockaddr_un *path = (struct sockaddr_un *)&reaching->addresses[0].address;
    path->sun_family = AF_UNIX;
    snprintf(path->sun_path, sizeof(path->sun_path), "%s", place->host);
    reaching->addresses[0].length = sizeof(*path);
    reaching->address_count = 1;
    connect_next(up, NULL);
}

static void begin_tls(struct upstream *up)
{
    up->state = UP_SHAKE;
    if (!stream_tls_client(&up->stream, up->pool->tls, up->pool->place.host, &up->pool->session))
        connection_fail(up, FAULT_TARGET_DOWN, "TLS: %s is no name for a certificate",
                        up->pool->place.host);
    else if (up->call->wants_upgrade) /* which HTTP/2 has not */
        stream_offer_http1(&up->stream);
}

/* RFC 9110 9.3.6. */
static bool ask_proxy(struct upstream *up)
{
    const struct upstream_place *place = &up->pool->place;
    bool v6 = strchr(place->host, ':') != NULL;
    char authority[300], request[1536], credentials[700] = "";
    snprintf(authority, sizeof(authority), v6 ? "[%s]:%u" : "%s:%u", place->host, place->port);
    if (place->proxy_user) {
        struct text user = text_head(text_of(place->proxy_user), 384);
        char coded[600];
        hash_base64(user.at, user.len, coded);
        snprintf(credentials, sizeof(credentials), "Proxy-Authorization: Basic %s\r\n", coded);
    }
    int len = snprintf(request, sizeof(request), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                       authority, authority, credentials);
    struct iovec piece = {request, (size_t)len};
    up->state = UP_PROXY;
    return stream_write(&up->stream, &piece, 1) == len;
}

static void connected(struct upstream *up)
{
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(up->watch.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        connect_next(up, strerror(error));
        return;
    }
    timer_stop(&up->timer);
    timer_set(up->pool->owner->loop, &up->timer, up->reaching->connect_by_us);
    if (up->pool->place.proxy_host && up->pool->place.has_tls) {
        if (!ask_proxy(up))
            connection_fail(up, FAULT_TARGET_DOWN, "the proxy %s does not take a request",
                            up->pool->place.proxy_host);
    } else if (up->pool->tls) {
        begin_tls(up);
    } else {
        connection_ready(up);
    }
}

static void read_proxy_answer(struct upstream *up)
{
    char bytes[4096];
    struct head head;
    struct fault fault;
    for (;;) {
        ssize_t got = stream_read(&up->stream, bytes, sizeof(bytes));
        if (got == STREAM_WAIT)
            return;
        if (got <= 0 || !buffer_append(&up->in, bytes, (size_t)got)) {
            connection_fail(up, FAULT_TARGET_DOWN, "the proxy closed the connection");
            return;
        }
        size_t length;
        enum head_result found =
            head_find(&up->find, buffer_text(&up->in), false, UPSTREAM_HEAD_MAX, &length, &fault);
        if (found == HEAD_WAIT)
            continue;
        struct text whole = buffer_text(&up->in);
        if (found == HEAD_BAD || !head_read_response(text_head(whole, length), &head, &fault) ||
            head.status / 100 != 2 || whole.len > length) {
            connection_fail(up, FAULT_TARGET_DOWN, "the proxy refused to connect to %s",
                            up->pool->place.host);
            return;
        }
        buffer_done(&up->in);
        up->find = (struct head_find){0};
        begin_tls(up);
        return;
    }
}

static void shake(struct upstream *up)
{
    struct fault fault = {0};
    switch (stream_shake(&up->stream, &fault)) {
    case 0:
        if (stream_is_http2(&up->stream) && up->call->wants_upgrade) {
            connection_fail(up, FAULT_TARGET_INVALID, "%s has agreed on what was not offered",
                            up->pool->place.host);
            return;
        }
        if (stream_is_http2(&up->stream))
            trunk_take_over(up);
        connection_ready(up);
        return;
    case STREAM_WAIT:
        return;
    default:
        connection_fail(up, FAULT_TARGET_DOWN, "%s: %s", up->pool->place.host, fault.text);
        return;
    }
}

void connect_event(struct upstream *up, unsigned events)
{
    if (up->state == UP_PROXY) {
        read_proxy_answer(up);
        if (up->state == UP_SHAKE)
            loop_again(up->pool->owner->loop, &up->watch, LOOP_WRITE);
        return;
    }
    if (up->state == UP_CONNECT && events & (LOOP_WRITE | LOOP_BROKEN))
        connected(up);
    if (up->state == UP_SHAKE)
        shake(up);
}

void connect_time(struct upstream *up)
{
    if (up->state == UP_CONNECT && up->reaching->address_next < up->reaching->address_count)
        connect_next(up, "timed out");
    else
        connection_fail(up, FAULT_TARGET_DOWN, "connect to %s: timed out", up->pool->place.host);
}
