/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_connect - from a place to a line that is up: name, address after address, TLS, login.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/wire/redis_inside.h"

/* Commands wait for nothing while there is no connection, so making one may take its time, however
 * short the time-out is. */
enum { CONNECT_MIN_US = 1000000, ATTEMPT_MIN_US = 250000 };

static void connect_next(struct redis_line *line, const char *why);

/* ------------------------------------------------------------------------------ sockets */

static void on_addresses(struct dns_query *query, const struct dns_address *addresses, size_t count,
                         const char *why)
{
    struct redis_line *line = LIST_MEMBER(query, struct redis_line, query);
    if (count == 0) {
        redis_line_fail(line, "resolve %s: %s", line->place.host, why);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (!dns_is_forbidden((const struct sockaddr *)&addresses[i].address))
            line->addresses[line->address_count++] = addresses[i];
    if (line->address_count == 0)
        redis_line_fail(line, "%s has only addresses that are not allowed", line->place.host);
    else
        connect_next(line, NULL);
}

/* Each address gets its part of the time that is left, so that a dead one does not eat it all. */
static void set_step_timer(struct redis_line *line)
{
    uint64_t now = clock_now_us();
    uint64_t left = line->connect_by_us > now ? line->connect_by_us - now : 0;
    uint64_t part = left / (line->address_count - line->address_next + 1);
    if (part < ATTEMPT_MIN_US)
        part = ATTEMPT_MIN_US < left ? ATTEMPT_MIN_US : left;
    timer_stop(&line->step);
    timer_set(line->redis->loop, &line->step, now + part);
}

static void drop_socket(struct redis_line *line)
{
    if (line->watch.fd < 0)
        return;
    loop_remove(line->redis->loop, &line->watch);
    line->watch.fd = -1;
    stream_close(&line->stream);
}

static void connect_next(struct redis_line *line, const char *why)
{
    drop_socket(line);
    line->state = REDIS_LINE_CONNECT;
    while (line->address_next < line->address_count) {
        const struct dns_address *to = &line->addresses[line->address_next++];
        int family = to->address.ss_family, one = 1;
        int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            why = strerror(errno);
            continue;
        }
        if (family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(fd, (const struct sockaddr *)&to->address, to->length) == 0 ||
            errno == EINPROGRESS) {
            stream_init(&line->stream, fd);
            line->watch.fd = fd;
            loop_add(line->redis->loop, &line->watch);
            set_step_timer(line);
            return;
        }
        why = strerror(errno);
        close(fd);
    }
    redis_line_fail(line, "connect to %s: %s", line->name, why ? why : "no address");
}

void redis_connect_begin(struct redis_line *line)
{
    int64_t most =
        line->redis->timeout_us > CONNECT_MIN_US ? line->redis->timeout_us : CONNECT_MIN_US;
    line->connect_by_us = clock_now_us() + (uint64_t)most;
    line->address_count = line->address_next = 0;
    line->state = REDIS_LINE_RESOLVE;
    timer_set(line->redis->loop, &line->step, line->connect_by_us);
    if (!line->place.is_unix) {
        line->query.on_answer = on_addresses;
        dns_ask(line->redis->dns, line->place.host, line->place.port, &line->query);
        return;
    }
    struct sockaddr_un *path = (struct sockaddr_un *)&line->addresses[0].address;
    *path = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(path->sun_path, line->place.host, sizeof(path->sun_path) - 1);
    line->addresses[0].length = sizeof(*path);
    line->address_count = 1;
    connect_next(line, NULL);
}

static void connected(struct redis_line *line)
{
    struct redis *redis = line->redis;
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(line->watch.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        connect_next(line, strerror(error));
        return;
    }
    timer_stop(&line->step);
    timer_set(redis->loop, &line->step, line->connect_by_us);
    if (!redis->tls) {
        redis_login(line);
        return;
    }
    line->state = REDIS_LINE_SHAKE;
    const char *name = redis->server_name ? redis->server_name : line->place.host;
    if (!stream_tls_client(&line->stream, redis->tls, name, NULL))
        redis_line_fail(line, "TLS: %s is no name for a certificate", name);
}

static void shake(struct redis_line *line)
{
    struct fault fault = {0};
    int done = stream_shake(&line->stream, &fault);
    if (done == 0)
        redis_login(line);
    else if (done != STREAM_WAIT)
        redis_line_fail(line, "%s: %s", line->name, fault.text);
}

void redis_connect_event(struct redis_line *line, unsigned events)
{
    if (line->state == REDIS_LINE_CONNECT && events & (LOOP_WRITE | LOOP_BROKEN))
        connected(line);
    if (line->state == REDIS_LINE_SHAKE)
        shake(line);
}

