/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/explain.h"

#include <stdio.h>

#include "gateway/admin_inside.h"
#include "gateway/admission.h"
#include "gateway/anonymous.h"
#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/choosing.h"
#include "gateway/crossing.h"
#include "gateway/detour.h"
#include "gateway/foresight.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"
#include "policy/directory.h"

enum { HEAD_MAX = 32 * 1024, HEADERS_MAX = 32 };

/* What is asked. */
struct asking {
    struct admin_call *call;
    struct json *root;
    struct text path, tenant, key, body;
    const struct json *headers;
    struct key nameless; /* of a tenant, where no key is named */
};

/* ------------------------------------------------------------------------------ the question */

static bool read_name(struct asking *asking, const char *name, struct text *to)
{
    const struct json *value = json_member(asking->root, name);
    if (!value || json_to_text(value, to))
        return true;
    admin_field_problem(asking->call, 400, name, TEXT("it must be a string"));
    return false;
}

/* What is not known would otherwise look as if it had been minded. A body without "body" is the
 * call itself, whose members are its dialect's. */
static bool check_members(struct asking *asking)
{
    static const char *const known[] = {"body", "headers", "path", "tenant", "key"};
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(asking->root, &at, &name, &value)) {
        bool is_known = false;
        char field[64];
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            is_known |= text_equal(name, text_of(known[i]));
        if (is_known)
            continue;
        snprintf(field, sizeof field, "%.*s", TEXT_ARGS(text_head(name, sizeof field - 1)));
        admin_field_problem(asking->call, 400, field,
                            TEXT("there is no such member: body, headers, path, tenant, key"));
        return false;
    }
    return true;
}

static bool read_question(struct asking *asking)
{
    struct json_problem problem;
    struct text document = asking->call->body;
    asking->path = TEXT("/v1/chat/completions");
    asking->root = json_read(document, &problem);
    if (!asking->root || json_kind(asking->root) != SCAN_OBJECT) {
        admin_problem(asking->call, 400, TEXT("the body must be a JSON object"));
        return false;
    }
    asking->body = document;
    if (!json_member(asking->root, "body"))
        return true; /* the call's own */
    if (!check_members(asking))
        return false;
    asking->body = member_find(document, TEXT("body"));
    asking->headers = json_member(asking->root, "headers");
    return read_name(asking, "path", &asking->path) &&
           read_name(asking, "tenant", &asking->tenant) && read_name(asking, "key", &asking->key);
}

/* Whose call it would be; NULL and the problem is set when there is nobody of that name. */
static const struct key *find_key(struct asking *asking, const struct config *config)
{
    const struct directory *directory = asking->call->directory;
    if (!asking->tenant.len && !asking->key.len) {
        const struct key *anybody = anonymous_key(config, directory);
        if (anybody)
            return anybody;
        admin_field_problem(asking->call, 400, "tenant", TEXT("whose call is it?"));
        return NULL;
    }
    asking->nameless = (struct key){.name = TEXT("(any)"),
                                    .tenant = directory_find_tenant(directory, asking->tenant)};
    const struct key *key = &asking->nameless;
    if (asking->key.len)
        key = directory_find_named(directory, asking->tenant, asking->key);
    if (!asking->nameless.tenant)
        admin_field_problem(asking->call, 404, "tenant", TEXT("there is no such tenant"));
    else if (!key)
        admin_field_problem(asking->call, 404, "key", TEXT("there is no such key of this tenant"));
    return asking->nameless.tenant ? key : NULL;
}

static bool put_headers(struct asking *asking, struct buffer *head)
{
    void *at = NULL;
    struct text name, value;
    const struct json *one;
    size_t count = 0;
    while (json_next(asking->headers, &at, &name, &one)) {
        if (!json_to_text(one, &value) || ++count > HEADERS_MAX || !head_may_write(name) ||
            !head_may_write(value))
            return false;
        buffer_append_text(head, name);
        buffer_append_text(head, TEXT(": "));
        buffer_append_text(head, value);
        if (!buffer_append_text(head, TEXT("\r\n")))
            return false;
    }
    return true;
}

