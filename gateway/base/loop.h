/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * loop - the event loop of one thread, on epoll, and its graveyard.
 *
 * Descriptors are registered once, edge-triggered, for reading and writing; the steady path makes
 * no epoll_ctl call. (Why not libevent: it reports EPOLLERR as readable only, hides EPOLLRDHUP
 * behind a compile-time backend, and re-arms with one system call per change.)
 *
 * Nothing that may still be on the stack is freed on the spot: it is buried, and the graveyard is
 * emptied when the current round of callbacks is over.
 *
 * One thread runs a loop; only loop_post() and loop_stop() may be called from others.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/list.h"

enum loop_event {
    LOOP_READ = 1,   /* bytes, a connection or an end may be read */
    LOOP_WRITE = 2,  /* there is room again */
    LOOP_HANGUP = 4, /* the peer has closed its half, or all, or an error is pending */
    LOOP_BROKEN = 8, /* an error or a full close is pending: nothing can be sent any more */
};

struct watch {
    int fd;         /* -1 = of none: never added, only loop_again() reaches it */
    uint32_t again; /* the loop's: its place among those that come again, from 1; 0 = none */
    void (*on_event)(struct watch *watch, unsigned events);
};

/* A deadline, at a resolution of about 10 ms; never fires early. */
struct timer {
    struct link link;
    uint64_t due_us; /* 0 = not set */
    unsigned slot;
    void (*on_time)(struct timer *timer);
};

struct grave {
    struct grave *next;
    void (*free)(struct grave *grave);
};

/* Work that another thread sends here, or this thread puts off to the end of its round. */
struct errand {
    struct errand *next;
    void (*run)(struct errand *errand);
};

/* Work of this thread that is put off until a crowded round's events have all been seen. */
struct put_off {
    struct link link;
    void (*run)(struct put_off *put_off);
};

struct loop;

struct loop *loop_new(void);
/* The same for one that begins when calls are served already: NULL, and errno, without two
 * descriptors. */
struct loop *loop_try(void);
void loop_free(struct loop *loop);
/* Run until loop_stop(), also one that came before. It may be run again. <on_round>, when not NULL,
 * is called after each round of callbacks. */
void loop_run(struct loop *loop, void (*on_round)(void *), void *with);
/* End the run; any thread. */
void loop_stop(struct loop *loop);
/* After the run, on its thread: do what was posted too late for it, and empty the graveyard. */
void loop_clear(struct loop *loop);

/* The time at which this round began, in microseconds (monotonic); costs nothing. */
uint64_t loop_now_us(const struct loop *loop);
/* The time since 1970 in microseconds, as it was when first asked for in this round. */
int64_t loop_wall_us(struct loop *loop);
/* Has this round so many events that what they wait for here is each other? Then what is sent is
 * better put off: it is sent in one go, and a peer on this machine, whom each single send would
 * wake from its sleep, has not gone to sleep again before the next. */
bool loop_is_crowded(const struct loop *loop);
/* Run <put_off> at the end of this round, those that are not <last> before those that are. Once
 * only, though it is asked for twice; list_remove(&put_off->link) takes it back. */
void loop_put_off(struct loop *loop, struct put_off *put_off, bool last);
/* Run now what was put off. */
void loop_do_put_off(struct loop *loop);
/* How often the loop has gone round, and since when it is busy in the current round (0 = it
 * waits); for the watchdog, any thread. */
uint64_t loop_rounds(const struct loop *loop);
uint64_t loop_busy_since_us(const struct loop *loop);

/* Watch <watch->fd> for everything; <on_event> comes with every edge. */
void loop_add(struct loop *loop, struct watch *watch);
/* Watch level-triggered for <events> (LOOP_READ, LOOP_WRITE): listeners, and libraries that do not
 * read until nothing is left. */
void loop_add_level(struct loop *loop, struct watch *watch, unsigned events);
/* Stop watching; no event comes any more, also none of this round. Call before close(). */
void loop_remove(struct loop *loop, struct watch *watch);
/* Deliver <events> to <watch> again in the next round (work was cut short to be fair). */
void loop_again(struct loop *loop, struct watch *watch, unsigned events);

/* Set or move a deadline; moving one to later costs a store only. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t due_us);
void timer_stop(struct timer *timer);

/* Free <grave> with <free> after the current callbacks have returned. Bury once only. */
void loop_bury(struct loop *loop, struct grave *grave, void (*free)(struct grave *grave));

/* Run <errand> on the loop's thread, soon; any thread. The errand is the caller's until it runs. */
void loop_post(struct loop *loop, struct errand *errand);
