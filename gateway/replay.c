/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/replay.h"

#include <stdio.h>

#include "gateway/base/member.h"
#include "gateway/capture.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/relay.h"
#include "gateway/semantics.h"
#include "gateway/worker_inside.h"

enum {
    KEY_MAX = 256,
    RECALLS_MAX = 3, /* readers whose writer fails ask again so often, then without the cache */
    AGE_MAX_SECONDS = 1000000000,
    CONVERTED_MAX = 16 << 20,
};
#define MILLION      INT64_C(1000000)
#define ELSEWHERE_US (60 * MILLION)
#define KEPT_US      (24 * 3600 * MILLION) /* of an Idempotency-Key */
#define SCOPE_SHARED TEXT("*")

/* Lives until the cache lets go of its reader, which may be after its exchange. */
struct replay {
    struct exchange *x; /* NULL once that has ended */
    struct cache_lookup lookup;
    struct cache_reader reader;
    struct cache_writer writer;
    struct cache_entry *writing;
    bool looking, reading, writes, facts_given, idempotent, keeps;
    bool converts;          /* what is kept has the other form */
    struct buffer gathered; /* of it so far */
    struct cache_end end;   /* as booked */
};

const char *cache_word_name(enum cache_word word)
{
    static const char *const names[] = {"", "bypass", "miss", "hit", "join"};
    return names[word];
}

/* ------------------------------------------------------------------------------- the head */

static void read_cache_control(struct exchange *x, struct text value)
{
    struct text rest = value, item;
    while (text_next(&rest, ',', &item)) {
        item = text_trim(item);
        if (text_equal_nocase(item, TEXT("no-cache")))
            x->cache_no_cache = true;
        else if (text_equal_nocase(item, TEXT("no-store")))
            x->cache_no_store = true;
        else if (text_starts_nocase(item, TEXT("max-age="))) {
            int64_t seconds;
            if (member_count(text_from(item, 8), AGE_MAX_SECONDS, &seconds))
                x->cache_max_age_us = seconds * MILLION;
        }
    }
}

void replay_read_head(struct exchange *x, const struct head *head)
{
    x->cache_max_age_us = INT64_MAX;
    struct text control = head_value(head, TEXT("cache-control"));
    if (control.at)
        read_cache_control(x, control);
    struct text key = head_value(head, TEXT("idempotency-key"));
    if (key.at && key.len > 0 && key.len <= KEY_MAX)
        x->idempotency_key = arena_copy(&x->arena, key);
}

/* ------------------------------------------------------------------------------- recalling */

static bool is_cached_operation(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_EMBEDDING;
}

/* Only what would be answered the same again: the temperature is stated and low (an embedding has
 * none), one choice. */
static bool may_cache(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    if (!config->cache.exact && !config->cache.semantic)
        return false;
    if (!is_cached_operation(x->call.operation) || x->call.choices != 1)
        return false;
    if (x->array_out) /* of streams only events are kept */
        return false;
    if (x->call.stream && !config->cache.stream)
        return false;
    return x->call.operation == OPERATION_EMBEDDING ||
           (x->temperature_milli >= 0 &&
            x->temperature_milli <= config->cache.max_temperature_milli);
}

/* What was kept had passed the guardrails of its day and of its tenant: under others it is asked
 * for anew. */
struct text replay_scope(struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    struct text scope = config->cache.shared_scope ? SCOPE_SHARED : tenant_scope(x->key->tenant);
    if (x->cache_namespace.len)
        scope = arena_format(&x->arena, "%.*s\n\n%.*s", TEXT_ARGS(scope),
                             TEXT_ARGS(x->cache_namespace));
    if (!config->guard)
        return scope;
    guarding_watches(x);
    return arena_format(&x->arena, "%.*s\n%llx %llx", TEXT_ARGS(scope),
                        (unsigned long long)config->generation, (unsigned long long)x->guard_rules);
}

/* Equal bodies of two dialects are not the same call, and their answers look different. */
struct text replay_route(struct exchange *x)
{
    if (x->match.shape == SHAPE_OPENAI)
        return x->route->name;
    return arena_format(&x->arena, "%.*s\n%.*s", TEXT_ARGS(exchange_dialect(x)),
                        TEXT_ARGS(x->route->name));
}

