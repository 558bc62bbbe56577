/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/table.h"
#include "gateway/config/document.h"
#include "gateway/config/scalar.h"

/* routing.rules: from what the file says to what routing asks. */

/* -------------------------------------------------------------------------- tags, capabilities */

unsigned read_capabilities(struct items capabilities)
{
    static const struct text words[] = {
        {"vision", 6}, {"tools", 5}, {"json_schema", 11}, {"audio", 5}};
    const struct text *list = capabilities.at;
    unsigned can = 0;
    for (size_t i = 0; i < capabilities.count; i++)
        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
            can |= text_equal(list[i], words[k]) ? 1U << k : 0;
    return capabilities.count ? can : CAN_ALL;
}

static bool tag_is_there(const struct config *config, struct text tag)
{
    for (size_t i = 0; i < config->target_count; i++)
        for (size_t k = 0; k < config->targets[i].tag_count; k++)
            if (text_equal(config->targets[i].tags[k], tag))
                return true;
    return false;
}

struct tag_walk {
    const struct config *config;
};

static struct text next_tag(void *with, size_t at)
{
    const struct config *config = ((const struct tag_walk *)with)->config;
    for (size_t i = 0; i < config->target_count; i++) {
        if (at < config->targets[i].tag_count)
            return config->targets[i].tags[at];
        at -= config->targets[i].tag_count;
    }
    return (struct text){NULL, 0};
}

static void hint(struct document *document, struct problem *problem, struct text near)
{
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

void check_tags(struct document *document, const struct node *list)
{
    struct tag_walk walk = {&document->config};
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        if (entry->broken || entry->kind != NODE_SCALAR ||
            tag_is_there(&document->config, node_text(entry)))
            continue;
        struct problem *problem =
            problem_at_value(document, entry, SEVERITY_WARNING, "no target has the tag \"%.*s\"",
                             TEXT_ARGS(node_shown(entry)));
        hint(document, problem, nearest(node_text(entry), next_tag, &walk));
    }
}

/* --------------------------------------------------------------------------------- conditions */

struct making {
    struct document *document;
    const struct rule_draft *draft;
    const struct node *when, *use;
    struct rule *rule;
    struct rules *rules;
};

static struct rule_condition *add(struct making *making, enum rule_subject subject)
{
    struct rule *rule = making->rule;
    struct rule_condition *condition = &rule->conditions[rule->condition_count];
    if (rule->condition_count == RULE_CONDITIONS_MAX) {
        problem_at_value(making->document, making->when, SEVERITY_ERROR,
                         "a rule has at most %d conditions", RULE_CONDITIONS_MAX);
        return condition; /* one more has room, and is not counted */
    }
    rule->condition_count++;
    condition->subject = subject;
    return condition;
}

static void add_names(struct making *making, enum rule_subject subject, const char *name,
                      struct items names)
{
    const struct node *node = node_find(making->when, name);
    if (!node || !node_is_given(node) || node->broken)
        return;
    if (!names.count || names.count > RULE_VALUES_MAX) {
        problem_at_value(making->document, node, SEVERITY_ERROR, "\"%s\" holds 1 to %d names", name,
                         RULE_VALUES_MAX);
        return;
    }
    struct rule_condition *condition = add(making, subject);
    condition->values = names.at;
    condition->value_count = names.count;
}

static struct text lower(struct arena *arena, struct text name)
{
    char *copy = arena_take(arena, name.len + 1);
    for (size_t i = 0; i < name.len; i++)
        copy[i] = name.at[i] >= 'A' && name.at[i] <= 'Z' ? (char)(name.at[i] | 0x20) : name.at[i];
    copy[name.len] = '\0';
    return (struct text){copy, name.len};
}

/* Its place among those that are kept of each request, or RULE_HEADERS_MAX. */
static size_t header_place(struct making *making, const struct pair *pair)
{
    static const struct text never[] = {{"authorization", 13},
                                        {"x-api-key", 9},
                                        {"x-goog-api-key", 14},
                                        {"cookie", 6},
                                        {"proxy-authorization", 19}};
    struct rules *rules = making->rules;
    struct text name = lower(&making->document->arena, pair->name);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if (text_equal(name, never[i])) {
            problem_at_key(making->document, pair->node, SEVERITY_ERROR,
                           "a rule does not look at credentials; use \"key\" or \"tenant\"");
            return RULE_HEADERS_MAX;
        }
    for (size_t i = 0; i < rules->header_count; i++)
        if (text_equal(rules->headers[i], name))
            return i;
    if (rules->header_count == RULE_HEADERS_MAX) {
        problem_at_key(making->document, pair->node, SEVERITY_ERROR,
                       "rules look at %d different headers at most", RULE_HEADERS_MAX);
        return RULE_HEADERS_MAX;
    }
    rules->headers[rules->header_count] = name;
    return rules->header_count++;
}

