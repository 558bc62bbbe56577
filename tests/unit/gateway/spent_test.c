/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/spent.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { NOW = 1000, UNTIL = 2000 };

static void what_is_spent_stays_so_until_its_time(void **state)
{
    (void)state;
    struct spent *spent = spent_new(NULL);
    assert_false(spent_has(spent, TEXT("a"), NOW));
    assert_true(spent_add(spent, TEXT("a"), UNTIL, NOW));
    assert_false(spent_add(spent, TEXT("a"), UNTIL, NOW));
    assert_true(spent_has(spent, TEXT("a"), NOW));
    assert_false(spent_has(spent, TEXT("b"), NOW));
    assert_true(spent_has(spent, TEXT("a"), UNTIL - 1));
    assert_false(spent_has(spent, TEXT("a"), UNTIL));
    spent_free(spent);
    spent_free(NULL);
}

static void the_oldest_is_forgotten_first(void **state)
{
    (void)state;
    char name[32];
    struct spent *spent = spent_new(NULL);
    for (int i = 0; i <= SPENT_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_true(spent_add(spent, text_of(name), UNTIL, NOW));
    }
    assert_false(spent_has(spent, TEXT("0"), NOW));
    assert_true(spent_has(spent, TEXT("1"), NOW));
    assert_true(spent_has(spent, text_of(name), NOW));
    spent_free(spent);
}

static void two_processes_know_the_same(void **state)
{
    (void)state;
    char path[] = "/tmp/spent_test.XXXXXX", name[32];
    struct stat what;
    close(mkstemp(path));
    unlink(path);
    struct spent *one = spent_new(path), *other = spent_new(path);
    assert_false(spent_has(one, TEXT("a"), NOW));
    assert_int_not_equal(access(path, F_OK), 0); /* nothing is made for nothing */
    assert_true(spent_add(one, TEXT("a"), UNTIL, NOW));
    assert_int_equal(stat(path, &what), 0);
    assert_int_equal(what.st_mode & 0777, 0600);
    assert_true(spent_has(other, TEXT("a"), NOW));
    assert_false(spent_add(other, TEXT("a"), UNTIL, NOW));
    assert_true(spent_add(other, TEXT("b"), UNTIL, NOW));
    assert_true(spent_has(one, TEXT("b"), NOW));
    /* More than there is room for, by turns; the file does not grow. */
    for (int i = 0; i < SPENT_MAX + 10; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_true(spent_add(i % 2 ? one : other, text_of(name), UNTIL, NOW));
    }
    spent_free(one);
    one = spent_new(path);
    for (int k = 0; k < 2; k++) {
        assert_false(spent_has(k ? other : one, TEXT("a"), NOW));
        assert_false(spent_has(k ? other : one, TEXT("9"), NOW));
        assert_true(spent_has(k ? other : one, TEXT("10"), NOW));
        assert_true(spent_has(k ? other : one, text_of(name), NOW));
    }
    assert_int_equal(stat(path, &what), 0);
    assert_true(what.st_size <= 16 + SPENT_MAX * 40);
    spent_free(one);
    spent_free(other);
    unlink(path);
}

static void what_cannot_be_kept_is_known_all_the_same(void **state)
{
    (void)state;
    static const char *const bad[] = {"/no/such/place", "/dev/full", "/proc/self/exe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct spent *spent = spent_new(bad[i]);
        assert_false(spent_has(spent, TEXT("a"), NOW));
        assert_true(spent_add(spent, TEXT("a"), UNTIL, NOW));
        assert_true(spent_has(spent, TEXT("a"), NOW));
        assert_false(spent_add(spent, TEXT("a"), UNTIL, NOW));
        spent_free(spent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_spent_stays_so_until_its_time),
        cmocka_unit_test(the_oldest_is_forgotten_first),
        cmocka_unit_test(two_processes_know_the_same),
        cmocka_unit_test(what_cannot_be_kept_is_known_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
