/* SPDX-License-Identifier: Apache-2.0 */
/* Reserving and settling: all the counters of a call under one lock, all or nothing. */
#include <assert.h>

#include "policy/meter_inside.h"

enum { CROWDED_WAIT_US = 1000000 };

/* --------------------------------------------------------------------------------- looking */

bool take_gather(struct taking *taking)
{
    struct reservation *r = taking->r;
    uint64_t ticket = ++taking->place.shard->tickets;
    bool all = true;
    assert(r->use_count <= USES_MAX && !r->live);
    for (size_t i = 0; i < r->use_count; i++) {
        struct use *use = &r->uses[i];
        struct counter *counter = counter_get(taking->meter, &taking->place, use, taking->now_us);
        use->at = counter;
        use->settled = false;
        if (!counter) {
            r->refused = i;
            r->retry_after_us = CROWDED_WAIT_US;
            all = false;
            continue;
        }
        use->slot = counter->current;
        use->held = 0;
        if (counter->ticket != ticket)
            counter->pending = 0;
        counter->ticket = ticket;
    }
    return all;
}

/* Nothing is refused because of it. */
static bool is_soft(const struct counter *counter)
{
    return counter->exceeded != EXCEEDED_REJECT;
}

static int64_t room_away(const struct taking *taking, const struct counter *counter)
{
    if (counter->away == AWAY_OPEN)
        return INT64_MAX;
    if (counter->away == AWAY_CLOSED)
        return 0;
    unsigned replicas = taking->replicas > 0 ? taking->replicas : 1;
    return counter->amount / replicas - counter->sum;
}

/* What may be used of it now, whatever is wanted. */
static int64_t room_of(const struct taking *taking, const struct use *use)
{
    const struct counter *counter = use->at;
    int64_t room = counter->amount - counter->sum;
    if (taking->mode != TAKE_OWN)
        room = counter_free(counter, use->slot);
    if (taking->mode == TAKE_AWAY) {
        int64_t away = room_away(taking, counter);
        room = room > away ? room : away;
    }
    return room - counter->pending;
}

/* What of that it wants. Kept in <held> until all have been looked at. */
static void use_look(const struct taking *taking, struct use *use)
{
    struct counter *counter = use->at;
    int64_t room = room_of(taking, use);
    bool paced = !is_soft(counter) && !pace_allows(counter, use->want);
    int64_t offer = room < use->want ? room : use->want;
    use->held = offer > 0 && !paced ? offer : 0;
    counter->pending = add_capped(counter->pending, use->held);
}

static int64_t use_least(const struct use *use)
{
    return use->least < use->want ? use->least : use->want;
}

/* All of what it wants or nothing: it is not cut to what others get, and cuts none of them. */
static bool is_rigid(const struct use *use)
{
    return use->least >= use->want;
}

static void take_look(struct taking *taking)
{
    struct reservation *r = taking->r;
    taking->money = INT64_MAX;
    taking->money_least = 0;
    for (size_t i = 0; i < r->use_count; i++) {
        struct use *use = &r->uses[i];
        use_look(taking, use);
        if (use->limit->kind != LIMIT_MONEY || is_rigid(use))
            continue;
        bool bounds = taking->mode == TAKE_GRANTED || !is_soft(use->at);
        int64_t most = bounds ? use->held : use->want;
        taking->money = most < taking->money ? most : taking->money;
        if (bounds && use_least(use) > taking->money_least)
            taking->money_least = use_least(use);
    }
}

/* Does what it can have do? */
static bool use_fits(const struct taking *taking, const struct use *use)
{
    if (taking->mode != TAKE_GRANTED && is_soft(use->at))
        return true;
    if (use->want > METER_WANT_MAX)
        return false;
    if (use->limit->kind == LIMIT_MONEY && !is_rigid(use))
        return use->held >= taking->money_least;
    return use->held >= use_least(use);
}

/* ------------------------------------------------------------------------------- refusing */