static void add_headers(struct making *making)
{
    const struct pair *pairs = making->draft->headers.at;
    for (size_t i = 0; i < making->draft->headers.count; i++) {
        size_t place = header_place(making, &pairs[i]);
        if (place == RULE_HEADERS_MAX)
            continue;
        struct rule_condition *condition = add(making, RULE_HEADER);
        condition->place = place;
        condition->values = &pairs[i].value;
        condition->value_count = 1;
    }
}

static void add_tags(struct making *making)
{
    const struct pair *pairs = making->draft->tags.at;
    for (size_t i = 0; i < making->draft->tags.count; i++) {
        struct rule_condition *condition = add(making, RULE_TAG);
        condition->name = pairs[i].name;
        check_tag_name(making->document, pairs[i].node, pairs[i].name);
        condition->values = &pairs[i].value;
        condition->value_count = 1;
    }
}

static void add_tokens(struct making *making)
{
    const struct node *node = node_find(making->when, "input_tokens");
    int64_t least, most;
    if (!node || !node_is_given(node) || node->broken)
        return;
    if (!rule_read_tokens(making->draft->input_tokens, &least, &most)) {
        problem_at_value(making->document, node, SEVERITY_ERROR,
                         "\"input_tokens\" is such as \">100000\", \"<=8000\" or \"1000-8000\", "
                         "not \"%.*s\"",
                         TEXT_ARGS(node_shown(node)));
        return;
    }
    struct rule_condition *condition = add(making, RULE_INPUT_TOKENS);
    condition->least = least;
    condition->most = most;
    making->rules->wants_tokens = true;
}

static void add_needs(struct making *making)
{
    if (!making->draft->needs)
        return;
    add(making, RULE_CAPABILITY)->needs = making->draft->needs;
    making->rules->wants_needs = true;
}

/* Its place among the zones, or RULE_ZONES_MAX. */
static size_t zone_place(struct making *making, const struct node *node)
{
    struct rules *rules = making->rules;
    struct text name = making->draft->zone;
    const struct zone *zone = NULL;
    for (size_t i = 0; i < rules->zone_count; i++)
        if (text_equal(rules->zone_names[i], name))
            return i;
    if (!text_equal(name, TEXT("UTC")) && !(zone = zone_find(name))) {
        problem_at_value(making->document, node, SEVERITY_ERROR, "there is no time zone \"%.*s\"",
                         TEXT_ARGS(name));
        return RULE_ZONES_MAX;
    }
    if (rules->zone_count == RULE_ZONES_MAX) {
        problem_at_value(making->document, node, SEVERITY_ERROR,
                         "rules look at %d different zones at most", RULE_ZONES_MAX);
        return RULE_ZONES_MAX;
    }
    rules->zone_names[rules->zone_count] = name;
    rules->zones[rules->zone_count] = zone;
    return rules->zone_count++;
}

static bool read_clock(struct making *making, const struct node *time, const char *name,
                       struct text text, unsigned *minutes)
{
    if (rule_read_clock(text, minutes))
        return true;
    problem_at_value(making->document, node_of(time, name), SEVERITY_ERROR,
                     "\"%s\" is a time such as \"08:30\", not \"%.*s\"", name,
                     TEXT_ARGS(text_head(text, 40)));
    return false;
}

static void add_time(struct making *making)
{
    const struct node *time = node_find(making->when, "time");
    unsigned from, to;
    if (!node_is_given(time) || time->broken)
        return;
    size_t place = zone_place(making, node_of(time, "zone"));
    if (!read_clock(making, time, "from", making->draft->from, &from) ||
        !read_clock(making, time, "to", making->draft->to, &to) || place == RULE_ZONES_MAX)
        return;
    struct rule_condition *condition = add(making, RULE_TIME);
    condition->place = place;
    condition->from = from;
    condition->to = to;
    condition->days = making->draft->days;
}

