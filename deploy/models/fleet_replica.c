/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one replica. */
#include <assert.h>
#include <stdio.h>

#include "deploy/models/fleet_inside.h"
#include "gateway/base/memory.h"

enum {
    LOST_PATIENCE_US = MINUTE_US, /* for an engine that is away, with a replica that is silent */
    STOP_TRIES = 3,
    PORT_AGAIN_US = SECOND_US / 100,
    JITTER_PERCENT = 10,
    MARGIN_PERCENT = 5, /* over the most memory that was seen */
    OOM_PERCENT = 20,
};

#define TO(state) (1U << REPLICA_##state)

/*
 * The diagram. <holds>: it has room on its node. A state with room may end in STOPPING, and in
 * ENDED or BACKOFF when its launcher says that it is over.
 */
/* clang-format off */
static const struct {
    const char *name;
    bool holds;
    unsigned leads_to;
} states[REPLICA_STATES] = {
    [REPLICA_PENDING]   = {"pending",   false, TO(LAUNCHING) | TO(ENDED) | TO(LOADING) /* adopted */},
    [REPLICA_LAUNCHING] = {"launching", true,  TO(LOADING) | TO(LOST) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_LOADING]   = {"loading",   true,  TO(READY) | TO(LOST) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_READY]     = {"ready",     true,  TO(UNREADY) | TO(DRAINING) | TO(LOST) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_UNREADY]   = {"unready",   true,  TO(READY) | TO(DRAINING) | TO(LOST) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_SLEEPING]  = {"sleeping",  true,  TO(LOADING) | TO(LOST) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_DRAINING]  = {"draining",  true,  TO(READY) | TO(SLEEPING) | TO(STOPPING) | TO(ENDED)},
    [REPLICA_STOPPING]  = {"stopping",  true,  TO(BACKOFF) | TO(ENDED)},
    [REPLICA_LOST]      = {"lost",      true,  TO(LAUNCHING) | TO(LOADING) | TO(READY) | TO(UNREADY) | TO(SLEEPING) |
                                               TO(DRAINING) | TO(STOPPING) | TO(BACKOFF) | TO(ENDED)},
    [REPLICA_BACKOFF]   = {"backoff",   false, TO(PENDING) | TO(ENDED)},
    [REPLICA_ENDED]     = {"ended",     false, 0},
};
/* clang-format on */

const char *replica_state_name(enum replica_state state)
{
    return states[state].name;
}

bool replica_holds(enum replica_state state)
{
    return states[state].holds;
}

bool replica_may(enum replica_state from, enum replica_state to)
{
    return (states[from].leads_to & (1U << to)) != 0;
}

static void say(struct replica *one, const char *reason, const char *words)
{
    if (reason && reason != one->r.reason)
        snprintf(one->r.reason, sizeof(one->r.reason), "%s", reason);
    if (words && words != one->r.words)
        snprintf(one->r.words, sizeof(one->r.words), "%s", words);
}

static void set_open(struct fleet *fleet, struct replica *one, bool open)
{
    if (one->is_open == open)
        return;
    one->is_open = open;
    one->told_since_close = false;
    if (open)
        fleet->hands.open(fleet->hands.with, &one->r);
    else
        fleet->hands.close(fleet->hands.with, &one->r);
}

/* Why it ended stays its reason until it runs again, and is told once. */
static const char *news_of(const struct replica *one)
{
    if (one->crashes > 0 && one->r.state == REPLICA_PENDING)
        return "tried_again";
    return one->crashes > 0 && one->r.state == REPLICA_LAUNCHING ? "launching" : one->r.reason;
}

