/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/semantics.h"

#include "gateway/admission.h"
#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/outbound.h"
#include "gateway/replay.h"
#include "gateway/side_place.h"
#include "gateway/worker_inside.h"
#include "policy/semantic.h"

enum {
    ANSWER_US = 5000000, /* from the first try to the whole answer */
    ANSWER_MAX = 1 << 20,
    HEAD_MAX = 64 * 1024,
    BODY_MAX = 8 * SEMANTIC_TEXT_MAX, /* escapes take at most six bytes for one */
    ADDED_TOKENS = 64,                /* what a model may put around a text */
    BYTES_PER_TOKEN = 4,
};

enum stage {
    STAGE_PREPARED,
    STAGE_OPENED,   /* it is written down */
    STAGE_ASKING,   /* the embedding model */
    STAGE_ANSWERED, /* there is a vector */
    STAGE_FINDING,
    STAGE_FOUND, /* or not: search.found */
    STAGE_LOOKING,
    STAGE_LOOKED, /* for the answer itself: lookup.found */
    STAGE_OVER,
};

struct semantics {
    struct grave grave;
    struct exchange *x;
    enum stage stage;
    bool adopted; /* over, and there is an answer */
    struct digest place;
    struct buffer text, head, body, answer;
    const struct target *target;
    struct side_place seat; /* where that is a deployment */
    struct route_try route_try;
    struct text model; /* its own name for it */
    struct upstream_call upstream;
    struct timer timer;
    bool busy, fresh, sent;
    unsigned status;
    /* in the ledger */
    struct ledger_mark mark;
    bool booked;
    char id[32];
    uint64_t begun_us;
    int64_t begun_wall_us;
    struct answer seen;
    /* then */
    struct semantic_search search; /* its vector is ours but while it is FINDING */
    struct cache_lookup lookup;
};

static const struct route *route_of(const struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    return config->routes ? routes_find(config->routes, config->cache.semantic_model) : NULL;
}

/* ------------------------------------------------------------------------------ preparing */

static int64_t bound_of(const struct route *route, size_t bytes)
{
    int64_t most = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        int64_t cost =
            target->off ? 0 : price_bound(&target->price, (int64_t)bytes + ADDED_TOKENS, 0, 0);
        most = cost > most ? cost : most;
    }
    return most;
}

void semantics_prepare(struct exchange *x)
{
    const struct cache_ask *ask = replay_writes(x);
    if (!x->snapshot->config->cache.semantic || !x->worker->semantic || x->semantics || !ask ||
        ask->max_age_us <= 0 || !route_of(x))
        return;
    struct buffer text;
    struct digest place;
    buffer_init(&text, SEMANTIC_TEXT_MAX);
    if (!semantic_read(replay_scope(x), replay_route(x), x->call.operation, buffer_text(&x->body),
                       &text, &place)) {
        buffer_done(&text);
        return;
    }
    struct semantics *s = x->semantics = memory_new(sizeof(*s));
    s->x = x;
    s->place = place;
    s->text = text;
    buffer_init(&s->head, HEAD_MAX);
    buffer_init(&s->body, BODY_MAX);
    buffer_init(&s->answer, ANSWER_MAX);
    x->aside_nanos = bound_of(route_of(x), buffer_length(&text));
}

bool semantics_wanted(const struct exchange *x)
{
    return x->semantics && x->semantics->stage == STAGE_PREPARED && replay_writes(x);
}

/* ----------------------------------------------------------------------------- the ledger */

