/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "deploy/models/docker_inside.h"
#include "gateway/base/memory.h"

enum {
    RETRIES_MAX = 5,
    RETRY_US = 250000,
    STOP_MARGIN_US = 1500000, /* the engine's own kill comes first */
    KILL_AGAIN_US = 3000000,
    TAIL_US = 2000000,
    ADDRESS_US = 200000,
    ADDRESS_TRIES = 50,
};

struct docker_step_row {
    const char *name;
    void (*go)(struct launch *launch);
};
static const struct docker_step_row steps[STEPS];

/* ---------------------------------------------------------------------------- telling */

uint64_t docker_launch_now(const struct launch *launch)
{
    return loop_now_us(launch->launcher->site.loop);
}

static void report(struct launch *launch)
{
    const struct launcher_ears *ears = &launch->launcher->site.ears;
    ears->on_report(ears->with, launch, &launch->last);
}

void docker_launch_tell(struct launch *launch, enum launch_stage stage, const char *reason,
                        const char *words)
{
    struct launch_report *last = &launch->last;
    last->stage = stage;
    last->progress_permille = stage == LAUNCH_PULLING && launch->pull ? launch->pull->permille : -1;
    snprintf(last->reason, sizeof(last->reason), "%s", reason);
    snprintf(last->words, sizeof(last->words), "%s", words);
    report(launch);
}

void docker_launch_later(struct launch *launch, uint64_t due_us)
{
    timer_stop(&launch->timer);
    timer_set(launch->launcher->site.loop, &launch->timer, due_us);
}

void docker_launch_step(struct launch *launch, enum docker_step step)
{
    launch->step = step;
    launch->retries = 0;
    docker_launch_go(launch);
}

static void drop_calls(struct launch *launch)
{
    remote_drop(launch->call);
    remote_drop(launch->kill);
    launch->call = launch->kill = NULL;
    timer_stop(&launch->timer);
    docker_place_drop(launch);
    docker_watch_drop(launch);
}

/* Tell that it is over, with what <last> says of how. */
static void tell_end(struct launch *launch)
{
    drop_calls(launch);
    launch->step = STEP_ENDED;
    launch->last.stage = LAUNCH_ENDED;
    launch->last.progress_permille = -1;
    launch->last.memory_bytes = 0;
    if (launch->doom) {
        snprintf(launch->last.reason, sizeof(launch->last.reason), "%s", launch->doom);
        snprintf(launch->last.words, sizeof(launch->last.words), "%s", launch->doom_words);
    }
    report(launch); /* it may be forgotten in here */
}

/* It never ran, or nobody knows how it ended. */
void docker_launch_end(struct launch *launch, const char *reason, bool is_final, const char *words)
{
    launch->last = (struct launch_report){.exit_code = -1, .is_final = is_final};
    snprintf(launch->last.reason, sizeof(launch->last.reason), "%s", reason);
    snprintf(launch->last.words, sizeof(launch->last.words), "%s", words);
    tell_end(launch);
}

/* Stop it, since it is of no use; in the end this is the reason. */
static void doom(struct launch *launch, const char *reason, const char *words)
{
    launch->doom = reason;
    snprintf(launch->doom_words, sizeof(launch->doom_words), "%s", words);
    docker_launch_stop(launch, 0);
}

/* The step is tried again soon, not for ever. */
void docker_launch_retry(struct launch *launch, const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    docker_read_error(answer->body, answer->status, words);
    const char *why = answer->why ? answer->why : words;
    const char *reason = answer->status ? "engine_error" : "api_unreachable";
    if (launch->retries++ < RETRIES_MAX) {
        docker_launch_later(launch,
                            docker_launch_now(launch) + ((uint64_t)RETRY_US << launch->retries));
        if (answer->status == 0)
            engine_doubt(launch->launcher, why);
    } else if (launch->may_exist && launch->step != STEP_UNDO) {
        doom(launch, reason, why); /* nothing of it may run when its end is told */
    } else {
        docker_launch_end(launch, reason, false, why);
    }
}

static void step_wait(struct launch *launch)
{
    docker_launch_step(launch, STEP_IMAGE);
}

/* ------------------------------------------------------------------------------ it runs */

static void step_run(struct launch *launch)
{
    docker_watch_log(launch);
    docker_watch_look(launch);
}

