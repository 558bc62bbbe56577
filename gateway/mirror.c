/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/mirror.h"

#include "gateway/admission.h"
#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/foreign.h"
#include "gateway/outbound.h"
#include "gateway/reserve.h"
#include "gateway/side_place.h"
#include "gateway/tiers.h"
#include "gateway/worker_inside.h"

enum {
    ANSWER_MAX = 1024 * 1024, /* of an answer that is read for its usage */
    HEAD_MAX = 64 * 1024,
    GROWTH = 4096,
    EDITS = 3,
    BYTES_PER_TOKEN = 4,
    MILLION = 1000000,
    TAGS_ROOM = 240,
};

static const uint64_t SAFE_WAIT_US = 2000;

struct mirror {
    struct grave grave;
    struct link link; /* in the worker's list */
    struct worker *worker;
    struct snapshot *snapshot;
    const struct target *target; /* of the snapshot */
    struct side_place place;     /* where that is a deployment */
    struct arena arena;
    struct ledger_row row; /* texts in the arena */
    struct ledger_mark mark;
    struct text model, suffix, forward;
    struct buffer body, head, answer;
    struct upstream_call upstream;
    struct timer timer; /* the journal is not safe yet; then: it takes too long */
    struct answer seen;
    enum service_tier service; /* that it is asked for */
    uint64_t begun_us, end_us;
    unsigned status;
    bool asked, sent, fresh, too_long;
};

/* ------------------------------------------------------------------------------- its end */

static void free_mirror(struct grave *grave)
{
    struct mirror *mirror = LIST_MEMBER(grave, struct mirror, grave);
    buffer_done(&mirror->body);
    buffer_done(&mirror->head);
    buffer_done(&mirror->answer);
    snapshot_unref(mirror->snapshot);
    arena_done(&mirror->arena);
    memory_free(mirror);
}

static void read_usage(struct mirror *mirror)
{
    const struct dialect *dialect = mirror->target->provider->dialect;
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem problem;
    if (!mirror->too_long && scan_json(buffer_text(&mirror->answer), dialect->wants,
                                       dialect->want_count, values, &problem))
        dialect->watch_body(&mirror->seen, values);
}

/* What the provider has counted, or what must be taken for it when it had the call. */
static void count(struct mirror *mirror, struct ledger_row *row)
{
    row->cost_nanos = 0;
    row->usage = (struct usage){0};
    row->counted = COUNTED_NONE;
    if (row->outcome == LEDGER_REFUSED)
        return;
    row->usage = mirror->seen.usage;
    row->counted = mirror->seen.usage_seen ? COUNTED_PROVIDER : COUNTED_ESTIMATE;
    if (!mirror->seen.usage_seen) {
        row->usage.input_tokens = (int64_t)buffer_length(&mirror->body) / BYTES_PER_TOKEN + 1;
        row->usage.output_tokens = (int64_t)buffer_length(&mirror->answer) / BYTES_PER_TOKEN;
    }
    row->usage.service = mirror->seen.service_seen ? mirror->seen.service : mirror->service;
    row->cost_nanos = price_cost(&mirror->target->price, &row->usage);
}

static void book(struct mirror *mirror, enum fault_kind kind)
{
    struct ledger_row *row = &mirror->row;
    bool good = mirror->status / 100 == 2;
    if (good)
        read_usage(mirror);
    row->outcome = good && kind == FAULT_NONE                      ? LEDGER_COMPLETE
                   : mirror->sent && (good || mirror->status == 0) ? LEDGER_PARTIAL
                                                                   : LEDGER_REFUSED;
    row->status = mirror->status ? (int)mirror->status : (int)fault_rule(kind)->status;
    if (kind != FAULT_NONE)
        row->fault = text_of(fault_rule(kind)->name);
    row->finish = text_of(mirror->seen.finish);
    row->duration_us = (int64_t)(clock_now_us() - mirror->begun_us);
    row->ttft_us = row->outcome == LEDGER_COMPLETE ? row->duration_us : 0;
    count(mirror, row);
    ledger_settle_call(mirror->worker->journal, row, &mirror->mark);
    side_place_give(&mirror->place, kind, row->ttft_us);
    metrics_attempt(mirror->worker->metrics, mirror->target->id, kind);
    metrics_call(mirror->worker->metrics, row, mirror->model);
}

