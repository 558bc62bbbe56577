/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "deploy/models/docker_inside.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    MINOR_OURS = 51, /* the newest API whose answers we know */
    MINOR_OLD = 40,  /* of an engine that does not say */
    PLAIN_PORT = 2375,
    TLS_PORT = 2376,
    PATH_MAX_BYTES = 2048,
    BACK_OFF_US = 250000,
    BACK_OFF_MAX_US = 8000000,
    BEAT_US = 10000000, /* is it there, and how much memory does it all use? */
    BEATS_TO_LOOK = 6,  /* what runs, as a whole */
    REMOVE_AGAIN_US = 3000000,
    REMOVE_TRIES = 8,
};

static void greet(struct launcher *launcher);
static void remove_now(struct removal *removal);

/* ------------------------------------------------------------------------------ asking */

struct remote_call *engine_ask(struct launcher *launcher, const struct remote_question *question,
                               const char *path, ...)
{
    char room[PATH_MAX_BYTES];
    int len = snprintf(room, sizeof(room), "/v1.%u", launcher->minor);
    struct remote_question whole = *question;
    va_list args;
    va_start(args, path);
    vsnprintf(room + len, sizeof(room) - (size_t)len, path, args);
    va_end(args);
    whole.path = text_of(room);
    return remote_ask(launcher->remote, &whole);
}

static void tell_looked(struct launcher *launcher, bool reachable)
{
    if (launcher->told && launcher->told_reachable == reachable)
        return;
    launcher->told = true;
    launcher->told_reachable = reachable;
    launcher->site.ears.on_looked(launcher->site.ears.with, launcher, reachable);
}

static void for_each_launch(struct launcher *launcher, void (*visit)(struct launch *))
{
    /* Launches leave the list when they are buried, so never meanwhile. */
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next)
        visit(LIST_MEMBER(at, struct launch, link));
}

static void drop_calls(struct launcher *launcher)
{
    remote_drop(launcher->call);
    remote_drop(launcher->events);
    launcher->call = launcher->events = NULL;
    line_cut_done(&launcher->event_lines);
}

static void stop_removal(struct removal *removal)
{
    remote_drop(removal->call);
    removal->call = NULL;
    timer_stop(&removal->timer);
}

/* Tried again soon, then less and less often; not by all at the same time. */
static void try_later(struct launcher *launcher)
{
    uint64_t wait = BACK_OFF_MAX_US;
    uint16_t chance;
    if (launcher->failures < 5)
        wait = (uint64_t)BACK_OFF_US << launcher->failures;
    launcher->failures++;
    hash_random(&chance, sizeof(chance));
    wait -= wait / 4 * chance / UINT16_MAX;
    timer_stop(&launcher->timer);
    timer_set(launcher->site.loop, &launcher->timer, loop_now_us(launcher->site.loop) + wait);
}

static void engine_lose(struct launcher *launcher, const char *why)
{
    drop_calls(launcher);
    bool was_up = launcher->state == ENGINE_UP || launcher->state == ENGINE_LOOKED;
    if (was_up || !launcher->told)
        log_line(LOG_WARN, "deploy", "docker: the engine at %s is away: %s",
                 remote_host(launcher->remote), why);
    launcher->state = ENGINE_AWAY;
    for (struct link *at = launcher->removals.next; at != &launcher->removals; at = at->next)
        stop_removal(LIST_MEMBER(at, struct removal, link));
    try_later(launcher);
    if (was_up)
        for_each_launch(launcher, docker_launch_lose);
    tell_looked(launcher, false);
}

/* ------------------------------------------------------------------- what runs there now */

static struct launch *launch_of(struct launcher *launcher, const char *id)
{
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (strcmp(launch->id, id) == 0)
            return launch;
    }
    return NULL;
}

/* Is it what a launch without an id has just created, or may have? */
static bool is_being_made(struct launcher *launcher, const struct launch_name *name)
{
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (!launch->id[0] && launch->step != STEP_ENDED &&
            strcmp(launch->name.deployment, name->deployment) == 0 &&
            strcmp(launch->name.replica, name->replica) == 0)
            return true;
    }
    return false;
}

