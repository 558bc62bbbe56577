/* SPDX-License-Identifier: Apache-2.0 */
/* With a shared store: what is lacking, granted, told, returned; and what counts while it is away.
 */
#include <string.h>

#include "tests/unit/policy/meter_cases.h"

static struct meter *made(void)
{
    struct meter *meter = meter_new(true);
    meter_freeze(meter, START);
    return meter;
}

/* Ask and get <granted> beyond what is lacking. */
static enum meter_result granted(struct meter *meter, struct call *call, int64_t more, int64_t left)
{
    struct meter_lack lacks[8];
    struct meter_grant grants[8];
    meter_lacks(meter, &call->r, lacks);
    for (size_t i = 0; i < call->r.use_count; i++)
        grants[i] = (struct meter_grant){
            .slot = lacks[i].slot, .granted = lacks[i].lack + more, .left = left};
    return meter_grant(meter, &call->r, grants, METER_FOR_CALL);
}

static size_t changes_of(struct meter *meter, struct meter_change *changes, size_t max)
{
    size_t all = 0, count;
    while ((count = meter_changes(meter, changes + all, max - all)) > 0)
        all += count;
    return all;
}

static void a_slice_is_used_without_asking(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_REQUESTS, 100, MINUTE);
    struct call call;
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_SHORT);
    assert_int_equal(granted(meter, &call, 2, 50), METER_TAKEN);
    struct limit_view view;
    meter_view(meter, &call.r, 0, &view);
    assert_int_equal(view.left, 52);
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    assert_true(may(meter, &limit));
    assert_true(may(meter, &limit));
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_SHORT);
    meter_free(meter);
}

static void a_slice_is_good_in_its_slot_only_and_comes_back(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_TOKENS, 1000, 64 * SECOND);
    struct call call;
    struct meter_change changes[8];
    assert_int_equal(take(meter, &call, &limit, 30, 30), METER_SHORT);
    assert_int_equal(granted(meter, &call, 20, 50), METER_TAKEN);
    assert_int_equal(changes_of(meter, changes, 8), 0);
    meter_freeze(meter, START + SECOND);
    struct call late;
    assert_int_equal(take(meter, &late, &limit, 5, 5), METER_SHORT);
    assert_int_equal(changes_of(meter, changes, 8), 1);
    assert_int_equal(changes[0].delta, -20);
    assert_int_equal(changes[0].claimed, 30);
    assert_int_equal(changes[0].slot, START / SECOND);
    assert_int_equal(changes[0].slot_us, SECOND);
    assert_int_equal(changes[0].keep_us, 64 * SECOND);
    /* It is on its way; meanwhile the call ends with less. */
    meter_settle(meter, &call.r, &(struct used){.sent = true, .input_tokens = 12});
    meter_told(meter, changes, 1);
    assert_int_equal(changes_of(meter, changes, 8), 1);
    assert_int_equal(changes[0].delta, -18);
    assert_int_equal(changes[0].claimed, 12);
    meter_told(meter, changes, 1);
    assert_int_equal(changes_of(meter, changes, 8), 0);
    meter_free(meter);
}

/* What was held too much of a short window, of which little is left, is to be told at once, and
 * nothing of it is kept for calls to come. */
static void what_others_miss_comes_back_at_once(void **state)
{
    (void)state;
    static const struct {
        int64_t window_us, left;
        bool hurry;
        int64_t told;
    } cases[] = {{SECOND, 20, true, -18}, {SECOND, 900, false, 0}, {MINUTE, 20, false, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct meter *meter = made();
        struct limit limit = rolling(LIMIT_TOKENS, 1000, cases[i].window_us);
        struct call call;
        struct meter_change changes[8];
        assert_int_equal(take(meter, &call, &limit, 30, 30), METER_SHORT);
        assert_int_equal(granted(meter, &call, 0, cases[i].left), METER_TAKEN);
        bool hurry = meter_settle(meter, &call.r, &(struct used){.sent = true, .input_tokens = 12});
        assert_int_equal(hurry, cases[i].hurry);
        size_t count = meter_root_changes(meter, call.r.root, changes, 8);
        assert_int_equal(count, cases[i].told ? 1 : 0);
        assert_int_equal(count ? changes[0].delta : 0, cases[i].told);
        meter_free(meter);
    }
}

static void debt_is_claimed_and_told(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_TOKENS, 1000, 64 * SECOND);
    struct call call;
    struct meter_change changes[8];
    assert_int_equal(take(meter, &call, &limit, 30, 30), METER_SHORT);
    assert_int_equal(granted(meter, &call, 0, 50), METER_TAKEN);
    meter_freeze(meter, START + SECOND);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .input_tokens = 80});
    assert_int_equal(changes_of(meter, changes, 8), 1);
    assert_int_equal(changes[0].slot, START / SECOND + 1);
    assert_int_equal(changes[0].delta, 50);
    meter_free(meter);
}

