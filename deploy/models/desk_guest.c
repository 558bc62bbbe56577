/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that other nodes have started: probed from here, and given a slot while they are well.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "deploy/models/desk_inside.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum {
    INTERVAL_US = 250000,
    LIVENESS_US = 5000000,
    PACE_MIN_US = 20000,
    ORPHAN_US = 10000000, /* so long one that its node was starting when it fell silent may take */
};

struct desk_guest *guest_find(const struct deployments *desk, uint64_t number)
{
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        if ((uint64_t)guest->said.numbers[SERVER_NUMBER] == number)
            return guest;
    }
    return NULL;
}

void guest_word(const struct desk_guest *guest, char into[STORY_REPLICA_MAX])
{
    char number[FLEET_NUMBER_BYTES];
    fleet_number_name((uint64_t)guest->said.numbers[SERVER_NUMBER], number);
    snprintf(into, STORY_REPLICA_MAX, "%s", number);
}

static void note(struct desk_guest *guest, const char *reason, const char *words)
{
    char word[STORY_REPLICA_MAX];
    guest_word(guest, word);
    desk_note(guest->record, word, reason, words);
}

static enum replica_state state_of(const struct desk_guest *guest)
{
    return (enum replica_state)guest->said.numbers[SERVER_STATE];
}

static unsigned failures_of(const struct desk_guest *guest)
{
    return guest->spec->probe.failures ? guest->spec->probe.failures : 1;
}

/* ---------------------------------------------------------------------------- its probe */

static int64_t pace_of(const struct desk_guest *guest)
{
    int64_t us = guest->is_good ? guest->spec->probe.liveness_us : guest->spec->probe.interval_us;
    us = us > 0 ? us : guest->is_good ? LIVENESS_US : INTERVAL_US;
    return us > PACE_MIN_US ? us : PACE_MIN_US;
}

/* Its node is silent, and so is it. */
static bool is_gone(const struct desk_guest *guest)
{
    bool starts = state_of(guest) == REPLICA_LOADING || state_of(guest) == REPLICA_LAUNCHING;
    if (!guest->is_orphan || guest->is_good)
        return false;
    if (!guest->probe)
        return true;
    return guest->bad >= failures_of(guest) &&
           (!starts || desk_now(guest->desk) - guest->since_us > ORPHAN_US);
}

static void on_answer(void *with, bool good, const char *words)
{
    struct desk_guest *guest = with;
    struct deployments *desk = guest->desk;
    bool was_good = guest->is_good;
    (void)words;
    desk_lock(desk);
    guest->bad = good ? 0 : guest->bad + 1;
    if (good || guest->bad >= failures_of(guest))
        guest->is_good = good;
    if (good) {
        snprintf(guest->served, sizeof guest->served, "%s", probe_served_name(guest->probe));
        memcpy(guest->record->served, guest->served, sizeof guest->served);
    }
    if (was_good != guest->is_good)
        probe_pace(guest->probe, pace_of(guest));
    if (is_gone(guest))
        guest_drop(guest);
    else
        guest_settle(guest);
    desk_round(desk);
    desk_unlock(desk);
}

static void on_trouble(void *with, const char *words)
{
    (void)with;
    (void)words; /* it is not sent to sleep from here */
}

static void begin_probe(struct desk_guest *guest)
{
    struct deployments *desk = guest->desk;
    struct probe_site site = {.loop = desk->site.loop,
                              .upstreams = desk->site.upstreams,
                              .on_answer = on_answer,
                              .on_trouble = on_trouble,
                              .with = guest};
    guest->probe = probe_new(&site, &guest->address, guest->spec, pace_of(guest));
}

static void end_probe(struct desk_guest *guest)
{
    probe_free(guest->probe);
    guest->probe = NULL;
    guest->is_good = false;
    guest->bad = 0;
}

/* ------------------------------------------------------------------------------- its slot */

/* Each sluice numbers revisions for itself: here they are called as the leader does. */
static unsigned revision_of(const struct desk_guest *guest)
{
    struct deployments *desk = guest->desk;
    const struct desk_record *record = guest->record;
    uint64_t digest = (uint64_t)guest->said.numbers[SERVER_DIGEST];
    unsigned own = (unsigned)guest->said.numbers[SERVER_REVISION];
    struct fleet_view view;
    if (desk->role != ROLE_LEADS && record->has_lead) {
        if (digest == (uint64_t)record->lead.numbers[LEAD_STABLE_DIGEST])
            return (unsigned)record->lead.numbers[LEAD_STABLE];
        if (digest == (uint64_t)record->lead.numbers[LEAD_NEXT_DIGEST])
            return (unsigned)record->lead.numbers[LEAD_REVISION];
        return own;
    }
    if (!fleet_look(desk->fleet, text_of(record->name), &view, desk_now(desk)))
        return own;
    if (digest == view.stable_digest)
        return view.stable;
    return digest == view.next_digest ? view.revision : own;
}

