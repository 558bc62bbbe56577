/* SPDX-License-Identifier: Apache-2.0 */
/* The process among the others: its incarnation, what has been asserted in it, and the duties of
 * the first worker: beats, and sweeps over all roots. */
#include <ctype.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "policy/store_inside.h"

enum { CLOCK_NEAR_US = 10000, DEAD_US = 30 * 1000000, DOUBLES_MAX = 3 };

extern const char store_admit_lua[], store_admit_lua_end[];
extern const char store_report_lua[], store_report_lua_end[];
extern const char store_assert_lua[], store_assert_lua_end[];
extern const char store_beat_lua[], store_beat_lua_end[];

/* ------------------------------------------------------------------------------- the process */

static void script_init(struct redis_script *script, const char *from, const char *end)
{
    redis_script_init(script, (struct text){from, (size_t)(end - from)});
}

static void name_write(struct shared *shared, const char *node)
{
    size_t len = 0;
    for (; *node && len < STORE_NODE_BYTES - 1; node++)
        if (isdigit((unsigned char)*node) || islower((unsigned char)*node))
            shared->node[len++] = *node;
    if (len == 0)
        shared->node[0] = '0';
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t random[6];
    hash_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        shared->generation[i] = letters[random[i] % 36];
}

static char *prefix_of(const char *prefix)
{
    char *copy = memory_string(text_of(prefix ? prefix : ""));
    size_t len = 0;
    for (const char *at = copy; *at; at++)
        if (*at != '{' && *at != '}')
            copy[len++] = *at;
    copy[len] = 0;
    return copy;
}

/* Whoever has to begin a new incarnation does not wait for all who only look. */
static void lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t how;
    pthread_rwlockattr_init(&how);
    pthread_rwlockattr_setkind_np(&how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &how);
    pthread_rwlockattr_destroy(&how);
}

struct shared *shared_new(struct meter *meter, const struct shared_options *options)
{
    struct shared *shared = memory_new(sizeof(*shared));
    shared->meter = meter;
    shared->redis = options->redis;
    shared->prefix = prefix_of(options->prefix);
    shared->replicas_max = options->replicas_max;
    shared->dead_us = options->dead_us > 0 ? options->dead_us : DEAD_US;
    name_write(shared, options->node ? options->node : "");
    script_init(&shared->admit, store_admit_lua, store_admit_lua_end);
    script_init(&shared->report, store_report_lua, store_report_lua_end);
    script_init(&shared->claim, store_assert_lua, store_assert_lua_end);
    script_init(&shared->beat, store_beat_lua, store_beat_lua_end);
    lock_init(&shared->lock);
    table_init(&shared->roots);
    atomic_store(&shared->incarnation, 1);
    return shared;
}

/* Forget who has asserted; those who are at it keep their places. */
static void forget_roots(struct shared *shared, bool all)
{
    struct table busy;
    struct text name;
    void *value;
    size_t at = 0;
    table_init(&busy);
    while (table_next(&shared->roots, &at, &name, &value)) {
        struct root_state *state = value;
        state->begun = state->asserted = 0;
        state->pieces = 0;
        if (state->busy && !all)
            table_set(&busy, name, state);
        else
            memory_free(state);
    }
    table_done(&shared->roots);
    shared->roots = busy;
}

void shared_expect(struct shared *shared, struct text root)
{
    if (shared->expected_count == STORE_EXPECTED_MAX)
        return;
    if (!shared->expected)
        shared->expected = memory_new(STORE_EXPECTED_MAX * sizeof(*shared->expected));
    shared->expected[shared->expected_count++] = memory_string(root);
}

void shared_free(struct shared *shared)
{
    if (!shared)
        return;
    for (size_t i = 0; i < shared->expected_count; i++)
        memory_free(shared->expected[i]);
    memory_free(shared->expected);
    forget_roots(shared, true);
    table_done(&shared->roots);
    pthread_rwlock_destroy(&shared->lock);
    memory_free(shared->prefix);
    memory_free(shared);
}

uint64_t shared_incarnation(const struct shared *shared)
{
    return atomic_load_explicit(&shared->incarnation, memory_order_acquire);
}

void shared_lose_locked(struct shared *shared)
{
    atomic_fetch_add(&shared->incarnation, 1);
    forget_roots(shared, false);
}

void shared_lose(struct shared *shared, uint64_t incarnation)
{
    pthread_rwlock_wrlock(&shared->lock);
    if (shared_incarnation(shared) == incarnation)
        shared_lose_locked(shared);
    pthread_rwlock_unlock(&shared->lock);
}

bool shared_is_begun(const struct shared *shared, struct text root)
{
    const struct root_state *state = table_find(&shared->roots, root);
    return state && state->begun == shared_incarnation(shared);
}

