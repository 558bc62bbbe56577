/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire/ask.h"

#include <assert.h>

#include "gateway/base/memory.h"
#include "gateway/base/version.h"

/* -------------------------------------------------------------------------------- request */

void ask_put_head(struct buffer *out, const char *method, const struct url *url,
                  const struct text *path, const struct upstream_pool *pool)
{
    bool v6 = !url->is_unix && text_find_byte(url->host, ':') != SIZE_MAX;
    struct text host = url->is_unix ? TEXT("localhost") : url->host;
    struct text at = path ? *path : url->path;
    buffer_append_text(out, text_of(method));
    buffer_append_text(out, TEXT(" "));
    if (pool && upstream_pool_wants_url(pool))
        buffer_format(out, v6 ? "http://[%.*s]:%u" : "http://%.*s:%u", TEXT_ARGS(host),
                      (unsigned)url->port);
    if (at.len == 0 || at.at[0] != '/')
        buffer_append_text(out, TEXT("/"));
    buffer_append_text(out, at);
    buffer_format(out, v6 ? " HTTP/1.1\r\nHost: [%.*s]" : " HTTP/1.1\r\nHost: %.*s",
                  TEXT_ARGS(host));
    if (!url->is_unix && url->port != (url->tls ? 443 : 80))
        buffer_format(out, ":%u", (unsigned)url->port);
    buffer_append_text(out, TEXT("\r\nUser-Agent: sluice/" PROGRAM_VERSION "\r\n"));
}

/* ------------------------------------------------------------------------------------ end */

static struct ask *ask_of(struct upstream_call *call)
{
    return LIST_MEMBER(call, struct ask, call);
}

/* The last thing done: its owner may have it begin anew. */
static void end(struct ask *ask, const char *problem)
{
    timer_stop(&ask->timer);
    ask->busy = false;
    ask->on_over(ask, problem);
}

static void give_up(struct ask *ask, const char *problem)
{
    upstream_abandon(&ask->call);
    end(ask, problem);
}

/* ----------------------------------------------------------------------------------- call */

static void on_connected(struct upstream_call *call)
{
    const struct ask *ask = ask_of(call);
    struct iovec pieces[] = {{(void *)(uintptr_t)ask->head.at, ask->head.len},
                             {(void *)(uintptr_t)ask->body.at, ask->body.len}};
    upstream_send(call, pieces, ask->body.len ? 2 : 1, false);
}

static void on_nothing(struct upstream_call *call)
{
    (void)call;
}

static void on_head(struct upstream_call *call, const struct head *head)
{
    struct ask *ask = ask_of(call);
    ask->status = head->status;
    if (ask->on_head)
        ask->on_head(ask, head);
    if (ask->when_long == ASK_CUT && ask->answer_max == 0)
        give_up(ask, NULL);
}

static void on_body(struct upstream_call *call, struct text piece)
{
    struct ask *ask = ask_of(call);
    size_t room = ask->answer_max - buffer_length(&ask->answer);
    if (!ask->busy)
        return;
    buffer_append_text(&ask->answer, text_head(piece, room));
    if (piece.len > room)
        give_up(ask, ask->when_long == ASK_CUT ? NULL : "the answer is too long");
}

static void on_end(struct upstream_call *call)
{
    struct ask *ask = ask_of(call);
    if (ask->busy)
        end(ask, NULL);
}

static void begin(struct ask *ask);

static void on_fault(struct upstream_call *call, enum fault_kind kind, const char *why)
{
    struct ask *ask = ask_of(call);
    bool stale = call->reused && !call->answered && !ask->again;
    if (!ask->busy)
        return;
    if (stale) { /* the connection had waited too long; a new one tells */
        ask->again = true;
        begin(ask);
        return;
    }
    ask->is_ours = kind == FAULT_OVERLOADED;
    end(ask, why);
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

static void begin(struct ask *ask)
{
    ask->call = (struct upstream_call){.on = &handlers, .fresh = ask->fresh || ask->again};
    upstream_begin(ask->pool, &ask->call);
}

static void on_time(struct timer *timer)
{
    give_up(LIST_MEMBER(timer, struct ask, timer), "it did not answer in time");
}

void ask_begin(struct ask *ask, struct upstream_pool *pool, struct text head, struct text body)
{
    assert(!ask->busy);
    buffer_done(&ask->answer);
    buffer_init(&ask->answer, ask->answer_max);
    ask->pool = pool;
    ask->head = head;
    ask->body = body;
    ask->status = 0;
    ask->again = ask->is_ours = false;
    ask->busy = true;
    ask->timer.on_time = on_time;
    timer_set(ask->loop, &ask->timer, loop_now_us(ask->loop) + ask->timeout_us);
    begin(ask);
}

bool ask_is_busy(const struct ask *ask)
{
    return ask->busy;
}

void ask_stop(struct ask *ask)
{
    if (!ask->busy)
        return;
    ask->busy = false;
    timer_stop(&ask->timer);
    upstream_abandon(&ask->call);
}

void ask_done(struct ask *ask)
{
    ask_stop(ask);
    buffer_done(&ask->answer);
}
