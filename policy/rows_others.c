/* SPDX-License-Identifier: Apache-2.0 */
/* Single calls of other nodes, out of the stream in Redis, and among our own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/gather.h"
#include "policy/inquiry.h"
#include "policy/keeper.h"

enum {
    AT_ONCE = 256,     /* entries of one answer */
    LOOK_MAX = 150000, /* for one page: all that the stream holds, about */
    BLOCK_BYTES = 64 * 1024,
    ABOUT_LEDGERS = 0,
    ABOUT_ENTRIES,
};

/* How far clocks may be apart: a call is in the stream after it began, by Redis' clock. */
static const int64_t SLACK_MS = 3600 * 1000;

/* ------------------------------------------------------------------------------- a page of theirs
 */

/* A call that is on the page. */
struct found {
    struct found *next;
    struct rows_place place;
    struct text line;
};

/* It is filled on the loop of forward, while who asks waits. */
struct stream_page {
    struct inquiry inquiry; /* first */
    const struct rows_question *question;
    struct text id; /* only this call; empty = any */
    struct arena arena;
    struct table ledgers;
    struct found *first, **end;
    size_t found, looked;
    struct rows_place last;
    bool asked, at_end, full;
};

/* "1763913600123-5" */
static bool read_entry_id(struct text id, struct rows_place *place)
{
    uint64_t ms, number;
    size_t dash = text_find_byte(id, '-');
    if (dash == SIZE_MAX || !text_number(text_head(id, dash), INT64_MAX, &ms) ||
        !text_number(text_from(id, dash + 1), INT64_MAX, &number))
        return false;
    place->other_ms = (int64_t)ms;
    place->other = (int64_t)number;
    return true;
}

/* The line of an entry that another ledger wrote in an epoch that counts. */
static struct text line_of(const struct stream_page *page, const struct redis_reply *fields)
{
    struct text from = {"", 0}, line = {"", 0};
    for (size_t i = 0; i + 1 < redis_count(fields); i += 2) {
        struct text name = redis_text(redis_item(fields, i));
        if (text_equal(name, TEXT("from")))
            from = redis_text(redis_item(fields, i + 1));
        else if (text_equal(name, TEXT("line")))
            line = redis_text(redis_item(fields, i + 1));
    }
    size_t slash = text_find_byte(from, '/');
    const char *epoch =
        slash == SIZE_MAX ? NULL : table_find(&page->ledgers, text_head(from, slash));
    bool counts = epoch && text_equal(text_from(from, slash + 1), text_of(epoch));
    return counts ? line : (struct text){"", 0};
}

static bool is_wanted(const struct stream_page *page, struct text line)
{
    struct record record;
    return line.len && record_read_body(line, &record) && record.kind == RECORD_SETTLE &&
           rows_are_meant(page->question, &record.row) &&
           (page->id.len == 0 || text_equal(page->id, record.row.id));
}

/* One entry; false when the page is over. */
static bool take_entry(struct stream_page *page, const struct redis_reply *entry)
{
    struct rows_place here = page->last;
    if (redis_count(entry) != 2 || !read_entry_id(redis_text(redis_item(entry, 0)), &here))
        return true;
    page->at_end =
        !page->question->oldest_first && here.other_ms < page->question->since_us / 1000 - SLACK_MS;
    if (page->at_end)
        return false;
    struct text line = line_of(page, redis_item(entry, 1));
    if (is_wanted(page, line)) {
        page->full = page->found == page->question->max;
        if (page->full)
            return false;
        struct found *found = arena_new(&page->arena, sizeof(*found));
        *found = (struct found){NULL, here, arena_copy(&page->arena, line)};
        *page->end = found;
        page->end = &found->next;
        page->found++;
    }
    page->last = here;
    page->full = ++page->looked >= LOOK_MAX;
    return !page->full;
}

static void take(struct inquiry *inquiry, struct inquiry_about about,
                 const struct redis_reply *reply)
{
    struct stream_page *page = (struct stream_page *)(void *)inquiry;
    if (about.kind == ABOUT_LEDGERS) {
        inquiry_ledgers(inquiry, reply, "rows", &page->arena, &page->ledgers);
        return;
    }
    page->at_end = redis_count(reply) < AT_ONCE;
    for (size_t i = 0; i < redis_count(reply); i++)
        if (!take_entry(page, redis_item(reply, i)))
            return;
}

static bool ask_entries(struct stream_page *page)
{
    struct words *words = &page->inquiry.words;
    bool oldest_first = page->question->oldest_first;
    inquiry_words(&page->inquiry, oldest_first ? TEXT("XRANGE") : TEXT("XREVRANGE"), "calls");
    int64_t since_ms = page->question->since_us / 1000 - SLACK_MS;
    if (page->last.other_ms)
        words_add(words, arena_format(&words->arena, "(%" PRId64 "-%" PRId64, page->last.other_ms,
                                      page->last.other));
    else if (oldest_first)
        words_number(words, since_ms > 0 ? since_ms : 0);
    else
        words_add(words, TEXT("+"));
    words_add(words, oldest_first ? TEXT("+") : TEXT("-"));
    words_add(words, TEXT("COUNT"));
    words_number(words, AT_ONCE);
    page->asked = true;
    return inquiry_send(&page->inquiry, (struct inquiry_about){ABOUT_ENTRIES, 0});
}

