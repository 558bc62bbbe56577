/* SPDX-License-Identifier: Apache-2.0 */
/* Eight workers take places, give them back, wait and leave, while the desk opens and closes
 * replicas under them: never more calls than places, no ticket lost, no key forgotten. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/models/slots.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { WORKERS = 8, ROUNDS = 5000, REPLICAS = 3, PLACES = 2, PLENTY = 1 << 30, BORN = 4096 };

static struct slots *slots;
static _Atomic int running[BORN]; /* calls, by replica */
static _Atomic bool over;
static _Atomic int working, told;

struct worker {
    pthread_t thread;
    struct loop *loop;
    uint64_t chance;
    unsigned key, done, granted, refused, left;
};

static uint64_t chance(struct worker *worker)
{
    worker->chance ^= worker->chance << 13;
    worker->chance ^= worker->chance >> 7;
    worker->chance ^= worker->chance << 17;
    return worker->chance;
}

/* A call on the place it has. */
static void call(struct worker *worker, struct slot *slot)
{
    struct launch_address address;
    _Atomic int *here = &running[slot->replica % BORN];
    if (atomic_fetch_add(here, 1) >= PLACES)
        atomic_store(&over, true);
    slots_address(slots, slot, &address);
    if (address.port != slot->replica % BORN)
        atomic_store(&over, true); /* somebody else's address */
    if (chance(worker) % 4 == 0)
        sched_yield();
    atomic_fetch_sub(here, 1);
    slots_give(slots, slot, SLOT_FINE, 1);
    worker->done++;
}

struct waiting {
    struct ticket ticket;
    bool told;
};

static void on_grant(struct ticket *ticket)
{
    ((struct waiting *)(void *)ticket)->told = true;
    atomic_fetch_add(&told, 1);
}

/* Wait, and sometimes leave: before it is granted, or just when it is. The ticket's memory is gone
 * after that. */
static void wait(struct worker *worker)
{
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    struct ticket *ticket = &waiting->ticket;
    bool patient = chance(worker) % 4 != 0;
    *ticket =
        (struct ticket){.key = worker->key, .bytes = 1, .loop = worker->loop, .on_grant = on_grant};
    enum ticket_answer answer = slots_wait(slots, ticket, 100, PLENTY, 1);
    if (answer == TICKET_WAITS) {
        for (uint64_t pause = chance(worker) % 50; !waiting->told && (patient || pause > 0);) {
            loop_clear(worker->loop);
            sched_yield();
            pause -= pause > 0;
        }
        if (!waiting->told) {
            slots_leave(slots, ticket);
            worker->left++;
            free(waiting);
            return;
        }
    }
    if (answer == TICKET_FULL || ticket->why_not) {
        worker->refused++;
    } else {
        worker->granted++;
        call(worker, &ticket->slot);
    }
    free(waiting);
}

static void *work(void *with)
{
    struct worker *worker = with;
    const struct slots_wish any = {0};
    struct slot slot;
    for (int i = 0; i < ROUNDS; i++) {
        if (worker->key == 1 && chance(worker) % 3 == 0) {
            if (slots_take(slots, &any, &slot))
                call(worker, &slot);
        } else {
            wait(worker);
        }
        loop_clear(worker->loop);
    }
    atomic_fetch_sub(&working, 1);
    return NULL;
}

static struct slot open_one(uint64_t number)
{
    struct launch_address address = {.port = (uint16_t)(number % BORN)};
    return slots_open(slots, number, 1, &address, PLACES);
}

/* One replica after the other is closed, and when it is empty another one opens. */
static void *keep_changing(void *with)
{
    uint64_t number = 1, calls = 0;
    struct slot open[REPLICAS];
    (void)with;
    for (int i = 0; i < REPLICAS; i++)
        open[i] = open_one(number++);
    while (atomic_load(&working) > 0) {
        struct slot *one = &open[number % REPLICAS];
        slots_close(slots, one);
        while (slots_in_flight(slots, one) > 0)
            sched_yield();
        *one = open_one(number++);
        calls += slots_record(slots, 1).calls;
        if (number % 64 == 0)
            slots_fail_waiting(slots, "changed");
        for (int i = 0; i < 20; i++)
            sched_yield();
    }
    calls += slots_record(slots, 1).calls;
    return (void *)(uintptr_t)calls;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    struct worker workers[WORKERS];
    pthread_t desk;
    void *recorded;
    unsigned done = 0, granted = 0, most = 0;
    slots = slots_of(TEXT("crowd"));
    atomic_store(&working, WORKERS);
    assert_int_equal(pthread_create(&desk, NULL, keep_changing, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){
            .loop = loop_new(), .chance = i + 77, .key = i == 0 ? 2 : 1}; /* one against seven */
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL); /* a lost ticket would wait for ever */
    pthread_join(desk, &recorded);
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_clear(workers[i].loop);
        loop_free(workers[i].loop);
        done += workers[i].done;
        granted += workers[i].granted;
        most = workers[i].done > most ? workers[i].done : most;
    }
    struct slots_figures figures = slots_figures(slots);
    assert_false(atomic_load(&over));
    assert_int_equal(figures.held, 0);
    assert_int_equal(figures.in_flight, 0);
    assert_int_equal(figures.calls, done);
    assert_int_equal((uintptr_t)recorded, done);
    assert_int_equal(figures.ready, REPLICAS);
    assert_true(granted > WORKERS * ROUNDS / 8 && atomic_load(&told) > 0);
    assert_true(workers[0].granted > most / 8); /* the lonely key had its turns */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost_between_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
