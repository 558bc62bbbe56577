/* SPDX-License-Identifier: Apache-2.0 */
/* Two lots of times are compared so that neither chance nor a single late one decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "deploy/models/trial.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void take(struct trial *trial, int64_t us, unsigned times)
{
    uint64_t log = trial_log(us);
    for (unsigned i = 0; i < times; i++)
        trial_add(trial, &(struct trial){1, 0, 1, log, log * log});
}

/* <count> times around <us>: half as long to twice as long. */
static struct trial around(int64_t us, unsigned count)
{
    struct trial trial = {0};
    for (unsigned i = 0; i < count; i++)
        take(&trial, us / 2 + us * 3 / 2 * i / count, 1);
    return trial;
}

static void what_is_typical_is_not_moved_by_one(void **state)
{
    struct trial trial = {0};
    (void)state;
    assert_int_equal(trial_typical_us(&trial), 0);
    take(&trial, 100000, 99);
    take(&trial, 60000000, 1);
    assert_in_range(trial_typical_us(&trial), 100000, 110000);
}

static void later_is_said_of_what_is_surely_later(void **state)
{
    static const struct {
        int64_t one_us, other_us;
        unsigned count, permille;
        bool later;
    } rows[] = {
        {300000, 100000, 40, 2000, true},
        {300000, 100000, 40, 4000, false},
        {300000, 100000, 40, 0, false},    /* any will do */
        {210000, 100000, 40, 2000, false}, /* perhaps by chance */
        {210000, 100000, 40000, 2000, true},
        {100000, 300000, 40, 2000, false},
        {300000, 100000, TRIAL_TIMED_LEAST - 1, 2000, false},
        {15000, 1000, 400, 2000, false}, /* fifteen times, and nobody feels it */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct trial one = around(rows[i].one_us, rows[i].count);
        struct trial other = around(rows[i].other_us, rows[i].count);
        assert_int_equal(trial_is_later(&one, &other, rows[i].permille), rows[i].later);
    }
}

static void equal_times_have_no_error(void **state)
{
    struct trial one = {0}, other = {0};
    (void)state;
    take(&one, 200000, 20);
    take(&other, 90000, 20);
    assert_true(trial_is_later(&one, &other, 2000));
    assert_false(trial_is_later(&other, &one, 2000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_typical_is_not_moved_by_one),
        cmocka_unit_test(later_is_said_of_what_is_surely_later),
        cmocka_unit_test(equal_times_have_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
