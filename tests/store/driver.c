/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node of a few workers that do nothing but reserve and settle; tests/store/nodes.py speaks with
 * it, by lines on standard input.
 *
 *   driver URL [name=value …]    node prefix workers replicas_max timeout_us dead_us
 *
 *   limit COUNTER KIND PERIOD AMOUNT WINDOW_US AWAY EXCEEDED     numbers of the enums
 *   call ID ROOT COUNTER WANT LEAST …   reserve, on the first worker
 *   abandon ID
 *   settle ID SENT INPUT OUTPUT COST
 *   extend ID KIND MORE
 *   rebuild ROOT COUNTER USED …  as if from the ledger, now
 *   crowd ROOT COUNTER COUNT USED   the same of COUNTER/0, COUNTER/1 …, with the limit of COUNTER
 *   load CALLERS ROOT HOLD_US PAUSE_US DURATION_US COUNTER WANT LEAST …
 *        on each worker CALLERS loops of reserve, hold, settle; PAUSE_US after a refusal. Money and
 *        tokens settle at a random part of what was held.
 *   view ROOT COUNTER
 *   figures
 *   quit
 *
 * What is answered: "call ID RESULT REFUSED RETRY_US LOCAL WARNED HELD …" (RESULT W: waits),
 * "settled ID", "extended ID HELD ASKS", "load GRANTED REFUSED AWAY LOCAL SPENT LATE_US FILE",
 * "view LEFT", "figures …". FILE has, for each call that was granted, when, for how long, what it
 * held of the first use, whether it was local, and in which slot it counts; in microseconds of the
 * monotonic clock.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/meter.h"
#include "policy/store_redis.h"

enum { WORDS_MAX = 64, LIMITS_MAX = 64, CALLS_MAX = 4096, WORKERS_MAX = 8, USES = 12 };

struct named_limit {
    char *counter;
    struct limit limit;
};

struct call {
    struct reservation r;
    struct use uses[USES];
    char id[32];
    bool done;
};

struct admitted {
    uint64_t at_us, until_us;
    int64_t held, slot;
    bool local;
};

struct worker;

/* One of a load: reserves, holds, settles, again. */
struct caller {
    struct call call;
    struct worker *worker;
    struct timer timer;
    bool holds;
    uint64_t asked_us;
    size_t admitted;
};

struct load {
    struct text root;
    struct use uses[USES];
    size_t use_count;
    uint64_t hold_us, pause_us, until_us;
    size_t callers;
};

struct worker {
    unsigned number;
    pthread_t thread;
    struct loop *loop;
    struct dns *dns;
    struct limiter *limiter;
    struct errand begin;
    struct caller *callers;
    size_t busy;
    uint64_t random;
    struct admitted *admitted;
    size_t admitted_count, admitted_room;
    uint64_t granted, refused, away, local, late_us;
    int64_t spent;
};

static struct {
    struct limits *limits;
    struct worker workers[WORKERS_MAX];
    unsigned worker_count;
    struct watch watch;
    struct buffer in;
    struct named_limit named[LIMITS_MAX];
    size_t named_count;
    struct call *calls[CALLS_MAX];
    size_t call_count;
    struct load load;
    _Atomic unsigned loading;
    struct arena names;
    struct errand ended;
} driver;

/* ------------------------------------------------------------------------------- words */

static int64_t number(struct text t)
{
    bool minus = t.len > 0 && t.at[0] == '-';
    uint64_t n = 0;
    text_number(text_from(t, minus), INT64_MAX, &n);
    return minus ? -(int64_t)n : (int64_t)n;
}

static struct named_limit *limit_of(struct text counter)
{
    for (size_t i = 0; i < driver.named_count; i++)
        if (text_equal(text_of(driver.named[i].counter), counter))
            return &driver.named[i];
    abort();
}

static size_t uses_read(struct use *uses, const struct text *words, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i + 2 < count && n < USES; i += 3) {
        struct named_limit *named = limit_of(words[i]);
        uses[n++] = (struct use){.limit = &named->limit,
                                 .counter = text_of(named->counter),
                                 .want = number(words[i + 1]),
                                 .least = number(words[i + 2])};
    }
    return n;
}

