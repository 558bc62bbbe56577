/* SPDX-License-Identifier: Apache-2.0 */
/* What a node tells the others of a cluster. */
#include <stdio.h>

#include "deploy/models/desk_share_inside.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum { KNOCK_US = 2000000 }; /* so long one is told */

/* What is written, and a number that differs when something in it is urgent. */
struct telling {
    struct deployments *desk;
    struct buffer *out;
    uint64_t sense, now_us;
};

static void mix(struct telling *telling, uint64_t number)
{
    for (int i = 0; i < 8; i++) { /* FNV-1a */
        telling->sense ^= (number >> (8 * i)) & 0xff;
        telling->sense *= UINT64_C(0x100000001b3);
    }
}

static void tell_head(struct telling *telling)
{
    struct deployments *desk = telling->desk;
    struct share_line line = {.kind = SHARE_HEAD, .name = text_of(desk->machine)};
    line.numbers[HEAD_VERSION] = SHARE_VERSION;
    line.numbers[HEAD_NUMBER] = (int64_t)desk->told;
    line.numbers[HEAD_TOKEN] = desk->role == ROLE_LEADS ? desk->token : 0;
    share_line_write(telling->out, &line);
    mix(telling, (uint64_t)line.numbers[HEAD_TOKEN]);
    if (desk->is_ending) {
        desk->told_end = desk->told_end ? desk->told_end : desk->told;
        struct share_line leave = {.kind = SHARE_LEAVE, .name = text_of(desk->owner)};
        share_line_write(telling->out, &leave);
        mix(telling, SHARE_LEAVE);
    }
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next) {
        const struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        struct share_line ack = {.kind = SHARE_ACK, .name = text_of(peer->node)};
        ack.numbers[0] = (int64_t)peer->number;
        share_line_write(telling->out, &ack);
    }
}

/* ------------------------------------------------------------------------------- what is asked */

static void tell_demand(struct telling *telling, struct desk_record *record)
{
    struct slots_figures figures = slots_figures(record->slots);
    struct deployments *desk = telling->desk;
    struct share_line line = {.kind = SHARE_DEMAND, .name = text_of(record->name)};
    unsigned jobs = 0;
    if (desk->site.jobs_waiting)
        jobs = desk->site.jobs_waiting(desk->site.with, text_of(record->name));
    if (figures.held > 0 && record->held_since == 0)
        record->held_since = desk->told;
    bool is_fresh = record->knocks > 0 && telling->now_us < record->knocked_us + KNOCK_US;
    uint64_t knocks = is_fresh ? record->knocks : 0;
    if (figures.held + figures.in_flight + jobs == 0 && knocks == 0)
        return;
    line.numbers[DEMAND_HELD] = figures.held;
    line.numbers[DEMAND_IN_FLIGHT] = figures.in_flight;
    line.numbers[DEMAND_JOBS] = jobs;
    if (figures.oldest_us > 0 && telling->now_us > figures.oldest_us)
        line.numbers[DEMAND_OLDEST_MS] = (int64_t)((telling->now_us - figures.oldest_us) / 1000);
    line.numbers[DEMAND_KNOCKS] = (int64_t)knocks;
    share_line_write(telling->out, &line);
    mix(telling, hash_name(text_of(record->name)));
    mix(telling, (figures.held > 0) + 2 * knocks);
}

/* How the calls from here went on a revision: whoever leads judges by them too. */
static void tell_figures(struct telling *telling, struct desk_record *record, size_t which,
                         unsigned revision)
{
    struct trial *sum = &record->told[which];
    if (record->told_of[which] != revision) {
        *sum = (struct trial){0};
        record->told_of[which] = revision;
    }
    struct trial its = slots_record(record->slots, revision);
    trial_add(sum, &its);
    if (sum->calls == 0)
        return;
    struct share_line line = {.kind = SHARE_FIGURES, .name = text_of(record->name)};
    line.numbers[FIGURES_REVISION] = revision;
    line.numbers[FIGURES_CALLS] = (int64_t)sum->calls;
    line.numbers[FIGURES_FAILURES] = (int64_t)sum->failures;
    line.numbers[FIGURES_TIMED] = (int64_t)sum->timed;
    line.numbers[FIGURES_LOGS] = (int64_t)sum->logs;
    line.numbers[FIGURES_SQUARES] = (int64_t)sum->squares;
    share_line_write(telling->out, &line);
}