static bool is_same_address(const struct launch_address *a, const struct launch_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static void seen_running(struct launch *launch, const struct docker_container *now)
{
    struct launch_report *last = &launch->last;
    if (launch->step != STEP_RUN)
        return;
    if (now->address.port == 0) {
        /* The engine may need a moment to publish its port. */
        if (launch->retries++ < ADDRESS_TRIES)
            docker_launch_later(launch, docker_launch_now(launch) + ADDRESS_US);
        else
            doom(launch, "no_address", "its port cannot be reached from here");
        return;
    }
    launch->retries = 0;
    if (last->stage == LAUNCH_RUNNING && !launch->lost &&
        is_same_address(&last->address, &now->address))
        return;
    launch->lost = false;
    last->address = now->address;
    docker_launch_tell(launch, LAUNCH_RUNNING, "started", "");
}

static bool is_signal(int code)
{
    static const unsigned char known[] = {1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 15, 31};
    return code > 128 && code < 160 && memchr(known, code - 128, sizeof(known));
}

static void note(struct launch_report *last, const char *reason, const char *words)
{
    snprintf(last->reason, sizeof(last->reason), "%s", reason);
    snprintf(last->words, sizeof(last->words), "%s", words);
}

/* 128 + n is what engines make of a signal; who returns that himself cannot be told apart. */
static void note_signal(struct launch *launch, int signal)
{
    struct launch_report *last = &launch->last;
    bool is_ours = launch->wants_stop;
    last->exit_code = -1;
    last->signal = signal;
    note(last, "signal", "");
    snprintf(last->words, sizeof(last->words), "ended by signal %d%s", signal,
             signal == 9 && !is_ours && launch->spec && launch->spec->resources.memory_bytes > 0
                 ? ", perhaps for want of memory"
                 : "");
}

static void note_exit(struct launch *launch, const struct docker_container *now)
{
    struct launch_report *last = &launch->last;
    int code = now->exit_code;
    bool never_ran = now->error[0] && code >= 126 && code <= 128;
    *last = (struct launch_report){.exit_code = code};
    if ((now->oom || launch->oom_seen) && code != 0) {
        last->oom = true;
        last->signal = 9;
        last->exit_code = -1;
        note(last, "oom_killed", "it wanted more memory than it may have");
    } else if (never_ran) {
        last->exit_code = -1;
        last->is_final = true;
        note(last, "exec_failed", now->error);
    } else if (is_signal(code)) {
        note_signal(launch, code - 128);
    } else {
        note(last, "exit", "");
        snprintf(last->words, sizeof(last->words), "exited with %d", code);
    }
}

void docker_launch_seen(struct launch *launch, const struct docker_container *now)
{
    if (launch->step == STEP_TAIL || launch->step == STEP_ENDED || launch->step == STEP_START)
        return;
    if (now->runs) {
        seen_running(launch, now);
    } else if (now->ended) {
        remote_drop(launch->call); /* a stop that waits */
        launch->call = NULL;
        note_exit(launch, now);
        launch->stop_us = docker_launch_now(launch) + TAIL_US;
        docker_launch_step(launch, STEP_TAIL);
    } else if (launch->step == STEP_STOP) { /* it was created and never started */
        remote_drop(launch->call);
        launch->call = NULL;
        docker_launch_end(launch, "stopped", false, "stopped before it ran");
    } else if (launch->step == STEP_RUN) {
        docker_launch_later(launch, docker_launch_now(launch) + ADDRESS_US);
    }
}

/* Its last lines say why it ended: they come before the end is told. */
static void step_tail(struct launch *launch)
{
    struct launch_report *last = &launch->last;
    if (!launch->log && !launch->log_over)
        docker_watch_log(launch);
    if (!launch->log_over && docker_launch_now(launch) < launch->stop_us) {
        docker_launch_later(launch, launch->stop_us);
        return;
    }
    if (launch->no_program[0] && last->exit_code > 0) {
        last->exit_code = -1;
        last->is_final = true;
        note(last, "exec_failed", launch->no_program);
    }
    tell_end(launch);
}

void docker_launch_gone(struct launch *launch)
{
    if (launch->step == STEP_ENDED)
        return;
    launch->id[0] = '\0';
    if (launch->step == STEP_TAIL)
        tell_end(launch);
    else if (launch->wants_stop)
        docker_launch_end(launch, "stopped", false, "stopped");
    else
        docker_launch_end(launch, "removed", false, "somebody has removed its container");
}

void docker_launch_measured(struct launch *launch, int64_t memory_bytes)
{
    if (launch->step != STEP_RUN || launch->last.stage != LAUNCH_RUNNING || memory_bytes <= 0)
        return;
    launch->last.memory_bytes = memory_bytes;
    report(launch);
}

/* ------------------------------------------------------------------------------ the end */

static void on_stopped(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (answer->status == 0 && launch->launcher->state == ENGINE_UP)
        engine_doubt(launch->launcher, answer->why);
    docker_watch_look(launch); /* in any case what counts is whether it runs */
}

static void on_killed(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->kill = NULL;
    (void)answer;
    docker_watch_look(launch);
}

static void ask_kill(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_POST, .timeout_us = DOCKER_ASK_US, .on_done = on_killed, .with = launch};
    if (!launch->kill)
        launch->kill = engine_ask(launch->launcher, &question, "/containers/%s/kill?signal=SIGKILL",
                                  launch->id);
}

