/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments that were made at run time, behind those of the file. What is wrong with one of them
 * is a warning, and leaves that one out: the file may have changed since it was made. */
#include "gateway/config_document.h"

static struct node *list_of(struct document *document, size_t source)
{
    struct node *there = node_at(document->root, "deployments.models");
    struct node *above = node_at(document->root, "deployments");
    if (there && there->kind == NODE_LIST)
        return there;
    bool is_odd = (there && there->kind != NODE_NULL) ||
                  (above && above->kind != NODE_MAP && above->kind != NODE_NULL);
    if (is_odd)
        return NULL; /* that is said elsewhere */
    if (!there)
        there = node_set(document, document->root, "deployments.models", TEXT(""), source);
    there->kind = NODE_LIST;
    there->first = NULL;
    return there;
}

void document_add_made(struct document *document)
{
    const struct made_list *made = document->made;
    if (!made || made->count == 0)
        return;
    size_t source = document_source(document, "(admin API)", false);
    struct node *list = list_of(document, source);
    document->sources[source].is_made = true;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        document->config.deploy.made_from++;
    for (size_t i = 0; list && i < made->count; i++) {
        struct node *root = yaml_read(document, "(admin API)", made->at[i].document);
        if (!root)
            continue;
        root->made = (unsigned)i + 1;
        node_append(list, root);
    }
}

struct node *made_entry(const struct node *node)
{
    while (node && !node->made)
        node = node->above;
    return (struct node *)(uintptr_t)node;
}

enum severity made_severity(struct document *document, const struct node *node,
                            enum severity severity)
{
    if (!node || !document->sources[node->source].is_made || severity != SEVERITY_ERROR)
        return severity;
    struct node *entry = made_entry(node);
    if (entry)
        entry->broken = true;
    return SEVERITY_WARNING;
}

void made_mark(struct document *document, const struct node *node, struct deployment_spec *spec)
{
    if (!node->made)
        return;
    const struct made_deployment *one = &document->made->at[node->made - 1];
    spec->id = arena_copy(&document->arena, one->id);
    if (one->tenant.len)
        spec->tenant = arena_copy(&document->arena, one->tenant);
    if (one->token.len)
        spec->token = arena_copy(&document->arena, one->token);
}
