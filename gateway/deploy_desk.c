/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/deploy_desk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deploy/models/standing.h"
#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/jobs.h"
#include "gateway/made/made.h"
#include "gateway/service_state.h"
#include "gateway/share_desk.h"
#include "gateway/worker_inside.h"

enum {
    LOOK_US = 100000,
    STARTS_MAX = 128,
    PRIME = 1000003,
    BUDGET_EVERY = 10,
    SPENT_EVERY = 50,
    BUDGET_BYTES = 256 << 10,
    SPENT_BYTES = 256 << 10,
    SLACK_US = 3000000,
    PATIENCE_MAX_US = 120000000
};

/* A server that is on its way. */
struct start {
    char replica[SPEC_NAME_MAX + 24];
    uint64_t at_us;
};

struct deploy_desk {
    struct worker *worker;
    struct share_desk *share; /* NULL = there are no others */
    struct start starts[STARTS_MAX];
    size_t start_next;
    unsigned looks;
    uint64_t spent;    /* hash of what was last kept of it */
    uint64_t rates;    /* of all, in one, as they were at the last look */
    uint64_t verdicts; /* the same: who serves in the place of what is declared, and why */
    atomic_bool keeps_again;
    struct buffer budget; /* lines for metrics; under the lock */
    _Atomic(struct deployments *) deployments;
    struct config *config; /* in force here, with a reference */
    struct timer timer;
    struct errand knock;

    struct errand end;
    uint64_t end_us;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over;
};

/* ------------------------------------------------------------------------------- standings */

/* All of them in one, each. */
struct senses {
    uint64_t rates, verdicts;
};

static void say_one(struct deploy_desk *desk, struct text name, struct senses *senses)
{
    struct fleet_view view;
    bool found = deployments_look(desk->deployments, name, &view);
    standing_say(standing_of(name), found ? &view : NULL);
    senses->rates = senses->rates * PRIME + (uint64_t)(found ? view.nanos_per_hour : 0);
    senses->verdicts = senses->verdicts * PRIME + (found ? view.verdict : 0);
}

static struct senses say_all(struct deploy_desk *desk)
{
    struct senses senses = {0};
    for (size_t i = 0; i < desk->config->deploy.spec_count; i++)
        say_one(desk, desk->config->deploy.specs[i]->name, &senses);
    return senses;
}

static void say_room(struct buffer *out, struct text node, const char *kind, const char *of,
                     int64_t bytes)
{
    buffer_format(out, "sluice_deployment_budget_bytes{node=\"%.*s\",kind=\"%s\",of=\"%s\"} %lld\n",
                  TEXT_ARGS(node), kind, of, (long long)bytes);
}

/* What the nodes have, and what of it is taken, for metrics. */
static void say_budget(struct deploy_desk *desk)
{
    struct fleet_place *places = memory_new(SPEC_NODES_MAX * sizeof(*places));
    size_t count = fleet_places(deployments_fleet(desk->deployments), places, SPEC_NODES_MAX);
    pthread_mutex_lock(&desk->lock);
    buffer_clear(&desk->budget);
    for (size_t i = 0; i < count; i++) {
        const struct fleet_place *place = &places[i];
        say_room(&desk->budget, place->node->name, "memory", "has", place->node->has.memory_bytes);
        say_room(&desk->budget, place->node->name, "memory", "reserved",
                 place->reserved.memory_bytes);
        say_room(&desk->budget, place->node->name, "vram", "has", place->node->has.vram_bytes);
        say_room(&desk->budget, place->node->name, "vram", "reserved", place->reserved.vram_bytes);
    }
    pthread_mutex_unlock(&desk->lock);
    memory_free(places);
}

/* It is kept by the service's thread, which may wait for a disk. */
static void see_spent(struct deploy_desk *desk)
{
    struct buffer lines;
    buffer_init(&lines, SPENT_BYTES);
    deployments_spent(desk->deployments, &lines);
    uint64_t now = hash_name(buffer_text(&lines));
    buffer_done(&lines);
    if (now == desk->spent)
        return;
    desk->spent = now;
    service_wake_for_spent(desk->worker->options.service);
}

