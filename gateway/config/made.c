/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments that were made at run time, behind those of the file. What is wrong with one of them
 * is a warning, and leaves that one out: the file may have changed since it was made. */
#include "gateway/base/json_write.h"
#include "gateway/base/quantity.h"
#include "gateway/config/document.h"

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
        bool is_broken = !root;
        if (is_broken) /* it keeps its place: problems are told by their number in the store */
            root = node_new(document, NODE_MAP, source);
        root->made = (unsigned)i + 1;
        root->broken = is_broken;
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

/* ------------------------------------------------------------------------------ as JSON */

static bool is_bare(const struct node *node)
{
    static const char *const words[] = {"true", "false"};
    struct text text = node_text(node);
    int64_t ignored;
    uint64_t number;
    if (!node->plain)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (text_equal(text, text_of(words[i])))
            return true;
    bool zeros = text.len > 1 && text.at[0] == '0' && text.at[1] != '.';
    return !zeros && text.at[0] != '+' && text.at[0] != '.' &&
           (text_number(text, INT64_MAX, &number) || decimal_read(text, &ignored));
}

static void write_json(const struct node *node, struct json_write *json)
{
    bool is_map = node->kind == NODE_MAP;
    if (node->kind == NODE_NULL) {
        json_null(json);
    } else if (node->kind == NODE_SCALAR) {
        if (is_bare(node))
            json_raw(json, node_text(node));
        else
            json_text(json, node_text(node));
    } else {
        json_open(json, is_map ? '{' : '[');
        for (const struct node *entry = node->first; entry; entry = entry->next) {
            if (is_map)
                json_name(json, entry->key);
            write_json(entry, json);
        }
        json_close(json, is_map ? '}' : ']');
    }
}

bool config_file_to_json(const char *path, struct buffer *out, FILE *words)
{
    struct config_options options = {.path = path};
    struct document *document = document_new(&options);
    struct json_write json = {.out = out};
    document->root = document_read_plain(document, path);
    bool read = document->root && document->errors == 0;
    if (read)
        write_json(document->root, &json);
    problems_print(document, words);
    document_free(document);
    return read && !json.is_full;
}
