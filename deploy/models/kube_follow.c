/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "deploy/models/kube_inside.h"

enum {
    EXPLAIN_US = 10000000,  /* how often one that waits is asked why */
    LOG_AGAIN_US = 2000000, /* a log that broke off is followed again */
};

/* ----------------------------------------------------------------------------------- why */

static void on_why(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    char words[LAUNCH_WORDS_MAX];
    launch->why_call = NULL;
    if (launch->state != POD_MADE || launch->last.phase != KUBE_PENDING)
        return;
    if (remote_is_well(answer) && kube_read_warning(answer->body, words))
        kube_tell(launch, LAUNCH_PLACING, *launch->last.reason ? launch->last.reason : "waiting",
                  words);
    timer_set(launch->launcher->site.loop, &launch->why_timer,
              kube_soon(launch->launcher, EXPLAIN_US));
}

/* It still waits for a place or its image: the events say why. */
void kube_on_why_time(struct timer *timer)
{
    struct launch *launch = LIST_MEMBER(timer, struct launch, why_timer);
    char path[KUBE_PATH_BYTES], tail[KUBE_NAME_MAX + 64];
    snprintf(tail, sizeof(tail), "?fieldSelector=involvedObject.name%%3D%s&limit=100", launch->pod);
    struct remote_question question = {.method = METHOD_GET,
                                       .path =
                                           kube_path(launch->launcher, path, "events", "", tail),
                                       .timeout_us = KUBE_ASK_US,
                                       .on_done = on_why,
                                       .with = launch};
    launch->why_call = remote_ask(launch->launcher->remote, &question);
}

/* -------------------------------------------------------------------------------- its log */

void kube_on_log_line(void *with, struct text line)
{
    struct launch *launch = with;
    struct launcher *launcher = launch->launcher;
    struct text when, what;
    if (!kube_read_line(line, &when, &what)) {
        what = line;
    } else if (when.len < sizeof(launch->log_from)) {
        int order = strncmp(when.at, launch->log_from, when.len);
        if (*launch->log_from && order <= 0)
            return; /* told before the log broke off */
        snprintf(launch->log_from, sizeof(launch->log_from), "%.*s", TEXT_ARGS(when));
    }
    for (; what.len > LAUNCH_LINE_MAX; what = text_from(what, LAUNCH_LINE_MAX))
        launcher->site.ears.on_line(launcher->site.ears.with, launch, false,
                                    text_head(what, LAUNCH_LINE_MAX));
    launcher->site.ears.on_line(launcher->site.ears.with, launch, false, what);
}

static void on_log_piece(void *with, struct text piece)
{
    struct launch *launch = with;
    line_cut_feed(&launch->log, piece);
}

static void on_log_end(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    (void)answer; /* 400: it does not run yet; 404: gone; anything else broke off */
    launch->log_call = NULL;
    line_cut_end(&launch->log);
    if (launch->state == POD_MADE && launch->running_told)
        timer_set(launch->launcher->site.loop, &launch->log_timer,
                  kube_soon(launch->launcher, LOG_AGAIN_US));
}

void kube_on_log_time(struct timer *timer)
{
    kube_follow_log(LIST_MEMBER(timer, struct launch, log_timer));
}

void kube_follow_log(struct launch *launch)
{
    char path[KUBE_PATH_BYTES], tail[256];
    int len = snprintf(tail, sizeof(tail), "/log?container=%s&follow=true&timestamps=true",
                       launch->container);
    if (*launch->log_from) /* its seconds are whole: what was told already is left out */
        snprintf(tail + len, sizeof(tail) - (size_t)len, "&sinceTime=%.19sZ", launch->log_from);
    struct remote_question question = {
        .method = METHOD_GET,
        .path = kube_path(launch->launcher, path, "pods", launch->pod, tail),
        .timeout_us = KUBE_ASK_US,
        .on_piece = on_log_piece,
        .on_done = on_log_end,
        .with = launch};
    if (!launch->log_call)
        launch->log_call = remote_ask(launch->launcher->remote, &question);
}
