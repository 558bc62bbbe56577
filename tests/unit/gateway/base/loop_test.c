/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/loop.h"
#include "gateway/base/memory.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { MILLISECOND = 1000 };

static struct loop *loop;

/* ------------------------------------------------------------------------------- timers */

struct alarm {
    struct timer timer;
    uint64_t fired_us;
    int count;
    bool ends;
};

static void on_alarm(struct timer *timer)
{
    struct alarm *alarm = (struct alarm *)(void *)timer;
    alarm->fired_us = loop_now_us(loop);
    alarm->count++;
    if (alarm->ends)
        loop_stop(loop);
}

static struct alarm alarm_new(bool ends)
{
    return (struct alarm){.timer.on_time = on_alarm, .ends = ends};
}

static void timers_fire_in_order_and_never_early(void **state)
{
    (void)state;
    loop = loop_new();
    struct alarm alarms[] = {alarm_new(false), alarm_new(false), alarm_new(true)};
    uint64_t due[] = {5 * MILLISECOND, 30 * MILLISECOND, 60 * MILLISECOND};
    uint64_t begin = loop_now_us(loop);
    for (size_t i = 3; i-- > 0;)
        timer_set(loop, &alarms[i].timer, begin + due[i]);
    loop_run(loop, NULL, NULL);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(alarms[i].count, 1);
        assert_true(alarms[i].fired_us >= begin + due[i]);
    }
    loop_free(loop);
}

static int64_t wall_us[2];
static struct timer *next_alarm;

static void note_wall(struct timer *timer)
{
    int64_t before = clock_wall_us(), first = loop_wall_us(loop);
    assert_true(first >= before && first <= clock_wall_us());
    usleep(2 * MILLISECOND);
    assert_true(loop_wall_us(loop) == first); /* in the same round */
    struct alarm *alarm = (struct alarm *)(void *)timer;
    wall_us[alarm->ends] = first;
    if (next_alarm)
        timer_set(loop, next_alarm, loop_now_us(loop) + 30 * MILLISECOND); /* in another round */
    next_alarm = NULL;
    on_alarm(timer);
}

static void the_time_of_day_is_that_of_the_round(void **state)
{
    (void)state;
    loop = loop_new();
    struct alarm alarms[] = {alarm_new(false), alarm_new(true)};
    for (size_t i = 0; i < 2; i++)
        alarms[i].timer.on_time = note_wall;
    next_alarm = &alarms[1].timer;
    timer_set(loop, &alarms[0].timer, loop_now_us(loop) + 30 * MILLISECOND);
    loop_run(loop, NULL, NULL);
    assert_true(wall_us[1] > wall_us[0]);
    loop_free(loop);
}

static void a_timer_can_be_moved_to_later_to_earlier_and_stopped(void **state)
{
    (void)state;
    loop = loop_new();
    struct alarm later = alarm_new(true), earlier = alarm_new(false), stopped = alarm_new(false);
    uint64_t begin = loop_now_us(loop);
    timer_set(loop, &later.timer, begin + 10 * MILLISECOND);
    timer_set(loop, &later.timer, begin + 80 * MILLISECOND);
    timer_set(loop, &earlier.timer, begin + 60000 * MILLISECOND);
    timer_set(loop, &earlier.timer, begin + 20 * MILLISECOND);
    timer_set(loop, &stopped.timer, begin + 10 * MILLISECOND);
    timer_stop(&stopped.timer);
    timer_stop(&stopped.timer);
    loop_run(loop, NULL, NULL);
    assert_int_equal(later.count, 1);
    assert_true(later.fired_us >= begin + 80 * MILLISECOND);
    assert_int_equal(earlier.count, 1);
    assert_true(earlier.fired_us <= later.fired_us); /* or in one round, when it is late */
    assert_int_equal(stopped.count, 0);
    loop_free(loop);
}

/* ------------------------------------------------------------------- watches and errands */

struct listener {
    struct watch watch;
    unsigned events;
    int calls;
};

static void on_hear(struct watch *watch, unsigned events)
{
    struct listener *listener = (struct listener *)(void *)watch;
    listener->events |= events;
    listener->calls++;
    if (events & LOOP_HANGUP)
        loop_stop(loop);
}

static void *hang_up(void *with)
{
    usleep(20 * MILLISECOND);
    close(*(int *)with);
    return NULL;
}

