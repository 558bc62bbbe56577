/* SPDX-License-Identifier: Apache-2.0 */

/* Finding what is not in memory, and keeping it elsewhere. */

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/cache_redis.h"
#include "policy/cache_remote.h"

struct cache_remote *cache_remote_new(struct cache *cache, struct loop *loop,
                                      const struct cache_remote_options *options)
{
    struct cache_remote *remote = memory_new(sizeof(*remote));
    remote->cache = cache;
    remote->loop = loop;
    remote->options = *options;
    remote->names = memory_new(sizeof(*remote->names));
    list_init(&remote->searches);
    claims_init(remote);
    return remote;
}

bool cache_name_again(struct cache_remote *remote, const struct cache_call *call,
                      struct digest *name)
{
    unsigned purges = atomic_load_explicit(&remote->cache->purges, memory_order_relaxed);
    if (purges != remote->purges_seen) { /* nothing of anybody's calls may be left */
        cache_names_done(remote->names);
        remote->purges_seen = purges;
    }
    return cache_names_find(remote->names, call, name);
}

/* --------------------------------------------------------------------- the end of a search */

/* Others need not wait for this one any more. */
static void give_back_claim(struct cache_search *search, struct cache_entry *entry)
{
    entry_give_back(entry);
    if (search->remote)
        release_claim(search->remote, entry);
    claim_free(entry->claim);
    entry->claim = NULL;
}

/* The entry will not be: those who joined find again. */
static void give_up(struct cache_search *search, struct cache_entry *entry, const char *why)
{
    give_back_claim(search, entry);
    cache_write_broken(entry, why);
    cache_entry_unref(entry);
}

/* Who asked learns what came of it, and gets the entry, if any; else it is given up. */
static void tell(struct cache_search *search, enum cache_found found, struct cache_entry *entry,
                 bool unsure)
{
    struct cache_lookup *lookup = search->lookup;
    search->lookup = NULL;
    search->entry = NULL;
    timer_stop(&search->timer);
    if (!lookup && entry && found == CACHE_MISS)
        give_up(search, entry, "client_gone");
    else if (!lookup && entry)
        cache_entry_unref(entry);
    if (!lookup)
        return;
    lookup->search = NULL;
    lookup->found = found;
    lookup->entry = entry;
    lookup->unsure = unsure;
    lookup->on_found(lookup);
}

static void tell_none(struct cache_search *search, enum cache_found found, const char *why)
{
    give_up(search, search->entry, why);
    tell(search, found, NULL, false);
}

void search_missed(struct cache_search *search, bool unsure)
{
    if (search->entry)
        tell(search, CACHE_MISS, search->entry, unsure && search->ask.idempotency);
}

void search_elsewhere(struct cache_search *search)
{
    tell_none(search, CACHE_ELSEWHERE, "made_elsewhere");
}

/* The answer was given, and is gone. That is remembered, but nobody can read it. */
static void search_not_kept(struct cache_search *search, int64_t ttl_us)
{
    struct cache_entry *entry = search->entry;
    const struct cache_end none = {0};
    give_back_claim(search, entry);
    cache_close(entry->cache, entry);
    entry_break(entry, "not_kept");
    cache_write_end(entry, &none, ttl_us);
    cache_entry_unref(entry);
    tell(search, CACHE_NOT_KEPT, NULL, false);
}

static void search_hit(struct cache_search *search, const struct record *record, int64_t ttl_us)
{
    struct cache_entry *entry = search->entry;
    /* For who asked: somebody reads it, so its bytes stay. */
    entry_ref(entry);
    entry->age_us = record->ttl_us > ttl_us ? record->ttl_us - ttl_us : 0;
    cache_write_facts(entry, &record->facts);
    cache_write(entry, record->rest);
    cache_write_end(entry, &record->end, ttl_us);
    bool is_whole = atomic_load(&entry->state) == ENTRY_WHOLE;
    /* Redis has lost what our own database still knows. */
    if (is_whole && entry->claim && search->remote)
        keep_in_redis(search->remote, entry, ttl_us);
    give_back_claim(search, entry);
    cache_entry_unref(entry);
    if (!is_whole) {
        cache_unlist(entry->cache, entry);
        cache_entry_unref(entry);
    }
    tell(search, is_whole ? CACHE_HIT : CACHE_BUSY, is_whole ? entry : NULL, false);
}

