/* SPDX-License-Identifier: Apache-2.0 */
/* The gate: which path, which method, by whom; and where it is answered. */
#include "gateway/admin.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/admin_desk.h"
#include "gateway/admin_inside.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/explain.h"
#include "gateway/foresight.h"
#include "gateway/service_state.h"

static const struct text root = {"/admin/v1", 9};

/* ---------------------------------------------------------------------------- the routes */

#define T(literal)                     \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }
#define OF_CALLS "tenant,key,user,model,target,provider,operation,status"

enum { LOOKS = MAY_ADMIN | MAY_VIEWER, ALL = LOOKS | MAY_TENANT, KEEPS = MAY_ADMIN | MAY_TENANT };

/* clang-format off */
static const struct admin_route routes[] = {
    {T("/overview"),         METHOD_GET,    LOOKS,     ON_WORKER,  admin_overview,      T(""), false, false},
    {T("/models"),           METHOD_GET,    ALL,       ON_WORKER,  admin_models,        T(""), false, false},
    {T("/targets"),          METHOD_GET,    LOOKS,     ON_WORKER,  admin_targets,       T(""), false, false},
    {T("/explain"),          METHOD_POST,   LOOKS,     ON_WORKER,  admin_explain,       T(""), false, true},
    {T("/replay"),           METHOD_POST,   LOOKS,     ON_LEDGER,  admin_replay,        T(""), false, true},
    {T("/events"),           METHOD_GET,    LOOKS,     ON_WORKER,  admin_events,        T("limit,after"), false, false},
    {T("/session"),          METHOD_GET,    ALL,       ON_WORKER,  admin_session,       T(""), false, false},
    {T("/session"),          METHOD_POST,   ALL,       ON_WORKER,  admin_session_begin, T(""), false, false},
    {T("/session"),          METHOD_DELETE, ALL,       ON_WORKER,  admin_session_end,   T(""), false, false},
    {T("/openapi.json"),     METHOD_GET,    ALL,       ON_WORKER,  admin_openapi,       T(""), false, false},
    {T("/config"),           METHOD_GET,    LOOKS,     ON_SERVICE, admin_config,        T("origin"), false, false},
    {T("/config/diff"),      METHOD_GET,    LOOKS,     ON_SERVICE, admin_config_diff,   T(""), false, false},
    {T("/config/reload"),    METHOD_POST,   MAY_ADMIN, ON_SERVICE, admin_config_reload, T(""), false, false},
    {T("/drain"),            METHOD_POST,   MAY_ADMIN, ON_WORKER,  admin_drain,         T(""), false, false},
    {T("/usage"),            METHOD_GET,    ALL,       ON_LEDGER,  admin_usage,         T("by,since,until,nodes," OF_CALLS), false, false},
    {T("/series"),           METHOD_GET,    ALL,       ON_LEDGER,  admin_series,        T("metric,by,since,until,nodes,step,top," OF_CALLS), false, false},
    {T("/percentiles"),      METHOD_GET,    ALL,       ON_LEDGER,  admin_percentiles,   T("since,until,nodes," OF_CALLS), false, false},
    {T("/requests"),         METHOD_GET,    ALL,       ON_LEDGER,  admin_requests,      T("since,until,nodes,order,limit,after," OF_CALLS), false, false},
    {T("/requests/{id}"),    METHOD_GET,    ALL,       ON_LEDGER,  admin_request,       T("since,until,nodes"), false, false},
    {T("/content"),          METHOD_DELETE, MAY_ADMIN, ON_LEDGER,  admin_content_delete, T("tenant,user,until"), true, false},
    {T("/deployments"),      METHOD_GET,    LOOKS,     ON_SERVICE, admin_deployments,   T("limit,after"), false, false},
    {T("/deployments"),      METHOD_POST,   MAY_ADMIN, ON_SERVICE, admin_deployment_create, T(""), true, true},
    {T("/deployments/{id}"), METHOD_GET,    LOOKS,     ON_SERVICE, admin_deployment,    T(""), false, false},
    {T("/deployments/{id}"), METHOD_PATCH,  MAY_ADMIN, ON_SERVICE, admin_deployment_patch, T(""), true, true},
    {T("/deployments/{id}"), METHOD_DELETE, MAY_ADMIN, ON_SERVICE, admin_deployment_delete, T(""), true, false},
    {T("/deployments/{id}/scale"),   METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, true},
    {T("/deployments/{id}/start"),   METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/stop"),    METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/restart"), METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/sleep"),   METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/wake"),    METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/pin"),     METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/unpin"),   METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/cancel"),  METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, false},
    {T("/deployments/{id}/rollout"), METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_order, T(""), true, true},
    {T("/deployments/{id}/revisions"), METHOD_GET, LOOKS,    ON_SERVICE, admin_deployment_revisions, T(""), false, false},
    {T("/deployments/{id}/adapters"), METHOD_GET,  LOOKS,    ON_SERVICE, admin_deployment_adapters, T(""), false, false},
    {T("/deployments/{id}/adapters"), METHOD_POST, MAY_ADMIN, ON_SERVICE, admin_deployment_adapter_add, T(""), true, true},
    {T("/deployments/{id}/adapters/{name}"), METHOD_DELETE, MAY_ADMIN, ON_SERVICE, admin_deployment_adapter_drop, T(""), true, false},
    {T("/deployments/{id}/logs"),    METHOD_GET,  LOOKS,     ON_WORKER,  admin_deployment_logs, T("n_lines,replica,after,follow"), false, false},
    {T("/deployments/{id}/events"),  METHOD_GET,  LOOKS,     ON_WORKER,  admin_deployment_events, T("limit,after,follow"), false, false},
    {T("/placement"),        METHOD_GET,    LOOKS,     ON_SERVICE, admin_placement,     T(""), false, false},
    {T("/placement/simulate"), METHOD_POST, LOOKS,     ON_SERVICE, admin_placement_simulate, T(""), false, true},
    {T("/limits"),           METHOD_GET,    ALL,       ON_ROSTER,  admin_limits,        T("tenant,nodes,limit,after"), false, false},
    {T("/jobs"),             METHOD_GET,    ALL,       ON_ROSTER,  admin_jobs,          T("tenant,status,limit,after"), false, false},
    {T("/jobs/{id}"),        METHOD_GET,    ALL,       ON_ROSTER,  admin_job,           T(""), false, false},
    {T("/jobs/{id}"),        METHOD_DELETE, KEEPS,     ON_ROSTER,  admin_job_cancel,    T(""), true, false},
    {T("/tenants"),          METHOD_GET,    ALL,       ON_ROSTER,  admin_roster,        T("tenant,limit,after"), false, false},
    {T("/tenants"),          METHOD_POST,   KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, true},
    {T("/tenants/{id}"),     METHOD_GET,    ALL,       ON_ROSTER,  admin_roster,        T(""), false, false},
    {T("/tenants/{id}"),     METHOD_PATCH,  KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, true},
    {T("/tenants/{id}"),     METHOD_DELETE, KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, false},
    {T("/keys"),             METHOD_GET,    ALL,       ON_ROSTER,  admin_roster,        T("tenant,revoked,limit,after"), false, false},
    {T("/keys"),             METHOD_POST,   KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, true},
    {T("/keys/{id}"),        METHOD_GET,    ALL,       ON_ROSTER,  admin_roster,        T(""), false, false},
    {T("/keys/{id}"),        METHOD_PATCH,  KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, true},
    {T("/keys/{id}"),        METHOD_DELETE, KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, false},
    {T("/keys/{id}/rotate"), METHOD_POST,   KEEPS,     ON_ROSTER,  admin_roster,        T(""), true, true},
};
/* clang-format on */

