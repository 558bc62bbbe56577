/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that go over to another process, and what its predecessor still holds in them. */
#include <assert.h>

#include "policy/meter_inside.h"
#include "policy/zone.h"

/* ---------------------------------------------------------------------------------- giving */

static struct counter_state state_of(const struct counter *counter)
{
    struct counter_state state = {
        .root = root_name(counter->root),
        .id = counter_id(counter),
        .limit = {.kind = (enum limit_kind)counter->kind,
                  .period = (enum limit_period)counter->period,
                  .algorithm = (enum limit_algorithm)counter->algorithm,
                  .away = (enum limit_away)counter->away,
                  .exceeded = (enum limit_exceeded)counter->exceeded,
                  .strict = counter->strict,
                  .amount = counter->amount,
                  .window_us = counter->window_us,
                  .zone = counter->zone,
                  .model = {counter->id + counter->model_at, counter->model_len}},
        .held = counter->held,
        .slots = counter->slots,
        .slot_count = counter->count,
    };
    for (size_t i = 0; i < LIMIT_WARNINGS; i++)
        state.limit.warn_at[i] = counter->warn_at[i];
    if (counter->pace) {
        state.has_pace = true;
        state.pace = *counter->pace;
    }
    return state;
}

void meter_each_state(struct meter *meter,
                      void (*see)(void *with, const struct counter_state *state), void *with)
{
    assert(!meter->shared);
    for (size_t i = 0; i < METER_SHARDS; i++) {
        struct shard *shard = &meter->shards[i];
        shard_lock(shard);
        int64_t now = meter_now_us(meter);
        for (size_t chain = 0; chain < shard->chain_count; chain++)
            for (struct counter *counter = shard->chains[chain]; counter; counter = counter->next) {
                counter_turn(counter, meter, now);
                struct counter_state state = state_of(counter);
                see(with, &state);
            }
        shard_unlock(shard);
    }
}

int64_t meter_clock(const struct meter *meter)
{
    return atomic_load_explicit(&meter->offset_us, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------------- taking */

void meter_take_clock(struct meter *meter, int64_t offset_us)
{
    atomic_store(&meter->offset_us, offset_us);
}

bool meter_take_state(struct meter *meter, const struct counter_state *state)
{
    struct place place = place_lock(meter, state->root);
    int64_t now = meter_now_us(meter);
    struct use use = {.limit = &state->limit, .counter = state->id};
    struct counter *counter = counter_get(meter, &place, &use, now);
    for (size_t i = 0; counter && i < state->slot_count; i++) {
        struct slot *slot = counter_open(counter, state->slots[i].number);
        if (slot)
            counter_add(counter, slot, state->slots[i].used);
    }
    if (counter) {
        counter->held = add_capped(counter->held, state->held);
        counter->theirs = add_capped(counter->theirs, state->held);
        counter->theirs_turn = counter->turn;
    }
    if (counter && counter->pace && state->has_pace)
        *counter->pace = state->pace;
    shard_unlock(place.shard);
    return counter != NULL;
}

/* ------------------------------------------------------------------------- what they hold */

void meter_detach(struct meter *meter, struct reservation *r)
{
    struct place place = place_lock(meter, r->root);
    assert(r->live);
    for (size_t i = 0; i < r->use_count; i++) {
        struct counter *counter = r->uses[i].at;
        if (r->uses[i].settled)
            continue;
        counter->pins--;
        counter->theirs = add_capped(counter->theirs, r->uses[i].held);
    }
    r->live = false;
    place.shard->live--;
    shard_unlock(place.shard);
}

void meter_attach(struct meter *meter, struct reservation *r, const bool *same_turn)
{
    struct place place = place_lock(meter, r->root);
    int64_t now = meter_now_us(meter);
    assert(!r->live);
    for (size_t i = 0; i < r->use_count; i++) {
        struct use *use = &r->uses[i];
        struct counter *counter = counter_lookup(&place, use->counter);
        if (!counter)
            counter = counter_get(meter, &place, use, now);
        use->settled = counter == NULL; /* too many: it counts nowhere */
        if (!counter)
            continue;
        use->at = counter;
        use->turn = same_turn[i] ? counter->theirs_turn : counter->theirs_turn - 1;
        int64_t theirs = counter->theirs < use->held ? counter->theirs : use->held;
        counter->theirs -= theirs;
        counter->held = add_capped(counter->held, use->held - theirs);
        counter->pins++;
    }
    r->live = true;
    place.shard->live++;
    shard_unlock(place.shard);
}

void meter_turns(struct meter *meter, const struct reservation *r, bool *same_turn)
{
    struct place place = place_lock(meter, r->root);
    for (size_t i = 0; i < r->use_count; i++)
        if (!r->uses[i].settled)
            same_turn[i] = r->uses[i].turn == r->uses[i].at->turn;
    shard_unlock(place.shard);
}

void meter_bury(struct meter *meter)
{
    for (size_t i = 0; i < METER_SHARDS; i++) {
        struct shard *shard = &meter->shards[i];
        shard_lock(shard);
        for (size_t chain = 0; chain < shard->chain_count; chain++)
            for (struct counter *counter = shard->chains[chain]; counter; counter = counter->next) {
                struct slot *slot = counter_find(counter, 0);
                if (counter->theirs && counter->period == PERIOD_NONE && slot)
                    counter_add(counter, slot, -counter->theirs);
                counter->held -= counter->theirs;
                counter->theirs = 0;
            }
        shard_unlock(shard);
    }
}

/* ---------------------------------------------------------------- what is counted all the same */

void meter_hold(struct meter *meter, struct reservation *r)
{
    struct place place = place_lock(meter, r->root);
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < r->use_count; i++) {
        struct use *use = &r->uses[i];
        struct counter *counter = counter_get(meter, &place, use, now);
        use->settled = counter == NULL;
        if (!counter)
            continue;
        use->at = counter;
        use->slot = counter->current;
        use->fixed = 0;
        use->turn = counter->turn;
        counter->pins++;
        counter->held = add_capped(counter->held, use->held);
        struct slot *slot = counter_open(counter, use->slot);
        if (slot)
            counter_add(counter, slot, use->held);
    }
    r->live = true;
    place.shard->live++;
    shard_unlock(place.shard);
}
