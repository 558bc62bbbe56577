/* SPDX-License-Identifier: Apache-2.0 */
/* The set of open calls, against the simplest set there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "policy/opens.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { CALLS = 500, STEPS = 200000 };

static void assert_same(const struct opens *opens, const bool *plain)
{
    size_t at = 0, count = 0;
    for (struct open_call *call; (call = opens_next(opens, &at)); count++)
        assert_true(plain[call->sequence]);
    assert_int_equal(count, opens->count);
    for (uint64_t i = 1; i < CALLS; i++) {
        struct open_call *call = opens_find(opens, i);
        assert_int_equal(call != NULL, plain[i]);
        if (call)
            assert_int_equal(call->offset, i * 3);
    }
}

static void it_holds_what_was_put_and_not_removed(void **state)
{
    (void)state;
    struct opens opens = {0};
    bool plain[CALLS] = {0};
    srandom(1);
    for (int step = 0; step < STEPS; step++) {
        uint64_t sequence = (uint64_t)(random() % (CALLS - 1)) + 1;
        bool put = random() % 5 < (step / 20000 % 2 ? 1 : 4);
        if (put)
            opens_put(&opens, &(struct open_call){.sequence = sequence,
                                                  .offset = (uint32_t)(sequence * 3)});
        else
            opens_remove(&opens, sequence);
        plain[sequence] = put;
        if (step % 5000 == 0)
            assert_same(&opens, plain);
    }
    assert_same(&opens, plain);
    opens_done(&opens);
}

static void the_first_put_stays(void **state)
{
    (void)state;
    struct opens opens = {0};
    opens_put(&opens, &(struct open_call){.sequence = 9, .offset = 1});
    opens_put(&opens, &(struct open_call){.sequence = 9, .offset = 2});
    assert_int_equal(opens.count, 1);
    assert_int_equal(opens_find(&opens, 9)->offset, 1);
    opens_remove(&opens, 9);
    opens_remove(&opens, 9);
    assert_null(opens_find(&opens, 9));
    assert_null(opens_find(&opens, 0));
    opens_done(&opens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_was_put_and_not_removed),
        cmocka_unit_test(the_first_put_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