static void tell_adapters(struct desk_guest *guest)
{
    uint64_t ready[SPEC_ADAPTERS_MAX];
    for (size_t i = 0; i < guest->adapter_count; i++)
        ready[i] = hash_name(text_of(guest->adapters[i]));
    slots_adapters(guest->record->slots, &guest->slot, ready, guest->adapter_count);
}

static void open_slot(struct desk_guest *guest)
{
    int64_t parallel = guest->said.numbers[SERVER_PARALLEL];
    guest->opened_as = revision_of(guest);
    guest->slot = slots_open_doubtful(
        guest->record->slots, (uint64_t)guest->said.numbers[SERVER_NUMBER], guest->opened_as,
        &guest->address, parallel > 0 ? (unsigned)parallel : 1);
    if (guest->slot.generation == 0)
        note(guest, "trouble", "there are too many replicas for one more to take calls");
}

void guest_settle(struct desk_guest *guest)
{
    bool is_open = guest->said.numbers[SERVER_OPEN] != 0, was_open = guest->slot.generation != 0;
    bool is_asked =
        !guest->is_out_of_reach && guest->address.host[0] != 0 && (is_open || guest->is_orphan);
    if (is_asked && !guest->probe)
        begin_probe(guest);
    else if (!is_asked && guest->probe)
        end_probe(guest);
    bool is_used = is_asked && guest->is_good;
    if (was_open && (!is_used || guest->opened_as != revision_of(guest)))
        desk_close_slot(guest->record->slots, &guest->slot, guest->past);
    if (is_used && guest->slot.generation == 0)
        open_slot(guest);
    if (guest->slot.generation != 0)
        tell_adapters(guest);
}

/* --------------------------------------------------------------------------- coming, going */

static void free_buried(struct grave *grave)
{
    struct desk_guest *guest = LIST_MEMBER(grave, struct desk_guest, grave);
    spec_unref(guest->spec);
    memory_free(guest);
}

void guest_drop(struct desk_guest *guest)
{
    struct deployments *desk = guest->desk;
    desk_close_slot(guest->record->slots, &guest->slot, guest->past);
    end_probe(guest);
    list_remove(&guest->link);
    desk->guest_count--;
    loop_bury(desk->site.loop, &guest->grave, free_buried);
}

/* An address that means another machine than ours where it is used there. */
static bool is_out_of_reach(const struct desk_guest *guest, const struct desk_peer *peer)
{
    struct text host = text_of(guest->address.host);
    struct stat there;
    bool is_near = guest->address.is_unix || text_starts(host, TEXT("127.")) ||
                   text_equal(host, TEXT("::1")) || text_equal(host, TEXT("localhost"));
    if (!is_near)
        return false;
    if (strcmp(peer->machine, guest->desk->machine) != 0)
        return true;
    return guest->address.is_unix && stat(guest->address.host, &there) != 0;
}

static bool is_ours(const struct deployments *desk, uint64_t number)
{
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next)
        if (LIST_MEMBER(at, struct desk_replica, link)->fleet->number == number)
            return true;
    return false;
}

static struct desk_guest *guest_new(struct deployments *desk, struct desk_record *record,
                                    struct deployment_spec *spec)
{
    struct desk_guest *guest = memory_new(sizeof(*guest));
    guest->desk = desk;
    guest->record = record;
    guest->spec = spec_ref(spec);
    guest->since_us = desk_now(desk);
    list_push_back(&desk->guests, &guest->link);
    desk->guest_count++;
    return guest;
}

static void take_address(struct desk_guest *guest, const struct share_line *line)
{
    struct launch_address now = {.is_unix = line->numbers[SERVER_IS_UNIX] != 0,
                                 .port = (uint16_t)line->numbers[SERVER_PORT]};
    snprintf(now.host, sizeof now.host, "%.*s",
             TEXT_ARGS(text_head(line->rest, sizeof now.host - 1)));
    bool is_same = strcmp(now.host, guest->address.host) == 0 && now.port == guest->address.port &&
                   now.is_unix == guest->address.is_unix;
    if (is_same)
        return;
    desk_close_slot(guest->record->slots, &guest->slot, guest->past);
    end_probe(guest);
    guest->address = now;
}

