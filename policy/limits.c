/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/limits.h"

#include <stdatomic.h>

#include "gateway/base/memory.h"
#include "policy/meter.h"
#include "policy/store_redis.h"
#include "policy/succession.h"

enum { TIDY_US = 1000000 };

struct limits {
    struct meter *meter;
    struct shared *shared; /* NULL = embedded */
    unsigned replicas_max;
    _Atomic uint64_t granted, refused, away;
    _Atomic(struct heir *) heir; /* who counts in our place; NULL = we do */
    struct forebear *forebear;   /* whom we follow, or NULL */
};

static struct heir *heir_of(struct limits *limits)
{
    return atomic_load_explicit(&limits->heir, memory_order_acquire);
}

struct limiter {
    struct limits *limits;
    struct store_redis *store; /* NULL = embedded */
    struct loop *loop;
    struct timer tidy; /* of the first worker */
};

/* ------------------------------------------------------------------------------- reserving */

static void count_one(_Atomic uint64_t *figure)
{
    atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

/* What the meter said, in the words of who asked. */
static enum reserve_result reserve_told(struct limits *limits, enum reserve_result result)
{
    if (result == RESERVE_GRANTED)
        count_one(&limits->granted);
    else if (result == RESERVE_REFUSED)
        count_one(&limits->refused);
    else if (result == RESERVE_AWAY)
        count_one(&limits->away);
    return result;
}

static unsigned replicas_of(const struct limits *limits)
{
    unsigned seen = limits->shared ? shared_figures(limits->shared).nodes : 1;
    return seen > limits->replicas_max ? seen : limits->replicas_max;
}

static enum reserve_result reserve_away(struct limits *limits, struct reservation *reservation)
{
    switch (meter_take_away(limits->meter, reservation, replicas_of(limits))) {
    case METER_TAKEN:
        reservation->local = true;
        return RESERVE_GRANTED;
    case METER_FULL:
        return RESERVE_REFUSED;
    case METER_SHORT:
    case METER_AWAY:
        break;
    }
    return RESERVE_AWAY;
}

static void on_store_done(struct reservation *reservation, enum reserve_result result)
{
    struct limits *limits = reservation->limiter->limits;
    reservation->waits = false;
    if (result == RESERVE_AWAY && !reservation->live)
        result = reserve_away(limits, reservation);
    reservation->done = reservation->then;
    reservation->done(reservation, reserve_told(limits, result));
}

static enum reserve_result reserve_short(struct limiter *limiter, struct reservation *reservation)
{
    reservation->then = reservation->done;
    reservation->done = on_store_done;
    reservation->waits = true;
    if (store_redis_ask(limiter->store, reservation))
        return RESERVE_WAITS;
    reservation->done = reservation->then;
    reservation->waits = false;
    return reserve_away(limiter->limits, reservation);
}

enum reserve_result limits_reserve(struct limiter *limiter, struct reservation *reservation)
{
    enum reserve_result result = RESERVE_AWAY;
    struct heir *heir = heir_of(limiter->limits);
    reservation->limiter = limiter;
    reservation->local = false;
    if (heir)
        return reserve_told(limiter->limits, heir_reserve(heir, reservation));
    switch (meter_take(limiter->limits->meter, reservation)) {
    case METER_TAKEN:
        result = RESERVE_GRANTED;
        break;
    case METER_FULL:
        result = RESERVE_REFUSED;
        break;
    case METER_SHORT:
        result = reserve_short(limiter, reservation);
        break;
    case METER_AWAY:
        break;
    }
    return reserve_told(limiter->limits, result);
}

void limits_abandon(struct reservation *reservation)
{
    if (!reservation->waits)
        return;
    reservation->waits = false;
    reservation->done = reservation->then;
    store_redis_abandon(reservation->limiter->store, reservation);
}

bool limits_extend(struct reservation *reservation, enum limit_kind kind, int64_t more)
{
    struct limiter *limiter = reservation->limiter;
    struct limits *limits = limiter->limits;
    struct heir *heir = heir_of(limits);
    if (heir)
        return heir_extend(heir, reservation, kind, more);
    bool held = meter_extend(limits->meter, reservation, kind, more);
    if (!limits->shared)
        return held;
    if (!held && !shared_figures(limits->shared).up)
        return meter_extend_away(limits->meter, reservation, kind, more, replicas_of(limits));
    store_redis_ask_ahead(limiter->store, reservation, kind, more);
    return held;
}

bool limits_asks_ahead(const struct reservation *reservation, enum limit_kind kind)
{
    const struct limiter *limiter = reservation->limiter;
    return limiter && limiter->store && store_redis_asks_ahead(limiter->store, reservation, kind);
}

bool limits_are_shared(const struct reservation *reservation)
{
    return reservation->limiter && reservation->limiter->store;
}

void limits_settle(struct reservation *reservation, const struct used *used)
{
    struct limiter *limiter = reservation->limiter;
    struct heir *heir = reservation->live ? heir_of(limiter->limits) : NULL;
    if (heir)
        heir_settle(heir, reservation, used, 0);
    if (reservation->live && meter_settle(limiter->limits->meter, reservation, used))
        store_redis_hurry(limiter->store, reservation->root);
}

void limits_settle_each(struct reservation *reservation, const struct used *each)
{
    struct limiter *limiter = reservation->limiter;
    struct heir *heir = reservation->live ? heir_of(limiter->limits) : NULL;
    if (heir)
        heir_settle(heir, reservation, each, 1);
    if (reservation->live && meter_settle_each(limiter->limits->meter, reservation, each))
        store_redis_hurry(limiter->store, reservation->root);
}

void limits_hand_over(struct reservation *from, struct reservation *to)
{
    to->limiter = from->limiter;
    meter_hand_over(from->limiter->limits->meter, from, to);
}

void limits_adopt(struct limiter *limiter, struct reservation *reservation)
{
    reservation->limiter = limiter;
}

void limits_view(struct reservation *reservation, size_t use, struct limit_view *view)
{
    meter_view(reservation->limiter->limits->meter, reservation, use, view);
}

void limits_views(struct reservation *reservation, uint64_t which, struct limit_view *views)
{
    meter_views(reservation->limiter->limits->meter, reservation, which, views);
}

void limits_peek(struct limits *limits, const struct reservation *reservation,
                 struct limit_peek *peeks)
{
    if (limits->shared) /* in which slot others have counted is known of counters only */
        meter_know(limits->meter, reservation->root, reservation->uses, reservation->use_count);
    meter_peek(limits->meter, reservation, peeks);
}

/* --------------------------------------------------------------------- one per process, worker */

struct limits *limits_new(const struct limits_options *options)
{
    struct limits *limits = memory_new(sizeof(*limits));
    limits->meter = meter_new(options->redis != NULL);
    limits->replicas_max = options->replicas_max > 0 ? options->replicas_max : 1;
    if (options->redis) {
        struct shared_options shared = {.redis = options->redis,
                                        .prefix = options->prefix,
                                        .node = options->node,
                                        .replicas_max = options->replicas_max,
                                        .dead_us = options->dead_us};
        limits->shared = shared_new(limits->meter, &shared);
    }
    return limits;
}

void limits_free(struct limits *limits)
{
    if (!limits)
        return;
    if (limits->shared)
        shared_free(limits->shared);
    forebear_free(limits->forebear);
    heir_free(heir_of(limits));
    meter_free(limits->meter);
    memory_free(limits);
}

static void on_tidy(struct timer *timer)
{
    struct limiter *limiter = LIST_MEMBER(timer, struct limiter, tidy);
    meter_tidy(limiter->limits->meter);
    timer_set(limiter->loop, timer, loop_now_us(limiter->loop) + TIDY_US);
}

struct limiter *limiter_new(struct limits *limits, struct loop *loop, struct dns *dns,
                            unsigned worker, struct fault *fault)
{
    struct limiter *limiter = memory_new(sizeof(*limiter));
    limiter->limits = limits;
    limiter->loop = loop;
    limiter->tidy.on_time = on_tidy;
    if (limits->shared) {
        limiter->store = store_redis_new(limits->shared, loop, dns, worker, fault);
        if (!limiter->store) {
            memory_free(limiter);
            return NULL;
        }
    }
    if (worker == 0)
        timer_set(loop, &limiter->tidy, loop_now_us(loop) + TIDY_US);
    return limiter;
}

void limiter_free(struct limiter *limiter)
{
    if (!limiter)
        return;
    timer_stop(&limiter->tidy);
    if (limiter->store)
        store_redis_free(limiter->store);
    memory_free(limiter);
}

void limits_rebuild(struct limits *limits, struct text root, const struct use *uses, size_t count,
                    int64_t at_wall_us)
{
    meter_rebuild(limits->meter, root, uses, count, at_wall_us);
}

int64_t limits_settled(struct limits *limits, struct text root, struct text counter)
{
    return meter_settled(limits->meter, root, counter);
}

bool limits_are_told(struct limits *limits, struct text root, struct text counter)
{
    return !limits->shared || !shared_figures(limits->shared).up ||
           meter_is_told(limits->meter, root, counter);
}

void limits_rebuild_held(struct limits *limits, struct reservation *reservation, int64_t at_wall_us)
{
    meter_rebuild_held(limits->meter, reservation, at_wall_us);
}

void limits_list(struct limits *limits, struct text root, struct text after, size_t max,
                 void (*see)(void *with, const struct counter_view *view), void *with)
{
    meter_list(limits->meter, root, after, max, see, with);
}

struct shared *limits_shared(struct limits *limits)
{
    return limits->shared;
}

void limits_know(struct limits *limits, struct text root, const struct use *uses, size_t count)
{
    if (limits->shared)
        meter_know(limits->meter, root, uses, count);
}

void limits_expect(struct limits *limits, struct text root)
{
    if (limits->shared)
        shared_expect(limits->shared, root);
}

struct limits_figures limits_figures(struct limits *limits)
{
    struct meter_figures meter = meter_figures(limits->meter);
    struct limits_figures figures = {
        .granted = atomic_load_explicit(&limits->granted, memory_order_relaxed),
        .refused = atomic_load_explicit(&limits->refused, memory_order_relaxed),
        .away = atomic_load_explicit(&limits->away, memory_order_relaxed),
        .counters = meter.counters,
        .live = meter.live,
        .store_up = true,
        .store_swept = true,
        .replicas = 1,
    };
    if (!limits->shared)
        return figures;
    struct shared_figures shared = shared_figures(limits->shared);
    figures.asked = shared.asked;
    figures.store_up = shared.up;
    figures.store_swept = shared.swept;
    figures.store_connected = shared.connected;
    figures.replicas = shared.nodes > 0 ? shared.nodes : 1;
    figures.store_latency_us = shared.latency_us;
    return figures;
}

/* --------------------------------------------------------- from one process to the next */

bool limits_bequeath(struct limits *limits, const struct bequest *which, int fd,
                     struct fault *fault)
{
    struct heir *heir = heir_new(limits->meter, which, fd, fault);
    if (heir)
        atomic_store_explicit(&limits->heir, heir, memory_order_release);
    return heir != NULL;
}

void limits_passed_on(struct limits *limits)
{
    heir_serves(heir_of(limits));
}

void limits_return(struct limits *limits)
{
    heir_returns(heir_of(limits));
}

bool limits_are_orphaned(const struct reservation *reservation)
{
    struct heir *heir = reservation->limiter ? heir_of(reservation->limiter->limits) : NULL;
    return heir && heir_is_gone(heir);
}

bool limits_are_asked(const struct limits *limits)
{
    return limits->forebear && !forebear_is_gone(limits->forebear);
}

void limits_take_back(struct limits *limits)
{
    heir_free(atomic_exchange(&limits->heir, NULL));
}

bool limits_inherit(struct limits *limits, int fd, int64_t wait_us, struct fault *fault)
{
    limits->forebear = forebear_new(limits->meter, fd, wait_us, fault);
    return limits->forebear != NULL;
}

bool limits_answer(struct limits *limits)
{
    return forebear_begin(limits->forebear);
}

bool limits_are_inherited(const struct limits *limits)
{
    return limits->forebear != NULL;
}