static void tell_record(struct telling *telling, struct desk_record *record)
{
    const int64_t *said = record->lead.numbers;
    tell_demand(telling, record);
    if (telling->desk->role != ROLE_FOLLOWS || !record->has_lead || !said[LEAD_NEXT_DIGEST])
        return;
    tell_figures(telling, record, 0, (unsigned)said[LEAD_STABLE]);
    tell_figures(telling, record, 1, (unsigned)said[LEAD_REVISION]);
}

static void tell_calls(struct telling *telling)
{
    struct deployments *desk = telling->desk;
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        const struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        struct share_line line = {.kind = SHARE_CALLS, .name = text_of(guest->record->name)};
        unsigned calls = desk_calls_on(guest->record->slots, &guest->slot, guest->past);
        if (calls == 0)
            continue;
        line.numbers[0] = guest->said.numbers[SERVER_NUMBER];
        line.numbers[1] = calls;
        share_line_write(telling->out, &line);
    }
}

/* ------------------------------------------------------------------------------- what there is */

static void tell_adapters(struct telling *telling, const struct desk_replica *replica)
{
    struct adapter *seen = memory_new(SPEC_ADAPTERS_MAX * sizeof(*seen));
    size_t count = adapters_look(replica->adapters, seen, SPEC_ADAPTERS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct share_line line = {.kind = SHARE_ADAPTER, .name = text_of(seen[i].name)};
        if (seen[i].state != ADAPTER_READY)
            continue;
        share_line_write(telling->out, &line);
        mix(telling, i + 1);
    }
    memory_free(seen);
}

static void tell_replica(struct telling *telling, const struct desk_replica *replica)
{
    const struct fleet_replica *of = replica->fleet;
    struct share_line line = {.kind = SHARE_REPLICA, .name = text_of(replica->record->name)};
    line.numbers[SERVER_NUMBER] = (int64_t)of->number;
    line.numbers[SERVER_STATE] = of->state;
    line.numbers[SERVER_OPEN] = replica->slot.generation != 0;
    line.numbers[SERVER_REVISION] = of->revision;
    line.numbers[SERVER_PARALLEL] = of->spec->scaling.parallel;
    line.numbers[SERVER_PROGRESS] = of->progress_permille;
    line.numbers[SERVER_SINCE_MS] =
        telling->now_us > of->since_us ? (int64_t)((telling->now_us - of->since_us) / 1000) : 0;
    line.numbers[SERVER_RESTARTS] = of->restarts;
    line.numbers[SERVER_DIGEST] = (int64_t)of->spec->digest;
    line.numbers[SERVER_PORT] = replica->address.port;
    line.numbers[SERVER_IS_UNIX] = replica->address.is_unix;
    line.numbers[SERVER_LAUNCHER] = of->spec->launcher;
    line.numbers[SERVER_MEMORY] = replica->memory_bytes;
    if (replica->has_address)
        line.rest = text_of(replica->address.host);
    share_line_write(telling->out, &line);
    mix(telling, of->number);
    mix(telling, (uint64_t)of->state * 2 + (uint64_t)line.numbers[SERVER_OPEN]);
    if (replica->adapters)
        tell_adapters(telling, replica);
}

/* ------------------------------------------------------------------------------- who leads */

