/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "deploy/models/docker_inside.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    LOOK_AGAIN_US = 1000000,
    LOG_AGAIN_US = 1000000,
    LOG_LINES_BEFORE = 200, /* of one that ran before us */
    STAMP_ROOM = 64,        /* in front of each line */
    STATS_MAX = 256 * 1024,
};

/* -------------------------------------------------------------------------------- look */

static void on_looked(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    struct docker_container now;
    struct remote *remote = launch->launcher->remote;
    launch->look = NULL;
    if (answer->status == 404) {
        docker_launch_gone(launch);
        return;
    }
    bool again = launch->look_again;
    launch->look_again = false;
    if (remote_is_well(answer) &&
        docker_read_container(answer->body, remote_host(remote), remote_is_here(remote), &now)) {
        docker_launch_seen(launch, &now);
    } else {
        again = false;
        engine_doubt(launch->launcher, answer->why);
        if (!launch->timer.due_us)
            timer_set(launch->launcher->site.loop, &launch->timer,
                      loop_now_us(launch->launcher->site.loop) + LOOK_AGAIN_US);
    }
    if (again && launch->step != STEP_ENDED)
        docker_watch_look(launch);
}

void docker_watch_look(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_looked, .with = launch};
    bool is_ours = launch->id[0] && launch->step != STEP_CLEAR; /* else an earlier life's */
    if (!is_ours || launch->step == STEP_ENDED || launch->launcher->state == ENGINE_AWAY)
        return;
    if (launch->look)
        launch->look_again = true;
    else
        launch->look = engine_ask(launch->launcher, &question, "/containers/%s/json", launch->id);
}

/* -------------------------------------------------------------------------------- logs */

/* Where there is an init in a container (tini, podman's catatonit), the engine starts that, and
 * only it knows that the program is not there. */
static void note_init(struct launch *launch, struct text line)
{
    if (!text_starts(line, TEXT("[FATAL tini")) && !text_starts(line, TEXT("ERROR (catatonit")))
        return;
    const char *program =
        launch->spec && launch->spec->command_count ? launch->spec->command[0].at : "";
    int len = *program ? (int)launch->spec->command[0].len : 0;
    if (text_find(line, TEXT("exec")) != SIZE_MAX)
        snprintf(launch->no_program, sizeof(launch->no_program), "%.*s: %.*s", len, program,
                 TEXT_ARGS(line));
}

static void tell_line(struct launch *launch, bool error, struct text line)
{
    const struct launcher_ears *ears = &launch->launcher->site.ears;
    int64_t time_ns;
    if (docker_take_time(&line, &time_ns)) {
        if (launch->log_again && time_ns <= launch->log_ns)
            return; /* told before the connection broke */
        if (time_ns > launch->log_ns)
            launch->log_ns = time_ns;
    }
    if (error)
        note_init(launch, line);
    ears->on_line(ears->with, launch, error, text_head(line, LAUNCH_LINE_MAX));
}

static void on_out(void *with, struct text line)
{
    tell_line(with, false, line);
}

static void on_err(void *with, struct text line)
{
    tell_line(with, true, line);
}

static void begin_lines(struct launch *launch)
{
    launch->frames = (struct docker_frames){0};
    line_cut_done(&launch->out);
    line_cut_done(&launch->err);
    line_cut_init(&launch->out, LAUNCH_LINE_MAX + STAMP_ROOM, true, on_out, launch);
    line_cut_init(&launch->err, LAUNCH_LINE_MAX + STAMP_ROOM, true, on_err, launch);
}

static void end_log(struct launch *launch)
{
    launch->log_over = true;
    if (launch->step == STEP_TAIL)
        docker_launch_go(launch);
}

static void on_log_piece(void *with, struct text piece)
{
    struct launch *launch = with;
    struct text part;
    unsigned stream;
    enum docker_frame what;
    while ((what = docker_frame_next(&launch->frames, &piece, &stream, &part)) == DOCKER_FRAME_DATA)
        line_cut_feed(stream >= 2 ? &launch->err : &launch->out, part);
    if (what == DOCKER_FRAME_BAD) {
        log_line(LOG_WARN, "deploy", "docker: what the engine sends as the log of %s is none",
                 launch->container);
        remote_drop(launch->log);
        launch->log = NULL;
        end_log(launch);
    }
}

static void on_log_time(struct timer *timer)
{
    struct launch *launch = LIST_MEMBER(timer, struct launch, log_timer);
    if (launch->step == STEP_RUN || launch->step == STEP_STOP)
        docker_watch_log(launch);
}

/* It may end before the container does: the engine is away, or it lost it in a rotation. */
static void on_log_done(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->log = NULL;
    line_cut_end(&launch->out);
    line_cut_end(&launch->err);
    launch->log_again = true;
    if (launch->step == STEP_TAIL || answer->status / 100 == 4 || answer->status / 100 == 5)
        end_log(launch);
    else if (!launch->log_timer.due_us)
        timer_set(launch->launcher->site.loop, &launch->log_timer,
                  loop_now_us(launch->launcher->site.loop) + LOG_AGAIN_US);
    docker_watch_look(launch);
}

void docker_watch_log(struct launch *launch)
{
    struct remote_question question = {.method = METHOD_GET,
                                       .timeout_us = DOCKER_WORK_US,
                                       .on_piece = on_log_piece,
                                       .on_done = on_log_done,
                                       .with = launch};
    char from[48];
    if (launch->log || launch->log_over || !launch->id[0])
        return;
    if (launch->log_ns)
        snprintf(from, sizeof(from), "&since=%lld", (long long)(launch->log_ns / 1000000000));
    else if (!launch->may_exist)
        snprintf(from, sizeof(from), "&tail=%d", (int)LOG_LINES_BEFORE);
    else
        from[0] = '\0';
    timer_stop(&launch->log_timer);
    begin_lines(launch);
    launch->log = engine_ask(launch->launcher, &question,
                             "/containers/%s/logs?stdout=1&stderr=1&follow=1&timestamps=1%s",
                             launch->id, from);
}

/* -------------------------------------------------------------------------------- memory */

static void on_stats(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->stats = NULL;
    if (remote_is_well(answer))
        docker_launch_measured(launch, docker_read_memory(answer->body));
}

void docker_watch_measure(struct launch *launch)
{
    struct remote_question question = {.method = METHOD_GET,
                                       .timeout_us = DOCKER_ASK_US,
                                       .answer_max = STATS_MAX,
                                       .on_done = on_stats,
                                       .with = launch};
    if (launch->step != STEP_RUN || !launch->id[0])
        return;
    docker_watch_look(launch); /* should an event have been lost */
    if (!launch->stats)
        launch->stats = engine_ask(launch->launcher, &question,
                                   "/containers/%s/stats?stream=false&one-shot=true", launch->id);
}

/* ------------------------------------------------------------------------------- its life */

void docker_watch_init(struct launch *launch)
{
    launch->log_timer.on_time = on_log_time;
}

void docker_watch_drop(struct launch *launch)
{
    remote_drop(launch->look);
    remote_drop(launch->log);
    remote_drop(launch->stats);
    if (launch->log)
        launch->log_again = true;
    launch->look = launch->log = launch->stats = NULL;
    launch->look_again = false;
    timer_stop(&launch->log_timer);
}

void docker_watch_done(struct launch *launch)
{
    line_cut_done(&launch->out);
    line_cut_done(&launch->err);
}
