/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/models/docker_inside.h"
#include "gateway/base/memory.h"

enum {
    RETRIES_MAX = 5,
    RETRY_US = 250000,
    PULL_HEAD_US = 180000000,  /* the registry may be slow */
    PULL_QUIET_US = 180000000, /* unpacking a large layer may say nothing for long */
    PULL_TELL_US = 500000,
    PULL_LINE_MAX = 64 * 1024,
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

static uint64_t now_of(const struct launch *launch)
{
    return loop_now_us(launch->launcher->site.loop);
}

static void report(struct launch *launch)
{
    const struct launcher_ears *ears = &launch->launcher->site.ears;
    ears->on_report(ears->with, launch, &launch->last);
}

static void tell(struct launch *launch, enum launch_stage stage, const char *reason,
                 const char *words)
{
    struct launch_report *last = &launch->last;
    last->stage = stage;
    last->progress_permille = stage == LAUNCH_PULLING && launch->pull ? launch->pull->permille : -1;
    snprintf(last->reason, sizeof(last->reason), "%s", reason);
    snprintf(last->words, sizeof(last->words), "%s", words);
    report(launch);
}

static void go_at(struct launch *launch, uint64_t due_us)
{
    timer_stop(&launch->timer);
    timer_set(launch->launcher->site.loop, &launch->timer, due_us);
}

static void set_step(struct launch *launch, enum docker_step step)
{
    launch->step = step;
    launch->retries = 0;
    docker_launch_go(launch);
}

static void drop_pull(struct launch *launch)
{
    line_cut_done(&launch->pull_lines);
    memory_free(launch->pull);
    launch->pull = NULL;
}

static void drop_calls(struct launch *launch)
{
    remote_drop(launch->call);
    remote_drop(launch->kill);
    launch->call = launch->kill = NULL;
    timer_stop(&launch->timer);
    drop_pull(launch);
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
static void end(struct launch *launch, const char *reason, bool is_final, const char *words)
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
static void retry(struct launch *launch, const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    docker_read_error(answer->body, answer->status, words);
    const char *why = answer->why ? answer->why : words;
    if (launch->retries++ < RETRIES_MAX) {
        go_at(launch, now_of(launch) + ((uint64_t)RETRY_US << launch->retries));
        if (answer->status == 0)
            engine_doubt(launch->launcher, why);
    } else {
        end(launch, answer->status ? "engine_error" : "api_unreachable", false, why);
    }
}

/* The step ended in an error that the engine has words for. */
static void end_with(struct launch *launch, const char *reason, bool is_final,
                     const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    docker_read_error(answer->body, answer->status, words);
    end(launch, reason, is_final, words);
}

/* ----------------------------------------------------------------------------- the image */

static void step_wait(struct launch *launch)
{
    set_step(launch, STEP_IMAGE);
}

static void on_image(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (remote_is_well(answer))
        set_step(launch, STEP_CREATE);
    else if (answer->status == 404 && !launch->pulled)
        set_step(launch, STEP_PULL);
    else if (answer->status == 404 || answer->status == 400)
        end_with(launch, "image_missing", true, answer);
    else
        retry(launch, answer);
}

static void step_image(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_image, .with = launch};
    struct text image = launch->spec->image;
    if (!docker_image_is_name(image)) {
        end(launch, "image_missing", true, image.len ? "the image's name is none" : "no image");
        return;
    }
    launch->call = engine_ask(launch->launcher, &question, "/images/%.*s/json", TEXT_ARGS(image));
}

static void tell_pulling(struct launch *launch)
{
    char words[LAUNCH_WORDS_MAX];
    snprintf(words, sizeof(words), "pulls %.*s", TEXT_ARGS(launch->spec->image));
    launch->pull_told_us = now_of(launch);
    tell(launch, LAUNCH_PULLING, "pulling", words);
}

static void on_pull_line(void *with, struct text line)
{
    struct launch *launch = with;
    docker_pull_line(launch->pull, line);
}

static void on_pull_piece(void *with, struct text piece)
{
    struct launch *launch = with;
    line_cut_feed(&launch->pull_lines, piece);
    if (now_of(launch) >= launch->pull_told_us + PULL_TELL_US)
        tell_pulling(launch);
}

static void end_pull(struct launch *launch, const char *words)
{
    const char *verdict = docker_pull_verdict(words);
    end(launch, verdict ? verdict : "pull_failed", verdict != NULL, words);
}

static void on_pulled(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    char words[LAUNCH_WORDS_MAX];
    launch->call = NULL;
    line_cut_end(&launch->pull_lines);
    bool failed = launch->pull->failed;
    snprintf(words, sizeof(words), "%s", launch->pull->error);
    drop_pull(launch);
    if (failed) {
        end_pull(launch, words);
    } else if (answer->why) {
        retry(launch, answer);
    } else if (answer->status / 100 != 2) {
        docker_read_error(answer->body, answer->status, words);
        end_pull(launch, words);
    } else {
        launch->pulled = true;
        set_step(launch, STEP_IMAGE);
    }
}

static void step_pull(struct launch *launch)
{
    const struct deployment_spec *spec = launch->spec;
    struct buffer query, fields;
    buffer_init(&query, 2 * DOCKER_IMAGE_MAX);
    buffer_init(&fields, DOCKER_BODY_MAX);
    docker_write_pull(spec->image, &query);
    if (spec->registry_user.len || spec->registry_password.len) {
        buffer_append_text(&fields, TEXT("X-Registry-Auth: "));
        docker_write_auth(spec->image, spec->registry_user, spec->registry_password, &fields);
        buffer_append_text(&fields, TEXT("\r\n"));
    }
    struct remote_question question = {.method = METHOD_POST,
                                       .fields = buffer_text(&fields),
                                       .timeout_us = PULL_HEAD_US,
                                       .quiet_us = PULL_QUIET_US,
                                       .on_piece = on_pull_piece,
                                       .on_done = on_pulled,
                                       .with = launch};
    drop_pull(launch);
    launch->pull = memory_new(sizeof(*launch->pull));
    launch->pull->permille = -1;
    line_cut_init(&launch->pull_lines, PULL_LINE_MAX, false, on_pull_line, launch);
    launch->call = engine_ask(launch->launcher, &question, "/images/create?%.*s",
                              TEXT_ARGS(buffer_text(&query)));
    if (fields.data)
        memory_wipe(fields.data, fields.capacity);
    buffer_done(&query);
    buffer_done(&fields);
    tell_pulling(launch);
}

/* ------------------------------------------------------------------------- the container */

static bool is_own_network(struct text network)
{
    return text_equal(network, TEXT("host")) || text_equal(network, TEXT("none")) ||
           text_starts(network, TEXT("container:"));
}

/* In the host's network each needs a port of its own. */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool good = bind(fd, (struct sockaddr *)&address, len) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &len) == 0;
    close(fd);
    return good ? ntohs(address.sin_port) : 0;
}

