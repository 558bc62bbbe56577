/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments: looked at, made, changed, ordered about. What changes something is done on the
 * service's thread, which alone loads configurations; it asks the desk where it must. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/admin_inside.h"
#include "gateway/answer.h"
#include "gateway/base/json.h"
#include "gateway/deploy_desk.h"
#include "gateway/deploy_order.h"
#include "gateway/deploy_page.h"
#include "gateway/deploy_store.h"
#include "gateway/service_state.h"

static struct deployments *desk_of(struct service *service)
{
    return deploy_desk_open(service_deploy_desk(service));
}

static struct deployment_spec *find(const struct config *config, struct admin_call *call)
{
    struct deployment_spec *spec = deploy_spec(config, text_of(call->id));
    if (!spec)
        admin_problem(call, 404, TEXT("there is no deployment of that name"));
    return spec;
}

/* ------------------------------------------------------------------------------- looking */

/* Of a cluster: who starts and stops, or why nobody does. */
static void put_cluster(struct json_write *json, struct deployments *desk)
{
    static const char *const roles[] = {"paused", "follows", "leads"};
    struct deployments_office office = {.is_shared = false};
    if (desk)
        deployments_office(desk, &office);
    if (!office.is_shared)
        return;
    json_name(json, "cluster");
    json_open(json, '{');
    json_text_member(json, "role", text_of(roles[office.role]));
    if (office.leader[0])
        json_text_member(json, "leader", text_of(office.leader));
    if (office.role == ROLE_PAUSED)
        json_text_member(json, "reason", text_of(office.why));
    json_int_member(json, "other_nodes", office.nodes);
    json_close(json, '}');
}

void admin_deployments(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct made_list *made = made_read(service->made);
    char room[ADMIN_VALUE_BYTES];
    struct text after = {"", 0};
    size_t limit = 0, count = 0;
    const struct deployment_spec *last = NULL;
    bool more = false;
    if (admin_limit(call, &limit) && admin_value(call, "after", room, &after)) {
        bool found = after.len == 0;
        json_open(&json, '{');
        json_name(&json, "data");
        json_open(&json, '[');
        for (size_t i = 0; i < config->deploy.spec_count; i++) {
            const struct deployment_spec *spec = config->deploy.specs[i];
            more = found && count == limit;
            if (more)
                break;
            if (found) {
                deploy_write(&json, spec, desk_of(service), made_find(made, spec->name), false);
                last = spec;
                count++;
            }
            found = found || text_equal(spec->name, after);
        }
        json_close(&json, ']');
        json_name(&json, "next");
        if (more && last)
            json_text(&json, last->name);
        else
            json_null(&json);
        put_cluster(&json, desk_of(service));
        json_close(&json, '}');
        admin_done(call, &json);
    }
    made_list_free(made);
}

static void show(struct service *service, const struct config *config, struct admin_call *call,
                 int status)
{
    struct json_write json = {.out = &call->out};
    const struct deployment_spec *spec = deploy_spec(config, text_of(call->id));
    struct made_list *made = made_read(service->made);
    if (spec) {
        deploy_write(&json, spec, desk_of(service), made_find(made, spec->name), true);
        admin_done(call, &json);
        if (call->status == 200)
            call->status = status;
    } else {
        admin_problem(call, 404, TEXT("there is no deployment of that name"));
    }
    made_list_free(made);
}

void admin_deployment(struct service *service, struct config *config, struct admin_call *call)
{
    if (find(config, call))
        show(service, config, call, 200);
}

