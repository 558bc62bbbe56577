/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/models/docker_inside.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/memory.h"

enum {
    PULL_HEAD_US = 180000000,  /* the registry may be slow */
    PULL_QUIET_US = 180000000, /* unpacking a large layer may say nothing for long */
    PULL_TELL_US = 500000,
    PULL_LINE_MAX = 64 * 1024,
    LOOKS_FOR_HOLDER = 2, /* and it may have gone, or be there at last */
};

/* The step ended in an error that the engine has words for. */
static void end_with(struct launch *launch, const char *reason, bool is_final,
                     const struct remote_answer *answer)
{
    char words[LAUNCH_WORDS_MAX];
    docker_read_error(answer->body, answer->status, words);
    docker_launch_end(launch, reason, is_final, words);
}

void docker_place_drop(struct launch *launch)
{
    line_cut_done(&launch->pull_lines);
    memory_free(launch->pull);
    launch->pull = NULL;
}

/* ----------------------------------------------------------------------------- the image */

static void on_image(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (remote_is_well(answer))
        docker_launch_step(launch, STEP_CREATE);
    else if (answer->status == 404 && !launch->pulled)
        docker_launch_step(launch, STEP_PULL);
    else if (answer->status == 404 || answer->status == 400)
        end_with(launch, "image_missing", true, answer);
    else
        docker_launch_retry(launch, answer);
}

void docker_place_image(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_image, .with = launch};
    struct text image = launch->spec->image;
    if (!docker_image_is_name(image)) {
        docker_launch_end(launch, "image_missing", true,
                          image.len ? "the image's name is none" : "no image");
        return;
    }
    launch->call = engine_ask(launch->launcher, &question, "/images/%.*s/json", TEXT_ARGS(image));
}

static void tell_pulling(struct launch *launch)
{
    char words[LAUNCH_WORDS_MAX];
    snprintf(words, sizeof(words), "pulls %.*s", TEXT_ARGS(launch->spec->image));
    launch->pull_told_us = docker_launch_now(launch);
    docker_launch_tell(launch, LAUNCH_PULLING, "pulling", words);
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
    if (docker_launch_now(launch) >= launch->pull_told_us + PULL_TELL_US)
        tell_pulling(launch);
}

static void end_pull(struct launch *launch, const char *words)
{
    const char *verdict = docker_pull_verdict(words);
    docker_launch_end(launch, verdict ? verdict : "pull_failed", verdict != NULL, words);
}

static void on_pulled(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    char words[LAUNCH_WORDS_MAX];
    launch->call = NULL;
    line_cut_end(&launch->pull_lines);
    bool failed = launch->pull->failed;
    snprintf(words, sizeof(words), "%s", launch->pull->error);
    docker_place_drop(launch);
    if (failed) {
        end_pull(launch, words);
    } else if (answer->why) {
        docker_launch_retry(launch, answer);
    } else if (answer->status / 100 != 2) {
        docker_read_error(answer->body, answer->status, words);
        end_pull(launch, words);
    } else {
        launch->pulled = true;
        docker_launch_step(launch, STEP_IMAGE);
    }
}

void docker_place_pull(struct launch *launch)
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
    docker_place_drop(launch);
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

/* Its network is this machine's: nobody but sluice is to reach it. */
static bool is_on_this_machine(const struct launcher *launcher)
{
    return text_equal(launcher->network, TEXT("host")) && remote_is_here(launcher->remote);
}

static void choose_port(struct launch *launch)
{
    const struct launcher *launcher = launch->launcher;
    launch->port = 0;
    if (is_on_this_machine(launcher))
        launch->port = free_port();
    if (launch->port == 0)
        launch->port =
            launch->spec->container_port ? launch->spec->container_port : LAUNCH_BOX_PORT;
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
    docker_read_holder(answer->body, launch->holder);
    if (remote_is_well(answer) && docker_read_id(answer->body, launch->id))
        docker_launch_step(launch, STEP_START);
    else if (answer->status == 404 && !launch->pulled) /* somebody has just removed it */
        docker_launch_step(launch, STEP_PULL);
    else if (answer->status == 404)
        end_with(launch, "image_missing", true, answer);
    else if (says_taken(answer))
        docker_launch_step(launch, STEP_TAKE);
    else if (answer->status == 400)
        end_with(launch, "bad_spec", true, answer);
    else if (answer->status == 403)
        end_with(launch, "forbidden", true, answer);
    else
        docker_launch_retry(launch, answer);
}

void docker_place_create(struct launch *launch)
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
        .host = is_on_this_machine(launcher) ? "127.0.0.1" : NULL,
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
        docker_launch_end(launch, "bad_spec", true, "its arguments and environment are too long");
    } else {
        launch->may_exist = true;
        launch->call = engine_ask(launch->launcher, &question, "/containers/create?name=%s",
                                  launch->container);
        if (strcmp(launch->last.reason, "creating") != 0)
            docker_launch_tell(launch, LAUNCH_PLACING, "creating", "");
    }
    if (body.data)
        memory_wipe(body.data, body.capacity);
    buffer_done(&body);
}