static void on_time(struct timer *timer)
{
    struct deploy_desk *desk = LIST_MEMBER(timer, struct deploy_desk, timer);
    struct senses now = say_all(desk);
    if (desk->looks++ % BUDGET_EVERY == 0)
        say_budget(desk);
    /* From when on something costs is kept at once: whoever finds it again counts from there. */
    if (desk->looks % SPENT_EVERY == 0 || now.rates != desk->rates)
        see_spent(desk);
    desk->rates = now.rates;
    bool is_due = desk->looks % SPENT_EVERY == 0 && atomic_exchange(&desk->keeps_again, false);
    if (is_due || now.verdicts != desk->verdicts)
        service_wake_for_verdicts(desk->worker->options.service);
    desk->verdicts = now.verdicts;
    timer_set(desk->worker->loop, timer, loop_now_us(desk->worker->loop) + LOOK_US);
}

/* Calls were turned away that would have waited: who idles wakes for the next ones. */
static void on_knock(struct errand *errand)
{
    struct deploy_desk *desk = LIST_MEMBER(errand, struct deploy_desk, knock);
    for (size_t i = 0; desk->deployments && i < desk->config->deploy.spec_count; i++) {
        struct text name = desk->config->deploy.specs[i]->name;
        struct senses ignored = {0};
        const char *why;
        if (!standing_knocked(standing_of(name)))
            continue;
        say_one(desk, name, &ignored);
        if (desk->share)
            deployments_knock(desk->deployments, name);
        if (desk->share && share_desk_elected() == 0)
            continue; /* whoever leads hears of it */
        if (standing_look(standing_of(name)).state == DEPLOYMENT_IDLE)
            deployments_obey(desk->deployments, name, FLEET_START, 0, 0, &why);
    }
}

/* ------------------------------------------------------------------------------- the desk */

/* From the launch of a server to its first good answer. */
static void note_start(struct deploy_desk *desk, struct text deployment, struct text replica,
                       const char *reason)
{
    struct standing *standing = standing_of(deployment);
    uint64_t now = loop_now_us(desk->worker->loop);
    struct start *start = NULL;
    if (text_starts(text_of(reason), TEXT("evicted_for:")))
        standing_note_eviction(standing);
    if (!replica.len || replica.len >= sizeof(start->replica))
        return;
    for (size_t i = 0; i < STARTS_MAX && !start; i++)
        if (text_equal(text_of(desk->starts[i].replica), replica))
            start = &desk->starts[i];
    if (strcmp(reason, "running") == 0 && !start) {
        start = &desk->starts[desk->start_next++ % STARTS_MAX];
        snprintf(start->replica, sizeof(start->replica), "%.*s", TEXT_ARGS(replica));
        start->at_us = now;
    } else if (strcmp(reason, "ready") == 0 && start) {
        standing_note(standing, STANDING_COLD_START, (int64_t)(now - start->at_us));
        start->replica[0] = '\0';
    }
}

/* A server that ended may come again by itself; a deployment that was given up or rolled back wants
 * somebody to look. */
static enum log_level level_of(const char *replica, const char *reason)
{
    if (!deployment_event_is_failure(reason))
        return LOG_INFO;
    return replica && *replica ? LOG_WARN : LOG_ERROR;
}

/* Its loop is not to be called from within; what it says is read. */
static void on_event(void *with, struct text deployment, const char *replica, const char *reason,
                     const char *words)
{
    struct deploy_desk *desk = with;
    log_line(level_of(replica, reason), "deployment", "%.*s%s%s: %s%s%s", TEXT_ARGS(deployment),
             replica && *replica ? " " : "", replica ? replica : "", reason,
             words && *words ? ": " : "", words ? words : "");
    note_start(desk, deployment, text_of(replica ? replica : ""), reason);
    if (!replica || !*replica) /* the replicas' own are many: the deployment's list has them */
        service_event(desk->worker->options.service, "deployment", "", "%.*s: %s%s%s",
                      TEXT_ARGS(deployment), reason, words && *words ? ": " : "",
                      words ? words : "");
}

/* Who asks, and how many wait. */
struct waiting_question {
    const struct config *config;
    struct text deployment;
    unsigned count;
};

/* Those whose model can be answered by this deployment only: others are counted when their call is
 * sent to it. */