static int64_t use_wait(const struct taking *taking, const struct use *use)
{
    const struct counter *counter = use->at;
    int64_t amount = counter->amount, least = use_least(use);
    if (least > amount || use->want > METER_WANT_MAX)
        return INT64_MAX;
    if (taking->mode == TAKE_AWAY && counter->away == AWAY_LOCAL)
        amount /= taking->replicas > 0 ? taking->replicas : 1;
    int64_t pace = pace_wait(counter, use->want);
    /* Only the pace is in the way, or the store has to be asked. */
    if (taking->mode == TAKE_GRANTED || amount - counter->sum >= least)
        return pace > 0 ? pace : CROWDED_WAIT_US;
    int64_t wait = counter_wait(counter, amount, least, taking->now_us);
    return wait > pace ? wait : pace;
}

static bool store_could_help(const struct use *use)
{
    const struct counter *counter = use->at;
    if (use->want > METER_WANT_MAX)
        return false;
    return is_soft(counter) ||
           (use_least(use) <= counter->amount && pace_allows(counter, use->want));
}

/* Whoever does not fit: is it for the store to say? Else the longest wait is told. */
static enum meter_result take_refuse(struct taking *taking)
{
    struct reservation *r = taking->r;
    enum meter_result result = taking->mode == TAKE_GRANTED ? METER_SHORT : METER_FULL;
    int64_t longest = -1;
    r->retry_after_us = CROWDED_WAIT_US;
    for (size_t i = 0; i < r->use_count; i++) {
        struct use *use = &r->uses[i];
        if (use_fits(taking, use))
            continue;
        if (taking->mode == TAKE_GRANTED && store_could_help(use))
            continue;
        if (taking->mode == TAKE_AWAY && use->at->away == AWAY_CLOSED)
            result = METER_AWAY;
        else if (result == METER_SHORT)
            result = METER_FULL;
        int64_t wait = use_wait(taking, use);
        if (wait <= longest)
            continue;
        longest = wait;
        r->refused = i;
        r->retry_after_us = wait;
    }
    return result;
}

/* -------------------------------------------------------------------------------- holding */

static bool use_exceeds(const struct taking *taking, const struct use *use)
{
    const struct counter *counter = use->at;
    int64_t want = use->want;
    if (use->limit->kind == LIMIT_MONEY && taking->money < want && !is_rigid(use))
        want = taking->money;
    switch (taking->mode) {
    case TAKE_GRANTED:
        return counter->demand->known && counter->demand->left < 0;
    case TAKE_AWAY:
        if (counter->away == AWAY_CLOSED && counter->exceeded == EXCEEDED_WARN)
            return false;
        break;
    case TAKE_OWN:
    case TAKE_TOLD:
        break;
    }
    return use->held < want;
}

static void take_flag(struct taking *taking, size_t i)
{
    const struct use *use = &taking->r->uses[i];
    if (!is_soft(use->at) || !use_exceeds(taking, use))
        return;
    if (use->at->exceeded == EXCEEDED_WARN)
        taking->r->warned |= UINT64_C(1) << i;
    else
        taking->r->degraded |= UINT64_C(1) << i;
}

/* Count <more> in the use's slot, as held. */
static void use_count(const struct taking *taking, struct use *use, int64_t more)
{
    struct counter *counter = use->at;
    struct slot *slot = counter_open(counter, use->slot);
    if (slot) {
        counter_add(counter, slot, more);
        if (taking->meter->shared)
            counter_watch(counter, slot);
    }
    counter->held = add_capped(counter->held, more);
    pace_take(counter, more);
    if (taking->meter->shared)
        demand_count(counter, more, taking->now_us);
}

static void use_hold(const struct taking *taking, struct use *use)
{
    int64_t held = use->held;
    if (is_soft(use->at))
        held = use->want < METER_WANT_MAX ? use->want : METER_WANT_MAX;
    if (use->limit->kind == LIMIT_MONEY && held > taking->money && !is_rigid(use))
        held = taking->money;
    use->held = held;
    use->fixed = 0;
    use->turn = use->at->turn;
    use->at->pins++;
    use_count(taking, use, held);
}

