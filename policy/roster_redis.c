/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster_redis - tenants and keys of the API in Redis, the same on all replicas.
 *
 *   HASH <prefix>{roster}:t, :k     id -> "<version>\n<JSON>"
 *   STRING <prefix>{roster}:version counts changes
 *   ZSET <prefix>{roster}:changes   "t/NAME", "k/ID" by the number of their last change
 *   channel <prefix>{roster}        the number, at each change
 *
 * A thread of its own reads what changed when it is told, and once a second as a net. Who changes
 * something holds the roster's lock and waits for this thread, so this thread only tries the lock,
 * and comes back to it.
 *
 * What Redis has is kept in the database of this node, too: a start without Redis knows its keys.
 * When Redis has lost them all, the first node that notices puts back what it knows. On a new
 * connection all is read: a server that took over may have lost the last changes, and counted on.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "policy/roster_inside.h"

enum {
    POLL_US = 1000000,
    AGAIN_US = 10000, /* when the lock is taken */
    WRITE_SECONDS = 2,
    PAGE = 500,
    NAME_BYTES = 256,
    OWN_MAX = 64,
    ANSWER_US = 2000000,
};

static const char write_source[] =
    "local now = redis.call('HGET', KEYS[1], ARGV[1])\n"
    "local version = 0\n"
    "if now then version = tonumber(string.match(now, '^(%d+)\\n')) or 0 end\n"
    "if version ~= tonumber(ARGV[2]) then return 0 end\n"
    "local number = redis.call('INCR', KEYS[2])\n"
    "if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])\n"
    "else redis.call('HSET', KEYS[1], ARGV[1], (version + 1) .. '\\n' .. ARGV[3]) end\n"
    "redis.call('ZADD', KEYS[3], number, ARGV[4])\n"
    "redis.call('PUBLISH', ARGV[5], number)\n"
    "return number\n";

/* The first node that finds nothing puts back a part of what it knows; the others find it. */
static const char restore_source[] =
    "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end\n"
    "local number = redis.call('INCR', KEYS[2])\n"
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '\\n' .. ARGV[3])\n"
    "redis.call('ZADD', KEYS[3], number, ARGV[4])\n"
    "redis.call('PUBLISH', ARGV[5], number)\n"
    "return number\n";

/* One write, from who waits for it. */
struct order {
    struct errand errand;
    struct roster_remote *remote;
    enum record_of kind;
    char id[ROSTER_ID_BYTES];
    struct buffer body; /* empty: it goes */
    uint64_t known;
    enum roster_written written;
    bool done, left; /* left: nobody waits any more, and this thread frees it */
};

struct roster_remote {
    struct roster *roster;
    pthread_t thread;
    struct loop *loop;
    struct dns *dns;
    struct redis *redis;
    struct redis_script write, restore;
    struct timer timer;
    struct errand stop;
    char keys[2][NAME_BYTES], version[NAME_BYTES], changes[NAME_BYTES], channel[NAME_BYTES];
    atomic_bool up;
    uint64_t seen;    /* the change up to which all is known */
    uint64_t reading; /* the one that is being read up to */
    bool busy, again, whole;
    bool doubtful; /* this Redis may not be the one whose changes were counted: read all */

    /* what was read, until the lock is had */
    struct roster_record **records;
    size_t count, capacity;
    char (*gone)[ROSTER_ID_BYTES]; /* "t/NAME" */
    size_t gone_count;
    unsigned pending; /* answers that are still to come */
    int scanning;     /* enum record_of, or -1 */
    bool failed;
    /* what this node has written since the reading began: newer than what was read of it */
    char own[OWN_MAX][ROSTER_ID_BYTES + 2]; /* "t/NAME" */
    size_t own_count;                       /* above OWN_MAX: nothing that was read is of use */

    pthread_mutex_t lock; /* over orders */
    pthread_cond_t wake;
};

static void look(struct roster_remote *remote);

static struct text key_of(const struct roster_remote *remote, enum record_of kind)
{
    return text_of(remote->keys[kind]);
}

/* ---------------------------------------------------------------------------- what was read */

static void forget_read(struct roster_remote *remote)
{
    for (size_t i = 0; i < remote->count; i++)
        roster_record_unref(remote->records[i]);
    remote->count = remote->gone_count = 0;
    memory_free(remote->gone);
    remote->gone = NULL;
}

