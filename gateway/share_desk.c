/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/share_desk.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deploy/models/deployment.h"
#include "deploy/models/lease.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/node_records.h"
#include "gateway/service_state.h"
#include "gateway/wire/redis.h"
#include "gateway/worker_inside.h"

enum {
    TICK_US = 100000,
    IDLE_US = 500000, /* between questions, where nothing happens */
    IDLE_AFTER_US = 5000000,
    AGAIN_US = 1000000,        /* what has not changed is told again */
    BYTES_PER_TICK = 64 << 10, /* what is longer is told less often */
    OFFICE_US = 5000000,       /* who cannot begin to lead within this leaves it to others, */
    ABSTAIN_US = 15000000,     /* for so long */
    RING_US = 10000,           /* between a bell and the question */
    KEPT_US = 4000000,         /* records in Redis */
    AWAY_US = 1000000,         /* without an answer for so long, the store counts as away */
    SPENT_US = 1000000,        /* how often what was spent is told */
    SPENT_BYTES = 256 << 10,
    KEYS = 6,
    WORDS = KEYS + 11,
    NUMBER_BYTES = 24,
    NAME_BYTES = 64,
};

/*
 * KEYS: lease, token, name, at, of, spent. ARGV: node, its record or '', since when others' are
 * wanted, how long records are kept, how long the lease lasts (ms), what is wanted of it (take,
 * leave, none), the token we hold or 0, a name for a cluster that has none, whether it is urgent,
 * the channel, what was spent or ''. Returns the time, the leader ('' = none, '-' = given up), its
 * token, what is left of the lease (ms), the name, to who has just been elected what was spent; and
 * for each other node its name, how old its record is, and that.
 */
static const char source[] = RECORDS_BEGIN
    "local at, of = KEYS[4], KEYS[5]\n"
    "redis.call('SETNX', KEYS[3], ARGV[8])\n"
    "local node, token = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')\n"
    "local ours = node == ARGV[1] and token == ARGV[7]\n"
    "local spent = ''\n"
    "if ARGV[6] == 'leave' and ours then\n"
    "  redis.call('SET', KEYS[1], '- ' .. token, 'PX', ARGV[5])\n"
    "  node = '-'\n"
    "elseif ARGV[6] == 'take' and ours then\n"
    "  redis.call('PEXPIRE', KEYS[1], ARGV[5])\n"
    "elseif ARGV[6] == 'take' and (not node or node == '-' or node == ARGV[1]) then\n"
    "  local last = tonumber(redis.call('GET', KEYS[2]) or 0)\n"
    "  token = string.format('%.0f', math.max(last + 1, now))\n"
    "  node = ARGV[1]\n"
    "  redis.call('SET', KEYS[2], token)\n"
    "  redis.call('SET', KEYS[1], node .. ' ' .. token, 'PX', ARGV[5])\n"
    "  redis.call('PUBLISH', ARGV[10], node)\n"
    "  spent = redis.call('GET', KEYS[6]) or ''\n"
    "end\n"
    "if ours and ARGV[11] ~= '' then redis.call('SET', KEYS[6], ARGV[11]) end\n" RECORDS_TELL
    "if ARGV[2] ~= '' and ARGV[9] == '1' then redis.call('PUBLISH', ARGV[10], ARGV[1]) end\n"
    "local out = {string.format('%.0f', now), node or '', token or '0',\n"
    "  tostring(redis.call('PTTL', KEYS[1])), redis.call('GET', KEYS[3]), spent}\n" RECORDS_HEAR
    "return out\n";

enum {
    ANSWER_NOW,
    ANSWER_NODE,
    ANSWER_TOKEN,
    ANSWER_LEFT_MS,
    ANSWER_NAME,
    ANSWER_SPENT,
    ANSWER_OTHERS
};

struct share_desk {
    struct worker *worker;
    struct deployments *deployments; /* NULL = none yet */
    struct redis *redis;
    struct timer timer;
    struct redis_script script;
    struct lease lease;
    char *keys[KEYS], *channel, *name_path;
    char name[NAME_BYTES]; /* of the cluster, as far as we know */
    struct buffer record;
    struct buffer spent, found; /* to be told; as the one before us has left it */
    uint64_t spent_us;          /* told last */
    bool asking, rung, resigns, stopped, was_bad;
    uint64_t asked_us, told_us, happened_us, answered_us;
    uint64_t told_sense;
    int64_t since_us; /* of Redis' clock */
    size_t told_bytes;
    int64_t office_token; /* with which we lead; 0 = we do not */
    uint64_t elected_us, abstains_us;
};

