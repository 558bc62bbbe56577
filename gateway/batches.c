/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batches.h"

#include <pthread.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/table.h"
#include "gateway/batch.h"
#include "gateway/counter_names.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

static const int64_t DAY_US = INT64_C(86400) * 1000000;

enum { BLOCK_BYTES = 4096, LEVELS_MAX = TENANT_DEPTH_MAX + 2 };

struct batches {
    pthread_mutex_t lock; /* over all of it; what is_asked is the desk's */
    struct table by_id;
    struct link list;
    struct loop *loop; /* of the desk; NULL = there is none */
    struct errand *errand;
    bool is_posted;
    unsigned submitting;
    bool is_shut;
};

/* ------------------------------------------------------------------------ life */

struct batches *batches_new(void)
{
    struct batches *batches = memory_new(sizeof(*batches));
    pthread_mutex_init(&batches->lock, NULL);
    table_init(&batches->by_id);
    list_init(&batches->list);
    return batches;
}

size_t batches_open(struct batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    size_t count = batches->by_id.count;
    pthread_mutex_unlock(&batches->lock);
    return count;
}

bool batches_may_submit(struct batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    bool may = !batches->is_shut;
    batches->submitting += may;
    pthread_mutex_unlock(&batches->lock);
    return may;
}

void batches_submitted(struct batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    batches->submitting--;
    pthread_mutex_unlock(&batches->lock);
}

void batches_shut(struct batches *batches, bool is_shut)
{
    pthread_mutex_lock(&batches->lock);
    batches->is_shut = is_shut;
    pthread_mutex_unlock(&batches->lock);
}

unsigned batches_submitting(struct batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    unsigned count = batches->submitting;
    pthread_mutex_unlock(&batches->lock);
    return count;
}

static struct batch_hold *hold_new(struct text id)
{
    struct batch_hold *hold = memory_new(sizeof(*hold));
    list_init(&hold->link);
    arena_init(&hold->arena, BLOCK_BYTES);
    hold->id = arena_copy(&hold->arena, id);
    hold->reservation.id = hold->id;
    return hold;
}

static void hold_free(struct batch_hold *hold)
{
    arena_done(&hold->arena);
    memory_free(hold);
}

void batches_free(struct batches *batches)
{
    if (!batches)
        return;
    while (!list_is_empty(&batches->list)) {
        struct batch_hold *hold = LIST_MEMBER(batches->list.next, struct batch_hold, link);
        list_remove(&hold->link);
        hold_free(hold);
    }
    table_done(&batches->by_id);
    pthread_mutex_destroy(&batches->lock);
    memory_free(batches);
}

static struct ledger_row row_copy(struct arena *arena, const struct ledger_row *from)
{
    struct ledger_row row = *from;
    struct text *texts[] = {&row.id,
                            &row.tenant,
                            &row.key,
                            &row.user,
                            &row.tags,
                            &row.model,
                            &row.target,
                            &row.provider,
                            &row.finish,
                            &row.fault,
                            &row.upstream_model,
                            &row.dialect,
                            &row.operation,
                            &row.upstream_dialect};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = arena_copy(arena, *texts[i]);
    return row;
}

/* ------------------------------------------------------------------------ the desk */

/* Under the lock. */
static void wake(struct batches *batches)
{
    if (!batches->loop || batches->is_posted)
        return;
    batches->is_posted = true;
    loop_post(batches->loop, batches->errand);
}

void batches_set_desk(struct batches *batches, struct loop *loop, struct errand *errand)
{
    pthread_mutex_lock(&batches->lock);
    batches->loop = loop;
    batches->errand = errand;
    batches->is_posted = false;
    if (!list_is_empty(&batches->list))
        wake(batches);
    pthread_mutex_unlock(&batches->lock);
}

struct batch_hold *batches_next(struct batches *batches, uint64_t now_us, uint64_t *due_us)
{
    struct batch_hold *next = NULL;
    *due_us = 0;
    pthread_mutex_lock(&batches->lock);
    batches->is_posted = false;
    for (struct link *at = batches->list.next; at != &batches->list && !next; at = at->next) {
        struct batch_hold *hold = LIST_MEMBER(at, struct batch_hold, link);
        if (hold->is_asked)
            continue;
        if (hold->due_us <= now_us)
            next = hold;
        else if (!*due_us || hold->due_us < *due_us)
            *due_us = hold->due_us;
    }
    if (next)
        next->is_asked = true;
    pthread_mutex_unlock(&batches->lock);
    return next;
}

void batches_later(struct batches *batches, struct batch_hold *hold, uint64_t due_us)
{
    pthread_mutex_lock(&batches->lock);
    hold->is_asked = false;
    hold->due_us = due_us;
    list_remove(&hold->link); /* the others first */
    list_push_back(&batches->list, &hold->link);
    wake(batches);
    pthread_mutex_unlock(&batches->lock);
}

bool batches_is_last(struct text status)
{
    static const struct text last[] = {TEXT("completed"),       TEXT("failed"),   TEXT("expired"),
                                       TEXT("cancelled"),       TEXT("canceled"), TEXT("success"),
                                       TEXT("timeout_exceeded")};
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++)
        if (text_equal_nocase(status, last[i]))
            return true;
    return false;
}

