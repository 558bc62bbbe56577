/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_redis.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"

enum { KEY_BYTES = 256, WHO_BYTES = 128, NUMBER_BYTES = 24, NONCE_BYTES = 12 };

/* KEYS: the name. ARGV: the claim, or nothing; for how many milliseconds.
 * A record or claim and its rest of life; or 1 = claimed, 0 = nothing there. */
static struct redis_script look_script;
/* KEYS: the name. ARGV: the claim; for how many milliseconds, or 0 = no longer. */
static struct redis_script claim_script;

static const struct text look_source =
    TEXT("local it = redis.call('GET', KEYS[1])\n"
         "if it then return {it, redis.call('PTTL', KEYS[1])} end\n"
         "if ARGV[1] == '' then return 0 end\n"
         "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
         "return 1\n");
static const struct text claim_source =
    TEXT("if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
         "if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end\n"
         "return redis.call('PEXPIRE', KEYS[1], ARGV[2])\n");

static void init_scripts(void)
{
    redis_script_init(&look_script, look_source);
    redis_script_init(&claim_script, claim_source);
}

/* That this replica makes a call. */
struct cache_claim {
    struct link link; /* in the worker's, once it holds */
    struct digest name;
    struct buffer record;
};

/* -------------------------------------------------------------------------- small parts */

static struct text key_of(const struct cache_remote *remote, const struct digest *name,
                          bool idempotency, char room[KEY_BYTES])
{
    char hex[HEX_BYTES];
    hash_hex(name, hex);
    int len = snprintf(room, KEY_BYTES, "%.128s%s:%s", remote->options.prefix,
                       idempotency ? "once" : "cache", hex);
    return (struct text){room, (size_t)len};
}

static struct text text_of_ms(int64_t us, char room[NUMBER_BYTES])
{
    /* Of what is left a millisecond at least: none would be refused. */
    int64_t ms = us < 1000 ? 1 : us / 1000;
    return (struct text){room, (size_t)snprintf(room, NUMBER_BYTES, "%" PRId64, ms)};
}

/* Said once, when it changes. */
static void note_store(struct cache_remote *remote, bool good)
{
    if (remote->failing == !good)
        return;
    remote->failing = !good;
    if (good)
        log_line(LOG_INFO, "cache", "answers are kept in Redis again");
    else
        log_line(LOG_WARN, "cache", "answers cannot be kept in Redis");
}

static void on_kept(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    note_store(with, fault == REDIS_ANSWERED && redis_kind(reply) != REDIS_ERROR);
}

/* ------------------------------------------------------------------------------- claims */

static struct cache_claim *claim_new(const struct cache_search *search)
{
    struct cache_claim *claim = memory_new(sizeof(*claim));
    unsigned char nonce[NONCE_BYTES];
    char who[WHO_BYTES], letters[4 * NONCE_BYTES];
    hash_random(nonce, sizeof(nonce));
    hash_base64(nonce, sizeof(nonce), letters);
    snprintf(who, sizeof(who), "%.64s/%s", search->remote->options.node, letters);
    list_init(&claim->link);
    claim->name = search->ask.name;
    buffer_init(&claim->record, RECORD_HEAD_BYTES + WHO_BYTES);
    record_write_claim(&search->ask.body, text_of(who), &claim->record);
    return claim;
}

void claim_free(struct cache_claim *claim)
{
    if (!claim)
        return;
    list_remove(&claim->link);
    buffer_done(&claim->record);
    memory_free(claim);
}

/* <life_us> 0: it holds no longer. */
static void renew_claim(struct cache_remote *remote, const struct cache_claim *claim,
                        int64_t life_us)
{
    char key[KEY_BYTES], life[NUMBER_BYTES];
    struct text words[] = {key_of(remote, &claim->name, true, key), buffer_text(&claim->record),
                           life_us ? text_of_ms(life_us, life) : TEXT("0")};
    /* Should it not arrive, the next one does, or the claim expires. */
    (void)redis_eval(remote->options.redis, &claim_script, 1, words, 3, 0, on_kept, remote);
}

static void on_renew(struct timer *timer)
{
    struct cache_remote *remote = LIST_MEMBER(timer, struct cache_remote, renew);
    for (struct link *at = remote->claims.next; at != &remote->claims; at = at->next)
        renew_claim(remote, LIST_MEMBER(at, struct cache_claim, link), remote->claim_us);
    if (!list_is_empty(&remote->claims))
        timer_set(remote->loop, timer, loop_now_us(remote->loop) + (uint64_t)remote->renew_us);
}

void claims_init(struct cache_remote *remote)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_scripts);
    list_init(&remote->claims);
    remote->renew.on_time = on_renew;
    remote->claim_us = CACHE_CLAIM_US;
    remote->renew_us = CACHE_RENEW_US;
}

void claims_done(struct cache_remote *remote)
{
    timer_stop(&remote->renew);
    while (!list_is_empty(&remote->claims))
        list_remove(remote->claims.next);
}

/* The search's claim holds, or may hold: it is kept alive until the entry is done. */
static void adopt_claim(struct cache_search *search)
{
    struct cache_remote *remote = search->remote;
    struct cache_claim *claim = search->claim;
    if (!claim)
        return;
    search->claim = NULL;
    search->entry->claim = claim;
    if (list_is_empty(&remote->claims))
        timer_set(remote->loop, &remote->renew,
                  loop_now_us(remote->loop) + (uint64_t)remote->renew_us);
    list_push_back(&remote->claims, &claim->link);
}

