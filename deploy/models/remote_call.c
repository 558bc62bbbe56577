/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/remote_call.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/http/url.h"

enum {
    CONNECTIONS_MAX = 2048, /* each replica's log is followed on one */
    IDLE_MAX = 4,
    IDLE_US = 20000000,
    CONNECT_US = 5000000,
    HEAD_MAX = 32 * 1024,
    BODY_MAX = 4 * 1024 * 1024,
    TOKEN_MAX = 16 * 1024,
    SOCKET_PATH_MAX = 107, /* sun_path without its NUL */
};

struct remote {
    struct loop *loop;
    struct upstream_pool *pool;
    struct link calls;
    char *host;  /* as it stands in Host */
    char *name;  /* as it is connected to */
    char *base;  /* in front of each path */
    char *token; /* or NULL */
    bool is_here;
};

struct remote_call {
    struct grave grave;
    struct errand begin;
    struct link link;
    struct loop *loop;
    struct remote *remote;
    struct remote_question asked;
    struct upstream_call upstream;
    struct timer timer;
    struct buffer head, body, answer;
    bool begun, over, again;
    unsigned status;
    char field[REMOTE_FIELD_MAX];
};

/* ----------------------------------------------------------------------------- the place */

static bool starts_with(struct text *endpoint, struct text scheme)
{
    if (!text_starts_nocase(*endpoint, scheme))
        return false;
    *endpoint = text_from(*endpoint, scheme.len);
    return true;
}

static bool read_socket(struct text path, struct url *url, const char **problem)
{
    if (text_starts(path, TEXT("//")))
        path = text_from(path, 2);
    *url = (struct url){.is_unix = true, .host = path};
    *problem = "unix: is followed by the absolute path of a socket, of at most 107 bytes";
    return path.len > 1 && path.len <= SOCKET_PATH_MAX && path.at[0] == '/' &&
           !memchr(path.at, '\0', path.len);
}

static bool read_endpoint(const struct remote_site *site, struct url *url, const char **problem)
{
    struct text rest = site->endpoint;
    if (starts_with(&rest, TEXT("unix:")))
        return read_socket(rest, url, problem);
    if (!starts_with(&rest, TEXT("tcp://")))
        return url_read(site->endpoint, url, problem);
    *url = (struct url){.tls = site->ca_file.len || site->cert_file.len, .path = TEXT("")};
    if (rest.len > 0 && rest.at[rest.len - 1] == '/')
        rest.len--;
    if (!url_read_host(rest, &url->host, &url->port)) {
        *problem = "tcp:// is followed by a host and a port";
        return false;
    }
    if (url->port == 0)
        url->port = url->tls ? site->tls_port : site->plain_port;
    return true;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET);
}

static char *string_or_null(struct text t)
{
    return t.len ? memory_string(t) : NULL;
}

static struct upstream_pool *open_pool(const struct remote_site *site, const struct url *url,
                                       const char *host, struct fault *fault)
{
    char *ca = string_or_null(site->ca_file), *cert = string_or_null(site->cert_file),
         *key = string_or_null(site->key_file);
    struct upstream_place place = {
        .host = host,
        .port = url->port,
        .is_unix = url->is_unix,
        .has_tls = url->tls,
        .allow_link_local = true, /* who runs an engine there says so in the configuration */
        .tls = {.ca_file = ca, .cert_file = cert, .key_file = key},
        .connect_us = CONNECT_US,
        .idle_us = IDLE_US,
        .max_connections = CONNECTIONS_MAX,
        .max_idle = IDLE_MAX,
    };
    struct upstream_pool *pool = upstream_pool_ref(site->upstreams, &place, fault);
    memory_free(ca);
    memory_free(cert);
    memory_free(key);
    return pool;
}

static char *host_field(const struct url *url)
{
    if (url->is_unix)
        return memory_string(TEXT("localhost"));
    bool v6 = text_find_byte(url->host, ':') != SIZE_MAX;
    return memory_format(v6 ? "[%.*s]:%u" : "%.*s:%u", TEXT_ARGS(url->host), (unsigned)url->port);
}

