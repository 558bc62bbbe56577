/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a usage report that comes from other nodes: what they have told by way of Redis. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "policy/gather.h"
#include "policy/inquiry.h"

enum {
    BUCKETS_MAX = 100 * 1000,
    SUMS_MAX = 1000 * 1000,
    BLOCK_BYTES = 64 * 1024,
    NAME_BYTES = 256,
    ABOUT_LEDGERS = SPANS, /* below, the span of an index, or of a bucket */
    ABOUT_WAITING,
    ABOUT_LINES,
    ABOUT_MARKS,
};

/* One sum of another node. */
struct told {
    int64_t bucket;
    struct text series;
    struct tally tally;
};

struct told_list {
    struct told *at;
    size_t count, room;
};

struct told_bucket {
    enum span span;
    int64_t begin;
};

/* A journal of another node of which lines wait until its sums have them (ship.h). */
struct waiting_name {
    struct waiting_name *next;
    struct text name, ledger; /* "<ledger>/<instance>/<worker>", and its first part */
    uint64_t told;            /* so far it is in the sums */
};

struct waiting_line {
    struct waiting_line *next;
    const struct waiting_name *journal;
    uint64_t sequence;
    struct text line;
};

enum phase { PHASE_INDEX, PHASE_SUMS, PHASE_MARKS };

/* It is filled on the loop of forward, while who asks waits. */
struct others {
    struct inquiry inquiry; /* first */
    enum span longest;
    int64_t from_s, to_s;
    struct arena arena;
    struct table ledgers; /* name → its epoch, as digits */
    struct told_bucket *buckets;
    size_t bucket_count, bucket_room, next;
    struct told_list sums[SPANS];
    size_t sum_count;
    struct waiting_name *waiting, *next_waiting, *next_marks;
    struct waiting_line *lines;
    enum phase phase;
    bool too_large;
};

/* ---------------------------------------------------------------------------------- answers */

/* Is the bucket one that may be needed: whole, or the shorter ones at both ends? */
static bool is_needed(const struct others *others, enum span span, int64_t begin)
{
    int64_t from_s = others->from_s, to_s = others->to_s;
    if (span == others->longest)
        return begin + span_facts[span].seconds > from_s && begin < to_s;
    int64_t around = span_bucket(span + 1, begin);
    return around == span_bucket(span + 1, from_s) || around == span_bucket(span + 1, to_s);
}

static void take_index(struct others *others, enum span span, const struct redis_reply *reply)
{
    for (size_t i = 0; i < redis_count(reply); i++) {
        int64_t begin = redis_number(redis_item(reply, i));
        if (!is_needed(others, span, begin))
            continue;
        if (others->bucket_count == others->bucket_room) {
            others->bucket_room = others->bucket_room ? others->bucket_room * 2 : 64;
            others->buckets =
                memory_resize(others->buckets, others->bucket_room * sizeof(*others->buckets));
        }
        others->buckets[others->bucket_count++] = (struct told_bucket){span, begin};
    }
    others->too_large = others->too_large || others->bucket_count > BUCKETS_MAX;
}

/* "<epoch> <number> …", of an epoch that counts. Sums that a later version adds are left out. */
static bool read_value(struct text value, const char *epoch, struct tally *tally)
{
    struct text word;
    uint64_t number;
    *tally = (struct tally){{0}};
    if (!text_next(&value, ' ', &word) || !text_equal(word, text_of(epoch)))
        return false;
    for (int i = 0; i < TALLY_SUMS && text_next(&value, ' ', &word); i++) {
        if (!text_number(word, INT64_MAX, &number))
            return false;
        tally->sums[i] = (int64_t)number;
    }
    return true;
}

static struct told *told_new(struct told_list *list)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 64;
        list->at = memory_resize(list->at, list->room * sizeof(*list->at));
    }
    return &list->at[list->count++];
}

