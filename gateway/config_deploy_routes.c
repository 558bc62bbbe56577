/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments as models: NAME, NAME:ADAPTER, and a target of the models that they are attached to.
 */
#include <assert.h>

#include "gateway/base/table.h"
#include "gateway/config_document.h"

size_t deploy_target_count(const struct document *document)
{
    const struct deployment_draft *drafts = document->deployments.at;
    size_t count = 0;
    for (size_t i = 0; i < document->deployments.count; i++)
        count += 1 + drafts[i].adapters.count + drafts[i].attach_to.count;
    return count;
}

size_t deploy_model_count(const struct document *document)
{
    const struct deployment_draft *drafts = document->deployments.at;
    size_t count = 0;
    for (size_t i = 0; i < document->deployments.count; i++)
        count += 1 + drafts[i].adapters.count;
    return count;
}

/* ---------------------------------------------------------------------------------- targets */

static struct target *add_target(struct document *document, struct deployment_draft *draft,
                                 struct text adapter)
{
    struct config *config = &document->config;
    const struct deployment_spec *spec = draft->to->spec;
    struct target *target = &config->targets[config->target_count++];
    struct text id = spec->name;
    if (adapter.len)
        id = arena_format(&document->arena, "%.*s:%.*s", TEXT_ARGS(id), TEXT_ARGS(adapter));
    *target = (struct target){
        .id = id,
        .model = adapter.len             ? adapter
                 : spec->served_name.len ? spec->served_name
                                         : spec->name,
        .provider = draft->to,
        .weight = 1,
        .priority = 1,
        .price = draft->price,
        .context_tokens = draft->context_tokens,
        .can = read_capabilities(draft->capabilities),
        .tags = draft->tags.at,
        .tag_count = draft->tags.count,
        .prefill = spec->engine == ENGINE_VLLM || spec->engine == ENGINE_SGLANG ? PREFILL_CONTINUE
                                                                                : PREFILL_NONE,
        .figures = target_figures(id),
        .breaker = &draft->to->breaker,
        .adapter = adapter,
    };
    target->price.known = true;
    price_seal(&target->price);
    return target;
}

static void attach(struct document *document, struct deployment_draft *draft,
                   const struct attachment_draft *attachment, struct route *route)
{
    if (route->target_count == ROUTE_TARGETS_MAX) {
        problem_at_value(document, attachment->node, SEVERITY_ERROR,
                         "the model \"%.*s\" has more than %d targets with this one",
                         TEXT_ARGS(route->name), ROUTE_TARGETS_MAX);
        return;
    }
    struct target *target = add_target(document, draft, (struct text){"", 0});
    target->priority = attachment->priority;
    target->weight = attachment->weight;
    route->target_count++;
}

void deploy_attach(struct document *document, struct route *route)
{
    struct deployment_draft *drafts = document->deployments.at;
    for (size_t i = 0; i < document->deployments.count; i++) {
        const struct attachment_draft *list = drafts[i].attach_to.at;
        bool done = false;
        for (size_t k = 0; drafts[i].to && k < drafts[i].attach_to.count; k++) {
            if (!text_equal(list[k].model, route->name))
                continue;
            if (done)
                problem_at_value(document, list[k].node, SEVERITY_ERROR,
                                 "it is attached to the model \"%.*s\" already",
                                 TEXT_ARGS(route->name));
            else
                attach(document, &drafts[i], &list[k], route);
            done = true;
        }
    }
}

/* ----------------------------------------------------------------------------------- models */

static struct text next_model(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->model_count ? config->models[i].name : (struct text){NULL, 0};
}

/* Is the name of each model that it is attached to one of <names>? */
static void check_attachments(struct document *document, const struct deployment_draft *draft,
                              const struct table *names)
{
    const struct attachment_draft *list = draft->attach_to.at;
    for (size_t i = 0; i < draft->attach_to.count; i++) {
        const struct node *at = node_of(list[i].node, "model");
        const struct model_draft *model = table_find(names, list[i].model);
        if (!list[i].model.len || (model && text_equal(model->route.name, list[i].model)))
            continue;
        struct problem *problem = problem_at_value(
            document, at, SEVERITY_ERROR, "there is no model \"%.*s\"", TEXT_ARGS(node_shown(at)));
        struct text near = nearest(list[i].model, next_model, &document->config);
        if (near.at)
            problem->hint = arena_copy(&document->arena, near).at;
    }
}

static bool is_attached_to(const struct deployment_draft *draft, struct text model)
{
    const struct attachment_draft *list = draft->attach_to.at;
    for (size_t i = 0; i < draft->attach_to.count; i++)
        if (text_equal(list[i].model, model))
            return true;
    return false;
}

/* May it be called <name>? Not when that is a model's, but for one that it is attached to. */
static bool may_be_called(struct document *document, const struct deployment_draft *draft,
                          struct text name, const struct table *names)
{
    const struct model_draft *model = table_find(names, name);
    if (!model)
        return true;
    if (!is_attached_to(draft, model->route.name))
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "\"%.*s\" is a name of the model \"%.*s\" already; \"attach_to\" makes a "
                         "deployment a target of it",
                         TEXT_ARGS(name), TEXT_ARGS(model->route.name));
    return false;
}

static void add_route(struct document *document, struct deployment_draft *draft,
                      struct text adapter, const struct table *names)
{
    struct config *config = &document->config;
    struct text name = draft->spec.name;
    if (adapter.len)
        name = arena_format(&document->arena, "%.*s:%.*s", TEXT_ARGS(name), TEXT_ARGS(adapter));
    if (!may_be_called(document, draft, name, names) || !draft->to)
        return;
    const struct target *target = add_target(document, draft, adapter);
    config->models[config->model_count++] = (struct route){
        .name = name,
        .description = draft->description,
        .capabilities = draft->capabilities.at,
        .capability_count = draft->capabilities.count,
        .context_window = draft->context_tokens,
        .targets = target,
        .target_count = 1,
        .policy = config->default_policy,
        .affinity = affinity_shared(),
    };
}

void deploy_routes(struct document *document, const struct table *names)
{
    struct deployment_draft *drafts = document->deployments.at;
    size_t others = document->config.model_count;
    for (size_t i = 0; i < document->deployments.count; i++)
        check_attachments(document, &drafts[i], names);
    assert(others == document->models.count);
    for (size_t i = 0; i < document->deployments.count; i++) {
        add_route(document, &drafts[i], (struct text){"", 0}, names);
        for (size_t k = 0; k < drafts[i].spec.adapter_count; k++)
            add_route(document, &drafts[i], drafts[i].spec.adapters[k].name, names);
    }
}
