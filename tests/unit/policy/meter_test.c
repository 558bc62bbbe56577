/* SPDX-License-Identifier: Apache-2.0 */
/* One call after the other: what is held, refused, returned, forgotten. */
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "tests/unit/policy/meter_cases.h"

static struct meter *made(void)
{
    struct meter *meter = meter_new(false);
    meter_freeze(meter, START);
    return meter;
}

static void a_window_refuses_what_is_too_much_and_says_until_when(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_REQUESTS, 3, MINUTE);
    struct call call;
    for (int i = 0; i < 3; i++)
        assert_true(may(meter, &limit));
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_FULL);
    assert_int_equal(call.r.retry_after_us, 65 * (MINUTE / 64));
    meter_freeze(meter, START + call.r.retry_after_us - 1);
    assert_false(may(meter, &limit));
    meter_freeze(meter, START + call.r.retry_after_us);
    for (int i = 0; i < 3; i++)
        assert_true(may(meter, &limit));
    assert_false(may(meter, &limit));
    meter_free(meter);
}

static void refused_calls_count_nowhere(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit wide = rolling(LIMIT_REQUESTS, 100, MINUTE);
    struct limit none = rolling(LIMIT_REQUESTS, 0, HOUR);
    struct call call = {0};
    call_add(&call, &wide, "t/wide", 1, 1);
    call_add(&call, &none, "t/none", 1, 1);
    assert_int_equal(meter_take(meter, &call.r), METER_FULL);
    assert_int_equal(call.r.refused, 1);
    assert_true(call.r.retry_after_us == INT64_MAX);
    assert_false(call.r.live);
    assert_int_equal(used_of(meter, "t/wide"), 0);
    assert_int_equal(used_of(meter, "t/none"), 0);
    meter_free(meter);
}

static void the_longest_wait_is_told(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit minute = rolling(LIMIT_REQUESTS, 1, MINUTE);
    struct limit hour = rolling(LIMIT_REQUESTS, 1, HOUR);
    struct limit second = rolling(LIMIT_REQUESTS, 1, SECOND);
    struct call call = {0};
    call_add(&call, &minute, "t/minute", 1, 1);
    call_add(&call, &hour, "t/hour", 1, 1);
    call_add(&call, &second, "t/second", 1, 1);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    assert_int_equal(meter_take(meter, &call.r), METER_FULL);
    assert_int_equal(call.r.refused, 1);
    meter_free(meter);
}

static void a_peek_tells_what_a_call_would_meet_and_counts_nothing(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit requests = rolling(LIMIT_REQUESTS, 2, MINUTE);
    struct limit small = rolling(LIMIT_TOKENS, 50, MINUTE);
    struct limit warning = budget(10, PERIOD_MONTH);
    struct limit_peek peeks[3];
    struct call call = {0};
    warning.exceeded = EXCEEDED_WARN;
    call_add(&call, &requests, "t/requests", 1, 1);
    call_add(&call, &small, "t/small", 60, 60);
    call_add(&call, &warning, "t/warning", 77, 77);
    for (int round = 0; round < 3; round++) {
        meter_peek(meter, &call.r, peeks);
        assert_int_equal(peeks[0].left, 2);
        assert_int_equal(peeks[0].wait_us, 0);
        assert_true(peeks[0].known);
        assert_true(peeks[1].wait_us == INT64_MAX); /* more than there ever is */
        assert_int_equal(peeks[2].wait_us, 0);      /* it only warns */
    }
    assert_int_equal(meter_figures(meter).counters, 0);
    assert_true(may(meter, &requests)); /* of a counter of its own */
    struct call one = {0};
    call_add(&one, &requests, "t/requests", 2, 2);
    assert_int_equal(meter_take(meter, &one.r), METER_TAKEN);
    meter_peek(meter, &call.r, peeks);
    assert_int_equal(peeks[0].left, 0);
    assert_int_equal(peeks[0].used, 2);
    assert_int_equal(peeks[0].wait_us, 65 * (MINUTE / 64));
    meter_settle(meter, &one.r, &(struct used){.sent = false});
    meter_peek(meter, &call.r, peeks);
    assert_int_equal(peeks[0].left, 2);
    meter_free(meter);
}

