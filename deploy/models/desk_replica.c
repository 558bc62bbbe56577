/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "deploy/models/adapters.h"
#include "deploy/models/desk_inside.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum { INTERVAL_MIN_US = 20000, LIVENESS_US = 5000000, INTERVAL_US = 250000 };

void desk_replica_word(const struct fleet_replica *of, char into[STORY_REPLICA_MAX])
{
    char number[FLEET_NUMBER_BYTES];
    fleet_number_name(of->number, number);
    snprintf(into, STORY_REPLICA_MAX, "%s", number);
}

static void note(struct desk_replica *replica, const char *reason, const char *words)
{
    char word[STORY_REPLICA_MAX];
    desk_replica_word(replica->fleet, word);
    desk_note(replica->record, word, reason, words);
}

/* --------------------------------------------------------------------------------- its probe */

static int64_t or_default(int64_t us, int64_t default_us)
{
    us = us > 0 ? us : default_us;
    return us > INTERVAL_MIN_US ? us : INTERVAL_MIN_US;
}

/* How often it is asked in this state; 0 = not at all. */
static int64_t pace_of(const struct fleet_replica *of)
{
    switch (of->state) {
    case REPLICA_LAUNCHING:
    case REPLICA_LOADING:
    case REPLICA_UNREADY:
        return or_default(of->spec->probe.interval_us, INTERVAL_US);
    case REPLICA_READY:
    case REPLICA_LOST:
        return or_default(of->spec->probe.liveness_us, LIVENESS_US);
    case REPLICA_PENDING:
    case REPLICA_SLEEPING:
    case REPLICA_DRAINING:
    case REPLICA_STOPPING:
    case REPLICA_BACKOFF:
    case REPLICA_ENDED:
    case REPLICA_STATES:
        break;
    }
    return 0;
}

static void on_answer(void *with, bool good, const char *words)
{
    struct desk_replica *replica = with;
    struct deployments *desk = replica->desk;
    desk_lock(desk);
    if (good) {
        snprintf(replica->served, sizeof replica->served, "%s", probe_served_name(replica->probe));
        memcpy(replica->record->served, replica->served, sizeof replica->served);
    } else if (pace_of(replica->fleet) > 0) { /* one that is ended says nothing of why */
        snprintf(replica->fleet->words, sizeof replica->fleet->words, "%s", words);
    }
    fleet_probed(desk->fleet, replica->fleet, good, desk_now(desk));
    desk_round(desk);
    desk_unlock(desk);
}

static void on_trouble(void *with, const char *words)
{
    struct desk_replica *replica = with;
    struct deployments *desk = replica->desk;
    desk_lock(desk);
    note(replica, "trouble", words);
    desk_unlock(desk);
}

static void drop_probe(struct desk_replica *replica)
{
    adapters_free(replica->adapters);
    probe_free(replica->probe);
    replica->adapters = NULL;
    replica->probe = NULL;
}

static void begin_probe(struct desk_replica *replica, const struct launch_address *address)
{
    struct deployments *desk = replica->desk;
    struct probe_site site = {.loop = desk->site.loop,
                              .upstreams = desk->site.upstreams,
                              .on_answer = on_answer,
                              .on_trouble = on_trouble,
                              .with = replica};
    bool is_same = replica->has_address && replica->address.port == address->port &&
                   strcmp(replica->address.host, address->host) == 0;
    if (is_same)
        return;
    drop_probe(replica);
    replica->address = *address;
    replica->has_address = true;
    replica->paced_for = replica->fleet->state;
    replica->probe = probe_new(&site, address, replica->fleet->spec, pace_of(replica->fleet));
    if (!replica->probe)
        note(replica, "trouble", "its address is none that can be asked");
}

void desk_replica_report(struct desk_replica *replica, const struct launch_report *report)
{
    struct deployments *desk = replica->desk;
    if (report->memory_bytes > 0)
        replica->memory_bytes = report->memory_bytes;
    if (report->stage == LAUNCH_RUNNING && report->address.host[0] != 0)
        begin_probe(replica, &report->address);
    fleet_report(desk->fleet, replica->fleet, report, desk_now(desk));
}

/* ------------------------------------------------------------------------------ its adapters */

static void publish_adapters(struct desk_replica *replica)
{
    struct adapter *seen = memory_new(SPEC_ADAPTERS_MAX * sizeof(*seen));
    uint64_t ready[SPEC_ADAPTERS_MAX];
    size_t count = adapters_look(replica->adapters, seen, SPEC_ADAPTERS_MAX), found = 0;
    for (size_t i = 0; i < count; i++)
        if (seen[i].state == ADAPTER_READY)
            ready[found++] = hash_name(text_of(seen[i].name));
    if (replica->slot.generation != 0)
        slots_adapters(replica->record->slots, &replica->slot, ready, found);
    memory_free(seen);
}

