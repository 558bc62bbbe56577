/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"

enum {
    EVENTS_PER_ROUND = 256,
    CROWD = 16,
    SLOT_US = 8192, /* the wheel's resolution */
    SLOTS = 4096,   /* so one turn of the wheel is 33.5 s; longer deadlines go round again */
    FIRST_AGAIN = 64,
    AGAIN_PER_ROUND = 1024,
};

struct again {
    struct watch *watch;
    unsigned events;
};

struct loop {
    int epoll, wake;
    uint64_t now_us;
    int64_t wall_us;   /* 0 = not asked for in this round */
    uint64_t slot_now; /* every slot before this one has been looked at */
    struct link slots[SLOTS];
    uint64_t slot_used[SLOTS / 64]; /* may say yes for an empty slot, never no for a full one */
    struct grave *graveyard;
    struct again *again;
    size_t again_count, again_capacity;
    struct epoll_event *events; /* of the current round, so that loop_remove() can cancel */
    int event_count;
    struct link put_off[2]; /* the last ones apart */
    atomic_bool stopping;
    atomic_uint_fast64_t rounds, busy_since_us;
    pthread_mutex_t errands_lock;
    struct errand *errands, **errands_end;
};

struct loop *loop_try(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll < 0 || wake < 0) {
        int why = errno;
        if (epoll >= 0)
            close(epoll);
        if (wake >= 0)
            close(wake);
        errno = why;
        return NULL;
    }
    struct loop *loop = memory_new(sizeof(*loop));
    loop->epoll = epoll;
    loop->wake = wake;
    for (size_t i = 0; i < SLOTS; i++)
        list_init(&loop->slots[i]);
    list_init(&loop->put_off[0]);
    list_init(&loop->put_off[1]);
    loop->now_us = clock_now_us();
    loop->slot_now = loop->now_us / SLOT_US;
    pthread_mutex_init(&loop->errands_lock, NULL);
    loop->errands_end = &loop->errands;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event);
    return loop;
}

struct loop *loop_new(void)
{
    struct loop *loop = loop_try();
    if (!loop) {
        perror("sluice: epoll");
        abort();
    }
    return loop;
}

static void empty_graveyard(struct loop *loop)
{
    while (loop->graveyard) {
        struct grave *grave = loop->graveyard;
        loop->graveyard = grave->next;
        grave->free(grave);
    }
}

void loop_free(struct loop *loop)
{
    empty_graveyard(loop);
    close(loop->epoll);
    close(loop->wake);
    pthread_mutex_destroy(&loop->errands_lock);
    memory_free(loop->again);
    memory_free(loop);
}

uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

int64_t loop_wall_us(struct loop *loop)
{
    if (loop->wall_us == 0)
        loop->wall_us = clock_wall_us();
    return loop->wall_us;
}

uint64_t loop_rounds(const struct loop *loop)
{
    return atomic_load_explicit(&loop->rounds, memory_order_relaxed);
}

uint64_t loop_busy_since_us(const struct loop *loop)
{
    return atomic_load_explicit(&loop->busy_since_us, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------- watches */

static void add(struct loop *loop, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) != 0) {
        perror("sluice: epoll_ctl");
        abort();
    }
}

