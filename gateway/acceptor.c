/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/acceptor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"
#include "gateway/base/log.h"
#include "gateway/client.h"
#include "gateway/worker_inside.h"

enum {
    ACCEPTS_PER_EVENT = 64,
    REST_US = 100000,   /* when descriptors have run out, or nobody can be accepted */
    IDLE_US = 1000000,  /* who has been idle for less may be about to ask */
    WAIT_US = 1000000,  /* who comes waits in the kernel for so long, then it is turned away */
    TELL_US = 10000000, /* between two lines of the log */
    GIVE_WAY_MAX = 16,  /* clients, at once */
    GIVE_WAY_LOOKS = 8, /* for so many */
    TURNED_AWAY_BYTES = 512,
    UNREAD_BYTES = 8192,
};

/* ------------------------------------------------------------------------- who gives way */

static bool may_give_way(const struct client *client, uint64_t before_us)
{
    return client_is_idle(client) && !client->unread && client->since_us <= before_us &&
           !client->listener->is_admin_socket && !client->listener->is_jobs;
}

/* Those that are idle since <before_us> or longer, the longest first. Returns how many. */
static unsigned find_longest(struct worker *worker, struct client *longest[GIVE_WAY_MAX],
                             uint64_t before_us)
{
    unsigned count = 0;
    for (struct link *at = worker->clients.next; at != &worker->clients; at = at->next) {
        struct client *client = LIST_MEMBER(at, struct client, link);
        if (!may_give_way(client, before_us))
            continue;
        unsigned place = count < GIVE_WAY_MAX ? count++ : GIVE_WAY_MAX;
        for (; place > 0 && longest[place - 1]->since_us > client->since_us; place--)
            if (place < GIVE_WAY_MAX)
                longest[place] = longest[place - 1];
        if (place < GIVE_WAY_MAX)
            longest[place] = client;
    }
    return count;
}

/* Close at most <most> of the clients that are idle since <before_us> or longer, the longest first.
 * One whose next request has come by now stays, and is not found again: of a crowd that may be so
 * with many. Returns how many. */
static unsigned close_clients(struct worker *worker, unsigned most, uint64_t before_us)
{
    struct client *longest[GIVE_WAY_MAX];
    unsigned closed = 0;
    most = most < GIVE_WAY_MAX ? most : GIVE_WAY_MAX;
    for (int looks = 0; looks < GIVE_WAY_LOOKS && closed < most; looks++) {
        unsigned count = find_longest(worker, longest, before_us);
        if (count == 0)
            break;
        for (unsigned i = 0; i < count && closed < most; i++)
            closed += client_close_idle(longest[i]);
    }
    return closed;
}

static void give_way(struct worker *worker, unsigned missing)
{
    uint64_t now = loop_now_us(worker->loop), before = now > IDLE_US ? now - IDLE_US : 0;
    while (missing > 0 && upstreams_close_idle(worker->upstreams, before))
        missing--;
    close_clients(worker, missing, before);
}

/* A call that was let in finds no descriptor for its connection: it goes before all that is idle.
 */
static bool make_room(void *with)
{
    struct worker *worker = with;
    return descriptors_yield() || upstreams_close_idle(worker->upstreams, UINT64_MAX) ||
           close_clients(worker, 1, UINT64_MAX) > 0;
}

/* Is the reserve whole again, once the idle have given way? Whatever is missing, each worker serves
 * somebody: the reserve is there for calls, and without clients there are none. */
static bool has_room(struct worker *worker)
{
    unsigned missing = descriptors_keep();
    if (missing == 0)
        return true;
    give_way(worker, missing);
    return descriptors_keep() == 0 || worker->client_count == 0;
}

/* ---------------------------------------------------------------------------- turned away */

