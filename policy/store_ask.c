/* SPDX-License-Identifier: Apache-2.0 */
/* The questions of calls that a node's own claims do not cover. */
#include <assert.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "policy/store_inside.h"

enum { FREE_QUESTIONS = 256 };

/* What a question was about, when who asked has gone, or asked for later. */
struct orphan {
    struct reservation r;
    struct arena arena; /* all it points at */
};

struct question {
    struct link link;
    struct link of_stream; /* in store->ahead */
    struct link of_piece;  /* of an assertion: looks again when that is told */
    struct store_redis *store;
    struct reservation *r; /* NULL: nobody waits for it */
    struct orphan *orphan; /* then */
    enum limit_kind ahead; /* of a stream: which kind; else LIMIT_KINDS */
    uint64_t incarnation, began_us, sent_us;
    unsigned tries;
    bool whole;  /* ask for all: what is free is taken by others meanwhile */
    bool forgot; /* the store did not know what it had of ours */
    uint8_t count, index[USES_MAX];
};

/* -------------------------------------------------------------------------------- questions */

static struct question *question_new(struct store_redis *store, struct reservation *r)
{
    struct question *q;
    if (list_is_empty(&store->free)) {
        q = memory_new(sizeof(*q));
    } else {
        q = LIST_MEMBER(store->free.next, struct question, link);
        list_remove(&q->link);
        store->free_count--;
    }
    *q = (struct question){.store = store, .r = r, .ahead = LIMIT_KINDS};
    q->began_us = clock_now_us();
    list_init(&q->link);
    list_init(&q->of_stream);
    list_init(&q->of_piece);
    return q;
}

static void orphan_free(struct orphan *orphan)
{
    if (!orphan)
        return;
    arena_done(&orphan->arena);
    memory_free(orphan);
}

static void question_free(struct question *q)
{
    struct store_redis *store = q->store;
    list_remove(&q->link);
    list_remove(&q->of_stream);
    list_remove(&q->of_piece);
    orphan_free(q->orphan);
    q->orphan = NULL;
    if (q->ahead != LIMIT_KINDS)
        store->ahead_count--;
    if (store->free_count >= FREE_QUESTIONS) {
        memory_free(q);
        return;
    }
    list_push_back(&store->free, &q->link);
    store->free_count++;
}

static void question_end(struct question *q, enum reserve_result result)
{
    struct reservation *r = q->r;
    question_free(q);
    if (!r)
        return;
    r->question = NULL;
    r->done(r, result);
}

static struct use use_copy(struct arena *arena, const struct use *from)
{
    struct limit *limit = arena_new(arena, sizeof(*limit));
    *limit = *from->limit;
    limit->model = arena_copy(arena, from->limit->model);
    return (struct use){.limit = limit,
                        .counter = arena_copy(arena, from->counter),
                        .want = from->want,
                        .least = from->least};
}

/* A copy of a reservation that outlives it; only the uses of one kind, or all. */
static struct orphan *orphan_new(const struct reservation *r, enum limit_kind kind)
{
    enum { BLOCK_BYTES = 2048 };
    struct orphan *orphan = memory_new(sizeof(*orphan));
    struct arena *arena = &orphan->arena;
    arena_init(arena, BLOCK_BYTES);
    orphan->r.root = arena_copy(arena, r->root);
    orphan->r.id = arena_copy(arena, r->id);
    orphan->r.uses = arena_new(arena, (r->use_count + 1) * sizeof(*r->uses));
    for (size_t i = 0; i < r->use_count; i++)
        if (kind == LIMIT_KINDS || r->uses[i].limit->kind == kind)
            orphan->r.uses[orphan->r.use_count++] = use_copy(arena, &r->uses[i]);
    return orphan;
}

static struct reservation *question_about(const struct question *q)
{
    return q->r ? q->r : &q->orphan->r;
}

static bool is_for_stream(const struct question *q)
{
    return q->ahead != LIMIT_KINDS;
}

/* Else who asked has gone. */
static bool is_wanted(const struct question *q)
{
    return q->r || is_for_stream(q);
}

/* ----------------------------------------------------------------------------- full ones */