enum meter_result take_all(struct taking *taking)
{
    struct reservation *r = taking->r;
    take_look(taking);
    for (size_t i = 0; i < r->use_count; i++)
        if (!use_fits(taking, &r->uses[i]))
            return take_refuse(taking);
    for (size_t i = 0; i < r->use_count; i++) {
        take_flag(taking, i);
        use_hold(taking, &r->uses[i]);
    }
    r->live = true;
    taking->place.shard->live++;
    return METER_TAKEN;
}

static enum meter_result take_in(struct meter *meter, struct reservation *r, enum take_mode mode,
                                 unsigned replicas)
{
    r->refused = 0;
    r->retry_after_us = 0;
    r->warned = r->degraded = 0;
    struct taking taking = {.meter = meter, .r = r, .mode = mode, .replicas = replicas};
    taking.place = place_lock(meter, r->root);
    taking.now_us = meter_now_us(meter);
    enum meter_result result = take_gather(&taking) ? take_all(&taking) : METER_FULL;
    shard_unlock(taking.place.shard);
    return result;
}

enum meter_result meter_take(struct meter *meter, struct reservation *r)
{
    return take_in(meter, r, meter->shared ? TAKE_GRANTED : TAKE_OWN, 1);
}

enum meter_result meter_take_away(struct meter *meter, struct reservation *r, unsigned replicas)
{
    return take_in(meter, r, TAKE_AWAY, replicas);
}

/* Where the counters of the reservation stand; one that is live knows. */
static struct place place_of_all(struct meter *meter, const struct reservation *r)
{
    if (!r->live || r->use_count == 0 || r->uses[0].settled)
        return place_lock(meter, r->root);
    struct root *root = r->uses[0].at->root;
    shard_lock(root->shard);
    return (struct place){.root = r->root, .hash = root->hash, .shard = root->shard};
}

/* ------------------------------------------------------------------------------- extending */

static bool extension_fits(const struct taking *taking, const struct use *use, int64_t more)
{
    const struct counter *counter = use->at;
    if (is_soft(counter) || taking->mode == TAKE_TOLD)
        return true;
    struct use now = *use;
    now.slot = counter->current;
    return room_of(taking, &now) >= more;
}

static void use_extend(const struct taking *taking, struct use *use, int64_t more)
{
    struct counter *counter = use->at;
    if (use->slot != counter->current || use->turn != counter->turn) {
        /* What was counted before stays where it is. */
        use->fixed = use->held;
        use->slot = counter->current;
        use->turn = counter->turn;
    }
    use->held = add_capped(use->held, more);
    use_count(taking, use, more);
}

static bool extend_locked(const struct taking *taking, enum limit_kind kind, int64_t more)
{
    struct reservation *r = taking->r;
    uint64_t ticket = ++taking->place.shard->tickets;
    for (size_t i = 0; i < r->use_count; i++) {
        if (r->uses[i].limit->kind != kind || r->uses[i].settled)
            continue;
        struct counter *counter = r->uses[i].at;
        counter_turn(counter, taking->meter, taking->now_us);
        if (counter->ticket != ticket)
            counter->pending = 0;
        counter->ticket = ticket;
        if (!extension_fits(taking, &r->uses[i], more))
            return false;
        counter->pending = add_capped(counter->pending, more);
    }
    for (size_t i = 0; i < r->use_count; i++)
        if (r->uses[i].limit->kind == kind && !r->uses[i].settled)
            use_extend(taking, &r->uses[i], more);
    return true;
}

static bool extend_in(struct taking *taking, enum limit_kind kind, int64_t more)
{
    struct reservation *r = taking->r;
    if (!r->live || r->use_count == 0 || more <= 0)
        return true;
    if (more > METER_WANT_MAX)
        return false;
    taking->place.shard = place_of_all(taking->meter, r).shard;
    taking->now_us = meter_now_us(taking->meter);
    bool held = extend_locked(taking, kind, more);
    shard_unlock(taking->place.shard);
    return held;
}

