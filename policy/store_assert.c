/* SPDX-License-Identifier: Apache-2.0 */
/* One root is asserted: all that this node claims of it is said anew. */
#include "gateway/base/clock.h"
#include "policy/store_inside.h"

enum { BLOCK_BYTES = 4096, CLAIMS_FIRST = 16, PENDING_MAX = 8 };

struct assertion {
    struct store_redis *store;
    uint64_t incarnation;
    struct arena texts;
    struct text root;
    struct meter_change *claims; /* those of a counter one after the other */
    size_t count, room;
    size_t at;                    /* what is sent next */
    unsigned pending;             /* calls under way */
    bool begun, whole, failed;    /* the first is answered, the last sent, one came to nothing */
    int64_t sent_at_us, ahead_us; /* by our clock; of the root's clock to that, at most */
    bool lost; /* something is claimed: should the store not know the root, it has forgotten */
    bool create;
};

/* ------------------------------------------------------------------------------ collecting */

static void on_claim(void *with, const struct meter_change *claim)
{
    struct assertion *a = with;
    if (a->count == a->room) {
        a->room *= 2;
        a->claims = memory_resize(a->claims, a->room * sizeof(*a->claims));
    }
    struct meter_change *last = a->count ? &a->claims[a->count - 1] : NULL;
    struct meter_change *copy = &a->claims[a->count++];
    *copy = *claim;
    copy->root = a->root;
    copy->counter = last && text_equal(last->counter, claim->counter)
                        ? last->counter
                        : arena_copy(&a->texts, claim->counter);
    a->lost = a->lost || claim->claimed > 0;
}

static struct root_state *root_state(struct shared *shared, struct text root)
{
    struct root_state *state = table_find(&shared->roots, root);
    if (state)
        return state;
    state = memory_new(sizeof(*state) + root.len + 1);
    if (root.len)
        memcpy(state->name, root.at, root.len);
    table_set(&shared->roots, (struct text){state->name, root.len}, state);
    return state;
}

/* From here to the end of the assertion the meter gives no changes of the root: they would be
 * counted twice, or not at all. */
static enum assert_result collect_locked(struct assertion *a, uint64_t sent_us)
{
    struct shared *shared = a->store->shared;
    struct root_state *state = root_state(shared, a->root);
    if (state->busy)
        return ASSERT_BUSY;
    if (state->asserted == shared_incarnation(shared)) {
        if (state->asserted_us > sent_us)
            return ASSERT_DONE;
        shared_lose_locked(shared); /* it was, and the store has forgotten */
        state = root_state(shared, a->root);
    }
    state->busy = true;
    a->incarnation = shared_incarnation(shared);
    meter_claims(shared->meter, a->root, on_claim, a);
    meter_doubt(shared->meter, a->root);
    return ASSERT_BEGUN;
}

static void assertion_free(struct assertion *a)
{
    arena_done(&a->texts);
    memory_free(a->claims);
    memory_free(a);
}

static void assertion_end(struct assertion *a, bool good)
{
    struct store_redis *store = a->store;
    struct shared *shared = store->shared;
    pthread_rwlock_wrlock(&shared->lock);
    struct root_state *state = root_state(shared, a->root);
    state->busy = false;
    if (good && shared_incarnation(shared) == a->incarnation) {
        state->asserted = a->incarnation;
        state->asserted_us = clock_now_us();
        atomic_store(&state->ahead_us, a->ahead_us);
        meter_trust(shared->meter, a->root);
    }
    pthread_rwlock_unlock(&shared->lock);
    store->assertion_count--;
    store_wake(store, a->root);
    if (store->duties)
        life_step(store->duties);
    assertion_free(a);
}

/* ----------------------------------------------------------------------------------- sending */

/* The claims of the counter at <from>: up to where? */
static size_t counter_end(const struct assertion *a, size_t from)
{
    size_t end = from;
    while (end < a->count && a->claims[end].counter.at == a->claims[from].counter.at)
        end++;
    return end;
}

/* As many counters as one call may carry, but one at least. */
static size_t batch_end(const struct assertion *a)
{
    enum { COUNTERS_MAX = 16 };
    size_t end = a->at, counters = 0;
    while (end < a->count && counters++ < COUNTERS_MAX) {
        size_t next = counter_end(a, end);
        if (end > a->at && next - a->at > STORE_CLAIMS_MAX)
            break;
        end = next;
    }
    return end;
}