/* There is one in a process. */
static atomic_int_fast64_t elected;
static atomic_uint_fast64_t figure_told, figure_heard, figure_refused;

int64_t share_desk_elected(void)
{
    return atomic_load(&elected);
}

struct share_desk_figures share_desk_figures(void)
{
    return (struct share_desk_figures){
        .told = atomic_load_explicit(&figure_told, memory_order_relaxed),
        .heard = atomic_load_explicit(&figure_heard, memory_order_relaxed),
        .refused = atomic_load_explicit(&figure_refused, memory_order_relaxed),
    };
}

static uint64_t now_of(const struct share_desk *desk)
{
    return loop_now_us(desk->worker->loop);
}

static void count(atomic_uint_fast64_t *figure)
{
    atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

/* --------------------------------------------------------------------------- the role */

/* What the lease says now is so for deployments. */
static void settle(struct share_desk *desk, struct text leader)
{
    const struct lease *lease = &desk->lease;
    switch (lease->state) {
    case LEASE_HOLDS:
        if (atomic_exchange(&elected, lease->token) != lease->token)
            desk->elected_us = now_of(desk);
        if (desk->office_token == lease->token)
            return;
        if (now_of(desk) > desk->elected_us + OFFICE_US)
            desk->abstains_us = now_of(desk) + ABSTAIN_US;
        service_wake_for_office(desk->worker->options.service);
        return;
    case LEASE_FOLLOWS:
        atomic_store(&elected, 0);
        desk->office_token = 0;
        if (leader.len)
            deployments_yield(desk->deployments, leader, lease->token);
        return;
    case LEASE_APART: {
        bool is_away = now_of(desk) > desk->answered_us + AWAY_US;
        atomic_store(&elected, 0);
        desk->office_token = 0;
        deployments_pause(desk->deployments, is_away ? "redis_away" : "no_leader");
        return;
    }
    }
}

bool share_desk_take_office(struct share_desk *desk, int64_t token, struct text spent)
{
    lease_tick(&desk->lease, now_of(desk));
    if (!desk->deployments || desk->resigns || desk->lease.state != LEASE_HOLDS ||
        desk->lease.token != token)
        return false;
    struct text found = buffer_text(&desk->found);
    deployments_recall_spent(desk->deployments, found.len > 0 ? found : spent);
    deployments_lead(desk->deployments, token, text_of(desk->name));
    desk->office_token = token;
    share_desk_ring(desk);
    return true;
}

/* ------------------------------------------------------------------------------- hearing */

static void hear(struct share_desk *desk, const struct redis_reply *reply, size_t at)
{
    struct text node = redis_text(redis_item(reply, at));
    int64_t age = redis_number(redis_item(reply, at + 1));
    struct text record = redis_text(redis_item(reply, at + 2));
    if (deployments_hear(desk->deployments, node, record, age)) {
        count(&figure_heard);
        return;
    }
    count(&figure_refused);
    if (!desk->was_bad)
        log_line(LOG_WARN, "deploy", "what node %.*s tells of deployments cannot be read",
                 TEXT_ARGS(text_head(node, NAME_BYTES)));
    desk->was_bad = true;
}

/* The name outlives a Redis that forgets: what engines run is known by it. */
static void keep_name(struct share_desk *desk, struct text name)
{
    if (name.len == 0 || name.len >= NAME_BYTES || text_equal(name, text_of(desk->name)))
        return;
    snprintf(desk->name, sizeof(desk->name), "%.*s", TEXT_ARGS(name));
    FILE *file = fopen(desk->name_path, "we");
    bool is_kept = file && fprintf(file, "%s\n", desk->name) > 0;
    if (file && fclose(file) != 0)
        is_kept = false;
    if (!is_kept)
        log_line(LOG_WARN, "deploy", "%s cannot be written", desk->name_path);
}

static void read_name(struct share_desk *desk)
{
    FILE *file = fopen(desk->name_path, "re");
    snprintf(desk->name, sizeof(desk->name), "%s", desk->worker->options.node);
    if (!file)
        return;
    char line[NAME_BYTES];
    if (fgets(line, sizeof(line), file) && strcspn(line, "\n") > 0)
        snprintf(desk->name, sizeof(desk->name), "%.*s", (int)strcspn(line, "\n"), line);
    fclose(file);
}

static void hear_lease(struct share_desk *desk, const struct redis_reply *reply)
{
    struct text node = redis_text(redis_item(reply, ANSWER_NODE));
    bool is_free = text_equal(node, TEXT("-")), is_held = node.len > 0 && !is_free;
    struct lease_answer answer = {
        .is_held = is_held,
        .is_free = is_free,
        .is_ours = is_held && text_equal(node, text_of(desk->worker->options.node)),
        .token = redis_number(redis_item(reply, ANSWER_TOKEN)),
        .left_us = redis_number(redis_item(reply, ANSWER_LEFT_MS)) * 1000,
    };
    lease_hear(&desk->lease, &answer, desk->asked_us, now_of(desk));
    settle(desk, is_held ? node : (struct text){"", 0});
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct share_desk *desk = with;
    desk->asking = false;
    if (desk->stopped)
        return;
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST ||
        redis_count(reply) < ANSWER_OTHERS) {
        if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_ERROR)
            log_line(LOG_ERROR, "deploy", "Redis: %.*s",
                     TEXT_ARGS(text_head(redis_text(reply), 200)));
        desk->told_sense = 0; /* who knows whether it came through? */
        return;
    }
    int64_t now = redis_number(redis_item(reply, ANSWER_NOW));
    desk->answered_us = now_of(desk);
    keep_name(desk, redis_text(redis_item(reply, ANSWER_NAME)));
    struct text spent = redis_text(redis_item(reply, ANSWER_SPENT));
    if (spent.len > 0) {
        buffer_clear(&desk->found);
        buffer_append_text(&desk->found, spent);
    }
    hear_lease(desk, reply);
    for (size_t i = ANSWER_OTHERS; i + 2 < redis_count(reply); i += 3)
        hear(desk, reply, i);
    /* A clock that went back, or another server: what is there now is wanted in any case. */
    desk->since_us = now < desk->since_us ? 0 : now;
    deployments_heard(desk->deployments, true);
    if (desk->rung)
        timer_set(desk->worker->loop, &desk->timer, now_of(desk));
}

