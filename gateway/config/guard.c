/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "gateway/base/buffer.h"
#include "gateway/base/json.h"
#include "gateway/base/table.h"
#include "gateway/config/document.h"

/* Answers that are kept, and what must not pass. */

/* ------------------------------------------------------------------------------------- cache */

void resolve_cache(struct document *document)
{
    enum { SCOPE_TENANT, SCOPE_SHARED };
    struct config *config = &document->config;
    const struct node *node = node_at(document->root, "cache.semantic");
    config->cache.shared_scope = document->cache_scope == SCOPE_SHARED;
    config->cache.max_temperature_milli = document->max_temperature / 1000000;
    config->cache.threshold = (int)(document->threshold * 1000000 + 0.5);
    if (!config->cache.semantic ||
        (config->routes && routes_find(config->routes, config->cache.semantic_model)))
        return;
    problem_at_value(document, node_of(node, "model"), SEVERITY_ERROR,
                     "the semantic cache needs an embedding model: there is no model \"%.*s\"",
                     TEXT_ARGS(config->cache.semantic_model));
}

/* -------------------------------------------------------------------------------- JSON schemas */

static bool is_number(const char *at)
{
    char *end;
    if (strspn(at, "-0123456789") == 0 || strpbrk(at, "xXnNpP"))
        return false;
    errno = 0;
    (void)strtod(at, &end);
    return !*end && !errno && end[-1] != '.' && at[0] != '.';
}

static bool is_word_of_json(const struct node *node)
{
    return node->plain &&
           (strcmp(node->at, "true") == 0 || strcmp(node->at, "false") == 0 || is_number(node->at));
}

/* As the core schema of YAML reads it (YAML 1.2.2, 10.3); false when there is no more room. */
static bool write_json(struct buffer *out, const struct node *node)
{
    if (node->kind == NODE_NULL)
        return buffer_append_text(out, TEXT("null"));
    if (node->kind == NODE_SCALAR) {
        if (is_word_of_json(node))
            return buffer_append_text(out, node_text(node));
        return json_write_string(out, node_text(node));
    }
    bool fits = buffer_append_text(out, node->kind == NODE_LIST ? TEXT("[") : TEXT("{"));
    for (const struct node *entry = node->first; entry && fits; entry = entry->next) {
        if (entry->key)
            fits = json_write_string(out, node_key(entry)) && buffer_append_text(out, TEXT(":"));
        fits =
            fits && write_json(out, entry) && (!entry->next || buffer_append_text(out, TEXT(",")));
    }
    return fits && buffer_append_text(out, node->kind == NODE_LIST ? TEXT("]") : TEXT("}"));
}

static struct text schema_text(struct document *document, const struct node *node)
{
    enum { SCHEMA_BYTES_MAX = 1 << 20 };
    struct buffer out;
    if (node->kind == NODE_SCALAR)
        return node_text(node); /* JSON as it is */
    buffer_init(&out, SCHEMA_BYTES_MAX);
    if (!write_json(&out, node))
        problem_at_value(document, node, SEVERITY_ERROR, "the schema is too large");
    struct text text = arena_copy(&document->arena, buffer_text(&out));
    buffer_done(&out);
    return text;
}

/* ---------------------------------------------------------------------------------- guardrails */

/* What each type needs, and nothing else does anything there. */
static const struct {
    const char *type, *needs, *may;
} types[] = {
    [GUARD_REGEX] = {"regex", "patterns", NULL},
    [GUARD_CONTAINS] = {"contains", "terms", NULL},
    [GUARD_PII] = {"pii", NULL, "entities"},
    [GUARD_PROMPT_INJECTION] = {"prompt_injection", NULL, NULL},
    [GUARD_JSON_SCHEMA] = {"json_schema", "schema", NULL},
    [GUARD_WEBHOOK] = {"webhook", "url", NULL},
};

