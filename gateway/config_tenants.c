/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/clock.h"
#include "gateway/base/table.h"
#include "gateway/config_document.h"

enum { MAY_SET_TAGS = 1, MAY_SET_POLICY = 2, MAY_SET_EXPLAIN = 4 };

static const struct node *value_of(const struct node *node, const char *name)
{
    const struct node *value = node_find(node, name);
    return value ? value : node;
}

struct model_names {
    const struct config *config;
};

static struct text next_model(void *with, size_t i)
{
    const struct model_names *names = with;
    return i < names->config->model_count ? names->config->models[i].name : (struct text){NULL, 0};
}

/* A name in an allow-list that is no model: most likely a typing error. Patterns, and names of the
 * form provider/model, may be about what is asked for later. */
static void check_allowed(struct document *document, const struct node *list)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next) {
        struct text name = node_text(entry);
        if (entry->kind != NODE_SCALAR || entry->broken || text_find_byte(name, '*') != SIZE_MAX ||
            text_find_byte(name, '/') != SIZE_MAX ||
            (document->config.routes && routes_find(document->config.routes, name)))
            continue;
        const struct node *deployed = node_at(document->root, "deployments.models");
        bool known = false;
        for (deployed = deployed ? deployed->first : NULL; deployed; deployed = deployed->next)
            known |= text_equal(node_text(value_of(deployed, "name")), name);
        if (known)
            continue;
        struct model_names names = {&document->config};
        struct problem *problem =
            problem_at_value(document, entry, SEVERITY_WARNING, "there is no model \"%.*s\"",
                             TEXT_ARGS(node_shown(entry)));
        struct text near = nearest(name, next_model, &names);
        if (near.at)
            problem->hint = arena_copy(&document->arena, near).at;
    }
}

static void check_key(struct document *document, const struct key_draft *draft, struct table *names,
                      struct table *hashes)
{
    const struct node *hash = node_find(draft->node, "hash");
    const struct node *expires = node_find(draft->node, "expires");
    const struct key_draft *other = table_set(names, draft->key.name, (void *)(uintptr_t)draft);
    if (other && draft->key.name.len)
        problem_at_value(document, value_of(draft->node, "name"), SEVERITY_ERROR,
                         "a key \"%.*s\" of this tenant is declared already in %s",
                         TEXT_ARGS(draft->key.name),
                         node_place(document, other->node, draft->node));
    if (draft->key.expires_us && draft->key.expires_us <= clock_wall_us())
        problem_at_value(document, expires, SEVERITY_WARNING, "the key \"%.*s\" has expired",
                         TEXT_ARGS(draft->key.name));
    if (!hash || hash->broken)
        return;
    struct text digest = {(const char *)draft->key.digest.bytes, SHA256_BYTES};
    other = table_set(hashes, digest, (void *)(uintptr_t)draft);
    if (other)
        problem_at_value(document, hash, SEVERITY_ERROR, "the same hash as the key \"%.*s\" in %s",
                         TEXT_ARGS(other->key.name),
                         node_place(document, other->node, draft->node));
}

/* The placeholder of the example has no digest; it must not match anything either. */
static bool is_usable(const struct key_draft *draft)
{
    const struct node *hash = node_find(draft->node, "hash");
    return hash && !hash->broken;
}

static void resolve_keys(struct document *document, const struct tenant_draft *draft,
                         const struct tenant *tenant, struct table *hashes)
{
    const struct key_draft *keys = draft->keys.at;
    struct config *config = &document->config;
    struct table names;
    table_init(&names);
    for (size_t i = 0; i < draft->keys.count; i++) {
        check_key(document, &keys[i], &names, hashes);
        check_allowed(document, node_find(keys[i].node, "models"));
        if (!is_usable(&keys[i]))
            continue;
        struct key *key = &config->key_list[config->key_count++];
        *key = keys[i].key;
        key->tenant = tenant;
        key->models = keys[i].models.at;
        key->model_count = keys[i].models.count;
    }
    table_done(&names);
}

static void resolve_tenant(struct document *document, const struct tenant_draft *draft,
                           struct tenant *tenant)
{
    *tenant = draft->tenant;
    tenant->models = draft->models.at;
    tenant->model_count = draft->models.count;
    tenant->may_set_tags = draft->may_set & MAY_SET_TAGS;
    tenant->may_set_policy = draft->may_set & MAY_SET_POLICY;
    tenant->may_set_explain = draft->may_set & MAY_SET_EXPLAIN;
    check_allowed(document, node_find(draft->node, "models"));
}

void resolve_tenants(struct document *document)
{
    struct config *config = &document->config;
    const struct tenant_draft *drafts = document->tenants.at;
    size_t keys = 0;
    for (size_t i = 0; i < document->tenants.count; i++)
        keys += drafts[i].keys.count;
    config->tenants =
        arena_new(&document->arena, (document->tenants.count + 1) * sizeof(*config->tenants));
    config->key_list = arena_new(&document->arena, (keys + 1) * sizeof(*config->key_list));
    struct table names, hashes;
    table_init(&names);
    table_init(&hashes);
    for (size_t i = 0; i < document->tenants.count; i++) {
        struct tenant *tenant = &config->tenants[config->tenant_count++];
        resolve_tenant(document, &drafts[i], tenant);
        const struct tenant_draft *other =
            table_set(&names, tenant->name, (void *)(uintptr_t)&drafts[i]);
        if (other && tenant->name.len)
            problem_at_value(document, value_of(drafts[i].node, "name"), SEVERITY_ERROR,
                             "a tenant \"%.*s\" is declared already in %s", TEXT_ARGS(tenant->name),
                             node_place(document, other->node, drafts[i].node));
        resolve_keys(document, &drafts[i], tenant, &hashes);
    }
    table_done(&names);
    table_done(&hashes);
    config->keys = keys_new(config->key_list, config->key_count, NULL);
}