static bool name_by_key(struct exchange *x, struct cache_ask *ask)
{
    if (!x->idempotency_key.len || x->match.endpoint->body != BODY_JSON ||
        !cache_name_once(tenant_scope(x->key->tenant), x->idempotency_key, &ask->name))
        return false;
    struct text whole =
        arena_format(&x->arena, "%.*s\n%.*s", TEXT_ARGS(x->path), TEXT_ARGS(buffer_text(&x->body)));
    ask->body = hash_sha256(whole);
    ask->idempotency = ask->may_join = ask->may_store = true;
    ask->max_age_us = KEPT_US;
    return true;
}

/* How long an equal call may get the answer. */
static int64_t equal_ttl(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    return config->cache.exact ? config->cache.ttl_us : config->cache.semantic_ttl_us;
}

static bool name_by_body(struct exchange *x, struct cache_ask *ask)
{
    if (!may_cache(x) || !x->route)
        return false;
    if (x->cache_no_store) {
        x->cache_word = CACHE_WORD_BYPASS;
        return false;
    }
    ask->may_join = !x->cache_no_cache;
    ask->may_store = true;
    int64_t ttl_us = equal_ttl(x);
    ask->max_age_us = x->cache_max_age_us < ttl_us ? x->cache_max_age_us : ttl_us;
    if (x->cache_no_cache)
        ask->max_age_us = -1;
    const struct cache_call call = {replay_scope(x), replay_route(x), x->call.operation,
                                    buffer_text(&x->body)};
    return cache_name_again(x->worker->cache, &call, &ask->name);
}

static void on_more(struct cache_reader *reader)
{
    struct replay *replay = LIST_MEMBER(reader, struct replay, reader);
    if (replay->x)
        exchange_run(replay->x);
}

/* Nobody reads any more what is written: the client may have left, too. */
static void on_alone(struct cache_writer *writer)
{
    struct replay *replay = LIST_MEMBER(writer, struct replay, writer);
    if (replay->x)
        exchange_run(replay->x);
}

static void on_found(struct cache_lookup *lookup)
{
    struct replay *replay = LIST_MEMBER(lookup, struct replay, lookup);
    replay->x->facts.recall_known = true;
    exchange_run(replay->x);
}

static void read_entry(struct exchange *x, struct replay *replay, struct cache_entry *entry)
{
    cache_reader_init(&replay->reader, entry, x->worker->loop, on_more);
    replay->reading = true;
}

static bool make_ask(struct exchange *x, struct cache_ask *ask)
{
    *ask = (struct cache_ask){.stream = x->call.stream,
                              .now_us = (int64_t)loop_now_us(x->worker->loop)};
    return x->key && x->recalls < RECALLS_MAX && (name_by_key(x, ask) || name_by_body(x, ask));
}

static enum recall_result refuse(struct exchange *x, enum fault_kind kind, const char *words)
{
    fault_set(exchange_fault(x), kind, "%s", words);
    return RECALL_REFUSED;
}

static void say_word(struct exchange *x, enum cache_found found)
{
    bool there = found == CACHE_HIT || found == CACHE_JOIN;
    if (x->cache_no_cache && !x->replay->idempotent)
        x->cache_word = CACHE_WORD_BYPASS;
    else if (there)
        x->cache_word = found == CACHE_HIT ? CACHE_WORD_HIT : CACHE_WORD_JOIN;
    else if (!x->replay->idempotent)
        x->cache_word = CACHE_WORD_MISS;
}

static enum recall_result take_found(struct exchange *x)
{
    struct replay *replay = x->replay;
    struct cache_lookup *lookup = &replay->lookup;
    replay->looking = false;
    say_word(x, lookup->found);
    switch (lookup->found) {
    case CACHE_HIT:
    case CACHE_JOIN:
        read_entry(x, replay, lookup->entry);
        return RECALL_READS;
    case CACHE_MISS:
        replay->writing = lookup->entry;
        replay->writes = lookup->entry != NULL;
        if (replay->writes)
            cache_writer_init(&replay->writer, lookup->entry, x->worker->loop, on_alone);
        return RECALL_NOTHING;
    case CACHE_OTHER_BODY:
        return refuse(x, FAULT_CONFLICT,
                      "This Idempotency-Key was used with another request within the last 24 "
                      "hours.");
    case CACHE_NOT_KEPT:
        return refuse(x, FAULT_CONFLICT,
                      "This Idempotency-Key was used, and its answer was too large to be kept.");
    case CACHE_ELSEWHERE:
        return refuse(x, FAULT_CONFLICT,
                      "The call with this Idempotency-Key is still being made; try again.");
    case CACHE_BUSY:
        break;
    }
    if (replay->idempotent)
        return refuse(x, FAULT_OVERLOADED, "Too many calls with an Idempotency-Key are under way.");
    return RECALL_NOTHING;
}