static void see_waiting(void *with, struct text model, unsigned count)
{
    struct waiting_question *question = with;
    const struct route *route = routes_find(question->config->routes, model);
    if (!route)
        route = routes_find(question->config->routes, text_head(model, text_find_byte(model, '@')));
    bool is_its = route && route->target_count > 0;
    for (size_t i = 0; is_its && i < route->target_count; i++) {
        const struct deployment_spec *spec = route->targets[i].provider->spec;
        is_its = spec && text_equal(spec->name, question->deployment);
    }
    question->count += is_its ? count : 0;
}

static unsigned jobs_waiting(void *with, struct text deployment)
{
    const struct deploy_desk *desk = with;
    struct waiting_question question = {.config = desk->config, .deployment = deployment};
    if (desk->config->routes)
        jobs_waiting_each(desk->worker->options.jobs, see_waiting, &question);
    return question.count;
}

static void on_round(void *with)
{
    const struct deploy_desk *desk = with;
    share_desk_ring(desk->share);
}

static bool is_wanted(const struct deploy_desk *desk, const struct config *config)
{
    char path[4096];
    struct stat there;
    snprintf(path, sizeof(path), "%s/deployments", config->state);
    return desk->deployments || config->deploy.spec_count > 0 || stat(path, &there) == 0;
}

static void open_desk(struct deploy_desk *desk, const struct config *config, struct text verdicts)
{
    struct worker *worker = desk->worker;
    struct deployments_site site = {
        .loop = worker->loop,
        .upstreams = worker->upstreams,
        .state_dir = worker->options.start->state,
        .owner = worker->options.node,
        .verdicts = verdicts,
        .leave = config->deploy.leave,
        .keeper = "/proc/self/exe",
        .is_shared = desk->share != NULL,
        .on_round = desk->share ? on_round : NULL,
        .on_event = on_event,
        .jobs_waiting = jobs_waiting,
        .with = desk,
    };
    atomic_store(&desk->deployments, deployments_new(&site));
    standing_set_fleet(desk->deployments); /* it outlives the calls: worker 0 ends last */
    standing_set_desk(worker->loop, &desk->knock);
    share_desk_begin(desk->share, desk->deployments);
    timer_set(worker->loop, &desk->timer, loop_now_us(worker->loop) + LOOK_US);
}

static void put_in_force(struct deploy_desk *desk, struct config *config, struct text verdicts)
{
    struct config *before = desk->config;
    if (!is_wanted(desk, config))
        return;
    desk->config = config_ref(config);
    if (!desk->deployments)
        open_desk(desk, config, verdicts);
    deployments_configure(desk->deployments, config->deploy.nodes, config->deploy.node_count,
                          config->deploy.specs, config->deploy.spec_count);
    struct senses ignored = {0};
    for (size_t i = 0; before && i < before->deploy.spec_count; i++)
        say_one(desk, before->deploy.specs[i]->name, &ignored);
    say_all(desk);
    config_unref(before);
}

void deploy_desk_configure(struct deploy_desk *desk, struct config *config)
{
    put_in_force(desk, config, (struct text){"", 0});
}

void deploy_desk_hand_over(struct deploy_desk *desk, bool handed)
{
    if (desk && desk->deployments)
        deployments_hand_over(desk->deployments, handed);
}

static void on_ended(void *with)
{
    struct deploy_desk *desk = with;
    pthread_mutex_lock(&desk->lock);
    desk->over = true;
    pthread_cond_signal(&desk->ended);
    pthread_mutex_unlock(&desk->lock);
}

static void end(struct errand *errand)
{
    struct deploy_desk *desk = LIST_MEMBER(errand, struct deploy_desk, end);
    if (desk->deployments)
        deployments_end(desk->deployments, desk->end_us, on_ended, desk);
    share_desk_resign(desk->share); /* and tells that we are no heir of anybody's */
    if (!desk->deployments)
        on_ended(desk);
}

int64_t deploy_desk_patience_us(const struct config *config)
{
    int64_t longest = 0;
    for (size_t i = 0; i < config->deploy.spec_count; i++)
        if (config->deploy.specs[i]->stop.grace_us > longest)
            longest = config->deploy.specs[i]->stop.grace_us;
    longest = longest < PATIENCE_MAX_US ? longest : PATIENCE_MAX_US;
    return config->deploy.spec_count ? longest + SLACK_US : SLACK_US;
}