static void ask_stop(struct launch *launch, uint64_t left_us)
{
    struct remote_question question = {.method = METHOD_POST,
                                       .timeout_us = (int64_t)left_us + DOCKER_ASK_US,
                                       .on_done = on_stopped,
                                       .with = launch};
    launch->stop_asked = true;
    launch->call = engine_ask(launch->launcher, &question, "/containers/%s/stop?t=%u", launch->id,
                              (unsigned)((left_us + 999999) / 1000000));
}

/* The engine ends it in time; where it does not, or the time has become shorter, we kill it. */
static void step_stop(struct launch *launch)
{
    uint64_t now = docker_launch_now(launch);
    uint64_t left = launch->stop_us > now ? launch->stop_us - now : 0;
    if (!launch->stop_asked) {
        ask_stop(launch, left);
        docker_launch_later(launch, now + left + STOP_MARGIN_US);
    } else if (left > 0) {
        docker_launch_later(launch, now + left);
    } else {
        ask_kill(launch);
        docker_launch_later(launch, now + KILL_AGAIN_US);
    }
}

static void end_undone(struct launch *launch)
{
    docker_launch_end(launch, "stopped", false, "stopped before it ran");
}

static void on_undone(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (!remote_is_well(answer) && answer->status != 404) {
        docker_launch_retry(launch, answer);
        return;
    }
    launch->id[0] = '\0';
    end_undone(launch);
}

/* Is what has its name ours? */
static void on_undo_seen(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    struct docker_container other;
    launch->call = NULL;
    if (answer->status == 404) {
        end_undone(launch);
    } else if (!remote_is_well(answer) || !docker_read_container(answer->body, "", false, &other)) {
        docker_launch_retry(launch, answer);
    } else if (!docker_place_is_same(launch, &other) || docker_place_is_held(launch, other.id)) {
        end_undone(launch);
    } else {
        memcpy(launch->id, other.id, sizeof(launch->id));
        docker_launch_step(launch, STEP_UNDO);
    }
}

static void step_undo(struct launch *launch)
{
    launch->call = launch->id[0] ? docker_place_remove(launch, on_undone)
                                 : docker_place_ask(launch, on_undo_seen);
}

/* What was under way is given up for good, from wherever it is. */
static void turn_to_end(struct launch *launch)
{
    switch (launch->step) {
    case STEP_WAIT:
    case STEP_IMAGE:
    case STEP_PULL:
    case STEP_CREATE:
    case STEP_TAKE:
    case STEP_CLEAR:
        launch->step = STEP_UNDO;
        launch->retries = 0;
        if (!launch->may_exist)
            docker_launch_end(launch, "stopped", false, "stopped before it ran");
        return;
    case STEP_START:
    case STEP_RUN:
    case STEP_FOUND:
        launch->step = STEP_STOP;
        launch->retries = 0;
        return;
    case STEP_STOP:
    case STEP_UNDO:
    case STEP_TAIL:
    case STEP_ENDED:
    case STEPS:
        return;
    }
}

/* ------------------------------------------------------------------------------- steps */

static void step_nothing(struct launch *launch)
{
    (void)launch;
}

/* clang-format off */
static const struct docker_step_row steps[STEPS] = {
    [STEP_WAIT]   = {"wait",   step_wait},
    [STEP_IMAGE]  = {"image",  docker_place_image},
    [STEP_PULL]   = {"pull",   docker_place_pull},
    [STEP_CREATE] = {"create", docker_place_create},
    [STEP_TAKE]   = {"take",   docker_place_take},
    [STEP_CLEAR]  = {"clear",  docker_place_clear},
    [STEP_START]  = {"start",  docker_place_start},
    [STEP_RUN]    = {"run",    step_run},
    [STEP_FOUND]  = {"found",  step_nothing},
    [STEP_STOP]   = {"stop",   step_stop},
    [STEP_UNDO]   = {"undo",   step_undo},
    [STEP_TAIL]   = {"tail",   step_tail},
    [STEP_ENDED]  = {"ended",  step_nothing},
};
/* clang-format on */