struct remote *remote_open(const struct remote_site *site, struct fault *fault)
{
    struct url url = {0};
    const char *problem = NULL;
    if (!read_endpoint(site, &url, &problem)) {
        fault_set(fault, FAULT_BAD_REQUEST, "endpoint: %s", problem);
        return NULL;
    }
    char *name = memory_string(url.host);
    struct upstream_pool *pool = open_pool(site, &url, name, fault);
    if (!pool) {
        memory_free(name);
        return NULL;
    }
    struct remote *remote = memory_new(sizeof(*remote));
    remote->loop = site->loop;
    remote->pool = pool;
    remote->name = name;
    remote->host = host_field(&url);
    remote->base = memory_string(url.path);
    remote->is_here = url.is_unix || is_loopback(name);
    if (url.is_unix) {
        memory_free(remote->name);
        remote->name = memory_string(TEXT("127.0.0.1"));
    }
    list_init(&remote->calls);
    return remote;
}

static void forget_token(struct remote *remote)
{
    if (remote->token)
        memory_wipe(remote->token, strlen(remote->token));
    memory_free(remote->token);
    remote->token = NULL;
}

void remote_close(struct remote *remote)
{
    while (!list_is_empty(&remote->calls))
        remote_drop(LIST_MEMBER(remote->calls.next, struct remote_call, link));
    upstream_pool_unref(remote->pool);
    forget_token(remote);
    memory_free(remote->name);
    memory_free(remote->host);
    memory_free(remote->base);
    memory_free(remote);
}

void remote_set_token(struct remote *remote, struct text token)
{
    forget_token(remote);
    if (token.len && token.len <= TOKEN_MAX && head_may_write(token))
        remote->token = memory_string(token);
}

const char *remote_host(const struct remote *remote)
{
    return remote->name;
}

bool remote_is_here(const struct remote *remote)
{
    return remote->is_here;
}

/* ------------------------------------------------------------------------- the end of it */

static void call_free(struct remote_call *call)
{
    if (call->head.data) /* it may hold a token */
        memory_wipe(call->head.data, call->head.capacity);
    buffer_done(&call->head);
    buffer_done(&call->body);
    buffer_done(&call->answer);
    memory_free(call);
}

static void free_grave(struct grave *grave)
{
    call_free(LIST_MEMBER(grave, struct remote_call, grave));
}

/* One that has not begun is freed by the errand that would begin it. */
static void end_call(struct remote_call *call)
{
    call->over = true;
    list_remove(&call->link);
    timer_stop(&call->timer);
    if (call->begun)
        loop_bury(call->loop, &call->grave, free_grave);
}

static void finish(struct remote_call *call, const char *why)
{
    struct remote_answer answer = {.status = call->status,
                                   .why = why,
                                   .body = buffer_text(&call->answer),
                                   .field = text_of(call->field)};
    end_call(call);
    call->asked.on_done(call->asked.with, &answer);
}

void remote_drop(struct remote_call *call)
{
    if (!call)
        return;
    if (call->begun)
        upstream_abandon(&call->upstream);
    end_call(call);
}

/* ------------------------------------------------------------------------- what it hears */

static struct remote_call *call_of(struct upstream_call *upstream)
{
    return LIST_MEMBER(upstream, struct remote_call, upstream);
}

static bool is_stream(const struct remote_call *call)
{
    return call->asked.on_piece && call->status / 100 == 2;
}

static void set_timer(struct remote_call *call, int64_t after_us)
{
    timer_set(call->loop, &call->timer, loop_now_us(call->loop) + (uint64_t)after_us);
}

static void on_connected(struct upstream_call *upstream)
{
    struct remote_call *call = call_of(upstream);
    struct iovec pieces[] = {{call->head.data + call->head.begin, buffer_length(&call->head)},
                             {call->body.data, buffer_length(&call->body)}};
    upstream_send(upstream, pieces, buffer_length(&call->body) ? 2 : 1, false);
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    struct remote_call *call = call_of(upstream);
    call->status = head->status;
    if (call->asked.field) {
        struct text value = head_value(head, text_of(call->asked.field));
        snprintf(call->field, sizeof(call->field), "%.*s", TEXT_ARGS(value));
    }
    if (is_stream(call)) {
        timer_stop(&call->timer);
        if (call->asked.quiet_us)
            set_timer(call, call->asked.quiet_us);
    }
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct remote_call *call = call_of(upstream);
    if (is_stream(call)) {
        if (call->asked.quiet_us)
            set_timer(call, call->asked.quiet_us);
        call->asked.on_piece(call->asked.with, piece);
    } else if (!buffer_append_text(&call->answer, piece)) {
        upstream_abandon(upstream);
        finish(call, "the engine's answer is too long");
    }
}

