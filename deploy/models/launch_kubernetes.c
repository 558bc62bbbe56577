/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model servers as pods (Kubernetes API, core/v1). Pods are made directly and never restarted by
 * the kubelet: when and where another one comes is the fleet's matter.
 *
 * What is known comes from one list and the watch that follows it; a watch that is too old (410) is
 * begun anew with a list, and what the list does not have is over. A pod's name follows from its
 * launch, so a creation whose answer was lost is asked for again without making two.
 *
 * With a `workload`, pods are those of a Deployment that somebody else made: kube_workload.c.
 *
 * Bounds: one watch, one question per launch at a time and one followed log; LOOK_MAX bytes of a
 * list, EVENT_MAX of an event.
 */
#include <stdio.h>
#include <stdlib.h>

#include "deploy/models/kube_inside.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"

enum {
    TOKEN_MAX = 16 * 1024,
    EVENT_MAX = 4 * 1024 * 1024,
    LOG_LINE_MAX = 64 * 1024,
    PLAIN_PORT = 80,
    TLS_PORT = 443,
    BACK_OFF_US = 250000,
    BACK_OFF_MAX_US = 10000000,
    TOKEN_US = 60000000, /* a token is renewed about every hour */
};

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

static void make(struct launch *launch);

/* -------------------------------------------------------------------------------- asking */

uint64_t kube_soon(const struct launcher *launcher, int64_t us)
{
    return loop_now_us(launcher->site.loop) + (uint64_t)us;
}

int64_t kube_back_off(unsigned failures)
{
    int64_t wait = (int64_t)BACK_OFF_US << (failures < 6 ? failures : 6);
    return wait < BACK_OFF_MAX_US ? wait : BACK_OFF_MAX_US;
}

/* Room for a path below the namespace: /api/v1/namespaces/NS/WHAT[/NAME][TAIL] */
struct text kube_path(const struct launcher *launcher, char room[KUBE_PATH_BYTES], const char *what,
                      const char *name, const char *tail)
{
    snprintf(room, KUBE_PATH_BYTES, "/api/v1/namespaces/%s/%s%s%s%s", launcher->name_space, what,
             *name ? "/" : "", name, tail);
    return text_of(room);
}

/* The file is read anew: it is replaced under us. Small, local, once a minute. */
void kube_read_token(struct launcher *launcher)
{
    char token[TOKEN_MAX];
    if (!launcher->token_file)
        return;
    FILE *file = fopen(launcher->token_file, "re");
    size_t len = file ? fread(token, 1, sizeof(token), file) : 0;
    if (file)
        fclose(file);
    size_t used = len;
    while (used > 0 && (unsigned char)token[used - 1] <= 0x20) /* its line may have an end */
        used--;
    if (used > 0)
        remote_set_token(launcher->remote, (struct text){token, used});
    memory_wipe(token, len);
}

static void on_token_time(struct timer *timer)
{
    struct launcher *launcher = LIST_MEMBER(timer, struct launcher, token_timer);
    kube_read_token(launcher);
    timer_set(launcher->site.loop, &launcher->token_timer, kube_soon(launcher, TOKEN_US));
}

/* ------------------------------------------------------------------------------- telling */

void kube_tell_report(struct launch *launch, const struct launch_report *report)
{
    struct launcher *launcher = launch->launcher;
    if (launch->ended_told || launch->state == POD_FOUND)
        return;
    launch->ended_told = report->stage == LAUNCH_ENDED;
    launcher->site.ears.on_report(launcher->site.ears.with, launch, report);
}

void kube_tell(struct launch *launch, enum launch_stage stage, const char *reason,
               const char *words)
{
    struct launch_report report = {.stage = stage, .progress_permille = -1, .exit_code = -1};
    snprintf(report.reason, sizeof(report.reason), "%s", reason);
    snprintf(report.words, sizeof(report.words), "%s", words);
    kube_tell_report(launch, &report);
}