void shared_doubt(struct shared *shared, struct text root)
{
    pthread_rwlock_rdlock(&shared->lock);
    if (!shared_is_begun(shared, root))
        meter_doubt(shared->meter, root);
    pthread_rwlock_unlock(&shared->lock);
}

bool shared_sees_leap(struct shared *shared, struct text root, int64_t now_us)
{
    struct root_state *state = table_find(&shared->roots, root);
    if (!state || state->begun != shared_incarnation(shared))
        return false;
    int64_t ahead = now_us - meter_now_us(shared->meter); /* at least: the answer is older */
    int64_t known = atomic_load_explicit(&state->ahead_us, memory_order_relaxed);
    if (ahead > known + STORE_LEAP_US)
        return true;
    if (ahead > known) /* clocks of several servers part slowly */
        atomic_store_explicit(&state->ahead_us, ahead, memory_order_relaxed);
    return false;
}

void shared_leap(struct shared *shared)
{
    atomic_store_explicit(&shared->up, false, memory_order_release);
    atomic_store(&shared->leapt, atomic_load(&shared->since));
    shared_lose(shared, shared_incarnation(shared));
}

void shared_forgot(struct shared *shared)
{
    int64_t since = atomic_load(&shared->since);
    atomic_store_explicit(&shared->up, false, memory_order_release);
    if (atomic_exchange(&shared->forgot, since) != since)
        log_line(LOG_ERROR, "store",
                 "Redis has thrown away counters of limits or budgets: all nodes say again what "
                 "they have of all, and until then limits do what their on_error says");
    shared_lose(shared, shared_incarnation(shared));
}

bool shared_remembers(const struct shared *shared)
{
    int64_t since = atomic_load(&shared->since);
    return since && atomic_load(&shared->swept) == since && atomic_load(&shared->forgot) != since;
}

bool shared_is_resting(const struct shared *shared)
{
    uint64_t until = atomic_load_explicit(&shared->rest_until_us, memory_order_relaxed);
    return until && clock_now_us() < until;
}

void shared_rest(struct shared *shared, const struct redis_reply *reply)
{
    bool rests = shared_is_resting(shared);
    uint64_t last = atomic_exchange(&shared->rest_until_us, clock_now_us() + STORE_REST_US);
    /* Once per change, not for every call of the same bad time. */
    if (rests || clock_now_us() - last < STORE_REST_US)
        return;
    struct text words = redis_kind(reply) == REDIS_ERROR ? text_head(redis_text(reply), 200)
                                                         : TEXT("an answer of another kind");
    log_line(LOG_WARN, "store", "Redis does not count: %.*s", TEXT_ARGS(words));
}

struct shared_figures shared_figures(const struct shared *shared)
{
    return (struct shared_figures){
        .up = atomic_load_explicit(&shared->up, memory_order_relaxed),
        .swept = atomic_load(&shared->since) != 0 &&
                 atomic_load(&shared->swept) == atomic_load(&shared->since),
        .connected = atomic_load_explicit(&shared->connected, memory_order_relaxed),
        .nodes = atomic_load_explicit(&shared->nodes, memory_order_relaxed),
        .asked = atomic_load_explicit(&shared->asked, memory_order_relaxed),
        .timeouts = atomic_load_explicit(&shared->timeouts, memory_order_relaxed),
        .asserts = atomic_load_explicit(&shared->asserts, memory_order_relaxed),
        .latency_us = atomic_load_explicit(&shared->latency_us, memory_order_relaxed),
    };
}

/* ------------------------------------------------------------------------------- the duties */

struct life {
    struct store_redis *store;
    struct timer tick;
    uint64_t beat_us;            /* when the one under way was sent; 0 = none is */
    bool check, beat_checks;     /* the connection is new: is it the same server? */
    bool tells_leap;             /* the one under way says that the clock was set forward */
    bool told_up, told_anything; /* to the log */
    unsigned known;              /* nodes that were there when all was well */
    int64_t settled_for;         /* the <since> for which all of them have asserted */
    unsigned doubles;            /* beats in a row before which another had used our name */
    /* the sweep */
    char **roots;
    size_t count, at;
    uint64_t swept_in; /* the incarnation that the list was made in; 0 = make one */
    bool stepping;
};

static void life_tell(struct life *life)
{
    struct shared *shared = life->store->shared;
    bool up = atomic_load(&shared->up);
    if (up == life->told_up && life->told_anything)
        return;
    char name[REDIS_NAME_BYTES];
    redis_name(shared->redis, name);
    if (up)
        log_line(LOG_INFO, "store", "Redis counts (%s); nodes: %u", name,
                 atomic_load(&shared->nodes));
    else if (life->told_anything)
        log_line(LOG_WARN, "store", "Redis is away (%s): each limit does what its on_error says",
                 name);
    else
        return;
    life->told_up = up;
    life->told_anything = true;
}

