/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/hold.h"

#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum { LOOK_US = 20000, FULL_MAX = 32 };

static struct text full_counter(const struct exchange *x)
{
    return x->reservation.uses[x->reservation.refused].counter;
}

static bool wants(const struct exchange *x, struct text counter)
{
    for (size_t i = 0; i < x->reservation.use_count; i++)
        if (text_equal(x->reservation.uses[i].counter, counter))
            return true;
    return false;
}

/* Wait for <counter>, which will not be free within <wait_us>. */
static bool wait_for(struct exchange *x, struct text counter, int64_t wait_us)
{
    struct holding *holding = &x->worker->holding;
    int64_t most = x->snapshot->config->policy_limits.hold_429_us;
    uint64_t now = loop_now_us(x->worker->loop);
    if (most <= 0 || holding->count >= HOLD_MAX)
        return false;
    if (!x->seeking->held_until_us)
        x->seeking->held_until_us = now + (uint64_t)most;
    if (now >= x->seeking->held_until_us || wait_us > (int64_t)(x->seeking->held_until_us - now))
        return false;
    x->seeking->hold_counter = counter;
    list_push_back(&holding->calls, &x->seeking->hold_link);
    x->holds = true;
    if (x->seeking->held_until_us == now + (uint64_t)most)
        metrics_count(x->worker->metrics, COUNTER_HELD, 1);
    if (holding->count++ == 0)
        timer_set(x->worker->loop, &holding->timer, now + LOOK_US);
    return true;
}

bool hold_take(struct exchange *x)
{
    return wait_for(x, full_counter(x), x->reservation.retry_after_us);
}

bool hold_behind(struct exchange *x)
{
    const struct holding *holding = &x->worker->holding;
    for (struct link *at = holding->calls.next; at != &holding->calls; at = at->next) {
        const struct exchange *other = LIST_MEMBER(at, struct seeking, hold_link)->exchange;
        if (wants(x, other->seeking->hold_counter))
            return wait_for(x, other->seeking->hold_counter, 0);
    }
    return false;
}

void hold_forget(struct exchange *x)
{
    if (!x->holds)
        return;
    x->holds = false;
    list_remove(&x->seeking->hold_link);
    x->worker->holding.count--;
}

/* What this round has found to be full, so that nobody overtakes who waits for it, too. */
struct full {
    struct text counters[FULL_MAX];
    size_t count;
};

static bool is_full(const struct full *full, const struct exchange *x)
{
    if (full->count == FULL_MAX)
        return true;
    for (size_t i = 0; i < full->count; i++)
        if (wants(x, full->counters[i]))
            return true;
    return false;
}

static void look(struct timer *timer)
{
    struct holding *holding = LIST_MEMBER(timer, struct holding, timer);
    struct loop *loop = holding->worker->loop;
    struct full full = {.count = 0};
    struct link waiting;
    list_init(&waiting);
    while (!list_is_empty(&holding->calls)) { /* in order; what is refused again goes back */
        struct link *first = holding->calls.next;
        list_remove(first);
        list_push_back(&waiting, first);
    }
    while (!list_is_empty(&waiting)) {
        struct exchange *x = LIST_MEMBER(waiting.next, struct seeking, hold_link)->exchange;
        list_remove(&x->seeking->hold_link);
        if (is_full(&full, x) && loop_now_us(loop) < x->seeking->held_until_us) {
            list_push_back(&holding->calls, &x->seeking->hold_link);
            continue;
        }
        holding->count--;
        x->holds = false;
        reserve_again(x);
        if (x->holds)
            full.counters[full.count++] = x->seeking->hold_counter;
        else
            exchange_run(x);
    }
    if (holding->count > 0)
        timer_set(loop, timer, loop_now_us(loop) + LOOK_US);
}

void holding_init(struct holding *holding, struct worker *worker)
{
    holding->worker = worker;
    holding->timer.on_time = look;
    list_init(&holding->calls);
}
