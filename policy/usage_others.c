/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a usage report that comes from other nodes: what they have told by way of Redis. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/forward_inside.h"
#include "policy/gather.h"

enum {
    WINDOW = 64,           /* commands under way */
    WAIT_US = 5 * 1000000, /* for all of it */
    BUCKETS_MAX = 100 * 1000,
    SUMS_MAX = 1000 * 1000,
    BLOCK_BYTES = 64 * 1024,
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

struct others;

/* A command under way. */
struct ask {
    struct others *others;
    bool busy;
    enum span span; /* of an index, or a bucket; SPANS: the ledgers */
    int64_t bucket;
};

/* It is filled on the loop of forward, while who asks waits. */
struct others {
    struct errand begin;
    struct timer late;
    struct forward *forward;
    enum span longest;
    int64_t from_s, to_s;
    struct arena arena;
    struct words words;
    struct table ledgers; /* name → its epoch, as digits */
    struct told_bucket *buckets;
    size_t bucket_count, bucket_room, next;
    struct told_list sums[SPANS];
    size_t sum_count;
    struct ask asks[WINDOW];
    size_t under_way;
    bool has_buckets, failed, too_large, is_done;
    pthread_mutex_t lock;
    pthread_cond_t done;
};

/* ------------------------------------------------------------------------------------ the end */

/* Nothing of it is touched by the loop after this. */
static void finish(struct others *others)
{
    timer_stop(&others->late);
    for (int i = 0; i < WINDOW; i++)
        if (others->asks[i].busy)
            redis_forget(forward_redis(others->forward), &others->asks[i]);
    pthread_mutex_lock(&others->lock);
    others->is_done = true;
    pthread_cond_signal(&others->done);
    pthread_mutex_unlock(&others->lock);
}

static void give_up(struct others *others)
{
    others->failed = true;
    finish(others);
}

static void on_late(struct timer *timer)
{
    give_up(LIST_MEMBER(timer, struct others, late));
}

/* ---------------------------------------------------------------------------------- answers */

static void take_ledgers(struct others *others, const struct redis_reply *reply)
{
    struct text own = forward_ledger(others->forward);
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
        struct text name = redis_text(redis_item(reply, i));
        struct text mark = redis_text(redis_item(reply, i + 1));
        size_t slash = text_find_byte(name, '/'), space = text_find_byte(mark, ' ');
        if (slash == SIZE_MAX || space == SIZE_MAX ||
            !text_equal(text_from(name, slash), TEXT("/sums")) ||
            text_equal(text_head(name, slash), own))
            continue;
        struct text epoch = arena_copy(&others->arena, text_head(mark, space));
        table_set(&others->ledgers, arena_copy(&others->arena, text_head(name, slash)),
                  (void *)(uintptr_t)epoch.at);
    }
}

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

static void take_sum(struct others *others, const struct ask *ask, struct text field,
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
    struct told *told = told_new(&others->sums[ask->span]);
    *told =
        (struct told){ask->bucket, arena_copy(&others->arena, text_from(field, bar + 1)), tally};
}

static void take(struct ask *ask, const struct redis_reply *reply)
{
    struct others *others = ask->others;
    if (ask->span == SPANS) {
        take_ledgers(others, reply);
    } else if (!others->has_buckets) {
        take_index(others, ask->span, reply);
    } else {
        for (size_t i = 0; i + 1 < redis_count(reply); i += 2)
            take_sum(others, ask, redis_text(redis_item(reply, i)),
                     redis_text(redis_item(reply, i + 1)));
    }
}

/* ------------------------------------------------------------------------------------ asking */

static void go_on(struct others *others);

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct ask *ask = with;
    struct others *others = ask->others;
    ask->busy = false;
    others->under_way--;
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST) {
        give_up(others);
        return;
    }
    take(ask, reply);
    go_on(others);
}

/* Send what is in the words; there is a free place. */
static bool send_words(struct others *others, enum span span, int64_t bucket)
{
    struct ask *ask = others->asks;
    while (ask->busy)
        ask++;
    *ask = (struct ask){others, true, span, bucket};
    others->under_way++;
    ask->busy = redis_send(forward_redis(others->forward), others->words.at[1], others->words.at,
                           others->words.count, WAIT_US, on_answer, ask);
    return ask->busy;
}