bool meter_extend(struct meter *meter, struct reservation *r, enum limit_kind kind, int64_t more)
{
    enum take_mode mode = meter->shared ? TAKE_GRANTED : TAKE_OWN;
    struct taking taking = {.meter = meter, .r = r, .mode = mode};
    return extend_in(&taking, kind, more);
}

bool meter_extend_away(struct meter *meter, struct reservation *r, enum limit_kind kind,
                       int64_t more, unsigned replicas)
{
    struct taking taking = {.meter = meter, .r = r, .mode = TAKE_AWAY, .replicas = replicas};
    return extend_in(&taking, kind, more);
}

void meter_extend_told(struct meter *meter, struct reservation *r, enum limit_kind kind,
                       int64_t more)
{
    struct taking taking = {.meter = meter, .r = r, .mode = TAKE_TOLD};
    extend_in(&taking, kind, more);
}

/* What is left, for whoever is told. */
static void counter_see(const struct meter *meter, const struct counter *counter, int64_t now_us,
                        struct limit_view *view)
{
    int64_t left = counter->amount - counter->sum, over = -left;
    if (meter->shared && counter->demand->known) {
        int64_t theirs = counter->demand->left, free = counter_free(counter, counter->current);
        left = add_capped(theirs > 0 ? theirs : 0, free);
        over = theirs < 0 ? -theirs - free : 0;
    }
    if (counter->pace && counter->pace->level < left)
        left = counter->pace->level;
    *view = (struct limit_view){
        .amount = counter->amount,
        .left = left > 0 ? left : 0,
        .reset_us = counter_reset(counter, now_us),
        .over = over > 0 ? (uint64_t)over : 0,
        .known = !meter->shared || counter->demand->known,
    };
}

/* -------------------------------------------------------------------------------- settling */

static int64_t sane(int64_t used)
{
    if (used < 0)
        return 0;
    return used < METER_WANT_MAX ? used : METER_WANT_MAX;
}

static int64_t use_actual(const struct use *use, const struct used *used)
{
    switch (use->limit->kind) {
    case LIMIT_REQUESTS:
        if (used->requests > 0 && used->requests < use->held)
            return used->sent ? used->requests : 0;
        return used->sent ? use->held : 0;
    case LIMIT_INPUT_TOKENS:
        return sane(used->input_tokens);
    case LIMIT_OUTPUT_TOKENS:
        return sane(used->output_tokens);
    case LIMIT_TOKENS:
        return sane(used->input_tokens) + sane(used->output_tokens);
    case LIMIT_MONEY:
        return sane(used->cost_nanos);
    case LIMIT_CONCURRENT:
    case LIMIT_KINDS:
        break;
    }
    return 0;
}

/* The slot that a difference belongs in; NULL when it counts nowhere any more. */
static struct slot *settle_slot(struct counter *counter, const struct use *use, int64_t more)
{
    if (counter->turn != use->turn)
        return more > 0 ? counter_open(counter, counter->current) : NULL;
    if (more > 0 && counter->period == PERIOD_ROLLING)
        return counter_open(counter, counter->current);
    return counter_find(counter, use->slot);
}

static bool use_settle(const struct meter *meter, struct use *use, const struct used *used,
                       int64_t now_us)
{
    struct counter *counter = use->at;
    bool given = false;
    counter_turn(counter, meter, now_us);
    int64_t more = use_actual(use, used) - use->held;
    if (more < use->fixed - use->held)
        more = use->fixed - use->held;
    struct slot *slot = more != 0 ? settle_slot(counter, use, more) : NULL;
    if (slot) {
        counter_add(counter, slot, more);
        if (meter->shared) {
            given = counter_give(counter, slot) || (more < 0 && counter_is_scarce(counter, now_us));
            counter_watch(counter, slot);
        }
    }
    pace_take(counter, more);
    counter->held -= use->held;
    counter->pins--;
    use->settled = true;
    counter_see(meter, counter, now_us, &use->view);
    return given;
}