static bool begin(struct inquiry *inquiry)
{
    inquiry_words(inquiry, TEXT("HGETALL"), "ledgers");
    return inquiry_send(inquiry, (struct inquiry_about){ABOUT_LEDGERS, 0});
}

static bool go_on(struct inquiry *inquiry)
{
    struct stream_page *page = (struct stream_page *)(void *)inquiry;
    if (!page->asked && page->ledgers.count == 0)
        page->at_end = true; /* there is nobody else */
    return page->at_end || page->full || ask_entries(page);
}

enum rows_result rows_read_others(const struct rows_question *question, struct text id,
                                  struct rows_place *next, rows_take *take_row, void *with,
                                  struct fault *fault)
{
    struct stream_page *page = memory_new(sizeof(*page));
    page->inquiry.forward = question->with_others->forward;
    page->inquiry.begin = begin;
    page->inquiry.take = take;
    page->inquiry.go_on = go_on;
    page->question = question;
    page->id = id;
    page->end = &page->first;
    if (question->after)
        page->last = *question->after;
    arena_init(&page->arena, BLOCK_BYTES);
    table_init(&page->ledgers);
    bool good = inquiry_run(&page->inquiry);
    struct record record;
    for (const struct found *found = page->first; good && found; found = found->next)
        if (record_read_body(found->line, &record))
            take_row(with, found->place, &record);
    *next = page->last;
    bool full = page->full;
    table_done(&page->ledgers);
    arena_done(&page->arena);
    inquiry_done(&page->inquiry);
    memory_free(page);
    if (good)
        return full ? ROWS_MORE : ROWS_END;
    fault_set(fault, FAULT_STORE_AWAY,
              "Redis is away, so the calls of other nodes cannot be had; ask this node alone "
              "(nodes=this), or later");
    return ROWS_FAILED;
}

/* ----------------------------------------------------------------------------- a page of all */

/* Calls of one kind that may come onto the page. */
struct side {
    struct arena arena;
    struct found *first, **end;
    struct rows_place next; /* where it ended */
    enum rows_result result;
};

static void side_take(void *with, struct rows_place place, const struct record *record)
{
    struct side *side = with;
    struct found *found = arena_new(&side->arena, sizeof(*found));
    *found = (struct found){NULL, place, arena_copy(&side->arena, record->body)};
    *side->end = found;
    side->end = &found->next;
}

static void side_init(struct side *side)
{
    *side = (struct side){.end = NULL};
    arena_init(&side->arena, BLOCK_BYTES);
    side->end = &side->first;
}

static bool goes_first(const struct rows_question *question, const struct record *a,
                       const struct record *b)
{
    return question->oldest_first ? a->row.started_us <= b->row.started_us
                                  : a->row.started_us >= b->row.started_us;
}

/* Give the page: by time, as far as the order of each side allows, each side on from where it was
 * left. */
static void give_page(const struct rows_question *question, struct side *own, struct side *others,
                      struct rows_place *next)
{
    struct record ours, theirs;
    for (size_t given = 0; given < question->max && (own->first || others->first); given++) {
        bool has_ours = own->first && record_read_body(own->first->line, &ours);
        bool has_theirs = others->first && record_read_body(others->first->line, &theirs);
        bool is_ours = has_ours && (!has_theirs || goes_first(question, &ours, &theirs));
        if (!has_ours && !has_theirs)
            break; /* they were read before: this cannot be */
        struct side *side = is_ours ? own : others;
        const struct found *found = side->first;
        if (is_ours) {
            next->day = found->place.day;
            next->row = found->place.row;
        } else {
            next->other_ms = found->place.other_ms;
            next->other = found->place.other;
        }
        side->first = found->next;
        question->see(question->with, is_ours ? &ours.row : &theirs.row);
    }
    /* What was looked at behind the last one need not be looked at again. */
    if (!own->first) {
        next->day = own->next.day;
        next->row = own->next.row;
    }
    if (!others->first) {
        next->other_ms = others->next.other_ms;
        next->other = others->next.other;
    }
}

static enum rows_result read_others(const struct rows_question *question, struct side *others,
                                    struct fault *fault)
{
    enum rows_result result =
        rows_read_others(question, TEXT(""), &others->next, side_take, others, fault);
    bool away = result == ROWS_FAILED && question->others_away;
    if (question->others_away)
        *question->others_away = away;
    if (!away)
        return result;
    others->next = question->after ? *question->after : (struct rows_place){0};
    return ROWS_END;
}

enum rows_result rows_read_all(const struct rows_question *question, struct rows_place *next,
                               struct fault *fault)
{
    struct side own, others;
    side_init(&own);
    side_init(&others);
    *next = question->after ? *question->after : (struct rows_place){0};
    own.result = rows_read_own(question, &own.next, side_take, &own, fault);
    others.result = own.result == ROWS_FAILED ? ROWS_FAILED : read_others(question, &others, fault);
    bool good = others.result != ROWS_FAILED;
    if (good)
        give_page(question, &own, &others, next);
    bool more = own.first || others.first || own.result == ROWS_MORE || others.result == ROWS_MORE;
    arena_done(&own.arena);
    arena_done(&others.arena);
    if (!good)
        return ROWS_FAILED;
    return more ? ROWS_MORE : ROWS_END;
}