static void only_what_no_store_could_grant_is_refused_here(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_TOKENS, 100, MINUTE);
    struct call call;
    assert_int_equal(take(meter, &call, &limit, 101, 101), METER_FULL);
    assert_true(call.r.retry_after_us == INT64_MAX);
    limit.algorithm = LIMIT_TOKEN_BUCKET;
    assert_int_equal(take(meter, &call, &limit, 5, 5), METER_SHORT);
    assert_int_equal(granted(meter, &call, 50, 10), METER_TAKEN);
    assert_int_equal(take(meter, &call, &limit, 5, 5), METER_FULL);
    assert_int_equal(call.r.retry_after_us, 3 * SECOND);
    meter_free(meter);
}

static void somebody_else_was_faster(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH);
    struct call first, second, third;
    assert_int_equal(take(meter, &first, &limit, 10, 10), METER_SHORT);
    assert_int_equal(granted(meter, &first, 10, 100), METER_TAKEN);
    assert_int_equal(take(meter, &second, &limit, 15, 15), METER_SHORT);
    struct meter_lack lack;
    meter_lacks(meter, &second.r, &lack);
    assert_int_equal(lack.lack, 5);
    assert_int_equal(lack.slot, START); /* a first of March */
    assert_int_equal(take(meter, &third, &limit, 10, 10), METER_TAKEN);
    struct meter_grant grant = {.slot = lack.slot, .granted = 5, .left = 100};
    assert_int_equal(meter_grant(meter, &second.r, &grant, METER_FOR_CALL), METER_SHORT);
    meter_lacks(meter, &second.r, &lack);
    assert_int_equal(lack.lack, 10);
    grant.granted = 10;
    assert_int_equal(meter_grant(meter, &second.r, &grant, METER_FOR_CALL), METER_TAKEN);
    meter_free(meter);
}

static void money_is_cut_to_what_was_granted(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit month = budget(1000, PERIOD_MONTH), day = budget(1000, PERIOD_DAY);
    struct call call = {0};
    call_add(&call, &month, "m", 500, 100);
    call_add(&call, &day, "d", 500, 100);
    assert_int_equal(meter_take(meter, &call.r), METER_SHORT);
    struct meter_grant grants[] = {{.slot = START, .granted = 500},
                                   {.slot = START, .granted = 120}};
    assert_int_equal(meter_grant(meter, &call.r, grants, METER_FOR_CALL), METER_TAKEN);
    assert_int_equal(call.uses[0].held, 120);
    assert_int_equal(call.uses[1].held, 120);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 60});
    assert_int_equal(used_of(meter, "m"), 60);
    meter_free(meter);
}

static void exceeded_is_what_the_store_says(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit warns = budget(100, PERIOD_MONTH), degrades = budget(100, PERIOD_DAY);
    warns.exceeded = EXCEEDED_WARN;
    degrades.exceeded = EXCEEDED_DEGRADE;
    struct call call = {0};
    call_add(&call, &warns, "w", 500, 500);
    call_add(&call, &degrades, "d", 500, 500);
    assert_int_equal(meter_take(meter, &call.r), METER_SHORT);
    assert_int_equal(granted(meter, &call, 0, -400), METER_TAKEN);
    assert_int_equal(call.r.warned, 1);
    assert_int_equal(call.r.degraded, 2);
    meter_free(meter);
}

