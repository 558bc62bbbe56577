/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/estimate_words.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void what_is_said_is_counted(void **state)
{
    (void)state;
    const struct {
        const char *words;
        int64_t tokens;
    } cases[] = {{"", 0},     {"a", 1},         {"hello", 1},   {"hello world", 2},
                 {"a  b", 3}, {"123", 1},       {"1234", 2},    {"12345678901234567890", 7},
                 {"!", 1},    {"!?", 1},        {"!?.", 2},     {"internationalizations", 3},
                 {"\\n", 1},  {"a\\u0041b", 3}, {"a, b; c", 5}, {"x1y2", 4}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(estimate_words(cases[i].words, cases[i].words + strlen(cases[i].words)),
                         16 * cases[i].tokens);
}

/* Runs of all kinds and lengths, in blocks of a size of their own, so that no byte behind is read
 * unnoticed. */
static void all_ways_count_the_same(void **state)
{
    (void)state;
    static const char *const kinds[] = {"abcXYZ",      "0123456789",   " \t",
                                        ".,:@`[{\x7f", "\xc3\xa4\xff", "\\u0041\\n\\"};
    srandom(4711);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)random() % 300, at = 0;
        char *words = memory_new(len + 1);
        while (at < len) {
            const char *kind = kinds[random() % 6];
            size_t run = (size_t)random() % (random() % 8 ? 7 : 90);
            for (size_t i = 0; i < run && at < len; i++)
                words[at++] = kind[(size_t)random() % strlen(kind)];
        }
        char *exact = memory_resize(words, len ? len : 1);
        assert_int_equal(estimate_words(exact, exact + len),
                         estimate_words_plain(exact, exact + len));
        memory_free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_counted),
        cmocka_unit_test(all_ways_count_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