static void run_limit(const struct text *words)
{
    if (driver.named_count == LIMITS_MAX)
        abort();
    struct named_limit *named = &driver.named[driver.named_count++];
    named->counter = arena_new(&driver.names, words[1].len + 1);
    memcpy(named->counter, words[1].at, words[1].len);
    named->limit = (struct limit){.kind = (enum limit_kind)number(words[2]),
                                  .period = (enum limit_period)number(words[3]),
                                  .amount = number(words[4]),
                                  .window_us = number(words[5]),
                                  .away = (enum limit_away)number(words[6]),
                                  .exceeded = (enum limit_exceeded)number(words[7])};
}

/* ------------------------------------------------------------------------- single calls */

static struct call *call_of(struct text id)
{
    for (size_t i = driver.call_count; i > 0; i--)
        if (text_equal(text_of(driver.calls[i - 1]->id), id))
            return driver.calls[i - 1];
    abort();
}

static void call_tell(const struct call *call, char result)
{
    printf("call %s %c %zu %" PRId64 " %d %d", call->id, result, call->r.refused,
           call->r.retry_after_us, call->r.local, call->r.warned != 0);
    for (size_t i = 0; i < call->r.use_count; i++)
        printf(" %" PRId64, call->r.live ? call->r.uses[i].held : 0);
    printf("\n");
}

static char letter(enum reserve_result result)
{
    static const char letters[] = {[RESERVE_GRANTED] = 'G',
                                   [RESERVE_REFUSED] = 'R',
                                   [RESERVE_AWAY] = 'A',
                                   [RESERVE_WAITS] = 'W'};
    return letters[result];
}

static void on_call(struct reservation *r, enum reserve_result result)
{
    struct call *call = LIST_MEMBER(r, struct call, r);
    call_tell(call, letter(result));
}

static void run_call(const struct text *words, size_t count)
{
    if (driver.call_count == CALLS_MAX)
        abort();
    struct call *call = memory_new(sizeof(*call));
    driver.calls[driver.call_count++] = call;
    snprintf(call->id, sizeof(call->id), "%.*s", TEXT_ARGS(words[1]));
    call->r.root = arena_copy(&driver.names, words[2]);
    call->r.id = text_of(call->id);
    call->r.uses = call->uses;
    call->r.use_count = uses_read(call->uses, words + 3, count - 3);
    call->r.done = on_call;
    enum reserve_result result = limits_reserve(driver.workers[0].limiter, &call->r);
    call_tell(call, letter(result));
}

static void run_settle(const struct text *words)
{
    struct call *call = call_of(words[1]);
    struct used used = {.sent = number(words[2]) != 0,
                        .input_tokens = number(words[3]),
                        .output_tokens = number(words[4]),
                        .cost_nanos = number(words[5])};
    limits_settle(&call->r, &used);
    printf("settled %s\n", call->id);
}

static void run_extend(const struct text *words)
{
    struct call *call = call_of(words[1]);
    bool held = limits_extend(&call->r, (enum limit_kind)number(words[2]), number(words[3]));
    printf("extended %s %d %d\n", call->id, held,
           limits_asks_ahead(&call->r, (enum limit_kind)number(words[2])));
}

static void run_rebuild(const struct text *words, size_t count)
{
    struct use uses[USES];
    size_t n = 0;
    for (size_t i = 2; i + 1 < count && n < USES; i += 2) {
        struct named_limit *named = limit_of(words[i]);
        uses[n++] = (struct use){.limit = &named->limit,
                                 .counter = text_of(named->counter),
                                 .want = number(words[i + 1])};
    }
    limits_rebuild(driver.limits, words[1], uses, n, clock_wall_us());
    printf("rebuilt\n");
}