static void end(struct mirror *mirror, enum fault_kind kind)
{
    struct worker *worker = mirror->worker;
    timer_stop(&mirror->timer);
    if (mirror->asked)
        upstream_abandon(&mirror->upstream);
    book(mirror, kind);
    list_remove(&mirror->link);
    worker->mirror_count--;
    loop_bury(worker->loop, &mirror->grave, free_mirror);
}

void mirrors_stop(struct worker *worker)
{
    while (worker->mirrors.next != &worker->mirrors)
        end(LIST_MEMBER(worker->mirrors.next, struct mirror, link), FAULT_CLIENT_GONE);
}

/* ------------------------------------------------------------------------------ its answer */

static void ask(struct mirror *mirror);

static void on_connected(struct upstream_call *upstream)
{
    struct mirror *mirror = LIST_MEMBER(upstream, struct mirror, upstream);
    struct text body = buffer_text(&mirror->body);
    buffer_clear(&mirror->head);
    outbound_put_copy(&mirror->head, mirror->snapshot, mirror->target, mirror->suffix,
                      mirror->forward, body.len);
    struct text head = buffer_text(&mirror->head);
    struct iovec pieces[] = {{(void *)(uintptr_t)head.at, head.len},
                             {(void *)(uintptr_t)body.at, body.len}};
    mirror->sent = true;
    upstream_send(upstream, pieces, 2, false);
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    LIST_MEMBER(upstream, struct mirror, upstream)->status = head->status;
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct mirror *mirror = LIST_MEMBER(upstream, struct mirror, upstream);
    mirror->too_long = mirror->too_long || !buffer_append_text(&mirror->answer, piece);
}

static void on_end(struct upstream_call *upstream)
{
    struct mirror *mirror = LIST_MEMBER(upstream, struct mirror, upstream);
    mirror->asked = false;
    end(mirror, mirror->status / 100 == 2 ? FAULT_NONE : FAULT_TARGET_REFUSED);
}

static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct mirror *mirror = LIST_MEMBER(upstream, struct mirror, upstream);
    (void)why;
    mirror->asked = false;
    if (upstream->reused && !upstream->answered && !mirror->fresh && kind == FAULT_TARGET_DOWN) {
        mirror->fresh = true; /* the connection had waited too long; a new one tells */
        mirror->sent = false;
        ask(mirror);
        return;
    }
    end(mirror, kind);
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

static void ask(struct mirror *mirror)
{
    const struct target *target = mirror->target;
    struct upstream_pool *pool = target->provider->slots
                                     ? side_place_pool(mirror->worker, target, &mirror->place)
                                     : snapshot_pool(mirror->snapshot, target->provider);
    if (!pool) {
        end(mirror, FAULT_TARGET_DOWN);
        return;
    }
    mirror->upstream = (struct upstream_call){.on = &handlers, .fresh = mirror->fresh};
    mirror->asked = true;
    upstream_begin(pool, &mirror->upstream);
}

/* It is asked once it is written down, as every call is. */
static void on_time(struct timer *timer)
{
    struct mirror *mirror = LIST_MEMBER(timer, struct mirror, timer);
    struct loop *loop = mirror->worker->loop;
    uint64_t now = loop_now_us(loop);
    if (mirror->asked || now >= mirror->end_us) {
        end(mirror, FAULT_TARGET_SLOW);
        return;
    }
    if (!journal_is_safe(mirror->worker->journal, mirror->mark)) {
        timer_set(loop, timer, now + SAFE_WAIT_US);
        return;
    }
    timer_set(loop, timer, mirror->end_us);
    ask(mirror);
}

/* ------------------------------------------------------------------------------ its beginning */

