/* SPDX-License-Identifier: Apache-2.0 */
/* What other nodes of a cluster have told. */
#include <stdio.h>

#include "deploy/models/desk_share_inside.h"
#include "gateway/base/memory.h"

struct hearing {
    struct deployments *desk;
    struct desk_peer *peer;
    struct desk_guest *guest; /* that the last line was of */
    int64_t age_us;
    bool is_leader;
};

static unsigned bounded(int64_t number)
{
    enum { MANY = 1000000 };
    return number < 0 ? 0 : number > MANY ? MANY : (unsigned)number;
}

static void hear_demand(struct hearing *hearing, const struct share_line *line)
{
    struct deployments *desk = hearing->desk;
    struct peer_share share = {.record = desk_record_find(desk, line->name),
                               .demand = {.held = bounded(line->numbers[DEMAND_HELD]),
                                          .in_flight = bounded(line->numbers[DEMAND_IN_FLIGHT]),
                                          .jobs = bounded(line->numbers[DEMAND_JOBS])},
                               .knocks = (uint64_t)line->numbers[DEMAND_KNOCKS]};
    uint64_t now = desk_now(desk);
    uint64_t age =
        (uint64_t)bounded(line->numbers[DEMAND_OLDEST_MS]) * 1000 + (uint64_t)hearing->age_us;
    if (!share.record || hearing->peer->share_count >= SPEC_DEPLOYMENTS_MAX)
        return;
    share.demand.oldest_held_us = now > age ? now - age : 1;
    peer_add_share(hearing->peer, &share);
}

static void hear_calls(struct hearing *hearing, const struct share_line *line)
{
    struct desk_peer *peer = hearing->peer;
    if (peer->call_count >= DESK_GUESTS_MAX)
        return;
    peer->calls = memory_resize(peer->calls, (peer->call_count + 1) * sizeof(*peer->calls));
    peer->calls[peer->call_count++] =
        (struct peer_calls){(uint64_t)line->numbers[0], bounded(line->numbers[1])};
}

static struct peer_figures *figures_of(struct desk_peer *peer, struct desk_record *record,
                                       unsigned revision)
{
    for (size_t i = 0; i < peer->figure_count; i++)
        if (peer->figures[i].record == record && peer->figures[i].revision == revision)
            return &peer->figures[i];
    if (peer->figure_count >= SPEC_DEPLOYMENTS_MAX)
        return NULL;
    peer->figures = memory_resize(peer->figures, (peer->figure_count + 1) * sizeof(*peer->figures));
    struct peer_figures *figures = &peer->figures[peer->figure_count++];
    *figures = (struct peer_figures){record, revision, {0}};
    return figures;
}

/* What has come since; false when it is no later one. */
static bool since(const struct trial *now, const struct trial *before, struct trial *its)
{
    if (now->calls <= before->calls || now->failures < before->failures ||
        now->timed < before->timed || now->logs < before->logs || now->squares < before->squares)
        return false;
    *its = (struct trial){now->calls - before->calls, now->failures - before->failures,
                          now->timed - before->timed, now->logs - before->logs,
                          now->squares - before->squares};
    return its->calls <= UINT32_MAX && its->failures <= its->calls && its->timed <= its->calls;
}

static void hear_figures(struct hearing *hearing, const struct share_line *line)
{
    struct deployments *desk = hearing->desk;
    struct desk_record *record = desk_record_find(desk, line->name);
    unsigned revision = bounded(line->numbers[FIGURES_REVISION]);
    struct peer_figures *before = record ? figures_of(hearing->peer, record, revision) : NULL;
    struct trial now = {.calls = (uint64_t)line->numbers[FIGURES_CALLS],
                        .failures = (uint64_t)line->numbers[FIGURES_FAILURES],
                        .timed = (uint64_t)line->numbers[FIGURES_TIMED],
                        .logs = (uint64_t)line->numbers[FIGURES_LOGS],
                        .squares = (uint64_t)line->numbers[FIGURES_SQUARES]};
    struct trial its;
    if (!before)
        return;
    if (desk->role == ROLE_LEADS && since(&now, &before->sum, &its))
        fleet_record(desk->fleet, line->name, revision, &its, desk_now(desk));
    before->sum = now;
}

static void hear_adapter(struct hearing *hearing, const struct share_line *line)
{
    struct desk_guest *guest = hearing->guest;
    if (guest && guest->adapter_count < SPEC_ADAPTERS_MAX &&
        line->name.len < sizeof guest->adapters[0])
        snprintf(guest->adapters[guest->adapter_count++], sizeof guest->adapters[0], "%.*s",
                 TEXT_ARGS(line->name));
}

static void hear_lead(struct hearing *hearing, const struct share_line *line)
{
    struct desk_record *record = desk_record_find(hearing->desk, line->name);
    int64_t state = line->numbers[LEAD_STATE];
    if (!record || !hearing->is_leader || state < 0 || state >= DEPLOYMENT_STATES)
        return;
    bool is_new =
        !record->has_lead || record->lead.numbers[LEAD_STABLE] != line->numbers[LEAD_STABLE];
    record->lead = *line;
    record->lead.name = record->lead.rest = (struct text){"", 0};
    snprintf(record->lead_reason, sizeof record->lead_reason, "%.*s",
             TEXT_ARGS(text_head(line->rest, sizeof record->lead_reason - 1)));
    record->has_lead = true;
    slots_share(record->slots, bounded(line->numbers[LEAD_SHARE_STABLE]),
                bounded(line->numbers[LEAD_SHARE_CANARY]), bounded(line->numbers[LEAD_PERMILLE]));
    for (struct link *at = hearing->desk->guests.next; is_new && at != &hearing->desk->guests;
         at = at->next)
        if (LIST_MEMBER(at, struct desk_guest, link)->record == record)
            guest_settle(LIST_MEMBER(at, struct desk_guest, link));
}

