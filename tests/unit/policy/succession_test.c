/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that go over to another process, and calls that run in both. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "policy/meter_inside.h"
#include "policy/succession.h"
#include "tests/unit/policy/meter_cases.h"

enum { WAIT_US = 5000000 };
static const struct bequest all;

/* The predecessor and the successor, in one process. */
struct pair {
    struct meter *old, *new;
    struct heir *heir;
    struct forebear *forebear;
};

static struct meter *made(void)
{
    struct meter *meter = meter_new(false);
    meter_freeze(meter, START);
    return meter;
}

static void hand_over(struct pair *pair)
{
    int link[2];
    struct fault fault;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link),
                     0);
    pair->new = made();
    pair->heir = heir_new(pair->old, &all, link[0], &fault);
    assert_non_null(pair->heir);
    pair->forebear = forebear_new(pair->new, link[1], WAIT_US, &fault);
    assert_non_null(pair->forebear);
    assert_true(forebear_begin(pair->forebear));
    heir_serves(pair->heir);
}

static void end(struct pair *pair)
{
    heir_free(pair->heir);
    forebear_free(pair->forebear);
    meter_free(pair->old);
    meter_free(pair->new);
}

static void until_gone(const struct pair *pair)
{
    uint64_t until = clock_now_us() + 30000000;
    while (!forebear_is_gone(pair->forebear) && clock_now_us() < until)
        usleep(1000);
    assert_true(forebear_is_gone(pair->forebear));
}

/* What was told without an answer has been heard when what is asked behind it is answered. */
static void hear(const struct pair *pair)
{
    struct call call = {.r = {.root = TEXT("acme"), .uses = call.uses}};
    struct limit none = rolling(LIMIT_REQUESTS, 1, SECOND);
    call_add(&call, &none, "t/ask", 2, 2);
    assert_int_equal(heir_reserve(pair->heir, &call.r), RESERVE_REFUSED);
}

static void all_that_counts_goes_over(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit minute = rolling(LIMIT_REQUESTS, 10, MINUTE);
    struct limit month = budget(1000, PERIOD_MONTH);
    struct limit at_once = parallel(3);
    struct call settled = {0}, runs = {0}, third = {0};
    call_add(&settled, &minute, "t/minute", 1, 1);
    call_add(&settled, &month, "t/month", 500, 500);
    assert_int_equal(meter_take(pair.old, &settled.r), METER_TAKEN);
    meter_settle(pair.old, &settled.r, &(struct used){.sent = true, .cost_nanos = 120});
    call_add(&runs, &minute, "t/minute", 1, 1);
    call_add(&runs, &month, "t/month", 700, 700);
    call_add(&runs, &at_once, "t/at_once", 1, 1);
    assert_int_equal(meter_take(pair.old, &runs.r), METER_TAKEN);
    hand_over(&pair);
    assert_int_equal(used_of(pair.new, "t/minute"), 2);
    assert_int_equal(used_of(pair.new, "t/month"), 820);
    assert_int_equal(used_of(pair.new, "t/at_once"), 1);
    call_add(&third, &month, "t/month", 181, 181);
    assert_int_equal(meter_take(pair.new, &third.r), METER_FULL);
    third.uses[0].want = third.uses[0].least = 180;
    assert_int_equal(meter_take(pair.new, &third.r), METER_TAKEN);
    meter_settle(pair.new, &third.r, &(struct used){.sent = true, .cost_nanos = 180});

    heir_settle(pair.heir, &runs.r, &(struct used){.sent = true, .cost_nanos = 50}, 0);
    meter_settle(pair.old, &runs.r, &(struct used){.sent = true, .cost_nanos = 50});
    hear(&pair);
    assert_int_equal(used_of(pair.new, "t/month"), 350);
    assert_int_equal(used_of(pair.new, "t/at_once"), 0);
    assert_int_equal(used_of(pair.new, "t/minute"), 2);
    end(&pair);
}