static void add_sample(struct making *making)
{
    const struct node *node = node_find(making->when, "sample");
    const struct rule_draft *draft = making->draft;
    if (!node || !node_is_given(node) || node->broken)
        return;
    struct rule_condition *condition = add(making, RULE_SAMPLE);
    condition->share_ppm = (unsigned)(draft->sample * 1000000.0 + 0.5);
    condition->sticky = (enum rule_sticky)draft->sticky;
    making->rule->samples = true;
    making->rules->wants_conversation |= condition->sticky == RULE_BY_CONVERSATION;
}

/* What costs nothing to look at comes first. */
static void make_conditions(struct making *making)
{
    const struct rule_draft *draft = making->draft;
    making->rule->conditions = arena_new(&making->document->arena,
                                         (RULE_CONDITIONS_MAX + 1) * sizeof(struct rule_condition));
    add_names(making, RULE_TENANT, "tenant", draft->tenants);
    check_tenant_names(making->document, node_find(making->when, "tenant"));
    add_names(making, RULE_KEY, "key", draft->keys);
    check_key_names(making->document, node_find(making->when, "key"));
    add_names(making, RULE_USER, "user", draft->users);
    add_names(making, RULE_MODEL, "model", draft->models);
    check_model_names(making->document, node_find(making->when, "model"));
    add_tags(making);
    add_headers(making);
    add_tokens(making);
    add_needs(making);
    add_time(making);
    add_sample(making);
}

/* ------------------------------------------------------------------------------- what is used */

static struct text next_model(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->model_count ? config->models[i].name : (struct text){NULL, 0};
}

static struct text next_target(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->target_count ? config->targets[i].id : (struct text){NULL, 0};
}

static struct text next_place(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->model_count ? next_model(with, i)
                                   : next_target(with, i - config->model_count);
}

static const struct target *target_called(struct document *document, const struct node *node,
                                          struct text id)
{
    struct config *config = &document->config;
    for (size_t i = 0; i < config->target_count; i++)
        if (text_equal(config->targets[i].id, id))
            return &config->targets[i];
    struct problem *problem = problem_at_value(document, node, SEVERITY_ERROR,
                                               "there is no target \"%.*s\"", TEXT_ARGS(id));
    hint(document, problem, nearest(id, next_target, config));
    return NULL;
}

static void use_model(struct making *making)
{
    struct config *config = &making->document->config;
    struct text name = making->draft->use_model;
    const struct node *node = node_find(making->use, "model");
    if (!name.len)
        return;
    making->rule->model = routes_find(config->routes, name);
    if (making->rule->model)
        return;
    struct problem *problem =
        problem_at_value(making->document, node, SEVERITY_ERROR, "there is no model \"%.*s\"",
                         TEXT_ARGS(node_shown(node)));
    hint(making->document, problem, nearest(name, next_model, config));
}

static void use_targets(struct making *making)
{
    const struct text *names = making->draft->use_targets.at;
    size_t count = making->draft->use_targets.count;
    const struct node *node = node_find(making->use, "targets"), *entry = node ? node->first : NULL;
    struct rule *rule = making->rule;
    if (count > RULE_TARGETS_MAX) {
        problem_at_value(making->document, node, SEVERITY_ERROR, "more than %d targets",
                         RULE_TARGETS_MAX);
        return;
    }
    rule->targets =
        arena_new(&making->document->arena, (count + 1) * sizeof(const struct target *));
    for (size_t i = 0; i < count; i++, entry = entry ? entry->next : NULL) {
        const struct target *target = target_called(making->document, entry, names[i]);
        if (target)
            rule->targets[rule->target_count++] = target;
    }
    for (size_t i = 0; rule->model && i < rule->target_count; i++) {
        const struct target *first = rule->model->targets;
        if (rule->targets[i] < first || rule->targets[i] >= first + rule->model->target_count)
            problem_at_value(making->document, node, SEVERITY_ERROR,
                             "the target \"%.*s\" is none of the model \"%.*s\"",
                             TEXT_ARGS(rule->targets[i]->id), TEXT_ARGS(rule->model->name));
    }
}

static bool place_is_known(const struct config *config, struct text name)
{
    const struct route *route = routes_find(config->routes, name);
    for (size_t i = 0; i < config->target_count; i++)
        if (text_equal(config->targets[i].id, name))
            return true;
    return route && text_equal(route->name, name);
}