/* ------------------------------------------------------------------------------- sweeping */

static void sweep_forget(struct life *life)
{
    for (size_t i = life->at; i < life->count; i++)
        memory_free(life->roots[i]);
    memory_free(life->roots);
    life->roots = NULL;
    life->count = life->at = 0;
}

static void on_root(void *with, struct text root)
{
    enum { STEP = 64 };
    struct life *life = with;
    if (life->count % STEP == 0)
        life->roots = memory_resize(life->roots, (life->count + STEP) * sizeof(char *));
    life->roots[life->count++] = memory_string(root);
}

static void sweep_begin(struct life *life)
{
    struct shared *shared = life->store->shared;
    sweep_forget(life);
    life->swept_in = shared_incarnation(shared);
    meter_roots(shared->meter, on_root, life);
    for (size_t i = 0; i < shared->expected_count; i++)
        on_root(life, text_of(shared->expected[i]));
}

static void sweep_on(struct life *life)
{
    struct store_redis *store = life->store;
    while (life->at < life->count && store->assertion_count < STORE_SWEEPS_MAX) {
        enum assert_result result =
            store_assert(store, text_of(life->roots[life->at]), NULL, 0, NULL);
        if (result == ASSERT_AWAY)
            return;
        if (result == ASSERT_BUSY) {
            /* Whoever does it may fail: it is looked at again, last. */
            char *busy = life->roots[life->at];
            life->roots[life->at] = life->roots[life->count - 1];
            life->roots[life->count - 1] = busy;
            return;
        }
        memory_free(life->roots[life->at++]);
    }
}

void life_step(struct life *life)
{
    struct store_redis *store = life->store;
    struct shared *shared = store->shared;
    if (life->stepping || !redis_is_up(store->redis) || atomic_load(&shared->since) == 0)
        return;
    life->stepping = true;
    if (life->swept_in != shared_incarnation(shared) ||
        (life->at == life->count && atomic_exchange(&shared->sweep_again, false)))
        sweep_begin(life);
    sweep_on(life);
    if (life->at == life->count && store->assertion_count == 0 &&
        life->swept_in == shared_incarnation(shared))
        atomic_store(&shared->swept, atomic_load(&shared->since));
    life->stepping = false;
}

/* ----------------------------------------------------------------------------------- beats */

/* Our clock is never behind the store's, so that nothing is counted in a slot that is over: of what
 * an answer allows we take the latest, and keep it as long as other answers allow it. */
static void clock_sample(struct meter *meter, int64_t store_us, uint64_t sent_us, bool force)
{
    uint64_t now = clock_now_us();
    int64_t offset = meter_now_us(meter) - (int64_t)clock_now_us();
    int64_t latest = store_us - (int64_t)sent_us, earliest = store_us - (int64_t)now;
    int64_t off = latest > offset ? latest - offset : offset - latest;
    if (force && off > CLOCK_NEAR_US)
        meter_set_clock(meter, store_us, sent_us, true);
    else if (latest < offset || earliest > offset)
        meter_set_clock(meter, store_us, sent_us, false);
}

/* The store's clock goes ahead by more than any wait explains: it was set forward, or we were
 * asleep. */
static bool is_leap(const struct meter *meter, int64_t store_us)
{
    return store_us - meter_now_us(meter) > STORE_LEAP_US;
}

/* The store remembers since another time than before: it was emptied, or is another process. */
static void on_other_memory(struct life *life, int64_t since)
{
    struct shared *shared = life->store->shared;
    atomic_store_explicit(&shared->up, false, memory_order_release);
    atomic_store(&shared->since, since);
    shared_lose(shared, shared_incarnation(shared));
}

/* Nothing is granted before all nodes that were there have asserted, and those that we do not know
 * have had the time to. For one that does not come back nobody waits long; but for one that is
 * there, and has much to assert. Whoever begins anew after that has left its claims there. */
static bool is_settled(struct life *life, int64_t since, int64_t now, unsigned heard,
                       unsigned swept)
{
    unsigned known = life->known > 0 ? life->known : 1;
    int64_t age = now - since;
    if ((age >= STORE_YOUNG_US && swept >= known) || (age >= STORE_LOST_US && swept >= heard) ||
        age >= STORE_LAST_US)
        life->settled_for = since;
    return life->settled_for == since;
}

/* Two processes of one name take each other's claims for their own past. Neither may count. */
static bool is_double(struct life *life, bool just_seen)
{
    life->doubles = just_seen ? life->doubles + 1 : 0;
    if (life->doubles == DOUBLES_MAX)
        log_line(LOG_ERROR, "store",
                 "another process calls itself node %s in this Redis too: each needs a state "
                 "directory of its own; limits do what their on_error says",
                 life->store->shared->node);
    return life->doubles >= DOUBLES_MAX;
}