/* ------------------------------------------------------------------------------- telling */

static struct text number_word(int64_t number, char room[NUMBER_BYTES])
{
    snprintf(room, NUMBER_BYTES, "%lld", (long long)number);
    return text_of(room);
}

/* Empty: not again yet. Who does not lead yet has nothing to say. */
static struct text spent_of(struct share_desk *desk)
{
    if (desk->office_token != desk->lease.token || now_of(desk) < desk->spent_us + SPENT_US)
        return TEXT("");
    desk->spent_us = now_of(desk);
    buffer_clear(&desk->spent);
    deployments_spent(desk->deployments, &desk->spent);
    buffer_append_text(&desk->spent, TEXT("\n")); /* also that there is nothing any more */
    return buffer_text(&desk->spent);
}

static void ask(struct share_desk *desk, struct text record, bool is_urgent)
{
    char since[NUMBER_BYTES], kept[NUMBER_BYTES], lasts[NUMBER_BYTES], token[NUMBER_BYTES];
    bool holds = desk->lease.state == LEASE_HOLDS;
    bool leaves = desk->resigns || now_of(desk) < desk->abstains_us;
    struct text wish = leaves                                    ? TEXT("leave")
                       : lease_wants(&desk->lease, now_of(desk)) ? TEXT("take")
                                                                 : TEXT("none");
    struct text words[WORDS] = {text_of(desk->keys[0]),
                                text_of(desk->keys[1]),
                                text_of(desk->keys[2]),
                                text_of(desk->keys[3]),
                                text_of(desk->keys[4]),
                                text_of(desk->keys[5]),
                                text_of(desk->worker->options.node),
                                record,
                                number_word(desk->since_us, since),
                                number_word(KEPT_US, kept),
                                number_word(LEASE_US / 1000, lasts),
                                wish,
                                number_word(holds ? desk->lease.token : 0, token),
                                text_of(desk->name),
                                is_urgent ? TEXT("1") : TEXT("0"),
                                text_of(desk->channel),
                                holds ? spent_of(desk) : TEXT("")};
    desk->asked_us = now_of(desk);
    desk->asking = redis_eval(desk->redis, &desk->script, KEYS, words, WORDS, 0, on_answer, desk);
    if (desk->asking && record.len > 0)
        count(&figure_told);
}

static void tell(struct share_desk *desk)
{
    uint64_t now = now_of(desk), sense = 0;
    buffer_clear(&desk->record);
    deployments_tell(desk->deployments, &desk->record, &sense);
    bool is_urgent = sense != desk->told_sense, has_rung = desk->rung;
    if (is_urgent)
        desk->happened_us = now;
    bool is_idle = now >= desk->happened_us + IDLE_AFTER_US;
    uint64_t ticks = desk->told_bytes / BYTES_PER_TICK;
    bool is_due = (is_urgent && (ticks == 0 || now >= desk->told_us + ticks * TICK_US)) ||
                  (!is_idle && ticks == 0) || now >= desk->told_us + AGAIN_US;
    desk->rung = false;
    if (is_idle && !is_due && !has_rung && now < desk->asked_us + IDLE_US)
        return;
    if (!is_urgent && now < desk->asked_us + TICK_US && !has_rung)
        return;
    ask(desk, is_due ? buffer_text(&desk->record) : TEXT(""), is_urgent);
    if (!desk->asking || !is_due)
        return;
    desk->told_us = now;
    desk->told_sense = sense;
    desk->told_bytes = buffer_length(&desk->record);
}

