/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "policy/guard_inside.h"

/* -------------------------------------------------------------------------------- marks */

void marks_add(struct marks *marks, size_t begin, size_t end, unsigned rule)
{
    if (marks->count == marks->room) {
        marks->room = marks->room ? marks->room * 2 : 16;
        marks->list = memory_resize(marks->list, marks->room * sizeof(*marks->list));
    }
    marks->list[marks->count++] = (struct mark){begin, end, rule, DRESS_PLAIN};
}

static int compare(const void *a, const void *b)
{
    const struct mark *one = a, *two = b;
    if (one->begin != two->begin)
        return one->begin < two->begin ? -1 : 1;
    return one->rule < two->rule ? -1 : one->rule > two->rule;
}

void marks_sort(struct marks *marks, size_t first)
{
    if (marks->count - first < 2)
        return;
    struct mark *list = marks->list + first;
    size_t count = marks->count - first, last = 0;
    qsort(list, count, sizeof(*list), compare);
    for (size_t i = 1; i < count; i++) {
        if (list[i].begin >= list[last].end)
            list[++last] = list[i];
        else if (list[i].end > list[last].end)
            list[last].end = list[i].end;
    }
    marks->count = first + last + 1;
}

void marks_done(struct marks *marks)
{
    memory_free(marks->list);
    *marks = (struct marks){0};
}

void marks_lead_back(struct marks *marks, size_t first, struct text raw)
{
    struct seam seam = {.raw = raw, .escaped = true};
    for (size_t i = first; i < marks->count; i++) {
        struct mark *mark = &marks->list[i];
        mark->begin = seam_begin(&seam, mark->begin);
        mark->end = seam_end(&seam, mark->end);
    }
}

/* ------------------------------------------------------------------------ JSON in a string */

void lexer_advance(struct lexer *lexer, struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (lexer->escape)
            lexer->escape = false;
        else if (c == '\\')
            lexer->escape = lexer->in_string;
        else if (c == '"')
            lexer->in_string = !lexer->in_string;
    }
}

static bool is_scalar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '+' || c == '-' || c == '.' ||
           c == 'E';
}

/* All of a number or a word of JSON has to be replaced, by a string. */
static bool dress_scalar(struct mark *mark, struct text json, size_t floor)
{
    for (size_t i = mark->begin; i < mark->end; i++)
        if (!is_scalar(json.at[i]))
            return false;
    while (mark->begin > 0 && is_scalar(json.at[mark->begin - 1]))
        if (mark->begin-- == floor)
            return false;
    while (mark->end < json.len && is_scalar(json.at[mark->end]))
        mark->end++;
    mark->dress = DRESS_QUOTED;
    return true;
}

static bool dress_string(struct mark *mark, struct text json, struct lexer *lexer)
{
    size_t at = mark->begin;
    while (at < mark->end && lexer->in_string)
        lexer_advance(lexer, (struct text){json.at + at++, 1});
    mark->dress = DRESS_INSIDE;
    return lexer->in_string && at == mark->end;
}

bool marks_dress(struct marks *marks, size_t first, struct lexer lexer, struct text json,
                 size_t floor)
{
    size_t at = 0, kept = first;
    for (size_t i = first; i < marks->count; i++) {
        struct mark *mark = &marks->list[i];
        if (mark->end <= at)
            continue; /* in a number that goes as a whole already */
        if (mark->begin < at)
            return false;
        lexer_advance(&lexer, (struct text){json.at + at, mark->begin - at});
        bool fits = lexer.in_string ? dress_string(mark, json, &lexer)
                                    : dress_scalar(mark, json, at > floor ? at : floor);
        if (!fits)
            return false;
        at = mark->end;
        marks->list[kept++] = *mark;
    }
    marks->count = kept;
    return true;
}

/* ------------------------------------------------------------------------------- writing */

bool guard_rewrite(const struct guard *guard, const struct marks *marks, struct text raw,
                   bool escaped, size_t at, struct buffer *out)
{
    struct seam seam = {.raw = raw, .escaped = escaped};
    size_t copied = 0;
    bool fits = true;
    for (size_t i = 0; i < marks->count && fits; i++) {
        const struct mark *mark = &marks->list[i];
        if (mark->end <= at)
            continue;
        size_t begin = mark->begin > at ? seam_begin(&seam, mark->begin - at) : 0;
        bool here = mark->begin >= at;
        if (begin == raw.len)
            break;
        fits = buffer_append(out, raw.at + copied, begin - copied);
        if (here && fits)
            fits = buffer_append_text(out, guard->matchers[mark->rule].markers[mark->dress]);
        copied = seam_end(&seam, mark->end - at);
    }
    return fits && buffer_append(out, raw.at + copied, raw.len - copied);
}

/* ------------------------------------------------------------------ log probabilities */

/* They say each token of the text again. */
struct dropping {
    struct text rest; /* what is not copied yet */
    struct buffer *out;
    bool any;
};

static bool drop(void *with, const struct found *found)
{
    struct dropping *dropping = with;
    if (found->kind != TEXT_DROP || found->raw.len < 4) /* nothing in it */
        return true;
    size_t before = (size_t)(found->raw.at - dropping->rest.at);
    buffer_append(dropping->out, dropping->rest.at, before);
    buffer_append_text(dropping->out, found->raw.at[0] == '[' ? TEXT("[]") : TEXT("null"));
    dropping->rest = text_from(dropping->rest, before + found->raw.len);
    dropping->any = true;
    return true;
}

bool guard_drop_tokens(enum text_set set, struct text json, struct buffer *out)
{
    struct dropping dropping = {.rest = json, .out = out};
    if (scan_is_valid(json)) /* what is none was looked at as one text */
        texts_find(set, json, drop, &dropping);
    if (dropping.any)
        buffer_append_text(out, dropping.rest);
    return dropping.any;
}
