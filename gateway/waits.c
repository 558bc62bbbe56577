/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/waits.h"

#include "gateway/aside.h"
#include "gateway/relay.h"
#include "gateway/worker_inside.h"

enum { PING_SLACK_US = 20000, FIRST_BYTE_DEFAULT_US = 30000000 };

static void fail(struct exchange *x, enum fault_kind kind, const char *words)
{
    upstream_abandon(&x->upstream);
    fault_set(exchange_fault(x), kind, "%s", words);
    x->facts.upstream = UPSTREAM_FAILED;
    exchange_run(x);
}

static void earliest(uint64_t *due, uint64_t candidate)
{
    if (candidate && (!*due || candidate < *due))
        *due = candidate;
}

/* Nothing has come yet, or nothing of a stream but a beginning that says nothing. */
static bool waits_for_first(const struct exchange *x)
{
    return x->facts.upstream == UPSTREAM_ASKED || relay_keeps_early(x);
}

static uint64_t idle_by(const struct exchange *x)
{
    bool streams = x->facts.upstream == UPSTREAM_ANSWERING && !x->upstream.paused;
    return streams ? x->idle_since_us + (uint64_t)x->snapshot->config->timeouts.stream_idle_us : 0;
}

static uint64_t ping_by(const struct exchange *x)
{
    /* Not between pieces that are not cut at the ends of events: a coded stream, a long event. */
    bool silent = x->facts.upstream == UPSTREAM_ANSWERING && x->relay == RELAY_EVENTS &&
                  x->status == 200 && !x->upstream.paused && !x->unwatched &&
                  (x->match.shape == SHAPE_OPENAI || x->match.shape == SHAPE_ANTHROPIC);
    if (x->first_byte_by_us && relay_keeps_early(x))
        return 0; /* another target may still be asked: nothing may go */
    uint64_t every = (uint64_t)x->snapshot->config->timeouts.keepalive_ping_us;
    uint64_t last = x->pinged_us > x->idle_since_us ? x->pinged_us : x->idle_since_us;
    return silent && every ? last + every : 0;
}

void waits_set(struct exchange *x)
{
    uint64_t due = 0;
    if (waits_for_first(x))
        earliest(&due, x->first_byte_by_us);
    bool whole = x->relay != RELAY_EVENTS && x->relay != RELAY_TUNNEL;
    bool asked = x->facts.upstream == UPSTREAM_ASKED;
    earliest(&due, whole || asked ? x->try_by_us : 0);
    earliest(&due, whole || asked || !x->head_sent ? x->wished_by_us : 0);
    earliest(&due, aside_due_us(x));
    earliest(&due, idle_by(x));
    earliest(&due, ping_by(x));
    earliest(&due, relay_rests_by(x));
    if (due)
        timer_set(x->worker->loop, &x->timer, due);
}

static void on_time(struct timer *timer)
{
    struct exchange *x = LIST_MEMBER(timer, struct exchange, timer);
    uint64_t now = loop_now_us(x->worker->loop);
    if (x->state == EXCHANGE_SETTLE) { /* everything was sent but the end of the framing */
        upstream_abandon(&x->upstream);
        x->facts.upstream = UPSTREAM_ANSWERED;
        exchange_run(x);
        return;
    }
    if (x->state == EXCHANGE_ROUTE ||
        x->state == EXCHANGE_WAKE) { /* the next try's time has come */
        exchange_run(x);
        return;
    }
    bool asked = x->facts.upstream == UPSTREAM_ASKED;
    bool whole = x->relay != RELAY_EVENTS && x->relay != RELAY_TUNNEL;
    uint64_t hedge_us = aside_due_us(x);
    if (hedge_us && now >= hedge_us && aside_begin(x)) {
        exchange_run(x);
        return;
    }
    if (waits_for_first(x) && x->first_byte_by_us && now >= x->first_byte_by_us) {
        fail(x, FAULT_TARGET_SLOW, "The target did not answer in time.");
        return;
    }
    if ((asked || whole || !x->head_sent) && x->wished_by_us && now >= x->wished_by_us) {
        fail(x, FAULT_TOO_LATE, "There was no answer within the time that the client wished.");
        return;
    }
    if ((asked || whole) && x->try_by_us && now >= x->try_by_us) {
        fail(x, FAULT_TARGET_SLOW, "The target did not finish in time.");
        return;
    }
    uint64_t rests_by = relay_rests_by(x);
    bool late = idle_by(x) && now >= idle_by(x);
    if ((late || (rests_by && now >= rests_by)) && relay_rest(x, late))
        return;
    if (late) {
        fail(x, FAULT_TARGET_SLOW, "The target fell silent in the middle of its answer.");
        return;
    }
    if (ping_by(x) && now + PING_SLACK_US >= ping_by(x)) {
        relay_ping(x);
        x->pinged_us = now;
    }
    waits_set(x);
}

/* While it was paused nothing was due, and the timer may have run out. */
void waits_resume(struct exchange *x)
{
    x->idle_since_us = loop_now_us(x->worker->loop);
    if (x->state == EXCHANGE_RELAY)
        waits_set(x);
}

void waits_wish(struct exchange *x)
{
    int64_t wish = x->call.stream && x->stream_timeout_us ? x->stream_timeout_us : x->timeout_us;
    if (wish && !x->wished_by_us && x->call.operation != OPERATION_REALTIME)
        x->wished_by_us = loop_now_us(x->worker->loop) + (uint64_t)wish;
}

void waits_begin(struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    uint64_t now = loop_now_us(x->worker->loop);
    /* An unstreamed answer has its first byte when it is finished; a switch of protocols not. */
    bool waits_for_all = !x->call.stream && x->call.operation != OPERATION_REALTIME &&
                         provider->first_byte_us == FIRST_BYTE_DEFAULT_US;
    x->first_byte_by_us = waits_for_all ? 0 : now + (uint64_t)provider->first_byte_us;
    x->try_by_us = now + (uint64_t)provider->total_us;
    if (!x->total_by_us)
        x->total_by_us = x->try_by_us;
    earliest(&x->try_by_us, x->total_by_us);
    x->timer.on_time = on_time;
    timer_stop(&x->timer);
    waits_set(x);
}

void waits_again(struct exchange *x)
{
    x->timer.on_time = on_time;
    timer_stop(&x->timer);
    waits_set(x);
}

uint64_t waits_end_us(const struct exchange *x)
{
    uint64_t end = x->total_by_us;
    earliest(&end, x->wished_by_us);
    return end;
}

void waits_until(struct exchange *x, uint64_t at_us)
{
    x->timer.on_time = on_time;
    timer_set(x->worker->loop, &x->timer, at_us);
}

bool waits_for_first_token(const struct exchange *x)
{
    return x->call.stream && x->target->provider->first_byte_us != FIRST_BYTE_DEFAULT_US;
}
