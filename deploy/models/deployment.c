/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/deployment.h"

#include <stdio.h>

#include "deploy/models/desk_inside.h"
#include "deploy/models/launch_mark.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum {
    CLOSE_LOOK_US = 50000, /* while calls wait, or are waited for */
    LOOK_US = 250000,      /* while anything runs */
    RECORD_US = 500000,
    LEFT_US = 1000000, /* who waits may have come a moment before its configuration is known */
    ROUNDS_MAX = 4,    /* facts that follow from decisions are told at once */
    KILL_US = 1000000,
    HEIR_US = 5000000, /* so long who ends waits for one that takes over, at most, */
    SEEK_US = 3000000, /* and until it knows what was there before it */
    TIDY_US = 60000000,
};

static const uint64_t STORY_KEPT_US = UINT64_C(24) * 3600 * 1000000;

/* ---------------------------------------------------------------------------------- the lock */

void desk_lock(struct deployments *desk)
{
    pthread_mutex_lock(&desk->lock);
}

void desk_unlock(struct deployments *desk)
{
    struct desk_happening *list = desk->happenings;
    desk->happenings = NULL;
    desk->happenings_end = &desk->happenings;
    pthread_mutex_unlock(&desk->lock);
    while (list) {
        struct desk_happening *next = list->next;
        if (desk->site.on_event)
            desk->site.on_event(desk->site.with, text_of(list->record->name), list->replica,
                                list->reason, list->words);
        memory_free(list);
        list = next;
    }
}

void desk_note(struct desk_record *record, const char *replica, const char *reason,
               const char *words)
{
    struct deployments *desk = record->desk;
    struct desk_happening *one = memory_new(sizeof(*one));
    one->record = record;
    if (*replica)
        snprintf(one->replica, sizeof one->replica, "%s-%.23s", record->name, replica);
    snprintf(one->reason, sizeof one->reason, "%s", reason);
    snprintf(one->words, sizeof one->words, "%s", words ? words : "");
    story_event(&record->story, one->replica, one->reason, one->words);
    *desk->happenings_end = one;
    desk->happenings_end = &one->next;
}

/* ---------------------------------------------------------------------------------- records */

static void on_bell(struct errand *errand);

struct desk_record *desk_record_find(const struct deployments *desk, struct text name)
{
    return table_find(&desk->records, name);
}

struct desk_record *desk_record_of(struct deployments *desk, struct text name)
{
    struct desk_record *record = desk_record_find(desk, name);
    if (record)
        return record;
    record = memory_new(sizeof(*record));
    record->desk = desk;
    snprintf(record->name, sizeof record->name, "%.*s", TEXT_ARGS(name));
    record->slots = slots_of(name);
    record->bell.run = on_bell;
    story_init(&record->story);
    table_set(&desk->records, text_of(record->name), record);
    slots_set_desk(record->slots, desk->site.loop, &record->bell);
    return record;
}

static void record_free(struct desk_record *record)
{
    slots_set_desk(record->slots, NULL, NULL);
    story_clear(&record->story);
    memory_free(record);
}

/* The name of one that was removed is kept, its story for a day. */
static void tidy_records(struct deployments *desk)
{
    size_t at = 0;
    struct text name;
    void *value;
    struct fleet_view view;
    uint64_t now = desk_now(desk);
    while (table_next(&desk->records, &at, &name, &value)) {
        struct desk_record *record = value;
        bool is_wanted = fleet_look(desk->fleet, name, &view, now);
        if (record->is_wanted && !is_wanted)
            record->left_us = now;
        record->is_wanted = is_wanted;
        if (!is_wanted && record->left_us != 0 && now - record->left_us > STORY_KEPT_US) {
            story_clear(&record->story);
            record->left_us = 0;
        }
    }
}

/* ---------------------------------------------------------------------------------- demand */

/* Calls of an earlier configuration may still begin to wait for what is not there any more. */
static void turn_away_from_nobody(struct desk_record *record, const struct slots_figures *figures)
{
    struct deployments *desk = record->desk;
    struct fleet_view view;
    uint64_t now = desk_now(desk);
    if (figures->oldest_us > 0 && now > figures->oldest_us + LEFT_US &&
        !fleet_look(desk->fleet, text_of(record->name), &view, now))
        slots_fail_waiting(record->slots, "removed");
}