void batches_look(struct batches *batches, struct text id)
{
    pthread_mutex_lock(&batches->lock);
    struct batch_hold *hold = table_find(&batches->by_id, id);
    if (hold) {
        hold->due_us = 0;
        wake(batches);
    }
    pthread_mutex_unlock(&batches->lock);
}

bool batches_have_room(struct batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    bool room = batches->by_id.count < BATCHES_MAX;
    pthread_mutex_unlock(&batches->lock);
    return room;
}

/* False: it is there already. */
static bool add(struct batches *batches, struct batch_hold *hold)
{
    pthread_mutex_lock(&batches->lock);
    bool is_new = !table_find(&batches->by_id, hold->id);
    if (is_new) {
        table_set(&batches->by_id, hold->id, hold);
        list_push_back(&batches->list, &hold->link);
        wake(batches);
    }
    pthread_mutex_unlock(&batches->lock);
    return is_new;
}

static void forget(struct batches *batches, struct batch_hold *hold)
{
    pthread_mutex_lock(&batches->lock);
    table_remove(&batches->by_id, hold->id);
    list_remove(&hold->link);
    pthread_mutex_unlock(&batches->lock);
}

/* ------------------------------------------------------------------------ how much */

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

bool batches_count(const struct limit *limit)
{
    if (limit->kind == LIMIT_MONEY)
        return true;
    return limit->period == PERIOD_ROLLING ? limit->window_us >= DAY_US
                                           : limit->period != PERIOD_HOUR;
}

static bool concerns(const struct limit *limit, const struct ledger_row *part)
{
    if (!batches_count(limit))
        return false;
    return limit->model.len == 0 || text_equal(limit->model, part->model);
}

static int64_t part_amount(const struct ledger_row *part, const struct limit *limit)
{
    const struct usage *usage = &part->usage;
    int64_t input = limit->strict ? usage->input_tokens : usage->cached_tokens;
    int64_t output = limit->strict ? usage->output_tokens : usage->reasoning_tokens;
    switch (limit->kind) {
    case LIMIT_REQUESTS:
        return part->attempts;
    case LIMIT_INPUT_TOKENS:
        return input;
    case LIMIT_OUTPUT_TOKENS:
        return output;
    case LIMIT_TOKENS:
        return sum(input, output);
    case LIMIT_MONEY:
        return part->cost_nanos;
    case LIMIT_CONCURRENT:
    case LIMIT_KINDS:
        break;
    }
    return 0;
}

int64_t batches_amount(const struct ledger_row *parts, size_t count, const struct limit *limit)
{
    /* The call that submits it is a request of no model. */
    int64_t amount = limit->kind == LIMIT_REQUESTS && limit->model.len == 0;
    for (size_t i = 0; i < count; i++)
        if (concerns(limit, &parts[i]))
            amount = sum(amount, part_amount(&parts[i], limit));
    return amount;
}

/* What was used in the end of what <limit> counts. */
static struct used used_of(const struct ledger_row *rows, size_t count, const struct limit *limit)
{
    struct used used = {.requests = limit->model.len == 0};
    for (size_t i = 0; i < count; i++) {
        if (!concerns(limit, &rows[i]))
            continue;
        used.requests += rows[i].attempts;
        used.input_tokens = sum(used.input_tokens, rows[i].usage.input_tokens);
        used.output_tokens = sum(used.output_tokens, rows[i].usage.output_tokens);
        used.cost_nanos = sum(used.cost_nanos, rows[i].cost_nanos);
    }
    used.sent = used.requests > 0;
    return used;
}

void batches_settle(struct batches *batches, struct batch_hold *hold, struct worker *worker,
                    const struct ledger_row *rows)
{
    struct reservation *r = &hold->reservation;
    forget(batches, hold);
    if (r->live) {
        struct used *each = arena_new(&hold->arena, (r->use_count + 1) * sizeof(*each));
        for (size_t i = 0; i < r->use_count; i++)
            each[i] = used_of(rows, hold->count, r->uses[i].limit);
        limits_adopt(worker->limiter, r);
        limits_settle_each(r, each);
        reserve_warn(worker, r, each);
    }
    hold_free(hold);
}

/* ------------------------------------------------------------------------ holding */

static struct limit *limit_copy(struct arena *arena, const struct limit *from)
{
    struct limit *limit = arena_new(arena, sizeof(*limit));
    *limit = *from;
    limit->model = arena_copy(arena, from->model);
    return limit;
}

/* Take over what the exchange's reservation holds. */
static void take_reservation(struct batch_hold *hold, struct exchange *x)
{
    struct reservation *r = &hold->reservation;
    r->root = arena_copy(&hold->arena, x->reservation.root);
    if (!x->reservation.live || x->reservation.use_count == 0)
        return;
    r->uses = arena_new(&hold->arena, x->reservation.use_count * sizeof(*r->uses));
    limits_hand_over(&x->reservation, r);
    for (size_t i = 0; i < r->use_count; i++) {
        r->uses[i].limit = limit_copy(&hold->arena, r->uses[i].limit);
        r->uses[i].counter = arena_copy(&hold->arena, r->uses[i].counter);
    }
}