static void what_was_not_sent_is_returned(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit requests = rolling(LIMIT_REQUESTS, 10, MINUTE);
    struct limit tokens = rolling(LIMIT_TOKENS, 1000, MINUTE);
    struct limit calls = parallel(2);
    struct limit money = budget(USD, PERIOD_MONTH);
    struct call call = {0};
    call_add(&call, &requests, "r", 1, 1);
    call_add(&call, &tokens, "n", 300, 300);
    call_add(&call, &calls, "c", 1, 1);
    call_add(&call, &money, "m", 77, 77);
    for (int sent = 0; sent <= 1; sent++) {
        assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
        assert_int_equal(used_of(meter, "r"), 1);
        assert_int_equal(used_of(meter, "n"), 300);
        assert_int_equal(used_of(meter, "c"), 1);
        assert_int_equal(used_of(meter, "m"), 77);
        meter_settle(meter, &call.r, &(struct used){.sent = sent});
        assert_int_equal(used_of(meter, "r"), sent);
        assert_int_equal(used_of(meter, "n"), 0);
        assert_int_equal(used_of(meter, "c"), 0);
        assert_int_equal(used_of(meter, "m"), 0);
    }
    assert_int_equal(meter_figures(meter).live, 0);
    meter_free(meter);
}

static void settling_twice_is_settling_once(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit money = budget(USD, PERIOD_MONTH);
    struct call call;
    assert_int_equal(take(meter, &call, &money, 100, 100), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 60});
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 60});
    assert_int_equal(used_of(meter, "k/one"), 60);
    meter_free(meter);
}

static void more_than_was_held_is_debt_in_the_current_slot(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit tokens = rolling(LIMIT_OUTPUT_TOKENS, 100, MINUTE);
    struct call call, other;
    assert_int_equal(take(meter, &call, &tokens, 40, 40), METER_TAKEN);
    meter_freeze(meter, START + 30 * SECOND);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .output_tokens = 140});
    assert_int_equal(used_of(meter, "k/one"), 140);
    /* What was held leaves after its window, the debt half a minute later. */
    meter_freeze(meter, START + 65 * (MINUTE / 64));
    assert_int_equal(used_of(meter, "k/one"), 100);
    assert_int_equal(take(meter, &other, &tokens, 1, 1), METER_FULL);
    meter_freeze(meter, START + 30 * SECOND + 65 * (MINUTE / 64));
    assert_int_equal(take(meter, &other, &tokens, 100, 100), METER_TAKEN);
    meter_free(meter);
}

static void less_than_was_held_goes_back_to_the_slot_it_was_held_in(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit tokens = rolling(LIMIT_OUTPUT_TOKENS, 100, MINUTE);
    struct call early, late;
    assert_int_equal(take(meter, &early, &tokens, 50, 50), METER_TAKEN);
    meter_freeze(meter, START + 50 * SECOND);
    assert_int_equal(take(meter, &late, &tokens, 50, 50), METER_TAKEN);
    meter_settle(meter, &early.r, &(struct used){.sent = true, .output_tokens = 10});
    assert_int_equal(used_of(meter, "k/one"), 60);
    /* The early slot leaves with its 10; had the late one been lowered, 40 would leave. */
    meter_freeze(meter, START + 65 * (MINUTE / 64));
    assert_int_equal(used_of(meter, "k/one"), 50);
    /* A slot that counts no more gives nothing back. */
    meter_freeze(meter, START + 300 * SECOND);
    meter_settle(meter, &late.r, &(struct used){.sent = true, .output_tokens = 0});
    assert_int_equal(used_of(meter, "k/one"), 0);
    meter_free(meter);
}