static struct replay *replay_new(struct exchange *x, const struct cache_ask *ask)
{
    struct replay *replay = memory_new(sizeof(*replay));
    replay->x = x;
    replay->idempotent = ask->idempotency;
    buffer_init(&replay->gathered, CONVERTED_MAX);
    replay->lookup =
        (struct cache_lookup){.ask = *ask, .wait_us = ELSEWHERE_US, .on_found = on_found};
    return replay;
}

enum recall_result replay_recall(struct exchange *x)
{
    struct cache_ask ask;
    if (x->replay && x->replay->looking)
        return x->facts.recall_known ? take_found(x) : RECALL_WAITS;
    if (x->idempotency_key.len && x->recalls >= RECALLS_MAX) /* never made beside the others */
        return refuse(x, FAULT_OVERLOADED,
                      "The calls with this Idempotency-Key break off again and again.");
    x->recalls++;
    /* Kept answers are watched as they are read: in dialects that can be. */
    if (!x->dialect || !make_ask(x, &ask))
        return RECALL_NOTHING;
    struct replay *replay = x->replay = replay_new(x, &ask);
    replay->looking = true;
    x->facts.recall_known = cache_look(x->worker->cache, &replay->lookup);
    return x->facts.recall_known ? take_found(x) : RECALL_WAITS;
}

struct text replay_refusal_lines(const struct exchange *x)
{
    if (x->replay && x->replay->lookup.found == CACHE_ELSEWHERE)
        return TEXT("retry-after: 1\r\n");
    return TEXT("x-should-retry: false\r\n"); /* it would be the same again */
}

bool replay_reads(const struct exchange *x)
{
    return x->replay && x->replay->reading;
}

/* ------------------------------------------------------------------------------- similar */

const struct cache_ask *replay_writes(const struct exchange *x)
{
    const struct replay *replay = x->replay;
    return replay && replay->writing && !replay->idempotent ? &replay->lookup.ask : NULL;
}

/* Those who have joined this call, and who ask the same later, read a copy; it gets no younger. */
void replay_adopt(struct exchange *x, struct cache_entry *found)
{
    struct replay *replay = x->replay;
    struct cache_ask ask = replay->lookup.ask;
    struct cache_end end;
    int64_t age_us = cache_entry_age_us(found, (int64_t)loop_now_us(x->worker->loop));
    int64_t left_us = x->snapshot->config->cache.semantic_ttl_us - age_us;
    cache_entry_end(found, &end);
    cache_write_copy(replay->writing, found);
    cache_settle(x->worker->cache, replay->writing, &end, left_us > 0 ? left_us : 0);
    replay->writing = NULL;
    replay_forget(x);
    x->replay = replay_new(x, &ask);
    read_entry(x, x->replay, found);
    x->cache_word = CACHE_WORD_HIT;
    x->free_of_charge = true;
    x->lowered_tokens = 0;
}

/* ------------------------------------------------------------------------------- reading */

static const struct target *target_of(const struct exchange *x, const char *id)
{
    for (size_t i = 0; x->route && i < x->route->target_count; i++)
        if (text_equal(x->route->targets[i].id, text_of(id)))
            return &x->route->targets[i];
    return x->route && x->route->target_count ? &x->route->targets[0] : x->pinned;
}

