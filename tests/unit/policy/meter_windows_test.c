/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random arrivals over windows: no stretch as long as the window sees more than the amount, and
 * steady load gets its share. Every call is watched from outside: when it was let in and what it
 * has used, in true time, whatever the store's clock says.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "tests/unit/policy/meter_cases.h"

enum { EVENTS = 4000, RUNS = 300, RUNNING_MAX = 50 };

struct event {
    int64_t at; /* true time */
    int64_t value;
};

struct run {
    struct meter *meter;
    struct limit limit;
    uint64_t random;
    int64_t true_us, clock_us; /* what time it is, and what the store's clock shows */
    struct event events[EVENTS];
    size_t count;
    struct call calls[RUNNING_MAX];
    size_t event_of[RUNNING_MAX];
};

static uint64_t next_random(struct run *run)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return run->random * UINT64_C(0x2545f4914f6cdd1d);
}

static int64_t between(struct run *run, int64_t least, int64_t most)
{
    return least + (int64_t)(next_random(run) % (uint64_t)(most - least + 1));
}

static void run_begin(struct run *run, uint64_t seed)
{
    static const int64_t windows[] = {SECOND, 7 * SECOND + 3, MINUTE, HOUR, 30 * DAY, 100};
    static const enum limit_kind kinds[] = {LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_MONEY};
    memset(run, 0, sizeof(*run));
    run->random = seed * 7919 + 1;
    run->limit =
        rolling(kinds[between(run, 0, 2)], between(run, 1, 3000), windows[between(run, 0, 5)]);
    if (between(run, 0, 2) == 0)
        run->limit.algorithm = LIMIT_TOKEN_BUCKET;
    run->meter = meter_new(false);
    run->true_us = run->clock_us = START + between(run, 0, HOUR);
    meter_freeze(run->meter, run->clock_us);
}

static void run_wait(struct run *run, int64_t us)
{
    run->true_us += us;
    run->clock_us += us;
    meter_freeze(run->meter, run->clock_us);
}

/* Another store, whose clock shows another time. */
static void run_leap(struct run *run, int64_t by_us)
{
    uint64_t mono = clock_now_us();
    int64_t before = (int64_t)mono + atomic_load(&run->meter->offset_us);
    meter_set_clock(run->meter, before + by_us, mono, true);
    run->clock_us += by_us;
    meter_freeze(run->meter, run->clock_us);
}

static void check_stretch(const struct run *run)
{
    int64_t sum = 0;
    for (size_t i = run->count; i > 0; i--) {
        if (run->events[i - 1].at <= run->true_us - run->limit.window_us)
            break;
        sum += run->events[i - 1].value;
    }
    if (sum > run->limit.amount)
        fail_msg("%lld of %lld in %lld us (%s, kind %d)", (long long)sum,
                 (long long)run->limit.amount, (long long)run->limit.window_us,
                 run->limit.algorithm == LIMIT_TOKEN_BUCKET ? "bucket" : "window", run->limit.kind);
}

static bool run_call(struct run *run, int64_t want, size_t place)
{
    struct call *call = &run->calls[place];
    if (take(run->meter, call, &run->limit, want, want) != METER_TAKEN)
        return false;
    run->event_of[place] = run->count;
    run->events[run->count++] = (struct event){run->true_us, want};
    check_stretch(run);
    return true;
}

static void run_settle(struct run *run, size_t place)
{
    struct call *call = &run->calls[place];
    if (!call->r.live)
        return;
    struct event *event = &run->events[run->event_of[place]];
    bool sent = between(run, 0, 9) > 0;
    int64_t value = sent ? between(run, 0, event->value) : 0;
    if (run->limit.kind == LIMIT_REQUESTS)
        value = sent ? event->value : 0;
    event->value = value;
    meter_settle(run->meter, &call->r,
                 &(struct used){.sent = sent, .input_tokens = value, .cost_nanos = value});
}

static int64_t random_want(struct run *run)
{
    int64_t amount = run->limit.amount;
    if (run->limit.kind == LIMIT_REQUESTS || amount == 1)
        return 1;
    return between(run, 0, 20) ? between(run, 1, 1 + amount / 10) : between(run, 1, amount);
}

/* Bursts and silence, mixed. */
static int64_t random_pause(struct run *run)
{
    int64_t window = run->limit.window_us;
    int64_t kind = between(run, 0, 99);
    if (kind < 60)
        return 0;
    if (kind < 85)
        return between(run, 0, window / 64);
    return between(run, 0, kind < 97 ? window / 8 : window * 2);
}

