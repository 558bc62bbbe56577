/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/decision.h"

#include <endian.h>
#include <string.h>

enum {
    NUMBER_BYTES = 10,
    CHOICE_MAX = DECISION_BYTES - DECISION_END_BYTES,
    NAME_MAX_BYTES = 255, /* longer ones are cut */
    FIGURES = 9,          /* of a candidate */
    WIDTHS_BYTES = 5,
    WIDTH_MAX = 8,
};

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
    text = text_head(text, NAME_MAX_BYTES);
    put_number(pen, (int64_t)text.len);
    if (pen->full || (size_t)(pen->end - pen->at) < text.len) {
        pen->full = true;
        return;
    }
    if (text.len > 0)
        memcpy(pen->at, text.at, text.len);
    pen->at += text.len;
}

/* Bytes that are needed for it, at least one. */
static unsigned width_of(uint64_t figure)
{
    return (71U - (unsigned)__builtin_clzll(figure | 1)) / 8;
}

/* Eight bytes are written for each, and the next one stands over those that are not needed. <last>
 * are those of the candidate before, and then these. */
static void put_figures(struct pen *pen, const int64_t figures[FIGURES], uint64_t last[FIGURES])
{
    uint64_t widths = 0;
    char *at = pen->at + WIDTHS_BYTES;
    if (pen->end - pen->at < WIDTHS_BYTES + FIGURES * WIDTH_MAX) {
        pen->full = true;
        return;
    }
    for (unsigned i = 0; i < FIGURES; i++) {
        uint64_t figure = figures[i] > 0 ? (uint64_t)figures[i] : 0, bytes = htole64(figure);
        unsigned width = figure == last[i] ? 0 : width_of(figure);
        memcpy(at, &bytes, sizeof(bytes));
        at += width;
        widths |= (uint64_t)width << 4 * i;
        last[i] = figure;
    }
    widths = htole64(widths);
    memcpy(pen->at, &widths, WIDTHS_BYTES);
    pen->at = at;
}

static void put_candidate(struct pen *pen, const struct candidate *candidate,
                          uint64_t last[FIGURES])
{
    const struct prediction *p = &candidate->prediction;
    bool there = p->first_us > 0 || candidate->strike == STRIKE_NONE;
    put_text(pen, candidate->target->id);
    put_number(pen, (int64_t)candidate->strike << 1 | there);
    if (!there)
        return;
    const int64_t figures[FIGURES] = {candidate->target->priority,
                                      candidate->target->weight,
                                      p->first_us,
                                      p->first_p95_us,
                                      p->total_us,
                                      p->wait_us,
                                      p->token_ns,
                                      p->cost_nanos,
                                      p->cached_tokens};
    put_figures(pen, figures, last);
}

static size_t place_of(const struct choice *choice)
{
    size_t i = 0;
    while (i < choice->count && choice->candidates[i].target != choice->target)
        i++;
    return i;
}

static void put_choice(struct pen *pen, const struct choice *choice, struct text model,
                       struct text policy, size_t count)
{
    size_t place = place_of(choice);
    uint64_t last[FIGURES] = {0};
    put_text(pen, model);
    put_text(pen, policy);
    put_number(pen, place < count ? (int64_t)place + 1 : 0);
    put_number(pen, (int64_t)count);
    for (size_t i = 0; i < count && !pen->full; i++)
        put_candidate(pen, &choice->candidates[i], last);
}

size_t decision_write_choice(const struct choice *choice, struct text model, struct text policy,
                             char *out)
{
    struct pen pen = {.at = out, .end = out + CHOICE_MAX};
    put_choice(&pen, choice, model, policy, choice->count);
    if (pen.full) {
        pen = (struct pen){.at = out, .end = out + CHOICE_MAX};
        put_choice(&pen, choice, model, policy, 0);
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

static bool take_figures(struct text *rest, int64_t last[FIGURES])
{
    uint64_t widths = 0;
    if (rest->len < WIDTHS_BYTES)
        return false;
    for (unsigned i = 0; i < WIDTHS_BYTES; i++)
        widths |= (uint64_t)(unsigned char)rest->at[i] << 8 * i;
    *rest = text_from(*rest, WIDTHS_BYTES);
    for (unsigned i = 0; i < FIGURES; i++, widths >>= 4) {
        size_t width = widths & 15;
        uint64_t figure = 0;
        if (width > WIDTH_MAX || width > rest->len)
            return false;
        for (size_t k = 0; k < width; k++)
            figure |= (uint64_t)(unsigned char)rest->at[k] << 8 * k;
        if (figure > INT64_MAX)
            return false;
        if (width)
            last[i] = (int64_t)figure;
        *rest = text_from(*rest, width);
    }
    return widths == 0;
}

static bool take_prediction(struct text *rest, struct decision_candidate *out,
                            int64_t last[FIGURES])
{
    if (!take_figures(rest, last) || last[0] > UINT32_MAX || last[1] > UINT32_MAX)
        return false;
    out->priority = (unsigned)last[0];
    out->weight = (unsigned)last[1];
    out->prediction = (struct prediction){
        .known = true,
        .first_us = last[2],
        .first_p95_us = last[3],
        .total_us = last[4],
        .wait_us = last[5],
        .token_ns = last[6],
        .cost_nanos = last[7],
        .cached_tokens = last[8],
    };
    return true;
}

static bool take_candidate(struct text *rest, struct decision_candidate *out, int64_t last[FIGURES])
{
    int64_t word;
    *out = (struct decision_candidate){.strike = STRIKE_NONE};
    if (!take_text(rest, &out->target) || !take_number(rest, &word) || word >> 1 >= STRIKES)
        return false;
    out->strike = (enum strike)(word >> 1);
    out->has_prediction = word & 1;
    return !out->has_prediction || take_prediction(rest, out, last);
}

bool decision_read(struct text record, struct decision *decision)
{
    struct text rest = record;
    int64_t wall_ms, place, count, last[FIGURES] = {0};
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
    for (size_t i = 0; i < decision->count; i++)
        if (!take_candidate(&rest, &decision->candidates[i], last))
            return false;
    return rest.len == 0;
}
