/* SPDX-License-Identifier: Apache-2.0 */
/* One root is asserted: all that this node claims of it is said anew, in pieces. Whoever begins
 * says the rest, too; what calls wait for meanwhile each worker may say itself. */
#include "gateway/base/clock.h"
#include "policy/store_inside.h"

enum {
    BLOCK_BYTES = 1024,
    CLAIMS_FIRST = 16,
    COUNTERS_MAX = 16, /* of one piece */
    PENDING_MAX = 8,   /* pieces of one root under way, */
    PENDING_UP = 2,    /* where calls are let in meanwhile and have to be answered, too */
};

struct assertion {
    struct store_redis *store;
    uint64_t incarnation;
    struct text root;
    unsigned pending;      /* pieces under way */
    bool begun, all, told; /* the first is answered; no counter is left; the last is sent */
    bool failed;           /* one came to nothing */
    bool lost; /* something is claimed: should the store not know the root, it has forgotten */
    bool create;
    struct piece *held; /* the first, while it is made sure that the root is new */
    char name[];
};

/* One call of the script. */
struct piece {
    struct store_redis *store;
    struct assertion *of; /* NULL: what calls wait for, while another asserts the rest */
    uint64_t incarnation;
    int64_t sent_at_us; /* by the meter's clock */
    struct arena texts;
    struct text root;
    struct meter_change *claims; /* those of a counter one after the other */
    size_t count, room;
    bool first, last;
    struct link askers; /* who looks again when it is told */
};

/* ------------------------------------------------------------------------------ collecting */

static struct piece *piece_new(struct store_redis *store, struct text root)
{
    struct piece *piece = memory_new(sizeof(*piece));
    arena_init(&piece->texts, BLOCK_BYTES);
    piece->store = store;
    piece->root = arena_copy(&piece->texts, root);
    piece->room = CLAIMS_FIRST;
    piece->claims = memory_new(piece->room * sizeof(*piece->claims));
    list_init(&piece->askers);
    return piece;
}

static void piece_free(struct piece *piece)
{
    while (!list_is_empty(&piece->askers))
        list_remove(piece->askers.next);
    arena_done(&piece->texts);
    memory_free(piece->claims);
    memory_free(piece);
}

static void on_claim(void *with, const struct meter_change *claim)
{
    struct piece *piece = with;
    if (piece->count == piece->room) {
        piece->room *= 2;
        piece->claims = memory_resize(piece->claims, piece->room * sizeof(*piece->claims));
    }
    struct meter_change *last = piece->count ? &piece->claims[piece->count - 1] : NULL;
    struct meter_change *copy = &piece->claims[piece->count++];
    *copy = *claim;
    copy->root = piece->root;
    copy->counter = last && text_equal(last->counter, claim->counter)
                        ? last->counter
                        : arena_copy(&piece->texts, claim->counter);
}