static void a_late_settle_belongs_to_the_span_it_was_held_in(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit money = budget(100, PERIOD_DAY);
    struct call call, other;
    meter_freeze(meter, START + DAY - SECOND);
    assert_int_equal(take(meter, &call, &money, 100, 100), METER_TAKEN);
    assert_int_equal(take(meter, &other, &money, 1, 1), METER_FULL);
    assert_int_equal(other.r.retry_after_us, SECOND);
    meter_freeze(meter, START + DAY);
    assert_int_equal(take(meter, &other, &money, 80, 80), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 150});
    assert_int_equal(used_of(meter, "k/one"), 80);
    meter_settle(meter, &other.r, &(struct used){.sent = true, .cost_nanos = 95});
    assert_int_equal(used_of(meter, "k/one"), 95);
    meter_free(meter);
}

static void all_uses_of_money_hold_what_the_least_of_them_has(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit tenant = budget(1000, PERIOD_MONTH), key = budget(300, PERIOD_DAY);
    struct limit warns = budget(10, PERIOD_MONTH);
    warns.exceeded = EXCEEDED_WARN;
    struct call call = {0};
    call_add(&call, &tenant, "t", 500, 200);
    call_add(&call, &key, "k", 500, 200);
    call_add(&call, &warns, "w", 500, 200);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    for (int i = 0; i < 3; i++)
        assert_int_equal(call.uses[i].held, 300);
    assert_int_equal(call.r.warned, 4);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 101});
    /* 199 are left: not enough. */
    assert_int_equal(meter_take(meter, &call.r), METER_FULL);
    assert_int_equal(call.r.refused, 1);
    assert_int_equal(used_of(meter, "t"), 101);
    assert_int_equal(used_of(meter, "k"), 101);
    assert_int_equal(used_of(meter, "w"), 101);
    meter_free(meter);
}

static void strict_output_is_lowered_for_each_by_itself(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit output = rolling(LIMIT_OUTPUT_TOKENS, 100, MINUTE);
    struct limit tokens = rolling(LIMIT_TOKENS, 1000, MINUTE);
    output.strict = tokens.strict = true;
    struct call call = {0};
    call_add(&call, &output, "o", 400, 16);
    call_add(&call, &tokens, "a", 900, 516);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    assert_int_equal(call.uses[0].held, 100);
    assert_int_equal(call.uses[1].held, 900);
    meter_free(meter);
}

static void limits_that_warn_or_degrade_refuse_nothing(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit warns = rolling(LIMIT_REQUESTS, 1, MINUTE);
    struct limit degrades = rolling(LIMIT_REQUESTS, 2, MINUTE);
    warns.exceeded = EXCEEDED_WARN;
    degrades.exceeded = EXCEEDED_DEGRADE;
    for (int i = 0; i < 4; i++) {
        struct call call = {0};
        call_add(&call, &warns, "w", 1, 1);
        call_add(&call, &degrades, "d", 1, 1);
        assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
        assert_int_equal(call.r.warned, i >= 1 ? 1 : 0);
        assert_int_equal(call.r.degraded, i >= 2 ? 2 : 0);
        meter_settle(meter, &call.r, &(struct used){.sent = true});
    }
    assert_int_equal(used_of(meter, "w"), 4);
    meter_free(meter);
}

static void a_counter_named_twice_is_counted_twice(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_REQUESTS, 3, MINUTE);
    struct call call = {0};
    call_add(&call, &limit, "same", 1, 1);
    call_add(&call, &limit, "same", 1, 1);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    assert_int_equal(meter_take(meter, &call.r), METER_FULL);
    assert_int_equal(used_of(meter, "same"), 2);
    meter_free(meter);
}

