/* SPDX-License-Identifier: Apache-2.0 */
/* What has changed of this node's claims, told as differences; and now and then that its parallel
 * calls are still there. */
#include "policy/store_inside.h"

enum { TEXT_BLOCK_BYTES = 2048, TOUCHES_PER_DEAD = 6 };

struct report {
    struct link link;
    struct reports *reports;
    uint64_t incarnation;
    bool touch; /* nothing has changed */
    struct arena texts;
    size_t count;
    struct meter_change changes[STORE_CHANGES_MAX];
};

struct reports {
    struct store_redis *store;
    struct meter_change changes[STORE_CHANGES_MAX];
    size_t pending;
    struct link free; /* reports to be used again */
    /* touches */
    size_t part, due; /* the next part of the roots; hundredths of parts that are due */
    struct report *touch;
};

/* ---------------------------------------------------------------------------------- reports */

static struct report *report_new(struct reports *reports, bool touch)
{
    struct report *report;
    if (list_is_empty(&reports->free)) {
        report = memory_new(sizeof(*report));
        arena_init(&report->texts, TEXT_BLOCK_BYTES);
        list_init(&report->link);
    } else {
        report = LIST_MEMBER(reports->free.next, struct report, link);
        list_remove(&report->link);
    }
    arena_reset(&report->texts);
    report->reports = reports;
    report->count = 0;
    report->touch = touch;
    return report;
}

static void report_done(struct report *report)
{
    list_push_back(&report->reports->free, &report->link);
}

static void report_add(struct report *report, const struct meter_change *change)
{
    struct meter_change *copy = &report->changes[report->count++];
    *copy = *change;
    copy->root = report->count == 1 ? arena_copy(&report->texts, change->root)
                                    : report->changes[0].root;
    copy->counter = arena_copy(&report->texts, change->counter);
    if (report->touch)
        copy->delta = 0;
}

static void report_words(const struct report *report)
{
    struct store_redis *store = report->reports->store;
    struct shared *shared = store->shared;
    struct words *words = &store->words;
    struct text root = report->changes[0].root;
    int64_t now = meter_now_us(shared->meter);
    words_begin(words);
    shared_life_key(shared, words, root);
    for (size_t i = 0; i < report->count; i++)
        shared_key(shared, words, root, report->changes[i].counter);
    shared_sign(shared, words, report->incarnation);
    for (size_t i = 0; i < report->count; i++) {
        shared_span_words(words, &report->changes[i], now);
        words_number(words, report->changes[i].slot);
        words_number(words, report->changes[i].delta);
    }
}

/* Nobody knows what the store has: the root must be asserted, and that needs an incarnation of its
 * own. */
static void report_lost(struct report *report)
{
    struct shared *shared = report->reports->store->shared;
    if (!report->touch)
        meter_untold(shared->meter, report->changes, report->count);
    shared_lose(shared, report->incarnation);
}

static void on_reported(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct report *report = with;
    struct store_redis *store = report->reports->store;
    bool good = store_answered(store, report->incarnation, fault, reply) &&
                store_number(reply, 0) == STORE_GOOD;
    if (!good)
        report_lost(report);
    else if (!report->touch)
        meter_told(store->shared->meter, report->changes, report->count);
    report->reports->pending--;
    report_done(report);
}

static void report_send(struct report *report)
{
    struct store_redis *store = report->reports->store;
    report_words(report);
    if (store_eval(store, &store->shared->report, 0, on_reported, report)) {
        report->reports->pending++;
        return;
    }
    report_lost(report);
    report_done(report);
}

/* The changes of one root, in a report when it may be sent; false at the end of all roots. */
static bool next_changes(struct reports *reports, struct report **report)
{
    struct store_redis *store = reports->store;
    struct shared *shared = store->shared;
    *report = NULL;
    pthread_rwlock_wrlock(&shared->lock);
    size_t count = meter_changes(shared->meter, reports->changes, STORE_CHANGES_MAX);
    if (count > 0 && shared_is_asserted(shared, reports->changes[0].root)) {
        *report = report_new(reports, false);
        (*report)->incarnation = shared_incarnation(shared);
        for (size_t i = 0; i < count; i++)
            report_add(*report, &reports->changes[i]);
    } else if (count > 0) {
        /* They are part of what will be asserted. */
        meter_untold(shared->meter, reports->changes, count);
        life_sweep_again(store->duties);
    }
    pthread_rwlock_unlock(&shared->lock);
    return count > 0;
}

/* ---------------------------------------------------------------------------------- touches */

static void touch_send(struct reports *reports)
{
    struct report *touch = reports->touch;
    struct shared *shared = reports->store->shared;
    reports->touch = NULL;
    if (!touch)
        return;
    pthread_rwlock_rdlock(&shared->lock);
    touch->incarnation = shared_incarnation(shared);
    bool asserted = shared_is_asserted(shared, touch->changes[0].root);
    pthread_rwlock_unlock(&shared->lock);
    if (asserted)
        report_send(touch);
    else
        report_done(touch);
}

struct touching {
    struct reports *reports;
    struct link ready;
};

static void on_parallel(void *with, const struct meter_change *claim)
{
    struct touching *touching = with;
    struct reports *reports = touching->reports;
    struct report *touch = reports->touch;
    if (touch && (touch->count == STORE_CHANGES_MAX ||
                  !text_equal(touch->changes[0].root, claim->root))) {
        list_push_back(&touching->ready, &touch->link);
        touch = NULL;
    }
    if (!touch)
        reports->touch = touch = report_new(reports, true);
    report_add(touch, claim);
}

static void touch_part(struct reports *reports)
{
    struct touching touching = {.reports = reports};
    list_init(&touching.ready);
    meter_parallel(reports->store->shared->meter, reports->part++, on_parallel, &touching);
    touch_send(reports);
    while (!list_is_empty(&touching.ready)) {
        reports->touch = LIST_MEMBER(touching.ready.next, struct report, link);
        list_remove(&reports->touch->link);
        touch_send(reports);
    }
}

/* All parts of the roots several times before others would hold this node for dead. */
static void touch_step(struct reports *reports)
{
    enum { HUNDRED = 100 };
    int64_t round = reports->store->shared->dead_us / TOUCHES_PER_DEAD;
    reports->due += (size_t)((int64_t)METER_SHARDS * HUNDRED * STORE_BEAT_US / round) + 1;
    for (size_t parts = 0; reports->due >= HUNDRED; reports->due -= HUNDRED)
        if (parts++ < METER_SHARDS)
            touch_part(reports);
}

/* ------------------------------------------------------------------------------------ steps */

void reports_step(struct reports *reports)
{
    struct store_redis *store = reports->store;
    struct report *report;
    if (shared_is_resting(store->shared) || !redis_is_up(store->redis))
        return;
    for (size_t i = 0; i < STORE_REPORTS_MAX && reports->pending < STORE_REPORTS_MAX; i++) {
        if (!next_changes(reports, &report))
            break;
        if (report)
            report_send(report);
    }
    touch_step(reports);
}

struct reports *reports_new(struct store_redis *store)
{
    struct reports *reports = memory_new(sizeof(*reports));
    reports->store = store;
    list_init(&reports->free);
    return reports;
}

void reports_free(struct reports *reports)
{
    if (!reports)
        return;
    while (!list_is_empty(&reports->free)) {
        struct report *report = LIST_MEMBER(reports->free.next, struct report, link);
        list_remove(&report->link);
        arena_done(&report->texts);
        memory_free(report);
    }
    memory_free(reports);
}