/* Is all there that the type needs, and read? */
static bool check_parts(struct document *document, const struct guard_draft *draft)
{
    static const char *const parts[] = {"patterns", "terms", "entities", "schema", "url"};
    const char *needs = types[draft->type].needs, *may = types[draft->type].may;
    const struct node *type = node_find(draft->node, "type");
    bool fine = true;
    if (!node_is_given(type) || type->broken)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        const struct node *node = node_find(draft->node, parts[i]);
        bool given = node_is_given(node) && (node->kind == NODE_SCALAR || node->first);
        bool is_needed = needs && strcmp(needs, parts[i]) == 0;
        if (is_needed && !given)
            problem_at_value(document, node ? node : draft->node, SEVERITY_ERROR,
                             "\"type: %s\" needs \"%s\"", types[draft->type].type, parts[i]);
        if (given && !is_needed && !(may && strcmp(may, parts[i]) == 0))
            problem_at_key(document, node, SEVERITY_WARNING,
                           "\"%s\" does nothing with \"type: %s\"", parts[i],
                           types[draft->type].type);
        fine &= (given || !is_needed) && !(node && node->broken);
    }
    return fine;
}

static struct text next_entity(void *with, size_t i)
{
    static const char *const entities[] = {"email", "phone", "card", "iban", "ip", "secret"};
    (void)with;
    return i < sizeof(entities) / sizeof(*entities) ? text_of(entities[i]) : (struct text){NULL, 0};
}

static bool check_entities(struct document *document, const struct node *list)
{
    bool fine = true;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        bool known = entry->broken || entry->kind != NODE_SCALAR;
        for (size_t i = 0; !known && next_entity(NULL, i).at; i++)
            known = text_equal(next_entity(NULL, i), node_text(entry));
        if (known)
            continue;
        struct problem *problem = problem_at_value(
            document, entry, SEVERITY_ERROR,
            "\"entities\" are of email, phone, card, iban, ip, secret, not \"%.*s\"",
            TEXT_ARGS(node_shown(entry)));
        struct text near = nearest(node_text(entry), next_entity, NULL);
        if (near.at)
            problem->hint = near.at;
        fine = false;
    }
    return fine;
}

/* Is it of use as it is? Says why not at <node>. */
static bool compiles(struct document *document, const struct guard_rule *rule,
                     const struct node *node)
{
    struct fault fault = {FAULT_NONE, NULL, ""};
    struct guard *guard = guard_new(rule, 1, &fault);
    guard_free(guard);
    if (!guard)
        problem_at_value(document, node, SEVERITY_ERROR, "%s", fault.text);
    return guard != NULL;
}

/* One expression after the other, so that each is shown where it stands. */
static void check_patterns(struct document *document, const struct guard_draft *draft,
                           const struct guard_rule *rule)
{
    const struct node *list = node_find(draft->node, "patterns");
    const struct node *entry = list ? list->first : NULL;
    struct guard_rule one = *rule;
    bool fine = true;
    one.pattern_count = 1;
    for (size_t i = 0; i < rule->pattern_count && entry; i++, entry = entry->next) {
        one.patterns = &rule->patterns[i];
        fine &= compiles(document, &one, entry);
    }
    if (fine)
        compiles(document, rule, node_of(draft->node, "patterns"));
}

static void check_rule(struct document *document, const struct guard_draft *draft,
                       const struct guard_rule *rule)
{
    static const char *const named[] = {
        [GUARD_REGEX] = "patterns",        [GUARD_CONTAINS] = "terms",   [GUARD_PII] = "entities",
        [GUARD_PROMPT_INJECTION] = "type", [GUARD_JSON_SCHEMA] = "type", [GUARD_WEBHOOK] = "url",
    };
    if (rule->type == GUARD_REGEX)
        check_patterns(document, draft, rule);
    else
        compiles(document, rule, node_of(draft->node, named[rule->type]));
}

static void check_webhook(struct document *document, const struct guard_draft *draft)
{
    const struct node *node = node_find(draft->node, "url");
    struct url url;
    const char *problem;
    if (draft->type != GUARD_WEBHOOK || !node_is_given(node) || node->broken)
        return;
    if (!url_read(draft->rule.url, &url, &problem))
        problem_at_value(document, node, SEVERITY_ERROR, "\"url\": %s", problem);
    else if (url.user.len)
        problem_at_value(document, node, SEVERITY_ERROR, "a \"url\" holds no user or password");
}

