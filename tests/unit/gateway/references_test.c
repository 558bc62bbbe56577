/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a body names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/references.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* As the scan of a call's body tells. */
static bool scan_names_files(const char *body)
{
    struct scan_problem problem;
    struct scan_value value;
    struct text want = TEXT("model");
    struct scan_outline outline = {.anywhere = references_begin};
    assert_true(scan_request(text_of(body), &want, 1, &value, &problem, &outline));
    return outline.has_name;
}

/* The names joined by commas; "too many" when it was refused. */
static const char *names_of(const char *body)
{
    static char out[4096];
    struct exchange *x = memory_new(sizeof(*x));
    struct seeking seeking = {.exchange = x, .names_files = scan_names_files(body)};
    x->seeking = &seeking;
    arena_init(&x->arena, 1024);
    buffer_init(&x->body, 1 << 20);
    buffer_append(&x->body, body, strlen(body));
    out[0] = '\0';
    if (!references_read(x))
        snprintf(out, sizeof(out), "too many");
    else
        for (size_t i = 0, at = 0; i < x->file_count; i++)
            at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%.*s", i ? "," : "",
                                   TEXT_ARGS(x->files[i]));
    buffer_done(&x->body);
    arena_done(&x->arena);
    memory_free(x);
    return out;
}

static void files_are_found_wherever_they_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", ""},
        {"{\"file_id\":\"a\"}", "a"},
        {"{\"x\":[{\"y\":{\"file_id\" : \"a\"}}],\"file_ids\":[ \"b\", \"c\" ]}", "a,b,c"},
        {"{\"fil\\u0065_id\":\"a\"}", "a"},
        {"{\"\\u0066\\u0069\\u006c\\u0065\\u005f\\u0069\\u0064\\u0073\":[\"\\u0061\"]}", "a"},
        {"{\"x\":\"\\u00e9\",\"\\u0066ile_id\":\"a\"}", "a"},
        {"{\"file_id\":\"a\",\"file_id\":\"b\"}", "a,b"},
        {"{\"file_ids\":[[\"a\"],{\"x\":\"b\"},\"c\"],\"z\":\"d\"}", "a,x,b,c"},
        {"{\"file_id\":null,\"file_ids\":[],\"x\":\"file_id\"}", ""},
        {"{\"x\":\"file_id\",\"y\":\"\\\"file_id\\\":\\\"a\\\"\"}", ""},
        {"{\"my_file_id\":\"a\",\"file_id_\":\"b\",\"FILE_ID\":\"c\"}", ""},
        {"{\"file_id\":\"\"}", ""},
        {"{\"file_id\":\"\\ud800\"}", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(names_of(cases[i][0]), cases[i][1]);
}

static void so_many_and_no_more(void **state)
{
    (void)state;
    for (size_t count = REFERENCES_MAX; count <= REFERENCES_MAX + 1; count++) {
        char body[2048] = "{\"file_ids\":[";
        for (size_t i = 0; i < count; i++)
            strcat(body, i ? ",\"f\"" : "\"f\"");
        strcat(body, "]}");
        assert_int_equal(strcmp(names_of(body), "too many") == 0, count > REFERENCES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_found_wherever_they_are_named),
        cmocka_unit_test(so_many_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