static void stop_timers(struct launch *launch)
{
    timer_stop(&launch->again);
    timer_stop(&launch->log_timer);
    timer_stop(&launch->why_timer);
}

static void drop_calls(struct launch *launch)
{
    remote_drop(launch->call);
    remote_drop(launch->log_call);
    remote_drop(launch->why_call);
    launch->call = launch->log_call = launch->why_call = NULL;
}

/* Nothing of it runs any more. */
void kube_end(struct launch *launch, const struct launch_report *report)
{
    launch->state = POD_OVER;
    stop_timers(launch);
    remote_drop(launch->why_call);
    launch->why_call = NULL;
    if (launch->workload)
        workload_ended(launch);
    kube_tell_report(launch, report);
}

void kube_end_with(struct launch *launch, const char *reason, const char *words, bool is_final)
{
    struct launch_report report = {
        .stage = LAUNCH_ENDED, .progress_permille = -1, .exit_code = -1, .is_final = is_final};
    snprintf(report.reason, sizeof(report.reason), "%s", reason);
    snprintf(report.words, sizeof(report.words), "%s", words);
    kube_end(launch, &report);
}

/* Its pod is gone: as it had told before, or because somebody removed it. */
void kube_end_gone(struct launch *launch)
{
    launch->is_there = false;
    if (launch->has_final)
        kube_end(launch, &launch->final);
    else if (launch->wants_stop)
        kube_end_with(launch, "stopped", "", false);
    else
        kube_end_with(launch, "removed", "its pod was removed by somebody else", false);
}

/* -------------------------------------------------------------------------------- making */

static struct kube_wish wish_of(const struct launch *launch)
{
    enum { SECOND_US = 1000000 };
    return (struct kube_wish){.name = &launch->name,
                              .spec = launch->spec,
                              .owner = launch->launcher->site.owner,
                              .port = launch->port,
                              .grace_seconds =
                                  (launch->spec->stop.grace_us + SECOND_US - 1) / SECOND_US};
}

/* Of an answer that says no: its word, and whether asking again can help. */
static const char *refusal(unsigned status, const char *words, bool *is_final)
{
    *is_final = status == 400 || status == 404 || status == 422;
    if (status == 403)
        return strstr(words, "quota") ? "quota" : "forbidden";
    return status == 404 ? "namespace_missing" : status == 422 || status == 400 ? "bad_spec" : "";
}

static void on_made(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    struct launcher *launcher = launch->launcher;
    char words[LAUNCH_WORDS_MAX], theirs[LAUNCH_REASON_MAX];
    bool is_final = false;
    launch->call = NULL;
    if (launch->state != POD_SECRET && launch->state != POD_MAKING) {
        if (launch->wants_stop && !launch->stop_asked) /* the watch was faster than this */
            kube_delete_pod(launch);
        return;
    }
    if (remote_is_well(answer) || (!answer->why && answer->status == 409)) {
        launch->failures = 0;
        if (launch->state == POD_SECRET && launch->wants_stop) {
            kube_end_with(launch, "stopped", "", false);
            return;
        }
        if (launch->state == POD_SECRET) {
            launch->state = POD_MAKING;
            make(launch);
            return;
        }
        launch->state = POD_MADE;
        launch->is_there = launch->seen = true;
        if (launch->wants_stop)
            kube_delete_pod(launch);
        else
            kube_tell(launch, LAUNCH_PLACING, "created", "");
        return;
    }
    kube_read_error(answer->body, answer->status, words, theirs);
    const char *reason = answer->why ? "" : refusal(answer->status, words, &is_final);
    if (*reason) {
        kube_end_with(launch, reason, words, is_final);
        return;
    }
    if (answer->status == 401)
        kube_read_token(launcher);
    kube_tell(launch, LAUNCH_PLACING, "api_unreachable", answer->why ? answer->why : words);
    timer_set(launcher->site.loop, &launch->again,
              kube_soon(launcher, kube_back_off(launch->failures++)));
}