void deploy_desk_end(struct deploy_desk *desk, int64_t wait_us)
{
    struct timespec until;
    desk->end_us = clock_now_us() + (uint64_t)wait_us;
    desk->end.run = end;
    loop_post(desk->worker->loop, &desk->end);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec +=
        (time_t)(wait_us / 1000000) + 1; /* it keeps its time; this is for a stuck one */
    pthread_mutex_lock(&desk->lock);
    while (!desk->over && pthread_cond_timedwait(&desk->ended, &desk->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&desk->lock);
}

struct deploy_desk *deploy_desk_new(struct worker *worker, struct config *config,
                                    struct text verdicts)
{
    struct deploy_desk *desk = memory_new(sizeof(*desk));
    desk->worker = worker;
    desk->timer.on_time = on_time;
    desk->knock.run = on_knock;
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->ended, NULL);
    buffer_init(&desk->budget, BUDGET_BYTES);
    desk->spent = hash_name(TEXT(""));
    desk->verdicts = UINT64_MAX; /* so that what is kept of others goes */
    desk->share = share_desk_new(worker);
    put_in_force(desk, config, verdicts);
    return desk;
}

void deploy_desk_free(struct deploy_desk *desk)
{
    if (!desk)
        return;
    timer_stop(&desk->timer);
    standing_set_desk(NULL, NULL);
    standing_set_fleet(NULL);
    share_desk_stop(desk->share);
    if (desk->deployments)
        deployments_free(desk->deployments);
    share_desk_free(desk->share);
    config_unref(desk->config);
    buffer_done(&desk->budget);
    pthread_cond_destroy(&desk->ended);
    pthread_mutex_destroy(&desk->lock);
    memory_free(desk);
}

struct deployments *deploy_desk_open(struct deploy_desk *desk)
{
    return desk ? atomic_load(&desk->deployments) : NULL;
}

/* ------------------------------------------------------------------------------- questions */

struct question {
    struct errand errand;
    struct deploy_desk *desk;
    void (*run)(struct deployments *desk, void *with);
    void *with;
    bool done, ran;
};

static void on_question(struct errand *errand)
{
    struct question *question = LIST_MEMBER(errand, struct question, errand);
    struct deploy_desk *desk = question->desk;
    if (desk->deployments) {
        question->run(desk->deployments, question->with);
        say_all(desk);
    }
    pthread_mutex_lock(&desk->lock);
    question->ran = desk->deployments != NULL;
    question->done = true;
    pthread_cond_broadcast(&desk->ended);
    pthread_mutex_unlock(&desk->lock);
}

bool deploy_desk_ask(struct deploy_desk *desk, void (*run)(struct deployments *desk, void *with),
                     void *with)
{
    struct question question = {
        .errand = {NULL, on_question}, .desk = desk, .run = run, .with = with};
    if (!desk)
        return false;
    /* Behind a configuration that was given to the worker before: it may have the first one. */
    loop_post(desk->worker->loop, &question.errand);
    pthread_mutex_lock(&desk->lock);
    while (!question.done)
        pthread_cond_wait(&desk->ended, &desk->lock);
    pthread_mutex_unlock(&desk->lock);
    return question.ran;
}

struct taking {
    struct deploy_desk *desk;
    const struct deploy_office *office;
};

static void take_office(struct deployments *deployments, void *with)
{
    const struct taking *taking = with;
    const struct deploy_office *office = taking->office;
    for (size_t i = 0; i < office->count; i++) {
        const struct made_order *order = &office->orders[i];
        struct fleet_orders orders = {order->stopped, order->pinned, order->unpinned, order->low,
                                      order->high};
        deployments_recall(deployments, order->name, &orders);
    }
    deployments_recall_verdicts(deployments, office->verdicts);
    share_desk_take_office(taking->desk->share, office->token, office->spent);
}

void deploy_desk_take_office(struct deploy_desk *desk, const struct deploy_office *office)
{
    struct taking taking = {desk, office};
    deploy_desk_ask(desk, take_office, &taking);
}

void deploy_desk_keep_again(struct deploy_desk *desk)
{
    atomic_store(&desk->keeps_again, true);
}

uint64_t deploy_desk_now(void)
{
    return clock_now_us();
}

void deploy_desk_put_budget(struct deploy_desk *desk, struct buffer *out)
{
    if (!desk)
        return;
    pthread_mutex_lock(&desk->lock);
    buffer_append_text(out, buffer_text(&desk->budget));
    pthread_mutex_unlock(&desk->lock);
}