void admin_deployment_revisions(struct service *service, struct config *config,
                                struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    struct made_list *list = made_versions(service->made, spec->name);
    struct deployment_page *page =
        desk_of(service) ? deployments_page(desk_of(service), spec->name) : NULL;
    json_open(&json, '{');
    if (page) {
        json_int_member(&json, "revision", page->view.revision);
        json_int_member(&json, "stable_revision", page->view.stable);
    }
    json_name(&json, "data");
    json_open(&json, '[');
    for (size_t i = 0; i < list->count; i++) {
        json_open(&json, '{');
        json_int_member(&json, "version", list->at[i].version);
        json_time_member(&json, "at", list->at[i].changed_us);
        json_text_member(&json, "by", list->at[i].by);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    admin_done(call, &json);
    deployment_page_free(page);
    made_list_free(list);
}

void admin_deployment_adapters(struct service *service, struct config *config,
                               struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    struct deployment_page *page =
        desk_of(service) ? deployments_page(desk_of(service), spec->name) : NULL;
    json_open(&json, '{');
    json_name(&json, "data");
    json_open(&json, '[');
    for (size_t i = 0; i < spec->adapter_count; i++) {
        json_open(&json, '{');
        json_text_member(&json, "name", spec->adapters[i].name);
        json_text_member(&json, "source", spec->adapters[i].source);
        for (size_t k = 0; page && k < page->adapter_count; k++) {
            const struct deployment_adapter_page *adapter = &page->adapters[k];
            if (!text_equal(text_of(adapter->name), spec->adapters[i].name))
                continue;
            json_int_member(&json, "ready", adapter->ready);
            json_int_member(&json, "loading", adapter->loading);
            json_int_member(&json, "failed", adapter->failed);
            json_text_member(&json, "message", text_of(adapter->words));
        }
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    admin_done(call, &json);
    deployment_page_free(page);
}

/* A parameter that is a number. */
static bool read_number(struct admin_call *call, const char *name, uint64_t most, uint64_t usual,
                        uint64_t *number)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    *number = usual;
    if (!admin_value(call, name, room, &value))
        return false;
    if (value.len == 0 || text_number(value, most, number))
        return true;
    admin_field_problem(call, 400, name, TEXT("this parameter is a number"));
    return false;
}

/* With follow=1 the answer goes on and on: what of it is to come is told later. */
static bool wants_follow(struct admin_call *call, const struct deployment_spec *spec, bool events,
                         uint64_t after)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    if (!spec || !admin_value(call, "follow", room, &value) || !value.len ||
        text_equal(value, TEXT("0")))
        return false;
    snprintf(call->id, sizeof(call->id), "%.*s", TEXT_ARGS(spec->name));
    call->follows = true;
    call->events = events;
    call->after = after;
    call->status = 200;
    return true;
}

void admin_deployment_logs(struct service *service, struct config *config, struct admin_call *call)
{
    enum { LINES_USUAL = 100, LINES_MAX = 10000, LOG_BYTES = 8 << 20 };
    struct json_write json = {.out = &call->out};
    char room[ADMIN_VALUE_BYTES];
    struct text replica, line, rest;
    uint64_t lines, after;
    struct buffer text;
    if (!admin_value(call, "replica", room, &replica) ||
        !read_number(call, "n_lines", LINES_MAX, LINES_USUAL, &lines) ||
        !read_number(call, "after", UINT64_MAX, 0, &after))
        return;
    const struct deployment_spec *spec = deploy_spec(config, text_of(call->id));
    struct text name = spec ? spec->name : text_of(call->id);
    if (wants_follow(call, spec, false, after))
        return;
    uint64_t next = after;
    buffer_init(&text, LOG_BYTES);
    bool found =
        desk_of(service) &&
        (after > 0 ? deployments_follow(desk_of(service), name, after, &text, &next)
                   : deployments_logs(desk_of(service), name, replica, (unsigned)lines, &text));
    if (!found && !spec) {
        admin_problem(call, 404, TEXT("there is no deployment of that name"));
    } else {
        rest = buffer_text(&text);
        json_open(&json, '{');
        json_name(&json, "logs");
        json_open(&json, '[');
        while (rest.len && text_next(&rest, '\n', &line))
            json_text(&json, line);
        json_close(&json, ']');
        if (after == 0 && desk_of(service))
            deployments_follow(desk_of(service), name, 0, NULL, &next);
        json_int_member(&json, "next", (int64_t)next);
        json_close(&json, '}');
        admin_done(call, &json);
    }
    buffer_done(&text);
}

