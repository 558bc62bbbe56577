/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "providers/refusal.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void what_providers_say_is_understood(void **state)
{
    (void)state;
    static const struct {
        enum refusal refusal;
        const char *body;
    } said[] = {
        {REFUSAL_CONTEXT, "{\"error\":{\"code\":\"context_length_exceeded\"}}"},
        {REFUSAL_CONTEXT,
         "{\"error\":{\"message\":\"This model's maximum context length is 8192\"}}"},
        {REFUSAL_CONTEXT,
         "{\"error\":{\"message\":\"prompt is too long: 250000 tokens > 200000\"}}"},
        {REFUSAL_CONTEXT, "{\"message\":\"Input is too long for requested model.\"}"},
        {REFUSAL_CONTEXT, "{\"error\":{\"message\":\"The input token count (9) exceeds the maximum "
                          "number of tokens allowed (8).\"}}"},
        {REFUSAL_FILTER, "{\"error\":{\"code\":\"content_filter\"}}"},
        {REFUSAL_FILTER,
         "{\"error\":{\"message\":\"Output blocked by content filtering policy\"}}"},
        {REFUSAL_PREFILL, "{\"error\":{\"message\":\"This model does not support assistant message "
                          "prefill. The conversation must end with a user message.\"}}"},
        {REFUSAL_OTHER, "{\"error\":{\"message\":\"bad temperature\"}}"},
        {REFUSAL_OTHER, ""},
    };
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        assert_int_equal(refusal_read(400, text_of(said[i].body)), said[i].refusal);
    assert_int_equal(refusal_read(500, text_of(said[0].body)), REFUSAL_OTHER);
}

static void waits_are_read_from_words(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *body;
    } said[] = {
        {1240, "Please try again in 1.24s. Visit"},
        {250, "Please try again in 250ms."},
        {360000, "Please try again in 6m0s."},
        {6000, "Please retry after 6 seconds."},
        {7000, "Please retry in 7"},
        {0, "Please try again in a while"},
        {0, "Please try again in "},
        {0, "nothing"},
        {0, "try again in 99999999999999999999999s"},
        {86400000, "try again in 9999999s"},
    };
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        assert_int_equal(refusal_wait_ms(text_of(said[i].body)), said[i].ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_providers_say_is_understood),
        cmocka_unit_test(waits_are_read_from_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