static void on_tick(struct timer *timer)
{
    struct share_desk *desk = LIST_MEMBER(timer, struct share_desk, timer);
    timer_set(desk->worker->loop, timer, now_of(desk) + TICK_US);
    if (!desk->deployments)
        return;
    lease_tick(&desk->lease, now_of(desk));
    if (desk->lease.state == LEASE_APART)
        settle(desk, (struct text){"", 0});
    if (!desk->asking && redis_is_up(desk->redis))
        tell(desk);
}

void share_desk_ring(struct share_desk *desk)
{
    if (!desk || desk->stopped)
        return;
    uint64_t at = now_of(desk) + RING_US;
    if (desk->timer.due_us == 0 || desk->timer.due_us > at)
        timer_set(desk->worker->loop, &desk->timer, at);
}

static void on_message(void *with, struct text text)
{
    struct share_desk *desk = with;
    if (text_equal(text, text_of(desk->worker->options.node)))
        return;
    desk->rung = true;
    desk->happened_us = now_of(desk);
    share_desk_ring(desk);
}

static void on_connection(void *with)
{
    struct share_desk *desk = with;
    if (redis_is_up(desk->redis))
        share_desk_ring(desk);
}

/* ------------------------------------------------------------------------- begin and end */

struct share_desk *share_desk_new(struct worker *worker)
{
    static const char *const ends[KEYS] = {"lease", "token", "name", "at", "of", "spent"};
    struct fault fault;
    if (!worker->redis)
        return NULL;
    struct share_desk *desk = memory_new(sizeof(*desk));
    const char *prefix = worker->options.start->store.key_prefix;
    desk->worker = worker;
    for (size_t i = 0; i < KEYS; i++)
        desk->keys[i] = memory_format("%s{fleet}:%s", prefix, ends[i]);
    desk->channel = memory_format("%s{fleet}", prefix);
    desk->name_path = memory_format("%s/cluster", worker->options.start->state);
    buffer_init(&desk->record, DEPLOYMENTS_RECORD_BYTES);
    buffer_init(&desk->spent, SPENT_BYTES);
    buffer_init(&desk->found, SPENT_BYTES);
    redis_script_init(&desk->script, (struct text){source, sizeof(source) - 1});
    list_init(&desk->timer.link);
    desk->timer.on_time = on_tick;
    read_name(desk);
    /* A connection of its own: it has a channel, and does not wait behind answers of the cache. */
    desk->redis = redis_new(worker->loop, worker->dns, &worker->options.start->store.redis, &fault);
    if (!desk->redis) {
        log_line(LOG_ERROR, "deploy", "deployments are not shared: %s", fault.text);
        share_desk_free(desk);
        return NULL;
    }
    redis_on_change(desk->redis, on_connection, desk);
    redis_subscribe(desk->redis, text_of(desk->channel), on_message, desk);
    return desk;
}

void share_desk_begin(struct share_desk *desk, struct deployments *deployments)
{
    if (!desk)
        return;
    desk->deployments = deployments;
    desk->answered_us = now_of(desk);
    timer_set(desk->worker->loop, &desk->timer, now_of(desk));
}

void share_desk_resign(struct share_desk *desk)
{
    if (!desk || desk->stopped || !desk->deployments)
        return;
    desk->resigns = true;
    desk->asking = false;
    redis_forget(desk->redis, desk);
    if (redis_is_up(desk->redis))
        tell(desk);
}

void share_desk_stop(struct share_desk *desk)
{
    if (!desk)
        return;
    desk->stopped = true;
    timer_stop(&desk->timer);
    redis_free(desk->redis);
    desk->redis = NULL;
    desk->deployments = NULL;
}

void share_desk_free(struct share_desk *desk)
{
    if (!desk)
        return;
    for (size_t i = 0; i < KEYS; i++)
        memory_free(desk->keys[i]);
    memory_free(desk->channel);
    memory_free(desk->name_path);
    buffer_done(&desk->record);
    buffer_done(&desk->spent);
    buffer_done(&desk->found);
    memory_free(desk);
}