static struct text next_tenant(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->tenant_count ? config->tenants[i].name : (struct text){NULL, 0};
}

/* A tenant may have been made through the API. */
static void check_scope(struct document *document, const struct guard_draft *draft)
{
    const struct node *list = node_find(draft->node, "tenants");
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        bool known = entry->broken || entry->kind != NODE_SCALAR;
        for (size_t i = 0; !known && i < document->config.tenant_count; i++)
            known = text_equal(document->config.tenants[i].name, node_text(entry));
        if (known)
            continue;
        struct problem *problem = problem_at_value(document, entry, SEVERITY_WARNING,
                                                   "there is no tenant \"%.*s\" in the file",
                                                   TEXT_ARGS(node_shown(entry)));
        struct text near = nearest(node_text(entry), next_tenant, &document->config);
        if (near.at)
            problem->hint = arena_copy(&document->arena, near).at;
    }
    check_model_names(document, node_find(draft->node, "models"));
}

static void resolve_rule(struct document *document, const struct guard_draft *draft,
                         struct guard_rule *rule)
{
    enum { ON_ERROR_ALLOW };
    const struct node *schema = node_find(draft->node, "schema");
    *rule = draft->rule;
    rule->stage = (enum guard_stage)draft->stage;
    rule->type = (enum guard_type)draft->type;
    rule->action = (enum guard_action)draft->action;
    rule->allow_on_error = draft->on_error == ON_ERROR_ALLOW;
    rule->patterns = draft->patterns.at, rule->pattern_count = draft->patterns.count;
    rule->terms = draft->terms.at, rule->term_count = draft->terms.count;
    rule->entities = draft->entities.at, rule->entity_count = draft->entities.count;
    rule->tenants = draft->tenants.at, rule->tenant_count = draft->tenants.count;
    rule->models = draft->models.at, rule->model_count = draft->models.count;
    if (node_is_given(schema) && rule->type == GUARD_JSON_SCHEMA)
        rule->schema = schema_text(document, schema);
    check_webhook(document, draft);
    check_scope(document, draft);
    if (check_parts(document, draft) &&
        check_entities(document, node_find(draft->node, "entities")))
        check_rule(document, draft, rule);
}

void resolve_guardrails(struct document *document)
{
    struct config *config = &document->config;
    const struct guard_draft *drafts = document->guardrails.at;
    size_t count = document->guardrails.count;
    struct table names;
    if (count > GUARD_RULES_MAX) {
        problem_at_value(document, drafts[GUARD_RULES_MAX].node, SEVERITY_ERROR,
                         "at most %d guardrails", GUARD_RULES_MAX);
        return;
    }
    config->guard_rules = arena_new(&document->arena, (count + 1) * sizeof(*config->guard_rules));
    config->guard_rule_count = count;
    table_init(&names);
    for (size_t i = 0; i < count; i++) {
        const struct guard_draft *other =
            table_set(&names, drafts[i].rule.name, (void *)(uintptr_t)&drafts[i]);
        if (other && drafts[i].rule.name.len)
            problem_at_value(document, node_of(drafts[i].node, "name"), SEVERITY_ERROR,
                             "a guardrail \"%.*s\" is declared already in %s",
                             TEXT_ARGS(drafts[i].rule.name),
                             node_place(document, other->node, drafts[i].node));
        resolve_rule(document, &drafts[i], &config->guard_rules[i]);
    }
    table_done(&names);
    struct fault fault = {FAULT_NONE, NULL, ""};
    if (!count || document->errors)
        return;
    config->guard = guard_new(config->guard_rules, count, &fault);
    if (!config->guard)
        problem_at_value(document, node_find(document->root, "guardrails"), SEVERITY_ERROR, "%s",
                         fault.text);
}