/* Settle each use by each[i * step]. */
static bool settle(struct meter *meter, struct reservation *r, const struct used *each, size_t step)
{
    bool given = false;
    if (!r->live)
        return false;
    struct shard *shard = place_of_all(meter, r).shard;
    r->live = false;
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < r->use_count; i++)
        if (!r->uses[i].settled)
            given |= use_settle(meter, &r->uses[i], &each[i * step], now);
    shard->live--;
    shard_unlock(shard);
    return given;
}

bool meter_settle(struct meter *meter, struct reservation *r, const struct used *used)
{
    return settle(meter, r, used, 0);
}

bool meter_settle_each(struct meter *meter, struct reservation *r, const struct used *each)
{
    return settle(meter, r, each, 1);
}

void meter_hand_over(struct meter *meter, struct reservation *from, struct reservation *to)
{
    struct place place = place_of_all(meter, from);
    int64_t now = meter_now_us(meter);
    assert(from->live && !to->live);
    to->use_count = 0;
    for (size_t i = 0; i < from->use_count; i++) {
        struct use *use = &from->uses[i];
        if (use->settled || use->limit->kind == LIMIT_CONCURRENT)
            continue;
        to->uses[to->use_count++] = *use;
        counter_turn(use->at, meter, now);
        use->settled = true;
        counter_see(meter, use->at, now, &use->view);
    }
    to->live = true;
    place.shard->live++;
    shard_unlock(place.shard);
}

/* ---------------------------------------------------------------------------------- viewing */

static void use_see(const struct meter *meter, const struct place *place, const struct use *use,
                    bool live, int64_t now_us, struct limit_view *view)
{
    struct counter *counter = live ? use->at : counter_lookup(place, use->counter);
    if (!counter) {
        *view = (struct limit_view){.amount = use->limit->amount, .left = use->limit->amount};
        return;
    }
    counter_turn(counter, meter, now_us);
    counter_see(meter, counter, now_us, view);
}

void meter_view(struct meter *meter, const struct reservation *r, size_t use,
                struct limit_view *view)
{
    const struct use *asked = &r->uses[use];
    if (asked->settled) {
        *view = asked->view;
        return;
    }
    struct place place = place_of_all(meter, r);
    use_see(meter, &place, asked, r->live, meter_now_us(meter), view);
    shard_unlock(place.shard);
}

void meter_views(struct meter *meter, const struct reservation *r, uint64_t which,
                 struct limit_view *views)
{
    for (uint64_t left = which; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (!r->uses[i].settled)
            continue;
        views[i] = r->uses[i].view;
        which &= ~(UINT64_C(1) << i);
    }
    if (!which)
        return;
    struct place place = place_of_all(meter, r);
    int64_t now = meter_now_us(meter);
    for (uint64_t left = which; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        use_see(meter, &place, &r->uses[i], r->live, now, &views[i]);
    }
    shard_unlock(place.shard);
}

/* -------------------------------------------------------------------------------- peeking */

static void peek_blank(const struct use *use, struct limit_peek *peek)
{
    const struct limit *limit = use->limit;
    bool fits = limit->exceeded != EXCEEDED_REJECT || use_least(use) <= limit->amount;
    *peek = (struct limit_peek){.left = limit->amount, .wait_us = fits ? 0 : INT64_MAX};
}

/* As take_all() would find it, if it were the only use of its counter. */
static void peek_one(const struct taking *taking, const struct use *asked, struct limit_peek *peek)
{
    struct use use = *asked;
    struct counter *counter = counter_lookup(&taking->place, use.counter);
    if (!counter) {
        peek_blank(&use, peek);
        return;
    }
    counter_turn(counter, taking->meter, taking->now_us);
    use.at = counter;
    int64_t left = counter->amount - counter->sum;
    bool fits = is_soft(counter) || (use.want <= METER_WANT_MAX && left >= use_least(&use) &&
                                     pace_allows(counter, use.want));
    *peek = (struct limit_peek){
        .used = counter->sum,
        .left = left > 0 ? left : 0,
        .wait_us = fits ? 0 : use_wait(taking, &use),
        .reset_us = counter_reset(counter, taking->now_us),
        .slot = counter->current,
    };
}

