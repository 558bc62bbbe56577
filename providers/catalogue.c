/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/member.h"
#include "providers/data.h"
#include "providers/provider.h"

/*
 * models.json is one JSON object with one model a line, sorted by the bytes of its key
 * "provider/id"; models.py writes it. So a model is found by halving the file: nothing is read at
 * start, and only the pages that are looked at are ever in memory.
 */

enum { KEY_MAX = 256 };

/* The line that holds byte <at>. */
static struct text line_at(struct text all, size_t at)
{
    size_t begin = at, end = at;
    while (begin > 0 && all.at[begin - 1] != '\n')
        begin--;
    while (end < all.len && all.at[end] != '\n')
        end++;
    return (struct text){all.at + begin, end - begin};
}

/* The key of a line: what stands in its first quotes. */
static struct text line_key(struct text line)
{
    struct text rest = text_from(line, 1);
    return text_head(rest, text_find_byte(rest, '"'));
}

static int compare(struct text a, struct text b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* The lines of models, without the first line (sources) and the last (brackets). */
static struct text model_lines(void)
{
    struct text all = {models_json, (size_t)(models_json_end - models_json)};
    size_t first = text_find_byte(all, '\n') + 1;
    return (struct text){all.at + first, all.len - first - sizeof("}}\n") + 1};
}

/* The facts of the model with that key, or at == NULL. */
static struct text find_line(struct text key)
{
    struct text lines = model_lines();
    size_t low = 0, high = lines.len;
    while (low < high) {
        struct text line = line_at(lines, low + (high - low) / 2);
        int order = compare(key, line_key(line));
        if (order == 0)
            return text_from(line, key.len + 3); /* two quotes and the colon */
        if (order < 0)
            high = (size_t)(line.at - lines.at);
        else
            low = (size_t)(line.at - lines.at) + line.len + 1;
    }
    return (struct text){NULL, 0};
}

static struct text find_facts(struct text provider, struct text model)
{
    char key[KEY_MAX];
    if (provider.len + model.len + 1 > sizeof(key))
        return (struct text){NULL, 0};
    memcpy(key, provider.at, provider.len);
    key[provider.len] = '/';
    memcpy(key + provider.len + 1, model.at, model.len);
    return find_line((struct text){key, provider.len + 1 + model.len});
}

/* -------------------------------------------------------------- a model by a name it also has */

static bool is_digits(struct text t, size_t at, size_t count)
{
    if (at + count > t.len)
        return false;
    for (size_t i = at; i < at + count; i++)
        if (t.at[i] < '0' || t.at[i] > '9')
            return false;
    return true;
}

/* "gpt-4o-2024-08-06", "claude-haiku-4-5-20251001", "grok-4-latest": without what dates it. A dated
 * snapshot with a price of its own has an entry of its own, which was looked for before. */
static struct text without_date(struct text model)
{
    static const size_t dashed = sizeof("-2024-08-06") - 1, plain = sizeof("-20251001") - 1;
    struct text dashes = text_from(model, model.len > dashed ? model.len - dashed : model.len);
    if (dashes.len == dashed && dashes.at[0] == '-' && is_digits(dashes, 1, 4) &&
        dashes.at[5] == '-' && is_digits(dashes, 6, 2) && dashes.at[8] == '-' &&
        is_digits(dashes, 9, 2))
        return text_head(model, model.len - dashed);
    struct text digits = text_from(model, model.len > plain ? model.len - plain : model.len);
    if (digits.len == plain && digits.at[0] == '-' && is_digits(digits, 1, 8))
        return text_head(model, model.len - plain);
    if (text_ends(model, TEXT("-latest")))
        return text_head(model, model.len - sizeof("-latest") + 1);
    return (struct text){NULL, 0};
}

/* "ft:gpt-4o-mini-2024-07-18:acme::id" -> "ft:gpt-4o-mini-2024-07-18": tuned models have prices of
 * their own, by the model that was tuned. */
static struct text without_owner(struct text model)
{
    if (!text_starts(model, TEXT("ft:")))
        return (struct text){NULL, 0};
    size_t colon = text_find_byte(text_from(model, 3), ':');
    return colon == SIZE_MAX ? (struct text){NULL, 0} : text_head(model, colon + 3);
}

static struct text find_model(struct text provider, struct text model)
{
    struct text facts = find_facts(provider, model);
    struct text tuned = without_owner(model);
    if (facts.at == NULL && tuned.at != NULL)
        facts = find_facts(provider, model = tuned);
    struct text undated = without_date(model);
    if (facts.at == NULL && undated.at != NULL)
        facts = find_facts(provider, undated);
    if (facts.at == NULL && text_starts(model, TEXT("models/"))) /* as Gemini names them */
        facts = find_facts(provider, text_from(model, sizeof("models/") - 1));
    return facts;
}

/* ---------------------------------------------------------------------------------- its facts */

static int64_t number(struct text facts, const char *name, int64_t otherwise)
{
    int64_t count;
    return member_count(member_find(facts, text_of(name)), INT64_MAX, &count) ? count : otherwise;
}

static void read_service(struct text facts, const char *name, struct service_price *service)
{
    struct text found = member_find(facts, text_of(name));
    if (found.at)
        *service = (struct service_price){.input = number(found, "in", 0),
                                          .cached_input = number(found, "cached", 0),
                                          .output = number(found, "out", 0)};
}

/* What has no price of its own costs what it is a kind of. */
static void read_price(struct text facts, struct price *price)
{
    *price = (struct price){.input = number(facts, "in", -1), .output = number(facts, "out", -1)};
    price->request = number(facts, "request", 0);
    price->unit = number(facts, "unit", 0);
    int64_t once = number(facts, "search_once", 0), each = number(facts, "search_each", 0);
    price->search_each = each > 0;
    price->search_once = once > 0 || each > 0;
    price->search = each > 0 ? each : once > 0 ? once : number(facts, "search", 0);
    price->known = price->input >= 0 || price->output >= 0 || price->unit > 0;
    price->input = price->input < 0 ? 0 : price->input;
    price->output = price->output < 0 ? 0 : price->output;
    price->cached_input = number(facts, "cached", price->input);
    price->cache_write = number(facts, "write", price->input);
    price->cache_write_1h = number(facts, "write_1h", 0);
    price->image_input = number(facts, "image_in", price->input);
    price->image_output = number(facts, "image_out", price->output);
    price->reasoning = number(facts, "reasoning", price->output);
    price->audio_input = number(facts, "audio_in", price->input);
    price->audio_output = number(facts, "audio_out", price->output);
    read_service(facts, "priority", &price->services[SERVICE_PRIORITY]);
    read_service(facts, "flex", &price->services[SERVICE_FLEX]);
    read_service(facts, "batch", &price->services[SERVICE_BATCH]);
    struct text tier = member_find(facts, TEXT("tier"));
    price->tier_above_tokens = number(tier, "above", 0);
    if (price->tier_above_tokens > 0) {
        price->tier_input = number(tier, "in", price->input);
        price->tier_output = number(tier, "out", price->output);
        price->tier_cached_input = number(tier, "cached", price->cached_input);
    }
}

bool catalogue_find(struct text provider, struct text model, struct model_facts *facts,
                    struct price *price)
{
    struct text found = find_model(provider, model);
    if (found.at == NULL)
        return false;
    struct text mode = member_string(member_find(found, TEXT("mode")));
    *facts = (struct model_facts){.context_tokens = number(found, "context", 0),
                                  .output_tokens = number(found, "longest", 0)};
    snprintf(facts->mode, sizeof(facts->mode), "%.*s", TEXT_ARGS(mode));
    read_price(found, price);
    return true;
}
