/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "deploy/models/desk_inside.h"
#include "deploy/models/launch_process.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { UNWANTED_GRACE_US = 10000000 };

/* --------------------------------------------------------------------------------- launches */

static struct desk_launch *launch_new(struct desk_seat *seat, struct desk_replica *replica)
{
    struct desk_launch *launch = memory_new(sizeof(*launch));
    launch->seat = seat;
    launch->replica = replica;
    launch->record = replica->record;
    launch->spec = spec_ref(replica->fleet->spec);
    desk_replica_word(replica->fleet, launch->word);
    seat->launches++;
    list_push_back(&seat->all, &launch->link);
    return launch;
}

static void launch_free(struct desk_launch *launch)
{
    launch->seat->launches--;
    list_remove(&launch->link);
    spec_unref(launch->spec);
    memory_free(launch);
}

struct desk_launch *seat_start(struct desk_seat *seat, struct desk_replica *replica)
{
    const struct fleet_replica *fleet = replica->fleet;
    struct launch_name name = {.revision = fleet->revision, .digest = fleet->spec->digest};
    if (!seat->launcher)
        return NULL;
    struct desk_launch *launch = launch_new(seat, replica);
    snprintf(name.deployment, sizeof name.deployment, "%s", replica->record->name);
    snprintf(name.replica, sizeof name.replica, "%s", launch->word);
    launch->launch = seat->kind->start(seat->launcher, &name, fleet->spec, launch);
    return launch;
}

void seat_stop(struct desk_launch *launch, int64_t grace_us)
{
    if (!launch->has_ended)
        launch->seat->kind->stop(launch->launch, grace_us);
}

void seat_forget(struct desk_launch *launch)
{
    launch->replica = NULL;
    if (!launch->has_ended) {
        launch->seat->kind->stop(launch->launch, 0);
        return;
    }
    launch->seat->kind->forget(launch->launch);
    launch_free(launch);
}

void seat_abandon(struct desk_launch *launch)
{
    if (launch->has_ended)
        launch->seat->kind->forget(launch->launch);
    launch_free(launch);
}

/* ------------------------------------------------------------------------------ what is heard */

static struct desk_launch *launch_of(const struct desk_seat *seat, const struct launch *launch)
{
    return seat->kind->owner(launch);
}

static void on_report(void *with, struct launch *at, const struct launch_report *report)
{
    struct desk_seat *seat = with;
    struct deployments *desk = seat->desk;
    struct desk_launch *launch = launch_of(seat, at);
    desk_lock(desk);
    if (launch && report->stage == LAUNCH_ENDED)
        launch->has_ended = true;
    if (launch && launch->replica)
        desk_replica_report(launch->replica, report);
    else if (report->stage == LAUNCH_ENDED && launch)
        seat_forget(launch);
    else if (report->stage == LAUNCH_ENDED) { /* found, and not wanted */
        seat->kind->forget(at);
        seat->unwanted -= seat->unwanted > 0; /* it may have ended before it was told of */
    }
    desk_round(desk);
    desk_unlock(desk);
}

static void on_line(void *with, struct launch *at, bool error, struct text line)
{
    struct desk_seat *seat = with;
    struct desk_launch *launch = launch_of(seat, at);
    char copy[LAUNCH_LINE_MAX];
    (void)error;
    if (!launch)
        return;
    size_t length = line.len < sizeof copy ? line.len : sizeof copy;
    if (length > 0)
        memcpy(copy, line.at, length);
    length = launch_redact(launch->spec, copy, length);
    desk_lock(seat->desk);
    story_line(&launch->record->story, launch->word, (struct text){copy, length});
    desk_unlock(seat->desk);
}

static int64_t grace_of_unwanted(const struct deployments *desk)
{
    uint64_t now = desk_now(desk), left = desk->end_by_us > now ? desk->end_by_us - now : 0;
    return !desk->is_ending || left > 2 * UNWANTED_GRACE_US ? UNWANTED_GRACE_US : (int64_t)left / 2;
}

