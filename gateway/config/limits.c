/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "gateway/base/quantity.h"
#include "gateway/config/document.h"
#include "gateway/config/options.h"
#include "gateway/config/scalar.h"
#include "policy/estimate.h"

/* From what the file says of limits and budgets to `struct limit`. */

enum {
    LEVEL_LIMITS_MAX = 1024, /* of one key, tenant or user, for all models and each */
    BUDGETS_MAX = 8,         /* of one of these for one model */
    BUDGET_WORDS_MAX = 48,
};

/* The limits of one level while they are put together. */
struct level {
    struct document *document;
    struct limit *at;
    size_t count, room;
    bool full;
};

static bool has_room(struct level *level, const struct node *node)
{
    if (level->count < level->room)
        return true;
    if (!level->full)
        problem_at_value(level->document, node, SEVERITY_ERROR, "more than %d limits at one place",
                         LEVEL_LIMITS_MAX);
    level->full = true;
    return false;
}

/* -------------------------------------------------------------------------------------- rates */

/* What holds for each amount of a section: what it says itself, else the one around it. */
struct manner {
    bool strict;
    enum limit_algorithm algorithm;
    enum limit_away away;
    struct text model;
};

static void take_manner(const struct rates_draft *draft, struct manner *manner)
{
    if (node_is_given(node_find(draft->node, "strict")))
        manner->strict = draft->strict;
    if (node_is_given(node_find(draft->node, "algorithm")))
        manner->algorithm = (enum limit_algorithm)draft->algorithm;
    if (node_is_given(node_find(draft->node, "on_error")))
        manner->away = (enum limit_away)draft->away;
}

static bool counts_tokens(enum limit_kind kind)
{
    return kind == LIMIT_TOKENS || kind == LIMIT_INPUT_TOKENS || kind == LIMIT_OUTPUT_TOKENS;
}

static void add_rates(struct level *level, const struct rates_draft *draft,
                      const struct manner *manner)
{
    for (const struct option *option = rates_options; option->name; option++) {
        struct limit limit = {.away = manner->away, .model = manner->model};
        const struct node *node = node_find(draft->node, option->name);
        if (option->type != OPTION_NUMBER || !node_is_given(node) || node->broken)
            continue;
        bool named = limit_name_read(text_of(option->name), &limit);
        assert(named);
        if (!has_room(level, node))
            return;
        limit.amount = *(const int64_t *)(const void *)((const char *)draft + option->where);
        limit.algorithm = manner->algorithm;
        limit.strict = manner->strict && counts_tokens(limit.kind);
        level->at[level->count++] = limit;
    }
}

/* ------------------------------------------------------------------------------------ budgets */

static void read_period(const struct budget_draft *draft, struct limit *limit)
{
    static const enum limit_period periods[] = {PERIOD_HOUR, PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH,
                                                PERIOD_TOTAL};
    const struct node *node = node_find(draft->node, "period");
    unsigned place;
    limit->period = PERIOD_MONTH;
    if (!node_is_given(node) || node->broken)
        return;
    if (word_find("hour|day|week|month|total", node->at, node->len, &place)) {
        limit->period = periods[place];
        return;
    }
    limit->period = PERIOD_ROLLING;
    limit->window_us = draft->window_us;
}

static void read_zone(struct document *document, const struct budget_draft *draft,
                      struct limit *limit)
{
    const struct node *node = node_find(draft->node, "time_zone");
    if (!node_is_given(node) || node->broken)
        return;
    bool of_calendar = limit->period != PERIOD_ROLLING && limit->period != PERIOD_TOTAL;
    if (text_equal(draft->time_zone, TEXT("UTC")))
        return;
    if (!of_calendar)
        problem_at_value(document, node, SEVERITY_WARNING,
                         "\"time_zone\" does nothing: the period is not one of the calendar");
    const struct zone *zone = zone_find(draft->time_zone);
    if (zone && of_calendar)
        limit->zone = zone;
    if (!zone)
        problem_at_value(document, node, SEVERITY_ERROR,
                         "the system's tz database has no time zone \"%.*s\" (one is called like "
                         "Europe/Berlin)",
                         TEXT_ARGS(node_shown(node)));
}

