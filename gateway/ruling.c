/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/ruling.h"

#include "deploy/models/standing.h"
#include "gateway/base/quantity.h"
#include "gateway/conversation.h"
#include "gateway/reserve.h"
#include "gateway/tiers.h"
#include "gateway/worker_inside.h"
#include "policy/zone.h"

enum { VALUE_MAX = 1024 };

/* ---------------------------------------------------------------------------- the head */

static struct text keep(struct exchange *x, const struct head *head, struct text name)
{
    struct text value = head_value(head, name);
    if (!value.at || value.len > VALUE_MAX)
        return (struct text){NULL, 0};
    return arena_copy(&x->seeking->arena, value);
}

static void keep_headers(struct exchange *x, const struct head *head, const struct rules *rules)
{
    struct text *values = arena_new(&x->seeking->arena, rules->header_count * sizeof(*values));
    for (size_t i = 0; i < rules->header_count; i++)
        values[i] = keep(x, head, rules->headers[i]);
    x->seeking->rule_headers = values;
}

static bool is_yes(struct text value)
{
    return text_equal(value, TEXT("1")) || text_equal_nocase(value, TEXT("true"));
}

void ruling_read_head(struct exchange *x, const struct head *head)
{
    const struct rules *rules = &x->snapshot->config->rules;
    const struct tenant *tenant = x->key ? x->key->tenant : NULL;
    if (rules->header_count)
        keep_headers(x, head, rules);
    if (tenant && tenant->may_set_policy) {
        x->seeking->policy_name = keep(x, head, TEXT("x-sluice-policy"));
        x->seeking->wished_cost = keep(x, head, TEXT("x-sluice-max-cost"));
    }
    if (tenant && tenant->may_set_explain)
        x->ruling.explain = is_yes(head_value(head, TEXT("x-sluice-explain")));
}

/* ------------------------------------------------------------------------ what is known of it */

static bool has_body(const struct exchange *x)
{
    return x->match.endpoint->body == BODY_JSON && x->key && !x->batch &&
           buffer_length(&x->body) > 0;
}

static bool says_what_it_can(const struct route *route)
{
    if (route->sum.known)
        return route->sum.can != CAN_ALL;
    for (size_t i = 0; i < route->target_count; i++)
        if (route->targets[i].can != CAN_ALL)
            return true;
    return false;
}

/* Does a target that may get the call say what it cannot do? */
static bool needs_matter(const struct exchange *x)
{
    size_t count;
    (void)ruling_fallback(x, &count);
    return says_what_it_can(x->route) || (count > 0 && x->snapshot->config->targets_can != CAN_ALL);
}

/* Could the prompt be too long for one of them? No text has more tokens than bytes. */
static bool may_be_long(const struct exchange *x, const struct route *route)
{
    if (route && route->sum.known)
        return route->sum.context_tokens && x->body_bytes > route->sum.context_tokens;
    for (size_t i = 0; route && i < route->target_count; i++)
        if (route->targets[i].context_tokens && x->body_bytes > route->targets[i].context_tokens)
            return true;
    return false;
}

static void look_at_needs(struct exchange *x)
{
    if (!has_body(x))
        return;
    (void)reserve_estimate(x);
    const struct estimate_facts *facts = &x->estimate_facts;
    x->ruling.needs = (facts->pictures ? CAN_VISION : 0) | (facts->sounds ? CAN_AUDIO : 0) |
                      (facts->has_tools ? CAN_TOOLS : 0) |
                      (facts->kind & ESTIMATE_SCHEMA ? CAN_JSON_SCHEMA : 0);
}

static void look_at_length(struct exchange *x)
{
    if (has_body(x))
        x->ruling.input_tokens = reserve_estimate(x)->input_mean;
}

/* May it search, where that matters: to a budget, which could not hold for it? Only what has tools,
 * or words for searches, is looked at. */
static void look_at_searches(struct exchange *x)
{
    size_t fallbacks;
    (void)ruling_fallback(x, &fallbacks);
    bool matters = !x->route || !x->route->sum.known || x->route->sum.unsearched || fallbacks;
    if (matters && x->seeking && x->seeking->may_search && has_body(x))
        x->ruling.searches = reserve_estimate(x) && x->estimate_facts.searches > 0 &&
                             reserve_has_budget(x, x->route);
}

