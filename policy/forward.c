/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "policy/forward_inside.h"
#include "policy/keeper.h"
#include "policy/owners_inside.h"

enum {
    LOOK_EVERY_US = 1000000,     /* at the marks */
    PATIENCE_US = 1000000,       /* the least time-out: no call waits, and the thread may be late */
    BATCH_WAIT_US = 5 * 1000000, /* nobody waits for it: a busy server may take its time */
    UP_WAIT_US = 500 * 1000,     /* at the end, for a connection */
    NICE = 10, /* behind all calls, but not behind everything: those who read wait for it */
};

extern const char forward_sums_lua[], forward_sums_lua_end[];
extern const char forward_rows_lua[], forward_rows_lua_end[];

/* What a script answers with. */
enum told { TOLD_GOOD = 1, TOLD_OLDER, TOLD_LESS };

/* The things that are told. */
enum kind { KIND_SUMS, KIND_ROWS, KIND_OBJECTS, KINDS };

struct cursor {
    struct redis_script script;
    int64_t mark; /* told up to here */
    bool empty;   /* there was nothing behind it when it was looked at last */
};

struct forward {
    struct forward_options options;
    struct redis_options patient; /* the same with a longer time-out */
    char *prefix, *database, *told;
    struct loop *loop;
    struct dns *dns;
    struct redis *redis;
    pthread_t thread;

    /* its thread only */
    struct forward_reader *reader;
    struct share facts;
    struct words words;
    struct timer tick;
    struct cursor cursors[KINDS];
    struct waiting waiting;
    bool asked_waiting; /* since the end was near: nothing may be left to wait */
    struct batch batch;
    enum kind turn; /* what is under way, or was last */
    bool knows;     /* the marks are those of Redis */
    bool anew;      /* Redis has forgotten objects, or may have missed some: until all are told */
    bool busy;      /* a command is under way */

    struct errand woken;
    atomic_bool is_woken;
    _Atomic int64_t told_rows, calls_left, older_than;
    atomic_bool up, failing; /* failing: said once */
    _Atomic uint64_t batches, failures;

    pthread_mutex_t lock; /* of what follows: the end */
    pthread_cond_t over;
    bool ending, is_over;
};

/* ---------------------------------------------------------------------------- any thread */

void forward_wake(struct forward *forward)
{
    if (!atomic_exchange(&forward->is_woken, true))
        loop_post(forward->loop, &forward->woken);
}

int64_t forward_told_rows(const struct forward *forward)
{
    return atomic_load_explicit(&forward->told_rows, memory_order_relaxed);
}

int64_t forward_older_than(const struct forward *forward)
{
    return atomic_load_explicit(&forward->older_than, memory_order_relaxed);
}

struct forward_figures forward_figures(const struct forward *forward)
{
    return (struct forward_figures){
        .up = atomic_load_explicit(&forward->up, memory_order_relaxed) &&
              !atomic_load_explicit(&forward->failing, memory_order_relaxed),
        .calls_left = atomic_load_explicit(&forward->calls_left, memory_order_relaxed),
        .batches = atomic_load_explicit(&forward->batches, memory_order_relaxed),
        .failures = atomic_load_explicit(&forward->failures, memory_order_relaxed),
    };
}

struct loop *forward_loop(struct forward *forward)
{
    return forward->loop;
}

struct redis *forward_redis(struct forward *forward)
{
    return forward->redis;
}

const char *forward_prefix(const struct forward *forward)
{
    return forward->prefix;
}

struct text forward_ledger(const struct forward *forward)
{
    return text_of(forward->facts.ledger);
}

/* ------------------------------------------------------------------------------- failures */

static void fail(struct forward *forward, const char *who, const char *why)
{
    atomic_fetch_add(&forward->failures, 1);
    forward->knows = false; /* and the next tick begins anew */
    if (!forward->failing)
        log_line(LOG_WARN, "ledger", "other nodes are not told what is booked: %s: %.200s", who,
                 why);
    forward->failing = true;
}

static void went_well(struct forward *forward)
{
    if (forward->failing)
        log_line(LOG_INFO, "ledger", "other nodes are told again what is booked");
    forward->failing = false;
}

/* Redis knows of changes that this database has not made: it was restored, or copied. */
static void is_older(struct forward *forward, int64_t epoch)
{
    forward->knows = false;
    if (atomic_load(&forward->older_than) >= epoch)
        return;
    log_line(LOG_WARN, "ledger",
             "Redis knows more of this database than it holds: an older one was restored, or it is "
             "used twice; what Redis has of it is replaced");
    atomic_store(&forward->older_than, epoch);
    forward->options.on_older(forward->options.with);
}