static void take_sum(struct others *others, struct inquiry_about about, struct text field,
                     struct text value)
{
    struct tally tally;
    size_t bar = text_find_byte(field, '|');
    if (bar == SIZE_MAX)
        return;
    const char *epoch = table_find(&others->ledgers, text_head(field, bar));
    if (!epoch || !read_value(value, epoch, &tally))
        return;
    if (others->sum_count++ >= SUMS_MAX) {
        others->too_large = true;
        return;
    }
    struct told *told = told_new(&others->sums[about.kind]);
    *told =
        (struct told){about.number, arena_copy(&others->arena, text_from(field, bar + 1)), tally};
}

static void take_waiting(struct others *others, const struct redis_reply *reply)
{
    struct text own = forward_ledger(others->inquiry.forward);
    for (size_t i = 0; i < redis_count(reply); i++) {
        struct text name = redis_text(redis_item(reply, i));
        struct text ledger = text_head(name, text_find_byte(name, '/'));
        if (ledger.len == name.len || text_equal(ledger, own))
            continue;
        struct waiting_name *waiting = arena_new(&others->arena, sizeof(*waiting));
        waiting->name = arena_copy(&others->arena, name);
        waiting->ledger = text_head(waiting->name, ledger.len);
        waiting->next = others->waiting;
        others->waiting = waiting;
    }
}

static struct waiting_name *waiting_at(struct others *others, int64_t number)
{
    struct waiting_name *waiting = others->waiting;
    while (waiting && number-- > 0)
        waiting = waiting->next;
    return waiting;
}

/* "<sequence> <line>" */
static void take_lines(struct others *others, const struct waiting_name *journal,
                       const struct redis_reply *reply)
{
    for (size_t i = 0; journal && i < redis_count(reply); i++) {
        struct text member = redis_text(redis_item(reply, i));
        size_t space = text_find_byte(member, ' ');
        uint64_t sequence;
        if (space == SIZE_MAX || !text_number(text_head(member, space), INT64_MAX, &sequence))
            continue;
        struct waiting_line *line = arena_new(&others->arena, sizeof(*line));
        *line = (struct waiting_line){others->lines, journal, sequence,
                                      arena_copy(&others->arena, text_from(member, space + 1))};
        others->lines = line;
        others->too_large = others->too_large || others->sum_count++ >= SUMS_MAX;
    }
}

/* "<instance>/<worker>" → "<sequence> <when>", of the ledger of <first>. */
static void take_marks(struct others *others, const struct waiting_name *first,
                       const struct redis_reply *reply)
{
    for (size_t i = 0; first && i + 1 < redis_count(reply); i += 2) {
        struct text name = redis_text(redis_item(reply, i));
        struct text mark = redis_text(redis_item(reply, i + 1));
        for (struct waiting_name *waiting = others->waiting; waiting; waiting = waiting->next)
            if (text_equal(waiting->ledger, first->ledger) &&
                text_equal(text_from(waiting->name, waiting->ledger.len + 1), name))
                text_number(text_head(mark, text_find_byte(mark, ' ')), INT64_MAX, &waiting->told);
    }
}

static void take(struct inquiry *inquiry, struct inquiry_about about,
                 const struct redis_reply *reply)
{
    struct others *others = (struct others *)(void *)inquiry;
    if (about.kind == ABOUT_LEDGERS) {
        inquiry_ledgers(inquiry, reply, "sums", &others->arena, &others->ledgers);
    } else if (about.kind == ABOUT_WAITING) {
        take_waiting(others, reply);
    } else if (about.kind == ABOUT_LINES) {
        take_lines(others, waiting_at(others, about.number), reply);
    } else if (about.kind == ABOUT_MARKS) {
        take_marks(others, waiting_at(others, about.number), reply);
    } else if (others->phase == PHASE_INDEX) {
        take_index(others, (enum span)about.kind, reply);
    } else {
        for (size_t i = 0; i + 1 < redis_count(reply); i += 2)
            take_sum(others, about, redis_text(redis_item(reply, i)),
                     redis_text(redis_item(reply, i + 1)));
    }
}

