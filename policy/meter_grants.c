/* SPDX-License-Identifier: Apache-2.0 */
/* With a shared store: what is asked of it for a call, and what it has granted. */
#include "policy/meter_inside.h"

enum { SECOND_US = 1000000 };

/* How much of it calls will want until the slot ends, at most a second ahead. */
static int64_t use_ahead(const struct counter *counter, int64_t now_us)
{
    int64_t keep = demand_keep(counter, now_us);
    int64_t left_us = counter_slot_end(counter, counter->current) - counter_clock(counter, now_us);
    if (counter->period == PERIOD_NONE || left_us >= SECOND_US)
        return keep;
    return left_us > 0 ? (int64_t)((__int128)keep * left_us / SECOND_US) : 0;
}

static void use_lack(struct counter *counter, const struct use *use, int64_t now_us,
                     struct meter_lack *lack)
{
    /* The slot is there from now on, so that it is asserted, as 0, if the answer gets lost. */
    counter_open(counter, counter->current);
    int64_t unused = counter_free(counter, counter->current);
    int64_t rest = unused > use->want ? unused - use->want : 0;
    int64_t ahead = use_ahead(counter, now_us);
    lack->slot = counter->current;
    lack->lack = use->want > unused ? use->want - unused : 0;
    lack->more = ahead > rest ? ahead - rest : 0;
    lack->spend_by_us = counter_slot_end(counter, counter->current);
    lack->sure = counter->sure;
    for (size_t i = 0; i < counter->count && !lack->had; i++)
        lack->had = slot_is_had(&counter->slots[i]) &&
                    (counter->period == PERIOD_ROLLING || counter->slots[i].number == lack->slot);
}

void meter_lacks(struct meter *meter, const struct reservation *r, struct meter_lack *lacks)
{
    struct place place = place_lock(meter, r->root);
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < r->use_count; i++) {
        struct counter *counter = counter_get(meter, &place, &r->uses[i], now);
        lacks[i] = (struct meter_lack){.lack = r->uses[i].want};
        if (counter)
            use_lack(counter, &r->uses[i], now, &lacks[i]);
    }
    shard_unlock(place.shard);
}

static void use_grant(struct use *use, const struct meter_grant *grant, int64_t now_us)
{
    struct counter *counter = use->at;
    if (grant->slot < 0)
        return;
    /* The store's clock may be a little ahead. */
    if (counter->period == PERIOD_ROLLING && grant->slot > counter->current)
        counter->current = grant->slot;
    struct slot *slot = counter_open(counter, grant->slot);
    counter->demand->left = grant->left;
    counter->demand->heard_us = now_us;
    counter->demand->known = true;
    use->slot = grant->slot;
    if (!slot)
        return;
    slot->claimed = add_capped(slot->claimed, grant->granted);
    slot->told = add_capped(slot->told, grant->granted);
    counter_watch(counter, slot);
}

enum meter_result meter_grant(struct meter *meter, struct reservation *r,
                              const struct meter_grant *grants, enum meter_for whom)
{
    struct taking taking = {.meter = meter, .r = r, .mode = TAKE_GRANTED};
    taking.place = place_lock(meter, r->root);
    taking.now_us = meter_now_us(meter);
    r->refused = 0;
    r->retry_after_us = 0;
    r->warned = r->degraded = 0;
    enum meter_result result = METER_FULL;
    bool all = take_gather(&taking);
    for (size_t i = 0; i < r->use_count; i++)
        if (r->uses[i].at)
            use_grant(&r->uses[i], &grants[i], taking.now_us);
    for (size_t i = 0; whom == METER_FOR_STREAM && i < r->use_count; i++)
        if (r->uses[i].at && grants[i].slot >= 0)
            demand_expect(r->uses[i].at, taking.now_us);
    if (all && whom == METER_FOR_CALL)
        result = take_all(&taking);
    else if (all)
        result = METER_SHORT;
    shard_unlock(taking.place.shard);
    return result;
}

void meter_refused(struct meter *meter, const struct reservation *r, size_t i, int64_t left)
{
    struct place place = place_lock(meter, r->root);
    struct counter *counter = counter_lookup(&place, r->uses[i].counter);
    if (counter && counter->demand) {
        counter->demand->left = left;
        counter->demand->heard_us = meter_now_us(meter);
        counter->demand->known = true;
    }
    shard_unlock(place.shard);
}
