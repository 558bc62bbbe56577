/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/deploy_store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/deploy_desk.h"
#include "gateway/deploy_order.h"
#include "gateway/deploy_page.h"
#include "gateway/service_state.h"

enum { DOCUMENT_BYTES = 256 << 10, ERRORS_BYTES = 64 << 10, MADE_MAX = 1024 };

static void refuse(struct deploy_change *change, int status, const char *field, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

static void refuse(struct deploy_change *change, int status, const char *field, const char *format,
                   ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(change->words, sizeof(change->words), format, args);
    va_end(args);
    snprintf(change->field, sizeof(change->field), "%s", field);
    change->status = status;
}

/* --------------------------------------------------------------------------------- patches */

static void write_value(struct json_write *json, const struct json *value)
{
    struct text text, name;
    int64_t number;
    double real;
    bool flag;
    void *at = NULL;
    const struct json *inner;
    char word[40];
    switch (json_kind(value)) {
    case SCAN_OBJECT:
        json_open(json, '{');
        while (json_next(value, &at, &name, &inner)) {
            json_name(json, name.at);
            write_value(json, inner);
        }
        json_close(json, '}');
        return;
    case SCAN_ARRAY:
        json_open(json, '[');
        for (size_t i = 0; i < json_count(value); i++)
            write_value(json, json_item(value, i));
        json_close(json, ']');
        return;
    case SCAN_STRING:
        json_to_text(value, &text);
        json_text(json, text);
        return;
    case SCAN_TRUE:
    case SCAN_FALSE:
        json_to_bool(value, &flag);
        json_bool(json, flag);
        return;
    case SCAN_NUMBER:
        if (json_to_int(value, INT64_MIN, INT64_MAX, &number)) {
            json_int(json, number);
            return;
        }
        json_to_number(value, &real);
        snprintf(word, sizeof(word), "%.9g", real);
        json_raw(json, text_of(word));
        return;
    case SCAN_ABSENT:
    case SCAN_NULL:
        json_null(json);
        return;
    }
}

/* RFC 7396, section 2. */
static void write_merged(struct json_write *json, const struct json *target,
                         const struct json *patch)
{
    struct text name;
    const struct json *value;
    void *at = NULL;
    if (json_kind(patch) != SCAN_OBJECT) {
        write_value(json, patch);
        return;
    }
    bool is_object = json_kind(target) == SCAN_OBJECT;
    json_open(json, '{');
    while (is_object && json_next(target, &at, &name, &value)) {
        const struct json *change = json_member(patch, name.at);
        if (change && json_kind(change) == SCAN_NULL)
            continue;
        json_name(json, name.at);
        if (change)
            write_merged(json, value, change);
        else
            write_value(json, value);
    }
    at = NULL;
    while (json_next(patch, &at, &name, &value)) {
        if ((is_object && json_member(target, name.at)) || json_kind(value) == SCAN_NULL)
            continue;
        json_name(json, name.at);
        write_merged(json, NULL, value);
    }
    json_close(json, '}');
}

/* Read as an object; NULL and a refusal when it is none. */
static struct json *read_object(struct text document, struct deploy_change *change)
{
    struct json_problem problem;
    struct json *root = json_read(document, &problem);
    if (!root)
        refuse(change, 400, "", "the body is not valid JSON: %s, in line %zu, column %zu",
               problem.what, problem.line, problem.column);
    else if (json_kind(root) != SCAN_OBJECT)
        refuse(change, 400, "", "the body must be an object");
    if (change->status == 0)
        return root;
    json_free(root);
    return NULL;
}

/* ------------------------------------------------------------------------------- problems */

/* "/deployments/models/7/scaling/max" is its own "scaling.max". */
static void own_path(struct text path, char *field, size_t room)
{
    static const struct text above = {"/deployments/models/", 20};
    size_t len = 0;
    field[0] = '\0';
    if (!text_starts(path, above))
        return;
    path = text_from(path, above.len);
    path = text_from(path, text_find_byte(path, '/'));
    for (size_t i = 1; i < path.len && len + 1 < room; i++)
        field[len++] = path.at[i] == '/' ? '.' : path.at[i];
    field[len] = '\0';
}

static void take_problem(const struct json *problem, struct deploy_change *change, bool *first)
{
    struct text path = {"", 0}, message = {"", 0}, hint = {"", 0};
    struct json_write json = {.out = &change->errors};
    char field[sizeof(change->field)];
    json_to_text(json_member(problem, "path"), &path);
    json_to_text(json_member(problem, "message"), &message);
    json_to_text(json_member(problem, "hint"), &hint);
    own_path(path, field, sizeof(field));
    if (*first)
        refuse(change, 422, field, "%.*s%s%.*s%s", TEXT_ARGS(text_head(message, 300)),
               hint.len ? "; did you mean \"" : "", TEXT_ARGS(text_head(hint, 60)),
               hint.len ? "\"?" : "");
    else
        buffer_append_text(&change->errors, TEXT(","));
    *first = false;
    json_open(&json, '{');
    json_text_member(&json, "field", text_of(field));
    json_text_member(&json, "message", message);
    if (hint.len)
        json_text_member(&json, "hint", hint);
    json_close(&json, '}');
}

/* What was said of the entry <number> of the store. */
static void take_problems(const char *words, size_t number, struct deploy_change *change)
{
    struct text rest = text_of(words), line;
    char above[48];
    bool first = true;
    snprintf(above, sizeof(above), "/deployments/models/%zu", number);
    while (text_next(&rest, '\n', &line)) {
        struct json_problem ignored;
        struct json *problem = line.len ? json_read(line, &ignored) : NULL;
        struct text path = {"", 0}, file = {"", 0}, behind;
        json_to_text(json_member(problem, "path"), &path);
        json_to_text(json_member(problem, "file"), &file);
        behind = text_from(path, strlen(above));
        if (text_equal(file, TEXT("(admin API)")) && text_starts(path, text_of(above)) &&
            (behind.len == 0 || behind.at[0] == '/'))
            take_problem(problem, change, &first);
        json_free(problem);
    }
    if (first)
        refuse(change, 422, "", "it cannot be put in force");
}

/* ------------------------------------------------------------------------------ one change */

/* The configuration with <list>; NULL when <wanted> (NULL = nothing) is not in it. */
static struct config *try_list(struct service *service, const struct made_list *list,
                               const struct made_deployment *wanted, struct deploy_change *change)
{
    struct reload_outcome outcome;
    char *words = NULL;
    struct config *next = service_try(service, list, &outcome, &words);
    if (!next) {
        refuse(change, 409, "",
               "the configuration file has errors now: mend it first (sluice check)");
    } else if (wanted) {
        const struct deployment_spec *spec = deploy_spec(next, wanted->name);
        if (!spec || !text_equal(spec->id, wanted->id)) {
            size_t of_file = next->deploy.made_from;
            take_problems(words, of_file + (size_t)(made_find(list, wanted->name) - list->at),
                          change);
            config_unref(next);
            next = NULL;
        }
    }
    reload_outcome_done(&outcome);
    free(words);
    return next;
}

static void refuse_write(struct deploy_change *change, const struct fault *fault)
{
    bool conflict = fault->kind == FAULT_CONFLICT, is_large = fault->kind == FAULT_TOO_LARGE;
    int status = is_large ? 413 : !conflict ? 503 : change->if_match.len ? 412 : 409;
    refuse(change, status, "", "%s", fault->text);
}

/* Write it down, then put it in force. */
static void put(struct service *service, const struct made_list *before,
                const struct made_deployment *one, struct deploy_change *change)
{
    struct fault fault;
    struct made_list *list = made_list_with(before, one, (struct text){"", 0});
    struct config *next = try_list(service, list, one, change);
    if (next && !made_put(service->made, one, &fault)) {
        refuse_write(change, &fault);
        config_unref(next);
        next = NULL;
    }
    if (next)
        service_take(service, next);
    made_list_free(list);
}

static bool has_file(const struct service *service, struct text name)
{
    struct made_list *list = made_read(service->made);
    bool found = deploy_spec(service->config, name) && !made_find(list, name);
    made_list_free(list);
    return found;
}

static bool take_name(struct text document, struct deploy_change *change)
{
    struct json *root = read_object(document, change);
    struct text name = {"", 0};
    if (!root)
        return false;
    json_to_text(json_member(root, "name"), &name);
    if (name.len == 0 || name.len > SPEC_NAME_MAX)
        refuse(change, 422, "name", "a deployment has a name of 1 to %d characters", SPEC_NAME_MAX);
    else
        snprintf(change->name, sizeof(change->name), "%.*s", TEXT_ARGS(name));
    json_free(root);
    return change->status == 0;
}

void deploy_store_create(struct service *service, struct text document,
                         struct deploy_change *change)
{
    buffer_init(&change->errors, ERRORS_BYTES);
    if (!take_name(document, change))
        return;
    struct text name = text_of(change->name);
    service_pull(service);
    struct made_list *list = made_read(service->made);
    if (deploy_spec(service->config, name) || made_find(list, name)) {
        refuse(change, 409, "name", "there is a deployment \"%s\" already", change->name);
    } else if (list->count >= MADE_MAX) {
        refuse(change, 409, "", "there are %d deployments already", MADE_MAX);
    } else {
        struct made_deployment one = {.name = name,
                                      .id = change->id.len ? change->id : name,
                                      .tenant = change->tenant,
                                      .token = change->token,
                                      .document = document,
                                      .by = text_of(change->by),
                                      .version = 1};
        put(service, list, &one, change);
    }
    made_list_free(list);
}

/* The one that is meant, if it may be changed; else NULL and a refusal. */
static const struct made_deployment *
find_made(struct service *service, const struct made_list *list, struct deploy_change *change)
{
    const struct made_deployment *one = made_find(list, text_of(change->name));
    struct text wanted = change->if_match;
    uint64_t version = 0;
    if (!one && has_file(service, text_of(change->name)))
        refuse(change, 409, "", "the configuration file declares it: it is changed there");
    else if (!one)
        refuse(change, 404, "", "there is no deployment of that name");
    if (!one || !wanted.len || text_equal(wanted, TEXT("*")))
        return one;
    if (wanted.len > 2 && wanted.at[0] == '"' && wanted.at[wanted.len - 1] == '"')
        wanted = (struct text){wanted.at + 1, wanted.len - 2};
    if (text_number(wanted, INT64_MAX, &version) && (int64_t)version == one->version)
        return one;
    refuse(change, 412, "", "it has been changed meanwhile: its version is %lld",
           (long long)one->version);
    return NULL;
}

static uint64_t digest_of(struct service *service, struct text name)
{
    const struct deployment_spec *spec = deploy_spec(service->config, name);
    return spec ? spec->digest : 0;
}

/* Does it say anything of what runs, or of where that comes from? */
static bool names_what_runs(const struct json *patch)
{
    static const char *const names[] = {
        "launcher", "node",       "command",     "image", "registry",  "container_port",
        "engine",   "kubernetes", "served_name", "env",   "resources", "adapters"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (json_member(patch, names[i]))
            return true;
    return false;
}

/* The same once more: whoever says so wants it to be tried, also when it was rolled back. */
static void try_again(struct service *service, struct text name)
{
    struct deploy_order order = {.name = name, .order = FLEET_RETRY};
    if (deploy_order_give(service, &order) != 0)
        log_line(LOG_WARN, "deploy", "%.*s is not tried again: %s", TEXT_ARGS(name), order.why);
}

void deploy_store_patch(struct service *service, struct text patch, struct deploy_change *change)
{
    struct json_problem ignored;
    struct buffer merged;
    buffer_init(&change->errors, ERRORS_BYTES);
    struct json *root = read_object(patch, change);
    service_pull(service);
    struct made_list *list = made_read(service->made);
    const struct made_deployment *before = root ? find_made(service, list, change) : NULL;
    buffer_init(&merged, DOCUMENT_BYTES);
    if (before) {
        struct json *target = json_read(before->document, &ignored);
        struct json_write json = {.out = &merged};
        struct text name = before->name;
        write_merged(&json, target, root);
        json_free(target);
        if (json_member(root, "name") &&
            (!json_to_text(json_member(root, "name"), &name) || !text_equal(name, before->name))) {
            refuse(change, 422, "name", "a deployment keeps its name");
        } else if (json.is_full) {
            refuse(change, 413, "", "it is too large");
        } else {
            struct made_deployment one = *before;
            one.document = buffer_text(&merged);
            one.by = text_of(change->by);
            one.version = before->version + 1;
            uint64_t digest = digest_of(service, one.name);
            put(service, list, &one, change);
            if (change->status == 0 && names_what_runs(root) &&
                digest_of(service, one.name) == digest)
                try_again(service, one.name);
        }
    }
    buffer_done(&merged);
    json_free(root);
    made_list_free(list);
}

void deploy_store_delete(struct service *service, struct deploy_change *change)
{
    struct fault fault;
    buffer_init(&change->errors, ERRORS_BYTES);
    service_pull(service);
    struct made_list *list = made_read(service->made);
    const struct made_deployment *one = find_made(service, list, change);
    if (one) {
        struct made_list *without = made_list_with(list, NULL, one->name);
        struct config *next = try_list(service, without, NULL, change);
        if (next && !made_remove(service->made, one, &fault)) {
            refuse_write(change, &fault);
            config_unref(next);
            next = NULL;
        }
        if (next)
            service_take(service, next);
        made_list_free(without);
    }
    made_list_free(list);
}

/* --------------------------------------------------------------------------------- a fit */

struct fitting {
    const struct deployment_spec *spec;
    struct deploy_fit *fit;
};

static void look_for_room(struct deployments *desk, void *with)
{
    struct fitting *fitting = with;
    fitting->fit->fits = fleet_would_fit(deployments_fleet(desk), fitting->spec, deploy_desk_now(),
                                         fitting->fit->words, sizeof(fitting->fit->words));
}

void deploy_store_fit(struct service *service, struct text document, struct deploy_change *change,
                      struct deploy_fit *fit)
{
    buffer_init(&change->errors, ERRORS_BYTES);
    if (!take_name(document, change))
        return;
    struct made_list *list = made_read(service->made);
    struct made_deployment one = {
        .name = text_of(change->name), .id = text_of(change->name), .document = document};
    if (has_file(service, one.name))
        refuse(change, 409, "name", "the configuration file declares it: give another name");
    struct made_list *with = made_list_with(list, &one, (struct text){"", 0});
    struct config *next = change->status == 0 ? try_list(service, with, &one, change) : NULL;
    if (next) {
        struct fitting fitting = {deploy_spec(next, one.name), fit};
        if (!deploy_desk_ask(service_deploy_desk(service), look_for_room, &fitting))
            snprintf(fit->words, sizeof(fit->words), "nobody runs deployments here yet");
    }
    config_unref(next);
    made_list_free(with);
    made_list_free(list);
}