static void run_crowd(const struct text *words)
{
    struct named_limit *named = limit_of(words[2]);
    for (int64_t i = 0; i < number(words[3]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s/%" PRId64, named->counter, i);
        struct use use = {
            .limit = &named->limit, .counter = text_of(name), .want = number(words[4])};
        limits_rebuild(driver.limits, words[1], &use, 1, clock_wall_us());
    }
    printf("rebuilt\n");
}

static void run_view(const struct text *words)
{
    struct named_limit *named = limit_of(words[2]);
    struct use use = {.limit = &named->limit, .counter = text_of(named->counter)};
    struct reservation r = {
        .root = words[1], .uses = &use, .use_count = 1, .limiter = driver.workers[0].limiter};
    struct limit_view view;
    limits_view(&r, 0, &view);
    printf("view %" PRId64 "\n", view.left);
}

static void run_figures(void)
{
    struct limits_figures f = limits_figures(driver.limits);
    printf("figures %d %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRIu64 "\n",
           f.store_up, f.replicas, f.asked, f.counters, f.live, f.store_latency_us, f.granted);
}

/* -------------------------------------------------------------------------------- a load */

static uint64_t random_below(struct worker *worker, uint64_t below)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return below ? worker->random % below : 0;
}

static void caller_ask(struct caller *caller);

static void load_tell(void)
{
    uint64_t granted = 0, refused = 0, away = 0, local = 0, late = 0;
    int64_t spent = 0;
    char name[] = "/tmp/sluice-load-XXXXXX";
    int fd = mkstemp(name);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        abort();
    for (unsigned i = 0; i < driver.worker_count; i++) {
        struct worker *worker = &driver.workers[i];
        granted += worker->granted;
        refused += worker->refused;
        away += worker->away;
        local += worker->local;
        spent += worker->spent;
        late = worker->late_us > late ? worker->late_us : late;
        for (size_t n = 0; n < worker->admitted_count; n++)
            fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRId64 " %d %" PRId64 "\n",
                    worker->admitted[n].at_us, worker->admitted[n].until_us,
                    worker->admitted[n].held, worker->admitted[n].local, worker->admitted[n].slot);
        worker->admitted_count = 0;
        worker->granted = worker->refused = worker->away = worker->local = worker->late_us = 0;
        worker->spent = 0;
    }
    fclose(file);
    printf("load %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRIu64 " %s\n",
           granted, refused, away, local, spent, late, name);
    fflush(stdout);
}

static void on_load_ended(struct errand *errand)
{
    (void)errand;
    load_tell();
}

static void caller_end(struct worker *worker)
{
    if (--worker->busy > 0)
        return;
    if (atomic_fetch_sub(&driver.loading, 1) == 1)
        loop_post(driver.workers[0].loop, &driver.ended);
}

static void caller_settle(struct caller *caller)
{
    struct worker *worker = caller->worker;
    struct used used = {.sent = true};
    worker->admitted[caller->admitted].until_us = clock_now_us();
    for (size_t i = 0; i < caller->call.r.use_count; i++) {
        const struct use *use = &caller->call.uses[i];
        int64_t actual = (int64_t)random_below(worker, (uint64_t)use->held + 1);
        if (use->limit->kind == LIMIT_MONEY && (!used.cost_nanos || actual < used.cost_nanos))
            used.cost_nanos = actual;
        if (use->limit->kind == LIMIT_TOKENS)
            used.input_tokens = use->held; /* what is given back would make room in the window */
    }
    worker->spent += used.cost_nanos;
    limits_settle(&caller->call.r, &used);
}

static void caller_told(struct caller *caller, enum reserve_result result)
{
    struct worker *worker = caller->worker;
    uint64_t now = clock_now_us(), wait = driver.load.pause_us;
    worker->late_us =
        now - caller->asked_us > worker->late_us ? now - caller->asked_us : worker->late_us;
    if (result == RESERVE_GRANTED) {
        if (worker->admitted_count == worker->admitted_room) {
            worker->admitted_room = worker->admitted_room ? worker->admitted_room * 2 : 1024;
            worker->admitted =
                memory_resize(worker->admitted, worker->admitted_room * sizeof(*worker->admitted));
        }
        caller->admitted = worker->admitted_count++;
        worker->admitted[caller->admitted] = (struct admitted){
            now, now, caller->call.uses[0].held, caller->call.uses[0].slot, caller->call.r.local};
        worker->granted++;
        worker->local += caller->call.r.local;
        caller->holds = true;
        wait = driver.load.hold_us / 2 + random_below(worker, driver.load.hold_us);
    } else if (result == RESERVE_REFUSED) {
        worker->refused++;
    } else {
        worker->away++;
    }
    timer_set(worker->loop, &caller->timer, now + wait + 1);
}

