/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/spent.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { NOW = 1000, UNTIL = 2000 };

static void what_is_spent_stays_so_until_its_time(void **state)
{
    (void)state;
    struct spent *spent = spent_new();
    assert_false(spent_has(spent, TEXT("a"), NOW));
    assert_true(spent_add(spent, TEXT("a"), UNTIL, NOW));
    assert_false(spent_add(spent, TEXT("a"), UNTIL, NOW));
    assert_true(spent_has(spent, TEXT("a"), NOW));
    assert_false(spent_has(spent, TEXT("b"), NOW));
    assert_true(spent_has(spent, TEXT("a"), UNTIL - 1));
    assert_false(spent_has(spent, TEXT("a"), UNTIL));
    spent_free(spent);
    spent_free(NULL);
}

static void the_oldest_is_forgotten_first(void **state)
{
    (void)state;
    char name[32];
    struct spent *spent = spent_new();
    for (int i = 0; i <= SPENT_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_true(spent_add(spent, text_of(name), UNTIL, NOW));
    }
    assert_false(spent_has(spent, TEXT("0"), NOW));
    assert_true(spent_has(spent, TEXT("1"), NOW));
    assert_true(spent_has(spent, text_of(name), NOW));
    spent_free(spent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_spent_stays_so_until_its_time),
        cmocka_unit_test(the_oldest_is_forgotten_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