void admin_deployment_events(struct service *service, struct config *config,
                             struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    const struct deployment_spec *spec = find(config, call);
    uint64_t after;
    size_t limit, count = 0;
    if (!spec || !admin_limit(call, &limit) || !read_number(call, "after", UINT64_MAX, 0, &after))
        return;
    if (wants_follow(call, spec, true, after))
        return;
    struct deployment_event *events = memory_new(limit * sizeof(*events));
    if (desk_of(service))
        count = deployments_events(desk_of(service), spec->name, after, events, limit);
    json_open(&json, '{');
    json_name(&json, "data");
    json_open(&json, '[');
    for (size_t i = 0; i < count; i++)
        deploy_write_event(&json, &events[i]);
    json_close(&json, ']');
    json_int_member(&json, "next", (int64_t)(count ? events[count - 1].number : after));
    json_close(&json, '}');
    admin_done(call, &json);
    memory_free(events);
}

/* ------------------------------------------------------------------------------- placement */

static void put_resources(struct json_write *json, const char *name,
                          const struct resources *resources)
{
    json_name(json, name);
    json_open(json, '{');
    json_int_member(json, "memory", resources->memory_bytes);
    json_int_member(json, "vram", resources->vram_bytes);
    json_int_member(json, "cpus_milli", resources->cpus_milli);
    json_int_member(json, "gpus", resources->gpus);
    json_close(json, '}');
}

static void write_places(struct deployments *desk, void *with)
{
    struct admin_call *call = with;
    struct json_write json = {.out = &call->out};
    struct fleet_place *places = memory_new(SPEC_NODES_MAX * sizeof(*places));
    size_t count = fleet_places(deployments_fleet(desk), places, SPEC_NODES_MAX);
    json_open(&json, '{');
    json_name(&json, "nodes");
    json_open(&json, '[');
    for (size_t i = 0; i < count; i++) {
        json_open(&json, '{');
        json_text_member(&json, "name", places[i].node->name);
        json_bool_member(&json, "usable", places[i].usable);
        json_int_member(&json, "replicas", places[i].replicas);
        put_resources(&json, "has", &places[i].node->has);
        put_resources(&json, "reserved", &places[i].reserved);
        json_int_member(&json, "nanos_per_hour", places[i].node->price_nanos_per_hour);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    admin_done(call, &json);
    memory_free(places);
}

void admin_placement(struct service *service, struct config *config, struct admin_call *call)
{
    (void)config;
    if (!deploy_desk_ask(service_deploy_desk(service), write_places, call)) {
        buffer_append_text(&call->out, TEXT("{\"nodes\":[]}"));
        call->status = 200;
        call->content_type = "application/json";
    }
}

/* ------------------------------------------------------------------------------- orders */

static void give_order(struct service *service, const struct config *config,
                       struct admin_call *call, struct deploy_order order)
{
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    order.name = spec->name;
    int status = deploy_order_give(service, &order);
    if (status != 0)
        admin_problem(call, status, text_of(order.why));
    else
        show(service, config, call, 200);
}

/* {"replicas": 2}, or {"min": 1, "max": 3}. */
static bool read_scale(struct admin_call *call, struct deploy_order *order)
{
    struct json_problem problem;
    struct json *body = json_read(call->body, &problem);
    int64_t low = -1, high = -1, replicas = -1;
    bool good = body && json_kind(body) == SCAN_OBJECT;
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (good && json_next(body, &at, &name, &value)) {
        int64_t *to = text_equal(name, TEXT("replicas")) ? &replicas
                      : text_equal(name, TEXT("min"))    ? &low
                      : text_equal(name, TEXT("max"))    ? &high
                                                         : NULL;
        good = to && json_to_int(value, 0, SPEC_REPLICAS_MAX, to);
    }
    json_free(body);
    if (replicas >= 0 && low < 0 && high < 0)
        low = high = replicas;
    good = good && low >= 0 && high >= low;
    if (!good)
        admin_problem(call, 400,
                      TEXT("the body is {\"replicas\": n}, or {\"min\": n, \"max\": n}, at most "
                           "64"));
    order->low = (unsigned)low;
    order->high = (unsigned)high;
    return good;
}

static bool read_action(struct admin_call *call, enum fleet_order *order)
{
    static const struct {
        const char *word;
        enum fleet_order order;
    } actions[] = {{"promote", FLEET_PROMOTE},
                   {"pause", FLEET_PAUSE},
                   {"resume", FLEET_RESUME},
                   {"rollback", FLEET_ROLLBACK}};
    struct json_problem problem;
    struct json *body = json_read(call->body, &problem);
    struct text word = {"", 0};
    bool found = false;
    if (json_count(body) == 1)
        json_to_text(json_member(body, "action"), &word);
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]) && !found; i++)
        if (text_equal(word, text_of(actions[i].word))) {
            *order = actions[i].order;
            found = true;
        }
    json_free(body);
    if (!found)
        admin_field_problem(
            call, 400, "action",
            TEXT("the body is {\"action\": …}: promote, pause, resume or rollback"));
    return found;
}

