/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One service takes over from another, in steps that the supervisor leads (supervisor_upgrade.c).
 * Up to SAY_ACCEPT the old one can go on as if nothing had been:
 *
 *   old   PREPARE    no change through the API any more, no job is begun; when none runs: PREPARED
 *   new              opens all that can be open twice: WARM
 *   old   HAND_OVER  all workers stand still: nobody is let in, limits go over: HANDED
 *   new   TAKE       loads them, and answers for the calls that still run in the old one; READY
 *   new   ACCEPT     begins its workers, which let clients in, run jobs, adopt model servers; READY
 *   old   LEAVE      goes on with the calls that it has, and ends behind the last
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/sanitizer.h"
#include "gateway/base/version.h"
#include "gateway/batches.h"
#include "gateway/channel.h"
#include "gateway/counters_in_force.h"
#include "gateway/deploy_desk.h"
#include "gateway/jobs.h"
#include "gateway/service_state.h"
#include "gateway/watchdog.h"
#include "policy/ledger.h"

enum {
    STILL_US = 1000000, /* for all workers to stand still, */
    STILL_TRIES = 5,    /* so often */
    CATCH_UP_US = 1000000,
    LOOK_MS = 10,         /* how often to look whether it is prepared */
    TURN_US = 600000000,  /* a new one waits so long for its turn */
    INHERIT_US = 5000000, /* and for the limits */
    ACCEPT_US = 30000000, /* and for the word that it serves */
    /* A worker waits for the other so long, until that serves and then for an answer. */
    BEAR_US = UNDER_SANITIZER ? 60000000 : 15000000,
    REASON_BYTES = 400,
};

static void say(const struct service *service, enum channel_word word, const char *words)
{
    channel_say(service->options->channel, word, words, -1);
}

bool service_is_upgrading(const struct service *service)
{
    return atomic_load(&service->turn) != TURN_NONE;
}

bool service_has_handed_over(const struct service *service)
{
    return atomic_load(&service->turn) >= TURN_HANDED;
}

/* ---------------------------------------------------------------------------- the old one */

static void set_turn(struct service *service, enum service_turn turn)
{
    atomic_store(&service->turn, turn);
}

static void resume(struct service *service)
{
    if (atomic_load(&service->turn) == TURN_HANDED) {
        /* Nobody has been let in elsewhere, and what was done since is counted here, too. One that
         * is stuck is the watchdog's. */
        limits_return(service->limits);
        while (!workers_hold(service->workers, service->worker_count, &service->gate, STILL_US))
            workers_release(&service->gate, false);
        limits_take_back(service->limits);
        watchdog_bear(service->watchdog, 0);
        deploy_desk_hand_over(service_deploy_desk(service), false);
        workers_release(&service->gate, true);
    }
    if (service->jobs)
        jobs_resume(service->jobs);
    batches_shut(service->batches, false);
    set_turn(service, TURN_NONE);
    log_line(LOG_INFO, "service", "goes on to serve");
    if (service->drain_waits)
        service_drain(service);
    service->drain_waits = false;
}

bool service_may_drain(struct service *service)
{
    enum service_turn turn = atomic_load(&service->turn);
    /* The other may be about to serve: only one may let clients in. */
    service->drain_waits = turn == TURN_HANDED;
    if (turn == TURN_PREPARING || turn == TURN_PREPARED)
        resume(service);
    return turn != TURN_HANDED;
}

bool service_passes_drain_on(const struct service *service)
{
    if (atomic_load(&service->turn) != TURN_LEAVING)
        return false;
    say(service, SAY_DRAINING, NULL);
    return true;
}

static void refuse(struct service *service, const char *why)
{
    resume(service);
    say(service, SAY_UNABLE, why);
}

static const char batches_run[] =
    "batches are under way at providers, and are not handed over: wait for their end, or drain and "
    "start anew";

static void prepare(struct service *service)
{
    if (service->phase != SERVICE_SERVING) {
        say(service, SAY_UNABLE, "it is draining");
        return;
    }
    set_turn(service, TURN_PREPARING);
    service->turn_until_us = clock_now_us() + (uint64_t)service->config->grace_us;
    batches_shut(service->batches, true);
    if (service->config->store.is_redis)
        refuse(service, "limits that nodes share in Redis are not handed over: drain this node, "
                        "and start the new one");
    else if (batches_open(service->batches) > 0)
        refuse(service, batches_run);
    else if (service->jobs)
        jobs_drain(service->jobs);
}

/* What must not be cut in two: changes through the API, jobs, which would be made twice, and
 * batches that are being submitted, which nobody would ask after. */
static void look_whether_prepared(struct service *service)
{
    char why[REASON_BYTES];
    struct jobs_figures jobs = {0};
    if (service->jobs)
        jobs = jobs_figures(service->jobs);
    unsigned submitting = batches_submitting(service->batches);
    if (submitting == 0 && batches_open(service->batches) > 0) {
        refuse(service, batches_run);
    } else if (jobs.running == 0 && submitting == 0 && atomic_load(&service->changing) == 0) {
        set_turn(service, TURN_PREPARED);
        say(service, SAY_PREPARED, NULL);
    } else if (clock_now_us() >= service->turn_until_us) {
        snprintf(why, sizeof why,
                 "%u jobs still run, and %u batches are still submitted, longer than "
                 "shutdown.grace",
                 jobs.running, submitting);
        refuse(service, why);
    }
}