/* <reason> NULL = it stays the same. */
void replica_move(struct fleet *fleet, struct replica *one, enum replica_state to, uint64_t due_us,
                  const char *reason, uint64_t now_us)
{
    bool held = replica_holds(one->r.state);
    assert(replica_may(one->r.state, to));
    if (to != REPLICA_READY && to != REPLICA_LOST)
        set_open(fleet, one, false);
    if (to == REPLICA_LOST)
        one->before = one->r.state;
    one->r.state = to;
    one->r.since_us = now_us;
    one->r.due_us = due_us;
    one->bad_probes = 0;
    say(one, reason, to == REPLICA_READY ? "" : NULL); /* what was wrong is over */
    if (held && !replica_holds(to))
        place_release(fleet, one);
    if (to != REPLICA_PENDING)
        place_unpromise(fleet, one);
    fleet_event(fleet, one->of, one->r.number, news_of(one), one->r.words);
}

struct replica *replica_new(struct fleet *fleet, struct fleet_deployment *deployment,
                            const struct revision *revision, const char *reason, uint64_t now_us)
{
    struct replica *one = memory_new(sizeof(*one));
    one->of = deployment;
    one->r.number = fleet->number++;
    one->r.spec = spec_ref(revision->spec);
    one->r.revision = revision->number;
    one->r.state = REPLICA_PENDING;
    one->r.since_us = one->asked_us = now_us;
    one->r.due_us = now_us + MINUTE_US;
    one->r.progress_permille = -1;
    say(one, reason, "");
    list_push_front(&deployment->replicas, &one->link);
    fleet_event(fleet, deployment, one->r.number, one->r.reason, "");
    return one;
}

void replica_free(struct replica *one)
{
    list_remove(&one->link);
    spec_unref(one->r.spec);
    memory_free(one);
}

/* ------------------------------------------------------------------------------ deadlines */

static uint64_t start_due(const struct replica *one, uint64_t now_us)
{
    int64_t timeout = one->r.spec->probe.start_timeout_us;
    return now_us + (uint64_t)(timeout > 0 ? timeout : SECOND_US);
}

static unsigned failures_of(const struct replica *one)
{
    return one->r.spec->probe.failures ? one->r.spec->probe.failures : 1;
}

/* When nobody has told what its probes say by then, nobody asks it. */
static uint64_t silence_due(const struct replica *one, uint64_t now_us)
{
    int64_t liveness = one->r.spec->probe.liveness_us;
    return now_us + (uint64_t)(liveness > 0 ? liveness : SECOND_US) * (failures_of(one) + 2) +
           STOP_SLACK_US;
}

static uint64_t lost_due(uint64_t now_us)
{
    return now_us + LOST_PATIENCE_US;
}

/* ------------------------------------------------------------------------------- the ends */

static void end(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    replica_move(fleet, one, REPLICA_ENDED, now_us + ENDED_KEPT_US, reason, now_us);
}

/* Its launch is over, whatever comes after. */
static void forget(struct fleet *fleet, struct replica *one)
{
    set_open(fleet, one, false);
    fleet->hands.forget(fleet->hands.with, &one->r);
    one->r.launch = NULL;
    one->r.in_flight = 0;
    one->r.probed_ok = false;
    one->r.progress_permille = -1;
}

void replica_abandon(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    if (!replica_holds(one->r.state))
        return;
    forget(fleet, one);
    end(fleet, one, "handed_over", now_us);
}

static uint64_t backoff_us(struct fleet *fleet, const struct replica *one)
{
    int64_t delay = one->r.spec->restart.backoff_us, max = one->r.spec->restart.max_backoff_us;
    delay = delay > 0 ? delay : SECOND_US;
    max = max > delay ? max : delay;
    for (unsigned i = 1; i < one->crashes && delay < max; i++)
        delay = delay > max / 2 ? max : delay * 2;
    int64_t jitter = delay / 100 * JITTER_PERCENT;
    return (uint64_t)(delay - jitter) + fleet_chance(fleet) % (uint64_t)(2 * jitter + 1);
}

static bool is_called(const char *reason, const char *word)
{
    size_t len = strlen(word);
    return strncmp(reason, word, len) == 0 && (reason[len] == 0 || reason[len] == ':');
}

static void learn_memory(struct replica *one, int64_t bytes)
{
    if (bytes > one->of->learned_bytes)
        one->of->learned_bytes = bytes;
}