/* Shares as thousandths. */
static void read_warnings(struct document *document, const struct budget_draft *draft,
                          struct limit *limit)
{
    const struct node *list = node_find(draft->node, "warn_at");
    const struct node *at = list ? list->first : NULL;
    const struct text *shares = draft->warn_at.at;
    int64_t before = 0, share;
    for (size_t i = 0; i < draft->warn_at.count; i++) {
        const struct node *entry = at ? at : draft->node;
        at = at ? at->next : NULL;
        if (i == LIMIT_WARNINGS) {
            problem_at_value(document, entry, SEVERITY_ERROR, "\"warn_at\" has at most %d shares",
                             LIMIT_WARNINGS);
            return;
        }
        if (!decimal_read(shares[i], &share) || share < 1000000 || share > 1000000000) {
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "\"warn_at\" must hold shares such as 0.8, at most 1, not \"%.*s\"",
                             TEXT_ARGS(node_shown(entry)));
            return;
        }
        if (share / 1000000 <= before) {
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "the shares of \"warn_at\" must rise");
            return;
        }
        before = share / 1000000;
        limit->warn_at[i] = (uint16_t)before;
    }
}

static void check_one_budget(struct level *level, size_t first, const struct limit *limit,
                             const struct node *node)
{
    for (size_t i = first; i < level->count; i++) {
        const struct limit *other = &level->at[i];
        if (other->kind != LIMIT_MONEY || other->period != limit->period ||
            other->window_us != limit->window_us)
            continue;
        char name[BUDGET_WORDS_MAX];
        limit_name_write(limit, name);
        problem_at_value(level->document, node, SEVERITY_ERROR,
                         "a second budget over the same period (%s): give one", name);
        return;
    }
}

static void add_budget(struct level *level, size_t first, const struct budget_draft *draft,
                       const struct manner *manner)
{
    struct limit limit = {.kind = LIMIT_MONEY, .model = manner->model};
    const struct node *amount = node_find(draft->node, "amount");
    read_period(draft, &limit);
    read_zone(level->document, draft, &limit);
    read_warnings(level->document, draft, &limit);
    if (!amount || amount->broken || !has_room(level, draft->node))
        return;
    limit.amount = draft->amount;
    limit.exceeded = (enum limit_exceeded)draft->exceeded;
    limit.away = node_is_given(node_find(draft->node, "on_error"))
                     ? (enum limit_away)draft->away
                     : level->document->config.store.away_budgets;
    check_one_budget(level, first, &limit, draft->node);
    level->at[level->count++] = limit;
}

static void add_budgets(struct level *level, const struct budget_draft *one, struct items several,
                        const struct manner *manner)
{
    const struct budget_draft *budgets = several.at;
    size_t first = level->count;
    if (one->node)
        add_budget(level, first, one, manner);
    for (size_t i = 0; i < several.count; i++) {
        if (i == BUDGETS_MAX) {
            problem_at_value(level->document, budgets[i].node, SEVERITY_ERROR,
                             "\"budgets\" has at most %d entries", BUDGETS_MAX);
            return;
        }
        add_budget(level, first, &budgets[i], manner);
    }
}

/* ------------------------------------------------------------------------------- single models */

/* Limits know a model by the name of its route, whatever it is called here. */
static struct text route_name(struct document *document, const struct node *node)
{
    struct text name = node_key(node);
    const struct route *route =
        document->config.routes ? routes_find(document->config.routes, name) : NULL;
    if (route)
        return route->name;
    if (text_find_byte(name, '*') != SIZE_MAX)
        problem_at_key(document, node, SEVERITY_ERROR,
                       "limits are for one model each, not for a pattern such as \"%.*s\"",
                       TEXT_ARGS(name));
    else if (!model_is_known(document, name))
        say_unknown_model(document, node, name);
    return name;
}

static void add_model(struct level *level, const struct rates_draft *draft, struct manner manner)
{
    size_t first = level->count;
    manner.model = route_name(level->document, draft->node);
    for (size_t i = 0; i < first; i++)
        if (text_equal(level->at[i].model, manner.model)) {
            problem_at_key(level->document, draft->node, SEVERITY_ERROR,
                           "the model \"%.*s\" has limits here already, by another of its names",
                           TEXT_ARGS(manner.model));
            return;
        }
    take_manner(draft, &manner);
    add_rates(level, draft, &manner);
    add_budgets(level, &draft->budget, draft->budgets, &manner);
}

static size_t room_for(const struct level_draft *draft, const struct rates_draft *limits)
{
    const struct rates_draft *models = limits->models.at;
    size_t room = RATES + 1 + draft->budgets.count;
    for (size_t i = 0; i < limits->models.count; i++)
        room += RATES + 1 + models[i].budgets.count;
    return room < LEVEL_LIMITS_MAX ? room : LEVEL_LIMITS_MAX;
}