bool batches_hold(struct batches *batches, struct exchange *x, const struct ledger_row *row)
{
    const struct batch *batch = x->batch;
    struct batch_hold *hold = hold_new(batch->parts[0].id);
    for (; hold->count < batch->count; hold->count++)
        hold->parts[hold->count] = row_copy(&hold->arena, &batch->parts[hold->count]);
    hold->due_us = clock_now_us() + (uint64_t)x->snapshot->config->batch_poll_us;
    /* Hidden from the desk until it has its reservation; a provider may give one id twice. */
    hold->is_asked = true;
    if (!add(batches, hold)) {
        hold_free(hold);
        return false;
    }
    if (!ledger_settle_batch(x->worker->journal, row, &x->mark, hold->parts, hold->count)) {
        forget(batches, hold);
        hold_free(hold);
        return false;
    }
    take_reservation(hold, x);
    batches_later(batches, hold, hold->due_us);
    return true;
}

/* ------------------------------------------------------------------- after a start */

struct rebuilding {
    struct batches *batches;
    struct arena arena;
    struct counter_names *names;
};

static void on_held(void *with, const struct ledger_row *part)
{
    struct rebuilding *rebuilding = with;
    struct batch_hold *hold = table_find(&rebuilding->batches->by_id, part->id);
    if (!hold) {
        hold = hold_new(part->id);
        add(rebuilding->batches, hold);
    }
    if (hold->count < BATCH_PARTS_MAX)
        hold->parts[hold->count++] = row_copy(&hold->arena, part);
}

struct level {
    char letter;
    const struct key *key;
    const struct tenant *tenant;
    const struct limit_list *limits;
};

static size_t levels_of(struct directory *directory, const struct ledger_row *part,
                        struct level levels[LEVELS_MAX])
{
    size_t count = 0;
    const struct tenant *tenant = directory_find_tenant(directory, part->tenant);
    const struct key *key = directory_find_named(directory, part->tenant, part->key);
    if (tenant && key)
        levels[count++] = (struct level){'k', key, tenant, &key->limits};
    if (tenant && part->user.len)
        levels[count++] = (struct level){'u', NULL, tenant, &tenant->user_limits};
    for (const struct tenant *at = tenant; at && count < LEVELS_MAX; at = at->parent)
        levels[count++] = (struct level){'t', NULL, at, &at->limits};
    return count;
}

static void add_use(struct rebuilding *rebuilding, struct batch_hold *hold,
                    const struct level *level, const struct limit *limit)
{
    struct reservation *r = &hold->reservation;
    int64_t amount = batches_amount(hold->parts, hold->count, limit);
    if (limit->kind == LIMIT_REQUESTS && limit->model.len == 0)
        amount--; /* the call that submitted it is a row of its own */
    if (limit->kind == LIMIT_CONCURRENT || amount <= 0 || r->use_count == USES_MAX)
        return;
    struct use *use = &r->uses[r->use_count++];
    struct text counter =
        level->letter == 'u'
            ? counter_name_of_user(&rebuilding->arena, level->tenant, hold->parts[0].user, limit)
            : counter_names_find(rebuilding->names, limit, level->key, level->tenant, &use->hash);
    use->limit = limit_copy(&hold->arena, limit);
    use->counter = arena_copy(&hold->arena, counter);
    use->want = use->least = amount;
}

static void rebuild_one(struct rebuilding *rebuilding, struct batch_hold *hold,
                        struct limits *limits, struct directory *directory)
{
    struct level levels[LEVELS_MAX] = {{0}};
    size_t count = levels_of(directory, &hold->parts[0], levels);
    struct reservation *r = &hold->reservation;
    if (count == 0)
        return;
    r->root = arena_copy(&hold->arena, tenant_root(levels[count - 1].tenant)->name);
    r->uses = arena_new(&hold->arena, USES_MAX * sizeof(*r->uses));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < levels[i].limits->count; j++)
            add_use(rebuilding, hold, &levels[i], &levels[i].limits->at[j]);
    if (r->use_count > 0)
        limits_rebuild_held(limits, r, hold->parts[0].started_us);
}

bool batches_rebuild(struct batches *batches, struct limits *limits, const struct config *config,
                     struct directory *directory, struct ledger_reader *reader, struct fault *fault)
{
    struct rebuilding rebuilding = {.batches = batches, .names = counter_names_new()};
    arena_init(&rebuilding.arena, BLOCK_BYTES);
    bool good = ledger_each_held(config->ledger_path, reader, on_held, &rebuilding, fault);
    for (struct link *at = batches->list.next; at != &batches->list; at = at->next)
        rebuild_one(&rebuilding, LIST_MEMBER(at, struct batch_hold, link), limits, directory);
    arena_done(&rebuilding.arena);
    counter_names_free(rebuilding.names);
    return good;
}