/* "<version>\n<JSON>" */
static void take_record(struct roster_remote *remote, enum record_of kind, struct text value)
{
    char problem[256];
    size_t newline = text_find_byte(value, '\n');
    if (newline == SIZE_MAX)
        return;
    struct roster_record *record =
        roster_read(kind, text_from(value, newline + 1), &remote->roster->file, problem);
    if (!record) {
        log_line(LOG_ERROR, "keys", "a record in Redis cannot be used: %s", problem);
        return;
    }
    record->version = strtoull(value.at, NULL, 10);
    if (remote->count == remote->capacity) {
        remote->capacity = remote->capacity ? remote->capacity * 2 : 64;
        remote->records =
            memory_resize(remote->records, remote->capacity * sizeof(*remote->records));
    }
    remote->records[remote->count++] = record;
}

static bool is_own(const struct roster_remote *remote, enum record_of kind, struct text id)
{
    for (size_t i = 0; i < remote->own_count; i++)
        if (remote->own[i][0] == (kind == RECORD_TENANT ? 't' : 'k') &&
            text_equal(text_of(remote->own[i] + 2), id))
            return true;
    return false;
}

/* It is also published, so all of it will be read once more. */
static void note_own(struct roster_remote *remote, enum record_of kind, const char *id)
{
    if (remote->busy && remote->own_count++ < OWN_MAX)
        snprintf(remote->own[remote->own_count - 1], sizeof(remote->own[0]), "%c/%s",
                 kind == RECORD_TENANT ? 't' : 'k', id);
}

/* Nothing that Redis does not have may stay, when all of it was read. */
static bool drop_others(struct roster *roster, const struct roster_remote *remote)
{
    bool dropped = false;
    struct table there;
    table_init(&there);
    struct arena names;
    arena_init(&names, 4096);
    for (size_t i = 0; i < remote->count; i++) {
        const struct roster_record *record = remote->records[i];
        struct text name = arena_format(&names, "%d/%.*s", record->kind, TEXT_ARGS(record->id));
        table_set(&there, name, (void *)(uintptr_t)record);
    }
    for (size_t i = roster->count; i-- > 0;) {
        char name[ROSTER_ID_BYTES + 4];
        struct roster_record *record = roster->records[i];
        int len = snprintf(name, sizeof(name), "%d/%.*s", record->kind, TEXT_ARGS(record->id));
        if (table_find(&there, (struct text){name, (size_t)len}) ||
            is_own(remote, record->kind, record->id))
            continue;
        char id[ROSTER_ID_BYTES];
        snprintf(id, sizeof(id), "%.*s", TEXT_ARGS(record->id));
        enum record_of kind = record->kind;
        roster_keep_here(roster, kind, text_of(id), NULL);
        roster_remove(roster, kind, text_of(id));
        dropped = true;
    }
    arena_done(&names);
    table_done(&there);
    return dropped;
}

/* Under the roster's lock. */
static void apply(struct roster_remote *remote)
{
    struct roster *roster = remote->roster;
    bool changed = remote->whole && drop_others(roster, remote);
    for (size_t i = 0; i < remote->gone_count; i++) {
        enum record_of kind = remote->gone[i][0] == 't' ? RECORD_TENANT : RECORD_KEY;
        struct text id = text_of(remote->gone[i] + 2);
        if (is_own(remote, kind, id))
            continue;
        changed = changed || roster_find(roster, kind, id);
        roster_keep_here(roster, kind, id, NULL);
        roster_remove(roster, kind, id);
    }
    for (size_t i = 0; i < remote->count; i++) {
        struct roster_record *record = remote->records[i];
        const struct roster_record *before = roster_find(roster, record->kind, record->id);
        bool same =
            before && before->version == record->version && text_equal(before->body, record->body);
        if (same || is_own(remote, record->kind, record->id)) {
            roster_record_unref(record);
            continue;
        }
        changed = true;
        roster_keep_here(roster, record->kind, record->id, record);
        roster_apply(roster, record);
    }
    remote->count = 0;
    if (changed)
        roster_renew(roster);
}

static void finish(struct roster_remote *remote)
{
    if (remote->failed) {
        forget_read(remote);
        remote->busy = false;
        return;
    }
    if (pthread_mutex_trylock(&remote->roster->lock) != 0) {
        timer_set(remote->loop, &remote->timer, loop_now_us(remote->loop) + AGAIN_US);
        return; /* on_time() comes back here: <busy>, and nothing pending */
    }
    bool usable = remote->own_count <= OWN_MAX;
    if (usable)
        apply(remote);
    pthread_mutex_unlock(&remote->roster->lock);
    forget_read(remote);
    if (usable) {
        remote->seen = remote->reading;
        remote->doubtful = remote->doubtful && !remote->whole;
    } else {
        remote->again = true;
    }
    remote->busy = remote->whole = false;
    if (remote->again) {
        remote->again = false;
        look(remote);
    }
}

