/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With a shared store: what this node has claimed of each slot, and what of that the store has
 * still to be told.
 */
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/meter_inside.h"

enum {
    SECOND_US = 1000000,
    VISITS_LOCKED = 1024,            /* counters looked at under one lock */
    SHORT_WINDOW_US = 5 * SECOND_US, /* hardly longer than what is told ten times a second */
    AHEAD_US = SECOND_US / 5,        /* until who asked for it has come */
    SCARCE_PART = 16,
    KEEP_MARGIN_US = 60 * SECOND_US, /* of calendar spans, for late settles */
};

/* ---------------------------------------------------------------------------------- demand */

static void demand_turn(struct demand *demand, int64_t now_us)
{
    int64_t second = now_us / SECOND_US;
    if (second == demand->second)
        return;
    demand->before = second == demand->second + 1 ? demand->now : 0;
    demand->now = 0;
    demand->second = second;
}

void demand_count(struct counter *counter, int64_t held, int64_t now_us)
{
    demand_turn(counter->demand, now_us);
    counter->demand->now = add_capped(counter->demand->now, held);
}

int64_t demand_rate(const struct counter *counter, int64_t now_us)
{
    demand_turn(counter->demand, now_us);
    const struct demand *demand = counter->demand;
    return demand->now > demand->before ? demand->now : demand->before;
}

int64_t demand_keep(const struct counter *counter, int64_t now_us)
{
    int64_t rate = demand_rate(counter, now_us);
    if (counter->period != PERIOD_NONE)
        return rate;
    /* Calls that end make room for those that begin: a few spare ones are enough. */
    int64_t spare = counter->sum / 4 + 2;
    return rate < spare ? rate : spare;
}

/* ---------------------------------------------------------------------------------- claims */

int64_t counter_free(const struct counter *counter, int64_t number)
{
    const struct slot *slot = counter_find(counter, number);
    return slot && slot->claimed > slot->used ? slot->claimed - slot->used : 0;
}

void demand_expect(struct counter *counter, int64_t now_us)
{
    counter->demand->ahead = counter_free(counter, counter->current);
    counter->demand->ahead_us = now_us;
}

static bool slot_is_quiet(const struct counter *counter, const struct slot *slot)
{
    if (counter->period == PERIOD_NONE && slot->claimed > 0)
        return false;
    return slot->claimed == slot->used && slot->claimed == slot->told + slot->sent;
}

void counter_watch(struct counter *counter, struct slot *slot)
{
    if (slot->claimed < slot->used)
        slot->claimed = slot->used;
    if (!slot_is_quiet(counter, slot) && list_is_empty(&counter->watched))
        list_push_back(&counter->root->watched, &counter->watched);
}

bool counter_is_scarce(const struct counter *counter, int64_t now_us)
{
    const struct demand *demand = counter->demand;
    return counter->period == PERIOD_ROLLING && counter->window_us <= SHORT_WINDOW_US &&
           demand->known && demand->left < counter->amount / SCARCE_PART &&
           now_us - demand->heard_us < counter->window_us;
}

/* What should be claimed of it: in the current slot a slice for the calls to come. */
static void slot_settle_claim(const struct counter *counter, struct slot *slot, int64_t now_us)
{
    const struct demand *demand = counter->demand;
    int64_t unused = slot->claimed - slot->used;
    int64_t keep = slot->number == counter->current ? demand_keep(counter, now_us) : 0;
    /* Where little is left, others may need it now. */
    if (demand->known && keep > demand->left)
        keep = demand->left > 0 ? demand->left : 0;
    if (slot->number == counter->current && keep < demand->ahead &&
        now_us - demand->ahead_us < AHEAD_US)
        keep = demand->ahead;
    if (counter_is_scarce(counter, now_us))
        keep = 0;
    if (unused > keep)
        slot->claimed = slot->used + keep;
}

static int64_t slot_keep_us(const struct counter *counter, const struct slot *slot, int64_t now_us)
{
    int64_t gone = counter_slot_gone(counter, slot->number);
    if (gone == INT64_MAX)
        return INT64_MAX;
    int64_t margin = counter->period == PERIOD_ROLLING ? 0 : KEEP_MARGIN_US;
    int64_t left = gone - counter_clock(counter, now_us);
    return left > 0 ? left + margin : margin;
}