void search_found(struct cache_search *search, const struct record *record, int64_t ttl_us)
{
    /* Who asked was told otherwise, and writes. */
    if (!search->entry)
        return;
    size_t max = atomic_load(&search->entry->cache->max_entry_bytes);
    bool is_there = record->kind == RECORD_ANSWER && record->rest.len <= max;
    bool is_old = record->ttl_us - ttl_us >= search->ask.max_age_us && !search->ask.idempotency;
    if (search->ask.idempotency && !hash_same(&record->body, &search->ask.body))
        tell_none(search, CACHE_OTHER_BODY, "other_body");
    else if (is_there && !is_old)
        search_hit(search, record, ttl_us);
    else if (search->ask.idempotency)
        search_not_kept(search, ttl_us);
    else
        search_missed(search, false);
}

/* --------------------------------------------------------------------------- the database */

static struct cache_search *search_of(struct errand *errand)
{
    return LIST_MEMBER(errand, struct cache_search, answer.errand);
}

static void on_answer(struct errand *errand)
{
    struct cache_search *search = search_of(errand);
    struct answer_search *answer = &search->answer;
    struct record record;
    if (!answer->found)
        search_missed(search, answer->failed || search->unsure);
    else if (cache_record_read(buffer_text(&answer->record), &record))
        search_found(search, &record, answer->expires_us - clock_wall_us());
    else
        search_missed(search, true);
    buffer_done(&answer->record);
    search_free(search);
}

static void on_slow(struct timer *timer)
{
    search_missed(LIST_MEMBER(timer, struct cache_search, timer), true);
}

bool ask_database(struct cache_search *search)
{
    struct answer_search *answer = &search->answer;
    struct cache_remote *remote = search->remote;
    if (!remote->cache->answers || !search->ask.idempotency)
        return false;
    answer->loop = remote->loop;
    answer->task.owner = remote;
    answer->name = search->ask.name;
    answer->errand.run = on_answer;
    buffer_init(&answer->record, SIZE_MAX);
    search->in_database = answers_find(remote->cache->answers, answer);
    if (!search->in_database)
        return false;
    search->timer.on_time = on_slow;
    timer_set(remote->loop, &search->timer, loop_now_us(remote->loop) + CACHE_SEARCH_US);
    return true;
}

/* ------------------------------------------------------------------- other processes of ours */

bool search_pause(struct cache_search *search, void (*on_time)(struct timer *timer))
{
    struct cache_remote *remote = search->remote;
    int64_t next_us = (int64_t)loop_now_us(remote->loop) + search->pause_us;
    bool is_awaited = search->lookup || cache_entry_readers(search->entry) > 0;
    if (!is_awaited || next_us > search->deadline_us)
        return false;
    search->timer.on_time = on_time;
    timer_set(remote->loop, &search->timer, (uint64_t)next_us);
    search->pause_us *= 2;
    if (search->pause_us > CACHE_RETRY_MAX_US)
        search->pause_us = CACHE_RETRY_MAX_US;
    return true;
}

/* What another process keeps is in the database before it gives the name back. */
static enum underway_result take_name(struct cache_entry *entry)
{
    enum underway_result result = underway_take(entry->cache->underway, &entry->name, &entry->body);
    entry->taken = result == UNDERWAY_OURS;
    return result;
}

static void on_turn(struct timer *timer)
{
    struct cache_search *search = LIST_MEMBER(timer, struct cache_search, timer);
    switch (take_name(search->entry)) {
    case UNDERWAY_OURS:
    case UNDERWAY_FULL:
        if (ask_database(search))
            return;
        search_missed(search, search->remote->cache->answers != NULL);
        break;
    case UNDERWAY_OTHER_BODY:
        tell_none(search, CACHE_OTHER_BODY, "other_body");
        break;
    case UNDERWAY_THEIRS:
        if (search_pause(search, on_turn))
            return;
        search_elsewhere(search);
        break;
    }
    search_free(search);
}

/* Who asked is its writer, and is told at once that there is nothing to write. */
static bool refuse_at_once(struct cache_lookup *lookup, enum cache_found found, const char *why)
{
    cache_write_broken(lookup->entry, why);
    cache_entry_unref(lookup->entry);
    lookup->entry = NULL;
    lookup->found = found;
    return true;
}

/* ----------------------------------------------------------------------------- the lookup */

/* Is it there that such entries are? */
static bool goes_to_redis(const struct cache_remote *remote, bool idempotency)
{
    return remote->options.redis && (idempotency || remote->options.exact);
}

