/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "routing/predict.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000, HALF_LIFE = 120 * SECOND, MANY = 40 };

static struct predict_figures figures;
static uint64_t now;
static int64_t cached; /* of each prompt of 100 */

static int set_up(void **state)
{
    (void)state;
    figures = (struct predict_figures){0};
    now = UINT64_C(1000) * SECOND;
    cached = 0;
    return 0;
}

static struct predict_ask ask(int64_t output)
{
    return (struct predict_ask){.now_us = now,
                                .half_life_us = HALF_LIFE,
                                .input_tokens = 100,
                                .output_tokens = output,
                                .cached_tokens = cached,
                                .patient = true};
}

static struct prediction predicted_beside(int64_t output, struct predict_prior prior)
{
    struct predict_ask asked = ask(output);
    struct prediction out = {0};
    predict_prior_fill(&prior, asked.traffic);
    predict_make(&figures, &asked, &prior, &out);
    return out;
}

static struct prediction predicted(int64_t output)
{
    return predicted_beside(output, (struct predict_prior){.count = 0});
}

static struct predict_call begun(int64_t output, bool stream)
{
    struct predict_ask asked = ask(output);
    struct prediction now_predicted = predicted(output);
    struct predict_call call;
    predict_begin(&figures, &asked, &now_predicted, stream, &call);
    return call;
}

/* One call after the other, from its beginning to its end. */
static void stream(int64_t first_us, int64_t token_us, int64_t tokens)
{
    struct predict_call call = begun(tokens, true);
    now += (uint64_t)first_us;
    predict_first(&figures, &call, now);
    now += (uint64_t)(token_us * (tokens - 1));
    predict_end(&figures, &call, PREDICT_WHOLE, tokens, now);
}

static void streams(unsigned count, int64_t first_us, int64_t token_us, int64_t tokens)
{
    for (unsigned i = 0; i < count; i++)
        stream(first_us, token_us, tokens);
}

static void assert_near(int64_t value, int64_t wanted, int64_t percent)
{
    assert_in_range(value, wanted - wanted * percent / 100, wanted + wanted * percent / 100);
}

static void sorts_calls_by_the_length_of_their_prompt(void **state)
{
    (void)state;
    assert_int_equal(traffic_of(OPERATION_CHAT, 0), TRAFFIC_SHORT);
    assert_int_equal(traffic_of(OPERATION_CHAT, 1023), TRAFFIC_SHORT);
    assert_int_equal(traffic_of(OPERATION_RESPONSE, 1024), TRAFFIC_MIDDLE);
    assert_int_equal(traffic_of(OPERATION_COMPLETION, 8192), TRAFFIC_LONG);
    assert_int_equal(traffic_of(OPERATION_CHAT, INT64_MAX), TRAFFIC_HUGE);
    assert_int_equal(traffic_of(OPERATION_EMBEDDING, 1024), TRAFFIC_OTHER);
}

static void learns_the_first_token_and_the_others_apart(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 100);
    struct prediction few = predicted(10), many = predicted(4000);
    assert_true(few.known);
    assert_near(few.first_us, 300000, 5);
    assert_near(many.first_us, 300000, 5);
    assert_near(few.total_us, 400000, 10);
    assert_near(many.total_us, 40300000, 5);
    assert_int_equal(few.wait_us + few.penalty_us, 0);
}

static void is_not_slower_for_long_answers(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 50);
    int64_t before = predicted(50).total_us;
    streams(MANY, 300000, 10000, 4000);
    assert_near(predicted(50).total_us, before, 5);
}

static void learns_from_answers_in_one_piece(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        int64_t tokens = i % 2 ? 500 : 50;
        struct predict_call call = begun(tokens, false);
        now += (uint64_t)(400000 + tokens * 20000);
        predict_first(&figures, &call, now);
        predict_end(&figures, &call, PREDICT_WHOLE, tokens, now);
    }
    assert_near(predicted(500).total_us, 10400000, 15);
    assert_near(predicted(50).total_us, 1400000, 25);
}

static void jumps_at_once_when_one_is_far_too_late(void **state)
{
    (void)state;
    streams(MANY, 200000, 10000, 20);
    int64_t usual = predicted(20).first_us;
    stream(4000000, 10000, 20);
    assert_true(predicted(20).first_us > usual * 4); /* once is believed in part, */
    stream(4000000, 10000, 20);
    assert_true(predicted(20).first_us > 3000000); /* and twice */
    /* Alone it may have been an accident: good ones are believed soon, and so is time. */
    streams(6, 200000, 10000, 20);
    assert_true(predicted(20).first_us < usual * 2);
    stream(4000000, 10000, 20);
    now += (uint64_t)HALF_LIFE / 2;
    assert_true(predicted(20).first_us < usual * 2);
}