static void fill_row(const struct semantics *s, struct ledger_row *row)
{
    struct exchange *x = s->x;
    struct text tags = admission_booked_tags(x);
    *row = (struct ledger_row){
        .id = text_of(s->id),
        .started_us = s->begun_wall_us,
        .tenant = x->key->tenant->name,
        .key = x->key->name,
        .user = admission_booked_user(x),
        .tags = tags.len
                    ? arena_format(&x->arena, "semantic=1,%.*s", TEXT_ARGS(text_head(tags, 240)))
                    : TEXT("semantic=1"),
        .model = route_of(x)->name,
        .target = s->target->id,
        .provider = s->target->provider->name,
        .upstream_model = s->model,
        .dialect = TEXT("openai"),
        .upstream_dialect = s->target->provider->type->dialect,
        .operation = text_of(operation_name(OPERATION_EMBEDDING)),
        .price_version = s->target->price.version,
        .attempts = 1,
    };
}

static bool open_row(struct semantics *s)
{
    struct ledger_row row;
    fill_row(s, &row);
    row.counted = COUNTED_ESTIMATE;
    row.usage.input_tokens = (int64_t)buffer_length(&s->text) + ADDED_TOKENS;
    row.cost_nanos = price_bound(&s->target->price, row.usage.input_tokens, 0, 0);
    return ledger_open_call(s->x->worker->journal, &row, &s->mark);
}

/* What the provider has counted, or what must be taken for it when the call was with it. */
static void count(const struct semantics *s, struct ledger_row *row)
{
    if (row->outcome == LEDGER_REFUSED)
        return;
    row->usage = s->seen.usage;
    row->counted = s->seen.usage_seen ? COUNTED_PROVIDER : COUNTED_ESTIMATE;
    if (!s->seen.usage_seen)
        row->usage.input_tokens = (int64_t)buffer_length(&s->text) / BYTES_PER_TOKEN + 1;
    row->cost_nanos = price_cost(&s->target->price, &row->usage);
}

/* <sent>: it came to a try. */
static void end_try(struct semantics *s, enum fault_kind kind, bool sent)
{
    struct route_outcome outcome = {
        .now_us = loop_now_us(s->x->worker->loop), .fault = kind, .not_sent = !sent};
    route_end(&s->route_try, &outcome);
}

static void book(struct semantics *s, enum fault_kind kind)
{
    struct exchange *x = s->x;
    struct ledger_row row;
    if (s->booked)
        return;
    s->booked = true;
    fill_row(s, &row);
    bool good = s->status / 100 == 2;
    if (kind == FAULT_NONE || (good && kind == FAULT_TARGET_INVALID))
        row.outcome = LEDGER_COMPLETE;
    else
        row.outcome = s->sent && (good || !s->status) ? LEDGER_PARTIAL : LEDGER_REFUSED;
    row.status = kind == FAULT_CLIENT_GONE ? 499
                 : s->status               ? (int)s->status
                                           : (int)fault_rule(kind)->status;
    if (kind != FAULT_NONE)
        row.fault = text_of(fault_rule(kind)->name);
    count(s, &row);
    row.duration_us = (int64_t)(clock_now_us() - s->begun_us);
    row.ttft_us = row.outcome == LEDGER_COMPLETE ? row.duration_us : 0;
    ledger_settle_call(x->worker->journal, &row, &s->mark);
    x->aside_nanos = row.cost_nanos;
    end_try(s, kind, true);
    side_place_give(&s->seat, kind, row.ttft_us);
    metrics_attempt(x->worker->metrics, s->target->id, kind);
    metrics_call(x->worker->metrics, &row, row.model);
}

/* ------------------------------------------------------------------------------ its answer */

static void halt(struct semantics *s)
{
    timer_stop(&s->timer);
    if (s->busy)
        upstream_abandon(&s->upstream);
    s->busy = false;
}

static void fail(struct semantics *s, enum fault_kind kind, const char *why)
{
    struct exchange *x = s->x;
    halt(s);
    book(s, kind);
    log_line(LOG_WARN, "cache", "%s: embedding model %.*s: %s", x->id,
             TEXT_ARGS(x->snapshot->config->cache.semantic_model), why);
    metrics_count(x->worker->metrics, COUNTER_SEMANTIC_FAILED, 1);
    s->stage = STAGE_OVER;
    exchange_run(x);
}

