/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "gateway/jobs_turns.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

struct one {
    struct turn turn;
    unsigned tenant;
    int id;
    bool waits, runs;
};

static struct text name_of(unsigned tenant, char room[16])
{
    return (struct text){room, (size_t)snprintf(room, 16, "tenant-%u", tenant)};
}

static void add(struct turns *turns, struct one *one, int64_t due_us)
{
    char room[16];
    turns_add(turns, name_of(one->tenant, room), &one->turn, due_us);
    one->waits = true;
}

static struct one *next(struct turns *turns, int64_t now_us, unsigned most)
{
    int64_t due;
    struct turn *turn = turns_next(turns, now_us, most, &due);
    struct one *one = turn ? LIST_MEMBER(turn, struct one, turn) : NULL;
    if (one) {
        one->waits = false;
        one->runs = true;
    }
    return one;
}

static void a_tenants_own_go_in_order(void **state)
{
    (void)state;
    struct turns turns;
    struct one ones[5] = {0};
    turns_init(&turns);
    for (int i = 0; i < 5; i++)
        add(&turns, &ones[i], 0);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(next(&turns, 1, 9), &ones[i]);
    assert_null(next(&turns, 1, 9));
    for (int i = 0; i < 5; i++)
        turns_end(&turns, &ones[i].turn);
    assert_int_equal(turns.lines.count, 0);
    turns_done(&turns);
}

static void tenants_take_turns(void **state)
{
    (void)state;
    struct turns turns;
    struct one ones[12] = {0};
    static const unsigned expected[] = {0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 0, 0};
    turns_init(&turns);
    for (int i = 0; i < 12; i++) {
        ones[i].tenant = i < 7 ? 0 : i < 10 ? 1 : 2;
        add(&turns, &ones[i], 0);
    }
    for (int i = 0; i < 12; i++) {
        const struct one *got = next(&turns, 1, 12);
        assert_non_null(got);
        if (i < 8)
            assert_int_equal(got->tenant, expected[i]);
    }
    for (int i = 0; i < 12; i++)
        turns_end(&turns, &ones[i].turn);
    turns_done(&turns);
}

static void no_more_than_so_many_run(void **state)
{
    (void)state;
    struct turns turns;
    struct one ones[4] = {0};
    turns_init(&turns);
    for (int i = 0; i < 4; i++)
        add(&turns, &ones[i], 0);
    assert_ptr_equal(next(&turns, 1, 2), &ones[0]);
    assert_ptr_equal(next(&turns, 1, 2), &ones[1]);
    assert_null(next(&turns, 1, 2));
    turns_end(&turns, &ones[0].turn);
    assert_ptr_equal(next(&turns, 1, 2), &ones[2]);
    assert_null(next(&turns, 1, 2));
    for (int i = 1; i < 4; i++)
        turns_end(&turns, &ones[i].turn);
    turns_done(&turns);
}

static void who_is_put_off_comes_when_it_is_due(void **state)
{
    (void)state;
    struct turns turns;
    struct one ones[3] = {0};
    int64_t due;
    turns_init(&turns);
    add(&turns, &ones[0], 300);
    add(&turns, &ones[1], 200);
    assert_null(turns_next(&turns, 100, 9, &due));
    assert_int_equal(due, 200);
    add(&turns, &ones[2], 0);
    assert_ptr_equal(next(&turns, 100, 9), &ones[2]);
    assert_ptr_equal(next(&turns, 250, 9), &ones[1]);
    turns_again(&turns, &ones[1].turn, 0); /* ahead of what came after it */
    assert_ptr_equal(next(&turns, 260, 9), &ones[1]);
    assert_ptr_equal(next(&turns, 300, 9), &ones[0]);
    for (int i = 0; i < 3; i++)
        turns_end(&turns, &ones[i].turn);
    turns_done(&turns);
}

static void a_tenant_that_rests_holds_nobody_up(void **state)
{
    (void)state;
    struct turns turns;
    struct one ones[3] = {{.tenant = 0}, {.tenant = 0}, {.tenant = 1}};
    int64_t due;
    turns_init(&turns);
    for (int i = 0; i < 3; i++)
        add(&turns, &ones[i], 0);
    assert_ptr_equal(next(&turns, 10, 9), &ones[0]);
    turns_rest(&ones[0].turn, 500);
    turns_again(&turns, &ones[0].turn, 500);
    assert_ptr_equal(next(&turns, 20, 9), &ones[2]);
    assert_null(turns_next(&turns, 30, 9, &due));
    assert_int_equal(due, 500);
    assert_ptr_equal(next(&turns, 500, 9), &ones[0]);
    assert_ptr_equal(next(&turns, 500, 9), &ones[1]);
    for (int i = 0; i < 3; i++)
        turns_end(&turns, &ones[i].turn);
    turns_done(&turns);
}

/* Whatever comes in whatever order: each one runs as often as it was added and put back, never
 * twice at a time, never too many of a tenant, and in the end nobody is left. */
static void nothing_is_lost_and_nothing_runs_twice(void **state)
{
    enum { ONES = 60, STEPS = 4000, TENANTS = 5, MOST = 3 };
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        struct turns turns;
        struct one ones[ONES] = {0};
        unsigned running[TENANTS] = {0}, total = 0;
        int64_t now = 1;
        turns_init(&turns);
        srand(seed);
        for (int i = 0; i < ONES; i++)
            ones[i].tenant = (unsigned)rand() % TENANTS;
        for (int step = 0; step < STEPS; step++) {
            struct one *one = &ones[rand() % ONES];
            now += rand() % 20;
            int what = rand() % 6;
            if (what < 2 && !one->waits && !one->runs) {
                add(&turns, one, what ? 0 : now + rand() % 100);
            } else if (what < 4) {
                struct one *got = next(&turns, now, MOST);
                if (got) {
                    assert_true(got->turn.due_us <= now);
                    assert_true(++running[got->tenant] <= MOST);
                    total++;
                }
            } else if (one->runs) {
                running[one->tenant]--;
                one->runs = false;
                one->waits = what == 4;
                if (what == 4 && rand() % 4 == 0)
                    turns_rest(&one->turn, now + 50);
                if (what == 4)
                    turns_again(&turns, &one->turn, now + rand() % 60);
                else
                    turns_end(&turns, &one->turn);
            } else if (one->waits && rand() % 8 == 0) {
                turns_end(&turns, &one->turn);
                one->waits = false;
            }
        }
        unsigned waiting = 0, runs = 0;
        for (int i = 0; i < ONES; i++) {
            waiting += ones[i].waits;
            runs += ones[i].runs;
        }
        assert_int_equal(turns.waiting, waiting);
        assert_int_equal(turns.running, runs);
        assert_true(total > 100);
        now += 1000000;
        for (int i = 0; i < ONES; i++)
            if (ones[i].runs)
                turns_end(&turns, &ones[i].turn);
        for (struct one *got; waiting && (got = next(&turns, now, MOST)); waiting--)
            turns_end(&turns, &got->turn);
        assert_int_equal(waiting, 0);
        assert_int_equal(turns.lines.count, 0);
        turns_done(&turns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenants_own_go_in_order),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(no_more_than_so_many_run),
        cmocka_unit_test(who_is_put_off_comes_when_it_is_due),
        cmocka_unit_test(a_tenant_that_rests_holds_nobody_up),
        cmocka_unit_test(nothing_is_lost_and_nothing_runs_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