/* Is it one that can be sent there as it is, but for the model's name? */
static bool can_be(const struct exchange *x, const struct target *target)
{
    const struct provider_settings *provider = target->provider;
    const struct provider_type *type = provider->type;
    enum operation operation = x->call.operation;
    bool plain = operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
                 operation == OPERATION_EMBEDDING;
    bool ours = x->match.shape == SHAPE_OPENAI || x->match.shape == SHAPE_ANTHROPIC;
    bool signs = provider->sign_in.kind != SIGN_IN_NONE || provider->access_key.len;
    return plain && ours && !signs && !x->upload && !x->batch && !x->pinned && !x->odd_body &&
           !target->off && !type->is_azure && !type->is_vertex && !type->chat_dialect.len &&
           text_equal(type->dialect, x->match.dialect) && provider->dialect &&
           x->seeking->model.kind == SCAN_STRING &&
           (provider->slots || snapshot_pool(x->snapshot, provider) != NULL);
}

/* Does it bring along what another provider has sealed? */
static bool has_foreign(struct exchange *x)
{
    struct text body = buffer_text(&x->body);
    return foreign_without(x, body).at != body.at;
}

static bool is_wanted(struct exchange *x)
{
    const struct rule *rule = x->ruling.rule;
    if (!rule || !rule->mirror || x->ruling.mirrored || !x->key)
        return false;
    x->ruling.mirrored = true;
    if ((worker_random(x->worker) >> 32) * MILLION >> 32 >= rule->mirror_ppm ||
        x->body_bytes > rule->mirror_bytes || !can_be(x, rule->mirror) ||
        !ruling_allows(x, rule->mirror) || !tiers_are_priced(x, rule->mirror) || has_foreign(x))
        return false;
    if (x->worker->mirror_count < rule->mirror_calls)
        return true;
    metrics_count(x->worker->metrics, COUNTER_MIRROR_DENIED, 1);
    return false;
}

struct piece {
    struct text old;
    struct text now;
};

static void add_piece(struct piece pieces[EDITS], int *count, struct text old, struct text now)
{
    int i = (*count)++;
    for (; i > 0 && pieces[i - 1].old.at > old.at; i--)
        pieces[i] = pieces[i - 1];
    pieces[i] = (struct piece){old, now};
}

/* The client's, with the target's name of the model, and not as a stream. */
static void copy_body(struct mirror *mirror, const struct exchange *x)
{
    struct text body = buffer_text(&x->body), stream = member_find(body, TEXT("stream"));
    struct piece pieces[EDITS] = {0};
    struct buffer quoted;
    int count = 0;
    const char *from = body.at;
    buffer_init(&quoted, GROWTH);
    json_write_string(&quoted, mirror->row.upstream_model);
    add_piece(pieces, &count, x->seeking->model.raw, buffer_text(&quoted));
    if (x->call.stream && stream.at)
        add_piece(pieces, &count, stream, TEXT("false"));
    if (x->call.stream && x->seeking->stream_options.kind != SCAN_ABSENT)
        add_piece(pieces, &count, x->seeking->stream_options.raw, TEXT("null"));
    buffer_init(&mirror->body, body.len + GROWTH);
    for (int i = 0; i < count; i++) {
        buffer_append(&mirror->body, from, (size_t)(pieces[i].old.at - from));
        buffer_append_text(&mirror->body, pieces[i].now);
        from = pieces[i].old.at + pieces[i].old.len;
    }
    buffer_append(&mirror->body, from, (size_t)(body.at + body.len - from));
    buffer_done(&quoted);
}

/* Of the client's headers only what belongs to the dialect. */
static struct text copy_forward(struct mirror *mirror, const struct exchange *x)
{
    struct text rest = x->seeking->forward;
    struct buffer kept;
    buffer_init(&kept, HEAD_MAX);
    while (rest.len) {
        size_t end = text_find(rest, TEXT("\r\n")) + 2;
        struct text line = text_head(rest, end);
        rest = text_from(rest, end);
        if (text_starts_nocase(line, TEXT("anthropic-")))
            buffer_append_text(&kept, line);
    }
    struct text copy = arena_copy(&mirror->arena, buffer_text(&kept));
    buffer_done(&kept);
    return copy;
}

static struct text upstream_model_of(struct mirror *mirror, const struct exchange *x)
{
    struct text model = mirror->target->model;
    if (mirror->target->provider->slots)
        return mirror->place.model;
    return text_equal(model, TEXT("*")) ? arena_copy(&mirror->arena, x->call.model) : model;
}

