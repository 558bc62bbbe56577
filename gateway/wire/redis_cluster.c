/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_cluster - which node has the key? (redis.io/docs/reference/cluster-spec)
 *
 * A line to every master, opened when the map that names it is read. The map is read anew after
 * MOVED, when a line breaks, and twice a second while a slot has nobody to answer for it.
 */
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/wire/redis_inside.h"

enum {
    REDIRECTS_MAX = 5,
    READ_EVERY_US = 250000, /* the map, at most */
    INCOMPLETE_US = 500000, /* while something is missing */
    TRY_AGAIN_MIN_US = 10000,
    TRY_AGAIN_MAX_US = 20000,
};

struct redis_node {
    struct grave grave;
    struct link link;
    struct redis_cluster *cluster;
    struct redis_line line;
    struct timer retry;
    bool has_slots;
};

struct redis_cluster {
    struct redis *redis;
    struct link nodes;
    size_t node_count;
    struct redis_node *slots[REDIS_SLOTS]; /* NULL = nobody's */
    struct redis_place asked_place;
    bool is_known;
    struct timer read_again;
    uint64_t read_us; /* when the map was asked for last */
    bool reading;
    size_t turn;       /* whom to ask next */
    struct link later; /* commands that were told to try again */
    struct timer try_again;
};

static struct redis_node *node_of(struct redis_line *line)
{
    return LIST_MEMBER(line, struct redis_node, line);
}

static bool is_up(const struct redis_node *node)
{
    return node->line.state == REDIS_LINE_UP;
}

static void read_map(struct redis_cluster *cluster);

/* -------------------------------------------------------------------------------- nodes */

static void bury_node(struct grave *grave)
{
    struct redis_node *node = LIST_MEMBER(grave, struct redis_node, grave);
    redis_line_done(&node->line);
    memory_free(node);
}

static void drop_node(struct redis_node *node)
{
    struct redis_cluster *cluster = node->cluster;
    for (size_t i = 0; i < REDIS_SLOTS; i++)
        if (cluster->slots[i] == node)
            cluster->slots[i] = NULL;
    list_remove(&node->link);
    cluster->node_count--;
    timer_stop(&node->retry);
    redis_line_close(&node->line);
    loop_bury(cluster->redis->loop, &node->grave, bury_node);
}

/* Of the run_ids of all masters; one that is away counts with what it was. */
static void mix_lives(struct redis_cluster *cluster)
{
    uint64_t life = 0;
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next) {
        const struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
        if (node->has_slots)
            life += node->line.life * 0x9E3779B97F4A7C15U; /* whatever their order */
    }
    if (life)
        cluster->redis->life = life;
}

static void on_node_up(struct redis_line *line)
{
    struct redis_cluster *cluster = node_of(line)->cluster;
    struct redis *redis = cluster->redis;
    redis->figures.connects++;
    memcpy(redis->figures.server, line->version, sizeof(line->version));
    log_line(LOG_DEBUG, "redis", "connected to node %s", line->name);
    mix_lives(cluster);
    if (redis->line.state != REDIS_LINE_CLOSED) { /* it has done its service */
        redis_line_close(&redis->line);
        read_map(cluster);
    }
    redis_tell(redis);
    if (!redis->freed)
        redis_listen_move(redis);
}

static void on_node_down(struct redis_line *line, const char *why)
{
    struct redis_node *node = node_of(line);
    struct redis_cluster *cluster = node->cluster;
    struct redis *redis = cluster->redis;
    redis->figures.faults++;
    redis_blame(line, why);
    if (node->has_slots) {
        timer_stop(&node->retry);
        timer_set(redis->loop, &node->retry, clock_now_us() + redis_line_retry_us(line));
    } else {
        drop_node(node);
    }
    read_map(cluster);
    redis_tell(redis);
}

static void on_node_answer(struct redis_line *line, struct redis_command *command,
                           const struct redis_reply *reply);

static const struct redis_line_owner node_owner = {on_node_up, on_node_down, on_node_answer, NULL};

static void on_node_retry(struct timer *timer)
{
    struct redis_node *node = LIST_MEMBER(timer, struct redis_node, retry);
    if (node->line.state == REDIS_LINE_CLOSED)
        redis_line_open(&node->line);
}

