/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/sanitizer.h"
#include "gateway/starved.h"
#include "gateway/watchdog.h"
#include "tests/unit/child.h"
/* after those above */
#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/base/loop.h"

/* A worker that is nothing but a loop on a thread. */
struct worker {
    struct loop *loop;
    pthread_t thread;
};

struct loop *worker_loop(struct worker *worker)
{
    return worker->loop;
}

unsigned long worker_thread(const struct worker *worker)
{
    return (unsigned long)worker->thread;
}

pid_t worker_task(const struct worker *worker)
{
    (void)worker;
    return 1;
}

/* What /proc would say of the worker, and of the other threads. */
static enum starved_state worker_state, others_state;

enum starved_state starved_thread(pid_t thread)
{
    (void)thread;
    return worker_state;
}

enum starved_state starved_process(pid_t pid, pid_t but)
{
    (void)pid, (void)but;
    return others_state;
}

uint64_t starved_computed_us(pid_t pid)
{
    (void)pid;
    return 0;
}

static atomic_uint beats, runs;

static void on_beat(void *with)
{
    (void)with;
    atomic_fetch_add(&beats, 1);
}

static void *run(void *arg)
{
    loop_run(((struct worker *)arg)->loop, NULL, NULL);
    return NULL;
}

static void on_spin(struct errand *errand)
{
    (void)errand;
    for (;;)
        atomic_fetch_add(&runs, 1);
}

static void on_work(struct errand *errand)
{
    (void)errand;
    usleep(250000);
    atomic_fetch_add(&runs, 1);
}