void check_fallback_list(struct document *document, const struct node *list)
{
    struct config *config = &document->config;
    size_t count = 0;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        count++;
        if (entry->broken || place_is_known(config, node_text(entry)))
            continue;
        struct problem *problem = problem_at_value(document, entry, SEVERITY_ERROR,
                                                   "there is no model and no target \"%.*s\"",
                                                   TEXT_ARGS(node_shown(entry)));
        hint(document, problem, nearest(node_text(entry), next_place, config));
    }
    if (count > FALLBACKS_MAX)
        problem_at_value(document, list, SEVERITY_ERROR, "at most %d fallbacks", FALLBACKS_MAX);
}

static void use_fallback(struct making *making)
{
    const struct node *node = node_find(making->use, "fallback");
    struct rule *rule = making->rule;
    if (!node || !node_is_given(node) || node->broken)
        return;
    rule->has_fallback = true;
    rule->fallback = making->draft->use_fallback.at;
    rule->fallback_count = making->draft->use_fallback.count;
    check_fallback_list(making->document, node);
}

static void use_mirror(struct making *making)
{
    const struct rule_draft *draft = making->draft;
    const struct node *mirror = node_find(making->use, "mirror");
    if (!node_is_given(mirror) || !draft->mirror_target.len)
        return;
    making->rule->mirror =
        target_called(making->document, node_of(mirror, "target"), draft->mirror_target);
    making->rule->mirror_ppm = (unsigned)(draft->mirror_share * 1000000.0 + 0.5);
    making->rule->mirror_bytes = (int64_t)draft->mirror_bytes;
    making->rule->mirror_calls = draft->mirror_calls;
}

static void make_use(struct making *making)
{
    const struct rule_draft *draft = making->draft;
    struct rule *rule = making->rule;
    if (!making->use || !making->use->first)
        problem_at_value(making->document, making->use ? making->use : draft->node, SEVERITY_ERROR,
                         "the rule \"%.*s\" uses nothing: give \"use\" a model, policy, targets …",
                         TEXT_ARGS(rule->name));
    use_model(making);
    if (draft->use_policy.len)
        rule->policy =
            find_policy(making->document, draft->use_policy, node_find(making->use, "policy"));
    use_targets(making);
    rule->tags = draft->use_tags.at;
    rule->tag_count = draft->use_tags.count;
    check_tags(making->document, node_find(making->use, "tags"));
    use_fallback(making);
    use_mirror(making);
    rule->max_cost_nanos = draft->max_cost;
}

/* ---------------------------------------------------------------------------------- all of them */

/* What comes after a rule without conditions is never asked. */
static void check_reach(struct document *document)
{
    const struct rule_draft *drafts = document->rules.at;
    const struct rules *rules = &document->config.rules;
    for (size_t i = 0; i + 1 < rules->count; i++)
        if (!rules->list[i].condition_count) {
            problem_at_key(document, drafts[i + 1].node, SEVERITY_WARNING,
                           "this rule is never asked: \"%.*s\" before it has no conditions",
                           TEXT_ARGS(rules->list[i].name));
            return;
        }
}

void resolve_rules(struct document *document)
{
    struct rules *rules = &document->config.rules;
    const struct rule_draft *drafts = document->rules.at;
    size_t count = document->rules.count;
    struct table names;
    if (count > RULES_MAX) {
        problem_at_value(document, drafts[RULES_MAX].node, SEVERITY_ERROR, "at most %d rules",
                         RULES_MAX);
        return;
    }
    rules->list = arena_new(&document->arena, (count + 1) * sizeof(*rules->list));
    rules->count = count;
    table_init(&names);
    for (size_t i = 0; i < count; i++) {
        struct making making = {document,
                                &drafts[i],
                                node_find(drafts[i].node, "when"),
                                node_find(drafts[i].node, "use"),
                                &rules->list[i],
                                rules};
        const struct rule_draft *other =
            drafts[i].rule.name.len
                ? table_set(&names, drafts[i].rule.name, (void *)(uintptr_t)&drafts[i])
                : NULL;
        if (other)
            problem_at_value(document, node_of(drafts[i].node, "name"), SEVERITY_ERROR,
                             "a rule \"%.*s\" is declared already in %s",
                             TEXT_ARGS(drafts[i].rule.name),
                             node_place(document, other->node, drafts[i].node));
        rules->list[i].name = drafts[i].rule.name.len
                                  ? drafts[i].rule.name
                                  : arena_format(&document->arena, "rule %zu", i + 1);
        make_conditions(&making);
        make_use(&making);
    }
    table_done(&names);
    if (!document->errors)
        check_reach(document);
}