static struct redis_node *find_node(const struct redis_cluster *cluster,
                                    const struct redis_place *place)
{
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next) {
        struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
        if (redis_place_same(&node->line.place, place))
            return node;
    }
    return NULL;
}

/* The node at <place>, which may be new; NULL beyond the limit. */
static struct redis_node *node_at(struct redis_cluster *cluster, const struct redis_place *place)
{
    struct redis *redis = cluster->redis;
    struct redis_node *node = find_node(cluster, place);
    if (node || cluster->node_count == REDIS_NODES_MAX)
        return node;
    node = memory_new(sizeof(*node));
    node->cluster = cluster;
    node->retry.on_time = on_node_retry;
    redis_line_init(&node->line, redis, &node_owner);
    node->line.place = *place;
    node->line.user = redis->url.user;
    node->line.password = redis->url.password;
    list_push_back(&cluster->nodes, &node->link);
    cluster->node_count++;
    timer_set(redis->loop, &node->retry, clock_now_us());
    return node;
}

/* ------------------------------------------------------------------------------ the map */

static bool is_idle(const struct redis_line *line)
{
    return list_is_empty(&line->asked) && list_is_empty(&line->queued) &&
           list_is_empty(&line->waiting);
}

/* Those that own nothing any more, unless something is under way there: then it is seen to next
 * time. */
static void drop_unused(struct redis_cluster *cluster)
{
    struct link *at = cluster->nodes.next;
    while (at != &cluster->nodes) {
        struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
        at = at->next;
        if (!node->has_slots && is_idle(&node->line))
            drop_node(node);
    }
}

/* Each slot has a line, and each line slots. */
static bool is_complete(const struct redis_cluster *cluster)
{
    for (size_t i = 0; i < REDIS_SLOTS; i++)
        if (!cluster->slots[i] || !is_up(cluster->slots[i]))
            return false;
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next)
        if (!LIST_MEMBER(at, struct redis_node, link)->has_slots)
            return false;
    return true;
}

static void take_range(struct redis_cluster *cluster, const struct redis_reply *row,
                       const struct redis_place *from)
{
    struct redis_range range;
    if (!redis_range_read(row, &range))
        return;
    if (!range.place.host[0]) /* the address by which it was asked */
        memcpy(range.place.host, from->host, sizeof(range.place.host));
    struct redis_node *node = node_at(cluster, &range.place);
    if (!node)
        return;
    node->has_slots = true;
    for (unsigned slot = range.from; slot <= range.to; slot++)
        cluster->slots[slot] = node;
}

static void take_map(struct redis_cluster *cluster, const struct redis_reply *rows,
                     const struct redis_place *from)
{
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next)
        LIST_MEMBER(at, struct redis_node, link)->has_slots = false;
    memset(cluster->slots, 0, sizeof(cluster->slots));
    for (size_t i = 0; i < rows->count; i++)
        take_range(cluster, &rows->items[i], from);
    cluster->is_known = true;
    drop_unused(cluster);
    mix_lives(cluster);
}

static void read_later(struct redis_cluster *cluster, uint64_t due_us)
{
    if (cluster->read_again.due_us && cluster->read_again.due_us <= due_us)
        return;
    timer_stop(&cluster->read_again);
    timer_set(cluster->redis->loop, &cluster->read_again, due_us);
}

static void on_map(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct redis_cluster *cluster = with;
    struct redis *redis = cluster->redis;
    cluster->reading = false;
    if (fault != REDIS_ANSWERED)
        return; /* the line that broke sees to it */
    bool is_first = !cluster->is_known;
    if (reply->kind == REDIS_LIST && reply->count > 0)
        take_map(cluster, reply, &cluster->asked_place);
    if (is_first && cluster->is_known)
        log_line(LOG_INFO, "redis", "%s: a Cluster of %zu masters", redis->line.name,
                 cluster->node_count);
    if (!is_complete(cluster))
        read_later(cluster, clock_now_us() + INCOMPLETE_US);
    redis_tell(redis);
    if (!redis->freed)
        redis_listen_move(redis);
}