static bool is_priced(const struct exchange *x, const struct target *target)
{
    return tiers_are_priced(x, target) && !(x->ruling.searches && target->price.no_search);
}

/* OpenRouter would answer with one of the models that the call names: they need not be allowed to
 * the key, nor are they held for. */
static bool goes_elsewhere(const struct exchange *x, const struct target *target)
{
    return x->seeking && x->seeking->names_models &&
           text_equal(target->provider->type->catalogue, TEXT("openrouter"));
}

static uint64_t salted(const struct exchange *x, uint64_t hash)
{
    struct text scope = tenant_scope(x->key->tenant);
    return strategy_mix(hash ^ affinity_hash(scope, 1));
}

/* A conversation is known by its beginning; who has none is its key. */
static void fill_sticky(struct exchange *x, const struct rules *rules, struct rule_call *call)
{
    uint64_t key = salted(x, reserve_key_hash(x->key)), thread = 0;
    if (rules->wants_conversation && has_body(x))
        thread = conversation_of(buffer_text(&x->body));
    call->sticky[RULE_BY_KEY] = key;
    call->sticky[RULE_BY_CONVERSATION] = thread ? strategy_mix(thread ^ key) : key;
    call->sticky[RULE_BY_USER] = x->call.user.len ? salted(x, affinity_hash(x->call.user, 2)) : key;
    call->sticky[RULE_BY_CALL] = worker_random(x->worker);
}

static void fill_minutes(const struct exchange *x, const struct rules *rules,
                         struct rule_call *call)
{
    enum { THURSDAY = 3, SECONDS_PER_MINUTE = 60 }; /* 1970-01-01 was one */
    int64_t second = x->started_wall_us / 1000000;
    for (size_t i = 0; i < rules->zone_count; i++) {
        int64_t local = second + zone_offset(rules->zones[i], second);
        int64_t minute = local / SECONDS_PER_MINUTE + THURSDAY * DAY_MINUTES;
        call->minutes[i] = (unsigned)(minute % WEEK_MINUTES);
    }
}

static void fill_call(struct exchange *x, const struct rules *rules, struct rule_call *call)
{
    const struct tenant *tenant = x->key->tenant;
    struct text *parents = arena_take(&x->seeking->arena, TENANT_DEPTH_MAX * sizeof(*parents));
    size_t count = 0;
    for (tenant = tenant->parent; tenant && count < TENANT_DEPTH_MAX; tenant = tenant->parent)
        parents[count++] = tenant->name;
    *call = (struct rule_call){
        .tenant = x->key->tenant->name,
        .key = x->key->name,
        .user = x->call.user,
        .parents = parents,
        .parent_count = count,
        .model = x->call.model,
        .route = x->route,
        .tags = x->tags,
        .headers = x->seeking->rule_headers,
        .input_tokens = has_body(x) && rules->wants_tokens ? x->ruling.input_tokens : -1,
        .needs = x->ruling.needs,
    };
    fill_sticky(x, rules, call);
    fill_minutes(x, rules, call);
}

/* -------------------------------------------------------------------------- what is ruled out */

static bool has_tag(const struct target *target, struct text tag)
{
    for (size_t i = 0; i < target->tag_count; i++)
        if (text_equal(target->tags[i], tag))
            return true;
    return false;
}

static bool has_tags(const struct target *target, const struct text *tags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!has_tag(target, tags[i]))
            return false;
    return true;
}

/* Is it where the tenant's data may go, and of the kind that the rule wants? */
bool ruling_allows(const struct exchange *x, const struct target *target)
{
    const struct rule *rule = x->ruling.rule;
    const struct tenant *tenant = x->key ? x->key->tenant : NULL;
    for (; tenant; tenant = tenant->parent)
        if (!has_tags(target, tenant->residency, tenant->residency_count))
            return false;
    return !rule || has_tags(target, rule->tags, rule->tag_count);
}

