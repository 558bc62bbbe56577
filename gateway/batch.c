/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch.h"

#include <stdio.h>

#include "gateway/batches.h"
#include "gateway/http/path.h"
#include "gateway/objects.h"
#include "gateway/owning.h"
#include "gateway/reserve.h"
#include "gateway/reserve_inside.h"
#include "gateway/worker_inside.h"

enum { LEAST_OUTPUT_TOKENS = 16, NAME_SHOWN = 100 };

static bool is_submission(const struct exchange *x)
{
    return x->call.operation == OPERATION_BATCH && x->method == METHOD_POST;
}

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t times(int64_t a, int64_t b)
{
    return a && b > INT64_MAX / a ? INT64_MAX : a * b;
}

/* --------------------------------------------------------------- what is not known */

static bool names_all(const struct text *models, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(models[i], TEXT("*")))
            return true;
    return false;
}

/* May the key call whatever there is? */
static bool may_call_all(const struct key *key)
{
    if (key->model_count && !names_all(key->models, key->model_count))
        return false;
    for (const struct tenant *at = key->tenant; at; at = at->parent)
        if ((at->model_count || !at->parent) && !names_all(at->models, at->model_count))
            return false;
    return true;
}

static bool counts(const struct limit_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->at[i].kind != LIMIT_CONCURRENT && batches_count(&list->at[i]))
            return true;
    return false;
}

static bool is_limited(const struct exchange *x)
{
    if (counts(&x->key->limits) || (x->call.user.len && counts(&x->key->tenant->user_limits)))
        return true;
    for (const struct tenant *at = x->key->tenant; at; at = at->parent)
        if (counts(&at->limits))
            return true;
    return false;
}

static bool bad(struct exchange *x, enum fault_kind kind, const char *param)
{
    exchange_fault(x)->kind = kind;
    exchange_fault(x)->param = param;
    return false;
}

/* Without limits and lists nothing can be exceeded: it is booked when it has ended. */
static bool admit_unknown(struct exchange *x, const struct batch_facts *facts)
{
    if (may_call_all(x->key) && !is_limited(x)) {
        x->batch->count = 1;
        x->batch->parts[0] = (struct ledger_row){.model = TEXT("")};
        return true;
    }
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "This file cannot be run as a batch by a key with limits, a budget or a list of "
              "models, because what is in it is not known: %s. Upload it with POST /v1/files and "
              "purpose=batch.",
              facts->problem);
    return bad(x, FAULT_BAD_REQUEST, "input_file_id");
}

/* -------------------------------------------------------------- a model of the file */

struct found {
    const struct route *route;
    const struct target *target;
    const char *off_because; /* there is one, but it is off */
    bool is_denied;          /* there is one, but the key may not call it */
};

static bool is_target_of(const struct exchange *x, const struct route *route,
                         const struct target *target, struct text name)
{
    if (target->provider != x->pinned->provider)
        return false;
    if (text_equal(target->model, TEXT("*"))) /* whatever name its model goes by */
        return routes_find(x->snapshot->config->routes, name) == route;
    return text_equal(target->model, name);
}

static bool may_call(const struct exchange *x, const struct route *route, struct text name)
{
    return owning_may_call(x->key, route, route->name) ||
           (routes_find(x->snapshot->config->routes, name) == route &&
            owning_may_call(x->key, route, name));
}

static struct found find_target(const struct exchange *x, struct text name)
{
    const struct config *config = x->snapshot->config;
    struct found found = {0};
    for (size_t i = 0; i < config->model_count; i++) {
        const struct route *route = &config->models[i];
        for (size_t t = 0; t < route->target_count; t++) {
            const struct target *target = &route->targets[t];
            if (!is_target_of(x, route, target, name))
                continue;
            if (!may_call(x, route, name)) {
                found.is_denied = true;
            } else if (target->off) {
                found.off_because = target->off_because;
            } else {
                found.route = route;
                found.target = target;
                return found;
            }
        }
    }
    return found;
}

