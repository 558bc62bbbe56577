/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/decision.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

enum {
    NUMBER_BYTES = 10,
    CHOICE_MAX = DECISION_BYTES - DECISION_END_BYTES,
    NAME_MAX_BYTES = 255, /* longer ones are cut */
    FIGURES = 9,          /* of a candidate */
    WIDTH_MAX = 8,
};
_Static_assert(STRIKES << 1 < 0x80, "a strike and a bit are one byte");

/* ------------------------------------------------------------------------------- writing */

struct pen {
    char *at, *end;
    bool full;
};

static void put_number(struct pen *pen, int64_t number)
{
    uint64_t left = number > 0 ? (uint64_t)number : 0;
    if (pen->end - pen->at < NUMBER_BYTES) {
        pen->full = true;
        return;
    }
    for (; left >= 0x80; left >>= 7)
        *pen->at++ = (char)(0x80 | (left & 0x7f));
    *pen->at++ = (char)left;
}

static void put_text(struct pen *pen, struct text text)
{
    size_t len = text.len < NAME_MAX_BYTES ? text.len : NAME_MAX_BYTES;
    put_number(pen, (int64_t)len);
    if (pen->full || (size_t)(pen->end - pen->at) < len) {
        pen->full = true;
        return;
    }
    if (len > 0)
        memcpy(pen->at, text.at, len);
    pen->at += len;
}

/* The figures of a prediction that are kept stand at its beginning, in the order of their columns;
 * priority and weight are the two columns before them. */
enum { TARGET_FIGURES = 2, KEPT_FIGURES = FIGURES - TARGET_FIGURES };
_Static_assert(offsetof(struct prediction, cached_tokens) == 8 * (KEPT_FIGURES - 1),
               "what is kept of a prediction stands side by side");

/* What stands at the beginning of a prediction: as many words as the machine takes well. */
enum { LANES = 8 };
typedef uint64_t lanes __attribute__((vector_size(LANES * sizeof(uint64_t))));

/* Those that have a prediction, and of each figure: what bits any of them has, and which of those
 * not all have. */
struct seen {
    const struct candidate *all[ROUTE_TARGETS_MAX];
    size_t count;
    uint64_t any[FIGURES], unlike[FIGURES];
};

/* Row by row, as they stand in memory. */
static void look_at_rows(struct seen *seen)
{
    lanes first, row, any = {0}, unlike = {0};
    uint64_t share = 0, any_share = 0, unlike_share = 0, first_share = 0;
    memcpy(&first, &seen->all[0]->prediction, sizeof(first));
    for (size_t i = 0; i < seen->count; i++) {
        const struct target *target = seen->all[i]->target;
        memcpy(&row, &seen->all[i]->prediction, sizeof(row));
        any |= row;
        unlike |= row ^ first;
        share = (uint64_t)target->priority << 32 | target->weight;
        first_share = i ? first_share : share;
        any_share |= share;
        unlike_share |= share ^ first_share;
    }
    seen->any[0] = any_share >> 32;
    seen->any[1] = any_share & UINT32_MAX;
    seen->unlike[0] = unlike_share >> 32;
    seen->unlike[1] = unlike_share & UINT32_MAX;
    memcpy(&seen->any[TARGET_FIGURES], &any, KEPT_FIGURES * sizeof(uint64_t));
    memcpy(&seen->unlike[TARGET_FIGURES], &unlike, KEPT_FIGURES * sizeof(uint64_t));
}

static uint64_t figure_of(const struct candidate *candidate, unsigned column)
{
    int64_t figure;
    if (column < TARGET_FIGURES)
        return column ? candidate->target->weight : candidate->target->priority;
    memcpy(&figure, (const int64_t *)&candidate->prediction + column - TARGET_FIGURES,
           sizeof(figure));
    return figure > 0 ? (uint64_t)figure : 0;
}

/* Bytes that are needed for it. */
static unsigned width_of(uint64_t figure)
{
    return figure ? (71U - (unsigned)__builtin_clzll(figure)) / 8 : 0;
}

/* Eight bytes are written for each figure, and the next one stands over those that it does not
 * need. */