static bool may_go_on(const struct fleet *fleet, const struct replica *one)
{
    return !fleet->shut && !one->of->removed && !one->of->stopped &&
           roll_revision(one->of, one->r.revision) != NULL;
}

static void give_up(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    char why[FLEET_REASON_MAX];
    struct fleet_deployment *deployment = one->of;
    unsigned revision = one->r.revision;
    snprintf(why, sizeof(why), "launch_failed:%.64s", reason);
    end(fleet, one, reason, now_us);
    roll_failed(fleet, deployment, revision, why, now_us);
}

/* It ended though nobody asked. */
static void crash(struct fleet *fleet, struct replica *one, const char *reason, bool is_final,
                  uint64_t now_us)
{
    char why[FLEET_REASON_MAX];
    snprintf(why, sizeof(why), "%s", reason[0] ? reason : "exit");
    forget(fleet, one);
    if (!may_go_on(fleet, one)) {
        end(fleet, one, why, now_us);
        return;
    }
    if (is_final) {
        give_up(fleet, one, why, now_us);
        return;
    }
    if (is_called(why, "port_taken") && one->port_tries++ < PORT_TRIES) {
        replica_move(fleet, one, REPLICA_BACKOFF, now_us + PORT_AGAIN_US, why, now_us);
        return;
    }
    one->crashes++;
    one->r.restarts++;
    one->of->restarts++;
    one->was_ready = one->adopted = one->woken = false;
    if (one->of->last_try || one->crashes > one->r.spec->restart.max_restarts) {
        give_up(fleet, one, why, now_us);
        return;
    }
    replica_move(fleet, one, REPLICA_BACKOFF, now_us + backoff_us(fleet, one), why, now_us);
}

static void report_end(struct fleet *fleet, struct replica *one, const struct launch_report *report,
                       uint64_t now_us)
{
    char why[FLEET_REASON_MAX];
    bool asked = one->r.state == REPLICA_STOPPING || one->r.state == REPLICA_DRAINING;
    if (one->r.state == REPLICA_PENDING || one->r.state == REPLICA_BACKOFF ||
        one->r.state == REPLICA_ENDED)
        return; /* of a launch that was given up */
    if (report->oom)
        learn_memory(one, one->reserved.memory_bytes / 100 * (100 + OOM_PERCENT));
    if (asked && one->retry) {
        one->retry = false;
        snprintf(why, sizeof(why), "%s", one->r.reason);
        crash(fleet, one, why, false, now_us);
        return;
    }
    if (asked) {
        forget(fleet, one);
        end(fleet, one, NULL, now_us);
        return;
    }
    say(one, NULL, report->words);
    if (report->oom)
        snprintf(why, sizeof(why), "oom_killed");
    else if (report->reason[0] && !is_called(report->reason, "exit") &&
             !is_called(report->reason, "signal"))
        snprintf(why, sizeof(why), "%s", report->reason);
    else if (report->signal)
        snprintf(why, sizeof(why), "signal:%d", report->signal);
    else
        snprintf(why, sizeof(why), "exit:%d", report->exit_code);
    crash(fleet, one, why, report->is_final, now_us);
}

/* ---------------------------------------------------------------------------------- asking */

void replica_launch(struct fleet *fleet, struct replica *one, unsigned node,
                    const struct resources *need, uint64_t now_us)
{
    one->r.node = node;
    one->reserved = *need;
    place_reserve(fleet, one);
    one->r.launched_us = now_us;
    one->r.ready_us = 0;
    replica_move(fleet, one, REPLICA_LAUNCHING, start_due(one, now_us), NULL, now_us);
    fleet->hands.launch(fleet->hands.with, &one->r);
}

void replica_adopt(struct fleet *fleet, struct replica *one, unsigned node,
                   const struct resources *need, uint64_t now_us)
{
    one->r.node = node;
    one->reserved = *need;
    one->adopted = true;
    place_reserve(fleet, one);
    one->r.launched_us = now_us;
    replica_move(fleet, one, REPLICA_LOADING, start_due(one, now_us), "adopted", now_us);
}