static void make(struct launch *launch)
{
    struct launcher *launcher = launch->launcher;
    struct kube_wish wish = wish_of(launch);
    struct buffer body;
    char path[KUBE_PATH_BYTES];
    bool is_secret = launch->state == POD_SECRET;
    buffer_init(&body, KUBE_BODY_MAX);
    if (is_secret)
        kube_write_secret(&wish, &body);
    else
        kube_write_pod(&wish, &body);
    struct remote_question question = {
        .method = METHOD_POST,
        .path = kube_path(launcher, path, is_secret ? "secrets" : "pods", "", ""),
        .body = buffer_text(&body),
        .timeout_us = KUBE_ASK_US,
        .on_done = on_made,
        .with = launch};
    launch->call = remote_ask(launcher->remote, &question);
    if (body.data)
        memory_wipe(body.data, body.capacity);
    buffer_done(&body);
}

static void on_launch_again(struct timer *timer)
{
    struct launch *launch = LIST_MEMBER(timer, struct launch, again);
    if (launch->state == POD_SECRET || launch->state == POD_MAKING)
        make(launch);
    else if (launch->state == POD_CLAIMING)
        workload_end(launch);
    else if (launch->wants_stop || launch->forgotten)
        kube_delete_pod(launch);
    else if (launch->state == POD_MADE) /* adopted: as it was seen last */
        kube_hear_again(launch);
}

struct launch *kube_new_launch(struct launcher *launcher, const struct launch_name *name)
{
    struct launch *launch = memory_new(sizeof(*launch));
    launch->launcher = launcher;
    launch->name = *name;
    launch->again.on_time = on_launch_again;
    launch->log_timer.on_time = kube_on_log_time;
    launch->why_timer.on_time = kube_on_why_time;
    line_cut_init(&launch->log, LOG_LINE_MAX, true, kube_on_log_line, launch);
    list_push_back(&launcher->launches, &launch->link);
    return launch;
}

static struct launch *start(struct launcher *launcher, const struct launch_name *name,
                            struct deployment_spec *spec, void *owner)
{
    struct launch *launch = kube_new_launch(launcher, name);
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    launch->port = spec->container_port ? spec->container_port : LAUNCH_BOX_PORT;
    launch->grace_us = spec->stop.grace_us;
    if (spec->pod.workload.len) {
        char workload[KUBE_LABEL_MAX + 1];
        kube_write_label(spec->pod.workload, workload);
        launch->state = POD_CLAIMING;
        workload_join(launch, workload);
        return launch;
    }
    launch->state = kube_wants_secret(spec) ? POD_SECRET : POD_MAKING;
    kube_write_name(launcher->site.owner, name, launch->pod);
    make(launch);
    return launch;
}

/* -------------------------------------------------------------------------------- ending */

static void free_launch(struct grave *grave)
{
    struct launch *launch = LIST_MEMBER(grave, struct launch, grave);
    if (launch->spec)
        spec_unref(launch->spec);
    line_cut_done(&launch->log);
    memory_free(launch);
}

void kube_bury(struct launch *launch)
{
    stop_timers(launch);
    drop_calls(launch);
    list_remove(&launch->link);
    if (launch->workload)
        workload_leave(launch);
    loop_bury(launch->launcher->site.loop, &launch->grave, free_launch);
}

static void on_secret_gone(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    (void)answer; /* one that stays has the name of a pod that never comes again */
    launch->call = NULL;
    kube_bury(launch);
}

/* Its pod is gone, or was never there: its secret goes too, and then it is forgotten. */
static void forget_rest(struct launch *launch)
{
    char path[KUBE_PATH_BYTES];
    if (launch->workload || (launch->spec && !kube_wants_secret(launch->spec))) {
        kube_bury(launch);
        return;
    }
    struct remote_question question = {
        .method = METHOD_DELETE,
        .path = kube_path(launch->launcher, path, "secrets", launch->pod, ""),
        .timeout_us = KUBE_ASK_US,
        .on_done = on_secret_gone,
        .with = launch};
    launch->call = remote_ask(launch->launcher->remote, &question);
}