/* A worker may be slow; who waits for it meanwhile does so for a moment only. */
static bool stand_still(struct service *service)
{
    for (int i = 0; i < STILL_TRIES; i++) {
        if (workers_hold(service->workers, service->worker_count, &service->gate, STILL_US))
            return true;
        workers_release(&service->gate, true);
    }
    workers_hold(service->workers, service->worker_count, &service->gate, 0); /* to be released */
    return false;
}

static void hand_over(struct service *service, int link)
{
    struct fault fault = {0};
    char closed[24];
    if (atomic_load(&service->turn) != TURN_PREPARED || service->phase != SERVICE_SERVING ||
        link < 0) {
        if (link >= 0)
            close(link);
        say(service, SAY_UNABLE, "it is not prepared");
        return;
    }
    service_keep_spent(service);
    service_keep_verdicts(service);
    ledger_catch_up(service->ledger, CATCH_UP_US); /* what was made here is there to be found */
    struct directory *directory = service_directory(service);
    struct counters_in_force *counters = counters_in_force_new(directory);
    struct bequest which = {counters_in_force_has, counters};
    directory_unref(directory);
    uint64_t begun = clock_now_us();
    bool good = batches_open(service->batches) == 0 && stand_still(service);
    if (!good) {
        close(link);
        fault_set(&fault, FAULT_INTERNAL, "%s",
                  batches_open(service->batches) > 0 ? batches_run
                                                     : "a worker is busy for seconds");
    } else {
        if (service->jobs)
            jobs_hand_over(service->jobs);
        good = limits_bequeath(service->limits, &which, link, &fault);
    }
    if (good) {
        deploy_desk_hand_over(service_deploy_desk(service), true);
        set_turn(service, TURN_HANDED);
        watchdog_bear(service->watchdog, BEAR_US);
    }
    workers_release(&service->gate, !good);
    counters_in_force_free(counters);
    snprintf(closed, sizeof closed, "%llu", (unsigned long long)(clock_now_us() - begun));
    if (good)
        say(service, SAY_HANDED, closed);
    else
        refuse(service, fault.text);
}

static void leave(struct service *service)
{
    if (atomic_load(&service->turn) != TURN_HANDED)
        return;
    limits_passed_on(service->limits);
    set_turn(service, TURN_LEAVING);
    if (service->drain_waits) /* it is for the other now */
        service_passes_drain_on(service);
    service->drain_waits = false;
    service_leave(service);
}

bool service_hear_upgrade(struct service *service, char word, int passed)
{
    switch (word) {
    case SAY_PREPARE:
        prepare(service);
        return true;
    case SAY_HAND_OVER:
        hand_over(service, passed);
        return true;
    case SAY_RESUME:
        if (atomic_load(&service->turn) != TURN_NONE)
            resume(service);
        return true;
    case SAY_LEAVE:
        leave(service);
        return true;
    default:
        return false;
    }
}

int service_keep_turn(struct service *service)
{
    if (atomic_load(&service->turn) != TURN_PREPARING)
        return -1;
    look_whether_prepared(service);
    return atomic_load(&service->turn) == TURN_PREPARING ? LOOK_MS : -1;
}

/* ---------------------------------------------------------------------------- the new one */

/* Wait for <word>. False: the supervisor wants nothing of us any more, or nothing comes. */
static bool await(const struct service *service, char word, int64_t wait_us)
{
    char message[CHANNEL_BYTES];
    uint64_t until = clock_now_us() + (uint64_t)wait_us;
    int passed;
    for (;;) {
        ssize_t len = channel_hear(service->options->channel, message, &passed);
        if (passed >= 0)
            close(passed);
        if (len > 0 && message[0] == word)
            return true;
        if (len == 0 || (len > 0 && (message[0] == SAY_STOP || message[0] == SAY_DRAIN)))
            return false;
        uint64_t now = clock_now_us();
        struct pollfd some = {.fd = service->options->channel, .events = POLLIN};
        if (now >= until)
            return false;
        if (len < 0)
            poll(&some, 1, (int)((until - now) / 1000) + 1);
    }
}

void service_cannot_start(const struct service *service, const char *why)
{
    log_line(LOG_ERROR, "service", "not started: %s", why);
    if (service->options->follows)
        say(service, SAY_UNABLE, why);
}

bool service_take_over(struct service *service)
{
    struct fault fault = {0};
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    channel_say(service->options->channel, SAY_WARM, PROGRAM_VERSION, self);
    if (self >= 0)
        close(self);
    if (!await(service, SAY_TAKE, TURN_US))
        return false;
    if (limits_inherit(service->limits, service->options->link, INHERIT_US, &fault) &&
        limits_answer(service->limits))
        return true;
    service_cannot_start(service, fault.text);
    return false;
}

bool service_await_accept(struct service *service)
{
    say(service, SAY_READY, NULL);
    return await(service, SAY_ACCEPT, ACCEPT_US);
}
