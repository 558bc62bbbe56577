/* SPDX-License-Identifier: Apache-2.0 */
/* One of a cluster: what is told to the others and heard of them, and who leads. */
#include <stdio.h>
#include <unistd.h>

#include "deploy/models/desk_inside.h"
#include "deploy/models/desk_share_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { GONE_US = 4000000, BOOT_ID_BYTES = 13 };

/* ------------------------------------------------------------------------- this machine */

/* Who shares our loopback addresses: the same boot, and the same network namespace. */
static void name_machine(char name[DESK_NODE_MAX + 1])
{
    char boot[BOOT_ID_BYTES] = "", net[48] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file) {
        if (!fgets(boot, sizeof boot, file))
            boot[0] = 0;
        fclose(file);
    }
    ssize_t len = readlink("/proc/self/ns/net", net, sizeof net - 1);
    net[len > 0 ? len : 0] = 0;
    snprintf(name, DESK_NODE_MAX + 1, "%s/%s", boot, net);
    for (char *at = name; *at; at++)
        if (*at == ' ' || *at == '\n')
            *at = '-';
}

void share_begin(struct deployments *desk)
{
    list_init(&desk->peers);
    list_init(&desk->guests);
    desk->role = ROLE_PAUSED;
    desk->why = "starting";
    /* A process that comes after this one goes on counting where nobody has heard from us yet. */
    desk->told = (uint64_t)clock_wall_us();
    name_machine(desk->machine);
    if (desk->site.is_shared)
        fleet_lead(desk->fleet, false, desk_now(desk));
}

/* --------------------------------------------------------------------------------- peers */

static void add_demand(const struct peer_share *share, bool is_added)
{
    struct fleet_demand *sum = &share->record->others;
    const struct fleet_demand *its = &share->demand;
    if (!is_added) {
        sum->held -= its->held;
        sum->in_flight -= its->in_flight;
        sum->jobs -= its->jobs;
    } else {
        sum->held += its->held;
        sum->in_flight += its->in_flight;
        sum->jobs += its->jobs;
    }
    if (sum->held == 0)
        sum->oldest_held_us = 0;
    else if (is_added && its->held > 0 &&
             (sum->oldest_held_us == 0 || its->oldest_held_us < sum->oldest_held_us))
        sum->oldest_held_us = its->oldest_held_us;
}

void peer_forget(struct desk_peer *peer)
{
    for (size_t i = 0; i < peer->share_count; i++)
        add_demand(&peer->shares[i], false);
    memory_free(peer->shares);
    memory_free(peer->calls);
    peer->shares = NULL;
    peer->calls = NULL;
    peer->share_count = peer->call_count = 0;
}

static void peer_free(struct desk_peer *peer)
{
    peer_forget(peer);
    memory_free(peer->figures);
    list_remove(&peer->link);
    memory_free(peer);
}

struct desk_peer *peer_of(struct deployments *desk, struct text node)
{
    size_t count = 0;
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next, count++) {
        struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        if (text_equal(text_of(peer->node), node))
            return peer;
    }
    if (count >= DESK_PEERS_MAX || node.len == 0 || node.len > DESK_NODE_MAX)
        return NULL;
    struct desk_peer *peer = memory_new(sizeof(*peer));
    snprintf(peer->node, sizeof peer->node, "%.*s", TEXT_ARGS(node));
    list_push_back(&desk->peers, &peer->link);
    return peer;
}

void peer_add_share(struct desk_peer *peer, const struct peer_share *share)
{
    peer->shares = memory_resize(peer->shares, (peer->share_count + 1) * sizeof(*peer->shares));
    peer->shares[peer->share_count++] = *share;
    add_demand(share, true);
}

static void orphan(struct deployments *desk, const struct desk_peer *peer)
{
    for (struct link *at = desk->guests.next, *next; at != &desk->guests; at = next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        next = at->next;
        if (guest->is_orphan || strcmp(guest->node, peer->node) != 0)
            continue;
        guest->is_orphan = true;
        guest->since_us = desk_now(desk);
        if (guest->address.host[0] == 0 || guest->is_out_of_reach)
            guest_drop(guest); /* nobody can say any more whether it is there */
        else
            guest_settle(guest);
    }
}

