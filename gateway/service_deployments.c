/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service's thread does for deployments: those that were made at run time join the file's,
 * what other nodes change is taken over, and what was ordered and spent holds on - over a restart,
 * and for whoever leads next.
 */
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/deploy_desk.h"
#include "gateway/deploy_order.h"
#include "gateway/deploy_page.h"
#include "gateway/made/redis.h"
#include "gateway/service_state.h"
#include "gateway/share_desk.h"

enum { SPENT_BYTES = 256 << 10, ARENA_BLOCK = 4096 };

/* -------------------------------------------------------------------------------- what was made */

void service_log_left_out(const struct config *config, const struct made_list *made)
{
    for (size_t i = 0; i < made->count; i++) {
        const struct deployment_spec *spec = deploy_spec(config, made->at[i].name);
        if (!spec || !text_equal(spec->id, made->at[i].id))
            log_line(LOG_WARN, "config",
                     "the deployment %.*s, which was made at run time, is left out: the file "
                     "declares its name, or has no place for it any more",
                     TEXT_ARGS(made->at[i].name));
    }
}

enum made_pulled service_pull(struct service *service)
{
    enum made_pulled pulled = made_pull(service->made);
    if (pulled != MADE_CHANGED)
        return pulled;
    struct reload_outcome outcome;
    struct made_list *made = made_read(service->made);
    struct config *next = service_load(service, made, &outcome);
    if (next != NULL) {
        service_log_left_out(next, made);
        log_line(LOG_INFO, "config", "deployments changed on another node: generation %llu",
                 (unsigned long long)next->generation);
        service_take(service, next);
    } else {
        log_line(LOG_WARN, "config",
                 "deployments that changed on another node are not in force: the file has errors");
    }
    reload_outcome_done(&outcome);
    made_list_free(made);
    return pulled;
}

/* On the thread that asks Redis. */
static void on_made_change(void *with)
{
    struct service *service = with;
    atomic_store(&service->made_changed, true);
    service_wake(service);
}

static void on_made_ask(void *with)
{
    struct service *service = with;
    if (share_desk_elected() == 0)
        return;
    atomic_store(&service->made_asked, true);
    service_wake(service);
}

/* A store that answers is waited for, so that all begins with what others have made. */
static bool share_made(struct service *service)
{
    struct fault why;
    uint64_t begun = clock_now_us();
    struct made_redis_options options = {&service->start->store.redis,
                                         service->start->store.key_prefix, on_made_change,
                                         on_made_ask, service};
    if (!service->config->store.is_redis)
        return true;
    service->made_redis = made_redis_open(&options, &why);
    if (!service->made_redis) {
        service_cannot_start(service, why.text);
        return false;
    }
    made_share(service->made, service->made_redis);
    while (made_pull(service->made) == MADE_AWAY) {
        if (clock_now_us() - begun >= SERVICE_STORE_WAIT_US) {
            log_line(LOG_WARN, "service",
                     "Redis does not answer yet: deployments are those of the last time");
            break;
        }
        usleep(SERVICE_STORE_LOOK_US);
    }
    return true;
}

bool service_open_made(struct service *service)
{
    struct fault why;
    service->made = made_open(service->config->state, &why);
    if (service->made == NULL) {
        service_cannot_start(service, why.text);
        return false;
    }
    if (!share_made(service))
        return false;
    struct made_list *list = made_read(service->made);
    struct reload_outcome outcome = {0};
    struct config *next = list->count > 0 ? service_load(service, list, &outcome) : NULL;
    if (next != NULL) {
        config_unref(service->config);
        service->config = next;
        service_log_left_out(next, list);
    } else if (list->count > 0) {
        service_log_words(LOG_ERROR, "", outcome.words);
        log_line(LOG_ERROR, "service",
                 "the file is broken: the deployments that were made at run time are not served "
                 "before a good reload");
    }
    reload_outcome_done(&outcome);
    made_list_free(list);
    return true;
}

void service_close_made(struct service *service)
{
    made_close(service->made);
    made_redis_close(service->made_redis);
}

/* ------------------------------------------------------------------------ what holds on */

static void obey_again(struct deployments *desk, void *with)
{
    const struct made_order *order = with;
    const char *why;
    if (order->low >= 0)
        deployments_obey(desk, order->name, FLEET_SCALE, (unsigned)order->low,
                         (unsigned)order->high, &why);
    if (order->pinned || order->unpinned)
        deployments_obey(desk, order->name, order->pinned ? FLEET_PIN : FLEET_UNPIN, 0, 0, &why);
    if (order->stopped)
        deployments_obey(desk, order->name, FLEET_STOP, 0, 0, &why);
}

static void recall_spent(struct deployments *desk, void *with)
{
    const struct text *lines = with;
    deployments_recall_spent(desk, *lines);
}

void service_repeat_orders(struct service *service)
{
    const struct config *config = service->config;
    struct arena arena;
    if (service->made_redis) /* whoever leads will see to it */
        return;
    arena_init(&arena, ARENA_BLOCK);
    struct text spent = made_spent(service->made, &arena);
    deploy_desk_ask(service_deploy_desk(service), recall_spent, &spent); /* also that none was */
    arena_done(&arena);
    for (size_t i = 0; i < config->deploy.spec_count; i++) {
        struct made_order order = made_order_of(service->made, config->deploy.specs[i]->name);
        if (order.stopped || order.pinned || order.unpinned || order.low >= 0)
            deploy_desk_ask(service_deploy_desk(service), obey_again, &order);
    }
}

