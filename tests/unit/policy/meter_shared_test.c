/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four nodes and a store between which messages take their time and get lost: together the nodes
 * let in no more than the amount in any stretch, and in the end the store knows what was used.
 *
 * The store here is a table that does in C what the script does in Redis: node's parts by counter
 * and slot, their sum against the amount.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "tests/unit/policy/meter_cases.h"

enum {
    NODES = 4,
    COUNTERS = 4,
    ENTRIES = 2000,
    CALLS = 40, /* of one node at a time */
    CHANGES = 64,
    CLAIMS = COUNTERS * (METER_SLOTS + 2), /* of one piece of an assertion */
    LETTERS = 4000,
    STEP_US = 1000,
    REPORT_STEPS = 100,
    EVENTS = 400000,
};

static const char *const ids[COUNTERS] = {"window", "calls", "day", "month"};

struct entry {
    int counter;
    int64_t slot;
    int64_t parts[NODES];
};

/* On its way to the store until <there>, and back until <back>. */
struct letter {
    int64_t there, back;
    int node;
    bool done;
    struct call *call; /* a question; NULL = changes, */
    bool claims;       /* or claims */
    enum reserve_result result;
    struct meter_lack lacks[COUNTERS];
    struct meter_grant grants[COUNTERS];
    struct meter_change changes[CLAIMS];
    size_t change_count;
};

struct node {
    struct meter *meter;
    bool up;
    int64_t up_at;
    /* what is claimed is told piece by piece, and meanwhile calls are let in */
    unsigned round;
    bool asserting, all_said;
    int pieces; /* under way */
    struct call calls[CALLS];
    int64_t ends[CALLS]; /* 0 = free, -1 = waits */
    size_t event_of[CALLS];
};

struct event {
    int64_t at, tokens, nanos;
};

struct world {
    uint64_t random;
    int64_t now;
    struct limit limits[COUNTERS];
    struct node nodes[NODES];
    struct entry entries[ENTRIES];
    size_t entry_count;
    struct letter *letters[LETTERS];
    size_t letter_count;
    struct event *events;
    size_t event_count, first; /* <first>: still inside the window */
    int64_t window_sum, running, spent;
    int64_t admitted, refused, asked, calls;
    int64_t asked_early; /* by nodes that had not told all yet */
    bool lossy;
    bool patient; /* calls last no time */
};

static int64_t between(struct world *world, int64_t least, int64_t most)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    uint64_t random = world->random * UINT64_C(0x2545f4914f6cdd1d);
    return least + (int64_t)(random % (uint64_t)(most - least + 1));
}

/* -------------------------------------------------------------------------------- the store */

static int counter_index(struct text id)
{
    for (int i = 0; i < COUNTERS; i++)
        if (text_equal(id, text_of(ids[i])))
            return i;
    fail();
    return 0;
}

static int64_t slot_length(const struct world *world)
{
    return (world->limits[0].window_us + METER_SLOTS - 1) / METER_SLOTS;
}

static bool entry_counts(const struct entry *entry, int64_t slot)
{
    if (entry->counter == 0)
        return entry->slot >= slot - METER_SLOTS;
    return entry->slot == slot;
}

static int64_t store_sum(const struct world *world, int counter, int64_t slot)
{
    int64_t sum = 0;
    for (size_t i = 0; i < world->entry_count; i++)
        if (world->entries[i].counter == counter && entry_counts(&world->entries[i], slot))
            for (int node = 0; node < NODES; node++)
                sum += world->entries[i].parts[node];
    return sum;
}

/* Forget what counts no more. */
static void store_prune(struct world *world)
{
    int64_t slot = world->now / slot_length(world);
    size_t kept = 0;
    for (size_t i = 0; i < world->entry_count; i++)
        if (world->entries[i].counter != 0 || entry_counts(&world->entries[i], slot))
            world->entries[kept++] = world->entries[i];
    world->entry_count = kept;
}