void deployments_heard(struct deployments *deployments, bool heard)
{
    struct deployments *desk = deployments;
    uint64_t now = desk_now(desk);
    desk_lock(desk);
    desk->heard_since = desk->heard_since || (heard && desk->told_end);
    for (struct link *at = desk->peers.next, *next; at != &desk->peers; at = next) {
        struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        next = at->next;
        if (!heard || now < peer->heard_us + GONE_US)
            continue;
        log_line(LOG_INFO, "deploy", "node %s is silent", peer->node);
        orphan(desk, peer);
        peer_free(peer);
    }
    desk_see_heirs(desk);
    desk_round(desk);
    desk_unlock(desk);
}

void share_end(struct deployments *desk)
{
    while (!list_is_empty(&desk->guests))
        guest_drop(LIST_MEMBER(desk->guests.next, struct desk_guest, link));
    while (!list_is_empty(&desk->peers))
        peer_free(LIST_MEMBER(desk->peers.next, struct desk_peer, link));
    memory_free(desk->cluster);
}

bool share_has_heirs(const struct deployments *desk)
{
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next)
        if (!LIST_MEMBER(at, struct desk_peer, link)->is_leaving)
            return true;
    return false;
}

bool share_has_late_heirs(const struct deployments *desk)
{
    if (!desk->heard_since) /* the store is away: nobody is gone for that */
        return share_has_heirs(desk);
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next) {
        const struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        if (!peer->is_leaving && peer->acked >= desk->told_end)
            return true;
    }
    return false;
}

bool share_has_heir_in_office(const struct deployments *desk)
{
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next)
        if (LIST_MEMBER(at, struct desk_peer, link)->token > desk->office_token)
            return true;
    return false;
}

/* ------------------------------------------------------------------- what they change here */

void share_add_demand(const struct desk_record *record, struct fleet_demand *demand)
{
    const struct fleet_demand *others = &record->others;
    demand->held += others->held;
    demand->in_flight += others->in_flight;
    demand->jobs += others->jobs;
    if (others->held > 0 &&
        (demand->oldest_held_us == 0 || others->oldest_held_us < demand->oldest_held_us))
        demand->oldest_held_us = others->oldest_held_us;
}

unsigned share_calls(const struct deployments *desk, uint64_t number, uint64_t closed_in)
{
    unsigned count = 0;
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next) {
        const struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        for (size_t i = 0; i < peer->call_count; i++)
            if (peer->calls[i].number == number)
                count += peer->calls[i].in_flight;
        count += peer->acked < closed_in; /* it may be sending one this moment */
    }
    return count;
}

static bool is_over(enum deployment_state state)
{
    return state == DEPLOYMENT_FAILED || state == DEPLOYMENT_STOPPED ||
           state == DEPLOYMENT_STOPPING;
}

void share_see_waiting(struct desk_record *record, unsigned held)
{
    struct deployments *desk = record->desk;
    bool is_over_there = record->has_lead && desk->role == ROLE_FOLLOWS &&
                         is_over((enum deployment_state)record->lead.numbers[LEAD_STATE]);
    if (held == 0) {
        record->held_since = 0;
        return;
    }
    if (!is_over_there || record->held_since == 0)
        return;
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next) {
        const struct desk_peer *peer = LIST_MEMBER(at, struct desk_peer, link);
        /* It knows that somebody waits, and says so all the same. */
        if (strcmp(peer->node, desk->leader) == 0 && peer->acked >= record->held_since)
            slots_fail_waiting(record->slots, record->lead_reason);
    }
}

void share_view(const struct desk_record *record, struct fleet_view *view)
{
    const int64_t *said = record->lead.numbers;
    if (!record->has_lead || record->desk->role == ROLE_LEADS)
        return;
    view->state = (enum deployment_state)said[LEAD_STATE];
    view->revision = (unsigned)said[LEAD_REVISION];
    view->stable = (unsigned)said[LEAD_STABLE];
    view->wanted = (unsigned)said[LEAD_WANTED];
    view->ready = (unsigned)said[LEAD_READY];
    view->min = (unsigned)said[LEAD_MIN];
    view->max = (unsigned)said[LEAD_MAX];
    view->restarts = (unsigned)said[LEAD_RESTARTS];
    view->progress_permille = (int)said[LEAD_PROGRESS];
    view->eta_us = said[LEAD_ETA_US];
    view->canary_permille = said[LEAD_SHARE_CANARY] ? (unsigned)said[LEAD_PERMILLE] : 0;
    snprintf(view->reason, sizeof view->reason, "%s", record->lead_reason);
    view->words[0] = 0;
    view->rejected_for[0] = 0; /* that is the leader's to say */
}