static void on_listed(void *with, const struct docker_container *each)
{
    struct launcher *launcher = with;
    if (strcmp(each->owner, launcher->owner) != 0 || launch_of(launcher, each->id) ||
        is_being_made(launcher, &each->name) || engine_removes(launcher, each->id))
        return;
    if (!each->runs) {
        engine_remove(launcher, each->id); /* it ended while nobody looked, or was never started */
        return;
    }
    struct launch *launch = docker_launch_new(launcher, &each->name);
    memcpy(launch->id, each->id, sizeof(launch->id));
    launch->port = each->port;
    launch->step = STEP_FOUND;
    launcher->site.ears.on_found(launcher->site.ears.with, launcher, &launch->name, launch);
}

static void come_up(struct launcher *launcher)
{
    launcher->state = ENGINE_UP;
    launcher->failures = 0;
    timer_stop(&launcher->timer);
    timer_set(launcher->site.loop, &launcher->timer, loop_now_us(launcher->site.loop) + BEAT_US);
    for (struct link *at = launcher->removals.next; at != &launcher->removals; at = at->next)
        remove_now(LIST_MEMBER(at, struct removal, link));
    for_each_launch(launcher, docker_launch_go);
    tell_looked(launcher, true);
}

static void on_list(void *with, const struct remote_answer *answer)
{
    struct launcher *launcher = with;
    launcher->call = NULL;
    if (!remote_is_well(answer) || !docker_read_list(answer->body, on_listed, launcher)) {
        char words[LAUNCH_WORDS_MAX];
        docker_read_error(answer->body, answer->status, words);
        engine_lose(launcher, answer->why ? answer->why : words);
        return;
    }
    if (launcher->state == ENGINE_UP)
        for_each_launch(launcher, docker_launch_go);
    else
        come_up(launcher);
}

static void ask_list(struct launcher *launcher)
{
    struct remote_question question = {
        .method = METHOD_GET, .timeout_us = DOCKER_ASK_US, .on_done = on_list, .with = launcher};
    struct buffer filter;
    buffer_init(&filter, PATH_MAX_BYTES / 2);
    docker_write_filter(launcher->owner, false, &filter);
    launcher->call = engine_ask(launcher, &question, "/containers/json?all=true&%.*s",
                                TEXT_ARGS(buffer_text(&filter)));
    buffer_done(&filter);
}

/* ------------------------------------------------------------------------------ events */

static void on_event_line(void *with, struct text line)
{
    struct launcher *launcher = with;
    struct docker_event event;
    if (!docker_read_event(line, &event))
        return;
    if (event.time_ns > launcher->events_since_ns)
        launcher->events_since_ns = event.time_ns;
    struct launch *launch = launch_of(launcher, event.id);
    if (!launch || text_starts(text_of(event.action), TEXT("exec_")))
        return;
    if (strcmp(event.action, "oom") == 0)
        launch->oom_seen = true;
    docker_watch_look(launch);
}

static void on_events_piece(void *with, struct text piece)
{
    struct launcher *launcher = with;
    line_cut_feed(&launcher->event_lines, piece);
}

static void on_events_done(void *with, const struct remote_answer *answer)
{
    struct launcher *launcher = with;
    launcher->events = NULL;
    engine_lose(launcher, answer->why ? answer->why : "it ended the stream of its events");
}

/* Before what runs is asked for: so that nothing happens between the two unseen. */
static void ask_events(struct launcher *launcher)
{
    struct remote_question question = {.method = METHOD_GET,
                                       .timeout_us = DOCKER_ASK_US,
                                       .on_piece = on_events_piece,
                                       .on_done = on_events_done,
                                       .with = launcher};
    struct buffer query;
    buffer_init(&query, PATH_MAX_BYTES / 2);
    docker_write_filter(launcher->owner, true, &query);
    if (launcher->events_since_ns)
        buffer_format(&query, "&since=%lld", (long long)(launcher->events_since_ns / 1000000000));
    line_cut_init(&launcher->event_lines, DOCKER_EVENT_MAX, false, on_event_line, launcher);
    launcher->events =
        engine_ask(launcher, &question, "/events?%.*s", TEXT_ARGS(buffer_text(&query)));
    buffer_done(&query);
}