static bool begin(struct exchange *x)
{
    struct cache_facts facts;
    if (!cache_entry_facts(x->replay->reader.entry, &facts))
        return false;
    x->target = target_of(x, facts.target);
    if (!x->target) /* an object's own path: nothing that could be replayed */
        return false;
    x->upstream_model = arena_copy(&x->arena, text_of(facts.upstream_model));
    x->replay->converts = facts.stream != x->call.stream;
    struct text type = arena_copy(&x->arena, text_of(facts.type));
    if (x->replay->converts)
        type = x->call.stream ? crossing_own_stream_type(x) : TEXT("application/json");
    int64_t length = x->replay->converts ? -1 : cache_entry_length(x->replay->reader.entry);
    relay_replay_head(x, facts.status, type, x->call.stream, length);
    capture_begin(x);
    return true;
}

/* The kept answer has the other form: all of it is read, and then written as this one. */
static bool convert(struct exchange *x)
{
    struct replay *replay = x->replay;
    const struct dialect *dialect = x->dialect;
    struct buffer out;
    if (replay->gathered.overrun) /* its beginning alone is another answer */
        return false;
    buffer_init(&out, CONVERTED_MAX);
    bool good = !dialect->to_events ? crossing_convert(x, buffer_text(&replay->gathered), &out)
                : x->call.stream
                    ? dialect->to_events && dialect->to_events(buffer_text(&replay->gathered),
                                                               x->call.asked_usage, &out)
                    : dialect->to_body && dialect->to_body(buffer_text(&replay->gathered), &out);
    good = good && !out.overrun;
    if (good)
        relay_replay_piece(x, buffer_text(&out));
    buffer_done(&out);
    return good;
}

/* Of what answers say only that is wanted which was kept beside them. */
static bool says_no_more(const struct exchange *x)
{
    enum operation op = x->call.operation;
    return op == OPERATION_CHAT || op == OPERATION_COMPLETION || op == OPERATION_EMBEDDING;
}

static void finish(struct exchange *x)
{
    struct cache_end end;
    cache_entry_end(x->replay->reader.entry, &end);
    x->saved_nanos = end.cost_nanos;
    bool is_known = end.is_said && !x->replay->converts && says_no_more(x);
    if (is_known) {
        x->answer.usage = end.usage;
        x->answer.usage_seen = x->answer.ended = true;
        memcpy(x->answer.finish, end.finish, sizeof(end.finish));
    }
    relay_replay_end(x, is_known);
}

void replay_read(struct exchange *x)
{
    struct replay *replay = x->replay;
    struct text piece;
    while (!relay_is_full(x)) {
        enum cache_read_result result = cache_read(&replay->reader, &piece);
        if (result == CACHE_READ_BROKEN) {
            fault_set(exchange_fault(x), FAULT_TARGET_CUT,
                      "The call that this one had joined broke off.");
            x->facts.upstream = UPSTREAM_FAILED;
            return;
        }
        if (result == CACHE_READ_WAIT)
            return;
        if (!replay->facts_given && !(replay->facts_given = begin(x))) {
            fault_set(exchange_fault(x), FAULT_INTERNAL,
                      "The kept answer cannot be used any more.");
            x->facts.upstream = UPSTREAM_FAILED;
            return;
        }
        if (result == CACHE_READ_END) {
            if (!replay->converts || convert(x)) {
                finish(x);
            } else { /* ask for it in this form */
                x->recalls = RECALLS_MAX;
                x->facts.upstream = UPSTREAM_FAILED;
            }
            return;
        }
        if (replay->converts)
            buffer_append_text(&replay->gathered, piece);
        else
            relay_replay_piece(x, piece);
    }
}

/* ------------------------------------------------------------------------------- writing */

static void copy_text(char *to, size_t room, struct text from)
{
    snprintf(to, room, "%.*s", TEXT_ARGS(from));
}

static void give_facts(struct exchange *x)
{
    struct cache_facts facts = {.status = x->status, .stream = x->relay == RELAY_EVENTS};
    copy_text(facts.type, sizeof(facts.type), x->answer_type);
    copy_text(facts.target, sizeof(facts.target), x->target->id);
    copy_text(facts.provider, sizeof(facts.provider), x->target->provider->name);
    copy_text(facts.upstream_model, sizeof(facts.upstream_model), x->upstream_model);
    cache_write_facts(x->replay->writing, &facts);
    x->replay->facts_given = true;
}

static void on_writer_gone(struct cache_writer *writer)
{
    memory_free(LIST_MEMBER(writer, struct replay, writer));
}