static void a_stream_holds_more_when_there_is_room(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit month = budget(100, PERIOD_MONTH), total = budget(250, PERIOD_TOTAL);
    struct limit window = rolling(LIMIT_MONEY, 150, HOUR);
    struct call call = {0};
    call_add(&call, &month, "m", 60, 60);
    call_add(&call, &total, "t", 60, 60);
    call_add(&call, &window, "w", 60, 60);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    assert_true(meter_extend(meter, &call.r, LIMIT_MONEY, 30));
    assert_false(meter_extend(meter, &call.r, LIMIT_MONEY, 11));
    assert_int_equal(used_of(meter, "t"), 90);
    meter_freeze(meter, START + HOUR / 2);
    assert_true(meter_extend(meter, &call.r, LIMIT_MONEY, 10));
    assert_int_equal(used_of(meter, "w"), 100);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 85});
    assert_int_equal(used_of(meter, "m"), 85);
    assert_int_equal(used_of(meter, "t"), 85);
    /* Of the window only what was held last can be returned. */
    assert_int_equal(used_of(meter, "w"), 90);
    meter_free(meter);
}

static void a_bucket_lets_no_more_in_at_once_than_its_burst(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_REQUESTS, 100, MINUTE);
    limit.algorithm = LIMIT_TOKEN_BUCKET;
    struct call call;
    for (int i = 0; i < 5; i++)
        assert_true(may(meter, &limit));
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_FULL);
    assert_int_equal(call.r.retry_after_us, MINUTE / 100);
    meter_freeze(meter, START + call.r.retry_after_us - 1);
    assert_false(may(meter, &limit));
    meter_freeze(meter, START + call.r.retry_after_us);
    assert_true(may(meter, &limit));
    assert_false(may(meter, &limit));
    /* More than the burst: when it is full, and then nothing for a while. */
    meter_freeze(meter, START + 10 * MINUTE);
    assert_int_equal(take(meter, &call, &limit, 24, 24), METER_TAKEN);
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_FULL);
    assert_int_equal(call.r.retry_after_us, 20 * MINUTE / 100);
    assert_int_equal(take(meter, &call, &limit, 101, 101), METER_FULL);
    assert_true(call.r.retry_after_us == INT64_MAX);
    meter_free(meter);
}

static void counters_outlive_new_amounts_and_zones(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(100, PERIOD_DAY);
    struct call call;
    assert_int_equal(take(meter, &call, &limit, 70, 70), METER_TAKEN);
    limit.amount = 80;
    struct call other;
    assert_int_equal(take(meter, &other, &limit, 11, 11), METER_FULL);
    limit.zone = zone_find(TEXT("Asia/Tokyo"));
    assert_non_null(limit.zone);
    assert_int_equal(take(meter, &other, &limit, 11, 11), METER_FULL);
    assert_int_equal(take(meter, &other, &limit, 10, 10), METER_TAKEN);
    meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = 75});
    assert_int_equal(used_of(meter, "k/one"), 85);
    meter_free(meter);
}

static void what_the_ledger_knows_is_counted_where_it_was(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit window = rolling(LIMIT_TOKENS, 100, HOUR), day = budget(100, PERIOD_DAY);
    struct use uses[] = {{.limit = &window, .counter = TEXT("w"), .want = 60},
                         {.limit = &day, .counter = TEXT("d"), .want = 30}};
    /* out of order, out of the window, yesterday */
    meter_freeze(meter, START + 10 * MINUTE);
    meter_rebuild(meter, TEXT("acme"), uses, 2, START + 10 * MINUTE);
    meter_freeze(meter, START + 20 * MINUTE);
    meter_rebuild(meter, TEXT("acme"), uses, 2, START + 5 * MINUTE);
    meter_rebuild(meter, TEXT("acme"), uses, 2, START - 50 * MINUTE);
    meter_rebuild(meter, TEXT("acme"), uses, 2, START - DAY);
    assert_int_equal(used_of(meter, "w"), 120);
    assert_int_equal(used_of(meter, "d"), 60);
    meter_freeze(meter, START + 5 * MINUTE + HOUR + 2 * MINUTE);
    assert_int_equal(used_of(meter, "w"), 60);
    meter_free(meter);
}