static bool ask_ledgers(struct others *others)
{
    struct words *words = &others->words;
    const char *prefix = forward_prefix(others->forward);
    words_begin(words);
    words_add(words, TEXT("HGETALL"));
    words_add(words, forward_key(&words->arena, prefix, "ledgers"));
    return send_words(others, SPANS, 0);
}

static bool ask_index(struct others *others, enum span span)
{
    struct words *words = &others->words;
    const char *prefix = forward_prefix(others->forward);
    enum span around = span < others->longest ? span + 1 : span;
    words_begin(words);
    words_add(words, TEXT("ZRANGEBYSCORE"));
    words_add(words, forward_key(&words->arena, prefix, forward_spans[span].all));
    words_number(words, span_bucket(around, others->from_s));
    words_number(words, span_bucket(around, others->to_s) + span_facts[around].seconds);
    return send_words(others, span, 0);
}

static bool ask_bucket(struct others *others, const struct told_bucket *bucket)
{
    struct words *words = &others->words;
    char name[40];
    snprintf(name, sizeof(name), "%s:%" PRId64, forward_spans[bucket->span].one, bucket->begin);
    words_begin(words);
    words_add(words, TEXT("HGETALL"));
    words_add(words, forward_key(&words->arena, forward_prefix(others->forward), name));
    return send_words(others, bucket->span, bucket->begin);
}

static void go_on(struct others *others)
{
    if (others->too_large) {
        give_up(others);
        return;
    }
    if (!others->has_buckets && others->under_way > 0)
        return; /* the indices */
    others->has_buckets = true;
    if (others->ledgers.count == 0)
        others->next = others->bucket_count; /* there is nobody else */
    while (others->next < others->bucket_count && others->under_way < WINDOW) {
        if (!ask_bucket(others, &others->buckets[others->next++])) {
            give_up(others);
            return;
        }
    }
    if (others->under_way == 0)
        finish(others);
}

static void on_begin(struct errand *errand)
{
    struct others *others = LIST_MEMBER(errand, struct others, begin);
    others->late.on_time = on_late;
    timer_set(forward_loop(others->forward), &others->late, clock_now_us() + WAIT_US);
    bool good = redis_is_up(forward_redis(others->forward)) &&
                forward_ledger(others->forward).len > 0 && ask_ledgers(others);
    for (enum span span = 0; good && span <= others->longest; span++)
        good = ask_index(others, span);
    if (!good)
        give_up(others);
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

static void others_done(struct others *others)
{
    for (enum span span = 0; span < SPANS; span++)
        memory_free(others->sums[span].at);
    memory_free(others->buckets);
    table_done(&others->ledgers);
    words_done(&others->words);
    arena_done(&others->arena);
    pthread_cond_destroy(&others->done);
    pthread_mutex_destroy(&others->lock);
    memory_free(others);
}

static void ask_and_wait(struct others *others)
{
    loop_post(forward_loop(others->forward), &others->begin);
    pthread_mutex_lock(&others->lock);
    while (!others->is_done)
        pthread_cond_wait(&others->done, &others->lock);
    pthread_mutex_unlock(&others->lock);
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
    others->begin.run = on_begin;
    others->forward = forward;
    others->longest = gather_longest(gather);
    others->from_s = gather->from_s;
    others->to_s = gather->to_s;
    arena_init(&others->arena, BLOCK_BYTES);
    words_init(&others->words);
    table_init(&others->ledgers);
    pthread_mutex_init(&others->lock, NULL);
    pthread_cond_init(&others->done, NULL);
    ask_and_wait(others);
    bool good = !others->failed;
    if (good) {
        for (enum span span = 0; span <= others->longest; span++)
            qsort(others->sums[span].at, others->sums[span].count, sizeof(struct told), by_bucket);
        struct reading reading = {others, gather};
        struct span_source source = {read_told, count_told, &reading};
        good = spans_read(&source, others->longest, gather->from_s, gather->to_s);
    } else {
        say_why(others, fault);
    }
    others_done(others);
    return good;
}