/* Answer 503 where that is possible without a handshake. */
static void turn_away(struct worker *worker, const struct worker_listener *listener, int fd)
{
    static const char body[] =
        "{\"error\":{\"message\":\"Too many connections are open; try again in a moment.\","
        "\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}\n";
    char words[TURNED_AWAY_BYTES];
    int length = snprintf(words, sizeof(words),
                          "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
                          "retry-after: 1\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n%s",
                          sizeof(body) - 1, body);
    char unread[UNREAD_BYTES];
    metrics_count(worker->metrics, COUNTER_REFUSED, 1);
    /* What is unread when we close would be a reset that overtakes the words. */
    recv(fd, unread, sizeof(unread), MSG_DONTWAIT);
    if (!listener->tls)
        send(fd, words, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    close(fd);
}

bool acceptor_is_full(const struct worker *worker)
{
    const struct config *config = worker->now->config;
    unsigned share = (config->limits.max_connections + config->workers - 1) / config->workers;
    /* With HTTP/2 what was answered and not yet taken has no client any more. */
    unsigned left = worker->stream_count > worker->inside_count
                        ? worker->stream_count - worker->inside_count
                        : 0;
    return worker->client_count + left >= share;
}

/* ----------------------------------------------------------------------------- accepting */

/* <error>: why nobody is let in, an errno. */
static void tell(struct worker *worker, int error)
{
    uint64_t now = loop_now_us(worker->loop);
    if (worker->shortage_told_us && now - worker->shortage_told_us < TELL_US)
        return;
    worker->shortage_told_us = now;
    if (!descriptors_ran_out(error)) {
        log_line(LOG_ERROR, "listener", "no new connection can be accepted: %s", strerror(error));
        return;
    }
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    log_line(LOG_ERROR, "listener",
             "no descriptor is left for new connections (RLIMIT_NOFILE is %llu)",
             (unsigned long long)files.rlim_cur);
}

/* While we drain only the admin socket is; the descriptors of the others are closed by then. */
static bool is_open(const struct worker_listener *listener)
{
    const struct worker *worker = listener->worker;
    return listener->watch.fd >= 0 && !listener->is_held && !worker->closed &&
           (!worker->draining || listener->is_admin_socket);
}

/* A listener that is level-triggered would spin. */
static void rest(struct worker *worker, int error)
{
    if (!worker->accepting)
        return; /* another listener was told of somebody in the same round */
    tell(worker, error);
    for (size_t i = 0; i < worker->listener_count; i++)
        if (is_open(&worker->listeners[i]))
            loop_remove(worker->loop, &worker->listeners[i].watch);
    worker->accepting = false;
    worker->resting_since_us = loop_now_us(worker->loop);
    timer_set(worker->loop, &worker->accept_timer, worker->resting_since_us + REST_US);
}

/* It lasts. Those that wait hear why: there are descriptors for that, one at a time. */
static void turn_all_away(struct worker *worker)
{
    int left = ACCEPTS_PER_EVENT;
    for (size_t i = 0; i < worker->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[i];
        bool turns_away = is_open(listener) && !listener->is_admin_socket;
        for (; turns_away && left > 0; left--) {
            int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0)
                break;
            turn_away(worker, listener, fd);
        }
    }
}

static void accept_again(struct timer *timer)
{
    struct worker *worker = LIST_MEMBER(timer, struct worker, accept_timer);
    if (descriptors_are_yielded() && !has_room(worker)) {
        uint64_t now = loop_now_us(worker->loop);
        if (now - worker->resting_since_us >= WAIT_US)
            turn_all_away(worker);
        timer_set(worker->loop, timer, now + REST_US);
        return;
    }
    worker->accepting = true;
    for (size_t i = 0; i < worker->listener_count; i++)
        if (is_open(&worker->listeners[i]))
            loop_add_level(worker->loop, &worker->listeners[i].watch, LOOP_READ);
}

/* None was left for a client: has somebody given way? Then the listener tells of it again. */
static void run_out(struct worker *worker)
{
    descriptors_yield();
    has_room(worker);
    if (descriptors_are_yielded())
        rest(worker, EMFILE);
}