static struct full_counter *full_place(struct store_redis *store, const struct reservation *r,
                                       size_t use, uint64_t *name)
{
    *name = hash_name(r->uses[use].counter) ^ (hash_name(r->root) << 1 | 1);
    return &store->full[*name % STORE_FULL_COUNTERS];
}

static int64_t least_lack(const struct use *use, const struct meter_lack *lack)
{
    int64_t spare = use->least < use->want ? use->want - use->least : 0;
    return lack->lack > spare ? lack->lack - spare : 0;
}

static void full_note(struct store_redis *store, const struct reservation *r, size_t use,
                      int64_t wait_us)
{
    uint64_t name, now = clock_now_us();
    int64_t want = r->uses[use].want, need = r->uses[use].least < want ? r->uses[use].least : want;
    int64_t believed = wait_us < 0 || wait_us > STORE_FULL_US ? STORE_FULL_US : wait_us;
    struct full_counter *full = full_place(store, r, use, &name);
    *full = (struct full_counter){.name = name,
                                  .need = need,
                                  .until_us = now + (uint64_t)believed,
                                  .free_us = wait_us < 0 ? UINT64_MAX : now + (uint64_t)wait_us};
}

/* Has the store just said that it does not fit? */
static bool is_full(struct store_redis *store, struct reservation *r)
{
    uint64_t now = clock_now_us(), name;
    for (size_t i = 0; i < r->use_count; i++) {
        int64_t need = least_lack(&r->uses[i], &store->lacks[i]);
        if (need == 0 || r->uses[i].limit->exceeded != EXCEEDED_REJECT)
            continue;
        const struct full_counter *full = full_place(store, r, i, &name);
        if (full->name != name || need < full->need || now >= full->until_us)
            continue;
        r->refused = i;
        r->retry_after_us =
            full->free_us == UINT64_MAX ? INT64_MAX : (int64_t)(full->free_us - now);
        return true;
    }
    return false;
}

static void on_decide(struct timer *timer)
{
    struct store_redis *store = LIST_MEMBER(timer, struct store_redis, decide);
    struct link decided;
    list_init(&decided);
    while (!list_is_empty(&store->decided)) {
        struct link *at = store->decided.next;
        list_remove(at);
        list_push_back(&decided, at);
    }
    while (!list_is_empty(&decided))
        question_end(LIST_MEMBER(decided.next, struct question, link), RESERVE_REFUSED);
}

static void question_decide(struct question *q)
{
    struct store_redis *store = q->store;
    list_remove(&q->link);
    list_push_back(&store->decided, &q->link);
    if (!store->decide.due_us)
        timer_set(store->loop, &store->decide, clock_now_us());
}

/* ---------------------------------------------------------------------------------- asking */

/* Which of the uses the store is asked for; all, when another has just given what was lacking.
 * False: a stream has what it may need. */
static bool question_choose(struct question *q, const struct reservation *r)
{
    struct meter_lack *lacks = q->store->lacks;
    q->count = 0;
    for (size_t i = 0; i < r->use_count; i++) {
        if (is_for_stream(q))
            lacks[i].more = 0;
        if (q->whole)
            lacks[i].lack = r->uses[i].want;
        if (lacks[i].lack > 0 || lacks[i].more > 0)
            q->index[q->count++] = (uint8_t)i;
    }
    if (q->count > 0 || is_for_stream(q))
        return q->count > 0;
    for (size_t i = 0; i < r->use_count; i++)
        q->index[q->count++] = (uint8_t)i;
    return true;
}

static struct text flags_of(const struct question *q, const struct use *use, bool had)
{
    const struct limit *limit = use->limit;
    if (limit->exceeded != EXCEEDED_REJECT)
        return had ? TEXT("sh") : TEXT("s");
    if (is_for_stream(q))
        return had ? TEXT("ah") : TEXT("a");
    if (limit->kind == LIMIT_MONEY && use->least < use->want)
        return had ? TEXT("mh") : TEXT("m");
    return had ? TEXT("h") : TEXT("");
}