static void counter_words(struct words *words, const struct assertion *a, size_t from, size_t end)
{
    shared_span_words(words, &a->claims[from]);
    words_number(words, (int64_t)(end - from));
    for (size_t i = from; i < end; i++) {
        words_number(words, a->claims[i].slot);
        words_number(words, a->claims[i].claimed);
    }
}

static void batch_words(const struct assertion *a, size_t end)
{
    struct shared *shared = a->store->shared;
    struct words *words = &a->store->words;
    words_begin(words);
    shared_life_key(shared, words, a->root);
    for (size_t i = a->at; i < end; i = counter_end(a, i))
        shared_key(shared, words, a->root, a->claims[i].counter);
    shared_sign(shared, words, a->incarnation);
    words_number(words, a->at == 0);
    words_number(words, end == a->count);
    words_number(words, a->lost);
    words_number(words, a->create);
    words_number(words, STORE_YOUNG_US);
    for (size_t i = a->at; i < end; i = counter_end(a, i))
        counter_words(words, a, i, counter_end(a, i));
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply);

static bool batch_send(struct assertion *a, size_t end)
{
    struct store_redis *store = a->store;
    batch_words(a, end);
    atomic_fetch_add_explicit(&store->shared->asserts, 1, memory_order_relaxed);
    a->sent_at_us = meter_now_us(store->shared->meter);
    if (!store_eval(store, &store->shared->claim, store_patience(store), on_claimed, a))
        return false;
    a->pending++;
    store->piece_count++;
    a->at = end;
    a->whole = end == a->count;
    return true;
}

/* The first call, and the last, which makes all of it good, go alone; those between without waiting
 * for each other, where few others are under way. */
static bool batches_send(struct assertion *a)
{
    while (!a->whole) {
        size_t end = batch_end(a);
        bool between = a->begun && end < a->count;
        if (a->pending > 0 &&
            (!between || a->pending >= PENDING_MAX || a->store->piece_count >= STORE_SWEEPS_MAX))
            return true;
        if (!batch_send(a, end))
            return false;
    }
    return true;
}

/* The store does not know the root, nor do we: is it new, or has the store forgotten it since it
 * was asked last? */
static void on_checked(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct assertion *a = with;
    struct store_redis *store = a->store;
    bool same = store_answered(store, a->incarnation, fault, reply) &&
                store_number(reply, 1) == atomic_load(&store->shared->since);
    a->create = true;
    a->begun = a->whole = false;
    a->at = 0;
    if (!same || !batches_send(a))
        assertion_end(a, false);
}

static bool check_send(struct assertion *a)
{
    struct store_redis *store = a->store;
    shared_beat_words(store->shared, &store->words, true);
    return store_eval(store, &store->shared->beat, store_patience(store), on_checked, a);
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct assertion *a = with;
    bool good = store_answered(a->store, a->incarnation, fault, reply);
    int64_t status = good ? store_number(reply, 0) : STORE_STALE;
    a->pending--;
    a->store->piece_count--;
    if (status == STORE_UNKNOWN && !a->create && a->pending == 0 && !a->failed && check_send(a))
        return;
    if (status == STORE_GOOD)
        a->ahead_us = store_number(reply, 1) - a->sent_at_us; /* in the end that of the last */
    a->begun = true;
    a->failed = a->failed || status != STORE_GOOD || !batches_send(a);
    if (a->pending == 0)
        assertion_end(a, !a->failed);
}

enum assert_result store_assert(struct store_redis *store, struct text root, uint64_t sent_us)
{
    if (!redis_is_up(store->redis) || shared_is_resting(store->shared))
        return ASSERT_AWAY;
    if (store->assertion_count >= STORE_ASSERTS_MAX)
        return ASSERT_BUSY;
    struct assertion *a = memory_new(sizeof(*a));
    arena_init(&a->texts, BLOCK_BYTES);
    a->store = store;
    a->root = arena_copy(&a->texts, root);
    a->room = CLAIMS_FIRST;
    a->claims = memory_new(a->room * sizeof(*a->claims));
    pthread_rwlock_wrlock(&store->shared->lock);
    enum assert_result result = collect_locked(a, sent_us);
    pthread_rwlock_unlock(&store->shared->lock);
    if (result != ASSERT_BEGUN) {
        assertion_free(a);
        return result;
    }
    store->assertion_count++;
    if (batches_send(a))
        return ASSERT_BEGUN;
    assertion_end(a, false);
    return ASSERT_AWAY;
}