void search_free(struct cache_search *search)
{
    list_remove(&search->link);
    timer_stop(&search->timer);
    claim_free(search->claim);
    memory_free(search);
}

static struct cache_search *search_new(struct cache_remote *remote, struct cache_lookup *lookup)
{
    struct cache_search *search = memory_new(sizeof(*search));
    search->remote = remote;
    search->lookup = lookup;
    search->entry = lookup->entry;
    search->ask = lookup->ask;
    search->pause_us = CACHE_RETRY_FIRST_US;
    search->deadline_us = (int64_t)loop_now_us(remote->loop) + lookup->wait_us;
    list_push_back(&remote->searches, &search->link);
    return search;
}

bool cache_look(struct cache_remote *remote, struct cache_lookup *lookup)
{
    bool idempotency = lookup->ask.idempotency;
    lookup->search = NULL;
    lookup->unsure = false;
    lookup->found = cache_find(remote->cache, &lookup->ask, &lookup->entry);
    if (lookup->found != CACHE_MISS || !lookup->entry)
        return true;
    /* Who wants nothing that was there before need not look. */
    bool redis = goes_to_redis(remote, idempotency);
    if ((!redis && !idempotency) || (!idempotency && lookup->ask.max_age_us <= 0))
        return true;
    bool minds = !redis && remote->cache->underway;
    enum underway_result turn = minds ? take_name(lookup->entry) : UNDERWAY_OURS;
    if (turn == UNDERWAY_OTHER_BODY)
        return refuse_at_once(lookup, CACHE_OTHER_BODY, "other_body");
    struct cache_search *search = search_new(remote, lookup);
    search->unsure = redis;
    if (turn == UNDERWAY_THEIRS ? search_pause(search, on_turn)
                                : (redis && ask_redis(search)) || ask_database(search)) {
        search->unsure = !search->asks && redis;
        lookup->search = search;
        lookup->entry = NULL;
        return false;
    }
    search_free(search);
    if (turn == UNDERWAY_THEIRS)
        return refuse_at_once(lookup, CACHE_ELSEWHERE, "made_elsewhere");
    lookup->unsure = idempotency && (redis || remote->cache->answers);
    return true;
}

void cache_look_forget(struct cache_lookup *lookup)
{
    if (!lookup->search)
        return;
    /* It goes on for those who have joined. */
    lookup->search->lookup = NULL;
    lookup->search = NULL;
}

/* ------------------------------------------------------------------------------- keeping */

/* Whoever waits for it in another process finds it there. */
static void keep_in_database(struct cache_remote *remote, struct cache_entry *entry, int64_t ttl_us)
{
    struct buffer record;
    buffer_init(&record, entry->size + RECORD_EXTRA_BYTES);
    record_write(entry, SIZE_MAX, ttl_us, &record);
    if (answers_keep(remote->cache->answers, &entry->name, &record, clock_wall_us() + ttl_us,
                     entry->taken ? remote->cache->underway : NULL))
        entry->taken = false;
    buffer_done(&record);
}

void cache_settle(struct cache_remote *remote, struct cache_entry *entry,
                  const struct cache_end *end, int64_t ttl_us)
{
    cache_write_end(entry, end, ttl_us);
    if (goes_to_redis(remote, entry->idempotency))
        keep_in_redis(remote, entry, ttl_us);
    if (remote->cache->answers && entry->idempotency && ttl_us > 0)
        keep_in_database(remote, entry, ttl_us);
    entry_give_back(entry);
}

void cache_give_up(struct cache_remote *remote, struct cache_entry *entry, const char *why)
{
    cache_write_broken(entry, why);
    release_claim(remote, entry);
}

void cache_remote_free(struct cache_remote *remote)
{
    if (!remote)
        return;
    if (remote->cache->answers)
        answers_cancel(remote->cache->answers, remote);
    searches_leave_redis(remote);
    /* What is left has an errand on its way, which finds nobody that waits. */
    for (struct link *at = remote->searches.next; at != &remote->searches; at = at->next) {
        struct cache_search *search = LIST_MEMBER(at, struct cache_search, link);
        search->remote = NULL;
        timer_stop(&search->timer);
    }
    list_remove(&remote->searches);
    claims_done(remote);
    cache_names_done(remote->names);
    memory_free(remote->names);
    memory_free(remote);
}