static void answered(struct roster_remote *remote)
{
    assert(remote->pending > 0);
    if (--remote->pending == 0)
        finish(remote);
}

static bool is_good(struct roster_remote *remote, enum redis_fault fault,
                    const struct redis_reply *reply)
{
    bool good = fault == REDIS_ANSWERED && redis_kind(reply) != REDIS_ERROR;
    remote->failed = remote->failed || !good;
    return good;
}

/* ----------------------------------------------------------------------------- reading */

static void scan(struct roster_remote *remote, struct text cursor);

static void on_scanned(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    if (is_good(remote, fault, reply) && redis_count(reply) == 2) {
        const struct redis_reply *list = redis_item(reply, 1);
        for (size_t i = 0; i + 1 < redis_count(list); i += 2)
            take_record(remote, (enum record_of)remote->scanning,
                        redis_text(redis_item(list, i + 1)));
        struct text cursor = redis_text(redis_item(reply, 0));
        if (!text_equal(cursor, TEXT("0")))
            scan(remote, cursor);
        else if (remote->scanning == RECORD_TENANT) {
            remote->scanning = RECORD_KEY;
            scan(remote, TEXT("0"));
        }
    }
    answered(remote);
}

static void scan(struct roster_remote *remote, struct text cursor)
{
    struct text key = key_of(remote, (enum record_of)remote->scanning);
    struct text words[] = {TEXT("HSCAN"), key, cursor, TEXT("COUNT"), TEXT("500")};
    remote->pending++;
    if (!redis_send(remote->redis, key, words, 5, ANSWER_US, on_scanned, remote)) {
        remote->failed = true;
        answered(remote);
    }
}

static void read_all(struct roster_remote *remote)
{
    remote->whole = true;
    remote->scanning = RECORD_TENANT;
    scan(remote, TEXT("0"));
}

/* One record that changed; its name stands in <gone> until it is found to be there. */
struct fetch {
    struct roster_remote *remote;
    char name[ROSTER_ID_BYTES];
};

static void on_fetched(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct fetch *fetch = with;
    struct roster_remote *remote = fetch->remote;
    if (is_good(remote, fault, reply)) {
        enum record_of kind = fetch->name[0] == 't' ? RECORD_TENANT : RECORD_KEY;
        if (redis_kind(reply) == REDIS_TEXT)
            take_record(remote, kind, redis_text(reply));
        else
            memcpy(remote->gone[remote->gone_count++], fetch->name, sizeof(fetch->name));
    }
    memory_free(fetch);
    answered(remote);
}

static void fetch_one(struct roster_remote *remote, struct text name)
{
    struct fetch *fetch = memory_new(sizeof(*fetch));
    fetch->remote = remote;
    snprintf(fetch->name, sizeof(fetch->name), "%.*s", TEXT_ARGS(name));
    struct text key = key_of(remote, fetch->name[0] == 't' ? RECORD_TENANT : RECORD_KEY);
    struct text words[] = {TEXT("HGET"), key, text_of(fetch->name + 2)};
    remote->pending++;
    if (!redis_send(remote->redis, key, words, 3, ANSWER_US, on_fetched, fetch)) {
        memory_free(fetch);
        remote->failed = true;
        answered(remote);
    }
}

static void on_changes(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    if (is_good(remote, fault, reply)) {
        size_t count = redis_count(reply) / 2;
        remote->gone = memory_new((count + 1) * sizeof(*remote->gone));
        for (size_t i = 0; i < count; i++) {
            struct text name = redis_text(redis_item(reply, 2 * i));
            if (name.len > 2 && name.len < ROSTER_ID_BYTES)
                fetch_one(remote, name);
        }
        /* A page: behind its last number there may be more. */
        if (count == PAGE) {
            struct text last = redis_text(redis_item(reply, 2 * count - 1));
            remote->reading = strtoull(last.at, NULL, 10);
            remote->again = true;
        }
    }
    answered(remote);
}

static void read_changes(struct roster_remote *remote)
{
    char from[32];
    snprintf(from, sizeof(from), "(%llu", (unsigned long long)remote->seen);
    struct text words[] = {TEXT("ZRANGEBYSCORE"),
                           text_of(remote->changes),
                           text_of(from),
                           TEXT("+inf"),
                           TEXT("WITHSCORES"),
                           TEXT("LIMIT"),
                           TEXT("0"),
                           TEXT("500")};
    remote->pending++;
    if (!redis_send(remote->redis, text_of(remote->changes), words, 8, ANSWER_US, on_changes,
                    remote)) {
        remote->failed = true;
        answered(remote);
    }
}

