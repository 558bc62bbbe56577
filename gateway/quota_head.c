/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/quota_head.h"

#include "gateway/retry_after.h"

static const uint64_t FIGURE_MAX = UINT64_C(1) << 40;

/* One limit, as three fields say it. */
struct row {
    int64_t left, limit, reset_us;
};

enum kind { KIND_REQUESTS, KIND_TOKENS, KIND_INPUT, KIND_OUTPUT, KINDS };
enum figure { FIGURE_LEFT, FIGURE_LIMIT, FIGURE_RESET, FIGURES };

struct words {
    const struct text *at;
    size_t count;
};

static const struct text kind_words[KINDS] = {
    {"requests", 8}, {"tokens", 6}, {"input-tokens", 12}, {"output-tokens", 13}};
static const struct text figure_words[FIGURES] = {{"remaining", 9}, {"limit", 5}, {"reset", 5}};
static const struct words kinds = {kind_words, KINDS}, figures = {figure_words, FIGURES};

/* "<a>-<b>", where <a> is one of one list and <b> one of the other. */
static bool split(struct text name, struct words first, struct words second, size_t *a, size_t *b)
{
    for (*a = 0; *a < first.count; (*a)++) {
        const struct text *head = &first.at[*a];
        if (!text_starts_nocase(name, *head) || name.len <= head->len || name.at[head->len] != '-')
            continue;
        struct text rest = text_from(name, head->len + 1);
        for (*b = 0; *b < second.count; (*b)++)
            if (text_equal_nocase(rest, second.at[*b]))
                return true;
    }
    return false;
}

static bool find_place(struct text name, size_t *kind, size_t *figure)
{
    static const struct text ours = {"x-ratelimit-", 12}, anthropic = {"anthropic-ratelimit-", 20};
    if (text_starts_nocase(name, ours))
        return split(text_from(name, ours.len), figures, kinds, figure, kind);
    return text_starts_nocase(name, anthropic) &&
           split(text_from(name, anthropic.len), kinds, figures, kind, figure);
}

static void read_field(struct row rows[KINDS], const struct head_field *field, int64_t wall_us)
{
    size_t kind, figure;
    uint64_t number;
    if (!find_place(field->name, &kind, &figure))
        return;
    if (figure == FIGURE_RESET)
        rows[kind].reset_us = retry_reset_us(field->value, wall_us);
    else if (text_number(field->value, FIGURE_MAX, &number))
        *(figure == FIGURE_LEFT ? &rows[kind].left : &rows[kind].limit) = (int64_t)number;
}

/* Of the limits on tokens the one of which the smallest part is left. */
static const struct row *scarcest(const struct row rows[KINDS])
{
    const struct row *least = &rows[KIND_TOKENS];
    for (size_t i = KIND_INPUT; i < KINDS; i++) {
        const struct row *row = &rows[i];
        if (row->left < 0)
            continue;
        bool scarcer = (__int128)row->left * (least->limit > 0 ? least->limit : 1) <
                       (__int128)least->left * (row->limit > 0 ? row->limit : 1);
        if (least->left < 0 || scarcer)
            least = row;
    }
    return least;
}

static bool may_speak(struct text name)
{
    return name.len > 12 && ((name.at[0] | 0x20) == 'x' || (name.at[0] | 0x20) == 'a');
}

bool quota_head_may_speak(const struct head *head)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (may_speak(head->fields[i].name))
            return true;
    return false;
}

bool quota_head_read(const struct head *head, int64_t wall_us, struct quota_seen *seen)
{
    struct row rows[KINDS] = {{-1, -1, 0}, {-1, -1, 0}, {-1, -1, 0}, {-1, -1, 0}};
    for (size_t i = 0; i < head->field_count; i++) {
        if (may_speak(head->fields[i].name))
            read_field(rows, &head->fields[i], wall_us);
    }
    const struct row *requests = &rows[KIND_REQUESTS], *tokens = scarcest(rows);
    *seen = (struct quota_seen){requests->left, requests->limit, requests->reset_us,
                                tokens->left,   tokens->limit,   tokens->reset_us};
    return requests->left >= 0 || tokens->left >= 0;
}