/* Nodes in turn, lest one that is cut off be always asked. */
static struct redis_line *whom_to_ask(struct redis_cluster *cluster)
{
    struct redis_line *found = NULL;
    size_t up = 0;
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next)
        up += is_up(LIST_MEMBER(at, struct redis_node, link));
    size_t wanted = up ? cluster->turn++ % up : 0;
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes && !found; at = at->next) {
        struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
        if (is_up(node) && wanted-- == 0)
            found = &node->line;
    }
    if (!found && cluster->redis->line.state == REDIS_LINE_UP)
        found = &cluster->redis->line;
    return found;
}

/* When nobody can be asked, the client's line is opened to somebody. */
static void read_map(struct redis_cluster *cluster)
{
    struct redis *redis = cluster->redis;
    uint64_t now = clock_now_us();
    if (cluster->reading || redis->freed)
        return;
    if (cluster->read_us && now < cluster->read_us + READ_EVERY_US) {
        read_later(cluster, cluster->read_us + READ_EVERY_US);
        return;
    }
    struct redis_line *line = whom_to_ask(cluster);
    if (!line) {
        if (redis->line.state == REDIS_LINE_CLOSED && !redis->retry.due_us)
            redis_retry(redis, redis_line_retry_us(&redis->line));
        return;
    }
    struct text words[] = {TEXT("CLUSTER"), TEXT("SLOTS")};
    cluster->reading = true;
    cluster->read_us = now;
    cluster->asked_place = line->place;
    timer_stop(&cluster->read_again);
    redis_line_ask(line, words, 2, on_map, cluster);
}

static void on_read_again(struct timer *timer)
{
    read_map(LIST_MEMBER(timer, struct redis_cluster, read_again));
}

/* ------------------------------------------------------------------------------ commands */

struct redis_line *redis_cluster_line(const struct redis_cluster *cluster, uint16_t slot)
{
    if (slot == REDIS_NO_SLOT) {
        for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next) {
            struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
            if (node->has_slots && is_up(node))
                return &node->line;
        }
        return NULL;
    }
    struct redis_node *node = cluster->slots[slot];
    return node && is_up(node) ? &node->line : NULL;
}

/* To a node that a server named. It may not be connected yet; of one that cannot be reached the
 * command was not done. */
static void send_to(struct redis_node *node, struct redis_command *command, bool is_asking)
{
    struct redis *redis = node->cluster->redis;
    struct redis_line *line = &node->line;
    if (line->state == REDIS_LINE_CLOSED && line->failures == 0)
        redis_line_open(line);
    if (line->state == REDIS_LINE_CLOSED) {
        redis_end(redis, command, REDIS_AWAY, NULL);
        return;
    }
    if (is_asking) {
        struct redis_command *asking = redis_command_new((struct text[]){TEXT("ASKING")}, 1);
        asking->due_us = command->due_us;
        redis_line_push(line, asking);
    }
    redis_line_push(line, command);
}

static bool was_redirected(struct redis_line *line, struct redis_command *command,
                           const struct redis_reply *reply)
{
    struct redis_cluster *cluster = node_of(line)->cluster;
    struct redis_redirect to;
    if (command->redirects >= REDIRECTS_MAX || !redis_redirect_read(reply, &to))
        return false;
    if (!to.place.host[0])
        memcpy(to.place.host, line->place.host, sizeof(to.place.host));
    struct redis_node *node = node_at(cluster, &to.place);
    if (!node)
        return false;
    command->redirects++;
    if (!to.is_ask) {
        cluster->slots[to.slot] = node;
        node->has_slots = true;
        read_map(cluster);
    }
    send_to(node, command, to.is_ask);
    return true;
}

static void set_try_again(struct redis_cluster *cluster)
{
    uint64_t random;
    hash_random(&random, sizeof(random));
    uint64_t wait = TRY_AGAIN_MIN_US + random % (TRY_AGAIN_MAX_US - TRY_AGAIN_MIN_US);
    if (!cluster->try_again.due_us)
        timer_set(cluster->redis->loop, &cluster->try_again, clock_now_us() + wait);
}

