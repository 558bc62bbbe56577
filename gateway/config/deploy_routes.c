/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments as models: NAME, NAME:ADAPTER, and a target of the models that they are attached to.
 */
#include <assert.h>

#include "gateway/config/document.h"

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
            if (!done)
                attach(document, &drafts[i], &list[k], route);
            done = true;
        }
    }
}

/* ----------------------------------------------------------------------------------- models */

static void add_route(struct document *document, struct deployment_draft *draft,
                      struct text adapter)
{
    struct config *config = &document->config;
    struct text name = draft->spec.name;
    if (adapter.len)
        name = arena_format(&document->arena, "%.*s:%.*s", TEXT_ARGS(name), TEXT_ARGS(adapter));
    if (!draft->to || draft->of_model)
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

void deploy_routes(struct document *document)
{
    struct deployment_draft *drafts = document->deployments.at;
    assert(document->config.model_count == document->models.count);
    for (size_t i = 0; i < document->deployments.count; i++) {
        add_route(document, &drafts[i], (struct text){"", 0});
        for (size_t k = 0; k < drafts[i].spec.adapter_count; k++)
            add_route(document, &drafts[i], drafts[i].spec.adapters[k].name);
    }
}
