/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launches that are pods of somebody else's Deployment (apps/v1). Nothing is made or deleted here:
 * the Deployment's scale is set to the number of launches, and a pod of its selector that stands
 * for none is claimed for one by labels, which is also how it is found again after a restart. From
 * then on it is watched as pods of our own are. A launch that is to end makes its pod the first to
 * go, and then the scale gets smaller; which pod goes is the controller's decision.
 *
 * Bounds: one question per Deployment at a time; pods are listed only while a launch has none.
 */
#include <stdio.h>

#include "deploy/models/kube_inside.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/memory.h"

enum {
    PODS_MAX = 16 * 1024 * 1024,
    PODS_AGAIN_US = 500000, /* a pod is awaited */
    SPARE_US = 30000000,    /* what died comes back, or does not */
};

struct workload {
    struct grave grave;
    struct link link;
    struct launcher *launcher;
    char name[KUBE_LABEL_MAX + 1];
    char selector[KUBE_SELECTOR_MAX];
    struct remote_call *call;
    struct timer again;
    unsigned launches, failures;
    unsigned spare; /* more than the launches: of pods that died, which their controller replaces */
    uint64_t spare_until_us;
    bool poked; /* while a question was under way */
};

static void look(struct workload *workload);

/* ------------------------------------------------------------------------------ its launches */

/* <after> NULL = the first. */
static struct launch *next_of(const struct workload *workload, const struct launch *after)
{
    const struct link *all = &workload->launcher->launches;
    for (struct link *at = after ? after->link.next : all->next; at != all; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (launch->workload == workload)
            return launch;
    }
    return NULL;
}

static bool has_no_pod(const struct launch *launch)
{
    return launch->state == POD_CLAIMING && !launch->pod[0] && !launch->wants_stop;
}

static unsigned wanted_of(struct workload *workload)
{
    if (workload->spare && kube_soon(workload->launcher, 0) >= workload->spare_until_us)
        workload->spare = 0;
    unsigned count = workload->spare;
    for (struct launch *launch = next_of(workload, NULL); launch;
         launch = next_of(workload, launch))
        count += !launch->released && (launch->state != POD_OVER || launch->is_there);
    return count;
}

static bool somebody_waits(const struct workload *workload)
{
    for (struct launch *launch = next_of(workload, NULL); launch;
         launch = next_of(workload, launch))
        if (has_no_pod(launch))
            return true;
    return false;
}

static void tell_waiting(struct workload *workload, const char *reason, const char *words)
{
    for (struct launch *launch = next_of(workload, NULL); launch;
         launch = next_of(workload, launch))
        if (has_no_pod(launch) && strcmp(launch->last.words, words) != 0) {
            snprintf(launch->last.words, sizeof(launch->last.words), "%s", words);
            kube_tell(launch, LAUNCH_PLACING, reason, words);
        }
}

static void end_waiting(struct workload *workload, const char *reason, const char *words)
{
    for (struct launch *launch = next_of(workload, NULL), *next; launch; launch = next) {
        next = next_of(workload, launch); /* who hears it may forget it */
        if (has_no_pod(launch)) {
            launch->released = true;
            kube_end_with(launch, reason, words, true);
        }
    }
}

/* ----------------------------------------------------------------------------------- asking */

static struct text scale_path(const struct workload *workload, char room[KUBE_PATH_BYTES])
{
    snprintf(room, KUBE_PATH_BYTES, "/apis/apps/v1/namespaces/%s/deployments/%s/scale",
             workload->launcher->name_space, workload->name);
    return text_of(room);
}

static void wait(struct workload *workload, int64_t us)
{
    timer_stop(&workload->again);
    timer_set(workload->launcher->site.loop, &workload->again, kube_soon(workload->launcher, us));
}

static void free_workload(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct workload, grave));
}