static void on_found(void *with, struct launcher *launcher, const struct launch_name *name,
                     struct launch *at)
{
    struct desk_seat *seat = with;
    struct deployments *desk = seat->desk;
    struct fleet_replica *fleet = NULL;
    (void)launcher;
    desk_lock(desk);
    share_found(desk, name);
    if (!seat->is_gone && !desk->is_ending)
        fleet = fleet_adopt(desk->fleet, name, seat->index,
                            seat->kind->age_us ? seat->kind->age_us(at) : -1, desk_now(desk));
    if (fleet) {
        struct desk_replica *replica = replica_take(desk, fleet);
        replica->launch = launch_new(seat, replica);
        replica->launch->launch = at;
        seat->kind->adopt(at, fleet->spec, replica->launch);
    } else {
        log_line(LOG_INFO, "deploy", "%s %s was left by an earlier sluice and is not wanted: ended",
                 name->deployment, name->replica);
        seat->unwanted++;
        seat->kind->stop(at, grace_of_unwanted(desk));
    }
    desk_unlock(desk);
}

static void tell_usable(struct desk_seat *seat)
{
    if (!seat->is_gone)
        fleet_node(seat->desk->fleet, seat->index, seat->is_usable, desk_now(seat->desk));
}

static void on_looked(void *with, struct launcher *launcher, bool reachable)
{
    struct desk_seat *seat = with;
    (void)launcher;
    desk_lock(seat->desk);
    if (!reachable)
        log_line(LOG_WARN, "deploy", "the node %.*s cannot be reached", TEXT_ARGS(seat->node.name));
    seat->is_usable = reachable;
    seat->has_looked = true;
    tell_usable(seat);
    desk_round(seat->desk);
    desk_unlock(seat->desk);
}

/* ------------------------------------------------------------------------------------- seats */

static struct text *const *texts_of(struct node_spec *node, struct text *into[8])
{
    into[0] = &node->name;
    into[1] = &node->endpoint;
    into[2] = &node->name_space;
    into[3] = &node->ca_file;
    into[4] = &node->cert_file;
    into[5] = &node->key_file;
    into[6] = &node->token_file;
    into[7] = NULL;
    return into;
}

static struct node_spec node_copy(const struct node_spec *from)
{
    struct node_spec copy = *from;
    struct text *texts[8];
    for (struct text *const *at = texts_of(&copy, texts); *at; at++)
        (*at)->at = memory_string((*at)->len > 0 ? **at : TEXT(""));
    return copy;
}

static void node_done(struct node_spec *node)
{
    struct text *texts[8];
    for (struct text *const *at = texts_of(node, texts); *at; at++)
        memory_free((void *)(uintptr_t)(*at)->at);
}

/* The same place, whatever its budget and its price? */
static bool is_same(struct node_spec a, struct node_spec b)
{
    struct text *left[8], *right[8];
    texts_of(&a, left);
    texts_of(&b, right);
    for (size_t i = 0; left[i]; i++)
        if (!text_equal(*left[i], *right[i]))
            return false;
    return a.launcher == b.launcher;
}

static struct desk_seat *seat_find(const struct deployments *desk, const struct node_spec *node)
{
    for (struct link *at = desk->seats.next; at != &desk->seats; at = at->next) {
        struct desk_seat *seat = LIST_MEMBER(at, struct desk_seat, link);
        if (!seat->is_gone && is_same(seat->node, *node))
            return seat;
    }
    return NULL;
}

static struct desk_seat *seat_new(struct deployments *desk, const struct node_spec *node)
{
    struct desk_seat *seat = memory_new(sizeof(*seat));
    seat->desk = desk;
    seat->node = node_copy(node);
    seat->kind = launcher_kind_of(node->launcher);
    list_init(&seat->all);
    list_push_back(&desk->seats, &seat->link);
    return seat;
}

/* Those that are only ended: whoever looks after the node next finds them again. */
void seats_leave(struct deployments *desk, bool leave)
{
    for (struct link *at = desk->seats.next; at != &desk->seats; at = at->next) {
        struct desk_seat *seat = LIST_MEMBER(at, struct desk_seat, link);
        if (seat->launcher && seat->kind->leave)
            seat->kind->leave(seat->launcher, leave);
    }
}

static void forget_launches(struct desk_seat *seat)
{
    while (!list_is_empty(&seat->all))
        seat_abandon(LIST_MEMBER(seat->all.next, struct desk_launch, link));
}

static void seat_close(struct desk_seat *seat)
{
    list_remove(&seat->link);
    forget_launches(seat);
    if (seat->launcher)
        seat->kind->close(seat->launcher);
    node_done(&seat->node);
    memory_free(seat);
}