static void idle_slices_come_back_after_a_second(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH);
    struct call call;
    struct meter_change changes[8];
    assert_int_equal(take(meter, &call, &limit, 10, 10), METER_SHORT);
    assert_int_equal(granted(meter, &call, 30, 100), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 10});
    /* As much as was wanted of late is kept. */
    assert_int_equal(changes_of(meter, changes, 8), 1);
    assert_int_equal(changes[0].claimed, 20);
    meter_told(meter, changes, 1);
    meter_freeze(meter, START + SECOND);
    assert_int_equal(changes_of(meter, changes, 8), 0);
    meter_freeze(meter, START + 2 * SECOND);
    assert_int_equal(changes_of(meter, changes, 8), 1);
    assert_int_equal(changes[0].claimed, 10);
    meter_free(meter);
}

static void parallel_calls_say_that_they_are_alive(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = parallel(10);
    struct call call;
    struct meter_change changes[8];
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_SHORT);
    assert_int_equal(granted(meter, &call, 0, 9), METER_TAKEN);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(changes_of(meter, changes, 8), 1);
        assert_int_equal(changes[0].delta, 0);
        assert_int_equal(changes[0].claimed, 1);
        meter_told(meter, changes, 1);
        assert_int_equal(changes_of(meter, changes, 8), 0);
        meter_freeze(meter, START + (i + 1) * (int64_t)METER_ALIVE_US);
    }
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    assert_int_equal(changes_of(meter, changes, 8), 1);
    meter_told(meter, changes, 1);
    /* The spare one for a call to come is given up by and by. */
    meter_freeze(meter, START + HOUR);
    changes_of(meter, changes, 8);
    assert_int_equal(changes[0].claimed, 0);
    assert_int_equal(changes_of(meter, changes, 8), 0);
    meter_free(meter);
}

static void on_claim(void *with, const struct meter_change *claim)
{
    struct meter_change **at = with;
    *(*at)++ = *claim;
}

static void nothing_is_told_between_doubt_and_assertion(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH), calls = parallel(5);
    struct call call, asks;
    struct meter_change changes[8], claims[8], *at = claims;
    assert_int_equal(take(meter, &call, &limit, 10, 10), METER_SHORT);
    assert_int_equal(granted(meter, &call, 0, 100), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 7});
    meter_freeze(meter, START + 3 * SECOND);
    assert_int_equal(changes_of(meter, changes, 8), 1);
    meter_untold(meter, changes, 1);
    assert_int_equal(take(meter, &asks, &limit, 0, 0), METER_TAKEN);
    meter_settle(meter, &asks.r, &(struct used){.sent = true, .cost_nanos = 4});
    assert_int_equal(changes_of(meter, changes + 1, 7), 0);
    /* Something was asked as well, and nobody knows what came of it: a claim of 0 is asserted. */
    struct meter_lack lack;
    asks = (struct call){0};
    call_add(&asks, &calls, "calls", 1, 1);
    assert_int_equal(meter_take(meter, &asks.r), METER_SHORT);
    meter_lacks(meter, &asks.r, &lack);
    tell_all(meter, 1, on_claim, &at);
    assert_int_equal(at - claims, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(claims[i].claimed, text_equal(claims[i].counter, TEXT("calls")) ? 0 : 11);
    /* An answer to what was sent before means nothing any more. */
    meter_told(meter, changes, 1);
    assert_int_equal(changes_of(meter, changes, 8), 0);
    meter_free(meter);
}

static void no_counter_in_doubt_is_forgotten(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit calls = parallel(5);
    struct call asks = {0};
    struct meter_lack lack;
    struct meter_change claims[8], *at = claims;
    call_add(&asks, &calls, "calls", 1, 1);
    meter_lacks(meter, &asks.r, &lack);
    meter_doubt(meter, TEXT("acme"));
    meter_freeze(meter, START + HOUR);
    for (int i = 0; i < 33; i++)
        meter_tidy(meter);
    assert_int_equal(meter_figures(meter).counters, 1);
    tell_all(meter, 1, on_claim, &at);
    assert_int_equal(at - claims, 1);
    meter_freeze(meter, START + 2 * HOUR);
    for (int i = 0; i < 33; i++)
        meter_tidy(meter);
    assert_int_equal(meter_figures(meter).counters, 0);
    meter_free(meter);
}

/* ------------------------------------------------------------------------------------ away */