static void on_adapters(void *with)
{
    struct desk_replica *replica = with;
    struct adapter seen[SPEC_ADAPTERS_MAX];
    char words[FLEET_WORDS_MAX];
    desk_lock(replica->desk);
    size_t count = adapters_look(replica->adapters, seen, SPEC_ADAPTERS_MAX);
    for (size_t i = 0; i < count; i++) {
        uint64_t bit = UINT64_C(1) << i;
        bool was_noted = (replica->noted & bit) != 0;
        replica->noted &= ~bit;
        if (seen[i].state != ADAPTER_FAILED)
            continue;
        replica->noted |= bit;
        if (was_noted)
            continue;
        snprintf(words, sizeof words, "%.63s: %.160s", seen[i].name, seen[i].words);
        note(replica, "adapter_failed", words);
    }
    publish_adapters(replica);
    desk_unlock(replica->desk);
}

static void see_to_adapters(struct desk_replica *replica)
{
    const struct deployment_spec *spec = replica->fleet->spec;
    if (!replica->probe || (spec->adapter_count == 0 && !replica->adapters))
        return;
    if (!replica->adapters)
        replica->adapters = adapters_new(replica->desk->site.loop, probe_remote(replica->probe),
                                         on_adapters, replica);
    adapters_want(replica->adapters, spec);
    publish_adapters(replica);
}

static enum adapter_state adapter_on(const struct desk_replica *replica, struct text adapter)
{
    struct adapter seen[SPEC_ADAPTERS_MAX];
    size_t count = adapters_look(replica->adapters, seen, SPEC_ADAPTERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (text_equal(text_of(seen[i].name), adapter))
            return seen[i].state;
    return ADAPTER_ABSENT;
}

static bool is_hopeless(const struct desk_record *record, struct text adapter)
{
    bool has_failed = false;
    const struct deployments *desk = record->desk;
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next) {
        const struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        if (replica->record != record || replica->slot.generation == 0)
            continue;
        if (adapter_on(replica, adapter) != ADAPTER_FAILED)
            return false;
        has_failed = true;
    }
    return has_failed && record->guests == 0; /* of those it is not known what they tried */
}

void desk_adapters_fail(const struct desk_record *record)
{
    struct fleet_view view;
    struct deployments *desk = record->desk;
    if (!fleet_look(desk->fleet, text_of(record->name), &view, desk_now(desk)))
        return;
    for (size_t i = 0; i < view.spec->adapter_count; i++)
        if (is_hopeless(record, view.spec->adapters[i].name))
            slots_fail_adapter(record->slots, hash_name(view.spec->adapters[i].name),
                               "adapter_failed");
}

void desk_replicas_respec(struct deployments *desk)
{
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next) {
        struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        if (replica->slot.generation != 0)
            see_to_adapters(replica);
    }
}

/* -------------------------------------------------------------------------- what is wished */

struct desk_replica *replica_take(struct deployments *desk, struct fleet_replica *of)
{
    struct desk_replica *replica = memory_new(sizeof(*replica));
    replica->desk = desk;
    replica->fleet = of;
    replica->record = desk_record_of(desk, of->spec->name);
    list_push_back(&desk->replicas, &replica->link);
    of->launch = replica;
    return replica;
}

static void wish_launch(void *with, struct fleet_replica *of)
{
    struct deployments *desk = with;
    struct desk_replica *replica = replica_take(desk, of);
    assert(of->node < desk->in_force_count);
    replica->launch = seat_start(desk->in_force[of->node], replica);
}

void desk_close_slot(struct slots *slots, struct slot *slot, struct slot past[PAST_SLOTS])
{
    if (slot->generation == 0)
        return;
    slots_close(slots, slot);
    for (size_t i = PAST_SLOTS - 1; i > 0; i--)
        past[i] = past[i - 1];
    past[0] = *slot;
    *slot = (struct slot){.generation = 0};
}

static void close_slot(struct desk_replica *replica)
{
    if (replica->slot.generation != 0)
        replica->closed_in = replica->desk->told + 1;
    desk_close_slot(replica->record->slots, &replica->slot, replica->past);
}

static void wish_open(void *with, struct fleet_replica *of)
{
    struct desk_replica *replica = of->launch;
    unsigned parallel = of->spec->scaling.parallel;
    (void)with;
    replica->slot = slots_open(replica->record->slots, of->number, of->revision, &replica->address,
                               parallel > 0 ? parallel : 1);
    if (replica->slot.generation == 0)
        note(replica, "trouble", "there are too many replicas for one more to take calls");
    see_to_adapters(replica);
}

static void wish_close(void *with, struct fleet_replica *of)
{
    (void)with;
    if (of->launch)
        close_slot(of->launch);
}