static int64_t *store_part(struct world *world, int counter, int64_t slot, int node)
{
    for (size_t i = 0; i < world->entry_count; i++)
        if (world->entries[i].counter == counter && world->entries[i].slot == slot)
            return &world->entries[i].parts[node];
    assert_true(world->entry_count < ENTRIES);
    struct entry *entry = &world->entries[world->entry_count++];
    *entry = (struct entry){.counter = counter, .slot = slot};
    return &entry->parts[node];
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The script: all or nothing, and a slice ahead where there is plenty. */
static void store_ask(struct world *world, struct letter *letter)
{
    const struct call *call = letter->call;
    int64_t room[COUNTERS];
    for (size_t i = 0; i < call->r.use_count; i++) {
        const struct use *use = &call->uses[i];
        int64_t slot = i == 0 ? world->now / slot_length(world) : letter->lacks[i].slot;
        letter->grants[i].slot = slot;
        room[i] = use->limit->amount - store_sum(world, (int)i, slot);
        if (letter->lacks[i].lack - (use->want - use->least) > (room[i] > 0 ? room[i] : 0)) {
            letter->result = RESERVE_REFUSED;
            return;
        }
    }
    letter->result = RESERVE_GRANTED;
    for (size_t i = 0; i < call->r.use_count; i++) {
        struct meter_grant *grant = &letter->grants[i];
        grant->granted = at_most(letter->lacks[i].lack, room[i] > 0 ? room[i] : 0);
        int64_t spare = (room[i] - grant->granted) / 2 / NODES;
        grant->granted += at_most(letter->lacks[i].more, spare > 0 ? spare : 0);
        grant->left = room[i] - grant->granted;
        *store_part(world, (int)i, grant->slot, letter->node) += grant->granted;
    }
}

static bool is_claimed(const struct letter *letter, int counter, int64_t slot, bool any)
{
    for (size_t i = 0; i < letter->change_count; i++)
        if (counter_index(letter->changes[i].counter) == counter &&
            (any || letter->changes[i].slot == slot))
            return true;
    return false;
}

/* What is not said of a counter is not claimed. */
static void store_believe(struct world *world, const struct letter *letter)
{
    for (size_t i = 0; i < world->entry_count; i++) {
        struct entry *entry = &world->entries[i];
        if (is_claimed(letter, entry->counter, 0, true) &&
            !is_claimed(letter, entry->counter, entry->slot, false))
            entry->parts[letter->node] = 0;
    }
    for (size_t i = 0; i < letter->change_count; i++)
        *store_part(world, counter_index(letter->changes[i].counter), letter->changes[i].slot,
                    letter->node) = letter->changes[i].claimed;
}

static void store_hear(struct world *world, struct letter *letter)
{
    if (letter->call) {
        store_ask(world, letter);
        return;
    }
    if (letter->claims) {
        store_believe(world, letter);
        return;
    }
    for (size_t i = 0; i < letter->change_count; i++) {
        const struct meter_change *change = &letter->changes[i];
        *store_part(world, counter_index(change->counter), change->slot, letter->node) +=
            change->delta;
    }
}

/* -------------------------------------------------------------------------------- the nodes */

static struct letter *letter_new(struct world *world, int node, struct call *call)
{
    assert_true(world->letter_count < LETTERS);
    struct letter *letter = memory_new(sizeof(*letter));
    letter->node = node;
    letter->call = call;
    letter->there = world->now + between(world, 0, 8) * STEP_US / 2;
    letter->back = letter->there + between(world, 0, 8) * STEP_US / 2;
    world->letters[world->letter_count++] = letter;
    return letter;
}

/* What everybody sees from outside. */
static void admitted(struct world *world, int node, size_t place)
{
    struct node *at = &world->nodes[node];
    const struct call *call = &at->calls[place];
    assert_true(world->event_count < EVENTS);
    at->event_of[place] = world->event_count;
    at->ends[place] = world->now + (world->patient ? 0 : between(world, 0, 400) * STEP_US);
    world->events[world->event_count++] =
        (struct event){world->now, call->uses[0].held, call->uses[2].held};
    world->window_sum += call->uses[0].held;
    world->running++;
    world->admitted += call->uses[0].held;
    world->spent += call->uses[2].held;
    while (world->events[world->first].at <= world->now - world->limits[0].window_us)
        world->window_sum -= world->events[world->first++].tokens;
    assert_true(world->window_sum <= world->limits[0].amount);
    assert_true(world->running <= world->limits[1].amount);
    assert_true(world->spent <= world->limits[2].amount);
    assert_true(world->spent <= world->limits[3].amount);
    assert_int_equal(call->uses[2].held, call->uses[3].held);
}

static void on_claim(void *with, const struct meter_change *claim)
{
    struct letter *letter = with;
    assert_true(letter->change_count < CLAIMS);
    letter->changes[letter->change_count++] = *claim;
}

/* The claims of the counters of <r>, or of the next one. */
static void node_tell(struct world *world, int node, const struct reservation *r)
{
    struct node *at = &world->nodes[node];
    struct letter *letter = letter_new(world, node, NULL);
    letter->claims = true;
    if (r) {
        enum meter_claimed seen = meter_claims_of(at->meter, r, NULL, NULL);
        enum meter_claimed said = meter_claims_of(at->meter, r, on_claim, letter);
        assert_true(letter->change_count == 0 || seen == METER_CLAIMED);
        assert_true(seen == said || (seen == METER_CLAIMED && letter->change_count == 0));
    } else {
        at->all_said = !meter_claims(at->meter, TEXT("acme"), 1, 1, on_claim, letter);
    }
    if (letter->change_count > 0) {
        at->pieces++;
        return;
    }
    world->letter_count--;
    memory_free(letter);
}

static void node_is_told(struct node *at, const struct letter *letter)
{
    for (size_t i = 0; i < letter->change_count; i++)
        meter_assure(at->meter, TEXT("acme"), letter->changes[i].counter, at->round);
    at->pieces--;
}

static void node_assert_on(struct world *world, int node)
{
    struct node *at = &world->nodes[node];
    if (!at->all_said && between(world, 0, 100) == 0)
        node_tell(world, node, NULL);
    if (!at->all_said || at->pieces > 0)
        return;
    meter_trust(at->meter, TEXT("acme"));
    at->asserting = false;
}

static void node_ask(struct world *world, int node, size_t place)
{
    struct node *at = &world->nodes[node];
    struct meter_lack lacks[COUNTERS];
    bool sure = true;
    meter_lacks(at->meter, &at->calls[place].r, lacks);
    for (int i = 0; i < COUNTERS; i++)
        sure = sure && lacks[i].sure == at->round;
    if (!sure) {
        node_tell(world, node, &at->calls[place].r);
        return;
    }
    struct letter *letter = letter_new(world, node, &at->calls[place]);
    memcpy(letter->lacks, lacks, sizeof(lacks));
    at->ends[place] = -1;
    world->asked++;
    world->asked_early += at->asserting;
}

static void node_call(struct world *world, int node, size_t place, int64_t tokens)
{
    struct node *at = &world->nodes[node];
    struct call *call = &at->calls[place];
    *call = (struct call){0};
    call_add(call, &world->limits[0], ids[0], tokens, tokens);
    call_add(call, &world->limits[1], ids[1], 1, 1);
    int64_t nanos = between(world, 1, 50);
    call_add(call, &world->limits[2], ids[2], nanos, 1 + nanos / 4);
    call_add(call, &world->limits[3], ids[3], nanos, 1 + nanos / 4);
    world->calls++;
    enum meter_result result = meter_take(at->meter, &call->r);
    assert_int_not_equal(result, METER_FULL);
    if (result == METER_TAKEN)
        admitted(world, node, place);
    else if (at->up)
        node_ask(world, node, place);
    else
        assert_int_equal(meter_take_away(at->meter, &call->r, NODES), METER_AWAY);
}

static void node_settle(struct world *world, struct node *at, size_t place)
{
    struct call *call = &at->calls[place];
    struct event *event = &world->events[at->event_of[place]];
    bool sent = between(world, 0, 9) > 0;
    int64_t least = world->limits[0].kind == LIMIT_REQUESTS ? event->tokens : 0;
    int64_t tokens = sent ? between(world, least, event->tokens) : 0;
    int64_t nanos = sent ? between(world, 0, event->nanos) : 0;
    if (at->event_of[place] >= world->first)
        world->window_sum += tokens - event->tokens;
    world->spent += nanos - event->nanos;
    event->tokens = tokens;
    event->nanos = nanos;
    world->running--;
    at->ends[place] = 0;
    meter_settle(at->meter, &call->r,
                 &(struct used){.sent = sent, .input_tokens = tokens, .cost_nanos = nanos});
}

static void node_report(struct world *world, int node)
{
    struct node *at = &world->nodes[node];
    for (;;) {
        struct meter_change changes[CHANGES];
        size_t count = meter_changes(at->meter, changes, CHANGES);
        if (count == 0)
            return;
        assert_true(at->up);
        struct letter *letter = letter_new(world, node, NULL);
        memcpy(letter->changes, changes, sizeof(changes));
        letter->change_count = count;
    }
}

/* ----------------------------------------------------------------------------- going wrong */

static void node_break(struct world *world, int node)
{
    struct node *at = &world->nodes[node];
    at->up = at->asserting = false;
    at->pieces = 0;
    at->up_at = world->now + between(world, 1, 300) * STEP_US;
    meter_doubt(at->meter, TEXT("acme"));
    for (size_t i = 0; i < world->letter_count; i++) {
        struct letter *letter = world->letters[i];
        if (letter->node != node)
            continue;
        letter->done = true;
        if (letter->call)
            at->ends[letter->call - at->calls] = 0;
        else if (!letter->claims)
            meter_untold(at->meter, letter->changes, letter->change_count);
    }
}

static void node_assert(struct world *world, int node)
{
    struct node *at = &world->nodes[node];
    store_prune(world);
    meter_assert(at->meter, TEXT("acme"), ++at->round);
    meter_begun(at->meter, TEXT("acme"));
    at->up = at->asserting = true;
    at->all_said = false;
}

/* ----------------------------------------------------------------------------------- a run */

static void world_begin(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->random = seed * 7919 + 1;
    world->now = START + between(world, 0, HOUR);
    world->events = memory_new(EVENTS * sizeof(struct event));
    world->limits[0] = rolling(LIMIT_TOKENS, between(world, 50, 2000), MINUTE);
    world->limits[1] = parallel(between(world, 2, 60));
    world->limits[2] = budget(between(world, 1000, 100000), PERIOD_DAY);
    world->limits[3] = budget(between(world, 1000, 100000), PERIOD_MONTH);
    for (int i = 0; i < COUNTERS; i++)
        world->limits[i].away = AWAY_CLOSED;
    for (int i = 0; i < NODES; i++) {
        world->nodes[i].meter = meter_new(true);
        world->nodes[i].up = true;
        meter_freeze(world->nodes[i].meter, world->now);
    }
}

static void letter_answer(struct world *world, struct letter *letter)
{
    struct node *at = &world->nodes[letter->node];
    if (letter->claims) {
        node_is_told(at, letter);
        return;
    }
    if (!letter->call) {
        meter_told(at->meter, letter->changes, letter->change_count);
        return;
    }
    size_t place = (size_t)(letter->call - at->calls);
    at->ends[place] = 0;
    if (letter->result == RESERVE_REFUSED) {
        world->refused++;
        return;
    }
    /* Now and then whoever asked has gone. */
    bool take = between(world, 0, 20) > 0;
    if (meter_grant(at->meter, &letter->call->r, letter->grants,
                    take ? METER_FOR_CALL : METER_FOR_NOBODY) == METER_TAKEN)
        admitted(world, letter->node, place);
}

static void letters_move(struct world *world)
{
    size_t kept = 0;
    for (size_t i = 0; i < world->letter_count; i++) {
        struct letter *letter = world->letters[i];
        if (!letter->done && letter->there >= 0 && letter->there <= world->now) {
            store_hear(world, letter);
            letter->there = -1;
        }
        if (!letter->done && letter->there < 0 && letter->back <= world->now) {
            letter_answer(world, letter);
            letter->done = true;
        }
        if (letter->done)
            memory_free(letter);
        else
            world->letters[kept++] = letter;
    }
    world->letter_count = kept;
}

static void nodes_settle(struct world *world)
{
    for (int i = 0; i < NODES; i++) {
        struct node *at = &world->nodes[i];
        for (size_t place = 0; place < CALLS; place++)
            if (at->ends[place] > 0 && at->ends[place] <= world->now)
                node_settle(world, at, place);
    }
}

static void world_tick(struct world *world, int64_t step)
{
    world->now += STEP_US;
    for (int i = 0; i < NODES; i++) {
        struct node *at = &world->nodes[i];
        meter_freeze(at->meter, world->now);
        if (world->lossy && at->up && between(world, 0, 3000) == 0)
            node_break(world, i);
        if (!at->up && at->up_at <= world->now)
            node_assert(world, i);
        if (at->asserting)
            node_assert_on(world, i);
        bool hurry = at->asserting && between(world, 0, 2) == 0;
        if ((hurry || step % REPORT_STEPS == i * 7) && at->up)
            node_report(world, i);
        if (step % 1000 == 999)
            meter_tidy(at->meter);
    }
    nodes_settle(world);
    letters_move(world);
    if (step % 500 == 0)
        store_prune(world);
}

static void world_calls(struct world *world, int64_t tokens_max)
{
    int node = (int)between(world, 0, NODES - 1);
    struct node *at = &world->nodes[node];
    for (size_t place = 0; place < CALLS; place++)
        if (at->ends[place] == 0) {
            node_call(world, node, place, between(world, 1, tokens_max));
            return;
        }
}

/* No calls any more: everything is settled, told, returned. */
static void world_calm(struct world *world)
{
    world->lossy = false;
    for (int64_t step = 0; step < 4000; step++)
        world_tick(world, step);
    assert_int_equal(world->running, 0);
    int64_t used[COUNTERS] = {0};
    for (int i = 0; i < NODES; i++)
        for (int c = 0; c < COUNTERS; c++)
            used[c] += used_of(world->nodes[i].meter, ids[c]);
    assert_int_equal(store_sum(world, 0, world->now / slot_length(world)), used[0]);
    assert_int_equal(store_sum(world, 1, 0), 0);
    int64_t begin, end;
    period_bounds(PERIOD_DAY, NULL, world->now, &begin, &end);
    assert_int_equal(store_sum(world, 2, begin), used[2]);
    period_bounds(PERIOD_MONTH, NULL, world->now, &begin, &end);
    assert_int_equal(store_sum(world, 3, begin), used[3]);
    assert_int_equal(used[3], world->spent);
}

static void world_end(struct world *world)
{
    for (size_t i = 0; i < world->letter_count; i++)
        memory_free(world->letters[i]);
    for (int i = 0; i < NODES; i++)
        meter_free(world->nodes[i].meter);
    memory_free(world->events);
}

static void run(uint64_t seed, bool lossy)
{
    static struct world world;
    world_begin(&world, seed);
    world.lossy = lossy;
    int64_t busy = 1;
    for (int64_t step = 0; step < 100000; step++) {
        world_tick(&world, step);
        if (step % 2000 == 0)
            busy = between(&world, 0, 3);
        for (int64_t i = 0; i < busy; i++)
            world_calls(&world, 1 + world.limits[0].amount / 20);
    }
    assert_true(world.event_count > 50);
    assert_true(!lossy || world.asked_early > 50);
    world_calm(&world);
    world_end(&world);
}

static void four_nodes_admit_no_more_than_the_amount(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed, false);
}