static bool not_found(struct exchange *x, const struct found *found, struct text name)
{
    struct text shown = text_head(name, NAME_SHOWN);
    if (found->off_because) {
        fault_set(exchange_fault(x), FAULT_NO_TARGET,
                  "No target can take the model '%.*s' of this file: %s.", TEXT_ARGS(shown),
                  found->off_because);
        return false;
    }
    if (found->is_denied)
        fault_set(exchange_fault(x), FAULT_MODEL_DENIED,
                  "This key may not call the model '%.*s', which this file names.",
                  TEXT_ARGS(shown));
    else
        fault_set(
            exchange_fault(x), FAULT_UNKNOWN_MODEL,
            "The model '%.*s', which this file names, does not exist: in a batch's file stand "
            "the names that the provider has for its models.",
            TEXT_ARGS(shown));
    return bad(x, exchange_why(x)->kind, "input_file_id");
}

/* --------------------------------------------------------------------------- a part */

static bool writes_text(struct text url)
{
    enum operation operation;
    return batch_operation(url, &operation) &&
           (operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
            operation == OPERATION_RESPONSE);
}

static bool makes_pictures(struct text url)
{
    enum operation operation;
    return batch_operation(url, &operation) && operation == OPERATION_IMAGE;
}

/* Answers whose length nobody states can be as long as the model's longest; that must be known
 * where money counts: they cannot be shortened. */
static bool bound_output(struct exchange *x, const struct batch_facts *facts,
                         const struct batch_model *model, const struct found *found,
                         struct ledger_row *part)
{
    int64_t longest = found->route->output_tokens;
    struct text url = text_of(facts->url);
    part->usage.output_tokens = model->output_tokens;
    if (makes_pictures(url) && !reserve_counts_output(found->target))
        part->usage.output_tokens = 0; /* as of single calls: they may not be counted at all */
    if (!writes_text(url) || model->open_answers == 0)
        return true;
    if (longest <= 0 && is_limited(x)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "Calls of the model '%.*s' in this file state no max_tokens, and how long its "
                  "answers may be is not known: under a limit or a budget each has to state it.",
                  TEXT_ARGS(text_head(text_of(model->name), NAME_SHOWN)));
        return bad(x, FAULT_BAD_REQUEST, "input_file_id");
    }
    longest = longest > LEAST_OUTPUT_TOKENS ? longest : LEAST_OUTPUT_TOKENS;
    part->usage.output_tokens = sum(part->usage.output_tokens, times(model->open_answers, longest));
    return true;
}

static bool bound_input(struct exchange *x, const struct batch_model *model,
                        const struct found *found, struct ledger_row *part)
{
    int64_t context = route_context(found->route);
    int64_t added = estimate_added(found->target->provider->type->name, text_of(model->name));
    part->usage.input_tokens = sum(model->input_tokens, times(model->calls, added));
    if (model->contexts == 0)
        return true;
    if (context <= 0 && is_limited(x)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "Calls of the model '%.*s' in this file refer to what is not in it, and how much "
                  "the model can read is not known (context_window).",
                  TEXT_ARGS(text_head(text_of(model->name), NAME_SHOWN)));
        return bad(x, FAULT_BAD_REQUEST, "input_file_id");
    }
    part->usage.input_tokens = sum(part->usage.input_tokens, times(model->contexts, context));
    return true;
}

/* Each call apart may be on the dear side of a tier: the sum of the bounds is what all of them
 * cost, and a fixed price is paid for each. */
static int64_t bound_cost(const struct price *price, const struct batch_model *model,
                          const struct usage *usage)
{
    struct price below = *price;
    below.tier_above_tokens = 0;
    int64_t cost = price_bound(price, usage->input_tokens, usage->output_tokens, usage->units);
    int64_t other = price_bound(&below, usage->input_tokens, usage->output_tokens, usage->units);
    cost = sum(cost > other ? cost : other, model->calls); /* each is rounded up */
    cost = price->request > 0 ? sum(cost, times(model->calls - 1, price->request)) : cost;
    return price_bound_with(price, usage, cost);
}

