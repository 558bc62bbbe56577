/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/watchdog.h"

#include <assert.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"
#include "gateway/starved.h"

enum {
    TICK_US = 100000,
    BEAT_TICKS = 10,
    LIMIT_DEFAULT_MS = UNDER_SANITIZER ? 6000 : 2000,
    LIMIT_MAX_MS = 3600000,
    START_LIMITS = 30,       /* the start may hang for so many times as long as a worker */
    START_PART = 200,        /* and has computed for one in so many of the limit if it does not, */
    START_BLOCKS = 2 * 1024, /* or has read or written so many of 512 bytes */
    LIMITS_STARVED = 30,     /* a worker that waits for the processor is aborted after so many */
    LIMITS_ON_DISK = 150,    /* a snapshot is over by then; what a dead mount holds can be ended */
};

struct watched {
    uint64_t round;
    uint64_t seen_us;     /* how long it has been seen in this round */
    uint64_t stuck_us;    /* so much of that counts, see counts_us() */
    uint64_t computed_us; /* what its thread had computed when that began, */
    uint64_t last_us;     /* and when it was looked at last */
    uint64_t disk_us;     /* it has waited for the disk: no part of the others */
};

/* What the process has done so far. */
struct deeds {
    uint64_t computed_us, blocks;
};

/* A thread that begins, and what was done when it had done enough last. */
struct opening {
    bool is_watched;
    pthread_t thread;
    uint64_t limit_us, idle_us;
    struct deeds since;
    const char *what; /* under the lock of the watchdog */
    bool is_noted;    /* the same: it has begun with that since we looked */
};