static struct meter_change slot_change(const struct counter *counter, const struct slot *slot,
                                       int64_t now_us)
{
    return (struct meter_change){
        .root = root_name(counter->root),
        .counter = counter_id(counter),
        .kind = (enum limit_kind)counter->kind,
        .period = (enum limit_period)counter->period,
        .slot = slot->number,
        .slot_us = counter->period == PERIOD_ROLLING ? counter->slot_us : 0,
        .end_us = counter_slot_end(counter, slot->number),
        .delta = slot->claimed - slot->told - slot->sent,
        .claimed = slot->claimed,
        .keep_us = slot_keep_us(counter, slot, now_us),
        .round = counter->root->round,
    };
}

/* --------------------------------------------------------------------------------- changes */

struct gathering {
    struct meter *meter;
    struct meter_change *changes;
    size_t count, max;
    size_t visits;
    int64_t now_us;
    bool hurry; /* only what there is to tell */
};

/* Parallel calls may last long, and nothing changes meanwhile. */
static bool is_alive_due(const struct counter *counter, int64_t now_us)
{
    return counter->period == PERIOD_NONE && counter->slots[0].claimed > 0 &&
           now_us - counter->demand->alive_us >= METER_ALIVE_US;
}

/* A node that always has calls to make would keep what it has claimed for ever, and others would
 * get nothing. So some of it goes back as its calls end, unless there was plenty for all just now.
 */
static void set_give(const struct counter *counter)
{
    enum { PART = 8 };
    struct demand *demand = counter->demand;
    const struct slot *slot = counter_find(counter, 0);
    if (counter->period != PERIOD_NONE || !slot)
        return;
    bool plenty = demand->known && demand->left >= slot->claimed &&
                  counter->touched_us - demand->heard_us < SECOND_US;
    demand->give = plenty ? 0 : (slot->claimed + PART - 1) / PART;
}

bool counter_give(struct counter *counter, struct slot *slot)
{
    int64_t unused = slot->claimed - slot->used, *give = &counter->demand->give;
    int64_t back = unused < *give ? unused : *give;
    if (counter->period != PERIOD_NONE || back <= 0)
        return false;
    slot->claimed -= back;
    *give -= back;
    return true;
}

/* False: no room for all changes of it. */
static bool counter_gather(struct gathering *gathering, struct counter *counter)
{
    counter_turn(counter, gathering->meter, gathering->now_us);
    bool quiet = true, alive = counter->count > 0 && is_alive_due(counter, gathering->now_us);
    if (!gathering->hurry)
        set_give(counter);
    for (size_t i = 0; i < counter->count; i++) {
        struct slot *slot = &counter->slots[i];
        slot_settle_claim(counter, slot, gathering->now_us);
        if (alive || slot->claimed != slot->told + slot->sent) {
            if (gathering->count == gathering->max)
                return false;
            struct meter_change change = slot_change(counter, slot, gathering->now_us);
            gathering->changes[gathering->count++] = change;
            slot->sent += change.delta;
            counter->demand->alive_us = gathering->now_us;
        }
        quiet = quiet && slot_is_quiet(counter, slot);
    }
    if (quiet)
        list_remove(&counter->watched);
    return true;
}

/* Look at the root's counters that are watched, each once in a pass; true when all were. */
static bool root_gather(struct gathering *gathering, struct root *root, unsigned pass)
{
    while (!list_is_empty(&root->watched)) {
        struct counter *counter = LIST_MEMBER(root->watched.next, struct counter, watched);
        if (counter->passed == pass)
            return true;
        if (gathering->visits == VISITS_LOCKED)
            return false;
        gathering->visits++;
        if (counter->sure == root->round && !counter_gather(gathering, counter))
            return false;
        counter->passed = pass;
        if (!list_is_empty(&counter->watched)) {
            list_remove(&counter->watched);
            list_push_back(&root->watched, &counter->watched);
        }
    }
    return true;
}

/* True when the shard has been seen to its end; else either something was gathered, or it is only
 * time to let others have the lock. */