static void put_column(struct pen *pen, const struct seen *seen, unsigned column)
{
    bool same = !seen->unlike[column];
    unsigned width = width_of(same ? figure_of(seen->all[0], column) : seen->any[column]);
    size_t count = same ? 1 : seen->count;
    if ((size_t)(pen->end - pen->at) < 1 + count * width + sizeof(uint64_t)) {
        pen->full = true;
        return;
    }
    *pen->at++ = (char)(same && width ? DECISION_SAME + width : width);
    char *at = pen->at;
    for (size_t i = 0; width && i < count; i++, at += width) {
        uint64_t bytes = htole64(figure_of(seen->all[i], column));
        memcpy(at, &bytes, sizeof(bytes));
    }
    pen->at = at;
}

static void put_columns(struct pen *pen, const struct choice *choice)
{
    __attribute__((uninitialized)) struct seen seen;
    char *at = pen->at;
    seen.count = 0;
    if ((size_t)(pen->end - at) < choice->count) {
        pen->full = true;
        return;
    }
    for (size_t i = 0; i < choice->count; i++) {
        const struct candidate *candidate = &choice->candidates[i];
        bool there = candidate->strike == STRIKE_NONE || candidate->prediction.first_us > 0;
        *at++ = (char)((unsigned)candidate->strike << 1 | there);
        seen.all[seen.count] = candidate;
        seen.count += there;
    }
    pen->at = at;
    if (!seen.count)
        return;
    look_at_rows(&seen);
    for (unsigned column = 0; !pen->full && column < FIGURES; column++)
        put_column(pen, &seen, column);
}

size_t decision_write_names(const struct route *route, char *out, size_t room)
{
    struct pen pen = {.at = out, .end = out + room};
    for (size_t i = 0; i < route->target_count; i++)
        put_text(&pen, route->targets[i].id);
    return pen.full ? 0 : (size_t)(pen.at - out);
}

static void put_names(struct pen *pen, const struct route *route)
{
    struct text ready = route->sum.written;
    size_t room = (size_t)(pen->end - pen->at), len = ready.len;
    if (len && len <= room)
        memcpy(pen->at, ready.at, len);
    else
        len = decision_write_names(route, pen->at, room);
    pen->at += len;
    pen->full = len == 0 && route->target_count > 0;
}

static size_t place_of(const struct choice *choice)
{
    size_t i = 0;
    while (i < choice->count && choice->candidates[i].target != choice->target)
        i++;
    return i;
}

static void put_choice(struct pen *pen, const struct choice *choice, const struct route *route,
                       struct text policy, size_t count)
{
    size_t place = place_of(choice);
    put_text(pen, route->name);
    put_text(pen, policy);
    put_number(pen, place < count ? (int64_t)place + 1 : 0);
    put_number(pen, (int64_t)count);
    if (count && !pen->full)
        put_names(pen, route);
    if (count && !pen->full)
        put_columns(pen, choice);
}

size_t decision_write_choice(const struct choice *choice, const struct route *route,
                             struct text policy, char *out)
{
    struct pen pen = {.at = out, .end = out + CHOICE_MAX};
    put_choice(&pen, choice, route, policy, choice->count);
    if (pen.full) {
        pen = (struct pen){.at = out, .end = out + CHOICE_MAX};
        put_choice(&pen, choice, route, policy, 0);
    }
    return (size_t)(pen.at - out);
}

size_t decision_write_end(const struct decision_end *end, char *out)
{
    struct pen pen = {.at = out, .end = out + DECISION_END_BYTES};
    const int64_t numbers[] = {end->wall_us / 1000, end->status,      end->attempts,
                               end->first_us,       end->duration_us, end->cost_nanos};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        put_number(&pen, numbers[i]);
    return (size_t)(pen.at - out);
}

/* ------------------------------------------------------------------------------- reading */

