/* SPDX-License-Identifier: Apache-2.0 */
/* A file of prices, read with the rows that a target's `price` has. */
#include "gateway/base/table.h"
#include "gateway/config/document.h"
#include "gateway/config/options.h"
#include "policy/policy.h"

struct prices {
    struct document *document; /* owns all of it */
    struct table by_name;      /* → struct price */
};

static void read_price(struct prices *prices, const struct node *entry)
{
    struct document *document = prices->document;
    if (entry->kind != NODE_MAP || !entry->first) {
        problem_at_value(document, entry, SEVERITY_ERROR,
                         "a price is a mapping such as {input: 0.15, output: 0.60}, in USD per "
                         "million tokens");
        return;
    }
    struct target_draft *draft = arena_new(&document->arena, sizeof(*draft));
    document_fill_mapping(document, entry, price_options, draft);
    draft->target.price.known = true;
    price_seal(&draft->target.price);
    table_set(&prices->by_name, node_key(entry), &draft->target.price);
}

struct prices *prices_load(const char *path, FILE *words)
{
    struct prices *prices = memory_new(sizeof(*prices));
    struct config_options options = {.path = path};
    struct document *document = prices->document = document_new(&options);
    table_init(&prices->by_name);
    document->root = document_read_plain(document, path);
    for (const struct node *entry = document->root ? document->root->first : NULL; entry;
         entry = entry->next)
        read_price(prices, entry);
    if (document->root && prices->by_name.count == 0 && document->errors == 0)
        problem_at_value(document, document->root, SEVERITY_ERROR, "there is no price in it");
    problems_print(document, words);
    if (document->errors == 0)
        return prices;
    prices_free(prices);
    return NULL;
}

void prices_free(struct prices *prices)
{
    if (!prices)
        return;
    table_done(&prices->by_name);
    document_free(prices->document);
    memory_free(prices);
}

const struct price *prices_find(const struct prices *prices, struct text name)
{
    return table_find(&prices->by_name, name);
}