static bool is_named(const struct rule *rule, const struct target *target)
{
    for (size_t i = 0; i < rule->target_count; i++)
        if (rule->targets[i] == target)
            return true;
    return rule->target_count == 0;
}

/* What the rule itself falls back on is meant by it; what a policy does, must be one of its
 * targets. */
static bool is_fallback(const struct rule *rule, const struct route *route,
                        const struct target *target)
{
    for (size_t i = 0; i < rule->fallback_count; i++)
        if (text_equal(rule->fallback[i], target->id) || text_equal(rule->fallback[i], route->name))
            return true;
    return false;
}

static bool is_short(const struct exchange *x, const struct target *target)
{
    return target->context_tokens && x->ruling.input_tokens > target->context_tokens;
}

enum strike ruling_strike(const struct exchange *x, const struct route *route, size_t i,
                          bool falls_back)
{
    const struct target *target = &route->targets[i];
    const struct rule *rule = x->ruling.rule;
    if (!ruling_allows(x, target))
        return STRIKE_TAGS;
    if (rule && !is_named(rule, target) && !(falls_back && is_fallback(rule, route, target)))
        return STRIKE_RULE;
    if (!is_priced(x, target) || goes_elsewhere(x, target))
        return STRIKE_OFF;
    if (x->ruling.needs & ~target->can)
        return STRIKE_UNABLE;
    return is_short(x, target) ? STRIKE_LONG : STRIKE_NONE;
}

/* Is there nothing that could keep the call from any of them? */
static bool is_open(const struct exchange *x, const struct route *route)
{
    const struct route_sum *sum = &route->sum;
    const struct ruling *ruling = &x->ruling;
    if (!sum->known || ruling->rule || !tiers_are_plain(x, route) || ruling->needs & ~sum->can ||
        (sum->context_tokens && ruling->input_tokens > sum->context_tokens) ||
        (ruling->searches && sum->unsearched) || (x->seeking && x->seeking->names_models))
        return false;
    for (const struct tenant *at = x->key ? x->key->tenant : NULL; at; at = at->parent)
        if (at->residency_count)
            return false;
    return true;
}

static uint64_t bits_of(const struct exchange *x, const struct route *route, bool falls_back,
                        bool short_ones)
{
    uint64_t out = 0;
    if (!route || is_open(x, route))
        return 0;
    for (size_t i = 0; route && i < route->target_count; i++) {
        enum strike strike = ruling_strike(x, route, i, falls_back);
        if (strike != STRIKE_NONE && (short_ones || strike != STRIKE_LONG))
            out |= UINT64_C(1) << i;
    }
    return out;
}

static bool is_left(const struct route *route, uint64_t out)
{
    for (size_t i = 0; i < route->target_count; i++)
        if (!route->targets[i].off && !(out >> i & 1))
            return true;
    return false;
}

/* Is a fallback long enough? */
static bool fits_elsewhere(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    size_t count;
    const struct text *names = ruling_fallback(x, &count);
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < config->model_count; i++) {
            const struct route *route = &config->models[i];
            uint64_t out = bits_of(x, route, true, true);
            if (text_equal(route->name, names[k]) && is_left(route, out))
                return true;
            for (size_t t = 0; t < route->target_count; t++)
                if (text_equal(route->targets[t].id, names[k]) && !route->targets[t].off &&
                    !(out >> t & 1))
                    return true;
        }
    return false;
}

uint64_t ruling_out(const struct exchange *x, const struct route *route, bool falls_back)
{
    if (!route)
        return 0;
    uint64_t out = bits_of(x, route, falls_back, true), hard;
    if (!out || is_left(route, out))
        return out;
    hard = bits_of(x, route, falls_back, false);
    /* Better one that may say that it is too long than none. */
    return hard != out && (falls_back || !fits_elsewhere(x)) ? hard : out;
}

uint64_t ruling_abroad(const struct exchange *x, const struct route *route)
{
    uint64_t out = 0;
    for (size_t i = 0; i < route->target_count; i++)
        out |= ruling_allows(x, &route->targets[i]) ? 0 : UINT64_C(1) << i;
    return out;
}