static bool take_number(struct text *rest, int64_t *number)
{
    uint64_t value = 0;
    for (size_t i = 0; i < rest->len && i < NUMBER_BYTES; i++) {
        unsigned char byte = (unsigned char)rest->at[i];
        if (i == NUMBER_BYTES - 1)
            return false; /* no number of ours is so long */
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        *rest = text_from(*rest, i + 1);
        *number = (int64_t)value;
        return true;
    }
    return false;
}

static bool take_text(struct text *rest, struct text *text)
{
    int64_t len;
    if (!take_number(rest, &len) || len > NAME_MAX_BYTES || (size_t)len > rest->len)
        return false;
    *text = text_head(*rest, (size_t)len);
    *rest = text_from(*rest, (size_t)len);
    return true;
}

static bool take_figure(struct text *rest, size_t width, int64_t *figure)
{
    uint64_t value = 0;
    if (width > rest->len)
        return false;
    for (size_t k = 0; k < width; k++)
        value |= (uint64_t)(unsigned char)rest->at[k] << 8 * k;
    *rest = text_from(*rest, width);
    *figure = (int64_t)value;
    return value <= INT64_MAX;
}

static bool set_figure(struct decision_candidate *out, unsigned column, int64_t figure)
{
    if (column < TARGET_FIGURES) {
        *(column ? &out->weight : &out->priority) = (unsigned)figure;
        return figure <= UINT32_MAX;
    }
    memcpy((int64_t *)&out->prediction + column - TARGET_FIGURES, &figure, sizeof(figure));
    return true;
}

static bool take_column(struct text *rest, unsigned column, struct decision *decision)
{
    int64_t figure = 0;
    bool same = rest->len && rest->at[0] & DECISION_SAME;
    size_t width = rest->len ? (unsigned char)rest->at[0] & ~(unsigned)DECISION_SAME : SIZE_MAX;
    if (width > WIDTH_MAX || (same && !width))
        return false;
    *rest = text_from(*rest, 1);
    if (same && !take_figure(rest, width, &figure))
        return false;
    for (size_t i = 0; i < decision->count; i++) {
        struct decision_candidate *out = &decision->candidates[i];
        if (out->has_prediction &&
            ((!same && !take_figure(rest, width, &figure)) || !set_figure(out, column, figure)))
            return false;
    }
    return true;
}

static bool take_candidates(struct text *rest, struct decision *decision)
{
    bool any = false;
    for (size_t i = 0; i < decision->count; i++) {
        decision->candidates[i] = (struct decision_candidate){.strike = STRIKE_NONE};
        if (!take_text(rest, &decision->candidates[i].target))
            return false;
    }
    if (rest->len < decision->count)
        return false;
    for (size_t i = 0; i < decision->count; i++) {
        unsigned word = (unsigned char)rest->at[i];
        struct decision_candidate *out = &decision->candidates[i];
        if (word >> 1 >= STRIKES)
            return false;
        out->strike = (enum strike)(word >> 1);
        out->has_prediction = out->prediction.known = word & 1;
        any = any || out->has_prediction;
    }
    *rest = text_from(*rest, decision->count);
    for (unsigned column = 0; any && column < FIGURES; column++)
        if (!take_column(rest, column, decision))
            return false;
    return true;
}

bool decision_read(struct text record, struct decision *decision)
{
    struct text rest = record;
    int64_t wall_ms, place, count;
    struct decision_end *end = &decision->end;
    if (record.len > DECISION_BYTES || !take_number(&rest, &wall_ms) ||
        wall_ms > INT64_MAX / 1000 || !take_number(&rest, &end->status) ||
        !take_number(&rest, &end->attempts) || !take_number(&rest, &end->first_us) ||
        !take_number(&rest, &end->duration_us) || !take_number(&rest, &end->cost_nanos) ||
        !take_text(&rest, &decision->model) || !take_text(&rest, &decision->policy) ||
        !take_number(&rest, &place) || !take_number(&rest, &count) || count > ROUTE_TARGETS_MAX ||
        place > count)
        return false;
    end->wall_us = wall_ms * 1000;
    decision->count = (size_t)count;
    decision->chosen = place > 0 ? (size_t)place - 1 : (size_t)count;
    return take_candidates(&rest, decision) && rest.len == 0;
}