void service_keep_spent(struct service *service)
{
    struct fault fault;
    struct buffer lines;
    struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
    if (!desk || service_has_handed_over(service)) /* then it is for another to say */
        return;
    buffer_init(&lines, SPENT_BYTES);
    deployments_spent(desk, &lines);
    if (!made_keep_spent(service->made, buffer_text(&lines), &fault))
        log_line(LOG_WARN, "deploy", "what deployments have spent is not kept: %s", fault.text);
    buffer_done(&lines);
}

struct text service_verdicts(struct service *service, struct arena *arena)
{
    return made_verdicts(service->made, arena);
}

/* What stands behind <wanted> in its line; empty = there is none. */
static struct text words_of(struct text wanted, struct text lines)
{
    struct text line, name;
    while (text_next(&lines, '\n', &line))
        if (text_next(&line, ' ', &name) && text_equal(name, wanted))
            return line;
    return (struct text){"", 0};
}

/* One that was made at run time and has no place now may have one again. */
static bool is_left_out(struct service *service, struct text name)
{
    struct made_list *made = made_read(service->made);
    bool left_out = !deploy_spec(service->config, name) && made_find(made, name);
    made_list_free(made);
    return left_out;
}

/* What is in <now> and not in <before> is kept, and what is not in <now> any more is dropped. */
static bool keep_difference(struct service *service, struct text before, struct text now,
                            struct fault *fault)
{
    struct text line, name, rest = now;
    while (text_next(&rest, '\n', &line))
        if (text_next(&line, ' ', &name) && !text_equal(line, words_of(name, before)) &&
            !made_verdict_put(service->made, name, line, fault))
            return false;
    rest = before;
    while (text_next(&rest, '\n', &line))
        if (text_next(&line, ' ', &name) && words_of(name, now).len == 0 &&
            !is_left_out(service, name) &&
            !made_verdict_put(service->made, name, (struct text){"", 0}, fault))
            return false;
    return true;
}

static bool decides_here(struct service *service, struct deployments *desk)
{
    struct deployments_office office;
    if (!desk || service_has_handed_over(service))
        return false;
    deployments_office(desk, &office);
    return !office.is_shared || office.role == ROLE_LEADS;
}

void service_keep_verdicts(struct service *service)
{
    struct fault fault;
    struct buffer lines;
    struct arena arena;
    struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
    if (!decides_here(service, desk))
        return;
    buffer_init(&lines, DEPLOYMENTS_VERDICTS_BYTES);
    arena_init(&arena, ARENA_BLOCK);
    deployments_verdicts(desk, &lines);
    if (!keep_difference(service, made_verdicts(service->made, &arena), buffer_text(&lines),
                         &fault)) {
        log_line(LOG_WARN, "deploy",
                 "that a revision was rolled back, or is tried, does not hold over a restart yet: "
                 "%s",
                 fault.text);
        deploy_desk_keep_again(service_deploy_desk(service));
    }
    arena_done(&arena);
    buffer_done(&lines);
}

/* ------------------------------------------------------------------------------- with others */

void service_wake_for_verdicts(struct service *service)
{
    atomic_store(&service->verdicts_changed, true);
    service_wake(service);
}

void service_wake_for_office(struct service *service)
{
    atomic_store(&service->office_waits, true);
    service_wake(service);
}

void service_wake_for_spent(struct service *service)
{
    atomic_store(&service->spent_changed, true);
    service_wake(service);
}

/* Who leads knows first all that was made and ordered. If the store does not say, we are asked
 * again.
 */
static void take_office(struct service *service)
{
    int64_t token = share_desk_elected();
    struct deploy_desk *desk = service_deploy_desk(service);
    if (token == 0 || desk == NULL || service_pull(service) == MADE_AWAY)
        return;
    const struct config *config = service->config;
    struct made_order *orders = memory_new((config->deploy.spec_count + 1) * sizeof(*orders));
    for (size_t i = 0; i < config->deploy.spec_count; i++)
        orders[i] = made_order_of(service->made, config->deploy.specs[i]->name);
    struct arena arena;
    arena_init(&arena, ARENA_BLOCK);
    struct deploy_office office = {orders, config->deploy.spec_count, token,
                                   made_spent(service->made, &arena),
                                   made_verdicts(service->made, &arena)};
    deploy_desk_take_office(desk, &office);
    service_wake_for_verdicts(service); /* what is kept of others goes */
    arena_done(&arena);
    memory_free(orders);
}

void service_answer_nodes(struct service *service)
{
    if (service->phase != SERVICE_SERVING)
        return;
    if (atomic_exchange(&service->made_changed, false))
        service_pull(service);
    if (atomic_exchange(&service->office_waits, false))
        take_office(service);
    if (atomic_exchange(&service->made_asked, false))
        deploy_order_serve(service);
    if (atomic_exchange(&service->spent_changed, false))
        service_keep_spent(service);
    if (atomic_exchange(&service->verdicts_changed, false))
        service_keep_verdicts(service);
}