struct desk_guest *guest_hear(struct deployments *desk, const struct desk_peer *peer,
                              const struct share_line *line)
{
    uint64_t number = (uint64_t)line->numbers[SERVER_NUMBER];
    struct desk_record *record = desk_record_find(desk, line->name);
    struct desk_guest *guest = guest_find(desk, number);
    struct fleet_view view;
    bool is_known = record && number != 0 && line->numbers[SERVER_STATE] >= 0 &&
                    line->numbers[SERVER_STATE] < REPLICA_STATES &&
                    fleet_look(desk->fleet, line->name, &view, desk_now(desk));
    if (!is_known || is_ours(desk, number) || (guest && guest->record != record))
        return NULL;
    if (!guest && desk->guest_count >= DESK_GUESTS_MAX)
        return NULL;
    if (!guest)
        guest = guest_new(desk, record, view.spec);
    snprintf(guest->node, sizeof guest->node, "%s", peer->node);
    take_address(guest, line);
    guest->said = *line;
    guest->said.name = guest->said.rest = (struct text){"", 0};
    guest->adapter_count = 0;
    guest->is_orphan = false;
    guest->is_told = true;
    guest->is_out_of_reach = is_out_of_reach(guest, peer);
    return guest;
}

/* In a state that it does not come out of in time: whoever leads starts another one. */
static bool is_stuck(const struct desk_guest *guest)
{
    const struct deployment_spec *spec = guest->spec;
    int64_t liveness = spec->probe.liveness_us > 0 ? spec->probe.liveness_us : LIVENESS_US;
    int64_t start = spec->probe.start_timeout_us > 0 ? spec->probe.start_timeout_us : ORPHAN_US;
    int64_t since_us = guest->said.numbers[SERVER_SINCE_MS] * 1000;
    enum replica_state state = state_of(guest);
    if (state == REPLICA_LAUNCHING || state == REPLICA_LOADING)
        return since_us > start;
    return state == REPLICA_UNREADY && since_us > liveness * (failures_of(guest) + 2);
}

bool guest_counts(const struct desk_guest *guest, uint64_t stable_digest)
{
    enum replica_state state = state_of(guest);
    bool lives = state == REPLICA_LAUNCHING || state == REPLICA_LOADING || state == REPLICA_READY ||
                 state == REPLICA_UNREADY ||
                 (state == REPLICA_LOST && guest->said.numbers[SERVER_OPEN] != 0);
    return lives && !guest->is_out_of_reach && !is_stuck(guest) &&
           (uint64_t)guest->said.numbers[SERVER_DIGEST] == stable_digest;
}

void guests_respec(struct deployments *desk)
{
    for (struct link *at = desk->guests.next, *next; at != &desk->guests; at = next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        struct fleet_view view;
        next = at->next;
        if (!fleet_look(desk->fleet, text_of(guest->record->name), &view, desk_now(desk))) {
            guest_drop(guest);
            continue;
        }
        struct deployment_spec *before = guest->spec;
        guest->spec = spec_ref(view.spec);
        spec_unref(before);
        guest_settle(guest);
    }
}

static void count_guests(struct deployments *desk)
{
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        struct fleet_view view;
        if (!fleet_look(desk->fleet, text_of(guest->record->name), &view, desk_now(desk)) ||
            !guest_counts(guest, view.stable_digest))
            continue;
        guest->record->guests++;
        guest->record->guests_used += guest->slot.generation != 0;
    }
}

/* A call has found nobody there: it is asked at once whether it is well. */
static void look_into_doubts(struct deployments *desk)
{
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        if (guest->slot.generation == 0 || slots_is_open(guest->record->slots, &guest->slot))
            continue;
        desk_close_slot(guest->record->slots, &guest->slot, guest->past);
        end_probe(guest);
        guest_settle(guest);
    }
}

void guests_tell(struct deployments *desk)
{
    size_t at = 0;
    struct text name;
    void *value;
    if (!desk->site.is_shared)
        return;
    while (table_next(&desk->records, &at, &name, &value)) {
        struct desk_record *record = value;
        record->guests = record->guests_used = 0;
    }
    look_into_doubts(desk);
    count_guests(desk);
    at = 0;
    while (table_next(&desk->records, &at, &name, &value)) {
        const struct desk_record *record = value;
        if (record->is_wanted)
            fleet_elsewhere(desk->fleet, name, record->guests, record->guests_used, desk_now(desk));
    }
}
