/* SPDX-License-Identifier: Apache-2.0 */
/* Eight threads on the same counters: exact, all or nothing, and nothing is left behind. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "tests/unit/policy/meter_cases.h"

enum { THREADS = 8, TRIES = 6000, PARALLEL = 5, REQUESTS = 10000 };

/* A store that gives what is lacking and a little more; counted in C. */
struct depot {
    pthread_mutex_t lock;
    int64_t claimed[4], amounts[4];
};

struct crowd {
    struct meter *meter;
    struct depot depot; /* shared only */
    struct limit requests, parallel, money, minute;
    _Atomic int running, most, taken;
    _Atomic int64_t spent;
    _Atomic bool over;
};

struct member {
    struct crowd *crowd;
    pthread_t thread;
    unsigned number;
};

static bool depot_ask(struct crowd *crowd, struct call *call)
{
    struct depot *depot = &crowd->depot;
    struct meter_lack lacks[4];
    struct meter_grant grants[4];
    bool all = true;
    meter_lacks(crowd->meter, &call->r, lacks);
    pthread_mutex_lock(&depot->lock);
    for (int i = 0; i < 4; i++)
        all = all && depot->claimed[i] + lacks[i].lack <= depot->amounts[i];
    for (int i = 0; i < 4 && all; i++) {
        int64_t left = depot->amounts[i] - depot->claimed[i] - lacks[i].lack;
        int64_t more = lacks[i].more < left / 8 ? lacks[i].more : left / 8;
        grants[i] = (struct meter_grant){lacks[i].slot, lacks[i].lack + more, left - more};
        depot->claimed[i] += grants[i].granted;
    }
    pthread_mutex_unlock(&depot->lock);
    return all && meter_grant(crowd->meter, &call->r, grants, METER_FOR_CALL) == METER_TAKEN;
}

static int depot_index(struct text id)
{
    return text_starts(id, TEXT("u/"))          ? 3
           : text_equal(id, TEXT("t/requests")) ? 0
           : text_equal(id, TEXT("t/budget"))   ? 2
                                                : 1;
}

static void depot_report(struct crowd *crowd)
{
    struct meter_change changes[32];
    size_t count;
    while ((count = meter_changes(crowd->meter, changes, 32)) > 0) {
        pthread_mutex_lock(&crowd->depot.lock);
        for (size_t i = 0; i < count; i++)
            crowd->depot.claimed[depot_index(changes[i].counter)] += changes[i].delta;
        pthread_mutex_unlock(&crowd->depot.lock);
        meter_told(crowd->meter, changes, count);
    }
}

static bool crowd_take(struct crowd *crowd, struct call *call)
{
    enum meter_result result = meter_take(crowd->meter, &call->r);
    if (result == METER_SHORT)
        return depot_ask(crowd, call);
    return result == METER_TAKEN;
}

static void crowd_call(struct crowd *crowd, struct call *call, unsigned n)
{
    char own[32];
    *call = (struct call){0};
    snprintf(own, sizeof(own), "u/%u", n % 500);
    call_add(call, &crowd->requests, "t/requests", 1, 1);
    call_add(call, &crowd->parallel, "t/concurrent", 1, 1);
    call_add(call, &crowd->money, "t/budget", 100, 10);
    call_add(call, &crowd->minute, own, 1, 1);
    if (!crowd_take(crowd, call))
        return;
    int running = atomic_fetch_add(&crowd->running, 1) + 1;
    if (running > PARALLEL)
        atomic_store(&crowd->most, running);
    atomic_fetch_add(&crowd->taken, 1);
    int64_t cost = n % (unsigned)(call->uses[2].held + 1);
    atomic_fetch_add(&crowd->spent, cost);
    if (n % 7 == 0)
        sched_yield();
    atomic_fetch_sub(&crowd->running, 1);
    struct used used = {.sent = true, .cost_nanos = cost};
    meter_settle(crowd->meter, &call->r, &used);
    meter_settle(crowd->meter, &call->r, &used);
}

static void *member_run(void *with)
{
    struct member *member = with;
    struct call call;
    for (unsigned i = 0; i < TRIES; i++)
        crowd_call(member->crowd, &call, i * 31 + member->number);
    return NULL;
}

static void on_counter(void *with, const struct counter_view *view)
{
    *(int64_t *)with += view->used;
}

static void *others_run(void *with)
{
    struct crowd *crowd = with;
    while (!atomic_load(&crowd->over)) {
        int64_t sum = 0;
        meter_tidy(crowd->meter);
        if (crowd->meter->shared)
            depot_report(crowd);
        meter_list(crowd->meter, TEXT("acme"), TEXT(""), 10, on_counter, &sum);
        meter_set_clock(crowd->meter, meter_now_us(crowd->meter) - 5, clock_now_us(), false);
    }
    return NULL;
}

static void crowd_run(struct crowd *crowd)
{
    struct member members[THREADS];
    pthread_t others;
    pthread_create(&others, NULL, others_run, crowd);
    for (unsigned i = 0; i < THREADS; i++) {
        members[i] = (struct member){.crowd = crowd, .number = i};
        pthread_create(&members[i].thread, NULL, member_run, &members[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    atomic_store(&crowd->over, true);
    pthread_join(others, NULL);
}

static void count_exactly(bool shared)
{
    static struct crowd crowd;
    memset(&crowd, 0, sizeof(crowd));
    crowd.depot = (struct depot){.amounts = {REQUESTS, PARALLEL, 250000, 1000000}};
    pthread_mutex_init(&crowd.depot.lock, NULL);
    crowd.meter = meter_new(shared);
    crowd.requests = rolling(LIMIT_REQUESTS, REQUESTS, DAY);
    crowd.parallel = parallel(PARALLEL);
    crowd.money = budget(250000, PERIOD_TOTAL);
    crowd.minute = rolling(LIMIT_REQUESTS, 1000, HOUR);
    crowd_run(&crowd);
    assert_int_equal(atomic_load(&crowd.most), 0);
    assert_true(atomic_load(&crowd.taken) <= REQUESTS);
    assert_true(atomic_load(&crowd.spent) <= crowd.money.amount);
    assert_int_equal(used_of(crowd.meter, "t/requests"), atomic_load(&crowd.taken));
    assert_int_equal(used_of(crowd.meter, "t/budget"), atomic_load(&crowd.spent));
    assert_int_equal(used_of(crowd.meter, "t/concurrent"), 0);
    int64_t sum = 0;
    meter_list(crowd.meter, TEXT("acme"), TEXT("u/"), 1000, on_counter, &sum);
    assert_int_equal(sum, atomic_load(&crowd.taken));
    assert_int_equal(meter_figures(crowd.meter).live, 0);
    assert_true(atomic_load(&crowd.taken) > 500);
    if (shared) {
        meter_freeze(crowd.meter, meter_now_us(crowd.meter) + 2 * MINUTE);
        depot_report(&crowd);
        assert_int_equal(crowd.depot.claimed[0], atomic_load(&crowd.taken));
        assert_int_equal(crowd.depot.claimed[1], 0);
        assert_int_equal(crowd.depot.claimed[2], atomic_load(&crowd.spent));
        assert_int_equal(crowd.depot.claimed[3], atomic_load(&crowd.taken));
    }
    pthread_mutex_destroy(&crowd.depot.lock);
    meter_free(crowd.meter);
}

static void many_threads_count_exactly(void **state)
{
    (void)state;
    count_exactly(false);
}

static void so_they_do_with_a_store(void **state)
{
    (void)state;
    count_exactly(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads_count_exactly),
                                       cmocka_unit_test(so_they_do_with_a_store)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
