/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/pages_ollama.h"

#include "gateway/base/json.h"
#include "gateway/config/config.h"
#include "providers/provider.h"

/* A model behind a gateway is in no file here: what would describe the file is empty. */
#define DETAILS                                                                               \
    "\"details\":{\"parent_model\":\"\",\"format\":\"\",\"family\":\"sluice\",\"families\":[" \
    "\"sluice\"],\"parameter_size\":\"\",\"quantization_level\":\"\"}"
#define MODIFIED "\"modified_at\":\"1970-01-01T00:00:00Z\""

void pages_put_for_ollama(struct buffer *out, struct text name)
{
    buffer_append_text(out, TEXT("{\"name\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"model\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT("," MODIFIED ",\"size\":0,\"digest\":\"\"," DETAILS "}"));
}

static bool is_declared(const struct route *route, const char *word)
{
    for (size_t i = 0; i < route->capability_count; i++)
        if (text_equal_nocase(route->capabilities[i], text_of(word)))
            return true;
    return false;
}

/* Is it for this, by what the catalogue says of one of its targets? */
static bool has_mode(const struct route *route, const char *mode)
{
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        struct model_facts facts = {0};
        struct price unused;
        if (catalogue_find(target->provider->type->catalogue, target->model, &facts, &unused) &&
            text_equal(text_of(facts.mode), text_of(mode)))
            return true;
    }
    return false;
}

/* What is declared; else a model of which nothing is known talks, and calls tools. */
static bool can(const struct route *route, const char *ours, bool otherwise)
{
    return route->capability_count ? is_declared(route, ours) : otherwise;
}

static void put_capabilities(struct buffer *out, const struct route *route)
{
    bool embeds = has_mode(route, "embedding"), ranks = has_mode(route, "rerank");
    bool talks = !embeds && !ranks;
    const struct {
        const char *word;
        bool is_there;
    } list[] = {
        {"completion", can(route, "chat", talks) || is_declared(route, "completion")},
        {"tools", can(route, "tools", talks && !has_mode(route, "completion"))},
        {"vision", can(route, "vision", false)},
        {"thinking", can(route, "thinking", false) || is_declared(route, "reasoning")},
        {"embedding", can(route, "embedding", embeds) || is_declared(route, "embeddings")},
    };
    const char *mark = "";
    buffer_append_text(out, TEXT(",\"capabilities\":["));
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (!list[i].is_there)
            continue;
        buffer_format(out, "%s\"%s\"", mark, list[i].word);
        mark = ",";
    }
    buffer_append_text(out, TEXT("]"));
}

void pages_show_for_ollama(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"modelfile\":\"\",\"parameters\":\"\",\"template\":\"\","
                                 "\"license\":\"\"," DETAILS ",\"model_info\":{"
                                 "\"general.architecture\":\"sluice\",\"general.basename\":"));
    json_write_string(out, name);
    if (route->description.len) {
        buffer_append_text(out, TEXT(",\"general.description\":"));
        json_write_string(out, route->description);
    }
    if (route->context_window)
        buffer_format(out, ",\"sluice.context_length\":%lld", (long long)route->context_window);
    buffer_append_text(out, TEXT("}"));
    put_capabilities(out, route);
    buffer_append_text(out, TEXT("," MODIFIED "}\n"));
}