struct watchdog {
    pthread_t thread;
    struct opening opening;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_over;
    uint64_t limit_us;
    _Atomic uint64_t bears_us;
    struct worker *const *workers;
    unsigned count;
    uint64_t process_us; /* what all threads had computed at the last tick, */
    uint64_t tick_us;    /* and since the one before */
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

uint64_t watchdog_start_limit_us(void)
{
    return START_LIMITS * watchdog_limit_us();
}

/* The handler writes its trace meanwhile; if even that hangs, this does not. What the log has is
 * out first: it says why. */
static _Noreturn void abort_thread(pthread_t thread)
{
    log_close();
    pthread_kill(thread, SIGABRT);
    sleep(1);
    kill(getpid(), SIGKILL);
    _exit(128 + SIGABRT);
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

/* It waits, but perhaps for what another thread of ours holds that does not come to run, or waits
 * for the disk: then there is such a thread, and yet next to nothing was computed in this tick. */
static bool waits_for_starved(const struct watchdog *watchdog)
{
    enum { PART = 4 };
    return watchdog->tick_us < TICK_US / PART &&
           starved_process(getpid(), gettid()) >= STARVED_ON_DISK;
}

/* How much a tick counts that was seen in the same round as the one before: what it has computed
 * when it may run, for it waited for the processor all the rest; else all of it. */
static uint64_t counts_us(const struct watchdog *watchdog, enum starved_state state,
                          uint64_t computed_us)
{
    if (state == STARVED_MAY_RUN)
        return computed_us < TICK_US ? computed_us : TICK_US;
    return waits_for_starved(watchdog) ? 0 : TICK_US;
}

void watchdog_bear(struct watchdog *watchdog, uint64_t at_least_us)
{
    atomic_store(&watchdog->bears_us, at_least_us);
}

static uint64_t limit_of(const struct watchdog *watchdog)
{
    uint64_t bears_us = atomic_load(&watchdog->bears_us);
    return watchdog->limit_us && bears_us > watchdog->limit_us ? bears_us : watchdog->limit_us;
}

static bool is_stuck(const struct watchdog *watchdog, const struct watched *watched)
{
    enum { PART = 3 }; /* of the limit, for one that computes */
    uint64_t limit = limit_of(watchdog);
    if (limit == 0)
        return false;
    return watched->stuck_us >= limit || watched->seen_us >= LIMITS_STARVED * limit ||
           (watched->seen_us >= limit / PART &&
            watched->last_us - watched->computed_us >= limit / PART);
}

/* Has <us> come to the limit with this tick? So that it is said once. */
static bool is_told_now(const struct watchdog *watchdog, uint64_t us)
{
    return limit_of(watchdog) && us >= limit_of(watchdog) && us < limit_of(watchdog) + TICK_US;
}

static void note_disk(const struct watchdog *watchdog, struct watched *watched, unsigned i)
{
    watched->disk_us += TICK_US;
    if (is_told_now(watchdog, watched->disk_us))
        log_line(LOG_WARN, "watchdog", "worker %u waits for the disk, for %llu ms so far", i,
                 (unsigned long long)watched->disk_us / 1000);
}

static void tell_of_starved(const struct watchdog *watchdog, const struct watched *watched,
                            unsigned i)
{
    if (is_told_now(watchdog, watched->seen_us))
        log_line(LOG_WARN, "watchdog",
                 "worker %u waits for the processor: %llu ms in one round, %llu of them computed",
                 i, (unsigned long long)watched->seen_us / 1000,
                 (unsigned long long)(watched->last_us - watched->computed_us) / 1000);
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
    uint64_t computed = computed_us(worker);
    enum starved_state state = starved_thread(worker_task(worker));
    if (watched->seen_us == 0)
        watched->computed_us = watched->last_us = computed;
    if (state == STARVED_ON_DISK) {
        note_disk(watchdog, watched, i);
        if (!limit_of(watchdog) || watched->disk_us < LIMITS_ON_DISK * limit_of(watchdog))
            return;
        log_line(LOG_ERROR, "watchdog", "worker %u waits for the disk for %llu ms: aborting", i,
                 (unsigned long long)watched->disk_us / 1000);
        abort_thread((pthread_t)worker_thread(worker));
        return;
    }
    watched->stuck_us += counts_us(watchdog, state, computed - watched->last_us);
    watched->last_us = computed;
    watched->seen_us += TICK_US;
    if (!is_stuck(watchdog, watched)) {
        tell_of_starved(watchdog, watched, i);
        return;
    }
    log_line(LOG_ERROR, "watchdog", "worker %u is stuck for %llu ms: aborting", i,
             (unsigned long long)watched->seen_us / 1000);
    abort_thread((pthread_t)worker_thread(worker));
}

static uint64_t micros(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static struct deeds deeds_now(void)
{
    struct rusage used = {0};
    getrusage(RUSAGE_SELF, &used);
    return (struct deeds){micros(used.ru_utime) + micros(used.ru_stime),
                          (uint64_t)used.ru_inblock + (uint64_t)used.ru_oublock};
}

/* Threads that only look now and then whether there is something to do are not taken for work. */
static bool gets_on(const struct opening *opening, const struct deeds *now)
{
    return now->computed_us - opening->since.computed_us >= opening->limit_us / START_PART ||
           now->blocks - opening->since.blocks >= START_BLOCKS;
}

/* What is written counts when it is in memory: a thread that waits until it is on the disk, as in
 * fsync(), does nothing that counts. Nothing could end it meanwhile, either. */
static bool waits_for_disk(void)
{
    bool waits = false;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && !waits && (task = readdir(tasks));) {
        char path[64], line[128] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.16s/stat", task->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        const char *state = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        waits = state && strncmp(state, ") D", 3) == 0;
        fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return waits;
}

static void look_at_opening(struct watchdog *watchdog)
{
    struct opening *opening = &watchdog->opening;
    struct deeds now = deeds_now();
    pthread_mutex_lock(&watchdog->lock);
    const char *what = opening->what;
    bool is_noted = opening->is_noted;
    opening->is_noted = false;
    pthread_mutex_unlock(&watchdog->lock);
    if (is_noted || gets_on(opening, &now)) {
        opening->since = now;
        opening->idle_us = 0;
        return;
    }
    opening->idle_us += TICK_US;
    if (opening->limit_us == 0 || opening->idle_us < opening->limit_us)
        return;
    if (waits_for_disk()) {
        log_line(LOG_WARN, "watchdog", "the start waits for the disk at %s for %llu ms", what,
                 (unsigned long long)opening->idle_us / 1000);
        opening->idle_us = 0;
        return;
    }
    log_line(LOG_ERROR, "watchdog", "the start hangs at %s for %llu ms: aborting", what,
             (unsigned long long)opening->idle_us / 1000);
    abort_thread(opening->thread);
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
        uint64_t process = starved_computed_us(getpid());
        watchdog->tick_us = process - watchdog->process_us;
        watchdog->process_us = process;
        for (unsigned i = 0; i < watchdog->count; i++)
            look_at(watchdog, i);
        if (watchdog->opening.is_watched)
            look_at_opening(watchdog);
        if (tick % BEAT_TICKS == 0)
            watchdog->beat(watchdog->with);
    }
    return NULL;
}

static struct watchdog *start(struct worker *const *workers, unsigned count,
                              const struct opening *opening, void (*beat)(void *with), void *with)
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
    watchdog->opening = *opening;
    watchdog->beat = beat;
    watchdog->with = with;
    int problem = pthread_create(&watchdog->thread, NULL, watch, watchdog);
    assert(problem == 0);
    return watchdog;
}

struct watchdog *watchdog_start(struct worker *const *workers, unsigned count,
                                void (*beat)(void *with), void *with)
{
    return start(workers, count, &(struct opening){0}, beat, with);
}

struct watchdog *watchdog_start_opening(uint64_t limit_us, void (*beat)(void *with), void *with)
{
    struct opening opening = {.is_watched = true,
                              .thread = pthread_self(),
                              .limit_us = limit_us,
                              .since = deeds_now(),
                              .what = "its beginning"};
    return start(NULL, 0, &opening, beat, with);
}

void watchdog_note(struct watchdog *watchdog, const char *what)
{
    pthread_mutex_lock(&watchdog->lock);
    watchdog->opening.what = what;
    watchdog->opening.is_noted = true;
    pthread_mutex_unlock(&watchdog->lock);
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