/* -------- the name is taken */

bool docker_place_is_held(const struct launch *launch, const char *id)
{
    const struct link *all = &launch->launcher->launches;
    for (struct link *at = all->next; at != all; at = at->next)
        if (strcmp(LIST_MEMBER(at, struct launch, link)->id, id) == 0)
            return true;
    return false;
}

bool docker_place_is_same(const struct launch *launch, const struct docker_container *other)
{
    return strcmp(other->owner, launch->launcher->owner) == 0 &&
           strcmp(other->name.deployment, launch->name.deployment) == 0 &&
           strcmp(other->name.replica, launch->name.replica) == 0;
}

/* The name is taken and no container has it. It is being removed at this moment; or the engine was
 * killed between two parts of creating or removing it, and the part that holds the name is left
 * (podman's storage): then nothing but its removal helps. */
static void take_from_nobody(struct launch *launch, const struct remote_answer *answer)
{
    if (!launch->vanished) {
        launch->vanished = true;
        docker_launch_step(launch, STEP_CREATE);
    } else if (launch->retries < LOOKS_FOR_HOLDER || launch->cleared || !launch->holder[0]) {
        docker_launch_retry(launch, answer);
    } else {
        memcpy(launch->id, launch->holder, sizeof(launch->id));
        docker_launch_step(launch, STEP_CLEAR);
    }
}

static void on_taken(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    const struct launcher *launcher = launch->launcher;
    struct docker_container other;
    launch->call = NULL;
    if (answer->status == 404) {
        take_from_nobody(launch, answer);
        return;
    }
    if (!remote_is_well(answer) ||
        !docker_read_container(answer->body, remote_host(launcher->remote), false, &other)) {
        docker_launch_retry(launch, answer);
        return;
    }
    if (!docker_place_is_same(launch, &other) || docker_place_is_held(launch, other.id)) {
        docker_launch_end(launch, "name_taken", false, "another container has its name");
        return;
    }
    if (other.name.digest == launch->name.digest && other.name.revision == launch->name.revision &&
        !other.ended) { /* created by us; the answer was lost */
        memcpy(launch->id, other.id, sizeof(launch->id));
        launch->port = other.port;
        docker_launch_step(launch, other.runs ? STEP_RUN : STEP_START);
    } else if (!launch->cleared) {
        memcpy(launch->id, other.id, sizeof(launch->id));
        docker_launch_step(launch, STEP_CLEAR); /* left from an earlier life */
    } else {
        docker_launch_end(launch, "name_taken", false,
                          "a container that cannot be removed has its name");
    }
}

struct remote_call *docker_place_ask(struct launch *launch,
                                     void (*on_done)(void *, const struct remote_answer *))
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_done, .with = launch};
    return engine_ask(launch->launcher, &question, "/containers/%s/json", launch->container);
}

void docker_place_take(struct launch *launch)
{
    launch->call = docker_place_ask(launch, on_taken);
}

static void on_cleared(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (!remote_is_well(answer) && answer->status != 404) {
        docker_launch_retry(launch, answer);
        return;
    }
    launch->cleared = true;
    launch->may_exist = false;
    launch->id[0] = '\0';
    docker_launch_step(launch, STEP_CREATE);
}

/* By its id only: a name may be another's. */
struct remote_call *docker_place_remove(struct launch *launch,
                                        void (*on_done)(void *, const struct remote_answer *))
{
    struct remote_question question = {
        .method = METHOD_DELETE, .timeout_us = DOCKER_WORK_US, .on_done = on_done, .with = launch};
    return engine_ask(launch->launcher, &question, "/containers/%s?force=true&v=true", launch->id);
}

void docker_place_clear(struct launch *launch)
{
    launch->call = docker_place_remove(launch, on_cleared);
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
        docker_launch_step(launch, STEP_CLEAR);
    else if (has(words, "already allocated") || has(words, "address already in use"))
        docker_launch_end(launch, "port_taken", false, words);
    else if (has(words, "could not select device driver"))
        docker_launch_end(launch, "no_gpu", true, words);
    else if (has(words, "executable file") || has(words, "no such file") ||
             has(words, "permission denied") || has(words, "exec format"))
        docker_launch_end(launch, "exec_failed", true, words);
    else if (answer->status == 404)
        docker_launch_gone(launch);
    else
        docker_launch_end(launch, "start_failed", false, words);
}

static void on_started(void *with, const struct remote_answer *answer)
{
    struct launch *launch = with;
    launch->call = NULL;
    if (remote_is_well(answer) || answer->status == 304)
        docker_launch_step(launch, STEP_RUN);
    else if (answer->status == 0)
        docker_launch_retry(launch, answer);
    else
        fail_start(launch, answer);
}

void docker_place_start(struct launch *launch)
{
    struct remote_question question = {
        .method = METHOD_POST, .timeout_us = DOCKER_WORK_US, .on_done = on_started, .with = launch};
    launch->call = engine_ask(launch->launcher, &question, "/containers/%s/start", launch->id);
}