static void takes_what_may_be_chance_for_little(void **state)
{
    (void)state;
    streams(MANY, 200000, 10000, 20);
    int64_t usual = predicted(20).first_us, p95 = figures.classes[TRAFFIC_SHORT].p95_us;
    stream(2 * p95 + 120000, 10000, 20);
    assert_true(predicted(20).first_us < usual + usual / 2);
    stream(2 * p95 + 120000, 10000, 20);
    assert_true(predicted(20).first_us > usual * 2);
}

static void believes_that_it_is_slow_when_it_is_so_again(void **state)
{
    (void)state;
    streams(MANY, 200000, 10000, 20);
    streams(4, 4000000, 10000, 20);
    now += (uint64_t)HALF_LIFE / 8;
    assert_true(predicted(20).first_us > 1500000);
}

static void looks_again_by_one_call_whether_it_is_late_still(void **state)
{
    (void)state;
    streams(MANY, 200000, 10000, 20);
    stream(4000000, 10000, 20);
    now += (uint64_t)HALF_LIFE / 4;
    assert_true(predicted(20).first_us < 600000);
    struct predict_call looks = begun(20, true);
    assert_true(predicted(20).first_us > 1000000); /* the next ones wait for what it finds */
    now += 200000;
    predict_first(&figures, &looks, now);
    assert_true(predicted(20).first_us < 600000);
    predict_end(&figures, &looks, PREDICT_NOTHING, 0, now);
}

/* So many were written at once that they had a place each: they did not queue, they are late. */
static void tells_who_is_late_from_who_queues(void **state)
{
    (void)state;
    enum { LOAD = 8 };
    for (int crowd = 0; crowd < 2; crowd++) {
        struct predict_call calls[LOAD];
        set_up(NULL);
        streams(MANY, 200000, 10000, 100);
        for (unsigned i = 0; i < LOAD; i++) {
            calls[i] = begun(100, true);
            now += 200000;
            if (crowd)
                predict_first(&figures, &calls[i], now);
        }
        if (crowd)
            for (unsigned i = 0; i < LOAD; i++)
                predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
        figures.room_milli = LOAD * 1000;
        for (unsigned i = crowd ? 0 : LOAD; i < LOAD; i++)
            calls[i] = begun(100, true);
        now += 3 * SECOND;
        predict_first(&figures, &calls[LOAD - 1], now);
        int64_t late = figures.classes[TRAFFIC_SHORT].late_us;
        assert_true(crowd ? late > SECOND / 2 : late == 0);
        for (unsigned i = 0; i < LOAD; i++)
            predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
        assert_int_equal(figures.running, 0);
    }
}

static void fades_towards_what_its_siblings_need(void **state)
{
    (void)state;
    streams(MANY, 8000000, 10000, 20);
    struct predict_prior prior = {.first_us = 200000, .token_ns = 10000000};
    assert_near(predicted_beside(20, prior).first_us, 8000000, 10);
    now += (uint64_t)HALF_LIFE;
    assert_near(predicted_beside(20, prior).first_us, 4100000, 10);
    now += (uint64_t)HALF_LIFE * 20;
    assert_near(predicted_beside(20, prior).first_us, 200000, 5);
    /* What is better than theirs does not get worse. */
    set_up(NULL);
    streams(MANY, 100000, 10000, 20);
    now += (uint64_t)HALF_LIFE * 5;
    assert_near(predicted_beside(20, prior).first_us, 100000, 5);
}

/* Half as slow again as its siblings, and always was: not forgotten as soon. */
static void remembers_who_is_merely_slower(void **state)
{
    (void)state;
    struct predict_prior prior = {.first_us = 200000, .token_ns = 10000000};
    streams(MANY, 300000, 10000, 20);
    assert_true(predicted_beside(20, prior).usual);
    now += (uint64_t)HALF_LIFE;
    assert_near(predicted_beside(20, prior).first_us, 284000, 2);
    /* It was faster: something may be wrong that will pass. */
    streams(MANY, 500000, 10000, 20);
    assert_false(predicted_beside(20, prior).usual);
    now += (uint64_t)HALF_LIFE;
    assert_near(predicted_beside(20, prior).first_us, 350000, 5);
    /* So where it is far slower than its siblings, or has failed. */
    set_up(NULL);
    streams(MANY, 700000, 10000, 20);
    assert_false(predicted_beside(20, prior).usual);
    set_up(NULL);
    streams(MANY, 300000, 10000, 20);
    struct predict_call call = begun(20, true);
    predict_end(&figures, &call, PREDICT_FAILED, 0, now);
    assert_false(predicted_beside(20, prior).usual);
}