static void on_end(struct upstream_call *upstream)
{
    finish(call_of(upstream), NULL);
}

/* A connection that was kept may have been closed by the engine in the very moment it was used. */
static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct remote_call *call = call_of(upstream);
    char words[REMOTE_WHY_MAX];
    (void)kind;
    if (upstream->reused && !upstream->answered && !call->again) {
        call->again = true;
        *upstream = (struct upstream_call){.on = upstream->on, .fresh = true};
        upstream_begin(call->remote->pool, upstream);
        return;
    }
    snprintf(words, sizeof(words), "%s", why); /* <why> may be the connection's */
    finish(call, words);
}

static void on_time(struct timer *timer)
{
    struct remote_call *call = LIST_MEMBER(timer, struct remote_call, timer);
    upstream_abandon(&call->upstream);
    finish(call, "the engine does not answer in time");
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static const struct upstream_handlers ears = {.on_connected = on_connected,
                                              .on_sent = on_nothing,
                                              .on_head = on_head,
                                              .on_body = on_body,
                                              .on_batch = on_nothing,
                                              .on_end = on_end,
                                              .on_fault = on_fault,
                                              .on_room = on_nothing};

/* --------------------------------------------------------------------------- the asking */

static void write_head(struct remote_call *call)
{
    const struct remote_question *asked = &call->asked;
    const struct remote *remote = call->remote;
    struct buffer *out = &call->head;
    buffer_format(out, "%s %s%.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice\r\n",
                  method_name(asked->method), remote->base, TEXT_ARGS(asked->path), remote->host);
    buffer_append_text(out, TEXT("Accept: application/json, */*\r\n"));
    if (remote->token)
        buffer_format(out, "Authorization: Bearer %s\r\n", remote->token);
    if (asked->body.len)
        buffer_format(out, "Content-Type: %.*s\r\n",
                      TEXT_ARGS(asked->type.len ? asked->type : TEXT("application/json")));
    if (asked->body.len || asked->method != METHOD_GET)
        buffer_format(out, "Content-Length: %zu\r\n", asked->body.len);
    buffer_append_text(out, asked->fields);
    buffer_append_text(out, TEXT("\r\n"));
}

static void begin(struct errand *errand)
{
    struct remote_call *call = LIST_MEMBER(errand, struct remote_call, begin);
    if (call->over) { /* it was dropped */
        call_free(call);
        return;
    }
    call->begun = true;
    if (call->head.overrun || call->body.overrun) {
        finish(call, "the question is too long");
        return;
    }
    set_timer(call, call->asked.timeout_us);
    upstream_begin(call->remote->pool, &call->upstream);
}

struct remote_call *remote_ask(struct remote *remote, const struct remote_question *question)
{
    struct remote_call *call = memory_new(sizeof(*call));
    size_t most = question->answer_max ? question->answer_max : REMOTE_ANSWER_MAX;
    call->loop = remote->loop;
    call->remote = remote;
    call->asked = *question;
    call->upstream.on = &ears;
    /* What changes something is not asked for twice because a kept connection was stale. */
    call->upstream.fresh = question->method == METHOD_POST;
    call->timer.on_time = on_time;
    buffer_init(&call->head, HEAD_MAX);
    buffer_init(&call->body, BODY_MAX);
    buffer_init(&call->answer, most);
    write_head(call);
    buffer_append_text(&call->body, question->body);
    call->asked.path = call->asked.body = call->asked.type = call->asked.fields = TEXT("");
    list_push_back(&remote->calls, &call->link);
    call->begin.run = begin;
    loop_post(remote->loop, &call->begin);
    return call;
}