/* ----------------------------------------------------------------------------- putting back */

static void on_restored(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    (void)reply;
    struct roster_remote *remote = with;
    remote->failed = remote->failed || fault != REDIS_ANSWERED;
    answered(remote);
}

static void put_back(struct roster_remote *remote, const struct roster_record *record)
{
    char version[24], name[ROSTER_ID_BYTES];
    snprintf(version, sizeof(version), "%llu", (unsigned long long)record->version);
    snprintf(name, sizeof(name), "%c/%.*s", record->kind == RECORD_TENANT ? 't' : 'k',
             TEXT_ARGS(record->id));
    struct text words[] = {key_of(remote, record->kind),
                           text_of(remote->version),
                           text_of(remote->changes),
                           record->id,
                           text_of(version),
                           record->body,
                           text_of(name),
                           text_of(remote->channel)};
    remote->pending++;
    if (!redis_eval(remote->redis, &remote->restore, 3, words, 8, ANSWER_US, on_restored, remote)) {
        remote->failed = true;
        answered(remote);
    }
}

/* Redis is empty, and we are not: it was flushed, or is new. */
static bool restore(struct roster_remote *remote)
{
    struct roster *roster = remote->roster;
    if (pthread_mutex_trylock(&roster->lock) != 0) {
        remote->again = true;
        return true; /* after a while, once more */
    }
    size_t count = roster->count;
    if (count > 0)
        log_line(LOG_WARN, "keys", "Redis has forgotten: %zu tenants and keys are put back", count);
    for (size_t i = 0; i < count; i++)
        put_back(remote, roster->records[i]);
    pthread_mutex_unlock(&roster->lock);
    return count > 0;
}

static void on_version(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    if (is_good(remote, fault, reply)) {
        bool none = redis_kind(reply) == REDIS_NIL;
        remote->reading = none ? 0 : (uint64_t)redis_number(reply);
        if (none) {
            remote->doubtful = true;
            if (restore(remote))
                remote->again = true;
        } else if (remote->reading < remote->seen || remote->doubtful) {
            read_all(remote);
        } else if (remote->reading > remote->seen) {
            read_changes(remote);
        }
    }
    answered(remote);
}

static void look(struct roster_remote *remote)
{
    if (remote->busy) {
        remote->again = true;
        return;
    }
    remote->busy = true;
    remote->failed = remote->whole = false;
    remote->own_count = 0;
    remote->pending = 1;
    struct text words[] = {TEXT("GET"), text_of(remote->version)};
    if (redis_send(remote->redis, words[1], words, 2, ANSWER_US, on_version, remote))
        return;
    remote->failed = true;
    answered(remote);
}

static void on_time(struct timer *timer)
{
    struct roster_remote *remote = LIST_MEMBER(timer, struct roster_remote, timer);
    timer_set(remote->loop, timer, loop_now_us(remote->loop) + POLL_US);
    if (remote->busy && remote->pending == 0)
        finish(remote);
    else
        look(remote);
}

static void on_message(void *with, struct text message)
{
    (void)message;
    look(with);
}

static void on_change(void *with)
{
    struct roster_remote *remote = with;
    bool up = redis_is_up(remote->redis);
    atomic_store(&remote->up, up);
    remote->doubtful = true;
    if (up)
        look(remote);
}

/* ----------------------------------------------------------------------------- writing */

static void order_free(struct order *order)
{
    buffer_done(&order->body);
    memory_free(order);
}

static void end_order(struct order *order, enum roster_written written)
{
    struct roster_remote *remote = order->remote;
    pthread_mutex_lock(&remote->lock);
    order->written = written;
    order->done = true;
    bool left = order->left;
    pthread_cond_broadcast(&remote->wake);
    pthread_mutex_unlock(&remote->lock);
    if (left)
        order_free(order);
}

static void on_written(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct order *order = with;
    bool answered = fault == REDIS_ANSWERED && redis_kind(reply) != REDIS_ERROR;
    bool written = answered && redis_number(reply) != 0;
    if (written)
        note_own(order->remote, order->kind, order->id);
    end_order(order, written ? ROSTER_WRITTEN : answered ? ROSTER_STALE : ROSTER_AWAY);
}