static void choose_port(struct launch *launch)
{
    const struct launcher *launcher = launch->launcher;
    launch->port = 0;
    if (text_equal(launcher->network, TEXT("host")) && remote_is_here(launcher->remote))
        launch->port = free_port();
    if (launch->port == 0)
        launch->port = launch->spec->container_port ? launch->spec->container_port : DOCKER_PORT;
}

static bool has(const char *words, const char *part)
{
    return strcasestr(words, part) != NULL;
}

/* 409; of podman's 4 it is 500, and words. */
static bool says_taken(const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    if (answer->status != 500)
        return answer->status == 409;
    docker_read_error(answer->body, answer->status, words);
    return has(words, "already in use");
}

static void on_created(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (remote_is_well(answer) && docker_read_id(answer->body, launch->id))
        set_step(launch, STEP_START);
    else if (answer->status == 404 && !launch->pulled) /* somebody has just removed it */
        set_step(launch, STEP_PULL);
    else if (answer->status == 404)
        end_with(launch, "image_missing", true, answer);
    else if (says_taken(answer))
        set_step(launch, STEP_TAKE);
    else if (answer->status == 400)
        end_with(launch, "bad_spec", true, answer);
    else if (answer->status == 403)
        end_with(launch, "forbidden", true, answer);
    else
        retry(launch, answer);
}