/* ------------------------------------------------------------------------------------ asking */

static bool ask_index(struct others *others, enum span span)
{
    struct words *words = &others->inquiry.words;
    enum span around = span < others->longest ? span + 1 : span;
    inquiry_words(&others->inquiry, TEXT("ZRANGEBYSCORE"), forward_spans[span].all);
    words_number(words, span_bucket(around, others->from_s));
    words_number(words, span_bucket(around, others->to_s) + span_facts[around].seconds);
    return inquiry_send(&others->inquiry, (struct inquiry_about){(int)span, 0});
}

static bool ask_bucket(struct others *others, const struct told_bucket *bucket)
{
    char name[40];
    snprintf(name, sizeof(name), "%s:%" PRId64, forward_spans[bucket->span].one, bucket->begin);
    inquiry_words(&others->inquiry, TEXT("HGETALL"), name);
    return inquiry_send(&others->inquiry, (struct inquiry_about){(int)bucket->span, bucket->begin});
}

static int64_t number_of(const struct others *others, const struct waiting_name *waiting)
{
    int64_t number = 0;
    for (const struct waiting_name *at = others->waiting; at != waiting; at = at->next)
        number++;
    return number;
}

static bool ask_lines(struct others *others, const struct waiting_name *waiting)
{
    struct inquiry *inquiry = &others->inquiry;
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "waiting:%.*s",
             TEXT_ARGS(text_head(waiting->name, NAME_BYTES / 2)));
    inquiry_words(inquiry, TEXT("ZRANGE"), name);
    words_add(&inquiry->words, TEXT("0"));
    words_add(&inquiry->words, TEXT("-1"));
    return inquiry_send(inquiry, (struct inquiry_about){ABOUT_LINES, number_of(others, waiting)});
}

static bool ask_marks(struct others *others, const struct waiting_name *waiting)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "journals:%.*s",
             TEXT_ARGS(text_head(waiting->ledger, NAME_BYTES / 2)));
    inquiry_words(&others->inquiry, TEXT("HGETALL"), name);
    return inquiry_send(&others->inquiry,
                        (struct inquiry_about){ABOUT_MARKS, number_of(others, waiting)});
}

static bool begin(struct inquiry *inquiry)
{
    struct others *others = (struct others *)(void *)inquiry;
    inquiry_words(inquiry, TEXT("HGETALL"), "ledgers");
    bool good = inquiry_send(inquiry, (struct inquiry_about){ABOUT_LEDGERS, 0});
    inquiry_words(inquiry, TEXT("SMEMBERS"), "waiting");
    good = good && inquiry_send(inquiry, (struct inquiry_about){ABOUT_WAITING, 0});
    for (enum span span = 0; good && span <= others->longest; span++)
        good = ask_index(others, span);
    return good;
}

/* Lines first, then sums, then how far the lines are in the sums: what is in both is seen in both.
 */
static bool ask_sums(struct others *others)
{
    struct inquiry *inquiry = &others->inquiry;
    bool good = true;
    for (; good && others->next_waiting && inquiry->under_way < INQUIRY_WINDOW;
         others->next_waiting = others->next_waiting->next)
        good = ask_lines(others, others->next_waiting);
    while (good && !others->next_waiting && others->next < others->bucket_count &&
           inquiry->under_way < INQUIRY_WINDOW)
        good = ask_bucket(others, &others->buckets[others->next++]);
    return good;
}

static bool ask_all_marks(struct others *others)
{
    bool good = true;
    for (; good && others->next_marks && others->inquiry.under_way < INQUIRY_WINDOW;
         others->next_marks = others->next_marks->next)
        good = ask_marks(others, others->next_marks);
    return good;
}