/* True while somebody waits. */
static bool tell_demand(struct desk_record *record)
{
    struct deployments *desk = record->desk;
    struct text name = text_of(record->name);
    struct slots_figures figures = slots_figures(record->slots);
    turn_away_from_nobody(record, &figures);
    if (figures.held > 0)
        desk_adapters_fail(record);
    struct fleet_demand demand = {
        .in_flight = figures.in_flight, .held = figures.held, .oldest_held_us = figures.oldest_us};
    if (desk->site.jobs_waiting)
        demand.jobs = desk->site.jobs_waiting(desk->site.with, name);
    share_add_demand(record, &demand);
    share_see_waiting(record, figures.held);
    bool is_busy = demand.in_flight > 0 || demand.held > 0 || demand.jobs > 0;
    if (is_busy || record->was_busy)
        fleet_demand(desk->fleet, name, &demand, desk_now(desk));
    record->was_busy = is_busy;
    return demand.held > 0 || demand.jobs > 0;
}

static void tell_record(struct desk_record *record, unsigned revision)
{
    struct trial its = slots_record(record->slots, revision);
    if (its.calls > 0)
        fleet_record(record->desk->fleet, text_of(record->name), revision, &its,
                     desk_now(record->desk));
}

static void tell_records(struct desk_record *record)
{
    struct fleet_view view;
    struct deployments *desk = record->desk;
    if (!fleet_look(desk->fleet, text_of(record->name), &view, desk_now(desk)))
        return;
    tell_record(record, view.stable);
    if (view.revision != view.stable)
        tell_record(record, view.revision);
}

static bool tell_all(struct deployments *desk)
{
    size_t at = 0;
    struct text name;
    void *value;
    bool waits = false, is_due = desk_now(desk) - desk->recorded_us >= RECORD_US;
    while (table_next(&desk->records, &at, &name, &value)) {
        struct desk_record *record = value;
        waits |= tell_demand(record);
        if (is_due && (record->was_busy || record->is_wanted))
            tell_records(record);
    }
    if (is_due)
        desk->recorded_us = desk_now(desk);
    return waits;
}

/* --------------------------------------------------------------------------------- the round */

static bool is_watched_closely(const struct deployments *desk)
{
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next)
        if (LIST_MEMBER(at, struct desk_replica, link)->fleet->state == REPLICA_DRAINING)
            return true;
    return false;
}

static void plan(struct deployments *desk, bool waits)
{
    uint64_t now = desk_now(desk), due = fleet_due_us(desk->fleet), next = UINT64_MAX;
    if (waits || is_watched_closely(desk))
        next = now + CLOSE_LOOK_US;
    else if (!list_is_empty(&desk->replicas))
        next = now + LOOK_US;
    else
        next = now + TIDY_US;
    due = due > now ? due : now + CLOSE_LOOK_US / 4;
    timer_set(desk->site.loop, &desk->round_timer, due < next ? due : next);
}

/* Nothing runs any more that we are to end. Who took over a moment ago may not have found it yet.
 */
static bool is_over(const struct deployments *desk)
{
    return fleet_is_quiet(desk->fleet) && seats_are_empty(desk) &&
           (desk_now(desk) >= desk->look_by_us || !seats_are_looking(desk));
}

static void see_whether_it_is_over(struct deployments *desk)
{
    if (desk->is_ending && !desk->leaves && is_over(desk))
        timer_set(desk->site.loop, &desk->end_timer, desk_now(desk));
}

void desk_round(struct deployments *desk)
{
    bool waits = false;
    if (desk->is_handed_over) {
        timer_set(desk->site.loop, &desk->round_timer, desk_now(desk) + LOOK_US);
        return;
    }
    for (int i = 0; i < ROUNDS_MAX; i++) {
        waits = tell_all(desk);
        guests_tell(desk);
        fleet_tick(desk->fleet, desk_now(desk));
        desk_replicas_settle(desk);
        if (fleet_due_us(desk->fleet) > desk_now(desk))
            break;
    }
    see_whether_it_is_over(desk);
    plan(desk, waits);
    if (desk->site.on_round)
        desk->site.on_round(desk->site.with);
}