static void on_deleted(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    struct launcher *launcher = launch->launcher;
    launch->call = NULL;
    if (!answer->why && answer->status == 404) {
        launch->is_there = false;
        if (launch->state != POD_OVER && !launch->forgotten)
            kube_end_gone(launch);
    } else if (!remote_is_well(answer)) {
        if (answer->status == 401)
            kube_read_token(launcher);
        timer_set(launcher->site.loop, &launch->again,
                  kube_soon(launcher, kube_back_off(launch->failures++)));
        return;
    }
    if (launch->forgotten)
        forget_rest(launch);
    else if (launch->grace_us < launch->asked_grace_us) /* it is to be quicker now */
        kube_delete_pod(launch);
}

void kube_delete_pod(struct launch *launch)
{
    enum { SECOND_US = 1000000 };
    struct buffer body;
    char path[KUBE_PATH_BYTES];
    if (launch->workload) {
        workload_release(launch);
        return;
    }
    if (launch->call) /* it is heard when that is over */
        return;
    int64_t grace_us = launch->forgotten ? 0 : launch->grace_us;
    buffer_init(&body, KUBE_BODY_MAX);
    kube_write_delete((grace_us + SECOND_US - 1) / SECOND_US, &body);
    struct remote_question question = {
        .method = METHOD_DELETE,
        .path = kube_path(launch->launcher, path, "pods", launch->pod, ""),
        .body = buffer_text(&body),
        .timeout_us = KUBE_ASK_US,
        .on_done = on_deleted,
        .with = launch};
    launch->stop_asked = true;
    launch->asked_grace_us = grace_us;
    launch->call = remote_ask(launch->launcher->remote, &question);
    buffer_done(&body);
}

static void stop(struct launch *launch, int64_t grace_us)
{
    if (launch->state == POD_OVER)
        return;
    if (!launch->wants_stop || grace_us < launch->grace_us)
        launch->grace_us = grace_us;
    else if (launch->stop_asked)
        return;
    launch->wants_stop = true;
    if (launch->state == POD_FOUND) /* nobody wants it: from now on it is told about */
        launch->state = POD_MADE;
    if (launch->state == POD_CLAIMING)
        workload_stop(launch);
    else if (launch->state == POD_MADE)
        kube_delete_pod(launch);
    else if (!launch->call) { /* it waits to be made once more: perhaps it is there */
        timer_stop(&launch->again);
        launch->state = POD_MADE;
        kube_delete_pod(launch);
    }
}

static void forget(struct launch *launch)
{
    launch->forgotten = true;
    stop_timers(launch);
    remote_drop(launch->log_call);
    launch->log_call = NULL;
    if (launch->is_there)
        kube_delete_pod(launch); /* when a question is under way, its answer goes on from here */
    else if (!launch->call)
        forget_rest(launch);
}

static void adopt(struct launch *launch, struct deployment_spec *spec, void *owner)
{
    struct launcher *launcher = launch->launcher;
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    launch->grace_us = spec->stop.grace_us;
    launch->state = POD_MADE;
    launch->is_lost = true; /* so that the state it is in is told, though it is not new */
    clock_stamp(clock_wall_us(), launch->log_from); /* what it said before was kept before */
    timer_set(launcher->site.loop, &launch->again,
              kube_soon(launcher, 0)); /* then it is told about */
}

static void *owner_of(const struct launch *launch)
{
    return launch->owner;
}

/* ------------------------------------------------------------------------------- opening */

static bool read_file(const char *path, char *into, size_t room)
{
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(into, 1, room - 1, file) : 0;
    if (file)
        fclose(file);
    into[len] = '\0';
    while (len > 0 && (unsigned char)into[len - 1] <= 0x20)
        into[--len] = '\0';
    return len > 0;
}

static bool is_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-'))
            return false;
    return *name != '\0';
}

