/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "gateway/http/form.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void pairs_are_written_with_escapes(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 64);
    assert_true(form_put_pair(&out, "a", TEXT("b c&d=+%/\xff~-._9Z")));
    assert_true(form_put_pair(&out, "e", TEXT("")));
    assert_true(text_equal(buffer_text(&out), TEXT("a=b%20c%26d%3D%2B%25%2F%FF~-._9Z&e=")));
    assert_false(form_put_pair(&out, "f", TEXT("...........................................")));
    buffer_done(&out);
}

static void pairs_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        enum form_result result;
        const char *value;
    } rows[] = {
        {"", FORM_ABSENT, ""},
        {"b=1", FORM_ABSENT, ""},
        {"ab=1&A=2", FORM_ABSENT, ""},
        {"a", FORM_FOUND, ""},
        {"a=", FORM_FOUND, ""},
        {"b=1&a=2&c=3", FORM_FOUND, "2"},
        {"a=x+y%2B%c3%A4%3d=", FORM_FOUND, "x y+\xc3\xa4=="},
        {"a=1&a=1", FORM_BAD, ""},
        {"a=%", FORM_BAD, ""},
        {"a=%4", FORM_BAD, ""},
        {"a=%4g", FORM_BAD, ""},
        {"a=%00", FORM_BAD, ""},
        {"a=x%0d%0ay", FORM_BAD, ""},
        {"a=%7f", FORM_BAD, ""},
        {"a=12345678", FORM_FOUND, "12345678"},
        {"a=123456789", FORM_BAD, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char room[8];
        struct text value;
        assert_int_equal(form_find(text_of(rows[i].query), TEXT("a"), room, sizeof room, &value),
                         rows[i].result);
        assert_true(text_equal(value, text_of(rows[i].value)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_written_with_escapes),
        cmocka_unit_test(pairs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