/* ---------------------------------------------------------------------------- greeting */

static unsigned minor_of(struct text version)
{
    uint64_t number;
    if (!text_starts(version, TEXT("1.")) ||
        !text_number(text_from(version, 2), UINT16_MAX, &number))
        return MINOR_OLD;
    return number < MINOR_OURS ? (unsigned)number : MINOR_OURS;
}

static void on_greeted(void *with, const struct remote_answer *answer)
{
    struct launcher *launcher = with;
    launcher->call = NULL;
    if (!remote_is_well(answer)) {
        char words[LAUNCH_WORDS_MAX];
        docker_read_error(answer->body, answer->status, words);
        engine_lose(launcher, answer->why ? answer->why : words);
        return;
    }
    if (launcher->state == ENGINE_UP)
        return; /* it was only asked whether it is there */
    launcher->minor = minor_of(answer->field);
    launcher->state = ENGINE_LOOKED;
    ask_events(launcher);
    ask_list(launcher);
}

static void greet(struct launcher *launcher)
{
    struct remote_question question = {.method = METHOD_GET,
                                       .path = TEXT("/_ping"),
                                       .field = "Api-Version",
                                       .timeout_us = DOCKER_ASK_US / 4,
                                       .on_done = on_greeted,
                                       .with = launcher};
    launcher->call = remote_ask(launcher->remote, &question);
}

void engine_doubt(struct launcher *launcher, const char *why)
{
    (void)why;
    if (launcher->state == ENGINE_UP && !launcher->call)
        greet(launcher);
}

static void on_beat(struct timer *timer)
{
    struct launcher *launcher = LIST_MEMBER(timer, struct launcher, timer);
    if (launcher->state == ENGINE_AWAY) {
        launcher->state = ENGINE_GREETED;
        greet(launcher);
        return;
    }
    timer_set(launcher->site.loop, &launcher->timer, loop_now_us(launcher->site.loop) + BEAT_US);
    if (launcher->state != ENGINE_UP)
        return;
    for_each_launch(launcher, docker_watch_measure);
    if (launcher->call)
        return;
    if (++launcher->beats % BEATS_TO_LOOK == 0)
        ask_list(launcher);
    else
        greet(launcher);
}

/* ------------------------------------------------------------------------------ removal */

static void free_removal(struct removal *removal)
{
    stop_removal(removal);
    list_remove(&removal->link);
    memory_free(removal);
}

static void on_removed(void *with, const struct remote_answer *answer)
{
    struct removal *removal = with;
    struct launcher *launcher = removal->launcher;
    removal->call = NULL;
    /* What is not removed in the end is found again by the next look. */
    if (remote_is_well(answer) || answer->status == 404 || ++removal->retries > REMOVE_TRIES) {
        free_removal(removal);
        return;
    }
    timer_set(launcher->site.loop, &removal->timer,
              loop_now_us(launcher->site.loop) + REMOVE_AGAIN_US);
    if (answer->status == 0)
        engine_doubt(launcher, answer->why);
}

static void remove_now(struct removal *removal)
{
    struct launcher *launcher = removal->launcher;
    struct remote_question question = {.method = METHOD_DELETE,
                                       .timeout_us = DOCKER_WORK_US,
                                       .on_done = on_removed,
                                       .with = removal};
    if (launcher->state != ENGINE_UP || removal->call)
        return;
    timer_stop(&removal->timer);
    removal->call =
        engine_ask(launcher, &question, "/containers/%s?force=true&v=true", removal->id);
}

static void on_remove_again(struct timer *timer)
{
    remove_now(LIST_MEMBER(timer, struct removal, timer));
}