static void drop(struct workload *workload)
{
    timer_stop(&workload->again);
    remote_drop(workload->call);
    list_remove(&workload->link);
    loop_bury(workload->launcher->site.loop, &workload->grave, free_workload);
}

/* A question is over, and no other one follows from it. */
static void rest(struct workload *workload)
{
    if (workload->poked)
        look(workload);
    else if (somebody_waits(workload))
        wait(workload, PODS_AGAIN_US);
    else if (workload->spare)
        wait(workload, (int64_t)(workload->spare_until_us - kube_soon(workload->launcher, 0)));
    else if (workload->launches == 0)
        drop(workload);
}

/* It was not answered as it should be. */
static void stumble(struct workload *workload, const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX], theirs[LAUNCH_REASON_MAX];
    kube_read_error(answer->body, answer->status, words, theirs);
    if (!answer->why && answer->status == 403)
        end_waiting(workload, "forbidden", words);
    else if (!answer->why && answer->status == 404)
        end_waiting(workload, "workload_missing", words);
    else
        tell_waiting(workload, "api_unreachable", answer->why ? answer->why : words);
    if (answer->status == 401)
        kube_read_token(workload->launcher);
    if ((answer->status == 403 || answer->status == 404) && workload->launches == 0)
        drop(workload);
    else
        wait(workload, kube_back_off(workload->failures++));
}

/* ---------------------------------------------------------------------------------- claiming */

static void on_claimed(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    struct kube_pod *pod = memory_new(sizeof(*pod));
    launch->call = NULL;
    if (remote_is_well(answer) && kube_read_pod(answer->body, pod) &&
        strcmp(pod->name, launch->pod) == 0) {
        launch->state = POD_MADE;
        launch->is_there = launch->seen = true;
        launch->failures = 0;
        if (launch->wants_stop)
            kube_delete_pod(launch);
        else
            kube_hear(launch, pod);
    } else {
        launch->pod[0] = '\0'; /* gone meanwhile, or nobody knows: the next look tells */
        if (launch->wants_stop || launch->forgotten)
            workload_stop(launch);
        else
            wait(launch->workload, kube_back_off(launch->failures++));
    }
    memory_free(pod);
}

static void claim(struct launch *launch, const struct kube_pod *pod)
{
    struct launcher *launcher = launch->launcher;
    struct kube_wish wish = {.name = &launch->name,
                             .spec = launch->spec,
                             .owner = launcher->site.owner,
                             .port = launch->port};
    char path[KUBE_PATH_BYTES];
    struct buffer body;
    buffer_init(&body, KUBE_BODY_MAX);
    snprintf(launch->pod, sizeof(launch->pod), "%s", pod->name);
    kube_write_claim(&wish, launch->workload->name, &body);
    struct remote_question question = {.method = METHOD_PATCH,
                                       .path = kube_path(launcher, path, "pods", pod->name, ""),
                                       .body = buffer_text(&body),
                                       .type = TEXT("application/merge-patch+json"),
                                       .timeout_us = KUBE_ASK_US,
                                       .on_done = on_claimed,
                                       .with = launch};
    launch->call = remote_ask(launcher->remote, &question);
    buffer_done(&body);
}

/* It stands for no launch, and not for one of another sluice. */
static bool is_free(const struct workload *workload, const struct kube_pod *pod)
{
    const struct launcher *launcher = workload->launcher;
    if (pod->is_deleting || pod->phase == KUBE_ENDED ||
        (pod->owner[0] && strcmp(pod->owner, launcher->owner) != 0))
        return false;
    for (struct launch *launch = next_of(workload, NULL); launch;
         launch = next_of(workload, launch))
        if (!launch->forgotten && strcmp(launch->pod, pod->name) == 0)
            return false;
    return true;
}

static void offer(struct workload *workload, const struct kube_pod *pod)
{
    if (!is_free(workload, pod))
        return;
    for (struct launch *launch = next_of(workload, NULL); launch;
         launch = next_of(workload, launch))
        if (has_no_pod(launch) && !launch->call) {
            claim(launch, pod);
            return;
        }
}