static void who_is_asked_is_the_successor(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit month = budget(1000, PERIOD_MONTH);
    struct call first = {0}, second = {0}, third = {0};
    call_add(&first, &month, "t/month", 400, 400);
    assert_int_equal(meter_take(pair.old, &first.r), METER_TAKEN);
    hand_over(&pair);
    call_add(&second, &month, "t/month", 500, 500);
    assert_int_equal(meter_take(pair.new, &second.r), METER_TAKEN);
    call_add(&third, &month, "t/month", 101, 101);
    assert_int_equal(heir_reserve(pair.heir, &third.r), RESERVE_REFUSED);
    assert_int_equal(third.r.refused, 0);
    assert_true(third.r.retry_after_us > 0 && !third.r.live);
    assert_false(heir_extend(pair.heir, &first.r, LIMIT_MONEY, 101));
    assert_true(heir_extend(pair.heir, &first.r, LIMIT_MONEY, 60));
    assert_int_equal(first.uses[0].held, 460);
    assert_int_equal(used_of(pair.new, "t/month"), 960);
    third.uses[0].want = third.uses[0].least = 40;
    assert_int_equal(heir_reserve(pair.heir, &third.r), RESERVE_GRANTED);
    assert_true(third.r.live);
    assert_int_equal(third.uses[0].held, 40);
    struct used nothing = {0};
    heir_settle(pair.heir, &third.r, &nothing, 0);
    meter_settle(pair.old, &third.r, &nothing);
    hear(&pair);
    assert_int_equal(used_of(pair.new, "t/month"), 960);
    heir_settle(pair.heir, &first.r, &(struct used){.sent = true, .cost_nanos = 460}, 0);
    meter_settle(pair.old, &first.r, &(struct used){.sent = true, .cost_nanos = 460});
    hear(&pair);
    assert_int_equal(used_of(pair.new, "t/month"), 960);
    meter_settle(pair.new, &second.r, &nothing);
    assert_int_equal(used_of(pair.new, "t/month"), 460);
    end(&pair);
}

static void what_a_dead_predecessor_held_is_used(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit month = budget(1000, PERIOD_MONTH);
    struct limit at_once = parallel(3);
    struct call runs = {0};
    call_add(&runs, &month, "t/month", 700, 700);
    call_add(&runs, &at_once, "t/at_once", 1, 1);
    assert_int_equal(meter_take(pair.old, &runs.r), METER_TAKEN);
    hand_over(&pair);
    heir_free(pair.heir); /* as the kernel closes what a process had open */
    pair.heir = NULL;
    until_gone(&pair);
    assert_int_equal(used_of(pair.new, "t/month"), 700);
    assert_int_equal(used_of(pair.new, "t/at_once"), 0);
    assert_int_equal(meter_settled(pair.new, TEXT("acme"), TEXT("t/month")), 700);
    end(&pair);
}

static void without_a_successor_nobody_is_let_in(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit month = budget(1000, PERIOD_MONTH);
    struct call first = {0}, second = {0};
    call_add(&first, &month, "t/month", 400, 400);
    assert_int_equal(meter_take(pair.old, &first.r), METER_TAKEN);
    hand_over(&pair);
    forebear_free(pair.forebear);
    pair.forebear = NULL;
    call_add(&second, &month, "t/month", 1, 1);
    assert_int_equal(heir_reserve(pair.heir, &second.r), RESERVE_AWAY);
    assert_false(second.r.live);
    assert_false(heir_extend(pair.heir, &first.r, LIMIT_MONEY, 1));
    heir_settle(pair.heir, &first.r, &(struct used){0}, 0); /* nobody hears it */
    meter_settle(pair.old, &first.r, &(struct used){0});
    end(&pair);
}

/* An extension that is asked for on a thread of its own. */
struct asking {
    struct heir *heir;
    struct call *call;
    pthread_t thread;
    atomic_bool answered;
    bool held;
};

static void *extend_by_60(void *with)
{
    struct asking *asking = with;
    asking->held = heir_extend(asking->heir, &asking->call->r, LIMIT_MONEY, 60);
    atomic_store(&asking->answered, true);
    return NULL;
}

/* The successor does not answer yet, for a time that was once too long. */
static void ask_in_vain(struct pair *pair, struct call *call, const struct limit *month,
                        struct asking *asking)
{
    int link[2];
    struct fault fault;
    *asking = (struct asking){.call = call};
    call_add(call, month, "t/month", 400, 400);
    assert_int_equal(meter_take(pair->old, &call->r), METER_TAKEN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link),
                     0);
    pair->new = made();
    asking->heir = pair->heir = heir_new(pair->old, &all, link[0], &fault);
    assert_non_null(pair->heir);
    pair->forebear = forebear_new(pair->new, link[1], WAIT_US, &fault);
    assert_non_null(pair->forebear);
    assert_int_equal(pthread_create(&asking->thread, NULL, extend_by_60, asking), 0);
    usleep(1200000);
    assert_false(atomic_load(&asking->answered));
}