enum { ROUTES = sizeof(routes) / sizeof(routes[0]) };

bool admin_is_path(struct text path)
{
    return text_starts(path, root) && (path.len == root.len || path.at[root.len] == '/');
}

static struct text next_segment(struct text *path)
{
    struct text rest = text_from(*path, 1);
    struct text segment = text_head(rest, text_find_byte(rest, '/'));
    *path = text_from(rest, segment.len);
    return segment;
}

static bool has_form(struct text path, struct text pattern, struct text *id, struct text *name)
{
    while (pattern.len > 0 && path.len > 0) {
        struct text want = next_segment(&pattern), have = next_segment(&path);
        if (text_equal(want, TEXT("{id}")))
            *id = have;
        else if (text_equal(want, TEXT("{name}")))
            *name = have;
        else if (!text_equal(want, have))
            return false;
    }
    return pattern.len == 0 && path.len == 0;
}

/* ---------------------------------------------------------------------------- what is refused */

static bool refuse_path(struct admin_call *call)
{
    admin_problem(call, 404, TEXT("there is no such path below /admin/v1"));
    return false;
}

static bool refuse_method(struct admin_call *call, struct text path)
{
    size_t len = 0;
    for (size_t i = 0; i < ROUTES; i++) {
        struct text ignored;
        if (has_form(path, routes[i].path, &ignored, &ignored) && len < sizeof call->allow)
            len += (size_t)snprintf(call->allow + len, sizeof call->allow - len, "%s%s",
                                    len > 0 ? ", " : "", method_name(routes[i].method));
    }
    char words[64];
    snprintf(words, sizeof words, "this path takes %s", call->allow);
    admin_problem(call, 405, text_of(words));
    return false;
}