static void knows_a_silent_target_before_a_call_has_failed(void **state)
{
    (void)state;
    struct predict_call calls[10];
    streams(MANY, 200000, 10000, 20);
    for (unsigned i = 0; i < 10; i++)
        calls[i] = begun(20, true);
    int64_t usual = predicted(20).first_us;
    now += 3 * SECOND;
    assert_true(predicted(20).first_us > usual + SECOND * 3 / 2);
    for (unsigned i = 0; i < 10; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
    assert_near(predicted(20).first_us, 200000, 10);
}

static void learns_of_those_whose_client_did_not_wait(void **state)
{
    (void)state;
    streams(MANY, 200000, 10000, 20);
    struct predict_call call = begun(20, true);
    now += 10 * SECOND;
    predict_end(&figures, &call, PREDICT_LEFT, 0, now);
    assert_true(predicted(20).first_us > 5 * SECOND);
    set_up(NULL);
    streams(MANY, 200000, 10000, 20);
    call = begun(20, true);
    now += 100000; /* it had no reason to be there */
    predict_end(&figures, &call, PREDICT_LEFT, 0, now);
    assert_near(predicted(20).first_us, 200000, 5);
}

static void charges_failures_as_time_and_never_as_fast(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 20);
    int64_t before = predicted(20).first_us, samples = figures.classes[0].samples;
    struct predict_call call = begun(20, true);
    now += 1000;
    predict_end(&figures, &call, PREDICT_FAILED, 0, now);
    struct prediction after = predicted(20);
    assert_true(after.penalty_us > SECOND);
    assert_int_equal(after.first_us - after.penalty_us, before);
    assert_int_equal(figures.classes[0].samples, samples);
    now += (uint64_t)HALF_LIFE;
    assert_true(predicted(20).penalty_us < 20000);
}

static void forgives_by_successes(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 20);
    struct predict_call call = begun(20, true);
    predict_end(&figures, &call, PREDICT_FAILED, 0, now);
    int64_t penalty = predicted(20).penalty_us;
    streams(20, 1000, 10, 20);
    assert_true(predicted(20).penalty_us < penalty / 10);
}

static void end_well(struct predict_call *calls, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        predict_first(&figures, &calls[i], now);
        predict_end(&figures, &calls[i], PREDICT_WHOLE, 0, now);
    }
}

/* A call fails that was begun after <count> others, which end well. What is charged for it then. */
static int64_t penalty_beside(unsigned count)
{
    struct predict_call calls[MANY];
    for (unsigned i = 0; i < count; i++)
        calls[i] = begun(20, true);
    now += 1000;
    struct predict_call fails = begun(20, true);
    now += 1000;
    predict_end(&figures, &fails, PREDICT_FAILED, 0, now);
    end_well(calls, count);
    return predicted(20).penalty_us;
}

static void does_not_forgive_by_what_was_begun_before_a_failure(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 20);
    int64_t penalty = penalty_beside(0);
    set_up(NULL);
    streams(MANY, 300000, 10000, 20);
    assert_int_equal(penalty_beside(MANY), penalty);
    streams(1, 1000, 10, 20); /* begun since */
    assert_true(predicted(20).penalty_us < penalty);
}

static void forgives_by_all_where_failures_were_strays(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 20);
    int64_t penalty = penalty_beside(0);
    streams(MANY, 1000, 10, 20); /* the next ones were good */
    assert_true(penalty_beside(MANY) < penalty / 10);
    now += (uint64_t)HALF_LIFE * 2;
    penalty_beside(0); /* two in a row are none */
    now += (uint64_t)HALF_LIFE * 2;
    assert_near(penalty_beside(MANY), penalty, 5);
}

static void counts_what_is_in_flight(void **state)
{
    (void)state;
    struct predict_call one = begun(1000, true), two = begun(50, true);
    struct prediction now_predicted = predicted(10);
    assert_int_equal(now_predicted.calls, 2);
    assert_in_range(now_predicted.work_tokens, 1050, 1100);
    predict_end(&figures, &one, PREDICT_NOTHING, 0, now);
    predict_first(&figures, &two, now);
    predict_end(&figures, &two, PREDICT_FAILED, 0, now);
    assert_int_equal(predicted(10).calls, 0);
    assert_int_equal(predicted(10).work_tokens, 0);
    assert_int_equal(figures.classes[TRAFFIC_SHORT].waiting, 0);
}