void share_found(struct deployments *desk, const struct launch_name *name)
{
    char word[STORY_REPLICA_MAX];
    for (struct link *at = desk->guests.next, *next; at != &desk->guests; at = next) {
        struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        next = at->next;
        guest_word(guest, word);
        if (strcmp(word, name->replica) == 0 && strcmp(guest->record->name, name->deployment) == 0)
            guest_drop(guest);
    }
    guests_tell(desk);
}

/* -------------------------------------------------------------------------------- the role */

static void forget_lead(struct deployments *desk)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&desk->records, &at, &name, &value)) {
        struct desk_record *record = value;
        struct fleet_view view;
        record->has_lead = false;
        if (fleet_look(desk->fleet, name, &view, desk_now(desk)))
            slots_share(record->slots, view.share.stable, view.share.canary, view.share.permille);
    }
}

static void settle_guests(struct deployments *desk)
{
    for (struct link *at = desk->guests.next, *next; at != &desk->guests; at = next) {
        next = at->next;
        guest_settle(LIST_MEMBER(at, struct desk_guest, link));
    }
}

void deployments_lead(struct deployments *deployments, int64_t token, struct text cluster)
{
    struct deployments *desk = deployments;
    desk_lock(desk);
    bool begins = desk->role != ROLE_LEADS;
    desk->token = desk->office_token = token;
    desk->role = ROLE_LEADS;
    snprintf(desk->leader, sizeof desk->leader, "%s", desk->owner);
    if (!desk->cluster)
        desk->cluster = memory_string(cluster);
    if (begins) {
        log_line(LOG_INFO, "deploy", "this node starts and stops model servers from now on");
        fleet_lead(desk->fleet, true, desk_now(desk));
        forget_lead(desk);
        settle_guests(desk);
        seats_open(desk);
    }
    desk_round(desk);
    desk_unlock(desk);
}

void deployments_yield(struct deployments *deployments, struct text node, int64_t token)
{
    struct deployments *desk = deployments;
    bool is_same = desk->role == ROLE_FOLLOWS && desk->token == token &&
                   text_equal(text_of(desk->leader), node);
    if (is_same)
        return;
    desk_lock(desk);
    desk->token = token;
    desk->role = ROLE_FOLLOWS;
    snprintf(desk->leader, sizeof desk->leader, "%.*s", TEXT_ARGS(text_head(node, DESK_NODE_MAX)));
    log_line(LOG_INFO, "deploy", "node %s starts and stops model servers", desk->leader);
    fleet_yield(desk->fleet, desk_now(desk));
    if (!desk->awaits_heir) /* it may have been elected, and end before it is in office */
        seats_yield(desk);
    desk_round(desk);
    desk_unlock(desk);
}

void deployments_pause(struct deployments *deployments, const char *why)
{
    struct deployments *desk = deployments;
    if (desk->role == ROLE_PAUSED && strcmp(desk->why, why) == 0)
        return;
    desk_lock(desk);
    if (desk->role != ROLE_PAUSED)
        log_line(LOG_WARN, "deploy", "nobody starts or stops model servers now: %s", why);
    desk->role = ROLE_PAUSED;
    desk->why = why;
    fleet_lead(desk->fleet, false, desk_now(desk));
    desk_round(desk);
    desk_unlock(desk);
}

void deployments_knock(struct deployments *deployments, struct text name)
{
    desk_lock(deployments);
    struct desk_record *record = desk_record_find(deployments, name);
    if (record) {
        record->knocks++;
        record->knocked_us = desk_now(deployments);
    }
    desk_unlock(deployments);
}

void deployments_office(struct deployments *deployments, struct deployments_office *office)
{
    struct deployments *desk = deployments;
    *office = (struct deployments_office){.is_shared = desk->site.is_shared};
    desk_lock(desk);
    office->role = desk->role;
    office->why = desk->why;
    if (desk->role != ROLE_PAUSED)
        snprintf(office->leader, sizeof office->leader, "%s", desk->leader);
    for (struct link *at = desk->peers.next; at != &desk->peers; at = at->next)
        office->nodes++;
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next)
        office->guests += LIST_MEMBER(at, struct desk_guest, link)->slot.generation != 0;
    desk_unlock(desk);
}