void admin_deployment_order(struct service *service, struct config *config, struct admin_call *call)
{
    static const struct {
        struct text suffix;
        enum fleet_order order;
    } orders[] = {
        {{"/start", 6}, FLEET_START},     {{"/stop", 5}, FLEET_STOP},
        {{"/restart", 8}, FLEET_RESTART}, {{"/sleep", 6}, FLEET_SLEEP},
        {{"/wake", 5}, FLEET_WAKE},       {{"/pin", 4}, FLEET_PIN},
        {{"/unpin", 6}, FLEET_UNPIN},     {{"/cancel", 7}, FLEET_CANCEL},
        {{"/scale", 6}, FLEET_SCALE},     {{"/rollout", 8}, FLEET_PROMOTE},
    };
    struct deploy_order order = {.order = FLEET_START};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        if (text_ends(call->route->path, orders[i].suffix))
            order.order = orders[i].order;
    if (order.order == FLEET_SCALE && !read_scale(call, &order))
        return;
    if (order.order == FLEET_PROMOTE && !read_action(call, &order.order))
        return;
    give_order(service, config, call, order);
}

/* ------------------------------------------------------------------------------- made, changed */

static void answer_problem(struct admin_call *call, const struct deploy_change *change)
{
    struct json_write json = {.out = &call->out};
    buffer_clear(&call->out);
    json_open(&json, '{');
    json_text_member(&json, "type", TEXT("about:blank"));
    json_text_member(&json, "title", text_of(answer_reason((unsigned)change->status)));
    json_int_member(&json, "status", change->status);
    json_text_member(&json, "detail", text_of(change->words));
    if (change->field[0])
        json_text_member(&json, "field", text_of(change->field));
    if (buffer_length(&change->errors)) {
        json_name(&json, "errors");
        json_open(&json, '[');
        json_raw(&json, buffer_text(&change->errors));
        json_close(&json, ']');
    }
    json_close(&json, '}');
    call->status = change->status;
    call->content_type = "application/problem+json";
}

static void finish_change(struct service *service, struct admin_call *call,
                          struct deploy_change *change, int status)
{
    if (change->status) {
        answer_problem(call, change);
    } else {
        struct config *config = service_config(service);
        snprintf(call->id, sizeof(call->id), "%s", change->name);
        show(service, config, call, status);
        config_unref(config);
    }
    buffer_done(&change->errors);
}

void admin_deployment_create(struct service *service, struct config *config,
                             struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name};
    (void)config;
    deploy_store_create(service, call->body, &change);
    finish_change(service, call, &change, 201);
}

void admin_deployment_patch(struct service *service, struct config *config, struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name, .if_match = call->if_match};
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    snprintf(change.name, sizeof(change.name), "%.*s", TEXT_ARGS(spec->name));
    deploy_store_patch(service, call->body, &change);
    finish_change(service, call, &change, 200);
}