/* As its head would be read, so that nothing here is understood differently. */
static bool read_head(struct asking *asking, struct buffer *bytes, struct head *head)
{
    struct fault fault = {0};
    struct head_find find = {0};
    size_t length = 0;
    buffer_init(bytes, HEAD_MAX);
    buffer_format(bytes,
                  "POST %.*s HTTP/1.1\r\nhost: explain\r\ncontent-type: application/json\r\n"
                  "content-length: %zu\r\n",
                  TEXT_ARGS(asking->path), asking->body.len);
    bool good =
        head_may_write(asking->path) && put_headers(asking, bytes) &&
        buffer_append_text(bytes, TEXT("\r\n")) &&
        head_find(&find, buffer_text(bytes), true, HEAD_MAX, &length, &fault) == HEAD_DONE &&
        length == buffer_length(bytes) && head_read_request(buffer_text(bytes), head, &fault);
    if (!good)
        admin_field_problem(asking->call, 400, "headers",
                            TEXT("the path and headers are not those of a request"));
    return good;
}

/* -------------------------------------------------------------------------------- the choice */

static bool admit(struct exchange *x)
{
    return admission_read(x) && admission_route(x) && ruling_apply(x);
}

/* Targets that cannot be asked for this, and why: a loss, a limit of its provider, a form. */
struct unable {
    size_t count;
    struct {
        struct text target, why;
    } list[ROUTE_TARGETS_MAX];
};

static void note_unable(struct exchange *x, struct unable *unable)
{
    if (unable->count == ROUTE_TARGETS_MAX)
        return;
    unable->list[unable->count].target = x->target->id;
    unable->list[unable->count++].why = arena_copy(&x->arena, text_of(exchange_why(x)->text));
}

static void write_unable(const struct unable *unable, struct json_write *json)
{
    json_name(json, "cannot");
    json_open(json, '[');
    for (size_t i = 0; i < unable->count; i++) {
        json_open(json, '{');
        json_text_member(json, "target", unable->list[i].target);
        json_text_member(json, "why", unable->list[i].why);
        json_close(json, '}');
    }
    json_close(json, ']');
}

/* As step_route() does, without taking anything. */
static bool consider_one(struct exchange *x, struct choice *choice, struct unable *unable)
{
    const struct route *route = x->detour ? x->detour : x->route;
    for (;;) {
        struct route_call asked;
        choosing_call(x, route, &asked);
        route_consider(route, ruling_policy(x), &asked, choice);
        x->target = choice->target;
        if (!x->target)
            return false;
        x->upstream_model =
            text_equal(x->target->model, TEXT("*")) ? x->call.model : x->target->model;
        if (crossing_prepare(x))
            return true;
        note_unable(x, unable);
        x->tried |= UINT64_C(1) << (x->target - route->targets);
    }
}

static bool consider(struct exchange *x, struct choice *choice, struct unable *unable)
{
    if (detour_is_better(x))
        (void)detour_take(x);
    bool found = consider_one(x, choice, unable);
    while (!found && detour_take(x))
        found = consider_one(x, choice, unable);
    if (!found && exchange_why(x)->kind == FAULT_NONE && !ruling_refuse(x))
        fault_set(exchange_fault(x), FAULT_NO_TARGET, "No target can take this call.");
    return found;
}

/* -------------------------------------------------------------------------------- the answer */

static void write_needs(struct json_write *json, unsigned needs)
{
    static const char *const words[] = {"vision", "tools", "json_schema", "audio"};
    json_name(json, "needs");
    json_open(json, '[');
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (needs >> i & 1)
            json_text(json, text_of(words[i]));
    json_close(json, ']');
}

