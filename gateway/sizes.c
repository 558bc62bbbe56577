/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sizes.h"

#include "gateway/base/member.h"
#include "gateway/crossing.h"

static bool is_over(struct exchange *x, int64_t has, int64_t most, const char *param,
                    const char *what)
{
    if (!most || has <= most)
        return false;
    exchange_fault(x)->param = NULL;
    fault_set(
        exchange_fault(x), param ? FAULT_BAD_REQUEST : FAULT_TOO_LARGE,
        "The target %.*s takes at most %lld %s (limit '%s' of its provider), and the call has "
        "%lld.",
        TEXT_ARGS(x->target->id), (long long)most, what, param ? param : "body_bytes",
        (long long)has);
    exchange_fault(x)->param = param;
    return true;
}

/* The bytes that would go up, but for a name of the model that is longer or shorter there. */
static int64_t body_bytes(const struct exchange *x)
{
    if (crossing_is_on(x))
        return (int64_t)buffer_length(&x->seeking->translated_body);
    return (int64_t)(x->seeking->named_body.at ? x->seeking->named_body.len
                                               : buffer_length(&x->body));
}

static int64_t count_items(struct text array)
{
    struct text name, item;
    int64_t count = 0;
    while (array.len && member_next(&array, &name, &item))
        count++;
    return count;
}

/* An array of numbers is one text, in tokens. */
static int64_t count_texts(struct text array)
{
    struct text rest = array, name, item;
    if (!array.len || !member_next(&rest, &name, &item))
        return 0;
    bool tokens = item.len && item.at[0] >= '0' && item.at[0] <= '9';
    return tokens ? 1 : count_items(array);
}

/* They may stand anywhere in a conversation, which is read for it - where it speaks of any. */
static int64_t images_of(struct exchange *x)
{
    struct fault before = *exchange_why(x);
    const struct translator *words = translator_find(exchange_dialect(x), x->call.operation);
    bool speaks = text_find(buffer_text(&x->body), TEXT("image")) != SIZE_MAX;
    if (!speaks || !words || x->match.endpoint->body != BODY_JSON)
        return 0;
    if (!crossing_read(x, words)) {
        *exchange_fault(x) = before; /* what cannot be read is the provider's to refuse */
        return 0;
    }
    return translate_sizes(x->seeking->chat).images;
}

/* `openai` at another place is somebody else, who speaks its dialect. */
static bool is_another(const struct provider_settings *provider)
{
    return text_equal(provider->type->name, TEXT("openai")) &&
           !text_equal(text_of(provider->base_url), provider->type->base_url);
}

static bool talks(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_RESPONSE;
}

bool sizes_fit(struct exchange *x)
{
    const struct provider_limits *limits = &x->target->provider->type->limits;
    enum operation operation = x->call.operation;
    if (is_another(x->target->provider))
        return true;
    if (x->upload || is_over(x, body_bytes(x), limits->body_bytes, NULL, "bytes"))
        return x->upload != NULL;
    if (talks(operation)) {
        int64_t tools = crossing_is_on(x) ? translate_sizes(x->seeking->chat).tools
                                          : count_items(x->seeking->tools);
        return !is_over(x, tools, limits->tools, "tools", "tools") &&
               !(limits->images && is_over(x, images_of(x), limits->images, "images", "images"));
    }
    if (operation == OPERATION_EMBEDDING)
        return !is_over(x, count_texts(x->seeking->texts), limits->texts, "texts", "texts");
    if (operation == OPERATION_RERANK)
        return !is_over(x, count_items(x->seeking->texts), limits->documents, "documents",
                        "documents");
    return true;
}