static void question_words(struct question *q, const struct reservation *r)
{
    struct store_redis *store = q->store;
    struct shared *shared = store->shared;
    struct words *words = &store->words;
    unsigned nodes = atomic_load_explicit(&shared->nodes, memory_order_relaxed);
    bool remembers = shared_remembers(shared);
    words_begin(words);
    shared_life_key(shared, words, r->root);
    for (size_t i = 0; i < q->count; i++)
        shared_key(shared, words, r->root, r->uses[q->index[i]].counter);
    shared_sign(shared, words, q->incarnation);
    words_number(words, nodes);
    words_number(words, shared->dead_us);
    for (size_t i = 0; i < q->count; i++) {
        const struct use *use = &r->uses[q->index[i]];
        const struct meter_lack *lack = &store->lacks[q->index[i]];
        shared_ask_words(words, use, lack, flags_of(q, use, remembers && lack->had));
    }
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply);

static void question_wait(struct question *q)
{
    struct store_redis *store = q->store;
    list_remove(&q->link);
    list_push_back(&store->waiting, &q->link);
    if (!store->again.due_us)
        timer_set(store->loop, &store->again, clock_now_us() + STORE_AGAIN_US);
}

/* Has the store been told in the incarnation what we claim of all that is asked about? */
static bool question_is_sure(const struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (q->store->lacks[q->index[i]].sure != (unsigned)q->incarnation)
            return false;
    return true;
}

static enum assert_result question_claim(struct question *q)
{
    const struct reservation *r = question_about(q);
    return store_assert(q->store, r->root, r, q->sent_us, &q->of_piece);
}

/* It has not: that is said first. True: the question waits. One for a stream, too: a session ends
 * when what it lacks is not there and not asked for either. */
static bool question_assert(struct question *q)
{
    q->sent_us = 0;
    if (question_claim(q) == ASSERT_AWAY || !is_wanted(q))
        return false;
    question_wait(q);
    return true;
}

static int64_t question_left_us(const struct question *q)
{
    return q->store->shared->redis->timeout_us - (int64_t)(clock_now_us() - q->began_us);
}

/* False: too late, too often, no connection, or nothing is lacking. */
static bool question_send(struct question *q)
{
    struct store_redis *store = q->store;
    struct reservation *r = question_about(q);
    int64_t left = question_left_us(q);
    list_remove(&q->of_piece);
    if (q->tries++ >= STORE_TRIES_MAX || left < store->shared->redis->timeout_us / 4 ||
        !store_may_ask(store))
        return false;
    meter_lacks(store->shared->meter, r, store->lacks);
    if (q->r && is_full(store, r)) {
        question_decide(q);
        return true;
    }
    if (!question_choose(q, r))
        return false;
    /* After the lacks: what is asserted in a later incarnation has their slots, as nothing; and
     * what was sure then may not be in it. */
    q->incarnation = shared_incarnation(store->shared);
    if (!question_is_sure(q))
        return question_assert(q);
    question_words(q, r);
    q->sent_us = clock_now_us();
    if (!store_eval(store, &store->shared->admit, left, on_answer, q))
        return false;
    list_remove(&q->link);
    list_push_back(&store->asked, &q->link);
    atomic_fetch_add_explicit(&store->shared->asked, 1, memory_order_relaxed);
    return true;
}

static void question_again(struct question *q)
{
    if (!is_wanted(q) || !question_send(q))
        question_end(q, RESERVE_AWAY);
}

bool store_redis_ask(struct store_redis *store, struct reservation *r)
{
    if (!store_may_ask(store))
        return false;
    struct question *q = question_new(store, r);
    r->question = q;
    if (question_send(q))
        return true;
    r->question = NULL;
    question_free(q);
    return false;
}

void store_redis_abandon(struct store_redis *store, struct reservation *r)
{
    struct question *q = r->question;
    if (!q)
        return;
    assert(q->r == r && q->store == store);
    q->orphan = orphan_new(r, LIMIT_KINDS);
    q->r = NULL;
    r->question = NULL;
}

/* ----------------------------------------------------------------------------- for streams */

bool store_redis_asks_ahead(const struct store_redis *store, const struct reservation *r,
                            enum limit_kind kind)
{
    for (struct link *at = store->ahead.next; at != &store->ahead; at = at->next) {
        const struct question *q = LIST_MEMBER(at, struct question, of_stream);
        if (q->ahead == kind && text_equal(q->orphan->r.id, r->id))
            return true;
    }
    /* Too many others do: there is room when they are answered. */
    return store->ahead_count >= STORE_AHEAD_MAX && store_may_ask(store);
}