/* Parameters that nobody knows would otherwise look as if they narrowed something. */
static bool check_query(struct admin_call *call)
{
    struct text rest = call->query, pair;
    char words[200];
    while (rest.len > 0 && text_next(&rest, '&', &pair)) {
        struct text name = text_head(pair, text_find_byte(pair, '=')), known,
                    all = call->route->query;
        bool is_known = pair.len == 0;
        while (!is_known && text_next(&all, ',', &known))
            is_known = known.len > 0 && text_equal(known, name);
        if (is_known)
            continue;
        char field[40];
        snprintf(field, sizeof field, "%.*s", TEXT_ARGS(text_head(name, sizeof field - 1)));
        snprintf(words, sizeof words, "there is no such parameter here%s%.*s",
                 call->route->query.len > 0 ? "; those are: " : "", TEXT_ARGS(call->route->query));
        admin_field_problem(call, 400, field, text_of(words));
        return false;
    }
    return true;
}

/* The same of a body where none is read. {} says nothing either: clients that always send one. */
static bool check_body(struct admin_call *call)
{
    struct json_problem wrong;
    if (call->route->takes_body || text_trim(call->body).len == 0)
        return true;
    struct json *body = json_read(call->body, &wrong);
    bool is_empty = body && json_kind(body) == SCAN_OBJECT && json_count(body) == 0;
    json_free(body);
    if (!is_empty)
        admin_problem(call, 400, TEXT("this call takes no body: leave it out, or send {}"));
    return is_empty;
}

static const char *read_only_words(const struct admin_route *route)
{
    if (route->answer == admin_content_delete)
        return "admin.read_only is set: nothing is deleted through the API; what is older than "
               "store.retention.content, or more than content_max, goes by itself";
    return "admin.read_only is set: nothing is changed through the API";
}

static bool check_role(const struct config *config, struct admin_call *call)
{
    static const char *const refusals[] = {
        [ADMIN_ROLE_ADMIN] = "",
        [ADMIN_ROLE_VIEWER] = "the role viewer may look and not change",
        [ADMIN_ROLE_TENANT] = "the role tenant sees only what belongs to its tenant",
    };
    if ((call->route->may >> call->caller.role & 1) == 0) {
        admin_problem(call, 403, text_of(refusals[call->caller.role]));
        return false;
    }
    if (call->route->changes && config->admin_read_only) {
        admin_problem(call, 403, text_of(read_only_words(call->route)));
        return false;
    }
    return true;
}