/* accept(2) hands on what has happened to the connection: the client was gone before it was
 * accepted, and the next one may be well. What else there is (no memory, what the system forbids)
 * is so for all who wait. */
static bool is_of_one(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void on_accept_failed(struct worker *worker, int error)
{
    if (descriptors_ran_out(error))
        run_out(worker);
    else if (error != EAGAIN && error != EWOULDBLOCK)
        rest(worker, error);
}

static void on_accept(struct watch *watch, unsigned events)
{
    struct worker_listener *listener = LIST_MEMBER(watch, struct worker_listener, watch);
    struct worker *worker = listener->worker;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        if (descriptors_are_yielded() && !has_room(worker)) {
            rest(worker, EMFILE);
            return;
        }
        struct sockaddr_storage from = {0};
        socklen_t length = sizeof(from);
        int fd =
            accept4(watch->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && is_of_one(errno))
            continue;
        if (fd < 0) {
            on_accept_failed(worker, errno);
            return;
        }
        descriptors_note(fd);
        metrics_count(worker->metrics, COUNTER_ACCEPTED, 1);
        if (acceptor_is_full(worker) && !listener->is_admin_socket)
            turn_away(worker, listener, fd);
        else
            client_new(worker, listener, fd, &from);
    }
}

/* -------------------------------------------------------------------------- begin and end */

void acceptor_init(struct worker *worker)
{
    worker->accept_timer.on_time = accept_again;
    upstreams_on_full(worker->upstreams, make_room, worker);
}

void acceptor_add(struct worker *worker, struct worker_listener *listener, int fd)
{
    listener->watch = (struct watch){.fd = fd, .on_event = on_accept};
    listener->worker = worker;
    listener->is_held = worker->options.holds_calls && listener->serve & SERVE_API;
    if (fd >= 0 && !listener->is_held)
        loop_add_level(worker->loop, &listener->watch, LOOP_READ);
}

void acceptor_let_in(struct worker *worker)
{
    for (size_t i = 0; i < worker->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[i];
        bool was_held = listener->is_held;
        listener->is_held = false;
        if (was_held && worker->accepting && is_open(listener))
            loop_add_level(worker->loop, &listener->watch, LOOP_READ);
    }
}

static void watch_all(struct worker *worker, bool watch)
{
    for (size_t i = 0; i < worker->listener_count && worker->accepting; i++) {
        struct worker_listener *listener = &worker->listeners[i];
        if (!is_open(listener))
            continue;
        if (watch)
            loop_add_level(worker->loop, &listener->watch, LOOP_READ);
        else
            loop_remove(worker->loop, &listener->watch);
    }
}

void acceptor_close(struct worker *worker)
{
    if (!worker->closed)
        watch_all(worker, false);
    worker->closed = true;
}

void acceptor_open(struct worker *worker)
{
    bool was_closed = worker->closed;
    worker->closed = false;
    if (was_closed)
        watch_all(worker, true);
}

void acceptor_close_quiet(struct worker *worker, uint64_t idle_us)
{
    uint64_t now = loop_now_us(worker->loop);
    for (struct link *at = worker->clients.next, *next; at != &worker->clients; at = next) {
        struct client *client = LIST_MEMBER(at, struct client, link);
        next = at->next;
        if (client_is_idle(client) && now - client->since_us >= idle_us)
            client_close_idle(client);
    }
}

/* When they rest nothing is watched, and the admin socket still has its time to come back. */
void acceptor_stop(struct worker *worker)
{
    for (size_t i = 0; i < worker->listener_count && worker->accepting && !worker->closed; i++)
        if (worker->listeners[i].watch.fd >= 0 && !worker->listeners[i].is_held &&
            !worker->listeners[i].is_admin_socket)
            loop_remove(worker->loop, &worker->listeners[i].watch);
}