static void wish_stop(void *with, struct fleet_replica *of, int64_t grace_us)
{
    struct desk_replica *replica = of->launch;
    (void)with;
    if (replica && replica->launch)
        seat_stop(replica->launch, grace_us);
}

static void wish_sleep(void *with, struct fleet_replica *of)
{
    struct desk_replica *replica = of->launch;
    (void)with;
    if (replica && replica->probe)
        probe_send_to_sleep(replica->probe);
}

static void wish_wake(void *with, struct fleet_replica *of)
{
    struct desk_replica *replica = of->launch;
    (void)with;
    if (!replica || !replica->probe)
        return;
    replica->paced_for = of->state;
    probe_pace(replica->probe, pace_of(of));
    probe_wake(replica->probe);
}

static void free_buried(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct desk_replica, grave));
}

static void replica_drop(struct desk_replica *replica)
{
    replica->fleet->launch = NULL;
    close_slot(replica);
    drop_probe(replica);
    list_remove(&replica->link);
    loop_bury(replica->desk->site.loop, &replica->grave, free_buried);
}

static void wish_forget(void *with, struct fleet_replica *of)
{
    struct desk_replica *replica = of->launch;
    (void)with;
    if (!replica)
        return;
    replica_drop(replica);
    if (replica->launch && replica->desk->abandons)
        seat_abandon(replica->launch);
    else if (replica->launch)
        seat_forget(replica->launch);
}

static void wish_share(void *with, struct text deployment, unsigned stable, unsigned canary,
                       unsigned permille)
{
    slots_share(desk_record_of(with, deployment)->slots, stable, canary, permille);
}

static void wish_fail_waiting(void *with, struct text deployment, const char *why)
{
    slots_fail_waiting(desk_record_of(with, deployment)->slots, why);
}

static void wish_event(void *with, struct text deployment, uint64_t number, const char *reason,
                       const char *words)
{
    char word[FLEET_NUMBER_BYTES] = "";
    if (number != 0)
        fleet_number_name(number, word);
    desk_note(desk_record_of(with, deployment), word, reason, words);
}

const struct fleet_hands desk_hands = {
    .launch = wish_launch,
    .open = wish_open,
    .close = wish_close,
    .stop = wish_stop,
    .sleep = wish_sleep,
    .wake = wish_wake,
    .forget = wish_forget,
    .share = wish_share,
    .fail_waiting = wish_fail_waiting,
    .event = wish_event,
};

/* -------------------------------------------------------------------------------- the round */

/* Its node could not even be asked. */
static void refuse(struct desk_replica *replica)
{
    struct launch_report report = {.stage = LAUNCH_ENDED,
                                   .progress_permille = -1,
                                   .exit_code = -1,
                                   .reason = "node_unusable",
                                   .words = "its node cannot be used"};
    fleet_report(replica->desk->fleet, replica->fleet, &report, desk_now(replica->desk));
}

unsigned desk_calls_on(struct slots *slots, const struct slot *slot,
                       const struct slot past[PAST_SLOTS])
{
    unsigned count = 0;
    if (slot->generation != 0)
        count += slots_in_flight(slots, slot);
    for (size_t i = 0; i < PAST_SLOTS; i++)
        if (past[i].generation != 0)
            count += slots_in_flight(slots, &past[i]);
    return count;
}

static unsigned calls_on(const struct desk_replica *replica)
{
    bool takes_calls = replica->slot.generation != 0;
    return desk_calls_on(replica->record->slots, &replica->slot, replica->past) +
           share_calls(replica->desk, replica->fleet->number, takes_calls ? 0 : replica->closed_in);
}

static void settle(struct desk_replica *replica)
{
    struct fleet_replica *of = replica->fleet;
    if (replica->probe && replica->paced_for != of->state) {
        replica->paced_for = of->state;
        probe_pace(replica->probe, pace_of(of));
    }
    replica->in_flight = calls_on(replica);
    if (replica->slot.generation != 0 || of->state == REPLICA_DRAINING)
        fleet_in_flight(replica->desk->fleet, of, replica->in_flight,
                        desk_now(replica->desk)); /* <replica> may be gone after this */
}

void desk_replicas_settle(struct deployments *desk)
{
    for (struct link *at = desk->replicas.next, *next; at != &desk->replicas; at = next) {
        struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        next = at->next;
        if (replica->launch)
            settle(replica);
        else
            refuse(replica);
    }
}

void desk_replicas_kill(struct deployments *desk)
{
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next) {
        struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        if (replica->launch)
            seat_stop(replica->launch, 0);
    }
}

void desk_replicas_free(struct deployments *desk)
{
    while (!list_is_empty(&desk->replicas)) {
        struct desk_replica *replica = LIST_MEMBER(desk->replicas.next, struct desk_replica, link);
        replica_drop(replica);
        if (replica->launch)
            seat_abandon(replica->launch);
    }
}