static void watch(struct semantics *s)
{
    const struct dialect *dialect = s->target->provider->dialect;
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    s->seen.operation = OPERATION_EMBEDDING;
    if (scan_json(buffer_text(&s->answer), dialect->wants, dialect->want_count, values, &problem))
        dialect->watch_body(&s->seen, values);
}

static void on_connected(struct upstream_call *upstream)
{
    struct semantics *s = LIST_MEMBER(upstream, struct semantics, upstream);
    struct text body = buffer_text(&s->body);
    buffer_clear(&s->head);
    outbound_put_post(&s->head, s->x->snapshot, s->target, TEXT("/embeddings"), body.len);
    struct text head = buffer_text(&s->head);
    struct iovec pieces[] = {{(void *)(uintptr_t)head.at, head.len},
                             {(void *)(uintptr_t)body.at, body.len}};
    s->sent = true;
    upstream_send(upstream, pieces, 2, false);
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    LIST_MEMBER(upstream, struct semantics, upstream)->status = head->status;
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct semantics *s = LIST_MEMBER(upstream, struct semantics, upstream);
    if (!buffer_append_text(&s->answer, piece))
        fail(s, FAULT_TARGET_INVALID, "its answer is too long");
}

static void on_end(struct upstream_call *upstream)
{
    struct semantics *s = LIST_MEMBER(upstream, struct semantics, upstream);
    s->busy = false;
    if (s->status != 200) {
        fail(s, FAULT_TARGET_ERROR, "it did not answer with 200");
        return;
    }
    watch(s);
    s->search.vector = semantic_vector_read(buffer_text(&s->answer));
    buffer_done(&s->answer);
    if (!s->search.vector) {
        fail(s, FAULT_TARGET_INVALID, "there is no embedding in its answer");
        return;
    }
    halt(s);
    book(s, FAULT_NONE);
    s->stage = STAGE_ANSWERED;
    exchange_run(s->x);
}

static bool begin(struct semantics *s);

static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct semantics *s = LIST_MEMBER(upstream, struct semantics, upstream);
    bool stale = upstream->reused && !upstream->answered && !s->fresh && kind == FAULT_TARGET_DOWN;
    s->busy = false;
    if (stale) { /* the connection had waited too long; a new one tells */
        s->fresh = true;
        s->sent = false;
        if (begin(s))
            return;
    }
    fail(s, kind, why);
}

