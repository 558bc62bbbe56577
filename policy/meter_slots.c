/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of one counter: time that passes, what counts, when there is room again. */
#include <assert.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/meter_inside.h"

enum {
    CALENDAR_KEPT = 3,           /* the current span and two that ended, for late settles */
    CALENDAR_BACK_US = 500000,   /* less is told by an answer that took long */
    CONCURRENT_WAIT_US = 1000000 /* nobody knows when a call ends */
};

int64_t add_capped(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

static void slots_drop_oldest(struct counter *counter, size_t count)
{
    counter->count = (uint16_t)(counter->count - count);
    memmove(counter->slots, counter->slots + count, counter->count * sizeof(struct slot));
}

static void slots_grow(struct counter *counter)
{
    enum { FIRST = 4 };
    bool was_one = counter->slots == &counter->one;
    size_t capacity = was_one ? FIRST : (size_t)counter->capacity * 2;
    assert(capacity <= UINT16_MAX);
    size_t bytes = capacity * sizeof(struct slot);
    counter->slots = memory_resize(was_one ? NULL : counter->slots, bytes);
    if (was_one)
        counter->slots[0] = counter->one;
    counter->capacity = (uint16_t)capacity;
}

void counter_slots_done(struct counter *counter)
{
    if (counter->slots != &counter->one)
        memory_free(counter->slots);
    counter->slots = &counter->one;
    counter->capacity = 1;
    counter->count = 0;
}

struct slot *counter_find(const struct counter *counter, int64_t number)
{
    for (size_t i = counter->count; i > 0 && counter->slots[i - 1].number >= number; i--)
        if (counter->slots[i - 1].number == number)
            return &counter->slots[i - 1];
    return NULL;
}

bool counter_counts(const struct counter *counter, int64_t number)
{
    if (counter->period == PERIOD_ROLLING)
        return number >= counter->current - METER_SLOTS;
    return number == counter->current;
}

struct slot *counter_open(struct counter *counter, int64_t number)
{
    size_t at = counter->count;
    while (at > 0 && counter->slots[at - 1].number > number)
        at--;
    if (at > 0 && counter->slots[at - 1].number == number)
        return &counter->slots[at - 1];
    if (counter->period == PERIOD_ROLLING && !counter_counts(counter, number))
        return NULL;
    if (counter->count == counter->capacity)
        slots_grow(counter);
    struct slot *slot = &counter->slots[at];
    memmove(slot + 1, slot, (counter->count - at) * sizeof(*slot));
    *slot = (struct slot){.number = number};
    counter->count++;
    return slot;
}

void counter_add(struct counter *counter, struct slot *slot, int64_t more)
{
    if (more < -slot->used)
        more = -slot->used;
    slot->used = add_capped(slot->used, more);
    if (counter_counts(counter, slot->number))
        counter->sum = add_capped(counter->sum, more);
}

/* ----------------------------------------------------------------------------- time passes */

/* A new store's clock: every slot keeps its age, rounded so that it counts rather too long. */
static void shift_slots(struct counter *counter, int64_t by_us, int64_t now_us)
{
    int64_t number = now_us / counter->slot_us;
    int64_t by = by_us / counter->slot_us + (by_us % counter->slot_us > 0);
    size_t kept = 0;
    for (size_t i = 0; i < counter->count; i++) {
        struct slot moved = counter->slots[i];
        moved.number = moved.number + by < number ? moved.number + by : number;
        /* The new store knows of none of them yet. */
        moved.told = moved.sent = 0;
        struct slot *last = kept > 0 ? &counter->slots[kept - 1] : NULL;
        if (last && last->number == moved.number) {
            last->used = add_capped(last->used, moved.used);
            last->claimed = add_capped(last->claimed, moved.claimed);
        } else {
            counter->slots[kept++] = moved;
        }
    }
    counter->count = (uint16_t)kept;
    counter->current = number;
    counter->turn++;
    if (counter->pace)
        counter->pace->at_us += by_us;
}

static void turn_rolling(struct counter *counter, int64_t now_us)
{
    int64_t number = now_us / counter->slot_us;
    if (number > counter->current)
        counter->current = number;
    size_t gone = 0;
    while (gone < counter->count && !counter_counts(counter, counter->slots[gone].number))
        counter->sum -= counter->slots[gone++].used;
    if (gone > 0)
        slots_drop_oldest(counter, gone);
    if (counter->count == 0)
        counter->sum = 0;
}

int64_t counter_clock(const struct counter *counter, int64_t now_us)
{
    return counter->demand ? now_us + counter->demand->day_us : now_us;
}

/* A calendar goes back with the server's clock, when that was set. */
static void turn_calendar(struct counter *counter, const struct meter *meter, int64_t now_us)
{
    if (counter->demand)
        counter->demand->day_us = atomic_load_explicit(&meter->day_us, memory_order_relaxed);
    int64_t begin, day_us = counter_clock(counter, now_us);
    if (day_us < counter->ends_us && day_us >= counter->current - CALENDAR_BACK_US)
        return;
    period_bounds(counter->period, counter->zone, day_us, &begin, &counter->ends_us);
    counter->current = begin;
    struct slot *slot = counter_find(counter, begin);
    counter->sum = slot ? slot->used : 0;
    if (counter->count > CALENDAR_KEPT)
        slots_drop_oldest(counter, counter->count - CALENDAR_KEPT);
}

static void turn_pace(struct counter *counter, int64_t now_us)
{
    struct pace *pace = counter->pace;
    if (now_us <= pace->at_us)
        return;
    int64_t burst = counter->amount / 20;
    __int128 flown = (__int128)(now_us - pace->at_us) * counter->amount + pace->part;
    __int128 level = pace->level + flown / counter->window_us;
    pace->at_us = now_us;
    pace->level = level < burst ? (int64_t)level : burst;
    pace->part = level < burst ? (int64_t)(flown % counter->window_us) : 0;
}

void counter_turn(struct counter *counter, const struct meter *meter, int64_t now_us)
{
    int64_t shift = atomic_load_explicit(&meter->shift_us, memory_order_relaxed);
    int64_t by = shift - counter->shift_us;
    counter->shift_us = shift;
    counter->touched_us = now_us;
    switch ((enum limit_period)counter->period) {
    case PERIOD_ROLLING:
        if (by != 0)
            shift_slots(counter, by, now_us);
        turn_rolling(counter, now_us);
        if (counter->pace)
            turn_pace(counter, now_us);
        break;
    case PERIOD_HOUR:
    case PERIOD_DAY:
    case PERIOD_WEEK:
    case PERIOD_MONTH:
        turn_calendar(counter, meter, now_us);
        break;
    case PERIOD_NONE:
    case PERIOD_TOTAL:
        break;
    }
}

/* --------------------------------------------------------------------------- looking ahead */

int64_t counter_slot_end(const struct counter *counter, int64_t number)
{
    if (counter->period == PERIOD_ROLLING)
        return (number + 1) * counter->slot_us;
    if (counter->period == PERIOD_NONE || counter->period == PERIOD_TOTAL)
        return INT64_MAX;
    if (number == counter->current)
        return counter->ends_us;
    int64_t begin, end;
    period_bounds((enum limit_period)counter->period, counter->zone, number, &begin, &end);
    return end;
}

int64_t counter_slot_gone(const struct counter *counter, int64_t number)
{
    if (counter->period == PERIOD_ROLLING)
        return (number + METER_SLOTS + 1) * counter->slot_us;
    return counter_slot_end(counter, number);
}

static int64_t wait_rolling(const struct counter *counter, int64_t excess, int64_t now_us)
{
    for (size_t i = 0; i < counter->count; i++) {
        excess -= counter->slots[i].used;
        if (excess <= 0)
            return counter_slot_gone(counter, counter->slots[i].number) - now_us;
    }
    return counter->slot_us;
}

int64_t counter_wait(const struct counter *counter, int64_t amount, int64_t need, int64_t now_us)
{
    if (need > amount)
        return INT64_MAX;
    int64_t excess = add_capped(counter->sum, need) - amount;
    if (counter->period == PERIOD_NONE)
        return CONCURRENT_WAIT_US;
    if (counter->period == PERIOD_TOTAL)
        return INT64_MAX;
    if (counter->period == PERIOD_ROLLING)
        return excess > 0 ? wait_rolling(counter, excess, now_us) : 0;
    return counter->ends_us - counter_clock(counter, now_us);
}

int64_t counter_reset(const struct counter *counter, int64_t now_us)
{
    if (counter->sum <= 0)
        return 0;
    int64_t gone = counter->current;
    for (size_t i = counter->count; i > 0; i--)
        if (counter->slots[i - 1].used > 0) {
            gone = counter->slots[i - 1].number;
            break;
        }
    gone = counter_slot_gone(counter, gone);
    return gone == INT64_MAX ? INT64_MAX : gone - counter_clock(counter, now_us);
}

/* ---------------------------------------------------------------------------------- pace */

static int64_t pace_need(const struct counter *counter, int64_t want)
{
    int64_t burst = counter->amount / 20;
    return want < burst ? want : burst;
}

bool pace_allows(const struct counter *counter, int64_t want)
{
    return !counter->pace || counter->pace->level >= pace_need(counter, want);
}

int64_t pace_wait(const struct counter *counter, int64_t want)
{
    if (pace_allows(counter, want))
        return 0;
    __int128 lack =
        (__int128)(pace_need(counter, want) - counter->pace->level) * counter->window_us -
        counter->pace->part;
    __int128 wait = (lack + counter->amount - 1) / counter->amount;
    return wait < INT64_MAX ? (int64_t)wait : INT64_MAX;
}

void pace_take(struct counter *counter, int64_t want)
{
    if (!counter->pace)
        return;
    int64_t burst = counter->amount / 20;
    int64_t level = add_capped(counter->pace->level, -want);
    counter->pace->level = level < burst ? level : burst;
}