static void on_round_time(struct timer *timer)
{
    struct deployments *desk = LIST_MEMBER(timer, struct deployments, round_timer);
    desk_lock(desk);
    if (!desk->is_handed_over && desk_now(desk) - desk->tidied_us >= TIDY_US) {
        desk->tidied_us = desk_now(desk);
        tidy_records(desk);
    }
    if (!desk->is_handed_over)
        seats_tidy(desk);
    desk_round(desk);
    desk_unlock(desk);
}

static void on_bell(struct errand *errand)
{
    struct desk_record *record = LIST_MEMBER(errand, struct desk_record, bell);
    desk_lock(record->desk);
    desk_round(record->desk);
    desk_unlock(record->desk);
}

/* ---------------------------------------------------------------------------------- the end */

static void finish(struct deployments *desk)
{
    void (*on_done)(void *) = desk->on_done;
    timer_stop(&desk->round_timer);
    desk->on_done = NULL;
    if (on_done)
        on_done(desk->on_done_with);
}

/* What runs is ended, but for what engines run where <is_handed_over>: others go on with that. */
static void shut(struct deployments *desk, bool is_handed_over)
{
    uint64_t now = desk_now(desk), left = desk->end_by_us > now ? desk->end_by_us - now : 0;
    desk->awaits_heir = false;
    if (is_handed_over)
        seats_yield(desk);
    if (!desk->leaves)
        fleet_shut(desk->fleet, now);
    desk->kill_at_us = left > 2 * KILL_US ? desk->end_by_us - KILL_US : now + left / 2;
    bool looks = seats_are_looking(desk) && desk->look_by_us < desk->kill_at_us;
    timer_set(desk->site.loop, &desk->end_timer,
              desk->leaves ? now
              : looks      ? desk->look_by_us
                           : desk->kill_at_us);
}

/* All of a cluster may end at once: what engines run is only let go of when another looks after it,
 * and ended here when nobody is left who could. */
void desk_see_heirs(struct deployments *desk)
{
    if (!desk->awaits_heir)
        return;
    if (share_has_heir_in_office(desk))
        shut(desk, true);
    else if (!share_has_heirs(desk))
        shut(desk, false);
}

void deployments_hand_over(struct deployments *deployments, bool handed)
{
    struct deployments *desk = deployments;
    desk_lock(desk);
    desk->is_handed_over = handed;
    desk->leaves = handed || desk->site.leave;
    seats_leave(desk, desk->leaves);
    desk_unlock(desk);
}

static void on_end_time(struct timer *timer)
{
    struct deployments *desk = LIST_MEMBER(timer, struct deployments, end_timer);
    desk_lock(desk);
    uint64_t now = desk_now(desk);
    bool ends = desk->leaves || now >= desk->end_by_us || is_over(desk);
    if (!ends && desk->awaits_heir) {
        shut(desk, share_has_late_heirs(desk));
        desk_round(desk);
    } else if (!ends && now < desk->kill_at_us) {
        timer_set(desk->site.loop, &desk->end_timer, desk->kill_at_us);
    } else if (!ends) {
        desk_replicas_kill(desk);
        timer_set(desk->site.loop, &desk->end_timer, desk->end_by_us);
    }
    desk_unlock(desk);
    if (ends)
        finish(desk);
}

void deployments_end(struct deployments *deployments, uint64_t by_us, void (*done)(void *),
                     void *with)
{
    struct deployments *desk = deployments;
    uint64_t now = desk_now(desk);
    desk_lock(desk);
    desk->is_ending = true;
    desk->on_done = done;
    desk->on_done_with = with;
    desk->end_by_us = by_us > now ? by_us : now;
    uint64_t left = desk->end_by_us - now;
    desk->look_by_us = now + (left / 2 < SEEK_US ? left / 2 : SEEK_US);
    bool has_heirs = desk->site.is_shared && share_has_heirs(desk);
    desk->awaits_heir = has_heirs && desk->role == ROLE_LEADS && !desk->leaves;
    if (desk->awaits_heir)
        timer_set(desk->site.loop, &desk->end_timer,
                  now + (left / 2 < HEIR_US ? left / 2 : HEIR_US));
    else
        shut(desk, has_heirs);
    if (!desk->leaves)
        desk_round(desk);
    desk_unlock(desk);
}