void loop_add(struct loop *loop, struct watch *watch)
{
    add(loop, watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void loop_add_level(struct loop *loop, struct watch *watch, unsigned events)
{
    add(loop, watch, (events & LOOP_READ ? EPOLLIN : 0U) | (events & LOOP_WRITE ? EPOLLOUT : 0U));
}

void loop_remove(struct loop *loop, struct watch *watch)
{
    if (watch->fd >= 0)
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->event_count; i++)
        if (loop->events[i].data.ptr == watch)
            loop->events[i].events = 0;
    if (watch->again)
        loop->again[watch->again - 1].watch = NULL;
    watch->again = 0;
}

void loop_again(struct loop *loop, struct watch *watch, unsigned events)
{
    if (watch->again) {
        loop->again[watch->again - 1].events |= events;
        return;
    }
    if (loop->again_count == loop->again_capacity) {
        loop->again_capacity = loop->again_capacity ? loop->again_capacity * 2 : FIRST_AGAIN;
        loop->again = memory_resize(loop->again, loop->again_capacity * sizeof(*loop->again));
    }
    loop->again[loop->again_count++] = (struct again){watch, events};
    watch->again = (uint32_t)loop->again_count;
}

/* Only those that were put off before this round, and not all where there are very many: others
 * have their turn. A callback may put itself off once more. */
static void run_again(struct loop *loop)
{
    size_t count = loop->again_count < AGAIN_PER_ROUND ? loop->again_count : AGAIN_PER_ROUND;
    for (size_t i = 0; i < count; i++) {
        struct again one = loop->again[i];
        loop->again[i].watch = NULL;
        if (!one.watch)
            continue;
        one.watch->again = 0;
        one.watch->on_event(one.watch, one.events);
    }
    size_t kept = 0;
    for (size_t i = 0; i < loop->again_count; i++)
        if (loop->again[i].watch) {
            loop->again[kept++] = loop->again[i];
            loop->again[kept - 1].watch->again = (uint32_t)kept;
        }
    loop->again_count = kept;
}

static unsigned events_of(uint32_t bits)
{
    unsigned events = 0;
    if (bits & (EPOLLIN | EPOLLPRI))
        events |= LOOP_READ;
    if (bits & EPOLLOUT)
        events |= LOOP_WRITE;
    if (bits & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        events |= LOOP_READ | LOOP_HANGUP;
    if (bits & (EPOLLHUP | EPOLLERR))
        events |= LOOP_BROKEN;
    return events;
}

/* ----------------------------------------------------------------------------- timers */

void timer_set(struct loop *loop, struct timer *timer, uint64_t due_us)
{
    uint64_t slot = due_us / SLOT_US + 1; /* round up: never early */
    if (slot < loop->slot_now)
        slot = loop->slot_now;
    if (slot >= loop->slot_now + SLOTS)
        slot = loop->slot_now + SLOTS - 1;
    bool waits = timer->due_us != 0;
    bool later = waits && due_us >= timer->due_us;
    timer->due_us = due_us;
    if (later)
        return; /* it is looked at where it stands, and moved on then */
    if (waits)
        list_remove(&timer->link);
    timer->slot = (unsigned)(slot % SLOTS);
    list_push_back(&loop->slots[timer->slot], &timer->link);
    loop->slot_used[timer->slot / 64] |= 1ULL << (timer->slot % 64);
}

void timer_stop(struct timer *timer)
{
    if (!timer->due_us)
        return;
    list_remove(&timer->link);
    timer->due_us = 0;
}

static void run_slot(struct loop *loop, unsigned slot)
{
    struct link due;
    list_init(&due);
    struct link *head = &loop->slots[slot];
    loop->slot_used[slot / 64] &= ~(1ULL << (slot % 64));
    if (list_is_empty(head))
        return;
    /* Take the whole list over: callbacks may set timers into this very slot. */
    due = *head;
    due.next->prev = &due;
    due.prev->next = &due;
    list_init(head);
    while (!list_is_empty(&due)) {
        struct timer *timer = LIST_MEMBER(due.next, struct timer, link);
        uint64_t due_us = timer->due_us;
        list_remove(&timer->link);
        timer->due_us = 0;
        if (due_us > loop->now_us)
            timer_set(loop, timer, due_us);
        else
            timer->on_time(timer);
    }
}

static void run_timers(struct loop *loop)
{
    uint64_t slot = loop->now_us / SLOT_US;
    if (slot >= loop->slot_now + SLOTS)
        loop->slot_now = slot - SLOTS + 1; /* we slept long: every slot once is enough */
    while (loop->slot_now <= slot) {
        uint64_t at = loop->slot_now++;
        if (loop->slot_used[at % SLOTS / 64] >> (at % 64) & 1)
            run_slot(loop, (unsigned)(at % SLOTS));
    }
}

/* Milliseconds until the next slot that may hold a timer; -1 = none. */
static int wait_ms(const struct loop *loop)
{
    if (loop->again_count)
        return 0;
    for (uint64_t ahead = 0; ahead < SLOTS;) {
        uint64_t at = loop->slot_now + ahead;
        uint64_t bits = loop->slot_used[at % SLOTS / 64] >> (at % 64);
        if (!bits) {
            ahead += 64 - at % 64;
            continue;
        }
        uint64_t due_us = (at + (uint64_t)__builtin_ctzll(bits)) * SLOT_US;
        return due_us <= loop->now_us ? 0 : (int)((due_us - loop->now_us) / 1000 + 1);
    }
    return -1;
}

/* ---------------------------------------------------------------------------- errands */

void loop_post(struct loop *loop, struct errand *errand)
{
    errand->next = NULL;
    pthread_mutex_lock(&loop->errands_lock);
    bool first = loop->errands == NULL;
    *loop->errands_end = errand;
    loop->errands_end = &errand->next;
    pthread_mutex_unlock(&loop->errands_lock);
    uint64_t one = 1;
    if (first && write(loop->wake, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}

static void run_errands(struct loop *loop)
{
    uint64_t count;
    if (read(loop->wake, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN);
    pthread_mutex_lock(&loop->errands_lock);
    struct errand *errand = loop->errands;
    loop->errands = NULL;
    loop->errands_end = &loop->errands;
    pthread_mutex_unlock(&loop->errands_lock);
    while (errand) {
        struct errand *next = errand->next;
        errand->run(errand);
        errand = next;
    }
}

/* -------------------------------------------------------------------------------- run */

void loop_bury(struct loop *loop, struct grave *grave, void (*free)(struct grave *grave))
{
    grave->free = free;
    grave->next = loop->graveyard;
    loop->graveyard = grave;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    uint64_t one = 1;
    if (write(loop->wake, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}

void loop_clear(struct loop *loop)
{
    run_errands(loop);
    empty_graveyard(loop);
}

bool loop_is_crowded(const struct loop *loop)
{
    return loop->event_count >= CROWD;
}

void loop_put_off(struct loop *loop, struct put_off *put_off, bool last)
{
    if (list_is_empty(&put_off->link))
        list_push_back(&loop->put_off[last], &put_off->link);
}

void loop_do_put_off(struct loop *loop)
{
    for (int i = 0; i < 2; i++)
        while (!list_is_empty(&loop->put_off[i])) {
            struct put_off *put_off = LIST_MEMBER(loop->put_off[i].next, struct put_off, link);
            list_remove(&put_off->link);
            put_off->run(put_off);
        }
}

static void run_round(struct loop *loop, struct epoll_event *events, int count)
{
    loop->events = events;
    loop->event_count = count;
    run_again(loop);
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;
        if (!watch)
            run_errands(loop);
        else if (events[i].events)
            watch->on_event(watch, events_of(events[i].events));
    }
    loop->event_count = 0;
    loop_do_put_off(loop);
    run_timers(loop);
    loop_do_put_off(loop); /* what timers have put off: nothing else ends the sleep for it */
}

void loop_run(struct loop *loop, void (*on_round)(void *), void *with)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    while (!atomic_load_explicit(&loop->stopping, memory_order_relaxed)) {
        atomic_store_explicit(&loop->busy_since_us, 0, memory_order_relaxed);
        int count = epoll_wait(loop->epoll, events, EVENTS_PER_ROUND, wait_ms(loop));
        if (count < 0) {
            assert(errno == EINTR);
            count = 0;
        }
        loop->now_us = clock_now_us();
        loop->wall_us = 0;
        atomic_store_explicit(&loop->busy_since_us, loop->now_us, memory_order_relaxed);
        run_round(loop, events, count);
        if (on_round)
            on_round(with);
        empty_graveyard(loop);
        atomic_fetch_add_explicit(&loop->rounds, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&loop->busy_since_us, 0, memory_order_relaxed);
    atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
}