static void on_running_pod(void *with, const struct kube_pod *pod)
{
    if (pod->phase == KUBE_RUNNING)
        offer(with, pod);
}

static void on_any_pod(void *with, const struct kube_pod *pod)
{
    offer(with, pod);
}

static void on_pods(void *with, const struct remote_answer *answer)
{
    struct workload *workload = with;
    char version[KUBE_VERSION_MAX];
    workload->call = NULL;
    if (!remote_is_well(answer) ||
        !kube_read_list(answer->body, version, on_running_pod, workload)) {
        stumble(workload, answer);
        return;
    }
    kube_read_list(answer->body, version, on_any_pod, workload);
    rest(workload);
}

static void list_pods(struct workload *workload)
{
    char path[KUBE_PATH_BYTES];
    struct buffer query;
    buffer_init(&query, KUBE_PATH_BYTES);
    buffer_append_text(&query, TEXT("?"));
    kube_write_selector_of(text_of(workload->selector), &query);
    buffer_append(&query, "", 1);
    struct remote_question question = {
        .method = METHOD_GET,
        .path = kube_path(workload->launcher, path, "pods", "", buffer_text(&query).at),
        .answer_max = PODS_MAX,
        .timeout_us = KUBE_ASK_US,
        .on_done = on_pods,
        .with = workload};
    workload->call = remote_ask(workload->launcher->remote, &question);
    buffer_done(&query);
}

/* ----------------------------------------------------------------------------------- scaling */

static void go_on(struct workload *workload)
{
    workload->failures = 0;
    if (somebody_waits(workload))
        list_pods(workload);
    else
        rest(workload);
}

static void on_scaled(void *with, const struct remote_answer *answer)
{
    struct workload *workload = with;
    workload->call = NULL;
    if (remote_is_well(answer))
        go_on(workload);
    else
        stumble(workload, answer);
}

static void scale(struct workload *workload, unsigned wanted)
{
    char path[KUBE_PATH_BYTES];
    struct buffer body;
    buffer_init(&body, KUBE_BODY_MAX);
    kube_write_scale(wanted, &body);
    struct remote_question question = {.method = METHOD_PATCH,
                                       .path = scale_path(workload, path),
                                       .body = buffer_text(&body),
                                       .type = TEXT("application/merge-patch+json"),
                                       .timeout_us = KUBE_ASK_US,
                                       .on_done = on_scaled,
                                       .with = workload};
    workload->call = remote_ask(workload->launcher->remote, &question);
    buffer_done(&body);
}

static void on_scale(void *with, const struct remote_answer *answer)
{
    struct workload *workload = with;
    struct kube_scale now;
    char words[LAUNCH_WORDS_MAX];
    workload->call = NULL;
    if (!remote_is_well(answer) || !kube_read_scale(answer->body, &now)) {
        stumble(workload, answer);
        return;
    }
    unsigned wanted = wanted_of(workload);
    memcpy(workload->selector, now.selector, sizeof(workload->selector));
    snprintf(words, sizeof(words), "the Deployment %s has %u of %u pods", workload->name, now.there,
             wanted);
    tell_waiting(workload, "waiting", words);
    if (now.wanted != wanted)
        scale(workload, wanted);
    else
        go_on(workload);
}

static void look(struct workload *workload)
{
    char path[KUBE_PATH_BYTES];
    struct remote_question question = {.method = METHOD_GET,
                                       .path = scale_path(workload, path),
                                       .timeout_us = KUBE_ASK_US,
                                       .on_done = on_scale,
                                       .with = workload};
    workload->poked = false;
    timer_stop(&workload->again);
    workload->call = remote_ask(workload->launcher->remote, &question);
}

static void on_again(struct timer *timer)
{
    struct workload *workload = LIST_MEMBER(timer, struct workload, again);
    if (!workload->call)
        look(workload);
}