/* ---------------------------------------------------------------------------------- the door */

static void init_timer(struct timer *timer, void (*on_time)(struct timer *))
{
    list_init(&timer->link);
    timer->on_time = on_time;
}

struct deployments *deployments_new(const struct deployments_site *site)
{
    struct deployments *desk = memory_new(sizeof(*desk));
    struct fleet_hands hands = desk_hands;
    uint64_t seed;
    hash_random(&seed, sizeof seed);
    hands.with = desk;
    desk->site = *site;
    desk->leaves = site->leave;
    desk->state_dir = memory_string(text_of(site->state_dir));
    desk->owner = memory_string(text_of(site->owner));
    desk->fleet = fleet_new(&hands, seed);
    pthread_mutex_init(&desk->lock, NULL);
    list_init(&desk->seats);
    list_init(&desk->replicas);
    share_begin(desk);
    table_init(&desk->records);
    desk->happenings_end = &desk->happenings;
    init_timer(&desk->round_timer, on_round_time);
    init_timer(&desk->end_timer, on_end_time);
    mark_tidy(desk->state_dir);
    return desk;
}

void deployments_configure(struct deployments *deployments, const struct node_spec *nodes,
                           size_t node_count, struct deployment_spec *const *specs, size_t count)
{
    static const struct node_spec here = {.name = {"local", 5}, .launcher = LAUNCH_BY_PROCESS};
    struct deployments *desk = deployments;
    if (node_count == 0) {
        nodes = &here;
        node_count = 1;
    }
    desk_lock(desk);
    seats_configure(desk, nodes, node_count);
    fleet_configure(desk->fleet, nodes, node_count, specs, count, desk_now(desk));
    for (size_t i = 0; i < count; i++)
        desk_record_of(desk, specs[i]->name)->is_wanted = true;
    if (!desk->was_configured) /* before it is found what runs */
        desk_recall_verdicts(desk, desk->site.verdicts);
    desk->site.verdicts = (struct text){"", 0};
    seats_open(desk);
    desk->was_configured = true;
    desk_replicas_respec(desk);
    guests_respec(desk);
    tidy_records(desk);
    desk_round(desk);
    desk_unlock(desk);
}

bool deployments_obey(struct deployments *deployments, struct text name, enum fleet_order order,
                      unsigned low, unsigned high, const char **why)
{
    struct deployments *desk = deployments;
    desk_lock(desk);
    bool is_obeyed = fleet_obey(desk->fleet, name, order, low, high, desk_now(desk), why);
    desk_round(desk);
    desk_unlock(desk);
    return is_obeyed;
}

void deployments_recall(struct deployments *deployments, struct text name,
                        const struct fleet_orders *orders)
{
    desk_lock(deployments);
    fleet_recall(deployments->fleet, name, orders, desk_now(deployments));
    desk_unlock(deployments);
}

struct fleet *deployments_fleet(struct deployments *deployments)
{
    return deployments->fleet;
}

static void free_records(struct deployments *desk)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&desk->records, &at, &name, &value))
        record_free(value);
    table_done(&desk->records);
}

void deployments_free(struct deployments *deployments)
{
    struct deployments *desk = deployments;
    if (!desk)
        return;
    timer_stop(&desk->round_timer);
    timer_stop(&desk->end_timer);
    desk_lock(desk);
    share_end(desk);
    desk_replicas_free(desk);
    seats_close(desk);
    fleet_free(desk->fleet);
    desk_unlock(desk);
    free_records(desk);
    pthread_mutex_destroy(&desk->lock);
    memory_free(desk->state_dir);
    memory_free(desk->owner);
    memory_free(desk);
}