static void idle_counters_are_forgotten_and_others_are_not(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit window = rolling(LIMIT_REQUESTS, 10, MINUTE), calls = parallel(3);
    struct limit total = budget(100, PERIOD_TOTAL), day = budget(100, PERIOD_DAY);
    struct call runs = {0}, ends = {0};
    call_add(&runs, &calls, "runs", 1, 1);
    call_add(&ends, &window, "window", 1, 1);
    call_add(&ends, &calls, "calls", 1, 1);
    call_add(&ends, &total, "total", 1, 1);
    call_add(&ends, &day, "day", 1, 1);
    assert_int_equal(meter_take(meter, &runs.r), METER_TAKEN);
    assert_int_equal(meter_take(meter, &ends.r), METER_TAKEN);
    meter_settle(meter, &ends.r, &(struct used){.sent = true, .cost_nanos = 1});
    assert_int_equal(meter_figures(meter).counters, 5);
    meter_freeze(meter, START + 2 * DAY);
    for (int i = 0; i < 33; i++)
        meter_tidy(meter);
    assert_int_equal(meter_figures(meter).counters, 2);
    assert_int_equal(used_of(meter, "total"), 1);
    meter_settle(meter, &runs.r, &(struct used){.sent = true});
    meter_free(meter);
}

struct ids {
    char text[256];
};

static void on_counter(void *with, const struct counter_view *view)
{
    struct ids *ids = with;
    size_t len = strlen(ids->text);
    snprintf(ids->text + len, sizeof(ids->text) - len, "%.*s=%d+%d ", TEXT_ARGS(view->counter),
             (int)view->used, (int)view->held);
}

static void counters_are_listed_in_the_order_of_their_ids(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_TOKENS, 100, HOUR);
    static const char *const names[] = {"d", "b", "e", "a", "c"};
    struct call call = {0};
    for (int i = 0; i < 5; i++)
        call_add(&call, &limit, names[i], i + 1, i + 1);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    meter_rebuild(meter, TEXT("acme"), call.uses, 1, START);
    struct ids ids = {""};
    meter_list(meter, TEXT(""), TEXT(""), 3, on_counter, &ids);
    assert_string_equal(ids.text, "a=0+4 b=0+2 c=0+5 ");
    ids.text[0] = '\0';
    meter_list(meter, TEXT("acme"), TEXT("c"), 3, on_counter, &ids);
    assert_string_equal(ids.text, "d=1+1 e=0+3 ");
    ids.text[0] = '\0';
    meter_list(meter, TEXT("other"), TEXT(""), 3, on_counter, &ids);
    assert_string_equal(ids.text, "");
    meter_settle(meter, &call.r, &(struct used){.sent = true});
    meter_free(meter);
}

static void a_new_stores_clock_keeps_the_age_of_what_was_used(void **state)
{
    (void)state;
    static const int64_t leaps[] = {HOUR, -HOUR, 3 * SECOND, -3 * SECOND, 5};
    for (size_t i = 0; i < sizeof(leaps) / sizeof(leaps[0]); i++) {
        struct meter *meter = meter_new(false);
        struct limit limit = rolling(LIMIT_REQUESTS, 10, MINUTE);
        meter_set_clock(meter, START, clock_now_us(), true);
        for (int n = 0; n < 6; n++)
            assert_true(may(meter, &limit));
        meter_set_clock(meter, meter_now_us(meter) + leaps[i], clock_now_us(), true);
        assert_int_equal(used_of(meter, "k/one"), 6);
        for (int n = 0; n < 4; n++)
            assert_true(may(meter, &limit));
        assert_false(may(meter, &limit));
        meter_free(meter);
    }
}

static void the_clock_is_turned_back_by_little_at_once(void **state)
{
    (void)state;
    struct meter *meter = meter_new(false);
    uint64_t mono = clock_now_us();
    meter_set_clock(meter, START, mono, true);
    meter_set_clock(meter, START - HOUR, mono, false);
    assert_true(meter_now_us(meter) >= START - 10000);
    meter_set_clock(meter, START + HOUR, mono, false);
    assert_true(meter_now_us(meter) >= START + HOUR);
    meter_free(meter);
}