/* As of single calls: whoever they are of. */
static bool check_searches(struct exchange *x, const struct batch_model *model,
                           const struct found *found)
{
    if (!model->searches || !found->target->price.no_search || !reserve_has_budget(x, found->route))
        return true;
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "Calls of the model '%.*s' in this file may search the web, and what a search costs "
              "there is not known here (price.search).",
              TEXT_ARGS(text_head(text_of(model->name), NAME_SHOWN)));
    return bad(x, FAULT_BAD_REQUEST, "input_file_id");
}

static bool read_part(struct exchange *x, const struct batch_facts *facts,
                      const struct batch_model *model, struct ledger_row *part)
{
    struct text name = arena_copy(&x->arena, text_of(model->name));
    struct found found = find_target(x, name);
    if (!found.target)
        return not_found(x, &found, name);
    *part = (struct ledger_row){.model = found.route->name,
                                .target = found.target->id,
                                .upstream_model = name,
                                .price_version = found.target->price.version,
                                .attempts = (unsigned)model->calls};
    if (!check_searches(x, model, &found) || !bound_output(x, facts, model, &found, part) ||
        !bound_input(x, model, &found, part))
        return false;
    struct usage *usage = &part->usage;
    usage->units = model->units;
    usage->searches = model->searches;
    usage->cached_tokens =
        model->input_likely < usage->input_tokens ? model->input_likely : usage->input_tokens;
    usage->reasoning_tokens =
        model->output_likely < usage->output_tokens ? model->output_likely : usage->output_tokens;
    part->cost_nanos = bound_cost(&found.target->price, model, usage);
    return true;
}

/* What is run is what the file says, not what the call does. */
static bool check_endpoint(struct exchange *x, const struct batch_facts *facts)
{
    static const struct text members[] = {TEXT("endpoint")};
    struct scan_value value;
    struct scan_problem why;
    char endpoint[BATCH_URL_BYTES];
    bool read = scan_json(buffer_text(&x->body), members, 1, &value, &why) &&
                value.kind == SCAN_STRING && value.raw.len <= sizeof(endpoint);
    size_t len = read ? scan_string(&value, endpoint) : SIZE_MAX;
    if (len != SIZE_MAX && text_equal((struct text){endpoint, len}, text_of(facts->url)))
        return true;
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "'endpoint' must be '%s', the url of the file's calls.", facts->url);
    return bad(x, FAULT_BAD_REQUEST, "endpoint");
}

/* Whose they are cannot be asked of all; without tenants it does not matter. */
static bool check_objects(struct exchange *x, const struct batch_facts *facts)
{
    if (!facts->names_objects || x->key == x->snapshot->config->anonymous_key)
        return true;
    fault_set(
        exchange_fault(x), FAULT_BAD_REQUEST,
        "Calls in this file name files or responses that were made before; in a batch that is "
        "not possible, because whose they are is not checked there.");
    return bad(x, FAULT_BAD_REQUEST, "input_file_id");
}

bool batch_admit(struct exchange *x)
{
    if (!is_submission(x))
        return true;
    struct batch_facts *facts = arena_new(&x->arena, sizeof(*facts));
    batch_done(x); /* of an earlier round */
    x->batch = arena_new(&x->arena, sizeof(*x->batch));
    x->batch->is_counted = batches_may_submit(x->worker->options.batches);
    if (!x->batch->is_counted)
        return fault_set(exchange_fault(x), FAULT_OVERLOADED,
                         "An upgrade of this gateway is under way, and no batch is submitted "
                         "meanwhile; try again.");
    batch_facts_read(objects_facts(x), facts);
    if (!batches_have_room(x->worker->options.batches))
        return fault_set(exchange_fault(x), FAULT_OVERLOADED, "Too many batches run now.");
    if (!facts->count || !x->pinned)
        return admit_unknown(x, facts);
    if (!check_objects(x, facts) || !check_endpoint(x, facts))
        return false;
    for (; x->batch->count < facts->count; x->batch->count++)
        if (!read_part(x, facts, &facts->models[x->batch->count],
                       &x->batch->parts[x->batch->count]))
            return false;
    return true;
}

