/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits, who computes, and who would like to. Time is what the tests say. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/starved.h"
#include "tests/unit/child.h"
/* after those above */
#include <cmocka.h>

enum { SILENCE_US = 5000000, LOOK_US = SILENCE_US / 10, BEGIN_US = 1000000 };

static pid_t child;
static struct starved starved;

static void begin(void (*body)(void))
{
    child = child_fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        for (;;)
            body();
    }
    assert_true(child > 0);
}

static int end(void **state)
{
    (void)state;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}

static void wait_for_nothing(void)
{
    pause();
}

static void spin(void)
{
}

static bool look(uint64_t after_us)
{
    return starved_is_stuck(&starved, SILENCE_US, BEGIN_US + after_us);
}

/* At ten looks: it may be on its way there. */
static void await(enum starved_state state)
{
    for (int times = 0; times < 10; usleep(1000))
        times = starved_process(child, 0) == state ? times + 1 : 0;
}

static void await_computed(uint64_t us)
{
    while (starved_computed_us(child) < starved.computed_us + us)
        usleep(1000);
}

/* ------------------------------------------------------------------------------------------ */

static void one_that_waits_is_stuck_at_the_third_look(void **state)
{
    (void)state;
    begin(wait_for_nothing);
    await(STARVED_WAITS);
    starved_heard(&starved, child, BEGIN_US);
    assert_int_equal(starved_look_at_us(&starved, SILENCE_US), BEGIN_US + SILENCE_US - 2 * LOOK_US);
    assert_false(look(SILENCE_US - 2 * LOOK_US));
    assert_int_equal(starved_look_at_us(&starved, SILENCE_US), BEGIN_US + SILENCE_US - LOOK_US);
    assert_false(look(SILENCE_US - LOOK_US));
    assert_true(look(SILENCE_US));
    starved_heard(&starved, child, BEGIN_US);
    assert_false(look(SILENCE_US));
    assert_int_equal(starved_look_at_us(&starved, SILENCE_US), BEGIN_US + SILENCE_US + LOOK_US);
    assert_false(look(SILENCE_US + LOOK_US));
    assert_true(look(SILENCE_US + 2 * LOOK_US));
}

/* It may run all the time, and has next to nothing of all these seconds. */
static void one_that_does_not_come_to_run_is_not_stuck(void **state)
{
    (void)state;
    begin(spin);
    await(STARVED_MAY_RUN);
    starved_heard(&starved, child, BEGIN_US);
    for (uint64_t after = SILENCE_US; after < STARVED_LONG * SILENCE_US; after += LOOK_US)
        assert_false(look(after));
    assert_true(look(STARVED_LONG * SILENCE_US));
}

/* Who waits for a child in this way cannot be interrupted. */
static void wait_for_disk(void)
{
    if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        pause();
    }
}

static void one_that_waits_for_the_disk_is_not_stuck(void **state)
{
    (void)state;
    begin(wait_for_disk);
    await(STARVED_ON_DISK);
    starved_heard(&starved, child, BEGIN_US);
    for (int looks = 0; looks < 5; looks++)
        assert_false(look(SILENCE_US));
    assert_true(look(STARVED_LONG * SILENCE_US));
}

static void one_that_runs_and_gives_no_sign_is_stuck(void **state)
{
    (void)state;
    begin(spin);
    starved_heard(&starved, child, BEGIN_US);
    await_computed(200000);
    assert_false(starved_is_stuck(&starved, 400000, BEGIN_US + 300000));
    assert_true(starved_is_stuck(&starved, 400000, BEGIN_US + 400000));
}

static void a_sign_begins_it_anew(void **state)
{
    (void)state;
    begin(spin);
    starved_heard(&starved, child, BEGIN_US);
    await_computed(100000);
    starved_heard(&starved, child, BEGIN_US + SILENCE_US);
    assert_true(starved.computed_us >= 100000);
    assert_false(look(SILENCE_US + SILENCE_US / 2));
}

static void threads_are_told_apart(void **state)
{
    (void)state;
    begin(wait_for_nothing);
    assert_int_equal(starved_thread(gettid()), STARVED_MAY_RUN);
    assert_int_equal(starved_process(getpid(), 0), STARVED_MAY_RUN);
    assert_int_equal(starved_thread(0), STARVED_UNKNOWN);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(starved_process(child, 0), STARVED_UNKNOWN);
    assert_int_equal(starved_computed_us(child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(one_that_waits_is_stuck_at_the_third_look, end),
        cmocka_unit_test_teardown(one_that_does_not_come_to_run_is_not_stuck, end),
        cmocka_unit_test_teardown(one_that_waits_for_the_disk_is_not_stuck, end),
        cmocka_unit_test_teardown(one_that_runs_and_gives_no_sign_is_stuck, end),
        cmocka_unit_test_teardown(a_sign_begins_it_anew, end),
        cmocka_unit_test(threads_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