static void fill_row(struct mirror *mirror, const struct exchange *x)
{
    struct arena *arena = &mirror->arena;
    const struct target *target = mirror->target;
    struct text tags = admission_booked_tags(x);
    char id[32];
    worker_new_id(mirror->worker, id);
    mirror->row = (struct ledger_row){
        .id = arena_copy(arena, text_of(id)),
        .started_us = clock_wall_us(),
        .tenant = arena_copy(arena, x->key->tenant->name),
        .key = arena_copy(arena, x->key->name),
        .user = arena_copy(arena, admission_booked_user(x)),
        .tags = tags.len
                    ? arena_format(arena, "mirror=1,%.*s", TEXT_ARGS(text_head(tags, TAGS_ROOM)))
                    : TEXT("mirror=1"),
        .model = arena_copy(arena, x->call.model),
        .target = target->id,
        .provider = target->provider->name,
        .upstream_model = upstream_model_of(mirror, x),
        .dialect = target->provider->type->dialect,
        .upstream_dialect = target->provider->type->dialect,
        .operation = text_of(operation_name(x->call.operation)),
        .price_version = target->price.version,
        .attempts = 1,
        .counted = COUNTED_ESTIMATE,
    };
    reserve_bound(x, &mirror->row.usage);
    /* It is not told where a budget has shortened the answer. */
    int64_t most = x->call.max_tokens * (x->call.choices > 1 ? x->call.choices : 1);
    if (mirror->row.usage.output_tokens < most)
        mirror->row.usage.output_tokens = most;
    mirror->row.usage.service = mirror->service = tiers_asked(x, target);
    mirror->row.cost_nanos =
        tiers_bound(x, target, mirror->row.usage.input_tokens, mirror->row.usage.output_tokens, 0);
}

/* Of a deployment a place that is free now: a mirrored call wakes nobody, and waits for nobody. */
static bool has_place(struct mirror *mirror)
{
    return !mirror->target->provider->slots ||
           side_place_take(mirror->worker, &mirror->arena, mirror->target, false, &mirror->place);
}

/* NULL: there is no place for it. */
static struct mirror *mirror_new(struct exchange *x)
{
    struct worker *worker = x->worker;
    struct mirror *mirror = memory_new(sizeof(*mirror));
    mirror->worker = worker;
    mirror->snapshot = snapshot_ref(x->snapshot);
    mirror->target = x->ruling.rule->mirror;
    arena_init(&mirror->arena, GROWTH);
    if (!has_place(mirror)) {
        free_mirror(&mirror->grave);
        metrics_count(worker->metrics, COUNTER_MIRROR_SKIPPED, 1);
        return NULL;
    }
    mirror->begun_us = clock_now_us();
    mirror->end_us = loop_now_us(worker->loop) + (uint64_t)mirror->target->provider->total_us;
    mirror->seen.operation = x->call.operation;
    fill_row(mirror, x);
    mirror->model = x->route->name; /* of the snapshot, or not known to it: passed through */
    if (x->route->targets && x->route->targets[0].id.at == x->call.model.at)
        mirror->model = mirror->row.model;
    mirror->suffix = arena_copy(&mirror->arena, x->match.suffix);
    mirror->forward = copy_forward(mirror, x);
    copy_body(mirror, x);
    buffer_init(&mirror->head, HEAD_MAX);
    buffer_init(&mirror->answer, ANSWER_MAX);
    return mirror;
}

void mirror_begin(struct exchange *x)
{
    struct worker *worker = x->worker;
    if (!is_wanted(x))
        return;
    struct mirror *mirror = mirror_new(x);
    if (!mirror)
        return;
    if (!ledger_open_call(worker->journal, &mirror->row, &mirror->mark)) {
        side_place_give(&mirror->place, FAULT_CLIENT_GONE, 0);
        free_mirror(&mirror->grave); /* not at the price of the calls that matter */
        return;
    }
    list_push_back(&worker->mirrors, &mirror->link);
    worker->mirror_count++;
    metrics_count(worker->metrics, COUNTER_MIRRORED, 1);
    mirror->timer.on_time = on_time;
    timer_set(worker->loop, &mirror->timer, loop_now_us(worker->loop));
}