/* The next counters; false: these were the last. */
static bool piece_fill(struct piece *piece)
{
    return meter_claims(piece->store->shared->meter, piece->root, COUNTERS_MAX, STORE_CLAIMS_MAX,
                        on_claim, piece);
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

static struct assertion *assertion_new(struct piece *piece)
{
    struct assertion *a = memory_new(sizeof(*a) + piece->root.len);
    if (piece->root.len)
        memcpy(a->name, piece->root.at, piece->root.len);
    a->root = (struct text){a->name, piece->root.len};
    a->store = piece->store;
    a->incarnation = piece->incarnation;
    return a;
}

/* What calls wait for goes first. */
static enum assert_result begin_locked(struct piece *piece, struct root_state *state,
                                       const struct reservation *r)
{
    struct shared *shared = piece->store->shared;
    state->busy = true;
    piece->incarnation = shared_incarnation(shared);
    struct assertion *a = piece->of = assertion_new(piece);
    a->lost = meter_assert(shared->meter, piece->root, (unsigned)a->incarnation);
    if (r)
        meter_claims_of(shared->meter, r, on_claim, piece);
    a->all = !piece_fill(piece);
    a->told = piece->last = a->all;
    piece->first = true;
    piece->store->assertion_count++;
    return ASSERT_BEGUN;
}

static enum assert_result result_of(enum meter_claimed claimed)
{
    switch (claimed) {
    case METER_SURE:
        return ASSERT_DONE;
    case METER_SAID:
        return ASSERT_BUSY;
    case METER_CLAIMED:
        break;
    }
    return ASSERT_BEGUN;
}

/* The root is being asserted, or has been: what of it does <r> wait for? */
static enum assert_result join_locked(struct piece *piece, struct root_state *state,
                                      const struct reservation *r)
{
    struct shared *shared = piece->store->shared;
    enum assert_result result = result_of(meter_claims_of(shared->meter, r, on_claim, piece));
    if (result != ASSERT_BEGUN)
        return result;
    piece->incarnation = shared_incarnation(shared);
    state->pieces++;
    return ASSERT_BEGUN;
}

/* As collect_locked(), with the lock to read, for the many that wait: begun is what may be. */
static enum assert_result look_locked(const struct shared *shared, struct text root,
                                      const struct reservation *r, uint64_t sent_us)
{
    const struct root_state *state = r ? table_find(&shared->roots, root) : NULL;
    if (!state)
        return ASSERT_BEGUN;
    if (state->begun == shared_incarnation(shared) && state->begun_us > sent_us)
        return result_of(meter_claims_of(shared->meter, r, NULL, NULL));
    return state->busy ? ASSERT_BUSY : ASSERT_BEGUN;
}

static enum assert_result collect_locked(struct piece *piece, const struct reservation *r,
                                         uint64_t sent_us)
{
    struct shared *shared = piece->store->shared;
    uint64_t incarnation = shared_incarnation(shared);
    struct root_state *state = root_state(shared, piece->root);
    bool begun = state->begun == incarnation, forgotten = begun && state->begun_us <= sent_us;
    if (begun && !forgotten && r)
        return join_locked(piece, state, r);
    if (begun && !forgotten && state->asserted == incarnation)
        return ASSERT_DONE;
    if (state->busy)
        return ASSERT_BUSY;
    if (begun)
        shared_lose_locked(shared); /* it was, and the store has forgotten */
    return begin_locked(piece, root_state(shared, piece->root), r);
}

/* --------------------------------------------------------------------------------- the end */

static void assertion_end(struct assertion *a)
{
    struct store_redis *store = a->store;
    struct shared *shared = store->shared;
    pthread_rwlock_wrlock(&shared->lock);
    root_state(shared, a->root)->busy = false;
    /* What was given to be said, and was not, is said in the next incarnation. */
    if (a->failed && shared_incarnation(shared) == a->incarnation)
        shared_lose_locked(shared);
    pthread_rwlock_unlock(&shared->lock);
    store->assertion_count--;
    if (store->duties)
        life_step(store->duties);
    memory_free(a);
}

/* The store has it; false: it means nothing any more, or its clock was set forward. */
static bool told_locked(struct piece *piece, int64_t now_us, bool *leapt)
{
    struct shared *shared = piece->store->shared;
    if (shared_incarnation(shared) != piece->incarnation)
        return false;
    struct root_state *state = root_state(shared, piece->root);
    if (!piece->of)
        state->pieces--;
    if (piece->first) {
        state->begun = piece->incarnation;
        state->begun_us = clock_now_us();
        atomic_store(&state->ahead_us, now_us - piece->sent_at_us);
        meter_begun(shared->meter, piece->root);
    }
    *leapt = shared_sees_leap(shared, piece->root, now_us);
    if (*leapt)
        return false;
    for (size_t i = 0; i < piece->count; i++)
        if (i == 0 || piece->claims[i].counter.at != piece->claims[i - 1].counter.at)
            meter_assure(shared->meter, piece->root, piece->claims[i].counter,
                         (unsigned)piece->incarnation);
    if (piece->last) {
        state->asserted = piece->incarnation;
        meter_trust(shared->meter, piece->root);
    }
    return true;
}

static bool piece_told(struct piece *piece, int64_t now_us)
{
    struct shared *shared = piece->store->shared;
    bool leapt = false;
    pthread_rwlock_wrlock(&shared->lock);
    bool good = told_locked(piece, now_us, &leapt);
    pthread_rwlock_unlock(&shared->lock);
    if (leapt)
        shared_leap(shared);
    return good;
}

/* Others say something of the root, and it is not all told before they have. */
static bool others_say(const struct assertion *a)
{
    struct shared *shared = a->store->shared;
    pthread_rwlock_rdlock(&shared->lock);
    const struct root_state *state = table_find(&shared->roots, a->root);
    bool say = state && state->pieces > 0;
    pthread_rwlock_unlock(&shared->lock);
    return say;
}

/* ----------------------------------------------------------------------------------- sending */

/* The claims of the counter at <from>: up to where? */
static size_t counter_end(const struct piece *piece, size_t from)
{
    size_t end = from;
    while (end < piece->count && piece->claims[end].counter.at == piece->claims[from].counter.at)
        end++;
    return end;
}

static void counter_words(struct words *words, const struct piece *piece, size_t from, size_t end)
{
    bool had = false;
    for (size_t i = from; i < end; i++)
        had = had || piece->claims[i].had;
    shared_span_words(words, &piece->claims[from], had && shared_remembers(piece->store->shared));
    words_number(words, (int64_t)(end - from));
    for (size_t i = from; i < end; i++) {
        words_number(words, piece->claims[i].slot);
        words_number(words, piece->claims[i].claimed);
    }
}

static void piece_words(const struct piece *piece)
{
    struct shared *shared = piece->store->shared;
    struct words *words = &piece->store->words;
    words_begin(words);
    shared_life_key(shared, words, piece->root);
    for (size_t i = 0; i < piece->count; i = counter_end(piece, i))
        shared_key(shared, words, piece->root, piece->claims[i].counter);
    shared_sign(shared, words, piece->incarnation);
    words_number(words, piece->first);
    words_number(words, piece->last);
    words_number(words, piece->of && piece->of->lost);
    words_number(words, piece->of && piece->of->create);
    words_number(words, STORE_YOUNG_US);
    for (size_t i = 0; i < piece->count; i = counter_end(piece, i))
        counter_words(words, piece, i, counter_end(piece, i));
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply);

/* No call waits for it longer than it would anyway, and to give up is to begin anew. */
static int64_t patience(const struct store_redis *store)
{
    return store->shared->redis->timeout_us < STORE_PATIENT_US ? STORE_PATIENT_US : 0;
}

static bool piece_send(struct piece *piece)
{
    struct store_redis *store = piece->store;
    piece_words(piece);
    atomic_fetch_add_explicit(&store->shared->asserts, 1, memory_order_relaxed);
    piece->sent_at_us = meter_now_us(store->shared->meter);
    if (!store_eval(store, &store->shared->claim, patience(store), on_claimed, piece))
        return false;
    store->piece_count++;
    if (piece->of)
        piece->of->pending++;
    return true;
}

/* The next piece, or nothing but the end. */
static bool next_send(struct assertion *a)
{
    struct piece *piece = piece_new(a->store, a->root);
    piece->of = a;
    piece->incarnation = a->incarnation;
    if (a->all)
        piece->last = a->told = !others_say(a);
    else
        a->all = !piece_fill(piece);
    if (piece_send(piece))
        return true;
    piece_free(piece);
    return false;
}

/* The first, and the last, which makes all of it good, go alone; those between without waiting for
 * each other, where few others are under way. */
static bool may_send_next(const struct assertion *a)
{
    const struct store_redis *store = a->store;
    if (!a->begun || a->told)
        return false;
    unsigned most = a->all ? 1 : store_may_ask(store) ? PENDING_UP : PENDING_MAX;
    return a->pending == 0 || (a->pending < most && store->piece_count < STORE_SWEEPS_MAX);
}

static void assertion_go_on(struct assertion *a)
{
    while (!a->failed && may_send_next(a))
        a->failed = shared_incarnation(a->store->shared) != a->incarnation || !next_send(a);
    if (a->pending == 0 && (a->failed || a->told))
        assertion_end(a);
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
    a->pending--;
    if (same && piece_send(a->held))
        return;
    piece_free(a->held);
    a->failed = true;
    assertion_end(a);
}

static bool check_send(struct assertion *a, struct piece *first)
{
    struct store_redis *store = a->store;
    shared_beat_words(store->shared, &store->words, true);
    if (!store_eval(store, &store->shared->beat, store_patience(store), on_checked, a))
        return false;
    a->held = first;
    a->pending++;
    return true;
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct piece *piece = with;
    struct assertion *a = piece->of;
    struct store_redis *store = piece->store;
    bool answered = store_answered(store, piece->incarnation, fault, reply);
    int64_t status = answered ? store_number(reply, 0) : STORE_STALE;
    store->piece_count--;
    if (a)
        a->pending--;
    if (status == STORE_UNKNOWN && a && piece->first && !a->create && check_send(a, piece))
        return;
    bool forgot = status == STORE_GOOD && store_number(reply, 3) != 0;
    bool good = status == STORE_GOOD && !forgot && piece_told(piece, store_number(reply, 1));
    if (forgot)
        shared_forgot(store->shared);
    if (!good)
        shared_lose(store->shared, piece->incarnation);
    /* Who waits for what another has said looks by the timer: all would at each of many pieces. */
    if (good && (piece->first || piece->last))
        store_wake(store, piece->root);
    else if (good)
        store_wake_askers(&piece->askers);
    if (a) {
        a->begun = a->begun || piece->first;
        a->failed = a->failed || !good;
        assertion_go_on(a);
    }
    piece_free(piece);
}

enum assert_result store_assert(struct store_redis *store, struct text root,
                                const struct reservation *r, uint64_t sent_us, struct link *asker)
{
    struct shared *shared = store->shared;
    if (!redis_is_up(store->redis) || shared_is_resting(shared))
        return ASSERT_AWAY;
    pthread_rwlock_rdlock(&shared->lock);
    enum assert_result result = look_locked(shared, root, r, sent_us);
    pthread_rwlock_unlock(&shared->lock);
    if (result != ASSERT_BEGUN)
        return result;
    if (store->assertion_count >= STORE_ASSERTS_MAX || store->piece_count >= STORE_PIECES_MAX)
        return ASSERT_BUSY;
    struct piece *piece = piece_new(store, root);
    pthread_rwlock_wrlock(&shared->lock);
    result = collect_locked(piece, r, sent_us);
    pthread_rwlock_unlock(&shared->lock);
    if (result == ASSERT_BEGUN && asker) {
        list_remove(asker);
        list_push_back(&piece->askers, asker);
    }
    if (result == ASSERT_BEGUN && piece_send(piece))
        return ASSERT_BEGUN;
    if (result == ASSERT_BEGUN) {
        result = ASSERT_AWAY;
        shared_lose(shared, piece->incarnation);
        if (piece->of) {
            piece->of->failed = true;
            assertion_end(piece->of);
        }
    }
    piece_free(piece);
    return result;
}
