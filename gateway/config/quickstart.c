/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "gateway/base/buffer.h"
#include "gateway/config/document.h"

/* A start without any file is a configuration like any other, written here: what `sluice init`
 * would give to somebody who has just these keys in the environment. */

/* Models that people ask for by their bare names. Only those that the catalogue has a price for are
 * offered; all others are called as provider/model. */
static const struct {
    const char *type, *model;
} well_known[] = {
    {"openai", "gpt-5"},
    {"openai", "gpt-5-mini"},
    {"openai", "gpt-5-nano"},
    {"openai", "gpt-4.1"},
    {"openai", "gpt-4.1-mini"},
    {"openai", "gpt-4o"},
    {"openai", "gpt-4o-mini"},
    {"openai", "o4-mini"},
    {"openai", "text-embedding-3-small"},
    {"openai", "text-embedding-3-large"},
    {"mistral", "mistral-large-latest"},
    {"mistral", "mistral-small-latest"},
    {"deepseek", "deepseek-chat"},
    {"deepseek", "deepseek-reasoner"},
    {"groq", "llama-3.3-70b-versatile"},
    {"groq", "llama-3.1-8b-instant"},
    {"xai", "grok-4"},
    {"xai", "grok-3-mini"},
    {"perplexity", "sonar"},
    {"perplexity", "sonar-pro"},
};

static bool has_key(const struct provider_type *type)
{
    const char *key = type->key_variable ? getenv(type->key_variable) : NULL;
    return type->needs_key && type->base_url.len && key && *key;
}

static void write_address(struct buffer *out)
{
    const char *port = getenv("PORT");
    uint64_t number = 8080;
    if (port && *port && !text_number(text_of(port), 65535, &number))
        number = 8080;
    /* SLUICE_LISTEN is seen to where every configuration is read. */
    buffer_format(out,
                  "version: 1\n"
                  "server:\n"
                  "  listeners:\n"
                  "    - {name: api, address: \"127.0.0.1:%u\", serve: [api, ui, health, "
                  "metrics]}\n",
                  (unsigned)number);
}

static void write_providers(struct buffer *out)
{
    const struct provider_type *type;
    buffer_format(out, "providers:\n  - {name: mock, type: mock}\n");
    for (size_t i = 0; (type = provider_type_at(i)) != NULL; i++)
        if (has_key(type))
            buffer_format(out,
                          "  - name: %.*s\n"
                          "    type: %.*s\n"
                          "    api_key: ${%s}\n",
                          TEXT_ARGS(type->name), TEXT_ARGS(type->name), type->key_variable);
}

static void write_models(struct buffer *out)
{
    buffer_format(out, "models:\n"
                       "  - name: mock\n"
                       "    aliases: [\"mock/*\"]\n"
                       "    description: Built in; answers without a model\n"
                       "    targets: [{id: mock, provider: mock, model: \"*\"}]\n");
    for (size_t i = 0; i < sizeof(well_known) / sizeof(*well_known); i++) {
        const struct provider_type *type = provider_type_find(text_of(well_known[i].type));
        const char *model = well_known[i].model;
        struct model_facts facts;
        struct price price;
        if (!type || !has_key(type) ||
            !catalogue_find(type->catalogue, text_of(model), &facts, &price) || !price.known)
            continue;
        buffer_format(out,
                      "  - name: %s\n"
                      "    targets: [{id: %s/%s, provider: %s, model: %s, price: catalog}]\n",
                      model, well_known[i].type, model, well_known[i].type, model);
    }
}

struct text quickstart_yaml(struct document *document)
{
    struct buffer out;
    buffer_init(&out, 256 << 10);
    write_address(&out);
    write_providers(&out);
    write_models(&out);
    buffer_format(&out, "routing: {unknown_model: passthrough}\n");
    struct text yaml = arena_copy(&document->arena, buffer_text(&out));
    buffer_done(&out);
    return yaml;
}