static void on_time(struct timer *timer)
{
    fail(LIST_MEMBER(timer, struct semantics, timer), FAULT_TARGET_SLOW,
         "it did not answer in time");
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

static struct upstream_pool *pool_of(const struct semantics *s)
{
    const struct snapshot *snapshot = s->x->snapshot;
    if (s->target->provider->slots)
        return side_place_pool(s->x->worker, s->target, &s->seat);
    return snapshot->pools[s->target->provider - snapshot->config->providers];
}

/* False: the replica is gone. */
static bool begin(struct semantics *s)
{
    struct upstream_pool *pool = pool_of(s);
    if (!pool)
        return false;
    s->upstream = (struct upstream_call){.on = &handlers, .fresh = s->fresh};
    s->status = 0;
    s->busy = true;
    upstream_begin(pool, &s->upstream);
    return true;
}

/* ------------------------------------------------------------------------------ its course */

static void write_body(struct semantics *s)
{
    json_write_key(&s->body, TEXT("model"));
    json_write_string(&s->body, s->model);
    buffer_append_text(&s->body, TEXT(","));
    json_write_key(&s->body, TEXT("input"));
    json_write_string(&s->body, buffer_text(&s->text));
}

/* A target, and where that is a deployment, a place on it that is free now: nobody waits for it,
 * the call that is asked about least of all. It wakes for the next one. */
static void choose(struct semantics *s, const struct route *route, struct route_call *call)
{
    struct exchange *x = s->x;
    bool skipped = false;
    while ((s->target = route_choose(route, route->policy, call, &s->route_try, NULL)) != NULL) {
        if (!s->target->provider->slots ||
            side_place_take(x->worker, &x->arena, s->target, true, &s->seat))
            return;
        skipped = true;
        end_try(s, FAULT_NONE, false);
        call->tried |= UINT64_C(1) << (s->target - route->targets);
    }
    if (skipped)
        metrics_count(x->worker->metrics, COUNTER_SEMANTIC_SKIPPED, 1);
}

/* Choose a target, and write the call down. */
static void open_call(struct semantics *s)
{
    struct exchange *x = s->x;
    const struct route *route = route_of(x);
    struct route_call call = {
        .now_us = loop_now_us(x->worker->loop),
        .random = worker_random(x->worker),
        .operation = OPERATION_EMBEDDING,
        .input_tokens = (int64_t)buffer_length(&s->text) / BYTES_PER_TOKEN + 1,
        .tried = ruling_abroad(x, route),
    };
    s->stage = STAGE_OVER;
    choose(s, route, &call);
    x->aside_nanos = s->target ? x->aside_nanos : 0;
    if (!s->target)
        return;
    if (s->target->provider->slots)
        s->model = s->seat.model;
    else
        s->model = text_equal(s->target->model, TEXT("*")) ? route->name : s->target->model;
    s->begun_us = clock_now_us();
    s->begun_wall_us = clock_wall_us();
    worker_new_id(x->worker, s->id);
    buffer_append_text(&s->body, TEXT("{"));
    write_body(s);
    buffer_append_text(&s->body, TEXT("}"));
    if (!pool_of(s) || !open_row(s)) {
        end_try(s, FAULT_NONE, false);
        side_place_give(&s->seat, FAULT_CLIENT_GONE, 0);
        metrics_count(x->worker->metrics, COUNTER_SEMANTIC_FAILED, 1);
        x->aside_nanos = 0;
        return;
    }
    s->stage = STAGE_OPENED;
}

static void ask_model(struct semantics *s)
{
    struct exchange *x = s->x;
    if (!journal_is_safe(x->worker->journal, s->mark)) {
        worker_wait_safe(x->worker, x);
        return;
    }
    s->stage = STAGE_ASKING;
    s->timer.on_time = on_time;
    timer_set(x->worker->loop, &s->timer, loop_now_us(x->worker->loop) + ANSWER_US);
    if (begin(s))
        return;
    timer_stop(&s->timer);
    book(s, FAULT_TARGET_DOWN);
    metrics_count(x->worker->metrics, COUNTER_SEMANTIC_FAILED, 1);
    s->stage = STAGE_OVER;
}

static void on_found(struct semantic_search *search)
{
    struct semantics *s = LIST_MEMBER(search, struct semantics, search);
    s->stage = STAGE_FOUND;
    exchange_run(s->x);
}

static void find(struct semantics *s)
{
    s->search.place = s->place;
    s->search.on_found = on_found;
    s->stage = STAGE_FINDING;
    if (!semantic_find(s->x->worker->semantic, &s->search))
        s->stage = STAGE_FOUND; /* too many wait: as if there was nothing */
}

static void on_looked(struct cache_lookup *lookup)
{
    struct semantics *s = LIST_MEMBER(lookup, struct semantics, lookup);
    s->stage = STAGE_LOOKED;
    exchange_run(s->x);
}

static void miss(struct semantics *s)
{
    s->stage = STAGE_OVER;
    metrics_count(s->x->worker->metrics, COUNTER_SEMANTIC_MISSES, 1);
}

/* The answer itself, which may be in Redis. It may also be gone: that is a miss with an entry to
 * write, which is given up. */
static void look(struct semantics *s)
{
    struct exchange *x = s->x;
    int64_t ttl_us = x->snapshot->config->cache.semantic_ttl_us;
    if (!s->search.found) {
        miss(s);
        return;
    }
    s->lookup = (struct cache_lookup){.on_found = on_looked};
    s->lookup.ask = (struct cache_ask){
        .name = s->search.name,
        .stream = x->call.stream,
        .now_us = (int64_t)loop_now_us(x->worker->loop),
        .max_age_us = x->cache_max_age_us < ttl_us ? x->cache_max_age_us : ttl_us,
        .may_store = x->worker->redis != NULL};
    s->stage = STAGE_LOOKING;
    if (cache_look(x->worker->cache, &s->lookup))
        s->stage = STAGE_LOOKED;
}

/* What was looked up is not wanted, or not there. */
static void give_back(struct semantics *s)
{
    struct cache_entry *entry = s->lookup.entry;
    s->lookup.entry = NULL;
    if (!entry)
        return;
    if (s->lookup.found == CACHE_MISS)
        cache_give_up(s->x->worker->cache, entry, "not_kept");
    cache_entry_unref(entry);
}

static void take(struct semantics *s)
{
    struct exchange *x = s->x;
    if (s->lookup.found != CACHE_HIT) {
        give_back(s);
        if (x->cache_max_age_us == INT64_MAX) /* else it may be there for others */
            semantic_drop(x->worker->semantic, &s->place, &s->search.name);
        miss(s);
        return;
    }
    s->stage = STAGE_OVER;
    s->adopted = true;
    x->likeness = s->search.likeness;
    metrics_count(x->worker->metrics, COUNTER_SEMANTIC_HITS, 1);
    replay_adopt(x, s->lookup.entry);
    s->lookup.entry = NULL;
}

enum semantics_result semantics_ask(struct exchange *x)
{
    struct semantics *s = x->semantics;
    if (s->stage == STAGE_PREPARED)
        open_call(s);
    if (s->stage == STAGE_OPENED)
        ask_model(s);
    if (s->stage == STAGE_ANSWERED)
        find(s);
    if (s->stage == STAGE_FOUND)
        look(s);
    if (s->stage == STAGE_LOOKED)
        take(s);
    if (s->stage != STAGE_OVER)
        return SEMANTICS_WAITS;
    return s->adopted ? SEMANTICS_FOUND : SEMANTICS_NOTHING;
}

/* ------------------------------------------------------------------------------ its end */

void semantics_stop(struct exchange *x)
{
    struct semantics *s = x->semantics;
    if (!s || s->stage == STAGE_OVER)
        return;
    halt(s);
    if (s->stage == STAGE_FINDING)
        semantic_forget(&s->search);
    if (s->stage == STAGE_LOOKING)
        cache_look_forget(&s->lookup);
    if (s->stage == STAGE_LOOKED)
        give_back(s);
    if (s->stage == STAGE_OPENED || s->stage == STAGE_ASKING)
        book(s, FAULT_CLIENT_GONE);
    else if (s->stage == STAGE_PREPARED)
        x->aside_nanos = 0; /* nothing was asked */
    s->stage = STAGE_OVER;
}

bool semantics_keep(struct exchange *x, const struct digest *name)
{
    struct semantics *s = x->semantics;
    if (!s || !s->search.vector || s->adopted || !x->worker->semantic)
        return false;
    semantic_put(x->worker->semantic, &s->place, s->search.vector, name);
    s->search.vector = NULL;
    return true;
}

static void free_semantics(struct grave *grave)
{
    struct semantics *s = LIST_MEMBER(grave, struct semantics, grave);
    buffer_done(&s->text);
    buffer_done(&s->head);
    buffer_done(&s->body);
    buffer_done(&s->answer);
    semantic_vector_free(s->search.vector);
    memory_free(s);
}

void semantics_forget(struct exchange *x)
{
    struct semantics *s = x->semantics;
    if (!s)
        return;
    semantics_stop(x);
    x->semantics = NULL;
    loop_bury(x->worker->loop, &s->grave, free_semantics);
}