static void the_view_says_what_is_left_and_until_when(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = rolling(LIMIT_TOKENS, 100, MINUTE);
    struct call call = {0};
    struct limit_view view;
    call_add(&call, &limit, "k", 30, 30);
    meter_view(meter, &call.r, 0, &view);
    assert_int_equal(view.left, 100);
    assert_int_equal(view.reset_us, 0);
    assert_int_equal(meter_take(meter, &call.r), METER_TAKEN);
    meter_view(meter, &call.r, 0, &view);
    assert_int_equal(view.amount, 100);
    assert_int_equal(view.left, 70);
    assert_int_equal(view.reset_us, 65 * (MINUTE / 64));
    meter_settle(meter, &call.r, &(struct used){.sent = true, .input_tokens = 500});
    meter_view(meter, &call.r, 0, &view);
    assert_int_equal(view.left, 0);
    meter_free(meter);
}

static void wants_beyond_all_sense_are_refused_and_overflow_nothing(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct limit limit = budget(INT64_MAX, PERIOD_TOTAL);
    struct call call;
    assert_int_equal(take(meter, &call, &limit, INT64_MAX, INT64_MAX), METER_FULL);
    assert_true(call.r.retry_after_us == INT64_MAX);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(take(meter, &call, &limit, 1, 1), METER_TAKEN);
        meter_settle(meter, &call.r, &(struct used){.sent = true, .cost_nanos = INT64_MAX});
        if (used_of(meter, "k/one") == INT64_MAX)
            break;
        assert_true(used_of(meter, "k/one") > 0);
    }
    assert_true(used_of(meter, "k/one") == INT64_MAX);
    assert_int_equal(take(meter, &call, &limit, 1, 1), METER_FULL);
    meter_free(meter);
}

static void nothing_to_use_is_granted(void **state)
{
    (void)state;
    struct meter *meter = made();
    struct reservation r = {0};
    assert_int_equal(meter_take(meter, &r), METER_TAKEN);
    assert_int_equal(meter_figures(meter).live, 1);
    meter_settle(meter, &r, &(struct used){.sent = true});
    assert_int_equal(meter_figures(meter).live, 0);
    meter_free(meter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_refuses_what_is_too_much_and_says_until_when),
        cmocka_unit_test(refused_calls_count_nowhere),
        cmocka_unit_test(the_longest_wait_is_told),
        cmocka_unit_test(a_peek_tells_what_a_call_would_meet_and_counts_nothing),
        cmocka_unit_test(what_was_not_sent_is_returned),
        cmocka_unit_test(settling_twice_is_settling_once),
        cmocka_unit_test(more_than_was_held_is_debt_in_the_current_slot),
        cmocka_unit_test(less_than_was_held_goes_back_to_the_slot_it_was_held_in),
        cmocka_unit_test(a_late_settle_belongs_to_the_span_it_was_held_in),
        cmocka_unit_test(all_uses_of_money_hold_what_the_least_of_them_has),
        cmocka_unit_test(strict_output_is_lowered_for_each_by_itself),
        cmocka_unit_test(limits_that_warn_or_degrade_refuse_nothing),
        cmocka_unit_test(a_counter_named_twice_is_counted_twice),
        cmocka_unit_test(a_stream_holds_more_when_there_is_room),
        cmocka_unit_test(a_bucket_lets_no_more_in_at_once_than_its_burst),
        cmocka_unit_test(counters_outlive_new_amounts_and_zones),
        cmocka_unit_test(what_the_ledger_knows_is_counted_where_it_was),
        cmocka_unit_test(idle_counters_are_forgotten_and_others_are_not),
        cmocka_unit_test(counters_are_listed_in_the_order_of_their_ids),
        cmocka_unit_test(a_new_stores_clock_keeps_the_age_of_what_was_used),
        cmocka_unit_test(the_clock_is_turned_back_by_little_at_once),
        cmocka_unit_test(the_view_says_what_is_left_and_until_when),
        cmocka_unit_test(wants_beyond_all_sense_are_refused_and_overflow_nothing),
        cmocka_unit_test(nothing_to_use_is_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