static void seat_open(struct desk_seat *seat)
{
    struct deployments *desk = seat->desk;
    bool is_engine = seat->node.launcher != LAUNCH_BY_PROCESS;
    struct launcher_site site = {.loop = desk->site.loop,
                                 .upstreams = desk->site.upstreams,
                                 .state_dir = desk->state_dir,
                                 .owner = is_engine && desk->cluster ? desk->cluster : desk->owner,
                                 .leave = desk->leaves,
                                 .keeper = desk->site.keeper,
                                 .ears = {on_report, on_line, on_found, on_looked, seat}};
    struct fault fault = {.text = "this sluice has no such launcher"};
    seat->has_looked = false;
    if (seat->kind)
        seat->launcher = seat->kind->open(&site, &seat->node, &fault);
    if (!seat->launcher)
        log_line(LOG_ERROR, "deploy", "the node %.*s cannot be used: %s",
                 TEXT_ARGS(seat->node.name), fault.text);
}

/* Of a machine whose nodes were renamed or removed, nothing must go on unseen. */
static void end_strangers(struct deployments *desk, const struct node_spec *nodes, size_t count)
{
    struct text *names = memory_new((count + 1) * sizeof(*names));
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        if (nodes[i].launcher == LAUNCH_BY_PROCESS)
            names[found++] = nodes[i].name;
    launch_process_end_strangers(desk->state_dir, desk->owner, names, found);
    memory_free(names);
}

void seats_configure(struct deployments *desk, const struct node_spec *nodes, size_t count)
{
    struct desk_seat **in_force = memory_new((count + 1) * sizeof(struct desk_seat *));
    if (!desk->was_configured)
        end_strangers(desk, nodes, count);
    for (size_t i = 0; i < count; i++) {
        in_force[i] = seat_find(desk, &nodes[i]);
        if (!in_force[i])
            in_force[i] = seat_new(desk, &nodes[i]);
    }
    for (struct link *at = desk->seats.next; at != &desk->seats; at = at->next)
        LIST_MEMBER(at, struct desk_seat, link)->is_gone = true;
    for (size_t i = 0; i < count; i++) {
        in_force[i]->index = (unsigned)i;
        in_force[i]->is_gone = false;
        in_force[i]->node.has = nodes[i].has;
    }
    memory_free(desk->in_force);
    desk->in_force = in_force;
    desk->in_force_count = count;
}

void seats_tidy(struct deployments *desk)
{
    for (struct link *at = desk->seats.next, *next; at != &desk->seats; at = next) {
        struct desk_seat *seat = LIST_MEMBER(at, struct desk_seat, link);
        next = at->next;
        if (seat->is_gone && seat->launches == 0)
            seat_close(seat);
    }
}

/* What an engine runs is looked after by one of a cluster. */
static bool is_ours(const struct desk_seat *seat)
{
    return !seat->desk->site.is_shared || seat->node.launcher == LAUNCH_BY_PROCESS ||
           seat->desk->role == ROLE_LEADS;
}

void seats_yield(struct deployments *desk)
{
    desk->abandons = true;
    for (size_t i = 0; i < desk->in_force_count; i++) {
        struct desk_seat *seat = desk->in_force[i];
        if (!seat->launcher || seat->node.launcher == LAUNCH_BY_PROCESS)
            continue;
        fleet_abandon(desk->fleet, seat->index, desk_now(desk));
        seat->is_usable = false;
        seat->unwanted = 0;
        tell_usable(seat);
        forget_launches(seat);
        seat->kind->close(seat->launcher);
        seat->launcher = NULL;
    }
    desk->abandons = false;
}

void seats_open(struct deployments *desk)
{
    for (size_t i = 0; i < desk->in_force_count; i++) {
        if (!desk->in_force[i]->launcher && is_ours(desk->in_force[i]))
            seat_open(desk->in_force[i]);
        tell_usable(desk->in_force[i]);
    }
}

bool seats_are_empty(const struct deployments *desk)
{
    for (struct link *at = desk->seats.next; at != &desk->seats; at = at->next) {
        const struct desk_seat *seat = LIST_MEMBER(at, struct desk_seat, link);
        if (seat->launches > 0 || seat->unwanted > 0)
            return false;
    }
    return true;
}

bool seats_are_looking(const struct deployments *desk)
{
    for (struct link *at = desk->seats.next; at != &desk->seats; at = at->next) {
        const struct desk_seat *seat = LIST_MEMBER(at, struct desk_seat, link);
        if (seat->launcher && !seat->has_looked)
            return true;
    }
    return false;
}

void seats_close(struct deployments *desk)
{
    while (!list_is_empty(&desk->seats))
        seat_close(LIST_MEMBER(desk->seats.next, struct desk_seat, link));
    memory_free(desk->in_force);
}