/* Keys of one command are on two nodes while their slot moves. */
static bool is_put_off(struct redis_line *line, struct redis_command *command,
                       const struct redis_reply *reply)
{
    struct redis_cluster *cluster = node_of(line)->cluster;
    if (!redis_is_error(reply, "TRYAGAIN") || clock_now_us() + TRY_AGAIN_MAX_US >= command->due_us)
        return false;
    command->redirects = 0; /* its time is the limit */
    list_push_back(&cluster->later, &command->link);
    set_try_again(cluster);
    return true;
}

static void on_try_again(struct timer *timer)
{
    struct redis_cluster *cluster = LIST_MEMBER(timer, struct redis_cluster, try_again);
    struct link due;
    list_init(&due);
    redis_list_move(&due, &cluster->later);
    while (!list_is_empty(&due)) {
        struct redis_command *command = LIST_MEMBER(due.next, struct redis_command, link);
        struct redis_line *line = redis_cluster_line(cluster, command->slot);
        list_remove(&command->link);
        if (line && command->due_us > clock_now_us())
            redis_line_push(line, command);
        else
            redis_end(cluster->redis, command, REDIS_AWAY, NULL);
    }
}

static void on_node_answer(struct redis_line *line, struct redis_command *command,
                           const struct redis_reply *reply)
{
    struct redis_cluster *cluster = node_of(line)->cluster;
    if (redis_kind(reply) == REDIS_ERROR &&
        (redis_sent_again(line, command, reply) || was_redirected(line, command, reply) ||
         is_put_off(line, command, reply)))
        return;
    bool demoted = redis_is_demoted(reply), down = redis_is_error(reply, "CLUSTERDOWN");
    redis_end(cluster->redis, command, REDIS_ANSWERED, reply);
    if (down)
        read_map(cluster);
    if (demoted)
        redis_line_fail(line, "%s takes no commands now: it is a replica, or loading", line->name);
}

/* ---------------------------------------------------------------------- for the client */

bool redis_cluster_is_up(const struct redis_cluster *cluster)
{
    return cluster->is_known && redis_cluster_line(cluster, REDIS_NO_SLOT);
}

uint64_t redis_cluster_life_of(const struct redis_cluster *cluster, uint16_t slot)
{
    const struct redis_node *node = cluster->slots[slot];
    return node ? node->line.life : 0;
}

void redis_cluster_seed(struct redis_cluster *cluster)
{
    cluster->read_us = 0;
    read_map(cluster);
}

bool redis_cluster_place(struct redis_cluster *cluster, struct redis_place *place)
{
    size_t wanted = cluster->turn++ % (cluster->node_count + 1);
    *place = cluster->redis->url.place;
    for (struct link *at = cluster->nodes.next; at != &cluster->nodes; at = at->next) {
        struct redis_node *node = LIST_MEMBER(at, struct redis_node, link);
        if (is_up(node))
            return false;
        if (wanted-- == 1)
            *place = node->line.place;
    }
    return true;
}

bool redis_cluster_listen_place(const struct redis_cluster *cluster, const struct redis_place *now,
                                struct redis_place *place)
{
    const struct redis_node *node = now ? find_node(cluster, now) : NULL;
    const struct redis_line *line = redis_cluster_line(cluster, REDIS_NO_SLOT);
    if (node && node->has_slots)
        *place = *now;
    else if (line)
        *place = line->place;
    return (node && node->has_slots) || line;
}

struct redis_cluster *redis_cluster_new(struct redis *redis)
{
    struct redis_cluster *cluster = memory_new(sizeof(*cluster));
    cluster->redis = redis;
    list_init(&cluster->nodes);
    list_init(&cluster->later);
    cluster->read_again.on_time = on_read_again;
    cluster->try_again.on_time = on_try_again;
    return cluster;
}

void redis_cluster_close(struct redis_cluster *cluster)
{
    timer_stop(&cluster->read_again);
    timer_stop(&cluster->try_again);
    while (!list_is_empty(&cluster->nodes))
        drop_node(LIST_MEMBER(cluster->nodes.next, struct redis_node, link));
    while (!list_is_empty(&cluster->later))
        redis_end(cluster->redis, LIST_MEMBER(cluster->later.next, struct redis_command, link),
                  REDIS_AWAY, NULL);
}

void redis_cluster_free(struct redis_cluster *cluster)
{
    memory_free(cluster);
}
