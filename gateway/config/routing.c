/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/table.h"
#include "gateway/config/document.h"
#include "gateway/config/options.h"

enum { MILLION = 1000000 };

static struct text next_policy(void *with, size_t i)
{
    const struct document *document = with;
    const struct policy_draft *drafts = document->policies.at;
    if (i == document->policies.count)
        return strategy_balanced.name;
    return i < document->policies.count ? drafts[i].policy.name : (struct text){NULL, 0};
}

static int64_t ppm_of(double share)
{
    return (int64_t)(share * MILLION + 0.5);
}

static void resolve_policy(struct document *document, struct policy_draft *draft)
{
    struct route_policy *policy = &draft->policy;
    policy->strategy = (enum strategy)draft->strategy;
    policy->signal = (enum latency_signal)draft->signal;
    policy->sticky_by = (enum sticky_by)draft->sticky_by;
    policy->cost_ppm = ppm_of(draft->cost);
    policy->latency_ppm = ppm_of(draft->latency);
    policy->load_ppm = ppm_of(draft->load);
    policy->explore_ppm = ppm_of(draft->explore);
    policy->hedge_max_ppm = ppm_of(draft->hedge_share);
    if (!node_is_given(node_find(node_find(draft->node, "hedge"), "after")))
        policy->hedge_after_us = -1;
    policy->no_resume = !draft->resume;
    policy->fallback = draft->fallback.at;
    policy->fallback_count = draft->fallback.count;
    if (policy->strategy == STRATEGY_SCORE && !policy->cost_ppm && !policy->latency_ppm)
        problem_at_value(document, node_of(draft->node, "score"), SEVERITY_ERROR,
                         "\"score\" weighs neither cost nor latency");
}

void resolve_policies(struct document *document)
{
    struct config *config = &document->config;
    struct policy_draft *drafts = document->policies.at;
    size_t count = document->policies.count;
    struct table names;
    table_init(&names);
    config->policies = arena_new(&document->arena, (count + 1) * sizeof(*config->policies));
    for (size_t i = 0; i < count; i++) {
        resolve_policy(document, &drafts[i]);
        config->policies[i] = drafts[i].policy;
        const struct policy_draft *other = table_set(&names, drafts[i].policy.name, &drafts[i]);
        if (other && drafts[i].policy.name.len)
            problem_at_value(document, node_of(drafts[i].node, "name"), SEVERITY_ERROR,
                             "a routing policy \"%.*s\" is declared already in %s",
                             TEXT_ARGS(drafts[i].policy.name),
                             node_place(document, other->node, drafts[i].node));
    }
    table_done(&names);
    config->policy_count = count;
    config->default_policy = find_policy(document, document->default_policy,
                                         node_at(document->root, "routing.default_policy"));
}

const struct route_policy *find_policy(struct document *document, struct text name,
                                       const struct node *at)
{
    const struct config *config = &document->config;
    for (size_t i = 0; i < config->policy_count; i++)
        if (text_equal(config->policies[i].name, name))
            return &config->policies[i];
    if (text_equal(name, strategy_balanced.name) || !at || at->broken)
        return &strategy_balanced;
    struct problem *problem =
        problem_at_value(document, at, SEVERITY_ERROR, "there is no routing policy \"%.*s\"",
                         TEXT_ARGS(node_shown(at)));
    struct text near = nearest(name, next_policy, document);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
    return &strategy_balanced;
}

void check_fallbacks(struct document *document)
{
    const struct policy_draft *drafts = document->policies.at;
    for (size_t i = 0; i < document->policies.count; i++)
        check_fallback_list(document, node_find(drafts[i].node, "fallback"));
}

/* ------------------------------------------------------------------------- one in a file */

struct policy_file {
    struct document *document; /* owns all of it */
    struct policy_draft draft;
};

/* Of the tree that was read, if there is one. */
static struct policy_file *policy_file_of(struct document *document, FILE *words)
{
    struct policy_file *file = memory_new(sizeof(*file));
    file->document = document;
    if (document->root) {
        file->draft.node = document->root;
        document_fill_mapping(document, document->root, policy_options, &file->draft);
        resolve_policy(document, &file->draft);
    }
    problems_print(document, words);
    if (document->errors == 0)
        return file;
    policy_file_free(file);
    return NULL;
}

struct policy_file *policy_file_load(const char *path, FILE *words)
{
    struct config_options options = {.path = path};
    struct document *document = document_new(&options);
    document->root = document_read_plain(document, path);
    return policy_file_of(document, words);
}

struct policy_file *policy_file_read(struct text yaml, FILE *words)
{
    struct config_options options = {.path = "policy"};
    struct document *document = document_new(&options);
    document->root = yaml_read(document, "policy", yaml);
    return policy_file_of(document, words);
}

void policy_file_free(struct policy_file *file)
{
    if (!file)
        return;
    document_free(file->document);
    memory_free(file);
}

const struct route_policy *policy_file_policy(const struct policy_file *file)
{
    return &file->draft.policy;
}