static void write_call(struct exchange *x, struct json_write *json)
{
    json_text_member(json, "tenant", x->key->tenant->name);
    json_text_member(json, "key", x->key->name);
    json_text_member(json, "asked", x->call.model);
    json_text_member(json, "operation", text_of(operation_name(x->call.operation)));
    json_bool_member(json, "stream", x->call.stream);
    if (x->route)
        json_text_member(json, "model", x->route->name);
    if (!x->route)
        return;
    const struct estimate *estimate = reserve_estimate(x);
    json_name(json, "tokens");
    json_open(json, '{');
    json_int_member(json, "input", estimate->input_mean);
    json_int_member(json, "output", estimate->output_mean);
    json_int_member(json, "input_bound", estimate->input_bound);
    json_int_member(json, "output_bound", estimate->output_bound);
    json_close(json, '}');
    write_needs(json, x->ruling.needs);
    if (x->ruling.max_cost_nanos)
        json_int_member(json, "max_cost_nanos", x->ruling.max_cost_nanos);
}

static void write_candidates(const struct exchange *x, struct json_write *json,
                             const struct choice *choice)
{
    json_name(json, "candidates");
    json_open(json, '[');
    for (size_t i = 0; i < choice->count; i++)
        ruling_write_candidate(json, &choice->candidates[i]);
    json_close(json, ']');
    size_t count;
    const struct text *names = ruling_fallback(x, &count);
    json_name(json, "fallback");
    json_open(json, '[');
    for (size_t i = 0; i < count; i++)
        json_text(json, names[i]);
    json_close(json, ']');
    if (x->detour)
        json_text_member(json, "falls_back_on", x->detour->name);
}

static void write_refusal(const struct exchange *x, struct json_write *json)
{
    const struct fault_rule *rule = fault_rule(exchange_why(x)->kind);
    json_name(json, "refused");
    json_open(json, '{');
    json_int_member(json, "status", rule->status);
    json_text_member(json, "fault", text_of(rule->name));
    json_text_member(json, "message", text_of(exchange_why(x)->text));
    json_close(json, '}');
}

static void answer(struct exchange *x, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct choice *choice = arena_new(&x->arena, sizeof(*choice));
    struct unable *unable = arena_new(&x->arena, sizeof(*unable));
    bool admitted = admit(x), chosen = false;
    json_open(&json, '{');
    if (x->key)
        write_call(x, &json);
    if (admitted && x->route) {
        chosen = consider(x, choice, unable);
        ruling_write_choice(x, &json, choice);
        write_candidates(x, &json, choice);
        write_unable(unable, &json);
        if (x->ruling.rule && x->ruling.rule->mirror)
            json_text_member(&json, "mirror", x->ruling.rule->mirror->id);
    }
    if (!chosen)
        write_refusal(x, &json);
    if (admitted && x->route)
        foresight_add(x, call, &json, !chosen);
    else
        foresight_close(call, &json);
}

static void explain(struct worker *worker, const struct config *config, struct asking *asking)
{
    struct buffer bytes;
    struct head *head = memory_new(sizeof(*head));
    const struct key *key = find_key(asking, config);
    if (key && read_head(asking, &bytes, head)) {
        struct exchange *x = exchange_imagine(worker, head, key);
        if (!x->match.endpoint || x->match.endpoint->body != BODY_JSON ||
            x->match.endpoint->page != PAGE_NONE || exchange_why(x)->kind != FAULT_NONE) {
            admin_field_problem(asking->call, 400, "path",
                                TEXT("it must be a path to which calls of models are posted"));
        } else {
            buffer_append_text(&x->body, asking->body);
            x->body_bytes = (int64_t)asking->body.len;
            answer(x, asking->call);
        }
        exchange_forget_imagined(x);
    }
    if (key)
        buffer_done(&bytes);
    memory_free(head);
}

void explain_answer(struct worker *worker, const struct config *config, struct admin_call *call)
{
    struct asking asking = {.call = call};
    if (read_question(&asking))
        explain(worker, config, &asking);
    json_free(asking.root);
}