/* In a process of its own: one that may die. Returns how it ended. */
static int in_child(const char *limit_ms, void (*body)(struct worker *worker))
{
    pid_t child = child_fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        struct worker worker = {.loop = loop_new()};
        struct worker *workers[] = {&worker};
        setrlimit(RLIMIT_CORE, &none);
        setenv("SLUICE_WATCHDOG_MS", limit_ms, 1);
        alarm(60);
        pthread_create(&worker.thread, NULL, run, &worker);
        struct watchdog *watchdog = watchdog_start(workers, 1, on_beat, NULL);
        body(&worker);
        watchdog_stop(watchdog);
        loop_stop(worker.loop);
        pthread_join(worker.thread, NULL);
        loop_free(worker.loop);
        _exit(atomic_load(&beats) > 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void spin(struct worker *worker)
{
    static struct errand errand = {.run = on_spin};
    loop_post(worker->loop, &errand);
    sleep(30);
}

static void test_a_stuck_worker_is_aborted(void **state)
{
    (void)state;
    uint64_t before = clock_now_us();
    int status = in_child("300", spin);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_true(clock_now_us() - before >= 200000);
}

/* Long pieces of work, each below the limit, and together above it. */
static void work(struct worker *worker)
{
    static struct errand errands[8];
    for (size_t i = 0; i < 8; i++) {
        errands[i].run = on_work;
        loop_post(worker->loop, &errands[i]);
        while (atomic_load(&runs) <= i)
            usleep(1000);
    }
}

static void test_a_busy_worker_is_left_alone(void **state)
{
    (void)state;
    int status = in_child("1500", work);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static unsigned wait_us = 1500000;

static void on_wait(struct errand *errand)
{
    (void)errand;
    usleep(wait_us);
    atomic_fetch_add(&runs, 1);
}

/* In one round for five times the limit. */
static void wait_in_a_round(struct worker *worker)
{
    static struct errand errand = {.run = on_wait};
    loop_post(worker->loop, &errand);
    while (atomic_load(&runs) == 0)
        usleep(1000);
}

static int wait_as(enum starved_state of_worker, enum starved_state of_others)
{
    worker_state = of_worker;
    others_state = of_others;
    int status = in_child("300", wait_in_a_round);
    worker_state = others_state = STARVED_UNKNOWN;
    return status;
}

static void test_a_worker_that_waits_is_aborted(void **state)
{
    (void)state;
    wait_us = 20000000; /* it ends as soon as it is aborted */
    int status = wait_as(STARVED_WAITS, STARVED_WAITS);
    wait_us = 1500000;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* Nor one that waits for another thread that is. */
static void test_a_worker_that_is_starved_is_left_alone(void **state)
{
    (void)state;
    int status = wait_as(STARVED_MAY_RUN, STARVED_WAITS);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = wait_as(STARVED_WAITS, STARVED_MAY_RUN);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* For 75 times the limit. */
static void test_a_worker_that_waits_for_the_disk_is_left_alone(void **state)
{
    (void)state;
    worker_state = STARVED_ON_DISK;
    int status = in_child("20", wait_in_a_round);
    worker_state = STARVED_UNKNOWN;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = wait_as(STARVED_WAITS, STARVED_ON_DISK);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_but_not_for_ever(void **state)
{
    static const struct {
        enum starved_state state;
        const char *limit_ms;
    } cases[] = {{STARVED_MAY_RUN, "20"}, {STARVED_ON_DISK, "2"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        worker_state = cases[i].state;
        wait_us = 20000000;
        int status = in_child(cases[i].limit_ms, wait_in_a_round);
        worker_state = STARVED_UNKNOWN;
        wait_us = 1500000;
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

static void idle(struct worker *worker)
{
    (void)worker;
    usleep(1200000);
}

static void test_an_idle_worker_is_left_alone(void **state)
{
    (void)state;
    int status = in_child("400", idle);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Stopped for longer than the limit in the middle of a round, then going on: no reason to die. */
static void be_stopped(struct worker *worker)
{
    static struct errand errand = {.run = on_work};
    loop_post(worker->loop, &errand);
    usleep(20000);
    pid_t me = getpid();
    if (fork() == 0) {
        kill(me, SIGSTOP);
        usleep(2000000);
        kill(me, SIGCONT);
        _exit(0);
    }
    usleep(300000); /* over when it goes on */
    usleep(400000);
}

static void test_a_stopped_process_is_not_stuck(void **state)
{
    (void)state;
    int status = in_child("1200", be_stopped);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_limit(void **state)
{
    (void)state;
    unsetenv("SLUICE_WATCHDOG_MS");
    assert_int_equal(watchdog_limit_us(), UNDER_SANITIZER ? 6000000 : 2000000);
    assert_int_equal(watchdog_start_limit_us(), UNDER_SANITIZER ? 180000000 : 60000000);
    setenv("SLUICE_WATCHDOG_MS", "0", 1);
    assert_int_equal(watchdog_limit_us(), 0);
    assert_int_equal(watchdog_start_limit_us(), 0);
    setenv("SLUICE_WATCHDOG_MS", "nonsense", 1);
    assert_int_equal(watchdog_limit_us(), UNDER_SANITIZER ? 6000000 : 2000000);
}

/* A service that begins, in a process of its own. Returns how it ended. */
static int begin_in_child(uint64_t limit_us, void (*body)(struct watchdog *watchdog))
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        alarm(60);
        struct watchdog *watchdog = watchdog_start_opening(limit_us, on_beat, NULL);
        body(watchdog);
        watchdog_stop(watchdog);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void hang(struct watchdog *watchdog)
{
    watchdog_note(watchdog, "something");
    for (;;)
        pause();
}

static void *look_now_and_then(void *unused)
{
    for (;;)
        usleep(50000);
    return unused;
}

static void hang_beside_another(struct watchdog *watchdog)
{
    pthread_t other;
    pthread_create(&other, NULL, look_now_and_then, NULL);
    hang(watchdog);
}

static void test_a_start_that_hangs_is_aborted(void **state)
{
    (void)state;
    int status = begin_in_child(500000, hang);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    status = begin_in_child(2000000, hang_beside_another);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static uint64_t own_time_us(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

/* Twice as long as the limit: a little work, and then it waits for the disk. */
static void take_long(struct watchdog *watchdog)
{
    (void)watchdog;
    uint64_t end = clock_now_us() + 4000000;
    while (clock_now_us() < end) {
        uint64_t enough = own_time_us() + 30000;
        while (own_time_us() < enough)
            ;
        usleep(100000);
    }
}

/* Who waits for a child in this way cannot be interrupted, as who waits for fsync(). */
static void wait_for_disk(struct watchdog *watchdog)
{
    watchdog_note(watchdog, "something");
    if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        usleep(2500000);
        _exit(0);
    }
}

static void go_on_step_by_step(struct watchdog *watchdog)
{
    for (int i = 0; i < 15; i++) {
        watchdog_note(watchdog, "a step");
        usleep(200000);
    }
}

static void wait_long(struct watchdog *watchdog)
{
    (void)watchdog;
    usleep(1000000);
}

static void assert_is_left_alone(int status)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_start_that_takes_long_is_left_alone(void **state)
{
    (void)state;
    assert_is_left_alone(begin_in_child(2000000, take_long));
    assert_is_left_alone(begin_in_child(2000000, go_on_step_by_step));
    assert_is_left_alone(begin_in_child(500000, wait_for_disk));
    assert_is_left_alone(begin_in_child(0, wait_long));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stuck_worker_is_aborted),
        cmocka_unit_test(test_a_busy_worker_is_left_alone),
        cmocka_unit_test(test_a_worker_that_waits_is_aborted),
        cmocka_unit_test(test_a_worker_that_is_starved_is_left_alone),
        cmocka_unit_test(test_but_not_for_ever),
        cmocka_unit_test(test_a_worker_that_waits_for_the_disk_is_left_alone),
        cmocka_unit_test(test_an_idle_worker_is_left_alone),
        cmocka_unit_test(test_a_stopped_process_is_not_stuck),
        cmocka_unit_test(test_a_start_that_hangs_is_aborted),
        cmocka_unit_test(test_a_start_that_takes_long_is_left_alone),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