static void hear_line(struct hearing *hearing, const struct share_line *line)
{
    struct deployments *desk = hearing->desk;
    switch (line->kind) {
    case SHARE_ACK:
        if (text_equal(line->name, text_of(desk->owner)))
            hearing->peer->acked = (uint64_t)line->numbers[0];
        return;
    case SHARE_DEMAND:
        hear_demand(hearing, line);
        return;
    case SHARE_FIGURES:
        hear_figures(hearing, line);
        return;
    case SHARE_REPLICA:
        hearing->guest = guest_hear(desk, hearing->peer, line);
        return;
    case SHARE_ADAPTER:
        hear_adapter(hearing, line);
        return;
    case SHARE_CALLS:
        hear_calls(hearing, line);
        return;
    case SHARE_LEAD:
        hear_lead(hearing, line);
        return;
    case SHARE_END:
        if (hearing->is_leader && desk->role == ROLE_FOLLOWS)
            fleet_retire(desk->fleet, (uint64_t)line->numbers[0], "scale_down", desk_now(desk));
        return;
    case SHARE_LEAVE:
        hearing->peer->is_leaving = true;
        return;
    case SHARE_HEAD:
        return;
    }
}

/* What it did not name any more is gone. */
static void settle_guests(struct deployments *desk, const struct desk_peer *peer)
{
    for (struct link *at = desk->guests.next, *next; at != &desk->guests; at = next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        next = at->next;
        if (strcmp(guest->node, peer->node) != 0)
            continue;
        bool is_there = guest->is_told;
        guest->is_told = false;
        if (is_there)
            guest_settle(guest);
        else
            guest_drop(guest);
    }
}

/* Calls were turned away elsewhere that would have waited: who idles wakes for the next ones. */
static void hear_knocks(struct deployments *desk, const struct peer_share *before, size_t count,
                        const struct desk_peer *peer)
{
    for (size_t i = 0; i < peer->share_count; i++) {
        const struct peer_share *now = &peer->shares[i];
        struct fleet_view view;
        uint64_t knocks = 0;
        const char *why;
        for (size_t k = 0; k < count; k++)
            if (before[k].record == now->record)
                knocks = before[k].knocks;
        if (now->knocks == 0 || now->knocks == knocks || desk->role != ROLE_LEADS)
            continue;
        struct text name = text_of(now->record->name);
        if (fleet_look(desk->fleet, name, &view, desk_now(desk)) && view.state == DEPLOYMENT_IDLE)
            fleet_obey(desk->fleet, name, FLEET_START, 0, 0, desk_now(desk), &why);
    }
}

static bool read_head(struct hearing *hearing, const struct share_line *head)
{
    struct desk_peer *peer = hearing->peer;
    const struct deployments *desk = hearing->desk;
    snprintf(peer->machine, sizeof peer->machine, "%.*s",
             TEXT_ARGS(text_head(head->name, DESK_NODE_MAX)));
    peer->number = (uint64_t)head->numbers[HEAD_NUMBER];
    peer->token = head->numbers[HEAD_TOKEN];
    uint64_t now = desk_now(desk), age = (uint64_t)hearing->age_us;
    peer->heard_us = now > age ? now - age : 1;
    hearing->is_leader = desk->role == ROLE_FOLLOWS && desk->token != 0 &&
                         head->numbers[HEAD_TOKEN] == desk->token &&
                         strcmp(peer->node, desk->leader) == 0;
    return true;
}

bool deployments_hear(struct deployments *deployments, struct text node, struct text record,
                      int64_t age_us)
{
    struct deployments *desk = deployments;
    struct share_line line;
    struct hearing hearing = {.desk = desk, .age_us = age_us > 0 ? age_us : 0};
    if (!share_line_next(&record, &line) || line.kind != SHARE_HEAD ||
        line.numbers[HEAD_VERSION] != SHARE_VERSION || text_equal(node, text_of(desk->owner)))
        return false;
    desk_lock(desk);
    hearing.peer = peer_of(desk, node);
    bool is_good = hearing.peer && read_head(&hearing, &line);
    if (is_good) {
        struct desk_peer *peer = hearing.peer;
        size_t count = peer->share_count;
        struct peer_share *before = memory_new((count + 1) * sizeof(*before));
        if (count > 0)
            memcpy(before, peer->shares, count * sizeof(*before));
        peer_forget(peer);
        peer->is_leaving = false;
        while (share_line_next(&record, &line))
            hear_line(&hearing, &line);
        settle_guests(desk, peer);
        hear_knocks(desk, before, count, peer);
        memory_free(before);
        desk_round(desk);
    }
    desk_unlock(desk);
    return is_good;
}