void release_claim(struct cache_remote *remote, struct cache_entry *entry)
{
    if (entry->claim)
        renew_claim(remote, entry->claim, 0);
    claim_free(entry->claim);
    entry->claim = NULL;
}

/* ------------------------------------------------------------------------------ looking */

/* Redis is away, or does not understand. What our own database knows is better than nothing. */
static void go_without(struct cache_search *search, bool may_be_claimed)
{
    if (may_be_claimed)
        adopt_claim(search);
    claim_free(search->claim);
    search->claim = NULL;
    search->unsure = true;
    if (ask_database(search))
        return;
    search_missed(search, true);
    search_free(search);
}

static void on_retry(struct timer *timer)
{
    struct cache_search *search = LIST_MEMBER(timer, struct cache_search, timer);
    if (!ask_redis(search))
        go_without(search, false);
}

/* Another replica makes the call. */
static void wait_for_other(struct cache_search *search)
{
    if (search_pause(search, on_retry))
        return;
    search_elsewhere(search);
    search_free(search);
}

static bool is_ours(const struct cache_search *search, struct text claim)
{
    return search->claim && text_equal(buffer_text(&search->claim->record), claim);
}

/* Redis knows nothing of it. It may have lost what our own database still knows. */
static void on_nothing(struct cache_search *search, bool is_claimed)
{
    if (is_claimed)
        adopt_claim(search);
    if (ask_database(search))
        return;
    search_missed(search, false);
    search_free(search);
}

/* There is something, for <life_us> yet. */
static void on_there(struct cache_search *search, struct text bytes, int64_t life_us)
{
    struct record record;
    if (!cache_record_read(bytes, &record)) {
        go_without(search, false);
        return;
    }
    bool is_same = hash_same(&record.body, &search->ask.body);
    if (record.kind == RECORD_CLAIM && search->ask.idempotency && is_same) {
        /* Our own is there when the answer to an earlier try was lost. */
        if (is_ours(search, bytes))
            on_nothing(search, true);
        else
            wait_for_other(search);
        return;
    }
    search_found(search, &record, life_us);
    search_free(search);
}

static void on_look(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct cache_search *search = with;
    search->asks = false;
    enum redis_kind kind = fault == REDIS_ANSWERED ? redis_kind(reply) : REDIS_ERROR;
    if (kind == REDIS_NUMBER)
        on_nothing(search, redis_number(reply) == 1);
    else if (kind == REDIS_LIST && redis_count(reply) == 2)
        on_there(search, redis_text(redis_item(reply, 0)),
                 redis_number(redis_item(reply, 1)) * 1000);
    else
        go_without(search, fault == REDIS_UNKNOWN);
}

bool ask_redis(struct cache_search *search)
{
    struct cache_remote *remote = search->remote;
    bool idempotency = search->ask.idempotency;
    if (idempotency && !search->claim)
        search->claim = claim_new(search);
    char key[KEY_BYTES], life[NUMBER_BYTES];
    struct text words[] = {key_of(remote, &search->ask.name, idempotency, key),
                           idempotency ? buffer_text(&search->claim->record) : TEXT(""),
                           text_of_ms(remote->claim_us, life)};
    search->asks = redis_eval(remote->options.redis, &look_script, 1, words, 3, 0, on_look, search);
    return search->asks;
}

void searches_leave_redis(struct cache_remote *remote)
{
    struct link *next;
    for (struct link *at = remote->searches.next; at != &remote->searches; at = next) {
        struct cache_search *search = LIST_MEMBER(at, struct cache_search, link);
        next = at->next;
        if (search->in_database)
            continue;
        if (search->asks)
            redis_forget(remote->options.redis, search);
        search_missed(search, true);
        search_free(search);
    }
    if (remote->options.redis)
        redis_forget(remote->options.redis, remote);
}

/* ------------------------------------------------------------------------------ keeping */

static void send_record(struct cache_remote *remote, struct cache_entry *entry, int64_t ttl_us)
{
    struct buffer record;
    char room[KEY_BYTES], life[NUMBER_BYTES];
    buffer_init(&record, CACHE_REMOTE_BYTES_MAX + RECORD_EXTRA_BYTES);
    record_write(entry, CACHE_REMOTE_BYTES_MAX, ttl_us, &record);
    struct text key = key_of(remote, &entry->name, entry->idempotency, room);
    struct text words[] = {TEXT("SET"), key, buffer_text(&record), TEXT("PX"),
                           text_of_ms(ttl_us, life)};
    if (!redis_send(remote->options.redis, key, words, 5, 0, on_kept, remote))
        note_store(remote, false);
    buffer_done(&record);
}

void keep_in_redis(struct cache_remote *remote, struct cache_entry *entry, int64_t ttl_us)
{
    bool is_large = entry->closed || entry->size > CACHE_REMOTE_BYTES_MAX;
    if (ttl_us <= 0) {
        release_claim(remote, entry);
        return;
    }
    if (entry->idempotency || !is_large)
        send_record(remote, entry, ttl_us);
    claim_free(entry->claim);
    entry->claim = NULL;
}