void replica_stop(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    int64_t grace = one->r.spec->stop.grace_us > 0 ? one->r.spec->stop.grace_us : 0;
    one->stop_tries = 0;
    replica_move(fleet, one, REPLICA_STOPPING, now_us + (uint64_t)grace + STOP_SLACK_US, reason,
                 now_us);
    fleet->hands.stop(fleet->hands.with, &one->r, grace);
}

/* Whoever may have calls on it is drained first. */
static void drain(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    int64_t drain_us = one->r.spec->stop.drain_us > 0 ? one->r.spec->stop.drain_us : 1;
    replica_move(fleet, one, REPLICA_DRAINING, now_us + (uint64_t)drain_us, reason, now_us);
}

void replica_retire(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    one->revivable = one->then_sleep = one->retry = false;
    switch (one->r.state) {
    case REPLICA_PENDING:
    case REPLICA_BACKOFF:
        end(fleet, one, reason, now_us);
        return;
    case REPLICA_READY:
    case REPLICA_UNREADY:
        drain(fleet, one, reason, now_us);
        return;
    case REPLICA_LOST:
        if (one->was_ready)
            drain(fleet, one, reason, now_us);
        else
            replica_stop(fleet, one, reason, now_us);
        return;
    case REPLICA_LAUNCHING:
    case REPLICA_LOADING:
    case REPLICA_SLEEPING:
        replica_stop(fleet, one, reason, now_us);
        return;
    case REPLICA_DRAINING:
    case REPLICA_STOPPING:
    case REPLICA_ENDED:
    case REPLICA_STATES:
        return;
    }
}

void replica_sleep(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    if (one->r.state != REPLICA_READY)
        return;
    drain(fleet, one, reason, now_us);
    one->then_sleep = true;
}

void replica_wake(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    one->woken = true;
    one->r.probed_ok = false;
    replica_move(fleet, one, REPLICA_LOADING, start_due(one, now_us), reason, now_us);
    fleet->hands.wake(fleet->hands.with, &one->r);
}

void replica_revive(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us)
{
    one->revivable = one->then_sleep = false;
    replica_move(fleet, one, REPLICA_READY, silence_due(one, now_us), reason, now_us);
    set_open(fleet, one, true);
}

static void drained(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    if (!one->then_sleep) {
        replica_stop(fleet, one, NULL, now_us);
        return;
    }
    int64_t idle = one->of->spec->scaling.idle_stop_us;
    one->then_sleep = false;
    replica_move(fleet, one, REPLICA_SLEEPING, now_us + (uint64_t)(idle > 0 ? idle : MINUTE_US),
                 NULL, now_us);
    fleet->hands.sleep(fleet->hands.with, &one->r);
}

/* ------------------------------------------------------------------------------------ facts */

static void is_ready(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    struct revision *revision = roll_revision(one->of, one->r.revision);
    one->was_ready = true;
    one->port_tries = 0;
    one->r.progress_permille = -1;
    if (one->r.ready_us == 0 && !one->adopted && !one->woken)
        look_started(one->of, (int64_t)(now_us - one->r.launched_us));
    one->r.ready_us = now_us;
    one->r.used_us = now_us;
    one->woken = false;
    if (revision)
        revision->proven = true;
    if (!revision || revision == &one->of->stable) {
        one->of->failed = one->of->last_try = false;
        one->of->ordered = false;
    }
    replica_move(fleet, one, REPLICA_READY, silence_due(one, now_us), "ready", now_us);
    set_open(fleet, one, true);
}

static void found_again(struct fleet *fleet, struct replica *one, bool runs, uint64_t now_us)
{
    if (one->before == REPLICA_SLEEPING) {
        replica_move(fleet, one, REPLICA_SLEEPING, lost_due(now_us), "found", now_us);
        return;
    }
    if (one->before != REPLICA_READY && one->before != REPLICA_UNREADY) {
        replica_move(fleet, one, runs ? REPLICA_LOADING : REPLICA_LAUNCHING, start_due(one, now_us),
                     "found", now_us);
        return;
    }
    replica_move(fleet, one, one->is_open ? REPLICA_READY : REPLICA_UNREADY,
                 silence_due(one, now_us), "found", now_us);
}