static void run_order(struct errand *errand)
{
    struct order *order = LIST_MEMBER(errand, struct order, errand);
    struct roster_remote *remote = order->remote;
    char known[24], name[ROSTER_ID_BYTES + 2];
    snprintf(known, sizeof(known), "%llu", (unsigned long long)order->known);
    snprintf(name, sizeof(name), "%c/%s", order->kind == RECORD_TENANT ? 't' : 'k', order->id);
    struct text words[] = {key_of(remote, order->kind),
                           text_of(remote->version),
                           text_of(remote->changes),
                           text_of(order->id),
                           text_of(known),
                           buffer_text(&order->body),
                           text_of(name),
                           text_of(remote->channel)};
    if (!redis_eval(remote->redis, &remote->write, 3, words, 8, ANSWER_US, on_written, order))
        end_order(order, ROSTER_AWAY);
}

enum roster_written roster_remote_write(struct roster_remote *remote, enum record_of kind,
                                        struct text id, const struct roster_record *record,
                                        uint64_t known)
{
    struct order *order = memory_new(sizeof(*order));
    order->errand.run = run_order;
    order->remote = remote;
    order->kind = kind;
    order->known = known;
    snprintf(order->id, sizeof(order->id), "%.*s", TEXT_ARGS(id));
    buffer_init(&order->body, 2 * ROSTER_BODY_MAX);
    if (record)
        buffer_append_text(&order->body, record->body);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WRITE_SECONDS;
    loop_post(remote->loop, &order->errand);
    pthread_mutex_lock(&remote->lock);
    while (!order->done && pthread_cond_timedwait(&remote->wake, &remote->lock, &until) == 0)
        continue;
    enum roster_written written = order->done ? order->written : ROSTER_AWAY;
    bool done = order->done;
    order->left = !done;
    pthread_mutex_unlock(&remote->lock);
    if (done)
        order_free(order);
    return written;
}

/* ------------------------------------------------------------------------- begin and end */

static void on_stop(struct errand *errand)
{
    struct roster_remote *remote = LIST_MEMBER(errand, struct roster_remote, stop);
    timer_stop(&remote->timer);
    remote->failed = true;
    redis_free(remote->redis); /* what is under way is answered from within */
    loop_stop(remote->loop);
}

static void *remote_main(void *with)
{
    struct roster_remote *remote = with;
    pthread_setname_np(pthread_self(), "keys");
    loop_run(remote->loop, NULL, NULL);
    loop_clear(remote->loop);
    return NULL;
}

static void name_keys(struct roster_remote *remote, const char *prefix)
{
    snprintf(remote->keys[RECORD_TENANT], NAME_BYTES, "%s{roster}:t", prefix);
    snprintf(remote->keys[RECORD_KEY], NAME_BYTES, "%s{roster}:k", prefix);
    snprintf(remote->version, NAME_BYTES, "%s{roster}:version", prefix);
    snprintf(remote->changes, NAME_BYTES, "%s{roster}:changes", prefix);
    snprintf(remote->channel, NAME_BYTES, "%s{roster}", prefix);
}

struct roster_remote *roster_remote_new(struct roster *roster, struct fault *fault)
{
    struct roster_remote *remote = memory_new(sizeof(*remote));
    remote->roster = roster;
    pthread_mutex_init(&remote->lock, NULL);
    pthread_cond_init(&remote->wake, NULL);
    name_keys(remote, roster->options.prefix);
    redis_script_init(&remote->write, text_of(write_source));
    redis_script_init(&remote->restore, text_of(restore_source));
    remote->loop = loop_new();
    remote->dns = dns_new(remote->loop);
    remote->timer.on_time = on_time;
    remote->stop.run = on_stop;
    remote->redis = redis_new(remote->loop, remote->dns, roster->options.redis, fault);
    if (!remote->redis) {
        dns_free(remote->dns);
        loop_free(remote->loop);
        memory_free(remote);
        return NULL;
    }
    redis_on_change(remote->redis, on_change, remote);
    redis_subscribe(remote->redis, text_of(remote->channel), on_message, remote);
    remote->doubtful = true;
    timer_set(remote->loop, &remote->timer, clock_now_us() + POLL_US);
    if (pthread_create(&remote->thread, NULL, remote_main, remote) != 0) {
        perror("sluice: pthread_create");
        abort();
    }
    return remote;
}

void roster_remote_free(struct roster_remote *remote)
{
    loop_post(remote->loop, &remote->stop);
    pthread_join(remote->thread, NULL);
    forget_read(remote);
    memory_free(remote->records);
    dns_free(remote->dns);
    loop_free(remote->loop);
    pthread_mutex_destroy(&remote->lock);
    pthread_cond_destroy(&remote->wake);
    memory_free(remote);
}

bool roster_remote_is_up(const struct roster_remote *remote)
{
    return atomic_load(&remote->up);
}