void engine_remove(struct launcher *launcher, const char *id)
{
    struct removal *removal = memory_new(sizeof(*removal));
    removal->launcher = launcher;
    removal->timer.on_time = on_remove_again;
    snprintf(removal->id, sizeof(removal->id), "%s", id);
    list_push_back(&launcher->removals, &removal->link);
    remove_now(removal);
}

bool engine_removes(const struct launcher *launcher, const char *id)
{
    for (struct link *at = launcher->removals.next; at != &launcher->removals; at = at->next)
        if (strcmp(LIST_MEMBER(at, struct removal, link)->id, id) == 0)
            return true;
    return false;
}

/* --------------------------------------------------------------------------- the launcher */

/* "unix:/run/podman/podman.sock?network=host": the network of its containers. */
static bool read_network(struct text *endpoint, struct text *network, struct fault *fault)
{
    size_t mark = text_find_byte(*endpoint, '?');
    struct text query = text_from(*endpoint, mark == SIZE_MAX ? endpoint->len : mark + 1);
    *network = TEXT("");
    if (mark == SIZE_MAX)
        return true;
    *endpoint = text_head(*endpoint, mark);
    if (!text_starts(query, TEXT("network=")) || query.len > 100)
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "endpoint: only ?network=NAME may stand behind it");
    *network = text_from(query, 8);
    return true;
}

static struct launcher *docker_open(const struct launcher_site *site, const struct node_spec *node,
                                    struct fault *fault)
{
    struct text endpoint = node->endpoint, network;
    if (endpoint.len == 0)
        endpoint = TEXT("unix:/var/run/docker.sock");
    if (!read_network(&endpoint, &network, fault))
        return NULL;
    struct remote_site where = {.loop = site->loop,
                                .upstreams = site->upstreams,
                                .endpoint = endpoint,
                                .ca_file = node->ca_file,
                                .cert_file = node->cert_file,
                                .key_file = node->key_file,
                                .plain_port = PLAIN_PORT,
                                .tls_port = TLS_PORT};
    struct remote *remote = remote_open(&where, fault);
    if (!remote)
        return NULL;
    struct launcher *launcher = memory_new(sizeof(*launcher));
    launcher->site = *site;
    launcher->owner = memory_string(text_head(text_of(site->owner), DOCKER_OWNER_MAX));
    launcher->remote = remote;
    launcher->network_memory = memory_string(network);
    launcher->network = text_of(launcher->network_memory);
    launcher->minor = MINOR_OLD;
    launcher->timer.on_time = on_beat;
    list_init(&launcher->launches);
    list_init(&launcher->removals);
    timer_set(site->loop, &launcher->timer, loop_now_us(site->loop)); /* soon, not from in here */
    return launcher;
}

static void free_launcher(struct grave *grave)
{
    struct launcher *launcher = LIST_MEMBER(grave, struct launcher, grave);
    memory_free(launcher->owner);
    memory_free(launcher->network_memory);
    memory_free(launcher);
}

static void docker_close(struct launcher *launcher)
{
    drop_calls(launcher);
    timer_stop(&launcher->timer);
    launcher->state = ENGINE_AWAY;
    while (!list_is_empty(&launcher->launches)) {
        struct launch *launch = LIST_MEMBER(launcher->launches.next, struct launch, link);
        list_remove(&launch->link); /* the grave is no place to look for this list */
        docker_launch_bury(launch);
    }
    while (!list_is_empty(&launcher->removals))
        free_removal(LIST_MEMBER(launcher->removals.next, struct removal, link));
    remote_close(launcher->remote);
    loop_bury(launcher->site.loop, &launcher->grave, free_launcher);
}

const struct launcher_kind launch_docker = {
    .word = LAUNCH_BY_DOCKER,
    .name = "docker",
    .open = docker_open,
    .close = docker_close,
    .start = docker_launch_start,
    .stop = docker_launch_stop,
    .forget = docker_launch_forget,
    .adopt = docker_launch_adopt,
    .owner = docker_launch_owner,
};
