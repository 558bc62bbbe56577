/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/config/config.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct config *load(const char *yaml)
{
    char path[] = "/tmp/config_diff_test_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, yaml, strlen(yaml)), strlen(yaml));
    close(file);
    struct config_options options = {.path = path, .words = stderr};
    struct config *config = config_load(&options).config;
    unlink(path);
    assert_non_null(config);
    return config;
}

/* <words>: one difference a line. */
static void check_difference(const struct config *before, const struct config *after,
                             const char *words)
{
    char *found = NULL;
    size_t length;
    unsigned lines = 0;
    FILE *out = open_memstream(&found, &length);
    unsigned count = config_diff(before, after, out);
    fclose(out);
    assert_string_equal(found, words);
    for (const char *at = words; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(count, lines);
    free(found);
}

/* Of a tenant with keys; <third> is the third of four. */
static struct config *with_keys(const char *third)
{
    char *yaml = memory_format("version: 1\n"
                               "tenants:\n"
                               "  - name: t\n"
                               "    models: [\"*\"]\n"
                               "    keys:\n"
                               "      - {name: a, hash: \"sha256:%064d\"}\n"
                               "      - {name: b, hash: \"sha256:%064d\", tags: {x: y}}\n"
                               "%s"
                               "      - {name: d, hash: \"sha256:%064d\"}\n",
                               1, 2, third, 4);
    struct config *config = load(yaml);
    memory_free(yaml);
    return config;
}

static void check_change(const struct config *before, const char *third, const char *words)
{
    struct config *after = with_keys(third);
    check_difference(before, after, words);
    config_unref(after);
}

/* Most of a long list is as it was: that is not looked into, and hides nothing. */
static void says_what_changes_in_a_list(void **state)
{
    (void)state;
    static const char third[] = "      - {name: c, hash: \"sha256:"
                                "abababababababababababababababababababababababababababababababab"
                                "\", tags: {x: y}}\n";
    struct config *before = with_keys(third);
    check_change(before, third, "");
    check_change(before, "", "tenants.t.keys.c: (present) -> (absent)\n");
    char *other = memory_string(TEXT(third));
    memcpy(strstr(other, "x: y"), "x: z", 4);
    check_change(before, other, "tenants.t.keys.c.tags: {x: y} -> {x: z}\n");
    memory_free(other);
    other = memory_format("%s      - {name: e, hash: \"sha256:%064d\"}\n", third, 5);
    check_change(before, other, "tenants.t.keys.e: (absent) -> (present)\n");
    memory_free(other);
    /* Written in another way, and in another place: the same. */
    other = memory_format("      - tags: {\"x\": 'y'}\n        name: c\n        hash: sha256:%s\n",
                          "abababababababababababababababababababababababababababababababab");
    check_change(before, other, "");
    memory_free(other);
    config_unref(before);
}

/* The same is written, but what it stands for is another: STATE is another directory. */
static void says_what_changes_in_what_is_worked_out(void **state)
{
    (void)state;
    static const char yaml[] = "version: 1\n"
                               "providers:\n"
                               "  - {name: a, type: mock, tls: {ca_file: STATE/ca.pem}}\n";
    setenv("STATE_DIRECTORY", "/tmp/one", 1);
    struct config *before = load(yaml);
    setenv("STATE_DIRECTORY", "/tmp/two", 1);
    struct config *after = load(yaml);
    unsetenv("STATE_DIRECTORY");
    check_difference(before, after,
                     "providers.a.tls.ca_file: /tmp/one/ca.pem -> /tmp/two/ca.pem\n");
    config_unref(before);
    config_unref(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_changes_in_a_list),
        cmocka_unit_test(says_what_changes_in_what_is_worked_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