/* -------------------------------------------------------------------------------- telling */

static void step(struct forward *forward);

static bool read_kind(struct forward *forward, enum kind kind)
{
    const struct forward_options *options = &forward->options;
    struct batch *batch = &forward->batch;
    struct words *words = &forward->words;
    struct share *facts = &forward->facts;
    switch (kind) {
    case KIND_SUMS:
        return forward_read_sums(forward->reader, options, &forward->waiting, batch, words, facts);
    case KIND_ROWS:
        return forward_read_rows(forward->reader, options, batch, words, facts);
    case KIND_OBJECTS:
        batch->is_anew = forward->anew;
        return forward_read_objects(forward->reader, options, batch, words, facts);
    case KINDS:
        break;
    }
    return false;
}

static bool read_batch(struct forward *forward, enum kind kind)
{
    struct cursor *cursor = &forward->cursors[kind];
    forward->batch = (struct batch){.before = cursor->mark};
    if (!read_kind(forward, kind)) {
        fail(forward, "the database", forward_reader_problem(forward->reader));
        return false;
    }
    cursor->empty = forward->batch.count == 0;
    if (kind == KIND_OBJECTS && cursor->empty)
        forward->anew = false;
    int64_t left = forward->facts.rows - forward->cursors[KIND_ROWS].mark;
    atomic_store_explicit(&forward->calls_left, left > 0 ? left : 0, memory_order_relaxed);
    return true;
}

static int64_t number_at(const struct redis_reply *reply, size_t i)
{
    return i < redis_count(reply) ? redis_number(redis_item(reply, i)) : 0;
}

static void take_answer(struct forward *forward, const struct redis_reply *reply)
{
    struct cursor *cursor = &forward->cursors[forward->turn];
    int64_t number = number_at(reply, 1);
    switch ((enum told)number_at(reply, 0)) {
    case TOLD_GOOD:
        went_well(forward);
        atomic_fetch_add_explicit(&forward->batches, 1, memory_order_relaxed);
        cursor->mark = number;
        if (forward->turn == KIND_ROWS)
            atomic_store_explicit(&forward->told_rows, number, memory_order_relaxed);
        if (forward->turn == KIND_SUMS)
            waiting_told(&forward->waiting, &forward->batch.journals, forward->told,
                         forward->facts.ledger);
        return;
    case TOLD_OLDER:
        is_older(forward, number);
        return;
    case TOLD_LESS:
        cursor->mark = number;
        return;
    }
    fail(forward, "Redis", "an answer of another kind");
}

static void on_told(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct forward *forward = with;
    forward->busy = false;
    if (fault != REDIS_ANSWERED) {
        forward->knows = false;
    } else if (redis_kind(reply) == REDIS_LIST) {
        take_answer(forward, reply);
    } else {
        struct text words = redis_text(reply);
        char room[256];
        snprintf(room, sizeof(room), "%.*s", TEXT_ARGS(text_head(words, 200)));
        fail(forward, "Redis", room);
    }
    step(forward);
}

/* True when something is on its way, or it has failed. */
static bool tell(struct forward *forward, enum kind kind)
{
    struct words *words = &forward->words;
    if (!read_batch(forward, kind))
        return true;
    if (forward->batch.count == 0)
        return false;
    forward->turn = kind;
    forward->busy = redis_eval(forward->redis, &forward->cursors[kind].script, words->keys,
                               words->at, words->count, BATCH_WAIT_US, on_told, forward);
    if (!forward->busy)
        forward->knows = false;
    return true;
}

static bool is_ending(struct forward *forward)
{
    pthread_mutex_lock(&forward->lock);
    bool ending = forward->ending;
    pthread_mutex_unlock(&forward->lock);
    return ending;
}

static bool ask_waiting(struct forward *forward);

/* The end has come when nothing is left to be told, or nobody can be. */
static void look_whether_over(struct forward *forward)
{
    if (!is_ending(forward))
        return;
    if (!forward->asked_waiting) {
        forward->asked_waiting = ask_waiting(forward);
        return;
    }
    bool nothing = forward->knows;
    for (int kind = 0; kind < KINDS; kind++)
        nothing = nothing && forward->cursors[kind].empty;
    pthread_mutex_lock(&forward->lock);
    if (forward->ending && nothing) {
        forward->is_over = true;
        pthread_cond_signal(&forward->over);
    }
    pthread_mutex_unlock(&forward->lock);
}