static void on_asked(struct reservation *r, enum reserve_result result)
{
    caller_told(LIST_MEMBER(r, struct caller, call.r), result);
}

static void on_caller_time(struct timer *timer)
{
    struct caller *caller = LIST_MEMBER(timer, struct caller, timer);
    if (caller->holds) {
        caller->holds = false;
        caller_settle(caller);
    }
    if (clock_now_us() >= driver.load.until_us)
        caller_end(caller->worker);
    else
        caller_ask(caller);
}

static void caller_ask(struct caller *caller)
{
    struct load *load = &driver.load;
    caller->call.r = (struct reservation){.root = load->root,
                                          .id = TEXT("load"),
                                          .uses = caller->call.uses,
                                          .use_count = load->use_count,
                                          .done = on_asked};
    memcpy(caller->call.uses, load->uses, sizeof(load->uses));
    caller->asked_us = clock_now_us();
    enum reserve_result result = limits_reserve(caller->worker->limiter, &caller->call.r);
    if (result != RESERVE_WAITS)
        caller_told(caller, result);
}

static void on_load_begin(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, begin);
    memory_free(worker->callers);
    worker->callers = memory_new(driver.load.callers * sizeof(struct caller));
    worker->busy = driver.load.callers;
    for (size_t i = 0; i < driver.load.callers; i++) {
        worker->callers[i].worker = worker;
        worker->callers[i].timer.on_time = on_caller_time;
        caller_ask(&worker->callers[i]);
    }
}

static void run_load(const struct text *words, size_t count)
{
    struct load *load = &driver.load;
    *load = (struct load){.callers = (size_t)number(words[1]),
                          .root = arena_copy(&driver.names, words[2]),
                          .hold_us = (uint64_t)number(words[3]),
                          .pause_us = (uint64_t)number(words[4]),
                          .until_us = clock_now_us() + (uint64_t)number(words[5])};
    load->use_count = uses_read(load->uses, words + 6, count - 6);
    driver.ended.run = on_load_ended;
    atomic_store(&driver.loading, driver.worker_count);
    for (unsigned i = 0; i < driver.worker_count; i++) {
        driver.workers[i].begin.run = on_load_begin;
        loop_post(driver.workers[i].loop, &driver.workers[i].begin);
    }
}

/* -------------------------------------------------------------------------------- input */

static void run_line(struct text line)
{
    static struct text words[WORDS_MAX];
    size_t count = 0;
    while (count < WORDS_MAX && text_next(&line, ' ', &words[count]))
        count++;
    if (text_equal(words[0], TEXT("limit")))
        run_limit(words);
    else if (text_equal(words[0], TEXT("call")))
        run_call(words, count);
    else if (text_equal(words[0], TEXT("abandon")))
        limits_abandon(&call_of(words[1])->r);
    else if (text_equal(words[0], TEXT("settle")))
        run_settle(words);
    else if (text_equal(words[0], TEXT("extend")))
        run_extend(words);
    else if (text_equal(words[0], TEXT("rebuild")))
        run_rebuild(words, count);
    else if (text_equal(words[0], TEXT("crowd")))
        run_crowd(words);
    else if (text_equal(words[0], TEXT("view")))
        run_view(words);
    else if (text_equal(words[0], TEXT("load")))
        run_load(words, count);
    else if (text_equal(words[0], TEXT("figures")))
        run_figures();
    else if (text_equal(words[0], TEXT("quit")))
        loop_stop(driver.workers[0].loop);
}