static void a_late_answer_is_one(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit month = budget(1000, PERIOD_MONTH);
    struct call call = {0};
    struct asking asking;
    ask_in_vain(&pair, &call, &month, &asking);
    assert_true(forebear_begin(pair.forebear));
    pthread_join(asking.thread, NULL);
    assert_true(asking.held && !heir_is_gone(pair.heir));
    assert_int_equal(used_of(pair.new, "t/month"), 460);
    heir_serves(pair.heir);
    heir_settle(pair.heir, &call.r, &(struct used){0}, 0);
    meter_settle(pair.old, &call.r, &(struct used){0});
    end(&pair);
}

static void what_comes_back_is_counted_here(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit month = budget(1000, PERIOD_MONTH);
    struct call call = {0}, next = {0};
    struct asking asking;
    ask_in_vain(&pair, &call, &month, &asking);
    forebear_free(pair.forebear); /* it dies: that alone decides nothing */
    pair.forebear = NULL;
    usleep(50000);
    assert_false(atomic_load(&asking.answered));
    heir_returns(pair.heir);
    pthread_join(asking.thread, NULL);
    assert_true(asking.held);
    assert_int_equal(used_of(pair.old, "t/month"), 460);
    call_add(&next, &month, "t/month", 541, 541);
    assert_int_equal(heir_reserve(pair.heir, &next.r), RESERVE_REFUSED);
    next.uses[0].want = next.uses[0].least = 540;
    assert_int_equal(heir_reserve(pair.heir, &next.r), RESERVE_GRANTED);
    meter_settle(pair.old, &next.r, &(struct used){0});
    meter_settle(pair.old, &call.r, &(struct used){0});
    end(&pair);
}

/* Who was given up and lives after all does not hold what is ours for ever. */
static void who_is_given_up_counts_ours_as_used(void **state)
{
    (void)state;
    struct pair pair = {.old = made()};
    struct limit at_once = parallel(3);
    struct call runs = {0}, odd = {0};
    call_add(&runs, &at_once, "t/at_once", 1, 1);
    assert_int_equal(meter_take(pair.old, &runs.r), METER_TAKEN);
    hand_over(&pair);
    assert_int_equal(used_of(pair.new, "t/at_once"), 1);
    static char much[256 << 10]; /* more than a message may have: it cannot be told */
    memset(much, 'x', sizeof(much));
    call_add(&odd, &at_once, "t/at_once", 1, 1);
    odd.r.root = (struct text){much, sizeof(much)};
    assert_int_equal(heir_reserve(pair.heir, &odd.r), RESERVE_AWAY);
    assert_true(heir_is_gone(pair.heir));
    until_gone(&pair);
    assert_int_equal(used_of(pair.new, "t/at_once"), 0);
    meter_settle(pair.old, &runs.r, &(struct used){0});
    end(&pair);
}

static void what_is_not_understood_is_not_taken(void **state)
{
    (void)state;
    struct fault fault;
    int link[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link),
                     0);
    struct meter *meter = made();
    assert_int_equal(send(link[0], "x", 1, 0), 1); /* without a file */
    assert_null(forebear_new(meter, link[1], WAIT_US, &fault));
    close(link[0]);
    meter_free(meter);
}

/* ------------------------------------------------------------------- against a single one */

enum { CALLS = 12, STEPS = 4000 };

static uint64_t seed;

