/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/answer_tap.h"

#include "gateway/base/member.h"
#include "providers/gemini.h"
#include "providers/openai.h"

static int64_t count_call(const struct scan_value *type, const struct scan_value *action)
{
    return response_is_search(member_string(type->raw), member_string(action->raw));
}

static int64_t count_queries(const struct scan_value *none, const struct scan_value *queries)
{
    (void)none;
    struct text list = queries->raw, name, query;
    int64_t count = 0;
    while (queries->kind == SCAN_ARRAY && member_next(&list, &name, &query))
        count++;
    return count;
}

static const struct search_place response_place = {
    .list = TEXT("output"),
    .item = {TEXT("type"), TEXT("action")},
    .inner = TEXT("type"),
    .count = count_call,
    .adds = true,
};
static const struct search_place gemini_place = {
    .list = TEXT("candidates"),
    .item = {TEXT("finishReason"), TEXT("groundingMetadata")},
    .inner = TEXT("webSearchQueries"),
    .count = count_queries,
};

static const struct search_place *place_of(const struct dialect *dialect, enum operation operation)
{
    if (dialect == &dialect_openai && operation == OPERATION_RESPONSE)
        return &response_place;
    return dialect == &dialect_gemini ? &gemini_place : NULL;
}

static void take_inner(void *owner, struct text piece)
{
    struct answer_tap *tap = owner;
    tap_feed(&tap->inner, piece);
}

static void take_list(void *owner, struct text piece)
{
    struct answer_tap *tap = owner;
    while (tap_next_item(&tap->item, &piece)) {
        struct scan_value of_item = tap_value(&tap->item, 0), of_inner = tap_value(&tap->inner, 0);
        int64_t count = tap->place->count(&of_item, &of_inner);
        if (tap->place->adds)
            tap->searches += count;
        else if (count > tap->searches)
            tap->searches = count;
        tap_again(&tap->inner);
    }
}

void answer_tap_init(struct answer_tap *tap, const struct dialect *dialect,
                     enum operation operation)
{
    const struct search_place *place = place_of(dialect, operation);
    *tap = (struct answer_tap){.dialect = dialect, .place = place};
    tap_init(&tap->body, dialect->wants, dialect->want_count);
    if (!place)
        return;
    tap_init(&tap->list, &place->list, 1);
    tap_pass(&tap->list, 0, take_list, tap);
    tap_init(&tap->item, place->item, 2);
    tap_pass(&tap->item, 1, take_inner, tap);
    tap_init(&tap->inner, &place->inner, 1);
}

void answer_tap_feed(struct answer_tap *tap, struct text piece)
{
    tap_feed(&tap->body, piece);
    if (tap->place)
        tap_feed(&tap->list, piece);
}

void answer_tap_watch(const struct answer_tap *tap, struct answer *answer)
{
    struct scan_value values[DIALECT_WANTS];
    for (size_t i = 0; i < tap->dialect->want_count; i++)
        values[i] = tap_value(&tap->body, i);
    tap->dialect->watch_body(answer, values);
    if (tap->searches > answer->usage.searches)
        answer->usage.searches = tap->searches;
}

void answer_tap_done(struct answer_tap *tap)
{
    tap_done(&tap->body);
    tap_done(&tap->list);
    tap_done(&tap->item);
    tap_done(&tap->inner);
}