static void on_input(struct watch *watch, unsigned events)
{
    (void)events;
    char *room = buffer_room(&driver.in, 65536);
    ssize_t got = room ? read(watch->fd, room, 65536) : 0;
    if (got <= 0) {
        loop_stop(driver.workers[0].loop);
        return;
    }
    buffer_grow(&driver.in, (size_t)got);
    for (;;) {
        struct text held = buffer_text(&driver.in);
        size_t end = text_find_byte(held, '\n');
        if (end == SIZE_MAX)
            break;
        run_line(text_head(held, end));
        buffer_drop(&driver.in, end + 1);
    }
}

static void on_round(void *with)
{
    (void)with;
    fflush(stdout);
}

/* -------------------------------------------------------------------------------- begin */

static void worker_begin(struct worker *worker, unsigned number_of)
{
    struct fault fault = {0};
    worker->number = number_of;
    worker->random = 88172645463325252ULL + number_of + (uint64_t)getpid() * 7919;
    worker->loop = loop_new();
    worker->dns = dns_new(worker->loop);
    worker->limiter = limiter_new(driver.limits, worker->loop, worker->dns, number_of, &fault);
    if (!worker->limiter) {
        printf("fault %s\n", fault.text);
        exit(1);
    }
}

static void worker_end(struct worker *worker)
{
    limiter_free(worker->limiter);
    loop_clear(worker->loop);
    dns_free(worker->dns);
    loop_free(worker->loop);
    memory_free(worker->callers);
    memory_free(worker->admitted);
}

static void *worker_run(void *with)
{
    struct worker *worker = with;
    loop_run(worker->loop, NULL, NULL);
    return NULL;
}

static void read_option(struct redis_options *redis, struct limits_options *options, char *option)
{
    char *value = strchr(option, '=');
    if (!value)
        abort();
    *value++ = '\0';
    if (strcmp(option, "node") == 0)
        options->node = value;
    else if (strcmp(option, "prefix") == 0)
        options->prefix = value;
    else if (strcmp(option, "workers") == 0)
        driver.worker_count = (unsigned)atoi(value);
    else if (strcmp(option, "replicas_max") == 0)
        options->replicas_max = (unsigned)atoi(value);
    else if (strcmp(option, "timeout_us") == 0)
        redis->timeout_us = atoll(value);
    else if (strcmp(option, "dead_us") == 0)
        options->dead_us = atoll(value);
    else if (strcmp(option, "master") == 0)
        redis->sentinel_master = value;
    else if (strcmp(option, "sentinel") == 0)
        redis->sentinels[0] = value;
    else
        abort();
}

int main(int count, char **words)
{
    struct redis_options redis = {.url = words[1], .timeout_us = 200000};
    struct limits_options options = {
        .redis = &redis, .prefix = "s:", .node = "a", .replicas_max = 1};
    driver.worker_count = 1;
    for (int i = 2; i < count; i++)
        read_option(&redis, &options, words[i]);
    if (driver.worker_count < 1 || driver.worker_count > WORKERS_MAX)
        abort();
    buffer_init(&driver.in, 1024 * 1024);
    arena_init(&driver.names, 4096);
    driver.limits = limits_new(&options);
    for (unsigned i = 0; i < driver.worker_count; i++)
        worker_begin(&driver.workers[i], i);
    for (unsigned i = 1; i < driver.worker_count; i++)
        if (pthread_create(&driver.workers[i].thread, NULL, worker_run, &driver.workers[i]))
            abort();
    driver.watch = (struct watch){.fd = STDIN_FILENO, .on_event = on_input};
    loop_add_level(driver.workers[0].loop, &driver.watch, LOOP_READ);
    loop_run(driver.workers[0].loop, on_round, NULL);
    for (unsigned i = 1; i < driver.worker_count; i++) {
        loop_stop(driver.workers[i].loop);
        pthread_join(driver.workers[i].thread, NULL);
    }
    for (unsigned i = driver.worker_count; i > 0; i--)
        worker_end(&driver.workers[i - 1]);
    limits_free(driver.limits);
    for (size_t i = 0; i < driver.call_count; i++)
        memory_free(driver.calls[i]);
    arena_done(&driver.names);
    buffer_done(&driver.in);
    printf("quit\n");
    return 0;
}