/* Find the route and the id in the path. */
static bool find_route(struct admin_call *call)
{
    struct text path = text_from(call->path, root.len), id = {"", 0}, name = {"", 0};
    enum method method = call->method == METHOD_HEAD ? METHOD_GET : call->method;
    bool is_known = false;
    for (size_t i = 0; i < ROUTES && call->route == NULL; i++) {
        struct text found = {"", 0}, second = {"", 0};
        if (!has_form(path, routes[i].path, &found, &second))
            continue;
        is_known = true;
        if (routes[i].method != method)
            continue;
        call->route = &routes[i];
        id = found;
        name = second;
    }
    if (!is_known)
        return refuse_path(call);
    if (call->route == NULL)
        return refuse_method(call, path);
    size_t length = 0;
    if (!admin_decode(id, false, call->id, sizeof call->id, &length) ||
        !admin_decode(name, false, call->name, sizeof call->name, &length)) {
        admin_problem(call, 404, TEXT("there is nothing of that name"));
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------- answering */

void admin_explain(struct service *service, struct config *config, struct admin_call *call)
{
    if (call->foresight)
        foresight_finish(service, call);
    else
        explain_answer(call->worker, config, call);
}

/* Who changed what stands in the log and among the events. */
static void note_change(struct service *service, const struct admin_call *call)
{
    if (call->method == METHOD_GET || call->method == METHOD_HEAD ||
        call->route->answer == admin_explain || call->route->answer == admin_replay ||
        call->route->answer == admin_placement_simulate || call->route->answer == admin_session_end)
        return;
    struct text path = text_from(call->path, root.len);
    service_event(service, "admin", call->caller.name, "%s %.*s: %d", method_name(call->method),
                  TEXT_ARGS(text_head(path, 160)), call->status);
    log_line(LOG_INFO, "admin", "%s %.*s by %s: %d", method_name(call->method),
             TEXT_ARGS(text_head(path, 160)), call->caller.name, call->status);
}

void admin_work(struct service *service, struct admin_call *call)
{
    struct config *config = service_config(service);
    call->directory = roster_view(service->roster);
    bool changes = call->route->changes;
    call->route->answer(service, config, call);
    directory_unref(call->directory);
    config_unref(config);
    note_change(service, call);
    if (changes)
        atomic_fetch_sub(&service->changing, 1);
}

/* Put it off; false when too many wait. */
static bool put_off(struct service *service, struct admin_call *call)
{
    switch (call->route->place) {
    case ON_SERVICE:
        return service_enqueue(service, call);
    case ON_ROSTER:
        return desk_put(service->roster_desk, call);
    case ON_LEDGER:
        return desk_put(service->ledger_desk, call);
    case ON_WORKER:
        break;
    }
    assert(false);
    return false;
}

/* Counted, until it is done; not while another service takes over: it has read all by then. */
static bool may_change(struct service *service)
{
    atomic_fetch_add(&service->changing, 1);
    if (!service_is_upgrading(service))
        return true;
    atomic_fetch_sub(&service->changing, 1);
    return false;
}

bool admin_ask(struct service *service, struct admin_call *call)
{
    call->route = NULL;
    call->foresight = NULL;
    if (!find_route(call))
        return true;
    struct config *config = service_config(service);
    bool may = check_role(config, call) && check_query(call) && check_body(call);
    config_unref(config);
    if (!may)
        return true;
    if (call->route->changes && !may_change(service)) {
        admin_problem(call, 503, TEXT("an upgrade is under way; try again"));
        return true;
    }
    if (call->route->place != ON_WORKER) {
        if (put_off(service, call))
            return false;
        if (call->route->changes)
            atomic_fetch_sub(&service->changing, 1);
        admin_problem(call, 503, TEXT("too many questions are waiting; try again"));
        return true;
    }
    admin_work(service, call);
    if (!call->foresight) /* all of the answer is there */
        return true;
    if (desk_put(service->ledger_desk, call))
        return false;
    foresight_done(call);
    admin_problem(call, 503, TEXT("too many questions are waiting; try again"));
    return true;
}