/* A counter that is thrown away is a forgotten one, and who has nothing in it does not notice: said
 * on each connection. */
static void warn_of_eviction(const struct redis_reply *reply)
{
    struct text policy = redis_text(redis_item(reply, 6));
    log_line(LOG_WARN, "store",
             "Redis throws away counters of limits and budgets when its memory is full "
             "(maxmemory-policy %.*s): set noeviction, or they may be exceeded",
             TEXT_ARGS(policy));
}

static void take_beat(struct life *life, uint64_t sent_us, const struct redis_reply *reply)
{
    struct shared *shared = life->store->shared;
    int64_t now = store_number(reply, 0), since = store_number(reply, 1);
    unsigned heard = (unsigned)store_number(reply, 2), swept = (unsigned)store_number(reply, 3);
    bool other = since != atomic_load(&shared->since), told = life->tells_leap;
    life->tells_leap = false;
    if (!other && !told && is_leap(shared->meter, now)) {
        shared_leap(shared);
        life_tell(life);
        return;
    }
    clock_sample(shared->meter, now, sent_us, other);
    atomic_store(&shared->least_us, now - (int64_t)clock_now_us());
    meter_set_calendar(shared->meter, store_number(reply, 5), sent_us);
    if (!other && told)
        atomic_store(&shared->leapt, 0); /* only we were asleep */
    if (other)
        on_other_memory(life, since);
    atomic_store_explicit(&shared->nodes, heard, memory_order_relaxed);
    if (redis_count(reply) > 6)
        warn_of_eviction(reply);
    bool doubled = is_double(life, store_number(reply, 4) != 0);
    bool up = !life->check && !doubled && is_settled(life, since, now, heard, swept);
    if (up)
        life->known = heard;
    atomic_store_explicit(&shared->up, up, memory_order_release);
    life_tell(life);
    life_step(life);
}

static void on_beat(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct life *life = with;
    uint64_t sent = life->beat_us;
    bool list = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST;
    life->beat_us = 0;
    life->check = life->check && !(list && life->beat_checks);
    if (list && redis_count(reply) >= 4) {
        take_beat(life, sent, reply);
        return;
    }
    atomic_store_explicit(&life->store->shared->up, false, memory_order_release);
    if (fault == REDIS_ANSWERED)
        shared_rest(life->store->shared, reply);
}

static void beat(struct life *life)
{
    struct store_redis *store = life->store;
    if (life->beat_us || shared_is_resting(store->shared))
        return;
    life->beat_checks = life->check;
    shared_beat_words(store->shared, &store->words, life->check);
    life->beat_us = clock_now_us();
    int64_t leapt = atomic_load(&store->shared->leapt);
    life->tells_leap = leapt && leapt == atomic_load(&store->shared->since);
    if (!store_eval(store, &store->shared->beat, store_patience(store), on_beat, life))
        life->beat_us = 0;
}

static void on_tick(struct timer *timer)
{
    struct life *life = LIST_MEMBER(timer, struct life, tick);
    struct store_redis *store = life->store;
    timer_set(store->loop, timer, loop_now_us(store->loop) + STORE_BEAT_US);
    life_tell(life);
    if (!redis_is_up(store->redis))
        return;
    beat(life);
    life_step(life);
    reports_step(store->reports);
}

static void on_loaded(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    (void)with, (void)fault, (void)reply;
}

/* Before anybody calls them, so that the first calls do not carry the source, each its own. */
static void load_scripts(struct store_redis *store)
{
    const struct shared *shared = store->shared;
    const struct redis_script *scripts[] = {&shared->admit, &shared->report, &shared->claim,
                                            &shared->beat};
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        struct text words[] = {TEXT("SCRIPT"), TEXT("LOAD"), scripts[i]->source};
        redis_send(store->redis, TEXT(""), words, 3, 0, on_loaded, NULL);
    }
}

void life_changed(struct life *life)
{
    struct store_redis *store = life->store;
    life->check = true;
    atomic_store_explicit(&store->shared->up, false, memory_order_release);
    if (!redis_is_up(store->redis)) {
        life_tell(life);
        return;
    }
    load_scripts(store);
    beat(life);
}

struct life *life_new(struct store_redis *store)
{
    struct life *life = memory_new(sizeof(*life));
    life->store = store;
    life->check = true;
    life->tick.on_time = on_tick;
    timer_set(store->loop, &life->tick, clock_now_us() + STORE_BEAT_US);
    return life;
}

void life_free(struct life *life)
{
    if (!life)
        return;
    timer_stop(&life->tick);
    sweep_forget(life);
    memory_free(life);
}