/* The number of its launches is another one. */
static void poke(struct workload *workload)
{
    workload->poked = workload->call != NULL;
    if (!workload->call)
        look(workload);
}

/* -------------------------------------------------------------------------------- the doors */

void workload_join(struct launch *launch, const char *name)
{
    struct launcher *launcher = launch->launcher;
    struct workload *workload = NULL;
    for (struct link *at = launcher->workloads.next; at != &launcher->workloads; at = at->next)
        if (strcmp(LIST_MEMBER(at, struct workload, link)->name, name) == 0)
            workload = LIST_MEMBER(at, struct workload, link);
    if (!workload) {
        workload = memory_new(sizeof(*workload));
        workload->launcher = launcher;
        workload->again.on_time = on_again;
        snprintf(workload->name, sizeof(workload->name), "%s", name);
        list_push_back(&launcher->workloads, &workload->link);
    }
    workload->launches++;
    launch->workload = workload;
    if (launch->state != POD_CLAIMING)
        return;
    workload->spare -= workload->spare > 0; /* it is the one that comes back */
    poke(workload);
}

static void expect_back(struct workload *workload)
{
    workload->spare++;
    workload->spare_until_us = kube_soon(workload->launcher, SPARE_US);
}

void workload_ended(struct launch *launch)
{
    if (launch->wants_stop || !launch->running_told || launch->released)
        return;
    launch->released = true;
    expect_back(launch->workload);
}

void workload_leave(struct launch *launch)
{
    struct workload *workload = launch->workload;
    launch->workload = NULL;
    workload->launches--;
    if (!launch->wants_stop && launch->running_told && launch->state != POD_OVER)
        expect_back(workload);
    poke(workload);
}

void workload_stop(struct launch *launch)
{
    if (launch->call) /* it is being claimed, and heard when that is over */
        return;
    launch->released = true; /* told from the loop: not from within the call that asked for it */
    timer_stop(&launch->again);
    timer_set(launch->launcher->site.loop, &launch->again, kube_soon(launch->launcher, 0));
}

void workload_end(struct launch *launch)
{
    poke(launch->workload);
    kube_end_with(launch, "stopped", "", false);
}

static void on_released(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (answer->why || (answer->status / 100 != 2 && answer->status / 100 != 4) ||
        answer->status == 401) {
        if (answer->status == 401)
            kube_read_token(launch->launcher);
        timer_set(launch->launcher->site.loop, &launch->again,
                  kube_soon(launch->launcher, kube_back_off(launch->failures++)));
        return;
    }
    launch->released = true; /* also where it may not be marked: then another one may go */
    if (answer->status == 404 && launch->state != POD_OVER && !launch->forgotten)
        kube_end_gone(launch);
    workload_release(launch);
}

void workload_release(struct launch *launch)
{
    char path[KUBE_PATH_BYTES];
    struct buffer body;
    if (launch->call)
        return;
    if (launch->released) {
        if (launch->forgotten)
            kube_bury(launch);
        else
            poke(launch->workload);
        return;
    }
    buffer_init(&body, KUBE_BODY_MAX);
    kube_write_release(&body);
    struct remote_question question = {
        .method = METHOD_PATCH,
        .path = kube_path(launch->launcher, path, "pods", launch->pod, ""),
        .body = buffer_text(&body),
        .type = TEXT("application/merge-patch+json"),
        .timeout_us = KUBE_ASK_US,
        .on_done = on_released,
        .with = launch};
    launch->stop_asked = true;
    launch->asked_grace_us = launch->grace_us;
    launch->call = remote_ask(launch->launcher->remote, &question);
    buffer_done(&body);
}

void workloads_drop(struct launcher *launcher)
{
    while (!list_is_empty(&launcher->workloads))
        drop(LIST_MEMBER(launcher->workloads.next, struct workload, link));
}
