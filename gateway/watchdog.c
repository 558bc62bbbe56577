/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/watchdog.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"

enum {
    TICK_US = 100000,
    BEAT_TICKS = 10,
    LIMIT_DEFAULT_MS = UNDER_SANITIZER ? 6000 : 2000,
    LIMIT_MAX_MS = 3600000
};

struct watched {
    uint64_t round;
    uint64_t stuck_us;    /* how long it has been seen in this round */
    uint64_t computed_us; /* what its thread had computed when that began */
};

struct watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_over;
    uint64_t limit_us;
    struct worker *const *workers;
    unsigned count;
    void (*beat)(void *with);
    void *with;
    struct watched watched[];
};

uint64_t watchdog_limit_us(void)
{
    const char *text = getenv("SLUICE_WATCHDOG_MS");
    uint64_t ms = LIMIT_DEFAULT_MS;
    if (text == NULL || !text_number(text_of(text), LIMIT_MAX_MS, &ms))
        ms = LIMIT_DEFAULT_MS;
    return ms * 1000;
}

static uint64_t computed_us(struct worker *worker)
{
    clockid_t clock;
    struct timespec spent;
    if (pthread_getcpuclockid((pthread_t)worker_thread(worker), &clock) != 0 ||
        clock_gettime(clock, &spent) != 0)
        return 0;
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

static bool is_stuck(const struct watchdog *watchdog, unsigned i)
{
    enum { PART = 3 }; /* of the limit, for one that computes */
    const struct watched *watched = &watchdog->watched[i];
    if (watchdog->limit_us == 0)
        return false;
    if (watched->stuck_us >= watchdog->limit_us)
        return true;
    return watched->stuck_us >= watchdog->limit_us / PART &&
           computed_us(watchdog->workers[i]) - watched->computed_us >= watchdog->limit_us / PART;
}

static void look_at(struct watchdog *watchdog, unsigned i)
{
    struct worker *worker = watchdog->workers[i];
    struct watched *watched = &watchdog->watched[i];
    struct loop *loop = worker_loop(worker);
    uint64_t round = loop_rounds(loop);
    if (loop_busy_since_us(loop) == 0 || round != watched->round) {
        *watched = (struct watched){.round = round};
        return;
    }
    if (watched->stuck_us == 0)
        watched->computed_us = computed_us(worker);
    watched->stuck_us += TICK_US;
    if (!is_stuck(watchdog, i))
        return;
    log_line(LOG_ERROR, "watchdog", "worker %u is stuck for %llu ms: aborting", i,
             (unsigned long long)watched->stuck_us / 1000);
    pthread_kill((pthread_t)worker_thread(worker), SIGABRT);
    /* The handler writes its trace meanwhile; if even that hangs, this does not. */
    sleep(1);
    _exit(128 + SIGABRT);
}

static bool wait_a_tick(struct watchdog *watchdog)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_US * 1000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&watchdog->lock);
    if (!watchdog->is_over)
        pthread_cond_timedwait(&watchdog->wake, &watchdog->lock, &until);
    bool is_over = watchdog->is_over;
    pthread_mutex_unlock(&watchdog->lock);
    return !is_over;
}

static void *watch(void *arg)
{
    struct watchdog *watchdog = arg;
    for (unsigned tick = 0; wait_a_tick(watchdog); tick++) {
        for (unsigned i = 0; i < watchdog->count; i++)
            look_at(watchdog, i);
        if (tick % BEAT_TICKS == 0)
            watchdog->beat(watchdog->with);
    }
    return NULL;
}

struct watchdog *watchdog_start(struct worker *const *workers, unsigned count,
                                void (*beat)(void *with), void *with)
{
    struct watchdog *watchdog = memory_new(sizeof *watchdog + count * sizeof *watchdog->watched);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&watchdog->lock, NULL);
    watchdog->limit_us = watchdog_limit_us();
    watchdog->workers = workers;
    watchdog->count = count;
    watchdog->beat = beat;
    watchdog->with = with;
    int problem = pthread_create(&watchdog->thread, NULL, watch, watchdog);
    assert(problem == 0);
    return watchdog;
}

void watchdog_stop(struct watchdog *watchdog)
{
    pthread_mutex_lock(&watchdog->lock);
    watchdog->is_over = true;
    pthread_cond_signal(&watchdog->wake);
    pthread_mutex_unlock(&watchdog->lock);
    pthread_join(watchdog->thread, NULL);
    pthread_cond_destroy(&watchdog->wake);
    pthread_mutex_destroy(&watchdog->lock);
    memory_free(watchdog);
}