void meter_peek(struct meter *meter, const struct reservation *r, struct limit_peek *peeks)
{
    struct taking taking = {.meter = meter, .mode = TAKE_OWN, .replicas = 1};
    taking.place = place_lock(meter, r->root);
    taking.now_us = meter_now_us(meter);
    for (size_t i = 0; i < r->use_count; i++) {
        peek_one(&taking, &r->uses[i], &peeks[i]);
        peeks[i].known = !meter->shared;
    }
    shard_unlock(taking.place.shard);
}

/* ------------------------------------------------------------------------------- rebuilding */

/* The slot of <at_us>; -1: of a calendar span that has ended. */
static int64_t rebuild_slot(const struct counter *counter, int64_t at_us)
{
    if (counter->period == PERIOD_ROLLING)
        return at_us / counter->slot_us < counter->current ? at_us / counter->slot_us
                                                           : counter->current;
    return at_us < counter->current ? -1 : counter->current;
}

static void use_rebuild(struct meter *meter, const struct place *place, const struct use *use,
                        int64_t at_us, int64_t now_us)
{
    struct counter *counter = NULL;
    if (use->limit->period != PERIOD_NONE && use->want > 0)
        counter = counter_get(meter, place, use, now_us);
    if (!counter)
        return;
    int64_t number = rebuild_slot(counter, at_us);
    struct slot *slot = number < 0 ? NULL : counter_open(counter, number);
    if (!slot)
        return;
    counter_add(counter, slot, sane(use->want));
    if (meter->shared)
        counter_watch(counter, slot);
}

int64_t meter_settled(struct meter *meter, struct text root, struct text id)
{
    struct place place = place_lock(meter, root);
    struct counter *counter = counter_lookup(&place, id);
    int64_t settled = -1;
    if (counter) {
        counter_turn(counter, meter, meter_now_us(meter));
        settled = counter->sum - (counter->held < counter->sum ? counter->held : counter->sum);
    }
    shard_unlock(place.shard);
    return settled;
}

bool meter_is_told(struct meter *meter, struct text root, struct text counter)
{
    struct place place = place_lock(meter, root);
    const struct counter *at = counter_lookup(&place, counter);
    bool told = true;
    for (size_t i = 0; at && i < at->count; i++)
        told = told && at->slots[i].told >= at->slots[i].used;
    shard_unlock(place.shard);
    return told;
}

void meter_rebuild(struct meter *meter, struct text root, const struct use *uses, size_t count,
                   int64_t at_us)
{
    struct place place = place_lock(meter, root);
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < count; i++)
        use_rebuild(meter, &place, &uses[i], at_us, now);
    shard_unlock(place.shard);
}

/* Held by what goes on since <at_us>: where it is counted is where it goes back from. */
static void use_rebuild_held(struct meter *meter, const struct place *place, struct use *use,
                             int64_t at_us, int64_t now_us)
{
    struct counter *counter = counter_get(meter, place, use, now_us);
    use->settled = counter == NULL; /* too many: it counts nowhere */
    if (!counter) {
        use->view = (struct limit_view){.amount = use->limit->amount, .left = use->limit->amount};
        return;
    }
    use->at = counter;
    use->slot = rebuild_slot(counter, at_us);
    use->held = sane(use->want);
    use->fixed = 0;
    use->turn = counter->turn;
    counter->pins++;
    counter->held = add_capped(counter->held, use->held);
    struct slot *slot = use->slot >= 0 ? counter_open(counter, use->slot) : NULL;
    if (!slot)
        return;
    counter_add(counter, slot, use->held);
    if (meter->shared)
        counter_watch(counter, slot);
}

void meter_rebuild_held(struct meter *meter, struct reservation *r, int64_t at_us)
{
    struct place place = place_lock(meter, r->root);
    int64_t now = meter_now_us(meter);
    for (size_t i = 0; i < r->use_count; i++)
        use_rebuild_held(meter, &place, &r->uses[i], at_us, now);
    r->live = true;
    place.shard->live++;
    shard_unlock(place.shard);
}