static void a_hangup_is_told_apart_from_bytes(void **state)
{
    (void)state;
    loop = loop_new();
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    struct listener listener = {.watch = {.fd = ends[0], .on_event = on_hear}};
    loop_add(loop, &listener.watch);
    assert_int_equal(write(ends[1], "x", 1), 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hang_up, &ends[1]), 0);
    loop_run(loop, NULL, NULL);
    pthread_join(thread, NULL);
    assert_true(listener.events & LOOP_READ);
    assert_true(listener.events & LOOP_HANGUP);
    loop_remove(loop, &listener.watch);
    close(ends[0]);
    loop_free(loop);
}

struct count {
    struct errand errand;
    int *sum;
    int last;
};

static void on_errand(struct errand *errand)
{
    struct count *count = (struct count *)(void *)errand;
    if (++*count->sum == count->last)
        loop_stop(loop);
}

static void *post_many(void *with)
{
    struct count *counts = with;
    for (int i = 0; i < 1000; i++)
        loop_post(loop, &counts[i].errand);
    return NULL;
}

static void errands_of_other_threads_all_run(void **state)
{
    (void)state;
    loop = loop_new();
    int sum = 0;
    struct count *counts = memory_new(2000 * sizeof(*counts));
    for (int i = 0; i < 2000; i++)
        counts[i] = (struct count){{NULL, on_errand}, &sum, 2000};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, counts + 1000 * i), 0);
    loop_run(loop, NULL, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sum, 2000);
    memory_free(counts);
    loop_free(loop);
}

/* ----------------------------------------------------------------------------- the grave */

struct body {
    struct grave grave;
    struct timer timer;
    bool *freed;
};

static void bury_now(struct grave *grave)
{
    struct body *body = LIST_MEMBER(grave, struct body, grave);
    *body->freed = true;
    memory_free(body);
}

static bool was_freed_early;

static void die(struct timer *timer)
{
    struct body *body = LIST_MEMBER(timer, struct body, timer);
    bool *freed = body->freed;
    loop_bury(loop, &body->grave, bury_now);
    was_freed_early = *freed;
    loop_stop(loop);
}

static void the_buried_are_freed_after_the_round(void **state)
{
    (void)state;
    loop = loop_new();
    bool freed = false;
    struct body *body = memory_new(sizeof(*body));
    body->freed = &freed;
    body->timer.on_time = die;
    timer_set(loop, &body->timer, loop_now_us(loop) + MILLISECOND);
    loop_run(loop, NULL, NULL);
    assert_false(was_freed_early);
    assert_true(freed);
    loop_free(loop);
}

/* ---------------------------------------------------------------------------- what comes again */

enum { MANY = 3000 };

struct comer {
    struct watch watch;
    unsigned events, count;
};

static struct comer comers[MANY];
static size_t came, left_out = MANY;

static void on_come(struct watch *watch, unsigned events)
{
    struct comer *comer = LIST_MEMBER(watch, struct comer, watch);
    comer->events |= events;
    comer->count++;
    came++;
    if (comer == &comers[0] && comer->count == 1) {
        loop_remove(loop, &comers[left_out].watch);
        loop_again(loop, watch, LOOP_WRITE); /* in another round */
    }
}

static void count_rounds(void *with)
{
    unsigned *rounds = with;
    if (++*rounds > 1 &&
        came == MANY) /* all but the one that was left out, and the first once more */
        loop_stop(loop);
}

/* Very many at once: each comes once with all of its events, over some rounds. */
static void what_is_put_off_comes_once(void **state)
{
    (void)state;
    unsigned rounds = 0;
    loop = loop_new();
    left_out = 2 * MANY / 3;
    for (size_t i = 0; i < MANY; i++) {
        comers[i].watch = (struct watch){.fd = -1, .on_event = on_come};
        loop_again(loop, &comers[i].watch, LOOP_READ);
    }
    for (size_t i = 0; i < MANY; i++)
        loop_again(loop, &comers[i].watch, LOOP_HANGUP);
    loop_run(loop, count_rounds, &rounds);
    assert_true(rounds > 2);
    for (size_t i = 1; i < MANY; i++) {
        assert_int_equal(comers[i].count, i == left_out ? 0 : 1);
        assert_int_equal(comers[i].events, i == left_out ? 0 : LOOP_READ | LOOP_HANGUP);
    }
    assert_int_equal(comers[0].count, 2);
    assert_int_equal(comers[0].events, LOOP_READ | LOOP_HANGUP | LOOP_WRITE);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_never_early),
        cmocka_unit_test(the_time_of_day_is_that_of_the_round),
        cmocka_unit_test(a_timer_can_be_moved_to_later_to_earlier_and_stopped),
        cmocka_unit_test(a_hangup_is_told_apart_from_bytes),
        cmocka_unit_test(errands_of_other_threads_all_run),
        cmocka_unit_test(the_buried_are_freed_after_the_round),
        cmocka_unit_test(what_is_put_off_comes_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