static void away_each_limit_does_what_it_says(void **state)
{
    (void)state;
    static const struct {
        enum limit_away away;
        int64_t admitted;
        enum meter_result then;
    } rows[] = {{AWAY_LOCAL, 25, METER_FULL}, {AWAY_CLOSED, 0, METER_AWAY}, {AWAY_OPEN, 300, 0}};
    for (int i = 0; i < 3; i++) {
        struct meter *meter = made();
        struct limit limit = rolling(LIMIT_REQUESTS, 100, MINUTE);
        limit.away = rows[i].away;
        struct call call = {0};
        call_add(&call, &limit, "k/one", 1, 1);
        for (int64_t n = 0; n < rows[i].admitted; n++) {
            assert_int_equal(meter_take_away(meter, &call.r, 4), METER_TAKEN);
            meter_settle(meter, &call.r, &(struct used){.sent = true});
        }
        if (rows[i].away != AWAY_OPEN)
            assert_int_equal(meter_take_away(meter, &call.r, 4), rows[i].then);
        if (rows[i].away == AWAY_LOCAL)
            assert_int_equal(call.r.retry_after_us, 65 * (MINUTE / 64));
        /* What was let in meanwhile is told afterwards. */
        struct meter_change change;
        assert_int_equal(changes_of(meter, &change, 1), rows[i].admitted > 0);
        if (rows[i].admitted > 0)
            assert_int_equal(change.delta, rows[i].admitted);
        meter_free(meter);
    }
}

static void a_share_of_nothing_is_nothing(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_REQUESTS, 3, MINUTE);
    struct call call = {0};
    call_add(&call, &limit, "k/one", 1, 1);
    assert_int_equal(meter_take_away(meter, &call.r, 4), METER_FULL);
    assert_true(call.r.retry_after_us == INT64_MAX);
    assert_int_equal(meter_take_away(meter, &call.r, 0), METER_TAKEN);
    meter_free(meter);
}

static void what_was_granted_may_be_used_away(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH);
    limit.away = AWAY_CLOSED;
    struct call call, other;
    assert_int_equal(take(meter, &call, &limit, 10, 10), METER_SHORT);
    assert_int_equal(granted(meter, &call, 10, 0), METER_TAKEN);
    assert_int_equal(take(meter, &other, &limit, 10, 10), METER_TAKEN);
    assert_int_equal(take(meter, &other, &limit, 1, 1), METER_SHORT);
    assert_int_equal(meter_take_away(meter, &other.r, 4), METER_AWAY);
    assert_false(meter_extend_away(meter, &call.r, LIMIT_MONEY, 5, 4));
    meter_free(meter);
}

static void away_limits_that_warn_or_degrade_refuse_nothing(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit warns = budget(100, PERIOD_MONTH), degrades = budget(100, PERIOD_DAY);
    warns.exceeded = EXCEEDED_WARN;
    degrades.exceeded = EXCEEDED_DEGRADE;
    warns.away = degrades.away = AWAY_CLOSED;
    struct call call = {0};
    call_add(&call, &warns, "w", 50, 50);
    call_add(&call, &degrades, "d", 50, 50);
    assert_int_equal(meter_take_away(meter, &call.r, 4), METER_TAKEN);
    assert_int_equal(call.r.warned, 0);
    assert_int_equal(call.r.degraded, 2);
    meter_free(meter);
}

static void a_stream_holds_more_of_what_is_granted(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH);
    limit.away = AWAY_LOCAL;
    struct call call;
    assert_int_equal(take(meter, &call, &limit, 10, 10), METER_SHORT);
    assert_int_equal(granted(meter, &call, 15, 500), METER_TAKEN);
    assert_true(meter_extend(meter, &call.r, LIMIT_MONEY, 10));
    assert_false(meter_extend(meter, &call.r, LIMIT_MONEY, 10));
    /* More is asked for on behalf of it. */
    struct call copy = call;
    copy.r.uses = copy.uses;
    copy.r.live = false;
    copy.uses[0].want = copy.uses[0].least = 10;
    struct meter_lack lack;
    meter_lacks(meter, &copy.r, &lack);
    assert_int_equal(lack.lack, 5);
    struct meter_grant grant = {.slot = lack.slot, .granted = lack.lack, .left = 495};
    assert_int_equal(meter_grant(meter, &copy.r, &grant, METER_FOR_STREAM), METER_SHORT);
    /* Calls want none of it, and it is there yet. */
    struct meter_change changes[8];
    meter_changes(meter, changes, 8);
    assert_true(meter_extend(meter, &call.r, LIMIT_MONEY, 10));
    assert_int_equal(call.uses[0].held, 30);
    assert_true(meter_extend_away(meter, &call.r, LIMIT_MONEY, 220, 4));
    assert_false(meter_extend_away(meter, &call.r, LIMIT_MONEY, 1, 4));
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 30});
    assert_int_equal(used_of(meter, "k/one"), 30);
    meter_free(meter);
}