static bool shard_gather(struct gathering *gathering, struct shard *shard, unsigned pass)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&shard->roots, &at, &name, &value)) {
        struct root *root = value;
        if (root->passed == pass || root->doubtful)
            continue;
        if (root_gather(gathering, root, pass))
            root->passed = pass;
        if (gathering->count > 0 || gathering->visits == VISITS_LOCKED)
            return false;
    }
    return true;
}

static void changes_in_pass(struct gathering *gathering)
{
    struct meter *meter = gathering->meter;
    while (meter->pass_shard < METER_SHARDS && gathering->count == 0) {
        struct shard *shard = &meter->shards[meter->pass_shard];
        shard_lock(shard);
        gathering->now_us = meter_now_us(meter);
        gathering->visits = 0;
        if (shard_gather(gathering, shard, meter->pass))
            meter->pass_shard++;
        shard_unlock(shard);
    }
}

size_t meter_root_changes(struct meter *meter, struct text name, struct meter_change *changes,
                          size_t max)
{
    struct gathering gathering = {.meter = meter, .changes = changes, .max = max, .hurry = true};
    pthread_mutex_lock(&meter->pass_lock);
    struct place place = place_lock(meter, name);
    struct root *root = table_find(&place.shard->roots, name);
    gathering.now_us = meter_now_us(meter);
    struct link *at = root && !root->doubtful ? root->watched.next : NULL;
    for (struct link *next; at && at != &root->watched; at = next) {
        struct counter *counter = LIST_MEMBER(at, struct counter, watched);
        next = at->next;
        if (gathering.visits++ == VISITS_LOCKED)
            break;
        if (counter->sure == root->round && !counter_gather(&gathering, counter))
            break;
    }
    shard_unlock(place.shard);
    pthread_mutex_unlock(&meter->pass_lock);
    return gathering.count;
}

size_t meter_changes(struct meter *meter, struct meter_change *changes, size_t max)
{
    struct gathering gathering = {.meter = meter, .changes = changes, .max = max};
    if (max == 0)
        return 0;
    pthread_mutex_lock(&meter->pass_lock);
    if (meter->pass_shard >= METER_SHARDS) {
        meter->pass_shard = 0;
        meter->pass++;
    }
    changes_in_pass(&gathering);
    pthread_mutex_unlock(&meter->pass_lock);
    return gathering.count;
}

/* ------------------------------------------------------------------------- told and untold */

static struct slot *change_slot(const struct place *place, const struct meter_change *change)
{
    struct counter *counter = counter_lookup(place, change->counter);
    if (!counter || counter->root->round != change->round)
        return NULL;
    return counter_find(counter, change->slot);
}

void meter_told(struct meter *meter, const struct meter_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct place place = place_lock(meter, changes[i].root);
        struct slot *slot = change_slot(&place, &changes[i]);
        if (slot) {
            slot->told += changes[i].delta;
            slot->sent -= changes[i].delta;
        }
        shard_unlock(place.shard);
    }
}

void meter_doubt(struct meter *meter, struct text root)
{
    struct place place = place_lock(meter, root);
    struct root *found = table_find(&place.shard->roots, root);
    if (found)
        found->doubtful = true;
    shard_unlock(place.shard);
}

void meter_untold(struct meter *meter, const struct meter_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct place place = place_lock(meter, changes[i].root);
        struct root *root = table_find(&place.shard->roots, changes[i].root);
        if (root && root->round == changes[i].round)
            root->doubtful = true;
        shard_unlock(place.shard);
    }
}

/* ------------------------------------------------------------------------------- asserting */

static bool has_claims(struct counter *counter, const struct meter *meter, int64_t now_us)
{
    counter_turn(counter, meter, now_us);
    for (size_t i = 0; i < counter->count; i++)
        if (counter->slots[i].claimed > 0 || counter->slots[i].used > 0)
            return true;
    return false;
}

bool meter_assert(struct meter *meter, struct text root, unsigned round)
{
    struct place place = place_lock(meter, root);
    struct root *found = root_get(&place);
    int64_t now = meter_now_us(meter);
    bool some = false;
    found->round = round;
    found->doubtful = found->asserting = true;
    list_append(&found->unsaid, &found->counters);
    for (struct link *at = found->unsaid.next; at != &found->unsaid && !some; at = at->next)
        some = has_claims(LIST_MEMBER(at, struct counter, sibling), meter, now);
    shard_unlock(place.shard);
    return some;
}