static unsigned any(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

static const char *const names[] = {"t/minute", "t/tokens", "t/month", "t/at_once", "t/bucket"};

struct twin {
    struct call one, two; /* with a single meter, and with the pair */
    bool live, in_old;
};

static void fill(struct call *call, const struct limit *limits, const int64_t *wants)
{
    *call = (struct call){0};
    for (size_t i = 0; i < 5; i++)
        call_add(call, &limits[i], names[i], wants[i], i == 2 ? wants[i] / 2 : wants[i]);
}

/* Whatever the order in which calls begin, grow and end, on either side: the two count as one. */
static void two_count_as_one_would(void **state)
{
    (void)state;
    const struct limit limits[5] = {
        rolling(LIMIT_REQUESTS, 400, MINUTE), rolling(LIMIT_TOKENS, 30000, HOUR),
        budget(200000, PERIOD_MONTH), parallel(8), rolling(LIMIT_OUTPUT_TOKENS, 5000, MINUTE)};
    for (uint64_t round = 1; round <= 5; round++) {
        seed = round * 0x9e3779b97f4a7c15U;
        struct twin twins[CALLS] = {0};
        struct meter *single = made();
        struct pair pair = {.old = made()};
        int64_t now = START;
        for (int step = 0; step < STEPS; step++) {
            struct twin *twin = &twins[any(CALLS)];
            if (step == STEPS / 3)
                hand_over(&pair);
            struct meter *serves = pair.new ? pair.new : pair.old;
            now += any(100000);
            meter_freeze(single, now);
            meter_freeze(pair.old, now);
            if (pair.new)
                meter_freeze(pair.new, now);
            if (!twin->live) {
                int64_t wants[5] = {1, any(300), any(3000), 1, any(100)};
                bool by_old = !pair.new || any(3) == 0;
                fill(&twin->one, limits, wants);
                fill(&twin->two, limits, wants);
                bool taken = meter_take(single, &twin->one.r) == METER_TAKEN, same;
                if (pair.new &&by_old)
                    same = (heir_reserve(pair.heir, &twin->two.r) == RESERVE_GRANTED) == taken;
                else
                    same = (meter_take(serves, &twin->two.r) == METER_TAKEN) == taken;
                assert_true(same);
                assert_int_equal(twin->one.r.refused, twin->two.r.refused);
                assert_int_equal(twin->one.r.retry_after_us, twin->two.r.retry_after_us);
                for (size_t i = 0; taken && i < 5; i++)
                    assert_int_equal(twin->one.uses[i].held, twin->two.uses[i].held);
                twin->live = taken;
                twin->in_old = by_old;
            } else if (any(3) == 0) {
                int64_t more = any(500);
                bool grown = meter_extend(single, &twin->one.r, LIMIT_MONEY, more);
                bool too = pair.new && twin->in_old
                               ? heir_extend(pair.heir, &twin->two.r, LIMIT_MONEY, more)
                               : meter_extend(serves, &twin->two.r, LIMIT_MONEY, more);
                assert_int_equal(grown, too);
            } else {
                struct used used = {.sent = any(5) > 0,
                                    .input_tokens = any(150),
                                    .output_tokens = any(120),
                                    .cost_nanos = any(3500)};
                meter_settle(single, &twin->one.r, &used);
                if (pair.new && twin->in_old) {
                    heir_settle(pair.heir, &twin->two.r, &used, 0);
                    meter_settle(pair.old, &twin->two.r, &used);
                    hear(&pair);
                } else {
                    meter_settle(serves, &twin->two.r, &used);
                }
                twin->live = false;
            }
            serves = pair.new ? pair.new : pair.old;
            for (size_t i = 0; i < 5; i++)
                assert_int_equal(used_of(single, names[i]), used_of(serves, names[i]));
        }
        for (int i = 0; i < CALLS; i++) {
            struct used nothing = {0};
            if (!twins[i].live)
                continue;
            meter_settle(single, &twins[i].one.r, &nothing);
            if (twins[i].in_old)
                heir_settle(pair.heir, &twins[i].two.r, &nothing, 0);
            meter_settle(twins[i].in_old ? pair.old : pair.new, &twins[i].two.r, &nothing);
        }
        hear(&pair);
        heir_free(pair.heir);
        pair.heir = NULL;
        until_gone(&pair);
        for (size_t i = 0; i < 5; i++)
            assert_int_equal(used_of(single, names[i]), used_of(pair.new, names[i]));
        assert_int_equal(used_of(pair.new, "t/at_once"), 0);
        meter_free(single);
        end(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_counts_goes_over),
        cmocka_unit_test(who_is_asked_is_the_successor),
        cmocka_unit_test(what_a_dead_predecessor_held_is_used),
        cmocka_unit_test(without_a_successor_nobody_is_let_in),
        cmocka_unit_test(a_late_answer_is_one),
        cmocka_unit_test(what_comes_back_is_counted_here),
        cmocka_unit_test(who_is_given_up_counts_ours_as_used),
        cmocka_unit_test(what_is_not_understood_is_not_taken),
        cmocka_unit_test(two_count_as_one_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
