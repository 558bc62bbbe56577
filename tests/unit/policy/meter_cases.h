/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* meter_cases - limits and reservations for tests of the meter, with a clock that they turn. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/meter_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
/* 2026-03-01 00:00:00 UTC, a Sunday */
#define START (INT64_C(1772323200) * SECOND)
#define USD   INT64_C(1000000000)

struct call {
    struct reservation r;
    struct use uses[8];
};

static inline struct limit rolling(enum limit_kind kind, int64_t amount, int64_t window_us)
{
    return (struct limit){
        .kind = kind, .period = PERIOD_ROLLING, .amount = amount, .window_us = window_us};
}

static inline struct limit parallel(int64_t amount)
{
    return (struct limit){.kind = LIMIT_CONCURRENT, .amount = amount};
}

static inline struct limit budget(int64_t amount, enum limit_period period)
{
    return (struct limit){.kind = LIMIT_MONEY, .period = period, .amount = amount};
}

static inline void call_add(struct call *call, const struct limit *limit, const char *counter,
                            int64_t want, int64_t least)
{
    call->r.root = TEXT("acme");
    call->r.uses = call->uses;
    call->uses[call->r.use_count++] =
        (struct use){.limit = limit, .counter = text_of(counter), .want = want, .least = least};
}

/* A call that touches one counter. */
static inline enum meter_result take(struct meter *meter, struct call *call,
                                     const struct limit *limit, int64_t want, int64_t least)
{
    *call = (struct call){0};
    call_add(call, limit, "k/one", want, least);
    return meter_take(meter, &call->r);
}

/* The same of a request. */
static inline bool may(struct meter *meter, const struct limit *limit)
{
    struct call call;
    if (take(meter, &call, limit, 1, 1) != METER_TAKEN)
        return false;
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    return true;
}

static inline int64_t used_of(struct meter *meter, const char *id)
{
    struct place place = place_lock(meter, TEXT("acme"));
    struct counter *counter = counter_lookup(&place, text_of(id));
    if (counter)
        counter_turn(counter, meter, meter_now_us(meter));
    int64_t sum = counter ? counter->sum : 0;
    shard_unlock(place.shard);
    return sum;
}

/* All that is claimed of "acme", as <see> is told it; and the store has it. */
struct telling {
    struct meter *meter;
    meter_see *see;
    void *with;
    unsigned round;
    struct meter_change seen[2 * METER_SLOTS];
    size_t count;
};

static inline void on_telling(void *with, const struct meter_change *claim)
{
    struct telling *telling = with;
    assert_true(telling->count < sizeof(telling->seen) / sizeof(telling->seen[0]));
    telling->seen[telling->count++] = *claim;
    telling->see(telling->with, claim);
}

static inline bool tell_next(struct telling *telling)
{
    telling->count = 0;
    bool more = meter_claims(telling->meter, TEXT("acme"), 1, 1, on_telling, telling);
    for (size_t i = 0; i < telling->count; i++)
        meter_assure(telling->meter, TEXT("acme"), telling->seen[i].counter, telling->round);
    return more;
}

static inline void tell_all(struct meter *meter, unsigned round, meter_see *see, void *with)
{
    struct telling telling = {.meter = meter, .see = see, .with = with, .round = round};
    meter_assert(meter, TEXT("acme"), round);
    meter_begun(meter, TEXT("acme"));
    while (tell_next(&telling))
        continue;
    meter_trust(meter, TEXT("acme"));
}