void batch_done(struct exchange *x)
{
    if (!x->batch || !x->batch->is_counted)
        return;
    x->batch->is_counted = false;
    batches_submitted(x->worker->options.batches);
}

/* ---------------------------------------------------------------------------- holding */

int64_t batch_want(const struct exchange *x, const struct limit *limit)
{
    if (limit->kind == LIMIT_CONCURRENT) /* of the call that submits it */
        return limit->model.len ? 0 : 1;
    return batches_amount(x->batch->parts, x->batch->count, limit);
}

void batch_bound(const struct batch *batch, struct ledger_row *row)
{
    row->usage = (struct usage){0};
    row->cost_nanos = 0;
    row->attempts = 1;
    for (size_t i = 0; i < batch->count; i++) {
        const struct ledger_row *part = &batch->parts[i];
        row->usage.input_tokens = sum(row->usage.input_tokens, part->usage.input_tokens);
        row->usage.output_tokens = sum(row->usage.output_tokens, part->usage.output_tokens);
        row->usage.units = sum(row->usage.units, part->usage.units);
        row->usage.searches = sum(row->usage.searches, part->usage.searches);
        row->cost_nanos = sum(row->cost_nanos, part->cost_nanos);
        row->attempts += part->attempts;
    }
}

bool batch_goes_on(const struct exchange *x)
{
    return x->batch && x->was_sent && !x->worker->stopping && exchange_why(x)->kind == FAULT_NONE;
}

/* Whose it is, and where it runs. */
static void complete_part(const struct exchange *x, const struct ledger_row *row,
                          struct ledger_row *part)
{
    struct ledger_row whole = *row;
    whole.id = text_of(x->answer.object_id);
    whole.attempts = part->attempts;
    whole.usage = part->usage;
    whole.cost_nanos = part->cost_nanos;
    whole.price_version = part->price_version;
    whole.upstream_model = part->upstream_model;
    whole.finish = TEXT("");
    whole.counted = COUNTED_ESTIMATE;
    whole.ttft_us = whole.duration_us = whole.overhead_us = whole.saved_nanos = 0;
    if (part->target.len) {
        whole.target = part->target;
        whole.model = part->model;
    }
    *part = whole;
}

static bool can_hold(const struct exchange *x)
{
    char path[ANSWER_ID_BYTES + 1];
    if (!x->answer.owns || !answer_has_id(&x->answer))
        return false;
    size_t len = (size_t)snprintf(path, sizeof(path), "/%s", x->answer.object_id);
    return path_is_clean((struct text){path, len}, false);
}

bool batch_settle(struct exchange *x, struct ledger_row *row)
{
    bool asked = x->batch && x->opened && x->attempts > 0;
    bool made = asked && row->outcome == LEDGER_COMPLETE;
    if (!made && !(asked && x->was_sent)) /* sent, and not refused: it may have been made */
        return false;
    if (made && can_hold(x)) {
        for (size_t i = 0; i < x->batch->count; i++)
            complete_part(x, row, &x->batch->parts[i]);
        x->batch->is_held = batches_hold(x->worker->options.batches, x, row);
        if (x->batch->is_held)
            return true;
    }
    x->batch->is_unknown = true;
    batch_bound(x->batch, row);
    row->counted = COUNTED_ESTIMATE;
    if (!made)
        row->outcome = LEDGER_PARTIAL;
    return false;
}
