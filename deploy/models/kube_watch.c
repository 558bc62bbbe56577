/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "deploy/models/kube_inside.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    LOOK_MAX = 64 * 1024 * 1024,
    WATCH_SECONDS = 60, /* then the server ends a watch, and another one goes on */
    WATCH_QUIET_US = 75000000,
    EXPLAIN_US = 10000000, /* one that waits so long is asked why */
};

/* ---------------------------------------------------------------------- what a pod tells */

static void tell_running(struct launch *launch, const struct kube_pod *pod)
{
    struct launch_report report = {.stage = LAUNCH_RUNNING, .progress_permille = -1};
    if (!*pod->host) /* it gets its address in a moment */
        return;
    snprintf(report.address.host, sizeof(report.address.host), "%s", pod->host);
    report.address.port = (uint16_t)launch->port;
    if (!launch->running_told || launch->is_lost) {
        launch->is_lost = false;
        launch->running_told = true;
        timer_stop(&launch->why_timer);
        kube_tell_report(launch, &report);
        kube_follow_log(launch);
    }
}

static void tell_ended(struct launch *launch, const struct kube_pod *pod)
{
    struct launch_report report = {.stage = LAUNCH_ENDED,
                                   .progress_permille = -1,
                                   .exit_code = pod->exit_code,
                                   .signal = pod->signal,
                                   .oom = pod->oom,
                                   .is_final = pod->is_final};
    snprintf(report.reason, sizeof(report.reason), "%s",
             launch->wants_stop ? "stopped" : pod->reason);
    snprintf(report.words, sizeof(report.words), "%s", pod->words);
    kube_end(launch, launch->has_final ? &launch->final : &report);
}

static void tell_pending(struct launch *launch, const struct kube_pod *pod)
{
    bool is_new = strcmp(pod->reason, launch->last.reason) != 0 ||
                  strcmp(pod->words, launch->last.words) != 0 || !launch->seen;
    if (pod->is_final && !launch->wants_stop) { /* it would wait for ever */
        launch->has_final = true;
        launch->final = (struct launch_report){
            .stage = LAUNCH_ENDED, .progress_permille = -1, .exit_code = -1, .is_final = true};
        snprintf(launch->final.reason, sizeof(launch->final.reason), "%s", pod->reason);
        snprintf(launch->final.words, sizeof(launch->final.words), "%s", pod->words);
        launch->wants_stop = true;
        launch->grace_us = 0;
        kube_delete_pod(launch);
        return;
    }
    if (is_new || launch->is_lost)
        kube_tell(launch,
                  strcmp(pod->reason, "pull_failed") == 0 || strcmp(pod->reason, "creating") == 0
                      ? LAUNCH_PULLING
                      : LAUNCH_PLACING,
                  *pod->reason ? pod->reason : "waiting", pod->words);
    launch->is_lost = false;
    if (!launch->why_timer.due_us && !launch->why_call)
        timer_set(launch->launcher->site.loop, &launch->why_timer,
                  kube_soon(launch->launcher, EXPLAIN_US));
}

void kube_hear(struct launch *launch, const struct kube_pod *pod)
{
    launch->is_there = true;
    snprintf(launch->container, sizeof(launch->container), "%s",
             *pod->container ? pod->container : "server");
    if (pod->port)
        launch->port = pod->port;
    if (launch->state == POD_SECRET || launch->state == POD_MAKING) {
        launch->state = POD_MADE; /* the watch was faster than the answer */
        timer_stop(&launch->again);
        if (launch->wants_stop && !launch->stop_asked)
            kube_delete_pod(launch);
    }
    if (launch->state == POD_MADE) {
        if (pod->phase == KUBE_ENDED)
            tell_ended(launch, pod);
        else if (pod->phase == KUBE_RUNNING)
            tell_running(launch, pod);
        else
            tell_pending(launch, pod);
    }
    launch->last = *pod;
    launch->seen = true;
}

void kube_hear_again(struct launch *launch)
{
    struct kube_pod *pod = memory_new(sizeof(*pod));
    *pod = launch->last;
    kube_hear(launch, pod);
    memory_free(pod);
}

/* ------------------------------------------------------------------------------ the watch */

static struct launch *launch_of(struct launcher *launcher, const char *pod)
{
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (!launch->forgotten && strcmp(launch->pod, pod) == 0)
            return launch;
    }
    return NULL;
}

/* One of ours that nobody here started: from before a restart. */
static void meet(struct launcher *launcher, const struct kube_pod *pod)
{
    struct launch *launch = kube_new_launch(launcher, &pod->launch);
    launch->state = POD_FOUND;
    snprintf(launch->pod, sizeof(launch->pod), "%s", pod->name);
    launch->is_there = launch->seen = true;
    launch->last = *pod;
    launch->port = pod->port ? pod->port : LAUNCH_BOX_PORT;
    if (*pod->workload)
        workload_join(launch, pod->workload);
    launcher->site.ears.on_found(launcher->site.ears.with, launcher, &launch->name, launch);
}

static void on_listed(void *with, const struct kube_pod *pod)
{
    struct launcher *launcher = with;
    struct launch *launch = launch_of(launcher, pod->name);
    if (launch) {
        if (launch->state != POD_CLAIMING) /* the answer to that tells */
            kube_hear(launch, pod);
        launch->seen = true;
    } else if (!pod->is_deleting && *pod->launch.deployment) {
        meet(launcher, pod);
    }
}

