/* SPDX-License-Identifier: Apache-2.0 */
/* Eight threads on the same counters: exact, all or nothing, and nothing is left behind. */
#include <pthread.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "tests/unit/policy/meter_cases.h"

enum { THREADS = 8, TRIES = 6000, PARALLEL = 5, REQUESTS = 10000 };

struct crowd {
    struct meter *meter;
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

static void crowd_call(struct crowd *crowd, struct call *call, unsigned n)
{
    char own[32];
    *call = (struct call){0};
    snprintf(own, sizeof(own), "u/%u", n % 500);
    call_add(call, &crowd->requests, "t/requests", 1, 1);
    call_add(call, &crowd->parallel, "t/concurrent", 1, 1);
    call_add(call, &crowd->money, "t/budget", 100, 10);
    call_add(call, &crowd->minute, own, 1, 1);
    if (meter_take(crowd->meter, &call->r) != METER_TAKEN)
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

static void many_threads_count_exactly(void **state)
{
    (void)state;
    static struct crowd crowd;
    crowd.meter = meter_new(false);
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
    /* Enough was wanted: one of the two is used up, unless parallel calls were in the way. */
    assert_true(atomic_load(&crowd.taken) > 1000);
    meter_free(crowd.meter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads_count_exactly)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