void meter_begun(struct meter *meter, struct text root)
{
    struct place place = place_lock(meter, root);
    root_get(&place)->doubtful = false;
    shard_unlock(place.shard);
}

void meter_trust(struct meter *meter, struct text root)
{
    struct place place = place_lock(meter, root);
    root_get(&place)->asserting = false;
    shard_unlock(place.shard);
}

bool slot_is_had(const struct slot *slot)
{
    return slot->told + (slot->sent < 0 ? slot->sent : 0) > 0;
}

static void counter_say(struct counter *counter, const struct meter *meter, meter_see *see,
                        void *with)
{
    int64_t now = meter_now_us(meter);
    counter_turn(counter, meter, now);
    list_remove(&counter->sibling);
    list_push_back(&counter->root->counters, &counter->sibling);
    bool sure = counter->said == counter->sure; /* else nobody knows what it has been told */
    counter->said = counter->root->round;
    if (counter->count == 0)
        counter->sure = counter->said;
    for (size_t i = 0; i < counter->count; i++) {
        struct slot *slot = &counter->slots[i];
        bool had = sure && slot_is_had(slot);
        slot_settle_claim(counter, slot, now);
        slot->told = slot->claimed;
        slot->sent = 0;
        struct meter_change claim = slot_change(counter, slot, now);
        claim.had = had;
        see(with, &claim);
        counter_watch(counter, slot);
    }
}

bool meter_claims(struct meter *meter, struct text root, size_t counters, size_t claims,
                  meter_see *see, void *with)
{
    struct place place = place_lock(meter, root);
    struct root *found = root_get(&place);
    size_t given = 0;
    for (size_t i = 0; i < counters && given < claims && !list_is_empty(&found->unsaid); i++) {
        struct counter *counter = LIST_MEMBER(found->unsaid.next, struct counter, sibling);
        counter_say(counter, meter, see, with);
        given += counter->count;
    }
    bool more = !list_is_empty(&found->unsaid);
    shard_unlock(place.shard);
    return more;
}

enum meter_claimed meter_claims_of(struct meter *meter, const struct reservation *r, meter_see *see,
                                   void *with)
{
    enum meter_claimed result = METER_SURE;
    struct place place = place_lock(meter, r->root);
    for (size_t i = 0; i < r->use_count; i++) {
        struct counter *counter = counter_lookup(&place, r->uses[i].counter);
        if (!counter || counter->sure == counter->root->round)
            continue;
        if (counter->said == counter->root->round) {
            result = result == METER_CLAIMED ? result : METER_SAID;
            continue;
        }
        if (!see) {
            result = METER_CLAIMED;
            continue;
        }
        counter_say(counter, meter, see, with);
        if (counter->count > 0)
            result = METER_CLAIMED;
    }
    shard_unlock(place.shard);
    return result;
}

void meter_assure(struct meter *meter, struct text root, struct text counter, unsigned round)
{
    struct place place = place_lock(meter, root);
    struct counter *found = counter_lookup(&place, counter);
    if (found && found->said == round)
        found->sure = round;
    shard_unlock(place.shard);
}

static size_t shard_roots(struct shard *shard, char ***names)
{
    size_t count = 0, at = 0;
    struct text name;
    void *root;
    shard_lock(shard);
    *names = memory_new((shard->roots.count + 1) * sizeof(char *));
    while (table_next(&shard->roots, &at, &name, &root))
        if (((const struct root *)root)->count > 0)
            (*names)[count++] = memory_string(name);
    shard_unlock(shard);
    return count;
}

void meter_roots(struct meter *meter, void (*see)(void *with, struct text root), void *with)
{
    for (size_t i = 0; i < METER_SHARDS; i++) {
        char **names;
        size_t count = shard_roots(&meter->shards[i], &names);
        for (size_t n = 0; n < count; n++) {
            see(with, text_of(names[n]));
            memory_free(names[n]);
        }
        memory_free(names);
    }
}