void kube_on_event_line(void *with, struct text line)
{
    struct launcher *launcher = with;
    struct kube_event *event = memory_new(sizeof(*event));
    if (line.len > 0 && kube_read_event(line, event)) {
        struct launch *launch =
            event->change <= KUBE_DELETED ? launch_of(launcher, event->pod.name) : NULL;
        if (event->change == KUBE_ERROR) {
            launcher->is_stale = true;
        } else {
            if (*event->version)
                memcpy(launcher->version, event->version, sizeof(launcher->version));
            if (launch && launch->state != POD_CLAIMING && event->change == KUBE_DELETED) {
                launch->is_there = false;
                if (launch->state != POD_OVER)
                    kube_end_gone(launch);
            } else if (launch && launch->state != POD_CLAIMING) {
                kube_hear(launch, &event->pod);
            }
        }
    }
    memory_free(event);
}

static void on_watch_piece(void *with, struct text piece)
{
    struct launcher *launcher = with;
    line_cut_feed(&launcher->events, piece);
}

static void tell_looked(struct launcher *launcher, bool reachable)
{
    if (launcher->looked && launcher->has_been_reached == reachable)
        return;
    launcher->looked = true;
    launcher->has_been_reached = reachable;
    launcher->site.ears.on_looked(launcher->site.ears.with, launcher, reachable);
}

/* The API is away. What runs, runs on: its node does not need it. */
static void lose(struct launcher *launcher, const char *why)
{
    log_line(launcher->failures == 0 ? LOG_WARN : LOG_DEBUG, "kubernetes",
             "the API server of %s: %s", launcher->name_space, why);
    if (launcher->failures++ > 0 && !launcher->is_away) { /* once may be a hiccup */
        launcher->is_away = true;
        for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
            struct launch *launch = LIST_MEMBER(at, struct launch, link);
            if (launch->state == POD_MADE) {
                launch->is_lost = true;
                kube_tell(launch, LAUNCH_LOST, "api_unreachable", why);
            }
        }
        tell_looked(launcher, false);
    }
    timer_set(launcher->site.loop, &launcher->again,
              kube_soon(launcher, kube_back_off(launcher->failures)));
}

static void on_watch_end(void *with, const struct remote_answer *answer)
{
    struct launcher *launcher = with;
    launcher->watching = NULL;
    line_cut_end(&launcher->events);
    if (answer->status == 410 || answer->status / 100 == 4)
        launcher->is_stale = true;
    if (answer->status == 401)
        kube_read_token(launcher);
    if (answer->status != 200 && answer->status != 410) {
        lose(launcher, answer->why ? answer->why : "the watch is refused");
        return;
    }
    /* Ended in its time, or cut: what has happened since is told by the next one. */
    timer_set(launcher->site.loop, &launcher->again,
              kube_soon(launcher, launcher->is_stale ? 0 : 200000));
}

static void watch(struct launcher *launcher)
{
    char path[KUBE_PATH_BYTES], tail[512];
    snprintf(tail, sizeof(tail),
             "?watch=1&labelSelector=sluice.owner%%3D%s&resourceVersion=%s&allowWatchBookmarks=true"
             "&timeoutSeconds=%d",
             launcher->owner, launcher->version, (int)WATCH_SECONDS);
    struct remote_question question = {.method = METHOD_GET,
                                       .path = kube_path(launcher, path, "pods", "", tail),
                                       .timeout_us = KUBE_ASK_US,
                                       .quiet_us = WATCH_QUIET_US,
                                       .on_piece = on_watch_piece,
                                       .on_done = on_watch_end,
                                       .with = launcher};
    launcher->watching = remote_ask(launcher->remote, &question);
}

/* What the list does not have is over, unless it is only being made. */
static void miss(struct launcher *launcher)
{
    for (struct link *at = launcher->launches.next, *next; at != &launcher->launches; at = next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        next = at->next;
        if (!launch->seen && launch->state == POD_MADE)
            kube_end_gone(launch);
        else if (!launch->seen && launch->state == POD_OVER)
            launch->is_there = false;
    }
}

static void on_list(void *with, const struct remote_answer *answer)
{
    struct launcher *launcher = with;
    launcher->looking = NULL;
    if (answer->status == 401)
        kube_read_token(launcher);
    if (!remote_is_well(answer)) {
        char words[LAUNCH_WORDS_MAX], reason[LAUNCH_REASON_MAX];
        kube_read_error(answer->body, answer->status, words, reason);
        lose(launcher, answer->why ? answer->why : words);
        return;
    }
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next)
        LIST_MEMBER(at, struct launch, link)->seen = false;
    if (!kube_read_list(answer->body, launcher->version, on_listed, launcher)) {
        lose(launcher, "what it answers is no list of pods");
        return;
    }
    miss(launcher);
    launcher->failures = 0;
    launcher->is_away = launcher->is_stale = false;
    tell_looked(launcher, true);
    watch(launcher);
}

void kube_look(struct launcher *launcher)
{
    char path[KUBE_PATH_BYTES], tail[160];
    snprintf(tail, sizeof(tail), "?labelSelector=sluice.owner%%3D%s", launcher->owner);
    struct remote_question question = {.method = METHOD_GET,
                                       .path = kube_path(launcher, path, "pods", "", tail),
                                       .answer_max = LOOK_MAX,
                                       .timeout_us = KUBE_ASK_US,
                                       .on_done = on_list,
                                       .with = launcher};
    launcher->looking = remote_ask(launcher->remote, &question);
}

void kube_on_again(struct timer *timer)
{
    struct launcher *launcher = LIST_MEMBER(timer, struct launcher, again);
    if (launcher->is_stale || launcher->failures > 0 || !*launcher->version)
        kube_look(launcher);
    else
        watch(launcher);
}