static void see_progress(struct replica *one, const struct launch_report *report, uint64_t now_us)
{
    bool starts = one->r.state == REPLICA_LAUNCHING || one->r.state == REPLICA_LOADING;
    if (starts && report->progress_permille > one->r.progress_permille)
        one->r.due_us = start_due(one, now_us); /* it gets on */
    if (report->progress_permille >= 0)
        one->r.progress_permille = report->progress_permille;
    if (report->memory_bytes <= one->r.memory_peak_bytes)
        return;
    one->r.memory_peak_bytes = report->memory_bytes;
    learn_memory(one, report->memory_bytes / 100 * (100 + MARGIN_PERCENT));
}

static void see_stage(struct fleet *fleet, struct replica *one, const struct launch_report *report,
                      uint64_t now_us)
{
    bool runs = report->stage == LAUNCH_RUNNING;
    if (report->stage == LAUNCH_LOST) {
        if (one->r.state != REPLICA_LOST && replica_may(one->r.state, REPLICA_LOST))
            replica_move(fleet, one, REPLICA_LOST, lost_due(now_us), "lost", now_us);
        return;
    }
    if (one->r.state == REPLICA_LOST) {
        found_again(fleet, one, runs, now_us);
        return;
    }
    if (one->r.state != REPLICA_LAUNCHING)
        return;
    if (runs)
        replica_move(fleet, one, REPLICA_LOADING, start_due(one, now_us), "running", now_us);
    else
        say(one, report->reason[0] ? report->reason : NULL, report->words);
}

void fleet_report(struct fleet *fleet, struct fleet_replica *replica,
                  const struct launch_report *report, uint64_t now_us)
{
    struct replica *one = replica_of(replica);
    see_progress(one, report, now_us);
    if (report->stage == LAUNCH_ENDED)
        report_end(fleet, one, report, now_us);
    else
        see_stage(fleet, one, report, now_us);
    deployment_settle(fleet, one->of, now_us);
}

/* The engine's interface is away: as long as the replica itself answers, it is used. */
static void probed_lost(struct fleet *fleet, struct replica *one, bool good, uint64_t now_us)
{
    if (good) {
        one->bad_probes = 0;
        if (!one->was_ready && one->before == REPLICA_LOADING) {
            one->was_ready = true;
            one->r.ready_us = now_us;
        }
        if (one->was_ready)
            one->r.due_us = lost_due(now_us);
        if (one->was_ready && one->before != REPLICA_SLEEPING) {
            one->before = REPLICA_READY;
            set_open(fleet, one, true);
        }
        return;
    }
    if (++one->bad_probes >= failures_of(one))
        set_open(fleet, one, false);
}

void fleet_probed(struct fleet *fleet, struct fleet_replica *replica, bool good, uint64_t now_us)
{
    struct replica *one = replica_of(replica);
    one->r.probed_ok = good;
    switch (one->r.state) {
    case REPLICA_LOADING:
        if (good)
            is_ready(fleet, one, now_us);
        break;
    case REPLICA_READY:
        if (good) {
            one->bad_probes = 0;
            one->r.due_us = silence_due(one, now_us);
        } else if (++one->bad_probes >= failures_of(one)) {
            replica_move(fleet, one, REPLICA_UNREADY, silence_due(one, now_us), "probe_failed",
                         now_us);
        }
        break;
    case REPLICA_UNREADY:
        if (good) {
            replica_move(fleet, one, REPLICA_READY, silence_due(one, now_us), "probe_good", now_us);
            set_open(fleet, one, true);
        }
        break;
    case REPLICA_LOST:
        probed_lost(fleet, one, good, now_us);
        break;
    case REPLICA_PENDING:
    case REPLICA_LAUNCHING:
    case REPLICA_SLEEPING:
    case REPLICA_DRAINING:
    case REPLICA_STOPPING:
    case REPLICA_BACKOFF:
    case REPLICA_ENDED:
    case REPLICA_STATES:
        break;
    }
    deployment_settle(fleet, one->of, now_us);
}

