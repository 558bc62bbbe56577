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
        int64_t sixteenths;
    } cases[] = {{"", 0},
                 {"a", 16},
                 {"hello", 16},
                 {"hello world", 32},
                 {"a  b", 48},
                 {"123", 21},
                 {"1234", 42},
                 {"12345678901234567890", 147},
                 {"!", 10},
                 {"!?", 18},
                 {"!?.", 16},
                 {"!!!!!!", 40},
                 {"internals", 20},
                 {"internationalizations", 36},
                 {"\\n", 8},
                 {"a\\u0041b", 40},
                 {"a, b; c", 68},
                 {"x1y2", 74},
                 {"camelCase", 36},
                 {"HTTPServer", 20},
                 {"don't", 32},
                 {"'s", 26},
                 {"\xe6\xbc\xa2", 15}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(estimate_words(cases[i].words, cases[i].words + strlen(cases[i].words)),
                         cases[i].sixteenths);
}

/* Runs of all kinds and lengths, in blocks of a size of their own, so that no byte behind is read
 * unnoticed. */
static void all_ways_count_the_same(void **state)
{
    (void)state;
    static const char *const kinds[] = {"abcXYZ",       "0123456789",   " \t", ".,:@`[{\x7f",
                                        "\xc3\xa4\xff", "\\u0041\\n\\", "a'b"};
    srandom(4711);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)random() % 300, at = 0;
        char *words = memory_new(len + 1);
        while (at < len) {
            const char *kind = kinds[random() % 7];
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