static void random_arrivals(uint64_t seed, bool leaps)
{
    static struct run run;
    run_begin(&run, seed);
    for (int step = 0; step < 20000 && run.count < EVENTS; step++) {
        size_t place = (size_t)between(&run, 0, RUNNING_MAX - 1);
        run_settle(&run, place);
        run_call(&run, random_want(&run), place);
        run_wait(&run, random_pause(&run));
        if (leaps && between(&run, 0, 199) == 0)
            run_leap(&run, between(&run, -run.limit.window_us, run.limit.window_us));
    }
    for (size_t i = 0; i < RUNNING_MAX; i++)
        run_settle(&run, i);
    run_wait(&run, run.limit.window_us * 2);
    assert_int_equal(used_of(run.meter, "k/one"), 0);
    assert_int_equal(meter_figures(run.meter).live, 0);
    meter_free(run.meter);
}

static void no_stretch_sees_more_than_the_amount(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++)
        random_arrivals(seed, false);
}

static void nor_when_stores_with_other_clocks_take_over(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++)
        random_arrivals(seed, true);
}

/* Who waits for as long as he was told is let in, and not before. */
static void retry_after_is_right_to_the_microsecond(void **state)
{
    (void)state;
    static struct run run;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        run_begin(&run, seed);
        for (int step = 0; step < 300; step++) {
            int64_t want = random_want(&run);
            struct call call;
            if (take(run.meter, &call, &run.limit, want, want) == METER_TAKEN) {
                run_wait(&run, random_pause(&run) / 4);
                continue;
            }
            int64_t wait = call.r.retry_after_us;
            assert_true(wait > 0 && wait <= run.limit.window_us * 2 + 64);
            run_wait(&run, wait - 1);
            assert_int_equal(take(run.meter, &call, &run.limit, want, want), METER_FULL);
            run_wait(&run, 1);
            assert_int_equal(take(run.meter, &call, &run.limit, want, want), METER_TAKEN);
        }
        meter_free(run.meter);
    }
}

/* Far more than fits, all the time: at least 95 % are let in. */
static void steady_load_gets_its_share(void **state)
{
    (void)state;
    static const int64_t windows[] = {SECOND, 7 * SECOND + 3, MINUTE, DAY};
    static const int64_t amounts[] = {1, 2, 19, 20, 100, 3000};
    for (int i = 0; i < 4 * 6 * 2; i++) {
        struct limit limit = rolling(LIMIT_REQUESTS, amounts[i % 6], windows[i / 6 % 4]);
        if (i >= 24)
            limit.algorithm = LIMIT_TOKEN_BUCKET;
        struct meter *meter = meter_new(false);
        enum { WINDOWS = 40 };
        int64_t admitted = 0, step = limit.window_us / (limit.amount * 8 + 500);
        for (int64_t at = 0; at < WINDOWS * limit.window_us; at += step) {
            meter_freeze(meter, START + at);
            admitted += may(meter, &limit);
        }
        if (admitted * 100 < WINDOWS * limit.amount * 95)
            fail_msg("%lld of %lld (window %lld us, algorithm %d)", (long long)admitted,
                     (long long)(WINDOWS * limit.amount), (long long)limit.window_us,
                     limit.algorithm);
        meter_free(meter);
    }
}

/* Random spending of several budgets at once, with refunds: to the nano-dollar. */
static void budgets_are_spent_to_the_nano_and_not_beyond(void **state)
{
    (void)state;
    static struct run run;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        run_begin(&run, seed);
        struct limit month = budget(between(&run, 1000, 9000), PERIOD_MONTH);
        struct limit total = budget(between(&run, 1000, 9000), PERIOD_TOTAL);
        int64_t spent = 0, running = 0;
        int64_t amount = month.amount < total.amount ? month.amount : total.amount;
        for (int step = 0; step < 2000; step++) {
            size_t place = (size_t)between(&run, 0, RUNNING_MAX - 1);
            struct call *call = &run.calls[place];
            if (call->r.live) {
                int64_t cost = between(&run, 0, call->uses[0].held);
                running -= call->uses[0].held;
                spent += cost;
                meter_settle(run.meter, &call->r, &(struct used){.sent = true, .cost_nanos = cost});
            }
            *call = (struct call){0};
            int64_t want = between(&run, 1, 500);
            call_add(call, &month, "m", want, 1);
            call_add(call, &total, "t", want, 1);
            if (meter_take(run.meter, &call->r) == METER_TAKEN)
                running += call->uses[0].held;
            else
                assert_int_equal(spent + running, amount);
            assert_true(spent + running <= amount);
            assert_int_equal(used_of(run.meter, "m"), spent + running);
            assert_int_equal(used_of(run.meter, "t"), spent + running);
        }
        meter_free(run.meter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_stretch_sees_more_than_the_amount),
        cmocka_unit_test(nor_when_stores_with_other_clocks_take_over),
        cmocka_unit_test(retry_after_is_right_to_the_microsecond),
        cmocka_unit_test(steady_load_gets_its_share),
        cmocka_unit_test(budgets_are_spent_to_the_nano_and_not_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