static void step_create(struct launch *launch)
{
    const struct launcher *launcher = launch->launcher;
    struct buffer body;
    buffer_init(&body, DOCKER_BODY_MAX);
    choose_port(launch);
    struct docker_wish wish = {
        .name = &launch->name,
        .spec = launch->spec,
        .owner = launcher->owner,
        .network = launcher->network,
        .publish = is_own_network(launcher->network)  ? NULL
                   : remote_is_here(launcher->remote) ? "127.0.0.1"
                                                      : "0.0.0.0",
        .port = launch->port,
        .with_init = !launcher->without_init,
    };
    docker_write_container(&wish, &body);
    struct remote_question question = {.method = METHOD_POST,
                                       .body = buffer_text(&body),
                                       .timeout_us = DOCKER_WORK_US,
                                       .on_done = on_created,
                                       .with = launch};
    if (body.overrun) {
        end(launch, "bad_spec", true, "its arguments and environment are too long");
    } else {
        launch->may_exist = true;
        launch->call = engine_ask(launch->launcher, &question, "/containers/create?name=%s",
                                  launch->container);
        if (strcmp(launch->last.reason, "creating") != 0)
            tell(launch, LAUNCH_PLACING, "creating", "");
    }
    if (body.data)
        memory_wipe(body.data, body.capacity);
    buffer_done(&body);
}

/* -------- the name is taken */

static bool is_held(const struct launch *launch, const char *id)
{
    const struct link *all = &launch->launcher->launches;
    for (struct link *at = all->next; at != all; at = at->next)
        if (strcmp(LIST_MEMBER(at, struct launch, link)->id, id) == 0)
            return true;
    return false;
}

static bool is_same(const struct launch *launch, const struct docker_container *other)
{
    return strcmp(other->owner, launch->launcher->owner) == 0 &&
           strcmp(other->name.deployment, launch->name.deployment) == 0 &&
           strcmp(other->name.replica, launch->name.replica) == 0;
}

static void on_taken(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    const struct launcher *launcher = launch->launcher;
    struct docker_container other;
    launch->call = NULL;
    if (answer->status == 404 && !launch->cleared) {
        launch->cleared = true;
        set_step(launch, STEP_CREATE);
        return;
    }
    if (!remote_is_well(answer) ||
        !docker_read_container(answer->body, remote_host(launcher->remote), false, &other)) {
        retry(launch, answer);
        return;
    }
    if (!is_same(launch, &other) || is_held(launch, other.id)) {
        end(launch, "name_taken", false, "another container has its name");
        return;
    }
    if (other.name.digest == launch->name.digest && other.name.revision == launch->name.revision &&
        !other.ended) { /* created by us; the answer was lost */
        memcpy(launch->id, other.id, sizeof(launch->id));
        launch->port = other.port;
        set_step(launch, other.runs ? STEP_RUN : STEP_START);
    } else if (!launch->cleared) {
        set_step(launch, STEP_CLEAR); /* left from an earlier life */
    } else {
        end(launch, "name_taken", false, "a container that cannot be removed has its name");
    }
}

static void step_take(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_taken, .with = launch};
    launch->call =
        engine_ask(launch->launcher, &question, "/containers/%s/json", launch->container);
}

static void on_cleared(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (!remote_is_well(answer) && answer->status != 404) {
        retry(launch, answer);
        return;
    }
    launch->cleared = true;
    launch->may_exist = false;
    launch->id[0] = '\0';
    set_step(launch, STEP_CREATE);
}

static struct remote_call *ask_removal(struct launch *launch,
                                       void (*on_done)(void *, const struct remote_answer *))
{
    struct remote_question question = {
        .method = METHOD_DELETE, .timeout_us = DOCKER_WORK_US, .on_done = on_done, .with = launch};
    return engine_ask(launch->launcher, &question, "/containers/%s?force=true&v=true",
                      launch->id[0] ? launch->id : launch->container);
}

static void step_clear(struct launch *launch)
{
    launch->call = ask_removal(launch, on_cleared);
}

/* -------- start */

/* An engine without the little program that is a container's first: then without it. */
static bool lacks_init(struct launch *launch, const char *words)
{
    if (launch->launcher->without_init ||
        !(has(words, "docker-init") || has(words, "catatonit") || has(words, "container-init")))
        return false;
    launch->launcher->without_init = true;
    return true;
}

static void fail_start(struct launch *launch, const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    docker_read_error(answer->body, answer->status, words);
    if (lacks_init(launch, words))
        set_step(launch, STEP_CLEAR);
    else if (has(words, "already allocated") || has(words, "address already in use"))
        end(launch, "port_taken", false, words);
    else if (has(words, "could not select device driver"))
        end(launch, "no_gpu", true, words);
    else if (has(words, "executable file") || has(words, "no such file") ||
             has(words, "permission denied") || has(words, "exec format"))
        end(launch, "exec_failed", true, words);
    else if (answer->status == 404)
        docker_launch_gone(launch);
    else
        end(launch, "start_failed", false, words);
}