/* Deployments that are stopped or given up, where another target is left. */
static uint64_t down_of(const struct route *route, uint64_t out)
{
    uint64_t down = 0;
    bool left = false;
    if (route && route->sum.known && !route->sum.deployed)
        return 0;
    for (size_t i = 0; route && i < route->target_count; i++) { /* what is pinned has no route */
        const struct target *target = &route->targets[i];
        const struct provider_settings *provider = target->provider;
        bool off = provider && provider->standing && standing_is_off(provider->standing);
        down |= off ? UINT64_C(1) << i : 0;
        left = left || (!off && !target->off && !(out >> i & 1));
    }
    return left ? down : 0;
}

const uint8_t *ruling_struck(struct exchange *x, const struct route *route)
{
    bool said = x->ruling.out_known && route == x->route && !x->detour;
    uint64_t out = said ? x->ruling.out : ruling_out(x, route, x->detour != NULL);
    uint64_t down = down_of(route, out);
    if (!(out | down))
        return NULL;
    uint8_t *struck = arena_new(&x->arena, route->target_count);
    for (size_t i = 0; i < route->target_count; i++)
        if (out >> i & 1)
            struck[i] = (uint8_t)ruling_strike(x, route, i, x->detour != NULL);
        else if (down >> i & 1)
            struck[i] = STRIKE_SICK;
    return struck;
}

/* ------------------------------------------------------------------------------- in force */

static const struct route_policy *policy_called(const struct config *config, struct text name)
{
    for (size_t i = 0; i < config->policy_count; i++)
        if (text_equal(config->policies[i].name, name))
            return &config->policies[i];
    return text_equal(name, strategy_balanced.name) ? &strategy_balanced : NULL;
}

static bool take_policy(struct exchange *x)
{
    struct text name = x->seeking->policy_name;
    if (!name.len)
        return true;
    x->ruling.policy = policy_called(x->snapshot->config, name);
    if (x->ruling.policy)
        return true;
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "There is no routing policy '%.*s'.",
              TEXT_ARGS(text_head(name, 100)));
    exchange_fault(x)->param = "x-sluice-policy";
    return false;
}

/* "0.05": the caller's own bound, which makes a rule's narrower and never wider. */
static bool take_cost(struct exchange *x)
{
    int64_t nanos = 0;
    struct text wish = x->seeking->wished_cost;
    if (!wish.len)
        return true;
    if (!decimal_read(wish, &nanos) || nanos <= 0) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "'x-sluice-max-cost' is an amount of USD such as 0.05.");
        exchange_fault(x)->param = "x-sluice-max-cost";
        return false;
    }
    if (!x->ruling.max_cost_nanos || nanos < x->ruling.max_cost_nanos)
        x->ruling.max_cost_nanos = nanos;
    return true;
}

/* The policy's own bound counts beside the rule's and the caller's: the least of them. */
static void take_policy_cost(struct exchange *x)
{
    int64_t nanos = ruling_policy(x)->max_cost_nanos;
    if (nanos && (!x->ruling.max_cost_nanos || nanos < x->ruling.max_cost_nanos))
        x->ruling.max_cost_nanos = nanos;
}

static void take_rule(struct exchange *x, const struct rule *rule)
{
    x->ruling.rule = rule;
    if (rule->policy && !x->ruling.policy) /* the caller's own word, where it has one, counts */
        x->ruling.policy = rule->policy;
    x->ruling.max_cost_nanos = rule->max_cost_nanos;
    if (!rule->model || rule->model == x->route || x->pinned)
        return;
    x->route = rule->model;
    x->estimated = false; /* it was about another model */
}

static void find_rule(struct exchange *x)
{
    const struct rules *rules = &x->snapshot->config->rules;
    struct rule_call call;
    if (!rules->count)
        return;
    if (rules->wants_tokens)
        look_at_length(x);
    if (rules->wants_needs)
        look_at_needs(x);
    fill_call(x, rules, &call);
    const struct rule *rule = rules_find(rules, &call);
    if (rule)
        take_rule(x, rule);
}