void fleet_in_flight(struct fleet *fleet, struct fleet_replica *replica, unsigned in_flight,
                     uint64_t now_us)
{
    struct replica *one = replica_of(replica);
    if (in_flight || one->r.in_flight)
        one->r.used_us = now_us;
    one->r.in_flight = in_flight;
    one->told_since_close = true;
    if (one->r.state == REPLICA_DRAINING && in_flight == 0)
        drained(fleet, one, now_us);
}

/* ------------------------------------------------------------------------------- what is due */

static void retry_by_force(struct fleet *fleet, struct replica *one, const char *reason,
                           uint64_t now_us)
{
    replica_stop(fleet, one, reason, now_us);
    one->retry = true;
}

static void stop_is_late(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    bool reachable = fleet->nodes[one->r.node].usable || fleet->shut;
    if (++one->stop_tries < STOP_TRIES || !reachable) {
        if (one->stop_tries >= STOP_TRIES) {
            one->stop_tries = STOP_TRIES;
            one->retry = false; /* its node is away for long: one is started elsewhere */
        }
        one->r.due_us = now_us + STOP_SLACK_US * (reachable ? 1 : 3);
        fleet->hands.stop(fleet->hands.with, &one->r, 0);
        return;
    }
    forget(fleet, one);
    end(fleet, one, "stop_timeout", now_us);
}

static void sleep_is_over(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    bool idle_ends = one->of->spec->scaling.idle_stop_us > 0 && least_of(one->of) == 0;
    if (idle_ends && fleet->leads)
        replica_stop(fleet, one, "idle", now_us);
    else
        one->r.due_us = now_us + MINUTE_US;
}

/* What runs is left alone while we do not lead: it may still come right. */
static bool may_end(const struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    if (!fleet->leads && !fleet->shut)
        one->r.due_us = now_us + FLEET_TICK_US;
    return fleet->leads || fleet->shut;
}

void replica_is_due(struct fleet *fleet, struct replica *one, uint64_t now_us)
{
    switch (one->r.state) {
    case REPLICA_PENDING: /* looked at each round anyway; what waits too long: fleet_place.c */
        one->r.due_us = now_us + MINUTE_US;
        return;
    case REPLICA_LAUNCHING:
    case REPLICA_LOADING:
        if (may_end(fleet, one, now_us))
            retry_by_force(fleet, one, "start_timeout", now_us);
        return;
    case REPLICA_READY:
        replica_move(fleet, one, REPLICA_UNREADY, silence_due(one, now_us), "probe_silent", now_us);
        return;
    case REPLICA_UNREADY:
        if (may_end(fleet, one, now_us))
            retry_by_force(fleet, one, "probe_failed", now_us);
        return;
    case REPLICA_SLEEPING:
        sleep_is_over(fleet, one, now_us);
        return;
    case REPLICA_DRAINING:
        if (one->then_sleep && one->r.in_flight > 0) /* its sleep would break them off */
            replica_revive(fleet, one, "busy", now_us);
        else
            drained(fleet, one, now_us);
        return;
    case REPLICA_STOPPING:
        stop_is_late(fleet, one, now_us);
        return;
    case REPLICA_LOST:
        if (one->before == REPLICA_SLEEPING && !fleet->nodes[one->r.node].usable)
            one->r.due_us = lost_due(now_us);
        else if (may_end(fleet, one, now_us))
            retry_by_force(fleet, one, "lost", now_us);
        return;
    case REPLICA_BACKOFF:
        if (!fleet->leads) {
            one->r.due_us = now_us + FLEET_TICK_US;
            return;
        }
        one->asked_us = now_us;
        replica_move(fleet, one, REPLICA_PENDING, now_us + MINUTE_US, NULL, now_us);
        return;
    case REPLICA_ENDED:
        replica_free(one);
        return;
    case REPLICA_STATES:
        return;
    }
}
