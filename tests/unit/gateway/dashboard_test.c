/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/dashboard.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct dashboard_answer find(const char *path, const char *accept)
{
    struct dashboard_answer answer;
    dashboard_find(text_of(path), text_of(accept), &answer);
    return answer;
}

static bool has(struct text extra, const char *line)
{
    return text_find(extra, text_of(line)) != SIZE_MAX;
}

static const char *coding(const char *accept)
{
    struct dashboard_answer answer = find("/ui/", accept);
    assert_int_equal(answer.status, 200);
    assert_true(has(answer.extra, "vary: accept-encoding\r\n"));
    if (has(answer.extra, "content-encoding: br\r\n"))
        return "br";
    return has(answer.extra, "content-encoding: gzip\r\n") ? "gzip" : "";
}

static void the_smallest_form_is_taken_that_is_allowed(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"gzip", "gzip"},
        {"br", "br"},
        {"gzip, deflate, br, zstd", "br"},
        {"GZIP;q=0.5,BR;q=0.1", "br"},
        {"br;q=0, gzip", "gzip"},
        {"br;q=0.000, gzip;q=0", ""},
        {"br; q=0.001", "br"},
        {"*", ""},
        {"identity", ""},
        {"brx, xgzip", ""},
        {", ,;q=1,", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(coding(rows[i][0]), rows[i][1]);
    assert_true(find("/ui/", "br").body.len < find("/ui/", "").body.len);
    assert_true(text_starts(find("/ui/", "").body, TEXT("<!doctype html>")));
}

static void every_answer_is_careful(void **state)
{
    (void)state;
    static const char *const paths[] = {"/ui", "/ui/", "/ui/nothing", "/ui/index.html"};
    static const unsigned statuses[] = {308, 200, 404, 404};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct dashboard_answer answer = find(paths[i], "br");
        assert_int_equal(answer.status, statuses[i]);
        assert_true(has(answer.extra, "content-security-policy: default-src 'none'; "));
        assert_true(has(answer.extra, "frame-ancestors 'none'\r\n"));
        assert_false(has(answer.extra, "unsafe"));
        assert_true(has(answer.extra, "x-content-type-options: nosniff\r\n"));
        assert_true(has(answer.extra, "referrer-policy: no-referrer\r\n"));
    }
    assert_true(has(find("/ui", "").extra, "location: ui/\r\n"));
    assert_true(has(find("/ui/", "").extra, "cache-control: no-cache\r\n"));
}

/* Each file that the page names is there, for good. */
static void the_page_has_its_files(void **state)
{
    (void)state;
    struct text page = find("/ui/", "").body;
    size_t at, count = 0;
    while ((at = text_find(page, TEXT("\"./assets/"))) != SIZE_MAX) {
        page = text_from(page, at + 3);
        char path[128];
        snprintf(path, sizeof path, "/ui/%.*s",
                 TEXT_ARGS(text_head(page, text_find_byte(page, '"'))));
        struct dashboard_answer answer = find(path, "gzip");
        assert_int_equal(answer.status, 200);
        assert_true(has(answer.extra, "cache-control: public, max-age=31536000, immutable\r\n"));
        assert_true(has(answer.extra, "content-encoding: gzip\r\n"));
        count++;
    }
    assert_int_equal(count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_form_is_taken_that_is_allowed),
        cmocka_unit_test(every_answer_is_careful),
        cmocka_unit_test(the_page_has_its_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