static void tell_lead(struct telling *telling, const struct fleet_view *view)
{
    struct share_line line = {.kind = SHARE_LEAD, .name = view->spec->name};
    line.numbers[LEAD_STATE] = view->state;
    line.numbers[LEAD_REVISION] = view->revision;
    line.numbers[LEAD_STABLE] = view->stable;
    line.numbers[LEAD_STABLE_DIGEST] = (int64_t)view->stable_digest;
    line.numbers[LEAD_NEXT_DIGEST] = (int64_t)view->next_digest;
    line.numbers[LEAD_SHARE_STABLE] = view->share.stable;
    line.numbers[LEAD_SHARE_CANARY] = view->share.canary;
    line.numbers[LEAD_PERMILLE] = view->share.permille;
    line.numbers[LEAD_WANTED] = view->wanted;
    line.numbers[LEAD_READY] = view->ready;
    line.numbers[LEAD_MIN] = view->min;
    line.numbers[LEAD_MAX] = view->max;
    line.numbers[LEAD_PROGRESS] = view->progress_permille;
    line.numbers[LEAD_ETA_US] = view->eta_us;
    line.numbers[LEAD_RESTARTS] = view->restarts;
    line.rest = text_of(view->reason);
    share_line_write(telling->out, &line);
    mix(telling, (uint64_t)view->state);
    mix(telling, view->share.stable + ((uint64_t)view->share.canary << 20) +
                     ((uint64_t)view->share.permille << 40));
}

/* Is a guest one too many? <*kept>: those that stay, so far. */
static bool is_to_end(const struct desk_guest *guest, const struct fleet_view *view, unsigned *kept)
{
    bool is_present = guest_counts(guest, view->stable_digest);
    if (guest->is_orphan)
        return false; /* nobody would hear it */
    if (view->stopped || (is_present && *kept >= view->wanted))
        return true;
    *kept += is_present;
    return !is_present && (view->ready > 0 || view->wanted == 0);
}

/* Of what others have started, what is not needed any more. */
static void tell_ends(struct telling *telling, const struct desk_record *record,
                      const struct fleet_view *view)
{
    struct deployments *desk = telling->desk;
    unsigned kept = 0;
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        const struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        if (guest->record != record || !is_to_end(guest, view, &kept))
            continue;
        struct share_line line = {.kind = SHARE_END, .name = text_of(record->name)};
        line.numbers[0] = guest->said.numbers[SERVER_NUMBER];
        share_line_write(telling->out, &line);
        mix(telling, (uint64_t)line.numbers[0]);
    }
}

static void tell_leading(struct telling *telling)
{
    struct deployments *desk = telling->desk;
    struct fleet_view view;
    for (size_t i = 0; fleet_look_at(desk->fleet, i, &view, telling->now_us); i++) {
        const struct desk_record *record = desk_record_find(desk, view.spec->name);
        tell_lead(telling, &view);
        if (record && desk->guest_count > 0)
            tell_ends(telling, record, &view);
    }
}

void deployments_tell(struct deployments *deployments, struct buffer *record, uint64_t *sense)
{
    struct deployments *desk = deployments;
    struct telling telling = {desk, record, UINT64_C(0xcbf29ce484222325), desk_now(desk)};
    size_t at = 0;
    struct text name;
    void *value;
    desk_lock(desk);
    desk->told++;
    tell_head(&telling);
    while (table_next(&desk->records, &at, &name, &value))
        tell_record(&telling, value);
    tell_calls(&telling);
    for (struct link *one = desk->replicas.next; one != &desk->replicas; one = one->next) {
        const struct desk_replica *replica = LIST_MEMBER(one, struct desk_replica, link);
        /* Who takes over finds it: counted twice, one of them would be ended. */
        if (!desk->awaits_heir || replica->fleet->spec->launcher == LAUNCH_BY_PROCESS)
            tell_replica(&telling, replica);
    }
    if (desk->role == ROLE_LEADS)
        tell_leading(&telling);
    *sense = telling.sense;
    desk_unlock(desk);
}