static void on_started(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (remote_is_well(answer) || answer->status == 304)
        set_step(launch, STEP_RUN);
    else if (answer->status == 0)
        retry(launch, answer);
    else
        fail_start(launch, answer);
}

static void step_start(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_POST, .timeout_us = DOCKER_WORK_US, .on_done = on_started, .with = launch};
    launch->call = engine_ask(launch->launcher, &question, "/containers/%s/start", launch->id);
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
            go_at(launch, now_of(launch) + ADDRESS_US);
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
    tell(launch, LAUNCH_RUNNING, "started", "");
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
        launch->stop_us = now_of(launch) + TAIL_US;
        set_step(launch, STEP_TAIL);
    } else if (launch->step == STEP_STOP) { /* it was created and never started */
        remote_drop(launch->call);
        launch->call = NULL;
        end(launch, "stopped", false, "stopped before it ran");
    } else if (launch->step == STEP_RUN) {
        go_at(launch, now_of(launch) + ADDRESS_US);
    }
}

/* Its last lines say why it ended: they come before the end is told. */
static void step_tail(struct launch *launch)
{
    struct launch_report *last = &launch->last;
    if (!launch->log && !launch->log_over)
        docker_watch_log(launch);
    if (!launch->log_over && now_of(launch) < launch->stop_us) {
        go_at(launch, launch->stop_us);
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
        end(launch, "stopped", false, "stopped");
    else
        end(launch, "removed", false, "somebody has removed its container");
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
    uint64_t now = now_of(launch);
    uint64_t left = launch->stop_us > now ? launch->stop_us - now : 0;
    if (!launch->stop_asked) {
        ask_stop(launch, left);
        go_at(launch, now + left + STOP_MARGIN_US);
    } else if (left > 0) {
        go_at(launch, now + left);
    } else {
        ask_kill(launch);
        go_at(launch, now + KILL_AGAIN_US);
    }
}

static void on_undone(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (!remote_is_well(answer) && answer->status != 404) {
        retry(launch, answer);
        return;
    }
    launch->id[0] = '\0';
    end(launch, "stopped", false, "stopped before it ran");
}

static void step_undo(struct launch *launch)
{
    launch->call = ask_removal(launch, on_undone);
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
            end(launch, "stopped", false, "stopped before it ran");
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
    [STEP_IMAGE]  = {"image",  step_image},
    [STEP_PULL]   = {"pull",   step_pull},
    [STEP_CREATE] = {"create", step_create},
    [STEP_TAKE]   = {"take",   step_take},
    [STEP_CLEAR]  = {"clear",  step_clear},
    [STEP_START]  = {"start",  step_start},
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
        tell(launch, LAUNCH_PLACING, "api_unreachable", "the engine is away");
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
            tell(launch, LAUNCH_LOST, "api_unreachable", "the engine is away");
        launch->lost = true;
    } else if (step != STEP_FOUND) {
        if (step == STEP_IMAGE || step == STEP_PULL)
            launch->step = STEP_WAIT;
        tell_away(launch);
    }
    if (launch->wants_stop && launch->step != STEP_ENDED)
        go_at(launch, now_of(launch)); /* where nothing was created, it can end */
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
    go_at(launch, now_of(launch));
    return launch;
}

void docker_launch_adopt(struct launch *launch, struct deployment_spec *spec, void *owner)
{
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    if (launch->step == STEP_FOUND)
        launch->step = STEP_RUN;
    go_at(launch, now_of(launch));
}

void docker_launch_stop(struct launch *launch, int64_t grace_us)
{
    uint64_t due_us = now_of(launch) + (uint64_t)(grace_us > 0 ? grace_us : 0);
    if (launch->step == STEP_ENDED || launch->step == STEP_TAIL)
        return;
    if (!launch->wants_stop || due_us < launch->stop_us)
        launch->stop_us = due_us;
    launch->wants_stop = true;
    if (launch->step == STEP_IMAGE || launch->step == STEP_PULL) {
        remote_drop(launch->call);
        launch->call = NULL;
        drop_pull(launch);
    }
    go_at(launch, now_of(launch));
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