static bool refuse_price(struct exchange *x, struct text of)
{
    if (x->seeking && x->seeking->names_models) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "'models', 'route' and 'preset' are not passed on: a call names one model.");
        exchange_fault(x)->param = "models";
        return false;
    }
    if (x->ruling.searches) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "What a search by '%.*s' costs is not known here (price.search), and a budget "
                  "would have to pay for it.",
                  TEXT_ARGS(text_head(of, 100)));
        exchange_fault(x)->param = "tools";
        return false;
    }
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
              "What '%.*s' costs in the tier of service that is asked for is not known here.",
              TEXT_ARGS(text_head(of, 100)));
    exchange_fault(x)->param = "service_tier";
    return false;
}

/* An object stays where it is: there is nothing to choose, but where the tenant's data may be. */
static bool check_pinned(struct exchange *x)
{
    if (x->pinned && !is_priced(x, x->pinned))
        return refuse_price(x, x->pinned->id);
    if (!x->pinned || ruling_allows(x, x->pinned))
        return true;
    return fault_set(exchange_fault(x), FAULT_MODEL_DENIED,
                     "What this is about is kept where this tenant's data may not go.");
}

bool ruling_apply(struct exchange *x)
{
    if (!x->key || x->match.endpoint->page != PAGE_NONE)
        return true;
    look_at_searches(x);
    if (!x->route)
        return check_pinned(x);
    if (!take_policy(x))
        return false;
    find_rule(x);
    if (!take_cost(x))
        return false;
    take_policy_cost(x);
    if (!x->ruling.needs && needs_matter(x))
        look_at_needs(x);
    if (may_be_long(x, x->route))
        look_at_length(x);
    x->ruling.out = ruling_out(x, x->route, false);
    x->ruling.out_known = true;
    x->tried |= x->ruling.out;
    return check_pinned(x);
}

const struct route_policy *ruling_policy(const struct exchange *x)
{
    if (x->ruling.policy)
        return x->ruling.policy;
    return x->route && x->route->policy ? x->route->policy : x->snapshot->config->default_policy;
}

const struct text *ruling_fallback(const struct exchange *x, size_t *count)
{
    const struct rule *rule = x->ruling.rule;
    const struct route_policy *policy = ruling_policy(x);
    if (rule && rule->has_fallback) {
        *count = rule->fallback_count;
        return rule->fallback;
    }
    *count = policy ? policy->fallback_count : 0;
    return policy ? policy->fallback : NULL;
}

/* ------------------------------------------------------------------------------- refusals */

static const char *need_words(unsigned needs)
{
    return needs & CAN_VISION  ? "pictures"
           : needs & CAN_AUDIO ? "sound"
           : needs & CAN_TOOLS ? "tools"
                               : "an answer by a JSON schema";
}

bool ruling_refuse(struct exchange *x)
{
    struct text model = text_head(x->call.model.len ? x->call.model : x->route->name, 100);
    struct text rule = x->ruling.rule ? text_head(x->ruling.rule->name, 60) : TEXT("");
    unsigned seen[STRIKES] = {0};
    for (size_t i = 0; i < x->route->target_count; i++)
        seen[ruling_strike(x, x->route, i, false)]++;
    /* The reason of the one that came nearest; see the order in ruling_strike(). */
    if (seen[STRIKE_UNABLE])
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "No target of the model '%.*s' takes %s.",
                  TEXT_ARGS(model), need_words(x->ruling.needs));
    else if (seen[STRIKE_OFF])
        refuse_price(x, model);
    else if (seen[STRIKE_RULE])
        fault_set(exchange_fault(x), FAULT_MODEL_DENIED,
                  "The rule '%.*s' leaves no target of the model '%.*s'.", TEXT_ARGS(rule),
                  TEXT_ARGS(model));
    else if (seen[STRIKE_TAGS])
        fault_set(exchange_fault(x), FAULT_MODEL_DENIED,
                  "No target of the model '%.*s' is where this call may go.", TEXT_ARGS(model));
    else if (x->ruling.max_cost_nanos && is_left(x->route, x->ruling.out))
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                  "No target of the model '%.*s' takes this call for what it may cost%s%.*s%s.",
                  TEXT_ARGS(model), rule.len ? " (rule '" : "", TEXT_ARGS(rule),
                  rule.len ? "')" : "");
    else
        return false;
    return true;
}
