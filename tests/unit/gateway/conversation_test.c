/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/conversation.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define SAYS(words) "{\"role\":\"user\",\"content\":\"" words "\"}"
#define CHAT(list)  TEXT("{\"model\":\"m\",\"messages\":[" list "]}")
#define SYSTEM      "{\"role\":\"system\",\"content\":\"be brief\"}"

static void turns_of_one_conversation_are_one(void **state)
{
    (void)state;
    uint64_t first = conversation_of(CHAT(SYSTEM "," SAYS("hi")));
    assert_true(first != 0);
    assert_true(first ==
                conversation_of(CHAT(SYSTEM ", " SAYS("hi") ",{\"role\":\"assistant\","
                                                            "\"content\":\"yes\"}," SAYS("more"))));
    assert_true(first != conversation_of(CHAT(SYSTEM "," SAYS("ho"))));
    assert_true(first != conversation_of(CHAT(SAYS("hi"))));
}

static void every_dialect_has_conversations(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"a\"}]}]}",
        "{\"input\":\"a\"}",
        "{\"input\":[{\"role\":\"user\",\"content\":\"a\"}]}",
        "{\"prompt\":\"a\"}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\"}]}]}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        if (!conversation_of(text_of(bodies[i])))
            fail_msg("%s", bodies[i]);
}

static void what_says_nothing_has_none(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{}",
                                         "[]",
                                         "{\"messages\":[]}",
                                         "{\"messages\":null}",
                                         "{\"input\":5}",
                                         "{\"model\":\"messages\"}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        if (conversation_of(text_of(bodies[i])))
            fail_msg("%s", bodies[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_of_one_conversation_are_one),
        cmocka_unit_test(every_dialect_has_conversations),
        cmocka_unit_test(what_says_nothing_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