void admin_deployment_delete(struct service *service, struct config *config,
                             struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name, .if_match = call->if_match};
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    snprintf(change.name, sizeof(change.name), "%.*s", TEXT_ARGS(spec->name));
    deploy_store_delete(service, &change);
    if (change.status)
        answer_problem(call, &change);
    else
        call->status = 204;
    buffer_done(&change.errors);
}

/* One adapter more or less is a change of the list. */
static bool has_adapter(const struct deployment_spec *spec, struct text name)
{
    for (size_t i = 0; i < spec->adapter_count; i++)
        if (text_equal(spec->adapters[i].name, name))
            return true;
    return false;
}

static void write_adapters(struct json_write *json, const struct deployment_spec *spec,
                           struct text without, struct text more)
{
    json_open(json, '{');
    json_name(json, "adapters");
    json_open(json, '[');
    for (size_t i = 0; i < spec->adapter_count; i++) {
        if (text_equal(spec->adapters[i].name, without))
            continue;
        json_open(json, '{');
        json_text_member(json, "name", spec->adapters[i].name);
        json_text_member(json, "source", spec->adapters[i].source);
        json_close(json, '}');
    }
    if (more.len)
        json_raw(json, more);
    json_close(json, ']');
    json_close(json, '}');
}

void admin_deployment_adapter_add(struct service *service, struct config *config,
                                  struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name};
    const struct deployment_spec *spec = find(config, call);
    struct json_problem problem;
    struct json *body = spec ? json_read(call->body, &problem) : NULL;
    struct text name = {"", 0};
    if (!spec)
        return;
    json_to_text(json_member(body, "name"), &name);
    if (!name.len) {
        admin_field_problem(call, 400, "name", TEXT("the body is {\"name\": …, \"source\": …}"));
    } else if (has_adapter(spec, name)) {
        admin_problem(call, 409, TEXT("there is an adapter of that name already"));
    } else {
        struct buffer patch;
        buffer_init(&patch, ADMIN_BODY_BYTES);
        struct json_write json = {.out = &patch};
        write_adapters(&json, spec, (struct text){"", 0}, call->body);
        snprintf(change.name, sizeof(change.name), "%.*s", TEXT_ARGS(spec->name));
        deploy_store_patch(service, buffer_text(&patch), &change);
        finish_change(service, call, &change, 201);
        buffer_done(&patch);
    }
    json_free(body);
}

void admin_deployment_adapter_drop(struct service *service, struct config *config,
                                   struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name};
    const struct deployment_spec *spec = find(config, call);
    if (!spec)
        return;
    if (!has_adapter(spec, text_of(call->name))) {
        admin_problem(call, 404, TEXT("there is no adapter of that name"));
        return;
    }
    struct buffer patch;
    buffer_init(&patch, ADMIN_BODY_BYTES);
    struct json_write json = {.out = &patch};
    write_adapters(&json, spec, text_of(call->name), (struct text){"", 0});
    snprintf(change.name, sizeof(change.name), "%.*s", TEXT_ARGS(spec->name));
    deploy_store_patch(service, buffer_text(&patch), &change);
    if (change.status)
        answer_problem(call, &change);
    else
        call->status = 204;
    buffer_done(&change.errors);
    buffer_done(&patch);
}

/* Where would it go, and who for? Nothing is made. */
void admin_placement_simulate(struct service *service, struct config *config,
                              struct admin_call *call)
{
    struct deploy_change change = {.by = call->caller.name};
    struct deploy_fit fit = {.fits = false};
    struct json_write json = {.out = &call->out};
    (void)config;
    deploy_store_fit(service, call->body, &change, &fit);
    if (change.status) {
        answer_problem(call, &change);
    } else {
        json_open(&json, '{');
        json_bool_member(&json, "fits", fit.fits);
        json_text_member(&json, "message", text_of(fit.words));
        json_close(&json, '}');
        admin_done(call, &json);
    }
    buffer_done(&change.errors);
}
