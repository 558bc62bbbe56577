/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/sanitizer.h"
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
    setenv("SLUICE_WATCHDOG_MS", "0", 1);
    assert_int_equal(watchdog_limit_us(), 0);
    setenv("SLUICE_WATCHDOG_MS", "nonsense", 1);
    assert_int_equal(watchdog_limit_us(), UNDER_SANITIZER ? 6000000 : 2000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stuck_worker_is_aborted),
        cmocka_unit_test(test_a_busy_worker_is_left_alone),
        cmocka_unit_test(test_an_idle_worker_is_left_alone),
        cmocka_unit_test(test_a_stopped_process_is_not_stuck),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