/* By turns, so that none waits for all of another. */
static void step(struct forward *forward)
{
    if (forward->busy || !forward->knows || !redis_is_up(forward->redis))
        return;
    enum kind last = forward->turn;
    for (int i = 1; i <= KINDS; i++)
        if (tell(forward, (enum kind)(((int)last + i) % KINDS)))
            return;
    went_well(forward); /* nothing is left, whoever has told it */
    look_whether_over(forward);
}

/* ---------------------------------------------------------------------------------- marks */

/* "<epoch> <mark> <when>" */
static bool read_mark(const struct redis_reply *reply, int64_t *epoch, int64_t *mark)
{
    struct text rest = redis_text(reply), word;
    uint64_t numbers[2];
    *epoch = *mark = 0;
    if (redis_kind(reply) != REDIS_TEXT)
        return false;
    for (int i = 0; i < 2; i++)
        if (!text_next(&rest, ' ', &word) || !text_number(word, INT64_MAX, &numbers[i]))
            return false;
    *epoch = (int64_t)numbers[0];
    *mark = (int64_t)numbers[1];
    return true;
}

static void take_marks(struct forward *forward, const struct redis_reply *reply)
{
    const struct share *facts = &forward->facts;
    /* Read after the marks: what they say was in the database before. */
    if (!forward_read_facts(forward->reader, &forward->facts)) {
        fail(forward, "the database", forward_reader_problem(forward->reader));
        return;
    }
    forward->knows = true;
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t epoch, mark, last = kind == KIND_ROWS ? facts->rows : facts->version;
        bool known = read_mark(redis_item(reply, (size_t)kind), &epoch, &mark);
        int64_t before = forward->cursors[kind].mark;
        forward->cursors[kind].mark = known && epoch == facts->epoch ? mark : 0;
        if (kind == KIND_OBJECTS && forward->cursors[kind].mark < before)
            forward->anew = true;
        if (known && (epoch > facts->epoch || (epoch == facts->epoch && mark > last)))
            is_older(forward, epoch);
    }
    atomic_store_explicit(&forward->told_rows, forward->cursors[KIND_ROWS].mark,
                          memory_order_relaxed);
}

static void on_waiting(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct forward *forward = with;
    forward->busy = false;
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST)
        waiting_note(&forward->waiting, text_of(forward->facts.ledger), reply);
    else
        forward->knows = false;
    step(forward);
}

/* Whose lines wait? */
static bool ask_waiting(struct forward *forward)
{
    struct words *words = &forward->words;
    words_begin(words);
    words_add(words, TEXT("SMEMBERS"));
    words_add(words, forward_key(&words->arena, forward->prefix, "waiting"));
    forward->busy =
        redis_send(forward->redis, words->at[1], words->at, words->count, 0, on_waiting, forward);
    return forward->busy;
}

static void on_marks(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct forward *forward = with;
    forward->busy = false;
    forward->knows = false;
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST && redis_count(reply) == KINDS)
        take_marks(forward, reply);
    if (!forward->knows || !ask_waiting(forward))
        step(forward);
}

static void ask_marks(struct forward *forward)
{
    struct words *words = &forward->words;
    if (forward->busy || !redis_is_up(forward->redis))
        return;
    if (!forward->facts.ledger[0] && !forward_read_facts(forward->reader, &forward->facts))
        return;
    words_begin(words);
    words_add(words, TEXT("HMGET"));
    words_add(words, forward_key(&words->arena, forward->prefix, "ledgers"));
    words_add(words, arena_format(&words->arena, "%s/sums", forward->facts.ledger));
    words_add(words, arena_format(&words->arena, "%s/rows", forward->facts.ledger));
    words_add(words, arena_format(&words->arena, "%s/objects", forward->facts.ledger));
    forward->busy =
        redis_send(forward->redis, words->at[1], words->at, words->count, 0, on_marks, forward);
}

static bool open_reader(struct forward *forward)
{
    struct fault fault;
    if (!forward->reader)
        forward->reader = forward_reader_open(forward->database, &fault);
    if (!forward->reader)
        fail(forward, "the database", fault.text);
    return forward->reader != NULL;
}

static void on_tick(struct timer *timer)
{
    struct forward *forward = LIST_MEMBER(timer, struct forward, tick);
    timer_set(forward->loop, timer, clock_now_us() + LOOK_EVERY_US);
    atomic_store_explicit(&forward->up, redis_is_up(forward->redis), memory_order_relaxed);
    if (open_reader(forward))
        ask_marks(forward);
}

