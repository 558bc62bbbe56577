/* SPDX-License-Identifier: Apache-2.0 */
/* What has changed of this node's claims, told as differences. */
#include "gateway/base/clock.h"
#include "policy/store_inside.h"

enum { TEXT_BLOCK_BYTES = 2048, HURRY_US = 5000, HURRIED_MAX = 64 };

struct report {
    struct link link;
    struct reports *reports;
    uint64_t incarnation;
    struct arena texts;
    size_t count;
    struct meter_change changes[STORE_CHANGES_MAX];
};

struct reports {
    struct store_redis *store;
    struct meter_change changes[STORE_CHANGES_MAX];
    size_t pending;
    struct link free; /* reports to be used again */
    /* roots that somebody waits for */
    struct timer hurry;
    struct arena names;
    struct text hurried[HURRIED_MAX];
    size_t hurried_count;
};

/* ---------------------------------------------------------------------------------- reports */

static struct report *report_new(struct reports *reports)
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
    copy->root =
        report->count == 1 ? arena_copy(&report->texts, change->root) : report->changes[0].root;
    copy->counter = arena_copy(&report->texts, change->counter);
}

static void report_words(const struct report *report)
{
    struct store_redis *store = report->reports->store;
    struct shared *shared = store->shared;
    struct words *words = &store->words;
    struct text root = report->changes[0].root;
    words_begin(words);
    shared_life_key(shared, words, root);
    for (size_t i = 0; i < report->count; i++)
        shared_key(shared, words, root, report->changes[i].counter);
    shared_sign(shared, words, report->incarnation);
    for (size_t i = 0; i < report->count; i++) {
        shared_span_words(words, &report->changes[i], false);
        words_number(words, report->changes[i].slot);
        words_number(words, report->changes[i].delta);
    }
}

/* Nobody knows what the store has: the root must be asserted, and that needs an incarnation of its
 * own. */
static void report_lost(struct report *report)
{
    struct shared *shared = report->reports->store->shared;
    shared_lose(shared, report->incarnation);
    meter_untold(shared->meter, report->changes, report->count);
}

static void on_reported(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct report *report = with;
    struct store_redis *store = report->reports->store;
    bool good = store_answered(store, report->incarnation, fault, reply) &&
                store_number(reply, 0) == STORE_GOOD;
    if (!good)
        report_lost(report);
    else
        meter_told(store->shared->meter, report->changes, report->count);
    report->reports->pending--;
    report_done(report);
}

static void report_send(struct report *report)
{
    struct store_redis *store = report->reports->store;
    report_words(report);
    if (store_eval(store, &store->shared->report, store_patience(store), on_reported, report)) {
        report->reports->pending++;
        return;
    }
    report_lost(report);
    report_done(report);
}

/* The changes of <root> or, when it is NULL, of the next that has some, in a report when it may be
 * sent. False: there are none. */
static bool next_changes(struct reports *reports, const struct text *root, struct report **report)
{
    struct store_redis *store = reports->store;
    struct shared *shared = store->shared;
    struct meter_change *changes = reports->changes;
    *report = NULL;
    pthread_rwlock_wrlock(&shared->lock);
    size_t count = root ? meter_root_changes(shared->meter, *root, changes, STORE_CHANGES_MAX)
                        : meter_changes(shared->meter, changes, STORE_CHANGES_MAX);
    if (count > 0 && shared_is_begun(shared, changes[0].root)) {
        *report = report_new(reports);
        (*report)->incarnation = shared_incarnation(shared);
        for (size_t i = 0; i < count; i++)
            report_add(*report, &changes[i]);
    } else if (count > 0) {
        /* They are part of what will be asserted. */
        meter_untold(shared->meter, changes, count);
        atomic_store(&shared->sweep_again, true);
    }
    pthread_rwlock_unlock(&shared->lock);
    return count > 0;
}

static bool may_send(const struct reports *reports)
{
    return redis_is_up(reports->store->redis) && !shared_is_resting(reports->store->shared) &&
           reports->pending < STORE_REPORTS_MAX;
}

static void on_hurry(struct timer *timer)
{
    struct reports *reports = LIST_MEMBER(timer, struct reports, hurry);
    struct report *report;
    for (size_t i = 0; i < reports->hurried_count && may_send(reports); i++)
        if (next_changes(reports, &reports->hurried[i], &report) && report)
            report_send(report);
    reports->hurried_count = 0;
    arena_reset(&reports->names);
}

void reports_hurry(struct reports *reports, struct text root)
{
    for (size_t i = 0; i < reports->hurried_count; i++)
        if (text_equal(reports->hurried[i], root))
            return;
    if (reports->hurried_count == HURRIED_MAX)
        return; /* the next round has it */
    reports->hurried[reports->hurried_count++] = arena_copy(&reports->names, root);
    if (reports->hurried_count == 1)
        timer_set(reports->store->loop, &reports->hurry, clock_now_us() + HURRY_US);
}

/* ------------------------------------------------------------------------------------ steps */

void reports_step(struct reports *reports)
{
    struct report *report;
    for (size_t i = 0; i < STORE_REPORTS_MAX && may_send(reports); i++) {
        if (!next_changes(reports, NULL, &report))
            break;
        if (report)
            report_send(report);
    }
}

struct reports *reports_new(struct store_redis *store)
{
    struct reports *reports = memory_new(sizeof(*reports));
    reports->store = store;
    reports->hurry.on_time = on_hurry;
    arena_init(&reports->names, TEXT_BLOCK_BYTES);
    list_init(&reports->free);
    return reports;
}

void reports_free(struct reports *reports)
{
    timer_stop(&reports->hurry);
    arena_done(&reports->names);
    while (!list_is_empty(&reports->free)) {
        struct report *report = LIST_MEMBER(reports->free.next, struct report, link);
        list_remove(&report->link);
        arena_done(&report->texts);
        memory_free(report);
    }
    memory_free(reports);
}