static void what_the_ledger_knows_is_claimed(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(1000, PERIOD_MONTH);
    struct use use = {.limit = &limit, .counter = TEXT("k/one"), .want = 77};
    struct meter_change claims[8], *at = claims;
    meter_rebuild(meter, TEXT("acme"), &use, 1, START);
    tell_all(meter, 1, on_claim, &at);
    assert_int_equal(at - claims, 1);
    assert_int_equal(claims[0].claimed, 77);
    assert_true(claims[0].end_us == START + 31 * DAY);
    meter_free(meter);
}

static void too_many_counters_are_refused_for_a_second(void **state)
{
    (void)state;
    for (int shared = 0; shared <= 1; shared++) {
        struct meter *meter = meter_new(shared);
        struct limit limit = rolling(LIMIT_REQUESTS, 10, MINUTE);
        struct call call = {0};
        atomic_store(&meter->counters, METER_COUNTERS_MAX - 1);
        call_add(&call, &limit, "last", 1, 1);
        call_add(&call, &limit, "too many", 1, 1);
        assert_int_equal(meter_take(meter, &call.r), METER_FULL);
        assert_int_equal(call.r.refused, 1);
        assert_int_equal(call.r.retry_after_us, SECOND);
        call.r.use_count = 1;
        assert_int_equal(meter_take(meter, &call.r), shared ? METER_SHORT : METER_TAKEN);
        char name[METER_ID_MAX + 2];
        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        atomic_store(&meter->counters, 1);
        struct call longer = {0};
        call_add(&longer, &limit, name, 1, 1);
        assert_int_equal(meter_take(meter, &longer.r), METER_FULL);
        meter_free(meter);
    }
}

/* Whoever makes up names of users takes no counters from others. */
static void no_root_takes_all_counters(void **state)
{
    (void)state;
    struct meter *meter = meter_new(false);
    struct limit limit = rolling(LIMIT_REQUESTS, 10, MINUTE);
    struct call call, other = {0};
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_TAKEN);
    struct root *root = call.uses[0].at->root;
    root->count = METER_ROOT_MAX;
    struct call more = {0};
    call_add(&more, &limit, "u/one more", 1, 1);
    assert_int_equal(meter_take(meter, &more.r), METER_FULL);
    call_add(&other, &limit, "u/other", 1, 1);
    other.r.root = TEXT("globex");
    assert_int_equal(meter_take(meter, &other.r), METER_TAKEN);
    root->count = METER_ROOT_MAX - 1;
    assert_int_equal(meter_take(meter, &more.r), METER_TAKEN);
    meter_free(meter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_root_takes_all_counters),
        cmocka_unit_test(a_slice_is_used_without_asking),
        cmocka_unit_test(a_slice_is_good_in_its_slot_only_and_comes_back),
        cmocka_unit_test(what_others_miss_comes_back_at_once),
        cmocka_unit_test(debt_is_claimed_and_told),
        cmocka_unit_test(only_what_no_store_could_grant_is_refused_here),
        cmocka_unit_test(somebody_else_was_faster),
        cmocka_unit_test(money_is_cut_to_what_was_granted),
        cmocka_unit_test(exceeded_is_what_the_store_says),
        cmocka_unit_test(idle_slices_come_back_after_a_second),
        cmocka_unit_test(parallel_calls_say_that_they_are_alive),
        cmocka_unit_test(nothing_is_told_between_doubt_and_assertion),
        cmocka_unit_test(no_counter_in_doubt_is_forgotten),
        cmocka_unit_test(away_each_limit_does_what_it_says),
        cmocka_unit_test(a_share_of_nothing_is_nothing),
        cmocka_unit_test(what_was_granted_may_be_used_away),
        cmocka_unit_test(away_limits_that_warn_or_degrade_refuse_nothing),
        cmocka_unit_test(a_stream_holds_more_of_what_is_granted),
        cmocka_unit_test(what_the_ledger_knows_is_claimed),
        cmocka_unit_test(too_many_counters_are_refused_for_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
