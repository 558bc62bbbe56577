/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* cmocka.h needs those above it. */
#include <cmocka.h>

#include "routing/target.h"

static void figures_are_found_again(void **state)
{
    (void)state;
    struct target_figures *one = target_figures(TEXT("one"));
    assert_ptr_equal(one, target_figures(TEXT("one")));
    assert_ptr_not_equal(one, target_figures(TEXT("two")));
}

static struct target_call expected(struct target_figures *figures, struct target_call call)
{
    target_expect(figures, &call);
    return call;
}

static void nothing_is_expected_before_something_was_learnt(void **state)
{
    (void)state;
    struct target_figures *figures = target_figures(TEXT("fresh"));
    struct target_call call = expected(
        figures, (struct target_call){.body_bytes = 400, .input_tokens = 100, .output_tokens = 7});
    assert_int_equal(call.input_tokens, 100);
    assert_int_equal(call.output_tokens, 7);
}

static void streams_are_counted_by_their_events(void **state)
{
    (void)state;
    struct target_figures *figures = target_figures(TEXT("streams"));
    struct target_call whole = {
        .body_bytes = 1000, .stream = true, .events = 40, .input_tokens = 250, .output_tokens = 60};
    target_learn(figures, &whole);
    struct target_call cut = expected(
        figures,
        (struct target_call){.body_bytes = 2000, .stream = true, .events = 10, .output_tokens = 3});
    assert_int_equal(cut.input_tokens, 500);
    assert_int_equal(cut.output_tokens, 15);
    /* Nothing was seen of it, so nothing is thought of it. */
    cut = expected(figures, (struct target_call){.stream = true, .output_tokens = 0});
    assert_int_equal(cut.output_tokens, 0);
    /* Of answers in one piece nothing is known by that. */
    cut = expected(figures, (struct target_call){.output_tokens = 9});
    assert_int_equal(cut.output_tokens, 9);
}

static void answers_in_one_piece_are_as_long_as_others(void **state)
{
    (void)state;
    struct target_figures *figures = target_figures(TEXT("pieces"));
    for (int64_t length = 80; length <= 120; length++)
        target_learn(figures, &(struct target_call){
                                  .body_bytes = 100, .input_tokens = 25, .output_tokens = length});
    int64_t usual = expected(figures, (struct target_call){.output_tokens = 1}).output_tokens;
    assert_in_range(usual, 100, 120);
    for (int i = 0; i < 100; i++)
        target_learn(figures, &(struct target_call){
                                  .body_bytes = 100, .input_tokens = 25, .output_tokens = 10});
    usual = expected(figures, (struct target_call){.output_tokens = 1}).output_tokens;
    assert_in_range(usual, 9, 11);
}

static void what_cannot_be_is_not_learnt(void **state)
{
    (void)state;
    struct target_figures *figures = target_figures(TEXT("odd"));
    const struct target_call odd[] = {
        {.body_bytes = 0, .input_tokens = 5},
        {.body_bytes = 100, .input_tokens = -5, .output_tokens = -5},
        {.body_bytes = INT64_MAX,
         .stream = true,
         .events = INT64_MAX,
         .input_tokens = INT64_MAX,
         .output_tokens = INT64_MAX},
        {.stream = true, .events = 1, .output_tokens = 500}, /* too short to say */
    };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        target_learn(figures, &odd[i]);
    struct target_call call = expected(figures, (struct target_call){.body_bytes = 100,
                                                                     .stream = true,
                                                                     .events = 10,
                                                                     .input_tokens = 3,
                                                                     .output_tokens = 4});
    assert_int_equal(call.input_tokens, 3);
    assert_int_equal(call.output_tokens, 4);
    target_learn(figures, &(struct target_call){.body_bytes = 1, .input_tokens = 100000000});
    call = expected(figures, (struct target_call){.body_bytes = INT64_MAX, .input_tokens = 3});
    assert_int_equal(call.input_tokens, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_found_again),
        cmocka_unit_test(nothing_is_expected_before_something_was_learnt),
        cmocka_unit_test(streams_are_counted_by_their_events),
        cmocka_unit_test(answers_in_one_piece_are_as_long_as_others),
        cmocka_unit_test(what_cannot_be_is_not_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