void redis_connect_late(struct redis_line *line)
{
    static const char *const doing[] = {[REDIS_LINE_RESOLVE] = "resolve",
                                        [REDIS_LINE_CONNECT] = "connect to",
                                        [REDIS_LINE_SHAKE] = "begin TLS with",
                                        [REDIS_LINE_LOGIN] = "log in to"};
    if (line->state == REDIS_LINE_CONNECT && line->address_next < line->address_count)
        connect_next(line, "timed out");
    else
        redis_line_fail(line, "%s %s: timed out", doing[line->state], line->name);
}

/* -------------------------------------------------------------------------------- login */

/* Words that must be answered with something else than an error. False: the line has failed. */
static bool is_good(struct redis_line *line, enum redis_fault fault,
                    const struct redis_reply *reply, const char *what)
{
    if (fault != REDIS_ANSWERED || line->state != REDIS_LINE_LOGIN)
        return false;
    if (reply->kind != REDIS_ERROR)
        return true;
    redis_line_fail(line, "%s: %s: %.*s", line->name, what, (int)text_head(reply->text, 120).len,
                    reply->text.at);
    return false;
}

static void on_auth(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    is_good(with, fault, reply, "AUTH");
}

static void on_select(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    is_good(with, fault, reply, "SELECT");
}

static struct text fact_of(struct text facts, struct text name)
{
    struct text line;
    while (text_next(&facts, '\n', &line))
        if (text_starts(line, name) && line.len > name.len && line.at[name.len] == ':') {
            struct text value = text_from(line, name.len + 1);
            return text_head(value, text_find_byte(value, '\r'));
        }
    return (struct text){"", 0};
}

/* The first 64 bits of the run_id, which is random; of a server that has none, something else for
 * every connection. */
static uint64_t life_of(struct text run_id)
{
    char digits[17] = "";
    uint64_t life = 0;
    memcpy(digits, run_id.at, run_id.len < 16 ? run_id.len : 16);
    if (run_id.len >= 16)
        life = strtoull(digits, NULL, 16);
    while (life == 0)
        hash_random(&life, sizeof(life));
    return life;
}

static void on_facts(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_line *line = with;
    if (!is_good(line, fault, reply, "INFO"))
        return;
    struct text facts = redis_text(reply);
    struct text version =
        text_head(fact_of(facts, TEXT("redis_version")), sizeof(line->version) - 1);
    struct text mode = fact_of(facts, TEXT("redis_mode"));
    line->life = life_of(fact_of(facts, TEXT("run_id")));
    line->mode = text_equal(mode, TEXT("cluster"))    ? REDIS_CLUSTER
                 : text_equal(mode, TEXT("sentinel")) ? REDIS_SENTINEL
                                                      : REDIS_SINGLE;
    memcpy(line->version, version.at, version.len);
    line->version[version.len] = '\0';
}

static void on_role(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_line *line = with;
    if (!is_good(line, fault, reply, "ROLE"))
        return;
    struct text role = redis_text(redis_item(reply, 0));
    if (!text_equal(role, TEXT("master")))
        redis_line_fail(line, "%s is no master", line->name);
}

/* LOADING and MASTERDOWN are errors here. */
static void on_ping(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    if (is_good(with, fault, reply, "PING"))
        redis_line_up(with);
}

static void ask(struct redis_line *line, const char *const *words, size_t count,
                redis_answer *answer)
{
    struct text texts[4];
    for (size_t i = 0; i < count; i++)
        texts[i] = text_of(words[i]);
    redis_line_ask(line, texts, count, answer, line);
}

void redis_login(struct redis_line *line)
{
    char db[16];
    snprintf(db, sizeof(db), "%u", line->db);
    line->state = REDIS_LINE_LOGIN;
    if (line->password[0] && line->user[0])
        ask(line, (const char *[]){"AUTH", line->user, line->password}, 3, on_auth);
    else if (line->password[0])
        ask(line, (const char *[]){"AUTH", line->password}, 2, on_auth);
    if (line->db)
        ask(line, (const char *[]){"SELECT", db}, 2, on_select);
    ask(line, (const char *[]){"CLIENT", "SETNAME", "sluice"}, 3, NULL);
    ask(line, (const char *[]){"INFO", "server"}, 2, on_facts);
    if (line->must_be_master)
        ask(line, (const char *[]){"ROLE"}, 1, on_role);
    ask(line, (const char *[]){"PING"}, 1, on_ping);
}