static void nor_when_messages_are_lost(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed, true);
}

/* Requests far beyond the amount, on all nodes. */
static void steady_load_gets_its_share_of_a_store(void **state)
{
    (void)state;
    static const int64_t amounts[] = {60, 600, 6000};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        static struct world world;
        world_begin(&world, seed);
        world.patient = true;
        world.limits[0] = rolling(LIMIT_REQUESTS, amounts[seed - 1], MINUTE);
        world.limits[1].amount = 1000;
        world.limits[2].amount = world.limits[3].amount = 1000000000;
        enum { MINUTES = 4 };
        for (int64_t step = 0; step < MINUTES * 60000; step++) {
            world_tick(&world, step);
            world_calls(&world, 1);
        }
        int64_t due = world.limits[0].amount * MINUTES;
        /* A tenth of the requests is not sent and comes back: others go in its place. */
        int64_t counted = 0;
        for (size_t i = 0; i < world.event_count; i++)
            counted += world.events[i].tokens > 0;
        assert_true(counted * 100 >= due * 95);
        assert_true(counted <= due + world.limits[0].amount);
        world_end(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_nodes_admit_no_more_than_the_amount),
        cmocka_unit_test(nor_when_messages_are_lost),
        cmocka_unit_test(steady_load_gets_its_share_of_a_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