static bool set_namespace(struct launcher *launcher, const struct node_spec *node, bool is_inside,
                          struct fault *fault)
{
    snprintf(launcher->name_space, sizeof(launcher->name_space), "%.*s",
             TEXT_ARGS(node->name_space));
    if (!node->name_space.len && !(is_inside && read_file(ACCOUNT "namespace", launcher->name_space,
                                                          sizeof(launcher->name_space))))
        snprintf(launcher->name_space, sizeof(launcher->name_space), "default");
    if (is_name(launcher->name_space) && node->name_space.len <= KUBE_NAMESPACE_MAX)
        return true;
    fault_set(fault, FAULT_BAD_REQUEST, "namespace: not a name of Kubernetes");
    return false;
}

/* "in-cluster" or nothing: what every pod is told of its API server. */
static bool open_remote(struct launcher *launcher, const struct node_spec *node, bool is_inside,
                        struct fault *fault)
{
    char inside[256];
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    struct remote_site site = {.loop = launcher->site.loop,
                               .upstreams = launcher->site.upstreams,
                               .endpoint = node->endpoint,
                               .ca_file = node->ca_file,
                               .cert_file = node->cert_file,
                               .key_file = node->key_file,
                               .plain_port = PLAIN_PORT,
                               .tls_port = TLS_PORT};
    if (is_inside) {
        if (!host || !*host) {
            fault_set(fault, FAULT_BAD_REQUEST,
                      "endpoint: in-cluster, but KUBERNETES_SERVICE_HOST is not set here");
            return false;
        }
        snprintf(inside, sizeof(inside), strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s",
                 host, port && *port ? port : "443");
        site.endpoint = text_of(inside);
        if (!site.ca_file.len)
            site.ca_file = TEXT(ACCOUNT "ca.crt");
    }
    launcher->remote = remote_open(&site, fault);
    return launcher->remote != NULL;
}

static void free_launcher(struct grave *grave)
{
    struct launcher *launcher = LIST_MEMBER(grave, struct launcher, grave);
    memory_free(launcher->token_file);
    line_cut_done(&launcher->events);
    memory_free(launcher);
}

static struct launcher *open_launcher(const struct launcher_site *site,
                                      const struct node_spec *node, struct fault *fault)
{
    bool is_inside = !node->endpoint.len || text_equal(node->endpoint, TEXT("in-cluster"));
    struct launcher *launcher = memory_new(sizeof(*launcher));
    launcher->site = *site;
    list_init(&launcher->launches);
    list_init(&launcher->workloads);
    kube_write_label(text_of(site->owner), launcher->owner);
    if (!set_namespace(launcher, node, is_inside, fault) ||
        !open_remote(launcher, node, is_inside, fault)) {
        memory_free(launcher);
        return NULL;
    }
    if (node->token_file.len)
        launcher->token_file = memory_string(node->token_file);
    else if (is_inside)
        launcher->token_file = memory_string(TEXT(ACCOUNT "token"));
    launcher->again.on_time = kube_on_again;
    launcher->token_timer.on_time = on_token_time;
    line_cut_init(&launcher->events, EVENT_MAX, false, kube_on_event_line, launcher);
    on_token_time(&launcher->token_timer);
    kube_look(launcher);
    return launcher;
}

static void close_launcher(struct launcher *launcher)
{
    timer_stop(&launcher->again);
    timer_stop(&launcher->token_timer);
    while (!list_is_empty(&launcher->launches)) {
        LIST_MEMBER(launcher->launches.next, struct launch, link)->workload = NULL;
        kube_bury(LIST_MEMBER(launcher->launches.next, struct launch, link));
    }
    workloads_drop(launcher);
    remote_close(launcher->remote);
    loop_bury(launcher->site.loop, &launcher->grave, free_launcher);
}

const struct launcher_kind launch_kubernetes = {
    .word = LAUNCH_BY_KUBERNETES,
    .name = "kubernetes",
    .open = open_launcher,
    .close = close_launcher,
    .start = start,
    .stop = stop,
    .forget = forget,
    .adopt = adopt,
    .owner = owner_of,
};