static bool go_on(struct inquiry *inquiry)
{
    struct others *others = (struct others *)(void *)inquiry;
    if (others->too_large)
        return false;
    if (others->phase == PHASE_INDEX) {
        if (inquiry->under_way > 0)
            return true;
        others->phase = PHASE_SUMS;
        others->next_waiting = others->next_marks = others->waiting;
        if (others->ledgers.count == 0)
            others->next = others->bucket_count; /* nobody else has told any */
    }
    if (others->phase == PHASE_SUMS) {
        if (!ask_sums(others))
            return false;
        if (inquiry->under_way > 0)
            return true;
        others->phase = PHASE_MARKS;
    }
    return ask_all_marks(others);
}

/* ------------------------------------------------------------------------------ who asks */

static int by_bucket(const void *one, const void *two)
{
    const struct told *a = one, *b = two;
    return (a->bucket > b->bucket) - (a->bucket < b->bucket);
}

/* The first of the sums that begin at <from_s> or later. */
static size_t first_of(const struct told_list *list, int64_t from_s)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->at[middle].bucket < from_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct reading {
    struct others *others;
    struct gather *gather;
};

static bool read_told(void *with, enum span span, int64_t from_s, int64_t to_s)
{
    struct reading *reading = with;
    const struct told_list *list = &reading->others->sums[span];
    for (size_t i = first_of(list, from_s); i < list->count && list->at[i].bucket < to_s; i++) {
        struct series_key key;
        if (series_unpack(list->at[i].series, &key))
            gather_add(reading->gather, &key, list->at[i].bucket, &list->at[i].tally);
    }
    return true;
}

static bool count_told(void *with, enum span span, int64_t from_s, int64_t to_s, int64_t *calls)
{
    struct reading *reading = with;
    const struct told_list *list = &reading->others->sums[span];
    *calls = 0;
    for (size_t i = first_of(list, from_s); i < list->count && list->at[i].bucket < to_s; i++)
        *calls = sum_up(*calls, list->at[i].tally.sums[SUM_REQUESTS]);
    return true;
}

/* What another node has settled and not told in its sums yet, or never will. */
static void add_waiting(const struct others *others, struct gather *gather)
{
    struct record record;
    for (const struct waiting_line *line = others->lines; line; line = line->next)
        if (line->sequence > line->journal->told && record_read_body(line->line, &record) &&
            record.kind == RECORD_SETTLE)
            gather_add_call(gather, &record.row);
}

static void others_done(struct others *others)
{
    for (enum span span = 0; span < SPANS; span++)
        memory_free(others->sums[span].at);
    memory_free(others->buckets);
    table_done(&others->ledgers);
    arena_done(&others->arena);
    inquiry_done(&others->inquiry);
    memory_free(others);
}

static bool say_why(const struct others *others, struct fault *fault)
{
    if (others->too_large)
        return fault_set(fault, FAULT_TOO_LARGE,
                         "the other nodes have too many sums; ask for less time");
    return fault_set(fault, FAULT_STORE_AWAY,
                     "Redis is away, so the figures of other nodes cannot be had; ask this node "
                     "alone (nodes=this), or later");
}

bool others_gather(struct forward *forward, struct gather *gather, struct fault *fault)
{
    struct others *others = memory_new(sizeof(*others));
    others->inquiry.forward = forward;
    others->inquiry.begin = begin;
    others->inquiry.take = take;
    others->inquiry.go_on = go_on;
    others->longest = gather_longest(gather);
    others->from_s = gather->from_s;
    others->to_s = gather->to_s;
    arena_init(&others->arena, BLOCK_BYTES);
    table_init(&others->ledgers);
    bool good = inquiry_run(&others->inquiry);
    if (good) {
        for (enum span span = 0; span <= others->longest; span++)
            if (others->sums[span].count > 1)
                qsort(others->sums[span].at, others->sums[span].count, sizeof(struct told),
                      by_bucket);
        struct reading reading = {others, gather};
        struct span_source source = {read_told, count_told, &reading};
        good = spans_read(&source, others->longest, gather->from_s, gather->to_s);
        add_waiting(others, gather);
    } else {
        say_why(others, fault);
    }
    others_done(others);
    return good;
}