static void break_off(struct replay *replay, const char *why)
{
    if (!replay->writing)
        return;
    cache_give_up(replay->x->worker->cache, replay->writing, why);
    replay->writing = NULL;
}

void replay_write(struct exchange *x, struct text bytes)
{
    struct replay *replay = x->replay;
    if (!replay || !replay->writing || x->refused || !x->target)
        return;
    if (x->relay == RELAY_TUNNEL || x->unwatched) {
        break_off(replay, "not_kept");
        return;
    }
    if (!replay->facts_given)
        give_facts(x);
    cache_write(replay->writing, bytes);
}

void replay_restart(struct exchange *x)
{
    if (x->replay && x->replay->facts_given)
        break_off(x->replay, "tried_again");
}

/* With an Idempotency-Key a refusal of the provider is an answer too, unless it asks to try again.
 */
static bool is_kept(const struct exchange *x, const struct ledger_row *row)
{
    if (row->outcome == LEDGER_COMPLETE)
        return true;
    return x->replay->idempotent && x->status >= 400 && x->status < 500 && x->status != 408 &&
           x->status != 409 && x->status != 429 && !x->refused;
}

void replay_booked(struct exchange *x, const struct ledger_row *row)
{
    struct replay *replay = x->replay;
    if (!replay || !replay->writing)
        return;
    replay->keeps = is_kept(x, row);
    replay->end = (struct cache_end){.usage = row->usage,
                                     .cost_nanos = row->cost_nanos,
                                     .is_said = x->relay == RELAY_WHOLE && x->status == 200 &&
                                                x->answer.usage_seen && !x->answer.failed};
    /* A row's count of pieces may be ours. */
    if (replay->end.is_said)
        replay->end.usage.units = x->answer.usage.units;
    copy_text(replay->end.finish, sizeof(replay->end.finish), row->finish);
}

static const char *why_not(const struct exchange *x)
{
    return exchange_why(x)->kind == FAULT_NONE ? "not_kept"
                                               : fault_rule(exchange_why(x)->kind)->name;
}

void replay_written(struct exchange *x)
{
    struct replay *replay = x->replay;
    if (!replay || !replay->writing)
        return;
    if (!replay->facts_given || !replay->keeps) {
        break_off(replay, why_not(x));
        return;
    }
    int64_t ttl = replay->idempotent ? KEPT_US : equal_ttl(x);
    int64_t similar_ttl = x->snapshot->config->cache.semantic_ttl_us;
    if (!replay->idempotent && semantics_keep(x, &replay->lookup.ask.name) && similar_ttl > ttl)
        ttl = similar_ttl;
    cache_settle(x->worker->cache, replay->writing, &replay->end, ttl);
    replay->writing = NULL;
}

bool replay_goes_on(const struct exchange *x)
{
    const struct replay *replay = x->replay;
    return replay && replay->writing && !x->worker->stopping && !x->job &&
           (replay->idempotent || cache_entry_readers(replay->writing) > 0);
}

/* Nobody waits for what is looked for. When it was found already, it is given up unread. */
static void give_back(struct replay *replay)
{
    struct exchange *x = replay->x;
    if (!x->facts.recall_known)
        cache_look_forget(&replay->lookup);
    else if (replay->lookup.entry && replay->lookup.found == CACHE_MISS) {
        cache_give_up(x->worker->cache, replay->lookup.entry, "client_gone");
        cache_entry_unref(replay->lookup.entry);
    } else if (replay->lookup.entry) {
        cache_entry_unref(replay->lookup.entry);
    }
}

static void on_reader_gone(struct cache_reader *reader)
{
    memory_free(LIST_MEMBER(reader, struct replay, reader));
}

void replay_forget(struct exchange *x)
{
    struct replay *replay = x->replay;
    x->replay = NULL;
    if (!replay)
        return;
    if (replay->looking)
        give_back(replay);
    break_off(replay, why_not(x));
    replay->x = NULL;
    buffer_done(&replay->gathered);
    if (replay->reading) {
        cache_reader_done(&replay->reader, on_reader_gone);
    } else if (replay->writes) {
        struct cache_entry *entry = replay->writer.entry;
        cache_writer_done(&replay->writer, on_writer_gone);
        cache_entry_unref(entry);
    } else {
        memory_free(replay);
    }
}