/* A server of four places, each taken for a second; <load> calls are always there. */
static void serve(unsigned load, unsigned rounds)
{
    struct predict_call calls[64];
    uint64_t free_at[4] = {0}, firsts[64], ends[64];
    unsigned told = 0; /* of so many calls the first token has come: in turn */
    for (unsigned i = 0; i < rounds; i++) {
        unsigned at = i % load;
        if (i >= load) {
            uint64_t until = ends[at] > now ? ends[at] : now;
            for (; told < i && firsts[told % load] <= until; told++) {
                now = firsts[told % load];
                predict_first(&figures, &calls[told % load], now);
            }
            now = until;
            predict_end(&figures, &calls[at], PREDICT_WHOLE, 81, now);
        }
        calls[at] = begun(81, true);
        uint64_t begins = free_at[i % 4] > now ? free_at[i % 4] : now;
        free_at[i % 4] = ends[at] = begins + SECOND;
        firsts[at] = begins + 200000;
    }
    for (unsigned i = 0; i < load; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
}

static void learns_how_many_it_serves_at_once(void **state)
{
    (void)state;
    serve(2, 40);
    serve(12, 400);
    assert_in_range(figures.room_milli, 3000, 6500);
    struct predict_call calls[12];
    int64_t alone = predicted(81).first_us;
    for (unsigned i = 0; i < 12; i++)
        calls[i] = begun(81, true);
    struct prediction full = predicted(81);
    assert_true(full.wait_us > SECOND && full.first_us > alone + SECOND);
    for (unsigned i = 0; i < 12; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
}

static void learns_the_same_of_calls_whose_prompt_was_cached(void **state)
{
    (void)state;
    streams(MANY, 400000, 10000, 81);
    cached = 90;
    serve(2, 40);
    serve(12, 400);
    assert_in_range(figures.room_milli, 3000, 6500);
    assert_near(figures.classes[TRAFFIC_SHORT].hit_us, 200000, 40); /* without the queue */
}

/* What its siblings have says nothing of one that never had so much to do that calls had to wait.
 */
static void has_the_room_that_it_seems_to_have_while_nobody_waits(void **state)
{
    (void)state;
    struct predict_call calls[6];
    streams(MANY, 300000, 10000, 100);
    for (unsigned i = 0; i < 6; i++)
        calls[i] = begun(100, true);
    struct predict_prior beside = {.first_us = 300000, .token_ns = 10000000, .count = 1};
    beside.room_milli = 4000;
    figures.room_milli = 8000;
    figures.classes[TRAFFIC_SHORT].busy_us = 300000;
    assert_int_equal(predicted_beside(100, beside).wait_us, 0);
    figures.classes[TRAFFIC_SHORT].busy_us = 600000;
    assert_true(predicted_beside(100, beside).wait_us > SECOND / 2);
    figures.classes[TRAFFIC_SHORT].busy_us = 300000;
    figures.room_milli = 3000; /* less is not believed of one alone */
    assert_near(predicted_beside(100, beside).wait_us, 1300000 / 4 * 3, 10);
    for (unsigned i = 0; i < 6; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
}

static void learns_that_it_has_room_when_nobody_queues(void **state)
{
    (void)state;
    struct predict_call calls[32];
    streams(MANY, 200000, 1000, 20);
    for (unsigned i = 0; i < 400; i++) {
        unsigned at = i % 32;
        if (i >= 32) {
            predict_first(&figures, &calls[at], now);
            predict_end(&figures, &calls[at], PREDICT_WHOLE, 20, now);
        }
        calls[at] = begun(20, true);
        now += 220000 / 32; /* each takes as long as if it were alone */
    }
    assert_true(figures.room_milli > 25000);
    assert_true(predicted(20).first_us < 400000);
}

static void gives_little_to_who_is_new(void **state)
{
    (void)state;
    struct predict_call calls[6];
    struct predict_prior beside = {
        .first_us = 300000, .token_ns = 10000000, .room_milli = 16000, .count = 1};
    for (unsigned i = 0; i < 6; i++)
        calls[i] = begun(100, true);
    assert_true(predicted_beside(100, beside).wait_us > SECOND / 2);
    now += 300000;
    predict_first(&figures, &calls[0], now);
    assert_int_equal(predicted_beside(100, beside).wait_us, 0); /* as alike ones */
    for (unsigned i = 0; i < 6; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
}

/* Who warms up is asked again after as long as it was seen to; who was there before is not. */
static void believes_that_a_newcomer_is_slow_as_long_again(void **state)
{
    (void)state;
    for (int64_t siblings = 0; siblings < 2; siblings++) {
        struct predict_prior beside = {.first_us = 300000, .token_ns = 10000000};
        struct predict_ask asked;
        struct prediction before;
        struct predict_call call;
        set_up(NULL);
        for (int64_t took = 2400000; took > 0; took -= 2100000) { /* slow, then warm */
            beside.samples = siblings * 48;                       /* else all began at once */
            asked = ask(100);
            before = predicted_beside(100, beside);
            predict_begin(&figures, &asked, &before, true, &call);
            beside.count = 1;
            bool is_slow = took > SECOND || !siblings;
            if (took < SECOND) /* one looks; what the others expect depends on what it finds */
                assert_true(predicted_beside(100, beside).first_us > 2000000);
            now += (uint64_t)took;
            predict_first(&figures, &call, now);
            predict_end(&figures, &call, PREDICT_WHOLE, 100, now + 990000);
            assert_int_equal(predicted_beside(100, beside).first_us > 500000, is_slow);
            assert_int_equal(figures.classes[TRAFFIC_SHORT].samples,
                             is_slow && took < SECOND ? 2 : 1);
            now += 12 * SECOND;
            assert_int_equal(predicted_beside(100, beside).first_us > 500000, !siblings);
        }
    }
}

static void takes_for_a_queue_what_was_never_written_at_once(void **state)
{
    (void)state;
    struct predict_call calls[40];
    for (int seen = 20; seen <= 40; seen += 20) {
        set_up(NULL);
        streams(MANY, 200000, 10000, 81);
        for (unsigned i = 0; i < 40; i++)
            calls[i] = begun(81, true);
        figures.room_milli = 50000;
        figures.ran_milli = seen * 1000;
        now += 200000;
        predict_first(&figures, &calls[39], now);
        assert_int_equal(figures.room_milli < 48000, seen == 20);
    }
}

static void has_room_for_what_it_writes_at_once(void **state)
{
    (void)state;
    struct predict_call calls[8];
    streams(MANY, 200000, 10000, 81);
    for (unsigned i = 0; i < 8; i++)
        calls[i] = begun(81, true);
    now += 200000;
    for (unsigned i = 0; i < 6; i++)
        predict_first(&figures, &calls[i], now);
    figures.room_milli = 2000; /* by times that were long for another reason */
    now += 3 * SECOND;
    predict_first(&figures, &calls[6], now);
    assert_int_equal(figures.room_milli, 7000);
    assert_true(predicted(81).wait_us < SECOND / 2);
    for (unsigned i = 0; i < 8; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
}

/* <count> first tokens in turn after <one_us> and <other_us>, while seven other calls are in flight
 * and room for <room> is thought to be there. */
static void first_tokens(unsigned count, int64_t room, int64_t one_us, int64_t other_us)
{
    struct predict_call others[7];
    for (unsigned i = 0; i < 7; i++)
        others[i] = begun(81, true);
    for (unsigned i = 0; i < count; i++) {
        struct predict_call call = begun(81, true);
        now += (uint64_t)(i % 2 ? other_us : one_us);
        figures.room_milli = room;
        predict_first(&figures, &call, now);
        predict_end(&figures, &call, PREDICT_NOTHING, 0, now);
    }
    for (unsigned i = 0; i < 7; i++)
        predict_end(&figures, &others[i], PREDICT_NOTHING, 0, now);
}

/* Neither by the lucky ones of those that queue nor, where there are fewer places than were
 * thought, by those that do. */
static void learns_what_is_calm_by_those_that_do_not_queue(void **state)
{
    (void)state;
    struct predict_class *class = &figures.classes[TRAFFIC_SHORT];
    streams(MANY, 300000, 10000, 81);
    first_tokens(MANY, 4000, 900000, 130000);
    assert_near(class->calm_us, 300000, 1);
    first_tokens(MANY, 10000, 440000, 440000);
    assert_near(class->calm_us, 300000, 1);
    figures.ran_milli = 9000; /* so many were written at once: none of them queues */
    first_tokens(MANY, 10000, 440000, 440000);
    assert_near(class->calm_us, 430000, 5);
    first_tokens(MANY, 4000, 50000, 50000);
    assert_true(class->calm_us < 220000); /* it was learnt where all had to queue */
}

/* What others have in flight there is written where nobody sees it. */
static void learns_what_is_calm_by_its_room_where_others_are(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 81);
    figures.heard_calls = 1;
    first_tokens(MANY, 10000, 440000, 440000);
    assert_near(figures.classes[TRAFFIC_SHORT].calm_us, 430000, 5);
}

/* While both its own room and its siblings' let expect the same, neither is right. */
static void keeps_its_room_while_there_is_no_news(void **state)
{
    (void)state;
    struct predict_call calls[6];
    streams(MANY, 200000, 10000, 81);
    figures.room_milli = 4000;
    figures.apart_ppm = 500000;
    for (unsigned i = 0; i < 6; i++) {
        calls[i] = begun(81, true);
        calls[i].siblings_milli = 8000;
    }
    now += 200000;
    for (unsigned i = 0; i < 4; i++)
        predict_first(&figures, &calls[i], now);
    assert_int_equal(figures.apart_ppm, 500000);
    now += 600000; /* as long as two beyond four places wait */
    predict_first(&figures, &calls[5], now);
    assert_true(figures.apart_ppm > 500000);
}

static void believes_what_a_server_says_of_its_queue(void **state)
{
    (void)state;
    streams(MANY, 300000, 10000, 100);
    predict_told(&figures, 40, 10, 0, now);
    assert_true(predicted(100).wait_us > SECOND);
    /* Ten of the fifty calls there are one's own. With two of them gone, and the others' gateways
     * doing the same, a fifth of all are. */
    figures.calls = 10;
    figures.room_milli = 100000;
    predict_told(&figures, 40, 10, 0, now);
    int64_t all = predicted(100).wait_us;
    figures.calls = 8;
    assert_near(predicted(100).wait_us, all * 30 / 40, 5);
    figures.calls = 0;
    assert_int_equal(predicted(100).wait_us, 0);
    predict_told(&figures, 40, 10, 0, now);
    now += 60 * UINT64_C(1000000); /* it has said nothing for long */
    assert_int_equal(predicted(100).wait_us, 0);
}

static void keeps_a_quantile_of_the_first_token(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4000; i++)
        stream(100000 + (int64_t)(i * 7919 % 100) * 2000, 1000, 10);
    assert_in_range(predicted(10).first_p95_us, 270000, 310000);
}

/* It was thought to serve 40 at once, and has turned out to serve 20: that half of them waited does
 * not make it slow. */
static void keeps_its_quantile_where_it_was_given_too_much(void **state)
{
    (void)state;
    struct predict_call calls[40];
    streams(MANY, 200000, 10000, 81);
    figures.room_milli = 40000;
    int64_t before = predicted(81).first_p95_us;
    for (unsigned i = 0; i < 40; i++)
        calls[i] = begun(81, true);
    figures.room_milli = 20000;
    uint64_t was = now;
    for (unsigned i = 0; i < 40; i++) {
        now = was + 200000;
        if (i >= 20) { /* as places become free */
            now += (i - 19) * UINT64_C(50000);
            predict_end(&figures, &calls[i - 20], PREDICT_NOTHING, 0, now);
        }
        predict_first(&figures, &calls[i], now);
    }
    for (unsigned i = 20; i < 40; i++)
        predict_end(&figures, &calls[i], PREDICT_NOTHING, 0, now);
    assert_true(predicted(81).first_p95_us < before + before / 8);
    streams(60, 400000, 10000, 81); /* but this does */
    assert_true(predicted(81).first_p95_us > 400000);
}

/* Twelve are sent to who is new, and is thought to have four places: by what the first answer took,
 * two queues of four were before the last of them, longer than all that it took. */
static void begins_its_quantile_with_what_the_first_one_took(void **state)
{
    (void)state;
    struct predict_call calls[12];
    for (unsigned i = 0; i < 12; i++)
        calls[i] = begun(1, true);
    now += 400000;
    predict_first(&figures, &calls[11], now);
    assert_in_range(atomic_load(&figures.classes[TRAFFIC_SHORT].p95_us), 400000, 800000);
}

static void knows_no_quantile_by_its_first_calls(void **state)
{
    (void)state;
    struct predict_call calls[8];
    for (unsigned i = 0; i < 8; i++)
        calls[i] = begun(20, true);
    now += 300000;
    for (unsigned i = 0; i < 8; i++)
        predict_first(&figures, &calls[i], now);
    assert_true(predicted(20).first_p95_us > 500000);
}

static void takes_others_for_who_is_unknown(void **state)
{
    (void)state;
    struct predict_figures fast = {0}, slow = {0};
    streams(MANY, 250000, 8000, 20);
    fast = figures;
    set_up(NULL);
    streams(MANY, 900000, 20000, 20);
    slow = figures;
    set_up(NULL);
    struct predict_prior prior = {.count = 0};
    predict_prior_add(&prior, &slow, TRAFFIC_SHORT);
    predict_prior_add(&prior, &fast, TRAFFIC_SHORT);
    predict_prior_add(&prior, &figures, TRAFFIC_SHORT);
    struct prediction out = predicted_beside(20, prior);
    assert_false(out.known);
    assert_int_equal(out.age_us, INT64_MAX);
    assert_near(out.first_us, 250000, 5);
    assert_near(out.token_ns, 8000000, 10);
    /* Of its own other prompts something is known. */
    figures = slow;
    struct predict_ask longer = ask(20);
    longer.traffic = TRAFFIC_LONG;
    predict_make(&figures, &longer, &prior, &out);
    assert_false(out.known);
    assert_near(out.first_us, 900000, 5);
}

static void takes_alike_ones_only_for_alike_in_room(void **state)
{
    (void)state;
    struct predict_figures one = {0};
    streams(MANY, 250000, 8000, 20);
    one = figures;
    set_up(NULL);
    streams(MANY, 900000, 10000, 20); /* its first token is late: a queue, or trouble */
    struct predict_prior prior = {.count = 0};
    predict_prior_add(&prior, &one, TRAFFIC_SHORT);
    predict_prior_add(&prior, &figures, TRAFFIC_SHORT);
    predict_prior_fill(&prior, TRAFFIC_SHORT);
    assert_true(prior.room_milli > 0);
    set_up(NULL);
    streams(MANY, 250000, 16000, 20);
    prior = (struct predict_prior){.count = 0};
    predict_prior_add(&prior, &one, TRAFFIC_SHORT);
    predict_prior_add(&prior, &figures, TRAFFIC_SHORT);
    predict_prior_fill(&prior, TRAFFIC_SHORT);
    assert_int_equal(prior.room_milli, 0);
}

static void forgets_by_rare_calls_how_late_some_were(void **state)
{
    (void)state;
    streams(MANY, 2000000, 1000, 20);
    int64_t before = predicted(20).first_p95_us;
    for (unsigned i = 0; i < 6; i++) {
        now += 30 * SECOND;
        stream(300000, 1000, 20);
    }
    assert_true(before >= 2000000);
    assert_true(predicted(20).first_p95_us < 500000);
}

static void expects_less_of_a_prompt_that_is_in_the_cache(void **state)
{
    (void)state;
    streams(MANY, 2000000, 1000, 20);
    struct predict_ask asked = ask(20);
    struct predict_prior prior = {.first_us = 2000000, .token_ns = 1000000};
    struct prediction out;
    asked.cached_tokens = 100;
    predict_make(&figures, &asked, &prior, &out);
    assert_near(out.first_us, 1000000, 10);
    for (unsigned i = 0; i < MANY; i++) { /* it is really so fast */
        struct predict_call call;
        asked.now_us = now;
        predict_begin(&figures, &asked, &out, true, &call);
        now += 300000;
        predict_first(&figures, &call, now);
        predict_end(&figures, &call, PREDICT_WHOLE, 20, now);
    }
    asked.now_us = now;
    predict_make(&figures, &asked, &prior, &out);
    assert_near(out.first_us, 300000, 10);
    assert_near(predicted(20).first_us, 2000000, 10); /* and without the cache as before */
}

static void fades_by_half_lives(void **state)
{
    (void)state;
    assert_int_equal(predict_fade(1000, 0, 100), 1000);
    assert_int_equal(predict_fade(1000, -5, 100), 1000);
    assert_int_equal(predict_fade(1000, 100, 0), 1000);
    assert_in_range(predict_fade(1000000, HALF_LIFE, HALF_LIFE), 499000, 500000);
    assert_in_range(predict_fade(1000000, HALF_LIFE / 2, HALF_LIFE), 706000, 708000);
    assert_int_equal(predict_fade(INT64_MAX, INT64_MAX, 1), 0);
    assert_in_range(-predict_fade(-1000000, HALF_LIFE, HALF_LIFE), 499000, 501000);
}

static void bears_the_greatest_figures(void **state)
{
    (void)state;
    struct predict_ask asked = {.now_us = now,
                                .half_life_us = HALF_LIFE,
                                .input_tokens = INT64_MAX,
                                .output_tokens = INT64_MAX,
                                .cached_tokens = INT64_MAX};
    struct predict_prior prior = {.first_us = INT64_MAX / 4, .token_ns = INT64_MAX / 4};
    struct prediction out;
    struct predict_call calls[8];
    for (unsigned i = 0; i < 8; i++) {
        predict_make(&figures, &asked, &prior, &out);
        predict_begin(&figures, &asked, &out, i % 2 == 0, &calls[i]);
    }
    now += UINT64_C(1) << 40;
    for (unsigned i = 0; i < 8; i++) {
        predict_first(&figures, &calls[i], now);
        predict_end(&figures, &calls[i], PREDICT_WHOLE, INT64_MAX, now);
    }
    asked.now_us = now;
    predict_make(&figures, &asked, &prior, &out);
    assert_true(out.first_us >= 0 && out.total_us >= out.first_us && out.work_tokens == 0);
    asked.input_tokens = asked.output_tokens = asked.cached_tokens = -1;
    predict_make(&figures, &asked, &prior, &out);
    assert_true(out.first_us >= 0 && out.total_us >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sorts_calls_by_the_length_of_their_prompt, set_up),
        cmocka_unit_test_setup(learns_the_first_token_and_the_others_apart, set_up),
        cmocka_unit_test_setup(is_not_slower_for_long_answers, set_up),
        cmocka_unit_test_setup(learns_from_answers_in_one_piece, set_up),
        cmocka_unit_test_setup(jumps_at_once_when_one_is_far_too_late, set_up),
        cmocka_unit_test_setup(takes_what_may_be_chance_for_little, set_up),
        cmocka_unit_test_setup(believes_that_it_is_slow_when_it_is_so_again, set_up),
        cmocka_unit_test_setup(looks_again_by_one_call_whether_it_is_late_still, set_up),
        cmocka_unit_test_setup(tells_who_is_late_from_who_queues, set_up),
        cmocka_unit_test_setup(fades_towards_what_its_siblings_need, set_up),
        cmocka_unit_test_setup(remembers_who_is_merely_slower, set_up),
        cmocka_unit_test_setup(knows_a_silent_target_before_a_call_has_failed, set_up),
        cmocka_unit_test_setup(learns_of_those_whose_client_did_not_wait, set_up),
        cmocka_unit_test_setup(charges_failures_as_time_and_never_as_fast, set_up),
        cmocka_unit_test_setup(forgives_by_successes, set_up),
        cmocka_unit_test_setup(does_not_forgive_by_what_was_begun_before_a_failure, set_up),
        cmocka_unit_test_setup(forgives_by_all_where_failures_were_strays, set_up),
        cmocka_unit_test_setup(counts_what_is_in_flight, set_up),
        cmocka_unit_test_setup(learns_how_many_it_serves_at_once, set_up),
        cmocka_unit_test_setup(learns_the_same_of_calls_whose_prompt_was_cached, set_up),
        cmocka_unit_test_setup(has_the_room_that_it_seems_to_have_while_nobody_waits, set_up),
        cmocka_unit_test_setup(learns_that_it_has_room_when_nobody_queues, set_up),
        cmocka_unit_test_setup(gives_little_to_who_is_new, set_up),
        cmocka_unit_test_setup(believes_that_a_newcomer_is_slow_as_long_again, set_up),
        cmocka_unit_test_setup(takes_for_a_queue_what_was_never_written_at_once, set_up),
        cmocka_unit_test_setup(has_room_for_what_it_writes_at_once, set_up),
        cmocka_unit_test_setup(learns_what_is_calm_by_those_that_do_not_queue, set_up),
        cmocka_unit_test_setup(learns_what_is_calm_by_its_room_where_others_are, set_up),
        cmocka_unit_test_setup(keeps_its_room_while_there_is_no_news, set_up),
        cmocka_unit_test_setup(believes_what_a_server_says_of_its_queue, set_up),
        cmocka_unit_test_setup(keeps_a_quantile_of_the_first_token, set_up),
        cmocka_unit_test_setup(keeps_its_quantile_where_it_was_given_too_much, set_up),
        cmocka_unit_test_setup(begins_its_quantile_with_what_the_first_one_took, set_up),
        cmocka_unit_test_setup(knows_no_quantile_by_its_first_calls, set_up),
        cmocka_unit_test_setup(takes_others_for_who_is_unknown, set_up),
        cmocka_unit_test_setup(takes_alike_ones_only_for_alike_in_room, set_up),
        cmocka_unit_test_setup(forgets_by_rare_calls_how_late_some_were, set_up),
        cmocka_unit_test_setup(expects_less_of_a_prompt_that_is_in_the_cache, set_up),
        cmocka_unit_test_setup(fades_by_half_lives, set_up),
        cmocka_unit_test_setup(bears_the_greatest_figures, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
