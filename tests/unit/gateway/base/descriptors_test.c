/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { LIMIT = 64, PART = LIMIT / DESCRIPTORS_PART };

static bool none_was_left;

/* Every open() of this program comes here: does it leave one to others? */
int open_and_look(const char *path, int flags, ...) __asm__("open64");
int open_as_well(const char *path, int flags, ...) __asm__("open");

int open_and_look(const char *path, int flags, ...)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
    int why = errno, another = fd < 0 ? -1 : dup(fd);
    if (another >= 0)
        close(another);
    else
        none_was_left = true;
    errno = why;
    return fd;
}

int open_as_well(const char *path, int flags, ...)
{
    return open_and_look(path, flags);
}

static struct rlimit before;
static int taken[2 * LIMIT];
static unsigned taken_count;

static void allow(rlim_t soft)
{
    struct rlimit files = {soft, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

/* As many as there are, but at most <most>. Returns how many. */
static unsigned take(unsigned most)
{
    unsigned count = 0;
    while (count < most && (taken[taken_count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        taken_count++;
        count++;
    }
    return count;
}

static void give_back(unsigned count)
{
    while (count-- > 0)
        close(taken[--taken_count]);
}

static int setup(void **state)
{
    (void)state;
    getrlimit(RLIMIT_NOFILE, &before);
    allow(LIMIT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    descriptors_done();
    give_back(taken_count);
    setrlimit(RLIMIT_NOFILE, &before);
    return 0;
}

static void what_is_kept_is_there_for_others_once_it_is_given_up(void **state)
{
    (void)state;
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), PART);
    assert_int_equal(descriptors_keep(), 0); /* it is held already */
    assert_int_equal(descriptors_kept(), PART);
    assert_true(take(LIMIT) > 0);
    assert_true(descriptors_ran_out(errno));
    assert_true(descriptors_are_out());
    assert_false(descriptors_are_yielded());
    assert_true(descriptors_yield());
    assert_true(descriptors_are_yielded());
    assert_int_equal(descriptors_kept(), 0);
    assert_false(descriptors_are_out());
    assert_false(descriptors_yield()); /* there is no more to give */
    assert_int_equal(take(LIMIT), PART);
}

static void it_is_whole_or_not_held_and_says_how_many_are_missing(void **state)
{
    (void)state;
    assert_int_equal(descriptors_keep(), 0);
    take(LIMIT);
    descriptors_yield();
    assert_int_equal(descriptors_keep(), 1); /* one more, for who is let in */
    assert_int_equal(descriptors_kept(), 0);
    assert_true(descriptors_are_yielded());
    assert_int_equal(take(5), 5);
    assert_int_equal(descriptors_keep(), 6);
    give_back(6);
    assert_int_equal(descriptors_keep(), 0);
    assert_false(descriptors_are_yielded());
    assert_int_equal(descriptors_kept(), PART);
    assert_int_equal(take(LIMIT), 1);
}

static void of_few_that_are_free_at_first_half_are_kept(void **state)
{
    (void)state;
    unsigned all = take(LIMIT);
    give_back(10);
    assert_true(all > 10);
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), 5);
    assert_int_equal(take(LIMIT), 5);
    give_back(taken_count); /* and no more later: what was open from the start may come again */
    descriptors_yield();
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), 5);
}

static void a_smaller_limit_makes_a_smaller_reserve(void **state)
{
    (void)state;
    assert_int_equal(descriptors_keep(), 0);
    descriptors_yield();
    allow(LIMIT / 2);
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), PART / 2);
    allow(0);
    descriptors_yield();
    assert_true(descriptors_keep() > 0);
    assert_true(descriptors_are_out());
}

static void nothing_is_held_before_half_are_in_use(void **state)
{
    (void)state;
    descriptors_note(LIMIT - 1); /* not begun */
    assert_int_equal(descriptors_kept(), 0);
    descriptors_begin();
    descriptors_note(LIMIT / 2 - 1);
    assert_int_equal(descriptors_kept(), 0);
    assert_false(descriptors_are_yielded());
    descriptors_note(LIMIT / 2);
    assert_int_equal(descriptors_kept(), PART);
    descriptors_yield();
    descriptors_note(LIMIT / 2); /* that is whoever's who lets clients in */
    assert_int_equal(descriptors_kept(), 0);
}

/* Neither where the reserve is to be held for the first time, nor where there are too few for it.
 */
static void one_is_left_for_others_meanwhile(void **state)
{
    (void)state;
    take(LIMIT);
    give_back(10);
    none_was_left = false;
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), 5);
    assert_false(none_was_left);
    descriptors_yield();
    assert_int_equal(take(6), 6);
    none_was_left = false;
    assert_int_equal(descriptors_keep(), 2);
    assert_false(none_was_left);
}

static void it_is_bounded(void **state)
{
    (void)state;
    if (before.rlim_max < 8 * DESCRIPTORS_KEPT_MAX)
        fail_msg("the test needs `ulimit -Hn` of %d", 8 * DESCRIPTORS_KEPT_MAX);
    allow(8 * DESCRIPTORS_KEPT_MAX);
    assert_int_equal(descriptors_keep(), 0);
    assert_int_equal(descriptors_kept(), DESCRIPTORS_KEPT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_kept_is_there_for_others_once_it_is_given_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_is_whole_or_not_held_and_says_how_many_are_missing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(of_few_that_are_free_at_first_half_are_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_smaller_limit_makes_a_smaller_reserve, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_held_before_half_are_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(one_is_left_for_others_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