static struct limit_list level_list(struct document *document, const struct level_draft *draft,
                                    const struct rates_draft *limits)
{
    const struct config *config = &document->config;
    const struct rates_draft *models = limits->models.at;
    struct level level = {.document = document, .room = room_for(draft, limits)};
    struct manner manner = {
        .strict = config->policy_limits.strict_tokens,
        .algorithm = config->policy_limits.algorithm,
        .away = config->store.away_limits,
    };
    level.at = memory_new(level.room * sizeof(*level.at));
    take_manner(limits, &manner);
    add_rates(&level, limits, &manner);
    add_budgets(&level, &draft->budget, draft->budgets, &manner);
    for (size_t i = 0; i < limits->models.count && !level.full; i++)
        add_model(&level, &models[i], manner);
    struct limit *kept = NULL;
    if (level.count) {
        kept = arena_take(&document->arena, level.count * sizeof(*kept));
        memcpy(kept, level.at, level.count * sizeof(*kept));
    }
    memory_free(level.at);
    return (struct limit_list){kept, level.count};
}

struct limit_list level_limits(struct document *document, const struct level_draft *draft,
                               bool or_default)
{
    if (draft->limits.node || !or_default)
        return level_list(document, draft, &draft->limits);
    struct limit_list defaults = document->config.policy_limits.defaults;
    if (!draft->budget.node && !draft->budgets.count)
        return defaults;
    struct limit_list own = level_list(document, draft, &draft->limits);
    struct limit *all = arena_new(&document->arena, (own.count + defaults.count) * sizeof(*all));
    if (own.count)
        memcpy(all, own.at, own.count * sizeof(*all));
    if (defaults.count)
        memcpy(all + own.count, defaults.at, defaults.count * sizeof(*all));
    return (struct limit_list){all, own.count + defaults.count};
}

/* ----------------------------------------------------------------------------- `limits` itself */

void resolve_limits(struct document *document)
{
    enum { HEADERS_OPENAI = 1, HEADERS_IETF = 2 };
    struct config *config = &document->config;
    struct level_draft none = {0};
    config->policy_limits.algorithm = (enum limit_algorithm)document->algorithm;
    config->policy_limits.headers_openai = document->limit_headers & HEADERS_OPENAI;
    config->policy_limits.headers_ietf = document->limit_headers & HEADERS_IETF;
    config->policy_limits.defaults = level_list(document, &none, &document->default_limits);
}

/* ------------------------------------------------------------- how long answers may be, for money
 */

/* A budget that refuses, of calls of this model. */
static bool has_budget(const struct limit_list *list, struct text model)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *limit = &list->at[i];
        if (limit->kind == LIMIT_MONEY && limit->exceeded != EXCEEDED_WARN &&
            (!limit->model.len || text_equal(limit->model, model)))
            return true;
    }
    return false;
}

static bool is_budgeted(const struct config *config, struct text model)
{
    bool found = false;
    for (size_t i = 0; i < config->tenant_count && !found; i++)
        found = has_budget(&config->tenants[i].limits, model) ||
                has_budget(&config->tenants[i].user_limits, model);
    for (size_t i = 0; i < config->key_count && !found; i++)
        found = has_budget(&config->key_list[i].limits, model);
    return found;
}

/* Pictures, sound and vectors have bounds of another kind. */
static bool writes_text(const struct target *target)
{
    struct model_facts facts;
    struct price unused;
    return !catalogue_find(target->provider->type->catalogue, target->model, &facts, &unused) ||
           strcmp(facts.mode, "chat") == 0 || strcmp(facts.mode, "completion") == 0 ||
           strcmp(facts.mode, "responses") == 0;
}

static bool is_endless(const struct target *target)
{
    return target->provider && !target->provider->type->is_mock && !target->off &&
           target->price.output > 0 && !target->max_tokens_default && !target->max_tokens_max &&
           writes_text(target);
}

void check_lengths(struct document *document)
{
    const struct model_draft *drafts = document->models.at;
    for (size_t i = 0; i < document->models.count; i++) {
        const struct route *route = &document->config.models[i];
        const struct target_draft *targets = drafts[i].targets.at;
        size_t k = 0;
        while (k < drafts[i].targets.count && !is_endless(&route->targets[k]))
            k++;
        if (k < drafts[i].targets.count && is_budgeted(&document->config, route->name))
            problem_at_key(document, targets[k].node, SEVERITY_WARNING,
                           "nobody knows how long the answers of \"%.*s\" may be: under a budget "
                           "they end at %d tokens where the call says nothing; give the target "
                           "\"params: {max_tokens: …}\"",
                           TEXT_ARGS(text_head(route->targets[k].id, SCALAR_NAME_MAX)),
                           ESTIMATE_UNKNOWN_OUTPUT_TOKENS);
    }
}