static void on_change(void *with)
{
    struct forward *forward = with;
    forward->knows = false;
    forward->anew = true; /* calls have gone on while it was away */
    atomic_store_explicit(&forward->up, redis_is_up(forward->redis), memory_order_relaxed);
    if (open_reader(forward))
        ask_marks(forward);
}

static void on_woken(struct errand *errand)
{
    struct forward *forward = LIST_MEMBER(errand, struct forward, woken);
    atomic_store(&forward->is_woken, false);
    step(forward);
}

/* ----------------------------------------------------------------------------- the thread */

static void *forward_main(void *with)
{
    struct forward *forward = with;
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    loop_run(forward->loop, NULL, NULL);
    return NULL;
}

static void script_init(struct redis_script *script, const char *from, const char *end)
{
    redis_script_init(script, (struct text){from, (size_t)(end - from)});
}

static struct forward *forward_new(const struct forward_options *options)
{
    struct forward *forward = memory_new(sizeof(*forward));
    forward->options = *options;
    forward->options.prefix = forward->prefix = memory_string(text_of(options->prefix));
    forward->options.database = forward->database = memory_string(text_of(options->database));
    forward->options.told = forward->told = memory_string(text_of(options->told));
    forward->loop = loop_new();
    forward->dns = dns_new(forward->loop);
    words_init(&forward->words);
    waiting_init(&forward->waiting);
    script_init(&forward->cursors[KIND_SUMS].script, forward_sums_lua, forward_sums_lua_end);
    script_init(&forward->cursors[KIND_ROWS].script, forward_rows_lua, forward_rows_lua_end);
    owners_script_init(&forward->cursors[KIND_OBJECTS].script);
    forward->woken.run = on_woken;
    forward->tick.on_time = on_tick;
    pthread_mutex_init(&forward->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&forward->over, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return forward;
}

static void forward_free(struct forward *forward)
{
    timer_stop(&forward->tick);
    if (forward->redis)
        redis_free(forward->redis);
    loop_clear(forward->loop);
    dns_free(forward->dns);
    loop_clear(forward->loop);
    loop_free(forward->loop);
    forward_reader_close(forward->reader);
    words_done(&forward->words);
    waiting_done(&forward->waiting);
    pthread_cond_destroy(&forward->over);
    pthread_mutex_destroy(&forward->lock);
    memory_free(forward->prefix);
    memory_free(forward->database);
    memory_free(forward->told);
    memory_free(forward);
}

struct forward *forward_open(const struct forward_options *options, struct fault *fault)
{
    struct forward *forward = forward_new(options);
    forward->patient = *options->redis;
    if (forward->patient.timeout_us < PATIENCE_US)
        forward->patient.timeout_us = PATIENCE_US;
    forward->redis = redis_new(forward->loop, forward->dns, &forward->patient, fault);
    if (forward->redis) {
        redis_on_change(forward->redis, on_change, forward);
        timer_set(forward->loop, &forward->tick, clock_now_us() + LOOK_EVERY_US);
        if (ledger_thread(&forward->thread, "ledger-forward", forward_main, forward))
            return forward;
        fault_set(fault, FAULT_INTERNAL, "ledger: no thread: %m");
    }
    forward_free(forward);
    return NULL;
}

/* Wait until nothing is left to be told; not long for a Redis that is away. */
static void wait_over(struct forward *forward, int64_t wait_us)
{
    uint64_t now = clock_now_us(), until = now + (uint64_t)wait_us;
    pthread_mutex_lock(&forward->lock);
    forward->ending = true;
    pthread_mutex_unlock(&forward->lock);
    forward_wake(forward);
    pthread_mutex_lock(&forward->lock);
    while (!forward->is_over && clock_now_us() < until) {
        uint64_t step_us = clock_now_us() + UP_WAIT_US;
        struct timespec end = {(time_t)(step_us / 1000000), (long)(step_us % 1000000) * 1000};
        if (pthread_cond_timedwait(&forward->over, &forward->lock, &end) != 0 &&
            !atomic_load(&forward->up))
            break;
    }
    bool over = forward->is_over;
    pthread_mutex_unlock(&forward->lock);
    if (!over)
        log_line(LOG_WARN, "ledger",
                 "not everything that is booked could be told to other nodes; it is when sluice "
                 "starts again");
}

void forward_close(struct forward *forward, int64_t wait_us)
{
    if (!forward)
        return;
    if (wait_us > 0)
        wait_over(forward, wait_us);
    loop_stop(forward->loop);
    pthread_join(forward->thread, NULL);
    forward_free(forward);
}