/* It has to wait for the engine. */
static void tell_away(struct launch *launch)
{
    if (strcmp(launch->last.reason, "api_unreachable") != 0)
        docker_launch_tell(launch, LAUNCH_PLACING, "api_unreachable", "the engine is away");
}

/* While a step asks, it waits; but a stop that waits may become a kill. */
void docker_launch_go(struct launch *launch)
{
    if (launch->step == STEP_ENDED || (launch->call && launch->step != STEP_STOP))
        return;
    if (launch->wants_stop)
        turn_to_end(launch);
    if (launch->step != STEP_ENDED && launch->launcher->state == ENGINE_UP)
        steps[launch->step].go(launch);
    else if (launch->step == STEP_WAIT && launch->launcher->state == ENGINE_AWAY)
        tell_away(launch);
}

static void on_time(struct timer *timer)
{
    docker_launch_go(LIST_MEMBER(timer, struct launch, timer));
}

void docker_launch_lose(struct launch *launch)
{
    enum docker_step step = launch->step;
    if (step == STEP_ENDED)
        return;
    drop_calls(launch);
    launch->stop_asked = false;
    if (step == STEP_TAIL) {
        tell_end(launch);
    } else if (step == STEP_RUN || step == STEP_STOP) {
        if (!launch->lost)
            docker_launch_tell(launch, LAUNCH_LOST, "api_unreachable", "the engine is away");
        launch->lost = true;
    } else if (step != STEP_FOUND) {
        if (step == STEP_IMAGE || step == STEP_PULL)
            launch->step = STEP_WAIT;
        tell_away(launch);
    }
    if (launch->wants_stop && launch->step != STEP_ENDED)
        docker_launch_later(launch,
                            docker_launch_now(launch)); /* where nothing was created, it can end */
}

/* ------------------------------------------------------------------- from the contract */

struct launch *docker_launch_new(struct launcher *launcher, const struct launch_name *name)
{
    struct launch *launch = memory_new(sizeof(*launch));
    launch->launcher = launcher;
    launch->name = *name;
    launch->timer.on_time = on_time;
    launch->last = (struct launch_report){.stage = LAUNCH_PLACING, .progress_permille = -1};
    docker_write_name(launcher->owner, name, launch->container);
    docker_watch_init(launch);
    list_push_back(&launcher->launches, &launch->link);
    return launch;
}

struct launch *docker_launch_start(struct launcher *launcher, const struct launch_name *name,
                                   struct deployment_spec *spec, void *owner)
{
    struct launch *launch = docker_launch_new(launcher, name);
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    docker_launch_later(launch, docker_launch_now(launch));
    return launch;
}

void docker_launch_adopt(struct launch *launch, struct deployment_spec *spec, void *owner)
{
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    if (launch->step == STEP_FOUND)
        launch->step = STEP_RUN;
    docker_launch_later(launch, docker_launch_now(launch));
}

void docker_launch_stop(struct launch *launch, int64_t grace_us)
{
    uint64_t due_us = docker_launch_now(launch) + (uint64_t)(grace_us > 0 ? grace_us : 0);
    if (launch->step == STEP_ENDED || launch->step == STEP_TAIL)
        return;
    if (!launch->wants_stop || due_us < launch->stop_us)
        launch->stop_us = due_us;
    launch->wants_stop = true;
    if (launch->step == STEP_IMAGE || launch->step == STEP_PULL) {
        remote_drop(launch->call);
        launch->call = NULL;
        docker_place_drop(launch);
    }
    docker_launch_later(launch, docker_launch_now(launch));
}

static void free_launch(struct grave *grave)
{
    struct launch *launch = LIST_MEMBER(grave, struct launch, grave);
    list_remove(&launch->link);
    if (launch->spec)
        spec_unref(launch->spec);
    docker_watch_done(launch);
    memory_free(launch);
}

void docker_launch_bury(struct launch *launch)
{
    drop_calls(launch);
    launch->step = STEP_ENDED;
    if (!launch->is_buried)
        loop_bury(launch->launcher->site.loop, &launch->grave, free_launch);
    launch->is_buried = true;
}

void docker_launch_forget(struct launch *launch)
{
    if (launch->id[0])
        engine_remove(launch->launcher, launch->id);
    launch->id[0] = '\0';
    docker_launch_bury(launch);
}

void *docker_launch_owner(const struct launch *launch)
{
    return launch->owner;
}