void store_redis_ask_ahead(struct store_redis *store, struct reservation *r, enum limit_kind kind,
                           int64_t more)
{
    if (more <= 0 || store->ahead_count >= STORE_AHEAD_MAX || !store_may_ask(store) ||
        store_redis_asks_ahead(store, r, kind))
        return;
    struct question *q = question_new(store, NULL);
    q->ahead = kind;
    store->ahead_count++;
    list_push_back(&store->ahead, &q->of_stream);
    q->orphan = orphan_new(r, kind);
    for (size_t i = 0; i < q->orphan->r.use_count; i++)
        q->orphan->r.uses[i].want = q->orphan->r.uses[i].least = more;
    if (q->orphan->r.use_count == 0 || !question_send(q))
        question_free(q);
}

/* --------------------------------------------------------------------------------- answers */

static void read_grants(struct question *q, const struct reservation *r,
                        const struct redis_reply *reply)
{
    struct meter_grant *grants = q->store->grants;
    for (size_t i = 0; i < r->use_count; i++)
        grants[i] = (struct meter_grant){.slot = -1};
    for (size_t i = 0; i < q->count; i++)
        grants[q->index[i]] = (struct meter_grant){.slot = store_number(reply, 2 + 3 * i),
                                                   .granted = store_number(reply, 3 + 3 * i),
                                                   .left = store_number(reply, 4 + 3 * i)};
}

/* What was granted in an incarnation that has ended is nobody's: what is asserted has not got it.
 */
static void on_granted(struct question *q, const struct redis_reply *reply)
{
    struct shared *shared = q->store->shared;
    struct reservation *r = question_about(q);
    enum meter_result result = METER_SHORT;
    enum meter_for whom = q->r ? METER_FOR_CALL : METER_FOR_NOBODY;
    if (is_for_stream(q))
        whom = METER_FOR_STREAM;
    read_grants(q, r, reply);
    pthread_rwlock_rdlock(&shared->lock);
    bool leapt = shared_sees_leap(shared, r->root, store_number(reply, 1));
    bool counts = !leapt && shared_incarnation(shared) == q->incarnation;
    if (counts)
        result = meter_grant(shared->meter, r, q->store->grants, whom);
    pthread_rwlock_unlock(&shared->lock);
    if (leapt)
        shared_leap(shared);
    if (!counts)
        shared_doubt(shared, r->root);
    if (result == METER_TAKEN) {
        question_end(q, RESERVE_GRANTED);
    } else if (result == METER_FULL || (counts && is_for_stream(q))) {
        question_end(q, RESERVE_REFUSED); /* a stream takes it when it extends */
    } else {
        q->whole = counts;
        question_again(q);
    }
}

static void on_full(struct question *q, const struct redis_reply *reply)
{
    struct reservation *r = q->r;
    int64_t which = store_number(reply, 2), wait = store_number(reply, 3);
    if (r) {
        r->refused = q->index[which >= 0 && which < q->count ? which : 0];
        r->retry_after_us = wait < 0 ? INT64_MAX : wait;
        full_note(q->store, r, r->refused, wait);
        meter_refused(q->store->shared->meter, r, r->refused, store_number(reply, 4));
    }
    question_end(q, RESERVE_REFUSED);
}

/* Something of it is asserted, or nobody could begin to. */
static void question_follow(struct question *q, enum assert_result result)
{
    if (is_wanted(q) && (result == ASSERT_BEGUN || result == ASSERT_BUSY))
        question_wait(q);
    else if (is_wanted(q) && result == ASSERT_DONE)
        question_again(q);
    else
        question_end(q, RESERVE_AWAY);
}

/* The store does not know what this node has claimed of the root. */
static void on_stale(struct question *q)
{
    if (q->incarnation != shared_incarnation(q->store->shared))
        q->sent_us = 0;
    question_follow(q, question_claim(q));
}

static bool is_whole(const struct question *q, const struct redis_reply *reply)
{
    size_t count = redis_count(reply);
    switch ((enum store_status)store_number(reply, 0)) {
    case STORE_GOOD:
        return count == 2 + 3 * (size_t)q->count;
    case STORE_FULL:
        return count >= 5;
    case STORE_STALE:
    case STORE_YOUNG:
    case STORE_CLOCK:
    case STORE_UNKNOWN:
    case STORE_FORGOT:
        break;
    }
    return true;
}

/* Unless what we had was given back just then: asked again, we know of that. */
static void on_forgot(struct question *q)
{
    if (q->forgot) {
        shared_forgot(q->store->shared);
        question_end(q, RESERVE_AWAY);
        return;
    }
    q->forgot = true;
    question_again(q);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *q = with;
    struct shared *shared = q->store->shared;
    uint64_t now = clock_now_us();
    if (!store_answered(q->store, q->incarnation, fault, reply) || !is_whole(q, reply)) {
        if (fault != REDIS_AWAY)
            shared_doubt(shared, question_about(q)->root);
        question_end(q, RESERVE_AWAY);
        return;
    }
    atomic_store_explicit(&shared->latency_us, (int64_t)(now - q->sent_us), memory_order_relaxed);
    switch ((enum store_status)store_number(reply, 0)) {
    case STORE_GOOD:
        on_granted(q, reply);
        return;
    case STORE_FULL:
        on_full(q, reply);
        return;
    case STORE_STALE:
        on_stale(q);
        return;
    case STORE_CLOCK:
        meter_set_calendar(shared->meter, store_number(reply, 1), q->sent_us);
        question_again(q);
        return;
    case STORE_FORGOT:
        on_forgot(q);
        return;
    case STORE_YOUNG:
    case STORE_UNKNOWN:
        break;
    }
    question_end(q, RESERVE_AWAY);
}

/* ---------------------------------------------------------------------- waiting for others */

static void question_look(struct question *q)
{
    struct store_redis *store = q->store;
    enum assert_result result = ASSERT_AWAY;
    /* As late as question_send() finds it: what waits is looked at only every 10 ms. */
    bool late = question_left_us(q) < store->shared->redis->timeout_us / 4;
    if (is_wanted(q) && store_may_ask(store) && !late)
        result = question_claim(q);
    question_follow(q, result);
}

/* Whoever is told may have others abandoned, so they leave the list one by one. */
static void look_at_all(struct store_redis *store, const struct text *root)
{
    struct link due, kept;
    list_init(&due);
    list_init(&kept);
    while (!list_is_empty(&store->waiting)) {
        struct question *q = LIST_MEMBER(store->waiting.next, struct question, link);
        bool is_due = !root || text_equal(question_about(q)->root, *root);
        list_remove(&q->link);
        list_push_back(is_due ? &due : &kept, &q->link);
    }
    while (!list_is_empty(&kept)) {
        struct question *q = LIST_MEMBER(kept.next, struct question, link);
        list_remove(&q->link);
        list_push_back(&store->waiting, &q->link);
    }
    while (!list_is_empty(&due))
        question_look(LIST_MEMBER(due.next, struct question, link));
}

static void on_again(struct timer *timer)
{
    look_at_all(LIST_MEMBER(timer, struct store_redis, again), NULL);
}

void store_wake(struct store_redis *store, struct text root)
{
    look_at_all(store, &root);
}

void store_wake_askers(struct link *askers)
{
    while (!list_is_empty(askers)) {
        struct question *q = LIST_MEMBER(askers->next, struct question, of_piece);
        list_remove(&q->of_piece);
        question_look(q);
    }
}

/* ------------------------------------------------------------------------------- begin, end */

void questions_init(struct store_redis *store)
{
    list_init(&store->asked);
    list_init(&store->ahead);
    list_init(&store->waiting);
    list_init(&store->decided);
    list_init(&store->free);
    store->full = memory_new(STORE_FULL_COUNTERS * sizeof(*store->full));
    store->again.on_time = on_again;
    store->decide.on_time = on_decide;
}

void questions_done(struct store_redis *store)
{
    while (!list_is_empty(&store->waiting))
        question_end(LIST_MEMBER(store->waiting.next, struct question, link), RESERVE_AWAY);
    on_decide(&store->decide);
    timer_stop(&store->decide);
    timer_stop(&store->again);
    assert(list_is_empty(&store->asked) && list_is_empty(&store->ahead));
    while (!list_is_empty(&store->free)) {
        struct question *q = LIST_MEMBER(store->free.next, struct question, link);
        list_remove(&q->link);
        memory_free(q);
    }
    memory_free(store->full);
}
